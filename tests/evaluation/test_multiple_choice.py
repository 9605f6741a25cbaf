"""The multiple-choice protocol, on a policy that a reader can follow by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from rar_lib.core.prompts import policy_messages, shuffled
from rar_lib.core.types import MultipleChoice, Task
from rar_lib.evaluation.multiple_choice import (
    accuracy,
    ask,
    by_likelihood,
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
        self.said = said
        self.asked = 0

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
        shuffled(asked, run)[1] for run in range(6) for asked in QUESTIONS
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
    kept = tmp_path / "deep" / "a.json"
    policy = Knows()
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


class Dies(Knows):
    """A policy whose machine is switched off once it has written so many texts."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.after = after

    def respond(self, tasks: Sequence[Task], max_tokens: int) -> list[str]:
        if self.asked + len(tasks) > self.after:
            raise KeyboardInterrupt
        return super().respond(tasks, max_tokens)


@pytest.mark.parametrize("after", [0, 48, 100, 149])
def test_an_evaluation_that_is_stopped_goes_on_with_what_is_left(
    tmp_path: Path, after: int
) -> None:
    """25 questions in six runs: 150 prompts."""
    many = [question(f"{'long-' * (n % 7)}{n}") for n in range(25)]
    kept = tmp_path / "a.json"
    whole = ask(Knows(), many, 6, max_tokens=48, kept=tmp_path / "whole.json")
    dying = Dies(after)
    with pytest.raises(KeyboardInterrupt):
        ask(dying, many, 6, max_tokens=48, kept=kept)
    assert after - 48 < dying.asked <= after
    going_on = Knows()
    assert ask(going_on, many, 6, max_tokens=48, kept=kept) == whole
    assert going_on.asked == 150 - dying.asked
    assert json.loads(kept.read_text()) == json.loads((tmp_path / "whole.json").read_text())


def test_texts_of_another_policy_are_not_gone_on_with(tmp_path: Path) -> None:
    many = [question(str(n)) for n in range(60)]
    with pytest.raises(KeyboardInterrupt):
        ask(Dies(48), many, 1, max_tokens=48, kept=tmp_path / "a.json")
    trained = Knows(r"\boxed{A}")
    trained.mark = "trained"
    answers = ask(trained, many, 1, max_tokens=48, kept=tmp_path / "a.json")
    assert trained.asked == 60
    assert {answer.text for answer in answers} == {r"\boxed{A}"}


def test_an_empty_reply_is_a_reply(tmp_path: Path) -> None:
    silent = Knows("")
    for _ in range(2):
        ask(silent, QUESTIONS, 2, max_tokens=48, kept=tmp_path / "a.json")
    assert silent.asked == 4


class Neighbours:
    """A policy that notes which prompts it reads together, in batches as a real one's."""

    mark = "neighbours"

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.batches: list[list[str]] = []

    def respond(self, tasks: Sequence[Task], max_tokens: int) -> list[str]:
        asked = sorted((task.question for task in tasks), key=len)
        starts = range(0, len(asked), self.rows)
        self.batches += [asked[start : start + self.rows] for start in starts]
        return [""] * len(tasks)


@pytest.mark.parametrize("rows", [8, 16, 48])
def test_no_batch_is_another_one_because_texts_are_kept(tmp_path: Path, rows: int) -> None:
    many = [question(f"{'long-' * (n % 7)}{n}") for n in range(25)]
    policy = Neighbours(rows)
    ask(policy, many, 6, max_tokens=48, kept=tmp_path / "a.json")
    at_once = Neighbours(rows)
    prompts = [shuffled(asked, run)[0] for run in range(6) for asked in many]
    at_once.respond([Task(id="x", question=prompt) for prompt in prompts], 48)
    assert policy.batches == at_once.batches
    assert len(policy.batches) == -(-150 // rows)


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
    once = accuracy({"a": [1], "b": [0]})
    often = accuracy({"a": [1] * 50, "b": [0] * 50})
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


class Reads:
    """A policy that finds each text as likely as it is told, in nats a token."""

    def __init__(self, **values: Sequence[float]) -> None:
        self.values = values
        self.asked: list[tuple[list[Task], list[str]]] = []

    def __call__(self, tasks: Sequence[Task], texts: Sequence[str]) -> list[float]:
        self.asked.append((list(tasks), list(texts)))
        return list(self.values[tasks[0].id])


def test_the_likeliest_option_a_token_is_the_answer() -> None:
    # Option 1 is the right one of both questions.
    read = Reads(first=[-3.0, -2.5, -4.0, -2.6], second=[-1.0, -2.0, -3.0, -3.0, -3.0])
    found = by_likelihood(read, QUESTIONS)
    assert found == {"first": [1.0], "second": [0.0]}
    right = accuracy(found)
    assert right is not None
    assert (right.value, right.n) == (0.5, 2)  # over questions, beside a chance of 0.225
    assert by_question(found) == {"first": 1.0, "second": 0.0}


@pytest.mark.parametrize(
    ("values", "share"),
    [
        ([-2.0, -2.0, -3.0, -4.0], 1 / 2),
        ([-2.0, -2.0, -2.0, -4.0], 1 / 3),
        ([-2.0, -3.0, -2.0, -4.0], 0.0),  # a tie of two wrong ones
        ([-3.0, -2.0, -4.0, -4.0], 1.0),
    ],
)
def test_a_tie_is_what_a_guess_among_the_likeliest_gets(values: list[float], share: float) -> None:
    assert by_likelihood(Reads(first=values), QUESTIONS[:1]) == {"first": [share]}


def test_a_policy_whose_likelihoods_are_no_numbers_has_no_answer() -> None:
    found = by_likelihood(Reads(first=[-1.0, -0.5, float("nan"), -2.0]), QUESTIONS[:1])
    assert found == {"first": [None]}
    assert unreadable(found) == 1.0
    assert by_question(found) == {"first": 0.0}


def test_the_options_of_a_question_are_read_together_behind_it_and_shown_nowhere() -> None:
    read = Reads(first=[0.0] * 4, second=[0.0] * 5)
    by_likelihood(read, QUESTIONS)
    assert [texts for _, texts in read.asked] == [list(q.options) for q in QUESTIONS]
    for (tasks, _), asked in zip(read.asked, QUESTIONS, strict=True):
        assert {(t.id, t.question) for t in tasks} == {(asked.id, tasks[0].question)}
        said = "\n".join(message["content"] for message in policy_messages(tasks[0]))
        assert asked.question in said
        assert not any(option in said for option in asked.options)
        assert "boxed" not in said
