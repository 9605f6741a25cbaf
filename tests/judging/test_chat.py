"""One request: its time, its key, its connections, and what is counted and recorded of it."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import gc
import json
import logging
import os
import pickle
import re
import socket
import subprocess
import sys
import textwrap
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from scripted import Reply, raw, says, server, status

from rar_lib import Chat, Judge, Price, load_mini
from rar_lib.core.errors import ChatError, DataError, JudgeFault, RarError
from rar_lib.core.types import Grade
from rar_lib.judging.cassette import Cassette, stats
from rar_lib.judging.chat import Lasting, run_sync, sample
from rar_lib.judging.dialect import Dialect
from rar_lib.judging.guard import GuardedJudge

pytestmark = pytest.mark.fault
TASK = load_mini("train")[0]
ASK = [{"role": "user", "content": "hi"}]
GOOD = says("8", tokens=[{"8": 0.9, "7": 0.1}, {"\n": 1.0}])
ELSEWHERE = "127.0.0.2"  # a loopback address that does not count as this machine


def grade(chat: Chat, **settings: Any) -> Grade:
    return run_sync(Judge(chat, **settings).grade(TASK, "Cool it.", "implicit"))


# --- Time ------------------------------------------------------------------------------


def test_bytes_that_keep_a_request_alive_do_not_keep_it_for_ever() -> None:
    import openai  # noqa: F401  # the first import takes seconds on a busy machine

    class Trickling(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(200)
            self.end_headers()
            try:
                for _ in range(100):
                    self.wfile.write(b"\n")
                    self.wfile.flush()
                    time.sleep(0.1)
            except OSError:
                return

        def log_message(self, *_: Any) -> None: ...

    http = ThreadingHTTPServer(("127.0.0.1", 0), Trickling)
    threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
    try:
        chat = Chat(f"http://127.0.0.1:{http.server_port}/v1", "m", timeout_s=0.5)
        start = time.perf_counter()
        with pytest.raises(JudgeFault, match=r"no reply within 0\.5 s \(timeout_s\)"):
            run_sync(chat.complete(ASK, max_tokens=1))
        assert time.perf_counter() - start < 3
    finally:
        http.shutdown()
        http.server_close()


#: Seconds for which a slow endpoint would go on; nobody waits for its threads.
SLOW_S = 10.0


def hang(_: BaseHTTPRequestHandler) -> None:
    time.sleep(SLOW_S)


def half_a_head(http: BaseHTTPRequestHandler) -> None:
    http.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: appl")
    time.sleep(SLOW_S)


def a_head_and_no_body(http: BaseHTTPRequestHandler) -> None:
    http.send_response(200)
    http.send_header("Content-Length", "100")
    http.end_headers()
    time.sleep(SLOW_S)


def half_a_body(http: BaseHTTPRequestHandler) -> None:
    http.send_response(200)
    http.send_header("Content-Length", "100")
    http.end_headers()
    http.wfile.write(b'{"choices": [')
    http.wfile.flush()
    time.sleep(SLOW_S)


def headers_without_end(http: BaseHTTPRequestHandler) -> None:
    http.wfile.write(b"HTTP/1.1 200 OK\r\n")
    for n in range(int(SLOW_S / 0.1)):
        http.wfile.write(f"x-{n}: y\r\n".encode())
        http.wfile.flush()
        time.sleep(0.1)


def chunks_without_end(http: BaseHTTPRequestHandler) -> None:
    http.send_response(200)
    http.send_header("Transfer-Encoding", "chunked")
    http.end_headers()
    for _ in range(int(SLOW_S / 0.1)):
        http.wfile.write(b"1\r\n \r\n")
        http.wfile.flush()
        time.sleep(0.1)


def busy_without_end(http: BaseHTTPRequestHandler) -> None:
    http.send_response(503)
    http.send_header("Content-Length", "0")
    http.send_header("retry-after-ms", "100")
    http.end_headers()
    time.sleep(0.1)


def hanging_up_without_end(http: BaseHTTPRequestHandler) -> None:
    time.sleep(0.2)
    http.connection.close()


SLOW: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {
    "says nothing": hang,
    "half a head": half_a_head,
    "a head and no body": a_head_and_no_body,
    "half a body": half_a_body,
    "headers without end": headers_without_end,
    "chunks without end": chunks_without_end,
    "busy without end": busy_without_end,
    "hanging up without end": hanging_up_without_end,
}


@pytest.mark.parametrize("way", SLOW)
def test_no_way_of_being_slow_outlasts_the_timeout_of_a_request(way: str) -> None:
    class Slow(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            with contextlib.suppress(OSError):
                SLOW[way](self)
            self.close_connection = True

        def log_message(self, *_: Any) -> None: ...

    http = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
    try:
        start = time.perf_counter()
        found = grade(Chat(f"http://127.0.0.1:{http.server_port}/v1", "m", timeout_s=0.6))
        took = time.perf_counter() - start
    finally:
        http.shutdown()
        http.server_close()
    assert found.score is None
    assert took < SLOW_S / 2, found.reason
    assert re.search(r"no reply within 0\.6 s|APIConnectionError|503", found.reason or "")


def test_an_endpoint_that_is_away_for_longer_than_anybody_waits_stops_the_run() -> None:
    """Each of a thousand requests would be unscored after its tries; the first says it all."""
    away = status(429, "slow down") | {"waits": False, "headers": {"retry-after": "600"}}
    with (
        server(away) as scripted,
        pytest.raises(ChatError, match=r"429: slow down.*run again in 10 min"),
    ):
        grade(Chat(scripted.url, "m"))
    assert len(scripted.requests) == 1


def hang_up(http: BaseHTTPRequestHandler) -> None:
    http.close_connection = True


def gone(code: int) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(http: BaseHTTPRequestHandler) -> None:
        http.send_response(code)
        http.send_header("Content-Length", "0")
        http.end_headers()

    return answer


AWAY: dict[str, tuple[Callable[[BaseHTTPRequestHandler], None], bool]] = {
    "too many requests": (gone(429), True),
    "starting": (gone(503), True),
    "behind its gateway": (gone(502), True),
    "hanging up": (hang_up, True),
    "broken": (gone(500), False),
}


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("how", AWAY)
@pytest.mark.parametrize("known", [True, False], ids=["has answered", "never answered"])
def test_an_endpoint_that_was_there_is_waited_for_and_a_wrong_address_is_not(
    how: str, known: bool
) -> None:
    """Nine failures in a row, five of which were the end of a request."""
    fail, comes_back = AWAY[how]
    asked: list[int] = []

    class Restarting(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            asked.append(1)
            if len(asked) - known in range(1, 10) or len(asked) == 1 - known:
                return fail(self)
            body = json.dumps(GOOD).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            return None

        def log_message(self, *_: Any) -> None: ...

    http = ThreadingHTTPServer(("127.0.0.1", 0), Restarting)
    threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True).start()
    try:
        chat = Chat(f"http://127.0.0.1:{http.server_port}/v1", "m", timeout_s=20)
        if known:
            assert grade(chat).rating is not None
        found = run_sync(Judge(chat).grade(TASK, "Cool it more.", "implicit"))
    finally:
        http.shutdown()
        http.server_close()
    comes_back = comes_back and (known or fail is not hang_up)
    assert (found.rating is not None) is comes_back, found.reason
    assert len(asked) - known == (10 if comes_back else 5)


def test_those_who_come_late_do_not_each_wait_for_an_endpoint_that_is_gone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("rar_lib.judging.addresses._FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr("rar_lib.judging.addresses._NEWS_S", 0.1)
    with server([GOOD, status(503) | {"waits": False}]) as scripted:
        chat = Chat(scripted.url, "m", timeout_s=1.0, concurrency=1)
        grade(chat)
        asked = []
        for n in range(3):
            before = len(scripted.requests)
            found = run_sync(Judge(chat).grade(TASK, f"Cool it {n}.", "implicit"))
            asked.append(len(scripted.requests) - before)
            assert "503" in (found.reason or "")
            assert ("no reply within 1 s" in (found.reason or "")) is (n == 0)
        scripted.answer = lambda *_: GOOD
        assert run_sync(Judge(chat).grade(TASK, "Cool it once more.", "implicit")).rating
    assert asked[0] > 5
    assert asked[1:] == [5, 5]
    said = [record.message for record in caplog.records if record.name.startswith("rar_lib")]
    assert [("asked again for up to" in text, "answers again" in text) for text in said] == [
        (True, False),
        (False, True),
    ]


@pytest.mark.parametrize(
    ("script", "rating", "asked"),
    [
        ([raw(json.dumps(GOOD).encode()[:80]), GOOD], 7.9, 2),
        ([raw(json.dumps(GOOD).encode()[:80])], None, 2),
        ([raw(b"", "application/json"), GOOD], 7.9, 2),
        ([raw(b"\xff\xfe{", "application/json"), GOOD], 7.9, 2),
        ([raw(b"<html>log in first</html>", "text/html"), GOOD], None, 1),  # cut off by nobody
    ],
)
def test_an_answer_that_was_cut_on_its_way_is_asked_for_once_more(
    script: list[Reply], rating: float | None, asked: int
) -> None:
    with server(script) as scripted:
        found = grade(Chat(scripted.url, "m"))
    assert found.rating == (None if rating is None else pytest.approx(rating))
    assert len(scripted.requests) == asked


KEYS = (
    "sk-proj-SECRETSECRET",
    "gsk_abcDEF0123456789abcDEF",
    "hf_abcdefghijklmnop1234",
    "0123456789abcdef0123456789abcdef",
    "my key",
    "Bearer x",
    "$MY_KEY",
    "MY-KEY",
    "KEY\n",
)


@pytest.mark.parametrize("key", KEYS, ids=ascii)
def test_a_key_in_the_place_of_its_variable_is_refused_without_showing_it(key: str) -> None:
    for address in ("http://127.0.0.1:1/v1", ["http://127.0.0.1:1/v1", "http://h/v1"]):
        with pytest.raises(
            DataError, match=r"export MY_KEY=\.\.\., then key_env='MY_KEY'"
        ) as caught:
            Chat(address, "m", key_env=key)
        assert key not in str(caught.value)


def test_the_names_of_variables_are_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MY_KEY", "OPENAI_API_KEY_2", "_k1", "key", "x", "", None, "A" * 60):
        assert Chat("http://127.0.0.1:1/v1", "m", key_env=name).key_env == name
    monkeypatch.setenv("my_very_own_variable_number_2", "sk-x")
    assert Chat("http://127.0.0.1:1/v1", "m", key_env="my_very_own_variable_number_2")


def test_what_names_no_variable_in_a_dialect_is_refused_without_showing_it() -> None:
    for said in (
        {"headers": {"x": "$sk-PRIVATE"}},
        {"headers": {"x": "$hf_PRIVATEabcdef012345"}},
        {"query": {"key": "$"}},
        {"body": {"a": [{"b": "$a b PRIVATE"}]}},
    ):
        with pytest.raises(DataError, match="names no environment variable") as caught:
            Dialect(**said)  # type: ignore[arg-type]
        assert "PRIVATE" not in str(caught.value)


TRAVELS: dict[str, dict[str, Any]] = {
    "an address": {},
    "a dialect": {"dialect": Dialect(thinking=10, headers={"api-key": "$MINE"}), "weights": "w"},
    "several addresses": {"server": ["http://127.0.0.1:1/v1", "http://h:2/v1"], "key_env": "MINE"},
    "a price": {"price": Price(1.0, 2.0), "timeout_s": 5.0, "concurrency": 3},
}


@pytest.mark.parametrize("name", TRAVELS)
@pytest.mark.parametrize("kind", [Chat, Lasting])
def test_a_chat_goes_to_another_process_by_its_settings_without_its_key(
    name: str, kind: type[Chat], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MINE", "sk-very-secret")
    tape = Cassette(tmp_path / "c.sqlite")
    plain = Chat(
        **{"server": "http://127.0.0.1:1/v1", "model": "m", "cassette": tape} | TRAVELS[name]
    )
    chat = plain if kind is Chat else Lasting.of(plain)
    if isinstance(chat, Lasting):
        chat.failures.append(ChatError("gone"))
    chat.without_probabilities()
    sent = pickle.dumps(chat)
    assert b"sk-very-secret" not in sent
    for other in (pickle.loads(sent), copy.deepcopy(chat)):
        assert other == chat
        assert type(other) is kind
        assert other.price == chat.price
        assert (other.cassette.path, other.cassette.mode) == (tape.path, tape.mode)
        assert other.cassette is not tape
        assert getattr(other, "failures", []) == []


@pytest.mark.parametrize("kind", [Judge, GuardedJudge])
def test_a_judge_that_went_to_another_process_grades_as_before(
    kind: type[Judge], tmp_path: Path
) -> None:
    with server(GOOD) as scripted, closing(Cassette(tmp_path / "c.sqlite")) as tape:
        judge = kind(Chat(scripted.url, "m", cassette=tape))
        first = run_sync(judge.grade(TASK, "Cool it.", "implicit"))  # connections are open
        other = pickle.loads(pickle.dumps(judge))
        assert other == judge
        assert other.made_of == judge.made_of
        assert run_sync(other.grade(TASK, "Cool it.", "implicit")) == first
        other.chat.cassette.close()
    assert len(scripted.requests) == 1


def open_sockets() -> int:
    gc.collect()
    found = 0
    for number in os.listdir("/proc/self/fd"):
        try:
            found += os.readlink(f"/proc/self/fd/{number}").startswith("socket:")
        except OSError:
            continue
    return found


@pytest.mark.parametrize("run", [run_sync, asyncio.run], ids=["run_sync", "asyncio.run"])
def test_connections_are_closed_with_the_loop_that_opened_them(run: Any) -> None:
    with server(GOOD) as scripted:
        chat = Chat(scripted.url, "m")

        async def several(n: int) -> None:
            judge = Judge(chat)
            await asyncio.gather(*(judge.grade(TASK, f"{n} {i}", "implicit") for i in range(8)))

        run(several(0))
        before = open_sockets()
        for n in range(1, 20):
            run(several(n))
        assert open_sockets() <= before + 8  # the server's own ends close a moment later


def test_an_interrupted_cell_asks_nothing_more(tmp_path: Path) -> None:
    """Ctrl-C in a notebook, where a loop runs already and the work is on a thread of its own."""
    asked: list[Reply] = []

    def slow(request: Reply, _: int) -> Reply:
        asked.append(request)
        time.sleep(0.2)
        return GOOD

    with server(slow) as scripted:
        program = textwrap.dedent(f"""
            import asyncio, signal
            from rar_lib import Chat, Judge, grade_many, load_mini
            from rar_lib.judging.chat import Lasting, run_sync
            judge = Judge(Chat({scripted.url!r}, "m", concurrency=1))
            items = [(load_mini("train")[0], f"answer {{n}}") for n in range(100)]
            async def cell():
                signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a notebook
                print("ready", flush=True)
                run_sync(grade_many(judge, items, "implicit"))
            asyncio.run(cell())
        """)
        process = subprocess.Popen(
            [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdout is not None
        process.stdout.readline()
        while len(asked) < 2:
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.05)
        process.send_signal(2)
        process.communicate(timeout=20)
        stopped = len(asked)
        time.sleep(1)
        assert len(asked) == stopped < 50
        assert process.returncode != 0


# --- Keys ------------------------------------------------------------------------------


def test_the_openai_key_never_goes_to_a_server_on_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("MINE", "sk-mine")
    with server(GOOD) as scripted:
        grade(Chat(scripted.url, "m"))
        grade(Chat(scripted.url, "m", key_env="MINE"))
        grade(Chat(scripted.url, "m", key_env="OPENAI_API_KEY"))
    sent = [headers["authorization"] for headers in scripted.headers]
    assert sent == ["Bearer not-needed", "Bearer sk-mine", "Bearer sk-secret"]
    with server(GOOD, ELSEWHERE) as scripted:
        grade(Chat(scripted.url, "m"))
        grade(Chat(scripted.url, "m", key_env=""))
    assert [h["authorization"] for h in scripted.headers] == [
        "Bearer sk-secret",
        "Bearer not-needed",
    ]


@pytest.mark.parametrize("around", ["\n", "\r\n", " ", "\t", "  \n\n"])
def test_white_space_around_a_key_is_no_part_of_it(
    around: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f"{around}sk-made-up{around}")
    with server(GOOD, ELSEWHERE) as scripted:
        assert grade(Chat(scripted.url, "m")).score is not None
    assert scripted.headers[0]["authorization"] == "Bearer sk-made-up"


@pytest.mark.parametrize(
    "key",
    [
        "sk-a\nb",
        "sk-a b",
        "sk-\u00e9",
        "sk-\u200ba",
        '"sk-quoted"',
        "'sk-quoted'",
        "Bearer sk-ab",
        "sk-ab\\n",
        "\ufeffsk-ab",
    ],
)
def test_a_key_that_cannot_be_one_is_named_and_not_shown(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(ChatError, match="the key in OPENAI_API_KEY holds") as caught:
        grade(Chat(f"http://{ELSEWHERE}:1/v1", "m"))
    assert key not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        "http://me:s3cret@127.0.0.1:1/v1",
        "https://s3cret@host/v1",
        "https://host/v1?api_key=s3cret",
        "https://host/v1?subscription-key=s3cret",
        "https://host/v1?sig=s3cret&x=1",
        "https://host/v1?access_token=s3cret",
        "https://host/v1?code=s3cret",
        "https://host/v1?pat=s3cret",
        "https://host/v1?jwt=s3cret",
        "https://host/v1?pwd=s3cret",
        "https://host/v1?credential=s3cret",
        "https://host/v1#key=s3cret",
        "https://host/v1;token=s3cret",
    ],
)
def test_an_address_with_a_secret_is_refused_without_showing_it(address: str) -> None:
    with pytest.raises(DataError, match="environment variable") as caught:
        Chat(address, "m")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        "localhost:8000/v1",
        "me:s3cret@host/v1",
        "host/v1",
        "",
        "http://",
        "http://[::1/v1",
        "http://host:port/v1",
        "ftp://host/v1",
        " http://host/v1",
        "https://host/v1/chat/completions",
        "https://host/v1/completions/",
    ],
)
def test_what_is_no_address_is_refused_with_the_form_of_one(address: str) -> None:
    with pytest.raises(DataError, match=r"https?://host") as caught:
        Chat(address, "m")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("0.0.0.0", True),
        ("LOCALHOST", True),
        ("localhost.", True),
        ("[::1]", True),
        ("[::]", True),
        ("[::ffff:127.0.0.1]", True),
        ("judge.localhost", True),
        ("localhost.example.com", False),
        ("127.0.0.1.example.com", False),
        (ELSEWHERE, False),
    ],
)
def test_this_machine_is_known_by_all_its_names(host: str, here: bool) -> None:
    assert Chat(f"http://{host}:8000/v1", "m").local == here


@pytest.mark.parametrize("code", [400, 401, 403, 429, 500])
@pytest.mark.parametrize("place", ["key", "header", "query", "body"])
def test_a_secret_that_the_endpoint_repeats_is_not_passed_on(
    place: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-s3cret-1234")
    monkeypatch.setenv("MINE", "my-s3cret-1234")
    said = {} if place == "key" else {place.replace("header", "headers"): {"x": "$MINE"}}
    held = "sk-s3cret-1234" if place == "key" else "my-s3cret-1234"
    with server(status(code, f"I do not know {held}"), ELSEWHERE) as scripted:
        try:
            dialect = Dialect(**said)  # type: ignore[arg-type]
            shown = str(grade(Chat(scripted.url, "m", dialect=dialect, timeout_s=0.5)))
        except ChatError:
            shown = traceback.format_exc()  # what a notebook keeps
    assert "I do not know ***" in shown
    assert "s3cret" not in shown


@pytest.mark.parametrize(
    "said",
    [
        {"headers": {"Authorization": "Bearer s3cret"}},
        {"headers": {"Authorization": "Bearer $MINE"}},  # would be sent as it is written
        {"headers": {"x-api-key": "s3cret"}},
        {"headers": {"Ocp-Apim-Subscription-Key": "s3cret"}},
        {"headers": {"Cookie": "session=s3cret"}},
        {"query": {"key": "s3cret"}},
        {"query": {"sig": "s3cret"}},
        {"body": {"api_key": "s3cret"}},
        {"body": {"extra": {"api_key": "s3cret"}}},
        {"body": {"extra": {"deep": {"deeper": {"Authorization": "Bearer s3cret"}}}}},
        {"body": {"providers": [{"name": "a"}, {"access_token": "s3cret"}]}},
        {"body": {"providers": ({"secret": "s3cret"},)}},
        {"body": {"api_keys": ["$MINE", "s3cret"]}},
        {"body": {"a": [[{"password": "s3cret"}]]}},
    ],
    ids=str,
)
def test_a_secret_in_a_dialect_is_refused_without_showing_it(said: dict[str, Any]) -> None:
    """A dialect is in the key of every call, in the record and in the identity of a run."""
    with pytest.raises(DataError, match="environment variable") as caught:
        Dialect(**said)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "said",
    [
        {"headers": {"anthropic-version": "2023-06-01", "HTTP-Referer": "https://host"}},
        {"query": {"api-version": "2024-10-21"}},
        {
            "body": {
                "reasoning_effort": "low",
                "prompt_cache_key": "rubrics",
                "thinking_tokens": "9",
            }
        },
        {"body": {"extra": {"auth": {"value": "$MINE"}, "api_key": "$MINE"}}},
        {"body": {"providers": [{"api_key": "$MINE", "seed": 7}], "api_keys": ["$A", "$B"]}},
        {"body": {"schema": {"properties": {"code": {"type": "string"}}, "required": ["code"]}}},
        {"body": {"logit_bias": {"50256": -100}, "stop": ["secret"], "key": None}},
    ],
    ids=str,
)
def test_what_is_no_secret_may_be_written_out(said: dict[str, Any]) -> None:
    assert Dialect(**said).declared == said


@pytest.mark.parametrize(
    "deep",
    [
        {"auth": {"value": "$MINE"}},
        {"order": [{"api_key": "$MINE", "seed": 7}, {"name": "b"}]},
        {"api_keys": ["$MINE", "$MINE"], "stop": None},
    ],
    ids=str,
)
def test_a_variable_deep_in_a_body_is_read_and_never_shown(
    deep: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINE", "my-s3cret-1234")
    said = Dialect(body={"provider": deep})
    with server([GOOD, status(400, "I do not know my-s3cret-1234")]) as scripted:
        grade(Chat(scripted.url, "m", dialect=said))
        shown = str(grade(Chat(scripted.url, "m", dialect=said)))
    sent = json.dumps(deep).replace("$MINE", "my-s3cret-1234")
    assert scripted.requests[0]["provider"] == json.loads(sent)
    assert "I do not know ***" in shown
    assert "s3cret" not in shown


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        *(("timeout_s", value) for value in (0, -1.0, float("nan"), float("inf"), "5", None)),
        *(("concurrency", value) for value in (0, -1, 1.5, True, "8", None)),
        *(("model", value) for value in ("", " ", None, 5)),
    ],
)
def test_a_setting_under_which_nothing_would_be_sent_or_ended_is_refused(
    setting: str, value: Any
) -> None:
    with pytest.raises(DataError, match=f"^{setting} is .*; allowed"):
        Chat(**{"server": "http://127.0.0.1:1/v1", "model": "m", setting: value})


NETWORK = {
    "no scheme": {"HTTP_PROXY": "://"},
    "a kind that needs another package": {"ALL_PROXY": "socks5://me:s3cret@host:1"},
    "an unknown kind": {"ALL_PROXY": "gopher://me:s3cret@host:1"},
    "no such certificates": {"SSL_CERT_FILE": "/no/such/file"},
    "no number": {"HTTP_PROXY": "http://me:s3cret@host:port"},
}


@pytest.mark.parametrize("name", NETWORK)
def test_a_proxy_that_cannot_be_used_is_named_by_its_variable_and_not_shown(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ((variable, value),) = NETWORK[name].items()
    monkeypatch.setenv(variable, value)
    with pytest.raises(ChatError, match=variable) as caught:
        grade(Chat(f"http://{ELSEWHERE}:1/v1", "m", key_env=""))
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))
    with server(GOOD) as scripted:
        assert grade(Chat(scripted.url, "m")).score is not None  # nothing is between us and here


def test_the_organization_of_an_openai_account_is_told_to_nobody_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org-mine")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-mine")
    with server(GOOD) as scripted:
        grade(Chat(scripted.url, "m"))
    assert not {"openai-organization", "openai-project"} & set(scripted.headers[0])


# --- What is counted, and what is recorded ---------------------------------------------

HOLES: dict[str, Any] = {
    "no completion_tokens": {"prompt_tokens": 300, "total_tokens": 300},
    "no prompt_tokens": {"completion_tokens": 2, "total_tokens": 302},
    "empty": {},
    "null": None,
    "a count as null": {"prompt_tokens": 300, "completion_tokens": None, "total_tokens": 302},
    "a count in words": {"prompt_tokens": 300, "completion_tokens": "few", "total_tokens": 302},
    "negative": {"prompt_tokens": -1, "completion_tokens": 2, "total_tokens": 1},
}


@pytest.mark.parametrize("name", HOLES)
def test_a_verdict_is_not_lost_for_its_bookkeeping(name: str) -> None:
    with server(GOOD | {"usage": HOLES[name]}) as scripted:
        found = grade(Chat(scripted.url, "m", price=Price(3.0, 15.0)))
    assert found.score is not None
    assert found.usage.calls == 1
    assert found.usage.money is None  # unknown, and unknown is not free


@pytest.mark.parametrize(
    ("text", "read", "whole"),
    [
        ("The patient tells a long story. " * 1_300, 2_050, False),
        ("The patient tells a long story. " * 1_300, 9_000, True),
        ("=" * 40_000, 900, True),  # long runs of one character take few tokens
        (" " * 9_000 + "x", 300, True),
        ("The patient tells a long story. " * 1_300, 0, True),  # not counted
    ],
)
def test_a_prompt_that_the_server_cut_is_noticed_by_its_count(
    text: str, read: int, whole: bool
) -> None:
    usage = {"prompt_tokens": read, "completion_tokens": 1, "total_tokens": read + 1}
    with server(GOOD | {"usage": usage}) as scripted:
        judge = Judge(Chat(scripted.url, "m"))
        found = run_sync(judge.grade(TASK, text + "end", "implicit"))
    assert (found.score is not None) == whole
    if not whole:
        assert "cut the prompt" in (found.reason or "")


@pytest.mark.parametrize(
    "word",
    [
        *("eos_token", "eos", "STOP", "end", "", None),  # as reported
        *("end_turn", "stop_sequence", "COMPLETE", "finished", "EndOfTurn", "</s>", "stop_token"),
    ],
)
def test_an_answer_is_recorded_whatever_word_ends_it(word: str | None, tmp_path: Path) -> None:
    with server(says("8", word, [{"8": 1.0}, {"\n": 1.0}])) as scripted:
        tape = Cassette(tmp_path / "c.sqlite")
        scores = [grade(Chat(scripted.url, "m", cassette=tape)).score for _ in range(2)]
    assert scores[0] == scores[1] is not None
    assert len(scripted.requests) == 1


UNREAD: dict[str, Reply] = {
    "no probabilities": says("8", "length"),
    "another answer": says("good", tokens=[{"good": 1.0}]),
    "a refusal": says("", "content_filter"),
    "an error as its end": says("", "error"),
}


@pytest.mark.parametrize("name", UNREAD)
def test_what_could_not_be_read_is_kept_with_its_cost_and_asked_again(
    name: str, tmp_path: Path
) -> None:
    path = tmp_path / "c.sqlite"
    with server([UNREAD[name], GOOD]) as scripted:
        first = grade(Chat(scripted.url, "m", "w", cassette=Cassette(path)), reading="probability")
        paid = stats(path)["m"]["calls"]
        again = grade(
            Chat("http://127.0.0.1:1/v1", "m", "w", cassette=Cassette(path, "replay")),
            reading="probability",
        )
        second = grade(Chat(scripted.url, "m", "w", cassette=Cassette(path)), reading="probability")
    assert first.score is None
    assert paid == 1
    assert (again.score, again.reason) == (first.score, first.reason)  # a replay shows what was
    assert second.score is not None
    assert len(scripted.requests) == 2


def test_the_model_that_answered_is_on_record(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    with server(GOOD | {"model": "m-2026-01", "system_fingerprint": "fp_1"}) as scripted:
        grade(Chat(scripted.url, "m", cassette=Cassette(path)))
    (row,) = Cassette(path, "replay").rows()
    assert row[2]["said_by"] == "m-2026-01 fp_1"


def test_a_declared_dialect_is_in_the_key_and_the_default_is_not(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    with server(GOOD) as scripted:
        for said in ("vllm", Dialect(), Dialect(limit="max_tokens"), "openai"):
            grade(Chat(scripted.url, "m", dialect=said, cassette=Cassette(path)))
    assert len(scripted.requests) == 3
    requests = [row[1] for row in Cassette(path, "replay").rows()]
    assert sorted(json.dumps(r.get("dialect")) for r in requests) == [
        "null",
        '{"limit": "max_tokens"}',
        '{"prefill": null}',
    ]


@pytest.mark.parametrize(
    "parts",
    [
        [{"type": "output_text", "text": '{"rating": 8}'}],
        [{"text": '{"rating": 8}'}],
        ['{"rating"', ": 8}"],
        [
            {"type": "thinking", "thinking": [{"type": "text", "text": '{"rating": 9}'}]},
            {"type": "text", "text": '{"rating": 8}'},
        ],
        [{"type": "reasoning", "text": '{"rating": 9}'}, '{"rating": 8}', None, 5],
    ],
    ids=str,
)
def test_parts_of_any_make_are_read_and_thoughts_are_not(parts: list[Any]) -> None:
    with server(says(None) | {"choices": [says(None, content=parts)["choices"][0]]}) as scripted:
        assert grade(Chat(scripted.url, "m"), reading="sampled").rating == 8


def test_a_reply_of_the_older_kind_is_named() -> None:
    older = says(None) | {"choices": [{"index": 0, "text": "8", "finish_reason": "stop"}]}
    with server(older) as scripted:
        found = grade(Chat(scripted.url, "m"), reading="sampled")
    assert "not that of chat completions" in (found.reason or "")


def test_content_in_parts_is_text(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="rar_lib")
    parts = [{"type": "text", "text": '{"rating"'}, {"type": "text", "text": ": 8}"}]
    with server(says("") | {"choices": [{"index": 0, "message": {"content": parts}}]}) as scripted:
        assert grade(Chat(scripted.url, "m"), reading="sampled").rating == 8


def test_time_that_ran_out_while_the_endpoint_was_busy_says_what_it_said() -> None:
    with server(status(429, "slow down") | {"waits": False}) as scripted:
        found = grade(Chat(scripted.url, "m", timeout_s=1))
    assert "no reply within 1 s (timeout_s); its last try: RateLimitError: 429: slow down" in (
        found.reason or ""
    )


@pytest.mark.usefixtures("at_once")
def test_a_server_that_is_not_there_is_no_verdict() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    found = grade(Chat(f"http://127.0.0.1:{port}/v1", "m"))
    assert found.score is None
    assert f"APIConnectionError at http://127.0.0.1:{port}/v1" in (found.reason or "")
    assert "All connection attempts failed" in (found.reason or "")


def test_every_error_is_one_of_ours() -> None:
    for reply in (status(401), status(404), status(402)):
        with server(reply) as scripted, pytest.raises(RarError):
            grade(Chat(scripted.url, "m"))


def test_a_key_that_was_refused_is_named_and_so_is_one_that_was_never_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MINE", "sk-mine")
    with server(status(401, "bad key")) as scripted:
        with pytest.raises(ChatError, match=r"bad key.*no key was sent.*key_env"):
            grade(Chat(scripted.url, "m"))
        with pytest.raises(ChatError, match="the key in MINE is set"):
            grade(Chat(scripted.url, "m", key_env="MINE"))


def test_a_lasting_chat_keeps_what_was_sent_before_the_run_failed(tmp_path: Path) -> None:
    """One refusal of the whole run: replies on their way come and are kept, no other is asked."""

    def answer(request: dict[str, Any], _: int) -> Reply:
        return status(401) if request["messages"][0]["content"] == "0" else says("yes")

    with server(answer) as scripted, closing(Cassette(tmp_path / "c.sqlite")) as cassette:
        plain = Chat(scripted.url, "m", cassette=cassette, concurrency=4)
        chat = Lasting.of(plain)

        async def ask(n: int) -> str:
            try:
                message = [{"role": "user", "content": str(n)}]
                return (await chat.complete(message, max_tokens=1)).text
            except JudgeFault as fault:
                return f"fault: {fault}"

        async def all_() -> list[str]:
            return list(await asyncio.gather(*(ask(n) for n in range(40))))

        said = run_sync(all_())
        assert len(scripted.requests) < 12, "who waits is not sent any more"
        with pytest.raises(ChatError, match="401"):
            chat.check_whole()
        kept = sum(1 for _ in cassette.rows())
        assert kept == sum(text == "yes" for text in said) == len(scripted.requests) - 1
        assert all("401" in text for text in said if text != "yes")
        assert Lasting.of(chat).failures == []


def test_the_key_never_shows_in_a_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret-value")
    with server(says("5", tokens={"5": 1.0})) as scripted:
        chat = Chat(scripted.url, "scripted")

        async def ask() -> str:
            await chat.complete([{"role": "user", "content": "hi"}], max_tokens=1)
            return repr(chat)

        assert "sk-very" not in asyncio.run(ask())


def test_samples_of_a_group_are_asked_with_different_seeds() -> None:
    with server(says("hello")) as scripted:
        chat = Chat(scripted.url, "scripted")
        texts = asyncio.run(sample(chat, [{"role": "user", "content": "hi"}], n=3, max_tokens=4))
    assert texts == ["hello"] * 3
    assert len({r["seed"] for r in scripted.requests}) == 3


def test_run_sync_works_inside_a_running_loop() -> None:
    async def inner() -> int:
        return 41

    async def outer() -> int:
        return run_sync(inner()) + 1

    assert asyncio.run(outer()) == 42
    with pytest.raises(ZeroDivisionError):
        asyncio.run(_raises_inside())


async def _raises_inside() -> None:
    async def broken() -> float:
        return 1 / 0

    run_sync(broken())
