"""What a run is made with: the book's table is that of the library and of the installed TRL."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
from trl import GRPOConfig

from rar_lib.core.errors import DataError
from rar_lib.core.stats import TOLERANCE
from rar_lib.training.settings import PAPER_LEARNING_RATE, Settings, prompts_each, settings_of

CONVENTIONS = Path(__file__).resolve().parents[2] / "book" / "conventions.md"
TRL = {field.name: field.default for field in dataclasses.fields(GRPOConfig)}


def section() -> str:
    return CONVENTIONS.read_text(encoding="utf-8").split("\n## Training\n")[1].split("\n## ")[0]


def rows() -> dict[str, list[str]]:
    """Setting -> its default, TRL's name and TRL's default, as the book says."""
    found = [line.split(" | ") for line in section().splitlines() if line.startswith("| `")]
    named = {}
    for name, *row in found[1:]:
        named[name.strip("| `")] = [cell.strip("` ") for cell in row[:3]]
    return named


def test_the_books_table_names_the_defaults_of_the_library_and_of_trl() -> None:
    table = rows()
    assert {"loss", "clip_epsilon", "scale_rewards", "mask_truncated", "kl_beta"} <= set(table)
    for setting, (ours, name, theirs) in table.items():
        assert ours == str(getattr(Settings(), setting)), setting
        assert theirs == str(TRL[name]), setting


def test_the_book_says_how_flat_a_flat_group_is() -> None:
    assert f"lie within {TOLERANCE} of each other" in section()


def test_a_lora_takes_ten_times_the_papers_rate() -> None:
    assert Settings().learning_rate == pytest.approx(10 * PAPER_LEARNING_RATE)


@pytest.mark.parametrize(
    "wrong",
    [
        {"loss": "ppo"},
        {"clip_epsilon": 0.0},
        {"scale_rewards": "group "},
        {"kl_beta": -0.1},
        {"vllm_share": 1.0},
        {"rollout_server": "10.0.0.7:8000"},  # no scheme
        {"rollout_server": "http://name:secret@10.0.0.7"},  # would be written into the record
        {"rollout_server": "http://10.0.0.7:8000", "device": "cpu"},
    ],
)
def test_a_choice_that_trl_does_not_know_is_refused(wrong: dict[str, Any]) -> None:
    name = next(iter(wrong))
    with pytest.raises(ValueError, match=re.escape(name)):
        Settings(**wrong)


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ({"max_completion": 3584}, r"max_completion \(3584\) must be below context \(3584\)"),
        ({"rollouts": 1}, "rollouts: Input should be greater than or equal to 2"),
        ({"steps": 0, "loss": "ppo"}, "steps: Input .*; loss: Input should be 'grpo', 'dapo'"),
        ({"step": 5}, "step: Extra inputs are not permitted"),
    ],
    ids=str,
)
def test_what_a_user_chose_and_cannot_be_is_named(chosen: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=f"^these settings can't be: .*{words}"):
        settings_of(chosen)
    assert settings_of({"max_completion": 3583}).max_completion == 3583


def test_processes_that_cannot_share_a_step_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(device="cpu", prompts_per_step=6)
    assert prompts_each(settings) == 6
    monkeypatch.setenv("RANK", "0")
    for processes, each in ((2, 3), (3, 2), (6, 1)):
        monkeypatch.setenv("WORLD_SIZE", str(processes))
        assert prompts_each(settings) == each
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(DataError, match=r"4 processes can't share 6 prompts a step.*multiple of 4"):
        prompts_each(settings)
