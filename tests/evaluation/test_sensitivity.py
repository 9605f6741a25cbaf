"""Other weights on stored verdicts: worked by hand, without a judge."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rar_lib.core.decision import decide_family
from rar_lib.core.errors import DataError
from rar_lib.core.scoring import PAPER_WEIGHTS, UNIFORM_WEIGHTS, explicit_score
from rar_lib.core.types import Category, Criterion, Grade, Pair, Polarity, Rubric, Task, Verdict
from rar_lib.evaluation.alignment import PairGrades
from rar_lib.evaluation.sensitivity import (
    AGGREGATES,
    PAPER,
    VARIANTS,
    Variant,
    against_paper,
    by_labels,
    random_weights,
    recompute,
    summarise_groups,
    summarise_pairs,
)

BY_NAME = {v.name: v for v in VARIANTS}
IDS = ("fact", "detail", "extra", "avoids", "claims")


def criterion(name: str, category: Category, polarity: Polarity = Polarity.GOOD) -> Criterion:
    return Criterion(id=name, title=name, description=name, category=category, polarity=polarity)


RUBRIC = Rubric(
    criteria=(
        criterion("fact", Category.ESSENTIAL),
        criterion("detail", Category.IMPORTANT),
        criterion("extra", Category.OPTIONAL),
        criterion("avoids", Category.PITFALL),
        criterion("claims", Category.PITFALL, Polarity.BAD),
    )
)


def verdicts(*met: float | bool | None) -> tuple[Verdict, ...]:
    """One per criterion: a bool is a hard verdict, a number a probability, None unscored."""
    found = []
    for name, value in zip(IDS, met, strict=True):
        soft = value if isinstance(value, float) else None
        hard = value if soft is None else soft > 0.5
        found.append(Verdict(criterion_id=name, met=hard, probability=soft))
    return tuple(found)


def grade(*met: float | bool | None) -> Grade:
    found = verdicts(*met)
    return Grade(arm="explicit", score=recompute(RUBRIC, found, PAPER), verdicts=found)


@pytest.mark.parametrize(
    ("variant", "expected"),
    # Met: fact and claims (the failure). Weights 1, 0.7, 0.3, 0.9, 0.9 add up to 3.8.
    [
        ("paper (Pitfall 0.9)", 1.0 / 3.8),
        ("Pitfall 0.8 (first version)", 1.0 / 3.6),
        ("uniform", 1.0 / 5.0),
        ("without pitfalls", 1.0 / 2.0),
        ("Essential only", 1.0),
        ("wrong polarity", 1.9 / 3.8),  # the failure now earns 0.9
    ],
)
def test_every_variant_by_hand(variant: str, expected: float) -> None:
    met = verdicts(True, False, False, False, True)
    assert recompute(RUBRIC, met, BY_NAME[variant]) == pytest.approx(expected)


VETO, CATEGORY, ALL = AGGREGATES


@pytest.mark.parametrize(
    ("met", "veto", "category", "every"),
    [
        # Everything is right: the failure is not there, the rest is.
        ((True, True, True, True, False), 1.0, 1.0, 1.0),
        # One Optional is missing, the only one of its category: 3.5 of 3.8, and not all of them.
        ((True, True, False, True, False), 3.5 / 3.8, 3.5 / 3.8, 0.0),
        # The only Essential is missing.
        ((False, True, True, True, False), 0.0, 2.8 / 3.8, 0.0),
        # One of two pitfalls: the category pays nothing, of 3.8 all but 1.8 is left.
        ((True, True, True, True, True), 2.9 / 3.8, 2.0 / 3.8, 0.0),
        # Probabilities: 0.6 + 0.7 * 0.4 + 0.9 + 0.9 * 0.75 = 2.455, of which 0.6 stays; the least
        # credit of any is that of the Optional. Both pitfalls together earn 1.8 * 0.75 = 1.35.
        ((0.6, 0.4, 0.0, 1.0, 0.25), 0.6 * 2.455 / 3.8, 2.23 / 3.8, 0.0),
        ((0.6, 0.4, 0.5, 1.0, 0.25), 0.6 * 2.605 / 3.8, 2.38 / 3.8, 0.4),
        # Unscored stays unscored.
        ((True, None, True, True, False), None, None, None),
    ],
)
def test_ways_that_are_no_means_by_hand(
    met: tuple[float | bool | None, ...],
    veto: float | None,
    category: float | None,
    every: float | None,
) -> None:
    for variant, expected in ((VETO, veto), (CATEGORY, category), (ALL, every)):
        assert recompute(RUBRIC, verdicts(*met), variant) == (
            None if expected is None else pytest.approx(expected)
        )


def test_without_an_essential_nothing_can_veto() -> None:
    rubric = RUBRIC.model_copy(update={"criteria": RUBRIC.criteria[1:]})
    rest = verdicts(True, True, False, True, True)[1:]
    assert recompute(rubric, rest, VETO) == recompute(rubric, rest, PAPER)


@given(st.lists(st.floats(0, 1), min_size=5, max_size=5))
def test_none_pays_more_than_the_mean(probabilities: list[float]) -> None:
    met = verdicts(*probabilities)
    ways = (PAPER, VETO, CATEGORY, ALL)
    mean, veto, category, every = (recompute(RUBRIC, met, variant) for variant in ways)
    assert mean is not None
    assert veto is not None
    assert category is not None
    assert every is not None
    assert 0 <= every <= category + 1e-9
    assert category <= mean + 1e-9
    assert 0 <= veto <= mean + 1e-9


def test_a_category_keeps_its_share_of_the_weights() -> None:
    """By the paper's numbers, and by others: two pitfalls count twice, met together or not."""
    met = verdicts(True, False, False, True, False)
    assert recompute(RUBRIC, met, CATEGORY) == pytest.approx(2.8 / 3.8)
    equal = Variant("equal", UNIFORM_WEIGHTS, rule="category")
    assert recompute(RUBRIC, met, equal) == pytest.approx(3 / 5)
    essential = {c: float(c is Category.ESSENTIAL) for c in Category}
    assert recompute(RUBRIC, met, Variant("one", essential, rule="category")) == 1.0


def test_probabilities_count_unless_hard_verdicts_are_asked_for() -> None:
    met = verdicts(0.6, 0.4, 0.0, 1.0, 0.25)
    # 0.6 + 0.7 * 0.4 + 0.9 + 0.9 * 0.75 = 2.455; hard: 1 + 0.9 + 0.9 = 2.8
    assert recompute(RUBRIC, met, PAPER) == pytest.approx(2.455 / 3.8)
    assert recompute(RUBRIC, met, PAPER, hard=True) == pytest.approx(2.8 / 3.8)


def test_an_unscored_criterion_only_spoils_variants_that_use_it() -> None:
    met = verdicts(True, None, False, True, False)
    assert recompute(RUBRIC, met, PAPER) is None
    assert recompute(RUBRIC, met, BY_NAME["Essential only"]) == 1.0


def test_a_variant_that_leaves_nothing_has_no_reward() -> None:
    optional = Rubric(criteria=(criterion("extra", Category.OPTIONAL),))
    met = (Verdict(criterion_id="extra", met=True),)
    assert recompute(optional, met, BY_NAME["Essential only"]) is None
    assert recompute(optional, met, PAPER) == 1.0


def test_verdicts_of_another_rubric_are_refused() -> None:
    with pytest.raises(ValueError, match="avoids, claims, detail, extra differ"):
        recompute(RUBRIC, verdicts(True, True, True, True, True)[:1], PAPER)


@given(st.lists(st.floats(0, 1), min_size=5, max_size=5))
def test_the_papers_variant_is_equation_1(values: list[float]) -> None:
    met = verdicts(*values)
    expected = explicit_score(RUBRIC, dict(zip(IDS, values, strict=True)), PAPER_WEIGHTS)
    assert recompute(RUBRIC, met, PAPER) == expected


@given(st.lists(st.booleans(), min_size=5, max_size=5), st.integers(0, 50))
def test_every_weighting_keeps_a_perfect_answer_above_any_other(met: list[bool], n: int) -> None:
    best = verdicts(True, True, True, True, False)
    for variant in (*VARIANTS[:3], random_weights(1, seed=n)[0]):
        top, other = (recompute(RUBRIC, v, variant) for v in (best, verdicts(*met)))
        assert top == pytest.approx(1.0)
        assert other is not None
        assert (other > 1.0 - 1e-9) == (met == [True, True, True, True, False])


def test_random_weights_are_seeded_positive_and_spread() -> None:
    draws = random_weights(500, seed=3)
    assert draws == random_weights(500, seed=3)
    assert draws != random_weights(500, seed=4)
    assert all(0.0 < w <= 1.0 for v in draws for w in v.weights.values())
    above = sum(v.weights[Category.OPTIONAL] > v.weights[Category.ESSENTIAL] for v in draws)
    assert 200 < above < 300


def task(name: str) -> Task:
    return Task(id=name, question="Q?", rubric=RUBRIC)


def pair(name: str, of: str) -> Pair:
    return Pair(
        id=name,
        task_id=of,
        preferred="good",
        rejected="bad",
        axis="accuracy",
        difficulty="obvious",
        gold_preferred={},
        gold_rejected={},
    )


#: p1: the failure costs the rejected answer more than the fact gives it. p2: a tie for all.
#: p3: only the optional criterion differs. p4: unscored.
PAIRS = (pair("p1", "a"), pair("p2", "a"), pair("p3", "b"), pair("p4", "b"))
GRADED = PairGrades(
    "judge",
    "explicit",
    PAIRS,
    (
        grade(True, True, False, True, False),
        grade(True, False, False, True, False),
        grade(True, False, True, True, False),
        Grade(arm="explicit", score=None, reason="the response is empty"),
    ),
    (
        grade(True, True, False, True, True),
        grade(True, False, False, True, False),
        grade(True, False, False, True, False),
        grade(True, True, True, True, False),
    ),
)
TASKS = [task("a"), task("b")]


def test_pairs_by_hand() -> None:
    rows = {r.variant: r for r in summarise_pairs(GRADED, TASKS)}
    assert list(rows) == [*BY_NAME, "random"]
    expected = {
        # strict, half, ties
        "paper (Pitfall 0.9)": (2 / 3, 5 / 6, 1 / 3),
        "uniform": (2 / 3, 5 / 6, 1 / 3),
        "without pitfalls": (1 / 3, 2 / 3, 2 / 3),  # p1 differs in a pitfall alone
        "Essential only": (0.0, 1 / 2, 1.0),
        "wrong polarity": (1 / 3, 1 / 2, 1 / 3),  # p1 is lost
        "random": (2 / 3, 5 / 6, 1 / 3),  # whatever the weights, as long as they are positive
    }
    for name, (strict, half, ties) in expected.items():
        row = rows[name]
        assert row.strict is not None
        assert row.half is not None
        assert (row.strict.value, row.half.value) == (pytest.approx(strict), pytest.approx(half))
        assert row.strict.n == 2  # tasks, not pairs
        assert row.ties == pytest.approx(ties)
        assert row.unscored == 1
    assert rows["random"].draws == 200


def test_rank_correlation_with_the_papers_weights() -> None:
    rows = {r.variant: r for r in summarise_pairs(GRADED, TASKS)}
    same = rows["paper (Pitfall 0.9)"]
    assert same.kendall is not None
    assert same.spearman is not None
    assert (same.kendall.value, same.spearman.value) == (pytest.approx(1.0), pytest.approx(1.0))
    assert rows["Essential only"].kendall is None  # all rewards are 1: there are no ranks
    assert str(same.kendall) == "1.00 (n = 1)"  # one draw has no middle of its draws
    random = rows["random"].kendall
    assert random is not None
    assert random.low < random.value < random.high <= 1.0
    assert random.n == 200


def test_a_variant_is_set_against_the_papers_weights_pair_by_pair() -> None:
    # By the paper p1 and p3 are won and p2 is a tie: credits 1, 0.5, 1.
    found = against_paper(GRADED, TASKS)
    assert list(found) == [*(n for n in BY_NAME if n != PAPER.name), "random"]
    gaps = {name: (c.difference.value, c.difference.n) for name, c in found.items()}
    assert gaps["uniform"] == gaps["random"] == (0.0, 2)
    assert gaps["Essential only"] == (pytest.approx((0.5 + 0.0 + 0.5) / 3), 2)  # all ties
    assert gaps["wrong polarity"] == (pytest.approx((1.0 + 0.0 + 0.0) / 3), 2)  # p1 is lost
    nothing = [Variant("nothing", dict.fromkeys(Category, 0.0))]
    assert against_paper(GRADED, TASKS, nothing) == {}
    findings = decide_family(found, margins=0.05)
    assert {f.word for f in findings.values()} == {"not testable here"}  # two tasks


def test_the_labels_are_added_up_in_the_place_of_verdicts() -> None:
    """Of p1 every criterion but one is labelled: what has no label is not scored."""
    labelled = dict.fromkeys(IDS[:-1], True)
    first = PAIRS[0].model_copy(
        update={"gold_preferred": labelled, "gold_rejected": dict.fromkeys(IDS, False)}
    )
    labels = by_labels(replace(GRADED, pairs=(first, *PAIRS[1:])))
    better = {v.criterion_id: v.met for v in labels.preferred[0].verdicts}
    worse = {v.criterion_id: v.met for v in labels.rejected[0].verdicts}
    assert better == labelled | {IDS[-1]: None}
    assert worse == dict.fromkeys(IDS, False)
    assert {v.probability for v in labels.preferred[0].verdicts} == {None}
    assert [g.score for g in labels.preferred] == [g.score for g in GRADED.preferred]


def test_kendall_by_hand() -> None:
    # Credit out of 3.8 of p1, p2, p3, preferred first. With the polarity wrong the failure in
    # p1 earns 0.9 and everybody who avoided it loses 0.9.
    paper = [3.5, 2.6, 2.8, 2.8, 3.1, 2.8]
    wrong = [2.6, 3.5, 1.9, 1.9, 2.2, 1.9]
    score = tied_paper = tied_wrong = 0
    for i in range(6):
        for j in range(i):
            by_paper = paper[i] - paper[j]
            by_wrong = wrong[i] - wrong[j]
            score += (by_paper * by_wrong > 0) - (by_paper * by_wrong < 0)
            tied_paper += by_paper == 0
            tied_wrong += by_wrong == 0
    tau_b = score / ((15 - tied_paper) * (15 - tied_wrong)) ** 0.5
    row = next(r for r in summarise_pairs(GRADED, TASKS) if r.variant == "wrong polarity")
    assert row.kendall is not None
    assert row.kendall.value == pytest.approx(tau_b)


def test_only_stored_verdicts_of_arm_explicit_are_recomputed() -> None:
    likert = PairGrades("j", "implicit", (), (), ())
    with pytest.raises(DataError, match="got implicit"):
        summarise_pairs(likert, TASKS)
    with pytest.raises(DataError, match="no rubric for 'b'"):
        summarise_pairs(GRADED, TASKS[:1])


def test_groups_by_hand() -> None:
    pitfall_only = [grade(True, False, False, True, failed) for failed in (True, False, False)]
    flat = [grade(True, False, False, True, False)] * 3
    unscored = Grade(arm="explicit", score=None, reason="busy")
    rows = {
        row.variant: row
        for row in summarise_groups(
            [(RUBRIC, pitfall_only), (RUBRIC, [*flat, unscored])],
            [PAPER, BY_NAME["without pitfalls"], BY_NAME["wrong polarity"]],
        )
    }
    paper, without, wrong = rows.values()
    assert (paper.flat, without.flat, wrong.flat) == (0.5, 1.0, 0.5)
    # Three pairs in each group: one of three ties in the first, all in the second.
    assert (paper.ties, without.ties) == (pytest.approx(4 / 6), 1.0)
    assert paper.kendall is not None
    assert wrong.kendall is not None
    assert paper.kendall.value == pytest.approx(1.0)
    assert without.kendall is None
    assert wrong.kendall.value == pytest.approx(-1.0)


def test_no_group_is_an_error() -> None:
    with pytest.raises(ValueError, match="no group"):
        summarise_groups([])


def test_a_caller_may_bring_weights_of_their_own() -> None:
    mine = Variant("mine", {**UNIFORM_WEIGHTS, Category.ESSENTIAL: 3.0})
    (row,) = summarise_pairs(GRADED, TASKS, [mine])
    assert (row.variant, row.draws) == ("mine", 1)
