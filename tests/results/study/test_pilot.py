"""The pilot's trials: by which rule one is taken, and what is told of each."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from studied import ORIGIN, found

from rar_lib.core.errors import DataError
from results.study import pilot, run
from results.study.run import Unit


def test_what_a_pilot_tries_is_in_its_name_and_settings_and_never_in_the_record() -> None:
    unit = pilot.unit_of(pilot.TRIALS[1])
    assert unit.settings.learning_rate == pilot.TRIALS[1]["learning_rate"]
    assert unit.settings.model_dump() == run.SETTINGS.model_dump() | pilot.TRIALS[1]
    assert unit.path.parent.name == "pilot"
    assert len({pilot.unit_of(trial).path for trial in pilot.TRIALS}) == len(pilot.TRIALS)
    assert all(not unit.tried and unit.settings == run.SETTINGS for unit in run.units())
    for tried in ((("stepps", 3),), (("steps", 0),), (("steps", "many"),)):
        with pytest.raises(DataError, match="can't try"):
            Unit(run.DESIGNS[0], 0, run.PILOT_SEED, tried).settings  # noqa: B018
    assert run.setting("steps=24") == ("steps", 24)
    assert run.setting("loss=dapo") == ("loss", "dapo")
    with pytest.raises(DataError, match="NAME=VALUE"):
        run.setting("steps")


def test_what_a_pilot_came_to_by_hand() -> None:
    unit = pilot.unit_of(pilot.TRIALS[0])
    one = found(unit, 0.25, kl=0.2) | {"seconds": 3.0}
    one["steps"][0]["clipped"] = 0.5
    told = pilot.came_to(unit, one, 0.9)
    made = ("machine", "number format", "versions")
    assert {name: told[name] for name in made} == {name: ORIGIN[name] for name in made}
    # 20 of 80 tasks go from nothing to the whole reference.
    assert told["rise"]["value"] == pytest.approx(0.25, abs=0.01)
    assert told["p"] < 1e-4
    assert (told["kl"], told["fits"], told["cut"], told["words"][0]) == (0.2, 0.9, 0.5, 0.0)
    assert told["fails"] == []


@pytest.mark.parametrize(
    ("rise", "p", "kl", "fits", "bad"),
    [
        (0.1, 1e-5, 0.5, 0.9, 0),
        (0.1, 0.001, 0.5, 0.9, 1),
        (-0.1, 1e-5, 0.5, 0.9, 1),  # a clear fall is no rise
        (0.1, 1e-5, 0.51, 0.9, 1),
        (0.1, 1e-5, 0.5, 0.89, 1),
        (0.0, 1.0, 2.0, 0.0, 3),
    ],
)
def test_the_rule_of_the_pilot(rise: float, p: float, kl: float, fits: float, bad: int) -> None:
    assert len(pilot.fails(rise, p, kl, fits)) == bad


@pytest.mark.model
def test_which_limits_hold_the_reference_answers() -> None:
    """What the rule was changed for: none fits in 80 tokens, nine in ten fit in 112."""
    settings = run.SETTINGS.model_copy(update={"policy": "smollm2-135m", "context": 2048})
    limits = (80, 112, 1024)
    shares = [
        pilot.fitting(settings.model_copy(update={"max_completion": limit})) for limit in limits
    ]
    assert shares[0] == 0.0
    assert pilot.LEAST_FITTING <= shares[1] < shares[2] == 1.0


def test_the_first_trial_that_passes_is_taken_and_none_before_its_turn() -> None:
    good: dict[str, list[str]] = {"fails": []}
    poor = {"fails": ["the outcome does not rise clearly"]}
    assert pilot.record({})["taken"] is None
    assert pilot.record({0: poor})["taken"] is None
    assert pilot.record({1: good})["taken"] is None  # the first was not run
    found = pilot.record({0: poor, 1: good, 2: good})
    assert found["taken"] == pilot.TRIALS[1]
    assert [row["trial"] for row in found["trials"]] == list(pilot.TRIALS[:2])


def test_the_record_is_made_with_the_settings_that_the_pilot_took() -> None:
    if pilot.RESULTS.exists() and (taken := json.loads(pilot.RESULTS.read_text())["taken"]):
        assert taken.pop("notes") == run.NOTES
        assert run.SETTINGS.model_dump() == run.SETTINGS.model_dump() | taken
    else:
        assert not any(unit.path.exists() for unit in run.units())


@pytest.fixture(scope="module")
def tried() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(pilot.RESULTS.read_text(encoding="utf-8"))
    return found


def test_the_pilot_s_record_tells_of_each_trial_what_the_code_tells(tried: dict[str, Any]) -> None:
    again = "run: .venv/bin/python -m results.study.pilot"
    assert len(pilot.WHY) == len(pilot.TRIALS)
    told = [{"declared": r["declared"], "decided": r["decided"]} for r in tried["trials"]]
    assert told == list(pilot.WHY[: len(told)]), again
    assert {name: tried["beside"][name] for name in pilot.WHY_BESIDE} == pilot.WHY_BESIDE, again


def test_what_is_told_of_a_trial_holds_no_number_and_is_a_sentence() -> None:
    for why in [*pilot.WHY, pilot.WHY_BESIDE]:
        for name in ("declared", "decided"):
            assert not re.search(r"\d", why[name]), why[name]
            assert why[name].endswith("."), why[name]


def test_settings_that_are_told_as_multiples_of_others_are_that() -> None:
    """By the places of the trials from one on, as they are told."""

    def times(name: str, trial: int, other: int) -> float:
        return float(pilot.TRIALS[trial - 1][name] / pilot.TRIALS[other - 1][name])

    assert times("learning_rate", 2, 1) == times("learning_rate", 4, 3) == 2
    assert times("learning_rate", 3, 2) == times("learning_rate", 5, 3) == 1
    assert times("steps", 5, 3) == 2
    assert times("learning_rate", 8, 7) == 2
    assert times("max_completion", 8, 7) > 1
    for trial in (7, 9):
        assert times("learning_rate", trial, 1) == times("steps", trial, 1) == 1
    assert pilot.TRIALS[5]["schedule"] == "linear"
    assert pilot.TRIALS[5]["prompts_per_step"] > run.SETTINGS.prompts_per_step
    assert pilot.TRIALS[-1]["notes"] == "own"


def test_a_decision_that_names_a_measurement_has_it_on_record(tried: dict[str, Any]) -> None:
    assert "the fourth trial had left the bound on the KL" in pilot.WHY[4]["decided"]
    assert tried["trials"][3]["kl"] > pilot.MOST_KL
    assert tried["trials"][3]["trial"]["steps"] < pilot.TRIALS[4]["steps"]


def test_what_the_answers_of_a_trial_convey_is_its_rise(tried: dict[str, Any]) -> None:
    for row in [*tried["trials"], tried["beside"]]:
        outcomes = [look["own"] - look["others"] for look in row["looks"]]
        assert outcomes[-1] - outcomes[0] == pytest.approx(row["rise"]["value"])
        mixed = row["trial"].get("notes") != "own"
        assert any(look["others"] for look in row["looks"]) == mixed
        assert row["looks"][-1]["step"] == row["trial"]["steps"]


def test_what_answers_convey_is_told_look_by_look_by_hand() -> None:
    unit = pilot.unit_of(pilot.TRIALS[0])
    _, held_out = run.tasks_of(unit)
    silent = {task.id: "" for task in held_out}
    copied = silent | {task.id: task.context for task in held_out[:20]}
    found = {"looks": [{"step": 0, "answers": silent}, {"step": 3, "answers": copied}]}
    # 20 of 80 answers say all notes that stand beside their question.
    assert pilot.looked_at(unit, found) == [
        {"step": 0, "own": 0.0, "others": 0.0},
        {"step": 3, "own": 0.25, "others": 0.25},
    ]
