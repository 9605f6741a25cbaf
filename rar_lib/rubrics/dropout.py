"""Rubric dropout: every training step shows the judge only some of the criteria.

    rubric = drop(task.rubric, keep=0.5, task=task.id, seed=0, step=step)

A policy learns which criteria its judge pays for too easily. If each rollout group is graded by
a random part of the rubric, no single criterion is there every time to be exploited (the idea of
arXiv 2608.11669, which drops a random share for each group). The part depends on nothing but
rubric, task, seed and step, so that all rollouts of a group are graded alike and a resumed run
grades as the first one did. Evaluation always uses the whole rubric.
"""

from __future__ import annotations

import hashlib
import json
import random

from rar_lib.core.types import Category, Polarity, Rubric, Task


def drop(rubric: Rubric, keep: float, *, task: str, seed: int, step: int, least: int = 1) -> Rubric:
    """The part of a rubric that one training step is graded by, in the rubric's order.

    At least one criterion stays that an empty response does not meet: an Essential one if there
    is any, else one worded as something good. Otherwise a part made of pitfalls alone could give
    full reward for saying nothing.

    Args:
        keep: share of the criteria to keep, in (0, 1]; rounded to whole criteria, at least one.
        task: id of the rubric's task; the parts of different tasks are independent. The criteria
            don't tell tasks apart: released data names them c01, c02, ... in every task.
        seed: of the training run.
        step: of the training run; parts of different steps are independent.
        least: criteria that stay at least, or all of a rubric that has fewer. The published form
            (arXiv 2608.11669, read as summaries alone) keeps three.

    Raises:
        ValueError: ``keep`` is not in (0, 1].
    """
    if not 0.0 < keep <= 1.0:
        raise ValueError(f"keep is {keep}; it is a share of the criteria and must be in (0, 1]")
    criteria = rubric.criteria
    size = min(len(criteria), max(1, least, int(keep * len(criteria) + 0.5)))
    # hash() differs between processes.
    key = json.dumps([seed, step, task, [criterion.id for criterion in criteria]])
    rng = random.Random(hashlib.sha256(key.encode()).digest())
    essential = [
        i for i, criterion in enumerate(criteria) if criterion.category is Category.ESSENTIAL
    ]
    good = [i for i, criterion in enumerate(criteria) if criterion.polarity is Polarity.GOOD]
    anchor = rng.choice(essential or good or range(len(criteria)))
    others = [i for i in range(len(criteria)) if i != anchor]
    kept = sorted([anchor, *rng.sample(others, size - 1)])
    return rubric.model_copy(update={"criteria": tuple(criteria[i] for i in kept)})


def drop_from_task(task: Task, keep: float, *, seed: int, step: int, least: int = 1) -> Task:
    """The task with the part of its rubric for this step; a task without rubric as it is.

    Raises:
        ValueError: ``keep`` is not in (0, 1].
    """
    if task.rubric is None:
        return task
    part = drop(task.rubric, keep, task=task.id, seed=seed, step=step, least=least)
    return task.model_copy(update={"rubric": part})
