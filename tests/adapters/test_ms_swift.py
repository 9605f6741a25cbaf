"""The reward in the installed ms-swift: its own code calls it and makes advantages of it."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

pytest.importorskip("swift", reason="ms-swift is not installed here: make test-adapters")

import torch
from scripted import Reply, says, server
from swift.rewards import orms
from swift.rl_core.advantage import compute_advantages
from swift.rl_core.data import GRPOSample
from swift.rl_core.grpo_algorithm import compute_rewards_per_func

from rar_lib.data.tasks import load_mini
from rar_lib.judging.chat import Chat
from rar_lib.judging.judge import Judge
from rar_lib.training.adapters import for_ms_swift
from rar_lib.training.rewards import RubricReward, VerifiableReward

TASKS = load_mini("train")[:2]
TEXTS = ["splendid", "broken", "dreadful", "splendid"]


def answer(request: Reply, _: int) -> Reply:
    asked = request["messages"][-1]["content"]
    if "broken" in asked:
        return says("?", tokens={"?": 1.0})
    return says("10", tokens={"10": 1.0}) if "splendid" in asked else says("1", tokens={"1": 1.0})


def rewards_of(reward: Any) -> torch.Tensor:
    """What ms-swift makes of two groups of four."""
    samples = [
        GRPOSample.from_row(
            {
                "messages": [
                    {"role": "user", "content": task.question},
                    {"role": "assistant", "content": text},
                ],
                "task": task.model_dump_json(),
            }
        )
        for task in TASKS
        for text in TEXTS
    ]
    return compute_rewards_per_func(samples, [reward], [None], torch.device("cpu"))


def test_swift_awaits_it_and_an_unscored_response_gets_no_advantage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with server(answer) as scripted:
        made = for_ms_swift(RubricReward(Judge(Chat(scripted.url, "m")), "implicit"))
        monkeypatch.setitem(orms, "rar", made)  # what a file of --external_plugins does
        rewards = rewards_of(orms["rar"](args=None))
    assert rewards[:, 0].tolist() == pytest.approx([1, 2 / 3, 0, 1] * 2, abs=1e-4)
    for estimator in ("grpo", "rloo"):
        found, _ = compute_advantages(rewards, torch.ones(1), 4, estimator)
        assert found[1].item() == pytest.approx(0, abs=1e-6)
        assert found[0] > 0 > found[2]


def test_swift_itself_would_have_taught_that_it_was_worst() -> None:
    """Why the group's mean stands there: a reward that is missing counts as 0."""
    rewards = torch.tensor([[1.0], [torch.nan], [0.5], [0.9]])
    found, counted = compute_advantages(rewards, torch.ones(1), 4)
    assert counted[1] == 0.0
    assert found[1] == found.min() < 0


def test_a_rule_is_called_too_and_both_are_of_swifts_classes() -> None:
    rewards = rewards_of(for_ms_swift(VerifiableReward(lambda _, text: text == "splendid"))())
    assert rewards[:, 0].tolist() == [1, 0, 0, 1] * 2
    made = for_ms_swift(RubricReward(Judge(Chat("http://127.0.0.1:1/v1", "m")), "implicit"))
    assert inspect.iscoroutinefunction(made.__call__)
