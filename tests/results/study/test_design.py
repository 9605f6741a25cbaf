"""``design.json`` is what the code of the study declares, and says nothing of what was measured."""

from __future__ import annotations

import json
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
