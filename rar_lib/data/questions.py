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
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import ValidationError

from rar_lib.core.errors import DataError
from rar_lib.core.files import save_text
from rar_lib.core.text import THOUGHTS, normalise, without_thoughts
from rar_lib.core.types import Task
from rar_lib.data.jsonl import Problem, explain, short
from rar_lib.data.sheets import Line, Loaded, Sheet, match, once, read_sheet, text_of, unused
from rar_lib.data.tasks import (
    RUBRIC_COLUMNS,
    RUBRIC_MEND,
    Parts,
    conversation,
    is_nothing,
    question_id,
    rubric_notes,
    rubric_of,
    split_tasks,
    task_id,
    unread_keys,
    within,
)

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
    "rubric": RUBRIC_COLUMNS,
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


@dataclass(frozen=True)
class Response:
    """A response to be graded.

    Attributes:
        id: tells it from the other responses to its task; as given, or ``TASK-1``, ``TASK-2``, ...
            in the order of the file.
        text: may be empty; an empty response is one (:meth:`Judge.grade`).
        line: where it stands in its file, 0 if it comes from none.
    """

    task: str
    id: str
    text: str
    line: int = field(default=0, compare=False)


def load_questions(
    path: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    domain: str = "other",
    encoding: str = "utf-8",
) -> Loaded[Task]:
    """Tasks from CSV, TSV, JSON lines or Parquet (see :func:`rar_lib.data.sheets.read_sheet`).

    A question may be text or chat messages, a rubric has any of the shapes of
    :func:`rar_lib.data.tasks.rubric_of`, and a list under ``history`` is taken over as it is. A
    file that :func:`rar_lib.data.tasks.save_tasks` wrote gives the same tasks back.

    Args:
        columns: field (``question``, ``reference``, ``id``, ``domain``, ``topic``, ``context``,
            ``rubric``) -> column, where the guess by :data:`QUESTION_COLUMNS` is wrong; ``""``
            leaves it out.
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
        task, wrong = task_in(row, found, domain)
        problems += [replace(problem, line=row.line) for problem in wrong]
        if task is not None:
            read.append((row.line, task))
    mend = "give each question an id of its own"
    tasks, repeated = once(read, lambda task: task.id, found.get("id", "question"), mend)
    problems += [*repeated, *_of_rubrics(sheet, found, tasks)]
    spare = (*_unused(sheet, found), *_unread_keys(sheet, found))
    loaded = Loaded(sheet.source, tasks, found, spare, mended_once(_in_order(problems)))
    check_any(loaded, "question")
    return loaded


def mended_once(problems: Iterable[Problem]) -> list[Problem]:
    """The same problems, of which one alone shows what a rubric looks like."""
    found: list[Problem] = []
    shown = False
    for problem in problems:
        again = shown and problem.mend == RUBRIC_MEND
        shown = shown or problem.mend == RUBRIC_MEND
        found.append(replace(problem, mend="") if again else problem)
    return found


def _of_rubrics(
    sheet: Sheet, columns: Mapping[str, str], tasks: Iterable[Task]
) -> Iterator[Problem]:
    """What a reader of the rubrics of a whole table should know, as warnings."""
    if "rubric" not in columns:
        return
    column = columns["rubric"]
    for name in _unused(sheet, columns):
        if name.strip().casefold() in RUBRIC_COLUMNS:
            yield Problem(0, name, f"not read beside {column!r}", "one rubric a row", "warning")
    for said in rubric_notes(tasks, (row.cells.get(column) for row in sheet.rows)):
        yield Problem(0, column, said, "", "warning")


def _unused(sheet: Sheet, columns: Mapping[str, str]) -> tuple[str, ...]:
    turns = any(isinstance(row.cells.get("history"), list) for row in sheet.rows)
    return unused(sheet, {**columns, **({"history": "history"} if turns else {})})


def _unread_keys(sheet: Sheet, columns: Mapping[str, str]) -> list[str]:
    """Keys of criteria from which nothing is read, such as ``rubric.axis``."""
    column = columns.get("rubric", "")
    keys = [f"{column}.{key}" for row in sheet.rows for key in unread_keys(row.cells.get(column))]
    return list(dict.fromkeys(keys))


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
        cells, _, _ = cells_of(row, columns)
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

    Returns:
        The parts; of a file that parts its tasks itself with a warning for each one held out whose
        question is trained on. A draw holds both out.

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
    problems = _trained_on(train, held, column)
    how = f"by its column {column!r}"
    return Parts(train, held, how, left_out, given=True, problems=tuple(problems))


def _trained_on(train: Sequence[Task], held: Sequence[Task], column: str) -> Iterator[Problem]:
    """A warning for each held-out task whose question is trained on, too."""
    asked = {normalise(task.question): task.id for task in train}
    for task in held:
        if (other := asked.get(normalise(task.question))) is not None:
            found = f"held-out task {task.id!r} asks the question of {other!r}, which is trained on"
            mend = "hold both out, or train on both"
            yield Problem(0, column, found, "", "warning", mend=mend)


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
    responses, none included. Chat messages, as trainers log them, are read by :func:`spoken`.

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


def task_in(
    row: Line, columns: Mapping[str, str], domain: str
) -> tuple[Task | None, list[Problem]]:
    """The task of a row, and what is wrong with it: errors if there is none, else warnings.

    Args:
        columns: field of :data:`QUESTION_COLUMNS` -> the column that it is read from.
        domain: if the row names none of ours.
    """
    cells, turns, wrong = cells_of(row, columns)
    if wrong:
        return None, wrong
    if not cells["question"].strip():
        mend = "fill the cell, or remove the row"
        return None, [Problem(0, columns["question"], "empty", "", mend=mend)]
    rubric, problems = _rubric(row, columns)
    if any(problem.level == "error" for problem in problems):
        return None, problems
    history = row.cells.get("history")
    if turns and history:
        found = f"stands beside the turns of {columns['question']!r}"
        return None, [Problem(0, "history", found, "one of them")]
    place, warnings = _place(cells, columns, domain)
    value: dict[str, Any] = {
        "id": _id_of(cells),
        "question": cells["question"],
        **place,
        "context": cells.get("context", ""),
        "reference": cells["reference"] if cells.get("reference", "").strip() else None,
        "history": history if isinstance(history, list) else turns,
        "rubric": rubric,
    }
    try:
        task = Task.model_validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        return None, explain(error, Task)
    return task, [*problems, *warnings]


def cells_of(
    row: Line, columns: Mapping[str, str]
) -> tuple[dict[str, str], list[dict[str, str]], list[Problem]]:
    """Field -> text but for the rubric; turns before the question; or what can't be read.

    A question may be chat messages, of which the last one is the user's.
    """
    cells: dict[str, str] = {}
    turns: list[dict[str, str]] = []
    for name, column in columns.items():
        messages = row.cells.get(column)
        if name == "question" and isinstance(messages, list):
            found = conversation(messages, column)
            if not isinstance(found, tuple):
                return {}, [], found
            cells[name] = found[1]
            turns = [turn.model_dump() for turn in found[0]]
        elif name != "rubric":
            cells[name], problem = text_of(row, column)
            if problem is not None:
                return {}, [], [problem]
    return cells, turns, []


def _rubric(row: Line, columns: Mapping[str, str]) -> tuple[dict[str, Any] | None, list[Problem]]:
    column = columns.get("rubric")
    cell = row.cells.get(column) if column else None
    if column is None or is_nothing(cell):
        return None, []
    rubric, problems = rubric_of(cell)
    return rubric, [within(column, problem) for problem in problems]


def _place(
    cells: Mapping[str, str], columns: Mapping[str, str], domain: str
) -> tuple[dict[str, str], list[Problem]]:
    """Domain and topic; a domain that is none of ours becomes the topic."""
    said = cells.get("domain", "").strip()
    topic = cells.get("topic", "")
    if not said or said.casefold() in DOMAINS:
        return {"domain": said.casefold() or domain, "topic": topic}, []
    mend = f"taken as {domain!r}; say another with --domain"
    found = f"found {short(cells['domain'])}"
    allowed = ", ".join(DOMAINS)
    warning = Problem(0, columns["domain"], found, allowed, "warning", mend=mend)
    return {"domain": domain, "topic": topic or said}, [warning]


def _id_of(cells: Mapping[str, str]) -> str:
    if given := cells.get("id", "").strip():
        return task_id(given)
    return question_id(cells["question"])


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
    text, problem = response_in(row, columns["response"])
    if text is None:
        return None, problem
    named = {name: column for name, column in columns.items() if name != "response"}
    cells, _, wrong = cells_of(row, named)
    if wrong:
        return None, replace(wrong[0], line=row.line)
    task, problem = task_of(row.line, cells, columns, known)
    if task is None:
        return None, problem
    count[task] += 1
    id_ = cells.get("id", "").strip() or f"{task}-{count[task]}"
    return Response(task, id_, text, row.line), None


def response_in(row: Line, column: str) -> tuple[str | None, Problem | None]:
    """The response in a cell, which may be chat messages; or why there is none.

    An empty text is a response that says nothing, and nothing at all (null) is none: nobody knows
    what would have been said.
    """
    value = row.cells.get(column)
    if value is None or value != value:  # not a number, as tools write what is missing
        mend = 'remove the row, or write "" for one that says nothing'
        return None, Problem(row.line, column, "no response", "", mend=mend)
    if not isinstance(value, list):
        text, problem = text_of(row, column)
        return (None if problem else text), problem
    try:
        return spoken(value), None
    except DataError as error:
        return None, Problem(row.line, column, str(error), "")


Completion = str | list[dict[str, str]]


def spoken(completion: Completion, thoughts: Sequence[str] = THOUGHTS) -> str:
    """What a policy said to the user: without its thoughts, its calls of tools and their output.

    Args:
        completion: text, or chat messages whose content is text, parts of it, or nothing.
        thoughts: names of the tags around what is thought and not said.

    Raises:
        DataError: it is neither.
    """
    if isinstance(completion, str):
        return without_thoughts(completion, thoughts)
    if not isinstance(completion, Sequence) or isinstance(completion, bytes):
        raise DataError(
            f"a completion is {type(completion).__name__}; allowed: text, or a list of messages "
            "with role and content"
        )
    said = [_content(message) for message in completion if _role(message) == "assistant"]
    return "\n\n".join(text for part in said if (text := without_thoughts(part, thoughts)))


#: Who speaks for the policy, and who else there is.
_POLICY = ("assistant", "model")
_OTHERS = ("user", "system", "developer", "tool", "function", "ipython")
#: Parts of a message that are thought and not said.
_THOUGHT_PARTS = ("thinking", "reasoning", "redacted_thinking")


def _role(message: object) -> str:
    """Whose message it is; one without a role is the policy's."""
    if not isinstance(message, Mapping):
        raise DataError(f"a message is {type(message).__name__}; allowed: role and content")
    if not {"role", "content"} & set(message):
        raise DataError(f"a message has {short(sorted(message))}; allowed: role and content")
    role = message.get("role") or "assistant"
    if role not in _POLICY + _OTHERS:
        allowed = ", ".join(_POLICY + _OTHERS)
        raise DataError(f"a message has the role {short(role)}; allowed: {allowed}")
    return "assistant" if role in _POLICY else str(role)


def _content(message: Any) -> str:
    content = message.get("content")
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, Sequence):
        raise DataError(
            f"the content of a message is {short(content)}; allowed: text, a list of parts, nothing"
        )
    return "".join(map(_said_in, content))


def _said_in(part: object) -> str:
    """The text of a part of a message; none where it is a thought, an image or a call."""
    if isinstance(part, str):
        return part
    if not isinstance(part, Mapping) or part.get("type") in _THOUGHT_PARTS:
        return ""
    text = part.get("text")
    if isinstance(text, Mapping):  # with notes beside it
        text = text.get("value")
    return text if isinstance(text, str) else ""


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


def _in_order(problems: list[Problem]) -> list[Problem]:
    return sorted(problems, key=lambda problem: problem.line)


def no_column(source: str, columns: Sequence[str], field_: str, what: str) -> str:
    """That no column holds what is needed, among which, and how to name it."""
    names = ", ".join(map(short, columns)) or "none"
    return (
        f"{source}: no column for the {what} among {names}; the first row of a table names its "
        f"columns: call it {field_!r}, or say which one it is (--{field_}-column NAME, where the "
        f"command has that for this table; in Python columns={{{field_!r}: 'NAME'}})"
    )


def check_any(loaded: Loaded[Any], what: str) -> None:
    """Refuse a table of which nothing is left, with its first problems."""
    if loaded.items:
        return
    first = "\n".join(f"  {problem}" for problem in loaded.problems[:3])
    more = f"\n  and {len(loaded.problems) - 3} more" if len(loaded.problems) > 3 else ""
    raise DataError(f"{loaded.source}: no {what} could be read\n{loaded.guess}\n{first}{more}")
