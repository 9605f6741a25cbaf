"""The page on later work: what the training study has on record of its proposals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from rar_lib.book import claims, results
from rar_lib.book.pages.words import SINGLE, signed, some_seeds
from rar_lib.book.prose import sentence
from rar_lib.core.decision import Finding
from rar_lib.evaluation.held_out import MIN_SEEDS

#: The page on later work.
AFTER = "after"
#: The places of that page.
AFTER_PLACES = ("written", "built", "recorded", "needed")
#: What the ledger claims of authored rubrics against those that a model of this book writes.
AUTHORED = "rubrics.authored-over-synthetic"
#: Arms of the training study that answer a proposal of later work.
PROPOSED = {"rubric dropout": "explicit, keep 0.5", "contrast weights": "explicit, contrast 0.5"}
#: What the library has of proposals of later work: the arms, and a measure.
BUILT = (*PROPOSED, "self-internalisation gap")
#: The finding on each of them against the arm without it.
OVER_PLAIN = {
    "rubric dropout": "training.dropout_over_plain",
    "contrast weights": "training.contrast_over_plain",
}


def told_after(arms: Mapping[str, Any] | None, rows: Sequence[claims.Row] = ()) -> dict[str, str]:
    """What the page on later work says from code and records: place -> Markdown.

    Args:
        arms: the record of the study's runs; ``None`` where there is none.
        rows: of the ledger, which decides what is recorded.
    """
    return {
        "written": on_writers(rows),
        "built": sentence("Of these proposals {built} are in `rar_lib`:", built=len(BUILT)),
        "recorded": followed(arms, rows),
        "needed": sentence(
            "A finding on an arm takes at least {seeds} seeds of it and of the arm without it, all "
            "on one machine.",
            seeds=MIN_SEEDS,
        ),
    }


def on_writers(rows: Sequence[claims.Row]) -> str:
    """What the ledger says of authored against synthetic rubrics, as Markdown."""
    found = next((row.finding for row in rows if row.claim.id == AUTHORED), None)
    text = "[Chapter 2](02_writing_rubrics.ipynb) compares authored with synthetic rubrics live. "
    if found is None or found.difference is None:
        return text + "The two are not recorded side by side yet."
    return text + sentence(
        "That authored ones put the better and the worse response of a pair further apart: "
        "**{finding}**, a difference of {difference} over {n} tasks.",
        difference=found.difference,
        n=found.difference.n,
        finding=found,
    )


def followed(arms: Mapping[str, Any] | None, rows: Sequence[claims.Row] = ()) -> str:
    """What the study has on record of proposals of later work, as Markdown.

    Args:
        arms: the record of the study's runs; ``None`` where there is none.
        rows: of the ledger, which decides what is recorded.
    """
    runs = results.runs_of(arms) or []
    seeds = {name: len(results.seeds_of(runs, [label])) for name, label in PROPOSED.items()}
    with_gap = [run for run in runs if "gap" in run.get("secondary", {})]
    if not any(seeds.values()) and not with_gap:
        return sentence(
            "The training study has recorded none of these yet, so this book cannot say what they "
            "change."
        )
    counted = sentence(
        "The training study has recorded {seeds}, and the gap in {gap} of {runs} runs.",
        seeds=[f"{name} with {some_seeds(count)}" for name, count in seeds.items() if count]
        or "neither rubric dropout nor contrast weights",
        gap=len(with_gap),
        runs=len(runs),
    )
    counted += "".join(f" No run with {name} is recorded yet." for name in _bare(seeds))
    found = claims.on_record(arms, rows)
    said = [_over_plain(name, found.get(OVER_PLAIN[name])) for name in seeds if seeds[name]]
    return "\n".join([f"{counted}\n", *said, _on_gap(with_gap)])


def _bare(seeds: Mapping[str, int]) -> list[str]:
    """The proposals without a run where another one has some."""
    return [name for name, count in seeds.items() if not count] if any(seeds.values()) else []


def _over_plain(name: str, finding: Finding | None) -> str:
    """A line on a proposal against the explicit reward without it."""
    text = sentence(
        "- That the explicit reward trains a better policy with {name} than without: **{finding}**",
        name=name,
        finding=finding or "not recorded yet",
    )
    if finding is None or finding.difference is None:
        return f"{text}."
    return text + sentence(
        ", a difference of {difference} of the way to the reference answers, over {n} tasks.",
        difference=finding.difference,
        n=finding.difference.n,
    )


def _on_gap(runs: Sequence[Mapping[str, Any]]) -> str:
    """A line on how far the gap moved under the proposals, and without them."""
    changes: dict[str, list[float]] = {}
    for run in runs:
        if not run["stray"]:
            change = run["secondary"]["gap"]["change"]["value"]
            changes.setdefault(results.label(run), []).append(change)
    arms = [arm for arm in (SINGLE, *PROPOSED.values()) if arm in changes]
    if not arms:
        return sentence("- How far the gap moves under these rewards: **not recorded yet**.")
    return sentence(
        "- The gap moved, in nats a token and on average over seeds, by {changes}. Below zero "
        "would mean that the sight of the rubric helps less than before training. It decides "
        "nothing; [the study](study.md#what-is-measured) has it for the others.",
        changes=[
            f"{signed(fmean(changes[arm]))} with {arm} ({some_seeds(len(changes[arm]))})"
            for arm in arms
        ],
    )
