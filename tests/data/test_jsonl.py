"""JSON lines as people's tools leave them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rar_lib import DataError, load_healthbench, load_rar, load_tasks

OWN = {"id": "a", "question": "Wieso schäumt Bier?", "reference": "Kohlendioxid und Eiweiß."}
RAR = {
    "question": "Why does beer foam?",
    "reference_answer": "Carbon dioxide.",
    "rubric": [
        {"description": "Essential Criteria: Names carbon dioxide.", "title": "Gas", "weight": 5}
    ],
}
HEALTH = {
    "prompt_id": "p1",
    "prompt": [{"role": "user", "content": "May I drink beer?"}],
    "rubrics": [{"criterion": "Asks about medicines.", "points": 5, "tags": []}],
    "example_tags": [],
}
READERS: dict[str, Any] = {
    "own tasks": (OWN, load_tasks),
    "RaR": (RAR, lambda path: load_rar("science", "val", rows=path)[0]),
    "HealthBench": (HEALTH, lambda path: load_healthbench(path)[0]),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"", b"\n"),
        (b"\xef\xbb\xbf", b"\n"),
        (b"\xef\xbb\xbf", b"\r\n"),
        (b"\xef\xbb\xbf\r\n\r\n", b""),
        (b"\n\n", b"\n\n"),
        (b"\xef\xbb\xbf  ", b"  \r\n"),
    ],
)
def test_a_byte_order_mark_and_other_line_ends_are_no_text(
    name: str, before: bytes, after: bytes, tmp_path: Path
) -> None:
    row, load = READERS[name]
    path = tmp_path / "rows.jsonl"
    path.write_bytes(before + json.dumps(row, ensure_ascii=False).encode() + after)
    assert len(load(path)) == 1


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("coding", ["utf-16", "utf-16-le", "latin-1"])
def test_another_coding_is_named(name: str, coding: str, tmp_path: Path) -> None:
    row, load = READERS[name]
    path = tmp_path / "rows.jsonl"
    path.write_bytes(json.dumps({**row, "topic": "schäumt"}, ensure_ascii=False).encode(coding))
    with pytest.raises(DataError, match=r"UTF-16|not UTF-8|JSON") as caught:
        load(path)
    assert "line 1" in str(caught.value)
