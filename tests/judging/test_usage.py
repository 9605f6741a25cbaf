"""What a grade cost: every call that was answered counts, and money exists with a price only.

The scripted server reports 10 prompt tokens and 1 written one for each call.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from pathlib import Path

import pytest
from scripted import Reply, says, server, status

from rar_lib.core.types import Arm, Grade, Price, Usage
from rar_lib.data.tasks import load_mini
from rar_lib.judging.cassette import Cassette, stats
from rar_lib.judging.chat import Chat
from rar_lib.judging.judge import Judge
from rar_lib.judging.messages import Reading

pytestmark = pytest.mark.fault

TASK = load_mini("train")[0]
assert TASK.rubric is not None
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
    usage = grade(says("1", tokens={"1": 0.9, "2": 0.1})).usage
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
    assert (usage.calls, usage.prompt_tokens, usage.completion_tokens) == (
        calls, 10 * calls, calls,
    )  # fmt: skip
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


@pytest.mark.parametrize(
    ("parts", "money"),
    [
        ([], None),
        ([Usage(calls=1, money=0.5), Usage(calls=2, money=0.25)], 0.75),
        ([Usage(calls=1, money=0.5), Usage()], 0.5),  # an empty response costs nothing
        ([Usage(calls=1, money=0.5), Usage(calls=1)], None),  # half of it is not the sum
        ([Usage(calls=1), Usage(calls=1)], None),
        ([Usage(calls=1, money=0.0)], 0.0),
    ],
)
def test_a_sum_is_known_if_all_of_its_parts_are(parts: list[Usage], money: float | None) -> None:
    total = sum(parts, Usage())
    assert total.money == money
    assert total.calls == sum(part.calls for part in parts)


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
