"""Formats of the field: what is read, what is written, and every value that gets lost counted.

All rows here are self-written in the published schemas.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rar_lib import convert_tasks, read_format
from rar_lib.core.errors import DataError
from rar_lib.core.prompts import trl_row
from rar_lib.core.types import Category, Criterion, Polarity, Rubric, Task, Turn
from rar_lib.data.formats import FORMATS, INFO_KEY, guess_format
from rar_lib.data.healthbench import load_healthbench, signed_points
from rar_lib.data.questions import load_questions
from rar_lib.data.rar import load_rar
from rar_lib.data.sheets import read_sheet
from rar_lib.data.tasks import EXAMPLE, load_mini, load_tasks, save_tasks

FIXTURES = Path(__file__).parents[1] / "fixtures"
RAR = FIXTURES / "rar_rows.jsonl"
HEALTHBENCH = FIXTURES / "healthbench_rows.jsonl"
HARD_TEXT = "two\nlines\r\n, a tab\t, a joiner 👩\u200d⚕️, nbsp\u00a0, \u2028, e\u0301, <b>&amp;\\n"


def rows_of(path: Path) -> list[dict[str, Any]]:
    lines = path.read_bytes().decode("utf-8").split("\n")
    return [json.loads(line) for line in lines if line]


def written(folder: Path, *rows: object, name: str = "in.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


RAR_ROW: dict[str, Any] = {
    "question": "Why does bread rise?",
    "reference_answer": "Yeast makes gas.",
    "question_source": "own",
    "rubric": [
        {"description": "Essential Criteria: Names yeast.", "title": "Yeast", "weight": 5},
        {"description": "Pitfall Criteria: Recommends lead.", "title": "Lead", "weight": -2},
    ],
    "rubric_list": ["Essential Criteria: Names yeast.", "Pitfall Criteria: Recommends lead."],
    "rubric_count": 2,
}
OPEN_ROW: dict[str, Any] = {
    "instruction": "Write a haiku about rust.",
    "response_a": "Red, slow, on the gate.",
    "response_b": "Rust is iron oxide.",
    "winner": "A",
    "rubric": (
        "1. The response has three lines. [Hard Rule]\n"
        "2. The response evokes decay\n   without naming it. [Principle]"
    ),
    "source": "own",
}
TASK = Task(
    id="bread",
    domain="science",
    topic="baking",
    question="And why does it rise?",
    history=(Turn(role="user", content="I bake."), Turn(role="assistant", content="Good.")),
    reference="Yeast makes gas.",
    rubric=Rubric(
        criteria=(
            Criterion(id="yeast", title="Y", description="Names yeast.", category="Essential"),
            Criterion(
                id="lead",
                title="L",
                description="Recommends lead.",
                category="Pitfall",
                polarity="bad",
            ),
        )
    ),
)


# ---- read ---------------------------------------------------------------------------------------


def test_rar_rows_give_what_the_loader_of_rar_gives() -> None:
    found = read_format(RAR, domain="medicine")
    loaded, _ = load_rar("medicine", "val", rows=RAR)
    assert found.format == "rar"
    without_ids = [t.model_copy(update={"id": ""}) for t in found.tasks]
    assert without_ids == [t.model_copy(update={"id": ""}) for t in loaded]
    assert (found.rows, len(found.tasks), found.ids_changed) == (8, 7, 1)
    assert found.lost["question_source"] == 7
    assert {p.line for p in found.problems if p.level == "error"} == {8}


def test_healthbench_rows_give_what_the_loader_of_healthbench_gives() -> None:
    found = read_format(HEALTHBENCH)
    assert found.tasks == load_healthbench(HEALTHBENCH)[0]
    assert found.lost == {
        "canary": 2,
        "ideal_completions_data.ideal_completions_group": 1,
        "example_tags": 1,  # physician_agreed_category; the theme is kept
        "rubrics": 1,  # a criterion of 0 points
    }
    assert [(p.line, p.level) for p in found.problems] == [(2, "warning"), (3, "error")]


def test_openrubrics_rows_give_criteria_by_their_kind(tmp_path: Path) -> None:
    found = read_format(written(tmp_path, OPEN_ROW))
    (task,) = found.tasks
    assert (found.format, task.question, task.reference) == ("openrubrics", TASK_HAIKU, None)
    assert task.rubric is not None
    assert [(c.id, c.category, c.description) for c in task.rubric.criteria] == [
        ("c01", Category.ESSENTIAL, "The response has three lines."),
        ("c02", Category.IMPORTANT, "The response evokes decay\n   without naming it."),
    ]
    assert found.lost == dict.fromkeys(("response_a", "response_b", "winner", "source"), 1)
    assert found.problems == []


TASK_HAIKU = "Write a haiku about rust."


def test_an_item_without_kind_is_left_out_by_name_and_its_text_counted(tmp_path: Path) -> None:
    rubric = "Rubric:\n1. Is short. [Hard Rule]\n2. Is good.\n3) Is kind. [Principle]"
    found = read_format(written(tmp_path, {"instruction": "Hi?", "rubric": rubric}))
    assert found.tasks[0].rubric is not None
    assert [c.id for c in found.tasks[0].rubric.criteria] == ["c01", "c03"]
    assert str(found.problems[0]).startswith("line 1, field rubric: item 2 is 'Is good.', left out")
    assert found.lost == {"rubric": 1}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        pytest.param(
            {"question": "2+2?", "answer": "4"}, ("2+2?", (), "4", None), id="verifiers-question"
        ),
        pytest.param(
            {"prompt": [{"role": "user", "content": "2+2?"}], "info": '{"kind": "math"}'},
            ("2+2?", (), None, {"info": 1}),
            id="verifiers-info-as-text",
        ),
        pytest.param(
            {"prompt": [{"role": "user", "content": "2+2?"}], "info": {"kind": 1}, "answer": "4"},
            ("2+2?", (), "4", {"info": 1}),
            id="verifiers-info-as-object",
        ),
        pytest.param(
            {"prompt": "2+2?", "completion": "4"}, ("2+2?", (), "4", None), id="trl-plain"
        ),
        pytest.param(
            {
                "prompt": [
                    {"role": "system", "content": "Be brief."},
                    {"role": "user", "content": "2+2?"},
                ],
                "completion": [{"role": "assistant", "content": "4"}],
            },
            ("2+2?", ("Be brief.",), "4", None),
            id="trl-conversational",
        ),
        pytest.param(
            {"prompt": "2+2?", "chosen": "4", "rejected": "5"},
            ("2+2?", (), None, {"chosen": 1, "rejected": 1}),
            id="trl-preference: better is not right",
        ),
        pytest.param(
            {"prompt": "2+2?", "completion": "5", "label": False},
            ("2+2?", (), None, {"completion": 1, "label": 1}),
            id="trl-unpaired: a completion that may be bad",
        ),
        pytest.param(
            {"prompt": [{"role": "user", "content": "2+2?", "name": "Al"}], "mine": 1},
            ("2+2?", (), None, {"prompt.name": 1, "mine": 1}),
            id="unknown-fields",
        ),
    ],
)
def test_rows_of_conversations(
    row: dict[str, Any], expected: tuple[Any, ...], tmp_path: Path
) -> None:
    found = read_format(written(tmp_path, row))
    (task,) = found.tasks
    history = tuple(turn.content for turn in task.history)
    assert (task.question, history, task.reference) == expected[:3]
    assert found.lost == (expected[3] or {})


def test_the_number_of_an_example_is_its_id(tmp_path: Path) -> None:
    source = written(tmp_path, {"question": "2+2?", "answer": "4", "example_id": 7})
    assert read_format(source).tasks[0].id == "example-7"
    assert read_format(source).lost == {}


@pytest.mark.parametrize(
    ("kind", "row", "said"),
    [
        ("rar", RAR_ROW | {"rubric": []}, "line 2, field rubric: found list; allowed: a list"),
        ("rar", RAR_ROW | {"question": "x" * 20_001}, "line 2, field question: length 20,001"),
        ("rar", RAR_ROW | {"question": "half \ud83d"}, "line 2: half a character, '\\ud83d'"),
        ("openrubrics", OPEN_ROW | {"rubric": ["1. A. [Principle]"]}, "line 2, field rubric: foun"),
        ("openrubrics", OPEN_ROW | {"rubric": "Be good."}, "allowed: numbered items that end in"),
        ("tasks", {"id": "b", "question": 3}, "line 2, field question: found 3"),
        (
            "tasks",
            {"id": "b", "question": "Q", "options": ["A", "B"]},
            "field options: multiple choice",
        ),
        ("trl", {"prompt": []}, "line 2, field prompt: found []; allowed: text, or messages"),
        (
            "trl",
            {"prompt": [{"role": "tool", "content": "x"}]},
            "field prompt.0.role: found 'tool'",
        ),
        ("trl", {"prompt": [{"role": "assistant", "content": "x"}]}, "'user' in the last message"),
        ("trl", {"prompt": [{"role": "user", "content": [{"type": "image"}]}]}, "prompt.0.content"),
        ("trl", {"prompt": "Q", "task": '{"id": "Not A Slug", "question": "Q"}'}, "field task.id"),
        (
            "verifiers",
            {"prompt": "Q", "info": {INFO_KEY: {"id": "a"}}},
            f"info.{INFO_KEY}.question",
        ),
        ("healthbench", {"prompt_id": "a", "prompt": [], "rubrics": []}, "line 2, field prompt"),
    ],
)
def test_a_bad_row_is_named_and_the_others_go_on(
    kind: str, row: dict[str, Any], said: str, tmp_path: Path
) -> None:
    good = {
        "rar": RAR_ROW,
        "openrubrics": OPEN_ROW,
        "tasks": {"id": "a", "question": "Q"},
        "trl": {"prompt": "Q"},
        "verifiers": {"question": "Q", "answer": "A"},
        "healthbench": rows_of(HEALTHBENCH)[0],
    }[kind]
    source = written(tmp_path, good, row)
    found = read_format(source, kind)
    assert (found.rows, len(found.tasks)) == (2, 1)
    assert any(said in str(p) for p in found.problems if p.level == "error" and p.line == 2)
    with pytest.raises(DataError, match=r"no row could be read as"):
        read_format(written(tmp_path, row, name="bad.jsonl"), kind)


def test_lines_that_are_no_json_are_counted_as_rows_left_out(tmp_path: Path) -> None:
    source = written(tmp_path, RAR_ROW)
    source.write_bytes(source.read_bytes() + b"{cut o\n[1]\n")
    found = read_format(source)
    assert (found.rows, len(found.tasks)) == (3, 1)
    assert [p.line for p in found.problems] == [2, 3]


def test_a_file_without_any_row_says_why_and_not_that_columns_are_missing(tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text("{cut o\n", encoding="utf-8")
    with pytest.raises(DataError, match="the first: line 1: malformed JSON"):
        read_format(tmp_path / "bad.jsonl")


def test_a_column_of_ones_own_is_counted_and_an_unknown_key_of_a_criterion_is_refused(
    tmp_path: Path,
) -> None:
    found = read_format(written(tmp_path, {"id": "a", "question": "Q", "split": "train"}))
    assert found.lost == {"split": 1}
    item = {"id": "c", "title": "T", "description": "D", "category": "Optional", "wieght": 3}
    row = {"id": "a", "question": "Q", "rubric": {"criteria": [item]}}
    with pytest.raises(DataError, match=r"rubric\.criteria\.0\.wieght: unknown key"):
        read_format(written(tmp_path, row))


def test_repeated_ids_get_a_number_and_are_counted(tmp_path: Path) -> None:
    long = "x" * 64
    rows = [{"id": name, "question": f"Q {i}?"} for i, name in enumerate([long] * 3 + ["a", "a"])]
    found = read_format(written(tmp_path, *rows))
    assert [t.id for t in found.tasks] == [long, "x" * 62 + "-2", "x" * 62 + "-3", "a", "a-2"]
    assert found.ids_changed == 3


def test_an_id_that_is_none_of_ours_is_changed_and_counted(tmp_path: Path) -> None:
    row = rows_of(HEALTHBENCH)[0] | {"prompt_id": "ABC_1", "canary": ""}
    row["ideal_completions_data"]["ideal_completions_group"] = None
    found = read_format(written(tmp_path, row))
    assert found.tasks[0].id == "abc-1"
    assert found.lost == {"prompt_id": 1}


@pytest.mark.parametrize(
    ("columns", "name"),
    [
        (RAR_ROW, "rar"),
        (OPEN_ROW, "openrubrics"),
        ({"prompt_id": 1, "prompt": 1, "rubrics": 1, "canary": 1}, "healthbench"),
        ({"id": "a", "question": "Q", "split": "train"}, "tasks"),
        ({"id": "a", "question": "Q", "answer": "A"}, "verifiers"),
        ({"prompt": "Q", "answer": "A"}, "verifiers"),
        ({"question": "Q", "answer": "A"}, "verifiers"),
        ({"prompt": "Q", "task": "{}"}, "trl"),
        ({"prompt": "Q"}, "trl"),
    ],
)
def test_the_format_is_guessed_by_the_columns(columns: dict[str, Any], name: str) -> None:
    assert next(known.name for known in FORMATS.values() if known.fits(columns)) == name


FREE: list[dict[str, Any]] = [
    {"text": "Says A.", "weight": 5},
    {"text": "Recommends lead.", "weight": -3, "axis": "safety"},
]


@pytest.mark.parametrize(
    ("rows", "name"),
    [
        ([{"question": "Why?", "rubric": ["Says A."]}], "rubrics"),
        ([{"prompt": "Why?", "rubrics": FREE}], "rubrics"),
        ([{"instruction": "Why?", "criteria": FREE, "answer": "So."}], "rubrics"),
        ([{"id": "a", "question": "Why?", "rubric": FREE}], "rubrics"),
        ([{"id": "a", "question": "Why?", "rubric": json.dumps(FREE)}], "rubrics"),
        ([{"question": "Why?", "rubric": "Must be kind."}], "rubrics"),  # and refused by it
        ([{"question": "Why?", "reference_answer": "So.", "rubric": FREE}], "rubrics"),
        ([{"question": "Why?", "reference_answer": "So.", "rubric": ["Says A."]}], "rubrics"),
        ([{"question": "Why?", "rubric": RAR_ROW["rubric"]}], "rubrics"),
        ([RAR_ROW | {"rubric": FREE}, RAR_ROW], "rar"),
        ([{"question": "Why?", "reference_answer": "So.", "rubric": None}], "rar"),
        ([TASK.model_dump(mode="json") | {"rubric": None}], "tasks"),
        ([TASK.model_dump(mode="json")], "tasks"),
        ([TASK.model_dump(mode="json"), {"id": "b", "question": "Q", "rubric": FREE}], "rubrics"),
        ([{"question": "Why?", "rubric": TASK.model_dump(mode="json")["rubric"]}], "rubrics"),
        ([OPEN_ROW], "openrubrics"),
        ([{"prompt": "Why?", "answer": "So.", "rubric": None}], "verifiers"),
        ([{"prompt": "Why?", "rubrics": []}], "trl"),
    ],
)
def test_rubrics_of_ones_own_are_told_by_their_shape(
    rows: list[dict[str, Any]], name: str, tmp_path: Path
) -> None:
    assert guess_format(read_sheet(written(tmp_path, *rows))).name == name


def test_rubrics_of_ones_own_become_tasks_with_an_account_of_all_that_is_lost(
    tmp_path: Path,
) -> None:
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    rows = [
        {"uid": "Q_1", "prompt": turns, "rubrics": FREE, "answer": "So."},
        {"uid": 2, "prompt": "How?", "rubrics": ["Essential Criteria: Says B."], "mine": 1},
        {"uid": "x", "prompt": "Who?", "rubrics": [{"text": "Says BAD.", "weight": -1}, *FREE]},
        {"uid": "y", "prompt": "When?", "rubrics": 7},
    ]
    path = written(tmp_path, *rows)
    found = read_format(path)
    assert (found.format, found.rows, len(found.tasks)) == ("rubrics", 4, 3)
    assert found.lost == {"uid": 1, "rubrics.axis": 1, "mine": 1, "rubrics": 1}
    assert [(p.line, p.level, p.field) for p in found.problems] == [
        (3, "warning", "rubrics.0.polarity"),
        (4, "error", "rubrics"),
    ]
    first, second, third = found.tasks
    assert (first.id, first.reference, first.history[0].content) == ("q-1", "So.", "Be brief.")
    assert first.rubric is not None
    assert second.rubric is not None
    assert third.rubric is not None
    assert [(c.category, c.polarity) for c in first.rubric.criteria] == [
        (Category.IMPORTANT, Polarity.GOOD),
        (Category.PITFALL, Polarity.BAD),
    ]
    assert second.rubric.criteria[0].description == "Says B."
    assert [c.id for c in third.rubric.criteria] == ["c02", "c03"]
    done = convert_tasks(path, tmp_path / "tasks.jsonl")
    assert load_tasks(tmp_path / "tasks.jsonl") == found.tasks == load_questions(path).items
    assert done.notes == found.notes
    assert [note.split(",")[0] for note in found.notes] == [
        "where no category is named it follows from the weight: 7 or more Essential",
        "points of 4 of 5 criteria are kept",
    ]


def test_rubrics_of_ones_own_that_a_task_holds_whole_are_lossless(tmp_path: Path) -> None:
    rows = [
        {"prompt": "Why?", "rubrics": FREE[:1]},
        {"prompt": "How?", "rubrics": ["Says B.", "Says C."]},
        {"prompt": "Who?", "rubrics": json.dumps(FREE[:1])},
        {
            "prompt": "When?",
            "rubrics": {"criteria": [{"description": "D.", "category": "Optional"}]},
        },
        {"prompt": "What?", "rubrics": [{"id": "a", "title": "T", "text": "E.", "tags": ["x"]}]},
        {"prompt": "Where?", "rubrics": [{"text": "F.", "category": "optional"}]},
    ]
    done = convert_tasks(written(tmp_path, *rows), tmp_path / "out.jsonl")
    assert done.lost == {}
    assert done.lossless
    assert convert_tasks(tmp_path / "out.jsonl", tmp_path / "again.jsonl").lossless


def test_rows_of_tasks_may_lack_ids_and_titles_of_criteria(tmp_path: Path) -> None:
    item = {"description": "Names yeast.", "category": "Essential"}
    row = {"id": "a", "question": "Why?", "rubric": {"criteria": [item]}}
    (task,) = read_format(written(tmp_path, row)).tasks
    assert task.rubric is not None
    assert (task.rubric.criteria[0].id, task.rubric.criteria[0].title) == ("c01", "Names yeast")


def test_rows_in_rars_columns_without_its_prefixes_are_told_why(tmp_path: Path) -> None:
    """As RaR's they can't be read; as anybody's own they can."""
    items = [{"title": "G", "description": "Says GOOD.", "weight": 5}]
    path = written(tmp_path, {"question": "Why?", "reference_answer": "So.", "rubric": items})
    with pytest.raises(DataError) as caught:
        read_format(path, "rar")
    assert "as rar; the first: line 1, field rubric: no usable criterion: " in str(caught.value)
    assert "'Says GOOD.' does not begin with 'Essential Criteria:' or the like" in str(caught.value)
    assert read_format(path).format == "rubrics"


def test_healthbench_rows_of_ones_own_may_lack_tags(tmp_path: Path) -> None:
    items = [{"criterion": "Says GOOD", "points": 5}, {"criterion": "Says BAD", "points": -5}]
    asked = [{"role": "user", "content": "Why?"}]
    found = read_format(written(tmp_path, {"prompt_id": "1", "prompt": asked, "rubrics": items}))
    assert (found.format, found.lost, found.problems) == ("healthbench", {}, [])
    rubric = found.tasks[0].rubric
    assert rubric is not None
    assert signed_points(rubric) == [5, -5]
    assert "points of 2 of 2 criteria are kept" in found.notes[0]


def test_columns_that_fit_nothing_are_refused_with_what_would(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_format(written(tmp_path, {"Frage": "Warum?"}))
    assert "columns 'Frage' fit no known format (healthbench: prompt_id, prompt" in str(
        caught.value
    )
    assert "openrubrics: instruction, rubric" in str(caught.value)
    assert str(caught.value).endswith(f"with rubrics of your own they look like this:\n{EXAMPLE}")


def test_a_parquet_file_is_read_as_its_lines_are(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "rows.parquet"
    parquet.write_table(arrow.Table.from_pylist(rows_of(RAR)), path)
    assert read_format(path).tasks == read_format(RAR).tasks


# ---- written ------------------------------------------------------------------------------------


def converted(tasks: list[Task], to: str, folder: Path) -> tuple[Any, list[Task]]:
    """The account of writing tasks, and what is read back of the output."""
    source = folder / "tasks.jsonl"
    target = folder / "out.jsonl"
    save_tasks(source, tasks)
    done = convert_tasks(source, target, source="tasks", to=to)
    return done, read_format(target, to).tasks


@pytest.mark.parametrize("to", ["tasks", "trl", "verifiers"])
def test_the_tasks_of_rar_mini_come_back_whole(to: str, tmp_path: Path) -> None:
    mini = load_mini()
    done, back = converted(mini, to, tmp_path)
    assert back == mini
    assert done.lossless
    assert (done.rows, done.written) == (160, 160)


def test_what_rar_rows_have_no_place_for_is_counted(tmp_path: Path) -> None:
    done, _ = converted([TASK], "rar", tmp_path)
    assert done.lost == {
        "id": 1,
        "domain": 1,
        "topic": 1,
        "history": 1,
        "rubric.source": 1,
        "criteria.id": 2,
    }
    assert done.filled == {"criteria.points": 2}
    assert not done.lossless
    (row,) = rows_of(tmp_path / "out.jsonl")
    assert [item["weight"] for item in row["rubric"]] == [5, -1]
    assert row["rubric_list"][0] == "Essential Criteria: Names yeast."


def test_what_healthbench_rows_have_no_place_for_is_counted(tmp_path: Path) -> None:
    done, back = converted([TASK], "healthbench", tmp_path)
    assert done.lost == {"domain": 1, "criteria.id": 2, "criteria.title": 2}
    assert done.filled == {"criteria.points": 2}
    assert back[0].history == TASK.history
    assert back[0].rubric is not None
    assert [c.points for c in back[0].rubric.criteria] == [10, -9]


NOTES = TASK.model_copy(update={"context": "The note says: 5 mg."})


@pytest.mark.parametrize(
    ("to", "lost"), [("rar", 1), ("healthbench", 1), ("tasks", 0), ("trl", 0), ("verifiers", 0)]
)
def test_the_notes_of_a_task_are_kept_or_counted_as_lost(
    to: str, lost: int, tmp_path: Path
) -> None:
    other = TASK.model_copy(update={"id": "other"})
    done, (back, _) = converted([NOTES, other], to, tmp_path)
    assert done.lost["context"] == lost
    assert back.context == ("" if lost else NOTES.context)
    assert not (lost and done.lossless)


def test_a_task_whose_notes_are_all_that_is_lost_is_not_called_whole(tmp_path: Path) -> None:
    """HealthBench holds all else of it."""
    first = Criterion(
        id="c01", title="accuracy", description="Names it.", category="Essential", points=10
    )
    task = Task(id="a", question="Q", context="5 mg.", rubric=Rubric(criteria=(first,)))
    _, (once,) = converted([task], "healthbench", tmp_path)
    done, _ = converted([once.model_copy(update={"context": "5 mg."})], "healthbench", tmp_path)
    assert done.lost == {"context": 1}
    assert not done.lossless


def test_what_the_policy_is_shown_is_in_the_prompt_that_trainers_read(tmp_path: Path) -> None:
    """The task beside it is for the reward: a policy is shown the prompt."""
    for to in ("trl", "verifiers"):
        converted([NOTES], to, tmp_path)
        (row,) = rows_of(tmp_path / "out.jsonl")
        asked = [turn for turn in row["prompt"] if turn["role"] != "system"]
        assert [turn["content"] for turn in asked[:-1]] == [turn.content for turn in TASK.history]
        assert asked[-1]["content"].startswith(TASK.question)
        assert "The note says: 5 mg." in asked[-1]["content"]
    without = converted([TASK], "verifiers", tmp_path)
    (row,) = rows_of(tmp_path / "out.jsonl")
    assert row["prompt"][-1] == {"role": "user", "content": TASK.question}
    assert without[0].lossless


def pitfall(polarity: Polarity, points: float | None) -> Task:
    good = Criterion(id="g", title="G", description="Good.", category="Optional", points=points)
    criterion = Criterion(
        id="p",
        title="P",
        description="A thing.",
        category="Pitfall",
        polarity=polarity,
        points=None if points is None else -points,
    )
    return Task(id="a", question="Q", rubric=Rubric(criteria=(good, criterion)))


@pytest.mark.parametrize(
    ("polarity", "points", "expected"),
    [
        (Polarity.BAD, 2.0, [2, -2]),
        (Polarity.GOOD, 2.0, [2, 2]),  # worded as avoidance: meeting it is good
        (Polarity.BAD, None, [3, -9]),
        (Polarity.GOOD, None, [3, 9]),
        (Polarity.BAD, 11.0, [3, -9]),  # out of HealthBench's range
    ],
)
def test_the_sign_of_healthbench_points_is_whether_meeting_them_is_good(
    polarity: Polarity, points: float | None, expected: list[int], tmp_path: Path
) -> None:
    task = pitfall(polarity, points)
    done, back = converted([task], "healthbench", tmp_path)
    assert back[0].rubric is not None
    assert signed_points(back[0].rubric) == expected
    assert [c.polarity for c in back[0].rubric.criteria] == [Polarity.GOOD, polarity]
    # A pitfall whose meeting is good has no sign of its own there: the category is counted lost.
    assert done.lost["criteria.category"] == (polarity is Polarity.GOOD)


def test_points_of_a_category_give_the_category_back(tmp_path: Path) -> None:
    kinds = [Category.ESSENTIAL, Category.IMPORTANT, Category.OPTIONAL]
    criteria = tuple(
        Criterion(id=kind.lower(), title="T", description=f"{kind}.", category=kind)
        for kind in kinds
    )
    task = Task(id="a", domain="medicine", question="Q", rubric=Rubric(criteria=criteria))
    done, back = converted([task], "healthbench", tmp_path)
    assert back[0].rubric is not None
    assert [c.category for c in back[0].rubric.criteria] == kinds
    assert "criteria.category" not in done.lost


def test_healthbench_rows_come_back_the_same(tmp_path: Path) -> None:
    tasks = tmp_path / "tasks.jsonl"
    convert_tasks(HEALTHBENCH, tasks)
    again = tmp_path / "again.jsonl"
    done = convert_tasks(tasks, again, to="healthbench")
    assert done.lossless
    first = rows_of(again)[0]
    other = rows_of(HEALTHBENCH)[0]
    for name in ("prompt_id", "prompt", "rubrics", "example_tags"):
        assert first[name] == other[name]


def test_a_criterion_that_rar_wording_leaves_open_is_counted_as_lost(tmp_path: Path) -> None:
    """RaR rows hold no polarity, so a pitfall that reads both ways does not come back."""
    unclear = Criterion(
        id="b", title="B", description="Colours.", category="Pitfall", polarity="bad"
    )
    last = Criterion(id="c", title="C", description="Ends.", category="Optional")
    assert TASK.rubric is not None
    criteria = (TASK.rubric.criteria[0], unclear, last)
    task = Task(id="a", question="Q", rubric=Rubric(criteria=criteria))
    done, back = converted([task], "rar", tmp_path)
    assert done.lost["criteria"] == 1
    assert "criteria.description" not in done.lost  # the third is compared with the third
    assert back[0].rubric is not None
    assert [c.id for c in back[0].rubric.criteria] == ["c01", "c03"]


@pytest.mark.parametrize("to", ["rar", "healthbench"])
def test_a_task_without_rubric_is_left_out_by_name(to: str, tmp_path: Path) -> None:
    done, _ = converted([TASK, Task(id="bare", question="Q")], to, tmp_path)
    assert (done.rows, done.written) == (2, 1)
    assert "task bare has no rubric" in str(done.problems[0])


def test_trl_rows_are_those_that_the_reward_takes(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    from datasets import load_dataset

    from rar_lib.training.rewards import dataset_of, tasks_from

    mini = load_mini("val")
    converted(mini, "trl", tmp_path)
    rows = rows_of(tmp_path / "out.jsonl")
    assert rows == dataset_of(mini).to_list() == [trl_row(task) for task in mini]
    data = load_dataset(
        "json",
        data_files=str(tmp_path / "out.jsonl"),
        split="train",
        cache_dir=str(tmp_path / "cache"),
    )
    assert tasks_from(data["task"][:], len(mini)) == mini


@pytest.mark.parametrize("to", ["trl", "verifiers"])
@pytest.mark.parametrize(
    "turns",
    [
        [("user", "May I sue?")],
        [("system", "You are a lawyer. Answer at length."), ("user", "May I sue?")],
        [("user", "Hello."), ("assistant", "Hi."), ("user", "May I sue?")],
        [("system", "Be a lawyer."), ("user", "A"), ("assistant", "B"), ("user", "C")],
    ],
    ids=len,
)
def test_own_prompts_arrive_as_they_are(
    turns: list[tuple[str, str]], to: str, tmp_path: Path
) -> None:
    """No system turn of this library's runs, and no second one."""
    prompt = [{"role": role, "content": content} for role, content in turns]
    done = convert_tasks(
        written(tmp_path, {"prompt": prompt}), tmp_path / "out.jsonl", source="trl", to=to
    )
    (row,) = rows_of(tmp_path / "out.jsonl")
    assert row["prompt"] == prompt
    assert not done.lost


def test_a_prompt_that_was_edited_beside_its_task_is_counted(tmp_path: Path) -> None:
    row = trl_row(TASK) | {"prompt": [{"role": "user", "content": "Something else?"}]}
    found = read_format(written(tmp_path, row), "trl")
    assert found.tasks == [TASK]
    assert found.lost == {"prompt": 1}


@pytest.mark.parametrize(
    ("output", "given", "said"),
    [
        ("out.jsonl", {"to": "openrubrics"}, "openrubrics is only read"),
        ("out.jsonl", {"to": "rubrics"}, "rubrics is only read"),
        (
            *("out.jsonl", {"to": "arrow"}),
            "no format 'arrow' to write; choose from: healthbench, rar, verifiers, tasks, trl$",
        ),
        (
            *("out.jsonl", {"source": "csv"}),
            "no format 'csv' to read; choose from: healthbench, rar, openrubrics, rubrics, verif",
        ),
        ("out.jsonl", {"domain": "law"}, "no domain 'law'"),
        ("out.parquet", {}, "name it out.jsonl"),
        ("in.jsonl", {}, "would be overwritten"),
    ],
)
def test_a_request_that_cannot_be_met_writes_nothing(
    output: str, given: dict[str, str], said: str, tmp_path: Path
) -> None:
    source = written(tmp_path, RAR_ROW)
    before = source.read_bytes()
    with pytest.raises(DataError, match=said):
        convert_tasks(source, tmp_path / output, **given)  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]
    assert source.read_bytes() == before


def test_an_output_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    source = written(tmp_path, RAR_ROW)
    with pytest.raises(DataError, match=r"in\.jsonl/out\.jsonl: could not be written"):
        convert_tasks(source, source / "out.jsonl")


# ---- properties ---------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30) | st.just(
    HARD_TEXT
)
slugs = st.from_regex(r"[a-z0-9][a-z0-9-]{0,12}", fullmatch=True)


def legal(**values: Any) -> Criterion:
    """A criterion of these values, which says that it is bad to meet where its points do."""
    if values["category"] is not Category.PITFALL and (values["points"] or 0) < 0:
        values["polarity"] = Polarity.BAD
    return Criterion(**values)


criteria_of = st.builds(
    legal,
    id=slugs,
    title=texts,
    description=texts | st.sampled_from(["Recommends rest.", "Avoids jargon."]),
    category=st.sampled_from(Category),
    polarity=st.sampled_from(Polarity),
    points=st.none() | st.integers(-10, 10) | st.floats(-20, 20, allow_nan=False),
    tags=st.lists(texts, max_size=2).map(tuple),
)
rubrics = st.builds(
    Rubric,
    criteria=st.lists(criteria_of, min_size=1, max_size=4, unique_by=lambda c: c.id).map(tuple),
    source=st.sampled_from(["authored", "synthetic_ref", "synthetic_noref"]),
)
turns = st.builds(Turn, role=st.sampled_from(["system", "user", "assistant"]), content=texts)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "id": slugs,
    "domain": st.sampled_from(["medicine", "science", "other"]),
    "topic": st.just("") | texts,
    "question": texts.filter(str.strip),
    "context": st.just("") | texts,
    "history": st.lists(turns, max_size=2).map(tuple),
    "reference": st.none() | texts,
    "rubric": st.none() | rubrics,
}
tasks_of = st.builds(Task, **FIELDS)
slow = settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def test_the_tasks_of_these_tests_have_every_field() -> None:
    """A field that is not drawn here could be lost without a word."""
    assert FIELDS.keys() == Task.model_fields.keys()


@given(tasks=st.lists(tasks_of, min_size=1, max_size=3, unique_by=lambda t: t.id))
@pytest.mark.parametrize("to", ["tasks", "trl", "verifiers"])
@slow
def test_whole_formats_lose_nothing_of_any_task(to: str, tasks: list[Task], tmp_path: Path) -> None:
    done, back = converted(tasks, to, tmp_path)
    assert back == tasks
    assert done.lossless


@given(task=tasks_of.filter(lambda t: t.rubric is not None))
@pytest.mark.parametrize("to", ["rar", "healthbench"])
@slow
def test_what_is_not_counted_as_lost_comes_back_byte_for_byte(
    to: str, task: Task, tmp_path: Path
) -> None:
    """The account is checked against the file: each value that differs is in it, and no other."""
    try:
        done, (back,) = converted([task], to, tmp_path)
    except DataError:  # for example no criterion that adds points: refused, not half kept
        return
    assert task.rubric is not None
    assert back.rubric is not None
    # The domain is read as "other", which a task may have had.
    for name in FIELDS.keys() - {"domain", "rubric"}:
        told = done.lost[name] + done.filled[name]
        assert (getattr(back, name) != getattr(task, name)) == bool(told)
    assert len(task.rubric.criteria) - len(back.rubric.criteria) == done.lost["criteria"]
    expected = Counter[str]()
    for criterion in back.rubric.criteria:
        original = task.rubric.criteria[int(criterion.id[1:]) - 1]
        expected.update(
            name
            for name in Criterion.model_fields
            if getattr(criterion, name) != getattr(original, name)
        )
    told_of = done.lost + done.filled
    assert {name: told_of[f"criteria.{name}"] for name in expected} == expected


@given(task=tasks_of.filter(lambda t: t.rubric is not None))
@slow
def test_a_second_trip_through_healthbench_loses_nothing_more(task: Task, tmp_path: Path) -> None:
    try:
        _, once = converted([task], "healthbench", tmp_path)
    except DataError:
        return
    done, twice = converted(once, "healthbench", tmp_path)
    assert twice == once
    assert done.lossless


def test_hard_text_is_kept_byte_for_byte_by_every_format(tmp_path: Path) -> None:
    text = HARD_TEXT + "."
    criterion = Criterion(id="c01", title=text, description=text, category="Essential", points=10)
    rubric = Rubric(criteria=(criterion,), source="synthetic_ref")
    task = Task(id="a", question=text, reference=text, rubric=rubric)
    for to, known in FORMATS.items():
        if known.write is not None:
            done, (back,) = converted([task], to, tmp_path)
            assert (back.question, back.reference) == (text, text)
            assert back.rubric is not None
            assert back.rubric.criteria[0].description == text
            assert not {"question", "reference", "criteria.description"} & set(done.lost)
    assert load_tasks(tmp_path / "tasks.jsonl") == [task]
