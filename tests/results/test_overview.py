"""``results/`` as a whole: every script and every record has a row, every script its tests."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

RESULTS = Path(__file__).resolve().parents[2] / "results"
PAGE = (RESULTS / "README.md").read_text(encoding="utf-8")
TABLE = PAGE.split("\n| record |")[1].split("\n\n")[0]
ROWS = [line.split(" | ") for line in TABLE.splitlines()[2:]]


def scripts() -> list[str]:
    """Scripts that are started from outside; those of the peers run in environments of theirs."""
    found = sorted(RESULTS.rglob("*.py"))
    started = [path for path in found if "__main__" in path.read_text(encoding="utf-8")]
    return [path.relative_to(RESULTS).as_posix() for path in started if "peers" not in path.parts]


def records() -> list[str]:
    return sorted(path.relative_to(RESULTS).as_posix() for path in RESULTS.rglob("*.json"))


@pytest.mark.parametrize("name", [*scripts(), *records()])
def test_what_lies_in_results_has_a_row(name: str) -> None:
    assert f"`{name}`" in TABLE


def is_there(name: str) -> bool:
    """Whether a script lies in ``results/`` or, by its whole path, in the repository."""
    return any((root / name).is_file() for root in (RESULTS, RESULTS.parent))


def test_a_row_names_only_scripts_that_there_are() -> None:
    named = re.findall(r"`([\w/]+\.py)`", TABLE)
    assert "study/pilot.py" in named
    assert [name for name in named if not is_there(name)] == []


@pytest.mark.parametrize("row", [row for row in ROWS if "none" in row[0]], ids=lambda row: row[1])
def test_a_row_that_says_none_has_no_record(row: list[str]) -> None:
    named = re.findall(r"`([\w/]+\.json)`", row[0])
    assert [name for name in named if (RESULTS / name).is_file()] == []


def test_what_has_a_time_on_record_is_not_called_untimed() -> None:
    untimed = [row for row in ROWS if "not timed" in row[-1]]
    named = re.findall(r"`([\w/]+\.json)`", " ".join(row[0] for row in untimed))
    there = [RESULTS / name for name in named if (RESULTS / name).is_file()]
    assert [path.name for path in there if '"seconds"' in path.read_text(encoding="utf-8")] == []


def test_a_row_without_a_note_has_its_record() -> None:
    recorded = [row[0] for row in ROWS if "none" not in row[0]]
    assert recorded
    for name in re.findall(r"`([\w/]+\.json)`", " ".join(recorded)):
        assert (RESULTS / name).is_file(), name


# --- tests mirror the scripts

TESTS = Path(__file__).parent
#: Adapters of peers whose packages are in environments of their own alone.
NOT_HERE = ("judges/peers/run_autorubric.py", "judges/peers/run_rubric.py")
#: Tests that are of no single script, and of what they are.
OF_THEIR_OWN = {
    "test_overview.py": "results/ as a whole",
    "study/test_design.py": "design.json, which all that the study declares goes into",
}


def within(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


MODULES = [path for path in sorted(RESULTS.rglob("*.py")) if path.name != "__init__.py"]
#: Where the tests of a script are -> the script.
MIRRORED = {
    within(path.with_name(f"test_{path.name}"), RESULTS): path
    for path in MODULES
    if within(path, RESULTS) not in NOT_HERE
}


def taken_from(tree: ast.AST) -> set[str]:
    """Modules, and names in them, that a file imports; adapters are loaded by their bare names."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "adapter":
            found.add("results.judges.peers." + ast.literal_eval(node.args[0]))
    return found


@pytest.mark.parametrize("test", MIRRORED)
def test_every_script_has_tests_that_import_it(test: str) -> None:
    module = ".".join(MIRRORED[test].relative_to(RESULTS.parent).with_suffix("").parts)
    path = TESTS / test
    assert path.is_file(), f"nothing tests {module}: write tests/results/{test}"
    text = path.read_text(encoding="utf-8")
    assert module in taken_from(ast.parse(text)), f"tests/results/{test} does not use {module}"
    assert "\ndef test_" in text


def test_every_test_here_is_of_a_script() -> None:
    found = {within(path, TESTS) for path in TESTS.rglob("test_*.py")}
    assert found - set(MIRRORED) == set(OF_THEIR_OWN)
    assert {within(path, RESULTS) for path in MODULES} >= set(NOT_HERE)
