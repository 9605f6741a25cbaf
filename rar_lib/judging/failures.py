"""What went wrong with a request: asked again, said otherwise, given up, or given up for all.

One place decides it, by what the endpoint itself says: its status, its code, its words. An error
that arrives in a reply of status 200 is decided by the same table.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Literal

from rar_lib.core.text import visible

Scope = Literal["retry", "request", "field", "run"]


@dataclass(frozen=True)
class Refusal:
    """What an endpoint said instead of an answer.

    Attributes:
        status: HTTP status; of an error within a 200, the one that its code stands for.
        code: its word for the error, ``""`` if it has none.
        param: the field that it names, ``""`` if it names none.
        message: what it says to a person, on one line.
        after_s: seconds after which it says to come back; ``None`` where it does not say.
    """

    status: int
    code: str = ""
    param: str = ""
    message: str = ""
    after_s: float | None = None

    @property
    def words(self) -> str:
        """Status, code and message, for an error message."""
        code = f", {self.code}" if self.code and self.code != str(self.status) else ""
        return (
            f"{self.status}{code}: {self.message[:300]}" if self.message else f"{self.status}{code}"
        )


#: Where endpoints put their words, and their code.
_MESSAGES = ("message", "detail", "msg", "error_msg", "errorMessage", "status_msg")
_CODES = ("code", "error_code", "status_code", "type", "status")
_LONGEST = 5_000  # characters of a message that are read
_CONTENT = r"content.?(?:filter|policy|management)|safety|moderation|flagged|jailbreak"
_TOO_LONG = (
    r"context.?length|context.?window|maximum context|too (?:long|many tokens)|prompt is too"
)
_CREDIT = r"\bcredits?\b|billing|balance|payment|insufficient.?(?:quota|funds)|spending limit"
#: Where the status is that of a bad request, an account says so in words that nothing else has.
_ACCOUNT = (
    r"credit balance|out of credits?|purchase credits|insufficient.?(?:quota|funds|balance|credit)"
    r"|billing.?hard.?limit|arrear|good standing|(?:account|organi[sz]ation)\b.{0,30}"
    r"(?:disabled|deactivated|suspended|overdue)"
)
_KEY = (
    r"(?:invalid|incorrect|wrong|expired|missing|no|bad)\b.{0,20}\b(?:api.?key|credential"
    r"|auth\b|authenticat|authoriz)"
    r"|(?:api.?key|credential)s?\b.{0,40}(?:invalid|not valid|incorrect|expired|missing|not found)"
)
_MODEL = (
    r"\bmodel\b[^.,;]{0,60}(?:not exist|not found)|invalid model\b|not a valid model"
    r"|unknown model|no such model|model.?not.?found"
)
#: A chat template that does not take the conversation; some servers call that an error of theirs.
_TEMPLATE = (
    r"jinja|raise_exception|chat.?template|template error|roles? must alternate|system role"
    r"|roles are supported"
)
#: A gateway that finds nobody who takes all of the fields, and does not say which.
NOBODY_TAKES = r"no endpoints? found that (?:can )?(?:handle|support)|requested parameters"
#: Some models keep their probabilities to themselves, with the status of a forbidden address.
_NO_PROBABILITIES = r"\b(?:top_)?logprobs\b"
#: The endpoint allows fewer tokens than were asked for, whatever the prompt.
_LIMIT = r"max_(?:completion_)?tokens\W{1,3}must be less"
_OF_THE_DAY = r"\b(?:per|a)[ _-]?day\b|\bdaily\b|\b[rt]pd\b"
_LATER = r"(?:try again|retry) (?:in|after) [\d.]+ ?(?:ms|s|m\b|min)"
_RETRIED = (408, 409, 425, 429)
#: Busy, starting, or not there behind its gateway; other errors of a server may be the request's.
_PASSES = (429, 502, 503, 504, 529)
#: Seconds that the client waits at most for an endpoint that says when to come back.
LONGEST_WAIT = 120.0
#: Where the body says when to come back: Google's endpoints.
_DELAY = re.compile(r"retrydelay\W{1,5}(\d{1,9}(?:\.\d{1,9})?)s", re.IGNORECASE)


def scope(refusal: Refusal) -> Scope:
    """How far a failure reaches.

    ``retry``: busy or broken for a moment. ``request``: this one, for its content or its length.
    ``field``: what it is made of, so that it may be said otherwise (:func:`.dialect.adapt`).
    ``run``: the key, the account, the model or the address: no request can succeed.
    """
    said = f"{refusal.code} {refusal.message}".lower()
    if refusal.status in (400, 422, 501):  # what is not implemented will not be by trying again
        return _scope_of_a_bad_request(said)
    if refusal.status in (403, 413) and re.search(f"{_CONTENT}|{_TOO_LONG}", said):
        return "request"
    if refusal.status == 404 and re.search(NOBODY_TAKES, said):
        return "field"
    if refusal.status == 403 and re.search(_NO_PROBABILITIES, said):
        return "field"
    if refusal.status in (401, 402, 403, 404, 405, 407, 511):
        return "run"
    if refusal.status in (429, 503) and (refusal.after_s or 0.0) > LONGEST_WAIT:
        return "run"  # each request would wait in vain
    if refusal.status == 429:
        return _scope_of_a_limit(refusal, said)
    if refusal.status == 500 and re.search(_TEMPLATE, said):
        return "field"
    return "retry" if refusal.status in _RETRIED or refusal.status >= 500 else "request"


def _scope_of_a_bad_request(said: str) -> Scope:
    """Accounts, keys and models are refused with this status, too."""
    if re.search(f"{_ACCOUNT}|{_KEY}|{_MODEL}", said):
        return "run"
    if re.search(_LIMIT, said):
        return "field"
    return "request" if re.search(f"{_CONTENT}|{_TOO_LONG}", said) else "field"


def _scope_of_a_limit(refusal: Refusal, said: str) -> Scope:
    """Some speak of plan and billing where only the minute is full, and then say when to return."""
    if refusal.code == "insufficient_quota" or re.search(_OF_THE_DAY, said):
        return "run"
    soon = refusal.after_s is not None or re.search(_LATER, said)
    return "run" if not soon and re.search(_CREDIT, said) else "retry"


def passes(refusal: Refusal) -> bool:
    """Whether the endpoint is busy or away for a while, whatever it is asked."""
    return refusal.status in _PASSES


def advice(refusal: Refusal, *, key_env: str, model: str, address: str) -> str:
    """What mends a failure of the whole run."""
    said = f"{refusal.code} {refusal.message}".lower()
    if refusal.status == 429 and re.search(_OF_THE_DAY, said):
        return "run again when its limit of the day is over: finished calls are on record"
    if refusal.status in (429, 503) and (refusal.after_s or 0.0) > LONGEST_WAIT:
        minutes = (refusal.after_s or 0.0) / 60
        return f"run again in {minutes:.0f} min, as it asks: finished calls are on record"
    if refusal.status == 402 or re.search(f"{_CREDIT}|{_ACCOUNT}", said):
        return "add credit there, then run again: finished calls are on record"
    if _is_about_the_key(refusal.status, said):
        return _about_the_key(key_env, model)
    if refusal.status in (400, 404, 405, 422):
        first = _about_the_address(refusal.status, said, address)
        return (
            f"{first}ask it for /v1/models whether it has {model!r}, correct the address, or give "
            "what the address needs: Dialect(query={'api-version': '...'})"
        )
    return f"its own words say why; if not, {_about_the_key(key_env, model)}"


def _about_the_address(status: int, said: str, address: str) -> str:
    """What is first to be looked at where nothing was found: the part that is mostly left out."""
    known = not address.startswith("http") or re.search(r"/v\d", address)
    if status not in (404, 405) or known or re.search(_MODEL, said):
        return ""
    return f"most addresses end in /v1, this one does not: try {address.rstrip('/')}/v1; else "


def _is_about_the_key(status: int, said: str) -> bool:
    if status in (400, 422):
        return re.search(_KEY, said) is not None
    return status == 401 or (status == 403 and re.search("key|token|auth|permi", said) is not None)


def _about_the_key(key_env: str, model: str) -> str:
    if not key_env:
        return "no key was sent: name the variable that holds one, key_env='MY_KEY'"
    return f"check that the key in {key_env} is set and may use {model!r}"


def refusal_of(status: int, body: Any, *, after_s: float | None = None) -> Refusal:
    """What an HTTP error says, in any of the forms that endpoints use.

    Args:
        body: the decoded JSON, or the text where it was none.
        after_s: seconds after which its headers say to come back.
    """
    inner = body
    if isinstance(inner, list) and inner:  # Google's compatible endpoint wraps it once more
        inner = inner[0]
    inner = _error_in(inner) or inner
    if not isinstance(inner, dict):
        return Refusal(status, message=_line(inner), after_s=after_s)
    code = _line(inner.get("code") or inner.get("type") or inner.get("status") or "")
    message = _message_in(inner)
    if after_s is None and (delay := _DELAY.search(json.dumps(inner, default=str))):
        after_s = float(delay[1])
    param = _line(inner.get("param") or "")
    return Refusal(status, code, param, _line(message), after_s)


def _message_in(error: dict[str, Any]) -> Any:
    """What it says, and what a gateway passes on of the endpoint behind it."""
    found = next((error[name] for name in _MESSAGES if error.get(name)), error)
    # What was sent is repeated there; its words are not the endpoint's.
    found = _without_input(found)
    metadata = error.get("metadata")
    behind = metadata.get("raw") if isinstance(metadata, dict) else None
    return f"{_line(found)}: {_line(behind)}" if behind else found


def _without_input(detail: Any, depth: int = 8) -> Any:
    """Details of validation, one or a list or deeper down, less what they repeat."""
    if isinstance(detail, list) and depth:
        return [_without_input(one, depth - 1) for one in detail]
    if not isinstance(detail, dict) or not depth:
        return detail
    own = {name: value for name, value in detail.items() if name not in ("input", "ctx", "url")}
    return {name: _without_input(value, depth - 1) for name, value in own.items()}


def hidden_error(body: Any) -> Refusal | None:
    """The error within a reply of status 200, if it is one: gateways send those.

    Its status is that of its code, where it is one; a word is read by what it says; else 500.
    """
    error = _error_in(body)
    if not error:
        return None
    found = refusal_of(500, {"error": error})
    code = found.code
    if re.fullmatch(r"[45][0-9]{2}", code):
        return refusal_of(int(code), {"error": error})
    word = f"{code} {found.message}".lower()
    for pattern, status in (
        (r"rate.?limit|too many requests|overloaded|busy", 429),
        (r"auth|api.?key|secret.?key|log.?in fail", 401),
        (_CREDIT, 402),
        (r"not.?found|unexpected endpoint", 404),
        (r"invalid.?request|bad.?request", 400),
    ):
        if re.search(pattern, word):
            return refusal_of(status, {"error": error})
    return found


def _error_in(body: Any) -> Any:
    """The error that a body holds, beside its choices, in the first or instead of them."""
    if not isinstance(body, dict):
        return None
    choices = body.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    found = body.get("error") or (first.get("error") if isinstance(first, dict) else None)
    return found or (None if choices else _error_instead(body))


def _error_instead(body: dict[str, Any]) -> dict[str, Any] | None:
    """The words of a body that has neither an error nor choices, in the names that are in use."""
    inner = body.get("base_resp")
    holder = inner if isinstance(inner, dict) else body
    words = next((holder[name] for name in _MESSAGES if holder.get(name)), None)
    if not words:
        return None
    code = next((holder[name] for name in _CODES if holder.get(name)), "")
    return {"message": words, "code": code}


def _line(value: Any) -> str:
    """A value on one line, without what would act on a terminal."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return visible(" ".join(text.split())[:_LONGEST])
