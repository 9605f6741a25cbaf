"""What results/study trains, asks and grades, in which order, and never twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from scripted import Reply, says, server
from studied import NOWHERE, graded, named, unit_file

from rar_lib.core.errors import UnscoredError
from rar_lib.core.prompts import policy_messages
from rar_lib.data.tasks import load_mini, load_mini_pairs
from rar_lib.evaluation.notes import conveyed, split
from rar_lib.judging.chat import Chat
from rar_lib.judging.judge import Judge
from rar_lib.judging.messages import prompts_of
from rar_lib.training.policy import Likelihoods
from rar_lib.training.rewards import RubricReward, VerifiableReward
from results.rubrics import write as rubrics
from results.study import origin, run, store
from results.study.run import Unit


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


def test_the_notes_are_the_task_s_own_and_other_ones_only_where_an_early_pilot_had_them() -> None:
    for unit, mixed in (
        (named("explicit"), False),
        (named("base", 1, 2), False),
        (run.pilots({})[0], False),
        (run.pilots({"notes": "own", "steps": 3})[0], False),
        (run.pilots({"steps": 3})[0], True),
    ):
        assert unit.others == mixed
        for task in [task for half in run.tasks_of(unit) for task in half]:
            own = set(split(task.reference or ""))
            assert own <= set(task.context.splitlines())
            assert (set(task.context.splitlines()) > own) == mixed
    assert run.pilots({"notes": "own", "steps": 3})[0].settings.steps == 3


def test_an_early_pilot_is_paid_as_it_was() -> None:
    early = run.pilots({"steps": 3})[1]
    assert early.design.name == "rlvr"
    reward = run.reward_of(early, None)
    assert isinstance(reward, VerifiableReward)
    task = run.tasks_of(early)[1][0]
    texts = [task.reference or "", "", task.context]  # its own notes, nothing, all notes
    paid = reward(prompts=[""] * 3, completions=texts, task=[task.model_dump_json()] * 3)
    assert paid == [1.0, 0.5, 0.5]
    usual = run.reward_of(named("rlvr"), None)
    assert usual is not None
    assert usual.identity() != reward.identity()


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
    assert not {u.path for u in run.pilots({})} & {u.path for u in units}
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
        assert best == conveyed(task, task.reference or "").outcome == 1
        assert nothing == 0


def written(kind: str, tasks: int) -> str:
    """Lines of rubrics for so many tasks, one of which has none."""
    lines = []
    for number, task in enumerate(load_mini("all")[:tasks]):
        assert task.rubric is not None
        rubric = task.rubric.model_copy(update={"criteria": task.rubric.criteria[:3]})
        valid = number > 0
        row = {
            "task": task.id,
            "of": rubrics.mark(task, kind),
            "rubric": rubric.model_dump(mode="json") if valid else None,
            "reason": None if valid else "it repeats itself",
        }
        lines.append(json.dumps(row) + "\n")
    return "".join(lines)


def test_an_arm_with_synthetic_rubrics_trains_on_them_and_is_held_out_by_the_authored_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rubrics, "HERE", tmp_path)
    unit = named("explicit, synthetic with reference")
    everything = load_mini("all")
    assert not run.has_rubrics(unit)
    (tmp_path / "synthetic_ref.jsonl").write_text(written("synthetic_ref", len(everything)))
    assert run.has_rubrics(unit)
    assert not run.has_rubrics(named("explicit, synthetic without reference"))
    trained, held_out = run.tasks_of(unit)
    plain, same = run.tasks_of(named("explicit"))
    assert [t.id for t in trained] == [t.id for t in plain if t.id != everything[0].id]
    assert {len(t.rubric.criteria) for t in trained if t.rubric} == {3}
    assert held_out == same


def test_the_weak_judge_rewards_and_the_strong_one_grades(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(run, "calibration_of", lambda _: None)
    monkeypatch.setattr(run, "state_of", lambda _: "to do")
    monkeypatch.setattr(run, "measure", lambda _, judge: asked.append(judge.chat.model) or {})
    monkeypatch.setattr(
        run, "with_grades", lambda _, __, judge: asked.append(judge.chat.model) or {}
    )
    monkeypatch.setattr(store, "save", lambda *_: None)
    monkeypatch.setattr(store, "load", lambda _: {})
    run.advance([named("explicit, weak judge")], minutes=1, grading=True)
    assert asked == ["qwen-0.5b", run.JUDGE]


def test_the_arms_that_change_how_the_rubric_is_added_up_say_so_in_their_identity() -> None:
    plain, dropout, contrast = (
        run.reward_of(named(name), NOWHERE)
        for name in ("explicit", "explicit, keep 0.5", "explicit, contrast 0.5")
    )
    assert isinstance(dropout, RubricReward)
    assert isinstance(contrast, RubricReward)
    assert (dropout.arm, dropout.keep, dropout.least) == ("explicit", 0.5, 3)  # as published
    assert (contrast.arm, contrast.contrast, contrast.keep) == ("explicit", 0.5, 1.0)
    identities = [str(reward.identity()) for reward in (plain, dropout, contrast) if reward]
    assert len(set(identities)) == 3
    assert all(named(name).design.tier == 2 for name in ("explicit, contrast 0.5",))


def test_the_policy_is_asked_about_held_out_tasks_and_a_pair_of_each() -> None:
    def of(arm: str, fold: int = 0, seed: int = 0) -> Likelihoods:
        unit = named(arm, fold, seed)
        return run.likelihoods_of(unit, run.tasks_of(unit)[1])

    asked = [of("explicit", fold) for fold in (0, 1)]
    ids = {task.id for one in asked for task in one.tasks}
    assert len(ids) == 2 * run.INNER_TASKS
    assert ids <= {pair.task_id for pair in load_mini_pairs("all")}
    for one in asked:
        assert [pair.task_id for pair in one.pairs] == [task.id for task in one.tasks]
        assert not any(task.context for task in one.tasks)  # notes hold the reference's sentences
    assert of("explicit, closed book").made_of == asked[0].made_of
    assert of("rlvr").made_of == asked[0].made_of  # the same question to every arm
    assert asked[0].steps == run.looks_of(named("explicit"))
    assert of("explicit", seed=1).steps == [0, run.SETTINGS.steps]
    known = run.likelihoods_of(named("explicit"), run.tasks_of(named("explicit"))[1], known={})
    assert known.steps == run.looks_of(named("explicit"))[1:]


def of_base(**changes: Any) -> dict[str, Any]:
    """What ``base`` leaves with the first seed, made here by this policy."""
    unit = named("base")
    found = unit_file(unit, "An answer before training.")
    versions = run.packages(("torch", "trl"))
    found |= {**origin.here(), "settings": unit.settings.model_dump(mode="json")}
    found |= {"asked": run.asked(run.tasks_of(unit)[1])}
    return found | {"decides": {"code": "c", "versions": versions}, **changes}


@pytest.mark.parametrize(
    ("unit", "changes", "taken"),
    [
        (named("explicit"), {}, True),
        (named("explicit", seed=2), {}, True),
        (named("base", seed=1), {}, True),
        (named("base"), {}, False),  # it is the one that measures
        (named("explicit", fold=1), {}, False),  # other tasks; its base is not done
        (named("explicit, closed book"), {}, False),  # asks without notes
        (run.pilots({"steps": 3})[1], {}, False),
        (named("explicit"), {"machine": "another"}, False),
        (named("explicit"), {"number format": "float16"}, False),
        (named("explicit"), {"decides": {"code": "c", "versions": {"torch": "0.1"}}}, False),
        (named("explicit"), {"settings": {"policy": "another"}}, False),
        (named("explicit"), {"asked": "other questions"}, False),
    ],
)
def test_the_look_before_training_is_that_of_base_where_it_is_the_same(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    unit: Unit,
    changes: dict[str, Any],
    taken: bool,
) -> None:
    monkeypatch.setattr(run, "HERE", tmp_path)
    assert run.untrained(unit) is None  # nothing is done yet
    found = of_base(**changes)
    store.save(named("base").path, found)
    look = run.untrained(unit)
    assert (look is not None) == taken
    if look is not None:
        assert dict(look) == {k: found["looks"][0][k] for k in ("step", "answers", "likelihoods")}


def test_a_graded_look_of_base_hands_on_its_answers_and_not_its_grades(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "HERE", tmp_path)
    store.save(named("base").path, graded(named("base"), of_base()))
    look = run.untrained(named("implicit"))
    assert look is not None
    assert "graded" not in look


@pytest.mark.fault
def test_a_judge_grades_the_first_and_last_look_by_the_whole_rubric_and_never_sees_notes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unit = named("explicit, keep 0.5", seed=1)
    few = run.tasks_of(unit)[1][:4]
    monkeypatch.setattr(run, "tasks_of", lambda _: ([], few))
    task = few[0]
    assert task.rubric is not None
    broken = task.rubric.criteria[1].description

    def answer(request: Reply, _: int) -> Reply:
        text = request["messages"][-1]["content"]
        assert "Notes:" not in text
        if broken in text:
            return says("?", tokens={"?": 1.0})
        return says("Yes", tokens={"Yes": 0.75, "No": 0.25})

    with server(answer) as scripted:
        judge = Judge(Chat(scripted.url, "scripted"))
        found = run.with_grades(unit, unit_file(unit, "An answer."), judge)
    assert [look["step"] for look in found["looks"] if "graded" in look] == [0, 12]
    by = found["graded_by"]
    assert {name: by[name] for name in ("judge", "engine", "calibration")} == {
        "judge": "scripted",
        "engine": "",
        "calibration": None,
    }
    assert {name: by[name] for name in origin.here()} == origin.here()
    assert by["seconds"] >= 0
    row = found["looks"][0]["graded"][task.id]
    expected = [0.75] * len(task.rubric.criteria)
    assert row["verdicts"] == [None if n == 1 else p for n, p in enumerate(expected)]
    assert row["score"] is None
    assert task.rubric.criteria[1].id in row["unscored"]
    others = [one for name, one in found["looks"][0]["graded"].items() if name != task.id]
    assert all(one["score"] is not None and "unscored" not in one for one in others)


def test_half_of_a_fold_is_graded_at_the_ends_and_a_quarter_along_the_course_of_one_seed() -> None:
    looks: list[dict[str, Any]] = [{"step": step} for step in (0, 3, 6)]
    unit = named("explicit")
    held_out = run.tasks_of(unit)[1]
    first, between, last = run.to_grade(unit, looks, held_out)
    assert [look["step"] for look, _ in (first, between, last)] == [0, 3, 6]
    assert first[1] == last[1] == run.graded_tasks(held_out)
    assert len(first[1]) == run.GRADED_TASKS == len(held_out) // 2
    assert between[1] == run.course_tasks(held_out)
    assert len(between[1]) == run.COURSE_TASKS
    assert {t.id for t in between[1]} < {t.id for t in first[1]} < {t.id for t in held_out}
    # The same tasks in every arm and seed, with notes and without.
    for other in (named("rlvr", seed=2), named("explicit, closed book")):
        ends = run.to_grade(other, looks, run.tasks_of(other)[1])[0][1]
        assert [task.id for task in ends] == [task.id for task in first[1]]
    later = run.to_grade(named("explicit", seed=2), looks, held_out)
    assert [look["step"] for look, _ in later] == [0, 6]


def test_the_record_can_not_be_made_with_tried_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["run", "--try", "steps=1"])
    with pytest.raises(SystemExit):
        run.main()


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Training and grading that cost nothing and say what they did."""
    done: list[str] = []

    def measure(unit: Unit, judge: Judge | None) -> dict[str, Any]:
        done.append(f"trained {unit.name}" + (" by a judge" if judge else ""))
        return unit_file(unit, "An answer.")

    def grades(unit: Unit, found: dict[str, Any], judge: Judge) -> dict[str, Any]:
        done.append(f"graded {unit.name}")
        return graded(unit, found)

    monkeypatch.setattr(run, "HERE", tmp_path)
    monkeypatch.setattr(run, "measure", measure)
    monkeypatch.setattr(run, "with_grades", grades)
    monkeypatch.setattr(run, "Judges", lambda _: lambda name: NOWHERE)
    return done


def test_units_are_trained_then_graded_and_never_twice(workshop: list[str]) -> None:
    units = [named("rlvr"), named("explicit")]
    run.advance(units, minutes=1, grading=False)
    explicit = "trained explicit-fold0-seed0 by a judge"
    assert workshop == ["trained rlvr-fold0-seed0", explicit]
    assert [run.state_of(unit) for unit in units] == ["trained"] * 2
    run.advance(units, minutes=1, grading=False)
    assert len(workshop) == 2
    run.advance(units, minutes=1, grading=True)
    assert workshop[2:] == ["graded rlvr-fold0-seed0", "graded explicit-fold0-seed0"]
    run.advance(units, minutes=1, grading=True)
    assert len(workshop) == 4
    assert [run.state_of(unit) for unit in units] == ["done"] * 2


def test_a_unit_that_the_judge_can_not_score_stops_none_of_the_others(
    workshop: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trains = run.measure

    def measure(unit: Unit, judge: Judge | None) -> dict[str, Any]:
        if unit.design.name == "implicit":
            raise UnscoredError("9 of 32 responses are unscored")
        return trains(unit, judge)

    monkeypatch.setattr(run, "measure", measure)
    run.advance([named("implicit"), named("rlvr")], minutes=1, grading=False)
    assert workshop == ["trained rlvr-fold0-seed0"]
    assert run.state_of(named("implicit")) == "to do"
    said = capsys.readouterr().out
    assert "implicit-fold0-seed0 is not trained: 9 of 32 responses are unscored" in said


def test_no_unit_is_begun_after_the_minutes(workshop: list[str]) -> None:
    run.advance([named("rlvr")], minutes=-1, grading=True)
    assert workshop == []


def test_the_command_lists_and_goes_on(
    workshop: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["run", "--arms", "rlvr", "length"]
    monkeypatch.setattr("sys.argv", [*command, "--ungraded", "--minutes", "1"])
    run.main()
    assert len(workshop) == 12
    monkeypatch.setattr("sys.argv", ["run", "--arms", "rlvr", "base", "--list"])
    capsys.readouterr()
    run.main()
    *lines, said, other = capsys.readouterr().out.splitlines()
    assert len(lines) == 12
    assert said.startswith("done 0 of 12 units (6 more trained, not graded); ")
    assert other.startswith("6 trained on 2 cores, float32: not put together with what is trained")
    assert {line.split()[0].split("-")[0]: line.split()[-1] for line in lines} == {
        "rlvr": "trained",
        "base": "do",
    }
