"""Recorded studies: absent, read, averaged over seeds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rar_lib.book import results
from rar_lib.core.errors import DataError
from rar_lib.core.files import file_hash
from rar_lib.evaluation.attacks import load_attacks, success_rate


def run(arm: str, seed: int, after: dict[str, float | None], **more: Any) -> dict[str, Any]:
    before = {"t1": 0.2, "t2": 0.4}
    graded = {"judge": {"before": before, "after": after}}
    return {"arm": arm, "seed": seed, "keep": 1.0, "held_out": graded} | more


RUNS = [
    run("implicit", 0, {"t1": 0.4, "t2": 0.5}),
    run("implicit", 1, {"t1": 0.6, "t2": None}),
    run("implicit", 0, {"t1": 0.3, "t2": 0.3}, keep=0.5),
    {"arm": "base", "seed": 0},
]


def checkout(folder: Path, name: str, value: Any) -> Path:
    (folder / "results").mkdir()
    (folder / "results" / f"{name}.json").write_text(json.dumps(value))
    return folder


def test_lines_beside_a_record_are_read_and_remembered_as_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "results" / "alignment").mkdir(parents=True)
    file = tmp_path / "results" / "alignment" / "judge-a.jsonl"
    file.write_text('{"n": 1}\n{"text": "one\u2028line"}\n', encoding="utf-8")
    monkeypatch.setattr(results, "work", lambda: tmp_path)
    assert results.lines("judge-a.jsonl", tmp_path) == [{"n": 1}, {"text": "one\u2028line"}]
    assert results.lines("judge-b.jsonl", tmp_path) == []
    asked = [json.loads(line) for line in (tmp_path / results.READS).read_text().splitlines()]
    assert [(one["name"], one["sha256"]) for one in asked] == [
        ("judge-a.jsonl", file_hash(file)),
        ("judge-b.jsonl", None),
    ]
    assert results.find("judge-a.jsonl", tmp_path) == file


def test_what_is_not_recorded_is_none_and_not_an_error(tmp_path: Path) -> None:
    assert results.arms(tmp_path) is None
    assert results.attacks(tmp_path) is None


def test_a_study_is_its_runs(tmp_path: Path) -> None:
    assert results.arms(checkout(tmp_path, "arms", {"runs": RUNS})) == RUNS


ORIGIN = {"machine": "two cores", "versions": {"torch": "2"}}


def test_a_run_carries_the_origin_of_its_record_unless_it_names_its_own(tmp_path: Path) -> None:
    own = {"arm": "implicit", "seed": 1, "machine": "four cores"}
    record = ORIGIN | {"runs": [{"arm": "base", "seed": 0}, own]}
    found = results.arms(checkout(tmp_path, "arms", record))
    assert found == [{"arm": "base", "seed": 0} | ORIGIN, own | {"versions": {"torch": "2"}}]


@pytest.mark.parametrize("other", [{"machine": "four cores"}, {"versions": {"torch": "3"}}])
def test_runs_of_several_machines_or_versions_are_not_put_together(other: dict[str, Any]) -> None:
    """The same seed trains another policy on another processor."""
    one = run("implicit", 0, {"t1": 0.4}) | ORIGIN
    two = run("implicit", 1, {"t1": 0.5}) | ORIGIN | other
    assert results.held_out([one, two | ORIGIN])
    with pytest.raises(DataError, match=next(iter(other))):
        results.held_out([one, two])


def seeded(arm: str, *seeds: int) -> list[dict[str, Any]]:
    return [{"arm": arm, "seed": seed} for seed in seeds]


FULL = ORIGIN | {"runs": seeded("implicit", 0, 1, 2) + seeded("explicit", 1, 2, 0)}
BOTH = ("implicit", "explicit")


def test_a_record_of_three_common_seeds_of_one_machine_lacks_nothing() -> None:
    assert results.lacking(FULL, BOTH) == ""
    untrained = FULL | {"runs": FULL["runs"] + seeded("base", 0)}
    assert results.lacking(untrained, ("implicit", "base")) == ""
    assert results.seeds_of(untrained["runs"], ("implicit", "base")) == [0, 1, 2]


@pytest.mark.parametrize(
    ("record", "arms", "says"),
    [
        (None, BOTH, "no training run is recorded"),
        (FULL, ("implicit", "predefined"), "no run of predefined is recorded"),
        (FULL, ("rlvr", "predefined"), "no run of rlvr and of predefined is recorded"),
        (FULL | {"runs": FULL["runs"][:-1]}, BOTH, "recorded with 2 common seeds, 3 are needed"),
        (
            FULL | {"runs": seeded("implicit", 0, 1, 2) + seeded("explicit", 2, 3, 4)},
            BOTH,
            "recorded with 1 common seed, 3 are needed",
        ),
        (
            {"versions": {"torch": "2"}, "runs": [FULL["runs"][0] | ORIGIN, *FULL["runs"][1:]]},
            BOTH,
            "the recorded runs do not name their machine",
        ),
        (FULL | {"machine": ""}, BOTH, "the recorded runs do not name their machine"),
        (FULL | {"versions": {}}, BOTH, "the recorded runs do not name their versions"),
    ],
)
def test_what_a_record_lacks_is_said(
    record: dict[str, Any] | None, arms: tuple[str, str], says: str
) -> None:
    assert results.lacking(record, arms) == says


def test_a_seed_that_a_record_sets_apart_is_named_where_it_is_missed() -> None:
    apart = [
        {"arm": "explicit", "seed": 0, "why": "it was continued elsewhere"},
        {"arm": "rlvr", "seed": 0, "why": "it is another arm's"},
    ]
    record = FULL | {"runs": FULL["runs"][:-1], "apart": apart}
    assert results.lacking(record, BOTH) == (
        "recorded with 2 common seeds, 3 are needed; set apart is explicit with seed 0: it was "
        "continued elsewhere"
    )
    assert results.lacking(record, ("implicit", "rlvr")) == (
        "no run of rlvr is recorded; set apart is rlvr with seed 0: it is another arm's"
    )
    assert results.lacking(FULL | {"apart": apart}, BOTH) == ""


def test_a_record_of_two_machines_names_both() -> None:
    runs = [*FULL["runs"][:-1], FULL["runs"][-1] | {"machine": "four cores"}]
    said = results.lacking(FULL | {"runs": runs}, BOTH)
    assert "two cores" in said
    assert "four cores" in said


def test_seeds_are_averaged_task_by_task_and_an_unscored_one_stays_unscored() -> None:
    scores = results.held_out(RUNS)["judge"]
    assert list(scores) == ["base", "implicit", "implicit, keep 0.5"]
    assert scores["base"] == {"t1": pytest.approx(0.2), "t2": pytest.approx(0.4)}
    assert scores["implicit"] == {"t1": pytest.approx(0.5), "t2": None}
    assert scores["implicit, keep 0.5"] == {"t1": 0.3, "t2": 0.3}


def test_runs_without_notes_do_not_move_the_base_of_the_others() -> None:
    graded = {"judge": {"before": {"t1": 0.9, "t2": 0.9}, "after": {"t1": 0.9, "t2": 0.9}}}
    closed = RUNS[0] | {"arm": "implicit, closed book", "closed": True, "held_out": graded}
    assert results.held_out([*RUNS, closed]) == results.held_out(RUNS)


TASKS = [f"t{n}" for n in range(20)]


def moved(arm: str, seed: int, by: float, **more: Any) -> dict[str, Any]:
    """A run whose answers gain as much on every task."""
    graded = {"before": dict.fromkeys(TASKS, 0.2), "after": dict.fromkeys(TASKS, 0.2 + by)}
    return {"arm": arm, "seed": seed, "held_out": {"judge": graded}} | ORIGIN | more


def test_the_gain_of_an_arm_is_told_over_its_seeds_and_tasks() -> None:
    """Tasks move alike, so all of the error is that of three seeds: 0.1 / sqrt(3), by t(2)."""
    arms = [moved("implicit", seed, by) for seed, by in enumerate((0.1, 0.2, 0.3))]
    few = [moved("explicit", 0, 0.3), moved("explicit", 1, 0.3)]
    other = [moved("rlvr", seed, 0.1, closed=True) for seed in range(3)]
    still = [moved("base", seed, 0.0) for seed in range(3)]
    found = results.over_seeds([*arms, *few, *other, *still], "judge")
    assert list(found) == ["implicit"]
    one = found["implicit"]
    assert one.value == pytest.approx(0.2)
    assert one.high - one.value == pytest.approx(4.3027 * 0.1 / 3**0.5, rel=1e-3)
    assert one.n == len(TASKS)
    assert results.over_seeds(arms, "nobody") == {}
    arms[2] = moved("implicit", 2, 0.3, machine="another")
    with pytest.raises(DataError, match="machine of seed 2 differ"):
        results.over_seeds(arms, "judge")


def test_recorded_attacks_are_results_again(tmp_path: Path) -> None:
    real = next(a for a in load_attacks() if a.family == "verdict")
    rejected = {"attacks": {real.id: [0.2, 0.0, None], "gone-since": [1.0] * 3}, "unknown": []}
    judges = {"qwen/implicit/strip": {"rejected": rejected}}
    found = results.attacks(checkout(tmp_path, "attacks", {"judges": judges}))
    assert found is not None
    (result,) = found["qwen", "implicit", "strip"]
    assert result.attack == real
    assert result.gains == (0.2, 0.0, None)
    rate = success_rate([result])
    assert rate is not None
    assert rate.value == pytest.approx(1 / 3)


def test_a_result_that_was_not_recorded_is_none_and_a_recorded_one_says_when(
    tmp_path: Path,
) -> None:
    assert results.load("judges", tmp_path) is None
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "judges.json").write_text('{"date": "2026-01-02", "machine": "two"}')
    found = results.load("judges", tmp_path)
    assert found is not None
    assert results.origin(found) == "recorded on 2026-01-02, two"
