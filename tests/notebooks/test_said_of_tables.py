"""What chapters 6 and 9 say of a record or of a table, on numbers made up for it."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from rar_lib.book import results
from rar_lib.book.prose import sentence
from rar_lib.core.decision import Finding
from rar_lib.core.stats import Interval
from rar_lib.evaluation.attacks import ATTACKS, AttackResult, success_rate
from rar_lib.evaluation.sensitivity import KEYS

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
UNDECIDED = Finding("undecided", Interval(0.5, 0.4, 0.6, 48), 0.5, 0.5, detectable=0.1)


def said(stem: str, mark: str, **names: Any) -> str:
    """The sentences of the one cell that holds a piece of text."""
    cells = json.loads((NOTEBOOKS / f"{stem}.ipynb").read_text(encoding="utf-8"))["cells"]
    (code,) = (text for cell in cells if mark in (text := "".join(cell["source"])))
    found: list[str] = []
    names["say"] = lambda template, **values: found.append(sentence(template, **values))
    with redirect_stdout(io.StringIO()):
        exec(compile(code, stem, "exec"), names)
    return " ".join(found).replace("\\", "")


@pytest.mark.parametrize("there", [True, False])
def test_chapter_6_shows_what_the_record_says_of_the_weights(
    there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    gap = Interval(0.12, 0.06, 0.18, 48)
    kept = {"weights.uniform": Finding("supported", gap, 0.01, 0.02, detectable=0.1).to_json()}
    record = {"date": "2026-01-02", "machine": "two cores", "findings": kept}
    monkeypatch.setattr(results, "load", lambda name: record if there else None)
    text = said(
        "06_from_verdicts_to_a_reward",
        'results.load("alignment")',
        Finding=Finding,
        KEYS=KEYS,
        findings=dict.fromkeys(("uniform", "wrong polarity"), UNDECIDED),
        results=results,
    )
    assert ("by another way is: 0.12 [0.06, 0.18] for uniform." in text) is there
    assert "wrong polarity" not in text  # the record does not have it
    assert ("No record of the weights" in text) is not there


def attacked(*gains: float) -> list[AttackResult]:
    one = next(attack for attack in ATTACKS if attack.family != "control")
    return [AttackResult(one, "implicit", gains)]


def test_chapter_9_says_with_which_defence_attacks_succeed_least_and_most() -> None:
    measured = {
        ("small", "implicit", "prompt"): attacked(0.3, 0.3),
        ("small", "implicit", "strip"): attacked(0.3, 0.0),
        ("small", "explicit", "prompt"): attacked(0.0, 0.0),
        ("small", "explicit", "strip"): attacked(0.0, 0.0),
        ("large", "implicit", "bare"): [],
    }
    names = {"order": ["bare", "prompt", "strip"], "measured": measured}
    text = said("09_gaming_the_rubric", "spans = []", success_rate=success_rate, **names)
    low, high = (success_rate(measured["small", "implicit", of]) for of in ("strip", "prompt"))
    assert low is not None
    assert f"small, implicit: smallest with strip ({low}), largest with prompt ({high});" in text
    assert "small, explicit: the same with every defence (0.00" in text
    assert "large" not in text.split(". A smaller share")[0].replace("largest", "")


def test_chapter_9_says_what_the_rules_find_of_attacks_that_their_author_had_not_seen() -> None:
    caught = {"before": [True, True, False, True], "after": [True, False]}
    text = said("09_gaming_the_rubric", "share = {", caught=caught)
    assert "find 75% of the attacks that were written before them" in text
    assert "and 50% of those that were written after them" in text
