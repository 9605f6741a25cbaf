"""What results/alignment records, and what makes a piece of it stale."""

from __future__ import annotations

import argparse
import asyncio
import time
from pathlib import Path

import pytest
from aligned import PAIRS, write
from scripted import Reply, says, server

from rar_lib.core.types import Grade
from rar_lib.judging.chat import Chat
from results.alignment import run, table
from results.alignment.run import Piece


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(run, "HERE", tmp_path)
    return tmp_path


def test_every_pair_and_every_judge_is_asked_in_every_arm() -> None:
    pieces = run.pieces()
    assert len({p.name for p in pieces}) == len(pieces) == 3 * (len(run.ARMS) + 1 + 2)
    assert run.pairs_of(Piece("qwen-0.5b", "implicit")) == list(PAIRS)
    assert {p.id[:3] for p in run.pairs_of(Piece("qwen-0.5b", "explicit", "val"))} == {"val"}


def test_a_piece_comes_back_as_it_was_written(here: Path) -> None:
    piece = Piece("qwen-0.5b", "implicit")
    assert not run.is_complete(piece)
    write(piece)
    assert run.is_complete(piece)
    of = table.graded_of(piece)
    assert [pair.id for pair, _, _ in of.scored()] == [pair.id for pair in PAIRS]
    assert {(a, b) for _, a, b in of.scored()} == {(0.5, 0.25)}
    write(piece, of="made by other prompts")
    assert not run.is_complete(piece)


def test_a_reason_that_holds_another_end_of_a_line_is_read_whole(here: Path) -> None:
    piece = Piece("qwen-0.5b", "implicit")
    reason = "the endpoint said: one\u2028two\x85three"
    unscored = Grade(arm="implicit", score=None, reason=reason)
    row = {"pair": "p", "preferred": run.kept(unscored), "rejected": run.kept(unscored)}
    run.write_lines(piece.path, [{"of": run.mark(piece)}, row])
    assert "\u2028" in piece.path.read_text(encoding="utf-8")
    preferred, rejected = run.grades(piece)
    assert [grade.reason for grade in (*preferred, *rejected)] == [reason] * 2


def test_the_pieces_on_record_are_what_would_be_made_today() -> None:
    recorded = [piece for piece in run.pieces() if piece.path.exists()]
    assert recorded
    assert [piece.name for piece in recorded if not run.is_complete(piece)] == []


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A library of those modules alone that a piece's mark names."""
    for name in run._DECIDE:
        copy = tmp_path / "rar_lib" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes((run.ROOT / "rar_lib" / name).read_bytes())
    monkeypatch.setattr(run, "ROOT", tmp_path)
    return tmp_path / "rar_lib"


@pytest.mark.parametrize("name", run._DECIDE)
def test_code_that_does_another_thing_makes_a_piece_stale(name: str, copied: Path) -> None:
    piece = Piece("qwen-0.5b", "implicit")
    today = run.mark(piece)
    text = (copied / name).read_text(encoding="utf-8")
    (copied / name).write_text(text + "# a remark\n", encoding="utf-8")
    assert run.mark(piece) == today
    (copied / name).write_text(text + "LATER = 1\n", encoding="utf-8")
    assert run.mark(piece) != today


def test_another_way_of_asking_makes_the_pieces_on_record_stale(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded = [piece for piece in run.pieces() if piece.path.exists()]
    assert all(map(run.is_complete, recorded))
    asker = copied / "judging" / "judge.py"
    text = asker.read_text(encoding="utf-8")
    asked = text.replace("_ALTERNATIVES = 20\n", "_ALTERNATIVES = 5\n")
    assert asked != text
    asker.write_text(asked, encoding="utf-8")
    assert not any(map(run.is_complete, recorded))
    options = argparse.Namespace(judges=run.JUDGES, arms=run.ARMS, rubrics=("authored",))
    run.listing(options)
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if not line.endswith("to do")] == []
    assert len(lines) >= len(recorded)


@pytest.mark.fault
def test_a_piece_whose_judge_was_too_slow_is_not_written(here: Path) -> None:
    piece = Piece("qwen-0.5b", "implicit")

    def late(_: Reply, count: int) -> Reply:
        if count == 3:
            time.sleep(2.0)
        return says("7", tokens={"7": 1.0})

    with server(late) as scripted:
        chat = Chat(scripted.url, "scripted", timeout_s=1.0)
        with pytest.raises(SystemExit, match=r"\d+ grades had no reply in time"):
            asyncio.run(run.measure(piece, chat))
    assert not piece.path.exists()
