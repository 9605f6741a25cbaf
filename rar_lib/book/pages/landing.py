"""The landing page: short answers, each computed from a record, with their figures."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from html import escape
from statistics import fmean
from typing import TYPE_CHECKING, Any

from rar_lib.book import claims, figures, results, tables
from rar_lib.book.pages.words import SINGLE, TRAINING, many, some_seeds
from rar_lib.book.prose import listed, plain, sentence, written
from rar_lib.core.decision import WORDS, Finding
from rar_lib.core.stats import Interval, scored
from rar_lib.core.types import Category
from rar_lib.data.polarity import read
from rar_lib.data.tasks import load_mini
from rar_lib.evaluation.held_out import MIN_SEEDS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
#: The other way of asking about a rubric, and the finding that single criteria reach more pairs.
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
#: Contrasts of the study that a reader of the paper asks for first, in words.
REWARDS = {
    "explicit_over_direct_likert": "Explicit over plain rating",
    "implicit_over_direct_likert": "Implicit over plain rating, the paper's main claim",
    "implicit_over_explicit": "Implicit over explicit, the paper's order",
}
WAY = "Unit: {term}`share of the way <Way>`."
#: Width and height of their figure: a small one, whose letters stay large on a telephone.
FIGURE_INCHES = (4.4, 3.6)
#: Where the page shows the loop of training.
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


def landing(
    rows: Sequence[claims.Row],
    alignment: Mapping[str, Any] | None,
    arms: Mapping[str, Any] | None = None,
) -> str:
    """The landing page's answers as Markdown: figures, seven short answers, the claims in a bar.

    Args:
        rows: of the ledger.
        alignment: the record of judges; ``None`` where there is none.
        arms: the record of the training study; ``None`` where there is none.
    """
    found = results.judges(alignment)
    said = [
        (_on_rubrics(found), JUDGES),
        (_on_size(found, _as_decided(alignment or {}, rows)), JUDGES),
        (_on_training(arms), TRAINING),
        (_on_rewards(arms, rows), TRAINING),
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
        "whole whisker lies above the line, uncorrected for the number of whiskers. The better "
        "response of a pair is the one that meets more of its task's rubric, so a judge that reads "
        "the rubric is asked for what the pairs were made by. {limits}",
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
        "pairs by single criteria, {implicit} by one rating under the rubric and {plain} without a "
        "rubric.",
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
    extra = "" if judge == _claimed(record, found) else " (our comparison)"
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


def _on_training(arms: Mapping[str, Any] | None) -> str:
    """What answers convey before and after training by some rewards, and what that takes."""
    title = "**What training does.** "
    told = _told(arms)
    trained = [name for name in told if name != UNTRAINED]
    if not trained:
        return title + sentence(
            "The training study has none of the arms on record that this page tells of, so nothing "
            "can be said of what a reward teaches a policy."
        )
    return title + sentence(
        "Given the reference answer's sentences, shuffled, an untrained policy {{term}}`conveys "
        "<Conveyed>` {before} of them and a trained one {after}, with {seeds}. What it knows "
        "is not measured.",
        before=_conveyed(told.get(UNTRAINED, told[trained[0]]), "before"),
        after=", ".join(
            f"{written(_conveyed(told[name], 'after'))} ({TOLD[name][0]})" for name in trained
        ),
        seeds=_seeds(told),
    )


def _seeds(told: Mapping[str, Sequence[Any]]) -> str:
    """With how many seeds the trained arms are on record."""
    counts = sorted({len(runs) for name, runs in told.items() if name != UNTRAINED})
    last = some_seeds(counts[-1])
    return f"{counts[0]} to {last}" if len(counts) > 1 else last


def _on_rewards(arms: Mapping[str, Any] | None, rows: Sequence[claims.Row]) -> str:
    """What is decided between the rewards that the paper compares."""
    title = "**Which reward is best.** "
    findings = claims.on_record(arms, rows) if arms else {}
    found = {said: findings.get(f"training.{key}") for key, said in REWARDS.items()}
    if not any(found.values()):
        return title + sentence(
            "No two rewards are on record with the {needed} seeds that a finding needs.",
            needed=MIN_SEEDS,
        )
    texts = [
        f"{said}: **{one.word}**, {one.difference}." if one else f"{said}: not on record."
        for said, one in found.items()
    ]
    return title + " ".join([*texts, WAY])


def arm_curves(arms: Mapping[str, Any] | None) -> Figure | None:
    """The course of these arms over training; ``None`` where no arm has one."""
    courses: dict[str, Sequence[dict[int, float]]] = {}
    for name, runs in _told(arms).items():
        of = [_course(run) for run in runs if len(run.get("course", {})) > 1]
        courses |= {name: of} if of else {}
    if not courses:
        return None
    from matplotlib.pyplot import close

    drawn = figures.arm_curves(courses, ylabel="conveyed by held-out answers")
    drawn.set_size_inches(FIGURE_INCHES)
    close(drawn)
    return drawn


def _course(run: Mapping[str, Any]) -> dict[int, float]:
    return {int(step): value for step, value in run["course"].items()}


def _arms_figure(arms: Mapping[str, Any] | None) -> list[str]:
    """The figure of the arms' curves with its caption, where there is one."""
    drawn = arm_curves(arms)
    if arms is None or drawn is None:
        return []
    caption = sentence(
        "Share of the notes given with a held-out question that its answer states, over the steps "
        "of training, {origin}. What is paid: {paid}. [The study](study.md) says what is still to "
        "be trained; the other arms on record are in chapter {chapter}.",
        origin=results.origin(dict(arms)),
        paid=[f"{TOLD[name][1]} ({name})" for name in _told(arms) if name in TOLD],
        chapter=int(TRAINING[:2]),
    )
    return [_block("figure", ARMS_FIGURE, repr(drawn), caption)]


def _on_claims(rows: Sequence[claims.Row]) -> str:
    open_ = [row for row in rows if row.word in WORDS]
    decided = sorted((row for row in open_ if row.word in WORDS[:3]), key=_corrected)
    later = len(claims.unrecorded(rows))
    text = sentence(
        "**What is decided.** Of {claims} claims about effects {decided} are decided, {undecided} "
        "undecided, {later} not yet fully recorded, {closed} not testable here.",
        claims=len(open_),
        decided=many(len(decided)),
        undecided=many(sum(row.word == "undecided" for row in open_)),
        later=many(later),
        closed=many(sum(map(len, claims.reasons(rows).values())) - later),
    )
    named = [
        sentence(
            "“{says}”: **{finding}**, {difference} ({unit}).",
            says=row.claim.says.rstrip("."),
            finding=row.finding,
            difference=row.difference,
            unit=row.measure.unit.partition(" from ")[0] if row.measure else "",
        )
        for row in decided
    ]
    return _short(text, *named)


def _corrected(row: claims.Row) -> float:
    p = row.finding.p_holm if row.finding else None
    return 1.0 if p is None else p


def _on_paper(rows: Sequence[claims.Row]) -> str:
    checks = [row for row in rows if row.checked]
    same = [row for row in claims.agreeing(rows) if row.checked and not row.claim.reading]
    large = [row for row in claims.bounded(rows) if row.checked]
    text = sentence(
        "**The paper's own numbers.** Of {same} numbers that must agree in two places {agree} do; "
        "{above} of {large} {differences} larger than our noise bound.",
        same=len(same),
        agree=many(_holding(same)),
        large=len(large),
        above=many(_holding(large)),
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
        "pitfalls and {science:.0f} % of RaR-Science's describe making the mistake: positive "
        "weights reward it. The loader decides {decided} of this book's {pitfalls} pitfalls by "
        "their wording, {wrong} wrongly, and leaves out the others.",
        medicine=100 * tables.numbers("data_audit", row, "RaR-Medicine")[0],
        science=100 * tables.numbers("data_audit", row, "RaR-Science")[0],
        pitfalls=len(own),
        decided=decided,
        wrong=many(wrong),
    )


def _claims_bar(rows: Sequence[claims.Row]) -> str:
    counts = claims.counts(rows)
    about = sentence(
        "**The ledger** has {entries} entries: what the paper, its reviews and its public "
        "summaries say, each with what was found of it.",
        entries=len(rows),
    )
    origin = sentence(
        "Findings that rest on a record: {recorded}. Of those that are not testable here a record "
        "could still decide {later}. What a chapter measures while it runs is a demonstration and "
        "decides no claim.",
        recorded=many(sum(row.origin is not None for row in rows)),
        later=many(len(claims.unrecorded(rows))),
    )
    alt = plain(
        "A bar of {entries} entries: {counts}.",
        entries=len(rows),
        counts=[f"{count} {COUNTED.get(word, word)}" for word, count in counts.items() if count],
    )
    failing = [row for row in rows if row.word == claims.CHECKS[1]]
    bounded = claims.bounded(failing)
    tried = [row for row in claims.agreeing(failing) if row.claim.reading]
    failed = sentence(
        "Of the checks of the paper's own numbers that do not hold, {apart} are of numbers that "
        "must agree, {tried} are readings that we tried, and {small} are differences below a "
        "bound of ours.",
        apart=many(len(failing) - len(tried) - len(bounded)),
        tried=many(len(tried)),
        small=many(len(bounded)),
    )
    items = [
        sentence("- **{count}** {word}", count=count, word=COUNTED.get(word, word))
        for word, count in counts.items()
    ]
    bar = "\n".join([_block("image", CLAIMS_DRAWING, alt), "", *items])
    chapter = _chapter(LEDGER)
    return f"{about} {chapter}\n\n::::{{div}} rar-claims\n{bar}\n::::\n\n{failed} {origin}"


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
