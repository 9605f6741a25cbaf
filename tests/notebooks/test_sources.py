"""What the source of a chapter must hold, read without running it."""

from __future__ import annotations

import ast
import json
import re
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
    """Rows that a cell writes out for a table: the dictionaries in a call of ``tables.table``."""
    tree = compile(source, "cell", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    assert isinstance(tree, ast.AST)
    found: list[ast.Dict] = []
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and ast.unparse(call.func) in (
            "tables.table",
            "tables.folds",
        ):
            found += [node for node in ast.walk(call) if isinstance(node, ast.Dict)]
    return found


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


#: How a chapter asks whether a judge may act as one that gave no reward.
GATE = r"\bmay_(?:hold_out|confirm)\("


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_chapter_with_a_hold_out_judge_computes_whether_it_may_be_one(path: Path) -> None:
    """It names the gate of chapter 4, so it shows on which side of it the judge lies."""
    text, code = "\n".join(cells(path, "markdown")), "\n".join(cells(path, "code"))
    if re.search(r"(?:hold-out|second) judge\b.{0,80}\bgate\b", text):
        assert re.search(GATE, code)


def test_three_chapters_have_a_hold_out_judge() -> None:
    judged = [p.stem[:2] for p in NOTEBOOKS if re.search(GATE, "\n".join(cells(p, "code")))]
    assert judged == ["07", "08", "09"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_chapter_that_trains_on_tasks_of_its_own_says_how_many_make_a_step(path: Path) -> None:
    """A profile's step may be larger than they are: in smoke it fits, in laptop it did not."""
    for code in cells(path, "code"):
        for call in ast.walk(ast.parse(code)):
            if not (isinstance(call, ast.Call) and ast.unparse(call.func) == "train"):
                continue
            given = {k.arg: ast.unparse(k.value) for k in call.keywords}
            if "study.train_tasks" not in given["tasks"]:
                assert "'prompts_per_step': len(" in given["settings"], ast.unparse(call)


@pytest.mark.parametrize("name", ["smoke", "laptop", "gpu"])
def test_a_profiles_tasks_fill_a_step(name: str) -> None:
    profile = load(name)
    assert profile.train_tasks >= profile.training.prompts_per_step
