"""Which settings the study is run with: tried in a declared order, taken by a declared rule.

    .venv/bin/python -m results.study.pilot    # says what each trial came to, and what to run next

Order and rule were written down before the first trial. A trial trains ``rlvr``, which is paid by
the primary outcome itself, on the first half with a seed of its own: what such a reward cannot
move, no judge's can. The first trial is taken that

- raises the primary outcome of the held-out tasks (sign-flip test over tasks, p below
  :data:`ALPHA`: with half of the tasks and one seed it must be clear);
- leaves the policy within :data:`MOST_KL` of the untrained one, half of what excludes a run;
- leaves room to stop: at least :data:`LEAST_FITTING` of the reference answers have no more tokens
  than an answer may have.

Order and last point were chosen with trials in view: :data:`WHY` has what was declared with each
trial and what was decided after it. What a trial measured is computed from its answers. Some of
what was decided goes back to what was looked at by hand and is not on record; the book's page on
the study says so.

Cheap trials come first. Of the arms that are compared only those of the trials and of
:data:`BESIDE` are looked at, and no trial is part of the record. ``pilot.json`` holds what was
found; the tests hold ``run.SETTINGS`` to it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from rar_lib.core.files import atomic_write
from rar_lib.core.stats import Interval, compare, task_interval
from rar_lib.data.tasks import load_mini
from rar_lib.evaluation.notes import conveyed
from rar_lib.models.store import model_dir
from rar_lib.training.settings import Settings
from results.study import run, store
from results.study.run import Unit
from results.study.table import outcomes

RESULTS = Path(__file__).with_name("pilot.json")
ARM = "rlvr"
ALPHA = 0.001
MOST_KL = 0.5
LEAST_FITTING = 0.9
TRIALS: tuple[dict[str, Any], ...] = (
    {"steps": 12, "learning_rate": 5e-4, "max_completion": 80},
    {"steps": 12, "learning_rate": 1e-3, "max_completion": 80},
    {"steps": 12, "learning_rate": 1e-3, "max_completion": 112},
    {"steps": 12, "learning_rate": 2e-3, "max_completion": 112},
    {"steps": 24, "learning_rate": 1e-3, "max_completion": 112},
    {
        "steps": 12,
        "learning_rate": 1e-3,
        "max_completion": 112,
        "prompts_per_step": 8,
        "schedule": "linear",
    },
    {"policy": "qwen-0.5b", "steps": 12, "learning_rate": 5e-4, "max_completion": 112},
    {"policy": "qwen-0.5b", "steps": 12, "learning_rate": 1e-3, "max_completion": 128},
    {"notes": "own", "steps": 12, "learning_rate": 5e-4, "max_completion": 128},
)
#: Of each trial: why it was declared as it was, and what was decided when it had been run. Told and
#: not measured: in words, without a result.
WHY: tuple[dict[str, str], ...] = (
    {
        "declared": "First in the order, because it is the cheapest.",
        "decided": "Its rate was not tried again in as many updates with this policy until the "
        "notes were others, in the ninth trial.",
    },
    {
        "declared": "Second in the order: twice the rate.",
        "decided": "The last point of the rule was changed. It had asked that at most half of the "
        "last step's rollouts end at the limit of tokens; since then it asks that the limit holds "
        "the reference answers, because an answer that cannot be whole is not paid for stopping. "
        "The trials that were left got a limit that holds more of them.",
    },
    {
        "declared": "The rate of the second trial under the new limit.",
        "decided": "A larger rate was put before twice the updates, which take twice the time.",
    },
    {
        "declared": "Put here after the third trial: twice the rate once more.",
        "decided": "Nothing; the next of the order was run.",
    },
    {
        "declared": "Twice the updates at the rate of the third trial, as declared after the "
        "second.",
        "decided": "The answers of its looks were read. The last trial of the order, as many "
        "updates at twice the rate, was dropped, because the fourth trial had left the bound on "
        "the KL at that rate in fewer.",
    },
    {
        "declared": "In place of the one that was dropped: updates of more prompts, under a rate "
        "that falls to zero.",
        "decided": "Its answers were read. Two variants that had been declared with it were "
        "dropped.",
    },
    {
        "declared": "The next larger policy, with the updates and the rate of the first trial.",
        "decided": "Twice the updates and twice the rate were declared, each under a limit that "
        "holds more of the references in the tokens of this policy. Before either was begun, "
        "twice the rate was put first, because it takes half the hours.",
    },
    {
        "declared": "Twice the rate of the seventh trial, under the longer limit.",
        "decided": "Nothing is mixed into the notes any more, the small policy is back, and twice "
        "the updates with other notes were dropped. What was looked at by hand before that stands "
        "below.",
    },
    {
        "declared": "Notes of the task alone, with the updates and the rate of the first trial. "
        "These settings had been tried once by hand before they were declared.",
        "decided": "The study was declared with these settings.",
    },
)
#: What was looked at beside the trials, and by which arm.
BESIDE = ("sft_reference", {"steps": 24, "learning_rate": 1e-3, "max_completion": 112})
#: As :data:`WHY`, and how many trials had been run before.
WHY_BESIDE: dict[str, Any] = {
    "after": 6,
    "declared": "Can so small a policy learn the task at all? So it was trained on the reference "
    "answers themselves, which is an arm of the study, and its answers were looked at.",
    "decided": "The next larger policy is tried from the seventh trial on.",
}


def unit_of(trial: Mapping[str, Any], arm: str = ARM) -> Unit:
    """The pilot that tries these settings."""
    return next(unit for unit in run.pilots(trial) if unit.design.name == arm)


def fitting(settings: Settings) -> float:
    """Share of the reference answers that have no more tokens of the policy than an answer may."""
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(model_dir(settings.policy))
    references = [task.reference or "" for task in load_mini("all")]
    lengths = [len(tokenizer(text)["input_ids"]) for text in references]
    return sum(length <= settings.max_completion for length in lengths) / len(lengths)


def risen(unit: Unit, found: Mapping[str, Any]) -> tuple[Interval, float]:
    """The held-out rise of the primary outcome from the first look to the last, and its p-value."""
    before, after = (outcomes(unit, found["looks"][at]["answers"]) for at in (0, -1))
    gains = [after[task] - before[task] for task in before]
    most = 2.0 if unit.others else 1.0
    return task_interval(gains, bounds=(-most, most)), compare(gains, list(before)).p


def looked_at(unit: Unit, found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the held-out answers convey at each look.

    Returns:
        Of each look its ``step``, and the mean share of a task's ``own`` notes and of the
        ``others`` beside them that an answer conveys; the outcome is the one minus the other.
    """
    _, held_out = run.tasks_of(unit)
    rows = []
    for look in found["looks"]:
        said = [conveyed(task, look["answers"][task.id]) for task in held_out]
        own = fmean(one.relevant for one in said)
        others = fmean(one.irrelevant for one in said)
        rows.append({"step": look["step"], "own": own, "others": others})
    return rows


def came_to(unit: Unit, found: Mapping[str, Any], fits: float) -> dict[str, Any]:
    """What a trained pilot says of its settings.

    Args:
        fits: share of the reference answers that are no longer than an answer may be.

    Returns:
        The held-out rise of the primary outcome (``rise``, its ``p``), ``kl`` in nats a token,
        ``fits``, share of rollouts ``cut`` in the last step, mean ``words`` of the held-out answers
        before and after, what they convey at each of the ``looks``, and ``fails``: what the rule
        holds against it, empty if nothing.
    """
    first = found["looks"][0]["answers"]
    last = found["looks"][-1]["answers"]
    step = found["steps"][-1]
    rise, p = risen(unit, found)
    values = {
        "rise": rise.to_json(),
        "p": p,
        "kl": step["kl_to_base"],
        "fits": fits,
        "cut": step["clipped"],
        "words": [_words(first), _words(last)],
        "looks": looked_at(unit, found),
        "seconds": found["seconds"],
        "machine": found["machine"],
        "number format": found["number format"],
        "versions": found["versions"],
        "date": found["date"],
    }
    return values | {"fails": fails(rise.value, values["p"], step["kl_to_base"], fits)}


def fails(rise: float, p: float, kl: float, fits: float) -> list[str]:
    """What the rule holds against a trial."""
    found = []
    if rise <= 0 or p >= ALPHA:
        found.append("the outcome does not rise clearly")
    if kl > MOST_KL:
        found.append("too far from the untrained policy")
    if fits < LEAST_FITTING:
        found.append("reference answers do not fit")
    return found


def _words(answers: Mapping[str, str]) -> float:
    return sum(len(text.split()) for text in answers.values()) / len(answers)


def record(done: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """The trials that were run, by place in :data:`TRIALS`, each with its :data:`WHY`.

    ``taken``, what the rule takes, is ``None`` until a trial passes with all those before it run.
    """
    rows: list[dict[str, Any]] = []
    taken: dict[str, Any] | None = None
    for place, trial in enumerate(TRIALS):
        if place not in done:
            break
        rows.append({"trial": trial, **WHY[place], **done[place]})
        if not done[place]["fails"]:
            taken = trial
            break
    rule = {"alpha": ALPHA, "most_kl": MOST_KL, "least_fitting": LEAST_FITTING}
    return {"rule": rule, "trials": rows, "taken": taken}


def tried_beside() -> dict[str, Any] | None:
    """What :data:`BESIDE` came to; ``None`` where it was not run."""
    arm, trial = BESIDE
    unit = unit_of(trial, arm)
    if not unit.path.exists():
        return None
    found = store.load(unit.path)
    rise, p = risen(unit, found)
    measured = {"rise": rise.to_json(), "p": p, "looks": looked_at(unit, found)}
    return {"arm": arm, "trial": trial, **WHY_BESIDE, **measured}


def main() -> None:
    """Write ``pilot.json`` and say what to do next."""
    pilots = {place: unit_of(trial) for place, trial in enumerate(TRIALS)}
    done = {
        place: came_to(unit, store.load(unit.path), fitting(unit.settings))
        for place, unit in pilots.items()
        if unit.path.exists()
    }
    found = record(done)
    if (beside := tried_beside()) is not None:
        found["beside"] = beside
    atomic_write(RESULTS, json.dumps(found, indent=1) + "\n")
    for row in found["trials"]:
        print(row["trial"], "; ".join(row["fails"]) or "taken", f"p {row['p']:.2g}")
    if found["taken"] is None and len(found["trials"]) < len(TRIALS):
        tried = TRIALS[len(found["trials"])]
        asked = " ".join(f"{name}={value}" for name, value in tried.items())
        print(f"next: python -m results.study.run --pilot --ungraded --arms {ARM} --try {asked}")


if __name__ == "__main__":
    main()
