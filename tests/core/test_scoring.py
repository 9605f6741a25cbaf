"""The paper's arithmetic: worked numbers first, then what must hold for every rubric."""

import copy
import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rar_lib.core.errors import DataError
from rar_lib.core.scoring import (
    PAPER_WEIGHTS,
    PREDEFINED,
    UNIFORM_WEIGHTS,
    expected_rating,
    explicit_score,
    is_good,
    met_by_silence,
    normalise_rating,
    weight_of,
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


@pytest.mark.parametrize(
    ("polarity", "description", "met"),
    [
        (Polarity.BAD, "Does not mention the dose.", True),
        (Polarity.BAD, "Fails to warn of the bleeding.", True),
        (Polarity.BAD, "Names a wrong dose.", False),
        (Polarity.GOOD, "Names the dose.", False),
        (Polarity.GOOD, "Avoids naming a dose.", False),
        (Polarity.GOOD, "Does not mention the dose.", False),
    ],
)
def test_silence_meets_only_a_failure_to_say_something(
    polarity: Polarity, description: str, met: bool
) -> None:
    one = criterion(1, Category.PITFALL, polarity).model_copy(update={"description": description})
    assert met_by_silence(one) is met


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


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({}, "no probability on any rating"),
        ({0: 1.0}, r"ratings \[0\] are outside 1\.\.10"),
        ({11: 1.0}, r"ratings \[11\] are outside 1\.\.10"),
        ({3: -0.1, 4: 0.2}, "must not be negative"),
        ({5: 0.0}, "no probability on any rating"),
    ],
)
def test_expected_rating_refuses_what_is_no_distribution_over_ratings(
    bad: dict[int, float], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
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


def pointed(*points: float | None) -> Rubric:
    """One criterion for each; negative points are those of one worded as a failure."""
    return Rubric(
        criteria=tuple(
            Criterion(
                id=f"c{n}",
                title="Title",
                description="Says so.",
                category=Category.OPTIONAL,
                polarity=Polarity.BAD if (value or 0) < 0 else Polarity.GOOD,
                points=value,
            )
            for n, value in enumerate(points)
        )
    )


@pytest.mark.parametrize(
    ("points", "met", "score"),
    [
        ((5.0, 5.0), (True, False), 0.5),
        ((10.0, 1.0), (True, False), 10 / 11),
        ((1.0, 10.0), (True, False), 1 / 11),
        # A failure of 5 points earns them when it is not met, beside 3 that were earned.
        ((3.0, -5.0), (True, False), 1.0),
        ((3.0, -5.0), (True, True), 3 / 8),
        ((3.0, -5.0), (False, True), 0.0),
        ((3.0, -5.0), (0.5, 0.2), (1.5 + 4.0) / 8),
        ((2.0, 0.0), (False, True), 0.0),
    ],
)
def test_points_weigh_each_criterion_by_their_size(
    points: tuple[float, ...], met: tuple[float, ...], score: float
) -> None:
    values = {f"c{n}": value for n, value in enumerate(met)}
    assert explicit_score(pointed(*points), values, "points") == pytest.approx(score)


def test_the_weight_of_a_criterion_is_its_categorys_or_its_own() -> None:
    first, second = pointed(-7.0, None).criteria
    assert weight_of(first, PAPER_WEIGHTS) == weight_of(second, PAPER_WEIGHTS) == 0.3
    assert weight_of(first, "points") == 7.0
    with pytest.raises(DataError, match="criterion 'c1' has no points to be weighed by"):
        weight_of(second, "points")


@pytest.mark.parametrize("weights", [PAPER_WEIGHTS, UNIFORM_WEIGHTS], ids=["paper", "uniform"])
def test_weights_travel_to_another_process_and_nobody_changes_them(weights: object) -> None:
    assert isinstance(weights, type(PAPER_WEIGHTS))
    for other in (pickle.loads(pickle.dumps(weights)), copy.deepcopy(weights)):
        assert dict(other) == dict(weights)
        assert other == weights
    with pytest.raises(TypeError):
        weights[Category.PITFALL] = 2.0  # type: ignore[index]
    assert dict(weights) | {Category.PITFALL: 2.0} != weights
