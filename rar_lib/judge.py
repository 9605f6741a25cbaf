"""Grading: a task, a response and an arm become a grade.

    judge = Judge(chat)
    grade = await judge.grade(task, "Ice floats because ...", "implicit")

One coroutine is the heart, everything else in the library is a loop around it. A judge
fault (busy endpoint, unreadable reply) never raises and never becomes a number: the grade
is unscored with a reason.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from rar_lib.chat import Chat, Message, Reply
from rar_lib.errors import DataError, JudgeFault
from rar_lib.prompts import fence, fill, visible
from rar_lib.rubric import PAPER_WEIGHTS, PREDEFINED, UNIFORM_WEIGHTS, Weights, render
from rar_lib.scoring import expected_rating, explicit_score, normalise_rating
from rar_lib.types import Arm, Criterion, Grade, Rubric, Task, Usage, Verdict

Reading = Literal["probability", "sampled"]

#: Below this mass on readable tokens the judge did not answer the question.
MIN_MASS = 0.01
#: The one-token reading of "10" needs a second look at what follows "1".
_TEN_FOLLOWS = 0.005
_RE_ASKS = 2
_VERDICT_SCHEMA = {
    "type": "object",
    "properties": {"met": {"type": "boolean"}},
    "required": ["met"],
    "additionalProperties": False,
}
_RATING_SCHEMA = {
    "type": "object",
    "properties": {"rating": {"type": "integer", "minimum": 1, "maximum": 10}},
    "required": ["rating"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Judge:
    """A model that grades.

    Attributes:
        chat: the model.
        reading: ``sampled`` is the paper's way, a JSON reply with a boolean or an integer.
            ``probability`` asks for one token and takes the expected verdict or rating
            under the token probabilities: no ties, no unreadable replies, one token.
        weights: category weights of the explicit arm.
    """

    chat: Chat
    reading: Reading = "probability"
    weights: Weights = field(default_factory=lambda: PAPER_WEIGHTS)

    async def grade(self, task: Task, response: str, arm: Arm) -> Grade:
        """The reward of one response.

        Raises:
            DataError: the arm needs a rubric or a reference that the task does not have.
            ChatError: the endpoint itself is wrong, so no response could ever be graded.
        """
        if not visible(response).strip():
            return Grade(arm=arm, score=None, reason="the response is empty")
        if arm == "explicit":
            return await self._by_criteria(task, response, arm, _rubric(task), self.weights)
        if arm == "predefined":
            return await self._by_criteria(task, response, arm, PREDEFINED, UNIFORM_WEIGHTS)
        return await self._by_rating(task, response, arm)

    async def _by_criteria(
        self, task: Task, response: str, arm: Arm, rubric: Rubric, weights: Weights
    ) -> Grade:
        """Eq. 1: every criterion is judged on its own; the response is their shared prefix."""
        judged = await asyncio.gather(
            *(self._verdict(task, response, criterion) for criterion in rubric.criteria)
        )
        verdicts = tuple(verdict for verdict, _ in judged)
        usage = sum((use for _, use in judged), Usage())
        values: dict[str, bool | float | None] = {
            v.criterion_id: v.met if v.probability is None else v.probability for v in verdicts
        }
        score = explicit_score(rubric, values, weights)
        failed = [f"{v.criterion_id}: {v.reason}" for v in verdicts if v.met is None]
        return Grade(
            arm=arm, score=score, verdicts=verdicts, reason="; ".join(failed) or None, usage=usage
        )

    async def _verdict(
        self, task: Task, response: str, criterion: Criterion
    ) -> tuple[Verdict, Usage]:
        def messages(answer_format: str) -> list[Message]:
            return _messages(
                "judge_explicit",
                question=fence(task.question),
                response=fence(response),
                criterion=visible(criterion.description),
                answer_format=fill(answer_format),
            )

        try:
            if self.reading == "sampled":
                value, usage = await self._ask_json(
                    messages("format_verdict_json"), "met", _VERDICT_SCHEMA, bool
                )
                return Verdict(criterion_id=criterion.id, met=value), usage
            reply = await self.chat.complete(
                messages("format_verdict_token"), max_tokens=1, top_logprobs=20
            )
            p = yes_probability(reply.first_token)
            return Verdict(criterion_id=criterion.id, met=p > 0.5, probability=p), reply.usage
        except JudgeFault as fault:
            return Verdict(criterion_id=criterion.id, met=None, reason=str(fault)), Usage(calls=1)

    async def _by_rating(self, task: Task, response: str, arm: Arm) -> Grade:
        """Eq. 2 and the Likert baselines: one rating of the whole response."""
        values = {"question": fence(task.question), "response": fence(response)}
        if arm == "implicit":
            values["rubric"] = visible(render(_rubric(task)))
        if arm == "reference_likert":
            if task.reference is None:
                raise DataError(f"task {task.id!r} has no reference: reference_likert needs one")
            values["reference"] = fence(task.reference)
        try:
            if self.reading == "sampled":
                ask = _messages(f"judge_{arm}", **values, answer_format=fill("format_rating_json"))
                rating, usage = await self._ask_json(ask, "rating", _RATING_SCHEMA, int)
                if not 1 <= rating <= 10:
                    raise JudgeFault(f"rating {rating} is outside 1..10")
            else:
                ask = _messages(f"judge_{arm}", **values, answer_format=fill("format_rating_token"))
                rating, usage = await self._expected_rating(ask)
        except JudgeFault as fault:
            return Grade(arm=arm, score=None, reason=str(fault), usage=Usage(calls=1))
        return Grade(arm=arm, score=normalise_rating(rating), rating=rating, usage=usage)

    async def _expected_rating(self, ask: list[Message]) -> tuple[float, Usage]:
        reply = await self.chat.complete(ask, max_tokens=1, top_logprobs=20)
        mass = rating_probabilities(reply.first_token)
        if 10 in mass or mass.get(1, 0.0) < _TEN_FOLLOWS or not self.chat.local:
            return expected_rating(mass), reply.usage
        # Digit tokenisers spell 10 as "1", "0": split the mass of "1" by what would follow.
        after = await self.chat.complete(ask, max_tokens=1, top_logprobs=20, prefill="1")
        zero = sum(p for token, p in after.first_token.items() if token.strip() == "0")
        mass[10] = mass[1] * zero
        mass[1] -= mass[10]
        return expected_rating(mass), reply.usage + after.usage

    async def _ask_json(
        self, ask: list[Message], key: str, schema: dict[str, Any], kind: type
    ) -> tuple[Any, Usage]:
        """A schema-constrained reply, validated all the same, re-asked a few times."""
        usage, fault = Usage(), ""
        for seed in range(_RE_ASKS + 1):
            reply = await self.chat.complete(
                ask, max_tokens=24, schema=schema, seed=seed, temperature=0.0 if not seed else 0.7
            )
            usage += reply.usage
            try:
                return parse_reply(reply, key, kind), usage
            except JudgeFault as error:
                fault = str(error)
        raise JudgeFault(f"no readable reply in {_RE_ASKS + 1} tries: {fault}")


def yes_probability(first_token: Mapping[str, float]) -> float:
    """P(yes) / (P(yes) + P(no)) from first-token probabilities, case and spaces ignored.

    Raises:
        JudgeFault: less than ``MIN_MASS`` on yes and no together.
    """
    yes = sum(p for token, p in first_token.items() if token.strip().lower() == "yes")
    no = sum(p for token, p in first_token.items() if token.strip().lower() == "no")
    if yes + no < MIN_MASS:
        raise JudgeFault(f"only {yes + no:.4f} of the probability is on yes or no")
    return min(1.0, yes / (yes + no))


def rating_probabilities(first_token: Mapping[str, float]) -> dict[int, float]:
    """Mass on each rating 1..10 that is spelt by a single token.

    Raises:
        JudgeFault: less than ``MIN_MASS`` on all of them together.
    """
    mass: dict[int, float] = {}
    for token, p in first_token.items():
        text = token.strip()
        if text.isascii() and text.isdigit() and text == str(int(text)) and 1 <= int(text) <= 10:
            mass[int(text)] = mass.get(int(text), 0.0) + p
    if sum(mass.values()) < MIN_MASS:
        raise JudgeFault(f"only {sum(mass.values()):.4f} of the probability is on 1..10")
    return mass


def parse_reply(reply: Reply, key: str, kind: type) -> Any:
    """The value of ``key`` in a reply that is one JSON object with that key alone.

    Raises:
        JudgeFault: cut off, not JSON, duplicate or other keys, or a value of another type
            (``"true"`` is not a boolean, ``true`` is not an integer).
    """
    if reply.finish_reason == "length":
        raise JudgeFault("the reply was cut off")

    def unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        if len({k for k, _ in pairs}) != len(pairs):
            raise JudgeFault("the reply repeats a key")
        return dict(pairs)

    try:
        value = json.loads(reply.text, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise JudgeFault(f"the reply is not JSON: {visible(reply.text)[:80]!r}") from error
    if not isinstance(value, dict) or set(value) != {key} or type(value[key]) is not kind:
        raise JudgeFault(
            f"expected one {kind.__name__} named {key!r}, got {visible(reply.text)[:80]!r}"
        )
    return value[key]


def _rubric(task: Task) -> Rubric:
    if task.rubric is None:
        raise DataError(f"task {task.id!r} has no rubric: write one, or run `rar synthesize`")
    return task.rubric


def _messages(name: str, **values: str) -> list[Message]:
    return [
        {"role": "system", "content": fill("judge_system")},
        {"role": "user", "content": fill(name, **values)},
    ]


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
        return await asyncio.gather(*(one(task, response) for task, response in items))
    finally:
        bar.close()
