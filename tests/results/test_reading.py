"""Both readings of a verdict, on replies worked out by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import pytest

from rar_lib.core.types import Usage
from rar_lib.data.tasks import load_mini, load_mini_pairs
from rar_lib.judging.cassette import Cassette
from rar_lib.judging.messages import prompts_of, rubric_of
from rar_lib.judging.reading import LEAST_SHARE
from rar_lib.judging.wire import Reply, Token
from results import reading


def reply(*tokens: Token) -> Reply:
    return Reply("".join(token.text for token in tokens), "stop", tokens, Usage())


#: A space comes first, and in its place a no is likelier; behind it a yes is.
SPACED = reply(
    Token(" ", {" ": 0.9, "Yes": 0.02, "No": 0.06}), Token("Yes", {"Yes": 0.7, "No": 0.1})
)
PLAIN = reply(Token("Yes", {"Yes": 0.75, "No": 0.15}), Token(".", {".": 1.0}))
SLIVER = reply(Token("I", {"I": 0.7, "Yes": 0.05, "No": 0.15}), Token("think", {"think": 1.0}))
NEITHER = reply(Token("I", {"I": 0.9, "Yes": 0.001}), Token("think", {"think": 1.0}))


def test_behind_a_space_the_second_token_decides() -> None:
    one = reading.read(SPACED, 1, reading.BEFORE)
    two = reading.read(SPACED, 2, LEAST_SHARE)
    assert one is not None
    assert two is not None
    # 0.02 of 0.08, then 0.02 + 0.9 * 0.7 of that and 0.06 + 0.9 * 0.1.
    assert (one.value, one.share) == (pytest.approx(0.25), pytest.approx(0.08))
    assert (two.value, two.share) == (pytest.approx(0.65 / 0.8), pytest.approx(0.8))


def test_a_share_that_was_enough_before_may_be_too_small_now() -> None:
    one = reading.read(SLIVER, 1, reading.BEFORE)
    assert one is not None
    assert one.value == pytest.approx(0.25)
    assert reading.read(SLIVER, 2, LEAST_SHARE) is None
    assert reading.read(NEITHER, 1, reading.BEFORE) is None


def test_one_reading_is_summed_up_over_what_it_could_read() -> None:
    given = [(SPACED, False), (PLAIN, True), (SLIVER, True), (NEITHER, False)]
    found = reading.summary([(reading.read(one, 1, reading.BEFORE), gold) for one, gold in given])
    # 0.25 of a no, 0.83 and 0.25 of a yes: two of three are right, and half of a tie ranks right.
    assert found == {
        "verdicts": 4,
        "unscored": 1,
        "median_share": pytest.approx(0.2),
        "accuracy": pytest.approx(2 / 3),
        "auc": pytest.approx(0.75),
    }
    nothing = reading.summary([(None, True)])
    assert (nothing["unscored"], nothing["accuracy"], nothing["auc"]) == (1, None, None)


ASKED = [("first", True), ("second", True), ("third", False)]


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> dict[str, Reply]:
    """Three questions with their labels, and what a judge replied."""
    monkeypatch.setattr(reading, "asked", lambda: iter(ASKED))
    return dict(zip(("first", "second", "third"), (SPACED, PLAIN, SLIVER), strict=True))


def test_the_readings_are_compared_where_both_have_a_verdict(three: dict[str, Reply]) -> None:
    found = reading.compare(three, LEAST_SHARE)
    assert found is not None
    assert found["one token"]["accuracy"] == pytest.approx(2 / 3)
    assert found["two tokens"]["accuracy"] == 1.0
    assert [found[name]["unscored"] for name in ("one token", "two tokens")] == [0, 1]
    assert found["largest_change"] == pytest.approx(0.65 / 0.8 - 0.25)
    assert found["other_verdicts"] == 1


def test_a_judge_is_left_out_while_a_reply_is_not_on_record(three: dict[str, Reply]) -> None:
    del three["second"]
    assert reading.compare(three, LEAST_SHARE) is None


def test_what_is_asked_is_what_the_arm_explicit_asks() -> None:
    tasks = {task.id: task for task in load_mini("all")}
    pairs = load_mini_pairs("test")
    asked: Iterator[tuple[str, bool]] = reading.asked()
    for pair in pairs[:2]:
        task = tasks[pair.task_id]
        for text, gold in (
            (pair.preferred, pair.gold_preferred),
            (pair.rejected, pair.gold_rejected),
        ):
            labels = [gold[criterion.id] for criterion in rubric_of(task).criteria]
            wanted = zip(prompts_of(task, text, "explicit"), labels, strict=True)
            assert [next(asked) for _ in labels] == list(wanted)


def test_the_record_is_of_the_judges_whose_replies_are_there(
    three: dict[str, Reply], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "ROOT", tmp_path)
    monkeypatch.setattr(reading, "RESULTS", tmp_path / "reading.json")
    monkeypatch.setattr(reading, "header", lambda piece: {"machine": f"that of {piece.name}"})
    silent = reply()  # an endpoint that gave no probabilities
    with closing(Cassette(tmp_path / "_build" / "alignment.sqlite", "record")) as cassette:
        for judge, texts in (("qwen-0.5b", list(three)), ("qwen-1.5b", ["first"])):
            for text in texts:
                request = {"model": judge, "messages": [{"role": "user", "content": text}]}
                kept = asdict(three[text]) | {"usage": Usage().model_dump(exclude={"money"})}
                cassette.record(request, kept)
        request = {"model": "qwen-0.5b", "messages": [{"role": "user", "content": "another"}]}
        cassette.record(request, asdict(silent) | {"usage": Usage().model_dump()})
    reading.main()
    record = json.loads((tmp_path / "reading.json").read_text())
    assert set(record["judges"]) == {"qwen-0.5b"}
    assert record["judges"]["qwen-0.5b"]["two tokens"]["verdicts"] == 3
    assert record["machine"] == "that of qwen-0.5b-explicit"
