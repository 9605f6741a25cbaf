"""One's own responses, graded one row each.

    tasks = load_questions("tasks.jsonl").items
    responses = load_responses("responses.csv", tasks).items
    grades = await grade_responses(judge, tasks, responses, "explicit")
    save_grades("grades.jsonl", grades)      # pandas.read_json("grades.jsonl", lines=True)

A row holds the verdicts with their criteria, so that the summaries below need nothing else. An
unscored response has ``None`` for its score and a reason; it is in no mean, and always counted.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from rar_lib.core.errors import DataError
from rar_lib.core.files import UNCHANGED, save_text
from rar_lib.core.scoring import PREDEFINED
from rar_lib.core.stats import Interval, cluster_share, scored
from rar_lib.core.text import THOUGHTS, without_thoughts
from rar_lib.core.types import (
    Arm,
    Category,
    Frozen,
    Grade,
    Polarity,
    Rubric,
    Task,
    Unit,
    Usage,
    arm_named,
)
from rar_lib.data.jsonl import Problem, raw_lines, read
from rar_lib.data.questions import Response
from rar_lib.judging.chat import Chat, Lasting
from rar_lib.judging.cost import Work, grading_work
from rar_lib.judging.judge import Judge, grade_many, is_empty
from rar_lib.judging.messages import Reading
from rar_lib.judging.reading import RATING_TOKENS, VERDICT_TOKENS

_log = logging.getLogger(__name__)
#: What a task must have for an arm, and what to do where it has not.
_NEEDS: dict[Arm, tuple[str, str]] = {
    "explicit": ("rubric", "rar synthesize writes one; or grade without: --arm direct_likert"),
    "implicit": ("rubric", "rar synthesize writes one; or grade without: --arm direct_likert"),
    "reference_likert": ("reference", "add one; or grade without: --arm direct_likert"),
}
#: Tokens of a sampled reply such as ``{"met": true}``.
_SAMPLED_REPLY = 8


class GradedCriterion(Frozen):
    """A verdict with its criterion; ``met is None`` means unscored, with the reason.

    Attributes:
        probability: that it is met, where the judge was read so.
        share: of the judge's probability, what lay on yes and no.
    """

    criterion: str
    title: str
    description: str
    category: Category
    polarity: Polarity
    met: bool | None
    probability: Unit | None = None
    share: Unit | None = None
    reason: str | None = None

    @property
    def credit(self) -> float | None:
        """How far the verdict speaks for the response, in [0, 1] (``g_j`` of Eq. 1)."""
        if self.met is None:
            return None
        value = float(self.met) if self.probability is None else self.probability
        return value if self.polarity is Polarity.GOOD else 1.0 - value


class GradedResponse(Frozen):
    """One row of a file of grades; all but the verdicts are plain values.

    Attributes:
        task, response: ids; together they occur once.
        score: the reward in [0, 1], ``None`` where it could not be graded.
        rating: 1 to 10, of the arms that rate.
        share: of the judge's probability, what lay on readable answers.
        reason: why there is no score.
        seconds: of all requests added up (they overlap); of one on record, what it took then.
        money: at the price that the chat was given; ``None`` without one.
        judge, judge_weights, judge_wording, judge_prompt: the identity of the judge
            (:class:`rar_lib.judging.calibration.Identity`).
        reading: by probability or sampled.
        calibrated: whether the probabilities were moved by a calibration of the judge.
    """

    task: str
    response: str
    arm: Arm
    score: Unit | None
    rating: float | None = None
    share: Unit | None = None
    reason: str | None = None
    verdicts: tuple[GradedCriterion, ...] = ()
    calls: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    seconds: float
    money: float | None = None
    judge: str
    judge_weights: str
    judge_wording: str
    judge_prompt: str
    reading: Reading
    calibrated: bool = False


def gradable(
    tasks: Sequence[Task], responses: Sequence[Response], arm: Arm
) -> tuple[list[Response], list[Problem]]:
    """The responses that this arm can grade, and a problem for each task whose others it can't.

    Raises:
        DataError: there is no such arm.
    """
    arm_named(arm)
    by_id = {task.id: task for task in tasks}
    fit: list[Response] = []
    unfit: dict[str, list[Response]] = {}
    need, mend = _NEEDS.get(arm, ("", ""))
    for response in responses:
        task = by_id.get(response.task)
        if task is not None and (not need or getattr(task, need) is not None):
            fit.append(response)
        else:
            unfit.setdefault(response.task, []).append(response)
    problems = []
    for name, left in unfit.items():
        what = f"task {name!r} has no {need}, which arm {arm} grades by"
        advice = mend
        if name not in by_id:
            what = f"task {name!r} is none of the {len(by_id)} tasks"
            advice = "add it, or correct it"
        more = f" ({len(left)} responses)" if len(left) > 1 else ""
        problems.append(Problem(left[0].line, "", f"{what}{more}", "", mend=advice))
    return fit, problems


async def grade_responses(
    judge: Judge,
    tasks: Sequence[Task],
    responses: Sequence[Response],
    arm: Arm,
    *,
    thoughts: Sequence[str] = THOUGHTS,
    progress: str = "",
) -> list[GradedResponse]:
    """A grade for each response, in their order; concurrent within the chat's bound.

    The judge is shown what comes behind the thoughts of a reasoning model, as in training
    (:class:`rar_lib.RubricReward`); how many say nothing there, and so are empty, is logged.

    With a cassette in the judge's chat every reply is on record as it comes: when the endpoint
    fails for good, what had been sent is waited for, the error is raised, and the next run asks
    only for the rest.

    Args:
        thoughts: names of the tags around what is thought and not said; ``()`` shows everything.
        progress: label of a progress bar on a terminal; none when empty.

    Raises:
        DataError: a response to an unknown task, or the arm needs what its task does not have
            (:func:`gradable` finds them beforehand).
        ChatError, ServerError, CassetteError: the endpoint or the record itself is wrong.
    """
    _, problems = gradable(tasks, responses, arm)
    if problems:
        more = f", and {len(problems) - 1} more tasks" if len(problems) > 1 else ""
        raise DataError(f"{problems[0]}{more}")
    by_id = {task.id: task for task in tasks}
    lasting = Lasting.of(judge.chat)
    patient = replace(judge, chat=lasting)
    grades = await grade_many(patient, _said(by_id, responses, thoughts), arm, progress=progress)
    lasting.check_whole()
    return [
        _row(patient, by_id[response.task], response, grade)
        for response, grade in zip(responses, grades, strict=True)
    ]


def _said(
    by_id: Mapping[str, Task], responses: Iterable[Response], thoughts: Sequence[str]
) -> list[tuple[Task, str]]:
    """Each task with what its response says behind its thoughts."""
    items = []
    silent = 0
    for response in responses:
        text = without_thoughts(response.text, thoughts)
        silent += is_empty(text) and not is_empty(response.text)
        items.append((by_id[response.task], text))
    if silent:
        _log.warning("%d of %d responses say nothing behind their thoughts", silent, len(items))
    return items


def items_of(tasks: Sequence[Task], responses: Sequence[Response]) -> list[str]:
    """Each response with its task, as JSON: what another process grades by :func:`grade_items`."""
    by_id = {task.id: task.model_dump(mode="json") for task in tasks}
    return [json.dumps([by_id[response.task], asdict(response)]) for response in responses]


async def grade_items(
    chat: Chat,
    items: Sequence[str],
    *,
    judge: Mapping[str, Any],
    arm: Arm,
    thoughts: Sequence[str] = THOUGHTS,
) -> list[str]:
    """As :func:`grade_responses`, of items as JSON; a row of JSON for each, in their order.

    Args:
        judge: the fields of the judge besides its chat.
        thoughts: as there.

    Raises:
        ChatError, ServerError, CassetteError: the endpoint or the record itself is wrong.
    """
    pairs = [json.loads(item) for item in items]
    tasks = [Task.model_validate(task) for task, _ in pairs]
    responses = [Response(**response) for _, response in pairs]
    rows = await grade_responses(Judge(chat, **judge), tasks, responses, arm, thoughts=thoughts)
    return [row.model_dump_json() for row in rows]


def _row(judge: Judge, task: Task, response: Response, grade: Grade) -> GradedResponse:
    identity = judge.identity
    return GradedResponse(
        task=response.task,
        response=response.id,
        arm=grade.arm,
        score=grade.score,
        rating=grade.rating,
        share=grade.share,
        reason=grade.reason,
        verdicts=_verdicts(grade, PREDEFINED if grade.arm == "predefined" else task.rubric),
        **grade.usage.model_dump(),
        judge=identity.model,
        judge_weights=identity.weights,
        judge_wording=identity.wording,
        judge_prompt=identity.prompt,
        reading=judge.read_as,
        calibrated=judge.calibration is not None,
    )


def _verdicts(grade: Grade, rubric: Rubric | None) -> tuple[GradedCriterion, ...]:
    criteria = {criterion.id: criterion for criterion in rubric.criteria} if rubric else {}
    rows = []
    for verdict in grade.verdicts:
        criterion = criteria[verdict.criterion_id]
        rows.append(
            GradedCriterion(
                criterion=criterion.id,
                title=criterion.title,
                description=criterion.description,
                category=criterion.category,
                polarity=criterion.polarity,
                **verdict.model_dump(exclude={"criterion_id"}),
            )
        )
    return tuple(rows)


def responses_work(
    judge: Judge,
    tasks: Sequence[Task],
    responses: Iterable[Response],
    arm: Arm,
    *,
    thoughts: Sequence[str] = THOUGHTS,
) -> Work:
    """What grading them asks of the judge in its own messages; empty ones ask nothing.

    Written tokens are counted as far as they are let: all that a reading by probability may look
    at, and for a model that thinks all the room that its dialect gives it.
    """
    by_id = {task.id: task for task in tasks}
    said = [
        (by_id[response.task], without_thoughts(response.text, thoughts)) for response in responses
    ]
    return items_work(judge, said, arm)


def items_work(judge: Judge, items: Sequence[tuple[Task, str]], arm: Arm) -> Work:
    """As :func:`responses_work`, of (task, response) items."""
    work = grading_work([item for item in items if not is_empty(item[1])], arm, judge.messages)
    looked_at = VERDICT_TOKENS if arm in ("explicit", "predefined") else RATING_TOKENS
    written = looked_at if judge.read_as == "probability" else _SAMPLED_REPLY
    written += judge.chat.speaks.thinking
    return replace(work, completion_tokens=work.calls * written)


def save_grades(path: str | Path, grades: Sequence[GradedResponse]) -> None:
    """Write grades as JSON lines, whole or not at all.

    Raises:
        DataError: there are none, or the file could not be written.
    """
    if not grades:
        raise DataError(f"{path}: no grades to save")
    text = "".join(grade.model_dump_json() + "\n" for grade in grades)
    save_text(path, text, f"{UNCHANGED}: the calls are on record")


def load_grades(path: str | Path) -> list[GradedResponse]:
    """The rows of a file of grades.

    Raises:
        DataError: it can't be read, holds none, or a line is no grade.
    """
    rows = []
    for line, raw in raw_lines(read(Path(path))):
        try:
            rows.append(GradedResponse.model_validate_json(raw))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            field = ".".join(map(str, first["loc"])) or "(the whole line)"
            raise DataError(
                f"{path}, line {line}, field {field}: {first['msg']}; give a file that rar grade "
                "wrote"
            ) from error
    if not rows:
        raise DataError(f"{path} holds no grade; give a file that rar grade wrote")
    return rows


class Mean(NamedTuple):
    """A mean with its 95 % interval, and over how many values."""

    interval: Interval
    values: int

    def __str__(self) -> str:
        return str(self.interval)


class CriterionMean(NamedTuple):
    """One criterion over the responses that were graded by it."""

    criterion: GradedCriterion
    tasks: tuple[str, ...]
    credit: Mean


@dataclass(frozen=True)
class Unscored:
    """One reason, and the responses that it left without a score, as ``TASK/RESPONSE``."""

    reason: str
    responses: tuple[str, ...]


def mean_of(values: Sequence[float], tasks: Sequence[Hashable]) -> Mean:
    """The mean of values in [0, 1], with an interval over tasks; over the values of a single task.

    Raises:
        ValueError: no value.
    """
    units = tasks if len(set(tasks)) > 1 else range(len(values))
    return Mean(cluster_share(values, units), len(values))


def mean_score(grades: Sequence[GradedResponse]) -> Mean | None:
    """The mean score of those that have one; ``None`` if none has."""
    rows = [(grade.score, grade.task) for grade in grades if grade.score is not None]
    return mean_of([score for score, _ in rows], [task for _, task in rows]) if rows else None


def by_category(grades: Sequence[GradedResponse]) -> dict[Category, Mean]:
    """Mean credit of the verdicts of each category, unscored verdicts aside."""
    credits: dict[Category, list[float]] = {}
    tasks: dict[Category, list[str]] = {}
    for grade in grades:
        for verdict in grade.verdicts:
            if verdict.credit is not None:
                credits.setdefault(verdict.category, []).append(verdict.credit)
                tasks.setdefault(verdict.category, []).append(grade.task)
    return {name: mean_of(credits[name], tasks[name]) for name in Category if name in credits}


def by_criterion(grades: Sequence[GradedResponse]) -> list[CriterionMean]:
    """Mean credit of every criterion, the worst first; of equal ones that of more responses first.

    A criterion is told from others by its id and its sentence: one that several tasks share is
    taken together, and its interval is over tasks.
    """
    found: dict[tuple[str, str], list[tuple[str, GradedCriterion, float]]] = {}
    for grade in grades:
        for verdict in grade.verdicts:
            if verdict.credit is not None:
                key = (verdict.criterion, verdict.description)
                found.setdefault(key, []).append((grade.task, verdict, verdict.credit))
    means = []
    for rows in found.values():
        tasks = [task for task, _, _ in rows]
        credit = mean_of([value for _, _, value in rows], tasks)
        means.append(CriterionMean(rows[0][1], tuple(dict.fromkeys(tasks)), credit))
    return sorted(means, key=lambda mean: (mean.credit.interval.value, -mean.credit.values))


def unscored(grades: Sequence[GradedResponse]) -> list[Unscored]:
    """Why responses have no score, the commonest reason first; one response may have several."""
    found: dict[str, dict[str, None]] = {}
    for grade in grades:
        if grade.score is not None:
            continue
        reasons = [verdict.reason for verdict in grade.verdicts if verdict.met is None]
        reasons = reasons or [grade.reason]
        for reason in reasons:
            label = f"{grade.task}/{grade.response}"
            found.setdefault(reason or "no reason given", {})[label] = None
    rows = [Unscored(reason, tuple(labels)) for reason, labels in found.items()]
    return sorted(rows, key=lambda row: -len(row.responses))


def total_usage(grades: Iterable[GradedResponse]) -> Usage:
    """What all grades cost together."""
    names = set(Usage.model_fields)
    return sum((Usage(**grade.model_dump(include=names)) for grade in grades), Usage())


def readable_share(grades: Sequence[GradedResponse]) -> tuple[float, float] | None:
    """Mean and lowest share of readable answers; ``None`` where nothing was read so."""
    shares = scored(grade.share for grade in grades)
    return (math.fsum(shares) / len(shares), min(shares)) if shares else None
