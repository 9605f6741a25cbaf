"""The book: its sources, with notebooks that were executed, become static HTML, EPUB or PDF.

papermill has executed the notebooks; nothing is executed here. The steps are: stage
(sources and checked notebooks side by side, and what is computed from records: the landing page's
answers, the page on the study, the status page), render (jupyter-book, warnings are errors), fill
(the page of rollouts, from what the chapters' runs and the study have kept), draw (our SVG into its
pages), fold (what is folded and shows nothing, into one), lead (to Colab and Binder, if the book
names a public repository), harden (a Content-Security-Policy in every page), swap (the old book
stays readable until the new one is complete). A key over all inputs makes an unchanged book free.

What may stand in a page is decided by :mod:`rar_lib.book.gate`. The page of rollouts is filled by a
template that escapes each value, and by a script of ours that makes text nodes of inert JSON.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from html import escape
from importlib.metadata import version
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from rar_lib.book import claims, figures, report, results, tables
from rar_lib.book.gate import SVG, check_page, clean_notebook, clean_svg, draw, load_notebook
from rar_lib.book.profiles import load as load_profile
from rar_lib.book.prose import listed, plain, sentence, written
from rar_lib.core.decision import ALPHA, WORDS, Finding
from rar_lib.core.errors import DataError, ReproduceError
from rar_lib.core.files import atomic_write, file_hash
from rar_lib.core.stats import Interval, scored
from rar_lib.core.types import Category, Task
from rar_lib.data.polarity import read
from rar_lib.data.tasks import load_mini, load_tasks
from rar_lib.evaluation.held_out import MIN_SEEDS
from rar_lib.evaluation.notes import RECALL
from rar_lib.judging.messages import rubric_of
from rar_lib.models.vllm_args import overhead_gb
from rar_lib.training.run import TRANSCRIPT, Run
from rar_lib.training.settings import Settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_log = logging.getLogger(__name__)
UNKNOWN = "not recorded"
SHOWN_VERSIONS = 40


def read_manifest(path: Path) -> dict[str, Any] | None:
    """Read a run's manifest; ``None`` if the notebook was executed without one."""
    if not path.is_file():
        return None
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ReproduceError(
            f"{path.name} is not JSON ({error}). Delete it and run: make reproduce"
        ) from error
    return manifest if isinstance(manifest, dict) else None


def run_line(manifest: dict[str, Any] | None) -> str:
    """Return one line of Markdown: profile, hardware, date and duration of a run."""
    if manifest is None:
        return "**What ran:** " + UNKNOWN
    parts = [f"profile {_profile(manifest)}", _hardware(manifest), _date(manifest)]
    return "**What ran:** " + " · ".join([*parts, _seconds(manifest)])


def status_page(manifests: dict[str, dict[str, Any] | None], titles: dict[str, str]) -> str:
    """Return the status page: one row per notebook, then the package versions."""
    lines = [
        "# What ran, where and when",
        "",
        "This page is made at every build from the records that execution leaves beside each",
        "notebook. A profile says how much was run and on which models: `smoke` is a check that",
        "everything works, `laptop` is what a CPU can do without a GPU, `gpu` needs a GPU. Figures",
        "of different profiles are not comparable. Replies of models are recorded, and a question",
        "that is on record is not asked again: the column says how many a run added. Rewards in",
        "training are asked live and are in no record.",
        "",
        GENERATED,
        "",
        "| Chapter | Profile | Time | Replies added | Finished | Hardware |",
        "|---|---|---|---:|---|---|",
    ]
    versions: dict[str, set[str]] = {}
    for stem, manifest in manifests.items():
        row = manifest or {}
        cells = [_profile(row), _seconds(row), _added(row), _date(row), _hardware(row)]
        lines.append(f"| [{_text(titles[stem])}]({stem}.ipynb) | " + " | ".join(cells) + " |")
        found = row.get("versions")
        for name, value in (found if isinstance(found, dict) else {}).items():
            versions.setdefault(str(name), set()).add(str(value))
    lines += ["", "## Package versions", ""]
    if not versions:
        return "\n".join([*lines, f"Package versions were {UNKNOWN}.", ""])
    lines += ["| Package | Version |", "|---|---|"]
    for name in sorted(versions, key=str.lower)[:SHOWN_VERSIONS]:
        lines.append(f"| {_text(name)} | {_text(', '.join(sorted(versions[name])))} |")
    return "\n".join([*lines, ""])


def reproduced(times: Mapping[str, Any] | None) -> str:
    """How long profile laptop took where it was measured, as Markdown.

    Args:
        times: the record of that name; ``None`` where there is none.
    """
    found = [
        plain(
            "{hours} hours from {state} on {kind}", hours=_hours(row[key]), state=state, kind=kind
        )
        for kind, row in (times or {}).get("reproduce", {}).items()
        for key, state in (("cold_s", "empty caches"), ("warm_s", "filled caches"))
        if key in row
    ]
    if not found:
        return sentence("How long a whole run of profile laptop takes is not on record.")
    return sentence("A whole run of profile laptop took {times}.", times="; ".join(found))


def _text(value: object) -> str:
    """Return ``value`` as one line of Markdown text without any markup."""
    flat = " ".join(str(value).split())
    return re.sub(r"([\\`*_{}\[\]<>|$~#])", r"\\\1", flat)


def _profile(manifest: dict[str, Any]) -> str:
    return _text(manifest.get("profile") or UNKNOWN)


def _seconds(manifest: dict[str, Any]) -> str:
    seconds = manifest.get("seconds")
    if not isinstance(seconds, int | float):
        return UNKNOWN
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def _added(manifest: dict[str, Any]) -> str:
    added = manifest.get("calls_added")
    return f"{added:,}" if isinstance(added, int) else UNKNOWN


def _date(manifest: dict[str, Any]) -> str:
    try:
        return datetime.fromisoformat(str(manifest.get("end"))).strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return UNKNOWN


def _hardware(manifest: dict[str, Any]) -> str:
    hardware = manifest.get("hardware")
    if isinstance(hardware, dict):
        return (
            ", ".join(f"{_text(name)} {_text(value)}" for name, value in hardware.items() if value)
            or UNKNOWN
        )
    return _text(hardware) if hardware else UNKNOWN


# --- answers, computed from records --------------------------------------------------------------

#: The line of a page that what is computed takes the place of; a page with several names them.
GENERATED = "% generated"
JUDGES_DRAWING = "_static/judges.svg"
CLAIMS_DRAWING = "_static/claims.svg"
#: Not among the drawings, which follow the page's theme: a figure with colours of its own.
ARMS_FIGURE = "arms.svg"
#: Words of an answer on the landing page, the name of its chapter included.
LONGEST = 45
#: Chapters that an answer leads to.
DATA = "03_the_data_audited"
JUDGES = "04_can_the_judge_be_trusted"
LEDGER = "10_paper_against_here"
#: Without these a judge says nothing about rubrics.
COMPARED = ("explicit", "implicit", "direct_likert")
#: Kinds of rubric that a model writes.
WRITTEN = ("synthetic_ref", "synthetic_noref")
#: Two ways of asking about a rubric, and the finding that the first reaches more pairs.
SINGLE = "explicit"
RATING = "implicit"
SINGLE_OVER_RATING = "alignment.explicit_over_implicit"
CHANCE = 0.5
LEVEL = "95 %"
#: What a word of the ledger counts, where the word alone does not say it.
COUNTED = {
    "no difference larger than d": "no difference larger than the d that was declared",
    "holds": "checks of the paper's own numbers that hold",
    "does not hold": "checks of the paper's own numbers that do not",
    "shown": "definitions, settings and tables, shown",
}
#: The check of the paper's best known number.
HEADLINE = "arithmetic.headline-healthbench"
#: Arms of the training study that the landing page tells of, by what their policy is paid for: in
#: the answer, and under its figure.
TOLD = {
    "length": ("paid for length", "words, whatever they say"),
    "direct_likert": ("plain rating", "one rating without a rubric"),
    "implicit": ("implicit", "one rating under the whole rubric"),
    "explicit": ("explicit", "the share of single criteria"),
}
UNTRAINED = "base"
#: Width and height of their figure: a small one, whose letters stay large on a telephone.
FIGURE_INCHES = (4.8, 2.8)
#: Arms of the training study that answer a proposal of later work.
PROPOSED = {"rubric dropout": "explicit, keep 0.5", "contrast weights": "explicit, contrast 0.5"}
#: The finding on each of them against the arm without it.
OVER_PLAIN = {
    "rubric dropout": "training.dropout_over_plain",
    "contrast weights": "training.contrast_over_plain",
}


def generated(repo: Path) -> dict[str, str]:
    """What the book computes for its pages: file -> text that it gets, or that it is.

    Of a page with several places ``file#place`` -> text of that one.

    Args:
        repo: whose ``results/`` are read.

    Raises:
        DataError: a record or a finding is damaged.
    """
    alignment = results.load("alignment", repo)
    arms = results.load("arms", repo)
    rows = claims.ledger(checkout=repo)
    drawn = _arm_curves(arms)
    return {
        "index.md": landing(rows, alignment, arms),
        "after.md": followed(arms, rows),
        f"{STATUS}.md": reproduced(results.load("times", repo)),
        **{f"{STUDY}.md#{place}": text for place, text in studied(repo).items()},
        JUDGES_DRAWING: figures.judge_drawing(results.judges(alignment)),
        CLAIMS_DRAWING: figures.share_drawing(claims.counts(rows)),
        LOOP_DRAWING: loop_drawing(),
        **({ARMS_FIGURE: clean_svg(figures.as_svg(drawn) or "")} if drawn else {}),
    }


def landing(
    rows: Sequence[claims.Row],
    alignment: Mapping[str, Any] | None,
    arms: Mapping[str, Any] | None = None,
) -> str:
    """The landing page's answers as Markdown: figures, six short answers, the claims in a bar.

    Args:
        rows: of the ledger.
        alignment: the record of judges; ``None`` where there is none.
        arms: the record of the training study; ``None`` where there is none.
    """
    found = results.judges(alignment)
    said = [
        (_on_rubrics(found), JUDGES),
        (_on_size(found, _as_decided(alignment or {}, rows)), JUDGES),
        (_on_training(arms, rows), TRAINING),
        (_on_claims(rows), LEDGER),
        (_on_paper(rows), LEDGER),
        (_on_data(), DATA),
    ]
    parts = [_main_figure(found, alignment)] if alignment and found.accuracy else []
    parts += _arms_figure(arms)
    parts.append("\n".join(f"- {text} {_chapter(stem)}" for text, stem in said))
    return "\n\n".join([*parts, _claims_bar(rows)])


def _short(first: str, *more: str) -> str:
    """An answer of ``first`` and whatever of the sentences behind it keeps it short."""
    room = LONGEST - len(_chapter(LEDGER).split())
    for text in more:
        longer = f"{first} {text}"
        first = longer if len(re.findall(r"\S*\w\S*", longer)) <= room else first
    return first


def _as_decided(record: Mapping[str, Any], rows: Sequence[claims.Row]) -> dict[str, Any]:
    """A record with the ledger's findings: the book gives one verdict."""
    found = claims.on_record(record, rows)
    return {**record, "findings": {key: one.to_json() for key, one in found.items()}}


def _chapter(stem: str) -> str:
    return f"([chapter {int(stem[:2])}]({stem}.ipynb))"


def _main_figure(found: results.Judges, alignment: Mapping[str, Any]) -> str:
    tasks = max(of.n for by in found.accuracy.values() for of in by.values())
    caption = sentence(
        "How often a judge prefers the better of two responses, by its size and by what it is "
        "asked. The dashed line is chance, ties count one half, whiskers are {level} intervals "
        "over {tasks} tasks with {pairs} pairs, {origin}. A judge visibly beats chance where its "
        "whole whisker, taken alone, lies above the line. {limits}",
        level=LEVEL,
        tasks=tasks,
        pairs=found.pairs,
        origin=results.origin(dict(alignment)),
        limits=" ".join(filter(None, [_tried(found, alignment), _not_yet(found)])),
    )
    alt = plain(
        "Points with whiskers over judges of {sizes} billion parameters, one line for each way of "
        "asking, and a dashed line at one half. {values}.",
        sizes=[f"{size:g}" for size in found.sizes.values()],
        values="; ".join(_measured(found, judge) for judge in found.sizes),
    )
    return _block("figure", JUDGES_DRAWING, alt, caption)


def _tried(found: results.Judges, record: Mapping[str, Any]) -> str:
    """What the largest judge reaches on pairs that had no part in its prompt; empty without it."""
    largest = list(found.sizes)[-1]
    arms = record["judges"].get(largest, {}).get("arms", {})
    rest = arms.get(SINGLE, {}).get("accuracy, untried")
    if not rest:
        return ""
    return plain(
        "The prompt for single criteria was chosen on some of these pairs; on the others the "
        "largest judge is right in {rest}.",
        rest=Interval.from_json(rest),
    )


def _measured(found: results.Judges, judge: str) -> str:
    values = [f"{figures.ASKED[arm]} {of}" for arm, of in found.of(judge).items()]
    return f"at {found.sizes[judge]:g} billion: {', '.join(values) or figures.NOT_YET}"


def _not_yet(found: results.Judges) -> str:
    """What the figure lacks, by what and then by where; says so where nothing is missing."""
    bare = [judge for judge in found.missing if not found.of(judge)]
    lacking: dict[str, list[str]] = {}
    for judge, arms in found.missing.items():
        for arm in arms if judge not in bare else ():
            lacking.setdefault(arm, []).append(judge)
    groups: dict[tuple[str, ...], list[str]] = {}
    for arm in [arm for arm in results.ORDER if arm in lacking]:
        groups.setdefault(tuple(lacking[arm]), []).append(arm)
    said = [
        f"Not measured yet {_where(found, [*judges, *bare])}: {'; '.join(_asked(arms))}."
        for judges, arms in groups.items()
    ]
    said += [f"Nothing is measured yet {_where(found, bare)}."] if bare else []
    return " ".join(said) or "Nothing is missing."


def _where(found: results.Judges, judges: Sequence[str]) -> str:
    if set(judges) == set(found.sizes):
        return "at any size"
    return f"at {_sizes(found, judges)} billion parameters"


def _sizes(found: results.Judges, judges: Sequence[str]) -> str:
    return listed([f"{size:g}" for judge, size in found.sizes.items() if judge in judges])


def _asked(arms: Sequence[str]) -> list[str]:
    """Arms in words; both kinds of rubric that a model writes as one."""
    both = set(WRITTEN) <= set(arms)
    said = [figures.ASKED[arm] for arm in arms if not (both and arm in WRITTEN)]
    return [*said, *(["ratings under rubrics that a model wrote"] if both else [])]


def _block(kind: str, path: str, alt: str, caption: str = "") -> str:
    """A directive for a drawing; JSON's quotes are YAML's, so no text can end the option."""
    lines = [f"```{{{kind}}} {path}", f":alt: {json.dumps(alt)}", ":class: rar-drawn"]
    return "\n".join([*lines, *(["", caption] if caption else []), "```"])


def _on_rubrics(found: results.Judges) -> str:
    title = "**What a rubric does for a judge.** "
    able = [judge for judge in found.sizes if set(COMPARED) <= set(found.of(judge))]
    if not able:
        return title + sentence(
            "No judge is on record with and without a rubric, so nothing can be said of what a "
            "rubric does for a judge."
        )
    of = found.of(able[-1])
    return title + sentence(
        "A judge of {size} billion parameters prefers the better response in {explicit} of the "
        "pairs by single criteria, {implicit} by one rating under the rubric and {plain} without "
        "one.",
        size=f"{found.sizes[able[-1]]:g}",
        explicit=of["explicit"],
        implicit=of["implicit"],
        plain=of["direct_likert"],
    )


def _on_size(found: results.Judges, record: Mapping[str, Any]) -> str:
    """The smallest judge that beats chance by single criteria, and whether it needs them."""
    title = "**How small a judge may be.** "
    able = [judge for judge in found.sizes if SINGLE in found.of(judge)]
    if not able:
        return title + sentence(
            "No judge is on record with single criteria, so sizes cannot be compared."
        )
    sure = [judge for judge in able if SINGLE in _surely(found, judge)]
    judge = [*sure, able[-1]][0]
    text = sentence(
        "The smallest judge that visibly beats chance by single criteria, in {single} of pairs, "
        "has {size} billion parameters;"
        if sure
        else "No judge visibly beats chance by single criteria: the largest, of {size} billion "
        "parameters, is right in {single} of pairs;",
        size=f"{found.sizes[judge]:g}",
        single=found.of(judge)[SINGLE],
    )
    return f"{title}{text} {_beside_rating(found, judge, record)}"


def _beside_rating(found: results.Judges, judge: str, record: Mapping[str, Any]) -> str:
    """What one rating of this judge reaches, and whether single criteria reach more."""
    rating = found.of(judge).get(RATING)
    if rating is None:
        return "its rating under the rubric is not on record."
    text = sentence("one rating reaches {rating}.", rating=rating)
    finding = _single_over_rating(record, judge, found)
    if finding is None:
        return f"{text} No test of the difference is on record."
    extra = "" if judge == _claimed(record, found) else " (extra comparison)"
    return f"{text} Single criteria reach more{extra}: **{finding.word}**."


def _surely(found: results.Judges, judge: str) -> list[str]:
    """The ways of asking under which a judge's interval lies above chance."""
    return [arm for arm, of in found.of(judge).items() if of.shown and of.low > CHANCE]


def _claimed(record: Mapping[str, Any], found: results.Judges) -> str:
    """The judge that the ledger's claims are about: the largest that passes the gate."""
    rows = record.get("judges", {})
    gated = [name for name in found.sizes if rows.get(name, {}).get("gate")]
    return gated[-1] if gated else ""


def _single_over_rating(
    record: Mapping[str, Any], judge: str, found: results.Judges
) -> Finding | None:
    """The record's finding of one judge; that of the ledger's judge has the bare name."""
    claimed = judge == _claimed(record, found)
    key = SINGLE_OVER_RATING if claimed else f"{SINGLE_OVER_RATING}, {judge}"
    value = record.get("findings", {}).get(key)
    return Finding.from_json(value) if value else None


def _told(arms: Mapping[str, Any] | None) -> dict[str, list[dict[str, Any]]]:
    """The runs on record of the arms that the page tells of, without those that are set aside."""
    found: dict[str, list[dict[str, Any]]] = {}
    for run in results.runs_of(arms) or []:
        if run.get("held_out", {}).get("conveyed") and not run["stray"]:
            found.setdefault(results.label(run), []).append(run)
    return {name: found[name] for name in (UNTRAINED, *TOLD) if name in found}


def _conveyed(runs: Sequence[Mapping[str, Any]], when: str) -> float:
    """What answers convey, over tasks and then over seeds."""
    return fmean(fmean(scored(run["held_out"]["conveyed"][when].values())) for run in runs)


def _on_training(arms: Mapping[str, Any] | None, rows: Sequence[claims.Row]) -> str:
    """What answers convey before and after training by some rewards, and what is decided."""
    title = "**What training does.** "
    told = _told(arms)
    trained = [name for name in told if name != UNTRAINED]
    if not trained:
        return title + sentence(
            "The training study has none of the arms on record that this page tells of, so nothing "
            "can be said of what a reward teaches a policy."
        )
    seeds = sorted({len(told[name]) for name in trained})
    text = sentence(
        "An answer {{term}}`conveys <Conveyed>` {before} of its notes before training; after it "
        "{after}, with {seeds}.",
        before=_conveyed(told.get(UNTRAINED, told[trained[0]]), "before"),
        after=", ".join(
            f"{written(_conveyed(told[name], 'after'))} ({TOLD[name][0]})" for name in trained
        ),
        seeds=f"{seeds[0]} to {_seeds(seeds[-1])}" if len(seeds) > 1 else _seeds(seeds[0]),
    )
    if seeds[-1] < MIN_SEEDS:
        few = sentence("So few seeds decide nothing; {needed} are needed.", needed=MIN_SEEDS)
        return f"{title}{text} {few}"
    return f"{title}{text} {_among(told, claims.on_record(arms, rows))}"


def _among(names: Collection[str], findings: Mapping[str, Finding]) -> str:
    """What is decided of differences between these arms, by the word of the finding."""
    pairs = {key: key.removeprefix("training.").partition("_over_") for key in findings}
    words = [
        findings[key].word
        for key, (better, _, other) in pairs.items()
        if better in names and other in names
    ]
    counts = [f"{words.count(word)} {word}" for word in WORDS[:3] if word in words]
    compared = f"{len(words)} comparison{'s' * (len(words) != 1)}"
    return sentence(
        "Of {compared}: {counts}.", compared=compared, counts=", ".join(counts) or "none is decided"
    )


def _arm_curves(arms: Mapping[str, Any] | None) -> Figure | None:
    """The course of these arms over training; ``None`` where no arm has one."""
    courses: dict[str, Sequence[dict[int, float]]] = {}
    for name, runs in _told(arms).items():
        of = [_course(run) for run in runs if len(run.get("course", {})) > 1]
        courses |= {name: of} if of else {}
    if not courses:
        return None
    from matplotlib.pyplot import close
    from matplotlib.ticker import MaxNLocator

    drawn = figures.arm_curves(courses, ylabel="conveyed by held-out answers")
    drawn.set_size_inches(FIGURE_INCHES)
    drawn.axes[0].xaxis.set_major_locator(MaxNLocator(6, integer=True))
    close(drawn)
    return drawn


def _course(run: Mapping[str, Any]) -> dict[int, float]:
    return {int(step): value for step, value in run["course"].items()}


def _arms_figure(arms: Mapping[str, Any] | None) -> list[str]:
    """The figure of the arms' curves with its caption, where there is one."""
    drawn = _arm_curves(arms)
    if arms is None or drawn is None:
        return []
    caption = sentence(
        "Share of its notes that a held-out answer conveys, over the steps of training, {origin}. "
        "What is paid: {paid}. [The study](study.md) says what is still to be trained; the other "
        "arms on record stand in chapter {chapter}.",
        origin=results.origin(dict(arms)),
        paid=[f"{TOLD[name][1]} ({name})" for name in _told(arms) if name in TOLD],
        chapter=int(TRAINING[:2]),
    )
    return [_block("figure", ARMS_FIGURE, repr(drawn), caption)]


def _on_claims(rows: Sequence[claims.Row]) -> str:
    open_ = [row for row in rows if row.word in WORDS]
    decided = sorted((row for row in open_ if row.word in WORDS[:3]), key=_corrected)
    text = sentence(
        "**What is decided.** Of {claims} claims about an effect {decided} are decided, "
        "{undecided} undecided and {closed} not testable by what is recorded.",
        claims=len(open_),
        decided=_many(len(decided)),
        undecided=_many(sum(row.word == "undecided" for row in open_)),
        closed=_many(sum(map(len, claims.reasons(rows).values()))),
    )
    named = [
        sentence(
            "“{says}”: **{finding}**, {difference}.",
            says=row.claim.says.rstrip("."),
            finding=row.finding,
            difference=row.difference,
        )
        for row in decided
    ]
    return _short(text, *named)


def _corrected(row: claims.Row) -> float:
    p = row.finding.p_holm if row.finding else None
    return 1.0 if p is None else p


def _many(count: int) -> str:
    return f"{count:,}" if count else "none"


def _on_paper(rows: Sequence[claims.Row]) -> str:
    checks = [row for row in rows if row.checked]
    same = [row for row in claims.agreeing(rows) if row.checked]
    large = [row for row in claims.bounded(rows) if row.checked]
    text = sentence(
        "**The paper's own numbers.** Of {same} numbers that must agree in two places {agree} do; "
        "{above} of {large} {differences} larger than this book's bound.",
        same=len(same),
        agree=_many(_holding(same)),
        large=len(large),
        above=_many(_holding(large)),
        differences=_differences(_holding(large), len(large)),
    )
    for checked in [row.checked for row in checks if row.checked and row.claim.id == HEADLINE]:
        verb = "is" if checked.holds else "would be"
        text += " " + sentence(
            "The abstract's gain of {said:.0f} % over a plain rating on HealthBench {verb} "
            "{own:.1f} % by its main figure.",
            said=checked.against,
            verb=verb,
            own=checked.value,
        )
    return text


def _differences(held: int, of: int) -> str:
    """Noun and verb behind "1 of 6": the noun goes by what there is, the verb by what holds."""
    return f"difference{'s' * (of != 1)} {'are' if held > 1 else 'is'}"


def _holding(rows: Sequence[claims.Row]) -> int:
    return sum(row.word == claims.CHECKS[0] for row in rows)


def _on_data() -> str:
    row = "pitfalls worded as failure, share"
    rubrics = [task.rubric for task in load_mini("all") if task.rubric]
    criteria = [criterion for rubric in rubrics for criterion in rubric.criteria]
    own = [criterion for criterion in criteria if criterion.category is Category.PITFALL]
    as_read = [(one.polarity, read(one.description, -1).polarity) for one in own]
    decided = sum(found is not None for _, found in as_read)
    wrong = sum(found not in (None, given) for given, found in as_read)
    return sentence(
        "**The released data.** By an independent audit {medicine:.0f} % of RaR-Medicine's "
        "pitfalls and {science:.0f} % of RaR-Science's are worded as a mistake, which positive "
        "weights pay for. Of {pitfalls} pitfalls in this book's data the loader decides {decided} "
        "by their wording, {wrong} wrongly.",
        medicine=100 * tables.numbers("data_audit", row, "RaR-Medicine")[0],
        science=100 * tables.numbers("data_audit", row, "RaR-Science")[0],
        pitfalls=len(own),
        decided=decided,
        wrong=_many(wrong),
    )


def _claims_bar(rows: Sequence[claims.Row]) -> str:
    counts = claims.counts(rows)
    about = sentence(
        "**The ledger** has {entries} entries: what the paper, its reviews and its public "
        "summaries say, each with what was found of it.",
        entries=len(rows),
    )
    origin = sentence(
        "Findings that rest on a record: {recorded}. What a chapter measures while it runs is a "
        "demonstration and decides no claim.",
        recorded=_many(sum(row.origin is not None for row in rows)),
    )
    alt = plain(
        "A bar of {entries} entries: {counts}.",
        entries=len(rows),
        counts=[f"{count} {COUNTED.get(word, word)}" for word, count in counts.items() if count],
    )
    items = [
        sentence("- **{count}** {word}", count=count, word=COUNTED.get(word, word))
        for word, count in counts.items()
    ]
    bar = "\n".join([_block("image", CLAIMS_DRAWING, alt), "", *items])
    return f"{about} {_chapter(LEDGER)}\n\n::::{{div}} rar-claims\n{bar}\n::::\n\n{origin}"


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
            "The training study has recorded none of the three yet, so this book cannot say what "
            "they change."
        )
    counted = sentence(
        "The training study has recorded {seeds}, and the gap in {gap} of {runs} runs.",
        seeds=[f"{name} with {_seeds(count)}" for name, count in seeds.items()],
        gap=len(with_gap),
        runs=len(runs),
    )
    found = claims.on_record(arms, rows)
    said = [_over_plain(name, found.get(key)) for name, key in OVER_PLAIN.items()]
    return "\n".join([f"{counted}\n", *said, _on_gap(with_gap)])


def _seeds(count: int) -> str:
    return f"{count} seed{'s' * (count != 1)}"


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
        "- The gap moved, in nats a token and on average over seeds, by {changes}: below zero, the "
        "sight of the rubric helps less than before training. It decides nothing; [the "
        "study](study.md#what-is-measured) has it for the others.",
        changes=[
            f"{_signed(fmean(changes[arm]))} with {arm} ({_seeds(len(changes[arm]))})"
            for arm in arms
        ],
    )


def _signed(value: float) -> str:
    """Two decimals with a sign; what is rounded to zero has none below it."""
    return f"{round(value, 2) + 0.0:+.2f}"


# --- the loop of training, drawn ------------------------------------------------------------------

#: Where the landing page shows it.
LOOP_DRAWING = "_static/loop.svg"
#: Boxes of the loop: column and row, name, and what stands under the name.
LOOP_BOXES = (
    (0, 0, "Prompt", ("open question",)),
    (1, 0, "Policy", ("in training",)),
    (2, 0, "Responses", ("a group of them",)),
    (1, 1, "Rubric", ("written once,", "from a reference")),
    (2, 1, "Judge", ("reads the rubric",)),
    (2, 2, "Rewards", ("one a response",)),
    (1, 2, "Advantages", ("within the group",)),
    (0, 2, "Update", ("of the policy",)),
)
#: Its arrows: the line, then where its head stands and how far that is turned from the right.
LOOP_ARROWS = (
    ("M142,35H176", 182, 35, 0),
    ("M322,35H356", 362, 35, 0),
    ("M432,66V112", 432, 118, 90),
    ("M322,149H356", 362, 149, 0),
    ("M432,180V226", 432, 232, 90),
    ("M362,263H328", 322, 263, 180),
    ("M182,263H148", 142, 263, 180),
    ("M72,232V92H252V72", 252, 66, 270),
)
LOOP_LOOK = """
.rar-drawing.rar-cycle{display:block;max-width:31.5rem;margin:.4rem auto}
.rar-drawing.rar-cycle text{font:13px system-ui,'Segoe UI',Helvetica,Arial,sans-serif;
fill:var(--rar-text,#1f2937)}
.rar-drawing.rar-cycle text.name{font-size:15px;font-weight:650}
.rar-cycle rect{fill:var(--rar-stripe,#f6f8f9);stroke:var(--rar-ink,#1f4e5f);stroke-width:1.5}
.rar-cycle rect{rx:8px}
.rar-cycle rect.once{stroke:var(--rar-gold,#b7791f);stroke-dasharray:5 4}
.rar-cycle .flow{fill:none;stroke:var(--rar-ink,#1f4e5f);stroke-width:2}
.rar-cycle .head{fill:var(--rar-ink,#1f4e5f)}
"""


def loop_drawing() -> str:
    """One step of training as SVG: boxes, and arrows that lead from the policy back to it.

    What it shows is said once more in the alternative text, which stands in the page.
    """
    parts = [f"<style>{LOOP_LOOK}</style>"]
    for column, row, name, about in LOOP_BOXES:
        left = 2 + 180 * column
        top = 4 + 114 * row
        kind = "once" if len(about) > 1 else "step"
        first = top + 26 - 8 * (len(about) - 1)
        parts.append(f'<rect class="{kind}" x="{left}" y="{top}" width="140" height="62"/>')
        parts.append(_centred(left + 70, first, name, "name"))
        for number, line in enumerate(about, 1):
            parts.append(_centred(left + 70, first + 1 + 16 * number, line, "about"))
    for line, x, y, turned in LOOP_ARROWS:
        place = f"translate({x},{y}) rotate({turned})"
        parts.append(f'<path class="flow" d="{line}"/>')
        parts.append(f'<path class="head" d="M0,0L-11,-6V6z" transform="{place}"/>')
    body = "\n".join(parts)
    return f'<svg class="rar-drawing rar-cycle" viewBox="0 0 504 298">\n{body}\n</svg>\n'


def _centred(x: int, y: int, text: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x}" y="{y}" text-anchor="middle">{escape(text)}</text>'


# --- how the study was made ----------------------------------------------------------------------

#: The page on the training study.
STUDY = "study"
#: The places of that page.
STUDY_PLACES = (
    *("outcome", "secondary", "arms", "folds", "settings", "pilot", "claims", "further", "seen"),
    "decision",
    *("pooled", "graded", "gold", "state"),
)
UNITS = "results/study/units"
#: Where readers' filled sheets lie.
LABELS = "results/study/labels"
#: What is read of a unit's first line.
_OF_UNIT = ("seed", "seconds", "machine", "number format", "date", "settings")
#: Secondary outcomes by their names in the record, as the table heads its columns.
SECONDARY = {
    "explicit": "Judge's score",
    "reference": "Reference answer",
    "gap": "Gap",
    "margin": "Preferred over rejected",
}
#: How a policy is trained, by the name of the method.
TRAINED_BY = {
    "base": "not trained",
    "rlvr": "GRPO, rewarded by a rule",
    "sft_reference": "SFT on the reference answers",
    "sft_filtered": "SFT on the policy's own answers that an implicit rating likes most",
    "direct_likert": "GRPO, one rating without a rubric",
    "implicit": "GRPO, one rating under the whole rubric",
    "explicit": "GRPO, the weighted share of single criteria",
    "reference_likert": "GRPO, one rating beside the reference answer",
    "predefined": "GRPO, the criteria of one general rubric",
}
#: Where an arm leaves the usual, in words; the judge has a column of its own.
DIFFERS = {
    "keep": "share of the rubric that a group is graded by",
    "least": "criteria left at least",
    "contrast": "share of the weights that moves",
    "closed": "without notes",
    "rubrics": "rubrics",
}
MEANT = {
    "device": "where the policy runs",
    "policy": "the policy",
    "rollouts": "responses to a prompt, the group",
    "prompts_per_step": "prompts of a step",
    "max_completion": "longest response in tokens",
    "context": "longest prompt with its response in tokens",
    "steps": "updates",
    "schedule": "course of the learning rate",
    "learning_rate": "learning rate",
    "lora_rank": "rank of the adapter",
    "temperature": "temperature of the rollouts",
    "loss": "how the losses of tokens become one number",
    "clip_epsilon": "half-width of the clip",
    "scale_rewards": "whose standard deviation a reward is divided by",
    "mask_truncated": "whether a response that was cut is left out of the loss",
    "kl_beta": "weight of the KL penalty",
}


def studied(repo: Path) -> dict[str, str]:
    """What the page on the training study says from its records: place -> Markdown.

    Args:
        repo: whose ``results/study`` is read: ``design.json``, and what there is of the pilot, the
            units, the findings and the labels.

    Raises:
        DataError: a record is damaged, or the pilot's is not of the declared trials.
    """
    design = results.load("design", repo)
    if design is None:
        return dict.fromkeys(STUDY_PLACES, sentence("The design of the study is not on record."))
    pilot, arms, gold = (results.load(name, repo) for name in ("pilot", "arms", "gold"))
    decided = claims.on_record(arms, claims.ledger(checkout=repo))
    heads = _heads(design, repo)
    return {
        "outcome": _on_outcome(design),
        "secondary": _on_secondary(design, arms, heads),
        "arms": _arms_table(design),
        "folds": _on_folds(design),
        "settings": _settings_table(design),
        "pilot": _on_pilot(design, pilot),
        "claims": _contrasts_table(design["contrasts"]["claims"], decided),
        "further": _contrasts_table(design["contrasts"]["further"], decided),
        "seen": _on_seen(design, arms),
        "decision": _on_decision(design),
        "pooled": _on_pooling(design, arms),
        "graded": _on_grading(design),
        "gold": _on_gold(design, gold, labelled=any((repo / LABELS).glob("*.csv"))),
        "state": _on_state(design, heads),
    }


def _heads(design: Mapping[str, Any], repo: Path) -> dict[str, dict[str, Any]]:
    """Name of each unit that is trained -> what its file says of it."""
    found = {}
    for name in [name for names in design["units"].values() for name in names]:
        path = repo / UNITS / f"{name}.jsonl"
        if not path.is_file():
            continue
        try:
            with path.open(encoding="utf-8") as stream:
                head = json.loads(stream.readline())
            found[name] = {key: head[key] for key in _OF_UNIT}
            found[name]["done"] = bool(head.get("graded_by"))
        except (ValueError, KeyError, TypeError) as error:
            raise _no_unit(path, error) from error
    return found


def _no_unit(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{path.name} is no unit of the study ({error!r}): remove it, and run results.study.run"
    )


def _grid(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown; cells are Markdown already."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _inline(value: Any) -> str:
    """A value of a setting as Markdown; a small number keeps its digits."""
    return sentence("{value}", value=f"{value:g}" if isinstance(value, float) else value)


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f}"


def _on_outcome(design: Mapping[str, Any]) -> str:
    return sentence(
        "A note counts as conveyed from {recall:.0f} % of its content words on. A response has at "
        "most {tokens} tokens, which bounds how many words can be listed.",
        recall=100 * RECALL,
        tokens=design["settings"]["max_completion"],
    )


def _on_secondary(
    design: Mapping[str, Any],
    arms: Mapping[str, Any] | None,
    heads: Mapping[str, Mapping[str, Any]],
) -> str:
    runs = results.runs_of(arms)
    if not runs and not heads:
        return sentence("No run is on record yet, so no secondary outcome is shown.")
    if not runs:
        return _on_waiting(heads) + sentence(
            " No run is put together from them yet, so no secondary outcome is shown."
        )
    sound = [run for run in runs if not run["stray"]]
    by: dict[str, list[dict[str, Any]]] = {}
    for run in sound:
        by.setdefault(results.label(run), []).append(run)
    names = dict.fromkeys([*(arm["name"] for arm in design["arms"]), *by])
    rows = [_secondary_row(name, by[name]) for name in names if name in by]
    said = sentence(
        "Means over seeds, whose number stands behind the arm: after training, and in brackets how "
        "far that is from the untrained policy. All but the score and the words are in nats a "
        "token. *Words* are those of an answer after training, *KL* is that of the last step. "
        "Answers after training that the judge could not score: {unscored}. Runs set aside, which "
        "are not in the table: {strays}.",
        unscored=_many(_unscored(sound)),
        strays=_many(len(runs) - len(sound)),
    )
    if not all(head["done"] for head in heads.values()):
        said += f" {_on_waiting(heads)}"
    return f"{_grid(['Arm', *SECONDARY.values(), 'Words', 'KL'], rows)}\n\n{said}"


def _on_waiting(heads: Mapping[str, Mapping[str, Any]]) -> str:
    """How many units are trained and still wait for the judge's grades."""
    return sentence(
        "Trained and not graded yet, so without a judge's score: {waiting} of {trained} units.",
        waiting=_many(sum(not head["done"] for head in heads.values())),
        trained=len(heads),
    )


def _secondary_row(name: str, runs: Sequence[Mapping[str, Any]]) -> list[str]:
    kl = [run["kl_to_base"][-1] for run in runs if run["kl_to_base"]]
    known = [value for value in kl if value is not None]
    cells = [
        f"{name} ({len(runs)})",
        *(_secondary_cell(runs, outcome) for outcome in SECONDARY),
        f"{fmean(run['words'] for run in runs):.0f}",
        f"{fmean(known):.2f}" if known else "–",
    ]
    return [_inline(cell) for cell in cells]


def _secondary_cell(runs: Sequence[Mapping[str, Any]], outcome: str) -> str:
    """Where an outcome stands and how far it moved; says so where not every seed has it."""
    found = [run["secondary"][outcome] for run in runs if outcome in run["secondary"]]
    if not found:
        return "–"
    after = fmean(row["after"] for row in found)
    moved = fmean(row["change"]["value"] for row in found)
    cell = f"{round(after, 2) + 0.0:.2f} ({_signed(moved)})"
    return cell if len(found) == len(runs) else f"{cell}, {_seeds(len(found))}"


def _unscored(runs: Sequence[Mapping[str, Any]]) -> int:
    graded = [run["secondary"].get("explicit", {}) for run in runs]
    return sum(row.get("unscored", 0) for row in graded)


def _arms_table(design: Mapping[str, Any]) -> str:
    pairs = [pair for family in design["contrasts"].values() for pair in family.values()]
    rows = []
    for arm in design["arms"]:
        differs = [
            DIFFERS[name] + ("" if value is True else f": {_inline(value)}")
            for name, value in arm["differs"].items()
            if name in DIFFERS
        ]
        cells = [
            _inline(arm["name"]),
            "; ".join([TRAINED_BY[arm["trained"]], *differs]),
            _inline(arm["judge"] or arm["rule"] or "–"),
            _inline(arm["tier"]),
            _inline(_many(sum(arm["name"] in pair for pair in pairs))),
        ]
        rows.append(cells)
    return _grid(["Arm", "How it is trained", "Rewarded by", "Tier", "Contrasts"], rows)


def _on_folds(design: Mapping[str, Any]) -> str:
    held = design["tasks"]["held out"]
    seeds = design["seeds"]
    bare = {arm["name"] for arm in design["arms"] if arm["trained"] == "base"}
    names = [name for names in design["units"].values() for name in names]
    return sentence(
        "RaR-Mini has {tasks} tasks, and the halves have {held}. With {arms} arms and {seeds} "
        "seeds there are {units} units: {tiers}. {untrained} of them are not trained, only "
        "measured.",
        tasks=sum(held),
        held=held,
        arms=len(design["arms"]),
        seeds=len(seeds),
        units=len(names),
        untrained=_many(sum(name.partition("-fold")[0] in bare for name in names)).capitalize(),
        tiers=[f"{len(names)} of tier {tier}" for tier, names in design["units"].items()],
    )


def _settings_table(design: Mapping[str, Any]) -> str:
    usual = Settings().model_dump(mode="json")
    # What has no meaning here is for GPUs.
    rows = [
        [_inline(MEANT[name]), _inline(value), _inline(usual.get(name))]
        for name, value in design["settings"].items()
        if name in MEANT
    ]
    table = _grid(["Setting", "In the study", "Default of `Settings()`"], rows)
    rate = tables.numbers("training", "learning rate", "paper")[0]
    return f"{table}\n\n" + sentence("The paper's own rate is {rate}, of all weights.", rate=rate)


def _on_pilot(design: Mapping[str, Any], pilot: Mapping[str, Any] | None) -> str:
    declared = design["pilot"]
    rows = pilot["trials"] if pilot else []
    trials = declared["trials"]
    rule = {name: declared[name] for name in ("alpha", "most_kl", "least_fitting")}
    asked = [row["trial"] for row in rows]
    if pilot and (asked != trials[: len(rows)] or pilot["rule"] != rule):
        raise DataError(
            "pilot.json holds other trials or another rule than design.json declares: run "
            "python -m results.study.pilot, and python -m results.study.run --design"
        )
    said = sentence(
        "The {trials} trials below train {arm} on one half with seed {seed}, which no unit of the "
        "record has. The first one is taken after which the primary outcome of the held-out tasks "
        "has risen with a p-value below {alpha:g}, the KL from the untrained policy is at most "
        "{kl:g} (nats a token), and under which at least {fits:.0f} % of the reference answers "
        "have no more tokens than an answer may.",
        trials=len(trials),
        arm=declared["arm"],
        seed=declared["seed"],
        alpha=declared["alpha"],
        kl=declared["most_kl"],
        fits=100 * declared["least_fitting"],
    )
    taken = pilot["taken"] if pilot else None
    parts = [said, _tried_table(trials), _came_to_table(trials, rows, taken is not None)]
    parts.append(_on_trials(design, rows, taken))
    return "\n\n".join([*parts, *_on_beside(pilot or {})])


def _tried_table(trials: Sequence[Mapping[str, Any]]) -> str:
    """The settings of each trial: those that the first one names, and what others change beside."""
    names = list(trials[0])
    lines = []
    for place, trial in enumerate(trials, start=1):
        also = [
            f"{MEANT.get(name, name)}: {value}"
            for name, value in trial.items()
            if name not in names
        ]
        tried = (place, *(trial[name] for name in names), "; ".join(also) or "–")
        lines.append([_inline(value) for value in tried])
    return _grid(["Trial", *(MEANT[name].capitalize() for name in names), "Also"], lines)


def _came_to_table(
    trials: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]], taken: bool
) -> str:
    """What each trial measured, and what the rule says of it."""
    lines = []
    for place in range(len(trials)):
        row = rows[place] if place < len(rows) else None
        lines.append([_inline(place + 1), *_came_to(row, taken)])
    return _grid(["Trial", "Rise", "p", "KL", "Fit", "Cut", "Came to"], lines)


def _on_beside(pilot: Mapping[str, Any]) -> list[str]:
    """What was looked at beside the trials, if anything was."""
    if not (beside := pilot.get("beside")):
        return []
    text = sentence(
        "Beside the trials {arm} was trained on the same half with {settings}: the outcome rose by "
        "{rise}, p {p:.2g}.",
        arm=beside["arm"],
        settings=[f"{MEANT[name]} {value}" for name, value in beside["trial"].items()],
        rise=Interval.from_json(beside["rise"]),
        p=beside["p"],
    )
    return [text]


def _came_to(row: Mapping[str, Any] | None, taken: bool) -> list[str]:
    """What a trial measured, and what the rule says of it."""
    if row is None:
        return [*["–"] * 5, "not run: an earlier one was taken" if taken else "not run yet"]
    measured = (
        Interval.from_json(row["rise"]),
        f"{row['p']:.2g}",
        row["kl"],
        f"{100 * row['fits']:.0f} %",
        f"{100 * row['cut']:.0f} %",
    )
    return [
        *(sentence("{value}", value=value) for value in measured),
        _inline("; ".join(row["fails"]) or "taken"),
    ]


def _on_trials(
    design: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], taken: Mapping[str, Any] | None
) -> str:
    trials = design["pilot"]["trials"]
    declared = {**design["settings"], "notes": design["notes"]}
    if not rows:
        return sentence("No trial is on record yet, so the settings above are not final.")
    if taken is None:
        left = len(trials) - len(rows)
        return sentence(
            "{run} of {trials} trials are on record and none of them passes; {left}.",
            run=len(rows),
            trials=len(trials),
            left=f"{left} are left" if left else "none is left, so the study has no settings",
        )
    text = sentence(
        "Trial {place} is taken, after {hours} hours of training in {run} trials, on {machines}.",
        place=trials.index(taken) + 1,
        hours=_hours(sum(row["seconds"] for row in rows)),
        run=len(rows),
        machines=sorted({row["machine"] for row in rows}),
    )
    if all(declared[name] == value for name, value in taken.items()):
        return text
    return f"{text} {sentence('The settings above are not those of that trial yet.')}"


def _contrasts_table(contrasts: Mapping[str, Sequence[str]], found: Mapping[str, Finding]) -> str:
    says = {
        source.key: claim.says
        for claim in claims.load().claims
        for source in claim.sources
        if source.record == "arms"
    }
    rows = []
    for name, (better, other) in contrasts.items():
        key = f"training.{name}"
        cells = (better, other, says.get(key, "–"), _found(found.get(key)))
        rows.append([_inline(cell) for cell in cells])
    return _grid(["This arm", "over this one", "Claim of the ledger", "Finding"], rows)


def _on_seen(design: Mapping[str, Any], arms: Mapping[str, Any] | None) -> str:
    """Of which contrasts something was known before, and what the other half alone says of them."""
    again = (arms or {}).get("on the untouched half", {})
    rows = []
    for name, what in design["seen"].items():
        alone = again.get(name)
        shown = str(Interval.from_json(alone["difference"])) if alone else "not recorded yet"
        rows.append([f"`{name}`", _inline(what), _inline(shown)])
    return _grid(["Contrast", "What was known of it", "On the untouched half alone"], rows)


def _found(finding: Finding | None) -> str:
    if finding is None:
        return "not recorded yet"
    return f"{finding}; {finding.difference}" if finding.difference else str(finding)


def _on_decision(design: Mapping[str, Any]) -> str:
    measure = claims.load().measures["held_out"]
    families = design["contrasts"]
    return sentence(
        "Holm's method corrects the p-values of the {claims} contrasts of the first family for one "
        "another, and those of the {further} of the second. *Supported* and *contradicted* take a "
        "corrected p-value of at most {alpha:g}. The d of *no difference larger than d* is "
        "{margin:g}, as a {unit}. {because}",
        claims=len(families["claims"]),
        further=len(families["further"]),
        alpha=ALPHA,
        margin=measure.margin,
        unit=measure.unit,
        because=measure.because,
    )


def _on_pooling(design: Mapping[str, Any], arms: Mapping[str, Any] | None) -> str:
    bounds = design["bounds"]
    seeds = len(design["seeds"])
    lost = max(0, seeds - MIN_SEEDS) + 1
    text = sentence(
        "A run, an arm with a seed and both halves, is shown and enters no contrast if it ends "
        "with a KL from the untrained policy above {kl:g} (nats a token), or if more than "
        "{unscored:.0f} % of its responses were unscored in training. A contrast needs {needed} "
        "seeds of both arms, and {seeds} are trained: if an arm lacks {lost}, its contrasts become "
        "*not testable here*.",
        kl=bounds["most_kl"],
        unscored=100 * bounds["most_unscored"],
        needed=MIN_SEEDS,
        seeds=seeds,
        lost=f"{lost} run{'s' * (lost != 1)}",
    )
    runs = results.runs_of(arms)
    if runs is None:
        return text
    strays = [
        f"{one['arm']} with seed {one['seed']} ({one['stray']})" for one in runs if one["stray"]
    ]
    return (
        f"{text} {sentence('Set aside of {runs} runs: {strays}.', runs=len(runs), strays=strays)}"
    )


def _on_grading(design: Mapping[str, Any]) -> str:
    tasks = design["tasks"]
    seeds = design["seeds"]
    first = design["looks"][str(seeds[0])]
    others = design["looks"][str(seeds[-1])]
    arms = len(design["arms"])
    held, graded, course = (sum(tasks[name]) for name in ("held out", "graded", "course"))
    every = sum(map(len, design["looks"].values()))
    return sentence(
        "With seed {seed} there is a look after steps {first}, with the others after {others}; the "
        "first is before training, and as all units of a half begin with the same policy, it is "
        "taken from `base`, but for the arms that are asked closed book. Of the {held} held-out "
        "tasks the judge grades the "
        "answers to {graded} at the first and at the last look, and with seed {seed} those to "
        "{course} of them at the looks between. So it grades at most {some} of at most {all} "
        "answers. Likelihoods are asked of {inner} tasks, with seed {seed} at each look, with the "
        "others at the first and the last.",
        first=first,
        others=others,
        held=held,
        graded=graded,
        course=course,
        seed=seeds[0],
        some=arms * (len(seeds) * 2 * graded + len(first[1:-1]) * course),
        all=arms * every * held,
        inner=sum(tasks["likelihoods"]),
    )


def _on_gold(design: Mapping[str, Any], gold: Mapping[str, Any] | None, *, labelled: bool) -> str:
    asked = design["gold"]
    text = sentence(
        "The final answers of {arms} to {tasks} tasks, with seed {seed}, are to be labelled "
        "criterion by criterion.",
        arms=asked["arms"],
        tasks=asked["tasks"],
        seed=asked["seed"],
    )
    if gold is None and labelled:
        return f"{text} {sentence('Labels are there; what they say is not computed yet.')}"
    if gold is None:
        return f"{text} {sentence('Nobody has labelled any of them yet.')}"
    agreed = gold["agreement"]
    read = sentence(
        "Two readers have labelled {items} answers to {tasks} tasks; of {cells} cells that both "
        "filled they agree on {raw}, with a kappa of {kappa}.",
        items=gold["items"],
        tasks=gold["tasks"],
        cells=agreed["cells"],
        raw=Interval.from_json(agreed["raw"]),
        kappa=Interval.from_json(agreed["kappa"]),
    )
    return "\n\n".join([f"{text} {read}", _judge_on_gold(gold), _arms_on_gold(gold)])


def _judge_on_gold(gold: Mapping[str, Any]) -> str:
    """How often the judge says what both readers say: over all answers, and by arm."""
    whole = gold["judge"]["all"]
    return sentence(
        "Of the {n} criteria of which both say the same the judge agrees on {accuracy} (balanced "
        "accuracy {balanced}; without a verdict: {unscored}). By the arm whose answer it is: "
        "{arms}.",
        n=whole["n"],
        accuracy=Interval.from_json(whole["accuracy"]),
        balanced=Interval.from_json(whole["balanced"]),
        unscored=_many(whole["unscored"]),
        arms=_intervals({arm: row["accuracy"] for arm, row in gold["judge"].items()}, "all"),
    )


def _arms_on_gold(gold: Mapping[str, Any]) -> str:
    """How good the answers of each arm are, by labels and judge together."""
    return sentence(
        "By labels and judge together the answers of an arm score {quality}; minus those of `base` "
        "that is {gains}.",
        quality=_intervals({arm: row["both"] for arm, row in gold["quality"].items()}),
        gains=_intervals({arm: row["both"] for arm, row in gold["over base"].items()}),
    )


def _intervals(found: Mapping[str, Any], *but: str) -> list[str]:
    """Each interval with its name behind it."""
    known = {name: Interval.from_json(value) for name, value in found.items() if name not in but}
    return [f"{of or 'unknown'} ({name})" for name, of in known.items()]


def _on_state(design: Mapping[str, Any], heads: Mapping[str, Mapping[str, Any]]) -> str:
    rows = []
    for tier, names in design["units"].items():
        there = [heads[name] for name in names if name in heads]
        done = sum(head["done"] for head in there)
        counts = (len(names), done, len(there) - done, len(names) - len(there))
        hours = _hours(sum(head["seconds"] for head in there))
        rows.append([_inline(tier), *map(_inline, counts), _inline(hours)])
    columns = ["Tier", "Units", "Done", "Trained, not graded", "To do", "Hours of training"]
    table = _grid(columns, rows)
    if not heads:
        return f"{table}\n\n" + sentence(
            "No unit is on record yet, so what this page declares can still change."
        )
    machines: dict[str, int] = {}
    for head in heads.values():
        name = f"{head['machine']} in {head['number format']}"
        machines[name] = machines.get(name, 0) + 1
    other = sum(head["settings"] != design["settings"] for head in heads.values())
    return f"{table}\n\n" + sentence(
        "The first of these units was finished on {first}, the last on {last}. Machines: "
        "{machines}. Trained with other settings than this page shows: {other}.",
        first=min(head["date"] for head in heads.values()),
        last=max(head["date"] for head in heads.values()),
        machines=[f"{name} ({n:,} unit{'s' * (n != 1)})" for name, n in machines.items()],
        other=_many(other),
    )


def citation(book: Path) -> str:
    """How the book is cited: a BibTeX entry as a block of Markdown.

    Title, authors and year are those of the book's configuration, the version is the package's.

    Args:
        book: the book's sources.
    """
    import yaml

    known = yaml.safe_load((book / "_config.yml").read_text(encoding="utf-8"))
    fields = {
        "title": f"{{{known['title']}}}",
        "author": f"{{{known['author']}}}",
        "year": known["copyright"],
        "version": version("rar-lib"),
        "note": "Code: Apache-2.0. Text and data: CC BY 4.0",
    }
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items()]
    return "\n".join(["```bibtex", "@misc{rar-executable,", *lines, "}", "```"])


# --- where a chapter can be opened without a checkout --------------------------------------------

#: Owner and name as GitHub allows them; neither can end an address, a command or an attribute.
_GITHUB = re.compile(
    r"https://github\.com/((?!-)[A-Za-z0-9-]{1,39}(?<!-)/(?![-.])[A-Za-z0-9._-]{1,100}(?<!\.git))"
)
#: The profile that a notebook's first cell names until somebody changes it.
OPENED = "smoke"
#: GB of memory that mybinder.org gives, always and at most; above that the kernel is restarted
#: (mybinder.readthedocs.io, "Usage guidelines", "How much memory am I given when using Binder?").
#: Colab names no number: its resources are "not guaranteed" (research.google.com/colaboratory/faq).
BINDER_GB = (1, 2)
#: GB of the one GPU that profile gpu is written for (profiles.toml).
GPU_GB = 80
#: The line of :mod:`rar_reader` that the links stand under.
SOURCE_PLACE = re.compile(r'<p class="rar-source">.*?</p>', re.S)
UNTRIED = "This project has not run it there."


def repository(book: Path) -> str | None:
    """``owner/name`` of the public repository on GitHub; ``None`` where the book names none.

    Args:
        book: the book's sources; ``repository.url`` of its ``_config.yml`` is read.

    Raises:
        ReproduceError: the setting is not the https address of a repository on GitHub.
    """
    import yaml

    known = yaml.safe_load((book / "_config.yml").read_text(encoding="utf-8"))
    url = (known.get("repository") or {}).get("url")
    if url in (None, ""):
        return None
    found = _GITHUB.fullmatch(url) if isinstance(url, str) else None
    if found is None:
        raise ReproduceError(
            f"book/_config.yml: repository.url is {str(url)[:80]!r}, which is not the address of a "
            'repository on GitHub. Write "https://github.com/OWNER/NAME", without a slash or .git '
            'at its end; or "" for no links to Colab and Binder'
        )
    return found[1]


def elsewhere(
    known: Mapping[str, Mapping[str, Any]], where: str, times: Mapping[str, Any] | None
) -> dict[str, str]:
    """What each chapter says of Colab and Binder, as HTML: page -> two links and what runs there.

    Args:
        known: chapter -> ``rar`` of its notebook's metadata.
        where: ``owner/name`` of the repository.
        times: the record of that name, for the memory of profile laptop; ``None`` if there is none.
    """
    return {
        f"{stem}.html": (
            '<ul class="rar-source">\n'
            f"<li>{_on_colab(stem, known, where, times)}</li>\n"
            f"<li>{_on_binder(stem, known, where)}</li>\n</ul>"
        )
        for stem in known
    }


def _on_colab(
    stem: str, known: Mapping[str, Any], where: str, times: Mapping[str, Any] | None
) -> str:
    name = where.partition("/")[2]
    # The lock is complete, and pip would fetch packages that it leaves out: see environment.yml.
    command = (
        f"!git clone --depth 1 https://github.com/{where} && pip install --no-deps "
        f"-r {name}/env/torch-cpu.txt -r {name}/env/laptop.txt -e ./{name}"
    )
    read = _before(stem, known)
    first = plain(" It reads files of {which}: run them first.", which=_numbers(read))
    rows = (times or {}).get("reproduce", {}).values()
    measured = [row["memory_gb"] for row in rows if row.get("memory_gb")]
    said = plain(
        "Profile {profile}, which the notebook names, is meant for the CPU there; profile laptop "
        "takes {laptop} of memory and profile gpu a GPU of {gpu} GB, and Colab promises neither. "
        "{untried}",
        profile=OPENED,
        laptop=f"{max(measured):.1f} GB" if measured else "an unknown amount",
        gpu=GPU_GB,
        untried=UNTRIED,
    )
    return (
        f'<a href="https://colab.research.google.com/github/{where}/blob/HEAD/notebooks/{stem}'
        '.ipynb">Open this notebook in Colab</a>, run this in a new first cell and restart the '
        f"session: <code>{escape(command)}</code>.{escape(first) if read else ''} {escape(said)}"
    )


def _on_binder(stem: str, known: Mapping[str, Any], where: str) -> str:
    # What a server holds beside its weights, which are left out: they differ by processor.
    server = load_profile(OPENED).server["kv_cache_gb"] + overhead_gb(0.0, float32=False)
    judged = [name for name in _before(stem, known) if _asks(known[name])]
    if _asks(known[stem]):
        runs = plain(
            "the server of the smallest judge takes at least {server:.1f} GB besides its weights, "
            "so no judge fits, and the cells run up to the first question to one",
            server=server,
        )
    elif judged:
        runs = plain(
            "this chapter asks no model, but the files of {which} that it reads are made with a "
            "judge, whose server takes at least {server:.1f} GB besides its weights and does not "
            "fit",
            which=_numbers(judged),
            server=server,
        )
    else:
        runs = "this chapter asks no model, so all of its cells are meant to run"
    low, high = BINDER_GB
    said = plain(
        "builds the environment of the checkout and gives {low} to {high} GB of memory: {runs}. "
        "{untried}",
        low=low,
        high=high,
        runs=runs,
        untried=UNTRIED,
    )
    return (
        f'<a href="https://mybinder.org/v2/gh/{where}/HEAD?urlpath=lab/tree/notebooks/{stem}'
        f'.ipynb">Open this notebook in Binder</a>, which {escape(said)}'
    )


def _asks(rar: Mapping[str, Any]) -> bool:
    return rar.get("asks") is not False


def _before(stem: str, known: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The chapters whose files a chapter reads, and those whose files these read, in order."""
    found: set[str] = set()
    todo = list(known[stem].get("after", []))
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += known[name].get("after", [])
    return sorted(found)


def _numbers(stems: Sequence[str]) -> str:
    word = "chapter" if len(stems) == 1 else "chapters"
    return f"{word} {listed([str(int(stem[:2])) for stem in stems])}"


def _lead(html: Path, made: Mapping[str, str]) -> None:
    """Put the links of :func:`elsewhere` into their pages.

    Raises:
        ReproduceError: a page has no place for them, or several.
    """
    for name, links in made.items():
        page = html / name
        text = page.read_text(encoding="utf-8")
        if (places := len(SOURCE_PLACE.findall(text))) != 1:
            raise ReproduceError(
                f"{name} has {places} lines of class rar-source, one is needed: the links to Colab "
                "and Binder stand under it"
            )
        linked = SOURCE_PLACE.sub(lambda place: f"{place[0]}\n{links}", text)  # noqa: B023
        page.write_text(linked, encoding="utf-8")


KEY_FILE = ".book-key"
RENDERERS = (
    "jupyter-book",
    "Sphinx",
    "myst-nb",
    "sphinx-book-theme",
    "sphinx-exercise",
    "latex2mathml",
)
STATUS = "status"
ROLLOUTS = "rollouts"
#: The page that says how the book is cited.
CITED = "bibliography.md"
#: The chapter whose run that page is about.
TRAINING = "07_training_with_grpo"
#: Runs that chapters leave, by their folder: the one of chapter 7 first.
RUNS = {
    "grpo": "Chapter 7",
    "sft_reference": "Chapter 8",
    "weakest_judge": "Chapter 9",
    "bicycles": "Chapter 11",
}
#: Responses that chapter 6 has every arm grade.
FIVE_ARMS = "five_arms"
ROLLOUTS_PLACE = re.compile(r'<div class="rar-rollouts docutils">.*?</div>', re.S)
TIMEOUT_S = 600
# file: beside 'self', because what 'self' means for a page opened from disk is left to the
# browser (Chromium takes it as file:, others need not). Over http it matches nothing.
CSP = (
    "default-src 'none'; script-src 'self' file: {hashes}; style-src 'self' file: 'unsafe-inline'; "
    "img-src 'self' file: data:; font-src 'self' file:; connect-src 'self'; "
    "form-action 'self' file:; base-uri 'none'; object-src 'none'"
)
INLINE_SCRIPT = re.compile(r"<script(?P<attrs>[^>]*)>(?P<body>.*?)</script>", re.S | re.I)
ONCLICK_PRINT = 'onclick="window.print()"'


def build(executed: Path, book: Path, out: Path, *, repo: Path) -> Path:
    """Build the book and return its ``html`` folder.

    Args:
        executed: folder of executed notebooks ``<stem>.ipynb`` with ``<stem>.json`` manifests.
        book: the book's sources (``_config.yml``, ``_toc.yml``, prose pages).
        out: where ``src`` (staging) and ``html`` (the result) go.
        repo: repository root; its absolute path is cut out of every output.

    Raises:
        ReproduceError: a notebook is missing, unfinished or carries active content, the
            repository is not on GitHub, or jupyter-book reported a warning. The previous ``html``
            is left as it was.
    """
    where = repository(book)
    notebooks = _notebooks(executed, book, repo)
    html = out / "html"
    old = out / ".html.old"
    if old.exists() and not html.exists():  # killed between the two renames of _swap
        old.rename(html)
    made = generated(repo) | {CITED: citation(book)}
    links: dict[str, str] = {}
    if where:
        known = {
            stem: load_notebook(path)["metadata"].get("rar", {}) for stem, path in notebooks.items()
        }
        links = elsewhere(known, where, results.load("times", repo))
    key = input_key(book, executed, list(notebooks), made | links | _browsed_units(repo))
    if (html / KEY_FILE).is_file() and (html / KEY_FILE).read_text() == key:
        _log.info(f"book: unchanged, nothing to build ({_shown(html / 'index.html', repo)})")
        return html
    src = _stage(book, notebooks, out / "src", repo)
    _write(src, made)
    rendered = _render(src, out / ".work")
    fill(rendered, executed / "data", repo)
    draw(rendered, src)
    _fold(rendered)
    _lead(rendered, links)
    _harden(rendered)
    (rendered / KEY_FILE).write_text(key)
    _swap(rendered, html, old)
    shutil.rmtree(out / ".work", ignore_errors=True)
    _log.info(f"book: built {len(chapters(book)) + 1} pages ({_shown(html / 'index.html', repo)})")
    return html


def _notebooks(executed: Path, book: Path, repo: Path) -> dict[str, Path]:
    """The executed notebook of each chapter that is one."""
    stems = chapters(book)
    notebooks = {
        stem: executed / f"{stem}.ipynb" for stem in stems if not (book / f"{stem}.md").exists()
    }
    notebooks.pop(STATUS, None)
    missing = [stem for stem, path in notebooks.items() if not path.is_file()]
    if missing:
        raise ReproduceError(
            f"{len(missing)} executed notebook(s) missing in {_shown(executed, repo)}: "
            f"{', '.join(missing)}. Run: make reproduce"
        )
    return notebooks


def chapters(book: Path) -> list[str]:
    """Return the pages named in ``_toc.yml``, in order, without the root."""
    import yaml

    toc = yaml.safe_load((book / "_toc.yml").read_text(encoding="utf-8"))
    return [entry["file"] for part in toc["parts"] for entry in part["chapters"]]


def input_key(
    book: Path, executed: Path, stems: list[str], made: Mapping[str, str] | None = None
) -> str:
    """Return a SHA-256 over everything that decides what the book looks like.

    Args:
        made: what :func:`generated` returned, and whatever else of records a page shows.
    """
    digest = hashlib.sha256()
    digest.update(json.dumps(dict(made or {})).encode())
    for name in RENDERERS:
        digest.update(f"{name}=={version(name)}\n".encode())
    paths = [p for p in sorted(book.rglob("*")) if p.is_file() and "__pycache__" not in p.parts]
    # Pages use arithmetic and readers of other rooms, too, and are built within a minute or two.
    library = Path(__file__).parents[1]
    paths += [p for p in sorted(library.rglob("*")) if p.is_file() and "__pycache__" not in p.parts]
    for stem in sorted(stems):
        paths += [executed / f"{stem}.ipynb", executed / f"{stem}.json"]
    for run in RUNS:
        folder = executed / "data" / run
        paths += [folder / "run.json", folder / TRANSCRIPT]
    paths.append(executed / "data" / f"{FIVE_ARMS}.json")
    for path in filter(Path.exists, paths):
        data = path.read_bytes()
        digest.update(f"{path.name} {len(data)}\n".encode() + data)
    return digest.hexdigest()


def _stage(book: Path, notebooks: dict[str, Path], src: Path, repo: Path) -> Path:
    """Fill ``src`` with the sources and the checked notebooks."""
    shutil.rmtree(src, ignore_errors=True)
    shutil.copytree(book, src, ignore=shutil.ignore_patterns("__pycache__"))
    manifests: dict[str, dict[str, Any] | None] = {}
    titles: dict[str, str] = {}
    for stem, path in notebooks.items():
        manifests[stem] = read_manifest(path.with_suffix(".json"))
        line = run_line(manifests[stem])
        if stem == TRAINING and (book / f"{ROLLOUTS}.md").is_file():
            line += f" · [its rollouts, one by one]({ROLLOUTS}.md)"
        notebook = clean_notebook(load_notebook(path), path.name, repo, line)
        titles[stem] = notebook["metadata"]["title"]
        (src / path.name).write_text(json.dumps(notebook, indent=1), encoding="utf-8")
    page = status_page(manifests, titles)
    (src / f"{STATUS}.md").write_text(page, encoding="utf-8")
    return src


def _write(src: Path, made: Mapping[str, str]) -> None:
    """Put what is computed into the staged sources.

    Raises:
        ReproduceError: a page has no place for it, or several.
    """
    for named, text in made.items():
        name, _, place = named.partition("#")
        path = src / name
        marked = f"{GENERATED} {place}".rstrip()
        if path.suffix != ".md":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        elif path.is_file():
            lines = path.read_text(encoding="utf-8").split("\n")
            if (places := lines.count(marked)) != 1:
                raise ReproduceError(
                    f"{name} has {places} lines {marked!r}, one is needed: what the book "
                    "computes takes its place"
                )
            lines[lines.index(marked)] = text
            path.write_text("\n".join(lines), encoding="utf-8")


def _render(src: Path, work: Path, builder: str = "html") -> Path:
    """Run jupyter-book on ``src``; return the folder that ``builder`` of Sphinx has filled."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build"]
    command += [str(src), "--path-output", str(work), "-W", "-n", "--keep-going", "-q"]
    if builder != "html":
        command += ["--builder", "custom", "--custom-builder", builder]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    made = work / "_build" / builder
    if done.returncode != 0 or not made.is_dir():
        said = re.sub(r"\x1b\[[0-9;]*m", "", done.stderr).replace(f"{src}/", "")
        lines = [line for line in said.splitlines() if re.search("WARNING|ERROR|Error: ", line)]
        detail = "\n".join(lines or said.splitlines()[-15:])
        raise ReproduceError(f"jupyter-book reported problems; correct these:\n{detail}")
    return made


def fill(html: Path, data: Path, repo: Path) -> None:
    """Put the rollout browser on its page, where the book has one and something was kept.

    Raises:
        ReproduceError: the page has no place for it, or several.
        DataError: a run is damaged.
    """
    page = html / f"{ROLLOUTS}.html"
    leaves = kept_runs(data, repo)
    if not page.is_file() or not leaves:
        return
    here = files("rar_lib.book")
    for name in (f"{ROLLOUTS}.js", f"{ROLLOUTS}.css"):
        (html / "_static" / name).write_bytes(here.joinpath(name).read_bytes())
    body = report.browser_body(leaves)
    text, places = ROLLOUTS_PLACE.subn(lambda _: body, page.read_text(encoding="utf-8"))
    if places != 1:
        raise ReproduceError(f"{page.name} has {places} places for the rollouts, one is needed")
    style = f'<link rel="stylesheet" type="text/css" href="_static/{ROLLOUTS}.css">'
    # Outside of the article, which holds nothing that a browser could run.
    script = f'<script src="_static/{ROLLOUTS}.js"></script>'
    inert = (
        f'<script type="application/json" id="rollouts-data">{report.browser_data(leaves)}</script>'
    )
    head, end = text.split("</head>", 1)
    before, _, after = end.rpartition("</body>")
    page.write_text(
        f"{head}{style}\n</head>{before}{inert}\n{script}\n</body>{after}", encoding="utf-8"
    )


def kept_runs(data: Path, repo: Path) -> list[report.Leaf]:
    """What the chapters' runs have kept, as the rollout browser shows it, and the study's arms.

    Args:
        data: folder where the chapters leave their results.
        repo: whose ``results/study`` is read.

    Raises:
        DataError: a run is damaged.
    """
    example = files("rar_lib.data").joinpath("example", "tasks.jsonl")
    tasks = [*load_mini("all"), *load_tasks(Path(str(example)))]
    found = []
    for name, chapter in RUNS.items():
        path = data / name / "run.json"
        if path.is_file():
            run = report.read_source(path)
            if isinstance(run, Run):
                rows = report.transcript_of(path)
                found.append(report.browsed(run, rows, tasks, prefix=f"{chapter}: "))
    path = data / f"{FIVE_ARMS}.json"
    if path.is_file():
        record = json.loads(path.read_text(encoding="utf-8"))
        name = "Chapter 6: the same responses graded in five ways"
        found.append(report.browsed_arms(record, tasks, name))
    return [leaf for leaf in [*found, *study_runs(repo)] if leaf["tasks"]]


@dataclass(frozen=True)
class _Half:
    """A graded unit of the study: an arm trained on one half, and its answers to the other.

    Attributes:
        judge: that graded the answers.
        answers: step of a look -> task id -> text.
        grades: step of a look -> task id -> grade as a run writes it, where there is one.
    """

    arm: str
    fold: int
    seed: int
    judge: str
    answers: dict[int, dict[str, str]] = field(default_factory=dict)
    grades: dict[int, dict[str, dict[str, Any]]] = field(default_factory=dict)

    @property
    def course(self) -> set[str]:
        """The tasks whose answers were graded at every look."""
        return set.intersection(*(set(self.grades.get(step, ())) for step in self.answers))


def study_runs(repo: Path) -> list[report.Leaf]:
    """The study's arms as the rollout browser shows them: answers before and after training.

    Of each arm the first seed, both halves together, and the tasks whose answers were graded at
    every look: all units would make a page that nobody loads.

    Args:
        repo: whose ``results/study`` is read; units that are not graded yet are left out.

    Raises:
        DataError: a unit is damaged, or its tasks are not this book's.
    """
    tasks = {task.id: task for task in load_mini("all")}
    arms: dict[str, list[_Half]] = {}
    shown: dict[int, set[str]] = {}
    for path in _units_to_browse(repo):
        half = _half(path, tasks)
        arms.setdefault(half.arm, []).append(half)
        shown[half.fold] = shown.get(half.fold, half.course) & half.course
    return [_study_leaf(halves, shown, list(tasks.values())) for halves in arms.values()]


def _units_to_browse(repo: Path) -> list[Path]:
    """The graded units of the first seed, in the order in which they are run."""
    design = results.load("design", repo)
    if design is None:
        return []
    heads = _heads(design, repo)
    first = design["seeds"][0]
    names = [name for name, head in heads.items() if head["done"] and head["seed"] == first]
    return [repo / UNITS / f"{name}.jsonl" for name in names]


def _browsed_units(repo: Path) -> dict[str, str]:
    """Hashes of those files, which decide what a page shows."""
    return {f"{UNITS}/{path.name}": file_hash(path) for path in _units_to_browse(repo)}


def _half(path: Path, tasks: Mapping[str, Task]) -> _Half:
    """A unit from its file, whose lines ``results/study/store.py`` describes."""
    try:
        # Not by splitlines: a text may hold other characters that end a line.
        lines = path.read_text(encoding="utf-8").strip("\n").split("\n")
        head, *rows = map(json.loads, lines)
        found = _Half(head["arm"], head["fold"], head["seed"], head["graded_by"]["judge"])
        for row in rows:
            found.answers.setdefault(row["step"], {})[row["task"]] = row["answer"]
            if "score" in row:
                grade = _as_graded(row, tasks[row["task"]])
                found.grades.setdefault(row["step"], {})[row["task"]] = grade
        if not rows:
            raise ValueError("no answers")
    except (ValueError, KeyError, TypeError) as error:
        raise _no_unit(path, error) from error
    return found


def _as_graded(row: Mapping[str, Any], task: Task) -> dict[str, Any]:
    """An answer's grade as a run writes it; a unit has probabilities in the rubric's order."""
    verdicts = [
        {
            "criterion_id": criterion.id,
            "met": None if p is None else p > 0.5,
            "probability": p,
            "reason": row.get("unscored") if p is None else None,
        }
        for criterion, p in zip(rubric_of(task).criteria, row["verdicts"], strict=True)
    ]
    grade = {"arm": SINGLE, "score": row["score"], "reason": row.get("unscored")}
    return grade | {"verdicts": verdicts}


def _study_leaf(
    halves: Sequence[_Half], shown: Mapping[int, set[str]], tasks: Sequence[Task]
) -> report.Leaf:
    """One arm: as a run that was looked at before and after training, and kept no rollouts."""
    first = halves[0]
    looks = [_look_of(halves, shown, end) for end in (min, max)]
    graders = {"judge": [{"identity": {"model": first.judge}}, SINGLE]}
    run = Run(
        arm=first.arm,
        seed=first.seed,
        backend="",
        seconds=0.0,
        log=[{"step": step} for step in range(1, max(first.answers) + 1)],
        steps=[],
        before=looks[0]["answers"],
        after=looks[-1]["answers"],
        identity={"watch": {"by": {"graders": graders}}},
    )
    note = plain(
        "Held-out answers to {tasks} tasks, those that the judge graded at each look, by the "
        "policy that was not trained on the half in which the task stands. Notes, where the policy "
        "had any, are not shown; the judge saw none. Rollouts of training were not kept.",
        tasks=len(run.before),
    )
    return report.browsed(run, looks, tasks, prefix="Study: ") | {"note": note}


def _look_of(
    halves: Sequence[_Half], shown: Mapping[int, set[str]], end: Callable[[Iterable[int]], int]
) -> dict[str, Any]:
    """The first or the last look at both halves, as a line of a transcript."""
    answers: dict[str, str] = {}
    grades: dict[str, dict[str, Any]] = {}
    for half in halves:
        step = end(half.answers)
        answers |= {name: half.answers[step][name] for name in sorted(shown[half.fold])}
        grades |= {name: half.grades[step][name] for name in sorted(shown[half.fold])}
    return {"look": end(halves[0].answers), "answers": answers, "grades": {"judge": grades}}


#: A folded cell of code that shows nothing: one with an output or with another tag is no match.
FOLD = re.compile(
    r'(?P<cell><div class="cell tag_hide-input docutils container"(?: id="(?P<id>[\w-]+)")?>)\s*'
    r"(?P<head><details[^>]*>\s*<summary(?:(?!</summary>).)*</summary>\s*"
    r'<div class="cell_input docutils container">\s*'
    r'<div class="highlight-[\w-]+ notranslate"><div class="highlight"><pre>)<span></span>'
    r"(?P<code>(?:(?!</pre>).)*)"
    r"(?P<end></pre></div>\s*</div>\s*</div>\s*</details>\s*</div>)",
    re.DOTALL,
)
FOLDS = re.compile(
    rf"(?:{re.sub(r'[?]P<[a-z]+>', '?:', FOLD.pattern)}\s*){{2,}}",
    re.DOTALL,
)


def join_folds(page: str) -> str:
    """A page on which neighbouring folded cells that printed nothing are one fold.

    Each would be a line that promises something and shows nothing. The first cell holds the code
    of all, with an empty line between; a link to another one of them still arrives. The notebook
    that can be downloaded has them apart.

    Args:
        page: as Sphinx wrote it, with its figures and tables numbered.
    """
    return FOLDS.sub(_one_fold, page)


def _one_fold(row: re.Match[str]) -> str:
    folds = list(FOLD.finditer(row[0]))
    first = folds[0]
    anchors = [f'<span id="{fold["id"]}"></span>' for fold in folds[1:] if fold["id"]]
    code = "\n\n".join(fold["code"].rstrip("\n") for fold in folds)
    cell = "\n".join([first["cell"], *anchors, first["head"]])
    return f"{cell}<span></span>{code}\n{first['end']}\n"


def _fold(html: Path) -> None:
    for page in sorted(html.glob("*.html")):
        text = page.read_text(encoding="utf-8")
        if (joined := join_folds(text)) != text:
            page.write_text(joined, encoding="utf-8")


def _harden(html: Path) -> None:
    """Check every page and give it a policy that allows its own scripts only.

    The inline scripts that get a hash are the theme's: :func:`check_page` has refused any
    page with a script inside the article, where notebook and prose content goes.
    """
    for page in sorted(html.rglob("*.html")):
        text = page.read_text(encoding="utf-8").replace(ONCLICK_PRINT, "data-rar-print")
        check_page(text, str(page.relative_to(html)))
        hashes = []
        for script in INLINE_SCRIPT.finditer(text):
            if "src=" not in script["attrs"] and "application/json" not in script["attrs"]:
                digest = hashlib.sha256(script["body"].encode("utf-8")).digest()
                hashes.append(f"'sha256-{base64.b64encode(digest).decode()}'")
        policy = CSP.format(hashes=" ".join(sorted(set(hashes))))
        tag = f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        page.write_text(re.sub(r"<head>", f"<head>\n    {tag}", text, count=1), encoding="utf-8")
    for leftover in (".buildinfo", "objects.inv"):  # only other Sphinx builds read them
        (html / leftover).unlink(missing_ok=True)


def _swap(new: Path, html: Path, old: Path) -> None:
    """Put ``new`` in place of ``html``: two renames, and a kill between them is healed above."""
    shutil.rmtree(old, ignore_errors=True)
    if html.exists():
        html.rename(old)
    new.rename(html)
    shutil.rmtree(old, ignore_errors=True)


def _shown(path: Path, repo: Path) -> str:
    resolved = path.resolve()
    root = repo.resolve()
    return str(resolved.relative_to(root)) if resolved.is_relative_to(root) else path.name


#: What the PDF and the EPUB are called.
EDITION = "rubrics-as-rewards"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
#: A table of more columns is printed row by row, as on a telephone.
PRINTED_COLUMNS = 10
PRINT_CSP = (
    "default-src 'none'; style-src 'unsafe-inline' file:; img-src file: data:; font-src file:"
)
#: What a page's foot says of the book, for its title in print: authors; licence, version, paper.
FOOT = ".component-author, .rar-foot"
FONT = "_static/fonts/STIXTwoMath-subset.woff2"
LEFT_OUT = (
    ".headerlink, .rar-source, .rar-tip, .rar-hint, .above-input, #rollouts-pick, button, script"
)


def write_epub(executed: Path, book: Path, out: Path, *, repo: Path) -> Path:
    """Write the whole book as EPUB 3 into ``out``; an unchanged one is left as it is.

    Args:
        executed: as for :func:`build`.
        book: as for :func:`build`.
        out: where it goes, beside the pages.
        repo: as for :func:`build`.

    Raises:
        ReproduceError: as for :func:`build`. The previous file is left as it was.
    """
    path = out / f"{EDITION}.epub"
    notebooks = _notebooks(executed, book, repo)
    made = generated(repo) | {CITED: citation(book)}
    key = input_key(book, executed, list(notebooks), made | _browsed_units(repo))
    if _is_current(path, key):
        return path
    work = out / ".work-epub"
    src = _stage(book, notebooks, out / "src", repo)
    _write(src, made)
    (packed,) = _render(src, work, "epub").glob("*.epub")
    with zipfile.ZipFile(packed) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    _finish_epub(parts, book, executed / "data", repo)
    whole = BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        # The format asks for its name first, in plain bytes.
        archive.writestr(_entry("mimetype"), parts.pop("mimetype"), zipfile.ZIP_STORED)
        for name, data in parts.items():
            archive.writestr(_entry(name), data, zipfile.ZIP_DEFLATED)
    _keep(path, whole.getvalue(), key)
    shutil.rmtree(work, ignore_errors=True)
    return path


def _entry(name: str) -> zipfile.ZipInfo:
    return zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))


def _finish_epub(parts: dict[str, bytes], book: Path, data: Path, repo: Path) -> None:
    """Fill the page of rollouts, refuse what could run, and list what Sphinx does not."""
    from bs4 import BeautifulSoup

    leaves = kept_runs(data, repo)
    mathematical = set()
    for name in [n for n in parts if n.endswith(".svg")]:
        # In a page a drawing needs no name space; in a file of its own it is none without one.
        if b"xmlns=" not in parts[name]:
            parts[name] = parts[name].replace(b"<svg ", f'<svg xmlns="{SVG}" '.encode(), 1)
    for name in [n for n in parts if n.endswith(".xhtml")]:
        text = parts[name].decode("utf-8")
        if name == f"{ROLLOUTS}.xhtml" and leaves:
            shown = BeautifulSoup(report.browser_body(leaves), "html.parser")
            for choice in shown.select("#rollouts-pick, svg"):
                choice.decompose()
            text = ROLLOUTS_PLACE.sub(lambda _: str(shown), text)  # noqa: B023  used at once
        text = join_folds(text)
        check_page(text, name, "body")
        if "<math" in text:
            mathematical.add(name)
        parts[name] = text.encode("utf-8")
    items = parts["content.opf"].decode("utf-8")
    for name in mathematical:
        items = items.replace(f'href="{name}"', f'href="{name}" properties="mathml"')
    font = f'<item id="mathfont" href="{FONT}" media-type="font/woff2" />'
    parts[FONT] = (book / FONT).read_bytes()
    items = re.sub(r"\s*<dc:contributor>unknown</dc:contributor>", "", items)
    # Sphinx's style names fonts of a kind of reader, at an address that no other one knows.
    styles = parts["_static/epub.css"]
    parts["_static/epub.css"] = re.sub(rb"@font-face\s*\{[^}]*res:[^}]*\}", b"", styles)
    parts["_static/rar.css"] += files("rar_lib.book").joinpath("epub.css").read_bytes()
    parts["content.opf"] = items.replace("</manifest>", f"  {font}\n  </manifest>").encode("utf-8")


def write_pdf(book: Path, out: Path) -> Path:
    """Print the pages that :func:`build` has made into one PDF; an unchanged one is left.

    Args:
        book: the book's sources, for the order of its pages.
        out: the folder that holds ``html``; the PDF goes there.

    Raises:
        ReproduceError: no Chromium is here, or it failed.
    """
    path = out / f"{EDITION}.pdf"
    html = out / "html"
    key = (html / KEY_FILE).read_text(encoding="utf-8")
    if _is_current(path, key):
        return path
    program = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if program is None:
        raise ReproduceError(
            f"the PDF is printed by Chromium, and none of {', '.join(CHROMIUM)} is on the PATH. "
            "Install one (Debian: apt-get install chromium), or make the EPUB, which needs none"
        )
    work = (out / "print").resolve()
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    page = work / "book.html"
    printed = work / "book.pdf"
    page.write_text(print_page(html, ["index", *chapters(book)]), encoding="utf-8")
    command = [program, "--headless", "--disable-gpu", "--no-first-run", "--disable-sync"]
    command += ["--disable-background-networking", "--disable-component-update"]
    command += ["--no-sandbox"] if os.geteuid() == 0 else []  # as root it does not start with it
    command += [f"--user-data-dir={work / 'profile'}", "--no-pdf-header-footer"]
    command += ["--generate-pdf-document-outline", f"--print-to-pdf={printed}", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    data = printed.read_bytes() if printed.is_file() else b""
    if done.returncode != 0 or not data.startswith(b"%PDF"):
        said = "\n".join(done.stderr.strip().splitlines()[-5:])
        raise ReproduceError(f"{program} printed nothing (exit status {done.returncode}):\n{said}")
    _keep(path, data, key)
    shutil.rmtree(work, ignore_errors=True)
    return path


def _is_current(path: Path, key: str) -> bool:
    mark = path.with_name(f".{path.name}.key")
    return path.is_file() and mark.is_file() and mark.read_text(encoding="utf-8") == key


def _keep(path: Path, data: bytes, key: str) -> None:
    mark = path.with_name(f".{path.name}.key")
    mark.unlink(missing_ok=True)
    atomic_write(path, data)
    mark.write_text(key, encoding="utf-8")


def print_page(html: Path, stems: list[str]) -> str:
    """Return one page that holds the articles of all pages, for the printer.

    Ids get the name of their page in front, and links between pages become links within; what
    only works on a screen is left out, and what is folded is open, but for code above outputs.

    Args:
        html: folder of built pages.
        stems: names of the pages in their order, the first being the title's.
    """
    from bs4 import BeautifulSoup

    static = (html / "_static").resolve().as_uri()
    # Not among the book's own: jupyter-book puts every style that it finds there on every page.
    style = files("rar_lib.book").joinpath("print.css").read_text(encoding="utf-8")
    style = style.replace('url("fonts/', f'url("{static}/fonts/')
    articles = []
    contents = []
    title = foot = ""
    for stem in stems:
        page: Any = BeautifulSoup(
            (html / f"{stem}.html").read_text(encoding="utf-8"), "html.parser"
        )
        article = page.select_one("article.bd-article")
        for extra in article.select(LEFT_OUT):
            extra.decompose()
        _localise(article, stem, stems, html)
        for table in article.find_all("table"):
            row = table.find("tr")
            if row and len(row.find_all(["th", "td"], recursive=False)) > PRINTED_COLUMNS:
                table["class"] = [*table.get("class", []), "rar-rows"]
        heading = " ".join(article.h1.get_text().split())
        contents.append(f'<li><a href="#{stem}">{escape(heading)}</a></li>')
        articles.append(
            f'<section class="chapter" id="{stem}">{article.decode_contents()}</section>'
        )
        foot = foot or "".join(map(str, page.select(FOOT)))
        title = title or escape(heading)
    return (
        f'<!DOCTYPE html>\n<html lang="en" data-theme="light"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{PRINT_CSP}"><title>{title}</title>'
        f'<link rel="stylesheet" href="{static}/pygments.css">'
        f'<link rel="stylesheet" href="{static}/{ROLLOUTS}.css">'
        f"<style>{style}</style></head><body>"
        f'<header><p class="title">{title}</p>{foot}</header>'
        f'<nav><p class="contents">Contents</p><ol>{"".join(contents[1:])}</ol></nav>'
        f"{''.join(articles)}</body></html>\n"
    )


def _localise(article: Any, stem: str, stems: list[str], html: Path) -> None:
    """Make links, ids and pictures of one page those of the page that holds them all."""
    for element in article.find_all(True):
        for name in ("id", "aria-describedby", "for"):
            if element.get(name):
                element[name] = f"{stem}--{element[name]}"
        if element.name == "details":
            element["open"] = ""
        if element.name == "img":
            del element["loading"]
            if not element["src"].startswith("data:"):
                element["src"] = (html / element["src"]).resolve().as_uri()
        target = element.get("href")
        if target is None or re.match(r"https?:", target):
            continue
        name, _, anchor = target.partition("#")
        page = name.removesuffix(".html") or stem
        if page in stems:
            element["href"] = f"#{page}--{anchor}" if anchor else f"#{page}"
        else:
            del element["href"]
