"""Where a verdict's time goes: the judge's server taken apart, from HTTP to the matrix product.

    .venv/bin/python -m results.judge_profile --model qwen-1.5b

The same verdicts twice, each time from an empty prefix cache: once as they always are, for speed,
tokens and the processor time of each process, and once under torch's profiler inside the server,
for the time of every operation. Three factors then say what is left of the machine's fastest
matrix product (`results/limit.py`): tokens computed that need not be, time that no matrix product
runs in, and products that run slower than the fastest. Their product is the share of the limit.
The profiler slows small operations down more than large ones, so that the share of products is a
little too small and their speed a little too large; both times are kept.
Written to judge_profile.json with machine and date; rows of several machines and models stay
beside each other.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import gzip
import json
import os
import re
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from rar_lib.core.errors import DataError
from rar_lib.core.files import atomic_write
from rar_lib.core.types import Task
from rar_lib.judging.chat import Chat, together
from rar_lib.judging.judge import Judge
from rar_lib.models.machine import hardware, versions
from rar_lib.models.processor import suited
from rar_lib.models.server import Endpoint, serve_plan
from rar_lib.models.store import model_dir
from rar_lib.models.vllm_args import plan
from results.judges.items import sample
from results.judges.peers.harness import counters, empty_cache
from results.limit import (
    asks,
    distinct_prefixes,
    fastest_product,
    limit_of,
    matrices,
    number_format,
)

RESULTS = Path(__file__).with_name("judge_profile.json")
#: What an operation's name holds -> the group it is shown in; the first that fits.
GROUPS = (
    ("matrix products", r"mm$|mm_|_mm|linear|matmul|gemm"),
    ("attention", r"attention|attn|reshape_and_cache|rotary"),
    ("norms and activations", r"rms_norm|silu|gelu|layer_norm|rsqrt"),
    ("rounding to int8", r"quant"),
    ("probabilities of tokens", r"softmax|topk|sort|argmax|gather|logsumexp|multinomial|cumsum"),
)
OTHER = "other operations"
#: Time of the server's main thread that no operation takes.
BETWEEN = "Python between operations of a step"
OUTSIDE = "between steps: scheduler, HTTP, waiting for requests"
STEP = "execute_"


@dataclass(frozen=True)
class Event:
    """One span of a trace, in microseconds."""

    name: str
    thread: Any
    start: float
    length: float

    @property
    def end(self) -> float:
        return self.start + self.length


def only_trace(folder: Path) -> Path:
    """The one trace that the server's profiler has left.

    Raises:
        DataError: there is none, or more than one.
    """
    found = sorted(folder.glob("*.json.gz"))
    if len(found) != 1:
        raise DataError(
            f"{folder} holds {len(found)} traces (*.json.gz) instead of one: does this vLLM write "
            "them under another name?"
        )
    return found[0]


def read_trace(path: Path) -> list[Event]:
    """Operations and steps of a trace in Chrome's format, in order, the longer first."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        found = json.load(file)["traceEvents"]
    spans = [
        Event(span["name"], span["tid"], float(span["ts"]), float(span["dur"]))
        for span in found
        if span.get("ph") == "X" and span.get("cat") in {"cpu_op", "user_annotation"}
    ]
    return sorted(spans, key=lambda span: (span.start, -span.length))


def main_thread(events: Sequence[Event]) -> list[Event]:
    """Of the thread that runs the steps alone; what other threads do is inside its operations.

    Raises:
        ValueError: the trace has no step.
    """
    steps = Counter(event.thread for event in events if event.name.startswith(STEP))
    if not steps:
        raise ValueError("the trace has no step: was the server's profiler running?")
    [(thread, _)] = steps.most_common(1)
    return [event for event in events if event.thread == thread]


def self_times(events: Iterable[Event]) -> dict[str, float]:
    """Seconds by name, each without what other events inside it took."""
    taken: dict[str, float] = defaultdict(float)
    open_spans: list[Event] = []
    for event in events:
        while open_spans and open_spans[-1].end <= event.start:
            open_spans.pop()
        if open_spans:
            taken[open_spans[-1].name] -= event.length / 1e6
        taken[event.name] += event.length / 1e6
        open_spans.append(event)
    return taken


def group_of(name: str) -> str:
    """The group of an operation, by its name."""
    if name.startswith(STEP):
        return BETWEEN
    return next((group for group, pattern in GROUPS if re.search(pattern, name)), OTHER)


def shares(events: Sequence[Event]) -> dict[str, float]:
    """Group -> share of the time from the first step to the end of the last; they sum to one."""
    own = main_thread(events)
    steps = [event for event in own if event.name.startswith(STEP)]
    begin = steps[0].start
    end = max(step.end for step in steps)
    whole = (end - begin) / 1e6
    by_group: dict[str, float] = defaultdict(float)
    inside = (event for event in own if begin <= event.start and event.end <= end)
    for name, seconds in self_times(inside).items():
        by_group[group_of(name)] += seconds
    by_group[OUTSIDE] = whole - sum(by_group.values())
    names = [*(group for group, _ in GROUPS), OTHER, BETWEEN, OUTSIDE]
    return {name: by_group[name] / whole for name in names if by_group[name]}


def factors(
    row: Mapping[str, Any], layers: int, head: int, limit: Mapping[str, Any]
) -> dict[str, float]:
    """What is left of the limit, step by step; the first three multiply to the last.

    Args:
        row: ``tokens_needed``, ``tokens_computed``, ``verdicts``, ``seconds`` and ``shares``.
        layers: numbers in the matrices of the layers, which every token is multiplied with.
        head: numbers in the output matrix, multiplied once a verdict.
        limit: of :func:`fastest_product`.
    """
    done = 2.0 * (layers * row["tokens_computed"] + head * row["verdicts"])
    useful = 2.0 * (layers * row["tokens_needed"] + head * row["verdicts"])
    busy = row["shares"]["matrix products"]
    per_second = limit["tflops"] * 1e12
    return {
        "tokens needed of those computed": useful / done,
        "time in matrix products": busy,
        "speed of these products over the fastest": done / (row["seconds"] * busy) / per_second,
        "share of the limit": useful / row["seconds"] / per_second,
    }


@contextmanager
def profiled_server(model: str, folder: Path) -> Iterator[Endpoint]:
    """As the library starts it, with torch's profiler at hand and a prefix cache to empty."""
    os.environ["VLLM_SERVER_DEV_MODE"] = "1"
    todo = plan(model)
    setting = {
        "profiler": "torch",
        "torch_profiler_dir": str(folder),
        "torch_profiler_with_stack": False,
        "torch_profiler_dump_cuda_time_total": False,
        "ignore_frontend": True,
    }
    with serve_plan(
        replace(todo, args=(*todo.args, "--profiler-config", json.dumps(setting)))
    ) as at:
        yield at


def processor_seconds(pid: int) -> dict[str, float]:
    """Processor time of a process and all below it, by command and number of the process."""
    process = psutil.Process(pid)
    found = {}
    for one in [process, *process.children(recursive=True)]:
        times = one.cpu_times()
        found[f"{one.name()} {one.pid}"] = times.user + times.system
    return found


async def grade_all(endpoint: Endpoint, items: Sequence[tuple[Task, str]]) -> dict[str, Any]:
    """Every criterion of every response, and what it took."""
    judge = Judge(Chat(endpoint.base_url, endpoint.model, timeout_s=600.0))
    await judge.grade(*items[0], "explicit")
    empty_cache(endpoint.base_url)
    before = counters(endpoint.base_url)
    own = time.process_time()
    used = processor_seconds(endpoint.pid or 0)
    begin = time.perf_counter()
    grades = await together(judge.grade(*one, "explicit") for one in items[1:])
    seconds = time.perf_counter() - begin
    after = counters(endpoint.base_url)
    by_process = {
        name: total - used.get(name, 0.0)
        for name, total in processor_seconds(endpoint.pid or 0).items()
    }
    computed = sum(
        sign * (after[name] - before[name])
        for name, sign in (("prompt_tokens", 1), ("cached_tokens", -1))
    )
    return {
        "seconds": seconds,
        "verdicts": sum(len(grade.verdicts) for grade in grades),
        "tokens_computed": computed,
        "processor seconds": {"this client": time.process_time() - own} | by_process,
    }


def needed(model: str, items: Sequence[tuple[Task, str]]) -> int:
    """Tokens that must be computed if no beginning of a prompt is done twice."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_dir(model))
    texts = [
        tokenizer.apply_chat_template(ask, tokenize=False, add_generation_prompt=True)
        for task, response in items
        for ask in asks(task, response)
    ]
    return distinct_prefixes(tokenizer(texts, add_special_tokens=False)["input_ids"])


def measure(model: str, tasks: int) -> dict[str, Any]:
    """One model on this machine: one item to warm up with, then the others."""
    drawn, pairs = sample("test")
    items = [(task, pairs[task.id].preferred) for task in drawn[: tasks + 1]]
    wanted = number_format(model)
    with tempfile.TemporaryDirectory() as folder, profiled_server(model, Path(folder)) as endpoint:
        row = asyncio.run(grade_all(endpoint, items))
        print(f"{row['verdicts'] / row['seconds']:.2f} verdicts a second", flush=True)
        limit = limit_of([fastest_product(wanted)], wanted)
        post(endpoint, "start_profile")
        slower = asyncio.run(grade_all(endpoint, items))
        post(endpoint, "stop_profile")
        events = read_trace(only_trace(Path(folder)))
    row |= {"tokens_needed": needed(model, items[1:]), "shares": shares(events)}
    row["seconds under the profiler"] = slower["seconds"]
    layers, head = matrices(model_dir(model))
    row["factors"] = factors(row, layers, head, limit)
    row["slowest"] = slowest(main_thread(events))
    return row | {"limit": limit, "number format": wanted}


def slowest(events: Sequence[Event], count: int = 12) -> dict[str, float]:
    """The operations that took most, in seconds under the profiler."""
    found = self_times(event for event in events if not event.name.startswith(STEP))
    return dict(sorted(found.items(), key=lambda pair: -pair[1])[:count])


def post(endpoint: Endpoint, what: str) -> None:
    """Ask the server for something that is no completion; writing a trace takes a while."""
    import urllib.request

    url = f"{endpoint.base_url.removesuffix('/v1')}/{what}"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(urllib.request.Request(url, b""), timeout=600):
        pass


def render(rows: Sequence[Mapping[str, Any]]) -> str:
    """All rows, as text."""
    lines = []
    for row in rows:
        speed = row["verdicts"] / row["seconds"]
        lines.append(f"{row['model']} in {row['number format']}, {row['machine']}, {row['date']}")
        lines.append(f"  {speed:.2f} verdicts a second, {1000 / speed:.0f} ms each")
        lines += [
            f"  {1000 / speed * part:6.1f} ms  {name}" for name, part in row["shares"].items()
        ]
        lines += [f"  {value:9.2f}  {name}" for name, value in row["factors"].items()]
    return "\n".join(lines)


def main() -> None:
    """Measure and add to the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="qwen-1.5b")
    parser.add_argument("--tasks", type=int, default=12)
    parser.add_argument("--table", action="store_true", help="measure nothing")
    options = parser.parse_args()
    rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    if not options.table:
        model = suited(options.model)
        made = {"machine": hardware(), "versions": versions(), "tasks": options.tasks}
        today = datetime.datetime.now(datetime.UTC).date().isoformat()
        row = {"model": model, **measure(model, options.tasks), **made, "date": today}
        here = (row["model"], row["machine"])
        rows = [known for known in rows if (known["model"], known["machine"]) != here]
        atomic_write(RESULTS, json.dumps([*rows, row], indent=1) + "\n")
        rows = [*rows, row]
    print(render(rows))


if __name__ == "__main__":
    main()
