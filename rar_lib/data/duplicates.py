"""Duplicates among questions: word for word across splits, or nearly so.

near_duplicates(load_tasks("mine.jsonl"), threshold=0.8)       # within a set, each pair once
overlap(train, test).share                                     # of the test questions
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from rar_lib.core.text import normalise
from rar_lib.core.types import Task


@dataclass(frozen=True)
class Overlap:
    """Questions of one split that occur in another, after normalisation."""

    checked: int
    shared: tuple[str, ...]

    @property
    def share(self) -> float:
        return len(self.shared) / self.checked if self.checked else 0.0


@dataclass(frozen=True)
class Near:
    """Two tasks with similar questions, by id, and the cosine in [0, 1]."""

    left: str
    right: str
    cosine: float


def overlap(train: Iterable[Task], test: Sequence[Task]) -> Overlap:
    """Test questions that occur in train word for word, after :func:`normalise`.

    Every sign counts, as where a split is made: without its question mark a question is another
    one. :func:`near_duplicates` finds such pairs; :func:`rar_lib.data.check.check`, which warns a
    reader, leaves end marks out.
    """
    known = {normalise(task.question) for task in train}
    return Overlap(len(test), tuple(task.id for task in test if normalise(task.question) in known))


#: Rows of the sparse product that are in memory at once.
_CHUNK = 500


def near_duplicates(
    left: Sequence[Task],
    right: Sequence[Task] | None = None,
    *,
    threshold: float = 0.8,
) -> list[Near]:
    """Pairs of similar questions by TF-IDF cosine of character 3- to 5-grams, highest first.

    The sparse product is made a few hundred rows at a time, so that memory grows with the size of
    ``right`` and not with the product of both sizes.

    Args:
        right: another split; without it, pairs within ``left``, each once.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    within = right is None
    others = left if right is None else right
    if not left or not others:
        return []
    vectorizer = TfidfVectorizer(
        analyzer="char_wb", ngram_range=(3, 5), preprocessor=normalise, dtype=np.float32
    )
    fitted = vectorizer.fit_transform(
        [task.question for task in [*left, *([] if within else others)]]
    )
    ours = fitted[: len(left)]
    theirs = (ours if within else fitted[len(left) :]).T.tocsc()
    found = []
    for start in range(0, len(left), _CHUNK):
        block = (ours[start : start + _CHUNK] @ theirs).tocoo()
        keep = block.data >= threshold
        for i, j, cosine in zip(block.row[keep], block.col[keep], block.data[keep], strict=True):
            if not within or start + i < j:
                near = Near(left[start + i].id, others[j].id, min(1.0, float(cosine)))
                found.append(near)
    return sorted(found, key=lambda near: (-near.cosine, near.left, near.right))
