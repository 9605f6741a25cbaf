"""`rar plan`: what a profile needs, said before anything starts, and refused where it can't be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from rar_lib.book.profiles import Profile, load
from rar_lib.cli.app import app
from rar_lib.cli.plan import Devices, judges_of, moments_of, profile_work
from rar_lib.data.tasks import load_mini, load_mini_pairs
from rar_lib.judging.reading import RATING_TOKENS, VERDICT_TOKENS
from rar_lib.models import processor
from rar_lib.models.catalogue import MODELS
from rar_lib.models.llama import BESIDE_GB
from rar_lib.models.vllm_args import overhead_gb
from rar_lib.training.memory import Budget, apart, memory, shape

GPU = load("gpu")
with pytest.MonkeyPatch.context() as on_vnni:  # where the laptop's judge is the int8 one
    on_vnni.setattr(processor, "flags", lambda: frozenset({"avx512bw", "avx512_vnni"}))
    LAPTOP = load("laptop")
B32 = "Qwen/Qwen2.5-32B-Instruct"
SERVED = GPU.training.model_copy(update={"rollout_server": "http://127.0.0.1:8001"})


def budget_of(profile: Profile, room: float = 80e9, **settings: Any) -> Budget:
    return memory(profile.training, judges_of(profile), room=room, name=profile.name, **settings)


def rar(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["plan", *arguments])


def test_a_profile_has_its_stages() -> None:
    profile = load("laptop")
    tasks = [*load_mini("train")[: profile.train_tasks], *load_mini("test")]
    stages = profile_work(profile, tasks, load_mini_pairs("test")[: profile.pairs])
    rewards = stages["rewards (chapter 7)"][profile.judge]
    training = profile.training
    assert rewards.calls == training.prompts_per_step * training.rollouts * training.steps
    # A group shares its prompt, and every response of it has to be read.
    assert (
        rewards.calls * training.max_completion < rewards.fresh_tokens < rewards.prompt_tokens / 2
    )
    assert rewards.completion_tokens == rewards.calls * RATING_TOKENS
    written = stages["rubrics (chapter 2)"][profile.judges[0]]
    assert written.calls == 2 * profile.synthesis_tasks
    judging = stages["judges on pairs (chapter 4)"][profile.judges[0]]
    # Three arms ask for one rating each of both responses, one for a verdict on each criterion.
    ratings = 3 * 2 * profile.pairs
    verdicts = (judging.calls - ratings) * VERDICT_TOKENS
    assert judging.completion_tokens == ratings * RATING_TOKENS + verdicts


def test_the_hold_out_judge_is_up_when_the_policy_is_trained_and_not_before() -> None:
    for profile, judge, watching in (
        (GPU, GPU.judge, GPU.judges[-2]),
        (LAPTOP, "qwen-1.5b-int8", "qwen-0.5b"),
    ):
        judges = judges_of(profile)
        assert judges.up("training") == (judge,)
        assert judges.up("looks") == (*profile.servers, watching)
        assert judges.waiting == watching
        assert judges.names == (judge, watching)
    smoke = judges_of(load("smoke"))
    assert (smoke.names, smoke.waiting) == (("smollm2-135m",), "")


def test_what_the_laptop_holds_at_each_moment_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """With AVX2 alone, all in float32; a server holds so much beside its weights and cache."""
    monkeypatch.setattr(processor, "flags", lambda: frozenset({"avx2"}))
    monkeypatch.setenv("RAR_ENGINE", "vllm")
    laptop = load("laptop")
    n = {name: shape(name).parameters * 4 for name in laptop.judges}
    beside = {name: 1e9 * (0.6 + overhead_gb(size / 1e9, float32=True)) for name, size in n.items()}
    server = {name: n[name] + beside[name] for name in n}
    policy = 134_515_008 * 4
    trainer = 1.5e9
    cache = (32 + 48) * 152 * 46_080
    update = 16 * 4_884_480 + 8 * 152 * 30 * 46_080 + 64 * 49_152 * 2 * 4
    by_hand = {
        "training": policy + cache + update + trainer + server["qwen-1.5b"],
        "the hold-out judge's grading after it": policy + trainer + server["qwen-0.5b"],
        "training to please the weakest judge": policy
        + cache
        + update
        + trainer
        + server["smollm2-135m"],
    }
    found = Devices(24.0).budgets(laptop, 152)
    assert {what: budget.total for what, budget in found.items()} == pytest.approx(by_hand)
    # Most is needed in training: the hold-out judge lies beside no other one.
    assert max(by_hand.values()) == by_hand["training"]


def test_llama_cpp_holds_the_file_and_no_widened_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """With AVX2 alone the judges' files lie in memory as they were fetched."""
    monkeypatch.setattr(processor, "flags", lambda: frozenset({"avx2"}))
    monkeypatch.setenv("RAR_ENGINE", "llama.cpp")
    laptop = load("laptop")
    found = Devices(24.0).budgets(laptop, 152)["the hold-out judge's grading after it"]
    policy = 134_515_008 * 4
    trainer = 1.5e9
    file = MODELS["qwen-0.5b"].pinned.size
    assert found.total == pytest.approx(policy + trainer + file + 1e9 * (0.6 + BESIDE_GB))
    by_llama = max(budget.total for budget in Devices(24.0).budgets(laptop, 152).values())
    monkeypatch.setenv("RAR_ENGINE", "vllm")
    by_vllm = max(budget.total for budget in Devices(24.0).budgets(laptop, 152).values())
    assert by_llama < 12e9 < by_vllm
    # GPUs know nothing of it.
    total = budget_of(GPU).total
    monkeypatch.setenv("RAR_ENGINE", "llama.cpp")
    assert budget_of(GPU).total == total


def test_a_profile_with_one_judge_has_one_moment() -> None:
    assert list(moments_of(load("smoke"))) == ["training"]


def test_the_command_shows_everything_and_invents_no_time_and_no_cost() -> None:
    done = rar("--profile", "gpu")
    assert done.exit_code == 0
    assert done.output.count("of 80.00 GB: fits") == len(moments_of(GPU)) == 3
    for words in (
        *(f"Memory of {what} (profile gpu, cuda):" for what in moments_of(GPU)),
        "keys and values of rollouts",
        "keys and values of held-out answers",
        "of 80.00 GB: fits",
        "assumed, not measured:",
        "28,800 calls",
        "Time: unknown",
        "Cost: unknown",
        "RaR-Mini",
    ):
        assert words in done.output
    assert "at the given price" not in done.output


def test_a_negative_price_is_refused_as_everywhere_else() -> None:
    refused = rar("--profile", "gpu", "--rate", "1000", "100", "--price-in", "-1")
    assert refused.exit_code == 1
    said = " ".join(refused.output.split())
    assert "--price-in is -1; a price of 10^6 tokens is 0 or more" in said


def test_the_command_takes_a_rate_and_a_price() -> None:
    done = rar("--profile", "gpu", "--rate", "1000", "100", "--price-in", "1")
    rewards = next(x for x in done.output.splitlines() if "rewards (chapter 7)" in x)
    assert " h; about " in rewards
    assert "at the given price" in rewards
    assert "unknown" not in done.output


def test_the_command_refuses_a_judge_that_cannot_fit_after_showing_why() -> None:
    done = rar("--profile", "gpu", "--judge", B32)
    assert done.exit_code == 1
    assert "of 80.00 GB: does not fit" in done.output
    assert "error: profile 'gpu' needs" in done.output
    assert rar("--profile", "gpu", "--judge", B32, "--memory", "141").exit_code == 0


def test_a_cpu_profile_is_held_against_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "flags", lambda: frozenset({"avx512bw", "avx512_vnni"}))
    monkeypatch.setattr("rar_lib.models.machine.memory_bytes", lambda: 16_000_000_000)
    done = rar()
    assert done.exit_code == 0
    assert "of 16.00 GB: fits" in done.output
    monkeypatch.setattr(processor, "flags", lambda: frozenset({"avx2"}))
    monkeypatch.setenv("RAR_ENGINE", "vllm")  # all in float32
    assert rar().exit_code == 1
    monkeypatch.setenv("RAR_ENGINE", "llama.cpp")
    assert rar().exit_code == 0


def test_the_command_shows_each_device_where_the_models_are_apart() -> None:
    done = rar("--profile", "gpu", "--apart", "--rollout-server")
    assert done.exit_code == 0
    assert done.output.count("in all, of 80.00 GB: fits") == 4
    for name in ("training Qwen/Qwen2.5-7B", f"judge {GPU.judge}", "rollouts of Qwen/Qwen2.5-7B"):
        assert f"Memory of {name}, a device of its own (profile gpu, cuda):" in done.output
    assert rar("--profile", "gpu", "--apart").output.count("in all, of") == 3


def test_the_readme_has_the_memory_that_the_command_shows() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    plain = apart(GPU.training, judges_of(GPU), room=80e9)
    served = apart(SERVED, judges_of(GPU), room=80e9)
    for budget in (plain[0], plain[1], served[0], served[-1]):
        assert f"{budget.total / 1e9:.1f} GB" in readme


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (("--profile", "gpu", "--rollout-server"), "say --apart"),
        (("--profile", "laptop", "--apart"), "whose memory all models share"),
    ],
)
def test_a_layout_that_cannot_be_is_refused(wrong: tuple[str, ...], said: str) -> None:
    done = rar(*wrong)
    assert done.exit_code == 1
    assert said in done.output


@pytest.mark.parametrize("wrong", [("--backend", "jax"), ("--judge", "my/judge")])
def test_a_wrong_name_says_what_there_is(wrong: tuple[str, str]) -> None:
    done = rar("--profile", "gpu", *wrong)
    assert done.exit_code == 1
    assert "choose" in done.output
