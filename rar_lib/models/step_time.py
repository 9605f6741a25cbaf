"""The time of a training step, simulated from the service times of its stages.

    step = simulate(Load(rollouts=96), Machine(policy=Decoder(7, 12_500), judge=Slots(1, 0.1), ...))
    print(step.seconds, step.bottleneck)

A synchronous step passes three stations: rollouts are decoded, each is judged by one or more
calls, and the update waits for the last verdict, because an advantage needs its whole group. Two of
the stations are first-come queues with several servers and nothing flows back, so the recursion
over the earliest free server is exact; a library for event simulation would add a dependency and
no answer. The service times are the caller's: measured by runs of two sizes
or more on this machine (:func:`fitted`), or published and assumed (:func:`assumptions`).
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from typing import Literal

from rar_lib.core.errors import DataError
from rar_lib.core.types import Arm, Price, Task
from rar_lib.data.jsonl import json_rows
from rar_lib.judging.cost import Work, estimate, grading_work
from rar_lib.judging.reading import RATING_TOKENS, VERDICT_TOKENS

Stage = Literal["generate", "judge", "update"]


@dataclass(frozen=True)
class Load:
    """What one step has to do.

    Attributes:
        rollouts: responses a step, all groups together.
        response: mean tokens of a response.
        spread: lengths lie evenly within this share of the mean on both sides, in [0, 1).
        calls: judge calls a response (1 for the implicit reward, one a criterion for the explicit).
        prompt: tokens of the task that the update reads beside a response.
    """

    rollouts: int
    response: float = 1.0
    spread: float = 0.0
    calls: int = 1
    prompt: float = 0.0

    def __post_init__(self) -> None:
        if self.rollouts < 1 or self.calls < 0 or self.response <= 0:
            raise DataError(f"a step needs rollouts, tokens and calls, not {self}")
        if not 0 <= self.spread < 1:
            raise DataError(f"a spread of lengths is in [0, 1), not {self.spread}")

    def lengths(self) -> list[float]:
        """Tokens of each response: evenly spread, in an order that is mixed and always the same."""
        n = self.rollouts
        # A stride by the golden section mixes long with short and needs no random numbers.
        places = sorted(range(n), key=lambda i: (i * 0.6180339887498949) % 1)
        return [self.response * (1 + self.spread * (2 * (i + 0.5) / n - 1)) for i in places]


@dataclass(frozen=True)
class Decoder:
    """Devices that write responses, each several at a time.

    Attributes:
        devices: how many.
        tokens_per_s: of one device with all its places taken.
        width: responses that a device writes at once. A response never goes faster than its place:
            a device with few of them left is not faster for it.
        fixed: seconds before the first token (weights handed over, prompts read).
    """

    devices: int
    tokens_per_s: float
    width: int = 1
    fixed: float = 0.0


@dataclass(frozen=True)
class Slots:
    """A judge that answers some calls at once.

    Attributes:
        slots: calls at once: devices of a local judge, or the concurrency against an API.
        seconds: of one call, from when its slot takes it.
        fixed: seconds before a call reaches its slot: what a request takes however few there are.
    """

    slots: int
    seconds: float
    fixed: float = 0.0


@dataclass(frozen=True)
class Machine:
    """The service times of one set-up.

    Attributes:
        update_token: seconds a token of the update on one device; divided by the decoder's.
        update_fixed: seconds of an update whatever its size.
        overlap: whether calls go out as responses finish (a judge of its own), or when all are
            written (a judge on the policy's device, or a trainer that asks for whole batches).
    """

    policy: Decoder
    judge: Slots
    update_token: float
    update_fixed: float = 0.0
    overlap: bool = True


@dataclass(frozen=True)
class Step:
    """Where the seconds of a step go; the three add up to it.

    Attributes:
        judge: seconds from the last response to the last verdict, so what judging adds.
        judging: seconds of service that all calls took together.
    """

    generate: float
    judge: float
    update: float
    judging: float

    @property
    def seconds(self) -> float:
        """Of the whole step."""
        return self.generate + self.judge + self.update

    @property
    def bottleneck(self) -> Stage:
        """The stage that adds most to the step."""
        stages: dict[Stage, float] = {
            "generate": self.generate,
            "judge": self.judge,
            "update": self.update,
        }
        return max(stages, key=lambda name: stages[name])


def queue(arrivals: Sequence[float], services: Sequence[float], servers: int) -> list[float]:
    """When each customer leaves a first-come queue with several servers.

    Args:
        arrivals: seconds, ascending.
        services: seconds of service of each.

    Raises:
        DataError: no server, lists of different lengths, or arrivals that are not in order.
    """
    if servers < 1:
        raise DataError(f"a queue needs a server, not {servers}")
    if len(arrivals) != len(services) or any(
        one > following for one, following in itertools.pairwise(arrivals)
    ):
        raise DataError("a queue takes arrivals in order, with a service time for each")
    free = [0.0] * min(servers, max(len(arrivals), 1))
    left = []
    for arrival, service in zip(arrivals, services, strict=True):
        left.append(max(arrival, free[0]) + service)
        heapq.heapreplace(free, left[-1])
    return left


def simulate(load: Load, machine: Machine) -> Step:
    """One synchronous step.

    Raises:
        DataError: a machine without a device or a judge slot.
    """
    policy = machine.policy
    lengths = load.lengths()
    place = policy.width / policy.tokens_per_s
    places = policy.devices * policy.width
    written = queue([policy.fixed] * len(lengths), [n * place for n in lengths], places)
    generated = max(written)
    ready = sorted(written) if machine.overlap else [generated] * len(written)
    asked = [moment + machine.judge.fixed for moment in ready for _ in range(load.calls)]
    judged = max(queue(asked, [machine.judge.seconds] * len(asked), machine.judge.slots), default=0)
    tokens = sum(lengths) + load.prompt * load.rollouts
    return Step(
        generate=generated,
        judge=max(judged - generated, 0.0),
        update=machine.update_fixed + tokens * machine.update_token / policy.devices,
        judging=machine.judge.seconds * len(asked),
    )


@dataclass(frozen=True)
class Measured:
    """A step that was timed on this machine, whose judge waits until all responses are written.

    Attributes:
        load: what it had to do.
        stages: its seconds of each stage (``seconds/generate`` and ``seconds/judge`` in the log of
            a :class:`rar_lib.Run`, and as ``update`` all that is left of the step).
    """

    load: Load
    stages: Mapping[Stage, float]

    @property
    def seconds(self) -> float:
        """Of the whole step."""
        return sum(self.stages.values())


def fitted(steps: Sequence[Measured], *, slots: int = 1) -> Machine:
    """The machine that measured steps describe: of each stage a fixed part and one by the unit.

    The units are tokens written, rounds of calls, and tokens of the update. A line is laid through
    the seconds of each stage by least squares of the relative errors, so that a small step counts
    as much as a large one; no part may be negative. Steps of one size tell no fixed part: all is
    by the unit then, and a larger step is predicted too slow.

    Args:
        steps: one or more, of two sizes or more where a fixed part is to be found.
        slots: calls that the judge answers at once; 1 for a judge whose speed is that of its
            processor, whatever it is asked at once.

    Raises:
        DataError: no step, or one whose stage took no time.
    """
    if not steps:
        raise DataError("a machine is fitted to measured steps; give at least one")
    fixed = {}
    each = {}
    for stage in ("generate", "judge", "update"):
        units = [_units(step.load, slots)[stage] for step in steps]
        fixed[stage], each[stage] = _line(units, [step.stages[stage] for step in steps], stage)
    return Machine(
        policy=Decoder(1, 1 / each["generate"], fixed=fixed["generate"]),
        judge=Slots(slots, each["judge"], fixed=fixed["judge"]),
        update_token=each["update"],
        update_fixed=fixed["update"],
        overlap=False,
    )


def _units(load: Load, slots: int) -> dict[Stage, float]:
    """What the seconds of each stage grow with."""
    written = sum(load.lengths())
    rounds = math.ceil(load.rollouts * load.calls / slots)
    return {"generate": written, "judge": rounds, "update": written + load.prompt * load.rollouts}


def _line(units: Sequence[float], seconds: Sequence[float], stage: Stage) -> tuple[float, float]:
    """Fixed part and part by the unit, neither of them negative, of least relative error.

    Raises:
        DataError: a step had nothing to do there, or took no time for it.
    """
    if min(units) <= 0 or min(seconds) <= 0:
        raise DataError(f"no line can be laid through {stage} steps of {units} in {seconds} s")
    import numpy as np
    from scipy.optimize import nnls

    grows = len(set(units)) > 1
    # Each equation, fixed + unit * x = seconds, is divided by its seconds.
    parts = np.array([[float(grows), unit] for unit in units]) / np.array(seconds)[:, None]
    (fixed, each), _ = nnls(parts, np.ones(len(units)))
    if each <= 0:
        raise DataError(
            f"{stage} took no longer for more work ({seconds} s for {units}): measure sizes that "
            "are further apart, on a machine that does nothing else"
        )
    return float(fixed), float(each)


@dataclass(frozen=True)
class Assumption:
    """A number that this project did not measure.

    Attributes:
        source: where it was read, or ``chosen``.
        date: of the source where it tells one, else of the reading or the choice.
    """

    name: str
    value: float
    unit: str
    source: str
    date: str


def assumptions() -> dict[str, Assumption]:
    """Every number behind :func:`outlook` that is quoted or chosen, by name."""
    file = resources.files("rar_lib.models").joinpath("step_times.jsonl")
    rows = [Assumption(**row) for _, row in json_rows(file.read_bytes(), file.name)]
    return {row.name: row for row in rows}


def call_work(tasks: Sequence[Task], arm: Arm, response: float) -> Work:
    """Mean calls and tokens of judging one response of so many tokens, in whole numbers.

    Written tokens are counted as far as a reading by probability may look at them, of a judge that
    does not think: as :func:`rar_lib.evaluation.grading.items_work` counts those.

    Raises:
        DataError: no tasks, or one without what the arm needs.
    """
    if not tasks:
        raise DataError("judge calls are counted from tasks; give at least one")
    empty = grading_work([(task, "") for task in tasks], arm)
    calls = math.ceil(empty.calls / len(tasks))
    read = round(calls * (empty.prompt_tokens / empty.calls + response))
    looked_at = VERDICT_TOKENS if arm in ("explicit", "predefined") else RATING_TOKENS
    return Work(calls, read, read, calls * looked_at)


@dataclass(frozen=True)
class Row:
    """A whole run on one set-up, predicted.

    Attributes:
        judges: devices that judge; 0 with an API, and on one GPU that does all in turn.
        step: at the assumed rates of each stage.
        hours: of the run at these rates; ``hours_as_published`` with the policy's stages slowed
            until they give the published step (see :func:`slowdown`).
        money: devices and API for ``hours``, in US dollars; ``money_as_published`` likewise.
    """

    gpus: int
    judge: Literal["local", "API"]
    rollouts: int
    judges: int
    step: Step
    work: Work
    hours: float
    money: float
    hours_as_published: float
    money_as_published: float

    @property
    def bottleneck(self) -> Stage:
        """The stage that adds most to a step."""
        return self.step.bottleneck


def slowdown(known: Mapping[str, Assumption]) -> float:
    """How much longer the published step took than this arithmetic says, as a factor.

    The step has no judge: a rule checks its answers. So it tests generation and update alone.
    """
    gpus = int(known["nemo_gpus"].value)
    rollouts = int(known["nemo_rollouts"].value)
    load = _load(known, rollouts, 0, response=known["nemo_tokens"].value, prompt=0.0)
    machine = Machine(_decoder(known, gpus), Slots(1, 0.0), _update_token(known))
    return known["nemo_step"].value / simulate(load, machine).seconds


#: Responses a step of the paper: its batch of 96 read as rollouts, or as prompts with 16 each.
_ROLLOUTS = (96, 1536)


def outlook(
    tasks: Sequence[Task],
    *,
    gpus: Sequence[int] = (1, 8, 64),
    price: Price | None = None,
) -> list[Row]:
    """The paper's run on several machines, with a judge of one's own and with an API.

    A local judge gets the number of devices that makes the step shortest; on one GPU policy and
    judge take turns.

    Args:
        tasks: judge prompts are counted from these.
        price: of the API; by default the assumed one.
    """
    known = assumptions()
    work = call_work(tasks, "implicit", known["response"].value)
    factor = slowdown(known)
    price = price or Price(known["api_in"].value, known["api_out"].value)
    rows = []
    for count, local, n in itertools.product(gpus, (True, False), _ROLLOUTS):
        load = _load(known, n, work.calls)
        judges, machine = _best(known, load, count, work, local=local)
        step = simulate(load, machine)
        slow = simulate(load, _slower(machine, factor))
        total = _times(work, int(known["steps"].value) * n)
        bill = 0.0
        if not local:
            bill = estimate(total, price=price).money or 0.0
        hours, slow_hours = (known["steps"].value * kind.seconds / 3600 for kind in (step, slow))
        rent = count * known["gpu_hour"].value
        rows.append(
            Row(
                gpus=count,
                judge="local" if local else "API",
                rollouts=n,
                judges=judges,
                step=step,
                work=total,
                hours=hours,
                money=hours * rent + bill,
                hours_as_published=slow_hours,
                money_as_published=slow_hours * rent + bill,
            )
        )
    return rows


def _times(work: Work, n: int) -> Work:
    return Work(*(getattr(work, name) * n for name in Work.__annotations__))


def _best(
    known: Mapping[str, Assumption], load: Load, gpus: int, work: Work, *, local: bool
) -> tuple[int, Machine]:
    update = _update_token(known)
    if not local:
        api = Slots(int(known["api_slots"].value), known["api_latency"].value)
        return 0, Machine(_decoder(known, gpus), api, update)
    # Reading dominates a call: 2 floating-point operations a weight and token.
    each = work.fresh_tokens / max(work.calls, 1)
    seconds = each * 2 * known["judge_weights"].value / _speed(known)
    if gpus == 1:
        return 0, Machine(_decoder(known, 1), Slots(1, seconds), update, overlap=False)
    layouts = {
        n: Machine(_decoder(known, gpus - n), Slots(n, seconds), update) for n in range(1, gpus)
    }
    best = min(layouts, key=lambda n: simulate(load, layouts[n]).seconds)
    return best, layouts[best]


def _slower(machine: Machine, factor: float) -> Machine:
    policy = replace(machine.policy, tokens_per_s=machine.policy.tokens_per_s / factor)
    return replace(machine, policy=policy, update_token=machine.update_token * factor)


def _load(
    known: Mapping[str, Assumption],
    rollouts: int,
    calls: int,
    *,
    response: float | None = None,
    prompt: float | None = None,
) -> Load:
    return Load(
        rollouts,
        response=known["response"].value if response is None else response,
        spread=known["spread"].value,
        calls=calls,
        prompt=known["prompt"].value if prompt is None else prompt,
    )


def _decoder(known: Mapping[str, Assumption], devices: int) -> Decoder:
    return Decoder(devices, known["decode"].value, int(known["width"].value))


def _speed(known: Mapping[str, Assumption]) -> float:
    return known["peak"].value * known["utilisation"].value


def _update_token(known: Mapping[str, Assumption]) -> float:
    # Forward and back are 6 operations a weight and token; the old log-probabilities are 2 more.
    return 8 * known["policy_weights"].value / _speed(known)
