"""A judge held against itself: asked twice, and shown a wrong reference."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from scripted import Reply, says, server

from rar_lib.core.errors import DataError
from rar_lib.core.types import Grade, Pair, Task, Verdict
from rar_lib.data.tasks import load_mini, load_mini_pairs
from rar_lib.evaluation.alignment import PairGrades
from rar_lib.evaluation.consistency import (
    ReferenceControl,
    SelfAgreement,
    ask_twice,
    mismatched_references,
    reference_control,
    self_agreement,
)
from rar_lib.judging.calibration import fit
from rar_lib.judging.chat import Chat
from rar_lib.judging.judge import Judge


def pair(name: str, task: str) -> Pair:
    return Pair(
        id=name,
        task_id=task,
        preferred=f"good {name}",
        rejected=f"bad {name}",
        axis="accuracy",
        difficulty="obvious",
        gold_preferred={},
        gold_rejected={},
    )


PAIRS = (pair("a-1", "a"), pair("a-2", "a"), pair("b-1", "b"), pair("c-1", "c"))
#: One pair of each of two tasks, for verdicts.
TWO = (pair("a-1", "a"), pair("b-1", "b"))


def grades(*scores: float | None) -> tuple[Grade, ...]:
    return tuple(Grade(arm="implicit", score=score) for score in scores)


def graded(preferred: tuple[float | None, ...], rejected: tuple[float | None, ...]) -> PairGrades:
    return PairGrades("j", "implicit", PAIRS, grades(*preferred), grades(*rejected))


MIXED = graded((0.9, 0.9, 0.5, 0.1), (0.1, 0.1, 0.5, 0.9))  # win, win, tie, loss


def by_criteria(x: float | None, y: float | None) -> Grade:
    """Verdicts on x and y by their probabilities; of ``None`` there is none."""
    verdicts = tuple(
        Verdict(criterion_id=name, met=None if p is None else p > 0.5, probability=p)
        for name, p in (("x", x), ("y", y))
    )
    return Grade(arm="explicit", score=None if None in (x, y) else 0.5, verdicts=verdicts)


def explicit(*rows: tuple[float | None, float | None]) -> PairGrades:
    """Yes-probabilities of x and y for both responses of both pairs, preferred ones first."""
    four = tuple(by_criteria(*row) for row in rows)
    return PairGrades("j", "explicit", TWO, four[:2], four[2:])


def test_self_agreement_by_hand() -> None:
    first = explicit((0.9, 0.2), (0.8, 0.7), (0.4, 0.1), (0.9, 0.6))
    second = explicit((0.9, 0.2), (0.8, 0.2), (0.4, 0.1), (0.9, 0.6))  # one verdict changes
    found = self_agreement(first, second)
    assert found.verdicts is not None
    assert (found.verdicts.value, found.verdicts.n) == (7 / 8, 2)
    # Yes in 5 and in 4 of 8: chance agrees in (5 * 4 + 3 * 4) / 64 = 1/2.
    assert found.kappa == pytest.approx((7 / 8 - 1 / 2) / (1 / 2))
    always = explicit(*[(0.9, 0.9)] * 4)
    assert self_agreement(always, always).kappa is None


def test_self_agreement_of_preferences_counts_ties_as_an_outcome_of_their_own() -> None:
    changed = graded((0.9, 0.1, 0.5, 0.2), (0.1, 0.9, 0.5, 0.8))  # win, loss, tie, loss
    found = self_agreement(MIXED, changed)
    assert found.verdicts is None
    assert found.kappa is None
    assert found.preferences is not None
    assert found.shift is not None
    assert found.preferences.value == 3 / 4
    assert found.shift.value == pytest.approx((0.8 + 0.8 + 0.1 + 0.1) / 8)
    assert found.n == 8
    with pytest.raises(DataError, match="4 in implicit and 2 in explicit"):
        self_agreement(MIXED, explicit(*[(0.9, 0.2)] * 4))


def test_what_one_of_two_answers_lacks_is_in_no_agreement() -> None:
    first = explicit((0.9, None), (0.8, 0.7), (0.4, 0.1), (0.9, 0.6))
    second = explicit((0.9, 0.2), (0.2, 0.7), (0.4, 0.1), (None, None))
    found = self_agreement(first, second)
    # Of x and y: 1 known twice of the first response, 2 of the second, 2 of the third, none of the
    # last; of these five one changed.
    assert found.verdicts is not None
    assert found.verdicts.value == pytest.approx(4 / 5)
    assert found.n == 2, "responses that have a score both times"
    assert found.shift is not None
    assert found.shift.value == 0.0
    assert found.preferences is None, "no pair has both of its responses scored twice"


def test_nothing_said_twice_is_no_agreement_and_no_disagreement() -> None:
    mute = graded((None,) * 4, (None,) * 4)
    assert self_agreement(mute, MIXED) == SelfAgreement(None, None, None, None, 0)


def test_a_judge_that_says_the_opposite_agrees_less_than_by_chance() -> None:
    first = explicit((0.9, 0.1), (0.9, 0.1), (0.1, 0.9), (0.1, 0.9))
    second = explicit((0.1, 0.9), (0.1, 0.9), (0.9, 0.1), (0.9, 0.1))
    found = self_agreement(first, second)
    assert found.verdicts is not None
    assert (found.verdicts.value, found.kappa) == (0.0, pytest.approx(-1.0))


MINI = load_mini("val")


MINI_PAIRS = [p for p in load_mini_pairs("val") if p.task_id == MINI[0].id][:1]


def test_a_re_ask_samples_twice_with_other_seeds() -> None:
    def answer(_: Reply, number: int) -> Reply:
        return says('{"rating": 8}' if number < 2 else '{"rating": 3}')

    with server(answer) as scripted:
        judge = Judge(Chat(scripted.url, "m"))
        found = asyncio.run(ask_twice(judge, MINI, MINI_PAIRS, "implicit", under="re-ask"))
    prompts = [r["messages"][-1]["content"] for r in scripted.requests]
    assert sorted(prompts[:2]) == sorted(prompts[2:])  # both responses, twice
    assert len({r["seed"] for r in scripted.requests}) == 4
    assert {r["temperature"] for r in scripted.requests} == {0.7}
    assert found.shift is not None
    assert found.shift.value == pytest.approx(5 / 9)


def test_a_paraphrase_asks_in_both_wordings() -> None:
    def answer(request: Reply, _: int) -> Reply:
        teacher = "teacher" in request["messages"][0]["content"]
        return says("yes", tokens={"yes": 0.2, "no": 0.8} if teacher else {"yes": 0.9, "no": 0.1})

    with server(answer) as scripted:
        judge = Judge(Chat(scripted.url, "m"))
        found = asyncio.run(ask_twice(judge, MINI, MINI_PAIRS, "explicit", under="paraphrase"))
    assert MINI[0].rubric is not None
    assert len(scripted.requests) == 4 * len(MINI[0].rubric.criteria)
    assert found.verdicts is not None
    assert found.verdicts.value == 0.0


def test_a_calibration_fits_one_wording_only() -> None:
    plain = Judge(Chat("http://127.0.0.1:1/v1", "m"))
    fitted = fit([0.1, 0.9, 0.4, 0.6], [False, True, True, False], judge=plain.identity)
    judge = replace(plain, calibration=fitted)
    with pytest.raises(DataError, match="calibration"):
        asyncio.run(ask_twice(judge, MINI, MINI_PAIRS, "explicit", under="paraphrase"))


def test_a_calibrated_judge_that_is_asked_again_answers_without_it() -> None:
    with server(says('{"met": true}')) as scripted:
        plain = Judge(Chat(scripted.url, "m"))
        fitted = fit([0.1, 0.9, 0.4, 0.6], [False, True, True, False], judge=plain.identity)
        judge = replace(plain, calibration=fitted)
        found = asyncio.run(ask_twice(judge, MINI, MINI_PAIRS, "explicit", under="re-ask"))
    assert found.verdicts is not None
    assert found.verdicts.value == 1.0


def asks(name: str, question: str, reference: str | None) -> Task:
    return Task(id=name, question=question, reference=reference)


POOL = [
    asks("ice", "Why does ice float on water?", "Ice is less dense."),
    asks("boat", "Why does a steel boat float on water?", "It displaces its weight."),
    asks("copy", "Why does ice float on lake water?", "ICE is  less dense."),
    asks("burn", "How do I cool a burn?", "Run cool water over it."),
    asks("none", "How do I cool a burn quickly?", None),
]


def test_every_task_gets_the_reference_of_the_nearest_other_question() -> None:
    found = {t.id: t.reference for t in mismatched_references(POOL)}
    # "copy" is nearest to "ice" but its reference is the same one; "none" has nothing to give.
    assert found["ice"] == found["copy"] == "It displaces its weight."
    assert found["boat"] in {"Ice is less dense.", "ICE is  less dense."}
    assert found["burn"] != "Run cool water over it."
    assert "none" not in found
    with pytest.raises(DataError, match="need two different references"):
        mismatched_references([POOL[0], POOL[2]])


def test_no_mini_task_keeps_its_reference() -> None:
    tasks = load_mini("all")
    wrong = mismatched_references(tasks)
    assert [t.id for t in wrong] == [t.id for t in tasks]
    for task, other in zip(tasks, wrong, strict=True):
        assert task.reference != other.reference
    assert {t.reference for t in wrong} <= {t.reference for t in tasks}


def test_a_judge_that_reads_the_reference_rates_lower_under_the_wrong_one() -> None:
    truth = {
        "Why does ice float on water?": "Ice is less dense.",
        "How do I cool a burn?": "Run cool water over it.",
    }

    def reads(request: Reply, _: int) -> Reply:
        text = request["messages"][1]["content"]
        right = any(q in text and r in text for q, r in truth.items())
        return says("9" if right else "4", tokens={"9": 1.0} if right else {"4": 1.0})

    items = [(POOL[0], "It is lighter."), (POOL[3], "Use water."), (POOL[3], "")]
    with server(reads) as scripted:
        judge = Judge(Chat(scripted.url, "m"))
        found = asyncio.run(reference_control(judge, POOL, items))
    with server(says("5", tokens={"5": 1.0})) as scripted:
        blind = asyncio.run(reference_control(Judge(Chat(scripted.url, "m")), POOL, items))
    assert found.strict is not None
    assert found.gain is not None
    assert (found.strict.value, found.gain.value) == (1.0, pytest.approx(5 / 9))
    assert (found.ties, found.unscored) == (0, 1)
    assert blind.strict is not None
    assert blind.half is not None
    assert (blind.strict.value, blind.half.value, blind.ties) == (0.0, 0.5, 2)


def test_the_control_needs_the_references() -> None:
    judge = Judge(Chat("http://127.0.0.1:1/v1", "m"))
    with pytest.raises(DataError, match="'none' has no reference among the tasks"):
        asyncio.run(reference_control(judge, POOL, [(POOL[4], "Cool it.")]))


def test_of_equally_near_questions_the_first_counts() -> None:
    pool = [
        asks("one", "Why does ice float?", "Less dense."),
        asks("two", "Why does ice float?", "Hydrogen bonds."),
        asks("three", "Why does ice float?", "Open lattice."),
    ]
    found = {task.id: task.reference for task in mismatched_references(pool)}
    assert found == {"one": "Hydrogen bonds.", "two": "Less dense.", "three": "Less dense."}
    assert pool[0].reference == "Less dense.", "the tasks themselves are left as they are"


def test_what_is_not_scored_under_both_references_is_counted_and_in_no_share() -> None:
    items = [(POOL[0], "It is lighter."), (POOL[3], "Use water.")]
    with server(says("?", tokens={"?": 1.0})) as scripted:
        judge = Judge(Chat(scripted.url, "m"))
        found = asyncio.run(reference_control(judge, POOL, items))
    assert found == ReferenceControl(strict=None, half=None, gain=None, ties=0, unscored=2)
