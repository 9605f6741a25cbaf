"""This project's judge as one of the systems that are compared."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from scripted import Reply, says, server
from side_by_side import TASK, adapter

from results.judges import items

harness = adapter("harness")
adapted = adapter("run_rar")


@pytest.mark.fault
@pytest.mark.parametrize(
    ("variant", "values"),
    [("probability", [0.75, 0.75]), ("sampled", [True, True]), ("implicit", [pytest.approx(0.6)])],
)
def test_a_verdict_of_each_criterion_or_one_reward_comes_back(
    variant: str, values: list[Any]
) -> None:
    replies = {
        "probability": says("Yes", tokens={"Yes": 0.75, "No": 0.25}),
        "sampled": says('{"met": true}'),
        "implicit": says("7", tokens={"7": 0.4, "6": 0.6}),
    }

    def answer(*_: Any) -> Reply:
        return replies[variant]

    with server(answer) as scripted:
        grade = adapted.make(harness.Server(scripted.url, "scripted", 2, variant))
        outcomes = asyncio.run(grade(items.item(TASK, "Because.", "a:preferred")))
    assert [outcome.value for outcome in outcomes] == values
    assert [outcome.reason for outcome in outcomes] == [""] * len(values)
