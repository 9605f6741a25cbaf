"""A scripted OpenAI-compatible server: real HTTP, replies from a list. Tests only."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = dict[str, Any]


Likely = dict[str, float]


def says(
    text: str | None,
    finish: str | None = "stop",
    tokens: Likely | list[Likely] | None = None,
    **message: Any,
) -> Reply:
    """A completion with this text, and perhaps the probabilities of its first token or tokens."""
    choice: dict[str, Any] = {
        "index": 0,
        "message": {"role": "assistant", "content": text} | message,
        "finish_reason": finish,
    }
    if tokens is not None:
        places = tokens if isinstance(tokens, list) else [tokens]
        choice["logprobs"] = {"content": [_place(likely) for likely in places], "refusal": None}
    return {
        "id": "x",
        "object": "chat.completion",
        "created": 0,
        "model": "scripted",
        "choices": [choice],
        "usage": {"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11},
    }


def _place(likely: Likely) -> dict[str, Any]:
    """One token of a reply: the likeliest was written."""
    top = [{"token": t, "logprob": math.log(p), "bytes": None} for t, p in likely.items()]
    return {**max(top, key=lambda one: one["logprob"], default={"token": ""}), "top_logprobs": top}


def status(http: int, message: str = "no", **more: Any) -> Reply:
    """An HTTP error, with a Retry-After that keeps the test short."""
    error = {"message": message, "type": "test", "code": http} | more
    return {"status": http, "error": error}


def raw(body: bytes, content_type: str = "application/json") -> Reply:
    """Whatever bytes stand where a completion should."""
    return {"raw": body, "content_type": content_type}


class Scripted:
    """What was asked, and what is answered: ``answer(request, number) -> reply``."""

    def __init__(self, answer: Callable[[Reply, int], Reply]) -> None:
        self.requests: list[Reply] = []
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.answer = answer
        self.url = ""
        self.port = 0  # of the client whose request is being answered
        self._lock = threading.Lock()

    def reply(
        self, request: Reply, path: str = "", headers: dict[str, str] | None = None, port: int = 0
    ) -> Reply:
        with self._lock:
            self.port = port
            self.requests.append(request)
            self.paths.append(path)
            self.headers.append(headers or {})
            return self.answer(request, len(self.requests) - 1)


class Many(ThreadingHTTPServer):
    """A server that many may call at the same moment."""

    # Of more than 5 the system drops some: they come back after a second, which is a timeout here.
    request_queue_size = 128


@contextmanager
def server(
    answer: Callable[[Reply, int], Reply] | list[Reply] | Reply, host: str = "127.0.0.1"
) -> Iterator[Scripted]:
    """Serve on a free loopback port; a list is answered in order, its last item for ever.

    Under ``127.0.0.2`` it is a machine that the library does not take for its own.
    """
    if isinstance(answer, dict):
        answer = [answer]
    if isinstance(answer, list):
        script = answer
        answer = lambda _, n: script[min(n, len(script) - 1)]  # noqa: E731
    scripted = Scripted(answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Head and body are sent one after the other: the second would wait 40 ms for an answer.
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            headers = {name.lower(): value for name, value in self.headers.items()}
            reply = scripted.reply(request, self.path, headers, self.client_address[1])
            body = reply["raw"] if "raw" in reply else json.dumps(reply).encode()
            self.send_response(reply.get("status", 200))
            self.send_header("Content-Type", reply.get("content_type", "application/json"))
            self.send_header("Content-Length", str(len(body)))
            if reply.get("waits", True):
                self.send_header("retry-after-ms", "1")
            for name, value in reply.get("headers", {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    http = Many((host, 0), Handler)
    scripted.url = f"http://{host}:{http.server_address[1]}/v1"
    # Asked often whether it shall end: a test waits for that, and hundreds have a server.
    thread = threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield scripted
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
