"""What this processor computes fast, and so which number format and which judge it should have."""

from __future__ import annotations

import logging
from functools import cache
from pathlib import Path
from typing import Literal

from rar_lib.models.catalogue import MODELS

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
