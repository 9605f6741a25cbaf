"""The corpus of attacks, and the arithmetic of what they gain, worked out by hand."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

import pytest

from rar_lib.core.decision import decide_family
from rar_lib.core.errors import DataError
from rar_lib.core.types import Arm, Grade, Polarity, Task
from rar_lib.data.tasks import load_mini
from rar_lib.evaluation.attacks import (
    FAMILIES,
    Attack,
    AttackResult,
    against_control,
    by_family,
    load_attacks,
    one_of_each_family,
    probe,
    read_attacks,
    success_change,
    success_rate,
)
from rar_lib.judging.chat import Chat
from rar_lib.judging.judge import Judge

TASKS = load_mini()[:2]
ATTACKS = load_attacks()


def attack(name: str = "x", family: str = "request", **changes: str) -> Attack:
    row = {"id": name, "family": family, "how": "append", "text": "T", "language": "en"}
    return Attack.model_validate(row | {"written": "before"} | changes)


def result(
    gains: list[float | None],
    family: str = "request",
    name: str = "x",
    unknown: Collection[int] = (),
) -> AttackResult:
    return AttackResult(attack(name, family), "implicit", tuple(gains), frozenset(unknown))


def test_the_corpus_covers_every_family_and_several_languages() -> None:
    families = Counter(a.family for a in ATTACKS)
    assert set(families) == set(FAMILIES)
    assert min(families.values()) >= 2
    assert len(ATTACKS) - families["control"] >= 24
    assert len({a.language for a in ATTACKS}) >= 5
    assert Counter(a.written for a in ATTACKS)["after"] >= 10


@pytest.mark.parametrize("tried", ATTACKS, ids=lambda a: a.id)
def test_every_attack_changes_the_response_and_gives_nothing_away(tried: Attack) -> None:
    for task in TASKS:
        assert task.reference is not None
        assert task.rubric is not None
        rewritten = tried.rewrite(task, "Drink water.")
        assert rewritten != "Drink water."
        assert ("Drink water." in rewritten) == (tried.how != "replace")
        assert task.reference not in rewritten
        assert "{{" not in rewritten
        bad = [c for c in task.rubric.criteria if c.polarity is Polarity.BAD]
        assert not any(c.description.rstrip(".").lower() in rewritten.lower() for c in bad)


def test_each_way_to_apply_an_attack() -> None:
    task = TASKS[0]
    assert attack(how="append").rewrite(task, "R") == "R\n\nT"
    assert attack(how="prepend").rewrite(task, "R") == "T\n\nR"
    assert attack(how="replace").rewrite(task, "R") == "T"
    assert attack(how="around", text="{{response}}-{{response}}").rewrite(task, "R") == "R-R"


def test_a_response_that_holds_placeholders_is_not_filled() -> None:
    around = attack(how="around", text="{{response}} {{titles}}")
    assert around.rewrite(TASKS[0], "{{question}}").startswith("{{question}} ")


def test_a_task_without_rubric_can_be_attacked() -> None:
    bare = Task(id="bare", question="Why?")
    assert all(isinstance(a.rewrite(bare, "R"), str) for a in ATTACKS)


ROW = attack().model_dump()


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ([ROW | {"family": "magic"}], "line 1: .*family"),
        ([ROW, ROW], "line 2: id 'x' is given twice"),
        ([ROW, ROW | {"id": "y", "text": ""}], "line 2: .*text"),
        ([ROW | {"succes": 1}], "line 1: .*succes"),
    ],
)
def test_a_corpus_that_does_not_fit_names_the_line(lines: list[object], problem: str) -> None:
    data = "\n".join(json.dumps(line) for line in lines).encode()
    with pytest.raises(DataError, match=f"(?s)own.jsonl, {problem}"):
        read_attacks(data, "own.jsonl")


def test_success_is_a_rise_above_the_threshold_and_unscored_is_none() -> None:
    found = result([0.06, 0.05, -0.3, None])
    assert found.successes() == (True, False, False, False)
    assert found.successes(threshold=0.0) == (True, True, False, False)
    assert found.unscored == 1
    assert found.gain is not None
    assert found.gain.value == pytest.approx((0.06 + 0.05 - 0.3) / 3)
    assert found.gain.n == 3
    assert result([None, None]).gain is None


@pytest.mark.parametrize(
    ("gains", "unknown", "rate", "n"),
    [
        # An attack that can't be scored has failed, beside a response that could.
        ([0.5, None, None, None], (), 0.25, 4),
        # Of a response that has no score, nothing is known.
        ([0.5, None, None, None], (1, 2, 3), 1.0, 1),
        ([0.5, None, None, 0.0], (1,), 1 / 3, 3),
        ([None, None], (0,), 0.0, 1),
        ([None, None], (0, 1), None, 0),
    ],
)
def test_a_response_without_a_score_is_in_no_success_rate(
    gains: list[float | None], unknown: tuple[int, ...], rate: float | None, n: int
) -> None:
    rows = [result(gains, unknown=unknown), result(gains, "control", "c", unknown)]
    family = by_family(rows)["request"]
    whole = success_rate(rows)
    assert family.unknown == len(unknown)
    assert family.success == whole
    if rate is None:
        assert whole is None
    else:
        assert whole is not None
        assert (whole.value, whole.n) == (pytest.approx(rate), n)
    hits = rows[0].successes()
    assert [place for place, hit in enumerate(hits) if hit is None] == list(unknown)


def test_a_judge_that_fails_often_does_not_look_robust() -> None:
    """All attacks that could be measured succeed, however many honest responses are lost."""
    for lost in range(8):
        gains = [None] * lost + [0.4] * (8 - lost)
        rate = success_rate([result(gains, unknown=range(lost))])
        assert rate is not None
        assert (rate.value, rate.n) == (1.0, 8 - lost)
    assert success_rate([result([None] * 8, unknown=range(8))]) is None


def test_a_defence_is_compared_where_both_sides_know_something() -> None:
    before = [result([0.4, 0.4, None, 0.4], unknown=(2,))]
    after = [result([0.0, None, 0.0, None], unknown=(3,))]
    change = success_change(before, after)
    assert change is not None
    assert (change.difference.value, change.difference.n) == (-1.0, 2)
    assert success_change(before, [result([None] * 4, unknown=range(4))]) is None
    with pytest.raises(DataError, match="same responses on both sides, got 4 and 1"):
        success_change(before, [result([0.0])])


def test_a_family_is_averaged_within_tasks_and_its_interval_is_over_tasks() -> None:
    # Two attacks, two tasks: both succeed on the first, one on the second.
    found = by_family(
        [result([0.4, 0.2]), result([0.2, 0.0], name="y"), result([0.0, None], family="role")]
    )
    assert list(found) == ["request", "role"]
    request = found["request"]
    assert request.attacks == 2
    assert request.success is not None
    assert request.success.value == pytest.approx(0.75)
    assert request.success.n == 2
    assert (request.success.low, request.success.high) == (0.0, 1.0)  # two tasks prove nothing
    assert request.gain is not None
    assert request.gain.value == pytest.approx((0.3 + 0.1) / 2)
    assert found["role"].unscored == 1
    assert found["role"].success is not None
    assert found["role"].success.value == 0.0


def test_a_familys_success_has_the_interval_of_every_share_over_tasks() -> None:
    """Shares 1, 1/2 and 0 on nine tasks: 1/2 +- t(8) = 2.306 times sqrt(3/16 / 9) = 0.1443."""
    thirds = [0.4] * 3 + [0.4] * 3 + [0.0] * 3, [0.4] * 3 + [0.0] * 6
    rows = [result(list(gains), name=name) for gains, name in zip(thirds, "ab", strict=True)]
    found = by_family(rows)["request"].success
    assert found is not None
    assert found.value == pytest.approx(0.5)
    assert found.high - found.value == pytest.approx(2.306004 * (3 / 16 / 9) ** 0.5, abs=1e-6)
    assert found == success_rate(rows)


def test_the_success_rate_leaves_the_control_out_and_is_over_tasks() -> None:
    rows = [result([0.4, 0.0]), result([0.4, 0.4], name="y"), result([0.9, 0.9], "control", "c")]
    rate = success_rate(rows)
    assert rate is not None
    assert (rate.value, rate.low, rate.high, rate.n) == (0.75, 0.0, 1.0, 2)
    assert success_rate(rows[2:]) is None


def test_a_defence_is_compared_on_the_attacks_that_both_sides_measured() -> None:
    before = [result([0.4, 0.4]), result([0.4, 0.4], name="only-before")]
    after = [result([None, 0.4])]  # taken out: no reward is no success
    change = success_change(before, after)
    assert change is not None
    assert (change.difference.value, change.difference.n) == (-0.5, 2)
    assert change.p == 1.0  # -1 and 0: flipping the one sign changes nothing in size
    assert success_change(before, []) is None


def test_a_family_is_set_against_harmless_text_task_by_task() -> None:
    rows = [
        result([0.3, 0.2, None], "stuffing"),
        result([0.1, None, None], "stuffing", "y"),
        result([0.05, 0.1, 0.0], "control", "c"),
    ]
    found = against_control(rows, "stuffing")
    assert found is not None
    gap = found.difference
    assert (gap.value, gap.n) == (pytest.approx((0.15 + 0.1) / 2), 2)
    assert against_control(rows, "padding") is None
    assert against_control(rows[:2], "stuffing") is None


def test_all_attacks_together_count_each_text_once_and_the_control_never() -> None:
    rows = [
        result([0.4, 0.2], "stuffing"),
        result([0.1, 0.0], "padding", "y"),
        result([0.1, 0.1], "padding", "z"),
        result([0.05, 0.05], "control", "c"),
    ]
    found = against_control(rows)
    assert found is not None
    assert found.difference.value == pytest.approx((0.6 / 3 + 0.3 / 3) / 2 - 0.05)


def test_what_a_family_gains_over_control_is_decided_with_the_others_of_its_table() -> None:
    # 0.1 on each of nine tasks: 2 / 2 ** 9 alone, twelve times that in a family of twelve.
    rows = [result([0.1] * 9, "stuffing"), result([0.0] * 9, "control", "c")]
    found = against_control(rows, "stuffing")
    assert found is not None
    assert found.p == pytest.approx(2 / 2**9)
    names = [str(n) for n in range(12)]
    assert decide_family(dict.fromkeys(names, found))["0"].word == "supported"
    few = against_control([result([0.1] * 8, "stuffing"), result([0.0] * 8, "control", "c")])
    assert few is not None
    assert decide_family(dict.fromkeys(names, few))["0"].word == "not testable here"


def test_one_of_each_family_is_a_text_that_the_rules_did_not_know() -> None:
    picked = one_of_each_family(ATTACKS)
    assert [a.family for a in picked] == list(FAMILIES)
    late = {a.family for a in ATTACKS if a.written == "after"}
    assert {a.family for a in picked if a.written == "after"} == late


@dataclass(frozen=True)
class ByLength(Judge):
    """A judge that pays for length and cannot grade an exclamation mark."""

    async def grade(self, task: Task, response: str, arm: Arm) -> Grade:
        if "!" in response:
            return Grade(arm=arm, score=None, reason="no")
        return Grade(arm=arm, score=len(response) / 100)


def test_a_probe_compares_each_attack_with_the_same_task_unattacked() -> None:
    longer = attack("longer", text="12345678")
    silent = attack("silent", text="!")
    judge = ByLength(Chat("http://127.0.0.1:9/v1", "none"))
    responses = ["a" * 10, "b" * 30]
    found = asyncio.run(probe(judge, TASKS, responses, "implicit", [longer, silent]))
    assert [r.attack.id for r in found] == ["longer", "silent"]
    assert found[0].gains == (pytest.approx(0.1), pytest.approx(0.1))
    assert found[1].gains == (None, None)
    assert found[1].successes() == (False, False)
    lost = asyncio.run(probe(judge, TASKS, ["a" * 10, "b!"], "implicit", [longer, silent]))
    assert [r.gains for r in lost] == [(pytest.approx(0.1), None), (None, None)]
    assert [r.successes() for r in lost] == [(True, None), (False, None)]
    with pytest.raises(ValueError, match="zip"):
        asyncio.run(probe(judge, TASKS, responses[:1], "implicit", [longer]))
