"""Files of a user's own: `rar data`, `rar cassette`, `rar convert`, `rar init`."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rar_lib.cli import own
from rar_lib.core.errors import DataError
from rar_lib.core.files import atomic_write
from rar_lib.data.check import SHOWN, Summary, escaped, fitting
from rar_lib.data.check import check as check_file
from rar_lib.data.check import show as show_file
from rar_lib.data.jsonl import Problem
from rar_lib.judging.cost import counted

if TYPE_CHECKING:
    from rich.console import RenderableType

    from rar_lib.data.formats import Converted

JsonLines = Annotated[Path, typer.Argument(help="JSON lines, one object a line.")]
TaskFile = Annotated[Path | None, typer.Option(help="The tasks, if FILE holds pairs.")]
Recorded = Annotated[Path, typer.Argument(help="For example _build/laptop/calls.sqlite.")]


def check(file: JsonLines, tasks: TaskFile = None) -> None:
    """Say line by line what load_tasks would refuse; exit code 1 if it refuses anything.

    With --tasks it is load_pairs. The commands read more, such as a column split
    and ids of any kind: they go through load_questions.
    """
    from rich.console import Console

    problems = check_file(file, tasks)
    Console().print(render(problems))
    if any(problem.level == "error" for problem in problems):
        raise typer.Exit(1)
    if tasks is None:
        for line in audited(file):
            typer.echo(own.wrapped(line, "  "))


def audited(file: Path) -> Iterator[str]:
    """What the audit of a whole task file counts; nothing where no task has a rubric."""
    from rar_lib.rubrics.audit import defects

    tasks = fitting(file)
    if not any(task.rubric for task in tasks):
        return
    found = defects(tasks)
    yield (
        f"audit of {counted(len(tasks), 'task')}: {found.empty_references} without reference, "
        f"{found.duplicate_questions} with a question asked before, {found.multiple_choice:.0%} "
        f"multiple choice; {found.answer_stated:.0%} of rubrics state a number of the answer; "
        f"{found.repeated_criteria:.0%} of criteria stand in another task, too"
    )
    share = found.generic_criteria
    if share is not None:
        yield f"  {share:.0%} of criteria have no content word or number of their task (generic)"
    if found.reason:
        yield f"  not measured: {found.reason}"


def show(file: JsonLines, tasks: TaskFile = None) -> None:
    """Counts, and the first row, safe to print whatever the file holds."""
    from rich.console import Console

    Console().print(render(show_file(file, tasks)))


def convert(
    file: Annotated[Path, typer.Argument(metavar="IN", help="JSON lines, Parquet, CSV or TSV.")],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="JSON lines, one object a row.")],
    *,
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="tasks, rubrics, rar, healthbench, verifiers, openrubrics or trl, if not guessed.",
        ),
    ] = None,
    to: Annotated[
        str, typer.Option("--to", help="tasks, rar, healthbench, verifiers or trl.")
    ] = "tasks",
    domain: Annotated[
        str, typer.Option(help="Domain of rows that name none: medicine, science or other.")
    ] = "other",
    encoding: own.Encoding = "utf-8",
) -> None:
    """Read tasks of RaR, HealthBench, verifiers, OpenRubrics or TRL, and write
    them as tasks of this library, or of any of these but OpenRubrics.

    rar convert train.parquet tasks.jsonl

    The format of IN is guessed by its columns and shown. Rubrics of your own
    may be lists of texts, or of objects with description, and weight or
    category. What the output does not hold as it was is counted by field.

    Exit codes: 0 every row written; 1 refused or failed; 2 wrong usage;
    3 written, but rows or parts of rows were left out.
    """
    from rar_lib.data.formats import convert_tasks

    own.check_output(output, file)
    done = convert_tasks(file, output, source=source, to=to, domain=domain, encoding=encoding)
    _report(file, done, guessed=source is None)
    if done.problems:
        raise typer.Exit(own.PARTLY)


def _report(file: Path, done: Converted, *, guessed: bool) -> None:
    """What was read as what, what was left out, and what the output does not hold."""
    from rar_lib.data.formats import FORMATS

    known = FORMATS[done.source]
    read = f"{file}: {counted(done.rows, 'row')} read as {known.name} ({known.about})"
    guess = f", for its columns {known.recognised}; say another with --from" if guessed else ""
    typer.echo(own.wrapped(read + guess, "  "))
    own.show_problems(done.problems)
    if done.ids_changed:
        typer.echo(f"  {counted(done.ids_changed, 'id')} came again and got a number")
    for what, counts in (
        ("not held by a task, in rows", done.lost_reading),
        ("not held by the output, values", done.lost_writing),
        ("made up for the output, values", done.filled),
    ):
        if counts:
            each = ", ".join(f"{name} {number:,}" for name, number in sorted(counts.items()))
            typer.echo(own.wrapped(f"  {what}: {each}", "    "))
    for note in done.notes:
        typer.echo(own.wrapped(f"  note: {note}", "    "))
    left = done.rows - done.written
    end = f", {counted(left, 'row')} left out" if left else ""
    end += "; nothing is lost" if done.lossless else ""
    written = f"{done.path}: {counted(done.written, 'row')} of {done.target}{end}"
    typer.echo(own.wrapped(written, "  "))


def stats(file: Recorded) -> None:
    """Calls, tokens and seconds of every model on record."""
    from rich.console import Console
    from rich.table import Table

    from rar_lib.judging import cassette

    columns = ("calls", "prompt_tokens", "cached_tokens", "completion_tokens", "seconds")
    table = Table("model", *columns)
    for model, found in cassette.stats(file).items():
        table.add_row(model, *(f"{found.get(column, 0):,.0f}" for column in columns))
    Console().print(table)


def render(found: Summary | Sequence[Problem]) -> RenderableType:
    """A table for a rich console, of plain text only: no mark-up of the file is followed."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    if not isinstance(found, Summary):
        levels = Counter(problem.level for problem in found)
        line = f"{levels['error']} errors, {levels['warning']} warnings"
        if not found:
            return Text(line)
        table = Table("line", "", "field", "found", "allowed")
        for problem in found:
            cells = [str(problem.line or "-"), problem.level, problem.field or "(the whole line)"]
            mended = "; ".join(filter(None, (problem.allowed, problem.mend)))
            shown = [Text(escaped(cell)) for cell in (*cells, problem.found)]
            style = "red" if problem.level == "error" else "yellow"
            table.add_row(*shown, Text(escaped(mended, keep="\n")), style=style)
        return Group(table, Text(line))
    counts = Table("", found.kind)
    for label, number in found.counts.items():
        counts.add_row(Text(escaped(label)), Text(f"{number:,}", justify="right"))
    parts: list[RenderableType] = [Text(escaped(found.path)), counts]
    if found.problems:
        parts.append(Text(f"left out: lines with {found.problems} errors; check names them"))
    if found.example:
        example = Table("", "the first row")
        for name, text in found.example:
            cut = text if len(text) <= SHOWN else f"{text[:SHOWN]} ({len(text):,} characters)"
            example.add_row(Text(escaped(name)), Text(escaped(cut, keep="\n")))
        parts.append(example)
    return Group(*parts)


def init(
    folder: Annotated[Path, typer.Argument(help="A new folder, or one without these files.")],
) -> None:
    """Write a small example project: questions, answers, rubrics and labels by hand.

    rar init example

    Its README.md goes through most commands, line by line.
    No file is overwritten.

    Exit codes: 0 written; 1 refused or failed, and nothing is written;
    2 wrong usage.
    """
    for path in write_example(folder):
        typer.echo(f"  {path}")
    typer.echo(f"next:  cd {shlex.quote(str(folder))}, and read README.md")


def write_example(folder: Path) -> list[Path]:
    """The files of the example in a folder, which is made where there is none.

    Raises:
        DataError: one of them is there already, or can't be written: then none is.
    """
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file: name a folder")
    sources = files("rar_lib.data").joinpath("example")
    found = {source.name: source.read_bytes() for source in sources.iterdir()}
    there = sorted(
        name for name in found if (folder / name).is_symlink() or (folder / name).exists()
    )
    if there:
        raise DataError(
            f"{folder} already holds {', '.join(there)}: nothing is overwritten; name another "
            "folder, or move them away"
        )
    made = not folder.exists()
    written: list[Path] = []
    try:
        for name in sorted(found):
            atomic_write(folder / name, found[name])
            written.append(folder / name)
    except BaseException as error:
        for path in written:
            path.unlink(missing_ok=True)
        if made and folder.is_dir():
            folder.rmdir()
        if isinstance(error, OSError):
            raise DataError(
                f"{folder}: could not be written ({error.strerror or error}), and nothing of it "
                "is left; free space or choose another folder"
            ) from error
        raise
    return written
