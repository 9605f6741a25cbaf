"""The reward as TRL calls it: one entry a completion, None for a failure, never a hidden zero."""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import math
import pickle
import re
import sys
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scripted import Reply, Scripted, says, server
from transformers import TrainerState

from rar_lib.core.errors import DataError, UnscoredError
from rar_lib.core.prompts import POLICY_SYSTEM, policy_messages, shuffled
from rar_lib.core.types import Arm, Category, Grade, MultipleChoice, Task, Turn, Verdict
from rar_lib.data.questions import spoken
from rar_lib.data.tasks import load_mini
from rar_lib.judging.chat import Chat
from rar_lib.judging.judge import Judge
from rar_lib.training.adapters import verl_rows
from rar_lib.training.rewards import (
    RubricReward,
    VerifiableReward,
    checked_tasks,
    code_of,
    dataset_of,
    exact_match,
    task_from,
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
    assert spoken("Cool it.") == spoken([{"role": "assistant", "content": "Cool it."}])
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
    signature = inspect.signature(reward.__call__)
    signature.bind(
        prompts=[],
        completions=[],
        completion_ids=[],
        trainer_state=None,
        log_extra=None,
        log_metric=None,
        task=[],
    )


@dataclass
class Halved(RubricReward):
    """A reward of one's own: half of what the judge says."""

    async def __call__(self, *given: Any, **columns: Any) -> list[float | None]:
        found = await super().__call__(*given, **columns)
        return [None if value is None else value / 2 for value in found]


@pytest.mark.parametrize("kind", [RubricReward, Halved])
@pytest.mark.parametrize("decides", [inspect.iscoroutinefunction, asyncio.iscoroutinefunction])
def test_trl_before_1_14_awaits_it(decides: Callable[[Any], bool], kind: type) -> None:
    """0.27 decides by asyncio's, up to 1.13 by inspect's; 1.13's way to call it, in its words."""
    with server(seven) as scripted:
        reward = kind(Judge(Chat(scripted.url, "m")), "implicit")
        assert decides(reward)
        assert not decides(VerifiableReward())
        inputs = {"prompts": ["p"], "completions": ["Cool it."], "completion_ids": [[1]]}
        column = {"task": [TASK.model_dump_json()], "trainer_state": TrainerState()}

        async def invoked(function: Any) -> Any:
            return await function(**inputs, **column)

        (value,) = asyncio.run(invoked(reward))
    assert value == pytest.approx(6 / 9 / (1 if kind is RubricReward else 2))
    assert reward.__name__ == "reward_implicit"


def test_trls_own_code_calls_it_and_takes_what_it_returns() -> None:
    """The installed trainer's reward call, on real data set rows; a failure is NaN to it."""
    from trl import GRPOTrainer
    from trl.trainer.utils import shutdown_event_loop_in_daemon, start_event_loop_in_daemon

    def answer(request: Reply, _: int) -> Reply:
        broken = "broken" in request["messages"][-1]["content"]
        return says("?", tokens={"?": 1.0}) if broken else seven(request, 0)

    thread, loop, ready = start_event_loop_in_daemon()
    assert ready.wait(60)
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


def test_own_prompts_arrive_as_they_are_unless_a_system_turn_is_given() -> None:
    essay = Task(id="a", question="Write an essay of 2,000 words.")
    lawyer = Turn(role="system", content="You are a lawyer. Answer at length.")
    sued = Task(id="b", question="May I sue?", history=(lawyer,))
    asked = [{"role": "user", "content": essay.question}]
    own = [lawyer.model_dump(), {"role": "user", "content": sued.question}]
    assert dataset_of([essay, sued])["prompt"][:] == [asked, own]
    brief = [{"role": "system", "content": "Be brief."}]
    assert dataset_of([essay, sued], "Be brief.")["prompt"][:] == [brief + asked, own]
    rows = dataset_of(iter([essay]), system=POLICY_SYSTEM)  # type: ignore[arg-type]
    assert rows["prompt"][:] == [policy_messages(essay)]


@pytest.mark.parametrize(
    ("tasks", "words"),
    [
        ([], "there are no tasks"),
        ("tasks.jsonl", "among the tasks is 'tasks.jsonl' (str), which is no Task"),
        (Path("tasks.jsonl"), "tasks.jsonl"),
        ([{"id": "a", "question": "Why?"}], "(dict), which is no Task"),
        ([TASK, TASK.model_dump_json()], "(str), which is no Task"),
        ([TASK, None], "among the tasks is None"),
        (([TASK], "an account"), "(list), which is no Task"),
        (TASK.model_dump(), "among the tasks is 'id'"),
        (None, "among the tasks is None"),
        (SimpleNamespace(items=[TASK]), "(SimpleNamespace), which is no Task"),
    ],
)
def test_what_is_no_list_of_tasks_is_named_with_the_way_to_read_one(tasks: Any, words: str) -> None:
    for make in (dataset_of, checked_tasks, verl_rows):
        with pytest.raises(DataError, match=re.escape(words)) as caught:
            make(tasks)
        assert tasks == [] or "load_tasks(path)" in str(caught.value)


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
    defined = ("mean", "spread", "unscored", "only_thoughts", "flat_groups", "flat_mass")
    logged = {name: step[name] for name in (*defined, "length_correlation", "judge_seconds")}
    assert metrics == logged | {f"credit/{key}": value for key, value in step["credit"].items()}
    assert step["mean"] != step["spread"]


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


@dataclass(frozen=True)
class Refusing(Judge):
    """Every criterion speaks for a good response and for no other; an attack gets no score."""

    unjudged: tuple[Verdict, ...] = ()

    async def grade(self, task: Task, response: str, arm: Arm) -> Grade:
        assert task.rubric is not None
        if "attack" in response:
            refused = "suspicious response"
            return Grade(arm=arm, score=None, verdicts=self.unjudged, reason=refused)
        good = response == "good"
        met = {c.id: good is (c.polarity == "good") for c in task.rubric.criteria}
        verdicts = (Verdict(criterion_id=name, met=value) for name, value in met.items())
        return Grade(arm=arm, score=float(good), verdicts=tuple(verdicts))


@pytest.mark.parametrize("met", ["no verdicts", None, True, False])
def test_a_response_that_was_refused_as_a_whole_has_no_reward_under_contrast(met: Any) -> None:
    """Whatever verdicts it has, or none: what the judge did not score, no other weights score."""
    assert TASK.rubric is not None
    steps: list[dict[str, Any]] = []
    criteria = TASK.rubric.criteria if met != "no verdicts" else ()
    verdicts = tuple(Verdict(criterion_id=criterion.id, met=met) for criterion in criteria)
    judge = Refusing(Chat("http://127.0.0.1:1/v1", "m"), unjudged=verdicts)
    reward = RubricReward(judge, "explicit", contrast=0.5, on_step=steps.append)
    assert call(reward, ["good", "bad", "bad", "an attack"]) == [1.0, 0.0, 0.0, None]
    assert steps[0]["unscored"] == 0.25
    assert (steps[0]["mean"], steps[0]["mean_plain"]) == (
        pytest.approx(1 / 3),
        pytest.approx(1 / 3),
    )


def test_a_judge_of_ones_own_that_gives_no_reason_is_not_quoted_with_none() -> None:
    class Silent(Judge):
        async def grade(self, task: Task, response: str, arm: Arm) -> Grade:
            return Grade(arm=arm, score=None)

    reward = RubricReward(Silent(Chat("http://127.0.0.1:1/v1", "m")), "implicit")
    with pytest.raises(UnscoredError, match="the first reason: the judge gave no verdict, and no"):
        call(reward, ["a"])


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
    assert spoken(COMPLETIONS[name]) == SAID
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
    steps: list[dict[str, Any]] = []
    judge = Judge(Chat("http://127.0.0.1:1/v1", "m"))
    for column in ([], None):
        by_rubric = RubricReward(judge, "implicit", on_step=steps.append)
        assert asyncio.run(by_rubric([], [], column)) == []
        assert VerifiableReward(on_step=steps.append)([], [], column) == []
    assert steps == []


@pytest.mark.parametrize(
    ("completions", "share"),
    [
        (["<think>Or should I", "Cool it."], 0.5),
        (
            ["<think>so</think>", "<think>so</think> \n", "Cool it.", "<think>x</think>Cool it."],
            0.5,
        ),
        (["", " ", "Cool it."], 0.0),  # nothing was thought either
        (
            [[{"role": "assistant", "content": "<think>Or"}], [{"role": "tool", "content": "42"}]],
            0.5,
        ),
        (["<plan>Or"], 0.0),  # no tag of this policy's: it was said
    ],
)
def test_a_response_that_is_empty_because_all_of_it_was_thought_is_counted(
    completions: list[Any], share: float
) -> None:
    """It earns the worst grade, or nothing, and somebody must be able to see why."""
    steps: list[dict[str, Any]] = []
    metrics: dict[str, float] = {}
    with server(seven) as scripted:
        judge = Judge(Chat(scripted.url, "m"))
        for reward in (
            RubricReward(judge, "implicit", on_step=steps.append),
            VerifiableReward(lambda _, text: bool(text), on_step=steps.append),
        ):
            call(reward, completions, log_metric=metrics.__setitem__)
            assert steps[-1]["only_thoughts"] == metrics.pop("only_thoughts") == share
            assert steps[-1]["unscored"] == 0.0


def test_of_several_processes_the_thoughts_of_all_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps: list[dict[str, Any]] = []

    def both(mine: Any, *_: Any, **__: Any) -> list[Any]:
        return [mine, mine]

    monkeypatch.setattr("rar_lib.training.rewards.processes.count", lambda: 2)
    monkeypatch.setattr("rar_lib.training.rewards.processes.gathered", both)
    reward = VerifiableReward(lambda _, text: bool(text), on_step=steps.append)
    found = call(reward, ["<think>Or", "a", "b", "c"], log_metric=lambda *_: None)
    assert found == [0.0, 1.0, 1.0, 1.0]
    assert len(steps[0]["scores"]) == 8
    assert steps[0]["only_thoughts"] == 0.25


@pytest.mark.parametrize(
    ("said", "reward"),
    [
        (True, 1.0),
        (False, 0.0),
        (1, 1.0),
        (0.25, 0.25),
        (np.float32(0.5), 0.5),
        (np.True_, 1.0),
    ],
)
def test_a_rule_says_right_or_wrong_or_how_right(said: Any, reward: float) -> None:
    assert call(VerifiableReward(lambda *_: said), ["a"]) == [reward]


@pytest.mark.parametrize(
    "said",
    [
        float("nan"),
        float("inf"),
        -math.inf,
        7.0,
        -3.0,
        1.0000001,
        -1e-9,
        None,
        "yes",
        [1.0],
        {"score": 1.0},
        1 + 0j,
        10**400,
        np.array([0.1, 0.2]),
    ],
    ids=repr,
)
def test_a_rule_that_says_anything_else_is_named_with_its_task(said: Any) -> None:
    """NaN would be an error far inside, and 7 a reward of 7."""
    steps: list[dict[str, Any]] = []
    reward = VerifiableReward(lambda *_: said, name="my rule", on_step=steps.append)
    with pytest.raises(DataError) as caught:
        call(reward, ["a", "b"])
    shown = repr(said)[:60]
    assert f"the rule 'my rule' gave {shown}" in str(caught.value)
    assert f"task {TASK.id!r}; allowed: true, false, or a number in [0, 1]" in str(caught.value)
    assert steps == []


def test_the_tags_of_thoughts_are_a_setting_and_part_of_a_runs_identity() -> None:
    plan = "<plan>call 112</plan>Cool it."
    assert spoken(plan) == plan
    assert spoken(plan, ("plan",)) == "Cool it."
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
        spoken(completion)


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


@pytest.mark.parametrize(
    "text",
    [
        "4",
        "4.",
        "Answer: 4",
        "Final answer: 4",
        "answer = 4",
        "The answer is 4",
        "The answer is 4.",
        "the answer is: 4",
        "The answer is **4**.",
        "**The answer is 4.**",
        "**Answer:** 4",
        "- The answer is $4$.",
        "The final answer is 4.",
        "The correct answer is 4.",
        "My answer: 4",
        "So the answer is 4.",
        "So, the final answer is 4.",
        "Therefore, the answer is 4.",
        "Thus the answer is four.",
        "Hence our answer is 4.00",
        "2 + 2 makes 4. The answer is 4.",
        "It is 2.5 + 1.5.\nThe answer is 4.",
        "First I thought so. The answer is 5. No! The answer is 4.",
        "<answer>4</answer>",
        "<answer>\n4\n</answer>",
        "<ANSWER> 4. </ANSWER> I hope that this helps.",
        "<answer>The answer is 4.</answer>",
        "<answer>5</answer> or rather <answer>4</answer>",
    ],
)
def test_a_sentence_or_tags_that_name_the_answer_are_read(text: str) -> None:
    assert exact_match(Task(id="m", question="2 + 2?", reference="4"), text)


@pytest.mark.parametrize(
    "text",
    [
        "The answer is 5.",
        "The answer is not 4.",
        "The answer isn't 4.",
        "The answer is 4 or 5.",
        "The answer is 4, or perhaps 5.",
        "The answer is between 4 and 5.",
        "The answer is 40.",
        "The answer is -4.",
        "The wrong answer is 4.",
        "I doubt that the answer is 4.",
        "It is false that the answer is 4.",
        "Is the answer 4?",
        "The answer is 4. The answer is 5.",
        "The answer is 4.\nThe answer is 5.",
        "The answer is",
        "Answer:",
        "Answer isle 4",
        "x = 4",  # which unknown was asked for, no rule can tell
        "<answer>5</answer>",
        "<answer>4 5</answer>",
        "<answer></answer>",
        "<answer>4",
        "<answer>4</answer> No: <answer>5</answer>",
        "<answers>4</answers>",
    ],
)
def test_what_names_another_answer_or_none_is_wrong(text: str) -> None:
    assert not exact_match(Task(id="m", question="2 + 2?", reference="4"), text)


def test_a_long_response_is_read_in_no_time() -> None:
    task = Task(id="m", question="2 + 2?", reference="4")
    for part in ("answer ", "the final ", "<answer>", "so. the answer is ", " \n.* ", ". "):
        start = time.perf_counter()
        exact_match(task, part * 20_000)
        assert time.perf_counter() - start < 2, part


def nowhere(**change: Any) -> Judge:
    return Judge(Chat("http://127.0.0.1:1/v1", "m", **change))


@pytest.mark.parametrize("arm", ["explict", "Explicit", "likert", "rlvr", "", None, 7])
def test_an_arm_that_there_is_not_is_named_when_the_reward_is_made(arm: Any) -> None:
    with pytest.raises(DataError, match=rf"no arm {arm!r}; choose from: explicit, implicit"):
        RubricReward(nowhere(), arm)


@pytest.mark.parametrize(
    "judge", [None, "implicit", "http://127.0.0.1:1/v1", Chat("http://127.0.0.1:1/v1", "m"), 7]
)
def test_what_is_no_judge_is_named_when_the_reward_is_made(judge: Any) -> None:
    with pytest.raises(DataError, match=rf"\({type(judge).__name__}\).*Judge\(Chat\(URL, NAME"):
        RubricReward(judge, "explicit")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"max_unscored": 25}, "max_unscored is 25: .* a quarter is 0.25"),
        ({"max_unscored": 1.01}, "max_unscored is 1.01"),
        ({"max_unscored": -1}, "max_unscored is -1"),
        ({"max_unscored": math.nan}, "max_unscored is nan"),
        ({"max_unscored": "0.25"}, "max_unscored is '0.25'"),
        ({"max_unscored": None}, "max_unscored is None"),
        ({"thoughts": "think"}, r"thoughts is 'think': give the names in a tuple, \('think',\)"),
        ({"on_step": []}, r"on_step is \[\]: give a function .*steps.append"),
        ({"on_step": {}}, "on_step is"),
    ],
)
def test_a_setting_of_no_use_is_named_when_the_reward_is_made(
    change: dict[str, Any], words: str
) -> None:
    """Not in the first step, when a model has been loaded and has written."""
    with pytest.raises(DataError, match=words):
        RubricReward(nowhere(), "implicit", **change)
    if "max_unscored" not in change:
        with pytest.raises(DataError, match=words):
            VerifiableReward(**change)


def test_a_rule_that_is_no_function_is_named_when_the_reward_is_made() -> None:
    with pytest.raises(DataError, match="verify is 'exact match': give a function"):
        VerifiableReward("exact match")  # type: ignore[arg-type]


@pytest.mark.parametrize("most", [0, 0.0, 1, 1.0, 0.25, np.float32(0.5), np.float64(0.5)])
def test_a_share_is_taken_as_it_is(most: Any) -> None:
    assert RubricReward(nowhere(), "implicit", max_unscored=most).max_unscored == most


def heard(record: dict[str, Any]) -> None:
    """Stands for a listener that a process can import."""
    assert record["scores"]


@pytest.mark.parametrize("copied", [lambda one: pickle.loads(pickle.dumps(one)), deepcopy])
@pytest.mark.parametrize("arm", ["explicit", "implicit"])
def test_a_reward_goes_to_another_process(copied: Callable[[Any], Any], arm: Arm) -> None:
    """TRL's asynchronous trainer starts a worker and sends it the rewards."""
    assert TASK.rubric is not None
    answer = told_apart(TASK.rubric.criteria[0].id) if arm == "explicit" else seven
    with server(answer) as scripted:
        judge = Judge(Chat(scripted.url, "m"))
        contrast = 0.5 if arm == "explicit" else 0.0
        reward = RubricReward(judge, arm, max_unscored=1.0, contrast=contrast, on_step=heard)
        first = call(reward, ["good", "bad"])
        sent = copied(reward)
        assert call(sent, ["good", "bad"]) == first
    assert sent.identity() == reward.identity()
    assert inspect.iscoroutinefunction(sent)


@pytest.mark.parametrize("copied", [lambda one: pickle.loads(pickle.dumps(one)), deepcopy])
def test_a_rule_goes_to_another_process(copied: Callable[[Any], Any]) -> None:
    reward = VerifiableReward(on_step=heard)
    assert copied(reward) == reward


def graded_in_order(order: str, contrast: float) -> list[float | None]:
    """Rewards of responses to tasks a and b in this order: of each every second one is good."""
    tasks = {name: TASK.model_copy(update={"id": name}).model_dump_json() for name in "ab"}
    met = dict.fromkeys("ab", False)
    texts = []
    for name in order:
        met[name] = not met[name]
        texts.append("good" if met[name] else "bad")
    reward = RubricReward(Refusing(Chat("http://127.0.0.1:1/v1", "m")), "explicit")
    reward.contrast = contrast
    return call(reward, texts, task=[tasks[name] for name in order])


@pytest.mark.parametrize("order", ["abab", "aba", "aabb" + "a", "abb" + "a", "aab" + "aab"])
def test_contrast_is_refused_where_responses_to_a_task_lie_apart(order: str) -> None:
    """Each would be a group of its own, and the weights the plain ones without a word."""
    with pytest.raises(DataError, match=r"to task '[ab]' lies apart .*side by side.*contrast=0\.0"):
        graded_in_order(order, 0.5)
    assert None not in graded_in_order(order, 0.0)  # without contrast each has its own reward


@pytest.mark.parametrize("order", ["aabb", "aaaa", "ab", "a", "aabbaa", "aaab", "abb"])
def test_contrast_takes_groups_that_lie_side_by_side(order: str) -> None:
    """One task may be two prompts of a step; a group of one has nothing to be compared with."""
    assert graded_in_order(order, 0.5) == graded_in_order(order, 0.0)


@dataclass(frozen=True)
class Without(Judge):
    """Scores as it likes, without a verdict."""

    async def grade(self, task: Task, response: str, arm: Arm) -> Grade:
        return Grade(arm=arm, score=0.25 if "bad" in response else 0.75)


@pytest.mark.parametrize("arm", ["explicit", "predefined", "implicit"])
def test_a_judge_of_ones_own_may_score_without_verdicts(arm: Arm) -> None:
    steps: list[dict[str, Any]] = []
    reward = RubricReward(Without(Chat("http://127.0.0.1:1/v1", "m")), arm, on_step=steps.append)
    assert call(reward, ["good", "bad"]) == [0.75, 0.25]
    assert steps[0].get("flat_mass") is None
    assert steps[0].get("credit", {}) == {}


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
