"""`rar respond`: questions are answered by what was named, and refused where nothing can answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from kept import some_run
from typer.testing import CliRunner, Result

from rar_lib.cli import respond
from rar_lib.cli.app import app
from rar_lib.core.types import Task
from rar_lib.data.questions import load_responses
from rar_lib.data.tasks import load_mini, save_tasks
from rar_lib.training.settings import Settings

OWN = load_mini("train")[:3]


def rar(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


@dataclass
class Answering:
    """Stands for the policy: what it was made of, and how long its answers may be."""

    settings: Settings | None = None
    adapter: Path | None = None
    longest: list[int] = field(default_factory=list)
    mark: str = "of this test"

    def __call__(self, settings: Settings, *, adapter: Path | None = None) -> Answering:
        self.settings = settings
        self.adapter = adapter
        return self

    def answers(self, tasks: Sequence[Task], max_tokens: int) -> dict[str, str]:
        self.longest.append(max_tokens)
        return {task.id: f"About {task.id}." for task in tasks}


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Answering:
    policy = Answering()
    monkeypatch.setattr(respond, "Policy", policy)
    return policy


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three tasks, and a finished run of a policy that is known."""
    save_tasks(tmp_path / "tasks.jsonl", OWN)
    settings = {"policy": "smollm2-135m", "max_completion": 77, "device": "cuda"}
    run = replace(some_run(), identity={"settings": settings})
    (tmp_path / "run").mkdir()
    run.save(tmp_path / "run" / "run.json")
    replace(run, arm="base").save(tmp_path / "untrained.json")
    return tmp_path


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ("", 2, "name what answers"),
        ("--run r --policy p", 2, "name what answers"),
        ("--policy p --base", 2, "--base goes with --run"),
        ("--run r --adapter a", 2, "--adapter with --policy"),
        ("--run gone", 1, "no run of rar train"),
        ("--policy gone", 1, "it is no folder here"),
    ],
)
def test_respond_refuses_what_cannot_answer(
    folder: Path, options: str, code: int, said: str
) -> None:
    done = rar("respond", folder / "tasks.jsonl", "-o", folder / "r.jsonl", *options.split())
    assert done.exit_code == code
    assert said in " ".join(done.output.replace("│", " ").split())
    assert not (folder / "r.jsonl").exists()


def test_a_run_answers_with_its_adapter_in_the_order_of_the_questions(
    folder: Path, answering: Answering
) -> None:
    out = folder / "my answers.jsonl"
    done = rar("respond", folder / "tasks.jsonl", "-o", out, "--run", folder / "run")
    assert done.exit_code == 0, done.output
    assert answering.settings is not None
    assert answering.settings.policy == "smollm2-135m"
    assert answering.settings.device == "cpu", "where the run was made says nothing of this machine"
    assert answering.adapter == folder / "run" / "adapter"
    assert answering.longest == [77]
    said = " ".join(done.output.split())
    assert "3 responses of up to 77 tokens" in said
    assert f"next: rar grade TASKS '{out}' -o grades.jsonl" in said
    found = load_responses(out, OWN).items
    assert [(one.task, one.id) for one in found] == [(t.id, f"{t.id}-1") for t in OWN]
    assert found[0].text == f"About {OWN[0].id}."


@pytest.mark.parametrize(
    ("options", "adapter", "longest"),
    [
        (("--run", "run"), "run/adapter", 77),
        (("--run", "run", "--base"), None, 77),
        (("--run", "run", "--max-tokens", "5"), "run/adapter", 5),
        (("--run", "untrained"), None, 77),
        (("--policy", "smollm2-135m"), None, 256),
        (("--policy", "smollm2-135m", "--adapter", "other"), "other", 256),
        (("--policy", "smollm2-135m", "--max-tokens", "5"), None, 5),
    ],
)
def test_what_was_named_answers(
    folder: Path,
    answering: Answering,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    adapter: str | None,
    longest: int,
) -> None:
    (folder / "untrained").mkdir()
    (folder / "untrained.json").rename(folder / "untrained" / "run.json")
    monkeypatch.chdir(folder)
    done = rar("respond", "tasks.jsonl", "-o", "r.jsonl", *options)
    assert done.exit_code == 0, done.output
    assert answering.adapter == (Path(adapter) if adapter else None)
    assert answering.longest == [longest]
    assert ("without an adapter" in " ".join(done.output.split())) == (adapter is None)


def test_a_row_that_is_no_question_is_named_and_the_others_are_answered(
    folder: Path, answering: Answering
) -> None:
    rows = [{"id": "a", "question": "Why?"}, {"id": "b"}, {"id": "c", "question": "How?"}]
    (folder / "q.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    done = rar("respond", folder / "q.jsonl", "-o", folder / "r.jsonl", "--run", folder / "run")
    assert done.exit_code == 3, done.output
    assert "2 questions, 1 row left out" in done.output
    assert "line 2" in done.output
    lines = (folder / "r.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["task"] for line in lines] == ["a", "c"]


@pytest.mark.parametrize("damage", ["", "{}", "[]", '{"identity": {"settings": {"policy": 7}}}'])
def test_a_damaged_run_is_an_error_of_ours_with_the_way_out(
    folder: Path, answering: Answering, damage: str
) -> None:
    (folder / "run" / "run.json").write_text(damage, encoding="utf-8")
    done = rar("respond", folder / "tasks.jsonl", "-o", folder / "r.jsonl", "--run", folder / "run")
    assert done.exit_code == 1
    assert "name the folder of a finished run, its --out" in " ".join(done.output.split())
    assert answering.longest == []
    assert not (folder / "r.jsonl").exists()
