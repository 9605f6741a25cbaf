"""What is watched during training, with numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rar_lib.core.scoring import PAPER_WEIGHTS
from rar_lib.core.stats import TOLERANCE, scored
from rar_lib.core.types import Category, Criterion, Grade, Polarity, Rubric, Verdict
from rar_lib.evaluation.diagnostics import (
    advantages,
    credit,
    flat_mass,
    groups,
    joined,
    levelled,
    spread,
    step_record,
)

RUBRIC = Rubric(
    criteria=(
        Criterion(id="fact", title="t", description="d", category=Category.ESSENTIAL),
        Criterion(id="style", title="t", description="d", category=Category.OPTIONAL),
        Criterion(
            id="harm", title="t", description="d", category=Category.PITFALL, polarity=Polarity.BAD
        ),
    )
)


def grade(score: float | None, **met: bool | float) -> Grade:
    verdicts = tuple(
        Verdict(
            criterion_id=name,
            met=value if isinstance(value, bool) else value > 0.5,
            probability=None if isinstance(value, bool) else value,
        )
        for name, value in met.items()
    )
    return Grade(arm="explicit", score=score, verdicts=verdicts)


def test_neighbours_with_one_key_are_a_group() -> None:
    assert groups(["a", "a", "b", "a"]) == [range(0, 2), range(2, 3), range(3, 4)]
    assert groups([]) == []


def test_spread_is_none_where_it_is_undefined() -> None:
    assert spread([0.2, 0.6]) == pytest.approx(0.2828427)
    assert spread([0.5]) is None


def test_mass_on_criteria_that_do_not_tell_the_group_apart() -> None:
    # fact (1.0) differs, style (0.3) and harm (0.9) do not: 1.2 of 2.2 is idle.
    rows = [
        grade(0.9, fact=True, style=True, harm=False),
        grade(0.4, fact=False, style=True, harm=False),
    ]
    assert flat_mass(rows, [range(2)], [RUBRIC], PAPER_WEIGHTS) == pytest.approx(1.2 / 2.2)


def test_probabilities_within_the_tolerance_are_idle_and_unscored_members_are_left_out() -> None:
    rows = [
        grade(0.5, fact=0.900, style=0.1, harm=0.5),
        grade(0.5, fact=0.905, style=0.3, harm=0.5),
        grade(None, fact=0.1),
    ]
    assert flat_mass(rows, [range(3)], [RUBRIC], PAPER_WEIGHTS) == pytest.approx(1.9 / 2.2)
    assert flat_mass(rows[1:], [range(2)], [RUBRIC], PAPER_WEIGHTS) is None


WHOLE = grade(0.9, fact=True, style=True, harm=False)
OTHER = grade(0.4, fact=False, style=True, harm=False)
SOME = grade(0.5, fact=False)
NONE = grade(0.5)
STRANGE = grade(0.5, taste=True)
UNKNOWN = Grade(
    arm="explicit",
    score=0.5,
    verdicts=(*WHOLE.verdicts[:2], Verdict(criterion_id="harm", met=None, reason="busy")),
)


@pytest.mark.parametrize(
    ("rows", "mass"),
    [
        ([NONE, NONE], None),
        ([WHOLE, NONE], None),
        ([WHOLE, SOME], None),
        ([WHOLE, STRANGE], None),
        ([WHOLE, UNKNOWN], None),  # it is not known, which is not 0
        ([WHOLE, OTHER, NONE], 1.2 / 2.2),
        ([SOME, WHOLE, STRANGE, UNKNOWN, OTHER], 1.2 / 2.2),
    ],
)
def test_members_without_all_verdicts_are_in_no_mass(rows: list[Grade], mass: float | None) -> None:
    """A judge of one's own may score without verdicts, or judge other criteria."""
    found = flat_mass(rows, [range(len(rows))], [RUBRIC], PAPER_WEIGHTS)
    assert found == (mass if mass is None else pytest.approx(mass))


def test_the_mass_is_of_the_weights_that_the_reward_uses() -> None:
    """By hand: of 2 + 6 + 4 points all but fact's two are idle; by category 1.2 of 2.2."""
    points = {"fact": 2.0, "style": 6.0, "harm": -4.0}
    criteria = [one.model_copy(update={"points": points[one.id]}) for one in RUBRIC.criteria]
    rubric = Rubric(criteria=tuple(criteria))
    assert flat_mass([WHOLE, OTHER], [range(2)], [rubric], "points") == pytest.approx(10 / 12)
    assert flat_mass([WHOLE, OTHER], [range(2)], [rubric], PAPER_WEIGHTS) == pytest.approx(
        1.2 / 2.2
    )


def test_a_verdict_on_no_criterion_of_the_rubric_is_in_no_credit() -> None:
    by_category, by_criterion = credit([WHOLE, STRANGE], [range(2)], [RUBRIC], ["task"])
    assert by_category == {"Essential": 1.0, "Optional": 1.0, "Pitfall": 1.0}
    assert by_criterion == {"task": {"fact": 1.0, "harm": 1.0, "style": 1.0}}


def test_credit_counts_what_speaks_for_the_response() -> None:
    rows = [
        grade(0.9, fact=True, style=False, harm=False),
        grade(0.4, fact=False, style=False, harm=True),
    ]
    by_category, by_criterion = credit(rows, [range(2)], [RUBRIC], ["task"])
    assert by_category == {"Essential": 0.5, "Optional": 0.0, "Pitfall": 0.5}
    assert by_criterion == {"task": {"fact": 0.5, "harm": 0.5, "style": 0.0}}


def test_criteria_of_two_tasks_are_kept_apart_and_their_categories_together() -> None:
    rows = [grade(0.9, fact=True), grade(0.1, fact=False), grade(0.1, fact=False)]
    by_category, by_criterion = credit(rows, [range(1), range(1, 3)], [RUBRIC] * 2, ["a", "b"])
    assert by_category == {"Essential": pytest.approx(1 / 3)}
    assert by_criterion == {"a": {"fact": 1.0}, "b": {"fact": 0.0}}


def test_a_step_is_described_over_its_scored_responses() -> None:
    record = step_record([0.2, 0.4, None, 0.6], [10, 20, 99, 30], [range(2), range(2, 4)])
    assert record["mean"] == pytest.approx(0.4)
    assert record["spread"] == pytest.approx(0.2)
    assert record["unscored"] == 0.25
    assert record["flat_groups"] == 0.5
    assert record["length"] == pytest.approx(39.75)
    assert record["length_correlation"] == pytest.approx(1.0)
    nothing = step_record([None], [3], [range(1)])
    assert (nothing["mean"], nothing["spread"], nothing["unscored"]) == (None, None, 1.0)


@pytest.mark.parametrize("reward", [0.0, 0.1, 1 / 3, 0.7])
@pytest.mark.parametrize("n", range(3, 17))
def test_whether_length_pays_is_unknown_where_all_rewards_are_equal(reward: float, n: int) -> None:
    lengths = [50 + place for place in range(n)]
    assert step_record([reward] * n, lengths, [range(n)])["length_correlation"] is None
    rising = [place / n for place in range(n)]
    assert step_record(rising, [40] * n, [range(n)])["length_correlation"] is None


def test_the_curve_of_a_resumed_run_is_joined_and_marked() -> None:
    log = [{"step": n, "step_time": 20.0, "entropy": 1.5, "kl_to_base": 0.1} for n in (1, 2, 3)]
    steps = [{"mean": 0.1 * n, "judge_seconds": 5.0} for n in (1, 2, 3)]
    rows = joined(log, steps, resumed_at=[2])
    assert [r["resumed"] for r in rows] == [False, False, True]
    assert [r["judge_share"] for r in rows] == [0.25] * 3
    assert rows[2]["mean"] == pytest.approx(0.3)
    with pytest.raises(ValueError, match="longer"):
        joined(log, steps[:2])


def test_a_flat_group_is_given_one_value_and_others_stay_as_they_are() -> None:
    scores = [0.700, 0.705, 0.709, None, 0.2, 0.4, 0.3, 0.2]
    found = levelled(scores, [range(4), range(4, 8)])
    level = 46181 / 65536  # 0.704667
    assert found == [level, level, level, None, 0.2, 0.4, 0.3, 0.2]
    assert levelled([None, None], [range(2)]) == [None, None]
    assert levelled([2 / 3, None], [range(2)]) == [2 / 3, None]  # nothing to compare it with
    assert levelled([0.70, 0.7101], [range(2)]) == [0.70, 0.7101]  # beyond the tolerance
    assert scores[0] == 0.700  # the record keeps what was scored


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=64),
    st.floats(0, 1),
    st.lists(st.booleans(), min_size=64, max_size=64),
)
def test_a_levelled_group_has_no_remainder_in_single_precision(
    noise: list[float], level: float, failed: list[bool]
) -> None:
    """TRL subtracts the mean that it takes in float32, and divides by at least 1e-4."""
    import torch

    spread_out = [level * 0.99 + 0.99 * TOLERANCE * x for x in noise]
    scores = [None if lost else s for s, lost in zip(spread_out, failed, strict=False)]
    of = range(len(scores))
    found = levelled(scores, [of])
    assert [x is None for x in found] == [s is None for s in scores]
    assert len({x for x in found if x is not None}) < 2
    rewards = torch.tensor([math.nan if x is None else x for x in found], dtype=torch.float32)
    remainder = (rewards - rewards.nanmean()) / 1e-4
    assert remainder.nan_to_num(0.0).tolist() == [0.0] * len(scores)
    for given_back, reward in zip(found, scores, strict=True):
        if given_back is not None and reward is not None:
            assert abs(given_back - reward) <= TOLERANCE


@pytest.mark.parametrize(
    ("scores", "wanted"),
    [
        ((1.0, 0.0), (0.5 / (0.5**0.5 + 1e-4), -0.5 / (0.5**0.5 + 1e-4))),
        ((0.2, None, 0.6, 0.4), (-0.2 / 0.2001, None, 0.2 / 0.2001, 0.0)),
        ((0.5, 0.5, 0.5), (0.0, 0.0, 0.0)),
        ((0.5, 0.5 + 1e-5), (0.0, 0.0)),  # within the judge's rounding: a flat group
        ((0.7,), (0.0,)),
        ((None, None), (None, None)),
    ],
)
def test_the_advantages_of_one_group_by_hand(
    scores: tuple[float | None, ...], wanted: tuple[float | None, ...]
) -> None:
    found = advantages(scores)
    assert [a is None for a in found] == [a is None for a in wanted]
    assert [a for a in found if a is not None] == pytest.approx(
        [a for a in wanted if a is not None], abs=1e-9
    )


def test_the_advantages_of_several_groups_by_hand() -> None:
    scores = [1.0, 0.2, None, 0.0, 0.4, 0.5]
    of = [[0, 2, 3], [1, 4], [5]]  # in any order
    half = 0.5**0.5  # of two values: their distance from the mean by their deviation
    # One group has a score alone, one an unscored third: that one gets no advantage.
    found = advantages(scores, of, epsilon=0.0)
    assert found[2] is None
    assert scored(found) == pytest.approx([half, -half, -half, half, 0.0])
    plain = advantages(scores, of, by_deviation=False)
    assert scored(plain) == pytest.approx([0.5, -0.1, -0.5, 0.1, 0.0])


def test_a_group_that_differs_by_rounding_alone_gets_no_advantage() -> None:
    assert advantages([0.5, 0.5 + 1e-7, None], epsilon=0.0) == [0.0, 0.0, None]


@given(st.lists(st.tuples(st.none() | st.floats(0, 1), st.integers(0, 3)), max_size=20))
def test_advantages_are_finite_sum_to_zero_and_spare_the_unscored(
    rows: list[tuple[float | None, int]],
) -> None:
    scores = [row[0] for row in rows]
    of: list[list[int]] = [[] for _ in range(4)]
    for i, (_, group) in enumerate(rows):
        of[group].append(i)
    found = advantages(scores, of, epsilon=1e-6)
    assert all(map(math.isfinite, scored(found)))
    assert [a is None for a in found] == [s is None for s in scores]
    for places in of:
        assert math.fsum(scored(found[i] for i in places)) == pytest.approx(0, abs=1e-6)
