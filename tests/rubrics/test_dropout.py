"""Rubric dropout: reproducible parts of a rubric that never pay for silence."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rar_lib.core.scoring import PREDEFINED, explicit_score
from rar_lib.core.types import Category, Criterion, Polarity, Rubric, Task
from rar_lib.data.tasks import load_mini
from rar_lib.rubrics.dropout import drop, drop_from_task

TASKS = load_mini()
RUBRICS = [t.rubric for t in TASKS if t.rubric]


def ids(rubric: Rubric) -> list[str]:
    return [c.id for c in rubric.criteria]


@given(st.sampled_from(RUBRICS), st.floats(0.01, 1.0), st.integers(0, 9), st.integers(0, 10_000))
def test_a_part_holds_the_promised_number_of_criteria_in_order_and_an_essential_one(
    rubric: Rubric, keep: float, seed: int, step: int
) -> None:
    part = drop(rubric, keep, task="t", seed=seed, step=step)
    assert len(part.criteria) == max(1, int(keep * len(rubric.criteria) + 0.5))
    assert ids(part) == [i for i in ids(rubric) if i in set(ids(part))]
    assert any(c.category is Category.ESSENTIAL for c in part.criteria)


@pytest.mark.parametrize(("keep", "size"), [(1.0, 8), (0.75, 6), (0.5, 4), (0.3, 2), (0.01, 1)])
def test_shares_are_rounded_to_whole_criteria(keep: float, size: int) -> None:
    rubric = next(r for r in RUBRICS if len(r.criteria) == 8)
    assert len(drop(rubric, keep, task="t", seed=0, step=0).criteria) == size


@pytest.mark.parametrize(("least", "size"), [(1, 1), (3, 3), (8, 8), (20, 8)])
def test_at_least_so_many_stay_or_all(least: int, size: int) -> None:
    rubric = next(r for r in RUBRICS if len(r.criteria) == 8)
    part = drop(rubric, 0.1, task="t", seed=0, step=0, least=least)
    assert len(part.criteria) == size
    assert len(drop(rubric, 0.75, task="t", seed=0, step=0, least=3).criteria) == 6


def test_everything_kept_is_the_rubric_itself() -> None:
    for rubric in RUBRICS[:10]:
        assert drop(rubric, 1.0, task="t", seed=3, step=7) == rubric


@pytest.mark.parametrize("keep", [0.0, -0.5, 1.01, float("nan")])
def test_a_share_that_is_none_is_refused(keep: float) -> None:
    with pytest.raises(ValueError, match="share of the criteria"):
        drop(PREDEFINED, keep, task="t", seed=0, step=0)


def test_the_same_step_gives_the_same_part_in_every_process() -> None:
    code = (
        "from rar_lib.core.scoring import PREDEFINED;"
        "from rar_lib.rubrics.dropout import drop;"
        "print([c.id for c in drop(PREDEFINED, 0.5, task='t', seed=1, step=2).criteria])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == str(ids(drop(PREDEFINED, 0.5, task="t", seed=1, step=2)))


def places(rubric: Rubric) -> tuple[int, ...]:
    """Where the criteria of a part stand in their rubric."""
    part = drop(rubric, 0.5, task="t", seed=0, step=0)
    return tuple(ids(rubric).index(i) for i in ids(part))


def test_steps_seeds_and_tasks_give_different_parts() -> None:
    rubric = RUBRICS[0]
    steps = {tuple(ids(drop(rubric, 0.5, task="t", seed=0, step=s))) for s in range(50)}
    seeds = {tuple(ids(drop(rubric, 0.5, task="t", seed=s, step=0))) for s in range(50)}
    assert len(steps) > 5
    assert len(seeds) > 5
    of_eight = {places(r) for r in RUBRICS if len(r.criteria) == 8}
    assert len(of_eight) > 5  # not the same positions for every task


def test_tasks_whose_criteria_have_equal_ids_get_parts_of_their_own() -> None:
    """Released data names the criteria of every task c01, c02, ...; 65 % of RaR-Science has 7."""
    essential = Category.ESSENTIAL
    other = Category.IMPORTANT
    rubric = Rubric(
        criteria=tuple(
            Criterion(
                id=f"c{n:02}", title="T", description="D.", category=other if n > 2 else essential
            )
            for n in range(1, 8)
        )
    )
    tasks = [Task(id=f"science-{n}", question="Why?", rubric=rubric) for n in range(20)]
    same = pairs = 0
    for step in range(50):
        parts = [drop_from_task(task, 0.5, seed=0, step=step).rubric for task in tasks]
        found = [tuple(ids(part)) for part in parts if part]
        pairs += len(found) * (len(found) - 1) // 2
        same += sum(n * (n - 1) // 2 for n in Counter(found).values())
    # Four of seven: an anchor of two, three of the other six. Ten parts hold both anchors, each
    # with chance 1/20, twenty hold one, each with 1/40: 10 / 400 + 20 / 1600 agree by chance.
    assert same / pairs == pytest.approx(0.0375, abs=0.01)


def test_every_criterion_has_its_turn() -> None:
    rubric = next(r for r in RUBRICS if len(r.criteria) == 8)
    parts = [drop(rubric, 0.5, task="t", seed=0, step=step) for step in range(400)]
    seen = Counter(i for part in parts for i in ids(part))
    assert set(seen) == set(ids(rubric))
    assert min(seen.values()) > 100  # of 400; one half is expected, less beside an Essential one


def test_a_part_never_pays_for_saying_nothing() -> None:
    pitfall = {"category": Category.PITFALL, "polarity": Polarity.BAD}
    rubric = Rubric(
        criteria=(
            Criterion(id="a", title="A", description="A.", **pitfall),
            Criterion(id="b", title="B", description="B.", **pitfall),
            Criterion(id="good", title="G", description="G.", category=Category.OPTIONAL),
        )
    )
    for step in range(30):
        part = drop(rubric, 0.5, task="t", seed=0, step=step)
        assert "good" in ids(part)
        score = explicit_score(part, dict.fromkeys(ids(part), False))
        assert score is not None
        assert score < 1.0


def test_a_rubric_of_pitfalls_alone_still_leaves_one() -> None:
    only = Criterion(
        id="a", title="A", description="A.", category=Category.PITFALL, polarity=Polarity.BAD
    )
    assert ids(drop(Rubric(criteria=(only,)), 0.1, task="t", seed=0, step=0)) == ["a"]


def test_a_task_keeps_everything_but_the_dropped_criteria() -> None:
    task = TASKS[0]
    part = drop_from_task(task, 0.5, seed=0, step=0)
    assert task.rubric is not None
    assert part.rubric == drop(task.rubric, 0.5, task=task.id, seed=0, step=0)
    assert part.model_copy(update={"rubric": task.rubric}) == task
    bare = Task(id="bare", question="Why?")
    assert drop_from_task(bare, 0.5, seed=0, step=0) is bare
