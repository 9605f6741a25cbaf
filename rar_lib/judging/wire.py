"""What goes over the wire: a request as an endpoint takes it, a reply as it comes.

Nothing here decides anything about a judgement: fields are named as the endpoint names them, and
what comes back is text, tokens with their alternatives, and counts, or a fault.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

from rar_lib.core.errors import ChatError, JudgeFault
from rar_lib.core.types import Usage
from rar_lib.judging.dialect import Dialect
from rar_lib.judging.failures import Refusal, hidden_error, refusal_of

Message = dict[str, str]


#: Words for the end of a reply: it was cut at its limit, or it is not the model's answer. A word of
#: any other kind is harmless.
_CUT = re.compile(r"length|max.?(?:output.?)?tokens|context.?window", re.IGNORECASE)
_WITHHELD = re.compile(
    r"content.?filter|safety|refus|error|abort|cancel|tool.?(?:call|use)|function.?call|recitation"
    r"|prohibited|blocklist|blocked|spii|sensitive|insufficient|malformed",
    re.IGNORECASE,
)
#: Alternatives that are asked for where a model thinks first: each token of its thoughts brings as
#: many, and 20 of 4,000 are 6 MB. Yes and no, or the ratings that count, are among the first five.
_OF_A_THOUGHT = 5
#: Probabilities of one token add up to no more than this; numbers of 16 bits are not exact.
_MOST_OF_ALL = 1.05


class NoProbabilities(JudgeFault):
    """The endpoint gives no probabilities, so a question that needs them is not sent."""


class Token(NamedTuple):
    """A token of a reply, and what else might have stood there, by its probability in (0, 1]."""

    text: str
    alternatives: Mapping[str, float]


@dataclass(frozen=True)
class Reply:
    """What came back: text, why it stopped, and the probabilities of its first tokens.

    Attributes:
        finish_reason: "length" where it was cut at its limit, else the endpoint's own word.
        tokens: empty where the endpoint gave no probabilities.
        thoughts_alone: it holds thoughts in a field of their own, and no answer beside them.
        said_by: the model that the endpoint names, and the fingerprint of its system.
        engine: versions of the packages that answered, where this library started the server.
    """

    text: str
    finish_reason: str
    tokens: tuple[Token, ...]
    usage: Usage
    said_by: str = ""
    engine: str = ""
    thoughts_alone: bool = False

    @property
    def withheld(self) -> str:
        """Why it is not the model's answer, in the endpoint's words; empty if it is."""
        if not _WITHHELD.search(self.finish_reason):
            return ""
        words = f": {self.text[:200]}" if self.text else ""
        return f"the endpoint withheld the reply ({self.finish_reason}){words}"

    @staticmethod
    def recorded(stored: Mapping[str, Any]) -> Reply:
        """A reply as the cassette kept it."""
        tokens = tuple(Token(text, likely) for text, likely in stored["tokens"])
        return Reply(**dict(stored) | {"tokens": tokens, "usage": Usage(**stored["usage"])})


async def set_status(response: Any) -> None:
    """Give an error in a reply of 200 the status that it stands for."""
    await response.aread()
    if response.status_code < 400 and (hidden := hidden_error(_json(response))):
        response.status_code = hidden.status


def refused(response: Any) -> Refusal:
    body = _json(response)
    return refusal_of(response.status_code, body, after_s=_comes_back(response.headers))


def _comes_back(headers: Mapping[str, str]) -> float | None:
    """Seconds after which the headers say to come back: milliseconds, seconds or a date."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        with contextlib.suppress(KeyError, ValueError):
            seconds = float(headers[name]) / unit
            return max(0.0, seconds) if math.isfinite(seconds) else None
    with contextlib.suppress(KeyError, ValueError, TypeError):
        date = parsedate_to_datetime(headers["retry-after"])
        return max(0.0, date.timestamp() - time.time())
    return None


def _json(response: Any) -> Any:
    try:
        return json.loads(response.content)
    except (ValueError, RecursionError):
        return response.text


def from_environment(values: Mapping[str, str]) -> dict[str, str]:
    """Values as they are, and those that name a variable (``$NAME``) by what it holds.

    Raises:
        ChatError: the variable is not set, or holds what can't be sent.
    """
    found = {}
    for name, value in values.items():
        if value.startswith("$"):
            if not (held := os.environ.get(value[1:], "").strip()):
                raise ChatError(f"{name}: set the environment variable {value[1:]}")
            if not (held.isascii() and held.isprintable()):
                raise ChatError(
                    f"{name}: the variable {value[1:]} holds a line end or another character that "
                    "cannot be sent: copy it again"
                )
            value = held
        found[name] = value
    return found


def fields(request: Mapping[str, Any], said: Dialect) -> dict[str, Any]:
    """The fields of a request, in the words of a dialect."""
    messages = request["messages"] if said.system else _without_system(request["messages"])
    found: dict[str, Any] = {"messages": messages, **said.bound(request["max_tokens"])}
    if said.temperature:
        found["temperature"] = request["temperature"]
    if said.seed:
        found["seed"] = request["seed"]
    if request["schema"] is not None and said.structure == "schema":
        shape = {"name": "reply", "schema": dict(request["schema"]), "strict": True}
        found["response_format"] = {"type": "json_schema", "json_schema": shape}
    if request["schema"] is not None and said.structure == "json":
        found["response_format"] = {"type": "json_object"}
    if wanted := request["top_logprobs"]:
        if not said.alternatives:
            raise NoProbabilities("the endpoint gives no log-probabilities")
        most = _OF_A_THOUGHT if said.thinking else wanted
        found |= {"logprobs": True, "top_logprobs": min(wanted, said.alternatives, most)}
    body = _from_environment_in(said.body)
    if request["prefill"]:
        if said.prefill is None:
            raise JudgeFault("the endpoint does not go on with an assistant's turn")
        body |= said.prefill
    return found | {"extra_body": body} if body else found


def _from_environment_in(value: Any, name: str = "") -> Any:
    """A value with its variables read, at any depth."""
    if isinstance(value, Mapping):
        return {key: _from_environment_in(inner, str(key)) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_from_environment_in(inner, name) for inner in value]
    return from_environment({name: value})[name] if isinstance(value, str) else value


def variables_in(value: Any) -> list[str]:
    """The names of the environment variables that a value names, at any depth."""
    if isinstance(value, Mapping):
        return variables_in(list(value.values()))
    if isinstance(value, list | tuple):
        return [name for inner in value for name in variables_in(inner)]
    return [value[1:]] if isinstance(value, str) and value.startswith("$") else []


def _without_system(messages: list[Message]) -> list[Message]:
    """The system turn's text at the head of the first turn of the user."""
    if not messages or messages[0]["role"] != "system":
        return messages
    head, first, *rest = messages
    return [{"role": first["role"], "content": f"{head['content']}\n\n{first['content']}"}, *rest]


def reply(answer: Any, seconds: float) -> Reply:
    """What the endpoint sent, checked, because the client does not check it.

    Raises:
        JudgeFault: it is off the protocol.
    """
    if isinstance(answer, str):
        raise JudgeFault(_instead_of_json(answer))
    try:
        if not answer.choices:
            raise JudgeFault("the reply holds no choice")
        choice = answer.choices[0]
        if choice.message is None:
            raise JudgeFault(
                "the reply holds no message: the address is not that of chat completions"
            )
        mark = getattr(answer, "system_fingerprint", None)
        refusal = getattr(choice.message, "refusal", None)
        text = _text(choice.message)
        return Reply(
            text=_storable(text or str(refusal or "")),
            finish_reason="refusal" if refusal and not text else _ending(choice.finish_reason),
            tokens=_tokens(choice.logprobs),
            usage=_usage(answer.usage, seconds),
            said_by=_storable(" ".join(str(part) for part in (answer.model, mark) if part)),
            thoughts_alone=not text and _holds_thoughts(choice.message),
        )
    except (AttributeError, TypeError, ValueError) as error:
        raise JudgeFault(f"the reply is off the protocol: {str(error)[:200]}") from error


def _instead_of_json(body: str) -> str:
    """What came where a completion should: pages of web sites and streams are the usual ones."""
    start = " ".join(body.split())[:100]
    if body.lstrip().lower().startswith(("<!doctype", "<html", "<")):
        return f"the endpoint sent a web page ({start!r}): does its address end in /v1?"
    if re.match(r"\s*(?:data|event|id)?\s*:", body):
        return (
            "the endpoint sent a stream, which was not asked for: Dialect(body={'stream': False}) "
            "says so explicitly"
        )
    return f"the reply is not JSON but {start!r}"


def _ending(word: Any) -> str:
    """The word that ends a reply; those for a limit become one."""
    if isinstance(word, Mapping):
        word = word.get("type")
    said = _storable(str(word or ""))
    return "length" if _CUT.search(said) else said


#: More characters a token than any tokenizer reaches on text without long runs of one character.
_CHARACTERS_A_TOKEN = 10
_SMALLEST_WINDOW = 256  # tokens; a smaller count is no window but a count that means something else
_RUN = re.compile(r"(.)\1{3,}", re.DOTALL)


def check_whole(messages: Sequence[Message], usage: Usage) -> None:
    """Notice a prompt that the server cut to its window: it counts fewer tokens than were sent.

    Raises:
        JudgeFault: what was read cannot have been all of it.
    """
    sent = sum(len(_RUN.sub(r"\1\1\1", message["content"])) for message in messages)
    if _SMALLEST_WINDOW * _CHARACTERS_A_TOKEN <= usage.prompt_tokens * _CHARACTERS_A_TOKEN < sent:
        raise JudgeFault(
            f"the endpoint read {usage.prompt_tokens} tokens of {sent} characters: it cut the "
            "prompt to its window; give the server a longer one"
        )


def _text(message: Any) -> str:
    """The content, which some send in parts; thoughts in a field of their own are no answer."""
    content = message.content
    if isinstance(content, list):
        content = "".join(map(_part, content))
    if not isinstance(content, str | None):
        raise JudgeFault(f"the content is {type(content).__name__}, not text")
    return content or ""


def _holds_thoughts(message: Any) -> bool:
    """Whether there are thoughts in one of the fields that endpoints have for them."""
    return any(getattr(message, name, None) for name in ("reasoning_content", "reasoning"))


def _part(part: Any) -> str:
    """The text of one part of a content; thoughts and pictures have none."""
    if isinstance(part, str):
        return part
    if not isinstance(part, Mapping) or part.get("type", "text") not in ("text", "output_text"):
        return ""
    return str(part.get("text") or "")


def _tokens(logprobs: Any) -> tuple[Token, ...]:
    """The tokens of a reply with their alternatives; equal spellings are added up.

    A list that holds nothing beside the written token tells no probability of anything else, and
    is left out.

    Raises:
        JudgeFault: what stands there are no probabilities.
    """
    found: list[Token] = []
    for written, alternatives in _places(logprobs):
        if not alternatives:
            return tuple(found)
        likely: dict[str, float] = {}
        # Some list the written token once more.
        for one in dict.fromkeys(alternatives):
            if not one.logprob < 0.01:  # not a number, too
                raise JudgeFault(f"the log-probability of {one.text!r} is {one.logprob}")
            likely[one.text] = likely.get(one.text, 0.0) + math.exp(one.logprob)
        if sum(likely.values()) > _MOST_OF_ALL:
            raise JudgeFault(
                f"the probabilities of {written!r} and its alternatives add up to "
                f"{sum(likely.values()):.2f}, so they are none: use Judge(reading='sampled')"
            )
        found.append(Token(written, likely))
    return tuple(found)


class _Alternative(NamedTuple):
    """One entry of a list of likely tokens."""

    text: str
    logprob: float
    raw: tuple[int, ...]


def _places(logprobs: Any) -> Iterator[tuple[str, list[_Alternative]]]:
    """The written tokens and what might have stood there, in each form that endpoints use."""
    if logprobs is None:
        return
    for item in getattr(logprobs, "content", None) or ():
        yield _spelt(item), _alternatives(getattr(item, "top_logprobs", None))
    if not getattr(logprobs, "content", None):  # as of old: lists side by side
        words = getattr(logprobs, "tokens", None) or ()
        for word, top in zip(words, getattr(logprobs, "top_logprobs", None) or (), strict=False):
            yield _storable(word), _alternatives(top)


def _alternatives(top: Any) -> list[_Alternative]:
    if isinstance(top, Mapping):
        return [_Alternative(_storable(text), logprob, ()) for text, logprob in top.items()]
    return [
        _Alternative(_spelt(one), one.logprob, tuple(getattr(one, "bytes", None) or ()))
        for one in top or ()
    ]


def _spelt(item: Any) -> str:
    """A token as text, by its bytes where they are given: some servers write marks for spaces."""
    raw = getattr(item, "bytes", None)
    if raw:
        try:
            return bytes(raw).decode("utf-8")
        except (ValueError, TypeError):  # half a character
            pass
    return _storable(item.token)


def _storable(text: str) -> str:
    """Text with question marks for halves of surrogate pairs, which no file can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _usage(usage: Any, seconds: float) -> Usage:
    """The tokens that the endpoint counted; a count that is missing makes all of them unknown."""
    counts = [getattr(usage, name, None) for name in ("prompt_tokens", "completion_tokens")]
    read, written = (n if isinstance(n, int) and n >= 0 else None for n in counts)
    if read is None or written is None:
        return Usage(calls=1, seconds=seconds)
    details = getattr(usage, "prompt_tokens_details", None)
    cached = getattr(details, "cached_tokens", None)
    return Usage(
        calls=1,
        prompt_tokens=read,
        cached_tokens=cached if isinstance(cached, int) else 0,
        completion_tokens=written,
        seconds=seconds,
    )
