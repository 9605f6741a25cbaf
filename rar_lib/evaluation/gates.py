"""Gates: what a judge must have shown before a claim may rest on it.

    gate = may_enter_size_claim(criterion_agreement(graded), graded.share)
    gate.passed, gate.reason

A judge below a gate is a floor: what it does in one arm or another says nothing about rubrics. The
limits are declared here and were not chosen by looking at which judges pass.
"""

from __future__ import annotations

from dataclasses import dataclass

from rar_lib.core.stats import MIN_UNITS, Interval
from rar_lib.evaluation.alignment import CriterionAgreement

#: Of a judge's probability, what must lie on readable answers: else it answers another question.
MIN_SHARE = 0.5
#: A hold-out must put a met criterion above an unmet one three times as often as below.
MIN_AUC = 0.75


@dataclass(frozen=True)
class Gate:
    """Whether a judge may do something, with the numbers and the reason in words.

    Attributes:
        auc: of its verdicts against gold labels; ``None`` where undefined.
        share: of its probability on readable answers, in [0, 1], if asked for.
        smallest: smallest true effect that it could see, if asked for; infinite where it sees none.
    """

    passed: bool
    reason: str
    auc: Interval | None
    share: float | None = None
    smallest: float | None = None


def may_enter_size_claim(agreement: CriterionAgreement, share: float | None) -> Gate:
    """May this judge stand for its size in a claim about judges of several sizes?

    Its AUC against gold labels is certainly above one half (one that is certainly below reads
    criteria the wrong way round), and at least half of its probability is readable.

    Args:
        agreement: its verdicts against gold labels, arm ``explicit``.
        share: mean readable share (:attr:`rar_lib.evaluation.alignment.PairGrades.share`);
            ``None`` for a reading without probabilities, where the AUC alone decides.
    """
    auc = agreement.auc
    faults = _too_few(auc)
    if auc is not None and auc.shown and auc.low <= 0.5:
        faults.append(f"its AUC {auc} does not lie above 0.5")
    if share is not None and share < MIN_SHARE:
        faults.append(f"{share:.2f} of its probability is readable, {MIN_SHARE:g} is needed")
    good = f"its AUC {auc} lies above 0.5" + ("" if share is None else f", {share:.2f} is readable")
    return Gate(not faults, "; ".join(faults) or good, auc, share)


def may_hold_out(agreement: CriterionAgreement, *, detectable: float, effect: float) -> Gate:
    """May this judge confirm, as one that gave no reward, an effect of a given size?

    Its AUC against gold labels is certainly at least ``MIN_AUC``, and the smallest effect that it
    could see is below the one to be confirmed. A verdict of balanced accuracy b shows a true
    difference shrunk by 2b - 1 (Rogan and Gladen 1978), so what it could see is its detectable
    difference over that.

    Args:
        agreement: its verdicts against gold labels, as it will grade (calibrated or not).
        detectable: smallest difference that its grades of these tasks would show
            (:attr:`rar_lib.core.stats.Comparison.detectable`).
        effect: size of the true difference to be confirmed, above 0, on the same scale.

    Raises:
        ValueError: ``effect`` is not above 0 or ``detectable`` below 0.
    """
    if not effect > 0 or not detectable >= 0:
        raise ValueError(
            f"need an effect above 0 and no less than 0 detectable: {effect=}, {detectable=}"
        )
    auc, balanced = agreement.auc, agreement.balanced
    faults = _too_few(auc)
    if auc is not None and auc.shown and auc.low < MIN_AUC:
        faults.append(f"its AUC {auc} is not certainly {MIN_AUC:g} or more")
    kept = 0.0 if balanced is None else max(0.0, 2.0 * balanced.value - 1.0)
    smallest = detectable / kept if kept else float("inf")
    sees = f"the smallest true effect that it could see is {smallest:.2f}"
    if smallest >= effect:
        faults.append(f"{sees}, to be confirmed is {effect:.2f}")
    good = f"its AUC {auc} is {MIN_AUC:g} or more, and {sees}"
    return Gate(not faults, "; ".join(faults) or good, auc, smallest=smallest)


def _too_few(auc: Interval | None) -> list[str]:
    if auc is None:
        return ["its verdicts have no AUC: nothing was scored, or labels of one class only"]
    return [] if auc.shown else [f"its AUC is over {auc.n} tasks, {MIN_UNITS} are needed"]
