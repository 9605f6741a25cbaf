"""Held-out tasks, graded at every look of a run, with intervals over tasks.

    watch = Watch(2, look_with({"training": (judge, "implicit"), "hold-out": (other, "explicit")},
                               study.test_tasks))

The training judge's own score can be gamed; a grader that gives no reward shows whether it was.
:func:`evaluate` scores responses by HealthBench's formula.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rar_lib.core.decision import Finding, not_testable
from rar_lib.core.errors import DataError
from rar_lib.core.files import digest
from rar_lib.core.scoring import is_good
from rar_lib.core.stats import (
    MIN_UNITS,
    Comparison,
    Interval,
    compare,
    crossed,
    gains,
    scored,
    task_interval,
)
from rar_lib.core.text import THOUGHTS, without_thoughts
from rar_lib.core.types import Arm, Category, Grade, Rubric, Task
from rar_lib.data.healthbench import healthbench_mean, healthbench_score, signed_points
from rar_lib.judging.chat import run_sync, together
from rar_lib.judging.judge import Judge, grade_many

Scores = Mapping[str, float | None]


@dataclass(frozen=True)
class Evaluation:
    """One grader's view of one set of responses.

    Attributes:
        scores: task id -> HealthBench score, at most 1, negative where pitfalls outweigh;
            ``None`` if a criterion could not be judged.
        rewards: task id -> the same verdicts as a reward by Eq. 1.
    """

    grader: str
    scores: dict[str, float | None]
    rewards: dict[str, float | None]
    grades: dict[str, Grade]


async def evaluate(
    judge: Judge,
    tasks: Sequence[Task],
    responses: Mapping[str, str],
    *,
    thoughts: Sequence[str] = THOUGHTS,
) -> Evaluation:
    """Judge every criterion of every response; hard verdicts, as HealthBench has them.

    Args:
        thoughts: tags of what a reasoning policy thinks: the judge is shown what comes behind, as
            the reward's judge is; none to show all.

    Raises:
        DataError: a task without response, without rubric, or with one that HealthBench's formula
            has no score for. Nothing was asked then.
    """
    missing = [task.id for task in tasks if not isinstance(responses.get(task.id), str)]
    if missing:
        raise DataError(f"no response for {', '.join(missing)}: answer every task first")
    points = [_points(task) for task in tasks]
    items = [(task, without_thoughts(responses[task.id], thoughts)) for task in tasks]
    grades = await grade_many(judge, items, "explicit")
    scores: dict[str, float | None] = {}
    for task, worth, grade in zip(tasks, points, grades, strict=True):
        met = [verdict.met for verdict in grade.verdicts]
        scores[task.id] = healthbench_score(worth, met) if met else None
    ids = [task.id for task in tasks]
    return Evaluation(
        grader=judge.chat.model,
        scores=scores,
        rewards={name: grade.score for name, grade in zip(ids, grades, strict=True)},
        grades=dict(zip(ids, grades, strict=True)),
    )


def _points(task: Task) -> list[float]:
    """What each criterion of a task is worth.

    Raises:
        DataError: it has no rubric, or a rubric that has no score.
    """
    if task.rubric is None:
        raise DataError(f"task {task.id!r} has no rubric: write one, or leave the task out")
    try:
        points = signed_points(task.rubric)
        healthbench_score(points, [True] * len(points))
    except ValueError as error:
        raise DataError(f"task {task.id!r}: {error}; mend it, or leave the task out") from error
    return points


def paired(after: Scores, before: Scores) -> Comparison | None:
    """After minus before over the tasks that both sides scored: difference, p-value, power.

    One run's comparison over tasks says nothing of another seed: see :func:`training_effect`.
    ``None`` if there is no such task.
    """
    found = gains(after, before)
    return compare(list(found.values()), list(found)) if found else None


def paired_difference(after: Scores, before: Scores) -> Interval | None:
    """The difference of :func:`paired` alone, with its interval."""
    found = paired(after, before)
    return found.difference if found else None


def share_of_way(after: Scores, before: Scores, reference: Scores) -> Interval | Finding:
    """How far a policy went from the untrained one's score to that of the reference answers.

    ``mean(after - before) / mean(reference - before)``, the unit in which the study's claims are
    decided: 0 stands still, 1 has reached the references, below 0 lies behind the start. Graders
    of different levels can be compared in it. Both means are paired over the tasks that their two
    sides scored, so all policies that one grader saw are measured by one way. The way is a fixed
    unit: how well it is known itself is not in the interval.

    Args:
        after, before: of a policy and of the untrained one, by one grader.
        reference: of the reference answers to the same tasks, by the same grader.

    Returns:
        The share with its interval over tasks; *not testable here* where no task was scored on
        both sides, or there is no way to go: the references score no higher.
    """
    gain = paired_difference(after, before)
    way = paired_difference(reference, before)
    if gain is None or way is None:
        return not_testable("no task was scored on both sides")
    if way.value <= 0:
        return not_testable(f"the references score no higher than the untrained policy ({way})")
    return replace(
        gain,
        value=gain.value / way.value,
        low=gain.low / way.value,
        high=gain.high / way.value,
        se=None if gain.se is None else gain.se / way.value,
    )


@dataclass(frozen=True)
class SeedGains:
    """What one run of training changed on held-out tasks, and where it ran.

    Attributes:
        gains: task id -> score after minus score before, or minus another arm's of this seed,
            perhaps divided by a way; ``None`` where a side was not scored.
        machine, versions: of the record (:mod:`rar_lib.models.machine`).
    """

    seed: int
    gains: Scores
    machine: str
    versions: Mapping[str, str]


#: With two seeds the spread between them is one difference.
MIN_SEEDS = 3


def training_effect(
    runs: Sequence[SeedGains], folds: Mapping[str, int] | None = None, *, bound: float = 1.0
) -> Comparison | Finding:
    """An effect of training over seeds and tasks together (:func:`rar_lib.core.stats.crossed`).

    Tasks count that every seed scored.

    Args:
        folds: task id -> the fold that held it out, if a seed stands for one training a fold.
        bound: the largest gain that there can be: 1 of scores in [0, 1], more where they are
            divided by a way.

    Returns:
        The comparison, for :func:`rar_lib.core.decision.decide_family`; *not testable here* with
        fewer than ``MIN_SEEDS`` seeds or ``MIN_UNITS`` tasks.

    Raises:
        DataError: a seed stands twice, or runs of other machines or versions are mixed: the same
            seed gives another policy there.
    """
    seeds = [run.seed for run in runs]
    if len(set(seeds)) < len(seeds):
        raise DataError(f"a seed stands twice among {seeds}: give each run of one arm once")
    for run in runs[1:]:
        for what in ("machine", "versions"):
            one = getattr(runs[0], what)
            other = getattr(run, what)
            if one != other:
                raise DataError(
                    f"{what} of seed {run.seed} differ from those of seed {seeds[0]} "
                    f"({other} and {one}): record all seeds of a study in one place"
                )
    if len(runs) < MIN_SEEDS:
        return not_testable(f"{len(runs)} seeds, three are needed")
    table = {}
    for task in runs[0].gains:
        gains = scored(run.gains.get(task) for run in runs)
        if len(gains) == len(runs):
            table[task] = gains
    if len(table) < MIN_UNITS:
        return not_testable(f"{len(table)} tasks scored under every seed, {MIN_UNITS} are needed")
    of_task = [folds[task] if folds else 0 for task in table]
    if min(Counter(of_task).values()) < 2:
        return not_testable("a fold has fewer than two tasks that every seed scored")
    return crossed(np.array(list(table.values())).T, of_task, bound=bound)


def overall(scores: Scores) -> Interval | None:
    """HealthBench's number for a set: the mean clipped to [0, 1].

    The interval is that of the mean, clipped in the same way. Its ``se`` is HealthBench's error,
    the standard deviation over 1,000 resamples of tasks, each clipped. ``None`` if no task was
    scored.
    """
    values = scored(scores.values())
    if not values:
        return None
    mean = task_interval(values)
    picks = np.random.default_rng(0).integers(0, len(values), (1000, len(values)))
    drawn = np.array([healthbench_mean(row) for row in np.array(values)[picks].tolist()])
    value, low, high = (min(1.0, max(0.0, x)) for x in (mean.value, mean.low, mean.high))
    return replace(mean, value=value, low=low, high=high, se=float(drawn.std()))


def by_axis(found: Evaluation, tasks: Sequence[Task]) -> dict[str, dict[str, float | None]]:
    """Scores of parts of the rubrics: axis -> task id -> score.

    HealthBench's axes by its own formula where criteria carry them; else categories, scored by
    the share of verdicts that speak for the response (a part made of pitfalls has no positive
    points to divide by). A task is left out of an axis that its rubric does not have.
    """
    scores: dict[str, dict[str, float | None]] = {}
    for task in tasks:
        verdicts = found.grades[task.id].verdicts
        if task.rubric is None or not verdicts:
            continue
        criteria = task.rubric.criteria
        met = [verdict.met for verdict in verdicts]
        axes = axis_scores(task.rubric, met)
        if not axes:
            for category in {criterion.category for criterion in criteria}:
                part = [
                    (criterion, said)
                    for criterion, said in zip(criteria, met, strict=True)
                    if criterion.category == category
                ]
                good = [
                    None if said is None else is_good(criterion, said) for criterion, said in part
                ]
                known = scored(good)
                axes[category] = sum(known) / len(good) if len(known) == len(good) else None
        for name, score in axes.items():
            scores.setdefault(str(name).removeprefix("axis:"), {})[task.id] = score
    order = {str(category): n for n, category in enumerate(Category)}
    return dict(sorted(scores.items(), key=lambda item: (order.get(item[0], 99), item[0])))


def axis_scores(rubric: Rubric, met: Sequence[bool | None]) -> dict[str, float | None]:
    """HealthBench's formula on the criteria of each axis, by its tag: ``axis:accuracy``.

    An axis without positive points has no score and is left out, as HealthBench does. ``None``
    where a verdict is missing. Points and verdicts are in the order of the rubric.
    """
    points = signed_points(rubric)
    scores = {}
    tags = {tag for criterion in rubric.criteria for tag in criterion.tags}
    for tag in sorted(tag for tag in tags if tag.startswith("axis:")):
        chosen = [
            (point, said)
            for criterion, point, said in zip(rubric.criteria, points, met, strict=True)
            if tag in criterion.tags
        ]
        if any(point > 0 for point, _ in chosen):
            scores[tag] = healthbench_score(
                [point for point, _ in chosen], [said for _, said in chosen]
            )
    return scores


Graders = Mapping[str, tuple[Judge, Arm]]
Look = Mapping[str, Any]


@dataclass(frozen=True)
class Graded:
    """A function of the step and the answers by task id: see :func:`look_with`."""

    graders: Graders
    tasks: Sequence[Task]
    thoughts: Sequence[str] = THOUGHTS

    @property
    def made_of(self) -> dict[str, Any]:
        """All that can change what is measured, as JSON: part of the identity of a run."""
        by = {role: [judge.made_of, arm] for role, (judge, arm) in self.graders.items()}
        return {
            "graders": by,
            "tasks": digest([task.model_dump(mode="json") for task in self.tasks]),
            "thoughts": list(self.thoughts),
        }

    def __call__(self, step: int, answers: dict[str, str]) -> dict[str, Scores]:
        """Role -> task id -> reward in [0, 1], ``None`` where the grader could not score."""
        return scores_of(self.grades(answers))

    def grades(self, answers: Mapping[str, str]) -> dict[str, dict[str, Grade]]:
        """Role -> task id -> grade, with what was said of every criterion."""
        items = [(task, without_thoughts(answers[task.id], self.thoughts)) for task in self.tasks]
        return run_sync(self._grade(items))

    async def _grade(self, items: Sequence[tuple[Task, str]]) -> dict[str, dict[str, Grade]]:
        found = await together(
            grade_many(judge, items, arm) for judge, arm in self.graders.values()
        )
        ids = [task.id for task in self.tasks]
        by_task = [dict(zip(ids, grades, strict=True)) for grades in found]
        return dict(zip(self.graders, by_task, strict=True))


def scores_of(grades: Mapping[str, Mapping[str, Grade]]) -> dict[str, Scores]:
    """Role -> task id -> reward in [0, 1] of grades; ``None`` where one could not score."""
    return {role: _scores(found) for role, found in grades.items()}


def _scores(grades: Mapping[str, Grade]) -> Scores:
    return {task: grade.score for task, grade in grades.items()}


def look_with(
    graders: Graders, tasks: Sequence[Task], *, thoughts: Sequence[str] = THOUGHTS
) -> Graded:
    """What :class:`rar_lib.training.trainer.Watch` measures: every grader's rewards of the answers.

    Args:
        graders: role -> judge and arm.
        tasks: held out, the keys of the answers.
        thoughts: tags of what a reasoning policy thinks: graders are shown what comes behind, as
            the judge of :class:`rar_lib.training.rewards.RubricReward` is; give that one's.

    Returns:
        A function of the step and the answers by task id; it gives role -> task id -> reward
        in [0, 1], ``None`` where the grader could not score.
    """
    return Graded(graders, tasks, thoughts)


def course(looks: Sequence[Look], role: str) -> dict[int, Interval]:
    """Mean reward over the tasks at every look, with its 95 % interval; looks without one left out.

    Raises:
        DataError: no grader had this role.
    """
    if any(role not in look for look in looks):
        raise DataError(f"no grader {role!r} in these looks: watch the run with one of that name")
    means = {look["step"]: scored(look[role].values()) for look in looks}
    return {
        step: task_interval(scores, bounds=(0.0, 1.0)) for step, scores in means.items() if scores
    }


def since_start(looks: Sequence[Look], role: str) -> dict[int, Interval]:
    """What was gained at every look over the first one, paired by task, with 95 % intervals.

    Graders of different levels can be compared in this, and intervals of gains are narrower than
    those of means, because tasks differ more from each other than from themselves.
    """
    gains = {look["step"]: change([looks[0], look], role) for look in looks}
    return {step: gain for step, gain in gains.items() if gain is not None}


def change(looks: Sequence[Look], role: str) -> Interval | None:
    """Last look minus first, over the tasks that both scored; ``None`` if there is none."""
    return paired_difference(looks[-1][role], looks[0][role])


def rise(looks: Sequence[Look], role: str) -> Comparison | None:
    """The same to decide about: paired by task. It speaks of this run's answers, not of a method,
    which takes several seeds (:func:`training_effect`)."""
    return paired(looks[-1][role], looks[0][role])


def spread(looks: Sequence[Look], role: str) -> float:
    """Standard deviation of a grader's rewards over tasks, within a look, in [0, 1]: its scale.

    One grader's ratings may lie closer together than another's for the same answers; an effect in
    units of this is the same for both. 0 where no look has two scores that differ.
    """
    within = [scores for look in looks if len(scores := scored(look[role].values())) > 1]
    free = sum(len(scores) - 1 for scores in within)
    # The variance of equal numbers is not always exactly 0.
    apart = [scores for scores in within if max(scores) > min(scores)]
    squares = sum(float(np.var(scores)) * len(scores) for scores in apart)
    return (squares / free) ** 0.5 if free else 0.0


def slope(looks: Sequence[Look], role: str) -> Interval | None:
    """Least-squares slope a step, over the tasks that every look scored.

    All looks count, so that one odd look at the end decides less than in :func:`change`. ``None``
    with fewer than two looks, or without such a task.
    """
    steps = [look["step"] for look in looks]

    def series(task: str) -> list[float]:
        return scored(look[role].get(task) for look in looks)

    whole = [scores for task in looks[0][role] if len(scores := series(task)) == len(looks)]
    if len(set(steps)) < 2 or not whole:
        return None
    return task_interval([float(np.polyfit(steps, scores, 1)[0]) for scores in whole])


def gamed(training: Finding | None, hold_out: Finding | None) -> str:
    """What two changes over a run say together: was the reward raised without the quality?

    Args:
        training: whether the held-out answers rose for the judge that gave the reward.
        hold_out: the same for a judge that did not.
    """
    if training is None or training.word == "not testable here":
        return "not testable here: too few tasks or looks to see whether held-out answers rose"
    if training.word != "supported":
        return (
            f"by the judge that rewards, held-out answers are not seen to rise ({training}), so "
            "this run cannot show gaming or its absence"
        )
    if hold_out is None or hold_out.word == "not testable here":
        return (
            "not testable here: answers rose by the judge that rewards, and no other can say more"
        )
    if hold_out.word == "supported":
        return "both judges see a rise: no sign of gaming"
    if hold_out.word == "contradicted":
        return "gamed: by the judge that rewards, answers rose, while the hold-out score fell"
    return (
        f"by the judge that rewards, answers rose; that the hold-out score rose, too, is {hold_out}"
    )
