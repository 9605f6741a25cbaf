"""What to watch while a policy learns from a judge: spread, flat groups, length, mass at work.

Pure arithmetic on the grades of one step; a group is the rollouts of one prompt.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from rar_lib.core.scoring import Weighing, is_good, weight_of
from rar_lib.core.stats import flat_share, is_flat, pearson, scored
from rar_lib.core.types import Grade, Rubric


def groups(keys: Sequence[str]) -> list[range]:
    """Places of neighbours with the same key: the groups of a batch, in order."""
    found = []
    start = 0
    for _, members in groupby(keys):
        end = start + sum(1 for _ in members)
        found.append(range(start, end))
        start = end
    return found


def spread(values: Sequence[float]) -> float | None:
    """Standard deviation, ``None`` of fewer than two values."""
    return statistics.stdev(values) if len(values) > 1 else None


def flat_mass(
    grades: Sequence[Grade], of: Sequence[range], rubrics: Sequence[Rubric], weights: Weighing
) -> float | None:
    """Share of the reward's weight on criteria that do not tell the rollouts of a group apart.

    Such a criterion shifts the reward of a whole group, which the advantage takes out again. A
    member counts that is scored and has a verdict on every criterion: a judge of one's own may
    score without them.

    Args:
        rubrics: one for each group.
        weights: as in Eq. 1.

    Returns:
        The mean over the groups with at least two members that count, in [0, 1]; ``None`` if
        there is no such group.
    """
    shares = []
    for group, rubric in zip(of, rubrics, strict=True):
        weight = {criterion.id: weight_of(criterion, weights) for criterion in rubric.criteria}
        known = [_values(grades[i]) for i in group if grades[i].score is not None]
        rows = [row for row in known if row.keys() >= weight.keys()]
        if len(rows) < 2:
            continue
        idle = [share for criterion, share in weight.items() if _all_alike(rows, criterion)]
        shares.append(math.fsum(idle) / math.fsum(weight.values()))
    return statistics.fmean(shares) if shares else None


def _all_alike(rows: Sequence[Mapping[str, float]], criterion: str) -> bool:
    return is_flat([row[criterion] for row in rows])


def _of(scores: Sequence[float | None], group: range) -> Sequence[float | None]:
    return [scores[i] for i in group]


def credit(
    grades: Sequence[Grade], of: Sequence[range], rubrics: Sequence[Rubric], ids: Sequence[str]
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Share of verdicts that speak for the response, in [0, 1], and of which criteria.

    Args:
        rubrics: one for each group.
        ids: of the groups' tasks.

    Returns:
        The share by category, and by task and criterion; what nobody judged is left out, and what
        a judge of one's own says of other criteria than the rubric's.
    """
    by_category: dict[str, list[bool]] = {}
    by_criterion: dict[str, dict[str, list[bool]]] = {}
    for group, rubric, task_id in zip(of, rubrics, ids, strict=True):
        criteria = {criterion.id: criterion for criterion in rubric.criteria}
        for i in group:
            for verdict in grades[i].verdicts:
                criterion = criteria.get(verdict.criterion_id)
                if verdict.met is not None and criterion is not None:
                    good = is_good(criterion, verdict.met)
                    by_category.setdefault(str(criterion.category), []).append(good)
                    of_task = by_criterion.setdefault(task_id, {})
                    of_task.setdefault(criterion.id, []).append(good)
    return _means(by_category), {task: _means(found) for task, found in by_criterion.items()}


def step_record(
    scores: Sequence[float | None], lengths: Sequence[int], of: Sequence[range]
) -> dict[str, Any]:
    """The numbers of one step that need no criteria.

    Args:
        scores: rewards in [0, 1], ``None`` for unscored.
        lengths: of the responses, in tokens.
        of: the groups.
    """
    pairs = [(score, n) for score, n in zip(scores, lengths, strict=True) if score is not None]
    rewards = [score for score, _ in pairs]
    long = [float(n) for _, n in pairs]
    return {
        "scores": list(scores),
        "mean": statistics.fmean(rewards) if rewards else None,
        "spread": spread(rewards),
        "unscored": 1 - len(pairs) / len(scores),
        "flat_groups": flat_share([_of(scores, group) for group in of]),
        "length": statistics.fmean(lengths),
        "length_correlation": pearson(long, rewards),
    }


def levelled(scores: Sequence[float | None], of: Sequence[range]) -> list[float | None]:
    """Rewards whose flat groups have one value, so that their advantage is exactly 0.

    A group counts as flat whose scored rewards lie within :data:`rar_lib.core.stats.TOLERANCE` of
    each other: the judge's rounding. Divided by its own standard deviation such a group would train
    at full strength on it. The one value is the mean in whole 65,536ths: then the mean that a
    trainer takes of up to 256 of them in single precision leaves no remainder. Unscored stays
    unscored, and a reward that has no other to be compared with stays as it is.

    Args:
        scores: rewards in [0, 1], ``None`` for unscored.
        of: the groups.
    """
    found = list(scores)
    for group in of:
        known = scored(_of(scores, group))
        if len(known) > 1 and is_flat(known):
            level = round(statistics.fmean(known) * 2**16) / 2**16
            for place in group:
                found[place] = None if scores[place] is None else level
    return found


#: What TRL 1.15 adds to a group's standard deviation before it divides by it.
TRL_EPSILON = 1e-4


def advantages(
    scores: Sequence[float | None],
    of: Sequence[Sequence[int]] | None = None,
    *,
    by_deviation: bool = True,
    epsilon: float = TRL_EPSILON,
) -> list[float | None]:
    """What GRPO makes of rewards: a score over its group's mean, in standard deviations.

    As Shao et al. (arXiv 2402.03300, section 4.1.2), with n - 1 in the denominator, as TRL
    (``scale_rewards="group"``) and verl compute it. 0 in a flat group (:func:`levelled`) and for a
    score that has no other to be compared with; ``None`` for what is unscored.

    Args:
        scores: rewards in [0, 1], ``None`` for unscored.
        of: the places of each group; all are one group by default.
        by_deviation: divide by the deviation; without it the difference alone (Dr. GRPO).
        epsilon: is added to the deviation.
    """
    found: list[float | None] = [None] * len(scores)
    for places in [range(len(scores))] if of is None else of:
        level = levelled([scores[place] for place in places], [range(len(places))])
        known = scored(level)
        mean = math.fsum(known) / len(known) if known else 0.0
        size = ((spread(known) or 0.0) + epsilon if by_deviation else 0.0) or 1.0
        for place, value in zip(places, level, strict=True):
            found[place] = None if value is None else (value - mean) / size
    return found


def joined(
    log: Sequence[Mapping[str, Any]],
    steps: Sequence[Mapping[str, Any]],
    resumed_at: Sequence[int] = (),
) -> list[dict[str, Any]]:
    """One row a step: the reward's record and TRL's log side by side.

    ``resumed`` is true for the first step after a restart. ``judge_share`` is the judge's part
    of the step's seconds. Supervised fine-tuning has no record of rewards, only the log.
    """
    rows = []
    for record, entry in zip(steps or [{}] * len(log), log, strict=True):
        row = dict(record)
        row |= {"step": int(entry["step"]), "resumed": int(entry["step"]) - 1 in resumed_at}
        for name in ("entropy", "kl_to_base", "loss", "grad_norm", "learning_rate", "step_time"):
            row[name] = entry.get(name)
        row["clipped"] = entry.get("completions/clipped_ratio")
        row |= {key: value for key, value in entry.items() if key.startswith("seconds/")}
        seconds = entry.get("step_time")
        judged = record.get("judge_seconds")
        row["judge_share"] = judged / seconds if seconds and judged is not None else None
        rows.append(row)
    return rows


def _means(found: Mapping[str, Sequence[bool]]) -> dict[str, float]:
    return {name: statistics.fmean(values) for name, values in sorted(found.items())}


def _values(grade: Grade) -> dict[str, float]:
    """The verdicts that there are, by criterion."""
    both = ((verdict.criterion_id, verdict.value) for verdict in grade.verdicts)
    return {name: float(value) for name, value in both if value is not None}
