"""Profiles are data: every one loads, and a wrong one says what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from rar_lib.book import profiles
from rar_lib.core.errors import DataError


def test_the_four_profiles_load() -> None:
    assert profiles.names() == ("smoke", "laptop", "study", "gpu")
    for name in profiles.names():
        assert profiles.load(name).name == name


def test_laptop_and_study_differ_in_length_only() -> None:
    laptop = profiles.load("laptop").model_dump()
    study = profiles.load("study").model_dump()
    differing = {key for key in laptop if laptop[key] != study[key]}
    more = {"grpo_steps", "seeds", "cell_timeout_s", "pairs", "synthesis_tasks"}
    assert differing == {"name"} | more
    assert study["seeds"] == (0, 1, 2)
    assert laptop["learning_rate"] == 3e-4
    assert laptop["prompts_per_step"] * laptop["rollouts"] == 32


def test_gpu_has_the_papers_settings() -> None:
    """v2, Table 10; the batch of 96 read as rollouts."""
    gpu = profiles.load("gpu")
    assert gpu.policy == "Qwen/Qwen2.5-7B"
    assert gpu.rollouts == 16
    assert gpu.rollouts * gpu.prompts_per_step == 96
    assert gpu.learning_rate == 5e-6
    assert gpu.temperature == 1.0
    assert gpu.grpo_steps == 300
    assert gpu.context == 3584
    assert gpu.grpo_steps * gpu.prompts_per_step == gpu.train_tasks


def test_models_are_named_once_each() -> None:
    assert profiles.load("smoke").models == ("smollm2-135m",)
    assert profiles.load("laptop").models == (
        "smollm2-135m",
        "qwen-0.5b",
        "qwen-1.5b-int8",
    )


def test_cpu_profiles_keep_the_judge_and_the_synthesizer_up() -> None:
    for name in ("smoke", "laptop", "study"):
        profile = profiles.load(name)
        assert {profile.judge, profile.synthesizer} <= set(profile.servers), name


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("", "none", "profile 'none', which p.toml does not have; choose one of: smoke, gpu"),
        ("grpo_stepps = 3", "mine", "grpo_stepps: Extra inputs are not permitted"),
        ("rollouts = 1", "mine", "rollouts: Input should be greater than or equal to 2"),
        ("judge = 'x'", "mine", "judge 'x' must be one of judges"),
        ("prompts_per_step = 9", "mine", r"prompts_per_step \(9\) must not exceed train_tasks"),
        ("max_completion = 4096", "mine", r"max_completion \(4096\) must be below context"),
        ("device = 'tpu'", "mine", "device: Input should be 'cpu' or 'cuda'"),
        ("like = 'gone'", "mine", "'mine' is like profile 'gone', which p.toml does not have"),
        ("like = 'mine'", "mine", "`like` goes in a circle: mine -> mine"),
        ("rollouts = ", "mine", "p.toml is not valid TOML"),
    ],
)
def test_a_wrong_profile_is_named(tmp_path: Path, text: str, name: str, message: str) -> None:
    file = tmp_path / "p.toml"
    like = "" if text.startswith("like") else "like = 'smoke'\n"
    mine = f"[mine]\n{like}{text}\n" if text else ""
    shipped = profiles.FILE.read_text()
    smoke, gpu = shipped[shipped.index("[smoke]") : shipped.index("[laptop]")], "[gpu]\n"
    file.write_text(smoke + gpu + mine)
    with pytest.raises(DataError, match=message):
        profiles.load(name, file)


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    file = tmp_path / "p.toml"
    file.write_text("[bare]\npolicy = 'x'\n")
    with pytest.raises(DataError, match="judges: Field required"):
        profiles.load("bare", file)
