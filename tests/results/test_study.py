"""What results/study trains, records and decides, on answers worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from scripted import Reply, says, server

from rar_lib.book import claims
from rar_lib.core.errors import DataError, UnscoredError
from rar_lib.core.prompts import policy_messages
from rar_lib.core.types import Grade, Verdict
from rar_lib.data.tasks import load_mini, load_mini_pairs
from rar_lib.evaluation.notes import conveyed, split
from rar_lib.judging.chat import Chat
from rar_lib.judging.judge import Judge
from rar_lib.judging.messages import prompts_of
from rar_lib.training.policy import Likelihoods
from rar_lib.training.rewards import RubricReward, VerifiableReward
from results.rubrics import write as rubrics
from results.study import origin, pilot, repeat, run, store, table
from results.study.run import Unit

START = {"machine": "2 cores", "number format": "float32"}
ORIGIN: dict[str, Any] = {
    **START,
    "starts": [START],
    "versions": {"torch": "1"},
    "decides": {"code": "c0de", "versions": {"torch": "1"}},
    "settings": run.SETTINGS.model_dump(mode="json"),
    "calibration": None,
}


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
        **ORIGIN,
        "decides": decided(unit),
    }


def decided(unit: Unit) -> dict[str, Any]:
    """What a unit of the study says that it was made by."""
    by = {**ORIGIN["decides"], "reward": run.paid_by(unit)}
    return {**by, **run.digests_of_tasks(unit)}


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


def test_the_outcome_of_an_early_pilot_is_still_what_it_was() -> None:
    early, late = (run.pilots(tried)[1] for tried in ({"steps": 3}, {"notes": "own"}))
    answers = {task.id: task.context for task in run.tasks_of(early)[1]}  # all notes, copied
    assert set(table.outcomes(early, answers).values()) == {0.0}
    assert set(table.outcomes(late, answers).values()) == {1.0}


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


def test_differences_are_shares_of_the_way_to_the_references() -> None:
    record = recorded({"base": 0.0, "implicit": 0.5})
    assert record["way"] == 1.0  # a reference conveys its own sentences, silence none
    gain = record["findings"]["training.implicit_over_base"]
    assert gain["word"] == "supported"
    assert gain["difference"]["value"] == pytest.approx(0.5, abs=0.01)
    trained = next(run for run in record["runs"] if run["arm"] == "implicit")
    assert trained["change"]["conveyed"]["n"] == 160
    assert trained["course"]["12"] == pytest.approx(0.5, abs=0.01)


def test_an_arm_without_three_seeds_decides_nothing() -> None:
    words = recorded({"base": 0.0, "implicit": 0.5}, seeds=2)["findings"]
    assert words["training.implicit_over_base"]["word"] == "not testable here"
    assert words["training.implicit_over_explicit"]["word"] == "not testable here"


@pytest.mark.parametrize("change", [{"kl": 1.2}, {"unscored": 0.06}])
def test_a_run_out_of_bounds_is_shown_and_decides_nothing(change: dict[str, float]) -> None:
    record = recorded({"base": 0.0, "implicit": 0.5}, **change)
    assert all(run["stray"] for run in record["runs"] if run["arm"] == "implicit")
    assert record["findings"]["training.implicit_over_base"]["word"] == "not testable here"


def elsewhere(arm: str, seed: int | None = None) -> dict[str, Any]:
    """A record in which one arm, or one seed of it, was trained on another machine."""
    shares = {"base": 0.0, "implicit": 0.5, "explicit": 0.2}
    units = [named(a, fold, s) for a in shares for fold in (0, 1) for s in range(3)]
    done = {unit: found(unit, shares[unit.design.name]) for unit in units}
    for unit, one in done.items():
        if unit.design.name == arm and seed in (None, unit.seed):
            one["starts"] = [START | {"machine": "4 cores"}]
    return table.record(done, [t for f in (0, 1) for t in run.tasks_of(named("base", f))[1]])


@pytest.mark.parametrize("seed", [None, 1])
@pytest.mark.parametrize("arm", ["implicit", "explicit"])
def test_arms_of_two_machines_are_not_set_against_each_other(arm: str, seed: int | None) -> None:
    words = elsewhere(arm, seed)["findings"]
    for contrast, arms in (
        ("implicit_over_explicit", {"implicit", "explicit"}),
        ("implicit_over_base", {"implicit", "base"}),
        ("explicit_over_base", {"explicit", "base"}),
    ):
        one = words[f"training.{contrast}"]
        if arm in arms:
            assert one["word"] == "not testable here"
            assert "4 cores" in one["reason"]
            assert "2 cores" in one["reason"]
        else:
            assert one["word"] == "supported"


def test_an_arm_without_a_run_of_the_untrained_policy_is_set_against_its_own_start() -> None:
    record = recorded({"implicit": 0.5})
    gain = record["findings"]["training.implicit_over_base"]
    assert gain["word"] == "supported"
    assert gain["difference"]["value"] == pytest.approx(0.5, abs=0.01)


def test_half_of_a_seed_is_no_run_of_the_record() -> None:
    unit = named("implicit")
    with pytest.raises(SystemExit, match="both folds"):
        table.record({unit: found(unit, 0.5)}, [])


def test_the_ledger_asks_for_what_the_study_decides_and_for_nothing_else() -> None:
    declared: dict[str, set[str]] = {}
    for claim in claims.load().claims:
        for source in claim.sources:
            if source.record == "arms":
                declared.setdefault(source.key, set()).update(source.runs)
    decided = table.CONTRASTS | table.FURTHER
    ours = {f"training.{name}": set(pair) for name, pair in decided.items()}
    # Each claim's arms are those of the contrast, none waits for a key that no script writes.
    assert declared == {key: ours.get(key) for key in declared}
    # Not claims of the paper, but what one must know to read the others.
    assert set(ours) - set(declared) == {
        "training.rule_over_base",
        "training.length_over_base",
        "training.explicit_over_length",
        "training.contrast_over_plain",
        "training.dropout_over_plain",
    }
    assert not set(table.CONTRASTS) & set(table.FURTHER)
    arms = {name for pair in (*table.CONTRASTS.values(), *table.FURTHER.values()) for name in pair}
    assert arms <= {design.name for design in run.DESIGNS}


def test_the_claims_of_the_study_are_corrected_for_one_another_and_for_nothing_else() -> None:
    def p_holm(further: float) -> dict[str, float]:
        shares = {"base": 0.0, "implicit": 0.02, "explicit": 0.02, "rlvr": further}
        found = recorded(shares)["findings"]
        return {name: f["p_holm"] for name, f in found.items() if f.get("p_holm") is not None}

    few = p_holm(0.0)
    more = p_holm(0.9)
    declared = [f"training.{name}" for name in table.CONTRASTS if f"training.{name}" in few]
    assert len(declared) >= 2
    assert [few[name] for name in declared] == [more[name] for name in declared]


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


NOWHERE = Judge(Chat("http://127.0.0.1:1/v1", "nobody"))


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


HOSTILE = 'Line one\nline two\u2028"quoted" \\ \x85 \r\n <b>{"step": 0}</b> \u00e9\u4e2d'


def unit_file(unit: Unit, answer: str = HOSTILE) -> dict[str, Any]:
    """A unit with every look, as it is when it is trained; each answer is the same text."""
    tasks = run.tasks_of(unit)[1]
    asked = run.likelihoods_of(unit, tasks)
    values = {task.id: -3.0512 for task in asked.tasks}
    task_ids = [task.id for task in tasks]
    pair_ids = [pair.id for pair in asked.pairs]
    steps = range(0, run.SETTINGS.steps + 1, unit.look_every)
    looks = [
        {
            "step": step,
            "answers": dict.fromkeys(task_ids, answer),
            "likelihoods": {
                "reference": values,
                "with_rubric": values,
                "margin": dict.fromkeys(pair_ids, 0.1234),
            },
        }
        for step in steps
    ]
    row = {
        **dict.fromkeys(("mean", "mean_plain", "spread", "unscored", "flat_groups"), 0.1234567891),
        **dict.fromkeys(("flat_mass", "length", "length_correlation"), 0.1234567891234567),
        **dict.fromkeys(("entropy", "kl_to_base"), 0.1234567891234567),
    }
    return {
        "arm": unit.design.name,
        "fold": unit.fold,
        "seed": unit.seed,
        "seconds": 1.0,
        "date": "2026-01-01",
        "calibration": None,
        "steps": [{"step": n, **row} for n in range(run.SETTINGS.steps)],
        "looks": looks,
        **ORIGIN,
        "versions": {f"package-{n}": "1.2.3" for n in range(20)},
    }


def graded(unit: Unit, found: dict[str, Any]) -> dict[str, Any]:
    """As a judge leaves it that gives every criterion three digits."""
    for look, tasks in run.to_grade(unit, found["looks"], run.tasks_of(unit)[1]):
        look["graded"] = {
            task.id: {"score": 0.1234, "verdicts": [0.123] * len(task.rubric.criteria)}
            for task in tasks
            if task.rubric
        }
    return found | {"graded_by": {"judge": "j", "engine": "", "calibration": None, **START}}


def test_a_unit_comes_back_from_its_file_whatever_the_policy_wrote(tmp_path: Path) -> None:
    unit = named("explicit")
    found = graded(unit, unit_file(unit))
    first = next(iter(found["looks"][0]["graded"].values()))
    first |= {"score": None, "unscored": "c02: no readable reply", "verdicts": [0.5, None]}
    store.save(tmp_path / "unit.jsonl", found)
    assert store.load(tmp_path / "unit.jsonl") == found
    lines = (tmp_path / "unit.jsonl").read_text(encoding="utf-8").strip("\n").split("\n")
    assert len(lines) == 1 + 5 * 80
    assert store.head(tmp_path / "unit.jsonl")["graded_by"]["judge"] == "j"


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"looks": []}\n{"step": 0}', "{"])
def test_a_file_that_is_no_unit_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "broken.jsonl").write_text(text)
    with pytest.raises(DataError, match=r"broken\.jsonl is no unit of the study"):
        store.load(tmp_path / "broken.jsonl")


def test_a_full_record_stays_within_its_size(tmp_path: Path) -> None:
    """Every unit with answers as long as the most tokens of this policy get."""
    # Six characters a token; English has about four and a half.
    answer = "012345" * run.SETTINGS.max_completion
    total = 0
    sizes: dict[tuple[str, int], int] = {}
    for unit in run.units():
        kind = (str(unit.design.closed), unit.seed)  # what the size depends on
        if kind not in sizes:
            store.save(tmp_path / "unit.jsonl", graded(unit, unit_file(unit, answer)))
            sizes[kind] = (tmp_path / "unit.jsonl").stat().st_size
        total += sizes[kind]
    assert len(run.units()) == 108
    assert 5_000_000 < total <= store.LARGEST
    there = sum(path.stat().st_size for path in (run.HERE / "units").glob("*"))
    assert there <= store.LARGEST


def test_an_answers_line_says_what_each_verdict_was_and_why_one_is_missing() -> None:
    verdicts = (
        Verdict(criterion_id="a", met=True, probability=0.87654),
        Verdict(criterion_id="b", met=None, reason="no readable reply"),
        Verdict(criterion_id="c", met=False),  # sampled: it has no probability
    )
    whole = Grade(arm="explicit", score=0.123456, verdicts=verdicts[::2])
    assert store.graded(whole) == {"score": 0.1235, "verdicts": [0.877, 0.0]}
    failed = Grade(arm="explicit", score=None, verdicts=verdicts, reason="b: no readable reply")
    assert store.graded(failed) == {
        "score": None,
        "verdicts": [0.877, None, 0.0],
        "unscored": "b: no readable reply",
    }


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


def test_the_record_can_not_be_made_with_tried_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["run", "--try", "steps=1"])
    with pytest.raises(SystemExit):
        run.main()


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


def judged(unit: Unit, before: float | None, after: float | None) -> dict[str, Any]:
    """A unit whose tasks have these scores, and likelihoods that move by the same."""
    found = unit_file(unit, "An answer.")
    found["looks"] = [found["looks"][0], found["looks"][-1]]
    for look, value in zip(found["looks"], (before, after), strict=True):
        look["graded"] = {task: {"score": value, "verdicts": []} for task in look["answers"]}
        inner = look["likelihoods"]
        inner["reference"] = {task: -3.0 + (value or 0.0) for task in inner["reference"]}
        inner["with_rubric"] = {task: -2.0 for task in inner["with_rubric"]}
        inner["margin"] = {pair: 0.1 - (value or 0.0) for pair in inner["margin"]}
    return found


def test_secondary_outcomes_by_hand() -> None:
    parts = [judged(named("implicit", fold), 0.25, 0.5) for fold in (0, 1)]
    found = table.secondary(parts)
    means = {name: (row["before"], row["after"]) for name, row in found.items()}
    assert means == {
        "explicit": pytest.approx((0.25, 0.5)),
        "reference": pytest.approx((-2.75, -2.5)),
        "gap": pytest.approx((0.75, 0.5)),  # the rubric tells the policy less than it did
        "margin": pytest.approx((-0.15, -0.4)),
    }
    sizes = {name: row["change"]["n"] for name, row in found.items()}
    assert sizes == {"explicit": 160, "reference": 40, "gap": 40, "margin": 40}
    assert found["gap"]["change"]["value"] == pytest.approx(-0.25)
    course = table.secondary_course(parts)
    assert set(course) == set(means)
    assert course["reference"] == {"0": pytest.approx(-2.75), "12": pytest.approx(-2.5)}


def test_a_course_is_over_the_tasks_that_were_measured_at_each_of_its_looks() -> None:
    def look(step: int, scores: dict[str, float | None]) -> dict[str, Any]:
        return {"step": step, "graded": {task: {"score": s} for task, s in scores.items()}}

    ends = {"a": 0.2, "b": 0.9}
    looks = [look(0, ends), look(3, {"a": 0.4}), {"step": 6}, look(9, {"a": 0.6, "b": 0.0})]
    found = table.secondary_course([{"looks": looks}])
    assert found == {"explicit": {"0": 0.2, "3": 0.4, "9": 0.6}}


def test_an_outcome_that_nobody_could_judge_is_left_out_and_never_0() -> None:
    parts = [judged(named("implicit", fold), 0.25, None if fold else 0.5) for fold in (0, 1)]
    found = table.secondary(parts)["explicit"]
    assert (found["before"], found["after"]) == (0.25, 0.5)
    assert found["unscored"] == found["change"]["n"] == 80
    nobody = table.secondary([judged(named("implicit"), 0.25, None)])
    assert "explicit" not in nobody
    assert table.secondary_course([judged(named("implicit"), 0.25, None)])["explicit"] == {
        "0": 0.25
    }
    bare = [{"looks": [{"step": 0, "answers": {}}]}]
    assert table.secondary(bare) == table.secondary_course(bare) == {}


def test_a_contrast_counts_the_trainings_of_both_halves() -> None:
    found = recorded({"base": 0.0, "implicit": 0.6})["findings"]["training.implicit_over_base"]
    assert (found["seeds"]["n"], found["seeds"]["folds"]) == (3, 2)


def test_a_unit_that_is_trained_again_is_compared_answer_by_answer() -> None:
    def unit(*looks: tuple[int, dict[str, str]], code: str = "a") -> dict[str, Any]:
        return {
            "arm": "rlvr",
            "looks": [{"step": step, "answers": answers} for step, answers in looks],
            "decides": {"code": code * 40, "versions": {"torch": "1"}},
            "machine": "2 cores",
            "number format": "float32",
            "date": "2026-01-01",
            "seconds": 60.0,
        }

    before = unit((0, {"t1": "one", "t2": "two"}), (12, {"t1": "three", "t2": ""}))
    now = unit((0, {"t1": "one", "t2": "two"}), (12, {"t1": "three.", "t2": ""}), code="b")
    found = repeat.compared(before, now)
    assert found["looks"] == [
        {"step": 0, "answers": 2, "same": 2},
        {"step": 12, "answers": 2, "same": 1},
    ]
    assert (found["arm"], found["code"]) == ("rlvr", ["a" * 12, "b" * 12])
    with pytest.raises(DataError, match="the looks differ in step or tasks: 12 and 9"):
        repeat.compared(before, unit((0, before["looks"][0]["answers"]), (9, {"t1": ""})))
    # A look that was copied from the untrained policy's unit is no evidence.
    assert repeat.compared(before, now, copied=True)["looks"] == found["looks"][1:]


def test_only_what_is_recorded_is_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "HERE", tmp_path)
    with pytest.raises(DataError, match="rlvr-fold0-seed0 is not on record"):
        repeat.again(next(one for one in run.units() if one.name == "rlvr-fold0-seed0"))
