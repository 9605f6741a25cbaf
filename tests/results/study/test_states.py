"""Which states of the library's code count as one: those that a repeat showed to train the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from results.study import run
from results.study.states import REPEATS, States

HERE = "2 cores, float32"
DIFFERS = [{"step": 12, "answers": 80, "same": 79}]


def repeat(before: str, now: str, arm: str = "explicit", **change: Any) -> dict[str, Any]:
    looks = [{"step": 0, "answers": 80, "same": 80}, {"step": 12, "answers": 80, "same": 80}]
    machine = [HERE, HERE]
    return {"arm": arm, "looks": looks, "code": [before, now], "machine": machine, **change}


def unit(arm: str, code: str) -> dict[str, Any]:
    start = {"machine": "2 cores", "number format": "float32"}
    return {"arm": arm, "decides": {"code": code}, "starts": [start]}


def state(repeats: list[dict[str, Any]], arm: str, code: str) -> str:
    return States.of(repeats).state(unit(arm, code))


def test_without_a_repeat_every_state_stands_for_itself() -> None:
    assert state([], "explicit", "old") == "old"


def test_a_repeat_joins_two_states_and_repeats_join_in_a_row() -> None:
    row = [repeat("first", "second"), repeat("second", "third")]
    assert state(row, "explicit", "first") == "third"
    assert state(row, "explicit", "second") == "third"
    assert state(row, "explicit", "third") == "third"


@pytest.mark.parametrize("of", [design.name for design in run.DESIGNS])
def test_a_repeat_speaks_of_units_of_its_own_arm_alone(of: str) -> None:
    """The names are those that units say, not the methods that arms are trained by."""
    for design in run.DESIGNS:
        joined = state([repeat("old", "new", of)], design.name, "old") == "new"
        assert joined == (design.name == of)


@pytest.mark.parametrize(
    "change",
    [
        {"looks": DIFFERS},
        {"looks": []},
        {"machine": [HERE, "4 cores, float32"]},
        {"machine": ["4 cores, float32", "4 cores, float32"]},
    ],
    ids=["one answer differs", "nothing compared", "two machines", "on another machine"],
)
def test_a_repeat_that_differs_joins_nothing(change: dict[str, Any]) -> None:
    assert state([repeat("old", "new", **change)], "explicit", "old") == "old"


@pytest.mark.parametrize("order", [1, -1])
def test_one_repeat_that_differs_stands_against_all_that_do_not(order: int) -> None:
    both = [repeat("old", "new", looks=DIFFERS), repeat("old", "new")]
    assert state(both[::order], "explicit", "old") == "old"
    # It says nothing of other arms.
    apart = [repeat("old", "new", "rlvr", looks=DIFFERS), repeat("old", "new", "explicit")]
    assert state(apart[::order], "explicit", "old") == "new"


def test_a_code_that_was_gone_back_to_ends() -> None:
    circle = [repeat("one", "two"), repeat("two", "one")]
    assert state(circle, "explicit", "one") in ("one", "two")


def test_only_the_first_digits_of_a_digest_count() -> None:
    assert state([repeat("a" * 12, "b" * 12)], "explicit", "a" * 64) == "b" * 12


def test_a_variant_of_an_arm_speaks_for_itself_alone() -> None:
    repeats = [repeat("old", "new", "explicit, keep 0.5")]
    assert state(repeats, "explicit, keep 0.5", "old") == "new"
    assert state(repeats, "explicit", "old") == "old"


def test_the_record_is_read(tmp_path: Path) -> None:
    path = tmp_path / "repeats.json"
    assert States.recorded(path) == States()
    path.write_text(json.dumps({"repeats": [repeat("old", "new")]}))
    assert States.recorded(path).state(unit("explicit", "old")) == "new"
    assert States.recorded(REPEATS).later
