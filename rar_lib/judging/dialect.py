"""What an endpoint takes: the names of its fields, what it does without, what it gives back.

    chat = Chat("https://api.anthropic.com/v1", "a-model", dialect=DIALECTS["anthropic"])
    slow = replace(DIALECTS["openai-reasoning"], thinking=8000, body={"reasoning_effort": "low"})

"OpenAI-compatible" is a family. What differs is said here once, as data; :func:`adapt` finds out by
itself what a refusal names. Sources of the ready-made ones are in the table of the documentation.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from rar_lib.core.errors import DataError
from rar_lib.judging.failures import NOBODY_TAKES

Structure = Literal["schema", "json", "none"]
Limit = Literal["max_completion_tokens", "max_tokens"]
#: Names of fields that hold secrets: such a value may only name a variable.
SECRET = re.compile(
    r"authorization|cookie|credential|secret|passw|pwd|signature|^sig$|^sas$|^jwt$|^pat$|^bearer$"
    r"|^code$|^(?:x-)?(?:key|token)$"
    r"|(?:api|access|subscription|functions?|private).?key|(?:access|auth|session|id).?token",
    re.IGNORECASE,
)
#: From this length on small letters with digits among them are rather a key than a name.
_KEY_LENGTH = 20
#: How vLLM and SGLang are told to go on with the assistant's own turn.
_CONTINUE = {"continue_final_message": True, "add_generation_prompt": False}


@dataclass(frozen=True)
class Dialect:
    """What one endpoint takes. The defaults are vLLM's.

    Values of ``headers``, ``query`` and ``body`` that begin with ``$``, at any depth, name an
    environment variable: secrets stay there, and neither logs nor records ever hold them.

    Attributes:
        limit: the field that bounds the reply.
        least, most: smallest and largest bound that is allowed, in tokens; 0 if any is.
        thinking: tokens on top of every bound, for models that think before they answer: hidden
            reasoning counts against it.
        temperature, seed: whether the field may be sent.
        alternatives: most alternatives of a token that may be asked for; 0 where the endpoint gives
            no probabilities, so that the judge samples its verdicts. With ``thinking`` at most 5
            are: every token of the thoughts brings its own.
        structure: a JSON schema is obeyed, or a JSON object is promised, or neither.
        system: whether a conversation may begin with a system turn; else its text goes to the head
            of the user's first turn.
        prefill: body fields that make the endpoint go on with an assistant turn; ``None`` if it
            cannot.
        lead: whether a judge's turn is begun for it ("Answer:", "Score:"), where that is possible:
            a small model then answers instead of talking about the question.
        headers, query, body: sent with every request.

    Raises:
        DataError: a number is negative, or a secret stands where only its variable may.
    """

    limit: Limit = "max_completion_tokens"
    least: int = 1
    most: int = 0
    thinking: int = 0
    temperature: bool = True
    seed: bool = True
    alternatives: int = 20
    structure: Structure = "schema"
    system: bool = True
    prefill: Mapping[str, Any] | None = field(default_factory=lambda: dict(_CONTINUE))
    lead: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("least", "most", "thinking", "alternatives"):
            if getattr(self, name) < 0:
                raise DataError(
                    f"dialect: {name} is {getattr(self, name)}; it is a count, 0 or more"
                )
        for name, held in [*_named(self.headers), *_named(self.query), *_named(self.body)]:
            if held.startswith("$") and not is_variable(held[1:]):
                raise DataError(
                    f"dialect: what follows $ in {name!r} names no environment variable: a name is "
                    f"made of letters, digits and _, {{{name!r}: '$MY_SECRET'}}"
                )
            if SECRET.search(name) and not held.startswith("$"):
                raise DataError(
                    f"dialect: {name!r} holds its secret itself, which would stand in every "
                    "record: put all of the value into an environment variable and name that, "
                    f"{{{name!r}: '$MY_SECRET'}}"
                )

    @property
    def declared(self) -> dict[str, Any]:
        """What differs from the defaults, as JSON: part of the identity of every call."""
        usual = asdict(Dialect())
        return {name: value for name, value in asdict(self).items() if value != usual[name]}

    def bound(self, tokens: int) -> dict[str, int]:
        """The field that bounds a reply of so many tokens of answer."""
        wanted = max(self.least, tokens + self.thinking)
        return {self.limit: min(wanted, self.most or wanted)}


def is_variable(name: object) -> bool:
    """Whether this is the name of an environment variable, and not a key in the place of one."""
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        return False
    mixed = re.search("[a-z]", name) and re.search("[0-9]", name)
    return not mixed or len(name) < _KEY_LENGTH or name in os.environ


def _named(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Every text in a value, at any depth, with the name of the field that holds it."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _named(inner, str(key))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _named(inner, name)
    elif isinstance(value, str):
        yield name, value


_HOSTED = Dialect(prefill=None)
#: Ready-made, by name; which facts they rest on stands in the documentation.
DIALECTS: dict[str, Dialect] = {
    "vllm": Dialect(),
    "sglang": Dialect(),
    "llama.cpp": Dialect(limit="max_tokens", prefill={}),
    "ollama": Dialect(limit="max_tokens", prefill=None),
    "openai": _HOSTED,
    "openai-reasoning": replace(
        _HOSTED, temperature=False, seed=False, alternatives=0, thinking=4000
    ),
    "azure": replace(_HOSTED, headers={"api-key": "$AZURE_OPENAI_API_KEY"}),
    "anthropic": replace(_HOSTED, limit="max_tokens", seed=False, alternatives=0, structure="none"),
    "google": replace(_HOSTED, limit="max_tokens", seed=False, alternatives=0, thinking=2000),
    "openrouter": replace(
        _HOSTED, limit="max_tokens", body={"provider": {"require_parameters": True}}
    ),
}


def dialect_of(name: str | Dialect) -> Dialect:
    """The dialect of that name, or the given one.

    Raises:
        DataError: there is none of that name.
    """
    if isinstance(name, Dialect):
        return name
    if name not in DIALECTS:
        raise DataError(
            f"no dialect {name!r}; choose one of: {', '.join(DIALECTS)}; or declare your own: "
            "Dialect(limit='max_tokens', alternatives=5, ...)"
        )
    return DIALECTS[name]


def adapt(used: Dialect, param: str, words: str) -> tuple[Dialect, tuple[str, ...]]:
    """What to say instead, after a refusal (400 or 422) that names what it does not take.

    Args:
        used: how the refused request was said.
        param: the field that the refusal names, if it does so in a field of its own.
        words: all else that it says.

    Returns:
        The other dialect, and the fields that it does without or says otherwise; the same dialect
        and none where the refusal names nothing that could be left out.
    """
    full = _as_we_say(f"{param}\n{words}", used)
    if re.search(NOBODY_TAKES, full):
        return _one_less(used)
    # Messages are named for what is in them, or for what has to be in them because of a field.
    named = full if not param or param.startswith("messages") else _as_we_say(param, used)
    changed = used
    fields = []
    for name, pattern, change in _CHANGES:
        # ASCII: a name may stand in a Chinese sentence without spaces around it.
        if re.search(pattern, full if name in _BY_MESSAGE else named, re.ASCII):
            other = change(changed, full)
            if other != changed:
                changed = other
                fields.append(name)
    return changed, tuple(fields)


def _as_we_say(text: str, used: Dialect) -> str:
    """Words with names as they are sent: maxTokens, and what servers call the limit inside."""
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", text).lower()
    return re.sub(r"\bmax_(?:new|output)_tokens\b", used.limit, text)


def _one_less(used: Dialect) -> tuple[Dialect, tuple[str, ...]]:
    """Without the first field that may be too much for everybody behind a gateway."""
    for name, other in (
        ("alternatives", replace(used, alternatives=0)),
        ("seed", replace(used, seed=False)),
        ("structure", _less_structure(used, "")),
        ("temperature", replace(used, temperature=False)),
    ):
        if other != used:
            return other, (name,)
    return used, ()


def _other_limit(used: Dialect, words: str) -> Dialect:
    if not re.search(rf"\b{used.limit}\b", words):
        return used
    if found := re.search(r"(?:between |\[)(\d+)(?: and |, ?)(\d+)", words):
        return replace(used, least=max(used.least, int(found[1])), most=int(found[2]))
    if found := re.search(
        r"(?:>=|at least|minimum(?: value)?(?: of| is|:)?|greater than or equal to)\W{0,3}(\d+)",
        words,
    ):
        return replace(used, least=max(used.least, int(found[1])))
    if found := re.search(rf"{_AT_MOST}\W{{0,3}}(\d+)", words):
        return replace(used, most=int(found[1]))
    other: Limit = (
        "max_tokens" if used.limit == "max_completion_tokens" else "max_completion_tokens"
    )
    return replace(used, limit=other)


#: Words before a largest number.
_AT_MOST = (
    r"(?:<=|\u2264|at most|up to|\d\)? ?>|\bexceed|not (?:be )?(?:greater|more|larger) than"
    r"|maximum number of \w+ is|max(?:imum)?(?: value| allowed)?(?: of| is|:)?"
    r"|(?<!greater than or )equal to)"
)


def _fewer_alternatives(used: Dialect, words: str) -> Dialect:
    beyond = re.search(r"less than\W{0,3}(\d+)|\[0, ?(\d+)\)", words)  # the first that is not
    found = re.search(rf"(?:{_AT_MOST}|0 (?:and|to)|\[0,|0\.\.=|more than)\W{{0,3}}(\d+)", words)
    allowed = int(found[1]) if found else 0
    if beyond:
        allowed = int(beyond[1] or beyond[2]) - 1
    return replace(used, alternatives=allowed if allowed < used.alternatives else 0)


def _less_structure(used: Dialect, words: str) -> Dialect:
    weaker: dict[Structure, Structure] = {"schema": "json", "json": "none", "none": "none"}
    return replace(used, structure=weaker[used.structure])


_Change = Callable[[Dialect, str], Dialect]
#: Read in the whole message, since no field is named for them.
_BY_MESSAGE = ("prefill", "system")
_CHANGES: tuple[tuple[str, str, _Change], ...] = (
    ("limit", r"\bmax_(?:completion_)?tokens\b", _other_limit),
    ("alternatives", r"\b(?:top_)?log_?probs?\b|log.?probabilit|top_n_tokens", _fewer_alternatives),
    ("temperature", r"\btemperature\b", lambda used, _: replace(used, temperature=False)),
    ("seed", r"\bseed\b", lambda used, _: replace(used, seed=False)),
    (
        "structure",
        r"\bresponse.?formats?\b|\bjson.?schema\b|\bresponse_schema\b|structured.?output|guided"
        r"|\bgrammar\b|contain the word .{0,2}json"
        r"|\bschema\b.{0,80}(?:not supported|not permitted|not allowed|invalid)|invalid schema",
        _less_structure,
    ),
    (
        "prefill",
        r"continue_final_message|add_generation_prompt|prefill|must end with a user"
        r"|last (?:role|message|turn)\b.{0,30}\buser\b",
        lambda used, _: replace(used, prefill=None),
    ),
    (
        "system",
        r"\bsystem\b.{0,40}(?:role|messag|prompt|instruct|turn)|(?:role|messag)\w*.{0,20}\bsystem\b"
        r"|developer instruction|roles? must alternate|got system\b|only user,? (?:and )?assistant"
        r"|(?:should be|values are:?) .?user\b",
        lambda used, _: replace(used, system=False),
    ),
)
