"""A response without a score, in trainers that know no such thing: it teaches nothing."""

from __future__ import annotations

import asyncio
import inspect
import math
import re
from typing import Any

import pytest
from scripted import Reply, says, server

from rar_lib.core.errors import DataError, UnscoredError
from rar_lib.core.types import Task, Turn
from rar_lib.data.tasks import load_mini
from rar_lib.judging.chat import Chat
from rar_lib.judging.judge import Judge
from rar_lib.training.adapters import (
    filled,
    for_ms_swift,
    for_openrlhf,
    for_verifiers,
    for_verl,
    register_verl,
    system_and_prompt,
    taskset_for_verifiers,
    verl_rows,
)
from rar_lib.training.rewards import RubricReward, VerifiableReward, task_from

TASK = load_mini("train")[0]
JSON = TASK.model_dump_json()


def answer(request: Reply, _: int) -> Reply:
    broken = "broken" in request["messages"][-1]["content"]
    return says("?", tokens={"?": 1.0}) if broken else says("7", tokens={"7": 1.0})


def test_an_unscored_response_takes_the_mean_of_its_group_where_a_number_is_needed() -> None:
    of = [range(0, 3), range(3, 5)]
    assert filled([1.0, None, 0.5, None, None], of) == [1.0, 0.75, 0.5, 0.75, 0.75]
    assert filled([], []) == []
    with pytest.raises(UnscoredError, match="none of 2"):
        filled([None, None], [range(2)])


def test_verls_rows_hold_the_conversation_and_the_task() -> None:
    (row,) = verl_rows([TASK], "rar-medicine")
    assert row["data_source"] == "rar-medicine"
    assert row["prompt"][-1] == {"role": "user", "content": TASK.question}
    assert task_from(row["reward_model"]["ground_truth"]) == TASK


LAWYER = Turn(role="system", content="You are a lawyer. Answer at length.")
SUED = Task(id="b", question="May I sue?", history=(LAWYER,))
TALK = TASK.model_copy(
    update={"history": (Turn(role="user", content="Hi."), Turn(role="assistant", content="Yes?"))}
)


def test_prompts_arrive_as_they_are_unless_a_system_turn_is_given() -> None:
    asked = {"role": "user", "content": TASK.question}
    brief = {"role": "system", "content": "Be brief."}
    own = [LAWYER.model_dump(), {"role": "user", "content": SUED.question}]
    assert [row["prompt"] for row in verl_rows([TASK, SUED])] == [[asked], own]
    given = verl_rows([TASK, SUED], system="Be brief.")
    assert [row["prompt"] for row in given] == [[brief, asked], own]


@pytest.mark.parametrize(
    ("task", "system", "found"),
    [
        (TASK, None, (None, TASK.question)),
        (TASK, "Be brief.", ("Be brief.", TASK.question)),
        (SUED, None, (LAWYER.content, SUED.question)),
        (SUED, "Be brief.", (LAWYER.content, SUED.question)),
        (TALK, None, (None, ["Hi.", "Yes?", TASK.question])),
        (TALK, "", ("", ["Hi.", "Yes?", TASK.question])),
    ],
)
def test_verifiers_takes_the_system_turn_apart(task: Task, system: str | None, found: Any) -> None:
    said, prompt = system_and_prompt(task, system)
    shown = prompt if isinstance(prompt, str) else [turn["content"] for turn in prompt]
    assert (said, shown) == found


@pytest.mark.parametrize(
    "adapter",
    [
        for_verl,
        for_openrlhf,
        for_verifiers,
        for_ms_swift,
        lambda reward: taskset_for_verifiers(reward, [TASK]),
    ],
)
@pytest.mark.parametrize(
    "reward", [None, "implicit", Judge(Chat("http://127.0.0.1:1/v1", "m")), VerifiableReward]
)
def test_what_is_no_reward_is_named_before_the_trainer_is_loaded(adapter: Any, reward: Any) -> None:
    kind = type(reward).__name__
    with pytest.raises(DataError, match=rf"\({kind}\): give RubricReward\(judge, arm\)"):
        adapter(reward)


@pytest.mark.parametrize("most", [25, -0.1, math.nan, "0.25"])
def test_a_limit_that_is_no_share_is_refused_before_verl_is_loaded(most: Any) -> None:
    with pytest.raises(DataError, match=f"max_unscored is {most!r}"):
        register_verl(most)


def test_verls_score_is_nan_with_a_reason_and_never_zero(caplog: pytest.LogCaptureFixture) -> None:
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
    assert caplog.messages == [f"task {TASK.id}: not scored: {broken['reason']}"]


def test_a_rule_serves_as_well() -> None:
    rule = VerifiableReward(lambda _, text: text == "yes")
    assert asyncio.run(for_verl(rule)("rar", "<think>no</think>yes", JSON))["score"] == 1.0
    broken = VerifiableReward(lambda *_: math.nan, name="mine")
    with pytest.raises(DataError, match="rule 'mine' gave nan"):  # which verl takes for unscored
        asyncio.run(for_verl(broken)("rar", "yes", JSON))


def test_openrlhfs_score_is_of_the_response_alone_and_nan_where_there_is_none(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with server(answer) as scripted:
        score = for_openrlhf(RubricReward(Judge(Chat(scripted.url, "m")), "implicit"))
        fine = score(["<|user|>broken?Fine.<|im_end|>\n"], ["<|user|>broken?"], [JSON])
        broken = score(["Hi, broken</s>"], ["Hi, "], [JSON])
    assert "Fine." in str(scripted.requests[0])
    assert "im_end" not in str(scripted.requests[0])
    assert fine["rewards"] == fine["scores"] == pytest.approx(6 / 9, abs=1e-5)
    assert math.isnan(broken["rewards"])
    assert broken["extra_logs"] == {"unscored": 1.0}
    (said,) = caplog.messages  # the reason is nowhere else
    assert re.match(rf"task {TASK.id}: not scored: only .* on 1\.\.10", said)


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
