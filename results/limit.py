"""What this machine can do, and what it is doing: one measure for all scripts.

The fastest matrix product, the arithmetic that is useful for a set of prompts (every token once,
however often it occurs as the beginning of another prompt), and the share of the cores that other
processes took while something was measured.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from rar_lib.core.types import Task


def share_of_limit(
    model: str,
    items: Sequence[Sequence[dict[str, Any]]],
    pieces: Sequence[dict[str, Any]],
    tasks: Mapping[str, Task],
) -> dict[str, Any]:
    """Useful arithmetic a second over the machine's bf16 limit, measured beside each piece.

    ``share_of_limit`` is 2 x parameters x tokens that must be computed, with the nominal number
    of parameters. ``share_of_limit_matrices`` counts only what is really multiplied: the layers
    for every token, the output matrix once a verdict, and no look-up of embeddings.
    """
    from transformers import AutoTokenizer

    from rar_lib.models.catalogue import MODELS
    from rar_lib.models.store import model_dir

    folder = model_dir(model)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    must, verdicts = 0, 0
    for piece in items:
        texts = [
            tokenizer.apply_chat_template(ask, tokenize=False, add_generation_prompt=True)
            for entry in piece
            for ask in asks(tasks[entry["id"].split(":")[0]], entry["response"])
        ]
        must += distinct_prefixes(tokenizer(texts, add_special_tokens=False)["input_ids"])
        verdicts += len(texts)
    seconds = sum(p["seconds"] for p in pieces)
    measured = [p["bf16_tflops"] for p in pieces]
    limit = max(measured)  # other users of the machine can only make it look slower
    layers, head = matrices(folder)
    done = 2 * MODELS[model].parameters * 1e9 * must
    multiplied = 2 * (layers * must + head * verdicts)
    return {
        "tokens_that_must_be_computed": must,
        "bf16_limit_tflops": limit,
        "bf16_tflops_measured": measured,
        "share_of_limit": done / seconds / limit / 1e12,
        "share_of_limit_matrices": multiplied / seconds / limit / 1e12,
    }


def asks(task: Task, response: str) -> list[Any]:
    """The messages of every call of an explicit grade."""
    from rar_lib.judging.messages import Messages

    if task.rubric is None:
        raise ValueError(f"task {task.id!r} has no rubric")
    asking = Messages()
    return [asking.criterion(task, response, c, "probability") for c in task.rubric.criteria]


def distinct_prefixes(sequences: Iterable[Sequence[int]]) -> int:
    """Number of different non-empty beginnings: tokens to compute if no prefix is done twice."""
    root: dict[int, Any] = {}
    count = 0
    for sequence in sequences:
        node = root
        for token in sequence:
            if token not in node:
                node[token] = {}
                count += 1
            node = node[token]
    return count


def matrices(folder: Path) -> tuple[int, int]:
    """Numbers in the layers' matrices and in the output matrix, from the safetensors headers."""
    from safetensors import safe_open

    layers = head = 0
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118 - not a dict
                size = int(np.prod(file.get_slice(name).get_shape()))
                if re.search(r"layers\..*_proj\.weight$", name):
                    layers += size
                elif "embed_tokens" in name:  # the output matrix has the same shape
                    head = size
    return layers, head


def matmul_tflops() -> float:
    """The fastest bf16 matrix product of this machine within five seconds, in TFLOP/s.

    In a process of its own: threads that torch leaves behind would slow the server down.
    """
    done = subprocess.run(
        [sys.executable, "-c", _MATMUL], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


_MATMUL = """
import time, torch
best = 0.0
for m, k, n in ((4096, 4096, 4096), (2048, 1536, 8960), (2048, 8960, 1536)):
    a, b = torch.randn(m, k).bfloat16(), torch.randn(k, n).bfloat16()
    # Into the same memory each time: pages of a fresh result cost as much as the product.
    c = torch.empty(m, n, dtype=torch.bfloat16)
    end = time.perf_counter() + 1.5
    while time.perf_counter() < end:
        start = time.perf_counter()
        for _ in range(3):
            torch.mm(a, b, out=c)
        best = max(best, 6 * m * k * n / (time.perf_counter() - start))
print(best / 1e12)
"""


class Watch:
    """From its making to ``other_load``: the share of the cores that others used.

    Others are neither the processes of ``group`` (the server) nor children of this one that have
    ended (the adapter). Time that the hypervisor took away counts, too.
    """

    def __init__(self, group: int) -> None:
        self.group = group
        self.start = time.monotonic()
        self.before = self._others()

    def other_load(self) -> float:
        """In [0, 1], over all cores that this process may use."""
        cores = len(os.sched_getaffinity(0))
        used = self._others() - self.before
        return max(0.0, used / ((time.monotonic() - self.start) * cores))

    def _others(self) -> float:
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        own = ended.ru_utime + ended.ru_stime + time.process_time()
        return busy(psutil.cpu_times()) - group_seconds(self.group) - own


def busy(times: Any) -> float:
    """CPU seconds since boot that were not idle, of ``psutil.cpu_times()``."""
    used = (times.user, times.nice, times.system, times.irq, times.softirq, times.steal)
    return float(sum(used))


def group_seconds(group: int) -> float:
    """CPU seconds of the processes of a group that live."""
    total = 0.0
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError):  # it ended meanwhile
            if os.getpgid(process.pid) == group:
                times = process.cpu_times()
                total += times.user + times.system
    return total
