"""The view of a chapter that runs: a bar on a terminal, in a log a line a minute."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rar_lib.judging.cost import duration

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from rar_lib.book.notebook import Place
    from rar_lib.core.pace import Course

_log = logging.getLogger(__name__)
#: Seconds between two lines in a log.
INTERVAL_S = 60.0
Tell = Callable[["Place"], None]


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
