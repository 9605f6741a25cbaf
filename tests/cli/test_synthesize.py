"""`rar synthesize`, as a user types it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from scripted import says, server, status
from typer.testing import CliRunner, Result

from rar_lib.cli.app import app
from rar_lib.data.tasks import load_tasks

pytestmark = pytest.mark.fault

QUESTIONS = [
    {"id": f"q-{n}", "question": f"Why does thing {n} happen?", "reference": f"Because of {n}."}
    for n in range(3)
]


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps(q) + "\n" for q in QUESTIONS), encoding="utf-8")
    return path


def rar(*arguments: str | Path, typed: str = "") -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments], input=typed)


def fits(request: dict[str, Any], _: int) -> dict[str, Any]:
    """A rubric of the size asked for; a token or two for the measurement of the rate."""
    if "response_format" not in request:
        return says("x")
    low = request["response_format"]["json_schema"]["schema"]["properties"]["criteria"]["minItems"]
    items = [
        {
            "title": f"Title {n}",
            "description": f"States the fact number {n}.",
            "category": "Optional",
        }
        for n in range(low)
    ]
    pitfalls = [{"title": "Bad", "description": "Claims nonsense."}]
    return says(json.dumps({"criteria": items, "pitfalls": pitfalls}))


def test_rubrics_are_written_after_an_estimate(questions: Path, tmp_path: Path) -> None:
    out = tmp_path / "rubrics.jsonl"
    with server(fits) as scripted:
        done = rar(
            "synthesize",
            questions,
            "-o",
            out,
            "--base-url",
            scripted.url,
            "--yes",
            "--price-in",
            "1",
            "--price-out",
            "2",
        )
    assert done.exit_code == 0, done.output
    assert "3 calls" in done.output
    # 10 tokens read at 1 and 1 written at 2, of a million each, three times
    assert "30 tokens read, 3 written, 3.6e-05 at the given price" in " ".join(done.output.split())
    assert f"rar grade {out} RESPONSES -o grades.jsonl" in done.output
    tasks = load_tasks(out)
    assert [t.id for t in tasks] == ["q-0", "q-1", "q-2"]
    assert all(t.rubric and t.rubric.source == "synthetic_ref" for t in tasks)


def test_no_means_no_call_for_a_rubric(questions: Path, tmp_path: Path) -> None:
    out = tmp_path / "rubrics.jsonl"
    with server(fits) as scripted:
        done = rar("synthesize", questions, "-o", out, "--base-url", scripted.url, typed="n\n")
    assert done.exit_code == 1
    assert not out.exists()
    assert all("response_format" not in r for r in scripted.requests)


def test_what_failed_is_named_and_asked_again_next_time(questions: Path, tmp_path: Path) -> None:
    healed = False

    def refuses_one(request: dict[str, Any], number: int) -> dict[str, Any]:
        refused = "thing 1" in request["messages"][0]["content"] and not healed
        return status(400) if refused else fits(request, number)

    out = tmp_path / "rubrics.jsonl"
    with server(refuses_one) as scripted:
        command = ("synthesize", questions, "-o", out, "--base-url", scripted.url, "-y")
        done = rar(*command)
        assert done.exit_code == 3
        assert "no rubric for q-1" in done.output
        assert [t.id for t in load_tasks(out)] == ["q-0", "q-2"]
        healed = True
        before = len(scripted.requests)
        assert rar(*command).exit_code == 0
    assert len(load_tasks(out)) == 3
    written = [r for r in scripted.requests[before:] if "response_format" in r]
    assert len(written) == 1, "the others are on record"


def test_a_missing_reference_is_named_with_the_way_out(tmp_path: Path) -> None:
    bare = tmp_path / "bare.jsonl"
    bare.write_text(json.dumps({"id": "q", "question": "Why?"}) + "\n", encoding="utf-8")
    done = rar("synthesize", bare, "-o", tmp_path / "o", "--base-url", "http://127.0.0.1:1/v1")
    assert done.exit_code == 1
    assert "no reference for q" in done.output
    assert "--no-reference" in done.output


def test_an_unknown_local_model_is_named(questions: Path, tmp_path: Path) -> None:
    done = rar("synthesize", questions, "-o", tmp_path / "o", "--model", "gpt-9")
    assert done.exit_code == 1
    assert "'gpt-9'" in done.output
    assert "qwen-1.5b" in done.output


def test_the_calls_on_record_can_be_counted(questions: Path, tmp_path: Path) -> None:
    out = tmp_path / "rubrics.jsonl"
    with server(fits) as scripted:
        rar("synthesize", questions, "-o", out, "--base-url", scripted.url, "-y", "--model", "m")
    record = tmp_path / "rubrics.jsonl.calls.sqlite"
    assert "m" in rar("cassette", "stats", record).output
    assert rar("cassette", "stats", tmp_path / "none.sqlite").exit_code == 1


def test_a_spreadsheet_is_read_with_its_columns_shown_and_bad_rows_named(tmp_path: Path) -> None:
    path = tmp_path / "q.csv"
    out = tmp_path / "t.jsonl"
    text = "Nr;Frage;Answer;Domain\n7;Warum;Darum;science\n8;;x;\n9;Wie;;\n"
    path.write_bytes(text.encode("utf-8-sig"))
    with server(fits) as scripted:
        done = rar(
            *("synthesize", path, "-o", out, "--base-url", scripted.url, "-y"),
            *("--question-column", "Frage", "--id-column", "Nr", "--domain", "medicine"),
        )
    assert done.exit_code == 3
    flat = " ".join(done.output.split())
    assert "question from 'Frage', reference from 'Answer', id from 'Nr'" in flat
    assert "line 3, field Frage: empty; fill the cell, or remove the row" in flat
    assert "1 of them have no reference and get no rubric; --no-reference" in flat
    assert "no rubric for 9: no reference to ground it on: add one, or pass --no-reference" in flat
    (task,) = load_tasks(out)
    assert (task.id, task.question, task.domain) == ("7", "Warum", "science")


def test_an_endpoint_that_dies_is_asked_only_for_the_rest(questions: Path, tmp_path: Path) -> None:
    out = tmp_path / "t.jsonl"
    broken = True

    def answer(request: dict[str, Any], number: int) -> dict[str, Any]:
        return status(402) if broken and number >= 1 else fits(request, number)

    with server(answer, host="127.0.0.2") as scripted:
        command = ("synthesize", questions, "-o", out, "--base-url", scripted.url, "-y")
        done = rar(*command, "--key-env", "")
        assert done.exit_code == 1
        assert "t.jsonl.calls.sqlite: the same command goes on from there" in done.output
        assert not out.exists()
        broken = False
        before = len(scripted.requests)
        assert rar(*command, "--key-env", "").exit_code == 0
    assert len(scripted.requests) - before == 2
    assert len(load_tasks(out)) == 3


def test_the_questions_are_never_overwritten(questions: Path) -> None:
    before = questions.read_bytes()
    done = rar("synthesize", questions, "-o", questions, "--base-url", "http://127.0.0.1:1/v1")
    assert done.exit_code == 1
    assert "would be overwritten: choose another -o" in done.output
    assert questions.read_bytes() == before
