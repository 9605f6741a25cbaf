"""Findings from the pieces on record: ``alignment.json``, which chapters and the ledger read.

    .venv/bin/python -m results.alignment.table

An arm counts once every judge has graded it; the record is written when all judges have the arms of
the claims about size. One judge's pieces must be of one number format, because a processor without
bfloat16 products computes in float32.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rar_lib.book import claims
from rar_lib.core.decision import decide_family
from rar_lib.core.files import atomic_write
from rar_lib.core.stats import scored
from rar_lib.evaluation.alignment import (
    SMALL,
    SPREAD,
    PairGrades,
    criterion_agreement,
    paper_claims,
)
from rar_lib.evaluation.gates import Gate, may_enter_size_claim
from results.alignment import run
from results.alignment.run import Piece

RESULTS = Path(__file__).with_name("alignment.json")
#: Judges from small to large.
BY_SIZE = ("smollm2-135m", "qwen-0.5b", "qwen-1.5b")
#: Without these there is no claim about size.
NEEDED = ("implicit", "direct_likert", "explicit")
Graded = Mapping[str, Mapping[str, PairGrades]]


def graded_of(piece: Piece) -> PairGrades:
    """What a complete piece holds."""
    preferred, rejected = run.grades(piece)
    pairs = tuple(run.pairs_of(piece))
    return PairGrades(piece.judge, piece.arm, pairs, tuple(preferred), tuple(rejected))


def arm_of(piece: Piece) -> str:
    """The arm, or the kind of rubric where it is not the authored one."""
    return piece.arm if piece.source == "authored" else piece.source


def complete() -> dict[str, list[Piece]]:
    """Arm -> the pieces of all judges, for arms that all of them have graded."""
    by_arm: dict[str, list[Piece]] = {}
    for piece in run.pieces():
        if piece.split == "test" and run.is_complete(piece):
            by_arm.setdefault(arm_of(piece), []).append(piece)
    return {arm: found for arm, found in by_arm.items() if len(found) == len(BY_SIZE)}


def check_format(pieces: Sequence[Piece]) -> None:
    """Refuse one judge in two number formats.

    Raises:
        ValueError: names the judge and both.
    """
    formats: dict[str, set[str]] = {}
    for piece in pieces:
        formats.setdefault(piece.judge, set()).add(run.header(piece)["number format"])
    for judge, found in formats.items():
        if len(found) > 1:
            raise ValueError(
                f"pieces of {judge} are in {' and '.join(sorted(found))}: delete those of one and "
                "measure them again on a machine of the other's kind"
            )


def gate_of(graded: Mapping[str, PairGrades]) -> Gate:
    """Whether a judge may enter a claim about size."""
    shares = scored(of.share for of in graded.values())
    return may_enter_size_claim(criterion_agreement(graded["explicit"]), min(shares, default=None))


def row(name: str, graded: Mapping[str, PairGrades]) -> dict[str, Any]:
    """One judge: its gate, and accuracy, share and unscored pairs of each arm."""
    gate = gate_of(graded)
    arms = {}
    for arm, of in graded.items():
        accuracy = of.accuracy(ties=0.5)
        arms[arm] = {
            "accuracy": accuracy.to_json() if accuracy else None,
            "share": of.share,
            "unscored": of.unscored,
        }
    return {
        "judge": name,
        "gate": gate.passed,
        "why": gate.reason,
        "auc": gate.auc.to_json() if gate.auc else None,
        "arms": arms,
    }


def record(graded: Graded, origin: Mapping[str, Any]) -> dict[str, Any]:
    """The record of all judges.

    Args:
        graded: judge -> arm -> grades.
        origin: ``date``, ``machine`` and ``versions``.
    """
    gated = [name for name in BY_SIZE if gate_of(graded[name]).passed]
    family = paper_claims(graded, gated)
    margins = dict.fromkeys(family, claims.margin("accuracy"))
    margins |= {SMALL: claims.margin("accuracy_gain"), SPREAD: claims.margin("accuracy_spread")}
    findings = decide_family(family, margins=margins)
    return {
        **origin,
        "judges": {name: row(name, graded[name]) for name in BY_SIZE},
        "findings": {name: found.to_json() for name, found in findings.items()},
    }


def main() -> None:
    """Write ``alignment.json``, or say what is missing."""
    arms = complete()
    if missing := [arm for arm in NEEDED if arm not in arms]:
        raise SystemExit(
            f"not every judge has graded {', '.join(missing)}: run results.alignment.run"
        )
    pieces = [piece for found in arms.values() for piece in found]
    check_format(pieces)
    graded: dict[str, dict[str, PairGrades]] = {}
    for piece in pieces:
        graded.setdefault(piece.judge, {})[arm_of(piece)] = graded_of(piece)
    last = run.header(max(pieces, key=lambda piece: run.header(piece)["date"]))
    origin = {name: last[name] for name in ("date", "machine", "versions")}
    found = record(graded, origin)
    atomic_write(RESULTS, json.dumps(run.rounded(found), indent=1) + "\n")
    for name, finding in found["findings"].items():
        print(f"{name:50}{finding['word']}")


if __name__ == "__main__":
    main()
