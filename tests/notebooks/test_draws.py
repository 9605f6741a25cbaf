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
#: The first pair of every task by its id.
FIRST = r"""endswith\(\s*["']-\d+["']"""
#: What loads a data set of the book; a reader's own file is loaded by other functions.
LOADS = r"\bload_(?:mini|mini_pairs|rar|choices|honest)\("
#: What takes a sample as it should be taken.
DRAWS = r"\b(?:draw_tasks|draw_pairs|stratified|split_tasks)\("


def first_lines(source: str) -> list[str]:
    """Where the first lines of a data set are taken, through the names that it is given."""
    held: set[str] = set()
    found = []
    for node in in_turn(ast.parse(source)):
        if isinstance(node, ast.Assign):
            names = set().union(*(_names(target, ast.Store) for target in node.targets))
            held = held | names if _in_file_order(node.value, held) else held - names
        elif _cuts_off(node) and _in_file_order(node.value, held):
            found.append(ast.unparse(node))
    return found


def in_turn(tree: ast.AST) -> list[Any]:
    """Assignments and slices as they are run: what is on the right comes before its name."""
    found = [part for part in ast.walk(tree) if isinstance(part, ast.Assign | ast.Subscript)]
    return sorted(found, key=lambda part: (part.end_lineno, isinstance(part, ast.Assign)))


def _names(part: ast.AST, use: type[ast.expr_context]) -> set[str]:
    names = [node for node in ast.walk(part) if isinstance(node, ast.Name)]
    return {node.id for node in names if isinstance(node.ctx, use)}


def _in_file_order(value: ast.expr, held: set[str]) -> bool:
    """Whether a value holds a data set, or a part of it, in the order of its file."""
    said = ast.unparse(value)
    if re.search(DRAWS, said) or isinstance(value, ast.Dict | ast.DictComp | ast.Subscript):
        return False
    if isinstance(value, ast.Call) and ast.unparse(value.func) not in ("list", "tuple"):
        return bool(re.match(LOADS, said))
    return bool(re.search(LOADS, said) or _names(value, ast.Load) & held)


def _cuts_off(part: ast.Subscript) -> bool:
    """Whether it takes so many from the beginning."""
    cut = part.slice
    if not isinstance(cut, ast.Slice) or cut.upper is None or cut.step is not None:
        return False
    return cut.lower is None or ast.unparse(cut.lower) == "0"


def code_of(path: Path) -> str:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_no_chapter_takes_the_first_pairs(path: Path) -> None:
    assert re.findall(FIRST, code_of(path)) == []
    assert first_lines(code_of(path)) == []


@pytest.mark.parametrize("code", ['p.id.endswith("-1")', "p.id.endswith('-2')"])
def test_the_first_pairs_are_found_by_their_ids(code: str) -> None:
    assert re.search(FIRST, code)


@pytest.mark.parametrize(
    "code",
    [
        'load_mini_pairs("test")[:24]',
        "p = load_mini_pairs()\np[:24]",
        "p = load_mini_pairs()\nfor x in p[0:n]:\n    x",
        "p = list(load_mini())\nq = [x for x in p if x.reference]\nq[:2]",
        "found, said = load_rar(name)\nsome = found[:5]",
        "p = [*load_mini('val'), *load_mini('test')]\np = p[: 2 * n]",
    ],
)
def test_the_first_lines_of_a_data_set_are_found_under_its_name(code: str) -> None:
    assert len(first_lines(code)) == 1


@pytest.mark.parametrize(
    "code",
    [
        "p = draw_pairs(load_mini_pairs(), 24, tasks)\np[:12]",
        "p = load_mini()\np = study.train_tasks\np[:3]",
        "p = load_mini()\np[-3:]\np[0]",
        "ranked = sorted(load_mini(), key=length)\nranked[:3]",
        "tasks = load_tasks(folder / 'tasks.jsonl')\ntasks[:3]",
        "of = {p.id: p.text for p in load_mini_pairs()}\nof[name][:40]",
    ],
)
def test_a_draw_and_what_is_no_data_set_of_the_book_may_be_cut(code: str) -> None:
    assert first_lines(code) == []


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
