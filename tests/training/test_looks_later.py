"""A grader that is asked when training is done: its server is not up beside the policy."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import tiny
from scripted import Reply, Scripted, says, server
from transformers import TrainerCallback

from rar_lib.core.errors import DataError
from rar_lib.data.tasks import load_mini
from rar_lib.evaluation.held_out import course, look_with
from rar_lib.judging.chat import Chat
from rar_lib.judging.judge import Judge
from rar_lib.training.policy import Policy
from rar_lib.training.rewards import RubricReward
from rar_lib.training.run import TRANSCRIPT, Run, read_transcript
from rar_lib.training.settings import Settings
from rar_lib.training.train import Job, Watch, train

TASKS, HELD_OUT = load_mini("train")[:2], load_mini("test")[:2]
SMALL = Settings(
    device="cpu",
    policy="smollm2-135m",
    rollouts=4,
    prompts_per_step=2,
    max_completion=6,
    steps=2,
    learning_rate=1e-3,
    lora_rank=3,
)


def opinion(request: Reply, _: int) -> Reply:
    """A rating from 2 to 9 that depends on the text alone."""
    text = request["messages"][-1]["content"]
    rating = str(2 + hashlib.sha256(text.encode()).digest()[0] % 8)
    return says(rating, tokens={rating: 1.0})


@dataclass
class Lazy:
    """A server on this machine that the first request starts."""

    address: str
    starts: list[str] = field(default_factory=list)

    def url(self) -> str:
        self.starts.append(self.address)
        return self.address

    def check(self) -> None:
        """It goes on."""


@dataclass
class Two:
    """The judge that rewards and the one that holds out, and where the run is."""

    rewarding: Scripted
    holding: Scripted
    lazy: Lazy

    def watch(self, *later: str) -> Watch:
        graders = {
            "training": (Judge(Chat(self.rewarding.url, "r", weights="r")), "implicit"),
            "hold-out": (Judge(Chat(self.lazy, "h", weights="h")), "implicit"),
        }
        within = lambda step, policy: {"inner": {"at": float(step)}}  # noqa: E731
        return Watch(1, look_with(graders, HELD_OUT), within, later)  # type: ignore[arg-type]

    def trained(self, out: Path, *later: str, callbacks: Sequence[TrainerCallback] = ()) -> Run:
        return train(
            "implicit",
            settings=SMALL,
            tasks=TASKS,
            held_out=HELD_OUT,
            out=out,
            judge=Judge(Chat(self.rewarding.url, "r", weights="r")),
            backend="transformers",
            watch=self.watch(*later),
            callbacks=callbacks,
        )


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> Iterator[Two]:
    fresh: Callable[..., Policy] = lambda settings, **_: tiny.policy(settings)  # noqa: E731
    monkeypatch.setattr("rar_lib.training.train.Policy.fresh", fresh)
    with server(opinion) as rewarding, server(opinion) as holding:
        yield Two(rewarding, holding, Lazy(holding.url))


def looks(out: Path) -> list[dict[str, Any]]:
    return [row for row in read_transcript(out / TRANSCRIPT) if "look" in row]


class Stop(TrainerCallback):
    """The run ends before its second step."""

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 1:
            raise KeyboardInterrupt


def test_while_steps_are_asked_about_the_hold_outs_server_is_not_started(
    two: Two, tmp_path: Path
) -> None:
    run = two.trained(tmp_path, "hold-out")
    rewards = len(run.steps) * SMALL.rollouts * SMALL.prompts_per_step
    assert len(two.rewarding.requests) >= rewards > 0
    assert (two.lazy.starts, two.holding.requests) == ([], [])
    assert [look["step"] for look in run.watched] == [0, 1, 2]
    assert all("training" in look and "hold-out" not in look for look in run.watched)
    with pytest.raises(DataError, match="no grader 'hold-out' in these looks"):
        course(run.watched, "hold-out")

    asked = len(two.rewarding.requests)
    whole = two.watch("hold-out").grade_later(run, tmp_path)
    assert len(two.lazy.starts) >= 1
    assert len(two.rewarding.requests) == asked  # the other one has said it all
    assert all(score is not None for look in whole.watched for score in look["hold-out"].values())


def test_the_record_is_that_of_a_run_whose_graders_were_all_asked_at_the_looks(
    two: Two, tmp_path: Path
) -> None:
    at_once = two.trained(tmp_path / "at once")
    later = two.watch("hold-out").grade_later(
        two.trained(tmp_path / "later", "hold-out"), tmp_path / "later"
    )
    assert json.dumps(later.watched) == json.dumps(at_once.watched)  # in the same order, too
    assert json.dumps(looks(tmp_path / "later")) == json.dumps(looks(tmp_path / "at once"))
    assert later.identity == at_once.identity
    assert Run.load(tmp_path / "later" / "run.json") == later
    rows = [read_transcript(tmp_path / name / TRANSCRIPT) for name in ("later", "at once")]
    assert [list(row) for row in rows[0]] == [list(row) for row in rows[1]]


def test_an_interrupted_run_goes_on_and_its_looks_are_graded_when_it_is_done(
    two: Two, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        two.trained(tmp_path, "hold-out", callbacks=[Stop()])
    assert not (tmp_path / "run.json").exists()
    run = two.trained(tmp_path, "hold-out")
    assert run.resumed_at == [1]
    assert two.holding.requests == []
    whole = two.watch("hold-out").grade_later(run, tmp_path)
    assert [look["step"] for look in whole.watched] == [0, 1, 2]
    assert all(set(look["hold-out"]) == {task.id for task in HELD_OUT} for look in whole.watched)
    assert all(set(row["grades"]) == {"training", "hold-out"} for row in looks(tmp_path))


def test_a_run_that_has_all_its_grades_is_returned_and_nothing_is_asked(
    two: Two, tmp_path: Path
) -> None:
    watch = two.watch("hold-out")
    whole = watch.grade_later(two.trained(tmp_path, "hold-out"), tmp_path)
    asked = len(two.holding.requests)
    assert two.trained(tmp_path, "hold-out") == whole  # finished, with what was said later
    assert two.trained(tmp_path) == whole  # when a grader is asked makes no other run
    assert watch.grade_later(whole, tmp_path) == whole
    assert len(two.holding.requests) == asked


def test_an_answer_that_cannot_be_graded_stays_without_a_score_and_says_why(
    two: Two, tmp_path: Path
) -> None:
    two.holding.answer = lambda *_: says("I would rather not.")
    whole = two.watch("hold-out").grade_later(two.trained(tmp_path, "hold-out"), tmp_path)
    assert all(score is None for look in whole.watched for score in look["hold-out"].values())
    assert all(score is not None for look in whole.watched for score in look["training"].values())
    for row in looks(tmp_path):
        assert all(grade["score"] is None for grade in row["grades"]["hold-out"].values())
        assert all(grade["reason"] for grade in row["grades"]["hold-out"].values())


def test_answers_that_are_not_kept_cannot_be_graded_later(two: Two, tmp_path: Path) -> None:
    run = two.trained(tmp_path, "hold-out")
    path = tmp_path / TRANSCRIPT
    kept = [line for line in path.read_text().splitlines() if json.loads(line).get("look") != 1]
    path.write_text("\n".join(kept) + "\n")
    with pytest.raises(DataError, match="answers of the look after step 1"):
        two.watch("hold-out").grade_later(run, tmp_path)
    assert two.holding.requests == []


def test_of_several_processes_the_first_starts_no_server_that_is_asked_later(
    two: Two, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rar_lib.training.train.processes.count", lambda: 2)
    reward = RubricReward(Judge(Chat(rewarding := Lazy("r"), "r", weights="r")), "implicit")
    for later, started in (("hold-out",), []), ((), [two.lazy.address]):
        watch = two.watch(*later)
        job = Job(
            arm="implicit", settings=SMALL, tasks=TASKS, out=tmp_path, reward=reward, watch=watch
        )
        job._start_judges()
        assert two.lazy.starts == started
    assert rewarding.starts == ["r", "r"]


@pytest.mark.parametrize("measure", [lambda step, answers: {}, look_with({}, HELD_OUT)])
def test_only_a_grader_that_looks_can_be_asked_later(measure: Any) -> None:
    with pytest.raises(DataError, match="no grader 'hold-out' to ask later; these look: none"):
        Watch(1, measure, later=("hold-out",))
