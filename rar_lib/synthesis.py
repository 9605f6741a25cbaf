"""Rubric synthesis: one model call turns a question (and a reference) into a rubric.

The four desiderata of the paper (section 3.1) are in the prompt text; the shape is enforced
by a JSON schema and then validated again. Pitfalls are asked for in a list of their own, as
mistakes, so their polarity is known by construction and never guessed from the wording.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rar_lib.chat import Chat
from rar_lib.errors import JudgeFault
from rar_lib.prompts import fence, fill, visible
from rar_lib.types import Category, Criterion, Polarity, Rubric, Task, Usage

_RE_ASKS = 2


class _Item(BaseModel):
    model_config = ConfigDict(extra="forbid")
    title: str = Field(min_length=3, max_length=40)
    description: str = Field(min_length=12, max_length=160)


class _Graded(_Item):
    category: Literal[Category.ESSENTIAL, Category.IMPORTANT, Category.OPTIONAL]


@dataclass(frozen=True)
class Synthesis:
    """A rubric, or ``None`` with the reason; and what it cost."""

    rubric: Rubric | None
    reason: str | None
    usage: Usage


async def synthesize(
    task: Task, chat: Chat, *, with_reference: bool = True, size: tuple[int, int] = (4, 6)
) -> Synthesis:
    """Write a rubric for one task.

    Args:
        size: fewest and most criteria besides the one or two pitfalls. The paper asks large
            models for 7-20 items in all; small models repeat themselves beyond about seven.

    Raises:
        ValueError: ``with_reference`` for a task that has none.
    """
    if with_reference and task.reference is None:
        raise ValueError(f"task {task.id!r} has no reference; use with_reference=False")
    guidance = (
        fill("synthesis_with_reference", reference=fence(task.reference or ""))
        if with_reference
        else fill("synthesis_without_reference")
    )
    prompt = fill(
        "synthesis",
        domain=task.domain,
        question=fence(task.question),
        guidance=guidance,
        low=str(size[0]),
        high=str(size[1]),
    )
    usage, fault = Usage(), ""
    for attempt in range(_RE_ASKS + 1):
        try:
            reply = await chat.complete(
                [{"role": "user", "content": prompt}],
                max_tokens=640,
                schema=_schema(size),
                seed=attempt,
                temperature=0.0 if not attempt else 0.7,
            )
            usage += reply.usage
            if reply.finish_reason == "length":
                raise JudgeFault("the rubric was cut off")
            source = "synthetic_ref" if with_reference else "synthetic_noref"
            rubric = parse_rubric(reply.text, task.id, size)
            return Synthesis(rubric.model_copy(update={"source": source}), None, usage)
        except JudgeFault as error:
            fault = str(error)
    return Synthesis(None, f"no valid rubric in {_RE_ASKS + 1} tries: {fault}", usage)


def parse_rubric(text: str, prefix: str, size: tuple[int, int]) -> Rubric:
    """A model's JSON as a rubric; the ids are ours, repeated sentences are refused.

    Raises:
        JudgeFault: not JSON, wrong shape, wrong count, or a sentence said twice.
    """

    class Reply(BaseModel):
        model_config = ConfigDict(extra="forbid")
        criteria: list[_Graded] = Field(min_length=size[0], max_length=size[1])
        pitfalls: list[_Item] = Field(min_length=1, max_length=2)

    try:
        reply = Reply.model_validate(json.loads(text))
    except ValidationError as error:
        first = error.errors()[0]
        raise JudgeFault(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    except (ValueError, RecursionError) as error:
        raise JudgeFault(f"not JSON: {visible(text)[:60]!r}") from error
    sentences = [i.description.strip().lower() for i in (*reply.criteria, *reply.pitfalls)]
    if len(set(sentences)) < len(sentences):
        raise JudgeFault("a criterion is repeated")
    criteria = [
        _criterion(f"{prefix}-{n}", item, item.category, Polarity.GOOD)
        for n, item in enumerate(reply.criteria, start=1)
    ] + [
        _criterion(f"{prefix}-p{n}", item, Category.PITFALL, Polarity.BAD)
        for n, item in enumerate(reply.pitfalls, start=1)
    ]
    return Rubric(criteria=tuple(criteria))


def _criterion(id_: str, item: _Item, category: Category, polarity: Polarity) -> Criterion:
    return Criterion(
        id=id_[-64:].lstrip("-"),
        title=visible(item.title),
        description=visible(item.description),
        category=category,
        polarity=polarity,
    )


def _schema(size: tuple[int, int]) -> dict[str, object]:
    text: dict[str, object] = {"type": "string", "minLength": 3, "maxLength": 40}
    sentence: dict[str, object] = {"type": "string", "minLength": 12, "maxLength": 160}
    pitfall: dict[str, object] = {"title": text, "description": sentence}
    positive = [c.value for c in Category if c is not Category.PITFALL]
    graded: dict[str, object] = {"category": {"type": "string", "enum": positive}, **pitfall}

    def array(properties: dict[str, object], low: int, high: int) -> dict[str, object]:
        item = {
            "type": "object",
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }
        return {"type": "array", "items": item, "minItems": low, "maxItems": high}

    lists = {"criteria": array(graded, *size), "pitfalls": array(pitfall, 1, 2)}
    return {
        "type": "object",
        "properties": lists,
        "required": list(lists),
        "additionalProperties": False,
    }


@dataclass(frozen=True)
class Measures:
    """Rubric quality without a model, both in [0, 1].

    ``grounded``: share of the rubric's distinct content words that occur in the reference or
    the question. ``repetition``: largest Jaccard overlap of content words between two criteria.
    """

    grounded: float
    repetition: float


def measure(rubric: Rubric, task: Task) -> Measures:
    """How far a rubric speaks of this task, and how far it repeats itself."""
    words = [_content_words(c.description) for c in rubric.criteria]
    known = _content_words(f"{task.question} {task.reference or ''}")
    said = set().union(*words)
    overlaps = [len(a & b) / len(a | b) for a, b in combinations(words, 2) if a | b]
    return Measures(
        grounded=len(said & known) / len(said) if said else 0.0,
        repetition=max(overlaps, default=0.0),
    )


def _content_words(text: str) -> set[str]:
    """Words of four letters or more, lower case, cut to six letters so that forms agree."""
    return {w[:6] for w in re.findall(r"[a-z]{4,}", text.lower())}


async def synthesize_many(
    tasks: Sequence[Task], chat: Chat, *, with_reference: bool, size: tuple[int, int] = (4, 6)
) -> list[Synthesis]:
    """One synthesis per task, concurrently, in the order of ``tasks``."""
    return await asyncio.gather(
        *(synthesize(t, chat, with_reference=with_reference, size=size) for t in tasks)
    )
