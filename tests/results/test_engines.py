"""How far two engines' verdicts lie apart, by hand."""

from __future__ import annotations

import pytest

from rar_lib.core.types import Grade, Verdict
from rar_lib.data.tasks import load_mini_pairs
from rar_lib.evaluation.alignment import PairGrades
from results import engines


def graded(*probabilities: float | None) -> PairGrades:
    """One pair whose preferred response has these verdicts and whose other has none."""
    verdicts = tuple(
        Verdict(criterion_id=f"c{n}", met=None if p is None else p > 0.5, probability=p)
        if p is not None
        else Verdict(criterion_id=f"c{n}", met=None, reason="no readable reply")
        for n, p in enumerate(probabilities)
    )
    grade = Grade(arm="explicit", score=0.5, verdicts=verdicts)
    pair = load_mini_pairs("test")[0]
    empty = Grade(arm="explicit", score=0.5, verdicts=())
    return PairGrades(
        judge="j", arm="explicit", pairs=(pair,), preferred=(grade,), rejected=(empty,)
    )


def test_only_verdicts_that_both_gave_are_compared() -> None:
    found = engines.apart(graded(0.9, 0.4, None, 0.6), graded(0.8, 0.6, 0.5, None))
    assert found == {
        "n": 2,
        "mean": pytest.approx(0.15),
        "most": pytest.approx(0.2),
        "same verdict": 0.5,
    }


def test_every_engine_is_measured() -> None:
    assert engines.ENGINES == ("vllm", "llama.cpp")
