"""Looks at the held-out tasks during training, by graders in different roles.

    watch = Watch(2, look_with({"training": (judge, "implicit"), "hold-out": (other, "explicit")},
                               study.test_tasks))

The training judge's own score can be gamed; a grader that gives no reward shows whether it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rar_lib.chat import run_sync
from rar_lib.errors import DataError
from rar_lib.judge import Judge, grade_many
from rar_lib.stats import Interval, bootstrap
from rar_lib.types import Arm, Task

Graders = Mapping[str, tuple[Judge, Arm]]
Look = Mapping[str, Any]


def look_with(
    graders: Graders, tasks: Sequence[Task]
) -> Callable[[int, dict[str, str]], dict[str, Any]]:
    """What :class:`rar_lib.grpo.Watch` measures: every grader's rewards of the answers.

    Args:
        graders: role -> judge and arm.
        tasks: held out, the keys of the answers.

    Returns:
        A function of the step and the answers by task id; it gives role -> task id -> reward
        in [0, 1], ``None`` where the grader could not score.
    """

    async def grade(answers: dict[str, str]) -> dict[str, Any]:
        items = [(task, answers[task.id]) for task in tasks]
        found = await asyncio.gather(
            *(grade_many(judge, items, arm) for judge, arm in graders.values())
        )
        return {
            role: {t.id: g.score for t, g in zip(tasks, grades, strict=True)}
            for role, grades in zip(graders, found, strict=True)
        }

    return lambda _, answers: run_sync(grade(answers))


def course(looks: Sequence[Look], role: str) -> dict[int, Interval]:
    """Mean reward over the tasks at every look, with its 95 % interval; looks without one left out.

    Raises:
        DataError: no grader had this role.
    """
    if any(role not in look for look in looks):
        raise DataError(f"no grader {role!r} in these looks: watch the run with one of that name")
    means = {look["step"]: [s for s in look[role].values() if s is not None] for look in looks}
    return {step: bootstrap(scores) for step, scores in means.items() if scores}


def since_start(looks: Sequence[Look], role: str) -> dict[int, Interval]:
    """What was gained at every look over the first one, paired by task, with 95 % intervals.

    Graders of different levels can be compared in this, and intervals of gains are narrower than
    those of means, because tasks differ more from each other than from themselves.
    """
    gains = {look["step"]: change([looks[0], look], role) for look in looks}
    return {step: gain for step, gain in gains.items() if gain is not None}


def change(looks: Sequence[Look], role: str) -> Interval | None:
    """Last look minus first, over the tasks that both scored; ``None`` if there is none."""
    first, last = looks[0][role], looks[-1][role]
    gains = [last[i] - first[i] for i in last if last[i] is not None and first.get(i) is not None]
    return bootstrap(gains) if gains else None


def slope(looks: Sequence[Look], role: str) -> Interval | None:
    """Least-squares slope a step, over the tasks that every look scored.

    All looks count, so that one odd look at the end decides less than in :func:`change`. ``None``
    with fewer than two looks, or without such a task.
    """
    steps = [look["step"] for look in looks]
    series = [[look[role].get(task) for look in looks] for task in looks[0][role]]
    whole = [scores for scores in series if None not in scores]
    if len(set(steps)) < 2 or not whole:
        return None
    return bootstrap([float(np.polyfit(steps, scores, 1)[0]) for scores in whole])
