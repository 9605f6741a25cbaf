"""Sentences that state a result, written from it: numbers come in by name, never by hand.

    say("The rubric moves the judge by {gain}, so the claim is **{finding}**.", gain=i, finding=f)

A cell that calls :func:`say` shows a paragraph of the book, not console output. Values are text to
the page, whoever wrote them: their markup is shown as it stands.
"""

from __future__ import annotations

import math
import re
import string
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rar_lib.core.decision import Finding
from rar_lib.core.stats import Interval
from rar_lib.core.text import visible

#: All that CommonMark, GitHub's or MyST's flavour gives a meaning to, in a line or at its head. A
#: point is left alone between digits only: behind one number it would begin a list, between
#: words a link to a web site. Of two commas and of four question marks the typographer leaves out
#: one; a comma at an end may come to stand beside one of the template's.
_MARKUP = re.compile(
    r"[\\`*_{}\[\]()<>&#|~$!^@:=+%\"'-]|\.(?!(?<=\d\.)\d)"
    r"|,(?=,|$)|(?:(?<=,)|^),|\?(?=\?)|(?<=\?)\?"
)
#: Not by a back-slash: the gate for pages would read a tag, notebook programs a formula.
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\\": "&#92;"}
#: Where a value would be code, an address, an attribute or a formula, which no escape reaches.
_UNREACHED = (
    (re.compile(r"^[^`]*`(?:[^`]*`[^`]*`)*[^`]*$", re.DOTALL), "back-ticks"),
    (re.compile(r"\]\([^)]*$"), "the address of a link"),
    (re.compile(r"<[^>]*$"), "a tag"),
    (re.compile(r"^[^$]*\$(?:[^$]*\$[^$]*\$)*[^$]*$", re.DOTALL), "a formula"),
)


def written(value: Any) -> str:
    """A value as a reader wants it: two decimals, intervals with bounds, lists with *and*."""
    if value is None:
        return "unknown"
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (float, np.floating)):
        # Adding 0.0 turns a rounded -0.0 into 0.0.
        return "unknown" if math.isnan(value) else f"{round(float(value), 2) + 0.0:.2f}"
    if isinstance(value, (int, np.integer)):
        return f"{value:,}"
    if isinstance(value, (Interval, Finding)):
        return str(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return listed([written(item) for item in value])
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
            or a value is given and not used, has no name, or stands where its markup would be
            read: in back-ticks, in an address, in a tag, in a formula.
        KeyError: a value is named and not given.
    """
    return _filled(template, values, _inert)


def plain(template: str, /, **values: Any) -> str:
    """As :func:`sentence`, as text that is read as it stands: for an alternative text.

    Raises:
        ValueError, KeyError: as :func:`sentence`.
    """
    return _filled(template, values, _one_line)


def _filled(template: str, values: Mapping[str, Any], shown: Callable[[str], str]) -> str:
    parts = list(string.Formatter().parse(template))
    typed = [text for text, *_ in parts if re.search(r"\d", text)]
    if typed:
        raise ValueError(f"a number is typed into {typed[0]!r}: give it as a value")
    before = ""
    found = ""
    for text, name, spec, conversion in parts:
        before += text
        found += text
        if name is not None:
            _check(name, conversion, before)
            value = values[name]
            # An empty value right behind another one is an ending that is not needed; anywhere
            # else the reader is told that there was nothing.
            ending = value == "" and not text and bool(found)
            found += "" if ending else shown(_formatted(value, spec) if spec else written(value))
    if unused := sorted(set(values) - {name for _, name, *_ in parts}):
        raise ValueError(f"not used in the sentence: {', '.join(unused)}")
    return found


def _formatted(value: Any, spec: str) -> str:
    """As Python formats it; a percent sign stands off its number, as the book writes it."""
    text = format(value, spec)
    return f"{text[:-1]} %" if spec.endswith("%") else text


def _check(name: str, conversion: str | None, before: str) -> None:
    """Refuse a value whose place would make more of it than text."""
    if not name.isidentifier() or conversion:
        raise ValueError(f"{{{name}}}: a value is {{name}} or {{name:format}}, no more")
    for pattern, place in _UNREACHED:
        if pattern.search(before):
            raise ValueError(f"{{{name}}} stands in {place}: there a value's markup is read")


def _inert(text: str) -> str:
    """Text in one line, every character of which is shown as it stands."""
    return _MARKUP.sub(lambda mark: _ENTITIES.get(mark[0], "\\" + mark[0]), _one_line(text))


def _one_line(text: str) -> str:
    return " ".join(visible(text).split()) or "(empty)"


def say(template: str, /, **values: Any) -> None:
    """Show :func:`sentence` as a paragraph under the cell."""
    from IPython.display import Markdown, display

    display(Markdown(sentence(template, **values)))  # type: ignore[no-untyped-call]
