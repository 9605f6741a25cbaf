"""Synthesis: a model's JSON becomes a rubric, or a reason."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from scripted import says, server

from rar_lib.chat import Chat
from rar_lib.data import load_mini
from rar_lib.errors import JudgeFault
from rar_lib.synthesis import Synthesis, measure, parse_rubric, synthesize
from rar_lib.types import Category, Polarity, Task

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


def test_positive_criteria_are_good_and_pitfalls_are_bad_to_meet() -> None:
    rubric = parse_rubric(reply(), "burn", SIZE)
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
        (reply(criteria=[item(1, category="Essential")]), "criteria"),
        (reply(criteria=[item(n, category="Essential") for n in range(4, 9)]), "criteria"),
        (reply(criteria=[item(1, category="Vital"), item(2, category="Optional")]), "category"),
        (reply(criteria=[item(1, category="Pitfall"), item(2, category="Optional")]), "category"),
        (reply(pitfalls=[]), "pitfalls"),
        (reply(pitfalls=[item(1)]), "repeated"),
        (reply(extra=1), "extra"),
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
    with server(says(reply())) as scripted, pytest.raises(ValueError, match="has no reference"):
        write(scripted.url, bare)


def test_measures_by_hand() -> None:
    task = Task(id="t", question="Does water expand?", reference="Water expands when frozen.")
    rubric = parse_rubric(
        json.dumps(
            {
                "criteria": [
                    {"title": "One", "description": "Water expands.", "category": "Essential"},
                    {"title": "Two", "description": "Water floats.", "category": "Essential"},
                ],
                "pitfalls": [{"title": "Three", "description": "Bananas glow."}],
            }
        ),
        "t",
        SIZE,
    )
    found = measure(rubric, task)
    # water, expands | floats, bananas, glow: two of five are in question or reference
    assert found.grounded == pytest.approx(2 / 5)
    # {water, expand} and {water, floats} share one of three
    assert found.repetition == pytest.approx(1 / 3)
