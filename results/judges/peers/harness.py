"""What every system of the comparison shares: the same items in, the same measurements out.

Each adapter beside this file is run in the environment of its system:

    python run_SYSTEM.py --items ITEMS.jsonl --warm WARM.jsonl --url URL --model NAME --out OUT.json

An item is a question, a response and its criteria. The adapter gives ``main`` a function that
makes a grader; everything that is measured is measured here. Before the clock starts the
server's prefix cache is emptied and one other item is graded, so that connections are open and
the constant part of each system's prompt is in the cache. Tokens are the server's own counts.
Standard library only.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

Item = dict[str, Any]
Found = TypeVar("Found")
COUNTERS = {
    "prompt_tokens": "vllm:prompt_tokens_total",
    "cached_tokens": "vllm:prompt_tokens_cached_total",
    "written_tokens": "vllm:generation_tokens_total",
    "requests": "vllm:request_success_total",
    "preemptions": "vllm:num_preemptions_total",
}


@dataclass(frozen=True)
class Server:
    """Where the model answers, and how it may be asked.

    Attributes:
        url: ends in ``/v1``.
        concurrency: most requests in flight.
        variant: which of an adapter's graders.
    """

    url: str
    model: str
    concurrency: int
    variant: str


@dataclass(frozen=True)
class Outcome:
    """One criterion's verdict: true, false, a probability, or ``None`` with the reason."""

    value: bool | float | None
    reason: str = ""
    #: Answered, but with a verdict that is neither met nor not met.
    abstained: bool = False


Grader = Callable[[Item], Awaitable[Sequence[Outcome]]]


def main(make: Callable[[Server], Grader]) -> None:
    """Read the arguments, measure, write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("items", "warm", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--variant", default="")
    options = parser.parse_args()
    server = Server(options.url, options.model, options.concurrency, options.variant)
    items = read(options.items)
    [warm] = read(options.warm)
    result = asyncio.run(measure(make, server, items, warm))
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def read(path: Path) -> list[Item]:
    """The items of a file, one a line."""
    # Not by splitlines: a text may hold other characters that end a line.
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


async def measure(
    make: Callable[[Server], Grader], server: Server, items: Sequence[Item], warm: Item
) -> dict[str, Any]:
    """All items at once; the grader bounds the number of requests in flight."""
    grade = make(server)
    empty_cache(server.url)
    await _outcomes(grade, warm)
    before = counters(server.url)
    start = time.perf_counter()
    graded = await together(_outcomes(grade, item) for item in items)
    await _idle(server.url)
    seconds = time.perf_counter() - start
    after = counters(server.url)
    return {
        "seconds": seconds,
        **{name: after[name] - before[name] for name in COUNTERS},
        "items": [
            {"id": item["id"], "outcomes": list(map(asdict, outcomes))}
            for item, outcomes in zip(items, graded, strict=True)
        ],
    }


async def together(work: Iterable[Coroutine[Any, Any, Found]]) -> list[Found]:
    """As ``rar_lib.judging.chat.together``, which the environments of the peers don't have.

    When one raises, the others are cancelled, and its error is raised.
    """
    try:
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(one) for one in work]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in running]


async def _idle(url: str, timeout_s: float = 300.0) -> None:
    """Wait for requests that a grader left behind when it gave up on an item: they cost, too."""
    end = time.monotonic() + timeout_s
    while in_flight(_http(f"{url.removesuffix('/v1')}/metrics")) and time.monotonic() < end:
        await asyncio.sleep(0.05)


async def _outcomes(grade: Grader, item: Item) -> Sequence[Outcome]:
    try:
        return await grade(item)
    except (ImportError, NameError):
        raise  # the adapter is broken, or a file of it was being changed
    except Exception as error:  # what a peer raises is its result: the item is unscored
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        return [Outcome(None, reason)] * len(item["criteria"])


def counters(url: str) -> dict[str, float]:
    """The server's token counts so far."""
    return parse_counters(_http(f"{url.removesuffix('/v1')}/metrics"))


def parse_counters(text: str) -> dict[str, float]:
    """The sums over all labels of the counters that are used here, from Prometheus' text form."""
    found = dict.fromkeys(COUNTERS, 0.0)
    for short, name in COUNTERS.items():
        values = re.findall(rf"^{name}(?:\{{.*\}})? (\S+)$", text, re.M)
        if not values:
            raise ValueError(f"the server's /metrics has no {name}: another version of vLLM?")
        found[short] = sum(map(float, values))
    return found


def in_flight(text: str) -> bool:
    """Whether the server's metrics show a request that runs or waits."""
    gauges = r"^vllm:num_requests_(?:running|waiting)(?:\{.*\})? (\S+)$"
    return any(float(value) for value in re.findall(gauges, text, re.M))


def empty_cache(url: str) -> None:
    """Forget all prefixes, so that no system profits from the one before."""
    try:
        for _ in range(20):  # refused while the last request's blocks are being freed
            reply = _http(f"{url.removesuffix('/v1')}/reset_prefix_cache", data=b"")
            if json.loads(reply)["success"]:
                return
            time.sleep(0.5)
        raise SystemExit(f"the server at {url} is busy with other requests: wait or end them")
    except urllib.error.HTTPError as error:
        raise SystemExit(
            f"the server at {url} cannot empty its prefix cache ({error}): "
            "start it with VLLM_SERVER_DEV_MODE=1, as results/judges/run.py does"
        ) from error


def _http(url: str, data: bytes | None = None) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(urllib.request.Request(url, data), timeout=60) as reply:
        return str(reply.read().decode())
