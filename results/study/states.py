"""States of the library's code under which units of the study come out the same.

The digest of the code changes with edits that decide nothing. Two states count as one where a unit
was trained under the first and once more under the second, on one machine, and wrote every answer
the same to the character (``repeat.py``). That holds for units that are paid in the same way and no
others: what a rule's reward shows says nothing of the code that asks a judge.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPEATS = Path(__file__).with_name("repeats.json")
#: Characters of a digest that are kept.
DIGITS = 12
_PAID = {
    "base": "not trained",
    "rlvr": "paid by a rule",
    "length": "paid by a rule",
    "sft_reference": "imitates references",
    "sft_filtered": "imitates answers that a judge chose",
}


def paid(arm: str) -> str:
    """How an arm of the study is paid: by a judge unless it is another one.

    A variant, such as *explicit, keep 0.5*, runs code that the plain arm does not: it speaks for
    itself alone.
    """
    return arm if "," in arm else _PAID.get(arm, "paid by a judge")


@dataclass(frozen=True)
class States:
    """Which states of the code are one.

    Attributes:
        later: how a unit is paid and the state it was trained under -> the state under which it
            came out the same.
    """

    later: Mapping[tuple[str, str], str] = field(default_factory=dict)

    @classmethod
    def of(cls, repeats: Mapping[str, Mapping[str, Any]]) -> States:
        """From what ``repeat.py`` found; a repeat of which one answer differs joins nothing."""
        found = {}
        for one in repeats.values():
            before, now = one["code"]
            if before != now and _same(one):
                found[paid(one["arm"]), before] = now
        return cls(found)

    @classmethod
    def recorded(cls, path: Path = REPEATS) -> States:
        """Those that the record shows to be one."""
        return cls.of(json.loads(path.read_text(encoding="utf-8")) if path.exists() else {})

    def state(self, head: Mapping[str, Any]) -> str:
        """The state that a unit stands for: the latest under which it would come out the same."""
        how = paid(head["arm"])
        state: str = head["decides"]["code"][:DIGITS]
        met = {state}
        while (later := self.later.get((how, state))) and later not in met:
            met.add(later)
            state = later
        return state


def _same(repeat: Mapping[str, Any]) -> bool:
    one_machine = len(set(repeat["machine"])) == 1
    return one_machine and all(look["same"] == look["answers"] for look in repeat["looks"])
