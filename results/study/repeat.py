"""A unit of the record trained once more: does the same seed write the same answers today?

    .venv/bin/python -m results.study.repeat rlvr-fold0-seed0

Units may have been trained under several states of the library's code. This trains a recorded unit
again under the present code, on this machine, in a folder of its own, and compares every answer of
every look with the recorded one, but for a first look that is a copy of the one of ``base``. What
it finds is added to ``repeats.json``, and decides which units are put together (``states.py``); the
record itself stays as it is.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rar_lib.core.errors import DataError
from rar_lib.core.files import atomic_write
from results.study import origin, run, store
from results.study.run import Unit
from results.study.states import DIGITS

RESULTS = Path(__file__).with_name("repeats.json")
FOLDER = run.BUILD / "repeated"


def compared(
    before: Mapping[str, Any], now: Mapping[str, Any], *, copied: bool = False
) -> dict[str, Any]:
    """Answers that are the same to the character, by step of the look, and what made both.

    Args:
        copied: the first look was not measured but taken from ``base``: it says nothing.

    Raises:
        DataError: the looks were taken at other steps or of other tasks.
    """
    looks = []
    pairs = list(zip(before["looks"], now["looks"], strict=True))
    for old, new in pairs[1:] if copied else pairs:
        if (old["step"], set(old["answers"])) != (new["step"], set(new["answers"])):
            raise DataError(f"the looks differ in step or tasks: {old['step']} and {new['step']}")
        same = sum(old["answers"][task] == text for task, text in new["answers"].items())
        looks.append({"step": old["step"], "answers": len(new["answers"]), "same": same})
    return {
        "arm": before["arm"],
        "looks": looks,
        "code": [before["decides"]["code"][:DIGITS], now["decides"]["code"][:DIGITS]],
        "versions": now["decides"]["versions"],
        "machine": [origin.machine_of(before), origin.machine_of(now)],
        "date": [before["date"], now["date"]],
        "seconds": now["seconds"],
    }


def again(unit: Unit) -> dict[str, Any]:
    """Train a recorded unit once more, from its beginning, and compare.

    Raises:
        DataError: it is not recorded, or all that it has is a copy.
    """
    if not unit.path.exists():
        raise DataError(f"{unit.name} is not on record: train it by results.study.run")
    recorded = store.load(unit.path)
    copied = run.untrained(unit) is not None
    if copied and len(recorded["looks"]) == 1:
        raise DataError(f"{unit.name} holds a copy of the first seed's answers: repeat that one")
    shutil.rmtree(FOLDER / unit.name, ignore_errors=True)
    with ExitStack() as open_:
        judge = run.Judges(open_)(unit.design.judge) if run.needs_judge(unit) else None
        found = compared(recorded, run.measure(unit, judge, folder=FOLDER), copied=copied)
    return {"unit": unit.name, **found}


def main() -> None:
    """Repeat the units that are named, and keep what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    named = {unit.name: unit for unit in run.units()}
    parser.add_argument("units", nargs="+", choices=named, metavar="UNIT")
    for name in parser.parse_args().units:
        found = again(named[name])
        known = json.loads(RESULTS.read_text("utf-8"))["repeats"] if RESULTS.exists() else []
        # Nothing is replaced: a repeat that differed stays on record beside one that did not.
        atomic_write(RESULTS, json.dumps({"repeats": [*known, found]}, indent=1) + "\n")
        looks = ", ".join(f"{one['same']} of {one['answers']}" for one in found["looks"])
        print(f"{name}: the same answers look by look: {looks}", flush=True)


if __name__ == "__main__":
    main()
