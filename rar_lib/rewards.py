"""The judge as a reward function for TRL's GRPOTrainer.

    reward = RubricReward(judge, "implicit")
    GRPOTrainer(..., reward_funcs=reward, train_dataset=dataset_of(tasks))

The data set carries each task as a JSON string in the column ``task`` (a list of dicts may
come back from Arrow as a dict of lists, a string comes back as it was).
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rar_lib.errors import UnscoredError
from rar_lib.judge import Judge
from rar_lib.types import Arm, Grade, Task, Usage

Completion = str | list[dict[str, str]]


@dataclass
class RubricReward:
    """Async reward callable: completions in, floats in [0, 1] or ``None`` out.

    ``None`` is outside TRL's group baseline and gets no advantage: a failed judgement
    teaches nothing, neither good nor bad.

    Attributes:
        judge: who grades.
        arm: how.
        max_unscored: share of a batch above which training stops instead of going on with
            a reward that mostly is not there.
        steps: one record per call: grades, seconds of judging, unscored share.
    """

    judge: Judge
    arm: Arm
    max_unscored: float = 0.25
    steps: list[dict[str, Any]] = field(default_factory=list)

    @property
    def __name__(self) -> str:
        """The name under which TRL logs this reward."""
        return f"reward_{self.arm}"

    async def __call__(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Completion],
        task: Sequence[str],
        log_metric: Callable[[str, float], None] | None = None,
        **_: Any,
    ) -> list[float | None]:
        """Rewards in the order of ``completions``.

        Raises:
            UnscoredError: more than ``max_unscored`` of the batch could not be scored.
        """
        items = list(zip(task, completions, strict=True))
        start = time.perf_counter()
        grades = await asyncio.gather(
            *(
                self.judge.grade(Task.model_validate_json(column), text_of(completion), self.arm)
                for column, completion in items
            )
        )
        seconds = time.perf_counter() - start
        unscored = [g for g in grades if g.score is None]
        share = len(unscored) / len(grades)
        self.steps.append(_record(grades, seconds, share))
        if log_metric is not None:
            log_metric("judge_seconds", seconds)
            log_metric("unscored", share)
        if share > self.max_unscored:
            raise UnscoredError(
                f"{len(unscored)} of {len(grades)} responses could not be scored "
                f"(limit {self.max_unscored:.0%}); the first reason: {unscored[0].reason}. "
                f"Check the judge {self.judge.chat.model!r} at {self.judge.chat.base_url}"
            )
        return [g.score for g in grades]


def text_of(completion: Completion) -> str:
    """The text of a completion, plain or conversational."""
    if isinstance(completion, str):
        return completion
    return "".join(message["content"] for message in completion)


def _record(grades: Sequence[Grade], seconds: float, share: float) -> dict[str, Any]:
    scores = [g.score for g in grades if g.score is not None]
    return {
        "scores": [g.score for g in grades],
        "mean": statistics.fmean(scores) if scores else None,
        "unscored": share,
        "judge_seconds": seconds,
        "usage": sum((g.usage for g in grades), Usage()).model_dump(),
    }
