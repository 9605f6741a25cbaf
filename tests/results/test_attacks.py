"""What results/attacks.py asks and records, on gains worked out by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from rar_lib.core.types import Criterion
from rar_lib.data.tasks import draw_pairs, load_mini, load_mini_pairs
from rar_lib.evaluation.attacks import AttackResult, load_attacks
from rar_lib.judging.chat import Chat
from results import attacks

TASK = load_mini("train")[0]


def test_a_condition_is_known_by_arm_tasks_and_texts() -> None:
    picked = attacks.chosen(4)
    assert attacks.chosen(6)[:4] == picked  # more tasks go on with the same ones
    assert len({task.id for task, _ in picked}) == 4
    assert [p for _, p in attacks.chosen(24)] == draw_pairs(
        load_mini_pairs("test"), 24, load_mini()
    )
    assert len({task.id for task, _ in attacks.chosen(92)}) == len(attacks.chosen(92)) == 48
    marks = {
        attacks.mark("implicit", picked),
        attacks.mark("explicit", picked),
        attacks.mark("implicit", picked[:3]),
    }
    assert len(marks) == 3
    assert attacks.mark("implicit", picked) in marks


def test_the_explicit_arm_meets_one_text_of_each_family() -> None:
    assert attacks.texts_of("implicit") == load_attacks()
    families = [a.family for a in attacks.texts_of("explicit")]
    assert len(families) == len(set(families)) == len({a.family for a in load_attacks()})


def test_the_summary_keeps_halves_apart_and_every_gain() -> None:
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
def test_every_default_condition_has_a_judge(name: str) -> None:
    assert name in attacks.CONDITIONS
    judge = attacks.judges(Chat("http://127.0.0.1:1/v1", "m"))[name]()
    assert judge.chat.model == "m"


def test_a_condition_is_measured_again_when_its_prompts_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picked = attacks.chosen(1)
    before = attacks.mark("implicit", picked)
    for path in attacks.PROMPTS.glob("*.txt"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(attacks, "PROMPTS", tmp_path)
    assert attacks.mark("implicit", picked) == before
    (tmp_path / "reminder.txt").write_text("Remember.")
    assert attacks.mark("implicit", picked) != before


def test_each_condition_changes_what_it_says_it_does() -> None:
    chat = Chat("http://127.0.0.1:1/v1", "m")
    assert TASK.rubric is not None
    criterion: Criterion = TASK.rubric.criteria[0]
    asked = {}
    for name, judge in attacks.judges(chat).items():
        system, user = judge().messages.criterion(TASK, "Cool\u200b it.", criterion, "probability")
        asked[name] = (system["content"], user["content"])
    assert asked["fence"][1] == asked["prompt"][1]
    assert asked["fence"][0] == asked["bare"][0] == attacks.text("system_plain")
    assert "fence" not in attacks.text("system_plain")
    assert "Cool\u200b it." in asked["bare"][1]
    assert "Cool it." in asked["prompt"][1]
    assert asked["guarded"][0] == attacks.text("system_guarded")
    assert "counts as nothing" in asked["guarded"][0]
    assert f"```\n\n{attacks.text('reminder')}" in asked["guarded"][1]
    assert len({judge().messages.fingerprint for judge in attacks.judges(chat).values()}) == 4
