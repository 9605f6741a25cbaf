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

The last point was another one until two trials were done: at most half of the last step's rollouts
should end at the limit of tokens. In the second trial, which passes all else, nearly all did, and
then the tokens of the references were counted: 80, which the design had named, hold none of them,
so that no answer could be whole and the outcome did not pay for stopping. 112 hold nine in ten, and
held nobody's notes then. The share that is cut is still shown. The remaining trials were changed
with it: the smaller rate had moved nothing in as many steps, so it was not tried again until the
notes were others.

After the third trial, which misses the first point narrowly, the larger rate in as few steps was
put before twice the steps: with these the study would take days. Twice the steps had been begun;
the reward and divergence of some ten training steps had been looked at, its held-out answers not,
and it was ended. A trial of the smaller rate with 112 tokens was ended within its first minutes,
when the rule's last point was changed. So order and last point were chosen with trials in view.

After the fifth trial the answers of all looks were read. The outcome rises within six updates and
is lost again, in twice the steps wholly: the policy writes up to the limit, its answers repeat
themselves more and more, and the reward of training stays where it was. The last declared trial,
twice the steps at twice the rate, was dropped, since in as few steps that rate had left the bound
on KL. Declared in its place, before it was run, was the sixth, eight prompts an update and a rate
that falls to zero; two variants of it were declared with it and dropped after it: its answers said
more of all notes, of those that answer and of those that don't.

Then it was asked whether this policy can learn the task at all: :data:`BESIDE` trains it on the
reference answers themselves, which is an arm of the study, on the pilot's half with the pilot's
seed, and it was looked at. It raises the outcome little. The next larger policy, untrained,
conveyed clearly more. So that one is tried from the seventh trial on. In that trial the outcome
was still rising at its end, and 112 of its tokens hold fewer of the references than the rule asks:
twice the steps and twice the rate were declared next, each under a longer limit. Twice the steps
came first; before either was begun the other was put before it, because it takes half the hours. It
left the bound on KL, and the outcome fell.

Then it was asked by hand what stands in the way, on the tasks of the pilot's half; these runs are
not on record. The larger policy, trained on the references themselves for 24 steps, conveyed more
of all notes, of those that answer and of those that don't, and so did not gain (0.03, p 0.56).
Told in the prompt to leave out what is about something else, it wrote as before, and so did the
small one. The small one was first taught to answer by half of its notes, whichever; from there
neither twelve steps on the outcome nor 24 on the references moved it (0.03 and 0.02). So some
dozens of examples teach policies of this size little of which notes answer, too little to tell
rewards apart; that they use notes at all, they do. In the ninth trial the notes are the task's own
therefore, and nothing is mixed in: the outcome is the share of them that is conveyed. Twice the
steps with other notes were dropped for it. It had been tried once by hand, with the settings of
this trial, before it was declared here.

Cheap trials come first. Nothing of the arms that are compared is looked at, and no trial is part of
the record. ``pilot.json`` holds what was found; the tests hold ``run.SETTINGS`` to it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rar_lib.core.files import atomic_write
from rar_lib.core.stats import Interval, compare, task_interval
from rar_lib.data.tasks import load_mini
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
#: What was looked at beside the trials, and by which arm.
BESIDE = ("sft_reference", {"steps": 24, "learning_rate": 1e-3, "max_completion": 112})


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


def came_to(unit: Unit, found: Mapping[str, Any], fits: float) -> dict[str, Any]:
    """What a trained pilot says of its settings.

    Args:
        fits: share of the reference answers that are no longer than an answer may be.

    Returns:
        The held-out rise of the primary outcome (``rise``, its ``p``), ``kl`` in nats a token,
        ``fits``, share of rollouts ``cut`` in the last step, mean ``words`` of the held-out answers
        before and after, and ``fails``: what the rule holds against it, empty if nothing.
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
    """The trials that were run, by place in :data:`TRIALS`, and what the rule takes.

    ``taken`` is ``None`` until a trial passes with all those before it run.
    """
    rows: list[dict[str, Any]] = []
    taken: dict[str, Any] | None = None
    for place, trial in enumerate(TRIALS):
        if place not in done:
            break
        rows.append({"trial": trial, **done[place]})
        if not done[place]["fails"]:
            taken = trial
            break
    rule = {"alpha": ALPHA, "most_kl": MOST_KL, "least_fitting": LEAST_FITTING}
    return {"rule": rule, "trials": rows, "taken": taken}


def main() -> None:
    """Write ``pilot.json`` and say what to do next."""
    pilots = {place: unit_of(trial) for place, trial in enumerate(TRIALS)}
    done = {
        place: came_to(unit, store.load(unit.path), fitting(unit.settings))
        for place, unit in pilots.items()
        if unit.path.exists()
    }
    beside = unit_of(BESIDE[1], BESIDE[0])
    found = record(done)
    if beside.path.exists():
        rise, p = risen(beside, store.load(beside.path))
        found["beside"] = {"arm": BESIDE[0], "trial": BESIDE[1], "rise": rise.to_json(), "p": p}
    atomic_write(RESULTS, json.dumps(found, indent=1) + "\n")
    for row in found["trials"]:
        print(row["trial"], "; ".join(row["fails"]) or "taken", f"p {row['p']:.2g}")
    if found["taken"] is None and len(found["trials"]) < len(TRIALS):
        tried = TRIALS[len(found["trials"])]
        asked = " ".join(f"{name}={value}" for name, value in tried.items())
        print(f"next: python -m results.study.run --pilot --ungraded --arms {ARM} --try {asked}")


if __name__ == "__main__":
    main()
