"""What will it cost? Calls, tokens, seconds, money, before they are spent.

    work = grading_work([(task, response)], "explicit")
    print(estimate(work, await measure_rate(chat)))

Tokens are counted from the real prompts at four characters a token, which is close for English
prose (a test holds the prediction against the server's own count). Seconds come from a rate
that was measured on this endpoint, never from a table.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from rar_lib.core.errors import DataError
from rar_lib.core.types import Arm, Price, Task
from rar_lib.judging.chat import Chat, together
from rar_lib.judging.messages import OWN, JudgeMessages, prompts_of
from rar_lib.judging.wire import Reply

_CHARACTERS_A_TOKEN = 4.0
#: Tokens of a chat template around a prompt.
TEMPLATE = 20


@dataclass(frozen=True)
class Work:
    """Model calls and their tokens.

    Attributes:
        prompt_tokens: as an API bills them.
        fresh_tokens: those that a server with a prefix cache has to compute.
    """

    calls: int = 0
    prompt_tokens: int = 0
    fresh_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: Work) -> Work:
        return Work(
            self.calls + other.calls,
            self.prompt_tokens + other.prompt_tokens,
            self.fresh_tokens + other.fresh_tokens,
            self.completion_tokens + other.completion_tokens,
        )


@dataclass(frozen=True)
class Rate:
    """Tokens a second of one endpoint under concurrent load, read and written.

    Raises:
        DataError: one of them is no number above 0.
    """

    prompt_per_s: float
    completion_per_s: float

    def __post_init__(self) -> None:
        for what, rate in (("read", self.prompt_per_s), ("written", self.completion_per_s)):
            if not 0 < rate < math.inf:  # not a number, too
                raise DataError(
                    f"the rate is {rate:g} tokens {what} a second; it must be a number above 0: "
                    "measure it, or give none where it is not known"
                )


@dataclass(frozen=True)
class Estimate:
    """A prediction; ``None`` where no rate or price is known."""

    work: Work
    seconds: float | None
    money: float | None

    def __str__(self) -> str:
        parts = [
            f"{self.work.calls:,} calls, about {self.work.prompt_tokens:,} tokens read "
            f"({self.work.fresh_tokens:,} of them computed) and "
            f"{self.work.completion_tokens:,} written"
        ]
        if self.seconds is not None:
            parts.append(f"about {duration(self.seconds)}")
        if self.money is not None:
            parts.append(f"about {self.money:.2f} at the given price")
        return "; ".join(parts)


def estimate(work: Work, rate: Rate | None = None, price: Price | None = None) -> Estimate:
    """What the work takes at a measured rate and a given price."""
    seconds = money = None
    if rate:
        seconds = work.fresh_tokens / rate.prompt_per_s
        seconds += work.completion_tokens / rate.completion_per_s
    if price:
        money = (
            work.prompt_tokens * price.prompt + work.completion_tokens * price.completion
        ) / 1e6
    return Estimate(work, seconds, money)


def tokens(text: str) -> int:
    """Tokens of an English text, roughly."""
    return math.ceil(len(text) / _CHARACTERS_A_TOKEN)


def grading_work(
    items: Sequence[tuple[Task, str]], arm: Arm, messages: JudgeMessages = OWN
) -> Work:
    """Grades of these (task, response) items in one arm, one written token a call.

    Prompts of one task that begin alike are computed once (the server's prefix cache).

    Args:
        messages: what the judge is asked, by default in the library's own words.

    Raises:
        DataError: the arm needs a rubric or a reference that a task does not have.
    """
    total = Work()
    begun: dict[str, list[str]] = {}
    for task, response in items:
        seen = begun.setdefault(task.id, [])
        for prompt in prompts_of(task, response, arm, messages=messages):
            count = tokens(prompt) + TEMPLATE
            fresh = (
                count - max((common_length(prompt, earlier) for earlier in seen), default=0) // 4
            )
            total += Work(1, count, fresh, 1)
            seen.append(prompt)
    return total


def common_length(one: str, other: str) -> int:
    """Length of the common beginning of two texts, by halving: there are many long pairs."""
    low = 0
    high = min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


#: Prompts of each batch by which a rate is measured.
_BATCH = 16


async def measure_rate(chat: Chat) -> Rate | None:
    """Measure an endpoint: a batch of long prompts with one token each, then short ones that write.

    The prompts are new each time, so no cache can flatter the result. Takes seconds.

    Returns:
        ``None`` where a reply does not say how many tokens were read and written: an unknown rate
        is not 0.
    """
    fresh = chat.unrecorded()
    mark = time.time_ns()

    async def batch(text: str, written: int) -> tuple[float, list[Reply]]:
        start = time.perf_counter()
        asks = (
            fresh.complete(
                [{"role": "user", "content": f"{mark + n} {text}"}], max_tokens=written, seed=n
            )
            for n in range(_BATCH)
        )
        replies = await together(asks)
        return time.perf_counter() - start, replies

    await batch("Hello", 1)  # the first call may start a server
    mark += _BATCH
    reading, read = await batch("Ice floats because it is less dense than water. " * 30, 1)
    mark += _BATCH
    writing, wrote = await batch("Write a long story about a river.", 32)
    if not all(reply.usage.prompt_tokens for reply in (*read, *wrote)):
        return None
    prompt = sum(reply.usage.prompt_tokens for reply in read)
    written = sum(reply.usage.completion_tokens for reply in wrote)
    if not written:
        return None
    return Rate(
        prompt_per_s=prompt / reading,
        completion_per_s=written / writing,
    )


def counted(number: int, noun: str, nouns: str = "") -> str:
    """``1 row``, ``2,000 rows``.

    Args:
        nouns: of several, where that is not the noun with an s.
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {nouns or noun + 's'}"


def amount(money: float) -> str:
    """Money as a person says it: cents where there is a whole unit, else two digits."""
    return f"{money:,.2f}" if money >= 1 else f"{money:.2g}"


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
