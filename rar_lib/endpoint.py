"""Where a model answers, and whether it still does."""

from __future__ import annotations

import json
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rar_lib.errors import ServerError
from rar_lib.launch import post_mortem


@dataclass(frozen=True)
class Endpoint:
    """Where a model answers.

    Attributes:
        base_url: ``http://127.0.0.1:PORT/v1``.
        model: The name to send in requests.
        weights: SHA-256 identity of the weights, ``""`` if unknown.
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

    def check(self) -> None:
        """Tell a server that is busy from one that is gone.

        Raises:
            ServerError: The process has ended; the message names its log and what to do.
        """
        if self.pid and self.log and process_start(self.pid) is None:
            what = f"ended (process {self.pid}) while it was needed"
            again = "run again: finished calls are on record, and the server starts anew"
            raise ServerError(post_mortem(self.model, what, self.log, again))


def process_start(pid: int) -> int | None:
    """Start time of a live process in clock ticks since boot; guards against re-used pids."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text[text.rindex(")") + 2 :].split()  # the command name may hold spaces
    return None if fields[0] in "ZX" else int(fields[19])


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
