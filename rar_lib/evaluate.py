"""Evaluation of responses by HealthBench's formula, with intervals over tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rar_lib.errors import DataError
from rar_lib.healthbench import tag_scores
from rar_lib.judge import Judge, grade_many
from rar_lib.rubric import is_good
from rar_lib.scoring import healthbench_mean, healthbench_score, signed_points
from rar_lib.stats import Interval, bootstrap
from rar_lib.types import Category, Grade, Task

Scores = Mapping[str, float | None]


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


def paired_difference(after: Scores, before: Scores) -> Interval | None:
    """Mean of after minus before over the tasks that both sides scored, with interval.

    ``None`` if there is no such task.
    """
    gains = []
    for key, new in after.items():
        old = before.get(key)
        if new is not None and old is not None:
            gains.append(new - old)
    return bootstrap(gains) if gains else None


def mean(scores: Scores) -> Interval | None:
    """Mean over the scored tasks, with interval; ``None`` if there is none."""
    values = [s for s in scores.values() if s is not None]
    return bootstrap(values) if values else None


def overall(scores: Scores) -> Interval | None:
    """HealthBench's number for a set: the mean clipped to [0, 1].

    Its ``se`` is HealthBench's error, the standard deviation over 1,000 resamples of tasks,
    each clipped in the same way. ``None`` if no task was scored.
    """
    values = [s for s in scores.values() if s is not None]
    if not values:
        return None
    return bootstrap(values, lambda drawn: healthbench_mean(drawn.tolist()), resamples=1000)


def by_axis(found: Evaluation, tasks: Sequence[Task]) -> dict[str, dict[str, float | None]]:
    """Scores of parts of the rubrics: axis -> task id -> score.

    HealthBench's axes by its own formula where criteria carry them; else categories, scored by
    the share of verdicts that speak for the response (a part made of pitfalls has no positive
    points to divide by). A task is left out of an axis that its rubric does not have.
    """
    scores: dict[str, dict[str, float | None]] = {}
    for task in tasks:
        verdicts = found.grades[task.id].verdicts
        if task.rubric is None or not verdicts:
            continue
        criteria = task.rubric.criteria
        met = [v.met for v in verdicts]
        axes = tag_scores(task.rubric, met)
        if not axes:
            for category in {c.category for c in criteria}:
                part = [
                    (c, m) for c, m in zip(criteria, met, strict=True) if c.category == category
                ]
                good = [None if m is None else is_good(c, m) for c, m in part]
                known = [g for g in good if g is not None]
                axes[category] = sum(known) / len(good) if len(known) == len(good) else None
        for name, score in axes.items():
            scores.setdefault(str(name).removeprefix("axis:"), {})[task.id] = score
    order = {str(c): n for n, c in enumerate(Category)}
    return dict(sorted(scores.items(), key=lambda item: (order.get(item[0], 99), item[0])))
