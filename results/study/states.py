"""States of the library's code under which units of the study come out the same.

The digest of the code changes with edits that decide nothing. Two states count as one where a unit
was trained under the first and once more under the second, on one machine, and wrote every answer
the same to the character (``repeat.py``). That holds for units of the same arm and no others: what
one reward shows says nothing of the code that pays another.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPEATS = Path(__file__).with_name("repeats.json")
#: Characters of a digest that are kept.
DIGITS = 12


@dataclass(frozen=True)
class States:
    """Which states of the code are one.

    Attributes:
        later: machine, arm, and the state a unit was trained under -> the state under which it came
            out the same.
    """

    later: Mapping[tuple[str, str, str], str] = field(default_factory=dict)

    @classmethod
    def of(cls, repeats: Sequence[Mapping[str, Any]]) -> States:
        """From what ``repeat.py`` found.

        A repeat of which one answer differs stands against every other of the same two states, of
        units of that arm on that machine: these are not one.
        """
        found: dict[tuple[str, str, str], str] = {}
        against = set()
        for one in repeats:
            before, now = one["code"]
            key = (one["machine"][0], one["arm"], before)
            if not _same(one):
                against.add((*key, now))
            elif before != now:
                found[key] = now
        return cls({key: now for key, now in found.items() if (*key, now) not in against})

    @classmethod
    def recorded(cls, path: Path = REPEATS) -> States:
        """Those that the record shows to be one."""
        return cls.of(json.loads(path.read_text("utf-8"))["repeats"] if path.exists() else [])

    def state(self, head: Mapping[str, Any]) -> str:
        """The state that a unit stands for: the latest under which it would come out the same."""
        on = f"{head['starts'][-1]['machine']}, {head['starts'][-1]['number format']}"
        state: str = head["decides"]["code"][:DIGITS]
        met = {state}
        while (later := self.later.get((on, head["arm"], state))) and later not in met:
            met.add(later)
            state = later
        return state


def _same(repeat: Mapping[str, Any]) -> bool:
    """Whether all that was measured again came out the same, on the machine of before."""
    looks = repeat["looks"]
    one_machine = len(set(repeat["machine"])) == 1
    return one_machine and bool(looks) and all(one["same"] == one["answers"] for one in looks)
