"""The statistics of a comparison, small enough to check by hand.

    found = compare([0.5, 0.0, 1.0, -0.5], ["t1", "t1", "t2", "t3"])
    found.difference, found.p, found.detectable

Two pairs of one task are not two independent observations. Wherever a task can hold several
rows, the task is what is resampled, and ``n`` of an interval counts tasks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

T = TypeVar("T")
Key = TypeVar("Key", bound=Hashable)
Statistic = Callable[[NDArray[np.float64]], float | None]
#: An interval over fewer units is not shown as one, and decides nothing about small differences.
MIN_UNITS = 8


@dataclass(frozen=True)
class Interval:
    """A point estimate with its interval.

    Attributes:
        n: number of independent units (tasks, where rows hang together in tasks).
        se: standard error of the value; ``None`` for a closed formula.
    """

    value: float
    low: float
    high: float
    n: int
    se: float | None = None

    @property
    def shown(self) -> bool:
        """Whether its ends mean anything: there are at least ``MIN_UNITS`` units."""
        return self.n >= MIN_UNITS

    def __str__(self) -> str:
        """Two decimals; three where two would make the ends equal or hide their side of zero."""
        if not self.shown:
            return f"{_rounded(self.value, 2)} (n = {self.n})"
        digits = 3 if _blurred(self.low, self.high) else 2
        value, low, high = (_rounded(x, digits) for x in (self.value, self.low, self.high))
        return f"{value} [{low}, {high}]"

    def __neg__(self) -> Interval:
        """The interval of the opposite difference, for a claim that something is below zero."""
        return replace(self, value=0.0 - self.value, low=0.0 - self.high, high=0.0 - self.low)

    def to_json(self) -> dict[str, Any]:
        """As a JSON value, for a later chapter."""
        return asdict(self)

    @staticmethod
    def from_json(value: dict[str, Any] | None) -> Interval | None:
        """The reverse of :meth:`to_json`; ``None`` stays ``None``."""
        return None if value is None else Interval(**value)


def _rounded(x: float, digits: int) -> str:
    # Adding 0.0 turns a rounded -0.0 into 0.0.
    return f"{round(x, digits) + 0.0:.{digits}f}"


def _blurred(low: float, high: float) -> bool:
    """Whether two decimals make one number of both ends, or let an interval beside zero touch it.

    Ends closer than the noise of adding up are one number, and so are an end and zero.
    """
    if high - low <= 1e-12:
        return False
    ends = round(low, 2), round(high, 2)
    beside_zero = low > 1e-12 or high < -1e-12
    return ends[0] == ends[1] or (beside_zero and 0.0 in ends)


def _mean(rows: NDArray[np.float64]) -> float:
    return float(np.mean(rows))


def task_interval(
    values: ArrayLike, statistic: Statistic = _mean, *, bounds: tuple[float, float] = (-1.0, 1.0)
) -> Interval:
    """The interval of a statistic of rows that are independent: one row a task.

    Arguments and errors are those of :func:`cluster_interval`.
    """
    rows = np.asarray(values, dtype=np.float64)
    return cluster_interval(rows, range(len(rows)), statistic, bounds=bounds)


def cluster_interval(
    values: ArrayLike,
    clusters: Sequence[Hashable],
    statistic: Statistic = _mean,
    *,
    bounds: tuple[float, float] = (-1.0, 1.0),
    classes: ArrayLike | None = None,
) -> Interval:
    """The 95 % interval of a statistic of rows that hang together in clusters.

    Student-t with the jackknife's standard error: the statistic is computed without each cluster
    in turn (Miller 1974; for the mean of equal clusters this is the textbook interval over
    their means). ``results/coverage.py`` chose it among four methods by simulated coverage. Where
    leaving any cluster out changes nothing, :func:`still` gives the width. Where the statistic is
    undefined without one of them, all of it rests on that one, whose part in the error nobody can
    see: the ends are the bounds.

    Args:
        values: shape (n,) or (n, m), n >= 1, no NaN.
        clusters: n labels, such as task ids; rows with the same label stay together.
        statistic: maps rows to a number. ``None`` says that it is undefined for them (an AUC
            of one class).
        bounds: smallest and largest possible value of the statistic; widened by values of a
            one-dimensional sample that lie outside.
        classes: shape (n,), yes or no, of a statistic that holds the rows of one class against
            those of the other. However many clusters hold one of them, what is known is limited by
            those that hold the other: they are the units, and give the degrees of freedom.

    Returns:
        The interval, inside the bounds; ``n`` counts clusters, with classes those of the rarer.

    Raises:
        ValueError: empty input, NaN in it, another number of labels or classes than rows, rows
            of one class only, or a statistic that is undefined for the sample itself.
    """
    data = np.asarray(values, dtype=np.float64)
    if data.shape[0] == 0:
        raise ValueError("nothing to measure: the sample is empty")
    if np.isnan(data).any():
        raise ValueError("the sample holds NaN: leave unscored items out and report their number")
    if len(clusters) != len(data):
        raise ValueError(f"need one cluster per row, got {len(clusters)} for {len(data)} rows")
    found = statistic(data)
    if found is None:
        raise ValueError("the statistic is undefined for this sample")
    value = float(found)
    members = members_of(clusters)
    n = len(members) if classes is None else _rarer(members, classes, len(data))
    seen = data if data.ndim == 1 else np.array([value])
    edges = min(bounds[0], float(seen.min())), max(bounds[1], float(seen.max()))
    se = _jackknife(data, members, statistic) if len(members) > 1 else 0.0
    quantile = _student(0.975, n - 1)
    if se is None:
        widest = max(value - edges[0], edges[1] - value)
        return Interval(value, *edges, n, widest / quantile)
    if se <= 1e-12:
        low, high = still(value, n, edges)
        return Interval(value, low, high, n, max(value - low, high - value) / quantile)
    low = value - quantile * se
    high = value + quantile * se
    return Interval(value, max(edges[0], low), min(edges[1], high), n, se)


def _jackknife(
    data: NDArray[np.float64], members: Sequence[NDArray[np.intp]], statistic: Statistic
) -> float | None:
    """Standard error of a statistic, from its values without each cluster in turn.

    ``None`` where it is undefined without one of them.
    """
    without = [statistic(np.delete(data, rows, axis=0)) for rows in members]
    if None in without:
        return None
    return float(np.std(np.array(without, dtype=np.float64)) * np.sqrt(len(without) - 1))


def _rarer(members: Sequence[NDArray[np.intp]], classes: ArrayLike, rows: int) -> int:
    """Clusters that hold a row of the class that fewer of them hold.

    Raises:
        ValueError: another number of classes than rows, or all rows are of one.
    """
    yes = np.asarray(classes, dtype=bool)
    if yes.shape != (rows,):
        raise ValueError(f"need one class per row, got {yes.shape} for {rows} rows")
    if yes.all() or not yes.any():
        raise ValueError(f"need rows of both classes, got {rows} of one")
    with_yes = sum(bool(yes[places].any()) for places in members)
    with_no = sum(not yes[places].all() for places in members)
    return min(with_yes, with_no)


def _student(probability: float, df: float) -> float:
    """Quantile of Student's t; with less than one degree of freedom that of one."""
    from scipy.stats import t

    return float(t.ppf(probability, max(1.0, df)))


def members_of(clusters: Sequence[Hashable]) -> list[NDArray[np.intp]]:
    """Row numbers (from 0) of every cluster, in order of first appearance."""
    rows: dict[Hashable, list[int]] = {}
    for row, label in enumerate(clusters):
        rows.setdefault(label, []).append(row)
    return [np.array(places, dtype=np.intp) for places in rows.values()]


def cluster_share(wins: ArrayLike, clusters: Sequence[Hashable]) -> Interval:
    """A share with its interval over clusters; a row may count one half.

    Args:
        wins: shape (n,), each in [0, 1].
    """
    return cluster_interval(wins, clusters, bounds=(0.0, 1.0))


def proportion(successes: float, n: int) -> Interval:
    """A share with its Wilson 95 % interval; a tie may count as half a success.

    For items that are independent; shares over tasks are :func:`cluster_share`.

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
    share = 1.0 - 0.05 ** (1.0 / n)
    return value - share * (value - low), value + share * (high - value)


def pairwise_accuracy(preferred: ArrayLike, rejected: ArrayLike, *, ties: float) -> float:
    """Share of pairs in which the preferred response scores higher; a tie counts ``ties``.

    The paper counts strictly higher only (``ties=0``); chance is then below one half for a
    judge that ties often, so ``ties=0.5`` is always shown beside it.
    """
    above = np.asarray(preferred, dtype=np.float64)
    below = np.asarray(rejected, dtype=np.float64)
    if above.shape != below.shape or above.size == 0:
        raise ValueError(
            f"need as many preferred as rejected scores, got {above.shape} and {below.shape}"
        )
    return float(np.mean((above > below) + ties * (above == below)))


def wins_of(
    rows: Iterable[tuple[Key, float | None, float | None]], *, ties: float
) -> dict[Key, float]:
    """1 where the preferred response scores higher, ``ties`` where equal; unscored are left out.

    Args:
        rows: name of a pair, score of its preferred response, score of the rejected one.
    """
    return {
        name: pairwise_accuracy([better], [worse], ties=ties)
        for name, better, worse in rows
        if better is not None and worse is not None
    }


def auc(scores: ArrayLike, labels: ArrayLike) -> float | None:
    """Probability that a true label scores above a false one (ties one half).

    ``None`` where only one class is present: there is nothing to separate.
    """
    given = np.asarray(scores, dtype=np.float64)
    y = np.asarray(labels, dtype=bool)
    if given.shape != y.shape:
        raise ValueError(f"need one label per score, got {given.shape} and {y.shape}")
    true = given[y]
    false = np.sort(given[~y])
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
    said = np.asarray(verdicts, dtype=bool)
    y = np.asarray(labels, dtype=bool)
    if said.shape != y.shape:
        raise ValueError(f"need one label per verdict, got {said.shape} and {y.shape}")
    if y.all() or not y.any():
        return None
    return float((said[y].mean() + (~said[~y]).mean()) / 2.0)


def kappa(one: ArrayLike, other: ArrayLike) -> float | None:
    """Agreement of two raters' yes and no beyond chance (Cohen 1960), at most 1; 0 is chance.

    ``None`` where chance alone agrees on everything, as when all is yes.

    Args:
        one, other: shape (n,), n >= 1, yes or no.
    """
    first = np.asarray(one, dtype=np.float64)
    second = np.asarray(other, dtype=np.float64)
    if first.shape != second.shape or not first.size:
        raise ValueError(
            f"need as many answers of one as of the other, got {first.shape}, {second.shape}"
        )
    chance = float(first.mean() * second.mean() + (1 - first.mean()) * (1 - second.mean()))
    return None if chance >= 1.0 else (float((first == second).mean()) - chance) / (1.0 - chance)


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
    found = [(p[which == place], y[which == place]) for place in range(bins)]
    return [
        Bin(len(inside), float(inside.mean()), float(true.mean()))
        for inside, true in found
        if len(inside)
    ]


def expected_calibration_error(
    probabilities: ArrayLike, labels: ArrayLike, *, bins: int = 10
) -> float:
    """Mean distance between probability and share of true labels, over equal-mass bins, in [0, 1].

    ``sum_b n_b / n * |mean probability of b - share true in b|`` over :func:`reliability`.
    Small samples push it up, also for a perfect judge: no interval is given because resampling
    would push it up once more.
    """
    found = reliability(probabilities, labels, bins=bins)
    apart = sum(point.n * abs(point.probability - point.share) for point in found)
    return apart / sum(point.n for point in found)


#: Rewards and verdict probabilities closer than this are the same: one point in a hundred of a
#: criterion is the judge's numerical noise, not a difference between two responses.
TOLERANCE = 0.01


def scored(values: Iterable[T | None]) -> list[T]:
    """Those that were scored, in their order: without the ``None``."""
    return [value for value in values if value is not None]


def mean_scored(values: Iterable[float | None]) -> float | None:
    """Mean of what was scored; ``None`` where nothing was."""
    known = scored(values)
    return math.fsum(known) / len(known) if known else None


def gains(
    after: Mapping[Key, float | None], before: Mapping[Key, float | None]
) -> dict[Key, float]:
    """After minus before, of all that both sides scored, in the order of the first."""
    found = {}
    for key, new in after.items():
        old = before.get(key)
        if new is not None and old is not None:
            found[key] = new - old
    return found


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
    left = np.asarray(x, dtype=np.float64)
    right = np.asarray(y, dtype=np.float64)
    if len(left) < 2 or _is_constant(left) or _is_constant(right):
        return None
    return float(np.clip(np.corrcoef(left, right)[0, 1], -1.0, 1.0))


def _is_constant(values: NDArray[np.float64]) -> bool:
    """Whether values are equal, but for the noise of adding up.

    Their deviation does not say so: the mean of equal numbers is rounded, and often none of them.
    """
    return bool(np.ptp(values) <= 1e-12 * np.abs(values).max())


@dataclass(frozen=True)
class Seeds:
    """What the error of a difference over seeds and tasks is made of (:func:`crossed`).

    Attributes:
        n: number of seeds.
        only_seeds: share of the squared standard error that more tasks leave as it is, in [0, 1].
        only_tasks: share that more seeds leave as it is; the rest falls with either.
        folds: parts of the tasks, each with trainings of its own.
    """

    n: int
    only_seeds: float
    only_tasks: float
    folds: int = 1

    def freedom(self, tasks: int, seeds: int | None = None) -> int:
        """Degrees of freedom with so many tasks, and so many seeds instead of :attr:`n`."""
        return min(self.folds * ((seeds or self.n) - 1), tasks - self.folds)


@dataclass(frozen=True)
class Comparison:
    """One difference, and what a sample of this size could have seen.

    Attributes:
        difference: mean of the paired differences, with its interval over clusters.
        detectable: the smallest true difference that this sample would show in 80 of 100
            studies if nothing else were tested (see :func:`minimum_detectable`).
        p: two-sided p-value, of the sign-flip test over clusters unless it says otherwise.
        p_holm: the same, corrected for the family it was compared in; ``None`` outside one.
        seeds: of a difference over seeds and tasks; ``None`` for one over tasks alone.
        smallest: the least p-value that its test gives over so many units, however they turn out;
            ``None`` for that of sign flips, or with seeds for none.
    """

    difference: Interval
    detectable: float
    p: float
    p_holm: float | None = None
    seeds: Seeds | None = None
    smallest: float | None = None

    def __neg__(self) -> Comparison:
        """The opposite difference, for a claim that something is below zero."""
        return replace(self, difference=-self.difference)


def compare(differences: ArrayLike, clusters: Sequence[Hashable]) -> Comparison:
    """Paired differences in [-1, 1] with interval, detectable difference and p-value.

    Args:
        differences: shape (n,), one paired difference per row.
        clusters: n labels.
    """
    interval = cluster_interval(differences, clusters)
    return Comparison(
        difference=interval,
        detectable=minimum_detectable(interval.se or 0.0, df=interval.n - 1),
        p=sign_flip_p(differences, clusters),
    )


def compare_with_rate(shares: Mapping[Hashable, float | None], rate: float) -> Comparison:
    """Is a mean share another one than a known rate, such as that of a guesser?

    Each unit is right or wrong, so that gains over the rate are skewed, and flipping their signs
    would test another thing: the p-value is the exact binomial one. Where units have shares between
    0 and 1 it is that of the sign flips.

    Args:
        shares: unit -> share in [0, 1]; one that is ``None`` is left out.
        rate: in [0, 1].

    Raises:
        ValueError: no share is known, or the rate is not in [0, 1].
    """
    known = {unit: share for unit, share in shares.items() if share is not None}
    if not known or not 0.0 <= rate <= 1.0:
        raise ValueError(f"need a share and a rate in [0, 1]: {len(known)} shares, {rate=}")
    found = compare([share - rate for share in known.values()], list(known))
    if any(share not in (0.0, 1.0) for share in known.values()):
        return found
    from scipy.stats import binomtest

    def p(right: int) -> float:
        return float(binomtest(right, len(known), rate).pvalue)

    # What is least likely, and has the smallest p, is that none is right or that all are.
    return replace(found, p=p(int(sum(known.values()))), smallest=min(p(0), p(len(known))))


def minimum_detectable(
    se: float, *, df: float = float("inf"), level: float = 0.95, power: float = 0.8
) -> float:
    """The minimum detectable difference, ``(t_{(1 + level) / 2} + t_power) * se``.

    With 95 %, 80 % and many tasks that is 2.80 standard errors. A finding of "no difference"
    only speaks about differences larger than this.

    Args:
        se: standard error of the difference.
        df: degrees of freedom of its estimate, one less than tasks; infinite for a known one.
        level, power: who plans a study of their own chooses them.
    """
    return (_student((1.0 + level) / 2.0, df) + _student(power, df)) * se


def crossed(
    table: ArrayLike, folds: Sequence[Hashable] | None = None, *, bound: float = 1.0
) -> Comparison:
    """Differences of every seed on every task: is their mean zero for other seeds and tasks, too?

    The interval is that of the pigeonhole bootstrap, which draws seeds and tasks independently
    (Owen 2007, Annals of Applied Statistics 1:386), with Student's quantile at the degrees of
    freedom of the smaller side. The p-value is that of the two-way random-effects
    analysis of variance with the same degrees of freedom (Cameron, Gelbach and Miller 2011):
    variances between seeds, between tasks and the rest, none below zero; where nothing varies,
    that of the trainings' signs. Both were chosen by the simulations of ``results/coverage.py``:
    with three seeds they are conservative, less so the more seeds differ, and a test over tasks
    alone is far too easy. No interval is narrower than the test's own.

    With folds a seed stands for one training a fold, so what a seed adds is another thing in each:
    means are taken within folds, variances are pooled over them, and with them their degrees of
    freedom, two folds of three seeds have four. That takes both trainings of a seed for
    independent; the more they have in common, the easier the test is (``results/coverage.py``,
    *over folds*), and without ``folds`` they count as one. What is said is then about these folds:
    what a fold's training tasks do to all its seeds alike is not drawn anew by other seeds or
    tasks.

    Args:
        table: shape (seeds, tasks), two or more of each in every fold, no NaN.
        folds: of each task the fold in which it was held out; all are one by default.
        bound: how far from zero a mean can be; no end of the interval is farther.

    Returns:
        The comparison; ``n`` of its interval counts tasks.

    Raises:
        ValueError: another shape, or NaN in it.
    """
    data = np.asarray(table, dtype=np.float64)
    if data.ndim != 2 or np.isnan(data).any():
        raise ValueError(f"need seeds x tasks, two or more of each, all scored, got {data.shape}")
    labels = [0] * data.shape[1] if folds is None else list(folds)
    if len(labels) != data.shape[1]:
        raise ValueError(f"need a fold of every task, got {len(labels)} of {data.shape[1]}")
    parts = [data[:, rows] for rows in members_of(labels)]
    if min((size for part in parts for size in part.shape), default=0) < 2:
        raise ValueError(f"need seeds x tasks, two or more of each, all scored, got {data.shape}")
    n = data.shape[1]
    value = float(data.mean())
    se, made_of = _crossed_se(parts)
    df = made_of.freedom(n)
    quantile = _student(0.975, df)
    if se <= 1e-12:
        trainings = [float(mean) for part in parts for mean in part.mean(axis=1)]
        low, high = still(value, min(len(trainings), n), (-bound, bound))
        se = max(value - low, high - value) / quantile
        p = sign_flip_p(trainings, range(len(trainings)))
    else:
        half = quantile * max(se, _pigeonhole_se(parts))
        low = max(-bound, value - half)
        high = min(bound, value + half)
        p = _student_p(value / se, df)
    interval = Interval(value, low, high, n, se)
    return Comparison(interval, minimum_detectable(se, df=df), p, seeds=made_of)


def _crossed_se(parts: Sequence[NDArray[np.float64]]) -> tuple[float, Seeds]:
    """Standard error of the mean, and what it is made of.

    The squared error of a fold's mean is ``s / seeds + t / n + e / (seeds * n)`` with the variances
    of seeds, of tasks and of the rest, which all folds share; folds weigh as much as their tasks.

    Args:
        parts: of each fold, shape (seeds, tasks of the fold).
    """
    seeds = len(parts[0])
    sizes = np.array([part.shape[1] for part in parts], dtype=np.float64)
    n = float(sizes.sum())
    freedom = n - len(parts)
    left_over = sum(float((_rest(part) ** 2).sum()) for part in parts) / ((seeds - 1) * freedom)
    between_seeds = [float(part.mean(axis=1).var(ddof=1)) for part in parts]
    of_seeds = max(0.0, float(np.mean(between_seeds - left_over / sizes)))
    apart = sum(float(((part.mean(axis=0) - part.mean()) ** 2).sum()) for part in parts)
    of_tasks = max(0.0, apart / freedom - left_over / seeds)
    only_seeds = of_seeds / seeds * float((sizes**2).sum()) / n**2
    only_tasks = of_tasks / n
    whole = only_seeds + only_tasks + left_over / (seeds * n)
    se = float(np.sqrt(whole))
    if se <= 1e-12:  # nothing varies: what there is less of is what is missing
        fewer = float(seeds * len(parts) <= n)
        return se, Seeds(seeds, fewer, 1.0 - fewer, len(parts))
    return se, Seeds(seeds, only_seeds / whole, only_tasks / whole, len(parts))


def _rest(part: NDArray[np.float64]) -> NDArray[np.float64]:
    """What neither the seed nor the task explains."""
    of_seed = part.mean(axis=1)
    of_task = part.mean(axis=0)
    rest: NDArray[np.float64] = part - of_seed[:, None] - of_task[None, :] + part.mean()
    return rest


#: Draws of the pigeonhole bootstrap. Their seed is fixed: equal rows have equal intervals.
_RESAMPLES = 2000


def _pigeonhole_se(parts: Sequence[NDArray[np.float64]]) -> float:
    rng = np.random.default_rng(0)
    n = sum(part.shape[1] for part in parts)
    means = np.zeros(_RESAMPLES)
    for part in parts:
        seeds, size = part.shape
        rows = rng.multinomial(seeds, np.full(seeds, 1 / seeds), _RESAMPLES) / seeds
        columns = rng.multinomial(size, np.full(size, 1 / size), _RESAMPLES) / size
        means += ((rows @ part) * columns).sum(axis=1) * size / n
    return float(means.std())


def _student_p(statistic: float, df: float) -> float:
    from scipy.stats import t

    return float(2.0 * t.sf(abs(statistic), df))


def sign_flip_p(
    differences: ArrayLike, clusters: Sequence[Hashable], *, draws: int = 49_999, seed: int = 0
) -> float:
    """Two-sided p-value of "the mean difference is zero", flipping the sign of whole clusters.

    Under that hypothesis the two sides of a cluster could be exchanged. Clusters without a
    difference say nothing about its sign and are left out, so the test of wins and losses is the
    sign test (McNemar's). Exact where ``2 ** clusters <= draws + 1``, else Monte Carlo.
    """
    from scipy.stats import permutation_test

    data = np.asarray(differences, dtype=np.float64)
    sums = np.array([data[rows].sum() for rows in members_of(clusters)])
    sums = sums[np.abs(sums) > 1e-12]
    if len(sums) < 2:  # one sign, whichever it is, is as far from zero as the other
        return 1.0
    found = permutation_test(
        (sums,),
        # Rounded, so that patterns that tie but for the order of adding up do tie.
        lambda flipped, axis: np.round(flipped.sum(axis=axis), 12),
        permutation_type="samples",  # of one sample: signs are flipped
        vectorized=True,
        n_resamples=draws,  # all of them, if there are no more
        batch=10_000,
        rng=np.random.default_rng(seed),
    )
    return float(found.pvalue)


def family(comparisons: Mapping[str, Comparison], size: int | None = None) -> dict[str, Comparison]:
    """The same comparisons with ``p_holm`` filled in, corrected together as :func:`holm` does."""
    adjusted = holm({name: compared.p for name, compared in comparisons.items()}, size)
    return {
        name: replace(compared, p_holm=adjusted[name]) for name, compared in comparisons.items()
    }


def holm(p: Mapping[str, float], size: int | None = None) -> dict[str, float]:
    """Holm's step-down correction: p-values adjusted for all comparisons of a family.

    The i-th smallest of m is multiplied by ``m - i + 1``, made monotone, and cut at 1
    (Holm 1979); an adjusted value below 0.05 keeps the family's error below 5 %.

    Args:
        size: m, where more comparisons were declared than have a p-value yet. Those that lack one
            count as 1, so what is decided stays decided whatever they will turn out to be.

    Raises:
        ValueError: there are more p-values than that.
    """
    if size is not None and size < len(p):
        raise ValueError(f"a family of {size} has {len(p)} p-values")
    total = len(p) if size is None else size
    adjusted: dict[str, float] = {}
    floor = 0.0
    for rank, (name, value) in enumerate(sorted(p.items(), key=lambda item: item[1])):
        floor = max(floor, min(1.0, (total - rank) * value))
        adjusted[name] = floor
    return {name: adjusted[name] for name in p}
