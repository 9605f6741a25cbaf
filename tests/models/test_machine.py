"""What a result says of the machine that it was made on."""

from __future__ import annotations

import os

import pytest

from rar_lib.models import machine, processor


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ("fpu sse2", "A Chip"),
        ("fpu avx2 fma", "A Chip (AVX2)"),
        ("avx2 avx512f avx512bw", "A Chip (AVX-512)"),
        ("avx2 avx512bw avx512_vnni", "A Chip (AVX-512 with int8)"),
        ("avx2 avx512bw avx512_vnni avx512_bf16 avx_vnni", "A Chip (AVX-512 with bf16)"),
        ("avx2 avx512bw avx512_vnni avx512_bf16 amx_bf16 amx_int8", "A Chip (AMX)"),
    ],
)
def test_processors_of_one_name_are_told_apart_by_what_they_multiply(
    monkeypatch: pytest.MonkeyPatch, flags: str, named: str
) -> None:
    """The same seed trains another policy there, so their records may not be mixed."""
    monkeypatch.setattr(machine, "_read", lambda _: "model name\t: A Chip \n")
    monkeypatch.setattr(processor, "flags", lambda: frozenset(flags.split()))
    monkeypatch.setattr(machine, "_gpus", list)
    monkeypatch.setattr(machine, "memory_bytes", lambda: 25_300_000_000)
    cores = len(os.sched_getaffinity(0))
    assert machine.hardware() == f"{cores} core{'s' * (cores > 1)} {named}, 25 GB memory"


def test_a_machine_that_tells_nothing_is_named_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine, "_read", lambda _: "")
    monkeypatch.setattr(machine, "_gpus", lambda: ["A GPU, 80 GB"])
    said = machine.hardware()
    assert "()" not in said
    assert said.endswith("A GPU, 80 GB")
