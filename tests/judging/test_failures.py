"""How far a failure reaches, by what the endpoint says: its status, its code and its words."""

from __future__ import annotations

from typing import Any

import pytest
from scripted import Reply, raw, says, server, status

from rar_lib import Chat, Judge, load_mini
from rar_lib.core.errors import ChatError
from rar_lib.core.types import Grade
from rar_lib.judging.addresses import Refused
from rar_lib.judging.chat import run_sync
from rar_lib.judging.failures import Refusal, Scope, hidden_error, refusal_of, scope
from rar_lib.judging.judge import grade_many

pytestmark = pytest.mark.fault
TASK = load_mini("train")[0]
GOOD = says("8", tokens=[{"8": 1.0}, {"\n": 1.0}])
BUSY_200 = {"error": {"message": "the provider behind this gateway is busy", "code": 429}}


@pytest.mark.parametrize(
    ("refusal", "reach"),
    [
        (Refusal(429, "rate_limit_exceeded", message="slow down", after_s=1.0), "retry"),
        (Refusal(429, message="Too Many Requests"), "retry"),
        (
            Refusal(429, "RESOURCE_EXHAUSTED", message="check your plan and billing", after_s=1.0),
            "retry",
        ),
        (Refusal(429, "insufficient_quota", message="see its billing page", after_s=1.0), "run"),
        (Refusal(429, message="your credit balance is too low"), "run"),
        (Refusal(402, message="the balance does not cover this request"), "run"),
        (Refusal(401, message="bad key"), "run"),
        (Refusal(403, message="your key may not use this model"), "run"),
        (Refusal(403, message="unsupported country, region, or territory"), "run"),
        (Refusal(403, "content_policy_violation", message="blocked"), "request"),
        (Refusal(400, "content_filter", message="content management policy"), "request"),
        (Refusal(400, "context_length_exceeded"), "request"),
        (Refusal(400, message="This model's maximum context length is 2048 tokens"), "request"),
        (Refusal(413, message="prompt is too long"), "request"),
        (Refusal(400, param="temperature"), "field"),
        (Refusal(422, message="Extra inputs are not permitted"), "field"),
        (Refusal(404, message="Resource not found"), "run"),
        (Refusal(405), "run"),
        (Refusal(408), "retry"),
        (Refusal(500), "retry"),
        (Refusal(503, message="overloaded"), "retry"),
        (Refusal(529, "overloaded_error"), "retry"),
        (Refusal(418), "request"),
        (Refusal(407, message="proxy authentication required"), "run"),
        (Refusal(511, message="network authentication required"), "run"),
        (Refusal(501, message="not implemented"), "field"),
        # Accounts, keys and models that are refused as a bad request.
        (Refusal(400, "invalid_request_error", message="Your credit balance is too low"), "run"),
        (
            Refusal(400, "Arrearage", message="Access denied, is the account in good standing"),
            "run",
        ),
        (Refusal(400, message="This organization has been disabled."), "run"),
        (Refusal(400, "billing_hard_limit_reached", message="Billing hard limit"), "run"),
        (Refusal(400, message="API key not valid. Please pass a valid API key."), "run"),
        (Refusal(400, message="Incorrect API key provided: te***st"), "run"),
        (Refusal(400, message="API key expired. Please renew the API key."), "run"),
        (Refusal(400, message="Model Not Exist"), "run"),
        (Refusal(400, message="x/y is not a valid model ID"), "run"),
        (Refusal(400, "1500", message="Invalid model: m"), "run"),
        (Refusal(422, message="The model `m` does not exist"), "run"),
        # What sounds like it and is not.
        (Refusal(400, message="logprobs are not available for this model"), "field"),
        (Refusal(400, message="This model does not support the parameter seed"), "field"),
        (Refusal(400, message="temperature is invalid, no author set it"), "field"),
        # Templates that fail with the status of a broken server.
        (Refusal(500, message="Jinja Exception: System role not supported"), "field"),
        (Refusal(500, message="raise_exception('Conversation roles must alternate')"), "field"),
        (Refusal(500, message="CUDA out of memory"), "retry"),
        # A gateway without anybody behind it.
        (
            Refusal(404, message="No endpoints found that can handle the requested parameters"),
            "field",
        ),
        (Refusal(404, message="No endpoints found for this/model"), "run"),
        # Limits of the minute and of the day.
        (
            Refusal(429, message="tokens per min (TPM). Please try again in 6ms. See billing."),
            "retry",
        ),
        (Refusal(429, message="free-models-per-day", after_s=1.0), "run"),
        (Refusal(429, message="requests per day (RPD): Limit 200. Try again in 7m12s"), "run"),
        # When to come back: the client waits two minutes at most.
        (Refusal(429, message="slow down", after_s=120.0), "retry"),
        (Refusal(429, message="slow down", after_s=121.0), "run"),
        (Refusal(503, message="maintenance", after_s=3600.0), "run"),
        (Refusal(500, message="oops", after_s=3600.0), "retry"),
        (Refusal(400, message="`max_tokens` must be less than the `context_window`"), "field"),
    ],
    ids=str,
)
def test_the_scope_of_a_failure(refusal: Refusal, reach: Scope) -> None:
    assert scope(refusal) == reach


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"error": {"message": "no", "code": "x", "param": "p"}}, ("x", "p", "no")),
        ([{"error": {"message": "no", "status": "UNAVAILABLE"}}], ("UNAVAILABLE", "", "no")),
        ({"object": "error", "message": "no", "code": 7}, ("7", "", "no")),
        ({"detail": "no"}, ("", "", "no")),
        ({"detail": [{"loc": ["body", "seed"]}]}, ("", "", '[{"loc": ["body", "seed"]}]')),
        ({"error": "no"}, ("", "", "no")),
        ("<html>\n no </html>", ("", "", "<html> no </html>")),
        (None, ("", "", "null")),
        ({"type": "error", "error": {"type": "invalid", "message": "no"}}, ("invalid", "", "no")),
        (
            {"error": {"message": "Provider returned error", "metadata": {"raw": "no seed"}}},
            ("", "", "Provider returned error: no seed"),
        ),
        (
            {"detail": [{"loc": ["body", "seed"], "input": {"messages": "is flagged, too long"}}]},
            ("", "", '[{"loc": ["body", "seed"]}]'),  # what was sent is not what it says
        ),
    ],
)
def test_every_form_of_an_error_is_read(body: Any, expected: tuple[str, str, str]) -> None:
    found = refusal_of(400, body)
    assert (found.code, found.param, found.message) == expected


#: What sets a terminal's title, clears it, writes backwards, hides; and what a line may hold.
HOSTILE = "\x1b]0;pwned\x07\x1b[2J bad\x00 \u202ekey\u200b\x9b31m\r\nhere"


@pytest.mark.parametrize(
    "body",
    [
        HOSTILE,
        {"error": HOSTILE},
        {"detail": [{"msg": HOSTILE}]},
        {"error": {"message": HOSTILE, "code": HOSTILE, "param": HOSTILE}},
        {"error": {"message": "no", "type": HOSTILE, "metadata": {"raw": HOSTILE}}},
        {"error": {"message": {HOSTILE: [HOSTILE]}, "code": {HOSTILE: 1}}},
    ],
    ids=ascii,
)
def test_nothing_that_an_endpoint_says_acts_on_a_terminal(body: Any) -> None:
    found = refusal_of(401, body)
    said = [
        found.words,
        found.code,
        found.param,
        found.message,
        str(Refused("http://h", found, "fix")),
    ]
    assert "pwned" in found.words
    assert [text for text in said if not text.isprintable()] == []
    wrong = says("8", tokens=[{"8": 1.0}]) | {"choices": None, "error": body}
    hidden = hidden_error(wrong)
    assert hidden is not None
    assert hidden.words.isprintable()


@pytest.mark.parametrize("code", ["\u00b2", "4" * 5_000, "\u0664\u0660\u0660", "999", "0x190"])
def test_a_code_that_is_no_status_is_read_by_its_words(code: str) -> None:
    found = hidden_error({"error": {"message": "too many requests", "code": code}})
    assert found is not None
    assert found.status == 429


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (BUSY_200, 429),
        ({"error": {"message": "x", "code": "502"}}, 502),
        ({"error": {"message": "rate limit reached", "type": "rate_limit_error"}}, 429),
        ({"error": {"message": "No auth credentials found"}}, 401),
        ({"error": {"message": "Insufficient credits"}}, 402),
        ({"error": "something broke"}, 500),
        ({"choices": [{"error": {"code": 503, "message": "upstream"}, "message": None}]}, 503),
        (GOOD, None),
        ({"choices": []}, None),
        ({"choices": None, "base_resp": {"status_code": 1004, "status_msg": "login fail"}}, 401),
        ({"code": 500, "msg": "404 NOT_FOUND", "success": False}, 500),
        ({"object": "error", "message": "the model is overloaded", "code": 50001}, 429),
        ({"error_code": 17, "error_msg": "Open api daily request limit reached"}, 500),
        ({"error": "Unexpected endpoint or method. (POST /chat/completions)"}, 404),
        ({"message": "Unauthorized"}, 401),
        ({"error": None, "choices": []}, None),
        ([], None),
        ("text", None),
    ],
)
def test_an_error_in_a_reply_of_200_has_the_status_of_its_code(body: Any, code: int | None) -> None:
    found = hidden_error(body)
    assert (found.status if found else None) == code


def rated(script: list[Reply], **settings: Any) -> tuple[Grade, int]:
    with server(script) as scripted:
        judge = Judge(Chat(scripted.url, "m", **settings))
        return run_sync(judge.grade(TASK, "Cool it.", "implicit")), len(scripted.requests)


@pytest.mark.parametrize(
    ("body", "content_type", "words"),
    [
        (b"<!doctype html><title>Chat</title>", "text/html", "does its address end in /v1"),
        (b'data: {"choices": []}\n\ndata: [DONE]\n', "text/event-stream", "'stream': False"),
        (b": ping\n\ndata: [DONE]\n", "text/event-stream", "'stream': False"),
        (b"upstream gone", "text/plain", "'upstream gone'"),
        (b"", "text/plain", "not JSON"),
    ],
)
def test_what_came_instead_of_a_completion_is_named_with_what_mends_it(
    body: bytes, content_type: str, words: str
) -> None:
    found, _ = rated([raw(body, content_type)])
    assert found.score is None
    assert words in (found.reason or "")


@pytest.mark.parametrize("busy", [BUSY_200, status(429), status(503), status(408)], ids=str)
def test_what_is_busy_for_a_moment_is_asked_again(busy: Reply) -> None:
    found, asked = rated([busy, busy, GOOD])
    assert (found.rating, asked) == (8.0, 3)


def test_what_stays_busy_is_unscored_with_the_gateways_words() -> None:
    found, asked = rated([BUSY_200], timeout_s=0.5)
    assert found.score is None
    assert "the provider behind this gateway is busy" in (found.reason or "")
    assert asked >= 5


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (
            status(429, "no credit is left on this account", code="insufficient_quota"),
            "credit",
        ),
        (status(402, "the balance does not cover this request"), "balance"),
        (status(401, "bad key"), "no key was sent"),
        (status(403, "not in your region"), "region"),
        (status(404, "Resource not found"), "api-version"),
        ({"error": {"message": "Insufficient credits", "code": 402}}, "add credit"),
        (status(400, "Your credit balance is too low"), "add credit"),
        (status(400, "API key not valid. Please pass a valid API key."), "no key was sent"),
        (status(400, "m is not a valid model ID"), "whether it has 'm'"),
        (status(429, "Rate limit exceeded: free-models-per-day"), "limit of the day"),
        ({"base_resp": {"status_code": 1004, "status_msg": "login fail"}}, "login fail"),
    ],
)
def test_what_no_request_can_pass_stops_the_run_at_once(reply: Reply, words: str) -> None:
    with server(reply) as scripted:
        judge = Judge(Chat(scripted.url, "m", concurrency=4))
        items = [(TASK, f"Answer number {n} about burns.") for n in range(20)]
        with pytest.raises(ChatError, match=words):
            run_sync(grade_many(judge, items, "implicit"))
    assert len(scripted.requests) <= 8  # those in flight beside the first


@pytest.mark.parametrize(
    "reply",
    [
        status(400, "blocked by our content management policy", code="content_filter"),
        status(400, "maximum context length is 2048 tokens; max_tokens is too large"),
        says("", "content_filter"),
        says(None, refusal="I can't help with that."),
        raw(b"<html>log in first</html>", "text/html"),
    ],
)
def test_what_this_request_alone_cannot_pass_is_unscored_and_the_run_goes_on(reply: Reply) -> None:
    with server([reply, GOOD]) as scripted:
        judge = Judge(Chat(scripted.url, "m", concurrency=1))
        first = run_sync(judge.grade(TASK, "One.", "implicit"))
        second = run_sync(judge.grade(TASK, "Two.", "implicit"))
    assert first.score is None
    assert first.reason
    assert second.rating == 8.0


@pytest.mark.parametrize(
    ("address", "reply", "named"),
    [
        ("", status(404, "Not Found"), True),
        ("/", status(405, "Method Not Allowed"), True),
        ("/v1", status(404, "Not Found"), False),
        ("/v1beta/openai", status(404, "Not Found"), False),
        ("/api/v3", status(404, "Not Found"), False),
        ("", status(404, "The model `m` does not exist."), False),  # somebody was there
        ("", status(400, "m is not a valid model ID"), False),
    ],
)
def test_an_address_that_lacks_its_end_is_told_so(address: str, reply: Reply, named: bool) -> None:
    with server(reply) as scripted:
        base = scripted.url.removesuffix("/v1")
        with pytest.raises(ChatError, match="whether it has 'm'") as caught:
            run_sync(Judge(Chat(base + address, "m")).grade(TASK, "Cool it.", "implicit"))
    assert (f"try {base}/v1;" in str(caught.value)) is named
