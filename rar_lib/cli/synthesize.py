"""`rar synthesize`: rubrics for a user's own questions, with an estimate first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rar_lib.judging.chat import Chat
from rar_lib.judging.dialect import DIALECTS

if TYPE_CHECKING:
    from rar_lib.judging.cost import Estimate


def synthesize(
    questions: Annotated[Path, typer.Argument(help="Tasks as JSON lines: id, question, ...")],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Tasks with rubrics.")],
    model: Annotated[str, typer.Option(help="Who writes: a local model, or a name.")] = "qwen-1.5b",
    base_url: Annotated[str, typer.Option(help="An OpenAI-compatible endpoint.")] = "",
    key_env: Annotated[
        str | None,
        typer.Option(help="Variable with its key; by default OPENAI_API_KEY, off this machine."),
    ] = None,
    dialect: Annotated[
        str, typer.Option(help=f"What the endpoint takes: {', '.join(DIALECTS)}.")
    ] = "vllm",
    device: Annotated[str, typer.Option(help="cpu or cuda, for a local model.")] = "cpu",
    reference: Annotated[bool, typer.Option(help="Show the model the reference.")] = True,
    large: Annotated[
        bool, typer.Option(help="7 to 20 items as in the paper; the default suits small models.")
    ] = False,
    price_in: Annotated[float, typer.Option(help="Price of 10^6 prompt tokens.")] = 0.0,
    price_out: Annotated[float, typer.Option(help="Price of 10^6 written tokens.")] = 0.0,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Go on after the estimate.")] = False,
) -> None:
    """Write a rubric for each of your questions; stopped runs go on where they were."""
    from rar_lib.core.types import Price
    from rar_lib.rubrics.synthesis import LARGE, SMALL, write_rubrics

    def proceed(found: Estimate) -> bool:
        typer.echo(str(found))
        return yes or typer.confirm("go on?")

    record = output.with_name(output.name + ".calls.sqlite")
    endpoint = Chat(base_url, model, dialect=dialect, key_env=key_env) if base_url else None
    with _writer(endpoint, model, record=record, device=device) as chat:
        written = write_rubrics(
            questions,
            output,
            chat,
            with_reference=reference,
            size=LARGE if large else SMALL,
            price=Price(price_in, price_out) if price_in or price_out else None,
            proceed=proceed,
        )
    if written is None:
        raise typer.Exit(1)
    calls = written.usage.calls
    typer.echo(f"{written.path}: {written.rubrics} rubrics written in {calls} calls")
    if written.dropped:
        typer.echo(f"{written.dropped} repeated or malformed items were left out of them")
    for task, why in written.failed.items():
        typer.echo(f"no rubric for {task}: {why}", err=True)
    if written.failed:
        raise typer.Exit(1)


@contextmanager
def _writer(endpoint: Chat | None, model: str, *, record: Path, device: str) -> Iterator[Chat]:
    """A chat with recorded calls: the given endpoint, or a server of the model on this machine."""
    from rar_lib.judging.cassette import Cassette
    from rar_lib.models.server import local_chat

    with closing(Cassette(record)) as cassette:
        if endpoint:
            yield replace(endpoint, cassette=cassette)
            return
        with local_chat(model, {"device": device}, cassette) as chat:
            yield chat
