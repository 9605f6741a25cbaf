"""What a run will cost: counted from the real prompts, timed from a measured rate."""

from __future__ import annotations

import asyncio

import pytest
from scripted import says, server

from rar_lib.book.profiles import load
from rar_lib.cli.plan import profile_work
from rar_lib.core.types import Price, Usage
from rar_lib.data.tasks import load_mini, load_mini_pairs
from rar_lib.judging.chat import Chat
from rar_lib.judging.cost import Rate, Work, duration, estimate, grading_work, measure_rate

TASK = load_mini("val")[0]


def test_an_estimate_by_hand() -> None:
    work = Work(calls=10, prompt_tokens=1000, fresh_tokens=400, completion_tokens=20)
    found = estimate(work, Rate(200.0, 10.0), Price(prompt=3.0, completion=15.0))
    assert found.seconds == pytest.approx(400 / 200 + 20 / 10)
    assert found.money == pytest.approx((1000 * 3 + 20 * 15) / 1e6)
    assert "10 calls" in str(found)


def test_without_rate_or_price_nothing_is_invented() -> None:
    found = estimate(Work(calls=1))
    assert found.seconds is None
    assert found.money is None


def test_a_price_of_a_grade() -> None:
    usage = Usage(
        calls=2, prompt_tokens=1_000_000, cached_tokens=900_000, completion_tokens=500_000
    )
    assert Price(prompt=2.0, completion=8.0).of(usage) == pytest.approx(2.0 + 4.0)


def test_explicit_asks_once_a_criterion_and_computes_the_shared_prefix_once() -> None:
    assert TASK.rubric
    response = "Call for help and keep calm. " * 20
    work = grading_work([(TASK, response)], "explicit")
    k = len(TASK.rubric.criteria)
    assert work.calls == work.completion_tokens == k
    one = work.prompt_tokens / k
    assert one < work.fresh_tokens < one + (k - 1) * 0.6 * one


def test_the_responses_of_a_group_share_question_and_rubric() -> None:
    group = grading_work([(TASK, f"{n} is the answer.") for n in "abcdefgh"], "implicit")
    alone = grading_work([(TASK, "a is the answer.")], "implicit")
    assert group.calls == 8 * alone.calls
    assert group.fresh_tokens < 4 * alone.fresh_tokens


def test_the_rate_is_measured_on_prompts_that_no_cache_knows() -> None:
    with server(says("x")) as scripted:
        rate = asyncio.run(measure_rate(Chat(scripted.url, "m"), concurrency=4))
    prompts = [r["messages"][0]["content"] for r in scripted.requests]
    assert len(set(prompts)) == len(prompts) == 12
    assert rate.prompt_per_s > 0
    assert rate.completion_per_s > 0


def test_a_profile_has_its_stages() -> None:
    profile = load("laptop")
    tasks = [*load_mini("train")[: profile.train_tasks], *load_mini("test")]
    stages = profile_work(profile, tasks, load_mini_pairs("test")[: profile.pairs])
    rewards = stages["rewards (chapter 6)"][profile.judge]
    training = profile.training
    assert rewards.calls == training.prompts_per_step * training.rollouts * training.steps
    # A group shares its prompt, and every response of it has to be read.
    assert (
        rewards.calls * training.max_completion < rewards.fresh_tokens < rewards.prompt_tokens / 2
    )
    written = stages["rubrics (chapter 2)"][profile.judges[0]]
    assert written.calls == 2 * profile.synthesis_tasks


@pytest.mark.parametrize(
    ("seconds", "words"), [(5, "5 s"), (89, "89 s"), (150, "2 min"), (7200, "2.0 h")]
)
def test_durations_as_a_person_says_them(seconds: float, words: str) -> None:
    assert duration(seconds) == words
