"""What the commands for a user's own data share: who answers, what was read, how a run ends."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rar_lib.core.errors import DataError, RarError
from rar_lib.core.types import Price
from rar_lib.data.check import escaped
from rar_lib.data.jsonl import Problem
from rar_lib.data.sheets import Loaded
from rar_lib.judging.chat import Chat
from rar_lib.judging.cost import amount, counted
from rar_lib.judging.dialect import DIALECTS
from rar_lib.models import vllm_args
from rar_lib.models.catalogue import MODELS

if TYPE_CHECKING:
    from rar_lib.judging.cassette import Cassette
    from rar_lib.judging.cost import Estimate

#: Finished, but something was left out: a row, a rubric, a score.
PARTLY = 3
#: Who sends the calls: this process, or actors of Ray.
EXECUTORS = ("async", "ray")
#: Problems that are shown; all of them are counted.
SHOWN = 20

AT_ENDPOINT = "An OpenAI-compatible endpoint instead of a local model"
COLUMNS = "Columns, where the guess is wrong"
#: What may be trained, or answer.
POLICIES = "A folder, a hub id (OWNER/NAME), or " + ", ".join(
    name for name, model in MODELS.items() if not model.base
)
BaseUrl = Annotated[
    list[str] | None,
    typer.Option(
        help="Its address, which ends in /v1; repeat it for one model at several.",
        rich_help_panel=AT_ENDPOINT,
        show_default=False,
    ),
]
KeyEnv = Annotated[
    str | None,
    typer.Option(
        help="Variable that holds its key; OPENAI_API_KEY if it is not on this machine.",
        rich_help_panel=AT_ENDPOINT,
    ),
]
WeightsId = Annotated[
    str,
    typer.Option(
        help="A name of yours for its weights, so that it stays the same judge at another address.",
        show_default=False,
        rich_help_panel=AT_ENDPOINT,
    ),
]
DialectName = Annotated[
    str,
    typer.Option(
        help=f"Which fields it takes, by kind of server: {', '.join(DIALECTS)}.",
        rich_help_panel=AT_ENDPOINT,
    ),
]
PriceIn = Annotated[
    float,
    typer.Option(
        help="Price of 10^6 tokens that it reads, in any currency.",
        show_default=False,
        rich_help_panel=AT_ENDPOINT,
    ),
]
PriceOut = Annotated[
    float,
    typer.Option(
        help="Price of 10^6 tokens that it writes, in the same currency.",
        show_default=False,
        rich_help_panel=AT_ENDPOINT,
    ),
]
TaskColumn = Annotated[
    str | None,
    typer.Option(help="Name of the column with the task ids.", rich_help_panel=COLUMNS),
]
QuestionColumn = Annotated[
    str | None,
    typer.Option(
        help="Name of the column with the questions, if no id names the task.",
        rich_help_panel=COLUMNS,
    ),
]
ResponseColumn = Annotated[
    str | None,
    typer.Option(help="Name of the column with the responses.", rich_help_panel=COLUMNS),
]
ResponseIdColumn = Annotated[
    str | None,
    typer.Option(
        help="Name of the column with the response ids; '' numbers them.", rich_help_panel=COLUMNS
    ),
]
ModelName = Annotated[
    str | None,
    typer.Option(help="Name of the judge there.", rich_help_panel=AT_ENDPOINT),
]
#: Refused as it is read where it is another one: a model would be fetched for it first.
DeviceName = vllm_args.Device
Device = Annotated[DeviceName, typer.Option(help="Where a local model computes.")]
ReadingName = Annotated[str, typer.Option(help="auto, probability or sampled (the paper's way).")]
Executor = Annotated[
    str, typer.Option(help="ray: hand out by Ray Data; it pays from 100,000 calls on.")
]
Yes = Annotated[
    bool,
    typer.Option(
        "--yes",
        "-y",
        help="Do not ask after the estimate; needed in scripts, where nobody answers.",
    ),
]
Encoding = Annotated[str, typer.Option(help="Character encoding of text files, such as cp1252.")]


def by_ray(executor: str) -> bool:
    """Whether Ray hands out the work; refuses an executor that there is not.

    Raises:
        BadParameter: there is none of this name.
    """
    if executor not in EXECUTORS:
        raise typer.BadParameter(f"--executor {executor}: choose {' or '.join(EXECUTORS)}")
    return executor == "ray"


def named(**columns: str | None) -> dict[str, str]:
    """The columns that a user named, by what they hold; the others are guessed."""
    return {name: column for name, column in columns.items() if column is not None}


def price_of(price_in: float, price_out: float) -> Price | None:
    """The price of an endpoint; none where nothing was said.

    Raises:
        DataError: a price is negative.
    """
    for name, value in (("--price-in", price_in), ("--price-out", price_out)):
        if not value >= 0:
            raise DataError(f"{name} is {value:g}; a price of 10^6 tokens is 0 or more")
    return Price(price_in, price_out) if price_in or price_out else None


def chats_at(
    base_url: list[str] | None,
    key_env: str | None,
    dialect: str,
    price: Price | None,
    weights: str = "",
) -> Callable[[str], Chat]:
    """What makes the chat with a model at the endpoint of these options, from its name there.

    Nothing is checked before it makes one: without an endpoint the options say nothing.
    """
    return partial(
        Chat, base_url or [], weights=weights, dialect=dialect, key_env=key_env, price=price
    )


def check_output(output: Path, *inputs: Path) -> None:
    """Refuse an output that would destroy what it is made from, before anything is paid for.

    Raises:
        DataError: the output is an input, or a folder.
    """
    if output.is_dir():
        raise DataError(f"{output} is a folder: name a file in it, -o {output / 'out.jsonl'}")
    for path in inputs:
        if output.resolve() == path.resolve():
            raise DataError(f"{output} is read and would be overwritten: choose another -o")


@contextmanager
def recorded(
    model: str, endpoint: Chat | None, output: Path, settings: dict[str, Any]
) -> Iterator[Chat]:
    """A chat with its calls recorded beside the output: the endpoint, or a local model.

    An error on the way says that the next run goes on.
    """
    with recording(output) as cassette, answering(model, endpoint, cassette, settings) as chat:
        yield chat


@contextmanager
def answering(
    model: str, endpoint: Chat | None, cassette: Cassette | None, settings: dict[str, Any]
) -> Iterator[Chat]:
    """A chat with these calls on record: the endpoint, or a local model."""
    from rar_lib.models.server import local_chat

    if endpoint:
        yield replace(endpoint, cassette=cassette)
    else:
        with local_chat(model, settings, cassette) as chat:
            yield chat


@contextmanager
def recording(output: Path) -> Iterator[Cassette]:
    """The calls on record beside an output; an error on the way says that the next run goes on."""
    from rar_lib.judging.cassette import Cassette

    record = output.with_name(output.name + ".calls.sqlite")
    with closing(Cassette(record)) as cassette:
        if record.exists():
            typer.echo(f"{record}: calls on record are not asked again, nor paid for")
        try:
            yield cassette
        except RarError:
            if record.exists():
                typer.echo(
                    f"what was answered is in {record}: the same command goes on from there",
                    err=True,
                )
            raise


def cost(money: float | None) -> str:
    """What it cost, to be put behind other figures; nothing where it is not known."""
    return "" if money is None else f", {amount(money)} at the given price"


def show(loaded: Loaded[Any], what: str) -> None:
    """Which columns were taken for what, and every row that could not be used.

    Args:
        what: one of the items.
    """
    show_counted(loaded, counted(len(loaded.items), what))


def show_counted(loaded: Loaded[Any], items: str) -> None:
    """As :func:`show`, with how many items of which kinds in words."""
    typer.echo(wrapped(loaded.guess, "  "))
    left = f", {counted(loaded.left_out, 'row')} left out" if loaded.left_out else ""
    typer.echo(f"  {items}{left}")
    show_problems(loaded.problems)


def show_problems(problems: Sequence[Problem]) -> None:
    """Problems on the error stream, a line each, as far as anybody reads."""
    for problem in problems[:SHOWN]:
        typer.echo(wrapped(f"{problem.level}: {problem}", "  "), err=True)
    if len(problems) > SHOWN:
        typer.echo(f"and {len(problems) - SHOWN:,} more like these", err=True)


def wrapped(text: str, indent: str = "") -> str:
    """Text of anybody's in lines that fit, its invisible characters shown, no word cut."""
    lines = escaped(text, keep="\n").splitlines()
    return "\n".join(
        textwrap.fill(
            line,
            80,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
        for line in lines
    )


def asked(found: Estimate, *, yes: bool) -> bool:
    """Show an estimate, and whether to go on."""
    typer.echo(wrapped(str(found), "  "))
    return yes or typer.confirm("go on?")
