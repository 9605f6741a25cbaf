"""Questions and responses from tables of one's own."""

from __future__ import annotations

import csv
import json
import math
import re
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rar_lib.core.errors import DataError
from rar_lib.core.types import Task
from rar_lib.data.questions import (
    Response,
    load_questions,
    load_responses,
    load_split,
    part_tasks,
    save_responses,
)
from rar_lib.data.sheets import Loaded
from rar_lib.data.tasks import EXAMPLE, load_mini, save_tasks, task_id


def csv_of(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def said(found: Loaded[Task] | Loaded[Response]) -> str:
    return "\n".join(map(str, found.problems))


def test_the_same_table_in_every_form_gives_the_same_tasks(tmp_path: Path) -> None:
    rows = [
        {
            "ID": "Q 1",
            "Prompt": "Why does\nice float?",
            "Ideal": "Less dense.",
            "Domain": "science",
        },
        {"ID": "2", "Prompt": 'May I, with "this", drive?', "Ideal": "No.", "Domain": "Medicine"},
    ]
    for suffix, separator in ((".csv", ","), (".tsv", "\t")):
        with (tmp_path / f"q{suffix}").open("w", encoding="utf-8", newline="") as stream:
            csv.writer(stream, delimiter=separator).writerows(
                [list(rows[0]), *(r.values() for r in rows)]
            )
    csv_of(tmp_path / "q.jsonl", "\n".join(map(json.dumps, rows)))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "q.parquet")
    expected = [
        Task(id="q-1", question="Why does\nice float?", reference="Less dense.", domain="science"),
        Task(id="2", question='May I, with "this", drive?', reference="No.", domain="medicine"),
    ]
    for suffix in (".csv", ".tsv", ".jsonl", ".parquet"):
        found = load_questions(tmp_path / f"q{suffix}")
        assert found.items == expected, suffix
        assert found.columns["question"] == "Prompt"
        assert found.problems == []


def test_the_guess_is_shown_with_what_is_left_and_can_be_corrected(tmp_path: Path) -> None:
    path = csv_of(tmp_path / "q.csv", "question,Frage,answer,note\nWhy?,Warum?,Because.,x\n")
    found = load_questions(path)
    assert found.guess.endswith(
        "question from 'question', reference from 'answer'; not used: 'Frage', 'note'"
    )
    other = load_questions(path, columns={"question": "Frage", "reference": ""})
    assert (other.items[0].question, other.items[0].reference) == ("Warum?", None)


def test_made_ids_come_from_the_text_alone(tmp_path: Path) -> None:
    one = load_questions(csv_of(tmp_path / "a.csv", "question,answer\nWhy?,x\nHow?,y\n"))
    two = load_questions(csv_of(tmp_path / "b.csv", "question\nHow?\nWhen?\nWhy?\n"))
    ids = {task.question: task.id for task in two.items}
    assert [task.id for task in one.items] == [ids["Why?"], ids["How?"]]
    assert all(re.fullmatch(r"q-[0-9a-f]{10}", task.id) for task in two.items)


@pytest.mark.parametrize(
    ("given", "expected"),
    [("ice", "ice"), ("Q_1", "q-1"), (" A.b/c:1 ", "a-b-c-1"), ("12", "12"), ("-x-", "x")],
)
def test_ids_are_kept_as_far_as_they_can_be(given: str, expected: str) -> None:
    assert task_id(given) == expected


@given(st.text(min_size=1))
def test_any_id_becomes_one_of_ours(text: str) -> None:
    if not any(0xD800 <= ord(c) <= 0xDFFF for c in text):
        made = task_id(text)
        assert Task(id=made, question="?").id == made
        assert task_id(made) == made


def test_two_tasks_of_one_id_are_refused_with_both_lines(tmp_path: Path) -> None:
    text = "id,question\na,Why?\nb,How?\nA,When?\nb,How?\n"
    found = load_questions(csv_of(tmp_path / "q.csv", text))
    assert [task.id for task in found.items] == ["b"]
    assert found.left_out == 3
    assert "line 2, field id: 'a' is on lines 2 and 4, which differ; give each" in said(found)
    assert "line 4, field id: 'a' is on lines 2 and 4" in said(found)
    assert "line 5, field id: 'b' repeats line 3; remove one of them" in said(found)


def test_rows_that_do_not_fit_are_named_and_the_others_are_read(tmp_path: Path) -> None:
    lines = [
        {"question": "Why?", "answer": 42},
        {"question": "  ", "answer": "x"},
        {"question": ["a", "list"]},
        {"question": "long " * 5000},
        {"question": "How?", "domain": "Cardiology"},
        {"question": "When?", "history": [{"role": "nobody", "content": "x"}]},
    ]
    path = csv_of(tmp_path / "q.jsonl", "\n".join(map(json.dumps, lines)))
    found = load_questions(path, domain="medicine")
    assert [(t.question, t.reference, t.domain, t.topic) for t in found.items] == [
        ("Why?", "42", "medicine", ""),
        ("How?", None, "medicine", "Cardiology"),
    ]
    assert [(p.line, p.level) for p in found.problems] == [
        (2, "error"),
        (3, "error"),
        (4, "error"),
        (5, "warning"),
        (6, "error"),
    ]
    assert "line 2, field question: empty; fill the cell, or remove the row" in said(found)
    assert "line 5, field domain: found 'Cardiology'; allowed: medicine, science, other" in said(
        found
    )
    assert "--domain" in said(found)
    assert "line 6, field history.0.role" in said(found)


def test_task_files_of_ours_come_back_whole(tmp_path: Path) -> None:
    tasks = load_mini("val")
    save_tasks(tmp_path / "t.jsonl", tasks)
    found = load_questions(tmp_path / "t.jsonl")
    assert found.items == tasks
    assert found.unused == ()


def test_passages_are_the_context_and_remarks_are_not(tmp_path: Path) -> None:
    rows = "question,passage,notes\nWhy?,Because it says so.,ask Jo\nHow?,,\n"
    found = load_questions(csv_of(tmp_path / "q.csv", rows))
    assert [task.context for task in found.items] == ["Because it says so.", ""]
    assert found.unused == ("notes",)


def test_a_pitfall_without_polarity_is_refused_as_by_the_loader(tmp_path: Path) -> None:
    pitfall = {"id": "c", "title": "t", "description": "d", "category": "Pitfall"}
    rows = [{"question": "Why?", "rubric": {"criteria": [pitfall]}}, {"question": "How?"}]
    found = load_questions(csv_of(tmp_path / "q.jsonl", "\n".join(map(json.dumps, rows))))
    assert [task.question for task in found.items] == ["How?"]
    assert "line 1, field rubric.criteria.0.polarity: missing for the pitfall 'c'" in said(found)


OWN = [
    {"prompt": "Why?", "rubrics": [{"criterion": "Says A.", "points": 5}]},
    {"prompt": "How?", "rubrics": ["Says B.", "Says C."]},
    {"prompt": "When?", "rubrics": None},
    {"prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who?"}]},
]


def jsonl_of(path: Path, rows: list[Any]) -> Path:
    return csv_of(path, "\n".join(map(json.dumps, rows)))


def test_rubrics_of_ones_own_are_read_and_the_column_is_shown(tmp_path: Path) -> None:
    found = load_questions(jsonl_of(tmp_path / "q.jsonl", OWN))
    assert found.guess.endswith("question from 'prompt', rubric from 'rubrics'")
    rubrics = [task.rubric for task in found.items]
    assert rubrics[2:] == [None, None]
    criteria = [one for rubric in rubrics if rubric for one in rubric.criteria]
    assert [one.description for one in criteria] == ["Says A.", "Says B.", "Says C."]
    chat = found.items[3]
    assert (chat.question, [turn.content for turn in chat.history]) == ("Who?", ["Be brief."])
    assert [(p.line, p.field, p.level) for p in found.problems] == [(0, "rubrics", "warning")] * 2
    assert "field rubrics: where no category is named it follows from the weight: 7" in said(found)
    assert "field rubrics: points of 1 of 3 criteria are kept, but the reward weighs" in said(found)


def test_rubrics_of_a_table_are_read_from_parquet_and_from_json_in_a_cell(tmp_path: Path) -> None:
    rows = [
        {"question": "Why?", "rubric": [{"text": "Says A.", "weight": 5}, {"text": "Says B."}]},
        {"question": "How?", "rubric": [{"text": "Says B.", "weight": 7}]},
    ]
    rows[0]["rubric"][1] |= {"weight": -2, "polarity": "bad"}  # type: ignore[index]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "q.parquet")
    with (tmp_path / "q.csv").open("w", encoding="utf-8", newline="") as stream:
        cells = [[row["question"], json.dumps(row["rubric"])] for row in rows]
        csv.writer(stream).writerows([["question", "rubric"], *cells])
    jsonl_of(tmp_path / "q.jsonl", rows)
    first, *others = (
        load_questions(tmp_path / f"q.{kind}").items for kind in ("jsonl", "parquet", "csv")
    )
    assert others == [first, first]
    assert first[0].rubric is not None
    assert [one.polarity.value for one in first[0].rubric.criteria] == ["good", "bad"]


def test_a_rubric_that_is_not_understood_is_a_problem_and_the_form_is_shown_once(
    tmp_path: Path,
) -> None:
    rows = [
        {"question": "Why?", "rubric": "Must be kind."},
        {"question": "How?", "rubric": {"kind": 1}},
        {"question": "Who?", "rubric": ["Is kind."]},
    ]
    found = load_questions(jsonl_of(tmp_path / "q.jsonl", rows))
    assert [task.question for task in found.items] == ["Who?"]
    assert found.left_out == 2
    assert "line 1, field rubric: found 'Must be kind.'; allowed: a list; each item" in said(found)
    assert "line 2, field rubric: found {'kind': 1}; allowed: a list" in said(found)
    assert said(found).count(EXAMPLE) == 1
    rest = load_questions(tmp_path / "q.jsonl", columns={"rubric": ""})
    assert (len(rest.items), rest.problems, rest.unused) == (3, [], ("rubric",))


def test_nothing_of_a_rubric_is_dropped_without_a_word(tmp_path: Path) -> None:
    rows = [
        {"question": "Why?", "rubric": [{"text": "A.", "axis": "x"}], "criteria": ["B."]},
        {
            "question": "How?",
            "rubric": [{"text": "Says B.", "weight": -1}, {"text": "A.", "weight": 7}],
        },
        {"question": "Who?", "rubric": [{"text": "A.", "axis": "y", "note": 1}]},
    ]
    found = load_questions(jsonl_of(tmp_path / "q.jsonl", rows))
    assert found.guess.endswith("not used: 'criteria', 'rubric.axis', 'rubric.note'")
    assert "field criteria: not read beside 'rubric'; allowed: one rubric a row" in said(found)
    assert "line 2, field rubric.0.polarity: 'Says B.' is ambiguous" in said(found)
    assert {problem.level for problem in found.problems} == {"warning"}
    assert len(found.items) == 3


def test_a_history_beside_a_conversation_is_refused(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."}]
    asked = [*turns, {"role": "user", "content": "Why?"}]
    rows = [{"question": asked, "history": turns}, {"question": asked}, {"question": turns}]
    found = load_questions(jsonl_of(tmp_path / "q.jsonl", rows))
    assert [len(task.history) for task in found.items] == [2]
    assert (
        "line 1, field history: stands beside the turns of 'question'; allowed: one of them"
        in said(found)
    )
    assert "line 3, field question.1.role: found 'assistant'" in said(found)


def test_the_parts_of_a_file_of_conversations_are_those_of_its_tasks(tmp_path: Path) -> None:
    rows = [
        {"prompt": [{"role": "user", "content": f"Why {n}?"}], "split": part, "rubric": ["A."]}
        for n, part in enumerate(("train", "test", "train"))
    ]
    path = jsonl_of(tmp_path / "q.jsonl", rows)
    parts = part_tasks(load_questions(path).items, load_split(path), None, 0)
    assert [task.question for task in parts.train] == ["Why 0?", "Why 2?"]
    assert [task.question for task in parts.held_out] == ["Why 1?"]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("a,b\n1,2\n", {}, r"no column for the questions among 'a', 'b'.*call it 'question'"),
        ("question\n", {}, r"holds no row"),
        ("id,question\n1,\n2, \n", {}, r"no question could be read\n.*\n  line 2, field question"),
        ("question\nWhy?\n", {"domain": "law"}, r"no domain 'law'; choose from: medicine"),
        (
            "question\nWhy?\n",
            {"columns": {"id": "nr"}},
            r"no column 'nr' for id; it has 'question'",
        ),
    ],
)
def test_a_table_of_which_nothing_can_be_used_is_refused(
    text: str, options: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message):
        load_questions(csv_of(tmp_path / "q.csv", text), **options)  # type: ignore[arg-type]


TASKS = [
    Task(id="q-1", question="Why does ice float?"),
    Task(id="q-2", question="May I drive?"),
    Task(id="q-3", question="May I  DRIVE?"),
]


def responses(tmp_path: Path, text: str, **options: object) -> Loaded[Response]:
    return load_responses(csv_of(tmp_path / "r.csv", text), TASKS, **options)  # type: ignore[arg-type]


def test_several_responses_a_task_are_numbered_and_empty_ones_count(tmp_path: Path) -> None:
    found = responses(tmp_path, "task_id,response\nQ_1,a\nq-2,b\nQ_1,\nQ_1,a\n")
    assert found.items == [
        Response("q-1", "q-1-1", "a"),
        Response("q-2", "q-2-1", "b"),
        Response("q-1", "q-1-2", ""),
        Response("q-1", "q-1-3", "a"),
    ]
    assert [response.line for response in found.items] == [2, 3, 4, 5]
    assert found.problems == []


def test_ids_of_responses_are_as_given_and_occur_once_a_task(tmp_path: Path) -> None:
    text = "task,id,answer\nq-1,model A,a\nq-2,model A,b\nq-1,B,c\nq-1,B,d\nq-2,model A,b\n"
    found = responses(tmp_path, text)
    assert [(r.task, r.id, r.text) for r in found.items] == [
        ("q-1", "model A", "a"),
        ("q-2", "model A", "b"),
    ]
    assert "'q-1 B' is on lines 4 and 5, which differ; give each response to a task" in said(found)
    assert "line 6" in said(found)
    numbered = responses(tmp_path, text, columns={"id": ""})
    assert len(numbered.items) == 5


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({"response": ""}, ""),
        ({"response": " "}, " "),
        ({"response": 0}, "0"),
        ({"response": None}, None),
        ({}, None),
        ({"response": math.nan}, None),
        ({"response": [{"role": "assistant", "content": "Hi."}]}, "Hi."),
        (
            {
                "response": [
                    {"role": "assistant", "content": "<think>So.</think>I look."},
                    {"role": "tool", "content": "42"},
                    {"role": "assistant", "content": [{"type": "text", "text": "It is 42."}]},
                ]
            },
            "I look.\n\nIt is 42.",
        ),
        ({"response": [{"role": "assistant", "content": None}]}, ""),
        ({"response": []}, ""),
    ],
)
def test_no_response_is_none_and_an_empty_one_is_one(
    row: dict[str, Any], text: str | None, tmp_path: Path
) -> None:
    rows = [{"task": "q-1", **row}, {"task": "q-2", "response": "x"}]
    found = load_responses(jsonl_of(tmp_path / "r.jsonl", rows), TASKS)
    assert [response.text for response in found.items] == [*([] if text is None else [text]), "x"]
    if text is None:
        mend = 'no response; remove the row, or write "" for one that says nothing'
        assert [str(p) for p in found.problems] == [f"line 1, field response: {mend}"]


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ([1], "a message is int; allowed: role and content"),
        ([{"role": "oracle", "content": "x"}], "a message has the role 'oracle'; allowed: assist"),
        ([{"text": "x"}], "a message has ['text']; allowed: role and content"),
        ({"content": "x"}, "an object, {'content': 'x'}; allowed: text or a number"),
        (True, "true or false, True; allowed: text or a number"),
    ],
)
def test_what_is_no_response_is_named(cell: object, said: str, tmp_path: Path) -> None:
    rows = [{"task": "q-1", "response": cell}, {"task": "q-2", "response": "x"}]
    found = load_responses(jsonl_of(tmp_path / "r.jsonl", rows), TASKS)
    assert [response.task for response in found.items] == ["q-2"]
    assert str(found.problems[0]).startswith(f"line 1, field response: {said}")


def test_what_a_trainer_logs_is_read_by_its_prompt(tmp_path: Path) -> None:
    asked = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "May I drive?"},
    ]
    tasks = TASKS[:2]
    rows = [{"prompt": asked, "completion": [{"role": "assistant", "content": "No."}], "step": 3}]
    found = load_responses(jsonl_of(tmp_path / "r.jsonl", rows), tasks)
    assert [(r.task, r.text) for r in found.items] == [("q-2", "No.")]
    assert found.unused == ("step",)


def test_a_column_id_names_the_task_where_nothing_else_does(tmp_path: Path) -> None:
    found = responses(tmp_path, "id,output\nq-1,a\nq-2,b\n")
    assert found.columns == {"task": "id", "response": "output"}
    assert [response.task for response in found.items] == ["q-1", "q-2"]


def test_tasks_are_found_by_the_text_of_their_question(tmp_path: Path) -> None:
    text = "id,question,response\nm,why does ICE  float?,a\nm,May I drive?,b\nm,Who?,c\nm,,d\n"
    found = responses(tmp_path, text)
    assert [(r.task, r.id) for r in found.items] == [("q-1", "m")]
    assert (
        "line 3, field question: the question of 2 tasks (q-2, q-3); name the task by its id"
        in (said(found))
    )
    assert "line 4, field question: 'Who?' is the question of no task" in said(found)
    assert "line 5, field question: empty; name the task" in said(found)


def test_a_response_to_an_unknown_task_says_what_may_be_meant(tmp_path: Path) -> None:
    found = responses(tmp_path, "task,response\nq-22,a\nhello,b\nq-1,c\n")
    assert [response.text for response in found.items] == ["c"]
    assert "line 2, field task: 'q-22' is none of the 3 tasks; did you mean 'q-2'?" in said(found)
    assert "'hello' is none of the 3 tasks; ids are such as q-1, q-2, q-3; correct it" in said(
        found
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("task,x\nq-1,a\n", r"no column for the responses among 'task', 'x'.*--response-column"),
        ("response\na\n", r"no column for the ids of the tasks among 'response'.*--task-column"),
        (
            "task,response\nx,a\n",
            r"no response could be read\n.*\n  line 2, field task: 'x' is none",
        ),
    ],
)
def test_responses_that_fit_nothing_are_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        responses(tmp_path, text)


def test_a_column_of_the_file_says_what_is_held_out(tmp_path: Path) -> None:
    path = tmp_path / "tasks.csv"
    path.write_text(
        "id,question,split\na,A?,train\nb,B?,Held-Out\nc,C?,validation\nd,D?,\ne,E?,maybe\n"
    )
    found = load_split(path)
    assert found.items == [("a", "train"), ("b", "held-out"), ("c", "held-out")]
    assert [(p.line, p.level) for p in found.problems] == [(5, "error"), (6, "error")]
    assert "remove the column" in str(found.problems[0])
    assert "'maybe'" in str(found.problems[1])
    path.write_text("question\nA?\n")
    assert load_split(path).columns == {}


@pytest.mark.parametrize(
    ("rows", "warned"),
    [
        ("a,Why does ice float?,train\nb,why does  ICE float?,test\nz,Z?,train", ["b of 'a'"]),
        ("b,Why does ice float?,test\nz,Z?,train\na,Why does ice float?,train", ["b of 'a'"]),
        ("a,Why?,train\nb,Why?,dev\nc,WHY?,test\nz,Z?,train", ["b of 'a'", "c of 'a'"]),
        ("a,Why?,train\nb,How?,test\nc,Why?,train", []),  # taught twice
        ("a,Why?,train\nb,How?,test\nc,How?,test", []),  # tested twice
        ("a,Give 5 mg?,train\nb,Give -5 mg?,test", []),  # as where a split is drawn, signs count
        ("a,Why?,train\nb,How?,test\nc,Why?,", []),  # in neither part
    ],
)
def test_a_file_that_trains_on_what_it_tests_is_warned_of(
    tmp_path: Path, rows: str, warned: list[str]
) -> None:
    path = csv_of(tmp_path / "q.csv", f"id,question,split\n{rows}\n")
    split = load_split(path)
    parts = part_tasks(load_questions(path).items, split, None, 0)
    assert [(p.level, p.field) for p in parts.problems] == [("warning", "split")] * len(warned)
    for problem, pair in zip(parts.problems, warned, strict=True):
        held, _, other = pair.partition(" of ")
        found = f"held-out task {held!r} asks the question of {other}, which is trained on"
        assert f"field split: {found}; hold both out, or train on both" in str(problem)
    ids = {task.id for task in (*parts.train, *parts.held_out)}
    assert ids == {name for name, _ in split.items}, "warned of, and used as the file says"


def test_a_split_that_is_drawn_holds_both_out_and_warns_of_nothing(tmp_path: Path) -> None:
    asked = ("Why?", "WHY?", "Why ?", *(f"How {n}?" for n in range(9)))
    tasks = [Task(id=f"q-{n}", question=question) for n, question in enumerate(asked)]
    path = csv_of(tmp_path / "q.csv", "question\nWhy?\n")
    parts = part_tasks(tasks, load_split(path), 6, 0)
    assert parts.problems == ()
    assert len({tasks[0] in parts.train, tasks[1] in parts.train}) == 1


def test_saved_responses_are_those_that_are_read(tmp_path: Path) -> None:
    tasks = [Task(id="a", question="A?"), Task(id="b", question="B?")]
    texts = ["", 'Zeilen\n"und" mehr, \u2028 auch <|im_end|>']
    made = [Response(t.id, f"{t.id}-1", text) for t, text in zip(tasks, texts, strict=True)]
    save_responses(tmp_path / "r.jsonl", made)
    assert load_responses(tmp_path / "r.jsonl", tasks).items == made
    with pytest.raises(DataError, match="could not be written"):
        save_responses(tmp_path, made)
