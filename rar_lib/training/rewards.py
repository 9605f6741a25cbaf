"""Reward functions for TRL's GRPOTrainer: a judge with a rubric, or a rule.

    reward = RubricReward(judge, "implicit")
    GRPOTrainer(..., reward_funcs=reward, train_dataset=dataset_of(tasks))

The data set carries each task as a JSON string in the column ``task`` (a list of dicts may
come back from Arrow as a dict of lists, a string comes back as it was).
"""

from __future__ import annotations

import asyncio
import dis
import inspect
import math
import re
import textwrap
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from numbers import Real
from types import CodeType
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import ValidationError

from rar_lib.core import processes
from rar_lib.core.answers import same
from rar_lib.core.errors import DataError, RarError, UnscoredError
from rar_lib.core.files import digest, meaning
from rar_lib.core.prompts import in_order, shuffled, trl_row
from rar_lib.core.scoring import PREDEFINED, UNIFORM_WEIGHTS
from rar_lib.core.stats import mean_scored
from rar_lib.core.text import THOUGHTS, is_blank
from rar_lib.core.types import Arm, Grade, MultipleChoice, Rubric, Task, Usage, arm_named
from rar_lib.data.jsonl import explain, short
from rar_lib.data.questions import Completion, spoken
from rar_lib.evaluation.diagnostics import credit, flat_mass, groups, levelled, step_record
from rar_lib.evaluation.judge_roles import MAX_UNSCORED
from rar_lib.evaluation.multiple_choice import answer_letter, last_box
from rar_lib.judging.chat import together
from rar_lib.judging.judge import Judge
from rar_lib.rubrics.contrast import Values, contrast_weights, weighted_score
from rar_lib.rubrics.dropout import drop_from_task

if TYPE_CHECKING:
    from datasets import Dataset

LogMetric = Callable[[str, float], None]
OnStep = Callable[[dict[str, Any]], None]


class Reward(Protocol):
    """What training needs of a reward beside being called by TRL.

    Attributes:
        arm: name of the method.
        on_step: is given one record a call; see :func:`rar_lib.evaluation.diagnostics.step_record`.
    """

    arm: Any
    on_step: OnStep | None

    def identity(self) -> dict[str, Any]:
        """Everything that can change a reward, as JSON: part of the identity of a run."""
        ...


def code_of(rule: Callable[..., Any]) -> dict[str, Any]:
    """What a caller's own function or object does, as JSON: part of the identity of a run.

    ``code`` is a digest of its source, and of that of the functions and classes of its module that
    it names. Comments and docstrings do not count (:func:`rar_lib.core.files.meaning`), but for a
    lambda in the middle of a call, of which whole lines are taken. ``values`` are the texts,
    numbers, patterns, and tuples of them, that those read by name: from the module, from the
    function around them, as defaults, as fields of an object, as arguments of a partial. What an
    object says itself to be made of (``made_of``) is taken in place of all that.

    What other modules do is not seen, nor what a list or a dict holds. Where there is no source, as
    of a builtin, or of a function that was typed at a prompt, ``code`` is ``None``: its qualified
    name and the values are all that is known of it.
    """
    values: dict[str, str] = {}
    while isinstance(rule, partial):
        values |= _lasting(dict(enumerate(rule.args)) | rule.keywords)
        rule = rule.func
    if (said := getattr(rule, "made_of", None)) is not None:
        return {"made_of": said, "values": values} if values else said
    owner = rule.__self__ if inspect.ismethod(rule) else rule
    if owner is rule and inspect.isroutine(rule):
        return _code(rule, values)
    values |= _lasting(getattr(owner, "__dict__", {}))
    found = _code(owner if inspect.isclass(owner) else type(owner), values)
    return found | {"name": getattr(rule, "__qualname__", found["name"])}


def own_code(*parts: object) -> list[dict[str, Any]]:
    """The code of a reward, of a judge, or of its messages, if its class is the caller's own.

    What those say of themselves is the name of the class with its fields; the library's own classes
    are part of the code that decides a step.
    """
    kinds = [type(part) for part in parts]
    return [_code(kind, {}) for kind in kinds if kind.__module__.partition(".")[0] != "rar_lib"]


def _code(first: Any, values: dict[str, str]) -> dict[str, Any]:
    """A function or a class, with what it names of its own module.

    Args:
        values: that are known beforehand.
    """
    texts: list[str | None] = []
    left = [first]
    met = []
    while left:
        one = left.pop()
        if one in met:
            continue
        met.append(one)
        texts.append(_source(one))
        named = _named(one)
        values |= {f"{one.__qualname__}: {key}": text for key, text in _lasting(named).items()}
        left += [value for value in named.values() if _written_in(value, first.__module__)]
    code = digest(texts) if any(texts) else None
    return {"name": first.__qualname__, "code": code, "values": values}


def _source(one: Any) -> str | None:
    """A digest of what it does, if its source can be read."""
    try:
        text = textwrap.dedent(inspect.getsource(one))
    except (OSError, TypeError):
        return None
    try:
        return meaning(text)
    except SyntaxError:  # lines out of the middle of a call
        return digest(text)


def _named(one: Any) -> dict[str, Any]:
    """What a function or a class may read by name, in an order that stays."""
    if inspect.isclass(one):
        return {base.__name__: base for base in one.__bases__} | dict(vars(one))
    if not inspect.isfunction(one):
        return {}
    known = one.__globals__
    found = {name: known[name] for name in sorted(_names(one.__code__)) if name in known}
    around = zip(one.__code__.co_freevars, one.__closure__ or (), strict=True)
    found |= {name: cell.cell_contents for name, cell in around}
    return found | {name: of.default for name, of in inspect.signature(one).parameters.items()}


def _names(code: CodeType) -> set[str]:
    """Names that a function reads of its module, those inside of it and comprehensions included."""
    inside = [one for one in code.co_consts if isinstance(one, CodeType)]
    steps = dis.get_instructions(code)
    own = {step.argval for step in steps if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    return own.union(*map(_names, inside))


def _written_in(value: Any, module: str) -> bool:
    own = inspect.isfunction(value) or inspect.isclass(value)
    return own and value.__module__ == module


def _lasting(named: Mapping[Any, Any]) -> dict[str, str]:
    """Those of the values that stay as they are, as text; names like ``__file__`` say nothing."""
    texts = {str(name): _text(value) for name, value in named.items()}
    return {name: text for name, text in texts.items() if text and not name.startswith("__")}


def _text(value: Any) -> str | None:
    """A text, a number, a pattern or a tuple of them as text; ``None`` of anything else."""
    if isinstance(value, re.Pattern):
        return ascii((value.pattern, value.flags))
    if isinstance(value, tuple):
        parts = [_text(part) for part in value]
        return None if None in parts else f"({', '.join(map(str, parts))})"
    return ascii(value) if isinstance(value, str | int | float) else None


#: Arms whose judge reads the rubric of the task.
_BY_RUBRIC = ("explicit", "implicit")


def check_keep(keep: float, arm: str) -> None:
    """Refuse rubric dropout where it would do nothing.

    Raises:
        DataError: ``keep`` is not in (0, 1], or below 1 for an arm that reads no rubric.
    """
    if not 0.0 < keep <= 1.0:
        raise DataError(f"keep is {keep}: it is the share of criteria to use and must be in (0, 1]")
    if keep < 1.0 and arm not in _BY_RUBRIC:
        raise DataError(
            f"keep is {keep}, but arm {arm!r} is not graded step by step by the task's rubric: "
            f"rubric dropout is for {' and '.join(_BY_RUBRIC)}; leave keep out"
        )


def check_contrast(contrast: float, arm: str) -> None:
    """Refuse contrast weights where there are no criteria to weigh.

    Raises:
        DataError: ``contrast`` is not in [0, 1], or above 0 for another arm than ``explicit``.
    """
    if not 0.0 <= contrast <= 1.0:
        raise DataError(
            f"contrast is {contrast}: it is the share of the weights that goes by contrast and "
            "must be in [0, 1]"
        )
    if contrast > 0.0 and arm != "explicit":
        raise DataError(
            f"contrast is {contrast}, but arm {arm!r} does not add up the task's criteria: "
            "contrast weights are for explicit; leave contrast out"
        )


def check_unscored(most: float) -> None:
    """Refuse a limit that no step reaches, or every one.

    Raises:
        DataError: it is no share.
    """
    if not isinstance(most, Real) or not 0.0 <= most <= 1.0:  # not a number, too
        raise DataError(
            f"max_unscored is {most!r}: it is the share of a step's responses that may be without "
            "a score and must be a number in [0, 1]; a quarter is 0.25"
        )


def _check_way(thoughts: object, on_step: object) -> None:
    """Refuse what would fail in the first step, when a model has been loaded and has written.

    Raises:
        DataError: the tags are one text, whose letters would be the tags, or nobody can be told.
    """
    if isinstance(thoughts, str):
        raise DataError(f"thoughts is {thoughts!r}: give the names in a tuple, ({thoughts!r},)")
    if on_step is not None and not callable(on_step):
        raise DataError(
            f"on_step is {short(on_step)}: give a function that takes a step's record, such as "
            "steps.append"
        )


@dataclass(frozen=True)
class _Part:
    """What was graded in a step: by this process, or by all of them one after another.

    Attributes:
        keys: the tasks' column, neighbours of one group alike.
        tasks: as the judge saw them.
        texts: what it was shown of the responses.
        grades: none without a judge.
        only_thoughts: how many responses say nothing behind their thoughts.
        seconds: until the last of them was graded.
    """

    keys: list[str] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    scores: list[float | None] = field(default_factory=list)
    seconds: float = 0.0
    tasks: list[Task] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    grades: list[Grade] = field(default_factory=list)
    only_thoughts: int = 0

    def packed(self) -> dict[str, Any]:
        """All of it as JSON."""
        tasks = [task.model_dump_json() for task in self.tasks]
        grades = [grade.model_dump_json() for grade in self.grades]
        return vars(self) | {"tasks": tasks, "grades": grades}

    @staticmethod
    def unpacked(value: Mapping[str, Any]) -> _Part:
        """What :meth:`packed` gave."""
        tasks = [task_from(text) for text in value["tasks"]]
        grades = [Grade.model_validate_json(text) for text in value["grades"]]
        return _Part(**dict(value) | {"tasks": tasks, "grades": grades})


def _of_all(
    part: _Part, failure: RarError | None = None, *, aside: bool = False
) -> tuple[_Part, slice]:
    """What all processes graded, and where this one's lies in it.

    A group may lie in two of them, a share of unscored responses is that of the whole step, and
    all must stop where one does.

    Raises:
        RarError: one of them failed.
    """
    parts = [_Part.unpacked(one) for one in processes.gathered(part.packed(), failure, aside=aside)]
    begin = sum(len(one.scores) for one in parts[: processes.index()])
    whole = _Part(
        keys=[key for one in parts for key in one.keys],
        lengths=[length for one in parts for length in one.lengths],
        scores=[score for one in parts for score in one.scores],
        seconds=max(one.seconds for one in parts),
        tasks=[task for one in parts for task in one.tasks],
        texts=[text for one in parts for text in one.texts],
        grades=[grade for one in parts for grade in one.grades],
        only_thoughts=sum(one.only_thoughts for one in parts),
    )
    return whole, slice(begin, begin + len(part.scores))


def _shared(log_metric: LogMetric | None) -> bool:
    """Whether other processes grade their part of this step and wait for ours.

    Known of TRL's trainer, which alone gives ``log_metric``: it calls a reward in all at once.
    """
    return log_metric is not None and processes.count() > 1


@dataclass
class RubricReward:
    """Async reward callable: completions in, floats in [0, 1] or ``None`` out.

    ``None`` is outside TRL's group baseline and gets no advantage: a failed judgement
    teaches nothing, neither good nor bad. A flat group, whose rewards differ by no more than the
    judge's rounding, gets one value and so no advantage either (see
    :func:`rar_lib.evaluation.diagnostics.levelled`); the record of the step keeps what was scored.
    A group is neighbours with the same task: TRL hands the rollouts of a prompt over side by side.
    Among several processes each grades its own rollouts; a group, the record, and the share above
    which training stops are those of the whole step.

    Attributes:
        judge: who grades.
        arm: how.
        max_unscored: share of a batch above which training stops instead of going on with
            a reward that mostly is not there.
        keep: share of a rubric's criteria that a step is graded by, in (0, 1]; below 1 is
            rubric dropout (see :mod:`rar_lib.rubrics.dropout`), for the arms that read
            the rubric.
        least: criteria that dropout leaves at least, or all where a rubric has fewer.
        contrast: share of the criteria's weights that goes to those which tell the rollouts of a
            group apart, in [0, 1]; above 0 for the explicit arm alone (see
            :mod:`rar_lib.rubrics.contrast`). Needs whole groups in a call, and refuses single
            responses to a task that comes back after another. ``scores`` and ``mean`` of the record
            are then of these weights, and ``mean_plain`` of the plain ones.
        seed: decides, with the trainer's step, which criteria those are.
        thoughts: names of the tags between which a reasoning policy thinks: the judge is shown what
            comes behind them. A thought that was cut off has no answer: an empty response.
        on_step: is given a record of each call: scores, spread, flat groups, length and its
            correlation with the reward, unscored share, ``only_thoughts`` (share of the responses
            that say nothing behind their thoughts, and so are empty), seconds of judging, and for
            the arms with criteria ``flat_mass``, ``credit`` by category and ``criteria`` by task
            and id; and the ``rollouts`` themselves: task, text, tokens, score, and what the judge
            said of each.

    Raises:
        DataError: there is no such arm, the judge is none, ``keep`` or ``contrast`` is no share or
            does nothing in this arm, ``least`` is below 1, or another setting is of no use.
    """

    judge: Judge
    arm: Arm
    max_unscored: float = MAX_UNSCORED
    keep: float = 1.0
    least: int = 1
    contrast: float = 0.0
    seed: int = 0
    thoughts: tuple[str, ...] = THOUGHTS
    on_step: OnStep | None = None

    def __post_init__(self) -> None:
        if not callable(getattr(self.judge, "grade", None)):
            raise DataError(
                f"judge is {short(self.judge)} ({type(self.judge).__name__}), which grades "
                "nothing: give Judge(Chat(URL, NAME))"
            )
        arm_named(self.arm)
        check_keep(self.keep, self.arm)
        check_contrast(self.contrast, self.arm)
        check_unscored(self.max_unscored)
        _check_way(self.thoughts, self.on_step)
        if self.least < 1:
            raise DataError(f"least is {self.least}: at least one criterion must be left")

    @property
    def __name__(self) -> str:
        """The name under which TRL logs this reward."""
        return f"reward_{self.arm}"

    def identity(self) -> dict[str, Any]:
        """Arm, rubric dropout, contrast, all that the judge is made of, and your own code of it."""
        return {
            "arm": self.arm,
            "judge": self.judge.made_of,
            "own": own_code(self, self.judge, self.judge.messages),
            "keep": self.keep,
            "least": self.least if self.keep < 1.0 else None,
            "contrast": self.contrast,
            "thoughts": list(self.thoughts),
            "seed": self.seed if self.keep < 1.0 else None,
        }

    async def __call__(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Completion],
        task: Sequence[str] | None = None,
        *,
        completion_ids: Sequence[Sequence[int]] | None = None,
        log_metric: LogMetric | None = None,
        trainer_state: Any = None,
        **_: Any,
    ) -> list[float | None]:
        """Rewards in the order of ``completions``, those of a flat group made equal.

        Raises:
            UnscoredError: more than ``max_unscored`` of the batch could not be scored.
            DataError: rubric dropout, and the trainer does not say which step this is.
        """
        grading = self._graded(completions, task, completion_ids, trainer_state)
        if _shared(log_metric):
            part, own = await _together_with_others(grading)
        else:
            part = await grading
            own = slice(len(part.scores))
        if not part.scores:
            return []
        of = groups(part.keys)
        scores = self._by_contrast(part.tasks, part.grades, of) if self.contrast else part.scores
        record = _record(part, scores, of)
        if self.arm in ("explicit", "predefined"):
            record |= self._by_criterion(part.tasks, part.grades, of)
        if self.contrast:
            record["mean_plain"] = mean_scored(part.scores)
        _report(record, self.on_step, log_metric)
        self.check_scored(scores, part.grades)
        return levelled(scores, of)[own]

    # TRL from 0.27 to 1.13 awaits a reward if inspect or asyncio take it for an async function.
    # They ask for these: an object that is callable and has them counts as one.
    __code__ = __call__.__code__
    __defaults__ = __call__.__defaults__
    __kwdefaults__ = __call__.__kwdefaults__

    def check_scored(self, scores: Sequence[float | None], grades: Sequence[Grade]) -> None:
        """Stop where more than ``max_unscored`` of a step's responses have no score.

        Args:
            grades: that say why.

        Raises:
            UnscoredError: it is more; names the first reason, and the judge.
        """
        missing = scores.count(None)
        if missing and missing / len(scores) > self.max_unscored:
            reason = next((grade.reason for grade in grades if grade.reason), _NO_REASON)
            raise UnscoredError(
                f"{missing} of {len(scores)} responses could not be scored (limit "
                f"{self.max_unscored:.0%}); the first reason: {reason}. Check the judge "
                f"{self.judge.chat.model!r} at {self.judge.chat.where}"
            )

    async def _graded(
        self,
        completions: Sequence[Completion],
        column: Sequence[str] | None,
        ids: Sequence[Sequence[int]] | None,
        trainer_state: Any,
    ) -> _Part:
        if not completions:
            return _Part()
        tasks = [self._shown(task, trainer_state) for task in tasks_from(column, len(completions))]
        texts = [spoken(completion, self.thoughts) for completion in completions]
        items = list(zip(tasks, texts, strict=True))
        start = time.perf_counter()
        grades = await together(self.judge.grade(task, text, self.arm) for task, text in items)
        return _Part(
            keys=list(column or ()),
            lengths=_lengths(completions, ids),
            scores=[grade.score for grade in grades],
            seconds=time.perf_counter() - start,
            tasks=tasks,
            texts=texts,
            grades=grades,
            only_thoughts=_only_thoughts(completions, texts),
        )

    def _by_contrast(
        self, tasks: Sequence[Task], grades: Sequence[Grade], of: Sequence[range]
    ) -> list[float | None]:
        """The scores under the weights that each group's contrast gives."""
        _check_side_by_side([tasks[group[0]].id for group in of], of)
        found: list[float | None] = [None] * len(grades)
        for group in of:
            rubric = tasks[group[0]].rubric
            values = [_values(grades[place]) for place in group]
            if rubric is None:
                raise DataError(f"task {tasks[group[0]].id!r} has no rubric to weigh")
            weights = contrast_weights(rubric, values, self.judge.weights, self.contrast)
            for place, own in zip(group, values, strict=True):
                if grades[place].score is not None:
                    found[place] = weighted_score(rubric, own, weights)
        return found

    def _by_criterion(
        self, tasks: Sequence[Task], grades: Sequence[Grade], of: Sequence[range]
    ) -> dict[str, Any]:
        own = self.arm == "explicit"
        rubrics: list[Rubric] = [
            (tasks[group[0]].rubric if own else None) or PREDEFINED for group in of
        ]
        weights = self.judge.weights if own else UNIFORM_WEIGHTS
        ids = [tasks[group[0]].id for group in of]
        by_category, by_criterion = credit(grades, of, rubrics, ids)
        return {
            "flat_mass": flat_mass(grades, of, rubrics, weights),
            "credit": by_category,
            "criteria": by_criterion,
        }

    def _shown(self, task: Task, trainer_state: Any) -> Task:
        """The task with the part of its rubric that is due in this step.

        The trainer's count of finished steps comes back with a checkpoint, so the same step
        is graded by the same part after a restart.
        """
        if self.keep == 1.0:
            return task
        if trainer_state is None:
            raise DataError(
                f"keep is {self.keep} and there is no trainer_state: rubric dropout needs the "
                "trainer's step; pass it, or use keep=1.0 to grade by the whole rubric"
            )
        step = trainer_state.global_step
        return drop_from_task(task, self.keep, seed=self.seed, step=step, least=self.least)


def _check_side_by_side(ids: Sequence[str], of: Sequence[range]) -> None:
    """Refuse responses to one task that lie apart one by one: each would be a group of its own.

    Args:
        ids: of the groups' tasks. Two groups of one task are two prompts of a step.

    Raises:
        DataError: a task comes back after another one, with a single response.
    """
    for name, group in zip(ids, of, strict=True):
        if len(group) == 1 and ids.count(name) > 1:
            raise DataError(
                f"a single response to task {name!r} lies apart from its others: contrast weights "
                "need the responses to a task side by side; sort the batch by task, or use "
                "contrast=0.0"
            )


#: Of a judge of one's own that leaves a response without a score, or a criterion without a verdict
#: that contrast weights need.
_NO_REASON = "the judge gave no verdict, and no reason"


def _values(grade: Grade) -> Values:
    """What Eq. 1 adds up: probabilities where there are some, else verdicts.

    Nothing of a grade that was refused as a whole: it has no verdicts.
    """
    return {verdict.criterion_id: verdict.value for verdict in grade.verdicts}


async def _together_with_others(grading: Coroutine[Any, Any, _Part]) -> tuple[_Part, slice]:
    """:func:`_of_all`, with other rewards of the trainer at work in the same loop."""
    part = _Part()
    failure = None
    async with processes.in_turn() as turn:
        try:
            part = await grading
        except RarError as error:
            failure = error
        await turn()
        return await asyncio.to_thread(_of_all, part, failure, aside=True)


def exact_match(task: Task, text: str) -> bool:
    """Whether a response gives the one right answer.

    Multiple choice: the letter that :func:`rar_lib.evaluation.multiple_choice.answer_letter`
    reads is the right one, options shown in the order of seed 0. Else: the last box, the text in
    the last ``<answer>`` tags, the last line, what a sentence at its end names as the answer, or
    the whole text says the same as the reference (:func:`rar_lib.core.answers.same`): numbers by
    their value, words in any case; signs, decimal points, fractions and comparison signs count. An
    equation such as ``x = 4`` is not taken for the answer 4: which unknown was asked for, no rule
    can tell.

    Raises:
        DataError: the task has no reference to compare with.
    """
    if isinstance(task, MultipleChoice):
        return answer_letter(text, in_order(task, 0)).letter == shuffled(task, 0)[1]
    if task.reference is None:
        raise DataError(f"task {task.id!r} has no reference: rlvr needs an answer to check")
    lines = text.strip().splitlines() or [""]
    said = [*_tagged(text)[-1:], lines[-1]]
    named = [_NAMED.split(part)[-1] for part in said]
    parts = [last_box(text), *said, *named, text]
    return any(same(part, task.reference) for part in parts if part)


#: How a sentence begins that names the answer: "Answer:", "So the final answer is".
_NAMED = re.compile(
    r"(?:^|(?<=[.!?])\s)\W{0,20}(?:(?:so|thus|therefore|hence)\W{1,5})?(?:(?:the|my|our)\s+)?"
    r"(?:(?:final|correct|right)\s+)?answer\s*(?:is\b\s*:?|[:=])\s*",
    re.IGNORECASE,
)
#: The tags between which policies are often told to answer.
_TAG = re.compile(r"<(/?)answer>", re.IGNORECASE)


def _tagged(text: str) -> list[str]:
    """What stands between an opening tag and the closing one that follows it."""
    tags = pairwise(_TAG.finditer(text))
    return [text[one.end() : two.start()] for one, two in tags if two[1] and not one[1]]


@dataclass
class VerifiableReward:
    """RLVR, the paper's Remark 1: one criterion of weight 1, checked by a rule, no judge.

    Attributes:
        verify: task and response -> right or wrong, or how right in [0, 1]; never without a score:
            anything else is refused by name.
        name: what the rule is called in the identity of a run.
        thoughts: names of the tags around what is thought and not said.

    Raises:
        DataError: the rule is no function, or another setting is of no use.
    """

    verify: Callable[[Task, str], float] = exact_match
    name: str = "exact match"
    arm: str = "rlvr"
    thoughts: tuple[str, ...] = THOUGHTS
    on_step: OnStep | None = None

    def __post_init__(self) -> None:
        if not callable(self.verify):
            raise DataError(
                f"verify is {short(self.verify)}: give a function of a task and a response"
            )
        _check_way(self.thoughts, self.on_step)

    @property
    def __name__(self) -> str:
        """The name under which TRL logs this reward."""
        return "reward_rlvr"

    def identity(self) -> dict[str, Any]:
        """The name of the rule, and what it does (:func:`code_of`)."""
        return {
            "arm": self.arm,
            "verify": self.name,
            "rule": code_of(self.verify),
            "own": own_code(self),
            "thoughts": list(self.thoughts),
        }

    def __call__(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Completion],
        task: Sequence[str] | None = None,
        *,
        completion_ids: Sequence[Sequence[int]] | None = None,
        log_metric: LogMetric | None = None,
        **_: Any,
    ) -> list[float | None]:
        """What the rule says, in the order of ``completions``.

        Groups that a rule of many values leaves flat are levelled as those of a judge are
        (:func:`rar_lib.evaluation.diagnostics.levelled`); the record keeps what the rule said.

        Raises:
            DataError: the rule said something else than how right a response is.
        """
        part = _Part()
        failure = None
        try:
            part = self._checked(completions, task, completion_ids)
        except RarError as error:
            if not _shared(log_metric):
                raise
            failure = error
        whole = part
        own = slice(len(part.scores))
        if _shared(log_metric):
            whole, own = _of_all(part, failure)
        if not whole.scores:
            return []
        of = groups(whole.keys)
        _report(_record(whole, whole.scores, of), self.on_step, log_metric)
        return levelled(whole.scores, of)[own]

    def score(self, task: Task, text: str) -> float:
        """How right the rule says that a response is, in [0, 1].

        Raises:
            DataError: it says something else.
        """
        said = self.verify(task, text)
        try:
            value = float(said)
        except (TypeError, ValueError, OverflowError):
            value = math.nan
        if not 0.0 <= value <= 1.0:
            raise DataError(
                f"the rule {self.name!r} gave {short(said)} for a response to task {task.id!r}; "
                "allowed: true, false, or a number in [0, 1], for every response"
            )
        return value

    def _checked(
        self,
        completions: Sequence[Completion],
        column: Sequence[str] | None,
        ids: Sequence[Sequence[int]] | None,
    ) -> _Part:
        if not completions:
            return _Part()
        start = time.perf_counter()
        tasks = tasks_from(column, len(completions))
        texts = [spoken(completion, self.thoughts) for completion in completions]
        return _Part(
            keys=list(column or ()),
            lengths=_lengths(completions, ids),
            scores=[self.score(one, text) for one, text in zip(tasks, texts, strict=True)],
            seconds=time.perf_counter() - start,
            tasks=tasks,
            texts=texts,
            only_thoughts=_only_thoughts(completions, texts),
        )


def task_from(column: str) -> Task:
    """The task of a data set's row, with its options if it has some."""
    kind = MultipleChoice if '"options":' in column else Task
    return kind.model_validate_json(column)


def tasks_from(task: Any, count: int) -> list[Task]:
    """The tasks of a batch.

    Raises:
        DataError: the data set has no such column, or something else in it.
    """
    make = "make the data set by rar_lib.dataset_of(tasks), or add a column task of JSON strings"
    if task is None:
        raise DataError(f"the data set has no column 'task': {make}")
    if isinstance(task, str) or len(task) != count:
        raise DataError(f"column 'task' holds {short(task)}; allowed: one text a row: {make}")
    found = []
    for row, column in enumerate(task):
        try:
            found.append(task_from(column))
        except (ValidationError, TypeError) as error:
            why = str(explain(error, Task)[0] if isinstance(error, ValidationError) else error)
            raise DataError(
                f"column 'task', row {row}: found {short(column)}, which is no task ({why}): {make}"
            ) from error
    return found


def _lengths(completions: Sequence[Completion], ids: Sequence[Sequence[int]] | None) -> list[int]:
    """Tokens of each response; words where the trainer gives no tokens."""
    if ids is not None:
        return [len(row) for row in ids]
    return [len(spoken(completion, ()).split()) for completion in completions]


def _only_thoughts(completions: Sequence[Completion], texts: Sequence[str]) -> int:
    """How many of the responses are empty because they say nothing behind their thoughts."""
    both = zip(completions, texts, strict=True)
    return sum(is_blank(said) and not is_blank(spoken(whole, ())) for whole, said in both)


def _record(part: _Part, scores: Sequence[float | None], of: Sequence[range]) -> dict[str, Any]:
    """What every reward says of a step."""
    said = [grade.model_dump(mode="json", exclude=_NOT_SHOWN) for grade in part.grades]
    return step_record(scores, part.lengths, of) | {
        "only_thoughts": part.only_thoughts / len(scores),
        "rollouts": _rollouts(part, scores, said),
        "judge_seconds": part.seconds,
        "usage": sum((grade.usage for grade in part.grades), Usage()).model_dump(),
    }


#: Of a grade, what does not belong to a rollout or stands in it already.
_NOT_SHOWN = {"arm", "score", "usage"}


def _rollouts(
    part: _Part, scores: Sequence[float | None], said: Sequence[Mapping[str, Any]] = ()
) -> list[dict[str, Any]]:
    """What was asked, answered and judged, one a rollout, as JSON."""
    rows = zip(part.tasks, part.texts, part.lengths, scores, strict=True)
    found: list[dict[str, Any]] = [
        {"task": task.model_dump(mode="json"), "text": text, "tokens": tokens, "score": score}
        for task, text, tokens, score in rows
    ]
    for row, judged in zip(found, said or [{}] * len(found), strict=True):
        row |= judged
    return found


#: The scalars of a record that go to the trainer's own log.
_SCALARS = (
    "mean",
    "spread",
    "unscored",
    "only_thoughts",
    "flat_groups",
    "flat_mass",
    "length_correlation",
    "judge_seconds",
)


def _report(record: dict[str, Any], on_step: OnStep | None, log_metric: LogMetric | None) -> None:
    """Hand the record on, and its scalars to the trainer's log; what is undefined is left out."""
    if on_step is not None:
        on_step(record)
    if log_metric is None:
        return
    scalars = {name: record.get(name) for name in _SCALARS}
    scalars |= {f"credit/{key}": value for key, value in record.get("credit", {}).items()}
    for name, value in scalars.items():
        if value is not None:
            log_metric(name, value)


def checked_tasks(tasks: Iterable[Task]) -> list[Task]:
    """The tasks of a data set to be.

    Raises:
        DataError: there are none, or something else is among them.
    """
    several = isinstance(tasks, Iterable) and not isinstance(tasks, str | Task)
    found: list[Task] = list(tasks) if several else [tasks]  # type: ignore[list-item]
    if not found:
        raise DataError("there are no tasks to make a data set of")
    for one in found:
        if not isinstance(one, Task):
            raise DataError(
                f"among the tasks is {short(one)} ({type(one).__name__}), which is no Task: a file "
                "is read by load_tasks(path); rows of your own keep their column prompt and get "
                "one more, task, with task.model_dump_json()"
            )
    return found


def dataset_of(tasks: Sequence[Task], system: str | None = None) -> Dataset:
    """Prompts for TRL, each with its task as a JSON string.

    Args:
        system: content of a system turn to begin the conversations with; by default none, the
            tasks' own turns are all that is asked. One whose history begins with a system turn
            keeps that one.

    Raises:
        DataError: there are no tasks, or something else is among them.
    """
    rows = [trl_row(task, system) for task in checked_tasks(tasks)]
    from datasets import Dataset

    return Dataset.from_list(rows)
