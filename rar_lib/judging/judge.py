"""The judge: a response to a task becomes a grade.

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
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from numbers import Real
from typing import Any, Literal, TypeVar, get_args

from rar_lib.core.errors import DataError, JudgeFault
from rar_lib.core.files import digest
from rar_lib.core.prompts import fill
from rar_lib.core.scoring import (
    LARGEST_WEIGHT,
    PAPER_WEIGHTS,
    PREDEFINED,
    UNIFORM_WEIGHTS,
    Weighing,
    Weights,
    check_weights,
    expected_rating,
    explicit_score,
    met_by_silence,
    normalise_rating,
    weight_of,
)
from rar_lib.core.stats import mean_scored
from rar_lib.core.text import is_blank, visible
from rar_lib.core.types import (
    Arm,
    Category,
    Criterion,
    Grade,
    Rubric,
    Task,
    Usage,
    Verdict,
    arm_named,
)
from rar_lib.judging.calibration import Calibration, Identity, apply
from rar_lib.judging.chat import Chat, together
from rar_lib.judging.messages import JudgeMessages, Messages, Reading, rubric_of
from rar_lib.judging.reading import (
    LEAST_SHARE,
    RATING_TOKENS,
    TOO_ALIKE,
    VERDICT_TOKENS,
    Expected,
    Ratings,
    Unanswered,
    after_thoughts,
    parse_reply,
    ratings,
    spelling,
    yes_probability,
    zero_follows,
)
from rar_lib.judging.wire import Message, NoProbabilities, Reply, Token

T = TypeVar("T")
#: ``auto`` reads probabilities where the endpoint gives them, and else samples.
ReadingChoice = Literal["auto", "probability", "sampled"]
_log = logging.getLogger(__name__)
#: Alternatives of a token that are asked for.
_ALTERNATIVES = 20
#: Tokens of a sampled answer.
_SAMPLED_TOKENS = 24
_RE_ASKS = 2
_ONE_KEY = {"type": "object", "additionalProperties": False}
_MET = {"met": {"type": "boolean"}}
_RATING = {"rating": {"type": "integer", "minimum": 1, "maximum": 10}}
_VERDICT_SCHEMA = _ONE_KEY | {"properties": _MET, "required": ["met"]}
_RATING_SCHEMA = _ONE_KEY | {"properties": _RATING, "required": ["rating"]}


@dataclass(frozen=True)
class Asked:
    """One question to a judge, and the reply that its answer is read from.

    Attributes:
        messages: the conversation, as sent.
        begun: what was put into the judge's mouth; empty for a judge that answers by itself.
        criterion: that the question is about; ``None`` for a rating.
    """

    messages: list[Message]
    begun: str
    reply: Reply
    criterion: Criterion | None = None

    @property
    def place(self) -> Token:
        """The first token that says something, with its alternatives; the answer stands there.

        A verdict or rating also counts what might have been said in the place of white space
        before it (:func:`rar_lib.judging.reading.yes_probability`).
        """
        tokens = after_thoughts(self.reply.tokens)
        return next((token for token in tokens if spelling(token.text)), tokens[0])

    @property
    def answers(self) -> dict[str, float]:
        """Of the alternatives at that place those that answer the question."""
        known = {str(n) for n in range(1, 11)} if self.criterion is None else {"yes", "no"}
        return {text: p for text, p in self.place.alternatives.items() if spelling(text) in known}


@dataclass(frozen=True)
class Judge:
    """A model that grades.

    Attributes:
        chat: the model.
        reading: ``sampled`` is the paper's way, a JSON reply with a boolean or an integer.
            ``probability`` takes the expected verdict or rating under the probabilities of the
            first tokens: no ties, few tokens. ``auto`` does so where the endpoint gives
            probabilities, and samples where it does not, which it says once.
        weights: category weights of the explicit arm; ``"points"`` weighs each criterion by the
            size of its own points instead, which all of a rubric must then have.
        messages: what is asked, in which words; an object of your own asks something else
            (:class:`rar_lib.judging.messages.JudgeMessages`).
        calibration: turns yes-probabilities into calibrated ones; a verdict is met above 0.5.
        temperature, seed: of the sampled reading; another seed is an independent second answer.
        least_share: a verdict or rating is unscored when less than this share of the judge's
            probability lies on readable answers.

    Raises:
        DataError: the calibration is another judge's, the reading has no probability, or the
            weights make no score.
    """

    chat: Chat
    reading: ReadingChoice = "auto"
    weights: Weighing = field(default_factory=lambda: PAPER_WEIGHTS)
    messages: JudgeMessages = field(default_factory=Messages)
    calibration: Calibration | None = None
    temperature: float = 0.0
    seed: int = 0
    least_share: float = LEAST_SHARE

    def __post_init__(self) -> None:
        if self.reading not in get_args(ReadingChoice):
            allowed = ", ".join(get_args(ReadingChoice))
            raise DataError(f"no reading {self.reading!r}; allowed: {allowed}")
        if not 0.0 <= self.least_share <= 1.0:
            raise DataError(f"least_share is {self.least_share}; it must be in [0, 1]")
        if self.weights != "points":
            check_weights(_numbers(self.weights))
        if self.calibration:
            self.calibration.check(self.identity)
            if self.reading == "sampled":
                raise DataError("a sampled verdict has no probability: leave calibration out")

    @cached_property
    def identity(self) -> Identity:
        """What a calibration of this judge is tied to."""
        chat = self.chat
        return Identity.of(
            chat.model,
            chat.weights or chat.where,
            self.messages,
            dialect=digest(chat.declared) if chat.declared else "",
            engine=chat.engine,
        )

    @property
    def made_of(self) -> dict[str, Any]:
        """All that can change a grade, as JSON: part of the identity of a run.

        A judge or a weighting of your own is known by its name and its fields, not by its code.
        """
        own = [field.name for field in fields(self) if field.name not in ("chat", "messages")]
        kind = type(self)
        return {
            "kind": f"{kind.__module__}.{kind.__qualname__}",
            "identity": self.identity.model_dump(),
            "settings": {name: str(getattr(self, name)) for name in own},
        }

    async def grade(self, task: Task, response: str, arm: Arm) -> Grade:
        """The reward of one response.

        An empty response is a response, of which nobody is asked: its rating is 1, and it meets no
        criterion but one that is worded as a failure to say something ("Does not mention X", "Fails
        to warn of Y"), which silence commits (:func:`rar_lib.core.scoring.met_by_silence`).

        Raises:
            DataError: the arm needs a rubric or a reference that the task does not have, no
                criterion of the rubric has a weight or one lacks the points that it is weighed by,
                there is no such arm, or the response is no text.
            ChatError: the endpoint itself is wrong, so no response could ever be graded.
            ServerError: the local server did not start, or has ended since.
        """
        _check_asked(task, response, arm)
        if arm == "explicit":
            return await self._by_criteria(task, response, arm, rubric=rubric_of(task))
        if arm == "predefined":
            return await self._by_criteria(
                task, response, arm, rubric=PREDEFINED, weights=UNIFORM_WEIGHTS
            )
        return await self._by_rating(task, response, arm)

    @property
    def read_as(self) -> Reading:
        """The reading, where ``auto`` has been decided by what the endpoint gives."""
        if self.reading == "auto":
            return "probability" if self.chat.speaks.alternatives else "sampled"
        return self.reading

    async def asked(self, task: Task, response: str, arm: Arm) -> list[Asked]:
        """The questions behind a grade, and the replies that it is read from.

        For a person who wants to see both; it costs what the grade costs, and nothing where the
        calls are recorded. Probabilities are the judge's own, before a calibration.

        Returns:
            One for each criterion, or one for a rating; none for an empty response, whose grade
            asks nobody.

        Raises:
            DataError: the arm needs a rubric or a reference that the task does not have, there is
                no such arm, the response is no text, or the endpoint gives no probabilities.
            JudgeFault: a reply can't be read.
        """
        _check_asked(task, response, arm)
        asks: list[tuple[list[Message], Criterion | None]]
        if arm in ("explicit", "predefined"):
            rubric = PREDEFINED if arm == "predefined" else rubric_of(task)
            asks = [
                (self.messages.criterion(task, response, criterion, "probability"), criterion)
                for criterion in rubric.criteria
            ]
        else:
            asks = [(self.messages.rating(task, response, arm, "probability"), None)]
        if is_empty(response):
            return []
        return await together(self._asked(ask, criterion) for ask, criterion in asks)

    async def _asked(self, ask: list[Message], criterion: Criterion | None) -> Asked:
        lead = self._lead("verdict" if criterion else "rating")
        read, tokens = (self._yes, VERDICT_TOKENS) if criterion else (self._ratings, RATING_TOKENS)
        reply = await self._likely(_Calls(self.chat), ask, read, tokens, lead)
        if reply is None or not reply.tokens:
            raise DataError(
                f"{self.chat.where} gives no probabilities for {self.chat.model!r}: there is no "
                "token to be shown"
            )
        return Asked(ask, lead, reply, criterion)

    async def _by_criteria(
        self,
        task: Task,
        response: str,
        arm: Arm,
        *,
        rubric: Rubric,
        weights: Weighing | None = None,
    ) -> Grade:
        """Eq. 1: every criterion is judged on its own; the response is their shared prefix."""
        weights = weights or self.weights
        _check_weighed(task, rubric, weights)
        if is_empty(response):
            judged = [(_of_silence(criterion), Usage()) for criterion in rubric.criteria]
        else:
            judged = await together(
                self._verdict(task, response, criterion) for criterion in rubric.criteria
            )
        verdicts = tuple(verdict for verdict, _ in judged)
        usage = sum((use for _, use in judged), Usage())
        values = {verdict.criterion_id: verdict.value for verdict in verdicts}
        score = explicit_score(rubric, values, weights)
        failed = [
            f"{verdict.criterion_id}: {verdict.reason}"
            for verdict in verdicts
            if verdict.met is None
        ]
        return Grade(
            arm=arm,
            score=score,
            verdicts=verdicts,
            share=mean_scored(verdict.share for verdict in verdicts),
            reason="; ".join(failed) or None,
            usage=usage,
        )

    async def _verdict(
        self, task: Task, response: str, criterion: Criterion
    ) -> tuple[Verdict, Usage]:
        calls = _Calls(self.chat)
        try:
            if self.read_as == "probability":
                ask = self.messages.criterion(task, response, criterion, "probability")
                found = await self._expected_verdict(calls, ask)
                if found is not None:
                    p = found.value
                    if self.calibration:
                        p = float(apply(self.calibration, p, self.identity))
                    return Verdict(
                        criterion_id=criterion.id, met=p > 0.5, probability=p, share=found.share
                    ), calls.usage
            ask = self.messages.criterion(task, response, criterion, "sampled")
            value = await self._ask_json(calls, ask, "met", _VERDICT_SCHEMA, bool)
            return Verdict(criterion_id=criterion.id, met=value), calls.usage
        except JudgeFault as fault:
            return Verdict(
                criterion_id=criterion.id, met=None, share=_share_of(fault), reason=str(fault)
            ), calls.usage

    async def _by_rating(self, task: Task, response: str, arm: Arm) -> Grade:
        """Eq. 2 and the Likert baselines: one rating of the whole response."""
        asked = self.messages.rating(task, response, arm, self.read_as)
        if is_empty(response):  # it is a response, and the worst
            return Grade(arm=arm, score=normalise_rating(1.0), rating=1.0)
        calls = _Calls(self.chat)
        share = None
        try:
            found = None
            if self.read_as == "probability":
                found = await self._expected_rating(calls, asked)
            if found is None:
                ask = self.messages.rating(task, response, arm, "sampled")
                rating = await self._ask_json(calls, ask, "rating", _RATING_SCHEMA, int)
                if not 1 <= rating <= 10:
                    raise JudgeFault(f"rating {str(rating)[:20]} is outside 1..10")
            else:
                rating = found.value
                share = found.share
        except JudgeFault as fault:
            return Grade(
                arm=arm, score=None, share=_share_of(fault), reason=str(fault), usage=calls.usage
            )
        return Grade(
            arm=arm, score=normalise_rating(rating), rating=rating, share=share, usage=calls.usage
        )

    async def _expected_verdict(self, calls: _Calls, ask: list[Message]) -> Expected | None:
        """The verdict by probabilities; ``None`` where ``auto`` finds that there are none."""
        lead = self._lead("verdict")
        reply = await self._likely(calls, ask, self._yes, VERDICT_TOKENS, lead)
        return self._yes(reply) if reply else None

    async def _expected_rating(self, calls: _Calls, ask: list[Message]) -> Expected | None:
        """The rating by probabilities; ``None`` where ``auto`` finds that there are none."""
        lead = self._lead("rating")
        reply = await self._likely(calls, ask, self._ratings, RATING_TOKENS, lead)
        if reply is None:
            return None
        found = self._ratings(reply)
        if found.unclear:  # "1" was not what it wrote, so the reply does not show what follows it
            found = found.split(await self._zero_after_one(calls, ask, lead))
        return Expected(expected_rating(found.mass), found.share)

    def _lead(self, answer: Literal["verdict", "rating"]) -> str:
        """How the judge's turn is begun for it; nothing for a judge that answers by itself."""
        said = self.chat.speaks
        return fill(f"lead_{answer}") if said.lead and said.prefill is not None else ""

    async def _zero_after_one(self, calls: _Calls, ask: list[Message], lead: str) -> float:
        """Probability that a 1, put into the judge's mouth, goes on as a 10."""

        def read(reply: Reply) -> float:
            return zero_follows(reply.tokens)

        try:
            begun = f"{lead} 1".strip()
            return read(await self._with_alternatives(calls, ask, read, 1, begun))
        except JudgeFault as fault:
            raise JudgeFault(f"{TOO_ALIKE} ({fault}): use Judge(reading='sampled')") from fault

    async def _likely(
        self,
        calls: _Calls,
        ask: list[Message],
        read: Callable[[Reply], object],
        tokens: int,
        begun: str,
    ) -> Reply | None:
        """A reply with probabilities; ``None`` where ``auto`` has to sample."""
        try:
            reply = await self._with_alternatives(calls, ask, read, tokens, begun)
        except NoProbabilities:
            if self.reading == "auto":
                return None
            raise
        if reply.withheld:
            raise JudgeFault(visible(reply.withheld))
        if reply.tokens or self.reading != "auto":
            return reply
        self.chat.without_probabilities()
        return None

    async def _with_alternatives(
        self,
        calls: _Calls,
        ask: list[Message],
        read: Callable[[Reply], object],
        tokens: int,
        begun: str,
    ) -> Reply:
        return await calls.complete(
            ask, read, max_tokens=tokens, top_logprobs=_ALTERNATIVES, prefill=begun
        )

    def _yes(self, reply: Reply) -> Expected:
        return yes_probability(reply.tokens, self.least_share, thinks=reply.thoughts_alone)

    def _ratings(self, reply: Reply) -> Ratings:
        ended = reply.finish_reason != "length"
        thinks = reply.thoughts_alone
        return ratings(reply.tokens, self.least_share, ended=ended, thinks=thinks)

    async def _ask_json(
        self, calls: _Calls, ask: list[Message], key: str, schema: dict[str, Any], kind: type
    ) -> Any:
        """A schema-constrained reply, validated all the same, re-asked a few times."""
        fault = ""
        for n in range(_RE_ASKS + 1):
            seed = _seed(ask, self.seed * (_RE_ASKS + 1) + n)
            warmth = max(self.temperature, 0.7) if n else self.temperature
            read: Callable[[Reply], Any] = lambda reply: parse_reply(reply, key, kind)  # noqa: E731
            reply = await calls.complete(
                ask,
                read,
                max_tokens=_SAMPLED_TOKENS,
                schema=schema,
                seed=seed,
                temperature=warmth,
            )
            if reply.withheld:
                raise JudgeFault(visible(reply.withheld))
            try:
                return read(reply)
            except JudgeFault as error:
                fault = str(error)
        why = (
            " (sampled: the endpoint gives no log-probabilities)" if self.reading == "auto" else ""
        )
        mend = (
            "a larger model keeps to the form"
            if self.chat.speaks.structure == "schema"
            else "Dialect(structure='schema') makes it keep to the form, or 'json', where the "
            "endpoint takes one"
        )
        raise JudgeFault(f"no readable reply in {_RE_ASKS + 1} tries: {fault}{why}; {mend}")


def _numbers(weights: object) -> Weights:
    """A table of numbers by category.

    Raises:
        DataError: it is none; what was found is named.
    """
    names = ", ".join(Category)
    if not isinstance(weights, Mapping):
        found = repr(weights) if isinstance(weights, str) else type(weights).__name__
        raise DataError(
            f"weights is {found}; allowed: a number for each of {names}, or 'points', which weighs "
            "each criterion by its own"
        )
    if unknown := [name for name in weights if name not in set(Category)]:
        raise DataError(f"weights names {unknown[0]!r}; the categories are {names}")
    for name, weight in weights.items():
        if not isinstance(weight, Real) or float(weight) > LARGEST_WEIGHT:
            raise DataError(
                f"the weight of {name} is {weight!r}; it must be a number of 0 or more, at most "
                f"{LARGEST_WEIGHT:g}"
            )
    return weights


def is_empty(response: str) -> bool:
    """Whether a response has no character that a reader would see."""
    return is_blank(response)


def _of_silence(criterion: Criterion) -> Verdict:
    met = met_by_silence(criterion)
    return Verdict(criterion_id=criterion.id, met=met, probability=float(met))


def _check_asked(task: Task, response: object, arm: str) -> None:
    """Refuse what nobody could be asked about.

    Raises:
        DataError: there is no such arm, or the response is no text.
    """
    arm_named(arm)
    if not isinstance(response, str):
        raise DataError(
            f"the response to task {task.id!r} is {type(response).__name__}, not text: leave "
            "it out where there is none, or give '' for one that says nothing"
        )


def _check_weighed(task: Task, rubric: Rubric, weights: Weighing) -> None:
    """Refuse a rubric of which these weights make no score, before anybody is paid.

    Raises:
        DataError: none of its criteria has a weight, or one lacks the points it is weighed by.
    """
    if weights == "points":
        _check_points(task, rubric)
    if not any(weight_of(criterion, weights) > 0 for criterion in rubric.criteria):
        found = ", ".join(sorted({criterion.category for criterion in rubric.criteria}))
        mend = "a criterion points" if weights == "points" else "one of its categories a weight"
        raise DataError(
            f"every criterion of task {task.id!r} weighs 0 ({found}): give {mend}, "
            "Judge(weights=...), or leave the task out"
        )


def _check_points(task: Task, rubric: Rubric) -> None:
    """Refuse a rubric that can't be weighed by points.

    Raises:
        DataError: a criterion has none, or what is no weight.
    """
    points = {criterion.id: criterion.points for criterion in rubric.criteria}
    if without := [name for name, value in points.items() if value is None]:
        raise DataError(
            f"task {task.id!r}: criteria {', '.join(without)} have no points, by which they would "
            "be weighed: give every criterion points, or weigh by category, without "
            "weights='points'"
        )
    for name, value in points.items():
        if value is not None and not abs(value) <= LARGEST_WEIGHT:  # not a number, too
            raise DataError(
                f"task {task.id!r}: the points of criterion {name} are {value}; they must be a "
                f"number, at most {LARGEST_WEIGHT:g}"
            )


def _share_of(fault: JudgeFault) -> float | None:
    return fault.share if isinstance(fault, Unanswered) else None


@dataclass
class _Calls:
    """The calls of one verdict or rating: what came back unreadable was paid for, too."""

    chat: Chat
    usage: Usage = field(default_factory=Usage)

    async def complete(
        self, ask: list[Message], read: Callable[[Reply], object], **settings: Any
    ) -> Reply:
        try:
            reply = await self.chat.complete(ask, read=read, **settings)
        except NoProbabilities:  # nothing was asked
            raise
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
