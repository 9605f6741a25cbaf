"""Numbers to tables and sentences; model text to harmless text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Literal

from rar_lib.machine import hardware
from rar_lib.prompts import visible
from rar_lib.stats import Interval

if TYPE_CHECKING:
    import pandas as pd

Finding = Literal["supported", "not supported", "inconclusive", "not testable here"]


def published(name: str) -> pd.DataFrame:
    """A table of published numbers; its source is in ``.attrs["source"]``.

    Raises:
        KeyError: no such table.
    """
    import pandas as pd

    text = files("rar_lib").joinpath("datasets/published.json").read_text(encoding="utf-8")
    table = json.loads(text)[name]
    frame = pd.DataFrame(table["rows"], columns=table["columns"])
    frame.attrs["source"] = table["source"]
    return frame


def quoted(name: str) -> Table:
    """A table of published numbers for reading, under the line that names its source."""
    frame = published(name)
    print("quoted from:", frame.attrs["source"])
    rows = frame.to_dict("records")
    return table([{k: general(v) for k, v in row.items()} for row in rows])


def general(value: Any) -> Any:
    """A number with five digits at most, for columns that mix counts and shares."""
    return f"{value:.5g}" if isinstance(value, float) and value == value else value


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
    return Table(pd.DataFrame([{k: cell(v) for k, v in row.items()} for row in rows]))


def cell(value: Any) -> Any:
    """One table cell as text."""
    if value is None or value != value:  # NaN is how pandas says None
        return "–"
    if isinstance(value, Interval):
        return str(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.2f}"
    return visible(value) if isinstance(value, str) else value


#: With fewer resampled units a percentile interval is far too narrow to decide anything.
MIN_UNITS = 8


def finding(difference: Interval | None) -> Finding:
    """What an interval says of the claim that a difference is above zero.

    No interval, or one over fewer than ``MIN_UNITS`` units, decides nothing.
    """
    if difference is None or difference.n < MIN_UNITS:
        return "not testable here"
    if difference.low > 0:
        return "supported"
    if difference.high < 0:
        return "not supported"
    return "inconclusive"


def gamed(training: Interval | None, hold_out: Interval | None) -> str:
    """What two changes over a run say together: was the reward raised without the quality?

    Args:
        training: change of the held-out answers' score by the judge that gave the reward.
        hold_out: the same by a judge that did not.
    """
    reward, quality = finding(training), finding(hold_out)
    if "not testable here" in (reward, quality):
        return "not testable here: too few tasks or looks, or no second judge"
    if reward != "supported":
        return "the training reward did not rise beyond its interval: there is nothing to explain"
    if quality == "supported":
        return "both judges see a rise: no sign of gaming"
    if quality == "not supported":
        return "gamed: the training reward rose while the hold-out score fell"
    return "the training reward rose, and the hold-out judge cannot confirm it"


def negated(interval: Interval | None) -> Interval | None:
    """The interval of the opposite difference, for a claim that something is below zero."""
    if interval is None:
        return None
    return replace(interval, value=-interval.value, low=-interval.high, high=-interval.low)


def as_json(interval: Interval | None) -> dict[str, Any] | None:
    """An interval as a JSON value, for a later chapter."""
    return None if interval is None else asdict(interval)


def from_json(value: dict[str, Any] | None) -> Interval | None:
    """The reverse of :func:`as_json`."""
    return None if value is None else Interval(**value)


def show(text: str, *, width: int = 74) -> None:
    """Print model text as plain text: wrapped, without control characters, never as HTML."""
    import textwrap

    for line in visible(text).splitlines() or [""]:
        print(textwrap.fill(line, width, initial_indent="  ", subsequent_indent="  "))


def made_by(profile: str) -> str:
    """The line at the head of every chapter: profile, hardware and date."""
    return f"profile {profile}; {hardware()}; {date.today().isoformat()}"
