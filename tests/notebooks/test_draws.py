"""No chapter takes the first lines of the data for a sample: what it uses is drawn."""

from __future__ import annotations

import ast
import asyncio
import json
import re
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rar_lib.book import tables
from rar_lib.book.profiles import load
from rar_lib.book.prose import sentence
from rar_lib.core.prompts import policy_messages
from rar_lib.data.tasks import load_mini
from rar_lib.judging.chat import together

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


def targets(assignment: ast.Assign) -> set[str]:
    return {ast.unparse(target) for target in assignment.targets}


def set_up(cells: list[str]) -> ast.Module:
    """What the cell of imports takes from the study, without the imports."""
    wanted = {"training", "SIZE", "tasks", "as_in_training"}
    source = next(source for source in cells if "as_in_training = " in source)
    lines: list[ast.stmt] = [
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign) and targets(node) <= wanted
    ]
    assert len(lines) == len(wanted)
    return ast.Module(lines, [])


@pytest.mark.parametrize(("name", "prompts"), [("smoke", 2), ("laptop", 3)])
def test_the_groups_that_arms_are_compared_on_are_whole_ones_as_in_training(
    name: str, prompts: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """The cells of chapter 6 that draw its responses, run here with a policy that counts."""
    profile = load(name)
    asked: list[dict[str, Any]] = []

    async def sample(policy: str, messages: list[dict[str, str]], **how: Any) -> list[str]:
        asked.append(how)
        return [f"{policy} {k}" for k in range(how["n"])]

    path = next(p for p in NOTEBOOKS if p.stem.startswith("06"))
    found = json.loads(path.read_text(encoding="utf-8"))["cells"]
    cells = ["".join(c["source"]) for c in found if c["cell_type"] == "code"]
    at = next(n for n, source in enumerate(cells) if "await together(" in source)
    said: list[str] = []
    known = {
        "policy_messages": policy_messages,
        "sample": sample,
        "say": lambda template, **values: said.append(sentence(template, **values)),
        "study": SimpleNamespace(
            profile=profile,
            train_tasks=load_mini("train")[: profile.train_tasks],
            serving=nullcontext,
        ),
        "tables": tables,
        "together": together,
    }
    exec(compile(set_up(cells), path.stem, "exec"), known)
    code = compile(cells[at], path.stem, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    asyncio.run(eval(code, known))
    exec(compile(cells[at + 1], path.stem, "exec"), known)
    training = profile.training
    assert [how["n"] for how in asked] == [training.rollouts] * prompts
    assert {how["temperature"] for how in asked} == {training.temperature}
    assert {how["max_tokens"] for how in asked} == {training.max_completion}
    assert len(known["items"]) == training.rollouts * prompts
    (line,) = said
    assert line.startswith(f"{training.rollouts * prompts} responses in groups of ")
    assert known["tasks"][0].question in capsys.readouterr().out
