"""The report: one page of a file of grades, or of a run of training, that can be mailed.

    write_report("grades.jsonl", "report.html", tasks=tasks, responses=responses)
    write_report("runs/implicit-0", "report.html", tasks=tasks)
    write_report("runs/implicit-0", "rollouts.html", browse=True)     # to leaf through

The page needs nothing but itself: no script, no font, no picture from elsewhere, and a policy that
forbids them. The one to leaf through has a script, known by its hash, which reads inert JSON.
Grades and runs hold model text, which is hostile. Every value that reaches a page is put there by a
template, whose environment escapes each one and takes out what can't be seen, or as a text node by
that script; none stands in an address, a style or a name of an element.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import cache
from importlib.resources import files
from itertools import accumulate, chain
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rar_lib.core.decision import Finding, decide_family
from rar_lib.core.errors import DataError
from rar_lib.core.files import save_text
from rar_lib.core.scoring import PREDEFINED
from rar_lib.core.stats import MIN_UNITS, Interval, mean_scored, scored
from rar_lib.core.text import visible
from rar_lib.core.types import Category, Task, Turn, Usage
from rar_lib.data.jsonl import raw_lines, read, short
from rar_lib.data.questions import Response
from rar_lib.data.tasks import load_tasks
from rar_lib.evaluation.diagnostics import advantages, groups, spread
from rar_lib.evaluation.grading import (
    GradedCriterion,
    GradedResponse,
    Mean,
    by_category,
    by_criterion,
    load_grades,
    mean_of,
    mean_score,
    readable_share,
    total_usage,
    unscored,
)
from rar_lib.evaluation.held_out import Scores, gamed, paired, paired_difference
from rar_lib.judging.cost import amount, counted
from rar_lib.training.policy import Likelihoods
from rar_lib.training.run import KEPT_GROUPS, TRANSCRIPT, Run, read_transcript

if TYPE_CHECKING:
    from jinja2 import Environment, Template

#: Nothing is allowed but the page's own style, known by its hash.
POLICY = "default-src 'none'; style-src '{style}'; base-uri 'none'; form-action 'none'"
#: The same with the script of the page to leaf through.
BROWSE_POLICY = f"{POLICY}; script-src '{{script}}'"
#: Responses that are shown in full, about: a page of a thousand stays below 3 MB.
FULL = 300
#: Of one task; the others are counted.
_SIDE_BY_SIDE = 8
#: Characters of a text and of a name.
_TEXT = 4_000
_NAME = 80
#: Rows of a table.
_ROWS = 30
#: Tasks that are listed without their responses; the others are counted.
_REST = 1_000
_REASONS = 12
#: Files of tasks in the folder of a run.
_TASKS = ("train.jsonl", "held_out.jsonl")
#: Ids of the responses in a file of grades of held-out answers.
BEFORE = "before"
AFTER = "after"

Source = str | Path | Run | Sequence[GradedResponse]
Pairs = list[tuple[str, str]]


def write_report(
    source: Source,
    out: str | Path,
    *,
    tasks: Sequence[Task] = (),
    responses: Sequence[Response] = (),
    grades: Sequence[GradedResponse] = (),
    title: str = "",
    browse: bool = False,
) -> Path:
    """Write the page of a file of grades or of a run, whole or not at all.

    Args:
        source: ``grades.jsonl`` of ``rar grade``, a folder with ``run.json`` or that file; or what
            they hold.
        out: the page; missing folders are made.
        tasks: their questions and references are shown; a folder of a run may hold them.
        responses: the texts that were graded; a run brings its own.
        grades: of the held-out answers of a run, under the ids ``before`` and ``after``.
        title: instead of one that says what the page is of.
        browse: the answers and rollouts of a run to leaf through, task by task and step by step,
            instead of its numbers.

    Returns:
        Where the page lies.

    Raises:
        DataError: the source is neither, is damaged, or would be overwritten; or the page could not
            be written.
    """
    target = Path(out)
    if target.is_dir():
        raise DataError(f"{target} is a folder: name a file in it, -o {target / 'report.html'}")
    if isinstance(source, str | Path):
        for path in (Path(source), Path(source) / "run.json"):
            if path.resolve() == target.resolve():
                raise DataError(f"{target} is read and would be overwritten: choose another -o")
    if browse:
        text = browse_page(source, tasks=tasks, grades=grades, title=title)
    else:
        text = page(source, tasks=tasks, responses=responses, grades=grades, title=title)
    save_text(target, text)
    return target


def page(
    source: Source,
    *,
    tasks: Sequence[Task] = (),
    responses: Sequence[Response] = (),
    grades: Sequence[GradedResponse] = (),
    title: str = "",
) -> str:
    """The same as HTML.

    Raises:
        DataError: as :func:`write_report`.
    """
    found = read_source(source) if isinstance(source, str | Path) else source
    name, when = _file_of(source) if isinstance(source, str | Path) else ("", "")
    if isinstance(found, Run) and isinstance(source, str | Path) and not tasks:
        tasks = _tasks_beside(Path(source))
    texts = _Texts.of(tasks, responses)
    if isinstance(found, Run):
        with _as_written(name):
            view = _run_view(found, texts, grades)
    else:
        view = _grades_view(found, texts)
    view["ran"] += [part for part in (name, when) if part]
    if title.strip():
        view["title"] = title
    view["title"] = _short(view["title"], 2 * _NAME)
    return _render(view)


@contextmanager
def _as_written(name: str) -> Iterator[None]:
    """Around the reading of what a run holds, which somebody may have changed."""
    try:
        yield
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise DataError(
            f"{name or 'the run'} is not as rar train writes it ({error!r:.200}); give the "
            "run.json of a finished run, unchanged"
        ) from error


def read_source(path: str | Path) -> Run | list[GradedResponse]:
    """A run, or grades: told apart by what they hold, not by their name.

    Raises:
        DataError: it is neither; says what was found.
    """
    path = Path(path)
    if path.is_dir():
        if not (path / "run.json").is_file():
            inside = ", ".join(sorted(p.name for p in path.iterdir())[:5]) or "nothing"
            raise DataError(
                f"{path} holds no run.json but {inside}: rar train writes it when a run is "
                "finished; name its folder, or a file that rar grade wrote"
            )
        path /= "run.json"
    data = read(path)
    value = _first_value(data)
    for keys, load in _KINDS:
        if isinstance(value, dict) and keys <= value.keys():
            return load(path)
    if not data.strip():
        return load_grades(path)  # which says that it is empty
    raise DataError(
        f"{path} is neither grades nor a run: it holds {_what(value, data)}; give the file that "
        "rar grade wrote, or the folder of a run of rar train"
    )


def _load_run(path: Path) -> Run:
    try:
        return Run.load(path)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{path} is not as rar train writes it ({error}); give the run.json of a finished run"
        ) from error


#: What a file must have to be read as one of these; another kind of record is one more row.
_KINDS = (
    (frozenset(("arm", "log", "before", "after")), _load_run),
    (frozenset(("task", "response", "score", "arm")), load_grades),
)


def _first_value(data: bytes) -> Any:
    """The JSON value of a whole file, or else of its first line; ``None`` if neither is one."""
    first = next((raw for _, raw in raw_lines(data)), b"")
    for part in (data, first):
        try:
            return json.loads(part)
        except (ValueError, RecursionError):
            continue
    return None


def _what(value: Any, data: bytes) -> str:
    if isinstance(value, dict):
        return f"an object with the keys {short(', '.join(map(str, value)))}"
    if value is not None:
        return f"JSON that is no object, {short(value)}"
    return f"no JSON; it begins with {short(data[:40])}"


def _tasks_beside(run: Path) -> list[Task]:
    """The tasks that lie in the folder of a run, trained on and held out; often there are none."""
    folder = run if run.is_dir() else run.parent
    paths = [folder / name for name in _TASKS]
    found = [load_tasks(path) for path in paths if path.is_file()]
    return list(chain.from_iterable(found))


def _file_of(source: str | Path) -> tuple[str, str]:
    """Name and day of a file; where it lies is nobody's business who gets the page."""
    path = Path(source)
    file = path / "run.json" if path.is_dir() else path
    day = datetime.fromtimestamp(file.stat().st_mtime, UTC).date().isoformat()
    return path.name if path.is_dir() else file.name, f"file of {day}"


# --- texts and tasks


@dataclass(frozen=True)
class _Texts:
    """What was asked and answered, as far as it was given."""

    tasks: Mapping[str, Task]
    responses: Mapping[tuple[str, str], str]

    @classmethod
    def of(cls, tasks: Iterable[Task], responses: Iterable[Response]) -> _Texts:
        texts = {(response.task, response.id): response.text for response in responses}
        return cls({task.id: task for task in tasks}, texts)


@dataclass(frozen=True)
class _Answer:
    """One response as it is shown; ``text is None`` where it was not given."""

    name: str
    text: str | None
    scores: Sequence[tuple[str, float | None]]
    reason: str | None = None
    verdicts: Sequence[GradedCriterion] = ()


@dataclass(frozen=True)
class _Shown:
    """One task as it is shown: its answers side by side, each criterion with their verdicts."""

    id: str
    place: int
    head: str
    question: str | None
    reference: str | None
    history: Sequence[Turn]
    answers: Sequence[_Answer]
    left_out: int
    criteria: Sequence[tuple[GradedCriterion, list[GradedCriterion | None]]]


def _shown(name: str, place: int, head: str, answers: Sequence[_Answer], texts: _Texts) -> _Shown:
    task = texts.tasks.get(name)
    some = answers[:_SIDE_BY_SIDE]
    table: dict[tuple[str, str], list[GradedCriterion | None]] = {}
    for number, answer in enumerate(some):
        for one in answer.verdicts:
            table.setdefault(_key(one), [None] * len(some))[number] = one
    criteria = [(next(filter(None, verdicts)), verdicts) for verdicts in table.values()]
    return _Shown(
        id=name,
        place=place,
        head=head,
        question=task.question if task else None,
        reference=task.reference if task else None,
        history=task.history if task else (),
        answers=some,
        left_out=len(answers) - len(some),
        criteria=criteria,
    )


def _in_full(found: Sequence[_Shown]) -> dict[str, Any]:
    """Tasks in full as far as a page can be mailed, the rest in short."""
    seen = list(accumulate(len(one.answers) for one in found))
    number = 1 + sum(count < FULL for count in seen[:-1])
    return {
        "tasks": found[:number],
        "rest": found[number:],
        "questions": any(one.question is not None for one in found),
    }


# --- grades


class _Card(NamedTuple):
    """One figure of the headline, with a line about it."""

    label: str
    value: str
    note: str
    mean: Interval | None = None


def _grades_view(rows: Sequence[GradedResponse], texts: _Texts) -> dict[str, Any]:
    if not rows:
        raise DataError("no grades to report: give at least one")
    criteria = by_criterion(rows)
    lost = unscored(rows)
    categories = by_category(rows)
    view: dict[str, Any] = {
        "kind": "grades",
        "title": f"Grades of {counted(len(rows), 'response')}",
        "ran": [f"arm {_joined(row.arm for row in rows)}", f"judge {_judges(rows)}"],
        "cards": _headline(rows),
        "scored": any(row.score is not None for row in rows),
        "responses": _by_response(rows),
        "categories": list(categories.items()),
        "criteria": criteria[:_ROWS],
        "more_criteria": len(criteria[_ROWS:]),
        "unscored": lost[:_REASONS],
        "more_reasons": len(lost[_REASONS:]),
        "judges": _who(rows),
        "cost": _usage_rows(total_usage(rows)),
        **_in_full(_graded_tasks(rows, texts)),
    }
    parts = [("means", "Means"), ("unscored", "Unscored"), ("tasks", "Tasks"), ("judge", "Judge")]
    kept = [part for part in parts if part[0] != "unscored" or lost]
    return view | {"contents": [*kept, ("cost", "Cost")]}


def _joined(values: Iterable[str]) -> str:
    return ", ".join(_short(value, _NAME) for value in dict.fromkeys(values))


def _judges(rows: Sequence[GradedResponse]) -> str:
    return _joined(f"{_short(row.judge, _NAME)} ({row.reading})" for row in rows)


def _headline(rows: Sequence[GradedResponse]) -> list[_Card]:
    mean = mean_score(rows)
    tasks = len({row.task for row in rows})
    without = sum(row.score is None for row in rows)
    cards = [_Card("mean score", "none", "no response has a score")]
    if mean is not None:
        cards = [_mean_card("mean score", mean, "task" if tasks > 1 else "response")]
    of = f"to {counted(tasks, 'task')}"
    cards.append(_Card("responses", f"{len(rows):,}", of))
    cards.append(_Card("unscored", f"{without:,}", f"{len(rows) - without:,} have a score"))
    if share := readable_share(rows):
        about = f"of the judge's probability on readable answers; lowest {share[1]:.3f}"
        cards.append(_Card("readable share", f"{share[0]:.3f}", about))
    used = total_usage(rows)
    calls = f"{counted(used.calls, 'call')}, {used.prompt_tokens:,} tokens read"
    money = "unknown" if used.money is None else amount(used.money)
    cards.append(
        _Card("money", money, f"{'at the given price' if used.money else 'no price'}; {calls}")
    )
    return cards


def _mean_card(label: str, mean: Mean, unit: str) -> _Card:
    found = mean.interval
    over = counted(found.n, unit)
    note = f"over {over}, too few for an interval"
    if found.shown:
        note = f"95 % interval [{found.low:.2f}, {found.high:.2f}] over {over}"
    return _Card(label, f"{found.value:.2f}", note, found)


def _by_response(rows: Sequence[GradedResponse]) -> list[tuple[str, Mean]]:
    """Mean score of each name that responses to several tasks share, such as that of a model."""
    named = _grouped(rows, lambda row: row.response)
    tasks = [len(_grouped(found, lambda row: row.task)) for found in named.values()]
    if not 1 < len(named) <= _ROWS or min(tasks) == 1:
        return []
    means = [(name, mean_score(found)) for name, found in named.items()]
    known = [(name, mean) for name, mean in means if mean is not None]
    return sorted(known, key=lambda pair: pair[1].interval.value)


def _graded_tasks(rows: Sequence[GradedResponse], texts: _Texts) -> list[_Shown]:
    """The task with the lowest mean first, those without a score last."""
    grouped = _grouped(rows, lambda row: row.task)
    means = {task: mean_scored(map(_SCORE, found)) for task, found in grouped.items()}
    order = sorted(grouped, key=lambda task: (means[task] is None, means[task] or 0.0))
    found = []
    for place, task in enumerate(order, start=1):
        answers = [_graded_answer(row, texts) for row in grouped[task]]
        head = f"{_score(means[task])}, {counted(len(answers), 'response')}"
        found.append(_shown(task, place, head, answers, texts))
    return found


_SCORE = attrgetter("score")


def _grouped(
    rows: Sequence[GradedResponse], by: Callable[[GradedResponse], str]
) -> dict[str, list[GradedResponse]]:
    found: dict[str, list[GradedResponse]] = {}
    for row in rows:
        found.setdefault(by(row), []).append(row)
    return found


def _graded_answer(row: GradedResponse, texts: _Texts) -> _Answer:
    scores = [("score", row.score)] + ([("rating", row.rating)] if row.rating is not None else [])
    text = texts.responses.get((row.task, row.response))
    reason = row.reason if row.score is None else None
    return _Answer(row.response, text, scores, reason, row.verdicts)


class _Who(NamedTuple):
    """One judge with all that told its grades from others."""

    judge: str
    weights: str
    wording: str
    prompt: str
    arm: str
    reading: str


def _who(rows: Sequence[GradedResponse]) -> list[tuple[_Who, int]]:
    """Every judge, and how many responses it graded."""
    found = Counter[_Who]()
    for row in rows:
        made = (row.judge, row.judge_weights, row.judge_wording, row.judge_prompt)
        found[_Who(*made, row.arm, row.reading)] += 1
    return list(found.items())


# --- a run


def _run_view(run: Run, texts: _Texts, grades: Sequence[GradedResponse]) -> dict[str, Any]:
    measures = _measures(run, grades)
    lost = [row.reason for row in grades if row.score is None]
    curve = run.curve()
    changes = _changes(*_sides(grades))
    rollouts = _rollouts(run, texts)
    settings = _at(run.identity, "settings")
    versions = _at(run.identity, "versions") or {}
    view: dict[str, Any] = {
        "kind": "run",
        "title": f"Training run: {run.arm}, {counted(len(run.log), 'step')}",
        "ran": [
            f"policy {_at(settings, 'policy') or 'not recorded'}",
            f"reward {_reward_name(run)}",
            f"seed {run.seed}",
            run.backend,
        ],
        "cards": _run_headline(run, curve, measures, len(lost)),
        "charts": _charts(run, curve),
        "curve_heads": ["step", *(label for _, label, *_ in _CURVES)],
        "curve": [[str(row["step"]), *_cells(row)] for row in curve],
        "measures": measures,
        "gamed": _gamed(measures),
        "changes": changes[: _ROWS + len(Category)],
        "more_changes": len(changes[_ROWS + len(Category) :]),
        "graded_by": _judges(grades) if grades else "",
        "rollouts": rollouts[:_ROWS],
        "more_rollouts": len(rollouts[_ROWS:]),
        "settings": _settings(run),
        "versions": [(str(name), str(version)) for name, version in versions.items()],
        "cost": _run_cost(run),
        **_in_full(_answered_tasks(run, measures, texts, grades)),
    }
    parts = [("curve", "Curve"), ("held-out", "Before and after"), ("tasks", "Tasks")]
    if changes or rollouts:
        parts.insert(2, ("verdicts", "Verdicts"))
    return view | {"contents": [*parts, ("settings", "Settings"), ("cost", "Cost")]}


def _at(value: Any, *keys: str) -> Any:
    """What lies under these keys; ``None`` where a run did not record it."""
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _number(value: Any) -> float | None:
    known = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if known else None


def _reward_name(run: Run) -> str:
    reward = _at(run.identity, "reward")
    if reward is None:
        return "none"
    judge = _at(reward, "judge", "identity", "model")
    return f"{_at(reward, 'arm')}" + (f" by {judge}" if judge else "")


class _Measure(NamedTuple):
    """How one grader saw the held-out answers; ``part`` says whether it gave the reward."""

    name: str
    part: str
    scores: tuple[Scores, Scores]
    before: Mean | None
    after: Mean | None
    difference: Interval | None
    finding: Finding


_GAVE = "gave the reward"
_WATCHED = "gave no reward"
_UNKNOWN = "is not recorded"


def _measures(run: Run, grades: Sequence[GradedResponse]) -> list[_Measure]:
    """Every grader that watched the run, and the one of the grades that were given besides."""
    sides: dict[str, tuple[str, Scores, Scores]] = {}
    for role in _roles(run.watched):
        name, part = _grader(run, role)
        sides[name] = (part, run.watched[0][role], run.watched[-1][role])
    before, after = _sides(grades)
    if before and after:
        name = f"{_judges(grades)}, {_joined(row.arm for row in grades)}"
        old = {row.task: row.score for row in before}
        sides[name] = (_part_of(run, before[0]), old, {row.task: row.score for row in after})
    rises = {name: paired(after, before) for name, (_, before, after) in sides.items()}
    findings = decide_family(rises)
    found = []
    for name, (part, first, last) in sides.items():
        rise = rises[name]
        found.append(
            _Measure(
                name=name,
                part=part,
                scores=(first, last),
                before=_mean_over(first),
                after=_mean_over(last),
                difference=rise.difference if rise else None,
                finding=findings[name],
            )
        )
    return found


def _roles(looks: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of the graders: what every look holds as scores by task.

    What the policy thinks of given answers is by task, too, and in nats.
    """

    def is_scores(value: Any) -> bool:
        return isinstance(value, Mapping) and all(
            score is None or _number(score) is not None for score in value.values()
        )

    if len(looks) < 2:
        return []
    first, *others = looks
    found = [
        name
        for name, value in first.items()
        if is_scores(value) and name not in Likelihoods.MEASURES
    ]
    for look in others:
        found = [name for name in found if is_scores(look.get(name))]
    return found


def _grader(run: Run, role: str) -> tuple[str, str]:
    """What to call a grader, and its part in the run."""
    made = _at(run.identity, "watch", "by", "graders", role)
    if not isinstance(made, list) or len(made) != 2:
        return role, _UNKNOWN
    judge, arm = made
    model = _at(judge, "identity", "model") or "not recorded"
    gave = judge == _at(run.identity, "reward", "judge") and arm == _at(
        run.identity, "reward", "arm"
    )
    return f"{role}: {model}, {arm}", _GAVE if gave else _WATCHED


def _part_of(run: Run, row: GradedResponse) -> str:
    """The same of the judge of grades, of which the weights are known."""
    reward = _at(run.identity, "reward")
    if reward is None:
        return _WATCHED
    weights = _at(reward, "judge", "identity", "weights")
    if weights is None:
        return _UNKNOWN
    same = weights == row.judge_weights and _at(reward, "judge", "identity", "model") == row.judge
    return _GAVE if same and _at(reward, "arm") == row.arm else _WATCHED


def _sides(
    grades: Sequence[GradedResponse],
) -> tuple[list[GradedResponse], list[GradedResponse]]:
    before = [row for row in grades if row.response == BEFORE]
    return before, [row for row in grades if row.response == AFTER]


def _mean_over(scores: Scores) -> Mean | None:
    known = scored(scores.values())
    return mean_of(known, range(len(known))) if known else None


def _gamed(measures: Sequence[_Measure]) -> str:
    """What the reward's own grader and another one say together; nothing without both."""
    by = {one.part: one.finding for one in reversed(measures)}
    return gamed(by[_GAVE], by[_WATCHED]) if _GAVE in by and _WATCHED in by else ""


class _Change(NamedTuple):
    """Credit of a category, or of a criterion, before and after."""

    name: str
    criterion: GradedCriterion | None
    before: Mean
    after: Mean
    difference: Interval | None


def _changes(before: Sequence[GradedResponse], after: Sequence[GradedResponse]) -> list[_Change]:
    """Of all categories, then of every criterion judged on both sides, what fell most first."""
    first = by_category(before)
    last = by_category(after)
    found = []
    for category in [name for name in Category if name in first and name in last]:
        difference = _paired_credit(before, after, attrgetter("category"), category)
        found.append(_Change(category, None, first[category], last[category], difference))
    old = {_key(one.criterion): one for one in by_criterion(before)}
    pairs = [(old.get(_key(one.criterion)), one) for one in by_criterion(after)]
    changes = [
        _Change("", one.criterion, one.credit, other.credit, None)
        for one, other in pairs
        if one is not None
    ]
    changes.sort(key=lambda one: one.after.interval.value - one.before.interval.value)
    for one in changes:
        if one.criterion is not None:
            difference = _paired_credit(before, after, _key, _key(one.criterion))
            found.append(one._replace(difference=difference))
    return found


def _key(verdict: GradedCriterion) -> tuple[str, str]:
    return verdict.criterion, verdict.description


def _paired_credit(
    before: Sequence[GradedResponse],
    after: Sequence[GradedResponse],
    of: Callable[[GradedCriterion], Hashable],
    key: Hashable,
) -> Interval | None:
    """After minus before in the mean credit of some verdicts, paired by task."""

    def credit(rows: Sequence[GradedResponse]) -> Scores:
        found = {}
        for row in rows:
            values = [verdict.credit for verdict in row.verdicts if of(verdict) == key]
            found[row.task] = mean_scored(values)
        return found

    return paired_difference(credit(after), credit(before))


@dataclass(frozen=True)
class _Rollouts:
    """One criterion on the rollouts of its task, at the first and the last step that drew it."""

    task: str
    name: str
    steps: int
    first: float
    last: float


def _rollouts(run: Run, texts: _Texts) -> list[_Rollouts]:
    course: dict[tuple[str, str], list[float]] = {}
    for step in run.steps:
        for task, criteria in (_at(step, "criteria") or {}).items():
            for criterion, share in criteria.items():
                course.setdefault((task, criterion), []).append(float(share))
    found = [
        _Rollouts(task, _described(task, criterion, texts), len(shares), shares[0], shares[-1])
        for (task, criterion), shares in course.items()
        if len(shares) > 1
    ]
    return sorted(found, key=lambda one: one.last - one.first)


def _described(task: str, criterion: str, texts: _Texts) -> str:
    known = texts.tasks.get(task)
    rubric = known.rubric.criteria if known and known.rubric else ()
    return next((one.description for one in rubric if one.id == criterion), criterion)


def _answered_tasks(
    run: Run, measures: Sequence[_Measure], texts: _Texts, grades: Sequence[GradedResponse]
) -> list[_Shown]:
    verdicts = {(row.task, row.response): row.verdicts for row in grades}
    found = []
    for place, task in enumerate(run.before, start=1):
        answers = []
        for side, (name, texts_of) in enumerate(((BEFORE, run.before), (AFTER, run.after))):
            scores = [(_short(one.name, 40), one.scores[side].get(task)) for one in measures]
            of = verdicts.get((task, name), ())
            answers.append(_Answer(name, texts_of.get(task), scores, None, of))
        heads = [_before_after(one, task) for one in measures]
        same = "the same answer" if run.before[task] == run.after.get(task) else "another answer"
        head = ", ".join(heads[:2] or [same])
        found.append(_shown(task, place, head, answers, texts))
    return found


def _before_after(one: _Measure, task: str) -> str:
    before, after = (_score(side.get(task)) for side in one.scores)
    return f"{before} → {after}"


def _run_headline(
    run: Run, curve: Sequence[Mapping[str, Any]], measures: Sequence[_Measure], lost: int
) -> list[_Card]:
    cards = []
    means = scored(_number(row.get("mean")) for row in curve)
    if means:
        about = "mean of the rollouts, first and last step"
        cards.append(_Card("reward", f"{means[0]:.2f} → {means[-1]:.2f}", about))
    for one in measures[:3]:
        if one.difference is not None:
            value = f"{round(one.difference.value, 2) + 0.0:+.2f}"
            about = f"held-out tasks, by a grader that {one.part}: {one.difference}"
            cards.append(_Card(_short(one.name, 40), value, about))
    shares = scored(_number(row.get("unscored")) for row in curve)
    if shares:
        mean = math.fsum(shares) / len(shares)
        about = f"of the rollouts; in the worst step {max(shares):.1%}"
        cards.append(_Card("unscored", f"{mean:.1%}", about))
    if lost:
        cards.append(_Card("unscored answers", f"{lost:,}", "of the held-out ones"))
    about = f"{counted(len(run.log), 'step')}, answers included"
    cards.append(_Card("time", _time(run.seconds), about))
    return cards


#: Key of the record, label, title and what is said under its picture; a record has some of them.
_CURVES: tuple[tuple[str, str, str, str], ...] = (
    (
        "mean",
        "reward",
        "Reward",
        "Mean of the rollouts of a step; the band is one standard deviation.",
    ),
    ("spread", "spread", "", ""),
    ("unscored", "unscored", "Unscored rollouts", "Share of the rollouts without a score."),
    (
        "flat_groups",
        "flat groups",
        "Flat groups",
        "Share of prompts whose rollouts all got the same reward: they teach nothing.",
    ),
    ("length", "length", "Length of a response", "Mean length of the rollouts in tokens."),
    (
        "clipped",
        "cut",
        "Cut responses",
        "Share of the rollouts that were cut at the longest length.",
    ),
    ("kl_to_base", "KL", "Distance from the untrained policy", "KL divergence in nats a token."),
    (
        "entropy",
        "entropy",
        "Entropy of the policy",
        "In nats a token; near 0 it has stopped exploring.",
    ),
    ("loss", "loss", "", ""),
    ("step_time", "seconds", "", ""),
)


#: Of these charts the values lie in [0, 1].
_SHARES = frozenset(("mean", "unscored", "flat_groups", "clipped", "looks", "credit"))


def _cells(row: Mapping[str, Any]) -> list[str]:
    return [_cell(row.get(key)) for key, *_ in _CURVES]


def _charts(run: Run, curve: Sequence[Mapping[str, Any]]) -> list[_Chart]:
    charts: list[_Chart] = []
    if len(curve) < 2:
        return charts
    for key, _, title, caption in _CURVES:
        points = [_Point(row["step"], _number(row.get(key))) for row in curve]
        if key == "mean":
            points = [
                _with_spread(point, _number(row.get("spread")))
                for point, row in zip(points, curve, strict=True)
            ]
        if title and _any_known(points):
            charts.append(_chart(key, title, caption, {title: points}, band=key == "mean"))
    looks = _looks(run)
    if looks:
        caption = (
            "Mean reward of the greedy answers to the held-out tasks; whiskers are 95 % intervals "
            "over tasks."
        )
        charts.insert(1, _chart("looks", "Held-out answers", caption, looks))
    credit = _credit_course(run, curve)
    if credit:
        caption = "Share of the verdicts on the rollouts that speak for the response, by category."
        charts.append(_chart("credit", "Verdicts by category", caption, credit))
    return charts


def _with_spread(point: _Point, spread: float | None) -> _Point:
    if point.y is None or spread is None:
        return point
    return _Point(point.x, point.y, point.y - spread, point.y + spread)


def _looks(run: Run) -> dict[str, list[_Point]]:
    series = {}
    for role in _roles(run.watched)[: len(_MARKS)]:
        points = []
        for look in run.watched:
            mean = _mean_over(look[role])
            if mean is not None:
                of = mean.interval
                ends = (of.low, of.high) if of.shown else (None, None)
                points.append(_Point(look["step"], of.value, *ends))
        if points:
            series[_grader(run, role)[0]] = points
    return series


def _credit_course(run: Run, curve: Sequence[Mapping[str, Any]]) -> dict[str, list[_Point]]:
    course = {}
    for name in map(str, Category):
        points = [_Point(row["step"], _number(_at(row, "credit", name))) for row in curve]
        if _any_known(points):
            course[name] = points
    return course


def _any_known(points: Sequence[_Point]) -> bool:
    return any(point.y is not None for point in points)


def _settings(run: Run) -> Pairs:
    rows = [("arm", run.arm), ("seed", str(run.seed)), ("loaded by", run.backend)]
    settings = _at(run.identity, "settings") or {}
    rows += [(str(name), str(value)) for name, value in settings.items()]
    rows.append(("reward", _reward_name(run)))
    judge = _at(run.identity, "reward", "judge")
    for name in ("weights", "wording", "prompt", "engine"):
        if found := _at(judge, "identity", name):
            rows.append((f"judge: {name}", str(found)))
    asked = _at(judge, "settings") or {}
    rows += [(f"judge: {name}", str(value)) for name, value in asked.items()]
    for name in ("keep", "seed"):
        if (found := _at(run.identity, "reward", name)) is not None:
            rows.append((f"reward: {name}", str(found)))
    for name in ("policy", "tasks", "held_out", "code"):
        if found := _at(run.identity, name):
            rows.append((f"SHA-256 of {name.replace('_', '-')}", str(found)))
    if run.resumed_at:
        rows.append(("continued after step", ", ".join(map(str, run.resumed_at))))
    return rows


def _run_cost(run: Run) -> Pairs:
    rows = [("training, held-out answers included", _time(run.seconds))]
    stages: dict[str, float] = {}
    for entry in run.log:
        for key, value in entry.items():
            seconds = _number(value)
            if key.startswith("seconds/") and seconds is not None:
                stages[key] = stages.get(key, 0.0) + seconds
    rows += [
        (f"of it: {key.removeprefix('seconds/')}", _time(spent)) for key, spent in stages.items()
    ]
    if run.checkpoint_seconds:
        rows.append(("of it: checkpoints", _time(math.fsum(run.checkpoint_seconds))))
    tokens = _number(run.log[-1].get("num_tokens")) if run.log else None
    if tokens:
        rows.append(("tokens that the policy saw in training", f"{tokens:,.0f}"))
    parts = [Usage(**step["usage"]) for step in run.steps if step.get("usage")]
    if parts:
        rows += [(f"judge: {name}", value) for name, value in _usage_rows(sum(parts, Usage()))]
    return rows


def _usage_rows(used: Usage) -> Pairs:
    money = "not known: no price was given" if used.money is None else amount(used.money)
    return [
        ("calls", f"{used.calls:,}"),
        ("tokens read", f"{used.prompt_tokens:,}, {used.cached_tokens:,} of them from a cache"),
        ("tokens written", f"{used.completion_tokens:,}"),
        ("time of all calls added up; they overlap", _time(used.seconds)),
        ("money at the given price", money),
    ]


# --- a run to leaf through

#: Answers on such a page; of a long run some steps are left out, evenly.
_ANSWERS = 1_500
#: In JSON between script tags these would end it, or the line of an old script.
_INERT = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"}

Leaf = dict[str, Any]


def browse_page(
    source: Source,
    *,
    tasks: Sequence[Task] = (),
    grades: Sequence[GradedResponse] = (),
    title: str = "",
) -> str:
    """The answers and rollouts of a run to leaf through, as HTML.

    Raises:
        DataError: the source is no run, or is damaged.
    """
    found = read_source(source) if isinstance(source, str | Path) else source
    if not isinstance(found, Run):
        raise DataError("these are grades: only a run of rar train has steps to leaf through")
    name, when = _file_of(source) if isinstance(source, str | Path) else ("", "")
    rows: list[dict[str, Any]] = []
    if isinstance(source, str | Path):
        tasks = tasks or _tasks_beside(Path(source))
        rows = transcript_of(source)
    with _as_written(name):
        leaves = [browsed(found, rows, tasks, grades=grades)]
    here = files("rar_lib.book")
    script = "\n" + here.joinpath("rollouts.js").read_text(encoding="utf-8")
    style = "\n".join(
        ["", *(here.joinpath(file).read_text(encoding="utf-8") for file in ("report.css", _STYLE))]
    )
    return _template().module.whole(  # type: ignore[attr-defined, no-any-return]
        title=_short(title.strip() or f"Rollouts: {leaves[0]['name']}", 2 * _NAME),
        ran=[part for part in (name, when) if part],
        made=_made(),
        policy=BROWSE_POLICY.format(style=_hash(style), script=_hash(script)),
        style=_ours(style),
        script=_ours(script),
        body=_ours(browser_body(leaves)),
        data=_ours(browser_data(leaves)),
    )


#: Looks of the browser, beside those of a report or of the book.
_STYLE = "rollouts.css"


def transcript_of(source: str | Path) -> list[dict[str, Any]]:
    """What the folder of a run has kept of its rollouts; nothing of an older run."""
    path = Path(source)
    return read_transcript((path if path.is_dir() else path.parent) / TRANSCRIPT)


def browser_data(leaves: Sequence[Leaf]) -> str:
    """Runs as JSON that can stand between script tags: inert, and without a letter of markup."""
    return json.dumps({"runs": list(leaves)}).translate(_INERT)


def browser_body(leaves: Sequence[Leaf]) -> str:
    """What to pick, and the first task as plain HTML for a page on paper or without script."""
    first = next((task for leaf in leaves for task in leaf["tasks"]), None)
    body: str = _template().module.body(task=first)  # type: ignore[attr-defined]
    return body


def browsed(
    run: Run,
    rows: Sequence[Mapping[str, Any]],
    tasks: Iterable[Task],
    *,
    grades: Sequence[GradedResponse] = (),
    prefix: str = "",
) -> Leaf:
    """A run as the browser shows it; JSON.

    Args:
        rows: of its transcript; none of a run that kept none.
        tasks: where the transcript does not hold them.
        grades: of the held-out answers, under the ids ``before`` and ``after``.
        prefix: of its name, which says what was trained.
    """
    known = {task.id: task.model_dump(mode="json") for task in tasks}
    for row in rows:
        known |= {task["id"]: task for task in row.get("held_out", ())}
    steps = [row for row in rows if "step" in row]
    every = _every(steps)
    some = [row for n, row in enumerate(steps) if n % every == 0 or n == len(steps) - 1]
    held_out = _held_out_leaves(run, rows, known, grades)
    most = max(1, _ANSWERS // max(1, len(held_out[0]["steps"]) if held_out else 1))
    notes = [_kept(run, steps)]
    if every > 1:
        notes.append(f"Of {len(steps):,} steps, one in {every} is on this page.")
    if len(held_out) > most:
        notes.append(f"{most:,} of {len(held_out):,} held-out tasks are on this page.")
    return {
        "name": _short(prefix + _run_name(run), 2 * _NAME),
        "note": " ".join(filter(None, notes)),
        "tasks": [*held_out[:most], *_trained_leaves(run, some)],
    }


def _run_name(run: Run) -> str:
    reward = _reward_name(run) if _at(run.identity, "reward") else run.arm
    return f"{reward}, seed {run.seed}, {counted(len(run.log), 'step')}"


def _kept(run: Run, steps: Sequence[Mapping[str, Any]]) -> str:
    """What of the rollouts is not there to be shown, and why."""
    if run.steps and not steps:
        return (
            "This run did not keep its rollouts, only their rewards: it was made before they were "
            "kept, or rollouts.jsonl does not lie beside its run.json."
        )
    if not run.steps:
        return "This run has no rollouts: it was trained without a reward in the loop."
    if (_at(run.identity, "settings", "prompts_per_step") or 0) > KEPT_GROUPS:
        return f"Of every step the first {KEPT_GROUPS} groups were kept."
    return ""


def _every(steps: Sequence[Mapping[str, Any]]) -> int:
    """Every how many steps one is shown."""
    rollouts = [len(group["rollouts"]) for row in steps for group in row["groups"]]
    return max(1, math.ceil(sum(rollouts) / _ANSWERS))


@dataclass
class _Asked:
    """The criteria that one grader was asked about a task, in the order of its rubric."""

    by: str
    rows: dict[str, Leaf] = field(default_factory=dict)

    def add(self, criteria: Iterable[Mapping[str, Any]]) -> None:
        for one in criteria:
            self.rows.setdefault(
                one["id"],
                {
                    "text": visible(one["description"])[:_TEXT],
                    "category": str(one["category"]),
                    "against": one.get("polarity") == "bad",
                },
            )

    def line(self, verdicts: Iterable[Mapping[str, Any]]) -> list[Leaf | None] | None:
        """What it said of each criterion; ``None`` if it judged none."""
        found = {one["criterion_id"]: one for one in verdicts}
        if not found:
            return None
        return [_verdict(found.get(name)) for name in self.rows]

    @property
    def leaf(self) -> Leaf:
        return {"by": _short(self.by, _NAME), "rows": list(self.rows.values())}


def _verdict(one: Mapping[str, Any] | None) -> Leaf | None:
    if one is None:
        return None
    reason = _short(one.get("reason") or "", 200)
    return {"met": one["met"], "p": _number(one.get("probability")), "reason": reason}


def _criteria_of(task: Mapping[str, Any], arm: Any) -> Iterable[Mapping[str, Any]]:
    if arm == "predefined":
        return [one.model_dump(mode="json") for one in PREDEFINED.criteria]
    return _at(task, "rubric", "criteria") or ()


def _said(text: str | None) -> Leaf:
    """A text and how much more of it there is; ``more is None`` where it was not kept."""
    if text is None:
        return {"said": "", "more": None}
    clean = visible(text)
    return {"said": clean[:_TEXT], "more": len(clean[_TEXT:])}


def _leaf(name: str, part: str, task: Mapping[str, Any], *, group: bool) -> Leaf:
    """One task without its steps and criteria."""
    question = task.get("question")
    return {
        "id": visible(name),
        "name": _short(name, _NAME),
        "label": _short(f"{name}: {question or 'question not kept'}", 70),
        "part": part,
        "group": group,
        "question": _said(question),
        "reference": _said(task.get("reference")),
        "history": [
            {"role": str(turn["role"]), "text": _said(turn["content"])}
            for turn in task.get("history") or ()
        ],
    }


def _reward(by: str, value: Any, reason: str | None = None, advantage: Any = None) -> Leaf:
    known = _number(value)
    return {
        "by": _short(by, _NAME),
        "value": known,
        "advantage": _number(advantage),
        "reason": _short(reason or "", 200) if known is None else "",
    }


@dataclass(frozen=True)
class _Look:
    """The held-out answers at a step, by task, and grader -> task -> what it said of them."""

    step: int
    label: str
    answers: Mapping[str, str]
    grades: Mapping[str, Mapping[str, Mapping[str, Any]]]


def _looked(
    run: Run, rows: Sequence[Mapping[str, Any]], grades: Sequence[GradedResponse]
) -> list[_Look]:
    """Every look at the held-out tasks of which anything is known, in order."""
    last = int(run.log[-1]["step"]) if run.log else 0
    answers = {0: run.before} | {last: run.after}
    said: dict[int, dict[str, dict[str, Leaf]]] = {0: {}, last: {}}
    for look in run.watched:
        of = said.setdefault(look["step"], {})
        for role in _roles(run.watched):
            scores = {task: {"score": score} for task, score in look[role].items()}
            of[_grader(run, role)[0]] = scores
    for row in rows:
        if "look" in row:
            answers[row["look"]] = row["answers"]
            of = said.setdefault(row["look"], {})
            of |= {_grader(run, role)[0]: found for role, found in row["grades"].items()}
    for step, side in zip((0, last), _sides(grades), strict=True):
        for one in side:
            name = f"{_short(one.judge, _NAME)}, {one.arm}"
            said[step].setdefault(name, {})[one.task] = _as_grade(one)
    labels = {last: f"after step {last} (last)"} | {0: "before training"}
    return [
        _Look(step, labels.get(step, f"after step {step}"), answers.get(step, {}), said[step])
        for step in sorted(said)
    ]


def _as_grade(row: GradedResponse) -> Leaf:
    """A row of grades as a run writes a grade."""
    verdicts = [
        {
            "criterion_id": one.criterion,
            "met": one.met,
            "probability": one.probability,
            "reason": one.reason,
        }
        for one in row.verdicts
    ]
    return {"arm": row.arm, "score": row.score, "reason": row.reason, "verdicts": verdicts}


def _held_out_leaves(
    run: Run,
    rows: Sequence[Mapping[str, Any]],
    known: Mapping[str, Mapping[str, Any]],
    grades: Sequence[GradedResponse],
) -> list[Leaf]:
    looks = _looked(run, rows, grades)
    found = []
    for name in run.before:
        task = known.get(name, {})
        asked: dict[str, _Asked] = {}
        for by, of in ((by, grade) for look in looks for by, grade in look.grades.items()):
            if _at(of, name, "verdicts"):
                one = asked.setdefault(by, _Asked(by))
                one.add(_criteria_of(task, of[name].get("arm")))
        steps = [_held_out_step(look, name, asked.values()) for look in looks]
        criteria = [one.leaf for one in asked.values()]
        leaf = _leaf(name, "held-out tasks", task, group=False)
        found.append(leaf | {"criteria": criteria, "steps": steps})
    return found


def _held_out_step(look: _Look, name: str, asked: Iterable[_Asked]) -> Leaf:
    grades = {by: of[name] for by, of in look.grades.items() if name in of}
    rewards = [_reward(by, of.get("score"), of.get("reason")) for by, of in grades.items()]
    verdicts = [one.line(_at(grades, one.by, "verdicts") or ()) for one in asked]
    answer: Leaf = {"name": look.label, "text": _said(look.answers.get(name)), "tokens": None}
    answer |= {"rewards": rewards, "verdicts": verdicts}
    return {"step": look.step, "label": look.label, "summary": "", "answers": [answer]}


def _trained_leaves(run: Run, steps: Sequence[Mapping[str, Any]]) -> list[Leaf]:
    """Tasks that were trained on, each with the steps that drew it."""
    by = _reward_name(run)
    arm = _at(run.identity, "reward", "arm")
    found: dict[str, Leaf] = {}
    asked: dict[str, _Asked] = {}
    drawn = [(row["step"], group) for row in steps for group in row["groups"]]
    for _, group in drawn:  # dropout asks other criteria at other steps
        name = group["task"]["id"]
        asked.setdefault(name, _Asked(by)).add(_criteria_of(group["task"], arm))
    for step, group in drawn:
        name = group["task"]["id"]
        if name not in found:
            leaf = _leaf(name, "tasks trained on", group["task"], group=True)
            found[name] = leaf | {"criteria": [asked[name].leaf], "steps": []}
        answers = []
        for number, one in enumerate(group["rollouts"], start=1):
            given = None if one["score"] is None else one["advantage"]
            reward = _reward(by, one["score"], one.get("reason"), given)
            answer: Leaf = {"name": f"rollout {number}", "text": _said(one["text"])}
            answer |= {"tokens": _number(one.get("tokens")), "rewards": [reward]}
            answers.append(answer | {"verdicts": [asked[name].line(one.get("verdicts") or ())]})
        moment = {"step": step, "label": f"step {step}", "answers": answers}
        found[name]["steps"].append(moment | {"summary": _summed_up(group["rollouts"])})
    return list(found.values())


def _summed_up(rollouts: Sequence[Mapping[str, Any]]) -> str:
    """A group in a line: how many, mean, deviation, and whether it taught anything."""
    parts = [counted(len(rollouts), "rollout")]
    known = scored(_number(one["score"]) for one in rollouts)
    if known:
        parts.append(f"mean reward {math.fsum(known) / len(known):.2f}")
    if (deviation := spread(known)) is not None:
        parts.append(f"standard deviation {deviation:.3f}")
    if lost := len(rollouts) - len(known):
        parts.append(f"{lost} unscored, which got no advantage")
    if not any(one["advantage"] for one in rollouts):
        parts.append("a flat group: nothing was learnt from it")
    return f"{', '.join(parts)}."


def browsed_arms(record: Mapping[str, Any], tasks: Iterable[Task], name: str) -> Leaf:
    """Groups of responses that every arm graded, as chapter 6 leaves them; JSON.

    Args:
        record: ``tasks`` (ids) and ``responses`` in parallel, and ``grades`` by arm.
    """
    known = {task.id: task.model_dump(mode="json") for task in tasks}
    found = []
    for group in groups(record["tasks"]):
        task_id = record["tasks"][group[0]]
        texts = record["responses"][group.start : group.stop]
        graded = {arm: of[group.start : group.stop] for arm, of in record["grades"].items()}
        found.append(_arms_leaf(task_id, known.get(task_id, {}), texts, graded))
    return {"name": _short(name, 2 * _NAME), "note": "", "tasks": found}


def _arms_leaf(
    name: str, task: Mapping[str, Any], texts: Sequence[str], graded: Mapping[str, Any]
) -> Leaf:
    """One group of responses, with what every arm made of them."""
    asked = {arm: _Asked(arm) for arm, row in graded.items() if row[0]["verdicts"]}
    for arm, one in asked.items():
        one.add(_criteria_of(task, arm))
    answers: list[Leaf] = [
        {"name": f"response {number}", "tokens": None, "text": _said(text)}
        | {"rewards": [], "verdicts": []}
        for number, text in enumerate(texts, start=1)
    ]
    for arm, row in graded.items():
        given = advantages([of["score"] for of in row])
        for answer, of, advantage in zip(answers, row, given, strict=True):
            answer["rewards"].append(_reward(arm, of["score"], of["reason"], advantage))
            if arm in asked:
                answer["verdicts"].append(asked[arm].line(of["verdicts"]))
    moment = {"step": 0, "label": "before training", "answers": answers, "summary": _BY_ARMS}
    criteria = [one.leaf for one in asked.values()]
    leaf = _leaf(name, "tasks trained on", task, group=True)
    return leaf | {"criteria": criteria, "steps": [moment]}


_BY_ARMS = (
    "The same responses, graded by every arm. The advantage is what GRPO would give each of them "
    "if that arm were the reward."
)


# --- charts

#: Left, right, top and bottom edge of a chart's plot in its 380 x 210.
_PLOT = (46.0, 368.0, 12.0, 172.0)
#: Circle, square, triangle, diamond around 0: lines are told apart without their colour.
_MARKS = (
    "M-3 0a3 3 0 1 0 6 0a3 3 0 1 0 -6 0",
    "M-3-3H3V3H-3Z",
    "M0-4L4 3H-4Z",
    "M0-4.5L4.5 0L0 4.5L-4.5 0Z",
)
#: Distances between two labels of the steps.
_ROUND = (2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)
#: Points that get a mark; of more only the line is drawn.
_MARKED = 60


class _Point(NamedTuple):
    """A value at a step, and perhaps how far it spreads; ``y is None`` is a gap."""

    x: float
    y: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class _Line:
    """One series in the coordinates of its chart."""

    name: str
    path: str
    marks: Sequence[tuple[float, float]]
    whiskers: str = ""


@dataclass(frozen=True)
class _Chart:
    """A picture of one or a few series over the steps; ``summary`` says it in words."""

    key: str
    title: str
    caption: str
    summary: str
    lines: Sequence[_Line]
    x_ticks: Sequence[tuple[float, str]]
    y_ticks: Sequence[tuple[float, str]]
    band: str = ""


def _chart(
    key: str,
    title: str,
    caption: str,
    series: Mapping[str, Sequence[_Point]],
    *,
    band: bool = False,
) -> _Chart:
    points = [point for line in series.values() for point in line if point.y is not None]
    seen = scored(value for point in points for value in point[1:])
    ticks = _ticks(min(seen), max(seen), 1.0 if key in _SHARES else math.inf)
    steps = sorted({point.x for point in points})
    scale = _Scale(steps[0], steps[-1], ticks[0], ticks[-1])
    lines = [_line(name, found, scale, whiskers=not band) for name, found in series.items()]
    said = [_summary(name, found, alone=len(series) == 1) for name, found in series.items()]
    return _Chart(
        key=key,
        title=title,
        caption=caption,
        summary=f"{caption} {' '.join(said)}",
        lines=lines,
        x_ticks=[(scale.x(step), f"{step:g}") for step in _some(steps)],
        y_ticks=[(scale.y(tick), _tick(tick, ticks)) for tick in ticks],
        band=_band(points, scale) if band else "",
    )


@dataclass(frozen=True)
class _Scale:
    """Values to places in the plot."""

    left: float
    right: float
    low: float
    high: float

    def x(self, step: float) -> float:
        wide = self.right - self.left
        share = (step - self.left) / wide if wide else 0.5
        return round(_PLOT[0] + 8 + share * (_PLOT[1] - _PLOT[0] - 16), 1)

    def y(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(_PLOT[3] - share * (_PLOT[3] - _PLOT[2]), 1)


def _line(name: str, points: Sequence[_Point], scale: _Scale, *, whiskers: bool) -> _Line:
    path = ""
    whisk = ""
    marks = []
    pen_up = True
    for point in points:
        if point.y is None:
            pen_up = True
            continue
        x = scale.x(point.x)
        y = scale.y(point.y)
        path += f"{'M' if pen_up else 'L'}{x} {y}"
        marks.append((x, y))
        pen_up = False
        if whiskers and point.low is not None and point.high is not None:
            whisk += f"M{x} {scale.y(point.low)}V{scale.y(point.high)}"
    return _Line(name, path, marks if len(marks) <= _MARKED else (), whisk)


def _band(points: Sequence[_Point], scale: _Scale) -> str:
    whole = [p for p in points if p.low is not None and p.high is not None]
    if len(whole) < 2:
        return ""
    upper = [f"{scale.x(p.x)} {scale.y(p.high)}" for p in whole if p.high is not None]
    lower = [f"{scale.x(p.x)} {scale.y(p.low)}" for p in reversed(whole) if p.low is not None]
    return f"M{'L'.join([*upper, *lower])}Z"


def _ticks(low: float, high: float, most: float = math.inf) -> list[float]:
    """Three to six round values that enclose all others.

    Of what can't be below 0, or above ``most``, no tick is there either. A range that would only
    show noise is widened: to 0.05 of shares, to a tenth of other values.
    """
    floor = 0.0 if low >= 0 else -math.inf
    ceiling = most if high <= most else math.inf
    least = 0.05 if most < math.inf else max(abs(high) / 10, 1e-3)
    if (lacking := least - (high - low)) > 0:
        low = max(floor, low - lacking / 2)
        high = min(ceiling, high + lacking / 2)
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * n for n in (1, 2, 5, 10) if power * n >= rough * 0.999)
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, max(last, first + 1) + 1)]


def _tick(value: float, ticks: Sequence[float]) -> str:
    digits = max(0, -math.floor(math.log10(ticks[1] - ticks[0]) + 1e-9))
    if digits > 3:
        return f"{value:.1e}" if value else "0"
    return f"{value + 0.0:,.{digits}f}"


#: Steps that are written along the axis, at most.
_TICKS = 7


def _some(steps: Sequence[float]) -> list[float]:
    """Some of the steps for the axis: all of a few, else round ones."""
    if len(steps) <= _TICKS:
        return list(steps)
    for every in _ROUND:
        first = math.ceil(steps[0] / every)
        found = [float(n * every) for n in range(first, int(steps[-1] // every) + 1)]
        if len(found) <= _TICKS:
            return found
    return [steps[0], steps[-1]]


def _summary(name: str, points: Sequence[_Point], *, alone: bool) -> str:
    known = [(point.x, point.y) for point in points if point.y is not None]
    if not known:
        return ""
    values = [y for _, y in known]
    begin = "From" if alone else f"{_short(name, _NAME)}: from"
    return (
        f"{begin} {_cell(values[0])} at step {known[0][0]:g} to {_cell(values[-1])} at step "
        f"{known[-1][0]:g}; lowest {_cell(min(values))}, highest {_cell(max(values))}."
    )


# --- words and markup


def _score(value: float | None) -> str:
    return "no score" if value is None else f"{value:.2f}"


def _cell(value: Any) -> str:
    number = _number(value)
    if number is None:
        return "–"
    if number.is_integer() or abs(number) >= 1000:
        return f"{number:,.0f}"
    return f"{number:.3g}" if abs(number) < 1 else f"{number:.2f}"


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _short(text: str, most: int) -> str:
    """Text in one line, cut where it is longer than anybody reads a name."""
    flat = " ".join(visible(text[: 4 * most]).split())
    return flat if len(flat) <= most else f"{flat[: most - 1]}…"


def _digest(text: str) -> str:
    """The beginning of a digest, or an address whole."""
    known = len(text) == 64 and all(sign in "0123456789abcdef" for sign in text)
    return text[:12] if known else _short(text, _NAME)


def _seen(value: Any) -> Any:
    """What the template writes for a value, before it escapes it."""
    from markupsafe import Markup

    if isinstance(value, str) and not isinstance(value, Markup):
        return visible(value[: _TEXT + _NAME])
    return value


@cache
def _environment() -> Environment:
    from jinja2 import Environment, StrictUndefined

    made = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_seen,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "name": lambda text: _short(str(text), _NAME),
        "line": lambda text, most: _short(str(text), most),
        "cut": lambda text, most: text[:most],
        "digest": _digest,
        "counted": counted,
    }
    return made


def _ours(text: str) -> Any:
    """What this library made, and the only thing that is not escaped."""
    from markupsafe import Markup

    return Markup(text)


def _hash(text: str) -> str:
    """As a policy names a style or script that stands on the page."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _made() -> str:
    from rar_lib import __version__

    return f"Written by rar-lib {__version__} on {date.today().isoformat()}"


@cache
def _template() -> Template:
    text = files("rar_lib.book").joinpath("rollouts.html").read_text(encoding="utf-8")
    return _environment().from_string(text)


def _render(view: Mapping[str, Any]) -> str:
    here = files("rar_lib.book")
    style = "\n" + here.joinpath("report.css").read_text(encoding="utf-8")
    template = _environment().from_string(here.joinpath("report.html").read_text(encoding="utf-8"))
    return template.render(
        view={**view, "made": _made(), "least": MIN_UNITS},
        style=_ours(style),
        policy=POLICY.format(style=_hash(style)),
        shapes=_MARKS,
        longest=_TEXT,
        full=FULL,
        most_rows=_REST,
    ).lstrip()
