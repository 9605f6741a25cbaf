"""The pieces of the side-by-side benchmark: what makes one stale, and when there is a record."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from side_by_side import MADE_BY, RUBRIC, TASK, TASKS, entry, measured

from rar_lib.core.types import Rubric
from rar_lib.models import processor
from results.judges import items, run

AVX2 = frozenset({"avx2"})
WIDE = frozenset({"avx2", "avx512bw", "avx512_vnni"})


def test_every_system_gets_the_same_items_in_the_same_pieces() -> None:
    pieces = run.all_pieces()
    seen: dict[str, list[str]] = {}
    for p in pieces:
        if p.part.startswith("tasks-") and p.system.name not in run.SHORT:
            seen.setdefault(p.system.name, []).append(json.dumps([*p.items, p.warm]))
    assert len({tuple(v) for v in seen.values()}) == 1
    first = pieces[0].system
    parts = [p for p in pieces if p.system == first and p.part.startswith("tasks-")]
    asked = [i for p in parts for i in p.items]
    assert len({i["id"] for i in asked}) == 2 * items.TASKS
    warm = pieces[0].warm
    assert warm["question"] not in {i["question"] for i in asked}  # it would fill the cache


def test_a_piece_is_done_again_when_its_items_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "PIECES", tmp_path)
    item = items.item(TASK, "Because.", "a:preferred")
    one = run.Piece(run.SYSTEMS[0], "tasks-1", [item], item)
    assert one.result() is None
    one.path.write_text(json.dumps({"key": one.key, "seconds": 1.0}))
    assert one.result() == {"key": one.key, "seconds": 1.0}
    other = run.Piece(run.SYSTEMS[0], "tasks-1", [item | {"response": "No."}], item)
    assert other.result() is None


def test_a_piece_is_done_again_when_the_prompt_of_its_peer_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(run.PEERS, tmp_path / "peers", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(run, "PEERS", tmp_path / "peers")
    item = items.item(TASK, "Because.", "a:preferred")
    systems = {system.name: system for system in run.SYSTEMS}
    asked, other = (
        run.Piece(systems[name], "tasks-1", [item], item) for name in ("healthbench", "autorubric")
    )
    before = (asked.key, other.key)
    prompt = tmp_path / "peers" / "healthbench_prompt.txt"
    prompt.write_text(prompt.read_text(encoding="utf-8") + "Be strict.\n", encoding="utf-8")
    assert asked.key != before[0]
    assert other.key == before[1]


@pytest.mark.parametrize("other", [{"machine": "4 cores Y"}, {"versions": {"torch": "2.1"}}])
def test_a_piece_is_done_again_on_another_machine_and_under_other_versions(
    other: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "PIECES", tmp_path)
    monkeypatch.setattr(run, "made_by", lambda: MADE_BY)
    item = items.item(TASK, "Because.", "a:preferred")
    one = run.Piece(run.SYSTEMS[0], "tasks-1", [item], item)
    one.path.write_text(json.dumps({"key": one.key}))
    assert one.result() is not None
    monkeypatch.setattr(run, "made_by", lambda: MADE_BY | other)
    assert one.result() is None


def test_what_computes_is_part_of_how_a_piece_was_made() -> None:
    found = run.made_by()
    assert "core" in found["machine"]
    assert {"python", "torch", "transformers"} <= found["versions"].keys()


@pytest.mark.parametrize(("flags", "there"), [(AVX2, False), (WIDE, True)])
def test_int8_is_measured_only_where_the_processor_multiplies_it(
    flags: frozenset[str], there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processor, "flags", lambda: flags)
    names = {p.system.name for p in run.all_pieces()}
    assert ("rar_int8" in names) is there
    assert ("rar_int8" in run.left_out()) is not there
    assert names | run.left_out().keys() == {system.name for system in run.SYSTEMS}


def test_the_cost_is_measured_up_to_the_largest_rubric() -> None:
    parts = {p.part: p.items for p in run.all_pieces() if p.part.startswith("size-")}
    sizes = {int(part.removeprefix("size-")): asked for part, asked in parts.items()}
    assert sorted(sizes) == [1, 4, 16, 60]
    assert all(len(i["criteria"]) == size for size, asked in sizes.items() for i in asked)
    criteria = RUBRIC.criteria[:1]
    many = [c.model_copy(update={"id": f"c{n}"}) for n in range(61) for c in criteria]
    Rubric(criteria=tuple(many[:60]))
    with pytest.raises(ValueError, match="at most 60"):
        Rubric(criteria=tuple(many))


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[run.Piece]:
    """Two pieces of work, of which the first is done."""
    monkeypatch.setattr(run, "PIECES", tmp_path / "pieces")
    monkeypatch.setattr(run, "RESULTS", tmp_path / "results" / "judges.json")
    monkeypatch.setattr(run, "tasks_by_id", lambda: TASKS)
    done = [measured("autorubric", 2.0), measured("healthbench", 4.0)]
    warm = items.item(TASK, "Because.", "warm")
    pieces = [run.Piece(system, part, [], warm) for system, part, _, _ in done]
    pieces[0].path.parent.mkdir()
    for one, (*_, result) in zip(pieces, done, strict=True):
        one.path.write_text(json.dumps(result | {"key": one.key}))
    return pieces


def test_a_record_is_written_only_when_nothing_is_missing(
    two: list[run.Piece], capsys: pytest.CaptureFixture[str]
) -> None:
    text = two[1].path.read_text()
    two[1].path.unlink()
    run.report(two)
    shown = capsys.readouterr().out
    assert "1 of 2 pieces are missing, so no record is written:\nhealthbench-tasks-1" in shown
    assert "| autorubric |" in shown
    assert not run.RESULTS.exists()
    two[1].path.write_text(text)
    found = run.report(two)
    assert json.loads(run.RESULTS.read_text()) == found
    assert "missing" not in capsys.readouterr().out


def test_a_piece_keeps_memory_format_and_how_it_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The adapter is a stand-in; what stands beside its numbers is measured here."""
    asked: list[str] = []

    def adapter(command: list[str], **_: Any) -> Any:
        out = Path(command[command.index("--out") + 1])
        out.write_text(json.dumps({"seconds": 1.0, "items": [entry("preferred", True, False)]}))
        return SimpleNamespace(returncode=0)

    def fastest(kind: str) -> dict[str, Any]:
        asked.append(kind)
        return {"format": kind, "kernel": "torch.mm", "tflops": 1.0}

    monkeypatch.setattr(run, "PIECES", tmp_path)
    monkeypatch.setattr(run, "environment", lambda peer: Path(sys.executable))
    monkeypatch.setattr(run, "fastest_product", fastest)
    monkeypatch.setattr(run.subprocess, "run", adapter)
    warm = items.item(TASK, "Because.", "warm")
    monkeypatch.setattr(processor, "flags", lambda: WIDE)
    for system, kind in ((run.SYSTEMS[0], "bfloat16"), (run.SYSTEMS[1], "int8")):
        one = run.Piece(system, "tasks-1", [warm], warm)
        found = run.measure(one, SimpleNamespace(base_url="http://x/v1", pid=None))  # type: ignore[arg-type]
        assert found["limit"]["format"] == found["number_format"] == kind
        assert found["made_by"] == run.made_by()
        assert found["memory_gb"] >= 0.0
    assert asked == ["bfloat16", "int8"]
