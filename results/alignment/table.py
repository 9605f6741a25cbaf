"""Findings from the pieces on record: ``alignment.json``, which chapters and the ledger read.

Beside it ``alignment.svg``, the accuracies as a drawing, for the README.

    .venv/bin/python -m results.alignment.table

A judge's row holds every arm that it has graded. Claims are decided once all judges have the arms
of the claims about size, and an arm enters them once every judge has graded it; claims about who
wrote a rubric once the largest judge has rated under each kind; until then the record says what is
missing. One judge's pieces must be of one number format, because a processor
without bfloat16 products computes in float32.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rar_lib.book import claims, figures
from rar_lib.book.results import judges
from rar_lib.core.decision import Finding, decide_family, not_testable
from rar_lib.core.files import atomic_write
from rar_lib.core.stats import Comparison, scored
from rar_lib.core.types import Grade
from rar_lib.data.tasks import load_mini, tried_pairs
from rar_lib.evaluation.alignment import (
    SMALL,
    SPREAD,
    PairGrades,
    criterion_agreement,
    margins,
    paper_claims,
)
from rar_lib.evaluation.held_out import paired
from rar_lib.evaluation.judge_roles import Gate, may_enter_size_claim
from rar_lib.evaluation.sensitivity import KEYS, against_paper
from rar_lib.judging.calibration import Identity, apply, fit
from results.alignment import run
from results.alignment.run import Piece

RESULTS = Path(__file__).with_name("alignment.json")
DRAWING = RESULTS.with_suffix(".svg")
#: Judges from small to large.
BY_SIZE = ("smollm2-135m", "qwen-0.5b", "qwen-1.5b")
#: Without these there is no claim about size.
NEEDED = ("implicit", "direct_likert", "explicit")
#: Claim about who wrote a rubric -> the kinds compared, each the arm ``implicit`` under it.
WRITERS = {
    "rubrics.reference_margin": ("synthetic_ref", "synthetic_noref"),
    "rubrics.authored_over_synthetic": ("implicit", "synthetic_ref"),
}
Graded = Mapping[str, Mapping[str, PairGrades]]


def graded_of(piece: Piece) -> PairGrades:
    """What a complete piece holds."""
    preferred, rejected = run.grades(piece)
    pairs = tuple(run.pairs_of(piece))
    return PairGrades(piece.judge, piece.arm, pairs, tuple(preferred), tuple(rejected))


def arm_of(piece: Piece) -> str:
    """The arm, or the kind of rubric where it is not the authored one."""
    return piece.arm if piece.source == "authored" else piece.source


def complete() -> list[Piece]:
    """The pieces that are there, made of what would be asked and read today."""
    return [piece for piece in run.pieces() if run.is_complete(piece)]


def by_judge(pieces: Sequence[Piece], split: str) -> Graded:
    """Judge -> arm -> grades, of one split."""
    graded: dict[str, dict[str, PairGrades]] = {}
    for piece in pieces:
        if piece.split == split:
            graded.setdefault(piece.judge, {})[arm_of(piece)] = graded_of(piece)
    return graded


def of_all(graded: Graded) -> Graded:
    """The arms that every judge has graded; none where those of the claims are not among them."""
    shared = set.intersection(*(set(graded.get(name, ())) for name in BY_SIZE))
    if not shared.issuperset(NEEDED):
        return {}
    found: dict[str, Mapping[str, PairGrades]] = {}
    for name in BY_SIZE:
        found[name] = {arm: of for arm, of in graded[name].items() if arm in shared}
    return found


def untried(graded: Graded) -> Graded:
    """The same grades without the :func:`tried_pairs`."""
    tried = tried_pairs()
    found: dict[str, Mapping[str, PairGrades]] = {}
    for judge, arms in graded.items():
        found[judge] = {arm: of.without(tried) for arm, of in arms.items()}
    return found


def check_format(pieces: Sequence[Piece]) -> None:
    """Refuse one judge in two number formats, or by two engines.

    Raises:
        ValueError: names the judge and both.
    """
    formats: dict[str, set[str]] = {}
    for piece in pieces:
        head = run.header(piece)
        by = f"{head['number format']} by {head.get('engine') or 'an engine that is not named'}"
        formats.setdefault(piece.judge, set()).add(by)
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


def row(graded: Mapping[str, PairGrades], val: PairGrades | None) -> dict[str, Any]:
    """One judge: accuracy, share and unscored pairs of each arm; its gate where it has verdicts.

    Of the arm ``explicit`` also the accuracy, ties half, without the :func:`tried_pairs`.

    Args:
        val: its verdicts on the val pairs, on which the calibration is fitted.
    """
    found: dict[str, Any] = {"arms": {arm: shown(of) for arm, of in graded.items()}}
    if "explicit" not in graded:
        return found
    rest = graded["explicit"].without(tried_pairs()).accuracy(ties=0.5)
    found["arms"]["explicit"]["accuracy, untried"] = rest.to_json() if rest else None
    gate = gate_of(graded)
    found |= {
        "gate": gate.passed,
        "why": gate.reason,
        "auc": gate.auc.to_json() if gate.auc else None,
        "agreement": criterion_agreement(graded["explicit"]).to_json(),
    }
    if val is not None:
        moved = calibrated(graded["explicit"], val)
        found["agreement, calibrated"] = criterion_agreement(moved).to_json()
    return found


def calibrated(of: PairGrades, val: PairGrades) -> PairGrades:
    """The same verdicts, moved along the line that is fitted on the val pairs."""
    judge = Identity(model=of.judge, weights="", wording="", prompt="")
    known = [
        (verdict.probability, gold)
        for _, verdict, gold in val.verdicts()
        if verdict.probability is not None
    ]
    line = fit([p for p, _ in known], [gold for _, gold in known], judge=judge)

    def moved(grade: Grade) -> Grade:
        verdicts = []
        for verdict in grade.verdicts:
            if verdict.probability is not None:
                p = float(apply(line, verdict.probability, judge))
                verdict = verdict.model_copy(update={"probability": p, "met": p > 0.5})
            verdicts.append(verdict)
        return grade.model_copy(update={"verdicts": tuple(verdicts)})

    return replace(
        of,
        preferred=tuple(moved(grade) for grade in of.preferred),
        rejected=tuple(moved(grade) for grade in of.rejected),
    )


def shown(of: PairGrades) -> dict[str, Any]:
    """One arm of a judge: both tie rules, and how much of the judge was read."""
    half = of.accuracy(ties=0.5)
    strict = of.accuracy()
    return {
        "accuracy": half.to_json() if half else None,
        "strict": strict.to_json() if strict else None,
        "pairs": len(of.pairs),
        "share": of.share,
        "unscored": of.unscored,
    }


def decide(graded: Graded) -> dict[str, Any]:
    """Every claim about judges, as one family; none before all judges have graded its arms."""
    if not graded:
        return {}
    gated = [name for name in BY_SIZE if gate_of(graded[name]).passed]
    family = paper_claims(graded, gated)
    margins = dict.fromkeys(family, claims.margin("accuracy"))
    margins |= {SMALL: claims.margin("accuracy_gain"), SPREAD: claims.margin("accuracy_spread")}
    return {name: found.to_json() for name, found in decide_family(family, margins=margins).items()}


def decide_weights(graded: Graded) -> dict[str, Any]:
    """The claims about weights, a family of its own: the largest judge's verdicts added up anew.

    Nothing before that judge has graded the arm ``explicit``.
    """
    of = graded.get(BY_SIZE[-1], {})
    if "explicit" not in of:
        return {}
    gate = gate_of(of)
    gaps: Mapping[str, Comparison | Finding | None] = against_paper(of["explicit"], load_mini())
    if not gate.passed:
        gaps = dict.fromkeys(gaps, not_testable(gate.reason))
    found = decide_family(gaps, margins=claims.margin("accuracy"))
    return {f"weights.{KEYS[name]}": one.to_json() for name, one in found.items()}


def decide_rubrics(graded: Graded) -> dict[str, Any]:
    """The claims about who wrote a rubric, a family of its own: how well rubrics separate a pair.

    The lead of the preferred over the rejected response in the largest judge's rating, paired over
    the tasks that have both rubrics. The record has one writer, so nothing is said of its size.
    Nothing before that judge has graded every kind, and the arm ``explicit``, by which it is gated.
    """
    of = graded.get(BY_SIZE[-1], {})
    if not {"explicit", *sum(WRITERS.values(), ())} <= set(of):
        return {}
    gate = gate_of(of)
    gaps: dict[str, Comparison | Finding | None] = dict.fromkeys(WRITERS, not_testable(gate.reason))
    if gate.passed:
        for name, (better, other) in WRITERS.items():
            gaps[name] = paired(margins(of[better]), margins(of[other]))
    found = decide_family(gaps, margins=claims.margin("discrimination"))
    return {name: one.to_json() for name, one in found.items()}


def record(test: Graded, val: Graded, origin: Mapping[str, Any]) -> dict[str, Any]:
    """The record of all judges, from small to large.

    Args:
        test, val: judge -> arm -> grades.
        origin: ``date``, ``machine`` and ``versions``.
    """
    return {
        **origin,
        "judges": {
            name: row(test[name], val.get(name, {}).get("explicit"))
            for name in BY_SIZE
            if name in test
        },
        "findings": decide(of_all(test)) | decide_weights(test) | decide_rubrics(test),
        # The claims of the wording that was found on some of the pairs, by the others alone.
        "findings, untried": decide(of_all(untried(test))) | decide_weights(untried(test)),
    }


def machines(pieces: Sequence[Piece]) -> str:
    """What graded the pieces: every machine and number format, with its judges if there are two."""
    made: dict[str, list[str]] = {}
    for piece in sorted(pieces, key=lambda piece: BY_SIZE.index(piece.judge)):
        head = run.header(piece)
        names = made.setdefault(f"{head['machine']} in {head['number format']}", [])
        if piece.judge not in names:
            names.append(piece.judge)
    if len(made) < 2:
        return "".join(made)
    return "; ".join(f"{machine} ({', '.join(names)})" for machine, names in made.items())


def main() -> None:
    """Write ``alignment.json`` and say what is decided, and what is missing."""
    pieces = complete()
    if not pieces:
        raise SystemExit("no piece is complete: run results.alignment.run")
    check_format(pieces)
    last = run.header(max(pieces, key=lambda piece: run.header(piece)["date"]))
    origin = {"date": last["date"], "machine": machines(pieces), "versions": last["versions"]}
    missing = [piece.name for piece in run.pieces() if piece not in pieces]
    found = record(by_judge(pieces, "test"), by_judge(pieces, "val"), origin | {"missing": missing})
    rounded = run.rounded(found)
    atomic_write(RESULTS, json.dumps(rounded, indent=1) + "\n")
    atomic_write(DRAWING, figures.judge_drawing(judges(rounded), alone=True))
    for name, finding in found["findings"].items():
        print(f"{name:50}{finding['word']}")
    print(f"{len(pieces)} pieces of {len(pieces) + len(missing)} are complete")


if __name__ == "__main__":
    main()
