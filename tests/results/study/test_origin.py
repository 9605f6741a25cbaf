"""What was made on several machines is not put together, and the odd unit is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from types import SimpleNamespace
from typing import Any

import pytest
from studied import named

from rar_lib.book import results
from rar_lib.core.errors import DataError
from rar_lib.training.checkpoints import JOURNAL, Journal, seal
from results.study import gold, origin, run, store, table
from results.study.origin import Made
from results.study.run import Unit
from results.study.states import States

HERE = {"machine": "2 cores", "number format": "float32"}
THERE = HERE | {"machine": "4 cores"}
OTHER_FORMAT = HERE | {"number format": "bfloat16"}
SHARES = {"base": 0.0, "implicit": 0.5, "explicit": 0.2}
TASKS = {fold: run.tasks_of(Unit(run.DESIGNS[0], fold, 0))[1] for fold in (0, 1)}


def line_of(judge: str, engine: str = "vllm==1", **change: str) -> dict[str, Any]:
    known = {"weights": "w" * 40, "prompt": "p" * 40, "wording": "a", "dialect": "", "code": "c"}
    return {"judge": {"model": judge, "engine": engine, **known, **change}}


def decided(unit: Unit, **change: Any) -> dict[str, Any]:
    """What a unit of the study says that it was made by."""
    by = {"code": "c0de", "versions": {"torch": "1", "trl": "2"}, "reward": run.paid_by(unit)}
    return {**by, **run.digests_of_tasks(unit), **change}


def unit_of(arm: str, fold: int) -> dict[str, Any]:
    """A unit that gives the reference answer to a share of its tasks, and says nothing else."""
    tasks = TASKS[fold]
    silent = {task.id: "" for task in tasks}
    known = tasks[: round(SHARES[arm] * len(tasks))]
    after = silent | {task.id: task.reference or "" for task in known}
    return {
        "arm": arm,
        "seconds": 1.0,
        "date": "2026-01-01",
        "settings": run.SETTINGS.model_dump(mode="json"),
        "starts": [HERE],
        "decides": decided(named(arm, fold)),
        "calibration": None if arm == "base" else line_of(run.JUDGE),
        "steps": [],
        "looks": [{"step": 0, "answers": silent}, {"step": 12, "answers": after}],
    }


def done() -> dict[Unit, dict[str, Any]]:
    every = [named(arm, fold, seed) for arm in SHARES for fold in (0, 1) for seed in range(3)]
    return {unit: unit_of(unit.design.name, unit.fold) for unit in every}


def record(found: dict[Unit, dict[str, Any]]) -> dict[str, Any]:
    return table.record(found, [task for fold in TASKS.values() for task in fold])


def word(found: dict[str, Any], name: str) -> str:
    return str(found["findings"][f"training.{name}"]["word"])


def reason(found: dict[str, Any], name: str) -> str:
    return str(found["findings"][f"training.{name}"]["reason"])


def versions(**change: str) -> dict[str, Any]:
    return {"code": "c0de", "versions": {"torch": "1", "trl": "2", **change}}


def give(one: dict[str, Any], change: dict[str, Any]) -> None:
    """Change a unit; of what made it only the parts that are given."""
    decides = one["decides"] | change.get("decides", {})
    one |= change
    one["decides"] = decides


#: What is changed of one unit, and what the record says of it.
CHANGES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "machine": ({"starts": [THERE]}, ["4 cores, float32 (explicit-fold{}-seed1)", "2 cores"]),
    "format": ({"starts": [OTHER_FORMAT]}, ["2 cores, bfloat16 (explicit-fold{}-seed1)"]),
    "version": ({"decides": versions(trl="3")}, ["trl 3 (explicit-fold{}-seed1)", "trl 2 (the"]),
    "package": ({"decides": versions(vllm="1")}, ["vllm 1 (", "vllm not installed (the other"]),
    "engine": ({"calibration": line_of(run.JUDGE, "llama==1")}, ["llama==1, weights ww"]),
    **{
        part: ({"calibration": line_of(run.JUDGE, **{part: "other"})}, [f"{part} other"])
        for part in ("weights", "prompt", "wording", "dialect")
    },
    "code": (
        {"decides": versions() | {"code": "other"}},
        ["the library's code: other (explicit-fold{}-seed1); c0de (the other", "or show by"],
    ),
    "tasks": (
        {"decides": {"tasks": "0" * 64}},
        ["explicit-fold{}-seed1 was made with other tasks"],
    ),
    "notes": (
        {"decides": {"held_out": "0" * 64}},
        ["explicit-fold{}-seed1 was made with other held_out: train it again"],
    ),
    "dropout": (
        {"decides": {"reward": {"arm": "explicit", "keep": 0.5, "contrast": 0.0}}},
        ["explicit-fold{}-seed1 was paid by keep 0.5 for 1.0"],
    ),
    "rule": (
        {"decides": {"reward": {"arm": "rlvr", "verify": "words up to 60"}}},
        ["was paid by arm rlvr for explicit, keep None for 1.0, contrast None for 0.0"],
    ),
    "resumed": (
        {"starts": [HERE, THERE]},
        ["explicit-fold{}-seed1 was begun on 2 cores, float32 and continued on 4 cores, float32"],
    ),
    "settings": (
        {"settings": run.SETTINGS.model_dump(mode="json") | {"steps": 99}},
        ["explicit-fold{}-seed1 was trained with steps 99 for"],
    ),
}


@pytest.mark.parametrize(("name", "fold"), [("machine", 0), *((name, 1) for name in CHANGES)])
def test_a_run_of_which_one_fold_was_made_otherwise_is_set_apart(name: str, fold: int) -> None:
    change, says = CHANGES[name]
    found = done()
    give(found[named("explicit", fold, 1)], change)
    told = record(found)
    (apart,) = told["apart"]
    assert (apart["arm"], apart["seed"]) == ("explicit", 1)
    for text in says:
        assert text.format(fold) in apart["why"]
    assert len(told["runs"]) == 8
    assert not any((one["arm"], one["seed"]) == ("explicit", 1) for one in told["runs"])
    # Its contrasts say what they lack, and the others are as they were.
    assert word(told, "explicit_over_base") == "not testable here"
    assert apart["why"] in reason(told, "explicit_over_base")
    assert apart["why"] in results.lacking(told, ("explicit", "base"))
    assert word(told, "implicit_over_base") == "supported"
    assert told["machine"] == "2 cores, float32"


def test_both_folds_that_were_continued_alike_are_no_run_either() -> None:
    found = done()
    for fold in (0, 1):
        found[named("explicit", fold, 1)]["starts"] = [HERE, THERE, HERE]
    assert [one["seed"] for one in table.pooled(found)[1]] == [1]


def test_several_starts_on_one_machine_are_one_origin() -> None:
    found = done()
    for one in found.values():
        one["starts"] = [HERE, dict(HERE)]
    assert table.pooled(found)[1] == []


def test_a_package_that_decides_nothing_sets_nothing_apart() -> None:
    found = done()
    found[named("explicit", 1, 1)]["versions"] = {"papermill": "new"}
    assert table.pooled(found)[1] == []


def move(found: dict[Unit, dict[str, Any]], arm: str, *seeds: int) -> None:
    for unit, one in found.items():
        if unit.design.name == arm and unit.seed in seeds:
            one["starts"] = [THERE]


def test_a_seed_that_moved_is_named_and_shown_and_decides_nothing() -> None:
    found = done()
    move(found, "explicit", 2)
    told = record(found)
    assert told["apart"] == []
    why = reason(told, "explicit_over_base")
    assert "4 cores, float32 (explicit with seed 2); 2 cores, float32 (the other 5)" in why
    assert word(told, "implicit_over_base") == "supported"
    assert told["machine"] == (
        "2 cores, float32 (base, implicit, explicit with seed 0 and 1); "
        "4 cores, float32 (explicit with seed 2)"
    )
    assert "4 cores" in results.lacking(told, ("explicit", "base"))


def test_an_arm_that_moved_names_its_machine_in_the_record() -> None:
    found = done()
    move(found, "base", 0, 1, 2)
    told = record(found)
    assert told["machine"].startswith("4 cores, float32 (base); ")
    assert "(base with seed 0, base with seed 1, base with seed 2)" in reason(
        told, "implicit_over_base"
    )
    # Two arms of one machine can be compared on it.
    assert word(told, "implicit_over_explicit") == "supported"


def test_versions_of_the_record_are_those_of_all_runs() -> None:
    found = done()
    for unit, one in found.items():
        if unit.design.name == "explicit":
            one["decides"] |= versions(trl="3", vllm="1")
    told = record(found)
    assert told["versions"] == {"torch": "1", "trl": "2 and 3", "vllm": "1 and not installed"}
    assert "trl 3, vllm 1" in reason(told, "explicit_over_base")


def test_where_half_is_made_otherwise_both_halves_are_named() -> None:
    made = {"a": Made(("A",), {}, {}), "b": Made(("B",), {}, {})}
    with pytest.raises(DataError, match=r"A \(a\); B \(b\)"):
        origin.shared(made)
    with pytest.raises(DataError, match=r"B \(b\); A \(the other\)"):
        origin.shared(made, [made["a"]])


def test_judges_are_compared_by_name() -> None:
    """An arm without a judge, or with a smaller one, is compared with one that has the usual."""
    none, strong, weak = (
        Made(("A",), {}, judges) for judges in ({}, {"strong": "v1"}, {"weak": "v2"})
    )
    assert origin.shared({"a": none, "b": strong, "c": weak}).judges == {
        "strong": "v1",
        "weak": "v2",
    }


def test_grades_of_two_machines_are_left_out_and_the_answers_stay() -> None:
    found = done()
    for unit, one in found.items():
        where = THERE if unit == named("explicit", 1, 1) else HERE
        one["graded_by"] = {"judge": run.JUDGE, "engine": "vllm==1", **where}
        for look in one["looks"]:
            look["graded"] = {task: {"score": 0.5} for task in look["answers"]}
    told = {(one["arm"], one["seed"]): one for one in record(found)["runs"]}
    whole = told["explicit", 0]
    mixed = told["explicit", 1]
    assert whole["secondary"]["explicit"]["change"]["n"] == 160
    assert (whole["not graded"], whole["graded on"]) == ("", ["2 cores, float32"])
    assert "explicit" not in mixed["secondary"]
    assert "explicit-fold1-seed1" in mixed["not graded"]
    assert mixed["held_out"] == whole["held_out"]


def test_labels_are_of_arms_of_one_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "HERE", tmp_path)
    by = {"judge": run.JUDGE, "engine": "vllm==1", **HERE}
    for arm, start in (("base", HERE), ("implicit", THERE)):
        store.save(named(arm).path, unit_of(arm, 0) | {"starts": [start], "graded_by": by})
    assert gold.recorded(named("base"))
    with pytest.raises(DataError, match=r"4 cores, float32 \(implicit-fold0-seed0\)"):
        gold.recorded(named("implicit"))


# --- the starts of a unit


def job(out: Path, fingerprint: str = "f", finished: Any = None) -> Any:
    checkpoints = out / "checkpoints" / fingerprint
    return SimpleNamespace(
        out=out, fingerprint=fingerprint, finished=finished, checkpoints=checkpoints
    )


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str]], None]:
    """Move to a machine."""

    def move_to(where: dict[str, str]) -> None:
        monkeypatch.setattr(origin, "here", lambda: where)

    move_to(HERE)
    return move_to


def checkpoint(of: Any, step: int) -> None:
    folder = of.checkpoints / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    (folder / JOURNAL).write_text("{}")
    seal(folder, of.fingerprint, Journal())


def machines(of: Any) -> list[str]:
    return [one["machine"] for one in origin.starts(of)]


def test_a_unit_that_goes_on_elsewhere_keeps_both_machines(
    tmp_path: Path, at: Callable[[dict[str, str]], None]
) -> None:
    of = job(tmp_path)
    assert machines(of) == ["2 cores"]
    checkpoint(of, 1)
    assert machines(of) == ["2 cores", "2 cores"]
    at(THERE)
    assert machines(of) == ["2 cores", "2 cores", "4 cores"]
    kept = json.loads((tmp_path / origin.STARTS).read_text())["f"]
    assert [one["machine"] for one in kept] == ["2 cores", "2 cores", "4 cores"]
    assert {"at", "load", "threads"} < set(kept[0])
    assert origin.moved(unit_of("base", 0) | {"starts": kept}) == (
        "begun on 2 cores, float32, continued on 4 cores, float32"
    )


def test_a_unit_that_does_not_say_its_starts_was_not_moved() -> None:
    assert origin.moved(HERE) == ""
    assert origin.moved({"starts": [HERE, HERE]}) == ""


def test_a_start_that_left_nothing_is_forgotten(
    tmp_path: Path, at: Callable[[dict[str, str]], None]
) -> None:
    assert machines(job(tmp_path)) == ["2 cores"]
    at(THERE)
    assert machines(job(tmp_path)) == ["4 cores"]


def test_answers_that_were_sampled_elsewhere_are_a_start(
    tmp_path: Path, at: Callable[[dict[str, str]], None]
) -> None:
    of = job(tmp_path)
    origin.starts(of)
    of.checkpoints.mkdir(parents=True)
    (of.checkpoints / "selected.json").write_text("[]")
    at(THERE)
    assert machines(of) == ["2 cores", "4 cores"]


def test_a_finished_run_is_not_started_again(
    tmp_path: Path, at: Callable[[dict[str, str]], None]
) -> None:
    origin.starts(job(tmp_path))
    at(THERE)
    assert machines(job(tmp_path, finished=object())) == ["2 cores"]


def test_another_run_in_the_folder_has_starts_of_its_own(
    tmp_path: Path, at: Callable[[dict[str, str]], None]
) -> None:
    first = job(tmp_path)
    origin.starts(first)
    checkpoint(first, 1)
    at(THERE)
    assert machines(job(tmp_path, "other code")) == ["4 cores"]
    assert machines(first) == ["2 cores", "4 cores"]


def test_a_run_of_which_nobody_knows_where_it_was_begun_is_refused(
    tmp_path: Path, at: Callable[[dict[str, str]], None]
) -> None:
    of = job(tmp_path)
    checkpoint(of, 1)
    with pytest.raises(DataError, match="delete the folder"):
        origin.starts(of)
    with pytest.raises(DataError, match="delete the folder"):
        origin.starts(job(tmp_path, "other", finished=object()))


def test_a_unit_writes_its_starts_before_it_trains_and_leaves_them_in_its_head(
    tmp_path: Path, at: Callable[[dict[str, str]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "BUILD", tmp_path)
    unit = named("base")
    answers = {task.id: "An answer." for task in TASKS[0]}
    made = SimpleNamespace(
        seconds=5.0,
        watched=[{"step": 0, "answers": answers}],
        identity={**decided(unit), "versions": {"torch": "1"}, "arm": "base"},
        resumed_at=[],
        checkpoint_seconds=[0.25, 0.5],
        curve=lambda: [{"step": 1, "seconds/judge": 2.0}, {"step": 2, "seconds/judge": 1.0}],
    )

    def trained() -> Any:
        assert (tmp_path / unit.name / origin.STARTS).exists()
        return made

    def fake(**asked: Any) -> Any:
        of = job(asked["out"])
        of.run = trained
        return of

    monkeypatch.setattr(run, "Job", fake)
    head = run.measure(unit, None)
    assert [one["machine"] for one in head["starts"]] == ["2 cores"]
    assert (head["machine"], head["number format"]) == ("2 cores", "float32")
    assert head["decides"] == decided(unit, versions={"torch": "1"})
    assert head["seconds by stage"] == {"checkpoints": 0.8, "judge": 3.0}
    assert origin.made_by(head, States()) == Made(("2 cores, float32",), {"torch": "1"}, {}, "c0de")
    assert head["wall"] >= 0


def test_answers_of_a_judge_on_another_kind_of_machine_are_not_read(
    at: Callable[[dict[str, str]], None],
) -> None:
    first = origin.mark()
    at(OTHER_FORMAT)
    assert origin.mark() != first


def test_the_real_machine_and_a_unit_of_it_are_told_alike() -> None:
    assert origin.machine_of(origin.here()).endswith(origin.here()["number format"])


def outcomes(told: dict[str, Any], arm: str) -> dict[str, float]:
    """What the second seed of an arm conveys after training, by held-out task."""
    of_arm = (one for one in told["runs"] if (one["arm"], one["seed"]) == (arm, 1))
    outcome: dict[str, float] = next(of_arm)["held_out"]["conveyed"]["after"]
    return outcome


def test_what_was_seen_before_is_told_again_of_the_tasks_that_no_pilot_answered() -> None:
    told = record(done())
    half = told["on the half that the pilot trained on"]
    assert set(half) == set(table.SEEN)
    tasks = run.tasks_of(named("base", table.OTHER_HALF, 0))[1]
    found = half["explicit_over_base"]["difference"]
    assert found["n"] == len(tasks) == 80
    after = outcomes(told, "explicit")
    before = outcomes(told, "base")
    gains = [after[t.id] - before[t.id] for t in tasks]
    assert found["value"] == pytest.approx(fmean(gains) / told["way"])
    assert half["length_over_base"] is None  # not run
    # The pilot trained without the tasks of its fold, and looked at its answers to them.
    assert {unit.fold for unit in run.pilots({})} == {1 - table.OTHER_HALF}


def of_halves(arm: str, seed: int, first: float, second: float, stray: str = "") -> dict[str, Any]:
    """A run whose answers convey as much on every task of a half."""
    after = {task: (first, second)[fold] for task, fold in table._folds().items()}
    return {"arm": arm, "seed": seed, "stray": stray, "held_out": {"conveyed": {"after": after}}}


def test_how_alike_two_trainings_of_a_seed_are_is_told_within_arms() -> None:
    # Deviations -0.1, 0, 0.1 against 0.1, 0, -0.1 in one arm, and against themselves twice over in
    # another: products -0.02 and 0.04, squares 0.04 and 0.02 + 0.08.
    opposite = [of_halves("a", n, 0.1 * n, 0.5 - 0.1 * n) for n in range(3)]
    same = [of_halves("b", n, 0.3 + 0.1 * n, 0.2 * n) for n in range(3)]
    two = [of_halves("c", n, 0.5 * n, 0.5 * n) for n in range(2)]
    left_out = [of_halves("a", 3, 1.0, 1.0, "KL"), of_halves("base", 0, 0.9, 0.9)]
    found = table.halves_alike([*opposite, *same, *two, *left_out])
    assert found is not None
    assert (found["arms"], found["pairs"]) == (2, 6)
    assert found["r"] == pytest.approx(0.02 / (0.04 * 0.10) ** 0.5)
    assert table.halves_alike(two) is None


def test_what_was_seen_is_said_of_declared_contrasts() -> None:
    assert set(table.SEEN) <= set(table.CONTRASTS | table.FURTHER)
    assert run.design()["seen"] == table.SEEN


def test_a_first_look_that_is_copied_is_of_the_state_that_measured_it() -> None:
    """All of base's first seed was made by other code: what copied it stands on that code, too."""
    found = done()
    for fold in (0, 1):
        found[named("base", fold, 0)]["decides"]["code"] = "other"
    told = record(found)
    assert {(one["arm"], one["seed"]) for one in told["runs"]} == {("base", s) for s in range(3)}
    assert {one["state"] for one in told["runs"]} == {"other"}
    assert "other (base-fold0-seed0" in told["apart"][0]["why"]
