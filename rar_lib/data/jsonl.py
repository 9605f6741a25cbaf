"""JSON lines, read strictly: every line becomes a row, or says what is wrong with it.

One object per line, UTF-8, validated against :mod:`rar_lib.core.types` without any coercion
(``"yes"`` or ``1`` is not a verdict). Blank lines are skipped; for anything else that does
not fit a :class:`Problem` names the line, the field and what is allowed there.
"""

from __future__ import annotations

import codecs
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from pydantic import ValidationError

from rar_lib.core.errors import DataError
from rar_lib.core.types import FIELD_FAULT, Criterion, Frozen, Pair, Rubric, Task, Turn

Row = TypeVar("Row", Task, Pair)
#: What makes a row of ours of another one, or says what is wrong with it.
Shape = Callable[[dict[str, Any]], tuple[dict[str, Any], list["Problem"]]]
_NESTED: dict[str, type[Frozen]] = {"rubric": Rubric, "criteria": Criterion, "history": Turn}


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with one line of a file.

    Attributes:
        line: counted from 1; 0 for the file as a whole.
        field: dotted path into the object, empty for the whole line.
        level: an ``error`` is refused by the loaders, a ``warning`` is not.
        mend: what to do about it, where ``allowed`` does not say so by itself.
    """

    line: int
    field: str
    found: str
    allowed: str
    level: Literal["error", "warning"] = "error"
    mend: str = ""

    def __str__(self) -> str:
        line = [f"line {self.line}"] if self.line else []
        field = [f"field {self.field}"] if self.field else []
        allowed = [f"allowed: {self.allowed}"] if self.allowed else []
        what = "; ".join([self.found, *allowed, *([self.mend] if self.mend else [])])
        return f"{', '.join(line + field)}: {what}"


class Note(NamedTuple):
    """One thing that was left out or repaired: where it is, the field, and why."""

    where: str
    field: str
    reason: str


@dataclass
class Account:
    """What a loader read, and what became of it; ``str()`` is a short table.

    Of a published set, whose rows are counted by reason; a table of a user's own is a
    :class:`~rar_lib.data.sheets.Loaded`, which has columns to guess and lines to mend.

    Attributes:
        source: where the rows come from.
        revision: as asked for on the hub; ``commit`` what it resolved to, ``None`` if unknown
            (offline from the cache, or local rows).
        sha256: of the file, where it is one.
        rows: read.
        kept: rows that became tasks.
        counts: everything else that is counted, by its name.
        notes: every row and part of one that was left out or repaired, by its place.
        warnings: what a reader of results should know.
    """

    source: str
    revision: str | None = None
    commit: str | None = None
    sha256: str | None = None
    rows: int = 0
    kept: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    notes: list[Note] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def leave_out(self, name: str, where: str, field: str = "", reason: str = "") -> None:
        """Count something that is left out, and note its place; ``reason`` is ``name`` if empty."""
        self.counts[name] += 1
        self.notes.append(Note(where, field, reason or name))

    def __str__(self) -> str:
        lines = [("source", self.source)]
        if self.revision is not None:
            lines += [("revision", self.revision), ("commit", self.commit or "unknown")]
        lines += [("rows read", f"{self.rows:,}"), ("tasks out", f"{self.kept:,}")]
        lines += [(name, f"{n:,}") for name, n in self.counts.items()]
        width = max(len(name) for name, _ in lines)
        table = [f"{name:<{width}}  {value}" for name, value in lines]
        return "\n".join([*table, *(f"warning: {warning}" for warning in self.warnings)])


def read(path: Path) -> bytes:
    """The bytes of a data file; ``DataError`` if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        mend = "name a file in it" if isinstance(error, IsADirectoryError) else "check the path"
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); {mend}") from error


def scan(
    data: bytes,
    model: type[Row],
    *,
    check: Callable[[Row], list[Problem]] = lambda _: [],
    shape: Shape | None = None,
) -> Iterator[tuple[int, Row | None, list[Problem]]]:
    """Every line that is not blank: its number, its row if it fits the schema, its problems.

    A file without any such line gives one entry, of line 0.

    Args:
        check: what is wrong with a row that fits the schema.
        shape: is given every row before it is held against the schema.
    """
    first_seen: dict[str, int] = {}
    line = 0
    for line, raw in raw_lines(data):
        row, problems = _parse(raw, model, shape)
        if row is not None:
            if row.id in first_seen:
                found = f"{row.id!r} was already used on line {first_seen[row.id]}"
                problems.append(Problem(0, "id", found, "an id that occurs once in the file"))
            problems += check(row)
            first_seen.setdefault(row.id, line)
        yield line, row, [replace(problem, line=line) for problem in problems]
    if not line:
        found = f"holds no {model.__name__.lower()}"
        yield 0, None, [Problem(0, "", found, "one JSON object a line")]


def raw_lines(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, with their numbers from 1; a byte order mark is no text.

    Files that were put one behind the other have several; DOS ended a file with a character.
    """
    # Split bytes at newlines only: str.splitlines would also cut at U+2028 inside a text.
    for line, raw in enumerate(data.removesuffix(b"\x1a").split(b"\n"), start=1):
        while raw.startswith(codecs.BOM_UTF8):
            raw = raw.removeprefix(codecs.BOM_UTF8)
        if raw.strip():
            yield line, raw


def json_rows(data: bytes, source: str) -> Iterator[tuple[int, Any]]:
    """The values of the lines that are not blank, of any schema, with their numbers from 1.

    Raises:
        DataError: a line is not JSON in UTF-8, or gives a key twice.
    """
    for line, raw in raw_lines(data):
        value, problems = parse_json(raw)
        if problems:
            raise DataError(f"{source}, {replace(problems[0], line=line)}")
        yield line, value


def repeated(names: Iterable[str]) -> list[str]:
    """Those that come more than once, in the order of their first coming."""
    return [name for name, times in Counter(names).items() if times > 1]


def parse_json(raw: bytes) -> tuple[Any, list[Problem]]:
    """The value of one line, or what is wrong with it; no key may be given twice."""
    twice: list[str] = []

    def unique(items: list[tuple[str, Any]]) -> dict[str, Any]:
        # Parsers keep the last one without a word.
        twice.extend(repeated(key for key, _ in items))
        return dict(items)

    try:
        value = json.loads(raw.decode("utf-8"), object_pairs_hook=unique)
    except UnicodeDecodeError as error:
        if other := _something_else(raw):
            return None, [other]
        byte = f"byte {error.start + 1} of the line ({raw[error.start]:#04x}) is not UTF-8"
        if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            byte = "a file in UTF-16, as its byte order mark says"
        return None, [Problem(0, "", byte, "text saved as UTF-8")]
    except (ValueError, RecursionError) as error:
        if other := _something_else(raw):
            return None, [other]
        found = f"malformed JSON ({error}), found {short(raw.decode('utf-8'))}"
        return None, [Problem(0, "", found, "one complete JSON object a line")]
    if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
        return None, [Problem(0, "", *_OTHERS[-1][1:])]
    try:
        raw_text(value)
    except UnicodeEncodeError as error:
        half = error.object[error.start]
        found = f"half a character, {half!a}, which can't be written as UTF-8"
        return None, [Problem(0, "", found, "whole characters", mend="take it out of the text")]
    return value, [Problem(0, key, "given twice", "each key once") for key in twice]


def raw_text(value: Any) -> bytes:
    """A value as JSON in UTF-8."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8")


#: How other files begin, what they are, what is allowed, and how they become what is.
_OTHERS = (
    (rb"\x1f\x8b|PK\x03\x04|BZh|\xfd7zXZ|\x28\xb5\x2f\xfd", "a compressed file", "JSON lines"),
    (rb"version https://git-lfs", "a pointer of Git LFS and not the file", "JSON lines"),
    (rb"\s*<(?:!doctype|html|\?xml)", "a web page", "JSON lines"),
    (rb"PAR1", "a Parquet file", "JSON lines"),
    (rb"SQLite format 3", "a database", "JSON lines"),
    (rb"(?:[^\x00]\x00){4}|(?:\x00[^\x00]){4}|.\x00\x00\x00", "text in UTF-16 or 32", "UTF-8"),
    (rb"\s*\{\s*\r?$", "an object that goes over several lines", "one JSON object a line"),
    (rb"\s*\{.*\}\r\s*\{", "lines that end as on old Macs", "line feeds (\\n)"),
    (
        rb"\s*\[\s*(?:\{|$)",
        "a list of objects",
        "one JSON object a line, without the list's brackets",
    ),
)


def _something_else(raw: bytes) -> Problem | None:
    """What a file is whose first line is no JSON, if it can be told."""
    for begin, found, allowed in _OTHERS:
        if re.match(begin, raw, re.IGNORECASE | re.DOTALL):
            return Problem(0, "", found, allowed)
    return None


def _parse(raw: bytes, model: type[Row], shape: Shape | None) -> tuple[Row | None, list[Problem]]:
    value, problems = parse_json(raw)
    if shape is not None and not problems and isinstance(value, dict):
        shaped, problems = shape(value)
        raw = raw if shaped is value else raw_text(shaped)
    if problems:
        return None, problems
    try:
        return model.model_validate_json(raw, strict=True), []
    except ValidationError as error:
        return None, explain(error, model)


#: What pydantic says of a schema in its own terms, in ours.
_ALLOWED = {
    "string_pattern_mismatch": "lower-case letters, digits and hyphens, at most 64",
    "too_short": "at least one criterion",
    "too_long": "at most 60 criteria",
}


def explain(error: ValidationError, model: type[Frozen]) -> list[Problem]:
    """What does not fit the schema, field by field; the line is for the caller to fill in."""
    items = error.errors(include_url=False)
    places = [item["loc"] for item in items]
    problems = []
    for item in items:
        loc = item["loc"]
        # Criteria with mistakes are not counted, so that a list of them seems to be empty.
        if item["type"] == "too_short" and any(
            len(place) > len(loc) and place[: len(loc)] == loc for place in places
        ):
            continue
        problems.append(_explained(item, model))
    return problems


def _explained(item: Mapping[str, Any], model: type[Frozen]) -> Problem:
    loc = item["loc"]
    found = f"found {short(item['input'])}"
    allowed = _ALLOWED.get(item["type"], item["msg"])
    if item["type"] == FIELD_FAULT:
        loc = (*loc, item["ctx"]["field"])
        found = item["ctx"]["found"]
        allowed = item["ctx"]["allowed"]
    elif item["type"] == "extra_forbidden":
        names = [part for part in loc[:-1] if isinstance(part, str)]
        owner = _NESTED[names[-1]] if names else model
        found = f"unknown key, {found}"
        allowed = ", ".join(owner.model_fields)
    elif item["type"] == "missing":
        found = "missing"
        allowed = "a value for this required key"
    field = ".".join(str(part) for part in loc) or "(the whole line)"
    for begin in ("Value error, ", "Input should be "):
        allowed = allowed.removeprefix(begin)
    return Problem(0, field, found, allowed)


def short(value: object) -> str:
    """A value for a message: its ``repr``, cut to 80 characters."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
