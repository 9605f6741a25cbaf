"""`rar reproduce`, `rar replay`, `rar book`: the chapters, run and published."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ProfileName = Annotated[str, typer.Option(help="smoke, laptop or gpu.")]
Only = Annotated[list[str] | None, typer.Option(help="Notebook number, e.g. 04.")]


def reproduce(
    *,
    profile: ProfileName = "laptop",
    only: Only = None,
    force: Annotated[bool, typer.Option(help="Run notebooks that are up to date, too.")] = False,
    book: Annotated[bool, typer.Option(help="Build the book afterwards.")] = True,
) -> None:
    """Run what is missing or changed of the notebooks, then build the book."""
    from rar_lib.book import reproduce as chapters
    from rar_lib.book.profiles import load
    from rar_lib.cli.progress import view

    chapters.reproduce(
        load(profile),
        notebooks=Path("notebooks"),
        out=_out(profile),
        only=only,
        force=force,
        view=view,
    )
    if book and not only:
        _build(profile)


def replay(profile: ProfileName = "laptop", only: Only = None) -> None:
    """Execute the notebooks from recorded calls, into a folder of its own: no model, minutes."""
    from rar_lib.book import reproduce as chapters
    from rar_lib.book.profiles import load
    from rar_lib.cli.progress import view

    chapters.replay(
        load(profile), notebooks=Path("notebooks"), out=_out(profile), only=only, view=view
    )


def book(profile: ProfileName = "laptop") -> None:
    """Build the book from the notebooks that have been run."""
    _build(profile)


def _out(profile: str) -> Path:
    return Path("_build") / profile


def _build(profile: str) -> None:
    from rar_lib.book.build import build

    html = build(_out(profile), Path("book"), _out(profile) / "book", repo=Path.cwd())
    typer.echo(f"open {html / 'index.html'}")
