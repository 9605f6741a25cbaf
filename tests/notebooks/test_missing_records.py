"""Chapters 1, 4, 5 and 12 without their records: a sentence says so, and nothing empty is shown.

The cells are those of the notebooks; no model is asked and no chapter is run.
"""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rar_lib.book import figures, results, tables
from rar_lib.book.prose import listed, sentence
from rar_lib.core.decision import Finding, decide_family, not_testable
from rar_lib.core.stats import MIN_UNITS, Interval
from rar_lib.core.types import Grade, Pair
from rar_lib.data.tasks import load_mini_pairs
from rar_lib.evaluation.alignment import CriterionAgreement, PairGrades, against, by
from rar_lib.models.catalogue import MODELS

ROOT = Path(__file__).resolve().parents[2]
RECORDS = {name: results.load(name) for name in ("alignment", "coverage")}


def holds_any(text: str, marks: tuple[str, ...]) -> bool:
    return any(mark in text for mark in marks)


def cells(stem: str, *marks: str) -> list[str]:
    """The code cells that hold one of these pieces of text, in their order."""
    found = json.loads((ROOT / "notebooks" / f"{stem}.ipynb").read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in found if cell["cell_type"] == "code"]
    chosen = [text for text in code if holds_any(text, marks)]
    assert len(chosen) == len(marks)
    return chosen


@dataclass
class Page:
    """What some cells show: sentences, tables and drawings, and the names that they leave."""

    said: list[str] = field(default_factory=list)
    tabled: list[Any] = field(default_factory=list)
    drawn: list[Any] = field(default_factory=list)
    names: dict[str, Any] = field(default_factory=dict)


def shown(
    monkeypatch: pytest.MonkeyPatch,
    chosen: list[str],
    records: dict[str, Any],
    **names: Any,
) -> Page:
    """Run the cells as Jupyter does: the value of a last line is shown."""
    page = Page()
    monkeypatch.setattr(results, "load", records.get)
    monkeypatch.setattr(figures, "by_size", lambda *given, **_: page.drawn.append(given))
    page.names = {
        "ARMS": ["explicit", "implicit", "direct_likert", "reference_likert"],
        "CriterionAgreement": CriterionAgreement,
        "Finding": Finding,
        "Interval": Interval,
        "MODELS": MODELS,
        "display": page.tabled.append,
        "figures": figures,
        "load_mini_pairs": load_mini_pairs,
        "not_testable": not_testable,
        "results": results,
        "say": lambda template, **values: page.said.append(sentence(template, **values)),
        "tables": tables,
    } | names
    for cell in chosen:
        page.tabled += [value for value in (last_value(cell, page.names),) if value is not None]
    return page


def last_value(cell: str, names: dict[str, Any]) -> Any:
    *lines, last = ast.parse(cell).body
    exec(compile(ast.Module(lines, []), "cell", "exec"), names)
    if isinstance(last, ast.Expr):
        return eval(compile(ast.Expression(last.value), "cell", "eval"), names)
    exec(compile(ast.Module([last], []), "cell", "exec"), names)
    return None


def defined(stem: str, name: str) -> Any:
    """A function that a cell of a chapter defines."""
    (cell,) = cells(stem, f"def {name}(")
    (made,) = (line for line in ast.parse(cell).body if getattr(line, "name", "") == name)
    known = {"listed": listed}
    exec(compile(ast.Module([made], []), "cell", "exec"), known)
    return known[name]


def text(page: Page) -> str:
    return " ".join(page.said).replace("\\", "")


#: The cells that read a record, and what is said without it.
READ = {
    "04_can_the_judge_be_trusted": (
        ('recorded = results.load("alignment")', "passing = {", "shared = ["),
        "Nothing is recorded yet",
        "def say_at_chance",
    ),
    "05_down_to_the_criterion": (
        ('results.load("alignment")', "as_read = {"),
        "Nothing is recorded yet",
        "",
    ),
    "12_do_the_instruments_hold": (
        (
            'results.load("coverage")',
            "alarms = None",
            "figures.by_size(\n        sizes",
            "of_seeds = simulated",
        ),
        "not recorded in this edition",
        "",
    ),
}


def read(stem: str, records: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Page:
    marks, _, helper = READ[stem]
    names: dict[str, Any] = {"say_at_chance": lambda found: None} if helper else {}
    if helper:
        names["right_most_often"] = defined(stem, "right_most_often")
    return shown(monkeypatch, cells(stem, *marks), records, **names)


@pytest.mark.parametrize("stem", READ)
def test_without_a_record_a_chapter_says_so_and_shows_no_table(
    stem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = read(stem, {}, monkeypatch)
    assert READ[stem][1] in text(page)
    assert page.tabled == []
    assert page.drawn == []


@pytest.mark.parametrize("stem", READ)
def test_with_its_record_a_chapter_shows_a_table(
    stem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = read(stem, RECORDS, monkeypatch)
    assert READ[stem][1] not in text(page)
    assert len(page.tabled) == 1
    assert len(page.drawn) == (stem[:2] != "05")


def test_without_a_record_of_other_graders_there_is_no_table_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chosen = cells("12_do_the_instruments_hold", 'results.load("judges")')
    page = shown(monkeypatch, chosen, {})
    assert "No grader has been measured since" in text(page)
    assert page.tabled == []
    assert page.drawn == []


# --- every judge is named


def test_chapter_4_names_each_judge_on_record_that_passes_the_gate_and_each_that_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record = json.loads(json.dumps(RECORDS["alignment"]))
    judges = list(record["judges"])
    for passing in (judges, judges[1:]):
        for name, row in record["judges"].items():
            row["gate"] = name in passing
        page = read("04_can_the_judge_be_trusted", {"alignment": record}, monkeypatch)
        below = [name for name in judges if name not in passing]
        said = f"Every judge on record passes the size gate: {listed(passing)}."
        if below:
            said = f"pass the size gate: {listed(passing)}. Judges that do not: {listed(below)}."
        assert said in text(page)


def test_chapter_4_tells_once_on_which_pairs_the_wording_was_found() -> None:
    path = ROOT / "notebooks" / "04_can_the_judge_be_trusted.ipynb"
    every = json.loads(path.read_text(encoding="utf-8"))["cells"]
    told = ["".join(cell["source"]) for cell in every if cell["cell_type"] == "markdown"]
    assert sum("wording of the arm" in text for text in told) == 1
    assert not any("wording of the arm" in text for text in cells(path.stem, "passing = {"))


def finding(value: float) -> Finding:
    return Finding("undecided", Interval(value, value - 0.1, value + 0.1, 48), 0.5, 0.5)


def test_chapter_4_says_at_every_size_whether_a_rubric_beats_a_plain_rating(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    supported = Finding("supported", Interval(0.3, 0.2, 0.4, 48), 0.001, 0.01)
    findings = {"alignment.explicit_over_likert, every size": supported}
    (cell,) = cells("04_can_the_judge_be_trusted", 'for arm in ("implicit", "explicit"):')
    known = {"gated": ["small", "large"], "passing": {}, "by_ledger": findings}
    page = shown(monkeypatch, [cell], {}, findings=findings, **known)
    assert "implicit is **not testable here: fewer than two judges" in text(page)
    assert "explicit **supported**." in text(page)


@pytest.mark.parametrize("recorded", [True, False])
def test_chapter_4_names_the_judge_that_decides_at_every_size_and_whether_it_beats_chance(
    recorded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = "alignment.explicit_over_likert"
    findings = {f"{claim}, small": finding(-0.1), f"{claim}, every size": finding(-0.1)}
    findings |= {f"{claim}, middle": finding(0.1), claim: finding(0.3)}
    chance, able = (
        {"small": SimpleNamespace(balanced=Interval(share, share - 0.1, share + 0.1, 48))}
        for share in (0.5, 0.8)
    )
    known: dict[str, Any] = {"findings": findings, "gated": ["small", "middle", "large"]}
    known |= {"by_ledger": findings if recorded else {}, "passing": chance, "agreement": able}
    (cell,) = cells("04_can_the_judge_be_trusted", 'for arm in ("implicit", "explicit"):')
    said = text(shown(monkeypatch, [cell], {}, **known))
    assert "What decides explicit at every size is **small**" in said
    assert ("Its verdicts are not shown to beat chance" in said) is recorded
    gaps = "0.10 [0.00, 0.20] (explicit, middle) and 0.30 [0.20, 0.40] (explicit, large)."
    assert f"For the other judges the differences are {gaps}" in said


def test_chapter_4_says_from_what_size_on_a_judge_beats_chance(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record = json.loads(json.dumps(RECORDS["alignment"]))
    judges = list(record["judges"])
    for able in ([], judges[1:], judges[2:]):
        for name, row in record["judges"].items():
            low = 0.6 if name in able else 0.4
            row["arms"]["explicit"]["accuracy"] |= {"value": 0.7, "low": low, "high": 0.8}
        said = text(read("04_can_the_judge_be_trusted", {"alignment": record}, monkeypatch))
        if not able:
            assert "no judge on record has an interval above chance" in said
            continue
        size = f"{MODELS[able[0]].parameters:g} billion parameters, right in 0.70 [0.60, 0.80]"
        assert f"is **{able[0]}**, with {size}" in said
        rest = listed([name for name in judges if name not in able])
        assert f"above chance for {listed(able[1:])} and not for {rest}." in said


def test_chapter_4_says_where_an_interval_ends_that_three_decimals_let_touch_zero(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    findings = {
        "alignment.near": Finding("undecided", Interval(-0.022, -0.044, -0.0004, 48), 0.05, 1.0),
        "alignment.far_off": Finding("undecided", Interval(0.2, 0.1, 0.3, 48), 0.05, 1.0),
        "alignment.both": Finding("undecided", Interval(0.1, -0.1, 0.3, 48), 0.05, 1.0),
    }
    (cell,) = cells("04_can_the_judge_be_trusted", "def nearest_end(")
    names = {"SMALL": "alignment.near", "SPREAD": "alignment.far_off", "findings": findings}
    page = shown(monkeypatch, [cell], {}, **names)
    assert "zero: near (its interval ends at -0.0004) and far off. An interval" in text(page)


# --- what a record says under its table


def test_chapter_1_shows_what_the_largest_judge_made_of_its_pair(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    page = first_pair(RECORDS, monkeypatch)
    record = RECORDS["alignment"]
    assert record
    largest = list(record["judges"])[-1]
    assert f"rated by **{largest}**, the largest judge" in text(page)
    assert len(page.tabled) == 1
    rewards = page.names["rewards"]
    assert rewards["implicit"]["preferred"] != rewards["explicit, same judge"]["preferred"]
    implicit, explicit, labels = (of["preferred"] - of["rejected"] for of in rewards.values())
    assert f"leads by {implicit:.2f}. Where this judge" in text(page)
    assert f"the lead is {explicit:.2f}; under the gold labels it is {labels:.2f}." in text(page)


@pytest.mark.parametrize("judges", [{}, {"small": {"arms": {"implicit": {}}}}])
def test_chapter_1_says_that_no_rating_is_recorded(
    judges: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = first_pair({"alignment": {"judges": judges}}, monkeypatch)
    assert text(page) == "No judge's ratings of the two responses above are recorded yet."
    assert page.tabled == []


def first_pair(records: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Page:
    (cell,) = cells("01_rewards_from_rubrics", 'results.load("alignment")')
    pair = next(p for p in load_mini_pairs() if p.task_id == "test-med-burn")
    gold = {"preferred": pair.gold_preferred, "rejected": pair.gold_rejected}
    by_hand = {"preferred": 1.0, "rejected": 0.75}
    return shown(monkeypatch, [cell], records, pair=pair, gold=gold, by_hand=by_hand, json=json)


def test_chapter_4_names_the_arm_that_is_right_most_often_by_judge(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record = json.loads(json.dumps(RECORDS["alignment"]))
    judges = list(record["judges"])
    untried = []
    for name, arm in zip(judges, ("implicit", "explicit", "implicit"), strict=True):
        arms = record["judges"][name]["arms"]
        arms[arm]["accuracy"] |= {"value": 0.999}
        untried.append(f"{Interval.from_json(arms['explicit']['accuracy, untried'])} by {name}")
    page = read("04_can_the_judge_be_trusted", {"alignment": record}, monkeypatch)
    one, other, third = judges
    best = f"right most often is implicit for {one} and {third} and explicit for {other}."
    assert best in text(page)
    assert f"has this share right: {listed(untried)}." in text(page)


def test_chapter_4_leaves_out_columns_that_say_the_same_in_every_row(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record = json.loads(json.dumps(RECORDS["alignment"]))
    of = record["judges"][next(iter(record["judges"]))]["arms"]["explicit"]
    every = {json.dumps(row["arms"]["explicit"]["pairs"]) for row in record["judges"].values()}
    page = read("04_can_the_judge_be_trusted", {"alignment": record}, monkeypatch)
    assert f"Every row is over {listed(sorted(every))} pairs. No pair ties" in text(page)
    assert not {"pairs", "strict"} & set(page.tabled[0].frame.columns)
    of["pairs"] -= 1
    page = read("04_can_the_judge_be_trusted", {"alignment": record}, monkeypatch)
    assert "pairs" in page.tabled[0].frame.columns
    of["strict"] |= {"value": 0.001}
    page = read("04_can_the_judge_be_trusted", {"alignment": record}, monkeypatch)
    assert {"pairs", "strict"} <= set(page.tabled[0].frame.columns)
    assert "No pair ties" not in text(page)


def test_chapter_4_lists_the_arms_of_every_judge_in_one_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record = json.loads(json.dumps(RECORDS["alignment"]))
    for row in record["judges"].values():
        row["arms"] = dict(reversed(row["arms"].items()))
    page = read("04_can_the_judge_be_trusted", {"alignment": record}, monkeypatch)
    arms = list(page.tabled[0].frame["arm"])
    order = [*page.names["ARMS"], "predefined"]
    assert arms == order * len(record["judges"])


def test_chapter_5_says_what_calibration_moved_for_each_judge_that_has_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record = json.loads(json.dumps(RECORDS["alignment"]))
    plain, *others = record["judges"]
    del record["judges"][plain]["agreement, calibrated"]
    one, other = others
    for name, right, error in ((one, 0.99, 0.9), (other, 0.01, 0.0)):
        moved = record["judges"][name]["agreement, calibrated"]
        moved["accuracy"] |= {"value": right}
        moved["ece"] = error
    page = read("05_down_to_the_criterion", {"alignment": record}, monkeypatch)
    said = f"raises the accuracy of {one}, and lowers the calibration error of {other}."
    assert said in text(page)
    assert plain not in text(page)
    verdicts = record["judges"][one]["agreement"]["n"]
    assert f"Every row is over {verdicts:,} verdicts." in text(page)
    assert "n" not in page.tabled[0].frame.columns


# --- the best and the worst


def by_part(monkeypatch: pytest.MonkeyPatch, **right: tuple[float, int]) -> Page:
    """The sentences under the table by axis, for a share right and a number of tasks each."""
    (cell,) = cells("04_can_the_judge_be_trusted", "ranked = sorted(")
    found = {axis: Interval(share, share - 0.1, share, n) for axis, (share, n) in right.items()}
    names: dict[str, Any] = {"by": lambda graded, key: found if key == "axis" else {}}
    names |= {"in_parts": {"explicit": None}, "whose": "main"}
    return shown(monkeypatch, [cell], {}, MIN_UNITS=MIN_UNITS, **names)


def test_chapter_4_names_the_best_and_the_worst_of_the_axes_with_enough_tasks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    few = MIN_UNITS - 1
    page = by_part(
        monkeypatch, accuracy=(0.7, 9), safety=(0.9, 9), tone=(0.1, few), clarity=(0.8, 9)
    )
    assert "most often on safety 0.90 [0.80, 0.90], and least often on accuracy 0.70" in text(page)
    assert f"By difficulty: no group has the {MIN_UNITS} tasks" in page.said[1]
    assert "By axis: no group has" in text(by_part(monkeypatch, tone=(0.1, few)))


def test_chapter_4_names_every_best_axis_where_several_are_alike(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    page = by_part(monkeypatch, accuracy=(0.7, 9), safety=(1.0, 9), tone=(1.0, 11))
    best = "most often on safety 1.00 [0.90, 1.00] and tone 1.00 [0.90, 1.00], and least often"
    assert best in text(page)


def test_chapter_4_names_no_best_axis_where_all_are_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    said = by_part(monkeypatch, tone=(1.0, 9), safety=(1.0, 9)).said[0]
    assert "which are safety and tone, the share right is 1.00" in said


def test_chapter_4_shows_the_levels_of_difficulty_in_their_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (cell,) = cells("04_can_the_judge_be_trusted", "def recorded_grades(")
    names: dict[str, Any] = {"Grade": Grade, "PairGrades": PairGrades, "by": by}
    page = shown(monkeypatch, [cell], RECORDS, **names)
    axes, levels = (table.frame for table in page.tabled)
    assert list(levels["difficulty"]) == ["obvious", "moderate", "subtle"]
    assert list(axes["axis"]) == sorted({pair.axis for pair in load_mini_pairs("test")})


@pytest.mark.parametrize(
    ("likely", "said"),
    [
        ({"Yes": 0.9, "No": 0.1}, "Each of the tokens that are drawn counts as an answer."),
        ({"Yes": 0.9, "I": 0.1}, "Pale ones, in explicit, do not count."),
        # The sixth is not drawn.
        ({"Yes": 0.9, "No": 0.1} | dict.fromkeys(("Y", "N", "y", "n"), 0.01), "Pale ones"),
        ({"Yes": 0.6, "No": 0.2, "yes": 0.1, "no": 0.05, "YES": 0.04, "I": 0.01}, "Each of"),
    ],
)
def test_chapter_4_calls_a_token_pale_only_where_one_is(
    likely: dict[str, float], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = ("Yes", "No", "yes", "no", "YES")
    one = SimpleNamespace(place=SimpleNamespace(alternatives=likely), answers=answers)
    monkeypatch.setattr(figures, "alternatives", lambda *_, **__: None)
    (cell,) = cells("04_can_the_judge_be_trusted", "figures.alternatives(")
    page = shown(monkeypatch, [cell], {}, asked={"explicit": one})
    assert said in text(page)


# --- kinds of rubrics


def graded(pairs: list[Pair], right: int) -> PairGrades:
    """A judge that gets the first ``right`` of these pairs right and the others wrong."""
    high, low = (Grade(arm="implicit", score=score) for score in (1.0, 0.0))
    better = tuple(high if n < right else low for n in range(len(pairs)))
    worse = tuple(low if n < right else high for n in range(len(pairs)))
    return PairGrades("main", "implicit", tuple(pairs), better, worse)


def test_chapter_4_compares_kinds_of_rubrics_over_the_same_pairs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pairs = list({p.task_id: p for p in load_mini_pairs("test")}.values())[:12]
    of = {
        "implicit": graded(pairs, 6),
        "synthetic_ref": graded(pairs[:10], 5),
        "synthetic_noref": graded(pairs[:8], 4),
    }
    chosen = cells("04_can_the_judge_be_trusted", "kinds = {")
    known = {"pairs": pairs, "main": "main", "gated": ["small", "main"]}
    page = shown(monkeypatch, chosen, {}, graded={"main": of}, **known)
    (table,) = page.tabled
    lines = [line for line in str(table).splitlines() if "0." in line]
    assert [line.split()[-4:-3] for line in lines] == [["0.75"], ["0.62"], ["0.50"]]
    assert text(page).endswith("over 8 pairs of 8 tasks.")


def between(monkeypatch: pytest.MonkeyPatch, gated: list[str], *right: int) -> str:
    """What is said of kinds of rubrics, each right on so many of 24 pairs."""
    pairs = list({p.task_id: p for p in load_mini_pairs("test")}.values())[:24]
    of = dict(
        zip(
            ("implicit", "synthetic_ref", "synthetic_noref"),
            (graded(pairs, n) for n in right),
            strict=True,
        )
    )
    chosen = cells("04_can_the_judge_be_trusted", "kinds = {", "between = {}")
    names = {"against": against, "decide_family": decide_family, "margin": lambda measure: 0.05}
    known = {"pairs": pairs, "main": "main", "gated": gated, "graded": {"main": of}}
    return text(shown(monkeypatch, chosen, {}, **known, **names)).partition(" Is ")[2]


def test_chapter_4_says_by_the_finding_which_rubric_did_better(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = between(monkeypatch, ["main"], 24, 12, 12)
    supported = "*authored* than under *synthetic, with reference*? The finding: **supported**"
    assert supported in said
    assert "than under *synthetic, without*? The finding: **undecided" in said
    below = between(monkeypatch, [], 24, 12, 12)
    assert below.count("**not testable here: main does not pass the size gate**") == 2


def test_chapter_4_shows_no_empty_table_where_no_pair_has_every_kind_of_rubric(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pairs = list({p.task_id: p for p in load_mini_pairs("test")}.values())[:4]
    of = {"implicit": graded(pairs, 2), "synthetic_ref": graded(pairs[:2], 1)}
    of |= {"synthetic_noref": graded(pairs[2:], 1)}
    chosen = cells("04_can_the_judge_be_trusted", "kinds = {")
    known = {"pairs": pairs, "main": "main", "gated": []}
    page = shown(monkeypatch, chosen, {}, graded={"main": of}, **known)
    assert page.tabled == []
    assert text(page) == "No pair of this chapter has a rubric of every kind."
