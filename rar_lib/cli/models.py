"""`rar fetch`, `rar serve`: models on this machine."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from typing import Annotated

import typer

from rar_lib.cli import own
from rar_lib.core.errors import DataError, ServerError
from rar_lib.models.catalogue import MODELS

NAMES = f"{', '.join(list(MODELS)[:-1])} or {list(MODELS)[-1]}"


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


def serve(
    model: Annotated[str, typer.Argument(help=f"{NAMES}, or a folder; on cuda also a hub id.")],
    port: Annotated[int, typer.Option(help="0 takes a free one.")] = 0,
    device: own.Device = "cpu",
) -> None:
    """Serve a model on this machine behind an OpenAI-compatible URL, until Ctrl-C.

    Prompt and reply have at most 2,048 tokens together; for longer ones run
    vLLM yourself, as the README does on several GPUs.
    """
    serve_forever(model, port=port, device=device)


def serve_forever(model: str, **settings: object) -> None:
    """Serve until Ctrl-C or SIGTERM; takes the settings of `rar_lib.models.server.serve`.

    The address is the first line on stdout, which a script reads; what is told meanwhile goes
    to stderr.

    Raises:
        ServerError: The server did not start, or died later.
    """
    from rar_lib.models import server
    from rar_lib.models.vllm_args import post_mortem

    stdout = sys.stdout
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    with (
        contextlib.suppress(KeyboardInterrupt),
        contextlib.redirect_stdout(sys.stderr),
        server.serve(model, **settings) as endpoint,  # type: ignore[arg-type]
    ):
        said = f"{endpoint.base_url}  model {endpoint.model}  log {endpoint.log}"
        typer.echo(said, file=stdout)
        if not endpoint.owned:
            typer.echo("It was running already; the process that started it stops it.")
            return
        pid = endpoint.pid or 0
        while server.process_start(pid) is not None:
            time.sleep(1)
        assert endpoint.log is not None
        raise ServerError(post_mortem(endpoint.model, "died", endpoint.log))
