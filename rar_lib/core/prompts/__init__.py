"""The prompts: every one is a text file in this folder, filled here.

Values are placed by single-pass substitution, so that a response holding a placeholder, a
fence or a chat-template token stays data. :data:`Wording` says in which words a judge can be asked.
"""

from __future__ import annotations

import random
import re
from functools import cache
from importlib.resources import files
from typing import Any, Literal, get_args

from rar_lib.core.errors import DataError
from rar_lib.core.text import visible
from rar_lib.core.types import MultipleChoice, Task

#: In which words a judge can be asked: the texts ``judge_*.txt``, and the same with this ending,
#: such as ``judge_explicit_b.txt``; *a* has none.
Wording = Literal["a", "b"]
_PLACEHOLDER = re.compile(r"\{\{([a-z_]+)\}\}")


@cache
def template(name: str) -> str:
    """The text of ``prompts/NAME.txt``."""
    return files(__name__).joinpath(f"{name}.txt").read_text(encoding="utf-8").strip()


def fill(name: str, **values: str) -> str:
    """The prompt with every ``{{placeholder}}`` replaced once.

    One pass: a value that itself holds ``{{...}}`` is not expanded again.

    Raises:
        KeyError: the template names a placeholder that was not given, or the reverse.
    """
    text = template(name)
    wanted = set(_PLACEHOLDER.findall(text))
    if wanted != set(values):
        raise KeyError(f"prompt {name!r} wants {sorted(wanted)}, got {sorted(values)}")
    return _PLACEHOLDER.sub(lambda match: values[match.group(1)], text)


def worded(name: str, wording: Wording) -> str:
    """The name of a judge's prompt in a wording.

    Raises:
        DataError: there is no such wording.
    """
    if wording not in get_args(Wording):
        raise DataError(f"no wording {wording!r}; allowed: {', '.join(get_args(Wording))}")
    return name if wording == "a" else f"{name}_{wording}"


def conversation(task: Task) -> str:
    """What the judge is shown as the question: the whole conversation where there is one."""
    if not task.history:
        return task.question
    turns = [f"{turn.role}: {turn.content}" for turn in task.history]
    return "\n\n".join([*turns, f"user: {task.question}"])


LETTERS = "ABCDEFGHIJ"


#: An option that speaks of others by their letters: no order but the published one keeps its sense.
_BY_LETTER = re.compile(
    r"\b(?i:both|either|neither|only|options?|answers?)\b.{0,12}\b[A-J]\b(?!')"
    r"|\b[A-J]\b\s*(?:,|&|and|or|nor|\+)\s*\b[A-J]\b"
)
#: An option that speaks of those around it: it keeps its place among them.
_BY_PLACE = re.compile(
    r"\b(?:above|below|preceding|following)\b"
    r"|\b(?:all|none|any|both|neither|either|two|some)\s+(?:of\s+)?"
    r"(?:these|those|them|the\s+(?:other|options|choices|answers|statements))\b"
    r"|^\s*(?:both|all|none|neither|everything)\W*$",
    re.IGNORECASE,
)


def order_of(choice: MultipleChoice, seed: int) -> list[int]:
    """Which published option stands at each place: random, but for those that speak of others."""
    count = len(choice.options)
    if any(_BY_LETTER.search(option) for option in choice.options):
        return list(range(count))
    free = [n for n, option in enumerate(choice.options) if not _BY_PLACE.search(option)]
    mixed = list(free)
    random.Random(f"{seed} {choice.id}").shuffle(mixed)
    order = list(range(count))
    for place, option in zip(free, mixed, strict=True):
        order[place] = option
    return order


def in_order(choice: MultipleChoice, seed: int) -> list[str]:
    """The texts of the options as :func:`shuffled` shows them."""
    return [choice.options[index] for index in order_of(choice, seed)]


def shuffled(choice: MultipleChoice, seed: int) -> tuple[str, str]:
    """The prompt with lettered options in random order, and the right letter.

    The order depends on the seed and the question's id alone, so the same run can be
    repeated and questions do not share an order. "All of the above" keeps its place, and "Both A
    and B" the published order of all.
    """
    order = order_of(choice, seed)
    lines = [f"{LETTERS[place]}. {choice.options[index]}" for place, index in enumerate(order)]
    prompt = fill(
        "multiple_choice", question=visible(choice.question), options=visible("\n".join(lines))
    )
    return prompt, LETTERS[order.index(choice.answer)]


#: The system turn with which this library's own runs, commands and chapters ask a policy.
POLICY_SYSTEM = template("policy_system")


def policy_messages(task: Task, system: str | None = POLICY_SYSTEM) -> list[dict[str, str]]:
    """The conversation that the policy sees: the question with the task's context; multiple choice
    with its options, in the order of seed 0.

    Args:
        system: content of a system turn before it. None is added without it, nor where the task's
            history begins with one: many chat templates take no second one.
    """
    question = shuffled(task, 0)[0] if isinstance(task, MultipleChoice) else task.question
    if task.context:
        question = fill("policy_context", question=question, context=task.context)
    turns = [{"role": turn.role, "content": turn.content} for turn in task.history]
    turns.append({"role": "user", "content": question})
    own = turns[0]["role"] == "system"
    return turns if system is None or own else [{"role": "system", "content": system}, *turns]


def trl_row(task: Task, system: str | None = None) -> dict[str, Any]:
    """A row for TRL's GRPOTrainer: the prompt as messages, the task as JSON for the reward.

    Args:
        system: as in :func:`policy_messages`.
    """
    return {"prompt": policy_messages(task, system), "task": task.model_dump_json()}
