"""Looks at held-out tasks: roles, courses and changes, on numbers worked by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from rar_lib.book.results import load, origin
from rar_lib.core.errors import DataError
from rar_lib.core.types import Grade, Task
from rar_lib.evaluation.held_out import change, course, look_with, since_start, slope

LOOKS = [
    {"step": 0, "training": {"a": 0.2, "b": 0.4}, "hold-out": {"a": 0.5, "b": 0.5}},
    {"step": 4, "training": {"a": 0.6, "b": None}, "hold-out": {"a": 0.4, "b": 0.3}},
]


def test_a_course_is_the_mean_of_what_was_scored_at_every_look() -> None:
    found = course(LOOKS, "training")
    assert {step: i.value for step, i in found.items()} == pytest.approx({0: 0.3, 4: 0.6})


def test_a_change_pairs_the_tasks_that_both_looks_scored() -> None:
    gain = change(LOOKS, "training")
    assert gain is not None
    assert gain.value == pytest.approx(0.4)  # task a alone
    fall = change(LOOKS, "hold-out")
    assert fall is not None
    assert fall.value == pytest.approx(-0.15)
    nothing = [LOOKS[0], {"step": 4, "training": {"a": None, "b": None}}]
    assert change(nothing, "training") is None


def test_gains_since_the_start_are_paired_and_begin_at_zero() -> None:
    found = since_start(LOOKS, "training")
    assert {step: (i.value, i.n) for step, i in found.items()} == {
        0: (0.0, 2),
        4: (pytest.approx(0.4), 1),
    }
    assert since_start([{"step": 0, "training": {"a": None}}], "training") == {}


def test_a_slope_is_taken_task_by_task_over_all_looks() -> None:
    looks = [
        {"step": 0, "training": {"a": 0.1, "b": 0.5, "c": None}},
        {"step": 2, "training": {"a": 0.3, "b": 0.5, "c": 0.2}},
        {"step": 6, "training": {"a": 0.7, "b": 0.5, "c": 0.9}},
    ]
    found = slope(looks, "training")
    assert found is not None
    assert (found.value, found.n) == (pytest.approx(0.05), 2)  # 0.1 a step, and 0; c was not always
    assert slope(looks[:1], "training") is None
    assert slope([{"step": s, "training": {"c": None}} for s in (0, 1)], "training") is None


def test_a_role_that_nobody_had_is_named() -> None:
    with pytest.raises(DataError, match="no grader 'gold'"):
        course(LOOKS, "gold")


class Length:
    """A grader that pays for words; a real one needs a model."""

    def __init__(self, a_word: float | None) -> None:
        self.a_word = a_word

    async def grade(self, task: Task, response: str, arm: str) -> Grade:
        if self.a_word is None:
            return Grade(arm="implicit", score=None, reason="no reply")
        return Grade(arm="implicit", score=min(1.0, self.a_word * len(response.split())))


def test_every_role_grades_every_answer_and_unscored_stays_none() -> None:
    tasks = [Task(id=i, domain="science", question=f"Why {i}?") for i in ("a", "b")]
    measure = look_with(
        {"training": (Length(0.1), "implicit"), "hold-out": (Length(None), "explicit")},  # type: ignore[dict-item]
        tasks,
    )
    assert measure(3, {"a": "one two", "b": "one"}) == {
        "training": {"a": pytest.approx(0.2), "b": pytest.approx(0.1)},
        "hold-out": {"a": None, "b": None},
    }


def test_a_result_that_was_not_recorded_is_none_and_a_recorded_one_says_when(
    tmp_path: Path,
) -> None:
    assert load("judges", tmp_path) is None
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "judges.json").write_text('{"date": "2026-01-02", "machine": "two"}')
    found = load("judges", tmp_path)
    assert found is not None
    assert origin(found) == "recorded on 2026-01-02, two"
