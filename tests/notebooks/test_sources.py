"""What the source of a chapter must hold, read without running it."""

from __future__ import annotations

import ast
import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from rar_lib.book.profiles import load

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))
#: The columns that fit beside each other on a page; a value and its interval are one.
COLUMNS = 7


def cells(path: Path, kind: str) -> list[str]:
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(c["source"]) for c in found if c["cell_type"] == kind]


def rows(source: str) -> list[ast.Dict]:
    """Rows that a cell writes out for a table: in the call that shows it, or appended before it."""
    tree = compile(source, "cell", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    assert isinstance(tree, ast.AST)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    shown = [call for call in calls if ast.unparse(call.func) in ("tables.table", "tables.folds")]
    appended = [call for call in calls if ast.unparse(call.func).endswith(".append")]
    within: list[ast.Dict] = []
    for call in [*shown, *appended] if shown else []:
        within += [node for node in ast.walk(call) if isinstance(node, ast.Dict)]
    return within


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_table_has_no_more_columns_than_fit(path: Path) -> None:
    wide = [
        ast.unparse(row)[:80]
        for source in cells(path, "code")
        for row in rows(source)
        if len(row.keys) > COLUMNS
    ]
    assert wide == []


def test_a_table_that_is_too_wide_is_found() -> None:
    row = ", ".join(f"'{n}': {n}" for n in range(COLUMNS + 1))
    (found,) = rows(f"tables.table([{{{row}}} for x in y])")
    assert len(found.keys) > COLUMNS
    (before,) = rows(f"for x in y:\n    found.append({{{row}}})\ntables.table(found)")
    assert len(before.keys) > COLUMNS
    assert rows(f"found.append({{{row}}})") == []  # no table in this cell


#: How a chapter asks whether a judge may act as one that gave no reward.
GATE = r"\bmay_(?:hold_out|confirm)\("
#: How it says that such a judge must pass the gate of chapter 4.
GATED = r"(?:hold-out|second) judge\b.{0,80}\bgate\b"
#: The chapters with such a judge.
HELD_OUT = ("07", "08", "09")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_chapter_with_a_hold_out_judge_names_its_gate_and_computes_it(path: Path) -> None:
    """It says that there is a gate, and shows on which side of it the judge lies; no other does."""
    asked = path.stem[:2] in HELD_OUT
    assert bool(re.search(GATED, "\n".join(cells(path, "markdown")))) == asked
    assert bool(re.search(GATE, "\n".join(cells(path, "code")))) == asked


def of_any_size(source: str) -> list[str]:
    """Trainings on tasks of a cell's own whose step has as many prompts as the profile says."""
    found = []
    for call in ast.walk(ast.parse(source)):
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "train":
            given = {k.arg: ast.unparse(k.value) for k in call.keywords}
            own = "study.train_tasks" not in given["tasks"]
            if own and "'prompts_per_step': len(" not in given["settings"]:
                found.append(ast.unparse(call))
    return found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_chapter_that_trains_on_tasks_of_its_own_says_how_many_make_a_step(path: Path) -> None:
    """A profile's step may be larger than they are: in smoke it fits, in laptop it did not."""
    assert [call for code in cells(path, "code") for call in of_any_size(code)] == []


@pytest.mark.parametrize(
    ("tasks", "settings", "found"),
    [
        ("tasks[:3]", "study.settings", True),
        ("tasks[:3]", "study.settings.model_copy(update={'steps': 2})", True),
        ("mine", "made_of({'prompts_per_step': len(mine)})", False),
        ("study.train_tasks", "study.settings", False),
    ],
)
def test_a_step_larger_than_its_tasks_is_found(tasks: str, settings: str, found: bool) -> None:
    source = f"made = train(tasks={tasks}, reward=reward, settings={settings})"
    assert bool(of_any_size(source)) == found


@pytest.mark.parametrize("name", ["smoke", "laptop", "gpu"])
def test_a_profiles_tasks_fill_a_step(name: str) -> None:
    profile = load(name)
    assert profile.train_tasks >= profile.training.prompts_per_step


def raw_p_values(source: str) -> list[str]:
    """Where a p-value goes into a table or a sentence as it is: two decimals make 0.0006 none."""
    tree = ast.parse(source)
    above = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    return [
        ast.unparse(above[node])
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in ("p", "p_holm")
        if not _read_well(node, above)
    ]


def _read_well(node: ast.AST, above: dict[ast.AST, ast.AST]) -> bool:
    """Whether it is compared, written with a format of its own, or by ``tables.p_value``."""
    around = above[node]
    while isinstance(around, ast.IfExp):
        around = above[around]
    if isinstance(around, ast.FormattedValue):
        return around.format_spec is not None
    called = isinstance(around, ast.Call) and ast.unparse(around.func) == "tables.p_value"
    return called or isinstance(around, ast.Compare)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_no_chapter_rounds_a_p_value_to_two_decimals(path: Path) -> None:
    assert [found for code in cells(path, "code") for found in raw_p_values(code)] == []


@pytest.mark.parametrize(
    "source",
    ['say("p {p}.", p=f.p_holm)', 'tables.table([{"p": f.p}])', 'x = f"{f.p_holm}"'],
)
def test_a_p_value_that_is_shown_as_it_is_is_found(source: str) -> None:
    assert raw_p_values(source)


@pytest.mark.parametrize(
    "source",
    [
        'tables.table([{"p": tables.p_value(f.p_holm)}])',
        "tables.p_value(f.p_holm if f else None)",
        "sum(f.p < ALPHA for f in tested)",
        'say("p {p}.", p=f"{f.p_holm:.3f}" if f.p_holm is not None else None)',
    ],
)
def test_a_p_value_may_be_compared_and_written_with_three_decimals(source: str) -> None:
    assert raw_p_values(source) == []


#: Lines of code that may stand open on a page: more is no longer the method alone.
OPEN = 12


def opened(path: Path) -> list[str]:
    """The cells of code that a page shows before its exercises."""
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["cells"]
    shown = []
    for cell in found:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown" and source.startswith("## Exercises"):
            break
        if cell["cell_type"] == "code" and not cell["metadata"].get("tags"):
            shown.append(source)
    return shown


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_what_stands_open_is_the_method(path: Path) -> None:
    assert [source[:80] for source in opened(path) if len(source.splitlines()) > OPEN] == []


#: A place on the page; tables and figures have numbers, and a page may lack one of them.
PLACED = (
    r"\b(?:tables?|figures?) (?:above|below)\b|\b(?:next|first|second|last) (?:table|figure)\b"
    r"|\b(?:in|under) the tables?\b"
)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_tables_and_figures_are_referred_to_by_their_numbers(path: Path) -> None:
    texts = cells(path, "markdown") + cells(path, "code")
    assert [found for text in texts for found in re.findall(PLACED, text)] == []


@pytest.mark.parametrize(
    "said", ["as the tables above show", "The next table shows", "it is said under the table"]
)
def test_a_place_on_the_page_is_found(said: str) -> None:
    assert re.search(PLACED, said)


# --- where code stands


def headings_over_code(path: Path) -> list[str]:
    """Headings with nothing to read between them and the first cell of code."""
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["cells"]
    bare = []
    for cell, after in pairwise(found):
        *_, last = "".join(cell["source"]).strip().splitlines() or [""]
        code = after["cell_type"] == "code"
        if cell["cell_type"] == "markdown" and code and last.startswith("#"):
            bare.append(last)
    return bare


#: Chapters that keep headings over code: one is a list of claims, by their kind.
LISTING = ("10", "12")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_section_begins_with_a_sentence(path: Path) -> None:
    if path.stem.startswith(LISTING):
        return
    assert headings_over_code(path) == []


def shows(source: str) -> bool:
    """Whether a cell has an output: it says, prints or draws, or its last line is a value."""
    tree = ast.parse(source)
    return bool(order(source)) or isinstance(tree.body[-1], ast.Expr)


def folds_in_a_row(path: Path) -> list[str]:
    """Folded cells that show nothing, right above another folded cell."""
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["cells"]
    empty = []
    for cell, after in pairwise(found):
        folded = all("hide-input" in one["metadata"].get("tags", []) for one in (cell, after))
        source = "".join(cell["source"])
        if folded and not shows(source):
            empty.append(source[:80])
    return empty


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_folds_that_show_nothing_are_part_of_the_next_one(path: Path) -> None:
    assert folds_in_a_row(path) == []


def test_a_bare_heading_and_two_folds_in_a_row_are_found(tmp_path: Path) -> None:
    folded = {"cell_type": "code", "metadata": {"tags": ["hide-input"]}}
    heading = {"cell_type": "markdown", "metadata": {}, "source": ["## Bare"]}
    cells = [heading, folded | {"source": ["x = 1"]}, folded | {"source": ["say('So.')"]}]
    path = tmp_path / "x.ipynb"
    path.write_text(json.dumps({"cells": [*cells, folded | {"source": ["y = 2"]}]}))
    assert headings_over_code(path) == ["## Bare"]
    assert folds_in_a_row(path) == ["x = 1"]


# --- what a cell prints


def order(source: str) -> str:
    """What a cell prints (p) and displays (d), in order; what a loop does, it does twice."""
    tree = compile(source, "cell", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    assert isinstance(tree, ast.AST)
    return _order(tree)


def _order(node: ast.AST) -> str:
    inner = "".join(map(_order, ast.iter_child_nodes(node)))
    if isinstance(node, ast.For | ast.While):
        return 2 * inner
    if not isinstance(node, ast.Call):
        return inner
    called = ast.unparse(node.func)
    if called in ("print", "tables.show"):
        return inner + "p"
    displays = called in ("say", "display") or called.startswith(("figures.", "claims.say_"))
    return inner + "d" * displays


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_no_cell_prints_on_both_sides_of_what_it_displays(path: Path) -> None:
    """A page puts all that a cell prints where the first of it stands, away from its headings."""
    torn = [source[:80] for source in cells(path, "code") if re.search("pd+p", order(source))]
    assert torn == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("for x in y:\n    say('{x}:', x=x)\n    tables.show(x)", "dpdp"),
        ("print(x)\nfigures.bars(x)\nprint(y)", "pdp"),
        ("for x in y:\n    tables.show(x, 'name')\nsay('So.')", "ppd"),
        ("say('So:')\nprint(x)\nprint(y)", "dpp"),
    ],
)
def test_what_is_torn_apart_on_a_page_is_found(source: str, found: str) -> None:
    assert order(source) == found
