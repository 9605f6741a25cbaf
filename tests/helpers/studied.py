"""Units of the study as training and grading leave them, with answers by rule. Tests only."""

from __future__ import annotations

from typing import Any

from rar_lib.judging.chat import Chat
from rar_lib.judging.judge import Judge
from results.study import run
from results.study.run import Unit

NOWHERE = Judge(Chat("http://127.0.0.1:1/v1", "nobody"))
HOSTILE = 'Line one\nline two\u2028"quoted" \\ \x85 \r\n <b>{"step": 0}</b> \u00e9\u4e2d'
START = {"machine": "2 cores", "number format": "float32"}
ORIGIN: dict[str, Any] = {
    **START,
    "starts": [START],
    "versions": {"torch": "1"},
    "decides": {"code": "c0de", "versions": {"torch": "1"}},
    "settings": run.SETTINGS.model_dump(mode="json"),
    "calibration": None,
}


def named(arm: str, fold: int = 0, seed: int = 0) -> Unit:
    return Unit(next(design for design in run.DESIGNS if design.name == arm), fold, seed)


def found(unit: Unit, share: float, *, kl: float = 0.1, unscored: float = 0.0) -> dict[str, Any]:
    """A unit that gives the reference answer to so many of its tasks, and says nothing else."""
    _, tasks = run.tasks_of(unit)
    known = round(share * len(tasks))
    silent = {task.id: "" for task in tasks}
    after = silent | {task.id: task.reference or "" for task in tasks[:known]}
    step = {"step": 1, "mean": 0.5, "length": 10.0, "kl_to_base": kl, "unscored": unscored}
    return {
        "arm": unit.design.name,
        "seconds": 1.0,
        "date": "2026-01-01",
        "steps": [] if unit.design.name == "base" else [step],
        "looks": [{"step": 0, "answers": silent}, {"step": 12, "answers": after}],
        **ORIGIN,
        "decides": decided(unit),
    }


def decided(unit: Unit) -> dict[str, Any]:
    """What a unit of the study says that it was made by."""
    by = {**ORIGIN["decides"], "reward": run.paid_by(unit)}
    return {**by, **run.digests_of_tasks(unit)}


def unit_file(unit: Unit, answer: str = HOSTILE) -> dict[str, Any]:
    """A unit with every look, as it is when it is trained; each answer is the same text."""
    tasks = run.tasks_of(unit)[1]
    asked = run.likelihoods_of(unit, tasks)
    values = {task.id: -3.0512 for task in asked.tasks}
    task_ids = [task.id for task in tasks]
    pair_ids = [pair.id for pair in asked.pairs]
    steps = range(0, run.SETTINGS.steps + 1, unit.look_every)
    looks = [
        {
            "step": step,
            "answers": dict.fromkeys(task_ids, answer),
            "likelihoods": {
                "reference": values,
                "with_rubric": values,
                "margin": dict.fromkeys(pair_ids, 0.1234),
            },
        }
        for step in steps
    ]
    row = {
        **dict.fromkeys(("mean", "mean_plain", "spread", "unscored", "flat_groups"), 0.1234567891),
        **dict.fromkeys(("flat_mass", "length", "length_correlation"), 0.1234567891234567),
        **dict.fromkeys(("entropy", "kl_to_base"), 0.1234567891234567),
    }
    return {
        "arm": unit.design.name,
        "fold": unit.fold,
        "seed": unit.seed,
        "seconds": 1.0,
        "date": "2026-01-01",
        "calibration": None,
        "steps": [{"step": n, **row} for n in range(run.SETTINGS.steps)],
        "looks": looks,
        **ORIGIN,
        "versions": {f"package-{n}": "1.2.3" for n in range(20)},
    }


def graded(unit: Unit, found: dict[str, Any]) -> dict[str, Any]:
    """As a judge leaves it that gives every criterion three digits."""
    for look, tasks in run.to_grade(unit, found["looks"], run.tasks_of(unit)[1]):
        look["graded"] = {
            task.id: {"score": 0.1234, "verdicts": [0.123] * len(task.rubric.criteria)}
            for task in tasks
            if task.rubric
        }
    return found | {"graded_by": {"judge": "j", "engine": "", "calibration": None, **START}}
