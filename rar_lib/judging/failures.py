"""What went wrong with a request: asked again, said otherwise, given up, or given up for all.

One place decides it, by what the endpoint itself says: its status, its code, its words. An error
that arrives in a reply of status 200 is decided by the same table.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Literal

Scope = Literal["retry", "request", "field", "run"]


@dataclass(frozen=True)
class Refusal:
    """What an endpoint said instead of an answer.

    Attributes:
        status: HTTP status; of an error within a 200, the one that its code stands for.
        code: its word for the error, ``""`` if it has none.
        param: the field that it names, ``""`` if it names none.
        message: what it says to a person, on one line.
        waits: whether it says when to come back.
    """

    status: int
    code: str = ""
    param: str = ""
    message: str = ""
    waits: bool = False

    @property
    def words(self) -> str:
        """Status, code and message, for an error message."""
        code = f", {self.code}" if self.code and self.code != str(self.status) else ""
        return (
            f"{self.status}{code}: {self.message[:300]}" if self.message else f"{self.status}{code}"
        )


_LONGEST = 5_000  # characters of a message that are read
_CONTENT = r"content.?(?:filter|policy|management)|safety|moderation|flagged|jailbreak"
_TOO_LONG = (
    r"context.?length|context.?window|maximum context|too (?:long|many tokens)|prompt is too"
)
_CREDIT = r"\bcredits?\b|billing|balance|payment|insufficient.?(?:quota|funds)|spending limit"
_RETRIED = (408, 409, 425, 429)


def scope(refusal: Refusal) -> Scope:
    """How far a failure reaches.

    ``retry``: busy or broken for a moment. ``request``: this one, for its content or its length.
    ``field``: what it is made of, so that it may be said otherwise (:func:`.dialect.adapt`).
    ``run``: the key, the account, the model or the address: no request can succeed.
    """
    said = f"{refusal.code} {refusal.message}".lower()
    if refusal.status in (400, 403, 413, 422) and re.search(f"{_CONTENT}|{_TOO_LONG}", said):
        return "request"
    if refusal.status in (401, 402, 403, 404, 405):
        return "run"
    if refusal.status == 429:
        # Some speak of plan and billing where only the minute is full, and then say when to return.
        hard = refusal.code == "insufficient_quota" or not refusal.waits
        return "run" if hard and re.search(_CREDIT, said) else "retry"
    if refusal.status in _RETRIED or refusal.status >= 500:
        return "retry"
    return "field" if refusal.status in (400, 422) else "request"


def advice(refusal: Refusal, *, key_env: str, model: str) -> str:
    """What mends a failure of the whole run."""
    said = f"{refusal.code} {refusal.message}".lower()
    if refusal.status == 402 or re.search(_CREDIT, said):
        return "add credit there, then run again: finished calls are on record"
    if refusal.status == 401 or (refusal.status == 403 and re.search("key|token|auth|permi", said)):
        return _about_the_key(key_env, model)
    if refusal.status in (404, 405):
        return (
            f"ask it for /v1/models whether it has {model!r}, correct the address, or give what "
            "the address needs: Dialect(query={'api-version': '...'})"
        )
    return f"its own words say why; if not, {_about_the_key(key_env, model)}"


def _about_the_key(key_env: str, model: str) -> str:
    if not key_env:
        return "no key was sent: name the variable that holds one, key_env='MY_KEY'"
    return f"check that the key in {key_env} is set and may use {model!r}"


def refusal_of(status: int, body: Any, *, waits: bool = False) -> Refusal:
    """What an HTTP error says, in any of the forms that endpoints use.

    Args:
        body: the decoded JSON, or the text where it was none.
    """
    inner = body
    if isinstance(inner, list) and inner:  # Google's compatible endpoint wraps it once more
        inner = inner[0]
    inner = _error_in(inner) or inner
    if not isinstance(inner, dict):
        return Refusal(status, message=_line(inner), waits=waits)
    code = inner.get("code") or inner.get("type") or inner.get("status") or ""
    message = inner.get("message") or inner.get("detail") or inner.get("msg") or inner
    waits = waits or "retrydelay" in json.dumps(inner, default=str).lower()
    param = inner.get("param") or ""
    return Refusal(status, str(code), str(param), _line(message), waits)


def hidden_error(body: Any) -> Refusal | None:
    """The error within a reply of status 200, if it is one: gateways send those.

    Its status is that of its code, where it is one; a word is read by what it says; else 502.
    """
    error = _error_in(body)
    if not error:
        return None
    found = refusal_of(502, {"error": error})
    code = found.code
    if code.isdigit() and 400 <= int(code) <= 599:
        return refusal_of(int(code), {"error": error})
    word = f"{code} {found.message}".lower()
    for pattern, status in (
        (r"rate.?limit|too many requests|overloaded|busy", 429),
        (r"auth|api.?key", 401),
        (_CREDIT, 402),
        (r"not.?found", 404),
        (r"invalid.?request|bad.?request", 400),
    ):
        if re.search(pattern, word):
            return refusal_of(status, {"error": error})
    return found


def _error_in(body: Any) -> Any:
    """The error that a body holds, beside its choices or in the first of them; else ``None``."""
    if not isinstance(body, dict):
        return None
    choices = body.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return body.get("error") or (first.get("error") if isinstance(first, dict) else None)


def _line(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return " ".join(text.split())[:_LONGEST]
