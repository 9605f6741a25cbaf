"""Chapter 12 on what things cost: with its records, with parts of them, and without."""

from __future__ import annotations

import ast
import io
import json
from collections import Counter
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

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
        monkeypatch.setattr(results, "load", records.get)
        monkeypatch.setattr(figures, "stages", lambda bars, **_: self.drawn.append(bars))
        monkeypatch.setattr(figures, "growth", self.grown.append)
        monkeypatch.setattr(tables, "table", self.tabled.append)
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
    assert len(found) == 6
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
    every, missed = page.tabled
    assert [row["goal"] for row in every] == [row["goal"] for row in RECORDED["rows"]]
    assert [row["why"] for row in missed] == [
        row["why"] for row in RECORDED["rows"] if row["word"] == "missed"
    ]
    assert page.said[0].startswith(f"Of {len(every)} rows ")
    assert f"{len(missed)} are missed" in page.said[0]


def test_where_no_goal_is_missed_a_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    row = {name: "x" for name in ("goal", "asks", "processor", "measured", "outcome", "at", "why")}
    record = {"rows": [row | {"word": "met"}], "counts": {"met": 1}}
    page = Page({"goals": record}, monkeypatch)
    assert len(page.tabled) == 1
    assert page.said[:2] == [
        "Of 1 rows 1 are met and 0 are missed; 0 are not measured here.",
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
    assert "a in int8 on two cores, 2026-01-02: 5.0 verdicts a second." in page.said[1].replace(
        "*", ""
    )
    assert page.said[1].endswith("Multiplied with each other they are 0.13.")


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
    (bars,) = Page({"judge_profile": [profiled("a", shares), other]}, monkeypatch).drawn
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
