"""The roles of a judge: which may decide a claim about size, which may hold out, which may reward.

    gate = may_enter_size_claim(criterion_agreement(graded), graded.share)
    gate.passed, gate.reason

A judge below a gate is a floor: what it does in one arm or another says nothing about rubrics. The
limits were not chosen by looking at which judges pass. What a hold-out must be able to do is said
here; which judge of a profile is the hold-out, by ``Profile.hold_out`` in ``book/profiles.py``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rar_lib.core.decision import Finding
from rar_lib.core.stats import MIN_UNITS, Interval
from rar_lib.evaluation.alignment import CriterionAgreement
from rar_lib.evaluation.held_out import Look, rise, spread
from rar_lib.judging.reading import LEAST_SHARE

#: A hold-out must put a met criterion above an unmet one three times as often as below.
MIN_AUC = 0.75
#: A lead in pairwise accuracy that is certainly no larger is none: the ledger's margin of accuracy.
MARGIN = 0.05
#: Share of a batch without a score at which training stops: a judge that loses more is no reward.
MAX_UNSCORED = 0.25
#: Of the judge that gives the reward, and of the one that does not: the names in a run's looks.
TRAINING = "training"
HOLD_OUT = "hold-out"
_ROLES = (TRAINING, HOLD_OUT)


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
    if share is not None and share < LEAST_SHARE:
        faults.append(f"{share:.2f} of its probability is readable, {LEAST_SHARE:g} is needed")
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
    auc = agreement.auc
    balanced = agreement.balanced
    faults = _too_few(auc)
    if auc is not None and auc.shown and auc.low < MIN_AUC:
        faults.append(f"its AUC {auc} does not lie wholly at {MIN_AUC:g} or above")
    kept = 0.0 if balanced is None else max(0.0, 2.0 * balanced.value - 1.0)
    smallest = detectable / kept if kept else math.inf
    sees = f"it can see no true effect{f' below {smallest:.3f}' if kept else ', however large'}"
    if smallest >= effect:
        faults.append(f"{sees}, and the one to be confirmed is {effect:.3f}")
    good = f"its AUC {auc} is {MIN_AUC:g} or more, and {sees}"
    return Gate(not faults, "; ".join(faults) or good, auc, smallest=smallest)


def may_confirm(looks: Sequence[Look], agreement: CriterionAgreement | None) -> Gate:
    """May the hold-out judge of a run confirm the rise that the training judge saw?

    As :func:`may_hold_out`. The two may grade on scales of their own, such as one rating and a mean
    of verdicts: the rise is put on that of the hold-out judge by the spread of both over the same
    answers (:func:`rar_lib.evaluation.held_out.spread`).

    Args:
        looks: of the run, by the judge that gave the reward (``training``) and by one that did not
            (``hold-out``); those of one grader alone have none to ask about.
        agreement: the hold-out judge's with gold labels; ``None`` where it was not measured.
    """
    if any(role not in look for look in looks for role in _ROLES):
        return Gate(False, "there is no second judge that looked", None)
    seen, other = (rise(looks, role) for role in _ROLES)
    scale, own = (spread(looks, role) for role in _ROLES)
    fault = ""
    if agreement is None:
        fault = "its agreement with labels was not measured"
    elif seen is None or other is None:
        fault = "no task was scored before and after by both judges"
    elif seen.difference.value <= 0:
        fault = "by the training judge's scores there is no rise to confirm"
    elif not scale or not own:
        fault = "a judge gave all answers the same score, so it has no scale"
    if fault or agreement is None or seen is None or other is None:
        return Gate(False, fault, agreement.auc if agreement else None)
    effect = seen.difference.value * own / scale
    return may_hold_out(agreement, detectable=other.detectable, effect=effect)


def may_reward(
    agreement: CriterionAgreement | None,
    preferences: Finding | None,
    *,
    share: float | None,
    unscored: float,
    rates: bool = False,
) -> Gate:
    """May this judge's grades be a reward, by a person's own labels?

    They must carry information that is certainly more than chance. The AUC of its verdicts lies
    above one half, as :func:`may_enter_size_claim` asks; labels on fewer than ``MIN_UNITS`` tasks
    can't say so, and then the preferences must: that it prefers what the person prefers more often
    than not is supported. Preferences that are undecided say nothing against verdicts that are
    good; those that contradict, or that show no lead larger than ``MARGIN``, do. Beside that at
    least half of its probability is readable, and no more responses are without a score than
    training endures.

    Args:
        agreement: its verdicts against the person's labels; ``None`` without such labels.
        preferences: of pairwise accuracy less one half, a tie counting one half, decided with
            ``MARGIN``; ``None`` without pairs.
        share: mean readable share; ``None`` for a reading without probabilities.
        unscored: share of responses that got no score, in [0, 1].
        rates: the reward is a rating of the whole response, which verdicts on single criteria say
            nothing about: the preferences must speak for it.
    """
    good: list[str] = []
    faults: list[str] = []
    open_: list[str] = []
    auc = agreement.auc if agreement else None
    if agreement is not None:
        gate = may_enter_size_claim(agreement, None)
        heard = good if gate.passed else faults
        (open_ if _too_few(auc) else heard).append(gate.reason)
    words, holds = _prefers(preferences) if preferences else ("", None)
    if preferences is not None:
        heard = faults if holds is False or (rates and not holds) else open_
        (good if holds else heard).append(words)
    elif rates:
        faults.append("it rates whole responses, and no preference was given to hold that against")
    if not good and not faults:
        faults = open_
        open_ = []
    if share is not None and share < LEAST_SHARE:
        faults.append(f"{share:.2f} of its probability is readable, {LEAST_SHARE:g} is needed")
    elif share is not None:
        good.append(f"{share:.2f} of its probability is readable")
    if unscored > MAX_UNSCORED:
        faults.append(
            f"{unscored:.0%} of the responses got no score, training stops above {MAX_UNSCORED:.0%}"
        )
    passed = "; ".join(good) + "".join(f"; but {words}" for words in open_)
    return Gate(not faults, "; ".join(faults) or passed, auc, share)


def _prefers(found: Finding) -> tuple[str, bool | None]:
    """What a finding about pairwise accuracy says, and whether it holds; ``None``: open."""
    gap = found.difference
    if gap is None:
        return f"its preferences can't be judged ({found.reason})", None
    if not gap.shown:
        return f"its preferences are over {gap.n} tasks, {MIN_UNITS} are needed", None
    accuracy = replace(gap, value=gap.value + 0.5, low=gap.low + 0.5, high=gap.high + 0.5)
    words = f"it prefers what people prefer in {accuracy} of pairs"
    if found.word == "supported":
        return words, True
    against = found.word in ("contradicted", "no difference larger than d")
    return f"{words}, not certainly above 0.5", False if against else None


def _too_few(auc: Interval | None) -> list[str]:
    if auc is None:
        return ["its verdicts have no AUC: nothing was scored, or labels of one class only"]
    if auc.shown:
        return []
    return [f"its AUC is over {auc.n} tasks, {MIN_UNITS} are needed that hold the rarer label"]
