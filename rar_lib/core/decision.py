"""What the numbers let one say of a claim: five words, and when each may be used.

    findings = decide_family({"rubric beats Likert": compare(gaps, tasks)}, margins=0.05)
    print(findings["rubric beats Likert"])

A claim says that a difference is above zero. The p-value decides (sign flips over tasks, Holm's
correction over the declared family); the interval only ever says how small a difference is. So a
finding and its p-value cannot disagree. The test takes a task's difference to be as likely above as
below the mean: where differences are lopsided and tasks few, it errs more often than it says
(``results/coverage.json``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from rar_lib.core.stats import Comparison, Interval, family, holm, minimum_detectable

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
        needed: tasks that would decide an undecided claim in 80 of 100 studies if the difference is
            what it seems; more than there are.
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

    def comparison(self) -> Comparison | None:
        """What was decided on, to decide it in another family; ``None`` without it."""
        if self.difference is None or self.p is None or self.detectable is None:
            return None
        return Comparison(self.difference, self.detectable, self.p)

    def to_json(self) -> dict[str, Any]:
        """As a JSON value."""
        return asdict(self)

    @staticmethod
    def from_json(value: dict[str, Any]) -> Finding:
        """The reverse of :meth:`to_json`.

        Raises:
            ValueError: its word is none of the five, or it can't be decided anew: a p-value without
                what it is of, or one of the other four words without a p-value.
        """
        word = value["word"]
        if word not in WORDS:
            raise ValueError(f"{word!r} is no finding; allowed: {', '.join(WORDS)}")
        parts = {name: value.get(name) is not None for name in ("p", "difference", "detectable")}
        if (parts["p"] or word != "not testable here") and not all(parts.values()):
            missing = ", ".join(name for name, there in parts.items() if not there)
            raise ValueError(f"{word!r} without {missing}: leave what Finding.to_json writes")
        return Finding(**value | {"difference": Interval.from_json(value["difference"])})


def not_testable(reason: str) -> Finding:
    """A claim that nothing here can speak about, and why.

    Raises:
        ValueError: no reason is given.
    """
    if not reason.strip():
        raise ValueError("a claim that is not testable needs a reason")
    return Finding("not testable here", reason=reason)


def decide(
    comparison: Comparison | Finding | None, *, margin: float | None = None, alpha: float = ALPHA
) -> Finding:
    """One claim on its own: a family of one. Arguments are those of :func:`decide_family`."""
    return decide_family({"": comparison}, margins=margin, alpha=alpha)[""]


def decide_family(
    comparisons: Mapping[str, Comparison | Finding | None],
    *,
    margins: Mapping[str, float | None] | float | None = None,
    alpha: float = ALPHA,
) -> dict[str, Finding]:
    """Findings of claims that are decided together, corrected by Holm's method.

    Args:
        comparisons: claim -> its difference, positive where the claim says so. A finding is
            decided anew from its comparison; one without stays as it is, and ``None`` says that
            nothing was scored on both sides: neither is counted in the family.
        margins: d of each claim, or one for all; without one a claim can't be found empty.
        alpha: error of the whole family, in (0, 1).

    Returns:
        In this order: *supported* and *contradicted* by the corrected p-value; *not testable here*
        where so few tasks cannot reach ``alpha`` in this family, however all of it turns out;
        *no difference larger than d* where the interval lies inside [-d, d] and has enough tasks
        to be shown; else *undecided*. The correction is for the first two words: an
        interval of 95 % inside the margin errs in 2.5 % of differences as large as d, each
        claim on its own (two one-sided tests, Schuirmann 1987).

    Raises:
        ValueError: ``alpha`` is outside (0, 1), a margin is not a number above zero, or of a claim
            that is not in the family.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must be in (0, 1), got {alpha}")
    limits = _margins(margins, list(comparisons))
    asked = {name: _comparison(c) for name, c in comparisons.items()}
    corrected = family({name: c for name, c in asked.items() if c is not None})
    # The smallest p of n tasks has them all on one side.
    smallest = holm({name: 2.0 ** (1 - c.difference.n) for name, c in corrected.items()})
    found = {}
    for name, given in comparisons.items():
        if name in corrected:
            levels = (alpha, smallest[name], len(corrected))
            found[name] = _decide(corrected[name], limits.get(name), *levels)
        elif isinstance(given, Finding):
            found[name] = given
        else:
            found[name] = not_testable("nothing was scored on both sides")
    return found


def _margins(
    margins: Mapping[str, float | None] | float | None, names: Sequence[str]
) -> dict[str, float]:
    given = margins if isinstance(margins, Mapping) else dict.fromkeys(names, margins)
    limits = {name: margin for name, margin in given.items() if margin is not None}
    if strange := sorted(set(limits) - set(names)):
        raise ValueError(f"a margin for {strange[0]!r}, which is not in the family")
    for name, margin in limits.items():
        if not 0 < margin < math.inf:
            raise ValueError(f"the margin of {name!r} must be a number above 0, got {margin}")
    return limits


def _comparison(given: Comparison | Finding | None) -> Comparison | None:
    return given.comparison() if isinstance(given, Finding) else given


def _decide(
    c: Comparison, margin: float | None, alpha: float, smallest: float, members: int
) -> Finding:
    n = c.difference.n
    word: Word
    needed, reason = None, ""
    if c.p_holm is not None and c.p_holm <= alpha and c.difference.value != 0:
        word = "supported" if c.difference.value > 0 else "contradicted"
    elif smallest > alpha:
        word = "not testable here"
        reason = f"{n} tasks can't reach p = {alpha:g} in a family of {members}"
    elif margin is not None and c.difference.shown and _inside(c.difference, margin):
        word = "no difference larger than d"
    else:
        word, needed = "undecided", _needed(c, margin, alpha / members)
    return Finding(word, c.difference, c.p, c.p_holm, margin, c.detectable, needed, reason)


def _inside(interval: Interval, margin: float) -> bool:
    return -margin <= interval.low and interval.high <= margin


def _needed(c: Comparison, margin: float | None, strictest: float) -> int | None:
    """Tasks at which the difference seen, or its being inside the margin, would show.

    The standard error falls with the root of the number of tasks (Cohen 1988): for 80 % power the
    difference must be 2.80 of them, or more at Holm's strictest level; the margin must be as far
    from the difference as the power asks on both sides of the interval.
    """
    n, seen = c.difference.n, abs(c.difference.value)
    found = []
    if seen > 1e-12:
        stricter = minimum_detectable(1.0, level=1.0 - strictest) / minimum_detectable(1.0)
        found.append((c.detectable * stricter / seen) ** 2)
    if margin is not None and seen < margin:
        found.append((c.detectable / (margin - seen)) ** 2)
    # Undecided at n: where the approximation says that n is enough, one more is the least.
    return max(n + 1, math.ceil(n * min(found))) if found else None
