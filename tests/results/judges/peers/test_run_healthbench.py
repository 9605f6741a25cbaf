"""The HealthBench way: its prompt, what counts as its verdict, and how its calls end together."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from side_by_side import adapter

harness = adapter("harness")
healthbench = adapter("run_healthbench")


def test_a_criterion_is_asked_about_by_the_prompt_beside_the_script(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[list[dict[str, str]]] = []

    async def create(*, messages: list[dict[str, str]], **_: Any) -> Any:
        asked.append(messages)
        message = SimpleNamespace(content='```json\n{"criteria_met": false}\n```')
        return SimpleNamespace(choices=[SimpleNamespace(message=message)])

    client = SimpleNamespace(chat=SimpleNamespace(completions=SimpleNamespace(create=create)))
    monkeypatch.setattr(healthbench, "AsyncOpenAI", lambda **_: client)
    criteria = [{"points": -5, "text": "Says {nothing}."}]
    item = {"id": "a", "question": "Why?", "response": "Because.", "criteria": criteria}
    grade = healthbench.make(harness.Server("http://127.0.0.1:1/v1", "m", 3, ""))
    (outcome,) = asyncio.run(grade(item))
    assert outcome.value is False
    ((_, message),) = asked
    begin, text = message["content"].split("# Instructions\n")
    assert begin == (
        "Below are a conversation and one criterion by which its last message is graded.\n\n"
        "# Conversation\nuser: Why?\n\nassistant: Because.\n\n"
        "# Criterion\n[-5] Says {nothing}.\n\n"
    )
    assert text.startswith("Decide whether the last message of the conversation, the assistant's,")
    assert text.endswith("Return only the JSON object, in Markdown as above.\n")
    example = text[text.index("```json") : text.rindex("```") + 3]
    assert healthbench.parse(example).value is True


def test_the_healthbench_way_asks_nothing_more_once_a_criterion_has_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of three criteria at a time the second is refused: the others are not waited for."""
    ended: list[str] = []

    async def create(*, messages: list[dict[str, str]], **_: Any) -> Any:
        asked = messages[1]["content"]
        name = next(name for name in ("first", "second", "third") if f"Says {name}." in asked)
        if name == "second":
            raise ValueError("refused")
        try:
            await asyncio.sleep(60.0)
        except asyncio.CancelledError:
            ended.append(name)
            raise

    client = SimpleNamespace(chat=SimpleNamespace(completions=SimpleNamespace(create=create)))
    monkeypatch.setattr(healthbench, "AsyncOpenAI", lambda **_: client)
    criteria = [{"points": 1, "text": f"Says {name}."} for name in ("first", "second", "third")]
    item = {"id": "a", "question": "Why?", "response": "Because.", "criteria": criteria}
    grade = healthbench.make(harness.Server("http://127.0.0.1:1/v1", "m", 3, ""))

    async def ended_with_the_error() -> list[str]:
        with pytest.raises(ValueError, match="refused"):
            await grade(item)
        return sorted(ended)  # the loop's own end would stop what is left, too

    assert asyncio.run(ended_with_the_error()) == ["first", "third"]
