"""A person's labels, from a table of any common kind: of criteria, or of pairs.

    found = load_labels("labels.csv", tasks)       # task, response, criterion, met
    found = load_labels("pairs.csv", tasks)        # task, preferred, rejected
    labels, preferences = split(found.items)

Columns are found by their names and can be given. A response stands in its cell as text, or, where
the responses are given, by its id. A row that can't be used is a problem with its line and what
mends it; the others are used.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rar_lib.core.errors import DataError
from rar_lib.core.text import normalise
from rar_lib.core.types import Criterion, Task
from rar_lib.data.jsonl import Problem, short
from rar_lib.data.questions import (
    RESPONSE_COLUMNS,
    KnownTasks,
    Response,
    cells_of,
    check_any,
    no_column,
    response_in,
    task_of,
)
from rar_lib.data.sheets import Line, Loaded, match, once, read_sheet, text_of, unused
from rar_lib.data.tasks import task_id

#: What columns of labels are usually called, the likeliest first.
LABEL_COLUMNS: dict[str, tuple[str, ...]] = {
    "task": RESPONSE_COLUMNS["task"],
    "question": RESPONSE_COLUMNS["question"],
    "response": (*RESPONSE_COLUMNS["response"], "response id"),
    "criterion": (
        "criterion",
        "criterion id",
        "criteria",
        "rubric item",
        "requirement",
        "item",
        "criterion text",
        "description",
    ),
    "met": (
        "met",
        "is met",
        "criterion met",
        "satisfied",
        "label",
        "gold",
        "gold label",
        "verdict",
        "judgement",
        "judgment",
        "annotation",
        "value",
    ),
    "preferred": (
        "preferred",
        "chosen",
        "preferred response",
        "chosen response",
        "better",
        "winner",
        "preferred id",
        "chosen id",
    ),
    "rejected": (
        "rejected",
        "rejected response",
        "dispreferred",
        "worse",
        "loser",
        "rejected id",
    ),
}
#: The words of a label; case, spaces and signs around them do not count.
WORDS: dict[str, bool] = {
    **dict.fromkeys(("yes", "y", "true", "t", "1", "met"), True),
    **dict.fromkeys(("no", "n", "false", "f", "0", "not met", "unmet"), False),
}
_ALLOWED = "yes, no, true, false, 1, 0, met, not met"
#: Columns of a pair in our own form: criterion id -> true or false.
_GOLD = (("gold_preferred", "preferred"), ("gold_rejected", "rejected"))


@dataclass(frozen=True)
class Label:
    """Whether a response meets a criterion, as a person says.

    Attributes:
        response: its text; may be empty.
        criterion: its id in the task's rubric.
        met: whether its sentence holds of the response; of a pitfall worded as a failure that is
            bad for the response.
        line: where it stands in its file, 0 if it comes from none.
    """

    task: str
    response: str
    criterion: str
    met: bool
    line: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Preference:
    """Two responses to one task, as texts, of which a person prefers the first."""

    task: str
    preferred: str
    rejected: str
    line: int = field(default=0, compare=False)


def split(items: Sequence[Label | Preference]) -> tuple[list[Label], list[Preference]]:
    """Labels and preferences apart, each in their order."""
    labels = [item for item in items if isinstance(item, Label)]
    return labels, [item for item in items if isinstance(item, Preference)]


def load_labels(
    path: str | Path,
    tasks: Sequence[Task],
    *,
    responses: Sequence[Response] | None = None,
    columns: Mapping[str, str] | None = None,
    encoding: str = "utf-8",
) -> Loaded[Label | Preference]:
    """Labels of these tasks' criteria, or preferences, from CSV, TSV, JSON lines or Parquet.

    A table with columns for the preferred and the rejected response holds preferences; objects
    under ``gold_preferred`` and ``gold_rejected``, as in a file of pairs of ours, are labels
    beside them. Any other table holds labels: a response, a criterion by its id, its title or its
    sentence, and one of :data:`WORDS`. A row names its task by id, or else by its question.

    What is labelled twice the same counts once; what is labelled both ways is not read at all,
    because nobody knows which one is meant.

    Args:
        responses: the cells hold ids of these, or their texts; without them the cells are texts.
        columns: field -> column, where the guess by :data:`LABEL_COLUMNS` is wrong; ``""`` leaves
            the field out.

    Raises:
        DataError: the file can't be read, it holds neither labels nor preferences, a given column
            does not exist, or no row could be used.
    """
    sheet = read_sheet(path, encoding=encoding)
    found = match(sheet, LABEL_COLUMNS, columns or {})
    pairs = {"preferred", "rejected"} <= found.keys()
    wanted = ("preferred", "rejected") if pairs else ("response", "criterion", "met")
    found = {name: found[name] for name in ("task", "question", *wanted) if name in found}
    _check_columns(sheet.source, sheet.columns, found, wanted)
    texts: dict[str, dict[str, str]] = {}
    for response in responses or ():
        texts.setdefault(response.task, {})[response.id] = response.text
    by_id = {task.id: task for task in tasks}
    read = _Reader(found, KnownTasks.of(tasks), by_id, None if responses is None else texts)
    problems = list(sheet.problems)
    labels: list[tuple[int, Label]] = []
    preferences: list[tuple[int, Preference]] = []
    for row in sheet.rows:
        items, problem = read.pair(row) if pairs else read.label(row)
        problems += [problem] if problem is not None else []
        labels += [(row.line, item) for item in items if isinstance(item, Label)]
        preferences += [(row.line, item) for item in items if isinstance(item, Preference)]
    if pairs:  # two pairs may share a response, whose labels are then written twice
        labels = list({label: (line, label) for line, label in reversed(labels)}.values())[::-1]
    mend = "keep the row that is right, and remove the other"
    first, again = once(
        labels, lambda label: f"{label.task} {label.criterion} {label.response}", "met", mend
    )
    second, twice = once(
        preferences,
        lambda preference: " ".join(
            (preference.task, *sorted((preference.preferred, preference.rejected)))
        ),
        "",
        mend,
    )
    problems = sorted(problems + again + twice, key=lambda problem: problem.line)
    gold = {name: name for name, _ in _GOLD} if pairs and labels else {}
    loaded = Loaded[Label | Preference](
        sheet.source, [*first, *second], found, unused(sheet, found | gold), problems
    )
    check_any(loaded, "label")
    return loaded


def _check_columns(
    source: str, columns: Sequence[str], found: Mapping[str, str], wanted: Sequence[str]
) -> None:
    if "task" not in found and "question" not in found:
        raise DataError(no_column(source, columns, "task", "ids of the tasks"))
    missing = [name for name in wanted if name not in found]
    if len(missing) == 1:
        what = {"met": "labels (yes or no)", "criterion": "criteria", "response": "responses"}
        raise DataError(no_column(source, columns, missing[0], what[missing[0]]))
    if missing:
        names = ", ".join(map(short, columns)) or "none"
        raise DataError(
            f"{source}: neither labels nor preferences among the columns {names}; give task, "
            "response, criterion and met; or task, preferred and rejected; or say which is which: "
            "--criterion-column NAME, --preferred-column NAME and so on"
        )


@dataclass(frozen=True)
class _Reader:
    """Rows of one table, read with what they may name."""

    columns: Mapping[str, str]
    known: KnownTasks
    tasks: Mapping[str, Task]
    #: Task -> response -> text; ``None`` where cells hold texts.
    responses: Mapping[str, Mapping[str, str]] | None

    def label(self, row: Line) -> tuple[list[Label | Preference], Problem | None]:
        """The label of a row, or what is wrong with it."""
        cells, problem = self._cells(row, ("response", "criterion"))
        task, problem = (None, problem) if problem else self._task(row.line, cells)
        if task is None:
            return [], problem
        response, problem = self._response(row.line, task, "response", cells["response"])
        criterion = None
        if response is not None:
            criterion, problem = self._criterion(row.line, task, cells["criterion"])
        if response is None or criterion is None:
            return [], problem
        met, problem = _met(row, self.columns["met"])
        return (
            [] if met is None else [Label(task.id, response, criterion, met, row.line)],
            problem,
        )

    def pair(self, row: Line) -> tuple[list[Label | Preference], Problem | None]:
        """The preference of a row with its labels, or what is wrong with it."""
        cells, problem = self._cells(row, ("preferred", "rejected"))
        task, problem = (None, problem) if problem else self._task(row.line, cells)
        if task is None:
            return [], problem
        texts: dict[str, str] = {}
        for name in ("preferred", "rejected"):
            text, problem = self._response(row.line, task, name, cells[name])
            if text is None:
                return [], problem
            texts[name] = text
        if texts["preferred"] == texts["rejected"]:
            mend = "give two different responses, or remove the row"
            what = "both responses are the same"
            return [], Problem(row.line, self.columns["rejected"], what, "", mend=mend)
        labels: list[Label | Preference] = []
        for column, name in _GOLD:
            gold = row.cells.get(column)
            if not isinstance(gold, dict):
                continue
            more, problem = self._gold(Line(row.line, gold), task, texts[name], column)
            if problem is not None:
                return [], problem
            labels += more
        return [*labels, Preference(task.id, **texts, line=row.line)], None

    def _gold(
        self, row: Line, task: Task, response: str, column: str
    ) -> tuple[list[Label], Problem | None]:
        labels = []
        for name in row.cells:
            criterion, problem = self._criterion(row.line, task, name, column)
            if criterion is None:
                return [], problem
            met, problem = _met(row, name)
            if met is None and problem is not None:
                return [], replace(problem, field=f"{column}.{name}")
            labels.append(Label(task.id, response, criterion, bool(met), row.line))
        return labels, None

    def _cells(self, row: Line, wanted: Sequence[str]) -> tuple[dict[str, str], Problem | None]:
        named = {name: self.columns[name] for name in ("task", "question") if name in self.columns}
        cells, _, wrong = cells_of(row, named)
        if wrong:
            return {}, replace(wrong[0], line=row.line)
        for name in wanted:
            read = text_of if name == "criterion" else response_in
            text, problem = read(row, self.columns[name])
            if problem is not None:
                return {}, problem
            cells[name] = text or ""
        return cells, None

    def _task(self, line: int, cells: Mapping[str, str]) -> tuple[Task | None, Problem | None]:
        name, problem = task_of(line, cells, self.columns, self.known)
        return self.tasks.get(name or ""), problem

    def _response(
        self, line: int, task: Task, name: str, cell: str
    ) -> tuple[str | None, Problem | None]:
        """The text of a response: the cell, or what it names."""
        if self.responses is None:
            return cell, None
        texts = self.responses.get(task.id, {})
        if cell.strip() in texts:
            return texts[cell.strip()], None
        if cell in texts.values():
            return cell, None
        near = difflib.get_close_matches(cell.strip(), list(texts), n=1)
        some = f"its ids are such as {', '.join(list(texts)[:3])}" if texts else "it has none"
        found = f"{short(cell)} is no response to task {task.id!r}; "
        found += f"did you mean {near[0]!r}?" if near else some
        mend = "correct the id, or add the response"
        return None, Problem(line, self.columns[name], found, "", mend=mend)

    def _criterion(
        self, line: int, task: Task, cell: str, column: str = ""
    ) -> tuple[str | None, Problem | None]:
        """The id of a criterion of the task, by its id, its title or its sentence."""
        place = column or self.columns["criterion"]
        if task.rubric is None:
            found = f"task {task.id!r} has no rubric, so no criterion to label"
            mend = "rar synthesize writes one; label its criteria"
            return None, Problem(line, place, found, "", mend=mend)
        criteria = task.rubric.criteria
        asked = normalise(cell)
        ids = [
            criterion.id for criterion in criteria if criterion.id in (cell.strip(), task_id(cell))
        ]
        ids = ids or [criterion.id for criterion in criteria if asked in _said(criterion)]
        if len(ids) == 1:
            return ids[0], None
        if not cell.strip():
            found = "empty"
            mend = "name the criterion, or remove the row"
        elif ids:
            found = f"{short(cell)} is said by {len(ids)} criteria of task {task.id!r}"
            mend = f"name one by its id: {', '.join(ids)}"
        else:
            names = [criterion.id for criterion in criteria]
            near = difflib.get_close_matches(asked.replace(" ", "-"), names, n=1)
            found = f"{short(cell)} is no criterion of task {task.id!r}"
            found += f"; did you mean {near[0]!r}?" if near else ""
            some = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
            mend = f"use its id, its title or its sentence; ids: {some}"
        return None, Problem(line, place, found, "", mend=mend)


def _said(criterion: Criterion) -> tuple[str, str]:
    return normalise(criterion.title), normalise(criterion.description)


def _met(row: Line, column: str) -> tuple[bool | None, Problem | None]:
    value: Any = row.cells.get(column)
    if isinstance(value, bool):
        return value, None
    text, problem = text_of(row, column)
    if problem is not None:
        return None, replace(problem, allowed=_ALLOWED)
    word = " ".join(text.strip(" \t\r\n.!\"'").casefold().replace("_", " ").split())
    if word in WORDS:
        return WORDS[word], None
    if not word:
        mend = "fill the cell, or remove the row"
        return None, Problem(row.line, column, "empty", _ALLOWED, mend=mend)
    return None, Problem(row.line, column, f"found {short(text)}", _ALLOWED)
