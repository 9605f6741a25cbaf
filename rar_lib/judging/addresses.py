"""Addresses of one model: the least busy is asked, one that fails is left out for a while.

    turns = Turns(2)
    with turns.asking():
        with turns.taken(turn := turns.choose(tried=())):
            ...                          # ask address number `turn`
        turns.failed(turn)               # or turns.refused(turn, error), or turns.answered(turn)

Numbers and a clock, no requests: :class:`rar_lib.judging.chat.Chat` sends them.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rar_lib.core.errors import ChatError, JudgeFault
from rar_lib.judging.failures import LONGEST_WAIT, Refusal

#: Seconds for which an address that failed is left out.
PAUSE_S = 30.0


class Unreached(JudgeFault):
    """An address gave no answer, for no fault of the request: another one may."""


class Refused(ChatError):
    """An address refuses every request, for its key, account, model or limit: another may not.

    Attributes:
        words: what it said, with what mends it where waiting does not.
        after_s: seconds after which it says to come back, more than a request waits; ``None`` where
            it names no such time, and is left out for the run.
    """

    def __init__(self, where: str, refusal: Refusal, fix: str) -> None:
        super().__init__(f"{where} refuses every request ({refusal.words}): {fix}")
        limited = refusal.status in (429, 503)
        after = refusal.after_s or 0.0
        self.after_s = after if limited and after > LONGEST_WAIT else None
        self.words = refusal.words if self.after_s else f"{refusal.words}: {fix}"


@dataclass
class _Turn:
    """What is known of one address."""

    busy: int = 0
    asked: int = 0
    out_until: float | None = None  # it failed last
    refused: Refused | None = None  # until then it is not asked at all


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
    _asking: int = field(init=False, repr=False, default=0)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        self._all = [_Turn() for _ in range(self.count)]

    def choose(self, tried: Collection[int] = ()) -> int | None:
        """The address to ask: the least busy of those that answer, of equal ones the least asked.

        After its pause one that failed is asked again, by one request at first. Where all are
        left out, the one whose pause ends first is asked all the same: a request that nobody can
        answer must not stop the others. One that refuses every request is not asked before the
        time that it named.

        Args:
            tried: those that this request has asked already.

        Returns:
            ``None`` where it has asked all that may be asked.
        """
        with self._lock:
            left = [n for n in range(self.count) if n not in tried and not self._is_shut(n)]
            ready = [n for n in left if self._is_ready(self._all[n])]
            if ready:
                return min(ready, key=lambda n: (self._all[n].busy, self._all[n].asked))
            return min(left, key=lambda n: self._all[n].out_until or 0.0, default=None)

    def _is_ready(self, turn: _Turn) -> bool:
        if turn.out_until is None:
            return True
        return turn.busy == 0 and self.clock() >= turn.out_until

    def _is_shut(self, number: int) -> bool:
        turn = self._all[number]
        return turn.refused is not None and self.clock() < (turn.out_until or 0.0)

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Counts a request from before its first address to after its last.

        When no address is left and the last request has gone, the run is over, and the next one
        may ask all of them again: credit may have come meanwhile.
        """
        with self._lock:
            self._asking += 1
        try:
            yield
        finally:
            with self._lock:
                self._asking -= 1
                if not self._asking and all(self._is_shut(n) for n in range(self.count)):
                    self._all = [_Turn() for _ in range(self.count)]

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
            if self._is_shut(number):  # asked before it was
                return False
            news = turn.out_until is None
            turn.out_until = self.clock() + self.pause_s
            turn.refused = None
            return news

    def refused(self, number: int, error: Refused) -> bool:
        """It refuses every request: it is left out for its time, or for the run. If that is news.

        Of several refusals the one that lasts longest counts.
        """
        with self._lock:
            turn = self._all[number]
            until = self.clock() + (math.inf if error.after_s is None else error.after_s)
            news = turn.refused is None
            if news or until > (turn.out_until or 0.0):
                turn.out_until = until
                turn.refused = error
            return news

    def refusals(self) -> dict[int, Refused]:
        """What those have said that refuse every request, by their number."""
        with self._lock:
            return {n: turn.refused for n, turn in enumerate(self._all) if turn.refused is not None}

    def answered(self, number: int) -> bool:
        """It answers. Whether that is news: of what was asked before it refused all, it is not."""
        with self._lock:
            turn = self._all[number]
            if self._is_shut(number):
                return False
            news = turn.out_until is not None
            turn.out_until = None
            turn.refused = None
            return news
