"""Intervals and agreement."""

import numpy as np
import pytest

from rar_lib.report import finding
from rar_lib.stats import (
    Interval,
    auc,
    bootstrap,
    pairwise_accuracy,
    proportion,
    zero_variance_share,
)


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
    assert zero_variance_share(groups) == 0.5


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
