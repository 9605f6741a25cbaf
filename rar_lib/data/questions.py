"""Questions of one's own, from a table of any common kind, with responses to them.

    found = load_questions("questions.csv", columns={"question": "Frage"})
    found.items, found.guess, found.problems         # tasks, columns taken, rows left out and why
    answers = load_responses("responses.csv", found.items)

Columns are found by their names and can be given. A row that can't be used is a problem with its
line and what mends it; the others are used. Ids are made from the text where there are none, so
that the same table gives the same ids in any order of its rows.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import ValidationError

from rar_lib.core.errors import DataError
from rar_lib.core.files import save_text
from rar_lib.core.text import normalise
from rar_lib.core.types import Task
from rar_lib.data.jsonl import Problem, explain, short
from rar_lib.data.sheets import Line, Loaded, match, once, read_sheet, text_of, unused
from rar_lib.data.tasks import Parts, split_tasks, task_problems

#: What columns of questions are usually called, the likeliest first.
QUESTION_COLUMNS: dict[str, tuple[str, ...]] = {
    "question": ("question", "question text", "prompt", "query", "instruction", "problem", "input"),
    "reference": (
        "reference",
        "reference answer",
        "reference response",
        "ideal",
        "ideal answer",
        "ideal completion",
        "gold",
        "gold answer",
        "ground truth",
        "target",
        "expected",
        "answer",
        "solution",
        "output",
        "completion",
        "response",
    ),
    "id": ("id", "task id", "question id", "qid", "prompt id", "problem id", "uid", "task"),
    "domain": ("domain", "field", "subject", "area"),
    "topic": ("topic", "category", "specialty"),
    # Not "notes" or "comment": a remark of the table's author is nothing for the policy.
    "context": ("context", "passage", "passages"),
}
#: What columns of responses are usually called.
RESPONSE_COLUMNS: dict[str, tuple[str, ...]] = {
    "task": ("task id", "task", "question id", "qid", "prompt id", "problem id"),
    "response": (
        "response",
        "response text",
        "model response",
        "answer",
        "model answer",
        "completion",
        "output",
        "model output",
        "generation",
        "generated text",
        "prediction",
        "reply",
        "text",
    ),
    "id": ("response id", "id", "sample id", "completion id", "uid"),
    "question": QUESTION_COLUMNS["question"],
}
Part = Literal["train", "held-out"]
#: What a column ``split`` may say, without case, spaces, hyphens and underscores.
PARTS: dict[str, Part] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("heldout", "holdout", "test", "testing", "eval", "evaluation"), "held-out"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "development"), "held-out"),
}
DOMAINS: tuple[str, ...] = get_args(Task.model_fields["domain"].annotation)
_LONGEST_ID = 64


@dataclass(frozen=True)
class Response:
    """A response to be graded.

    Attributes:
        id: tells it from the other responses to its task; as given, or ``TASK-1``, ``TASK-2``, ...
            in the order of the file.
        text: may be empty; an empty response is one, in which nothing is met.
        line: where it stands in its file, 0 if it comes from none.
    """

    task: str
    id: str
    text: str
    line: int = field(default=0, compare=False)


def task_id(text: str) -> str:
    """An id of anybody's as one of ours: lower-case letters, digits and hyphens, 64 at most.

    Ids that can't be written so get a digest, which does not depend on anything but the id.
    """
    plain = re.sub(r"[\s_./:#-]+", "-", text.strip().casefold()).strip("-")
    if re.fullmatch(r"[a-z0-9][a-z0-9-]*", plain) and len(plain) <= _LONGEST_ID:
        return plain
    return f"t-{_digest(text.strip())}"


def question_id(question: str) -> str:
    """The id of a question that has none: of its text alone, case and white space aside."""
    return f"q-{_digest(normalise(question))}"


def load_questions(
    path: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    domain: str = "other",
    encoding: str = "utf-8",
) -> Loaded[Task]:
    """Tasks from CSV, TSV, JSON lines or Parquet (see :func:`rar_lib.data.sheets.read_sheet`).

    Objects under ``rubric`` and lists under ``history`` are taken over as they are, so that a file
    that :func:`rar_lib.data.tasks.save_tasks` wrote gives the same tasks back.

    Args:
        columns: field (``question``, ``reference``, ``id``, ``domain``, ``topic``, ``context``) ->
            column, where the guess by :data:`QUESTION_COLUMNS` is wrong; ``""`` leaves it out.
        domain: of rows that name none of ours.

    Raises:
        DataError: the file can't be read, no column holds the questions, a given column or the
            domain does not exist, or no row could be used.
    """
    if domain not in DOMAINS:
        raise DataError(f"no domain {domain!r}; choose from: {', '.join(DOMAINS)}")
    sheet = read_sheet(path, encoding=encoding)
    found = match(sheet, QUESTION_COLUMNS, columns or {})
    if "question" not in found:
        raise DataError(no_column(sheet.source, sheet.columns, "question", "questions"))
    read: list[tuple[int, Task]] = []
    problems = list(sheet.problems)
    for row in sheet.rows:
        task, wrong = _task(row, found, domain)
        problems += [replace(problem, line=row.line) for problem in wrong]
        if task is not None:
            read.append((row.line, task))
    mend = "give each question an id of its own"
    tasks, repeated = once(read, lambda task: task.id, found.get("id", "question"), mend)
    spare = unused(sheet, found | {name: name for name in _nested(sheet.rows)})
    loaded = Loaded(sheet.source, tasks, found, spare, _in_order(problems + repeated))
    check_any(loaded, "question")
    return loaded


def load_split(path: str | Path, *, encoding: str = "utf-8") -> Loaded[tuple[str, Part]]:
    """Which tasks a file itself trains on and which it holds out, by its column ``split``.

    Returns:
        Task id and part for every row that says so, in file order; no items where there is no such
        column. A row whose split is empty or unknown is a problem: it belongs to neither part.

    Raises:
        DataError: the file can't be read.
    """
    sheet = read_sheet(path, encoding=encoding)
    columns = match(sheet, QUESTION_COLUMNS, {})
    found = match(sheet, {"split": ("split", "part", "subset")}, {})
    items: list[tuple[str, Part]] = []
    problems: list[Problem] = []
    for row in sheet.rows if found else ():
        cells = {name: text_of(row, column)[0] for name, column in columns.items()}
        said = text_of(row, found["split"])[0]
        part = PARTS.get(re.sub(r"[\s_-]+", "", said.casefold()))
        if part is None:
            what = f"found {short(said)}" if said.strip() else "empty"
            mend = "say for every row, or remove the column and let a split be made"
            problems.append(Problem(row.line, found["split"], what, "train, test", mend=mend))
        elif cells.get("question", "").strip():
            items.append((_id_of(cells), part))
    return Loaded(sheet.source, items, found, unused(sheet, columns | found), problems)


def part_tasks(
    tasks: list[Task], said: Loaded[tuple[str, Part]], held_out: int | None, left_out: int
) -> Parts:
    """Tasks parted by the column of their file (:func:`load_split`), or anew by a seeded draw.

    Args:
        held_out: how many to draw; see :func:`rar_lib.data.tasks.split_tasks`.
        left_out: rows of the file that can't be used.

    Raises:
        DataError: nothing is left on one side, or a number is asked for beside a column.
    """
    if not said.columns:
        train, held = split_tasks(tasks, held_out)
        return Parts(train, held, "seeded, in shares of domain and topic", left_out)
    column = said.columns["split"]
    part = dict(said.items)
    train = [task for task in tasks if part.get(task.id) == "train"]
    held = [task for task in tasks if part.get(task.id) == "held-out"]
    if not train or not held:
        raise DataError(
            f"{said.source}: its column {column!r} leaves {len(train)} tasks to train on and "
            f"{len(held)} held out: each needs one at least, or remove the column"
        )
    if held_out is not None:
        raise DataError(
            f"{said.source} has a column {column!r}: leave --held-out out, or remove the column"
        )
    return Parts(train, held, f"by its column {column!r}", left_out, given=True)


def save_responses(path: str | Path, responses: Iterable[Response]) -> None:
    """Write responses as JSON lines that :func:`load_responses` reads; whole or not at all.

    Raises:
        DataError: the file could not be written.
    """
    rows = [
        {"task": response.task, "id": response.id, "response": response.text}
        for response in responses
    ]
    save_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def load_responses(
    path: str | Path,
    tasks: Sequence[Task],
    *,
    columns: Mapping[str, str] | None = None,
    encoding: str = "utf-8",
) -> Loaded[Response]:
    """Responses to these tasks, from CSV, TSV, JSON lines or Parquet.

    A row names its task by id, or else by the text of its question. A task may have any number of
    responses, none included.

    Args:
        columns: field (``task``, ``response``, ``id``, ``question``) -> column, where the guess by
            :data:`RESPONSE_COLUMNS` is wrong; ``""`` leaves the field out.

    Raises:
        DataError: as :func:`load_questions`.
    """
    sheet = read_sheet(path, encoding=encoding)
    given = dict(columns or {})
    found = match(sheet, RESPONSE_COLUMNS, given)
    known = KnownTasks.of(tasks)
    if "task" not in found and "id" in found and "id" not in given and "task" not in given:
        values = [text_of(row, found["id"])[0] for row in sheet.rows]
        if any(known.by_id(value) for value in values):
            found = {"task": found.pop("id")} | found
    if "response" not in found:
        raise DataError(no_column(sheet.source, sheet.columns, "response", "responses"))
    if "task" not in found and "question" not in found:
        raise DataError(no_column(sheet.source, sheet.columns, "task", "ids of the tasks"))
    read: list[tuple[int, Response]] = []
    problems = list(sheet.problems)
    count = Counter[str]()
    for row in sheet.rows:
        response, problem = _response(row, found, known, count)
        if problem is not None:
            problems.append(problem)
        if response is not None:
            read.append((row.line, response))
    mend = "give each response to a task an id of its own, or read none: --id-column ''"
    unique, repeated = once(read, lambda response: f"{response.task} {response.id}", "id", mend)
    spare = unused(sheet, found)
    loaded = Loaded(sheet.source, unique, found, spare, _in_order(problems + repeated))
    check_any(loaded, "response")
    return loaded


def _task(row: Line, columns: Mapping[str, str], domain: str) -> tuple[Task | None, list[Problem]]:
    cells: dict[str, str] = {}
    for name, column in columns.items():
        cells[name], problem = text_of(row, column)
        if problem is not None:
            return None, [problem]
    if not cells["question"].strip():
        mend = "fill the cell, or remove the row"
        return None, [Problem(0, columns["question"], "empty", "", mend=mend)]
    warnings: list[Problem] = []
    said = cells.get("domain", "").strip().casefold()
    topic = cells.get("topic", "")
    if said and said not in DOMAINS:
        mend = f"taken as {domain!r}; say another with --domain"
        allowed = ", ".join(DOMAINS)
        name = columns["domain"]
        found = f"found {short(cells['domain'])}"
        warnings.append(Problem(0, name, found, allowed, "warning", mend=mend))
        topic = topic or cells["domain"].strip()
    value: dict[str, Any] = {
        "id": _id_of(cells),
        "question": cells["question"],
        "domain": said if said in DOMAINS else domain,
        "topic": topic,
        "context": cells.get("context", ""),
        "reference": cells["reference"] if cells.get("reference", "").strip() else None,
        **_nested([row]),
    }
    try:
        task = Task.model_validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        return None, explain(error, Task)
    wrong = task_problems(task)
    return (None, wrong) if wrong else (task, warnings)


def _id_of(cells: Mapping[str, str]) -> str:
    if given := cells.get("id", "").strip():
        return task_id(given)
    return question_id(cells["question"])


def _nested(rows: Sequence[Line]) -> dict[str, Any]:
    """The rubrics and histories that stand in these rows in our own form; of several the last."""
    found: dict[str, Any] = {}
    for row in rows:
        for name, kind in (("rubric", dict), ("history", list)):
            if isinstance(row.cells.get(name), kind):
                found[name] = row.cells[name]
    return found


@dataclass(frozen=True)
class KnownTasks:
    """Tasks, found by id and by question, whoever wrote either."""

    ids: frozenset[str]
    questions: Mapping[str, list[str]]

    @classmethod
    def of(cls, tasks: Sequence[Task]) -> KnownTasks:
        """These tasks."""
        questions: dict[str, list[str]] = {}
        for task in tasks:
            questions.setdefault(normalise(task.question), []).append(task.id)
        return cls(frozenset(task.id for task in tasks), questions)

    def by_id(self, text: str) -> str | None:
        """The task of this id, as it is written or as :func:`task_id` makes it."""
        text = text.strip()
        for form in (text, task_id(text)) if text else ():
            if form in self.ids:
                return form
        return None

    def near(self, text: str) -> str:
        """What may have been meant by an id that no task has."""
        close = difflib.get_close_matches(task_id(text), sorted(self.ids), n=1)
        some = ", ".join(sorted(self.ids)[:3])
        return f"did you mean {close[0]!r}?" if close else f"ids are such as {some}"


def _response(
    row: Line, columns: Mapping[str, str], known: KnownTasks, count: Counter[str]
) -> tuple[Response | None, Problem | None]:
    cells: dict[str, str] = {}
    for name, column in columns.items():
        cells[name], problem = text_of(row, column)
        if problem is not None:
            return None, problem
    task, problem = task_of(row.line, cells, columns, known)
    if task is None:
        return None, problem
    count[task] += 1
    id_ = cells.get("id", "").strip() or f"{task}-{count[task]}"
    return Response(task, id_, cells["response"], row.line), None


def task_of(
    line: int, cells: Mapping[str, str], columns: Mapping[str, str], known: KnownTasks
) -> tuple[str | None, Problem | None]:
    """The task that a row names by its id, or else by its question; or why there is none.

    Args:
        cells: field -> text, ``task`` or ``question`` among them.
        columns: field -> the column that it was read from.
    """
    named = cells.get("task", "").strip()
    task = known.by_id(named)
    if named and task is None:
        found = f"{short(named)} is none of the {len(known.ids)} tasks; {known.near(named)}"
        mend = "correct it, or add the question to the tasks"
        return None, Problem(line, columns["task"], found, "", mend=mend)
    return (task, None) if task is not None else _by_question(line, cells, columns, known)


def _by_question(
    line: int, cells: Mapping[str, str], columns: Mapping[str, str], known: KnownTasks
) -> tuple[str | None, Problem | None]:
    asked = cells.get("question", "")
    if not asked.strip():
        field_ = columns.get("task") or columns["question"]
        return None, Problem(line, field_, "empty", "", mend="name the task of this response")
    tasks = known.questions.get(normalise(asked), [])
    if len(tasks) == 1:
        return tasks[0], None
    if tasks:
        found = f"the question of {len(tasks)} tasks ({', '.join(tasks[:3])})"
        mend = "name the task by its id, in a column task_id"
        return None, Problem(line, columns["question"], found, "", mend=mend)
    found = f"{short(asked)} is the question of no task"
    mend = "use the same text, or name the task by its id, in a column task_id"
    return None, Problem(line, columns["question"], found, "", mend=mend)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def _in_order(problems: list[Problem]) -> list[Problem]:
    return sorted(problems, key=lambda problem: problem.line)


def no_column(source: str, columns: Sequence[str], field_: str, what: str) -> str:
    """That no column holds what is needed, among which, and how to name it."""
    names = ", ".join(map(short, columns)) or "none"
    return (
        f"{source}: no column for the {what} among {names}; the first row of a table names its "
        f"columns; say which one it is: --{field_}-column NAME, or columns={{{field_!r}: 'NAME'}}"
    )


def check_any(loaded: Loaded[Any], what: str) -> None:
    """Refuse a table of which nothing is left, with its first problems."""
    if loaded.items:
        return
    first = "\n".join(f"  {problem}" for problem in loaded.problems[:3])
    more = f"\n  and {len(loaded.problems) - 3} more" if len(loaded.problems) > 3 else ""
    raise DataError(f"{loaded.source}: no {what} could be read\n{loaded.guess}\n{first}{more}")
