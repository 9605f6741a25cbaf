"""Lines of code a room of the library, for `make lint`: a budget to look at, no limit.

Docstrings, comments, blank lines and imports do not count.
"""

from __future__ import annotations

import ast
import io
import tokenize
from pathlib import Path

LIBRARY = Path(__file__).resolve().parents[1] / "rar_lib"
ROOMS = (
    "core",
    "data",
    "judging",
    "rubrics",
    "models",
    "evaluation",
    "training",
    "book",
    "cli",
)
_LAYOUT = {tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.COMMENT}


def code_lines(source: str) -> int:
    """Lines that hold code: neither docstring, comment, blank nor import."""
    left_out: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        text = docstring and isinstance(node.value.value, str)  # type: ignore[attr-defined]
        if text or isinstance(node, ast.Import | ast.ImportFrom):
            left_out |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))  # type: ignore[attr-defined]
    kept: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _LAYOUT and token.type != tokenize.ENDMARKER:
            kept |= set(range(token.start[0], token.end[0] + 1))
    return len(kept - left_out)


def main() -> None:
    """Print one line."""
    counts = {}
    for room in ROOMS:
        files = sorted((LIBRARY / room).rglob("*.py"))
        if not files:
            raise SystemExit(f"{LIBRARY / room} holds no module: correct ROOMS in {__file__}")
        counts[room] = sum(code_lines(path.read_text(encoding="utf-8")) for path in files)
    parts = ", ".join(f"{room} {count:,}" for room, count in counts.items())
    print(f"lines of code: {parts}; {sum(counts.values()):,} in all")


if __name__ == "__main__":
    main()
