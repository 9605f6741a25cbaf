"""Asking a multiple-choice question and reading the letter out of the reply.

As the paper does it (v2, section 4.5 and A.4): the options are shuffled for each question,
and the answer is the letter in ``\\boxed{}``. Where there is no box the paper asks GPT-4o;
here the last line may give the letter instead, and every answer says which way it was read.
"""

from __future__ import annotations

import random
import re
from typing import Literal, NamedTuple

from rar_lib.prompts import fill, visible
from rar_lib.types import MultipleChoice

LETTERS = "ABCDEFGHIJ"
_COMMAND = re.compile(r"\\(?:text|textbf|textit|textrm|texttt|textsf|mathrm|mathbf|mathbb|bf|rm)\b")
_SPACING = re.compile(r"\\[,;:!() ]|[${}*_`]|\\\[|\\\]|~")
_NAMED = r"(?:the\s+)?(?:final\s+|correct\s+|right\s+|best\s+)*(?:answer|option|choice)(?:\s+is\b)?"
_ANSWER = re.compile(rf"{_NAMED}\s*[:=]?\s*(?=\S)(.*)", re.IGNORECASE | re.DOTALL)
_LETTER = re.compile(r"[(\[]?\s*([A-Ja-j])\s*(?:[)\].:](.*))?", re.DOTALL)
#: The head of a line that repeats an option.
_OPTION_LINE = re.compile(r"[*_(\[]*([A-J])[)\].:]")
#: Behind a letter: another one, or a word that promises one.
_ANOTHER = re.compile(r"\s*(?:(?:and|or)\b|[,;/&]|[(\[]?[A-Ja-j][)\].\s]*$)")


class Reading(NamedTuple):
    """The letter of a reply, ``None`` if it gives none, and where it stood."""

    letter: str | None
    way: Literal["boxed", "last line", "none"]


def shuffled(choice: MultipleChoice, seed: int) -> tuple[str, str]:
    """The prompt with lettered options in random order, and the right letter.

    The order depends on the seed and the question's id alone, so the same run can be
    repeated and questions do not share an order.
    """
    order = list(range(len(choice.options)))
    random.Random(f"{seed} {choice.id}").shuffle(order)
    lines = [f"{LETTERS[place]}. {choice.options[index]}" for place, index in enumerate(order)]
    prompt = fill(
        "multiple_choice", question=visible(choice.question), options=visible("\n".join(lines))
    )
    return prompt, LETTERS[order.index(choice.answer)]


def boxed_answer(text: str, options: int = len(LETTERS)) -> str | None:
    r"""The letter in the last ``\boxed{...}``, upper case.

    The last box decides: if it holds no single letter of the ``options`` offered, or is
    never closed, there is no answer, whatever an earlier box says.
    """
    content = _last_box(text)
    return None if content is None else _letter(content, options)


def answer_letter(text: str, options: int = len(LETTERS)) -> Reading:
    r"""The letter of a reply and how it was read.

    First the last ``\boxed{...}``. Only where the reply holds no box at all, its last line
    that is not blank: "Answer: B", "The correct answer is (B)." or nothing but the letter as
    a capital, "B" or "(B)", with or without the option's text behind "B." or "B)". The last line
    of a list of options ("A. ...", then "B. ...") chooses none of them.
    """
    if _last_box(text) is not None:
        letter = boxed_answer(text, options)
        return Reading(letter, "boxed" if letter else "none")
    lines = [part.strip() for part in text.splitlines() if part.strip()] or [""]
    line = lines[-1]
    named = _ANSWER.fullmatch(line.strip("*_ "))
    if not named and not re.match(r"[*_(\[]*[A-J](?![a-z])", line):
        return Reading(None, "none")
    letter = _letter(named[1] if named else line, options)
    if letter and not named:
        listed = {m[1] for part in lines[:-1] if (m := _OPTION_LINE.match(part))}
        letter = None if listed - {letter} else letter
    return Reading(letter, "last line" if letter else "none")


def _last_box(text: str) -> str | None:
    """What the last box holds, "" if it is not closed; ``None`` if there is no box."""
    start = text.rfind("\\boxed")
    if start < 0:
        return None
    rest = text[start + len("\\boxed") :].lstrip()
    if not rest.startswith("{"):
        return rest[:1] if not rest[1:2].isalnum() else ""  # \boxed B is LaTeX, too
    depth = 0
    for place, char in enumerate(rest):
        depth += (char == "{") - (char == "}")
        if depth == 0:
            return rest[1:place]
    return ""


def _letter(content: str, options: int) -> str | None:
    plain = _SPACING.sub(" ", _COMMAND.sub(" ", content)).strip()
    named = _ANSWER.fullmatch(plain)
    match = _LETTER.fullmatch((named[1] if named else plain).strip())
    if match is None or (match[2] and _ANOTHER.match(match[2])):
        return None  # no letter, or more than one
    letter = match[1].upper()
    return letter if letter in LETTERS[:options] else None
