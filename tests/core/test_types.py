"""The nouns: what they refuse, what they add up to, and that unknown is never zero."""

from __future__ import annotations

import json
import math
import pickle
from typing import Any

import pytest
from pydantic import ValidationError

from rar_lib.core.errors import DataError
from rar_lib.core.types import (
    ARMS,
    Category,
    Criterion,
    Grade,
    MultipleChoice,
    Pair,
    Polarity,
    Price,
    Rubric,
    Task,
    Turn,
    Usage,
    Verdict,
    arm_named,
)

CRITERION = {"id": "c", "title": "T", "description": "D.", "category": "Essential"}
CHOICE = {"id": "q", "question": "Which?", "options": ("A", "B"), "answer": 1}
PAIR = {
    "id": "p",
    "task_id": "t",
    "preferred": "Yes.",
    "rejected": "No.",
    "axis": "safety",
    "difficulty": "subtle",
    "gold_preferred": {"c": True},
    "gold_rejected": {"c": False},
}


def test_an_arm_is_found_by_its_name_and_an_unknown_one_is_told_all_names() -> None:
    assert [arm_named(name) for name in ARMS] == list(ARMS)
    for wrong in ("Explicit", "explicit ", "", "rlvr"):
        with pytest.raises(DataError) as caught:
            arm_named(wrong)
        assert str(caught.value) == (
            f"no arm {wrong!r}; choose from: "
            "explicit, implicit, predefined, direct_likert, reference_likert"
        )


@pytest.mark.parametrize(
    ("kind", "change", "field"),
    [
        (Task, {"id": ""}, "id"),
        (Task, {"id": "A"}, "id"),
        (Task, {"id": "-a"}, "id"),
        (Task, {"id": "a b"}, "id"),
        (Task, {"id": "a\n"}, "id"),
        (Task, {"id": "a" * 65}, "id"),
        (Task, {"id": "../a"}, "id"),
        (Task, {"question": ""}, "question"),
        (Task, {"question": "x" * 20_001}, "question"),
        (Task, {"question": None}, "question"),
        (Task, {"domain": "law"}, "domain"),
        (Task, {"reference": ""}, "reference"),
        (Task, {"rubrik": None}, "rubrik"),
        (Task, {"history": [{"role": "tool", "content": "x"}]}, "role"),
        (Criterion, {"category": "essential"}, "category"),
        (Criterion, {"polarity": "neutral"}, "polarity"),
        (Criterion, {"points": "many"}, "points"),
        (Criterion, {"points": math.nan}, "points"),
        (Criterion, {"points": math.inf}, "points"),
        (Criterion, {"points": -math.inf, "polarity": "bad"}, "points"),
        (Rubric, {"criteria": ()}, "criteria"),
        (Rubric, {"criteria": [CRITERION | {"id": f"c{n}"} for n in range(61)]}, "criteria"),
        (Rubric, {"criteria": [CRITERION, CRITERION]}, "repeated: c"),
        (Rubric, {"source": "guessed"}, "source"),
        (MultipleChoice, {"options": ("A",)}, "options"),
        (MultipleChoice, {"options": tuple("ABCDEFGHIJK")}, "options"),
        (MultipleChoice, {"answer": 2}, "answer 2 of 2 options"),
        (MultipleChoice, {"answer": -1}, "answer"),
        (Verdict, {"met": 0.5}, "met"),
        (Verdict, {"probability": 1.01}, "probability"),
        (Verdict, {"probability": math.nan}, "probability"),
        (Verdict, {"share": -0.01}, "share"),
        (Grade, {"arm": "rlvr"}, "arm"),
        (Grade, {"score": 1.01}, "score"),
        (Grade, {"score": math.nan}, "score"),
        (Grade, {"score": math.inf}, "score"),
        (Grade, {"rating": 0.99}, "rating"),
        (Grade, {"rating": 10.01}, "rating"),
        (Pair, {"axis": "style"}, "axis"),
        (Pair, {"difficulty": "easy"}, "difficulty"),
        (Pair, {"gold_preferred": {"c": None}}, "gold_preferred"),
    ],
)
def test_what_is_out_of_its_range_is_refused_by_its_field(
    kind: Any, change: dict[str, Any], field: str
) -> None:
    good: dict[Any, dict[str, Any]] = {
        Task: {"id": "t", "question": "Why?"},
        Criterion: CRITERION,
        Rubric: {"criteria": [CRITERION]},
        MultipleChoice: CHOICE,
        Verdict: {"criterion_id": "c", "met": True},
        Grade: {"arm": "explicit", "score": 0.5},
        Pair: PAIR,
    }
    kind.model_validate(good[kind])
    with pytest.raises(ValidationError, match=field):
        kind.model_validate(good[kind] | change)


def test_the_ends_of_a_range_are_inside_it() -> None:
    assert Task(id="a" * 64, question="x" * 20_000).id == "a" * 64
    assert [Grade(arm="explicit", score=end).score for end in (0, 1)] == [0.0, 1.0]
    assert [Grade(arm="implicit", score=0, rating=end).rating for end in (1, 10)] == [1.0, 10.0]
    sixty = [CRITERION | {"id": f"c{n}"} for n in range(60)]
    assert len(Rubric.model_validate({"criteria": sixty}).criteria) == 60
    assert MultipleChoice.model_validate(CHOICE | {"options": tuple("ABCDEFGHIJ")}).answer == 1


def test_a_noun_is_never_changed() -> None:
    task = Task(id="t", question="Why?", history=(Turn(role="user", content="Hello."),))
    with pytest.raises(ValidationError, match="frozen"):
        task.question = "How?"  # type: ignore[misc]
    assert task == Task.model_validate_json(task.model_dump_json())
    assert len({task, task.model_copy()}) == 1


def test_what_is_not_said_of_a_criterion_is_that_meeting_it_is_good() -> None:
    made = Criterion.model_validate(CRITERION)
    assert (made.category, made.polarity) == (Category.ESSENTIAL, Polarity.GOOD)
    assert (made.points, made.tags) == (None, ())


@pytest.mark.parametrize("points", [None, -1, -8.0])
def test_a_pitfall_says_which_way_it_is_worded_however_it_is_made(points: float | None) -> None:
    """A guessed sign would reward the fault."""
    row = CRITERION | {"category": "Pitfall", "points": points}
    task = {"id": "t", "question": "Why?", "rubric": {"criteria": [row]}}
    said = r"polarity: missing for the pitfall 'c'; allowed: 'good' \(worded as avoidance\) or 'bad"
    with pytest.raises(ValidationError, match=said):
        Criterion(**row)  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match=said):
        Task.model_validate_json(json.dumps(task))
    for polarity in Polarity:
        made = Criterion.model_validate(row | {"polarity": polarity})
        assert (made.category, made.polarity) == (Category.PITFALL, polarity)
        assert Criterion.model_validate_json(made.model_dump_json()) == made
        assert pickle.loads(pickle.dumps(made)) == made.model_copy() == made


@pytest.mark.parametrize("category", ["Essential", "Important", "Optional"])
@pytest.mark.parametrize("given", [{}, {"polarity": "good"}])
def test_points_below_zero_do_not_stand_beside_meeting_is_good(
    category: str, given: dict[str, str]
) -> None:
    row = CRITERION | {"category": category, "points": -0.5} | given
    with pytest.raises(ValidationError, match=r"points: -0\.5 for 'c', of which meeting is good"):
        Criterion.model_validate(row)
    assert Criterion.model_validate(row | {"polarity": "bad"}).points == -0.5
    assert Criterion.model_validate(row | {"points": 0.5}).points == 0.5
    assert Criterion.model_validate(row | {"points": 0}).points == 0
    # RaR gives a pitfall that is worded as avoidance a negative weight, too.
    avoids = row | {"category": "Pitfall", "polarity": "good"}
    assert Criterion.model_validate(avoids).points == -0.5


@pytest.mark.parametrize(
    ("met", "probability", "value"),
    [
        (True, None, True),
        (False, None, False),
        (None, None, None),
        (True, 0.75, 0.75),
        (False, 0.0, 0.0),
        (None, 0.5, 0.5),
    ],
)
def test_a_verdict_counts_by_its_probability_and_unscored_stays_unscored(
    met: bool | None, probability: float | None, value: float | bool | None
) -> None:
    found = Verdict(criterion_id="c", met=met, probability=probability).value
    assert found == value
    assert (found is None) == (value is None)


def test_counts_are_added_and_nothing_was_nothing() -> None:
    one = Usage(calls=1, prompt_tokens=10, cached_tokens=4, completion_tokens=2, seconds=0.5)
    other = Usage(calls=2, prompt_tokens=30, cached_tokens=0, completion_tokens=5, seconds=1.25)
    assert one + other == Usage(
        calls=3, prompt_tokens=40, cached_tokens=4, completion_tokens=7, seconds=1.75
    )
    assert one + Usage() == Usage() + one == one


def test_a_price_of_a_grade() -> None:
    usage = Usage(
        calls=2, prompt_tokens=1_000_000, cached_tokens=900_000, completion_tokens=500_000
    )
    assert Price(prompt=2.0, completion=8.0).of(usage) == pytest.approx(2.0 + 4.0)


@pytest.mark.parametrize(
    ("parts", "money"),
    [
        ([], None),
        ([Usage(calls=1, money=0.5), Usage(calls=2, money=0.25)], 0.75),
        ([Usage(calls=1, money=0.5), Usage()], 0.5),  # an empty response costs nothing
        ([Usage(calls=1, money=0.5), Usage(calls=1)], None),  # half of it is not the sum
        ([Usage(calls=1), Usage(calls=1)], None),
        ([Usage(calls=1, money=0.0)], 0.0),
    ],
)
def test_a_sum_is_known_if_all_of_its_parts_are(parts: list[Usage], money: float | None) -> None:
    total = sum(parts, Usage())
    assert total.money == money
    assert total.calls == sum(part.calls for part in parts)
