"""The reward as TRL calls it: one entry a completion, None for a failure, never a hidden zero."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import pytest
from scripted import Reply, says, server

from rar_lib.chat import Chat
from rar_lib.data import load_mini
from rar_lib.errors import UnscoredError
from rar_lib.judge import Judge
from rar_lib.rewards import RubricReward, text_of
from rar_lib.train import dataset_of, policy_messages

TASK = load_mini("train")[0]


def seven(_: Reply, __: int) -> Reply:
    return says("7", tokens={"7": 1.0})


def call(reward: RubricReward, completions: list[Any], **extra: Any) -> list[float | None]:
    columns = {"task": [TASK.model_dump_json()] * len(completions)}
    work = reward(
        prompts=[TASK.question] * len(completions),
        completions=completions,
        completion_ids=[[1]] * len(completions),
        trainer_state=None,
        log_extra=lambda *_: None,
        **columns,
        **extra,
    )
    return asyncio.run(work)


def test_plain_and_conversational_completions_give_the_same_reward() -> None:
    assert text_of("Cool it.") == text_of([{"role": "assistant", "content": "Cool it."}])
    with server(seven) as scripted:
        reward = RubricReward(Judge(Chat(scripted.url, "m")), "implicit")
        values = call(reward, ["Cool it.", [{"role": "assistant", "content": "Cool it."}]])
    assert values == [pytest.approx(6 / 9)] * 2


def test_a_failed_judgement_is_none_and_is_counted() -> None:
    def answer(request: Reply, _: int) -> Reply:
        broken = "broken" in request["messages"][1]["content"]
        return says("?", tokens={"?": 1.0}) if broken else seven(request, 0)

    metrics: dict[str, float] = {}
    with server(answer) as scripted:
        reward = RubricReward(Judge(Chat(scripted.url, "m")), "implicit", max_unscored=0.5)
        values = call(reward, ["good", "broken", "fine"], log_metric=metrics.__setitem__)
    assert values == [pytest.approx(6 / 9), None, pytest.approx(6 / 9)]
    assert metrics["unscored"] == pytest.approx(1 / 3)
    assert metrics["judge_seconds"] > 0
    assert reward.steps[0]["unscored"] == pytest.approx(1 / 3)
    assert reward.steps[0]["mean"] == pytest.approx(6 / 9)  # over the scored ones alone


def test_training_stops_when_too_much_is_unscored_and_says_why() -> None:
    with server(says("?", tokens={"?": 1.0})) as scripted:
        reward = RubricReward(Judge(Chat(scripted.url, "the-judge")), "implicit")
        with pytest.raises(UnscoredError, match=r"2 of 2 .*limit 25%.*the-judge") as caught:
            call(reward, ["a", "b"])
    assert "on 1..10" in str(caught.value)


def test_completions_and_tasks_must_match() -> None:
    with server(seven) as scripted:
        reward = RubricReward(Judge(Chat(scripted.url, "m")), "implicit")
        with pytest.raises(ValueError, match="longer"):
            asyncio.run(reward(prompts=[], completions=["a", "b"], task=[TASK.model_dump_json()]))


def test_the_installed_trl_takes_it_for_an_async_reward() -> None:
    from trl.trainer import grpo_trainer

    reward = RubricReward(Judge(Chat("http://127.0.0.1:1/v1", "m")), "explicit")
    assert grpo_trainer.is_async_callable(reward)
    assert reward.__name__ == "reward_explicit"
    source = inspect.getsource(grpo_trainer.GRPOTrainer._calculate_rewards)
    given = {"prompts", "completions", "completion_ids"}
    assert all(f"{name}=" in source for name in given)
    signature = inspect.signature(reward)
    signature.bind(
        prompts=[], completions=[], completion_ids=[], trainer_state=None,
        log_extra=None, log_metric=None, task=[],
    )  # fmt: skip


def test_a_task_survives_the_data_set_unchanged() -> None:
    from rar_lib.types import Task

    rows = dataset_of(load_mini("train"))
    assert [Task.model_validate_json(r["task"]) for r in rows] == load_mini("train")
    assert rows[0]["prompt"] == policy_messages(TASK)
