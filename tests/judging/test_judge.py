"""The judge over real HTTP: good replies become grades, bad ones become reasons."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from scripted import Reply, says, server, status

from rar_lib.core.errors import ChatError, DataError
from rar_lib.core.scoring import UNIFORM_WEIGHTS, explicit_score
from rar_lib.core.text import visible
from rar_lib.core.types import ARMS, Arm, Category, Criterion, Grade, Polarity, Rubric, Task
from rar_lib.data.tasks import load_mini
from rar_lib.judging.calibration import fit
from rar_lib.judging.cassette import Cassette
from rar_lib.judging.chat import Chat
from rar_lib.judging.dialect import Dialect
from rar_lib.judging.guard import GuardedJudge
from rar_lib.judging.judge import Judge, grade_many
from rar_lib.judging.messages import Messages, Reading
from rar_lib.judging.wire import Message

pytestmark = pytest.mark.fault

URL = "http://127.0.0.1:1/v1"
TASK = load_mini("train")[0]
assert TASK.rubric is not None
RUBRIC = TASK.rubric


def grade(
    url: str,
    arm: Arm,
    reading: Reading = "probability",
    response: str = "Cool it.",
    task: Task = TASK,
) -> Grade:
    judge = Judge(Chat(url, "scripted"), reading)
    return asyncio.run(judge.grade(task, response, arm))


def says_yes(_: Reply, __: int) -> Reply:
    return says("yes", tokens={"yes": 0.6, " Yes": 0.2, "no": 0.1, "maybe": 0.1})


def test_explicit_asks_once_for_every_criterion_with_the_response_as_shared_prefix() -> None:
    with server(says_yes) as scripted:
        result = grade(scripted.url, "explicit")
    assert len(scripted.requests) == len(RUBRIC.criteria)
    assert {v.criterion_id for v in result.verdicts} == {c.id for c in RUBRIC.criteria}
    assert all(v.probability == pytest.approx(0.8 / 0.9) for v in result.verdicts)
    prompts = [r["messages"][1]["content"] for r in scripted.requests]
    head = {p.split("Criterion:")[0] for p in prompts}
    assert len(head) == 1  # what a prefix cache can share
    assert all(r["max_completion_tokens"] == 2 for r in scripted.requests)
    assert result.usage.calls == len(RUBRIC.criteria)


def test_implicit_puts_the_rubric_before_the_response() -> None:
    with server(says("7", tokens={"7": 1.0})) as scripted:
        result = grade(scripted.url, "implicit")
    text = scripted.requests[0]["messages"][1]["content"]
    assert text.index(RUBRIC.criteria[0].description) < text.index("Cool it.")
    assert result.rating == pytest.approx(7.0)
    assert result.score == pytest.approx(6 / 9)


@pytest.mark.parametrize("arm", [a for a in ARMS if a not in ("explicit", "implicit")])
def test_baselines_never_see_the_rubric(arm: Arm) -> None:
    with server(
        lambda r, n: says_yes(r, n) if arm == "predefined" else says("5", tokens={"5": 1.0})
    ) as scripted:
        result = grade(scripted.url, arm)
    assert result.score is not None
    text = "\n".join(m["content"] for r in scripted.requests for m in r["messages"])
    assert not any(c.description in text for c in RUBRIC.criteria)
    assert (TASK.reference in text) == (arm == "reference_likert")


def test_ten_is_told_from_one_by_the_token_behind_it() -> None:
    places = [{"1": 0.8, "9": 0.2}, {"0": 0.75, "<|im_end|>": 0.25}]
    with server(says("10", "length", places)) as scripted:
        result = grade(scripted.url, "direct_likert")
    # 0.8 splits into 0.6 on ten and 0.2 on one: 10*0.6 + 1*0.2 + 9*0.2
    assert result.rating == pytest.approx(8.0)
    assert len(scripted.requests) == 1


def unsure(request: Reply, _: int) -> Reply:
    """A judge that writes 9 and might have begun with a 1, of which nobody sees what follows."""
    if request["messages"][-1]["role"] == "assistant":  # "1" was put into its mouth
        assert request["continue_final_message"] is True
        return says("0", tokens={"0": 0.75, "<|im_end|>": 0.25})
    return says("9", tokens=[{"9": 0.6, "1": 0.4}, {"<|im_end|>": 1.0}])


def test_where_one_was_not_written_it_is_put_into_the_judges_mouth() -> None:
    with server(unsure) as scripted:
        result = grade(scripted.url, "direct_likert")
    assert result.rating == pytest.approx(9 * 0.6 + 10 * 0.3 + 0.1)
    assert len(scripted.requests) == 2


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2"])
@pytest.mark.parametrize(
    ("after", "why"),
    [
        (says("9", tokens={"9": 0.9, "8": 0.1}), "did not go on"),  # a new turn, a new rating
        (status(400, "unknown field continue_final_message"), "does not go on"),
        (status(400, "the conversation must end with a user message"), "does not go on"),
        (says("0"), "no log-probabilities"),
    ],
)
def test_where_one_and_ten_cannot_be_told_apart_the_grade_is_unscored(
    after: Reply, why: str, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On this machine and on any other: an address says nothing about what a server can do."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-made-up")

    def answer(request: Reply, n: int) -> Reply:
        return after if request["messages"][-1]["role"] == "assistant" else unsure(request, n)

    with server(answer, host) as scripted:
        result = grade(scripted.url, "direct_likert")
    assert result.score is None
    assert "1 and 10 begin with the same token" in (result.reason or "")
    assert why in (result.reason or "")


@pytest.mark.parametrize(
    ("response", "arm", "words"),
    [
        (None, "implicit", "is NoneType, not text"),
        (5, "explicit", "is int, not text"),
        (["Cool it."], "implicit", "is list, not text"),
        (b"Cool it.", "implicit", "is bytes, not text"),
        ("Cool it.", "explicit_", "no arm 'explicit_'; choose from: explicit, implicit"),
    ],
)
def test_what_cannot_be_graded_is_named(response: Any, arm: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        grade(URL, arm, response=response)


def test_a_single_token_ten_needs_no_second_call() -> None:
    with server(says("10", tokens={"10": 0.5, "1": 0.5})) as scripted:
        assert grade(scripted.url, "direct_likert").rating == pytest.approx(5.5)
    assert len(scripted.requests) == 1


BAD_RATINGS = {
    "not JSON": says("I would say seven"),
    "prose before": says('Sure! {"rating": 7}'),
    "two objects": says('{"rating": 7} {"rating": 2}'),
    "think left open": says('<think>{"rating": 7}'),
    "string": says('{"rating": "7/10"}'),
    "boolean": says('{"rating": true}'),
    "float": says('{"rating": 7.5}'),
    "NaN": says('{"rating": NaN}'),
    "null": says('{"rating": null}'),
    "list": says("[7]"),
    "bare number": says("7"),
    "other key": says('{"score": 7}'),
    "extra number": says('{"rating": 7, "of": 100}'),
    "duplicate key": says('{"rating": 2, "rating": 9}'),
    "empty": says(""),
    "white space": says(" " * 100_000),
    "deep nesting": says("[" * 50_000),
    "cut off": says('{"rating": 7}', finish="length"),
    "zero": says('{"rating": 0}'),
    "eleven": says('{"rating": 11}'),
    "huge": says('{"rating": ' + "9" * 400 + "}"),
}


@pytest.mark.parametrize(
    "text", ['{"rating": "7"}', '{"rating": 7.0}', '{"Rating": 7}', '{"rating": 7, "why": "x"}']
)
def test_a_rating_that_can_be_meant_in_one_way_is_read_at_once(text: str) -> None:
    with server(says(text)) as scripted:
        assert grade(scripted.url, "implicit", "sampled").rating == 7.0
    assert len(scripted.requests) == 1


@pytest.mark.parametrize("name", BAD_RATINGS)
def test_an_unreadable_rating_is_unscored_with_a_reason(name: str) -> None:
    with server(BAD_RATINGS[name]) as scripted:
        result = grade(scripted.url, "implicit", "sampled")
    assert result.score is None
    assert result.rating is None
    assert result.reason
    assert 1 <= len(scripted.requests) <= 3  # re-asked, within bounds


@pytest.mark.parametrize("text", ['{"met": "so"}', '{"met": 1}', '{"met": null}', "yes", "{}"])
def test_an_unreadable_verdict_makes_the_explicit_grade_unscored(text: str) -> None:
    with server(says(text)) as scripted:
        result = grade(scripted.url, "explicit", "sampled")
    assert result.score is None
    assert [v.met for v in result.verdicts] == [None] * len(RUBRIC.criteria)
    assert all(f"{text!r}; a larger model" in (v.reason or "") for v in result.verdicts)


def test_one_bad_verdict_among_good_ones_is_enough_and_is_named() -> None:
    target = RUBRIC.criteria[2]

    def answer(request: Reply, _: int) -> Reply:
        asked = target.description in request["messages"][1]["content"]
        return says("?", tokens={"?": 1.0}) if asked else says("yes", tokens={"yes": 1.0})

    with server(answer) as scripted:
        result = grade(scripted.url, "explicit")
    assert result.score is None
    assert result.reason is not None
    assert result.reason.startswith(f"{target.id}: ")
    assert sum(v.met is None for v in result.verdicts) == 1


def test_a_readable_second_reply_counts() -> None:
    with server([says("nonsense"), says('{"rating": 9}')]) as scripted:
        result = grade(scripted.url, "implicit", "sampled")
    assert result.rating == 9
    assert len({r["seed"] for r in scripted.requests}) == 2
    # Asked anew, not the same draw again: at 0 another seed is the same draw.
    assert [r["temperature"] for r in scripted.requests] == [0.0, 0.7]


def test_every_prompt_has_a_seed_of_its_own_and_the_same_one_next_time() -> None:
    """One seed for all prompts would give every criterion the same luck."""
    with server(says('{"met": true}')) as scripted:
        for _ in range(2):
            grade(scripted.url, "explicit", "sampled")
    seeds = [r["seed"] for r in scripted.requests]
    assert len(seeds) == 2 * len(set(seeds))


@pytest.mark.parametrize("codes", [[429], [503, 429], [500, 502, 503]])
def test_a_busy_endpoint_is_asked_again(codes: list[int]) -> None:
    with server([*(status(c) for c in codes), says("5", tokens={"5": 1.0})]) as scripted:
        assert grade(scripted.url, "direct_likert").rating == pytest.approx(5.0)
    assert len(scripted.requests) == len(codes) + 1


def test_an_endpoint_that_stays_busy_leaves_the_grade_unscored() -> None:
    with server(status(500)) as scripted:
        result = grade(scripted.url, "direct_likert")
    assert result.score is None
    assert "InternalServerError" in (result.reason or "")
    assert len(scripted.requests) == 5


@pytest.mark.usefixtures("at_once")
def test_a_dead_endpoint_leaves_the_grade_unscored() -> None:
    with server(says("x")) as scripted:
        url = scripted.url
    result = grade(url, "direct_likert")
    assert result.score is None
    assert "APIConnectionError" in (result.reason or "")


@pytest.mark.parametrize(
    ("code", "fix"),
    [(401, "no key was sent"), (403, "no key was sent"), (404, "/v1/models")],
)
def test_a_wrong_key_or_model_stops_at_once_and_says_the_fix(code: int, fix: str) -> None:
    with server(status(code)) as scripted, pytest.raises(ChatError, match=fix):
        grade(scripted.url, "direct_likert")
    assert len(scripted.requests) == 1


def test_a_request_refused_for_its_content_is_unscored() -> None:
    with server(status(400, "too long")) as scripted:
        result = grade(scripted.url, "direct_likert", response="x " * 10_000)
    assert result.score is None
    assert "too long" in (result.reason or "")


@pytest.mark.parametrize(
    "response",
    {
        "nothing": "",
        "white space": " \n\t",
        "no width": "\u200b\u200b",
        "a control character": "\x00",
        "a wide space": "\u3000\u00a0\u2003",
        "a byte order mark": "\ufeff",
        "Hangul's filler": "\u3164",
        "two halves of a filler": "\u115f\u1160",
        "empty Braille": "\u2800\u2800",
        "a joiner of graphemes": "\u034f",
        "a variation selector": "\ufe0f",
        "an accent without a letter": " \u0301",
        "marks of direction": "\u202e\u2066\u200f",
        "tags": "\U000e0041\U000e007f",
    }.values(),
    ids=repr,
)
def test_an_empty_response_is_a_response_that_meets_nothing_good(response: str) -> None:
    """A policy that stays silent where it was wrong must not gain by it."""
    with server(says_yes) as scripted:
        by_criteria = grade(scripted.url, "explicit", response=response)
        by_rating = grade(scripted.url, "implicit", response=response)
    assert [v.met for v in by_criteria.verdicts] == [False] * len(RUBRIC.criteria)
    assert by_criteria.score == explicit_score(RUBRIC, {c.id: False for c in RUBRIC.criteria})
    assert (by_rating.rating, by_rating.score) == (1.0, 0.0)
    assert by_criteria.reason is by_rating.reason is None
    assert scripted.requests == []


def criterion(
    description: str,
    polarity: Polarity = Polarity.BAD,
    category: Category = Category.PITFALL,
    name: str = "c",
) -> Criterion:
    return Criterion(
        id=name, title="t", description=description, category=category, polarity=polarity
    )


def task_of(*criteria: Criterion) -> Task:
    return Task(id="t", question="Chest pain?", rubric=Rubric(criteria=criteria))


@pytest.mark.parametrize(
    ("one", "met", "score"),
    [
        (criterion("Does not mention calling an ambulance."), True, 0.0),
        (criterion("Fails to warn that driving oneself is unsafe."), True, 0.0),
        (criterion("Does not recommend urgent care."), True, 0.0),
        (criterion("Recommends waiting until morning."), False, 1.0),
        (criterion("Confuses angina with heartburn."), False, 1.0),
        (criterion("Fails to avoid naming a dose."), False, 1.0),
        (criterion("Advises calling an ambulance.", Polarity.GOOD), False, 0.0),
        # Silence avoids everything, which must not pay.
        (criterion("Avoids naming a dose.", Polarity.GOOD), False, 0.0),
        (criterion("Does not recommend waiting.", Polarity.GOOD), False, 0.0),
    ],
)
def test_silence_meets_a_criterion_only_if_that_is_a_failure_to_say_something(
    one: Criterion, met: bool, score: float
) -> None:
    found = grade(URL, "explicit", response="", task=task_of(one))
    assert [(v.met, v.probability, v.reason) for v in found.verdicts] == [(met, float(met), None)]
    assert (found.score, found.usage.calls) == (score, 0)


def test_silence_is_not_paid_for_what_it_leaves_out() -> None:
    """Essential 1, two pitfalls of 0.9 each: it earned 1.8 / 2.8 for what it did not say."""
    task = task_of(
        criterion("Advises calling an ambulance.", Polarity.GOOD, Category.ESSENTIAL, "a"),
        criterion("Does not mention calling an ambulance.", name="b"),
        criterion("Recommends waiting until morning.", name="c"),
    )
    found = grade(URL, "explicit", response="\u200b", task=task)
    assert found.score == pytest.approx(0.9 / 2.8)
    assert [v.met for v in found.verdicts] == [False, True, False]


ONLY_ESSENTIAL = dict.fromkeys(Category, 0.0) | {Category.ESSENTIAL: 1.0}


@pytest.mark.parametrize("response", ["Cool it.", ""])
@pytest.mark.parametrize("kind", [Judge, GuardedJudge])
def test_a_rubric_that_weighs_nothing_is_refused_before_anybody_is_asked(
    kind: type[Judge], response: str
) -> None:
    optional = criterion("Names ice.", Polarity.GOOD, Category.OPTIONAL)
    with server(says_yes) as scripted:
        judge = kind(Chat(scripted.url, "m"), weights=ONLY_ESSENTIAL)
        task = task_of(optional, criterion("Names salt.", name="d"))
        with pytest.raises(DataError, match=r"task 't' weighs 0 \(Optional, Pitfall\): give"):
            asyncio.run(judge.grade(task, response, "explicit"))
        assert scripted.requests == []
        # Other weights are not those of the four criteria that all tasks share.
        assert asyncio.run(judge.grade(task_of(optional), "Cool it.", "predefined")).score
        essential = criterion("Names ice.", Polarity.GOOD, Category.ESSENTIAL, "e")
        assert asyncio.run(judge.grade(task_of(optional, essential), "Cool it.", "explicit")).score


def pointed(name: str, points: float | None, polarity: Polarity = Polarity.GOOD) -> Criterion:
    """Good and negative is a pitfall as its publisher weighs it: "Avoids ..."."""
    avoided = polarity is Polarity.GOOD and (points or 0) < 0
    category = Category.PITFALL if avoided else Category.OPTIONAL
    made = criterion(f"Names {name}.", polarity, category, name)
    return made.model_copy(update={"points": points})


def names_ice(request: Reply, _: int) -> Reply:
    met = "Names ice" in request["messages"][1]["content"]
    return says("yes" if met else "no", tokens={"yes" if met else "no": 1.0})


@pytest.mark.parametrize(
    ("ice", "salt", "polarity", "score"),
    [
        (5.0, 5.0, Polarity.GOOD, 0.5),
        (10.0, 1.0, Polarity.GOOD, 10 / 11),
        (1.0, 10.0, Polarity.GOOD, 1 / 11),
        (-6.0, 2.0, Polarity.BAD, 0.0),  # the failure is met, what earns points is not
        (6.0, -2.0, Polarity.GOOD, 6 / 8),  # "Avoids ..." with the sign of its kind
    ],
)
@pytest.mark.parametrize("kind", [Judge, GuardedJudge])
def test_a_judge_weighs_by_points_where_it_is_told_to(
    kind: type[Judge], ice: float, salt: float, polarity: Polarity, score: float
) -> None:
    task = task_of(pointed("ice", ice, polarity), pointed("salt", salt))
    with server(names_ice) as scripted:
        judge = kind(Chat(scripted.url, "m"), weights="points")
        found = asyncio.run(judge.grade(task, "Cool it.", "explicit"))
        assert found.score == pytest.approx(score)
        by_category = asyncio.run(
            replace(judge, weights=UNIFORM_WEIGHTS).grade(task, "x", "explicit")
        )
        assert by_category.score == pytest.approx(0.5 if polarity is Polarity.GOOD else 0.0)
        # The four criteria that all tasks share have no points and need none.
        assert asyncio.run(judge.grade(task, "Cool it.", "predefined")).score == 0.0


@pytest.mark.parametrize(
    ("points", "words"),
    [
        ((1.0, None), "task 't': criteria salt have no points.*without weights='points'"),
        ((None, None), "task 't': criteria ice, salt have no points"),
        ((0.0, 0.0), r"every criterion of task 't' weighs 0 .*give a criterion points"),
        ((1.0, math.inf), "task 't': the points of criterion salt are inf"),
        ((-1e300, 1.0), r"task 't': the points of criterion ice are -1e\+300"),
        ((1.0, math.nan), "task 't': the points of criterion salt are nan"),
    ],
)
@pytest.mark.parametrize("response", ["Cool it.", ""])
def test_a_rubric_without_points_is_refused_before_anybody_is_asked(
    points: tuple[float | None, float | None], words: str, response: str
) -> None:
    task = task_of(pointed("ice", points[0]), pointed("salt", points[1]))
    with server(names_ice) as scripted:
        judge = Judge(Chat(scripted.url, "m"), weights="points")
        with pytest.raises(DataError, match=words):
            asyncio.run(judge.grade(task, response, "explicit"))
    assert scripted.requests == []


def test_points_are_part_of_what_a_judge_is_made_of_and_a_slip_is_refused() -> None:
    chat = Chat(URL, "m")
    assert Judge(chat, weights="points").made_of != Judge(chat).made_of
    assert Judge(chat, weights="points").identity == Judge(chat).identity  # the same verdicts
    with pytest.raises(DataError, match=r"weights is 'pionts'.*or 'points'"):
        Judge(chat, weights="pionts")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("structure", "words"),
    [("schema", "a larger model"), ("json", r"Dialect\(structure='schema'\)")],
)
def test_replies_that_stay_unreadable_say_what_helps(structure: Any, words: str) -> None:
    with server(says('{"met": 1}')) as scripted:
        chat = Chat(scripted.url, "m", dialect=Dialect(structure=structure))
        found = asyncio.run(Judge(chat, "sampled").grade(TASK, "Cool it.", "explicit"))
    assert re.search(words, found.reason or "")
    assert found.score is None


def test_a_task_without_rubric_or_reference_says_what_to_do() -> None:
    bare = Task(id="bare", question="Why?")
    with server(says_yes) as scripted:
        with pytest.raises(DataError, match="'bare' has no rubric"):
            grade(scripted.url, "implicit", task=bare)
        with pytest.raises(DataError, match="'bare' has no reference"):
            grade(scripted.url, "reference_likert", task=bare)


def test_a_remote_endpoint_without_a_key_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ChatError, match="OPENAI_API_KEY"):
        grade("https://judge.invalid/v1", "direct_likert")


def test_a_proxy_in_the_environment_is_not_used_for_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.setenv(name.upper(), "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with server(says("5", tokens={"5": 1.0})) as scripted:
        assert grade(scripted.url, "direct_likert").rating == pytest.approx(5.0)


def test_no_more_requests_in_flight_than_allowed() -> None:
    import threading
    import time

    now = 0
    most = 0
    lock = threading.Lock()

    def answer(_: Reply, __: int) -> Reply:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.02)
        with lock:
            now -= 1
        return says("5", tokens={"5": 1.0})

    with server(answer) as scripted:
        scripted._lock = threading.RLock()  # answers may overlap here
        scripted.reply = lambda r, *_: answer(r, 0)  # type: ignore[method-assign]
        judge = Judge(Chat(scripted.url, "scripted", concurrency=3))
        asyncio.run(grade_many(judge, [(TASK, f"answer {i}") for i in range(12)], "direct_likert"))
    assert most == 3


def test_grades_come_back_in_order() -> None:
    def answer(request: Reply, _: int) -> Reply:
        text = request["messages"][1]["content"]
        n = next(i for i in range(9, 0, -1) if f"answer {i}" in text)
        return says(str(n), tokens={str(n): 1.0})

    with server(answer) as scripted:
        judge = Judge(Chat(scripted.url, "scripted"))
        items = [(TASK, f"answer {i}") for i in (3, 9, 5)]
        grades = asyncio.run(grade_many(judge, items, "direct_likert"))
    assert [round(g.rating or math.nan) for g in grades] == [3, 9, 5]


class InOneSentence:
    """What a researcher may write: other words, and the response without its fence."""

    name = "one sentence"
    fingerprint = "1"

    def criterion(
        self, task: Task, response: str, criterion: Criterion, reading: Reading
    ) -> list[Message]:
        text = f"Yes or no: {criterion.description} Answer: {visible(response)}"
        return [{"role": "user", "content": text}]

    def rating(self, task: Task, response: str, arm: Arm, reading: Reading) -> list[Message]:
        return [{"role": "user", "content": f"From 1 to 10: {visible(response)}"}]


def test_a_judge_asks_what_it_is_given_without_a_patch() -> None:
    with server(says("yes", tokens={"yes": 0.9, "no": 0.1})) as scripted:
        chat = Chat(scripted.url, "m")
        judge = Judge(chat, messages=InOneSentence())
        grade = asyncio.run(judge.grade(TASK, "Cool it.", "explicit"))
    assert TASK.rubric is not None
    asked = [request["messages"] for request in scripted.requests]
    assert {len(messages) for messages in asked} == {1}
    wanted = {f"Yes or no: {c.description} Answer: Cool it." for c in TASK.rubric.criteria}
    assert {messages[0]["content"] for messages in asked} == wanted
    assert grade.score is not None
    assert judge.identity != Judge(chat).identity


def test_when_the_endpoint_is_wrong_the_other_requests_are_not_sent() -> None:
    """One request at a time; the next may have left when the first refusal arrives."""
    with server(status(401)) as scripted:
        judge = Judge(Chat(scripted.url, "m", concurrency=1))
        with pytest.raises(ChatError, match="no key was sent"):
            asyncio.run(grade_many(judge, [(TASK, f"Cool it {n}.") for n in range(8)], "explicit"))
    assert len(scripted.requests) <= 2


@pytest.mark.parametrize(("arm", "answer"), [("explicit", "yes"), ("implicit", "7")])
def test_an_answer_counts_from_the_share_of_probability_that_a_judge_is_set_to(
    arm: Arm, answer: str
) -> None:
    with server(says(answer, tokens={answer: 0.4, "maybe": 0.6})) as scripted:
        judge = Judge(Chat(scripted.url, "m"), least_share=0.3)
        enough = asyncio.run(judge.grade(TASK, "Cool it.", arm))
        strict = replace(judge, least_share=0.45)
        too_little = asyncio.run(strict.grade(TASK, "Cool it.", arm))
    all_met = explicit_score(RUBRIC, {c.id: True for c in RUBRIC.criteria})
    assert enough.score == pytest.approx(all_met if arm == "explicit" else 6 / 9)
    assert too_little.score is None
    assert "only 0.4000 of the probability" in (too_little.reason or "")
    assert "at least 0.45 is needed" in (too_little.reason or "")
    assert enough.share == too_little.share == pytest.approx(0.4)


@pytest.mark.parametrize("share", [1.5, -0.1, math.nan])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(DataError, match=rf"least_share is {share}; it must be in \[0, 1\]"):
        Judge(Chat(URL, "m"), least_share=share)


FITTED = fit([0.1, 0.9, 0.4, 0.6], [False, True, True, False], judge=Judge(Chat(URL, "m")).identity)
#: Field -> another value; ``kind`` is the class.
OTHER: dict[str, Any] = {
    "reading": "sampled",
    "weights": UNIFORM_WEIGHTS,
    "calibration": FITTED,
    "temperature": 0.5,
    "seed": 1,
    "least_share": 0.1,
    "mode": "unscored",
}


@pytest.mark.parametrize("name", [f.name for f in fields(GuardedJudge)])
def test_whatever_a_judge_is_set_to_is_in_what_it_is_made_of(name: str) -> None:
    first = GuardedJudge(Chat(URL, "m"))
    change = {"chat": Chat(URL, "n"), "messages": Messages("b")} | OTHER
    other = replace(first, **{name: change[name]})
    assert other.made_of != first.made_of
    assert json.loads(json.dumps(other.made_of)) == other.made_of


def test_a_guarded_judge_is_another_one_than_a_judge_of_the_same_settings() -> None:
    plain, guarded = (kind(Chat(URL, "m")).made_of for kind in (Judge, GuardedJudge))
    assert plain["identity"] == guarded["identity"]  # a calibration serves both
    assert plain["kind"] != guarded["kind"]


@pytest.mark.parametrize(
    ("places", "rating"),
    [
        ([{" ": 0.995, "8": 0.005}, {"8": 0.9, "7": 0.1}], 7.9),
        ([{"\u2581": 1.0}, {"1": 1.0}, {"0": 1.0}], 10.0),
        ([{"\n": 0.9, " ": 0.1}, {"6": 1.0}], 6.0),
    ],
)
def test_a_rating_behind_white_space_is_read_from_any_endpoint(
    places: list[dict[str, float]], rating: float
) -> None:
    """Llama-2 and Mistral judges, Prometheus among them, write a space of its own first."""
    with server(says(" 8", tokens=[*places, {"</s>": 1.0}])) as scripted:
        found = grade(scripted.url, "implicit")
    assert found.rating == pytest.approx(rating, abs=0.1)
    assert scripted.requests[0]["max_completion_tokens"] > 1


def _contents(messages: Sequence[Mapping[str, Any]]) -> list[str]:
    return [str(turn["content"]) for turn in messages]


def test_the_questions_behind_a_grade_are_shown_with_the_place_that_is_read() -> None:
    def answer(_: Reply, __: int) -> Reply:
        likely = {" yes": 0.6, "no": 0.3, "maybe": 0.1}
        return says("\nyes", tokens=[{"\n": 1.0}, likely])

    with server(answer) as scripted:
        judge = Judge(Chat(scripted.url, "scripted"))
        asked = asyncio.run(judge.asked(TASK, "Cool it.", "explicit"))
        graded = asyncio.run(judge.grade(TASK, "Cool it.", "explicit"))
    assert [one.criterion for one in asked] == list(RUBRIC.criteria)
    # the criteria are asked at once, so they arrive in any order, here and in the grade
    sent = [_contents(request["messages"]) for request in scripted.requests]
    shown = [_contents(one.messages) for one in asked]
    assert sorted(2 * shown) == sorted(sent)
    first = asked[0]
    assert first.place.text == " yes"  # behind the line end
    assert first.answers == {" yes": 0.6, "no": 0.3}
    p = first.answers[" yes"] / sum(first.answers.values())
    assert graded.verdicts[0].probability == pytest.approx(p)


def test_the_question_of_a_rating_is_shown_and_a_recorded_one_costs_nothing(
    tmp_path: Path,
) -> None:
    with server(lambda *_: says("7", tokens={"7": 0.5, "8": 0.4, "yes": 0.1})) as scripted:
        judge = Judge(Chat(scripted.url, "scripted", cassette=Cassette(tmp_path / "c.sqlite")))
        graded = asyncio.run(judge.grade(TASK, "Cool it.", "implicit"))
        (asked,) = asyncio.run(judge.asked(TASK, "Cool it.", "implicit"))
    assert len(scripted.requests) == 1
    assert asked.criterion is None
    assert asked.answers == {"7": 0.5, "8": 0.4}
    assert graded.rating == pytest.approx((7 * 0.5 + 8 * 0.4) / 0.9)


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("response", ["", " \u200b"])
def test_of_an_empty_response_nothing_was_asked(arm: Arm, response: str) -> None:
    with server(says_yes) as scripted:
        judge = Judge(Chat(scripted.url, "scripted"))
        assert asyncio.run(judge.asked(TASK, response, arm)) == []
        assert asyncio.run(judge.grade(TASK, response, arm)).usage.calls == 0
    assert scripted.requests == []


@pytest.mark.parametrize(
    ("task", "response", "arm", "words"),
    [
        (Task(id="bare", question="Why?"), "", "explicit", "'bare' has no rubric"),
        (Task(id="bare", question="Why?"), "", "implicit", "'bare' has no rubric"),
        (Task(id="bare", question="Why?"), "So.", "reference_likert", "'bare' has no reference"),
        (TASK, None, "explicit", "is NoneType, not text"),
        (TASK, "Cool it.", "explicit_", "no arm 'explicit_'"),
    ],
)
def test_what_cannot_be_graded_is_not_asked_either(
    task: Task, response: Any, arm: Any, words: str
) -> None:
    for judge in (Judge(Chat(URL, "m")), GuardedJudge(Chat(URL, "m"))):
        for call in (judge.asked, judge.grade):
            with pytest.raises(DataError, match=words):
                asyncio.run(call(task, response, arm))


@pytest.mark.parametrize("reading", ["auto", "probability"])
def test_where_there_are_no_probabilities_there_is_no_place_to_show(reading: Any) -> None:
    with server(lambda *_: says("yes")) as scripted:
        judge = Judge(Chat(scripted.url, "scripted"), reading)
        with pytest.raises(DataError, match="gives no probabilities for 'scripted'"):
            asyncio.run(judge.asked(TASK, "Cool it.", "explicit"))
