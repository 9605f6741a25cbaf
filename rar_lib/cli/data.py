"""`rar data`, `rar cassette`: files looked at before they are used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rar_lib.data.check import SHOWN, Summary, escaped
from rar_lib.data.check import check as check_file
from rar_lib.data.check import show as show_file
from rar_lib.data.jsonl import Problem

if TYPE_CHECKING:
    from rich.console import RenderableType

JsonLines = Annotated[Path, typer.Argument(help="JSON lines, one object a line.")]
TaskFile = Annotated[Path | None, typer.Option(help="The tasks, if FILE holds pairs.")]
Recorded = Annotated[Path, typer.Argument(help="For example _build/laptop/calls.sqlite.")]


def check(file: JsonLines, tasks: TaskFile = None) -> None:
    """Say line by line what is wrong; exit code 1 if the loaders would refuse the file."""
    from rich.console import Console

    problems = check_file(file, tasks)
    Console().print(render(problems))
    if any(problem.level == "error" for problem in problems):
        raise typer.Exit(1)


def show(file: JsonLines, tasks: TaskFile = None) -> None:
    """Counts, and the first row, safe to print whatever the file holds."""
    from rich.console import Console

    Console().print(render(show_file(file, tasks)))


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
            cells += [problem.found, problem.allowed]
            style = "red" if problem.level == "error" else "yellow"
            table.add_row(*(Text(escaped(cell)) for cell in cells), style=style)
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
