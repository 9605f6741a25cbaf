"""What results/rubrics keeps of a writer's rubrics: every task once, whatever stopped it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from scripted import Reply, says, server, status

from rar_lib.core.errors import ChatError
from rar_lib.core.types import Task
from rar_lib.data.tasks import load_mini, load_mini_pairs
from rar_lib.judging.chat import Chat
from results.rubrics import write as rubrics

pytestmark = pytest.mark.fault
TASKS = load_mini("all")[:3]
GOOD = {
    "criteria": [
        {"category": kind, "title": f"Fact {n}", "description": f"States the fact number {word}."}
        for n, (kind, word) in enumerate(
            [
                ("Essential", "one"),
                ("Important", "blue"),
                ("Important", "rain"),
                ("Optional", "tea"),
            ]
        )
    ],
    "pitfalls": [{"title": "Wrong way", "description": "Claims that the opposite is true."}],
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(rubrics, "HERE", tmp_path)
    return tmp_path


def write(url: str, tasks: list[Task] = TASKS) -> None:
    asyncio.run(rubrics.write("synthetic_ref", tasks, Chat(url, "scripted")))


def test_a_task_is_asked_for_once_and_what_is_no_rubric_keeps_its_reason() -> None:
    def answer(request: Reply, _: int) -> Reply:
        bad = TASKS[1].question in request["messages"][-1]["content"]
        return says("no rubric" if bad else json.dumps(GOOD))

    with server(answer) as scripted:
        write(scripted.url)
        asked = len(scripted.requests)
        write(scripted.url)
        assert len(scripted.requests) == asked
    assert set(rubrics.rubrics("synthetic_ref")) == {TASKS[0].id, TASKS[2].id}
    row = rubrics.rows("synthetic_ref")[TASKS[1].id]
    assert row["rubric"] is None
    assert row["reason"]
    assert rubrics.missing("synthetic_ref", TASKS) == []
    assert rubrics.missing("synthetic_noref", TASKS) == TASKS


def test_a_rubric_that_holds_another_end_of_a_line_is_read_whole(here: Path) -> None:
    rubric = TASKS[0].rubric
    assert rubric is not None
    first, *others = rubric.criteria
    odd = first.model_copy(update={"description": "States one\u2028two\x85three."})
    kept = rubric.model_copy(update={"criteria": (odd, *others)})
    row = {"task": TASKS[0].id, "of": rubrics.mark(TASKS[0], "synthetic_ref")}
    row |= {"rubric": kept.model_dump(mode="json"), "reason": None}
    line = json.dumps(row, ensure_ascii=False) + "\n"
    (here / "synthetic_ref.jsonl").write_text(line, encoding="utf-8")
    assert rubrics.rubrics("synthetic_ref") == {TASKS[0].id: kept}


def test_what_was_written_before_an_endpoint_failed_is_kept(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rubrics, "_AT_ONCE", 1)

    def answer(request: Reply, _: int) -> Reply:
        last = TASKS[2].question in request["messages"][-1]["content"]
        return status(401, "no such key") if last else says(json.dumps(GOOD))

    with server(answer) as scripted, pytest.raises(ChatError):
        write(scripted.url)
    assert set(rubrics.rows("synthetic_ref")) == {TASKS[0].id, TASKS[1].id}


def test_another_prompt_asks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with server(lambda *_: says(json.dumps(GOOD))) as scripted:
        write(scripted.url)
    monkeypatch.setattr(rubrics, "RUBRIC_SIZE", (3, 5))
    assert rubrics.missing("synthetic_ref", TASKS) == TASKS
    assert rubrics.rubrics("synthetic_ref") == {}


def test_tasks_with_test_pairs_come_first_and_all_come() -> None:
    order = rubrics.in_order()
    paired = {pair.task_id for pair in load_mini_pairs("test")}
    assert {task.id for task in order[: len(paired)]} == paired
    assert len(order) == len(load_mini("all"))
