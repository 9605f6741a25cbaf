"""Synthesis: a model's JSON becomes a rubric, or a reason."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from scripted import says, server, status

from rar_lib.core.errors import DataError, JudgeFault
from rar_lib.core.types import Category, Polarity, Rubric, Task, Usage
from rar_lib.data.tasks import load_mini
from rar_lib.judging.cassette import Cassette
from rar_lib.judging.chat import Chat
from rar_lib.judging.cost import Estimate, common_length
from rar_lib.judging.dialect import DIALECTS, Dialect
from rar_lib.judging.reading import json_object
from rar_lib.judging.wire import Reply
from rar_lib.rubrics.synthesis import (
    LARGE,
    SMALL,
    Synthesis,
    _schema,
    rubric_from,
    synthesis_prompt,
    synthesis_work,
    synthesize,
    synthesize_many,
    write_rubrics,
)

pytestmark = pytest.mark.fault

TASK = load_mini("train")[0]
SIZE = (2, 3)


def item(n: int, **extra: str) -> dict[str, str]:
    return {"title": f"Title {n}", "description": f"States the fact number {n}."} | extra


def reply(**changes: Any) -> str:
    good = {
        "criteria": [item(1, category="Essential"), item(2, category="Optional")],
        "pitfalls": [item(3)],
    }
    return json.dumps(good | changes)


def parse_rubric(text: str, prefix: str, size: tuple[int, int]) -> tuple[Rubric, tuple[str, ...]]:
    return rubric_from(json_object(Reply(text, "stop", (), Usage())), prefix, size)


def test_positive_criteria_are_good_and_pitfalls_are_bad_to_meet() -> None:
    rubric, dropped = parse_rubric(reply(), "burn", SIZE)
    assert dropped == ()
    assert [(c.id, c.category, c.polarity) for c in rubric.criteria] == [
        ("burn-1", Category.ESSENTIAL, Polarity.GOOD),
        ("burn-2", Category.OPTIONAL, Polarity.GOOD),
        ("burn-p1", Category.PITFALL, Polarity.BAD),
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not JSON"),
        ("Here is the rubric: []", "not JSON"),
        ("[" * 20_000, "not JSON|recursion"),
        ("[]", "expected one JSON object"),
        (reply(criteria="none"), "criteria: expected a list"),
        (reply(criteria=[item(1, category="Essential")]), "criteria"),
        (reply(criteria=[item(n, category="Essential") for n in range(4, 9)]), "criteria"),
        (reply(criteria=[item(1, category="Vital"), item(2, category="Optional")]), "category"),
        (reply(criteria=[item(1, category="Pitfall"), item(2, category="Optional")]), "category"),
        (reply(pitfalls=[]), "pitfalls: 0 usable"),
        (reply(pitfalls=[item(1)]), "repeated"),
        (reply(extra=1), "expected criteria and pitfalls"),
        (reply(pitfalls=[{"title": "T", "description": "x"}]), "pitfalls"),
        (reply(pitfalls=[item(3, weight="5")]), "weight"),
    ],
)
def test_what_is_not_a_rubric_is_refused_with_the_place(text: str, why: str) -> None:
    with pytest.raises(JudgeFault, match=why):
        parse_rubric(text, "burn", SIZE)


def write(url: str, task: Task = TASK, *, with_reference: bool = True) -> Synthesis:
    chat = Chat(url, "scripted")
    return asyncio.run(synthesize(task, chat, with_reference=with_reference, size=SIZE))


def test_the_reference_is_in_the_prompt_only_when_asked_for() -> None:
    assert TASK.reference
    with server(says(reply())) as scripted:
        assert write(scripted.url).rubric is not None
        assert write(scripted.url, with_reference=False).rubric is not None
    texts = [r["messages"][-1]["content"] for r in scripted.requests]
    assert [TASK.reference in t for t in texts] == [True, False]
    with server(says(reply())) as scripted:
        first = write(scripted.url).rubric
    assert first is not None
    assert first.source == "synthetic_ref"


def test_invalid_rubrics_are_re_asked_within_bounds_and_then_given_up_with_a_reason() -> None:
    with server(says("no")) as scripted:
        result = write(scripted.url)
    assert result.rubric is None
    assert "3 tries" in (result.reason or "")
    assert len(scripted.requests) == 3
    assert result.usage.calls == 3


def test_a_cut_off_rubric_is_not_used_even_if_it_parses() -> None:
    with server([says(reply(), finish="length"), says(reply())]) as scripted:
        assert write(scripted.url).rubric is not None
    assert len(scripted.requests) == 2


def test_a_task_without_reference_says_so() -> None:
    bare = TASK.model_copy(update={"reference": None})
    with server(says(reply())) as scripted, pytest.raises(DataError, match="has no reference"):
        write(scripted.url, bare)


def test_a_repeated_or_malformed_item_is_left_out_and_counted() -> None:
    items = [
        item(1, category="Essential"),
        item(1, category="Important"),
        item(2, category="Optional"),
        {"title": "No category", "description": "States something else."},
    ]
    rubric, dropped = parse_rubric(reply(criteria=items), "burn", SIZE)
    assert [c.id for c in rubric.criteria] == ["burn-1", "burn-2", "burn-p1"]
    assert len(dropped) == 2
    assert "repeated" in dropped[0]
    assert "criteria.4.category" in dropped[1]


@pytest.mark.parametrize(
    ("domain", "word"), [("medicine", "physician"), ("science", "physics"), ("other", "subject")]
)
def test_each_domain_has_a_prompt_of_its_own(domain: str, word: str) -> None:
    task = TASK.model_copy(update={"domain": domain})
    prompt = synthesis_prompt(task, with_reference=True, size=SMALL)
    assert word in prompt
    assert "{{" not in prompt


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_the_schema_makes_one_sentence_of_every_description(size: tuple[int, int]) -> None:
    lists = _schema(size)["properties"]
    assert (lists["criteria"]["minItems"], lists["criteria"]["maxItems"]) == size
    virtue = lists["criteria"]["items"]["properties"]["description"]["pattern"]
    mistake = lists["pitfalls"]["items"]["properties"]["description"]["pattern"]
    good = "States that 0.5 °C is enough, 20% of the time (about)."
    assert re.search(virtue, good)
    assert re.search(mistake, "Claims that ice is heavier than water.")
    for bad in (
        "The response should mention water.",  # not a verb
        "States one thing. States another thing.",  # two sentences
        'States that it is <b>bold</b> and "quoted".',  # would have to be escaped
        "States.",
    ):
        assert not re.search(virtue, bad), bad


def test_large_rubrics_keep_the_size_of_the_paper() -> None:
    """7 to 20 items in all, one or two of them pitfalls (paper v2, section 3.2)."""
    assert (LARGE[0] + 1, LARGE[1] + 2) == (7, 20)


def test_a_stopped_run_goes_on_where_it_was(tmp_path: Path) -> None:
    tasks = load_mini("val")[:4]
    cassette = Cassette(tmp_path / "calls.sqlite")

    def dies_after_two(_: dict[str, Any], number: int) -> dict[str, Any]:
        return says(reply()) if number < 2 else status(400)

    def write_all(url: str) -> list[Synthesis]:
        chat = Chat(url, "m", weights="w", concurrency=1, cassette=cassette)
        return asyncio.run(synthesize_many(tasks, chat, with_reference=True, size=SIZE))

    with server(dies_after_two) as first:
        assert sum(s.rubric is not None for s in write_all(first.url)) == 2
    with server(says(reply())) as second:
        assert all(s.rubric for s in write_all(second.url))
    assert len(second.requests) == 2


def test_the_estimate_counts_one_call_a_task() -> None:
    tasks = load_mini("val")[:3]
    work, bare = (
        synthesis_work(tasks, with_reference=with_it, size=SMALL, dialect=Dialect())
        for with_it in (True, False)
    )
    assert work.calls == 3
    assert work.prompt_tokens > bare.prompt_tokens


@pytest.mark.parametrize("name", ["vllm", "google", "openai-reasoning"])
def test_the_estimate_counts_what_a_model_may_think_before_it_writes(
    name: str, tmp_path: Path
) -> None:
    tasks = [task.model_copy(update={"rubric": None}) for task in load_mini("val")[:3]]
    shown: list[Estimate] = []

    def look(found: Estimate) -> bool:
        shown.append(found)
        return False

    chat = Chat("https://h/v1", "m", dialect=name, key_env="")
    target = tmp_path / "t.jsonl"
    assert write_rubrics(tasks, target, chat, with_reference=True, size=SMALL, proceed=look) is None
    (found,) = shown
    # 4 to 6 criteria and one or two pitfalls of 32 tokens each.
    assert found.work.completion_tokens == 3 * (round(6.5 * 32) + DIALECTS[name].thinking)


def test_what_differs_between_tasks_comes_last_so_that_a_server_computes_the_rest_once() -> None:
    tasks = [task for task in load_mini("val") if task.domain == "medicine"][:2]
    one, other = (synthesis_prompt(task, with_reference=True, size=SMALL) for task in tasks)
    common = common_length(one, other)
    assert common > len(one) / 2
    assert tasks[0].question not in one[:common]
    alone, both = (
        synthesis_work(some, with_reference=True, size=SMALL, dialect=Dialect())
        for some in (tasks[:1], tasks)
    )
    assert alone.fresh_tokens == alone.prompt_tokens
    assert both.prompt_tokens - both.fresh_tokens == common // 4
