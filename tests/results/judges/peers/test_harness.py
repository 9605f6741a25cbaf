"""What every system of the comparison shares: items in, the server's own counts out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from side_by_side import adapter

from results.judges import run

harness = adapter("harness")
METRICS = """\
# HELP vllm:prompt_tokens_total Number of prefill tokens processed.
vllm:prompt_tokens_total{engine="0",model_name="m"} 120.0
vllm:prompt_tokens_cached_total{engine="0",model_name="m"} 96.0
vllm:generation_tokens_total{engine="0",model_name="m"} 7.0
vllm:num_preemptions_total{engine="0",model_name="m"} 0.0
vllm:request_success_total{engine="0",finished_reason="stop",model_name="m"} 2.0
vllm:request_success_total{engine="0",finished_reason="length",model_name="m"} 3.0
"""


def test_items_are_cut_at_line_feeds_alone(tmp_path: Path) -> None:
    items = [{"id": "a", "response": "one\u2028text\x85of three\x0blines"}, {"id": "b"}]
    path = tmp_path / "items.jsonl"
    lines = [json.dumps(item, ensure_ascii=False) + "\n" for item in items]
    path.write_text("".join(lines), encoding="utf-8")
    assert harness.read(path) == items


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
