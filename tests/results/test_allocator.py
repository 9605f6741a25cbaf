"""What a row of the allocators' record says: the model, its speed, whether answers changed."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rar_lib.core.types import Grade, Verdict
from rar_lib.data.tasks import load_mini_pairs
from rar_lib.evaluation.alignment import PairGrades
from rar_lib.judging.chat import Chat
from rar_lib.judging.judge import Judge
from rar_lib.models import processor, vllm_args
from rar_lib.models.catalogue import MODELS
from rar_lib.models.server import Endpoint, local_chat
from rar_lib.models.vllm_args import Plan
from results import allocator


def graded(*probabilities: float | None) -> PairGrades:
    """One pair whose preferred response has these verdicts and whose other has none."""
    pair = load_mini_pairs("test")[0]
    verdicts = tuple(
        Verdict(criterion_id=name, met=None if p is None else p > 0.5, probability=p)
        if p is not None
        else Verdict(criterion_id=name, met=None, reason="no readable reply")
        for name, p in zip(pair.gold_preferred, probabilities, strict=False)
    )
    grade = Grade(arm="explicit", score=0.5, verdicts=verdicts)
    empty = Grade(arm="explicit", score=0.5, verdicts=())
    return PairGrades(
        judge="j", arm="explicit", pairs=(pair,), preferred=(grade,), rejected=(empty,)
    )


@pytest.mark.parametrize(
    ("model", "served"), [("qwen-0.5b", "bfloat16"), ("qwen-0.5b-int8", "int8")]
)
def test_the_row_names_the_format_that_the_model_is_served_in(
    model: str, served: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def measure(*_: Any) -> tuple[dict[str, Any], PairGrades]:
        return {"passes": [{"verdicts_per_s": 1.0, "memory_gb": 2.0}]}, graded(0.9)

    monkeypatch.setattr(allocator, "measure", measure)
    monkeypatch.setattr(allocator, "RESULTS", tmp_path / "allocator.json")
    monkeypatch.setattr(processor, "flags", lambda: frozenset({"avx512bw", "avx512_vnni"}))
    monkeypatch.setattr(sys, "argv", ["allocator", "--model", model])
    allocator.main()
    (row,) = json.loads(allocator.RESULTS.read_text())
    assert (row["model"], row["number format"]) == (model, served)
    assert row["apart"] == {"n": 1, "mean": 0, "most": 0, "same verdict": 1}


def test_an_allocator_takes_the_place_of_the_librarys_own_and_changes_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(vllm_args, "allocator", lambda: {"LD_PRELOAD": "a.so"})
    own = {"LD_PRELOAD": "a.so", "OMP_NUM_THREADS": "2"}
    todo = Plan("m", ("serve",), own, "w", "", 1.0, 2.0)
    assert allocator.under(todo, {"LD_PRELOAD": "a.so"}) == todo
    assert allocator.under(todo, {}).env == {"OMP_NUM_THREADS": "2"}
    kept = allocator.under(todo, allocator.KEPT)
    assert kept == replace(todo, env={"OMP_NUM_THREADS": "2"} | allocator.KEPT)
    keys = {allocator.under(todo, found).key for found in allocator.allocators().values()}
    assert len(keys) == 3, "servers that differ are not taken for one another"


@pytest.mark.parametrize("model", ["qwen-0.5b", "smollm2-135m"])
def test_a_server_that_is_up_is_asked_as_any_other_of_its_model(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = Endpoint("http://127.0.0.1:1/v1", model, MODELS[model].identity)
    asked: list[Chat] = []

    async def one_pass(judge: Judge, _: Any) -> tuple[dict[str, float], PairGrades]:
        asked.append(judge.chat)
        return {"verdicts_per_s": 1.0}, graded(0.9, None)

    monkeypatch.setattr(allocator, "one_pass", one_pass)
    monkeypatch.setattr(allocator, "serve_plan", lambda _: nullcontext(endpoint))
    monkeypatch.setattr(vllm_args, "plan", lambda _: Plan("m", ("serve",), {}, "w", "", 1.0, 2.0))
    found, whole = asyncio.run(allocator.measure(model, allocator.KEPT, []))
    assert len(asked) == 3
    assert len(whole.pairs) == len(whole.preferred) == len(whole.rejected) == 2, "both passes"
    assert (found["agreement"]["n"], found["agreement"]["unscored"]) == (2, 2)
    with local_chat(model, engine="vllm") as usual:
        for chat in asked:
            assert chat.server is endpoint
            assert replace(chat, server=usual.server) == usual


def test_memory_is_read_once_at_least(monkeypatch: pytest.MonkeyPatch) -> None:
    """A piece that is over before the first look has a number, too."""
    monkeypatch.setattr(allocator, "resident_gb", lambda: 1.5)
    with allocator.watched() as memory:
        pass
    assert memory == [1.5]


def test_only_verdicts_that_both_gave_are_compared() -> None:
    found = allocator.apart(graded(0.9, 0.4, None, 0.6), graded(0.8, 0.6, 0.5, None))
    assert found == {
        "n": 2,
        "mean": pytest.approx(0.15),
        "most": pytest.approx(0.2),
        "same verdict": 0.5,
    }
