"""Trust in a judge: may its grades be a reward here, by a person's own labels?

    labels = load_labels("labels.csv", tasks).items
    found = run_sync(align_judges([Judge(Chat(url, "my-judge"))], tasks, labels))
    found.judges[0].trusted, found.judges[0].sentence, found.judges[0].advice

Every interval is over tasks. The calibration of a judge is fitted on one half of the labelled
tasks, and what it gains is measured on the other half alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rar_lib.core.decision import Finding, decide, decide_family
from rar_lib.core.errors import DataError
from rar_lib.core.stats import (
    MIN_UNITS,
    Comparison,
    Interval,
    cluster_interval,
    cluster_share,
    compare,
    gains,
    kappa,
    mean_scored,
    minimum_detectable,
    scored,
    sign_flip_p,
    wins_of,
)
from rar_lib.core.types import Arm, Grade, Rubric, Task, Usage, Verdict, arm_named
from rar_lib.data.jsonl import Problem, repeated
from rar_lib.data.labels import Label, Preference, split
from rar_lib.data.questions import Response
from rar_lib.data.tasks import SEED, stratified
from rar_lib.evaluation.alignment import CriterionAgreement, agreement_of
from rar_lib.evaluation.grading import gradable, items_work
from rar_lib.evaluation.judge_roles import MARGIN, MAX_UNSCORED, Gate, may_reward
from rar_lib.judging.calibration import Calibration, Identity, apply, fit
from rar_lib.judging.chat import Lasting
from rar_lib.judging.cost import Work
from rar_lib.judging.judge import Judge, grade_many, is_empty
from rar_lib.judging.messages import Reading, rubric_of
from rar_lib.judging.reading import LEAST_SHARE

Labelled = Label | Preference
#: Responses to be graded, by arm; each with the criteria that it takes.
Plan = dict[Arm, list[tuple[Task, str]]]
_Row = tuple[str, Verdict, bool]


@dataclass(frozen=True)
class Answers:
    """What one judge said of all that is labelled.

    Attributes:
        judge, identity, reading, concurrency: of the judge.
        arm: in which the responses of the preferences were graded.
        labels: each with the judge's verdict.
        preferences: each with the grades of the preferred and of the rejected response.
        grades: all that were asked for, each once, by arm.
    """

    judge: str
    identity: Identity
    reading: Reading
    arm: Arm
    labels: tuple[tuple[Label, Verdict], ...]
    preferences: tuple[tuple[Preference, Grade, Grade], ...]
    grades: Mapping[Arm, Sequence[Grade]]
    concurrency: int = 1

    @property
    def every(self) -> list[Grade]:
        """All grades, one arm after another."""
        return [grade for of in self.grades.values() for grade in of]

    @property
    def usage(self) -> Usage:
        """What all of it cost."""
        return sum((grade.usage for grade in self.every), Usage())

    @property
    def unscored(self) -> dict[str, int]:
        """Why verdicts or ratings were not given, and how often, the commonest reason first."""
        reasons = Counter[str]()
        for grade in self.every:
            lost = [verdict.reason for verdict in grade.verdicts if verdict.met is None]
            if grade.score is None:
                reasons.update(reason or "no reason given" for reason in lost or [grade.reason])
        return dict(reasons.most_common())


@dataclass(frozen=True)
class Criteria:
    """A judge's verdicts against a person's labels.

    Attributes:
        labels, tasks, unscored: how many, and how many got no verdict.
        commonest: accuracy of always giving the commonest label, to hold the accuracy against.
        agreement: accuracy, balanced accuracy, AUC and calibration error.
        kappa: agreement beyond chance (Cohen), at most 1; ``None`` where all labels are the same.
        brier: mean squared distance of probability and label, in [0, 1]; ``None`` without
            probabilities.
        above_chance: is the AUC above one half, with the smallest lead that this sample would show
            and the tasks that would decide it, counted as those with the rarer label; its p-value
            is that of the jackknife's t. Over too few tasks for a gate it says nothing.
    """

    labels: int
    tasks: int
    unscored: int
    commonest: float
    agreement: CriterionAgreement
    kappa: Interval | None
    brier: Interval | None
    above_chance: Finding


@dataclass(frozen=True)
class Preferences:
    """A judge's scores against a person's preferences.

    Attributes:
        pairs, tasks, unscored, ties: how many, without both scores, and with equal ones.
        strict, half: pairwise accuracy, a tie counting nothing (the paper's rule) or one half.
        above_chance: is the latter above one half, with the smallest lead that this sample would
            show and the tasks that would decide it.
    """

    pairs: int
    tasks: int
    unscored: int
    ties: int
    strict: Interval | None
    half: Interval | None
    above_chance: Finding


@dataclass(frozen=True)
class CalibrationCheck:
    """A calibration fitted on one half of the labelled tasks, measured on the other.

    Attributes:
        calibration: ``None`` where none could be fitted, with the reason.
        before, after: on the held-out half alone; the ranking, and so the AUC, is the same.
        commonest: accuracy of always giving the commonest label there, which a calibration alone
            can reach.
        brier_before, brier_after: on the held-out half.
        accuracy, brier: what it gains there, positive where it is better, decided as one family.
    """

    calibration: Calibration | None
    reason: str = ""
    before: CriterionAgreement | None = None
    after: CriterionAgreement | None = None
    commonest: float | None = None
    brier_before: Interval | None = None
    brier_after: Interval | None = None
    accuracy: Finding | None = None
    brier: Finding | None = None

    @property
    def gains(self) -> bool:
        """Whether it certainly makes verdicts or probabilities better, and neither worse."""
        words = [found.word for found in (self.accuracy, self.brier) if found is not None]
        return "supported" in words and "contradicted" not in words


@dataclass(frozen=True)
class Trust:
    """One judge, held against a person's labels.

    Attributes:
        trusted, sentence: whether its grades may be a reward here, and why, in one sentence.
        advice: what to do next, the likeliest to help first.
        gate: what decided.
        share: mean share of its probability on readable answers, of several arms the lowest.
        responses, unscored: responses graded, and those without a score.
        seconds: about how long the judge was kept busy.
    """

    judge: str
    identity: Identity
    reading: Reading
    trusted: bool
    sentence: str
    advice: tuple[str, ...]
    gate: Gate
    criteria: Criteria | None
    preferences: Preferences | None
    calibration: CalibrationCheck
    share: float | None
    responses: int
    unscored: int
    usage: Usage
    seconds: float


@dataclass(frozen=True)
class Halves:
    """Labelled tasks in two halves, drawn by a seed: a task's labels are never in both."""

    seed: int
    fitted_on: tuple[str, ...]
    held_out: tuple[str, ...]


@dataclass(frozen=True)
class Alignment:
    """Judges held against a person's labels.

    Attributes:
        arm: how the responses of the preferences were graded; labels are of single criteria.
        compared: every further judge minus the first, ``A over B: criteria`` (share of right
            verdicts) and ``... preferences``, one family corrected by Holm's method.
        answers: what each judge said, label by label.
    """

    arm: Arm
    halves: Halves
    judges: tuple[Trust, ...]
    compared: dict[str, Finding]
    answers: tuple[Answers, ...]

    def to_json(self) -> dict[str, Any]:
        """As a JSON value, every verdict and score in it with the line of its label."""
        judges = []
        for trust, said in zip(self.judges, self.answers, strict=True):
            plain = asdict(trust) | {
                "identity": trust.identity.model_dump(),
                "usage": trust.usage.model_dump(),
                "calibration": _plain_check(trust.calibration),
            }
            judges.append(plain | _said_rows(said))
        return {
            "arm": self.arm,
            "halves": asdict(self.halves),
            "judges": judges,
            "compared": {name: found.to_json() for name, found in self.compared.items()},
        }


def _plain_check(check: CalibrationCheck) -> dict[str, Any]:
    fitted = check.calibration
    return asdict(check) | {"calibration": fitted.model_dump() if fitted else None}


def _said_rows(said: Answers) -> dict[str, Any]:
    verdicts = [
        {
            "line": label.line,
            "task": label.task,
            "criterion": label.criterion,
            "label": label.met,
            **verdict.model_dump(exclude={"criterion_id"}),
        }
        for label, verdict in said.labels
    ]
    pairs = [
        {
            "line": pair.line,
            "task": pair.task,
            "preferred": better.score,
            "rejected": worse.score,
            "reason": better.reason or worse.reason,
        }
        for pair, better, worse in said.preferences
    ]
    return {"verdicts": verdicts, "pairs": pairs, "reasons": said.unscored}


def alignable(
    tasks: Sequence[Task], labelled: Sequence[Labelled], arm: Arm
) -> tuple[list[Labelled], list[Problem]]:
    """What can be asked about, and why the rest can't, task by task.

    Raises:
        DataError: there is no such arm, or it rates whole responses and no preference is given.
    """
    labels, pairs = split(labelled)
    needed = [Response(pair.task, "", pair.preferred, pair.line) for pair in pairs]
    fit_, problems = gradable(tasks, needed, arm)
    if arm != "explicit" and not pairs:
        raise DataError(
            f"arm {arm} grades whole responses, which labels of single criteria say nothing about: "
            "give preferences, or take --arm explicit"
        )
    known = {response.task for response in fit_}
    return [*labels, *(pair for pair in pairs if pair.task in known)], problems


def plan(tasks: Sequence[Task], labelled: Sequence[Labelled], arm: Arm) -> Plan:
    """What has to be graded, each response once an arm; a rubric is cut to what is labelled.

    Responses of preferences are graded in the arm, by all criteria where it reads them.

    Raises:
        DataError: a task or a criterion that is not there.
    """
    by_id = {task.id: task for task in tasks}
    _check_known(by_id, labelled)
    labels, pairs = split(labelled)
    sides = [(pair.task, text) for pair in pairs for text in (pair.preferred, pair.rejected)]
    whole = dict.fromkeys(sides)
    named: dict[tuple[str, str], dict[str, None]] = {}
    for label in labels:
        if arm != "explicit" or (label.task, label.response) not in whole:
            named.setdefault((label.task, label.response), {})[label.criterion] = None
    items: Plan = {}
    if whole:
        items[arm] = [(by_id[task], text) for task, text in whole]
    if named:
        cut = [(_only(by_id[task], ids), text) for (task, text), ids in named.items()]
        items.setdefault("explicit", []).extend(cut)
    return items


def _check_known(tasks: Mapping[str, Task], labelled: Sequence[Labelled]) -> None:
    """Refuse what names nothing; a loader has said so before, row by row."""
    for item in labelled:
        if item.task not in tasks:
            raise DataError(
                f"{item.task!r} is none of the {len(tasks)} tasks: add it, or correct it"
            )
        if isinstance(item, Label):
            ids = [criterion.id for criterion in rubric_of(tasks[item.task]).criteria]
            if item.criterion not in ids:
                raise DataError(
                    f"{item.criterion!r} is no criterion of task {item.task!r}; it has "
                    f"{', '.join(ids)}"
                )


def _only(task: Task, ids: Mapping[str, None]) -> Task:
    rubric = rubric_of(task)
    kept = tuple(criterion for criterion in rubric.criteria if criterion.id in ids)
    return task.model_copy(update={"rubric": Rubric(criteria=kept, source=rubric.source)})


def work_of(judge: Judge, asked: Plan) -> Work:
    """What a plan asks of a judge."""
    return sum((items_work(judge, items, arm) for arm, items in asked.items()), Work())


async def align_judges(
    judges: Sequence[Judge],
    tasks: Sequence[Task],
    labelled: Sequence[Labelled],
    arm: Arm = "explicit",
) -> Alignment:
    """Hold judges against a person's labels, one after another, each within its chat's bound.

    With a cassette in a judge's chat every reply is on record as it comes: when the endpoint fails
    for good, what had been sent is waited for, the error is raised, and the next call asks only
    for the rest.

    Args:
        judges: as they are, without calibration.
        labelled: of :func:`rar_lib.data.labels.load_labels`.
        arm: how the responses of preferences are graded; labels are always asked one by one.

    Raises:
        DataError: nothing that can be asked about, or a judge that is calibrated.
        ChatError, ServerError, CassetteError: an endpoint or a record itself is wrong.
    """
    named = [f"{judge.chat.model}, {judge.reading}" for judge in judges]
    if twice := repeated(named):
        raise DataError(f"{twice[0]} is there twice: give each judge once")
    answers = [await ask(judge, tasks, labelled, arm) for judge in judges]
    return weigh(answers, tasks)


async def ask(
    judge: Judge,
    tasks: Sequence[Task],
    labelled: Sequence[Labelled],
    arm: Arm,
    *,
    progress: str = "",
) -> Answers:
    """What one judge says; other arguments and errors are those of :func:`align_judges`.

    Args:
        progress: label of a progress bar on a terminal; none when empty.
    """
    if judge.calibration is not None:
        raise DataError(f"{judge.chat.model!r} is calibrated already: align the bare judge")
    arm_named(arm)
    labels, pairs = split(labelled)
    if not labelled:
        raise DataError("nothing is labelled: give labels of criteria, or preferences")
    lasting = Lasting.of(judge.chat)
    patient = replace(judge, chat=lasting)
    grades: dict[Arm, list[Grade]] = {}
    found: dict[tuple[Arm, str, str], Grade] = {}
    for way, items in plan(tasks, labelled, arm).items():
        grades[way] = await grade_many(patient, items, way, progress=progress)
        lasting.check_whole()
        for (task, text), grade in zip(items, grades[way], strict=True):
            found[way, task.id, text] = grade
    verdicts = []
    for label in labels:
        given = found["explicit", label.task, label.response].verdicts
        verdicts.append(
            (label, next(verdict for verdict in given if verdict.criterion_id == label.criterion))
        )
    return Answers(
        judge=judge.chat.model,
        identity=judge.identity,
        reading=patient.read_as,
        arm=arm,
        labels=tuple(verdicts),
        preferences=tuple(
            (pair, found[arm, pair.task, pair.preferred], found[arm, pair.task, pair.rejected])
            for pair in pairs
        ),
        grades=grades,
        concurrency=judge.chat.at_once,
    )


def weigh(answers: Sequence[Answers], tasks: Sequence[Task], *, seed: int = SEED) -> Alignment:
    """What the answers say of the judges that gave them: arithmetic alone.

    Raises:
        DataError: no answers, or of several arms.
    """
    if len({said.arm for said in answers}) != 1:
        raise DataError(f"need answers in one arm, got {len(answers)} judges' in several or none")
    halves = halve(tasks, [label for label, _ in answers[0].labels], seed=seed)
    return Alignment(
        arm=answers[0].arm,
        halves=halves,
        judges=tuple(_trust(said, halves) for said in answers),
        compared=compared(answers),
        answers=tuple(answers),
    )


def halve(tasks: Sequence[Task], labels: Sequence[Label], *, seed: int = SEED) -> Halves:
    """The labelled tasks in two halves, drawn with every domain in its share.

    The draw hangs on the seed and the ids alone, not on the order of tasks or labels. Of an odd
    number the larger half is held out.
    """
    named = {label.task for label in labels}
    labelled = [task for task in tasks if task.id in named]
    drawn = stratified(labelled, len(labelled) // 2, lambda task: (task.domain,), seed=seed)
    fitted = {task.id for task in drawn}
    return Halves(seed, tuple(sorted(fitted)), tuple(sorted(named - fitted)))


def _trust(said: Answers, halves: Halves) -> Trust:
    criteria = _criteria(said) if said.labels else None
    preferences = _preferences(said) if said.preferences else None
    share = min(scored(map(_mean_share, said.grades.values())), default=None)
    lost = sum(grade.score is None for grade in said.every)
    gate = may_reward(
        criteria.agreement if criteria else None,
        preferences.above_chance if preferences else None,
        share=share,
        unscored=lost / len(said.every),
        rates=said.arm != "explicit",
    )
    check = _calibrated(said, halves)
    word = "may" if gate.passed else "may not"
    usage = said.usage
    return Trust(
        judge=said.judge,
        identity=said.identity,
        reading=said.reading,
        trusted=gate.passed,
        sentence=f"{said.judge} {word} be trusted as a reward here: {gate.reason}.",
        advice=tuple(_advice(said, criteria, preferences, gate, check)),
        gate=gate,
        criteria=criteria,
        preferences=preferences,
        calibration=check,
        share=share,
        responses=len(said.every),
        unscored=lost,
        usage=usage,
        seconds=usage.seconds / max(1, min(said.concurrency, usage.calls)),
    )


def _mean_share(grades: Sequence[Grade]) -> float | None:
    return mean_scored(grade.share for grade in grades)


def _rows(said: Answers) -> list[_Row]:
    return [
        (label.task, verdict, label.met)
        for label, verdict in said.labels
        if verdict.met is not None
    ]


def _criteria(said: Answers) -> Criteria:
    rows = _rows(said)
    agreement = agreement_of(rows, len(said.labels) - len(rows))
    return Criteria(
        labels=len(said.labels),
        tasks=len({label.task for label, _ in said.labels}),
        unscored=agreement.unscored,
        commonest=_commonest(rows),
        agreement=agreement,
        kappa=_kappa(rows),
        brier=_brier(rows),
        above_chance=_above_chance(agreement.auc),
    )


def _commonest(rows: Sequence[_Row]) -> float:
    labels = Counter(label for _, _, label in rows)
    return max(labels.values(), default=0) / max(1, len(rows))


def _kappa(rows: Sequence[_Row]) -> Interval | None:
    data = np.array([[float(verdict.met or 0), float(label)] for _, verdict, label in rows])
    if not rows or _kappa_of(data) is None:
        return None
    tasks = [task for task, _, _ in rows]
    return cluster_interval(data, tasks, _kappa_of, classes=data[:, 1])


def _kappa_of(rows: NDArray[np.float64]) -> float | None:
    """Of labels that are all the same it would be 0 for any judge but one that says the same."""
    if len(set(rows[:, 1])) < 2:
        return None
    return kappa(rows[:, 0], rows[:, 1])


def _brier(rows: Sequence[_Row]) -> Interval | None:
    errors = _squares(rows)
    if not rows or len(errors) < len(rows):
        return None
    return cluster_share(errors, [task for task, _, _ in rows])


def _squares(rows: Sequence[_Row]) -> list[float]:
    return [
        (verdict.probability - label) ** 2
        for _, verdict, label in rows
        if verdict.probability is not None
    ]


def _above_chance(auc: Interval | None) -> Finding:
    """Whether an AUC is above one half; over too few tasks for a gate nothing is said here, too."""
    found = decide(_lead_of_auc(auc))
    if auc is None or auc.shown:
        return found
    reason = f"its AUC is over {auc.n} tasks that hold the rarer label, {MIN_UNITS} are needed"
    return replace(found, word="not testable here", needed=None, reason=reason)


def _lead_of_auc(auc: Interval | None) -> Comparison | None:
    """An AUC less one half, tested by its jackknife's t: it has no single differences."""
    if auc is None:
        return None
    from scipy.stats import t

    p = 2.0 * t.sf(abs(auc.value - 0.5) / auc.se, max(1, auc.n - 1)) if auc.se else 1.0
    return replace(_lead(auc, float(p)), smallest=0.0)


def _lead(found: Interval, p: float) -> Comparison:
    """What an estimate in [0, 1] is above one half, and the least lead that would show."""
    lead = replace(found, value=found.value - 0.5, low=found.low - 0.5, high=found.high - 0.5)
    return Comparison(lead, minimum_detectable(found.se or 0.0, df=found.n - 1), p)


def _wins(said: Answers, *, ties: float) -> dict[Preference, float]:
    rows = ((pair, better.score, worse.score) for pair, better, worse in said.preferences)
    return wins_of(rows, ties=ties)


def _preferences(said: Answers) -> Preferences:
    strict = _wins(said, ties=0.0)
    half = _wins(said, ties=0.5)
    tasks = [pair.task for pair in half]
    ties_half = cluster_share(list(half.values()), tasks) if half else None
    lead = None
    if ties_half is not None:
        lead = _lead(ties_half, sign_flip_p([win - 0.5 for win in half.values()], tasks))
    return Preferences(
        pairs=len(said.preferences),
        tasks=len({pair.task for pair, _, _ in said.preferences}),
        unscored=len(said.preferences) - len(half),
        ties=sum(win == 0.5 for win in half.values()),
        strict=cluster_share(list(strict.values()), tasks) if half else None,
        half=ties_half,
        above_chance=decide(lead, margin=MARGIN),
    )


def _calibrated(said: Answers, halves: Halves) -> CalibrationCheck:
    """Fit on one half and measure on the other; an empty response is never asked about."""
    rows = [
        (label.task, verdict, label.met)
        for label, verdict in said.labels
        if verdict.met is not None and not is_empty(label.response)
    ]
    fitted_on = set(halves.fitted_on)
    held_out = set(halves.held_out)
    one = [row for row in rows if row[0] in fitted_on]
    other = [row for row in rows if row[0] in held_out]
    if not one or not other:
        return CalibrationCheck(None, "labels of two tasks with readable verdicts are needed")
    if len(_squares(rows)) < len(rows):
        return CalibrationCheck(None, "sampled verdicts have no probability")
    try:
        p = scored(verdict.probability for _, verdict, _ in one)
        found = fit(p, [label for *_, label in one], judge=said.identity)
    except DataError as error:
        return CalibrationCheck(None, str(error))
    after = [(task, _moved(verdict, found), label) for task, verdict, label in other]
    tasks = [task for task, _, _ in other]
    pairs = list(zip(other, after, strict=True))
    right = [float(other[1].met == other[2]) - float(one[1].met == one[2]) for one, other in pairs]
    closer = np.subtract(_squares(other), _squares(after))
    better = decide_family({"right": compare(right, tasks), "closer": compare(closer, tasks)})
    return CalibrationCheck(
        calibration=found,
        before=agreement_of(other, 0),
        after=agreement_of(after, 0),
        commonest=_commonest(other),
        brier_before=_brier(other),
        brier_after=_brier(after),
        accuracy=better["right"],
        brier=better["closer"],
    )


def _moved(verdict: Verdict, calibration: Calibration) -> Verdict:
    p = float(apply(calibration, verdict.probability or 0.0, calibration.judge))
    return verdict.model_copy(update={"probability": p, "met": p > 0.5})


def compared(answers: Sequence[Answers]) -> dict[str, Finding]:
    """Every further judge minus the first, paired over what both scored, one family."""
    if len(answers) < 2:
        return {}
    first, *others = answers
    base, *names = _names(answers)
    asked: dict[str, Comparison | Finding | None] = {}
    for name, other in zip(names, others, strict=True):
        name = f"{name} over {base}"
        if first.labels:
            asked[f"{name}: criteria"] = _gap(_right(other), _right(first))
        if first.preferences:
            mine = _wins(other, ties=0.5)
            theirs = _wins(first, ties=0.5)
            asked[f"{name}: preferences"] = _gap(mine, theirs)
    return decide_family(asked)


def _names(answers: Sequence[Answers]) -> list[str]:
    """Their judges' names; of one judge that was read in two ways, with the reading."""
    plain = [said.judge for said in answers]
    full = [f"{said.judge}, {said.reading}" for said in answers]
    names = [
        long if plain.count(short) > 1 else short for short, long in zip(plain, full, strict=True)
    ]
    if len(set(names)) < len(names):
        raise DataError(f"{repeated(names)[0]} is there twice: give each judge once")
    return names


def _right(said: Answers) -> dict[Label, float]:
    return {
        label: float(verdict.met == label.met)
        for label, verdict in said.labels
        if verdict.met is not None
    }


def _gap(one: Mapping[Any, float], other: Mapping[Any, float]) -> Comparison | None:
    found = gains(one, other)
    return compare(list(found.values()), [key.task for key in found]) if found else None


def _advice(
    said: Answers,
    criteria: Criteria | None,
    preferences: Preferences | None,
    gate: Gate,
    check: CalibrationCheck,
) -> list[str]:
    """What to do next: mend what failed, and take what was found to help."""
    steps: list[str] = []
    unread = gate.share is not None and gate.share < LEAST_SHARE
    lost = sum(grade.score is None for grade in said.every)
    if unread or lost > MAX_UNSCORED * len(said.every):
        steps.append(
            "another reading: --reading sampled asks for its answer as JSON"
            if said.reading == "probability"
            else "look at the reasons for what is unscored, and try --reading probability"
        )
    leads = []
    if criteria:
        leads.append(("the criteria", criteria.above_chance))
    if preferences:
        leads.append(("the preferences", preferences.above_chance))
    if said.arm != "explicit" and not preferences:
        steps.append("give preferences: they alone speak of a rating")
    for what, found in leads:
        step = _next(what, found)
        steps += [step] if step else []
    # No line mends a ranking: a judge at chance would only be moved to the commonest label.
    if check.gains and criteria and criteria.above_chance.word == "supported":
        steps.append(
            "use its calibration in arm explicit: it helps on the tasks that it was not fitted on"
        )
    if not gate.passed and any(_shown(found) for _, found in leads):
        steps.append("a bigger judge")
    return steps


def _shown(found: Finding) -> bool:
    return found.difference is not None and found.difference.shown


def _next(what: str, found: Finding) -> str:
    """The step that a finding about a kind of label asks for; none where it holds."""
    gap = found.difference
    if gap is None:
        return "" if what == "the preferences" else f"labels of both kinds, met and not, for {what}"
    rarer = " that hold the rarer label" if what == "the criteria" else ""
    if not gap.shown:
        return f"more labels for {what}: of {MIN_UNITS} tasks at least, here are {gap.n}{rarer}"
    if found.word == "contradicted":
        return (
            f"look at the labels of {what}: the judge says the opposite. A label is yes where the "
            "sentence of the criterion holds of the response, for a pitfall, too"
            if what == "the criteria"
            else f"look at the labels of {what}: the judge prefers the other response"
        )
    if found.word == "undecided" and found.needed is not None:
        return (
            f"more labels for {what}: on about {found.needed:,} tasks{rarer} what is seen would be "
            "decided"
        )
    return ""
