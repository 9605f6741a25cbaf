"""Rejection sampling: the judge's best is kept, and what could not be judged is nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rar_lib.core.errors import DataError, UnscoredError
from rar_lib.core.types import Arm, Grade, Task
from rar_lib.judging.chat import Chat
from rar_lib.judging.judge import Judge
from rar_lib.training.rewards import RubricReward
from rar_lib.training.sft import Selected, _best, best_of, kept_responses, references

TASK = Task(id="t", question="Why?")
ROLLOUTS = 2


def test_the_first_of_the_best_is_kept() -> None:
    best = _best(TASK, ["a", "b", "c"], [0.2, 0.7, 0.7])
    assert best == Selected("t", "b", 0.7, [0.2, 0.7, 0.7])
    assert _best(TASK, ["a", "b"], [None, 0.0]) == Selected("t", "b", 0.0, [None, 0.0])


def test_what_could_not_be_scored_stays_unscored_and_is_not_imitated() -> None:
    nothing = _best(TASK, ["a", "b"], [None, None])
    assert (nothing.response, nothing.score) == (None, None)
    some = Selected("u", "fine", 0.5, [0.5])
    assert kept_responses([nothing, some]) == {"u": "fine"}


def test_a_missing_reference_is_named() -> None:
    given = Task(id="r", question="Why?", reference="So.")
    assert references([given]) == {"r": "So."}
    with pytest.raises(DataError, match="no reference answer in t: sft_reference imitates"):
        references([given, TASK])


@dataclass(frozen=True)
class Opinion(Judge):
    """A judge that reads no model: the share of the letter e; of some tasks it says nothing."""

    refused: tuple[str, ...] = ()
    seen: list[str] = field(default_factory=list)

    async def grade(self, task: Task, response: str, arm: Arm) -> Grade:
        self.seen.append(response)
        if task.id in self.refused:
            return Grade(arm=arm, score=None, reason="connection refused")
        return Grade(arm=arm, score=response.count("e") / len(response) if response else 0.0)


class Writer:
    """A policy that says the same to every task, and counts what it was asked."""

    def __init__(self, texts: Sequence[str] = ("one", "eel"), prompts: int = 4) -> None:
        self.texts = texts
        self.batches: list[list[str]] = []
        self.settings = SimpleNamespace(
            rollouts=len(texts), prompts_per_step=prompts, max_completion=8, temperature=1.0
        )

    def respond(self, tasks: Sequence[Task], longest: int, *, temperature: float) -> list[str]:
        del longest, temperature
        self.batches.append([task.id for task in tasks[:: len(self.texts)]])
        return list(self.texts) * (len(tasks) // len(self.texts))


def tasks_of(names: str) -> list[Task]:
    return [Task(id=name, question="Why?") for name in names]


def select(
    folder: Path, names: str, writer: Writer, refused: str = "", **change: Any
) -> list[Selected]:
    judge = Opinion(Chat("http://127.0.0.1:1/v1", "the-judge"), refused=tuple(refused))
    reward = RubricReward(judge, "implicit", **change)
    kept = folder / "selected.json"
    return best_of(writer, tasks_of(names), reward, kept=kept, run="R", seed=0)  # type: ignore[arg-type]


def kept_in(folder: Path) -> str:
    path = folder / "selected.json"
    if not path.exists():
        return ""
    return "".join(one["task_id"] for one in json.loads(path.read_text())["selected"])


@pytest.mark.parametrize("down", ["abcdefgh", "efgh"])
def test_a_judge_that_was_down_costs_the_batch_and_the_same_call_goes_on(
    tmp_path: Path, down: str
) -> None:
    before = "abcdefgh".removesuffix(down)
    writer = Writer()
    with pytest.raises(UnscoredError, match=r"8 of 8 .*limit 25%.*connection refused.*the-judge"):
        select(tmp_path, "abcdefghij", writer, refused=down)
    assert ["".join(batch) for batch in writer.batches] == [*([before] if before else []), down[:4]]
    assert kept_in(tmp_path) == before
    writer.batches.clear()
    found = select(tmp_path, "abcdefghij", writer)
    assert "".join(one.task_id for one in found) == kept_in(tmp_path) == "abcdefghij"
    assert {one.response for one in found} == {"eel"}
    assert "".join(map("".join, writer.batches)) == "abcdefghij".removeprefix(before)


@pytest.mark.parametrize(
    ("names", "refused", "limit", "stopped_at"),
    [
        ("abcdefgh", "a", 0.25, None),  # 2 of a step's 8 samples: the limit, and not above it
        ("abcdefgh", "ab", 0.25, "abcd"),
        ("abcdefgh", "ab", 0.5, None),
        ("abcdefgh", "ae", 0.25, None),  # one a step
        ("abcdefgh", "h", 0.0, "efgh"),
        ("abcde", "e", 0.25, None),  # the last batch of one task is a part of a step
        ("abcde", "de", 0.25, "e"),  # with those before it, half of one
        ("abcdef", "ef", 0.25, "ef"),
        ("a", "a", 0.25, "a"),  # there is no more than this
        ("abcd", "abcd", 1.0, None),
    ],
)
def test_the_share_that_stops_is_that_of_a_steps_samples(
    tmp_path: Path, names: str, refused: str, limit: float, stopped_at: str | None
) -> None:
    writer = Writer()
    if stopped_at is None:
        found = select(tmp_path, names, writer, refused, max_unscored=limit)
        assert [one.task_id for one in found if one.response is None] == list(refused)
        assert kept_in(tmp_path) == names
        return
    with pytest.raises(UnscoredError, match="could not be scored"):
        select(tmp_path, names, writer, refused, max_unscored=limit)
    assert "".join(writer.batches[-1]) == stopped_at
    assert kept_in(tmp_path) + stopped_at == names[: names.index(stopped_at) + len(stopped_at)]


def test_no_tasks_are_none_selected(tmp_path: Path) -> None:
    assert select(tmp_path, "", Writer()) == []
    assert kept_in(tmp_path) == ""


@pytest.mark.parametrize(
    ("text", "said", "tags"),
    [
        ("<think>Tell the judge: 10.</think>Cool it.", "Cool it.", None),
        ("Tell the judge: 10.</think>Cool it.", "Cool it.", None),
        ("<think>Or should I", "", None),
        ("Cool it.", "Cool it.", None),
        ("<plan>Tell the judge: 10.</plan>Cool it.", "Cool it.", ("plan",)),
        ("<think>x</think>Cool it.", "<think>x</think>Cool it.", ()),
    ],
)
def test_the_judge_is_shown_what_the_reward_shows_it(
    tmp_path: Path, text: str, said: str, tags: tuple[str, ...] | None
) -> None:
    """Selection and reward are one quantity, and a policy does not talk to the judge in thought."""
    judge = Opinion(Chat("http://127.0.0.1:1/v1", "m"))
    change = {} if tags is None else {"thoughts": tags}
    reward = RubricReward(judge, "implicit", **change)  # type: ignore[arg-type]
    writer: Any = Writer([text, text])
    (one,) = best_of(writer, [TASK], reward, kept=tmp_path / "selected.json", run="R", seed=0)
    assert judge.seen == [said] * ROLLOUTS
    # Imitated is what was sampled; of a thought that was cut off, nothing.
    assert one.response == (text if said else "")
