"""Multiple choice by the paper's protocol (v2, section 4.5 and A.4): ask, read, count.

    questions = question_sets("mini", limit=24)["medqa"]
    answers = ask(write, questions, runs=2, kept=folder / "medqa-base.json")
    found = outcomes(answers)
    print(accuracy(found), unreadable(found), chance(questions))

Every run shuffles the options of every question anew, the policy answers greedily, and the
letter in the last box is its answer. Where there is no box the paper asks GPT-4o; here the
last line may give the letter (:mod:`rar_lib.answers`). A reply without a readable letter counts
as wrong and is counted beside it. Runs of one question hang together: intervals are over questions.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Literal, NamedTuple, Protocol

from rar_lib.answers import Reading, answer_letter, shuffled
from rar_lib.atomic import atomic_write
from rar_lib.choices import load_choices
from rar_lib.policy import policy_messages
from rar_lib.stats import Interval, cluster_share
from rar_lib.types import MultipleChoice, Task

#: Question id -> one entry a run: 1 right, 0 wrong, ``None`` without a readable answer.
Outcomes = Mapping[str, Sequence[int | None]]


def question_sets(
    data: Literal["mini", "released"], limit: int | None
) -> dict[str, list[MultipleChoice]]:
    """The sets that a profile's data goes with, at most ``limit`` questions of each.

    With the released data the paper's own, GPQA-Diamond (gated: see :func:`load_choices`);
    else MedQA and the science questions of MMLU, which need no account.

    Raises:
        DataError: no access to the gated set.
        ArtifactError: the wheel with the other sets could not be had.
    """
    if data == "released":
        return {"gpqa": load_choices("gpqa", "diamond", limit=limit)[0]}
    return {
        "medqa": load_choices("medqa", "test", limit=limit)[0],
        "mmlu": load_choices("mmlu", "science", limit=limit)[0],
    }


class Writes(Protocol):
    """A policy: tasks in, texts out.

    Attributes:
        mark: everything but the prompts that decides the texts.
    """

    @property
    def mark(self) -> str: ...

    def __call__(self, tasks: Sequence[Task]) -> list[str]: ...


class Answer(NamedTuple):
    """One reply to one question in one order of its options."""

    question: str
    run: int
    right: str
    text: str
    reading: Reading

    @property
    def outcome(self) -> int | None:
        """1 right, 0 wrong, ``None`` where the reply gives no letter."""
        return None if self.reading.letter is None else int(self.reading.letter == self.right)


def ask(
    write: Writes, questions: Sequence[MultipleChoice], runs: int, *, kept: Path
) -> list[Answer]:
    """Every question in ``runs`` orders of its options, answered by a policy.

    Args:
        kept: JSON file with the texts. If they are of this policy and these prompts they are
            read from there and the policy is not asked; else it is written anew.
    """
    asked = [(q, run, *shuffled(q, run)) for run in range(runs) for q in questions]
    tasks = [Task(id=q.id, question=prompt) for q, _, prompt, _ in asked]
    prompts = json.dumps([policy_messages(t) for t in tasks]).encode()
    mark = f"{write.mark}; prompts {hashlib.sha256(prompts).hexdigest()[:16]}"
    texts = _stored(kept, mark)
    if texts is None:
        texts = write(tasks)
        atomic_write(kept, json.dumps({"mark": mark, "texts": texts}, indent=1))
    return [
        Answer(q.id, run, right, text, answer_letter(text, len(q.options)))
        for (q, run, _, right), text in zip(asked, texts, strict=True)
    ]


def _stored(kept: Path, mark: str) -> list[str] | None:
    if not kept.exists():
        return None
    stored = json.loads(kept.read_text(encoding="utf-8"))
    texts: list[str] = stored["texts"]
    return texts if stored["mark"] == mark else None


def outcomes(answers: Sequence[Answer]) -> dict[str, list[int | None]]:
    """What became of each question, its runs in order."""
    found: dict[str, list[int | None]] = {}
    for answer in sorted(answers, key=lambda a: a.run):
        found.setdefault(answer.question, []).append(answer.outcome)
    return found


def ways(answers: Sequence[Answer]) -> dict[str, float]:
    """Shares of replies read from the box, from the last line, and not at all."""
    count = Counter(a.reading.way for a in answers)
    return {way: count[way] / len(answers) for way in ("boxed", "last line", "none")}


def accuracy(found: Outcomes) -> Interval | None:
    """Share of right answers over all runs; no readable answer is not right.

    The interval is over questions; Wilson's where all answers are right or none is. ``None``
    if there is no answer at all.
    """
    rows = [(float(o or 0), q) for q, runs in found.items() for o in runs]
    return cluster_share([w for w, _ in rows], [q for _, q in rows]) if rows else None


def readable(found: Outcomes) -> dict[str, list[int | None]]:
    """The answers that could be read, unreadable ones left out instead of counted as wrong."""
    return {q: [o for o in runs if o is not None] for q, runs in found.items()}


def by_question(found: Outcomes) -> dict[str, float | None]:
    """Share of a question's runs that are right, for paired differences between policies."""
    return {q: fmean(o or 0 for o in runs) for q, runs in found.items() if runs}


def unreadable(found: Outcomes) -> float | None:
    """Share of replies without a readable answer; ``None`` if there is no reply."""
    every = [o for runs in found.values() for o in runs]
    return every.count(None) / len(every) if every else None


def chance(questions: Sequence[MultipleChoice]) -> float:
    """Share that a guesser gets right who always gives a letter."""
    return fmean(1 / len(q.options) for q in questions)


def against_chance(found: Outcomes, level: float) -> str:
    """What the interval says of a policy against guessing, in words."""
    interval = accuracy(found)
    if interval is None:
        return "no answer"
    if interval.low > level:
        return "above chance"
    return "below chance" if interval.high < level else "not told apart from chance"
