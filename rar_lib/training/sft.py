"""Supervised fine-tuning, the two arms without a reward in the loop.

``sft_reference`` imitates the reference answers. ``sft_filtered`` imitates the policy's own
best: several responses to each prompt, the one that the judge likes most is kept (rejection
sampling). The paper's Expert-Answer-SFT names no settings; here both take as many steps over
as many prompts a step, at the same learning rate, as GRPO does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rar_lib.core.errors import DataError
from rar_lib.core.files import atomic_write
from rar_lib.core.prompts import policy_messages
from rar_lib.core.text import is_blank
from rar_lib.core.types import Grade, Task
from rar_lib.data.questions import spoken
from rar_lib.judging.chat import run_sync, together
from rar_lib.training.policy import Policy
from rar_lib.training.rewards import RubricReward

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class Selected:
    """What rejection sampling kept of one task.

    Attributes:
        response: the best one, as it was sampled; empty where it says nothing behind its thoughts,
            ``None`` where no sample could be scored.
        score: its reward in [0, 1], or ``None`` like it.
        scores: of all samples, ``None`` for unscored.
    """

    task_id: str
    response: str | None
    score: float | None
    scores: list[float | None]


def references(tasks: Sequence[Task]) -> dict[str, str]:
    """The reference answers by task id.

    Raises:
        DataError: a task has none.
    """
    missing = [task.id for task in tasks if task.reference is None]
    if missing:
        raise DataError(
            f"no reference answer in {', '.join(missing[:5])}: sft_reference imitates "
            "references; leave these tasks out, or train another arm"
        )
    return {task.id: task.reference for task in tasks if task.reference is not None}


def best_of(
    policy: Policy,
    tasks: Sequence[Task],
    reward: RubricReward,
    *,
    kept: Path,
    run: str,
    seed: int,
) -> list[Selected]:
    """Sample ``settings.rollouts`` responses to each task and keep the judge's best.

    Every finished batch of prompts is on disk before the next one starts, so a killed run
    continues where it was. A batch that was mostly not scored is not kept: when the judge answers
    again, the same call samples it again.

    The judge is shown what a policy says behind its thoughts, as in every reward; what is kept to
    be imitated has them.

    Args:
        kept: JSON file for what is done.
        run: fingerprint of the run; a file of another one is not used.

    Raises:
        UnscoredError: more than ``reward.max_unscored`` of a step's samples could not be scored.
    """
    done = _stored(kept, run)
    left = list(tasks)[len(done) :]
    prompts = policy.settings.prompts_per_step
    for start in range(0, len(left), prompts):
        batch = left[start : start + prompts]
        found, grades = _batch(policy, batch, reward, seed * 100_003 + len(done))
        done += found
        # The last batch may be a part of one: then those before it fill the step.
        step = [score for item in done[-prompts:] for score in item.scores]
        reward.check_scored(step, grades)
        content = {"run": run, "selected": [vars(item) for item in done]}
        atomic_write(kept, json.dumps(content, indent=1))
    return done


def _stored(kept: Path, run: str) -> list[Selected]:
    """What an earlier part of this very run has selected."""
    if not kept.exists():
        return []
    stored = json.loads(kept.read_text(encoding="utf-8"))
    return [Selected(**item) for item in stored["selected"]] if stored.get("run") == run else []


def _batch(
    policy: Policy, tasks: Sequence[Task], reward: RubricReward, seed: int
) -> tuple[list[Selected], list[Grade]]:
    """The best response to each task, and the grades of all samples."""
    from transformers import set_seed

    set_seed(seed)  # the same samples after a restart
    settings = policy.settings
    asked = [task for task in tasks for _ in range(settings.rollouts)]
    texts = policy.respond(asked, settings.max_completion, temperature=settings.temperature)
    said = [spoken(text, reward.thoughts) for text in texts]
    grades = run_sync(_grades(reward, asked, said))
    # A thought that was cut off says nothing: there is nothing to imitate.
    texts = ["" if is_blank(one) else text for text, one in zip(texts, said, strict=True)]
    found = []
    for place, task in enumerate(tasks):
        group = slice(place * settings.rollouts, (place + 1) * settings.rollouts)
        found.append(_best(task, texts[group], [grade.score for grade in grades[group]]))
    return found, grades


async def _grades(reward: RubricReward, tasks: Sequence[Task], said: Sequence[str]) -> list[Grade]:
    items = zip(tasks, said, strict=True)
    return await together(reward.judge.grade(task, text, reward.arm) for task, text in items)


def _best(task: Task, texts: Sequence[str], scores: Sequence[float | None]) -> Selected:
    """The first of the best; none where no sample could be scored."""
    scored = [(score, text) for score, text in zip(scores, texts, strict=True) if score is not None]
    score, response = max(scored, key=lambda pair: pair[0]) if scored else (None, None)
    return Selected(task.id, response, score, list(scores))


def kept_responses(selected: Sequence[Selected]) -> dict[str, str]:
    """What rejection sampling gives to imitate, by task id; nothing where no sample was scored."""
    return {one.task_id: one.response for one in selected if one.response is not None}


def imitation_set(tasks: Sequence[Task], responses: Mapping[str, str]) -> Dataset:
    """Prompts, each with the response to imitate."""
    from datasets import Dataset

    return Dataset.from_list(
        [
            {
                "prompt": policy_messages(task),
                "completion": [{"role": "assistant", "content": responses[task.id]}],
            }
            for task in tasks
        ]
    )
