"""How the cost of judging grows: with criteria, with grades in flight, with rollouts.

    .venv/bin/python -m results.growth                 # what is missing, then the record
    .venv/bin/python -m results.growth --minutes 8     # start no piece later; run it again to go on
    .venv/bin/python -m results.growth --table         # of what is measured, without measuring

*Criteria*: seconds of an explicit grade, read from probabilities, one grade after the other, under
rubrics of several sizes: a task's own criteria first, then those of other tasks. *In flight*:
grades a second when so many are asked for at a time, the same responses each time, under the tasks'
own rubrics. A grade asks for all of its criteria at once; of all requests together at most as many
are on their way as the library's chat sends and its server takes, which the record names.
*Rollouts*: seconds of a GRPO step, taken from ``step_time.json`` as they stand there; what that
record lacks is left out here and named.

Each size of the first two is a piece and has a server of its own, as the library starts it: its
prefix cache is empty, and its memory is not what an earlier piece left behind. One response to
another task is graded before the clock starts. Memory is the resident set of the server at most;
of a step, that of the training process and of the server, each at most, added up. Pieces lie in
``_build/growth`` and are measured again when the code that measures, the machine or a version
changes. A piece during which other processes took more than a tenth of the cores is refused. Each
piece is one run, so there are no intervals. Results: growth.json, drawn by
``rar_lib.book.figures.growth``.
"""

from __future__ import annotations

import argparse
import asyncio
import inspect
import json
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Literal

from rar_lib.book import figures
from rar_lib.book.prose import listed, plain
from rar_lib.core.files import atomic_write, checkout, digest, sources
from rar_lib.core.types import Grade, Task
from rar_lib.data.tasks import draw_pairs, load_mini, load_mini_pairs
from rar_lib.judging.chat import Chat, together
from rar_lib.judging.judge import Judge
from rar_lib.models.catalogue import MODELS
from rar_lib.models.machine import hardware, versions
from rar_lib.models.processor import engine, suited
from rar_lib.models.server import local_chat, serve
from results import engines, step_time
from results.allocator import watched
from results.judges.items import TASKS, resized, sample
from results.judges.run import SIZE_TASKS, SIZES
from results.limit import Watch, differing, number_format

RESULTS = Path(__file__).with_name("growth.json")
PIECES = (checkout() or Path.cwd()) / "_build" / "growth"
IN_FLIGHT = (1, 8, 64)
#: As many as are in flight at most, so that this many really are: both of each pair.
RESPONSES = max(IN_FLIGHT)
ROLLOUTS = (8, 32, 128)
#: Share of the cores that others may take.
QUIET = 0.1
#: Rooms that decide what is asked, how it is sent and what answers.
ROOMS = ("core", "judging", "models")
Item = tuple[Task, str]
Row = dict[str, Any]


# --- what is measured ----------------------------------------------------------------------------


@cache
def made_by(model: str) -> Row:
    """What must be equal for pieces to stand beside each other."""
    return {
        "machine": hardware(),
        "cores": len(os.sched_getaffinity(0)),
        "engine": engine(model),
        "number_format": number_format(model),
        "versions": versions(),
    }


@dataclass(frozen=True)
class Piece:
    """Explicit grades of some responses by one server.

    Attributes:
        what: what ``size`` counts.
        items: what is graded, one more for the warm-up.
    """

    model: str
    what: Literal["criteria", "in_flight"]
    size: int
    items: Sequence[Item]
    warm: Item

    @property
    def name(self) -> str:
        return f"{self.what}-{self.size}"

    @property
    def path(self) -> Path:
        return PIECES / f"{self.model}-{self.name}.json"

    @property
    def in_flight(self) -> int:
        """Grades that are asked for at a time."""
        return self.size if self.what == "in_flight" else 1

    @property
    def verdicts(self) -> int:
        """That are asked for in all."""
        return sum(len(task.rubric.criteria) for task, _ in (*self.items, self.warm) if task.rubric)

    @property
    def key(self) -> str:
        """Changes with anything that can change the outcome; what is said of it can't."""
        asked = [
            [task.model_dump(mode="json"), response] for task, response in (*self.items, self.warm)
        ]
        code = [inspect.getsource(of) for of in (measure, timed, graded)]
        of = [self.model, MODELS[self.model].identity, self.what, self.size]
        return digest([of, asked, code, made_by(self.model), sources(*ROOMS)])[:16]

    def result(self) -> Row | None:
        """What was measured, if it was and is still valid."""
        if not self.path.exists():
            return None
        found: Row = json.loads(self.path.read_text(encoding="utf-8"))
        return found if found["key"] == self.key else None


def pieces(model: str) -> list[Piece]:
    """All of them, in the order in which they are measured: small ones first."""
    tasks, pairs = sample("test")
    other = tasks[TASKS]
    warm = pairs[other.id].preferred
    found = []
    for size in SIZES:
        items = [
            (resized(task, tasks, size), pairs[task.id].preferred) for task in tasks[:SIZE_TASKS]
        ]
        found.append(Piece(model, "criteria", size, items, (resized(other, tasks, size), warm)))
    items = responses(other.id)
    return found + [Piece(model, "in_flight", size, items, (other, warm)) for size in IN_FLIGHT]


def responses(but: str) -> list[Item]:
    """Both responses of pairs of the test split, by the draw of the judges' comparison.

    Args:
        but: the task whose response warms the server up.
    """
    tasks = {task.id: task for task in load_mini("test")}
    # One pair a task as long as there are tasks; one more is drawn, to be left out.
    drawn = draw_pairs(load_mini_pairs("test"), RESPONSES // 2 + 1, list(tasks.values()))
    kept = [pair for pair in drawn if pair.task_id != but][: RESPONSES // 2]
    both = [(tasks[pair.task_id], pair) for pair in kept]
    return [(task, text) for task, pair in both for text in (pair.preferred, pair.rejected)]


async def graded(judge: Judge, items: Sequence[Item], in_flight: int) -> list[tuple[Grade, float]]:
    """Explicit grades, so many at a time, each with its seconds."""
    gate = asyncio.Semaphore(in_flight)

    async def one(task: Task, response: str) -> tuple[Grade, float]:
        async with gate:
            begin = time.perf_counter()
            grade = await judge.grade(task, response, "explicit")
            return grade, time.perf_counter() - begin

    return await together(one(task, response) for task, response in items)


async def timed(piece: Piece, chat: Chat, group: int) -> Row:
    """The grades of a piece after its warm-up, on connections that are open.

    Args:
        group: the server's process group.
    """
    judge = Judge(chat, reading="probability")
    await graded(judge, [piece.warm], 1)
    watch = Watch(group)
    with watched() as memory:
        begin = time.perf_counter()
        found = await graded(judge, piece.items, piece.in_flight)
        seconds = time.perf_counter() - begin
    verdicts = [verdict for grade, _ in found for verdict in grade.verdicts]
    uses = [grade.usage for grade, _ in found]
    read = sum(use.prompt_tokens - use.cached_tokens for use in uses)
    return {
        "grades": len(found),
        "verdicts": len(verdicts),
        "unscored": sum(verdict.met is None for verdict in verdicts),
        "seconds": seconds,
        "each": [took for _, took in found],
        "tokens_computed": read + sum(use.completion_tokens for use in uses),
        "memory_gb": max(memory),
        "other_load": watch.other_load(),
        "requests_at_once": chat.at_once,
    }


def measure(piece: Piece) -> Row:
    """One piece, on a server of its own.

    Raises:
        SystemExit: another process has such a server, whose memory and prefixes are not ours.
    """
    begin = time.perf_counter()
    with serve(piece.model) as endpoint, local_chat(piece.model) as chat:
        if not endpoint.owned:
            raise SystemExit(
                f"another process serves {piece.model} (process {endpoint.pid}), with prefixes "
                "and memory of its own: wait for it or end it"
            )
        start = time.perf_counter() - begin
        found = asyncio.run(timed(piece, chat, endpoint.pid or 0))
    date = datetime.now(UTC).date().isoformat()
    return found | {"start_s": start, "date": date, "made_by": made_by(piece.model)}


# --- how long it takes ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Pace:
    """Seconds until a server is up, and verdicts a second."""

    start: float
    verdicts_per_s: float

    def seconds(self, todo: Sequence[Piece]) -> float:
        """Of so many pieces, roughly: a verdict is taken for as long as any other."""
        return sum(self.start + piece.verdicts / self.verdicts_per_s for piece in todo)


def pace(done: Sequence[Row], known: Sequence[Row], model: str) -> Pace | None:
    """From the pieces that are done, else from the record of engines; ``None`` without either.

    Args:
        known: rows of ``engines.json``, newest last.
    """
    if done:
        verdicts = sum(row["verdicts"] for row in done)
        seconds = sum(row["seconds"] for row in done)
        return Pace(statistics.fmean(row["start_s"] for row in done), verdicts / seconds)
    here = (model, number_format(model), made_by(model)["cores"])
    for row in reversed(known):
        if (row["model"], row["number format of vllm"], row["cores"]) == here:
            of = row["engines"][engine(model)]
            return Pace(of["start and first pair, s"], of["verdicts_per_s"])
    return None


def forecast(todo: Sequence[Piece], at: Pace | None) -> str:
    """What is to do, and about how long it takes."""
    verdicts = sum(piece.verdicts for piece in todo)
    long = "how long is not known yet" if at is None else f"about {at.seconds(todo) / 60:.1f} min"
    return f"{len(todo)} pieces to do, {verdicts:,} verdicts, {long}"


def measure_missing(every: Sequence[Piece], minutes: float) -> None:
    """Measure what is missing; nothing is begun after so many minutes.

    Raises:
        SystemExit: other processes were at work.
    """
    begin = time.monotonic()
    todo = [piece for piece in every if piece.result() is None]
    known = json.loads(engines.RESULTS.read_text()) if engines.RESULTS.exists() else []
    for number, piece in enumerate(todo):
        done = [row for one in every if (row := one.result())]
        print(forecast(todo[number:], pace(done, known, piece.model)), flush=True)
        if time.monotonic() - begin > 60 * minutes:
            print("no time left; the same command goes on")
            return
        print(f"{piece.name}, {len(piece.items)} grades: ", end="", flush=True)
        found = measure(piece)
        print(
            f"{found['seconds']:.1f} s, {found['memory_gb']:.1f} GB, {found['unscored']} of "
            f"{found['verdicts']} verdicts unscored, other processes {found['other_load']:.0%}",
            flush=True,
        )
        if found["other_load"] > QUIET:
            raise SystemExit(
                f"other processes took {found['other_load']:.0%} of the cores during {piece.name}, "
                "which is not kept: end them and run it again"
            )
        text = json.dumps(found | {"key": piece.key}, indent=1)
        atomic_write(piece.path, text + "\n")


# --- the record ----------------------------------------------------------------------------------

#: Of a piece, what its row in the record holds beside its size and its cost.
KEPT = ("grades", "verdicts", "unscored", "seconds", "tokens_computed", "memory_gb", "other_load")


def row_of(piece: Piece, found: Mapping[str, Any]) -> Row:
    """A piece as a row of the record."""
    kept = {name: found[name] for name in KEPT}
    if piece.what == "in_flight":
        return {"in_flight": piece.size, "grades_per_s": found["grades"] / found["seconds"]} | kept
    cost = {"seconds_per_grade": found["seconds"] / found["grades"]}
    return {"criteria": piece.size} | cost | kept | {"each": found["each"]}


def steps(found: Mapping[str, Any] | None) -> Row:
    """The part of ``step_time.json`` that is shown here, and what it lacks.

    Args:
        found: that record, if there is one.
    """
    if found is None:
        return {"rows": [], "missing": list(ROLLOUTS), "without_memory": []}
    seconds = {row["rollouts"]: row["measured"]["seconds"] for row in found["sizes"]}
    memory = {row["rollouts"]: row.get("memory_gb") for row in found["measured"]}
    held = {n: sum(parts.values()) if parts else None for n, parts in memory.items()}
    there = [n for n in ROLLOUTS if n in seconds]
    return {
        "rows": [
            {"rollouts": n, "seconds_per_step": seconds[n], "memory_gb": held[n]} for n in there
        ],
        "missing": [n for n in ROLLOUTS if n not in seconds],
        "without_memory": [n for n in there if held[n] is None],
        **{name: found[name] for name in ("policy", "judge", "machine", "versions", "date")},
    }


def slope(points: Sequence[tuple[float, float]]) -> float | None:
    """By which power of x y grows: the line of least squares through both logarithms.

    1 is growth in proportion, 0 none; ``None`` for fewer than two sizes.
    """
    if len({x for x, _ in points}) < 2:
        return None
    import numpy as np

    x, y = np.log(np.array(points)).T
    return float(np.polyfit(x, y, 1)[0])


def points(name: str, record: Mapping[str, Any]) -> list[tuple[float, float]]:
    """Sizes and costs of what grows."""
    _, cost, _ = figures.GROWS[name]
    return [(row[name], row[cost]) for row in record[name]["rows"]]


def summarise(done: Sequence[tuple[Piece, Row]], stepped: Mapping[str, Any] | None) -> Row:
    """The record, from the pieces that are there and the record of steps.

    Raises:
        ValueError: there is no piece.
    """
    if not done:
        raise ValueError("no piece has been measured: there is nothing to make a record of")
    piece, first = done[0]
    record: Row = {
        "model": piece.model,
        "arm": "explicit",
        "reading": "probability",
        "requests_at_once": first["requests_at_once"],
        **first["made_by"],
        "date": max(found["date"] for _, found in done),
        "criteria": {"rows": [row_of(p, found) for p, found in done if p.what == "criteria"]},
        "in_flight": {"rows": [row_of(p, found) for p, found in done if p.what == "in_flight"]},
        "rollouts": steps(stepped),
    }
    for name in figures.GROWS:
        record[name]["slope"] = slope(points(name, record))
    return record


def seen(name: str, record: Mapping[str, Any]) -> str:
    """What the largest size costs beside the smallest, in one line."""
    rows = points(name, record)
    if len(rows) < 2:
        return figures.NOT_YET if not rows else plain("only {x} is measured", x=short(rows[0][0]))
    x, y = rows[0]
    last_x, last_y = rows[-1]
    size, _, unit = figures.GROWS[name]
    return plain(
        "{times} times the {size}, {factor} times the {unit}",
        times=short(last_x / x),
        size=size,
        factor=short(last_y / y),
        unit=unit,
    )


def short(value: float) -> str:
    """A number to two figures or to whole ones; no ending where it says nothing."""
    return f"{value:.0f}" if value >= 10 or value == int(value) else f"{value:.2g}"


def missing(record: Mapping[str, Any]) -> list[str]:
    """What the steps lack, and whether they are of another machine; a sentence each."""
    found = record["rollouts"]
    said = []
    for name, what in (("missing", "no step"), ("without_memory", "no memory of steps")):
        if found[name]:
            sizes = listed([str(n) for n in found[name]])
            said.append(f"There is {what} of {sizes} rollouts.")
    if apart := differs(record):
        said.append(f"Grades and steps were not made in one way: {apart}.")
    return said


def differs(record: Mapping[str, Any]) -> str:
    """In what machine or versions of grades and steps differ; empty where they do not."""
    found = record["rollouts"]
    if not found["rows"]:
        return ""
    made = ("machine", "versions")
    return differing(
        {
            "grades": {name: record[name] for name in made},
            "steps": {name: found[name] for name in made},
        }
    )


def render(record: Mapping[str, Any]) -> str:
    """The table as Markdown, with what is seen in it and what is missing."""
    lines = ["| size | cost | GB | unscored | other processes |", "|---|---:|---:|---:|---:|"]
    for name in figures.GROWS:
        lines += [table_row(name, row) for row in record[name]["rows"]]
    lines.append("")
    for name, (size, *_) in figures.GROWS.items():
        of = record[name]["slope"]
        steep = "" if of is None else f" (slope {of:.2f}; 1 is in proportion)"
        lines.append(f"{size}: {seen(name, record)}{steep}.")
    lines += missing(record)
    if any(record["rollouts"][name] for name in ("missing", "without_memory")):
        lines.append("What the steps lack is measured by results.step_time.")
    lines.append(
        f"{record['model']} by {record['engine']} in {record['number_format']}, at most "
        f"{record['requests_at_once']} requests at once; {record['machine']}; {record['date']}"
    )
    return "\n".join(lines)


def table_row(name: str, row: Mapping[str, Any]) -> str:
    """One size; what was not recorded of it is a dash."""
    size, cost, unit = figures.GROWS[name]
    cells = [f"{size}: {row[name]}", f"{row[cost]:.2f} {unit}"]
    cells.append("–" if row["memory_gb"] is None else f"{row['memory_gb']:.1f}")
    cells.append(f"{row['unscored']} of {row['verdicts']}" if "verdicts" in row else "–")
    cells.append(f"{row['other_load']:.0%}" if "other_load" in row else "–")
    return f"| {' | '.join(cells)} |"


# --- the command ---------------------------------------------------------------------------------


def report(every: Sequence[Piece]) -> None:
    """Show the table of what is there; write the record if no piece is missing.

    Raises:
        SystemExit: nothing is there.
    """
    found = [(piece, piece.result()) for piece in every]
    done = [(piece, row) for piece, row in found if row]
    if not done:
        raise SystemExit("nothing has been measured yet on this machine: run without --table")
    path = step_time.RESULTS
    record = summarise(done, json.loads(path.read_text()) if path.exists() else None)
    print(render(record))
    if left := [piece.name for piece, row in found if row is None]:
        print(f"\nNo record is written, {', '.join(left)} missing: run again to go on.")
        return
    atomic_write(RESULTS, json.dumps(record, indent=1) + "\n")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is missing, or only show what is there."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--model", default="qwen-1.5b", choices=sorted(MODELS))
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no piece later")
    parser.add_argument("--table", action="store_true", help="measure nothing")
    options = parser.parse_args(arguments)
    every = pieces(suited(options.model))
    if not options.table:
        measure_missing(every, options.minutes)
    report(every)


if __name__ == "__main__":
    main()
