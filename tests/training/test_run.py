"""What was asked, answered and judged in a run, line by line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rar_lib.core.errors import CheckpointError
from rar_lib.training.run import KEPT_GROUPS, TRANSCRIPT, Transcript, read_transcript


def rollout(task: str, number: int) -> dict[str, Any]:
    return {"task": {"id": task}, "text": f"{task} {number}", "tokens": 3, "score": number / 10}


def written(path: Path, steps: int = 3) -> Transcript:
    """Steps of one group of two, with a look before them and after the second one."""
    kept = Transcript(path)
    kept.begin([{"id": "held"}], after=None)
    kept.look(0, {"held": "Old."}, {"training": {"held": {"score": 0.5}}})
    for step in range(1, steps + 1):
        kept.held = [rollout("a", 1), rollout("a", 2)]
        kept.step(step, [-1.0, 1.0])
        if step == 2:
            kept.look(2, {"held": "New."}, {})
    return kept


def test_a_transcript_has_a_line_a_step_and_a_look(tmp_path: Path) -> None:
    written(tmp_path / TRANSCRIPT)
    tasks, look, first, *_ = read_transcript(tmp_path / TRANSCRIPT)
    assert tasks == {"held_out": [{"id": "held"}]}
    assert look["grades"] == {"training": {"held": {"score": 0.5}}}
    assert first == {
        "step": 1,
        "groups": [
            {
                "task": {"id": "a"},
                "rollouts": [
                    {"text": "a 1", "tokens": 3, "score": 0.1, "advantage": -1.0},
                    {"text": "a 2", "tokens": 3, "score": 0.2, "advantage": 1.0},
                ],
            }
        ],
    }
    assert read_transcript(tmp_path / "nothing") == []


def test_a_run_that_continues_keeps_what_came_before_its_checkpoint(tmp_path: Path) -> None:
    """Step 3 was written and its checkpoint was not; the kill cut the line of step 4."""
    path = tmp_path / TRANSCRIPT
    written(path)
    path.write_text(path.read_text() + '{"step": 4, "gro')
    again = Transcript(path)
    again.begin([{"id": "held"}], after=2)
    rows = read_transcript(path)
    assert [row.get("step", row.get("look")) for row in rows] == [None, 0, 1, 2, 2]
    again.held = [rollout("b", 1)]
    again.step(3, [0.0])
    assert read_transcript(path)[-1]["groups"][0]["task"] == {"id": "b"}
    again.begin([], after=None)  # from the start: nothing of it is left
    assert read_transcript(path) == [{"held_out": []}]


def test_of_a_large_step_the_first_groups_are_kept(tmp_path: Path) -> None:
    kept = Transcript(tmp_path / TRANSCRIPT)
    kept.begin([], after=None)
    names = [f"t{n}" for n in range(KEPT_GROUPS + 2)]
    kept.held = [rollout(name, number) for name in names for number in (1, 2)]
    kept.step(1, [float(n) for n in range(2 * len(names))])
    (row,) = read_transcript(kept.path)[1:]
    assert [group["task"]["id"] for group in row["groups"]] == names[:KEPT_GROUPS]
    assert [r["advantage"] for r in row["groups"][1]["rollouts"]] == [2.0, 3.0]
    assert kept.held == ()


def test_a_transcript_that_can_not_be_written_says_from_where_the_run_continues(
    tmp_path: Path,
) -> None:
    kept = written(tmp_path / TRANSCRIPT)
    kept.path.unlink()
    kept.path.mkdir()
    with pytest.raises(CheckpointError, match="continues from its newest checkpoint"):
        kept.step(4, [])
