"""Profiles are data: every one loads, and a wrong one says what is wrong."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from rar_lib.book import profiles
from rar_lib.book.profiles import load
from rar_lib.core.errors import DataError
from rar_lib.models import processor
from rar_lib.training.settings import PAPER_LEARNING_RATE, Settings

NAMES = ("smoke", "laptop", "gpu")


def test_the_three_profiles_load() -> None:
    assert tuple(tomllib.loads(profiles.FILE.read_text(encoding="utf-8"))) == NAMES
    for name in NAMES:
        assert profiles.load(name).name == name


def test_a_profile_like_another_copies_its_training_key_by_key() -> None:
    smoke, laptop = (profiles.load(name).training for name in ("smoke", "laptop"))
    same = ("device", "policy", "context", "lora_rank", "temperature", "learning_rate")
    assert all(getattr(smoke, key) == getattr(laptop, key) for key in same)
    assert laptop.learning_rate == 3e-4
    assert laptop.prompts_per_step * laptop.rollouts == 32
    assert (smoke.steps, laptop.steps) == (1, 5)


def test_gpu_has_the_papers_settings_but_for_a_loras_learning_rate() -> None:
    """v2, Table 10; the batch of 96 read as rollouts. They are the defaults of the library."""
    gpu = profiles.load("gpu")
    training = gpu.training
    assert training == Settings()
    assert training.policy == "Qwen/Qwen2.5-7B"
    assert training.rollouts == 16
    assert training.rollouts * training.prompts_per_step == 96
    assert training.learning_rate == pytest.approx(10 * PAPER_LEARNING_RATE)
    assert training.temperature == 1.0
    assert training.steps == 300
    assert training.context == 3584
    assert training.steps * training.prompts_per_step == gpu.train_tasks


def test_each_profile_says_how_many_questions_are_read_by_likelihood() -> None:
    """As many as its time allows: chapter 8 has fewer answered by a letter, which is generated."""
    found = {name: profiles.load(name).likelihood_questions for name in NAMES}
    assert found == {"smoke": 4, "laptop": 100, "gpu": 200}


def test_the_hold_out_judge_is_the_largest_of_those_that_do_not_reward() -> None:
    assert profiles.load("gpu").hold_out == "Qwen/Qwen2.5-7B-Instruct"
    assert profiles.load("laptop").hold_out == "qwen-0.5b"
    assert profiles.load("smoke").hold_out is None


@pytest.mark.parametrize(
    ("flags", "judge"),
    [
        ({"avx2"}, "qwen-1.5b"),
        ({"avx2", "avx512bw"}, "qwen-1.5b"),
        ({"avx2", "avx_vnni"}, "qwen-1.5b-int8"),
        ({"avx512bw", "avx512_vnni"}, "qwen-1.5b-int8"),
        ({"avx512bw", "amx_int8"}, "qwen-1.5b-int8"),
    ],
)
def test_models_are_named_once_each_and_suit_the_processor(
    monkeypatch: pytest.MonkeyPatch, flags: set[str], judge: str
) -> None:
    monkeypatch.setattr(processor, "flags", lambda: frozenset(flags))
    laptop = profiles.load("laptop")
    assert laptop.models == ("smollm2-135m", "qwen-0.5b", judge)
    assert (laptop.judge, laptop.synthesizer) == (judge, judge)
    assert profiles.load("smoke").models == ("smollm2-135m",)
    assert profiles.load("gpu").judge == "Qwen/Qwen2.5-14B-Instruct"


def test_both_forms_of_a_judge_become_one_where_int8_is_no_gain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processor, "flags", lambda: frozenset({"avx2"}))
    file = tmp_path / "p.toml"
    text = profiles.FILE.read_text()
    both = 'judges = ["smollm2-135m", "qwen-1.5b", "qwen-1.5b-int8"]\n'
    file.write_text(text + f"[mine]\nlike = 'laptop'\n{both}")
    assert profiles.load("mine", file).judges == ("smollm2-135m", "qwen-1.5b")


def test_a_profile_keeps_its_judge_up_but_for_the_laptop_whose_chapters_start_their_own() -> None:
    for name in ("smoke", "gpu"):
        profile = profiles.load(name)
        assert {profile.judge, profile.synthesizer} == set(profile.servers), name
    assert profiles.load("laptop").servers == ()  # and not those of smoke, which it is like


#: Heads the sub-table of the profile under test.
TRAINING = "[mine.training]\n"


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("", "none", "profile 'none', which p.toml does not have; choose one of: smoke, gpu"),
        ("pears = 3", "mine", "pears: Extra inputs are not permitted"),
        (f"{TRAINING}stepps = 3", "mine", "training.stepps: Extra inputs are not permitted"),
        (
            f"{TRAINING}rollouts = 1",
            "mine",
            "training.rollouts: Input should be greater",
        ),
        ("judge = 'x'", "mine", "judge 'x' must be one of judges"),
        (
            f"{TRAINING}prompts_per_step = 9",
            "mine",
            r"prompts_per_step \(9\) must not exceed train_tasks",
        ),
        (
            f"{TRAINING}max_completion = 4096",
            "mine",
            r"max_completion \(4096\) must be below context",
        ),
        (f"{TRAINING}device = 'tpu'", "mine", "training.device: Input should be 'cpu' or 'cuda'"),
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
    smoke = shipped[shipped.index("[smoke]") : shipped.index("[laptop]")]
    gpu = "[gpu]\n"
    file.write_text(smoke + gpu + mine)
    with pytest.raises(DataError, match=message):
        profiles.load(name, file)


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    file = tmp_path / "p.toml"
    file.write_text("[bare]\njudge = 'x'\n")
    with pytest.raises(DataError, match="judges: Field required"):
        profiles.load("bare", file)


def test_the_gpu_profile_samples_as_the_paper_does() -> None:
    gpu = load("gpu").training
    assert (gpu.rollouts, gpu.steps, gpu.context) == (16, 300, 3584)
    assert gpu.temperature == 1.0
    assert gpu.rollouts * gpu.prompts_per_step == 96
