"""The table of goals: what is met, what is missed by how much and why, what nobody has measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rar_lib.models.catalogue import MODELS
from results import goals, times
from results.judge_profile import GROUPS, OTHER, factors
from results.judges import table as judges_table

RECORD = json.loads(goals.RESULTS.read_text(encoding="utf-8"))
NOTHING: dict[str, Any] = dict.fromkeys(goals.RECORDS)
FAST = "A, AVX-512 with bf16"
SLOW = "B, AVX2"
XEON = "C, AMX"
#: Of each goal a word of its own and what it asks: none of them gets lost or easier unseen.
ASKED = {
    ("make reproduce from empty caches", "at most 40 min", "without AMX"),
    ("make reproduce from empty caches", "at most 25 min", "with AMX"),
    ("peak memory", "at most 12 GB", "any"),
    ("longest chapter", "at most 8 min", "without AMX"),
    ("make test from empty caches", "at most 15 min", "any"),
    ("disk after", "at most 9 GB", "any"),
    ("nothing changed", "at most 5 s", "any"),
    ("first forecast", "at most 30 %", "any"),
    ("over those of autorubric", "at least 10 times", "any"),
    ("AUC of these verdicts", "at least 0", "any"),
    ("over those of the HealthBench way", "at least 12 times", "any"),
    ("beside other graders", "at least 0.75", "any"),
    ("in profiled runs", "at least 0.75", "any"),
    ("GRPO step of stock TRL", "at least 8 times", "any"),
    ("simulated seconds", "as its record says", "any"),
}


def found(goal: str, **records: Any) -> list[dict[str, Any]]:
    """The rows of the goals with these words in their name."""
    rows = goals.table(NOTHING | records)["rows"]
    chosen = [row for row in rows if goal in row["goal"]]
    assert chosen
    return chosen


def reproduced(**kinds: dict[str, Any]) -> dict[str, Any]:
    """A record of times of the command, by ``fast``, ``slow`` and ``xeon``."""
    names = {"fast": FAST, "slow": SLOW, "xeon": XEON}
    return {"reproduce": {names[kind]: row for kind, row in kinds.items()}}


# --- what is declared


def test_no_goal_is_lost_and_none_is_easier() -> None:
    rows = {(row["goal"], row["asks"], row["processor"]) for row in goals.table(NOTHING)["rows"]}
    assert len(rows) == len(ASKED) == len(goals.GOALS)
    for name, asks, processors in ASKED:
        assert [row for row in rows if name in row[0] and row[1:] == (asks, processors)], name


def test_every_goal_stands_in_the_record() -> None:
    assert {row["goal"] for row in RECORD["rows"]} == {goal.name for goal in goals.GOALS}


def test_the_record_is_what_its_script_computes_from_the_others() -> None:
    fresh = json.loads(json.dumps(goals.table(goals.recorded())))
    assert fresh == RECORD, "run: .venv/bin/python -m results.goals"
    words = [row["word"] for row in RECORD["rows"]]
    assert RECORD["counts"] == {word: words.count(word) for word in set(words)}


def test_the_names_are_those_of_the_other_scripts() -> None:
    known = {*times.SETS, "no AVX2"}
    assert known >= {goals.AMX, *goals.IN_FLOAT32, *goals.WITH_INT8}
    for name, flags in times.SETS.items():  # bfloat16 products come with AVX-512
        assert (name in goals.IN_FLOAT32) == (flags == {"avx2"})
    assert judges_table.OURS[0] == goals.OWN
    assert {"autorubric", "healthbench"} <= set(judges_table.PEERS)


# --- met, missed, not measured


def test_without_any_record_nothing_is_measured_and_each_row_says_what_is_missing() -> None:
    whole = goals.table(NOTHING)
    assert whole["counts"] == {"not measured here": len(goals.GOALS)}
    for row in whole["rows"]:
        assert row["why"] == f"{row['record']} is not there."
        assert row["value"] is row["ratio"] is row["measured"] is None


@pytest.mark.parametrize(
    ("seconds", "word", "ratio", "outcome"),
    [
        (1200.0, "met", 0.5, "met"),
        (2400.0, "met", 1.0, "met"),  # the bound itself is allowed
        (3600.0, "missed", 1.5, "missed: 1.500 times the 40 min allowed"),
        (2404.8, "missed", 1.002, "missed: 1.002 times the 40 min allowed"),
    ],
)
def test_a_run_is_held_against_its_bound(
    seconds: float, word: str, ratio: float, outcome: str
) -> None:
    row = {"cold_s": seconds, "commit": "abc", "date": "2026-01-02"}
    rows = found("reproduce from empty", times=reproduced(fast=row))
    without, with_amx = [one for one in rows if "disk" not in one["goal"]]
    assert (without["word"], without["outcome"]) == (word, outcome)
    assert without["ratio"] == pytest.approx(ratio)
    assert without["processor"] == FAST
    assert without["at"] == "abc, 2026-01-02"
    assert without["measured"] == goals.shown(seconds / 60, "min")
    assert (without["why"] == "") is (word == "met")
    assert (with_amx["processor"], with_amx["word"]) == ("with AMX", "not measured here")


def test_tests_that_take_too_long_say_where_their_time_goes() -> None:
    took = {"tests/a": 60.0, "tests/b": 600.0, "tests/c": 6.0, "tests/d": 120.0, "tests/e": 30.0}
    row = {"seconds": 480.0, "folders": took, "commit": "abc"}
    kinds = {"test": {"X, AVX2": {"cold_s": 1200.0}}, "suite": {"X, AVX2": row}}
    (one,) = found("make test from empty caches", times=kinds)
    assert one["outcome"].startswith("missed")
    assert one["why"] == (
        "Of a run of the tests by themselves that took 8.0 min with two workers (abc), most went "
        "to tests/b 10 min, tests/d 2 min, tests/a 1 min and tests/e 0.5 min, counted in minutes "
        "of a worker."
    )


def test_a_bound_for_amx_is_for_amx_alone() -> None:
    of = {"cold_s": 1600.0}  # above 25 minutes and below 40
    rows = found("make reproduce from empty", times=reproduced(fast=of, slow=of, xeon=of))
    rows = [row for row in rows if "disk" not in row["goal"]]
    assert [(row["processor"], row["word"]) for row in rows] == [
        (FAST, "met"),
        (SLOW, "met"),
        (XEON, "missed"),
    ]
    assert rows[-1]["why"] == "The cause was not taken apart."


def test_a_processor_that_one_command_ran_on_has_a_row_for_the_other() -> None:
    record = reproduced(fast={"cold_s": 60.0}) | {"test": {XEON: {"cold_s": 420.0}}}
    fast, xeon = found("make test", times=record)
    assert (fast["processor"], fast["word"], fast["at"]) == (FAST, "not measured here", "")
    assert fast["why"] == "results/times.json has no such figure of this processor."
    assert (xeon["word"], xeon["measured"]) == ("met", "7 min")


@pytest.mark.parametrize(("said", "word"), [(780.0, "met"), (710.0, "met"), (690.0, "missed")])
def test_a_forecast_is_held_against_what_its_chapters_took(said: float, word: str) -> None:
    chapters = {"laptop": {"01_x": 400.0, "02_y": 600.0}}
    record = reproduced(fast={"chapters": chapters, "forecast_s": said})
    (row,) = found("first forecast", times=record)
    assert row["value"] == pytest.approx(100 - said / 10)
    assert row["word"] == word
    (none,) = found("first forecast", times=reproduced(fast={"chapters": chapters}))
    assert none["word"] == "not measured here"


# --- why


def test_without_bfloat16_products_the_reason_is_the_product_of_the_machine() -> None:
    slow = {"cold_s": 9000.0, "gflops": 150.4, "chapters": {"laptop": {"02_x": 300.0}}}
    slow["chapters"]["laptop"]["09_z"] = 1200.0
    record = reproduced(slow=slow, fast={"gflops": 850.0, "chapters": {"laptop": {"02_x": 484.0}}})
    (cold,) = [row for row in found("make reproduce", times=record) if row["word"] == "missed"][:1]
    assert "runs at 150 GFLOP/s here and at 850 on A, AVX-512 with bf16." in cold["why"]
    fast, own = found("longest chapter", times=record)
    assert fast["why"] == "Over the bound: 02_x (8.07 min). The cause was not taken apart."
    assert own["why"].startswith("Over the bound: 09_z (20 min). This processor has no fast")
    assert "not taken apart" not in own["why"]


def test_a_server_that_alone_holds_too_much_is_named_where_it_computes_in_float32() -> None:
    passes = {"passes": [{"memory_gb": 12.61}, {"memory_gb": 12.52}]}
    servers = [
        {"model": name, "number format": kind, "allocators": {"mimalloc": passes}}
        for name, kind in (("large", "float32"), ("other", "bfloat16"))
    ]
    record = reproduced(slow={"memory_gb": 25.0}, fast={"memory_gb": 14.9})
    fast, slow = found("peak memory", times=record, allocator=servers)
    assert slow["why"].startswith("In float32 a server of large alone holds 12.6 GB")
    assert fast["why"].startswith("The figure is of the whole machine")
    assert fast["why"].endswith("Which process held how much was not taken apart.")
    (without,) = found("peak memory", times=reproduced(slow={"memory_gb": 25.0}))
    assert "server" not in without["why"]


def test_the_weights_on_disk_are_those_that_such_a_processor_takes() -> None:
    record = reproduced(slow={"disk_gb": 11.2}, fast={"disk_gb": 9.9})
    fast, slow = found("disk", times=record)
    own, base = (MODELS[name].converted / 1e9 for name in ("qwen-1.5b-int8", "qwen-1.5b"))
    said = [
        goals.weights(goals.Reading(name, None, {"disk_gb": size}), NOTHING)
        for name, size in ((FAST, 9.9), (SLOW, 11.2))
    ]
    assert said[1]["converted"] - said[0]["converted"] == pytest.approx(base - own)
    assert said[0]["download"] == said[1]["download"]
    for row, of in zip((fast, slow), said, strict=True):
        assert f"Weights take {of['weights']:.1f} GB of it" in row["why"]
        assert f"{of['environment']:.1f} GB for .venv" in row["why"]
        assert of["weights"] + of["rest"] == pytest.approx(row["value"])


JUDGES: dict[str, Any] = {
    "ratios_verdicts_per_s": {goals.OWN: {"autorubric": 8.4, "rubric": None, "healthbench": 12.5}},
    "share_of_limit": 0.6,
    "share_of_limit_system": goals.OWN,
    "machine": "two cores",
    "date": "2026-01-02",
    "systems": {
        goals.OWN: {"model": "small", "auc": 0.9, "tokens_per_verdict": 50.0},
        "autorubric": {"model": "small", "auc": 0.95, "tokens_per_verdict": 400.0},
        "healthbench": {"model": "small", "auc": None, "tokens_per_verdict": 500.0},
    },
}


def profiled(**other: Any) -> dict[str, Any]:
    """A row of the judge's profile: two seconds for ten verdicts, half of them in products."""
    row: dict[str, Any] = {
        "model": "small",
        "machine": "two cores",
        "number format": "int8",
        "date": "2026-01-03",
        "tokens_needed": 60,
        "tokens_computed": 100,
        "verdicts": 10,
        "seconds": 2.0,
        "shares": {goals.PRODUCTS: 0.5, "attention": 0.2, OTHER: 0.3},
    }
    of = factors(row, layers=1000, head=500, limit={"tflops": 5e-7})
    return row | {"factors": of} | other


def test_a_judge_is_held_against_its_peers_at_equal_weights() -> None:
    (over,) = found("over those of autorubric", judges=JUDGES)
    assert over["outcome"] == "missed: 0.840 of the 10 times asked for"
    said = "A verdict takes 50 tokens through the model here and 400 there, 8.0 times as many."
    assert over["why"] == f"{said} The cause was not taken apart."
    (gap,) = found("AUC of these", judges=JUDGES)
    assert gap["outcome"] == "missed by 0.05"
    assert gap["ratio"] is None
    (health,) = found("HealthBench", judges=JUDGES)
    assert (health["word"], health["why"], health["measured"]) == ("met", "", "12.5 times")


def test_a_peer_without_a_figure_is_not_measured() -> None:
    systems = {goals.OWN: JUDGES["systems"][goals.OWN]}
    lacking = JUDGES | {"systems": systems, "ratios_verdicts_per_s": {goals.OWN: {}}}
    for name in ("over those of autorubric", "AUC of these", "HealthBench"):
        (row,) = found(name, judges=lacking)
        assert row["word"] == "not measured here"


def test_what_stands_before_the_limit_is_said_by_the_profile_of_the_same_model_and_machine() -> (
    None
):
    (share,) = found("beside other graders", judges=JUDGES, judge_profile=[profiled()])
    assert share["why"] == (
        "Of the arithmetic that is computed a share of 0.62 is needed, matrix products run in 0.50 "
        "of the time, and they reach 0.42 of the machine's fastest; outside of them most goes to "
        "other operations, 60.0 of 200.0 ms a verdict (results/judge_profile.json)."
    )
    for other in ({"machine": "four cores"}, {"model": "large"}):
        (row,) = found("beside other graders", judges=JUDGES, judge_profile=[profiled(**other)])
        assert row["why"] == "The cause was not taken apart."


def test_the_profile_has_a_row_for_each_model_and_machine() -> None:
    rows = found("in profiled runs", judge_profile=[profiled(), profiled(model="large")])
    assert [row["processor"] for row in rows] == [
        "two cores; small in int8",
        "two cores; large in int8",
    ]
    assert rows[0]["value"] == pytest.approx(profiled()["factors"]["share of the limit"])
    assert [row["word"] for row in rows] == ["missed", "missed"]
    assert found("in profiled runs", judge_profile=[])[0]["word"] == "not measured here"


def test_the_groups_of_the_profile_hold_the_matrix_products() -> None:
    assert goals.PRODUCTS in [name for name, _ in GROUPS]


def test_a_step_that_is_not_fast_enough_shows_its_stages() -> None:
    mean = {"generate": 5.0, "judge": 2.0, "update": 3.0, "total": 11.0}
    stock = {"mean": {"total": 70.4, "judge": 50.0}}
    record = {"ratio": 6.4, "ours": {"mean": mean}, "stock": stock, "machine": "m", "date": "d"}
    (row,) = found("stock TRL", grpo_step=record)
    assert row["outcome"] == "missed: 0.800 of the 8 times asked for"
    assert row["why"] == (
        "Of the 11.0 s of a step here generation takes 5.0, the judge 2.0 and the update 3.0; of "
        "the 70.4 s of stock its judge takes 50.0."
    )


def test_the_simulation_is_held_against_the_goal_of_its_own_record() -> None:
    size = {"fitted": False, "rollouts": 16, "error": 0.2}
    size["measured"] = {"judge": 2.0, "update": 6.0, "seconds": 8.0}
    size["predicted"] = {"judge": 3.0, "update": 6.5, "seconds": 9.5}
    fitted = size | {"fitted": True, "rollouts": 8, "error": 0.9}
    record = {"largest_error": 0.2, "goal": 0.15, "sizes": [fitted, size], "machine": "m"}
    (row,) = found("simulated", step_time=record)
    assert (row["asks"], row["measured"], row["word"]) == ("at most 15 %", "20 %", "missed")
    assert row["why"] == (
        "It is farthest off with 16 rollouts, most of all in the stage judge: 2.0 s measured, 3.0 "
        "s simulated. The cause was not taken apart."
    )
    now = json.loads((Path(goals.FOLDER) / "step_time.json").read_text())
    (own,) = found("simulated", step_time=now)
    assert (own["word"] == "met") is now["within_goal"]


# --- shown


def test_the_table_has_a_line_for_each_row() -> None:
    head, rule, *lines = goals.render(RECORD["rows"]).splitlines()
    assert len(lines) == len(RECORD["rows"])
    assert {line.count(" | ") for line in (head, *lines)} == {6}
    assert rule.count("---") == 7
    assert not [line for line in lines if "None" in line]
