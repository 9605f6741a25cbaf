"""How much do the hand-set weights matter? Other weights on stored verdicts, no judge call.

    rows = summarise_pairs(graded, tasks)        # ranks, accuracy, ties
    rows = summarise_groups([(rubric, grades)])  # inside GRPO groups
    gaps = against_paper(graded, tasks)          # paired differences to the paper's weights
    built_in = against_paper(by_labels(graded), tasks)

The paper sets its weights by hand (v2, section 4.4) without a sensitivity study; its reviewers
asked for one. A variant changes weights, polarity or how credits are put together, and leaves
verdicts alone. How alike two variants order responses is a fact about them. Which of them orders
more pairs correctly says little where pairs were chosen by one of them, as those of RaR-Mini were:
:func:`by_labels` has how much.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, groupby
from operator import attrgetter
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rar_lib.core.errors import DataError
from rar_lib.core.scoring import PAPER_WEIGHTS, UNIFORM_WEIGHTS, Weights, explicit_score
from rar_lib.core.stats import Comparison, Interval, cluster_share, compare, flat_share, scored
from rar_lib.core.types import Category, Criterion, Grade, Polarity, Rubric, Task, Verdict
from rar_lib.evaluation.alignment import PairGrades


@dataclass(frozen=True)
class Variant:
    """One way to turn verdicts into a reward; several of one name are draws of the same.

    Attributes:
        weights: of each category, not negative; 0 leaves the category out.
        pitfalls_as_avoidance: read every pitfall as worded "avoids ...", which is what Eq. 1
            with positive weights does to data that words them as failures (wrong polarity).
        rule: ``mean`` is Eq. 1. ``veto`` takes it times the least credit of an Essential criterion,
            so that one which is not met leaves nothing; ``category`` is Eq. 1 with the least credit
            of a category in the place of each of its criteria, so that a category pays as far as
            all of it is met; ``least`` is the least credit of any.
    """

    name: str
    weights: Weights
    pitfalls_as_avoidance: bool = False
    rule: Literal["mean", "veto", "category", "least"] = "mean"


Variants = Sequence[Variant] | None
_PITFALL_08 = {**PAPER_WEIGHTS, Category.PITFALL: 0.8}
_NO_PITFALLS = {**PAPER_WEIGHTS, Category.PITFALL: 0.0}
_ESSENTIAL = {category: float(category is Category.ESSENTIAL) for category in Category}
PAPER = Variant("paper (Pitfall 0.9)", PAPER_WEIGHTS)
VARIANTS: tuple[Variant, ...] = (
    PAPER,
    Variant("Pitfall 0.8 (first version)", _PITFALL_08),
    Variant("uniform", UNIFORM_WEIGHTS),
    Variant("without pitfalls", _NO_PITFALLS),
    Variant("Essential only", _ESSENTIAL),
    Variant("wrong polarity", PAPER_WEIGHTS, pitfalls_as_avoidance=True),
)
#: Not means: a critical criterion that can veto, as Rubicon has it, categories of which each counts
#: only where all of its criteria are met, and all criteria or nothing.
AGGREGATES: tuple[Variant, ...] = (
    Variant("veto by an Essential", PAPER_WEIGHTS, rule="veto"),
    Variant("a whole category or nothing of it", PAPER_WEIGHTS, rule="category"),
    Variant("all criteria or nothing", PAPER_WEIGHTS, rule="least"),
)


def random_weights(draws: int = 200, *, seed: int = 0) -> tuple[Variant, ...]:
    """Variants named ``random``: each category's weight uniform on (0, 1], each on its own.

    Optional outweighs Essential in half of the draws: harsher than any sensible choice.
    """
    rng = np.random.default_rng(seed)
    values = 1.0 - rng.random((draws, len(Category)))
    return tuple(
        Variant("random", dict(zip(Category, map(float, row), strict=True))) for row in values
    )


def recompute(
    rubric: Rubric, verdicts: Sequence[Verdict], variant: Variant, *, hard: bool = False
) -> float | None:
    """The reward of one response under a variant, from its stored verdicts.

    Args:
        hard: count met or not met, the paper's way, where a probability is stored, too.

    Returns:
        The reward in [0, 1]; ``None`` if no criterion is left, or one of those left is unscored.

    Raises:
        ValueError: the verdicts are not those of this rubric.
    """
    values: dict[str, bool | float | None] = {
        one.criterion_id: one.met if hard else one.value for one in verdicts
    }
    if odd := sorted({one.id for one in rubric.criteria} ^ set(values)):
        raise ValueError(f"the verdicts are not of this rubric: {', '.join(odd)} differ")
    kept = [one for one in rubric.criteria if variant.weights[one.category] > 0]
    if not kept:
        return None
    if variant.pitfalls_as_avoidance:
        good = {"polarity": Polarity.GOOD}
        kept = [one.model_copy(update=good) if one.category == "Pitfall" else one for one in kept]

    def mean(part: Sequence[Criterion]) -> float | None:
        subset = rubric.model_copy(update={"criteria": tuple(part)})
        of_part = {one.id: values[one.id] for one in part}
        return explicit_score(subset, of_part, variant.weights)

    whole = mean(kept)
    if variant.rule == "mean" or whole is None:
        return whole
    credits: dict[Category, list[float]] = {}
    for one in kept:  # the mean of one criterion is its credit
        credits.setdefault(one.category, []).extend(scored([mean([one])]))
    least = {category: min(of) for category, of in credits.items()}
    if variant.rule == "category":
        shares = [variant.weights[category] * len(of) for category, of in credits.items()]
        return float(np.average(list(least.values()), weights=shares))
    if variant.rule == "least":
        return min(least.values())
    return whole * least.get(Category.ESSENTIAL, 1.0)


@dataclass(frozen=True)
class PairSensitivity:
    """One variant on preference pairs; of several draws, means over them.

    Attributes:
        draws: how many variants share the name.
        kendall, spearman: rank correlation (tau-b, rho) with the paper's weights over all
            responses, and the middle 95 % of the draws; ``None`` where a side is constant.
        strict, half: pairwise accuracy with a tie as 0 and as one half, intervals over tasks.
        ties: share of pairs that score the same.
        unscored: pairs left out: unscored by the judge, or no criterion left by the variant.
    """

    variant: str
    draws: int
    kendall: Interval | None
    spearman: Interval | None
    strict: Interval | None
    half: Interval | None
    ties: float | None
    unscored: int


def summarise_pairs(
    graded: PairGrades, tasks: Sequence[Task], variants: Variants = None
) -> list[PairSensitivity]:
    """What every variant does to ranks and to pairwise accuracy.

    Args:
        graded: grades of arm ``explicit``.
        tasks: those of the pairs, with the rubrics that were judged.
        variants: by default :data:`VARIANTS` and 200 random draws; those of one name side by side.

    Raises:
        DataError: another arm, or a task without rubric.
    """
    rows = _rows(graded, tasks)
    base = _rewards(rows, PAPER)
    found = []
    for name, family in groupby(variants or (*VARIANTS, *random_weights()), key=attrgetter("name")):
        new = np.array([_rewards(rows, variant) for variant in family])
        known = ~np.isnan(new).any(axis=(0, 2))
        win = new[:, known, 0] > new[:, known, 1]
        tie = new[:, known, 0] == new[:, known, 1]
        ids = [task for (_, task, *_), k in zip(rows, known, strict=True) if k]
        both = [(base[known].ravel(), draw[known].ravel()) for draw in new]
        found.append(
            PairSensitivity(
                variant=name,
                draws=len(new),
                kendall=_over_draws([_correlation("kendall", *xy) for xy in both]),
                spearman=_over_draws([_correlation("spearman", *xy) for xy in both]),
                strict=cluster_share(win.mean(axis=0), ids) if ids else None,
                half=cluster_share((win + 0.5 * tie).mean(axis=0), ids) if ids else None,
                ties=float(tie.mean()) if ids else None,
                unscored=len(graded.pairs) - len(ids),
            )
        )
    return found


def against_paper(
    graded: PairGrades, tasks: Sequence[Task], variants: Variants = None
) -> dict[str, Comparison]:
    """Pairwise accuracy by the paper's weights minus that by each variant, pair by pair.

    Arguments and errors are those of :func:`summarise_pairs`.

    Returns:
        Variant -> the difference (ties one half, several draws averaged), paired over the pairs
        that both score, with tasks as units; the paper's own weights and variants without such a
        pair are left out.
    """
    rows = _rows(graded, tasks)
    base = _credit(_rewards(rows, PAPER))
    every = variants or (*VARIANTS, *random_weights())
    others = [variant for variant in every if variant.name != PAPER.name]
    found = {}
    for name, family in groupby(others, key=attrgetter("name")):
        credits = [_credit(_rewards(rows, variant)) for variant in family]
        differences = base - np.mean(credits, axis=0)
        known = ~np.isnan(differences)
        ids = [task for (_, task, *_), k in zip(rows, known, strict=True) if k]
        if ids:
            found[name] = compare(differences[known], ids)
    return found


def by_labels(graded: PairGrades) -> PairGrades:
    """The same pairs by a judge without error: every label in the place of its verdict.

    What :func:`against_paper` finds here, no judge has a part in. RaR-Mini took a test pair only
    where the paper's weights put the preferred response ahead by its labels, so its pairs prefer
    these weights, and a difference that any judge shows has that in it.
    """

    def of(grade: Grade, labels: Mapping[str, bool]) -> Grade:
        sure = [
            one.model_copy(update={"met": labels.get(one.criterion_id), "probability": None})
            for one in grade.verdicts
        ]
        return grade.model_copy(update={"verdicts": tuple(sure)})

    both = zip(graded.pairs, graded.preferred, graded.rejected, strict=True)
    sides = [
        (of(better, pair.gold_preferred), of(worse, pair.gold_rejected))
        for pair, better, worse in both
    ]
    return replace(
        graded,
        preferred=tuple(better for better, _ in sides),
        rejected=tuple(worse for _, worse in sides),
    )


Rows = Sequence[tuple[Rubric, str, Grade, Grade]]


def _rows(graded: PairGrades, tasks: Sequence[Task]) -> Rows:
    """Rubric, task and both grades of every pair that the judge scored."""
    if graded.arm != "explicit":
        raise DataError(f"sensitivity needs verdicts of arm explicit, got {graded.arm}")
    rubrics = {task.id: task.rubric for task in tasks}
    rows = []
    both = zip(graded.pairs, graded.preferred, graded.rejected, strict=True)
    for pair, preferred, rejected in both:
        rubric = rubrics.get(pair.task_id)
        if rubric is None:
            raise DataError(f"no rubric for {pair.task_id!r}: give the tasks that were judged")
        if preferred.score is not None and rejected.score is not None:
            rows.append((rubric, pair.task_id, preferred, rejected))
    return rows


def _rewards(rows: Rows, variant: Variant) -> NDArray[np.float64]:
    """Rewards of preferred and rejected response, shape (rows, 2); NaN where there is none."""
    found = []
    for rubric, _, *both in rows:
        found.append([recompute(rubric, grade.verdicts, variant) for grade in both])
    return np.array(found, dtype=np.float64).reshape(-1, 2)


def _credit(rewards: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 where the preferred response scores higher, 0.5 in a tie, NaN where one is unscored."""
    gap = rewards[:, 0] - rewards[:, 1]
    return np.where(np.isnan(gap), np.nan, (np.sign(gap) + 1.0) / 2.0)


@dataclass(frozen=True)
class GroupSensitivity:
    """One variant on GRPO groups, which only see the order and spread inside a group.

    Attributes:
        kendall: tau-b with the paper's weights inside a group, mean over the groups in which
            both sides vary, and the middle 95 % of the draws.
        flat, ties: means over draws of the share of groups without variance, which give no
            gradient, and of the share of pairs inside a group that score the same.
    """

    variant: str
    draws: int
    kendall: Interval | None
    flat: float
    ties: float | None


def summarise_groups(
    groups: Sequence[tuple[Rubric, Sequence[Grade]]],
    variants: Variants = None,
    *,
    hard: bool = False,
) -> list[GroupSensitivity]:
    """What every variant does inside groups of responses to one prompt.

    Args:
        groups: rubric and grades (arm ``explicit``) of each; unscored ones are left out.
        variants: as in :func:`summarise_pairs`.

    Raises:
        ValueError: there is no group.
    """

    def rewards(variant: Variant) -> list[list[float | None]]:
        found = []
        for rubric, grades in groups:
            judged = [grade.verdicts for grade in grades if grade.score is not None]
            found.append([recompute(rubric, verdicts, variant, hard=hard) for verdicts in judged])
        return found

    base = rewards(PAPER)
    found = []
    for name, family in groupby(variants or (*VARIANTS, *random_weights()), key=attrgetter("name")):
        draws = [rewards(variant) for variant in family]
        taus: list[float | None] = []
        same: list[bool] = []
        for new in draws:
            # A variant without a criterion of this rubric scores nobody in its group.
            inside = [
                (old, group) for old, group in zip(base, new, strict=True) if None not in group
            ]
            each = scored([_correlation("kendall", *both) for both in inside])
            taus.append(float(np.mean(each)) if each else None)
            same += [x == y for _, group in inside for x, y in combinations(group, 2)]
        found.append(
            GroupSensitivity(
                variant=name,
                draws=len(draws),
                kendall=_over_draws(taus),
                flat=float(np.mean([flat_share(new) for new in draws])),
                ties=float(np.mean(same)) if same else None,
            )
        )
    return found


def _correlation(kind: str, x: Any, y: Any) -> float | None:
    """Rank correlation; ``None`` where one side is constant and there are no ranks."""
    from scipy.stats import kendalltau, spearmanr

    if len(np.unique(x)) < 2 or len(np.unique(y)) < 2:
        return None
    return float((kendalltau if kind == "kendall" else spearmanr)(x, y).statistic)


def _over_draws(values: Sequence[float | None]) -> Interval | None:
    known = scored(values)
    if not known:
        return None
    low, high = np.quantile(known, [0.025, 0.975])
    return Interval(float(np.mean(known)), float(low), float(high), len(known))
