"""HealthBench: the published schema in, tasks with signed points out, the formula by hand.

``healthbench_rows.jsonl`` has HealthBench's fields and no text of it.
"""

from __future__ import annotations

import json
import math
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from rar_lib.core.errors import DataError
from rar_lib.core.scoring import UNIFORM_WEIGHTS
from rar_lib.core.types import Category, Criterion, Polarity, Rubric
from rar_lib.data.healthbench import (
    CONVERSATIONS,
    FILES,
    NO_IDEAL,
    NO_POINTS,
    NOTHING_TO_GAIN,
    category,
    healthbench_mean,
    healthbench_score,
    load_healthbench,
    signed_points,
)
from rar_lib.evaluation.held_out import axis_scores

FIXTURE = Path(__file__).parents[1] / "fixtures" / "healthbench_rows.jsonl"
ROWS: list[dict[str, Any]] = [json.loads(line) for line in FIXTURE.read_text("utf-8").splitlines()]
BLISTER = load_healthbench(FIXTURE)[0][0].rubric
assert BLISTER is not None


def changed(*path: str | int, value: Any) -> list[dict[str, Any]]:
    """The rows of the fixture with one value of the first row replaced."""
    rows = deepcopy(ROWS)
    target: Any = rows[0]
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    return rows


def test_a_conversation_becomes_a_task() -> None:
    tasks, _ = load_healthbench(FIXTURE)
    coffee = tasks[1]
    assert coffee.id == "11111111-aaaa-4000-8000-000000000002"
    assert coffee.question == "An hour ago. Is it dangerous?"
    assert [t.role for t in coffee.history] == ["user", "assistant"]
    assert (coffee.domain, coffee.topic, coffee.reference) == ("medicine", "context seeking", None)
    assert tasks[0].history == ()
    assert str(tasks[0].reference).startswith("Leave it closed")


def test_points_and_tags_are_kept_and_mapped_to_categories() -> None:
    assert BLISTER is not None
    assert [(c.points, c.category, c.polarity) for c in BLISTER.criteria] == [
        (7, Category.ESSENTIAL, Polarity.GOOD),
        (5, Category.IMPORTANT, Polarity.GOOD),
        (3, Category.OPTIONAL, Polarity.GOOD),
        (-8, Category.PITFALL, Polarity.BAD),
        (-2, Category.PITFALL, Polarity.BAD),
    ]
    assert BLISTER.criteria[4].tags == ("level:example", "axis:communication_quality")
    assert BLISTER.criteria[4].title == "Communication quality"


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        *((p, Category.ESSENTIAL) for p in (10, 7)),
        *((p, Category.IMPORTANT) for p in (6.9, 6, 4)),
        *((p, Category.OPTIONAL) for p in (3.9, 1, 0.5)),
        *((p, Category.PITFALL) for p in (-0.5, -10)),
    ],
)
def test_the_mapping_of_points(points: float, expected: Category) -> None:
    assert category(points) is expected


def test_zero_points_have_no_category() -> None:
    with pytest.raises(ValueError, match="0 points"):
        category(0)


def test_the_report_counts_what_was_left_out() -> None:
    tasks, report = load_healthbench(FIXTURE)
    assert (report.rows, report.kept, len(tasks)) == (3, 2, 2)
    third = f"{FIXTURE}, line 3 (11111111-aaaa-4000-8000-000000000003)"
    assert report.notes == [
        (f"{FIXTURE}, line 2", "rubrics.2", NO_POINTS),
        (third, "", NOTHING_TO_GAIN),
    ]
    assert report.counts == {
        "criteria, Essential": 2,
        "criteria, Important": 2,
        "criteria, Optional": 1,
        "criteria, Pitfall": 2,
        NO_IDEAL: 1,
        CONVERSATIONS: 1,
        NO_POINTS: 1,
        NOTHING_TO_GAIN: 1,
    }
    assert report.source == "healthbench_rows.jsonl"
    assert len(str(report.sha256)) == 64


def test_rows_of_ones_own_may_lack_tags() -> None:
    own = deepcopy(ROWS)
    for row in own:
        del row["example_tags"]
        for item in row["rubrics"]:
            del item["tags"]
    tasks, _ = load_healthbench(own)
    assert [task.topic for task in tasks] == ["", ""]
    rubric = tasks[0].rubric
    assert rubric is not None
    assert signed_points(rubric) == [7, 5, 3, -8, -2]
    assert {criterion.tags for criterion in rubric.criteria} == {()}


def test_rows_can_be_given_directly() -> None:
    assert load_healthbench(ROWS)[0] == load_healthbench(FIXTURE)[0]
    assert load_healthbench(iter(ROWS))[1].source == "rows given"


@pytest.mark.parametrize(
    ("met", "expected"),
    [
        pytest.param([True, True, True, False, False], 15 / 15, id="everything-good"),
        pytest.param([True, False, False, False, True], (7 - 2) / 15, id="one-fault"),
        pytest.param([False, False, False, True, True], -10 / 15, id="only-faults: below zero"),
        pytest.param([True, True, True, True, True], (15 - 10) / 15, id="everything-met"),
        pytest.param([False] * 5, 0.0, id="nothing-met"),
        pytest.param([True, None, True, False, False], None, id="one-unscored"),
    ],
)
def test_the_score_by_hand(met: list[bool | None], expected: float | None) -> None:
    """Met points, negative ones too, over the positive points 7 + 5 + 3 = 15."""
    assert BLISTER is not None
    assert signed_points(BLISTER) == [7, 5, 3, -8, -2]
    assert healthbench_score(signed_points(BLISTER), met) == expected


@pytest.mark.parametrize(
    ("points", "met", "score"),
    [
        ([5, 3, -4], [True, True, False], 1.0),
        ([5, 3, -4], [True, False, True], 1 / 8),
        ([5, 3, -4], [False, False, True], -4 / 8),
        ([5, 3, -4], [True, None, False], None),
        ([10], [False], 0.0),
    ],
)
def test_the_formula_by_hand(
    points: list[float], met: list[bool | None], score: float | None
) -> None:
    assert healthbench_score(points, met) == score


def test_the_mean_is_clipped_only_after_averaging() -> None:
    assert healthbench_mean([1.0, -0.5]) == 0.25  # clipping each first would give 0.5
    assert healthbench_mean([-0.5, -0.1]) == 0.0
    with pytest.raises(ValueError, match="no score to average"):
        healthbench_mean([])


def test_the_formula_refuses_what_it_cannot_divide_by() -> None:
    with pytest.raises(ValueError, match="positive points"):
        healthbench_score([-1.0], [True])
    with pytest.raises(ValueError, match="shorter"):
        healthbench_score([1.0, 2.0], [True])


def test_scores_by_axis() -> None:
    assert BLISTER is not None
    scores = axis_scores(BLISTER, [True, True, False, True, True])
    # Accuracy: (7 - 8) / 7. Completeness: 5 / (5 + 3). Communication has no positive points.
    assert scores == {"axis:accuracy": -1 / 7, "axis:completeness": 5 / 8}
    assert axis_scores(BLISTER, [None, True, True, False, False])["axis:accuracy"] is None


def points(*given: tuple[float | None, Polarity]) -> Rubric:
    return Rubric(
        criteria=tuple(
            Criterion(
                id=f"c{i}",
                title="T",
                description="D.",
                category=Category.PITFALL if (value or 0) < 0 else Category.OPTIONAL,
                polarity=polarity,
                points=value,
            )
            for i, (value, polarity) in enumerate(given)
        )
    )


@pytest.mark.parametrize(
    ("rubric", "expected"),
    [
        pytest.param(points((5, Polarity.GOOD), (-3, Polarity.BAD)), [5, -3], id="healthbench"),
        pytest.param(points((5, Polarity.GOOD), (-1, Polarity.GOOD)), [5, 1], id="rar-avoidance"),
        pytest.param(points((5, Polarity.GOOD), (-1, Polarity.BAD)), [5, -1], id="rar-failure"),
        pytest.param(points((None, Polarity.GOOD), (None, Polarity.BAD)), [0.3, -0.3], id="none"),
    ],
)
def test_signed_points_use_the_published_ones(rubric: Rubric, expected: list[float]) -> None:
    assert signed_points(rubric) == expected


def test_a_rubric_without_points_has_the_weights_of_its_categories() -> None:
    four = Rubric(
        criteria=tuple(
            Criterion(
                id=category.lower(),
                title="T",
                description="D.",
                category=category,
                polarity=Polarity.BAD if category is Category.PITFALL else Polarity.GOOD,
            )
            for category in Category
        )
    )
    assert signed_points(four) == [1.0, 0.7, 0.3, -0.9]


def test_category_weights_do_not_change_published_points() -> None:
    assert BLISTER is not None
    assert signed_points(BLISTER, UNIFORM_WEIGHTS) == signed_points(BLISTER)


def test_two_scales_in_one_rubric_are_refused() -> None:
    with pytest.raises(ValueError, match="criteria c1 have no points and the others do"):
        signed_points(points((5, Polarity.GOOD), (None, Polarity.GOOD)))


RUBRIC: dict[str, Any] = ROWS[0]["rubrics"][0]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (changed("prompt_id", value="Blister No 1"), "field prompt_id: found 'Blister No 1'"),
        (changed("prompt_id", value=ROWS[1]["prompt_id"]), "row 2, field prompt_id"),
        (changed("prompt_id", value=7), "field prompt_id: found 7; allowed: a str"),
        (changed("prompt", value=[]), "field prompt: found 'no message'"),
        (changed("prompt", value="Hello"), "field prompt: found 'Hello'; allowed: a list"),
        (changed("prompt", 0, "role", value="assistant"), "field prompt: found 'assistant'"),
        (changed("prompt", 0, "role", value="tool"), "field prompt.0.role: found 'tool'"),
        (changed("prompt", 0, "content", value=""), "field prompt.0.content: found ''"),
        (changed("prompt", 0, value={"role": "user"}), "field prompt.0.content: missing"),
        (changed("rubrics", value=None), "field rubrics: found None; allowed: a list"),
        (changed("rubrics", 1, value="good"), "field rubrics.1: found 'good'"),
        (changed("rubrics", 1, "points", value="5"), "field rubrics.1.points: found '5'"),
        (changed("rubrics", 1, "points", value=True), "field rubrics.1.points: found True"),
        (changed("rubrics", 1, "points", value=None), "field rubrics.1.points: found None"),
        (changed("rubrics", 1, "points", value=math.nan), "field rubrics.1.points: found nan"),
        (changed("rubrics", 1, "points", value=-11), "a number from -10 to 10"),
        (changed("rubrics", 1, "criterion", value=""), "field rubrics.1.criterion: found ''"),
        (changed("rubrics", 1, value={"points": 1, "tags": []}), "rubrics.1.criterion: missing"),
        (changed("rubrics", 1, "tags", value="x"), "field rubrics.1.tags: found 'x'"),
        (changed("rubrics", 1, "tags", value=[1]), "allowed: a list of texts"),
        (changed("rubrics", value=[RUBRIC] * 61), "field rubrics.criteria"),
        (changed("ideal_completions_data", value=[1]), "field ideal_completions_data: found [1]"),
        (
            changed("ideal_completions_data", "ideal_completion", value=3),
            "field ideal_completions_data.ideal_completion: found 3",
        ),
        (changed("example_tags", value=None), "field example_tags: found None"),
        ([3], "row 1: found 3; allowed: one object a row"),
        ([], "holds no row"),
    ],
)
def test_malformed_rows_are_named(rows: Any, expected: str) -> None:
    with pytest.raises(DataError) as caught:
        load_healthbench(rows)
    assert expected in str(caught.value)
    if rows and "row 2" not in expected:
        assert str(caught.value).startswith("row 1")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'\n{"prompt_id": 1,', "line 2: malformed JSON"),
        (b'{"prompt_id": "a", "prompt_id": "b"}', "line 1, field prompt_id: given twice"),
        (b"\xff", "line 1: byte 1"),
        (b"", "holds no row"),
    ],
)
def test_malformed_files_are_named(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        load_healthbench(path)
    assert expected in str(caught.value)
    assert "rows.jsonl" in str(caught.value)


def test_the_hub_is_asked_for_the_subset_and_names_the_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = tmp_path / "snapshots" / "0123abc"
    snapshot.mkdir(parents=True)
    asked = []

    def download(repo: str, file: str, **options: str) -> str:
        asked.append((repo, file, options))
        (snapshot / file).write_bytes(FIXTURE.read_bytes())
        return str(snapshot / file)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    tasks, report = load_healthbench(subset="hard", revision="v1")
    assert asked == [
        ("openai/healthbench", FILES["hard"], {"repo_type": "dataset", "revision": "v1"})
    ]
    assert (len(tasks), report.commit, report.source) == (2, "0123abc", FILES["hard"])


def test_no_network_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:

    def download(*_: object, **__: object) -> str:
        raise OSError("name or service not known\nand more")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    with pytest.raises(DataError, match=r"oss_eval\.jsonl at revision 'main' .*not known\).*path$"):
        load_healthbench()


def test_unknown_subset() -> None:
    with pytest.raises(DataError, match="no subset 'easy'; allowed: oss_eval, hard, consensus"):
        load_healthbench(ROWS, subset="easy")  # type: ignore[arg-type]
