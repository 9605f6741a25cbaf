"""What several pages of the book say in the same words."""

from __future__ import annotations

#: The line of a page that what is computed takes the place of; a page with several names them.
GENERATED = "% generated"
#: The chapter of training, whose run the page of rollouts begins with.
TRAINING = "07_training_with_grpo"
#: The way of asking a judge for each criterion alone.
SINGLE = "explicit"


def many(count: int) -> str:
    """A count, or "none"."""
    return f"{count:,}" if count else "none"


def some_seeds(count: int) -> str:
    """So many seeds, or one seed."""
    return f"{count} seed{'s' * (count != 1)}"


def signed(value: float) -> str:
    """Two decimals with a sign; what is rounded to zero has none below it."""
    return f"{round(value, 2) + 0.0:+.2f}"


def in_hours(seconds: float) -> str:
    """One decimal, without the unit."""
    return f"{seconds / 3600:.1f}"
