"""How good is a rubric? Numbers that need no model, or one fixed judge.

The paper asks four things of a rubric (v2, section 3.1): grounded in expert guidance,
comprehensive, weighted by importance, self-contained. Each becomes a measurement here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from rar_lib.core.text import content_words
from rar_lib.core.types import Category, Criterion, Rubric, Task
from rar_lib.rubrics.audit import is_generic, is_read

#: Phrases that send the judge elsewhere: the sentence cannot be checked on its own.
_POINTS_ELSEWHERE = re.compile(
    r"\b(?:reference|rubric|previously|aforementioned|as (?:stated|described|given)"
    r"|(?:steps|points|facts|mentioned|listed|as) above"
    r"|(?:correct|right|accurate|expected|proper) (?:answer|response|value|cause|reason))\b"
)


@dataclass(frozen=True)
class Quality:
    """One rubric in numbers, all in [0, 1].

    What reads words is ``None`` where the task or a criterion is in a script whose words are not
    read, :data:`rar_lib.rubrics.audit.UNREAD`; compliance alone does not.

    Attributes:
        compliance: share of these that hold: an Essential criterion, a pitfall, two categories
            among the positive ones, size within the range asked for.
        one_sentence: share of criteria that are one sentence.
        self_contained: share of criteria that name their fact instead of pointing to an answer.
        grounding: share of the criteria's content words found in the reference or the question.
        coverage: share of the reference's content words found in the criteria.
        redundancy: mean over criteria of the largest word overlap (Jaccard) with another one.
        generic: share of criteria, see :func:`rar_lib.rubrics.audit.is_generic`.
    """

    compliance: float
    one_sentence: float | None
    self_contained: float | None
    grounding: float | None
    coverage: float | None
    redundancy: float | None
    generic: float | None


def measure(rubric: Rubric, task: Task, size: tuple[int, int]) -> Quality:
    """The quality of one rubric for its task; ``size`` is the allowed number of items in all."""
    criteria = rubric.criteria
    words = [content_words(criterion.description) for criterion in criteria]
    known = content_words(f"{task.question} {task.reference or ''}")
    wanted = content_words(task.reference or "")
    said = set().union(*words)
    positive = {criterion.category for criterion in criteria} - {Category.PITFALL}
    rules = (
        Category.ESSENTIAL in positive,
        any(criterion.category is Category.PITFALL for criterion in criteria),
        len(positive) > 1,
        size[0] <= len(criteria) <= size[1],
    )
    texts = [f"{task.question} {task.reference or ''}", *(one.description for one in criteria)]
    if not all(map(is_read, texts)):
        return Quality(_share(rules), None, None, None, None, None, None)
    return Quality(
        compliance=_share(rules),
        one_sentence=_share([is_one_sentence(criterion) for criterion in criteria]),
        self_contained=_share([is_self_contained(criterion) for criterion in criteria]),
        grounding=len(said & known) / len(said) if said else 0.0,
        coverage=len(said & wanted) / len(wanted) if wanted else 0.0,
        redundancy=_redundancy(words),
        generic=_share([bool(is_generic(task, criterion)) for criterion in criteria]),
    )


def is_one_sentence(criterion: Criterion) -> bool:
    """Whether nothing follows the first full stop (a stop inside a number does not count)."""
    return not re.search(r"[.!?]\s+\S", criterion.description.strip())


def is_self_contained(criterion: Criterion) -> bool:
    """Whether the sentence can be checked without looking anything up."""
    return not _POINTS_ELSEWHERE.search(criterion.description.lower())


def _redundancy(words: Sequence[set[str]]) -> float:
    nearest = [0.0] * len(words)
    for (i, one), (j, other) in combinations(enumerate(words), 2):
        overlap = len(one & other) / len(one | other) if one | other else 0.0
        nearest[i] = max(nearest[i], overlap)
        nearest[j] = max(nearest[j], overlap)
    return float(np.mean(nearest)) if nearest else 0.0


def _share(flags: Sequence[bool]) -> float:
    return sum(flags) / len(flags) if flags else 0.0
