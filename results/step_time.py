"""How well the simulation of a GRPO step predicts steps of other sizes on this machine.

    python -m results.step_time             # measures what is missing, then the table
    python -m results.step_time --list      # what is measured
    python -m results.step_time --table     # of what is measured, without measuring

Steps of five sizes are timed, each after one step that is not counted: 135M as policy and as judge,
groups of eight, one rating a response. :func:`rar_lib.models.step_time.fitted` is given the
smallest size and one four times as large; the size between them and those twice and four times as
large as the larger are predicted, from the lengths that were written, and compared by the seconds
of the whole step. The goal, chosen beforehand, is an error of at most 15 % in each of them.

A step's ``update`` is all that is neither generation nor judging, its checkpoint included. Beside
the seconds stands the most memory that the training process and the server held. A process keeps
what it once took, so the sizes are measured from small to large. What is measured lies in
``_build/step_time``, a file a size, and is taken up again by the same machine with the same
packages. A size during which other processes took more than a tenth of the cores is refused: its
time is theirs, too. Results: step_time.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from rar_lib.book.profiles import load
from rar_lib.core.files import atomic_write, checkout
from rar_lib.core.prompts import policy_messages
from rar_lib.core.types import Task
from rar_lib.judging.chat import Chat
from rar_lib.judging.cost import TEMPLATE, tokens
from rar_lib.judging.judge import Judge
from rar_lib.models.machine import hardware, versions
from rar_lib.models.server import local_chat, serve
from rar_lib.models.step_time import Load, Measured, Stage, Step, fitted, simulate
from rar_lib.training.settings import Settings
from rar_lib.training.train import train
from results.allocator import watched
from results.grpo_step import Clock, tasks_of
from results.limit import Watch, peak_gb

RESULTS = Path(__file__).with_name("step_time.json")
PIECES = (checkout() or Path.cwd()) / "_build" / "step_time"
JUDGE = "smollm2-135m"
GROUP = 8
#: Rollouts a step, in the order in which they are measured, and how many steps count.
SIZES = {8: 3, 16: 3, 32: 3, 64: 2, 128: 2}
FITTED_ON = (8, 32)
WARM_UP = 1
GOAL = 0.15
#: Share of the cores that others may take.
QUIET = 0.1
Row = dict[str, Any]


def settings(rollouts: int) -> Settings:
    """Those of the smoke profile, with as many prompts as a step of this size has groups."""
    size = {"rollouts": GROUP, "prompts_per_step": rollouts // GROUP}
    steps = WARM_UP + SIZES[rollouts]
    return load("smoke").training.model_copy(update=size | {"steps": steps})


@cache
def made_by() -> Row:
    """What must be equal for measured sizes to stand beside each other."""
    return {"machine": hardware(), "cores": len(os.sched_getaffinity(0)), "versions": versions()}


def piece(rollouts: int) -> Path:
    """Where a size is kept."""
    return PIECES / f"{rollouts}.json"


def kept() -> dict[int, Row]:
    """The sizes that this machine has measured."""
    found = {n: json.loads(piece(n).read_text()) for n in SIZES if piece(n).exists()}
    return {n: row for n, row in found.items() if row["made_by"] == made_by()}


def measure(rollouts: int, chat: Chat, group: int) -> Row:
    """The steps of one size, in seconds by stage.

    Args:
        group: the server's process group.
    """
    training = settings(rollouts)
    clock = Clock()
    watch = Watch(group)
    tasks = tasks_of(training)
    with tempfile.TemporaryDirectory() as out, watched() as server:
        run = train(
            "implicit",
            settings=training,
            tasks=tasks,
            judge=Judge(chat),
            out=Path(out),
            callbacks=[clock.callback()],
        )
    steps = []
    for n, row in enumerate(run.curve()):
        total = clock.ends[n + 1] - clock.ends[n]
        stages = {name: row[f"seconds/{name}"] for name in ("generate", "judge")}
        stages["update"] = total - sum(stages.values())
        steps.append({"response": row["length"], "unscored": row["unscored"], "stages": stages})
    return {
        "rollouts": rollouts,
        "prompt": prompt_tokens(tasks),
        "warm_up": steps[:WARM_UP],
        "steps": steps[WARM_UP:],
        "other_load": watch.other_load(),
        "memory_gb": {"training": peak_gb(), "server": max(server)},
        "backend": run.backend,
        "date": datetime.now(UTC).date().isoformat(),
        "made_by": made_by(),
    }


def prompt_tokens(tasks: Sequence[Task]) -> float:
    """Mean tokens of what the policy is asked, roughly."""
    return statistics.fmean(map(prompt_size, tasks))


def prompt_size(task: Task) -> int:
    """Tokens of what the policy is asked of one task, roughly."""
    return sum(tokens(message["content"]) + TEMPLATE for message in policy_messages(task))


def steps_of(row: Mapping[str, Any]) -> list[Measured]:
    """The steps of a size that count."""
    return [
        Measured(Load(row["rollouts"], step["response"], prompt=row["prompt"]), step["stages"])
        for step in row["steps"]
    ]


def predicted(found: Mapping[int, Mapping[str, Any]]) -> Row:
    """The machine that the two sizes describe, and the other sizes by it, beside their own time.

    A size's own time is the median of its steps, stage by stage and whole.
    """
    machine = fitted([step for n in FITTED_ON for step in steps_of(found[n])])
    rows: list[Row] = []
    for n in sorted(found):
        steps = steps_of(found[n])
        simulated = [simulate(step.load, machine) for step in steps]
        own = statistics.median(step.seconds for step in steps)
        by_model = statistics.median(step.seconds for step in simulated)
        rows.append(
            {
                "rollouts": n,
                "fitted": n in FITTED_ON,
                "measured": medians([step.stages for step in steps]) | {"seconds": own},
                "predicted": medians([stages_of(step) for step in simulated])
                | {"seconds": by_model},
                "error": by_model / own - 1,
            }
        )
    others = [abs(row["error"]) for row in rows if not row["fitted"]]
    return {
        "fixed": {
            "generate": machine.policy.fixed,
            "judge": machine.judge.fixed,
            "update": machine.update_fixed,
        },
        "each": {
            "token written": 1 / machine.policy.tokens_per_s,
            "call": machine.judge.seconds,
            "token of the update": machine.update_token,
        },
        "sizes": rows,
        "largest_error": max(others, default=None),
        "within_goal": bool(others) and max(others) <= GOAL,
    }


def stages_of(step: Step) -> dict[Stage, float]:
    """Seconds by stage."""
    return {"generate": step.generate, "judge": step.judge, "update": step.update}


def medians(rows: Sequence[Mapping[Stage, float]]) -> dict[str, float]:
    """Of each stage."""
    found = {}
    for name in rows[0]:
        found[str(name)] = statistics.median(row[name] for row in rows)
    return found


def table() -> Row:
    """Write the record and show it.

    Raises:
        SystemExit: a size is missing.
    """
    found = kept()
    if missing := [n for n in SIZES if n not in found]:
        raise SystemExit(f"not measured on this machine: {missing} rollouts; see --list")
    record = {
        "policy": settings(GROUP).policy,
        "judge": JUDGE,
        "goal": GOAL,
        "fitted_on": list(FITTED_ON),
        **predicted(found),
        "measured": [found[n] for n in sorted(found)],
        **made_by(),
        "date": datetime.now(UTC).date().isoformat(),
    }
    atomic_write(RESULTS, json.dumps(record, indent=1) + "\n")
    for row in record["sizes"]:
        kind = "fitted" if row["fitted"] else "predicted"
        print(
            f"{row['rollouts']:3d} rollouts, {kind:9s}: {row['measured']['seconds']:6.1f} s "
            f"measured, {row['predicted']['seconds']:6.1f} s simulated, {row['error']:+.0%}"
        )
    return record


def measure_missing(minutes: float) -> None:
    """Measure what is missing; nothing is begun after so many minutes.

    Raises:
        SystemExit: other processes were at work.
    """
    begin = time.monotonic()
    done = kept()
    todo = [n for n in SIZES if n not in done]
    if not todo:
        return
    with serve(JUDGE) as endpoint, local_chat(JUDGE) as chat:
        for n in todo:
            if time.monotonic() - begin > 60 * minutes:
                print(f"{n} rollouts: no time left; the same command goes on")
                return
            found = measure(n, chat, endpoint.pid or 0)
            whole = [sum(step["stages"].values()) for step in found["steps"]]
            print(f"{n} rollouts: {statistics.median(whole):.1f} s a step", flush=True)
            if found["other_load"] > QUIET:
                raise SystemExit(
                    f"other processes took {found['other_load']:.0%} of the cores while {n} "
                    "rollouts were measured, which is not kept: end them and run it again"
                )
            atomic_write(piece(n), json.dumps(found, indent=1) + "\n")


def main() -> None:
    """Measure, list, or only make the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if options.list:
        done = kept()
        for n in sorted(SIZES):
            print(f"{n:3d} rollouts: {'measured ' + done[n]['date'] if n in done else 'missing'}")
        return
    if not options.table:
        measure_missing(options.minutes)
    table()


if __name__ == "__main__":
    main()
