"""Duplicates among questions: the same words, word for word across splits, and nearly so."""

from __future__ import annotations

import pytest

from rar_lib.core.types import Task
from rar_lib.data.duplicates import near_duplicates, overlap, words_alone


def task(name: str, question: str) -> Task:
    return Task(id=name, question=question)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Why is the sky blue?", "why is  the SKY blue", True),
        ("Find ½ of it.", "find 1⁄2 of it", True),
        ("Is it so?\u200b", "Is it so?", True),
        ("Naïve", "naive", False),  # an accent makes another word
        ("Solve 2x", "Solve 3x", False),
    ],
)
def test_two_lines_say_the_same_by_their_words(one: str, other: str, same: bool) -> None:
    assert (words_alone(one) == words_alone(other)) == same


def test_overlap_is_word_for_word() -> None:
    train = [
        task("one", "Why does copper conduct current?"),
        task("two", "How far does sound travel in 3 seconds?"),
    ]
    test = [
        task("three", "why does  COPPER conduct current?"),  # the first one again
        task("four", "Why does copper conduct currents?"),
    ]
    found = overlap(train, test)
    assert (found.checked, found.shared, found.share) == (2, ("three",), 0.5)
    assert overlap(train, []).share == 0.0


NEAR = [
    task("a", "How long does light need from the Sun to the Earth?"),
    task("b", "Why do cats land on their feet?"),
    task("c", "How long does light need from the Sun to the Moon?"),
]


@pytest.mark.parametrize("chunk", [1, 2, 500])
def test_near_duplicates_within_a_set_are_found_once_whatever_the_chunk(
    chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rar_lib.data.duplicates._CHUNK", chunk)
    (pair,) = near_duplicates(NEAR, threshold=0.5)
    assert (pair.left, pair.right) == ("a", "c")
    assert 0.5 < pair.cosine < 1.0


def test_near_duplicates_across_splits() -> None:
    pairs = near_duplicates(NEAR[:2], [NEAR[2], NEAR[1]], threshold=0.5)
    assert [(p.left, p.right) for p in pairs] == [("b", "b"), ("a", "c")]
    assert pairs[0].cosine == pytest.approx(1.0)
    assert near_duplicates(NEAR[:1], [], threshold=0.1) == []
