"""Notebooks as small as a test needs them, with the cell of parameters that the runner asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat

PARAMETERS = 'profile = "smoke"'


def write_notebook(path: Path, *cells: str, **rar: Any) -> None:
    """A notebook whose first cell is tagged `parameters`."""
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nb = nbformat.v4.new_notebook(metadata={"rar": rar, "kernelspec": kernel})
    nb.cells = [nbformat.v4.new_code_cell(c, id=f"c{n}") for n, c in enumerate(cells)]
    nb.cells[0].metadata["tags"] = ["parameters"]
    path.parent.mkdir(exist_ok=True)
    path.write_text(nbformat.writes(nb))
