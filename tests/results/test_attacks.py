"""What benchmarks/attacks.py records, on gains worked out by hand."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from rar_lib.evaluation.attacks import AttackResult, load_attacks

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def attacks():  # type: ignore[no-untyped-def]
    sys.path.insert(0, str(FOLDER))  # the script imports its neighbour rules.py
    try:
        spec = spec_from_file_location("benchmark_attacks", FOLDER / "attacks.py")
        assert spec is not None
        assert spec.loader is not None
        module = module_from_spec(spec)
        sys.modules["benchmark_attacks"] = module  # its dataclass looks there for annotations
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(FOLDER))
    return module


def test_a_condition_is_known_by_arm_tasks_and_texts(attacks) -> None:  # type: ignore[no-untyped-def]
    picked = attacks.chosen(4)
    assert attacks.chosen(6)[:4] == picked  # more tasks go on with the same ones
    assert len({task.id for task, _ in picked}) == 4
    marks = {
        attacks.mark("implicit", picked),
        attacks.mark("explicit", picked),
        attacks.mark("implicit", picked[:3]),
    }
    assert len(marks) == 3
    assert attacks.mark("implicit", picked) in marks


def test_the_explicit_arm_meets_one_text_of_each_family(attacks) -> None:  # type: ignore[no-untyped-def]
    assert attacks.texts_of("implicit") == load_attacks()
    families = [a.family for a in attacks.texts_of("explicit")]
    assert len(families) == len(set(families)) == len({a.family for a in load_attacks()})


def test_the_summary_keeps_halves_apart_and_every_gain(attacks) -> None:  # type: ignore[no-untyped-def]
    early = next(a for a in load_attacks() if a.written == "before" and a.family == "verdict")
    late = next(a for a in load_attacks() if a.written == "after")
    control = next(a for a in load_attacks() if a.family == "control")
    found = attacks.summary(
        [
            AttackResult(early, "implicit", (0.2, 0.0)),
            AttackResult(late, "implicit", (0.2, None)),
            AttackResult(control, "implicit", (0.9, 0.9)),
        ]
    )
    rates = {name: rate["value"] for name, rate in found["success"].items()}
    assert rates == {
        "every attack": 0.5,
        "written before the rules": 0.5,
        "written after the rules": 0.5,
    }
    assert found["unscored"] == 1
    assert found["attacks"][late.id] == [0.2, None]
    assert found["families"]["control"]["success"]["value"] == 1.0


@pytest.mark.parametrize("name", ["bare", "prompt", "guarded", "strip"])
def test_every_default_condition_has_a_judge(attacks, name: str) -> None:  # type: ignore[no-untyped-def]
    from rar_lib.judging.chat import Chat

    assert name in attacks.CONDITIONS
    judge = attacks.judges(Chat("http://127.0.0.1:1/v1", "m"), {})[name]()
    assert judge.chat.model == "m"
