"""A user's own file: every bad line by its number, and nothing of it obeyed by the terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from rar_lib.cli.data import render
from rar_lib.core.errors import DataError
from rar_lib.data.check import check, escaped, fitting, show
from rar_lib.data.tasks import load_tasks

CRITERIA = [
    {"id": f"c{n}", "title": "Title", "description": f"Names fact {n}.", "category": "Essential"}
    for n in range(7)
]
TASK: dict[str, Any] = {
    "id": "sky",
    "domain": "science",
    "question": "Why is the sky blue?",
    "reference": "Air scatters blue light more.",
    "rubric": {"criteria": CRITERIA},
}
PAIR: dict[str, Any] = {
    "id": "p1",
    "task_id": "sky",
    "preferred": "Scattering.",
    "rejected": "The sea.",
    "axis": "accuracy",
    "difficulty": "obvious",
    "gold_preferred": {f"c{n}": True for n in range(7)},
    "gold_rejected": {f"c{n}": False for n in range(7)},
}


def task(**changes: Any) -> dict[str, Any]:
    return {**TASK, **changes}


def rubric(*descriptions: str, **last: Any) -> dict[str, Any]:
    """A rubric of seven criteria, the first ones reworded, the last one changed."""
    rows = [dict(c) for c in CRITERIA]
    for row, description in zip(rows, descriptions, strict=False):
        row["description"] = description
    rows[-1].update(last)
    return {"criteria": rows}


def own(tag: str) -> dict[str, Any]:
    """A rubric that no other task shares."""
    return rubric(*(f"Names {tag} {n}." for n in range(7)))


def written(folder: Path, *rows: Any, name: str = "rows.jsonl") -> Path:
    path = folder / name
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return path


def seen(value: Any, width: int = 200) -> str:
    console = Console(width=width, record=True, file=None, force_terminal=True, quiet=False)
    with console.capture() as capture:
        console.print(render(value))
    return str(capture.get())


# --- Errors ----------------------------------------------------------------------------


def test_every_bad_line_is_reported_not_only_the_first(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        task(),
        '{"id": "cut',
        "",
        task(id="Bad Id", domain="law", rubric=own("a")),
        task(question="Another?", rubric=own("b")),
        task(id="no-question", question=None),
        task(id="typo", anwser="x"),
        '{"id": "twice", "id": "twice", "question": "Q?"}',
        task(id="pitfall", question="Third?", rubric=rubric(category="Pitfall")),
        "[1]",
    )
    errors = [(p.line, p.field, p.found, p.allowed) for p in check(path) if p.level == "error"]
    assert [(line, field) for line, field, _, _ in errors] == [
        (2, ""),
        (4, "id"),
        (4, "domain"),
        (5, "id"),
        (6, "question"),
        (7, "anwser"),
        (8, "id"),
        (9, "rubric.criteria.6.polarity"),
        (10, "(the whole line)"),
    ]
    found = {(line, field): (found, allowed) for line, field, found, allowed in errors}
    assert 'found \'{"id": "cut\'' in found[2, ""][0]
    assert found[4, "domain"][0] == "found 'law'"
    assert "'medicine'" in found[4, "domain"][1]
    assert found[5, "id"] == (
        "'sky' was already used on line 1",
        "an id that occurs once in the file",
    )
    assert found[7, "anwser"][0] == "unknown key, found 'x'"
    assert found[7, "anwser"][1].startswith("id, domain, topic, question")
    assert found[9, "rubric.criteria.6.polarity"][0] == "missing for the pitfall 'c6'"


def test_an_error_is_what_the_loader_refuses_and_a_warning_is_not(tmp_path: Path) -> None:
    warned = written(tmp_path, task(reference=None), task(id="two", rubric=own("a")))
    assert {p.level for p in check(warned)} == {"warning"}
    assert len(load_tasks(warned)) == 2
    refused = written(tmp_path, task(), task(id="two", rubric=own("a"), topic=3))
    (error,) = [p for p in check(refused) if p.level == "error"]
    with pytest.raises(DataError) as caught:
        load_tasks(refused)
    assert str(caught.value) == f"{refused}, {error}"


def test_a_good_file_has_no_problem(tmp_path: Path) -> None:
    path = written(tmp_path, task(), task(id="sea", question="Why salt?", rubric=own("a")))
    assert check(path) == []
    assert "0 errors, 0 warnings" in seen(check(path))


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_an_empty_file_is_a_problem(tmp_path: Path, content: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(content)
    assert [str(p) for p in check(path)] == [": holds no task; allowed: one JSON object a line"]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.jsonl: cannot be read .*; check the path"):
        check(tmp_path / "none.jsonl")
    with pytest.raises(DataError, match=r"cannot be read \(Is a directory\); name a file in it"):
        check(tmp_path)


# --- Warnings --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        (
            task(question="  why is the SKY blue "),
            ("question", "the question of line 1 again", "a question asked once"),
        ),
        (task(reference=None), ("reference", "missing", "an answer to ground")),
        (task(rubric=None), ("rubric", "missing", "a rubric")),
        (
            task(rubric={"criteria": own("b")["criteria"][:6]}),
            ("rubric.criteria", "6 criteria", "7 to 20, as in the paper"),
        ),
        (
            task(rubric=rubric("Names air. Names light.")),
            ("rubric.criteria.0.description", "2 sentences, 'Names air. Names light.'", "one"),
        ),
        (
            task(rubric=rubric("Names FACT 9", description="names fact 9")),
            ("rubric.criteria.6.description", "given twice in this rubric", "counted once"),
        ),
        (
            task(rubric=rubric("names  fact 0")),
            ("rubric.criteria.0.description", "a criterion of line 1 again", "specific"),
        ),
    ],
)
def test_warnings(tmp_path: Path, second: dict[str, Any], expected: tuple[str, str, str]) -> None:
    second = {**second, "id": "second"}
    if second["question"] == TASK["question"]:
        second["question"] = "Why is the sea salty?"
    if second["rubric"] == TASK["rubric"]:
        second["rubric"] = own("a")
    warnings = [p for p in check(written(tmp_path, task(), second)) if p.line == 2]
    field, found, allowed = expected
    matching = [p for p in warnings if (p.field, p.found) == (field, found)]
    assert len(matching) == 1
    assert allowed in matching[0].allowed
    assert {p.level for p in warnings} == {"warning"}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Why is the sky blue?", "why is  the SKY blue", True),
        ("Find ½ of it.", "find 1⁄2 of it", True),
        ("Is it so?\u200b", "Is it so", True),  # nobody sees the last character
        ("Caf\u00e9?", "Cafe\u0301?", True),
        ("Naïve", "naive", False),  # an accent makes another word
        ("Give 5 mg.", "Give -5 mg.", False),
        ("Give .5 mg.", "Give 5 mg.", False),
        ("States pH > 7.", "States pH < 7.", False),
        ("Solve x+1 = 0", "Solve x-1 = 0", False),
        ("Compute 5!", "Compute 5.", False),
        ("Why, then, is it blue?", "Why then is it blue?", False),
    ],
)
def test_what_says_the_same_to_a_reader_is_warned_of(
    tmp_path: Path, one: str, other: str, same: bool
) -> None:
    """Of questions, of criteria in two rubrics, and of criteria in one."""
    first = task(question=one, rubric=rubric(one))
    second = task(id="b", question=other, rubric=own("b"))
    second["rubric"]["criteria"][0]["description"] = other
    third = task(id="c", question="Why salt?", rubric=own("c"))
    third["rubric"]["criteria"][0]["description"] = f"Both {one}"
    third["rubric"]["criteria"][1]["description"] = f"both {other}"
    found = [p.found for p in check(written(tmp_path, first, second, third))]
    expected = ["the question of line 1 again", "a criterion of line 1 again"]
    assert found == [*expected, "given twice in this rubric"] * same


def test_points_bring_one_warning_for_the_whole_file(tmp_path: Path) -> None:
    rows = [task(rubric=rubric(points=5)), task(id="b", question="Why?", rubric=own("b"))]
    (warning,) = check(written(tmp_path, *rows))
    assert (warning.line, warning.field, warning.level) == (0, "rubric", "warning")
    assert warning.found.startswith("points of 1 of 14 criteria are kept, but the reward weighs by")
    assert len(fitting(written(tmp_path, *rows, "[1]"))) == 2


def test_rubrics_in_other_shapes_are_checked_as_the_loader_reads_them(tmp_path: Path) -> None:
    read = task(rubric=[f"Names fact {n}." for n in range(7)])
    bad = task(id="b", question="Why?", rubric=[{"text": "Says BAD.", "points": -5}])
    (error,) = check(written(tmp_path, read, bad))
    assert (error.line, error.level) == (2, "error")
    assert error.found == "'Says BAD.' is ambiguous (no known wording)"
    assert "say its polarity: 'good' (worded as avoidance) or 'bad'" in seen([error])
    assert check(written(tmp_path, read)) == []
    assert show(written(tmp_path, read)).counts["Essential"] == 7


@pytest.mark.parametrize("size", [7, 20])
def test_the_papers_sizes_are_fine(tmp_path: Path, size: int) -> None:
    rows = [{**CRITERIA[0], "id": f"c{n}", "description": f"Names {n}."} for n in range(size)]
    assert check(written(tmp_path, task(rubric={"criteria": rows}))) == []


# --- Pairs -----------------------------------------------------------------------------


def test_pairs_are_checked_against_their_tasks(tmp_path: Path) -> None:
    tasks = written(tmp_path, task(), name="tasks.jsonl")
    pairs = written(
        tmp_path,
        PAIR,
        {**PAIR, "id": "p2", "task_id": "sea"},
        {**PAIR, "id": "p3", "gold_rejected": {"c0": True}},
        {**PAIR, "id": "p4", "rejected": " Scattering. "},
        {**PAIR, "id": "p5", "axis": "style"},
    )
    assert [(p.line, p.field, p.level) for p in check(pairs, tasks)] == [
        (2, "task_id", "error"),
        (3, "gold_rejected", "error"),
        (4, "rejected", "warning"),
        (5, "axis", "error"),
    ]
    summary = show(pairs, tasks)
    assert summary.kind == "pairs"
    assert summary.counts == {
        "pairs": 2,
        "tasks": 1,
        "axis accuracy": 2,
        "difficulty obvious": 2,
    }
    assert summary.problems == 3
    assert ("c0", "met by preferred, not met by rejected") in summary.example


def test_a_bad_task_file_is_named_before_the_pairs(tmp_path: Path) -> None:
    tasks = written(tmp_path, task(topic=1), name="tasks.jsonl")
    with pytest.raises(DataError, match=r"tasks\.jsonl, line 1, field topic"):
        check(written(tmp_path, PAIR), tasks)


# --- Showing ---------------------------------------------------------------------------


def test_counts_of_tasks(tmp_path: Path) -> None:
    pitfall = rubric(category="Pitfall", polarity="bad")
    path = written(
        tmp_path,
        task(rubric=pitfall),
        task(id="two", domain="other", reference=None, rubric=None),
        task(id="three", topic=3),
    )
    summary = show(path)
    assert summary.counts == {
        "tasks": 2,
        "domain other": 1,
        "domain science": 1,
        "with reference": 1,
        "with rubric": 1,
        "criteria": 7,
        "Essential": 6,
        "Important": 0,
        "Optional": 0,
        "Pitfall": 1,
        "worded as a failure": 1,
    }
    assert summary.problems == 1
    text = seen(summary)
    assert "Why is the sky blue?" in text
    assert "Pitfall, bad" in text
    assert "left out: lines with 1 errors" in text


def test_the_conversation_before_the_question_is_shown(tmp_path: Path) -> None:
    history = [{"role": "assistant", "content": "Hello there."}]
    assert ("assistant", "Hello there.") in show(written(tmp_path, task(history=history))).example


def test_a_file_without_a_good_line_shows_no_example(tmp_path: Path) -> None:
    summary = show(written(tmp_path, "[1]"))
    assert (summary.counts["tasks"], summary.example, summary.problems) == (0, (), 1)
    assert "the first row" not in seen(summary)


HOSTILE = "\x1b[31mred\x1b[0m \x07 [bold]mark-up[/bold] \u202eback\u200b \ue000\u2028 ok\nline"


def test_escaped_text_is_inert_and_readable() -> None:
    assert escaped("a\x1b[31m\u202eb\u200b\n\t\u2028") == "a\\x1b[31m\\u202eb\\u200b\\n\\t\\u2028"
    assert escaped("a\nb", keep="\n") == "a\nb"
    assert escaped("°C, é, 水, שלום, 🙂") == "°C, é, 水, שלום, 🙂"


@pytest.mark.parametrize("place", ["question", "key", "value", "path"])
def test_nothing_of_the_file_is_obeyed_by_the_terminal(tmp_path: Path, place: str) -> None:
    row = task(question=HOSTILE) if place == "question" else task()
    if place == "key":
        row[HOSTILE] = 1
    if place == "value":
        row["domain"] = HOSTILE
    name = "\x1b[31m[bold]x.jsonl" if place == "path" else "rows.jsonl"
    path = written(tmp_path, row, name=name)
    for output in (seen(show(path)), seen(check(path))):
        for char in "\x07\u202e\u200b\ue000\u2028":
            assert char not in output
        assert "\x1b[31mred" not in output
        assert "\x1b[31m[bold]" not in output
    shown = seen(show(path)) if place in ("question", "path") else seen(check(path))
    assert "[bold]" in shown  # mark-up stays text
    assert "\\x1b" in shown


def test_long_texts_are_cut_with_their_length(tmp_path: Path) -> None:
    text = seen(show(written(tmp_path, task(question="why " * 1_000))))
    assert "(4,000 characters)" in text
    assert text.count("why") == 250
