"""Grading: a task, a response and an arm become a grade.

    judge = Judge(Chat(url, "my-judge", price=Price(prompt=3.0, completion=15.0)))  # per 10^6
    grade = await judge.grade(task, "Ice floats because ...", "implicit")
    grade.score, grade.usage.money         # money is None without a price, never 0

One coroutine is the heart, everything else in the library is a loop around it. A judge
fault (busy endpoint, unreadable reply) never raises and never becomes a number: the grade
is unscored with a reason.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rar_lib.core.errors import DataError, JudgeFault
from rar_lib.core.scoring import (
    PAPER_WEIGHTS,
    PREDEFINED,
    UNIFORM_WEIGHTS,
    Weights,
    expected_rating,
    explicit_score,
    normalise_rating,
)
from rar_lib.core.text import visible
from rar_lib.core.types import Arm, Criterion, Grade, Rubric, Task, Usage, Verdict
from rar_lib.judging.calibration import Calibration, Identity, apply
from rar_lib.judging.chat import Chat, Message, Reply, together
from rar_lib.judging.messages import JudgeMessages, Messages, Reading, rubric_of
from rar_lib.judging.reading import parse_reply, rating_probabilities, yes_probability

#: The one-token reading of "10" needs a second look at what follows "1".
_TEN_FOLLOWS = 0.005
_RE_ASKS = 2
_ONE_KEY = {"type": "object", "additionalProperties": False}
_MET = {"met": {"type": "boolean"}}
_RATING = {"rating": {"type": "integer", "minimum": 1, "maximum": 10}}
_VERDICT_SCHEMA = _ONE_KEY | {"properties": _MET, "required": ["met"]}
_RATING_SCHEMA = _ONE_KEY | {"properties": _RATING, "required": ["rating"]}


@dataclass(frozen=True)
class Judge:
    """A model that grades.

    Attributes:
        chat: the model.
        reading: ``sampled`` is the paper's way, a JSON reply with a boolean or an integer.
            ``probability`` asks for one token and takes the expected verdict or rating
            under the token probabilities: no ties, no unreadable replies, one token.
        weights: category weights of the explicit arm.
        messages: what is asked, in which words; an object of your own asks something else
            (:class:`rar_lib.judging.messages.JudgeMessages`).
        calibration: turns yes-probabilities into calibrated ones; a verdict is met above 0.5.
        temperature, seed: of the sampled reading; another seed is an independent second answer.

    Raises:
        DataError: the calibration is another judge's, or the reading has no probability.
    """

    chat: Chat
    reading: Reading = "probability"
    weights: Weights = field(default_factory=lambda: PAPER_WEIGHTS)
    messages: JudgeMessages = field(default_factory=Messages)
    calibration: Calibration | None = None
    temperature: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.calibration:
            self.calibration.check(self.identity)
            if self.reading == "sampled":
                raise DataError("a sampled verdict has no probability: leave calibration out")

    @property
    def identity(self) -> Identity:
        """What a calibration of this judge is tied to."""
        return Identity.of(self.chat.model, self.chat.weights or self.chat.where, self.messages)

    async def grade(self, task: Task, response: str, arm: Arm) -> Grade:
        """The reward of one response.

        Raises:
            DataError: the arm needs a rubric or a reference that the task does not have.
            ChatError: the endpoint itself is wrong, so no response could ever be graded.
            ServerError: the local server did not start, or has ended since.
        """
        if not visible(response).strip():
            return Grade(arm=arm, score=None, reason="the response is empty")
        if arm == "explicit":
            return await self._by_criteria(task, response, arm, rubric=rubric_of(task))
        if arm == "predefined":
            return await self._by_criteria(
                task, response, arm, rubric=PREDEFINED, weights=UNIFORM_WEIGHTS
            )
        return await self._by_rating(task, response, arm)

    async def _by_criteria(
        self,
        task: Task,
        response: str,
        arm: Arm,
        *,
        rubric: Rubric,
        weights: Weights | None = None,
    ) -> Grade:
        """Eq. 1: every criterion is judged on its own; the response is their shared prefix."""
        judged = await together(
            self._verdict(task, response, criterion) for criterion in rubric.criteria
        )
        verdicts = tuple(verdict for verdict, _ in judged)
        usage = sum((use for _, use in judged), Usage())
        values: dict[str, bool | float | None] = {
            v.criterion_id: v.met if v.probability is None else v.probability for v in verdicts
        }
        score = explicit_score(rubric, values, weights or self.weights)
        failed = [f"{v.criterion_id}: {v.reason}" for v in verdicts if v.met is None]
        return Grade(
            arm=arm, score=score, verdicts=verdicts, reason="; ".join(failed) or None, usage=usage
        )

    async def _verdict(
        self, task: Task, response: str, criterion: Criterion
    ) -> tuple[Verdict, Usage]:
        ask = self.messages.criterion(task, response, criterion, self.reading)
        calls = _Calls(self.chat)
        try:
            if self.reading == "sampled":
                value = await self._ask_json(calls, ask, "met", _VERDICT_SCHEMA, bool)
                return Verdict(criterion_id=criterion.id, met=value), calls.usage
            reply = await calls.complete(ask, max_tokens=1, top_logprobs=20)
            p = yes_probability(reply.first_token)
            if self.calibration:
                p = float(apply(self.calibration, p, self.identity))
            return Verdict(criterion_id=criterion.id, met=p > 0.5, probability=p), calls.usage
        except JudgeFault as fault:
            return Verdict(criterion_id=criterion.id, met=None, reason=str(fault)), calls.usage

    async def _by_rating(self, task: Task, response: str, arm: Arm) -> Grade:
        """Eq. 2 and the Likert baselines: one rating of the whole response."""
        ask = self.messages.rating(task, response, arm, self.reading)
        calls = _Calls(self.chat)
        try:
            if self.reading == "sampled":
                rating = await self._ask_json(calls, ask, "rating", _RATING_SCHEMA, int)
                if not 1 <= rating <= 10:
                    raise JudgeFault(f"rating {rating} is outside 1..10")
            else:
                rating = await self._expected_rating(calls, ask)
        except JudgeFault as fault:
            return Grade(arm=arm, score=None, reason=str(fault), usage=calls.usage)
        return Grade(arm=arm, score=normalise_rating(rating), rating=rating, usage=calls.usage)

    async def _expected_rating(self, calls: _Calls, ask: list[Message]) -> float:
        reply = await calls.complete(ask, max_tokens=1, top_logprobs=20)
        mass = rating_probabilities(reply.first_token)
        if 10 in mass or mass.get(1, 0.0) < _TEN_FOLLOWS or not self.chat.local:
            return expected_rating(mass)
        # Digit tokenisers spell 10 as "1", "0": split the mass of "1" by what would follow.
        after = await calls.complete(ask, max_tokens=1, top_logprobs=20, prefill="1")
        zero = sum(p for token, p in after.first_token.items() if token.strip() == "0")
        mass[10] = mass[1] * zero
        mass[1] -= mass[10]
        return expected_rating(mass)

    async def _ask_json(
        self, calls: _Calls, ask: list[Message], key: str, schema: dict[str, Any], kind: type
    ) -> Any:
        """A schema-constrained reply, validated all the same, re-asked a few times."""
        fault = ""
        for n in range(_RE_ASKS + 1):
            seed = _seed(ask, self.seed * (_RE_ASKS + 1) + n)
            warmth = max(self.temperature, 0.7) if n else self.temperature
            reply = await calls.complete(
                ask, max_tokens=24, schema=schema, seed=seed, temperature=warmth
            )
            try:
                return parse_reply(reply, key, kind)
            except JudgeFault as error:
                fault = str(error)
        raise JudgeFault(f"no readable reply in {_RE_ASKS + 1} tries: {fault}")


@dataclass
class _Calls:
    """The calls of one verdict or rating: what came back unreadable was paid for, too."""

    chat: Chat
    usage: Usage = field(default_factory=Usage)

    async def complete(self, ask: list[Message], **settings: Any) -> Reply:
        try:
            reply = await self.chat.complete(ask, **settings)
        except JudgeFault:
            # No reply, no tokens.
            self.usage += Usage(calls=1, money=0.0 if self.chat.price else None)
            raise
        self.usage += reply.usage
        return reply


def _seed(ask: list[Message], number: int) -> int:
    """A seed of its own for every prompt: one for all would give them all the same luck."""
    text = json.dumps([ask, number], ensure_ascii=False)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


async def grade_many(
    judge: Judge, items: Sequence[tuple[Task, str]], arm: Arm, *, progress: str = ""
) -> list[Grade]:
    """Grades of (task, response) items, in their order; concurrent within the chat's bound.

    Args:
        progress: label of a progress bar on a terminal; none when empty.
    """
    from tqdm import tqdm

    bar = tqdm(total=len(items), desc=progress, unit="grade", disable=None if progress else True)

    async def one(task: Task, response: str) -> Grade:
        grade = await judge.grade(task, response, arm)
        bar.update()
        return grade

    try:
        return await together(one(task, response) for task, response in items)
    finally:
        bar.close()
