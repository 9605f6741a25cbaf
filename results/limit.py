"""What this machine can do, and what it is doing: one measure for all scripts.

The fastest matrix product in the number format of a model, the arithmetic that is useful for a set
of prompts (every token once, however often it occurs as the beginning of another prompt), the share
of the cores that other processes took while something was measured, and what of a set of records
was not made in the same way.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import psutil

from rar_lib.core.errors import DataError
from rar_lib.core.files import checkout
from rar_lib.core.types import Task
from rar_lib.judging.messages import Messages, rubric_of
from rar_lib.judging.wire import Message
from rar_lib.models.catalogue import MODELS
from rar_lib.models.processor import cpu_dtype

Format = Literal["float32", "bfloat16", "int8"]
#: Rows, inner size and columns: a square, and the judge's feed-forward layer there and back.
SHAPES = ((4096, 4096, 4096), (2048, 1536, 8960), (2048, 8960, 1536))
#: Of each shape.
SECONDS = 1.5
#: Products that are timed together.
TOGETHER = 3


def number_format(model: str) -> Format:
    """What vLLM multiplies in on this CPU when it serves a model: the format of most of its work.

    An int8 model keeps its embeddings and its output matrix in :func:`cpu_dtype`.
    """
    known = MODELS.get(model)
    return "int8" if known and known.base else cpu_dtype()


def differing(made_by: Mapping[str, Mapping[str, Any]]) -> str:
    """What is not the same of how records were made, one sentence; empty where nothing differs.

    Args:
        made_by: name of a record -> what must be equal for records to stand beside each other.
    """
    for what in dict.fromkeys(what for own in made_by.values() for what in own):
        values = {name: own.get(what) for name, own in made_by.items()}
        inside = {name: value for name, value in values.items() if isinstance(value, Mapping)}
        if len(inside) == len(values):
            if said := differing(inside):
                return said
            continue
        names: dict[str, list[str]] = {}
        for name, value in values.items():
            names.setdefault(str(value), []).append(name)
        if len(names) > 1:
            listed = "; ".join(f"{', '.join(of)}: {value}" for value, of in names.items())
            return f"they differ in {what} ({listed})"
    return ""


def peak_gb() -> float:
    """Most resident memory that this process ever had, in GB, without its children."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def share_of_limit(
    model: str,
    items: Sequence[Sequence[dict[str, Any]]],
    pieces: Sequence[dict[str, Any]],
    tasks: Mapping[str, Task],
) -> dict[str, Any]:
    """Useful arithmetic a second over the machine's limit in the judge's own number format.

    The limit (:func:`fastest_product`) is measured beside each piece.
    ``share_of_limit`` is 2 x parameters x tokens that must be computed, with the nominal number
    of parameters. ``share_of_limit_matrices`` counts only what is really multiplied: the layers
    for every token, the output matrix once a verdict, and no look-up of embeddings.

    Raises:
        ValueError: a limit was measured in another format than the model is served in.
    """
    from transformers import AutoTokenizer

    from rar_lib.models.store import model_dir

    folder = model_dir(model)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    must = 0
    verdicts = 0
    for piece in items:
        texts = [
            tokenizer.apply_chat_template(ask, tokenize=False, add_generation_prompt=True)
            for entry in piece
            for ask in asks(tasks[entry["id"].split(":")[0]], entry["response"])
        ]
        must += distinct_prefixes(tokenizer(texts, add_special_tokens=False)["input_ids"])
        verdicts += len(texts)
    seconds = sum(piece["seconds"] for piece in pieces)
    limit = limit_of([piece["limit"] for piece in pieces], pieces[0]["number_format"])
    layers, head = matrices(folder)
    done = 2 * MODELS[model].parameters * 1e9 * must
    multiplied = 2 * (layers * must + head * verdicts)
    return {
        "tokens_that_must_be_computed": must,
        "limit": limit,
        "share_of_limit": done / seconds / limit["tflops"] / 1e12,
        "share_of_limit_matrices": multiplied / seconds / limit["tflops"] / 1e12,
    }


def limit_of(measured: Sequence[Mapping[str, Any]], wanted: Format) -> dict[str, Any]:
    """The best of several measurements: other users of the machine only make it look slower.

    Raises:
        ValueError: one was made in another number format.
    """
    if wrong := [one["format"] for one in measured if one["format"] != wanted]:
        raise ValueError(f"the limit was measured in {wrong[0]}, the judge is served in {wanted}")
    best = max(measured, key=lambda one: one["tflops"])
    return dict(best) | {"measured": [one["tflops"] for one in measured]}


def asks(task: Task, response: str) -> list[list[Message]]:
    """The messages of every call of an explicit grade.

    Turn by turn, as a chat template takes them; :func:`rar_lib.judging.messages.prompts_of` joins
    the turns to one text, without the template's own tokens.

    Raises:
        DataError: the task has no rubric.
    """
    asking = Messages()
    return [
        asking.criterion(task, response, criterion, "probability")
        for criterion in rubric_of(task).criteria
    ]


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
    """Numbers in the layers' matrices and in the output matrix, from the safetensors headers.

    Raises:
        DataError: the folder holds none of the one kind or of the other.
    """
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
    if not (layers and head):
        raise DataError(
            f"{folder} holds no *.safetensors with layers and embeddings: fetch or convert the "
            "model again"
        )
    return layers, head


_MEASURE = """
import json, sys
from results.limit import measured_here
print(json.dumps(measured_here(sys.argv[1])))
"""


def fastest_product(wanted: Format) -> dict[str, Any]:
    """The fastest matrix product of this machine in a number format, in TFLOP/s, and its kernel.

    In a process of its own: threads that torch leaves behind would slow the server down.

    :func:`rar_lib.models.processor.product_gflops` is another figure: of one smaller shape, in
    :func:`cpu_dtype` alone, within a second. A forecast compares it with that of other machines,
    and records hold it, so it stays as it is. A limit has to be the fastest of several shapes, in
    the format that the judge is served in.
    """
    command = [sys.executable, "-c", _MEASURE, wanted]
    root = checkout() or Path.cwd()
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    # vLLM may log before it.
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def products(wanted: Format) -> tuple[str, Callable[[int, int, int], Callable[[], Any]]]:
    """Name of the kernel, and what makes a product of (rows, inner size, columns)."""
    if wanted != "int8":
        return "torch.mm", partial(plain_product, wanted)
    try:
        from vllm import _custom_ops as ops
    except ImportError:
        return "torch._int_mm", int8_product
    # vLLM's wheels for GPUs have no oneDNN.
    return ("oneDNN", onednn_product) if ops._supports_onednn else ("torch._int_mm", int8_product)


def plain_product(dtype: str, rows: int, inner: int, columns: int) -> Callable[[], Any]:
    """Into the same memory each time: pages of a fresh result cost as much as the product."""
    import torch

    kind = getattr(torch, dtype)
    left = torch.randn(rows, inner).to(kind)
    right = torch.randn(inner, columns).to(kind)
    out = torch.empty(rows, columns, dtype=kind)
    return lambda: torch.mm(left, right, out=out)


def int8_product(rows: int, inner: int, columns: int) -> Callable[[], Any]:
    """torch's own, summed in int32; the right side lies as a layer's weights do."""
    import torch

    left = _whole_numbers(rows, inner)
    right = _whole_numbers(columns, inner).t()
    out = torch.empty(rows, columns, dtype=torch.int32)
    return lambda: torch._int_mm(left, right, out=out)


def onednn_product(rows: int, inner: int, columns: int) -> Callable[[], Any]:
    """What vLLM computes an int8 layer with on a CPU (``CPUInt8ScaledMMLinearKernel``).

    Weights are packed once, as when a model is loaded; rounding the left side to int8 is not part
    of it. With AMX vLLM takes another kernel, which is not measured here.
    """
    import torch
    from vllm import _custom_ops as ops

    kind = getattr(torch, cpu_dtype())
    left = _whole_numbers(rows, inner)
    right = _whole_numbers(columns, inner).t()
    scales = torch.full((rows, 1), 0.01)
    weight_scales = torch.full((columns, 1), 0.01)
    packed = ops.create_onednn_scaled_mm(right, weight_scales, kind, True, False, 32)
    # What was packed points at its scales and does not keep them: this does.
    kept = (packed, weight_scales)
    out = torch.empty(rows, columns, dtype=kind)
    return lambda: ops.onednn_scaled_mm(kept[0], left, out, scales, None, None, None)


def _whole_numbers(rows: int, columns: int) -> Any:
    import torch

    return torch.randint(-127, 128, (rows, columns), dtype=torch.int8)


def best_rate(product: Callable[[], Any], operations: float, seconds: float) -> float:
    """Most operations a second within so many seconds, over products that are timed together."""
    best = 0.0
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        for _ in range(TOGETHER):
            product()
        best = max(best, TOGETHER * operations / (time.perf_counter() - start))
    return best


def measured_here(wanted: Format) -> dict[str, Any]:
    """The fastest product of this process, over all shapes."""
    kernel, make = products(wanted)
    rates = [best_rate(make(*shape), 2.0 * math.prod(shape), SECONDS) for shape in SHAPES]
    return {"format": wanted, "kernel": kernel, "tflops": max(rates) / 1e12}


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
