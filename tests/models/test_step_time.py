"""What a step takes on a machine nobody has: worked by hand, and against queueing theory."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rar_lib.core.errors import DataError
from rar_lib.core.types import ARMS, Arm, Price
from rar_lib.data.tasks import load_mini
from rar_lib.evaluation.grading import items_work
from rar_lib.judging.chat import Chat
from rar_lib.judging.judge import Judge
from rar_lib.judging.reading import RATING_TOKENS
from rar_lib.models.step_time import (
    Assumption,
    Decoder,
    Load,
    Machine,
    Measured,
    Slots,
    Stage,
    assumptions,
    call_work,
    fitted,
    outlook,
    queue,
    simulate,
    slowdown,
)

TASKS = load_mini("train")[:6]
seconds = st.floats(0, 50, allow_subnormal=False)


# --- the queue -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arrivals", "services", "servers", "left"),
    [
        ([0, 0, 0], [2, 2, 2], 1, [2, 4, 6]),
        ([0, 0, 0], [2, 2, 2], 2, [2, 2, 4]),
        ([0, 0, 0], [2, 2, 2], 9, [2, 2, 2]),
        ([0, 1, 9], [5, 1, 1], 1, [5, 6, 10]),  # the third finds it idle
        ([0, 1, 2], [5, 1, 1], 2, [5, 2, 3]),  # a short one overtakes beside a long one
        ([], [], 1, []),
    ],
)
def test_a_queue_by_hand(
    arrivals: list[float], services: list[float], servers: int, left: list[float]
) -> None:
    assert queue(arrivals, services, servers) == left


def test_one_server_waits_as_long_as_theory_says() -> None:
    """M/D/1: the mean wait is load / (2 (1 - load)) services (Pollaczek and Khinchine)."""
    share = 0.8
    n = 200_000
    arrivals = np.random.default_rng(0).exponential(1 / share, n).cumsum().tolist()
    left = queue(arrivals, [1.0] * n, 1)
    wait = np.mean(np.subtract(left, arrivals)) - 1
    assert wait == pytest.approx(share / (2 * (1 - share)), rel=0.05)
    two = queue(arrivals, [2.0] * n, 2)  # the same capacity in two servers waits less
    assert np.mean(np.subtract(two, arrivals)) - 2 < wait


@given(st.lists(st.tuples(seconds, seconds), min_size=1, max_size=40), st.integers(1, 8))
def test_a_queue_keeps_its_bounds(jobs: list[tuple[float, float]], servers: int) -> None:
    arrivals = sorted(a for a, _ in jobs)
    services = [s for _, s in jobs]
    left = queue(arrivals, services, servers)
    assert len(left) == len(jobs)
    assert all(done >= a + s - 1e-9 for done, a, s in zip(left, arrivals, services, strict=True))
    # No more is served than the servers have time for, and none idles while work waits.
    assert max(left) >= arrivals[0] + sum(services) / servers - 1e-9
    assert max(left) <= arrivals[-1] + sum(services) + 1e-9
    more = queue(arrivals, services, servers + 1)
    assert all(b <= a + 1e-9 for a, b in zip(left, more, strict=True))


@pytest.mark.parametrize(
    ("arrivals", "services", "servers"), [([0], [1], 0), ([0], [1, 1], 1), ([1, 0], [1, 1], 1)]
)
def test_what_is_no_queue(arrivals: list[float], services: list[float], servers: int) -> None:
    with pytest.raises(DataError, match="queue"):
        queue(arrivals, services, servers)


# --- a step --------------------------------------------------------------------------------------

#: Two devices of two places, 5 tokens a second each place; two judge slots of a quarter second.
MACHINE = Machine(Decoder(2, 10.0, 2, fixed=1.0), Slots(2, 0.25), 0.1, update_fixed=3.0)


def test_a_step_by_hand() -> None:
    load = Load(8, response=10, prompt=5)
    together = simulate(load, replace(MACHINE, overlap=False))
    assert together.generate == 1 + 2 * 2  # two rounds of four places, 10 tokens at 5 a second
    assert together.judge == 8 * 0.25 / 2
    assert together.update == 3 + 8 * (10 + 5) * 0.1 / 2
    assert together.seconds == 5 + 1 + 9
    assert together.bottleneck == "update"
    assert together.judging == 2.0
    # The first four are judged while the last four are written.
    assert simulate(load, MACHINE).judge == 4 * 0.25 / 2


def test_lengths_keep_their_mean_and_the_longest_decides() -> None:
    load = Load(7, response=100, spread=0.5)
    lengths = load.lengths()
    assert np.mean(lengths) == pytest.approx(100)
    assert min(lengths) >= 50
    assert max(lengths) <= 150
    assert lengths != sorted(lengths)
    wide = replace(MACHINE, policy=Decoder(100, 10.0))
    assert simulate(load, wide).generate == pytest.approx(max(lengths) / 10)


@given(st.integers(1, 60), st.integers(0, 9), st.integers(1, 9), st.booleans())
def test_more_work_never_takes_less_and_more_machine_never_more(
    rollouts: int, calls: int, slots: int, overlap: bool
) -> None:
    load = Load(rollouts, response=50, calls=calls)
    machine = replace(MACHINE, judge=Slots(slots, 0.25), overlap=overlap)
    step = simulate(load, machine)
    assert step.judging == pytest.approx(rollouts * calls * 0.25)
    assert simulate(replace(load, rollouts=rollouts + 1), machine).seconds >= step.seconds - 1e-9
    assert simulate(replace(load, calls=calls + 1), machine).seconds >= step.seconds - 1e-9
    larger = replace(machine, judge=Slots(slots + 1, 0.25))
    assert simulate(load, larger).seconds <= step.seconds + 1e-9
    larger = replace(machine, policy=replace(machine.policy, devices=3))
    assert simulate(load, larger).seconds <= step.seconds + 1e-9
    if overlap:
        apart = simulate(load, replace(machine, overlap=False))
        assert step.seconds <= apart.seconds + 1e-9


@pytest.mark.parametrize(
    "wrong", [{"rollouts": 0}, {"response": 0.0}, {"calls": -1}, {"spread": 1.0}]
)
def test_a_load_that_is_none(wrong: dict[str, float]) -> None:
    with pytest.raises(DataError):
        Load(**({"rollouts": 8} | wrong))  # type: ignore[arg-type]


def test_the_way_to_the_judge_is_waited_for_once_by_calls_that_go_out_together() -> None:
    far = replace(MACHINE, judge=Slots(2, 0.25, fixed=1.5))
    load = Load(8, response=10, prompt=5)
    together = simulate(load, replace(far, overlap=False))
    assert together.judge == 1.5 + 8 * 0.25 / 2
    assert together.judging == 2.0, "the way is no service"
    # Of eight calls four leave at 3 s and four at 5 s, a quarter second each, two at once: the
    # first arrive at 4.5 s, and the last at 6.5 s, when the first are done.
    assert simulate(load, far).judge == pytest.approx(6.5 + 4 * 0.25 / 2 - 5)


# --- fitted to measured steps ----------------------------------------------------------------


def synthetic(
    rollouts: int, calls: int = 1, response: float = 24.0, noise: float = 1.0
) -> Measured:
    """A step whose stages take 2 + 0.05 a token, 1.5 + 0.4 a call, 3 + 0.01 a token, by hand."""
    load = Load(rollouts, response=response, calls=calls, prompt=100)
    tokens = rollouts * response
    stages: dict[Stage, float] = {
        "generate": (2 + 0.05 * tokens) * noise,
        "judge": (1.5 + 0.4 * rollouts * calls) * noise,
        "update": (3 + 0.01 * (tokens + 100 * rollouts)) * noise,
    }
    return Measured(load, stages)


def test_two_sizes_give_the_known_constants_back_and_predict_others() -> None:
    machine = fitted([synthetic(8), synthetic(32)])
    assert machine.policy.fixed == pytest.approx(2.0)
    assert 1 / machine.policy.tokens_per_s == pytest.approx(0.05)
    assert (machine.judge.fixed, machine.judge.seconds) == pytest.approx((1.5, 0.4))
    assert (machine.update_fixed, machine.update_token) == pytest.approx((3.0, 0.01))
    for rollouts in (1, 16, 64):
        step = simulate(synthetic(rollouts).load, machine)
        found = {"generate": step.generate, "judge": step.judge, "update": step.update}
        assert found == pytest.approx(synthetic(rollouts).stages)
    # Other lengths and more calls are of the same machine.
    other = synthetic(16, calls=5, response=60)
    assert simulate(other.load, machine).seconds == pytest.approx(other.seconds)


@pytest.mark.parametrize("slots", [1, 4])
def test_slots_are_rounds_of_calls(slots: int) -> None:
    """By hand: 10 and 30 calls in rounds of four take 1 + 0.5 * 3 and 1 + 0.5 * 8 seconds."""

    def step(rollouts: int) -> Measured:
        rounds = -(-rollouts // slots)
        return Measured(
            Load(rollouts),
            {"generate": rollouts, "judge": 1 + 0.5 * rounds, "update": 1.0 + rollouts},
        )

    machine = fitted([step(10), step(30)], slots=slots)
    assert (machine.judge.fixed, machine.judge.seconds) == pytest.approx((1.0, 0.5))
    assert simulate(Load(18), machine).judge == pytest.approx(step(18).stages["judge"])


@given(st.lists(st.floats(0.95, 1.05), min_size=6, max_size=6))
def test_noise_of_five_percent_stays_within_the_goal_between_the_sizes(noise: list[float]) -> None:
    steps = [synthetic(n, noise=f) for n, f in zip((8, 8, 8, 32, 32, 32), noise, strict=True)]
    machine = fitted(steps)
    true = synthetic(16)
    assert simulate(true.load, machine).seconds == pytest.approx(true.seconds, rel=0.15)


def test_one_size_tells_no_fixed_part_and_predicts_too_slow() -> None:
    machine = fitted([synthetic(8), synthetic(8)])
    assert machine.policy.fixed == machine.judge.fixed == machine.update_fixed == 0
    step = simulate(synthetic(8).load, machine)
    assert step.seconds == pytest.approx(synthetic(8).seconds)
    larger = simulate(synthetic(32).load, machine).seconds
    assert larger == pytest.approx(4 * synthetic(8).seconds)
    assert larger > 1.15 * synthetic(32).seconds


def test_no_part_is_negative() -> None:
    """Twice the work in three times the time: through the origin, not below it."""
    small = Measured(Load(8), {"generate": 1.0, "judge": 1.0, "update": 1.0})
    large = Measured(Load(16), {"generate": 3.0, "judge": 2.0, "update": 2.0})
    machine = fitted([small, large])
    assert machine.policy.fixed == 0
    assert 1 / 8 < 1 / machine.policy.tokens_per_s < 3 / 16


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        ([], "at least one"),
        ([Measured(Load(8), {"generate": 1.0, "judge": 0.0, "update": 1.0})], "no line.*judge"),
        ([Measured(Load(8, calls=0), {"generate": 1, "judge": 1, "update": 1})], "no line.*judge"),
        (
            [
                Measured(Load(8), {"generate": 9.0, "judge": 1.0, "update": 1.0}),
                Measured(Load(32), {"generate": 3.0, "judge": 2.0, "update": 2.0}),
            ],
            "generate took no longer for more work.*further apart",
        ),
    ],
)
def test_steps_that_describe_no_machine(steps: list[Measured], says: str) -> None:
    with pytest.raises(DataError, match=says):
        fitted(steps)


# --- the paper's run -----------------------------------------------------------------------------


def test_every_assumption_has_a_source_and_a_date() -> None:
    for row in assumptions().values():
        assert row.source
        assert row.unit
        assert row.date.startswith("202"), row


def test_an_assumption_that_holds_another_end_of_a_line_is_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = Assumption("a", 1.0, "s", "a page\u2028in two\x85or three lines", "2026-01-01")
    text = json.dumps(asdict(row), ensure_ascii=False) + "\n"
    (tmp_path / "step_times.jsonl").write_text(text, encoding="utf-8")
    monkeypatch.setattr(resources, "files", lambda _: tmp_path)
    assert assumptions() == {"a": row}


def test_the_published_step_is_between_the_arithmetic_and_twice_that() -> None:
    """16 H100 took 97.7 s: what our rates leave out is less than what they have in."""
    assert 1 < slowdown(assumptions()) < 2


def test_the_papers_calls_and_money_by_hand() -> None:
    work = call_work(TASKS, "implicit", 1000)
    assert work.calls == 1
    rows = outlook(TASKS, gpus=[8], price=Price(1.0, 10.0))
    small, large = (r for r in rows if r.judge == "API")
    assert (small.work.calls, large.work.calls) == (300 * 96, 300 * 1536)
    assert small.work.prompt_tokens == 28_800 * work.prompt_tokens
    rent = 8 * 2.99 * small.hours
    written = 10 * RATING_TOKENS
    assert small.money == pytest.approx(28_800 * (work.prompt_tokens + written) / 1e6 + rent)
    assert small.hours == pytest.approx(300 * small.step.seconds / 3600)


def test_explicit_asks_once_a_criterion() -> None:
    sizes = [len(t.rubric.criteria) for t in TASKS if t.rubric]
    calls = call_work(TASKS, "explicit", 1000).calls
    assert calls - 1 < sum(sizes) / len(TASKS) <= calls
    with pytest.raises(DataError, match="at least one"):
        call_work([], "implicit", 1000)


@pytest.mark.parametrize("arm", ARMS)
def test_a_call_writes_what_grading_counts_for_it(arm: Arm) -> None:
    judge = Judge(Chat("http://127.0.0.1:1/v1", "m"))
    counted = items_work(judge, [(task, "word") for task in TASKS], arm)
    work = call_work(TASKS, arm, 1)
    assert work.completion_tokens / work.calls == counted.completion_tokens / counted.calls > 1


def test_more_gpus_are_never_slower_and_the_split_is_the_best() -> None:
    rows = {(r.gpus, r.judge, r.rollouts): r for r in outlook(TASKS, gpus=[1, 2, 4, 8])}
    for judge in ("local", "API"):
        for n in (96, 1536):
            hours = [rows[g, judge, n].hours for g in (1, 2, 4, 8)]
            assert hours == sorted(hours, reverse=True)
            assert all(r.hours <= r.hours_as_published for r in rows.values())
    assert all(0 < r.judges < r.gpus for r in rows.values() if r.judge == "local" and r.gpus > 1)
