"""Grades of pairs and pieces of judge alignment, as a judge would leave them. Tests only."""

from __future__ import annotations

from typing import Any

from rar_lib.core.types import Arm, Grade, Verdict
from rar_lib.data.tasks import load_mini_pairs
from results.alignment import run
from results.alignment.run import Piece

ORIGIN = {"date": "2026-01-01", "machine": "2 cores", "versions": {"vllm": "1"}}
PAIRS = tuple(load_mini_pairs("test"))


def grade(arm: Arm, score: float, gold: dict[str, bool] | None = None) -> Grade:
    """A grade; with gold labels its verdicts are right and sure."""
    verdicts = [
        Verdict(criterion_id=name, met=met, probability=0.9 if met else 0.1, share=0.98)
        for name, met in (gold or {}).items()
    ]
    return Grade(arm=arm, score=score, verdicts=tuple(verdicts), share=0.98)


def write(piece: Piece, **first: Any) -> None:
    line = {"of": run.mark(piece), "number format": "float32", **ORIGIN} | first
    rows = [
        {"pair": pair.id, side: run.kept(grade(piece.arm, 0.5))}
        | {other: run.kept(grade(piece.arm, 0.25))}
        for pair in run.pairs_of(piece)
        for side, other in [("preferred", "rejected")]
    ]
    run.write_lines(piece.path, [line, *rows])
