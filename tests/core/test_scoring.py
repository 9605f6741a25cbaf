"""The paper's arithmetic: worked numbers first, then what must hold for every rubric."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rar_lib.core.scoring import (
    PAPER_WEIGHTS,
    PREDEFINED,
    UNIFORM_WEIGHTS,
    expected_rating,
    explicit_score,
    is_good,
    normalise_rating,
)
from rar_lib.core.types import Category, Criterion, Polarity, Rubric


def criterion(n: int, category: Category, polarity: Polarity = Polarity.GOOD) -> Criterion:
    return Criterion(
        id=f"c{n}", title="Title", description="Says so.", category=category, polarity=polarity
    )


FOUR = Rubric(
    criteria=(
        criterion(1, Category.ESSENTIAL),
        criterion(2, Category.IMPORTANT),
        criterion(3, Category.OPTIONAL),
        criterion(4, Category.PITFALL, Polarity.BAD),
    )
)


@pytest.mark.parametrize(
    ("met", "score"),
    [
        # weights 1.0 + 0.7 + 0.3 + 0.9 = 2.9; a failure that is NOT met earns its weight
        ((True, True, True, False), 1.0),
        ((False, False, False, True), 0.0),
        ((True, False, True, False), 2.2 / 2.9),
        ((True, False, True, True), 1.3 / 2.9),
        ((False, True, False, False), 1.6 / 2.9),
    ],
)
def test_explicit_score_equals_the_sum_done_by_hand(met: tuple[bool, ...], score: float) -> None:
    verdicts = {f"c{i}": m for i, m in enumerate(met, start=1)}
    assert explicit_score(FOUR, verdicts) == pytest.approx(score)


def test_probabilities_give_the_expected_score() -> None:
    # (1.0*0.5 + 0.7*0.2 + 0.3*1 + 0.9*(1-0.25)) / 2.9
    values = {"c1": 0.5, "c2": 0.2, "c3": 1.0, "c4": 0.25}
    assert explicit_score(FOUR, values) == pytest.approx((0.5 + 0.14 + 0.3 + 0.675) / 2.9)


def test_the_paper_weights_are_those_of_its_second_version() -> None:
    assert {c.value: w for c, w in PAPER_WEIGHTS.items()} == {
        "Essential": 1.0,
        "Important": 0.7,
        "Optional": 0.3,
        "Pitfall": 0.9,
    }


def test_one_unscored_criterion_leaves_the_whole_score_unscored() -> None:
    assert explicit_score(FOUR, {"c1": True, "c2": None, "c3": True, "c4": False}) is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"c1": True, "c2": True, "c3": True}, r"missing \['c4'\]"),
        ({"c1": True, "c2": True, "c3": True, "c4": True, "x": True}, r"unexpected \['x'\]"),
        ({"c1": 1.2, "c2": True, "c3": True, "c4": True}, r"'c1' is 1.2"),
        ({"c1": math.nan, "c2": True, "c3": True, "c4": True}, r"'c1' is nan"),
    ],
)
def test_verdicts_that_do_not_fit_are_refused(values: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        explicit_score(FOUR, values)


def test_weights_that_add_up_to_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="add up to 0"):
        explicit_score(FOUR, {f"c{i}": True for i in range(1, 5)}, dict.fromkeys(Category, 0.0))


# Every rubric and every set of verdicts -----------------------------------------------------

criteria_st = st.lists(
    st.tuples(st.sampled_from(Category), st.sampled_from(Polarity), st.booleans()),
    min_size=1,
    max_size=20,
)
Drawn = list[tuple[Category, Polarity, bool]]


def build(drawn: Drawn) -> tuple[Rubric, dict[str, bool]]:
    criteria = tuple(criterion(i, c, p) for i, (c, p, _) in enumerate(drawn))
    return Rubric(criteria=criteria), {f"c{i}": met for i, (_, _, met) in enumerate(drawn)}


def score(rubric: Rubric, met: dict[str, bool], **options: object) -> float:
    value = explicit_score(rubric, met, **options)  # type: ignore[arg-type]
    assert value is not None
    return value


@given(criteria_st)
def test_bounds(drawn: Drawn) -> None:
    assert 0.0 <= score(*build(drawn)) <= 1.0


@given(criteria_st)
def test_ideal_is_one_and_worst_is_zero(drawn: Drawn) -> None:
    rubric, _ = build(drawn)
    ideal = {c.id: c.polarity is Polarity.GOOD for c in rubric.criteria}
    assert score(rubric, ideal) == pytest.approx(1.0)
    assert score(rubric, {k: not v for k, v in ideal.items()}) == 0.0


@given(criteria_st, st.data())
def test_flipping_one_verdict_to_the_good_side_raises_the_score(
    drawn: Drawn, data: st.DataObject
) -> None:
    rubric, met = build(drawn)
    chosen = data.draw(st.sampled_from(rubric.criteria))
    good = chosen.polarity is Polarity.GOOD
    low = score(rubric, met | {chosen.id: not good})
    high = score(rubric, met | {chosen.id: good})
    assert high > low


@given(criteria_st, st.randoms(use_true_random=False))
def test_order_of_criteria_does_not_matter(drawn: Drawn, random: object) -> None:
    rubric, met = build(drawn)
    shuffled = list(rubric.criteria)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    other = rubric.model_copy(update={"criteria": tuple(shuffled)})
    assert score(other, met) == pytest.approx(score(rubric, met))


@given(criteria_st, st.floats(min_value=1e-3, max_value=1e3))
def test_scaling_all_weights_changes_nothing(drawn: Drawn, factor: float) -> None:
    rubric, met = build(drawn)
    scaled = {c: w * factor for c, w in PAPER_WEIGHTS.items()}
    assert score(rubric, met, weights=scaled) == pytest.approx(score(rubric, met))


@given(criteria_st)
def test_swapping_wording_and_verdict_together_changes_nothing(drawn: Drawn) -> None:
    """'Avoids ice' met is the same fact as 'recommends ice' not met."""
    flip = {Polarity.GOOD: Polarity.BAD, Polarity.BAD: Polarity.GOOD}
    mirrored = [(c, flip[p], not met) for c, p, met in drawn]
    assert score(*build(mirrored)) == pytest.approx(score(*build(drawn)))


@given(criteria_st)
def test_uniform_weights_give_the_plain_share_of_good_verdicts(drawn: Drawn) -> None:
    rubric, met = build(drawn)
    share = sum(is_good(c, met[c.id]) for c in rubric.criteria) / len(rubric.criteria)
    assert score(rubric, met, weights=UNIFORM_WEIGHTS) == pytest.approx(share)


# Ratings ------------------------------------------------------------------------------------


def test_ratings_are_spread_over_the_unit_interval() -> None:
    values = [normalise_rating(r) for r in range(1, 11)]
    assert values[0] == 0.0
    assert values[-1] == 1.0
    assert values[4] == pytest.approx(4 / 9)


@pytest.mark.parametrize("rating", [0, 11, -1, math.nan, math.inf])
def test_ratings_outside_the_scale_are_refused(rating: float) -> None:
    with pytest.raises(ValueError, match=r"outside 1\.\.10"):
        normalise_rating(rating)


def test_expected_rating_is_the_mean_over_the_mass_that_is_there() -> None:
    # 0.2 on 4, 0.6 on 8, the rest on other tokens: (0.8 + 4.8) / 0.8
    assert expected_rating({4: 0.2, 8: 0.6}) == pytest.approx(7.0)
    assert expected_rating({10: 1e-9}) == pytest.approx(10.0)


@pytest.mark.parametrize("bad", [{}, {0: 1.0}, {11: 1.0}, {3: -0.1, 4: 0.2}, {5: 0.0}])
def test_expected_rating_refuses_what_is_no_distribution_over_ratings(
    bad: dict[int, float],
) -> None:
    with pytest.raises(ValueError, match=r"outside|negative|no probability"):
        expected_rating(bad)


# HealthBench --------------------------------------------------------------------------------


def test_the_generic_rubric_has_the_four_criteria_of_the_paper() -> None:
    titles = [c.title for c in PREDEFINED.criteria]
    assert titles == [
        "Factually correct",
        "Complete answer",
        "Concise wording",
        "Practically helpful",
    ]
