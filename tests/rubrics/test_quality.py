"""Rubric quality, worked by hand."""

from __future__ import annotations

import pytest

from rar_lib.core.types import Category, Criterion, Grade, Pair, Polarity, Rubric, Task
from rar_lib.data.tasks import load_mini
from rar_lib.evaluation.alignment import PairGrades, discrimination, margins
from rar_lib.rubrics.quality import is_one_sentence, is_self_contained, measure

TASK = Task(id="t", question="Does water expand?", reference="Water expands when it is frozen.")


def criterion(n: int, text: str, category: Category = Category.ESSENTIAL) -> Criterion:
    polarity = Polarity.BAD if category is Category.PITFALL else Polarity.GOOD
    return Criterion(
        id=f"c-{n}", title="A title", description=text, category=category, polarity=polarity
    )


def test_measures_by_hand() -> None:
    rubric = Rubric(
        criteria=(
            criterion(1, "Water expands."),
            criterion(2, "Water floats.", Category.OPTIONAL),
            criterion(3, "Bananas glow.", Category.PITFALL),
        )
    )
    found = measure(rubric, TASK, (2, 8))
    # water, expand | floats, banana, glow: two of five are in question or reference
    assert found.grounding == pytest.approx(2 / 5)
    # water, expand, frozen: two of three are said
    assert found.coverage == pytest.approx(2 / 3)
    # {water, expand} and {water, floats} share one of three; the third shares nothing
    assert found.redundancy == pytest.approx((1 / 3 + 1 / 3 + 0) / 3)
    assert found.generic == pytest.approx(1 / 3)
    assert found.compliance == found.one_sentence == found.self_contained == 1


def test_each_broken_rule_costs_a_quarter_of_compliance() -> None:
    only = Rubric(criteria=(criterion(1, "Water expands.", Category.OPTIONAL),))
    assert measure(only, TASK, (2, 8)).compliance == 0
    pitfall = criterion(2, "Water shrinks.", Category.PITFALL)
    assert measure(Rubric(criteria=(*only.criteria, pitfall)), TASK, (2, 8)).compliance == 0.5


@pytest.mark.parametrize("place", ["question", "reference", "criterion"])
def test_a_script_that_is_not_read_is_measured_in_its_form_alone(place: str) -> None:
    texts = {"question": TASK.question, "reference": TASK.reference, "criterion": "Water expands."}
    texts[place] = "Вода расширяется при замерзании."
    task = Task(id="t", question=str(texts["question"]), reference=texts["reference"])
    rubric = Rubric(criteria=(criterion(1, str(texts["criterion"])),))
    found = vars(measure(rubric, task, (1, 8)))
    assert found.pop("compliance") == 0.5  # an Essential criterion, and the size
    assert set(found.values()) == {None}


@pytest.mark.parametrize(
    ("text", "one", "alone"),
    [
        ("States that 0.5 g is enough.", True, True),
        ("States one. Then another.", False, True),
        ("Gives the correct answer.", True, False),
        ("Agrees with the reference.", True, False),
        ("Mentions the steps above.", True, False),
        ("Names the right atrium.", True, True),
    ],
)
def test_form_of_a_sentence(text: str, one: bool, alone: bool) -> None:
    assert is_one_sentence(criterion(1, text)) is one
    assert is_self_contained(criterion(1, text)) is alone


def test_every_authored_criterion_is_one_self_contained_sentence() -> None:
    criteria = [c for t in load_mini() if t.rubric for c in t.rubric.criteria]
    assert all(map(is_one_sentence, criteria))
    assert [c.description for c in criteria if not is_self_contained(c)] == []


def pair(n: int, task: str) -> Pair:
    return Pair(
        id=f"p-{n}",
        task_id=task,
        preferred="a",
        rejected="b",
        axis="tone",
        difficulty="subtle",
        gold_preferred={},
        gold_rejected={},
    )


def grades(*scores: float | None) -> tuple[Grade, ...]:
    return tuple(Grade(arm="implicit", score=s) for s in scores)


GRADED = PairGrades(
    judge="j",
    arm="implicit",
    pairs=(pair(1, "one"), pair(2, "one"), pair(3, "two"), pair(4, "three")),
    preferred=grades(0.8, 0.6, 0.5, None),
    rejected=grades(0.2, 0.4, 0.9, 0.1),
)


def test_margins_are_means_by_task_and_leave_out_what_is_unscored() -> None:
    assert margins(GRADED) == pytest.approx({"one": 0.4, "two": -0.4})
    found = discrimination(GRADED)
    assert found is not None
    assert (found.value, found.n) == (pytest.approx(0.0), 2)
