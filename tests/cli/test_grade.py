"""`rar grade`, as a user types it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from scripted import says, server, status
from typer.main import get_command
from typer.testing import CliRunner, Result

from rar_lib.cli.app import app
from rar_lib.cli.grade import Work, context_for
from rar_lib.core.types import ARMS, Arm, Criterion, Rubric, Task, Turn
from rar_lib.data.questions import Response
from rar_lib.data.tasks import load_mini, save_tasks
from rar_lib.judging.calibration import Calibration, save_calibrations
from rar_lib.judging.chat import Chat
from rar_lib.judging.cost import tokens
from rar_lib.judging.dialect import DIALECTS
from rar_lib.judging.judge import Judge
from rar_lib.judging.messages import prompts_of

pytestmark = pytest.mark.fault

#: Another machine, as far as the library knows: no measurement is among the requests.
AWAY = "127.0.0.2"
TASKS = load_mini("val")[:3]
CRITERIA = sum(len(task.rubric.criteria) for task in TASKS if task.rubric)


def rar(*arguments: str | Path, typed: str = "") -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments], input=typed)


def yes(*_: Any) -> dict[str, Any]:
    return says("yes", tokens={"yes": 0.7, "no": 0.3})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three tasks, and two responses to each."""
    save_tasks(tmp_path / "tasks.jsonl", TASKS)
    rows = ["task,id,response"]
    rows += [f'{task.id},{model},"Because, {model}."' for task in TASKS for model in ("m1", "m2")]
    (tmp_path / "responses.csv").write_text("\n".join(rows), encoding="utf-8")
    return tmp_path


def graded(folder: Path, url: str, *more: str | Path, typed: str = "") -> Result:
    files = (folder / "tasks.jsonl", folder / "responses.csv", "-o", folder / "grades.jsonl")
    judge = ("--base-url", url, "--model", "j", "--key-env", "")
    return rar("grade", *files, *judge, *more, typed=typed)


def test_a_grade_for_every_response_after_an_estimate(folder: Path) -> None:
    with server(yes) as scripted:
        done = graded(folder, scripted.url, "-y", "--price-in", "100", "--price-out", "1000")
    assert done.exit_code == 0, done.output
    assert f"{2 * CRITERIA} calls, about" in done.output
    assert "task from 'task', response from 'response', id from 'id'" in done.output
    assert "6 responses to 3 tasks: 6 scored, 0 unscored" in done.output
    assert f"rar grade {folder / 'grades.jsonl'} --table" in done.output
    frame = pd.read_json(folder / "grades.jsonl", lines=True)
    assert frame["response"].tolist() == ["m1", "m2"] * 3
    assert frame["score"].between(0, 1).all()
    # 10 tokens read at 100 and 1 written at 1000, of a million each
    assert frame["money"].sum() == pytest.approx(2 * CRITERIA * 2e-3)
    assert f"{2 * CRITERIA * 2e-3:.2g} at the given price" in done.output
    assert set(frame["judge"]) == {"j"}


def test_no_means_no_call_of_the_judge(folder: Path) -> None:
    with server(yes, host=AWAY) as scripted:
        done = graded(folder, scripted.url, typed="n\n")
    assert done.exit_code == 1
    assert "go on?" in done.output
    assert scripted.requests == [], "nobody pays for a measurement either"
    assert not (folder / "grades.jsonl").exists()


def test_an_endpoint_that_dies_is_asked_only_for_the_rest(folder: Path) -> None:
    broken = True

    def answer(_: dict[str, Any], number: int) -> dict[str, Any]:
        return status(401) if broken and number >= 9 else yes()

    with server(answer, host=AWAY) as scripted:
        done = graded(folder, scripted.url, "-y")
        assert done.exit_code == 1
        assert "refuses every request (401" in done.output
        assert "grades.jsonl.calls.sqlite: the same command goes on from there" in done.output
        assert not (folder / "grades.jsonl").exists()
        broken = False
        before = len(scripted.requests)
        done = graded(folder, scripted.url, "-y")
        assert done.exit_code == 0, done.output
        assert "not asked again, nor paid for" in done.output
        assert len(scripted.requests) - before == 2 * CRITERIA - 9
    assert len((folder / "grades.jsonl").read_text().splitlines()) == 6


def test_unscored_responses_are_counted_said_and_asked_again(folder: Path) -> None:
    healed = False

    def answer(request: dict[str, Any], _: int) -> dict[str, Any]:
        refused = "Because, m2." in str(request["messages"]) and not healed
        return status(400, "flagged by the content filter") if refused else yes()

    with server(answer, host=AWAY) as scripted:
        done = graded(folder, scripted.url, "-y", "--table")
        assert done.exit_code == 3
        assert "3 scored, 3 unscored" in done.output
        table = done.output.split("\nunscored\n")[1]
        assert "flagged by the content filter" in table
        assert f"{TASKS[0].id}/m2" in table
        frame = pd.read_json(folder / "grades.jsonl", lines=True)
        assert frame["score"].isna().tolist() == [False, True] * 3
        healed = True
        before = len(scripted.requests)
        assert graded(folder, scripted.url, "-y").exit_code == 0
        assert len(scripted.requests) - before == CRITERIA


def test_where_nothing_could_be_graded_it_has_failed(folder: Path) -> None:
    with server(status(400, "flagged by moderation"), host=AWAY) as scripted:
        done = graded(folder, scripted.url, "-y")
    assert done.exit_code == 1
    assert "no response could be graded; the first: " in done.output


def test_rows_that_fit_nothing_are_named_and_the_others_graded(folder: Path) -> None:
    bare = load_mini("val")[5].model_copy(update={"rubric": None})
    save_tasks(folder / "tasks.jsonl", [*TASKS, bare, load_mini("val")[6]])
    with (folder / "responses.csv").open("a", encoding="utf-8") as stream:
        stream.write(f"\nnobody,m1,x\n{bare.id},m1,x\n{TASKS[0].id},m3,\n")
    with server(yes, host=AWAY) as scripted:
        done = graded(folder, scripted.url, "-y")
    assert done.exit_code == 3, done.output
    flat = " ".join(done.output.split())
    assert "line 8, field task: 'nobody' is none of the 5 tasks" in flat
    assert (
        f"line 9: task {bare.id!r} has no rubric, which arm explicit grades by; rar synth" in flat
    )
    assert f"1 task without response: {load_mini('val')[6].id}" in flat
    frame = pd.read_json(folder / "grades.jsonl", lines=True)
    assert len(frame) == 7
    empty = frame.iloc[-1]
    assert (empty["response"], empty["calls"]) == ("m3", 0)
    assert not any(verdict["met"] for verdict in empty["verdicts"])


def test_the_table_of_a_finished_file_needs_nothing_else(folder: Path) -> None:
    with server(yes, host=AWAY) as scripted:
        first = graded(folder, scripted.url, "-y", "--table")
    (folder / "tasks.jsonl").unlink()
    done = rar("grade", folder / "grades.jsonl", "--table")
    assert done.exit_code == 0
    assert done.output.strip() in first.output
    lines = done.output.splitlines()
    assert max(map(len, lines)) <= 80
    assert f"credit by criterion, the worst 12 of {CRITERIA}" in lines
    (essential,) = (line for line in lines if line.startswith("  Essential"))
    assert "0.70 (n = 3)" in essential  # too few tasks for an interval
    shown = [v for task in TASKS if task.rubric for v in task.rubric.criteria]
    assert sum(f" {criterion.id} (" in done.output for criterion in shown) == 12


def test_names_of_anybody_cannot_move_the_cursor(folder: Path) -> None:
    with server(yes, host=AWAY) as scripted:
        graded(folder, scripted.url, "-y")
    text = (folder / "grades.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    rows[0] |= {"score": None, "reason": "\x1b[2J", "verdicts": [], "response": "\x1b[31m"}
    rows[1]["verdicts"][0] |= {"description": "\x1b]0;title\x07", "probability": 0.0}
    (folder / "g.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    done = rar("grade", folder / "g.jsonl", "--table")
    assert done.exit_code == 0
    assert "\x1b" not in done.output
    assert r"\x1b[2J" in done.output


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("tasks.jsonl",), 2, "give tasks and responses, or one file with --table"),
        (("tasks.jsonl", "responses.csv"), 2, "-o grades.jsonl"),
        (("tasks.jsonl", "responses.csv", "-o", "g", "--model", "j"), 2, "needs --base-url"),
        (
            ("tasks.jsonl", "responses.csv", "-o", "g", "--base-url", "http://x/v1"),
            2,
            "--model NAME",
        ),
        (("tasks.jsonl", "responses.csv", "-o", "tasks.jsonl"), 1, "would be overwritten"),
        (("tasks.jsonl", "responses.csv", "-o", "."), 1, "is a folder"),
        (
            ("tasks.jsonl", "responses.csv", "-o", "g", "--arm", "rubric"),
            1,
            "choose from: explicit",
        ),
        (("tasks.jsonl", "responses.csv", "-o", "g", "--judge", "gpt-9"), 1, "no model 'gpt-9'"),
        (("tasks.jsonl", "responses.csv", "-o", "g", "--device", "foo"), 2, "'cpu', 'cuda'"),
        (
            *(("tasks.jsonl", "gone.csv", "-o", "g"), 1),
            "gone.csv: cannot be read (No such file or directory); check the path",
        ),
        (
            ("tasks.jsonl", "responses.csv", "-o", "g", "--id-column", "nr"),
            1,
            "no column 'nr' for id",
        ),
        (("tasks.jsonl", "responses.csv", "-o", "g", "--price-in", "-1"), 1, "--price-in is -1"),
        (("tasks.jsonl", "--table"), 1, "give a file that rar grade wrote"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_asked(
    arguments: tuple[str, ...],
    code: int,
    said: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder)
    done = rar("grade", *arguments, "-y")
    assert done.exit_code == code, done.output
    assert said in " ".join(done.output.replace("│", " ").split())
    assert not (folder / "g").exists()


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[tuple[str, dict[str, Any]]]]:
    """Local judges stand for themselves behind this address; what was asked for is noted."""
    started: list[tuple[str, dict[str, Any]]] = []

    def at(url: str) -> list[tuple[str, dict[str, Any]]]:
        @contextmanager
        def local_chat(model: str, settings: Any, cassette: Any) -> Any:
            started.append((model, dict(settings)))
            yield Chat(url, model, key_env="", cassette=cassette)

        monkeypatch.setattr("rar_lib.models.server.local_chat", local_chat)
        return started

    return at


@pytest.mark.parametrize(
    ("flags", "given", "judge"),
    [
        ("avx512_vnni", (), "qwen-1.5b-int8"),
        ("avx2", (), "qwen-1.5b"),
        ("avx2", ("--judge", "qwen-1.5b-int8"), "qwen-1.5b-int8"),
    ],
)
def test_the_default_judge_is_the_form_that_this_processor_runs_fast(
    flags: str,
    given: tuple[str, ...],
    judge: str,
    folder: Path,
    served: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rar_lib.models.processor.flags", lambda: frozenset([flags]))
    files = (folder / "tasks.jsonl", folder / "responses.csv", "-o", folder / "grades.jsonl")
    with server(yes, host=AWAY) as scripted:
        started = served(scripted.url)
        assert rar("grade", *files, "-y", *given).exit_code == 0
    assert started == [(judge, {"device": "cpu", "max_model_len": 2048})]


@pytest.mark.parametrize(("words", "window"), [(10, 2048), (2000, 7168), (20_000, 8192)])
def test_a_local_judge_is_given_room_for_the_longest_response(words: int, window: int) -> None:
    long = Response(TASKS[1].id, "1", "because " * words)
    work = Work(TASKS, [Response(TASKS[0].id, "1", "x"), long], "explicit", 0)
    assert context_for(work) == window


LONG = "word " * 1500
SHORT = Task(id="short", question="Why?", reference="So.", rubric=TASKS[0].rubric)
WORDY = Criterion(id="c", title="t", description="States " + LONG, category="Essential")
LONG_IN: dict[str, tuple[Task, tuple[Arm, ...]]] = {
    "the question": (SHORT.model_copy(update={"id": "long", "question": LONG}), ARMS),
    "the conversation": (
        SHORT.model_copy(update={"id": "long", "history": (Turn(role="user", content=LONG),)}),
        ARMS,
    ),
    "the reference": (
        SHORT.model_copy(update={"id": "long", "reference": LONG}),
        ("reference_likert",),
    ),
    "a criterion": (
        SHORT.model_copy(update={"id": "long", "rubric": Rubric(criteria=(WORDY,))}),
        ("explicit", "implicit"),
    ),
}


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("where", LONG_IN)
def test_a_local_judge_is_given_room_wherever_a_prompt_is_long(where: str, arm: Arm) -> None:
    """The longest response is to another task; what an arm does not show takes no room."""
    task, shown = LONG_IN[where]
    responses = [Response("short", "1", "because " * 200), Response("long", "1", "because " * 190)]
    for order in (1, -1):
        window = context_for(Work([SHORT, task], responses[::order], arm, 0))
        longest = max(map(tokens, prompts_of(task, responses[1].text, arm)))
        assert window > longest
        assert (window > 2048) is (arm in shown)


def test_an_endpoint_is_asked_without_a_window_being_looked_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("rar_lib.cli.grade.context_for")
    with server(yes, host=AWAY) as scripted:
        assert graded(folder, scripted.url, "-y").exit_code == 0


def test_the_help_reads_well_at_80_columns() -> None:
    for name in ("grade", "synthesize", "align"):
        done = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "80", "TERM": "dumb"})
        assert done.exit_code == 0
        assert max(map(len, done.output.splitlines())) <= 80
        assert "…" not in done.output
        words = set(done.output.replace("│", " ").split())
        command = get_command(app).commands[name]  # type: ignore[attr-defined]
        for option in command.params:
            assert option.param_type_name == "argument" or set(option.opts) <= words
            assert set((option.help or "").split()) <= words, option.name
        assert set((command.help or "").split()) <= words
        assert all(f" {code} " in done.output for code in (0, 1, 2, 3, 130))
        assert all(f"{dialect}" in done.output for dialect in DIALECTS)
    grade = CliRunner().invoke(app, ["grade", "--help"], env={"COLUMNS": "80", "TERM": "dumb"})
    assert all(arm in grade.output for arm in ARMS)


def calibration_of(folder: Path, url: str) -> Path:
    """The scripted judge says yes at 0.7 to all; by this line that is a no."""
    who = Judge(Chat(url, "j", key_env="")).identity
    line = Calibration(slope=1.0, intercept=-2.0, judge=who, n=9, ece_before=0.2, ece_after=0.1)
    save_calibrations(folder / "c.json", [line], {"seed": 0})
    return folder / "c.json"


def test_a_calibration_moves_the_verdicts_and_is_said(folder: Path) -> None:
    with server(yes, host=AWAY) as scripted:
        plain = graded(folder, scripted.url, "-y")
        assert "j, probability\n" in plain.output
        path = calibration_of(folder, scripted.url)
        before = len(scripted.requests)
        done = graded(folder, scripted.url, "-y", "--calibration", path)
        assert done.exit_code == 0, done.output
        assert len(scripted.requests) == before, "the same calls, on record"
    assert "judge j, probability, calibrated" in done.output
    frame = pd.read_json(folder / "grades.jsonl", lines=True)
    verdicts = [verdict for row in frame["verdicts"] for verdict in row]
    odds = 0.7 / 0.3 * math.exp(-2.0)
    assert {round(v["probability"], 6) for v in verdicts} == {round(odds / (1 + odds), 6)}
    assert not any(verdict["met"] for verdict in verdicts)
    assert frame["calibrated"].all()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--arm", "implicit"), "arm implicit rates whole responses: leave it out, or take --arm"),
        (("--model", "other"), "none of other (weights http"),
        (("--reading", "sampled"), "a sampled verdict has no probability: leave calibration out"),
        (("-o", "c.json"), "would be overwritten"),
    ],
)
def test_a_calibration_that_does_not_fit_is_refused_before_a_call(
    more: tuple[str, ...], said: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    with server(yes, host=AWAY) as scripted:
        path = calibration_of(folder, scripted.url)
        done = graded(folder, scripted.url, "-y", "--calibration", path.name, *more)
        assert scripted.requests == []
    assert done.exit_code == 1
    assert said in " ".join(done.output.split())


def test_an_endpoint_without_probabilities_is_not_graded_past_its_calibration(folder: Path) -> None:
    with server(says('{"met": true}'), host=AWAY) as scripted:
        path = calibration_of(folder, scripted.url)
        done = graded(folder, scripted.url, "-y", "--calibration", path)
    assert done.exit_code == 1
    assert "no response could be graded" in done.output
