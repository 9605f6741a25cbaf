"""The command line: `rar --help` lists the commands."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from rar_lib.core.errors import DataError, RarError
from rar_lib.models.catalogue import MODELS

app = typer.Typer(
    help="Rubrics as Rewards, executable. Start with `rar reproduce`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Look at a task or pair file of your own.", no_args_is_help=True)
cassette_app = typer.Typer(help="Look at a file of recorded model calls.", no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(cassette_app, name="cassette")
JsonLines = Annotated[Path, typer.Argument(help="JSON lines, one object a line.")]
TaskFile = Annotated[Path | None, typer.Option(help="The tasks, if FILE holds pairs.")]
Recorded = Annotated[Path, typer.Argument(help="For example _build/laptop/calls.sqlite.")]
ProfileName = Annotated[str, typer.Option(help="smoke, laptop or gpu.")]
NAMES = f"{', '.join(list(MODELS)[:-1])} or {list(MODELS)[-1]}"


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Our own errors say what to do; a traceback would only bury that."""
    from rich.console import Console
    from rich.text import Text

    try:
        yield
    except RarError as error:
        Console(stderr=True).print(Text(f"error: {error}", style="bold red"), soft_wrap=True)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        Console(stderr=True).print("stopped; the next run continues from here")
        raise typer.Exit(130) from None


@app.command()
def reproduce(
    profile: ProfileName = "laptop",
    only: Annotated[list[str] | None, typer.Option(help="Notebook number, e.g. 04.")] = None,
    force: Annotated[bool, typer.Option(help="Run notebooks that are up to date, too.")] = False,
    book: Annotated[bool, typer.Option(help="Build the book afterwards.")] = True,
) -> None:
    """Run what is missing or changed of the notebooks, then build the book."""
    from rar_lib.book.profiles import load
    from rar_lib.book.reproduce import reproduce as run

    with _plain_errors():
        run(load(profile), notebooks=Path("notebooks"), out=_out(profile), only=only, force=force)
        if book and not only:
            _book(profile)


@app.command()
def replay(
    profile: ProfileName = "laptop",
    only: Annotated[list[str] | None, typer.Option(help="Notebook number, e.g. 04.")] = None,
) -> None:
    """Execute the notebooks again from recorded model calls: no model, no server, minutes."""
    from rar_lib.book.profiles import load
    from rar_lib.book.reproduce import replay as run

    with _plain_errors():
        run(load(profile), notebooks=Path("notebooks"), out=_out(profile), only=only)


@app.command()
def book(profile: ProfileName = "laptop") -> None:
    """Build the book from the notebooks that have been run."""
    with _plain_errors():
        _book(profile)


@app.command()
def serve(
    model: Annotated[str, typer.Argument(help=f"{NAMES}, or a folder; on cuda also a hub id.")],
    port: Annotated[int, typer.Option(help="0 takes a free one.")] = 0,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> None:
    """Serve a model on this machine behind an OpenAI-compatible URL, until Ctrl-C."""
    from rar_lib.models.server import serve_forever

    with _plain_errors():
        serve_forever(model, port=port, device=device)


@app.command()
def fetch(
    models: Annotated[
        list[str] | None, typer.Argument(help=f"{NAMES}. Default: the laptop profile's.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every model of that list.")] = False,
) -> None:
    """Fetch, verify and convert model weights; names and sizes first."""
    from rar_lib.book.profiles import load
    from rar_lib.core.files import home
    from rar_lib.models.store import disk_needed, model_dir

    with _plain_errors():
        if models and every:
            raise DataError(f"--all and {', '.join(models)}: give names, or --all, not both")
        names = models or (list(MODELS) if every else list(load("laptop").models))
        needed = disk_needed(names)  # refuses an unknown name before anything is fetched
        for name in names:
            state = "" if disk_needed([name]) else ", all of it here"
            typer.echo(f"{name}: {MODELS[name].sizes}{state}")
        typer.echo(f"still needed: {needed / 1e9:.1f} GB in {home()}")
        for name in names:
            typer.echo(f"{name}: {model_dir(name)}")


@app.command()
def synthesize(
    questions: Annotated[Path, typer.Argument(help="Tasks as JSON lines: id, question, ...")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Tasks with rubrics.")],
    model: Annotated[str, typer.Option(help="Who writes: a local model, or a name.")] = "qwen-1.5b",
    base_url: Annotated[str, typer.Option(help="An OpenAI-compatible endpoint.")] = "",
    key_env: Annotated[str, typer.Option(help="Variable with its key.")] = "OPENAI_API_KEY",
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
    from contextlib import ExitStack

    from rar_lib.core.types import Price
    from rar_lib.judging.cost import Estimate
    from rar_lib.models.server import connect
    from rar_lib.rubrics.synthesis import LARGE, SMALL, write_rubrics

    def proceed(found: Estimate) -> bool:
        typer.echo(str(found))
        return yes or typer.confirm("go on?")

    with _plain_errors(), ExitStack() as stack:
        record = output.with_name(output.name + ".calls.sqlite")
        chat = connect(
            stack, model, base_url=base_url, key_env=key_env, record=record, device=device
        )
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


@app.command()
def train(
    profile: ProfileName = "laptop",
    arm: Annotated[str, typer.Option(help="A method; a wrong name lists them all.")] = "implicit",
    seed: Annotated[int, typer.Option(min=0)] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Default: _build/PROFILE/train/ARM-SEED.")
    ] = None,
    backend: Annotated[str, typer.Option(help="auto, unsloth or transformers.")] = "auto",
    keep: Annotated[float, typer.Option(help="Rubric dropout: share of criteria a step.")] = 1.0,
) -> None:
    """Train one arm with the profile's judge; stopped runs go on where they were."""
    with _plain_errors():
        from rar_lib.cli.train import train_arm

        train_arm(profile, arm, seed, out=out, backend=backend, keep=keep, say=typer.echo)


@app.command()
def plan(
    profile: ProfileName = "laptop",
    judge: Annotated[str, typer.Option(help="Instead of the judge that rewards.")] = "",
    memory: Annotated[float, typer.Option(help="GB; 0 is 80, or this machine's.")] = 0.0,
    backend: Annotated[str, typer.Option(help="unsloth or transformers, on a GPU.")] = "unsloth",
    measure: Annotated[bool, typer.Option(help="Time each local model first: seconds.")] = False,
    rate: Annotated[
        tuple[float, float] | None,
        typer.Option(help="Tokens a second of the judge: read, written."),
    ] = None,
    price_in: Annotated[float, typer.Option(help="Price of 10^6 prompt tokens.")] = 0.0,
    price_out: Annotated[float, typer.Option(help="Price of 10^6 written tokens.")] = 0.0,
) -> None:
    """Memory, calls, tokens, time and cost of a profile, before anything starts."""
    from rar_lib.cli.plan import forecast
    from rar_lib.core.types import Price

    with _plain_errors():
        forecast(
            profile,
            judge=judge,
            memory_gb=memory,
            backend=backend,
            measure=measure,
            rate=rate,
            price=Price(price_in, price_out) if price_in or price_out else None,
        )


@data_app.command("check")
def data_check(file: JsonLines, tasks: TaskFile = None) -> None:
    """Say line by line what is wrong; exit code 1 if the loaders would refuse the file."""
    from rich.console import Console

    from rar_lib.cli import data
    from rar_lib.data import check

    with _plain_errors():
        problems = check.check(file, tasks)
        Console().print(data.render(problems))
        if any(problem.level == "error" for problem in problems):
            raise typer.Exit(1)


@data_app.command("show")
def data_show(file: JsonLines, tasks: TaskFile = None) -> None:
    """Counts, and the first row, safe to print whatever the file holds."""
    from rich.console import Console

    from rar_lib.cli import data
    from rar_lib.data import check

    with _plain_errors():
        Console().print(data.render(check.show(file, tasks)))


@cassette_app.command("stats")
def cassette_stats(file: Recorded) -> None:
    """Calls, tokens and seconds of every model on record."""
    from rich.console import Console
    from rich.table import Table

    from rar_lib.judging import cassette

    with _plain_errors():
        columns = ("calls", "prompt_tokens", "cached_tokens", "completion_tokens", "seconds")
        table = Table("model", *columns)
        for model, found in cassette.stats(file).items():
            table.add_row(model, *(f"{found.get(c, 0):,.0f}" for c in columns))
        Console().print(table)


@cassette_app.command("export")
def cassette_export(file: Recorded, target: Path) -> None:
    """Write all calls as JSON lines in a fixed order."""
    from rar_lib.judging import cassette

    with _plain_errors():
        typer.echo(f"{target}: {cassette.export(file, target)} calls")


@cassette_app.command("verify")
def cassette_verify(file: Recorded) -> None:
    """Check keys, replies and the file itself; exit code 1 if anything is wrong."""
    from rar_lib.judging import cassette

    with _plain_errors():
        wrong = cassette.verify(file)
        for line in wrong:
            typer.echo(line)
        typer.echo(f"{len(wrong)} problems")
        if wrong:
            raise typer.Exit(1)


def _out(profile: str) -> Path:
    return Path("_build") / profile


def _book(profile: str) -> None:
    from rar_lib.book.build import build

    html = build(_out(profile), Path("book"), _out(profile) / "book", repo=Path.cwd())
    typer.echo(f"open {html / 'index.html'}")


if __name__ == "__main__":
    app()
