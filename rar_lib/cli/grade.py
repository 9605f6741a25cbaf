"""`rar grade`: responses of one's own graded by a local judge or an endpoint."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from rar_lib.cli import own
from rar_lib.core.errors import DataError, UnscoredError
from rar_lib.core.stats import MIN_UNITS
from rar_lib.core.types import ARMS, Arm, Task
from rar_lib.judging.chat import Chat, run_sync
from rar_lib.judging.cost import counted
from rar_lib.judging.judge import Judge, ReadingChoice
from rar_lib.models.catalogue import MODELS

if TYPE_CHECKING:
    from rar_lib.data.questions import Response
    from rar_lib.evaluation.grading import CriterionMean, GradedResponse

#: The judge of the laptop profile; another form of it where this processor is faster with that.
DEFAULT_JUDGE = "qwen-1.5b-int8"
DEFAULT_SAID = (
    f"Default: {DEFAULT_JUDGE}, or {MODELS[DEFAULT_JUDGE].base} where the processor has no int8."
)
#: Tokens that a local judge can read at least, and at most: its memory is taken beforehand.
_CONTEXT = (2048, 8192)
#: The arms that give verdicts on criteria, which a calibration moves.
BY_CRITERIA = ("explicit", "predefined")
#: Criteria, and reasons, that a table shows.
_ROWS = 12
_FOOT = (
    f"Units are tasks, or the responses where all are to one task. Fewer than {MIN_UNITS} units "
    "show no interval, only their number n. Unscored verdicts are in no mean."
)


def grade(
    tasks: Annotated[
        Path, typer.Argument(help="Tasks with rubrics; or GRADES, to look at with --table.")
    ],
    responses: Annotated[
        Path | None,
        typer.Argument(help="CSV, TSV, JSON lines or Parquet, one response a row."),
    ] = None,
    *,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Grades, one JSON line a response.")
    ] = None,
    arm: Annotated[str, typer.Option(help=f"How: {', '.join(ARMS)}.")] = "explicit",
    judge: Annotated[
        str | None,
        typer.Option(help=f"A model on this machine. {DEFAULT_SAID}"),
    ] = None,
    device: own.Device = "cpu",
    reading: own.ReadingName = "auto",
    calibration: Annotated[
        Path | None,
        typer.Option(
            help="File that rar align wrote for this same judge; it corrects the probabilities of "
            "its verdicts."
        ),
    ] = None,
    encoding: own.Encoding = "utf-8",
    base_url: own.BaseUrl = None,
    model: own.ModelName = None,
    key_env: own.KeyEnv = None,
    dialect: own.DialectName = "vllm",
    weights_id: own.WeightsId = "",
    price_in: own.PriceIn = 0.0,
    price_out: own.PriceOut = 0.0,
    task_column: own.TaskColumn = None,
    question_column: own.QuestionColumn = None,
    response_column: own.ResponseColumn = None,
    id_column: own.ResponseIdColumn = None,
    table: Annotated[
        bool, typer.Option("--table", help="Show means by category and criterion.")
    ] = False,
    executor: own.Executor = "async",
    yes: own.Yes = False,
) -> None:
    """Grade your responses with a judge of your choice; stopped runs go on where they were.

    rar grade tasks.jsonl responses.csv -o grades.jsonl --judge qwen-1.5b
    rar grade grades.jsonl --table

    A row names its task by id, or by the text of its question.
    A task may have many responses.
    In Python: pandas.read_json("grades.jsonl", lines=True).

    Exit codes: 0 every row has a score; 1 refused or failed;
    2 wrong usage; 3 written, but some rows were left out or have no score;
    130 stopped: the same command goes on.
    """
    if responses is None and output is None and table:
        typer.echo(look(tasks))
        return
    if responses is None:
        raise typer.BadParameter("missing: give tasks and responses, or one file with --table")
    if output is None:
        raise typer.BadParameter("missing: name the file for the grades, -o grades.jsonl")
    ray = own.by_ray(executor)
    asked = Asked(tasks, responses, output, cast(Arm, arm), encoding)
    columns = own.named(
        task=task_column, response=response_column, id=id_column, question=question_column
    )
    price = own.price_of(price_in, price_out)
    at = own.chats_at(base_url, key_env, dialect, price, weights_id)
    if calibration is not None:
        _check_calibration(calibration, arm, output)
    endpoint = at(str(model)) if is_endpoint(judge, base_url, model) else None
    work = read_work(asked, columns)
    settings: dict[str, Any] = {"device": device}
    if endpoint is None:
        settings["max_model_len"] = context_for(work)
    name = judge or _default_judge(endpoint)
    with own.recorded(name, endpoint, output, settings) as chat:
        who = Judge(chat, cast(ReadingChoice, reading))
        rows = run(work, calibrated(who, calibration) if calibration else who, yes=yes, ray=ray)
    if rows is None:
        raise typer.Exit(1)
    _save(output, rows, table=table)
    if work.left_out or any(row.score is None for row in rows):
        raise typer.Exit(own.PARTLY)


@dataclass(frozen=True)
class Asked:
    """What a user asks to have graded."""

    tasks: Path
    responses: Path
    output: Path
    arm: Arm
    encoding: str


@dataclass(frozen=True)
class Work:
    """What can be graded of it, and how many rows can't."""

    tasks: list[Task]
    responses: list[Response]
    arm: Arm
    left_out: int


def read_work(asked: Asked, columns: dict[str, str]) -> Work:
    """Tasks and responses, with every row that can't be used said on the way.

    Raises:
        DataError: nothing is left, or a file, a column or the arm is wrong.
    """
    from rar_lib.data.questions import load_questions, load_responses
    from rar_lib.evaluation.grading import gradable

    own.check_output(asked.output, asked.tasks, asked.responses)
    gradable([], [], asked.arm)  # refuses an unknown arm before anything is read
    tasks = load_questions(asked.tasks, encoding=asked.encoding)
    own.show(tasks, "task")
    found = load_responses(asked.responses, tasks.items, columns=columns, encoding=asked.encoding)
    own.show(found, "response")
    bare = {task.id for task in tasks.items} - {response.task for response in found.items}
    if bare:
        named = ", ".join(sorted(bare)[:5]) + (", ..." if len(bare) > 5 else "")
        typer.echo(own.wrapped(f"  {counted(len(bare), 'task')} without response: {named}", "  "))
    fit, problems = gradable(tasks.items, found.items, asked.arm)
    if not fit:
        raise DataError(f"{asked.tasks}: nothing to grade; {problems[0]}")
    own.show_problems(problems)
    lost = len(found.items) - len(fit)
    return Work(tasks.items, fit, asked.arm, tasks.left_out + found.left_out + lost)


def context_for(work: Work) -> int:
    """Tokens that a local judge must be able to read: the longest prompt, with some room.

    Every prompt is looked at: question, conversation, reference, rubric and response all count.
    """
    from rar_lib.judging.cost import TEMPLATE, tokens
    from rar_lib.judging.messages import prompts_of

    by_id = {task.id: task for task in work.tasks}
    longest = max(
        max(map(tokens, prompts_of(by_id[response.task], response.text, work.arm)))
        for response in work.responses
    )
    # Four characters a token is English prose; code and other scripts have fewer.
    needed = longest * 1.5 + TEMPLATE + 64
    low, high = _CONTEXT
    return int(min(high, max(low, math.ceil(needed / 1024) * 1024)))


def _check_calibration(path: Path, arm: str, output: Path) -> None:
    own.check_output(output, path)
    if arm not in BY_CRITERIA:
        raise DataError(
            f"--calibration moves verdicts on criteria, and arm {arm} rates whole responses: leave "
            f"it out, or take --arm {' or '.join(BY_CRITERIA)}"
        )


def calibrated(judge: Judge, path: Path) -> Judge:
    """The judge with its calibration from a file.

    It is read by probability, or not at all: a sampled verdict has none that could be moved.

    Raises:
        DataError: the file can't be read or is another judge's, or the judge is to be sampled.
    """
    from rar_lib.judging.calibration import load_calibration

    found = load_calibration(path, judge.identity)
    reading = "probability" if judge.reading == "auto" else judge.reading
    return replace(judge, calibration=found, reading=reading)


def run(work: Work, judge: Judge, *, yes: bool, ray: bool = False) -> list[GradedResponse] | None:
    """The grades, after an estimate; ``None`` if the user stopped there.

    Args:
        ray: calls are sent by actors of Ray, and not by this process.
    """
    from rar_lib.evaluation.grading import grade_responses, responses_work
    from rar_lib.judging.cost import estimate, measure_rate

    todo = responses_work(judge, work.tasks, work.responses, work.arm)
    # Nobody pays for a measurement on a paid endpoint; there the tokens and the price count.
    rate = run_sync(measure_rate(judge.chat)) if judge.chat.local and todo.calls else None
    if not own.asked(estimate(todo, rate, judge.chat.price), yes=yes):
        return None
    if ray:
        return _by_ray(work, judge)
    grading = grade_responses(judge, work.tasks, work.responses, work.arm, progress="grades")
    return run_sync(grading)


def _by_ray(work: Work, judge: Judge) -> list[GradedResponse]:
    from rar_lib.evaluation.grading import GradedResponse, grade_items, items_of
    from rar_lib.models.ray import spread

    settings = {part.name: getattr(judge, part.name) for part in fields(judge)}
    job = partial(grade_items, judge=settings, arm=work.arm)
    del settings["chat"]
    rows = spread(job, items_of(work.tasks, work.responses), judge.chat, progress="grades")
    return [GradedResponse.model_validate_json(row) for row in rows]


def look(path: Path) -> str:
    """The tables of a file of grades.

    Raises:
        DataError: it is none.
    """
    from rar_lib.evaluation.grading import load_grades

    rows = load_grades(path)
    return "\n".join([*summary(rows), *tables(rows)])


def summary(rows: Sequence[GradedResponse]) -> Iterator[str]:
    """Who graded how many, the mean, and what it cost: a few lines of at most 80 columns."""
    from rar_lib.evaluation.grading import mean_score, readable_share, total_usage

    judges = sorted({f"{row.judge}, {_read_as(row)}" for row in rows})
    arms = sorted({row.arm for row in rows})
    without = sum(row.score is None for row in rows)
    tasks = len({row.task for row in rows})
    yield own.wrapped(f"arm {', '.join(arms)}; judge {'; '.join(judges)}", "  ")
    yield (
        f"{counted(len(rows), 'response')} to {counted(tasks, 'task')}: "
        f"{len(rows) - without:,} scored, {without:,} unscored"
    )
    mean = mean_score(rows)
    if mean is not None:
        over = "95 % interval over " if mean.interval.shown else ""
        yield f"mean score {mean}, {over}{_units(mean.interval.n, tasks)}"
    if share := readable_share(rows):
        yield f"readable share of the judge's probability {share[0]:.3f}, lowest {share[1]:.3f}"
    used = total_usage(rows)
    yield (
        f"{counted(used.calls, 'call')}, {used.prompt_tokens:,} tokens read, "
        f"{used.completion_tokens:,} written{own.cost(used.money)}"
    )


def _read_as(row: GradedResponse) -> str:
    return f"{row.reading}, calibrated" if row.calibrated else row.reading


def _units(count: int, tasks: int) -> str:
    return counted(count, "task" if tasks > 1 else "response")


def tables(rows: Sequence[GradedResponse]) -> Iterator[str]:
    """Means by category and criterion, and what has no score: plain text of 80 columns."""
    from rar_lib.evaluation.grading import by_category, by_criterion, unscored

    categories = by_category(rows)
    if categories:
        yield "\ncredit by category (1: every verdict speaks for the response)\n"
        yield f"  {'':<12}{'mean and 95 % interval':<24}{'verdicts':>9}{'units':>7}"
        for category, mean in categories.items():
            yield f"  {category:<12}{mean!s:<24}{mean.values:>9,}{mean.interval.n:>7,}"
    criteria = by_criterion(rows)
    if criteria:
        part = "all" if len(criteria) <= _ROWS else f"the worst {_ROWS} of {len(criteria):,}"
        yield f"\ncredit by criterion, {part}\n"
        for criterion in criteria[:_ROWS]:
            yield from _criterion(criterion)
    lost = unscored(rows)
    if lost:
        yield "\nunscored\n"
        for one in lost[:_ROWS]:
            named = ", ".join(one.responses[:3]) + (", ..." if len(one.responses) > 3 else "")
            yield own.wrapped(f"  {len(one.responses):>4}  {one.reason[:300]}", " " * 8)
            yield own.wrapped(f"        in {named}", " " * 8)
        if len(lost) > _ROWS:
            yield f"  and {len(lost) - _ROWS} other reasons"
    if categories:
        yield own.wrapped(f"\n{_FOOT}")


def _criterion(found: CriterionMean) -> Iterator[str]:
    about = f"{found.criterion.category}, {found.credit.values} verdicts"
    place = found.tasks[0] if len(found.tasks) == 1 else f"{len(found.tasks)} tasks"
    head = f"  {found.credit!s:<20} {found.criterion.criterion} ({about}, {place})"
    yield own.wrapped(head, " " * 23)
    sign = "" if found.criterion.polarity == "good" else "not: "
    yield own.wrapped(f"{' ' * 8}{sign}{found.criterion.description}", " " * 8)


def _save(output: Path, rows: Sequence[GradedResponse], *, table: bool) -> None:
    from rar_lib.evaluation.grading import save_grades

    save_grades(output, rows)
    for line in summary(rows):
        typer.echo(line)
    if table:
        for line in tables(rows):
            typer.echo(line)
    path = shlex.quote(str(output))
    typer.echo(f"{output}: {len(rows):,} rows; pandas.read_json({str(output)!r}, lines=True)")
    if not table:
        typer.echo(f"next:  rar grade {path} --table")
    if all(row.score is None for row in rows):
        raise UnscoredError(f"no response could be graded; the first: {rows[0].reason}")


def is_endpoint(judge: str | None, base_url: Sequence[str] | None, model: str | None) -> bool:
    """Whether the judge is asked over the network; refuses half an address.

    Raises:
        BadParameter: an endpoint without a name of the judge, or both kinds of judge.
    """
    if base_url and not model:
        raise typer.BadParameter("--base-url needs the judge's name there: --model NAME")
    if model and not base_url:
        raise typer.BadParameter(f"--model {model} needs --base-url; a local judge is --judge")
    if base_url and judge:
        raise typer.BadParameter(f"--judge {judge} and --base-url: choose one of them")
    return bool(base_url)


def _default_judge(endpoint: Chat | None) -> str:
    from rar_lib.models.processor import suited

    return endpoint.model if endpoint else suited(DEFAULT_JUDGE)
