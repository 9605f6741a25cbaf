"""The reward as TRL calls it: one entry a completion, None for a failure, never a hidden zero."""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import math
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from scripted import Reply, Scripted, says, server
from transformers import TrainerState

from rar_lib.core.errors import DataError, UnscoredError
from rar_lib.core.prompts import policy_messages, shuffled
from rar_lib.core.types import Arm, Category, MultipleChoice, Task
from rar_lib.data.tasks import load_mini
from rar_lib.judging.chat import Chat
from rar_lib.judging.judge import Judge
from rar_lib.training.rewards import (
    RubricReward,
    VerifiableReward,
    code_of,
    dataset_of,
    exact_match,
    task_from,
    text_of,
)

pytestmark = pytest.mark.fault

TASK = load_mini("train")[0]
Load = Callable[..., Any]


def seven(_: Reply, __: int) -> Reply:
    return says("7", tokens={"7": 1.0})


def call(reward: Any, completions: list[Any], **extra: Any) -> list[float | None]:
    columns = {"task": [TASK.model_dump_json()] * len(completions), "trainer_state": None}
    work = reward(
        prompts=[TASK.question] * len(completions),
        completions=completions,
        completion_ids=[[1]] * len(completions),
        log_extra=lambda *_: None,
        **columns | extra,
    )
    return asyncio.run(work) if inspect.isawaitable(work) else work


def test_plain_and_conversational_completions_give_the_same_reward() -> None:
    assert text_of("Cool it.") == text_of([{"role": "assistant", "content": "Cool it."}])
    with server(seven) as scripted:
        reward = RubricReward(Judge(Chat(scripted.url, "m")), "implicit")
        values = call(reward, ["Cool it.", [{"role": "assistant", "content": "Cool it."}]])
    assert values == [pytest.approx(6 / 9, abs=1e-5)] * 2  # a flat group has one value


def test_a_failed_judgement_is_none_and_is_counted() -> None:
    def answer(request: Reply, _: int) -> Reply:
        broken = "broken" in request["messages"][1]["content"]
        return says("?", tokens={"?": 1.0}) if broken else seven(request, 0)

    metrics: dict[str, float] = {}
    steps: list[dict[str, Any]] = []
    with server(answer) as scripted:
        judge = Judge(Chat(scripted.url, "m"))
        reward = RubricReward(judge, "implicit", max_unscored=0.5, on_step=steps.append)
        values = call(reward, ["good", "broken", "fine"], log_metric=metrics.__setitem__)
    assert values == [pytest.approx(6 / 9, abs=1e-5), None, pytest.approx(6 / 9, abs=1e-5)]
    assert metrics["unscored"] == pytest.approx(1 / 3)
    assert metrics["judge_seconds"] > 0
    assert steps[0]["unscored"] == pytest.approx(1 / 3)
    assert steps[0]["mean"] == pytest.approx(6 / 9)  # over the scored ones alone


def test_training_stops_when_too_much_is_unscored_and_says_why() -> None:
    with server(says("?", tokens={"?": 1.0})) as scripted:
        reward = RubricReward(Judge(Chat(scripted.url, "the-judge")), "implicit")
        with pytest.raises(UnscoredError, match=r"2 of 2 .*limit 25%.*the-judge") as caught:
            call(reward, ["a", "b"])
    assert "on 1..10" in str(caught.value)


def test_completions_and_tasks_must_match() -> None:
    with server(seven) as scripted:
        reward = RubricReward(Judge(Chat(scripted.url, "m")), "implicit")
        with pytest.raises(DataError, match="one text a row"):
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
        prompts=[],
        completions=[],
        completion_ids=[],
        trainer_state=None,
        log_extra=None,
        log_metric=None,
        task=[],
    )


def test_trls_own_code_calls_it_and_takes_what_it_returns() -> None:
    """The installed trainer's reward call, on real data set rows; a failure is NaN to it."""
    from trl import GRPOTrainer
    from trl.trainer.utils import shutdown_event_loop_in_daemon, start_event_loop_in_daemon

    def answer(request: Reply, _: int) -> Reply:
        broken = "broken" in request["messages"][-1]["content"]
        return says("?", tokens={"?": 1.0}) if broken else seven(request, 0)

    thread, loop, ready = start_event_loop_in_daemon()
    ready.wait(10)
    metrics: dict[str, float] = {}
    steps: list[dict[str, Any]] = []
    row = dataset_of([TASK])[0]
    texts = ("good", "broken", "fine")
    completions = [[{"role": "assistant", "content": text}] for text in texts]
    try:
        with server(answer) as scripted:
            judge = Judge(Chat(scripted.url, "m"))
            rule = VerifiableReward(lambda _, text: "good" in text, name="says good")
            by_rubric = RubricReward(judge, "implicit", max_unscored=0.5, keep=0.5)
            by_rubric.on_step = steps.append
            rewards = [by_rubric, rule]
            trainer = SimpleNamespace(
                accelerator=SimpleNamespace(device="cpu", is_main_process=True),
                args=SimpleNamespace(report_to=[]),
                environments=None,
                async_loop=loop,
                reward_funcs=rewards,
                reward_processing_classes=[None, None],
                reward_func_names=[r.__name__ for r in rewards],
                state=TrainerState(global_step=3),
                _log_completion_extra=None,
                _log_metric=metrics.__setitem__,
            )
            found = GRPOTrainer._calculate_rewards(
                trainer, [row] * 3, [row["prompt"]] * 3, completions, [[1], [1, 2], [1]]
            )
    finally:
        shutdown_event_loop_in_daemon(thread, loop)
    wanted = [6 / 9, math.nan, 6 / 9]
    assert found[:, 0].tolist() == pytest.approx(wanted, abs=1e-5, nan_ok=True)
    assert found[:, 1].tolist() == [1.0, 0.0, 0.0]
    assert steps[0]["length"] == pytest.approx(4 / 3)  # in the trainer's tokens
    (part,) = set(shown(scripted))
    assert part == parts_of("implicit", 3)[0]  # the step is the trainer's


def test_a_task_survives_the_data_set_unchanged() -> None:
    rows = dataset_of(load_mini("train"))
    assert [Task.model_validate_json(r["task"]) for r in rows] == load_mini("train")
    assert rows[0]["prompt"] == policy_messages(TASK)


CHOICE = MultipleChoice(
    id="q",
    question="Which metal is liquid at room temperature?",
    options=("Iron", "Mercury", "Gold"),
    answer=1,
    reference="Mercury",
)
RIGHT = shuffled(CHOICE, 0)[1]
WRONG = next(letter for letter in "ABC" if letter != RIGHT)


@pytest.mark.parametrize(
    ("text", "right"),
    [
        (rf"It is a metal, so \boxed{{{RIGHT}}}", True),
        (rf"\boxed{{{WRONG}}}", False),
        (f"Let me think.\nAnswer: {RIGHT}", True),
        (rf"\boxed{{{RIGHT}}} or rather \boxed{{{WRONG}}}", False),  # the last box decides
        ("Mercury", False),  # the letter was asked for
        ("", False),
    ],
)
def test_rlvr_reads_the_letter_that_the_policy_was_shown(text: str, right: bool) -> None:
    assert exact_match(CHOICE, text) is right
    assert f"{RIGHT}. Mercury" in policy_messages(CHOICE)[-1]["content"]


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("42 m/s", True),
        ("Dividing gives\n42 M/S.", True),
        (r"so \boxed{42 m/s} it is", True),
        (r"\boxed{41 m/s}", False),
        ("It is not 42 m/s", False),
        ("", False),
    ],
)
def test_rlvr_compares_a_short_answer(text: str, right: bool) -> None:
    assert exact_match(Task(id="v", question="How fast?", reference="42 m/s"), text) is right


def test_rlvr_without_an_answer_to_check_is_refused() -> None:
    with pytest.raises(DataError, match="'v' has no reference"):
        exact_match(Task(id="v", question="How fast?"), "42")


def test_rlvr_is_one_criterion_of_weight_one_and_asks_no_judge() -> None:
    metrics: dict[str, float] = {}
    steps: list[dict[str, Any]] = []
    reward = VerifiableReward(lambda _, text: "42" in text, name="says 42", on_step=steps.append)
    texts = ["it is 42", [{"role": "assistant", "content": "42"}], "no"]
    assert call(reward, texts, log_metric=metrics.__setitem__) == [1.0, 1.0, 0.0]
    assert steps[0]["mean"] == pytest.approx(2 / 3)
    assert metrics["flat_groups"] == 0.0
    rollouts = steps[0]["rollouts"]
    assert [(one["text"], one["score"]) for one in rollouts] == [
        ("it is 42", 1.0),
        ("42", 1.0),
        ("no", 0.0),
    ]
    assert reward.identity()["verify"] == "says 42"


def test_a_rule_of_many_values_that_leaves_a_group_flat_trains_nothing() -> None:
    """0.500 to 0.508 are within the tolerance: one value, so that no advantage is left of them."""
    steps: list[dict[str, Any]] = []
    said = {"a": 0.500, "b": 0.504, "c": 0.508}
    reward = VerifiableReward(lambda _, text: said[text], name="soft", on_step=steps.append)
    found = call(reward, list(said))
    assert len(set(found)) == 1
    assert found[0] == pytest.approx(0.504, abs=2**-16)
    assert [one["score"] for one in steps[0]["rollouts"]] == list(said.values())
    said["c"] = 0.511  # beyond the tolerance
    assert call(reward, list(said)) == list(said.values())


def test_a_multiple_choice_task_survives_the_data_set_with_its_options() -> None:
    (row,) = dataset_of([CHOICE])
    assert task_from(row["task"]) == CHOICE
    quoted = Task(id="v", question='What does "options": mean in JSON?')
    assert task_from(quoted.model_dump_json()) == quoted


def test_every_step_records_groups_lengths_and_idle_criteria() -> None:
    """Two groups: in one the responses differ in one criterion, in the other in none."""
    other = load_mini("train")[1]
    assert TASK.rubric is not None
    told_apart = TASK.rubric.criteria[0]

    def answer(request: Reply, _: int) -> Reply:
        text = request["messages"][-1]["content"]
        yes = told_apart.description not in text or "good" in text
        return says("Yes" if yes else "No", tokens={"Yes" if yes else "No": 1.0})

    steps: list[dict[str, Any]] = []
    metrics: dict[str, float] = {}
    with server(answer) as scripted:
        judge = Judge(Chat(scripted.url, "m"))
        reward = RubricReward(judge, "explicit", on_step=steps.append)
        values = asyncio.run(
            reward(
                prompts=["p"] * 4,
                completions=["good", "bad", "x", "y"],
                completion_ids=[[1] * 4, [1] * 2, [1] * 3, [1] * 3],
                task=[TASK.model_dump_json()] * 2 + [other.model_dump_json()] * 2,
                log_metric=metrics.__setitem__,
            )
        )
    (step,) = steps
    assert values[0] != values[1]
    assert values[2] == values[3]
    assert step["flat_groups"] == metrics["flat_groups"] == 0.5
    weights = [reward.judge.weights[c.category] for c in TASK.rubric.criteria]
    assert step["flat_mass"] == pytest.approx((1 - weights[0] / sum(weights) + 1) / 2)
    assert step["length"] == 3.0
    assert set(step["credit"]) <= {"Essential", "Important", "Optional", "Pitfall"}
    assert metrics["credit/Essential"] == step["credit"]["Essential"]
    assert set(step["criteria"]) == {TASK.id, other.id}
    assert step["criteria"][TASK.id][told_apart.id] == 0.5
    rollouts = step["rollouts"]
    assert [one["text"] for one in rollouts] == ["good", "bad", "x", "y"]
    assert [one["task"]["id"] for one in rollouts] == [TASK.id, TASK.id, other.id, other.id]
    assert [one["tokens"] for one in rollouts] == [4, 2, 3, 3]
    assert [one["score"] for one in rollouts] == step["scores"]
    first = [one["verdicts"][0] for one in rollouts[:2]]
    assert [(v["criterion_id"], v["met"]) for v in first] == [
        (told_apart.id, True),
        (told_apart.id, False),
    ]
    assert "usage" not in rollouts[0]
    assert {metrics[name] for name in ("mean", "spread")} == {step["mean"], step["spread"]}


def shown(scripted: Scripted) -> list[frozenset[str]]:
    """The criteria in each question to the judge."""
    assert TASK.rubric is not None
    found = []
    for request in scripted.requests:
        text = request["messages"][-1]["content"]
        found.append(frozenset(c.id for c in TASK.rubric.criteria if c.description in text))
    return found


def parts_of(arm: Arm, step: int, keep: float = 0.5, seed: int = 0) -> list[frozenset[str]]:
    with server(lambda r, n: says("Yes", tokens={"Yes": 0.9, "7": 0.1})) as scripted:
        judge = Judge(Chat(scripted.url, "m"))
        reward = RubricReward(judge, arm, max_unscored=1.0, keep=keep, seed=seed)
        call(reward, ["one", "two", "three"], trainer_state=TrainerState(global_step=step))
    return shown(scripted)


def test_dropout_grades_all_rollouts_of_a_group_by_the_part_of_the_step() -> None:
    assert TASK.rubric is not None
    half = int(len(TASK.rubric.criteria) / 2 + 0.5)
    by_step = []
    for step in range(6):
        parts = parts_of("implicit", step)
        assert len(parts) == 3
        assert set(parts) == {parts[0]}  # alike for the group
        assert len(parts[0]) == half
        assert parts_of("implicit", step) == parts  # the same step after a restart
        by_step.append(parts[0])
    assert len(set(by_step)) > 1
    assert [parts_of("implicit", n, seed=1)[0] for n in range(6)] != by_step
    everything = frozenset(c.id for c in TASK.rubric.criteria)
    assert set(parts_of("implicit", 0, keep=1.0)) == {everything}


def test_dropout_asks_for_the_kept_criteria_alone_in_the_explicit_arm() -> None:
    (expected,) = set(parts_of("implicit", 3))
    asked = parts_of("explicit", 3)
    assert sorted(asked, key=sorted) == sorted([frozenset({i}) for i in expected] * 3, key=sorted)


def test_dropout_without_the_trainers_step_is_refused() -> None:
    reward = RubricReward(Judge(Chat("http://127.0.0.1:1/v1", "m")), "implicit", keep=0.5)
    with pytest.raises(DataError, match="needs the trainer's step"):
        call(reward, ["a"])


@pytest.mark.parametrize("keep", [0.0, -0.5, 1.01, float("nan")])
def test_a_share_outside_of_0_to_1_is_refused(keep: float) -> None:
    with pytest.raises(DataError, match=re.escape(f"keep is {keep}")):
        RubricReward(Judge(Chat("http://127.0.0.1:1/v1", "m")), "implicit", keep=keep)


@pytest.mark.parametrize("arm", ["predefined", "direct_likert", "reference_likert"])
def test_dropout_is_refused_where_no_rubric_of_the_task_is_read(arm: Arm) -> None:
    with pytest.raises(DataError, match=f"{arm!r} is not graded"):
        RubricReward(Judge(Chat("http://127.0.0.1:1/v1", "m")), arm, keep=0.5)


def test_dropout_is_part_of_the_identity_and_its_seed_only_with_it() -> None:
    def identity(**change: Any) -> dict[str, Any]:
        return RubricReward(
            Judge(Chat("http://127.0.0.1:1/v1", "m")), "implicit", **change
        ).identity()

    assert identity() == identity(keep=1.0, seed=3)
    assert identity() != identity(keep=0.5)
    assert identity(keep=0.5) != identity(keep=0.5, seed=3)


def told_apart(criterion: str) -> Any:
    """A judge to whom this criterion is met by good responses alone, and every other by none."""
    assert TASK.rubric is not None
    text_of_it = next(c.description for c in TASK.rubric.criteria if c.id == criterion)

    def answer(request: Reply, _: int) -> Reply:
        text = request["messages"][-1]["content"]
        yes = text_of_it in text and "good" in text
        return says("Yes" if yes else "No", tokens={"Yes" if yes else "No": 1.0})

    return answer


def test_contrast_pays_more_for_what_tells_the_rollouts_apart_and_keeps_the_plain_mean() -> None:
    rubric = TASK.rubric
    assert rubric is not None
    alike = [c for c in rubric.criteria if c.category is rubric.criteria[0].category]
    assert len(alike) > 1  # else there is no weight to take
    steps: list[dict[str, Any]] = []
    with server(told_apart(alike[0].id)) as scripted:
        judge = Judge(Chat(scripted.url, "m"))
        plain = call(RubricReward(judge, "explicit"), ["good", "bad"])
        found = call(
            RubricReward(judge, "explicit", contrast=1.0, on_step=steps.append), ["good", "bad"]
        )
    total = sum(judge.weights[c.category] for c in rubric.criteria)
    weight = judge.weights[alike[0].category]
    assert None not in (*plain, *found)
    assert plain[0] - plain[1] == pytest.approx(weight / total)  # type: ignore[operator]
    assert found[0] - found[1] == pytest.approx(len(alike) * weight / total)  # type: ignore[operator]
    assert steps[0]["mean_plain"] == pytest.approx(sum(plain) / 2)  # type: ignore[arg-type]
    assert steps[0]["mean"] == pytest.approx(sum(found) / 2)  # type: ignore[arg-type]


def test_contrast_leaves_a_response_that_could_not_be_judged_unscored() -> None:
    assert TASK.rubric is not None
    first = TASK.rubric.criteria[0]
    inner = told_apart(first.id)

    def answer(request: Reply, n: int) -> Reply:
        text = request["messages"][-1]["content"]
        broken = "broken" in text and first.description in text
        return says("?", tokens={"?": 1.0}) if broken else inner(request, n)

    with server(answer) as scripted:
        reward = RubricReward(
            Judge(Chat(scripted.url, "m")), "explicit", contrast=0.5, max_unscored=0.5
        )
        good, broken, bad = call(reward, ["good", "broken", "bad"])
    assert broken is None
    assert good is not None
    assert bad is not None
    assert good > bad


@pytest.mark.parametrize("contrast", [-0.1, 1.01, float("nan")])
def test_a_contrast_outside_of_0_to_1_is_refused(contrast: float) -> None:
    with pytest.raises(DataError, match=re.escape(f"contrast is {contrast}")):
        RubricReward(Judge(Chat("http://127.0.0.1:1/v1", "m")), "explicit", contrast=contrast)


@pytest.mark.parametrize("arm", ["implicit", "predefined", "direct_likert"])
def test_contrast_is_refused_where_criteria_are_not_added_up(arm: Arm) -> None:
    with pytest.raises(DataError, match=f"{arm!r} does not add up"):
        RubricReward(Judge(Chat("http://127.0.0.1:1/v1", "m")), arm, contrast=0.5)


def test_contrast_and_the_least_part_are_part_of_the_identity() -> None:
    def identity(**change: Any) -> dict[str, Any]:
        return RubricReward(
            Judge(Chat("http://127.0.0.1:1/v1", "m")), "explicit", **change
        ).identity()

    assert identity() != identity(contrast=0.5)
    assert identity(contrast=0.5) != identity(contrast=0.6)
    assert identity(keep=0.5) != identity(keep=0.5, least=3)
    assert identity() == identity(least=3)  # without dropout it does nothing


def test_dropout_leaves_no_fewer_than_the_least_part() -> None:
    with server(lambda r, n: says("Yes", tokens={"Yes": 1.0})) as scripted:
        judge = Judge(Chat(scripted.url, "m"))
        reward = RubricReward(judge, "explicit", keep=0.01, least=3)
        call(reward, ["one"], trainer_state=TrainerState(global_step=0))
    assert len(scripted.requests) == 3
    with pytest.raises(DataError, match="least is 0"):
        RubricReward(judge, "explicit", keep=0.5, least=0)


SAID = "Cool the burn under running water."
COMPLETIONS: dict[str, Any] = {
    "text": SAID,
    "one message": [{"role": "assistant", "content": SAID}],
    "content null beside a tool call": [
        {"role": "assistant", "content": None, "tool_calls": [{"type": "function"}]},
        {"role": "tool", "content": "TOOL OUTPUT 42"},
        {"role": "assistant", "content": SAID},
    ],
    "content missing": [
        {"role": "assistant", "tool_calls": []},
        {"role": "assistant", "content": SAID},
    ],
    "content in parts": [{"role": "assistant", "content": [{"type": "text", "text": SAID}]}],
    "parts of other kinds": [
        {"role": "assistant", "content": [{"type": "image"}, {"type": "text", "text": SAID}]},
    ],
    "no role": [{"content": SAID}],
    "no role named": [{"role": None, "content": SAID}],
    "the role that Gemma has": [{"role": "model", "content": SAID}],
    "a tuple of messages": ({"role": "assistant", "content": SAID},),
    "parts that are text": [{"role": "assistant", "content": [SAID[:4], SAID[4:]]}],
    "a part with notes": [
        {"role": "assistant", "content": [{"type": "text", "text": {"value": SAID}}]},
    ],
    "a part for output": [
        {"role": "assistant", "content": [{"type": "output_text", "text": SAID}]}
    ],
    "a part that was thought": [
        {
            "role": "assistant",
            "content": [{"type": "reasoning", "text": "112"}, {"type": "text", "text": SAID}],
        },
    ],
    "thoughts in a field of their own": [
        {"role": "assistant", "content": SAID, "reasoning_content": "112"},
    ],
    "thoughts in brackets": f"[THINK]call 112[/THINK]{SAID}",
    "thoughts of MedGemma": f"<unused94>thought\ncall 112<unused95>{SAID}",
    "channels": f"<|channel|>analysis<|message|>112<|end|><|start|>assistant<|channel|>final"
    f"<|message|>{SAID}",
    "thoughts before": f"<think>I could say: call 112.</think>{SAID}",
    "thoughts before, in a message": [{"role": "assistant", "content": f"<think>x</think>{SAID}"}],
    "only the end of thoughts": f"I could say: call 112.</think>{SAID}",
}


@pytest.mark.parametrize("name", COMPLETIONS)
def test_the_judge_is_shown_what_the_policy_said(name: str) -> None:
    assert text_of(COMPLETIONS[name]) == SAID
    with server(says("8", tokens=[{"8": 1.0}, {"\n": 1.0}])) as scripted:
        reward = RubricReward(Judge(Chat(scripted.url, "m")), "implicit")
        column = [TASK.model_dump_json()]
        score = asyncio.run(reward(["p"], [COMPLETIONS[name]], column))
    assert score == [pytest.approx(7 / 9)]
    shown = scripted.requests[0]["messages"][1]["content"]
    assert SAID in shown
    assert "112" not in shown
    assert "TOOL OUTPUT" not in shown


@pytest.mark.parametrize(
    "silent", ["<think>Or should I", "<think>so</think>", "", [{"role": "tool", "content": "42"}]]
)
def test_a_thought_without_an_answer_is_the_worst_response(silent: Any) -> None:
    with server(says("8", tokens=[{"8": 1.0}])) as scripted:
        reward = RubricReward(Judge(Chat(scripted.url, "m")), "implicit")
        assert asyncio.run(reward(["p"], [silent], [TASK.model_dump_json()])) == [0.0]
    assert scripted.requests == []


def test_an_empty_batch_has_no_rewards() -> None:
    assert (
        asyncio.run(RubricReward(Judge(Chat("http://127.0.0.1:1/v1", "m")), "implicit")([], [], []))
        == []
    )


def test_the_tags_of_thoughts_are_a_setting_and_part_of_a_runs_identity() -> None:
    plan = "<plan>call 112</plan>Cool it."
    assert text_of(plan) == plan
    assert text_of(plan, ("plan",)) == "Cool it."
    judge = Judge(Chat("http://127.0.0.1:1/v1", "m"))
    own = RubricReward(judge, "implicit", thoughts=("plan",))
    assert own.identity() != RubricReward(judge, "implicit").identity()


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (None, "no column 'task'"),
        (TASK.model_dump_json(), "column 'task' holds"),
        ([], "column 'task' holds"),
        ([TASK.model_dump()], "row 0: found"),
        ([[TASK.model_dump_json()]], "row 0: found"),
        (["What is a burn?"], "row 0: found 'What is a burn"),
        (['{"id": "a"}'], "which is no task"),
        ([None], "row 0: found None"),
    ],
)
def test_a_column_that_holds_no_tasks_is_named_with_the_way_to_make_it(
    column: Any, words: str
) -> None:
    with pytest.raises(DataError, match=re.escape(words)) as caught:
        VerifiableReward()(["p"], ["Cool it."], column)
    assert "dataset_of" in str(caught.value)
    judged = RubricReward(Judge(Chat("http://127.0.0.1:1/v1", "m")), "implicit")
    with pytest.raises(DataError, match=re.escape(words)):
        asyncio.run(judged(["p"], ["Cool it."], column))


@pytest.mark.parametrize(
    "completion",
    [
        None,
        7,
        ["Cool it."],
        [None],
        b"Cool it.",
        {"role": "assistant", "content": "Cool it."},
        [[{"role": "assistant", "content": "Cool it."}]],
        [{"from": "gpt", "value": "Cool it."}],
        [{"role": "gpt", "content": "Cool it."}],
        [{"role": "assistant", "content": 7}],
    ],
)
def test_a_completion_of_another_kind_is_named(completion: Any) -> None:
    with pytest.raises(DataError, match="allowed: "):
        text_of(completion)


@pytest.mark.parametrize(
    ("reference", "text", "right"),
    [
        ("-7", "7", False),
        ("-7", r"So it is \boxed{7}", False),
        ("-7", r"\boxed{-7}", True),
        ("1/2", r"\boxed{\frac{1}{2}}", True),
        (r"\frac{3}{4}", r"It is \boxed{\dfrac{3}{4}}.", True),
        ("3.5", "3:5", False),
        ("3.5", "Answer:\n3.5", True),
        ("3.5", "The sum is\nAnswer: 3.50", True),
        ("10^-6", "10^6", False),
        ("< 5", "> 5", False),
        ("Vitamin C", "vitamin c.", True),
        ("Vitamin C", "vitamin D", False),
        ("2.5 mg", "2/5 mg", False),
    ],
)
def test_the_exact_match_goes_by_value(reference: str, text: str, right: bool) -> None:
    task = Task(id="t", question="How much?", reference=reference)
    assert exact_match(task, text) is right
    assert VerifiableReward()(["p"], [text], [task.model_dump_json()]) == [float(right)]


E_ = Category.ESSENTIAL
I_ = Category.IMPORTANT
O_ = Category.OPTIONAL
P_ = Category.PITFALL


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({E_: float("nan"), I_: 0.7, O_: 0.3, P_: 0.9}, "the weight of Essential is nan"),
        ({E_: float("inf"), I_: 0.7, O_: 0.3, P_: 0.9}, "the weight of Essential is inf"),
        ({E_: 1.0, I_: 0.7, O_: 0.3}, "the weight of Pitfall is None"),
        ({E_: 1.0, I_: 0.7, O_: 0.3, P_: -0.9}, "the weight of Pitfall is -0.9"),
        (dict.fromkeys(Category, 0.0), "all weights are 0"),
        ({E_: "1", I_: 0.7, O_: 0.3, P_: 0.9}, "the weight of Essential is '1'"),
        ({E_: [1], I_: 0.7, O_: 0.3, P_: 0.9}, "the weight of Essential is [1]"),
        ({E_: 1e308, I_: 1e308, O_: 0.3, P_: 0.9}, "the weight of Essential is 1e+308"),
        ({E_: 1.0, I_: 0.7, O_: 0.3, P_: 0.9, "Pitfals": 1.0}, "weights names 'Pitfals'"),
        ({"essential": 1.0}, "the categories are Essential, Important"),
        ([1.0, 0.7, 0.3, 0.9], "weights is list"),
        (None, "weights is NoneType"),
    ],
)
def test_weights_that_make_no_score_are_refused_when_the_judge_is_made(
    weights: Any, words: str
) -> None:
    with pytest.raises(DataError, match=re.escape(words)):
        Judge(Chat("http://127.0.0.1:1/v1", "m"), weights=weights)


# --- what a caller's own rule is known by: a run is not continued under another one


#: A module of somebody's own rules and judge.
RULES = '''\
import re
from dataclasses import dataclass

from rar_lib.judging.judge import Judge

#: About the length of a reference.
LONG = 100
OTHER = 1
WORD = re.compile("[a-z]+")


def share(n):
    """At most 1."""
    return min(1.0, n / LONG)


def length(task, response):
    """Words, up to those of a reference."""
    # Counted, not weighed.
    return share(len([word for word in WORD.findall(response)]))


def at_least(n):
    return lambda task, response: len(response) >= n


def begins(task, response, word="a"):
    return response.startswith(word)


@dataclass
class Holds:
    word: str
    any_case = False

    def __call__(self, task, response):
        return self.found(response)

    def found(self, response):
        return self.word in response


class Mine(Judge):
    async def grade(self, task, response, arm):
        return await super().grade(task, response.strip(), arm)
'''


@pytest.fixture
def rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Loads the module after an edit; a file for each, since Python keeps what it has read."""

    def load(old: str = "", new: str = "") -> Any:
        assert old in RULES
        path = tmp_path / f"rules{len(list(tmp_path.iterdir()))}.py"
        path.write_text(RULES.replace(old, new) if old else RULES)
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, path.stem, module)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("", ""),
        ("Words, up to", "All words, up to"),
        ("    # Counted, not weighed.\n", ""),
        ("#: About the length", "#: The length"),
        ("OTHER = 1", "OTHER = 2"),  # which the rule does not read
        ("self.word in response", "response"),
    ],
)
def test_a_rule_that_does_the_same_is_the_same_rule(old: str, new: str, rules: Load) -> None:
    one = code_of(rules().length)
    assert code_of(rules(old, new).length) == one
    assert one["name"] == "length"
    assert one["values"] == {"length: WORD": "('[a-z]+', 32)", "share: LONG": "100"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("LONG = 100", "LONG = 90"),
        ('"[a-z]+"', '"[a-z]+|[0-9]+"'),
        ("min(1.0", "min(2.0"),  # in a function that the rule calls
        ("in WORD.findall(response)", "in set(WORD.findall(response))"),
    ],
)
def test_a_rule_that_was_edited_is_another_rule(old: str, new: str, rules: Load) -> None:
    first = VerifiableReward(rules().length, name="words").identity()
    assert VerifiableReward(rules(old, new).length, name="words").identity() != first


def test_a_rule_is_known_by_what_it_was_given_too(rules: Load) -> None:
    own = rules()
    made = [
        own.at_least(3),
        own.at_least(4),
        own.begins,
        partial(own.begins, word="b"),
        partial(own.begins, word="c"),
        own.Holds("a"),
        own.Holds("b"),
        own.Holds("b").found,
        rules("any_case = False", "any_case = True").Holds("b"),
    ]
    assert len({str(code_of(rule)) for rule in made}) == len(made)
    again = rules()
    assert code_of(again.at_least(3)) == code_of(own.at_least(3))
    assert code_of(again.Holds("a")) == code_of(own.Holds("a"))
    other = rules("self.word in response", "self.word not in response")
    for rule in (other.Holds("a"), other.Holds("a").__call__):  # by way of another method
        assert code_of(rule)["code"] != code_of(own.Holds("a"))["code"]


def test_of_a_rule_without_source_only_its_name_is_known() -> None:
    typed: dict[str, Any] = {}
    exec("def rule(task, text): return 1.0", typed)
    assert code_of(typed["rule"]) == {"name": "rule", "code": None, "values": {}}
    assert code_of(len) == {"name": "len", "code": None, "values": {}}


def test_what_says_itself_what_it_is_made_of_is_taken_at_its_word() -> None:
    assert code_of(SimpleNamespace(made_of={"words": 3})) == {"words": 3}  # type: ignore[arg-type]


def test_a_judge_of_ones_own_that_was_edited_gives_another_reward(rules: Load) -> None:
    """The library's own classes are part of the code that decides a step."""
    chat = Chat("http://127.0.0.1:1/v1", "m")
    own = [RubricReward(kind(chat), "implicit").identity()["own"] for kind in (Judge, rules().Mine)]
    assert own[0] == []
    assert [one["name"] for one in own[1]] == ["Mine"]
    for old, new, same in [("", "", True), ("response.strip()", "response", False)]:
        edited = RubricReward(rules(old, new).Mine(chat), "implicit").identity()["own"]
        assert (edited == own[1]) is same
