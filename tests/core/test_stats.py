"""Intervals and agreement."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, ttest_1samp
from scipy.stats import t as student

from rar_lib.core.stats import (
    Bin,
    Comparison,
    Interval,
    Statistic,
    auc,
    balanced_accuracy,
    cluster_interval,
    cluster_share,
    compare,
    compare_with_rate,
    crossed,
    expected_calibration_error,
    family,
    flat_share,
    gains,
    holm,
    kappa,
    mean_scored,
    minimum_detectable,
    pairwise_accuracy,
    pearson,
    proportion,
    reliability,
    sign_flip_p,
    task_interval,
    wins_of,
)

VALUES = st.lists(st.integers(-5, 5), min_size=4, max_size=12).filter(lambda v: len(set(v)) > 1)


def test_the_interval_of_a_mean_is_the_textbook_one() -> None:
    # Mean 3, standard error sqrt(2.5 / 5), and 2.776445 is the quantile of t with 4 degrees.
    interval = task_interval([1, 2, 3, 4, 5], bounds=(0, 9))
    assert interval.value == 3.0
    assert interval.se == pytest.approx(0.5**0.5)
    assert interval.high == pytest.approx(3 + 2.776445 * 0.5**0.5)
    assert interval.low == pytest.approx(3 - 2.776445 * 0.5**0.5)
    assert interval.n == 5


@pytest.mark.parametrize("n", [8, 24])
def test_an_interval_covers_the_truth_as_often_as_it_says(n: int) -> None:
    rng = np.random.default_rng(3)
    found = [task_interval(rng.normal(0.1, 0.2, n)) for _ in range(600)]
    hits = sum(i.low <= 0.1 <= i.high for i in found)
    assert 0.93 <= hits / 600 <= 0.97  # percentiles of resamples reach 0.88 with 8


def test_what_was_not_scored_is_in_no_mean_no_gain_and_no_win() -> None:
    assert mean_scored([0.25, None, 0.75]) == 0.5
    assert mean_scored([None]) is None
    assert gains({"b": 1.0, "a": 0.5, "c": None, "d": 1.0}, {"a": 0.25, "b": 0.5, "c": 1.0}) == {
        "b": 0.5,
        "a": 0.25,
    }
    rows = [("x", 0.9, 0.1), ("y", 0.5, 0.5), ("z", 0.1, 0.9), ("w", None, 0.1)]
    assert wins_of(rows, ties=0.5) == {"x": 1.0, "y": 0.5, "z": 0.0}


def test_an_interval_stays_where_the_statistic_can_be() -> None:
    assert task_interval([1] * 7 + [0], bounds=(0.0, 1.0)).high == 1.0
    assert task_interval([0.9] * 7 + [-0.9]).high <= 1.0
    assert task_interval([3.0] * 7 + [2.0]).high == 3.0  # values outside widen the bounds
    assert task_interval([3.0] * 8).low < 3.0


@pytest.mark.parametrize(("bad", "message"), [([], "empty"), ([1.0, float("nan")], "NaN")])
def test_no_interval_of_what_cannot_be_measured(bad: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        task_interval(bad)


@pytest.mark.parametrize("n", [1, 2, 8, 24, 160])
@pytest.mark.parametrize(("value", "bounds"), [(0.0, (-1, 1)), (0.5, (0, 1)), (1.0, (0, 1))])
def test_equal_values_have_a_width_that_falls_with_their_number(
    n: int, value: float, bounds: tuple[float, float]
) -> None:
    interval = task_interval([value] * n, bounds=bounds)
    share = 1 - 0.05 ** (1 / n)  # n equal ones are seen with chance 0.05 if such a share differs
    assert interval.low == pytest.approx(value - share * (value - bounds[0]))
    assert interval.high == pytest.approx(value + share * (bounds[1] - value))
    assert interval.se is not None
    assert interval.se > 0


@settings(max_examples=50)
@given(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=12))
def test_no_share_is_without_width(wins: list[float]) -> None:
    interval = cluster_share(wins, range(len(wins)))
    assert 0.0 <= interval.low <= interval.value <= interval.high <= 1.0
    assert interval.high - interval.low > 0.02


def test_few_units_are_shown_as_a_value_and_their_number() -> None:
    assert str(Interval(0.04, -0.001, 0.081, 7)) == "0.04 (n = 7)"
    assert str(Interval(0.04, -0.001, 0.081, 8)) == "0.04 [0.00, 0.08]"
    assert [Interval(0, -1, 1, n).shown for n in (1, 7, 8)] == [False, False, True]


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
    assert str(Interval(-0.001, -0.001, 0.081, 24)) == "0.00 [0.00, 0.08]"
    assert "-" not in str((-Interval(0.0, 0.0, 0.0, 24)).to_json())


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ((0.012, 0.003, 0.021), "0.012 [0.003, 0.021]"),  # above zero, by two decimals at it
        ((-0.012, -0.021, -0.003), "-0.012 [-0.021, -0.003]"),
        ((0.0012, -0.0034, 0.0041), "0.001 [-0.003, 0.004]"),  # by two decimals 0.00 [0.00, 0.00]
        ((0.501, 0.498, 0.504), "0.501 [0.498, 0.504]"),
        ((0.998, 0.996, 1.0), "0.998 [0.996, 1.000]"),
    ],
)
def test_a_third_decimal_where_two_hide_the_side_of_zero_or_the_width(
    ends: tuple[float, float, float], said: str
) -> None:
    assert str(Interval(*ends, 24)) == said


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ((0.04, 0.006, 0.081), "0.04 [0.01, 0.08]"),  # beside zero by two decimals, too
        ((0.04, 0.0, 0.081), "0.04 [0.00, 0.08]"),  # zero is its end
        ((0.0, 0.0, 0.243), "0.00 [0.00, 0.24]"),
        ((0.002, -0.004, 0.012), "0.00 [0.00, 0.01]"),  # zero lies inside, as it seems
        ((0.04, 1e-16, 0.08), "0.04 [0.00, 0.08]"),  # zero, but for the noise of adding up
        ((0.5, 0.5, 0.5), "0.50 [0.50, 0.50]"),  # no decimal would tell these ends apart
        ((0.25, 0.246, 0.256), "0.25 [0.25, 0.26]"),
    ],
)
def test_two_decimals_where_they_say_it_all(ends: tuple[float, float, float], said: str) -> None:
    assert str(Interval(*ends, 24)) == said


def test_a_value_without_ends_has_two_decimals() -> None:
    assert str(Interval(0.012, 0.003, 0.021, 7)) == "0.01 (n = 7)"


def test_no_proportion_of_nothing() -> None:
    with pytest.raises(ValueError, match="no proportion"):
        proportion(0, 0)


def test_pairwise_accuracy_under_both_tie_rules() -> None:
    preferred = [0.9, 0.5, 0.2, 0.7]
    rejected = [0.1, 0.5, 0.4, 0.6]
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
    with pytest.raises(ValueError, match="no group given"):
        flat_share([])


def test_tasks_are_rows_where_each_row_is_a_task() -> None:
    data = np.random.default_rng(5).normal(size=30)
    assert cluster_interval(data, [f"t{i}" for i in range(30)]) == task_interval(data)


@settings(max_examples=25)
@given(VALUES, st.integers(2, 4))
def test_copies_of_a_row_inside_its_task_add_no_information(values: list[int], copies: int) -> None:
    repeated = np.repeat(values, copies)
    tasks = np.repeat(np.arange(len(values)), copies).tolist()
    by_task = cluster_interval(repeated, tasks)
    alone = task_interval(values)
    assert (by_task.low, by_task.high, by_task.n) == pytest.approx((alone.low, alone.high, alone.n))
    by_row = task_interval(repeated)
    assert by_task.se is not None
    assert by_row.se is not None
    assert by_task.se > 1.4 * by_row.se  # sqrt(copies) >= 1.41 times, and fewer are counted


@settings(max_examples=25)
@given(VALUES, st.randoms(use_true_random=False))
def test_an_estimate_does_not_depend_on_the_order_of_rows(values, random) -> None:  # type: ignore[no-untyped-def]
    rows = [(v, i // 2) for i, v in enumerate(values)]
    shuffled = random.sample(rows, len(rows))
    one, other = (cluster_interval(*zip(*some, strict=True)) for some in (rows, shuffled))
    assert (one.value, one.low) == pytest.approx((other.value, other.low))
    assert one.n == other.n == (len(values) + 1) // 2


def test_the_interval_of_unequal_clusters_by_hand() -> None:
    # Without t1 the mean is 0, without t2 1: two values 1/2 from theirs, (2 - 1) / 2 * 1/2.
    interval = cluster_interval([1, 1, 0], ["t1", "t1", "t2"], bounds=(0, 1))
    assert (interval.value, interval.n) == (pytest.approx(2 / 3), 2)
    assert interval.se == pytest.approx(0.5)
    assert (interval.low, interval.high) == (0.0, 1.0)


def test_a_cluster_interval_covers_the_truth_where_one_over_rows_does_not() -> None:
    rng = np.random.default_rng(8)
    tasks = np.repeat(np.arange(30), 4).tolist()
    by_task = by_row = 0
    for _ in range(100):
        rows = np.repeat(rng.normal(size=30), 4) + 0.1 * rng.normal(size=120)
        over_tasks = cluster_interval(rows, tasks)
        over_rows = task_interval(rows)
        by_task += over_tasks.low <= 0.0 <= over_tasks.high
        by_row += over_rows.low <= 0.0 <= over_rows.high
    assert by_task >= 90
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
def test_a_cluster_interval_refuses(values, clusters, statistic, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        cluster_interval(values, clusters, statistic)


def _area(rows: np.ndarray) -> float | None:
    return auc(rows[:, 0], rows[:, 1])


def test_an_area_has_its_interval_over_tasks() -> None:
    # Tasks of one true and one false label. Two true ones lose to one false each: 14 of 16.
    rows = [[0.9, 1], [0.1, 0], [0.8, 1], [0.7, 0], [0.6, 1], [0.2, 0], [0.65, 1], [0.3, 0]]
    tasks = [0, 0, 1, 1, 2, 2, 3, 3]
    interval = cluster_interval(rows, tasks, _area, bounds=(0, 1))
    without = [7 / 9, 1.0, 8 / 9, 8 / 9]  # without each task in turn
    spread = sum((w - sum(without) / 4) ** 2 for w in without)
    assert interval.value == 14 / 16
    assert interval.se == pytest.approx((3 / 4 * spread) ** 0.5)
    assert interval.high == 1.0


def _balanced(rows: np.ndarray) -> float | None:
    return balanced_accuracy(rows[:, 0] > 0.5, rows[:, 1])


@pytest.mark.parametrize("statistic", [_area, _balanced])
@pytest.mark.parametrize("false_score", [0.1, 0.85, 0.95])
@pytest.mark.parametrize("true_tasks", [2, 8, 40])
def test_what_rests_on_one_task_is_known_within_its_bounds_alone(
    statistic: Statistic, false_score: float, true_tasks: int
) -> None:
    """Only one task holds a false label; without it there is nothing to tell apart."""
    data = [[0.9, 1]] * true_tasks + [[false_score, 0]]
    clusters = range(len(data))
    plain = cluster_interval(data, clusters, statistic, bounds=(0, 1))
    found = cluster_interval(
        data, clusters, statistic, bounds=(0, 1), classes=[label for _, label in data]
    )
    assert (plain.low, plain.high, plain.n) == (0.0, 1.0, true_tasks + 1)
    assert (found.low, found.high, found.n, found.shown) == (0.0, 1.0, 1, False)
    for interval in (plain, found):
        assert interval.se is not None
        # A test of any value between the bounds by this error is passed by none.
        quantile = student.ppf(0.975, max(1, interval.n - 1))
        assert max(interval.value, 1 - interval.value) / interval.se <= quantile + 1e-9


def test_units_are_the_tasks_of_the_rarer_class() -> None:
    # Labels of ten tasks: eight all true, one all false, one of both.
    rng = np.random.default_rng(2)
    labels = [1] * 16 + [0, 0] + [1, 0]
    data = np.column_stack([rng.random(20) + np.multiply(0.5, labels), labels])
    tasks = np.repeat(np.arange(10), 2).tolist()
    plain = cluster_interval(data, tasks, _area, bounds=(0, 1))
    found = cluster_interval(data, tasks, _area, bounds=(0, 1), classes=labels)
    turned = cluster_interval(data, tasks, _area, bounds=(0, 1), classes=1 - data[:, 1])
    assert (plain.n, found.n, turned.n) == (10, 2, 2)
    assert found.se == plain.se
    assert found.se is not None
    # Quantiles of t with 1 degree of freedom, and with 9.
    assert found.low == pytest.approx(max(0.0, found.value - 12.706205 * found.se))
    assert plain.low == pytest.approx(found.value - 2.262157 * found.se)
    assert found.low < plain.low


def test_where_every_task_holds_both_classes_nothing_else_is_counted() -> None:
    rng = np.random.default_rng(3)
    data = np.column_stack([rng.random(24), [1, 0] * 12])
    tasks = np.repeat(np.arange(12), 2).tolist()
    plain = cluster_interval(data, tasks, _area, bounds=(0, 1))
    assert plain == cluster_interval(data, tasks, _area, bounds=(0, 1), classes=data[:, 1])


@pytest.mark.parametrize("rare", [1, 2, 3, 6, 10])
def test_an_area_of_noise_is_held_however_few_tasks_hold_the_rarer_label(rare: int) -> None:
    """20 tasks of four labels whose scores share a luck: the true area is one half."""
    rng = np.random.default_rng([7, rare])
    tasks = np.repeat(np.arange(20), 4).tolist()
    labels = np.repeat(np.arange(20) >= rare, 4)
    held = above = 0
    for _ in range(150):
        scores = np.repeat(rng.normal(size=20), 4) + rng.normal(0.0, 0.5, 80)
        data = np.column_stack([scores, labels])
        found = cluster_interval(data, tasks, _area, bounds=(0, 1), classes=labels)
        held += found.low <= 0.5 <= found.high
        above += found.low > 0.5
    assert held >= 138  # 95 % of 150 less two standard deviations; 50 to 120 by all tasks
    assert above <= 8


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([True], "one class per row, got .1,. for 2 rows"),
        ([True, True], "rows of both classes, got 2 of one"),
        ([False, False], "rows of both classes, got 2 of one"),
    ],
)
def test_classes_that_cannot_be_held_against_each_other_are_refused(
    classes: list[bool], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        cluster_interval([1.0, 2.0], ["a", "b"], classes=classes)


def test_a_share_of_one_still_has_an_interval_over_its_tasks() -> None:
    sure = cluster_share([1, 1, 1, 1], ["a", "a", "b", "b"])
    assert (sure.value, sure.high, sure.n) == (1.0, 1.0, 2)
    assert sure.low == pytest.approx(0.05 ** (1 / 2))
    ties = cluster_share([0.5] * 24, range(24))
    assert ties.low == pytest.approx(0.5 - 0.5 * (1 - 0.05 ** (1 / 24)))


def test_the_detectable_difference_is_2_8_standard_errors() -> None:
    # 1.959964 + 0.841621
    assert minimum_detectable(0.1) == pytest.approx(0.2801585)
    assert minimum_detectable(0.1, power=0.5) == pytest.approx(0.1959964)
    # t with 7 degrees: 2.364624 + 0.896030, for eight tasks
    assert minimum_detectable(0.1, df=7) == pytest.approx(0.3260654)


@pytest.mark.parametrize(
    ("right", "n", "p"),
    [
        (3, 3, 1 / 64),  # nothing is as rare
        (1, 4, 1.0),  # as a guesser has it
        (0, 4, (81 + 54 + 12 + 1) / 256),  # 1 alone is likelier
    ],
)
def test_right_and_wrong_against_a_guesser_are_counted_exactly(
    right: int, n: int, p: float
) -> None:
    found = compare_with_rate({unit: float(unit < right) for unit in range(n)}, 0.25)
    assert found.p == pytest.approx(p)
    assert found.difference.value == pytest.approx(right / n - 0.25)


@pytest.mark.parametrize(
    ("n", "rate", "smallest"),
    [
        (4, 0.25, 1 / 256),  # all right
        (4, 0.75, 1 / 256),  # none
        (2, 0.5, 0.5),  # either, 1/4 each
        (3, 0.25, 1 / 64),
        (1, 0.1, 0.1),
        (5, 0.0, 0.0),  # a right one cannot be
    ],
)
def test_the_smallest_p_of_right_and_wrong_is_that_of_all_or_none(
    n: int, rate: float, smallest: float
) -> None:
    found: list[Comparison] = []
    for right in range(n + 1):
        found.append(compare_with_rate({unit: float(unit < right) for unit in range(n)}, rate))
    assert [of.smallest for of in found] == pytest.approx([smallest] * (n + 1))
    assert min(of.p for of in found) == pytest.approx(smallest)


@pytest.mark.parametrize("level", [0.05, 0.0125])
def test_a_true_guesser_is_called_no_more_often_than_promised(level: float) -> None:
    """Signs of such skewed gains call one too often."""
    called = {"exact": 0.0, "signs": 0.0}
    for right in range(25):
        shares = {unit: float(unit < right) for unit in range(24)}
        chance = float(binom.pmf(right, 24, 0.25))
        signs = sign_flip_p([share - 0.25 for share in shares.values()], list(shares))
        called["exact"] += chance * (compare_with_rate(shares, 0.25).p <= level)
        called["signs"] += chance * (signs <= level)
    assert called["exact"] <= level
    assert called["exact"] < called["signs"]


def test_shares_between_nothing_and_all_are_compared_by_their_signs() -> None:
    shares = {"a": 0.5, "b": 1.0, "c": None, "d": 0.75}
    found = compare_with_rate(shares, 0.25)
    assert found.p == pytest.approx(0.25)  # three gains one way: two patterns of eight
    assert found.difference.n == 3


@pytest.mark.parametrize(("shares", "rate"), [({}, 0.5), ({"a": None}, 0.5), ({"a": 1.0}, 1.5)])
def test_a_rate_is_a_share_and_something_is_known(
    shares: dict[str, float | None], rate: float
) -> None:
    with pytest.raises(ValueError, match="need a share and a rate"):
        compare_with_rate(shares, rate)


def test_sign_flips_by_hand() -> None:
    # Sums 1, 1, 1: of the 8 sign patterns two reach |3|.
    assert sign_flip_p([1, 1, 1], ["a", "b", "c"]) == 0.25
    # Two rows of one task flip together: sums 2, 1 reach |3| in two patterns of 4.
    assert sign_flip_p([1, 1, 1], ["a", "a", "b"]) == 0.5
    # 1 and -1 cancel: every pattern is at least as far from zero.
    assert sign_flip_p([1, -1], ["a", "b"]) == 1.0
    assert sign_flip_p([0.0, -0.0], ["a", "b"]) == 1.0
    assert sign_flip_p([0.7], ["a"]) == 1.0


@pytest.mark.parametrize(("losses", "tasks"), [(4, 24), (9, 160), (12, 48)])
def test_tasks_without_a_difference_do_not_count_so_it_is_the_exact_sign_test(
    losses: int, tasks: int
) -> None:
    for wins in range(3):
        gaps = [-1] * losses + [1] * wins + [0] * (tasks - losses - wins)
        p = binomtest(wins, losses + wins).pvalue
        assert sign_flip_p(gaps, range(tasks)) == pytest.approx(p)


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
    assert 3 <= found <= 19  # 5 % of 200, three standard deviations either way


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
    # Two of a family of five: times 5 and 4.
    assert holm({"a": 0.01, "b": 0.02}, 5) == {"a": pytest.approx(0.05), "b": pytest.approx(0.08)}
    with pytest.raises(ValueError, match="a family of 1 has 2 p-values"):
        holm({"a": 0.1, "b": 0.1}, 1)


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=8), st.integers(1, 8))
def test_what_is_decided_in_a_declared_family_stays_so_when_the_rest_is_known(
    values: list[float], known: int
) -> None:
    every = {str(number): value for number, value in enumerate(values)}
    some = {name: every[name] for name in list(every)[:known]}
    early = holm(some, len(every))
    late = holm(every)
    assert all(late[name] <= early[name] + 1e-12 for name in some)


@given(st.dictionaries(st.text(max_size=3), st.floats(0.0, 1.0), max_size=8))
def test_a_correction_never_makes_a_finding_stronger(p: dict[str, float]) -> None:
    adjusted = holm(p)
    assert list(adjusted) == list(p)
    assert all(p[k] <= adjusted[k] <= min(1.0, len(p) * p[k]) + 1e-12 for k in p)


def test_a_comparison_holds_what_was_found_and_what_could_have_been() -> None:
    found = family({"x": compare([1, 1, 1], "abc"), "y": compare([1, -1, 0.5], "abc")})
    x = found["x"]
    y = found["y"]
    assert (x.difference.value, x.p, x.p_holm) == (1.0, 0.25, 0.5)
    assert x.detectable > 1.0  # three equal ones do not say that anything could have been seen
    assert y.p_holm == 1.0
    assert y.difference.se is not None
    errors = 4.302653 + 1.060660  # of Student's distribution, two degrees of freedom
    assert y.detectable == pytest.approx(errors * y.difference.se)
    assert (-y).difference == -y.difference
    assert (-y).p == y.p


def test_equal_sides_could_not_have_shown_every_difference() -> None:
    same = compare([0.0] * 24, range(24))
    assert same.difference.high == pytest.approx(1 - 0.05 ** (1 / 24))
    assert same.difference.low == -same.difference.high
    assert 0.1 < same.detectable < 0.3
    assert same.p == 1.0


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
    true = [score for score, y in rows if y]
    false = [score for score, y in rows if not y]
    wins = [(a > b) + 0.5 * (a == b) for a in true for b in false]
    assert auc(*zip(*rows, strict=True)) == pytest.approx(sum(wins) / len(wins))


def test_calibration_error_by_hand_in_two_bins() -> None:
    # Lower half: mean 0.2, share true 0; upper half: mean 0.8, share true 0.5.
    p = [0.1, 0.3, 0.7, 0.9]
    y = [False, False, True, False]
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


@pytest.mark.parametrize("n", [2, 3, 5, 6, 7, 10, 16, 33])
@pytest.mark.parametrize("value", [0.0, 0.1, 0.3, 1 / 3, 0.55, 0.7, -0.7, 1e-9, 1e9 / 3])
def test_a_side_of_equal_numbers_has_no_correlation_however_its_mean_is_rounded(
    value: float, n: int
) -> None:
    lengths = [100.0 + place for place in range(n)]
    assert pearson([value] * n, lengths) is None
    assert pearson(lengths, [value] * n) is None
    assert pearson([value] * n, [0.7] * n) is None
    # The same sum in another order is the same reward.
    rounded = [0.1 + 0.2 + 0.3, 0.3 + 0.2 + 0.1] * n
    assert len(set(rounded)) == 2
    assert pearson(rounded, range(2 * n)) is None


@pytest.mark.parametrize("scale", [1e-9, 1e-3, 1.0, 1e6])
def test_small_numbers_that_differ_are_correlated(scale: float) -> None:
    assert pearson([scale, 2 * scale, 3 * scale], [1, 2, 3]) == pytest.approx(1.0)
    assert pearson([0.5, 0.5 + 1e-9, 0.5], [1, 2, 1]) == pytest.approx(1.0)


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
    totals = [abs(np.dot(flip, sums)) for flip in flips]  # all are sums of powers of two: exact
    reached = sum(total >= abs(sum(sums)) for total in totals)
    assert sign_flip_p(sums, "abcde") == pytest.approx(reached / len(flips))


def test_seeds_and_tasks_by_hand() -> None:
    # Rows are seeds. Means of seeds 1/4, 1/2, 3/4; of tasks 3/4, 1/4; grand mean 1/2.
    table = [[0.5, 0.0], [0.75, 0.25], [1.0, 0.5]]
    found = crossed(table)
    # Nothing is left over: MS of seeds 2 * 1/16, of tasks 3 * 1/8. Variance of the mean: / (3 * 2).
    se = ((1 / 8 + 3 / 8) / 6) ** 0.5
    assert found.difference.value == pytest.approx(0.5)
    assert found.difference.se == pytest.approx(se)
    assert found.difference.n == 2
    # One degree of freedom is Cauchy's: p = 1 - 2 / pi * atan(t).
    assert found.p == pytest.approx(1 - 2 / np.pi * np.arctan(0.5 / se))


def test_seeds_that_agree_leave_the_variance_of_tasks() -> None:
    gains = np.random.default_rng(1).normal(0.05, 0.2, 24)
    found = crossed([gains] * 3)
    alone = ttest_1samp(gains, 0.0)
    assert found.difference.value / found.difference.se == pytest.approx(alone.statistic)  # type: ignore[operator]
    assert found.p > alone.pvalue  # three seeds do not give 23 degrees of freedom


def test_seeds_that_differ_widen_the_interval_and_weaken_the_p_value() -> None:
    gains = np.random.default_rng(2).normal(0.08, 0.1, 160)
    near = crossed([gains] * 3)
    far = crossed([gains - 0.1, gains, gains + 0.1])
    assert near.difference.value == pytest.approx(far.difference.value)
    assert near.p < 0.05 < far.p
    width = [c.difference.high - c.difference.low for c in (near, far)]
    assert width[1] > 3 * width[0]


def test_an_interval_over_seeds_ends_where_a_mean_can_not_be() -> None:
    gains = np.random.default_rng(3).normal(0.9, 0.2, 24)
    table = [gains + s * 0.1 for s in (-1, 0, 1)]
    assert crossed(table).difference.high == 1.0
    wide = crossed(table, bound=1.25)
    assert crossed(table, bound=1.1).difference.high == 1.1
    assert 1.0 < wide.difference.high < 1.25
    assert wide.difference.low == crossed(table).difference.low
    assert wide.p == crossed(table).p  # the bound decides nothing
    assert crossed(np.ones((3, 24)), bound=1.25).difference.high <= 1.25


def test_an_effect_of_luck_with_seeds_is_rarely_called_one() -> None:
    rng = np.random.default_rng(4)
    by_both = by_tasks = covered = 0
    for _ in range(200):
        table = rng.normal(0, 0.05, (3, 1)) + rng.normal(0, 0.1, (1, 48))
        table = table + rng.normal(0, 0.05, (3, 48))
        found = crossed(table)
        by_both += found.p <= 0.05
        by_tasks += ttest_1samp(table.mean(axis=0), 0.0).pvalue <= 0.05
        covered += found.difference.low <= 0.0 <= found.difference.high
    assert by_both <= 15  # 5 % are 10
    assert by_tasks >= 60
    assert covered >= 185


def test_a_fold_has_trainings_of_its_own() -> None:
    """Two folds like the table above: a seed adds another thing in each, so its part is halved."""
    one = np.array([[0.5, 0.0], [0.75, 0.25], [1.0, 0.5]])
    both = crossed(np.hstack([one, one]), ["a", "a", "b", "b"])
    # Variances 1/16 between seeds and 1/8 between tasks; six trainings, four tasks.
    se = (1 / 16 / 6 + 1 / 8 / 4) ** 0.5
    assert both.difference.se == pytest.approx(se)
    assert both.seeds is not None
    assert both.seeds.only_seeds == pytest.approx(1 / 96 / se**2)
    # Folds of three seeds have four degrees of freedom between them; two folds of two tasks two.
    assert both.seeds.freedom(4) == 2
    assert both.seeds.freedom(160) == 4
    assert both.p == pytest.approx(2 * student.sf(0.5 / se, 2))


def test_folds_that_pull_apart_without_any_variance_are_no_effect() -> None:
    """Three trainings at +0.5 and three at -0.4: their signs say nothing."""
    found = crossed(np.hstack([np.full((3, 10), 0.5), np.full((3, 10), -0.4)]), [0] * 10 + [1] * 10)
    assert found.difference.value == pytest.approx(0.05)
    assert found.p > 0.5
    same = crossed(np.full((3, 20), 0.25), [0] * 10 + [1] * 10)
    assert same.p == pytest.approx(2 / 2**6)


def test_no_interval_is_narrower_than_the_test() -> None:
    rng = np.random.default_rng(8)
    for _ in range(100):
        table = rng.normal(0.05, 0.1, (3, 1)) + rng.normal(0, 0.02, (3, 24))
        for folds in (None, [0] * 12 + [1] * 12):
            found = crossed(table, folds)
            outside = not found.difference.low <= 0.0 <= found.difference.high
            assert not outside or found.p <= 0.05


def test_one_fold_is_no_fold() -> None:
    table = np.random.default_rng(5).normal(0.1, 0.2, (3, 24))
    assert crossed(table, [7] * 24) == crossed(table)


def test_folds_find_more_of_what_is_there_and_not_of_what_is_not() -> None:
    rng = np.random.default_rng(6)
    folds = [0] * 24 + [1] * 24
    called = {"luck": 0, "an effect": 0, "an effect, folds not told": 0}
    for _ in range(200):
        luck = rng.normal(0, 0.03, (3, 2)).repeat(24, axis=1) + rng.normal(0, 0.1, (1, 48))
        luck = luck + rng.normal(0, 0.05, (3, 48))
        called["luck"] += crossed(luck, folds).p <= 0.05
        called["an effect"] += crossed(luck + 0.07, folds).p <= 0.05
        called["an effect, folds not told"] += crossed(luck + 0.07).p <= 0.05
    assert called["luck"] <= 15  # 5 % are 10
    assert called["an effect"] > called["an effect, folds not told"] + 20


def test_every_task_has_a_fold_with_two_tasks_or_more() -> None:
    with pytest.raises(ValueError, match="a fold of every task, got 3 of 4"):
        crossed(np.ones((3, 4)), [0, 0, 1])
    with pytest.raises(ValueError, match="two or more of each"):
        crossed(np.ones((3, 3)), [0, 0, 1])


def test_the_error_of_seeds_and_tasks_is_made_of_three_parts() -> None:
    """Variances 0.01 between seeds, 0.04 between tasks, none beside: 0.01 / 3 + 0.04 / 5."""
    seeds = np.array([-0.1, 0.0, 0.1])
    tasks = np.array([-0.2, -0.2, 0.0, 0.2, 0.2])
    found = crossed(seeds[:, None] + tasks[None, :]).seeds
    assert found is not None
    whole = 0.01 / 3 + 0.04 / 5
    assert (found.n, found.only_seeds) == (3, pytest.approx(0.01 / 3 / whole))
    assert found.only_tasks == pytest.approx(0.04 / 5 / whole)
    noise = crossed(np.random.default_rng(0).normal(0, 0.1, (30, 300))).seeds
    assert noise is not None  # most of it falls with either
    assert noise.only_seeds + noise.only_tasks < 0.6


@pytest.mark.parametrize("same", [0.0, 0.25])
def test_seeds_without_any_variance_are_not_certain(same: float) -> None:
    found = crossed(np.full((3, 24), same))
    assert found.difference.low < same < found.difference.high
    assert found.p == (1.0 if same == 0 else 0.25)  # the signs of three seeds
    assert found.detectable > 0.5


@pytest.mark.parametrize("table", [[1.0, 2.0], [[0.1, 0.2]], [[0.1], [0.2]], [[0.1, np.nan]] * 3])
def test_a_table_of_seeds_and_tasks_has_two_of_each(table: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="two or more of each"):
        crossed(table)


def test_kappa_is_agreement_beyond_chance() -> None:
    # 7 of 10 agree; chance agrees on 0.6 * 0.5 + 0.4 * 0.5 = 0.5 of them.
    one = [1, 1, 1, 1, 1, 1, 0, 0, 0, 0]
    other = [1, 1, 1, 1, 0, 0, 0, 0, 0, 1]
    assert kappa(one, other) == pytest.approx((0.7 - 0.5) / 0.5)
    assert kappa([1, 0], [0, 1]) == -1.0
    assert kappa([1, 1], [1, 1]) is None
    assert kappa([1, 1, 1, 0], [1, 1, 1, 1]) == 0.0, "saying yes to everything is chance"
    with pytest.raises(ValueError, match="as many answers"):
        kappa([1, 0], [1])
