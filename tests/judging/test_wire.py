"""A reply as it comes: the word that ends it, and the forms in which probabilities are given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from scripted import Reply, says, server

from rar_lib import Chat, Judge, load_mini
from rar_lib.core.errors import ChatError
from rar_lib.core.types import Grade
from rar_lib.judging.cassette import Cassette, stats
from rar_lib.judging.chat import run_sync
from rar_lib.judging.dialect import Dialect
from rar_lib.judging.wire import fields, from_environment

pytestmark = pytest.mark.fault
TASK = load_mini("train")[0]


def rated(reply: Reply, **settings: Any) -> Grade:
    with server(reply) as scripted:
        judge = Judge(Chat(scripted.url, "m"), **settings)
        return run_sync(judge.grade(TASK, "Cool it.", "implicit"))


@pytest.mark.parametrize(
    "word",
    [
        "content_filter: SAFETY",
        "ContentFilter",
        "PROHIBITED_CONTENT",
        "RECITATION",
        "BLOCKLIST",
        "SPII",
        "sensitive",
        "abort",
        "network_error",
        "insufficient_system_resource",
        "MALFORMED_FUNCTION_CALL",
        "tool_use",
    ],
)
def test_what_is_not_the_models_answer_is_not_read_as_one(word: str, tmp_path: Path) -> None:
    """The start of a reply that was withheld may well be a digit, or the whole JSON object."""
    cut_off = says("2", word, [{"2": 1.0}])
    assert rated(cut_off).score is None
    found = rated(says('{"rating": 2}', word), reading="sampled")
    assert found.score is None
    assert word in (found.reason or "")
    path = tmp_path / "c.sqlite"
    with server([cut_off, says("8", tokens={"8": 1.0})]) as scripted:
        judge = Judge(Chat(scripted.url, "m", cassette=Cassette(path)))
        grades = [run_sync(judge.grade(TASK, "Cool it.", "implicit")) for _ in range(2)]
    assert [g.rating for g in grades] == [None, 8.0]  # it is asked for again
    assert stats(path)["m"]["calls"] == 2  # and both are on record, with their cost


@pytest.mark.parametrize(
    "word", ["MAX_TOKENS", "max_tokens", "model_length", "LENGTH", "max_length"]
)
def test_a_limit_has_many_names_and_a_reply_that_was_cut_has_not_ended(word: str) -> None:
    found = rated(says("1", word, [{"1": 1.0}]))
    assert found.score is None  # "1" may have been the start of "10"
    assert rated(says('{"rating": 7}', word), reading="sampled").score is None


@pytest.mark.parametrize(
    "word", ["stop", "eos", "stop_sequence", "end_turn", "COMPLETE", {"type": "x"}]
)
def test_any_other_word_ends_an_answer(word: Any) -> None:
    assert rated(says("1", word, [{"1": 1.0}])).rating == 1.0


def test_a_refusal_is_kept_with_its_words_and_its_cost(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    for content in (None, ""):
        with server(says(content, refusal="I can't help with that.")) as scripted:
            judge = Judge(Chat(scripted.url, "m", cassette=Cassette(path)))
            found = run_sync(judge.grade(TASK, f"Cool it, {content}.", "implicit"))
        assert found.score is None
        assert "I can't help with that." in (found.reason or "")
        assert found.usage.prompt_tokens == 10
    assert stats(path)["m"]["prompt_tokens"] == 20


def entry(token: str, logprob: float, **more: Any) -> Reply:
    return {"token": token, "logprob": logprob, **more}


EIGHT = [entry("8", -0.2231), entry("7", -1.6094)]  # 0.8 and 0.2
#: Where an endpoint puts the probabilities, and what they are.
FORMS: dict[str, Any] = {
    "a list": {"content": [entry("8", -0.2231, top_logprobs=EIGHT)]},
    "a map": {"content": [entry("8", -0.2231, top_logprobs={"8": -0.2231, "7": -1.6094})]},
    "lists side by side": {"tokens": ["8"], "top_logprobs": [{"8": -0.2231, "7": -1.6094}]},
    "the written token twice": {
        "content": [entry("8", -0.2231, top_logprobs=[EIGHT[0], *EIGHT])],
    },
    "bytes": {
        "content": [
            entry("8", -0.2231, top_logprobs=[{**e, "bytes": [ord(e["token"])]} for e in EIGHT])
        ],
    },
    "numbers of tokens, with bytes": {
        "content": [
            entry(
                "token_id:23",
                -0.2231,
                bytes=[56],
                top_logprobs=[
                    entry("token_id:23", -0.2231, bytes=[56]),
                    entry("token_id:22", -1.6094, bytes=[55]),
                ],
            )
        ],
    },
}


@pytest.mark.parametrize("name", FORMS)
def test_probabilities_are_read_in_every_form(name: str) -> None:
    reply = says("8")
    reply["choices"][0]["logprobs"] = FORMS[name]
    assert rated(reply, reading="probability").rating == pytest.approx(7.8, abs=1e-3)


@pytest.mark.parametrize(
    "form",
    [
        {"content": [entry("8", -0.1)]},
        {"content": [entry("8", -0.1, top_logprobs=None)]},
        {"content": [entry("8", -0.1, top_logprobs=[])]},
        {"content": None},
        {"tokens": ["8"], "token_logprobs": [-0.1]},
        {},
    ],
    ids=str,
)
def test_where_none_are_given_auto_samples(form: Any) -> None:
    reply = says('{"rating": 8}')
    reply["choices"][0]["logprobs"] = form
    assert rated(reply).rating == 8


@pytest.mark.parametrize(
    "likely",
    [
        {"8": 0.0, "2": 0.0},  # every token is certain
        {"8": -0.1, "2": -0.2, "1": -0.3},  # logits, or anything else
        {"8": 0.0, "the": -0.5},
        {"yes": 0.0, "8": -0.7, "2": -0.7},
        {str(n): -1.0 for n in range(1, 10)},
    ],
    ids=str,
)
def test_what_adds_up_to_more_than_one_is_no_probability(likely: dict[str, float]) -> None:
    reply = says("8")
    top = [entry(token, logprob) for token, logprob in likely.items()]
    reply["choices"][0]["logprobs"] = {"content": [entry("8", -0.1, top_logprobs=top)]}
    found = rated(reply)
    assert found.score is None
    assert "add up to" in (found.reason or "")
    assert "reading='sampled'" in (found.reason or "")


@pytest.mark.parametrize(
    "value", ["s3cret\u00e9", "a\nb s3cret", "s3cret\t1", "s3cret\u200b1", "\x00s3cret"]
)
def test_a_header_that_cannot_be_sent_is_named_and_not_shown(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "\x00" not in value:  # no environment holds it
        monkeypatch.setenv("MINE", value)
    with pytest.raises(ChatError, match="MINE") as caught:
        from_environment({"x-token": "$MINE"})
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        (Dialect(), 20),
        (Dialect(alternatives=8), 8),
        (Dialect(thinking=1), 5),
        (Dialect(thinking=4000, alternatives=3), 3),
    ],
    ids=str,
)
def test_where_a_model_thinks_each_of_its_tokens_brings_few_alternatives(
    said: Dialect, asked: int
) -> None:
    request = {
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 2,
        "temperature": 0.0,
        "seed": 0,
        "schema": None,
        "top_logprobs": 20,
        "prefill": False,
    }
    assert fields(request, said)["top_logprobs"] == asked


def thinking(request: Reply, _: int) -> Reply:
    """As vLLM with a parser: thoughts in a field of their own, probabilities of all tokens."""
    most = request["max_completion_tokens"]
    answer = '{"rating": 8}' if request.get("response_format") else "8"
    tokens = ["Okay", ",", " the", " user", "</think>", "\n\n", answer]
    cut = tokens[:most]
    done = cut.index("</think>") + 1 if "</think>" in cut else len(cut)
    top = request.get("top_logprobs", 0)
    last = {"8": 0.4, "7": 0.25, " 8": 0.15, "9": 0.1, "6": 0.06, "5": 0.04}
    likely = [{text: 1.0} if text != "8" else dict([*last.items()][:top]) for text in cut]
    return says(
        "".join(cut[done:]) or None,
        "length" if len(cut) < len(tokens) else "stop",
        likely if top else None,
        reasoning_content="".join(cut[:done]),
    )


def test_a_judge_that_thinks_is_named_and_read_where_it_gets_the_room() -> None:
    with server(thinking) as scripted:
        for script, rating in ((Dialect(), None), (Dialect(thinking=40), 7.41 / 0.96)):
            judge = Judge(Chat(scripted.url, "m", dialect=script))
            found = run_sync(judge.grade(TASK, "Cool it.", "implicit"))
            assert found.rating == (None if rating is None else pytest.approx(rating, abs=0.01))
            if rating is None:
                assert "still thinking" in (found.reason or "")
                assert "'enable_thinking': False" in (found.reason or "")
        judge = Judge(Chat(scripted.url, "m", dialect=Dialect(thinking=40, alternatives=0)))
        assert run_sync(judge.grade(TASK, "Cool it.", "implicit")).rating == 8
