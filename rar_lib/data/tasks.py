"""Tasks, or pairs of responses to them: loaded, drawn, saved; RaR-Mini.

Gold labels must cover exactly the criteria of the rubric, and ids occur once;
:mod:`rar_lib.data.jsonl` says what is refused before that. :func:`rubric_of` makes a rubric of ours
of one in any of the shapes that people write, ``{"question": ..., "rubric": ["Names yeast."]}`` at
the simplest. Where less than all is
used, :func:`draw_tasks` and :func:`draw_pairs` choose it: the first lines of a file are no sample.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from rar_lib.core.errors import DataError
from rar_lib.core.files import digest, save_text
from rar_lib.core.scoring import PAPER_WEIGHTS
from rar_lib.core.stats import MIN_UNITS
from rar_lib.core.text import normalise
from rar_lib.core.types import Category, Pair, Polarity, Rubric, Task, Turn
from rar_lib.data.healthbench import category as category_by_points
from rar_lib.data.jsonl import Problem, Row, Shape, read, repeated, scan, short
from rar_lib.data.polarity import read as read_polarity
from rar_lib.data.polarity import split_prefix
from rar_lib.data.rar import category as named_category

_log = logging.getLogger(__name__)
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
    tasks = _load(_packaged(name), name, Task)
    wanted = _prefix(split)
    return [task for task in tasks if task.id.startswith(wanted)]


def load_mini_pairs(split: Split = "all") -> list[Pair]:
    """Pairs on the val and test tasks of RaR-Mini, with a gold label for every criterion.

    Raises:
        DataError: there is no such split.
    """
    name = "pairs.jsonl"
    pairs = _load(_packaged(name), name, Pair, check=pair_check(load_mini()))
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
    ways (paper v2, section 3.1) and the default would be a guess. A rubric may have any of the
    shapes of :func:`rubric_of`, if nothing of it would be left out.

    Raises:
        DataError: unreadable or empty file, malformed line, value outside the schema,
            repeated id.
    """
    tasks = _load(read(Path(path)), str(path), Task, shape=in_our_form)
    if said := points_kept(tasks):
        _log.warning("%s: %s", path, said)
    return tasks


def load_pairs(path: str | Path, tasks: Sequence[Task]) -> list[Pair]:
    """Preference pairs from a JSON-lines file, checked against the tasks they name.

    Args:
        path: the file.
        tasks: every task that the pairs refer to, each with its rubric.

    Raises:
        DataError: as :func:`load_tasks`, or the task is unknown or has no rubric, or the
            gold labels do not cover exactly the criteria of its rubric.
    """
    return _load(read(Path(path)), str(path), Pair, check=pair_check(tasks))


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
        problems: what a reader of the results should know of the parts, as warnings.
    """

    train: list[Task]
    held_out: list[Task]
    how: str
    left_out: int
    given: bool = False
    problems: tuple[Problem, ...] = ()


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
    data: bytes,
    source: str,
    model: type[Row],
    *,
    check: Callable[[Row], list[Problem]] = lambda _: [],
    shape: Shape | None = None,
) -> list[Row]:
    rows = []
    for _, row, problems in scan(data, model, check=check, shape=shape):
        if problems:
            first, *others = problems
            more = "".join(f"; {replace(problem, line=0)}" for problem in others)
            raise DataError(f"{source}, {first}{more}" if first.line else f"{source}{first}")
        if row is not None:
            rows.append(row)
    return rows


# ---- rubrics in the shapes that people write -----------------------------------------------------

#: Columns that hold rubrics, the likeliest first.
RUBRIC_COLUMNS = ("rubric", "rubrics", "criteria")
#: Two rows with rubrics, as short as they can be.
EXAMPLE = """\
{"question": "Why does bread rise?", "rubric": ["Names yeast.", "Says that yeast makes gas."]}
{"question": "Is it safe?", "rubric": [{"description": "Names mould.", "weight": 8}, \
{"description": "Recommends lead.", "weight": -5, "polarity": "bad"}]}"""
#: How a rubric that can't be read is mended.
RUBRIC_MEND = f"two rows that are read:\n{EXAMPLE}"
#: How what is found of a criterion ends that is left out.
_LEFT_OUT = ", left out"
_ITEM = "a text, or an object with description, and weight or category"
#: Keys of a criterion that hold its sentence, the likeliest first.
SENTENCE = ("description", "criterion", "text")
_WEIGHT = ("points", "weight")
#: What is read of an object that is a criterion.
KEYS = ("id", "title", *SENTENCE, "category", "polarity", *_WEIGHT, "tags")
_BOTH_WAYS = "'good' (worded as avoidance) or 'bad' (worded as failure)"
_CATEGORIES = {category.casefold(): category for category in Category}
_TITLE_WORDS = 6
_LONGEST_ID = 64


def task_id(text: str) -> str:
    """An id of anybody's as one of ours: lower-case letters, digits and hyphens, 64 at most.

    Ids that can't be written so get a digest, which does not depend on anything but the id.
    """
    plain = re.sub(r"[\s_./:#-]+", "-", text.strip().casefold()).strip("-")
    if re.fullmatch(r"[a-z0-9][a-z0-9-]*", plain) and len(plain) <= _LONGEST_ID:
        return plain
    return f"t-{_short_digest(text.strip())}"


def question_id(question: str) -> str:
    """The id of a question that has none: of its text alone, case and white space aside."""
    return f"q-{_short_digest(normalise(question))}"


def _short_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def number_id(index: int) -> str:
    """The id of a criterion that has none, by its place."""
    return f"c{index + 1:02d}"


def is_nothing(cell: object) -> bool:
    """Whether a cell is empty, as tables and their tools leave it."""
    blank = isinstance(cell, str) and not cell.strip()
    return blank or cell in (None, [], {}) or cell != cell  # not a number


def conversation(prompt: object, name: str) -> tuple[list[Turn], str] | list[Problem]:
    """The turns before the question, and the question; or what is wrong with the prompt.

    Args:
        prompt: text, or messages of which the last one is the user's.
        name: of its field.
    """
    if isinstance(prompt, str) and prompt.strip():
        return [], prompt
    if not isinstance(prompt, list) or not prompt:
        return [Problem(0, name, f"found {short(prompt)}", "text, or messages")]
    turns: list[Turn] = []
    for index, message in enumerate(prompt):
        place = f"{name}.{index}"
        if not isinstance(message, Mapping):
            return [Problem(0, place, f"found {short(message)}", "an object: role and content")]
        role = message.get("role")
        content = message.get("content")
        if role not in ("system", "user", "assistant"):
            return [Problem(0, f"{place}.role", f"found {short(role)}", "system, user, assistant")]
        if not isinstance(content, str) or not content:
            return [Problem(0, f"{place}.content", f"found {short(content)}", "text")]
        turns.append(Turn(role=role, content=content))
    if turns[-1].role != "user":
        found = f"found {turns[-1].role!r}"
        return [Problem(0, f"{name}.{len(turns) - 1}.role", found, "'user' in the last message")]
    return turns[:-1], turns[-1].content


def within(name: str, problem: Problem) -> Problem:
    """A problem of what is in a field, as one of the row."""
    return replace(problem, field=".".join(filter(None, (name, problem.field))))


def is_ours(cell: object) -> bool:
    """Whether it is a rubric as a task holds it, but for ids and titles that may be missing."""
    items = cell.get("criteria") if isinstance(cell, Mapping) else None
    return isinstance(items, list) and all(isinstance(item, Mapping) for item in items)


def unread_keys(cell: object) -> list[str]:
    """Keys of the objects in a rubric from which nothing is read."""
    keys = dict.fromkeys(key for item in _items(cell) if isinstance(item, Mapping) for key in item)
    return [key for key in keys if key not in KEYS]


def rubric_of(cell: object) -> tuple[dict[str, Any] | None, list[Problem]]:
    """A rubric in the form of ours, from any of the shapes that people write.

    Ours, of which ids and titles may be missing; a list of texts; a list of objects with the
    :data:`KEYS`; any of them as JSON in a text. A category that is not named, in its key or before
    the sentence as in RaR ("Essential Criteria: ..."), follows from the weight
    (:func:`rar_lib.data.healthbench.category`); where nothing has a weight, all are Essential. A
    fault that does not say its polarity is read by its wording (:mod:`rar_lib.data.polarity`).

    Returns:
        The rubric, ``None`` where the cell holds none that can be used; and the problems, whose
        fields begin inside of the cell: an error where it can't be read, a warning for every
        criterion that is left out, such as a pitfall whose wording is ambiguous.
    """
    given = parsed(cell)
    if is_ours(given):
        return _filled(given), []
    found = dict(given) if isinstance(given, Mapping) else {"criteria": given}
    items = found.get("criteria")
    if not isinstance(items, list) or not items or found.keys() - Rubric.model_fields.keys():
        allowed = f"a list; each item {_ITEM}"
        return None, [Problem(0, "", f"found {short(cell)}", allowed, mend=RUBRIC_MEND)]
    weighted = any(_value(item, _WEIGHT) is not None for item in items)
    made = [_criterion(number, item, weighted=weighted) for number, item in enumerate(items)]
    problems = [one for one in made if isinstance(one, Problem)]
    criteria = [one for one in made if not isinstance(one, Problem)]
    errors = [problem for problem in problems if problem.level == "error"]
    if errors:
        return None, [replace(errors[0], mend=RUBRIC_MEND), *errors[1:]]
    if not criteria:
        return None, [_refused(problem) for problem in problems]
    return found | {"criteria": criteria}, problems


def in_our_form(row: dict[str, Any]) -> tuple[dict[str, Any], list[Problem]]:
    """A row of a task file with its rubric in the form of ours, and what is wrong with it.

    A row whose rubric is ours comes back as it is. Another one may say ``prompt`` for ``question``,
    as text or as messages, and ``reference_answer`` for ``reference``, and needs no id. What
    :func:`rubric_of` warns of is an error here: where tasks alone are given back, nobody would
    hear of it.
    """
    names = [name for name in RUBRIC_COLUMNS if not is_nothing(row.get(name))]
    if not names or (names == ["rubric"] and _is_whole(row["rubric"])):
        return row, []
    if len(names) > 1:
        return row, [Problem(0, names[1], f"stands beside {names[0]!r}", "one rubric a row")]
    name = names[0]
    rubric, wrong = rubric_of(row[name])
    problems = [within(name, _refused(problem)) for problem in wrong]
    problems += [
        Problem(0, f"{name}.{key}", "unknown key", ", ".join(KEYS))
        for key in unread_keys(row[name])
    ]
    made = {key: value for key, value in row.items() if key not in RUBRIC_COLUMNS}
    if "reference" not in made and "reference_answer" in made:
        made["reference"] = made.pop("reference_answer") or None
    problems += _take_prompt(made)
    if isinstance(made.get("question"), str):
        made.setdefault("id", question_id(made["question"]))
    return made | {"rubric": rubric}, problems


def _refused(problem: Problem) -> Problem:
    return replace(problem, level="error", found=problem.found.removesuffix(_LEFT_OUT))


def rubric_notes(tasks: Iterable[Task], cells: Iterable[object]) -> Iterator[str]:
    """What a user of these tasks should know of their rubrics.

    Args:
        cells: the rubrics as they were read.
    """
    if any(_is_by_weight(item) for cell in cells for item in _items(cell)):
        yield (
            "where no category is named it follows from the weight: 7 or more Essential, 4 or more "
            "Important, less Optional, below 0 Pitfall; a key category says another"
        )
    if said := points_kept(tasks):
        yield said


def _items(cell: object) -> list[Any]:
    found = parsed(cell)
    return found if isinstance(found, list) else []


def _is_by_weight(item: object) -> bool:
    """Whether the category of a criterion follows from its weight."""
    if _value(item, _WEIGHT) is None or _value(item, ("category",)) is not None:
        return False
    return not named_category(split_prefix(str(_value(item, SENTENCE)))[0])[0]


def points_kept(tasks: Iterable[Task]) -> str:
    """That a reward does not weigh by the points of these tasks; empty where there are none."""
    criteria = [criterion for task in tasks if task.rubric for criterion in task.rubric.criteria]
    kept = sum(criterion.points is not None for criterion in criteria)
    if not kept:
        return ""
    weights = ", ".join(f"{category} {weight:g}" for category, weight in PAPER_WEIGHTS.items())
    return (
        f"points of {kept:,} of {len(criteria):,} criteria are kept, but the reward weighs by "
        f"category ({weights}) unless the judge is told otherwise: Judge(..., weights='points')"
    )


def _take_prompt(made: dict[str, Any]) -> list[Problem]:
    """Make the question of a row, and the turns before it, of its prompt."""
    if "question" in made or "prompt" not in made:
        return []
    found = conversation(made.pop("prompt"), "prompt")
    if not isinstance(found, tuple):
        return found
    turns, question = found
    made["question"] = question
    if turns and made.get("history"):
        return [Problem(0, "history", "stands beside the turns of 'prompt'", "one of them")]
    if turns:
        made["history"] = [turn.model_dump() for turn in turns]
    return []


def parsed(cell: object) -> object:
    """A cell, or what it holds as JSON."""
    if not isinstance(cell, str) or cell.lstrip()[:1] not in ("[", "{"):
        return cell
    try:
        return json.loads(cell)
    except (ValueError, RecursionError):
        return cell


def _is_whole(rubric: object) -> bool:
    """Whether a rubric is ours, or would be but for what the schema says better."""
    if not is_ours(rubric):
        return False
    return all(item.keys() >= {"id", "title"} for item in rubric["criteria"])  # type: ignore[index]


def _filled(rubric: Any) -> dict[str, Any]:
    """A rubric of ours with ids and titles."""
    items = []
    for number, item in enumerate(rubric["criteria"]):
        sentence = item.get("description")
        title = {"title": _title(sentence)} if isinstance(sentence, str) and sentence else {}
        items.append({"id": number_id(number), **title, **item})
    return dict(rubric) | {"criteria": items}


def _title(sentence: str) -> str:
    """The first words of a sentence."""
    return " ".join(sentence.split()[:_TITLE_WORDS]).rstrip(".,;:") or sentence


def _key(item: object, keys: Sequence[str]) -> str | None:
    """The first of these keys that holds anything."""
    values = item if isinstance(item, Mapping) else {}
    return next((key for key in keys if values.get(key) is not None), None)


def _value(item: object, keys: Sequence[str]) -> Any:
    """What stands under the first of these keys that holds anything."""
    key = _key(item, keys)
    return item[key] if key else None  # type: ignore[index]


def _criterion(number: int, item: object, *, weighted: bool) -> dict[str, Any] | Problem:
    """A criterion in the form of ours, or why there is none.

    Args:
        weighted: whether any of its rubric has a weight.
    """
    given = {"description": item} if isinstance(item, str) else item
    if not isinstance(given, Mapping):
        return Problem(0, str(number), f"found {short(item)}", _ITEM)
    problem = _wrong_item(given, weighted=weighted) or _without_effect(given)
    if problem is not None:
        return within(str(number), problem)
    text = _value(given, SENTENCE)
    weight = _value(given, _WEIGHT)
    kind, sentence = _kind(given)
    title = given.get("title")
    made = {
        "id": number_id(number) if given.get("id") is None else task_id(str(given["id"])),
        "title": _title(sentence) if is_nothing(title) else title,
        "description": sentence,
        "category": kind,
        "polarity": str(given.get("polarity") or Polarity.GOOD).casefold(),
        "points": weight,
        "tags": given.get("tags") or [],
    }
    fault = kind is Category.PITFALL or (weight or 0) < 0
    if fault and given.get("polarity") is None:
        polarity, rule = read_polarity(text, weight, str(title or ""))
        if polarity is None:
            found = f"{short(text)} is ambiguous ({rule}){_LEFT_OUT}"
            mend = f"say its polarity: {_BOTH_WAYS}"
            return Problem(0, f"{number}.polarity", found, "", "warning", mend=mend)
        made["polarity"] = polarity
    return made


def _kind(given: Mapping[str, Any]) -> tuple[Category, str]:
    """The category of an object that is a criterion, and its sentence without it."""
    text = _value(given, SENTENCE)
    weight = _value(given, _WEIGHT)
    word, rest = split_prefix(text)
    named = named_category(word)[0] if word else None
    sentence = rest if named and rest else text
    if given.get("category") is not None:
        return _CATEGORIES[str(given["category"]).strip().casefold()], sentence
    if named or weight is None:
        return named or Category.ESSENTIAL, sentence
    return category_by_points(weight), sentence


def _wrong_item(given: Mapping[str, Any], *, weighted: bool) -> Problem | None:
    """What can't be read of an object that is to be a criterion."""
    text = _value(given, SENTENCE)
    weight = _value(given, _WEIGHT)
    category = given.get("category")
    polarity = given.get("polarity")
    if not isinstance(text, str) or not text.strip():
        found = "missing" if text is None else f"found {short(text)}"
        name = _key(given, SENTENCE) or "description"
        return Problem(0, name, found, "a sentence that a response meets or not")
    if weight is not None and not _is_number(weight):
        return Problem(0, str(_key(given, _WEIGHT)), f"found {short(weight)}", "a number")
    if category is not None and str(category).strip().casefold() not in _CATEGORIES:
        return Problem(0, "category", f"found {short(category)}", ", ".join(Category))
    if polarity is not None and str(polarity).casefold() not in set(Polarity):
        return Problem(0, "polarity", f"found {short(polarity)}", _BOTH_WAYS)
    if weighted and weight is None and category is None and not split_prefix(text)[0]:
        return Problem(0, "weight", "missing, and others have one", "a number, or a category")
    return None


def _without_effect(given: Mapping[str, Any]) -> Problem | None:
    """That a criterion of no weight is left out: its category would give it one."""
    if _value(given, _WEIGHT) != 0:
        return None
    found = f"0 for {short(_value(given, SENTENCE))}{_LEFT_OUT}"
    name = str(_key(given, _WEIGHT))
    return Problem(0, name, found, "", "warning", mend="remove it, or weigh it")


def _is_number(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value)  # type: ignore[arg-type]
