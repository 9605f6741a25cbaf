"""Tasks and preference pairs as JSON lines: read strictly, written atomically.

One object per line, UTF-8, validated against :mod:`rar_lib.types` without any coercion
(``"yes"`` or ``1`` is not a verdict). Blank lines are skipped; anything else that does
not fit stops the load with the file, the line, the field and what is allowed there.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import ValidationError

from rar_lib.atomic import atomic_write
from rar_lib.errors import DataError
from rar_lib.types import Category, Criterion, Frozen, Pair, Rubric, Task

Split = Literal["train", "test", "all"]
Row = TypeVar("Row", Task, Pair)

_NESTED: dict[str, type[Frozen]] = {"rubric": Rubric, "criteria": Criterion}


def load_mini(split: Split = "all") -> list[Task]:
    """The tasks of RaR-Mini, authored for this project (see ``datasets/DATA_CARD.md``).

    Args:
        split: ``train``, ``test`` or ``all``, read from the prefix of the task id.

    Raises:
        DataError: there is no such split.
    """
    name = "mini_tasks.jsonl"
    tasks = _tasks(_packaged(name), name)
    wanted = _prefix(split)
    return [t for t in tasks if t.id.startswith(wanted)]


def load_mini_pairs(split: Split = "all") -> list[Pair]:
    """One preference pair for each task of RaR-Mini, with a gold label for every criterion.

    Raises:
        DataError: there is no such split.
    """
    name = "mini_pairs.jsonl"
    pairs = _pairs(_packaged(name), name, load_mini())
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
    return _tasks(_read(Path(path)), str(path))


def load_pairs(path: str | Path, tasks: Sequence[Task]) -> list[Pair]:
    """Preference pairs from a JSON-lines file, checked against the tasks they name.

    Args:
        path: the file.
        tasks: every task that the pairs refer to, each with its rubric.

    Raises:
        DataError: as :func:`load_tasks`, or the task is unknown or has no rubric, or the
            gold labels do not cover exactly the criteria of its rubric.
    """
    return _pairs(_read(Path(path)), str(path), tasks)


def save_tasks(path: str | Path, tasks: Iterable[Task]) -> None:
    """Write tasks as JSON lines so that :func:`load_tasks` gives the same tasks back.

    The file is complete or unchanged: the text goes to a temporary file in the same
    folder, is flushed to disk, and takes the place of ``path`` in one step.

    Raises:
        DataError: no tasks, a repeated id, or the file could not be written.
    """
    target, rows = Path(path), list(tasks)
    if not rows:
        raise DataError(f"{path}: no tasks to save; a task file holds at least one")
    twice = sorted(i for i, n in Counter(t.id for t in rows).items() if n > 1)
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
    if split not in ("train", "test", "all"):
        raise DataError(f"split {split!r} does not exist; allowed: 'train', 'test', 'all'")
    return "" if split == "all" else f"{split}-"


def _packaged(name: str) -> bytes:
    return files("rar_lib").joinpath("datasets", name).read_bytes()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror or error}); give a JSON-lines file"
        ) from error


def _tasks(data: bytes, source: str) -> list[Task]:
    tasks = []
    for line, task in _rows(data, source, Task):
        for index, criterion in enumerate(task.rubric.criteria if task.rubric else ()):
            if criterion.category is Category.PITFALL and (
                "polarity" not in criterion.model_fields_set
            ):
                raise DataError(
                    f"{source}, line {line}, field rubric.criteria.{index}.polarity: missing for "
                    f"the pitfall {criterion.id!r}; allowed: 'good' (worded as avoidance) or "
                    "'bad' (worded as failure)"
                )
        tasks.append(task)
    return tasks


def _pairs(data: bytes, source: str, tasks: Sequence[Task]) -> list[Pair]:
    known = {t.id: t for t in tasks}
    pairs = []
    for line, pair in _rows(data, source, Pair):
        where = f"{source}, line {line}, field"
        task = known.get(pair.task_id)
        if task is None:
            raise DataError(
                f"{where} task_id: {pair.task_id!r} is not a known task; "
                f"allowed: {', '.join(sorted(known)) or 'none, no tasks were given'}"
            )
        if task.rubric is None:
            raise DataError(
                f"{where} task_id: task {pair.task_id!r} has no rubric to label against; "
                "allowed: a task with a rubric"
            )
        expected = {c.id for c in task.rubric.criteria}
        for field in ("gold_preferred", "gold_rejected"):
            found = set(getattr(pair, field))
            if found != expected:
                raise DataError(
                    f"{where} {field}: missing {sorted(expected - found)}, unexpected "
                    f"{sorted(found - expected)}; allowed: true or false for each criterion "
                    f"of task {task.id!r}, no more"
                )
        pairs.append(pair)
    return pairs


def _rows(data: bytes, source: str, model: type[Row]) -> list[tuple[int, Row]]:
    """The validated rows with their line numbers (from 1)."""
    rows: list[tuple[int, Row]] = []
    first_seen: dict[str, int] = {}
    # Split bytes at newlines only: str.splitlines would also cut at U+2028 inside a text.
    for line, raw in enumerate(data.split(b"\n"), start=1):
        if not raw.strip():
            continue
        where = f"{source}, line {line}"
        _check_json(raw, where)
        try:
            row = model.model_validate_json(raw, strict=True)
        except ValidationError as error:
            raise DataError(f"{where}, {'; '.join(_explain(error, model))}") from error
        if row.id in first_seen:
            raise DataError(
                f"{where}, field id: {row.id!r} was already used on line {first_seen[row.id]}; "
                "allowed: an id that occurs once in the file"
            )
        first_seen[row.id] = line
        rows.append((line, row))
    if not rows:
        raise DataError(f"{source}: holds no {model.__name__.lower()}; give one JSON object a line")
    return rows


def _check_json(raw: bytes, where: str) -> None:
    """Refuse what pydantic's parser would let pass or explain badly."""

    def unique(items: list[tuple[str, Any]]) -> dict[str, Any]:
        for key, times in Counter(k for k, _ in items).items():
            if times > 1:  # parsers keep the last one without a word
                raise DataError(f"{where}, field {key}: given twice; allowed: each key once")
        return dict(items)

    try:
        json.loads(raw.decode("utf-8"), object_pairs_hook=unique)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{where}: byte {error.start + 1} of the line ({raw[error.start]:#04x}) is not UTF-8; "
            "allowed: text saved as UTF-8"
        ) from error
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{where}: malformed JSON ({error}), found {_short(raw.decode('utf-8'))}; "
            "allowed: one complete JSON object a line"
        ) from error


def _explain(error: ValidationError, model: type[Frozen]) -> list[str]:
    """Each problem as field, found value and what is allowed."""
    problems = []
    for item in error.errors(include_url=False):
        loc = item["loc"]
        field = ".".join(str(part) for part in loc) or "(the whole line)"
        if item["type"] == "extra_forbidden":
            names = [part for part in loc[:-1] if isinstance(part, str)]
            owner = _NESTED[names[-1]] if names else model
            problems.append(
                f"field {field}: unknown key, found {_short(item['input'])}; "
                f"allowed: {', '.join(owner.model_fields)}"
            )
        elif item["type"] == "missing":
            problems.append(f"field {field}: missing; allowed: a value for this required key")
        else:
            problems.append(f"field {field}: found {_short(item['input'])}; allowed: {item['msg']}")
    return problems


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
