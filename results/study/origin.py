"""Where a unit of the study was made: units that were made in different ways are not put together.

The same seed trains another policy on another processor, in another number format, and under other
versions of the packages that compute. A unit therefore keeps the machine of every start: one that
was killed and went on elsewhere is of no machine. Other code of the library may train another
policy, too: units of two states are put together only where a repeat showed them to come out the
same (``states.py``). Grades are of one state.
"""

from __future__ import annotations

import datetime
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rar_lib.core.errors import DataError
from rar_lib.core.files import atomic_write, digest
from rar_lib.models.machine import hardware
from rar_lib.models.processor import cpu_dtype
from rar_lib.training.checkpoints import newest
from rar_lib.training.train import Job
from results.study.states import DIGITS, States

STARTS = "starts.json"
#: What sampling leaves before the first checkpoint (:func:`rar_lib.training.sft.best_of`).
_SELECTED = "selected.json"
#: How an error ends.
_AGAIN = "Train the odd ones again where the others were trained"
_REPEAT = f"{_AGAIN}, or show by results.study.repeat that they come out the same"
_REGRADE = "Grade the odd ones again by results.study.run --regrade"


def here() -> dict[str, str]:
    """What of this machine decides a number."""
    return {"machine": hardware(), "number format": cpu_dtype()}


def mark() -> str:
    """Short name of this kind of machine, for files that another kind must not read."""
    return digest(here())[:8]


def machine_of(found: Mapping[str, Any]) -> str:
    """Machine and number format of a start, a unit or a grading, in one line."""
    return f"{found['machine']}, {found['number format']}"


# --- the starts of a unit ------------------------------------------------------------------------


def starts(job: Job) -> list[dict[str, Any]]:
    """Every start that a run is made by, this one included, which is written down before it begins.

    They lie in the run's folder, by the run's identity: other settings, code or versions begin
    anew. A start that left nothing to go on from is forgotten. A finished run is not started again.

    Returns:
        Machine, number format, time (``at``), the machine's load and the threads that were asked
        for, start after start.

    Raises:
        DataError: there is something to go on from, and nobody knows where it was made.
    """
    path = job.out / STARTS
    every: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    done = job.finished is not None
    known: list[dict[str, Any]] = every.get(job.fingerprint, [])
    if not (done or _goes_on(job)):
        known = []
    elif not known:
        raise DataError(
            f"{job.out} holds a run, and {STARTS} does not say on which machine it was begun: "
            "delete the folder, and train it again"
        )
    if done:
        return known
    every[job.fingerprint] = known = [*known, {**here(), **_about()}]
    atomic_write(path, json.dumps(every, indent=1) + "\n")
    return known


def _goes_on(job: Job) -> bool:
    """Whether a run finds anything of its own that it continues from."""
    folder = job.checkpoints
    if (folder / _SELECTED).exists():
        return True
    return newest(folder, job.fingerprint, set_aside=False) is not None


def _about() -> dict[str, Any]:
    """What of a start decides its seconds."""
    return {
        "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "load": round(os.getloadavg()[0], 2),
        "threads": os.environ.get("OMP_NUM_THREADS"),
    }


# --- what may be put together --------------------------------------------------------------------


@dataclass(frozen=True)
class Made:
    """What a unit or a run was made by.

    Attributes:
        machines: each with its number format, once, in the order of the starts.
        versions: of the packages that decide a step.
        judges: judge of the reward -> the engine that answered, its weights and what it is asked.
        state: of the library's code; states that come out the same are one.
        mend: what makes one of an odd state like the others.
    """

    machines: tuple[str, ...]
    versions: Mapping[str, str]
    judges: Mapping[str, str]
    state: str = ""
    mend: str = _REPEAT


def made_by(found: Mapping[str, Any], states: States) -> Made:
    """What a unit says of itself."""
    machines = dict.fromkeys(map(machine_of, found["starts"]))
    versions = found["decides"]["versions"]
    return Made(tuple(machines), versions, _judge(found), states.state(found))


def graded_by(found: Mapping[str, Any]) -> Made:
    """What graded a unit; its grades are compared as little across machines as its answers."""
    by = found["graded_by"]
    judges = _judge(by) or {by["judge"]: by["engine"]}
    state = by["calibration"]["judge"]["code"][:DIGITS] if by.get("calibration") else ""
    return Made((machine_of(by),), {}, judges, state, _REGRADE)


def of_run(run: Mapping[str, Any]) -> Made:
    """What a run of the record says of itself."""
    return Made((run["machine"],), run["versions"], run["judges"], run["state"])


def _judge(found: Mapping[str, Any]) -> dict[str, str]:
    """Its name -> all that decides its answers but for the library's code, in one line."""
    if not (known := found.get("calibration")):
        return {}
    judge = known["judge"]
    parts = [f"{name} {judge[name][:12]}" for name in ("weights", "prompt", "wording", "dialect")]
    return {judge["model"]: ", ".join([judge["engine"], *parts]).rstrip()}


def moved(found: Mapping[str, Any]) -> str:
    """Where a unit was begun and where it went on, if that is another machine; else empty."""
    # The first pilots do not say their starts.
    first, *others = dict.fromkeys(map(machine_of, found.get("starts", [found])))
    return f"begun on {first}, continued on {' and '.join(others)}" if others else ""


def shared(made: Mapping[str, Made], among: Iterable[Made] = ()) -> Made:
    """What units or runs have in common, all of which must be the same.

    Args:
        made: by the names that an error tells.
        among: all of the record; what most of it is made by is the usual, and the rest is odd.

    Raises:
        DataError: something differs, or a unit was continued elsewhere; it names the odd ones.
    """
    for name, one in made.items():
        if len(one.machines) > 1:
            first, *others = one.machines
            raise DataError(
                f"{name} was begun on {first} and continued on {' and '.join(others)}: delete it, "
                "and train it on one machine"
            )
    all_ = [*among, *made.values()]
    machines = {name: one.machines[0] for name, one in made.items()}
    _same("machine", machines, [one.machines[0] for one in all_])
    differing = _differing([one.versions for one in made.values()])
    told = {name: _told(one.versions, differing) for name, one in made.items()}
    _same("versions", told, [_told(one.versions, differing) for one in all_])
    judges: dict[str, str] = {}
    for judge in dict.fromkeys(judge for one in made.values() for judge in one.judges):
        answered = {name: one.judges[judge] for name, one in made.items() if judge in one.judges}
        usual = [one.judges[judge] for one in all_ if judge in one.judges]
        _same(f"the judge {judge}", answered, usual)
        judges[judge] = next(iter(answered.values()))
    first_ = next(iter(made.values()))
    states = {name: one.state for name, one in made.items()}
    _same("the library's code", states, [one.state for one in all_], mend=first_.mend)
    return Made(first_.machines, first_.versions, judges, first_.state, first_.mend)


def _differing(versions: Sequence[Mapping[str, str]]) -> list[str]:
    names = sorted({name for one in versions for name in one})
    return [name for name in names if len(set(_values(name, versions))) > 1]


def _values(name: str, versions: Sequence[Mapping[str, str]]) -> list[str | None]:
    return [one.get(name) for one in versions]


def _told(versions: Mapping[str, str], names: Sequence[str]) -> str:
    return ", ".join(f"{name} {versions.get(name, 'not installed')}" for name in names)


def _same(
    what: str, values: Mapping[str, str], usual: Sequence[str], *, mend: str = _AGAIN
) -> None:
    """Refuse values that differ: the rarest of the record first, each with its names."""
    groups: dict[str, list[str]] = {}
    for name, value in values.items():
        groups.setdefault(value, []).append(name)
    if len(groups) < 2:
        return
    counts = Counter(usual)
    rarest = sorted(groups, key=lambda value: counts[value])
    parts = [f"{value} ({', '.join(groups[value])})" for value in rarest]
    if counts[rarest[-1]] > counts[rarest[-2]]:  # else none of them is the usual one
        number = len(groups[rarest[-1]])
        parts[-1] = f"{rarest[-1]} (the other{f' {number}' if number > 1 else ''})"
    raise DataError(f"they differ in {what}: {'; '.join(parts)}. {mend}")


# --- what a record says of all its runs ----------------------------------------------------------


def machines(runs: Sequence[Mapping[str, Any]]) -> str:
    """Every machine that runs were made on; where there are several, each with its runs."""
    made: dict[str, list[Mapping[str, Any]]] = {}
    for run in runs:
        made.setdefault(run["machine"], []).append(run)
    if len(made) < 2:
        return "".join(made)
    return "; ".join(f"{name} ({', '.join(_arms(own, runs))})" for name, own in made.items())


def _arms(own: Sequence[Mapping[str, Any]], runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Arms of these runs, with their seeds where other seeds of the arm are not among them."""
    seeds: dict[str, list[int]] = {}
    for run in own:
        seeds.setdefault(run["arm"], []).append(run["seed"])
    every = Counter(run["arm"] for run in runs)
    return [
        arm if every[arm] == len(of) else f"{arm} with seed {' and '.join(map(str, of))}"
        for arm, of in seeds.items()
    ]


def versions(runs: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The packages that decided, each with every version of it that a run was made under."""
    names = sorted({name for run in runs for name in run["versions"]})
    found = {}
    for name in names:
        of_runs = {run["versions"].get(name, "not installed") for run in runs}
        found[name] = " and ".join(sorted(of_runs))
    return found
