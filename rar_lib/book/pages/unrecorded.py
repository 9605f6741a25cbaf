"""Sections that show one record alone: a page leaves them out while there is none.

The Markdown cell with the heading of such a section has the tag ``record-NAME``, for the record
that ``results.load("NAME")`` reads. The status page lists what is left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

_TAG = "record-"
_HEADING = re.compile(r"(#{1,6}) +(.+)")


class LeftOut(NamedTuple):
    """A section that a page leaves out, by its heading, and the record that it would show."""

    heading: str
    record: str


def recorded(
    cells: Sequence[dict[str, Any]], exists: Callable[[str], bool]
) -> tuple[list[dict[str, Any]], list[LeftOut]]:
    """The cells of a notebook without the sections whose record is missing, and these sections.

    A section ends before the next cell that begins with a heading of its level or a higher one.

    Args:
        exists: whether there is a record of a name.
    """
    kept: list[dict[str, Any]] = []
    left_out: list[LeftOut] = []
    level = 0  # of the heading of the section that is being left out; 0 outside of one
    for cell in cells:
        marks, heading = _heading(cell)
        if marks and marks <= level:
            level = 0
        missing = [] if level or not marks else [x for x in _records(cell) if not exists(x)]
        if missing:
            level = marks
            left_out.append(LeftOut(heading, missing[0]))
        if not level:
            kept.append(cell)
    return kept, left_out


def _heading(cell: dict[str, Any]) -> tuple[int, str]:
    """Level and text of the heading that a cell begins with; 0 and nothing without one."""
    found = _HEADING.match("".join(cell["source"])) if cell["cell_type"] == "markdown" else None
    return (len(found[1]), found[2].strip()) if found else (0, "")


def _records(cell: dict[str, Any]) -> list[str]:
    """The records that a section needs, by its tags."""
    tags = cell["metadata"].get("tags", [])
    return [tag.removeprefix(_TAG) for tag in tags if tag.startswith(_TAG)]
