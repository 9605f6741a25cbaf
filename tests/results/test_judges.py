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

from rar_lib.book import figures, tables
from rar_lib.book import results as records
from rar_lib.book.prose import sentence
from rar_lib.core.types import Category, Criterion, Pair, Polarity, Rubric, Task
from rar_lib.data.tasks import load_mini_pairs
from rar_lib.models import processor
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
        {
            "value": value,
            "reason": "" if value is not None else "cut off",
            "abstained": abstained,
        }
        for value in values
    ]
    return {"id": f"a:{side}", "outcomes": outcomes}


MADE_BY = {"machine": "2 cores X", "versions": {"torch": "2.0"}}


def piece(*items: dict[str, Any], **counts: Any) -> dict[str, Any]:
    zero = dict.fromkeys([*table.TOKENS, "requests", "preemptions"], 0.0)
    about = {"date": "2026-01-01", "versions": "", "number_format": "float32", "made_by": MADE_BY}
    return (
        zero
        | about
        | {"items": items, "seconds": 2.0, "other_load": 0.0, "memory_gb": 5.0}
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


def criterion_ids(task: Task) -> list[str]:
    assert task.rubric is not None
    return [one.id for one in task.rubric.criteria]


def test_a_resized_rubric_takes_its_own_criteria_first() -> None:
    other = Task(
        id="b",
        question="How?",
        rubric=Rubric(criteria=(criterion("b-1", Category.OPTIONAL),)),
    )
    ids = [criterion_ids(items.resized(TASK, [other, TASK], size)) for size in (1, 3)]
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


def test_a_broken_adapter_stops_the_other_items_and_its_error_is_raised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(harness, "empty_cache", lambda url: None)
    monkeypatch.setattr(harness, "counters", lambda url: dict.fromkeys(harness.COUNTERS, 0.0))
    ended: list[str] = []

    def make(server: Any) -> Any:
        async def grade(item: dict[str, Any]) -> list[Any]:
            if item["id"] == "broken":
                raise NameError("no such name")
            try:
                await asyncio.sleep(0.0 if item["id"] == "warm" else 60.0)
            finally:
                ended.append(item["id"])
            return [harness.Outcome(True)]

        return grade

    items = [{"id": name, "criteria": [{}]} for name in ("slow", "broken")]
    warm = {"id": "warm", "criteria": [{}]}
    server = harness.Server("http://127.0.0.1:1/v1", "m", 2, "")

    async def ended_with_the_error() -> list[str]:
        with pytest.raises(NameError, match="no such name"):
            await harness.measure(make, server, items, warm)
        return list(ended)  # the loop's own end would stop what is left, too

    assert asyncio.run(ended_with_the_error()) == ["warm", "slow"]


def test_the_healthbench_way_asks_nothing_more_once_a_criterion_has_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of three criteria at a time the second is refused: the others are not waited for."""
    healthbench = importlib.import_module("run_healthbench")
    ended: list[str] = []

    async def create(*, messages: list[dict[str, str]], **_: Any) -> Any:
        asked = messages[1]["content"]
        name = next(name for name in ("first", "second", "third") if f"Says {name}." in asked)
        if name == "second":
            raise ValueError("refused")
        try:
            await asyncio.sleep(60.0)
        except asyncio.CancelledError:
            ended.append(name)
            raise

    client = SimpleNamespace(chat=SimpleNamespace(completions=SimpleNamespace(create=create)))
    monkeypatch.setattr(healthbench, "AsyncOpenAI", lambda **_: client)
    criteria = [{"points": 1, "text": f"Says {name}."} for name in ("first", "second", "third")]
    item = {"id": "a", "question": "Why?", "response": "Because.", "criteria": criteria}
    grade = healthbench.make(harness.Server("http://127.0.0.1:1/v1", "m", 3, ""))

    async def ended_with_the_error() -> list[str]:
        with pytest.raises(ValueError, match="refused"):
            await grade(item)
        return list(ended)  # the loop's own end would stop what is left, too

    assert asyncio.run(ended_with_the_error()) == ["first", "third"]


def test_the_table_shows_what_was_not_measured_as_a_dash() -> None:
    row = table.one_system([piece(entry("preferred", None, None))], TASKS)
    text = table.render(
        {
            "ratios_verdicts_per_s": {},
            "share_of_limit": None,
            "share_of_limit_system": None,
            "machine": "2 cores",
            "date": "2026-01-01",
            "versions": {},
            "systems": {"x": {"label": "a peer"} | row},
        }
    )
    cells = [c.strip() for c in text.splitlines()[2].split("|")[1:-1]]
    assert cells == ["a peer", "1.00", "5.0", "0", "–", "–", "100.0%", "0.0%", "–", "2", "2"]


def test_the_pairs_asked_about_are_a_draw_of_one_a_task() -> None:
    every = load_mini_pairs("test")
    tasks, pairs = items.sample("test")
    assert [pairs[task.id].task_id for task in tasks] == [task.id for task in tasks]
    assert len({task.id for task in tasks}) == items.TASKS + 1
    for factor in ("axis", "difficulty"):
        drawn = Counter(getattr(pairs[task.id], factor) for task in tasks[: items.TASKS])
        for level, size in Counter(getattr(pair, factor) for pair in every).items():
            assert abs(drawn[level] - items.TASKS * size / len(every)) <= 1.5, (factor, level)


# --- what is put together, and when a record is written


AVX2 = frozenset({"avx2"})
WIDE = frozenset({"avx2", "avx512bw", "avx512_vnni"})
LABELS = {system.name: system.label for system in run.SYSTEMS}


def measured(name: str, seconds: float, **more: Any) -> tuple[Any, ...]:
    """Four verdicts of one system in so many seconds, as `summarise` takes them."""
    (system,) = (system for system in run.SYSTEMS if system.name == name)
    asked = [entry("preferred", True, False), entry("rejected", False, True)]
    return system, "tasks-1", [], piece(*asked, seconds=seconds, **more)


def summarised(monkeypatch: pytest.MonkeyPatch, *done: tuple[Any, ...]) -> dict[str, Any]:
    share = {"share_of_limit": 0.4, "limit": {"format": "float32", "tflops": 1.0}}
    monkeypatch.setattr(table, "share_of_limit", lambda *_: share)
    return table.summarise(done, TASKS, {})


def test_the_ratios_are_to_every_peer_and_of_what_was_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    speeds = {"rar_probability": 1.0, "autorubric": 10.0, "healthbench": 20.0}
    found = summarised(monkeypatch, *(measured(name, s) for name, s in speeds.items()))
    ours = {"autorubric": pytest.approx(10.0), "rubric": None, "healthbench": pytest.approx(20.0)}
    nothing = dict.fromkeys(ours)
    assert found["ratios_verdicts_per_s"] == {"rar_probability": ours, "rar_int8": nothing}
    text = table.render(found)
    assert f"{LABELS['rar_probability']} over: autorubric 10.0, rubric not measured" in text
    assert "the HealthBench way 20.0." in text
    assert "Share of the float32 limit (this judge, probabilities): 0.40." in text


def test_machine_versions_and_date_are_those_of_the_pieces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    later = measured("autorubric", 1.0, date="2026-02-02", memory_gb=7.0)
    found = summarised(monkeypatch, measured("rar_probability", 1.0), later)
    assert {name: found[name] for name in MADE_BY} == MADE_BY
    assert found["date"] == "2026-02-02"
    assert found["systems"]["autorubric"]["memory_gb"] == 7.0
    assert found["systems"]["autorubric"]["number_format"] == "float32"


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"machine": "4 cores Y"}, r"differ in machine \(rar_probability tasks-1: 2 cores X"),
        ({"versions": {"torch": "2.1"}}, r"differ in torch .*autorubric tasks-1: 2\.1"),
    ],
)
def test_pieces_of_several_machines_or_versions_make_no_table(
    other: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = measured("autorubric", 1.0, made_by=MADE_BY | other)
    with pytest.raises(SystemExit, match=said):
        summarised(monkeypatch, measured("rar_probability", 1.0), elsewhere)


@pytest.mark.parametrize("other", [{"machine": "4 cores Y"}, {"versions": {"torch": "2.1"}}])
def test_a_piece_is_done_again_on_another_machine_and_under_other_versions(
    other: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "PIECES", tmp_path)
    monkeypatch.setattr(run, "made_by", lambda: MADE_BY)
    item = items.item(TASK, "Because.", "a:preferred")
    one = run.Piece(run.SYSTEMS[0], "tasks-1", [item], item)
    one.path.write_text(json.dumps({"key": one.key}))
    assert one.result() is not None
    monkeypatch.setattr(run, "made_by", lambda: MADE_BY | other)
    assert one.result() is None


def test_what_computes_is_part_of_how_a_piece_was_made() -> None:
    found = run.made_by()
    assert "core" in found["machine"]
    assert {"python", "torch", "transformers"} <= found["versions"].keys()


@pytest.mark.parametrize(("flags", "there"), [(AVX2, False), (WIDE, True)])
def test_int8_is_measured_only_where_the_processor_multiplies_it(
    flags: frozenset[str], there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processor, "flags", lambda: flags)
    names = {p.system.name for p in run.all_pieces()}
    assert ("rar_int8" in names) is there
    assert ("rar_int8" in run.left_out()) is not there
    assert names | run.left_out().keys() == {system.name for system in run.SYSTEMS}


def test_the_cost_is_measured_up_to_the_largest_rubric() -> None:
    parts = {p.part: p.items for p in run.all_pieces() if p.part.startswith("size-")}
    sizes = {int(part.removeprefix("size-")): asked for part, asked in parts.items()}
    assert sorted(sizes) == [1, 4, 16, 60]
    assert all(len(i["criteria"]) == size for size, asked in sizes.items() for i in asked)
    criteria = RUBRIC.criteria[:1]
    many = [c.model_copy(update={"id": f"c{n}"}) for n in range(61) for c in criteria]
    Rubric(criteria=tuple(many[:60]))
    with pytest.raises(ValueError, match="at most 60"):
        Rubric(criteria=tuple(many))


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[run.Piece]:
    """Two pieces of work, of which the first is done."""
    monkeypatch.setattr(run, "PIECES", tmp_path / "pieces")
    monkeypatch.setattr(run, "RESULTS", tmp_path / "results" / "judges.json")
    monkeypatch.setattr(run, "tasks_by_id", lambda: TASKS)
    done = [measured("autorubric", 2.0), measured("healthbench", 4.0)]
    warm = items.item(TASK, "Because.", "warm")
    pieces = [run.Piece(system, part, [], warm) for system, part, _, _ in done]
    pieces[0].path.parent.mkdir()
    for one, (*_, result) in zip(pieces, done, strict=True):
        one.path.write_text(json.dumps(result | {"key": one.key}))
    return pieces


def test_a_record_is_written_only_when_nothing_is_missing(
    two: list[run.Piece], capsys: pytest.CaptureFixture[str]
) -> None:
    text = two[1].path.read_text()
    two[1].path.unlink()
    run.report(two)
    shown = capsys.readouterr().out
    assert "1 of 2 pieces are missing, so no record is written:\nhealthbench-tasks-1" in shown
    assert "| autorubric |" in shown
    assert not run.RESULTS.exists()
    two[1].path.write_text(text)
    found = run.report(two)
    assert json.loads(run.RESULTS.read_text()) == found
    assert "missing" not in capsys.readouterr().out


def test_a_piece_keeps_memory_format_and_how_it_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The adapter is a stand-in; what stands beside its numbers is measured here."""
    asked: list[str] = []

    def adapter(command: list[str], **_: Any) -> Any:
        out = Path(command[command.index("--out") + 1])
        out.write_text(json.dumps({"seconds": 1.0, "items": [entry("preferred", True, False)]}))
        return SimpleNamespace(returncode=0)

    def fastest(kind: str) -> dict[str, Any]:
        asked.append(kind)
        return {"format": kind, "kernel": "torch.mm", "tflops": 1.0}

    monkeypatch.setattr(run, "PIECES", tmp_path)
    monkeypatch.setattr(run, "environment", lambda peer: Path(sys.executable))
    monkeypatch.setattr(run, "fastest_product", fastest)
    monkeypatch.setattr(run.subprocess, "run", adapter)
    warm = items.item(TASK, "Because.", "warm")
    monkeypatch.setattr(processor, "flags", lambda: WIDE)
    for system, kind in ((run.SYSTEMS[0], "bfloat16"), (run.SYSTEMS[1], "int8")):
        one = run.Piece(system, "tasks-1", [warm], warm)
        found = run.measure(one, SimpleNamespace(base_url="http://x/v1", pid=None))  # type: ignore[arg-type]
        assert found["limit"]["format"] == found["number_format"] == kind
        assert found["made_by"] == run.made_by()
        assert found["memory_gb"] >= 0.0
    assert asked == ["bfloat16", "int8"]


def test_a_server_that_cannot_empty_its_cache_is_told_by_whom_it_is_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(*_: Any, **__: Any) -> str:
        raise harness.urllib.error.HTTPError("url", 404, "Not Found", {}, None)  # type: ignore[arg-type]

    monkeypatch.setattr(harness, "_http", refused)
    with pytest.raises(SystemExit, match=r"as (\S+) does") as error:
        harness.empty_cache("http://127.0.0.1:1/v1")
    (named,) = [word for word in str(error.value).split() if word.endswith(".py")]
    assert (Path(run.ROOT) / named).is_file()


def test_the_figure_marks_the_sizes_that_were_measured() -> None:
    cost = {"seconds_per_grade": 1.0, "tokens_per_grade": 10.0}
    scaling = {"rar_probability": {"1": cost, "60": cost}, "autorubric": {"1": cost}}
    drawn = table.figure({"scaling": scaling, "systems": {}})
    assert list(drawn.axes[0].get_xticks()) == [1, 60]


# --- chapter 12


def chapter(record: dict[str, Any] | None, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """What the two cells that read the record say, tabulate and draw."""
    path = Path(run.ROOT) / "notebooks" / "12_do_the_instruments_hold.ipynb"
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    marks = ('results.load("judges")', 'others["scaling"]')
    texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    chosen = [text for mark in marks for text in texts if mark in text]
    assert len(chosen) == len(marks)
    page: dict[str, list[Any]] = {"said": [], "tabled": [], "drawn": []}

    def say(template: str, **values: Any) -> None:
        page["said"].append(sentence(template, **values).replace("\\", ""))

    monkeypatch.setattr(records, "load", lambda name: record)
    monkeypatch.setattr(figures, "by_size", lambda *given, **_: page["drawn"].append(given))
    monkeypatch.setattr(tables, "table", page["tabled"].append)
    names = {"results": records, "figures": figures, "tables": tables, "say": say}
    for text in chosen:
        exec(compile(text, "cell", "exec"), names)
    return page


def test_chapter_12_says_that_nothing_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    page = chapter(None, monkeypatch)
    assert page["said"][0].startswith("Not measured.")
    assert page["tabled"] == page["drawn"] == []


def test_chapter_12_shows_a_whole_record(monkeypatch: pytest.MonkeyPatch) -> None:
    speeds = {name: 1.0 for name in LABELS}
    found = summarised(monkeypatch, *(measured(name, s) for name, s in speeds.items()))
    cost = {"seconds_per_grade": 1.0}
    found |= {
        "left_out": {},
        "scaling": {"rar_probability": {"1": cost}, "autorubric": {"60": cost}},
    }
    page = chapter(found, monkeypatch)
    said = " ".join(page["said"])
    assert "not measured" not in said.lower()
    assert "over those of others: autorubric 1.0, rubric 1.0 and the HealthBench way 1.0." in said
    assert "reaches 0.40 of the speed of this machine's fastest matrix product in float32" in said
    (rows,) = page["tabled"]
    assert [row["system"] for row in rows] == list(LABELS.values())
    ((counts, lines),) = page["drawn"]
    assert counts == [1, 60]
    assert lines == {LABELS["rar_probability"]: [1.0, None], LABELS["autorubric"]: [None, 1.0]}


def test_chapter_12_says_of_every_entry_that_is_missing_that_it_was_not_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = summarised(monkeypatch, measured("rar_probability", 1.0), measured("autorubric", 2.0))
    found |= {"left_out": {}, "share_of_limit": None, "share_of_limit_system": None}
    said = " ".join(chapter(found, monkeypatch)["said"])
    assert "autorubric 2.0, rubric not measured and healthbench not measured." in said
    assert "Not measured: *rar_int8*, because the record does not hold it." in said
    assert "of the machine's fastest matrix product was not measured" in said
    assert "by the number of criteria was not measured" in said
    found["left_out"] = {"rar_int8": {"label": "int8", "why": "this processor has none"}}
    said = " ".join(chapter(found, monkeypatch)["said"])
    assert "Not measured: *int8*, because this processor has none." in said
