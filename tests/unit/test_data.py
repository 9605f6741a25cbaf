"""RaR-Mini as a specification, and the loader against files that are wrong."""

from __future__ import annotations

import errno
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from rar_lib.data import load_mini, load_mini_pairs, load_pairs, load_tasks, save_tasks
from rar_lib.errors import DataError
from rar_lib.types import Category, Criterion, Pair, Polarity, Rubric, Task

TASKS = load_mini()
PAIRS = load_mini_pairs()
BY_ID = {t.id: t for t in TASKS}
RANKED_AXES = {"accuracy", "completeness", "safety", "specificity"}
EQ1 = {"Essential": 1.0, "Important": 0.7, "Optional": 0.3, "Pitfall": 0.9}


def words(text: str) -> int:
    return len(text.split())


def criteria(task: Task) -> tuple[Criterion, ...]:
    assert task.rubric is not None
    return task.rubric.criteria


def by_hand(task: Task, gold: dict[str, bool]) -> float:
    """Eq. 1 written out again, so that the data is not judged by the library it feeds."""
    got = sum(EQ1[c.category] for c in criteria(task) if gold[c.id] == (c.polarity == "good"))
    return got / sum(EQ1[c.category] for c in criteria(task))


# --- RaR-Mini: tasks and rubrics -------------------------------------------------------


@pytest.mark.parametrize(
    ("split", "medicine", "topics"),
    [
        ("train", 4, {"physics": 1, "chemistry": 2, "biology": 1}),
        ("test", 2, {"physics": 1, "biology": 1}),
        ("all", 6, {"physics": 2, "chemistry": 2, "biology": 2}),
    ],
)
def test_split_is_balanced(split: Any, medicine: int, topics: dict[str, int]) -> None:
    tasks = load_mini(split)
    assert Counter(t.domain for t in tasks) == {"medicine": medicine, "science": medicine}
    assert Counter(t.topic for t in tasks if t.domain == "science") == topics
    assert [p.task_id for p in load_mini_pairs(split)] == [t.id for t in tasks]


def test_first_eight_tasks_are_train_and_last_four_test() -> None:
    assert TASKS[:8] == load_mini("train")
    assert TASKS[8:] == load_mini("test")
    assert len(TASKS) == 12


def test_unknown_split_is_refused() -> None:
    with pytest.raises(DataError, match="split 'dev' does not exist; allowed: 'train'"):
        load_mini("dev")  # type: ignore[arg-type]


@pytest.mark.parametrize("task", TASKS, ids=lambda t: t.id)
def test_task_has_the_promised_shape(task: Task) -> None:
    assert 8 <= words(task.question) <= 30
    assert task.reference is not None
    assert 40 <= words(task.reference) <= 90
    assert 6 <= len(criteria(task)) <= 8
    assert {c.category for c in criteria(task)} == set(Category)
    prefix = task.id.rsplit("-", 1)[1]
    for criterion in criteria(task):
        assert criterion.id.startswith(f"{prefix}-")
        assert 2 <= words(criterion.title) <= 5
        assert criterion.description.endswith(".")
        assert ". " not in criterion.description, "one sentence"


def test_categories_keep_their_shares() -> None:
    count = Counter(c.category for t in TASKS for c in criteria(t))
    total = sum(count.values())
    target = {"Essential": 0.30, "Important": 0.35, "Optional": 0.22, "Pitfall": 0.13}
    for category, share in target.items():
        assert count[Category(category)] / total == pytest.approx(share, abs=0.03)


def test_no_criterion_is_repeated() -> None:
    everything = [c for t in TASKS for c in criteria(t)]
    for values in (
        [c.id for c in everything],
        [c.description.casefold() for c in everything],
    ):
        assert [v for v, n in Counter(values).items() if n > 1] == []


def test_pitfalls_come_in_both_polarities_in_both_domains() -> None:
    pitfalls = [
        (t.domain, c.polarity) for t in TASKS for c in criteria(t) if c.category == "Pitfall"
    ]
    assert Counter(pitfalls) == {
        (domain, polarity): 3
        for domain in ("medicine", "science")
        for polarity in (Polarity.GOOD, Polarity.BAD)
    }


def test_polarity_agrees_with_the_wording() -> None:
    for criterion in (c for t in TASKS for c in criteria(t)):
        if criterion.category is Category.PITFALL:
            avoids = criterion.description.startswith("Avoids ")
            assert (criterion.polarity is Polarity.GOOD) == avoids, criterion.id
        else:
            assert criterion.polarity is Polarity.GOOD, criterion.id


# --- RaR-Mini: pairs -------------------------------------------------------------------


def test_axes_and_difficulties_are_spread_evenly() -> None:
    assert set(Counter(p.axis for p in PAIRS).values()) == {2}
    assert len({p.axis for p in PAIRS}) == 6
    assert set(Counter(p.difficulty for p in PAIRS).values()) == {4}


@pytest.mark.parametrize("pair", PAIRS, ids=lambda p: p.id)
def test_gold_ranks_preferred_over_rejected(pair: Pair) -> None:
    task = BY_ID[pair.task_id]
    preferred, rejected = by_hand(task, pair.gold_preferred), by_hand(task, pair.gold_rejected)
    if pair.axis in RANKED_AXES:
        assert preferred > rejected + 0.1
    else:
        assert preferred >= rejected


def test_two_pairs_tie_because_no_criterion_covers_their_axis() -> None:
    ties = [p.task_id for p in PAIRS if p.gold_preferred == p.gold_rejected]
    assert ties == ["train-sci-rust", "test-sci-yeast"]


def test_gold_score_of_one_pair_worked_by_hand() -> None:
    """test-med-stroke: 4 Essential, 2 Important, 1 Optional, 1 Pitfall, 6.6 in all."""
    pair = next(p for p in PAIRS if p.task_id == "test-med-stroke")
    task = BY_ID[pair.task_id]
    # All four Essential, onset time, pitfall avoided: 4 + 0.7 + 0.9.
    assert by_hand(task, pair.gold_preferred) == pytest.approx(5.6 / 6.6)
    # Face, speech, call, headache, pitfall avoided: 3 + 0.3 + 0.9.
    assert by_hand(task, pair.gold_rejected) == pytest.approx(4.2 / 6.6)


def test_labels_are_not_nearly_all_alike() -> None:
    """A judge that always says yes, or always no, must be visibly wrong."""
    labels = [
        v for p in PAIRS for gold in (p.gold_preferred, p.gold_rejected) for v in gold.values()
    ]
    assert 0.3 < sum(labels) / len(labels) < 0.75


def test_length_alone_is_at_chance() -> None:
    lengths = [(words(p.preferred), words(p.rejected)) for p in PAIRS]
    assert all(40 <= n <= 90 for pair in lengths for n in pair)
    assert all(abs(a - b) <= 12 for a, b in lengths)
    assert abs(sum(a - b for a, b in lengths)) / len(lengths) <= 3
    assert 0.3 <= sum(a > b for a, b in lengths) / len(lengths) <= 0.7
    assert 0.3 <= sum(len(p.preferred) > len(p.rejected) for p in PAIRS) / len(PAIRS) <= 0.7


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
        pytest.param(line(TASK, id="Sky!"), ["field id: found 'Sky!'", "pattern"], id="bad-slug"),
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


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"absent\.jsonl: cannot be read \(No such file"):
        load_tasks(tmp_path / "absent.jsonl")


def test_blank_lines_and_windows_line_ends_are_accepted(tmp_path: Path) -> None:
    path = written(tmp_path, "\r\n" + line(TASK) + "\r\n\r\n" + line(TASK, id="two") + "\r\n\r\n")
    assert [t.id for t in load_tasks(path)] == ["sky", "two"]


def test_saved_tasks_come_back_the_same(tmp_path: Path) -> None:
    odd = Task(id="odd", question="0 °C, \u2028 and \N{SNOWMAN}\nare one question?", reference=None)
    path = tmp_path / "tasks.jsonl"
    save_tasks(path, [*TASKS, odd])
    assert load_tasks(path) == [*TASKS, odd]
    assert "°C".encode() in path.read_bytes()
    assert os.listdir(tmp_path) == ["tasks.jsonl"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_full_disk_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "tasks.jsonl"
    save_tasks(path, TASKS[:1])
    monkeypatch.setattr(os, step, full)
    with pytest.raises(DataError, match=r"could not be written \(No space left"):
        save_tasks(path, TASKS)
    assert load_tasks(path) == TASKS[:1]
    assert os.listdir(tmp_path) == ["tasks.jsonl"]


@pytest.mark.parametrize(
    ("tasks", "message"),
    [([], "no tasks to save"), ([TASKS[0], TASKS[0]], "repeated task ids train-med-burn")],
)
def test_what_could_not_be_loaded_is_not_saved(
    tmp_path: Path, tasks: list[Task], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        save_tasks(tmp_path / "tasks.jsonl", tasks)
    assert os.listdir(tmp_path) == []
