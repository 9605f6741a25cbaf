"""A local server that has died is an error with its log; one that is busy or slow is not.

The server here is a real process on a real port (fake_server.py), and it is really killed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from scripted import says, server, status

from rar_lib.core.errors import ServerError
from rar_lib.core.types import Grade
from rar_lib.data.tasks import load_mini
from rar_lib.judging.chat import Chat
from rar_lib.judging.judge import Judge, grade_many
from rar_lib.models import server as servers
from rar_lib.models.server import Endpoint, LocalServer

pytestmark = pytest.mark.fault

TASK = load_mini("train")[0]
PROGRAM = (sys.executable, str(Path(__file__).parents[1] / "helpers" / "fake_server.py"))


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalServer]:
    """A local judge that no request has started yet."""
    monkeypatch.setenv("RAR_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FAKE_TRACE", str(tmp_path / "trace"))
    monkeypatch.setenv("FAKE_MODE", "ok")
    monkeypatch.setattr(servers, "check_memory", lambda _: None)
    # Four tries without the seconds between them.
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01, raising=False)
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"0")
    with ExitStack() as stack:
        yield LocalServer(stack, str(folder), {"_program": PROGRAM, "timeout_s": 30.0})


def judge(local: LocalServer) -> Judge:
    return Judge(Chat(local, "tiny", timeout_s=0.5))


def grade(local: LocalServer) -> Grade:
    return asyncio.run(judge(local).grade(TASK, "Cool it.", "direct_likert"))


def kill(local: LocalServer) -> Endpoint:
    [endpoint] = local._found
    assert endpoint.pid is not None
    os.kill(endpoint.pid, signal.SIGKILL)
    return endpoint


def test_a_server_killed_in_the_middle_of_a_run_stops_it_and_names_the_log(
    local: LocalServer,
) -> None:
    assert grade(local).rating == pytest.approx(7.0)
    dead = kill(local)
    with pytest.raises(ServerError) as caught:
        grade(local)
    text = str(caught.value)
    assert f"the server for tiny ended (process {dead.pid}) while it was needed" in text
    assert "run again" in text
    assert str(dead.log) in text


def test_requests_in_flight_when_it_dies_raise_too(
    local: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_MODE", "mortal")  # ends by itself at the third grade
    items = [(TASK, f"answer {n}") for n in range(6)]
    with pytest.raises(ServerError, match="while it was needed"):
        asyncio.run(grade_many(judge(local), items, "direct_likert"))


def test_a_server_that_another_process_started_is_watched_too(local: LocalServer) -> None:
    url = local.url()
    with ExitStack() as stack:
        second = LocalServer(stack, local.model, local.settings)
        assert second.url() == url
        assert not second._found[0].owned
        kill(local)
        with pytest.raises(ServerError, match="while it was needed"):
            grade(second)


def test_a_server_that_is_slow_leaves_the_grade_unscored(
    local: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_MODE", "slow")  # alive, and later than the client waits
    found = grade(local)
    assert found.score is None
    assert "APITimeoutError" in (found.reason or "")


def test_a_server_that_is_busy_leaves_the_grade_unscored() -> None:
    with server(status(503)) as busy:
        here = Endpoint(busy.url, "m", pid=os.getpid(), log=Path("x.log"))
        chat = Chat(here, "m")
        found = asyncio.run(Judge(chat).grade(TASK, "Cool it.", "direct_likert"))
    assert found.score is None
    assert "InternalServerError" in (found.reason or "")


def test_an_unreadable_reply_of_a_dead_server_is_only_unreadable() -> None:
    """What was answered before the end counts as it was answered."""
    with server(says("?", tokens={"?": 1.0})) as scripted:
        gone = Endpoint(scripted.url, "m", pid=2**22 + 1, log=Path("x.log"))
        chat = Chat(gone, "m")
        found = asyncio.run(Judge(chat).grade(TASK, "Cool it.", "direct_likert"))
    assert found.score is None


def test_an_endpoint_elsewhere_is_never_declared_dead() -> None:
    Endpoint("https://judge.invalid/v1", "m").check()
