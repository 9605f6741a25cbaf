"""`rar respond`: questions answered by a trained policy, or without its training."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from rar_lib.cli import own
from rar_lib.core.errors import DataError
from rar_lib.data.questions import load_questions
from rar_lib.judging.cost import counted
from rar_lib.training.policy import Policy, check_policy, write_responses
from rar_lib.training.run import Run
from rar_lib.training.settings import Settings, settings_of


def respond(
    questions: Annotated[
        Path, typer.Argument(help="Tasks, or questions: CSV, TSV, JSON lines or Parquet.")
    ],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Responses, JSON lines.")],
    run: Annotated[
        Path | None, typer.Option(help="Folder of rar train: its policy and adapter.")
    ] = None,
    base: Annotated[
        bool, typer.Option("--base", help="The policy of the run without its adapter.")
    ] = False,
    policy: Annotated[str | None, typer.Option(help=f"Instead of --run. {own.POLICIES}.")] = None,
    adapter: Annotated[
        Path | None, typer.Option(help="With --policy: folder of an adapter.")
    ] = None,
    device: own.Device = "cpu",
    max_tokens: Annotated[
        int | None,
        typer.Option(min=1, help="Longest response, in tokens. Default: the run's, or 256."),
    ] = None,
    encoding: own.Encoding = "utf-8",
) -> None:
    """Answer questions with a trained policy, or without its training.

    rar respond questions.csv -o responses.jsonl --run run
    rar grade tasks.jsonl responses.jsonl -o grades.jsonl

    Answers are greedy, one a question, asked as rar train asks: in two or
    three plain sentences, unless a task's history begins with a system turn.

    Exit codes: 0 all answered; 1 refused or failed; 2 wrong usage;
    3 written, but some rows could not be read;
    130 stopped: the same command goes on.
    """
    if (run is None) == (policy is None):
        raise typer.BadParameter("name what answers: --run FOLDER, or --policy NAME")
    if (base and run is None) or (adapter and policy is None):
        raise typer.BadParameter("--base goes with --run, --adapter with --policy")
    own.check_output(output, questions)
    settings, adapter = _answering(run, policy, adapter, base=base, device=device)
    longest = max_tokens or (settings.max_completion if run else 256)
    check_policy(settings.policy)
    found = load_questions(questions, encoding=encoding)
    own.show(found, "question")
    by = f"with {adapter}" if adapter else "without an adapter"
    typer.echo(
        own.wrapped(
            f"{settings.policy} {by}: {counted(len(found.items), 'response')} of up to "
            f"{longest} tokens; the time is known after the first part",
            "  ",
        )
    )
    write_responses(Policy(settings, adapter=adapter), found.items, output, max_tokens=longest)
    typer.echo(f"{output}: {counted(len(found.items), 'response')}")
    typer.echo(f"next:  rar grade TASKS {shlex.quote(str(output))} -o grades.jsonl")
    if found.left_out:
        raise typer.Exit(own.PARTLY)


def _answering(
    run: Path | None, policy: str | None, adapter: Path | None, *, base: bool, device: str
) -> tuple[Settings, Path | None]:
    """What answers, and its adapter.

    Raises:
        DataError: the run is none, or was made without an adapter.
    """
    if run is None:
        return settings_of({"device": device, "policy": str(policy)}), adapter
    path = run / "run.json"
    try:
        made = Run.load(path)
        settings = Settings.model_validate(made.identity["settings"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(
            f"{path} is not there or no run of rar train: name the folder of a finished run, its "
            "--out"
        ) from error
    settings = settings.model_copy(update={"device": device})
    return settings, None if base or made.arm == "base" else run / "adapter"
