"""The page on the study is right before, while and after it is recorded; none of it is typed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rar_lib.book import claims, results
from rar_lib.book.pages import build
from rar_lib.book.pages.build import chapters, generated
from rar_lib.book.pages.status import status_page
from rar_lib.book.pages.training_study import (
    EXAMPLE,
    LABELS,
    MEANT,
    PILOT_FIGURE,
    STUDY,
    STUDY_PLACES,
    UNITS,
    pilot_curves,
    studied,
)
from rar_lib.book.pages.words import GENERATED
from rar_lib.core.decision import Finding, decide, not_testable
from rar_lib.core.errors import DataError, ReproduceError
from rar_lib.core.stats import Comparison, Interval, Seeds
from rar_lib.data.tasks import load_mini
from rar_lib.evaluation.notes import with_notes

REPO = Path(__file__).resolve().parents[3]
BOOK = REPO / "book"
TEXT = (BOOK / f"{STUDY}.md").read_text(encoding="utf-8")
DESIGN: dict[str, Any] = json.loads(
    (REPO / "results" / "study" / "design.json").read_text(encoding="utf-8")
)
TRIALS = DESIGN["pilot"]["trials"]
RULE = {name: DESIGN["pilot"][name] for name in ("alpha", "most_kl", "least_fitting")}
#: The heads of the columns for what only some trials set, and for what came of them.
LAST = ["Besides", "By the rule"]
#: What answers convey of a task's own notes and of the others beside them.
LOOKED_AT = [
    {"step": 0, "own": 0.2, "others": 0.1},
    {"step": 6, "own": 0.5, "others": 0.15},
    {"step": 12, "own": 0.4, "others": 0.18},
]
ORIGIN = {"machine": "2 cores", "number format": "float32", "date": "2026-12-01"}


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A checkout in which the study is declared and nothing of it is recorded."""
    (tmp_path / UNITS).mkdir(parents=True)
    write(tmp_path, "design", DESIGN)
    return tmp_path


def write(repo: Path, name: str, value: Any) -> None:
    (repo / "results" / "study" / f"{name}.json").write_text(json.dumps(value))


def unit(
    repo: Path, name: str, *, answers: list[dict[str, Any]] | None = None, **change: Any
) -> None:
    seed = int(name.rpartition("seed")[2])
    head = {**ORIGIN, "seed": seed, "seconds": 1800.0, "settings": DESIGN["settings"], **change}
    lines = [head, *(answers or [{"step": 0, "task": "t", "answer": "x"}])]
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    (repo / UNITS / f"{name}.jsonl").write_text(text)


def said(repo: Path, place: str) -> str:
    """As a reader sees it: without what keeps markup from being read."""
    return studied(repo)[place].replace("\\", "")


def trial(place: int, *fails: str) -> dict[str, Any]:
    return {
        "trial": TRIALS[place],
        "rise": Interval(0.12, 0.08, 0.16, 80, 0.02).to_json(),
        "p": 1.5e-5,
        "kl": 0.21,
        "fits": 0.95,
        "cut": 0.4,
        "looks": LOOKED_AT,
        "declared": "Because it is cheap.",
        "decided": "The next one was run.",
        "seconds": 3600.0,
        "machine": "2 cores",
        "fails": list(fails),
    }


def told(text: str) -> list[str]:
    """The trials as they are told, one a line."""
    return [line for line in text.splitlines() if line.startswith("- **")]


def grids(text: str) -> list[list[list[str]]]:
    """The tables of a text: of each its rows, the heads first."""
    blocks = re.findall(r"(?:^\| .*\n?)+", text, re.M)
    return [list(map(cells, block.splitlines())) for block in blocks]


def cells(line: str) -> list[str]:
    """Of a row of a table; what may not break reads as any other space."""
    return [" ".join(cell.split()) for cell in line.strip("|").split("|")]


def rows(text: str, place: int = 0) -> list[list[str]]:
    """The rows of one of the tables, without heads and rule."""
    return grids(text)[place][2:]


def recorded_run(arm: str, seed: int, **change: Any) -> dict[str, Any]:
    return {
        "arm": arm,
        "seed": seed,
        "stray": "",
        "words": 40.0 + 2 * seed,
        "kl_to_base": [0.05, 0.2 + seed / 10],
        "secondary": {},
    } | change


def outcome(before: float, after: float, unscored: int = 0) -> dict[str, Any]:
    change = Interval(after - before, -1.0, 1.0, 80, 0.1).to_json()
    return {"before": before, "after": after, "unscored": unscored, "change": change}


MADE = {"machine": "2 cores", "versions": {"trl": "1"}, "date": "2026-01-01"}
SHARE = Interval(0.9, 0.85, 0.95, 40, 0.02).to_json()
#: A judge beside labels.
SEEN = {"unscored": 0, "accuracy": SHARE, "balanced": SHARE, "auc": SHARE, "ece": 0.0417}
GOLD: dict[str, Any] = {
    "items": 150,
    "tasks": 40,
    "agreement": {"cells": 1000, "raw": SHARE, "kappa": None, "disputed": []},
    "judge": {
        "all": SEEN | {"n": 900, "unscored": 3, "balanced": None},
        "base": SEEN | {"n": 400, "accuracy": SHARE | {"value": 0.88}, "ece": 0.0436},
        "implicit": SEEN | {"n": 500, "ece": 0.1131},
        "explicit": {"n": 0, "unscored": 0} | dict.fromkeys(("accuracy", "balanced", "auc", "ece")),
    },
    "quality": {"base": {"both": SHARE | {"value": 0.87}}, "explicit": {"both": SHARE}},
    "over base": {"explicit": {"both": Interval(0.03, -0.01, 0.07, 40, 0.02).to_json()}},
}


# --- the page


def test_the_example_marks_which_notes_each_policy_states(repo: Path) -> None:
    tasks = sorted(with_notes(load_mini("all"), others=False), key=lambda task: task.id)
    assert said(repo, "example").startswith("No example is shown: a unit that it needs")
    notes = tasks[0].context.splitlines()
    last = DESIGN["settings"]["steps"]
    for name, step, text in zip(EXAMPLE, (0, last), ("Nothing of it.", notes[-1]), strict=True):
        answers = [{"step": 0, "task": tasks[0].id, "answer": "Early."}] if step else []
        answers += [{"step": step, "task": task.id, "answer": text} for task in tasks[1::-1]]
        unit(repo, name, answers=answers)
    text = said(repo, "example")
    assert tasks[0].question in text
    shown = rows(text)
    assert [row[0] for row in shown] == [" ".join(note.split()) for note in notes]
    assert {row[1] for row in shown} == {"–"}
    assert shown[-1][2] == "stated"
    assert text.endswith(f"*The answer after training on single criteria:* {notes[-1]}")


def test_an_example_of_a_damaged_unit_names_the_file(repo: Path) -> None:
    for name in EXAMPLE:
        unit(repo, name, answers=[{"step": 0}])
    with pytest.raises(DataError, match=f"{next(iter(EXAMPLE))}.jsonl is no unit"):
        studied(repo)


def test_the_page_is_in_the_book_and_led_to() -> None:
    assert STUDY in chapters(BOOK)
    for name in ("index", "conventions", "after"):
        assert f"]({STUDY}.md)" in (BOOK / f"{name}.md").read_text(encoding="utf-8")


def test_no_number_is_typed_into_it() -> None:
    prose = re.sub(r"\[[^\]]*\]\([^)]*\)", "", TEXT)  # the numbers of chapters
    assert re.findall(r".*\d.*", prose) == []


def test_every_place_of_the_page_is_filled(repo: Path) -> None:
    asked = re.findall(rf"^{GENERATED} (\w+)$", TEXT, re.M)
    assert sorted(asked) == sorted(STUDY_PLACES)
    assert set(studied(repo)) == set(STUDY_PLACES)
    made = generated(repo)
    assert {f"{STUDY}.md#{place}" for place in asked} <= set(made)


def test_each_text_takes_its_own_place(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n% generated one\nb\n% generated two\n")
    build._write(tmp_path, {"page.md#two": "2", "page.md#one": "1"})
    assert page.read_text() == "a\n1\nb\n2\n"
    with pytest.raises(ReproduceError, match=r"page.md has 0 lines '% generated two'"):
        build._write(tmp_path, {"page.md#two": "2"})


def test_files_that_it_names_are_there() -> None:
    paths = re.findall(r"`((?:results|tests|rar_lib)/[\w/.]+)`", TEXT)
    assert paths
    for path in paths:
        assert (REPO / path).exists(), path


def test_without_a_design_it_says_so(tmp_path: Path) -> None:
    assert set(studied(tmp_path).values()) == {"The design of the study is not on record."}


# --- what is declared


def test_every_arm_setting_and_contrast_of_the_design_is_shown(repo: Path) -> None:
    arms = rows(said(repo, "arms"))
    assert [row[0] for row in arms] == [arm["name"] for arm in DESIGN["arms"]]
    by = {row[0]: row for row in arms}
    assert by["explicit, keep 0.5"][1].endswith(
        "; share of the rubric that a group is graded by: 0.5; criteria left at least: 3"
    )
    assert by["implicit, closed book"][1].endswith("; without notes")
    assert by["implicit, closed book"][4] == "none"
    assert by["rlvr"][2] == "notes conveyed"
    assert len(rows(said(repo, "settings"))) == len(MEANT)
    for family, contrasts in DESIGN["contrasts"].items():
        assert [row[:2] for row in rows(said(repo, family))] == list(contrasts.values())


def test_a_setting_that_is_left_out_is_one_of_gpus() -> None:
    assert set(DESIGN["settings"]) - set(MEANT) == {"vllm_share", "rollout_server"}


def test_a_design_that_changes_changes_the_page(repo: Path) -> None:
    changed = json.loads(json.dumps(DESIGN))
    changed["settings"]["steps"] = 24
    changed["bounds"]["most_kl"] = 0.75
    changed["seeds"].append(3)
    changed["looks"]["3"] = changed["looks"]["2"]
    before = {place: said(repo, place) for place in ("settings", "pooled")}
    write(repo, "design", changed)
    assert "| updates | 24 | 300 |" in said(repo, "settings")
    assert "| updates | 24 |" not in before["settings"]
    assert "above 0.75 (nats a token)" in said(repo, "pooled")
    assert "if an arm lacks 1 run, its" in before["pooled"]
    assert "if an arm lacks 2 runs, its" in said(repo, "pooled")


def test_a_contrast_names_the_claim_that_it_decides(repo: Path) -> None:
    shown = {tuple(row[:2]): row[2] for row in rows(said(repo, "claims"))}
    claim = next(c for c in claims.load().claims if c.id == "reward.implicit-over-direct-likert")
    assert shown["implicit", "direct_likert"] == claim.says
    controls = {tuple(row[:2]): row[2] for row in rows(said(repo, "further"))}
    assert controls["length", "base"] == "–"


def test_the_margin_and_its_reason_are_the_ledger_s(repo: Path) -> None:
    measure = claims.load().measures["held_out"]
    text = said(repo, "decision")
    assert f"is {measure.margin:g}, as a {measure.unit}. {measure.because}" in text
    assert f"the {len(DESIGN['contrasts']['further'])} of the second" in text


def test_what_the_judge_grades_is_counted_by_hand(repo: Path) -> None:
    small = {
        **DESIGN,
        "arms": DESIGN["arms"][:2],
        "seeds": [0, 1],
        "looks": {"0": [0, 3, 6], "1": [0, 6]},
        "tasks": {"held out": [6, 5], "graded": [3, 2], "course": [1, 1], "likelihoods": [2, 2]},
    }
    write(repo, "design", small)
    text = said(repo, "graded")
    # Two arms: two seeds with five answers at two looks, and two answers at one look of a seed;
    # five looks of eleven answers each.
    assert "grades at most 44 of at most 110 answers" in text
    assert "answers to 5 at the first" in text
    assert "those to 2 of them" in text


# --- the pilot


def test_before_the_pilot_every_trial_is_to_be_run(repo: Path) -> None:
    text = said(repo, "pilot")
    (declared,) = grids(text)
    assert declared[0] == ["Trial", "Policy", "Updates", "Learning rate", "Longest response", *LAST]
    # What a trial doesn't set is as in the study.
    policy = DESIGN["settings"]["policy"]
    assert declared[2] == ["1", policy, "12", "0.0005", "80", "–", "not run yet"]
    assert [row[0] for row in rows(text)] == [str(n) for n in range(1, len(TRIALS) + 1)]
    assert told(text) == []
    assert "No trial is on record yet, so the settings above are not final." in text
    assert "p-value below 0.001" in text
    assert PILOT_FIGURE not in text


def test_while_the_pilot_runs_it_says_what_each_trial_came_to(repo: Path) -> None:
    write(repo, "pilot", {"rule": RULE, "trials": [trial(0, "too far", "too long")], "taken": None})
    text = said(repo, "pilot")
    verdicts = [row[-1] for row in rows(text)]
    assert verdicts == ["too far; too long", *["not run yet"] * (len(TRIALS) - 1)]
    assert grids(text)[1] == [
        ["Trial", "Rise", "p", "KL", "Fit, %", "Cut, %"],
        ["---"] * 6,
        ["1", "0.12 [0.08, 0.16]", "&lt;0.001", "0.21", "95", "40"],
    ]
    assert told(text) == [
        "- **Trial 1.** Because it is cheap. *Decided after it*: The next one was run."
    ]
    assert f"1 of {len(TRIALS)} trials are on record and none of them passes" in text


def test_what_the_answers_of_a_trial_convey_is_drawn_look_by_look(repo: Path) -> None:
    own = [{**look, "others": 0.0} for look in LOOKED_AT]
    done = [trial(0, "too far"), trial(1) | {"looks": own}]
    pilot = {"rule": RULE, "trials": done, "taken": TRIALS[1]}
    drawn = pilot_curves(DESIGN, pilot)
    assert drawn is not None
    left, right = drawn.axes
    lines = {line.get_linewidth(): line for line in left.lines}
    assert np.asarray(lines[1.0].get_xydata()).tolist() == [[0, 0.2], [6, 0.5], [12, 0.4]]
    assert len(lines) == 2  # the one that is taken is thicker
    # Nothing was mixed into the notes of the second trial.
    assert [np.asarray(line.get_ydata()).tolist() for line in right.lines] == [[0.1, 0.15, 0.18]]
    assert repr(drawn).endswith(
        "1: own notes 0.20 to 0.40, mixed in 0.10 to 0.18; 2: own notes 0.20 to 0.40."
    )
    write(repo, "pilot", pilot)
    text = said(repo, "pilot")
    assert f"```{{figure}} {PILOT_FIGURE}\n:alt: {json.dumps(repr(drawn))}\n" in text
    assert "The thick line is the trial that was taken." in text
    write(repo, "pilot", pilot | {"trials": [trial(0, "too far")], "taken": None})
    assert "The thick line" not in said(repo, "pilot")


def test_the_figure_of_the_pilot_is_made_where_the_page_shows_it(repo: Path) -> None:
    assert PILOT_FIGURE not in generated(repo)
    write(repo, "pilot", {"rule": RULE, "trials": [trial(0, "too far")], "taken": None})
    assert generated(repo)[PILOT_FIGURE].startswith("<svg")


def test_numbers_of_trials_that_end_alike_stand_apart() -> None:
    done = {"trials": [trial(place, "too far") for place in range(3)], "taken": None}
    drawn = pilot_curves(DESIGN, done)
    assert drawn is not None
    heights = sorted(text.xy[1] for text in drawn.axes[0].texts)
    assert heights == pytest.approx([0.4, 0.445, 0.49])


def test_before_the_first_trial_nothing_is_drawn() -> None:
    assert pilot_curves(DESIGN, None) is None
    assert pilot_curves(DESIGN, {"rule": RULE, "trials": [], "taken": None}) is None
    assert pilot_curves(None, results.load("pilot", REPO)) is None


def test_trials_of_two_policies_differ_in_colour() -> None:
    """On the record of this book: what a trial does not set is the study's policy."""
    record = results.load("pilot", REPO)
    drawn = pilot_curves(DESIGN, record)
    assert record is not None
    assert drawn is not None
    named = {line.get_label(): line.get_color() for line in drawn.axes[0].lines}
    shown = [name for name in named if not str(name).startswith("_")]
    policies = [DESIGN["settings"]["policy"]]
    policies += [row["trial"]["policy"] for row in record["trials"] if "policy" in row["trial"]]
    assert sorted(map(str, shown)) == sorted(set(policies))
    assert len({named[name] for name in shown}) == len(shown)


def test_what_was_tried_beside_the_trials_stands_where_it_was_tried(repo: Path) -> None:
    beside = {
        "arm": "sft_reference",
        "trial": {"steps": 24},
        "after": 1,
        "rise": Interval(0.08, 0.01, 0.15, 80, 0.03).to_json(),
        "p": 0.027,
        **{name: trial(0)[name] for name in ("looks", "declared", "decided")},
    }
    done = {"rule": RULE, "trials": [trial(0, "a"), trial(1, "a")], "taken": None}
    write(repo, "pilot", done | {"beside": beside})
    text = said(repo, "pilot")
    assert told(text)[1] == (
        "- **Beside the trials.** Because it is cheap. *Decided after it*: The next one was run."
    )
    assert [line.partition(".**")[0] for line in told(text)] == [
        "- **Trial 1",
        "- **Beside the trials",
        "- **Trial 2",
    ]
    assert [row[0] for row in rows(text)][:3] == ["1", "beside", "2"]
    assert rows(text)[1][2] == "24"
    assert rows(text)[1][-2:] == ["arm: sft_reference", "–"]
    assert rows(text, 1)[1] == ["beside", "0.08 [0.01, 0.15]", "0.027", "–", "–", "–"]


def test_after_the_pilot_it_says_which_trial_is_taken(repo: Path) -> None:
    done = {"rule": RULE, "trials": [trial(0, "too far"), trial(1)], "taken": TRIALS[1]}
    write(repo, "pilot", done)
    text = said(repo, "pilot")
    verdicts = [row[-1] for row in rows(text)]
    assert verdicts == ["too far", "taken", *["not run"] * (len(TRIALS) - 2)]
    assert len(rows(text, 1)) == 2
    assert len(told(text)) == 2
    assert "Trial 2 is taken, after 2.0 hours of training in 2 trials, on 2 cores." in text
    assert "not those of that trial yet" in text
    write(repo, "design", DESIGN | {"settings": DESIGN["settings"] | TRIALS[1]})
    assert "not those of that trial yet" not in said(repo, "pilot")


@pytest.mark.parametrize(("notes", "other"), [("own", False), ("mixed", True)])
def test_the_notes_of_the_trial_that_is_taken_are_those_of_the_record(
    repo: Path, notes: str, other: bool
) -> None:
    rows_ = [trial(place, "too far") for place in range(len(TRIALS) - 1)]
    last = len(TRIALS) - 1
    assert TRIALS[last]["notes"] == "own"
    done = {"rule": RULE, "trials": [*rows_, trial(last)], "taken": TRIALS[last]}
    write(repo, "pilot", done)
    write(repo, "design", DESIGN | {"notes": notes})
    text = said(repo, "pilot")
    assert ("not those of that trial yet" in text) == other
    assert rows(text)[last][-2:] == ["notes: own", "taken"]


def test_the_trials_of_this_book_are_told_from_their_record() -> None:
    text = said(REPO, "pilot")
    names = [line.partition(".**")[0].removeprefix("- **") for line in told(text)]
    names.remove("Beside the trials")
    assert names == [f"Trial {place + 1}" for place in range(len(TRIALS))]
    record = json.loads((REPO / "results" / "study" / "pilot.json").read_text("utf-8"))
    measured = {row[0]: row[1] for row in rows(text, 1)}
    assert list(measured) == [row[0] for row in rows(text)]
    for place, row in enumerate(record["trials"], 1):
        assert measured[str(place)] == str(Interval.from_json(row["rise"]))
    assert measured["beside"] == str(Interval.from_json(record["beside"]["rise"]))
    for row in [*record["trials"], record["beside"]]:
        assert f"*Decided after it*: {row['decided']}" in text


#: Words that say what a run came to, in any form.
RESULT = re.compile(
    r"\b(r[io]se[sn]?|rising|f[ae]ll(s|en)?|gain(s|ed)?|lost|(un)?moved|misse[sd]|pass(es|ed)?|"
    r"conveys?|conveyed|learns?|learnt|better|worse|stayed|raise[sd]?|left the bound)\b"
)


def test_no_result_of_a_run_is_typed_into_what_the_page_tells_of_the_pilot() -> None:
    """A sentence that says what a trial came to is computed; by hand no more than a seeming."""
    part = TEXT.split("## The pilot\n")[1].split("\n## ")[0]
    by_hand = part.split("### By hand, not on record")[1]
    assert "cannot be checked from the record, and nothing in it is a finding" in " ".join(
        by_hand.split()
    )
    sentences = re.split(r"(?<=[.:])\s+", " ".join(part.split()))
    found = [one for one in sentences if RESULT.search(one)]
    meant = (
        "what such a reward cannot move,",  # why this arm
        r"\*rise\* is the gain",  # what the word means
        "what moved the design",  # a heading
    )
    assert [one for one in found if not re.search("|".join(meant), one)] == [
        "Policies of this size did not learn from so few examples which notes answer:",
    ]
    assert "which notes answer: it seemed so, and no record holds it." in " ".join(by_hand.split())


def test_where_every_trial_fails_there_are_no_settings(repo: Path) -> None:
    all_ = [trial(place, "too far") for place in range(len(TRIALS))]
    write(repo, "pilot", {"rule": RULE, "trials": all_, "taken": None})
    assert "none is left, so the study has no settings" in said(repo, "pilot")


@pytest.mark.parametrize(
    "wrong",
    [
        {"rule": RULE, "trials": [trial(1)], "taken": TRIALS[1]},
        {"rule": RULE | {"alpha": 0.05}, "trials": [trial(0)], "taken": TRIALS[0]},
    ],
)
def test_a_pilot_out_of_order_or_by_another_rule_is_refused(repo: Path, wrong: Any) -> None:
    write(repo, "pilot", wrong)
    with pytest.raises(DataError, match=r"other trials or another rule than design\.json"):
        studied(repo)


# --- the record


def test_before_the_first_unit_everything_is_to_do(repo: Path) -> None:
    text = said(repo, "state")
    assert "No unit is on record yet" in text
    for (tier, names), row in zip(DESIGN["units"].items(), rows(text), strict=True):
        assert row == [tier, str(len(names)), "0", "0", str(len(names)), "0.0"]
    assert {tuple(row[3:]) for row in rows(said(repo, "claims"))} == {("0", "–")}


def test_while_units_are_recorded_they_are_counted_with_hours_and_machines(repo: Path) -> None:
    names = DESIGN["units"]["1"]
    unit(repo, names[0], graded_by={"judge": "j"})
    unit(repo, names[1], date="2026-12-03")
    unit(repo, names[2], settings=DESIGN["settings"] | {"steps": 1}, machine="4 cores")
    text = said(repo, "state")
    assert rows(text)[0] == ["1", str(len(names)), "1", "2", str(len(names) - 3), "1.5"]
    assert "finished on 2026-12-01, the last on 2026-12-03" in text
    assert "2 cores in float32 (2 units) and 4 cores in float32 (1 unit)" in text
    assert "other settings than this page shows: 1." in text


def test_a_complete_record_has_nothing_to_do(repo: Path) -> None:
    for name in [name for names in DESIGN["units"].values() for name in names]:
        unit(repo, name, graded_by={"judge": "j"})
    text = said(repo, "state")
    assert [row[3:5] for row in rows(text)] == [["0", "0"]] * len(DESIGN["units"])
    assert "other settings than this page shows: none." in text


@pytest.mark.parametrize("line", ["", "{", "[]", '{"seconds": 1}'])
def test_a_damaged_unit_is_named(repo: Path, line: str) -> None:
    name = DESIGN["units"]["1"][0]
    (repo / UNITS / f"{name}.jsonl").write_text(line)
    with pytest.raises(DataError, match=f"{name}.jsonl is no unit of the study"):
        studied(repo)


def test_findings_and_runs_set_aside_are_shown(repo: Path) -> None:
    seeds = Seeds(3, 0.4, 0.3, folds=2)
    gap = Comparison(Interval(0.31, 0.2, 0.42, 160, 0.05), 0.1, 0.0001, seeds=seeds)
    findings = {
        "training.implicit_over_base": decide(gap, margin=0.05),
        "training.explicit_over_base": not_testable("no task was scored on both sides"),
        "training.implicit_over_explicit": not_testable("1 seeds, three are needed"),
    }
    runs = [recorded_run("rlvr", 1, stray="KL 1.20 nats a token")]
    runs += [recorded_run(arm, seed) for arm in ("implicit", "base") for seed in range(3)]
    runs += [recorded_run("sft_reference", 0), recorded_run("sft_reference", 1, stray="KL 2")]
    record = {"findings": {k: f.to_json() for k, f in findings.items()}, "runs": runs} | MADE
    write(repo, "arms", record)
    shown = {tuple(row[:2]): row[3:] for row in rows(said(repo, "claims"))}
    assert shown["implicit", "base"] == ["3", "supported; 0.31 [0.20, 0.42]"]
    assert shown["explicit", "base"] == ["0", "–"]
    assert shown["implicit", "explicit"] == ["0", "–"]
    # A run that is set aside enters no contrast.
    assert shown["sft_reference", "base"] == ["1", "–"]
    assert "are there with 3 seeds. Until then it is *not testable" in said(repo, "needed")
    text = said(repo, "pooled")
    assert "Set aside of 9 runs: rlvr with seed 1 (KL 1.20 nats a token) and sft" in text
    assert "Set apart" not in text
    apart = [{"arm": "explicit", "seed": 2, "why": "its halves differ in versions"}]
    runs += [recorded_run("explicit", seed) for seed in range(3)]
    write(repo, "arms", record | {"runs": runs, "apart": apart})
    shown = {tuple(row[:2]): row[3:] for row in rows(said(repo, "claims"))}
    # Why it cannot be tested, where it is not for lack of seeds.
    assert shown["explicit", "base"] == [
        "3",
        "not testable here: no task was scored on both sides",
    ]
    assert shown["explicit", "direct_likert"] == ["0", "–"]
    assert said(repo, "pooled").endswith(
        "Set apart are explicit with seed 2 (its halves differ in versions)."
    )


def test_before_the_first_run_there_is_no_secondary_outcome(repo: Path) -> None:
    assert said(repo, "secondary") == "No run is on record yet, so no secondary outcome is shown."


def test_units_that_wait_for_the_judge_are_told_of_instead(repo: Path) -> None:
    names = DESIGN["units"]["1"]
    unit(repo, names[0])
    unit(repo, names[1], graded_by={"judge": "j"})
    text = said(repo, "secondary")
    assert "No run is on record" not in text
    assert text == (
        "Trained and not graded yet, so without a judge's score: 1 of 2 units. No run is put "
        "together from them yet, so no secondary outcome is shown."
    )
    # Beside a table, too, which has runs without a score then.
    write(repo, "arms", {"runs": [recorded_run("base", 0)], "findings": {}} | MADE)
    assert said(repo, "secondary").endswith("without a judge's score: 1 of 2 units.")
    unit(repo, names[0], graded_by={"judge": "j"})
    assert "not graded" not in said(repo, "secondary")


def test_secondary_outcomes_are_means_over_the_seeds_that_have_them(repo: Path) -> None:
    first = {"explicit": outcome(0.4, 0.5, unscored=2), "reference": outcome(-3.0, -2.9)}
    second = {"explicit": outcome(0.4, 0.6, unscored=1)}
    runs = [
        recorded_run("implicit", 0, secondary=first),
        recorded_run("implicit", 1, secondary=second),
        recorded_run("base", 0, kl_to_base=[], secondary={"gap": outcome(0.3, 0.299)}),
        recorded_run("explicit", 0, stray="KL", secondary=first),
    ]
    write(repo, "arms", {"runs": runs, "findings": {}} | MADE)
    text = said(repo, "secondary")
    heads = ["Arm", "Judge's score", "Reference answer", "Gap", "Preferred over rejected"]
    assert grids(text)[0][0] == [*heads, "Words", "KL"]
    assert rows(text) == [  # in the order of the design
        ["base (1)", "–", "–", "0.30 (+0.00)", "–", "40", "–"],
        # (0.5 + 0.6) / 2, moved by (0.1 + 0.2) / 2; 40 and 42 words; KL 0.2 and 0.3 at the end
        ["implicit (2)", "0.55 (+0.15)", "-2.90 (+0.10)", "–", "–", "41", "0.25"],
    ]
    assert "could not score: 3. Runs set aside, which are not in the table: 1." in text
    assert text.endswith(" Over fewer seeds: Reference answer of implicit (1 seed).")
    for run in runs[:3]:
        run["secondary"]["margin"] = outcome(0.1, 0.2)
    runs.append(recorded_run("base", 1))
    runs[1]["secondary"].pop("margin")
    write(repo, "arms", {"runs": runs, "findings": {}} | MADE)
    assert "and Preferred over rejected of every arm (1 seed)." in said(repo, "secondary")


def test_a_value_and_what_stands_in_brackets_behind_it_are_kept_together(repo: Path) -> None:
    write(repo, "gold", GOLD)
    assert "| 0.88\u00a0[0.85, 0.95] |" in said(repo, "gold")
    runs = [recorded_run("base", 0, secondary={"gap": outcome(0.3, 0.2)})]
    write(repo, "arms", {"runs": runs, "findings": {}} | MADE)
    assert "| base (1) | – | – | 0.20\u00a0(-0.10) |" in said(repo, "secondary")


def test_a_unit_that_was_trained_again_says_how_much_came_out_the_same(repo: Path) -> None:
    assert said(repo, "repeated") == "No unit has been trained a second time."
    looks = [{"step": 0, "answers": 80, "same": 80}, {"step": 12, "answers": 80, "same": 79}]
    write(repo, "repeats", {"repeats": [{"unit": "rlvr-fold0-seed0", "looks": looks}]})
    differs = said(repo, "repeated")
    assert "Of their 160 answers, copies of a first look left out, 159 came out" in differs
    assert differs.endswith("Units of which one differs: rlvr-fold0-seed0.")
    write(repo, "repeats", {"repeats": [{"unit": "rlvr-fold0-seed0", "looks": looks[:1]}]})
    assert said(repo, "repeated").endswith("Units of which one differs: none.")


def test_labels_are_told_of_when_they_are_there(repo: Path) -> None:
    assert "Nobody has labelled any of them yet." in said(repo, "gold")
    (repo / LABELS).mkdir()
    (repo / LABELS / "DATA_CARD.md").write_text("who reads")
    assert "Nobody has labelled any of them yet." in said(repo, "gold")
    (repo / LABELS / "one.csv").write_text("task,response,criterion,met\n")
    there = said(repo, "gold")
    assert there.endswith("Labels are there; what they say is not computed yet.")
    assert "Nobody" not in there
    write(repo, "gold", GOLD)
    text = said(repo, "gold")
    assert "150 answers to 40 tasks; of 1,000 labels" in text
    assert "they agree on 0.90 [0.85, 0.95], with a kappa of unknown" in text
    assert not {"Nobody", "not computed"} & set(re.findall("Nobody|not computed", text))


def test_labels_say_how_good_the_judge_is_and_the_answers_of_each_arm(repo: Path) -> None:
    write(repo, "gold", GOLD)
    text = said(repo, "gold")
    assert "the labels on which both readers agree; labels without a verdict: 3." in text
    heads = ["Answers of", "Criteria", "Accuracy", "Balanced accuracy", "AUC", "Calibration error"]
    assert grids(text)[0][0] == heads
    share = "0.90 [0.85, 0.95]"
    assert rows(text) == [
        ["all", "900", share, "unknown", share, "0.042"],
        ["base", "400", "0.88 [0.85, 0.95]", share, share, "0.044"],
        ["implicit", "500", share, share, share, "0.113"],
        ["explicit", "0", *["unknown"] * 4],
    ]
    assert (
        "its calibration error is 0.042 over all and, by arm, from 0.044 (base) to 0.113 (implicit)"
    ) in text
    assert (
        "the answers of an arm score 0.87 [0.85, 0.95] (base) and 0.90 [0.85, 0.95] (explicit); "
        "minus those of `base` that is 0.03 [-0.01, 0.07] (explicit)."
    ) in text


def test_verdicts_without_probabilities_have_no_calibration_error(repo: Path) -> None:
    bare = {arm: row | {"ece": None} for arm, row in GOLD["judge"].items()}
    write(repo, "gold", GOLD | {"judge": bare})
    text = said(repo, "gold")
    assert "None of these verdicts has a probability, so none has an error." in text
    assert {row[-1] for row in rows(text)} == {"unknown"}


def test_what_was_known_before_is_listed_with_the_other_half(repo: Path) -> None:
    table = said(repo, "seen")
    families = DESIGN["contrasts"]
    named = {name: " over ".join(arms) for of in families.values() for name, arms in of.items()}
    assert named["rule_over_base"] == "rlvr over base"
    assert [row[0] for row in rows(table)] == [named[name] for name in DESIGN["seen"]]
    assert "the same of length" in table
    assert {row[2] for row in rows(table)} == {"not recorded yet"}
    half = {name: None for name in DESIGN["seen"]}
    half["explicit_over_base"] = {"difference": SHARE, "p": 0.01}
    again = {"on the half that the pilot trained on": half}
    write(repo, "arms", {"runs": [], "findings": {}} | again | MADE)
    shown = {row[0]: row[2] for row in rows(said(repo, "seen"))}
    assert shown["explicit over base"] == "0.90 [0.85, 0.95]"
    assert shown["sft_reference over base"] == "not recorded yet"


def test_what_one_training_a_seed_would_find_is_told_where_it_is_another_word(repo: Path) -> None:
    assert said(repo, "one") == "Nothing of it is on record."
    gap = Interval.from_json(SHARE)
    sure = Finding("supported", gap, 0.001, 0.009, margin=0.05, detectable=0.1)
    open_ = Finding("undecided", gap, 0.02, 0.18, margin=0.05, detectable=0.1)
    keys = ("training.explicit_over_base", "training.sft_over_base")
    told = dict.fromkeys(keys, sure.to_json())
    strict = told | {keys[1]: open_.to_json()}
    for one, shown in ((told, []), (strict, ["sft_reference over base"])):
        record = {"runs": [], "findings": told, "findings, a seed as one training": one}
        write(repo, "arms", record | MADE)
        text = said(repo, "one")
        assert ("it would change no finding" in text) is (not shown)
        assert [row[0] for row in (rows(text) if shown else [])] == shown
    assert rows(text)[0][1:] == ["supported", "undecided", "0.009", "0.180"]
    assert "correlates" not in text
    alike = {"halves alike": {"r": 0.02, "arms": 8, "pairs": 24}}
    write(repo, "arms", record | alike | MADE)
    assert "correlates 0.02 with" in said(repo, "one")


def test_no_contrast_is_told_to_be_near_zero_where_no_interval_is_that_narrow(repo: Path) -> None:
    wide = Finding("undecided", Interval(0.1, -0.1, 0.3, 160), 0.2, 1.0, detectable=0.1)
    narrow = Finding("undecided", Interval(0.01, -0.03, 0.05, 160), 0.2, 1.0, detectable=0.1)
    for found, out_of_reach in (([wide], True), ([wide, narrow], False)):
        findings = {f"training.{n}": one.to_json() for n, one in enumerate(found)}
        write(repo, "arms", {"runs": [], "findings": findings} | MADE)
        text = said(repo, "decision")
        assert ("reaches 0.20 to either side of its difference" in text) is out_of_reach


#: As many columns as fit a window of 1,400 pixels.
MOST_COLUMNS = 7


def test_no_table_of_a_page_has_more_columns_than_fit(repo: Path) -> None:
    """Written by hand, or computed from a record in which nothing is missing."""
    trials = [trial(place, "too far") for place in range(len(TRIALS))]
    write(repo, "pilot", {"rule": RULE, "trials": trials, "taken": None})
    write(repo, "gold", GOLD)
    runs = [recorded_run(arm["name"], 0) for arm in DESIGN["arms"]]
    write(repo, "arms", {"runs": runs, "findings": {}} | MADE)
    unit(repo, DESIGN["units"]["1"][0])
    texts = generated(repo) | {page.name: page.read_text("utf-8") for page in BOOK.glob("*.md")}
    texts["status.md"] = status_page({"a": None}, {"a": "A"})
    wide = {name: len(grid[0]) for name, text in texts.items() for grid in grids(text)}
    assert {name for name in wide if name.startswith(f"{STUDY}.md#")} >= {
        f"{STUDY}.md#{place}"
        for place in ("arms", "settings", "secondary", "pilot", "state", "gold")
    }
    assert {name: columns for name, columns in wide.items() if columns > MOST_COLUMNS} == {}


def test_a_hostile_record_stays_text(repo: Path) -> None:
    hostile = "a <script>x</script> | [l](javascript:1)\n% generated"
    unit(repo, DESIGN["units"]["1"][0], machine=hostile, date=hostile)
    text = studied(repo)["state"]
    assert "<script>" not in text
    assert "](javascript" not in text
    assert GENERATED not in text.splitlines()
