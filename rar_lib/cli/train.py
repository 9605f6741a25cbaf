"""`rar train`: one arm and seed of a profile, with an estimate first; stopped runs go on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, cast

import typer

from rar_lib.book.profiles import Profile, load
from rar_lib.book.study import Study
from rar_lib.core.errors import DataError
from rar_lib.core.types import Arm, Task
from rar_lib.judging.chat import Chat, run_sync
from rar_lib.judging.cost import Work, estimate, grading_work, measure_rate
from rar_lib.judging.judge import Judge
from rar_lib.training.policy import Backend, resolve
from rar_lib.training.rewards import check_keep
from rar_lib.training.rubric_dropout import drop_from_task
from rar_lib.training.settings import Settings
from rar_lib.training.train import Job, Run, TrainedArm, judged_arm, parse_arm, reward_for


def train(
    *,
    profile: Annotated[str, typer.Option(help="smoke, laptop or gpu.")] = "laptop",
    arm: Annotated[str, typer.Option(help="A method; a wrong name lists them all.")] = "implicit",
    seed: Annotated[int, typer.Option(min=0)] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Default: _build/PROFILE/train/ARM-SEED.")
    ] = None,
    backend: Annotated[str, typer.Option(help="auto, unsloth or transformers.")] = "auto",
    keep: Annotated[float, typer.Option(help="Rubric dropout: share of criteria a step.")] = 1.0,
) -> None:
    """Train one arm with the profile's judge; stopped runs go on where they were."""
    train_arm(profile, arm, seed, out=out, backend=backend, keep=keep)


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
    with study.serving(settings.judge) as chat:
        live = replace(chat, cassette=None)
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
            typer.echo(forecast(job, keep, live))
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
    work = judging_work(settings, job.arm, part, steps)
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


def judging_work(settings: Settings, arm: TrainedArm, tasks: Sequence[Task], steps: int) -> Work:
    """The judge's part of a run, responses as long as they may get; none without a judge."""
    by = judged_arm(arm)
    if by is None:
        return Work()
    if arm == "sft_filtered":  # every task once, before the first step
        return _groups(settings, by, tasks)
    step = _groups(settings, by, tasks[: settings.prompts_per_step])
    return Work(*(part * steps for part in astuple(step)))


def _groups(settings: Settings, arm: Arm, tasks: Sequence[Task]) -> Work:
    """One group of rollouts for each task; the second response tells what each further one adds."""
    texts = [f"{n} " + "word " * (settings.max_completion * 4 // 5) for n in (1, 2)]
    one = grading_work([(task, texts[0]) for task in tasks], arm)
    two = grading_work([(task, text) for task in tasks for text in texts], arm)
    more = settings.rollouts - 1
    return Work(*(a + (b - a) * more for a, b in zip(astuple(one), astuple(two), strict=True)))


def summary(run: Run, folder: Path, settings: Settings) -> str:
    """Where a finished run lies, what it came to, and how to look at it."""
    lines = [f"run: {folder / 'run.json'} ({run.backend}, {len(run.log)} steps)"]
    if run.resumed_at:
        lines[0] += f", continued after step {', '.join(map(str, run.resumed_at))}"
    means = [s["mean"] for s in run.steps if s["mean"] is not None]
    if means:
        lines.append(f"mean reward: {means[0]:.3f} in the first step, {means[-1]:.3f} in the last")
    load_run = (
        f"from rar_lib.training.train import Run; run = Run.load({str(folder / 'run.json')!r})"
    )
    lines += [
        "look at it in Python:",
        f"  {load_run}",
        "  run.curve()            # one row a step: reward, spread, length, entropy, KL, ...",
        "  run.before, run.after  # greedy answers to the held-out tasks",
    ]
    if run.log:
        lines += [
            f"adapter: {folder / 'adapter'}",
            "  from pathlib import Path; from rar_lib.training.policy import Policy",
            "  from rar_lib.training.settings import Settings",
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
        raise DataError("training is not installed: pip install 'rar-lib[models,train]'")
    import torch

    if profile.device == "cuda" and not torch.cuda.is_available():
        raise DataError(
            f"profile {profile.name!r} needs a CUDA GPU and there is none here: "
            "use --profile laptop, or run it on a machine with a GPU"
        )
