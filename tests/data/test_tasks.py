"""The loader of tasks and pairs, against files that are wrong; and what a draw of them is."""

from __future__ import annotations

import errno
import json
import math
import os
import random
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rar_lib.core.errors import DataError
from rar_lib.core.types import Pair, Polarity, Rubric, Task
from rar_lib.data.check import check
from rar_lib.data.tasks import (
    EXAMPLE,
    default_held_out,
    draw_pairs,
    draw_tasks,
    load_mini,
    load_mini_pairs,
    load_pairs,
    load_tasks,
    points_kept,
    question_id,
    rubric_of,
    save_tasks,
    split_tasks,
    stratified,
)

SOME = load_mini("val")

# --- The loader ------------------------------------------------------------------------

CRITERION = {
    "id": "sky-scattering",
    "title": "Names scattering",
    "description": "Says that air scatters blue light most.",
    "category": "Essential",
}
PITFALL = CRITERION | {"id": "sky-sea", "category": "Pitfall"}
TASK = {"id": "sky", "question": "Why is the sky blue?", "rubric": {"criteria": [CRITERION]}}
PAIR = {
    "id": "sky-pair",
    "task_id": "sky",
    "preferred": "Air scatters blue light most.",
    "rejected": "It mirrors the sea.",
    "axis": "accuracy",
    "difficulty": "obvious",
    "gold_preferred": {"sky-scattering": True},
    "gold_rejected": {"sky-scattering": False},
}


def line(row: dict[str, Any], **changes: Any) -> str:
    return json.dumps(row | changes)


def rubric(**changes: Any) -> dict[str, Any]:
    return {"criteria": [CRITERION | changes]}


def written(folder: Path, content: str | bytes) -> Path:
    path = folder / "rows.jsonl"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param("", ["holds no task", "one JSON object a line"], id="empty"),
        pytest.param("\n  \n", ["holds no task"], id="blank-only"),
        pytest.param(
            '{"id": "sky"', ["line 1: malformed JSON", 'found \'{"id": "sky"\''], id="cut-off"
        ),
        pytest.param("\n\nnot json\n", ["line 3: malformed JSON"], id="line-number-after-blanks"),
        pytest.param("[" * 100_000, ["line 1: malformed JSON"], id="nested-too-deep"),
        pytest.param(
            '"sky"', ["line 1", "(the whole line)", "found 'sky'", "object"], id="no-object"
        ),
        pytest.param(b'{"id": "\xff"}', ["line 1", "byte 9", "0xff", "UTF-8"], id="latin-1"),
        pytest.param(
            line(TASK) + "\n" + line(TASK),
            ["line 2, field id: 'sky' was already used on line 1"],
            id="duplicate-id",
        ),
        pytest.param(
            '{"id": "a", "id": "b", "question": "Why?"}',
            ["line 1, field id: given twice"],
            id="duplicate-key",
        ),
        pytest.param(
            line(TASK, anwser="x"),
            ["field anwser: unknown key, found 'x'", "allowed: id, domain, topic, question"],
            id="unknown-key",
        ),
        pytest.param(
            line(TASK, rubric=rubric(weight=5)),
            ["rubric.criteria.0.weight: unknown key, found 5", "allowed: id, title, description"],
            id="unknown-nested-key",
        ),
        pytest.param('{"id": "sky"}', ["field question: missing"], id="missing"),
        pytest.param(
            line(TASK, id="Sky!"),
            ["field id: found 'Sky!'; allowed: lower-case letters, digits and hyphens, at most 64"],
            id="bad-slug",
        ),
        pytest.param(
            line(TASK, domain="law"), ["field domain: found 'law'", "'medicine'"], id="bad-domain"
        ),
        pytest.param(
            line(TASK, rubric=rubric(category="Vital")),
            ["rubric.criteria.0.category: found 'Vital'", "'Essential'"],
            id="bad-category",
        ),
        pytest.param(
            line(TASK, rubric=rubric(polarity="up")),
            ["rubric.criteria.0.polarity: found 'up'", "'good' or 'bad'"],
            id="bad-polarity",
        ),
        pytest.param(
            line(TASK, rubric={"criteria": [PITFALL]}),
            ["rubric.criteria.0.polarity: missing for the pitfall 'sky-sea'", "'good'", "'bad'"],
            id="pitfall-without-polarity",
        ),
        pytest.param(
            line(TASK, question=5), ["field question: found 5", "string"], id="no-coercion"
        ),
        pytest.param(
            line(TASK, rubric={"criteria": [CRITERION, CRITERION]}),
            ["field rubric", "must be unique; repeated: sky-scattering"],
            id="duplicate-criterion",
        ),
        pytest.param(
            line(TASK, rubric={"criteria": []}),
            ["field rubric.criteria: found []; allowed: at least one criterion"],
            id="no-criterion",
        ),
        pytest.param(
            line(TASK, rubric={"criteria": [CRITERION | {"id": f"c{n}"} for n in range(61)]}),
            ["field rubric.criteria: found [", "; allowed: at most 60 criteria"],
            id="too-many-criteria",
        ),
        pytest.param(
            line(TASK, rubric=rubric(points=-5)),
            ["rubric.criteria.0.points: -5 for 'sky-scattering', of which meeting is good"],
            id="negative-points-that-are-good",
        ),
        pytest.param(
            line(TASK, id="", domain="law"), ["field id", "field domain"], id="every-problem-named"
        ),
    ],
)
def test_bad_task_files_are_refused(
    tmp_path: Path, content: str | bytes, expected: list[str]
) -> None:
    path = written(tmp_path, content)
    with pytest.raises(DataError) as caught:
        load_tasks(path)
    for part in [str(path), *expected]:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"category": "vital"}, ["rubric.criteria.0.category"]),
        ({"category": "vital", "polarity": "up"}, ["category", "polarity"]),
        ({"category": "Pitfall"}, ["rubric.criteria.0.polarity"]),
        ({"points": -1}, ["rubric.criteria.0.points"]),
        ({"id": "A"}, ["rubric.criteria.0.id"]),
        ({"weight": 1}, ["rubric.criteria.0.weight"]),
    ],
)
def test_a_mistake_in_every_criterion_is_not_that_there_is_none(
    tmp_path: Path, changes: dict[str, Any], fields: list[str]
) -> None:
    with pytest.raises(DataError) as caught:
        load_tasks(written(tmp_path, line(TASK, rubric=rubric(**changes))))
    said = str(caught.value)
    assert said.count("field ") == len(fields)
    assert all(field in said for field in fields)
    assert "at least" not in said


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"task_id": "sea"}, ["field task_id: 'sea' is not a known task", "allowed: bare, sky"]),
        ({"task_id": "bare"}, ["task 'bare' has no rubric"]),
        ({"gold_preferred": {}}, ["field gold_preferred: missing ['sky-scattering']"]),
        (
            {"gold_rejected": {"sky-scattering": True, "sky-sea": False}},
            ["field gold_rejected: missing [], unexpected ['sky-sea']"],
        ),
        ({"gold_preferred": {"sky-scattering": "yes"}}, ["sky-scattering: found 'yes'", "boolean"]),
        ({"gold_preferred": {"sky-scattering": 1}}, ["sky-scattering: found 1", "boolean"]),
        ({"gold_preferred": {"sky-scattering": None}}, ["sky-scattering: found None", "boolean"]),
        ({"axis": "style"}, ["field axis: found 'style'", "'accuracy'"]),
        ({"difficulty": "hard"}, ["field difficulty: found 'hard'", "'subtle'"]),
        ({"margin": 2}, ["field margin: unknown key, found 2", "allowed: id, task_id"]),
    ],
)
def test_bad_pair_files_are_refused(
    tmp_path: Path, changes: dict[str, Any], expected: list[str]
) -> None:
    tasks = [
        Task(id="sky", question="Why?", rubric=Rubric.model_validate(TASK["rubric"])),
        Task(id="bare", question="Why?"),
    ]
    path = written(tmp_path, line(PAIR) + "\n" + line(PAIR, id="second", **changes))
    with pytest.raises(DataError) as caught:
        load_pairs(path, tasks)
    for part in [str(path), "line 2", *expected]:
        assert part in str(caught.value)


# --- Rubrics in the shapes that people write ------------------------------------------

GOOD = Polarity.GOOD
BAD = Polarity.BAD


def criteria_of(rubric: object) -> tuple[list[tuple[Any, ...]], list[str]]:
    """Category, polarity, points and sentence of what is read of a rubric, and its problems."""
    made, problems = rubric_of(rubric)
    held = Rubric.model_validate(made).criteria if made else ()
    return (
        [(one.category[0], one.polarity.value, one.points, one.description) for one in held],
        [f"{problem.level} {problem}" for problem in problems],
    )


@pytest.mark.parametrize(
    ("rubric", "expected"),
    [
        (["Says A.", "Says B."], [("E", GOOD, None, "Says A."), ("E", GOOD, None, "Says B.")]),
        (
            ["Pitfall Criteria: Recommends lead.", "Optional: Says B."],
            [("P", BAD, None, "Recommends lead."), ("O", GOOD, None, "Says B.")],
        ),
        ([{"criterion": "Says A."}], [("E", GOOD, None, "Says A.")]),
        ([{"text": "Says A.", "weight": None}], [("E", GOOD, None, "Says A.")]),
        (
            [{"description": f"Says {n}.", "weight": n} for n in (10, 7, 6, 4, 3, 0.5)],
            [
                ("E", GOOD, 10, "Says 10."),
                ("E", GOOD, 7, "Says 7."),
                ("I", GOOD, 6, "Says 6."),
                ("I", GOOD, 4, "Says 4."),
                ("O", GOOD, 3, "Says 3."),
                ("O", GOOD, 0.5, "Says 0.5."),
            ],
        ),
        ([{"text": "Recommends lead.", "points": -8}], [("P", BAD, -8, "Recommends lead.")]),
        ([{"text": "Avoids jargon.", "points": -8}], [("P", GOOD, -8, "Avoids jargon.")]),
        (
            [{"text": "Colours it.", "points": -8, "polarity": "BAD"}],
            [("P", BAD, -8, "Colours it.")],
        ),
        (
            [{"text": "Recommends lead.", "category": " pitfall", "polarity": "good"}],
            [("P", GOOD, None, "Recommends lead.")],  # as the author says
        ),
        (
            [{"text": "Recommends lead.", "category": "Important", "weight": -4}],
            [("I", BAD, -4, "Recommends lead.")],
        ),
        (
            [{"text": "Says A.", "category": "optional", "weight": 9}],
            [("O", GOOD, 9, "Says A.")],  # what is named counts
        ),
        (
            [{"text": "Important Criteria: Says A.", "weight": 1}],
            [("I", GOOD, 1, "Says A.")],
        ),
        ('["Says A."]', [("E", GOOD, None, "Says A.")]),
        ('[{"text": "Says A.", "weight": 5}]', [("I", GOOD, 5, "Says A.")]),
        ({"criteria": ["Says A."], "source": "authored"}, [("E", GOOD, None, "Says A.")]),
        (
            {"criteria": [{"description": "Says A.", "category": "Optional"}]},
            [("O", GOOD, None, "Says A.")],
        ),
    ],
)
def test_a_rubric_is_read_in_any_usual_shape(rubric: object, expected: list[Any]) -> None:
    assert criteria_of(rubric) == (expected, [])


def test_ids_and_titles_are_kept_as_far_as_they_can_be_and_made_otherwise() -> None:
    sentence = "Says that, of all metals, lead is the worst one."
    items = [
        {"id": "C_1", "title": "Lead", "text": sentence},
        {"id": 7, "text": sentence},
        {"text": sentence, "title": " "},
        {"text": "Essential Criteria: Ok.", "tags": ["axis:x"]},
    ]
    made, problems = rubric_of(items)
    held = Rubric.model_validate(made).criteria
    assert problems == []
    assert [(one.id, one.title) for one in held] == [
        ("c-1", "Lead"),
        ("7", "Says that, of all metals, lead"),
        ("c03", "Says that, of all metals, lead"),
        ("c04", "Ok"),
    ]
    assert held[3].tags == ("axis:x",)


@pytest.mark.parametrize(
    ("rubric", "left", "said"),
    [
        (
            [{"text": "Says BAD.", "weight": -5}, {"text": "Says A.", "weight": 5}],
            "Says A.",
            "warning field 0.polarity: 'Says BAD.' is ambiguous (no known wording), left out; say "
            "its polarity: 'good' (worded as avoidance) or 'bad' (worded as failure)",
        ),
        (
            [{"text": "Recommends lead.", "category": "Pitfall", "weight": 3}, "Says A."],
            "",
            "error field 1.weight: missing, and others have one; allowed: a number, or a category",
        ),
        (
            [{"text": "Says A.", "weight": 5}, {"text": "Says B.", "weight": 0}],
            "Says A.",
            "warning field 1.weight: 0 for 'Says B.', left out; remove it, or weigh it",
        ),
        (
            [{"text": "Recommends lead.", "category": "Pitfall", "weight": 3}],
            "",
            "error field 0.polarity: 'Recommends lead.' is ambiguous (conflict: advise, with the "
            "weight +3); say its polarity",
        ),
    ],
)
def test_what_is_ambiguous_or_of_no_weight_is_reported_and_not_guessed(
    rubric: object, left: str, said: str
) -> None:
    held, problems = criteria_of(rubric)
    assert [sentence for *_, sentence in held] == ([left] if left else [])
    assert [problem for problem in problems if problem.startswith(said)]


@pytest.mark.parametrize(
    ("rubric", "said"),
    [
        ("Names yeast.", "error : found 'Names yeast.'; allowed: a list; each item a text, or an"),
        ("[broken", "found '[broken'"),
        ("7", "found '7'"),
        (7, "found 7"),
        ({"accuracy": "Names yeast."}, "found {'accuracy': 'Names yeast.'}; allowed: a list"),
        ({"description": ["A."], "weight": [1]}, "found {'description': ['A.'], 'weight': [1]}"),
        ({"criteria": ["Says A."], "weights": [1]}, "found {'criteria'"),
        ([3], "error field 0: found 3; allowed: a text, or an object with description"),
        ([["Says A.", 5]], "error field 0: found ['Says A.', 5]"),
        ([" "], "error field 0.description: found ' '; allowed: a sentence"),
        ([{"title": "A", "weight": 5}], "error field 0.description: missing; allowed: a sentence"),
        ([{"text": "A.", "weight": "5"}], "error field 0.weight: found '5'; allowed: a number"),
        ([{"text": "A.", "points": True}], "error field 0.points: found True; allowed: a number"),
        ([{"text": "A.", "points": math.nan}], "error field 0.points: found nan"),
        (
            [{"text": "A.", "category": "Vital"}],
            "error field 0.category: found 'Vital'; allowed: Essential, Important, Optional, Pit",
        ),
        ([{"text": "A.", "polarity": -1}], "error field 0.polarity: found -1; allowed: 'good'"),
        (
            ["Says A.", {"text": "B.", "weight": 2}],
            "error field 0.weight: missing, and others have one",
        ),
    ],
)
def test_a_rubric_that_is_not_understood_is_shown_two_rows_that_are(
    rubric: object, said: str
) -> None:
    made, (problem, *others) = rubric_of(rubric)
    assert made is None
    assert said in f"{problem.level} {problem}"
    assert str(problem).endswith(f"two rows that are read:\n{EXAMPLE}")
    assert not any(other.mend for other in others)


def test_the_example_of_a_rubric_is_read_without_a_word(tmp_path: Path) -> None:
    assert len(EXAMPLE.splitlines()) == 2
    first, second = load_tasks(written(tmp_path, EXAMPLE))
    assert first.question == "Why does bread rise?"
    assert second.rubric is not None
    assert [(one.category[0], one.polarity.value) for one in second.rubric.criteria] == [
        ("E", "good"),
        ("P", "bad"),
    ]
    assert check(written(tmp_path, EXAMPLE)) == [
        problem for problem in check(written(tmp_path, EXAMPLE)) if problem.level == "warning"
    ]


def test_task_files_may_hold_rubrics_in_other_shapes(tmp_path: Path) -> None:
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Why does bread rise?"},
    ]
    rows = [
        TASK,
        {"prompt": "Why?", "rubrics": [{"criterion": "Says A.", "points": 5}]},
        {"prompt": turns, "criteria": ["Says A."], "reference_answer": "So."},
        {"id": "b", "question": "How?", "rubric": ["Says B."], "domain": "science"},
    ]
    own, points, chat, named = load_tasks(written(tmp_path, "\n".join(map(line, rows))))
    assert own == Task.model_validate(TASK)
    assert points.id == question_id("Why?")
    assert points.rubric is not None
    assert points.rubric.criteria[0].points == 5
    assert (chat.question, chat.reference) == ("Why does bread rise?", "So.")
    assert [turn.content for turn in chat.history] == ["Be brief."]
    assert (named.id, named.domain) == ("b", "science")
    save_tasks(tmp_path / "again.jsonl", [own, points, chat, named])
    assert load_tasks(tmp_path / "again.jsonl") == [own, points, chat, named]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (
            {"question": "Why?", "rubric": [{"text": "Says A.", "points": -5}, "Says B."]},
            "line 1, field rubric.1.weight: missing",
        ),
        (
            {"question": "Why?", "rubric": [{"text": "Says A.", "points": -5}]},
            "line 1, field rubric.0.polarity: 'Says A.' is ambiguous (no known wording); say its",
        ),
        (
            {"question": "Why?", "rubric": [{"text": "Says A.", "axis": 1}]},
            "line 1, field rubric.axis: unknown key; allowed: id, title, description, criterion",
        ),
        (
            {"question": "Why?", "rubric": ["A."], "rubrics": ["B."]},
            "line 1, field rubrics: stands beside 'rubric'; allowed: one rubric a row",
        ),
        (
            {"prompt": [{"role": "assistant", "content": "x"}], "rubric": ["A."]},
            "line 1, field prompt.0.role: found 'assistant'; allowed: 'user' in the last message",
        ),
        ({"id": "a", "rubric": ["A."]}, "line 1, field question: missing"),
        (
            {"question": "Why?", "rubric": [{"id": "A", "text": "A."}, {"id": "a", "text": "B."}]},
            "criterion ids must be unique; repeated: a",
        ),
        (
            {"question": "Why?", "rubric": ["A."] * 61},
            "field rubric.criteria: found [{'id': 'c01'",
        ),
    ],
)
def test_task_files_refuse_what_would_be_left_out(
    tmp_path: Path, row: dict[str, Any], said: str
) -> None:
    with pytest.raises(DataError) as caught:
        load_tasks(written(tmp_path, line(row)))
    assert said in str(caught.value)


def test_a_pitfall_of_ours_is_never_read_by_its_wording(tmp_path: Path) -> None:
    pitfall = {"description": "Recommends lead.", "category": "Pitfall"}
    with pytest.raises(DataError, match=r"criteria\.0\.polarity: missing for the pitfall 'c01'"):
        load_tasks(written(tmp_path, line(TASK, rubric={"criteria": [pitfall]})))


def test_that_points_are_not_what_the_reward_weighs_by_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = written(tmp_path, line(TASK, rubric=rubric(points=5)) + "\n" + line(TASK, id="b"))
    tasks = load_tasks(path)
    said = (
        "points of 1 of 2 criteria are kept, but the reward weighs by category (Essential 1, "
        "Important 0.7, Optional 0.3, Pitfall 0.9) unless the judge is told otherwise: "
        "Judge(..., weights='points')"
    )
    assert points_kept(tasks) == said
    assert [record.getMessage() for record in caplog.records] == [f"{path}: {said}"]
    caplog.clear()
    assert points_kept(load_tasks(written(tmp_path, line(TASK)))) == ""
    assert caplog.records == []


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.jsonl: cannot be read \(No such file"):
        load_tasks(tmp_path / "absent.jsonl")


def test_blank_lines_and_windows_line_ends_are_accepted(tmp_path: Path) -> None:
    path = written(tmp_path, "\r\n" + line(TASK) + "\r\n\r\n" + line(TASK, id="two") + "\r\n\r\n")
    assert [t.id for t in load_tasks(path)] == ["sky", "two"]


def test_saved_tasks_come_back_the_same(tmp_path: Path) -> None:
    odd = Task(id="odd", question="0 °C, \u2028 and \N{SNOWMAN}\nare one question?", reference=None)
    path = tmp_path / "tasks.jsonl"
    save_tasks(path, [*SOME, odd])
    assert load_tasks(path) == [*SOME, odd]
    assert "°C".encode() in path.read_bytes()
    assert os.listdir(tmp_path) == ["tasks.jsonl"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_full_disk_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "tasks.jsonl"
    save_tasks(path, SOME[:1])
    monkeypatch.setattr(os, step, full)
    with pytest.raises(DataError, match=r"could not be written \(No space left"):
        save_tasks(path, SOME)
    assert load_tasks(path) == SOME[:1]
    assert os.listdir(tmp_path) == ["tasks.jsonl"]


@pytest.mark.parametrize(
    ("tasks", "message"),
    [([], "no tasks to save"), ([SOME[0], SOME[0]], "repeated task ids val-med-sting")],
)
def test_what_could_not_be_loaded_is_not_saved(
    tmp_path: Path, tasks: list[Task], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        save_tasks(tmp_path / "tasks.jsonl", tasks)
    assert os.listdir(tmp_path) == []


# --- The draw ----------------------------------------------------------------------------

DOMAIN = {t.id: t.domain for t in load_mini()}


def factors(item: Task | Pair) -> tuple[str, ...]:
    if isinstance(item, Pair):
        return item.axis, item.difficulty, DOMAIN[item.task_id]
    return item.domain, item.topic


def worst(drawn: list[Any], levels: Any) -> float:
    """The farthest that any level of any factor is from its share, over all lengths."""
    size = Counter(level for i in drawn for level in enumerate(levels(i)))
    found = []
    for n in range(1, len(drawn) + 1):
        taken = Counter(level for i in drawn[:n] for level in enumerate(levels(i)))
        found += [abs(taken[level] - n * size[level] / len(drawn)) for level in size]
    return max(found)


DRAWS = {
    **{f"{s} pairs": (load_mini_pairs(s), draw_pairs) for s in ("val", "test")},
    **{f"{s} tasks": (load_mini(s), draw_tasks) for s in ("train", "val", "test")},
}


def draw(name: str, n: int, items: list[Any] | None = None) -> list[Any]:
    known, how = DRAWS[name]
    more = (load_mini(),) if how is draw_pairs else ()
    return how(known if items is None else items, n, *more)  # type: ignore[operator,no-any-return]


@pytest.mark.parametrize("name", DRAWS)
def test_every_level_is_within_one_of_its_share_at_every_length(name: str) -> None:
    everything = draw(name, 999)
    assert worst(everything, factors) <= 1
    assert {i.id for i in everything} == {i.id for i in DRAWS[name][0]}


@pytest.mark.parametrize("name", DRAWS)
def test_a_draw_hangs_on_no_file_order_and_a_longer_one_goes_on(name: str) -> None:
    shuffled = random.Random(1).sample(DRAWS[name][0], len(DRAWS[name][0]))
    assert draw(name, 12, shuffled) == draw(name, 12) == draw(name, 24)[:12]
    assert draw(name, 12) != DRAWS[name][0][:12]


def test_the_first_24_lines_of_the_file_are_no_sample_and_the_draw_is() -> None:
    # Of the 92 test pairs 27 are subtle and five on tone. The first lines hold 3 and none.
    def seen(pairs: list[Pair]) -> tuple[int, int]:
        return sum(p.difficulty == "subtle" for p in pairs), sum(p.axis == "tone" for p in pairs)

    pairs = load_mini_pairs("test")
    assert seen(pairs) == (27, 5)
    assert seen(pairs[:24]) == (3, 0)
    drawn = draw_pairs(pairs, 24, load_mini())
    assert seen(drawn) == (7, 1)
    assert len({p.task_id for p in drawn}) == 24


def test_every_task_gives_a_pair_before_any_gives_a_second() -> None:
    tasks = [p.task_id for p in draw("test pairs", 92)]
    assert len(set(tasks[:48])) == 48
    assert len(set(tasks[48:])) == len(tasks[48:]) == 44


@dataclass(frozen=True)
class Bead:
    id: str
    colour: str


@given(st.lists(st.integers(1, 12), min_size=1, max_size=8), st.integers(0, 5))
def test_with_one_factor_every_share_holds_whatever_the_sizes(sizes: list[int], seed: int) -> None:
    beads = [Bead(f"{c}-{n}", str(c)) for c, size in enumerate(sizes) for n in range(size)]
    drawn = stratified(beads, len(beads), lambda b: (b.colour,), seed=seed)
    assert sorted(drawn, key=lambda b: b.id) == sorted(beads, key=lambda b: b.id)
    assert worst(drawn, lambda b: (b.colour,)) < 1
    half = len(beads) // 2
    assert stratified(beads[::-1], half, lambda b: (b.colour,), seed=seed) == drawn[:half]


def test_another_seed_is_another_draw() -> None:
    beads = [Bead(str(n), "red") for n in range(20)]
    first, second = (stratified(beads, 5, lambda b: (b.colour,), seed=s) for s in (0, 1))
    assert first != second


def test_a_split_is_disjoint_whole_and_grows_at_its_end() -> None:
    tasks = load_mini()
    held_before: set[str] = set()
    for count in range(1, len(tasks), 7):
        train, held = split_tasks(tasks, count)
        assert [t for t in tasks if t in train or t in held] == tasks
        assert not {t.id for t in train} & {t.id for t in held}
        assert len(held) == count
        assert held_before <= {t.id for t in held}, "a larger number holds out the same and more"
        held_before = {t.id for t in held}
    shuffled = tasks[::-1]
    assert {t.id for t in split_tasks(shuffled)[1]} == {t.id for t in split_tasks(tasks)[1]}


def test_a_split_holds_every_domain_in_its_share() -> None:
    tasks = [Task(id=f"m{n}", question=f"m{n}?", domain="medicine") for n in range(30)]
    tasks += [Task(id=f"s{n}", question=f"s{n}?", domain="science") for n in range(10)]
    _, held = split_tasks(tasks, 8)
    assert Counter(t.domain for t in held) == {"medicine": 6, "science": 2}


def test_the_same_question_is_never_on_both_sides() -> None:
    tasks = [
        Task(id=f"t{n}-{k}", question=question)
        for n in range(6)
        for k, question in enumerate((f"Why {n}?", f"  WHY   {n}?"))
    ]
    train, held = split_tasks(tasks, 3)
    assert not {t.id[:2] for t in train} & {t.id[:2] for t in held}
    assert len(held) >= 3


@pytest.mark.parametrize(("tasks", "held"), [(2, 1), (5, 2), (16, 8), (20, 8), (32, 8), (100, 25)])
def test_what_is_held_out_where_nothing_is_said(tasks: int, held: int) -> None:
    assert default_held_out(tasks) == held


@pytest.mark.parametrize(
    ("questions", "held", "said"),
    [
        (["a"], None, "1 task can't be split: give at least two"),
        (["a", "b"], 2, "2 of 2 tasks can't be held out: choose 1 to 1"),
        (["a", "b"], 0, "0 of 2 tasks"),
        (["a", "A "], 1, "none is left to train on: add other questions"),
    ],
)
def test_a_split_that_cannot_be_is_refused(questions: list[str], held: int, said: str) -> None:
    tasks = [Task(id=f"t{n}", question=q) for n, q in enumerate(questions)]
    with pytest.raises(DataError, match=re.escape(said)):
        split_tasks(tasks, held)
