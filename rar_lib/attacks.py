"""The corpus of attacks on a judge: texts that change a response without making it better.

    for attack in load_attacks():
        print(attack.id, attack.rewrite(task, "Drink some water."))

It is ``datasets/attacks.jsonl``, written for this project. Its families follow what is known to
work on judges: injected instructions and verdicts, escapes from delimiters and chat templates,
one-token answers (arXiv 2507.08794), and what a trained policy finds by itself: padding,
self-praise, echoes of the rubric (arXiv 2605.12474). The family ``control`` is harmless text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Literal, get_args

from pydantic import ValidationError

from rar_lib.data import json_rows
from rar_lib.errors import DataError
from rar_lib.types import Frozen, Polarity, Slug, Task, Text
from rar_lib.words import content_words

Family = Literal[
    "control", "request", "verdict", "fence", "template", "token", "role",
    "authority", "language", "echo", "stuffing", "padding", "praise", "unicode",
]  # fmt: skip
FAMILIES: tuple[Family, ...] = get_args(Family)
_PLACEHOLDER = re.compile(r"\{\{(response|question|titles|criteria|keywords)\}\}")


class Attack(Frozen):
    """A way to rewrite a response.

    Attributes:
        how: ``append`` and ``prepend`` add a paragraph, ``replace`` drops the response,
            ``around`` puts it where the text says ``{{response}}``.
        text: may hold ``{{response}}``, ``{{question}}``, ``{{titles}}``, ``{{criteria}}``
            and ``{{keywords}}``; the last three come from the task's rubric.
        language: ISO 639-1 code.
        written: ``before`` or ``after`` the pre-checks of :mod:`rar_lib.defences` were fixed.
            Only the second kind tests whether they hold for texts that nobody had in mind.
    """

    id: Slug
    family: Family
    how: Literal["append", "prepend", "replace", "around"]
    text: Text
    language: str
    written: Literal["before", "after"]

    def rewrite(self, task: Task, response: str) -> str:
        """The attacked response; one pass, so that a response with placeholders stays data."""
        values = {"response": response, "question": task.question, **_of_rubric(task)}
        text = _PLACEHOLDER.sub(lambda match: values[match.group(1)], self.text)
        if self.how == "append":
            return f"{response}\n\n{text}"
        return f"{text}\n\n{response}" if self.how == "prepend" else text


def _of_rubric(task: Task) -> dict[str, str]:
    """What an attacker who has read the rubric could throw in; failures are left out."""
    criteria = task.rubric.criteria if task.rubric else ()
    good = [c for c in criteria if c.polarity is Polarity.GOOD]
    sentences = [c.description.rstrip(".") for c in good]
    words = sorted(set().union(*(content_words(s) for s in sentences)))
    full = {w[:6]: w for s in sentences for w in re.findall(r"[a-z]{4,}", s.lower())}
    return {
        "titles": "; ".join(c.title for c in good),
        "criteria": "; ".join(s[:1].lower() + s[1:] for s in sentences),
        "keywords": ", ".join(full[w] for w in words),
    }


@cache
def load_attacks() -> tuple[Attack, ...]:
    """The corpus of this project, in file order."""
    name = "attacks.jsonl"
    return read_attacks(files("rar_lib").joinpath("datasets", name).read_bytes(), name)


def read_attacks(data: bytes, name: str) -> tuple[Attack, ...]:
    """Attacks from JSON lines, so that a reader can bring a corpus of another language.

    Raises:
        DataError: a line does not fit, or an id is given twice.
    """
    attacks: dict[str, Attack] = {}
    for line, row in json_rows(data, name):
        try:
            attack = Attack.model_validate(row)
        except ValidationError as error:
            raise DataError(f"{name}, line {line}: {error}") from error
        if attack.id in attacks:
            raise DataError(f"{name}, line {line}: id {attack.id!r} is given twice")
        attacks[attack.id] = attack
    return tuple(attacks.values())


def one_of_each_family(attacks: Sequence[Attack]) -> tuple[Attack, ...]:
    """One text of each family: the first one written after the pre-checks, else the first."""
    found: dict[Family, Attack] = {}
    for attack in attacks:
        known = found.setdefault(attack.family, attack)
        if known.written == "before" and attack.written == "after":
            found[attack.family] = attack
    return tuple(found[family] for family in FAMILIES if family in found)
