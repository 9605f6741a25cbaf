"""A server is started once, is ready when it answers, and never outlives its owner."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from scripted import says, status
from scripted import server as answering

from rar_lib.core.errors import DataError, ServerError
from rar_lib.core.types import Grade
from rar_lib.data.tasks import load_mini
from rar_lib.judging.calibration import fit
from rar_lib.judging.chat import Chat
from rar_lib.judging.judge import Judge, grade_many
from rar_lib.models import llama, processor, server, vllm_args
from rar_lib.models.processor import Engine
from rar_lib.models.server import (
    LINE_S,
    Endpoint,
    LocalServer,
    local_chat,
    process_start,
    serve,
)

pytestmark = pytest.mark.fault

FAKE = Path(__file__).parents[1] / "helpers" / "fake_server.py"
PROGRAM = (sys.executable, str(FAKE))
Serve = Callable[..., AbstractContextManager[Endpoint]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAR_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FAKE_TRACE", str(tmp_path / "trace"))
    monkeypatch.setenv("FAKE_MODE", "ok")
    monkeypatch.setattr(server, "check_memory", lambda _: None)
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"0")
    return folder


def fake(folder: Path, **settings: Any) -> AbstractContextManager[Endpoint]:
    return serve(str(folder), _program=PROGRAM, **({"timeout_s": 30.0} | settings))


def started(folder: Path) -> list[list[int]]:
    """Every start so far: ``[server pid, child pid]``."""
    trace = folder.parent / "trace"
    lines = trace.read_text().splitlines() if trace.exists() else []
    return [list(map(int, line.split())) for line in lines]


def gone(pids: list[int], within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while any(process_start(pid) is not None for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def wait_for(condition: Callable[[], object], within_s: float = 20) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.05)


def entries(folder: Path) -> list[Path]:
    return list((folder.parent / "home" / "run").glob("*.json"))


def test_a_start_is_logged_and_nothing_is_printed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(server, "probe", lambda *_: None)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    # The command line's, where a test before this one has used it in this process.
    monkeypatch.setattr(logging.getLogger("rar_lib"), "handlers", [])
    todo = SimpleNamespace(name="tiny", usual_s=30.0)
    with caplog.at_level("INFO", logger="rar_lib.models.server"):
        server._wait_ready(todo, "", SimpleNamespace(poll=lambda: None), tmp_path, 1.0)  # type: ignore[arg-type]
    assert caplog.messages == ["starting tiny, usually about 30 s", "tiny ready after 0 s"]
    assert capsys.readouterr() == ("", "")


def test_ready_then_everything_gone(folder: Path) -> None:
    with fake(folder) as endpoint:
        assert server.probe(endpoint.base_url, "tiny") is None
        assert (endpoint.model, endpoint.owned) == ("tiny", True)
        [[pid, child]] = started(folder)
        assert endpoint.pid == pid
        assert os.getpgid(child) == pid != os.getpgid(0)
        assert len(entries(folder)) == 1
    assert gone([pid, child], 0)  # already, not soon
    assert entries(folder) == []


def test_second_caller_reuses_and_leaves_it_running(folder: Path) -> None:
    with fake(folder) as first:
        with fake(folder) as second:
            assert second.base_url == first.base_url
            assert not second.owned
        assert server.probe(first.base_url, "tiny") is None
        with fake(folder, max_model_len=1024) as other:  # other settings, other server
            assert other.base_url != first.base_url
    assert len(started(folder)) == 2


def test_two_concurrent_callers_start_one(folder: Path) -> None:
    both = threading.Barrier(2, timeout=60)

    def call() -> tuple[str, bool]:
        both.wait()
        with fake(folder) as endpoint:
            both.wait()
            return endpoint.base_url, endpoint.owned

    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(call) for _ in range(2)]
    assert [one.exception() for one in calls] == [None, None]
    seen = [one.result() for one in calls]
    assert len({url for url, _ in seen}) == 1
    assert sorted(owned for _, owned in seen) == [False, True]
    assert len(started(folder)) == 1


def test_death_before_ready_shows_the_log(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_MODE", "die")
    with (
        pytest.raises(ServerError, match=r"tiny ended with code 3") as error,
        fake(folder),
    ):
        pass
    text = str(error.value)
    assert "log line 29" in text
    assert "log line 9\n" not in text
    assert ".log" in text
    assert gone(started(folder)[0], 0)


def test_missing_program_names_the_install(folder: Path) -> None:
    program = (sys.executable, "-m", "vllm_of_nobody")
    with (
        pytest.raises(ServerError, match="install the server"),
        serve(str(folder), _program=program),
    ):
        pass


def test_no_token_in_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_MODE", "silent")
    monkeypatch.setattr(server, "PROBE_S", 1.0)
    with (
        pytest.raises(ServerError, match="gave no token within 1 s"),
        fake(folder, timeout_s=1.0),
    ):
        pass
    assert gone(started(folder)[0], 0)


def test_stuck_server_is_reported_not_doubled(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_MODE", "stuck")
    with fake(folder) as endpoint:
        monkeypatch.setattr(server, "PROBE_S", 1.0)
        with pytest.raises(ServerError, match=f"kill {endpoint.pid}"), fake(folder):
            pass
    assert len(started(folder)) == 1


def test_sigterm_refused_means_sigkill(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_MODE", "stubborn")
    monkeypatch.setattr(server, "GRACE_S", 1.0)
    with fake(folder):
        pass
    assert gone(started(folder)[0], 0)


def test_wrong_model_behind_a_reused_port(folder: Path) -> None:
    other = folder.parent / "other"
    other.mkdir()
    (other / "model.safetensors").write_bytes(b"1")
    with fake(folder) as first, fake(other) as second:
        [mine] = [p for p in entries(folder) if p.name.startswith("tiny")]
        record = json.loads(mine.read_text())
        record["base_url"] = second.base_url
        mine.write_text(json.dumps(record))
        with fake(folder) as third:
            assert third.owned
            assert third.base_url not in (first.base_url, second.base_url)
        assert server.probe(second.base_url, "other") is None


def test_port_in_use(folder: Path) -> None:
    with fake(folder) as endpoint:
        port = int(endpoint.base_url.split(":")[2].split("/")[0])
        with (
            pytest.raises(ServerError, match=f"port {port}"),
            fake(folder, port=port, max_model_len=1024),
        ):
            pass


OWNER = f"""
import sys, time
from rar_lib.models import server
server.check_memory = lambda _: None
with server.serve(sys.argv[1], _program=({sys.executable!r}, {str(FAKE)!r}), timeout_s=30) as e:
    print(e.pid, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def owner(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another Python process with a ready server."""
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip().isdigit()
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_owner_ends_by_a_signal(
    folder: Path, owner: subprocess.Popen[str], number: signal.Signals
) -> None:
    [pids] = started(folder)
    owner.send_signal(number)
    owner.wait(20)
    assert gone(pids, 15)
    with fake(folder) as endpoint:  # what it left in the registry does no harm
        assert endpoint.owned


def test_owner_and_supervisor_killed_together(folder: Path, owner: subprocess.Popen[str]) -> None:
    [[pid, child]] = started(folder)
    supervisor = parent(pid)
    os.kill(owner.pid, signal.SIGKILL)
    os.kill(supervisor, signal.SIGKILL)
    assert gone([pid], 15)  # told by the kernel; its children are its own to stop
    os.kill(child, signal.SIGKILL)


def test_killed_supervisor_leaves_nothing_behind(folder: Path) -> None:
    with fake(folder) as endpoint:
        assert endpoint.pid is not None
        os.kill(parent(endpoint.pid), signal.SIGKILL)
    assert gone(started(folder)[0], 5)


def test_ctrl_c_during_the_start(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_MODE", "silent")
    process = subprocess.Popen([sys.executable, "-c", OWNER, str(folder)], stderr=subprocess.PIPE)
    wait_for(lambda: started(folder))
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=20)
    assert b"KeyboardInterrupt" in stderr
    assert process.returncode != 0
    assert gone(started(folder)[0], 0)


def test_serve_forever_prints_the_url_and_stops_on_ctrl_c(folder: Path) -> None:
    # The callback of the command line comes first: a script reads the address off the first line.
    code = OWNER.split("with server")[0] + (
        "from rar_lib.cli import app\n"
        "app.main(_=False)\n"
        "from rar_lib.cli.models import serve_forever\n"
        f"serve_forever(sys.argv[1], _program=({sys.executable!r}, {str(FAKE)!r}))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("http://127.0.0.1:")
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
    process.stdout.close()
    assert gone(started(folder)[0], 0)


@pytest.mark.model
def test_real_model_answers_with_logprobs_and_is_gone_afterwards() -> None:
    with serve("smollm2-135m") as endpoint:
        assert endpoint.pid is not None
        members = group(endpoint.pid)
        assert len(members) >= 2  # the API process and the engine
        body = {
            "model": endpoint.model,
            "messages": [{"role": "user", "content": "Is water wet? Answer yes or no."}],
            "max_tokens": 1,
            "temperature": 0,
            "logprobs": True,
            "top_logprobs": 20,
        }
        request = urllib.request.Request(
            f"{endpoint.base_url}/chat/completions",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as reply:
            answer = json.load(reply)
        [token] = answer["choices"][0]["logprobs"]["content"]
        assert len(token["top_logprobs"]) == 20
        assert answer["usage"]["prompt_tokens_details"] is not None
    assert endpoint.owned
    assert gone(members, 0)


def group(pgid: int) -> list[int]:
    """Members of a process group."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[2]) == pgid:
            found.append(int(stat.parent.name))
    return found


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


TASK = load_mini("train")[0]
PROGRAM = (sys.executable, str(Path(__file__).parents[1] / "helpers" / "fake_server.py"))


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalServer]:
    """A local judge that no request has started yet."""
    monkeypatch.setenv("RAR_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FAKE_TRACE", str(tmp_path / "trace"))
    monkeypatch.setenv("FAKE_MODE", "ok")
    monkeypatch.setattr(server, "check_memory", lambda _: None)
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
    assert "(timeout_s)" in (found.reason or "")


def test_a_server_that_is_busy_leaves_the_grade_unscored() -> None:
    with answering(status(503)) as busy:
        here = Endpoint(busy.url, "m", pid=os.getpid(), log=Path("x.log"))
        chat = Chat(here, "m", timeout_s=0.5)
        found = asyncio.run(Judge(chat).grade(TASK, "Cool it.", "direct_likert"))
    assert found.score is None
    assert "InternalServerError" in (found.reason or "")


def test_an_unreadable_reply_of_a_dead_server_is_only_unreadable() -> None:
    """What was answered before the end counts as it was answered."""
    with answering(says("?", tokens={"?": 1.0})) as scripted:
        gone = Endpoint(scripted.url, "m", pid=2**22 + 1, log=Path("x.log"))
        chat = Chat(gone, "m")
        found = asyncio.run(Judge(chat).grade(TASK, "Cool it.", "direct_likert"))
    assert found.score is None


def test_an_endpoint_elsewhere_is_never_declared_dead() -> None:
    Endpoint("https://judge.invalid/v1", "m").check()


def test_a_request_to_a_server_of_ones_own_waits_its_turn_for_as_long_as_the_server_lives() -> None:
    """On a slow processor a full line takes many minutes; what ends a wait is the server's end."""
    with local_chat("smollm2-135m") as chat:
        assert chat.timeout_s == LINE_S >= 16 * Chat("http://127.0.0.1:1/v1", "m").timeout_s


def entry_for(tmp_path: Path, **changes: object) -> Path:
    path = tmp_path / "tiny-0.json"
    entry = {
        "pid": os.getpid(),
        "started": server.process_start(os.getpid()),
        "base_url": "http://127.0.0.1:1/v1",  # nothing listens on port 1
        "model": "tiny",
        "weights": "",
        "log": "x.log",
    }
    path.write_text(json.dumps(entry | changes))
    return path


@pytest.mark.parametrize(
    "changes",
    [{"started": 1}, {"started": None}, {"started": "x"}, {"pid": 2**22 + 1}, {"pid": "x"}, {}],
    ids=["pid re-used", "no start", "not a start", "process gone", "not a pid", "nobody answers"],
)
def test_stale_entries_are_removed(tmp_path: Path, changes: dict[str, object]) -> None:
    path = entry_for(tmp_path, **changes)
    assert server.registered(path, "tiny") is None
    assert not path.exists()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}'])
def test_torn_entries_are_removed(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tiny-0.json"
    path.write_text(text)
    assert server.registered(path, "tiny") is None
    assert not path.exists()


def test_a_zombie_is_not_a_running_server() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    assert child.stdin is None
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # ended, not collected
    assert server.process_start(child.pid) is None
    child.wait()


def test_importing_the_server_module_loads_nothing_heavy() -> None:
    code = (
        "import sys, rar_lib.models.server;"
        "print([m for m in ('torch', 'vllm', 'openai', 'transformers') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


# --- by which engine


@pytest.mark.parametrize(("engine", "said"), [("vllm", "llama.cpp"), ("llama.cpp", "vllm")])
def test_a_chat_is_with_the_engine_asked_for(
    engine: Engine, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its weights, dialect and packages are parts of a judge's identity, and of a call's key."""
    monkeypatch.setenv("RAR_ENGINE", said)
    with local_chat("smollm2-135m") as other, local_chat("smollm2-135m", engine=engine) as chat:
        assert chat.weights.endswith("+llama.cpp") is (engine == "llama.cpp")
        assert (chat.dialect.limit == "max_tokens") is (engine == "llama.cpp")
        assert isinstance(chat.server, LocalServer)
        assert chat.server.engine == engine
        assert chat.server.packages == (
            llama.PACKAGES if engine == "llama.cpp" else vllm_args.PACKAGES
        )
        assert Judge(chat).identity != Judge(other).identity
        with local_chat("smollm2-135m", {"engine": engine}) as same:
            assert Judge(chat).identity == Judge(same).identity


@pytest.mark.parametrize("engine", ["vllm", "llama.cpp"])
def test_a_server_is_of_the_engine_asked_for(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its plan holds command line, memory and time; so two engines never share a server."""
    monkeypatch.setenv("RAR_ENGINE", "vllm" if engine == "llama.cpp" else "llama.cpp")

    def planned(by: str) -> Callable[..., vllm_args.Plan]:
        return lambda model, **_: vllm_args.Plan(model, (by,), {}, "sha", "", 0.0, 0.0, 0.0)

    monkeypatch.setattr(llama, "plan", planned("llama.cpp"))
    monkeypatch.setattr(server, "plan", planned("vllm"))
    monkeypatch.setattr(server, "serve_plan", lambda todo, **_: nullcontext(todo))
    monkeypatch.setattr(processor, "cpu_dtype", lambda: "float32")
    # The command line's, where a test before this one has used it in this process.
    monkeypatch.setattr(logging.getLogger("rar_lib"), "propagate", True)
    caplog.set_level("DEBUG", logger="rar_lib.models.server")
    with serve("smollm2-135m", engine=engine) as found:
        plan: Any = found
        assert (plan.name, plan.args) == ("smollm2-135m", (engine,))
        assert plan.weights == ("sha+float32" if engine == "vllm" else "sha")
    assert caplog.messages == [f"smollm2-135m is served by {engine}"]


@pytest.mark.parametrize("start", [serve, local_chat])
def test_an_engine_that_there_is_not_starts_nothing(start: Any) -> None:
    wrong = pytest.raises(DataError, match=r"engine is 'lama'; allowed: vllm, llama\.cpp")
    with wrong, start("smollm2-135m", engine="lama"):
        raise AssertionError("started")


@pytest.mark.parametrize(("engine", "differs"), [("vllm", True), ("llama.cpp", False)])
def test_a_judge_in_another_number_format_is_another_judge(
    engine: Engine, differs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a calibration fitted in bfloat16 is refused where the same judge computes in float32."""
    known = []
    for dtype in ("bfloat16", "float32"):
        monkeypatch.setattr(processor, "cpu_dtype", lambda dtype=dtype: dtype)
        with local_chat("smollm2-135m", engine=engine) as chat:
            known.append(Judge(chat))
    one, other = known
    assert (one.identity != other.identity) is differs
    if differs:
        fitted = fit([0.1, 0.9, 0.4, 0.6], [False, True, True, False], judge=one.identity)
        with pytest.raises(DataError, match="weights"):
            replace(other, calibration=fitted)
