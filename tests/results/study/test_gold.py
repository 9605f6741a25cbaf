"""Labels of the study's answers: what is on the sheet, and what two filled ones say, by hand."""

from __future__ import annotations

import csv
import io
import json
import platform
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rar_lib.core.errors import DataError
from rar_lib.core.stats import task_interval
from rar_lib.core.types import Category, Criterion, Polarity, Rubric, Task
from results.study import gold, run
from results.study.gold import ARMS, Answer, Item
from results.study.run import Unit

RUBRIC = Rubric(
    criteria=(
        Criterion(id="good", title="G", description="Says it.", category=Category.ESSENTIAL),
        Criterion(
            id="trap",
            title="T",
            description="Warns of nothing.",
            category=Category.PITFALL,
            polarity=Polarity.BAD,
        ),
    )
)


def task(name: str) -> Task:
    return Task(id=name, question=f"Why {name}?", rubric=RUBRIC)


def item(name: str, arms: tuple[str, ...] = ("base",), text: str = "An answer.") -> Item:
    return Item(f"a-{name}", task(name), text, arms)


def test_labels_are_moved_by_what_a_judge_finds_of_other_tasks() -> None:
    # Labels 0.75, judge 0.6 there and 0.5 elsewhere. Deviations of the labels 1/4, -3/4, 1/4, 1/4,
    # of the judge 0.2, -0.4, 0, 0.2: their covariance is 0.4 / 3. The judge's eight values have a
    # mean of 0.55 and a variance of 0.34 / 7, and n is N: the weight would be 1.37, and is 1 at
    # most. The errors 0.2, -0.2, 0.4, 0.2 have a variance of 0.19 / 3, the rest one of 0.08 / 3.
    found = gold.prediction_powered(
        [1.0, 0.0, 1.0, 1.0], [0.8, 0.2, 0.6, 0.8], [0.5, 0.7, 0.3, 0.5]
    )
    assert found.value == pytest.approx(0.75 - 0.1)
    assert found.se == pytest.approx((0.27 / 12) ** 0.5)
    assert found.low == pytest.approx(0.65 - 3.18245 * 0.15, abs=1e-5)
    assert found.high == 1.0  # 1.127, and no score is above 1
    assert found.n == 4


def test_a_judge_is_followed_as_far_as_it_goes_with_the_labels() -> None:
    # Covariance 0.2 / 3; the judge's values -0.4, 0, 0.4, 0 and twice 0.4, -0.4 around 0.5 have
    # a variance of 0.96 / 7: with n = N the weight is (0.2 / 3) * 7 / (2 * 0.96) = 0.24306.
    judged = [0.1, 0.5, 0.9, 0.5]
    rest = [0.9, 0.1, 0.9, 0.1]
    found = gold.prediction_powered([0.25, 0.75, 0.75, 0.25], judged, rest)
    weight = 0.2 / 3 * 7 / (2 * 0.96)
    assert found.value == pytest.approx(0.5)  # both means of the judge are 0.5
    # Errors of the weighted judge: +-0.25 -+ 0.4 w twice, +-0.25 twice.
    errors = 2 * (0.25 - 0.4 * weight) ** 2 + 2 * 0.25**2
    of_rest = weight**2 * (4 * 0.16 / 3) / 4
    assert found.se == pytest.approx((of_rest + errors / 3 / 4) ** 0.5)


def test_a_judge_that_says_the_same_of_all_leaves_the_labels_alone() -> None:
    labels = [0.1, 0.4, 0.9, 0.7, 0.3, 0.6, 0.2, 0.8]
    found = gold.prediction_powered(labels, [0.5] * 8, [0.5] * 20)
    alone = task_interval(labels, bounds=(0.0, 1.0))
    assert found.value == pytest.approx(alone.value)
    assert (found.low, found.high) == (pytest.approx(alone.low), pytest.approx(alone.high))


def test_a_judge_that_goes_against_the_labels_leaves_them_alone() -> None:
    labels = [0.1, 0.4, 0.9, 0.7, 0.3, 0.6, 0.2, 0.8]
    found = gold.prediction_powered(labels, [1 - label for label in labels], [0.9] * 9 + [0.1])
    assert found.value == pytest.approx(0.5)
    assert found.se == pytest.approx(np.std(labels, ddof=1) / 8**0.5)


def test_a_judge_that_is_always_right_adds_its_tasks() -> None:
    labels = [0.1, 0.4, 0.9, 0.7, 0.3, 0.6, 0.2, 0.8]
    rest = labels * 15
    found = gold.prediction_powered(labels, labels, rest)
    assert found.value == pytest.approx(0.5)
    every = np.std(labels, ddof=1) / 128**0.5  # as if all were labelled
    assert every * 0.95 < found.se < every * 1.1


def test_following_the_judge_is_never_far_worse_than_the_labels_alone() -> None:
    """With a judge of noise, too: the weight is fitted, and may be off a little."""
    rng = np.random.default_rng(1)
    widths = []
    for _ in range(200):
        labels = rng.beta(2, 3, 40)
        found = gold.prediction_powered(labels, rng.uniform(size=40), rng.uniform(size=40))
        widths.append((found.se or 0.0) / (np.std(labels, ddof=1) / 40**0.5))
    assert max(widths) < 1.01
    assert np.mean(widths) < 1.0


@pytest.mark.parametrize(("tasks", "by_judge"), [(80, 0.05), (160, 0.01)])
def test_the_interval_holds_the_truth_however_biased_the_judge_is(
    tasks: int, by_judge: float
) -> None:
    rng = np.random.default_rng(0)
    held = alone = 0
    for _ in range(400):
        truth = rng.beta(2, 3, tasks)  # mean 0.4
        judge = np.clip(0.3 + 0.6 * truth + rng.normal(0, 0.1, tasks), 0, 1)
        found = gold.prediction_powered(truth[:40], judge[:40], judge[40:])
        held += found.low <= 0.4 <= found.high
        judged = task_interval(judge, bounds=(0.0, 1.0))
        alone += judged.low <= 0.4 <= judged.high
    assert held / 400 > 0.92
    assert alone / 400 < by_judge


@pytest.mark.parametrize(
    "given", [([1.0], [1.0], [0.5] * 9), ([1.0, 0.0], [1.0], [0.5] * 9), ([1.0, 0.0],) * 2 + ([],)]
)
def test_too_few_values_are_refused(given: Any) -> None:
    with pytest.raises(ValueError, match="need two labels or more"):
        gold.prediction_powered(*given)


def test_agreement_by_hand() -> None:
    items = [item(f"t{n}") for n in range(10)]
    one = {(i.id, "good"): n < 6 for n, i in enumerate(items)}  # yes to 0..5
    other = {(i.id, "good"): n in (0, 1, 2, 3, 6) for n, i in enumerate(items)}
    found = gold.agreement(one, other, items)
    # Both yes 4, both no 3: 0.7; by chance 0.6 * 0.5 + 0.4 * 0.5 = 0.5; (0.7 - 0.5) / 0.5.
    assert found["cells"] == 10
    assert found["raw"]["value"] == pytest.approx(0.7)
    assert found["raw"]["low"] < 0.7 < found["raw"]["high"]
    assert found["kappa"]["value"] == pytest.approx(0.4)
    assert found["raw"]["n"] == found["kappa"]["n"] == 10
    assert found["disputed"] == [["a-t4", "good"], ["a-t5", "good"], ["a-t6", "good"]]


def test_agreement_where_all_is_yes_has_no_kappa_and_none_without_common_cells() -> None:
    items = [item("t0"), item("t1")]
    yes = {(i.id, "good"): True for i in items}
    assert gold.agreement(yes, yes, items)["kappa"] is None
    with pytest.raises(DataError, match="share no filled cell"):
        gold.agreement(yes, {}, items)


def answers_of(given: Sequence[tuple[float | None, float | None]]) -> dict[str, Answer]:
    """An arm's answer to each of so many tasks; a judge gave its two criteria these."""
    return {f"t{n}": Answer("An answer.", 0.5, pair) for n, pair in enumerate(given)}


def test_the_judge_is_held_against_labels_that_both_gave_on_its_own_answers() -> None:
    items = [item(f"t{n}", ("base", "explicit")[: 1 + n % 2]) for n in range(4)]
    given: list[tuple[float | None, float | None]] = [
        *((0.9, 0.1), (0.6, 0.8), (0.2, None), (0.7, 0.3)),
    ]
    answers = {arm: answers_of(given) for arm in ARMS}
    labels = {(i.id, c): c == "good" for i in items for c in ("good", "trap")}
    other = labels | {("a-t3", "trap"): True}  # disputed: not counted
    found = gold.judge_of(answers, labels, other, items)
    # good: 0.9 0.6 0.2 0.7 of labels yes, three right; trap: 0.1 0.8 of labels no, one right.
    assert found["all"]["n"] == 6
    assert found["all"]["accuracy"]["value"] == pytest.approx(4 / 6)
    assert found["all"]["balanced"]["value"] == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert found["all"]["unscored"] == 1
    assert found["explicit"]["n"] == 3  # of t1 and t3
    assert found["explicit"]["accuracy"]["value"] == pytest.approx(2 / 3)
    assert found["implicit"]["n"] == 0
    assert found["implicit"]["accuracy"] is None


def test_a_disputed_criterion_is_half_met_and_an_empty_cell_leaves_no_score() -> None:
    items = [item("t0", ("base", "implicit")), item("t1")]
    one = {("a-t0", "good"): True, ("a-t0", "trap"): True, ("a-t1", "good"): True}
    other = one | {("a-t0", "trap"): False}
    found = gold.gold_scores(one, other, items)
    # Essential 1, pitfall 0.9 of which half is fallen into.
    assert found["base"] == {"t0": pytest.approx((1 + 0.9 * 0.5) / 1.9)}
    assert found["implicit"] == found["base"]
    assert found["explicit"] == {}


def test_what_has_no_label_or_judgement_is_left_out_and_counted() -> None:
    judged = {f"t{n}": 0.5 for n in range(10)} | {"t9": None, "t1": None}
    labels = {"t0": 1.0, "t1": 1.0, "t2": 0.5, "t3": 0.5}  # t4 is on the sheet, and not filled
    found = gold.estimates(labels, judged, ["t0", "t1", "t2", "t3", "t4"], (0.0, 1.0))
    assert found["both"]["value"] == pytest.approx(0.5 + (0.5 + 0 + 0) / 3)
    assert found["both"]["n"] == 3
    assert found["judge is wrong by"] == pytest.approx(-0.5 / 3)
    assert found["left out"] == 3
    with pytest.raises(DataError, match="1 tasks are labelled"):
        gold.estimates({"t0": 1.0}, judged, ["t0"], (0.0, 1.0))


#: Answers that would run, break the table, or hide what they are.
HOSTILE = (
    '=HYPERLINK("http://example.org","click")',
    '+1, -2; "quoted"\nand a second line',
    "",
    "\u202eright to left\u200b",
    "@cmd|' /C calc'!A0",
    "yes,no,met\r\ntask;response",
)


def units(change: Callable[[str, Task, int], str] | None = None) -> Callable[[Unit], Any]:
    """Trained and graded units: every judge's verdict is 0.75, but for base 0.25."""

    def load(unit: Unit) -> Mapping[str, Any]:
        arm = unit.design.name
        answers: dict[str, str] = {}
        graded: dict[str, dict[str, Any]] = {}
        for n, one in enumerate(run.tasks_of(unit)[1]):
            text = f"Number {ARMS.index(arm)} answers {one.id}."
            answers[one.id] = change(arm, one, n) if change else text
            assert one.rubric is not None
            p = 0.25 if arm == "base" else 0.75
            graded[one.id] = {"score": p, "verdicts": [p] * len(one.rubric.criteria)}
        return {"looks": [{"step": 0}, {"step": 12, "answers": answers, "graded": graded}]}

    return load


def filled(sheet: str, says: Callable[[dict[str, str]], str]) -> str:
    """A sheet as a person hands it back."""
    rows = list(csv.DictReader(io.StringIO(sheet, newline="")))
    out = io.StringIO(newline="")
    table = csv.DictWriter(out, list(gold.COLUMNS))
    table.writeheader()
    table.writerows([row | {"met": says(row)} for row in rows])
    return out.getvalue()


def test_forty_tasks_are_labelled_half_of_them_in_each_fold() -> None:
    tasks = gold.gold_tasks()
    assert len({one.id for one in tasks}) == 40
    assert tasks == gold.gold_tasks()
    for fold in (0, 1):
        held_out = {one.id for one in run.tasks_of(Unit(run.DESIGNS[0], fold, 0))[1]}
        assert sum(one.id in held_out for one in tasks) == 20


def test_the_sheet_names_no_arm_and_its_order_tells_nothing() -> None:
    answers = gold.final_answers(units())
    tasks = gold.gold_tasks()
    items = gold.items_of(answers, tasks, seed=0)
    assert len(items) == 160
    sheet = gold.sheet(items)
    assert not any(arm in sheet for arm in (*ARMS, "Notes:"))
    assert items == gold.items_of(answers, tasks, seed=0)
    other = gold.items_of(answers, tasks, seed=1)
    assert [i.text for i in other] != [i.text for i in items]
    assert not {i.id for i in other} & {i.id for i in items}
    # Each arm is spread over the sheet: places of its 40 answers average out near the middle.
    for arm in ARMS:
        places = [n for n, i in enumerate(items) if arm in i.arms]
        assert 55 < np.mean(places) < 105
    swapped = {arm: answers[other] for arm, other in zip(ARMS, ARMS[::-1], strict=True)}
    assert gold.sheet(gold.items_of(swapped, tasks, seed=0)) == sheet  # arms decide nothing


def test_an_answer_that_arms_share_is_labelled_once_for_all_of_them() -> None:
    answers = gold.final_answers(units(lambda arm, one, n: "Silence." if n % 2 else arm))
    items = gold.items_of(answers, gold.gold_tasks(), seed=0)
    shared = [i for i in items if i.text == "Silence."]
    assert shared
    assert all(i.arms == ARMS for i in shared)
    assert sum(len(i.arms) for i in items) == 160


def test_a_filled_sheet_of_hostile_answers_comes_back_by_its_ids(tmp_path: Path) -> None:
    answers = gold.final_answers(units(lambda arm, one, n: HOSTILE[n % len(HOSTILE)]))
    items = gold.items_of(answers, gold.gold_tasks(), seed=0)
    sheet = gold.sheet(items)
    rows = list(csv.DictReader(io.StringIO(sheet, newline="")))
    assert {row["answer"][:1] for row in rows} <= {"'", "\\", "y", ""}
    assert "\u202e" not in sheet
    path = tmp_path / "anne.csv"
    path.write_text("\ufeff" + filled(sheet, lambda row: "yes"), encoding="utf-8", newline="")
    labels, problems = gold.read_labels(path, items)
    assert problems == []
    assert set(labels.values()) == {True}
    assert len(labels) == len(rows)


def test_rows_that_cannot_be_used_are_named_and_the_others_count(tmp_path: Path) -> None:
    items = gold.items_of(gold.final_answers(units()), gold.gold_tasks(), seed=0)
    sheet = gold.sheet(items)
    first, second = [row.id for row in items[:2]]
    path = tmp_path / "ben.csv"
    words = {first: "perhaps", second: ""}
    path.write_text(filled(sheet, lambda row: words.get(row["response"], "No")), encoding="utf-8")
    labels, problems = gold.read_labels(path, items)
    bad = sum(len(i.task.rubric.criteria) for i in items[:2] if i.task.rubric)
    assert len(problems) == bad
    assert problems[0].startswith("line 2, field met: found 'perhaps'")
    assert not {first, second} & {key for key, _ in labels}
    assert set(labels.values()) == {False}


def test_export_label_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two readers say that base meets nothing and the others all; one errs on one criterion."""
    answers = gold.final_answers(units())
    monkeypatch.setattr(gold, "final_answers", lambda: answers)
    monkeypatch.setattr(gold, "judged_by", lambda: {"date": "2026-11-29"})
    monkeypatch.setattr(gold, "RESULTS", tmp_path / "gold.json")
    sheet = tmp_path / "labels.csv"
    monkeypatch.setattr("sys.argv", ["gold", "export", str(sheet)])
    gold.main()
    assert "160 answers" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="is there already, perhaps filled"):
        gold.main()
    text = sheet.read_text(encoding="utf-8-sig")

    def says(row: dict[str, str]) -> str:
        return "no" if row["answer"].startswith("Number 0") else "yes"

    slip = next(csv.DictReader(io.StringIO(text, newline="")))
    other = "no" if says(slip) == "yes" else "yes"
    both = {"anne.csv": says, "ben.csv": lambda row: other if row == slip else says(row)}
    for name, person in both.items():
        (tmp_path / name).write_text(filled(text, person), encoding="utf-8", newline="")
    paths = [str(tmp_path / name) for name in both]
    monkeypatch.setattr("sys.argv", ["gold", "read", *paths])
    gold.main()
    shown = capsys.readouterr().out
    found = json.loads((tmp_path / "gold.json").read_text())
    expected = {name: version(name) for name in ("numpy", "scipy")}
    assert found["versions"] == {"python": platform.python_version()} | expected
    cells = found["criteria"]
    assert found["agreement"]["cells"] == cells
    assert found["agreement"]["raw"]["value"] == pytest.approx(np.mean([1.0] * (cells - 1) + [0.0]))
    assert len(found["agreement"]["disputed"]) == 1
    assert found["judge"]["all"]["accuracy"]["value"] == 1.0  # 0.25 is no, 0.75 is yes
    quality = {arm: found["quality"][arm]["both"]["value"] for arm in ARMS}
    assert quality["base"] < quality["explicit"]
    assert found["over base"]["explicit"]["both"]["low"] > 0
    assert set(found["over base"]) == set(ARMS[1:])
    assert f"{cells} labelled twice, 1 differently" in shown
    assert "Cohen's kappa" in shown


def test_units_that_are_missing_are_named_with_the_command_that_makes_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(run, "HERE", tmp_path)
    with pytest.raises(DataError, match=r"base-fold0-seed0 is to do: run .*--arms base"):
        gold.final_answers()


def test_the_record_is_what_the_shipped_labels_and_units_say() -> None:
    answers = gold.final_answers()
    items = gold.items_of(answers, gold.gold_tasks(), seed=0)
    folder = Path(gold.__file__).parent / "labels"
    (one, faults), (two, others) = (
        gold.read_labels(folder / name, items) for name in ("one.csv", "two.csv")
    )
    assert faults == others == []
    found = gold.judged_by() | gold.report(answers, one, two, items)
    kept = json.loads(gold.RESULTS.read_text(encoding="utf-8"))
    read_with = kept.pop("versions")  # another machine may have others
    assert set(read_with) == {"python", "numpy", "scipy"}
    assert all(read_with.values())
    assert _flat(json.loads(json.dumps(found))) == pytest.approx(_flat(kept), abs=1e-6)


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    """Path -> number or text of nested JSON."""
    if isinstance(value, dict):
        parts = value.items()
    elif isinstance(value, list):
        parts = dict(enumerate(value)).items()
    else:
        return {name: value}
    return {k: v for key, one in parts for k, v in _flat(one, f"{name}/{key}").items()}
