"""Arms trained one by one at the size of chapter 6 and graded by two judges: ``results/arms.json``.

    python -m results.arms --list            # the runs, and which are done
    python -m results.arms                   # what is missing: 2 to 6 minutes a run
    python -m results.arms --minutes 10      # start no run later; call it again to go on

The record holds the runs that are done and names each with its seed. Each run lies in
``_build/arms`` and continues where it was stopped. All have the same policy,
steps, rollouts and held-out tasks. Greedy answers before and after training get, in
the same way whatever was trained,

- ``reward``: the implicit reward of the training judge,
- the HealthBench score by the training judge, and by one that never gives a reward,

and every policy answers multiple choice questions by the protocol of chapter 7.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rar_lib.book.machine import hardware, versions
from rar_lib.book.study import Study
from rar_lib.core.files import atomic_write
from rar_lib.evaluation.held_out import evaluate, paired_difference
from rar_lib.evaluation.multiple_choice import ask, outcomes, question_sets
from rar_lib.judging.chat import run_sync
from rar_lib.judging.judge import Judge, grade_many
from rar_lib.training.policy import Policy
from rar_lib.training.rewards import RubricReward
from rar_lib.training.train import TRAINED, Run, train

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results" / "arms.json"
QUESTIONS, ORDERS, MAX_TOKENS = 24, 2, 96  # of each multiple choice set
Scores = dict[str, float | None]


@dataclass(frozen=True)
class Cell:
    """One run; ``keep`` below 1 is rubric dropout."""

    arm: str
    seed: int = 0
    keep: float = 1.0

    @property
    def name(self) -> str:
        return f"{self.arm}-{self.seed}" + (f"-keep{self.keep:g}" if self.keep < 1 else "")


#: What most readers ask about comes first.
FIRST = ("base", "implicit", "direct_likert", "explicit", "sft_reference")
CELLS = [
    *(Cell(arm) for arm in FIRST),
    Cell("implicit", keep=0.5),
    *(Cell(arm) for arm in TRAINED if arm not in FIRST),
    *(Cell(arm, seed) for seed in (1, 2) for arm in ("implicit", "direct_likert", "explicit")),
]


def main() -> None:
    """Train and grade what is missing, then write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", default="laptop")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no run later")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    study = Study.open(options.profile, ROOT / "_build" / "arms")
    stop = time.monotonic() + 60 * options.minutes
    done: list[dict[str, Any]] = []
    for cell in CELLS:
        path = study.folder / cell.name / "graded.json"
        if options.list:
            print(f"{cell.name:28}{'done' if path.exists() else 'to do'}")
            continue
        if not path.exists():
            if time.monotonic() > stop:
                continue
            print(cell.name, flush=True)
            atomic_write(path, json.dumps(one(study, cell, path.parent), indent=1))
        done.append(json.loads(path.read_text()))
    if not options.list:
        save(study, done)
        print(f"{len(done)} of {len(CELLS)} runs are recorded in {RESULTS.relative_to(ROOT)}")
    study.close()


def one(study: Study, cell: Cell, out: Path) -> dict[str, Any]:
    """Train one run and grade its answers."""
    judge = Judge(study.chat(study.profile.judge))
    live = replace(judge, chat=replace(judge.chat, cassette=None))
    reward = RubricReward(live, "implicit", keep=cell.keep, seed=cell.seed)
    run = train(
        cell.arm,
        cell.seed,
        settings=study.profile.training,
        tasks=study.tasks_for(cell.arm),
        held_out=study.test_tasks,
        out=out,
        judge=live,
        reward=reward if cell.keep < 1 else None,
    )
    return {
        "arm": cell.arm,
        "seed": cell.seed,
        "keep": cell.keep,
        "seconds": round(run.seconds, 1),
        "steps": [row["mean"] for row in run.curve()] if run.steps else [],
        "length": [row["length"] for row in run.curve()] if run.steps else [],
        "kl_to_base": [row["kl_to_base"] for row in run.curve()] if run.steps else [],
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        **graded(study, judge, run),
        "choice": choice(study, run, out),
    }


def choice(study: Study, run: Run, out: Path) -> dict[str, Any]:
    """Set -> question -> right, wrong or unreadable in each order of its options."""
    adapter = None if run.arm == "base" else out / "adapter"
    policy = Policy(study.profile.training, adapter=adapter)
    found = {}
    for name, questions in question_sets("mini", QUESTIONS).items():
        kept = out / f"{name}.json"
        answers = ask(policy, questions, ORDERS, max_tokens=MAX_TOKENS, kept=kept)
        found[name] = outcomes(answers)
    return found


def graded(study: Study, judge: Judge, run: Run) -> dict[str, Any]:
    """The answers before and after, by every grader, and the paired changes."""
    other = study.profile.watching[0]
    tasks = study.test_tasks

    async def grade() -> dict[str, dict[str, Scores]]:
        found: dict[str, dict[str, Scores]] = {"reward": {}}
        for when, answers in (("before", run.before), ("after", run.after)):
            rated = await grade_many(judge, [(t, answers[t.id]) for t in tasks], "implicit")
            scores = [g.score for g in rated]
            found["reward"][when] = dict(zip((t.id for t in tasks), scores, strict=True))
            for grader in (judge, Judge(study.chat(other))):
                seen = await evaluate(grader, tasks, answers)
                found.setdefault(grader.chat.model, {})[when] = seen.scores
        return found

    held_out = run_sync(grade())
    return {
        "held_out": held_out,
        "change": {name: _change(found) for name, found in held_out.items()},
    }


def _change(found: dict[str, Scores]) -> dict[str, Any] | None:
    change = paired_difference(found["after"], found["before"])
    return change.to_json() if change else None


def save(study: Study, runs: list[dict[str, Any]]) -> None:
    """``results/arms.json``: the runs, and what they have in common."""
    commit = ["git", "rev-parse", "--short", "HEAD"]
    found = {
        "profile": study.profile.name,
        "policy": study.profile.training.policy,
        "judge": study.profile.judge,
        "steps": study.profile.training.steps,
        "held_out_tasks": len(study.test_tasks),
        "machine": hardware(),
        "versions": versions(),
        "date": max(run["date"] for run in runs) if runs else None,
        "commit": subprocess.run(
            commit, cwd=ROOT, capture_output=True, text=True, check=False
        ).stdout.strip(),
        "runs": runs,
    }
    atomic_write(RESULTS, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
