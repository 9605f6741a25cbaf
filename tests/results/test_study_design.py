"""``design.json`` is what the code of the study declares, and says nothing of what was measured."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from rar_lib.data.tasks import load_mini
from rar_lib.training.settings import Settings
from results.study import gold, pilot, run, table

FILE = Path(run.__file__).with_name("design.json")


@pytest.fixture(scope="module")
def declared() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def test_the_file_is_that_of_the_code() -> None:
    written = json.dumps(run.design(), indent=1) + "\n"
    again = "run: .venv/bin/python -m results.study.run --design"
    assert FILE.read_text(encoding="utf-8") == written, again


def test_it_holds_every_arm_unit_and_contrast(declared: dict[str, Any]) -> None:
    assert Settings.model_validate(declared["settings"]) == run.SETTINGS
    assert [arm["name"] for arm in declared["arms"]] == [one.name for one in run.DESIGNS]
    by_tier = [name for names in declared["units"].values() for name in names]
    assert by_tier == [unit.name for unit in run.units()]
    for name, contrasts in (("claims", table.CONTRASTS), ("further", table.FURTHER)):
        assert {k: tuple(v) for k, v in declared["contrasts"][name].items()} == contrasts
    assert declared["pilot"]["trials"] == list(pilot.TRIALS)
    assert tuple(declared["gold"]["arms"]) == gold.ARMS


def test_an_arm_says_who_pays_it_and_where_it_leaves_the_usual(declared: dict[str, Any]) -> None:
    arms = {arm["name"]: arm for arm in declared["arms"]}
    paid = {name: (arm["judge"], arm["rule"]) for name, arm in arms.items()}
    assert paid["base"] == paid["sft_reference"] == (None, None)
    assert paid["rlvr"] == (None, "notes conveyed")
    assert paid["length"] == (None, f"words up to {run.LONG}")
    assert paid["implicit"] == paid["sft_filtered"] == (run.JUDGE, None)
    assert arms["explicit"]["differs"] == {}
    assert arms["explicit, keep 0.5"]["differs"] == {"keep": 0.5, "least": 3}
    weak = arms["explicit, weak judge"]
    assert weak["judge"] == weak["differs"]["judge"] != run.JUDGE


def test_looks_and_tasks_are_those_that_a_unit_has(declared: dict[str, Any]) -> None:
    steps = run.SETTINGS.steps
    assert list(declared["looks"]) == [str(seed) for seed in run.SEEDS]
    for seed, looks in declared["looks"].items():
        wanted = run.LOOKS if seed == str(run.SEEDS[0]) else run.LOOKS_OF_OTHERS
        assert (looks[0], looks[1], looks[-1]) == (0, steps // wanted, steps)
        assert looks == sorted(set(looks))
    tasks = declared["tasks"]
    assert sum(tasks["held out"]) == len(load_mini("all"))
    assert tasks["graded"] == [run.GRADED_TASKS] * 2
    assert tasks["course"] == [run.COURSE_TASKS] * 2
    assert tasks["likelihoods"] == [run.INNER_TASKS] * 2
    assert declared["gold"]["tasks"] == sum(tasks["course"])


@pytest.mark.parametrize(
    ("steps", "looks", "of_others"),
    [
        (12, [0, 3, 6, 9, 12], [0, 6, 12]),
        (13, [0, 3, 6, 9, 12, 13], [0, 6, 12, 13]),  # the last step is a look, once
        (24, [0, 6, 12, 18, 24], [0, 12, 24]),
        (3, [0, 1, 2, 3], [0, 1, 2, 3]),
    ],
)
def test_looks_are_evenly_spaced_and_the_last_step_is_one(
    monkeypatch: pytest.MonkeyPatch, steps: int, looks: list[int], of_others: list[int]
) -> None:
    monkeypatch.setattr(run, "SETTINGS", run.SETTINGS.model_copy(update={"steps": steps}))
    assert run.design()["looks"] == {"0": looks, "1": of_others, "2": of_others}


def test_the_command_writes_it_and_trains_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(*_: Any, **__: Any) -> None:
        raise AssertionError("trained")

    monkeypatch.setattr(run, "HERE", tmp_path)
    monkeypatch.setattr(run, "advance", train)
    monkeypatch.setattr("sys.argv", ["run", "--design"])
    run.main()
    assert (tmp_path / "design.json").read_bytes() == FILE.read_bytes()


# --- what is told of the pilot's trials


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
