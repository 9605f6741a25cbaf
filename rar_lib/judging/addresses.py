"""Addresses of a model: whose turn it is, how long one that gives no answer is waited for.

    turns = Turns(2)
    with turns.asking():
        with turns.taken(turn := turns.choose(tried=())):
            ...                          # ask address number `turn`
        turns.failed(turn)               # or turns.refused(turn, error), or turns.answered(turn)

    outage = Outage()                    # of one address alone: nobody else can be asked
    if outage.waits(failure, tries=5, limit_s=180.0):
        await asyncio.sleep(pause_s(5, failure.after_s))

Of several the least busy is asked, and one that fails is left out for a while. Numbers and a clock,
no requests: :class:`rar_lib.judging.chat.Chat` sends them.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rar_lib.core.errors import ChatError, JudgeFault
from rar_lib.judging.failures import LONGEST_WAIT, Refusal

#: Seconds for which an address that failed is left out.
PAUSE_S = 30.0
#: Tries of a request that waiting may not help; with the pauses between them some seconds.
TRIES = 5
#: Seconds before the second try; from try to try they double.
_FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
#: Seconds without any answer after which that is said.
_NEWS_S = 5.0
#: Of our own: whoever set the seed of the others gets the numbers that belong to it.
_JITTER = random.Random()


class Failed(JudgeFault):
    """A request that is worth another try.

    Attributes:
        tries: of one request, waiting aside.
        after_s: seconds after which the endpoint says to come back; ``None`` if it does not say.
        passes: whether the endpoint is busy or away, which ends by itself.
    """

    tries = TRIES

    def __init__(self, said: str, *, after_s: float | None = None, passes: bool = False) -> None:
        super().__init__(said)
        self.after_s = after_s
        self.passes = passes


class Unreached(Failed):
    """An address gave no answer, for no fault of the request: another one may."""


class Garbled(Failed):
    """The answer of an address can't be decoded: cut on its way, or never right."""

    tries = 2


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
class Outage:
    """For how long an address has given no answer, and whether a request is sent there again.

    One that has answered before, were it only to say that it is busy, is waited for: a judge that
    starts anew, or has too much to do, comes back. The time counts from the first request that it
    left without an answer, so that a thousand requests do not each wait for one that is gone; it
    begins anew where nobody has asked for longer than a request pauses. Where nobody has ever
    answered, the address is more likely wrong.

    Attributes:
        reached: whether anybody has ever answered there.
        since: when it was first found busy or away, without an answer since.
    """

    clock: Callable[[], float] = time.monotonic
    reached: bool = False
    since: float | None = None
    _last: float = field(init=False, repr=False, default=0.0)
    _said: bool = field(init=False, repr=False, default=False)

    def waits(self, failure: Failed, *, tries: int, limit_s: float) -> bool:
        """Whether a request that has failed so often is sent again.

        Args:
            tries: all have failed, the last one so.
            limit_s: seconds for which an address is waited for; 0 where another can be asked.
        """
        if failure.passes:
            now = self.clock()
            if self.since is None or now - self._last > LONGEST_WAIT:
                self.since = now
            self._last = now
        if tries < failure.tries:
            return True
        return failure.passes and self.reached and self._lasts() < limit_s

    def is_news(self) -> bool:
        """Whether it is waited for, nobody has been told, and it has lasted for some seconds."""
        news = self.reached and not self._said and self._lasts() >= _NEWS_S
        self._said = self._said or news
        return news

    def answered(self) -> bool:
        """It answers. Whether that is news to whoever was told that it did not."""
        news = self._said
        self.reached = True
        self.since = None
        self._said = False
        return news

    def _lasts(self) -> float:
        return 0.0 if self.since is None else self.clock() - self.since


def pause_s(tries: int, after_s: float | None = None) -> float:
    """Seconds before a request is sent again, which has failed so often.

    They double from try to try, up to :data:`LONGEST_PAUSE_S`, less up to a quarter by chance, so
    that those who failed together do not come back together. When to come back the endpoint knows
    better; but who was told so in vain waits for as long as all others at least.

    Args:
        after_s: seconds after which the endpoint says to come back.
    """
    grown = min(LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(tries - 1, 10))
    own = grown * (1.0 - _JITTER.random() / 4)
    if not after_s or after_s > LONGEST_WAIT:
        return own
    return after_s if tries < TRIES else max(after_s, own)


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
