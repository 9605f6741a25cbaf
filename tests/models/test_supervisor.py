"""The process that ends a server when its owner has ended: real processes, killed in every way.

What `serve` promises by it is in test_server.py; here the program is run by itself.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rar_lib.models import supervisor
from rar_lib.models.server import process_start

pytestmark = pytest.mark.fault

PROGRAM = [sys.executable, "-I", "-S", str(supervisor.__file__)]
#: Waits for long, and ends when it is told to.
WAITS = "import time; time.sleep(600)"
#: Does not end when it is told to.
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + WAITS
#: Leaves a child in its group and says its process id in a file.
LEAVES = (
    "import pathlib, subprocess, sys; "
    f"child = subprocess.Popen([sys.executable, '-c', {WAITS!r}]); "
    "pathlib.Path(sys.argv[1]).write_text(str(child.pid))"
)


@pytest.fixture
def running() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts the supervisor of a program; what a test leaves is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(code: str, *arguments: str, grace: float = 5.0) -> subprocess.Popen[str]:
        command = [*PROGRAM, str(grace), sys.executable, "-c", code, *arguments]
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def server_of(process: subprocess.Popen[str]) -> int:
    """The process id of the server, which is the first line."""
    assert process.stdout is not None
    return int(process.stdout.readline())


def comes(condition: Callable[[], object], within: float) -> bool:
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def ended(pid: int, within: float = 20.0) -> bool:
    return comes(lambda: process_start(pid) is None, within)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("pass", 0),
        ("raise SystemExit(3)", 3),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 128 + 9),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", 128 + 15),
    ],
)
def test_it_ends_with_the_servers_status(
    code: str, status: int, running: Callable[..., subprocess.Popen[str]]
) -> None:
    process = running(code)
    pid = server_of(process)
    assert process.wait(20) == status
    assert ended(pid, 0)


def close(process: subprocess.Popen[str]) -> None:
    """What the kernel does when the owner is gone."""
    assert process.stdin is not None
    process.stdin.close()
    process.stdin = None


def terminate(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGTERM)


def interrupt(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGINT)


@pytest.mark.parametrize("stop", [close, terminate, interrupt])
def test_the_server_is_told_to_end_when_the_owner_is_gone_or_says_so(
    stop: Callable[[subprocess.Popen[str]], None],
    running: Callable[..., subprocess.Popen[str]],
) -> None:
    process = running(WAITS)
    pid = server_of(process)
    stop(process)
    assert process.wait(20) == 128 + signal.SIGTERM
    assert ended(pid, 0), "already, not soon"


def test_a_server_that_does_not_listen_is_killed_after_its_grace(
    running: Callable[..., subprocess.Popen[str]],
) -> None:
    process = running(STUBBORN, grace=0.5)
    pid = server_of(process)
    assert comes(lambda: ignores(pid, signal.SIGTERM), 20)
    begun = time.monotonic()
    close(process)
    assert process.wait(20) == 128 + signal.SIGKILL
    assert time.monotonic() - begun >= 0.5
    assert ended(pid, 0)


def ignores(pid: int, number: signal.Signals) -> bool:
    """Whether a process has asked not to be told of a signal."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (mask,) = [line.split()[1] for line in lines if line.startswith("SigIgn")]
    return bool(int(mask, 16) >> (number - 1) & 1)


def test_what_a_server_leaves_in_its_group_is_stopped_too(
    tmp_path: Path, running: Callable[..., subprocess.Popen[str]]
) -> None:
    note = tmp_path / "child"
    process = running(LEAVES, str(note), grace=30.0)
    pid = server_of(process)
    begun = time.monotonic()
    assert process.wait(20) == 0
    assert time.monotonic() - begun < 15, "an orphan has a second, and not the grace of a server"
    child = int(note.read_text())
    assert child != pid
    assert ended(child, 0)


def test_an_owner_that_is_killed_takes_the_server_along(tmp_path: Path) -> None:
    """By any means: nobody tells the supervisor, whose input closes."""
    command = [*PROGRAM, "5", sys.executable, "-c", WAITS]
    code = (
        "import subprocess, sys\n"
        f"inner = subprocess.Popen({command!r}, stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        "print(inner.pid, inner.stdout.readline().decode(), flush=True)\n"
        "inner.wait()\n"
    )
    owner = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    watching, server = map(int, owner.stdout.readline().split())
    owner.kill()
    owner.wait()
    owner.stdout.close()
    assert ended(server)
    assert ended(watching)


def test_a_supervisor_that_is_killed_takes_the_server_along(
    running: Callable[..., subprocess.Popen[str]],
) -> None:
    """The kernel tells the server; nobody else is left."""
    process = running(WAITS)
    pid = server_of(process)
    process.kill()
    assert ended(pid)


def test_a_server_is_in_a_group_of_its_own_and_reads_and_writes_nothing_of_the_owners(
    running: Callable[..., subprocess.Popen[str]],
) -> None:
    """Ctrl-C in a terminal does not reach it, and its words do not stand among the owner's."""
    said = "import os, sys; print(os.getpgid(0) == os.getpid(), repr(sys.stdin.read()))"
    process = running(said)
    server_of(process)
    assert process.wait(20) == 0
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.read() == "", "its only line is the process id"
    assert process.stderr.read() == "True ''\n"


def test_nothing_is_imported_beyond_the_standard_library() -> None:
    """It is run without site packages, so that it starts at once."""
    code = f"import runpy, sys; runpy.run_path({supervisor.__file__!r}); print(sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True
    )
    assert "rar_lib" not in done.stdout
