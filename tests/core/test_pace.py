"""Forecasts by hand: another machine's pace, the rest of a training run, the rest of the book."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rar_lib.core.pace import FIXED, TRUST_S, Course, Measured, at_rate, steps_left

FAST = Measured(400.0, 2000.0)
SLOW = Measured(1000.0, 200.0)


@pytest.mark.parametrize(
    ("points", "gflops", "seconds"),
    [
        ([FAST, SLOW], 2000.0, 400.0),  # on either machine what it took there
        ([FAST, SLOW], 200.0, 1000.0),
        # 1/product: 0.0005 and 0.005; at 400 it is 0.0025, 4/9 of the way from 400 to 1000.
        ([FAST, SLOW], 400.0, 400 + 600 * 4 / 9),
        ([SLOW, FAST], 400.0, 400 + 600 * 4 / 9),  # in any order
        # Slower than both: the line goes on, 600 s for each 0.0045.
        ([FAST, SLOW], 100.0, 1000 + 600 * 0.005 / 0.0045),
        # Faster than both: to no less than what does not depend on the product.
        ([FAST, SLOW], 1e12, 400 - 600 * 0.0005 / 0.0045),
        # One machine: 88 % stays, 12 % follows the product.
        ([FAST], 200.0, 400 * (0.88 + 0.12 * 10)),
        ([FAST], 2000.0, 400.0),
        # Nothing was measured, here or there: as it stands.
        ([FAST, SLOW], None, 400.0),
        ([Measured(90.0)], 200.0, 90.0),
        ([Measured(90.0), SLOW], 200.0, 1000.0),
        # The slower machine was quicker: that is noise, and goes on as a constant.
        ([Measured(400.0, 200.0), Measured(500.0, 2000.0)], 100.0, 400.0),
        # Far steeper than in proportion: no more than in proportion.
        ([Measured(10.0, 2000.0), Measured(1000.0, 1000.0)], 500.0, 2000.0),
        # Two of one kind that do not agree.
        ([Measured(100.0, 50.0), Measured(200.0, 50.0)], 50.0, 150.0),
    ],
)
def test_seconds_on_another_machine(
    points: list[Measured], gflops: float | None, seconds: float
) -> None:
    assert FIXED == 0.88
    assert at_rate(points, gflops) == pytest.approx(seconds)


def test_the_share_that_stays_is_the_one_that_two_machines_showed() -> None:
    """40 min at 2.62 TFLOP/s, 66.4 min at 0.39: the line through both, as a share of the 40 min."""
    per = (66.4 - 40) / (1 / 0.39 - 1 / 2.62)
    assert pytest.approx(1 - per / 2.62 / 40, abs=0.01) == FIXED
    assert at_rate([Measured(40.0, 2620.0)], 390.0) == pytest.approx(66.4, rel=0.05)


some = st.floats(1.0, 1e4)


@given(st.lists(st.builds(Measured, some, some), min_size=1, max_size=4), some, some)
def test_a_forecast_stays_positive_and_between_machines_between_their_times(
    points: list[Measured], one: float, other: float
) -> None:
    slow, fast = sorted((one, other))
    assert at_rate(points, slow) > 0
    if len({p.gflops for p in points}) < 2:  # a line of its own: never less for a slower machine
        assert at_rate(points, slow) >= at_rate(points, fast) - 1e-6
    known = [p.gflops for p in points if p.gflops]
    if min(known) <= one <= max(known):
        times = [p.seconds for p in points]
        assert min(times) - 1e-6 <= at_rate(points, one) <= max(times) + 1e-6


def test_a_look_in_one_step_moves_the_forecast_of_no_other() -> None:
    """Ten steps of 20 s, a look of 60 s after every second one; the first step compiles, 50 s."""
    steps = []
    looks = [60.0]
    said = []
    for step in range(1, 11):
        steps.append(50.0 if step == 1 else 20.0)
        if step % 2 == 0:
            looks.append(60.0)
        left = steps_left(steps, looks, steps_to_come=10 - step, looks_to_come=5 - step // 2)
        said.append(left)
    # From the third step on by the second: 20 s less, and 60 s less where a look was.
    looks_left = [4, 3, 3, 2, 2, 1, 1, 0]
    assert said[2:] == [
        20 * left + 60 * look for left, look in zip(range(7, -1, -1), looks_left, strict=True)
    ]


def test_looks_that_nobody_timed_count_as_nothing() -> None:
    assert steps_left([20.0, 30.0], [], steps_to_come=4, looks_to_come=2) == 100.0


def test_what_chapters_took_moves_those_to_come() -> None:
    course = Course({"01": 60.0, "02": 600.0, "03": 300.0, "04": 30.0}, frozenset({"04"}))
    assert course.left("01", 0.0) == 990.0
    assert course.left("01", 20.0) == 970.0
    # 01 took three times its minute: (180 + 120) / (60 + 120) for those that ask their models.
    course.taken["01"] = 180.0
    assert course.ratio() == pytest.approx(5 / 3)
    assert course.chapter_left("02", 100.0) == pytest.approx(900.0)
    assert course.left("02", 100.0) == pytest.approx(900 + 500 + 30)
    # One from the record says nothing of the others.
    course.taken["02"] = 1000.0
    before = course.ratio()
    course.taken["04"] = 300.0
    assert course.ratio() == before == pytest.approx((1180 + 120) / (660 + 120))
    assert TRUST_S == 120.0


def test_the_rest_goes_down_with_the_clock_and_turns_slowly_past_a_forecast() -> None:
    course = Course({"01": 60.0, "02": 600.0})
    said = [course.left("01", float(second)) for second in range(181)]
    assert said[:61] == [660.0 - second for second in range(61)]
    later = [b - a for a, b in pairwise(said[60:])]
    # Each second past the forecast is 1/180 of the next chapter's ten minutes: no jump.
    assert later == pytest.approx([600 / 180] * 120)
    assert course.chapter_left("01", 61.0) == 0.0
    course.taken["01"] = 180.0
    assert course.left("02", 0.0) == pytest.approx(said[180])  # nor when it ends


def test_a_chapter_of_unknown_time_is_left_out_and_one_that_is_skipped_is_gone() -> None:
    course = Course({"01": None, "02": 60.0})
    assert course.chapter_left("01", 5.0) is None
    assert course.left("01", 5.0) == 60.0
    del course.forecast["02"]
    assert course.left("01", 5.0) == 0.0
    assert course.chapter_left("02", 1.0) is None
