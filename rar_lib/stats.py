"""Intervals and agreement, small and exact enough to check by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Interval:
    """A point estimate with its bootstrap interval; ``n`` is the number of resampled units."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        # Adding 0.0 turns a rounded -0.0 into 0.0.
        value, low, high = (round(x, 2) + 0.0 for x in (self.value, self.low, self.high))
        return f"{value:.2f} [{low:.2f}, {high:.2f}]"


def bootstrap(
    values: ArrayLike,
    statistic: Callable[[NDArray[np.float64]], float] = lambda x: float(np.mean(x)),
    *,
    seed: int = 0,
    resamples: int = 2000,
    level: float = 0.95,
) -> Interval:
    """Percentile bootstrap over the first axis (one row per task, so tasks are resampled).

    Args:
        values: shape (n,) or (n, m), n >= 1, no NaN.
        statistic: maps the resampled array to a number.

    Raises:
        ValueError: empty input or NaN in it.
    """
    data = np.asarray(values, dtype=np.float64)
    if data.shape[0] == 0:
        raise ValueError("nothing to resample: the sample is empty")
    if np.isnan(data).any():
        raise ValueError("the sample holds NaN: leave unscored items out and report their number")
    rng = np.random.default_rng(seed)
    picks = rng.integers(0, len(data), size=(resamples, len(data)))
    draws = np.array([statistic(data[rows]) for rows in picks])
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(draws, [tail, 1.0 - tail])
    return Interval(float(statistic(data)), float(low), float(high), len(data))


def proportion(successes: float, n: int) -> Interval:
    """A share with its Wilson 95 % interval; a tie may count as half a success.

    Unlike the bootstrap it has a width when every item succeeds, which says no more than that
    the share is probably high.

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
    true, false = s[y], s[~y]
    if not len(true) or not len(false):
        return None
    above = (true[:, None] > false[None, :]) + 0.5 * (true[:, None] == false[None, :])
    return float(above.mean())


def zero_variance_share(groups: Sequence[Sequence[float | None]]) -> float:
    """Share of GRPO groups whose scored members all have the same reward (no gradient).

    Raises:
        ValueError: there is no group.
    """
    if not groups:
        raise ValueError("no group given")
    flat = [len({r for r in group if r is not None}) <= 1 for group in groups]
    return sum(flat) / len(flat)
