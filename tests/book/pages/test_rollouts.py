"""The study's arms in the rollout browser: the answers of their units, as they were written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup
from kept import write_kept

from rar_lib.book import results
from rar_lib.book.pages.rollouts import (
    TASKS_OF_A_HALF,
    browsed_units,
    fill,
    kept_runs,
    study_runs,
)
from rar_lib.book.pages.training_study import UNITS
from rar_lib.book.report import browser_data
from rar_lib.core.errors import DataError, ReproduceError
from rar_lib.data.tasks import load_mini
from results.study import run, store
from results.study.run import Unit

TASKS = [task for task in load_mini("all") if task.rubric]
#: Two tasks of the first half, then one of the second.
FIRST, SECOND, THIRD = (task.id for task in TASKS[:3])
CRITERIA = {task.id: task.rubric.criteria for task in TASKS[:3] if task.rubric}
NAMES = [
    f"{arm}-fold{fold}-seed{seed}" for seed in (0, 1) for fold in (0, 1) for arm in ("base", "rlvr")
]

#: Words of an answer that ends at its limit of tokens, about.
LONGEST = 100
#: What the page of rollouts may hold of the study: the whole of it stays below three million.
MOST_BYTES = 2_400_000
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    (tmp_path / UNITS).mkdir(parents=True)
    design = {"units": {"1": NAMES}, "seeds": [0, 1]}
    (tmp_path / UNITS).parent.joinpath("design.json").write_text(json.dumps(design))
    return tmp_path


def grade(task: str, p: float | None, score: float | None = 0.5) -> dict[str, Any]:
    found = {"score": score, "verdicts": [p] * len(CRITERIA[task])}
    return found if score is not None else found | {"unscored": "endpoint busy"}


def look(step: int, answers: dict[str, str], **graded: dict[str, Any]) -> dict[str, Any]:
    return {"step": step, "answers": answers, "graded": graded}


def save(repo: Path, arm: str, fold: int, looks: list[dict[str, Any]], **change: Any) -> Path:
    head = {
        "arm": arm,
        "fold": fold,
        "seed": 0,
        "seconds": 60.0,
        "machine": "2 cores",
        "number format": "float32",
        "date": "2026-12-01",
        "settings": {},
        "graded_by": {"judge": "qwen"},
        "looks": looks,
    } | change
    path = repo / UNITS / f"{arm}-fold{fold}-seed{head['seed']}.jsonl"
    store.save(path, head)
    return path


def record(repo: Path) -> None:
    """Two arms of the first seed; of the first half only A is graded at each look of three."""
    said = {FIRST: "Before, A.", SECOND: "Before, B."}
    untrained = look(0, said) | {"graded": {FIRST: grade(FIRST, 0.2), SECOND: grade(SECOND, 0.2)}}
    middle = look(3, {FIRST: "Half, A.", SECOND: "Half, B."}) | {
        "graded": {FIRST: grade(FIRST, 0.6)}
    }
    last = look(6, {FIRST: "After, A.", SECOND: "After, B."})
    last["graded"] = {FIRST: grade(FIRST, 0.9, 0.75), SECOND: grade(SECOND, 0.9)}
    save(repo, "base", 0, [untrained])
    save(repo, "rlvr", 0, [untrained, middle, last])
    other = [look(step, {THIRD: f"C at {step}."}) for step in (0, 3, 6)]
    other[0]["graded"] = {THIRD: grade(THIRD, None, None)}
    other[1]["graded"] = {THIRD: grade(THIRD, 0.4)}
    other[2]["graded"] = {THIRD: grade(THIRD, 0.4)}
    save(repo, "rlvr", 1, other)


def test_of_each_arm_there_are_the_answers_at_every_look_that_were_graded_throughout(
    repo: Path,
) -> None:
    record(repo)
    base, trained = study_runs(repo)
    assert base["name"] == "Study: base, seed 0, 0 steps"
    assert trained["name"] == "Study: rlvr, seed 0, 6 steps"
    # The middle look of one arm takes B from the other one, too: both show the same tasks.
    assert [task["id"] for task in base["tasks"]] == [FIRST]
    assert [task["id"] for task in trained["tasks"]] == [FIRST, THIRD]
    assert "Held-out answers to 2 tasks" in trained["note"]
    first = trained["tasks"][0]
    assert first["question"]["said"] == TASKS[0].question
    labels = ["before training", "after step 3", "after step 6 (last)"]
    assert [step["label"] for step in first["steps"]] == labels
    answers = [step["answers"][0] for step in first["steps"]]
    assert [one["text"]["said"] for one in answers] == ["Before, A.", "Half, A.", "After, A."]
    judged = [(one["by"], one["value"]) for answer in answers for one in answer["rewards"]]
    assert judged == [("judge: qwen, explicit", value) for value in (0.5, 0.5, 0.75)]
    (untrained,) = base["tasks"][0]["steps"]
    assert untrained["label"] == "before training"


def test_each_criterion_has_the_probability_that_the_judge_gave(repo: Path) -> None:
    record(repo)
    first, other = study_runs(repo)[1]["tasks"]
    (table,) = first["criteria"]
    assert [row["text"] for row in table["rows"]] == [one.description for one in CRITERIA[FIRST]]
    last = first["steps"][-1]["answers"][0]["verdicts"][0]
    assert [(one["met"], one["p"]) for one in last] == [(True, 0.9)] * len(CRITERIA[FIRST])
    # Unscored is no 0: it has no value, and a reason.
    lost = other["steps"][0]["answers"][0]
    assert lost["rewards"][0]["value"] is None
    assert lost["rewards"][0]["reason"] == "endpoint busy"
    assert lost["verdicts"][0][0] == {"met": None, "p": None, "reason": "endpoint busy"}
    assert not other["steps"][1]["answers"][0]["verdicts"][0][0]["met"]


def test_an_arm_shows_the_looks_that_both_of_its_halves_have(repo: Path) -> None:
    record(repo)
    ends = [look(step, {THIRD: "C."}) | {"graded": {THIRD: grade(THIRD, 0.4)}} for step in (0, 6)]
    save(repo, "rlvr", 1, ends)
    for task in study_runs(repo)[1]["tasks"]:
        assert [step["step"] for step in task["steps"]] == [0, 6]


def test_what_is_not_graded_or_of_another_seed_is_left_out(repo: Path) -> None:
    looks = [look(0, {FIRST: "x"}) | {"graded": {FIRST: grade(FIRST, 0.2)}}]
    save(repo, "base", 0, looks, graded_by=None)
    save(repo, "base", 1, looks, seed=1)
    assert study_runs(repo) == []
    assert study_runs(repo / "nowhere") == []


def test_the_tasks_are_the_first_of_those_that_the_study_grades_at_every_look(repo: Path) -> None:
    unit = Unit(next(one for one in run.DESIGNS if one.name == "rlvr"), 0, run.SEEDS[0])
    _, held_out = run.tasks_of(unit)
    answers = dict.fromkeys((task.id for task in held_out), "words " * LONGEST)
    looks = [{"step": step, "answers": answers} for step in run.looks_of(unit)]
    for one, tasks in run.to_grade(unit, looks, held_out):
        one["graded"] = {
            task.id: {"score": 0.5, "verdicts": [0.5] * len(task.rubric.criteria)}
            for task in tasks
            if task.rubric
        }
    save(repo, "rlvr", 0, looks)
    (leaf,) = study_runs(repo)
    shown = [task["id"] for task in leaf["tasks"]]
    assert len(shown) == TASKS_OF_A_HALF < run.COURSE_TASKS
    assert set(shown) == {task.id for task in run.course_tasks(held_out)[:TASKS_OF_A_HALF]}
    assert {len(task["steps"]) for task in leaf["tasks"]} == {len(run.looks_of(unit))}
    # Each arm with both halves of it: a page that loads.
    assert 2 * len(run.DESIGNS) * len(browser_data([leaf])) < MOST_BYTES


def test_the_questions_of_chapter_7_are_among_them_in_every_recorded_arm() -> None:
    arms = results.load("arms", ROOT)
    assert arms is not None
    leaves = study_runs(ROOT)
    asked = {}
    for leaf in leaves:
        arm = leaf["name"].removeprefix("Study: ").rsplit(", seed", 1)[0]
        asked[arm] = {task["question"]["said"] for task in leaf["tasks"]}
    assert "base" in asked
    for example in arms["examples"]:
        for arm in example["answers"].keys() & asked.keys():
            assert example["question"] in asked[arm], arm
    assert len(browser_data(leaves)) / len(leaves) * len(run.DESIGNS) < MOST_BYTES


@pytest.mark.parametrize(
    "wrong",
    [
        {"graded": {FIRST: {"score": 0.5, "verdicts": [0.5]}}},
        {"answers": {"nobody": "x"}, "graded": {"nobody": {"score": 0.5, "verdicts": []}}},
        {"answers": {}},
    ],
)
def test_a_unit_of_other_tasks_is_named(repo: Path, wrong: dict[str, Any]) -> None:
    save(repo, "rlvr", 0, [look(0, {FIRST: "x"}) | wrong])
    with pytest.raises(DataError, match=r"rlvr-fold0-seed0.jsonl is no unit of the study"):
        study_runs(repo)


def test_they_stand_behind_the_runs_of_the_chapters_and_make_another_book(repo: Path) -> None:
    before = browsed_units(repo)
    write_kept(repo / "data" / "grpo")
    record(repo)
    names = [leaf["name"].split(":")[0] for leaf in kept_runs(repo / "data", repo)]
    assert names == ["Chapter 7", "Study", "Study"]
    assert before == {}
    assert len(browsed_units(repo)) == 3


def test_the_page_is_filled_where_no_chapter_has_kept_a_run(repo: Path) -> None:
    record(repo)
    page = repo / "rollouts.html"
    place = '<div class="rar-rollouts docutils"><p>Nothing was kept.</p></div>'
    page.write_text(f"<html><head></head><body>{place}</body></html>")
    (repo / "_static").mkdir()
    fill(repo, repo / "data", repo)
    text = page.read_text()
    assert "Nothing was kept." not in text
    assert "Study: rlvr, seed 0, 6 steps" in text


# --- the page in the book


def soup(path: Path) -> Any:
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def test_the_page_of_rollouts_has_every_run_that_the_chapters_left(html: Path) -> None:
    found = soup(html / "rollouts.html")
    runs = json.loads(found.select_one("#rollouts-data").string)["runs"]
    of_chapters = [name for run in runs if (name := run["name"].split(":")[0]) != "Study"]
    assert of_chapters == ["Chapter 7", "Chapter 11", "Chapter 6"]
    article = found.select_one("article")
    assert article.select_one("#rollouts-shown table")  # the first task, as plain HTML
    assert [run["name"].split(", ")[0] for run in runs][1] == "Chapter 11: bicycles"
    assert not article.find_all(["script", "img", "iframe"])
    assert "window.pwned = 1" in article.get_text()
    for name in ("rollouts.js", "rollouts.css"):
        assert (html / "_static" / name).is_file()
        assert f'"_static/{name}"' in str(found)


def test_chapter_6_and_the_landing_page_lead_to_the_rollouts(html: Path) -> None:
    for name in ("07_training_with_grpo.html", "index.html"):
        assert soup(html / name).select_one('article a[href="rollouts.html"]'), name


def test_a_page_without_runs_stays_as_the_book_wrote_it(tmp_path: Path) -> None:
    page = tmp_path / "rollouts.html"
    page.write_text(said := '<div class="rar-rollouts docutils"><p>Nothing was kept.</p></div>')
    assert kept_runs(tmp_path / "data", tmp_path) == []
    fill(tmp_path, tmp_path / "data", tmp_path)
    assert page.read_text() == said
    page.write_text("<p>no place</p>")
    write_kept(tmp_path / "data" / "grpo")
    (tmp_path / "_static").mkdir()
    with pytest.raises(ReproduceError, match="has 0 places for the rollouts"):
        fill(tmp_path, tmp_path / "data", tmp_path)
