"""One model at several addresses: who is asked, who is left out, and that no grade is lost."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from collections import Counter
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from scripted import Reply, Scripted, says, server, status

from rar_lib import Chat, Judge, load_mini
from rar_lib.core.errors import ChatError, DataError, JudgeFault, ServerError
from rar_lib.judging.addresses import (
    LONGEST_PAUSE_S,
    TRIES,
    Garbled,
    Outage,
    Refused,
    Turns,
    Unreached,
    pause_s,
)
from rar_lib.judging.cassette import Cassette
from rar_lib.judging.chat import Lasting, run_sync
from rar_lib.judging.cost import measure_rate
from rar_lib.judging.dialect import Dialect
from rar_lib.judging.failures import Refusal
from rar_lib.judging.judge import grade_many

TASK = load_mini("train")[0]
ELSEWHERE = "127.0.0.2"  # a loopback address that does not count as this machine
GOOD = says("8", tokens={"8": 0.9, "7": 0.1})


def slowly(_: Reply, __: int) -> Reply:
    """Held under the server's lock: one at a time, as a busy machine."""
    time.sleep(0.01)
    return GOOD


def ask_all(chat: Chat, count: int) -> list[str]:
    """What each of many questions got: the reply, or the fault."""

    async def ask(n: int) -> str:
        try:
            return (await chat.complete([{"role": "user", "content": f"q{n}"}], max_tokens=1)).text
        except JudgeFault as fault:
            return f"fault: {fault}"

    async def all_() -> list[str]:
        return list(await asyncio.gather(*(ask(n) for n in range(count))))

    return run_sync(all_())


def asked(scripted: Scripted) -> Counter[str]:
    return Counter(request["messages"][0]["content"] for request in scripted.requests)


# --- Whose turn it is ------------------------------------------------------------------


def test_the_least_busy_is_asked_then_the_least_asked() -> None:
    turns = Turns(3)
    with turns.taken(0), turns.taken(2):
        assert turns.choose() == 1
        with turns.taken(1), turns.taken(1):
            assert turns.choose() in (0, 2)
    assert turns.choose() == 0, "all idle: 0 and 2 were asked once, 1 twice"
    assert turns.choose(tried=[0]) == 2
    assert turns.choose(tried=[0, 1, 2]) is None


def test_a_dead_one_is_left_out_then_tried_by_one_request_and_is_back_when_it_answers() -> None:
    now = [0.0]
    turns = Turns(2, pause_s=30.0, clock=lambda: now[0])
    assert turns.failed(1), "that is news"
    assert not turns.failed(1), "that is not"
    with turns.taken(0), turns.taken(0):
        assert turns.choose() == 0, "however busy the other is"
        now[0] = 30.0
        assert turns.choose() == 1, "the pause is over"
        with turns.taken(1):
            assert turns.choose() == 0, "nobody else waits for what may be dead"
            assert turns.answered(1)
            assert turns.choose() == 1


def test_where_all_are_out_the_one_that_failed_first_is_asked_all_the_same() -> None:
    now = [0.0]
    turns = Turns(2, clock=lambda: now[0])
    turns.failed(1)
    now[0] = 1.0
    turns.failed(0)
    assert turns.choose() == 1
    assert turns.choose(tried=[1]) == 0


def later(seconds: float | None, status_: int = 429) -> Refused:
    return Refused("http://a/v1", Refusal(status_, message="full", after_s=seconds), "wait")


def test_one_that_says_when_to_come_back_is_not_asked_before() -> None:
    now = [0.0]
    turns = Turns(2, pause_s=30.0, clock=lambda: now[0])
    assert turns.refused(0, later(600.0)), "that is news"
    assert not turns.refused(0, later(300.0)), "that is not, and the longer time counts"
    assert not turns.answered(0), "asked before it refused"
    assert not turns.failed(0), "asked before it refused: the time stays"
    turns.failed(1)
    now[0] = 599.0
    assert turns.choose() == 1, "though it failed"
    assert turns.choose(tried=[1]) is None
    now[0] = 600.0
    with turns.taken(1):
        assert turns.choose(tried=[1]) == 0
    with turns.taken(0):
        assert turns.choose() == 1, "one request tries it"
    assert not turns.refused(0, later(600.0)), "said already"
    now[0] = 1200.0
    assert turns.answered(0)
    assert turns.refusals() == {}
    assert turns.refused(0, later(600.0)), "news again"


@pytest.mark.parametrize(
    ("status_", "seconds", "left_out"),
    [
        (429, 3600.0, 3600.0),
        (503, 121.0, 121.0),
        (429, None, None),  # a limit of the day that names no time
        (429, 2.0, None),  # an account without credit that speaks of seconds
        (401, 3600.0, None),  # a key does not get better by waiting
    ],
)
def test_for_how_long_one_is_left_out(
    status_: int, seconds: float | None, left_out: float | None
) -> None:
    error = later(seconds, status_)
    assert error.after_s == left_out
    assert error.words == (f"{status_}: full" if left_out else f"{status_}: full: wait")
    now = [0.0]
    turns = Turns(2, clock=lambda: now[0])
    turns.refused(0, error)
    now[0] = 1e9
    assert turns.choose(tried=[1]) == (0 if left_out else None)


def test_when_none_is_left_and_the_last_has_gone_the_next_run_asks_all_again() -> None:
    turns = Turns(2)
    with turns.asking(), turns.asking():
        turns.refused(0, later(None, 401))
        with turns.asking():
            assert turns.choose() == 1
        assert turns.choose(tried=[1]) is None, "one works: the other stays out"
        turns.refused(1, later(600.0))
        with turns.asking():
            pass
        assert turns.choose() is None, "others are on their way: the run is not over"
        assert list(turns.refusals()) == [0, 1]
    assert turns.choose() == 0
    assert turns.refusals() == {}


# --- What a list is --------------------------------------------------------------------


def test_a_list_of_one_is_that_address() -> None:
    one = Chat(["http://a/v1"], "m")
    assert one == Chat("http://a/v1", "m")
    assert (one.where, one.at_once) == ("http://a/v1", 32)


def test_all_addresses_together_are_the_judge_in_any_order() -> None:
    both = Chat(["http://b/v1", "http://a/v1"], "m", concurrency=5)
    turned = Chat(("http://a/v1", "http://b/v1"), "m")
    assert both.where == turned.where == "http://a/v1, http://b/v1"
    assert Judge(both).identity == Judge(turned).identity
    assert Judge(both).identity != Judge(Chat("http://a/v1", "m")).identity
    assert both.at_once == 10, "the bound holds at each address"


@pytest.mark.parametrize(
    ("addresses", "says_"),
    [
        ([], "no address"),
        (["http://a/v1", "http://a/v1"], "given twice"),
        (["http://a/v1", "a/v1"], "no address"),
        (["http://a/v1", "http://me:secret@b/v1"], "environment variable"),
        (["http://a/v1", "http://b/v1/chat/completions"], "goes too far"),
    ],
)
def test_each_address_is_checked(addresses: list[str], says_: str) -> None:
    with pytest.raises(DataError, match=says_) as raised:
        Chat(addresses, "m")
    assert "secret@" not in str(raised.value)


def test_it_is_on_this_machine_only_if_all_are() -> None:
    assert Chat(["http://localhost:1/v1", "http://127.0.0.1:2/v1"], "m").local
    assert not Chat(["http://localhost:1/v1", "http://far/v1"], "m").local


@pytest.mark.parametrize("key_env", [None, "MINE"])
def test_the_key_goes_to_the_other_machine_and_never_to_this_one(
    key_env: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-theirs-and-secret")
    monkeypatch.setenv("MINE", "sk-theirs-and-secret")
    with server(slowly) as here, server(slowly, host=ELSEWHERE) as there:
        ask_all(Chat([here.url, there.url], "m", key_env=key_env), 8)
        assert {h["authorization"] for h in there.headers} == {"Bearer sk-theirs-and-secret"}
        assert here.headers
        assert not any("sk-theirs" in str(h) for h in here.headers)


# --- Requests --------------------------------------------------------------------------


@pytest.mark.fault
@pytest.mark.parametrize("lasting", [False, True])
def test_load_goes_to_all_and_each_question_to_one(lasting: bool) -> None:
    with ExitStack() as stack:
        servers = [stack.enter_context(server(slowly)) for _ in range(3)]
        chat = Chat([one.url for one in servers], "m", concurrency=4)
        assert ask_all(Lasting.of(chat) if lasting else chat, 60) == ["8"] * 60
        assert sum((asked(one) for one in servers), Counter()) == {f"q{n}": 1 for n in range(60)}
        assert all(10 <= len(one.requests) <= 30 for one in servers)


@pytest.mark.fault
def test_the_slower_one_is_asked_less() -> None:
    def slower(_: Reply, __: int) -> Reply:
        time.sleep(0.1)
        return GOOD

    with server(slower) as slow, server(slowly) as quick:
        ask_all(Chat([slow.url, quick.url], "m", concurrency=2), 60)
        assert len(slow.requests) * 2 < len(quick.requests)


@pytest.mark.fault
def test_one_dies_midway_and_no_grade_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    def dies(request: Reply, number: int) -> Reply:
        return slowly(request, number) if number < 5 else status(503, "gone")

    with server(dies) as dying, server(slowly) as well:
        chat = Chat([dying.url, well.url], "m", concurrency=2)
        items = [(TASK, f"response {n}") for n in range(30)]
        with caplog.at_level(logging.WARNING):
            grades = run_sync(grade_many(Judge(chat), items, "implicit"))
        assert [grade.score is not None for grade in grades] == [True] * 30
        assert len(well.requests) >= 25
        # Two were on their way to it, five tries each; then it was left out.
        assert len(dying.requests) <= 5 + 2 * 5
        told = [line for line in caplog.messages if "left out" in line]
        assert len(told) == 1
        assert dying.url in told[0]
        assert "503" in told[0]


@pytest.mark.fault
def test_what_comes_back_is_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]

    def ill(request: Reply, number: int) -> Reply:
        return status(503) if number < 5 else slowly(request, number)

    with server(ill) as back, server(slowly) as well, caplog.at_level(logging.WARNING):
        chat = Chat([back.url, well.url], "m", concurrency=1)
        chat._turns.clock = lambda: now[0]
        assert ask_all(chat, 10) == ["8"] * 10
        now[0] = chat._turns.pause_s - 1.0
        assert ask_all(chat, 10) == ["8"] * 10
        assert len(back.requests) == 5
        now[0] = chat._turns.pause_s + 1.0
        assert ask_all(chat, 20) == ["8"] * 20
        assert len(back.requests) >= 10, "it has its share again"
        assert sum("answers again" in line for line in caplog.messages) == 1


@pytest.mark.fault
@pytest.mark.usefixtures("at_once")
def test_where_nobody_is_there_every_address_is_named() -> None:
    with ExitStack() as stack:
        urls = []
        for _ in range(2):
            port = stack.enter_context(socket.socket())
            port.bind(("127.0.0.1", 0))  # held, and nobody listens
            urls.append(f"http://127.0.0.1:{port.getsockname()[1]}/v1")
        (said,) = ask_all(Chat(urls, "m"), 1)
    assert said.startswith("fault: none of the 2 addresses of 'm' answers: ")
    assert all(url in said for url in urls)
    assert said.count("APIConnectionError") == 2


@pytest.mark.fault
def test_a_question_that_breaks_every_server_stops_no_other() -> None:
    def breaks(request: Reply, number: int) -> Reply:
        poison = request["messages"][0]["content"] == "q0"
        return status(500, "out of memory") if poison else slowly(request, number)

    with server(breaks) as one, server(breaks) as two:
        said = ask_all(Chat([one.url, two.url], "m", concurrency=2), 20)
    assert said[0].startswith("fault: none of the 2 addresses")
    assert said[1:] == ["8"] * 19


@pytest.mark.fault
def test_a_question_refused_for_its_content_is_not_asked_elsewhere() -> None:
    refuses = status(400, "flagged by our content filter")
    with server(refuses) as one, server(refuses) as two:
        (said,) = ask_all(Chat([one.url, two.url], "m"), 1)
        assert "content filter" in said
        assert len(one.requests) + len(two.requests) == 1


# --- An address that refuses every request -----------------------------------------------


def limited(seconds: int, http: int = 429) -> Reply:
    """A limit that names its time, as HTTP does."""
    refusal = status(http, "limit reached")
    return refusal | {"waits": False, "headers": {"retry-after": str(seconds)}}


#: What one address says, for how long it is left out, and what is told to mend it.
SHUT = {
    "limit": (limited(3600), "60 min, as it asks", ""),
    "overloaded": (limited(300, 503), "5 min, as it asks", ""),
    "limit of the day": (status(429, "requests per day"), "this run", "limit of the day is over"),
    "credit": (status(429, "no", code="insufficient_quota"), "this run", "add credit there"),
    "payment": (status(402, "pay first"), "this run", "add credit there"),
    "key": (status(401, "bad key"), "this run", "the key in OPENAI_API_KEY"),
    "forbidden": (status(403, "this key may not"), "this run", "the key in OPENAI_API_KEY"),
    "model": (status(404, "model 'm' does not exist"), "this run", "whether it has 'm'"),
    "model, as a bad request": (status(400, "unknown model m"), "this run", "whether it has 'm'"),
    "address": (status(404, "page not found"), "this run", "correct the address"),
}


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-theirs-and-secret")


@pytest.mark.fault
@pytest.mark.parametrize("lasting", [False, True])
@pytest.mark.parametrize("name", SHUT)
def test_one_refuses_all_and_the_other_grades_all(
    name: str, lasting: bool, key: None, caplog: pytest.LogCaptureFixture
) -> None:
    refusal, how_long, fix = SHUT[name]
    with server(refusal, host=ELSEWHERE) as shut, server(slowly, host=ELSEWHERE) as well:
        plain = Chat([shut.url, well.url], "m", concurrency=2)
        chat = Lasting.of(plain) if lasting else plain
        items = [(TASK, f"response {n}") for n in range(20)]
        with caplog.at_level(logging.WARNING):
            grades = run_sync(grade_many(Judge(chat), items, "implicit"))
            before = len(shut.requests)
            assert ask_all(chat, 5) == ["8"] * 5
        if isinstance(chat, Lasting):
            chat.check_whole()
    assert [grade.score is not None for grade in grades] == [True] * 20
    assert 1 <= before <= 2, "those that were on their way when it refused"
    assert len(shut.requests) == before, "not asked again"
    (told,) = [line for line in caplog.messages if "left out" in line]
    assert told.startswith(f"m at {shut.url} is left out for {how_long}: ")
    assert refusal["error"]["message"] in told
    assert fix in told


@pytest.mark.fault
@pytest.mark.parametrize("name", SHUT)
def test_both_refuse_all_and_the_run_stops_at_once_with_the_words_of_each(
    name: str, key: None
) -> None:
    refusal, _, fix = SHUT[name]
    other = status(401, "bad key here, too")
    with server(refusal, host=ELSEWHERE) as one, server(other, host=ELSEWHERE) as two:
        chat = Lasting.of(Chat([one.url, two.url], "m", concurrency=2))
        said = ask_all(chat, 40)
        assert all(text.startswith("fault: ") for text in said)
        asked_ = len(one.requests) + len(two.requests)
        assert asked_ <= 8, "four were on their way, to two addresses each"
        with pytest.raises(ChatError, match="no address of 'm' is left of 2: ") as raised:
            chat.check_whole()
        words = str(raised.value)
        assert f"{one.url} refuses every request ({refusal['status']}" in words
        assert f"{two.url} refuses every request (401: bad key here, too)" in words
        assert fix in words
        assert type(raised.value) is ChatError, "known by name in other processes"
        # Credit came: the next run with the same chat is not refused for what was.
        one.answer = slowly
        assert ask_all(Chat([one.url, two.url], "m"), 3) == ["8"] * 3
        plain = Chat([one.url, two.url], "m")
        one.answer = lambda *_: refusal
        with pytest.raises(ChatError, match="is left of 2"):
            ask_all(plain, 3)
        one.answer = slowly
        assert ask_all(plain, 3) == ["8"] * 3


@pytest.mark.fault
def test_the_only_address_that_refuses_all_stops_the_run_as_before(key: None) -> None:
    with server(limited(3600), host=ELSEWHERE) as one:
        with pytest.raises(ChatError, match="run again in 60 min, as it asks") as raised:
            ask_all(Chat([one.url], "m"), 3)
        assert type(raised.value) is ChatError


@pytest.mark.fault
def test_a_limit_that_is_reached_midway_loses_no_grade(caplog: pytest.LogCaptureFixture) -> None:
    def until(request: Reply, number: int) -> Reply:
        return slowly(request, number) if number < 7 else limited(3600)

    with server(until) as ends, server(slowly) as well, caplog.at_level(logging.WARNING):
        assert ask_all(Chat([ends.url, well.url], "m", concurrency=3), 60) == ["8"] * 60
        assert 8 <= len(ends.requests) <= 7 + 3
        assert len(well.requests) == 60 - 7
    told = [line for line in caplog.messages if "left out" in line or "again" in line]
    assert len(told) == 1, "an answer that was on its way brings nobody back"


@pytest.mark.fault
def test_what_an_estimate_found_out_is_not_found_out_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A command measures the rate first, and grades with a lasting chat."""
    with server(limited(3600)) as shut, server(slowly) as well, caplog.at_level(logging.WARNING):
        chat = Chat([shut.url, well.url], "m", concurrency=1)
        assert run_sync(measure_rate(chat)).prompt_per_s > 0
        assert ask_all(Lasting.of(chat), 4) == ["8"] * 4
        assert len(shut.requests) == 1
    assert len(caplog.messages) == 1


@pytest.mark.fault
def test_one_comes_back_after_its_time(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    with server([limited(600), GOOD]) as back, server(slowly) as well:
        chat = Chat([back.url, well.url], "m", concurrency=1)
        chat._turns.clock = lambda: now[0]
        with caplog.at_level(logging.WARNING):
            assert ask_all(chat, 10) == ["8"] * 10
            now[0] = 599.0
            assert ask_all(chat, 10) == ["8"] * 10
            assert len(back.requests) == 1
            now[0] = 600.0
            assert ask_all(chat, 20) == ["8"] * 20
        assert len(back.requests) >= 5, "it has its share again"
    assert [("left out" in m, "answers again" in m) for m in caplog.messages] == [
        (True, False),
        (False, True),
    ]


@pytest.mark.fault
def test_one_that_refuses_again_after_its_time_is_not_told_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = [0.0]
    with server(limited(600)) as shut, server(slowly) as well:
        chat = Chat([shut.url, well.url], "m", concurrency=4)
        chat._turns.clock = lambda: now[0]
        with caplog.at_level(logging.WARNING):
            ask_all(chat, 10)
            before = len(shut.requests)
            now[0] = 601.0
            assert ask_all(chat, 10) == ["8"] * 10
            assert len(shut.requests) == before + 1, "one request tries it"
            now[0] = 1200.0
            assert ask_all(chat, 10) == ["8"] * 10
            assert len(shut.requests) == before + 1, "its time runs anew"
    assert len(caplog.messages) == 1


@pytest.mark.fault
def test_one_refuses_all_and_the_other_is_down_so_requests_fail_one_by_one(key: None) -> None:
    """The other may be back for the next question: that is not the end of the run."""
    with server(status(401, "bad key"), host=ELSEWHERE) as wrong, server(slowly) as ill:
        down = [True]
        ill.answer = lambda r, n: status(503, "starting") if down[0] else slowly(r, n)
        chat = Lasting.of(Chat([wrong.url, ill.url], "m"))
        (said,) = ask_all(chat, 1)
        assert said.startswith("fault: none of the 2 addresses of 'm' answers: ")
        assert "bad key" in said
        assert "starting" in said
        (said,) = ask_all(chat, 1)
        assert "bad key" in said, "its words, though it was not asked"
        assert len(wrong.requests) == 1
        down[0] = False
        assert ask_all(chat, 3) == ["8"] * 3
        chat.check_whole()


@pytest.mark.fault
def test_what_all_would_refuse_stops_at_once() -> None:
    """A field that was declared is the same for every address."""
    refuses = status(400, "unknown field: effort", param="effort")
    dialect = Dialect(body={"effort": "low"})
    with server(refuses) as one, server(refuses) as two:
        chat = Lasting.of(Chat([one.url, two.url], "m", dialect=dialect, concurrency=1))
        ask_all(chat, 30)
        with pytest.raises(ChatError, match="does not take 'effort'"):
            chat.check_whole()
        assert len(one.requests) + len(two.requests) <= 4


@pytest.mark.fault
@pytest.mark.parametrize(("processes", "bound"), [(1, 4), (2, 2)])
def test_those_that_are_left_get_no_more_at_once_than_before(
    processes: int, bound: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four at an address on this machine, whoever else is out; two in each of two processes."""
    if processes > 1:
        for name, value in (("RANK", "0"), ("WORLD_SIZE", "2"), ("LOCAL_WORLD_SIZE", "2")):
            monkeypatch.setenv(name, value)
    lock = threading.Lock()
    now = [0]
    most = [0]
    with server(limited(3600)) as shut, server(GOOD) as well:
        answered = well.reply

        def reply(*given: Any) -> Reply:  # outside the server's own lock
            with lock:
                now[0] += 1
                most[0] = max(most[0], now[0])
            time.sleep(0.03)
            with lock:
                now[0] -= 1
            return answered(*given)

        well.reply = reply  # type: ignore[method-assign]
        assert ask_all(Chat([shut.url, well.url], "m", concurrency=4), 40) == ["8"] * 40
    assert most[0] == bound


@pytest.mark.fault
def test_a_field_that_one_refuses_is_left_out_for_all() -> None:
    def strict(request: Reply, number: int) -> Reply:
        if "seed" in request:
            return status(400, "unknown field: seed", param="seed")
        return slowly(request, number)

    with server(strict) as one, server(slowly) as two:
        chat = Lasting.of(Chat([one.url, two.url], "m", concurrency=1))
        assert ask_all(chat, 20) == ["8"] * 20
        assert sum("seed" in request for request in one.requests) <= 2


@pytest.mark.fault
@pytest.mark.parametrize("weights", ["", "abc"])
def test_who_answered_is_not_in_the_key_of_a_recorded_call(weights: str, tmp_path: Path) -> None:
    with (
        server(slowly) as one,
        server(slowly) as two,
        closing(Cassette(tmp_path / "c.sqlite")) as cassette,
    ):
        made: dict[str, Any] = {"weights": weights, "cassette": cassette}
        ask_all(Chat([one.url, two.url], "m", concurrency=2, **made), 20)
        before = len(one.requests) + len(two.requests)
        ask_all(Chat([two.url, one.url], "m", **made), 20)
        assert len(one.requests) + len(two.requests) == before, "all on record"
        ask_all(Chat(one.url, "m", **made), 20)
        more = len(one.requests) + len(two.requests) - before
        assert more == (0 if weights else 20), "fewer addresses are another judge without weights"


class Local:
    """A server of this library, as far as a chat sees it."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.ended = False

    def url(self) -> str:
        return self.address

    def check(self) -> None:
        if self.ended:
            raise ServerError(f"the server at {self.address} has ended")


@pytest.mark.fault
def test_servers_of_this_machine_may_stand_in_the_list_and_die() -> None:
    with server(slowly) as one, server(slowly) as two:
        first = Local(one.url)
        second = Local(two.url)
        chat = Chat([first, second], "m", weights="abc", concurrency=2)
        assert chat.local
        assert "vllm" in chat.engine
        assert ask_all(chat, 10) == ["8"] * 10
        one.answer = two.answer = lambda *_: status(503)
        first.ended = second.ended = True
        with pytest.raises(ServerError, match=r"none of the 2 addresses.*has ended.*has ended"):
            run_sync(chat.complete([{"role": "user", "content": "x"}], max_tokens=1))


# --- One address alone -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("tries", "after_s", "least", "most"),
    [
        (1, None, 0.375, 0.5),
        (2, None, 0.75, 1.0),
        (4, None, 3.0, 4.0),
        (7, None, 22.5, 30.0),  # 32 s are more than anybody waits
        (5000, None, 22.5, LONGEST_PAUSE_S),
        (1, 0.001, 0.001, 0.001),  # it knows better
        (1, 60.0, 60.0, 60.0),
        (1, 0.0, 0.375, 0.5),  # at once is no time
        (1, 3600.0, 0.375, 0.5),  # an error of the server, which is tried again all the same
        (5, 0.001, 6.0, 8.0),  # and has said so in vain
        (5, 60.0, 60.0, 60.0),
    ],
)
def test_pauses_double_and_heed_what_the_endpoint_says(
    tries: int, after_s: float | None, least: float, most: float
) -> None:
    found = [pause_s(tries, after_s) for _ in range(50)]
    assert least <= min(found) <= max(found) <= most
    assert len(set(found)) > 1 or least == most, "those who failed together come back apart"


BUSY = Unreached("429", passes=True)
BROKEN = Unreached("500")


@pytest.mark.parametrize(
    ("failure", "reached", "away_s", "tries", "again"),
    [
        (BUSY, True, 100.0, TRIES, True),
        (BUSY, True, 179.0, 500, True),
        (BUSY, True, 180.0, TRIES, False),
        (BUSY, True, 5000.0, TRIES - 1, True),  # each request has its tries
        (BUSY, False, 1.0, TRIES, False),  # nobody has ever answered there
        (BUSY, False, 1.0, TRIES - 1, True),
        (BROKEN, True, 1.0, TRIES, False),  # perhaps this request alone
        (BROKEN, True, 1.0, TRIES - 1, True),
        (Garbled("cut"), True, 1.0, 1, True),
        (Garbled("cut"), True, 1.0, 2, False),
    ],
)
def test_what_is_away_is_waited_for_and_what_is_wrong_is_not(
    failure: Unreached, reached: bool, away_s: float, tries: int, again: bool
) -> None:
    now = [50.0]
    outage = Outage(clock=lambda: now[0], reached=reached)
    assert outage.waits(BUSY, tries=1, limit_s=180.0) is True
    for _ in range(int(away_s // 100)):  # others ask meanwhile
        now[0] += 100.0
        outage.waits(BUSY, tries=1, limit_s=180.0)
    now[0] += away_s % 100
    assert outage.waits(failure, tries=tries, limit_s=180.0) is again
    if tries >= TRIES:
        assert outage.waits(failure, tries=tries, limit_s=0.0) is False, "another can be asked"


def test_an_outage_is_told_once_with_its_end_and_the_next_one_anew() -> None:
    now = [0.0]
    outage = Outage(clock=lambda: now[0], reached=True)
    for _ in range(2):
        told = []
        for _ in range(4):
            outage.waits(BUSY, tries=9, limit_s=180.0)
            told.append(outage.is_news())
            now[0] += 3.0
        assert told == [False, False, True, False]  # at 0, 3, 6 and 9 seconds
        assert [outage.answered(), outage.answered()] == [True, False]
    outage.waits(BUSY, tries=1, limit_s=180.0)
    assert outage.answered() is False, "nobody was told of a moment"


def test_an_outage_that_nobody_saw_go_on_begins_anew() -> None:
    """The next step of a training run comes minutes later: it may wait as the first one did."""
    now = [0.0]
    outage = Outage(clock=lambda: now[0], reached=True)
    found = []
    for now[0] in (0.0, 100.0, 200.0, 900.0, 1000.0, 1080.0):
        found.append(outage.waits(BUSY, tries=TRIES, limit_s=180.0))
    assert found == [True, True, False, True, True, False]


def test_what_is_not_waited_for_is_no_outage_to_tell_of() -> None:
    now = [0.0]
    never = Outage(clock=lambda: now[0])
    broken = Outage(clock=lambda: now[0], reached=True)
    for now[0] in (0.0, 10.0, 20.0):
        never.waits(BUSY, tries=1, limit_s=180.0)
        broken.waits(BROKEN, tries=1, limit_s=180.0)
        assert (never.is_news(), broken.is_news()) == (False, False)
