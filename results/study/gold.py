"""Blind labels of the study's final answers: what to label, and what two readers' labels say.

    .venv/bin/python -m results.study.gold export labels.csv        # one row a criterion
    .venv/bin/python -m results.study.gold read ANNE.csv BEN.csv    # two filled copies

The final greedy answers of four arms to 40 held-out tasks, 20 of each fold, of the first seed. The
sheet names no arm, and its order is drawn; an answer that two arms share stands there once. Each
reader fills the column ``met`` with yes or no, without the other's copy: whether the statement
holds of the answer, also where that is bad for it. A cell that a spreadsheet would take for a
formula begins with an apostrophe; the text that is scored is the recorded one.

``read`` says row by row what it could not use, then how far the two agree, how often the judge
agrees with both on the policies' own answers, and how good the answers of each arm are over all
tasks, by labels and judge together (:func:`prediction_powered`). It writes ``gold.json``, whose
machine and date are of the judge's verdicts, and whose versions are of what read the labels.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import platform
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rar_lib.core.errors import DataError, RarError
from rar_lib.core.files import atomic_write, versions
from rar_lib.core.scoring import explicit_score
from rar_lib.core.stats import (
    Interval,
    cluster_interval,
    cluster_share,
    kappa,
    scored,
    still,
    task_interval,
)
from rar_lib.core.types import Rubric, Task, Verdict
from rar_lib.data.check import escaped
from rar_lib.data.labels import Label, load_labels
from rar_lib.data.questions import Response
from rar_lib.evaluation.alignment import agreement_of
from rar_lib.judging.messages import rubric_of
from results.study import origin, run, store
from results.study.run import Unit
from results.study.states import States

RESULTS = Path(__file__).with_name("gold.json")
#: Whose answers are labelled; differences are to the first.
ARMS = ("base", "direct_likert", "implicit", "explicit")
COLUMNS = ("task", "response", "criterion", "question", "answer", "statement", "met", "remark")
#: What a spreadsheet takes for the beginning of a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
#: Item and criterion -> whether it is met, as one person says.
Labels = dict[tuple[str, str], bool]
#: Task id -> score in [0, 1].
Scores = Mapping[str, float | None]


@dataclass(frozen=True)
class Answer:
    """An arm's final answer to one task, as the judge of the study sees it.

    Attributes:
        score: the calibrated explicit score; ``None`` where a criterion could not be judged.
        verdicts: the probability that each criterion is met, in the rubric's order.
    """

    text: str
    score: float | None
    verdicts: tuple[float | None, ...]


@dataclass(frozen=True)
class Item:
    """An answer on the sheet.

    Attributes:
        id: of its task and text alone, so that it tells nothing of the arms.
        arms: whose answer it is; not on the sheet.
    """

    id: str
    task: Task
    text: str
    arms: tuple[str, ...]


def _unit(arm: str, fold: int) -> Unit:
    design = next(design for design in run.DESIGNS if design.name == arm)
    return Unit(design, fold, run.SEEDS[0])


def recorded(unit: Unit) -> Mapping[str, Any]:
    """A unit that is trained and graded, by what the first arm's was.

    Raises:
        DataError: it is not, or another kind of machine or other packages made or graded it.
    """
    if (state := run.state_of(unit)) != "done":
        raise DataError(
            f"unit {unit.name} is {state}: run .venv/bin/python -m results.study.run --arms "
            f"{' '.join(ARMS)}"
        )
    first = _unit(ARMS[0], 0)
    heads = {one.name: store.head(one.path) for one in (first, unit) if one.path.exists()}
    states = States.recorded()
    origin.shared({name: origin.made_by(head, states) for name, head in heads.items()})
    origin.shared({name: origin.graded_by(head) for name, head in heads.items()})
    return store.load(unit.path)


def final_answers(
    load: Callable[[Unit], Mapping[str, Any]] = recorded,
) -> dict[str, dict[str, Answer]]:
    """Arm -> task id -> its final answer, of both folds, where the judge was asked about it.

    Raises:
        DataError: a unit is missing.
    """
    found: dict[str, dict[str, Answer]] = {arm: {} for arm in ARMS}
    for arm in ARMS:
        for fold in (0, 1):
            last = load(_unit(arm, fold))["looks"][-1]
            for task, row in last["graded"].items():
                text = last["answers"][task]
                found[arm][task] = Answer(text, row["score"], tuple(row["verdicts"]))
    return found


def judged_by() -> dict[str, str]:
    """On which machine and when the judge graded the answers, the last of the units."""
    heads = [store.head(_unit(arm, fold).path)["graded_by"] for arm in ARMS for fold in (0, 1)]
    last = max(heads, key=lambda head: head["date"])
    return {"grader": last["judge"], "machine": last["machine"], "date": last["date"]}


def read_with() -> dict[str, str]:
    """The versions that the numbers of the record hang on; those of training stand in the units."""
    return {"python": platform.python_version()} | versions(("numpy", "scipy"))


def gold_tasks() -> list[Task]:
    """The tasks to label: those of each fold whose answers the judge graded at every look."""
    folds = (run.tasks_of(_unit(ARMS[0], fold))[1] for fold in (0, 1))
    return [task for fold in folds for task in run.course_tasks(fold)]


def items_of(
    answers: Mapping[str, Mapping[str, Answer]], tasks: Sequence[Task], seed: int
) -> list[Item]:
    """The answers to label, each once, in an order that is drawn."""
    arms: dict[tuple[str, str], list[str]] = {}
    for task in tasks:
        for arm in ARMS:
            arms.setdefault((task.id, answers[arm][task.id].text), []).append(arm)
    by_id = {task.id: task for task in tasks}
    found = [Item(_id(seed, *key), by_id[key[0]], key[1], tuple(own)) for key, own in arms.items()]
    found.sort(key=lambda item: item.id)  # so that the draw does not begin with the arms' order
    random.Random(f"gold {seed}").shuffle(found)
    return found


def _id(seed: int, task: str, text: str) -> str:
    # Not by `files.digest`, which writes JSON without spaces: these ids stand in labels on record.
    return "a-" + hashlib.sha256(json.dumps([seed, task, text]).encode()).hexdigest()[:10]


def sheet(items: Sequence[Item]) -> str:
    """The table to fill in, as CSV."""
    out = io.StringIO(newline="")
    table = csv.writer(out, quoting=csv.QUOTE_ALL)
    table.writerow(COLUMNS)
    for item in items:
        for criterion in rubric_of(item.task).criteria:
            shown = [item.task.question, item.text, criterion.description]
            ids = [item.task.id, item.id, criterion.id]
            table.writerow([*ids, *map(cell, shown), "", ""])
    return out.getvalue()


def cell(text: str) -> str:
    """Text that a spreadsheet shows and does not run; invisible characters are written out."""
    shown = escaped(text, keep="\n")
    return f"'{shown}" if shown.startswith(_FORMULA) else shown


def read_labels(path: str | Path, items: Sequence[Item]) -> tuple[Labels, list[str]]:
    """One person's labels, and what could not be used, a line each.

    Raises:
        DataError: the file can't be read, or no row of it could be used.
    """
    tasks = list({item.task.id: item.task for item in items}.values())
    loaded = load_labels(
        path,
        tasks,
        responses=[Response(item.task.id, item.id, item.text) for item in items],
        # Ids say all; the texts beside them are for the reader.
        columns={name: name for name in ("task", "response", "criterion", "met")}
        | {"question": ""},
    )
    ids = {(item.task.id, item.text): item.id for item in items}
    given = [label for label in loaded.items if isinstance(label, Label)]
    labels = {(ids[label.task, label.response], label.criterion): label.met for label in given}
    return labels, [str(problem) for problem in loaded.problems]


def agreement(one: Labels, other: Labels, items: Sequence[Item]) -> dict[str, Any]:
    """How far two readers agree on the cells that both filled; intervals over tasks.

    Returns:
        ``cells``, share of ``raw`` agreement, Cohen's ``kappa`` (``None`` where chance alone
        agrees on everything), and the ``disputed`` cells.
    """
    task_of = {item.id: item.task.id for item in items}
    both = sorted(one.keys() & other.keys())
    if not both:
        raise DataError("the two files share no filled cell: give two copies of one sheet")
    tasks = [task_of[item] for item, _ in both]
    data = np.array([[float(one[key]), float(other[key])] for key in both])
    by_chance = _kappa(data) is None
    return {
        "cells": len(both),
        "raw": cluster_share(data[:, 0] == data[:, 1], tasks).to_json(),
        "kappa": None if by_chance else cluster_interval(data, tasks, _kappa).to_json(),
        "disputed": [list(key) for key in both if one[key] != other[key]],
    }


def _kappa(rows: NDArray[np.float64]) -> float | None:
    return kappa(rows[:, 0], rows[:, 1])


def judge_of(
    answers: Mapping[str, Mapping[str, Answer]], one: Labels, other: Labels, items: Sequence[Item]
) -> dict[str, Any]:
    """The judge beside the labels on which both readers agree: over all items, and by arm.

    Accuracy, balanced accuracy and AUC with intervals over tasks, calibration error, and how many
    verdicts the judge did not give.
    """
    rows: dict[str, list[tuple[str, Verdict, bool]]] = {"all": [], **{arm: [] for arm in ARMS}}
    unscored = dict.fromkeys(rows, 0)
    for item in items:
        verdicts = answers[item.arms[0]][item.task.id].verdicts
        for criterion, p in zip(rubric_of(item.task).criteria, verdicts, strict=True):
            label = one.get((item.id, criterion.id))
            if label is None or label != other.get((item.id, criterion.id)):
                continue
            for name in ("all", *item.arms):
                if p is None:
                    unscored[name] += 1
                else:
                    verdict = Verdict(criterion_id=criterion.id, met=p > 0.5, probability=p)
                    rows[name].append((item.task.id, verdict, label))
    found = {name: agreement_of(rows[name], unscored[name]) for name in rows}
    return {name: _json(vars(one_)) for name, one_ in found.items()}


def _json(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value.to_json() if isinstance(value, Interval) else value
        for name, value in values.items()
    }


def gold_scores(one: Labels, other: Labels, items: Sequence[Item]) -> dict[str, dict[str, float]]:
    """Arm -> task id -> explicit score by the labels, with the paper's weights.

    Where the two differ a criterion is half met. An answer with an empty cell has no score.
    """
    found: dict[str, dict[str, float]] = {arm: {} for arm in ARMS}
    for item in items:
        rubric: Rubric = rubric_of(item.task)
        met: dict[str, bool | float | None] = {}
        for criterion in rubric.criteria:
            key = (item.id, criterion.id)
            known = key in one and key in other
            met[criterion.id] = (one[key] + other[key]) / 2 if known else None
        score = explicit_score(rubric, met)
        for arm in item.arms if score is not None else ():
            found[arm][item.task.id] = score  # type: ignore[assignment]
    return found


def prediction_powered(
    gold: Sequence[float],
    judged: Sequence[float],
    rest: Sequence[float],
    *,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Interval:
    """A mean over all tasks from few labels and many judgements; valid however wrong the judge is.

    ``theta = mean(gold) + w * (mean(rest) - mean(judged))``, with
    ``se^2 = w^2 * var(rest) / N + var(gold - w * judged) / n``: the labels' mean on n tasks, moved
    by as much as the judge finds N other tasks better than these. ``w`` in [0, 1] is how far the
    judge is followed; the one of the smallest error is
    ``cov(gold, judged) / ((1 + n / N) * var(judged and rest))`` (Angelopoulos et al. 2023,
    *Prediction-powered inference*, Science 382:669; the weight by Angelopoulos, Duchi and Zrnic
    2023, arXiv 2311.01453): 0 for a judge that has nothing to do with the labels, so that these are
    left alone. Holds where the labelled tasks are a random part of all. Ours differs in the
    quantile, Student's with n - 1 degrees of freedom for the paper's normal one, which is too
    narrow for 40 labels; variances are divided by n - 1.

    Args:
        gold: shape (n,), n >= 2, by labels.
        judged: shape (n,), the judge on the same tasks.
        rest: shape (N,), N >= 2, the judge on other tasks.
        bounds: smallest and largest possible value.

    Returns:
        The estimate with its 95 % interval; its ``n`` counts labelled tasks.

    Raises:
        ValueError: too few values, or not one judgement a label.
    """
    from scipy.stats import t

    labelled = np.asarray(gold, dtype=np.float64)
    predicted = np.asarray(judged, dtype=np.float64)
    others = np.asarray(rest, dtype=np.float64)
    if labelled.shape != predicted.shape or len(labelled) < 2 or len(others) < 2:
        raise ValueError(
            f"need two labels or more, one judgement each, and two judgements without label or "
            f"more; got {len(labelled)}, {len(predicted)} and {len(others)}"
        )
    weight = _weight(labelled, predicted, others)
    value = float(labelled.mean() + weight * (others.mean() - predicted.mean()))
    wrong = labelled - weight * predicted
    by_judge = weight**2 * others.var(ddof=1) / len(others)
    se = float(np.sqrt(by_judge + wrong.var(ddof=1) / len(labelled)))
    half = float(t.ppf(0.975, len(labelled) - 1)) * se
    low, high = (value - half, value + half) if se > 1e-12 else still(value, len(labelled), bounds)
    value, low, high = (min(max(x, bounds[0]), bounds[1]) for x in (value, low, high))
    return Interval(value, low, high, len(labelled), se)


def _weight(
    labelled: NDArray[np.float64], predicted: NDArray[np.float64], others: NDArray[np.float64]
) -> float:
    """How far a judge is followed, in [0, 1], as :func:`prediction_powered` says."""
    spread = np.concatenate([predicted, others]).var(ddof=1)
    if spread <= 1e-12:
        return 0.0
    together = np.cov(labelled, predicted)[0, 1]
    best = together / ((1.0 + len(labelled) / len(others)) * spread)
    return float(np.clip(best, 0.0, 1.0))


def estimates(
    gold: Scores, judged: Scores, labelled: Sequence[str], bounds: tuple[float, float]
) -> dict[str, Any]:
    """One number over all tasks three ways: by labels alone, by the judge alone, by both.

    What has no label or no judgement is left out and counted, never 0.

    Args:
        judged: all tasks, those of ``labelled`` among them.
    """
    both = [
        (label, judgement)
        for task in labelled
        if (label := gold.get(task)) is not None and (judgement := judged.get(task)) is not None
    ]
    known = scored(gold.get(task) for task in labelled)
    rest = scored(value for task, value in judged.items() if task not in set(labelled))
    if len(both) < 2 or len(rest) < 2:
        raise DataError(f"{len(both)} tasks are labelled and judged: label two or more in full")
    labels, judgements = zip(*both, strict=True)
    return {
        "labels alone": task_interval(known, bounds=bounds).to_json(),
        "judge alone": task_interval(scored(judged.values()), bounds=bounds).to_json(),
        "both": prediction_powered(labels, judgements, rest, bounds=bounds).to_json(),
        "judge is wrong by": fmean(judgement - label for label, judgement in both),
        "left out": len(judged) - len(both) - len(rest),
    }


def minus(better: Scores, other: Scores) -> dict[str, float | None]:
    """Task id -> difference of two scores; ``None`` where a side has none."""
    found: dict[str, float | None] = {}
    for task, value in better.items():
        against = other.get(task)
        found[task] = None if value is None or against is None else value - against
    return found


def report(
    answers: Mapping[str, Mapping[str, Answer]], one: Labels, other: Labels, items: Sequence[Item]
) -> dict[str, Any]:
    """All that two readers' labels say, as JSON."""
    labelled = list(dict.fromkeys(item.task.id for item in items))
    gold = gold_scores(one, other, items)
    judged = {arm: _scores(answers[arm]) for arm in ARMS}
    first, *others = ARMS
    return {
        "tasks": len(labelled),
        "items": len(items),
        "criteria": sum(len(rubric_of(item.task).criteria) for item in items),
        "agreement": agreement(one, other, items),
        "judge": judge_of(answers, one, other, items),
        "quality": {arm: estimates(gold[arm], judged[arm], labelled, (0.0, 1.0)) for arm in ARMS},
        "over base": {
            arm: estimates(
                minus(gold[arm], gold[first]),
                minus(judged[arm], judged[first]),
                labelled,
                (-1.0, 1.0),
            )
            for arm in others
        },
    }


def _scores(answers: Mapping[str, Answer]) -> Scores:
    return {task: answer.score for task, answer in answers.items()}


def said(found: Mapping[str, Any]) -> list[str]:
    """The report in lines."""

    def interval(value: Any) -> str:
        return str(Interval.from_json(value)) if value else "undefined"

    both = found["agreement"]
    lines = [
        f"{found['tasks']} tasks, {found['items']} answers, {found['criteria']} criteria; "
        f"{both['cells']} labelled twice, {len(both['disputed'])} differently",
        f"agreement {interval(both['raw'])}, Cohen's kappa {interval(both['kappa'])}",
    ]
    for name, row in found["judge"].items():
        lines.append(f"judge, {name:14} accuracy {interval(row['accuracy'])} of {row['n']} labels")
    for title in ("quality", "over base"):
        for arm, row in found[title].items():
            ways = ("both", "labels alone", "judge alone")
            parts = ", ".join(f"{way} {interval(row[way])}" for way in ways)
            lines.append(f"{title}, {arm:14} {parts}")
    return lines


def main() -> None:
    """Write the sheet, or read two filled ones."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    export = commands.add_parser("export", help="write the sheet to fill in")
    export.add_argument("path", type=Path)
    read = commands.add_parser("read", help="read two filled copies")
    read.add_argument("one", type=Path)
    read.add_argument("other", type=Path)
    for command in (export, read):
        command.add_argument("--seed", type=int, default=0, help="of the order and the ids")
    options = parser.parse_args()
    try:
        answers = final_answers()
        items = items_of(answers, gold_tasks(), options.seed)
        if options.command == "export":
            if options.path.exists():
                raise DataError(f"{options.path} is there already, perhaps filled: name another")
            # A byte order mark tells spreadsheets that it is UTF-8.
            atomic_write(options.path, "\ufeff" + sheet(items))
            print(f"{len(items)} answers in {options.path}: fill the column met with yes or no")
            return
        both = [read_labels(path, items) for path in (options.one, options.other)]
        for path, (_, problems) in zip((options.one, options.other), both, strict=True):
            print("".join(f"{path}: {problem}\n" for problem in problems), end="")
        head = judged_by() | {"versions": read_with()}
        found = head | report(answers, both[0][0], both[1][0], items)
    except RarError as error:
        raise SystemExit(str(error)) from error
    atomic_write(RESULTS, json.dumps(found, indent=1) + "\n")
    print("\n".join(said(found)))


if __name__ == "__main__":
    main()
