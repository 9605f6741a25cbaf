"""JSON lines as people's tools leave them."""

from __future__ import annotations

import gzip
import json
import re
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


LINE = json.dumps(OWN, ensure_ascii=False).encode()
OTHER = {
    "compressed": (gzip.compress(LINE), "a compressed file"),
    "a pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "Git LFS"),
    "a web page": (b"<!DOCTYPE html><title>404</title>", "a web page"),
    "Parquet": (b"PAR1\x15\x04", "a Parquet file"),
    "a database": (b"SQLite format 3\x00", "a database"),
    "UTF-16 without a mark": (json.dumps(OWN).encode("utf-16-le"), "UTF-16"),
    "UTF-32": (json.dumps(OWN).encode("utf-32-le"), "UTF-16 or 32"),
    "a list": (b"[" + LINE + b"]", "a list of objects; allowed: one JSON object a line"),
    "a list over lines": (json.dumps([OWN], indent=1).encode(), "a list of objects"),
    "an object over lines": (json.dumps(OWN, indent=1).encode(), "over several lines"),
    "line ends of old": (LINE + b"\r" + LINE, "old Macs"),
    "half a pair": (b'{"id": "a", "question": "x \\ud83d y"}', r"half a character, '\ud83d'"),
    "quotes of Python": (b"{'id': 'a'}", "malformed JSON"),
    "a comma at the end": (LINE + b",", "malformed JSON"),
}


@pytest.mark.parametrize("name", OTHER)
@pytest.mark.parametrize("reader", READERS)
def test_a_file_of_another_kind_is_named(name: str, reader: str, tmp_path: Path) -> None:
    data, words = OTHER[name]
    path = tmp_path / "rows.jsonl"
    path.write_bytes(data)
    with pytest.raises(DataError, match=re.escape(words)) as caught:
        READERS[reader][1](path)
    assert "line 1" in str(caught.value)


@pytest.mark.parametrize("between", [b"\n", b"\n\xef\xbb\xbf", b"\r\n\xef\xbb\xbf\xef\xbb\xbf"])
@pytest.mark.parametrize("after", [b"", b"\n", b"\x1a", b"\r\n\x1a"])
def test_files_put_one_behind_the_other_are_one(
    between: bytes, after: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(LINE + between + LINE.replace(b'"a"', b'"b"') + after)
    assert [task.id for task in load_tasks(path)] == ["a", "b"]
