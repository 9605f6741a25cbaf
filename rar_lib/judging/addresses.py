"""Addresses of one model: the least busy is asked, one that fails is left out for a while.

    turns = Turns(2)
    with turns.taken(turn := turns.choose(tried=())):
        ...                              # ask address number `turn`
    turns.failed(turn)                   # or turns.answered(turn)

Numbers and a clock, no requests: :class:`rar_lib.judging.chat.Chat` sends them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rar_lib.core.errors import JudgeFault

#: Seconds for which an address that failed is left out.
PAUSE_S = 30.0


class Unreached(JudgeFault):
    """An address gave no answer, for no fault of the request: another one may."""


@dataclass
class _Turn:
    """What is known of one address."""

    busy: int = 0
    asked: int = 0
    out_until: float | None = None  # it failed last


@dataclass
class Turns:
    """Whose turn it is, among addresses that are told by their number.

    Attributes:
        count: addresses, one or more.
        pause_s: seconds for which one that failed is left out.
    """

    count: int
    pause_s: float = PAUSE_S
    clock: Callable[[], float] = time.monotonic
    _all: list[_Turn] = field(init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        self._all = [_Turn() for _ in range(self.count)]

    def choose(self, tried: Collection[int] = ()) -> int | None:
        """The address to ask: the least busy of those that answer, of equal ones the least asked.

        After its pause one that failed is asked again, by one request at first. Where all are
        left out, the one whose pause ends first is asked all the same: a request that nobody can
        answer must not stop the others.

        Args:
            tried: those that this request has asked already.

        Returns:
            ``None`` where it has asked all.
        """
        with self._lock:
            left = [n for n in range(self.count) if n not in tried]
            ready = [n for n in left if self._is_ready(self._all[n])]
            if ready:
                return min(ready, key=lambda n: (self._all[n].busy, self._all[n].asked))
            return min(left, key=lambda n: self._all[n].out_until or 0.0, default=None)

    def _is_ready(self, turn: _Turn) -> bool:
        if turn.out_until is None:
            return True
        return turn.busy == 0 and self.clock() >= turn.out_until

    @contextmanager
    def taken(self, number: int) -> Iterator[None]:
        """Counts a request of this address for as long as the block lasts."""
        turn = self._all[number]
        with self._lock:
            turn.busy += 1
            turn.asked += 1
        try:
            yield
        finally:
            with self._lock:
                turn.busy -= 1

    def failed(self, number: int) -> bool:
        """It gave no answer: it is left out from now on. Whether that is news."""
        with self._lock:
            turn = self._all[number]
            news = turn.out_until is None
            turn.out_until = self.clock() + self.pause_s
            return news

    def answered(self, number: int) -> bool:
        """It answers. Whether that is news."""
        with self._lock:
            turn = self._all[number]
            news = turn.out_until is not None
            turn.out_until = None
            return news
