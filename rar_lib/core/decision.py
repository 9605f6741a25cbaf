"""What the numbers let one say of a claim, in one of five words.

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
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from typing import Any, Literal, get_args

from rar_lib.core.stats import Comparison, Interval, Seeds, family, holm, minimum_detectable

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
        margin: the d of "no difference larger than d", in the unit of the difference: it is given
            from outside, one a claim. What was known when it was declared the ledger says, under
            ``seen``.
        detectable: smallest true difference that this sample shows in 80 of 100 studies.
        needed: tasks that would decide an undecided claim in 80 of 100 studies if the difference is
            what it seems; more than there are. ``None`` where no number of tasks would. It need not
            be what it seems, so that in more studies than that such a number leaves the claim open,
            or decides for the other side. An approximation: it takes means over tasks to be
            bell-shaped, their spread to be the one seen, and the p-value to be Student's. Where
            differences are skewed and tasks few it may be off; ``results/coverage.py`` simulates by
            how much, under *tasks needed*.
        reason: why a claim is not testable here.
        seeds: of an effect of training, what its error is made of.
        needed_seeds: training runs a side that would decide it on the same tasks, as ``needed``.
        smallest: of its test, as in :class:`rar_lib.core.stats.Comparison`.
    """

    word: Word
    difference: Interval | None = None
    p: float | None = None
    p_holm: float | None = None
    margin: float | None = None
    detectable: float | None = None
    needed: int | None = None
    reason: str = ""
    seeds: Seeds | None = None
    needed_seeds: int | None = None
    smallest: float | None = None

    def __str__(self) -> str:
        if self.word == "no difference larger than d":
            return f"no difference larger than {self.margin:g}"
        if self.word == "undecided" and (needs := self._needs()):
            return f"undecided (needs {needs})"
        if self.word == "not testable here":
            return f"not testable here: {self.reason}"
        return self.word

    def _needs(self) -> str:
        counts = ((self.needed, "tasks"), (self.needed_seeds, "seeds"))
        found = " or ".join(f"{count:,} {of}" for count, of in counts if count is not None)
        if found:
            return f"about {found} at this difference"
        seen = self.difference is not None and abs(self.difference.value) > 1e-12
        return "more seeds and tasks" if self.seeds is not None and seen else ""

    def comparison(self) -> Comparison | None:
        """What was decided on, to decide it in another family; ``None`` without it."""
        if self.difference is None or self.p is None or self.detectable is None:
            return None
        return Comparison(
            self.difference, self.detectable, self.p, seeds=self.seeds, smallest=self.smallest
        )

    def to_json(self) -> dict[str, Any]:
        """As a JSON value; ``smallest`` is in it where the test is of another kind than usual."""
        value = asdict(self)
        if self.smallest is None:
            del value["smallest"]
        return value

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
        seeds = value.get("seeds")
        rebuilt = {
            "difference": Interval.from_json(value["difference"]),
            "seeds": None if seeds is None else Seeds(**seeds),
        }
        return Finding(**value | rebuilt)


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
    size: int | None = None,
) -> dict[str, Finding]:
    """Findings of claims that are decided together, corrected by Holm's method.

    Args:
        comparisons: claim -> its difference, positive where the claim says so. A finding is
            decided anew from its comparison; one without stays as it is, and ``None`` says that
            nothing was scored on both sides: neither is counted in the family.
        margins: d of each claim, or one for all; without one a claim can't be found empty.
        alpha: error of the whole family, in (0, 1).
        size: comparisons that the family was declared with, if some have no p-value yet: what is
            supported then stays so when they get one.

    Returns:
        In this order: *supported* and *contradicted* by the corrected p-value; *not testable here*
        where its test cannot reach ``alpha`` over so few tasks in this family, however all of it
        turns out; *no difference larger than d* where the interval lies inside [-d, d] and has
        enough tasks to be shown; else *undecided*. The correction is for the first two words: an
        interval of 95 % inside the margin errs in 2.5 % of differences as large as d, each
        claim on its own (two one-sided tests, Schuirmann 1987). Where all but a few tasks have no
        difference at all it errs more often.

    Raises:
        ValueError: ``alpha`` is outside (0, 1), a margin is not a number above zero, or of a claim
            that is not in the family, or more claims have a p-value than were declared.
    """
    _check_alpha(alpha)
    limits = _margins(margins, list(comparisons))
    asked = {name: _comparison(given) for name, given in comparisons.items()}
    corrected = family({name: given for name, given in asked.items() if given is not None}, size)
    smallest = holm({name: _smallest_p(given) for name, given in corrected.items()}, size)
    found = {}
    for name, given in comparisons.items():
        if name in corrected:
            levels = (alpha, smallest[name], size or len(corrected))
            found[name] = _decide(corrected[name], limits.get(name), *levels)
        elif isinstance(given, Finding):
            found[name] = given
        else:
            found[name] = not_testable("nothing was scored on both sides")
    return found


def fewest_units(family: int, alpha: float = ALPHA) -> int:
    """Paired units below which no claim of a family is decided where all have as many.

    The smallest two-sided p of n sign flips is 2 / 2**n, of n differences on one side, and the
    first of a family passes Holm's correction (1979) where p times the family is at most
    ``alpha``. That is the least, and no number that shows a difference of a given size: see
    :attr:`Finding.needed`.

    Nor does it say that the p-value may be trusted over so few units. A sign can be flipped only
    where a difference is as likely above zero as below it by the same amount. Where differences
    are skewed, a true null has all of them on one side far more often than 2 / 2**n says, and one
    of a family over so few units is far likelier to be decided than ``alpha`` says.
    ``results/coverage.json`` has by how much under *first place*, for the ledger's family, from
    these few tasks on; chapter 12 shows it.

    Args:
        family: claims that are corrected together, 1 or more.
        alpha: error of the whole family, in (0, 1).

    Returns:
        Units, such as tasks; for the exact test, which :func:`rar_lib.core.stats.sign_flip_p` is
        up to 15 of them.

    Raises:
        ValueError: ``family`` is below 1, or ``alpha`` outside (0, 1).
    """
    _check_alpha(alpha)
    if family < 1:
        raise ValueError(f"a family has one claim or more, got {family}")
    return next(n for n in count(1) if _smallest_of(n) * family <= alpha)


def _check_alpha(alpha: float) -> None:
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must be in (0, 1), got {alpha}")


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


def _smallest_p(compared: Comparison) -> float:
    """The smallest of its test; of seeds and tasks together, by Student's, there is none."""
    if compared.smallest is not None:
        return compared.smallest
    return _smallest_of(compared.difference.n) if compared.seeds is None else 0.0


def _smallest_of(n: int) -> float:
    """Of n units whose signs are flipped: where all differences lie on one side."""
    return 2.0 ** (1 - n)


def _comparison(given: Comparison | Finding | None) -> Comparison | None:
    return given.comparison() if isinstance(given, Finding) else given


def _decide(
    compared: Comparison, margin: float | None, alpha: float, smallest: float, members: int
) -> Finding:
    n = compared.difference.n
    word: Word
    needed = None
    seeds = None
    reason = ""
    if compared.p_holm is not None and compared.p_holm <= alpha and compared.difference.value != 0:
        word = "supported" if compared.difference.value > 0 else "contradicted"
    elif smallest > alpha:
        word = "not testable here"
        reason = f"{n} tasks can't reach p = {alpha:g} in a family of {members}"
    elif margin is not None and compared.difference.shown and _inside(compared.difference, margin):
        word = "no difference larger than d"
    else:
        word = "undecided"
        needed = _needed(compared, margin, alpha / members)
        seeds = _needed_seeds(compared, margin, alpha / members)
    return Finding(
        word,
        compared.difference,
        compared.p,
        compared.p_holm,
        margin,
        compared.detectable,
        needed,
        reason,
        compared.seeds,
        seeds,
        compared.smallest,
    )


def _inside(interval: Interval, margin: float) -> bool:
    return -margin <= interval.low and interval.high <= margin


def _distances(
    compared: Comparison, margin: float | None, strictest: float
) -> list[tuple[float, float]]:
    """What a standard error must be small against, each with the error level: either decides.

    The difference seen must show at Holm's strictest level, or the margin must be as far from it as
    the power asks on both sides of the interval.
    """
    seen = abs(compared.difference.value)
    found = [(seen, strictest)] if seen > 1e-12 else []
    return found + ([(margin - seen, ALPHA)] if margin is not None and seen < margin else [])


def _needed(compared: Comparison, margin: float | None, strictest: float) -> int | None:
    """Tasks at which the difference seen, or its being inside the margin, would show.

    The standard error falls with the root of the number of tasks (Cohen 1988): for 80 % power the
    difference must be 2.80 of them, or more at a stricter level. Of an effect over seeds and tasks
    the part between seeds stays whatever the number of tasks; where that alone is too large, no
    number of tasks decides.
    """
    n = compared.difference.n
    fixed = 0.0
    df = math.inf
    if compared.seeds is not None:
        fixed = compared.seeds.only_seeds
        df = compared.seeds.freedom(n)
    usual = minimum_detectable(1.0, df=df)
    found = []
    for distance, level in _distances(compared, margin, strictest):
        stricter = minimum_detectable(1.0, df=df, level=1.0 - level) / usual
        ratio = (compared.detectable * stricter / distance) ** 2
        if fixed * ratio < 1.0:
            found.append(ratio * (1.0 - fixed) / (1.0 - fixed * ratio))
    # Undecided at n: where the approximation says that n is enough, one more is the least.
    return max(n + 1, math.ceil(n * min(found))) if found else None


#: More training runs a side than this are nobody's plan.
_MOST_SEEDS = 1000


def _needed_seeds(compared: Comparison, margin: float | None, strictest: float) -> int | None:
    """Seeds that would decide on the same tasks, as :func:`_needed`; ``None`` for none.

    More seeds lower all of the error but that of the tasks, and Student's quantiles, too.
    """
    if compared.seeds is None or compared.difference.se is None:
        return None
    n = compared.difference.n
    seeds = compared.seeds
    se = compared.difference.se
    distances = _distances(compared, margin, strictest)

    def decides(more: int) -> bool:
        left = seeds.only_tasks + (1.0 - seeds.only_tasks) * seeds.n / more
        df = seeds.freedom(n, more)
        return any(
            minimum_detectable(se * math.sqrt(left), df=df, level=1.0 - level) <= distance
            for distance, level in distances
        )

    more = range(seeds.n + 1, _MOST_SEEDS + 1)
    place = bisect_left(more, True, key=decides)
    return more[place] if place < len(more) else None
