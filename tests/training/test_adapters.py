"""A response without a score, in trainers that know no such thing: it teaches nothing."""

from __future__ import annotations

import asyncio
import inspect
import math

import pytest
from scripted import Reply, says, server

from rar_lib.core.errors import DataError, UnscoredError
from rar_lib.data.tasks import load_mini
from rar_lib.judging.chat import Chat
from rar_lib.judging.judge import Judge
from rar_lib.training.adapters import filled, for_openrlhf, for_verl, verl_rows
from rar_lib.training.rewards import RubricReward, VerifiableReward, task_from

TASK = load_mini("train")[0]
JSON = TASK.model_dump_json()


def answer(request: Reply, _: int) -> Reply:
    broken = "broken" in request["messages"][-1]["content"]
    return says("?", tokens={"?": 1.0}) if broken else says("7", tokens={"7": 1.0})


def test_an_unscored_response_takes_the_mean_of_its_group_where_a_number_is_needed() -> None:
    of = [range(0, 3), range(3, 5)]
    assert filled([1.0, None, 0.5, None, None], of) == [1.0, 0.75, 0.5, 0.75, 0.75]
    with pytest.raises(UnscoredError, match="none of 2"):
        filled([None, None], [range(2)])


def test_verls_rows_hold_the_conversation_and_the_task() -> None:
    (row,) = verl_rows([TASK], "rar-medicine")
    assert row["data_source"] == "rar-medicine"
    assert row["prompt"][-1] == {"role": "user", "content": TASK.question}
    assert task_from(row["reward_model"]["ground_truth"]) == TASK


def test_verls_score_is_nan_with_a_reason_and_never_zero() -> None:
    with server(answer) as scripted:
        score = for_verl(RubricReward(Judge(Chat(scripted.url, "m")), "implicit"))
        assert inspect.iscoroutinefunction(score)

        async def both() -> list[dict[str, float | str]]:
            return [await score("rar", text, JSON) for text in ("fine", "broken")]

        fine, broken = asyncio.run(both())
    assert fine == {"score": pytest.approx(6 / 9, abs=1e-5), "unscored": 0.0, "reason": ""}
    assert math.isnan(float(broken["score"]))
    assert broken["unscored"] == 1.0
    assert "on 1..10" in str(broken["reason"])


def test_a_rule_serves_as_well() -> None:
    rule = VerifiableReward(lambda _, text: text == "yes")
    assert asyncio.run(for_verl(rule)("rar", "<think>no</think>yes", JSON))["score"] == 1.0


def test_openrlhfs_score_is_of_the_response_alone_and_nan_where_there_is_none() -> None:
    with server(answer) as scripted:
        score = for_openrlhf(RubricReward(Judge(Chat(scripted.url, "m")), "implicit"))
        fine = score(["<|user|>broken?Fine.<|im_end|>\n"], ["<|user|>broken?"], [JSON])
        broken = score(["Hi, broken</s>"], ["Hi, "], [JSON])
    assert "Fine." in str(scripted.requests[0])
    assert "im_end" not in str(scripted.requests[0])
    assert fine["rewards"] == fine["scores"] == pytest.approx(6 / 9, abs=1e-5)
    assert math.isnan(broken["rewards"])
    assert broken["extra_logs"] == {"unscored": 1.0}


def test_openrlhfs_run_ends_when_most_of_the_last_judgements_failed() -> None:
    with server(says("?", tokens={"?": 1.0})) as scripted:
        score = for_openrlhf(RubricReward(Judge(Chat(scripted.url, "m")), "implicit"))
        for place in range(15):
            assert math.isnan(score([f"Hi {place}"], ["Hi "], [JSON])["rewards"])
        with pytest.raises(UnscoredError, match=r"16 of the last 16 .*limit 25%.*on 1\.\.10"):
            score(["Hi 15"], ["Hi "], [JSON])


def test_what_is_no_task_no_prefix_or_rubric_dropout_is_refused_by_name() -> None:
    judge = Judge(Chat("http://127.0.0.1:1/v1", "m"))
    reward = RubricReward(judge, "implicit")
    with pytest.raises(DataError, match=r"'42'.*verl_rows"):
        asyncio.run(for_verl(reward)("rar", "text", "42"))
    with pytest.raises(DataError, match="does not begin with its prompt"):
        for_openrlhf(reward)(["Hello"], ["Hi"], [JSON])
    for adapter in (for_verl, for_openrlhf):
        with pytest.raises(DataError, match=r"keep is 0\.5"):
            adapter(RubricReward(judge, "implicit", keep=0.5))
        with pytest.raises(DataError, match=r"contrast is 0\.5"):
            adapter(RubricReward(judge, "explicit", contrast=0.5))
