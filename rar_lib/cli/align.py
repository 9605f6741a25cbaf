"""`rar align`: judges held against labels of one's own."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from rar_lib.cli import own
from rar_lib.cli.grade import DEFAULT_JUDGE, DEFAULT_SAID, context_for
from rar_lib.cli.grade import Work as Grading
from rar_lib.core.decision import Finding
from rar_lib.core.errors import DataError, UnscoredError
from rar_lib.core.files import UNCHANGED, file_hash, save_text
from rar_lib.core.stats import MIN_UNITS, Interval
from rar_lib.core.types import ARMS, Arm, Task
from rar_lib.data.check import escaped
from rar_lib.evaluation.judge_roles import MAX_UNSCORED
from rar_lib.judging.chat import Chat, run_sync
from rar_lib.judging.cost import amount, counted
from rar_lib.judging.judge import Judge, ReadingChoice

if TYPE_CHECKING:
    from rar_lib.data.labels import Label, Preference
    from rar_lib.data.sheets import Loaded
    from rar_lib.evaluation.trust import Alignment, Answers, Plan, Trust

#: Columns of the table: what is measured, and judges beside each other.
_FIRST = 20
_WIDE = 20
_BESIDE = 3
#: Reasons for what is unscored that are shown of a judge.
_REASONS = 3
_FOOT = (
    f"Units are tasks. Fewer than {MIN_UNITS} units show no interval, only their number n. A lead "
    "is what is above chance, 0.5; the one that shows is the smallest true lead that would show in "
    "80 of 100 such samples. Unscored answers are in no other figure.\n"
    "Trusted is a judge that is certainly better than chance by your labels, that answers the "
    f"question (half of its probability) and scores enough to train on ({1 - MAX_UNSCORED:.0%} of "
    "responses). How good it is, the figures say."
)
#: What a finding says of a judge beside another.
_BESIDE_WORDS = {"supported": "better", "contradicted": "worse"}


def align(
    tasks: Annotated[Path, typer.Argument(help="Tasks with rubrics.")],
    labels: Annotated[
        list[Path],
        typer.Argument(help="CSV, TSV, JSON lines or Parquet: labels, preferences or one of each."),
    ],
    *,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="All figures and answers, as JSON.")
    ],
    responses: Annotated[
        Path | None,
        typer.Option(help="Where labels name responses by their ids: the table of these."),
    ] = None,
    arm: Annotated[
        str, typer.Option(help=f"How preferences are graded: {', '.join(ARMS)}.")
    ] = "explicit",
    judge: Annotated[
        list[str] | None,
        typer.Option(help=f"A model on this machine, again for more of them. {DEFAULT_SAID}"),
    ] = None,
    device: own.Device = "cpu",
    reading: own.ReadingName = "auto",
    encoding: own.Encoding = "utf-8",
    base_url: own.BaseUrl = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="Name of the judge there, again for more of them.",
            rich_help_panel=own.AT_ENDPOINT,
        ),
    ] = None,
    key_env: own.KeyEnv = None,
    dialect: own.DialectName = "vllm",
    weights_id: own.WeightsId = "",
    price_in: own.PriceIn = 0.0,
    price_out: own.PriceOut = 0.0,
    task_column: own.TaskColumn = None,
    question_column: own.QuestionColumn = None,
    response_column: Annotated[
        str | None,
        typer.Option(
            help="Name of the column with the labelled responses.", rich_help_panel=own.COLUMNS
        ),
    ] = None,
    criterion_column: Annotated[
        str | None,
        typer.Option(help="Name of the column with the criteria.", rich_help_panel=own.COLUMNS),
    ] = None,
    met_column: Annotated[
        str | None,
        typer.Option(
            help="Name of the column with the labels, yes or no.", rich_help_panel=own.COLUMNS
        ),
    ] = None,
    preferred_column: Annotated[
        str | None,
        typer.Option(
            help="Name of the column with the better responses.", rich_help_panel=own.COLUMNS
        ),
    ] = None,
    rejected_column: Annotated[
        str | None,
        typer.Option(
            help="Name of the column with the worse responses.", rich_help_panel=own.COLUMNS
        ),
    ] = None,
    yes: own.Yes = False,
) -> None:
    """May a judge be trusted as a reward here? Hold one or several against your labels.

    rar align tasks.jsonl labels.csv -o align.json --judge qwen-1.5b
    rar align tasks.jsonl pairs.csv -o align.json --base-url URL --model NAME

    Labels: task, response, criterion and met (yes or no).
    A criterion is met where its sentence holds of the response, a pitfall, too.
    Preferences: task, preferred and rejected. A cell holds the text of a response.
    A calibration is fitted on half of the labelled tasks and stored beside the
    output, for rar grade --calibration; what it gains is measured on the other half.

    Exit codes: 0 every row was used and answered, whatever came out;
    1 refused or failed; 2 wrong usage;
    3 written, but some rows were left out or have no answer;
    130 stopped: the same command goes on.
    """
    columns = own.named(
        task=task_column,
        question=question_column,
        response=response_column,
        criterion=criterion_column,
        met=met_column,
        preferred=preferred_column,
        rejected=rejected_column,
    )
    asked = Asked(tasks, tuple(labels), responses, output, cast(Arm, arm), encoding)
    names = _judges(judge or [], base_url, model or [])
    price = own.price_of(price_in, price_out)
    at = own.chats_at(base_url, key_env, dialect, price, weights_id)
    work = read_work(asked, columns)
    chats = [(name, at(name) if remote else None) for name, remote in names]
    answers = _answers(work, chats, asked, (device, cast(ReadingChoice, reading), yes))
    if answers is None:
        raise typer.Exit(1)
    _save(asked, work, answers)
    if work.left_out or any(grade.score is None for said in answers for grade in said.every):
        raise typer.Exit(own.PARTLY)


@dataclass(frozen=True)
class Asked:
    """What a user asks to be held against each other."""

    tasks: Path
    labels: tuple[Path, ...]
    responses: Path | None
    output: Path
    arm: Arm
    encoding: str

    @property
    def inputs(self) -> list[Path]:
        """The files that are read."""
        return [self.tasks, *self.labels, *([self.responses] if self.responses else [])]


def calibration_beside(output: Path) -> Path:
    """``align.calibration.json`` of ``align.json``."""
    return output.with_name(output.stem + ".calibration.json")


@dataclass(frozen=True)
class Work:
    """What can be asked about, and how many rows can't."""

    tasks: list[Task]
    labelled: list[Label | Preference]
    arm: Arm
    left_out: int


def read_work(asked: Asked, columns: dict[str, str]) -> Work:
    """Tasks and labels, with every row that can't be used said on the way.

    Raises:
        DataError: nothing is left, or a file, a column or the arm is wrong.
    """
    from rar_lib.data.labels import load_labels
    from rar_lib.data.questions import load_questions, load_responses
    from rar_lib.evaluation.grading import gradable
    from rar_lib.evaluation.trust import alignable

    own.check_output(asked.output, *asked.inputs)
    own.check_output(calibration_beside(asked.output), *asked.inputs)
    gradable([], [], asked.arm)  # refuses an unknown arm before anything is read
    tasks = load_questions(asked.tasks, encoding=asked.encoding)
    own.show(tasks, "task")
    left_out = tasks.left_out
    texts = None
    if asked.responses:
        found = load_responses(asked.responses, tasks.items, encoding=asked.encoding)
        own.show(found, "response")
        texts = found.items
        left_out = left_out + found.left_out
    labelled: list[Label | Preference] = []
    for path, given in _columns(asked, columns):
        loaded = load_labels(
            path, tasks.items, responses=texts, columns=given, encoding=asked.encoding
        )
        _show(loaded)
        both = {type(item).__name__ for item in loaded.items}
        both &= {type(item).__name__ for item in labelled}
        if both:
            raise DataError(
                f"{path} holds {' and '.join(sorted(both)).lower()}s as a file before it does: put "
                "those of one kind into one file"
            )
        labelled += loaded.items
        left_out += loaded.left_out
    fit, problems = alignable(tasks.items, labelled, asked.arm)
    if not fit:
        raise DataError(f"{asked.tasks}: nothing can be asked about; {problems[0]}")
    own.show_problems(problems)
    return Work(tasks.items, fit, asked.arm, left_out + len(labelled) - len(fit))


def _columns(asked: Asked, columns: dict[str, str]) -> list[tuple[Path, dict[str, str]]]:
    """Each table with the columns given for it: of two tables either may have one that is named."""
    from rar_lib.data.sheets import read_sheet

    if len(asked.labels) == 1:
        return [(asked.labels[0], columns)]
    there = [(path, read_sheet(path, encoding=asked.encoding).columns) for path in asked.labels]
    for name, column in columns.items():
        if column and not any(column in found for _, found in there):
            files = " or ".join(map(str, asked.labels))
            raise DataError(f"no column {column!r} for {name} in {files}")
    split = []
    for path, found in there:
        chosen = {name: column for name, column in columns.items() if column in ("", *found)}
        split.append((path, chosen))
    return split


def _show(loaded: Loaded[Label | Preference]) -> None:
    """As :func:`own.show`, with both kinds counted."""
    from rar_lib.data.labels import split

    labels, pairs = split(loaded.items)
    counts = [counted(len(labels), "label")] if labels else []
    counts += [counted(len(pairs), "preference")] if pairs else []
    own.show_counted(loaded, " and ".join(counts))


def _judges(
    local: list[str], base_url: list[str] | None, remote: list[str]
) -> list[tuple[str, bool]]:
    """Name of every judge, and whether it is asked over the network.

    Raises:
        BadParameter: half an address, or a judge twice.
    """
    from rar_lib.models.processor import suited

    if base_url and not remote:
        raise typer.BadParameter("--base-url needs the judge's name there: --model NAME")
    if remote and not base_url:
        raise typer.BadParameter(f"--model {remote[0]} needs --base-url; a local one is --judge")
    names = [*local, *remote] or [suited(DEFAULT_JUDGE)]
    if len(set(names)) < len(names):
        raise typer.BadParameter("a judge is named twice: give each once")
    return [(name, name in remote) for name in names]


def _answers(
    work: Work,
    chats: Sequence[tuple[str, Chat | None]],
    asked: Asked,
    how: tuple[str, ReadingChoice, bool],
) -> list[Answers] | None:
    """What each judge says, after an estimate; ``None`` if the user stopped there."""
    from rar_lib.evaluation.trust import plan

    todo = plan(work.tasks, work.labelled, work.arm)
    device, reading, yes = how
    settings: dict[str, Any] = {"device": device}
    if not all(endpoint for _, endpoint in chats):
        settings["max_model_len"] = _context(work, todo)
    for name, endpoint in chats:
        with own.answering(name, endpoint, None, settings):
            pass  # a name that there is no model of is refused before any judge is asked
    answers = []
    with own.recording(asked.output) as cassette:
        for name, endpoint in chats:
            with own.answering(name, endpoint, cassette, settings) as chat:
                said = _ask(work, Judge(chat, reading), todo, yes=yes)
            if said is None:
                return None
            answers.append(said)
    return answers


def _context(work: Work, todo: Plan) -> int:
    """Tokens that a local judge must be able to read."""
    from rar_lib.data.questions import Response

    longest = 0
    for arm, items in todo.items():
        given = [Response(task.id, "", text) for task, text in items]
        longest = max(longest, context_for(Grading(work.tasks, given, arm, 0)))
    return longest


def _ask(work: Work, judge: Judge, todo: Plan, *, yes: bool) -> Answers | None:
    from rar_lib.evaluation.trust import ask, work_of
    from rar_lib.judging.cost import estimate, measure_rate

    needed = work_of(judge, todo)
    # Nobody pays for a measurement on a paid endpoint; there the tokens and the price count.
    rate = run_sync(measure_rate(judge.chat)) if judge.chat.local and needed.calls else None
    typer.echo(own.wrapped(f"judge {judge.chat.model}:", "  "))
    if not own.asked(estimate(needed, rate, judge.chat.price), yes=yes):
        return None
    asking = ask(judge, work.tasks, work.labelled, work.arm, progress=judge.chat.model)
    return run_sync(asking)


def _save(asked: Asked, work: Work, answers: Sequence[Answers]) -> None:
    """Write the figures and the calibrations, and say them."""
    from rar_lib.evaluation.trust import weigh

    output = asked.output
    found = weigh(answers, work.tasks)
    beside = _save_calibrations(output, found)
    files = {str(path): file_hash(path) for path in asked.inputs}
    value = {"files": files, **found.to_json()}
    text = json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False)
    save_text(output, text + "\n", f"{UNCHANGED}: the calls are on record")
    for line in report(found, beside):
        typer.echo(line)
    typer.echo(f"{output}: every figure, verdict and score, as JSON")
    if all(trust.unscored == trust.responses for trust in found.judges):
        first = answers[0].every[0].reason
        raise UnscoredError(f"no judge gave an answer; the first: {first}")


def _save_calibrations(output: Path, found: Alignment) -> Path | None:
    """Write what could be fitted beside the output; where that is, ``None`` if nothing was."""
    from dataclasses import asdict

    from rar_lib.judging.calibration import save_calibrations

    checks = [trust.calibration.calibration for trust in found.judges]
    fitted = [calibration for calibration in checks if calibration is not None]
    if not fitted:
        return None
    path = calibration_beside(output)
    save_calibrations(path, fitted, asdict(found.halves))
    return path


def report(found: Alignment, calibration: Path | None) -> Iterator[str]:
    """The table, a sentence a judge and what to do next: plain text of 80 columns."""
    for at in range(0, len(found.judges), _BESIDE):
        yield from _table(found, found.judges[at : at + _BESIDE])
    if found.compared:
        yield "\njudges compared (difference in the share that is right)"
        for name, finding in found.compared.items():
            yield own.wrapped(f"  {name}: {_finding(finding)}", "    ")
    yield own.wrapped(f"\n{_FOOT}")
    for trust, said in zip(found.judges, found.answers, strict=True):
        yield own.wrapped(f"\n{trust.sentence}", "  ")
        for reason, times in list(said.unscored.items())[:_REASONS]:
            yield own.wrapped(f"  unscored, {times:,}: {reason[:300]}", "    ")
        use = f"grade with it (rar grade --arm {found.arm}), or train on its grades (rar train)"
        for step in [*trust.advice, *([use] if trust.trusted else [])]:
            yield own.wrapped(f"  next: {step}", "    ")
        if trust.criteria and trust.calibration.reason:
            yield own.wrapped(f"  no calibration: {trust.calibration.reason}", "    ")
    if calibration is not None:
        halves = found.halves
        use = f"; rar grade ... --calibration {shlex.quote(str(calibration))}"
        gains = any(trust.trusted and trust.calibration.gains for trust in found.judges)
        yield own.wrapped(
            f"\n{calibration}: fitted on {counted(len(halves.fitted_on), 'task')}, measured on "
            f"the other {len(halves.held_out):,}{use if gains else ''}",
            "  ",
        )


Cell = Callable[["Trust"], str]


def _table(found: Alignment, judges: Sequence[Trust]) -> Iterator[str]:
    yield "\n" + _line("", [escaped(trust.judge)[: _WIDE - 1] for trust in judges])
    blocks: list[tuple[str, dict[str, Cell]]] = []
    if found.answers[0].labels:
        blocks.append(("criteria, by your labels", _CRITERIA))
    if found.answers[0].preferences:
        blocks.append((f"preferences, arm {found.arm}", _PREFERENCES))
    if any(trust.calibration.calibration for trust in judges):
        out = counted(len(found.halves.held_out), "task")
        blocks.append((f"calibrated, on the {out} held out: before, after", _CALIBRATED))
    for name, rows in [*blocks, ("cost", _COST)]:
        yield name
        for row, cell in rows.items():
            yield _line(f"  {row}", [cell(trust) for trust in judges])


def _line(first: str, cells: Sequence[str]) -> str:
    return (f"{first:<{_FIRST}}" + "".join(f"{cell:<{_WIDE}}" for cell in cells)).rstrip()


def _interval(found: Interval | None) -> str:
    return "–" if found is None else str(found)


def _figure(found: float | None) -> str:
    return "–" if found is None else f"{found:.2f}"


def _finding(finding: Finding) -> str:
    gap = f"{finding.difference}, " if finding.difference else ""
    detectable = finding.detectable
    shows = f"; {detectable:.2f} would show" if detectable is not None else ""
    return f"{gap}{_BESIDE_WORDS.get(finding.word, finding)}{shows}"


def _both(before: float | None, after: float | None) -> str:
    return f"{_figure(before)}, {_figure(after)}"


def _of(read: Callable[[Any], Any], part: str) -> Cell:
    """A cell that reads a part of what was found of a judge; a dash where there is none."""

    def cell(trust: Trust) -> str:
        found = getattr(trust, part)
        value = None if found is None else read(found)
        if isinstance(value, str):
            return value
        if isinstance(value, int):
            return f"{value:,}"
        return _interval(value) if isinstance(value, Interval) else _figure(value)

    return cell


def _gain(finding: Finding | None) -> str:
    if finding is None or finding.difference is None:
        return "–"
    value = finding.difference.value + 0.0
    return f"{value:+.2f} {_BESIDE_WORDS.get(finding.word, 'undecided')}"


def _value(found: Interval | None) -> float | None:
    return found.value if found else None


_CRITERIA: dict[str, Cell] = {
    "labels, tasks": _of(lambda found: f"{found.labels:,}, {found.tasks:,}", "criteria"),
    "accuracy": _of(lambda found: found.agreement.accuracy, "criteria"),
    "always commonest": _of(lambda found: found.commonest, "criteria"),
    "balanced": _of(lambda found: found.agreement.balanced, "criteria"),
    "Cohen's kappa": _of(lambda found: found.kappa, "criteria"),
    "AUC": _of(lambda found: found.agreement.auc, "criteria"),
    "lead that shows": _of(lambda found: found.above_chance.detectable, "criteria"),
    "calibration error": _of(lambda found: found.agreement.ece, "criteria"),
    "Brier score": _of(lambda found: found.brier, "criteria"),
    "unscored": _of(lambda found: found.unscored, "criteria"),
}
_PREFERENCES: dict[str, Cell] = {
    "pairs, tasks": _of(lambda found: f"{found.pairs:,}, {found.tasks:,}", "preferences"),
    "strictly higher": _of(lambda found: found.strict, "preferences"),
    "a tie as one half": _of(lambda found: found.half, "preferences"),
    "lead that shows": _of(lambda found: found.above_chance.detectable, "preferences"),
    "ties": _of(lambda found: found.ties, "preferences"),
    "unscored": _of(lambda found: found.unscored, "preferences"),
}
_CALIBRATED: dict[str, Cell] = {
    "accuracy": _of(
        lambda found: _both(
            _value(found.before and found.before.accuracy),
            _value(found.after and found.after.accuracy),
        ),
        "calibration",
    ),
    "always commonest": _of(lambda found: found.commonest, "calibration"),
    "accuracy gain": _of(lambda found: _gain(found.accuracy), "calibration"),
    "calibration error": _of(
        lambda found: _both(found.before and found.before.ece, found.after and found.after.ece),
        "calibration",
    ),
    "Brier score": _of(
        lambda found: _both(_value(found.brier_before), _value(found.brier_after)), "calibration"
    ),
    "Brier gain": _of(lambda found: _gain(found.brier), "calibration"),
}
_COST: dict[str, Cell] = {
    "readable share": _of(lambda share: share, "share"),
    "calls": _of(lambda spent: spent.calls, "usage"),
    "tokens read": _of(lambda spent: spent.prompt_tokens, "usage"),
    "tokens written": _of(lambda spent: spent.completion_tokens, "usage"),
    "seconds": _of(lambda seconds: f"{seconds:.1f}", "seconds"),
    "money": _of(lambda spent: "–" if spent.money is None else amount(spent.money), "usage"),
}
