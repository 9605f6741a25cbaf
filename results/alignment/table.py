"""Findings from the pieces on record: ``alignment.json``, which chapters and the ledger read.

Beside it ``alignment.svg``, the accuracies as a drawing, for the README.

    .venv/bin/python -m results.alignment.table

A judge's row holds every arm that it has graded. Claims are decided once all judges have the arms
of the claims about size, and an arm enters them once every judge has graded it; claims about who
wrote a rubric once the largest judge has rated under each kind; until then the record says what is
missing. *adding up* describes other ways to add the largest judge's verdicts up, and decides
nothing: the pairs were chosen by one of these ways, the paper's weights.

One judge's pieces must be of one number format and by one engine, because a processor without
bfloat16 products computes in float32. What made them is kept by judge, under *made by*. Judges may
differ, and pieces may in their machine and packages: *differs* then says in what, and the line that
stands above every table of the record names the machines, formats, engines and packages.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rar_lib.book import claims, figures
from rar_lib.book.results import judges
from rar_lib.core.decision import Finding, decide_family, not_testable
from rar_lib.core.files import atomic_write
from rar_lib.core.stats import Comparison, Interval, scored
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
from rar_lib.evaluation.sensitivity import (
    AGGREGATES,
    VARIANTS,
    against_paper,
    by_labels,
    random_weights,
    summarise_pairs,
)
from rar_lib.judging.calibration import Identity, apply, fit
from results.alignment import run
from results.alignment.run import Piece
from results.limit import differing

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
        by = f"{head['number format']} by {engine_of(head)}"
        formats.setdefault(piece.judge, set()).add(by)
    for judge, found in formats.items():
        if len(found) > 1:
            raise ValueError(
                f"pieces of {judge} are in {' and '.join(sorted(found))}: delete those of one and "
                "measure them again on a machine of the other's kind"
            )


def engine_of(head: Mapping[str, Any]) -> str:
    """The engine of a piece, by its first line; early ones do not name it."""
    return head.get("engine") or "an engine that is not named"


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
    """Every claim about judges; none before all judges have graded the arms of those about size."""
    if not graded:
        return {}
    gated = [name for name in BY_SIZE if gate_of(graded[name]).passed]
    family = paper_claims(graded, gated)
    margins = dict.fromkeys(family, claims.margin("accuracy"))
    margins |= {SMALL: claims.margin("accuracy_gain"), SPREAD: claims.margin("accuracy_spread")}
    return _decided(family, margins)


def _decided(
    gaps: Mapping[str, Comparison | Finding | None], margins: Mapping[str, float]
) -> dict[str, Any]:
    """Findings with the words of the ledger where they are a part of its family.

    Each by itself as if its p-value were the smallest of all that were ever declared there, which
    is never easier than what the ledger does with all of them.
    """
    size = claims.family_size("ledger")
    found: dict[str, Any] = {}
    for name, gap in gaps.items():
        one = decide_family({name: gap}, margins={name: margins[name]}, size=size)
        found[name] = one[name].to_json()
    return found


def adding_up(graded: Graded) -> dict[str, Any]:
    """What other ways to add up the largest judge's verdicts do to the order of pairs.

    Nothing before that judge has graded the arm ``explicit``, or where it does not pass the gate.

    Returns:
        Way -> ``kendall``, rank correlation with the paper's weights (of random weights the mean
        over the draws); ``difference``, pairwise accuracy by the paper's weights minus that by
        this way; ``by the labels``, the same where the verdicts are the labels, which no judge has
        a part in.
    """
    of = graded.get(BY_SIZE[-1], {})
    if "explicit" not in of or not gate_of(of).passed:
        return {}
    every = (*VARIANTS, *random_weights(), *AGGREGATES)
    tasks = load_mini()
    gaps = against_paper(of["explicit"], tasks, every)
    built_in = against_paper(by_labels(of["explicit"]), tasks, every)
    rows = {row.variant: row for row in summarise_pairs(of["explicit"], tasks, every)}
    return {
        name: {
            "kendall": kendall.value if (kendall := rows[name].kendall) else None,
            "difference": gap.difference.to_json(),
            "by the labels": built_in[name].difference.value,
        }
        for name, gap in gaps.items()
    }


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
    return _decided(gaps, dict.fromkeys(gaps, claims.margin("discrimination")))


def record(test: Graded, val: Graded, origin: Mapping[str, Any]) -> dict[str, Any]:
    """The record of all judges, from small to large.

    Args:
        test, val: judge -> arm -> grades.
        origin: ``date``, ``machine`` and ``versions``, and what else :func:`origin_of` says.
    """
    return {
        **origin,
        "judges": {
            name: row(test[name], val.get(name, {}).get("explicit"))
            for name in BY_SIZE
            if name in test
        },
        "findings": decide(of_all(test)) | decide_rubrics(test),
        # The claims of the wording that was found on some of the pairs, by the others alone.
        "findings, untried": decide(of_all(untried(test))),
        "adding up": adding_up(test),
    }


def machines(pieces: Sequence[Piece]) -> str:
    """What graded the pieces: every machine and number format, with its judges if there are two.

    With the engine where there are several, and with each package that has several versions.
    """
    heads = [run.header(piece) for piece in pieces]
    several = len({engine_of(head) for head in heads}) > 1
    made: dict[str, list[str]] = {}
    for piece in sorted(pieces, key=lambda piece: BY_SIZE.index(piece.judge)):
        head = run.header(piece)
        engine = f" by {engine_of(head)}" if several else ""
        names = made.setdefault(f"{head['machine']} in {head['number format']}{engine}", [])
        if piece.judge not in names:
            names.append(piece.judge)
    told = [f"{machine} ({', '.join(names)})" for machine, names in made.items()]
    where = "; ".join(told if len(made) > 1 else made)
    apart = [f"{name} {joined(of)}" for name, of in versions_of(heads).items() if len(of) > 1]
    return f"{where}; with {', '.join(apart)}" if apart else where


def joined(values: Iterable[str]) -> str:
    """The value of all pieces, or the different ones in their order."""
    return " and ".join(dict.fromkeys(values))


def versions_of(heads: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Package -> its different versions, by the first lines of some pieces."""
    found: dict[str, list[str]] = {}
    for name in dict.fromkeys(name for head in heads for name in head["versions"]):
        every = [head["versions"].get(name, "not installed") for head in heads]
        found[name] = [*dict.fromkeys(every)]
    return found


def made_by(heads: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Machine, number format, engine and versions behind some pieces, by their first lines."""
    return {
        "machine": joined(head["machine"] for head in heads),
        "number format": joined(head["number format"] for head in heads),
        "engine": joined(map(engine_of, heads)),
        "versions": {name: joined(of) for name, of in versions_of(heads).items()},
    }


def differences(pieces: Sequence[Piece]) -> list[str]:
    """In what pieces that a claim may compare were not made alike, a sentence for each thing."""
    made = {piece.name: made_by([run.header(piece)]) for piece in pieces}
    for own in made.values():
        own |= own.pop("versions")
    found = []
    for what in dict.fromkeys(what for own in made.values() for what in own):
        values = {name: {what: own.get(what, "not installed")} for name, own in made.items()}
        found.append(differing(values))
    return [said for said in found if said]


def origin_of(pieces: Sequence[Piece]) -> dict[str, Any]:
    """What made the record: all of it, each judge's pieces, and in what pieces differ."""
    heads = {piece: run.header(piece) for piece in pieces}
    of_judges: dict[str, dict[str, Any]] = {}
    for name in BY_SIZE:
        if own := [head for piece, head in heads.items() if piece.judge == name]:
            of_judges[name] = made_by(own)
    return {
        "date": max(head["date"] for head in heads.values()),
        "machine": machines(pieces),
        "versions": made_by([*heads.values()])["versions"],
        "made by": of_judges,
        "differs": differences(pieces),
    }


def main() -> None:
    """Write ``alignment.json`` and say what is decided, and what is missing."""
    pieces = complete()
    if not pieces:
        raise SystemExit("no piece is complete: run results.alignment.run")
    check_format(pieces)
    missing = [piece.name for piece in run.pieces() if piece not in pieces]
    origin = origin_of(pieces) | {"missing": missing}
    found = record(by_judge(pieces, "test"), by_judge(pieces, "val"), origin)
    rounded = run.rounded(found)
    atomic_write(RESULTS, json.dumps(rounded, indent=1) + "\n")
    atomic_write(DRAWING, figures.judge_drawing(judges(rounded), alone=True))
    for name, finding in found["findings"].items():
        print(f"{name:50}{finding['word']}")
    for name, way in found["adding up"].items():
        gap = Interval.from_json(way["difference"])
        print(f"{name:50}{gap}, by the labels {way['by the labels']:.2f}")
    for said in found["differs"]:
        print(f"pieces that claims compare were not made alike: {said}")
    print(f"{len(pieces)} pieces of {len(pieces) + len(missing)} are complete")


if __name__ == "__main__":
    main()
