"""Rubrics that a model wrote for RaR-Mini, with and without the reference answer in view.

    .venv/bin/python -m results.rubrics.write --list           # how many are there
    .venv/bin/python -m results.rubrics.write --minutes 30     # go on for so long; run it again

One rubric a task and kind, as ``synthetic_ref.jsonl`` and ``synthetic_noref.jsonl`` beside this
file. A task whose rubric was asked for and is none keeps a line with the reason. A line holds the
digest of its prompt, so that what another prompt asked for is written again. ``alignment/run.py``
grades pairs under them, ``study/run.py`` trains on them. Tasks with test pairs come first; calls go
through a cassette in _build/, so what was cut off is continued by the next run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from rar_lib.core.files import atomic_write, checkout, digest
from rar_lib.core.types import Rubric, Task
from rar_lib.data.jsonl import json_rows
from rar_lib.data.tasks import load_mini, load_mini_pairs
from rar_lib.judging.cassette import Cassette
from rar_lib.judging.chat import Chat
from rar_lib.models.server import local_chat
from rar_lib.rubrics.synthesis import synthesis_prompt, synthesize_many

HERE = Path(__file__).parent
ROOT = checkout() or Path.cwd()
SOURCES = ("synthetic_ref", "synthetic_noref")
WRITER = "qwen-1.5b"
#: What models of this size can fill without repeating themselves (profile laptop).
RUBRIC_SIZE = (4, 6)
#: Tasks that are asked for together, before what they gave is kept.
_AT_ONCE = 8


def path(source: str) -> Path:
    """The file of one kind."""
    return HERE / f"{source}.jsonl"


def mark(task: Task, source: str) -> str:
    """Identity of what is asked for a task."""
    with_reference = source == "synthetic_ref"
    prompt = synthesis_prompt(task, with_reference=with_reference, size=RUBRIC_SIZE)
    return digest([prompt, WRITER])[:16]


def rows(source: str) -> dict[str, dict[str, Any]]:
    """Task id -> its line, whatever prompt made it."""
    if not path(source).exists():
        return {}
    lines = json_rows(path(source).read_bytes(), path(source).name)
    return {row["task"]: row for _, row in lines}


def rubrics(source: str) -> dict[str, Rubric]:
    """Task id -> its rubric, of today's prompts; tasks without a valid one are left out."""
    known = rows(source)
    return {
        task.id: Rubric.model_validate(row["rubric"])
        for task in load_mini("all")
        if (row := known.get(task.id))
        and row["of"] == mark(task, source)
        and row["rubric"] is not None
    }


def missing(source: str, tasks: Sequence[Task]) -> list[Task]:
    """Those that were not asked for yet."""
    known = rows(source)
    return [task for task in tasks if known.get(task.id, {}).get("of") != mark(task, source)]


def in_order() -> list[Task]:
    """All tasks, those with test pairs first."""
    paired = {pair.task_id for pair in load_mini_pairs("test")}
    return sorted(load_mini("all"), key=lambda task: task.id not in paired)


async def write(source: str, tasks: Sequence[Task], chat: Chat) -> None:
    """Ask for what is missing and keep it."""
    wanted = missing(source, tasks)
    for at in range(0, len(wanted), _AT_ONCE):
        part = wanted[at : at + _AT_ONCE]
        found = await synthesize_many(
            part,
            chat,
            with_reference=source == "synthetic_ref",
            size=RUBRIC_SIZE,
            progress=f"{source} {at + 1} to {at + len(part)} of {len(wanted)}",
        )
        known = rows(source)
        for task, one in zip(part, found, strict=True):
            known[task.id] = {
                "task": task.id,
                "of": mark(task, source),
                "rubric": one.rubric.model_dump(mode="json") if one.rubric else None,
                "reason": one.reason,
            }
        kept = [known[task.id] for task in load_mini("all") if task.id in known]
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept)
        atomic_write(path(source), text)


async def run() -> None:
    """Write everything that is missing."""
    with (
        closing(Cassette(ROOT / "_build" / "rubrics.sqlite", "record")) as cassette,
        local_chat(WRITER, cassette=cassette) as chat,
    ):
        for source in SOURCES:
            await write(source, in_order(), chat)


def main() -> None:
    """Write, or say what is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=600.0)
    parser.add_argument("--list", action="store_true", help="only say what is there")
    options = parser.parse_args()
    for source in SOURCES:
        todo = len(missing(source, load_mini("all")))
        print(f"{source}: {len(rubrics(source))} rubrics, {todo} tasks to do")
    if options.list:
        return
    try:
        asyncio.run(asyncio.wait_for(run(), options.minutes * 60))
    except TimeoutError:
        print("the time is over: run again to continue")


if __name__ == "__main__":
    main()
