"""What serves a judge on this processor: vLLM and llama.cpp side by side, and whether they agree.

    .venv/bin/python -m results.engines --model qwen-1.5b

One server after the other, with the same weights and the same questions: single criteria of test
pairs, then one rating of each response, after one pair that warms the server up. Speed, memory (the
resident set of the server and its children, at most), agreement with the gold labels, and how far
the two engines' probabilities lie apart. Written to engines.json with machine and date; runs of
several machines and models stay beside each other.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import os
import time
from pathlib import Path
from typing import Any, get_args

from rar_lib.core.files import atomic_write
from rar_lib.core.types import Pair
from rar_lib.data.tasks import draw_pairs, load_mini, load_mini_pairs
from rar_lib.evaluation.alignment import PairGrades, criterion_agreement, grade_pairs
from rar_lib.judging.judge import Judge
from rar_lib.models.machine import hardware, versions
from rar_lib.models.processor import Engine, cpu_dtype
from rar_lib.models.server import local_chat
from results.allocator import apart, watched

RESULTS = Path(__file__).with_name("engines.json")
ENGINES: tuple[Engine, ...] = get_args(Engine)


async def measure(
    model: str, engine: Engine, pairs: list[Pair]
) -> tuple[dict[str, Any], PairGrades]:
    """One engine: what it took, and the grades of single criteria."""
    tasks = load_mini("all")
    with local_chat(model, engine=engine) as chat:
        judge = Judge(chat)
        begin = time.perf_counter()
        await grade_pairs(judge, tasks, load_mini_pairs("val")[:1], "explicit")
        started = time.perf_counter()
        with watched() as memory:
            found = await grade_pairs(judge, tasks, pairs, "explicit")
            verdicts = time.perf_counter()
            await grade_pairs(judge, tasks, pairs, "implicit")
            ratings = time.perf_counter()
    given = sum(len(grade.verdicts) for grade in (*found.preferred, *found.rejected))
    return {
        "start and first pair, s": started - begin,
        "verdicts": given,
        "verdicts_per_s": given / (verdicts - started),
        "ratings_per_s": 2 * len(pairs) / (ratings - verdicts),
        "memory_gb": max(memory),
        "agreement": criterion_agreement(found).to_json(),
    }, found


def main() -> None:
    """Measure and add to the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="qwen-1.5b")
    parser.add_argument("--pairs", type=int, default=8)
    options = parser.parse_args()
    pairs = draw_pairs(load_mini_pairs("test"), options.pairs, load_mini("all"))
    rows = {}
    grades = []
    for name in ENGINES:
        rows[name], found = asyncio.run(measure(options.model, name, pairs))
        grades.append(found)
        print(name, json.dumps(rows[name]), flush=True)
    row = {
        "model": options.model,
        "number format of vllm": cpu_dtype(),
        "pairs": len(pairs),
        "cores": len(os.sched_getaffinity(0)),
        "machine": hardware(),
        "versions": versions(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "engines": rows,
        "apart": apart(*grades),
    }
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    atomic_write(RESULTS, json.dumps([*known, row], indent=1) + "\n")


if __name__ == "__main__":
    main()
