"""What the study still costs: hours to go on this machine, from the seconds of finished units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from results.study import origin, run
from results.study.run import Unit

Heads = Sequence[Mapping[str, Any]]


def took(head: Mapping[str, Any]) -> float:
    """Seconds of a unit's training; with its loading, and the first look if it was measured."""
    # The first pilots do not say the whole time.
    return max(float(head["seconds"]), float(head.get("wall", 0.0)))


@dataclass(frozen=True)
class Known:
    """What has been timed on this machine.

    Attributes:
        units: heads of the record's units.
        tried: heads of pilots, whose settings are others: their steps alone are read.
    """

    units: Heads
    tried: Heads

    def training(self, unit: Unit) -> tuple[float, bool] | None:
        """Seconds that a unit's training takes, and whether its arm was timed.

        By the mean of its arm, else by its steps and the seconds of a step of arms that are
        rewarded in its way, by a judge or without one; else of any. ``None`` where nothing is
        known.
        """
        if own := [head for head in self.units if head["arm"] == unit.design.name]:
            return fmean(map(took, _alike(own, unit))), True
        if unit.design.trained == "base":
            return 0.0, False
        stepped = [head for head in (*self.units, *self.tried) if head["steps"]]
        alike = [head for head in stepped if bool(head["calibration"]) == run.needs_judge(unit)]
        if not (of := alike or stepped):
            return None
        a_step = sum(map(took, of)) / sum(len(head["steps"]) for head in of)
        return a_step * unit.settings.steps, False

    def grading(self, unit: Unit) -> float | None:
        """Seconds that grading it takes: of units graded at as many looks, else of any."""
        timed = [head for head in self.units if head.get("graded_by")]
        of = [head["graded_by"]["seconds"] for head in _alike(timed, unit)]
        return fmean(of) if of else None


def _alike(heads: Heads, unit: Unit) -> Heads:
    """Those with as many looks as a unit, if there are any: the first seed has more."""
    course = run.SEEDS[0]
    return [one for one in heads if (one["seed"] == course) == (unit.seed == course)] or heads


def known(units: Heads, tried: Heads) -> Known:
    """What was timed on a machine like this one; what was resumed elsewhere was not."""
    mine = origin.machine_of(origin.here())

    def here(heads: Heads) -> list[Mapping[str, Any]]:
        return [
            head for head in heads if origin.machine_of(head) == mine and not origin.moved(head)
        ]

    return Known(here(units), here(tried))


def forecast(units: Sequence[Unit], heads: Mapping[Unit, Mapping[str, Any]], tried: Heads) -> str:
    """How many units are done, and about how many hours the others take on this machine.

    Args:
        units: of the record.
        heads: what those say that are trained.
        tried: what pilots say.
    """
    timed = known(list(heads.values()), tried)
    train = [unit for unit in units if unit not in heads]
    grade = [unit for unit in units if not (unit in heads and heads[unit].get("graded_by"))]
    said = f"done {len(units) - len(grade)} of {len(units)} units"
    if waiting := len(grade) - len(train):
        said += f" ({waiting} more trained, not graded)"
    if not grade:
        return said
    training = [timed.training(unit) for unit in train]
    grading = [timed.grading(unit) for unit in grade]
    if None in training:
        return f"{said}; hours to go are not known: no unit was timed on this machine"
    seconds = sum(one[0] for one in training if one) + sum(one or 0.0 for one in grading)
    said += f"; about {seconds / 3600:.1f} hours to go on this machine"
    by_steps = sum(not one[1] for one in training if one)
    notes = [f"{by_steps} units by their steps, as their arms were not timed"] if by_steps else []
    notes += ["without grading, which was not timed"] if None in grading else []
    return f"{said} ({'; '.join(notes)})" if notes else said
