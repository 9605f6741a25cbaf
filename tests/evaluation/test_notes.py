"""Notes beside a question, and what a response conveys of them, by cases made by hand."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rar_lib.core.errors import DataError
from rar_lib.core.prompts import policy_messages
from rar_lib.core.text import content_words
from rar_lib.core.types import Task
from rar_lib.data.tasks import load_mini
from rar_lib.evaluation.notes import conveyed, split, with_notes

BREAD = Task(
    id="bread",
    question="Why is my loaf dense?",
    reference="Let the dough ferment until it doubles. Bake the loaf through. Cool it on a rack.",
)
CHAIN = Task(
    id="chain",
    question="Why does my chain slip?",
    reference="Measure the wear with a gauge. Replace worn sprockets together with the chain.",
)
NOTED, OTHER = with_notes([BREAD, CHAIN])


@pytest.mark.parametrize(
    ("response", "relevant", "irrelevant"),
    [
        (BREAD.reference, 1, 0),
        (CHAIN.reference, 0, 1),
        (NOTED.context, 1, 1),  # copying everything
        ("", 0, 0),
        ("I do not know.", 0, 0),
        (BREAD.question, 1 / 3, 0),  # "loaf": one word conveys a sentence of two
        ("Ferment your dough longer.", 1 / 3, 0),  # two of three content words of the first
        ("Bake it.", 1 / 3, 0),  # one of two of the second
        ("Cool it down on a rack, and measure the wear.", 1 / 3, 0.5),
        ("FERMENTING, DOUBLED", 1 / 3, 0),  # forms of a long word agree
        ("COOLED ON RACKS", 0, 0),  # those of a short one do not
        # What it does not see, written down so that nobody is surprised:
        ("Never let the dough ferment.", 1 / 3, 0),  # the opposite
        ("dough ferment bake loaf cool rack", 1, 0),  # words without a sentence
    ],
)
def test_a_sentence_is_conveyed_by_half_of_its_content_words(
    response: str, relevant: float, irrelevant: float
) -> None:
    found = conveyed(NOTED, response)
    assert (found.relevant, found.irrelevant) == pytest.approx((relevant, irrelevant))
    assert found.outcome == pytest.approx(relevant - irrelevant)


def test_the_policy_sees_the_notes_and_the_task_keeps_its_question() -> None:
    assert NOTED.question == BREAD.question
    said = policy_messages(NOTED)[-1]["content"]
    assert said.startswith(BREAD.question)
    assert all(line in said for line in NOTED.context.splitlines())
    assert policy_messages(BREAD)[-1]["content"] == BREAD.question


@pytest.mark.parametrize("others", [False, True])
def test_notes_hang_on_the_ids_alone(others: bool) -> None:
    tasks = load_mini("test")
    mixed = random.Random(1).sample(tasks, len(tasks))
    notes = {t.id: t.context for t in with_notes(tasks, others=others)}
    assert notes == {t.id: t.context for t in with_notes(mixed, others=others)}


def test_without_others_the_notes_are_the_sentences_of_the_task_s_own_reference() -> None:
    tasks = load_mini("test")
    noted = with_notes(tasks, others=False)
    for task, one in zip(tasks, noted, strict=True):
        assert sorted(one.context.splitlines()) == sorted(split(task.reference or ""))
    moved = [
        task
        for task, one in zip(tasks, noted, strict=True)
        if one.context != "\n".join(split(task.reference or ""))
    ]
    assert len(moved) > len(tasks) / 2  # shuffled


@pytest.mark.parametrize(
    ("response", "outcome"),
    [
        (BREAD.reference, 1),
        (CHAIN.reference, 0),
        ("", 0),
        ("Ferment your dough longer.", 1 / 3),
        ("Bake it. Cool it down on a rack.", 2 / 3),
        ("Bake it. Bake it. Bake it. Bake it.", 1 / 3),  # said again it counts once
        # Saying everything is what is asked for; that it rambles on is not seen.
        (f"{BREAD.reference} {CHAIN.reference}", 1),
    ],
)
def test_without_others_the_outcome_is_the_share_of_the_notes(
    response: str, outcome: float
) -> None:
    (own,) = with_notes([BREAD], others=False)  # no other task of its domain is needed
    found = conveyed(own, response)
    assert found.irrelevant == 0
    assert found.outcome == pytest.approx(outcome)


def test_every_reference_stands_once_beside_another_task_of_its_domain() -> None:
    tasks = load_mini("all")
    by_line = {line: task for task in tasks for line in split(task.reference or "")}
    beside = []
    for task in with_notes(tasks):
        others = {by_line[line].id for line in task.context.splitlines()} - {task.id}
        assert len(others) == 1
        beside += others
        assert by_line[next(iter(task.context.splitlines()))].domain == task.domain
    assert sorted(beside) == sorted(task.id for task in tasks)


def test_the_embedded_tasks_can_be_told_apart() -> None:
    """Reference answers convey all of their own notes, and hardly any of the others."""
    found = [conveyed(task, task.reference or "") for task in with_notes(load_mini("all"))]
    assert {one.relevant for one in found} == {1.0}
    assert sum(one.irrelevant for one in found) / len(found) < 0.02
    # The beginning of the notes, as long as a response may be, is worth nothing.
    copied = [
        conveyed(task, " ".join(task.context.split()[:60])).outcome
        for task in with_notes(load_mini("all"))
    ]
    assert abs(sum(copied) / len(copied)) < 0.05


@pytest.mark.parametrize(
    ("tasks", "said"),
    [
        ([BREAD], "'bread' is alone in domain 'other'"),
        ([BREAD, CHAIN.model_copy(update={"reference": None})], "'chain' has no reference"),
    ],
)
def test_tasks_that_can_have_no_notes(tasks: list[Task], said: str) -> None:
    with pytest.raises(DataError, match=said):
        with_notes(tasks)


def test_notes_of_a_task_alone_need_its_reference_and_no_more() -> None:
    with pytest.raises(DataError, match="'bread' has no reference"):
        with_notes([BREAD.model_copy(update={"reference": None})], others=False)


@pytest.mark.parametrize("context", ["", "Something else altogether."])
def test_a_task_without_notes_that_answer_it_is_no_zero(context: str) -> None:
    with pytest.raises(DataError, match="with_notes"):
        conveyed(BREAD.model_copy(update={"context": context}), "Bake it.")


@given(st.text(alphabet=st.sampled_from("abAB .!?)\"'1\n"), max_size=60))
def test_splitting_loses_no_content_word(text: str) -> None:
    parts = split(text)
    assert content_words(" ".join(parts)) == content_words(text)
    assert not any("\n" in part for part in parts)


def test_a_sentence_ends_where_a_capital_follows() -> None:
    assert split("Take approx. Two grams of salt, e.g. Sea salt. Then stir. 1! Done well.") == [
        "Take approx. Two grams of salt, e.g. Sea salt.",
        "Then stir. 1!",
        "Done well.",
    ]
