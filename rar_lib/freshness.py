"""Is an executed notebook still true? Its key, the parts of the key, and what changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rar_lib import notebook
from rar_lib.errors import ReproduceError
from rar_lib.profiles import Profile

SCHEMA = 1
_CHANGED = {
    "notebook": "notebook changed",
    "library": "library changed",
    "parameters": "parameters changed",
    "lock": "environment lock changed",
    "inputs": "inputs changed",
    "after": "earlier notebook was run again",
}


@dataclass(frozen=True)
class Step:
    """A notebook, the folder of its executed copy, and its ``rar`` metadata."""

    source: Path
    out: Path
    rar: dict[str, Any]

    @property
    def stem(self) -> str:
        return self.source.stem

    @property
    def executed(self) -> Path:
        return self.out / f"{self.stem}.ipynb"

    @property
    def manifest(self) -> Path:
        return self.out / f"{self.stem}.json"


def parts_of(
    step: Step, profile: Profile, root: Path, library: Path, pending: Sequence[str] = ()
) -> dict[str, Any]:
    """All that the key is made of; ``pending`` are earlier notebooks about to run."""
    lock = root / "env" / f"{profile.lock}.txt"
    cells = [[c.cell_type, c.source] for c in notebook.read(step.source).cells]
    files = [f for f in sorted(library.rglob("*")) if f.is_file() and "__pycache__" not in f.parts]
    inputs = {name: root / name for name in step.rar.get("inputs", [])}
    for name, path in {f"env/{lock.name}": lock, **inputs}.items():
        if not path.is_file():
            raise ReproduceError(
                f"{step.source.name} needs {name}, which does not exist; restore it from git, "
                "or correct the notebook's metadata rar.inputs"
            )
    after = {}
    for stem in step.rar.get("after", []):
        before = load(step.out / f"{stem}.json")
        if before is None and stem not in pending:
            raise ReproduceError(
                f"{step.source.name} builds on {stem}, which has no finished run in "
                f"{step.out}; run that one too"
            )
        after[stem] = "pending" if stem in pending or before is None else before["run"]
    return {
        "notebook": digest(cells),
        "library": {f.relative_to(library).as_posix(): file_hash(f) for f in files},
        "parameters": profile.model_dump(mode="json"),
        "lock": file_hash(lock),
        "inputs": {name: file_hash(path) for name, path in inputs.items()},
        "after": after,
    }


def reason(step: Step, parts: dict[str, Any]) -> str | None:
    """Why the step must run, or None if it is up to date."""
    manifest = load(step.manifest)
    if manifest is None:
        failed = step.out / f"{step.stem}.failed.ipynb"
        return "the last run failed" if failed.exists() else "never run"
    if not step.executed.exists():
        return "the executed copy is missing"
    if file_hash(step.executed) != manifest["sha256"]:
        return "the executed copy was changed"
    if manifest["key"] == digest(parts):
        return None
    reasons = []
    for name, words in _CHANGED.items():
        old, new = manifest["parts"][name], parts[name]
        if old == new:
            continue
        if isinstance(new, dict):
            which = [k for k in sorted({*old, *new}) if old.get(k) != new.get(k)]
            words += f" ({', '.join(which[:4])}{', ...' if len(which) > 4 else ''})"
        reasons.append(words)
    return "; ".join(reasons)


def load(path: Path) -> dict[str, Any] | None:
    """The manifest, or None if there is none that this version wrote."""
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) and manifest.get("schema") == SCHEMA else None


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON of a value."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
