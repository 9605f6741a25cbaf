"""What a run will cost: counted from the real prompts, timed from a measured rate."""

from __future__ import annotations

import asyncio
import json
import math
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import Reply, says, server, status

from rar_lib.core.errors import DataError
from rar_lib.core.types import Arm, Grade, Price, Usage
from rar_lib.data.tasks import load_mini
from rar_lib.judging.cassette import Cassette, stats
from rar_lib.judging.chat import Chat
from rar_lib.judging.cost import (
    Rate,
    Work,
    amount,
    common_length,
    counted,
    duration,
    estimate,
    grading_work,
    measure_rate,
)
from rar_lib.judging.judge import Judge
from rar_lib.judging.messages import Reading

TASK = load_mini("train")[0]
assert TASK.rubric is not None


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


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (counted(1, "call"), "1 call"),
        (counted(2_000, "call"), "2,000 calls"),
        (counted(2, "criterion", "criteria"), "2 criteria"),
        (amount(1234.5), "1,234.50"),
        (amount(0.01234), "0.012"),
        (amount(0.0), "0"),
    ],
)
def test_counts_and_money_are_said_as_a_person_says_them(said: str, text: str) -> None:
    assert said == text


def test_explicit_asks_once_a_criterion_and_computes_the_shared_prefix_once() -> None:
    assert TASK.rubric
    response = "Call for help and keep calm. " * 20
    work = grading_work([(TASK, response)], "explicit")
    k = len(TASK.rubric.criteria)
    assert work.calls == work.completion_tokens == k
    one = work.prompt_tokens / k
    assert one < work.fresh_tokens < one + (k - 1) * 0.6 * one


@given(st.text("ab", max_size=40), st.text("ab", max_size=40))
def test_the_common_beginning_of_two_texts(one: str, other: str) -> None:
    shared = [n for n in range(len(one) + 1) if other.startswith(one[:n])]
    assert common_length(one, other) == max(shared)


def test_the_responses_of_a_group_share_question_and_rubric() -> None:
    group = grading_work([(TASK, f"{n} is the answer.") for n in "abcdefgh"], "implicit")
    alone = grading_work([(TASK, "a is the answer.")], "implicit")
    assert group.calls == 8 * alone.calls
    assert group.fresh_tokens < 4 * alone.fresh_tokens


def test_the_rate_is_measured_on_prompts_that_no_cache_knows() -> None:
    with server(says("x")) as scripted:
        rate = asyncio.run(measure_rate(Chat(scripted.url, "m")))
    prompts = [r["messages"][0]["content"] for r in scripted.requests]
    assert len(set(prompts)) == len(prompts) == 48
    assert rate is not None
    assert rate.prompt_per_s > 0
    assert rate.completion_per_s > 0


COUNTS = {"prompt_tokens": 10, "completion_tokens": 1}


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        COUNTS | {"completion_tokens": None},
        COUNTS | {"prompt_tokens": 0},
        COUNTS | {"completion_tokens": 0},
    ],
    ids=str,
)
@pytest.mark.parametrize("silent", ["all", "the last"])
def test_where_tokens_are_not_counted_no_rate_is_known(usage: Any, silent: str) -> None:
    def answer(_: Reply, n: int) -> Reply:
        whole = says("x")
        return whole if silent == "the last" and n < 47 else whole | {"usage": usage}

    with server(answer) as scripted:
        rate = asyncio.run(measure_rate(Chat(scripted.url, "m", concurrency=1)))
    # That one of sixteen ended before it wrote anything is known, and so is the rate.
    ended = usage == COUNTS | {"completion_tokens": 0} and silent == "the last"
    assert (rate is not None) == ended
    assert estimate(Work(1, 1, 1, 1), None).seconds is None


@pytest.mark.parametrize(
    ("read", "written", "words"),
    [
        (0.0, 0.0, "0 tokens read a second"),
        (5.0, 0.0, "0 tokens written a second"),
        (-1.0, 5.0, "-1 tokens read"),
        (math.nan, 5.0, "nan tokens read"),
        (5.0, math.inf, "inf tokens written"),
    ],
)
def test_what_is_no_rate_is_refused(read: float, written: float, words: str) -> None:
    with pytest.raises(DataError, match=f"{words}.*above 0"):
        Rate(read, written)


@pytest.mark.parametrize(
    ("seconds", "words"), [(5, "5 s"), (89, "89 s"), (150, "2 min"), (7200, "2.0 h")]
)
def test_durations_as_a_person_says_them(seconds: float, words: str) -> None:
    assert duration(seconds) == words


CRITERIA = len(TASK.rubric.criteria)
PRICE = Price(prompt=3.0, completion=15.0)
#: One call: 10 tokens at 3 and one at 15 for a million.
ONE = (10 * 3 + 1 * 15) / 1e6
SEVEN = says("7", tokens={"7": 1.0})
YES = says("yes", tokens={"yes": 0.9, "no": 0.1})


def grade(
    answer: Reply | list[Reply],
    arm: Arm = "implicit",
    reading: Reading = "probability",
    price: Price | None = PRICE,
) -> Grade:
    with server(answer) as scripted:
        judge = Judge(Chat(scripted.url, "m", price=price), reading)
        return asyncio.run(judge.grade(TASK, "Cool it.", arm))


def test_one_rating_costs_one_call() -> None:
    usage = grade(SEVEN).usage
    assert (usage.calls, usage.prompt_tokens, usage.completion_tokens) == (1, 10, 1)
    assert usage.money == pytest.approx(ONE)
    assert usage.seconds > 0


def test_a_grade_by_criteria_costs_a_call_each() -> None:
    usage = grade(YES, "explicit").usage
    assert usage.calls == CRITERIA
    assert usage.money == pytest.approx(CRITERIA * ONE)


def test_a_second_look_at_ten_is_paid_for() -> None:
    usage = grade(says("1", "length", {"1": 0.9, "2": 0.1})).usage
    assert (usage.calls, usage.prompt_tokens) == (2, 20)
    assert usage.money == pytest.approx(2 * ONE)


@pytest.mark.parametrize("arm", ["implicit", "explicit"])
def test_without_a_price_money_is_unknown_and_never_zero(arm: Arm) -> None:
    usage = grade([YES, SEVEN][arm == "implicit"], arm, price=None).usage
    assert usage.calls > 0
    assert usage.money is None


@pytest.mark.parametrize(
    ("arm", "reading", "calls"),
    [
        ("implicit", "probability", 1),
        ("implicit", "sampled", 3),
        ("explicit", "probability", CRITERIA),
        ("explicit", "sampled", 3 * CRITERIA),
    ],
)
def test_unreadable_replies_were_paid_for_all_the_same(
    arm: Arm, reading: Reading, calls: int
) -> None:
    found = grade(says("?", tokens={"?": 1.0}), arm, reading)
    assert found.score is None
    usage = found.usage
    assert (usage.calls, usage.completion_tokens) == (calls, calls)
    assert usage.prompt_tokens == 10 * calls
    assert usage.money == pytest.approx(calls * ONE)


@pytest.mark.parametrize(("price", "money"), [(PRICE, 0.0), (None, None)])
def test_a_request_without_a_reply_has_no_tokens(price: Price | None, money: float | None) -> None:
    usage = grade(status(400), price=price).usage
    assert usage == Usage(calls=1, money=money)


def test_a_reply_that_reports_no_tokens_is_of_unknown_cost() -> None:
    silent = {k: v for k, v in SEVEN.items() if k != "usage"}
    found = grade(silent)
    assert found.score is not None
    assert found.usage.calls == 1
    assert found.usage.money is None


def test_recorded_calls_take_the_price_of_the_chat_and_keep_their_keys(tmp_path: Path) -> None:
    file = tmp_path / "c.sqlite"

    def ask(url: str, price: Price | None) -> Usage:
        cassette = Cassette(file)
        chat = Chat(url, "m", weights="w", price=price, cassette=cassette)
        found = asyncio.run(Judge(chat).grade(TASK, "Cool it.", "implicit")).usage
        cassette.close()
        return found

    with server(SEVEN) as scripted:
        recorded = ask(scripted.url, PRICE)
    nowhere = "http://127.0.0.1:1/v1"
    assert ask(nowhere, PRICE) == recorded
    assert ask(nowhere, None) == recorded.model_copy(update={"money": None})
    dearer = ask(nowhere, Price(prompt=6.0, completion=30.0)).money
    assert dearer == pytest.approx(2 * ONE)
    [(reply,)] = sqlite3.connect(file).execute("SELECT reply FROM calls").fetchall()
    assert "money" not in json.loads(reply)["usage"]
    assert stats(file)["m"]["prompt_tokens"] == 10
