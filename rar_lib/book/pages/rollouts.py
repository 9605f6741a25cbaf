"""The page of rollouts: answers that runs have kept, to be browsed.

They are those of the chapters' runs, with the study's arms behind them. The page is filled by a
template that escapes each value, and by a script of ours that makes text nodes of inert JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from itertools import chain
from pathlib import Path
from typing import Any

from rar_lib.book import report, results
from rar_lib.book.pages.training_study import UNITS, heads_of, no_unit
from rar_lib.book.pages.words import SINGLE
from rar_lib.book.prose import plain
from rar_lib.core.errors import ReproduceError
from rar_lib.core.files import file_hash
from rar_lib.core.types import Task
from rar_lib.data.tasks import draw_tasks, load_mini, load_tasks
from rar_lib.judging.messages import rubric_of
from rar_lib.training.run import Run

ROLLOUTS = "rollouts"
#: Runs that chapters leave, by their folder, the one of chapter 7 first, and what their names begin
#: with: it tells runs of one reward apart.
RUNS = {
    "grpo": "Chapter 7: ",
    "sft_reference": "Chapter 8: ",
    "weakest_judge": "Chapter 9: weakest judge, ",
    "bicycles": "Chapter 11: bicycles, ",
}
#: Responses that chapter 6 has every arm grade.
FIVE_ARMS = "five_arms"
#: Tasks of each half that an arm of the study shows, with all their looks: more of them, in every
#: arm, would make a page that nobody loads.
TASKS_OF_A_HALF = 8
ROLLOUTS_PLACE = re.compile(r'<div class="rar-rollouts docutils">.*?</div>', re.S)


def fill(html: Path, data: Path, repo: Path) -> None:
    """Put the rollout browser on its page, where the book has one and something was kept.

    Raises:
        ReproduceError: the page has no place for it, or several.
        DataError: a run is damaged.
    """
    page = html / f"{ROLLOUTS}.html"
    leaves = kept_runs(data, repo)
    if not page.is_file() or not leaves:
        return
    here = files("rar_lib.book")
    for name in (f"{ROLLOUTS}.js", f"{ROLLOUTS}.css"):
        (html / "_static" / name).write_bytes(here.joinpath(name).read_bytes())
    body = report.browser_body(leaves)
    text, places = ROLLOUTS_PLACE.subn(lambda _: body, page.read_text(encoding="utf-8"))
    if places != 1:
        raise ReproduceError(f"{page.name} has {places} places for the rollouts, one is needed")
    style = f'<link rel="stylesheet" type="text/css" href="_static/{ROLLOUTS}.css">'
    # Outside of the article, which holds nothing that a browser could run.
    script = f'<script src="_static/{ROLLOUTS}.js"></script>'
    inert = (
        f'<script type="application/json" id="rollouts-data">{report.browser_data(leaves)}</script>'
    )
    head, end = text.split("</head>", 1)
    before, _, after = end.rpartition("</body>")
    page.write_text(
        f"{head}{style}\n</head>{before}{inert}\n{script}\n</body>{after}", encoding="utf-8"
    )


def kept_runs(data: Path, repo: Path) -> list[report.Leaf]:
    """What the chapters' runs have kept, as the rollout browser shows it, and the study's arms.

    Args:
        data: folder where the chapters leave their results.
        repo: whose ``results/study`` is read.

    Raises:
        DataError: a run is damaged.
    """
    example = files("rar_lib.data").joinpath("example", "tasks.jsonl")
    tasks = [*load_mini("all"), *load_tasks(Path(str(example)))]
    found = []
    for name, prefix in RUNS.items():
        path = data / name / "run.json"
        if path.is_file():
            run = report.read_source(path)
            if isinstance(run, Run):
                rows = report.transcript_of(path)
                found.append(report.browsed(run, rows, tasks, prefix=prefix))
    path = data / f"{FIVE_ARMS}.json"
    if path.is_file():
        record = json.loads(path.read_text(encoding="utf-8"))
        name = "Chapter 6: the same responses graded in five ways"
        found.append(report.browsed_arms(record, tasks, name))
    return [leaf for leaf in [*found, *study_runs(repo)] if leaf["tasks"]]


@dataclass(frozen=True)
class _Half:
    """A graded unit of the study: an arm trained on one half, and its answers to the other.

    Attributes:
        judge: that graded the answers.
        answers: step of a look -> task id -> text.
        grades: step of a look -> task id -> grade as a run writes it, where there is one.
    """

    arm: str
    fold: int
    seed: int
    judge: str
    answers: dict[int, dict[str, str]] = field(default_factory=dict)
    grades: dict[int, dict[str, dict[str, Any]]] = field(default_factory=dict)

    @property
    def course(self) -> set[str]:
        """The tasks whose answers were graded at every look."""
        return self._graded(*self.answers)

    @property
    def ends(self) -> set[str]:
        """The tasks whose answers were graded at the first look and at the last one."""
        return self._graded(min(self.answers), max(self.answers))

    def _graded(self, *steps: int) -> set[str]:
        return set.intersection(*(set(self.grades.get(step, ())) for step in steps))


def study_runs(repo: Path) -> list[report.Leaf]:
    """The study's arms as the rollout browser shows them: answers at every look.

    Of each arm the first seed, both halves together, and some of the tasks whose answers were
    graded at every look, the same in all arms (:data:`TASKS_OF_A_HALF`).

    Args:
        repo: whose ``results/study`` is read; units that are not graded yet are left out.

    Raises:
        DataError: a unit is damaged, or its tasks are not this book's.
    """
    tasks = {task.id: task for task in load_mini("all")}
    arms: dict[str, list[_Half]] = {}
    for path in _units_to_browse(repo):
        half = _half(path, tasks)
        arms.setdefault(half.arm, []).append(half)
    shown = _shown(list(chain.from_iterable(arms.values())), tasks)
    return [_study_leaf(halves, shown, list(tasks.values())) for halves in arms.values()]


def _shown(halves: Sequence[_Half], tasks: Mapping[str, Task]) -> dict[int, list[str]]:
    """Fold -> the tasks that its halves show, which are graded at every look of each of them.

    They are drawn as the study draws what it grades. A longer draw goes on where a shorter one
    ends, so they are the first ones of those that it grades at every look, whoever is on record.
    """
    found = {}
    for fold in sorted({half.fold for half in halves}):
        of = [half for half in halves if half.fold == fold]
        ends = set.intersection(*(half.ends for half in of))
        course = set.intersection(*(half.course for half in of))
        drawn = draw_tasks([tasks[name] for name in ends], len(ends))
        found[fold] = [task.id for task in drawn if task.id in course][:TASKS_OF_A_HALF]
    return found


def _units_to_browse(repo: Path) -> list[Path]:
    """The graded units of the first seed, in the order in which they are run."""
    design = results.load("design", repo)
    if design is None:
        return []
    heads = heads_of(design, repo)
    first = design["seeds"][0]
    names = [name for name, head in heads.items() if head["done"] and head["seed"] == first]
    return [repo / UNITS / f"{name}.jsonl" for name in names]


def browsed_units(repo: Path) -> dict[str, str]:
    """Hashes of those files, which decide what a page shows."""
    return {f"{UNITS}/{path.name}": file_hash(path) for path in _units_to_browse(repo)}


def _half(path: Path, tasks: Mapping[str, Task]) -> _Half:
    """A unit from its file, whose lines ``results/study/store.py`` describes."""
    try:
        # Not by splitlines: a text may hold other characters that end a line.
        lines = path.read_text(encoding="utf-8").strip("\n").split("\n")
        head, *rows = map(json.loads, lines)
        found = _Half(head["arm"], head["fold"], head["seed"], head["graded_by"]["judge"])
        for row in rows:
            found.answers.setdefault(row["step"], {})[row["task"]] = row["answer"]
            if "score" in row:
                grade = _as_graded(row, tasks[row["task"]])
                found.grades.setdefault(row["step"], {})[row["task"]] = grade
        if not rows:
            raise ValueError("no answers")
    except (ValueError, KeyError, TypeError) as error:
        raise no_unit(path, error) from error
    return found


def _as_graded(row: Mapping[str, Any], task: Task) -> dict[str, Any]:
    """An answer's grade as a run writes it; a unit has probabilities in the rubric's order."""
    verdicts = [
        {
            "criterion_id": criterion.id,
            "met": None if p is None else p > 0.5,
            "probability": p,
            "reason": row.get("unscored") if p is None else None,
        }
        for criterion, p in zip(rubric_of(task).criteria, row["verdicts"], strict=True)
    ]
    grade = {"arm": SINGLE, "score": row["score"], "reason": row.get("unscored")}
    return grade | {"verdicts": verdicts}


def _study_leaf(
    halves: Sequence[_Half], shown: Mapping[int, Sequence[str]], tasks: Sequence[Task]
) -> report.Leaf:
    """One arm: as a run that was looked at and kept no rollouts."""
    first = halves[0]
    steps = sorted(set.intersection(*(set(half.answers) for half in halves)))
    looks = [_look_of(halves, shown, step) for step in steps]
    graders = {"judge": [{"identity": {"model": first.judge}}, SINGLE]}
    run = Run(
        arm=first.arm,
        seed=first.seed,
        backend="",
        seconds=0.0,
        log=[{"step": step} for step in range(1, steps[-1] + 1)],
        steps=[],
        before=looks[0]["answers"],
        after=looks[-1]["answers"],
        identity={"watch": {"by": {"graders": graders}}},
    )
    note = plain(
        "Held-out answers to {tasks} tasks, drawn from those that the judge graded at each look, "
        "by the policy that was not trained on the half in which the task stands. Notes, where the "
        "policy had any, are not shown; the judge saw none. Rollouts of training were not kept.",
        tasks=len(run.before),
    )
    return report.browsed(run, looks, tasks, prefix="Study: ") | {"note": note}


def _look_of(
    halves: Sequence[_Half], shown: Mapping[int, Sequence[str]], step: int
) -> dict[str, Any]:
    """A look at both halves, as a line of a transcript."""
    answers: dict[str, str] = {}
    grades: dict[str, dict[str, Any]] = {}
    for half in halves:
        names = sorted(shown[half.fold])
        answers |= {name: half.answers[step][name] for name in names}
        grades |= {name: half.grades[step][name] for name in names}
    return {"look": step, "answers": answers, "grades": {"judge": grades}}
