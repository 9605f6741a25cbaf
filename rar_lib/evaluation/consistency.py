"""Checks of a judge that need no gold label: does it agree with itself, does it read the reference?

again = await ask_twice(judge, tasks, pairs, "explicit", under="paraphrase")
control = await reference_control(judge, tasks, items)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from rar_lib.core.errors import DataError
from rar_lib.core.prompts import Wording
from rar_lib.core.stats import Interval, cluster_interval, cluster_share, kappa, pairwise_accuracy
from rar_lib.core.text import normalise
from rar_lib.core.types import Arm, Pair, Task
from rar_lib.evaluation.alignment import PairGrades, grade_pairs
from rar_lib.judging.judge import Judge, grade_many, is_empty
from rar_lib.judging.messages import Messages

Under = Literal["re-ask", "paraphrase"]
#: Temperature of an answer that is to differ from another one.
_SAMPLED_AT = 0.7


@dataclass(frozen=True)
class SelfAgreement:
    """One judge asked twice; intervals over tasks, ``None`` where both never answered.

    Attributes:
        verdicts: share of criteria with the same verdict both times (arms by criteria).
        kappa: the same beyond chance (Cohen), at most 1; ``None`` where chance alone agrees on
            everything, as when all verdicts are yes.
        preferences: share of pairs with the same outcome: win, tie or loss.
        shift: mean distance between the two rewards of a response, in [0, 1].
        n: responses scored both times.
    """

    verdicts: Interval | None
    kappa: float | None
    preferences: Interval | None
    shift: Interval | None
    n: int


def self_agreement(first: PairGrades, second: PairGrades) -> SelfAgreement:
    """How far two gradings of the same pairs agree.

    Raises:
        DataError: they grade other pairs or in another arm.
    """
    if first.pairs != second.pairs or first.arm != second.arm:
        raise DataError(
            f"self-agreement compares the same pairs in one arm, got {len(first.pairs)} in "
            f"{first.arm} and {len(second.pairs)} in {second.arm}"
        )
    met: list[tuple[bool, bool]] = []
    met_tasks: list[str] = []
    shifts: list[float] = []
    shift_tasks: list[str] = []
    sides = ((first.preferred, second.preferred), (first.rejected, second.rejected))
    for once, twice in sides:
        for pair, one, again in zip(first.pairs, once, twice, strict=True):
            if one.score is not None and again.score is not None:
                shifts.append(abs(one.score - again.score))
                shift_tasks.append(pair.task_id)
            known = {verdict.criterion_id: verdict.met for verdict in again.verdicts}
            for verdict in one.verdicts:
                other = known.get(verdict.criterion_id)
                if verdict.met is not None and other is not None:
                    met.append((verdict.met, other))
                    met_tasks.append(pair.task_id)
    before = first.wins(ties=0.5)
    after = second.wins(ties=0.5)
    both = [pair for pair in first.pairs if pair.id in before and pair.id in after]
    same = [float(before[pair.id] == after[pair.id]) for pair in both]
    return SelfAgreement(
        verdicts=cluster_share([one == again for one, again in met], met_tasks) if met else None,
        kappa=kappa(*zip(*met, strict=True)) if met else None,
        preferences=cluster_share(same, [pair.task_id for pair in both]) if same else None,
        shift=cluster_interval(shifts, shift_tasks, bounds=(0.0, 1.0)) if shifts else None,
        n=len(shifts),
    )


async def ask_twice(
    judge: Judge,
    tasks: Sequence[Task],
    pairs: Sequence[Pair],
    arm: Arm,
    *,
    under: Under,
) -> SelfAgreement:
    """Grade the pairs twice by one judge.

    Args:
        under: ``re-ask`` samples two answers with different seeds (at temperature 0 the same prompt
            gives the same answer, which says nothing); ``paraphrase`` asks in both wordings, under
            the judge's own reading.

    Raises:
        DataError: a paraphrase by a calibrated judge: the calibration fits one wording only.
    """
    if under == "re-ask":
        sampled = replace(judge, reading="sampled", calibration=None, temperature=_SAMPLED_AT)
        twice = [replace(sampled, seed=seed) for seed in (1, 2)]
    else:
        twice = [replace(judge, messages=Messages(wording)) for wording in get_args(Wording)]
    found = [await grade_pairs(judge, tasks, pairs, arm) for judge in twice]
    return self_agreement(*found)


def mismatched_references(tasks: Sequence[Task]) -> list[Task]:
    """Every task with the reference of the nearest other question: close in topic, and wrong.

    Near is TF-IDF cosine of the questions' words without function words; of equally near ones
    the first counts. Tasks without a reference are left out, and one whose reference reads the
    same is never the nearest.

    Raises:
        DataError: some task is left without another reference to take.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    known = [task for task in tasks if task.reference]
    texts = [normalise(task.reference or "") for task in known]
    if len(set(texts)) < 2:
        raise DataError(f"need two different references to exchange, got {len(set(texts))}")
    vectorizer = TfidfVectorizer(stop_words="english", sublinear_tf=True)
    rows = vectorizer.fit_transform([task.question for task in known])
    near = (rows @ rows.T).toarray()
    ids = np.unique(texts, return_inverse=True)[1]
    near[ids[:, None] == ids[None, :]] = -1.0
    return [
        task.model_copy(update={"reference": known[int(row.argmax())].reference})
        for task, row in zip(known, near, strict=True)
    ]


@dataclass(frozen=True)
class ReferenceControl:
    """Rewards of the same responses under the true and under a wrong reference.

    Attributes:
        strict: share of responses rated higher under the true one, interval over tasks.
        half: the same with a tie as one half; a judge that does not read it scores 0.5.
        gain: mean reward under the true one minus under the wrong one, in [-1, 1].
        ties, unscored: responses rated the same, and responses left out.
    """

    strict: Interval | None
    half: Interval | None
    gain: Interval | None
    ties: int
    unscored: int


async def reference_control(
    judge: Judge, tasks: Sequence[Task], items: Sequence[tuple[Task, str]]
) -> ReferenceControl:
    """Does the arm ``reference_likert`` rate a response lower under the wrong reference?

    No label is needed: whoever wrote the response, it answers its own question. An empty one
    answers none and is the worst under any reference, so it is counted as unscored here.

    Args:
        tasks: where the wrong references come from.
        items: (task, response) with a reference; their tasks are among ``tasks``.

    Raises:
        DataError: a task without reference, or not among ``tasks``.
    """
    wrong = {task.id: task for task in mismatched_references(tasks)}
    strange = [task.id for task, _ in items if task.id not in wrong]
    if strange:
        raise DataError(f"task {strange[0]!r} has no reference among the tasks to draw from")
    twice = [*items, *((wrong[task.id], text) for task, text in items)]
    grades = await grade_many(judge, twice, "reference_likert")
    rows = [
        (true.score, false.score, task.id)
        for (task, text), true, false in zip(
            items, grades[: len(items)], grades[len(items) :], strict=True
        )
        if true.score is not None and false.score is not None and not is_empty(text)
    ]
    ids = [task for _, _, task in rows]

    def share(ties: float) -> Interval | None:
        wins = [pairwise_accuracy([right], [wrong], ties=ties) for right, wrong, _ in rows]
        return cluster_share(wins, ids) if wins else None

    return ReferenceControl(
        strict=share(0.0),
        half=share(0.5),
        gain=cluster_interval([right - wrong for right, wrong, _ in rows], ids) if rows else None,
        ties=sum(right == wrong for right, wrong, _ in rows),
        unscored=len(items) - len(rows),
    )
