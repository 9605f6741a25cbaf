"""Tables of numbers, with the text of models made safe to show."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from html import escape
from importlib.resources import files
from itertools import count
from math import isclose
from numbers import Integral
from typing import TYPE_CHECKING, Any

from rar_lib.core.decision import ALPHA, Finding
from rar_lib.core.errors import DataError
from rar_lib.core.stats import Interval
from rar_lib.core.text import visible
from rar_lib.models.machine import hardware

if TYPE_CHECKING:
    import pandas as pd

    from rar_lib.judging.judge import Asked


@cache
def _published() -> dict[str, Any]:
    text = files("rar_lib.book").joinpath("published.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def published(name: str) -> pd.DataFrame:
    """A table of published numbers; its source is in ``.attrs["source"]``.

    Raises:
        KeyError: no such table.
    """
    import pandas as pd

    table = _published()[name]
    frame = pd.DataFrame(table["rows"], columns=table["columns"])
    frame.attrs["source"] = table["source"]
    return frame


#: Stands for all rows of a published table.
EVERY_ROW = "*"


def numbers(name: str, row: str, column: str) -> list[Any]:
    """Published values as they are stored: of one row, or of all rows for ``row="*"``.

    Raises:
        DataError: there is no such table, row or column; it names those that there are.
    """
    table = _published().get(name)
    if not isinstance(table, dict):
        known = ", ".join(key for key, value in _published().items() if isinstance(value, dict))
        raise DataError(f"published.json has no table {name!r}; it has: {known}")
    if column not in table["columns"][1:]:
        known = ", ".join(table["columns"][1:])
        raise DataError(f"{name} in published.json has no column {column!r}; it has: {known}")
    found = [cells for cells in table["rows"] if row in (EVERY_ROW, cells[0])]
    if not found:
        known = ", ".join(str(cells[0]) for cells in table["rows"])
        raise DataError(f"{name} in published.json has no row {row!r}; it has: {known}")
    at = table["columns"].index(column)
    return [cells[at] for cells in found]


def quoted(name: str) -> Table:
    """A table of published numbers for reading, under the line that names its source.

    Raises:
        KeyError: no such table.
    """
    found = _published()[name]
    print("quoted from:", found["source"])
    rows = [dict(zip(found["columns"], row, strict=True)) for row in found["rows"]]
    return table([_each(_as_published, row) for row in rows])


def _as_published(value: Any) -> Any:
    # A frame would turn 25.0 next to 24.9 into 25, and a count next to a share into a float.
    if isinstance(value, float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else value


def _each(shown: Callable[[Any], Any], row: Mapping[str, Any]) -> dict[str, Any]:
    return {column: shown(value) for column, value in row.items()}


def general(value: Any) -> Any:
    """A number for columns that mix counts and shares: counts in full, shares with five digits."""
    if not isinstance(value, float) or value != value:
        return value
    return f"{value:,.0f}" if value.is_integer() and abs(value) >= 1000 else f"{value:.5g}"


@dataclass(frozen=True)
class Table:
    """Rows for reading, as plain text and as HTML with every cell escaped."""

    frame: pd.DataFrame

    def __repr__(self) -> str:
        return str(self.frame.to_string(index=False))

    def _repr_html_(self) -> str:
        return str(self.frame.to_html(index=False, escape=True, border=0, justify="left"))


def table(rows: Sequence[dict[str, Any]]) -> Table:
    """Rows as a table for reading: intervals as text, missing numbers as a dash.

    Cells may hold model text: it is cleaned here and escaped when shown.
    """
    import pandas as pd

    pd.options.display.max_colwidth = 500  # sentences are meant to be read to their end
    return Table(pd.DataFrame([_each(cell, row) for row in rows]))


@dataclass(frozen=True)
class Folds:
    """Tables of one kind, each folded under its title.

    Attributes:
        about: what all of them show; with its title it is the caption of each.
        closed: whether the first is closed as well, because it is looked up and not read.
    """

    tables: Mapping[str, Table]
    about: str
    closed: bool = False

    def __repr__(self) -> str:
        return "\n\n".join(f"# {title}\n{table!r}" for title, table in self.tables.items())

    def _repr_html_(self) -> str:
        folds: list[str] = []
        for title, found in self.tables.items():
            said = escape(visible(title))
            caption = f"<caption>{escape(visible(self.about))}: {said}.</caption>"
            rows = found._repr_html_().replace("<thead>", f"{caption}<thead>", 1)
            opened = "" if folds or self.closed else " open"
            folds.append(
                f'<details class="rar-asked"{opened}><summary>{said}</summary>{rows}</details>'
            )
        return "".join(folds)


def folds(
    parts: Mapping[str, Sequence[dict[str, Any]]], about: str, *, closed: bool = False
) -> Folds:
    """Several tables where one at a time is enough: title -> rows; see :class:`Folds`."""
    return Folds({title: table(rows) for title, rows in parts.items()}, about, closed)


@dataclass(frozen=True)
class Prompts:
    """What a judge was asked, a fold for each question: the conversation, word for word.

    Attributes:
        asked: title of the question -> the question with its reply.
    """

    asked: Mapping[str, Asked]

    def __repr__(self) -> str:
        parts = []
        for title, one in self.asked.items():
            parts += [f"# {title}", *(f"[{role}]\n{text}" for role, text in self._turns(one)), ""]
        return "\n".join(parts)

    def _repr_html_(self) -> str:
        folds = []
        for number, (title, one) in enumerate(self.asked.items()):
            turns = "".join(
                f"<dt>{escape(role)}</dt><dd><pre>{escape(text)}</pre></dd>"
                for role, text in self._turns(one)
            )
            opened = " open" if number == 0 else ""
            folds.append(
                f'<details class="rar-asked"{opened}><summary>{escape(visible(title))}</summary>'
                f"<dl>{turns}</dl></details>"
            )
        return "".join(folds)

    @staticmethod
    def _turns(one: Asked) -> list[tuple[str, str]]:
        turns = [(str(turn["role"]), visible(turn["content"])) for turn in one.messages]
        begun = f"{visible(one.begun)} " if one.begun else ""
        return [*turns, ("judge", f"{begun}{token(one.place.text)}")]


#: Characters that a reader would not see in a token.
_UNSEEN = str.maketrans({" ": "␣", "Ġ": "␣", "▁": "␣", "\n": "↵", "Ċ": "↵"})


def token(text: str) -> str:
    """A token for reading: a space and a line end are drawn."""
    return visible(text.translate(_UNSEEN))


def findings(found: Mapping[str, Finding]) -> Table:
    """Claims that were decided together: what each rests on, and its word.

    Args:
        found: id -> finding; a room before the first dot of the id is not shown.
    """
    return table(
        [
            {
                "claim": name.split(".", 1)[-1].replace("_", " "),
                "difference": finding.difference,
                "tasks": finding.difference.n if finding.difference else None,
                "p": p_value(finding.p),
                "p (Holm)": p_value(finding.p_holm),
                "detectable": finding.detectable,
                "finding": str(finding),
            }
            for name, finding in found.items()
        ]
    )


def p_value(p: float | None) -> str | None:
    """A p-value for reading, ``None`` without one: rounded, one of 0.0004 would look like none.

    It has three decimals, and more where three would make the level of a finding of it.
    """
    if p is None:
        return None
    if p < 0.001:
        return "<0.001"
    if isclose(p, ALPHA):
        return f"{p:.3f}"
    written = (f"{p:.{n}f}" for n in count(3))
    return next(text for text in written if float(text) != ALPHA)


def cell(value: Any) -> Any:
    """One table cell as text."""
    if value is None or value != value:  # NaN is how pandas says None
        return "–"
    if isinstance(value, Interval):
        return str(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.2f}"
    if isinstance(value, Integral):
        return f"{value:,}" if abs(int(value)) >= 1000 else value
    return visible(value) if isinstance(value, str) else value


def show(text: str, name: str = "", scores: Mapping[str, Any] | None = None) -> None:
    """Print model text as plain text: without control characters, never as HTML.

    A paragraph is one line, which wraps where it is read: a line that was wrapped before would wrap
    once more in a narrower window.

    Args:
        name: whose text it is, in a line above it.
        scores: what it was given, in the same line; ``None`` for what is unscored.
    """
    if name:
        given = (f", {what} {_score(value)}" for what, value in (scores or {}).items())
        print(f"\n{visible(name)}{''.join(given)}:")
    for line in visible(text).splitlines() or [""]:
        print(f"  {line}")


def _score(value: Any) -> str:
    return "unscored" if value is None else cell(value)


def made_by(profile: str) -> str:
    """The line at the head of every chapter: profile, hardware and date."""
    return f"profile {profile}; {hardware()}; {date.today().isoformat()}"
