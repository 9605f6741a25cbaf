"""HealthBench (OpenAI, 2025): conversations with criteria by physicians, scored by its formula.

Each criterion is worth -10 to 10 points, kept as published for the formula
(:func:`healthbench_score`). A negative criterion describes a fault: it is
met when the bad thing happened. HealthBench has no categories; for the arms that need
them, points are mapped by a rule of ours, not of the paper's:

    7 to 10: Essential    4 to 6: Important    above 0 to 3: Optional    negative: Pitfall

Fields of a row: ``prompt_id``; ``prompt``, chat messages ending with the user's;
``rubrics``, each with ``criterion``, ``points``, ``tags``; ``example_tags``, of which the
theme is kept; ``ideal_completions_data``, often null. Rows of one's own may lack tags. Others, the
canary too, are ignored.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from pydantic import ValidationError

from rar_lib.core.errors import DataError
from rar_lib.core.fetch import hub_file
from rar_lib.core.scoring import PAPER_WEIGHTS, Weights
from rar_lib.core.types import Category, Criterion, Frozen, Polarity, Rubric, Task, Turn
from rar_lib.data.jsonl import Account, json_rows, read, short

Subset = Literal["oss_eval", "hard", "consensus"]
Noun = TypeVar("Noun", bound=Frozen)
FILES: Mapping[str, str] = {
    "oss_eval": "2025-05-07-06-14-12_oss_eval.jsonl",
    "hard": "hard_2025-05-08-21-00-10.jsonl",
    "consensus": "consensus_2025-05-09-20-00-46.jsonl",
}


#: What is counted beside the criteria of each category.
NO_IDEAL = "tasks without an ideal completion"
CONVERSATIONS = "tasks with turns before the question"
NO_POINTS = "criteria of 0 points, left out"  # they cannot change a score
NOTHING_TO_GAIN = "rows without positive points, left out"  # nothing to divide by
_COUNTS = (
    *(f"criteria, {category}" for category in Category),
    NO_IDEAL,
    CONVERSATIONS,
    NO_POINTS,
    NOTHING_TO_GAIN,
)


def load_healthbench(
    rows: str | Path | Iterable[Mapping[str, Any]] | None = None,
    *,
    repo: str = "openai/healthbench",
    revision: str = "main",
    subset: Subset = "oss_eval",
) -> tuple[list[Task], Account]:
    """HealthBench as tasks with rubrics, in published order, and an account of what was read.

    Args:
        rows: a JSON-lines file or rows that you have; by default the hub's.
        repo: the data set on the hub.
        revision: branch, tag or commit there; the account names the commit.
        subset: ``oss_eval`` (all, 5,000 conversations), ``hard`` or ``consensus``.

    Raises:
        DataError: no such subset, the file cannot be had, or a row outside the schema: the
            message names file, line and field.
    """
    if subset not in get_args(Subset):
        raise DataError(f"no subset {subset!r}; allowed: {', '.join(FILES)}")
    account = Account("rows given", counts=Counter(dict.fromkeys(_COUNTS, 0)))
    if rows is None:
        file = hub_file(repo, FILES[subset], revision)
        rows = file.path
        account.commit = file.commit
    if isinstance(rows, str | Path):
        data = read(Path(rows))
        account.source = Path(rows).name
        account.sha256 = hashlib.sha256(data).hexdigest()
        places = ((f"{rows}, line {n}", row) for n, row in json_rows(data, str(rows)))
    else:
        places = ((f"row {number}", row) for number, row in enumerate(rows, start=1))
    tasks: dict[str, Task] = {}
    for where, row in places:
        account.rows += 1
        task = task_of(row, where, account)
        if task is None:
            continue
        if task.id in tasks:
            raise _wrong(where, "prompt_id", task.id, "an id that occurs once")
        tasks[task.id] = task
        account.kept += 1
        account.counts[NO_IDEAL] += task.reference is None
        account.counts[CONVERSATIONS] += bool(task.history)
        for criterion in task.rubric.criteria if task.rubric else ():
            account.counts[f"criteria, {criterion.category}"] += 1
    if not account.rows:
        raise DataError(f"{account.source}: holds no row; give HealthBench's JSON lines")
    return list(tasks.values()), account


def healthbench_score(points: Sequence[float], met: Sequence[bool | None]) -> float | None:
    """HealthBench's score of one response: points of met criteria over the positive points.

    A negative criterion that is met subtracts, so the score may be below 0; the mean over
    a set is clipped to [0, 1] by :func:`healthbench_mean`. ``None`` if any verdict is.

    Raises:
        ValueError: lengths differ, or there is no positive criterion.
    """
    pairs = list(zip(points, met, strict=True))
    possible = math.fsum(worth for worth in points if worth > 0)
    if possible <= 0:
        raise ValueError("HealthBench's formula needs at least one criterion with positive points")
    if any(verdict is None for verdict in met):
        return None
    return math.fsum(worth for worth, verdict in pairs if verdict is True) / possible


def healthbench_mean(scores: Sequence[float]) -> float:
    """Mean over responses, clipped to [0, 1] as HealthBench does.

    Raises:
        ValueError: there is no score.
    """
    if not scores:
        raise ValueError("no score to average")
    return min(1.0, max(0.0, math.fsum(scores) / len(scores)))


def signed_points(rubric: Rubric, weights: Weights = PAPER_WEIGHTS) -> list[float]:
    """Points in HealthBench's convention: a criterion worded as a failure counts negative.

    The published points where the rubric has them, else the weight of the category. The sign
    comes from the polarity: HealthBench's own signs say the same, but RaR gives a pitfall
    worded as avoidance a negative weight, too, and meeting that one is good.

    Raises:
        ValueError: some criteria have published points and others none: the scales differ.
    """
    without = [criterion.id for criterion in rubric.criteria if criterion.points is None]
    if without and len(without) < len(rubric.criteria):
        raise ValueError(f"criteria {', '.join(without)} have no points and the others do")
    signed = []
    for criterion in rubric.criteria:
        points = weights[criterion.category] if criterion.points is None else abs(criterion.points)
        signed.append(points if criterion.polarity is Polarity.GOOD else -points)
    return signed


def category(points: float) -> Category:
    """Our mapping of points to categories; see the table above.

    Raises:
        ValueError: 0 points have none.
    """
    if not points:
        raise ValueError("a criterion of 0 points has no category")
    if points < 0:
        return Category.PITFALL
    if points >= 7:
        return Category.ESSENTIAL
    return Category.IMPORTANT if points >= 4 else Category.OPTIONAL


def task_of(row: object, where: str, account: Account) -> Task | None:
    """The task of one row; ``None``, with its account, if it has no positive points.

    Raises:
        DataError: the row is outside the schema; the message begins with ``where``.
    """
    if not isinstance(row, Mapping):
        raise DataError(f"{where}: found {short(row)}; allowed: one object a row")
    turns = []
    for index, message in enumerate(_get(row, "prompt", list, where)):
        place = f"prompt.{index}"
        if not isinstance(message, Mapping):
            raise _wrong(where, place, message, "an object with role and content")
        role, content = (_get(message, key, str, where, place) for key in ("role", "content"))
        turns.append(_fit(Turn, where, place, role=role, content=content))
    if not turns or turns[-1].role != "user":
        last = turns[-1].role if turns else "no message"
        raise _wrong(where, "prompt", last, "messages of which the last is the user's")
    criteria = _criteria(_get(row, "rubrics", list, where), where, account)
    name = _get(row, "prompt_id", str, where)
    if not any(criterion.points and criterion.points > 0 for criterion in criteria):
        account.leave_out(NOTHING_TO_GAIN, f"{where} ({name})")
        return None
    ideal = row.get("ideal_completions_data") or {}
    if not isinstance(ideal, Mapping):
        raise _wrong(where, "ideal_completions_data", ideal, "an object or null")
    reference = ideal.get("ideal_completion")
    if reference is not None and not isinstance(reference, str):
        raise _wrong(where, "ideal_completions_data.ideal_completion", reference, "a text or null")
    themes = [tag[6:] for tag in _strings(row, "example_tags", where) if tag.startswith("theme:")]
    return _fit(
        Task,
        where,
        "",
        id=name,
        domain="medicine",
        topic=", ".join(themes).replace("_", " "),
        question=turns[-1].content,
        history=tuple(turns[:-1]),
        reference=reference or None,
        rubric=_fit(Rubric, where, "rubrics", criteria=tuple(criteria)),
    )


def _criteria(items: list[Any], where: str, account: Account) -> list[Criterion]:
    criteria = []
    for index, item in enumerate(items):
        place = f"rubrics.{index}"
        if not isinstance(item, Mapping):
            raise _wrong(where, place, item, "an object with criterion, points and tags")
        points = item.get("points")
        number = isinstance(points, int | float) and not isinstance(points, bool)
        if points is None or not number or not abs(points) <= 10:  # nan is not <= 10
            raise _wrong(where, f"{place}.points", points, "a number from -10 to 10")
        if points == 0:
            account.leave_out(NO_POINTS, where, place)
            continue
        tags = _strings(item, "tags", where, place)
        axes = [
            tag.removeprefix("axis:").replace("_", " ") for tag in tags if tag.startswith("axis:")
        ]
        criterion = _fit(
            Criterion,
            where,
            place,
            id=f"c{index + 1:02d}",
            title=(axes[0] if axes else "criterion").capitalize(),
            description=_get(item, "criterion", str, where, place),
            category=category(points),
            polarity=Polarity.GOOD if points > 0 else Polarity.BAD,
            points=points,
            tags=tuple(tags),
        )
        criteria.append(criterion)
    return criteria


def _get(row: Mapping[str, Any], key: str, kind: type, where: str, parent: str = "") -> Any:
    name = f"{parent}.{key}" if parent else key
    if key not in row:
        raise DataError(f"{where}, field {name}: missing; allowed: a {kind.__name__}")
    if not isinstance(row[key], kind):
        raise _wrong(where, name, row[key], f"a {kind.__name__}")
    return row[key]


def _strings(row: Mapping[str, Any], key: str, where: str, parent: str = "") -> list[str]:
    found: list[str] = _get(row, key, list, where, parent) if key in row else []
    if not all(isinstance(item, str) for item in found):
        raise _wrong(where, f"{parent}.{key}" if parent else key, found, "a list of texts")
    return found


def _fit(model: type[Noun], where: str, parent: str, **values: Any) -> Noun:
    """The noun made of these values; what its schema refuses is named by the published field."""
    published = {"id": "prompt_id", "description": "criterion", "question": "prompt"}
    try:
        return model(**values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        names = [parent, *(published.get(str(part), str(part)) for part in first["loc"])]
        raise _wrong(where, ".".join(filter(None, names)), first["input"], first["msg"]) from error


def _wrong(where: str, name: str, found: object, allowed: str) -> DataError:
    return DataError(f"{where}, field {name}: found {short(found)}; allowed: {allowed}")
