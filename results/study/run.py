"""Which reward makes a policy better? Arms, folds and seeds trained one by one, with every answer.

    .venv/bin/python -m results.study.run --list          # the units, and which are done
    .venv/bin/python -m results.study.run --minutes 60    # go on for so long; run it again
    .venv/bin/python -m results.study.run --pilot --ungraded --arms rlvr --try steps=24
    .venv/bin/python -m results.study.run --design        # write design.json, which the book reads

A unit is one arm trained on one half of RaR-Mini with one seed; the other half is held out, and the
halves are swapped, so every task is held out once. The policy sees each question with notes
(:mod:`rar_lib.evaluation.notes`) and the judge only the question. A unit leaves its log and,
before, during and after training, its greedy answers to the held-out tasks, the judge's verdicts on
them and what it thinks of the references, as ``units/NAME.jsonl`` beside this file (``store.py``).
What is trained is resumable step by step in _build/study, and graded when it is trained: with the
flag --ungraded by a later call. ``table.py`` computes the findings, ``gold.py`` takes labels.
Only what one kind of machine made is put together (``origin.py``), and only what was made under the
same code, or under code that a repeat showed to train the same (``repeat.py``). Other code of the
library begins an unfinished unit anew: train the record on one machine, from a checkout that stays
as it is.

Pilots try settings on the first half with a seed that no recorded unit has; ``pilot.py`` says which
are tried in which order, and by what rule one is taken.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from rar_lib.core.errors import DataError, UnscoredError
from rar_lib.core.files import atomic_write, checkout, digest
from rar_lib.core.files import versions as packages
from rar_lib.core.prompts import policy_messages
from rar_lib.core.types import Task
from rar_lib.data.tasks import draw_tasks, load_mini, load_mini_pairs, split_tasks
from rar_lib.evaluation.alignment import calibrate, grade_pairs
from rar_lib.evaluation.notes import conveyed, with_notes
from rar_lib.judging.calibration import Calibration
from rar_lib.judging.cassette import Cassette
from rar_lib.judging.chat import Chat, run_sync
from rar_lib.judging.judge import Judge, grade_many
from rar_lib.models.machine import versions
from rar_lib.models.server import local_chat
from rar_lib.training.policy import Likelihoods
from rar_lib.training.rewards import Reward, RubricReward, VerifiableReward
from rar_lib.training.run import Run
from rar_lib.training.settings import Settings
from rar_lib.training.train import Job, Watch, parse_arm
from results.rubrics import write as rubrics
from results.study import origin, store

HERE = Path(__file__).parent
ROOT = checkout() or Path.cwd()
BUILD = ROOT / "_build" / "study"
#: As in the chapters of a laptop: half again as many verdicts a second as in bfloat16.
JUDGE = "qwen-1.5b-int8"
SEEDS = (0, 1, 2)
PILOT_SEED = 100
#: Whose notes stand beside a question: its own. In the pilot's first trials others were mixed in.
NOTES = "own"
#: Words of the longest reference answers, about: more is not paid for.
LONG = 100
SETTINGS = Settings(
    device="cpu",
    policy="smollm2-135m",
    rollouts=8,
    prompts_per_step=4,
    max_completion=128,
    context=1024,
    steps=12,
    learning_rate=5e-4,
    lora_rank=16,
    temperature=0.8,
)
#: Looks at the held-out tasks during and after training, evenly spaced; one more before: of the
#: first seed, which shows the course, and of the others. A look takes as long as a step or two.
LOOKS = 4
LOOKS_OF_OTHERS = 2
#: Held-out tasks of a fold on whose given answers the policy is asked for their likelihood.
INNER_TASKS = 20
#: Held-out tasks of a fold whose answers are graded before and after training, and those among
#: them whose answers are graded at every look of the first seed. The primary outcome is of all 80
#: and needs no judge; a judge's verdicts on all of them at all looks would take twice the time of
#: training on a processor without AMX.
GRADED_TASKS = 40
COURSE_TASKS = 20
#: What a unit keeps of what made it: code of the library, packages, digests of the tasks that it is
#: trained on and asked, and all that its reward is made of.
DECIDES = ("code", "versions", "tasks", "held_out", "reward")


@dataclass(frozen=True)
class Design:
    """One arm of the study.

    Attributes:
        trained: the method of :func:`rar_lib.train`.
        keep: below 1 is rubric dropout, which leaves ``least`` criteria or more.
        contrast: above 0 are contrast weights.
        closed: without notes, to show what cannot be learnt.
        judge: that gives the reward; another one is the smaller judge's.
        rubrics: that the reward is given by, ``authored`` or a kind of
            :mod:`results.rubrics.write`. Held-out answers are graded by the authored ones.
        tier: all seeds of tier 1 come before any of tier 2.
    """

    name: str
    trained: str
    keep: float = 1.0
    least: int = 1
    contrast: float = 0.0
    closed: bool = False
    judge: str = JUDGE
    rubrics: str = "authored"
    tier: int = 1


#: ``rlvr`` is rewarded by the outcome itself: what an incorruptible reward would give. ``length``
#: is paid for words alone. Their rewards need no judge. Rubric dropout is in its published form:
#: the explicit sum, at least three criteria, one part for all rollouts of a group.
DESIGNS = (
    Design("base", "base"),
    Design("rlvr", "rlvr"),
    Design("length", "rlvr"),
    Design("sft_reference", "sft_reference"),
    Design("direct_likert", "direct_likert"),
    Design("implicit", "implicit"),
    Design("explicit", "explicit"),
    Design("reference_likert", "reference_likert", tier=2),
    Design("predefined", "predefined", tier=2),
    Design("sft_filtered", "sft_filtered", tier=2),
    Design("explicit, keep 0.5", "explicit", keep=0.5, least=3, tier=2),
    Design("explicit, contrast 0.5", "explicit", contrast=0.5, tier=2),
    Design("explicit, weak judge", "explicit", judge="qwen-0.5b", tier=2),
    Design("explicit, synthetic with reference", "explicit", rubrics="synthetic_ref", tier=2),
    Design("explicit, synthetic without reference", "explicit", rubrics="synthetic_noref", tier=2),
    Design("implicit, closed book", "implicit", closed=True, tier=2),
    Design("explicit, closed book", "explicit", closed=True, tier=2),
    Design("sft_reference, closed book", "sft_reference", closed=True, tier=2),
)


@dataclass(frozen=True)
class Unit:
    """One arm, trained without the tasks of one fold, with one seed.

    Attributes:
        tried: settings that a pilot changes, with their values; empty in the record. ``notes`` is
            no setting: without it notes on another question are mixed in, which the record has not.
    """

    design: Design
    fold: int
    seed: int
    tried: tuple[tuple[str, Any], ...] = ()

    @property
    def settings(self) -> Settings:
        """The study's, but for what a pilot tries.

        Raises:
            DataError: a setting that there is not, or a value that it can't have.
        """
        changed = {name: value for name, value in self.tried if name != "notes"}
        try:
            return Settings.model_validate(SETTINGS.model_dump() | changed)
        except ValueError as error:
            raise DataError(f"can't try {dict(self.tried)}: {error}") from error

    @property
    def others(self) -> bool:
        """Whether notes that answer another question are mixed in: in the pilot's first trials."""
        return bool(dict(self.tried).get("notes", "mixed" if self.tried else NOTES) != "own")

    @property
    def look_every(self) -> int:
        """Steps from one look at the held-out tasks to the next."""
        looks = LOOKS if every_look(self) else LOOKS_OF_OTHERS
        return max(1, self.settings.steps // looks)

    @property
    def name(self) -> str:
        """Name of its folder, and of its file without the ending."""
        slug = self.design.name.replace(",", "").replace(" ", "-")
        tried = "".join(f"-{name}={value}" for name, value in self.tried)
        return f"{slug}-fold{self.fold}-seed{self.seed}{tried}"

    @property
    def path(self) -> Path:
        """Where what it leaves is kept; pilots stand apart from the record."""
        return HERE / ("pilot" if self.seed == PILOT_SEED else "units") / f"{self.name}.jsonl"


def pilots(tried: Mapping[str, Any]) -> list[Unit]:
    """One of each arm, none of them part of the record."""
    return [Unit(design, 0, PILOT_SEED, tuple(tried.items())) for design in DESIGNS]


def units() -> list[Unit]:
    """All of them, in the order in which they are run: complete and fair at every stop."""
    order = [(1, seed) for seed in SEEDS] + [(2, seed) for seed in SEEDS]
    return [
        Unit(design, fold, seed)
        for tier, seed in order
        for fold in (0, 1)
        for design in DESIGNS
        if design.tier == tier
    ]


@cache
def _halves() -> tuple[Sequence[Task], Sequence[Task]]:
    tasks = load_mini("all")
    return split_tasks(tasks, len(tasks) // 2)


def tasks_of(unit: Unit) -> tuple[list[Task], list[Task]]:
    """Tasks to train on, and those held out, each half with notes of its own.

    Under synthetic rubrics a task without a valid one is not trained on.
    """
    trained, held_out = (list(_halves()[fold]) for fold in (1 - unit.fold, unit.fold))
    if unit.design.rubrics != "authored":
        written = rubrics.rubrics(unit.design.rubrics)
        trained = [task.model_copy(update={"rubric": written.get(task.id)}) for task in trained]
        trained = [task for task in trained if task.rubric]
    if unit.design.closed:
        return trained, held_out
    mixed = unit.others
    return with_notes(trained, others=mixed), with_notes(held_out, others=mixed)


def outcome(task: Task, response: str) -> float:
    """The primary outcome as a reward in [0, 1]."""
    return conveyed(task, response).outcome


def mixed_outcome(task: Task, response: str) -> float:
    """The same where notes on another question are mixed in, which are subtracted."""
    return (1 + conveyed(task, response).outcome) / 2


def length(task: Task, response: str) -> float:
    """Words, up to those of a reference answer."""
    return min(1.0, len(response.split()) / LONG)


def reward_of(unit: Unit, judge: Judge | None) -> Reward | None:
    """What the unit is paid by; ``None`` for what is not rewarded."""
    design = unit.design
    if design.trained in ("base", "sft_reference"):
        return None
    if design.name == "rlvr":
        if unit.others:
            return VerifiableReward(mixed_outcome, name="notes conveyed minus others")
        return VerifiableReward(outcome, name="notes conveyed")
    if design.name == "length":
        return VerifiableReward(length, name=f"words up to {LONG}")
    if judge is None:
        raise DataError(f"{design.name} needs a judge")
    arm = "implicit" if design.trained == "sft_filtered" else design.trained
    return RubricReward(
        judge,
        arm,  # type: ignore[arg-type]
        keep=design.keep,
        least=design.least,
        contrast=design.contrast,
        seed=unit.seed,
    )


def paid_by(unit: Unit) -> dict[str, Any]:
    """What the identity of a unit's reward says, whatever the judge; empty if nothing is paid."""
    design = unit.design
    if not needs_judge(unit):
        rule = reward_of(unit, None)
        return {"verify": rule.identity()["verify"]} if rule else {}
    arm = "implicit" if design.trained == "sft_filtered" else design.trained
    return {"arm": arm, "keep": design.keep, "contrast": design.contrast}


@cache
def digests_of_tasks(unit: Unit) -> dict[str, str]:
    """Digests of a unit's tasks, to train on and held out, as the identity of its run has them."""
    trained, held_out = tasks_of(unit)
    return {"tasks": _digest(trained), "held_out": _digest(held_out)}


def _digest(tasks: Sequence[Task]) -> str:
    return digest([task.model_dump(mode="json") for task in tasks])


def needs_judge(unit: Unit) -> bool:
    """Whether a judge gives the unit's reward."""
    return unit.design.trained not in ("base", "sft_reference", "rlvr")


def calibration_of(chat: Chat) -> Calibration:
    """The judge's line, fitted on the val pairs before the first unit and kept."""
    judge = Judge(chat)
    path = BUILD / f"calibration-{chat.model}-{origin.mark()}.json"
    if path.exists():
        found = Calibration.model_validate_json(path.read_text(encoding="utf-8"))
        if found.judge == judge.identity:
            return found
    pairs = load_mini_pairs("val")
    graded = run_sync(grade_pairs(judge, load_mini("all"), pairs, "explicit", progress="val"))
    found = calibrate(graded)
    atomic_write(path, found.model_dump_json(indent=1))
    return found


@dataclass(frozen=True)
class Shares:
    """A look without a judge: what the answers convey of their notes."""

    tasks: Sequence[Task]

    @property
    def made_of(self) -> dict[str, Any]:
        """Part of the identity of a run."""
        return {
            "look": "notes",
            "tasks": _digest(self.tasks),
        }

    def __call__(self, step: int, answers: dict[str, str]) -> dict[str, Any]:
        """The answers with their words."""
        return {"answers": answers}


def likelihoods_of(
    unit: Unit, held_out: Sequence[Task], *, known: Mapping[str, Any] | None = None
) -> Likelihoods:
    """What is asked of a policy within: about 20 held-out tasks that have pairs, one pair each.

    So there are 40 of both folds, and in a pilot 48 gave t-values near 20. All tasks at every look
    would cost much of the time that training takes. At every look for the first seed, for the
    others before and after training. The notes are left out: they hold the reference's own
    sentences, so that copying them would decide (untrained: half a nat a token with notes, three
    without).

    Args:
        known: the look before training, if it need not be measured.
    """
    first = {pair.task_id: pair for pair in reversed(load_mini_pairs("all"))}
    paired = [task for task in held_out if task.id in first]
    drawn = {task.id for task in draw_tasks(paired, INNER_TASKS)}
    tasks = [task.model_copy(update={"context": ""}) for task in held_out if task.id in drawn]
    looks = looks_of(unit) if every_look(unit) else [0, unit.settings.steps]
    steps = [step for step in looks if step or known is None]
    return Likelihoods(tasks, [first[task.id] for task in tasks], steps)


def looks_of(unit: Unit) -> list[int]:
    """The steps after which a unit is looked at, 0 for before training."""
    steps = unit.settings.steps
    return sorted({*range(0, steps, unit.look_every), steps})


def asked(tasks: Sequence[Task]) -> str:
    """Digest of what the policy is shown of tasks."""
    return digest([policy_messages(task) for task in tasks])


def untrained(unit: Unit) -> Mapping[str, Any] | None:
    """The look before training, where ``base`` has it: the same policy, questions and machine.

    ``None`` for ``base`` with the first seed, which measures it; for pilots; closed book, which
    asks otherwise; and where ``base`` was asked other questions, on another machine or under other
    packages.
    """
    first = Unit(DESIGNS[0], unit.fold, SEEDS[0])
    if unit.tried or unit.design.closed or unit == first or not first.path.exists():
        return None
    base = store.load(first.path)
    under = base["decides"]["versions"]
    here = origin.machine_of(base) == origin.machine_of(origin.here())
    same = base["settings"] == unit.settings.model_dump(mode="json")
    same = same and base.get("asked") == asked(tasks_of(unit)[1])
    if not (here and same and under == packages(tuple(under))):
        return None
    look: Mapping[str, Any] = base["looks"][0]
    return {name: look[name] for name in ("step", "answers", "likelihoods")}


def every_look(unit: Unit) -> bool:
    """Whether all its looks are measured, for the course, or the first and the last."""
    return unit.seed in (SEEDS[0], PILOT_SEED)


def measure(unit: Unit, judge: Judge | None, *, folder: Path | None = None) -> dict[str, Any]:
    """Train a unit, in a folder of its name under _build/study, and what it leaves, not graded yet.

    Its machine is that of the last start; ``starts`` holds every one. ``decides`` is the code and
    the packages that it may not be continued without. ``seconds`` counts training over all starts,
    ``wall`` the whole of the last one, with loading and, where it was measured, the first look.
    """
    trained, held_out = tasks_of(unit)
    known = untrained(unit)
    within = likelihoods_of(unit, held_out, known=known)
    job = Job(
        arm=parse_arm(unit.design.trained),
        seed=unit.seed,
        settings=unit.settings,
        tasks=trained,
        held_out=held_out,
        before=known["answers"] if known else None,
        out=(folder or BUILD) / unit.name,
        reward=reward_of(unit, judge),
        watch=Watch(unit.look_every, Shares(held_out), within=within),
    )
    begin = time.monotonic()
    starts = origin.starts(job)
    if odd := origin.moved({"starts": starts}):
        print(f"{unit.name}: {odd}; nothing is put together with it: better delete {job.out} first")
    run = job.run()
    looks = [_look(look) for look in run.watched]
    return {
        "arm": unit.design.name,
        "fold": unit.fold,
        "seed": unit.seed,
        "settings": unit.settings.model_dump(mode="json"),
        "asked": asked(held_out),
        "number format": starts[-1]["number format"],
        "machine": starts[-1]["machine"],
        "starts": starts,
        "versions": versions(),
        "decides": {name: run.identity[name] for name in DECIDES},
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "seconds": round(run.seconds, 1),
        "wall": round(time.monotonic() - begin, 1),
        "seconds by stage": _stages(run),
        "load at the end": round(os.getloadavg()[2], 2),
        "resumed after": run.resumed_at,
        "calibration": _calibration(judge),
        "steps": _steps(run),
        "looks": [known, *looks[1:]] if known else looks,
    }


def _stages(run: Run) -> dict[str, float]:
    """Seconds of the steps by stage, and of the checkpoints; the rest was spent on looks."""
    found = {"checkpoints": sum(run.checkpoint_seconds)}
    for row in run.curve():
        for name, seconds in row.items():
            if name.startswith("seconds/"):
                stage = name.removeprefix("seconds/")
                found[stage] = found.get(stage, 0.0) + seconds
    return {stage: round(seconds, 1) for stage, seconds in found.items()}


def _look(watched: dict[str, Any]) -> dict[str, Any]:
    found = {"step": watched["step"], "answers": watched["answers"]}
    inner = {k: watched[k] for k in ("reference", "with_rubric", "margin") if k in watched}
    return found | ({"likelihoods": inner} if inner else {})


def graded_tasks(held_out: Sequence[Task]) -> list[Task]:
    """The tasks of a fold whose answers are graded before and after training.

    They and :func:`course_tasks` are seeded draws in the shares of domain and topic.
    """
    return draw_tasks(held_out, GRADED_TASKS)


def course_tasks(held_out: Sequence[Task]) -> list[Task]:
    """Those of them whose answers are graded at every look, and labelled by readers."""
    return draw_tasks(graded_tasks(held_out), COURSE_TASKS)


def to_grade(
    unit: Unit, looks: Sequence[dict[str, Any]], held_out: Sequence[Task]
) -> list[tuple[dict[str, Any], list[Task]]]:
    """Looks with the tasks whose answers are graded there: the ends, and the course of a seed.

    The first look is the untrained policy's: the same questions to the judge in every arm.
    """
    ends = graded_tasks(held_out)
    course = course_tasks(held_out)
    between = [(look, course) for look in looks[1:-1]] if every_look(unit) else []
    return [(looks[0], ends), *between, (looks[-1], ends)]


def with_grades(unit: Unit, found: dict[str, Any], judge: Judge) -> dict[str, Any]:
    """A trained unit with the judge's verdicts on its answers, whatever it was paid by.

    By the explicit sum under the whole rubric with its plain weights.
    """
    _, held_out = tasks_of(unit)
    begin = time.monotonic()
    for look, tasks in to_grade(unit, found["looks"], held_out):
        items = [(task, look["answers"][task.id]) for task in tasks]
        label = f"{unit.name}, step {look['step']}"
        grades = run_sync(grade_many(judge, items, "explicit", progress=label))
        rows = zip(tasks, grades, strict=True)
        look["graded"] = {task.id: store.graded(grade) for task, grade in rows}
    by = {
        "judge": judge.chat.model,
        "engine": judge.chat.engine,
        "calibration": _calibration(judge),
        **origin.here(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "seconds": round(time.monotonic() - begin, 1),
    }
    return found | {"graded_by": by}


def _calibration(judge: Judge | None) -> Any:
    line = judge.calibration if judge else None
    return line.model_dump(mode="json") if line else None


def _steps(run: Run) -> list[dict[str, Any]]:
    kept = (
        *("step", "mean", "mean_plain", "spread", "unscored", "flat_groups", "flat_mass"),
        *("length", "length_correlation", "clipped", "entropy", "kl_to_base"),
        *("loss", "grad_norm", "step_time", "judge_share"),
    )
    return [dict(zip(kept, map(row.get, kept), strict=True)) for row in run.curve()]


def design() -> dict[str, Any]:
    """All that is declared of the study, as JSON: what the book's page on it is made from.

    Nothing in it depends on what was measured. ``tests/results/study/test_design.py`` holds the
    file to this function.
    """
    from results.study import gold, pilot, table  # they read this module

    tiers = sorted({one.tier for one in DESIGNS})
    halves = [tasks_of(Unit(DESIGNS[0], fold, SEEDS[0]))[1] for fold in (0, 1)]
    return {
        "settings": SETTINGS.model_dump(mode="json"),
        "notes": NOTES,
        "judge": JUDGE,
        "seeds": list(SEEDS),
        "looks": {str(seed): looks_of(Unit(DESIGNS[0], 0, seed)) for seed in SEEDS},
        "tasks": {
            "held out": [len(half) for half in halves],
            "graded": [len(graded_tasks(half)) for half in halves],
            "course": [len(course_tasks(half)) for half in halves],
            "likelihoods": [
                len(likelihoods_of(Unit(DESIGNS[0], fold, SEEDS[0]), half).tasks)
                for fold, half in enumerate(halves)
            ],
        },
        "arms": [_declared(one) for one in DESIGNS],
        "units": {str(tier): _names(tier) for tier in tiers},
        "contrasts": {"claims": table.CONTRASTS, "further": table.FURTHER},
        "seen": table.SEEN,
        "bounds": {"most_kl": table.MOST_KL, "most_unscored": table.MOST_UNSCORED},
        "pilot": {
            "arm": pilot.ARM,
            "seed": PILOT_SEED,
            "alpha": pilot.ALPHA,
            "most_kl": pilot.MOST_KL,
            "least_fitting": pilot.LEAST_FITTING,
            "trials": pilot.TRIALS,
        },
        "gold": {"arms": gold.ARMS, "seed": SEEDS[0], "tasks": len(gold.gold_tasks())},
    }


def _names(tier: int) -> list[str]:
    return [unit.name for unit in units() if unit.design.tier == tier]


def _declared(one: Design) -> dict[str, Any]:
    """An arm: how it is trained, who or what rewards it, and where it leaves the defaults."""
    unit = Unit(one, 0, SEEDS[0])
    rule = None if needs_judge(unit) else reward_of(unit, None)
    plain = Design(one.name, one.trained)
    own = {name: value for name, value in vars(one).items() if name != "tier"}
    differs = {name: value for name, value in own.items() if value != getattr(plain, name)}
    return {
        "name": one.name,
        "tier": one.tier,
        "trained": one.trained,
        "judge": one.judge if needs_judge(unit) else None,
        "rule": rule.identity()["verify"] if rule else None,
        "differs": differs,
    }


def listing(chosen: Sequence[Unit]) -> None:
    """Say which units are done, and which were continued on another machine."""
    wide = max((len(unit.name) for unit in chosen), default=0) + 2
    for unit in chosen:
        odd = origin.moved(store.head(unit.path)) if unit.path.exists() else ""
        print(f"{unit.name:{wide}}{state_of(unit)}{f', {odd}' if odd else ''}")


def costs(chosen: Sequence[Unit]) -> None:
    """Say what the chosen units of the record still take here, and whether they belong together."""
    from results.study import cost  # it reads this module

    heads = {unit: store.head(unit.path) for unit in chosen if unit.path.exists()}
    tried = sorted((HERE / "pilot").glob("*.jsonl"))
    print(cost.forecast(chosen, heads, [store.head(path) for path in tried]))
    for line in _elsewhere(heads):
        print(line)


def _elsewhere(heads: Mapping[Unit, Mapping[str, Any]]) -> list[str]:
    """A line for each other machine on which units of the record were trained."""
    mine = origin.machine_of(origin.here())
    made = Counter(map(origin.machine_of, heads.values()))
    return [
        f"{count} trained on {machine}: not put together with what is trained here, on {mine}"
        for machine, count in made.items()
        if machine != mine
    ]


def state_of(unit: Unit) -> str:
    """*to do*, *trained* and not graded yet, or *done*."""
    if not unit.path.exists():
        return "to do"
    return "done" if store.head(unit.path).get("graded_by") else "trained"


@dataclass
class Judges:
    """The judges of the study; a server starts with the first call that is not on record."""

    open_: ExitStack
    _known: dict[str, Judge] = field(default_factory=dict)

    def __call__(self, name: str) -> Judge:
        """A judge with its calibration."""
        if name not in self._known:
            # Answers of another kind of machine are other answers, and no key tells them apart.
            cassette = Cassette(BUILD / f"calls-{name}-{origin.mark()}.sqlite", "record")
            self.open_.enter_context(closing(cassette))
            chat = self.open_.enter_context(local_chat(name, cassette=cassette))
            self._known[name] = Judge(chat, calibration=calibration_of(chat))
        return self._known[name]


def has_rubrics(unit: Unit) -> bool:
    """Whether the rubrics that the unit is trained on have all been asked for."""
    kind = unit.design.rubrics
    return kind == "authored" or not rubrics.missing(kind, load_mini("all"))


def advance(
    chosen: Sequence[Unit], *, minutes: float, grading: bool, regrade: bool = False
) -> None:
    """Train and grade what is missing, one unit after another; none is begun after so long.

    A judge that can't score too many responses stops a unit, and not those after it.

    Args:
        regrade: grade once more what is graded; a call that is on record is not asked again.
    """
    stop = time.monotonic() + 60 * minutes
    with ExitStack() as open_:
        judges = Judges(open_)
        for unit in chosen:
            if time.monotonic() > stop:
                break
            state = state_of(unit)
            if regrade and state == "done":
                state = "trained"
            if state == "done" or (state == "trained" and not grading):
                continue
            if not has_rubrics(unit):
                print(f"{unit.name}: its rubrics are not written yet: run results.rubrics.write")
                continue
            print(unit.name, flush=True)
            try:
                _advance(unit, state, judges, grading=grading)
            except UnscoredError as error:
                print(f"{unit.name} is not trained: {error}", flush=True)


def _advance(unit: Unit, state: str, judges: Judges, *, grading: bool) -> None:
    """What is still to do for one unit; it is saved when trained, and again when graded."""
    if state == "to do":
        judge = judges(unit.design.judge) if needs_judge(unit) else None
        store.save(unit.path, measure(unit, judge))
    if grading:
        store.save(unit.path, with_grades(unit, store.load(unit.path), judges(JUDGE)))


def setting(text: str) -> tuple[str, Any]:
    """A name and its value, a number where it is one.

    Raises:
        DataError: no ``=`` in it.
    """
    name, equal, value = text.partition("=")
    if not equal:
        raise DataError(f"--try takes NAME=VALUE, such as steps=24, and got {text!r}")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def main() -> None:
    """Train what is missing, in order, for so long."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arms", nargs="+", default=[design.name for design in DESIGNS])
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no unit later")
    parser.add_argument("--pilot", action="store_true", help="one fold, another seed")
    parser.add_argument(
        "--try", nargs="+", default=[], metavar="NAME=VALUE", dest="tried", help="in a pilot alone"
    )
    parser.add_argument("--ungraded", action="store_true", help="train now, grade by a later call")
    parser.add_argument(
        "--regrade", action="store_true", help="grade once more, as after other code of the judge"
    )
    parser.add_argument("--list", action="store_true", help="which units are done")
    parser.add_argument("--design", action="store_true", help="write design.json")
    options = parser.parse_args()
    if options.design:
        return atomic_write(HERE / "design.json", json.dumps(design(), indent=1) + "\n")
    if options.tried and not options.pilot:
        parser.error("--try changes settings, which the record may not: give --pilot, too")
    every = pilots(dict(map(setting, options.tried))) if options.pilot else units()
    chosen = [unit for unit in every if unit.design.name in options.arms]
    if options.list:
        listing(chosen)
        return None if options.pilot else costs(chosen)
    if not options.pilot:
        costs(chosen)
    if options.regrade and options.ungraded:
        parser.error("--regrade grades, and --ungraded does not: give one of them")
    return advance(
        chosen, minutes=options.minutes, grading=not options.ungraded, regrade=options.regrade
    )


if __name__ == "__main__":
    main()
