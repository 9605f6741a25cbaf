"""Contrast weights on groups whose arithmetic is done by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rar_lib.core.scoring import PAPER_WEIGHTS, UNIFORM_WEIGHTS, explicit_score
from rar_lib.core.types import Category, Criterion, Polarity, Rubric
from rar_lib.data.tasks import load_mini
from rar_lib.rubrics.contrast import contrast, contrast_weights, weighted_score

MINI = [task.rubric for task in load_mini() if task.rubric]


def criterion(name: str, category: Category, polarity: Polarity = Polarity.GOOD) -> Criterion:
    return Criterion(id=name, title=name, description=name, category=category, polarity=polarity)


#: Two Essential, two Important, one Pitfall worded as a failure.
RUBRIC = Rubric(
    criteria=(
        criterion("e1", Category.ESSENTIAL),
        criterion("e2", Category.ESSENTIAL),
        criterion("i1", Category.IMPORTANT),
        criterion("i2", Category.IMPORTANT),
        criterion("p1", Category.PITFALL, Polarity.BAD),
    )
)
PLAIN = {"e1": 1.0, "e2": 1.0, "i1": 0.7, "i2": 0.7, "p1": 0.9}


def group(**columns: list[bool | float | None]) -> list[dict[str, bool | float | None]]:
    """Rollouts from columns; what is not named is met by none."""
    size = len(next(iter(columns.values())))
    met_by_none: list[bool | float | None] = [False] * size
    verdicts = [columns.get(name, met_by_none) for name in PLAIN]
    return [dict(zip(PLAIN, rollout, strict=True)) for rollout in zip(*verdicts, strict=True)]


ONE_OF_EIGHT: list[bool | float | None] = [True, *[False] * 7]
HALF: list[bool | float | None] = [True, False] * 4


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([True] * 8, 0.0),
        ([False] * 8, 0.0),
        (HALF, 0.5),
        (ONE_OF_EIGHT, math.sqrt(7) / 8),
        ([not v for v in ONE_OF_EIGHT], math.sqrt(7) / 8),  # seven of eight tell apart as much
        ([0.2, 0.4], 0.1),
        ([0.200, 0.205], 0.0),  # the judge's rounding
        ([True, None, False], 0.5),  # the failed judgement is no third value
        ([True, None], None),
        ([None, None], None),
    ],
)
def test_contrast_is_the_spread_of_the_verdicts_that_there_are(
    values: list[bool | float | None], expected: float | None
) -> None:
    assert contrast(values) == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize("met", [True, False])
def test_a_flat_group_keeps_its_weights(met: bool) -> None:
    flat = group(**{name: [met] * 8 for name in PLAIN})
    assert contrast_weights(RUBRIC, flat, PAPER_WEIGHTS, 0.5) == PLAIN


def test_the_one_criterion_that_tells_apart_takes_half_of_its_idle_neighbour() -> None:
    found = contrast_weights(RUBRIC, group(e1=ONE_OF_EIGHT), PAPER_WEIGHTS, 0.5)
    # Essential weighs 2: half of it stays, the other half is all e1's. The rest has no contrast.
    assert found == pytest.approx(PLAIN | {"e1": 0.5 + 1.0, "e2": 0.5})
    assert contrast_weights(RUBRIC, group(e1=ONE_OF_EIGHT), PAPER_WEIGHTS, 1.0) == pytest.approx(
        PLAIN | {"e1": 2.0, "e2": 0.0}
    )


def test_two_contrasts_share_by_their_size() -> None:
    found = contrast_weights(RUBRIC, group(i1=ONE_OF_EIGHT, i2=HALF), PAPER_WEIGHTS, 0.5)
    d1 = math.sqrt(7) / 8
    d2 = 0.5
    assert found["i1"] == pytest.approx(0.35 + 0.7 * d1 / (d1 + d2))
    assert found["i2"] == pytest.approx(0.35 + 0.7 * d2 / (d1 + d2))


def test_an_unscored_criterion_takes_no_part() -> None:
    nobody: list[bool | float | None] = [None] * 8
    found = contrast_weights(RUBRIC, group(e1=HALF, e2=nobody), PAPER_WEIGHTS, 0.5)
    assert found == pytest.approx(PLAIN)  # e1 is alone, so there is nobody to take from


def test_a_pitfall_that_one_falls_into_tells_apart_and_costs_that_one() -> None:
    two = Rubric(
        criteria=(
            criterion("p1", Category.PITFALL, Polarity.BAD),
            criterion("p2", Category.PITFALL),
        )
    )
    fell: list[dict[str, bool | float | None]] = [
        {"p1": True, "p2": True},
        {"p1": False, "p2": True},
    ]
    weights = contrast_weights(two, fell, UNIFORM_WEIGHTS, 0.5)
    assert weights == {"p1": 1.5, "p2": 0.5}
    assert weighted_score(two, fell[0], weights) == 0.25  # by plain weights 0.5
    assert weighted_score(two, fell[1], weights) == 1.0


def test_a_failed_judgement_has_no_score() -> None:
    (one,) = group(e1=[None])
    assert weighted_score(RUBRIC, one, PLAIN) is None


def test_a_rollout_without_verdicts_is_one_of_unscored_ones() -> None:
    """So a guard refuses a response as a whole."""
    refused: dict[str, bool | float | None] = {}
    rows = group(e1=HALF, i1=ONE_OF_EIGHT)
    alone = contrast_weights(RUBRIC, rows, PAPER_WEIGHTS, 0.5)
    assert contrast_weights(RUBRIC, [refused, *rows], PAPER_WEIGHTS, 0.5) == alone
    assert contrast_weights(RUBRIC, [refused, refused], PAPER_WEIGHTS, 0.5) == PLAIN
    assert weighted_score(RUBRIC, refused, alone) is None
    some = {name: value for name, value in rows[0].items() if name != "p1"}
    assert weighted_score(RUBRIC, some, alone) is None


def test_weights_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="add up to"):
        weighted_score(RUBRIC, group(e1=[True])[0], dict.fromkeys(PLAIN, 0.0))


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="share of the weights"):
        contrast_weights(RUBRIC, group(e1=[True]), PAPER_WEIGHTS, share)


@given(st.data())
def test_categories_weigh_what_they_weighed_and_scores_stay_in_range(data: st.DataObject) -> None:
    rubric = data.draw(st.sampled_from(MINI))
    value = st.one_of(st.none(), st.booleans(), st.floats(0, 1))
    rows = data.draw(
        st.lists(st.fixed_dictionaries({c.id: value for c in rubric.criteria}), min_size=1)
    )
    share = data.draw(st.floats(0, 1))
    found = contrast_weights(rubric, rows, PAPER_WEIGHTS, share)
    for category in {c.category for c in rubric.criteria}:
        ids = [c.id for c in rubric.criteria if c.category is category]
        weight = PAPER_WEIGHTS[category]
        assert math.fsum(found[i] for i in ids) == pytest.approx(len(ids) * weight)
        assert all(found[i] >= (1 - share) * weight - 1e-12 for i in ids)
    for row in rows:
        score = weighted_score(rubric, row, found)
        assert score is None or 0.0 <= score <= 1.0
        plain = {c.id: PAPER_WEIGHTS[c.category] for c in rubric.criteria}
        expected = explicit_score(rubric, row)
        got = weighted_score(rubric, row, plain)
        assert got == (None if expected is None else pytest.approx(expected))
