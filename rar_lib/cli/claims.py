"""`rar claims`: the paper's claims, each with what was found of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def claims(
    *,
    profile: Annotated[
        str, typer.Option(help="Whose chapters are read: smoke, laptop or gpu.")
    ] = "laptop",
    out: Annotated[
        Path | None, typer.Option(help="Where the JSON goes; default results/claims.json.")
    ] = None,
) -> None:
    """The paper's claims, each with its finding: a table, and results/claims.json."""
    from rar_lib.book import claims as book

    rows = book.ledger(profile)
    for row in rows:
        p = row.finding and row.finding.p_holm
        parts = [str(row.difference)] if row.difference else []
        parts += [f"p (Holm) {p:.3g}"] if p is not None else []
        typer.echo(f"{row.claim.id}: {', '.join([*parts, str(row.finding or row.word)])}")
    found = book.counts(rows)
    typer.echo(", ".join(f"{number} {word}" for word, number in found.items() if number))
    book.write(rows, profile, out or book.WRITTEN)
    typer.echo(f"written: {out or 'results/claims.json'}")
