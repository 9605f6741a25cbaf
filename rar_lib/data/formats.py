"""The field's row formats, to tasks or from them, with a count of all that gets lost.

    done = convert_tasks("train.parquet", "tasks.jsonl")              # the format is guessed
    done.source, done.written, done.lost, done.problems
    convert_tasks("tasks.jsonl", "grpo.jsonl", to="trl")              # load_dataset("json", ...)

What is lost is measured, not declared: every row is read and written back, every task is written
and read back, and what does not come back the same is counted under its field. The published
schemas, as they stood in November 2026:

- ``rar``: RaR-Medicine and RaR-Science, the columns of ScaleAI's dataset cards (2025):
  ``question``, ``reference_answer``, ``question_source``, ``rubric`` with ``title``,
  ``description``, ``weight``, ``rubric_list``, ``rubric_count``; see :mod:`rar_lib.data.rar`.
- ``healthbench``: OpenAI's files of May 2025; see :mod:`rar_lib.data.healthbench`.
- ``verifiers``: rows of a data set of PrimeIntellect's verifiers (``docs/environments.md``, 0.1):
  ``prompt`` as messages or ``question``, ``answer``, ``info`` as an object or JSON text,
  ``example_id``. It has no field for rubrics, so a task goes whole into ``info["rar_task"]``.
  prime-rl trains on verifiers' environments and has no rows of its own. The tasksets of
  verifiers 1 are Python classes; no file of them is published, so none is read here.
- ``openrubrics``: OpenRubrics (arXiv 2510.07743): ``instruction`` and ``rubric``, a numbered text
  whose items end in ``[Hard Rule]`` or ``[Principle]``. The dataset card could not be reached; the
  columns are those that public code reads from OpenRubrics and OpenRubric-v2. Read only: its rows
  are pairs of responses (``response_a``, ``response_b``, ``winner``), and a task has none. A hard
  rule is taken as Essential and a principle as Important, which is our mapping, not the paper's.
- ``trl``: TRL's prompt-only and prompt-completion types, conversational or plain
  (``docs/source/dataset_formats.md``): ``prompt``, ``completion``, which becomes the reference.
  Written are the columns that :func:`rar_lib.dataset_of` makes, the task as JSON in ``task``.
- ``rubrics``: rubrics of anybody's own, in any of the shapes of
  :func:`rar_lib.data.tasks.rubric_of`, beside a question or a prompt. Read only.
- ``tasks``: this library's own.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rar_lib.core.errors import DataError
from rar_lib.core.files import save_text
from rar_lib.core.prompts import policy_messages, trl_row
from rar_lib.core.types import Category, Criterion, Polarity, Rubric, Task
from rar_lib.data import healthbench, rar
from rar_lib.data.jsonl import Account, Problem, explain, short
from rar_lib.data.polarity import split_prefix
from rar_lib.data.questions import DOMAINS, QUESTION_COLUMNS, mended_once, task_in
from rar_lib.data.sheets import Line, Sheet, match, read_sheet, text_of
from rar_lib.data.tasks import (
    EXAMPLE,
    RUBRIC_COLUMNS,
    SENTENCE,
    conversation,
    in_our_form,
    is_nothing,
    is_ours,
    number_id,
    parsed,
    question_id,
    rubric_notes,
    task_id,
)

Row = Mapping[str, Any]
#: The key of ``info`` under which a row of verifiers holds a whole task.
INFO_KEY = "rar_task"
_ID_LENGTH = 64
#: Values that say nothing, so that they can be filled but not lost.
_EMPTY = (None, "", ())
#: A weight for a criterion that has none: of those that RaR's rows use, the category's highest.
_RAR_WEIGHTS = {
    Category.ESSENTIAL: 5,
    Category.IMPORTANT: 4,
    Category.OPTIONAL: 2,
    Category.PITFALL: -1,
}
#: Points for a criterion that has none: ten times the paper's weight, where our reading of
#: HealthBench gives the category back; 6 and not 7 for Important for that reason.
_HEALTHBENCH_POINTS = {
    Category.ESSENTIAL: 10,
    Category.IMPORTANT: 6,
    Category.OPTIONAL: 3,
    Category.PITFALL: 9,
}


@dataclass(frozen=True)
class Held:
    """What came of one row.

    Attributes:
        echo: as much of the row as the task holds, in the row's own format.
        notes: parts of the row that were left out, as warnings without a line.
    """

    task: Task
    echo: Row
    notes: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class Format:
    """One way to write a task as a row.

    Attributes:
        about: whose rows these are.
        columns: those by which it is recognised; each group needs one of its names.
        read: row and domain -> the task, or what is wrong with the row.
        write: task -> row; ``None`` where tasks can't be written so.
        holds: rows -> whether they may be of it, where other rows have such columns, too.
    """

    name: str
    about: str
    columns: tuple[tuple[str, ...], ...]
    read: Callable[[Row, str], Held | list[Problem]]
    write: Callable[[Task], dict[str, Any]] | None
    holds: Callable[[Sequence[Row]], bool] = lambda _: True

    @property
    def recognised(self) -> str:
        """The columns by which it is recognised, in words."""
        return ", ".join(" or ".join(group) for group in self.columns)

    def fits(self, columns: Iterable[str]) -> bool:
        """Whether a table with these columns may be of this format."""
        names = set(columns)
        return all(names.intersection(group) for group in self.columns)


@dataclass(frozen=True)
class Read:
    """Tasks out of a file of any known format.

    Attributes:
        rows: how many the file holds, bad ones too.
        lost: field of the rows -> how many rows have it and a task that does not hold it as it was.
        ids_changed: ids that came more than once, made unique by a number.
        problems: an ``error`` for each row that was left out, a ``warning`` for a part of one.
        notes: what a user of the tasks should know of their rubrics.
    """

    format: str
    tasks: list[Task]
    rows: int
    lost: Counter[str]
    ids_changed: int
    problems: list[Problem]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Converted:
    """What a conversion read, wrote and lost.

    Attributes:
        source, target: names of the formats.
        rows: read; ``written``, rows of the output.
        lost_reading: field of the input -> rows whose task does not hold it as it was.
        lost_writing: field of the tasks -> values that the output does not give back.
        filled: field of the tasks -> values that the output had to make up, such as weights.
        problems: an ``error`` for each row left out, a ``warning`` for a part of one, by line.
        notes: what a user of the tasks should know of their rubrics.
    """

    path: Path
    source: str
    target: str
    rows: int
    written: int
    ids_changed: int
    lost_reading: Counter[str]
    lost_writing: Counter[str]
    filled: Counter[str]
    problems: list[Problem] = field(default_factory=list)
    notes: tuple[str, ...] = ()

    @property
    def lost(self) -> Counter[str]:
        """All that is not in the output as it was, by field."""
        return self.lost_reading + self.lost_writing

    @property
    def lossless(self) -> bool:
        """Whether the output gives all of the input back."""
        return not (self.lost or self.problems or self.ids_changed)


def convert_tasks(
    path: str | Path,
    output: str | Path,
    *,
    source: str | None = None,
    to: str = "tasks",
    domain: str = "other",
    encoding: str = "utf-8",
) -> Converted:
    """Write a file of one format in another one, as JSON lines, whole or not at all.

    Args:
        path: JSON lines or Parquet; CSV or TSV for formats of plain columns.
        source: name of the format, where the guess by the columns is wrong.
        to: name of a format that can be written.
        domain: of tasks whose rows do not say it: ``medicine``, ``science`` or ``other``.

    Raises:
        DataError: no such format or domain, the file can't be read or fits no format, the output
            is the input or can't be written, or no row could be converted.
    """
    target = Path(output)
    writer = _writable(to)
    if target.suffix.lower() in (".parquet", ".pq", ".csv", ".tsv"):
        raise DataError(f"{target}: rows are written as JSON lines: name it {target.stem}.jsonl")
    if target.resolve() == Path(path).resolve():
        raise DataError(f"{target} is read and would be overwritten: choose another output")
    found = read_format(path, source, domain=domain, encoding=encoding)
    lost = Counter[str]()
    filled = Counter[str]()
    rows: list[dict[str, Any]] = []
    problems = list(found.problems)
    for task in found.tasks:
        row = _written(task, writer, lost, filled)
        if isinstance(row, Problem):
            problems.append(row)
        else:
            rows.append(row)
    if not rows:
        raise DataError(f"{path}: no row could be written as {to}; the first: {problems[0]}")
    _save(target, rows)
    return Converted(
        path=target,
        source=found.format,
        target=to,
        rows=found.rows,
        written=len(rows),
        ids_changed=found.ids_changed,
        lost_reading=found.lost,
        lost_writing=lost,
        filled=filled,
        problems=problems,
        notes=found.notes,
    )


def read_format(
    path: str | Path,
    source: str | None = None,
    *,
    domain: str = "other",
    encoding: str = "utf-8",
) -> Read:
    """Tasks out of a file of any known format; arguments and errors as :func:`convert_tasks`."""
    if domain not in DOMAINS:
        raise DataError(f"no domain {domain!r}; choose from: {', '.join(DOMAINS)}")
    sheet = read_sheet(path, encoding=encoding)
    if not sheet.rows:
        named = f" as {_known(source).name}" if source else ""
        raise DataError(f"{path}: no row could be read{named}; the first: {sheet.problems[0]}")
    reader = guess_format(sheet) if source is None else _known(source)
    lost = Counter[str]()
    tasks: dict[str, Task] = {}
    changed = 0
    problems = list(sheet.problems)
    for line, cells in sheet.rows:
        held = _read_row(reader, cells, domain)
        if isinstance(held, list):
            problems += [replace(problem, line=line) for problem in held]
            continue
        problems += [replace(note, line=line) for note in held.notes]
        lost.update(set(_differences(cells, held.echo)))
        task = _unique(held.task, tasks)
        changed += task.id != held.task.id
        tasks[task.id] = task
    problems.sort(key=lambda problem: problem.line)
    if not tasks:
        first = f"; the first: {problems[0]}" if problems else ""
        raise DataError(f"{path}: no row could be read as {reader.name}{first}")
    bad = {problem.line for problem in sheet.problems if problem.level == "error"}
    free = reader.name == "rubrics"  # others say by themselves what a criterion's category is
    rubrics = _rubrics(row.cells for row in sheet.rows) if free else []
    return Read(
        format=reader.name,
        tasks=list(tasks.values()),
        rows=len(sheet.rows) + len(bad),
        lost=lost,
        ids_changed=changed,
        problems=mended_once(problems),
        notes=tuple(rubric_notes(tasks.values(), rubrics)),
    )


def guess_format(sheet: Sheet) -> Format:
    """The first format whose columns are there, and whose rows they may be.

    Raises:
        DataError: there is none; the message lists the columns of each.
    """
    rows = [row.cells for row in sheet.rows]
    for candidate in FORMATS.values():
        if candidate.fits(sheet.columns) and candidate.holds(rows):
            return candidate
    wanted = "; ".join(f"{known.name}: {known.recognised}" for known in FORMATS.values())
    names = ", ".join(map(short, sheet.columns)) or "none"
    raise DataError(
        f"{sheet.source}: columns {names} fit no known format ({wanted}); questions without "
        "rubrics are read by rar synthesize; with rubrics of your own they look like this:\n"
        f"{EXAMPLE}"
    )


def _known(name: str) -> Format:
    if name not in FORMATS:
        raise DataError(f"no format {name!r} to read; choose from: {', '.join(FORMATS)}")
    return FORMATS[name]


def _writable(name: str) -> Format:
    found = FORMATS.get(name)
    if found is not None and found.write is not None:
        return found
    names = ", ".join(known.name for known in FORMATS.values() if known.write)
    if found is None:
        raise DataError(f"no format {name!r} to write; choose from: {names}")
    raise DataError(f"{name} is only read: a task lacks what its rows hold; write {names}")


def _read_row(reader: Format, row: Row, domain: str) -> Held | list[Problem]:
    try:
        return reader.read(row, domain)
    except ValidationError as error:  # a text too long, half a character, too many criteria
        return explain(error, Task)
    except UnicodeEncodeError as error:
        half = ascii(error.object[error.start])
        found = f"half a character, {half}, which can't be written as UTF-8"
        return [Problem(0, "", found, "", mend="write the text again")]


def _unique(task: Task, taken: Mapping[str, Task]) -> Task:
    number = 1
    name = task.id
    while name in taken:
        number += 1
        end = f"-{number}"
        name = task.id[: _ID_LENGTH - len(end)] + end
    return task if name == task.id else task.model_copy(update={"id": name})


def _written(
    task: Task, writer: Format, lost: Counter[str], filled: Counter[str]
) -> dict[str, Any] | Problem:
    """The row of a task, and what it holds of it by reading it again; or why there is none."""
    needs_rubric = writer.name in ("rar", "healthbench")
    if writer.write is None or (needs_rubric and task.rubric is None):
        found = f"task {task.id} has no rubric, and {writer.name} rows need one"
        return Problem(0, "", found, "", mend="write rubrics first: rar synthesize")
    row = writer.write(task)
    back = _read_row(writer, row, "other")
    if isinstance(back, list):
        return Problem(0, "", f"task {task.id} does not fit {writer.name}: {back[0]}", "")
    before = _values(task)
    after = _values(back.task, numbered=_shortened(task, back.task))
    places = {place for _, place in after}
    missing = {place for _, place in before} - places
    lost.update(["criteria"] * len(missing))
    kept = {at: value for at, value in before.items() if at[1] not in missing}
    changed = [at for at, value in kept.items() if after.get(at) != value]
    filled.update(name for name, place in changed if kept[name, place] in _EMPTY)
    lost.update(name for name, place in changed if kept[name, place] not in _EMPTY)
    return row


def _shortened(task: Task, back: Task) -> bool:
    """Whether criteria are missing, so that only their ids tell which ones are there."""
    sizes = [len(each.rubric.criteria) if each.rubric else 0 for each in (task, back)]
    return sizes[0] != sizes[1]


def _values(task: Task, *, numbered: bool = False) -> dict[tuple[str, str], object]:
    """Every value of a task, by its field and the number of its criterion."""
    names = [name for name in Task.model_fields if name != "rubric"]
    values: dict[tuple[str, str], object] = {(name, ""): getattr(task, name) for name in names}
    if task.rubric is None:
        return values
    for name in Rubric.model_fields:
        if name != "criteria":
            values[f"rubric.{name}", ""] = getattr(task.rubric, name)
    for number, criterion in enumerate(task.rubric.criteria):
        place = criterion.id if numbered else number_id(number)
        for name in Criterion.model_fields:
            values[f"criteria.{name}", place] = getattr(criterion, name)
    return values


def _warnings(account: Account) -> tuple[Problem, ...]:
    """What a loader of a published set left out of one row or repaired."""
    return tuple(Problem(0, note.field, note.reason, "", "warning") for note in account.notes)


def _differences(row: object, echo: object, path: str = "") -> Iterator[str]:
    """The fields of a row that are not the same in its echo; what is empty can't be lost."""
    if row is None or row in ("", [], {}) or row == echo:
        return
    if isinstance(row, Mapping) and isinstance(echo, Mapping):
        for name, value in row.items():
            yield from _differences(value, echo.get(name), f"{path}.{name}" if path else name)
    elif isinstance(row, list) and isinstance(echo, list) and len(row) == len(echo):
        for one, other in zip(row, echo, strict=True):
            yield from _differences(one, other, path)
    else:
        yield path or "(the whole row)"


def _save(target: Path, rows: Sequence[Row]) -> None:
    text = "".join(
        json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in rows
    )
    save_text(target, text)


# ---- this library's own ------------------------------------------------------------------------


def _own(text: str) -> Task | list[Problem]:
    try:
        task = Task.model_validate_json(text, strict=True)
    except ValidationError as error:
        return explain(error, Task)
    return task


def _read_tasks(row: Row, domain: str) -> Held | list[Problem]:
    if "options" in row:
        found = "multiple choice, which has no place in a file of tasks"
        return [Problem(0, "options", found, "", mend="ask for the answer in words")]
    if not (is_nothing(row.get("rubric")) or is_ours(row["rubric"])):
        return _read_rubrics(row, domain)
    known = {name: value for name, value in row.items() if name in Task.model_fields}
    whole, problems = in_our_form(known)
    task = problems or _own(json.dumps(whole))
    return task if isinstance(task, list) else Held(task, _write_tasks(task))


def _write_tasks(task: Task) -> dict[str, Any]:
    return task.model_dump(mode="json")


# ---- rubrics of one's own ----------------------------------------------------------------------


def _rubrics(rows: Iterable[Row]) -> list[object]:
    """The cells of these rows that hold a rubric."""
    cells = [row.get(name) for row in rows for name in RUBRIC_COLUMNS]
    return [parsed(cell) for cell in cells if not is_nothing(cell)]


def _are_free(rows: Sequence[Row]) -> bool:
    """Whether rubrics have another shape than ours, or tasks that have ours no ids."""
    cells = _rubrics(rows)
    without = not any("id" in row for row in rows)
    return bool(cells) and (without or not all(map(is_ours, cells)))


def _are_rars(rows: Sequence[Row]) -> bool:
    """Whether criteria begin with their category, or there is none that could."""
    cells = _rubrics(rows)
    return not cells or any(map(_names_categories, cells))


def _names_categories(cell: object) -> bool:
    items = cell if isinstance(cell, list) else []
    texts = [item.get("description") for item in items if isinstance(item, Mapping)]
    words = [split_prefix(text)[0] for text in texts if isinstance(text, str)]
    return any(rar.category(word)[0] for word in words)


def _read_rubrics(row: Row, domain: str) -> Held | list[Problem]:
    columns = match(Sheet("", tuple(row), []), QUESTION_COLUMNS, {})
    if "question" not in columns:
        return [Problem(0, "question", "missing", "a question or a prompt")]
    task, problems = task_in(Line(0, dict(row)), columns, domain)
    if task is None:
        return problems
    echo = {column: _echo(row, column, task, name) for name, column in columns.items()}
    echo["history"] = [turn.model_dump() for turn in task.history]
    return Held(task, echo, tuple(problems))


def _echo(row: Row, column: str, task: Task, name: str) -> object:
    """What a task holds of a cell, as the row has it."""
    if name == "rubric":
        return _rubric_echo(row[column], task.rubric)
    if name == "question":
        return _messages(task) if isinstance(row[column], list) else task.question
    value = getattr(task, name) or ""
    text, _ = text_of(Line(0, dict(row)), column)
    return row[column] if text.strip().casefold() == value.strip().casefold() else value


def _rubric_echo(cell: object, rubric: Rubric | None) -> object:
    if rubric is None:
        return None
    given = parsed(cell)
    whole = rubric.model_dump(mode="json")
    items = given if isinstance(given, list) else given["criteria"]  # type: ignore[index]
    if len(items) == len(rubric.criteria):
        pairs = zip(items, whole["criteria"], strict=True)
        whole["criteria"] = [_item_echo(item, held) for item, held in pairs]
    echo = whole["criteria"] if isinstance(given, list) else whole
    if given is cell:
        return echo
    return cell if not any(_differences(given, echo)) else None  # as JSON in a text


def _item_echo(item: object, held: dict[str, Any]) -> object:
    """What a criterion holds of one item, as the item has it."""
    if not isinstance(item, Mapping):
        return item if held["description"] in str(item) else held["description"]
    sentence = next((key for key in SENTENCE if item.get(key) is not None), "")
    known = {**held, "weight": held["points"], sentence: held["description"]}
    echo: dict[str, Any] = {}
    for key, value in item.items():
        same = str(known.get(key)).casefold() == str(value).strip().casefold()
        inside = key == sentence and held["description"] in str(value)
        echo[key] = value if same or inside or known.get(key) == value else known.get(key)
    return echo


# ---- RaR ---------------------------------------------------------------------------------------


def _read_rar(row: Row, domain: str) -> Held | list[Problem]:
    if wrong := rar.problem(row):
        return [Problem(0, wrong[0], wrong[1], "")]
    account = Account("row")
    criteria = rar.criteria(row["rubric"], "row", account)
    notes = _warnings(account)
    if not criteria:
        why = f": {notes[0].found}" if notes else ""
        return [Problem(0, "rubric", f"no usable criterion{why}", ""), *notes]
    task = Task.model_validate(
        {
            "id": question_id(row["question"]),
            "domain": domain,
            "question": row["question"],
            "reference": (row["reference_answer"] or "").strip() or None,
            "rubric": Rubric(criteria=tuple(criteria), source="synthetic_ref"),
        }
    )
    # Both follow from the rubric: where they agree with it, nothing is lost with them.
    derived = {
        "rubric_list": [item["description"] for item in row["rubric"]],
        "rubric_count": len(row["rubric"]),
    }
    return Held(task, _write_rar(task) | derived, notes)


def _write_rar(task: Task) -> dict[str, Any]:
    criteria = task.rubric.criteria if task.rubric else ()
    items = [
        {
            "description": f"{criterion.category} Criteria: {criterion.description}",
            "title": criterion.title,
            "weight": _rar_weight(criterion),
        }
        for criterion in criteria
    ]
    return {
        "question": task.question,
        "reference_answer": task.reference or "",
        "rubric": items,
        "rubric_list": [item["description"] for item in items],
        "rubric_count": len(items),
    }


def _rar_weight(criterion: Criterion) -> int:
    points = criterion.points
    if points and float(points).is_integer():
        return int(points)
    return _RAR_WEIGHTS[criterion.category]


# ---- HealthBench -------------------------------------------------------------------------------


def _read_healthbench(row: Row, domain: str) -> Held | list[Problem]:
    account = Account("row")
    named = dict(row)
    if isinstance(row.get("prompt_id"), str) and row["prompt_id"].strip():
        named["prompt_id"] = task_id(row["prompt_id"])
    try:
        task = healthbench.task_of(named, "row", account)
    except DataError as error:
        said = re.fullmatch(r"row(?:, field (\S+))?: (.*)", str(error), re.DOTALL)
        return [Problem(0, (said and said[1]) or "", said[2] if said else str(error), "")]
    if task is None:
        return [Problem(0, "rubrics", "no positive points, so there is nothing to gain", "")]
    return Held(task, _write_healthbench(task), _warnings(account))


def _write_healthbench(task: Task) -> dict[str, Any]:
    criteria = task.rubric.criteria if task.rubric else ()
    themes = [part.replace(" ", "_") for part in task.topic.split(", ")] if task.topic else []
    ideal = {
        "ideal_completion": task.reference,
        "ideal_completions_group": None,
        "ideal_completions_ref_completions": None,
    }
    return {
        "prompt_id": task.id,
        "prompt": _messages(task),
        "rubrics": [
            {
                "criterion": criterion.description,
                "points": points,
                "tags": list(criterion.tags),
            }
            for criterion, points in zip(criteria, _points(task), strict=True)
        ],
        "example_tags": [f"theme:{theme}" for theme in themes],
        "ideal_completions_data": ideal if task.reference else None,
    }


def _points(task: Task) -> list[float]:
    """HealthBench's points of every criterion: negative where meeting it is a fault."""
    if task.rubric is None:
        return []
    criteria = task.rubric.criteria
    if all(criterion.points and abs(criterion.points) <= 10 for criterion in criteria):
        return [
            int(points) if float(points).is_integer() else points
            for points in healthbench.signed_points(task.rubric)
        ]
    made = [_HEALTHBENCH_POINTS[criterion.category] for criterion in criteria]
    signs = [-1 if criterion.polarity is Polarity.BAD else 1 for criterion in criteria]
    return [sign * points for sign, points in zip(signs, made, strict=True)]


# ---- rows with a conversation ------------------------------------------------------------------


def _messages(task: Task) -> list[dict[str, str]]:
    turns = [{"role": turn.role, "content": turn.content} for turn in task.history]
    return [*turns, {"role": "user", "content": task.question}]


def _read_verifiers(row: Row, domain: str) -> Held | list[Problem]:
    info = _object(row.get("info"))
    if isinstance(info.get(INFO_KEY), Mapping):
        task = _own(json.dumps(info[INFO_KEY]))
        if isinstance(task, list):
            return [replace(problem, field=f"info.{INFO_KEY}.{problem.field}") for problem in task]
        echo = _write_verifiers(task)
        if not isinstance(row["info"], str):
            echo["info"] = _object(echo["info"])
        elif _object(echo["info"]) == info:  # the same object, written another way
            echo["info"] = row["info"]
        return Held(task, echo)
    name = "prompt" if row.get("prompt") else "question"
    found = conversation(row.get(name), name)
    if not isinstance(found, tuple):
        return found
    history, question = found
    answer = row.get("answer")
    reference = answer if isinstance(answer, str) and answer.strip() else None
    number = row.get("example_id")
    numbered = isinstance(number, int) and not isinstance(number, bool) and number >= 0
    task = Task(
        id=f"example-{number}" if numbered else question_id(question),
        domain=_domain(domain),
        question=question,
        history=tuple(history),
        reference=reference,
    )
    echo = {
        name: question if isinstance(row[name], str) else _messages(task),
        "answer": reference,
        "example_id": number if numbered else None,
    }
    if name == "prompt":  # verifiers ignores a question beside a prompt
        echo["question"] = question
    return Held(task, echo)


def _write_verifiers(task: Task) -> dict[str, Any]:
    info = {INFO_KEY: task.model_dump(mode="json")}
    turns = policy_messages(task, None)  # an environment has a system prompt of its own
    return {
        "prompt": turns,
        "answer": task.reference or "",
        "info": json.dumps(info, ensure_ascii=False),
    }


def _object(value: object) -> Mapping[str, Any]:
    """An object, or the one that a text holds as JSON; empty if it is neither."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return {}
    return value if isinstance(value, Mapping) else {}


def _domain(name: str) -> Any:
    return name  # checked by read_format; the type of Task.domain is closed


def _read_trl(row: Row, domain: str) -> Held | list[Problem]:
    column = row.get("task")
    if isinstance(column, str) and column.lstrip().startswith("{"):
        task = _own(column)
        if isinstance(task, list):
            return [replace(problem, field=f"task.{problem.field}") for problem in task]
        same = _object(column) == _object(task.model_dump_json())
        return Held(task, trl_row(task) | ({"task": column} if same else {}))
    found = conversation(row.get("prompt"), "prompt")
    if not isinstance(found, tuple):
        return found
    history, question = found
    reference = None if "label" in row else _completion(row.get("completion"))
    task = Task(
        id=question_id(question),
        domain=_domain(domain),
        question=question,
        history=tuple(history),
        reference=reference,
    )
    plain = isinstance(row["prompt"], str)
    echo: dict[str, Any] = {"prompt": question if plain else _messages(task)}
    if reference is not None:
        said = [{"role": "assistant", "content": reference}]
        echo["completion"] = reference if isinstance(row["completion"], str) else said
    return Held(task, echo)


def _completion(value: object) -> str | None:
    """The text of a completion, if it is one answer; a label would say whether it is a good one."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], Mapping):
        value = value[0].get("content") if value[0].get("role") == "assistant" else None
    return value if isinstance(value, str) and value.strip() else None


# ---- OpenRubrics -------------------------------------------------------------------------------

_ITEM = re.compile(r"^[ \t]*\d+[.)][ \t]+", re.MULTILINE)
_KIND = re.compile(r"\s*\[(Hard Rule|Principle)\]\s*\Z")
_KINDS = {"Hard Rule": Category.ESSENTIAL, "Principle": Category.IMPORTANT}


def _read_openrubrics(row: Row, domain: str) -> Held | list[Problem]:
    found = conversation(row.get("instruction"), "instruction")
    if not isinstance(found, tuple):
        return found
    text = row.get("rubric")
    if not isinstance(text, str) or not text.strip():
        return [Problem(0, "rubric", f"found {short(text)}", "a text of numbered items")]
    criteria, notes = _items(text)
    if not criteria:
        allowed = "numbered items that end in [Hard Rule] or [Principle]"
        return [Problem(0, "rubric", f"found {short(text)}", allowed)]
    history, question = found
    task = Task(
        id=question_id(question),
        domain=_domain(domain),
        question=question,
        history=tuple(history),
        rubric=Rubric(criteria=tuple(criteria), source="synthetic_noref"),
    )
    again = "\n".join(
        f"{number}. {criterion.description} [{criterion.title}]"
        for number, criterion in enumerate(criteria, start=1)
    )
    kept = _words(again) == _words(text)  # line ends between items and spaces apart
    plain = isinstance(row["instruction"], str)
    return Held(
        task,
        {
            "instruction": question if plain else _messages(task),
            "rubric": text if kept else again,
        },
        tuple(notes),
    )


def _are_numbered(rows: Sequence[Row]) -> bool:
    """Whether a rubric is a text of numbered items, or none is there."""
    cells = _rubrics(rows)
    return not cells or any(isinstance(cell, str) for cell in cells)


def _items(text: str) -> tuple[list[Criterion], list[Problem]]:
    starts = [(match.start(), match.end()) for match in _ITEM.finditer(text)]
    ends = [start for start, _ in starts[1:]] + [len(text)][: len(starts)]
    criteria: list[Criterion] = []
    notes: list[Problem] = []
    for index, ((_, start), end) in enumerate(zip(starts, ends, strict=True)):
        item = text[start:end]
        kind = _KIND.search(item)
        description = item[: kind.start()].strip() if kind else ""
        if kind is None or not description:
            found = f"item {index + 1} is {short(item.strip())}, left out"
            allowed = "a sentence that ends in [Hard Rule] or [Principle]"
            notes.append(Problem(0, "rubric", found, allowed, "warning"))
            continue
        criteria.append(
            Criterion(
                id=number_id(index),
                title=kind[1],
                description=description,
                category=_KINDS[kind[1]],
            )
        )
    return criteria, notes


def _words(text: str) -> str:
    return " ".join(text.split())


#: By name, in the order in which they are tried on a file.
FORMATS: dict[str, Format] = {
    known.name: known
    for known in (
        Format(
            "healthbench",
            "HealthBench",
            (("prompt_id",), ("prompt",), ("rubrics",)),
            _read_healthbench,
            _write_healthbench,
        ),
        Format(
            "rar",
            "RaR-Medicine, RaR-Science",
            (("question",), ("reference_answer",), ("rubric",)),
            _read_rar,
            _write_rar,
            holds=_are_rars,
        ),
        Format(
            "openrubrics",
            "OpenRubrics, OpenRubric-v2",
            (("instruction",), ("rubric",)),
            _read_openrubrics,
            None,
            holds=_are_numbered,
        ),
        Format(
            "rubrics",
            "rubrics of your own",
            (("question", "prompt", "instruction"), RUBRIC_COLUMNS),
            _read_rubrics,
            None,
            holds=_are_free,
        ),
        Format(
            "verifiers",
            "verifiers, prime-rl",
            (("prompt", "question"), ("answer", "info", "example_id")),
            _read_verifiers,
            _write_verifiers,
        ),
        Format("tasks", "this library", (("id",), ("question",)), _read_tasks, _write_tasks),
        Format("trl", "TRL", (("prompt",),), _read_trl, trl_row),
    )
}
