"""The paper's arithmetic as pure functions, each naming its equation; category weights."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Literal

from rar_lib.core.errors import DataError
from rar_lib.core.text import names_omission
from rar_lib.core.types import Category, Criterion, Polarity, Rubric

Weights = Mapping[Category, float]
#: By category, or each criterion by its own points.
Weighing = Weights | Literal["points"]


class FixedWeights(Mapping[Category, float]):
    """Weights by category that nobody changes, and that can be sent to another process."""

    def __init__(self, weights: Weights) -> None:
        self._weights = dict(weights)

    def __getitem__(self, category: Category) -> float:
        return self._weights[category]

    def __iter__(self) -> Iterator[Category]:
        return iter(self._weights)

    def __len__(self) -> int:
        return len(self._weights)

    def __repr__(self) -> str:
        return repr(self._weights)


#: Weights of RaR-Explicit (paper v2, section 4.4), set by hand there.
PAPER_WEIGHTS: Weights = FixedWeights(
    {
        Category.ESSENTIAL: 1.0,
        Category.IMPORTANT: 0.7,
        Category.OPTIONAL: 0.3,
        Category.PITFALL: 0.9,
    }
)
#: The control that the paper's own ablation makes necessary (v2, Table 2).
UNIFORM_WEIGHTS: Weights = FixedWeights(dict.fromkeys(Category, 1.0))
#: RaR-Predefined: four generic criteria, the same for every prompt (paper v2, A.5).
PREDEFINED = Rubric(
    source="predefined",
    criteria=(
        Criterion(
            id="generic-correct",
            title="Factually correct",
            description="Every factual statement in the response is correct.",
            category=Category.ESSENTIAL,
        ),
        Criterion(
            id="generic-complete",
            title="Complete answer",
            description="The response answers the whole question in enough detail.",
            category=Category.ESSENTIAL,
        ),
        Criterion(
            id="generic-concise",
            title="Concise wording",
            description="The response is concise and free of repetition.",
            category=Category.ESSENTIAL,
        ),
        Criterion(
            id="generic-helpful",
            title="Practically helpful",
            description="The response is of practical help to the person who asked.",
            category=Category.ESSENTIAL,
        ),
    ),
)


def is_good(criterion: Criterion, met: bool) -> bool:
    """Whether this verdict speaks for the response, polarity taken into account."""
    return met if criterion.polarity is Polarity.GOOD else not met


def met_by_silence(criterion: Criterion) -> bool:
    """Whether a response that says nothing meets it: only a failure to say something.

    A criterion worded as something good is not met by silence, "Avoids X" neither: staying silent
    must not pay.
    """
    return criterion.polarity is Polarity.BAD and names_omission(criterion.description)


RATINGS = range(1, 11)
#: Larger weights than this are a slip, and their sum may be no number.
LARGEST_WEIGHT = 1e100


def weight_of(criterion: Criterion, weights: Weighing) -> float:
    """The weight of a criterion: its category's, or its own points without their sign.

    The sign of points says whether meeting the criterion is good, which its polarity says already.

    Raises:
        DataError: it is to be weighed by its points, and has none.
    """
    if not isinstance(weights, str):
        return weights[criterion.category]
    if criterion.points is None:
        raise DataError(
            f"criterion {criterion.id!r} has no points to be weighed by: give it some, or weigh by "
            "category"
        )
    return abs(criterion.points)


def check_weights(weights: Weights) -> None:
    """Refuse weights of which no score could be made.

    Raises:
        DataError: a category is missing, a weight is negative or no number, or all are zero.
    """
    for category in Category:
        weight = weights.get(category)
        if weight is None or not 0.0 <= weight < math.inf:  # not a number, too
            raise DataError(
                f"the weight of {category} is {weight}; it must be a number of 0 or more"
            )
    if not any(weights[category] > 0 for category in Category):
        raise DataError("all weights are 0; at least one category must count")


def explicit_score(
    rubric: Rubric,
    met: Mapping[str, bool | float | None],
    weights: Weighing = PAPER_WEIGHTS,
) -> float | None:
    """Eq. 1 with polarity made explicit: the weighted share of criteria that speak for the answer.

    ``r = sum_j w_j g_j / sum_j w_j`` where ``g_j = c_j`` for a criterion worded as something
    good and ``1 - c_j`` for one worded as a failure.

    Args:
        rubric: k criteria.
        met: ``c_j`` for every criterion id: a verdict, or the judge's probability in [0, 1]
            that it is met (continuous c_j is allowed by section 2.1 and not used by the
            paper), or ``None`` for unscored.
        weights: weight of each category, not negative; ``"points"`` weighs each criterion by the
            size of its own points, which the paper does not do (v2, section 4.4).

    Returns:
        The reward in [0, 1]; ``None`` if any criterion is unscored, because leaving it
        out would silently change what is measured.

    Raises:
        ValueError: ids of ``met`` and ``rubric`` differ, a value lies outside [0, 1], or the
            weights add up to zero.
        DataError: a criterion has no points to be weighed by.
    """
    expected = {criterion.id for criterion in rubric.criteria}
    if expected != set(met):
        missing = sorted(expected - set(met))
        extra = sorted(set(met) - expected)
        raise ValueError(f"verdicts do not fit the rubric: missing {missing}, unexpected {extra}")
    weight = {criterion.id: weight_of(criterion, weights) for criterion in rubric.criteria}
    total = math.fsum(weight.values())
    if total <= 0:
        raise ValueError(f"the weights of this rubric add up to {total}; at least one must be > 0")
    credit = []
    for criterion in rubric.criteria:
        value = met[criterion.id]
        if value is None:
            return None
        if not 0.0 <= value <= 1.0:
            raise ValueError(f"verdict of {criterion.id!r} is {value}; it must be in [0, 1]")
        good = value if criterion.polarity is Polarity.GOOD else 1.0 - value
        credit.append(weight[criterion.id] * good)
    return min(1.0, math.fsum(credit) / total)


def normalise_rating(rating: float) -> float:
    """A 1-10 rating as a reward in [0, 1]: ``(r - 1) / 9``.

    The paper normalises without saying how; this is the choice under which the worst
    rating is worth nothing.
    """
    if not 1.0 <= rating <= 10.0:
        raise ValueError(f"rating {rating} is outside 1..10")
    return (rating - 1.0) / 9.0


def expected_rating(probability: Mapping[int, float]) -> float:
    """Mean of 1..10 under the judge's token probabilities, renormalised over 1..10.

    An extension of the paper: it has no ties and no unreadable replies.

    Raises:
        ValueError: a rating outside 1..10, a negative probability, or no mass at all.
    """
    wrong = sorted(set(probability) - set(RATINGS))
    if wrong:
        raise ValueError(f"ratings {wrong} are outside 1..10")
    if any(p < 0 for p in probability.values()):
        raise ValueError("probabilities must not be negative")
    mass = math.fsum(probability.values())
    if mass <= 0:
        raise ValueError("no probability on any rating from 1 to 10")
    return math.fsum(rating * p for rating, p in probability.items()) / mass
