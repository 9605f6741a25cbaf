"""`rar train`: a policy trained on one's own tasks, or by a profile."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from rar_lib.book.card import save_card, what_rose
from rar_lib.book.profiles import Profile, load
from rar_lib.book.study import Study
from rar_lib.cli import own
from rar_lib.cli.grade import DEFAULT_JUDGE, DEFAULT_SAID, context_for, is_endpoint
from rar_lib.cli.grade import Work as GradingWork
from rar_lib.core import processes
from rar_lib.core.errors import CheckpointError, DataError, RarError
from rar_lib.core.files import install_command
from rar_lib.core.prompts import policy_messages
from rar_lib.core.types import Arm, Task
from rar_lib.data.questions import Response, load_questions, load_split, part_tasks, save_responses
from rar_lib.data.tasks import Parts, keep_parts, kept_parts
from rar_lib.evaluation.grading import items_work
from rar_lib.evaluation.held_out import Graded, look_with
from rar_lib.evaluation.judge_roles import HOLD_OUT, TRAINING
from rar_lib.judging.chat import Chat, run_sync
from rar_lib.judging.cost import TEMPLATE, Work, counted, estimate, measure_rate, tokens
from rar_lib.judging.judge import Judge
from rar_lib.models.processor import suited
from rar_lib.rubrics.dropout import drop_from_task
from rar_lib.training.checkpoints import newest
from rar_lib.training.policy import Backend, check_policy, resolve
from rar_lib.training.rewards import check_keep
from rar_lib.training.run import Run
from rar_lib.training.settings import Settings, prompts_each, settings_of
from rar_lib.training.train import (
    TRAINED,
    Job,
    TrainedArm,
    Watch,
    judged_arm,
    judging_work,
    parse_arm,
    reward_for,
    usable,
)

#: How the questions to a judge are counted, for a person.
_COUNTED_SO = "answers at their longest and no question asked again"
#: The held-out answers before and after, in the folder of a run.
_ANSWERS = "answers.jsonl"
_NOT_INSTALLED = f"training is not installed: {install_command('models', 'train')}"
_OWN = "Your own tasks, policy and judge"
_SIZE = "How much, with --tasks"


def train(
    *,
    profile: Annotated[
        str | None, typer.Option(help="smoke, laptop or gpu; laptop without --tasks.")
    ] = None,
    arm: Annotated[str, typer.Option(help=f"The method: {', '.join(TRAINED)}.")] = "implicit",
    seed: Annotated[
        int, typer.Option(min=0, help="Of the adapter, the order of tasks and sampling.")
    ] = 0,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the run. With a profile: _build/PROFILE/train/ARM-SEED."),
    ] = None,
    backend: Annotated[str, typer.Option(help="auto, unsloth or transformers.")] = "auto",
    keep: Annotated[
        float,
        typer.Option(
            help="Rubric dropout: share of the criteria used in each step, above 0, at most 1."
        ),
    ] = 1.0,
    tasks: Annotated[
        Path | None,
        typer.Option(help="Tasks, as rar synthesize writes them.", rich_help_panel=_OWN),
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option(help=f"{own.POLICIES}.", rich_help_panel=_OWN),
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(
            help=f"A model on this machine that gives the reward. {DEFAULT_SAID}",
            rich_help_panel=_OWN,
        ),
    ] = None,
    held_out_judge: Annotated[
        str | None,
        typer.Option(
            help="Another one, which only looks at held-out answers.", rich_help_panel=_OWN
        ),
    ] = None,
    held_out_model: Annotated[
        str | None,
        typer.Option(help="The same, by its name at --base-url.", rich_help_panel=_OWN),
    ] = None,
    held_out: Annotated[
        int | None,
        typer.Option(
            help="How many tasks to hold out. Default: a quarter, at least 8, never more than "
            "half.",
            rich_help_panel=_OWN,
        ),
    ] = None,
    device: Annotated[
        own.DeviceName,
        typer.Option(help="Where all local models compute.", rich_help_panel=_OWN),
    ] = "cpu",
    rollout_server: Annotated[
        str | None,
        typer.Option(help="URL of trl vllm-serve: it writes the rollouts.", rich_help_panel=_OWN),
    ] = None,
    encoding: own.Encoding = "utf-8",
    base_url: own.BaseUrl = None,
    model: own.ModelName = None,
    key_env: own.KeyEnv = None,
    dialect: own.DialectName = "vllm",
    weights_id: own.WeightsId = "",
    price_in: own.PriceIn = 0.0,
    price_out: own.PriceOut = 0.0,
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps.", rich_help_panel=_SIZE)] = 50,
    prompts: Annotated[int, typer.Option(min=1, help="Tasks per step.", rich_help_panel=_SIZE)] = 4,
    rollouts: Annotated[
        int, typer.Option(min=2, help="Responses to each task.", rich_help_panel=_SIZE)
    ] = 8,
    max_tokens: Annotated[
        int, typer.Option(min=1, help="Longest response, in tokens.", rich_help_panel=_SIZE)
    ] = 256,
    report_to: Annotated[
        list[str] | None,
        typer.Option(help="A tracker, such as tensorboard or wandb.", rich_help_panel=_OWN),
    ] = None,
    learning_rate: Annotated[
        float, typer.Option(help="Peak rate, of the adapter.", rich_help_panel=_SIZE)
    ] = 5e-5,
    lora_rank: Annotated[
        int, typer.Option(min=1, help="Rank of the adapter.", rich_help_panel=_SIZE)
    ] = 16,
    yes: own.Yes = False,
) -> None:
    """Train a policy by rubrics: your own tasks, or a profile. Stopped runs go on.

    rar train --tasks tasks.jsonl --policy OWNER/NAME --judge qwen-1.5b --out run

    The policy is told to answer in two or three plain sentences; a task
    whose history begins with a system turn is asked with that instead.

    A column split (train, test) in the tasks decides what is held out.
    Without one a split is made and kept in the folder of the run.

    On several processes of one machine:
    accelerate launch --multi_gpu --num_processes 2 -m rar_lib.cli.app train ...

    Exit codes: 0 trained; 1 refused or failed; 2 wrong usage;
    3 trained, but some tasks were left out;
    130 stopped: the same command goes on.
    """
    if tasks is None:
        named = {"--policy": policy, "--judge": judge, "--base-url": base_url, "--model": model}
        named |= {"--held-out-judge": held_out_judge, "--held-out-model": held_out_model}
        named |= {"--rollout-server": rollout_server}
        if wrong := [name for name, value in named.items() if value]:
            raise typer.BadParameter(f"{wrong[0]} needs --tasks; a profile names its own models")
        train_arm(profile or "laptop", arm, seed, out=out, backend=backend, keep=keep)
        return
    if profile or not policy or out is None:
        missing = "--profile and --tasks: choose one of them" if profile else ""
        raise typer.BadParameter(missing or "--tasks needs --policy and --out, too")
    if rollout_server and device == "cpu":
        raise typer.BadParameter("--rollout-server needs --device cuda: weights travel by NCCL")
    price = own.price_of(price_in, price_out)
    at = own.chats_at(base_url, key_env, dialect, price, weights_id)
    ask = Asked(
        tasks,
        out,
        parse_arm(arm),
        seed,
        policy,
        held_out,
        cast(Backend, backend),
        keep,
        tuple(report_to or ()),
    )
    graders = judges_of(ask.arm, judge, base_url, model, at)
    graders |= held_out_judges_of(held_out_judge, base_url, held_out_model, at)
    size: dict[str, Any] = {"steps": steps, "rollouts": rollouts, "device": device}
    size |= {"max_completion": max_tokens}
    size |= {"learning_rate": learning_rate, "lora_rank": lora_rank, "prompts_per_step": prompts}
    size |= {"rollout_server": rollout_server}
    left_out = train_own(ask, graders, size, encoding=encoding, yes=yes)
    if left_out is None:
        raise typer.Exit(1)
    if left_out and processes.count() == 1:  # a launcher takes all but 0 for a failure
        raise typer.Exit(own.PARTLY)


def train_arm(
    profile: str,
    arm: str,
    seed: int = 0,
    *,
    out: Path | None = None,
    backend: str = "auto",
    keep: float = 1.0,
) -> Run:
    """Train one arm with the tasks and the judge of a profile; rewards are asked live.

    Args:
        out: folder of the run; :func:`default_out` if ``None``.
        backend: ``auto``, ``unsloth`` or ``transformers``.
        keep: share of the criteria that each step is graded by; below 1 is rubric dropout.

    Raises:
        DataError: a value is wrong, or the folder holds a finished run with other settings.
        ArtifactError, ServerError, CheckpointError, UnscoredError: see :mod:`rar_lib.core.errors`.
    """
    settings = load(profile)
    folder = out or default_out(profile, arm, seed, keep)
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file: name a folder for the run with --out")
    chosen = cast(Backend, backend)
    resolve(chosen)
    method = parse_arm(arm)
    check_keep(keep, arm)
    _check_machine(settings)
    study = Study.open(profile)
    with ExitStack() as until:

        def prepared() -> Job:
            live = replace(until.enter_context(study.serving(settings.judge)), cassette=None)
            job = Job(
                arm=method,
                seed=seed,
                settings=settings.training,
                tasks=study.tasks_for(arm),
                held_out=study.test_tasks,
                out=folder,
                reward=reward_for(arm, Judge(live), keep=keep, seed=seed),
                backend=chosen,
            )
            if not job.finished:
                _check_unused(folder)
                prompts_each(job.settings)
                if processes.is_first():
                    typer.echo(forecast(job, keep, live))
            return job

        processes.join(cpu=settings.device == "cpu")
        job = processes.first_then_others(prepared)
        assert job is not None
        run = job.run()
    typer.echo(summary(run, folder, settings.training))
    return run


def forecast(job: Job, keep: float, chat: Chat) -> str:
    """What is left of a run, and what it will ask of the judge, whose speed is measured first."""
    steps = job.steps_left
    settings = job.settings
    size = (
        f"{settings.prompts_per_step} prompts x {settings.rollouts} rollouts of up to "
        f"{settings.max_completion} tokens"
    )
    lines = [f"{job.arm}, seed {job.seed}: {steps} steps of {size}, into {job.out}"]
    part = [drop_from_task(task, keep, seed=job.seed, step=0) for task in job.tasks]
    work = judging_work(settings, job.arm, part, steps, Judge(chat))
    if work.calls:
        found = estimate(work, run_sync(measure_rate(chat)))
        lines.append(f"judge {chat.model}: {found}")
    if steps:
        lines.append("the time of the policy itself is known after the first step")
    return "\n".join(lines)


def default_out(profile: str, arm: str, seed: int, keep: float = 1.0) -> Path:
    """``_build/<profile>/train/<arm>-<seed>``; rubric dropout has a folder of its own."""
    dropout = f"-keep{keep:g}" if keep != 1.0 else ""
    return Path("_build") / profile / "train" / f"{arm}{dropout}-{seed}"


def summary(run: Run, folder: Path, settings: Settings) -> str:
    """Where a finished run lies, what it came to, and how to look at it."""
    lines = [f"run: {folder / 'run.json'} ({run.backend}, {len(run.log)} steps)"]
    if run.resumed_at:
        lines[0] += f", continued after step {', '.join(map(str, run.resumed_at))}"
    means = [step["mean"] for step in run.steps if step["mean"] is not None]
    if means:
        lines.append(f"mean reward: {means[0]:.3f} in the first step, {means[-1]:.3f} in the last")
    load_run = f"from rar_lib import Run; run = Run.load({str(folder / 'run.json')!r})"
    lines += [
        "look at it in Python:",
        f"  {load_run}",
        "  run.curve()            # one row a step: reward, spread, length, entropy, KL, ...",
        "  run.before, run.after  # greedy answers to the held-out tasks",
    ]
    if run.log:
        lines += [
            f"adapter: {folder / 'adapter'}",
            "  from pathlib import Path; from rar_lib import Policy, Settings",
            f"  settings = Settings(device={settings.device!r}, policy={settings.policy!r})",
            f"  policy = Policy(settings, adapter=Path({str(folder / 'adapter')!r}))",
            "  policy.respond(tasks, max_tokens=64)",
        ]
    return "\n".join(lines)


def _check_unused(folder: Path) -> None:
    """Never overwrite what took hours: training only begins where no finished run lies.

    Raises:
        DataError: one lies there; had it these settings, it would have been returned.
    """
    path = folder / "run.json"
    if path.exists():
        raise DataError(
            f"{path} holds a finished run with other settings, data or code: choose another "
            "--out, or move it away"
        )


def _check_machine(profile: Profile) -> None:
    if find_spec("trl") is None or find_spec("torch") is None:
        raise DataError(_NOT_INSTALLED)
    import torch

    if profile.device == "cuda" and not torch.cuda.is_available():
        raise DataError(
            f"profile {profile.name!r} needs a CUDA GPU and there is none here: "
            "use --profile laptop, or run it on a machine with a GPU"
        )


@dataclass(frozen=True)
class Asked:
    """What a user asks to have trained."""

    tasks: Path
    out: Path
    arm: TrainedArm
    seed: int
    policy: str
    held_out: int | None
    backend: Backend
    keep: float
    report_to: tuple[str, ...] = ()


@dataclass(frozen=True)
class Grader:
    """A judge by name on this machine, or at an endpoint."""

    name: str
    endpoint: Chat | None = None


Graders = dict[str, Grader]


def judges_of(
    arm: TrainedArm,
    judge: str | None,
    base_url: Sequence[str] | None,
    model: str | None,
    at: Callable[[str], Chat],
) -> Graders:
    """Who gives the reward; nobody for an arm without a judge.

    Raises:
        BadParameter: half an address, two judges, or one for an arm that asks none.
    """
    at_endpoint = is_endpoint(judge, base_url if model else None, model)
    if judged_arm(arm) is None:
        if judge or model:
            raise typer.BadParameter(
                f"arm {arm} is trained without a judge: --held-out-judge looks at its answers"
            )
        return {}
    if base_url and not model:
        raise typer.BadParameter("--base-url needs the judge's name there: --model NAME")
    if at_endpoint:
        return {TRAINING: Grader(str(model), at(str(model)))}
    return {TRAINING: Grader(judge or suited(DEFAULT_JUDGE))}


def held_out_judges_of(
    judge: str | None,
    base_url: Sequence[str] | None,
    model: str | None,
    at: Callable[[str], Chat],
) -> Graders:
    """Who looks at the held-out answers without giving a reward, if anybody does.

    Raises:
        BadParameter: two of them, or a name without an address.
    """
    if judge and model:
        raise typer.BadParameter("--held-out-judge and --held-out-model: choose one of them")
    if model and not base_url:
        raise typer.BadParameter(f"--held-out-model {model} needs --base-url")
    if model:
        return {HOLD_OUT: Grader(model, at(model))}
    return {HOLD_OUT: Grader(judge)} if judge else {}


def read_parts(asked: Asked, encoding: str) -> Parts:
    """The tasks of a file, parted by its own column, by the folder of the run, or anew.

    Raises:
        DataError: nothing can be trained on, or the folder's run is on other tasks.
    """
    found = load_questions(asked.tasks, encoding=encoding)
    said = load_split(asked.tasks, encoding=encoding)
    if said.columns:
        spare = tuple(name for name in found.unused if name not in said.columns.values())
        found = replace(found, columns=found.columns | said.columns, unused=spare)
        found.problems.extend(said.problems)
    own.show(found, "task")
    fit, problems = usable(found.items, asked.arm)
    if len(fit) < 2:
        more = f"; {problems[0]}" if problems else ""
        raise DataError(
            f"{asked.tasks}: {counted(len(fit), 'task')} for arm {asked.arm}, at least two are "
            f"needed: one to train on, one to hold out{more}"
        )
    own.show_problems(problems)
    left_out = found.left_out + len(found.items) - len(fit)
    parts = part_tasks(fit, said, asked.held_out, left_out)
    own.show_problems(parts.problems)
    return parts


def sized(asked: Asked, parts: Parts, size: dict[str, Any]) -> Settings:
    """The settings of a run: no more prompts than tasks, room for the longest question."""
    longest = max(map(_prompt_tokens, (*parts.train, *parts.held_out)))
    # Four characters a token is English prose; code and other scripts have fewer.
    context = math.ceil((longest * 1.5 + size["max_completion"]) / 256) * 256
    prompts = min(size["prompts_per_step"], len(parts.train))
    if prompts < size["prompts_per_step"]:
        typer.echo(f"  {prompts} tasks a step: there are no more to train on")
    chosen = {"policy": asked.policy, "context": context, "prompts_per_step": prompts}
    return settings_of(size | chosen)


def _prompt_tokens(task: Task) -> int:
    return sum(tokens(turn["content"]) + TEMPLATE for turn in policy_messages(task))


def train_own(
    asked: Asked, graders: Graders, size: dict[str, Any], *, encoding: str = "utf-8", yes: bool
) -> int | None:
    """Train on a user's own tasks; how many were left out, ``None`` if the user stopped it.

    Args:
        graders: role -> judge, as :func:`judges_of` and :func:`held_out_judges_of` find them.
        size: fields of :class:`rar_lib.training.settings.Settings`.

    Raises:
        DataError, ArtifactError, ChatError, ServerError, CheckpointError, UnscoredError: what is
            wrong, where, and how to mend it.
    """
    if asked.out.exists() and not asked.out.is_dir():
        raise DataError(f"{asked.out} is a file: name a folder for the run with --out")
    resolve(asked.backend, size["rollout_server"])
    check_keep(asked.keep, asked.arm)
    check_policy(asked.policy)
    _check_device(size["device"])
    processes.join(cpu=size["device"] == "cpu")
    with ExitStack() as until:

        def prepared() -> tuple[Job, Parts] | None:
            parts = kept_parts(read_parts(asked, encoding), asked.out, asked.held_out)
            how = f"{len(parts.train)} to train on, {len(parts.held_out)} held out, {parts.how}"
            typer.echo(f"  {how}")
            job = _begun(asked, graders, parts, sized(asked, parts, size), until)
            return (job, parts) if job.finished or _may_begin(job, asked, parts, yes) else None

        found = processes.first_then_others(prepared)
        if found is None:
            return None
        job, parts = found
        run = _run(job)
    if not processes.is_first():
        return parts.left_out
    by = {role: f"{grader.name}{_where(grader)}" for role, grader in graders.items()}
    save_card(job, run, data=asked.tasks.name, by=by)
    save_responses(asked.out / _ANSWERS, before_and_after(run))
    typer.echo(own_summary(job, run, by))
    return parts.left_out


def _begun(
    asked: Asked, graders: Graders, parts: Parts, settings: Settings, until: ExitStack
) -> Job:
    """The run, its judges ready for as long as ``until`` lasts."""
    judges = {
        role: Judge(until.enter_context(_asking(role, grader, asked, settings, parts)))
        for role, grader in graders.items()
    }
    return job_of(asked, parts, settings, judges)


def _may_begin(job: Job, asked: Asked, parts: Parts, yes: bool) -> bool:
    """Whether the run is to begin or go on: nothing stands in its way, and the user agrees.

    Raises:
        DataError: another run lies in the folder, or the processes can't share a step.
    """
    _check_unused(asked.out)
    _check_begun(job)
    if job.arm != "base":
        prompts_each(job.settings)
    # Of several processes the first one has asked before the others come here.
    if processes.is_first() and not _agreed(job, asked.keep, yes=yes):
        return False
    keep_parts(parts, asked.out)
    return True


def before_and_after(run: Run) -> list[Response]:
    """The held-out answers without and with what was trained, as ``before`` and ``after``."""
    looks = {"before": run.before, "after": run.after}
    return [
        Response(task, look, texts[task]) for task in run.before for look, texts in looks.items()
    ]


def _where(grader: Grader) -> str:
    return " at an endpoint" if grader.endpoint else " on this machine"


def _asking(
    role: str, grader: Grader, asked: Asked, settings: Settings, parts: Parts
) -> AbstractContextManager[Chat]:
    """The judge of a role, its calls on record in the folder of the run."""
    local: dict[str, Any] = {"device": settings.device}
    if grader.endpoint is None:
        local["max_model_len"] = context_for(_read_by(role, asked.arm, settings, parts))
    name = "judge" if role == TRAINING else "held_out_judge"
    return own.recorded(grader.name, grader.endpoint, asked.out / name, local)


def _read_by(role: str, arm: TrainedArm, settings: Settings, parts: Parts) -> GradingWork:
    """What the judge of a role has to read: every task if it gives the reward, else those held out.

    Responses are as long as they may get.
    """
    tasks = [*parts.train, *parts.held_out] if role == TRAINING else parts.held_out
    longest = "word " * settings.max_completion
    responses = [Response(task.id, "1", longest) for task in tasks]
    return GradingWork(tasks, responses, _ways(arm, parts.held_out)[role], 0)


def _ways(arm: TrainedArm, held_out: Sequence[Task]) -> dict[str, Arm]:
    """How each role grades the held-out answers.

    A grader that gives no reward asks criterion by criterion where there are rubrics: another
    question than the rating that is trained for.
    """
    by = judged_arm(arm)
    rubrics = all(task.rubric for task in held_out)
    return {TRAINING: by or "direct_likert", HOLD_OUT: "explicit" if rubrics else "direct_likert"}


def job_of(asked: Asked, parts: Parts, settings: Settings, judges: Mapping[str, Judge]) -> Job:
    """The run, with a look before and after by every judge.

    Raises:
        DataError: the second judge is the first one.
    """
    training = judges.get(TRAINING)
    other = judges.get(HOLD_OUT)
    if training and other and training.identity == other.identity:
        raise DataError(
            f"the judge of the held-out answers, {other.chat.model!r}, is the one that gives the "
            "reward: name another one, or leave --held-out-judge out"
        )
    ways = _ways(asked.arm, parts.held_out)
    looking = {role: (judge, ways[role]) for role, judge in judges.items()}
    watch = Watch(settings.steps, look_with(looking, parts.held_out)) if looking else None
    return Job(
        arm=asked.arm,
        seed=asked.seed,
        settings=settings,
        tasks=parts.train,
        held_out=parts.held_out,
        out=asked.out,
        reward=reward_for(asked.arm, training, keep=asked.keep, seed=asked.seed),
        backend=asked.backend,
        watch=watch,
        report_to=asked.report_to,
    )


def _agreed(job: Job, keep: float, *, yes: bool) -> bool:
    """Show what is left, and what each judge will be asked; whether to go on."""
    size = job.settings
    typer.echo(
        own.wrapped(
            f"{job.arm}, seed {job.seed}: {counted(job.steps_left, 'step')} of "
            f"{size.prompts_per_step} tasks x {size.rollouts} responses of up to "
            f"{size.max_completion} tokens, into {job.out}",
            "  ",
        )
    )
    for role, (chat, work) in asked_of_judges(job, keep).items():
        rate = run_sync(measure_rate(chat)) if chat.local and work.calls else None
        found = estimate(work, rate, chat.price)
        typer.echo(own.wrapped(f"{role} judge {chat.model}, {_COUNTED_SO}: {found}", "  "))
    typer.echo("the time of the policy itself is known after the first step")
    return yes or typer.confirm("go on?")


def asked_of_judges(job: Job, keep: float = 1.0) -> dict[str, tuple[Chat, Work]]:
    """Role -> judge and its part of what is left of a run, responses as long as they may get."""
    steps = job.steps_left
    begun = steps < job.settings.steps
    part = [drop_from_task(task, keep, seed=job.seed, step=0) for task in job.tasks]
    measure = job.watch.measure if job.watch else None
    if not isinstance(measure, Graded):
        return {}
    longest = "word " * (job.settings.max_completion * 4 // 5)
    found = {}
    for role, (judge, by) in measure.graders.items():
        look = items_work(judge, [(task, longest) for task in job.held_out], by)
        work = look if begun else look + look
        if role == TRAINING:
            work += judging_work(job.settings, job.arm, part, steps, judge)
        found[role] = (judge.chat, work)
    return found


def _run(job: Job) -> Run:
    """Run it; a failure says which steps are kept.

    Raises:
        CheckpointError: the folder can't be written.
    """
    try:
        return job.run()
    except RarError:
        last = newest(job.checkpoints, job.fingerprint, set_aside=False)
        if last:
            typer.echo(
                f"kept in {job.out}: {last.step} of {counted(job.settings.steps, 'step')}; "
                "the same command goes on after them",
                err=True,
            )
        raise
    except OSError as error:
        raise CheckpointError(
            f"{job.out} could not be written ({error.strerror or error}): free space, or make it "
            "writable; the same command goes on from the newest whole checkpoint"
        ) from error


def _check_begun(job: Job) -> None:
    """Never begin a second run beside one that is not finished.

    Raises:
        DataError: one lies there with other settings, policy or judge.
    """
    kept = [folder for folder in job.checkpoints.parent.glob("*") if folder != job.checkpoints]
    if kept:
        raise DataError(
            f"{job.checkpoints.parent} holds a run that is not finished, with other settings, "
            "policy, judge or code: give the command that began it, choose another --out, or "
            f"remove {kept[0]}"
        )


def _check_device(device: str) -> None:
    if find_spec("trl") is None or find_spec("torch") is None:
        raise DataError(_NOT_INSTALLED)
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise DataError("--device cuda needs a CUDA GPU and there is none here: --device cpu")


def own_summary(job: Job, run: Run, by: Mapping[str, str]) -> str:
    """What came of it, by whose measure, and what to do next."""
    folder = shlex.quote(str(job.out))
    held = shlex.quote(str(job.out / "held_out.jsonl"))
    lines = [summary(run, job.out, job.settings), "held-out answers, before and after:"]
    lines += [own.wrapped(f"  {line}", "    ") for line in what_rose(run, by)]
    if run.log:
        lines.append(f"model card: {job.out / 'adapter' / 'README.md'}")
    answers, grades, page = (
        shlex.quote(str(job.out / name)) for name in (_ANSWERS, "grades.jsonl", "report.html")
    )
    lines += [
        f"next:  rar grade {held} {answers} -o {grades}",
        f"       rar report {folder} -o {page} --grades {grades}",
        f"       rar respond QUESTIONS -o responses.jsonl --run {folder}",
    ]
    return "\n".join(lines)
