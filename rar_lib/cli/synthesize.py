"""`rar synthesize`: rubrics for a user's own questions, with an estimate first."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rar_lib.cli import own
from rar_lib.judging.chat import Chat
from rar_lib.judging.cost import counted

if TYPE_CHECKING:
    from rar_lib.core.types import Task
    from rar_lib.rubrics.synthesis import Synthesis, Written


def synthesize(
    questions: Annotated[
        Path, typer.Argument(help="CSV, TSV, JSON lines or Parquet, one question a row.")
    ],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Tasks with rubrics.")],
    model: Annotated[
        str, typer.Option(help="Who writes: a local model, or a name at the endpoint.")
    ] = "qwen-1.5b",
    base_url: own.BaseUrl = None,
    key_env: own.KeyEnv = None,
    dialect: own.DialectName = "vllm",
    device: own.Device = "cpu",
    without_reference: Annotated[
        bool, typer.Option("--no-reference", help="Write without showing the reference.")
    ] = False,
    large: Annotated[
        bool,
        typer.Option("--large", help="7 to 20 items as in the paper, for models above 3B."),
    ] = False,
    domain: Annotated[
        str, typer.Option(help="Domain of rows that name none: medicine, science or other.")
    ] = "other",
    encoding: own.Encoding = "utf-8",
    price_in: own.PriceIn = 0.0,
    price_out: own.PriceOut = 0.0,
    question_column: Annotated[
        str | None,
        typer.Option(help="Name of the column with the questions.", rich_help_panel=own.COLUMNS),
    ] = None,
    reference_column: Annotated[
        str | None,
        typer.Option(
            help="Name of the column with the reference answers.", rich_help_panel=own.COLUMNS
        ),
    ] = None,
    id_column: Annotated[
        str | None,
        typer.Option(
            help="Name of the column with the ids; '' makes them from the text.",
            rich_help_panel=own.COLUMNS,
        ),
    ] = None,
    domain_column: Annotated[
        str | None,
        typer.Option(help="Name of the column with the domains.", rich_help_panel=own.COLUMNS),
    ] = None,
    executor: own.Executor = "async",
    yes: own.Yes = False,
) -> None:
    """Write a rubric for each of your questions; stopped runs go on where they were.

    rar synthesize questions.csv -o tasks.jsonl

    Columns are guessed by their names and shown.
    Rows that can't be used are named with their line; the others go on.

    Exit codes: 0 a rubric for every question; 1 refused or failed;
    2 wrong usage; 3 written, but some rows or rubrics are missing;
    130 stopped: the same command goes on.
    """
    from rar_lib.data.questions import load_questions
    from rar_lib.rubrics.synthesis import LARGE, SMALL, write_rubrics

    ray = own.by_ray(executor)
    own.check_output(output, questions)
    columns = own.named(
        question=question_column, reference=reference_column, id=id_column, domain=domain_column
    )
    found = load_questions(questions, columns=columns, domain=domain, encoding=encoding)
    own.show(found, "question")
    bare = sum(task.rubric is None and task.reference is None for task in found.items)
    if not without_reference and 0 < bare < len(found.items):
        typer.echo(f"  {bare} of them have no reference and get no rubric; --no-reference asks all")
    price = own.price_of(price_in, price_out)
    at = own.chats_at(base_url, key_env, dialect, price)
    size = LARGE if large else SMALL
    with own.recorded(model, at(model) if base_url else None, output, {"device": device}) as chat:
        written = write_rubrics(
            found.items,
            output,
            chat,
            with_reference=not without_reference,
            size=size,
            price=price,
            proceed=lambda estimate: own.asked(estimate, yes=yes),
            executor=_by_ray(chat, not without_reference, size) if ray else None,
        )
    if written is None:
        raise typer.Exit(1)
    _report(written)
    if written.failed or found.left_out:
        raise typer.Exit(own.PARTLY)


def _by_ray(
    chat: Chat, with_reference: bool, size: tuple[int, int]
) -> Callable[[Sequence[Task]], list[Synthesis]]:
    """Rubrics from actors of Ray."""
    from rar_lib.models.ray import spread
    from rar_lib.rubrics.synthesis import read_synthesis, synthesize_items

    job = partial(synthesize_items, with_reference=with_reference, size=size)

    def executor(tasks: Sequence[Task]) -> list[Synthesis]:
        items = [task.model_dump_json() for task in tasks]
        return [read_synthesis(one) for one in spread(job, items, chat, progress="rubrics")]

    return executor


def _report(written: Written) -> None:
    """What came of it, and what to do next."""
    usage = written.usage
    done = (
        f"{written.path}: {counted(written.rubrics, 'rubric')} written in "
        f"{counted(usage.calls, 'call')}, {usage.prompt_tokens:,} tokens read, "
        f"{usage.completion_tokens:,} written{own.cost(usage.money)}"
    )
    typer.echo(own.wrapped(done, "  "))
    if written.dropped:
        typer.echo(f"{written.dropped} repeated or malformed items were left out of them")
    for task, why in list(written.failed.items())[: own.SHOWN]:
        typer.echo(own.wrapped(f"no rubric for {task}: {why}", "  "), err=True)
    if len(written.failed) > own.SHOWN:
        typer.echo(f"and for {len(written.failed) - own.SHOWN} more tasks", err=True)
    path = shlex.quote(str(written.path))
    typer.echo(f"look:  rar data show {path}")
    typer.echo(f"next:  rar grade {path} RESPONSES -o grades.jsonl --arm explicit")
