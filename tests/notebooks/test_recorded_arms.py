"""The cells of chapters 7 to 9 that show the recorded arms: without a record, and with one.

The cells are those of the notebooks; no model is asked and no chapter is run.
"""

from __future__ import annotations

import io
import json
import re
from contextlib import redirect_stdout
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest

from rar_lib.book import claims, figures, results, tables
from rar_lib.book.prose import sentence
from rar_lib.core import stats
from rar_lib.core.decision import Finding, not_testable
from rar_lib.evaluation.held_out import MIN_SEEDS, overall, paired_difference, share_of_way

mpl.use("Agg")
ROOT = Path(__file__).resolve().parents[2]
CHANGE = {"value": 0.1, "low": 0.0, "high": 0.2, "n": 2, "se": 0.05}


def run(arm: str, seed: int, **change: Any) -> dict[str, Any]:
    base = {"t1": 0.2, "t2": 0.4}
    after = {"t1": 0.3 + seed / 5, "t2": 0.5}
    graded = {"before": base, "after": base if arm == "base" else after}
    trained = arm != "base"
    return {
        "arm": arm,
        "seed": seed,
        "machine": "two cores",
        "versions": {},
        "keep": 1.0,
        "seconds": 9.0,
        "course": {"0": 0.3, "5": 0.35, "10": 0.4 + seed / 10} if trained else {"0": 0.3},
        "steps": [0.2, 0.3] if trained else [],
        "length": [12.0, 14.0] if trained else [],
        "held_out": {"conveyed": graded, "judge-a": graded, "judge-b": graded},
        "change": {"conveyed": CHANGE, "judge-a": CHANGE, "judge-b": None},
    } | change


RECORD = {
    "settings": {"steps": 10},
    "way": 0.5,
    "date": "2026-01-02",
    "machine": "two cores",
    "runs": [run("base", 0), run("implicit", 0), run("implicit", 1), run("implicit", 0, keep=0.5)],
}


ARMS = ("base", "implicit", "rlvr", "length", "sft_reference", "implicit, keep 0.5")
DESIGN = {"arms": [{"name": name, "tier": 1 + (", " in name)} for name in ARMS]}


def section(stem: str, heading: str) -> list[str]:
    """The code cells between this heading and the next one."""
    cells = json.loads((ROOT / "notebooks" / f"{stem}.ipynb").read_text())["cells"]
    texts = [(c["cell_type"], "".join(c["source"])) for c in cells]
    start = next(n for n, (_, text) in enumerate(texts) if text.startswith(heading))
    found = []
    for kind, text in texts[start + 1 :]:
        if kind == "markdown" and text.startswith("## "):
            break
        if kind == "code":
            found.append(text)
    return found


def shown(
    stem: str,
    record: dict[str, Any] | None,
    monkeypatch: pytest.MonkeyPatch,
    *,
    of: tuple[str, str] = ("arms", "## The arms on record"),
    **names: Any,
) -> str:
    """What the cells print and display, the values of their last lines included.

    Args:
        of: name of the record, and the heading of the section that shows it.
    """
    monkeypatch.setattr(results, "load", lambda name: {of[0]: record, "design": DESIGN}[name])
    said: list[str] = []
    known = {
        "MIN_SEEDS": MIN_SEEDS,
        "combinations": combinations,
        "on_record": claims.on_record,
        "ledger": list,  # of no claims: what is recorded stands as it was decided
        "figures": figures,
        "Interval": stats.Interval,
        "np": np,
        "overall": overall,
        "paired_difference": paired_difference,
        "results": results,
        "share_of_way": share_of_way,
        "say": lambda template, **values: said.append(sentence(template, **values)),
        "stats": stats,
        "tables": tables,
    } | names
    drawn: list[Any] = []
    monkeypatch.setattr(figures, "forest", lambda rows, **_: drawn.append({"": rows}))
    monkeypatch.setattr(figures, "forests", lambda panels, **_: drawn.append(panels))
    monkeypatch.setattr(figures, "strips", lambda rows, **_: drawn.append({"": rows}))
    curves: list[Any] = []
    monkeypatch.setattr(figures, "arm_curves", lambda arms, **how: curves.append((arms, how)))
    tabled: list[Any] = []
    table = tables.table
    monkeypatch.setattr(tables, "table", lambda rows: tabled.append(table(rows)) or str(tabled[-1]))
    cells = section(stem, of[1])
    assert len(cells) >= 2
    with redirect_stdout(io.StringIO()) as printed:
        for cell in cells:
            exec(compile(cell, stem, "exec"), known)
    assert len(drawn) == (record is not None)  # without a record nothing is drawn
    assert all(all(panels.values()) for panels in drawn)  # a panel without rows would be empty
    known.get("curves", []).extend(curves)
    return "\n".join(
        [
            *filter(None, [printed.getvalue()]),
            *said,
            *map(repr, tabled),
            *(f"{title}{list(rows)}" for panels in drawn for title, rows in panels.items()),
        ]
    )


LIVE = {
    "scores": {"judge-b": {"base": {"t1": 0.1, "t2": 0.2}, "implicit": {"t1": 0.1, "t2": 0.4}}},
    "roles": {"judge-b": "not in training"},
    "references": {"judge-b": {"t1": 0.5, "t2": 0.6}},
}


def interval(value: float) -> dict[str, Any]:
    return {"value": value, "low": value - 0.05, "high": value + 0.05, "n": 40, "se": 0.025}


def ways(labels: float, judge: float, both: float) -> dict[str, Any]:
    """One arm, scored three ways."""
    found = {"labels alone": labels, "judge alone": judge, "both": both}
    return {way: interval(value) for way, value in found.items()} | {
        "judge is wrong by": judge - labels
    }


LABELLED = {
    "date": "2026-01-03",
    "machine": "two cores",
    "tasks": 40,
    "agreement": {"cells": 900, "raw": interval(0.9)},
    "judge": {"all": {"accuracy": interval(0.8)}},
    "quality": {
        "base": ways(0.3, 0.4, 0.31),
        "implicit": ways(0.4, 0.6, 0.41),
        "explicit": ways(0.6, 0.5, 0.61),
    },
    "over base": {"implicit": ways(0.1, 0.2, 0.04), "explicit": ways(0.3, 0.1, 0.3)},
}
LABELS = ("gold", "## Labels instead of a judge")


def test_a_chapter_without_labels_says_so_and_draws_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = shown("08_evaluation", None, monkeypatch, of=LABELS)
    assert text == "No labels of recorded answers are on record."


def test_labels_stand_beside_the_judge_and_their_order_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = shown("08_evaluation", LABELLED, monkeypatch, of=LABELS).replace("\\", "")
    assert "recorded on 2026-01-03, two cores" in text
    assert "The labels are of answers to 40 tasks." in text
    assert "Of 900 labels the two readings share 0.90 [0.85, 0.95]." in text
    assert "the judge agrees with 0.80 [0.75, 0.85] of them" in text
    assert "together: 0.04 [-0.01, 0.09] (implicit) and 0.30 [0.25, 0.35] (explicit)." in text
    turned = "order by the judge alone is another than by the labels alone: implicit and explicit."
    assert turned in text
    assert "wrong by +0.10 (base), +0.20 (implicit) and -0.10 (explicit)" in text
    assert "0.61 [0.56, 0.66]" in text
    for title in ("labels", "judge", "together"):
        assert f"{title}['implicit', 'explicit']" in text


@pytest.mark.parametrize("judge", [0.4, 0.2])
def test_a_judge_that_turns_no_order_round_is_said_to(
    judge: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it finds two arms equally good."""
    over = {"implicit": ways(0.1, 0.2, 0.1), "explicit": ways(0.3, judge, 0.3)}
    text = shown("08_evaluation", LABELLED | {"over base": over}, monkeypatch, of=LABELS)
    assert "is another than by the labels alone: none." in text


@pytest.mark.parametrize("stem", ["07_training_with_grpo", "08_evaluation"])
def test_where_nothing_is_recorded_the_chapter_says_so(
    stem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = shown(stem, None, monkeypatch, **LIVE)
    # One sentence: what the chapter's own run shows stands in the sections before.
    assert text == (
        "No arm is recorded yet; the page on how the study was made says what will be shown here."
    )


def test_the_training_chapter_shows_every_recorded_arm_in_a_row(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    more = {"conveyed": CHANGE | {"value": 0.3}, "judge-a": CHANGE, "judge-b": None}
    paid = {"steps": [0.2, 0.5], "length": [12.0, 15.0]}
    runs = [
        run("base", 0),
        run("implicit", 0),
        run("implicit", 1, change=more, **paid),
        run("implicit", 0, keep=0.5, steps=[None, 0.3]),
        run("rlvr", 0, stray="KL", change=more),
    ]
    text = shown("07_training_with_grpo", RECORD | {"runs": runs}, monkeypatch, **LIVE)
    assert "recorded on 2026-01-02, two cores" in text
    assert "Runs of 10 steps." in text
    one, other = re.findall(r"^ *(implicit.*?) +(\d) +(?=[-+–])(.*)$", text, re.M)[:2]
    assert one[:2] == ("implicit", "2")
    # In one piece each: a line breaks at none of these spaces.
    assert re.findall(r"\S+\xa0\(\S+\)", one[2]) == [
        "+0.20\xa0(0.10…0.30)",
        "14\xa0(14…15)",
        "+0.20\xa0(0.10…0.30)",
        "+0.10\xa0(0.10…0.10)",
    ]
    assert other[:2] == ("implicit, keep 0.5", "1")
    assert other[2].split() == ["–", "14", "+0.10", "+0.10", "–"]
    assert "['implicit', 'implicit, keep 0.5']" in text  # the one that moved most is drawn first
    assert "rlvr" not in text
    assert "not recorded yet" not in text


def test_the_training_chapter_draws_the_course_of_every_arm_with_a_line_a_seed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    curves: list[Any] = []
    shown("07_training_with_grpo", RECORD, monkeypatch, **LIVE, curves=curves)
    ((arms, how),) = curves
    assert {arm: len(seeds) for arm, seeds in arms.items()} == {
        "implicit": 2,
        "implicit, keep 0.5": 1,
    }
    assert arms["implicit"][1] == {0: 0.3, 5: 0.35, 10: 0.5}
    assert how["panels"] == {"tier 1": ["implicit"], "tier 2": ["implicit, keep 0.5"]}
    empty: list[Any] = []
    shown("07_training_with_grpo", None, monkeypatch, **LIVE, curves=empty)
    assert empty == []


def test_arms_without_notes_have_a_panel_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    curves: list[Any] = []
    runs = [run("rlvr", 0), run("implicit", 0, closed=True), run("length", 0, closed=False)]
    shown("07_training_with_grpo", RECORD | {"runs": runs}, monkeypatch, **LIVE, curves=curves)
    ((_, how),) = curves
    assert how["panels"] == {"tier 1": ["rlvr", "length"], "tier 1, no notes": ["implicit"]}


def example(*, states: list[bool], text: str = "") -> dict[str, Any]:
    share = sum(states) / len(states)
    return {"text": text, "conveyed": share, "score": None, "states": states}


ANSWERED = {
    "question": "Why?",
    "notes": ["A is so.", "B is so, too."],
    "answers": {
        "base": example(states=[True, False], text="At first."),
        "implicit": example(states=[True, True], text="At last.") | {"score": 0.75},
        "sft_reference": example(states=[False, False], text="As it was shown."),
        "rlvr": example(states=[True, False], text="In parts."),
    },
}


def test_the_training_chapter_says_which_notes_the_arms_state_and_which_most_leave_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record = RECORD | {"examples": [ANSWERED]}
    text = shown("07_training_with_grpo", record, monkeypatch, **LIVE).replace("\\", "")
    assert "Of the 2 notes of these questions the untrained policy states 1, and" in text
    assert "arms state: implicit 2, sft_reference 0 and rlvr 1." in text
    assert "What most arms leave out, 2 of 3: “B is so, too”." in text
    assert "\nimplicit, conveyed 1.00, judge 0.75:\n  At last.\n" in text
    assert "\nbase, conveyed 0.50:\n  At first.\n" in text
    assert "As it was shown." not in text  # the page of rollouts has it
    assert "Also counted here, and shown only among the rollouts: sft_reference." in text
    assert "holds no answers" not in text
    every = ANSWERED | {"answers": {"implicit": example(states=[True, True])}}
    record = RECORD | {"examples": [every]}
    text = shown("07_training_with_grpo", record, monkeypatch, **LIVE)
    assert "the untrained policy states unknown" in text
    assert "leave out" not in text
    assert "counted here" not in text


def whole_study() -> dict[str, Any]:
    """A record of every arm that is declared, with every seed, and answers of every arm."""
    design = results.load("design")
    assert design is not None
    runs = []
    for seed in design["seeds"]:
        for number, arm in enumerate(design["arms"]):
            moved = {"conveyed": CHANGE | {"value": number / 20 + seed / 50}}
            closed = arm["name"].endswith("closed book")
            inner = measured(explicit=0.1, reference=-0.1, gap=0.1, margin=0.1)
            runs.append(run(arm["name"], seed, change=moved, closed=closed, secondary=inner))
    said = {arm["name"]: example(states=[True, False]) for arm in design["arms"]}
    answered = ANSWERED | {"answers": said}
    return {"arms": RECORD | {"runs": runs, "examples": [answered] * 2}, "design": design}


def thick(ax: Any) -> int:
    """Means of arms in a panel."""
    return sum(line.get_linewidth() > 2 for line in ax.lines)


def test_the_section_of_recorded_arms_stays_readable_when_the_whole_study_is_recorded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    records = whole_study()
    trained = len(records["design"]["arms"]) - 1
    monkeypatch.setattr(results, "load", records.get)
    tabled: list[Any] = []
    monkeypatch.setattr(tables, "table", lambda rows: tabled.append(rows))
    said: list[str] = []
    known: dict[str, Any] = {"figures": figures, "np": np, "results": results}
    known |= {"stats": stats, "tables": tables}
    known |= {"ledger": list, "on_record": claims.on_record}
    known["say"] = lambda template, **values: said.append(sentence(template, **values))
    plt.close("all")
    with redirect_stdout(io.StringIO()) as printed:
        for cell in section("07_training_with_grpo", "## The arms on record"):
            exec(compile(cell, "07", "exec"), known)
    curves, dots = (plt.figure(number) for number in plt.get_fignums())
    assert [len(rows) for rows in tabled] == [trained, trained, 4]
    assert max(len(rows[0]) for rows in tabled) <= 7
    first, *_ = dots.axes[0].get_yticklabels()
    most = records["design"]["arms"][-1]["name"]
    assert first.get_text().replace("\n", " ") == most
    assert [len(line.get_xdata()) for line in dots.axes[0].lines[1::2]] == [3] * trained
    assert dots.get_figheight() < 7
    assert list(map(thick, curves.axes)) == [6, 8, 3]
    for _ in range(2):  # a key hangs at its plot, so the layout settles in the second draw
        curves.canvas.draw()
    keys = [ax.get_legend().get_window_extent() for ax in curves.axes]
    assert all(one.y0 >= other.y1 for one, other in pairwise(keys))
    assert min(key.y0 for key in keys) >= 0
    assert min(ax.get_window_extent().height for ax in curves.axes) > 1.5 * curves.dpi
    for fig in (curves, dots):
        assert fig.get_figwidth() < 9  # what the column of text shows without shrinking letters
        plt.close(fig)
    assert printed.getvalue().count("(empty)") == 2 * 6
    assert max(map(len, said)) < 1_000


@pytest.mark.parametrize("stem", ["07_training_with_grpo", "08_evaluation"])
def test_an_arm_that_imitates_has_no_rewards_and_stands_in_no_way(
    stem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    imitates = run("sft_reference", 0, steps=[None, None], length=[None, None])
    imitates |= {"kl_to_base": [None, None]}
    record = RECORD | {"runs": [*RECORD["runs"], imitates]}
    text = shown(stem, record, monkeypatch, **LIVE)
    assert "sft_reference" in text


def test_the_chapter_on_evaluation_shows_recorded_arms_beside_its_own_with_their_seeds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = shown("08_evaluation", RECORD, monkeypatch, **LIVE)
    rows = [line.split() for line in text.splitlines() if "judge-" in line]
    assert [(row[:4], row[4:6]) for row in rows if row[:2] == ["this", "chapter"]] == [
        (["this", "chapter", "judge-b", "implicit"], ["1", "0.25"])
    ]
    # A gain of 0.10 on a way of 0.40.
    assert "0.10 (n = 2)     0.25 (n = 2)" in text
    recorded = [row for row in rows if row[0] == "recorded"]
    both = [" ".join(row[1:]) for row in recorded if row[2:4] == ["implicit", "2"]]
    assert both == [
        f"{grader} implicit 2 0.45 (n = 2) 0.15 (n = 2) –" for grader in ("judge-a", "judge-b")
    ]
    conveyed = [line.split() for line in text.splitlines() if " conveyed " in line]
    assert [row[2] for row in conveyed] == ["implicit", "implicit,"]
    # The record's way is 0.5.
    assert " ".join(conveyed[0][4:]) == "0.45 (n = 2) 0.15 (n = 2) 0.30 (n = 2)"
    assert not any(word in text for word in ("supported", "contradicted", "undecided"))
    assert "not recorded yet" not in text


def test_the_chapter_on_evaluation_draws_its_own_scores_and_conveyed_ones_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are on two scales, so no panel holds both."""
    text = shown("08_evaluation", RECORD, monkeypatch, **LIVE)
    assert "this chapter: score by judge-b['implicit']" in text
    assert "recorded: conveyed['implicit', 'implicit, keep 0.5']" in text
    assert "recorded: conveyed[" not in shown("08_evaluation", None, monkeypatch, **LIVE)


SUPPORTED = Finding(
    "supported", stats.Interval(0.12, 0.06, 0.18, 160), 0.002, 0.004, detectable=0.08
)
UNDECIDED = Finding("undecided", stats.Interval(-0.02, -0.1, 0.06, 160), 0.6, 1.0, detectable=0.1)


def test_the_training_chapter_names_the_arms_that_went_farthest_and_least_far(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    far = CHANGE | {"value": 0.3}
    runs = [*RECORD["runs"], run("rlvr", 0, change={"conveyed": far})]
    runs += [run("length", 0, change={"conveyed": far | {"value": 0.4}}, stray="KL")]
    findings = {
        "training.implicit_over_base": SUPPORTED.to_json(),
        "training.rule_over_base": UNDECIDED.to_json(),
        "training.sft_over_base": not_testable("no run").to_json(),
    }
    record = RECORD | {"runs": runs, "findings": findings}
    text = shown("07_training_with_grpo", record, monkeypatch, **LIVE).replace("\\", "")
    # 0.3 on a way of 0.5, and 0.1; the run that strayed counts in neither.
    assert "*rlvr* went farthest of the trained arms on record (3): 0.60 of the way" in text
    assert "*implicit* went least far: 0.20 (seeds: 2)" in text
    assert "out of bounds: 1." in text
    assert "implicit over base: supported (0.12 [0.06, 0.18]). Undecided: 1 of 3" in text
    assert "not testable so far: 1." in text
    assert "of the implicit reward" not in text  # its comparison is decided


def test_the_training_chapter_names_what_is_undecided_of_the_implicit_reward(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    findings = {
        "training.implicit_over_base": SUPPORTED.to_json(),
        "training.implicit_over_direct_likert": UNDECIDED.to_json(),
        "training.implicit_over_sft_filtered": not_testable("no run").to_json(),
        "training.rule_over_base": UNDECIDED.to_json(),
    }
    record = RECORD | {"findings": findings}
    text = shown("07_training_with_grpo", record, monkeypatch, **LIVE).replace("\\", "")
    said = text.partition("Undecided among them, of the implicit reward: ")[2].split("\n")[0]
    assert said.startswith("implicit over direct likert -0.02 [-0.10, 0.06], undecided (")
    assert "base" not in said
    assert "filtered" not in said


def test_the_training_chapter_shows_one_question_with_its_notes_before_its_tables(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record = RECORD | {"examples": [ANSWERED]}
    text = shown("07_training_with_grpo", record, monkeypatch, **LIVE)
    assert text.startswith("Why?\n\nnotes:\n  A is so.\n  B is so, too.\n")
    assert "One of the questions, and the notes that come with it:" in text
    assert "One of the questions" not in shown("07_training_with_grpo", RECORD, monkeypatch, **LIVE)


def test_the_training_chapter_says_nothing_of_arms_and_claims_without_a_record(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = shown("07_training_with_grpo", None, monkeypatch, **LIVE)
    assert "went farthest" not in text
    assert "seeds and tasks" not in text
    alone = shown(
        "07_training_with_grpo", RECORD | {"runs": RECORD["runs"][:2]}, monkeypatch, **LIVE
    )
    assert "*implicit* went farthest of the trained arms on record" in alone.replace("\\", "")
    assert "least far" not in alone
    assert "seeds and tasks" not in alone


PROPOSED = "## What later work proposes: dropout and contrast"


def proposed(
    runs: list[dict[str, Any]] | None,
    monkeypatch: pytest.MonkeyPatch,
    said: list[str] | None = None,
    curves: list[Any] | None = None,
    **findings: Finding,
) -> list[Any]:
    """Rows of the table of recorded runs with rubric dropout and with weights by contrast."""
    decided = {f"training.{name}": finding.to_json() for name, finding in findings.items()}
    record = None if runs is None else {"runs": runs, "findings": decided}
    monkeypatch.setattr(results, "arms", lambda: runs)
    monkeypatch.setattr(results, "load", lambda name: {"arms": record}[name])
    rows: list[Any] = []
    drawn: list[Any] = [] if curves is None else curves
    monkeypatch.setattr(tables, "table", rows.extend)
    monkeypatch.setattr(figures, "arm_curves", lambda arms, **_: drawn.append(arms))
    sentences: list[str] = [] if said is None else said
    known: dict[str, Any] = {
        "figures": figures,
        "on_record": claims.on_record,
        "ledger": list,
        "overall": overall,
        "paired_difference": paired_difference,
        "results": results,
        "say": lambda template, **values: sentences.append(sentence(template, **values)),
        "tables": tables,
    }
    for cell in section("09_gaming_the_rubric", PROPOSED)[-2:]:
        exec(compile(cell, "09", "exec"), known)
    return rows


def as_in_the_study(*arms: tuple[str, int]) -> list[dict[str, Any]]:
    """Runs of these arms and seeds: the study names the arm and writes no ``keep``."""
    runs = [run(arm, seed) for arm, seed in arms]
    for one in runs:
        del one["keep"]
    return runs


DROPPED = ("explicit, keep 0.5", 0)
CONTRAST = ("explicit, contrast 0.5", 1)
PLAIN = (("base", 0), ("explicit", 0), ("explicit", 1))


def test_what_rubric_dropout_changed_is_said_with_its_finding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs = as_in_the_study(("base", 0), ("explicit", 0), DROPPED)
    said: list[str] = []
    proposed(runs, monkeypatch, said, dropout_over_plain=UNDECIDED)
    text = " ".join(said).replace("\\", "")
    assert re.search(
        r"the whole rubric is \*\*undecided \(needs about [\d,]+ tasks at this difference\)\*\*; d",
        text,
    )
    assert "to the references: -0.02 [-0.10, 0.06]." in text
    undecided: list[str] = []
    proposed(runs, monkeypatch, undecided)
    assert undecided == []  # no finding is no sentence


def test_what_weights_by_contrast_changed_is_said_beside_rubric_dropout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []
    runs = as_in_the_study(*PLAIN, DROPPED, CONTRAST)
    findings = {"dropout_over_plain": UNDECIDED, "contrast_over_plain": SUPPORTED}
    rows = proposed(runs, monkeypatch, said, **findings)
    assert [(row["run"], row["seeds"]) for row in rows if row["graded by"] == "conveyed"] == [
        ("explicit, contrast 0.5", 1),
        ("explicit, keep 0.5", 1),
    ]
    text = " ".join(said).replace("\\", "")
    assert "that weights that go to criteria with contrast teach more than the written ones" in text
    assert "is **supported**; difference, as a share of the way to the references: 0.12" in text
    # Seed 1 ends higher than seed 0, and each arm stands beside the plain one of its own seeds.
    for column in ("after", "after, plain arm"):
        ends = [row[column].value for row in rows]
        assert ends == pytest.approx([0.5, 0.5, 0.5, 0.4, 0.4, 0.4])
    assert {row["minus plain arm"].value for row in rows} == {0.0}


def test_the_plain_arm_dropout_and_contrast_are_drawn_in_one_figure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    curves: list[Any] = []
    runs = as_in_the_study(*PLAIN, ("implicit", 0), DROPPED, CONTRAST)
    proposed(runs, monkeypatch, curves=curves)
    (arms,) = curves
    assert {arm: len(seeds) for arm, seeds in arms.items()} == {
        "explicit": 2,
        "explicit, keep 0.5": 1,
        "explicit, contrast 0.5": 1,
    }
    assert arms["explicit, contrast 0.5"] == [{0: 0.3, 5: 0.35, 10: 0.5}]
    empty: list[Any] = []
    proposed(as_in_the_study(*PLAIN), monkeypatch, curves=empty)
    assert empty == []


def test_without_a_record_one_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    proposed(None, monkeypatch, said)
    assert said == [
        "No run with rubric dropout or with weights by contrast is recorded together with its "
        "plain arm in this edition."
    ]


def test_an_arm_without_its_plain_one_of_the_same_seed_is_no_comparison(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []
    assert proposed(as_in_the_study(("explicit", 0), CONTRAST), monkeypatch, said) == []
    assert proposed(as_in_the_study(("base", 0), DROPPED), monkeypatch, said) == []
    assert [text.split(" is ")[0] for text in said] == [
        "No run with rubric dropout or with weights by contrast"
    ] * 2


def test_rubric_dropout_is_found_by_the_name_of_its_arm(monkeypatch: pytest.MonkeyPatch) -> None:
    """The study names the arm and writes no ``keep`` into its record."""
    rows = proposed(as_in_the_study(*PLAIN, DROPPED), monkeypatch)
    (row,) = [row for row in rows if row["graded by"] == "conveyed"]
    assert (row["run"], row["seeds"]) == ("explicit, keep 0.5", 1)  # the seed that both have
    assert row["minus plain arm"].value == 0.0
    assert row["before"].value == pytest.approx(0.3)
    assert row["after"].value == row["after, plain arm"].value == pytest.approx(0.4)
    (older,) = [
        row
        for row in proposed([run("implicit", 0), run("implicit", 0, keep=0.5)], monkeypatch)
        if row["graded by"] == "conveyed"
    ]
    assert older["run"] == "implicit, keep 0.5"


@pytest.mark.parametrize("runs", [None, [run("base", 0), run("explicit", 0)]])
def test_without_a_proposed_arm_there_is_no_table(
    runs: list[dict[str, Any]] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert proposed(runs, monkeypatch) == []


# --- secondary outcomes


def measured(**change: float) -> dict[str, Any]:
    """Secondary outcomes of a run, as the record holds them."""
    return {name: {"change": CHANGE | {"value": value}} for name, value in change.items()}


def secondary(runs: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> str:
    record = RECORD | {"runs": runs}
    return shown("07_training_with_grpo", record, monkeypatch, **LIVE).replace("\\", "")


def test_the_training_chapter_shows_the_secondary_outcomes_of_every_arm(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = measured(explicit=0.125, reference=-0.25, gap=-0.07, margin=0.5)
    other = measured(reference=-0.75, gap=0.19, margin=-0.501)
    text = secondary(
        [
            run("base", 0, secondary=measured(explicit=9.0)),  # it is not trained
            run("implicit", 0, secondary=one),
            run("implicit", 1, secondary=other),
            run("rlvr", 0, secondary=measured(reference=0.5)),
            run("length", 0, secondary=measured(explicit=9.0), stray="KL"),
        ],
        monkeypatch,
    )
    rows = re.findall(r"^ *(implicit|rlvr) +(\d) +(?=[-+–])(.*)$", text, re.M)
    implicit, rlvr = rows[2:]  # behind those of the table of the arms
    assert implicit[:2] == ("implicit", "2")
    assert re.split(r" +", implicit[2]) == [
        "+0.12",
        "-0.50\xa0(-0.75…-0.25)",
        "+0.06\xa0(-0.07…0.19)",
        "+0.00\xa0(-0.50…0.50)",  # and no zero below zero
    ]
    assert "Recorded with fewer seeds than a row says: explicit score (seeds: 1)." in text
    assert "[" not in implicit[2]  # brackets are intervals
    assert rlvr[2].split() == ["–", "+0.50", "–", "–"]
    assert "+9.00" not in text
    assert (
        "explicit score in 1 of 1, log-likelihood of references in 1 of 2, gap in 1 of 1 and "
        "preferred minus rejected in 0 of 1. These" in text
    )


def test_the_training_chapter_says_that_no_secondary_outcome_is_on_record(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = secondary(RECORD["runs"], monkeypatch)
    assert "No secondary outcome of these runs is on record." in text
    assert "explicit score" not in text
    nothing = shown("07_training_with_grpo", None, monkeypatch, **LIVE)
    assert "secondary outcome" not in nothing
