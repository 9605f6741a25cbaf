"""A section that shows a record is left out of a page while there is none, and listed."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest
from sample import code, new_markdown_cell

from rar_lib.book.pages.build import _stage
from rar_lib.book.pages.status import status_page
from rar_lib.book.pages.unrecorded import LeftOut, recorded

REPO = Path(__file__).resolve().parents[3]
NOTEBOOKS = sorted((REPO / "notebooks").glob("*.ipynb"))


def told(text: str, *tags: str) -> Any:
    cell = new_markdown_cell(text)
    cell.metadata["tags"] = list(tags)
    return cell


CELLS = [
    told("# Title"),
    told("## Attacks\n\nWhat was attacked.", "record-attacks"),
    code("attacks"),
    told("### Their parts"),
    told("More of it, ## and no heading."),
    told("## After it"),
    code("after"),
    told("### Growth", "record-growth", "other"),
    code("growth"),
    told("### Its neighbour"),
]


def left(*records: str) -> tuple[list[str], list[LeftOut]]:
    kept, left_out = recorded(CELLS, lambda name: name in records)
    return [cell["source"].partition("\n")[0] for cell in kept], left_out


def test_a_section_goes_with_its_parts_up_to_the_next_one_of_its_level() -> None:
    kept, left_out = left()
    assert kept == ["# Title", "## After it", "after", "### Its neighbour"]
    assert left_out == [LeftOut("Attacks", "attacks"), LeftOut("Growth", "growth")]


def test_a_section_with_its_record_stays() -> None:
    kept, left_out = left("attacks")
    assert kept[1:5] == [
        "## Attacks",
        "attacks",
        "### Their parts",
        "More of it, ## and no heading.",
    ]
    assert left_out == [LeftOut("Growth", "growth")]
    assert left("attacks", "growth") == ([cell["source"].partition("\n")[0] for cell in CELLS], [])


def test_the_status_page_lists_what_is_left_out_and_says_nothing_else() -> None:
    sections = {"01_x": [LeftOut("Where *time* goes", "grpo_step")], "02_y": []}
    page = status_page({"01_x": None, "02_y": None}, {"01_x": "X", "02_y": "Y"}, sections)
    part = page.split("## Not measured in this edition\n")[1].split("\n## ")[0]
    assert part.strip().splitlines()[2:] == [
        r"- [X](01_x.ipynb), section *Where \*time\* goes*: record grpo\_step"
    ]
    for nothing in (None, {}, {"01_x": []}):
        assert "Not measured" not in status_page({"01_x": None}, {"01_x": "X"}, nothing)


def test_the_book_is_made_of_what_is_left(tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    book = repo / "book"
    book.mkdir(parents=True)
    path = tmp_path / "09_x.ipynb"
    for cell in CELLS:
        cell.setdefault("execution_count", 1)
    notebook = {"cells": CELLS, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    path.write_text(json.dumps(notebook))
    (repo / "results" / "deep").mkdir(parents=True)
    (repo / "results" / "deep" / "growth.json").write_text("{}")
    src = _stage(book, {"09_x": path}, tmp_path / "src", repo)
    staged = (src / "09_x.ipynb").read_text()
    assert "What was attacked" not in staged
    assert "### Growth" in staged
    assert "section *Attacks*: record attacks" in (src / "status.md").read_text()


# --- the chapters


def marked(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The cells that have a tag of a record."""
    return [cell for cell in cells if "record-" in " ".join(cell["metadata"].get("tags", []))]


def names(cells: list[dict[str, Any]], context: type[ast.expr_context]) -> set[str]:
    """Names that cells of code set, or read."""
    found: set[str] = set()
    for cell in cells:
        tree = compile(
            "".join(cell["source"]) if cell["cell_type"] == "code" else "",
            "cell",
            "exec",
            ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
        )
        assert isinstance(tree, ast.AST)
        nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
        found |= {node.id for node in nodes if isinstance(node.ctx, context)}
    return found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_chapter_names_records_at_headings_and_reads_them_there(path: Path) -> None:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    headed = recorded(cells, lambda name: False)[1]
    assert len(headed) == len(marked(cells))
    source = "\n".join("".join(cell["source"]) for cell in cells)
    for section in headed:
        assert f'results.load("{section.record}")' in source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_chapter_that_is_downloaded_runs_without_the_sections_that_it_lacks(path: Path) -> None:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    kept, _ = recorded(cells, lambda name: False)
    dropped = [cell for cell in cells if cell not in kept]
    only_there = names(dropped, ast.Store) - names(kept, ast.Store)
    assert names(kept, ast.Load) & only_there == set()
