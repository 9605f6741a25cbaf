"""The released RaR sets as tasks. The fixtures follow the published schema; we wrote every row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rar_lib.core.errors import DataError
from rar_lib.core.types import Category, Polarity
from rar_lib.data.rar import PUBLISHED_ROWS, category, load_rar

FIXTURES = Path(__file__).parents[1] / "fixtures"
ROWS = FIXTURES / "rar_rows.jsonl"
MALFORMED = (FIXTURES / "rar_malformed.jsonl").read_text(encoding="utf-8").splitlines()
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def good_rows() -> list[dict[str, Any]]:
    return [json.loads(line) for line in ROWS.read_text(encoding="utf-8").splitlines()]


def test_a_row_becomes_a_task() -> None:
    task = load_rar("medicine", "val", rows=ROWS)[0][0]
    assert (task.id, task.domain) == ("rar-med-val-000000", "medicine")
    assert task.question == "Why does a fever raise the pulse?"
    assert task.rubric is not None
    assert task.rubric.source == "synthetic_ref"
    last = task.rubric.criteria[-1]
    assert last.id == "c04"
    assert last.category is Category.PITFALL
    assert last.polarity is Polarity.BAD  # "Does not mention ...": an omission
    assert last.points == -1
    assert last.description == "Does not mention the greater need for oxygen."  # no prefix


def test_every_row_and_criterion_is_accounted_for() -> None:
    tasks, report = load_rar("medicine", "val", rows=ROWS)
    assert (report.rows, report.kept) == (8, 7) == (8, len(tasks))
    assert report.counts == {
        "rows malformed, kept out": 0,
        "rows without a usable criterion, kept out": 1,
        "rows that occur in train, kept out": 0,
        "criteria read": 23,
        "criteria of unknown category, left out": 2,
        "pitfalls of ambiguous polarity, left out": 3,
        "pitfalls, met is good": 2,
        "pitfalls, met is bad": 3,
        "category prefixes repaired": 2,
        "weights whose sign contradicts the category": 1,
        "rubric_count differs from the rubric": 1,
        "empty references": 2,
        "questions seen earlier in the split": 1,
    }
    kept = sum(len(t.rubric.criteria) for t in tasks if t.rubric)
    assert kept == 23 - 2 - 3


def test_what_is_left_out_or_repaired_is_listed_with_its_place_and_reason() -> None:
    notes = load_rar("medicine", "val", rows=ROWS)[1].notes
    listed = {(n.where.rsplit(", ", 1)[1], n.field, n.reason) for n in notes}
    assert ("line 2", "rubric.0.description", "category 'Esssential' read as Essential") in listed
    assert (
        "line 4",
        "rubric.2.description",
        "polarity is ambiguous (negated advice), left out",
    ) in listed
    assert ("line 8", "rubric", "no usable criterion") in listed
    assert ("line 7", "rubric.1.weight", "weight -1 under category Important, not kept") in listed
    assert len(notes) == 2 + 2 + 3 + 1 + 1  # repaired, unknown, ambiguous, row, weight


@pytest.mark.parametrize(
    ("description", "weight", "expected"),
    [
        ("Essential Criteria: Names iron.", 5, (Polarity.GOOD, 5)),
        ("Essential Criteria: Names iron.", -5, (Polarity.GOOD, None)),  # the category is believed
        ("Essential Criteria: Avoids naming lead.", -5, (Polarity.GOOD, None)),
        ("Important Criteria: Recommends lead.", -5, (Polarity.BAD, -5)),  # both say: a fault
        ("Important Criteria: Recommends lead.", 5, (Polarity.GOOD, 5)),
        ("Pitfall Criteria: Recommends lead.", -1, (Polarity.BAD, -1)),
        ("Pitfall Criteria: Avoids naming lead.", -1, (Polarity.GOOD, -1)),
    ],
)
def test_a_negative_weight_never_rewards_a_fault(
    description: str, weight: int, expected: tuple[Polarity, int | None]
) -> None:
    item = {"description": description, "title": "T", "weight": weight}
    row = {"question": "Which metal?", "reference_answer": "Iron.", "rubric": [item]}
    (task,), account = load_rar("medicine", "val", rows=[row])
    assert task.rubric is not None
    (criterion,) = task.rubric.criteria
    assert (criterion.polarity, criterion.points) == expected
    kept = criterion.points is not None
    assert [note.field for note in account.notes] == ([] if kept else ["rubric.0.weight"])


def test_a_description_without_category_is_told_what_is_missing() -> None:
    item = {"description": "Says GOOD.", "title": "T", "weight": 5}
    row = {"question": "Why?", "reference_answer": "So.", "rubric": [*_ITEMS, item]}
    _, account = load_rar("medicine", "val", rows=[row])
    reason = "'Says GOOD.' does not begin with 'Essential Criteria:' or the like, left out"
    assert account.notes == [("given rows, row 0", "rubric.2.description", reason)]


def test_a_criterion_that_is_left_out_leaves_the_numbers_of_the_others_alone() -> None:
    task = load_rar("medicine", "val", rows=ROWS)[0][3]
    assert task.rubric is not None
    assert [c.id for c in task.rubric.criteria] == ["c01", "c04"]


def test_an_empty_reference_is_none() -> None:
    tasks = load_rar("medicine", "val", rows=ROWS)[0]
    assert [t.id[-1] for t in tasks if t.reference is None] == ["2", "6"]


def test_the_report_prints_as_a_table_and_warns_of_another_size() -> None:
    text = str(load_rar("science", "test", rows=ROWS)[1])
    assert "rows read                                    8\n" in text
    assert "pitfalls of ambiguous polarity, left out     3\n" in text
    assert "warning: 8 rows read, 2,292 published for test" in text


def test_rows_of_the_published_number_bring_no_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PUBLISHED_ROWS["medicine"], "val", 8)  # type: ignore[arg-type]
    assert load_rar("medicine", "val", rows=good_rows())[1].warnings == []


@pytest.mark.parametrize(
    ("line", "field"),
    enumerate(
        [
            "question: missing",
            "question: found '   '",
            "question: found 17",
            "reference_answer: found ['Iron.']",
            "rubric: found list; allowed: a list of criteria, not empty",
            "rubric: found str",
            "rubric.0: found str",
            "rubric.1.description: found 'Important Criteria: '",
            "rubric.0.title: found 'None'",
            "rubric.0.weight: found '5'",
            "rubric.0.weight: found True",
            "(the whole row): found list",
        ]
    ),
)
def test_a_malformed_row_stops_the_load_with_file_line_and_field(
    line: int, field: str, tmp_path: Path
) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text(json.dumps(good_rows()[0]) + "\n\n" + MALFORMED[line] + "\n", encoding="utf-8")
    with pytest.raises(DataError) as caught:
        load_rar("medicine", "train", rows=path)
    assert str(caught.value).startswith(f"{path}, line 3, field {field}")
    assert "strict=False" in str(caught.value)


_ITEMS = [
    {"description": "Essential Criteria: Names iron.", "title": "Iron", "weight": 5},
    {"description": "Pitfall Criteria: Claims that it is lead.", "title": "Lead", "weight": -1},
]


def _column(key: str) -> list[object]:
    return [item[key] for item in _ITEMS]


@pytest.mark.parametrize(
    "rubric",
    [
        {key: _column(key) for key in _ITEMS[0]},  # an object of lists
        json.dumps(_ITEMS),
        [item | {"weight": float("nan")} for item in _ITEMS],
        [item | {"weight": str(item["weight"])} for item in _ITEMS],
        [[item["description"], item["weight"]] for item in _ITEMS],
        None,
    ],
    ids=["object of lists", "JSON text", "nan", "weights as text", "pairs", "null"],
)
def test_a_rubric_that_a_tool_made_another_shape_of_is_named_with_its_row(rubric: object) -> None:
    row = {"question": "Which metal?", "reference_answer": "Iron.", "rubric": rubric}
    with pytest.raises(DataError, match=r"row 0, field rubric.*: found .*; allowed"):
        load_rar("medicine", "val", rows=[row])


def test_without_strict_malformed_rows_are_kept_out_and_listed() -> None:
    rows = [*[json.loads(line) for line in MALFORMED], good_rows()[0]]
    tasks, report = load_rar("medicine", "train", rows=rows, strict=False)
    assert [t.id for t in tasks] == ["rar-med-train-000012"]  # ids keep the row's own number
    assert report.counts["rows malformed, kept out"] == len(report.notes) == 12
    assert report.notes[0] == ("given rows, row 0", "question", "missing")


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("question", "x" * 20_001, "length 20,001; allowed: at most 20,000"),
        ("rubric", [good_rows()[0]["rubric"][0]] * 61, "length 61; allowed: at most 60"),
    ],
)
def test_an_oversized_field_is_malformed_and_not_a_crash(
    field: str, value: object, said: str
) -> None:
    with pytest.raises(DataError, match=said):
        load_rar("medicine", "train", rows=[{**good_rows()[0], field: value}])


def test_lines_that_are_no_json_stop_the_load_in_any_case(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    path.write_bytes(b'{"question": "cut o\n')
    with pytest.raises(DataError, match=r"own\.jsonl, line 1: malformed JSON"):
        load_rar("medicine", "train", rows=path, strict=False)
    path.write_bytes(b'{"question": "\xff"}\n')
    with pytest.raises(DataError, match=r"own\.jsonl, line 1"):
        load_rar("medicine", "train", rows=path)


def test_a_parquet_file_gives_the_same_tasks_as_its_lines(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "val.parquet"
    parquet.write_table(arrow.Table.from_pylist(good_rows()), path)
    assert load_rar("medicine", "val", rows=path)[0] == (load_rar("medicine", "val", rows=ROWS)[0])
    path.write_bytes(b"no parquet")
    with pytest.raises(DataError, match=r"val\.parquet is not Parquet, or damaged"):
        load_rar("medicine", "val", rows=path)


def test_questions_of_train_are_kept_out_of_test_on_request() -> None:
    rows = good_rows()
    train = [{"question": "why does a FEVER  raise the pulse?"}]
    tasks, report = load_rar("medicine", "test", rows=rows, drop_overlap=True, train_rows=train)
    assert report.counts["rows that occur in train, kept out"] == 2  # the fixture has it twice
    assert [t.id[-1] for t in tasks] == ["1", "2", "3", "5", "6"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"name": "law", "split": "val"}, "data set 'law' does not exist; allowed: medicine, sci"),
        (
            {"name": "medicine", "split": "dev"},
            "split 'dev' does not exist; allowed: 'train'",
        ),
        ({"name": "medicine", "split": "train", "drop_overlap": True}, "not of train"),
        ({"name": "medicine", "split": "val", "drop_overlap": True}, "needs train_rows"),
        (
            {
                "name": "medicine",
                "split": "val",
                "drop_overlap": True,
                "train_rows": [{"prompt": "x"}],
            },
            "holds no 'question'",
        ),
    ],
)
def test_a_request_that_cannot_be_met_says_what_can(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        load_rar(rows=ROWS, **arguments)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.jsonl: cannot be read"):
        load_rar("medicine", "val", rows=tmp_path / "none.jsonl")
    with pytest.raises(DataError, match=r"rows\.csv: unknown kind of file '\.csv'"):
        load_rar("medicine", "val", rows=tmp_path / "rows.csv")
    with pytest.raises(DataError, match="none of 0 rows became a task"):
        load_rar("medicine", "val", rows=[])


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("Essential", (Category.ESSENTIAL, False)),
        ("PITFALL", (Category.PITFALL, False)),
        ("Esssential", (Category.ESSENTIAL, True)),
        ("Importance", (Category.IMPORTANT, True)),
        ("Option", (Category.OPTIONAL, True)),
        ("Pitfal", (Category.PITFALL, True)),
        ("Unimportant", (None, False)),  # one edit from its opposite
        ("Inessential", (None, False)),
        ("Universal", (None, False)),
        ("Mandatory", (None, False)),
        (None, (None, False)),
    ],
)
def test_a_misspelt_category_is_repaired_and_an_unknown_one_is_not_guessed(
    prefix: str | None, expected: tuple[Category | None, bool]
) -> None:
    assert category(prefix) == expected


class FakeSplit(list[dict[str, Any]]):
    """What ``load_dataset`` gives, as far as it is used here."""

    def __init__(self, rows: list[dict[str, Any]], commit: str) -> None:
        super().__init__(rows)
        self.cache_files = [{"filename": f"/cache/default/0.0.0/{commit}/rows.arrow"}]


def test_the_hub_is_asked_at_the_revision_and_the_report_names_the_commit_that_came(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    datasets = pytest.importorskip("datasets")
    asked: list[tuple[str, str, str]] = []

    def load_dataset(repository: str, *, revision: str, split: str) -> FakeSplit:
        asked.append((repository, revision, split))
        return FakeSplit(good_rows() if split == "val" else good_rows()[:1], COMMIT)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    _, report = load_rar("science", "val", drop_overlap=True)
    # Train is read at the commit that val came from, even if "main" moves in between.
    assert asked == [
        ("ScaleAI/RaR-Science", "main", "val"),
        ("ScaleAI/RaR-Science", COMMIT, "train"),
    ]
    assert (report.revision, report.commit) == ("main", COMMIT)
    assert f"commit                                       {COMMIT}" in str(report)
    assert report.counts["rows that occur in train, kept out"] == 2
    # Without a network the library answers with any version it holds: that is refused.
    with pytest.raises(DataError, match=f"the cache has only commit {COMMIT}"):
        load_rar("science", "val", revision="f" * 40)


def test_an_unreachable_hub_says_what_was_asked_why_it_failed_and_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    datasets = pytest.importorskip("datasets")

    def load_dataset(*_: object, **__: object) -> None:
        raise ConnectionError("Couldn't reach the hub\nmore lines")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(DataError) as caught:
        load_rar("medicine", "test", revision="v9")
    assert str(caught.value) == (
        "ScaleAI/RaR-Medicine, split 'test', revision 'v9': could not be loaded "
        "(ConnectionError: Couldn't reach the hub); check the network and the names, or download "
        "the split's parquet file and pass rows=PATH"
    )
