"""What this processor computes fast, for the choice of number format or judge."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args

from rar_lib.core.errors import DataError
from rar_lib.models.catalogue import MODELS

Engine = Literal["vllm", "llama.cpp"]

_log = logging.getLogger(__name__)
#: Flags of processors that multiply int8 by the vector or the tile.
_INT8 = ("avx512_vnni", "avx_vnni", "amx_int8")


def flags() -> frozenset[str]:
    """The instruction sets of this processor by their names in ``/proc/cpuinfo``."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    listed = next((line for line in lines if line.startswith("flags")), "")
    return frozenset(listed.partition(":")[2].split())


def cpu_dtype() -> Literal["bfloat16", "float32"]:
    """The number format that this processor computes fastest.

    Without AVX-512 there are no bfloat16 products: libraries then convert number by number, and
    a product takes eight times as long as in float32 (measured on two AVX2 cores of an AMD EPYC).
    """
    return "bfloat16" if "avx512bw" in flags() else "float32"


def as_computed(weights: str, device: str = "cpu") -> str:
    """The identity of weights together with the number format in which they are used here.

    The same weights round otherwise in another format, so a calibration or a run of the one is not
    of the other. bfloat16, in which weights are kept, is not named; nor is what 4-bit files are
    computed in, which does not depend on the processor. ``""`` stays so.
    """
    apart = weights and device == "cpu" and cpu_dtype() != "bfloat16"
    return f"{weights}+{cpu_dtype()}" if apart else weights


def engine(model: str, device: str = "cpu", asked: Engine | None = None) -> Engine:
    """What serves a model here: vLLM, or llama.cpp where it is asked for.

    llama.cpp reads the pinned 4-bit files as they are, on a CPU; folders, int8 models and GPUs are
    always vLLM's. With AVX-512 it is 0.4 times as fast in a quarter of the memory
    (``results/engines.json``); what it is where vLLM computes in float32 was not measured.

    Args:
        asked: the engine; ``None`` leaves it to the environment variable ``RAR_ENGINE``, which is
            for all models and says nothing of those that llama.cpp does not read.

    Raises:
        DataError: there is no such engine, or the one asked for does not read the model.
    """
    name = "RAR_ENGINE" if asked is None else "engine"
    wanted = (os.environ.get("RAR_ENGINE") or "vllm") if asked is None else asked
    if wanted not in get_args(Engine):
        raise DataError(f"{name} is {wanted!r}; allowed: {', '.join(get_args(Engine))}")
    known = MODELS.get(model)
    read = device == "cpu" and known is not None and not known.base
    if asked == "llama.cpp" and not read:
        fitting = ", ".join(name for name, one in MODELS.items() if not one.base)
        raise DataError(
            f"engine 'llama.cpp' does not serve {model!r} on {device}: it reads {fitting} on cpu; "
            "leave engine out, or give 'vllm'"
        )
    return "llama.cpp" if read and wanted == "llama.cpp" else "vllm"


def suited(model: str) -> str:
    """The model to take in place of an int8 one where int8 is no gain: the one it is made from.

    Without int8 products an int8 judge is far slower than the same judge in float32: on two AVX2
    cores of an AMD EPYC the 1.5B one wrote none of 32 rubrics in 37 minutes.
    """
    known = MODELS.get(model)
    if known is None or not known.base or flags() & set(_INT8):
        return model
    _say(model, known.base)
    return known.base


@cache
def _say(model: str, base: str) -> None:
    """Once in a process."""
    _log.info("%s: this processor has no int8 products, so %s takes its place", model, base)


#: Tokens by hidden size by inner size of the 1.5B judge. Into the same memory each time: pages of a
#: fresh result cost as much as the product. The best of a second: others only make it look slower.
_PRODUCT = """
import sys, time, torch
dtype = getattr(torch, sys.argv[1])
m, k, n = 512, 1536, 8960
a, b = torch.randn(m, k).to(dtype), torch.randn(k, n).to(dtype)
c = torch.empty(m, n, dtype=dtype)
torch.mm(a, b, out=c)
best, end = float("inf"), time.perf_counter() + 1
while time.perf_counter() < end:
    start = time.perf_counter()
    torch.mm(a, b, out=c)
    best = min(best, time.perf_counter() - start)
print(2e-9 * m * k * n / best)
"""


def product_gflops() -> float | None:
    """10^9 operations a second of a matrix product of the judge's shape, in :func:`cpu_dtype`.

    It takes a second, and the import of torch before it, in a process of its own: neither torch's
    memory nor its threads stay. ``None`` where torch is not installed or does not start.
    """
    if find_spec("torch") is None:
        return None
    command = [sys.executable, "-c", _PRODUCT, cpu_dtype()]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        return float(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        _log.debug("the product of this machine could not be measured: %s", error)
        return None
