"""`rar data`, as a user types it."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner, Result

from rar_lib.cli.app import app
from rar_lib.data.tasks import load_mini, save_tasks


def rar(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_data_check_speaks_line_by_line(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.jsonl", tmp_path / "bad.jsonl"
    save_tasks(good, load_mini("val"))
    assert rar("data", "check", good).exit_code == 0
    bad.write_text('{"id": "a", "question": "Why?"}\n{"id": "b"}\nnot json\n', encoding="utf-8")
    done = rar("data", "check", bad)
    assert done.exit_code == 1
    assert "2 errors" in done.output
    assert "question" in done.output


def test_data_show_counts(tmp_path: Path) -> None:
    path = tmp_path / "tasks.jsonl"
    save_tasks(path, load_mini("val"))
    done = rar("data", "show", path)
    assert done.exit_code == 0
    assert "16" in done.output
    assert "domain medicine" in done.output
