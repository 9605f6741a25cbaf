"""The vocabulary: everything else in the library speaks these nouns.

A judgement has three outcomes, never two: met, not met, or unscored with a
reason. An unscored value is ``None`` all the way to the trainer, never 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from rar_lib.core.errors import DataError

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


def arm_named(name: str) -> Arm:
    """The arm of that name: one of the ways in which a judge grades.

    Raises:
        DataError: there is none.
    """
    for arm in ARMS:
        if arm == name:
            return arm
    raise DataError(f"no arm {name!r}; choose from: {', '.join(ARMS)}")


class Category(StrEnum):
    """How much a criterion counts (paper, section 3.1)."""

    ESSENTIAL = "Essential"
    IMPORTANT = "Important"
    OPTIONAL = "Optional"
    PITFALL = "Pitfall"


class Polarity(StrEnum):
    """Whether meeting the criterion is good for the response.

    A pitfall worded "avoids ..." is ``GOOD``; one worded "recommends ..." is
    ``BAD``. The released data holds both, so polarity is stored; where a short form lacks it,
    rules read the wording and refuse what is unclear (:mod:`rar_lib.data.polarity`).
    """

    GOOD = "good"
    BAD = "bad"


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


#: The kind of a pydantic error that names a field of its own, what was found and what is allowed.
FIELD_FAULT = "field_fault"


class Criterion(Frozen):
    """One sentence that a response meets or does not meet.

    Attributes:
        polarity: has to be given for a pitfall, and for points below 0 outside one: these are
            worded both ways, and with a guessed sign the fault would be rewarded.
        points: the weight that the data's publisher gave (RaR: 1 to 5, -1, -2; HealthBench:
            -10 to 10), kept as published. RaR-Explicit does not use it (paper v2, 4.4).
        tags: the publisher's labels, such as HealthBench's ``axis:accuracy``.
    """

    id: Slug
    title: Text
    description: Text
    category: Category
    polarity: Polarity = Polarity.GOOD
    points: Annotated[float, Field(allow_inf_nan=False)] | None = None
    tags: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _says_what_is_good(self) -> Criterion:
        pitfall = self.category is Category.PITFALL
        if pitfall and "polarity" not in self.model_fields_set:
            raise _fault(
                "polarity",
                f"missing for the pitfall {self.id!r}",
                "'good' (worded as avoidance) or 'bad' (worded as failure)",
            )
        if not pitfall and self.polarity is Polarity.GOOD and (self.points or 0) < 0:
            raise _fault(
                "points",
                f"{self.points:g} for {self.id!r}, of which meeting is good",
                "a number of 0 or more; or polarity 'bad', or category 'Pitfall'",
            )
        return self


def _fault(field: str, found: str, allowed: str) -> PydanticCustomError:
    said = {"field": field, "found": found, "allowed": allowed}
    return PydanticCustomError(FIELD_FAULT, "{field}: {found}; allowed: {allowed}", said)


class Rubric(Frozen):
    """The criteria of one task, and who wrote them."""

    criteria: Annotated[tuple[Criterion, ...], Field(min_length=1, max_length=60)]
    source: Literal["authored", "synthetic_ref", "synthetic_noref", "predefined"] = "authored"

    @model_validator(mode="after")
    def _ids_are_unique(self) -> Rubric:
        ids = [criterion.id for criterion in self.criteria]
        twice = sorted({name for name in ids if ids.count(name) > 1})
        if twice:
            raise ValueError(f"criterion ids must be unique; repeated: {', '.join(twice)}")
        return self


class Turn(Frozen):
    """One message of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: Text


class Task(Frozen):
    """A prompt without a checkable answer.

    Attributes:
        history: turns before the question, oldest first (HealthBench holds conversations).
        context: what the policy is shown with the question and the judge is not, such as retrieved
            passages: a judge that sees them credits the response for what they say.
    """

    id: Slug
    domain: Literal["medicine", "science", "other"] = "other"
    topic: str = ""
    question: Text
    context: str = ""
    history: tuple[Turn, ...] = ()
    reference: Text | None = None
    rubric: Rubric | None = None


class MultipleChoice(Task):
    """A question with a checkable answer; ``reference`` is the text of the right option.

    Attributes:
        options: their texts, in published order.
        answer: index of the right one, from 0.
    """

    options: Annotated[tuple[Text, ...], Field(min_length=2, max_length=10)]
    answer: Annotated[int, Field(ge=0)]

    @model_validator(mode="after")
    def _answer_is_an_option(self) -> MultipleChoice:
        if self.answer >= len(self.options):
            raise ValueError(f"answer {self.answer} of {len(self.options)} options")
        return self


class Verdict(Frozen):
    """The judge's answer for one criterion; ``met is None`` means unscored.

    Attributes:
        probability: that it is met; ``None`` where the verdict was sampled.
        share: of the judge's probability, what lay on yes and no; the verdict is read from it.
    """

    criterion_id: Slug
    met: bool | None
    probability: Unit | None = None
    share: Unit | None = None
    reason: str | None = None

    @property
    def value(self) -> bool | float | None:
        """What Eq. 1 adds up (``c_j``): the probability, or without one the verdict itself."""
        return self.met if self.probability is None else self.probability


class Usage(Frozen):
    """What a grade cost.

    Attributes:
        seconds: of all requests added up (they overlap).
        money: at the price that the chat was given; ``None`` without a price, or where the
            endpoint did not report its tokens: unknown is not free.
    """

    calls: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    money: float | None = None

    def __add__(self, other: Usage) -> Usage:
        """The sum; its money is known if that of every part with calls is."""
        counts = {field: getattr(self, field) + getattr(other, field) for field in _COUNTS}
        costs = [part.money for part in (self, other) if part.calls]
        known = [cost for cost in costs if cost is not None]
        return Usage(**counts, money=sum(known) if costs and len(known) == len(costs) else None)


_COUNTS = tuple(name for name in Usage.model_fields if name != "money")


@dataclass(frozen=True)
class Price:
    """Money per million tokens, in any currency."""

    prompt: float
    completion: float

    def of(self, usage: Usage) -> float:
        """What a grade, or a sum of them, cost; cached tokens at the full price."""
        read = usage.prompt_tokens * self.prompt
        written = usage.completion_tokens * self.completion
        return (read + written) / 1e6


class Grade(Frozen):
    """A response's reward in [0, 1], or ``None`` with the reason why not.

    Attributes:
        share: of the judge's probability, what lay on readable answers: of the rating, or the
            mean over the verdicts. ``None`` where nothing was read from probabilities.
    """

    arm: Arm
    score: Unit | None
    rating: Annotated[float, Field(ge=1.0, le=10.0)] | None = None
    verdicts: tuple[Verdict, ...] = ()
    share: Unit | None = None
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
