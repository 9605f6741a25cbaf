"""Every chapter ends with exercises; each has one folded solution that runs with the chapter."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "notebooks").glob("*.ipynb"))
#: A directive as the notebooks write it: name, argument, options.
DIRECTIVE = re.compile(
    r"^:::\{(?P<name>[\w-]+)\} ?(?P<argument>.*)\n(?P<options>(?::\w+:.*\n)*)", re.M
)
OPTION = re.compile(r"^:(\w+): ?(.*)$", re.M)
#: What a reader of a solution has to take in at once.
STATEMENTS = 8


@dataclass
class Exercise:
    """One exercise of a chapter.

    Attributes:
        solutions: label of the exercise and classes that each solution of it names.
        code: cells between the start and the end of a solution.
    """

    title: str
    label: str
    solutions: list[tuple[str, str]] = field(default_factory=list)
    code: list[Any] = field(default_factory=list)


def exercises(path: Path) -> list[Exercise]:
    """The exercises of a notebook, in their order."""
    found: list[Exercise] = []
    inside = False
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            if inside:
                found[-1].code.append(cell)
            continue
        for mark in DIRECTIVE.finditer(f"{cell.source}\n"):
            options = dict(OPTION.findall(mark["options"]))
            if mark["name"] == "exercise":
                found.append(Exercise(mark["argument"], options["label"]))
            elif mark["name"] == "solution-start":
                found[-1].solutions.append((mark["argument"], options["class"]))
                inside = True
            elif mark["name"] == "solution-end":
                inside = False
    assert not inside, "a solution is not closed"
    return found


def statements(source: str) -> int:
    """Statements of a cell, which may await at its top level; imports aside."""
    tree = compile(source, "<cell>", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    assert isinstance(tree, ast.Module)
    every = [node for node in ast.walk(tree) if isinstance(node, ast.stmt)]
    return sum(not isinstance(node, ast.Import | ast.ImportFrom) for node in every)


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.stem)
def test_a_chapter_has_two_or_three_exercises_with_one_folded_solution_each(path: Path) -> None:
    found = exercises(path)
    assert len(found) in (2, 3)
    for one in found:
        assert one.title
        assert one.solutions == [(one.label, "dropdown")]
        assert one.code, one.label


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.stem)
def test_a_solution_is_a_few_open_statements_that_show_something(path: Path) -> None:
    for one in exercises(path):
        solution, *said = one.code
        assert "hide-input" not in solution.metadata.get("tags", []), one.label
        assert statements(solution.source) <= STATEMENTS, one.label
        assert "tables.table(" in solution.source, one.label
        # What it means is computed from it, and the code of the sentence is out of the way.
        assert [cell.metadata.get("tags") for cell in said] == [["hide-input"]], one.label
        assert "say(" in said[0].source


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.stem)
def test_the_exercises_are_the_end_of_their_chapter(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    heads = [n for n, c in enumerate(cells) if re.search(r"^#+ Exercises$", c.source, re.M)]
    assert len(heads) == 1
    rest = [c.source for c in cells[heads[0] :] if c.cell_type == "markdown"]
    assert not any(re.search(r"^#+ ", text, re.M) for text in rest[1:])
    assert rest[-1].endswith(":::{solution-end}\n:::")


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.stem)
def test_a_solution_leaves_nothing_for_a_later_chapter(path: Path) -> None:
    """Readers change solutions; what other chapters read must not change with them."""
    for one in exercises(path):
        code = "\n".join(cell.source for cell in one.code)
        assert "study.save" not in code
        assert "study.folder" not in code


def test_no_label_is_used_twice_in_the_book() -> None:
    labels = [one.label for path in SOURCES for one in exercises(path)]
    assert len(labels) == len(set(labels))
    assert all(re.fullmatch(r"ex-[a-z-]+", label) for label in labels)


def test_the_reader_of_this_test_sees_what_is_wrong(tmp_path: Path) -> None:
    """Two solutions, one of them open and of another exercise: all of it is seen."""
    text = (
        ":::{exercise} One\n:label: ex-one\n\nWhy?\n:::\n\n"
        ":::{solution-start} ex-one\n:class: dropdown\n:::\n\n:::{solution-end}\n:::\n\n"
        ":::{solution-start} ex-two\n:class: note\n:::"
    )
    cells = [
        nbformat.v4.new_markdown_cell(text),
        nbformat.v4.new_code_cell("x = 1\nfor n in y:\n    await z(n)\nimport re"),
        nbformat.v4.new_markdown_cell(":::{solution-end}\n:::"),
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "x.ipynb")
    (one,) = exercises(tmp_path / "x.ipynb")
    assert one.solutions == [("ex-one", "dropdown"), ("ex-two", "note")]
    assert [statements(cell.source) for cell in one.code] == [3]
