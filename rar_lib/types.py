"""The vocabulary: everything else in the library speaks these eight nouns.

A judgement has three outcomes, never two: met, not met, or unscored with a
reason. An unscored value is ``None`` all the way to the trainer, never 0.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Text = Annotated[str, Field(min_length=1, max_length=20_000)]
Slug = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
Unit = Annotated[float, Field(ge=0.0, le=1.0)]
Arm = Literal["explicit", "implicit", "predefined", "direct_likert", "reference_likert"]
ARMS: tuple[Arm, ...] = (
    "explicit",
    "implicit",
    "predefined",
    "direct_likert",
    "reference_likert",
)


class Category(StrEnum):
    """How much a criterion counts (paper, section 3.1)."""

    ESSENTIAL = "Essential"
    IMPORTANT = "Important"
    OPTIONAL = "Optional"
    PITFALL = "Pitfall"


class Polarity(StrEnum):
    """Whether meeting the criterion is good for the response.

    A pitfall worded "avoids ..." is ``GOOD``; one worded "recommends ..." is
    ``BAD``. The released data holds both, so polarity is stored, never guessed.
    """

    GOOD = "good"
    BAD = "bad"


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


class Criterion(Frozen):
    """One sentence that a response meets or does not meet."""

    id: Slug
    title: Text
    description: Text
    category: Category
    polarity: Polarity = Polarity.GOOD


class Rubric(Frozen):
    """The criteria of one task, and who wrote them."""

    criteria: Annotated[tuple[Criterion, ...], Field(min_length=1, max_length=60)]
    source: Literal["authored", "synthetic_ref", "synthetic_noref", "predefined"] = "authored"

    @model_validator(mode="after")
    def _ids_are_unique(self) -> Rubric:
        ids = [c.id for c in self.criteria]
        twice = sorted({i for i in ids if ids.count(i) > 1})
        if twice:
            raise ValueError(f"criterion ids must be unique; repeated: {', '.join(twice)}")
        return self


class Task(Frozen):
    """A prompt without a checkable answer."""

    id: Slug
    domain: Literal["medicine", "science", "other"] = "other"
    topic: str = ""
    question: Text
    reference: Text | None = None
    rubric: Rubric | None = None


class Verdict(Frozen):
    """The judge's answer for one criterion; ``met is None`` means unscored."""

    criterion_id: Slug
    met: bool | None
    probability: Unit | None = None
    reason: str | None = None


class Usage(Frozen):
    """What a grade cost: calls, tokens, and seconds of all requests added up (they overlap)."""

    calls: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0

    def __add__(self, other: Usage) -> Usage:
        return Usage(**{k: getattr(self, k) + getattr(other, k) for k in Usage.model_fields})


class Grade(Frozen):
    """A response's reward in [0, 1], or ``None`` with the reason why not."""

    arm: Arm
    score: Unit | None
    rating: Annotated[float, Field(ge=1.0, le=10.0)] | None = None
    verdicts: tuple[Verdict, ...] = ()
    reason: str | None = None
    usage: Usage = Usage()


class Pair(Frozen):
    """Two responses to one task, the second worse on a named axis.

    ``gold_*`` maps every criterion id of the task's rubric to whether the
    response meets it, as labelled by the authors.
    """

    id: Slug
    task_id: Slug
    preferred: Text
    rejected: Text
    axis: Literal["accuracy", "completeness", "safety", "specificity", "clarity", "tone"]
    difficulty: Literal["obvious", "moderate", "subtle"]
    gold_preferred: dict[str, bool]
    gold_rejected: dict[str, bool]
