"""Adapter of the reward for a trainer that is not TRL: verl, verifiers, ms-swift, OpenRLHF.

    compute_score = for_verl(reward)             # and register_verl() for adv_estimator=rar_grpo
    MyTaskset = taskset_for_verifiers(reward, tasks)    # prime-rl trains on it too
    orms["rar"] = for_ms_swift(reward)           # --reward_funcs rar
    reward_func = for_openrlhf(reward)           # --reward.remote_url file.py

None of these trainers has TRL's "no reward". What becomes of a response that could not be scored
is chosen here so that it teaches nothing, and is said at each function. Nothing of these libraries
is imported before a function needs it.

Rubric dropout (``keep`` below 1) needs the trainer's step, and contrast weights whole groups: only
ms-swift hands them to a reward.
"""

from __future__ import annotations

import logging
import math
import statistics
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pydantic import ValidationError

from rar_lib.core.errors import DataError, UnscoredError
from rar_lib.core.prompts import policy_messages
from rar_lib.core.stats import scored
from rar_lib.core.types import Task
from rar_lib.data.jsonl import short
from rar_lib.data.questions import Completion, spoken
from rar_lib.evaluation.diagnostics import advantages, groups
from rar_lib.evaluation.judge_roles import MAX_UNSCORED
from rar_lib.judging.chat import run_sync
from rar_lib.training.rewards import (
    RubricReward,
    VerifiableReward,
    check_unscored,
    checked_tasks,
    task_from,
)

_log = logging.getLogger(__name__)
AnyReward = RubricReward | VerifiableReward
#: Name of the advantage estimator in verl's configuration.
RAR_GRPO = "rar_grpo"
#: What verl's own estimator adds to a group's standard deviation.
_VERL_EPSILON = 1e-6


def _check_kind(reward: object) -> None:
    """Refuse what is no reward before a trainer has loaded a model for it.

    Raises:
        DataError: it is none of this library's.
    """
    if not isinstance(reward, RubricReward | VerifiableReward):
        raise DataError(
            f"the reward is {short(reward)} ({type(reward).__name__}): give RubricReward(judge, "
            "arm), or VerifiableReward(rule) for a function of a task and a response"
        )


def _checked(reward: AnyReward, trainer: str) -> AnyReward:
    """The reward, if it needs nothing that the trainer does not tell."""
    _check_kind(reward)
    if isinstance(reward, RubricReward) and reward.keep < 1.0:
        raise DataError(
            f"keep is {reward.keep}: rubric dropout needs the trainer's step, which {trainer} does "
            "not give to a reward; use keep=1.0"
        )
    if isinstance(reward, RubricReward) and reward.contrast > 0.0:
        raise DataError(
            f"contrast is {reward.contrast}: contrast weights need a whole group at a time, and "
            f"{trainer} hands over one response; use contrast=0.0"
        )
    return reward


async def _score(
    reward: AnyReward, task: object, completion: Completion
) -> tuple[float | None, str]:
    """Score in [0, 1] or ``None``, and the reason why not."""
    try:
        one = task_from(task)  # type: ignore[arg-type]
    except (ValidationError, TypeError) as error:
        raise DataError(
            f"the row holds {short(task)}, which is no task: make the data set by "
            "rar_lib.training.adapters (verl_rows, taskset_for_verifiers), or put "
            "task.model_dump_json() there"
        ) from error
    text = spoken(completion, reward.thoughts)
    if isinstance(reward, VerifiableReward):
        return reward.score(one, text), ""
    grade = await reward.judge.grade(one, text, reward.arm)
    if grade.score is None:
        _log.warning("task %s: not scored: %s", one.id, grade.reason)
    return grade.score, grade.reason or ""


# verl


def verl_rows(
    tasks: Sequence[Task], source: str = "rar", system: str | None = None
) -> list[dict[str, Any]]:
    """Rows of verl's data set: the task goes where verl keeps what an answer is checked against.

        Dataset.from_list(verl_rows(tasks)).to_parquet("train.parquet")

    Args:
        source: groups the validation metrics, ``val-core/<source>/...``.
        system: as in :func:`rar_lib.dataset_of`.

    Raises:
        DataError: there are no tasks, or something else is among them.
    """
    return [
        {
            "data_source": source,
            "prompt": policy_messages(task, system),
            "ability": "rubric",
            "reward_model": {"style": "rubric", "ground_truth": task.model_dump_json()},
            "extra_info": {"index": place, "id": task.id},
        }
        for place, task in enumerate(checked_tasks(tasks))
    ]


def for_verl(reward: AnyReward) -> Callable[..., Awaitable[dict[str, float | str]]]:
    """verl's ``compute_score``: async, one response a call, in every reward loop worker.

    A response that could not be scored gets NaN, ``unscored`` 1 and the ``reason``: a number that
    no later step can take for a grade. :func:`rar_grpo` keeps it out of its group and gives it no
    advantage. With verl's own estimators one NaN spreads over its group, and verl throws the
    optimiser step away because of a gradient that is not finite: nothing wrong is taught, and
    nothing else either. In a step or validation with one, verl's own mean score is NaN, too;
    ``unscored`` and the line that :func:`rar_grpo` logs say how it stands.

    Concurrency is that of the judge's chat in each of ``reward.num_workers`` processes.

    Raises:
        DataError: the reward uses rubric dropout or contrast weights.
    """
    reward = _checked(reward, "verl")

    # A function and no object with __call__: verl asks inspect.iscoroutinefunction.
    async def compute_score(
        data_source: str,
        solution_str: str,
        ground_truth: str,
        extra_info: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> dict[str, float | str]:
        score, reason = await _score(reward, ground_truth, solution_str)
        failed = score is None
        # The same keys and types for every sample: verl makes arrays of them.
        return {
            "score": math.nan if score is None else score,
            "unscored": float(failed),
            "reason": reason,
        }

    return compute_score


def rar_grpo(
    token_level_rewards: Any,
    response_mask: Any,
    index: Sequence[Hashable],
    *,
    config: Any = None,
    max_unscored: float = MAX_UNSCORED,
    **_: Any,
) -> tuple[Any, Any]:
    """verl's advantage estimator GRPO, for a batch in which some rewards are NaN.

    The same numbers as verl's ``grpo`` where everything is scored and no group is flat. It sees all
    responses of a step, so the share of unscored ones is that of the whole step.

    Args:
        token_level_rewards: tensor, responses x tokens; their sum is a response's reward.
        response_mask: same shape, 1 for the response's tokens.
        index: the prompt of each response.
        config: verl's ``algorithm``; of it ``norm_adv_by_std_in_grpo`` is read.
        max_unscored: share of a step above which training stops.

    Returns:
        Advantages and returns, both responses x tokens.

    Raises:
        UnscoredError: more than ``max_unscored`` of the step could not be scored.
    """
    sums = token_level_rewards.sum(dim=-1).tolist()
    scores = [None if math.isnan(value) else value for value in sums]
    known = scored(scores)
    missing = len(scores) - len(known)
    if missing:
        mean = f"{statistics.fmean(known):.3f}" if known else "none"
        _log.warning("%d of %d responses unscored; mean of the others %s", missing, len(sums), mean)
    if missing > max_unscored * len(scores):
        raise UnscoredError(
            f"{missing} of {len(scores)} responses of this step could not be scored (limit "
            f"{max_unscored:.0%}): check the judge; the reasons are in the logs of the reward loop "
            "workers"
        )
    by_deviation = True if config is None else config.get("norm_adv_by_std_in_grpo", True)
    values = advantages(scores, _members(index), by_deviation=by_deviation, epsilon=_VERL_EPSILON)
    # verl knows no "no reward": what is unscored neither gains nor loses.
    given = [0.0 if value is None else value for value in values]
    spread = token_level_rewards.new_tensor(given).unsqueeze(-1) * response_mask
    return spread, spread


def _members(index: Sequence[Hashable]) -> list[list[int]]:
    """The places of each group; verl's batches have them in any order."""
    members: dict[Hashable, list[int]] = {}
    for place, group in enumerate(index):
        members.setdefault(group, []).append(place)
    return list(members.values())


def register_verl(max_unscored: float = MAX_UNSCORED) -> None:
    """Make ``algorithm.adv_estimator=rar_grpo`` known to verl in this process.

    Call it once in a module that every process imports, named in ``VERL_USE_EXTERNAL_MODULES``; see
    ``env/verl/rar_verl.py``.

    Raises:
        DataError: ``max_unscored`` is no share.
    """
    check_unscored(max_unscored)
    from verl.trainer.ppo.core_algos import register_adv_est

    register_adv_est(RAR_GRPO)(partial(rar_grpo, max_unscored=max_unscored))


# verifiers, and with it prime-rl


def for_verifiers(reward: AnyReward) -> Callable[[Any, Any], Awaitable[float]]:
    """A reward function of verifiers' v1 interface: ``(task, trace) -> float``.

    ``task.rar`` holds the task as JSON. A response that could not be scored raises: verifiers
    records a ``TaskError`` on the trace and no reward, and ``trace.ok`` is false. prime-rl leaves
    such a trace out of its group before it computes advantages. It does not stop a run: how large
    a share may be missing is up to the trainer.

    verifiers before 0.3 has another interface beside this one, ``Rubric`` (0.1 and 0.2): it turns
    an exception of a reward function into the reward 0.0, so it is not served.

    Raises:
        DataError: the reward uses rubric dropout or contrast weights.
    """
    reward = _checked(reward, "verifiers")

    async def rubric_reward(task: Any, trace: Any) -> float:
        score, reason = await _score(reward, task.rar, trace.last_reply)
        if score is None:
            raise UnscoredError(f"this response could not be scored, and is no 0: {reason}")
        return score

    return rubric_reward


def taskset_for_verifiers(
    reward: AnyReward, tasks: Sequence[Task], system: str | None = None
) -> Any:
    """A class of tasks for verifiers (v1: 0.3 and 0.4), which prime-rl trains on as well.

        # my_rar.py, beside the configuration; its id is "my_rar"
        RarTaskset = taskset_for_verifiers(reward, load_tasks("tasks.jsonl"))
        __all__ = ["RarTaskset"]

    Args:
        system: as in :func:`rar_lib.dataset_of`; the system turn is the task's ``system_prompt``.

    Returns:
        A subclass of ``verifiers.v1.Taskset``; its tasks have the reward ``rubric`` (see
        :func:`for_verifiers` for what is unscored).

    Raises:
        DataError: the reward uses rubric dropout or contrast weights, there are no tasks, or
            something else is among them.
    """
    score = for_verifiers(reward)
    own = checked_tasks(tasks)
    import verifiers.v1 as vf

    class RarData(vf.TaskData):  # type: ignore[misc]
        rar: str

    class RarTask(vf.Task[RarData]):  # type: ignore[misc]
        @vf.reward
        async def rubric(self, trace):  # type: ignore[no-untyped-def]
            return await score(self.data, trace)

    class RarTaskset(vf.Taskset[RarTask]):  # type: ignore[misc]
        def load(self) -> Iterator[Any]:
            for task in own:
                said, prompt = system_and_prompt(task, system)
                data = RarData(
                    id=task.id, prompt=prompt, system_prompt=said, rar=task.model_dump_json()
                )
                yield RarTask(data, self.config.task)

    return RarTaskset


def system_and_prompt(
    task: Task, system: str | None = None
) -> tuple[str | None, str | list[dict[str, str]]]:
    """A conversation as verifiers takes it: the system turn apart, a single question as text."""
    turns = policy_messages(task, system)
    said = turns.pop(0)["content"] if turns[0]["role"] == "system" else None
    return said, turns if len(turns) > 1 else turns[0]["content"]


# ms-swift


def filled(values: Sequence[float | None], of: Sequence[range]) -> list[float]:
    """Unscored rewards as the mean of their group: no advantage, and the others' mean as it was.

    The group's deviation comes out smaller, by the root of (scored - 1) / (all - 1). A group
    without any score takes the mean of all scored, and is flat.

    Raises:
        UnscoredError: nothing is scored.
    """
    known = scored(values)
    if values and not known:
        raise UnscoredError(f"none of {len(values)} responses could be scored: check the judge")
    found = [0.0] * len(values)
    for group in of:
        mean = statistics.fmean(scored([values[place] for place in group]) or known)
        for place in group:
            value = values[place]
            found[place] = mean if value is None else value
    return found


def for_ms_swift(reward: AnyReward) -> Any:
    """A class for ms-swift's table of rewards, in a file named by ``--external_plugins``.

        orms["rar"] = for_ms_swift(reward)

    The data set needs the column ``task`` of :func:`rar_lib.dataset_of`. ms-swift counts a missing
    reward as 0, so an unscored response gets the mean of its group instead (:func:`filled`): exact
    for its advantage estimators ``grpo`` and ``rloo`` where a process grades whole groups
    (``per_device_train_batch_size`` a multiple of ``num_generations``). Training stops above the
    reward's ``max_unscored``, and the record of each call goes to ``on_step``, as in TRL.
    """
    _check_kind(reward)
    from swift.rewards import ORM, AsyncORM

    if isinstance(reward, VerifiableReward):
        rule = reward

        class RarRule(ORM):  # type: ignore[misc]
            def __call__(self, completions: Any, **columns: Any) -> list[float]:
                return filled(rule((), completions, **columns), groups(columns.get("task") or ()))

        return RarRule
    rubric = reward

    class RarReward(AsyncORM):  # type: ignore[misc]
        async def __call__(self, completions: Any, **columns: Any) -> list[float]:
            values = await rubric((), completions, **columns)
            return filled(values, groups(columns.get("task") or ()))

    return RarReward


# OpenRLHF

#: End-of-turn tokens that OpenRLHF, which decodes with them, leaves in the text of a response.
ENDS = (
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|end_of_text|>",
    "</s>",
    "<eos>",
    "<end_of_turn>",
)


@dataclass
class _Lately:
    """Share of unscored among the last judgements of this process."""

    limit: float
    last: deque[bool] = field(default_factory=lambda: deque(maxlen=64))

    def add(self, *, failed: bool, reason: str) -> None:
        self.last.append(failed)
        share = sum(self.last) / len(self.last)
        if len(self.last) >= 16 and share > self.limit:
            raise UnscoredError(
                f"{sum(self.last)} of the last {len(self.last)} responses could not be scored "
                f"(limit {self.limit:.0%}); the last reason: {reason}. Check the judge"
            )


def for_openrlhf(
    reward: AnyReward,
) -> Callable[[Sequence[str], Sequence[str], Sequence[str]], dict[str, Any]]:
    """OpenRLHF's ``reward_func`` of a file given to ``--reward.remote_url``.

    The label of a row is the task as JSON. Run with ``--algo.dynamic_filtering_enable``: an
    unscored response gets NaN, whose group OpenRLHF then leaves out and replaces by another prompt
    (no mean that is NaN lies within a range). Without that flag a NaN would reach the weights.
    OpenRLHF swallows exceptions of a reward; the reward is then missing, and the step ends with an
    error: so it does when more than ``max_unscored`` of the last 64 judgements failed.

    Raises:
        DataError: the reward uses rubric dropout or contrast weights.
    """
    reward = _checked(reward, "OpenRLHF")
    lately = _Lately(reward.max_unscored if isinstance(reward, RubricReward) else 1.0)

    def reward_func(
        queries: Sequence[str], prompts: Sequence[str], labels: Sequence[str]
    ) -> dict[str, Any]:
        ((query, prompt, label),) = zip(queries, prompts, labels, strict=True)  # one a call
        if not query.startswith(prompt):
            raise DataError(f"the query does not begin with its prompt: {short(query)}")
        text = query[len(prompt) :]
        while (end := next((one for one in ENDS if text.rstrip().endswith(one)), None)) is not None:
            text = text.rstrip().removesuffix(end)
        score, reason = run_sync(_score(reward, label, text))
        lately.add(failed=score is None, reason=reason)
        value = math.nan if score is None else score
        return {"rewards": value, "scores": value, "extra_logs": {"unscored": float(score is None)}}

    return reward_func
