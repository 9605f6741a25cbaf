"""Categories, weights and polarity: what each criterion of a rubric is worth."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from rar_lib.types import Category, Criterion, Polarity, Rubric

Weights = Mapping[Category, float]

#: Weights of RaR-Explicit (paper v2, section 4.4), set by hand there.
PAPER_WEIGHTS: Weights = MappingProxyType(
    {
        Category.ESSENTIAL: 1.0,
        Category.IMPORTANT: 0.7,
        Category.OPTIONAL: 0.3,
        Category.PITFALL: 0.9,
    }
)

#: The control that the paper's own ablation makes necessary (v2, Table 2).
UNIFORM_WEIGHTS: Weights = MappingProxyType(dict.fromkeys(Category, 1.0))

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


def render(rubric: Rubric) -> str:
    """The rubric as numbered lines for a judge that reads it as a whole.

    The line shows the category, not the number: Eq. 2 takes the descriptions, and the
    paper's prose adds "with categorical weights" (v2, section 2.2). Criteria worded as
    failures are marked, so that the judge does not reward meeting them.
    """
    lines = []
    for number, criterion in enumerate(rubric.criteria, start=1):
        sign = "" if criterion.polarity is Polarity.GOOD else " (must NOT be the case)"
        lines.append(f"{number}. [{criterion.category}{sign}] {criterion.description}")
    return "\n".join(lines)
