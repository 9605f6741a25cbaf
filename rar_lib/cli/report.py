"""`rar report`: grades, or a run of training, as one page that can be mailed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rar_lib.cli import own
from rar_lib.judging.cost import counted

if TYPE_CHECKING:
    from rar_lib.data.questions import Response

_TEXTS = "Texts that the grades or the run do not hold"


def report(
    source: Annotated[
        Path, typer.Argument(help="Grades of rar grade, or the folder of a run of rar train.")
    ],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="The page, an HTML file.")],
    tasks: Annotated[
        Path | None,
        typer.Option(help="Their questions and references are shown.", rich_help_panel=_TEXTS),
    ] = None,
    responses: Annotated[
        Path | None,
        typer.Option(
            help="The table that was graded; a run brings its own.", rich_help_panel=_TEXTS
        ),
    ] = None,
    grades: Annotated[
        Path | None,
        typer.Option(
            help="Grades of a run's held-out answers, ids before and after.",
            rich_help_panel=_TEXTS,
        ),
    ] = None,
    browse: Annotated[
        bool,
        typer.Option("--browse", help="Every answer and rollout of a run, to leaf through."),
    ] = False,
    title: Annotated[str, typer.Option(help="Instead of one made from the input.")] = "",
    encoding: own.Encoding = "utf-8",
    task_column: own.TaskColumn = None,
    question_column: own.QuestionColumn = None,
    response_column: own.ResponseColumn = None,
    id_column: own.ResponseIdColumn = None,
) -> None:
    """One self-contained page of your grades, or of a run, to mail or to keep.

    rar report grades.jsonl -o report.html
    rar report grades.jsonl -o report.html --tasks T.jsonl --responses R.csv
    rar report _build/laptop/train/implicit-0 -o run.html --tasks T.jsonl
    rar report _build/laptop/train/implicit-0 -o rollouts.html --browse

    The page loads nothing and runs nothing; every text of a model is escaped.
    With --browse it has a script of its own, which shows what you pick.

    Exit codes: 0 written; 1 refused or failed; 2 wrong usage;
    3 written, but texts of some responses are missing.
    """
    from rar_lib.book.report import read_source, write_report
    from rar_lib.evaluation.grading import load_grades
    from rar_lib.training.run import Run

    given = {
        "task": task_column,
        "response": response_column,
        "id": id_column,
        "question": question_column,
    }
    columns = {name: column for name, column in given.items() if column is not None}
    inputs = [path for path in (tasks, responses, grades) if path is not None]
    own.check_output(output, source, source / "run.json", *inputs)
    found = read_source(source)
    is_run = isinstance(found, Run)
    if browse and not is_run:
        raise typer.BadParameter("--browse is for a run of training; these are grades")
    _check_options(is_run, tasks, responses, grades)
    asked = []
    if tasks is not None:
        from rar_lib.data.questions import load_questions

        loaded = load_questions(tasks, encoding=encoding)
        own.show(loaded, "task")
        asked = loaded.items
    texts: list[Response] = []
    missing = 0
    if responses is not None and not isinstance(found, Run):
        from rar_lib.data.questions import load_responses

        read = load_responses(responses, asked, columns=columns, encoding=encoding)
        own.show(read, "response")
        texts = read.items
        known = {(one.task, one.id) for one in texts}
        missing = sum((row.task, row.response) not in known for row in found)
    held_out = load_grades(grades) if grades is not None else []
    write_report(
        source,
        output,
        tasks=asked,
        responses=texts,
        grades=held_out,
        title=title,
        browse=browse,
    )
    typer.echo(f"{output}: {output.stat().st_size / 1e3:,.0f} kB, one page; open it in any browser")
    if missing:
        said = counted(missing, "graded response")
        typer.echo(own.wrapped(f"warning: no text of {said} in {responses}", "  "), err=True)
        raise typer.Exit(own.PARTLY)


def _check_options(
    is_run: bool, tasks: Path | None, responses: Path | None, grades: Path | None
) -> None:
    """Refuse what this kind of input has no use for: it would be left out without a word.

    Raises:
        BadParameter: an option that does not fit.
    """
    if is_run and responses is not None:
        raise typer.BadParameter("--responses: a run holds its answers; leave it out")
    if not is_run and grades is not None:
        raise typer.BadParameter("--grades is for a run of training; these are grades already")
    if responses is not None and tasks is None:
        raise typer.BadParameter("--responses needs --tasks: a row names its task")
