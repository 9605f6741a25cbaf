"""The multiple-choice protocol, on a policy that a reader can follow by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from rar_lib.core.prompts import shuffled
from rar_lib.core.types import MultipleChoice, Task
from rar_lib.evaluation.multiple_choice import (
    accuracy,
    ask,
    by_question,
    chance,
    outcomes,
    readable,
    unreadable,
    ways,
)


def question(name: str, options: int = 4) -> MultipleChoice:
    texts = tuple(f"{name} option {n}" for n in range(options))
    return MultipleChoice(
        id=name, question=f"Which of {name}?", options=texts, answer=1, reference=texts[1]
    )


QUESTIONS = [question("first"), question("second", 5)]


class Knows:
    """A policy that finds the right option wherever it stands, or answers as it is told."""

    mark = "knows"

    def __init__(self, said: str | None = None) -> None:
        self.said, self.asked = said, 0

    def respond(self, tasks: Sequence[Task], max_tokens: int) -> list[str]:
        self.asked += len(tasks)
        return [self.said if self.said is not None else self.answer(t) for t in tasks]

    def answer(self, task: Task) -> str:
        right = next(line for line in task.question.splitlines() if line.endswith("option 1"))
        return rf"So it is \boxed{{{right[0]}}}"


def test_a_policy_that_knows_is_right_in_every_order_of_the_options(tmp_path: Path) -> None:
    answers = ask(Knows(), QUESTIONS, 6, max_tokens=48, kept=tmp_path / "a.json")
    assert outcomes(answers) == {"first": [1] * 6, "second": [1] * 6}
    assert len({a.right for a in answers}) > 1  # the right letter moves with the run
    assert [a.right for a in answers] == [
        shuffled(q, run)[1] for run in range(6) for q in QUESTIONS
    ]


def test_one_letter_for_everything_is_right_only_where_it_happens_to_stand(tmp_path: Path) -> None:
    answers = ask(Knows(r"\boxed{A}"), QUESTIONS, 8, max_tokens=48, kept=tmp_path / "a.json")
    assert [a.outcome for a in answers] == [int(a.right == "A") for a in answers]
    assert {0, 1} == {a.outcome for a in answers}


@pytest.mark.parametrize(
    ("said", "way", "read"),
    [
        (r"Well. \boxed{B}", "boxed", True),
        ("Well.\nThe answer is B.", "last line", True),
        ("Both A and B could be meant, I think.", "none", False),
        (r"\boxed{B} or \boxed{E}", "none", False),  # E is offered by the second question alone
        ("", "none", False),
    ],
)
def test_how_an_answer_was_read_is_counted(tmp_path: Path, said: str, way: str, read: bool) -> None:
    answers = ask(Knows(said), QUESTIONS[:1], 4, max_tokens=48, kept=tmp_path / "a.json")
    assert ways(answers)[way] == 1.0
    assert unreadable(outcomes(answers)) == (0.0 if read else 1.0)
    assert all((a.outcome is None) is not read for a in answers)


def test_texts_are_kept_for_this_policy_and_these_prompts_only(tmp_path: Path) -> None:
    kept, policy = tmp_path / "deep" / "a.json", Knows()
    first = ask(policy, QUESTIONS, 2, max_tokens=48, kept=kept)
    assert ask(policy, QUESTIONS, 2, max_tokens=48, kept=kept) == first
    assert policy.asked == 4
    ask(policy, QUESTIONS, 3, max_tokens=48, kept=kept)  # more runs are other prompts
    assert policy.asked == 10
    other = Knows()
    other.mark = "trained"
    ask(other, QUESTIONS, 3, max_tokens=48, kept=kept)
    assert other.asked == 6
    assert json.loads(kept.read_text())["mark"].startswith("trained; at most 48 tokens; prompts ")


#: Two questions, two runs: one right and one wrong; one right and one unreadable.
FOUND = {"a": [1, 0], "b": [1, None]}


def test_what_cannot_be_read_is_wrong_in_the_mean_and_counted_beside_it() -> None:
    value = accuracy(FOUND)
    assert value is not None
    assert (value.value, value.n) == (0.5, 2)
    assert unreadable(FOUND) == 0.25
    read = accuracy(readable(FOUND))
    assert read is not None
    assert read.value == pytest.approx(2 / 3)
    assert by_question(FOUND) == {"a": 0.5, "b": 0.5}


def test_runs_of_one_question_are_one_observation() -> None:
    once, often = accuracy({"a": [1], "b": [0]}), accuracy({"a": [1] * 50, "b": [0] * 50})
    assert once is not None
    assert often is not None
    assert (often.low, often.high, often.n) == (once.low, once.high, once.n) == (0.0, 1.0, 2)


def test_all_wrong_still_has_an_interval_and_nothing_asked_has_none() -> None:
    value = accuracy({str(n): [None, 0] for n in range(20)})
    assert value is not None
    assert value.value == 0.0
    assert value.high == pytest.approx(1 - 0.05 ** (1 / 20))  # the rule of three
    assert accuracy({}) is None
    assert accuracy(readable({"a": [None]})) is None
    assert unreadable({}) is None


def test_chance_follows_the_number_of_options() -> None:
    assert chance(QUESTIONS) == pytest.approx((1 / 4 + 1 / 5) / 2)
