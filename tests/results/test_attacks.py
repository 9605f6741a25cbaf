"""What results/attacks.py asks and records, on gains worked out by hand."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from rar_lib.book import claims, results
from rar_lib.core.decision import not_testable
from rar_lib.core.errors import DataError
from rar_lib.core.types import Criterion
from rar_lib.data.tasks import draw_pairs, load_mini, load_mini_pairs
from rar_lib.evaluation.attacks import AttackResult, load_attacks
from rar_lib.judging.chat import Chat
from results import attacks
from results.attacks import Condition

TASK = load_mini("train")[0]
#: Arms and conditions that the ledger's claims are decided on.
CLAIMED = tuple(product(attacks.ARMS, ("prompt", "strip")))


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


def test_the_judge_that_decides_meets_every_test_task_and_the_others_a_draw_of_them() -> None:
    largest, *others = attacks.MODELS_MEASURED
    every = attacks.picked(largest, 4)
    assert {task.id for task, _ in every} == {pair.task_id for pair in load_mini_pairs("test")}
    assert len(every) >= claims.fewest_tasks("ledger")
    for model in others:
        assert attacks.picked(model, 4) == every[:4]


def asked_for(*models: str, tasks: int = 4) -> list[attacks.Condition]:
    given = {"models": models, "arms": attacks.ARMS, "conditions": attacks.CONDITIONS}
    return attacks.asked_for(argparse.Namespace(tasks=tasks, **given))


def test_what_decides_claims_is_measured_first() -> None:
    found = asked_for(*attacks.MODELS_MEASURED)
    claimed = {f"{attacks.MODELS_MEASURED[0]}/{arm}/{name}" for arm, name in CLAIMED}
    assert {one.key for one in found[: len(CLAIMED)]} == claimed
    assert len({one.key for one in found}) == len(found) == 3 * 2 * 4


def test_calls_are_counted_and_their_time_is_that_of_the_speed_on_record(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(attacks, "cpu_dtype", lambda: "bfloat16")
    one = Condition("qwen-0.5b", "implicit", "prompt", attacks.chosen(2))
    assert one.calls == 2 * (1 + len(load_attacks()))
    families = len({attack.family for attack in load_attacks()})
    criteria = [len(task.rubric.criteria) for task, _ in one.items if task.rubric]
    by_criteria = replace(one, arm="explicit")
    assert by_criteria.calls == sum(criteria) * (1 + families)
    speeds = {"ratings_per_s": 2.0, "verdicts_per_s": 8.0}
    row = {
        "model": "qwen-0.5b",
        "number format of vllm": "bfloat16",
        "cores": len(os.sched_getaffinity(0)),
        "engines": {"vllm": speeds, "llama.cpp": speeds},
    }
    assert one.seconds([row | {"engines": {}}, row]) == one.calls / 2
    assert by_criteria.seconds([row]) == by_criteria.calls / 8
    assert one.seconds([row | {"number format of vllm": "float32"}]) is None
    assert one.seconds([row | {"model": "qwen-1.5b"}]) is None


def test_a_list_says_what_is_complete_and_asks_nobody(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(attacks.engines, "RESULTS", tmp_path / "engines.json")
    first, *_ = asked_for("qwen-0.5b")
    options = argparse.Namespace(
        tasks=4, models=["qwen-0.5b"], arms=["implicit"], conditions=["prompt", "bare"]
    )
    attacks.listing(options, {first.key: {"of": first.of}})
    done, left = capsys.readouterr().out.splitlines()
    assert done.split() == [first.key, "complete"]
    assert left.startswith("qwen-0.5b/implicit/bare")
    assert left.endswith(f"to do: 4 tasks, {first.calls:,} calls, how long is not known")


def test_without_its_prompts_nothing_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attacks, "PROMPTS", tmp_path)
    with pytest.raises(DataError, match=f"{tmp_path} holds no prompt"):
        attacks.mark("implicit", attacks.chosen(1))


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


@pytest.mark.parametrize("name", ["bare", "prompt", "warned", "strip"])
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
    assert asked["warned"][0] == attacks.text("system_warned")
    assert "counts as nothing" in asked["warned"][0]
    assert f"```\n\n{attacks.text('reminder')}" in asked["warned"][1]
    assert len({judge().messages.fingerprint for judge in attacks.judges(chat).values()}) == 4


# --- findings ------------------------------------------------------------------------------------

DECLARED = claims.load()
CONTROL = next(a for a in load_attacks() if a.family == "control")
ATTACK = next(a for a in load_attacks() if a.family == "verdict")
#: More than the fewest that decide in the ledger's family.
TASKS = 12


def row(attack: Sequence[float | None], control: float = 0.01, of: str = "one") -> dict[str, Any]:
    """A finished row of one attack and one harmless text; gone is one of an older corpus."""
    gains = {ATTACK.id: list(attack), CONTROL.id: [control] * len(attack)}
    gone = {"gone-since": [1.0] * len(attack)}
    return {
        "rejected": {"attacks": gains | gone, "unknown": []},
        "of": of,
        "tasks": [],
        "date": "2026-01-01",
    }


def rows(model: str, arm: str) -> dict[str, Any]:
    """Attacks gain 0.31 over harmless text and succeed everywhere; the rules stop them all."""
    open_ = row([0.32] * TASKS)
    closed = row([0.0] * TASKS)
    return {f"{model}/{arm}/prompt": open_, f"{model}/{arm}/strip": closed}


def asked() -> set[str]:
    """The keys that the ledger asks of this record."""
    sources = [source for claim in DECLARED.claims for source in claim.sources]
    return {source.key for source in sources if source.record == "attacks"}


def test_the_largest_judge_is_measured_first_and_carries_the_claims() -> None:
    assert attacks.MODELS_MEASURED[0] == "qwen-1.5b"
    of_small = rows("qwen-0.5b", "implicit") | rows("smollm2-135m", "explicit")
    assert attacks.findings(of_small) == {}


def test_a_complete_record_answers_all_that_the_ledger_asks() -> None:
    both = rows("qwen-1.5b", "implicit") | rows("qwen-1.5b", "explicit")
    found = attacks.findings(both)
    assert len(asked()) == 4
    assert set(found) == asked()
    assert {one["word"] for one in found.values()} == {"supported"}
    pays, helps = (found[f"gaming.{name}_implicit"] for name in ("attacks_pay", "rules_help"))
    assert pays["difference"]["value"] == pytest.approx(0.31)
    assert helps["difference"]["value"] == pytest.approx(1.0)
    assert pays["p"] == 2 / 2**TASKS
    assert pays["p_holm"] == 4 * pays["p"]  # the four are one family
    assert pays["margin"] == claims.margin("attack_gain")
    assert helps["margin"] == claims.margin("attack_share")


def test_rules_that_let_more_attacks_succeed_are_contradicted() -> None:
    worse = {
        "qwen-1.5b/explicit/prompt": row([0.0] * TASKS),
        "qwen-1.5b/explicit/strip": row([0.32] * TASKS),
    }
    found = attacks.findings(worse)
    assert found["gaming.rules_help_explicit"]["word"] == "contradicted"
    assert found["gaming.attacks_pay_explicit"]["difference"]["value"] == pytest.approx(-0.01)


def test_a_claim_waits_until_its_conditions_are_complete_and_of_one_kind() -> None:
    of = rows("qwen-1.5b", "implicit")
    alone = {key: one for key, one in of.items() if key.endswith("prompt")}
    assert set(attacks.findings(alone)) == {"gaming.attacks_pay_implicit"}
    older = of | {"qwen-1.5b/implicit/strip": row([0.0] * TASKS, of="another")}
    assert set(attacks.findings(older)) == {"gaming.attacks_pay_implicit"}
    assert set(attacks.findings({})) == set()


def test_what_was_never_scored_is_not_testable() -> None:
    unscored = {"qwen-1.5b/implicit/prompt": row([None] * TASKS)}
    (found,) = attacks.findings(unscored).values()
    assert found["word"] == "not testable here"
    assert found["reason"] == "nothing was scored on both sides"


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with the record that the script writes of one arm."""
    path = tmp_path / "results" / "attacks.json"
    monkeypatch.setattr(attacks, "RESULTS", path)
    attacks.save({"judges": rows("qwen-1.5b", "implicit")})
    return path


def test_the_ledger_takes_the_record_and_says_what_it_does_not_hold(recorded: Path) -> None:
    found = {r.claim.id: r for r in claims.ledger(checkout=recorded.parents[1])}
    first = found["gaming.attacks-pay-implicit"]
    assert first.word == "supported"
    assert first.to_json()["source"] == {
        "file": "results/attacks.json",
        "key": "gaming.attacks_pay_implicit",
    }
    record = json.loads(recorded.read_text())
    assert first.to_json()["machine"] == record["machine"]
    assert first.to_json()["versions"] == record["versions"]
    second = found["gaming.attacks-pay-explicit"]
    assert second.finding == not_testable(
        "results/attacks.json holds no finding gaming.attacks_pay_explicit; "
        "results/attacks.py would record it"
    )


def test_findings_can_be_computed_again_from_what_the_chapter_reads(recorded: Path) -> None:
    record = json.loads(recorded.read_text())
    assert record["findings"] == json.loads(json.dumps(attacks.findings(record["judges"])))
    read = results.attacks(recorded.parents[1])
    assert read is not None
    of = record["judges"]["qwen-1.5b/implicit/prompt"]
    assert read["qwen-1.5b", "implicit", "prompt"] == attacks.outcomes(of, "implicit")


@pytest.mark.parametrize("other", [{"machine": "another"}, {"versions": {"torch": "0"}}])
def test_a_record_of_another_machine_is_not_gone_on_with(
    recorded: Path, other: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = json.loads(recorded.read_text())
    attacks.check_origin({})
    attacks.check_origin(known)
    options = argparse.Namespace(tasks=1, models=[], arms=[], conditions=[])
    monkeypatch.setattr(attacks, "ROOT", recorded.parents[1])
    with pytest.raises(DataError, match=f"differ in {next(iter(other))} can't be put together"):
        asyncio.run(attacks.run(options, known | other))
