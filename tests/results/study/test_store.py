"""The file of a unit: read as it was written, within its size."""

from __future__ import annotations

from pathlib import Path

import pytest
from studied import graded, named, unit_file

from rar_lib.core.errors import DataError
from rar_lib.core.types import Grade, Verdict
from results.study import run, store


def test_a_unit_comes_back_from_its_file_whatever_the_policy_wrote(tmp_path: Path) -> None:
    unit = named("explicit")
    found = graded(unit, unit_file(unit))
    first = next(iter(found["looks"][0]["graded"].values()))
    first |= {"score": None, "unscored": "c02: no readable reply", "verdicts": [0.5, None]}
    store.save(tmp_path / "unit.jsonl", found)
    assert store.load(tmp_path / "unit.jsonl") == found
    lines = (tmp_path / "unit.jsonl").read_text(encoding="utf-8").strip("\n").split("\n")
    assert len(lines) == 1 + 5 * 80
    assert store.head(tmp_path / "unit.jsonl")["graded_by"]["judge"] == "j"


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"looks": []}\n{"step": 0}', "{"])
def test_a_file_that_is_no_unit_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "broken.jsonl").write_text(text)
    with pytest.raises(DataError, match=r"broken\.jsonl is no unit of the study"):
        store.load(tmp_path / "broken.jsonl")


def test_a_full_record_stays_within_its_size(tmp_path: Path) -> None:
    """Every unit with answers as long as the most tokens of this policy get."""
    # Six characters a token; English has about four and a half.
    answer = "012345" * run.SETTINGS.max_completion
    total = 0
    sizes: dict[tuple[str, int], int] = {}
    for unit in run.units():
        kind = (str(unit.design.closed), unit.seed)  # what the size depends on
        if kind not in sizes:
            store.save(tmp_path / "unit.jsonl", graded(unit, unit_file(unit, answer)))
            sizes[kind] = (tmp_path / "unit.jsonl").stat().st_size
        total += sizes[kind]
    assert len(run.units()) == 108
    assert 5_000_000 < total <= store.LARGEST
    there = sum(path.stat().st_size for path in (run.HERE / "units").glob("*"))
    assert there <= store.LARGEST


def test_an_answers_line_says_what_each_verdict_was_and_why_one_is_missing() -> None:
    verdicts = (
        Verdict(criterion_id="a", met=True, probability=0.87654),
        Verdict(criterion_id="b", met=None, reason="no readable reply"),
        Verdict(criterion_id="c", met=False),  # sampled: it has no probability
    )
    whole = Grade(arm="explicit", score=0.123456, verdicts=verdicts[::2])
    assert store.graded(whole) == {"score": 0.1235, "verdicts": [0.877, 0.0]}
    failed = Grade(arm="explicit", score=None, verdicts=verdicts, reason="b: no readable reply")
    assert store.graded(failed) == {
        "score": None,
        "verdicts": [0.877, None, 0.0],
        "unscored": "b: no readable reply",
    }
