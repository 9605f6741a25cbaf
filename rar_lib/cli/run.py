"""`rar reproduce`, `rar replay`, `rar book`, `rar claims`: the chapters.

A chapter that runs is shown as a bar on a terminal, in a log as a line a minute.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rar_lib.judging.cost import duration

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from rar_lib.book.notebook import Place
    from rar_lib.core.pace import Course

_log = logging.getLogger(__name__)
#: Seconds between two lines in a log.
INTERVAL_S = 60.0
Tell = Callable[["Place"], None]
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
    from rar_lib.book.pages.build import write_epub, write_pdf

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
    from rar_lib.book.pages.build import build

    html = build(_out(profile), Path("book"), _out(profile) / "book", repo=Path.cwd())
    typer.echo(f"open {html / 'index.html'}")


@dataclass
class Shown:
    """A chapter that runs, in words.

    Attributes:
        label: number and name of the chapter.
        place: the cell that runs; ``None`` before the first.
    """

    label: str
    stem: str
    course: Course
    clock: Callable[[], float] = time.monotonic
    place: Place | None = None
    begin: float = field(init=False)

    def __post_init__(self) -> None:
        self.begin = self.clock()

    def at(self, place: Place) -> None:
        """A cell begins."""
        self.place = place

    @property
    def elapsed(self) -> float:
        """Seconds since the chapter began."""
        return self.clock() - self.begin

    @property
    def cell(self) -> str:
        """Which cell of how many."""
        return f"cell {self.place.cell} of {self.place.cells}" if self.place else "starting"

    @property
    def left(self) -> str:
        """What the chapter and the whole run still take."""
        elapsed = self.elapsed
        own = self.course.chapter_left(self.stem, elapsed)
        every = self.course.left(self.stem, elapsed)
        if own is None:
            words = "time unknown"
        elif own:
            words = f"about {duration(own)} left"
        else:
            words = "longer than forecast"
        # The same to the second where no chapter follows.
        return words if every <= (own or 0.0) else f"{words}, {duration(every)} in all"

    def line(self) -> str:
        """All of it, for a log."""
        heading = f" ({self.place.heading})" if self.place and self.place.heading else ""
        return f"{self.label}: {self.cell}{heading}; {duration(self.elapsed)}, {self.left}"

    def bar(self) -> RenderableType:
        """All of it in two lines, for a terminal."""
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        cell, cells = (self.place.cell, self.place.cells) if self.place else (1, 1)
        top = Table.grid(padding=(0, 1), expand=True)
        top.add_column(no_wrap=True)
        top.add_column(ratio=1)
        top.add_column(no_wrap=True, justify="right")
        top.add_row(Text(self.label), ProgressBar(cells, cell - 1), Text(self.cell))
        whole = Table.grid(expand=True)
        whole.add_row(top)
        heading = f"  {self.place.heading}" if self.place else ""
        minutes, seconds = divmod(int(self.elapsed), 60)
        words = f"  {minutes}:{seconds:02}, {self.left}{heading}"
        whole.add_row(Text(words, style="dim", no_wrap=True, overflow="ellipsis"))
        return whole


@contextmanager
def view(label: str, stem: str, course: Course) -> Iterator[Tell]:
    """A :class:`rar_lib.book.reproduce.View` that suits what stdout is."""
    from rich.console import Console

    console = Console()
    shown = Shown(label, stem, course)
    with on_terminal(shown, console) if console.is_terminal else in_log(shown):
        yield shown.at


@contextmanager
def on_terminal(shown: Shown, console: Console) -> Iterator[None]:
    """Two lines, redrawn every second, gone at the end of the chapter."""
    from rich.live import Live

    with Live(
        console=console,
        get_renderable=shown.bar,
        refresh_per_second=1,
        transient=True,
        redirect_stderr=sys.stderr.isatty(),  # else it goes to a file, and is to go on doing so
    ):
        yield


@contextmanager
def in_log(shown: Shown, interval_s: float = INTERVAL_S) -> Iterator[None]:
    """A line each interval; none for a chapter that is over before."""
    over = threading.Event()

    def say() -> None:
        while not over.wait(interval_s):
            _log.info("%s", shown.line())

    teller = threading.Thread(target=say, daemon=True)
    teller.start()
    try:
        yield
    finally:
        over.set()
        teller.join()
