"""Labels and preferences from tables of one's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rar_lib.core.errors import DataError
from rar_lib.core.types import Category, Criterion, Rubric, Task
from rar_lib.data.labels import WORDS, Label, Preference, load_labels, split
from rar_lib.data.questions import Response
from rar_lib.data.sheets import Loaded
from rar_lib.data.tasks import load_mini, load_mini_pairs


def criterion(name: str, title: str, sentence: str) -> Criterion:
    return Criterion(id=name, title=title, description=sentence, category=Category.IMPORTANT)


RUBRIC = Rubric(
    criteria=(
        criterion("less-dense", "Density", "States that ice is less dense."),
        criterion("bonds", "Bonds", "Names hydrogen bonds."),
        criterion("bonds-2", "Bonds", "Says that they are open."),
    )
)
TASKS = [
    Task(id="ice", question="Why does ice float?", rubric=RUBRIC),
    Task(id="sky", question="Why is the sky blue?", rubric=RUBRIC),
    Task(id="bare", question="Why?"),
]
RESPONSES = [
    Response("ice", "m1", "It is light."),
    Response("ice", "m2", "Bubbles."),
    Response("sky", "m1", "It scatters."),
]


def load(tmp_path: Path, text: str, **options: Any) -> Loaded[Label | Preference]:
    path = tmp_path / "labels.csv"
    path.write_text(text, encoding="utf-8")
    return load_labels(path, TASKS, **options)


def said(found: Loaded[Any]) -> str:
    return "\n".join(map(str, found.problems))


def test_the_same_labels_in_every_form(tmp_path: Path) -> None:
    rows = [
        {"Task ID": "ice", "answer": "Light,\nso.", "criterion": "bonds", "label": True},
        {"Task ID": "SKY", "answer": "", "criterion": "less-dense", "label": False},
    ]
    (tmp_path / "l.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "l.parquet")
    head = "Task ID{0}answer{0}criterion{0}label\n"
    body = 'ice{0}"Light,\nso."{0}bonds{0}yes\nSKY{0}{0}less-dense{0}no\n'
    for ending, sign in ((".csv", ","), (".tsv", "\t")):
        (tmp_path / f"l{ending}").write_text((head + body).format(sign), encoding="utf-8")
    expected = [
        Label("ice", "Light,\nso.", "bonds", True),
        Label("sky", "", "less-dense", False),
    ]
    for ending in (".csv", ".tsv", ".jsonl", ".parquet"):
        found = load_labels(tmp_path / f"l{ending}", TASKS)
        assert found.items == expected, ending
        assert found.problems == []
        assert "criterion from 'criterion', met from 'label'" in found.guess


@pytest.mark.parametrize(("word", "met"), [*WORDS.items(), ("1.0", None), ("2", None)])
def test_the_words_of_a_label_in_any_case(word: str, met: bool | None, tmp_path: Path) -> None:
    text = f"task,response,criterion,met\nice,x,bonds,{word.upper()}.\nice,y,bonds, {word}\n"
    if met is None:
        with pytest.raises(DataError, match=r"line 2, field met: found '.*'; allowed: yes, no, tr"):
            load(tmp_path, text)
        return
    assert [x.met for x in split(load(tmp_path, text).items)[0]] == [met, met]


@given(st.text(max_size=12))
def test_no_other_word_is_ever_a_label(word: str) -> None:
    from rar_lib.data.labels import _met
    from rar_lib.data.sheets import Line

    found, problem = _met(Line(2, {"met": word}), "met")
    assert (found is None) == (problem is not None)
    plain = word.strip(" \t\r\n.!\"'").casefold().replace("_", " ").split()
    assert (" ".join(plain) in WORDS) == (found is not None)


def test_a_criterion_is_named_by_id_title_or_sentence(tmp_path: Path) -> None:
    text = "task,response,criterion,met\n"
    text += "ice,x,Less Dense,1\nice,y,density,1\nice,z,  names HYDROGEN bonds. ,0\n"
    labels, _ = split(load(tmp_path, text).items)
    assert [label.criterion for label in labels] == ["less-dense", "less-dense", "bonds"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("rock,x,bonds,1", "line 3, field task: 'rock' is none of the 3 tasks; ids are such as"),
        ("icy,x,bonds,1", "'icy' is none of the 3 tasks; did you mean 'ice'?"),
        (",x,bonds,1", "line 3, field task: empty; name the task"),
        ("bare,x,bonds,1", "field criterion: task 'bare' has no rubric, so no criterion to label"),
        (
            "ice,x,bond,1",
            "'bond' is no criterion of task 'ice'; did you mean 'bonds'?; use its id, its title or "
            "its sentence; ids: less-dense, bonds, bonds-2",
        ),
        ("ice,x,Bonds!,1", "'Bonds!' is no criterion of task 'ice'; did you mean 'bonds'?"),
        ("ice,x,,1", "line 3, field criterion: empty; name the criterion, or remove the row"),
        ("ice,x,bonds,", "line 3, field met: empty; allowed: yes, no, true, false, 1, 0, met, not"),
        ("ice,x,bonds,maybe", "line 3, field met: found 'maybe'; allowed: yes"),
        ("ice,x,bonds,0.5", "found '0.5'; allowed: yes"),
        ("ice,x,bonds,1,,more", "line 3: 6 cells under 4 columns"),
        ("ice,Yes.,bonds,no", "line 3, field met: 'ice bonds Yes.' is on lines 2 and 3, which"),
        ("ice,Yes.,bonds,1", "line 3, field met: 'ice bonds Yes.' repeats line 2; remove one"),
    ],
)
def test_a_label_that_fits_nothing_is_named_with_its_fix(
    row: str, message: str, tmp_path: Path
) -> None:
    text = f"task,response,criterion,met\nice,Yes.,bonds,yes\n{row}\nsky,z,bonds,0\n"
    found = load(tmp_path, text)
    assert message in said(found)
    assert Label("sky", "z", "bonds", False) in found.items
    both_ways = "which" in message
    assert (Label("ice", "Yes.", "bonds", True) in found.items) is not both_ways
    assert found.left_out == 1 + both_ways


def test_a_title_of_two_criteria_asks_for_the_id(tmp_path: Path) -> None:
    tasks = [
        Task(id="a", question="?", rubric=Rubric(criteria=tuple(c for c in RUBRIC.criteria[1:])))
    ]
    renamed = tasks[0].model_dump()
    renamed["rubric"]["criteria"][0]["id"] = "first"
    path = tmp_path / "l.csv"
    path.write_text("task,response,criterion,met\na,x,bonds,1\na,x,first,1\n")
    found = load_labels(path, [Task.model_validate(renamed)])
    assert "'bonds' is said by 2 criteria of task 'a'; name one by its id: first, bonds-2" in said(
        found
    )


def test_preferences_and_their_contradictions(tmp_path: Path) -> None:
    text = "question,chosen,rejected\nWhy does ice float?,a,b\nwhy does ICE float?,b,a\n"
    text += "Why is the sky blue?,a,a\nWhy is the sky blue?,a,\nWhy is the sky blue?,a,\n"
    found = load(tmp_path, text)
    assert found.items == [Preference("sky", "a", "")]
    assert found.items[0].line == 5
    assert found.left_out == 4
    assert "is on lines 2 and 3, which differ; keep the row that is right" in said(found)
    assert "line 4, field rejected: both responses are the same; give two different" in said(found)
    assert "line 6: 'sky  a' repeats line 5" in said(found)


def test_responses_may_be_named_by_their_ids(tmp_path: Path) -> None:
    text = "task,response_id,criterion,met\nice,m1,bonds,1\nice,Bubbles.,bonds,0\nsky,m2,bonds,1\n"
    text += "ice,m3,bonds,1\nbare,m1,bonds,1\n"
    found = load(tmp_path, text, responses=RESPONSES)
    labels, _ = split(found.items)
    assert [label.response for label in labels] == ["It is light.", "Bubbles."]
    wrong = "line 4, field response_id: 'm2' is no response to task 'sky'; its ids are such as m1"
    assert wrong in said(found)
    assert "'m1' is no response to task 'bare'; it has none; correct the id, or add" in said(found)
    pairs = load(tmp_path, "task,winner,loser\nice,m2,m1\n", responses=RESPONSES)
    assert pairs.items == [Preference("ice", "Bubbles.", "It is light.")]


def test_our_own_pairs_are_preferences_with_their_labels() -> None:
    pairs = load_mini_pairs("val")
    path = Path(__file__).parents[2] / "rar_lib" / "data" / "mini" / "pairs.jsonl"
    found = load_labels(path, load_mini("all"))
    labels, preferences = split(found.items)
    assert found.problems == []
    assert len(preferences) == len(load_mini_pairs("all"))
    first = pairs[0]
    of_first = {x.criterion: x.met for x in labels if x.response == first.preferred}
    assert of_first == first.gold_preferred
    assert preferences[0] == Preference(first.task_id, first.preferred, first.rejected)
    assert "gold_preferred" not in found.unused


def test_gold_labels_of_pairs_are_checked_like_others(tmp_path: Path) -> None:
    def row(**gold: Any) -> str:
        both = {"preferred": "a", "rejected": "b"}
        return json.dumps({"task": "ice", **both, "gold_preferred": gold})

    good = json.dumps({"task": "sky", "preferred": "a", "rejected": "b"})
    for line, message in (
        (row(colour=True), "line 1, field gold_preferred: 'colour' is no criterion of task 'ice'"),
        (row(bonds="so"), "line 1, field gold_preferred.bonds: found 'so'; allowed: yes"),
    ):
        path = tmp_path / "p.jsonl"
        path.write_text(f"{line}\n{good}\n")
        found = load_labels(path, TASKS)
        assert message in said(found)
        assert found.items == [Preference("sky", "a", "b")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("task,a,b\nice,x,y\n", r"neither labels nor preferences among the columns 'task', 'a'"),
        (
            "task,response,criterion\nice,x,bonds\n",
            r"no column for the labels \(.*--met-",
        ),
        ("task,response,met\nice,x,1\n", r"no column for the criteria among.*--criterion-column"),
        ("response,criterion,met\nx,bonds,1\n", r"no column for the ids of the tasks"),
        ("task,response,criterion,met\n", r"holds no row"),
        (
            "task,response,criterion,met\nx,y,z,1\n",
            r"no label could be read\n.*\n  line 2, f",
        ),
    ],
)
def test_a_table_without_labels_is_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        load(tmp_path, text)


def test_a_column_can_be_given(tmp_path: Path) -> None:
    text = "task,response,criterion,gold,mine\nice,x,bonds,yes,no\n"
    (label,) = load(tmp_path, text, columns={"met": "mine"}).items
    assert isinstance(label, Label)
    assert label.met is False


@pytest.mark.parametrize("cell", [None, "", [{"role": "assistant", "content": "It is light."}]])
@pytest.mark.parametrize("column", ["response", "preferred", "rejected"])
def test_no_response_is_none_and_chat_messages_are_read(
    column: str, cell: object, tmp_path: Path
) -> None:
    """An empty text is a response that says nothing; of none nobody knows what is met."""
    label = {"task": "ice", "response": "Bubbles.", "criterion": "bonds", "met": True}
    pair = {"task": "ice", "preferred": "Bubbles.", "rejected": "Foam."}
    good = label if column == "response" else pair
    path = tmp_path / "labels.jsonl"
    path.write_text(json.dumps(good) + "\n" + json.dumps(good | {column: cell}))
    found = load_labels(path, TASKS)
    read = [getattr(item, column) for item in found.items]
    assert read == [good[column], *([] if cell is None else ["It is light." if cell else ""])]
    if cell is None:
        assert f"line 2, field {column}: no response; remove the row" in said(found)


def test_a_conversation_names_its_task(tmp_path: Path) -> None:
    asked = [{"role": "user", "content": "Why does ice float?"}]
    row = {"prompt": asked, "chosen": "It is light.", "rejected": "Bubbles."}
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps(row))
    assert [item.task for item in load_labels(path, TASKS).items] == ["ice"]
