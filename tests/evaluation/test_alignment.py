"""Pairs of one task hang together; a judge is asked twice; a wrong reference must cost."""

from __future__ import annotations

import asyncio
import json
import math
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from scripted import says, server

from rar_lib.core.decision import Finding, decide_family
from rar_lib.core.errors import DataError
from rar_lib.core.prompts import Wording, fill
from rar_lib.core.stats import Comparison, Interval, cluster_interval, cluster_share, sign_flip_p
from rar_lib.core.types import ARMS, Grade, Pair, Usage, Verdict
from rar_lib.data.tasks import load_mini, load_mini_pairs
from rar_lib.evaluation.alignment import (
    CriterionAgreement,
    PairGrades,
    against,
    at_every_size,
    by,
    criterion_agreement,
    extra_gain,
    grade_pairs,
    paper_claims,
    recounted,
    spread_difference,
    variance_between,
)
from rar_lib.evaluation.held_out import paired_difference
from rar_lib.judging.calibration import fit
from rar_lib.judging.chat import Chat
from rar_lib.judging.judge import Judge
from rar_lib.judging.messages import Messages


def pair(name: str, task: str, axis: str = "accuracy", **gold: bool) -> Pair:
    return Pair(
        id=name,
        task_id=task,
        preferred=f"good {name}",
        rejected=f"bad {name}",
        axis=axis,
        difficulty="obvious" if axis == "accuracy" else "subtle",  # type: ignore[arg-type]
        gold_preferred=gold,
        gold_rejected=gold,
    )


PAIRS = (
    pair("a-1", "a"),
    pair("a-2", "a"),
    pair("b-1", "b", "tone"),
    pair("c-1", "c", "tone"),
)
USED = Usage(calls=4, prompt_tokens=100, cached_tokens=60, completion_tokens=4, seconds=2.0)


def grades(*scores: float | None) -> tuple[Grade, ...]:
    return tuple(Grade(arm="implicit", score=s, usage=USED) for s in scores)


def graded(preferred: tuple[float | None, ...], rejected: tuple[float | None, ...]) -> PairGrades:
    return PairGrades("j", "implicit", PAIRS, grades(*preferred), grades(*rejected))


MIXED = graded((0.9, 0.9, 0.5, 0.1), (0.1, 0.1, 0.5, 0.9))  # win, win, tie, loss
SURE = graded((0.9,) * 4, (0.1,) * 4)


def test_accuracy_is_over_pairs_and_its_interval_over_tasks() -> None:
    strict = MIXED.accuracy()
    half = MIXED.accuracy(ties=0.5)
    assert strict == cluster_share([1, 1, 0, 0], ["a", "a", "b", "c"])
    assert half is not None
    assert (half.value, half.n) == (0.625, 3)
    assert MIXED.ties == 1


def test_pairs_that_were_seen_before_can_be_left_out() -> None:
    rest = MIXED.without({"a-2", "c-1", "z"})
    assert [p.id for p in rest.pairs] == ["a-1", "b-1"]
    assert rest.wins(ties=0.5) == {"a-1": 1.0, "b-1": 0.5}
    assert MIXED.without({p.id for p in PAIRS}).accuracy() is None


def test_a_judge_that_wins_every_pair_is_not_certain() -> None:
    sure = SURE.accuracy()
    assert sure is not None
    assert (sure.value, sure.low) == (1.0, pytest.approx(0.05 ** (1 / 3)))


def test_accuracy_by_axis_and_difficulty() -> None:
    found = by(MIXED, "axis")
    assert {k: (v.value, v.n) for k, v in found.items()} == {
        "accuracy": (1.0, 1),
        "tone": (0.25, 2),
    }
    assert list(by(MIXED, "difficulty")) == ["obvious", "subtle"]
    assert by(MIXED, "axis", ties=0.0)["tone"].value == 0.0
    assert by(graded((None,) * 4, (0.1,) * 4), "axis") == {}


def test_cost_of_a_pair() -> None:
    # Two grades a pair: 8 calls, 200 tokens read, 80 of them computed, 8 written, 4 s in all.
    cost = replace(MIXED, concurrency=8).cost
    assert (cost.calls, cost.prompt_tokens, cost.completion_tokens) == (8.0, 200.0, 8.0)
    assert cost.computed_tokens == 88.0
    assert cost.seconds == 0.5
    # No more requests are in flight than there are.
    assert replace(MIXED, concurrency=1000).cost.seconds == pytest.approx(16 / 32 / 4)


def test_differences_are_paired_by_pair_and_counted_by_task() -> None:
    found = against(SURE, MIXED)
    assert found is not None
    assert found.difference == cluster_interval([0, 0, 0.5, 1.0], ["a", "a", "b", "c"])


def test_the_extra_gain_of_one_judge_is_over_tasks_not_pairs() -> None:
    # Left gains 0, 0, 0.5, 1 on the four pairs, right nothing: two pairs of task a count once.
    found = extra_gain((SURE, MIXED), (MIXED, MIXED))
    assert found is not None
    assert found.difference == cluster_interval([0, 0, 0.5, 1.0], ["a", "a", "b", "c"])
    assert found.difference.n == 3
    nothing = graded((None,) * 4, (0.1,) * 4)
    assert extra_gain((SURE, MIXED), (MIXED, nothing)) is None
    turned = extra_gain((MIXED, MIXED), (SURE, MIXED))
    assert turned is not None
    assert turned.difference.value == -found.difference.value


def test_the_variance_between_judges_by_hand() -> None:
    # Judges at +1/2 and -1/2 of their mean on each of three tasks: variance 1/2, no noise.
    sure = variance_between(np.array([[1.0, 0.0]] * 3))
    assert sure == pytest.approx([0.5] * 3)
    # y = (1/2, -1/2), (-1/2, 1/2), (0, 0): sums 0, squares 1/2 each, so -1 / (1 * 3 * 2).
    noise = variance_between(np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]))
    assert noise.mean() == pytest.approx(-1 / 6)


def judged(rng: np.random.Generator, accuracy: list[float], shared: float) -> np.ndarray:
    """Wins on 24 tasks of judges that take a task's common luck with chance ``shared``."""
    luck = rng.random((24, 1))
    own = rng.random((24, len(accuracy)))
    uniform = np.where(rng.random((24, len(accuracy))) < shared, luck, own)
    return (uniform < np.array(accuracy)).astype(float)


def test_correlated_and_independent_judges_of_one_accuracy_have_no_spread() -> None:
    rng = np.random.default_rng(11)
    new: list[float] = []
    old: list[float] = []
    called = 0
    for _ in range(600):
        rubric = judged(rng, [0.7] * 3, 0.0)
        likert = judged(rng, [0.7] * 3, 0.9)
        old.append(rubric.mean(axis=0).std() - likert.mean(axis=0).std())
        gaps = variance_between(rubric) - variance_between(likert)
        new.append(gaps.mean())
        called += len(new) <= 100 and sign_flip_p(gaps, range(24), draws=999) <= 0.05
    error = np.std(new) / 600**0.5
    assert abs(np.mean(new)) < 3 * error
    assert np.mean(old) > 20 * np.std(old) / 600**0.5  # deviations of accuracies: biased by noise
    assert called <= 11  # 5 % of 100, nearly three standard deviations above


def test_a_spread_that_is_there_is_estimated_without_bias() -> None:
    rng = np.random.default_rng(12)
    accuracy = [0.5, 0.7, 0.9]  # variance 0.04
    found = [variance_between(judged(rng, accuracy, 0.5)).mean() for _ in range(600)]
    assert np.mean(found) == pytest.approx(0.04, abs=3 * np.std(found) / 600**0.5)


def test_spread_is_compared_over_tasks_among_three_judges_or_more() -> None:
    found = spread_difference([MIXED, SURE, SURE], [MIXED, MIXED, MIXED])
    assert isinstance(found, Comparison)
    assert found.difference.n == 3
    table = np.array([[1, 1, 1], [0.5, 1, 1], [0, 1, 1]])  # task a has two pairs, both won
    assert found.difference.value == pytest.approx(variance_between(table).mean())
    two = spread_difference([SURE, MIXED], [SURE, MIXED])
    assert isinstance(two, Finding)
    assert str(two) == "not testable here: 2 judges pass the gate, three are needed"
    nothing = graded((None,) * 4, (0.1,) * 4)
    none = spread_difference([SURE, SURE, nothing], [SURE] * 3)
    assert str(none) == "not testable here: 0 tasks were scored by every judge, three are needed"
    with pytest.raises(ValueError, match="got 1 and 2"):
        spread_difference([SURE], [SURE, SURE])


def by_judge(value: float, p: float) -> Comparison:
    return Comparison(Interval(value, value - 0.1, value + 0.1, 24, 0.05), 0.14, p)


@pytest.mark.parametrize(
    ("judges", "value", "p", "word"),
    [
        # It stands if it stands for the judge that speaks least for it, at that one's own p.
        ([(0.3, 0.001), (0.2, 0.04), (0.4, 0.002)], 0.2, 0.04, "supported"),
        ([(0.3, 0.001), (0.2, 0.06), (0.4, 0.002)], 0.2, 0.06, "undecided"),
        # It falls if one says the opposite, any of the three: three times its p.
        ([(0.3, 0.001), (-0.2, 0.01), (0.4, 0.002)], -0.2, 0.03, "contradicted"),
        ([(0.3, 0.001), (-0.2, 0.02), (-0.1, 0.5)], -0.2, 0.06, "undecided"),
        ([(0.3, 0.001), (0.0, 1.0)], 0.0, 1.0, "undecided"),
    ],
)
def test_a_claim_about_every_size_is_that_of_the_judge_that_speaks_least_for_it(
    judges: list[tuple[float, float]], value: float, p: float, word: str
) -> None:
    found = at_every_size([by_judge(*one) for one in judges])
    assert isinstance(found, Comparison)
    assert (found.difference.value, found.p) == (value, pytest.approx(p))
    assert decide_family({"": found})[""].word == word


def test_a_claim_about_every_size_takes_two_judges_that_were_all_scored() -> None:
    one = by_judge(0.3, 0.001)
    assert str(at_every_size([one])) == (
        "not testable here: 1 judge passes the gate, two are needed"
    )
    assert at_every_size([one, None]) is None


def test_the_papers_claims_are_asked_of_every_size_together() -> None:
    arms = ("implicit", "direct_likert", "explicit", "synthetic_noref")
    judges = {name: dict.fromkeys(arms, SURE) | {"direct_likert": MIXED} for name in "ab"}
    found = paper_claims(judges, ["a", "b"])
    key = "alignment.implicit_over_likert"
    assert found[f"{key}, every size"] == found[key] == found[f"{key}, a"]
    assert isinstance(found["alignment.synthetic_noref_over_likert"], Comparison)
    few = [name for name in paper_claims(judges, ["b"]) if name.endswith("every size")]
    none = [name for name in paper_claims(judges, []) if name.endswith("every size")]
    assert few == none == [f"{key}, every size", "alignment.explicit_over_likert, every size"]


@pytest.mark.parametrize(
    ("judges", "value", "needed"),
    [
        # (0.22 / 0.1)^2 of 48 tasks at 5 %: z 1.960, and 0.842 for the power.
        (("",), -0.1, 233),
        # At 2.5 %, z 2.241, and at 1.67 %, z 2.394: 1.100 and 1.155 times the root of that.
        (("", ", a"), -0.1, 282),
        (("", ", a", ", b"), -0.1, 310),
        # It stands at the p of one judge, however many there are.
        (("", ", a", ", b"), 0.1, 233),
    ],
)
def test_the_tasks_that_would_contradict_a_claim_about_every_size_count_its_judges(
    judges: tuple[str, ...], value: float, needed: int
) -> None:
    key = "alignment.explicit_over_likert"
    every = Comparison(Interval(value, value - 0.16, value + 0.16, 48, 0.0785), 0.22, 0.3)
    one = decide_family({f"{key}, every size": every})
    names = [*(f"{key}{judge}" for judge in judges), "alignment.explicit_over_implicit, a"]
    found = recounted(one, among=[*names, *one])
    assert found[f"{key}, every size"].needed == needed
    beside = decide_family(dict.fromkeys([f"{key}, every size", *names], every))
    again = recounted(beside)
    assert [again[name] for name in names] == [beside[name] for name in names]


LABELLED = (pair("a-1", "a", x=True, y=False), pair("b-1", "b", x=True, y=False))


def explicit(*rows: tuple[float, float], hard: bool = False) -> PairGrades:
    """Yes-probabilities of x and y for both responses of both pairs, preferred ones first."""

    def grade(x: float, y: float) -> Grade:
        verdicts = tuple(
            Verdict(criterion_id=k, met=p > 0.5, probability=None if hard else p)
            for k, p in (("x", x), ("y", y))
        )
        return Grade(arm="explicit", score=0.5, verdicts=verdicts)

    four = tuple(grade(*row) for row in rows)
    return PairGrades("j", "explicit", LABELLED, four[:2], four[2:])


def test_criterion_agreement_by_hand() -> None:
    # x is true and y is false everywhere. One x is missed, two y are believed.
    found = criterion_agreement(explicit((0.9, 0.2), (0.8, 0.7), (0.4, 0.1), (0.95, 0.6)))
    assert found.accuracy is not None
    assert found.balanced is not None
    assert found.auc is not None
    assert (found.n, found.unscored) == (8, 0)
    assert found.accuracy.value == 5 / 8
    assert found.balanced.value == pytest.approx((3 / 4 + 2 / 4) / 2)
    # 0.4 loses to 0.7 and 0.6, all else is in order: 14 of 16.
    assert found.auc.value == 14 / 16
    assert found.accuracy.n == found.auc.n == 2
    # Eight bins of one: the mean distance to the label.
    distance = 0.1 + 0.2 + 0.2 + 0.7 + 0.6 + 0.1 + 0.05 + 0.6
    assert found.ece == pytest.approx(distance / 8)


def test_hard_verdicts_have_no_calibration_error() -> None:
    found = criterion_agreement(explicit(*[(0.9, 0.2)] * 4, hard=True))
    assert found.ece is None
    assert found.auc is not None
    assert found.auc.value == 1.0


def test_verdicts_without_gold_labels_are_refused() -> None:
    other = replace(explicit(*[(0.9, 0.2)] * 4), pairs=PAIRS[:2])
    with pytest.raises(DataError, match=r"'a-1' has no gold label for 'x'"):
        criterion_agreement(other)


MINI = load_mini("val")
MINI_PAIRS = [p for p in load_mini_pairs("val") if p.task_id == MINI[0].id][:1]


def test_both_wordings_ask_for_the_same_things_in_other_words() -> None:
    task = MINI[0]
    response = "Keep calm."
    assert task.rubric is not None
    for arm in ARMS:
        if arm in ("explicit", "predefined"):
            asked, reworded = (
                Messages(wording).criterion(task, response, task.rubric.criteria[0], "sampled")
                for wording in get_args(Wording)
            )
        else:
            asked, reworded = (
                Messages(wording).rating(task, response, arm, "sampled")
                for wording in get_args(Wording)
            )
        for one, other in zip(asked, reworded, strict=True):
            lines = [set(m["content"].splitlines()) for m in (one, other)]
            assert lines[0] != lines[1]
        for text in (asked[1]["content"], reworded[1]["content"]):
            assert task.question in text
            assert response in text
            if arm in ("explicit", "predefined"):
                # The criterion comes last: everything before it is shared by all criteria.
                assert text.endswith(task.rubric.criteria[0].description)
                assert fill("format_verdict_json") in text
            else:
                assert text.splitlines()[-1].endswith("from 1 to 10.")


def test_a_calibrated_judge_reports_calibrated_probabilities() -> None:
    with server(says("yes", tokens={"yes": 0.7, "no": 0.3})) as scripted:
        bare = Judge(Chat(scripted.url, "m", weights="w"))
        judged = [0.1, 0.2, 0.75, 0.75, 0.75, 0.8, 0.9]
        strict = fit(judged, [p >= 0.8 for p in judged], judge=bare.identity)
        judge = replace(bare, calibration=strict)
        before, after = (
            asyncio.run(grade_pairs(j, MINI, MINI_PAIRS, "explicit")) for j in (bare, judge)
        )
    assert (before.identity, before.calibration) == (bare.identity, None)
    assert after.calibration == strict
    for graded_, met in ((before, True), (after, False)):
        assert {v.met for _, v, _ in graded_.verdicts()} == {met}
    (p,) = {v.probability for _, v, _ in after.verdicts()}
    log_odds = strict.slope * math.log(0.7 / 0.3) + strict.intercept
    assert p == pytest.approx(1 / (1 + math.exp(-log_odds)))


#: One pair of each of four tasks: what happens with two of one task is in test_alignment.py.
FOUR = tuple({p.task_id: p for p in load_mini_pairs()}.values())[:4]


def of_scores(scores: list[float | None]) -> tuple[Grade, ...]:
    return tuple(Grade(arm="implicit", score=s, usage=Usage(calls=1)) for s in scores)


def on_pairs(preferred: list[float | None], rejected: list[float | None]) -> PairGrades:
    return PairGrades("judge", "implicit", FOUR, of_scores(preferred), of_scores(rejected))


def test_accuracy_leaves_unscored_pairs_out_and_counts_them() -> None:
    found = on_pairs([0.9, 0.5, None, 0.2], [0.1, 0.5, 0.4, 0.6])
    assert found.unscored == 1
    strict = found.accuracy()
    half = found.accuracy(ties=0.5)
    assert strict is not None
    assert half is not None
    assert strict.value == pytest.approx(1 / 3)
    assert half.value == pytest.approx(0.5)
    assert half.n == 3
    assert found.usage.calls == 8


def test_nothing_scored_is_no_accuracy_at_all() -> None:
    assert on_pairs([None] * 4, [0.1] * 4).accuracy() is None


def test_differences_pair_up_what_both_scored() -> None:
    one = on_pairs([0.9, 0.9, 0.9, None], [0.1, 0.1, 0.1, 0.1])
    other = on_pairs([0.1, 0.9, None, 0.9], [0.9, 0.1, 0.1, 0.1])
    found = against(one, other)
    assert found is not None
    assert found.difference.n == 2
    assert found.difference.value == pytest.approx(0.5)
    assert against(on_pairs([None] * 4, [None] * 4), other) is None


def with_verdicts(gold: dict[str, bool], right: bool) -> Grade:
    verdicts = tuple(
        Verdict(criterion_id=name, met=label is right, probability=0.9 if label is right else 0.1)
        for name, label in gold.items()
    )
    return Grade(arm="explicit", score=0.5, verdicts=verdicts)


def test_a_judge_that_is_always_right_agrees_and_one_that_is_always_wrong_does_not() -> None:
    def judged(right: bool) -> PairGrades:
        return PairGrades(
            "j",
            "explicit",
            FOUR,
            tuple(with_verdicts(p.gold_preferred, right) for p in FOUR),
            tuple(with_verdicts(p.gold_rejected, right) for p in FOUR),
        )

    for right, value in ((True, 1.0), (False, 0.0)):
        found = criterion_agreement(judged(right))
        assert found.accuracy is not None
        assert found.accuracy.value == value
        assert found.auc is not None
        assert found.auc.value == value
        assert found.n == sum(len(p.gold_preferred) + len(p.gold_rejected) for p in FOUR)


def test_unscored_verdicts_are_counted_and_kept_out_of_agreement() -> None:
    pair: Pair = FOUR[0]
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
    assert paired_difference(after, {"c": 0.1, "b": 0.1}) == paired_difference(
        {"c": 0.9}, {"c": 0.1}
    )
    assert paired_difference(after, {}) is None


def test_an_agreement_comes_back_from_json() -> None:
    auc = Interval(0.8, 0.7, 0.9, 12, 0.05)
    found = CriterionAgreement(40, 2, auc, None, auc, None)
    assert CriterionAgreement.from_json(json.loads(json.dumps(found.to_json()))) == found
