"""A table that a user brings: CSV, TSV, JSON lines or Parquet, as rows that know their line.

    sheet = read_sheet("questions.csv")
    columns = match(sheet, {"question": ("question", "prompt")}, {"question": "Frage"})
    sheet.rows[0].line, sheet.rows[0].cells[columns["question"]]

A row that can't be read is a :class:`~rar_lib.data.jsonl.Problem` with its line, and the others are
read all the same. A file that can't be read at all is a ``DataError``.
"""

from __future__ import annotations

import codecs
import csv
import io
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from rar_lib.core.errors import DataError, first_line
from rar_lib.data.jsonl import Problem, parse_json, raw_lines, read, short

T = TypeVar("T")
_DELIMITERS = (",", ";", "\t", "|")
#: Separates nothing: a table of one column may hold any of the delimiters in its text.
_NO_DELIMITER = "\x1f"
_JSON_LINES = (".jsonl", ".ndjson", ".json")
_PARQUET = (".parquet", ".pq")
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
#: How other files begin, and what to do with them.
_OTHER = {
    b"PK\x03\x04": "is a workbook or an archive, not text: save the sheet as CSV UTF-8",
    b"\xd0\xcf\x11\xe0": "is an old Excel workbook: save the sheet as CSV UTF-8",
    b"\x1f\x8b": "is compressed: unpack it first",
}
_MEND_BYTES = "save the file as UTF-8, or name its encoding, such as --encoding cp1252"


class Line(NamedTuple):
    """One row: where it stands, from 1 (in Parquet its number), and its cells by column."""

    line: int
    cells: dict[str, Any]


@dataclass(frozen=True)
class Sheet:
    """A table as it stands in its file.

    Attributes:
        columns: their names, in order; no field can be read from a name that comes twice.
        rows: those that could be read and hold anything; cells of text files are text.
        problems: the others.
    """

    source: str
    columns: tuple[str, ...]
    rows: list[Line]
    problems: list[Problem] = field(default_factory=list)


@dataclass(frozen=True)
class Loaded(Generic[T]):
    """What became of a table.

    Its user mends it line by line; of a published set, which nobody here can mend, an
    :class:`~rar_lib.data.jsonl.Account` counts reasons under the revision that was read.

    Attributes:
        items: in the order of the file.
        columns: field -> the column that it was read from.
        unused: columns from which nothing was read.
        problems: an ``error`` for every row that was left out, a ``warning`` for one that was not.
    """

    source: str
    items: list[T]
    columns: dict[str, str]
    unused: tuple[str, ...]
    problems: list[Problem]

    @property
    def left_out(self) -> int:
        """How many rows were not read."""
        return len({problem.line for problem in self.problems if problem.level == "error"})

    @property
    def guess(self) -> str:
        """Which column was taken for what, in a line or two."""
        taken = ", ".join(f"{field} from {short(name)}" for field, name in self.columns.items())
        left = ", ".join(map(short, self.unused))
        return f"{self.source}: {taken}" + (f"; not used: {left}" if left else "")


def read_sheet(path: str | Path, *, encoding: str = "utf-8") -> Sheet:
    """The rows of a table.

    JSON lines by their ending (``.jsonl``, ``.ndjson``, ``.json``), Parquet by its ending or first
    bytes, anything else as delimited text: the first line names the columns, and whichever of
    comma, semicolon, tab and bar splits it into most of them separates all. Quoted cells may hold
    line ends; a byte order mark is no text.

    Raises:
        DataError: the file can't be read, is of another kind, or holds no row.
    """
    path = Path(path)
    data = read(path)
    for start, why in _OTHER.items():
        if data.startswith(start):
            raise DataError(f"{path} {why}")
    kind = path.suffix.lower()
    if kind in _PARQUET or data.startswith(b"PAR1"):
        sheet = read_parquet(path)
    elif kind in _JSON_LINES:
        sheet = _json_lines(path, data, encoding)
    else:
        sheet = _delimited(path, data, encoding)
    if not sheet.rows and not sheet.problems:
        raise DataError(f"{path} holds no row: give a table with one question or response a row")
    return sheet


def match(
    sheet: Sheet, known: Mapping[str, Sequence[str]], given: Mapping[str, str]
) -> dict[str, str]:
    """Which column holds which field: the given one, else the first that has a known name.

    Args:
        known: field -> names that a column of it usually has, the likeliest first; case, spaces
            and signs do not count.
        given: field -> column, as the user says; ``""`` leaves the field out.

    Raises:
        DataError: a given column is not there, or one that is needed comes twice.
    """
    names = ", ".join(map(short, sheet.columns)) or "none"
    found: dict[str, str] = {}
    for field_, column in given.items():
        if field_ not in known:
            raise DataError(f"no field {field_!r} to read; choose from: {', '.join(known)}")
        if column and column not in sheet.columns:
            raise DataError(f"{sheet.source}: no column {column!r} for {field_}; it has {names}")
        found[field_] = column
    plain = {_plain(column): column for column in reversed(sheet.columns)}
    for field_, usual in known.items():
        taken = set(found.values())
        candidates = [plain[_plain(name)] for name in usual if _plain(name) in plain]
        free = [column for column in candidates if column not in taken]
        if field_ not in found and free:
            found[field_] = free[0]
    for field_, column in found.items():
        if sheet.columns.count(column) > 1:
            raise DataError(
                f"{sheet.source}: column {column!r} for {field_} comes twice: rename one of them"
            )
    return {field_: found[field_] for field_ in known if found.get(field_)}


def unused(sheet: Sheet, columns: Mapping[str, str]) -> tuple[str, ...]:
    """Named columns from which nothing is read."""
    return tuple(name for name in sheet.columns if name and name not in columns.values())


def text_of(row: Line, column: str | None) -> tuple[str, Problem | None]:
    """A cell as text, ``""`` where it is empty or there is no such column; or why it is none.

    Numbers are written out, whole ones without a point: spreadsheets turn ids into numbers.
    """
    value = row.cells.get(column) if column else None
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "", None
    if isinstance(value, str):
        if half := re.search("[\ud800-\udfff]", value):
            found = f"half a character, {half[0]!a}, which can't be written as UTF-8"
            return "", Problem(row.line, str(column), found, "", mend="write the text again")
        return value, None
    if isinstance(value, bool) or not isinstance(value, int | float):
        kind = {"dict": "an object", "list": "a list", "bool": "true or false"}
        found = f"{kind.get(type(value).__name__, type(value).__name__)}, {short(value)}"
        return "", Problem(row.line, str(column), found, "text or a number")
    whole = isinstance(value, float) and value.is_integer()
    return str(int(value)) if whole else str(value), None


def once(
    items: Sequence[tuple[int, T]], key: Callable[[T], str], what: str, mend: str
) -> tuple[list[T], list[Problem]]:
    """Items whose key no other one has, and a problem for each of the others, with both lines.

    Of rows that say the same the first is kept. Where they differ, which one is meant is unknown:
    none of them is read.

    Args:
        items: line and item.
        what: name of the field that has to be unique.
    """
    groups: dict[str, list[tuple[int, T]]] = {}
    for line, item in items:
        groups.setdefault(key(item), []).append((line, item))
    out: set[int] = set()
    problems: list[Problem] = []
    for name, group in groups.items():
        first, *others = group
        if not others:
            continue
        same = all(item == first[1] for _, item in others)
        lines = [line for line, _ in group]
        listed = f"{', '.join(map(str, lines[:-1]))} and {lines[-1]}"
        for line in lines[1:] if same else lines:
            out.add(line)
            found = (
                f"{short(name)} repeats line {first[0]}"
                if same
                else f"{short(name)} is on lines {listed}, which differ"
            )
            problems.append(
                Problem(line, what, found, "", mend="remove one of them" if same else mend)
            )
    return [item for line, item in items if line not in out], problems


def _plain(name: str) -> str:
    return "".join(re.findall(r"\w", name.casefold())).replace("_", "")


def read_parquet(path: Path) -> Sheet:
    """A table in Parquet, its cells as they are.

    Raises:
        DataError: pyarrow is not installed, or the file can't be read.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise DataError(
            f"{path}: Parquet is read by pyarrow, which is not installed: pip install pyarrow, or "
            "save the table as CSV or JSON lines"
        ) from error
    try:
        table = pyarrow.parquet.read_table(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(
            f"{path} is not Parquet, or damaged ({first_line(error)}): write or download it again"
        ) from error
    rows = [Line(n, cells) for n, cells in enumerate(table.to_pylist(), start=1)]
    return Sheet(str(path), tuple(table.column_names), rows)


def _json_lines(path: Path, data: bytes, encoding: str) -> Sheet:
    if data.startswith(_UTF16) or _codec(encoding) != "utf-8":
        data = _decode(path, data, encoding).encode("utf-8", "surrogateescape")
    if data.lstrip().startswith(b"["):
        raise DataError(
            f"{path} holds a JSON list: write one object a line instead, for example with "
            f"jq -c '.[]' {path.name}"
        )
    rows: list[Line] = []
    problems: list[Problem] = []
    columns: dict[str, None] = {}
    for line, raw in raw_lines(data):
        value, wrong = parse_json(raw)
        if not wrong and not isinstance(value, dict):
            wrong = [Problem(0, "", f"found {short(value)}", "one JSON object a line")]
        if wrong:
            problems += [replace(problem, line=line) for problem in wrong]
            continue
        rows.append(Line(line, value))
        columns |= dict.fromkeys(value)
    return Sheet(str(path), tuple(columns), rows, problems)


def _delimited(path: Path, data: bytes, encoding: str) -> Sheet:
    text = _decode(path, data, encoding)
    skipped = 0
    delimiter = "\t" if path.suffix.lower() in (".tsv", ".tab") else ""
    if said := re.match(r"sep=(.)\r?\n", text):  # as Excel writes and hides it
        delimiter = said[1]
        text = text[said.end() :]
        skipped = 1
    records = _records(text, delimiter or _delimiter(text), skipped)
    header = next((cells for _, cells, _ in records if cells), [])
    columns = tuple(name.strip() for name in header)
    for name in columns:
        if bad := _undecoded(name):
            raise DataError(f"{path}, line 1: {bad} is not {encoding.upper()}: {_MEND_BYTES}")
    rows: list[Line] = []
    problems: list[Problem] = []
    for line, cells, problem in records:
        wrong = problem or _what_is_wrong(line, cells, columns, encoding)
        if wrong:
            problems.append(wrong)
        elif any(cell.strip() for cell in cells):
            rows.append(Line(line, dict(zip(columns, cells, strict=False))))
    return Sheet(str(path), columns, rows, problems)


def _records(
    text: str, delimiter: str, skipped: int
) -> Iterator[tuple[int, list[str], Problem | None]]:
    """Line, cells and what is malformed of every record; the reader goes on at the next line."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        line = reader.line_num + skipped + 1
        try:
            yield line, next(reader), None
        except StopIteration:
            return
        except csv.Error as error:
            found = f"malformed ({error})"
            mend = "put quotes around a cell with quotes in it, and double those inside"
            if "end of data" in str(error):
                found = "a quote is opened here and never closed, so all that follows is lost"
                mend = "close it, or double it if it is part of the text"
            yield line, [], Problem(line, "", found, "", mend=mend)


def _what_is_wrong(
    line: int, cells: Sequence[str], columns: Sequence[str], encoding: str
) -> Problem | None:
    for column, cell in zip(columns, cells, strict=False):
        if bad := _undecoded(cell):
            return Problem(line, column, f"{bad} is not {encoding.upper()}", "", mend=_MEND_BYTES)
    if any(cell.strip() for cell in cells[len(columns) :]):
        found = f"{len(cells)} cells under {len(columns)} columns"
        return Problem(
            line, "", found, "", mend="put quotes around a cell that holds the separator"
        )
    return None


def _delimiter(text: str) -> str:
    """What splits the first line into most columns."""

    def width(delimiter: str) -> int:
        _, cells, _ = next(_records(text, delimiter, 0))
        return len(cells)

    text = text.lstrip("\r\n")
    best = max(_DELIMITERS, key=width) if text else ","
    return best if text and width(best) > 1 else _NO_DELIMITER


def _codec(encoding: str) -> str:
    try:
        return codecs.lookup(encoding).name
    except LookupError as error:
        raise DataError(
            f"no encoding {encoding!r}; usual ones: utf-8, cp1252, latin-1, utf-16"
        ) from error


def _decode(path: Path, data: bytes, encoding: str) -> str:
    """The text; bytes of UTF-8 that are none stay as surrogates, to be named with their row."""
    codec = "utf-16" if data.startswith(_UTF16) else _codec(encoding)
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        text = data.decode(codec, "surrogateescape" if codec == "utf-8" else "strict")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise DataError(
            f"{path}, line {line}: byte {data[error.start]:#04x} is not {encoding.upper()}: "
            f"{_MEND_BYTES}"
        ) from error
    if "\0" in text:
        raise DataError(f"{path} holds bytes of zero, so it is not text in {codec}: {_MEND_BYTES}")
    return text


def _undecoded(text: str) -> str:
    """The first byte that could not be decoded; ``""`` if there is none."""
    bad = re.search("[\udc80-\udcff]", text)
    return f"byte {ord(bad[0]) - 0xDC00:#04x}" if bad else ""
