"""Tables as people's programs leave them."""

from __future__ import annotations

import csv
import json
import re
import sys
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rar_lib.core.errors import DataError
from rar_lib.data.sheets import Line, Sheet, match, once, read_sheet, text_of

TEXT = 'Why does ice float?\nSay "why", and; how | so'


def sheet_of(path: Path, data: bytes, **options: str) -> Sheet:
    path.write_bytes(data)
    return read_sheet(path, **options)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_separators_and_line_ends_are_found(separator: str, end: str, tmp_path: Path) -> None:
    lines = [separator.join(("id", "question", "reference")), f'a{separator}"x y"{separator}z', ""]
    sheet = sheet_of(tmp_path / "q.csv", end.join(lines).encode())
    assert sheet.columns == ("id", "question", "reference")
    assert sheet.rows == [Line(2, {"id": "a", "question": "x y", "reference": "z"})]


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        ("id,question\na,Ä?\n".encode("utf-8-sig"), "utf-8"),
        ("id\tquestion\na\tÄ?\n".encode("utf-16"), "utf-8"),  # Excel's "Unicode text"
        ("id;question\r\na;Ä?\r\n".encode("cp1252"), "cp1252"),
        (b"sep=;\r\nid;question\r\na;\xc3\x84?\r\n", "utf-8"),
        (b"\n\nid,question\n,\n\na,\xc3\x84?\n,,\n", "utf-8"),
    ],
)
def test_marks_encodings_and_empty_rows_are_no_text(
    data: bytes, encoding: str, tmp_path: Path
) -> None:
    sheet = sheet_of(tmp_path / "q.csv", data, encoding=encoding)
    assert [row.cells for row in sheet.rows] == [{"id": "a", "question": "Ä?"}]
    assert sheet.problems == []


def test_a_quoted_cell_holds_lines_and_the_next_row_knows_its_own(tmp_path: Path) -> None:
    sheet = sheet_of(tmp_path / "q.csv", b'id,question\na,"one\ntwo\r\nthree"\nb,four\n')
    assert [(row.line, row.cells["question"]) for row in sheet.rows] == [
        (2, "one\ntwo\r\nthree"),
        (5, "four"),
    ]


def test_a_single_column_may_hold_any_separator(tmp_path: Path) -> None:
    sheet = sheet_of(tmp_path / "q.txt", b"question\nWhy, oh why; so | much?\n")
    assert sheet.rows == [Line(2, {"question": "Why, oh why; so | much?"})]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (b'a,"open "quote" here"', r"line 3: malformed .*; put quotes around"),
        (b"a,Caf\xe9?", r"line 3, field question: byte 0xe9 is not UTF-8; .*--encoding cp1252"),
        (b"a,b,c", r"line 3: 3 cells under 2 columns; put quotes around"),
        (b'a,"never closed\nb,c', r"line 3: a quote is opened here and never closed"),
    ],
)
def test_a_bad_row_is_named_and_the_others_are_read(row: bytes, said: str, tmp_path: Path) -> None:
    sheet = sheet_of(tmp_path / "q.csv", b"id,question\nfirst,1?\n" + row)
    assert [r.cells["id"] for r in sheet.rows] == ["first"]
    (problem,) = sheet.problems
    assert problem.level == "error"
    assert re.search(said, str(problem)), str(problem)


def test_rows_behind_a_bad_one_are_read(tmp_path: Path) -> None:
    sheet = sheet_of(tmp_path / "q.csv", b'id,question\na,"x"y\nb,2?\nc,\xff\nd,4?\n')
    assert [(row.line, row.cells["id"]) for row in sheet.rows] == [(3, "b"), (5, "d")]
    assert [problem.line for problem in sheet.problems] == [2, 4]


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("q.xlsx", b"PK\x03\x04rest", "save the sheet as CSV UTF-8"),
        ("q.csv.gz", b"\x1f\x8b\x08", "unpack it first"),
        (
            "q.csv",
            "id,question\na,b\n".encode("utf-16-le"),
            "bytes of zero.*save the file as UTF-8",
        ),
        ("q.csv", b"", "holds no row"),
        ("q.csv", b"id,question\n", "holds no row"),
        ("q.csv", b"id,qu\xe9stion\na,b\n", "line 1: byte 0xe9 is not UTF-8"),
        ("q.json", b'[{"question": "a"}]', r"JSON list.*jq -c '\.\[\]' q\.json"),
        ("q.parquet", b"PAR1 and no more", "is not Parquet, or damaged"),
    ],
)
def test_another_kind_of_file_says_what_it_is(
    name: str, data: bytes, said: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=said):
        sheet_of(tmp_path / name, data)


def test_the_wrong_encoding_is_refused_with_byte_and_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"line 2: byte 0xc3 is not ASCII"):
        sheet_of(tmp_path / "q.csv", "question\nÄ\n".encode(), encoding="ascii")
    with pytest.raises(DataError, match=r"no encoding 'utf-9'; usual ones: utf-8"):
        sheet_of(tmp_path / "q.csv", b"question\na\n", encoding="utf-9")


def test_json_lines_keep_their_values_and_name_bad_lines(tmp_path: Path) -> None:
    lines = [{"id": 1, "question": "a"}, {"id": 2, "tags": ["x"]}]
    data = "\ufeff" + "\n".join(["", *map(json.dumps, lines), "[1]", '{"id": 3', ""])
    sheet = sheet_of(tmp_path / "q.jsonl", data.encode())
    assert sheet.columns == ("id", "question", "tags")
    assert sheet.rows == [Line(2, lines[0]), Line(3, lines[1])]
    assert [problem.line for problem in sheet.problems] == [4, 5]


def test_parquet_is_read_by_rows(tmp_path: Path) -> None:
    table = pyarrow.table({"id": [7, None], "question": ["a", "b"], "score": [1.5, None]})
    pyarrow.parquet.write_table(table, tmp_path / "q.bin")
    sheet = read_sheet(tmp_path / "q.bin")  # known by its first bytes
    assert sheet.columns == ("id", "question", "score")
    assert sheet.rows[0] == Line(1, {"id": 7, "question": "a", "score": 1.5})


def test_parquet_without_its_reader_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match="pip install pyarrow, or save the table as CSV"):
        sheet_of(tmp_path / "q.parquet", b"PAR1")


CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=30)


@given(
    rows=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=5),
    separator=st.sampled_from(",;\t|"),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_a_csv_writer_writes_is_read_back(
    rows: list[tuple[str, str]], separator: str, tmp_path: Path
) -> None:
    rows = [row for row in rows if "".join(row).strip()]
    path = tmp_path / "q.csv"
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, delimiter=separator, quoting=csv.QUOTE_ALL)
        writer.writerows([("question", "reference"), *rows, ("end", "end")])
    read = [tuple(row.cells.values()) for row in read_sheet(path).rows]
    assert read == [*rows, ("end", "end")]


def test_columns_are_matched_by_name_and_given_ones_win() -> None:
    sheet = Sheet("q.csv", ("Question_ID", " QUESTION text", "Frage", "Answer", "answer "), [])
    known = {"id": ("id", "question id"), "question": ("question", "question text")}
    assert match(sheet, known, {}) == {"id": "Question_ID", "question": " QUESTION text"}
    assert match(sheet, known, {"question": "Frage", "id": ""}) == {"question": "Frage"}
    with pytest.raises(DataError, match=r"q.csv: no column 'fraga' for question; it has 'Ques"):
        match(sheet, known, {"question": "fraga"})
    with pytest.raises(DataError, match=r"no field 'answr' to read; choose from: id, question"):
        match(sheet, known, {"answr": "Answer"})
    twice = Sheet("q.csv", ("question", "question"), [])
    with pytest.raises(DataError, match=r"column 'question' for question comes twice"):
        match(twice, known, {})


def test_a_column_is_taken_for_one_field_only() -> None:
    sheet = Sheet("q.csv", ("input", "answer"), [])
    known = {"question": ("input",), "reference": ("input", "answer")}
    assert match(sheet, known, {}) == {"question": "input", "reference": "answer"}
    assert match(sheet, known, {"reference": "input"}) == {"reference": "input"}


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (float("nan"), ""), (12, "12"), (12.0, "12"), (0.5, "0.5"), (" a ", " a ")],
)
def test_cells_as_text(value: object, text: str) -> None:
    assert text_of(Line(2, {"c": value}), "c") == (text, None)
    assert text_of(Line(2, {"c": value}), None) == ("", None)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (True, "true or false, True"),
        ([{"role": "user"}], "a list"),
        ({"a": 1}, "an object"),
        ("\ud83d", r"half a character, '\ud83d'"),
    ],
)
def test_cells_that_are_no_text_are_refused(value: object, said: str) -> None:
    text, problem = text_of(Line(2, {"c": value}), "c")
    assert text == ""
    assert problem is not None
    assert said in str(problem)
    assert "line 2, field c" in str(problem)


def test_what_comes_twice_is_named_with_both_lines() -> None:
    rows = [(2, "a1"), (3, "b1"), (4, "a2"), (6, "c1"), (7, "c1")]
    kept, problems = once(rows, lambda text: text[0], "id", "give each its own")
    assert kept == ["b1", "c1"]
    assert [problem.line for problem in problems] == [2, 4, 7]
    assert "'a' is on lines 2 and 4, which differ; give each its own" in str(problems[1])
    assert "'c' repeats line 6; remove one of them" in str(problems[2])
