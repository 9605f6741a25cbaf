"""Which number format and which judge a processor should have."""

from __future__ import annotations

import logging

import pytest

from rar_lib.models import processor


@pytest.mark.parametrize(
    ("flags", "dtype"),
    [
        ((), "float32"),
        (("avx2", "fma"), "float32"),
        (("avx2", "avx_vnni"), "float32"),
        (("avx512f",), "float32"),  # without the word instructions there are no bf16 products
        (("avx512f", "avx512bw"), "bfloat16"),
        (("avx512bw", "amx_bf16", "amx_int8"), "bfloat16"),
    ],
)
def test_the_number_format_follows_the_processor(
    monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...], dtype: str
) -> None:
    monkeypatch.setattr(processor, "flags", lambda: frozenset(flags))
    assert processor.cpu_dtype() == dtype


@pytest.mark.parametrize(
    ("model", "flags", "taken"),
    [
        ("qwen-1.5b-int8", "avx2", "qwen-1.5b"),
        ("qwen-0.5b-int8", "avx512bw", "qwen-0.5b"),
        ("qwen-1.5b-int8", "avx512_vnni", "qwen-1.5b-int8"),
        ("qwen-1.5b-int8", "avx_vnni", "qwen-1.5b-int8"),
        ("qwen-1.5b-int8", "amx_int8", "qwen-1.5b-int8"),
        ("qwen-1.5b", "avx2", "qwen-1.5b"),
        ("smollm2-135m", "avx2", "smollm2-135m"),
        ("somebody/model-int8", "avx2", "somebody/model-int8"),  # not ours: nothing is known of it
    ],
)
def test_int8_only_where_it_is_a_gain(
    monkeypatch: pytest.MonkeyPatch, model: str, flags: str, taken: str
) -> None:
    monkeypatch.setattr(processor, "flags", lambda: frozenset([flags]))
    assert processor.suited(model) == taken


def test_the_change_is_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)  # a warning would stand in every notebook that loads a profile
    monkeypatch.setattr(processor, "flags", frozenset)
    processor._say.cache_clear()
    processor.suited("qwen-1.5b-int8")
    processor.suited("qwen-1.5b-int8")
    assert [(r.levelname, r.message) for r in caplog.records] == [
        (
            "INFO",
            "qwen-1.5b-int8: this processor has no int8 products, so qwen-1.5b takes its place",
        )
    ]
