"""Sentences that state a result, written from it: numbers come in by name, never by hand.

    say("The rubric moves the judge by {gain}, so the claim is **{finding}**.", gain=i, finding=f)

A cell that calls :func:`say` shows a paragraph of the book, not console output. Values are text to
the page, whoever wrote them: their markup is shown as it stands.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from typing import Any

from rar_lib.core.decision import Finding
from rar_lib.core.stats import Interval

# What Markdown and MyST give a meaning to, wherever it stands in a line.
_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~$!&^@:-])")


def written(value: Any) -> str:
    """A value as a reader wants it: two decimals, intervals with bounds, lists with *and*."""
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{round(value, 2) + 0.0:.2f}"  # adding 0.0 turns a rounded -0.0 into 0.0
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, (Interval, Finding)):
        return str(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return listed([written(v) for v in value])
    return str(value)


def listed(words: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``; ``none`` for an empty list."""
    if len(words) < 2:
        return words[0] if words else "none"
    return f"{', '.join(words[:-1])} and {words[-1]}"


def sentence(template: str, /, **values: Any) -> str:
    """The template with its values written into it, as Markdown.

    Args:
        template: Markdown of the author, with ``{name}`` or ``{name:format}`` for each value.

    Raises:
        ValueError: the template holds a digit outside its braces: a number belongs into a value;
            or a value is given and not used.
        KeyError: a value is named and not given.
    """
    parts = list(string.Formatter().parse(template))
    typed = [text for text, *_ in parts if re.search(r"\d", text)]
    if typed:
        raise ValueError(f"a number is typed into {typed[0]!r}: give it as a value")
    used = {name for _, name, *_ in parts if name}
    if unused := sorted(set(values) - used):
        raise ValueError(f"not used in the sentence: {', '.join(unused)}")
    return "".join(text + _filled(name, spec, values) for text, name, spec, _ in parts)


def _filled(name: str | None, spec: str | None, values: dict[str, Any]) -> str:
    if not name:
        return ""
    value = values[name]
    text = format(value, spec) if spec else written(value)
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))


def say(template: str, /, **values: Any) -> None:
    """Show :func:`sentence` as a paragraph under the cell."""
    from IPython.display import Markdown, display

    display(Markdown(sentence(template, **values)))  # type: ignore[no-untyped-call]
