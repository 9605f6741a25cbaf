"""The judge's time taken apart: spans, groups and the factors of the limit, by hand-made traces."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from rar_lib.core.errors import DataError
from results import judge_profile as profile

STEP = "execute_context_2(70)_generation_0(0)"


def event(name: str, start: float, length: float, thread: int = 1) -> profile.Event:
    return profile.Event(name, thread, start * 1e6, length * 1e6)


#: Two steps of four seconds with two between them. In each a second's product, of which a half is
#: an operation inside it, and half a second of attention. Another thread works meanwhile.
TRACE = [
    event(STEP, 0, 4),
    event("_C::onednn_mm", 1, 1),
    event("aten::empty", 1.25, 0.5),
    event("_C::cpu_attention_with_kv_cache", 3, 0.5),
    event("aten::mm", 0, 10, thread=2),
    event(STEP, 6, 4),
    event("_C::onednn_mm", 7, 1),
    event("aten::empty", 7.25, 0.5),
    event("_C::cpu_attention_with_kv_cache", 9, 0.5),
]


def test_time_goes_to_the_innermost_operation() -> None:
    own = profile.self_times(e for e in TRACE if e.thread == 1)
    assert own["_C::onednn_mm"] == pytest.approx(1.0)
    assert own["aten::empty"] == pytest.approx(1.0)
    assert own[STEP] == pytest.approx(2 * (4 - 1 - 0.5))


def test_shares_are_of_the_time_from_the_first_step_to_the_last_and_sum_to_one() -> None:
    found = profile.shares(TRACE)
    assert found == pytest.approx(
        {
            "matrix products": 0.1,
            "attention": 0.1,
            profile.OTHER: 0.1,
            profile.BETWEEN: 0.5,
            profile.OUTSIDE: 0.2,
        }
    )
    assert sum(found.values()) == pytest.approx(1.0)


def test_other_threads_are_left_out() -> None:
    assert {e.thread for e in profile.main_thread(TRACE)} == {1}


def test_a_trace_without_a_step_says_so() -> None:
    with pytest.raises(ValueError, match="no step"):
        profile.main_thread([event("aten::mm", 0, 1)])


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("aten::mm", "matrix products"),
        ("aten::addmm", "matrix products"),
        ("_C::onednn_scaled_mm", "matrix products"),
        ("aten::linear", "matrix products"),
        ("_C::cpu_attention_with_kv_cache", "attention"),
        ("_C::cpu_attn_reshape_and_cache", "attention"),
        ("_C::fused_add_rms_norm", "norms and activations"),
        ("_C::silu_and_mul", "norms and activations"),
        ("_C::dynamic_scaled_int8_quant", "rounding to int8"),
        ("aten::log_softmax", "probabilities of tokens"),
        ("aten::topk", "probabilities of tokens"),
        ("aten::copy_", profile.OTHER),
        (STEP, profile.BETWEEN),
    ],
)
def test_operations_are_grouped_by_name(name: str, group: str) -> None:
    assert profile.group_of(name) == group


def test_three_factors_multiply_to_the_share_of_the_limit() -> None:
    row: dict[str, Any] = {
        "tokens_needed": 60,
        "tokens_computed": 100,
        "verdicts": 10,
        "seconds": 2.0,
        "shares": {"matrix products": 0.5},
    }
    found = profile.factors(row, layers=1000, head=500, limit={"tflops": 1e-6})
    done = 2 * (1000 * 100 + 500 * 10)
    useful = 2 * (1000 * 60 + 500 * 10)
    assert found["tokens needed of those computed"] == pytest.approx(useful / done)
    assert found["speed of these products over the fastest"] == pytest.approx(done / 1.0 / 1e6)
    *parts, whole = found.values()
    assert whole == pytest.approx(parts[0] * parts[1] * parts[2])
    assert whole == pytest.approx(useful / 2.0 / 1e6)


@pytest.mark.parametrize("names", [[], ["a.json.gz", "b.json.gz"]])
def test_a_folder_without_the_one_trace_is_named(names: list[str], tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=f"{tmp_path} holds {len(names)} traces"):
        profile.only_trace(tmp_path)
    for name in names[1:]:
        (tmp_path / name).unlink()
    if names:
        assert profile.only_trace(tmp_path) == tmp_path / names[0]


def test_a_trace_is_read_in_the_order_of_its_spans(tmp_path: Path) -> None:
    spans = [
        {"ph": "X", "cat": "cpu_op", "name": "aten::mm", "tid": 1, "ts": 5, "dur": 2},
        {"ph": "X", "cat": "cpu_op", "name": "inner", "tid": 1, "ts": 5, "dur": 1},
        {"ph": "X", "cat": "user_annotation", "name": STEP, "tid": 1, "ts": 1, "dur": 9},
        {"ph": "X", "cat": "Trace", "name": "PyTorch Profiler", "tid": 1, "ts": 0, "dur": 99},
        {"ph": "M", "name": "process_name"},
    ]
    path = tmp_path / "trace.json.gz"
    with gzip.open(path, "wt") as file:
        json.dump({"traceEvents": spans}, file)
    assert [e.name for e in profile.read_trace(path)] == [STEP, "aten::mm", "inner"]
