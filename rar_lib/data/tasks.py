"""Tasks, or pairs of responses to them: loaded, drawn, saved; RaR-Mini.

A pitfall must state its polarity, gold labels must cover exactly the criteria of the rubric, and
ids occur once; :mod:`rar_lib.data.jsonl` says what is refused before that. Where less than all is
used, :func:`draw_tasks` and :func:`draw_pairs` choose it: the first lines of a file are no sample.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from rar_lib.core.errors import DataError
from rar_lib.core.files import digest, save_text
from rar_lib.core.stats import MIN_UNITS
from rar_lib.core.text import normalise
from rar_lib.core.types import Category, Pair, Task
from rar_lib.data.jsonl import Problem, Row, read, repeated, scan

Split = Literal["train", "val", "test", "all"]
#: Seed of every draw of this library, declared before anything was measured on one.
SEED = 0
#: Orders that a draw may try until one keeps every level in its share.
_ATTEMPTS = 100
Levels = tuple[Hashable, ...]


class _Named(Protocol):
    @property
    def id(self) -> str: ...


Item = TypeVar("Item", bound=_Named)


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
    return [task for task in tasks if task.id.startswith(wanted)]


def load_mini_pairs(split: Split = "all") -> list[Pair]:
    """Pairs on the val and test tasks of RaR-Mini, with a gold label for every criterion.

    Raises:
        DataError: there is no such split.
    """
    name = "pairs.jsonl"
    pairs = _load(_packaged(name), name, Pair, pair_check(load_mini()))
    wanted = _prefix(split)
    return [pair for pair in pairs if pair.task_id.startswith(wanted)]


def tried_pairs() -> frozenset[str]:
    """Ids of the pairs on which the wording of the arm ``explicit`` was found.

    Its first trial took every third pair of the data, whatever the split: some are test pairs.
    """
    return frozenset(pair.id for pair in load_mini_pairs("all")[::3])


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


def draw_tasks(tasks: Sequence[Task], n: int) -> list[Task]:
    """A seeded draw of ``n`` tasks, stratified by domain and topic (see :func:`stratified`)."""
    return stratified(tasks, n, lambda task: (task.domain, (task.domain, task.topic)))


def split_tasks(
    tasks: Sequence[Task], held_out: int | None = None
) -> tuple[list[Task], list[Task]]:
    """Tasks to train on and tasks held out, each in the order given.

    The held-out ones are :func:`draw_tasks`: seeded, in the shares of domain and topic, and a
    larger number holds out those of a smaller one and more. A task that asks a held-out question
    in other letters or spaces is held out, too: it would be trained on what is tested.

    Args:
        held_out: how many to hold out at least; a quarter if ``None``, and as many as an interval
            needs (:data:`rar_lib.core.stats.MIN_UNITS`) where that is not more than half.

    Raises:
        DataError: fewer than two tasks or questions, or nothing would be left on one side.
    """
    if len(tasks) < 2:
        raise DataError(
            f"{len(tasks)} task can't be split: give at least two, one to train on and one to "
            "hold out"
        )
    count = default_held_out(len(tasks)) if held_out is None else held_out
    if not 0 < count < len(tasks):
        raise DataError(
            f"{count} of {len(tasks)} tasks can't be held out: choose 1 to {len(tasks) - 1}"
        )
    asked = {normalise(task.question) for task in draw_tasks(tasks, count)}
    held = [task for task in tasks if normalise(task.question) in asked]
    train = [task for task in tasks if normalise(task.question) not in asked]
    if not train:
        raise DataError(
            f"all of {len(tasks)} tasks ask one of the {count} held-out questions, so that none is "
            "left to train on: add other questions, or hold fewer out"
        )
    return train, held


@dataclass(frozen=True)
class Parts:
    """Tasks to train on and held out.

    Attributes:
        how: they were parted, for a person.
        left_out: rows that can't be used.
        given: whether the file itself says what is held out.
    """

    train: list[Task]
    held_out: list[Task]
    how: str
    left_out: int
    given: bool = False


def keep_parts(parts: Parts, out: Path) -> None:
    """Store the split in the folder of the run: what was held out must be known later.

    Raises:
        DataError: the folder can't be written.
    """
    path = out / "split.json"
    if path.exists():
        return
    save_tasks(out / "train.jsonl", parts.train)
    save_tasks(out / "held_out.jsonl", parts.held_out)
    # Last: with it the split is whole.
    save_text(path, json.dumps(_split_record(parts), indent=1), "free space")


def _split_record(parts: Parts) -> dict[str, Any]:
    """The split as JSON: ids of both parts, and a digest of the tasks themselves."""
    whole = [task.model_dump(mode="json") for task in (*parts.train, *parts.held_out)]
    return {
        "how": parts.how,
        "train": [task.id for task in parts.train],
        "held_out": [task.id for task in parts.held_out],
        "tasks": digest(whole),
    }


def kept_parts(parts: Parts, out: Path, held_out: int | None) -> Parts:
    """The split that the folder of the run holds, if there is one; else the one given.

    Args:
        held_out: how many a person asks to hold out, if anybody does.

    Raises:
        DataError: it is of other tasks, or not the one that is asked for now.
    """
    path = out / "split.json"
    if not path.exists():
        return parts
    other = (
        f"{out} is the folder of a run on other tasks or another split ({path.name}): "
        "choose another --out, or give the tasks and --held-out that it was begun with"
    )
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        by_id = {task.id: task for task in (*parts.train, *parts.held_out)}
        train = [by_id[name] for name in kept["train"]]
        held = [by_id[name] for name in kept["held_out"]]
        found = Parts(train, held, f"as kept in {path}", parts.left_out)
        same = _split_record(found)["tasks"] == kept["tasks"] and len(by_id) == len(train + held)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(other) from error
    said = held_out is not None or parts.given
    if not same or (said and {task.id for task in held} != {task.id for task in parts.held_out}):
        raise DataError(other)
    return found


def default_held_out(tasks: int) -> int:
    """How many of so many tasks :func:`split_tasks` holds out where nothing is said; 1 or more."""
    return max(1, min(max(tasks // 4, MIN_UNITS), tasks // 2))


def draw_pairs(pairs: Sequence[Pair], n: int, tasks: Sequence[Task]) -> list[Pair]:
    """A seeded draw of ``n`` pairs, stratified by axis, difficulty and domain of their task.

    A task's first pair comes before any second one (see :func:`stratified`).
    """
    domain = {task.id: task.domain for task in tasks}
    return stratified(
        pairs,
        n,
        lambda pair: (pair.axis, pair.difficulty, domain[pair.task_id]),
        group=lambda pair: pair.task_id,
    )


def stratified(
    items: Sequence[Item],
    n: int,
    levels: Callable[[Item], Levels],
    *,
    group: Callable[[Item], Hashable] = lambda item: item.id,
    seed: int = SEED,
) -> list[Item]:
    """A seeded draw of ``n`` items that holds every level of every factor in its share.

    Item by item, the level whose next item is due first is served, where item j of a level that
    makes up the share s is due at ``ceil(j / s)`` and not before ``floor((j - 1) / s) + 1``. With
    one factor, every count is then within one of its share at every length (Tijdeman, *The
    chairman assignment problem*, 1980; Baruah et al., *Proportionate progress*, 1996). Factors
    that cross, and groups, can get into each other's way: then further orders of the items are
    tried until one keeps within one, else the best of them (rerandomisation, Morgan and Rubin
    2012: it looks at the factors alone). Equals are taken in an order that hangs on seed and ids.

    So a longer draw goes on where a shorter one ends, and the order in which the items are given
    does not matter.

    Args:
        items: with ids that differ.
        n: how many; all of them where there are no more.
        levels: the level of an item in each factor, such as its axis and its difficulty.
        group: what an item belongs to; no group gives a second item before every other one that
            has items has given its first.
        seed: of the order among equals.
    """
    best: tuple[float, list[Item]] = (float("inf"), [])
    for attempt in range(_ATTEMPTS):
        drawn = _in_turn(_shuffled(items, (seed, attempt)), levels, group)
        best = min(best, (off_share(drawn, levels), drawn), key=lambda found: found[0])
        if best[0] <= 1:
            break
    return best[1][:n]


def off_share(drawn: Sequence[Item], levels: Callable[[Item], Levels]) -> float:
    """How far a level gets from its share, at the worst length, in items.

    Args:
        drawn: all items, in the order of the draw.
        levels: as for :func:`stratified`.
    """
    size = Counter(level for item in drawn for level in enumerate(levels(item)))
    taken: Counter[Hashable] = Counter()
    worst = 0.0
    for length, item in enumerate(drawn, 1):
        taken.update(enumerate(levels(item)))
        off = max(abs(taken[level] - length * count / len(drawn)) for level, count in size.items())
        worst = max(worst, off)
    return worst


def _shuffled(items: Sequence[Item], seed: tuple[int, int]) -> list[Item]:
    """By a digest of the ids: the same on every machine, whatever order they came in."""
    return sorted(items, key=lambda item: hashlib.sha256(f"{seed} {item.id}".encode()).digest())


def _in_turn(
    items: Sequence[Item], levels: Callable[[Item], Levels], group: Callable[[Item], Hashable]
) -> list[Item]:
    """All items: the level that is due first is served first, equals in the order given."""
    size: Counter[Hashable] = Counter(level for item in items for level in _kinds(levels(item)))
    taken: Counter[Hashable] = Counter()
    drawn: list[Item] = []
    queues = _queues(items, levels)
    served = set[Hashable]()
    later = list[Item]()
    while len(drawn) < len(items):
        for queue in queues.values():
            while queue and group(queue[-1]) in served:
                later.append(queue.pop())
        open_ = [cell for cell, queue in queues.items() if queue]
        if not open_:  # every group has given an item: the next round begins
            queues = _queues(later, levels)
            served = set()
            later = []
            continue
        passed = (len(drawn) + 1, len(items))
        cell = min(open_, key=lambda kind: _due(_kinds(kind), passed, taken, size))
        drawn.append(queues[cell].pop())
        taken.update(_kinds(cell))
        served.add(group(drawn[-1]))
    return drawn


def _queues(items: Sequence[Item], levels: Callable[[Item], Levels]) -> dict[Levels, list[Item]]:
    """Items of one kind, the first of them last; kinds in the order of their first items."""
    found: dict[Levels, list[Item]] = {}
    for item in items:
        found.setdefault(levels(item), []).append(item)
    return {kind: queue[::-1] for kind, queue in found.items()}


def _kinds(levels: Levels) -> tuple[Hashable, ...]:
    """The levels, each known by its factor, too, and their combination, as one more level."""
    return (*enumerate(levels), levels) if len(levels) > 1 else tuple(enumerate(levels))


def _due(
    kinds: tuple[Hashable, ...],
    passed: tuple[int, int],
    taken: Counter[Hashable],
    size: Counter[Hashable],
) -> tuple[int, list[float]]:
    """What a kind is chosen by, least first: levels that are ahead of their share, deadlines."""
    step, length = passed
    ahead = sum(taken[level] * length >= step * size[level] for level in kinds)
    return ahead, sorted((taken[level] + 1) / size[level] for level in kinds)


def save_tasks(path: str | Path, tasks: Iterable[Task]) -> None:
    """Write tasks as JSON lines so that :func:`load_tasks` gives the same tasks back.

    The file is complete or unchanged: the text goes to a temporary file in the same
    folder, is flushed to disk, and takes the place of ``path`` in one step.

    Raises:
        DataError: no tasks, a repeated id, or the file could not be written.
    """
    rows = list(tasks)
    if not rows:
        raise DataError(f"{path}: no tasks to save; a task file holds at least one")
    twice = sorted(repeated(item.id for item in rows))
    if twice:
        raise DataError(f"{path}: repeated task ids {', '.join(twice)}; ids must be unique")
    text = "".join(item.model_dump_json() + "\n" for item in rows)
    save_text(path, text)


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
    known = {task.id: task for task in tasks}
    names = ", ".join(sorted(known)) or "none, no tasks were given"

    def check(pair: Pair) -> list[Problem]:
        task = known.get(pair.task_id)
        if task is None:
            return [Problem(0, "task_id", f"{pair.task_id!r} is not a known task", names)]
        if task.rubric is None:
            found = f"task {pair.task_id!r} has no rubric to label against"
            return [Problem(0, "task_id", found, "a task with a rubric")]
        expected = {criterion.id for criterion in task.rubric.criteria}
        allowed = f"true or false for each criterion of task {task.id!r}, no more"
        problems: list[Problem] = []
        for field in ("gold_preferred", "gold_rejected"):
            found_ids = set(getattr(pair, field))
            if found_ids != expected:
                missing = sorted(expected - found_ids)
                extra = sorted(found_ids - expected)
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
