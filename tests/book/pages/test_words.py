"""Numbers as several pages of the book say them: one way to say each, and none that misleads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rar_lib.book.pages.words import (
    GENERATED,
    SINGLE,
    TRAINING,
    in_hours,
    many,
    signed,
    some_seeds,
)
from rar_lib.core.types import ARMS

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("count", "said"), [(0, "none"), (1, "1"), (999, "999"), (1_000, "1,000"), (28_800, "28,800")]
)
def test_nothing_is_said_in_a_word_and_much_with_commas(count: int, said: str) -> None:
    assert many(count) == said


@pytest.mark.parametrize(("count", "said"), [(0, "0 seeds"), (1, "1 seed"), (3, "3 seeds")])
def test_one_seed_is_one(count: int, said: str) -> None:
    assert some_seeds(count) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.125, "+0.12"),
        (-0.126, "-0.13"),
        (1, "+1.00"),
        (0.0, "+0.00"),
        (-0.0, "+0.00"),
        (-0.004, "+0.00"),
        (0.004, "+0.00"),
        (-0.006, "-0.01"),
        (12.345, "+12.35"),
    ],
)
def test_a_difference_has_a_sign_and_what_is_rounded_to_zero_is_not_below_it(
    value: float, said: str
) -> None:
    assert signed(value) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0.0"), (179, "0.0"), (181, "0.1"), (5_400, "1.5"), (360_000, "100.0")],
)
def test_hours_have_one_decimal(seconds: float, said: str) -> None:
    assert in_hours(seconds) == said


def test_the_names_that_pages_share_are_of_what_is_there() -> None:
    """A chapter, an arm and a line of a page: each is spelt somewhere else, too."""
    chapter = ROOT / "notebooks" / f"{TRAINING}.ipynb"
    assert json.loads(chapter.read_text(encoding="utf-8"))["cells"]
    assert SINGLE in ARMS
    pages = [path.read_text(encoding="utf-8") for path in (ROOT / "book").glob("*.md")]
    assert any(line.startswith(GENERATED) for text in pages for line in text.splitlines())
