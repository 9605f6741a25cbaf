"""The arithmetic of the side-by-side benchmark, on numbers worked out by hand."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rar_lib.core.types import Category, Criterion, Pair, Polarity, Rubric, Task
from rar_lib.data.tasks import load_mini_pairs
from results import limit
from results.judges import items, run, table

PEERS = str(Path(run.__file__).parent / "peers")
sys.path.insert(0, PEERS)  # an adapter runs alone, in an environment of its own
harness = importlib.import_module("harness")


def criterion(name: str, category: Category, polarity: Polarity = Polarity.GOOD) -> Criterion:
    return Criterion(
        id=name, title=name, description=f"Says {name}.", category=category, polarity=polarity
    )


RUBRIC = Rubric(
    criteria=(
        criterion("a-good", Category.ESSENTIAL),
        criterion("a-bad", Category.PITFALL, Polarity.BAD),
    )
)
TASK = Task(id="a", question="Why?", rubric=RUBRIC)
PAIR = Pair(
    id="a-1",
    task_id="a",
    preferred="Because.",
    rejected="Never.",
    axis="accuracy",
    difficulty="obvious",
    gold_preferred={"a-good": True, "a-bad": False},
    gold_rejected={"a-good": False, "a-bad": True},
)
TASKS = {"a": (TASK, PAIR)}


def entry(side: str, *values: bool | float | None, abstained: bool = False) -> dict[str, Any]:
    outcomes = [
        {"value": v, "reason": "" if v is not None else "cut off", "abstained": abstained}
        for v in values
    ]
    return {"id": f"a:{side}", "outcomes": outcomes}


def piece(*items: dict[str, Any], **counts: float) -> dict[str, Any]:
    zero = dict.fromkeys([*table.TOKENS, "requests", "preemptions"], 0.0)
    return (
        zero
        | {"items": items, "date": "2026-01-01", "versions": "", "seconds": 2.0, "other_load": 0.0}
        | counts
    )


def test_a_token_is_counted_once_however_many_prompts_begin_with_it() -> None:
    assert limit.distinct_prefixes([[1, 2, 3], [1, 2, 4], [1, 2, 3]]) == 4
    assert limit.distinct_prefixes([[1, 2], [2, 1]]) == 4
    assert limit.distinct_prefixes([]) == 0


def test_speed_and_tokens_add_up_over_pieces() -> None:
    row = table.one_system(
        [
            piece(
                entry("preferred", True, False),
                prompt_tokens=100.0,
                cached_tokens=40.0,
                written_tokens=4.0,
            ),
            piece(entry("rejected", True, True), prompt_tokens=50.0, written_tokens=6.0),
        ],
        TASKS,
    )
    assert row["n"] == 4
    assert row["verdicts_per_s"] == 1.0  # 4 verdicts in 2 + 2 seconds
    assert row["tokens_per_verdict"] == 30.0  # (150 - 40 + 10) / 4
    assert row["accuracy"] == 0.75  # the rejected response does not meet a-good


def test_an_unscored_verdict_is_left_out_of_accuracy_and_counted_beside_it() -> None:
    row = table.one_system([piece(entry("preferred", True, None))], TASKS)
    assert row["accuracy"] == 1.0
    assert row["accuracy_unscored_wrong"] == 0.5
    assert row["unreadable_share"] == 0.5
    assert row["abstained_share"] == 0.0
    assert row["reasons"] == ["cut off"]


def test_an_abstention_is_not_called_unreadable() -> None:
    row = table.one_system([piece(entry("preferred", None, None, abstained=True))], TASKS)
    assert (row["unreadable_share"], row["abstained_share"]) == (0.0, 1.0)
    assert row["accuracy"] is None  # nothing was scored, so there is no accuracy


def test_probabilities_are_met_above_one_half_and_rank_for_the_auc() -> None:
    done = table.correctness([entry("preferred", 0.9, 0.2), entry("rejected", 0.6, 0.7)], TASKS)
    # Labels 1 0 0 1; a-good of the rejected response is called met at 0.6.
    assert done["accuracy"] == 0.75
    assert done["auc"] == 1.0
    assert done["pairs_right"] == {"share": 1.0, "scored": 1, "pairs": 1}


def test_calibration_moves_verdicts_and_not_the_ranking() -> None:
    # On val everything below 0.9 is false: the judge says yes too easily.
    val = piece(*[entry(s, *v) for s, v in [("preferred", (0.95, 0.7)), ("rejected", (0.8, 0.97))]])
    test = piece(entry("preferred", 0.93, 0.6), entry("rejected", 0.7, 0.96))
    plain = table.correctness(test["items"], TASKS)
    moved = table.calibrated("qwen-1.5b", [test], val, TASKS)
    assert (plain["accuracy"], plain["auc"]) == (0.5, 1.0)
    assert (moved["accuracy"], moved["auc"]) == (1.0, 1.0)
    assert 0.8 < moved["threshold"] < 0.95
    assert moved["fitted_on"] == 4


@pytest.mark.parametrize(
    ("rewards", "expected"),
    [
        ({"a:preferred": 0.5, "a:rejected": 0.5}, {"share": 0.5, "scored": 1, "pairs": 1}),
        ({"a:preferred": None, "a:rejected": 0.5}, {"share": None, "scored": 0, "pairs": 1}),
        ({"a:preferred": 0.1, "a:rejected": 0.5}, {"share": 0.0, "scored": 1, "pairs": 1}),
    ],
)
def test_a_tie_is_half_a_pair_and_an_unscored_one_is_none(
    rewards: dict[str, float | None], expected: dict[str, Any]
) -> None:
    assert table.pairs_right(rewards) == expected


def test_a_reward_for_the_whole_response_has_no_verdicts() -> None:
    row = table.one_system([piece(entry("preferred", 0.8), entry("rejected", 0.3))], TASKS)
    assert row["verdicts_per_s"] is None
    assert row["rewards_per_s"] == 1.0
    assert row["pairs_right"]["share"] == 1.0
    assert "accuracy" not in row


def test_points_given_to_peers_are_negative_for_a_criterion_worded_as_a_failure() -> None:
    item = items.item(TASK, "Because.", "a:preferred")
    assert [c["points"] for c in item["criteria"]] == [10, -9]
    assert [c["text"] for c in item["criteria"]] == ["Says a-good.", "Says a-bad."]


def test_a_resized_rubric_takes_its_own_criteria_first() -> None:
    other = Task(
        id="b",
        question="How?",
        rubric=Rubric(criteria=(criterion("b-1", Category.OPTIONAL),)),
    )
    ids = [
        [c.id for c in items.resized(TASK, [other, TASK], size).rubric.criteria] for size in (1, 3)
    ]
    assert ids == [["a-good"], ["a-good", "a-bad", "b-1"]]


def test_every_system_gets_the_same_items_in_the_same_pieces() -> None:
    pieces = run.all_pieces()
    seen: dict[str, list[str]] = {}
    for p in pieces:
        if p.part.startswith("tasks-") and p.system.name not in run.SHORT:
            seen.setdefault(p.system.name, []).append(json.dumps([*p.items, p.warm]))
    assert len({tuple(v) for v in seen.values()}) == 1
    first = pieces[0].system
    parts = [p for p in pieces if p.system == first and p.part.startswith("tasks-")]
    asked = [i for p in parts for i in p.items]
    assert len({i["id"] for i in asked}) == 2 * items.TASKS
    warm = pieces[0].warm
    assert warm["question"] not in {i["question"] for i in asked}  # it would fill the cache


def test_a_piece_is_done_again_when_its_items_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "PIECES", tmp_path)
    item = items.item(TASK, "Because.", "a:preferred")
    one = run.Piece(run.SYSTEMS[0], "tasks-1", [item], item)
    assert one.result() is None
    one.path.write_text(json.dumps({"key": one.key, "seconds": 1.0}))
    assert one.result() == {"key": one.key, "seconds": 1.0}
    other = run.Piece(run.SYSTEMS[0], "tasks-1", [item | {"response": "No."}], item)
    assert other.result() is None


def test_what_others_do_is_neither_idle_nor_the_servers() -> None:
    times = SimpleNamespace(
        user=1.0, nice=1.0, system=1.0, idle=900.0, iowait=900.0, irq=1.0, softirq=1.0, steal=1.0
    )
    assert limit.busy(times) == 6.0  # waiting for a disk is idle, too
    assert limit.group_seconds(os.getpgid(0)) > 0
    assert limit.group_seconds(2**30) == 0.0


METRICS = """\
# HELP vllm:prompt_tokens_total Number of prefill tokens processed.
vllm:prompt_tokens_total{engine="0",model_name="m"} 120.0
vllm:prompt_tokens_cached_total{engine="0",model_name="m"} 96.0
vllm:generation_tokens_total{engine="0",model_name="m"} 7.0
vllm:num_preemptions_total{engine="0",model_name="m"} 0.0
vllm:request_success_total{engine="0",finished_reason="stop",model_name="m"} 2.0
vllm:request_success_total{engine="0",finished_reason="length",model_name="m"} 3.0
"""


def test_the_servers_counters_are_summed_over_their_labels() -> None:
    found = harness.parse_counters(METRICS)
    assert found == {
        "prompt_tokens": 120.0,
        "cached_tokens": 96.0,
        "written_tokens": 7.0,
        "requests": 5.0,
        "preemptions": 0.0,
    }


def test_a_counter_that_is_gone_is_an_error_and_not_zero() -> None:
    with pytest.raises(ValueError, match="vllm:prompt_tokens_cached_total"):
        harness.parse_counters(METRICS.replace("_cached_total", "_other"))


@pytest.mark.parametrize(
    ("running", "waiting", "busy"), [(0, 0, False), (1, 0, True), (0, 2, True)]
)
def test_a_request_that_runs_or_waits_keeps_the_clock_running(
    running: int, waiting: int, busy: bool
) -> None:
    text = (
        f'vllm:num_requests_running{{engine="0"}} {running}.0\n'
        f'vllm:num_requests_waiting{{engine="0"}} {waiting}.0\n'
        'vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 5.0\n'
    )
    assert harness.in_flight(text) is busy


def test_an_item_whose_grader_raises_is_unscored_and_the_others_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(harness, "empty_cache", lambda url: None)
    monkeypatch.setattr(harness, "_http", lambda url: "")
    ticks: Iterator[int] = iter(range(10))
    monkeypatch.setattr(
        harness, "counters", lambda url: dict.fromkeys(harness.COUNTERS, 10.0 * next(ticks))
    )

    def make(server: Any) -> Any:
        async def grade(item: dict[str, Any]) -> list[Any]:
            if item["id"] == "bad":
                raise ValueError("not\nJSON")
            return [harness.Outcome(True)]

        return grade

    asked = [{"id": "bad", "criteria": [1, 2]}, {"id": "fine", "criteria": [1]}]
    server = harness.Server("http://127.0.0.1:1/v1", "m", 2, "")
    result = asyncio.run(harness.measure(make, server, asked, asked[1]))
    bad, fine = result["items"]
    assert [o["value"] for o in bad["outcomes"]] == [None, None]
    assert bad["outcomes"][0]["reason"] == "ValueError: not JSON"
    assert [o["value"] for o in fine["outcomes"]] == [True]
    assert result["prompt_tokens"] == 10.0


def test_the_table_shows_what_was_not_measured_as_a_dash() -> None:
    row = table.one_system([piece(entry("preferred", None, None))], TASKS)
    text = table.render(
        {
            "ratio_verdicts_per_s": None,
            "share_of_limit": None,
            "machine": "2 cores",
            "date": "2026-01-01",
            "versions": {},
            "systems": {"x": {"label": "a peer"} | row},
        }
    )
    cells = [c.strip() for c in text.splitlines()[2].split("|")[1:-1]]
    assert cells == ["a peer", "1.00", "0", "–", "–", "100.0%", "0.0%", "–", "2", "2"]


def test_the_pairs_asked_about_are_a_draw_of_one_a_task() -> None:
    every = load_mini_pairs("test")
    tasks, pairs = items.sample("test")
    assert [pairs[task.id].task_id for task in tasks] == [task.id for task in tasks]
    assert len({task.id for task in tasks}) == items.TASKS + 1
    for factor in ("axis", "difficulty"):
        drawn = Counter(getattr(pairs[task.id], factor) for task in tasks[: items.TASKS])
        for level, size in Counter(getattr(pair, factor) for pair in every).items():
            assert abs(drawn[level] - items.TASKS * size / len(every)) <= 1.5, (factor, level)
