"""The file that a unit of the study leaves, one JSON object a line.

The first line says what was trained: arm, fold, seed, settings, machine, versions, one row a step
of training, and at each look what the policy thinks of answers that it did not write
(:class:`rar_lib.training.policy.Likelihoods`). Each further line is one answer: step of the look,
task, text, and where it was graded the judge's score and the probability that each criterion is
met, in the order of the rubric; ``null`` where the judge gave none, with the reason beside it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rar_lib.core.errors import DataError
from rar_lib.core.files import atomic_write
from rar_lib.core.types import Grade, Verdict

#: All units together in the repository, in bytes.
LARGEST = 30_000_000
#: Digits of a probability: the judge's own rounding is coarser.
_DIGITS = 3


def save(path: Path, found: Mapping[str, Any]) -> None:
    """Write a unit, whole or not at all.

    Args:
        found: the head's values, and ``looks``: each with ``step``, ``answers`` (task id -> text),
            perhaps ``likelihoods``, and perhaps ``graded`` (task id -> :func:`graded`).
    """
    looks: Sequence[Mapping[str, Any]] = found["looks"]
    inner = list(map(_inner, looks))
    lines = [{**found, "looks": inner}]
    for look in looks:
        judged = look.get("graded", {})
        lines += [
            {"step": look["step"], "task": task, "answer": text, **judged.get(task, {})}
            for task, text in look["answers"].items()
        ]
    dumped = (json.dumps(line, ensure_ascii=False, separators=(",", ":")) for line in lines)
    atomic_write(path, "\n".join(dumped) + "\n")


def _inner(look: Mapping[str, Any]) -> dict[str, Any]:
    return {key: look[key] for key in ("step", "likelihoods") if key in look}


def load(path: Path) -> dict[str, Any]:
    """What :func:`save` was given.

    Raises:
        DataError: the file holds something else.
    """
    try:
        # Not by splitlines: a text may hold other characters that end a line.
        head, *rows = map(json.loads, path.read_text(encoding="utf-8").strip("\n").split("\n"))
        looks = {look["step"]: look | {"answers": {}} for look in head["looks"]}
        for row in rows:
            look = looks[row.pop("step")]
            task = row.pop("task")
            look["answers"][task] = row.pop("answer")
            if row:
                look.setdefault("graded", {})[task] = row
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path.name} is no unit of the study ({error!r}): remove it, and run results.study.run"
        ) from error
    return {**head, "looks": list(looks.values())}


def head(path: Path) -> dict[str, Any]:
    """The first line alone: what was trained, and by whom it was graded."""
    with path.open(encoding="utf-8") as stream:
        found: dict[str, Any] = json.loads(stream.readline())
    return found


def graded(grade: Grade) -> dict[str, Any]:
    """One answer's grade as its line says it."""
    row: dict[str, Any] = {
        "score": None if grade.score is None else round(grade.score, _DIGITS + 1),
        "verdicts": [_value(verdict) for verdict in grade.verdicts],
    }
    return row if grade.reason is None else row | {"unscored": grade.reason}


def _value(verdict: Verdict) -> float | None:
    """The probability that it is met; 0 or 1 where the verdict was sampled."""
    if verdict.met is None:
        return None
    known = verdict.met if verdict.probability is None else verdict.probability
    return round(float(known), _DIGITS)
