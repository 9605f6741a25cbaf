"""What a judge's reply says: a probability, a rating or one value; else a fault, never a guess.

Beside every value stands its share: how much of the judge's probability lay on tokens that answer
the question at all. A value read from a sliver is no verdict.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, takewhile
from string import ascii_letters
from typing import Any, TypeVar

from rar_lib.core.errors import JudgeFault
from rar_lib.core.text import answer_span, visible, without_thoughts
from rar_lib.judging.wire import Reply, Token

T = TypeVar("T")
#: Below this share of the probability on readable answers the judge did not answer the question.
LEAST_SHARE = 0.5
#: Tokens to ask for: white space may come first, then the answer; a rating may take two.
VERDICT_TOKENS = 2
RATING_TOKENS = 3
#: Less probability than this on a "1" that may begin a "10" is not worth a second look.
TEN_FOLLOWS = 0.005
#: Marks of tokenizers for a space and a line end, where a server writes tokens as they are stored.
_MARKS = str.maketrans({"Ġ": " ", "▁": " ", "Ċ": " "})
#: Begins with a digit that belongs to the number before it; with one behind a point.
_MORE = re.compile(r"[0-9]|[.,][0-9]*[1-9]")
_PART = re.compile(r"[0-9]*[1-9]")
#: Looked up and not computed: a token may be all digits, of more than int() takes.
_RATINGS = {str(n): n for n in range(1, 11)}
_WRAPPING = " \t\r\n\"'`*_()[]{}:.,;!“”‘’"


class Unanswered(JudgeFault):
    """Too little of the judge's probability lies on readable answers.

    Attributes:
        share: how much, in [0, 1].
    """

    def __init__(self, share: float, least: float, answers: str, why: str) -> None:
        super().__init__(
            f"only {share:.4f} of the probability is on {answers}, at least {least:g} is needed: "
            f"{why}"
        )
        self.share = min(1.0, share)


@dataclass(frozen=True)
class Expected:
    """A value under the judge's probabilities, and its share in [0, 1]."""

    value: float
    share: float


@dataclass(frozen=True)
class Ratings:
    """Probability of each rating.

    Attributes:
        mass: rating 1..10 -> probability; the sum is the share.
        unclear: probability of a "1" of which the reply does not show whether it begins a 10.
    """

    mass: Mapping[int, float]
    unclear: float

    @property
    def share(self) -> float:
        """Probability on all ratings together, in [0, 1]."""
        return min(1.0, sum(self.mass.values()))

    def split(self, zero: float) -> Ratings:
        """The "1" shared out between 1 and 10 by the probability in [0, 1] that a 0 follows."""
        one = self.mass.get(1, 0.0)
        ten = self.mass.get(10, 0.0) + one * zero
        return Ratings({**self.mass, 1: one - one * zero, 10: ten}, 0.0)


def spelling(token: str) -> str:
    """A token without tokenizers' marks, white space, quotes and emphasis, in lower case."""
    return token.translate(_MARKS).strip(_WRAPPING).lower()


def yes_probability(
    tokens: Sequence[Token], least: float = LEAST_SHARE, *, thinks: bool = False
) -> Expected:
    """P(yes) / (P(yes) + P(no)) where the answer stands, and P(yes) + P(no).

    Args:
        thinks: the reply holds thoughts alone, which explains tokens that answer nothing.

    Raises:
        JudgeFault: no probabilities, or a share below ``least``.
    """
    said = after_thoughts(tokens)
    mass, _ = _answers(said, lambda text: text if text in ("yes", "no") else None)
    share = sum(mass.values())
    if share < least or share <= 0:
        raise Unanswered(share, least, "yes or no", _no_answer(said, thinks=thinks))
    return Expected(min(1.0, mass.get("yes", 0.0) / share), min(1.0, share))


def ratings(
    tokens: Sequence[Token],
    least: float = LEAST_SHARE,
    *,
    ended: bool = False,
    thinks: bool = False,
) -> Ratings:
    """The probability of each rating where the answer stands.

    A 10 that is spelt "1", "0" is told from a 1 by the probabilities of the token behind it; so is
    a rating from the first digit of another number, such as 85 or 8.5, which is none.

    Args:
        ended: the reply ended by itself, so that a lone "1" is a 1.
        thinks: the reply holds thoughts alone, which explains tokens that answer nothing.

    Raises:
        JudgeFault: no probabilities, or a share below ``least``.
    """
    tokens = after_thoughts(tokens)
    mass, place = _answers(tokens, _RATINGS.get)
    written = _RATINGS.get(spelling(tokens[place].text))
    behind = tokens[place + 1 :]
    if written is None or not behind:
        found = Ratings(mass, _unclear(mass, alone=ended and written == 1))
    elif written == 1:
        found = Ratings(_one_or_ten(mass, behind), 0.0)
    else:
        ends = 1.0 - _goes_on(behind)
        mass = {**mass, written: mass.get(written, 0.0) * ends}
        found = Ratings(mass, _unclear(mass, alone=False))
    share = sum(found.mass.values())
    if share < least or share <= 0:
        raise Unanswered(share, least, "1..10", _no_answer(tokens, thinks=thinks))
    return found


def _unclear(mass: Mapping[int, float], *, alone: bool) -> float:
    """Probability of a "1" that was not written, or behind which nothing is known."""
    one = mass.get(1, 0.0)
    whole = 10 in mass or alone  # the tokenizer has a 10 of its own, or the reply is a 1
    return 0.0 if whole or one < TEN_FOLLOWS else one


def _one_or_ten(mass: Mapping[int, float], behind: Sequence[Token]) -> dict[int, float]:
    """A written "1" by what may follow it: a 0 that ends the number, another digit, or neither."""
    one = mass.get(1, 0.0)
    zero = min(1.0, sum(p for text, p in behind[0].alternatives.items() if spelling(text) == "0"))
    other = min(1.0 - zero, max(0.0, _goes_on(behind) - zero))
    # What follows a 0 is known where it was written.
    ends = 1.0 - _goes_on(behind[1:]) if spelling(behind[0].text) == "0" else 1.0
    return {**mass, 1: one * (1.0 - zero - other), 10: mass.get(10, 0.0) + one * zero * ends}


def _goes_on(behind: Sequence[Token]) -> float:
    """Probability that what follows makes another number: a digit, or a point and digits."""
    if not behind:
        return 0.0
    first = behind[0].alternatives
    more = sum(p for text, p in first.items() if _MORE.match(text.translate(_MARKS)))
    if len(behind) > 1 and behind[0].text in (".", ","):
        second = behind[1].alternatives
        part = sum(p for text, p in second.items() if _PART.match(text.translate(_MARKS)))
        more += first.get(behind[0].text, 0.0) * part
    return min(1.0, more)


def zero_follows(tokens: Sequence[Token]) -> float:
    """Probability in [0, 1] that a "1", which was put into the judge's mouth, goes on with "0".

    Raises:
        JudgeFault: no probabilities, or the endpoint began a new answer instead of going on.
    """
    if not tokens:
        raise JudgeFault(NO_PROBABILITIES)
    first = tokens[0].alternatives
    anew = sum(p for text, p in first.items() if spelling(text) in set("123456789"))
    if anew > LEAST_SHARE:
        raise JudgeFault("the endpoint did not go on with a turn that was begun for the judge")
    return min(1.0, sum(p for text, p in first.items() if spelling(text) == "0"))


NO_PROBABILITIES = (
    "the endpoint gave no log-probabilities of its tokens: use Judge(reading='sampled'), or 'auto'"
)
TOO_ALIKE = "1 and 10 begin with the same token here and cannot be told apart"
_SWITCHED_OFF = (
    "Dialect(body={'chat_template_kwargs': {'enable_thinking': False}}) switches that off where "
    "its template can"
)
_STILL_THINKING = (
    f"the judge was still thinking when its reply ended: {_SWITCHED_OFF}, else "
    "Dialect(thinking=4000, alternatives=0) gives it more tokens, without probabilities for each"
)


def _no_answer(tokens: Sequence[Token], *, thinks: bool) -> str:
    """Why these tokens hold no answer, and what mends it."""
    if thinks:
        return _STILL_THINKING
    wrote = visible("".join(token.text for token in tokens))[:40]
    return (
        f"the judge did not answer the question, it wrote {wrote!r}: Judge(reading='sampled') asks "
        "for JSON, Dialect(lead=True) begins its answer where the endpoint can go on with a turn"
    )


def after_thoughts(tokens: Sequence[Token]) -> Sequence[Token]:
    """The tokens of the answer: those behind the last closing tag of a model that thinks first.

    What it begins to think behind its answer is not part of that.

    Raises:
        JudgeFault: the reply ended before the thoughts did.
    """
    text = "".join(token.text for token in tokens)
    begin, end = answer_span(text)
    if (begin, end) == (0, len(text)):
        return tokens
    starts = accumulate((len(token.text) for token in tokens), initial=0)
    answer = [token for token, at in zip(tokens, starts, strict=False) if begin <= at < end]
    if not answer:
        raise JudgeFault(_STILL_THINKING)
    return answer


def _answers(
    tokens: Sequence[Token], read: Callable[[str], T | None]
) -> tuple[dict[T, float], int]:
    """Probability of every value that ``read`` finds, and the place of the answer.

    Tokens of nothing but white space, quotes or emphasis are passed; what might have stood in
    their place counts as well.
    """
    if not tokens:
        raise JudgeFault(NO_PROBABILITIES)
    mass: dict[T, float] = {}
    path = 1.0
    blank = len([*takewhile(lambda token: not spelling(token.text), tokens)])
    place = min(blank, len(tokens) - 1)
    for token in tokens[: place + 1]:
        for text, p in token.alternatives.items():
            if (value := read(spelling(text))) is not None:
                mass[value] = mass.get(value, 0.0) + path * p
        path *= min(1.0, token.alternatives.get(token.text, 0.0))
    return mass, place


#: Tokens that end a turn, where a server leaves them at the end of a text: <|im_end|>, </s>,
#: <eos>, <end_of_turn>. Of the text from behind, so that it is looked through once: forwards, every
#: token in it begins another search for the end.
_TURN_ENDS = re.compile(r"\s*+(?:(?:>\|[^<>|\s]{1,40}\|<|>s/<|>soe<|>nrut_fo_dne<)\s*+)++")


def _without_turn_ends(text: str) -> str:
    ends = _TURN_ENDS.match(text[::-1])
    return text[: len(text) - ends.end()] if ends else text


def _unfenced(text: str) -> str:
    """What stands in the only code fence of a text that begins and ends with one, without its name.

    Cut up instead of matched: a pattern tries every length of white space on both sides.
    """
    parts = text.split("```", maxsplit=4)
    if len(parts) not in (3, 4) or parts[0] or not text.endswith("```"):
        return text
    return parts[1].lstrip(ascii_letters).strip()


def json_object(reply: Reply) -> dict[str, Any]:
    """The reply's only JSON object, out of a code fence and behind thoughts as models wrap it.

    Raises:
        JudgeFault: cut off, no answer behind the thoughts, not one JSON object, or a key twice.
    """
    text = _without_turn_ends(without_thoughts(reply.text)).strip("\ufeff \t\r\n")
    if reply.finish_reason == "length" or (reply.text.strip() and not text):
        used = "; reasoning used up the token limit: " + _SWITCHED_OFF
        hint = "" if text else f"{used}, else Dialect(thinking=4000) gives more tokens"
        raise JudgeFault(f"the reply was cut off{hint}")

    def unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in pairs}) != len(pairs):
            raise JudgeFault("the reply repeats a key")
        return dict(pairs)

    try:
        value = json.loads(_unfenced(text), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise JudgeFault(f"the reply is not JSON: {visible(reply.text)[:80]!r}") from error
    if not isinstance(value, dict):
        raise JudgeFault(f"expected one JSON object, got {visible(reply.text)[:80]!r}")
    return value


def parse_reply(reply: Reply, key: str, kind: type) -> Any:
    """The value of ``key`` in a reply that is one JSON object.

    What can be meant in one way only is read: the key in capitals, a boolean or a whole number as a
    text, ``8.0`` for 8, and keys beside it that hold none of its kind, such as an explanation.

    Args:
        kind: bool or int.

    Raises:
        JudgeFault: cut off, not JSON, no such key or several, a value of another type (``1`` is not
            a boolean, ``true``, ``8.5`` and ``"8/10"`` are not integers), or one more of its type
            (``{"rating": 7, "of": 100}``).
    """
    value = json_object(reply)
    names = [name for name in value if name.strip().lower() == key]
    found = _READ[kind](value[names[0]]) if len(names) == 1 else None
    if found is None or any(type(value[name]) is kind for name in value if name not in names):
        raise JudgeFault(
            f"expected one {kind.__name__} named {key!r}, got {visible(reply.text)[:80]!r}"
        )
    return found


#: Texts that stand for a boolean.
_TRUTH = {"true": True, "yes": True, "false": False, "no": False}


def _boolean(value: object) -> bool | None:
    if isinstance(value, str):
        return _TRUTH.get(value.strip().lower())
    return value if isinstance(value, bool) else None


def _integer(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,3}(?:\.0{1,3})?", value.strip()):
        return int(float(value))
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) else None


_READ: dict[type, Callable[[object], Any]] = {bool: _boolean, int: _integer}
