"""What a judge must have shown before a claim rests on it."""

from __future__ import annotations

import math
from typing import Any

import pytest

from rar_lib.core.decision import Finding, decide, not_testable
from rar_lib.core.stats import Comparison, Interval
from rar_lib.evaluation.alignment import CriterionAgreement
from rar_lib.evaluation.held_out import rise, spread
from rar_lib.evaluation.judge_roles import (
    MARGIN,
    MAX_UNSCORED,
    may_confirm,
    may_enter_size_claim,
    may_hold_out,
    may_reward,
)


def agreement(
    low: float = 0.8, *, balanced: float | None = 0.75, n: int = 24, auc: bool = True
) -> CriterionAgreement:
    area = Interval(low + 0.05, low, low + 0.1, n)
    right = None if balanced is None else Interval(balanced, balanced - 0.1, balanced + 0.1, n)
    return CriterionAgreement(200, 0, None, right, area if auc else None, None)


@pytest.mark.parametrize(
    ("low", "share", "passed"),
    [
        (0.51, 0.5, True),
        (0.5, 0.9, False),  # the interval must exclude one half
        (0.45, 0.9, False),
        (0.3, 0.9, False),  # wholly below: it reads criteria the wrong way round
        (0.8, 0.499, False),
        (0.8, None, True),
    ],
)
def test_who_may_stand_for_a_size(low: float, share: float | None, passed: bool) -> None:
    gate = may_enter_size_claim(agreement(low), share)
    assert gate.passed is passed
    assert gate.auc == agreement(low).auc
    assert gate.share == share


def test_a_judge_without_a_size_claim_says_all_that_is_missing() -> None:
    assert may_enter_size_claim(agreement(0.45), 0.38).reason == (
        "its AUC 0.50 [0.45, 0.55] does not lie above 0.5; "
        "0.38 of its probability is readable, 0.5 is needed"
    )
    assert may_enter_size_claim(agreement(0.8), 0.97).reason == (
        "its AUC 0.85 [0.80, 0.90] lies above 0.5, 0.97 is readable"
    )


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (agreement(auc=False), "have no AUC"),
        (agreement(0.9, n=7), "over 7 tasks, 8 are needed"),
    ],
)
def test_without_an_interval_no_gate_opens(found: CriterionAgreement, words: str) -> None:
    for gate in (
        may_enter_size_claim(found, 0.9),
        may_hold_out(found, detectable=0.001, effect=0.5),
    ):
        assert not gate.passed
        assert words in gate.reason


@pytest.mark.parametrize(
    ("low", "balanced", "detectable", "effect", "passed"),
    [
        (0.75, 0.75, 0.02, 0.05, True),  # sees 0.02 / (2 * 0.75 - 1) = 0.04
        (0.74, 0.75, 0.02, 0.05, False),
        (0.75, 0.75, 0.02, 0.04, False),  # just as large is not below
        (0.9, 0.65, 0.02, 0.05, False),  # 0.02 / 0.3 = 0.067
        (0.9, 0.5, 0.001, 0.9, False),  # such verdicts show nothing at all
        (0.9, 0.4, 0.001, 0.9, False),
        (0.9, None, 0.001, 0.9, False),
        (0.9, 1.0, 0.0, 0.01, True),
    ],
)
def test_who_may_confirm_an_effect(
    low: float, balanced: float | None, detectable: float, effect: float, passed: bool
) -> None:
    gate = may_hold_out(agreement(low, balanced=balanced), detectable=detectable, effect=effect)
    assert gate.passed is passed


def test_what_a_hold_out_could_see_is_in_true_units() -> None:
    gate = may_hold_out(agreement(0.6, balanced=0.65), detectable=0.03, effect=0.05)
    assert gate.smallest == pytest.approx(0.1)
    assert gate.reason == (
        "its AUC 0.65 [0.60, 0.70] does not lie wholly at 0.75 or above; "
        "it can see no true effect below 0.100, and the one to be confirmed is 0.050"
    )


@pytest.mark.parametrize("balanced", [0.5, 0.4, None])
def test_a_hold_out_that_sees_nothing_is_said_to_see_nothing_of_any_size(
    balanced: float | None,
) -> None:
    gate = may_hold_out(agreement(0.9, balanced=balanced), detectable=0.03, effect=0.05)
    assert gate.smallest == math.inf
    assert gate.reason.startswith("it can see no true effect, however large, and the one to be")


@pytest.mark.parametrize(("detectable", "effect"), [(0.1, 0.0), (0.1, -0.2), (-0.1, 0.2)])
def test_there_is_an_effect_to_confirm(detectable: float, effect: float) -> None:
    with pytest.raises(ValueError, match="need an effect above 0"):
        may_hold_out(agreement(), detectable=detectable, effect=effect)


def preferring(value: float = 0.7, half: float = 0.1, *, n: int = 24) -> Finding:
    gap = Interval(value - 0.5, value - half - 0.5, value + half - 0.5, n, half / 2)
    sure = gap.low > 0 or gap.high < 0
    return decide(Comparison(gap, half * 1.4, 0.01 if sure else 0.3), margin=MARGIN)


GOOD = agreement(0.6)
BLIND = agreement(0.4)
FEW = agreement(0.6, n=7)


@pytest.mark.parametrize(
    ("found", "pairs", "more", "passed", "words"),
    [
        (GOOD, None, {}, True, "its AUC 0.65 [0.60, 0.70] lies above 0.5"),
        (None, preferring(), {}, True, "it prefers what people prefer in 0.70 [0.60, 0.80] of pai"),
        (GOOD, preferring(), {"share": 0.5}, True, "of pairs; 0.50 of its probability is readable"),
        (BLIND, None, {}, False, "its AUC 0.45 [0.40, 0.50] does not lie above 0.5"),
        (BLIND, preferring(), {}, False, "its AUC 0.45 [0.40, 0.50] does not lie above 0.5"),
        # undecided preferences carry no trust, and speak against none
        (None, preferring(0.55), {}, False, "0.55 [0.45, 0.65] of pairs, not certainly above 0.5"),
        (GOOD, preferring(0.55), {}, True, "; but it prefers what people prefer in 0.55 [0.45, 0"),
        # at chance, or the other way round, they do
        (GOOD, preferring(0.51, 0.03), {}, False, "0.51 [0.48, 0.54] of pairs, not certainly"),
        (GOOD, preferring(0.2), {}, False, "0.20 [0.10, 0.30] of pairs, not certainly above 0.5"),
        # nor do too few labels of one kind
        (GOOD, preferring(n=7), {}, True, "; but its preferences are over 7 tasks, 8 are needed"),
        (FEW, preferring(), {}, True, "; but its AUC is over 7 tasks, 8 are needed"),
        (FEW, preferring(n=7), {}, False, "hold the rarer label; its preferences are over 7"),
        (FEW, preferring(0.55), {}, False, "of pairs, not certainly above 0.5"),
        (FEW, None, {}, False, "its AUC is over 7 tasks, 8 are needed"),
        (FEW, None, {"share": 0.9}, False, "its AUC is over 7 tasks, 8 are needed"),
        (None, not_testable("nothing was scored on both sides"), {}, False, "can't be judged"),
        # verdicts on criteria say nothing of a rating
        (GOOD, None, {"rates": True}, False, "no preference was given to hold that against"),
        (GOOD, preferring(n=7), {"rates": True}, False, "its preferences are over 7 tasks"),
        (GOOD, preferring(0.55), {"rates": True}, False, "not certainly above 0.5"),
        (GOOD, preferring(), {"rates": True}, True, "it prefers"),
        # an answer that is mostly something else, or mostly missing, is none
        (GOOD, None, {"share": 0.49}, False, "0.49 of its probability is readable, 0.5 is needed"),
        (GOOD, None, {"unscored": 0.25}, True, "its AUC"),
        (GOOD, None, {"unscored": 0.26}, False, "26% of the responses got no score, training stop"),
    ],
)
def test_who_may_be_a_reward(
    found: CriterionAgreement | None,
    pairs: Finding | None,
    more: dict[str, Any],
    passed: bool,
    words: str,
) -> None:
    gate = may_reward(found, pairs, **{"share": None, "unscored": 0.0} | more)
    assert gate.passed is passed
    assert words in gate.reason


def test_the_limits_are_those_of_the_library() -> None:
    from rar_lib.book import claims
    from rar_lib.training.rewards import RubricReward

    assert RubricReward.max_unscored == MAX_UNSCORED
    assert claims.margin("accuracy") == MARGIN


def looks(
    training: tuple[float, float], hold_out: tuple[float, float], *, scale: float = 1.0
) -> list[dict[str, Any]]:
    """Two looks at 12 tasks, by means; ``scale`` stretches what the hold-out judge gives."""
    tasks = [f"t-{n}" for n in range(12)]
    found = []
    for step, (one, other) in enumerate(zip(training, hold_out, strict=True)):
        jitter = [0.02 * ((n * 7 + step) % 5 - 2) for n in range(12)]
        found.append(
            {
                "step": step,
                "training": {t: one + 0.1 * (n % 2) for n, t in enumerate(tasks)},
                "hold-out": {
                    task: other + scale * (0.1 * (n % 2) + jitter[n])
                    for n, task in enumerate(tasks)
                },
            }
        )
    return found


@pytest.mark.parametrize("scale", [0.1, 1.0, 5.0])
def test_a_gate_does_not_depend_on_the_scale_that_a_judge_grades_on(scale: float) -> None:
    """One rating beside a mean of verdicts: the same answers, stretched."""
    gate = may_confirm(looks((0.4, 0.7), (0.5, 0.6), scale=scale), agreement())
    assert gate.passed
    assert not may_confirm(looks((0.4, 0.41), (0.5, 0.6), scale=scale), agreement()).passed


def test_a_rise_is_put_on_the_scale_of_the_hold_out_judge_by_hand() -> None:
    found = looks((0.4, 0.7), (0.5, 0.6), scale=0.5)
    wide = spread(found, "training")
    narrow = spread(found, "hold-out")
    assert wide == pytest.approx(0.1 * (12 * 0.25 / 11) ** 0.5)  # six tasks at 0, six at 0.1
    other = rise(found, "hold-out")
    assert other is not None
    expected = may_hold_out(agreement(), detectable=other.detectable, effect=0.3 * narrow / wide)
    assert may_confirm(found, agreement()) == expected


def flat(role: str) -> list[dict[str, Any]]:
    found = looks((0.4, 0.7), (0.5, 0.6))
    for look, score in zip(found, (0.4, 0.7), strict=True):
        look[role] = dict.fromkeys(look[role], score)
    return found


@pytest.mark.parametrize(
    ("found", "known", "why"),
    [
        (looks((0.4, 0.7), (0.5, 0.6)), None, "agreement with labels was not measured"),
        (looks((0.4, 0.4), (0.5, 0.6)), agreement(), "there is no rise to confirm"),
        (looks((0.7, 0.4), (0.5, 0.6)), agreement(), "there is no rise to confirm"),
        ([{"step": 0, "training": {"t": 0.5}}], agreement(), "no second judge that looked"),
        (flat("training"), agreement(), "has no scale"),
        (flat("hold-out"), agreement(), "has no scale"),
        (
            [{"step": n, "training": {"t": 0.5}, "hold-out": {"t": None}} for n in (0, 1)],
            agreement(),
            "no task was scored before and after by both",
        ),
        (looks((0.4, 0.7), (0.5, 0.6)), agreement(0.6), "does not lie wholly at 0.75 or above"),
    ],
)
def test_who_may_confirm_a_rise_of_a_run(
    found: list[dict[str, Any]], known: CriterionAgreement | None, why: str
) -> None:
    gate = may_confirm(found, known)
    assert not gate.passed
    assert why in gate.reason
