"""Honest texts: how often the pre-checks accuse what is no attack.

    found = false_alarms(load_honest("test"), load_mini("test"))
    print(found.accused, found.rate)

``honest.jsonl`` was written for this project before any rule had been run on it: sentences and
short answers of medicine and science, most of them in the words that attacks use, too (doses,
scores, verdicts, "ignore", "system", code, tables). A seeded half may be looked at when rules are
mended; the other half is measured and otherwise left alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import cycle
from typing import Literal

from rar_lib.core.errors import DataError
from rar_lib.core.stats import Interval, proportion
from rar_lib.core.types import Frozen, Rubric, Slug, Task, Text
from rar_lib.data.jsonl import json_rows
from rar_lib.data.tasks import stratified
from rar_lib.judging.guard import no_content, strip, suspicious

Half = Literal["tuning", "test"]


class Honest(Frozen):
    """A text that no rule should accuse.

    Attributes:
        kind: what it looks like: ``plain``, or the vocabulary that it shares with attacks.
        language: ISO 639-1 code. The pre-checks are rules for English.
    """

    id: Slug
    kind: str
    domain: Literal["medicine", "science"]
    language: str
    text: Text


@cache
def load_honest(half: Half | None = None) -> tuple[Honest, ...]:
    """The honest texts in file order, all or one half; halves hold the same share of each kind."""
    name = "honest.jsonl"
    data = files("rar_lib.evaluation").joinpath(name).read_bytes()
    every = tuple(Honest.model_validate(row) for _, row in json_rows(data, name))
    if half is None:
        return every
    tuning = {text.id for text in stratified(every, len(every) // 2, lambda text: (text.kind,))}
    return tuple(text for text in every if (text.id in tuning) == (half == "tuning"))


@dataclass(frozen=True)
class Accused:
    """A text that a rule names by mistake.

    Attributes:
        found: the names of the rules.
        left: what is graded of it in mode strip.
    """

    honest: Honest
    found: tuple[str, ...]
    left: str

    @property
    def lost(self) -> bool:
        """Whether nothing is left to grade: the response then earns no reward at all."""
        return no_content(self.left)


@dataclass(frozen=True)
class FalseAlarms:
    """What the rules do to honest texts; every text is one observation.

    Attributes:
        texts: how many were checked.
    """

    texts: int
    accused: tuple[Accused, ...]

    @property
    def rate(self) -> Interval:
        """Share of texts that a rule accuses, with Wilson's interval."""
        return proportion(len(self.accused), self.texts)

    @property
    def cut(self) -> Interval:
        """Share of texts of which mode strip takes something away before grading."""
        return proportion(
            sum(accused.left != accused.honest.text.strip() for accused in self.accused), self.texts
        )


def false_alarms(texts: Sequence[Honest], tasks: Sequence[Task]) -> FalseAlarms:
    """Check every text beside a rubric of its own domain, those of ``tasks`` in turn.

    Raises:
        DataError: a domain has no task with a rubric.
    """
    rubrics: dict[str, list[Rubric]] = {}
    for task in tasks:
        if task.rubric:
            rubrics.setdefault(task.domain, []).append(task.rubric)
    if missing := sorted({text.domain for text in texts} - set(rubrics)):
        raise DataError(f"no task with a rubric in {', '.join(missing)}: give some")
    turn = {domain: cycle(found) for domain, found in rubrics.items()}
    accused = []
    for honest in texts:
        rubric = next(turn[honest.domain])
        if found := suspicious(honest.text, rubric):
            accused.append(Accused(honest, tuple(found), strip(honest.text, rubric)))
    return FalseAlarms(len(texts), tuple(accused))
