"""What the numbers let one say of a claim: five words, and when each may be used.

    findings = decide_family({"rubric beats Likert": compare(gaps, tasks)}, margins=0.05)
    print(findings["rubric beats Likert"])

A claim says that a difference is above zero. The p-value decides (sign flips over tasks, Holm's
correction over the declared family); the interval only ever says how small a difference is. So a
finding and its p-value cannot disagree.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from rar_lib.core.stats import Comparison, Interval, family

Word = Literal[
    "supported", "contradicted", "no difference larger than d", "undecided", "not testable here"
]
WORDS: tuple[Word, ...] = get_args(Word)
#: Error of a family: the chance that any of its true nulls is called supported or contradicted.
ALPHA = 0.05


@dataclass(frozen=True)
class Finding:
    """A word for a claim, with all that led to it.

    Attributes:
        difference: in the direction in which the claim says "above zero"; ``None`` without one.
        p, p_holm: two-sided, alone and corrected for the family (equal in a family of one).
        margin: the d of "no difference larger than d", declared before the data were seen, in
            the unit of the difference.
        detectable: smallest true difference that this sample shows in 80 of 100 studies.
        needed: tasks that would decide an undecided claim if the difference is what it seems.
        reason: why a claim is not testable here.
    """

    word: Word
    difference: Interval | None = None
    p: float | None = None
    p_holm: float | None = None
    margin: float | None = None
    detectable: float | None = None
    needed: int | None = None
    reason: str = ""

    def __str__(self) -> str:
        if self.word == "no difference larger than d":
            return f"no difference larger than {self.margin:g}"
        if self.word == "undecided" and self.needed is not None:
            return f"undecided ({self.needed:,} tasks would decide)"
        if self.word == "not testable here":
            return f"not testable here: {self.reason}"
        return self.word

    def to_json(self) -> dict[str, Any]:
        """As a JSON value."""
        return asdict(self)

    @staticmethod
    def from_json(value: dict[str, Any]) -> Finding:
        """The reverse of :meth:`to_json`."""
        return Finding(**value | {"difference": Interval.from_json(value["difference"])})


def not_testable(reason: str) -> Finding:
    """A claim that nothing here can speak about, and why.

    Raises:
        ValueError: no reason is given.
    """
    if not reason.strip():
        raise ValueError("a claim that is not testable needs a reason")
    return Finding("not testable here", reason=reason)


def decide(comparison: Comparison, *, margin: float | None = None, alpha: float = ALPHA) -> Finding:
    """One claim on its own: a family of one."""
    return decide_family({"": comparison}, margins=margin, alpha=alpha)[""]


def decide_family(
    comparisons: Mapping[str, Comparison],
    *,
    margins: Mapping[str, float] | float | None = None,
    alpha: float = ALPHA,
) -> dict[str, Finding]:
    """Findings of claims that are decided together, corrected by Holm's method.

    Args:
        comparisons: claim -> its difference, positive where the claim says so.
        margins: d of each claim, or one for all; without one a claim can't be found empty.
        alpha: error of the whole family, in (0, 1).

    Returns:
        In this order: *not testable here* where so few tasks cannot reach ``alpha`` in a family
        of this size, however they turn out; *supported* and *contradicted* by the corrected
        p-value; *no difference larger than d* where the interval lies inside [-d, d]; else
        *undecided*.

    Raises:
        ValueError: a margin is not above zero.
    """
    corrected = family(comparisons)
    found = {}
    for name, c in corrected.items():
        margin = margins.get(name) if isinstance(margins, Mapping) else margins
        if margin is not None and not margin > 0:
            raise ValueError(f"the margin of {name!r} must be above 0, got {margin}")
        found[name] = _decide(c, len(corrected), margin, alpha)
    return found


def _decide(c: Comparison, members: int, margin: float | None, alpha: float) -> Finding:
    n = c.difference.n
    smallest = 2.0 ** (1 - n) * members  # every task on one side, then Holm's first step
    word: Word
    needed, reason = None, ""
    if smallest > alpha:
        word = "not testable here"
        reason = f"{n} tasks can't reach p = {alpha:g} in a family of {members}"
    elif c.p_holm is not None and c.p_holm <= alpha and c.difference.value != 0:
        word = "supported" if c.difference.value > 0 else "contradicted"
    elif margin is not None and -margin <= c.difference.low and c.difference.high <= margin:
        word = "no difference larger than d"
    else:
        word, needed = "undecided", _needed(c, margin)
    return Finding(word, c.difference, c.p, c.p_holm, margin, c.detectable, needed, reason)


def _needed(c: Comparison, margin: float | None) -> int | None:
    """Tasks at which the difference seen, or its being inside the margin, would show.

    The standard error falls with the root of the number of tasks (Cohen 1988): it must become
    as small as the detectable difference asks for, 80 % power at 95 %.
    """
    seen = abs(c.difference.value)
    targets = [seen] if seen else []
    if margin is not None and seen < margin:
        targets.append(margin - seen)
    if not targets or not c.detectable:
        return None
    return math.ceil(c.difference.n * (c.detectable / max(targets)) ** 2)
