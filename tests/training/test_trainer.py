"""TRL's trainers as configured here: real steps of a tiny policy, and a GPU's configuration."""

from __future__ import annotations

import hashlib
import inspect
import logging
import math
import os
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny
import torch
from scripted import Reply, says, server
from trl import GRPOConfig, SFTConfig

from rar_lib.book import notebook
from rar_lib.book.profiles import FILE, load
from rar_lib.core.errors import DataError
from rar_lib.core.prompts import POLICY_SYSTEM
from rar_lib.core.stats import TOLERANCE
from rar_lib.data.tasks import load_mini
from rar_lib.evaluation.diagnostics import advantages
from rar_lib.judging.chat import Chat
from rar_lib.judging.judge import Judge
from rar_lib.training import logprobs, trainer
from rar_lib.training.checkpoints import Journal, Sealer
from rar_lib.training.policy import plain_arguments, unsloth_arguments
from rar_lib.training.rewards import RubricReward, dataset_of
from rar_lib.training.run import TRANSCRIPT, Transcript, read_transcript
from rar_lib.training.settings import PAPER_LEARNING_RATE, Settings

TASKS = load_mini("train")[:2]
GPU = load("gpu").training
SMALL = Settings(
    device="cpu",
    policy="smollm2-135m",
    rollouts=4,
    prompts_per_step=2,
    max_completion=12,
    steps=1,
    learning_rate=1e-3,
    lora_rank=3,
)
Judging = Callable[[str], dict[str, float]]


class Step:
    """One real step of a tiny policy: what the judge's opinion came to.

    Attributes:
        advantages: of every rollout, as TRL computed them.
        log: TRL's record of the step.
        record: the reward's record of it.
        kept: what the transcript has of it.
    """

    def __init__(self, out: Path, opinion: Judging, settings: Settings = SMALL) -> None:
        def answer(request: Reply, _: int) -> Reply:
            tokens = opinion(request["messages"][-1]["content"])
            return says(max(tokens, key=lambda token: tokens[token]), tokens=tokens)

        torch.manual_seed(0)
        logprobs.install()
        journal = Journal()
        policy = tiny.policy(settings)
        with server(answer) as scripted:
            reward = RubricReward(Judge(Chat(scripted.url, "m")), "implicit", max_unscored=1.0)
            kept = Transcript(out / TRANSCRIPT)
            kept.begin([], after=None)
            sealer = Sealer("run", journal, 0.0, kept)
            reward.on_step = sealer.note
            made = trainer.grpo_trainer(
                policy,
                reward,
                dataset_of(TASKS, POLICY_SYSTEM),
                config=trainer.grpo_config(settings, out, seed=0, ends=policy.end_tokens),
                sealer=sealer,
            )
            scoring = made._generate_and_score_completions

            def seen(inputs: Any) -> Any:
                batch = scoring(inputs)
                self.advantages = batch["advantages"].clone()
                return batch

            made._generate_and_score_completions = seen  # type: ignore[method-assign]
            made.train()
        self.log = next(entry for entry in made.state.log_history if "grad_norm" in entry)
        (self.record,) = journal.steps
        (self.kept,) = read_transcript(kept.path)[1:]


def share(text: str) -> float:
    """A number in [0, 1) that depends on the text alone."""
    return hashlib.sha256(text.encode()).digest()[0] / 256


def clear(text: str) -> dict[str, float]:
    """Ratings from 2 to 9, different from response to response."""
    return {str(2 + int(8 * share(text))): 1.0}


def alike(text: str) -> dict[str, float]:
    """Ratings between 7 and 7.08: rewards that differ by less than the tolerance, and differ."""
    return {"7": 1.0 - 0.08 * share(text), "8": 0.08 * share(text)}


@pytest.mark.fault
def test_a_step_keeps_its_rollouts_with_the_advantages_that_trl_gave_them(tmp_path: Path) -> None:
    step = Step(tmp_path, clear)
    assert step.kept["step"] == 1
    assert [group["task"]["id"] for group in step.kept["groups"]] == [t.id for t in TASKS]
    rollouts = [one for group in step.kept["groups"] for one in group["rollouts"]]
    assert [one["score"] for one in rollouts] == step.record["scores"]
    assert [one["advantage"] for one in rollouts] == step.advantages.tolist()
    assert "rollouts" not in step.record
    # The browser works out the same where no trainer was at work.
    for group in step.kept["groups"]:
        by_hand = advantages([one["score"] for one in group["rollouts"]])
        given = [one["advantage"] for one in group["rollouts"]]
        assert given == pytest.approx(by_hand, abs=1e-4)


def test_an_update_reads_a_groups_prompt_once_and_comes_to_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole step twice, TRL's own way and ours: rewards, loss, entropy and gradient."""
    calls: list[int] = []

    def counted(*args: Any) -> Any:
        calls.append(len(args[1]))
        return logprobs.group_logps(*args)

    monkeypatch.setattr(trainer, "group_logps", counted)
    ours = Step(tmp_path / "ours", clear)
    assert calls == [SMALL.rollouts] * SMALL.prompts_per_step
    monkeypatch.setattr(trainer, "shares_prompts", lambda model: False)
    theirs = Step(tmp_path / "theirs", clear)
    assert len(calls) == SMALL.prompts_per_step  # no further one
    assert ours.record["scores"] == theirs.record["scores"]
    assert ours.advantages.tolist() == theirs.advantages.tolist()
    for name in ("loss", "entropy", "grad_norm"):
        assert ours.log[name] == pytest.approx(theirs.log[name], rel=1e-3, abs=1e-6), name
    assert ours.log["grad_norm"] > 0


@pytest.mark.fault
def test_a_flat_group_has_advantages_of_exactly_zero_and_moves_nothing(tmp_path: Path) -> None:
    step = Step(tmp_path, alike)
    scores = step.record["scores"]
    assert 0 < max(scores) - min(scores) < TOLERANCE  # the judge did see differences
    assert len(set(scores)) == len(scores)
    assert step.record["flat_groups"] == 1.0
    assert step.advantages.tolist() == [0.0] * len(scores)
    assert step.log["grad_norm"] == 0.0
    assert step.log["reward"] == pytest.approx(step.record["mean"], abs=1e-5)


@pytest.mark.fault
def test_without_levelling_a_flat_group_would_train_at_full_strength(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Why groups are levelled: TRL divides by the group's own standard deviation."""
    monkeypatch.setattr("rar_lib.training.rewards.levelled", lambda scores, of: scores)
    step = Step(tmp_path, alike)
    assert step.advantages.abs().max() > 0.5
    assert step.log["grad_norm"] > 0


@pytest.mark.fault
def test_other_groups_get_grpos_advantage(tmp_path: Path) -> None:
    """Shao et al., section 4.1.2: (r - mean) / standard deviation, in each group."""
    step = Step(tmp_path, clear)
    assert step.record["flat_groups"] == 0.0
    rewards = torch.tensor(step.record["scores"]).view(2, 4)
    expected = (rewards - rewards.mean(1, keepdim=True)) / rewards.std(1, keepdim=True)
    torch.testing.assert_close(step.advantages.view(2, 4), expected, rtol=2e-3, atol=1e-4)
    assert step.log["grad_norm"] > 0


@pytest.mark.fault
def test_an_unscored_response_is_outside_of_the_baseline(tmp_path: Path) -> None:
    def some(text: str) -> dict[str, float]:
        return clear(text) if share(text) < 0.7 else {"?": 1.0}

    step = Step(tmp_path, some)
    scores = step.record["scores"]
    assert 0 < scores.count(None) < len(scores) - 2
    for group in (range(4), range(4, 8)):
        known = [scores[i] for i in group if scores[i] is not None]
        for i in group:
            if scores[i] is None:
                assert step.advantages[i] == 0.0
            elif len(known) > 1:
                above = scores[i] - sum(known) / len(known)
                assert math.copysign(1, step.advantages[i]) == math.copysign(1, above)


@pytest.mark.fault
@pytest.mark.parametrize(("loss", "length_counts"), [("grpo", False), ("dapo", True)])
def test_the_loss_is_the_one_that_the_settings_name(
    tmp_path: Path, loss: str, length_counts: bool
) -> None:
    """At a ratio of 1 GRPO's loss is minus the mean of the advantages, which is 0 in every group;
    DAPO's weighs each of them by the length of its response."""
    step = Step(tmp_path, clear, SMALL.model_copy(update={"loss": loss, "max_completion": 24}))
    assert step.record["length"] < 24  # some responses end early, so lengths differ
    assert (abs(step.log["loss"]) > 1e-4) is length_counts
    assert step.log["grad_norm"] > 0


@pytest.mark.fault
def test_a_kl_penalty_that_is_asked_for_begins_at_the_policy_before_training(
    tmp_path: Path,
) -> None:
    step = Step(tmp_path, clear, SMALL.model_copy(update={"kl_beta": 0.04}))
    assert step.log["kl"] == pytest.approx(0.0, abs=1e-6)
    assert step.log["grad_norm"] > 0


CHOICES: dict[str, tuple[str, Any]] = {
    "loss": ("loss_type", "dr_grpo"),
    "clip_epsilon": ("epsilon", 0.3),
    "scale_rewards": ("scale_rewards", "none"),
    "mask_truncated": ("mask_truncated_completions", True),
    "kl_beta": ("beta", 0.04),
    "temperature": ("temperature", 0.7),
    "max_completion": ("max_completion_length", 9),
    "rollouts": ("num_generations", 6),
    "learning_rate": ("learning_rate", 1e-4),
    "schedule": ("lr_scheduler_type", "linear"),
    "steps": ("max_steps", 7),
}


@pytest.mark.parametrize("name", CHOICES)
def test_every_choice_reaches_the_trainer(tmp_path: Path, name: str) -> None:
    theirs, value = CHOICES[name]
    changed = SMALL.model_copy(update={name: value})
    assert getattr(trainer.grpo_config(changed, tmp_path, seed=0), theirs) == value
    assert getattr(trainer.grpo_config(SMALL, tmp_path, seed=0), theirs) != value


def test_one_update_follows_each_batch_of_rollouts(tmp_path: Path) -> None:
    """On-policy: then the clip can't act, and old log-probabilities are the new ones."""
    config = trainer.grpo_config(SMALL, tmp_path, seed=0)
    assert config.num_iterations == 1
    assert config.steps_per_generation == config.gradient_accumulation_steps == 2
    assert config.generation_batch_size == 8


class Spy:
    """A decoder that writes nothing and remembers what it was asked."""

    asked: dict[str, Any]

    def generate(self, prompts: Any, max_new: int, **asked: Any) -> list[list[int]]:
        self.asked = {"max_new": max_new, **asked}
        return [[7] for _ in prompts]


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_quick_rollouts_are_sampled_as_the_trainer_reckons(temperature: float) -> None:
    """At another temperature than TRL's the ratio of the policies would be wrong."""
    settings = SMALL.model_copy(update={"temperature": temperature})
    policy = tiny.policy(settings)
    policy.decoder = spy = Spy()
    rolls = trainer.quick_rollouts(policy)
    assert rolls is not None

    class Trainer:
        processing_class = policy.tokenizer
        eos_token_ids = policy.end_tokens

    prompts = [[{"role": "user", "content": "w1 w2"}]] * 2
    made = rolls(prompts, Trainer())
    assert spy.asked == {"max_new": 12, "temperature": temperature, "eos": [2, 4]}
    assert made["completion_ids"] == [[7], [7]]


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a configuration asks of a GPU, up to the first call that would use one."""
    from accelerate.state import PartialState

    # Where another test of this process imported Unsloth, it has every configuration name the CPU.
    for part in {*GRPOConfig.__mro__, *SFTConfig.__mro__}:
        own = vars(part).get("__post_init__")
        if own is not None:
            monkeypatch.setattr(part, "__post_init__", inspect.unwrap(own))
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("torch.cuda.set_device", lambda _: None)
    monkeypatch.setattr("transformers.training_args.is_torch_bf16_gpu_available", lambda: True)
    PartialState._reset_state()  # it remembers the first device of the process
    yield
    PartialState._reset_state()


def test_the_gpu_profile_configures_grpo_for_cuda(cuda: None, tmp_path: Path) -> None:
    config = trainer.grpo_config(GPU, tmp_path, seed=0, ends=[151643, 151645])
    assert isinstance(config, GRPOConfig)
    assert config.device.type == "cuda"
    assert config.bf16
    assert not config.use_cpu
    assert config.dataloader_pin_memory
    assert config.use_vllm
    assert config.vllm_mode == "colocate"
    assert config.vllm_gpu_memory_utilization == GPU.vllm_share
    assert config.vllm_max_model_length == 3584
    assert config.generation_batch_size == 96
    assert config.learning_rate == pytest.approx(10 * PAPER_LEARNING_RATE)
    assert config.warmup_steps == 30
    assert config.generation_kwargs == {"stop_token_ids": [151643, 151645]}


def test_rollouts_are_written_by_a_server_where_one_is_named(cuda: None, tmp_path: Path) -> None:
    address = "http://10.0.0.7:8000"
    served = GPU.model_copy(update={"rollout_server": address})
    config = trainer.grpo_config(served, tmp_path, seed=0, ends=[151645])
    assert (config.use_vllm, config.vllm_mode) == (True, "server")
    assert config.vllm_server_base_url == address
    assert config.generation_kwargs == {"stop_token_ids": [151645]}


def test_the_gpu_profile_configures_fine_tuning_for_cuda(cuda: None, tmp_path: Path) -> None:
    config = trainer.sft_config(GPU, tmp_path, seed=0)
    assert isinstance(config, SFTConfig)
    assert config.device.type == "cuda"
    assert config.bf16
    assert config.max_length == 3584


def test_a_gpu_policy_is_loaded_in_4_bits_with_vllm_in_its_share() -> None:
    loading, adapting = unsloth_arguments(GPU, seed=3)
    assert loading == {
        "model_name": "Qwen/Qwen2.5-7B",
        "max_seq_length": 3584,
        "load_in_4bit": True,
        "fast_inference": True,
        "max_lora_rank": 64,
        "gpu_memory_utilization": GPU.vllm_share,
    }
    assert adapting["use_gradient_checkpointing"] == "unsloth"
    assert (adapting["r"], adapting["lora_alpha"], adapting["random_state"]) == (64, 128, 3)
    assert plain_arguments(GPU) == {"dtype": torch.bfloat16, "device_map": "cuda"}


def test_a_cpu_policy_asks_for_nothing_of_a_gpu(tmp_path: Path) -> None:
    loading, adapting = unsloth_arguments(SMALL.model_copy(update={"policy": "a/b"}), seed=0)
    assert not loading["load_in_4bit"]
    assert not loading["fast_inference"]
    assert "gpu_memory_utilization" not in loading
    assert not adapting["use_gradient_checkpointing"]
    config = trainer.grpo_config(SMALL, tmp_path, seed=0, ends=[2, 4])
    assert config.use_cpu
    assert not config.use_vllm
    assert config.generation_kwargs is None  # transformers would refuse vLLM's word for it


def test_vllm_takes_the_end_tokens_as_they_are_passed(cuda: None, tmp_path: Path) -> None:
    sampling = pytest.importorskip("vllm.sampling_params")
    config = trainer.grpo_config(GPU, tmp_path, seed=0, ends=[151643, 151645])
    assert config.generation_kwargs is not None
    made = sampling.SamplingParams(max_tokens=8, **config.generation_kwargs)
    assert made.stop_token_ids == [151643, 151645]


class Clock:
    """Seconds that pass when a test says so."""

    now = 500.0

    def __call__(self) -> float:
        return self.now


def followed(seconds: list[float], *, look_every: int = 0, look: float = 60.0) -> Journal:
    """A run as the trainer tells it to its callbacks: steps of so many seconds, looks beside."""
    clock = Clock()
    journal = Journal(look_seconds=[look] if look_every else [])
    progress = trainer.Progress(journal, look_every, clock)
    state = SimpleNamespace(max_steps=len(seconds), global_step=0)
    progress.on_train_begin(None, state, None)
    for step, took in enumerate(seconds, 1):
        state.global_step = step
        clock.now += took
        if look_every and (step % look_every == 0 or step == len(seconds)):
            clock.now += look
            journal.look_seconds.append(look)
        progress.on_log(None, state, None, logs={"reward": step / 10, "loss": 0.0})
    progress.on_log(None, state, None, logs={"train_runtime": 1.0})  # TRL's last word
    progress.on_train_end(None, state, None)
    return journal


def test_a_log_has_one_line_a_step_whose_forecast_does_not_jump_with_a_look(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="rar_lib")
    followed([50.0, 20.0, 20.0, 20.0, 20.0], look_every=2)
    assert caplog.messages == [
        # 4 steps of 50 s and the looks after steps 2, 4 and 5; then the median step, and less of it
        "step 1/5: reward 0.100, 50 s, about 6 min left",
        "step 2/5: reward 0.200, 80 s, about 4 min left",  # 3 x 35 + 2 x 60
        "step 3/5: reward 0.300, 20 s, about 3 min left",  # 2 x 20 + 2 x 60
        "step 4/5: reward 0.400, 80 s, about 80 s left",
        "step 5/5: reward 0.500, 80 s",
    ]


@pytest.mark.parametrize(
    ("step", "last", "every", "looks"),
    [
        (0, 10, 2, 5),
        (1, 10, 2, 5),
        (2, 10, 2, 4),
        (9, 10, 2, 1),
        (10, 10, 2, 0),
        (0, 5, 2, 3),
        (4, 5, 2, 1),
        (5, 5, 2, 0),
        (3, 5, 7, 1),
        (0, 5, 0, 0),
    ],
)
def test_the_last_step_has_a_look_too(step: int, last: int, every: int, looks: int) -> None:
    assert trainer.looks_between(step, last, every) == looks
    by_hand = [s for s in range(step + 1, last + 1) if every and (s % every == 0 or s == last)]
    assert looks == len(by_hand)


def test_a_look_is_timed_for_the_forecast_of_the_next() -> None:
    journal = Journal()
    look = trainer.Look(2, lambda step: {"score": step}, journal)
    for step in (1, 2, 3):
        look.on_step_end(None, SimpleNamespace(global_step=step, max_steps=3), None)
    assert journal.watched == [{"step": 2, "score": 2}, {"step": 3, "score": 3}]
    assert len(journal.look_seconds) == 2
    assert all(0 <= seconds < 1 for seconds in journal.look_seconds)


KERNEL = (
    """
import sys
sys.path[:0] = ["tests/training", "tests/helpers"]
from test_trainer import followed
""",
    """
followed([50.0] * one, look_every=2)
followed([50.0] * more, look_every=2)
print("after")
""",
)


@pytest.mark.fault
@pytest.mark.timeout(180)
def test_a_notebook_keeps_the_closing_line_of_a_run_alone(tmp_path: Path) -> None:
    import nbformat

    parameters = nbformat.v4.new_code_cell("one = 0\nmore = 0", metadata={"tags": ["parameters"]})
    made = nbformat.v4.new_notebook()
    made.cells = [parameters, *map(nbformat.v4.new_code_cell, KERNEL)]
    nbformat.write(made, tmp_path / "run.ipynb")
    notebook.execute(
        tmp_path / "run.ipynb",
        tmp_path / "done.ipynb",
        {"one": 1, "more": 5},
        cwd=Path(__file__).parents[2],
        cell_timeout_s=150,
    )
    *lines, after = notebook.read(tmp_path / "done.ipynb").cells[-1].outputs
    assert [line.output_type for line in lines] == ["display_data"] * 2
    assert [dict(line.data) for line in lines] == [
        {"text/plain": "trained 1 step in 2 min, reward 0.100"},
        {"text/plain": "trained 5 steps in 7 min, reward 0.100 to 0.500"},
    ]
    assert after.text == "after\n"


@pytest.mark.parametrize("name", ["nothing", "wandb"])
def test_a_tracker_that_is_unknown_or_not_installed_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=f"can't report to {name}: "):
        trainer.trackers([name], tmp_path)


def test_tensorboard_writes_into_the_run_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TENSORBOARD_LOGGING_DIR", raising=False)
    assert trainer.trackers([], tmp_path) == []
    (inside,) = trainer.trackers(["tensorboard"], tmp_path)
    assert inside.logging_dir == str(tmp_path / "tensorboard")
    assert "TENSORBOARD_LOGGING_DIR" not in os.environ
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", "/elsewhere")
    (outside,) = trainer.trackers(["tensorboard"], tmp_path)
    assert outside.logging_dir == "/elsewhere"


@pytest.mark.parametrize("name", tomllib.loads(FILE.read_text(encoding="utf-8")))
def test_every_profile_builds_its_trainer_configuration(name: str, tmp_path: Path) -> None:
    settings = load(name).training
    # bf16 on a device that is not there is refused by transformers; the values are what counts.
    settings = settings.model_copy(update={"device": "cpu"})
    config = trainer.grpo_config(settings, tmp_path, seed=3)
    assert config.num_generations == settings.rollouts
    assert config.generation_batch_size == settings.rollouts * settings.prompts_per_step
    assert config.per_device_train_batch_size == settings.rollouts
    assert config.gradient_accumulation_steps == settings.prompts_per_step
    assert config.max_completion_length == settings.max_completion
    assert config.learning_rate == settings.learning_rate
    assert config.max_steps == settings.steps
    assert config.warmup_steps == settings.steps // 10
    assert config.beta == 0.0
    assert config.seed == 3
