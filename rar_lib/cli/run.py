"""`rar reproduce`, `rar replay`, `rar book`, `rar claims`: the chapters."""

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


def book(
    *,
    profile: ProfileName = "laptop",
    pdf: Annotated[bool, typer.Option("--pdf", help="One PDF, too; needs Chromium.")] = False,
    epub: Annotated[bool, typer.Option("--epub", help="One EPUB, too.")] = False,
) -> None:
    """Build the book from the notebooks that have been run."""
    from rar_lib.book.build import write_epub, write_pdf

    _build(profile)
    out = _out(profile)
    if epub:
        made = write_epub(out, Path("book"), out / "book", repo=Path.cwd())
        typer.echo(f"EPUB: {made} ({made.stat().st_size / 1e6:.1f} MB)")
    if pdf:
        made = write_pdf(Path("book"), out / "book")
        typer.echo(f"PDF: {made} ({made.stat().st_size / 1e6:.1f} MB)")


def claims(
    *,
    out: Annotated[
        Path | None, typer.Option(help="Where the JSON goes; default results/claims.json.")
    ] = None,
) -> None:
    """The paper's claims, each with its finding: a table, and results/claims.json."""
    from rar_lib.book import claims as book

    rows = book.ledger()
    for row in rows:
        corrected = row.finding and row.finding.p_holm
        parts = [str(row.difference)] if row.difference else []
        parts += [f"p (Holm) {corrected:.3g}"] if corrected is not None else []
        typer.echo(f"{row.claim.id}: {', '.join([*parts, str(row.finding or row.word)])}")
    found = book.counts(rows)
    typer.echo(", ".join(f"{number} {word}" for word, number in found.items() if number))
    book.write(rows, out or book.WRITTEN)
    typer.echo(f"written: {out or 'results/claims.json'}")


def _out(profile: str) -> Path:
    return Path("_build") / profile


def _build(profile: str) -> None:
    from rar_lib.book.build import build

    html = build(_out(profile), Path("book"), _out(profile) / "book", repo=Path.cwd())
    typer.echo(f"open {html / 'index.html'}")
