"""What a row of the allocators' record says of the model that was served."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from rar_lib.models import processor
from results import allocator


@pytest.mark.parametrize(
    ("model", "served"), [("qwen-0.5b", "bfloat16"), ("qwen-0.5b-int8", "int8")]
)
def test_the_row_names_the_format_that_the_model_is_served_in(
    model: str, served: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def measure(*_: Any) -> dict[str, Any]:
        return {"passes": [{"verdicts_per_s": 1.0, "memory_gb": 2.0}]}

    monkeypatch.setattr(allocator, "measure", measure)
    monkeypatch.setattr(allocator, "RESULTS", tmp_path / "allocator.json")
    monkeypatch.setattr(processor, "flags", lambda: frozenset({"avx512bw", "avx512_vnni"}))
    monkeypatch.setattr(sys, "argv", ["allocator", "--model", model])
    allocator.main()
    (row,) = json.loads(allocator.RESULTS.read_text())
    assert (row["model"], row["number format"]) == (model, served)


def test_memory_is_read_once_at_least(monkeypatch: pytest.MonkeyPatch) -> None:
    """A piece that is over before the first look has a number, too."""
    monkeypatch.setattr(allocator, "resident_gb", lambda: 1.5)
    with allocator.watched() as memory:
        pass
    assert memory == [1.5]
