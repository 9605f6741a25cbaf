"""Results that were recorded once and lie in the repository, with machine and date.

    found = results.load("judges")     # results/judges/judges.json

Chapters show them beside what their own cells measure, never in its place. The seeds of one arm in
``results/arms.json`` are averaged task by task, so that intervals are over tasks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from rar_lib.book.notebook import READS, work
from rar_lib.core.files import checkout, file_hash
from rar_lib.core.stats import scored
from rar_lib.evaluation.attacks import AttackResult, load_attacks

Scores = dict[str, float | None]
Runs = Sequence[Mapping[str, Any]]
_ROOT = checkout() or Path.cwd()
FOLDER = "results"


def load(name: str, root: Path = _ROOT) -> dict[str, Any] | None:
    """A recorded result by the name of its file; ``None`` where nothing has been recorded.

    A chapter that has asked for a record, there or not, is run again when that has changed.

    Args:
        root: the checkout; an installed library has no results beside it.

    Raises:
        ValueError: the file is there and is not JSON, or there are two of that name.
    """
    path = find(name, root)
    if folder := work():
        read = {"name": name, "sha256": file_hash(path) if path else None}
        with (folder / READS).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(read) + "\n")
    if path is None:
        return None
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record


def find(name: str, root: Path = _ROOT) -> Path | None:
    """The file of a recorded result, or ``None``.

    Raises:
        ValueError: there are two of that name.
    """
    found = sorted((root / FOLDER).rglob(f"{name}.json"))
    if len(found) > 1:
        raise ValueError(f"{name}.json stands twice: {', '.join(map(str, found))}; rename one")
    return found[0] if found else None


def origin(found: dict[str, Any]) -> str:
    """Where and when a result was measured, for the line above a table."""
    return f"recorded on {found['date']}, {found['machine']}"


def arms(root: Path = _ROOT) -> list[dict[str, Any]] | None:
    """The runs of arms on record; ``None`` where none is."""
    study = load("arms", root)
    return None if study is None else list(study["runs"])


def label(run: Mapping[str, Any]) -> str:
    """The arm, with the share of the rubric that was kept where some was dropped."""
    keep = run.get("keep", 1.0)
    return str(run["arm"]) if keep == 1.0 else f"{run['arm']}, keep {keep:g}"


def held_out(runs: Runs) -> dict[str, dict[str, Scores]]:
    """Grader -> arm -> task id -> score after training, averaged over seeds.

    ``base`` is what the same graders gave the policy before training. A task that some seed
    has no score for is unscored.
    """
    found: dict[str, dict[str, Scores]] = {}
    for grader in dict.fromkeys(g for run in runs for g in run.get("held_out", {})):
        graded = [run for run in runs if grader in run.get("held_out", {})]
        found[grader] = {"base": _average([run["held_out"][grader]["before"] for run in graded])}
        for name in dict.fromkeys(map(label, graded)):
            seeds = [run["held_out"][grader]["after"] for run in graded if label(run) == name]
            if name != "base":
                found[grader][name] = _average(seeds)
    return found


def choices(runs: Runs) -> dict[str, dict[str, dict[str, list[int | None]]]]:
    """Set -> arm -> outcomes by question (:data:`rar_lib.evaluation.multiple_choice.Outcomes`).

    The runs of all seeds of an arm stand side by side.
    """
    found: dict[str, dict[str, dict[str, list[int | None]]]] = {}
    for run in runs:
        for name, outcomes in run.get("choice", {}).items():
            of_arm = found.setdefault(name, {}).setdefault(label(run), {})
            for question, values in outcomes.items():
                of_arm.setdefault(question, []).extend(values)
    return found


def attacks(root: Path = _ROOT) -> dict[tuple[str, str, str], list[AttackResult]] | None:
    """(judge, arm, defence) -> what each attack on the rejected responses did; ``None`` where
    nothing is recorded. Attacks that the corpus does not hold any more are left out.
    """
    record = load("attacks", root)
    if record is None:
        return None
    corpus = {attack.id: attack for attack in load_attacks()}
    found = {}
    for key, row in record["judges"].items():
        judge, arm, defence = key.split("/")
        found[judge, arm, defence] = [
            AttackResult(corpus[name], arm, tuple(gains))
            for name, gains in row["rejected"]["attacks"].items()
            if name in corpus
        ]
    return found


def _average(seeds: Sequence[Mapping[str, float | None]]) -> Scores:
    average: Scores = {}
    for task in dict.fromkeys(task for scores in seeds for task in scores):
        values = [scores.get(task) for scores in seeds]
        known = scored(values)
        average[task] = fmean(known) if len(known) == len(values) else None
    return average
