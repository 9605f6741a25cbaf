"""What a module stands on, read from the text of the library: a second opinion. Tests only."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from rar_lib.core.files import code_hash, meaning

ROOT = Path(__file__).resolve().parents[2]
#: The texts of prompts, which modules read by their names.
PROMPT_TEXTS = {
    f"core/prompts/{path.name}" for path in (ROOT / "rar_lib/core/prompts").glob("*.txt")
}


def closure(module: str) -> set[str]:
    """Files of the library that are loaded or started for a module, wherever; as ``room/x.py``."""
    found: set[str] = set()
    left = [module]
    while left:
        path = _file(left.pop())
        if path and (name := path.relative_to(ROOT / "rar_lib").as_posix()) not in found:
            found.add(name)
            left += _imported(ast.parse(path.read_text(encoding="utf-8")))
    return found


def doing(names: Iterable[str]) -> set[str]:
    """Those of the files that do something: not a room's docstring alone."""
    return {name for name in names if code_hash(ROOT / "rar_lib" / name) != meaning("")}


def _file(module: str) -> Path | None:
    path = ROOT / Path(*module.split("."))
    return next((p for p in (path.with_suffix(".py"), path / "__init__.py") if p.is_file()), None)


def _imported(node: ast.AST) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        if isinstance(child, ast.Import):
            yield from (one.name for one in child.names)
        if isinstance(child, ast.ImportFrom) and child.module:
            yield child.module
            yield from (f"{child.module}.{one.name}" for one in child.names)
        if isinstance(child, ast.Constant) and _program(child.value):
            yield child.value
        yield from _imported(child)


def _program(value: object) -> bool:
    """Whether a text names a module, as where one is started as a program of its own."""
    if not isinstance(value, str) or not re.fullmatch(r"rar_lib(\.\w+)+", value):
        return False
    path = _file(value)
    return path is not None and path.name != "__init__.py"
