"""How judging grows: the arithmetic by hand, what is missing, when a piece is measured again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib.pyplot as plt
import pytest

from rar_lib.book import figures
from rar_lib.core.types import Grade
from rar_lib.models import processor
from results import growth, step_time

MODEL = "qwen-1.5b"


def found_of(piece: growth.Piece, seconds: float = 12.0, **more: Any) -> dict[str, Any]:
    """What a piece may have measured."""
    n = len(piece.items)
    row = {
        "grades": n,
        "verdicts": 8 * n,
        "unscored": 0,
        "seconds": seconds,
        "each": [seconds / n] * n,
        "tokens_computed": 100,
        "memory_gb": 5.25,
        "other_load": 0.02,
        "requests_at_once": 32,
        "start_s": 30.0,
        "date": "2026-11-29",
        "made_by": growth.made_by(MODEL),
    }
    return row | more


def stepped(*sizes: int, memory: bool = True) -> dict[str, Any]:
    """A record of steps that take 2 seconds a rollout."""
    parts = {"training": 2.0, "server": 1.5}
    return {
        "policy": "p",
        "judge": "j",
        "machine": growth.made_by(MODEL)["machine"],
        "versions": growth.made_by(MODEL)["versions"],
        "date": "2026-11-28",
        "sizes": [{"rollouts": n, "measured": {"seconds": 2.0 * n}} for n in sizes],
        "measured": [{"rollouts": n} | ({"memory_gb": parts} if memory else {}) for n in sizes],
    }


def record(steps: dict[str, Any] | None = None) -> dict[str, Any]:
    """All pieces: a grade takes one second a criterion, and as many in flight change nothing."""
    done = []
    for piece in growth.pieces(MODEL):
        slow = piece.size if piece.what == "criteria" else 4
        done.append((piece, found_of(piece, seconds=float(slow * len(piece.items)))))
    return growth.summarise(done, steps)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(growth, "PIECES", tmp_path / "pieces")
    monkeypatch.setattr(growth, "RESULTS", tmp_path / "growth.json")
    monkeypatch.setattr(step_time, "RESULTS", tmp_path / "step_time.json")
    return tmp_path


@pytest.fixture
def measured(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The pieces that are measured, by a stand-in for server and judge."""
    seen: list[str] = []

    def measure(piece: growth.Piece) -> dict[str, Any]:
        seen.append(piece.name)
        return found_of(piece)

    monkeypatch.setattr(growth, "measure", measure)
    return seen


# --- arithmetic ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([(1, 3.0), (10, 30.0), (100, 300.0)], 1.0),
        ([(1, 5.0), (4, 10.0), (16, 20.0)], 0.5),
        ([(1, 2.0), (8, 2.0), (64, 2.0)], 0.0),
        ([(2, 9.0), (6, 1.0)], -2.0),
    ],
)
def test_the_slope_is_the_power_by_which_cost_grows(
    points: list[tuple[float, float]], expected: float
) -> None:
    assert growth.slope(points) == pytest.approx(expected, abs=1e-9)


def test_one_size_has_no_slope() -> None:
    assert growth.slope([]) is None
    assert growth.slope([(4, 2.0)]) is None


def test_costs_are_by_the_grade_and_by_the_second() -> None:
    rows = record()
    criteria = [(row["criteria"], row["seconds_per_grade"]) for row in rows["criteria"]["rows"]]
    assert criteria == [(1, 1.0), (4, 4.0), (16, 16.0), (60, 60.0)]
    in_flight = [(row["in_flight"], row["grades_per_s"]) for row in rows["in_flight"]["rows"]]
    assert in_flight == [(1, 0.25), (8, 0.25), (64, 0.25)]
    assert rows["criteria"]["slope"] == pytest.approx(1.0)
    assert rows["in_flight"]["slope"] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    ("value", "said"), [(60.0, "60"), (8.0, "8"), (1.24, "1.2"), (0.96, "0.96"), (17.6, "18")]
)
def test_factors_are_said_to_two_figures(value: float, said: str) -> None:
    assert growth.short(value) == said


def test_what_is_seen_is_computed() -> None:
    rows = record(stepped(8, 32, 128))
    said = [growth.seen(name, rows) for name in figures.GROWS]
    assert said == [
        "60 times the criteria in the rubric, 60 times the seconds a grade",
        "64 times the grades in flight, 1 times the grades a second",
        "16 times the rollouts a step, 16 times the seconds a step",
    ]


def test_one_size_is_called_one() -> None:
    assert growth.seen("rollouts", record(stepped(8))) == "only 8 is measured"
    assert growth.seen("rollouts", record()) == figures.NOT_YET


# --- what is graded ------------------------------------------------------------------------------


def test_a_piece_counts_criteria_or_grades_in_flight() -> None:
    every = growth.pieces(MODEL)
    assert [piece.name for piece in every] == [
        *(f"criteria-{n}" for n in (1, 4, 16, 60)),
        *(f"in_flight-{n}" for n in (1, 8, 64)),
    ]
    for piece in every[:4]:
        sizes = {len(task.rubric.criteria) for task, _ in (*piece.items, piece.warm) if task.rubric}
        assert (sizes, len(piece.items), piece.in_flight) == ({piece.size}, 6, 1)
        assert piece.verdicts == 7 * piece.size
    assert [piece.in_flight for piece in every[4:]] == [1, 8, 64]


def test_the_same_responses_are_graded_however_many_are_in_flight() -> None:
    of = [piece for piece in growth.pieces(MODEL) if piece.what == "in_flight"]
    assert of[0].items == of[1].items == of[2].items
    assert len(of[0].items) == max(growth.IN_FLIGHT), "else that many never are in flight"
    assert len({(task.id, text) for task, text in of[0].items}) == len(of[0].items)


def test_the_server_is_warmed_up_by_a_response_that_is_not_measured() -> None:
    for piece in growth.pieces(MODEL):
        assert piece.warm[0].id not in {task.id for task, _ in piece.items}


@pytest.mark.parametrize("in_flight", [1, 3, 8])
def test_so_many_grades_are_asked_for_at_a_time(in_flight: int) -> None:
    now: list[int] = [0]
    most: list[int] = [0]

    class Judge:
        async def grade(self, task: Any, response: str, arm: str) -> Grade:
            assert arm == "explicit"
            now[0] += 1
            most[0] = max(most[0], now[0])
            await asyncio.sleep(0)
            now[0] -= 1
            return Grade(arm="explicit", score=0.5, reason=response)

    items: Any = [(None, str(n)) for n in range(8)]
    found = asyncio.run(growth.graded(Judge(), items, in_flight))  # type: ignore[arg-type]
    assert most == [in_flight]
    assert [grade.reason for grade, _ in found] == [response for _, response in items]
    assert all(seconds >= 0 for _, seconds in found)


# --- what is kept --------------------------------------------------------------------------------


def test_what_is_measured_is_not_measured_again(measured: list[str]) -> None:
    every = growth.pieces(MODEL)
    growth.measure_missing(every, 10)
    assert measured == [piece.name for piece in every]
    measured.clear()
    growth.measure_missing(every, 10)
    assert measured == []


@pytest.mark.parametrize("what", ["machine", "versions", "number_format"])
def test_another_machine_or_version_measures_again(
    what: str, measured: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    every = growth.pieces(MODEL)
    growth.measure_missing(every[:1], 10)
    own = growth.made_by(MODEL)
    monkeypatch.setattr(growth, "made_by", lambda model: own | {what: "another"})
    assert every[0].result() is None
    growth.measure_missing(every[:1], 10)
    assert measured == [every[0].name] * 2


def test_other_code_measures_again(measured: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    piece = growth.pieces(MODEL)[0]
    growth.measure_missing([piece], 10)
    assert piece.result() is not None
    monkeypatch.setattr(growth, "sources", lambda *rooms: {"judging/judge.py": "another"})
    assert piece.result() is None
    monkeypatch.undo()


def test_the_key_is_of_the_code_that_measures_and_of_what_is_graded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    every = growth.pieces(MODEL)
    assert len({piece.key for piece in every}) == len(every)
    before = every[0].key

    async def graded(*_: Any) -> Any:
        """Another way to grade."""

    with monkeypatch.context() as changed:
        changed.setattr(growth, "graded", graded)
        assert every[0].key != before
    with monkeypatch.context() as changed:
        changed.setattr(growth, "seen", lambda name, record: "another text")
        assert every[0].key == before, "a sentence measures nothing"


def test_a_busy_machine_is_refused(
    folder: Path, measured: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    every = growth.pieces(MODEL)
    busy = {"in_flight-8": 0.4}
    monkeypatch.setattr(
        growth, "measure", lambda piece: found_of(piece, other_load=busy.get(piece.name, 0.01))
    )
    with pytest.raises(SystemExit, match="took 40% of the cores during in_flight-8"):
        growth.measure_missing(every, 10)
    assert [piece.name for piece in every if piece.result() is None] == [
        "in_flight-8",
        "in_flight-64",
    ]


def test_nothing_is_begun_when_the_minutes_are_over(
    measured: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    growth.measure_missing(growth.pieces(MODEL), -1)
    assert measured == []
    assert "7 pieces to do" in capsys.readouterr().out


def test_a_server_of_another_process_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def serving(_: str) -> Iterator[Any]:
        yield SimpleNamespace(owned=False, pid=77)

    monkeypatch.setattr(growth, "serve", serving)
    monkeypatch.setattr(growth, "local_chat", serving)
    with pytest.raises(SystemExit, match=r"another process serves qwen-1\.5b \(process 77\)"):
        growth.measure(growth.pieces(MODEL)[0])


# --- how long it takes ---------------------------------------------------------------------------


def test_the_forecast_is_from_the_pieces_that_are_done() -> None:
    first, *rest = growth.pieces(MODEL)
    # By hand: 48 verdicts in 12 s are 4 a second; 4 criteria for 7 responses take 7 s, and 30 more.
    at = growth.pace([found_of(first)], [], MODEL)
    assert at == growth.Pace(30.0, 4.0)
    assert at.seconds(rest[:1]) == pytest.approx(37.0)
    assert growth.forecast(rest[:1], at) == "1 pieces to do, 28 verdicts, about 0.6 min"


def test_before_the_first_piece_it_is_from_the_engines_of_such_a_machine() -> None:
    of = {"start and first pair, s": 40.0, "verdicts_per_s": 5.0}
    row = {
        "model": MODEL,
        "number format of vllm": growth.number_format(MODEL),
        "cores": growth.made_by(MODEL)["cores"],
        "engines": {"vllm": of, "llama.cpp": of | {"verdicts_per_s": 1.0}},
    }
    assert growth.pace([], [row], MODEL) == growth.Pace(40.0, 5.0)
    assert growth.pace([], [row | {"cores": 4096}], MODEL) is None
    assert "not known yet" in growth.forecast(growth.pieces(MODEL), None)


# --- the steps -----------------------------------------------------------------------------------


def test_steps_are_taken_as_they_are_with_the_memory_of_both_processes() -> None:
    found = growth.steps(stepped(8, 16, 32, 64, 128))
    assert found["rows"] == [
        {"rollouts": n, "seconds_per_step": 2.0 * n, "memory_gb": 3.5} for n in (8, 32, 128)
    ]
    assert (found["missing"], found["without_memory"]) == ([], [])
    assert growth.missing(record(stepped(8, 32, 128))) == []


def test_what_the_steps_lack_is_left_out_and_named() -> None:
    rows = record(stepped(8, 32, memory=False))
    assert [row["rollouts"] for row in rows["rollouts"]["rows"]] == [8, 32]
    assert growth.missing(rows) == [
        "There is no step of 128 rollouts.",
        "There is no memory of steps of 8 and 32 rollouts.",
    ]
    assert "| rollouts a step: 8 | 16.00 seconds a step | – | – | – |" in growth.render(rows)
    assert "measured by results.step_time" in growth.render(rows)


def test_the_steps_that_are_on_record_can_be_read() -> None:
    found = growth.steps(json.loads(step_time.RESULTS.read_text(encoding="utf-8")))
    assert {row["rollouts"] for row in found["rows"]} | set(found["missing"]) == {8, 32, 128}
    assert all(row["seconds_per_step"] > 0 for row in found["rows"])


def test_steps_of_another_machine_are_called_so() -> None:
    rows = record(stepped(8, 32, 128) | {"machine": "another"})
    assert "they differ in machine" in growth.missing(rows)[-1]


# --- table and record -----------------------------------------------------------------------------


def test_the_table_has_a_row_for_each_size() -> None:
    shown = growth.render(record(stepped(8, 32, 128)))
    assert "| criteria in the rubric: 60 | 60.00 seconds a grade | 5.2 | 0 of 48 | 2% |" in shown
    assert "| rollouts a step: 128 | 256.00 seconds a step | 3.5 | – | – |" in shown
    assert shown.count("\n| ") == 4 + 3 + 3
    assert "60 times the seconds a grade (slope 1.00; 1 is in proportion)." in shown


def test_a_record_is_written_when_no_piece_is_missing(
    folder: Path, measured: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="nothing has been measured"):
        growth.main(["--table"])
    every = growth.pieces(MODEL)
    growth.measure_missing(every[:-1], 10)
    growth.main(["--table"])
    assert "in_flight-64 missing" in capsys.readouterr().out
    assert not growth.RESULTS.exists()
    growth.main([])
    assert measured == [piece.name for piece in every]
    found = json.loads(growth.RESULTS.read_text())
    assert (found["model"], found["date"]) == (MODEL, "2026-11-29")
    assert found["rollouts"]["missing"] == [8, 32, 128]


@pytest.mark.parametrize("steps", [None, stepped(8), stepped(8, 32, memory=False), stepped(128)])
def test_the_book_draws_the_record_whatever_steps_there_are(steps: dict[str, Any] | None) -> None:
    rows = record(steps)
    fig = figures.growth(rows)
    assert len(fig.axes) == (3 if steps else 2)
    assert figures.as_svg(fig) is not None
    plt.close(fig)


def test_the_model_is_one_that_suits_the_processor(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processor, "flags", lambda: frozenset({"avx2"}))
    asked: list[str] = []
    monkeypatch.setattr(growth, "pieces", lambda model: asked.append(model) or [])
    with pytest.raises(SystemExit):
        growth.main(["--model", "qwen-1.5b-int8", "--table"])
    assert asked == [MODEL]
