"""Does a judge prefer what a person prefers? Pairs in, agreement with intervals out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rar_lib.judge import Judge, grade_many
from rar_lib.stats import Interval, auc, bootstrap, pairwise_accuracy, proportion
from rar_lib.types import Arm, Grade, Pair, Task, Usage


@dataclass(frozen=True)
class PairGrades:
    """The grades of both responses of some pairs, by one judge in one arm."""

    judge: str
    arm: Arm
    pairs: tuple[Pair, ...]
    preferred: tuple[Grade, ...]
    rejected: tuple[Grade, ...]

    @property
    def usage(self) -> Usage:
        """Cost of all grades together."""
        return sum((g.usage for g in (*self.preferred, *self.rejected)), Usage())

    @property
    def unscored(self) -> int:
        """Pairs in which at least one response has no score."""
        return len(self.pairs) - len(self.scored())

    def scored(self) -> list[tuple[Pair, float, float]]:
        """Pairs with both scores, as (pair, preferred score, rejected score)."""
        rows = zip(self.pairs, self.preferred, self.rejected, strict=True)
        return [
            (pair, a.score, b.score)
            for pair, a, b in rows
            if a.score is not None and b.score is not None
        ]

    def wins(self, *, ties: float) -> dict[str, float]:
        """Pair id -> 1 where the preferred response scores higher, ``ties`` where equal."""
        return {pair.id: pairwise_accuracy([a], [b], ties=ties) for pair, a, b in self.scored()}

    def accuracy(self, *, ties: float = 0.0) -> Interval | None:
        """Pairwise preference accuracy; the paper's tie rule is ``ties=0`` (strictly higher).

        Wilson's interval; each pair belongs to a task of its own here. ``None`` if nothing was
        scored.
        """
        wins = self.wins(ties=ties).values()
        return proportion(sum(wins), len(wins)) if wins else None


async def grade_pairs(
    judge: Judge, tasks: Sequence[Task], pairs: Sequence[Pair], arm: Arm, *, progress: str = ""
) -> PairGrades:
    """Grade both responses of every pair, each alone (paper, section 5).

    Raises:
        KeyError: a pair names a task that is not among ``tasks``.
    """
    by_id = {task.id: task for task in tasks}
    items = [(by_id[p.task_id], text) for p in pairs for text in (p.preferred, p.rejected)]
    grades = await grade_many(judge, items, arm, progress=progress)
    return PairGrades(
        judge=judge.chat.model,
        arm=arm,
        pairs=tuple(pairs),
        preferred=tuple(grades[0::2]),
        rejected=tuple(grades[1::2]),
    )


@dataclass(frozen=True)
class CriterionAgreement:
    """Verdicts against gold labels over all criteria of both responses of all pairs."""

    n: int
    unscored: int
    accuracy: Interval | None
    auc: float | None


def criterion_agreement(graded: PairGrades) -> CriterionAgreement:
    """How often the judge's verdict equals the gold label (arm ``explicit``).

    The interval resamples pairs, since the verdicts of one pair hang together.
    """
    right: list[list[float]] = []
    probabilities: list[float] = []
    labels: list[bool] = []
    unscored = 0
    for pair, a, b in zip(graded.pairs, graded.preferred, graded.rejected, strict=True):
        hits = []
        for grade, gold in ((a, pair.gold_preferred), (b, pair.gold_rejected)):
            for verdict in grade.verdicts:
                if verdict.met is None:
                    unscored += 1
                    continue
                truth = gold[verdict.criterion_id]
                hits.append(float(verdict.met == truth))
                p = verdict.probability
                probabilities.append(float(verdict.met) if p is None else p)
                labels.append(truth)
        if hits:
            right.append([float(np.sum(hits)), float(len(hits))])
    share = bootstrap(right, lambda x: float(x[:, 0].sum() / x[:, 1].sum())) if right else None
    return CriterionAgreement(
        n=len(labels),
        unscored=unscored,
        accuracy=share,
        auc=auc(probabilities, labels) if labels else None,
    )


def difference(a: PairGrades, b: PairGrades, *, ties: float = 0.5) -> Interval | None:
    """Accuracy of ``a`` minus accuracy of ``b``, paired over the pairs that both scored.

    ``None`` if they have no scored pair in common.
    """
    left, right = a.wins(ties=ties), b.wins(ties=ties)
    common = [key for key in left if key in right]
    return bootstrap([left[k] - right[k] for k in common]) if common else None
