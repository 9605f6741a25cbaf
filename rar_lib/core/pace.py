"""The pace of long work: what the rest of it will take.

Pure arithmetic, in seconds; whoever uses it brings the clock. Training has steps, some of them with
a look at held-out tasks; a run of the book has chapters, each with a forecast.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median

#: Share of a chapter's time that does not depend on the matrix product, where one machine alone was
#: measured. A first estimate, from runs that are not on record: between the two machines that are
#: (results/times.json) the time grows faster than it says, and with two it is not used.
FIXED = 0.88
#: Seconds of forecast that speak for the forecast itself: a chapter of six seconds that takes
#: twenty says little of one that takes ten minutes.
TRUST_S = 120.0


@dataclass(frozen=True)
class Measured:
    """Seconds that something took, and the matrix product of the machine on which it did.

    Attributes:
        gflops: in 10^9 operations a second; ``None`` if it was not measured.
    """

    seconds: float
    gflops: float | None = None


def at_rate(points: Sequence[Measured], gflops: float | None) -> float:
    """Seconds on a machine of another matrix product.

    Time is taken as ``a + b / product``. Between two measurements it is read from the line through
    them. Outside of all the line through the nearest two goes on, but time neither falls with a
    slower product nor grows faster than in proportion. From one measurement alone the share
    :data:`FIXED` is ``a``. Without a product on either side the first measurement stands.

    Args:
        points: at least one.
        gflops: of this machine.
    """
    times: dict[float, list[float]] = {}
    for point in points:
        if point.gflops:
            times.setdefault(1 / point.gflops, []).append(point.seconds)
    if not gflops or not times:
        return points[0].seconds
    x = 1 / gflops
    known = [(at, fmean(times[at])) for at in sorted(times, key=lambda at: abs(at - x))]
    (x0, t0) = known[0]
    across = next((point for point in known if (point[0] - x) * (x0 - x) <= 0), None)
    if across is None:  # outside of all
        slope = (1 - FIXED) * t0 / x0
        if len(known) > 1:
            slope = (known[1][1] - t0) / (known[1][0] - x0)
        slope = min(max(slope, 0.0), t0 / x0)
    elif across[0] == x0:
        return t0
    else:
        slope = (across[1] - t0) / (across[0] - x0)
    return t0 + slope * (x - x0)


def steps_left(
    steps: Sequence[float], looks: Sequence[float], *, steps_to_come: int, looks_to_come: int
) -> float:
    """Seconds that the rest of a training run will take.

    The median step, its look left out, for every step to come, and the median look for every look
    to come: a step that holds a look, or the first, which compiles, moves the forecast of no other.

    Args:
        steps: seconds of the steps so far, each without its look; at least one.
        looks: seconds of the looks so far; without any, those to come count as nothing.
    """
    left = median(steps) * steps_to_come
    return left + (median(looks) * looks_to_come if looks else 0.0)


@dataclass
class Course:
    """What chapters were forecast to take and what they took.

    Attributes:
        forecast: seconds by chapter, in order, of those that run; ``None`` if nothing is known.
        short: the chapters that find all calls on record: they say nothing of the others' pace.
        taken: seconds of the chapters that have run.
    """

    forecast: dict[str, float | None]
    short: frozenset[str] = frozenset()
    taken: dict[str, float] = field(default_factory=dict)

    def ratio(self, running: str | None = None, elapsed: float = 0.0) -> float:
        """Taken over forecast, of what has run, with :data:`TRUST_S` on both sides.

        A chapter that runs counts from the moment at which it is past its forecast, so that the
        remaining time goes up slowly during it and not at once at its end.
        """
        spent, meant = self._sums()
        ratio = (spent + TRUST_S) / (meant + TRUST_S)
        own = self.forecast.get(running) if running and running not in self.short else None
        if own is not None and elapsed > own * ratio:
            ratio = (spent + elapsed + TRUST_S) / (meant + own + TRUST_S)
        return ratio

    def _sums(self) -> tuple[float, float]:
        spent = meant = 0.0
        for name, seconds in self.taken.items():
            own = self.forecast.get(name)
            if own is not None and name not in self.short:
                spent = spent + seconds
                meant = meant + own
        return spent, meant

    def chapter_left(self, name: str, elapsed: float) -> float | None:
        """Seconds that the running chapter still takes: 0 if it is past its forecast."""
        own = self.forecast.get(name)
        if own is None:
            return None
        pace = 1.0 if name in self.short else self.ratio(name, elapsed)
        return max(0.0, own * pace - elapsed)

    def left(self, name: str, elapsed: float) -> float:
        """Seconds that this chapter and those after it still take, of those that are known."""
        rest = [one for one in self.forecast if one not in self.taken and one != name]
        pace = self.ratio(name, elapsed)
        others = _known(self.forecast[one] for one in rest if one not in self.short)
        brief = _known(self.forecast[one] for one in rest if one in self.short)
        return (self.chapter_left(name, elapsed) or 0.0) + pace * others + brief


def _known(seconds: Iterable[float | None]) -> float:
    return sum(value for value in seconds if value is not None)
