"""What a judge is asked, in which words: the chat messages of every arm, reading and wording."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from rar_lib.core.errors import DataError
from rar_lib.core.prompts import conversation, fill
from rar_lib.core.scoring import (
    PREDEFINED,
)
from rar_lib.core.text import fence, visible
from rar_lib.core.types import (
    Arm,
    Criterion,
    Polarity,
    Rubric,
    Task,
)
from rar_lib.judging.chat import Message

Wording = Literal["a", "b"]
#: What the names of a wording's prompt files end in.
SUFFIX: Mapping[Wording, str] = {"a": "", "b": "_b"}
Reading = Literal["probability", "sampled"]
_FORMAT: dict[Reading, str] = {"sampled": "json", "probability": "token"}


def criterion_messages(
    task: Task, response: str, criterion: Criterion, reading: Reading, wording: Wording = "a"
) -> list[Message]:
    """The prompt for one criterion; question and response come first, shared by all of them."""
    return _messages(
        "judge_explicit",
        wording,
        question=fence(conversation(task)),
        response=fence(response),
        criterion=visible(criterion.description),
        answer_format=fill(f"format_verdict_{_FORMAT[reading]}"),
    )


def rating_messages(
    task: Task, response: str, arm: Arm, reading: Reading, wording: Wording = "a"
) -> list[Message]:
    """The prompt for one rating; in ``implicit`` the rubric comes before the response, so that
    the rollouts of a GRPO group share it.

    Raises:
        DataError: the arm needs a rubric or a reference that the task does not have.
    """
    values = {"question": fence(conversation(task)), "response": fence(response)}
    if arm == "implicit":
        values["rubric"] = visible(render(_rubric(task)))
    if arm == "reference_likert":
        if task.reference is None:
            raise DataError(f"task {task.id!r} has no reference: reference_likert needs one")
        values["reference"] = fence(task.reference)
    values["answer_format"] = fill(f"format_rating_{_FORMAT[reading]}")
    return _messages(f"judge_{arm}", wording, **values)


def prompts_of(task: Task, response: str, arm: Arm, reading: Reading = "probability") -> list[str]:
    """The text of every call that a grade takes, re-asks aside.

    Raises:
        DataError: the arm needs a rubric or a reference that the task does not have.
    """
    if arm in ("explicit", "predefined"):
        rubric = PREDEFINED if arm == "predefined" else _rubric(task)
        asks = [criterion_messages(task, response, c, reading) for c in rubric.criteria]
    else:
        asks = [rating_messages(task, response, arm, reading)]
    return ["\n".join(message["content"] for message in ask) for ask in asks]


def _rubric(task: Task) -> Rubric:
    if task.rubric is None:
        raise DataError(f"task {task.id!r} has no rubric: write one, or run `rar synthesize`")
    return task.rubric


def _messages(name: str, wording: Wording, **values: str) -> list[Message]:
    return [
        {"role": "system", "content": fill("judge_system" + SUFFIX[wording])},
        {"role": "user", "content": fill(name + SUFFIX[wording], **values)},
    ]


def render(rubric: Rubric) -> str:
    """The rubric as numbered lines for a judge that reads it as a whole.

    The line shows the category, not the number: Eq. 2 takes the descriptions, and the
    paper's prose adds "with categorical weights" (v2, section 2.2). Criteria worded as
    failures are marked, so that the judge does not reward meeting them.
    """
    lines = []
    for number, criterion in enumerate(rubric.criteria, start=1):
        sign = "" if criterion.polarity is Polarity.GOOD else " (must NOT be the case)"
        lines.append(f"{number}. [{criterion.category}{sign}] {criterion.description}")
    return "\n".join(lines)
