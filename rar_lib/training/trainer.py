"""TRL's trainers as this project runs them: settings, quick rollouts on a CPU, timing, sealing."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import TrainerCallback
from trl import GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer
from trl.trainer.utils import split_tensor_dict

from rar_lib.core import processes
from rar_lib.core.errors import DataError
from rar_lib.core.pace import steps_left
from rar_lib.judging.cost import duration
from rar_lib.models.processor import cpu_dtype
from rar_lib.training.checkpoints import Journal, Sealer
from rar_lib.training.logprobs import group_logps, kl_to_base, one_prompt, shares_prompts
from rar_lib.training.policy import Policy
from rar_lib.training.settings import Settings, prompts_each

_log = logging.getLogger(__name__)
_ROWS = ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask")
_STAGES = ("generate", "judge", "diagnose")
#: Place of a row among those of its step, before TRL draws their order.
_PLACE = "place"


def grpo_config(
    settings: Settings,
    out: Path,
    *,
    seed: int,
    ends: Sequence[int] = (),
    checkpoint_every: int = 1,
) -> GRPOConfig:
    """TRL's configuration for a run.

    The loss and all that shapes it come from the settings, none from TRL's defaults; what is left
    to TRL is the optimiser: AdamW, gradient norm 1.

    Args:
        ends: tokens that end a response. vLLM, which writes the rollouts on a GPU, would know the
            tokenizer's alone; elsewhere they are read from the model.
    """
    on_gpu = settings.device != "cpu"
    return GRPOConfig(
        **common_settings(settings, out, seed=seed, checkpoint_every=checkpoint_every),
        # One group at a time through the model, because the logits of a whole step take
        # gigabytes. There is one generation, one reward call and one update a step all the same.
        per_device_train_batch_size=settings.rollouts,
        gradient_accumulation_steps=prompts_each(settings),
        num_generations=settings.rollouts,
        max_completion_length=settings.max_completion,
        temperature=settings.temperature,
        loss_type=settings.loss,
        epsilon=settings.clip_epsilon,
        scale_rewards=settings.scale_rewards,
        mask_truncated_completions=settings.mask_truncated,
        beta=settings.kl_beta,
        num_iterations=1,  # on-policy: one update for each batch of rollouts
        shuffle_dataset=False,  # the data set is the schedule already
        use_vllm=on_gpu,
        vllm_mode="server" if settings.rollout_server else "colocate",
        vllm_server_base_url=settings.rollout_server,
        vllm_gpu_memory_utilization=settings.vllm_share,
        vllm_max_model_length=settings.context,
        generation_kwargs={"stop_token_ids": list(ends)} if on_gpu else None,
    )


def sft_config(settings: Settings, out: Path, *, seed: int, checkpoint_every: int = 1) -> SFTConfig:
    """TRL's configuration: loss on the response alone, prompts and steps as in GRPO."""
    return SFTConfig(
        **common_settings(settings, out, seed=seed, checkpoint_every=checkpoint_every),
        per_device_train_batch_size=prompts_each(settings),
        max_length=settings.context,
        train_sampling_strategy="sequential",  # the data set is the schedule already
        completion_only_loss=True,
    )


#: Settings' names for what transformers calls otherwise.
SCHEDULES = {"constant": "constant_with_warmup", "linear": "linear"}


def common_settings(
    settings: Settings, out: Path, *, seed: int, checkpoint_every: int = 1
) -> dict[str, Any]:
    """What GRPO and supervised fine-tuning share: schedule, precision, checkpoints, silence."""
    on_cpu = settings.device == "cpu"
    return {
        "output_dir": str(out),
        "use_cpu": on_cpu,
        "bf16": not on_cpu or cpu_dtype() == "bfloat16",
        "dataloader_pin_memory": not on_cpu,
        "gradient_checkpointing": False,
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": SCHEDULES[settings.schedule],
        "warmup_steps": settings.steps // 10,
        "max_steps": settings.steps,
        "logging_steps": 1,
        "save_strategy": "steps",
        "save_steps": checkpoint_every,
        "save_total_limit": 2,  # one is whole while the other is written
        "report_to": [],
        "disable_tqdm": True,  # Progress below says what is done and what is left
        "seed": seed,
        # Every weight of the adapter is used; looking for others costs a pass each step.
        "ddp_find_unused_parameters": False if processes.count() > 1 else None,
    }


def trackers(names: Sequence[str], out: Path) -> list[TrainerCallback]:
    """What reports a run to experiment trackers, by transformers' names for them.

    Args:
        names: such as ``tensorboard`` or ``wandb``; each needs its package.
        out: folder of the run; TensorBoard's files go to ``tensorboard/`` in it, unless
            ``TENSORBOARD_LOGGING_DIR`` names another place.

    Raises:
        DataError: a name that transformers does not know, or whose package is missing.
    """
    from transformers.integrations import integration_utils

    name = "TENSORBOARD_LOGGING_DIR"
    given = os.environ.get(name)
    os.environ[name] = given or str(out / "tensorboard")
    try:
        found: Any = integration_utils.get_reporting_integration_callbacks(list(names))  # type: ignore[no-untyped-call]
        return [made() for made in found]
    except (ValueError, RuntimeError) as error:
        raise DataError(f"can't report to {', '.join(names)}: {error}") from error
    finally:
        if given is None:
            del os.environ[name]


class _Sealed:
    """A transformers Trainer whose checkpoints are sealed.

    It keeps two of them (``save_total_limit=2``), so that one is whole while the other is written.
    """

    sealer: Sealer

    def __init__(self, *, sealer: Sealer, **settings: Any) -> None:
        super().__init__(**settings)
        self.sealer = sealer

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        with self.sealer.sealing(Path(self.args.output_dir), self.state.global_step):  # type: ignore[attr-defined]
            super()._save_checkpoint(model, trial)  # type: ignore[misc]


class SealedSFTTrainer(_Sealed, SFTTrainer):  # type: ignore[misc]
    """TRL's supervised fine-tuning with sealed checkpoints."""


class SealedGRPOTrainer(_Sealed, GRPOTrainer):  # type: ignore[misc]
    """TRL's GRPO with sealed checkpoints; also logs seconds by stage and the KL to the base.

    ``kl_to_base`` is the estimate ``exp(d) - d - 1``, ``d`` the log-ratio base to policy of a
    sampled token, averaged over the tokens of one rollout of each prompt: it costs two passes
    over one rollout in ``num_generations``.

    In one process, where the policy's arithmetic is known, the update reads the prompt of a group
    once (``by_group``). Its log-probabilities are those of reading it for each rollout, up to
    rounding.
    """

    _buffered_inputs: Any

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        one = self.accelerator.num_processes == 1
        self.by_group = one and shares_prompts(self.model)

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        """TRL's batches of one pass, each a whole group again: TRL draws their order."""
        known = self._buffered_inputs
        inputs = super()._prepare_inputs(generation_batch)
        if not self.by_group or self._buffered_inputs is known or self._buffered_inputs is None:
            return inputs
        self._buffered_inputs = in_order(self._buffered_inputs)
        return self._buffered_inputs[self._step % self.args.steps_per_generation]

    def _get_per_token_logps_and_entropies(
        self, model: Any, input_ids: Any, attention_mask: Any, logits_to_keep: int, **asked: Any
    ) -> Any:
        if not (self.by_group and one_prompt(input_ids, attention_mask, logits_to_keep)):
            return super()._get_per_token_logps_and_entropies(
                model, input_ids, attention_mask, logits_to_keep, **asked
            )
        with self.accelerator.autocast():
            logps, entropy = group_logps(
                model, input_ids, attention_mask, logits_to_keep, self.temperature
            )
        return logps, entropy if asked.get("compute_entropy") else None, None

    def _generate(self, *args: Any, **kwargs: Any) -> Any:
        begin = time.perf_counter()
        made = super()._generate(*args, **kwargs)
        self._note("seconds/generate", time.perf_counter() - begin)
        return made

    def _generate_and_score_completions(self, *args: Any, **kwargs: Any) -> Any:
        batch = super()._generate_and_score_completions(*args, **kwargs)
        batch[_PLACE] = torch.arange(len(batch["completion_ids"]))
        self._note("seconds/judge", self.sealer.journal.steps[-1]["judge_seconds"])
        parts = processes.gathered(batch["advantages"].tolist())
        if self.sealer.transcript:
            advantages = [advantage for part in parts for advantage in part]
            self.sealer.transcript.step(self.state.global_step + 1, advantages)
        begin = time.perf_counter()
        every = self.num_generations
        kl = kl_to_base(self.model, {name: batch[name][::every] for name in _ROWS})
        self._note("kl_to_base", self._over_all(kl, batch["completion_mask"][::every]))
        self._note("seconds/diagnose", time.perf_counter() - begin)
        return batch

    def _over_all(self, mean: float, mask: Any) -> float:
        """The mean over the tokens of all processes of what is the mean over those of this one."""
        if self.accelerator.num_processes == 1:
            return mean
        number = float(mask.sum())
        every: list[list[float]] = processes.gathered([mean * number, number])
        return sum(total for total, _ in every) / max(1.0, sum(tokens for _, tokens in every))

    def _note(self, name: str, value: float) -> None:
        self._metrics["train"][name].append(value)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the seconds that no stage took: those of the update."""
        metrics = self._metrics["train"]
        if metrics["step_time"]:
            rest = sum(metrics["step_time"])
            rest -= sum(sum(metrics[f"seconds/{stage}"]) for stage in _STAGES)
            self._note("seconds/update", rest)
        super().log(logs, start_time)


def in_order(batches: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of a step's batches in the order in which they were written, in as many batches."""
    order = torch.cat([batch[_PLACE] for batch in batches]).argsort()
    rows = dict(batches[0])
    for name, value in rows.items():
        if isinstance(value, torch.Tensor) and value.ndim:
            rows[name] = torch.cat([batch[name] for batch in batches])[order]
    found: list[dict[str, Any]] = split_tensor_dict(rows, len(batches))
    return found


def grpo_trainer(
    policy: Policy, reward: Any, data: Dataset, *, config: GRPOConfig, sealer: Sealer
) -> SealedGRPOTrainer:
    """TRL's trainer for a reward arm; prompts are read from ``data`` in its order."""
    return SealedGRPOTrainer(
        sealer=sealer,
        model=policy.model,
        processing_class=policy.tokenizer,
        reward_funcs=reward,
        args=config,
        train_dataset=data,
        rollout_func=quick_rollouts(policy),
    )


def sft_trainer(
    policy: Policy, data: Dataset, *, config: SFTConfig, sealer: Sealer
) -> SealedSFTTrainer:
    """TRL's trainer for the arms that imitate responses."""
    return SealedSFTTrainer(
        sealer=sealer,
        model=policy.model,
        processing_class=policy.tokenizer,
        args=config,
        train_dataset=data,
    )


def quick_rollouts(policy: Policy) -> Callable[..., dict[str, Any]] | None:
    """A rollout function for TRL that decodes with the policy's own decoder.

    ``None`` where that does not know the model or the device: TRL then generates itself.
    """
    decoder = policy.decoder
    settings = policy.settings
    if decoder is None:
        return None
    # TRL calls its hook experimental on every start; its version is pinned here.
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

    def roll_out(prompts: Sequence[Any], trainer: Any) -> dict[str, Any]:
        ids = [
            trainer.processing_class.apply_chat_template(
                prompt, add_generation_prompt=True, tokenize=True, return_dict=True
            )["input_ids"]
            for prompt in prompts
        ]
        new = decoder.generate(
            ids,
            settings.max_completion,
            temperature=settings.temperature,
            eos=trainer.eos_token_ids,
        )
        # No log-probabilities: TRL then takes the policy's own, as with its own generate.
        return {"prompt_ids": ids, "completion_ids": new, "logprobs": None}

    return roll_out


class Progress(TrainerCallback):
    """One line a step in the log; in a notebook one line that is updated, and at the end closed.

    Args:
        journal: of the run: a look notes there what it took.
        look_every: steps between two looks; 0 without looks.
        clock: seconds, for a test.
    """

    def __init__(
        self, journal: Journal, look_every: int = 0, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.journal = journal
        self.look_every = look_every
        self.clock = clock
        self.steps: list[float] = []  # seconds, each without its look
        self.values: list[tuple[str, float]] = []
        self._looked = len(journal.look_seconds)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the clock, and the line."""
        self.begin = self.last = self.clock()
        self.line = _Line() if in_notebook() else None

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Say reward or loss, and what is left."""
        found = kwargs.get("logs") or {}
        value = next(((name, found[name]) for name in ("reward", "loss") if name in found), None)
        if value is None:
            return
        now = self.clock()
        seconds = now - self.last
        self.last = now
        looks = self.journal.look_seconds
        self.steps.append(seconds - sum(looks[self._looked :]))
        self._looked = len(looks)
        self.values.append(value)
        left = steps_left(
            self.steps,
            looks,
            steps_to_come=state.max_steps - state.global_step,
            looks_to_come=looks_between(state.global_step, state.max_steps, self.look_every),
        )
        text = f"step {state.global_step}/{state.max_steps}: {value[0]} {value[1]:.3f}"
        text += f", {seconds:.0f} s" + (f", about {duration(left)} left" if left else "")
        if self.line:
            self.line.show(text)
        else:
            _log.info("%s", text)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Close the line of a notebook; a log has its lines already."""
        if self.line and self.values:
            name, first = self.values[0]
            _, last = self.values[-1]
            took = duration(self.clock() - self.begin)
            steps = f"{len(self.values)} step{'s' * (len(self.values) > 1)} in {took}"
            course = f"{name} {first:.3f}" + (f" to {last:.3f}" if len(self.values) > 1 else "")
            self.line.show(f"trained {steps}, {course}")


def looks_between(step: int, last: int, every: int) -> int:
    """Looks that follow the steps after ``step``: every so many, and the last step has one, too."""
    if not every or step >= last:
        return 0
    return last // every - step // every + (last % every > 0)


def in_notebook() -> bool:
    """Whether a Jupyter kernel runs this code, so that a line on the page can be replaced."""
    zmq = sys.modules.get("ipykernel.zmqshell")
    if zmq is None:
        return False
    from IPython import get_ipython

    return isinstance(get_ipython(), zmq.ZMQInteractiveShell)


class _Line:
    """A line of text on the page, plain and replaceable; the executed notebook keeps its last."""

    def __init__(self) -> None:
        self.handle: Any = None

    def show(self, text: str) -> None:
        from IPython.display import display

        shown = {"text/plain": text}
        if self.handle is None:
            self.handle = display(shown, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self.handle.update(shown, raw=True)


class Look(TrainerCallback):
    """The look at held-out tasks, at the end of a step and before its checkpoint, so that both
    are kept together.

    Args:
        every: steps between two looks; the last step is followed by one, too.
        measure: step -> what to remember, as JSON.
    """

    def __init__(
        self, every: int, measure: Callable[[int], dict[str, Any]], journal: Journal
    ) -> None:
        self.every = every
        self.measure = measure
        self.journal = journal

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Look if it is time."""
        step = state.global_step
        if step % self.every == 0 or step == state.max_steps:
            begin = time.perf_counter()
            self.journal.watched.append({"step": step, **self.measure(step)})
            self.journal.look_seconds.append(time.perf_counter() - begin)
