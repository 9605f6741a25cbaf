"""A user's own task or pair file, looked at line by line.

The loaders stop at the first bad line; :func:`check` reads on and reports every one, by the
same rules, and adds warnings for what loads but is probably not meant. Nothing of the file
reaches the terminal as it is: control and invisible characters are shown as escapes and
mark-up stays text.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rar_lib.core.text import normalise, sentences, visible
from rar_lib.core.types import Category, Pair, Polarity, Task
from rar_lib.data.jsonl import Problem, Row, Shape, read, scan, short
from rar_lib.data.tasks import in_our_form, load_tasks, pair_check, points_kept

ITEMS = range(7, 21)  # the paper's size of a rubric (v2, A.9)
SHOWN = 1_000  # characters of a text in the example


@dataclass(frozen=True)
class Summary:
    """What a file holds, of the lines that fit the schema.

    Attributes:
        counts: label -> number, in the order to show.
        example: its first row, as (name, text) pairs.
        problems: number of errors; :func:`check` names them.
    """

    path: str
    kind: Literal["tasks", "pairs"]
    counts: dict[str, int]
    example: tuple[tuple[str, str], ...]
    problems: int


def check(path: str | Path, tasks: str | Path | None = None) -> list[Problem]:
    """Every error and warning of a file, by line.

    Args:
        path: tasks, or with ``tasks`` pairs, as JSON lines.
        tasks: the task file that the pairs refer to.

    Raises:
        DataError: a file cannot be read, or the task file itself is wrong: check that first.
    """
    data = read(Path(path))
    problems: list[Problem] = []
    if tasks is not None:
        for line, pair, errors in scan(data, Pair, check=pair_check(load_tasks(tasks))):
            problems += errors
            if pair is not None and pair.preferred.strip() == pair.rejected.strip():
                found = "the same text as preferred"
                allowed = "a response that is worse on the named axis"
                problems.append(Problem(line, "rejected", found, allowed, "warning"))
        return problems
    seen: dict[tuple[str, str], int] = {}
    good: list[Task] = []
    for line, task, errors in scan(data, Task, shape=in_our_form):
        problems += errors
        if task is not None:
            problems += _warnings(task, line, seen)
            good.append(task)
    if said := points_kept(good):
        problems.append(Problem(0, "rubric", said, "", "warning"))
    return problems


def _warnings(task: Task, line: int, seen: dict[tuple[str, str], int]) -> Iterator[Problem]:
    """``seen`` maps what was met before, by kind and :func:`_as_read`, to its line."""

    def warn(field: str, found: str, allowed: str) -> Problem:
        return Problem(line, field, found, allowed, "warning")

    first = seen.setdefault(("question", _as_read(task.question)), line)
    if first != line:
        yield warn("question", f"the question of line {first} again", "a question asked once")
    if task.reference is None:
        yield warn("reference", "missing", "an answer to ground the rubric and judges on")
    if task.rubric is None:
        yield warn("rubric", "missing", "a rubric, written by you or by rar synthesize")
        return
    size = len(task.rubric.criteria)
    if size not in ITEMS:
        allowed = f"{ITEMS[0]} to {ITEMS[-1]}, as in the paper"
        yield warn("rubric.criteria", f"{size} criteria", allowed)
    here: set[str] = set()
    for index, criterion in enumerate(task.rubric.criteria):
        field = f"rubric.criteria.{index}.description"
        count = sentences(criterion.description)
        if count > 1:
            found = f"{count} sentences, {short(criterion.description)}"
            yield warn(field, found, "one sentence that is met or not")
        said = _as_read(criterion.description)
        first = seen.setdefault(("criterion", said), line)
        if said in here:
            yield warn(field, "given twice in this rubric", "a criterion counted once")
        elif first != line:
            yield warn(field, f"a criterion of line {first} again", "one specific to this question")
        here.add(said)


def _as_read(text: str) -> str:
    """What two lines have in common that say the same to a reader, who is warned of it.

    It is :func:`~rar_lib.core.text.normalise`, by which the library takes questions for the same
    (their ids, splits, :func:`~rar_lib.data.duplicates.overlap`), without characters that nobody
    sees and without the full stop or question mark at the end. Other signs count in both: -5 mg is
    not 5 mg, and pH > 7 not pH < 7.
    """
    return normalise(visible(text)).rstrip(" .?")


def show(path: str | Path, tasks: str | Path | None = None) -> Summary:
    """Counts of a file and its first row; lines with errors are counted and left out.

    Raises:
        DataError: as :func:`check`.
    """
    data = read(Path(path))
    counts = Counter[str]()
    example: tuple[tuple[str, str], ...] = ()
    if tasks is not None:
        good, bad = _split(data, Pair, check=pair_check(load_tasks(tasks)))
        for pair in good:
            counts.update([f"axis {pair.axis}", f"difficulty {pair.difficulty}"])
        if good:
            example = _pair_example(good[0])
        ordered = {"pairs": len(good), "tasks": len({pair.task_id for pair in good})}
        return Summary(
            str(path), "pairs", {**ordered, **dict(sorted(counts.items()))}, example, bad
        )
    rows, bad = _split(data, Task, shape=in_our_form)
    criteria = [criterion for task in rows if task.rubric for criterion in task.rubric.criteria]
    counts.update(f"domain {task.domain}" for task in rows)
    kinds = Counter(criterion.category for criterion in criteria)
    ordered = {
        "tasks": len(rows),
        **dict(sorted(counts.items())),
        "with reference": sum(task.reference is not None for task in rows),
        "with rubric": sum(task.rubric is not None for task in rows),
        "criteria": len(criteria),
        **{category.value: kinds[category] for category in Category},
        "worded as a failure": sum(criterion.polarity is Polarity.BAD for criterion in criteria),
    }
    return Summary(str(path), "tasks", ordered, _task_example(rows[0]) if rows else (), bad)


def fitting(path: str | Path) -> list[Task]:
    """The tasks of the lines of a file that fit the schema.

    Raises:
        DataError: it can't be read.
    """
    return _split(read(Path(path)), Task, shape=in_our_form)[0]


def _split(
    data: bytes,
    model: type[Row],
    *,
    check: Callable[[Row], list[Problem]] = lambda _: [],
    shape: Shape | None = None,
) -> tuple[list[Row], int]:
    good: list[Row] = []
    bad = 0
    for _, row, errors in scan(data, model, check=check, shape=shape):
        bad += len(errors)
        if row is not None and not errors:
            good.append(row)
    return good, bad


def _task_example(task: Task) -> tuple[tuple[str, str], ...]:
    rows = [("id", task.id), *((turn.role, turn.content) for turn in task.history)]
    rows.append(("question", task.question))
    rows += [("context, for the policy", line) for line in task.context.splitlines()]
    rows.append(("reference", task.reference or "none"))
    for criterion in task.rubric.criteria if task.rubric else ():
        rows.append((f"{criterion.category}, {criterion.polarity}", criterion.description))
    return tuple(rows)


def _pair_example(pair: Pair) -> tuple[tuple[str, str], ...]:
    rows = [("id", pair.id), ("task", pair.task_id), ("preferred", pair.preferred)]
    rows += [("rejected", pair.rejected), ("worse in", f"{pair.axis}, {pair.difficulty}")]
    for name, met in pair.gold_preferred.items():
        words = ["met" if value else "not met" for value in (met, pair.gold_rejected[name])]
        rows.append((name, f"{words[0]} by preferred, {words[1]} by rejected"))
    return tuple(rows)


def escaped(text: str, keep: str = "") -> str:
    """Text whose control, invisible and direction characters are written as escapes.

    Args:
        text: anything, model text too.
        keep: characters to leave as they are, such as a newline.
    """

    def one(char: str) -> str:
        hidden = unicodedata.category(char)[0] == "C" or char in "\u2028\u2029"
        return ascii(char)[1:-1] if hidden and char not in keep else char

    return "".join(map(one, text))
