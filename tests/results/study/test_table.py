"""What results/study decides, on answers worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest
from studied import START, found, named, unit_file

from rar_lib.book import claims
from results.study import run, table
from results.study.run import Unit


def recorded(shares: dict[str, float], seeds: int = 3, **change: Any) -> dict[str, Any]:
    units = [named(arm, fold, seed) for arm in shares for fold in (0, 1) for seed in range(seeds)]
    tasks = [task for fold in (0, 1) for task in run.tasks_of(named("base", fold))[1]]
    return table.record(
        {unit: found(unit, shares[unit.design.name], **change) for unit in units}, tasks
    )


def test_the_outcome_of_an_early_pilot_is_still_what_it_was() -> None:
    early, late = (run.pilots(tried)[1] for tried in ({"steps": 3}, {"notes": "own"}))
    answers = {task.id: task.context for task in run.tasks_of(early)[1]}  # all notes, copied
    assert set(table.outcomes(early, answers).values()) == {0.0}
    assert set(table.outcomes(late, answers).values()) == {1.0}


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
