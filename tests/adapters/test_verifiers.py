"""The reward in the installed verifiers: its own code loads the tasks and scores a trace."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("verifiers", reason="verifiers is not installed here: make test-adapters")

import verifiers.v1 as vf
from scripted import Reply, says, server

from rar_lib.core.errors import DataError
from rar_lib.core.types import Task
from rar_lib.data.tasks import load_mini
from rar_lib.judging.chat import Chat
from rar_lib.judging.judge import Judge
from rar_lib.training.adapters import taskset_for_verifiers
from rar_lib.training.rewards import RubricReward, VerifiableReward, task_from

TASKS = load_mini("train")[:2]

#: What a user writes: a module whose name is the id of the tasks.
MODULE = """
import os
from rar_lib import Chat, Judge, RubricReward, load_mini
from rar_lib.training.adapters import taskset_for_verifiers

judge = Judge(Chat(os.environ["RAR_JUDGE_URL"], "m"))
RarTaskset = taskset_for_verifiers(RubricReward(judge, "implicit"), load_mini("train")[:2])
__all__ = ["RarTaskset"]
"""


def answer(request: Reply, _: int) -> Reply:
    broken = "broken" in request["messages"][-1]["content"]
    return says("?", tokens={"?": 1.0}) if broken else says("7", tokens={"7": 1.0})


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The first task, found by verifiers under its id, with a scripted judge behind it."""
    (tmp_path / "my_rar.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    with server(answer) as scripted:
        monkeypatch.setenv("RAR_JUDGE_URL", scripted.url)
        yield next(iter(vf.load_taskset(vf.TasksetConfig(id="my-rar"))))
    sys.modules.pop("my_rar")


def trace_of(task: Any, text: str) -> Any:
    """The trace of a rollout whose last reply is this text."""
    data = task.data.model_dump()
    return vf.WireTrace.model_validate(
        {"task": {"type": "RarTask", "data": data}, "agent": AGENT, "root_reply": text}
    )


AGENT: dict[str, Any] = {"config": {}}


def test_the_tasks_carry_prompt_and_rubric(task: Any) -> None:
    assert task.data.prompt == TASKS[0].question
    assert task.data.system_prompt is None
    assert task.data.id == TASKS[0].id
    assert task_from(task.data.rar) == TASKS[0]
    assert [hook.__name__ for hook in task.hooks("reward")] == ["rubric"]


def test_verifiers_scores_a_trace_with_it(task: Any) -> None:
    trace = trace_of(task, "<think>broken</think>Cool it.")  # the judge is not shown the thought
    asyncio.run(task.score(trace))
    assert trace.rewards["rubric"].score == pytest.approx(6 / 9, abs=1e-5)
    assert trace.reward == pytest.approx(6 / 9, abs=1e-5)


def test_an_unscored_response_is_an_error_of_the_trace_and_no_zero(task: Any) -> None:
    trace = trace_of(task, "broken")
    with pytest.raises(vf.TaskError, match=r"could not be scored.*on 1\.\.10"):
        asyncio.run(task.score(trace))
    assert trace.rewards == {"rubric": None}


def test_a_rule_a_history_and_options_work_too() -> None:
    turns = ({"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Yes?"})
    one = Task(
        id="t", domain="science", topic="sums", question="1 + 1?", reference="2", history=turns
    )
    (task,) = taskset_for_verifiers(VerifiableReward(), [one])(vf.TasksetConfig())
    assert [message.content for message in task.data.prompt] == ["Hi.", "Yes?", "1 + 1?"]
    trace = trace_of(task, "2")
    asyncio.run(task.score(trace))
    assert trace.reward == 1.0


def test_a_system_turn_is_the_given_one_or_the_tasks_own() -> None:
    lawyer = {"role": "system", "content": "You are a lawyer."}
    sued = Task(id="b", question="May I sue?", reference="Yes.", history=(lawyer,))
    tasks = taskset_for_verifiers(VerifiableReward(), [TASKS[0], sued], "Be brief.")
    given, own = tasks(vf.TasksetConfig())
    assert (given.data.system_prompt, given.data.prompt) == ("Be brief.", TASKS[0].question)
    assert (own.data.system_prompt, own.data.prompt) == ("You are a lawyer.", "May I sue?")


def test_rubric_dropout_is_refused() -> None:
    judge = Judge(Chat("http://127.0.0.1:1/v1", "m"))
    with pytest.raises(DataError, match=r"keep is 0.5.*verifiers"):
        taskset_for_verifiers(RubricReward(judge, "implicit", keep=0.5), TASKS)
