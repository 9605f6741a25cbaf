"""The small process that ends a server when its owner has ended.

Run as ``python -I -S supervisor.py GRACE_S COMMAND...``; it prints the server's
pid on one line and then holds on until one of three things happens:

- its standard input closes (the owner ended, by any means, SIGKILL included)
  or it receives SIGTERM or SIGINT: the server's process group gets SIGTERM and,
  after ``GRACE_S`` seconds, SIGKILL;
- the server ends: whatever it left in its group is stopped too, within a second;
- the supervisor itself is killed: the kernel sends the server SIGTERM
  (PR_SET_PDEATHSIG).

It exits with the server's exit status (128 + signal if a signal ended it).
Standard library only, and never imported by the rest of the library.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import time

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
POLL_S = 0.25
ORPHAN_GRACE_S = 1.0
stopping = False


def request_stop(*_: object) -> None:
    """Signal handler: ask the main loop to stop the server."""
    global stopping
    stopping = True


def signal_group(group: int, number: int) -> bool:
    """Send a signal to a process group; False if nothing is left in it."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


def reap() -> dict[int, int]:
    """Collect every child that has ended: ``{pid: exit code}``.

    As a sub-reaper this process inherits the server's orphans; without the
    reaping they would stay as zombies and the group would never look empty.
    """
    ended: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        code = os.waitstatus_to_exitcode(status)
        ended[pid] = code if code >= 0 else 128 - code


def main(grace_s: float, command: list[str]) -> int:
    """Run ``command`` under supervision; see the module docstring."""
    signal.signal(signal.SIGTERM, request_stop)
    signal.signal(signal.SIGINT, request_stop)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    owner = os.getppid()
    me = os.getpid()

    def in_child() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != me:  # killed between fork and prctl
            os._exit(1)

    server = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr.fileno(),
        start_new_session=True,  # its own group: Ctrl-C in a terminal does not reach it
        preexec_fn=in_child,  # safe: this process has one thread
    ).pid
    print(server, flush=True)

    code: int | None = None
    while code is None and not stopping:
        readable, _, _ = select.select([0], [], [], POLL_S)
        # The parent changes too when a fork of the owner still holds our input open.
        if (readable and not os.read(0, 1)) or os.getppid() != owner:
            request_stop()
        code = reap().get(server, code)

    signal_group(server, signal.SIGTERM)
    kill_at = time.monotonic() + grace_s
    while signal_group(server, 0):
        code = reap().get(server, code)
        if code is not None:
            # Nobody is left to stop the orphans; the short wait lets Python's
            # resource tracker remove the shared memory they leave behind.
            kill_at = min(kill_at, time.monotonic() + ORPHAN_GRACE_S)
        if time.monotonic() >= kill_at:
            signal_group(server, signal.SIGKILL)
        time.sleep(0.05)
    return code if code is not None else reap().get(server, 1)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
