"""Intervals and agreement."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rar_lib.core.stats import (
    Bin,
    Interval,
    auc,
    balanced_accuracy,
    bootstrap,
    cluster_bootstrap,
    cluster_share,
    compare,
    expected_calibration_error,
    family,
    finding,
    flat_share,
    holm,
    minimum_detectable,
    pairwise_accuracy,
    pearson,
    proportion,
    reliability,
    sign_flip_p,
)

VALUES = st.lists(st.integers(-5, 5), min_size=4, max_size=12).filter(lambda v: len(set(v)) > 1)


def test_bootstrap_is_reproducible_and_holds_its_estimate() -> None:
    data = np.random.default_rng(1).normal(3.0, 1.0, 50)
    first, second = bootstrap(data, seed=7), bootstrap(data, seed=7)
    assert first == second
    assert first.low < first.value < first.high
    assert first.value == pytest.approx(data.mean())


def test_bootstrap_of_a_mean_agrees_with_the_normal_interval() -> None:
    data = np.random.default_rng(2).normal(0.0, 1.0, 400)
    half = 1.96 * data.std(ddof=1) / np.sqrt(len(data))
    interval = bootstrap(data, resamples=4000)
    assert interval.low == pytest.approx(data.mean() - half, abs=0.02)
    assert interval.high == pytest.approx(data.mean() + half, abs=0.02)


def test_bootstrap_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    hits = 0
    for trial in range(200):
        interval = bootstrap(rng.normal(1.0, 2.0, 40), seed=trial, resamples=400)
        hits += interval.low <= 1.0 <= interval.high
    assert 0.88 <= hits / 200 <= 0.99


@pytest.mark.parametrize(("bad", "message"), [([], "empty"), ([1.0, float("nan")], "NaN")])
def test_bootstrap_refuses_what_it_cannot_resample(bad: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bootstrap(bad)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    # From the closed form, worked with z = 1.96: all of 12, none of 12, half of 10.
    [(12, 12, 0.757, 1.0), (0, 12, 0.0, 0.243), (5, 10, 0.237, 0.763)],
)
def test_wilson_interval(successes: float, n: int, low: float, high: float) -> None:
    interval = proportion(successes, n)
    assert interval.value == successes / n
    assert interval.low == pytest.approx(low, abs=1e-3)
    assert interval.high == pytest.approx(high, abs=1e-3)


def test_an_interval_reads_without_a_negative_zero() -> None:
    assert str(Interval(0.04, -0.001, 0.081, 4)) == "0.04 [0.00, 0.08]"


def test_no_proportion_of_nothing() -> None:
    with pytest.raises(ValueError, match="no proportion"):
        proportion(0, 0)


def test_pairwise_accuracy_under_both_tie_rules() -> None:
    preferred, rejected = [0.9, 0.5, 0.2, 0.7], [0.1, 0.5, 0.4, 0.6]
    assert pairwise_accuracy(preferred, rejected, ties=0.0) == 0.5
    assert pairwise_accuracy(preferred, rejected, ties=0.5) == 0.625


def test_auc_by_hand() -> None:
    # pairs (true, false): 0.9>0.4, 0.9>0.6, 0.5>0.4, 0.5<0.6
    assert auc([0.9, 0.5, 0.4, 0.6], [True, True, False, False]) == 0.75
    assert auc([1, 1], [True, False]) == 0.5
    assert auc([1, 2], [True, True]) is None


def test_a_group_without_variance_teaches_nothing() -> None:
    groups = [[0.5, 0.5, None], [0.5, 0.6, 0.5], [None, None], [0.1, 0.9]]
    assert flat_share(groups) == 0.5


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        (Interval(0.2, 0.1, 0.3, 20), "supported"),
        (Interval(-0.2, -0.3, -0.1, 20), "not supported"),
        (Interval(0.1, -0.1, 0.3, 20), "inconclusive"),
        (Interval(0.1, 0.0, 0.3, 20), "inconclusive"),
        (Interval(0.2, 0.1, 0.3, 7), "not testable here"),
        (None, "not testable here"),
    ],
)
def test_findings_follow_the_interval(interval: Interval | None, expected: str) -> None:
    assert finding(interval) == expected


def test_resampling_tasks_equals_resampling_rows_where_each_row_is_a_task() -> None:
    data = np.random.default_rng(5).normal(size=30)
    assert cluster_bootstrap(data, [f"t{i}" for i in range(30)]) == bootstrap(data)


@settings(max_examples=25, deadline=None)
@given(VALUES, st.integers(2, 4))
def test_copies_of_a_row_inside_its_task_add_no_information(values: list[int], copies: int) -> None:
    repeated = np.repeat(values, copies)
    tasks = np.repeat(np.arange(len(values)), copies).tolist()
    by_task = cluster_bootstrap(repeated, tasks, resamples=400)
    alone = bootstrap(values, resamples=400)
    assert (by_task.low, by_task.high, by_task.n) == pytest.approx((alone.low, alone.high, alone.n))
    by_row = bootstrap(repeated, resamples=400)
    assert by_task.se is not None
    assert by_row.se is not None
    assert by_task.se > 1.15 * by_row.se  # in theory sqrt(copies) >= 1.41 times


@settings(max_examples=25, deadline=None)
@given(VALUES, st.randoms(use_true_random=False))
def test_an_estimate_does_not_depend_on_the_order_of_rows(values, random) -> None:  # type: ignore[no-untyped-def]
    rows = [(v, i // 2) for i, v in enumerate(values)]
    shuffled = random.sample(rows, len(rows))
    a, b = (cluster_bootstrap(*zip(*r, strict=True)) for r in (rows, shuffled))
    assert a.value == pytest.approx(b.value)
    assert a.n == b.n == (len(values) + 1) // 2


def test_cluster_bootstrap_by_hand_with_two_tasks() -> None:
    # Draws: (t1, t1) has mean 1, (t1, t2) 2/3 with all three rows, (t2, t2) 0.
    interval = cluster_bootstrap([1, 1, 0], ["t1", "t1", "t2"])
    assert (interval.value, interval.low, interval.high) == (pytest.approx(2 / 3), 0.0, 1.0)
    assert interval.n == 2
    # Means 1, 2/3, 2/3, 0 with equal chance: mean 7/12, variance (1 + 4/9 + 4/9) / 4 - 49/144.
    assert interval.se == pytest.approx((17 / 36 - 49 / 144) ** 0.5, abs=0.01)


def test_a_cluster_interval_covers_the_truth_where_one_over_rows_does_not() -> None:
    rng = np.random.default_rng(8)
    tasks = np.repeat(np.arange(30), 4).tolist()
    by_task = by_row = 0
    for trial in range(100):
        rows = np.repeat(rng.normal(size=30), 4) + 0.1 * rng.normal(size=120)
        a = cluster_bootstrap(rows, tasks, seed=trial, resamples=300)
        b = bootstrap(rows, seed=trial, resamples=300)
        by_task += a.low <= 0.0 <= a.high
        by_row += b.low <= 0.0 <= b.high
    assert by_task >= 86
    assert by_row <= 80


@pytest.mark.parametrize(
    ("values", "clusters", "statistic", "message"),
    [
        ([], [], np.mean, "empty"),
        ([1.0], ["a", "b"], np.mean, "got 2 for 1 rows"),
        ([1.0, float("nan")], ["a", "b"], np.mean, "NaN"),
        ([1.0], ["a"], lambda _: None, "undefined for this sample"),
    ],
)
def test_cluster_bootstrap_refuses(values, clusters, statistic, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        cluster_bootstrap(values, clusters, statistic)


def test_draws_in_which_a_statistic_is_undefined_are_left_out() -> None:
    # Of two tasks, one draw in two holds one class only.
    data = [[0.9, 1], [0.1, 0]]
    interval = cluster_bootstrap(data, ["a", "b"], lambda d: auc(d[:, 0], d[:, 1]))
    assert (interval.value, interval.low, interval.high) == (1.0, 1.0, 1.0)


def test_a_share_of_one_still_has_an_interval_over_its_tasks() -> None:
    sure = cluster_share([1, 1, 1, 1], ["a", "a", "b", "b"])
    assert (sure.value, sure.high, sure.n) == (1.0, 1.0, 2)
    assert sure.low == pytest.approx(proportion(2, 2).low)
    # All halves is no proportion of successes: the bootstrap stands, without width.
    assert cluster_share([0.5, 0.5], ["a", "b"]).low == 0.5


def test_the_detectable_difference_is_2_8_standard_errors() -> None:
    # 1.959964 + 0.841621
    assert minimum_detectable(0.1) == pytest.approx(0.2801585)
    assert minimum_detectable(0.1, power=0.5) == pytest.approx(0.1959964)


def test_sign_flips_by_hand() -> None:
    # Sums 1, 1, 1: of the 8 sign patterns two reach |3|.
    assert sign_flip_p([1, 1, 1], ["a", "b", "c"]) == 0.25
    # Two rows of one task flip together: sums 2, 1 reach |3| in two patterns of 4.
    assert sign_flip_p([1, 1, 1], ["a", "a", "b"]) == 0.5
    # 1 and -1 cancel: every pattern is at least as far from zero.
    assert sign_flip_p([1, -1], ["a", "b"]) == 1.0


def test_sign_flips_by_chance_agree_with_all_of_them() -> None:
    gaps = np.random.default_rng(4).normal(0.4, 1.0, 13)
    signs = np.array(list(itertools.product([-1, 1], repeat=13)))
    exact = float((np.abs(signs @ gaps) >= abs(gaps.sum()) - 1e-9).mean())
    assert sign_flip_p(gaps, range(13), draws=9999) == pytest.approx(exact, abs=0.01)
    assert sign_flip_p(gaps, range(13), draws=2**13) == pytest.approx(exact)


def test_a_difference_that_is_not_there_is_found_as_often_as_the_level_says() -> None:
    rng = np.random.default_rng(6)
    tasks = np.repeat(np.arange(20), 2).tolist()
    found = sum(
        sign_flip_p(np.repeat(rng.normal(size=20), 2), tasks, draws=199, seed=t) <= 0.05
        for t in range(200)
    )
    assert 2 <= found <= 22


def test_holm_by_hand() -> None:
    # Sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1: 0.04, 0.06, 0.06, 0.04 -> made monotone.
    assert holm({"d": 0.04, "a": 0.01, "c": 0.03, "b": 0.02}) == {
        "d": pytest.approx(0.06),
        "a": pytest.approx(0.04),
        "c": pytest.approx(0.06),
        "b": pytest.approx(0.06),
    }
    assert holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}


@given(st.dictionaries(st.text(max_size=3), st.floats(0.0, 1.0), max_size=8))
def test_a_correction_never_makes_a_finding_stronger(p: dict[str, float]) -> None:
    adjusted = holm(p)
    assert list(adjusted) == list(p)
    assert all(p[k] <= adjusted[k] <= min(1.0, len(p) * p[k]) + 1e-12 for k in p)


def test_a_comparison_holds_what_was_found_and_what_could_have_been() -> None:
    found = family({"x": compare([1, 1, 1], "abc"), "y": compare([1, -1, 0.5], "abc")})
    x, y = found["x"], found["y"]
    assert (x.difference.value, x.p, x.p_holm) == (1.0, 0.25, 0.5)
    assert x.detectable == 0.0  # no variance at all among the three
    assert y.p_holm == 1.0
    assert y.difference.se is not None
    assert y.detectable == pytest.approx(2.8015852 * y.difference.se)


def test_balanced_accuracy_by_hand() -> None:
    # 3 of 4 true and 1 of 2 false labels right.
    verdicts = [True, True, True, False, True, False]
    labels = [True, True, True, True, False, False]
    assert balanced_accuracy(verdicts, labels) == 0.625
    assert balanced_accuracy([True] * 6, labels) == 0.5
    assert balanced_accuracy([True], [True]) is None
    with pytest.raises(ValueError, match="one label per verdict"):
        balanced_accuracy([True], labels)


@given(
    st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=30).filter(
        lambda rows: len({y for _, y in rows}) == 2
    )
)
def test_auc_is_the_share_of_pairs_in_order(rows: list[tuple[int, bool]]) -> None:
    true, false = ([s for s, y in rows if y is label] for label in (True, False))
    wins = [(a > b) + 0.5 * (a == b) for a in true for b in false]
    assert auc(*zip(*rows, strict=True)) == pytest.approx(sum(wins) / len(wins))


def test_calibration_error_by_hand_in_two_bins() -> None:
    # Lower half: mean 0.2, share true 0; upper half: mean 0.8, share true 0.5.
    p, y = [0.1, 0.3, 0.7, 0.9], [False, False, True, False]
    assert reliability(p, y, bins=2) == [
        Bin(2, pytest.approx(0.2), 0.0),
        Bin(2, pytest.approx(0.8), 0.5),
    ]
    assert expected_calibration_error(p, y, bins=2) == pytest.approx(0.25)


def test_equal_probabilities_share_a_bin_whatever_their_order() -> None:
    y = [True, False] * 10
    assert reliability([0.5] * 20, y) == [Bin(20, 0.5, 0.5)]
    assert expected_calibration_error([0.5] * 20, y) == 0.0
    assert expected_calibration_error([0.5] * 20, sorted(y)) == 0.0


@given(
    st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40), st.integers(1, 12)
)
def test_bins_hold_every_verdict_once_from_low_to_high(
    rows: list[tuple[float, bool]], bins: int
) -> None:
    p, y = zip(*rows, strict=True)
    found = reliability(p, y, bins=bins)
    assert sum(b.n for b in found) == len(rows)
    assert sum(b.n * b.share for b in found) == pytest.approx(sum(y))
    assert all(a.probability <= b.probability for a, b in itertools.pairwise(found))
    assert 0.0 <= expected_calibration_error(p, y, bins=bins) <= 1.0


def test_probabilities_are_between_0_and_1() -> None:
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        reliability([1.5], [True])
    with pytest.raises(ValueError, match="one label per probability"):
        reliability([], [])


def test_a_group_is_flat_when_its_scored_rewards_are_the_same() -> None:
    groups = [[0.5, 0.5], [0.2, 0.9], [None, 0.3], [0.4, 0.405]]
    assert flat_share(groups) == 0.75  # equal; different; one scored; within the tolerance
    assert flat_share(groups, tolerance=0.0) == 0.5


def test_pearson_is_none_where_it_is_undefined() -> None:
    assert pearson([10, 20, 30], [0.1, 0.2, 0.3]) == pytest.approx(1.0)
    assert pearson([10, 20, 30], [0.3, 0.2, 0.1]) == pytest.approx(-1.0)
    assert pearson([64, 64, 64], [0.1, 0.2, 0.3]) is None
    assert pearson([1, 2, 3], [0.5, 0.5, 0.5]) is None
    assert pearson([1], [0.5]) is None


def test_an_interval_turned_round_and_back_and_through_json_is_itself() -> None:
    one = Interval(0.25, 0.125, 0.5, 9, 0.1)
    opposite = -one
    assert opposite == Interval(-0.25, -0.5, -0.125, 9, 0.1)
    assert -opposite == one
    assert Interval.from_json(one.to_json()) == one
    assert Interval.from_json(None) is None


def test_the_p_value_is_that_of_every_flip_of_signs() -> None:
    sums = [0.5, 0.25, -0.125, 1.0, 0.75]
    flips = list(itertools.product((-1, 1), repeat=len(sums)))
    totals = [abs(sum(sign * s for sign, s in zip(flip, sums, strict=True))) for flip in flips]
    reached = sum(total >= abs(sum(sums)) for total in totals)
    assert sign_flip_p(sums, "abcde") == pytest.approx(reached / len(flips))
