"""Every prompt is a text file in this folder; this fills them.

Values are placed by single-pass substitution, so that a response holding a placeholder, a
fence or a chat-template token stays data.
"""

from __future__ import annotations

import random
import re
from functools import cache
from importlib.resources import files

from rar_lib.core.text import visible
from rar_lib.core.types import MultipleChoice, Task

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


def conversation(task: Task) -> str:
    """What the judge is shown as the question: the whole conversation where there is one."""
    if not task.history:
        return task.question
    turns = [f"{turn.role}: {turn.content}" for turn in task.history]
    return "\n\n".join([*turns, f"user: {task.question}"])


LETTERS = "ABCDEFGHIJ"


def shuffled(choice: MultipleChoice, seed: int) -> tuple[str, str]:
    """The prompt with lettered options in random order, and the right letter.

    The order depends on the seed and the question's id alone, so the same run can be
    repeated and questions do not share an order.
    """
    order = list(range(len(choice.options)))
    random.Random(f"{seed} {choice.id}").shuffle(order)
    lines = [f"{LETTERS[place]}. {choice.options[index]}" for place, index in enumerate(order)]
    prompt = fill(
        "multiple_choice", question=visible(choice.question), options=visible("\n".join(lines))
    )
    return prompt, LETTERS[order.index(choice.answer)]


def policy_messages(task: Task) -> list[dict[str, str]]:
    """The conversation that the policy sees; multiple choice with its options, in the order
    of seed 0."""
    question = shuffled(task, 0)[0] if isinstance(task, MultipleChoice) else task.question
    return [
        {"role": "system", "content": fill("policy_system")},
        *({"role": turn.role, "content": turn.content} for turn in task.history),
        {"role": "user", "content": question},
    ]
