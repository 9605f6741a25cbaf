"""What the judge server's memory allocator costs and gains: speed and memory side by side.

    .venv/bin/python -m results.allocator --model qwen-0.5b

Three servers one after the other, alike but for the allocator: *kept* (the C library gives nothing
back), *given back* (the C library as it comes), *mimalloc* (preloaded). Each
answers the same verdicts in two passes of different pairs, so that growth shows, and is stopped.
Memory is the resident set of the server and its children, at most. Beside the speeds stands whether
the answers stayed the same: how far each agrees with the gold labels, and how far the probabilities
under *mimalloc* lie apart from those under *kept*. Written to allocator.json with machine and date;
runs of several machines stay beside each other.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import psutil

from rar_lib.core.files import atomic_write
from rar_lib.core.types import Pair
from rar_lib.data.tasks import draw_pairs, load_mini, load_mini_pairs
from rar_lib.evaluation.alignment import PairGrades, criterion_agreement, grade_pairs
from rar_lib.judging.judge import Judge
from rar_lib.models import vllm_args
from rar_lib.models.machine import hardware, versions
from rar_lib.models.server import local_chat, serve_plan
from rar_lib.models.vllm_args import Plan
from results.limit import number_format

RESULTS = Path(__file__).with_name("allocator.json")
KEPT = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "8000000000"}


def allocators() -> dict[str, dict[str, str]]:
    """Name -> variables of a server's process."""
    return {"kept": KEPT, "given back": {}, "mimalloc": preloaded()}


def preloaded() -> dict[str, str]:
    """What the library uses where the package is there."""
    return vllm_args.allocator()


@contextmanager
def watched() -> Iterator[list[float]]:
    """GB that the children of this process hold, every quarter of a second and at the end."""
    seen: list[float] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.25):
            seen.append(resident_gb())

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()
        seen.append(resident_gb())


def resident_gb() -> float:
    """Resident memory of all processes below this one."""
    total = 0
    for process in psutil.Process().children(recursive=True):
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:  # it ended between the two calls
            continue
    return total / 1e9


async def one_pass(judge: Judge, pairs: list[Pair]) -> tuple[dict[str, float], PairGrades]:
    """Grade criterion by criterion, then by one rating: the speed, and the single criteria."""
    tasks = load_mini("all")
    begin = time.perf_counter()
    found = await grade_pairs(judge, tasks, pairs, "explicit")
    seconds = time.perf_counter() - begin
    await grade_pairs(judge, tasks, pairs, "implicit")
    verdicts = sum(len(grade.verdicts) for grade in (*found.preferred, *found.rejected))
    return {"verdicts": verdicts, "verdicts_per_s": verdicts / seconds}, found


def together(one: PairGrades, other: PairGrades) -> PairGrades:
    """Grades of two passes as one."""
    return replace(
        one,
        pairs=(*one.pairs, *other.pairs),
        preferred=(*one.preferred, *other.preferred),
        rejected=(*one.rejected, *other.rejected),
    )


def apart(one: PairGrades, other: PairGrades) -> dict[str, float]:
    """How far two servers' probabilities of the same verdicts lie apart, and how many both gave."""
    both = [
        (first.probability, second.probability)
        for mine, yours in zip(_grades(one), _grades(other), strict=True)
        for first, second in zip(mine.verdicts, yours.verdicts, strict=True)
        if first.probability is not None and second.probability is not None
    ]
    gaps = [abs(first - second) for first, second in both]
    same = [(first > 0.5) == (second > 0.5) for first, second in both]
    return {"n": len(both), "mean": fmean(gaps), "most": max(gaps), "same verdict": fmean(same)}


def _grades(found: PairGrades) -> Sequence[Any]:
    return (*found.preferred, *found.rejected)


def under(todo: Plan, variables: dict[str, str]) -> Plan:
    """The same server with these variables in the place of the library's own allocator."""
    own = vllm_args.allocator()
    others = {name: value for name, value in todo.env.items() if name not in own}
    return replace(todo, env=others | variables)


async def measure(
    model: str, variables: dict[str, str], pairs: list[Pair]
) -> tuple[dict[str, Any], PairGrades]:
    """One allocator: a short pass that warms the server up, then two that count."""
    half = len(pairs) // 2
    todo = under(vllm_args.plan(model), variables)
    # A chat starts a server of its own with its first call: this one asks the one that is up.
    with serve_plan(todo) as endpoint, local_chat(model, engine="vllm") as usual:
        judge = Judge(replace(usual, server=endpoint))
        await one_pass(judge, load_mini_pairs("val")[:1])
        passes = []
        graded = []
        for part in (pairs[:half], pairs[half:]):
            with watched() as memory:
                speed, found = await one_pass(judge, part)
            passes.append(speed | {"memory_gb": max(memory)})
            graded.append(found)
    whole = together(*graded)
    return {"passes": passes, "agreement": criterion_agreement(whole).to_json()}, whole


def main() -> None:
    """Measure and add to the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="qwen-0.5b")
    parser.add_argument("--pairs", type=int, default=8)
    options = parser.parse_args()
    pairs = draw_pairs(load_mini_pairs("test"), options.pairs, load_mini("all"))
    found = {}
    graded = {}
    for name, variables in allocators().items():
        found[name], graded[name] = asyncio.run(measure(options.model, variables, pairs))
        print(name, json.dumps(found[name]), flush=True)
    kept, mi = (found[name]["passes"][-1] for name in ("kept", "mimalloc"))
    row = {
        "model": options.model,
        "number format": number_format(options.model),
        "cores": len(os.sched_getaffinity(0)),
        "machine": hardware(),
        "versions": versions(),
        "date": datetime.date.today().isoformat(),
        "allocators": found,
        "apart": apart(graded["mimalloc"], graded["kept"]),
        "mimalloc over kept": {key: mi[key] / kept[key] for key in ("verdicts_per_s", "memory_gb")},
    }
    rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    atomic_write(RESULTS, json.dumps([*rows, row], indent=1) + "\n")


if __name__ == "__main__":
    main()
