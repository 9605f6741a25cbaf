"""`rar report`, as a user types it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from scripted import says, server
from typer.main import get_command
from typer.testing import CliRunner, Result

from rar_lib.cli.app import app
from rar_lib.data.tasks import load_mini, save_tasks
from rar_lib.training.run import Run

TASKS = load_mini("val")[:3]


def rar(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def yes(*_: Any) -> dict[str, Any]:
    return says("yes", tokens={"yes": 0.7, "no": 0.3})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three tasks with two responses each, as `rar grade` leaves them."""
    here = tmp_path_factory.mktemp("own")
    save_tasks(here / "tasks.jsonl", TASKS)
    rows = ["task,id,response"]
    rows += [f'{task.id},{model},"Because, {model}."' for task in TASKS for model in ("m1", "m2")]
    (here / "responses.csv").write_text("\n".join(rows), encoding="utf-8")
    with server(yes) as scripted:
        files = (here / "tasks.jsonl", here / "responses.csv", "-o", here / "grades.jsonl")
        judge = ("--base-url", scripted.url, "--model", "j", "--key-env", "", "-y")
        assert rar("grade", *files, *judge).exit_code == 0
    run = Run("base", 0, "transformers", 1.0, [], [], {"a": "Old."}, {"a": "New."})
    run.save(here / "run" / "run.json")
    return here


def test_grades_become_a_page_with_their_texts(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "report.html"
    texts = ("--tasks", folder / "tasks.jsonl", "--responses", folder / "responses.csv")
    done = rar("report", folder / "grades.jsonl", "-o", out, *texts, "--title", "My <grades>")
    assert done.exit_code == 0, done.output
    assert re.search(r"report\.html: \d+ kB, one page; open it in any browser", done.output)
    html = out.read_text(encoding="utf-8")
    assert html.count("Because, m1.") == 3
    assert TASKS[0].question[:40] in html
    assert "<title>My &lt;grades&gt;</title>" in html


def test_the_whole_texts_are_not_needed(folder: Path, tmp_path: Path) -> None:
    done = rar("report", folder / "grades.jsonl", "-o", tmp_path / "r.html")
    assert done.exit_code == 0
    assert "name their file with --tasks" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_texts_that_are_missing_are_counted(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "some.csv").write_text(f"task,id,response\n{TASKS[0].id},m1,Because.\nz,m1,x\n")
    texts = ("--tasks", folder / "tasks.jsonl", "--responses", tmp_path / "some.csv")
    done = rar("report", folder / "grades.jsonl", "-o", tmp_path / "r.html", *texts)
    assert done.exit_code == 3
    assert "no text of 5 graded responses" in done.output
    assert "'z' is none of the 3 tasks" in " ".join(done.output.split())
    assert (tmp_path / "r.html").exists()


def test_a_run_becomes_a_page_to_leaf_through(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "rollouts.html"
    done = rar("report", folder / "run", "-o", out, "--browse", "--title", "My <run>")
    assert done.exit_code == 0, done.output
    html = out.read_text(encoding="utf-8")
    assert 'id="rollouts-data"' in html
    assert "<title>My &lt;run&gt;</title>" in html
    refused = rar("report", folder / "grades.jsonl", "-o", tmp_path / "x.html", "--browse")
    assert refused.exit_code == 2
    assert "--browse is for a run of training" in " ".join(refused.output.split())
    assert not (tmp_path / "x.html").exists()


def test_a_run_becomes_a_page(folder: Path, tmp_path: Path) -> None:
    assert rar("report", folder / "run", "-o", tmp_path / "r.html").exit_code == 0
    html = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "Training run: base, 0 steps" in html
    assert "New." in html


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("grades.jsonl",), 2, "Missing option '--output'"),
        (("grades.jsonl", "-o", "grades.jsonl"), 1, "would be overwritten"),
        (("run", "-o", "run/run.json"), 1, "would be overwritten"),
        (("grades.jsonl", "-o", "tasks.jsonl", "--tasks", "tasks.jsonl"), 1, "be overwritten"),
        (("grades.jsonl", "-o", "run"), 1, "is a folder"),
        (("tasks.jsonl", "-o", "r.html"), 1, "neither grades nor a run: it holds an object with"),
        (("nothing", "-o", "r.html"), 1, "cannot be read"),
        (("run", "-o", "r.html", "--responses", "responses.csv"), 2, "a run holds its answers"),
        (("grades.jsonl", "-o", "r.html", "--grades", "grades.jsonl"), 2, "are grades already"),
        (("grades.jsonl", "-o", "r.html", "--responses", "responses.csv"), 2, "needs --tasks"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_written(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    code: int,
    said: str,
) -> None:
    monkeypatch.chdir(folder)
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    done = rar("report", *arguments)
    assert done.exit_code == code, done.output
    assert said in " ".join(re.sub("[│╭╮╰╯─]", " ", done.output).split())
    assert "Traceback" not in done.output
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before


def test_the_help_reads_well_in_eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERMINAL_WIDTH", "80")
    shown = rar("report", "--help").output
    assert max(map(len, shown.splitlines())) <= 80
    assert "rar report grades.jsonl -o report.html --tasks T.jsonl --responses R.csv" in shown
    assert "Exit codes: 0 written; 1 refused or failed; 2 wrong usage;" in shown
    assert "report" in get_command(app).commands  # type: ignore[attr-defined]
