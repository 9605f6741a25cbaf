"""What results/study trains, records and decides, on answers worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from rar_lib.book import claims
from rar_lib.core.prompts import policy_messages
from rar_lib.data.tasks import load_mini
from rar_lib.evaluation.notes import conveyed
from rar_lib.judging.messages import prompts_of
from rar_lib.training.rewards import VerifiableReward
from results.study import run, table
from results.study.run import Unit

ORIGIN = {"machine": "2 cores", "number format": "float32", "versions": {"torch": "1"}}


def named(arm: str, fold: int = 0, seed: int = 0) -> Unit:
    return Unit(next(design for design in run.DESIGNS if design.name == arm), fold, seed)


def found(unit: Unit, share: float, *, kl: float = 0.1, unscored: float = 0.0) -> dict[str, Any]:
    """A unit that gives the reference answer to so many of its tasks, and says nothing else."""
    _, tasks = run.tasks_of(unit)
    known = round(share * len(tasks))
    silent = {task.id: "" for task in tasks}
    after = silent | {task.id: task.reference or "" for task in tasks[:known]}
    step = {"step": 1, "mean": 0.5, "length": 10.0, "kl_to_base": kl, "unscored": unscored}
    return {
        "arm": unit.design.name,
        "seconds": 1.0,
        "date": "2026-01-01",
        "steps": [] if unit.design.name == "base" else [step],
        "looks": [{"step": 0, "answers": silent}, {"step": 12, "answers": after}],
        "before": silent,
        "after": after,
        **ORIGIN,
    }


def recorded(shares: dict[str, float], seeds: int = 3, **change: Any) -> dict[str, Any]:
    units = [named(arm, fold, seed) for arm in shares for fold in (0, 1) for seed in range(seeds)]
    tasks = [task for fold in (0, 1) for task in run.tasks_of(named("base", fold))[1]]
    return table.record(
        {unit: found(unit, shares[unit.design.name], **change) for unit in units}, tasks
    )


def test_every_task_is_held_out_once_and_none_of_its_answers_stands_in_training() -> None:
    held = []
    for fold in (0, 1):
        trained, held_out = run.tasks_of(named("implicit", fold))
        held += [task.id for task in held_out]
        notes = {line for task in trained for line in task.context.splitlines()}
        others = {line for task in held_out for line in task.context.splitlines()}
        assert not notes & others
    assert sorted(held) == sorted(task.id for task in load_mini("all"))


def test_the_policy_sees_the_notes_and_the_judge_does_not() -> None:
    task = run.tasks_of(named("explicit"))[0][0]
    note = task.context.splitlines()[0]
    assert note in policy_messages(task)[-1]["content"]
    for arm in ("explicit", "implicit", "direct_likert", "predefined"):
        asked = prompts_of(task, "An answer.", arm)  # type: ignore[arg-type]
        assert "Notes:" not in str(asked)
        bare = prompts_of(task.model_copy(update={"context": ""}), "An answer.", arm)  # type: ignore[arg-type]
        assert asked == bare


def test_a_closed_book_arm_has_no_notes() -> None:
    trained, held_out = run.tasks_of(named("explicit, closed book"))
    assert not any(task.context for task in trained + held_out)


def test_the_order_is_complete_at_every_stop() -> None:
    units = run.units()
    assert len(set(units)) == len(units)
    tier_1 = [design for design in run.DESIGNS if design.tier == 1]
    assert len(tier_1) * 2 * 3 == 42
    assert {unit.design.name for unit in units[: len(tier_1)]} == {d.name for d in tier_1}
    assert [unit.seed for unit in units[: 4 * len(tier_1) : len(tier_1)]] == [0, 0, 1, 1]
    assert all(unit.design.tier == 1 for unit in units[:42])
    assert not {u.path for u in run.units(pilot=True)} & {u.path for u in units}
    assert run.PILOT_SEED not in run.SEEDS


@pytest.mark.parametrize("arm", ["rlvr", "length"])
def test_a_rule_pays_without_a_judge(arm: str) -> None:
    unit = named(arm)
    assert not run.needs_judge(unit)
    reward = run.reward_of(unit, None)
    assert isinstance(reward, VerifiableReward)
    task = run.tasks_of(unit)[0][0]
    column = task.model_dump_json()
    best, nothing = reward(
        prompts=[""] * 2, completions=[task.reference or "", ""], task=[column] * 2
    )
    assert best is not None
    assert nothing is not None
    assert best > nothing
    if arm == "rlvr":
        assert best == (1 + conveyed(task, task.reference or "").outcome) / 2
        assert nothing == 0.5


def test_differences_are_shares_of_the_way_to_the_references() -> None:
    record = recorded({"base": 0.0, "implicit": 0.5})
    assert record["way"] == pytest.approx(0.99, abs=0.01)
    gain = record["findings"]["training.implicit_over_base"]
    assert gain["word"] == "supported"
    assert gain["difference"]["value"] == pytest.approx(0.5, abs=0.01)
    trained = next(run for run in record["runs"] if run["arm"] == "implicit")
    assert trained["change"]["conveyed"]["n"] == 160
    assert trained["course"]["12"] == pytest.approx(0.5 * 0.99, abs=0.01)


def test_an_arm_without_three_seeds_decides_nothing() -> None:
    words = recorded({"base": 0.0, "implicit": 0.5}, seeds=2)["findings"]
    assert words["training.implicit_over_base"]["word"] == "not testable here"
    assert words["training.implicit_over_explicit"]["word"] == "not testable here"


@pytest.mark.parametrize("change", [{"kl": 1.2}, {"unscored": 0.06}])
def test_a_run_out_of_bounds_is_shown_and_decides_nothing(change: dict[str, float]) -> None:
    record = recorded({"base": 0.0, "implicit": 0.5}, **change)
    assert all(run["stray"] for run in record["runs"] if run["arm"] == "implicit")
    assert record["findings"]["training.implicit_over_base"]["word"] == "not testable here"


def test_half_of_a_seed_is_no_run_of_the_record() -> None:
    unit = named("implicit")
    with pytest.raises(SystemExit, match="both folds"):
        table.record({unit: found(unit, 0.5)}, [])


def test_the_ledger_knows_the_contrasts_of_the_study() -> None:
    declared = {
        source.key
        for claim in claims.load().claims
        for source in claim.sources or ()
        if source.record == "arms"
    }
    ours = {f"training.{name}" for name in table.CONTRASTS}
    # Not claims of the paper, but what one must know to read the others.
    assert ours - declared <= {
        "training.rule_over_base",
        "training.length_over_base",
        "training.explicit_over_length",
        "training.explicit_over_base",
        "training.sft_over_base",
    }
