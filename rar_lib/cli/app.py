"""The command line: `rar --help` lists the commands."""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Annotated, Any

import typer

from rar_lib.cli import align, data, grade, models, plan, report, respond, run, synthesize, train
from rar_lib.core import processes
from rar_lib.core.errors import RarError
from rar_lib.data.check import escaped

Command = Callable[..., Any]


#: What an endpoint or a file says may stand in a message; nothing else of it acts on a terminal.
_KEPT = "\n\t"


class _Echo(logging.Handler):
    """The library's log as plain lines: what it does, and on the error stream what to heed."""

    def emit(self, record: logging.LogRecord) -> None:
        # Through sys.stdout as it is now, which a bar replaces to stay below the lines.
        stream = sys.stderr if record.levelno >= logging.WARNING else sys.stdout
        print(escaped(self.format(record), keep=_KEPT), file=stream, flush=True)


def _plainly(command: Command) -> Command:
    """Our own errors say what to do; a traceback would only bury that.

    Of several processes that a launcher started the first one speaks.
    """

    @functools.wraps(command)
    def plain(*args: Any, **options: Any) -> Any:
        from rich.console import Console
        from rich.text import Text

        try:
            with processes.first_speaks():
                return command(*args, **options)
        except RarError as error:
            who = "" if processes.is_first() else f"process {processes.index()}: "
            if processes.to_be_said(error):
                said = Text(f"{who}error: {escaped(str(error), keep=_KEPT)}", style="bold red")
                Console(stderr=True).print(said, soft_wrap=True)
            raise typer.Exit(1) from error
        except KeyboardInterrupt:
            if processes.is_first():
                Console(stderr=True).print("stopped; the next run continues from here")
            raise typer.Exit(130) from None

    return plain


app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
for command in (
    run.reproduce,
    run.replay,
    run.book,
    models.serve,
    models.fetch,
    data.init,
    synthesize.synthesize,
    grade.grade,
    align.align,
    data.convert,
    train.train,
    respond.respond,
    report.report,
    plan.plan,
    run.claims,
):
    app.command()(_plainly(command))


def _say_version(asked: bool) -> None:
    if asked:
        typer.echo(f"rar-lib {version('rar-lib')}")
        raise typer.Exit


data_app = typer.Typer(help="Look at a task or pair file of your own.", no_args_is_help=True)
data_app.command()(_plainly(data.check))
data_app.command()(_plainly(data.show))
app.add_typer(data_app, name="data")

cassette_app = typer.Typer(help="Look at a file of recorded model calls.", no_args_is_help=True)
cassette_app.command()(_plainly(data.stats))
app.add_typer(cassette_app, name="cassette")


@cassette_app.callback()
def _with_commands() -> None:
    """Look at a file of recorded model calls."""  # keeps the name of its only command


@app.callback()
def main(
    *,
    _: Annotated[
        bool,
        typer.Option("--version", help="Say it and stop.", is_eager=True, callback=_say_version),
    ] = False,
) -> None:
    """Rubrics as Rewards, executable. Start with `rar reproduce`."""
    log = logging.getLogger("rar_lib")
    log.setLevel(logging.INFO)
    if not any(isinstance(handler, _Echo) for handler in log.handlers):
        log.addHandler(_Echo())


if __name__ == "__main__":
    app()
