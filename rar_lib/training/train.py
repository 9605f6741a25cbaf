"""Training a policy by any of the paper's methods, so that it can be killed and continued.

    judge = Judge(study.chat("qwen-1.5b"))
    run = train(profile, "implicit", 0, policy=study.policy(), judge=judge,
                tasks=study.train_tasks, held_out=study.test_tasks, out=folder)

A checkpoint follows every step; the same call made again continues from the newest whole one
(see :mod:`rar_lib.training.checkpoints`), and returns a finished run as it is. Order of the tasks,
optimiser, schedule, log and random state continue, but a rollout is not promised to be the
same to the last bit.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from rar_lib.core.errors import DataError
from rar_lib.core.files import atomic_write, digest, sources
from rar_lib.core.types import ARMS, Arm, Task
from rar_lib.judging.judge import Judge
from rar_lib.training.checkpoints import Journal, fingerprint, newest, sole_writer
from rar_lib.training.diagnostics import joined
from rar_lib.training.logprobs import install
from rar_lib.training.policy import Backend, answer, load_policy, resolve, schedule
from rar_lib.training.rewards import Reward, RubricReward, VerifiableReward, check_keep, dataset_of
from rar_lib.training.sft import Selected, best_of, imitation_set, references
from rar_lib.training.trainer import (
    Watch,
    callbacks,
    grpo_config,
    instrumented,
    quick_rollouts,
    sealing,
    sft_config,
)

if TYPE_CHECKING:
    from rar_lib.book.profiles import Profile


@dataclass(frozen=True)
class Run:
    """What a run leaves behind (all JSON, so that a later chapter can read it).

    Attributes:
        arm: the method, one of :data:`TRAINED`.
        backend: what loaded the policy.
        seconds: spent in training, over all parts of a resumed run.
        log: TRL's log, one record a step.
        steps: the reward's own record, one a step; none in supervised fine-tuning.
        before: greedy responses to the held-out tasks without the adapter, by task id.
        after: the same with it.
        watched: what ``watch`` measured, by schedule.
        resumed_at: the last finished step at each restart; the curve is joined there.
        checkpoint_seconds: what each checkpoint cost.
        selected: what rejection sampling kept (``sft_filtered``).
        identity: everything that had to be equal to continue this run.
    """

    arm: str
    seed: int
    backend: str
    seconds: float
    log: list[dict[str, Any]]
    steps: list[dict[str, Any]]
    before: dict[str, str]
    after: dict[str, str]
    watched: list[dict[str, Any]] = field(default_factory=list)
    resumed_at: list[int] = field(default_factory=list)
    checkpoint_seconds: list[float] = field(default_factory=list)
    selected: list[dict[str, Any]] = field(default_factory=list)
    identity: dict[str, Any] = field(default_factory=dict)

    def curve(self) -> list[dict[str, Any]]:
        """One row a step: reward, spread, flat groups, length, entropy, KL, seconds, ..."""
        return joined(self.log, self.steps, self.resumed_at)

    def save(self, path: Path) -> None:
        """Write the run as JSON, atomically."""
        atomic_write(path, json.dumps(asdict(self), indent=1))

    @staticmethod
    def load(path: Path | str) -> Run:
        """Read a saved run."""
        return Run(**json.loads(Path(path).read_text(encoding="utf-8")))


TrainedArm = Literal[Arm, "rlvr", "sft_reference", "sft_filtered", "base"]
#: Every method: the reward arms, RLVR, the two without a reward in the loop, no training.
TRAINED: tuple[str, ...] = (*ARMS, "rlvr", "sft_reference", "sft_filtered", "base")
#: Settings of a profile that change what is trained.
_SETTINGS = (
    "device policy rollouts prompts_per_step max_completion context grpo_steps learning_rate "
    "lora_rank temperature"
).split()
#: Rooms that decide what a step does, prompts included: a run is not continued by other code.
_ROOMS = ("core", "judging", "training")


def train(
    profile: Profile,
    arm: TrainedArm | str,
    seed: int = 0,
    *,
    policy: Path | str,
    tasks: Sequence[Task],
    held_out: Sequence[Task],
    out: Path,
    judge: Judge | None = None,
    reward: Reward | None = None,
    backend: Backend = "auto",
    watch: Watch | None = None,
    checkpoint_every: int = 1,
    starting: Callable[[int], None] | None = None,
) -> Run:
    """Train an adapter by one method and answer the held-out tasks before and after.

    Args:
        arm: one of :data:`TRAINED`.
        policy: folder with safetensors weights, or a hub id on a machine with a network.
        tasks: to train on; multiple choice for ``rlvr``, with references for
            ``sft_reference``.
        out: folder of this run: ``run.json``, ``adapter/``, and ``checkpoints/`` until the end.
        judge: gives the reward; not needed by ``rlvr``, ``sft_reference`` and ``base``.
        reward: instead of the arm's own, for another threshold, rule or wrapper.
        watch: a look at the held-out tasks by schedule.
        checkpoint_every: steps between checkpoints; a kill loses at most so many.
        starting: told how many steps are left, before anything loads; not called for a
            finished run.

    Raises:
        UnscoredError: too many responses of a step could not be scored.
        CheckpointError: no space for a checkpoint, or another process trains into ``out``.
        DataError: unknown arm, or the arm needs a judge, a reference or an answer that is
            not there.
    """
    reward = reward or reward_for(arm, judge)
    identity = {
        "arm": arm,
        "seed": seed,
        "backend": resolve(backend),
        "policy": Path(policy).name if profile.device == "cpu" else str(policy),
        "settings": {name: getattr(profile, name) for name in _SETTINGS},
        "reward": reward.identity() if reward else None,
        "tasks": _digest([t.model_dump(mode="json") for t in tasks]),
        "held_out": _digest([t.model_dump(mode="json") for t in held_out]),
        "watch": watch.every if watch else None,
        "code": digest(sources(*_ROOMS)),
    }
    job = _Job(
        profile, arm, seed, policy, tasks, held_out, out, reward, backend, watch,
        checkpoint_every, starting, identity,
    )  # fmt: skip
    with sole_writer(out):
        return _finished(out / "run.json", identity) or _run(job)


@dataclass(frozen=True)
class _Job:
    profile: Profile
    arm: str
    seed: int
    policy: Path | str
    tasks: Sequence[Task]
    held_out: Sequence[Task]
    out: Path
    reward: Reward | None
    backend: Backend
    watch: Watch | None
    checkpoint_every: int
    starting: Callable[[int], None] | None
    identity: dict[str, Any]

    @property
    def mark(self) -> str:
        return fingerprint(self.identity)

    @property
    def folder(self) -> Path:
        return self.out / "checkpoints" / self.mark[:12]


def _run(job: _Job) -> Run:
    """Load, continue or begin, train, and leave the finished run in ``out``."""
    longest = job.profile.max_completion
    last = newest(job.folder, job.mark) if job.arm != "base" else None
    if job.starting:
        all_steps = job.profile.grpo_steps if job.arm != "base" else 0
        job.starting(all_steps - (last.step if last else 0))
    model, tokenizer, backend = load_policy(
        job.profile, job.policy, seed=job.seed, backend=job.backend
    )
    from transformers import PrinterCallback, set_seed

    set_seed(job.seed)
    journal = last.journal if last else Journal()
    if last:
        journal.resumed_at.append(last.step)
        print(f"continuing after step {last.step} of {job.profile.grpo_steps}", flush=True)
    else:
        journal.before = answer(model, tokenizer, job.held_out, longest)
        if job.watch:
            journal.watched = [{"step": 0, **job.watch.measure(0, journal.before)}]
    start = time.perf_counter() - journal.seconds
    selected: list[Selected] = []
    log: list[dict[str, Any]] = []
    after = journal.before
    if job.arm == "sft_filtered" and isinstance(job.reward, RubricReward):
        kept = job.out / "selected.json"
        selected = best_of(
            model, tokenizer, job.tasks, job.reward, job.profile, kept, job.mark, seed=job.seed
        )
    if job.arm != "base":
        trainer = _trainer(job, model, tokenizer, selected, journal, start)
        trainer.remove_callback(PrinterCallback)
        for callback in callbacks(job.profile, tokenizer, job.held_out, job.watch, journal):
            trainer.add_callback(callback)
        trainer.train(resume_from_checkpoint=str(last.folder) if last else None)
        log = [entry for entry in trainer.state.log_history if "grad_norm" in entry]
        after = answer(model, tokenizer, job.held_out, longest)
        model.save_pretrained(str(job.out / "adapter"))
    run = Run(
        arm=job.arm,
        seed=job.seed,
        backend=backend,
        seconds=time.perf_counter() - start,
        log=log,
        steps=journal.steps,
        before=journal.before,
        after=after,
        watched=journal.watched,
        resumed_at=journal.resumed_at,
        checkpoint_seconds=journal.checkpoint_seconds,
        selected=[vars(s) for s in selected],
        identity=job.identity,
    )
    run.save(job.out / "run.json")
    shutil.rmtree(job.out / "checkpoints", ignore_errors=True)
    return run


def _trainer(
    job: _Job,
    model: Any,
    tokenizer: Any,
    selected: Sequence[Selected],
    journal: Journal,
    start: float,
) -> Any:
    """TRL's trainer for the arm, with sealed checkpoints."""
    install()
    profile, common = job.profile, {"model": model, "processing_class": tokenizer}
    settings = {"seed": job.seed, "checkpoint_every": job.checkpoint_every}

    def in_order(tasks: Sequence[Task]) -> list[Task]:
        return schedule(tasks, profile.grpo_steps, profile.prompts_per_step, job.seed)

    if job.reward is None or selected:
        from trl import SFTTrainer

        given = {s.task_id: s.response for s in selected} or references(job.tasks)
        return sealing(SFTTrainer, job.mark, journal, start)(
            **common,
            args=sft_config(profile, job.folder, **settings),
            train_dataset=imitation_set(in_order([t for t in job.tasks if given[t.id]]), given),
        )
    from trl import GRPOTrainer

    job.reward.steps = journal.steps
    return sealing(instrumented(GRPOTrainer, job.reward), job.mark, journal, start)(
        **common,
        reward_funcs=job.reward,
        args=grpo_config(profile, job.folder, **settings),
        train_dataset=dataset_of(in_order(job.tasks)),
        rollout_func=quick_rollouts(model, profile.max_completion, profile.temperature),
    )


def reward_for(arm: str, judge: Judge | None, *, keep: float = 1.0, seed: int = 0) -> Reward | None:
    """The reward of an arm; ``None`` for those that are trained without one.

    Args:
        keep, seed: rubric dropout, see :class:`rar_lib.training.rewards.RubricReward`.

    Raises:
        DataError: unknown arm, no judge for an arm that needs one, or no rubric to drop from.
    """
    if arm not in TRAINED:
        raise DataError(f"no arm {arm!r}; choose one of: {', '.join(TRAINED)}")
    check_keep(keep, arm)
    if arm == "rlvr":
        return VerifiableReward()
    if arm in ("base", "sft_reference"):
        return None
    if judge is None:
        raise DataError(f"arm {arm!r} needs a judge: pass judge=Judge(study.chat(...))")
    by: Arm = next((a for a in get_args(Arm) if a == arm), "implicit")  # sft_filtered: implicit
    return RubricReward(judge, by, keep=keep, seed=seed)


def _finished(path: Path, identity: dict[str, Any]) -> Run | None:
    """The run that a folder already holds, if it is this one."""
    try:
        run = Run.load(path)
    except (OSError, ValueError, TypeError):
        return None
    return run if run.identity == json.loads(json.dumps(identity)) else None


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def mark_of(run: Run) -> str:
    """What tells this very run from any other, repetitions of it with the same seed included."""
    text = json.dumps(asdict(run), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
