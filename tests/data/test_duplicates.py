"""Duplicates among questions: word for word across splits, and nearly so."""

from __future__ import annotations

import pytest

from rar_lib.core.types import Task
from rar_lib.data.duplicates import near_duplicates, overlap


def task(name: str, question: str) -> Task:
    return Task(id=name, question=question)


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


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Find ½ of it.", "find  1⁄2 OF it.", True),
        ("Caf\u00e9?", "Cafe\u0301?", True),  # one letter, or a letter with its accent
        ("Why is the sky blue?", "Why is the sky blue", False),  # of which a check warns
        ("Is it so?\u200b", "Is it so?", False),  # and of this one
        ("Give 5 mg?", "Give -5 mg?", False),
        ("Is pH > 7 basic?", "Is pH < 7 basic?", False),
        ("Naïve?", "naive?", False),
    ],
)
def test_overlap_takes_every_sign_for_a_difference(one: str, other: str, same: bool) -> None:
    assert overlap([task("train", one)], [task("test", other)]).share == same


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
