"""The public names: light to import, each with one home, and the same for editors."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

import rar_lib

SOURCE = Path(rar_lib.__file__)
MODULES = sorted(SOURCE.parent.rglob("*.py"))


def run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


NOTEBOOKS = sorted((SOURCE.parents[1] / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_chapters_take_public_names_from_the_face(path: Path) -> None:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    imports = re.findall(r"^from rar_lib\.[\w.]+ import (\([^)]*\)|.*)$", code, re.MULTILINE)
    deep = {name for names in imports for name in re.findall(r"\w+", names)}
    assert deep & set(rar_lib.__all__) == set()


def defined(file: Path) -> set[str]:
    """Names that a module defines at its top; what a function sets is its own."""
    found: set[str] = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        if isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
    return found


@pytest.mark.parametrize("name", rar_lib.__all__)
def test_a_name_is_defined_where_its_home_says(name: str) -> None:
    home = f"rar_lib.{rar_lib._HOME[name]}"
    assert name in defined(Path(str(import_module(home).__file__)))
    assert getattr(rar_lib, name) is getattr(import_module(home), name)


def test_editors_see_the_same_names_at_the_same_places() -> None:
    tree = ast.parse(SOURCE.read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    shown = {}
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        home = str(node.module).removeprefix("rar_lib.")
        shown |= {alias.asname or alias.name: home for alias in node.names}
    assert shown == rar_lib._HOME
    assert set(rar_lib.__all__) <= set(dir(rar_lib))


def test_an_unknown_name_is_told_the_known_ones() -> None:
    with pytest.raises(AttributeError, match=r"rar_lib has no 'Juge'; it has .*Judge"):
        _ = rar_lib.Juge


def test_the_import_loads_no_other_package() -> None:
    """That makes it quick, on any machine."""
    code = (
        "import sys; before = set(sys.modules); import rar_lib\n"
        "loaded = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(loaded - set(sys.stdlib_module_names)))"
    )
    assert run(code) == "['rar_lib']"


def test_grading_loads_neither_torch_nor_openai_before_the_first_call() -> None:
    code = (
        "import sys\n"
        "from rar_lib import Chat, Judge, RubricReward, Settings, Policy, train, synthesize\n"
        "RubricReward(Judge(Chat('http://127.0.0.1:1/v1', 'm')), 'implicit')\n"
        "print(sorted({'torch', 'openai', 'trl', 'transformers'} & set(sys.modules)))"
    )
    assert run(code) == "[]"


ROOT = SOURCE.parents[1]
SCRIPTS = sorted(path for room in ("tests", "results") for path in (ROOT / room).rglob("*.py"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def code_of(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return text
    cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    return "\n".join("".join(cell["source"]) for cell in cells)


@cache
def made_in(module: str) -> set[str]:
    """Names that a module of the library defines, and modules inside it."""
    path = ROOT / module.replace(".", "/")
    inside = {one.stem for one in path.glob("*")}
    return inside | defined(path / "__init__.py" if path.is_dir() else path.with_suffix(".py"))


#: All modules but the face, which has names from everywhere.
ROOMS = [module for module in MODULES if module != SOURCE]


def strangers(path: Path) -> list[str]:
    """What a file takes from a module that does not define it."""
    found = []
    for node in ast.walk(ast.parse(code_of(path))):
        module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
        if isinstance(node, ast.ImportFrom) and module.startswith("rar_lib."):
            wanted = {alias.name for alias in node.names}
            found += sorted(f"{module}.{name}" for name in wanted - made_in(module))
    return found


def test_every_name_is_taken_from_its_home() -> None:
    files = [*ROOMS, *SCRIPTS, *NOTEBOOKS]
    faults = {path.relative_to(ROOT).as_posix(): strangers(path) for path in files}
    assert {name: found for name, found in faults.items() if found} == {}


def passed_on(path: Path) -> set[str]:
    """What a module imports and does not use; and `__all__`, if it has one."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module != "__future__":
            imported |= {alias.asname or alias.name for alias in node.names}
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    attributes = {
        node.value.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }
    return (imported - names - attributes) | (names & {"__all__"})


def test_nothing_is_exported_twice() -> None:
    """What a module imports it uses itself; `__all__` is the face's alone."""
    faults = {path.relative_to(ROOT).as_posix(): passed_on(path) for path in ROOMS}
    assert {name: found for name, found in faults.items() if found} == {}


def test_what_is_taken_from_elsewhere_or_passed_on_is_found(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text(
        "from rar_lib.judging.judge import Chat, Judge\n__all__ = ['Judge']\nJudge(1)\n"
    )
    assert strangers(path) == ["rar_lib.judging.judge.Chat"]
    assert passed_on(path) == {"Chat", "__all__"}
