"""Every endpoint in its own words: declared, or found out from what it refuses."""

from __future__ import annotations

import ast
import json
import logging
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from scripted import Reply, Scripted, says, server, status

from rar_lib import Chat, Judge, RarError, load_mini
from rar_lib.core.errors import ChatError, DataError
from rar_lib.core.types import Grade
from rar_lib.judging.chat import run_sync
from rar_lib.judging.dialect import DIALECTS, Dialect, adapt, dialect_of
from rar_lib.judging.failures import refusal_of, scope
from rar_lib.rubrics.synthesis import synthesize

pytestmark = pytest.mark.fault
TASK = load_mini("train")[0]
RUBRIC = {
    "criteria": [
        {
            "category": "Essential",
            "title": f"Point {n}",
            "description": f"States fact {word} of it.",
        }
        for n, word in enumerate(("one", "two", "three", "four"))
    ],
    "pitfalls": [{"title": "A mistake", "description": "Claims that it is only the air."}],
}
EIGHT = [{"8": 0.9, "7": 0.1}, {"<|im_end|>": 1.0}]


def content(request: Reply) -> str:
    """What a model without a schema goes by: the words of the prompt."""
    asked = request["messages"][-1]["content"]
    if "pitfalls" in asked:
        return json.dumps(RUBRIC)
    if "yes or no" in asked:
        return "yes"
    if '{"met"' in asked:
        return '{"met": true}'
    return '{"rating": 8}' if "JSON" in asked else "8"


def plain(request: Reply) -> Reply:
    """A judge that answers in the form that it is asked for."""
    text = content(request)
    return says(text, tokens=EIGHT if request.get("logprobs") and text == "8" else None)


def refuse(message: str, code: int = 400, **more: Any) -> Reply:
    return status(code, message, **more)


def only(*fields: str) -> Callable[[Reply], Reply | None]:
    """Refuses every field but these, as a strict API does."""

    def check(request: Reply) -> Reply | None:
        extra = sorted(set(request) - {"model", "messages", *fields})
        detail = [
            {"loc": ["body", name], "msg": "Extra inputs are not permitted"} for name in extra
        ]
        return {"status": 422, "detail": detail} if extra else None

    return check


def without(name: str, message: str, **more: Any) -> Callable[[Reply], Reply | None]:
    """Refuses one field, in the words of some endpoint."""
    return lambda request: refuse(message, **more) if name in request else None


def at_most(
    most: int,
    words: str = "Invalid value for 'top_logprobs': must be less than or equal to {}.",
    **more: Any,
) -> Callable[[Reply], Reply | None]:
    said = refuse(words.format(most), **more)
    return lambda r: said if r.get("top_logprobs", 0) > most else None


def no_system(message: str, code: int = 400) -> Callable[[Reply], Reply | None]:
    return lambda r: refuse(message, code) if r["messages"][0]["role"] == "system" else None


def schema_is(kind: str, message: str) -> Callable[[Reply], Reply | None]:
    return lambda r: refuse(message) if r.get("response_format", {}).get("type") == kind else None


def least(tokens: int) -> Callable[[Reply], Reply | None]:
    words = f"Invalid 'max_completion_tokens': integer below minimum value. Expected >= {tokens}."
    return lambda r: refuse(words) if r.get("max_completion_tokens", 99) < tokens else None


#: What an endpoint refuses, in its own words; nobody has declared anything.
REFUSALS: dict[str, list[Callable[[Reply], Reply | None]]] = {
    "only max_tokens, fields unknown to it named": [
        only("max_tokens", "temperature", "response_format"),
    ],
    "max_tokens instead": [
        without("max_completion_tokens", "Unrecognized request argument: max_completion_tokens"),
    ],
    "a least number of tokens": [least(16)],
    "no temperature of its own": [
        without("temperature", "Only the default (1) is supported", param="temperature"),
        without("logprobs", "logprobs is not supported with this model", param="logprobs"),
    ],
    "no temperature, said in words": [
        without("temperature", "`temperature` is deprecated for this model."),
    ],
    "no seed": [without("seed", 'Unknown name "seed": Cannot find field.')],
    "five alternatives": [at_most(5, param="top_logprobs")],
    "five alternatives, as vLLM says it": [
        at_most(5, "Requested sample logprobs of 20, which is greater than max allowed: {}"),
    ],
    "five alternatives, as TGI says it": [at_most(5, "`top_n_tokens` must be >= 0 and <= {}.")],
    "eight alternatives, in a range": [at_most(8, "top_logprobs must be in [0, {}]")],
    "not more alternatives": [at_most(5, "You cannot ask for more than {} top_logprobs")],
    "a system turn that is an error of the server": [
        no_system("Jinja Exception: System role not supported", code=500),
    ],
    "a system turn, named last": [
        no_system("Only user, assistant and tool roles are supported, got system."),
    ],
    "nobody behind the gateway takes it all": [
        without(
            "logprobs",
            "No endpoints found that can handle the requested parameters.",
            code=404,
        ),
    ],
    "the endpoint behind the gateway says why": [
        lambda r: (
            refuse("Provider returned error", metadata={"raw": "'seed' is no field"})
            if "seed" in r
            else None
        ),
    ],
    "no probabilities": [without("logprobs", "This model does not support logprobs")],
    "no system turn (template)": [no_system("System role not supported")],
    "no system turn (alternation)": [
        no_system("Conversation roles must alternate user/assistant/user/assistant/..."),
    ],
    "no system turn (hosted)": [no_system("Developer instruction is not enabled for models/x")],
    "JSON mode instead of a schema": [
        without("logprobs", "logprobs: not here"),
        schema_is("json_schema", "response_format type 'json_schema' is unavailable now"),
    ],
    "neither": [
        without("logprobs", "logprobs: not here"),
        without("response_format", "structured output is not supported by this model"),
    ],
}


def graded(scripted: Scripted, **settings: Any) -> Grade:
    """A grade by the judge that the README's first example makes."""
    judge = Judge(Chat(scripted.url, "judge", **settings))
    return run_sync(judge.grade(TASK, "Cool the burn.", "implicit"))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2"])
@pytest.mark.parametrize("name", REFUSALS)
def test_what_an_endpoint_refuses_is_left_out_once_and_for_all(
    name: str, host: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-made-up")
    caplog.set_level(logging.WARNING, logger="rar_lib")

    def answer(request: Reply, _: int) -> Reply:
        refused = [said for check in REFUSALS[name] if (said := check(request))]
        return refused[0] if refused else plain(request)

    with server(answer, host) as scripted:
        judge = Judge(Chat(scripted.url, "judge"))
        first = run_sync(judge.grade(TASK, "Cool the burn.", "implicit"))
        tried = len(scripted.requests)
        second = run_sync(judge.grade(TASK, "Cool the burn.", "implicit"))
        rubric = run_sync(synthesize(TASK, judge.chat)).rubric
    assert first.score == second.score == pytest.approx((first.rating or 0) / 9 - 1 / 9)
    assert first.rating in (8.0, pytest.approx(7.9))
    assert rubric is not None
    said = [r.getMessage() for r in caplog.records]
    assert len(said) == len(set(said)) >= 1  # each refusal is told once
    assert 1 < tried <= 1 + len(said)
    told = r"asked without from now on; to say so beforehand: dialect=Dialect\(\*\*(\{.*\})\)$"
    advice = [re.findall(told, line) for line in said]
    assert [len(found) for found in advice] == [1] * len(said)
    assert Dialect(**ast.literal_eval(advice[-1][0])) == judge.chat.speaks  # of all, the last


def test_a_declared_dialect_is_never_refused() -> None:
    strict = only("max_tokens", "temperature")

    def answer(request: Reply, _: int) -> Reply:
        return strict(request) or plain(request)

    said = Dialect(limit="max_tokens", seed=False, alternatives=0, structure="none")
    with server(answer) as scripted:
        assert graded(scripted, dialect=said).rating == 8
    assert len(scripted.requests) == 1


def test_a_field_that_cannot_be_left_out_stops_the_run_and_is_named() -> None:
    refusal = refuse("unsupported effort", param="reasoning_effort")
    said = Dialect(body={"reasoning_effort": "huge"})
    with (
        server(refusal) as scripted,
        pytest.raises(ChatError, match=r"'reasoning_effort'.*Dialect"),
    ):
        graded(scripted, dialect=said)
    assert len(scripted.requests) == 1


def test_a_field_that_is_refused_under_both_names_ends_the_trying() -> None:
    def answer(request: Reply, _: int) -> Reply:
        name = "max_tokens" if "max_tokens" in request else "max_completion_tokens"
        return refuse(f"{name} is not a field", param=name)

    with server(answer) as scripted, pytest.raises(ChatError, match="max_tokens"):
        graded(scripted)
    assert len(scripted.requests) == 2


def test_a_field_named_at_the_end_of_a_long_message_is_found() -> None:
    def answer(request: Reply, _: int) -> Reply:
        long = [{"input": "x" * 900}, {"loc": ["body", "seed"]}]
        return {"status": 422, "detail": long} if "seed" in request else plain(request)

    with server(answer) as scripted:
        assert graded(scripted).score is not None


def test_a_bad_request_that_names_no_field_is_that_requests_alone() -> None:
    with server(refuse("something is odd about this text")) as scripted:
        found = graded(scripted)
    assert found.score is None
    assert "something is odd" in (found.reason or "")


@pytest.mark.parametrize(
    ("words", "fields"),
    [
        ("the answer is flagged", ()),
        ("max_completion_tokens must be at least 16", ("limit",)),
        ("unknown: seed, temperature", ("temperature", "seed")),
        ("assistant message prefill is not supported", ("prefill",)),
        ("the operating systems differ", ()),
    ],
)
def test_only_what_is_named_is_changed(words: str, fields: tuple[str, ...]) -> None:
    assert adapt(Dialect(), "", words)[1] == fields


def test_a_param_of_its_own_outweighs_the_words() -> None:
    words = "temperature is not supported; supported are seed and max_completion_tokens"
    assert adapt(Dialect(), "temperature", words)[1] == ("temperature",)


@pytest.mark.parametrize(
    "words",
    [
        "max_completion_tokens is too large: {0}. This model supports at most 4096 tokens.",
        "`max_completion_tokens` must be less than or equal to `4096`, less than `context_window`",
        "Invalid max_completion_tokens, the valid range of max_completion_tokens is [1, 4096]",
        "max_completion_tokens: {0} > 4096, which is the maximum: 4096",
        "max_completion_tokens exceeds the maximum allowed 4096",
    ],
)
def test_a_budget_beyond_what_the_endpoint_allows_is_cut_to_it(words: str) -> None:
    def answer(request: Reply, _: int) -> Reply:
        wanted = request["max_completion_tokens"]
        return refuse(words.format(wanted)) if wanted > 4096 else plain(request)

    with server(answer) as scripted:
        assert graded(scripted, dialect=Dialect(thinking=8000)).rating == pytest.approx(7.9)
    assert [r["max_completion_tokens"] for r in scripted.requests] == [8003, 4096]


@pytest.mark.parametrize(
    "words",
    [
        "This model does not support response formats",
        "Invalid schema for response_format 'reply': 'minimum' is not permitted.",
        "output_config.format.schema: For 'integer' type, property 'minimum' is not supported",
        "Unsupported JSON schema",
        "response_format.type must be 'text'",
    ],
)
def test_a_schema_is_weakened_in_whatever_words_it_is_refused(words: str) -> None:
    other, changed = adapt(Dialect(), "", words)
    assert (other.structure, changed) == ("json", ("structure",))


@pytest.mark.parametrize(
    "words",
    [
        "Expected last role User or Tool (or Assistant with prefix True) for serving",
        "The last message must have role `user`",
        "This model does not support assistant message prefill.",
        "The conversation must end with a user message.",
        "Cannot set add_generation_prompt to True with continue_final_message",
    ],
)
def test_a_turn_that_may_not_be_begun_is_named_in_many_words(words: str) -> None:
    assert adapt(Dialect(), "", words)[0].prefill is None


def test_a_gateway_that_names_no_field_is_asked_with_less_until_nothing_is_left() -> None:
    words = "No endpoints found that can handle the requested parameters."
    with server(refuse(words, 404)) as scripted, pytest.raises(ChatError, match="any form of"):
        graded(scripted)
    assert len(scripted.requests) <= 6


def test_thinking_gets_room_and_its_lack_is_named() -> None:
    def answer(request: Reply, _: int) -> Reply:
        if request["max_completion_tokens"] < 400:
            return says(None, "length", reasoning_content="First the bubbles ...")
        return plain(request)

    with server(answer) as scripted:
        found = graded(scripted, dialect=Dialect(alternatives=0))
        assert "Dialect(thinking=" in (found.reason or "")
        assert graded(scripted, dialect=Dialect(alternatives=0, thinking=1000)).rating == 8


def test_thoughts_in_the_content_are_not_the_answer() -> None:
    text = '<think>9? {"rating": 9}</think>{"rating": 8}'
    with server(says(text)) as scripted:
        assert graded(scripted, dialect=Dialect(alternatives=0)).rating == 8


def test_query_headers_and_body_are_sent_and_secrets_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MY_KEY", "s3cret\n")
    said = Dialect(
        query={"api-version": "2024-10-21"},
        headers={"api-key": "$MY_KEY"},
        body={"reasoning_effort": "low"},
    )
    with server(lambda request, _: plain(request)) as scripted:
        chat = Chat(scripted.url, "judge", dialect=said)
        run_sync(Judge(chat).grade(TASK, "Cool it.", "implicit"))
    assert scripted.paths == ["/v1/chat/completions?api-version=2024-10-21"]
    assert scripted.headers[0]["api-key"] == "s3cret"
    assert scripted.requests[0]["reasoning_effort"] == "low"
    assert "s3cret" not in repr(chat)
    monkeypatch.delenv("MY_KEY")
    with server(says("8")) as scripted, pytest.raises(ChatError, match="MY_KEY"):
        graded(scripted, dialect=said)


def test_a_query_in_the_address_is_kept() -> None:
    with server(lambda request, _: plain(request)) as scripted:
        chat = Chat(f"{scripted.url}?api-version=1", "judge")
        assert run_sync(Judge(chat).grade(TASK, "Cool it.", "implicit")).score is not None
    assert scripted.paths == ["/v1/chat/completions?api-version=1"]


#: What each ready-made endpoint is like: the fields that it takes, and whether it gives
#: probabilities. Sources of the facts: see the documentation's table.
USUAL = {"temperature", "seed", "logprobs", "response_format"}
SHAPES: dict[str, tuple[set[str], bool]] = {
    "vllm": ({"max_completion_tokens", *USUAL}, True),
    "sglang": ({"max_completion_tokens", *USUAL}, True),
    "llama.cpp": ({"max_tokens", *USUAL}, True),
    "ollama": ({"max_tokens", *USUAL}, True),
    "openai": ({"max_completion_tokens", *USUAL}, True),
    "openai-reasoning": ({"max_completion_tokens", "response_format"}, False),
    "azure": ({"max_completion_tokens", *USUAL}, True),
    "anthropic": ({"max_tokens", "temperature"}, False),
    "google": ({"max_tokens", "temperature", "response_format"}, False),
    "openrouter": ({"max_tokens", "provider", *USUAL}, True),
}


def test_every_ready_made_dialect_has_a_shape() -> None:
    assert set(SHAPES) == set(DIALECTS)


@pytest.mark.parametrize("name", DIALECTS)
def test_a_judge_of_ten_lines_grades_on_every_ready_made_dialect(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """At the first try, without a refusal; and a rubric is written there."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-made-up")
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "made-up")
    fields, likely = SHAPES[name]
    strict = only(*fields, "top_logprobs")

    def answer(request: Reply, _: int) -> Reply:
        text = (
            "yes"
            if request["messages"][-1]["content"].endswith("yes or no.\n")
            else content(request)
        )
        if (
            "met" in str(request.get("response_format"))
            or '{"met"' in request["messages"][-1]["content"]
        ):
            text = '{"met": true}'
        if "one word, yes or no" in request["messages"][-1]["content"]:
            text = "yes"
        return strict(request) or says(
            text, tokens=[{text: 1.0}] if request.get("logprobs") else None
        )

    with server(answer, "127.0.0.2") as scripted:
        judge = Judge(Chat(scripted.url, "judge", dialect=name))
        rating = run_sync(judge.grade(TASK, "Cool the burn.", "implicit"))
        verdicts = run_sync(judge.grade(TASK, "Cool the burn.", "explicit"))
        rubric = run_sync(synthesize(TASK, judge.chat)).rubric
    assert rating.rating == 8
    assert [v.met for v in verdicts.verdicts] == [True] * len(verdicts.verdicts)
    assert (rating.share is not None) == likely
    assert rubric is not None
    assert caplog.text == ""


def test_an_unknown_dialect_names_those_there_are() -> None:
    with pytest.raises(DataError, match=r"no dialect 'grok'; choose one of: vllm, sglang"):
        Chat("http://127.0.0.1:1/v1", "m", dialect="grok")
    assert dialect_of("ollama") == DIALECTS["ollama"]
    with pytest.raises(DataError, match="thinking is -1"):
        Dialect(thinking=-1)


def test_a_dialect_is_part_of_a_calls_identity_and_the_default_is_not_spelt_out() -> None:
    assert Dialect().declared == {}
    assert replace(Dialect(), limit="max_tokens", alternatives=5).declared == {
        "limit": "max_tokens",
        "alternatives": 5,
    }


def test_where_no_probabilities_come_auto_samples_and_says_so_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, logger="rar_lib")

    def answer(request: Reply, _: int) -> Reply:
        asked = request["messages"][-1]["content"]
        if "response_format" in request:
            return says('{"met": true}' if "met" in asked else '{"rating": 8}')
        return says("yes", "length")

    with server(answer) as scripted:
        judge = Judge(Chat(scripted.url, "judge"))
        grades = [run_sync(judge.grade(TASK, f"Cool it {n}.", "explicit")) for n in range(3)]
        beforehand = Judge(Chat(scripted.url, "judge", dialect=Dialect(alternatives=0)))
        sampled = Judge(Chat(scripted.url, "judge"), reading="sampled")
        grades += [run_sync(j.grade(TASK, "Cool it.", "explicit")) for j in (beforehand, sampled)]
    assert all(g.score is not None for g in grades)
    (said,) = caplog.messages  # and nothing of those that are as it says
    assert said == (
        f"{scripted.url} gives no log-probabilities: verdicts and ratings are sampled from now on; "
        "to say so beforehand: dialect=Dialect(alternatives=0), or Judge(reading='sampled')"
    )
    assert judge.chat.speaks == beforehand.chat.speaks
    with server(answer) as scripted:
        never = Judge(Chat(scripted.url, "judge"), reading="probability")
        found = run_sync(never.grade(TASK, "Cool it.", "explicit"))
    assert found.score is None
    assert "reading='sampled'" in (found.reason or "")


def test_an_unknown_reading_is_refused() -> None:
    with pytest.raises(RarError, match="no reading 'logits'; allowed: auto, probability, sampled"):
        Judge(Chat("http://127.0.0.1:1/v1", "m"), reading="logits")  # type: ignore[arg-type]


_THINKS = Dialect(thinking=4000)
_REPEATED = {
    "type": "extra_forbidden",
    "loc": ["body", "seed"],
    "msg": "Extra inputs are not permitted",
    "input": "the temperature and its logprobs",
}


@pytest.mark.parametrize(
    ("status", "said", "used", "changed"),
    [
        # Names inside of other names, of other spellings, in sentences of other scripts.
        (422, {"message": {"detail": [_REPEATED]}}, Dialect(), {"seed": False}),
        (422, {"errors": {"seed": ["is not permitted"]}}, Dialect(), {"seed": False}),
        (400, {"Message": 'unknown field "seed"'}, Dialect(), {"seed": False}),
        (400, "extraneous key [seed] is not permitted", Dialect(), {"seed": False}),
        (400, {"error": "temperature\u53c2\u6570\u975e\u6cd5"}, Dialect(), {"temperature": False}),
        (
            400,
            [{"error": {"message": 'Unknown name "topLogprobs"'}}],
            Dialect(),
            {"alternatives": 0},
        ),
        (
            400,
            [{"error": {"message": 'Unknown name "maxCompletionTokens": Cannot find field.'}}],
            Dialect(),
            {"limit": "max_tokens"},
        ),
        # A model that keeps its probabilities, a server that has none.
        (403, {"error": "You are not allowed to request logprobs"}, Dialect(), {"alternatives": 0}),
        (501, {"error": "logprobs is not implemented"}, Dialect(), {"alternatives": 0}),
        # How many there may be.
        *(
            (400, {"error": {"message": f"top_logprobs {words}"}}, Dialect(), {"alternatives": 5})
            for words in (
                "must be less than 6",
                "must be in the range [0, 6)",
                "should not be greater than 5",
                "may not exceed 5",
                "(20) > 5",
                "is expected in 0..=5",
                "of 20: the maximum number of top_logprobs is 5",
            )
        ),
        (422, "`max_new_tokens` must be <= 512. Given: 4003", _THINKS, {"most": 512}),
        (
            400,
            "max_completion_tokens must be between 16 and 2048",
            _THINKS,
            {"least": 16, "most": 2048},
        ),
        (
            400,
            "max_tokens: 204000 > 64000, which is the maximum allowed number of output tokens",
            Dialect(limit="max_tokens", thinking=200_000),
            {"most": 64_000},
        ),
        # Structure and turns that are refused without their names.
        (422, 'Grammar error: Unimplemented keys: ["minimum"]', Dialect(), {"structure": "json"}),
        (
            400,
            {
                "error": {
                    "message": "must contain the word 'json'",
                    "param": "messages",
                }
            },
            Dialect(structure="json"),
            {"structure": "none"},
        ),
        (500, "Only user and assistant roles are supported!", Dialect(), {"system": False}),
        (
            400,
            {"error": {"message": "Input should be 'user' or 'tool'", "param": "messages[0].role"}},
            Dialect(),
            {"system": False},
        ),
        (
            400,
            {
                "error": {
                    "message": "Invalid value: 'system'. Supported values are: 'user'",
                    "param": "messages[0].role",
                }
            },
            Dialect(),
            {"system": False},
        ),
    ],
    ids=str,
)
def test_a_refusal_is_understood_in_any_words(
    status: int, said: Any, used: Dialect, changed: dict[str, Any]
) -> None:
    refusal = refusal_of(status, said)
    assert scope(refusal) == "field"
    assert adapt(used, refusal.param, refusal.message)[0] == replace(used, **changed)


@pytest.mark.parametrize(
    ("code", "words"),
    [(403, "You are not allowed to request logprobs from this model"), (501, "no logprobs here")],
)
def test_a_model_that_keeps_its_probabilities_is_sampled(code: int, words: str) -> None:
    refusing = without("logprobs", words, code=code)
    with server(lambda request, _: refusing(request) or plain(request)) as scripted:
        assert graded(scripted).rating == 8
    assert len(scripted.requests) == 2
