"""The commit checks find what must not be committed, and nothing else."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
spec = importlib.util.spec_from_file_location("hooks", ROOT / "env" / "hooks.py")
assert spec is not None
assert spec.loader is not None
hooks = importlib.util.module_from_spec(spec)
spec.loader.exec_module(hooks)


@pytest.mark.parametrize(
    "text",
    [
        "-----BEGIN " + "RSA PRIVATE KEY-----",
        "key = 'sk-" + "a1B2" * 10 + "'",
        "hf_" + "x" * 34,
        "ghp_" + "0" * 36,
    ],
)
def test_a_secret_is_found_with_its_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "notes.md"
    path.write_text(f"first line\n{text}\n")
    [fault] = hooks.faults("secrets", [str(path)])
    assert fault.startswith(f"{path}:2: ")


def test_ordinary_text_and_the_repository_pass(tmp_path: Path) -> None:
    path = tmp_path / "notes.md"
    path.write_text("a task-oriented sk-etch of hf_things\n")
    assert hooks.faults("secrets", [str(path)]) == []
    files = [str(p) for p in (ROOT / "rar_lib").glob("**/*") if p.is_file()]
    assert hooks.faults("secrets", files) == []
    assert hooks.faults("large", [f for f in files if "__pycache__" not in f]) == []


def test_a_large_file_is_named_with_its_size(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(b"0" * 1_500_000)
    [fault] = hooks.faults("large", [str(path)])
    assert "1.5 MB" in fault
