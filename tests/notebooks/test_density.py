"""The code of a chapter is read by many: it does one thing at a time, under names that speak."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.notebooks.test_sources import NOTEBOOKS, cells

COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
#: Counts, probabilities, indices and numbers; and a variable of types.
MATHEMATICS = set("npkijxyzT_")


def nested(source: str) -> list[str]:
    """Comprehensions that hold another one."""
    return [
        ast.unparse(outer)
        for outer in ast.walk(ast.parse(source))
        if isinstance(outer, COMPREHENSIONS) and _comprehensions(outer) > 1
    ]


def _comprehensions(node: ast.AST) -> int:
    return sum(isinstance(part, COMPREHENSIONS) for part in ast.walk(node))


def set_together(source: str) -> list[str]:
    """Assignments with names on the left of one sign and other values on its right; no swap."""
    return [
        ast.unparse(line)
        for line in ast.walk(ast.parse(source))
        if isinstance(line, ast.Assign) and _sets_several(line)
    ]


def _sets_several(line: ast.Assign) -> bool:
    if not isinstance(line.value, ast.Tuple):
        return False
    values = _written(line.value)
    return any(isinstance(to, ast.Tuple) and _written(to) != values for to in line.targets)


def _written(several: ast.Tuple) -> set[str]:
    return {ast.unparse(one) for one in several.elts}


def short_names(source: str) -> list[str]:
    """Names of one letter that live longer than a line, where they are no mathematics."""
    tree = ast.parse(source)
    fleeting = set()
    for node in ast.walk(tree):
        if isinstance(node, (*COMPREHENSIONS, ast.Lambda)) and node.lineno == node.end_lineno:
            fleeting |= set(ast.walk(node))
    given = [_given(node) for node in ast.walk(tree) if node not in fleeting]
    return sorted(name for name in given if len(name) == 1 and name not in MATHEMATICS)


def _given(node: ast.AST) -> str:
    """The name that a part of the code gives; empty where it gives none."""
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        return node.id
    if isinstance(node, ast.arg):
        return node.arg
    if isinstance(node, ast.alias):
        return node.asname or ""
    if isinstance(node, ast.ExceptHandler | ast.MatchAs):
        return node.name or ""
    return ""


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_comprehension_of_a_chapter_holds_no_other_one(path: Path) -> None:
    assert [found for code in cells(path, "code") for found in nested(code)] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_line_of_a_chapter_sets_one_thing(path: Path) -> None:
    assert [found for code in cells(path, "code") for found in set_together(code)] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_name_of_a_chapter_that_stays_is_a_word(path: Path) -> None:
    assert [found for code in cells(path, "code") for found in short_names(code)] == []


@pytest.mark.parametrize(
    "source",
    [
        "[[x for x in row] for row in rows]",
        "{name: sum(x > 0 for x in of) for name, of in found.items()}",
        "[n for n in sorted({row['n'] for row in rows})]",
        "grades = {arm: await ask([(t, '') for t in tasks], arm) for arm in arms}",
    ],
)
def test_a_comprehension_in_another_one_is_found(source: str) -> None:
    assert len(nested(source)) == 1


def test_comprehensions_beside_each_other_are_allowed() -> None:
    assert nested("f([x for x in one], {x for row in other for x in row})") == []


@pytest.mark.parametrize(
    "source", ["kept, lost = [], []", "first, last = run[0], run[-1]", "a.b, c = c, d"]
)
def test_a_line_that_sets_two_things_is_found(source: str) -> None:
    assert len(set_together(source)) == 1


@pytest.mark.parametrize("source", ["one, other = other, one", "low, high = ends", "a = 1, 2"])
def test_a_swap_and_a_value_in_its_parts_are_allowed(source: str) -> None:
    assert set_together(source) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("for r in rows:\n    print(r)", ["r"]),
        ("[\n    c.title\n    for c in criteria\n]", ["c"]),
        ("key = lambda a: (\n    a.gain\n)", ["a"]),
        ("def f(a, n):\n    return a", ["a"]),
        ("import numpy as m", ["m"]),
        ("(t := 1)", ["t"]),
    ],
)
def test_a_letter_that_outlives_its_line_is_found(source: str, found: list[str]) -> None:
    assert short_names(source) == found


@pytest.mark.parametrize(
    "source",
    ["[c.title for c in criteria]", "max(rows, key=lambda r: r.gain)", "for n, p in ends:\n    n"],
)
def test_a_letter_of_one_line_or_of_mathematics_is_allowed(source: str) -> None:
    assert short_names(source) == []
