"""Contrast weights: criteria that tell a group's rollouts apart count more while a policy learns.

    weights = contrast_weights(task.rubric, values, PAPER_WEIGHTS, share=0.5)
    reward = weighted_score(task.rubric, values[0], weights)

A criterion that every rollout of a group meets, or none, shifts the reward of the whole group, and
the advantage takes that out again: its weight teaches nothing. Here part of it goes to the criteria
of the same category that do tell the rollouts apart. Evaluation always uses the plain weights.

After POW3R (arXiv 2605.20164), which adapts the weights of criteria by rollout contrast and leaves
the written weights and the balance of the categories as the objective. Read were its abstract
and summaries, not its equations. The rule here is our own and the smallest that does this: contrast
is the standard deviation in the group at hand, without a memory of earlier steps (the paper is said
to smooth over epochs, and to clip).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from rar_lib.core.scoring import Weighing, weight_of
from rar_lib.core.stats import is_flat, scored
from rar_lib.core.types import Criterion, Polarity, Rubric

#: Criterion id -> verdict, or probability in [0, 1] that it is met; ``None`` is unscored, and so is
#: a criterion that is not named: a response that was refused as a whole has no verdicts.
Values = Mapping[str, bool | float | None]


def contrast(values: Sequence[bool | float | None]) -> float | None:
    """How far one criterion tells a group's rollouts apart: the standard deviation, in [0, 0.5].

    ``d = sqrt(mean((c - mean(c))^2))`` over the scored ones: 0 where all or none meet it, 0.5 where
    half do, ``sqrt(7) / 8`` where one of eight does. Polarity does not matter to it.

    Returns:
        0 where they differ by no more than the judge's rounding; ``None`` for fewer than two
        scored values: nobody knows.
    """
    known = [float(value) for value in scored(values)]
    if len(known) < 2:
        return None
    return 0.0 if is_flat(known) else statistics.pstdev(known)


def contrast_weights(
    rubric: Rubric, group: Sequence[Values], weights: Weighing, share: float
) -> dict[str, float]:
    """The weight of each criterion for one group of rollouts.

    ``w'_j = (1 - share) * w_j + share * W * w_j d_j / sum_k w_k d_k`` over the criteria k of the
    same category whose contrast ``d`` is known, where W is the sum of their plain weights. So each
    category weighs what it weighed, and no criterion less than ``1 - share`` of its own. A
    category without contrast keeps its weights, and so does a criterion that fewer than two
    rollouts are scored on: it takes no part.

    Args:
        group: the verdicts of each rollout, one mapping each.
        weights: of the categories, or ``"points"``.
        share: of the weights that goes by contrast, in [0, 1]; 0 is the plain weights.

    Raises:
        ValueError: ``share`` is not in [0, 1].
    """
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"share is {share}; it is a share of the weights and must be in [0, 1]")
    plain = {criterion.id: weight_of(criterion, weights) for criterion in rubric.criteria}
    found = dict(plain)
    for category in {criterion.category for criterion in rubric.criteria}:
        apart = {}
        for criterion in rubric.criteria:
            if criterion.category is category:
                spread = contrast([values.get(criterion.id) for values in group])
                if spread is not None:
                    apart[criterion.id] = plain[criterion.id] * spread
        total = math.fsum(apart.values())
        if total > 0:
            moved = share * math.fsum(plain[name] for name in apart)
            for name, part in apart.items():
                found[name] = (1 - share) * plain[name] + moved * part / total
    return found


def weighted_score(rubric: Rubric, values: Values, weights: Mapping[str, float]) -> float | None:
    """Eq. 1 with a weight for each criterion; see :func:`rar_lib.core.scoring.explicit_score`.

    Args:
        weights: by criterion id.

    Returns:
        The reward in [0, 1]; ``None`` if any criterion is unscored.

    Raises:
        ValueError: the weights add up to zero.
    """
    total = math.fsum(weights[criterion.id] for criterion in rubric.criteria)
    if total <= 0:
        raise ValueError(f"the weights of this rubric add up to {total}; at least one must be > 0")
    credit = scored(
        _credit(criterion, values.get(criterion.id), weights[criterion.id])
        for criterion in rubric.criteria
    )
    if len(credit) < len(rubric.criteria):
        return None
    return min(1.0, math.fsum(credit) / total)


def _credit(criterion: Criterion, value: bool | float | None, weight: float) -> float | None:
    if value is None:
        return None
    return weight * (value if criterion.polarity is Polarity.GOOD else 1.0 - value)
