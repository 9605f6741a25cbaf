"""`rar plan`: memory, calls, tokens, time, cost of a profile, before anything starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, get_args

import typer

from rar_lib.book.profiles import Profile, load
from rar_lib.book.study import Study
from rar_lib.cli import own
from rar_lib.core.errors import DataError
from rar_lib.core.prompts import policy_messages
from rar_lib.core.types import Arm, Pair, Price, Task
from rar_lib.data.tasks import draw_pairs, draw_tasks, load_mini, load_mini_pairs
from rar_lib.evaluation.grading import items_work
from rar_lib.judging.chat import Chat, run_sync
from rar_lib.judging.cost import TEMPLATE, Rate, Work, estimate, measure_rate, tokens
from rar_lib.judging.judge import Judge
from rar_lib.judging.messages import text_of
from rar_lib.models import machine
from rar_lib.rubrics.synthesis import synthesis_work
from rar_lib.training.memory import Backend, Budget, Judges, Moment, apart
from rar_lib.training.memory import memory as needed
from rar_lib.training.train import judging_work


def plan(
    *,
    profile: Annotated[str, typer.Option(help="smoke, laptop or gpu.")] = "laptop",
    judge: Annotated[
        str, typer.Option(help="Another model as the judge that rewards.", show_default=False)
    ] = "",
    memory: Annotated[
        float,
        typer.Option(
            help="GB of each device. Default: 80 on a GPU, on a CPU this machine's memory.",
            show_default=False,
        ),
    ] = 0.0,
    backend: Annotated[str, typer.Option(help="unsloth or transformers, on a GPU.")] = "unsloth",
    each_apart: Annotated[
        bool, typer.Option("--apart", help="Each judge on a GPU of its own.")
    ] = False,
    rollout_server: Annotated[
        bool,
        typer.Option(
            "--rollout-server",
            help="Rollouts are written by trl vllm-serve on a GPU of its own; needs --apart.",
        ),
    ] = False,
    measure: Annotated[
        bool, typer.Option(help="Time each local model first; takes seconds.")
    ] = False,
    rate: Annotated[
        tuple[float, float] | None,
        typer.Option(
            help="Tokens per second that the judge reads and writes, such as --rate 3000 100."
        ),
    ] = None,
    price_in: Annotated[float, typer.Option(help="Price of 10^6 prompt tokens.")] = 0.0,
    price_out: Annotated[float, typer.Option(help="Price of 10^6 written tokens.")] = 0.0,
) -> None:
    """Memory, calls, tokens, time and cost of a profile, before anything starts."""
    forecast(
        profile,
        judge=judge,
        devices=Devices(memory, backend, each_apart, rollout_server),
        measure=measure,
        rate=rate,
        price=own.price_of(price_in, price_out),
    )


#: Where a server listens changes neither memory nor calls.
_ANY_SERVER = "http://127.0.0.1:8001"
_MEASURED: tuple[Arm, ...] = ("explicit", "implicit", "direct_likert", "reference_likert")
#: Stage -> model -> work.
Stages = dict[str, dict[str, "Work"]]


def profile_work(profile: Profile, tasks: Sequence[Task], pairs: Sequence[Pair]) -> Stages:
    """What a profile asks of each model: stage -> model -> work, re-asks aside.

    Args:
        tasks: those of the training, then those that rubrics are written for and pairs stand on.
        pairs: preference pairs on which the judges are measured.
    """
    by_id = {task.id: task for task in tasks}
    paired = {pair.task_id for pair in pairs}
    asked = [task for task in tasks if task.id in paired][: profile.synthesis_tasks]
    both = [
        (by_id[pair.task_id], text) for pair in pairs for text in (pair.preferred, pair.rejected)
    ]
    judge = Judge(Chat(_ANY_SERVER, profile.judge))  # nothing is asked; local ones are read alike
    writing = sum(
        (
            synthesis_work(
                asked, with_reference=with_it, size=profile.rubric_size, dialect=judge.chat.speaks
            )
            for with_it in (True, False)
        ),
        Work(),
    )
    judging = sum((items_work(judge, both, arm) for arm in _MEASURED), Work())
    trained = [task for task in tasks if task not in asked][: profile.train_tasks]
    steps = profile.training.steps * len(profile.seeds)
    training = judging_work(profile.training, "implicit", trained, steps, judge)
    return {
        "rubrics (chapter 2)": dict.fromkeys(profile.judges, writing),
        "judges on pairs (chapter 4)": dict.fromkeys(profile.judges, judging),
        "rewards (chapter 7)": {profile.judge: training},
    }


_GPU_GB = 80.0


@dataclass(frozen=True)
class Devices:
    """Where the models lie.

    Attributes:
        memory_gb: of each device; 0 is 80 for a GPU, and this machine's own for a CPU.
        backend: ``unsloth`` or ``transformers``.
        apart: each judge on a device of its own, and so the rollouts' server; else all on one.
        rollout_server: whether a server of its own writes the rollouts.
    """

    memory_gb: float = 0.0
    backend: str = "unsloth"
    apart: bool = False
    rollout_server: bool = False

    def budgets(self, profile: Profile, longest: int) -> dict[str, Budget]:
        """What is planned -> its memory: of each device, that of the training first; where all
        models share one, at each of :func:`moments_of`, of which it must hold the largest.

        Args:
            longest: tokens of the longest prompt with its response.

        Raises:
            DataError: no such backend or model shape, or a layout that can't be.
        """
        chosen: Backend | None = next(
            (backend for backend in get_args(Backend) if backend == self.backend), None
        )
        if chosen is None:
            choice = ", ".join(get_args(Backend))
            raise DataError(f"no backend {self.backend!r}; choose one of: {choice}")
        if self.rollout_server and not self.apart:
            raise DataError("a rollout server has a GPU of its own: say --apart, too")
        settings = profile.training
        cuda = profile.device == "cuda"
        if self.rollout_server and cuda:
            settings = settings.model_copy(update={"rollout_server": _ANY_SERVER})
        own = _GPU_GB * 1e9 if cuda else machine.memory_bytes()
        room = self.memory_gb * 1e9 or own
        if self.apart:
            judges = judges_of(profile)
            each = apart(settings, judges, room=room, backend=chosen, longest=longest)
            return {f"{one.name}, a device of its own": one for one in each}
        return {
            what: needed(
                settings,
                judges,
                room=room,
                name=f"profile {profile.name!r}" + ("" if what == TRAINING else f", {what},"),
                backend=chosen,
                longest=longest,
                moment=moment,
            )
            for what, (judges, moment) in moments_of(profile).items()
        }


def forecast(
    name: str,
    *,
    judge: str = "",
    devices: Devices = Devices(),
    measure: bool = False,
    rate: tuple[float, float] | None = None,
    price: Price | None = None,
) -> None:
    """Say what a profile needs, and refuse one that cannot fit.

    Args:
        judge: another model in place of the judge that rewards.
        rate: tokens a second of the judge that rewards, read and written; times are unknown
            without it, unless ``measure`` times the local models first.

    Raises:
        PlanError: it does not fit; everything has been said by then.
        DataError: no such profile, backend or model shape, or a layout that can't be.
    """
    profile = _with_judge(load(name), judge)
    embedded = profile.data == "mini"
    held_out = load_mini("test")
    tasks = [
        *draw_tasks(load_mini("train"), profile.train_tasks),
        *draw_tasks(held_out, len(held_out)),
    ]
    pairs = draw_pairs(load_mini_pairs("test"), profile.pairs, held_out)
    budgets = devices.budgets(
        profile, _longest(profile, tasks) if embedded else profile.training.context
    )
    for what, budget in budgets.items():
        typer.echo(f"Memory of {what} (profile {name}, {profile.device}):\n{budget}\n")
    rates = {profile.judge: Rate(*rate)} if rate else {}
    if measure:
        rates |= _measured(name, profile)
    typer.echo("Calls of the judges, re-asks aside:")
    for stage, models in profile_work(profile, tasks, pairs).items():
        for model, work in models.items():
            typer.echo(f"  {stage}, {model}: {estimate(work, rates.get(model), price)}")
    if not embedded:
        typer.echo("Tokens are those of RaR-Mini's questions, in place of the released ones.")
    if not rates:
        typer.echo("Time: unknown, no model was timed; --measure times local ones, or give --rate.")
    typer.echo(
        "Times are of judge calls alone: nobody has measured rollouts and updates of this profile."
        if profile.device == "cuda"
        else "Times are of judge calls alone; results/times.json holds measured whole runs."
    )
    if price is None:
        typer.echo("Cost: unknown without --price-in and --price-out")
    for budget in budgets.values():
        budget.check()


def judges_of(profile: Profile) -> Judges:
    """The judges of the profile's run: the hold-out judge is asked when the policy is trained, and
    the judge that rewards has stopped by then, unless it is served for all chapters."""
    kv_cache_gb = float(profile.server["kv_cache_gb"])
    return Judges(profile.judge, profile.watching, profile.servers, kv_cache_gb, later=True)


TRAINING = "training"


def moments_of(profile: Profile) -> dict[str, tuple[Judges, Moment]]:
    """When the book needs most memory, in words -> the judges of that run, and its moment.

    Training, beside the judge that rewards; then, if its server was not up, the hold-out judge; and
    chapter 9's training, which the smallest judge rewards. Beside each lies what is served.
    """
    main = judges_of(profile)
    found: dict[str, tuple[Judges, Moment]] = {TRAINING: (main, "training")}
    if main.waiting:
        found["the hold-out judge's grading after it"] = (main, "looks")
    weakest = profile.judges[0]
    if weakest != profile.judge:
        pleased = replace(main, rewarding=weakest, watching=(profile.judge,))
        found["training to please the weakest judge"] = (pleased, "training")
    return found


def _with_judge(profile: Profile, judge: str) -> Profile:
    """The profile with another rewarding judge, served in place of the old one."""
    if not judge or judge == profile.judge:
        return profile
    judges = tuple(
        dict.fromkeys(judge if model == profile.judge else model for model in profile.judges)
    )
    servers = tuple(
        dict.fromkeys(judge if model == profile.judge else model for model in profile.servers)
    )
    return profile.model_copy(update={"judge": judge, "judges": judges, "servers": servers})


def _longest(profile: Profile, tasks: list[Task]) -> int:
    """Tokens of the longest prompt of the policy, with a response as long as it may get."""
    longest = max(tokens(text_of(policy_messages(task))) for task in tasks)
    # A quarter on top: single prompts are denser than the average, and have a template.
    return round(1.25 * longest) + TEMPLATE + profile.training.max_completion


def _measured(name: str, profile: Profile) -> dict[str, Rate]:
    study = Study.open(name)
    study.profile = profile
    rates: dict[str, Rate] = {}
    for model in profile.judges:
        with study.serving(model) as chat:
            rate = run_sync(measure_rate(chat))
        if rate is not None:
            rates[model] = rate
    return rates
