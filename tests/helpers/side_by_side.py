"""One task of two criteria, and what systems measured of it; adapters of the peers. Tests only."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType
from typing import Any

from rar_lib.core.types import Category, Criterion, Pair, Polarity, Rubric, Task
from results.judges import run, table


def adapter(name: str) -> ModuleType:
    """A script of ``peers/`` by its path; the adapters find what they share by its bare name."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, run.PEERS / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def criterion(name: str, category: Category, polarity: Polarity = Polarity.GOOD) -> Criterion:
    return Criterion(
        id=name, title=name, description=f"Says {name}.", category=category, polarity=polarity
    )


RUBRIC = Rubric(
    criteria=(
        criterion("a-good", Category.ESSENTIAL),
        criterion("a-bad", Category.PITFALL, Polarity.BAD),
    )
)
TASK = Task(id="a", question="Why?", rubric=RUBRIC)
PAIR = Pair(
    id="a-1",
    task_id="a",
    preferred="Because.",
    rejected="Never.",
    axis="accuracy",
    difficulty="obvious",
    gold_preferred={"a-good": True, "a-bad": False},
    gold_rejected={"a-good": False, "a-bad": True},
)
TASKS = {"a": (TASK, PAIR)}


def entry(side: str, *values: bool | float | None, abstained: bool = False) -> dict[str, Any]:
    outcomes = [
        {
            "value": value,
            "reason": "" if value is not None else "cut off",
            "abstained": abstained,
        }
        for value in values
    ]
    return {"id": f"a:{side}", "outcomes": outcomes}


MADE_BY = {"machine": "2 cores X", "versions": {"torch": "2.0"}}


def piece(*items: dict[str, Any], **counts: Any) -> dict[str, Any]:
    zero = dict.fromkeys([*table.TOKENS, "requests", "preemptions"], 0.0)
    about = {"date": "2026-01-01", "versions": "", "number_format": "float32", "made_by": MADE_BY}
    return (
        zero
        | about
        | {"items": items, "seconds": 2.0, "other_load": 0.0, "memory_gb": 5.0}
        | counts
    )


def measured(name: str, seconds: float, **more: Any) -> tuple[Any, ...]:
    """Four verdicts of one system in so many seconds, as `summarise` takes them."""
    (system,) = (system for system in run.SYSTEMS if system.name == name)
    asked = [entry("preferred", True, False), entry("rejected", False, True)]
    return system, "tasks-1", [], piece(*asked, seconds=seconds, **more)
