"""`rar data` and `rar convert`, as a user types them."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner, Result

from rar_lib.cli.app import app
from rar_lib.data.tasks import load_mini, load_tasks, save_tasks


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


def test_convert_shows_the_guess_and_counts_what_is_lost(tmp_path: Path) -> None:
    rows = Path(__file__).parents[1] / "fixtures" / "rar_rows.jsonl"
    done = rar("convert", rows, tmp_path / "tasks.jsonl", "--domain", "medicine")
    assert done.exit_code == 3  # a row and criteria are left out
    said = " ".join(done.output.split())
    assert "8 rows read as rar (RaR-Medicine, RaR-Science), for its columns question, ref" in said
    assert "error: line 8, field rubric: no usable criterion" in said
    assert "not held by a task, in rows: question_source 7, rubric 2" in said
    assert "7 rows of tasks, 1 row left out" in said
    assert {task.domain for task in load_tasks(tmp_path / "tasks.jsonl")} == {"medicine"}
    assert max(map(len, done.output.replace(str(tmp_path), "").splitlines())) <= 80


def test_convert_out_and_in_again_loses_nothing(tmp_path: Path) -> None:
    first, trl, last = (tmp_path / f"{name}.jsonl" for name in ("first", "trl", "last"))
    save_tasks(first, load_mini("val"))
    done = rar("convert", first, trl, "--to", "trl")
    assert done.exit_code == 0
    assert "nothing is lost" in " ".join(done.output.split())
    assert rar("convert", trl, last).exit_code == 0
    assert first.read_bytes() == last.read_bytes()


def test_convert_takes_the_word_of_the_user_for_the_format(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "Why?", "answer": "So."}\n', encoding="utf-8")
    guessed = rar("convert", path, tmp_path / "out.jsonl")
    assert "read as verifiers" in " ".join(guessed.output.split())
    said = rar("convert", path, tmp_path / "out.jsonl", "--from", "trl")
    assert "not held by a task, in rows: answer 1" in " ".join(said.output.split())


def test_convert_refuses_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("Frage\nWarum?\n", encoding="utf-8")
    done = rar("convert", path, tmp_path / "out.jsonl")
    assert done.exit_code == 1
    assert "fit no known format" in done.output
    assert rar("convert", path, path).exit_code == 1
    assert not (tmp_path / "out.jsonl").exists()
