"""No chapter takes the first lines of the data for a sample: what it uses is drawn."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))
#: The first pair of every task by its id, or the first pairs of the file.
FIRST = r"""endswith\(\s*["']-\d+["']|load_mini(?:_pairs)?\([^)]*\)\[:\d"""


def code_of(path: Path) -> str:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_no_chapter_takes_the_first_pairs(path: Path) -> None:
    assert re.findall(FIRST, code_of(path)) == []


@pytest.mark.parametrize(
    "code", ['p.id.endswith("-1")', "p.id.endswith('-2')", 'load_mini_pairs("test")[:24]']
)
def test_the_first_pairs_are_found(code: str) -> None:
    assert re.search(FIRST, code)
