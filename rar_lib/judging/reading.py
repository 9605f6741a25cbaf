"""What a judge's reply says: a probability, a rating or one value; else a fault, never a guess."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rar_lib.core.errors import JudgeFault
from rar_lib.core.text import visible
from rar_lib.judging.chat import Reply

#: Below this mass on readable tokens the judge did not answer the question.
MIN_MASS = 0.01


def yes_probability(first_token: Mapping[str, float]) -> float:
    """P(yes) / (P(yes) + P(no)) from first-token probabilities, case and spaces ignored.

    Raises:
        JudgeFault: less than ``MIN_MASS`` on yes and no together.
    """
    yes = sum(p for token, p in first_token.items() if token.strip().lower() == "yes")
    no = sum(p for token, p in first_token.items() if token.strip().lower() == "no")
    if yes + no < MIN_MASS:
        raise JudgeFault(f"only {yes + no:.4f} of the probability is on yes or no")
    return min(1.0, yes / (yes + no))


def rating_probabilities(first_token: Mapping[str, float]) -> dict[int, float]:
    """Mass on each rating 1..10 that is spelt by a single token.

    Raises:
        JudgeFault: less than ``MIN_MASS`` on all of them together.
    """
    mass: dict[int, float] = {}
    for token, p in first_token.items():
        text = token.strip()
        if text.isascii() and text.isdigit() and text == str(int(text)) and 1 <= int(text) <= 10:
            mass[int(text)] = mass.get(int(text), 0.0) + p
    if sum(mass.values()) < MIN_MASS:
        raise JudgeFault(f"only {sum(mass.values()):.4f} of the probability is on 1..10")
    return mass


def parse_reply(reply: Reply, key: str, kind: type) -> Any:
    """The value of ``key`` in a reply that is one JSON object with that key alone.

    Raises:
        JudgeFault: cut off, not JSON, duplicate or other keys, or a value of another type
            (``"true"`` is not a boolean, ``true`` is not an integer).
    """
    if reply.finish_reason == "length":
        raise JudgeFault("the reply was cut off")

    def unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        if len({k for k, _ in pairs}) != len(pairs):
            raise JudgeFault("the reply repeats a key")
        return dict(pairs)

    try:
        value = json.loads(reply.text, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise JudgeFault(f"the reply is not JSON: {visible(reply.text)[:80]!r}") from error
    if not isinstance(value, dict) or set(value) != {key} or type(value[key]) is not kind:
        raise JudgeFault(
            f"expected one {kind.__name__} named {key!r}, got {visible(reply.text)[:80]!r}"
        )
    return value[key]
