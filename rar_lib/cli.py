"""The command line: ``rar reproduce``, ``rar book``, ``rar serve``, ``rar fetch``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from rar_lib.errors import RarError

app = typer.Typer(
    help="Rubrics as Rewards, executable. Start with `rar reproduce`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
ProfileName = Annotated[str, typer.Option(help="smoke, laptop, study or gpu.")]


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
    from rar_lib.profiles import load
    from rar_lib.reproduce import reproduce as run

    with _plain_errors():
        run(load(profile), notebooks=Path("notebooks"), out=_out(profile), only=only, force=force)
        if book and not only:
            _book(profile)


@app.command()
def book(profile: ProfileName = "laptop") -> None:
    """Build the book from the notebooks that have been run."""
    with _plain_errors():
        _book(profile)


@app.command()
def serve(
    model: Annotated[str, typer.Argument(help="smollm2-135m, qwen-0.5b or qwen-1.5b.")],
    port: Annotated[int, typer.Option(help="0 takes a free one.")] = 0,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> None:
    """Serve a model on this machine behind an OpenAI-compatible URL, until Ctrl-C."""
    from rar_lib.server import serve_forever

    with _plain_errors():
        serve_forever(model, port=port, device=device)


@app.command()
def fetch(
    models: Annotated[list[str] | None, typer.Argument(help="Default: all three.")] = None,
) -> None:
    """Fetch, verify and convert model weights."""
    from rar_lib.artifacts import MODELS, model_dir

    with _plain_errors():
        for name in models or list(MODELS):
            typer.echo(f"{name}: {model_dir(name)}")


def _out(profile: str) -> Path:
    return Path("_build") / profile


def _book(profile: str) -> None:
    from rar_lib.bookbuild import build

    html = build(_out(profile), Path("book"), _out(profile) / "book", repo=Path.cwd())
    typer.echo(f"open {html / 'index.html'}")


if __name__ == "__main__":
    app()
