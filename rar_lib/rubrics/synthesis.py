"""Rubric synthesis: one model call turns a question, with its reference or without, into a rubric.

    result = await synthesize(task, chat, with_reference=True, size=(4, 6))
    result.rubric or result.reason

The four desiderata of the paper (v2, section 3.1) are in the prompt text; the shape is enforced
by a JSON schema and then validated again. Pitfalls are asked for in a list of their own, as
mistakes, so their polarity is known by construction and never guessed from the wording.
:func:`write_rubrics` does it for a file of questions, with an estimate first; with a cassette in
the chat a killed run goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from rar_lib.core.errors import DataError, JudgeFault
from rar_lib.core.prompts import fill, template
from rar_lib.core.text import fence, visible
from rar_lib.core.types import Category, Criterion, Polarity, Price, Rubric, Task, Usage
from rar_lib.data.tasks import load_tasks, save_tasks
from rar_lib.judging.chat import Chat, Lasting, run_sync, together
from rar_lib.judging.cost import (
    TEMPLATE,
    Estimate,
    Work,
    common_length,
    estimate,
    measure_rate,
    tokens,
)
from rar_lib.judging.dialect import Dialect
from rar_lib.judging.reading import json_object
from rar_lib.judging.wire import Reply

#: Fewest and most criteria besides the one or two pitfalls.
Size = tuple[int, int]
#: For large models: 7 to 20 items in all (paper v2, section 3.2).
LARGE: Size = (6, 18)
#: For models of up to about 3B, which repeat themselves beyond about seven items.
SMALL: Size = (4, 6)
_RE_ASKS = 2
_TOKENS_AN_ITEM = 90
_NO_REFERENCE = "no reference to ground it on: add one, or pass --no-reference"
#: How a description begins; the response is its subject.
_VIRTUES = "States|Explains|Names|Recommends|Advises|Describes|Mentions|Gives|Warns|Defines|Lists"
_MISTAKES = "States|Claims|Recommends|Advises|Suggests|Confuses|Omits|Ignores|Denies|Leaves out"
_CHARACTER = "[ #-&(-,/-;=@-Za-z'%+\u00b0\u00b2\u00b3\u00b5\u00d7\u00c0-\u00ff\u0391-\u03c9\u2212-]"
_SENTENCE = f"({_CHARACTER}|[0-9]\\.[0-9]){{12,130}}\\."
_TITLE = "[A-Z][A-Za-z0-9 '-]{4,38}"


class _Item(BaseModel):
    model_config = ConfigDict(extra="forbid")
    title: str = Field(min_length=3, max_length=40)
    description: str = Field(min_length=12, max_length=160)


class _Graded(_Item):
    category: Literal[Category.ESSENTIAL, Category.IMPORTANT, Category.OPTIONAL]


Item = TypeVar("Item", bound=_Item)


@dataclass(frozen=True)
class Synthesis:
    """A rubric, or ``None`` with the reason; and what it cost.

    Attributes:
        dropped: why single items of the reply were left out (a repeated sentence, a wrong
            shape); the rubric is valid without them.
    """

    rubric: Rubric | None
    reason: str | None
    usage: Usage
    dropped: tuple[str, ...] = ()


_SYNTHESIS = TypeAdapter(Synthesis)


def synthesis_prompt(task: Task, *, with_reference: bool, size: Size) -> str:
    """What the model is asked: a text per domain, the reference only where wanted.

    What differs between tasks comes last, so that a server computes what comes before it once.

    Raises:
        DataError: ``with_reference`` for a task that has none.
    """
    if with_reference and task.reference is None:
        raise DataError(f"task {task.id!r} has no reference; use with_reference=False")
    role, facets, rule, example = template(f"synthesis_{task.domain}").split("\n")
    guidance = (
        fill("synthesis_with_reference", reference=fence(task.reference or ""))
        if with_reference
        else fill("synthesis_without_reference")
    )
    low, high = map(str, size)
    return fill(
        "synthesis",
        role=role,
        facets=facets,
        rule=rule,
        example=example,
        question=fence(task.question),
        guidance=guidance,
        low=low,
        high=high,
    )


async def synthesize(
    task: Task, chat: Chat, *, with_reference: bool = True, size: Size = SMALL
) -> Synthesis:
    """Write a rubric for one task: at most three calls, the later ones sampled.

    Raises:
        DataError: ``with_reference`` for a task that has none.
        ChatError: the endpoint itself is wrong.
    """
    prompt = synthesis_prompt(task, with_reference=with_reference, size=size)
    source = "synthetic_ref" if with_reference else "synthetic_noref"
    usage = Usage()
    fault = ""

    def read(reply: Reply) -> tuple[Rubric, tuple[str, ...]]:
        return rubric_from(json_object(reply), task.id, size)

    for attempt in range(_RE_ASKS + 1):
        try:
            reply = await chat.complete(
                [{"role": "user", "content": prompt}],
                max_tokens=_TOKENS_AN_ITEM * (size[1] + 2),
                schema=_schema(size),
                seed=attempt,
                temperature=0.0 if not attempt else 0.7,
                read=read,
            )
            usage += reply.usage
            rubric, dropped = read(reply)
            return Synthesis(rubric.model_copy(update={"source": source}), None, usage, dropped)
        except JudgeFault as error:
            fault = str(error)
    return Synthesis(None, f"no valid rubric in {_RE_ASKS + 1} tries: {fault}", usage)


async def synthesize_many(
    tasks: Sequence[Task],
    chat: Chat,
    *,
    with_reference: bool,
    size: Size = SMALL,
    progress: str = "",
) -> list[Synthesis]:
    """One synthesis per task, concurrently, in the order of ``tasks``.

    With a cassette in the chat a killed run goes on where it was: finished calls are on record.

    Args:
        progress: label of a progress bar on a terminal; none when empty.
    """
    from tqdm import tqdm

    with tqdm(total=len(tasks), desc=progress, unit="rubric", disable=not progress or None) as bar:

        async def one(task: Task) -> Synthesis:
            result = await synthesize(task, chat, with_reference=with_reference, size=size)
            bar.update()
            return result

        return await together(one(task) for task in tasks)


async def synthesize_items(
    chat: Chat, items: Sequence[str], *, with_reference: bool, size: Size
) -> list[str]:
    """As :func:`synthesize_many`, of tasks as JSON: a :class:`Synthesis` as JSON for each.

    Raises:
        ChatError, ServerError, CassetteError: the endpoint or the record itself is wrong.
    """
    lasting = Lasting.of(chat)
    tasks = [Task.model_validate_json(item) for item in items]
    found = await synthesize_many(tasks, lasting, with_reference=with_reference, size=size)
    lasting.check_whole()
    return [_SYNTHESIS.dump_json(one).decode() for one in found]


def read_synthesis(text: str) -> Synthesis:
    """What :func:`synthesize_items` wrote of one task."""
    return _SYNTHESIS.validate_json(text)


def rubric_from(
    reply: Mapping[str, Any], prefix: str, size: Size
) -> tuple[Rubric, tuple[str, ...]]:
    """A model's JSON object as a rubric with ids of ours, and why items were left out.

    A sentence said twice counts once, and an item of the wrong shape does not count; what
    remains has to be a rubric by itself.

    Raises:
        JudgeFault: wrong shape, or too few or too many items left.
    """
    if set(reply) != {"criteria", "pitfalls"}:
        raise JudgeFault(f"expected criteria and pitfalls, got {visible(str(reply))[:60]!r}")
    dropped: list[str] = []
    seen: set[str] = set()
    graded = _items(reply["criteria"], _Graded, "criteria", seen, dropped)
    pitfalls = _items(reply["pitfalls"], _Item, "pitfalls", seen, dropped)
    for name, found, (low, high) in (("criteria", graded, size), ("pitfalls", pitfalls, (1, 2))):
        if not low <= len(found) <= high:
            why = f" ({dropped[0]})" if dropped else ""
            raise JudgeFault(f"{name}: {len(found)} usable, wanted {low} to {high}{why}")
    criteria = [
        _criterion(f"{prefix}-{n}", item, item.category, Polarity.GOOD)
        for n, item in enumerate(graded, start=1)
    ] + [
        _criterion(f"{prefix}-p{n}", item, Category.PITFALL, Polarity.BAD)
        for n, item in enumerate(pitfalls, start=1)
    ]
    return Rubric(criteria=tuple(criteria)), tuple(dropped)


def _items(
    found: object, kind: type[Item], name: str, seen: set[str], dropped: list[str]
) -> list[Item]:
    """The valid items of a list that say something new."""
    if not isinstance(found, list):
        raise JudgeFault(f"{name}: expected a list, got {type(found).__name__}")
    items = []
    for number, value in enumerate(found, start=1):
        try:
            item = kind.model_validate(value)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, (name, number, *first["loc"])))
            dropped.append(f"{place}: {first['msg']}")
            continue
        sentence = " ".join(item.description.lower().split())
        if sentence in seen:
            dropped.append(f"{name}.{number}: a sentence is repeated")
            continue
        seen.add(sentence)
        items.append(item)
    return items


def _criterion(id_: str, item: _Item, category: Category, polarity: Polarity) -> Criterion:
    return Criterion(
        id=id_[-64:].lstrip("-"),
        title=visible(item.title),
        description=visible(item.description),
        category=category,
        polarity=polarity,
    )


def _schema(size: Size) -> dict[str, Any]:
    """The reply's JSON schema; its patterns make each description one sentence that says what a
    response does, a virtue among the criteria and a mistake among the pitfalls."""

    def item(verbs: str, **more: object) -> dict[str, object]:
        text = {"title": _pattern(_TITLE), "description": _pattern(f"({verbs}) {_SENTENCE}")}
        properties = more | text
        return {
            "type": "object",
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }

    positive = [category.value for category in Category if category is not Category.PITFALL]
    graded = item(_VIRTUES, category={"type": "string", "enum": positive})
    lists = {
        "criteria": {"type": "array", "items": graded, "minItems": size[0], "maxItems": size[1]},
        "pitfalls": {"type": "array", "items": item(_MISTAKES), "minItems": 1, "maxItems": 2},
    }
    return {
        "type": "object",
        "properties": lists,
        "required": list(lists),
        "additionalProperties": False,
    }


def _pattern(text: str) -> dict[str, object]:
    return {"type": "string", "pattern": f"^{text}$"}


#: Written tokens of one rubric item, title and JSON included (measured, Qwen2.5 1.5B).
_WRITTEN_AN_ITEM = 32


def synthesis_work(
    tasks: Sequence[Task], *, with_reference: bool, size: Size, dialect: Dialect
) -> Work:
    """Rubrics for these tasks, one call each (a re-ask after a failure comes on top).

    What all prompts of a domain begin with is computed once (the server's prefix cache).

    Args:
        dialect: of the endpoint; what a model may think before it writes counts as written.
    """
    total = Work()
    before: dict[str, str] = {}
    for task in tasks:
        prompt = synthesis_prompt(task, with_reference=with_reference, size=size)
        shared = common_length(prompt, before.get(task.domain, "")) // 4  # characters a token
        before[task.domain] = prompt
        asked = tokens(prompt) + TEMPLATE
        items = sum(size) / 2 + 1.5  # criteria, and one or two pitfalls
        written = round(items * _WRITTEN_AN_ITEM) + dialect.thinking
        total += Work(1, asked, asked - shared, written)
    return total


@dataclass(frozen=True)
class Written:
    """What came of a file of questions.

    Attributes:
        failed: task id -> why it has no rubric; those tasks are not in the output file.
        dropped: single items left out of valid rubrics.
    """

    path: Path
    rubrics: int
    failed: dict[str, str]
    dropped: int
    usage: Usage


def write_rubrics(
    questions: Path | Sequence[Task],
    target: Path,
    chat: Chat,
    *,
    with_reference: bool,
    size: Size,
    price: Price | None = None,
    proceed: Callable[[Estimate], bool] = lambda _: True,
    executor: Callable[[Sequence[Task]], list[Synthesis]] | None = None,
) -> Written | None:
    """Rubrics for tasks, or for those of a JSON-lines file, written beside their questions.

    When the endpoint fails for good, what had been sent is waited for and recorded, and the next
    run asks only for the rest.

    Args:
        target: gets every task that has a rubric in the end, in the order of the input; tasks
            that had one keep it.
        proceed: is shown the estimate; ``False`` stops before any rubric is asked for.
        executor: asks for the rubrics of tasks, in their order, instead of this process.

    Returns:
        ``None`` if it was stopped.

    Raises:
        DataError: the input is wrong, a reference is wanted and no task has one, or nothing was
            valid.
        ChatError, ServerError, CassetteError: the endpoint or the record itself is wrong.
    """
    tasks = load_tasks(questions) if isinstance(questions, Path) else list(questions)
    bare = {
        task.id
        for task in tasks
        if task.rubric is None and with_reference and task.reference is None
    }
    todo = [task for task in tasks if task.rubric is None and task.id not in bare]
    if bare and len(bare) == len(tasks):
        raise DataError(
            f"no reference for {', '.join(sorted(bare)[:5])}"
            f"{' and others' if len(bare) > 5 else ''}; add one, or pass --no-reference"
        )
    work = synthesis_work(todo, with_reference=with_reference, size=size, dialect=chat.speaks)
    # Nobody pays for a measurement on a paid endpoint; there the tokens and the price count.
    rate = run_sync(measure_rate(chat)) if chat.local and todo else None
    if not proceed(estimate(work, rate, price)):
        return None
    if executor is not None:
        results = executor(todo)
    else:
        lasting = Lasting.of(chat)
        asked = synthesize_many(
            todo, lasting, with_reference=with_reference, size=size, progress="rubrics"
        )
        results = run_sync(asked)
        lasting.check_whole()
    by_id = {task.id: written for task, written in zip(todo, results, strict=True)}
    by_id |= {name: Synthesis(None, _NO_REFERENCE, Usage()) for name in bare}
    done: list[Task] = []
    for task in tasks:
        rubric = task.rubric or by_id[task.id].rubric
        if rubric:
            done.append(task.model_copy(update={"rubric": rubric}))
    failed = {
        name: written.reason or "" for name, written in by_id.items() if written.rubric is None
    }
    if not done:
        raise DataError(f"no rubric was valid; first reason: {next(iter(failed.values()))}")
    save_tasks(target, done)
    return Written(
        path=target,
        rubrics=sum(written.rubric is not None for written in results),
        failed=failed,
        dropped=sum(len(written.dropped) for written in results),
        usage=sum((written.usage for written in results), Usage()),
    )
