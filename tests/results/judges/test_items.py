"""What every system is asked about: the same pairs, with points that the peers take."""

from __future__ import annotations

from collections import Counter

from side_by_side import TASK, criterion

from rar_lib.core.types import Category, Rubric, Task
from rar_lib.data.tasks import load_mini_pairs
from results.judges import items


def test_points_given_to_peers_are_negative_for_a_criterion_worded_as_a_failure() -> None:
    item = items.item(TASK, "Because.", "a:preferred")
    assert [c["points"] for c in item["criteria"]] == [10, -9]
    assert [c["text"] for c in item["criteria"]] == ["Says a-good.", "Says a-bad."]


def criterion_ids(task: Task) -> list[str]:
    assert task.rubric is not None
    return [one.id for one in task.rubric.criteria]


def test_a_resized_rubric_takes_its_own_criteria_first() -> None:
    other = Task(
        id="b",
        question="How?",
        rubric=Rubric(criteria=(criterion("b-1", Category.OPTIONAL),)),
    )
    ids = [criterion_ids(items.resized(TASK, [other, TASK], size)) for size in (1, 3)]
    assert ids == [["a-good"], ["a-good", "a-bad", "b-1"]]


def test_the_pairs_asked_about_are_a_draw_of_one_a_task() -> None:
    every = load_mini_pairs("test")
    tasks, pairs = items.sample("test")
    assert [pairs[task.id].task_id for task in tasks] == [task.id for task in tasks]
    assert len({task.id for task in tasks}) == items.TASKS + 1
    for factor in ("axis", "difficulty"):
        drawn = Counter(getattr(pairs[task.id], factor) for task in tasks[: items.TASKS])
        for level, size in Counter(getattr(pair, factor) for pair in every).items():
            assert abs(drawn[level] - items.TASKS * size / len(every)) <= 1.5, (factor, level)
