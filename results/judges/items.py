"""What every system is asked about: pairs of RaR-Mini, as the adapters read them."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from rar_lib.core.types import Criterion, Pair, Rubric, Task
from rar_lib.data.healthbench import signed_points
from rar_lib.data.tasks import draw_pairs, load_mini, load_mini_pairs

TASKS = 24


def both_sides(tasks: Sequence[Task], pairs: Mapping[str, Pair]) -> list[dict[str, Any]]:
    """Two items a task: the preferred and the rejected response."""
    return [
        item(task, text, f"{task.id}:{side}")
        for task in tasks
        for side, text in (
            ("preferred", pairs[task.id].preferred),
            ("rejected", pairs[task.id].rejected),
        )
    ]


def sample(split: Literal["test", "val"]) -> tuple[list[Task], dict[str, Pair]]:
    """Tasks with a pair each, a seeded draw stratified by axis, difficulty and domain of the pairs.

    Of test one task more than is measured, for warming.
    """
    every = load_mini_pairs(split)
    tasks = {task.id: task for task in load_mini(split)}
    # Up to the number of tasks the draw takes one pair of each.
    count = len({pair.task_id for pair in every})
    if split == "test" and count <= TASKS:
        sys.exit(f"RaR-Mini has {count} test tasks with pairs; {TASKS + 1} are needed")
    drawn = draw_pairs(every, min(count, TASKS + 1), list(tasks.values()))
    return [tasks[pair.task_id] for pair in drawn], {pair.task_id: pair for pair in drawn}


def tasks_by_id() -> dict[str, tuple[Task, Pair]]:
    """Task and pair by task id, for the gold labels."""
    both = [sample("test"), sample("val")]
    return {task.id: (task, pairs[task.id]) for tasks, pairs in both for task in tasks}


def item(task: Task, response: str, name: str) -> dict[str, Any]:
    """What an adapter reads; peers use the texts and points, this judge the task."""
    if task.rubric is None:
        raise SystemExit(f"task {task.id!r} has no rubric")
    points = [round(10 * share) for share in signed_points(task.rubric)]
    return {
        "id": name,
        "question": task.question,
        "response": response,
        "criteria": [
            {"id": criterion.id, "text": criterion.description, "points": worth}
            for criterion, worth in zip(task.rubric.criteria, points, strict=True)
        ],
        "task": task.model_dump(mode="json"),
    }


def resized(task: Task, others: Sequence[Task], size: int) -> Task:
    """The task with a rubric of ``size`` criteria: its own first, then those of other tasks."""
    pool: list[Criterion] = []
    for one in [task, *(other for other in others if other.id != task.id)]:
        pool += one.rubric.criteria if one.rubric else ()
    return task.model_copy(update={"rubric": Rubric(criteria=tuple(pool[:size]))})
