"""Judge alignment: made to grade every test pair, by three judges, in all arms.

Under rubrics that a model wrote, too; ``results/README.md`` says what of all this is recorded.

    .venv/bin/python -m results.alignment.run --list          # the pieces, and which are complete
    .venv/bin/python -m results.alignment.run --minutes 30    # go on for so long; run it again
    .venv/bin/python -m results.alignment.run --judges qwen-0.5b --arms explicit implicit

A piece is one judge in one arm: the grades of both responses of all 92 pairs (or of the val pairs,
on which calibrations are fitted), each response graded alone. It lies beside this file as JSON
lines, its first line says what made it, and it is measured again when the code that decides what is
asked, which calls are made or how a reply is read does another thing; comments do not count. Calls
go through a cassette in _build/, so a piece that was cut off is continued by the next run. Speeds
are not recorded here, so other work beside it does no harm.

Declared before the first run: judges, arms, pairs (all there are), and the order of the pieces. The
synthetic rubrics are to be written by the largest judge for the 48 tasks of the pairs, once with
and once without the reference; all judges are to grade by them in the arm implicit, as the paper
does.
``table.py`` computes the findings.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rar_lib.core.files import atomic_write, checkout, code_hash, digest
from rar_lib.core.types import Arm, Grade, Pair, Task
from rar_lib.data.jsonl import json_rows
from rar_lib.data.tasks import load_mini, load_mini_pairs
from rar_lib.evaluation.alignment import grade_pairs
from rar_lib.judging.cassette import Cassette
from rar_lib.judging.chat import Chat
from rar_lib.judging.judge import Judge
from rar_lib.judging.messages import prompts_of
from rar_lib.judging.reading import LEAST_SHARE, RATING_TOKENS, VERDICT_TOKENS
from rar_lib.models.catalogue import MODELS
from rar_lib.models.machine import hardware, versions
from rar_lib.models.processor import cpu_dtype
from rar_lib.models.server import local_chat
from results.rubrics import write as rubrics

HERE = Path(__file__).parent
ROOT = checkout() or Path.cwd()
JUDGES = ("qwen-0.5b", "smollm2-135m", "qwen-1.5b")
ARMS: tuple[Arm, ...] = (
    "implicit",
    "direct_likert",
    "explicit",
    "reference_likert",
    "predefined",
)
SOURCES = rubrics.SOURCES
#: The modules that decide which requests are sent and how a reply becomes a number; what is asked
#: is compared as text.
_DECIDE = (
    "core/scoring.py",
    "core/text.py",
    "judging/chat.py",
    "judging/dialect.py",
    "judging/judge.py",
    "judging/reading.py",
    "judging/wire.py",
    "models/vllm_args.py",
)


@dataclass(frozen=True)
class Piece:
    """One judge in one arm on one split, under one kind of rubric."""

    judge: str
    arm: Arm
    split: str = "test"
    source: str = "authored"

    @property
    def name(self) -> str:
        """Name of the piece, and of its file without the ending."""
        parts = [self.judge, self.arm]
        parts += [self.split] if self.split != "test" else []
        return "-".join([*parts, self.source] if self.source != "authored" else parts)

    @property
    def path(self) -> Path:
        return HERE / f"{self.name}.jsonl"


def pieces() -> list[Piece]:
    """All of them, in the order in which they are measured: claims about size come first."""
    found = []
    for judge in JUDGES:
        found += [Piece(judge, arm) for arm in ARMS[:3]]
        found.append(Piece(judge, "explicit", "val"))
    found += [Piece(judge, arm) for judge in JUDGES for arm in ARMS[3:]]
    written = [(source, judge) for source in SOURCES for judge in JUDGES]
    return found + [Piece(judge, "implicit", "test", source) for source, judge in written]


def pairs_of(piece: Piece) -> list[Pair]:
    """All pairs of its split, less those whose task has no synthetic rubric."""
    found = load_mini_pairs("val" if piece.split == "val" else "test")
    known = {task.id for task in tasks_of(piece)}
    return [pair for pair in found if pair.task_id in known]


def tasks_of(piece: Piece) -> list[Task]:
    """The tasks under the piece's rubric.

    Under synthetic rubrics those that have a valid one.
    """
    tasks = load_mini("all")
    if piece.source == "authored":
        return tasks
    written = rubrics.rubrics(piece.source)
    return [
        task.model_copy(update={"rubric": written[task.id]}) for task in tasks if task.id in written
    ]


def mark(piece: Piece) -> str:
    """Identity of what a piece measures: prompts, calls, weights, and how a reply is read.

    The number format, which depends on the processor, stands in the piece's first line instead:
    another processor may go on with the record, one judge's pieces must not be mixed.
    """
    by_id = {task.id: task for task in tasks_of(piece)}
    asked = [
        prompts_of(by_id[pair.task_id], text, piece.arm)
        for pair in pairs_of(piece)
        for text in (pair.preferred, pair.rejected)
    ]
    code = [code_hash(ROOT / "rar_lib" / name) for name in _DECIDE]
    model = MODELS[piece.judge]
    settings = [LEAST_SHARE, VERDICT_TOKENS, RATING_TOKENS, model.led]
    return digest([asked, code, settings, model.identity])[:16]


def header(piece: Piece) -> dict[str, Any]:
    """The first line of a piece's file; empty where there is none."""
    if not piece.path.exists():
        return {}
    with piece.path.open(encoding="utf-8") as lines:
        first: dict[str, Any] = json.loads(lines.readline())
    return first


def is_complete(piece: Piece) -> bool:
    """Whether a piece is there, made of what would be asked and read today."""
    return bool(of := header(piece).get("of")) and of == mark(piece)


def grades(piece: Piece) -> tuple[list[Grade], list[Grade]]:
    """What a finished piece holds: grades of the preferred and of the rejected responses."""
    _, *lines = json_rows(piece.path.read_bytes(), piece.path.name)
    rows = [row for _, row in lines]
    preferred = [Grade.model_validate(row["preferred"]) for row in rows]
    rejected = [Grade.model_validate(row["rejected"]) for row in rows]
    return preferred, rejected


async def measure(piece: Piece, chat: Chat) -> None:
    """Grade a piece and write its file."""
    pairs = pairs_of(piece)
    found = await grade_pairs(Judge(chat), tasks_of(piece), pairs, piece.arm, progress=piece.name)
    both = (*found.preferred, *found.rejected)
    if slow := sum("(timeout_s)" in (grade.reason or "") for grade in both):
        raise SystemExit(
            f"{piece.name}: {slow} grades had no reply in time, which says nothing about the "
            "judge. Run it again: what was answered is kept"
        )
    first = {
        "of": mark(piece),
        "pairs": len(pairs),
        "judge": piece.judge,
        "weights": chat.weights,
        "engine": chat.engine,
        "number format": "4 bits" if chat.engine.startswith("xllamacpp") else cpu_dtype(),
        "machine": hardware(),
        "versions": versions(),
        "date": datetime.date.today().isoformat(),
    }
    rows = [
        {"pair": pair.id, "preferred": kept(better), "rejected": kept(worse)}
        for pair, better, worse in zip(pairs, found.preferred, found.rejected, strict=True)
    ]
    write_lines(piece.path, [first, *rows])


def kept(grade: Grade) -> dict[str, Any]:
    """A grade without its cost, which on a busy machine means nothing."""
    return grade.model_dump(mode="json", exclude={"usage"}, exclude_none=True) | {
        "score": grade.score
    }


def write_lines(path: Path, rows: Iterable[Any]) -> None:
    """JSON lines, whole or not at all; floats to six places."""
    text = "\n".join(json.dumps(rounded(row), ensure_ascii=False) for row in rows)
    atomic_write(path, text + "\n")


def rounded(value: Any) -> Any:
    """The same value with every float at six places."""
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    return [rounded(inner) for inner in value] if isinstance(value, list) else value


async def run(options: argparse.Namespace) -> None:
    """Measure what is asked for and not complete, one judge's server at a time."""
    with closing(Cassette(ROOT / "_build" / "alignment.sqlite", "record")) as cassette:
        for piece in chosen(options):
            if piece.source != "authored" and (tasks := unwritten(piece.source)):
                with local_chat(rubrics.WRITER, cassette=cassette) as chat:
                    await rubrics.write(piece.source, tasks, chat)
            if is_complete(piece):
                continue
            begin = time.perf_counter()
            with local_chat(piece.judge, cassette=cassette) as chat:
                await measure(piece, chat)
            print(f"{piece.name}: {time.perf_counter() - begin:.0f} s", flush=True)


def unwritten(source: str) -> list[Task]:
    """Tasks with test pairs for which no rubric of a kind was asked for yet."""
    wanted = {pair.task_id for pair in load_mini_pairs("test")}
    return rubrics.missing(source, [task for task in load_mini("all") if task.id in wanted])


def chosen(options: argparse.Namespace) -> Sequence[Piece]:
    """The pieces that the command line asks for, in order."""
    return [
        piece
        for piece in pieces()
        if piece.judge in options.judges
        and piece.arm in options.arms
        and piece.source in options.rubrics
    ]


def listing(options: argparse.Namespace) -> None:
    """Say which pieces are complete."""
    for piece in chosen(options):
        print(f"{piece.name:44}{'complete' if is_complete(piece) else 'to do'}")


def main() -> None:
    """Measure, or say what is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--judges", nargs="+", default=JUDGES, choices=JUDGES)
    parser.add_argument("--arms", nargs="+", default=ARMS, choices=ARMS)
    kinds = ("authored", *SOURCES)
    parser.add_argument("--rubrics", nargs="+", default=kinds, choices=kinds)
    parser.add_argument("--minutes", type=float, default=600.0)
    parser.add_argument("--list", action="store_true", help="only say what is complete")
    options = parser.parse_args()
    if options.list:
        return listing(options)
    try:
        asyncio.run(asyncio.wait_for(run(options), options.minutes * 60))
    except TimeoutError:
        print("the time is over: run again to continue")


if __name__ == "__main__":
    main()
