"""The script that measures steps of several sizes: what it keeps, fits, predicts and refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from results import step_time


def piece(rollouts: int, *, slower: float = 1.0, response: float = 20.0) -> dict[str, Any]:
    """A size whose stages take 1 + 0.1, 2 + 0.25 and 4 + 0.5 seconds a rollout, by hand."""
    stages = {"generate": 1 + 0.1 * rollouts, "judge": 2 + 0.25 * rollouts}
    stages["update"] = 4 + 0.5 * rollouts
    step = {
        "response": response,
        "unscored": 0.0,
        "stages": {name: seconds * slower for name, seconds in stages.items()},
    }
    return {
        "rollouts": rollouts,
        "prompt": 80.0,
        "steps": [step] * step_time.SIZES[rollouts],
        "made_by": step_time.made_by(),
        "date": "2026-11-28",
    }


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(step_time, "PIECES", tmp_path)
    monkeypatch.setattr(step_time, "RESULTS", tmp_path / "step_time.json")
    return tmp_path


def test_known_parts_are_found_and_the_other_sizes_predicted() -> None:
    found = step_time.predicted({n: piece(n) for n in step_time.SIZES})
    assert found["fixed"] == pytest.approx({"generate": 1.0, "judge": 2.0, "update": 4.0})
    each = {"token written": 0.1 / 20, "call": 0.25, "token of the update": 0.5 / 100}
    assert found["each"] == pytest.approx(each)
    assert [row["rollouts"] for row in found["sizes"]] == [8, 16, 32, 64, 128]
    assert [row["fitted"] for row in found["sizes"]] == [True, False, True, False, False]
    for row in found["sizes"]:
        assert row["error"] == pytest.approx(0.0, abs=1e-9)
        assert row["measured"]["seconds"] == pytest.approx(7 + 0.85 * row["rollouts"])
    assert found["within_goal"]


@pytest.mark.parametrize("size", [16, 64, 128])
@pytest.mark.parametrize(("slower", "within"), [(1.1, True), (0.9, True), (1.2, False)])
def test_the_error_is_of_the_sizes_that_were_not_fitted(
    slower: float, within: bool, size: int
) -> None:
    """A size that took 1.1 times as long was predicted at 1 / 1.1 of it."""
    found = step_time.predicted(
        {n: piece(n, slower=slower if n == size else 1.0) for n in step_time.SIZES}
    )
    (row,) = [row for row in found["sizes"] if row["rollouts"] == size]
    assert row["error"] == pytest.approx(1 / slower - 1)
    assert found["largest_error"] == pytest.approx(abs(1 / slower - 1))
    assert found["within_goal"] is within


def test_a_step_that_wrote_more_is_predicted_to_take_longer() -> None:
    """By hand: 16 responses of 40 tokens instead of 20 take 1.6 s more to write, 1.6 s to learn."""
    pieces = {n: piece(n) for n in step_time.SIZES}
    pieces[16] = piece(16, response=40.0)
    row = step_time.predicted(pieces)["sizes"][1]
    assert row["predicted"]["generate"] == pytest.approx(1 + 1.6 + 1.6)
    assert row["predicted"]["update"] == pytest.approx(4 + 8 + 16 * 20 * 0.005)


def test_each_size_is_whole_groups_of_tasks_that_are_seen_once() -> None:
    for rollouts, counted in step_time.SIZES.items():
        training = step_time.settings(rollouts)
        assert training.rollouts * training.prompts_per_step == rollouts
        assert training.steps == counted + step_time.WARM_UP
        tasks = step_time.tasks_of(training)
        assert len({t.id for t in tasks}) == training.prompts_per_step * training.steps
        assert 20 < step_time.prompt_tokens(tasks) < 400
    beyond = [n for n in step_time.SIZES if n > max(step_time.FITTED_ON)]
    assert beyond == [2 * max(step_time.FITTED_ON), 4 * max(step_time.FITTED_ON)]
    assert list(step_time.SIZES) == sorted(step_time.SIZES), "memory is of the largest so far"


def test_sizes_of_another_machine_do_not_count(folder: Path) -> None:
    for n in step_time.SIZES:
        step_time.piece(n).write_text(json.dumps(piece(n)))
    assert sorted(step_time.kept()) == sorted(step_time.SIZES)
    other = piece(16) | {"made_by": step_time.made_by() | {"machine": "another"}}
    step_time.piece(16).write_text(json.dumps(other))
    assert sorted(step_time.kept()) == [8, 32, 64, 128]
    with pytest.raises(SystemExit, match=r"\[16\]"):
        step_time.table()
    assert not step_time.RESULTS.exists()


def test_the_record_names_machine_models_and_goal(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for n in step_time.SIZES:
        step_time.piece(n).write_text(json.dumps(piece(n)))
    step_time.table()
    record = json.loads(step_time.RESULTS.read_text())
    assert record["machine"] == step_time.made_by()["machine"]
    assert (record["policy"], record["judge"]) == ("smollm2-135m", "smollm2-135m")
    assert (record["goal"], record["fitted_on"]) == (0.15, [8, 32])
    assert [row["rollouts"] for row in record["measured"]] == [8, 16, 32, 64, 128]
    shown = capsys.readouterr().out
    assert " 64 rollouts, predicted:   61.4 s measured,   61.4 s simulated" in shown


def test_the_warm_up_does_not_count_and_the_update_is_what_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begins = [100.0, 150.0, 160.0, 170.0]

    class Timed(step_time.Clock):
        def callback(self) -> Any:
            self.ends += [*begins, 181.0]
            return None

    def train(arm: str, **given: Any) -> Any:
        assert arm == "implicit"
        assert given["settings"] == step_time.settings(8)
        row = {"seconds/generate": 3.0, "seconds/judge": 5.0, "length": 20.0, "unscored": 0.0}
        return SimpleNamespace(curve=lambda: [row] * len(begins), backend="transformers (cpu)")

    monkeypatch.setattr(step_time, "Clock", Timed)
    monkeypatch.setattr(step_time, "train", train)
    monkeypatch.setattr(step_time, "Watch", lambda group: SimpleNamespace(other_load=lambda: 0.01))
    monkeypatch.setattr(step_time, "peak_gb", lambda: 1.5)
    monkeypatch.setattr(step_time, "watched", lambda: nullcontext([2.0, 2.5]))
    found = step_time.measure(8, SimpleNamespace(), 1)  # type: ignore[arg-type]
    assert [step["stages"]["update"] for step in found["warm_up"]] == [42.0]
    assert [step["stages"]["update"] for step in found["steps"]] == [2.0, 2.0, 3.0]
    assert [step.seconds for step in step_time.steps_of(found)] == [10.0, 10.0, 11.0]
    assert found["memory_gb"] == {"training": 1.5, "server": 2.5}


@pytest.fixture
def measured(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes that are measured, by stand-ins for model and server."""
    seen: list[int] = []

    @contextmanager
    def serving(_: str) -> Iterator[Any]:
        yield SimpleNamespace(pid=1)

    def measure(rollouts: int, chat: Any, group: int) -> dict[str, Any]:
        seen.append(rollouts)
        return piece(rollouts) | {"other_load": 0.5 if rollouts == 16 else 0.02}

    for name, stand_in in (("serve", serving), ("local_chat", serving), ("measure", measure)):
        monkeypatch.setattr(step_time, name, stand_in)
    return seen


def test_a_busy_machine_is_refused_and_the_rest_is_taken_up_again(
    measured: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit, match="other processes took 50% of the cores while 16"):
        step_time.measure_missing(10)
    assert measured == [8, 16]
    assert sorted(step_time.kept()) == [8], "what was disturbed is not kept"
    measured.clear()
    monkeypatch.setattr(step_time, "QUIET", 0.9)
    step_time.measure_missing(10)
    assert measured == [16, 32, 64, 128]
    measured.clear()
    step_time.measure_missing(10)
    assert measured == []


def test_nothing_is_begun_when_the_minutes_are_over(measured: list[int]) -> None:
    step_time.measure_missing(0)
    assert measured == []
