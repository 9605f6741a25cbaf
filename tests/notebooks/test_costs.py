"""Chapter 12 on what things cost: with its records, with parts of them, and without."""

from __future__ import annotations

import ast
import io
import json
from collections import Counter
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rar_lib.book import figures, results, tables
from rar_lib.book.prose import sentence
from results import growth, judge_profile

CHAPTER = Path(__file__).resolve().parents[2] / "notebooks" / "12_do_the_instruments_hold.ipynb"
RECORDED = results.load("goals")


class Page:
    """What the cells from the heading on show with these records."""

    def __init__(self, records: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
        self.said: list[str] = []
        self.tabled: list[list[dict[str, Any]]] = []
        self.drawn: list[dict[str, dict[str, float]]] = []
        self.grown: list[dict[str, Any]] = []
        self.folded: list[dict[str, list[dict[str, Any]]]] = []
        monkeypatch.setattr(results, "load", records.get)
        monkeypatch.setattr(figures, "stages", lambda bars, **_: self.drawn.append(bars))
        monkeypatch.setattr(figures, "growth", self.grown.append)
        monkeypatch.setattr(tables, "table", self.tabled.append)
        monkeypatch.setattr(tables, "folds", lambda parts, **_: self.folded.append(parts))
        names = {"Counter": Counter, "figures": figures, "results": results, "tables": tables}
        names["say"] = self.say  # type: ignore[assignment]
        with redirect_stdout(io.StringIO()):
            for cell in cells():
                exec(compile(ast.parse(cell), "cell", "exec"), names)

    def say(self, template: str, **values: Any) -> None:
        self.said.append(sentence(template, **values).replace("\\", ""))


def cells() -> list[str]:
    """The code of the section on costs."""
    found: list[str] = []
    inside = False
    for cell in json.loads(CHAPTER.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if source.startswith("## "):
            inside = source.startswith("## What it costs")
        if inside and cell["cell_type"] == "code":
            found.append(source)
    assert len(found) == 7
    return found


def test_without_records_each_part_says_so_and_nothing_is_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    page = Page({}, monkeypatch)
    assert [text.split(":")[0] for text in page.said] == ["Not measured here"] * 3
    assert page.tabled == page.drawn == page.grown == []


def test_the_goals_on_record_are_shown_and_of_missed_ones_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert RECORDED
    page = Page({"goals": RECORDED}, monkeypatch)
    commands, of_speed = page.tabled
    every = RECORDED["rows"]
    assert {row["goal"] for row in [*commands, *renamed(of_speed)]} == {
        row["goal"] for row in every
    }
    missed = [row for row in every if row["word"] == "missed"]
    assert f"missed: {len(missed)}; " in page.said[0]
    for row, text in zip(missed, page.said[1:], strict=False):
        assert text.startswith(f"- **{row['goal']}**: {row['outcome']} (")
        assert text.endswith(row["why"])
    (dated,) = (parts["as of"] for parts in page.folded)
    assert [row["as of"] for row in dated] == [row["at"] for row in every if row["at"]]


def renamed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of the table that names its goals otherwise."""
    return [row | {"goal": row["goal of a judge or a step"]} for row in rows]


def test_a_goal_has_one_row_with_a_column_for_each_processor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def of(goal: str, processor: str, measured: str | None, word: str) -> dict[str, Any]:
        row = dict.fromkeys(("outcome", "at", "why"), "")
        row |= {"goal": goal, "asks": "at most 5 s", "record": "results/times.json"}
        return row | {"processor": processor, "measured": measured, "word": word}

    rows = [
        of("fast", "one", "3 s", "met"),
        of("fast", "two", "9 s", "missed"),
        of("slow", "two", None, "not measured here"),
        of("slow", "one", "4 s", "met") | {"asks": "at most 7 s"},
    ]
    rows.append(of("new", "one", "1 s", "met"))
    both = "at most 5 s or at most 7 s"
    slow = {"one": "4 s, met (at most 7 s)", "two": "not measured (at most 5 s)"}
    page = Page({"goals": {"rows": rows, "counts": {}}}, monkeypatch)
    assert page.tabled == [
        [
            {"goal": "fast", "asks": "at most 5 s", "one": "3 s, met", "two": "9 s, missed"},
            {"goal": "slow", "asks": both} | slow,
            {"goal": "new", "asks": "at most 5 s", "one": "1 s, met", "two": None},
        ]
    ]


def test_where_no_goal_is_missed_a_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("goal", "asks", "processor", "measured", "outcome", "at", "why", "record")
    row = dict.fromkeys(names, "x")
    record = {"rows": [row | {"word": "met"}], "counts": {"met": 1}}
    page = Page({"goals": record}, monkeypatch)
    assert len(page.tabled) == 1
    assert page.said[:2] == [
        "Each goal is asked of every processor that it was set for. Met: 1; missed: 0; "
        "not measured here: 0.",
        "No goal that was measured is missed.",
    ]


def profiled(model: str, shares: dict[str, float]) -> dict[str, Any]:
    """Ten verdicts in two seconds."""
    row: dict[str, Any] = {
        "tokens_needed": 60,
        "tokens_computed": 100,
        "verdicts": 10,
        "seconds": 2.0,
        "shares": shares,
    }
    named = {"model": model, "number format": "int8", "machine": "two cores", "date": "2026-01-02"}
    return row | named | {"factors": judge_profile.factors(row, 1000, 500, {"tflops": 5e-7})}


GROUPS = [name for name, _ in judge_profile.GROUPS]
EVERY = [*GROUPS, judge_profile.OTHER, judge_profile.BETWEEN, judge_profile.OUTSIDE]


def test_a_verdicts_time_is_cut_into_as_many_groups_as_there_are_colours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = dict(zip(EVERY, (0.4, 0.2, 0.05, 0.01, 0.02, 0.12, 0.1, 0.1), strict=True))
    few = {"matrix products": 0.9, "attention": 0.1}
    page = Page({"judge_profile": [profiled("a", whole), profiled("b", few)]}, monkeypatch)
    (bars,) = page.drawn
    first, second = bars.values()
    assert list(first) == list(second)
    assert len(first) <= len(figures.COLOURS)
    assert sum(first.values()) == pytest.approx(200.0)
    assert first["matrix products"] == pytest.approx(80.0)
    assert first["all else"] == pytest.approx(200 * (0.01 + 0.02))
    assert second["all else"] == pytest.approx(0.0)
    assert {"between steps", "Python between operations"} <= set(first)
    assert "Measured on two cores, 2026-01-02." in page.said
    (factors,) = page.tabled
    assert [row["model"] for row in factors] == ["a in int8", "b in int8"]
    assert factors[0]["verdicts/s"] == "5.0"
    *parts, whole_share = list(factors[0].values())[2:]
    assert whole_share == pytest.approx(np.prod(parts))
    assert tables.cell(whole_share) == "0.13"


def test_where_every_group_has_a_colour_none_is_put_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shares = dict.fromkeys(EVERY[: len(figures.COLOURS)], 1 / len(figures.COLOURS))
    (bars,) = Page({"judge_profile": [profiled("a", shares)]}, monkeypatch).drawn
    (parts,) = bars.values()
    assert len(parts) == len(shares)
    assert "all else" not in parts


def test_a_bar_names_its_machine_where_there_are_several(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = {"matrix products": 0.9, "attention": 0.1}
    other = profiled("a", shares) | {"machine": "four cores, AMX"}
    page = Page({"judge_profile": [profiled("a", shares), other]}, monkeypatch)
    (bars,) = page.drawn
    ((_, last),) = page.tabled
    assert last["model"] == "a in int8, four cores, AMX"
    assert [" ".join(name.split()) for name in bars] == [
        "a, int8, two cores",
        "a, int8, four cores, AMX",
    ]


def test_what_grows_is_shown_and_what_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {
        "criteria": [(1, 0.5), (64, 8.0)],
        "in_flight": [(1, 0.4), (8, 0.8), (64, 1.0)],
        "rollouts": [(8, 7.85), (32, 23.18)],
    }
    record: dict[str, Any] = {"date": "2026-01-02", "machine": "two cores"}
    for name, (_, cost, _) in figures.GROWS.items():
        of = [{name: x, cost: y, "memory_gb": None} for x, y in rows[name]]
        record[name] = {"rows": of, "slope": growth.slope(rows[name])}
    record["rollouts"] |= {"missing": [128], "date": "2025-12-31", "machine": "one core"}
    page = Page({"growth": record}, monkeypatch)
    (table,) = page.tabled
    assert len(table) == 7
    assert table[1] == {
        "size": "64 criteria in the rubric",
        "cost": "8 seconds a grade",
        "GB": None,
    }
    assert page.grown == [record]
    said = " ".join(page.said)
    assert (
        "From 1 to 64 criteria in the rubric, the seconds a grade go from 0.5 to 8. Between" in said
    )
    assert "slope of 0.67" in said
    assert "The steps of training were recorded on 2025-12-31, one core." in said
    assert "Not measured here: steps of 128 rollouts." in said
    empty = {"rows": [], "missing": [8, 32, 128], "slope": None, "without_memory": []}
    page = Page({"growth": record | {"rollouts": empty}}, monkeypatch)
    assert "Not measured here: steps of 8, 32 and 128 rollouts." in page.said[-1]
