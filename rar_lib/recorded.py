"""Results that were recorded once and lie in the repository, with machine and date.

    found = recorded.load("judges")     # benchmarks/results/judges.json

Chapters show them beside what their own cells measure, never in its place.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("results", "benchmarks/results")


def load(name: str, root: Path = _ROOT) -> dict[str, Any] | None:
    """A recorded result by the name of its file; ``None`` where nothing has been recorded.

    Args:
        root: the checkout; an installed library has no results beside it.

    Raises:
        ValueError: the file is there and is not JSON.
    """
    for folder in FOLDERS:
        path = root / folder / f"{name}.json"
        if path.exists():
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return found
    return None


def origin(found: dict[str, Any]) -> str:
    """Where and when a result was measured, for the line above a table."""
    return f"recorded on {found['date']}, {found['machine']}"
