"""Notes beside a question: how many of them a response conveys.

    tasks = with_notes(load_mini(), others=False)    # the policy sees question and notes, the
    found = conveyed(task, response)                 # judge only the question
    found.outcome                                    # the primary outcome of the study

A closed-book question tests facts that a small policy lacks and that no reward can give it. With
notes the answer lies before it: what is learnt, to use what stands there and to say all of it,
carries over to unseen questions. Mixed with sentences that answer another question they are harder:
which ones to say must be learnt, too. No judge is in the outcome.

What the outcome does not see: order, grammar, contradiction ("do not" before a sentence counts as
the sentence), and which words join two facts. A response that lists a sentence's content words
without saying anything conveys it; the limit of tokens bounds how many it can list.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from rar_lib.core.errors import DataError
from rar_lib.core.text import content_words, sentences
from rar_lib.core.types import Task

#: Share of a sentence's content words from which on it counts as conveyed.
RECALL = 0.5


@dataclass(frozen=True)
class Conveyed:
    """How much of its notes a response says.

    Attributes:
        relevant: share of the sentences of the task's own reference, in [0, 1].
        irrelevant: share of the other sentences, in [0, 1]; 0 if there are none.
    """

    relevant: float
    irrelevant: float

    @property
    def outcome(self) -> float:
        """Relevant minus irrelevant, in [-1, 1]: 0 for silence.

        Where other notes are mixed in, it is 0 for saying everything, too.
        """
        return self.relevant - self.irrelevant


def with_notes(tasks: Sequence[Task], *, others: bool = True) -> list[Task]:
    """The same tasks with notes: the sentences of their own reference, shuffled.

    With ``others`` those of another task of the same domain are mixed in. Whose sentences stand
    beside a task's own, and in which order, depends on the ids alone. Every reference is used once
    beside another task of its domain, so tasks that are held out must not be given together with
    those that are trained on: their answers would stand in training's notes.

    Args:
        tasks: with references; with ``others`` at least two in each domain.

    Raises:
        DataError: a task has no reference, or is alone in its domain.
    """
    for task in tasks:
        if not task.reference:
            raise DataError(f"task {task.id!r} has no reference: notes are made of references")
    beside = _beside(tasks) if others else {}
    return [
        task.model_copy(update={"context": _mixed(task, beside.get(task.id))}) for task in tasks
    ]


def conveyed(task: Task, response: str) -> Conveyed:
    """What a response conveys of its task's notes.

    A sentence is conveyed where at least half of its content words are in the response.

    Args:
        task: with a reference, and a context of one sentence a line.

    Raises:
        DataError: it has no notes that answer it.
    """
    own = set(split(task.reference or ""))
    lines = task.context.splitlines()
    relevant = [line for line in lines if line in own]
    irrelevant = [line for line in lines if line not in own]
    if not relevant:
        raise DataError(
            f"task {task.id!r} has {len(lines)} notes, and none is a sentence of its reference; "
            "make them by with_notes(tasks)"
        )
    return Conveyed(_share(relevant, response), _share(irrelevant, response))


def states(response: str, note: str) -> bool:
    """Whether a response conveys one sentence: at least half of its content words are in it."""
    words = content_words(note)
    return len(words & content_words(response)) >= RECALL * len(words)


def split(text: str) -> list[str]:
    """The sentences of a text that have a content word, each on one line."""
    found: list[str] = []
    for piece in text.split():
        # A sentence has ended where one more word makes two.
        if found and sentences(f"{found[-1]} {piece}") == 1:
            found[-1] = f"{found[-1]} {piece}"
        else:
            found.append(piece)
    return [sentence for sentence in found if content_words(sentence)]


def _share(lines: Sequence[str], response: str) -> float:
    return sum(states(response, line) for line in lines) / max(1, len(lines))


def _beside(tasks: Sequence[Task]) -> dict[str, Task]:
    """Task id -> the task whose reference stands beside its own: the next in a seeded ring."""
    rings: dict[str, list[Task]] = {}
    for task in sorted(tasks, key=lambda task: task.id):
        rings.setdefault(task.domain, []).append(task)
    found: dict[str, Task] = {}
    for domain, ring in rings.items():
        if len(ring) < 2:
            raise DataError(
                f"task {ring[0].id!r} is alone in domain {domain!r}: notes need another "
                "task of the domain"
            )
        random.Random(f"notes {domain}").shuffle(ring)
        found |= {one.id: other for one, other in zip(ring, ring[1:] + ring[:1], strict=True)}
    return found


def _mixed(task: Task, other: Task | None) -> str:
    lines = split(task.reference or "") + (split(other.reference or "") if other else [])
    random.Random(f"notes {task.id}").shuffle(lines)
    return "\n".join(lines)
