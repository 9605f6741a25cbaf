"""Results that were recorded once, kept in the repository with what they were measured on.

    found = results.load("judges")     # results/judges/judges.json

Chapters show them beside what their own cells measure, never in its place. Runs of training are
put together only if one machine with one set of versions made them: the same seed trains another
policy elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, get_args

from rar_lib.book.notebook import READS, work
from rar_lib.core.errors import DataError
from rar_lib.core.files import checkout, file_hash
from rar_lib.core.stats import Comparison, Interval, gains, scored
from rar_lib.core.types import Arm
from rar_lib.evaluation.attacks import AttackResult, load_attacks
from rar_lib.evaluation.held_out import MIN_SEEDS, SeedGains, training_effect
from rar_lib.models.catalogue import MODELS

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
    path = _asked(name, root)
    if path is None:
        return None
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record


def lines(name: str, root: Path = _ROOT) -> list[dict[str, Any]]:
    """The objects of a file of JSON lines beside a record; none where there is no such file.

    A chapter that has asked for it is run again when it has changed, as for :func:`load`.

    Args:
        name: of the file with its ending, such as ``qwen-1.5b-int8-explicit.jsonl``.

    Raises:
        ValueError: as :func:`load`.
    """
    path = _asked(name, root)
    return [json.loads(line) for line in path.open(encoding="utf-8")] if path else []


def _asked(name: str, root: Path) -> Path | None:
    """The file, after writing down which one a chapter asked for."""
    path = find(name, root)
    if folder := work():
        read = {"name": name, "sha256": file_hash(path) if path else None}
        with (folder / READS).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(read) + "\n")
    return path


def find(name: str, root: Path = _ROOT) -> Path | None:
    """The file of a recorded result, by its name or that of a file with an ending; or ``None``.

    Raises:
        ValueError: there are two of that name.
    """
    file = name if name.endswith(".jsonl") else f"{name}.json"
    found = sorted((root / FOLDER).rglob(file))
    if len(found) > 1:
        raise ValueError(f"{file} stands twice: {', '.join(map(str, found))}; rename one")
    return found[0] if found else None


#: Where scripts leave the records that claims rest on, below ``FOLDER``.
_WRITTEN = {"alignment": "alignment/alignment.json", "arms": "study/arms.json"}


def place(name: str, root: Path = _ROOT) -> str:
    """The file of a recorded result from the checkout, or where it will be."""
    path = find(name, root)
    return path.relative_to(root).as_posix() if path else expected(name)


def expected(name: str) -> str:
    """Where the script of a record leaves it, from the checkout."""
    return f"{FOLDER}/{_WRITTEN.get(name, f'{name}.json')}"


def origin(found: dict[str, Any]) -> str:
    """Where and when a result was measured, for the line above a table."""
    return f"recorded on {found['date']}, {found['machine']}"


#: What must be the same of runs that are put together.
ORIGIN = ("machine", "versions")


def arms(root: Path = _ROOT) -> list[dict[str, Any]] | None:
    """The runs of arms on record, each with its machine and versions; ``None`` where none is."""
    return runs_of(load("arms", root))


def runs_of(record: Mapping[str, Any] | None) -> list[dict[str, Any]] | None:
    """The runs of a record of training, each with its machine and versions.

    What a run does not say of itself is what its record says of all.
    """
    if record is None:
        return None
    common = {name: record[name] for name in ORIGIN if name in record}
    return [common | dict(run) for run in record["runs"]]


def check_one_origin(runs: Runs) -> None:
    """Runs of several machines, or of several versions, are not put together.

    Raises:
        DataError: they are; it names what differs.
    """
    for name in ORIGIN:
        if len(found := _distinct(runs, name)) > 1:
            raise DataError(
                f"runs that differ in {name} can't be put together: {'; '.join(found)}. "
                "Keep those of one"
            )


def seeds_of(runs: Runs, labels: Sequence[str]) -> list[int]:
    """Seeds that each of these arms was trained with; ``base`` is not trained and has them all.

    Args:
        labels: arms as :func:`label` writes them.
    """
    by_arm: dict[str, set[int]] = {name: set() for name in labels if name != "base"}
    for run in runs:
        by_arm.get(label(run), set()).add(run["seed"])
    return sorted(set.intersection(*by_arm.values())) if by_arm else []


def lacking(record: Mapping[str, Any] | None, labels: Sequence[str]) -> str:
    """Why a record can't carry a claim about these arms; empty where it can.

    An effect of training is one of seeds and tasks together, so it takes ``MIN_SEEDS`` seeds that
    all arms share, on one machine, under one set of versions, both named.

    Args:
        record: as its script wrote it: ``runs``, ``machine``, ``versions``; ``None`` where there
            is none.
        labels: the arms compared, as :func:`label` writes them.
    """
    runs = runs_of(record)
    if runs is None:
        return "no training run is recorded"
    compared = [run for run in runs if label(run) in labels]
    there = {label(run) for run in compared}
    if missing := [name for name in labels if name not in there]:
        said = f"no run of {' and of '.join(missing)} is recorded"
        return "; ".join([said, *_apart(record, missing)])
    if (seeds := len(seeds_of(compared, labels))) < MIN_SEEDS:
        said = f"recorded with {seeds} common seed{'s' * (seeds != 1)}, {MIN_SEEDS} are needed"
        return "; ".join([said, *_apart(record, labels)])
    for name in ORIGIN:
        if not all(run.get(name) for run in compared):
            return f"the recorded runs do not name their {name}"
    try:
        check_one_origin(compared)
    except DataError as error:
        return str(error)
    return ""


def _apart(record: Mapping[str, Any] | None, labels: Sequence[str]) -> list[str]:
    """Which seeds of these arms a record sets apart, and why."""
    found = record.get("apart", []) if record else []
    return [
        f"set apart is {one['arm']} with seed {one['seed']}: {one['why']}"
        for one in found
        if one["arm"] in labels
    ]


def _distinct(runs: Runs, name: str) -> list[str]:
    return sorted({json.dumps(run.get(name), sort_keys=True) for run in runs})


def label(run: Mapping[str, Any]) -> str:
    """The arm, with the share of the rubric that was kept where some was dropped."""
    keep = run.get("keep", 1.0)
    return str(run["arm"]) if keep == 1.0 else f"{run['arm']}, keep {keep:g}"


def held_out(runs: Runs) -> dict[str, dict[str, Scores]]:
    """Grader -> arm -> task id -> score after training, averaged over seeds.

    ``base`` is what the same graders gave the policy before training. A task that some seed
    has no score for is unscored. Runs without notes are left out: their policy is asked another
    question, and starts elsewhere.

    Raises:
        DataError: the runs come from several machines or versions.
    """
    runs = [run for run in runs if not run.get("closed")]
    check_one_origin(runs)
    found: dict[str, dict[str, Scores]] = {}
    for grader in dict.fromkeys(name for run in runs for name in run.get("held_out", {})):
        graded = [run for run in runs if grader in run.get("held_out", {})]
        found[grader] = {"base": _average([run["held_out"][grader]["before"] for run in graded])}
        for name in dict.fromkeys(map(label, graded)):
            seeds = [run["held_out"][grader]["after"] for run in graded if label(run) == name]
            if name != "base":
                found[grader][name] = _average(seeds)
    return found


def over_seeds(runs: Runs, grader: str) -> dict[str, Interval]:
    """Arm -> gain over what its runs began with, over seeds and tasks together.

    Both trainings of a seed count as one. Arms with fewer seeds than a finding needs are left out,
    and runs without notes.

    Raises:
        DataError: a run of an arm is there twice, or its runs come from several machines.
    """
    of_arm: dict[str, list[SeedGains]] = {}
    for run in (run for run in runs if grader in run["held_out"] and not run.get("closed")):
        before, after = (run["held_out"][grader][when] for when in ("before", "after"))
        one = SeedGains(run["seed"], gains(after, before), run["machine"], run["versions"])
        of_arm.setdefault(label(run), []).append(one)
    found = {}
    for name, of in of_arm.items():
        effect = training_effect(of)
        if name != "base" and isinstance(effect, Comparison):
            found[name] = effect.difference
    return found


#: Arms as figures list them, then the kinds of rubric that are not the authored one.
ORDER = (*get_args(Arm), "synthetic_ref", "synthetic_noref")


@dataclass(frozen=True)
class Judges:
    """What is on record of judges of several sizes, and what is not.

    Attributes:
        sizes: judge -> billions of parameters, from small to large; also of one not measured yet.
        accuracy: arm -> judge -> pairwise accuracy, ties half.
        missing: judge -> arms that are declared and not measured yet.
        auc: judge -> AUC of its verdicts on single criteria.
        pairs: preference pairs that were graded in each arm; 0 where nothing was.
    """

    sizes: Mapping[str, float]
    accuracy: Mapping[str, Mapping[str, Interval]]
    missing: Mapping[str, Sequence[str]]
    auc: Mapping[str, Interval]
    pairs: int

    def of(self, judge: str) -> dict[str, Interval]:
        """Arm -> accuracy of one judge."""
        return {arm: by[judge] for arm, by in self.accuracy.items() if judge in by}


def judges(record: Mapping[str, Any] | None) -> Judges:
    """The record of judge alignment (``alignment.json``), arm by arm.

    Raises:
        DataError: it names a judge or an arm that this library does not know.
    """
    record = record or {}
    rows = record.get("judges", {})
    missing: dict[str, list[str]] = {}
    for piece in record.get("missing", []):
        judge = max((name for name in MODELS if piece.startswith(f"{name}-")), key=len, default="")
        arm, _, source = piece.removeprefix(f"{judge}-").partition("-")
        if source != "val":  # that one fits a calibration
            missing.setdefault(judge, []).append(source or arm)
    arms = {arm for row in rows.values() for arm in row["arms"]}.union(*missing.values())
    for names, known in (([*rows, *missing], [*MODELS]), (arms, [*ORDER])):
        if unknown := sorted(set(names) - set(known)):
            raise DataError(
                f"alignment.json names {', '.join(map(repr, unknown))}; known are: "
                f"{', '.join(known)}. Write it anew: python -m results.alignment.table"
            )
    accuracy: dict[str, dict[str, Interval]] = {}
    for judge, row in rows.items():
        for arm, of in row["arms"].items():
            if (found := Interval.from_json(of["accuracy"])) is not None:
                accuracy.setdefault(arm, {})[judge] = found
    names = sorted({*rows, *missing}, key=lambda name: MODELS[name].parameters)
    return Judges(
        sizes={name: MODELS[name].parameters for name in names},
        accuracy={arm: accuracy[arm] for arm in ORDER if arm in accuracy},
        missing={name: missing[name] for name in names if name in missing},
        auc={name: Interval(**row["auc"]) for name, row in rows.items() if row.get("auc")},
        pairs=max((of["pairs"] for row in rows.values() for of in row["arms"].values()), default=0),
    )


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
            AttackResult(corpus[name], arm, tuple(gains), frozenset(row["rejected"]["unknown"]))
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
