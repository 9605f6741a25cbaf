"""Errors: a family that is caught as one, of which each type keeps to its boundary, with words."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

import rar_lib
from rar_lib.core import errors
from rar_lib.core.errors import CassetteError, CassetteMiss, RarError, first_line

ROOMS = Path(rar_lib.__file__).parent
OURS = {
    name: kind
    for name, kind in vars(errors).items()
    if inspect.isclass(kind) and kind.__module__ == errors.__name__
}
BOUNDARIES = {name: kind for name, kind in OURS.items() if kind is not RarError}


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ("one\ntwo\nthree", "one"),
        ("\n  \n  what counts\nthe rest", "what counts"),
        ("\r\nof Windows\r\nthe rest", "of Windows"),
        ("before a separator\u2028behind it", "before a separator"),
        ("x" * 200, "x" * 200),
        ("x" * 201, "x" * 200),
        ("x" * 300 + "\ny", "x" * 200),
        ("", "no message"),
        (" \n\t\n", "no message"),
    ],
)
def test_of_another_librarys_error_a_line_is_said(said: str, line: str) -> None:
    assert first_line(ValueError(said)) == line


def test_an_error_that_says_nothing_or_names_a_key_alone_has_a_line_too() -> None:
    assert first_line(RuntimeError()) == "no message"
    assert first_line(KeyError("id")) == "'id'"


def test_who_catches_one_boundary_catches_no_other() -> None:
    """Of two types one is part of the other in a single case: a miss is an error of a recording."""
    both = {
        (inner.__name__, outer.__name__)
        for inner in BOUNDARIES.values()
        for outer in BOUNDARIES.values()
        if inner is not outer and issubclass(inner, outer)
    }
    assert both == {("CassetteMiss", "CassetteError")}
    with pytest.raises(CassetteError, match="not on record"):
        raise CassetteMiss("not on record")


@pytest.mark.parametrize("name", BOUNDARIES)
def test_an_error_is_caught_as_ours_and_crosses_processes_by_its_name_and_words(name: str) -> None:
    """So it comes back from an actor of Ray, and from the first of several processes."""
    made = getattr(errors, name)("thing 'x' is 3: make it 2")
    assert type(made) is OURS[name]
    with pytest.raises(RarError, match="thing 'x' is 3: make it 2"):
        raise made


def raised(path: Path) -> list[ast.Raise]:
    """Where a module raises an error of ours."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Raise) and node.exc is not None:
            called = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            if isinstance(called, ast.Name) and called.id in OURS:
                found.append(node)
    return found


@pytest.mark.parametrize("room", sorted(path.parent.name for path in ROOMS.glob("*/__init__.py")))
def test_no_error_is_raised_without_words_or_as_the_whole_family(room: str) -> None:
    wrong = []
    for path in sorted((ROOMS / room).rglob("*.py")):
        for node in raised(path):
            named = isinstance(node.exc, ast.Call) and node.exc.args
            plain = isinstance(node.exc, ast.Call) and ast.unparse(node.exc.func) == "RarError"
            if not named or plain:
                wrong.append(f"{path.name}, line {node.lineno}")
    assert wrong == []
