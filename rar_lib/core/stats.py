"""Intervals, agreement and paired comparisons, small and exact enough to check by hand.

    found = compare([0.5, 0.0, 1.0, -0.5], ["t1", "t1", "t2", "t3"])
    found.difference, found.p, found.detectable

Two pairs of one task are not two independent observations. Wherever a task can hold several
rows, the task is what is resampled, and ``n`` of an interval counts tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import NormalDist
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

T = TypeVar("T")
Statistic = Callable[[NDArray[np.float64]], float | None]


@dataclass(frozen=True)
class Interval:
    """A point estimate with its interval.

    Attributes:
        n: number of independent units (resampled ones, where the interval is a bootstrap).
        se: standard deviation of the bootstrap's draws; ``None`` for a closed formula.
    """

    value: float
    low: float
    high: float
    n: int
    se: float | None = None

    def __str__(self) -> str:
        # Adding 0.0 turns a rounded -0.0 into 0.0.
        value, low, high = (round(x, 2) + 0.0 for x in (self.value, self.low, self.high))
        return f"{value:.2f} [{low:.2f}, {high:.2f}]"

    def __neg__(self) -> Interval:
        """The interval of the opposite difference, for a claim that something is below zero."""
        return replace(self, value=-self.value, low=-self.high, high=-self.low)

    def to_json(self) -> dict[str, Any]:
        """As a JSON value, for a later chapter."""
        return asdict(self)

    @staticmethod
    def from_json(value: dict[str, Any] | None) -> Interval | None:
        """The reverse of :meth:`to_json`; ``None`` stays ``None``."""
        return None if value is None else Interval(**value)


def _mean(rows: NDArray[np.float64]) -> float:
    return float(np.mean(rows))


def bootstrap(
    values: ArrayLike,
    statistic: Statistic = _mean,
    *,
    seed: int = 0,
    resamples: int = 2000,
    level: float = 0.95,
) -> Interval:
    """Percentile bootstrap over the first axis: one row per task, so tasks are resampled.

    Arguments and errors are those of :func:`cluster_bootstrap`.
    """
    rows = np.asarray(values, dtype=np.float64)
    own = range(len(rows))
    return cluster_bootstrap(rows, own, statistic, seed=seed, resamples=resamples, level=level)


def cluster_bootstrap(
    values: ArrayLike,
    clusters: Sequence[Hashable],
    statistic: Statistic = _mean,
    *,
    seed: int = 0,
    resamples: int = 2000,
    level: float = 0.95,
) -> Interval:
    """Percentile bootstrap that resamples clusters and takes all rows of each one drawn.

    Args:
        values: shape (n,) or (n, m), n >= 1, no NaN.
        clusters: n labels, such as task ids; rows with the same label stay together.
        statistic: maps the rows drawn to a number. ``None`` says that it is undefined for
            them (an AUC of one class): that draw is left out.

    Returns:
        The interval; ``n`` counts clusters.

    Raises:
        ValueError: empty input, NaN in it, another number of labels than rows, or a
            statistic that is undefined for the sample itself.
    """
    data = np.asarray(values, dtype=np.float64)
    if data.shape[0] == 0:
        raise ValueError("nothing to resample: the sample is empty")
    if np.isnan(data).any():
        raise ValueError("the sample holds NaN: leave unscored items out and report their number")
    if len(clusters) != len(data):
        raise ValueError(f"need one cluster per row, got {len(clusters)} for {len(data)} rows")
    value = statistic(data)
    if value is None:
        raise ValueError("the statistic is undefined for this sample")
    members = members_of(clusters)
    rng = np.random.default_rng(seed)
    picks = rng.integers(0, len(members), size=(resamples, len(members)))
    alone = len(members) == len(data)  # then a cluster's number is its row's number

    def rows(pick: NDArray[np.intp]) -> NDArray[np.intp]:
        return pick if alone else np.concatenate([members[i] for i in pick])

    drawn = [statistic(data[rows(pick)]) for pick in picks]
    draws = np.array(scored(drawn))
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(draws, [tail, 1.0 - tail])
    return Interval(float(value), float(low), float(high), len(members), float(draws.std()))


def members_of(clusters: Sequence[Hashable]) -> list[NDArray[np.intp]]:
    """Row numbers (from 0) of every cluster, in order of first appearance."""
    rows: dict[Hashable, list[int]] = {}
    for row, label in enumerate(clusters):
        rows.setdefault(label, []).append(row)
    return [np.array(r, dtype=np.intp) for r in rows.values()]


def cluster_share(wins: ArrayLike, clusters: Sequence[Hashable]) -> Interval:
    """A share with its interval over clusters; a row may count one half.

    The cluster bootstrap; where all rows are 1 or all are 0 it has no width, so Wilson's
    interval with one observation per cluster stands in for it.

    Args:
        wins: shape (n,), each in [0, 1].
    """
    data = np.asarray(wins, dtype=np.float64)
    if data.size and data.min() == data.max() and data[0] in (0.0, 1.0):
        k = len(set(clusters))
        return proportion(float(data[0]) * k, k)
    return cluster_bootstrap(data, clusters)


def proportion(successes: float, n: int) -> Interval:
    """A share with its Wilson 95 % interval; a tie may count as half a success.

    Unlike the bootstrap it has a width when every item succeeds.

    Raises:
        ValueError: ``n`` is not positive or ``successes`` lies outside 0..n.
    """
    if n <= 0 or not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n} is no proportion")
    z = 1.959964
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return Interval(p, max(0.0, float(centre - half)), min(1.0, float(centre + half)), n)


def still(value: float, n: int, bounds: tuple[float, float]) -> tuple[float, float]:
    """Where the mean can lie if all of ``n`` units have the same value: the rule of three.

    If a share q of all units were different, n equal ones would be seen with chance (1 - q)^n. So
    with 95 % confidence q is at most ``1 - 0.05 ** (1 / n)``, about 3 / n (Hanley and
    Lippman-Hand 1983), and those may lie anywhere in ``bounds``.
    """
    low, high = bounds
    q = 1.0 - 0.05 ** (1.0 / n)
    return value - q * (value - low), value + q * (high - value)


def pairwise_accuracy(preferred: ArrayLike, rejected: ArrayLike, *, ties: float) -> float:
    """Share of pairs in which the preferred response scores higher; a tie counts ``ties``.

    The paper counts strictly higher only (``ties=0``); chance is then below one half for a
    judge that ties often, so ``ties=0.5`` is always shown beside it.
    """
    a = np.asarray(preferred, dtype=np.float64)
    b = np.asarray(rejected, dtype=np.float64)
    if a.shape != b.shape or a.size == 0:
        raise ValueError(f"need as many preferred as rejected scores, got {a.shape} and {b.shape}")
    return float(np.mean((a > b) + ties * (a == b)))


def auc(scores: ArrayLike, labels: ArrayLike) -> float | None:
    """Probability that a true label scores above a false one (ties one half).

    ``None`` where only one class is present: there is nothing to separate.
    """
    s = np.asarray(scores, dtype=np.float64)
    y = np.asarray(labels, dtype=bool)
    if s.shape != y.shape:
        raise ValueError(f"need one label per score, got {s.shape} and {y.shape}")
    true = s[y]
    false = np.sort(s[~y])
    if not len(true) or not len(false):
        return None
    # How many false scores lie below each true one; the mean of both sides halves the ties.
    below = np.searchsorted(false, true, "left") + np.searchsorted(false, true, "right")
    return float(below.mean() / (2 * len(false)))


def balanced_accuracy(verdicts: ArrayLike, labels: ArrayLike) -> float | None:
    """Mean of the share of true labels and the share of false labels that the verdicts get right.

    Saying yes to everything scores one half, whatever the share of true labels. ``None`` where
    only one class is present.

    Args:
        verdicts: shape (n,), yes or no.
        labels: shape (n,), the truth.
    """
    v = np.asarray(verdicts, dtype=bool)
    y = np.asarray(labels, dtype=bool)
    if v.shape != y.shape:
        raise ValueError(f"need one label per verdict, got {v.shape} and {y.shape}")
    if y.all() or not y.any():
        return None
    return float((v[y].mean() + (~v[~y]).mean()) / 2.0)


@dataclass(frozen=True)
class Bin:
    """Probabilities of similar size: how many, their mean, and how many of them came true."""

    n: int
    probability: float
    share: float


def reliability(probabilities: ArrayLike, labels: ArrayLike, *, bins: int = 10) -> list[Bin]:
    """A reliability diagram's points: equal-mass bins from the lowest probability up.

    The edges are quantiles, so that every bin holds about n / bins items however the
    probabilities crowd together; equal probabilities are never split, so there may be fewer.

    Args:
        probabilities: shape (n,), n >= 1, each in [0, 1].
        labels: shape (n,), the truth.

    Raises:
        ValueError: nothing given, another number of labels, or a value outside [0, 1].
    """
    p = np.asarray(probabilities, dtype=np.float64)
    y = np.asarray(labels, dtype=bool)
    if p.shape != y.shape or not p.size:
        raise ValueError(f"need one label per probability, got {p.shape} and {y.shape}")
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("probabilities must be in [0, 1]")
    edges = np.quantile(p, np.linspace(0, 1, bins + 1)[1:-1])
    which = np.searchsorted(edges, p, "left")
    found = [(p[which == b], y[which == b]) for b in range(bins)]
    return [Bin(len(q), float(q.mean()), float(t.mean())) for q, t in found if len(q)]


def expected_calibration_error(
    probabilities: ArrayLike, labels: ArrayLike, *, bins: int = 10
) -> float:
    """Mean distance between probability and share of true labels, over equal-mass bins, in [0, 1].

    ``sum_b n_b / n * |mean probability of b - share true in b|`` over :func:`reliability`.
    Small samples push it up, also for a perfect judge: no interval is given because resampling
    would push it up once more.
    """
    found = reliability(probabilities, labels, bins=bins)
    return sum(b.n * abs(b.probability - b.share) for b in found) / sum(b.n for b in found)


#: Rewards and verdict probabilities closer than this are the same: one point in a hundred of a
#: criterion is the judge's numerical noise, not a difference between two responses.
TOLERANCE = 0.01


def scored(values: Iterable[T | None]) -> list[T]:
    """Those that were scored, in their order: without the ``None``."""
    return [value for value in values if value is not None]


def is_flat(values: Sequence[float | None], *, tolerance: float = TOLERANCE) -> bool:
    """Whether the scored values of a group are the same: it teaches nothing."""
    known = scored(values)
    return not known or max(known) - min(known) <= tolerance


def flat_share(groups: Sequence[Sequence[float | None]], *, tolerance: float = TOLERANCE) -> float:
    """Share of GRPO groups that are flat, in [0, 1].

    Raises:
        ValueError: there is no group.
    """
    if not groups:
        raise ValueError("no group given")
    return sum(is_flat(group, tolerance=tolerance) for group in groups) / len(groups)


def pearson(x: ArrayLike, y: ArrayLike) -> float | None:
    """Pearson's r, in [-1, 1]; ``None`` where either side does not vary, or of less than two.

    Args:
        x, y: shape (n,).
    """
    a = np.asarray(x, dtype=np.float64)
    b = np.asarray(y, dtype=np.float64)
    if len(a) < 2 or a.std() == 0 or b.std() == 0:
        return None
    return float(np.clip(np.corrcoef(a, b)[0, 1], -1.0, 1.0))


@dataclass(frozen=True)
class Comparison:
    """One difference, and what a sample of this size could have seen.

    Attributes:
        difference: mean of the paired differences, with its interval over clusters.
        detectable: the smallest true difference that this sample would show in 80 of 100
            studies (see :func:`minimum_detectable`).
        p: two-sided p-value of the sign-flip test over clusters.
        p_holm: the same, corrected for the family it was compared in; ``None`` outside one.
    """

    difference: Interval
    detectable: float
    p: float
    p_holm: float | None = None


def compare(differences: ArrayLike, clusters: Sequence[Hashable]) -> Comparison:
    """Paired differences with cluster bootstrap, detectable difference and p-value.

    Args:
        differences: shape (n,), one paired difference per row.
        clusters: n labels.
    """
    interval = cluster_bootstrap(differences, clusters)
    return Comparison(
        difference=interval,
        detectable=minimum_detectable(interval.se or 0.0),
        p=sign_flip_p(differences, clusters),
    )


def minimum_detectable(se: float, *, level: float = 0.95, power: float = 0.8) -> float:
    """The minimum detectable difference, ``(z_{(1 + level) / 2} + z_power) * se``.

    With 95 % and 80 % that is 2.80 standard errors. A finding of "no difference" only speaks
    about differences larger than this.

    Args:
        se: standard error of the difference, here the bootstrap's.
    """
    normal = NormalDist()
    return (normal.inv_cdf((1.0 + level) / 2.0) + normal.inv_cdf(power)) * se


def sign_flip_p(
    differences: ArrayLike, clusters: Sequence[Hashable], *, draws: int = 9999, seed: int = 0
) -> float:
    """Two-sided p-value of "the mean difference is zero", flipping the sign of whole clusters.

    Under that hypothesis the two sides of a cluster could be exchanged. Exact where
    ``2 ** clusters <= draws + 1``, else Monte Carlo, whose smallest value is 1 / (draws + 1).
    """
    from scipy.stats import permutation_test

    data = np.asarray(differences, dtype=np.float64)
    sums = np.array([data[rows].sum() for rows in members_of(clusters)])
    found = permutation_test(
        (sums,),
        lambda flipped, axis: flipped.sum(axis=axis),
        permutation_type="samples",  # of one sample: signs are flipped
        vectorized=True,
        n_resamples=draws,  # all of them, if there are no more
        rng=np.random.default_rng(seed),
    )
    return float(found.pvalue)


def family(comparisons: Mapping[str, Comparison]) -> dict[str, Comparison]:
    """The same comparisons with ``p_holm`` filled in, corrected for all of them together."""
    adjusted = holm({name: c.p for name, c in comparisons.items()})
    return {name: replace(c, p_holm=adjusted[name]) for name, c in comparisons.items()}


def holm(p: Mapping[str, float]) -> dict[str, float]:
    """Holm's step-down correction: p-values adjusted for all comparisons of a family.

    The i-th smallest of m is multiplied by ``m - i + 1``, made monotone, and cut at 1
    (Holm 1979); an adjusted value below 0.05 keeps the family's error below 5 %.
    """
    adjusted: dict[str, float] = {}
    floor = 0.0
    for rank, (name, value) in enumerate(sorted(p.items(), key=lambda item: item[1])):
        floor = max(floor, min(1.0, (len(p) - rank) * value))
        adjusted[name] = floor
    return {name: adjusted[name] for name in p}


Finding = Literal["supported", "not supported", "inconclusive", "not testable here"]
#: With fewer resampled units a percentile interval is far too narrow to decide anything.
MIN_UNITS = 8


def finding(difference: Interval | None) -> Finding:
    """What an interval says of the claim that a difference is above zero.

    No interval, or one over fewer than ``MIN_UNITS`` units, decides nothing.
    """
    if difference is None or difference.n < MIN_UNITS:
        return "not testable here"
    if difference.low > 0:
        return "supported"
    if difference.high < 0:
        return "not supported"
    return "inconclusive"
