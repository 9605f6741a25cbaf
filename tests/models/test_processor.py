"""Which number format and which judge a processor should have."""

from __future__ import annotations

import logging

import pytest

from rar_lib.core.errors import DataError
from rar_lib.models import processor
from rar_lib.models.processor import Engine


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
    ("weights", "device", "dtype", "known_as"),
    [
        ("abc", "cpu", "bfloat16", "abc"),
        ("abc", "cpu", "float32", "abc+float32"),
        ("abc+w8a8", "cpu", "float32", "abc+w8a8+float32"),  # what is not int8 is float32
        ("abc", "cuda", "float32", "abc"),  # computed in bfloat16 whatever the processor does
        ("", "cpu", "float32", ""),  # unknown weights are known by their address
    ],
)
def test_weights_in_another_number_format_have_another_identity(
    monkeypatch: pytest.MonkeyPatch, weights: str, device: str, dtype: str, known_as: str
) -> None:
    monkeypatch.setattr(processor, "cpu_dtype", lambda: dtype)
    assert processor.as_computed(weights, device) == known_as


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


@pytest.mark.parametrize("said", ["vllm", "llama.cpp", "lama", None])
@pytest.mark.parametrize("asked", ["vllm", "llama.cpp"])
def test_the_engine_asked_for_serves_whatever_the_environment_says(
    asked: Engine, said: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAR_ENGINE", raising=False)
    if said is not None:
        monkeypatch.setenv("RAR_ENGINE", said)
    assert processor.engine("qwen-1.5b", "cpu", asked) == asked


def test_an_engine_that_there_is_not_is_named_with_its_value_and_the_choices() -> None:
    for asked in ("lama", ""):
        with pytest.raises(DataError, match=rf"^engine is '{asked}'; allowed: vllm, llama\.cpp$"):
            processor.engine("qwen-1.5b", "cpu", asked)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("model", "device"), [("qwen-1.5b-int8", "cpu"), ("qwen-1.5b", "cuda"), ("a-folder", "cpu")]
)
def test_llama_cpp_is_not_taken_for_what_it_does_not_read(model: str, device: str) -> None:
    """From the environment, which is for all models, these are vLLM's: see below."""
    assert processor.engine(model, device, "vllm") == "vllm"
    with pytest.raises(DataError, match=f"does not serve '{model}' on {device}: it reads .*qwen"):
        processor.engine(model, device, "llama.cpp")


@pytest.mark.parametrize(
    ("asked", "model", "device", "engine"),
    [
        (None, "qwen-1.5b", "cpu", "vllm"),
        ("", "qwen-1.5b", "cpu", "vllm"),
        ("vllm", "qwen-1.5b", "cpu", "vllm"),
        ("llama.cpp", "qwen-1.5b", "cpu", "llama.cpp"),
        ("llama.cpp", "smollm2-135m", "cpu", "llama.cpp"),
        ("llama.cpp", "qwen-1.5b-int8", "cpu", "vllm"),
        ("llama.cpp", "qwen-1.5b", "cuda", "vllm"),
        ("llama.cpp", "a-folder", "cpu", "vllm"),
    ],
)
def test_which_engine_serves(
    asked: str | None, model: str, device: str, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAR_ENGINE", raising=False)
    if asked is not None:
        monkeypatch.setenv("RAR_ENGINE", asked)
    assert processor.engine(model, device) == engine


def test_an_engine_that_there_is_not_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAR_ENGINE", "lama")
    with pytest.raises(DataError, match=r"RAR_ENGINE is 'lama'; allowed: vllm, llama\.cpp"):
        processor.engine("qwen-1.5b")
