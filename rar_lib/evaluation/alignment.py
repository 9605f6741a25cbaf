"""Does a judge prefer what a person prefers? Pairs in, agreement with intervals out.

A task holds up to two pairs, which hang together: every interval here is over tasks, and its
``n`` counts tasks.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rar_lib.core.decision import Finding, decide_family, not_testable
from rar_lib.core.errors import DataError
from rar_lib.core.stats import (
    Comparison,
    Interval,
    Statistic,
    auc,
    balanced_accuracy,
    cluster_interval,
    cluster_share,
    compare,
    expected_calibration_error,
    gains,
    mean_scored,
    task_interval,
    wins_of,
)
from rar_lib.core.types import Arm, Grade, Pair, Task, Usage, Verdict
from rar_lib.judging.calibration import Calibration, Identity, fit
from rar_lib.judging.judge import Judge, grade_many


@dataclass(frozen=True)
class Cost:
    """What one pair costs, as a mean over pairs.

    Attributes:
        computed_tokens: those not taken from the server's cache, with the written ones.
        seconds: request seconds over the number of requests in flight: the time that a pair
            takes while the server is kept busy. A replay reports those of the recording.
    """

    calls: float
    prompt_tokens: float
    computed_tokens: float
    completion_tokens: float
    seconds: float


@dataclass(frozen=True)
class PairGrades:
    """The grades of both responses of some pairs, by one judge in one arm.

    Attributes:
        identity, calibration: the judge's, if known.
        concurrency: requests that the judge may have in flight.
    """

    judge: str
    arm: Arm
    pairs: tuple[Pair, ...]
    preferred: tuple[Grade, ...]
    rejected: tuple[Grade, ...]
    identity: Identity | None = None
    calibration: Calibration | None = None
    concurrency: int = 1

    @property
    def usage(self) -> Usage:
        """Cost of all grades together."""
        return sum((grade.usage for grade in (*self.preferred, *self.rejected)), Usage())

    @property
    def cost(self) -> Cost:
        """Cost of one pair."""
        used = self.usage
        n = max(1, len(self.pairs))
        return Cost(
            calls=used.calls / n,
            prompt_tokens=used.prompt_tokens / n,
            computed_tokens=(used.prompt_tokens - used.cached_tokens + used.completion_tokens) / n,
            completion_tokens=used.completion_tokens / n,
            seconds=used.seconds / min(self.concurrency, max(1, used.calls)) / n,
        )

    @property
    def unscored(self) -> int:
        """Pairs in which at least one response has no score."""
        return len(self.pairs) - len(self.scored())

    @property
    def share(self) -> float | None:
        """Mean share of the judge's probability on readable answers, in [0, 1].

        ``None`` where nothing was read from probabilities.
        """
        return mean_scored(grade.share for grade in (*self.preferred, *self.rejected))

    @property
    def ties(self) -> int:
        """Scored pairs whose two responses score the same."""
        return sum(better == worse for _, better, worse in self.scored())

    def scored(self) -> list[tuple[Pair, float, float]]:
        """Pairs with both scores, as (pair, preferred score, rejected score)."""
        rows = zip(self.pairs, self.preferred, self.rejected, strict=True)
        return [
            (pair, better.score, worse.score)
            for pair, better, worse in rows
            if better.score is not None and worse.score is not None
        ]

    def without(self, ids: Collection[str]) -> PairGrades:
        """The same grades less those of some pairs."""
        kept = [n for n, pair in enumerate(self.pairs) if pair.id not in ids]
        return replace(
            self,
            pairs=tuple(self.pairs[n] for n in kept),
            preferred=tuple(self.preferred[n] for n in kept),
            rejected=tuple(self.rejected[n] for n in kept),
        )

    def wins(self, *, ties: float) -> dict[str, float]:
        """Pair id -> 1 where the preferred response scores higher, ``ties`` where equal."""
        return wins_of(
            ((pair.id, better, worse) for pair, better, worse in self.scored()), ties=ties
        )

    def accuracy(self, *, ties: float = 0.0) -> Interval | None:
        """Pairwise preference accuracy; the paper's tie rule is ``ties=0`` (strictly higher).

        The share is over pairs, its interval over tasks; ``None`` if nothing was scored.
        """
        wins = list(self.wins(ties=ties).values())
        return cluster_share(wins, [pair.task_id for pair, _, _ in self.scored()]) if wins else None

    def verdicts(self) -> list[tuple[str, Verdict, bool]]:
        """Scored verdicts as (task id, verdict, gold label); unscored ones are left out.

        Raises:
            DataError: a verdict has no gold label (the rubric is not the authors' own).
        """
        rows = []
        for pair, better, worse in zip(self.pairs, self.preferred, self.rejected, strict=True):
            for grade, gold in ((better, pair.gold_preferred), (worse, pair.gold_rejected)):
                for verdict in grade.verdicts:
                    if verdict.criterion_id not in gold:
                        raise DataError(
                            f"pair {pair.id!r} has no gold label for {verdict.criterion_id!r}: "
                            "labels exist for the authored rubric in the arm explicit only"
                        )
                    if verdict.met is not None:
                        rows.append((pair.task_id, verdict, gold[verdict.criterion_id]))
        return rows


async def grade_pairs(
    judge: Judge, tasks: Sequence[Task], pairs: Sequence[Pair], arm: Arm, *, progress: str = ""
) -> PairGrades:
    """Grade both responses of every pair, each alone (paper, section 5).

    Raises:
        KeyError: a pair names a task that is not among ``tasks``.
    """
    by_id = {task.id: task for task in tasks}
    items = [
        (by_id[pair.task_id], text) for pair in pairs for text in (pair.preferred, pair.rejected)
    ]
    grades = await grade_many(judge, items, arm, progress=progress)
    return PairGrades(
        judge=judge.chat.model,
        arm=arm,
        pairs=tuple(pairs),
        preferred=tuple(grades[0::2]),
        rejected=tuple(grades[1::2]),
        identity=judge.identity,
        calibration=judge.calibration,
        concurrency=judge.chat.at_once,
    )


def by(
    graded: PairGrades, key: Literal["axis", "difficulty"], *, ties: float = 0.5
) -> dict[str, Interval]:
    """Pairwise accuracy for every axis of damage, or difficulty, that has scored pairs."""
    wins = graded.wins(ties=ties)
    rows: dict[str, list[tuple[float, str]]] = {}
    for pair, _, _ in graded.scored():
        rows.setdefault(getattr(pair, key), []).append((wins[pair.id], pair.task_id))
    return {name: cluster_share(*zip(*rows[name], strict=True)) for name in sorted(rows)}


@dataclass(frozen=True)
class CriterionAgreement:
    """Verdicts against gold labels over all criteria of both responses of all pairs.

    Attributes:
        n, unscored: verdicts given and not given.
        accuracy, balanced, auc: intervals over tasks; ``None`` where undefined (nothing scored,
            or one class only). The AUC is of probabilities, or of hard verdicts without them. It
            and the balanced accuracy hold one label against the other, so their ``n`` counts the
            tasks with the rarer one.
        ece: expected calibration error, ten bins; ``None`` for a reading without probabilities.
    """

    n: int
    unscored: int
    accuracy: Interval | None
    balanced: Interval | None
    auc: Interval | None
    ece: float | None

    def to_json(self) -> dict[str, Any]:
        """As a JSON value, for a later chapter."""
        return asdict(self)

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> CriterionAgreement:
        """The reverse of :meth:`to_json`."""
        intervals = {
            name: Interval.from_json(value[name]) for name in ("accuracy", "balanced", "auc")
        }
        return CriterionAgreement(**{**value, **intervals})


def criterion_agreement(graded: PairGrades) -> CriterionAgreement:
    """How often the judge's verdict equals the gold label (arm ``explicit``)."""
    rows = graded.verdicts()
    given = sum(len(grade.verdicts) for grade in (*graded.preferred, *graded.rejected))
    return agreement_of(rows, given - len(rows))


def agreement_of(rows: Sequence[tuple[str, Verdict, bool]], unscored: int) -> CriterionAgreement:
    """Agreement of verdicts with labels, whoever gave them.

    Args:
        rows: task, scored verdict and its label.
        unscored: verdicts that were not given.
    """
    if not rows:
        return CriterionAgreement(0, unscored, None, None, None, None)
    tasks = [task for task, _, _ in rows]
    soft = all(verdict.probability is not None for _, verdict, _ in rows)
    p = [float(verdict.value or 0) for _, verdict, _ in rows]
    data = np.array(
        [
            [float(verdict.met or 0), probability, gold]
            for (_, verdict, gold), probability in zip(rows, p, strict=True)
        ]
    )
    return CriterionAgreement(
        n=len(rows),
        unscored=unscored,
        accuracy=cluster_share(data[:, 0] == data[:, 2], tasks),
        balanced=_separation(data, tasks, _balanced),
        auc=_separation(data, tasks, _auc),
        ece=expected_calibration_error(p, data[:, 2]) if soft else None,
    )


def _separation(
    data: NDArray[np.float64], tasks: Sequence[str], statistic: Statistic
) -> Interval | None:
    """A statistic that holds both labels against each other; ``None`` where there is one only."""
    if statistic(data) is None:
        return None
    return cluster_interval(data, tasks, statistic, bounds=(0.0, 1.0), classes=data[:, 2])


def _balanced(rows: NDArray[np.float64]) -> float | None:
    return balanced_accuracy(rows[:, 0], rows[:, 2])


def _auc(rows: NDArray[np.float64]) -> float | None:
    return auc(rows[:, 1], rows[:, 2])


def calibrate(graded: PairGrades) -> Calibration:
    """Fit a judge's calibration on its grades of val pairs (arm ``explicit``).

    Raises:
        DataError: another split, a judge calibrated already or unknown, too little to fit on.
    """
    outside = sorted({pair.task_id for pair in graded.pairs if not pair.task_id.startswith("val-")})
    if outside:
        raise DataError(f"calibration is fitted on val only; {outside[0]!r} is not of that split")
    if graded.identity is None or graded.calibration is not None:
        state = "unknown" if graded.identity is None else "calibrated already"
        raise DataError(f"the judge {graded.judge!r} is {state}: grade with a bare Judge first")
    rows = graded.verdicts()
    p = [verdict.probability for _, verdict, _ in rows if verdict.probability is not None]
    if not p or len(p) < len(rows):
        raise DataError(
            f"{graded.judge!r} in arm {graded.arm} gave no probabilities: calibrate "
            "grades of arm explicit under the probability reading"
        )
    return fit(p, [gold for _, _, gold in rows], judge=graded.identity)


def against(one: PairGrades, other: PairGrades, *, ties: float = 0.5) -> Comparison | None:
    """Accuracy of ``a`` minus that of ``b``, paired over the pairs that both scored.

    ``None`` if they have no scored pair in common.
    """
    gained = gains(one.wins(ties=ties), other.wins(ties=ties))
    tasks = {pair.id: pair.task_id for pair in one.pairs}
    return compare(list(gained.values()), [tasks[name] for name in gained]) if gained else None


def extra_gain(
    left: tuple[PairGrades, PairGrades],
    right: tuple[PairGrades, PairGrades],
) -> Comparison | None:
    """What one judge gains by an arm minus what another gains, over the pairs that all scored.

    A tie counts one half.

    The paper's claim that small judges gain most says that this is above zero for a small judge
    on the left and a large one on the right.

    Args:
        left, right: grades in the arm and in the arm beside it, by one judge each.

    Returns:
        The comparison over tasks; ``None`` without a pair scored by all.
    """
    common, (left_arm, left_base, right_arm, right_base) = _judged(*left, *right)
    gaps = [
        (left_arm[pair.id] - left_base[pair.id]) - (right_arm[pair.id] - right_base[pair.id])
        for pair in common
    ]
    return compare(gaps, [pair.task_id for pair in common]) if gaps else None


def _judged(*graded: PairGrades) -> tuple[list[Pair], list[dict[str, float]]]:
    """The pairs that all of them scored, and the wins of each; a tie is one half."""
    wins = [grades.wins(ties=0.5) for grades in graded]
    judged = set[str].intersection(*map(set, wins))
    return [pair for pair in graded[0].pairs if pair.id in judged], wins


#: With two judges a spread is one difference, squared.
MIN_JUDGES = 3


def spread_difference(
    left: Sequence[PairGrades], right: Sequence[PairGrades]
) -> Comparison | Finding:
    """Spread of accuracy across judges in one arm minus the spread in another.

    The paper's second claim about judges, that rubrics reduce the spread across sizes, says that
    this is below zero for a rubric arm on the left. Spread is :func:`variance_between`, whose
    mean is that of the judges' true accuracies, however noisy or correlated the judges are.
    Only judges that pass a gate belong here (:mod:`rar_lib.evaluation.judge_roles`): those at
    chance in both arms hardly differ.

    Args:
        left, right: the same judges in two arms.

    Returns:
        The difference of the variances over tasks; *not testable here* with fewer than
        ``MIN_JUDGES`` judges or three tasks scored by all.

    Raises:
        ValueError: another number of judges on each side.
    """
    if len(left) != len(right):
        raise ValueError(f"need the same judges twice, got {len(left)} and {len(right)}")
    if len(left) < MIN_JUDGES:
        return not_testable(f"{len(left)} judges pass the gate, three are needed")
    common, wins = _judged(*left, *right)
    rows: dict[str, list[list[float]]] = {}
    for pair in common:
        rows.setdefault(pair.task_id, []).append([won[pair.id] for won in wins])
    if len(rows) < 3:
        return not_testable(f"{len(rows)} tasks were scored by every judge, three are needed")
    table = np.array([np.mean(of_task, axis=0) for of_task in rows.values()])
    gaps = variance_between(table[:, : len(left)]) - variance_between(table[:, len(left) :])
    return compare(gaps, list(rows))


#: The paper's claims about a judge: the arm that should agree better, and the one beside it.
VERSUS: Mapping[str, tuple[str, str]] = {
    "implicit_over_likert": ("implicit", "direct_likert"),
    "explicit_over_likert": ("explicit", "direct_likert"),
    "explicit_over_implicit": ("explicit", "implicit"),
    "implicit_over_reference_likert": ("implicit", "reference_likert"),
    "explicit_over_predefined": ("explicit", "predefined"),
    "synthetic_ref_over_likert": ("synthetic_ref", "direct_likert"),
    "synthetic_noref_over_likert": ("synthetic_noref", "direct_likert"),
    "synthetic_ref_over_noref": ("synthetic_ref", "synthetic_noref"),
}
#: Those that are asked of every judge; the others of the largest alone, to keep the family small.
OF_EVERY_JUDGE = ("implicit_over_likert", "explicit_over_likert", "explicit_over_implicit")
#: Of those, what the paper says of all sizes together.
AT_EVERY_SIZE = ("implicit_over_likert", "explicit_over_likert")
SMALL = "alignment.small_gains_most"
SPREAD = "alignment.spread_smaller"


def paper_claims(
    graded: Mapping[str, Mapping[str, PairGrades]], gated: Sequence[str]
) -> dict[str, Comparison | Finding | None]:
    """The paper's claims about judges (v2, Figure 3), one family to be decided together.

    Args:
        graded: judge -> arm -> grades of the same pairs; an arm that is not there leaves the claims
            about it out. ``synthetic_ref`` and ``synthetic_noref`` are ``implicit`` under a
            synthetic rubric.
        gated: the judges that pass the gate
            (:func:`rar_lib.evaluation.judge_roles.may_enter_size_claim`), small to large.

    Returns:
        Claim -> comparison in pairwise accuracy, positive where the claim says so, or why there is
        none. ``alignment.NAME`` is of the largest judge, ``alignment.NAME, JUDGE`` of another,
        ``alignment.NAME, every size`` of all of them together (:func:`at_every_size`).
    """
    arms = set[str].intersection(*(set(of) for of in graded.values()))
    asked = {name: both for name, both in VERSUS.items() if set(both) <= arms}
    if not gated:
        every = [_every(name) for name in AT_EVERY_SIZE if name in asked]
        names = [*(f"alignment.{name}" for name in asked), *every, SMALL, SPREAD]
        return dict.fromkeys(names, not_testable("no judge passes the gate"))
    claims: dict[str, Comparison | Finding | None] = {}
    for judge in gated:
        largest = judge == gated[-1]
        for name, (arm, beside) in asked.items():
            if largest or name in OF_EVERY_JUDGE:
                key = f"alignment.{name}" if largest else f"alignment.{name}, {judge}"
                claims[key] = against(graded[judge][arm], graded[judge][beside])
    for name in AT_EVERY_SIZE:
        if name in asked:
            own = [*(f"alignment.{name}, {judge}" for judge in gated[:-1]), f"alignment.{name}"]
            claims[_every(name)] = at_every_size([claims[key] for key in own])
    moves = [(graded[judge]["implicit"], graded[judge]["direct_likert"]) for judge in gated]
    claims[SMALL] = not_testable("1 judge passes the gate, two are needed")
    if len(gated) > 1:
        claims[SMALL] = extra_gain(moves[0], moves[-1])
    claims[SPREAD] = spread_difference([likert for _, likert in moves], [own for own, _ in moves])
    return claims


def _every(name: str) -> str:
    return f"alignment.{name}, every size"


def at_every_size(of: Sequence[Comparison | Finding | None]) -> Comparison | Finding | None:
    """Whether a difference is above zero for every judge, from one comparison a judge.

    It stands if it stands for the judge that speaks least for it, so that one's comparison decides,
    without a correction for the number of judges (intersection-union test, Berger 1982). It falls
    if one judge says the opposite; as any of them may be that one, its p-value is multiplied by
    their number. The tasks that it would take to fall are those of :func:`recounted`.

    Returns:
        The comparison of that judge; *not testable here* with fewer than two judges, ``None``
        where one of them has scored nothing on both sides.
    """
    if len(of) < 2:
        return not_testable(f"{len(of)} judge passes the gate, two are needed")
    found = [one for one in of if isinstance(one, Comparison)]
    if len(found) < len(of):
        return None

    def speaks(one: Comparison) -> float:
        return math.copysign(1.0 - one.p, one.difference.value)

    least = min(found, key=lambda one: (speaks(one), one.difference.value))
    if least.difference.value > 0:
        return least
    return replace(least, p=min(1.0, len(of) * least.p))


def recounted(
    findings: Mapping[str, Finding], size: int | None = None, *, among: Collection[str] = ()
) -> dict[str, Finding]:
    """The findings, with the tasks that a multiplied p-value takes to contradict a claim.

    Where a claim about every size falls, its p-value is multiplied by the number of judges, which
    the correction of its family does not know: its level is stricter by that number, and
    :attr:`Finding.needed` is counted at that level here. All other findings stay as they are.

    Args:
        findings: named as by :func:`paper_claims`.
        size: of the family that they were decided in; by itself, all that have a p-value.
        among: names of all findings, which tell the number of judges, where these are only some.
    """
    members = size or sum(found.p is not None for found in findings.values())
    again = {}
    for name in AT_EVERY_SIZE:
        key = _every(name)
        found = findings.get(key)
        if found and found.needed and found.difference and found.difference.value <= 0:
            judges = max(1, len(_of_one_judge(name, among or findings)))
            stricter = decide_family({key: found}, margins=found.margin, size=members * judges)
            again[key] = replace(found, needed=stricter[key].needed)
    return {**findings, **again}


def _of_one_judge(name: str, among: Collection[str]) -> list[str]:
    """The findings that a claim about every size is made of."""
    of_any = [key for key in among if key.partition(", ")[0] == f"alignment.{name}"]
    return [key for key in of_any if key != _every(name)]


def variance_between(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """What each task says of the variance between judges' true accuracies, without bias.

    The variance of observed accuracies holds their noise, too. Here only products of two
    different tasks count, in which the noise has mean zero: with y the accuracies less the mean of
    the judges at each task, ``sum_j sum_{i != k} y_ij y_kj / ((J - 1) n (n - 1))``, a U-statistic
    (Hoeffding 1948). Returned are its jackknife pseudo-values: their mean is the estimate, which
    may be below zero, and they are compared like differences of tasks.

    Args:
        table: accuracies, shape (n tasks, J judges), n >= 3, J >= 2.

    Returns:
        Shape (n tasks,), in squared units of accuracy.
    """
    n, judges = table.shape
    y = table - table.mean(axis=1, keepdims=True)
    sums = y.sum(axis=0)
    squares = (y**2).sum(axis=0)
    whole = float((sums**2 - squares).sum()) / ((judges - 1) * n * (n - 1))
    rest = ((sums - y) ** 2 - (squares - y**2)).sum(axis=1)
    without = rest / ((judges - 1) * (n - 1) * (n - 2))
    return np.asarray(n * whole - (n - 1) * without)


def margins(graded: PairGrades) -> dict[str, float]:
    """Task id -> mean reward of its preferred responses minus that of the rejected ones.

    How far a rubric separates the two under a fixed judge; tasks without a scored pair are out.
    """
    by_task: dict[str, list[float]] = {}
    for pair, better, worse in graded.scored():
        by_task.setdefault(pair.task_id, []).append(better - worse)
    return {task: float(np.mean(values)) for task, values in by_task.items()}


def discrimination(graded: PairGrades) -> Interval | None:
    """Mean of :func:`margins` over tasks, with interval; ``None`` if nothing was scored."""
    found = list(margins(graded).values())
    return task_interval(found) if found else None
