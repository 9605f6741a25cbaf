"""The study's record from its units: ``arms.json``, which chapters and the ledger read.

    .venv/bin/python -m results.study.table

One run of the record is an arm with a seed, both folds put together, so that it has every task.
*conveyed* is the primary outcome (:func:`rar_lib.evaluation.notes.conveyed`) of the answers; the
secondary ones are the judge's explicit score and what the policy thinks of given answers.
Differences are given as a share of the way from the untrained policy's answers to the references.
Claims are decided over seeds and tasks together, as one family; an arm takes part with the seeds of
which both folds are done. Folds of one run, and runs of one contrast, must be made by one kind of
machine under the same packages and code that is the same (``origin.py``); a run that is not is set
apart, with its reason.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from operator import itemgetter
from pathlib import Path
from statistics import fmean
from typing import Any

from rar_lib.book import claims
from rar_lib.core.decision import Finding, decide_family, not_testable
from rar_lib.core.errors import DataError
from rar_lib.core.files import atomic_write
from rar_lib.core.stats import Comparison, pearson, scored
from rar_lib.core.types import Task
from rar_lib.evaluation.held_out import MIN_SEEDS, SeedGains, paired_difference, training_effect
from rar_lib.evaluation.notes import conveyed, states, with_notes
from results.study import origin, run, store
from results.study.run import Unit
from results.study.states import DIGITS, States

RESULTS = Path(__file__).with_name("arms.json")
#: A run that went further is shown and enters no claim: nats a token, share of responses.
MOST_KL = 1.0
MOST_UNSCORED = 0.05
#: Claims of the study, declared before the first recorded unit: better arm, other arm. One family.
CONTRASTS = {
    "implicit_over_base": ("implicit", "base"),
    "explicit_over_base": ("explicit", "base"),
    "sft_over_base": ("sft_reference", "base"),
    "explicit_over_direct_likert": ("explicit", "direct_likert"),
    "implicit_over_direct_likert": ("implicit", "direct_likert"),
    "implicit_over_explicit": ("implicit", "explicit"),
    "explicit_over_reference_likert": ("explicit", "reference_likert"),
    "explicit_over_predefined": ("explicit", "predefined"),
    "synthetic_ref_over_noref": (
        "explicit, synthetic with reference",
        "explicit, synthetic without reference",
    ),
}
#: A family of its own: what the outcome can move, what length alone does, and further arms.
FURTHER = {
    "implicit_over_reference_likert": ("implicit", "reference_likert"),
    "implicit_over_sft_reference": ("implicit", "sft_reference"),
    "implicit_over_sft_filtered": ("implicit", "sft_filtered"),
    "rule_over_base": ("rlvr", "base"),
    "length_over_base": ("length", "base"),
    "explicit_over_length": ("explicit", "length"),
    "synthetic_ref_over_authored": ("explicit, synthetic with reference", "explicit"),
    "synthetic_noref_over_reference_likert": (
        "explicit, synthetic without reference",
        "reference_likert",
    ),
    "strong_over_weak_judge": ("explicit", "explicit, weak judge"),
    "contrast_over_plain": ("explicit, contrast 0.5", "explicit"),
    "dropout_over_plain": ("explicit, keep 0.5", "explicit"),
}
#: As the ledger calls them, which counts all of a family, recorded or not.
FAMILIES = {"study": CONTRASTS, "further": FURTHER}
#: The findings where both trainings of a seed count as one.
ONE_TRAINING = "findings, a seed as one training"
#: Contrasts of which something was known before the first unit, and what.
SEEN = {
    "explicit_over_base": "a short run of this arm, with other notes, had raised the outcome on "
    "tasks of the same data, and so this task was chosen",
    "rule_over_base": "the pilot took the first settings under which this difference was clear, on "
    "held-out tasks of the first half",
    "sft_over_base": "the pilot trained on the references beside the settings that it took, on the "
    "first half, and their answers were looked at",
    "length_over_base": "the reward of this arm was changed when its first unit had earned all of "
    "it halfway",
    "explicit_over_length": "the same of *length*",
}
#: The half whose held-out tasks no trial of the pilot answered: the pilot was trained on them.
OTHER_HALF = 1
Scores = dict[str, float | None]


def outcomes(unit: Unit, answers: Mapping[str, str]) -> dict[str, float]:
    """Task id -> primary outcome of a unit's answers, judged by the notes of its held-out tasks."""
    noted = _mixed(unit.fold) if unit.others else _noted(unit.fold)
    return {task.id: _outcome(task, answers[task.id]) for task in noted}


@cache
def _outcome(task: Task, answer: str) -> float:
    """Kept, because many units begin with the same answers."""
    return conveyed(task, answer).outcome


@cache
def _noted(fold: int) -> list[Task]:
    """The held-out tasks of a fold with notes, by which closed book answers are judged, too."""
    return run.tasks_of(Unit(run.DESIGNS[0], fold, run.SEEDS[0]))[1]


@cache
def _mixed(fold: int) -> list[Task]:
    """The same with other notes among them, as the pilot's first trials had them."""
    return with_notes(_noted(fold))


@cache
def _folds() -> dict[str, int]:
    """Task id -> the fold that holds it out."""
    return {task.id: fold for fold in (0, 1) for task in _noted(fold)}


def stray(found: Mapping[str, Any]) -> str:
    """Why a unit may not enter a claim; empty where it may."""
    last = found["steps"][-1] if found["steps"] else {}
    if (last.get("kl_to_base") or 0.0) > MOST_KL:
        return f"KL {last['kl_to_base']:.2f} nats a token, the bound is {MOST_KL:g}"
    unscored = [row["unscored"] for row in found["steps"] if row["unscored"] is not None]
    if unscored and fmean(unscored) > MOST_UNSCORED:
        return f"{fmean(unscored):.0%} of the responses unscored, the bound is {MOST_UNSCORED:.0%}"
    return ""


def together(
    name: str, seed: int, parts: Sequence[tuple[Unit, Mapping[str, Any]]], made: origin.Made
) -> dict[str, Any]:
    """One run of the record from the folds of an arm and seed.

    Args:
        made: what made both, as :func:`origin.shared` says it.
    """
    before: Scores = {}
    after: Scores = {}
    for unit, found in parts:
        before |= outcomes(unit, found["looks"][0]["answers"])
        after |= outcomes(unit, found["looks"][-1]["answers"])
    change = paired_difference(after, before)
    judged, why_not = graded(parts)
    return {
        "arm": name,
        "closed": parts[0][0].design.closed,
        "seed": seed,
        "seconds": sum(found["seconds"] for _, found in parts),
        "steps": _by_step(parts, "mean"),
        "length": _by_step(parts, "length"),
        "kl_to_base": _by_step(parts, "kl_to_base"),
        "words": _words(parts),
        "held_out": {"conveyed": {"before": before, "after": after}},
        "course": _course(parts),
        "change": {"conveyed": change.to_json() if change else None},
        "secondary": secondary(judged),
        "secondary_course": secondary_course(judged),
        "stray": "; ".join(filter(None, (stray(found) for _, found in parts))),
        "machine": made.machines[0],
        "versions": dict(made.versions),
        "judges": dict(made.judges),
        "graded on": sorted({origin.graded_by(one).machines[0] for one in judged if _has(one)}),
        "not graded": why_not,
        "code": sorted({found["decides"]["code"][:DIGITS] for _, found in parts}),
        "state": made.state,
        "date": max(found["date"] for _, found in parts),
    }


def _has(found: Mapping[str, Any]) -> bool:
    return bool(found.get("graded_by"))


def graded(
    parts: Sequence[tuple[Unit, Mapping[str, Any]]],
) -> tuple[list[Mapping[str, Any]], str]:
    """The folds of a run; without their grades where two machines or engines gave these.

    Returns:
        What the units hold, and why grades are left out, which is empty where they are not.
    """
    try:
        if by := {unit.name: origin.graded_by(found) for unit, found in parts if _has(found)}:
            origin.shared(by)
    except DataError as error:
        return [_ungraded(found) for _, found in parts], str(error)
    return [found for _, found in parts], ""


def _ungraded(found: Mapping[str, Any]) -> dict[str, Any]:
    looks = [dict(look) for look in found["looks"]]
    for look in looks:
        look.pop("graded", None)
    return {**found, "looks": looks, "graded_by": None}


def secondary(parts: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Secondary outcomes of both folds: mean before and after, and the paired change over tasks.

    - ``explicit``: the judge's score of the answers, calibrated, by the whole rubric.
    - ``reference``: log-likelihood of the reference answers, nats a token.
    - ``gap``: how much more likely they are with the rubric in view.
    - ``margin``: preferred minus rejected response of a pair.

    An outcome that no task has on both sides is left out.
    """
    before: dict[str, Scores] = {}
    after: dict[str, Scores] = {}
    for found in parts:
        for into, look in ((before, found["looks"][0]), (after, found["looks"][-1])):
            for name, values in _measured(look).items():
                into.setdefault(name, {}).update(values)
    rows = {}
    for name, values in before.items():
        change = paired_difference(after.get(name, {}), values)
        if change:
            rows[name] = {
                "before": fmean(scored(values.values())),
                "after": fmean(scored(after[name].values())),
                "unscored": sum(value is None for value in after[name].values()),
                "change": change.to_json(),
            }
    return rows


def secondary_course(parts: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Secondary outcome -> step -> mean, of the looks at which it was measured.

    Over the tasks or pairs that were measured at each of those looks.
    """
    seen: dict[str, dict[str, list[float]]] = {}
    for found in parts:
        looks = [(str(look["step"]), _measured(look)) for look in found["looks"]]
        for step, measured in looks:
            for name, values in measured.items():
                kept = _at_every_look(name, looks)
                of_step = seen.setdefault(name, {}).setdefault(step, [])
                of_step.extend(scored(values[one] for one in values if one in kept))
    return {name: _means(steps) for name, steps in seen.items()}


def _means(steps: Mapping[str, Sequence[float]]) -> dict[str, float]:
    return {step: fmean(values) for step, values in steps.items() if values}


def _at_every_look(name: str, looks: Sequence[tuple[str, Mapping[str, Scores]]]) -> set[str]:
    return set.intersection(*(set(measured[name]) for _, measured in looks if name in measured))


def _measured(look: Mapping[str, Any]) -> dict[str, Scores]:
    """Outcome -> task or pair id -> value of one look."""
    found: dict[str, Scores] = {}
    if "graded" in look:
        found["explicit"] = {task: row["score"] for task, row in look["graded"].items()}
    if inner := look.get("likelihoods"):
        plain = inner["reference"]
        gap = {task: value - plain[task] for task, value in inner["with_rubric"].items()}
        found |= {"reference": plain, "gap": gap, "margin": inner["margin"]}
    return {name: values for name, values in found.items() if values}


def _words(parts: Sequence[tuple[Unit, Mapping[str, Any]]]) -> float:
    texts = [text for _, found in parts for text in found["looks"][-1]["answers"].values()]
    return fmean(len(text.split()) for text in texts)


def _by_step(parts: Sequence[tuple[Unit, Mapping[str, Any]]], what: str) -> list[float | None]:
    curves = [list(map(itemgetter(what), found["steps"])) for _, found in parts]
    return [fmean(values) if None not in values else None for values in zip(*curves, strict=True)]


def _course(parts: Sequence[tuple[Unit, Mapping[str, Any]]]) -> dict[str, float]:
    """Mean primary outcome over all tasks at each look, the last answers included."""
    seen: dict[str, list[float]] = {}
    for unit, found in parts:
        for look in found["looks"]:
            values = outcomes(unit, look["answers"]).values()
            seen.setdefault(str(look["step"]), []).extend(values)
    return {step: fmean(values) for step, values in seen.items()}


def gains_of(
    runs: Sequence[Mapping[str, Any]], better: str, other: str, way: float
) -> list[SeedGains]:
    """One arm's outcomes minus another's, seed by seed, as a share of the way to the references.

    Where the untrained policy has no run of a seed, it is what the arm's own run started from.

    Raises:
        DataError: the runs that are needed come from different machines, versions or engines of a
            judge; it names the odd ones.
    """
    by = {(one["arm"], one["seed"]): one for one in runs}
    found = []
    used: list[Mapping[str, Any]] = []
    for seed in sorted(seed for arm, seed in by if arm == better):
        one = by[better, seed]
        beside = by.get((other, seed))
        if beside is not None:
            against = beside["held_out"]["conveyed"]["after"]
            used.append(beside)
        elif other == "base":
            against = one["held_out"]["conveyed"]["before"]
        else:
            continue
        used.append(one)
        gains = _minus(one["held_out"]["conveyed"]["after"], against, way)
        found.append(SeedGains(seed, gains, one["machine"], one["versions"]))
    if used:
        made = {f"{one['arm']} with seed {one['seed']}": origin.of_run(one) for one in used}
        origin.shared(made, map(origin.of_run, runs))
    return found


def _minus(better: Scores, other: Scores, way: float) -> Scores:
    found: Scores = {}
    for task, value in better.items():
        against = other.get(task)
        known = value is not None and against is not None
        found[task] = (value - against) / way if known else None  # type: ignore[operator]
    return found


def way_to_references(runs: Sequence[Mapping[str, Any]], tasks: Sequence[Task]) -> float:
    """Mean outcome of the reference answers minus that of the untrained policy's, with notes."""
    best = fmean(conveyed(task, task.reference or "").outcome for task in tasks)
    closed = {design.name for design in run.DESIGNS if design.closed}
    start = next((one for one in runs if one["arm"] not in closed), runs[0])
    return best - fmean(scored(start["held_out"]["conveyed"]["before"].values()))


def decide(
    runs: Sequence[Mapping[str, Any]],
    way: float,
    apart: Sequence[Mapping[str, Any]] = (),
    *,
    one_training: bool = False,
) -> dict[str, Finding]:
    """Every contrast: those declared as the study's claims are one family, the others another.

    Args:
        apart: arms and seeds that are no run, with ``why``, for the reason of what they leave open.
        one_training: count both trainings of a seed as one, which leaves fewer degrees of freedom:
            the halves are trained apart, but begin with the same adapter and sampler.
    """
    halves = None if one_training else _folds()
    sound = [one for one in runs if not one["stray"]]
    out = [{**one, "why": one["stray"]} for one in runs if one["stray"]] + list(apart)
    found: dict[str, Finding] = {}
    for name, contrasts in FAMILIES.items():
        family: dict[str, Comparison | Finding | None] = {
            f"training.{name}": _effect(sound, arms, way, halves, out)
            for name, arms in contrasts.items()
        }
        size = claims.family_size(name)
        found |= decide_family(family, margins=claims.margin("held_out"), size=size)
    return found


def _effect(
    runs: Sequence[Mapping[str, Any]],
    arms: tuple[str, str],
    way: float,
    halves: Mapping[str, int] | None,
    out: Sequence[Mapping[str, Any]],
) -> Comparison | Finding:
    try:
        gains = gains_of(runs, *arms, way)
        if len(gains) >= MIN_SEEDS:
            return training_effect(gains, halves, bound=1.0 / way)
    except DataError as error:  # of several machines or versions
        return not_testable(str(error))
    done = "1 seed" if len(gains) == 1 else f"{len(gains)} seeds"
    said = [f"done of both arms: {done}; {MIN_SEEDS} are needed"]
    said += [
        f"left out is {one['arm']} with seed {one['seed']}: {one['why']}"
        for one in out
        if one["arm"] in arms
    ]
    return not_testable("; ".join(said))


def on_other_half(
    runs: Sequence[Mapping[str, Any]], way: float
) -> dict[str, dict[str, Any] | None]:
    """The contrasts of ``SEEN`` over the tasks alone that no trial of the pilot was looked at on.

    The pilot was trained on these tasks, so its rewards there were seen, and its answers to the
    tasks of the other half. Nothing is decided by it: it shows whether what was looked at before
    carries the difference.

    Returns:
        Contrast -> its ``difference`` with interval, and ``p``, neither corrected; ``None`` where
        fewer than three seeds of both arms are done.
    """
    sound = [one for one in runs if not one["stray"]]
    return {name: _effect_there(sound, (CONTRASTS | FURTHER)[name], way) for name in SEEN}


def _effect_there(
    runs: Sequence[Mapping[str, Any]], arms: tuple[str, str], way: float
) -> dict[str, Any] | None:
    one_fold = dict.fromkeys(_folds(), OTHER_HALF)
    try:
        gains = [replace(one, gains=_there(one.gains)) for one in gains_of(runs, *arms, way)]
        effect = training_effect(gains, one_fold, bound=1.0 / way)
    except DataError:  # of several machines: the contrast itself says why it is open
        return None
    if not isinstance(effect, Comparison):
        return None
    return {"difference": effect.difference.to_json(), "p": effect.p}


def _there(gains: Mapping[str, float | None]) -> Scores:
    return {task: gain for task, gain in gains.items() if _folds()[task] == OTHER_HALF}


def _by_half(outcome: Mapping[str, float]) -> tuple[float, float]:
    """Mean outcome of either half's held-out tasks."""
    of: tuple[list[float], list[float]] = ([], [])
    for task, fold in _folds().items():
        of[fold].append(outcome[task])
    return fmean(of[0]), fmean(of[1])


def halves_alike(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """How alike both trainings of a seed turn out, over the arms that are trained with three seeds.

    Returns:
        ``r``, the correlation between the halves of a seed's mean outcome less that of its arm
        there, and how many ``arms`` and ``pairs`` of trainings it is of; ``None`` where none is.
    """
    means: dict[str, list[tuple[float, float]]] = {}
    for one in runs:
        if not one["stray"] and one["arm"] != "base":
            of = _by_half(one["held_out"]["conveyed"]["after"])
            means.setdefault(one["arm"], []).append(of)
    apart: list[tuple[float, float]] = []
    arms = {arm: rows for arm, rows in means.items() if len(rows) >= MIN_SEEDS}
    for rows in arms.values():
        first, second = (fmean(side) for side in zip(*rows, strict=True))
        apart += [(x - first, y - second) for x, y in rows]
    if not apart:
        return None
    return {"r": pearson(*zip(*apart, strict=True)), "arms": len(arms), "pairs": len(apart)}


Parts = list[tuple[Unit, Mapping[str, Any]]]


def complete(found: Mapping[Unit, Mapping[str, Any]]) -> dict[tuple[str, int], Parts]:
    """Arm and seed -> its two folds, where both are done."""
    parts: dict[tuple[str, int], Parts] = {}
    for unit, one in found.items():
        parts.setdefault((unit.design.name, unit.seed), []).append((unit, one))
    return {key: folds for key, folds in parts.items() if len(folds) == 2}


def pooled(
    found: Mapping[Unit, Mapping[str, Any]], states: States | None = None
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The runs of the record, and those that are set apart because their folds differ in origin.

    Args:
        states: of the code that are one; without it no two are.

    Returns:
        Runs, and for each arm and seed that is none ``arm``, ``seed`` and ``why``.
    """
    runs: list[dict[str, Any]] = []
    apart: list[dict[str, Any]] = []
    by = {unit: origin.made_by(one, states or States()) for unit, one in found.items()}
    by |= {unit: by[_first_look(unit, by)] for unit in by if unit.design.name == "base"}
    for (arm, seed), parts in complete(found).items():
        try:
            _check_settings(parts)
            _check_identity(parts)
            own = [unit for unit, _ in parts]
            beside = [_first_look(unit, by) for unit in own]
            used = {unit.name: by[unit] for unit in [*beside, *own]}
            made = origin.shared(used, by.values())
        except DataError as error:
            apart.append({"arm": arm, "seed": seed, "why": str(error)})
            continue
        runs.append(together(arm, seed, parts, made))
    return runs, apart


def _first_look(unit: Unit, by: Mapping[Unit, origin.Made]) -> Unit:
    """The unit that measured a unit's answers before training.

    That is ``base`` of the first seed, whose look all others on its machine copy, but for the
    closed book's; so what made it made a part of them. Elsewhere it is the unit itself.
    """
    measured = Unit(run.DESIGNS[0], unit.fold, run.SEEDS[0])
    if unit.design.closed or measured not in by:
        return unit
    alike = replace(by[measured], judges={}, state="") == replace(by[unit], judges={}, state="")
    return measured if alike else unit


def _check_settings(parts: Parts) -> None:
    """Refuse what was trained with other settings than the study's.

    Raises:
        DataError: names the unit and what differs.
    """
    wanted = run.SETTINGS.model_dump(mode="json")
    for unit, found in parts:
        used = found["settings"]
        other = [
            f"{name} {used.get(name)} for {value}"
            for name, value in wanted.items()
            if used.get(name) != value
        ]
        if other:
            raise DataError(f"{unit.name} was trained with {', '.join(other)}: train it again")


def _check_identity(parts: Parts) -> None:
    """Refuse what was trained on other tasks, or paid by something else, than the study's.

    Raises:
        DataError: names the unit and what differs.
    """
    for unit, found in parts:
        decides = found["decides"]
        tasks = run.digests_of_tasks(unit)
        if other := [name for name, value in tasks.items() if decides[name] != value]:
            raise DataError(
                f"{unit.name} was made with other {' and '.join(other)}: train it again"
            )
        wanted = run.paid_by(unit)
        paid = decides["reward"] or {}
        differs = [
            f"{name} {paid.get(name)} for {value}"
            for name, value in wanted.items()
            if paid.get(name) != value
        ]
        if differs:
            raise DataError(f"{unit.name} was paid by {', '.join(differs)}: train it again")


def record(
    found: Mapping[Unit, Mapping[str, Any]], tasks: Sequence[Task], states: States | None = None
) -> dict[str, Any]:
    """The record of the units that are done.

    Args:
        tasks: all, with notes.
        states: of the code that are one; without it no two are.
    """
    runs, apart = pooled(found, states)
    if not runs:
        lines = ["no arm has both folds of a seed: run results.study.run"]
        raise SystemExit("\n".join([*lines, *(one["why"] for one in apart)]))
    way = way_to_references(runs, tasks)
    findings = decide(runs, way, apart)
    strict = decide(runs, way, apart, one_training=True)
    return {
        "policy": run.SETTINGS.policy,
        "judge": run.JUDGE,
        "settings": run.SETTINGS.model_dump(mode="json"),
        "way": way,
        "date": max(one["date"] for one in runs),
        "machine": origin.machines(runs),
        "versions": origin.versions(runs),
        "missing": [unit.name for unit in run.units() if unit not in found],
        "examples": examples(found),
        "apart": apart,
        "runs": runs,
        "findings": {name: finding.to_json() for name, finding in findings.items()},
        ONE_TRAINING: {name: finding.to_json() for name, finding in strict.items()},
        "halves alike": halves_alike(runs),
        "on the half that the pilot trained on": on_other_half(runs, way),
    }


def examples(found: Mapping[Unit, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The first graded task of each half as every arm of tier 1 answers it last, first seed.

    Which task that is lies in the seeded draw of what is graded, so nobody has picked it.

    Returns:
        For each half ``question``, ``notes``, and ``answers``: arm -> ``text``, its primary
        outcome (``conveyed``), the judge's ``score`` (``None`` where it is not graded), and which
        notes it ``states``.
    """
    shown = []
    for fold in (0, 1):
        task = run.course_tasks(_noted(fold))[0]
        answers = {
            unit.design.name: _example(task, one["looks"][-1])
            for unit, one in found.items()
            if (unit.fold, unit.seed, unit.design.tier) == (fold, run.SEEDS[0], 1)
        }
        if answers:
            notes = task.context.splitlines()
            shown.append({"question": task.question, "notes": notes, "answers": answers})
    return shown


def _example(task: Task, look: Mapping[str, Any]) -> dict[str, Any]:
    text = look["answers"][task.id]
    return {
        "text": text,
        "conveyed": conveyed(task, text).outcome,
        "score": look.get("graded", {}).get(task.id, {}).get("score"),
        "states": [states(text, note) for note in task.context.splitlines()],
    }


def main() -> None:
    """Write ``arms.json`` and say what is decided, and what is missing."""
    done = {unit: store.load(unit.path) for unit in run.units() if unit.path.exists()}
    if not complete(done):
        print(f"{len(done)} units are done, and no arm has both folds of a seed: nothing to decide")
        return
    tasks = [task for fold in (0, 1) for task in run.tasks_of(Unit(run.DESIGNS[0], fold, 0))[1]]
    found = record(done, tasks, States.recorded())
    atomic_write(RESULTS, json.dumps(found, indent=1) + "\n")
    for name, finding in found["findings"].items():
        print(f"{name:50}{finding['word']}")
    for one in found["apart"]:
        print(f"set apart: {one['arm']} with seed {one['seed']}: {one['why']}")
    for one in found["runs"]:
        if one["not graded"]:
            print(f"grades left out: {one['arm']} with seed {one['seed']}: {one['not graded']}")
    print(f"{len(done)} of {len(done) + len(found['missing'])} units are done")
    codes = {code for one in found["runs"] for code in one["code"]}
    same = {one["state"] for one in found["runs"]}
    print(f"states of the library's code that trained them: {len(codes)}, different: {len(same)}")


if __name__ == "__main__":
    main()
