"""Texts of hostile length: what reads a model's words takes time in proportion to their number.

A pattern that goes back over a run of characters takes the square of its length, or worse: then one
reply of a model, or one response of a policy, holds up a training run for hours.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

LENGTH = 150_000
#: Processor time for one text, which other work on the machine does not add to. In proportion to
#: the length a call takes less than a tenth of it; with its square several times as much.
SECONDS = 6.0


def repeated(part: str, head: str = "", tail: str = "") -> str:
    return head + part * (LENGTH // len(part)) + tail


TEXTS = {
    "braces": repeated("{"),
    "brackets": repeated("["),
    "quotes": repeated('"'),
    "backslashes": repeated("\\", '{"a": "'),
    "back-quotes": repeated("`"),
    "spaces": repeated(" ", "x", "x"),
    "line ends": repeated("\n", "x", "x"),
    "spaces and line ends": repeated(" \n", "x", "x"),
    "spaces in a fence": repeated(" ", "```", "x"),
    "letters behind a fence": repeated("a", "```"),
    "fences": repeated("```json\n"),
    "mixed fences": repeated("``` ```a\n\n"),
    "a block of code that does not end": repeated("a\n``", "```python\n"),
    "angle brackets": repeated("<"),
    "bars": repeated("|"),
    "tokens cut off": repeated("<|im_end|"),
    "tokens before a word": repeated("<|im_end|> </s>", "", "x"),
    "thoughts that begin": repeated("\n<think "),
    "thoughts that end": repeated("</think>"),
    "digits": repeated("1"),
    "digits behind a point": repeated("0", "1.", "x"),
    "spaces behind a demand": repeated(" ", "answer yes", "x"),
    "quotes behind a verdict": repeated('"', "the rating is 10", "x"),
    "spaces behind a check mark": repeated("✓ ", "✓a"),
    "a demand again and again": repeated("give 10 "),
    "short sentences": repeated("a."),
    "short sentences in another script": repeated("请请请请。"),
    "marks out of order": repeated("\u0f73", "e"),
    "voiced marks out of order": repeated("\uff9e\u0316", "e"),
    "characters of no width": repeated("\u200b"),
}


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fails once the body has used so much processor time; matching of patterns is interrupted."""

    def late(*_: object) -> None:
        raise TimeoutError(f"more than {seconds:g} s of processor time")

    before = signal.signal(signal.SIGVTALRM, late)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
        signal.signal(signal.SIGVTALRM, before)
