"""How many hours the study still takes, from heads that are made up."""

from __future__ import annotations

from typing import Any

import pytest
from studied import named

from results.study import cost, origin, run
from results.study.run import Unit

HERE = {"machine": "2 cores", "number format": "float32"}
LINE = {"judge": {"model": "j", "engine": ""}}


def head(unit: Unit, seconds: float, grading: float | None = None, **change: Any) -> dict[str, Any]:
    return {
        "arm": unit.design.name,
        "seed": unit.seed,
        "seconds": seconds,
        "wall": seconds,
        "starts": [HERE],
        "decides": {"versions": {}},
        "calibration": LINE if run.needs_judge(unit) else None,
        "steps": [{}] * (0 if unit.design.trained == "base" else unit.settings.steps),
        **({} if grading is None else {"graded_by": {"seconds": grading}}),
        **HERE,
        **change,
    }


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(origin, "here", lambda: HERE)


UNITS = [named("implicit", fold, seed) for seed in (0, 1) for fold in (0, 1)]


def test_by_the_mean_of_the_arm() -> None:
    # Two of four are done in an hour and two, and graded in half an hour: 2 * (1.5 + 0.5) to go.
    heads = {UNITS[0]: head(UNITS[0], 3600, 1800), UNITS[1]: head(UNITS[1], 7200, 1800)}
    said = cost.forecast(UNITS, heads, [])
    assert said == "done 2 of 4 units; about 4.0 hours to go on this machine"


def test_the_first_seed_has_more_looks_and_does_not_stand_for_the_others() -> None:
    first, second, third = (named("implicit", 0, seed) for seed in (0, 1, 2))
    heads = {first: head(first, 7200, 3600), second: head(second, 3600, 1800)}
    said = cost.forecast([first, second, third], heads, [])
    assert said == "done 2 of 3 units; about 1.5 hours to go on this machine"
    del heads[second]
    assert "about 3.0 hours" in cost.forecast([first, third], heads, [])  # for want of another


def test_an_arm_that_was_not_timed_goes_by_the_steps_of_arms_paid_alike() -> None:
    explicit = named("explicit")
    rule = named("rlvr")
    supervised = named("sft_reference")
    heads = {
        UNITS[0]: head(UNITS[0], 7200, 0.0),
        rule: head(rule, 3600, 0.0),
    }
    said = cost.forecast([UNITS[0], rule, explicit, supervised], heads, [])
    # As long as the other judged arm, and as the other one without a judge.
    assert said == (
        "done 2 of 4 units; about 3.0 hours to go on this machine "
        "(2 units by their steps, as their arms were not timed)"
    )


def test_steps_of_a_pilot_count_until_there_is_something_better() -> None:
    tried = Unit(named("rlvr").design, 0, run.PILOT_SEED, (("steps", 2 * run.SETTINGS.steps),))
    # Twice the steps in two hours, so one hour; nothing judged was timed, so of any arm.
    said = cost.forecast(UNITS[:2], {}, [head(tried, 7200)])
    assert said == (
        "done 0 of 2 units; about 2.0 hours to go on this machine "
        "(2 units by their steps, as their arms were not timed; without grading, which was not "
        "timed)"
    )


def test_what_is_trained_is_still_to_be_graded() -> None:
    heads = {UNITS[0]: head(UNITS[0], 3600, 3600), UNITS[1]: head(UNITS[1], 3600)}
    said = cost.forecast(UNITS[:2], heads, [])
    assert said == (
        "done 1 of 2 units (1 more trained, not graded); about 1.0 hours to go on this machine"
    )


def test_seeds_with_a_course_are_graded_for_longer() -> None:
    heads = {
        UNITS[0]: head(UNITS[0], 0, 7200),
        UNITS[2]: head(UNITS[2], 0, 1800),
    }
    said = cost.forecast(UNITS, heads, [])
    assert "about 2.5 hours" in said  # two hours of the first seed, half an hour of the second


@pytest.mark.parametrize(
    "change",
    [
        {"machine": "4 cores"},
        {"number format": "bfloat16"},
        {"starts": [HERE | {"machine": "4 cores"}, HERE]},
    ],
)
def test_seconds_of_another_machine_say_nothing_of_this_one(change: dict[str, Any]) -> None:
    heads = {UNITS[0]: head(UNITS[0], 3600, 60.0, **change)}
    said = cost.forecast(UNITS, heads, [])
    assert said == "done 1 of 4 units; hours to go are not known: no unit was timed on this machine"


def test_the_untrained_policy_makes_no_steps() -> None:
    base = named("base")
    said = cost.forecast([base], {}, [])
    assert said.startswith("done 0 of 1 units; about 0.0 hours to go")
    # Nor do its seconds say what a step takes.
    heads = {base: head(base, 60, 60)}
    assert "not known" in cost.forecast([base, UNITS[0]], heads, [])


def test_all_done() -> None:
    heads = {unit: head(unit, 1, 1) for unit in UNITS}
    assert cost.forecast(UNITS, heads, []) == "done 4 of 4 units"


def test_a_unit_that_was_not_resumed_costs_its_loading_too() -> None:
    assert cost.took(head(UNITS[0], 100, wall=130)) == 130
    assert cost.took(head(UNITS[0], 100, wall=40)) == 100  # resumed: the last start alone
