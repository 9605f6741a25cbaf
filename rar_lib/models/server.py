"""A local judge server: started once, checked by a real completion, always stopped.

    with serve("qwen-1.5b") as endpoint:
        ...                                # endpoint.base_url speaks the OpenAI protocol

The server is vLLM, or llama.cpp, on the loopback interface, in its own process group under
``supervisor.py``, which stops the whole group when the owner ends by any means.
A second caller with the same model, weights and settings gets the running
server (``owned=False``); it lives as long as the process that started it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from rar_lib.core.errors import DataError, ServerError
from rar_lib.core.files import atomic_write, folder_hash
from rar_lib.core.processes import of_launcher
from rar_lib.judging.cassette import Cassette
from rar_lib.judging.chat import Chat
from rar_lib.judging.dialect import DIALECTS, Dialect
from rar_lib.models import llama, processor
from rar_lib.models.catalogue import MODELS
from rar_lib.models.processor import Engine
from rar_lib.models.vllm_args import (
    DROPPED_ENV,
    KV_CACHE_GB,
    PACKAGES,
    VLLM,
    Device,
    Plan,
    check_memory,
    free_port,
    plan,
    post_mortem,
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Endpoint:
    """Where a model answers.

    Attributes:
        base_url: ``http://127.0.0.1:PORT/v1``.
        model: The name to send in requests.
        weights: identity of the weights (SHA-256, and how they are computed), ``""`` if unknown.
        pid: The server process, which is also its process group; ``None`` if not local.
        log: The server's log file.
        owned: Whether leaving ``serve`` stops the server.
    """

    base_url: str
    model: str
    weights: str = ""
    pid: int | None = None
    log: Path | None = None
    owned: bool = False

    def url(self) -> str:
        """The address, so that an endpoint can be the server of a chat."""
        return self.base_url

    def check(self) -> None:
        """Tell a server that is busy from one that is gone.

        Raises:
            ServerError: The process has ended; the message names its log and what to do.
        """
        if self.pid and self.log and process_start(self.pid) is None:
            what = f"ended (process {self.pid}) while it was needed"
            again = "run again: finished calls are on record, and the server starts anew"
            raise ServerError(post_mortem(self.model, what, self.log, again))


def process_start(pid: int) -> float | None:
    """When a live process began, in seconds since 1970; guards against re-used pids."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.NoSuchProcess:
        return None


def probe(base_url: str, model: str, timeout_s: float = 30.0) -> str | None:
    """Ask a server for one token.

    ``/health`` and ``/v1/models`` go on answering when the engine behind them
    is stuck, so only a completion counts.

    Returns:
        ``None`` if the right model answered, else what is wrong, in one line.
    """
    try:
        served = [entry["id"] for entry in _http(f"{base_url}/models", None, timeout_s)["data"]]
        if model not in served:
            return f"{base_url} serves {', '.join(map(str, served))}, not {model}"
        body = {"model": model, "prompt": "1", "max_tokens": 1, "temperature": 0}
        _http(f"{base_url}/completions", body, timeout_s)["choices"][0]
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        return f"{base_url} does not answer ({error})"
    return None


def _http(url: str, body: dict[str, Any] | None, timeout_s: float) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    # No proxy: the server is on the loopback interface whatever http_proxy says.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=timeout_s) as reply:
        return json.load(reply)


GRACE_S = 10.0  # from SIGTERM to SIGKILL
PROBE_S = 30.0
SAME_START_S = 2.0


def registered(entry: Path, model: str) -> Endpoint | None:
    """The running server that a registry file names; a stale file is removed.

    Raises:
        ServerError: The server runs but gives no token: somebody must decide to stop it.
    """
    try:
        found = json.loads(entry.read_text())
        pid = int(found["pid"])
        base_url = str(found["base_url"])
        log = Path(found["log"])
        started = process_start(pid)
        # To within what a correction of the clock may move it.
        alive = started is not None and abs(started - float(found["started"])) < SAME_START_S
        weights = str(found["weights"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        alive = False
    if alive:
        begin = time.monotonic()
        trouble = probe(base_url, model, PROBE_S)
        if trouble is None:
            return Endpoint(base_url, model, weights, pid, log, owned=False)
        if time.monotonic() - begin >= PROBE_S:  # stuck; a refusal would have come at once
            raise ServerError(
                f"the server for {model} (process {pid}) runs, but {trouble}; stop it with "
                f"'kill {pid}' and run again. Its log: {log}"
            )
    entry.unlink(missing_ok=True)
    return None


@contextlib.contextmanager
def serve(
    model: str,
    *,
    device: Device = "cpu",
    engine: Engine | None = None,
    max_model_len: int = 2048,
    kv_cache_gb: float = KV_CACHE_GB,
    timeout_s: float = 600.0,
    port: int = 0,
    _program: Sequence[str] = VLLM,
) -> Iterator[Endpoint]:
    """A server for ``model``: the running one if there is one, else a new one.

    A new server is stopped on leaving the block, and also if this process dies.

    Args:
        model: Short name of an artifact, an existing folder, or (cuda) a hub id.
        device: ``cpu`` or ``cuda``.
        engine: ``vllm`` or ``llama.cpp``; ``None`` leaves it to ``RAR_ENGINE``
            (:func:`rar_lib.models.processor.engine`).
        max_model_len: Longest prompt plus reply in tokens.
        kv_cache_gb: Memory for cached keys and values in GB; on cuda give more.
        timeout_s: Seconds until the first token must have come.
        port: Port to listen on; 0 takes a free one.

    Raises:
        ServerError: Not enough memory, port taken, or the server died or was not
            ready in time; the message holds the end of its log.
        ArtifactError: The weights are not there.
        DataError: There is no such engine, or it does not read the model.
    """
    by = processor.engine(model, device, engine)
    _log.debug("%s is served by %s", model, by)
    sizes: dict[str, Any] = {"max_model_len": max_model_len, "kv_cache_gb": kv_cache_gb}
    if by == "llama.cpp":
        todo = llama.plan(model, **sizes)
    else:
        todo = plan(model, device=device, program=_program, **sizes)
        todo = replace(todo, weights=processor.as_computed(todo.weights, device))
    with serve_plan(todo, timeout_s=timeout_s, port=port) as endpoint:
        yield endpoint


@contextlib.contextmanager
def serve_plan(todo: Plan, *, timeout_s: float = 600.0, port: int = 0) -> Iterator[Endpoint]:
    """As `serve`, for a command line that was worked out, and perhaps changed, before.

    Raises:
        ServerError: as `serve`.
    """
    from rar_lib.core import files

    run = files.home() / "run"
    run.mkdir(parents=True, exist_ok=True)
    entry = run / f"{todo.slug}-{todo.key}.json"
    with contextlib.ExitStack() as stack:
        try:
            with FileLock(f"{entry}.lock", timeout=timeout_s):
                endpoint = registered(entry, todo.name)
                if endpoint is None:
                    endpoint = stack.enter_context(_started(todo, entry, port, timeout_s))
        except Timeout as error:
            raise ServerError(
                f"another process has been starting {todo.name} for {timeout_s:.0f} s: "
                f"wait for it or end it (lock file {entry}.lock)"
            ) from error
        yield endpoint


@dataclass
class LocalServer:
    """A server on this machine that the first request starts: ``Chat(LocalServer(...), model)``.

    Attributes:
        until: its end stops the server, if it was started here.
        settings: of `serve`, such as ``engine``.
    """

    until: contextlib.ExitStack
    model: str
    settings: dict[str, Any] = field(default_factory=dict)
    _found: list[Endpoint] = field(default_factory=list, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def url(self) -> str:
        """The address; the first of many concurrent calls starts the server for all.

        Raises:
            ServerError: as `serve`.
        """
        with self._lock:
            if not self._found:
                self._found.append(self.until.enter_context(serve(self.model, **self.settings)))
            return self._found[0].base_url

    @property
    def engine(self) -> Engine:
        """What serves the model.

        Raises:
            DataError: as `serve`.
        """
        settings = self.settings
        return processor.engine(self.model, settings.get("device", "cpu"), settings.get("engine"))

    @property
    def packages(self) -> tuple[str, ...]:
        """Packages that compute its answers."""
        return llama.PACKAGES if self.engine == "llama.cpp" else PACKAGES

    def check(self) -> None:
        """See `Endpoint.check`.

        Raises:
            ServerError: the server has ended since it was started or found.
        """
        for endpoint in self._found:
            endpoint.check()


#: A server that was started here is watched: when it ends, its requests fail at once. While it
#: lives, a slow processor may take many minutes for all that stands in its line; a shorter limit
#: would throw away what it is about to say, and ask again.
LINE_S = 3600.0


@contextlib.contextmanager
def local_chat(
    model: str,
    settings: Mapping[str, Any] | None = None,
    cassette: Cassette | None = None,
    *,
    engine: Engine | None = None,
) -> Iterator[Chat]:
    """A chat with a model on this machine, for as long as the block lasts.

    Its server starts with the first call that the cassette can't answer, and stops with the block.

    Args:
        model: short name of a pinned model, a folder, or on ``cuda`` a hub id.
        settings: of :func:`serve`, such as ``device`` and ``max_model_len``.
        engine: of :func:`serve`, in place of the one in ``settings``.

    Raises:
        DataError: there is no such model on this machine, or no such engine, or it does not read
            the model.
    """
    settings = dict(settings or {})
    if engine is not None:
        settings["engine"] = engine
    folder = model not in MODELS and Path(model).is_dir()
    known = model in MODELS or folder
    if not known and not (settings.get("device") == "cuda" and "/" in model):
        raise DataError(
            f"no model {model!r} on this machine; choose from: {', '.join(MODELS)}, or give the "
            "address of an endpoint that has it (--base-url)"
        )
    weights = MODELS[model].identity if model in MODELS else ""
    if folder:
        weights = folder_hash(Path(model))
    # A folder is served under its own name, as `plan` says.
    name = Path(model).resolve().name if folder else model
    with contextlib.ExitStack() as until:
        local = LocalServer(until, model, settings)
        said = Dialect()
        if local.engine == "llama.cpp":
            said = DIALECTS["llama.cpp"]
            weights = llama.identity(weights)
        else:
            weights = processor.as_computed(weights, settings.get("device", "cpu"))
        said = replace(said, lead=model in MODELS and MODELS[model].led)
        yield Chat(local, name, weights, dialect=said, cassette=cassette, timeout_s=LINE_S)


@contextlib.contextmanager
def _started(todo: Plan, entry: Path, port: int, timeout_s: float) -> Iterator[Endpoint]:
    check_memory(todo)
    port = free_port(port)
    base_url = f"http://127.0.0.1:{port}/v1"
    log = entry.parent.parent / "logs" / f"{todo.slug}-{port}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    env = {
        key: value
        for key, value in os.environ.items()
        if key not in DROPPED_ENV and not of_launcher(key)
    }
    env |= todo.env
    # -I -S: bare and quick; by path, so that rar_lib is not imported.
    keeper = [sys.executable, "-I", "-S", str(Path(__file__).with_name("supervisor.py"))]
    with log.open("wb") as sink:
        supervisor = subprocess.Popen(
            [*keeper, str(GRACE_S), *todo.args, "--port", str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=sink,
            env=env,
            start_new_session=True,
        )
    assert supervisor.stdout is not None
    pid = 0
    try:
        pid = int(supervisor.stdout.readline() or 0)
        _wait_ready(todo, base_url, supervisor, log, timeout_s)
        endpoint = Endpoint(base_url, todo.name, todo.weights, pid, log, owned=True)
        found = {"pid": pid, "started": process_start(pid), "base_url": base_url}
        found |= {"model": todo.name, "weights": todo.weights, "log": str(log)}
        atomic_write(entry, json.dumps(found))
        yield endpoint
    finally:
        with contextlib.suppress(FileNotFoundError, ValueError):
            if json.loads(entry.read_text())["pid"] == pid:
                entry.unlink()
        _stop(supervisor, pid)


def _wait_ready(
    todo: Plan, base_url: str, supervisor: subprocess.Popen[bytes], log: Path, timeout_s: float
) -> None:
    begin = time.monotonic()
    usual = f", usually about {todo.usual_s:.0f} s" if todo.usual_s else ""
    _log.info("starting %s%s", todo.name, usual)
    while True:
        waited = time.monotonic() - begin
        trouble = probe(base_url, todo.name, min(PROBE_S, timeout_s))
        # A server that died cannot be the one that answered.
        if supervisor.poll() is not None:
            raise ServerError(
                post_mortem(todo.name, f"ended with code {supervisor.returncode}", log)
            )
        if trouble is None:
            break
        if waited > timeout_s:
            why = f"gave no token within {timeout_s:.0f} s ({trouble})"
            raise ServerError(post_mortem(todo.name, why, log))
        time.sleep(0.3)
    _log.info("%s ready after %.0f s", todo.name, waited)


def _stop(supervisor: subprocess.Popen[bytes], group: int) -> None:
    """Have the supervisor stop the group; do it here if the supervisor was killed."""
    for pipe in (supervisor.stdin, supervisor.stdout):
        if pipe is not None:
            pipe.close()
    supervisor.terminate()  # a fork of this process may still hold the pipe open
    with contextlib.suppress(subprocess.TimeoutExpired):
        supervisor.wait(GRACE_S + 10)
    if group and supervisor.returncode in (None, -signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)
