"""From grades to agreement and evaluation, on grades worked out by hand."""

from __future__ import annotations

import pytest

from rar_lib.core.types import Grade, Pair, Usage, Verdict
from rar_lib.data.tasks import load_mini_pairs
from rar_lib.evaluation.alignment import PairGrades, criterion_agreement, difference
from rar_lib.evaluation.held_out import paired_difference

#: One pair of each of four tasks: what happens with two of one task is in test_alignment.py.
PAIRS = tuple({p.task_id: p for p in load_mini_pairs()}.values())[:4]


def grades(scores: list[float | None]) -> tuple[Grade, ...]:
    return tuple(Grade(arm="implicit", score=s, usage=Usage(calls=1)) for s in scores)


def graded(preferred: list[float | None], rejected: list[float | None]) -> PairGrades:
    return PairGrades("judge", "implicit", PAIRS, grades(preferred), grades(rejected))


def test_accuracy_leaves_unscored_pairs_out_and_counts_them() -> None:
    g = graded([0.9, 0.5, None, 0.2], [0.1, 0.5, 0.4, 0.6])
    assert g.unscored == 1
    strict, half = g.accuracy(), g.accuracy(ties=0.5)
    assert strict is not None
    assert half is not None
    assert strict.value == pytest.approx(1 / 3)
    assert half.value == pytest.approx(0.5)
    assert half.n == 3
    assert g.usage.calls == 8


def test_nothing_scored_is_no_accuracy_at_all() -> None:
    assert graded([None] * 4, [0.1] * 4).accuracy() is None


def test_differences_pair_up_what_both_scored() -> None:
    a = graded([0.9, 0.9, 0.9, None], [0.1, 0.1, 0.1, 0.1])
    b = graded([0.1, 0.9, None, 0.9], [0.9, 0.1, 0.1, 0.1])
    gap = difference(a, b)
    assert gap is not None
    assert gap.n == 2
    assert gap.value == pytest.approx(0.5)
    assert difference(graded([None] * 4, [None] * 4), b) is None


def with_verdicts(gold: dict[str, bool], right: bool) -> Grade:
    verdicts = tuple(
        Verdict(criterion_id=k, met=v is right, probability=0.9 if v is right else 0.1)
        for k, v in gold.items()
    )
    return Grade(arm="explicit", score=0.5, verdicts=verdicts)


def test_a_judge_that_is_always_right_agrees_and_one_that_is_always_wrong_does_not() -> None:
    def judged(right: bool) -> PairGrades:
        return PairGrades(
            "j",
            "explicit",
            PAIRS,
            tuple(with_verdicts(p.gold_preferred, right) for p in PAIRS),
            tuple(with_verdicts(p.gold_rejected, right) for p in PAIRS),
        )

    for right, value in ((True, 1.0), (False, 0.0)):
        found = criterion_agreement(judged(right))
        assert found.accuracy is not None
        assert found.accuracy.value == value
        assert found.auc is not None
        assert found.auc.value == value
        assert found.n == sum(len(p.gold_preferred) + len(p.gold_rejected) for p in PAIRS)


def test_unscored_verdicts_are_counted_and_kept_out_of_agreement() -> None:
    pair: Pair = PAIRS[0]
    keys = list(pair.gold_preferred)
    verdicts = [Verdict(criterion_id=k, met=pair.gold_preferred[k]) for k in keys[1:]]
    verdicts.append(Verdict(criterion_id=keys[0], met=None, reason="unreadable"))
    grade = Grade(arm="explicit", score=None, verdicts=tuple(verdicts))
    found = criterion_agreement(PairGrades("j", "explicit", (pair,), (grade,), (grade,)))
    assert found.unscored == 2


def test_paired_differences_ignore_what_one_side_could_not_score() -> None:
    before = {"a": 0.2, "b": 0.4, "c": None}
    after = {"a": 0.5, "b": None, "c": 0.9}
    gap = paired_difference(after, before)
    assert gap is not None
    assert gap.n == 1
    assert gap.value == pytest.approx(0.3)
