"""Rejection sampling: the judge's best is kept, and what could not be judged is nothing."""

from __future__ import annotations

import pytest

from rar_lib.core.errors import DataError
from rar_lib.core.types import Task
from rar_lib.training.sft import Selected, _best, kept_responses, references

TASK = Task(id="t", question="Why?")


def test_the_first_of_the_best_is_kept() -> None:
    best = _best(TASK, ["a", "b", "c"], [0.2, 0.7, 0.7])
    assert best == Selected("t", "b", 0.7, [0.2, 0.7, 0.7])
    assert _best(TASK, ["a", "b"], [None, 0.0]) == Selected("t", "b", 0.0, [None, 0.0])


def test_what_could_not_be_scored_stays_unscored_and_is_not_imitated() -> None:
    nothing = _best(TASK, ["a", "b"], [None, None])
    assert (nothing.response, nothing.score) == (None, None)
    some = Selected("u", "fine", 0.5, [0.5])
    assert kept_responses([nothing, some]) == {"u": "fine"}


def test_a_missing_reference_is_named() -> None:
    given = Task(id="r", question="Why?", reference="So.")
    assert references([given]) == {"r": "So."}
    with pytest.raises(DataError, match="no reference answer in t: sft_reference imitates"):
        references([given, TASK])
