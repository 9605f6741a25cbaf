"""Tasks and preference pairs, loaded and saved; RaR-Mini.

A pitfall must state its polarity, gold labels must cover exactly the criteria of the rubric, and
ids occur once; :mod:`rar_lib.data.jsonl` says what is refused before that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Literal

from rar_lib.core.errors import DataError
from rar_lib.core.files import atomic_write
from rar_lib.core.types import Category, Pair, Task
from rar_lib.data.jsonl import Problem, Row, read, repeated, scan

Split = Literal["train", "val", "test", "all"]


def load_mini(split: Split = "all") -> list[Task]:
    """The tasks of RaR-Mini, authored for this project (see ``mini/DATA_CARD.md``).

    Args:
        split: ``train``, ``val``, ``test`` or ``all``, read from the prefix of the task id.

    Raises:
        DataError: there is no such split.
    """
    name = "tasks.jsonl"
    tasks = _load(_packaged(name), name, Task, task_problems)
    wanted = _prefix(split)
    return [t for t in tasks if t.id.startswith(wanted)]


def load_mini_pairs(split: Split = "all") -> list[Pair]:
    """Pairs on the val and test tasks of RaR-Mini, with a gold label for every criterion.

    Raises:
        DataError: there is no such split.
    """
    name = "pairs.jsonl"
    pairs = _load(_packaged(name), name, Pair, pair_check(load_mini()))
    wanted = _prefix(split)
    return [p for p in pairs if p.task_id.startswith(wanted)]


def load_tasks(path: str | Path) -> list[Task]:
    """Tasks from a JSON-lines file, in file order.

    A pitfall must state its polarity, because the released data words pitfalls both
    ways (paper v2, section 3.1) and the default would be a guess.

    Raises:
        DataError: unreadable or empty file, malformed line, value outside the schema,
            repeated id.
    """
    return _load(read(Path(path)), str(path), Task, task_problems)


def load_pairs(path: str | Path, tasks: Sequence[Task]) -> list[Pair]:
    """Preference pairs from a JSON-lines file, checked against the tasks they name.

    Args:
        path: the file.
        tasks: every task that the pairs refer to, each with its rubric.

    Raises:
        DataError: as :func:`load_tasks`, or the task is unknown or has no rubric, or the
            gold labels do not cover exactly the criteria of its rubric.
    """
    return _load(read(Path(path)), str(path), Pair, pair_check(tasks))


def save_tasks(path: str | Path, tasks: Iterable[Task]) -> None:
    """Write tasks as JSON lines so that :func:`load_tasks` gives the same tasks back.

    The file is complete or unchanged: the text goes to a temporary file in the same
    folder, is flushed to disk, and takes the place of ``path`` in one step.

    Raises:
        DataError: no tasks, a repeated id, or the file could not be written.
    """
    target = Path(path)
    rows = list(tasks)
    if not rows:
        raise DataError(f"{path}: no tasks to save; a task file holds at least one")
    twice = sorted(repeated(t.id for t in rows))
    if twice:
        raise DataError(f"{path}: repeated task ids {', '.join(twice)}; ids must be unique")
    text = "".join(t.model_dump_json() + "\n" for t in rows)
    try:
        atomic_write(target, text)
    except OSError as error:
        raise DataError(
            f"{path}: could not be written ({error.strerror or error}); an older file there "
            "is unchanged; free space or choose another folder"
        ) from error


def _prefix(split: str) -> str:
    if split not in ("train", "val", "test", "all"):
        raise DataError(f"split {split!r} does not exist; allowed: 'train', 'val', 'test', 'all'")
    return "" if split == "all" else f"{split}-"


def _packaged(name: str) -> bytes:
    return files("rar_lib.data").joinpath("mini", name).read_bytes()


def task_problems(task: Task) -> list[Problem]:
    """What the schema alone does not refuse: a pitfall that leaves its polarity to the default."""
    return [
        Problem(
            0,
            f"rubric.criteria.{index}.polarity",
            f"missing for the pitfall {criterion.id!r}",
            "'good' (worded as avoidance) or 'bad' (worded as failure)",
        )
        for index, criterion in enumerate(task.rubric.criteria if task.rubric else ())
        if criterion.category is Category.PITFALL and "polarity" not in criterion.model_fields_set
    ]


def pair_check(tasks: Sequence[Task]) -> Callable[[Pair], list[Problem]]:
    """The check of a pair against the task that it names: known, with a rubric, fully labelled."""
    known = {t.id: t for t in tasks}
    names = ", ".join(sorted(known)) or "none, no tasks were given"

    def check(pair: Pair) -> list[Problem]:
        task = known.get(pair.task_id)
        if task is None:
            return [Problem(0, "task_id", f"{pair.task_id!r} is not a known task", names)]
        if task.rubric is None:
            found = f"task {pair.task_id!r} has no rubric to label against"
            return [Problem(0, "task_id", found, "a task with a rubric")]
        expected = {c.id for c in task.rubric.criteria}
        allowed = f"true or false for each criterion of task {task.id!r}, no more"
        problems: list[Problem] = []
        for field in ("gold_preferred", "gold_rejected"):
            found_ids = set(getattr(pair, field))
            if found_ids != expected:
                missing, extra = sorted(expected - found_ids), sorted(found_ids - expected)
                problems.append(
                    Problem(0, field, f"missing {missing}, unexpected {extra}", allowed)
                )
        return problems

    return check


def _load(
    data: bytes, source: str, model: type[Row], check: Callable[[Row], list[Problem]]
) -> list[Row]:
    rows = []
    for _, row, problems in scan(data, model, check):
        if problems:
            first, *others = problems
            more = "".join(f"; {replace(problem, line=0)}" for problem in others)
            raise DataError(f"{source}, {first}{more}" if first.line else f"{source}{first}")
        if row is not None:
            rows.append(row)
    return rows
