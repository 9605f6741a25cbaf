"""Evaluation of responses by HealthBench's formula, with intervals over tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rar_lib.errors import DataError
from rar_lib.judge import Judge, grade_many
from rar_lib.scoring import healthbench_score, signed_points
from rar_lib.stats import Interval, bootstrap
from rar_lib.types import Grade, Task


@dataclass(frozen=True)
class Evaluation:
    """One grader's view of one set of responses.

    Attributes:
        scores: task id -> HealthBench score, at most 1, negative where pitfalls outweigh;
            ``None`` if a criterion could not be judged.
        rewards: task id -> the same verdicts as a reward by Eq. 1.
    """

    grader: str
    scores: dict[str, float | None]
    rewards: dict[str, float | None]
    grades: dict[str, Grade]


async def evaluate(
    judge: Judge, tasks: Sequence[Task], responses: Mapping[str, str], *, progress: str = ""
) -> Evaluation:
    """Judge every criterion of every response; hard verdicts, as HealthBench has them.

    Raises:
        DataError: a task without rubric, or without a response.
    """
    missing = [t.id for t in tasks if t.id not in responses]
    if missing:
        raise DataError(f"no response for {', '.join(missing)}: answer every task first")
    items = [(task, responses[task.id]) for task in tasks]
    grades = await grade_many(judge, items, "explicit", progress=progress)
    scores: dict[str, float | None] = {}
    for task, grade in zip(tasks, grades, strict=True):
        if task.rubric is None:
            raise DataError(f"task {task.id!r} has no rubric")
        if not grade.verdicts:
            scores[task.id] = None
            continue
        met = [v.met for v in grade.verdicts]
        scores[task.id] = healthbench_score(signed_points(task.rubric), met)
    ids = [t.id for t in tasks]
    return Evaluation(
        grader=judge.chat.model,
        scores=scores,
        rewards={i: g.score for i, g in zip(ids, grades, strict=True)},
        grades=dict(zip(ids, grades, strict=True)),
    )


def paired_difference(
    after: Mapping[str, float | None], before: Mapping[str, float | None]
) -> Interval | None:
    """Mean of after minus before over the tasks that both sides scored, with interval.

    ``None`` if there is no such task.
    """
    gains = []
    for key, new in after.items():
        old = before.get(key)
        if new is not None and old is not None:
            gains.append(new - old)
    return bootstrap(gains) if gains else None


def mean(scores: Mapping[str, float | None]) -> Interval | None:
    """Mean over the scored tasks, with interval; ``None`` if there is none."""
    values = [s for s in scores.values() if s is not None]
    return bootstrap(values) if values else None
