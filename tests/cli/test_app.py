"""`rar` as a whole: what it lists, how it fails, and the path from a spreadsheet to a report.

On that path the judge is a scripted endpoint with a price, and the policy a real model of 135M
parameters.
"""

from __future__ import annotations

import csv
import json
import logging
import re
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import typer
from apart import Done
from apart import rar as rar_apart
from scripted import says, server
from typer.testing import CliRunner, Result

from rar_lib import cli
from rar_lib.cli import data
from rar_lib.cli.app import app, main
from rar_lib.core.errors import ChatError, DataError

#: Every command with its place: ``rar data check`` is ("data", "check").
COMMANDS = [
    *((name,) for name in sorted(typer.main.get_command(app).commands)),  # type: ignore[attr-defined]
    ("data", "check"),
    ("data", "show"),
    ("cassette", "stats"),
]


def test_the_command_line_explains_itself_and_its_errors() -> None:
    runner = CliRunner()
    shown = runner.invoke(app, ["--help"]).output
    assert all(word in shown for word in ("reproduce", "book", "serve", "fetch"))
    wrong = runner.invoke(app, ["reproduce", "--profile", "huge"])
    assert wrong.exit_code == 1
    assert "huge" in wrong.output
    assert "Traceback" not in wrong.output
    started = time.perf_counter()
    assert runner.invoke(app, ["fetch", "gpt-5"]).exit_code == 1
    assert time.perf_counter() - started < 5


def test_a_command_of_every_module_is_listed() -> None:
    """What a module of the room defines and nobody registers is a command that nobody finds."""
    rooms = {path.stem for path in Path(cli.__path__[0]).glob("*.py")} - {"__init__", "app", "own"}
    listed = {name for (name, *_) in COMMANDS}
    assert rooms - listed == {"models", "run"}, "whose commands have other names"
    assert {"reproduce", "replay", "book", "claims"} <= listed
    assert {"serve", "fetch", "init", "convert", "cassette"} <= listed


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself_in_eighty_columns(command: tuple[str, ...]) -> None:
    done = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "80"})
    assert done.exit_code == 0
    lines = done.output.splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in done.output
    usage, *about = [
        line.strip() for line in done.output.split("╭")[0].splitlines() if line.strip()
    ]
    assert f" {' '.join(command)} " in usage
    assert re.match(r"[A-Z][^.?]{10,}[.?]", " ".join(about)), "a sentence says what it is for"


def options(command: tuple[str, ...]) -> set[str]:
    found = typer.main.get_command(app)
    for name in command:
        found = found.commands[name]  # type: ignore[attr-defined]
    return {option for parameter in found.params for option in parameter.opts}


WITH_DEVICE = [command for command in COMMANDS if "--device" in options(command)]


def test_a_device_that_there_is_not_is_refused_by_every_command_that_takes_one() -> None:
    """Before anything is read, fetched or started."""
    assert len(WITH_DEVICE) >= 6
    for command in WITH_DEVICE:
        done = CliRunner().invoke(app, [*command, "--device", "foo"], env={"COLUMNS": "200"})
        assert done.exit_code == 2
        assert "Invalid value for '--device': " in done.output
        assert "'foo' is not one of 'cpu', 'cuda'." in done.output


def test_the_version_is_that_of_what_is_installed() -> None:
    done = CliRunner().invoke(app, ["--version"])
    assert (done.exit_code, done.output) == (0, f"rar-lib {version('rar-lib')}\n")


def failing(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> Result:
    """`rar data check` where looking at the file ends in this way."""

    def check_file(*_: object) -> None:
        raise error

    monkeypatch.setattr(data, "check_file", check_file)
    return CliRunner().invoke(app, ["data", "check", "x.jsonl"])


OURS = DataError("[bold]task[/bold] 'x' is 3: make it 2, " + "and so on, " * 20)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (OURS, 1, f"error: {OURS}\n"),
        (KeyboardInterrupt(), 130, "stopped; the next run continues from here\n"),
    ],
)
def test_what_ends_a_command_is_said_in_one_line(
    error: BaseException, code: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plainly, whatever is marked up in it, and where no script reads the output."""
    done = failing(error, monkeypatch)
    assert (done.exit_code, done.stderr, done.stdout) == (code, said, "")


HOSTILE = "\x1b]0;pwned\x07\x1b[2J\x9b1m \u202ebad\tkey\nof yours\x00\r"
ESCAPED = "\\x1b]0;pwned\\x07\\x1b[2J\\x9b1m \\u202ebad\tkey\nof yours\\x00\\r"


@pytest.mark.parametrize("terminal", [{}, {"FORCE_COLOR": "1", "COLUMNS": "200"}], ids=str)
def test_an_error_holds_nothing_that_acts_on_a_terminal(
    terminal: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever wrote those words: a tab and a line end stay, the rest is shown as what it is."""
    for name, value in terminal.items():
        monkeypatch.setenv(name, value)
    done = failing(ChatError(f"http://h refuses every request (401: {HOSTILE})"), monkeypatch)
    own = re.sub(r"\x1b\[[0-9;]*m", "", done.stderr)  # of rich, around the whole line
    said = ESCAPED.replace("\t", own[own.index("bad") + 3 : own.index("key")])
    assert own == f"error: http://h refuses every request (401: {said})\n"
    assert done.exit_code == 1


def test_a_log_line_holds_nothing_that_acts_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = logging.getLogger("rar_lib")
    monkeypatch.setattr(log, "handlers", [])
    main(_=False)
    log.getChild("judging").warning("it calls itself %s", HOSTILE)
    log.getChild("judging").info("it calls itself %s", HOSTILE)
    line = f"it calls itself {ESCAPED}\n"
    assert capsys.readouterr() == (line, line)


@pytest.mark.parametrize(("error", "code"), [(OURS, 1), (KeyboardInterrupt(), 130)])
def test_of_several_processes_the_first_speaks(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    done = failing(error, monkeypatch)
    assert (done.exit_code, done.output) == (code, "")
    monkeypatch.setenv("RANK", "0")
    assert failing(error, monkeypatch).output != ""


def test_what_nobody_foresaw_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    done = failing(ZeroDivisionError("a fault of the library"), monkeypatch)
    assert isinstance(done.exception, ZeroDivisionError)
    assert "error:" not in done.output


def test_the_log_is_plain_lines_and_what_to_heed_is_on_the_error_stream(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = logging.getLogger("rar_lib")
    monkeypatch.setattr(log, "handlers", [])
    for _ in range(2):  # a script may call it again
        main(_=False)
    assert len(log.handlers) == 1
    log.getChild("data").info("read %d rows", 3)
    log.getChild("data").warning("left out %d", 1)
    log.getChild("data").debug("of no interest")
    assert capsys.readouterr() == ("read 3 rows\n", "left out 1\n")


# --- the path from a spreadsheet to a report

SIZE = ["--steps", "1", "--prompts", "2", "--rollouts", "4", "--max-tokens", "8"]


def rar(*arguments: str | Path) -> Result:
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    assert done.exit_code == 0, done.output
    return done


def apart(*arguments: str | Path) -> Done:
    """What loads a policy."""
    done = rar_apart(*arguments)
    assert done.exit_code == 0, done.output
    return done


def answer(request: dict[str, Any], _: int) -> dict[str, Any]:
    """A rubric, a verdict or a rating, by what is asked; long responses are good ones."""
    schema = request.get("response_format", {}).get("json_schema", {}).get("schema", {})
    if "criteria" in schema.get("properties", {}):
        low = schema["properties"]["criteria"]["minItems"]
        items = [
            {
                "title": f"Point {n}",
                "description": f"States the fact number {n}.",
                "category": "Essential" if n == 0 else "Optional",
            }
            for n in range(low)
        ]
        pitfall = {"title": "Nonsense", "description": "Claims nonsense."}
        return says(json.dumps({"criteria": items, "pitfalls": [pitfall]}))
    asked = request["messages"][-1]["content"]
    likely = min(0.95, len(asked) % 1000 / 1000 + 0.02)
    if "1 to 10" in asked:
        rating = str(1 + len(asked) % 9)
        return says(rating, tokens={rating: 1.0})
    return says("yes" if likely > 0.5 else "no", tokens={"yes": likely, "no": 1 - likely})


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Twenty questions of one's own, two responses to each, as other programs write tables."""
    with (tmp_path / "questions.csv").open("w", newline="", encoding="utf-8-sig") as file:
        rows = csv.writer(file, delimiter=";")
        rows.writerow(["Prompt", "Gold answer", "kind"])
        for n in range(20):
            rows.writerow([f"How do I mend thing {n}; quickly?", f"Take tool {n}.\nTurn it.", "x"])
    with (tmp_path / "responses.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["question", "completion"])
        for n in range(20):
            rows.writerow([f"How do I mend thing {n}; quickly?", f"Take tool {n} and turn it."])
            rows.writerow([f"How do I mend thing {n}; quickly?", f"I do not know {n}."])
    return tmp_path


@pytest.mark.model
@pytest.mark.timeout(900)
def test_own_questions_become_rubrics_grades_a_policy_and_a_page(project: Path) -> None:
    names = ("tasks.jsonl", "grades.jsonl", "align.json", "run", "answers.jsonl", "report.html")
    tasks, grades, aligned, run, answers, page = (project / name for name in names)
    with server(answer) as scripted:
        at = ["--base-url", scripted.url, "--model", "j"]
        price = ["--price-in", "1", "--price-out", "2", "-y"]
        said = rar("synthesize", project / "questions.csv", "-o", tasks, *at, *price).output
        assert "question from 'Prompt'" in said
        assert "at the given price" in said
        said = rar("grade", tasks, project / "responses.csv", "-o", grades, *at, *price).output
        found = pd.read_json(grades, lines=True)
        assert len(found) == 40
        assert found["score"].notna().all()
        assert found["money"].sum() > 0
        said = rar("grade", grades, "--table").output
        assert "Essential" in said

        by_task = found.groupby("task")["response"].first()
        preferred = [f"Take tool {n} and turn it." for n in range(20)]
        pd.DataFrame(
            {
                "task": by_task.index,
                "preferred": preferred,
                "rejected": [f"I do not know {n}." for n in range(20)],
            }
        ).to_csv(project / "pairs.csv", index=False)
        said = rar("align", tasks, project / "pairs.csv", "-o", aligned, *at, *price).output
        assert "as a reward here" in " ".join(said.split())
        assert json.loads(aligned.read_text(encoding="utf-8"))["judges"]

        own = ["--tasks", tasks, "--policy", "smollm2-135m", "--out", run, *SIZE]
        said = apart("train", *own, *at, *price).output
        assert "no proof" in " ".join(said.split())
        assert "step 1/1" in said
        apart("respond", run / "held_out.jsonl", "-o", answers, "--run", run)
        rar("grade", tasks, answers, "-o", project / "after.jsonl", *at, *price)
        both = run / "grades.jsonl"
        held = run / "held_out.jsonl"
        rar("grade", held, run / "answers.jsonl", "-o", both, *at, *price)
    rar("report", grades, "-o", page, "--tasks", tasks, "--responses", project / "responses.csv")
    text = page.read_text(encoding="utf-8")
    assert "How do I mend thing 3; quickly?" in text
    assert "<script" not in text
    rar("report", run, "-o", project / "run.html", "--grades", both)
    assert "States the fact number 0." in (project / "run.html").read_text(encoding="utf-8")
    rar("convert", tasks, project / "trl.jsonl", "--to", "trl")
    assert len((project / "trl.jsonl").read_text(encoding="utf-8").splitlines()) == 20
    assert (run / "adapter" / "README.md").is_file()


@pytest.mark.model
@pytest.mark.timeout(600)
def test_a_policy_of_another_family_trains_from_its_folder(project: Path) -> None:
    from transformers import AutoTokenizer, Gemma2Config, Gemma2ForCausalLM

    from rar_lib.data.tasks import load_mini, save_tasks
    from rar_lib.models.store import model_dir

    tokenizer = AutoTokenizer.from_pretrained(str(model_dir("smollm2-135m")))
    config = Gemma2Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        final_logit_softcapping=30.0,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    folder = project / "gemma"
    Gemma2ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    save_tasks(project / "mini.jsonl", load_mini("train")[:4])
    own = ["--tasks", project / "mini.jsonl", "--policy", folder, "--out", project / "run", *SIZE]
    with server(answer) as scripted:
        at = ["--base-url", scripted.url, "--model", "j", "--backend", "transformers", "-y"]
        at += ["--report-to", "tensorboard"]
        apart("train", *own, *at)
    curve = json.loads((project / "run" / "run.json").read_text(encoding="utf-8"))
    assert len(curve["steps"]) == 1
    (events,) = (project / "run" / "tensorboard").glob("events.out.tfevents.*")
    assert b"train/reward" in events.read_bytes()
    apart(
        "respond",
        project / "run" / "held_out.jsonl",
        "-o",
        project / "a.jsonl",
        "--run",
        project / "run",
    )
