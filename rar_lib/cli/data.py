"""`rar data`: a user's own task or pair file, looked at line by line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rar_lib.data.check import SHOWN, Summary, escaped
from rar_lib.data.jsonl import Problem

if TYPE_CHECKING:
    from rich.console import RenderableType


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
