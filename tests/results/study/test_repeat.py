"""Units that are trained once more: what is compared, and which there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rar_lib.core.errors import DataError
from results.study import repeat, run


def test_a_unit_that_is_trained_again_is_compared_answer_by_answer() -> None:
    def unit(*looks: tuple[int, dict[str, str]], code: str = "a") -> dict[str, Any]:
        return {
            "arm": "rlvr",
            "looks": [{"step": step, "answers": answers} for step, answers in looks],
            "decides": {"code": code * 40, "versions": {"torch": "1"}},
            "machine": "2 cores",
            "number format": "float32",
            "date": "2026-01-01",
            "seconds": 60.0,
        }

    before = unit((0, {"t1": "one", "t2": "two"}), (12, {"t1": "three", "t2": ""}))
    now = unit((0, {"t1": "one", "t2": "two"}), (12, {"t1": "three.", "t2": ""}), code="b")
    found = repeat.compared(before, now)
    assert found["looks"] == [
        {"step": 0, "answers": 2, "same": 2},
        {"step": 12, "answers": 2, "same": 1},
    ]
    assert (found["arm"], found["code"]) == ("rlvr", ["a" * 12, "b" * 12])
    with pytest.raises(DataError, match="the looks differ in step or tasks: 12 and 9"):
        repeat.compared(before, unit((0, before["looks"][0]["answers"]), (9, {"t1": ""})))
    # A look that was copied from the untrained policy's unit is no evidence.
    assert repeat.compared(before, now, copied=True)["looks"] == found["looks"][1:]


def test_only_what_is_recorded_is_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "HERE", tmp_path)
    with pytest.raises(DataError, match="rlvr-fold0-seed0 is not on record"):
        repeat.again(next(one for one in run.units() if one.name == "rlvr-fold0-seed0"))
