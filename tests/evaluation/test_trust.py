"""Judges held against a person's labels: the arithmetic by hand, and over real HTTP."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import says, server, status

from rar_lib.core.decision import not_testable
from rar_lib.core.errors import ChatError, DataError
from rar_lib.core.stats import cluster_interval, cluster_share
from rar_lib.core.types import (
    Arm,
    Category,
    Criterion,
    Grade,
    Polarity,
    Price,
    Rubric,
    Task,
    Usage,
    Verdict,
)
from rar_lib.data.labels import Label, Preference
from rar_lib.evaluation.alignment import agreement_of
from rar_lib.evaluation.trust import (
    Alignment,
    Answers,
    align_judges,
    alignable,
    ask,
    halve,
    plan,
    weigh,
    work_of,
)
from rar_lib.judging.calibration import Identity, apply, fit
from rar_lib.judging.cassette import Cassette
from rar_lib.judging.chat import Chat, run_sync
from rar_lib.judging.judge import Judge
from rar_lib.judging.messages import Messages

WHO = Identity.of("j", "0" * 64, Messages())
Row = tuple[str, float | None, bool]


def rubric(*ids: str) -> Rubric:
    return Rubric(
        criteria=tuple(
            Criterion(
                id=name,
                title=name,
                description=f"Says {name}.",
                category=Category.PITFALL if name == "nonsense" else Category.ESSENTIAL,
                polarity=Polarity.BAD if name == "nonsense" else Polarity.GOOD,
            )
            for name in ids
        )
    )


TASKS = [Task(id=f"t{n}", question=f"Why {n}?", rubric=rubric("c1", "c2")) for n in range(24)]


def said(
    rows: Sequence[Row],
    pairs: Sequence[tuple[str, float | None, float | None]] = (),
    **more: Any,
) -> Answers:
    """What a judge said: task, probability and label; and task, preferred and rejected score."""
    labels = []
    for number, (task, p, met) in enumerate(rows):
        verdict = Verdict(
            criterion_id="c1",
            met=None if p is None else p > 0.5,
            probability=p,
            reason="busy" if p is None else None,
        )
        labels.append((Label(task, f"response {number}", "c1", met, number + 2), verdict))
    grades = [Grade(arm="explicit", score=v.probability, share=0.9) for _, v in labels]
    graded = []
    for number, (task, better, worse) in enumerate(pairs):
        sides = [Grade(arm="explicit", score=score) for score in (better, worse)]
        graded.append((Preference(task, f"good {number}", "bad", number + 2), *sides))
        grades += sides
    given: dict[str, Any] = {
        "judge": "j",
        "identity": WHO,
        "reading": "probability",
        "arm": "explicit",
        "labels": tuple(labels),
        "preferences": tuple(graded),
        "grades": {"explicit": grades},
    }
    return Answers(**given | more)


def weighed(*answers: Answers) -> Alignment:
    return weigh(answers, TASKS)


def world(slope: float, intercept: float, *, seed: int = 0, each: int = 20) -> list[Row]:
    """Labels whose true log-odds are ``slope * reported + intercept``, on 24 tasks."""
    draw = np.random.default_rng(seed)
    x = draw.normal(0.0, 2.0, (24, each))
    met = draw.random(x.shape) < 1 / (1 + np.exp(-(slope * x + intercept)))
    p = 1 / (1 + np.exp(-x))
    return [(f"t{n}", float(p[n, k]), bool(met[n, k])) for n in range(24) for k in range(each)]


def test_four_labels_by_hand() -> None:
    rows: list[Row] = [
        ("t0", 0.9, True),
        ("t0", 0.6, False),
        ("t1", 0.2, False),
        ("t2", 0.3, True),
        ("t3", None, True),
    ]
    found = weighed(said(rows)).judges[0].criteria
    assert found is not None
    assert (found.labels, found.tasks, found.unscored) == (5, 4, 1)
    assert found.agreement.accuracy == cluster_share([1, 0, 1, 0], ["t0", "t0", "t1", "t2"])
    assert found.commonest == 0.5
    assert found.kappa is not None
    assert found.kappa.value == 0.0  # half agree, and chance agrees on half
    # squares 0.01, 0.36, 0.04, 0.49
    by_hand = cluster_share([0.01, 0.36, 0.04, 0.49], ["t0", "t0", "t1", "t2"])
    assert found.brier is not None
    assert found.brier.high == pytest.approx(by_hand.high)
    assert found.brier.value == pytest.approx(0.225)
    # of the pairs true over false: 0.9 > 0.6, 0.9 > 0.2, 0.3 < 0.6, 0.3 > 0.2
    assert found.agreement.auc is not None
    assert found.agreement.auc.value == 0.75
    assert found.above_chance.difference is not None
    assert found.above_chance.difference.value == 0.25


def test_pairs_by_hand_with_ties_and_unscored() -> None:
    pairs = [("t0", 0.9, 0.1), ("t0", 0.5, 0.5), ("t1", 0.2, 0.8), ("t2", None, 0.1)]
    (judge,) = weighed(said([], pairs)).judges
    found = judge.preferences
    assert found is not None
    assert (found.pairs, found.tasks, found.unscored, found.ties) == (4, 3, 1, 1)
    assert found.strict == cluster_share([1, 0, 0], ["t0", "t0", "t1"])
    assert found.half == cluster_share([1, 0.5, 0], ["t0", "t0", "t1"])
    lead = cluster_interval([0.5, 0, -0.5], ["t0", "t0", "t1"], bounds=(-0.5, 0.5))
    assert found.above_chance.difference == lead
    assert judge.criteria is None
    assert judge.calibration.calibration is None
    assert not judge.trusted
    assert judge.sentence == (
        "j may not be trusted as a reward here: its preferences are over 2 tasks, 8 are needed."
    )
    assert judge.advice == ("more labels for the preferences: of 8 tasks at least, here are 2",)


def test_a_judge_that_reads_criteria_well_is_trusted_and_calibrated() -> None:
    (judge,) = weighed(said(world(2.0, -4.0))).judges
    assert judge.trusted
    assert judge.sentence.startswith("j may be trusted as a reward here: its AUC 0.9")
    assert judge.sentence.endswith("lies above 0.5; 0.90 of its probability is readable.")
    assert judge.calibration.gains
    assert judge.advice == (
        "use its calibration in arm explicit: it helps on the tasks that it was not fitted on",
    )


def test_a_calibration_is_fitted_on_one_half_and_measured_on_the_other() -> None:
    rows = world(2.0, -4.0)
    found = weighed(said(rows))
    check = found.judges[0].calibration
    halves = found.halves
    assert len(halves.fitted_on) == len(halves.held_out) == 12
    assert not set(halves.fitted_on) & set(halves.held_out)
    one = [row for row in rows if row[0] in halves.fitted_on]
    other = [row for row in rows if row[0] in halves.held_out]
    fitted = fit([p for _, p, _ in one], [y for *_, y in one], judge=WHO)
    assert check.calibration == fitted
    p = np.array([p for _, p, _ in other])
    y = np.array([y for *_, y in other])
    after = apply(fitted, p, WHO)
    tasks = [task for task, *_ in other]
    assert check.before is not None
    assert check.after is not None
    assert check.before.accuracy == cluster_share((p > 0.5) == y, tasks)
    assert check.after.accuracy == cluster_share((after > 0.5) == y, tasks)
    assert check.brier_after is not None
    assert check.brier_after.value == pytest.approx(float(((after - y) ** 2).mean()))
    assert check.accuracy is not None
    assert check.accuracy.word == "supported"
    assert check.after.auc == check.before.auc, "a ranking is never changed"
    assert check.commonest == max(y.mean(), 1 - y.mean())


def test_a_line_that_only_finds_the_commonest_label_is_not_advised() -> None:
    # Says yes to all, whatever is asked, where seven of ten labels are no.
    draw = np.random.default_rng(1)
    rows = [(f"t{n}", 0.7 + 0.2 * draw.random(), k < 3) for n in range(24) for k in range(10)]
    (judge,) = weighed(said(rows)).judges
    check = judge.calibration
    assert check.gains
    assert check.after is not None
    assert check.after.accuracy is not None
    assert check.after.accuracy.value == check.commonest == 0.7
    assert not judge.trusted
    assert not any("calibration" in step for step in judge.advice)


def test_neither_half_knows_of_the_other() -> None:
    rows = world(2.0, -4.0)
    plain = weighed(said(rows))
    held = set(plain.halves.held_out)
    turned = [(task, p, y if task in held else not y) for task, p, y in rows]
    other = weighed(said(turned)).judges[0].calibration
    assert other.before == plain.judges[0].calibration.before
    assert other.calibration != plain.judges[0].calibration.calibration
    lost = [(task, 1 - (p or 0) if task in held else p, y) for task, p, y in rows]
    assert weighed(said(lost)).judges[0].calibration.calibration == (
        plain.judges[0].calibration.calibration
    )


def test_an_empty_response_is_no_probability_of_the_judge() -> None:
    answers = said(world(1.0, 0.0))
    # The library answers for the judge here, with probability 0, which no calibration moves.
    empty = [
        (Label(f"t{n}", " ", "c1", True), Verdict(criterion_id="c1", met=False, probability=0.0))
        for n in range(24)
    ]
    more = weighed(replace(answers, labels=(*answers.labels, *empty)))
    assert more.judges[0].calibration == weighed(answers).judges[0].calibration
    assert more.judges[0].criteria != weighed(answers).judges[0].criteria


@given(st.randoms(use_true_random=False), st.integers(1, 24))
def test_halves_hang_on_seed_and_ids_alone(random_: random.Random, n: int) -> None:
    labels = [Label(task.id, "x", "c1", True) for task in TASKS[:n]]
    first = halve(TASKS, labels)
    shuffled = random_.sample(TASKS, len(TASKS))
    assert halve(shuffled, random_.sample(labels, n)) == first
    assert len(first.fitted_on) == n // 2
    assert set(first.fitted_on) | set(first.held_out) == {task.id for task in TASKS[:n]}
    assert len(first.fitted_on) + len(first.held_out) == n


def test_another_seed_is_another_split_and_stands_in_the_result() -> None:
    answers = [said(world(1.0, 0.0))]
    first, second = (weigh(answers, TASKS, seed=seed) for seed in (0, 1))
    assert first.halves != second.halves
    assert second.to_json()["halves"]["seed"] == 1


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([("t0", 0.9, True), ("t0", 0.1, False)], "labels of two tasks"),
        ([("t0", 0.9, True), ("t1", 0.1, True)], "need both labels"),
        ([("t0", None, True), ("t1", None, False)], "labels of two tasks"),
    ],
)
def test_where_nothing_can_be_fitted_the_reason_is_given(rows: list[Row], reason: str) -> None:
    check = weighed(said(rows)).judges[0].calibration
    assert check.calibration is None
    assert reason in check.reason
    assert not check.gains


def test_sampled_verdicts_have_no_brier_score_and_no_calibration() -> None:
    answers = said(world(1.0, 0.0), reading="sampled")
    bare = tuple((x, v.model_copy(update={"probability": None})) for x, v in answers.labels)
    (judge,) = weighed(replace(answers, labels=bare)).judges
    assert judge.criteria is not None
    assert judge.criteria.brier is None
    assert judge.criteria.agreement.ece is None
    assert judge.calibration.reason == "sampled verdicts have no probability"
    assert judge.trusted, "a hard verdict ranks, too"


@settings(max_examples=40)
@given(
    st.integers(0, 2**31), st.integers(1, 24), st.floats(0.0, 2.0), st.sampled_from([0.0, 2.0, 4.0])
)
def test_the_gate_and_the_finding_never_disagree(
    seed: int, n: int, slope: float, intercept: float
) -> None:
    """Also where few tasks have a label of one kind, or none has."""
    rows = [row for row in world(slope, intercept, seed=seed, each=6) if int(row[0][1:]) < n]
    (judge,) = weighed(said(rows)).judges
    assert judge.criteria is not None
    assert judge.trusted == (judge.criteria.above_chance.word == "supported")


def noise(rare: int, *, seed: int) -> list[Row]:
    """Probabilities that know nothing, on 20 tasks of which so many have labels "no" alone."""
    draw = np.random.default_rng([seed, rare])
    x = draw.normal(size=(20, 1)) + draw.normal(0.0, 0.5, (20, 4))
    p = 1 / (1 + np.exp(-x))
    return [(f"t{n}", float(p[n, k]), n >= rare) for n in range(20) for k in range(4)]


@pytest.mark.parametrize("rare", [1, 2, 3, 7])
def test_a_judge_of_noise_is_not_trusted_by_what_lies_on_few_tasks(rare: int) -> None:
    for seed in range(3):
        (judge,) = weighed(said(noise(rare, seed=seed))).judges
        found = judge.criteria
        assert found is not None
        assert found.agreement.auc is not None
        assert found.agreement.balanced is not None
        assert found.agreement.accuracy is not None
        assert found.agreement.auc.n == found.agreement.balanced.n == rare
        assert found.agreement.accuracy.n == 20  # any label says whether the judge is right
        assert found.kappa is not None
        assert found.kappa.n == rare
        assert not judge.trusted
        assert judge.sentence.startswith(
            f"j may not be trusted as a reward here: its AUC is over {rare} tasks, 8 are needed "
            "that hold the rarer label"
        )
        assert judge.advice[0] == (
            f"more labels for the criteria: of 8 tasks at least, here are {rare} that hold the "
            "rarer label"
        )
        assert str(found.above_chance) == (
            f"not testable here: its AUC is over {rare} tasks that hold the rarer label, "
            "8 are needed"
        )


def test_labels_of_one_kind_have_no_agreement_beyond_chance() -> None:
    rows = [(f"t{n}", 0.9 if n else 0.1, True) for n in range(12)]
    found = weighed(said(rows)).judges[0].criteria
    assert found is not None
    assert found.agreement.accuracy is not None
    assert found.agreement.accuracy.value == pytest.approx(11 / 12)
    assert (found.kappa, found.agreement.auc, found.agreement.balanced) == (None, None, None)
    assert found.above_chance.word == "not testable here"


def test_labels_the_wrong_way_round_are_recognised() -> None:
    rows = [(task, p, not met) for task, p, met in world(1.5, 0.0)]
    (judge,) = weighed(said(rows)).judges
    assert not judge.trusted
    assert judge.advice[0].startswith("look at the labels of the criteria: the judge says the opp")
    assert "for a pitfall, too" in judge.advice[0]
    pairs = [(f"t{n}", 0.1, 0.9) for n in range(12)]
    (turned,) = weighed(said([], pairs)).judges
    assert turned.advice == (
        "look at the labels of the preferences: the judge prefers the other response",
        "a bigger judge",
    )


def test_a_judge_at_chance_is_told_how_many_labels_would_show_what_is_seen() -> None:
    (judge,) = weighed(said(world(0.05, 0.0, seed=3, each=6))).judges
    assert judge.criteria is not None
    finding = judge.criteria.above_chance
    assert finding.word == "undecided"
    assert finding.needed is not None
    assert f"more labels for the criteria: on about {finding.needed:,} tasks" in judge.advice[0]
    assert judge.advice[-1] == "a bigger judge"


def test_an_unreadable_judge_is_told_to_be_read_otherwise() -> None:
    answers = said(world(2.0, 0.0))
    dim = [grade.model_copy(update={"share": 0.4}) for grade in answers.grades["explicit"]]
    (judge,) = weighed(replace(answers, grades={"explicit": dim})).judges
    assert not judge.trusted
    assert "0.40 of its probability is readable, 0.5 is needed" in judge.sentence
    assert judge.advice[0] == "another reading: --reading sampled asks for its answer as JSON"
    lost = [grade.model_copy(update={"score": None}) for grade in dim[:200]] + dim[200:]
    (worse,) = weighed(replace(answers, grades={"explicit": lost}, reading="sampled")).judges
    assert "42% of the responses got no score" in worse.sentence
    assert worse.advice[0].startswith("look at the reasons for what is unscored")


def test_judges_are_compared_over_what_both_scored_in_one_family() -> None:
    rows = world(2.0, 0.0)
    pairs = [(f"t{n}", 0.9, 0.1) for n in range(12)]
    good = said(rows, pairs, judge="good")
    blind = said(
        [(task, 1 - (p or 0), met) for task, p, met in rows],
        [(task, 0.1, 0.9) for task, *_ in pairs[:-1]] + [("t11", None, 0.9)],
        judge="blind",
    )
    found = weighed(blind, good).compared
    assert list(found) == ["good over blind: criteria", "good over blind: preferences"]
    pair = found["good over blind: preferences"]
    assert pair.word == "supported"
    assert pair.difference is not None
    assert (pair.difference.value, pair.difference.n) == (1.0, 11)
    assert pair.p is not None
    assert pair.p_holm is not None
    assert pair.p_holm >= pair.p
    same = weighed(good, replace(good, reading="sampled")).compared
    assert next(iter(same)) == "good, sampled over good, probability: criteria"
    with pytest.raises(DataError, match="good, probability is there twice"):
        weighed(good, good)
    assert weighed(good).compared == {}


def test_a_judge_that_answered_nothing_is_not_trusted_and_breaks_nothing() -> None:
    silent = said([("t0", None, True)], [("t1", None, None)])
    (judge,) = weighed(silent).judges
    assert not judge.trusted
    assert judge.criteria is not None
    assert judge.criteria.agreement.accuracy is None
    assert judge.criteria.above_chance == not_testable("nothing was scored on both sides")
    assert "100% of the responses got no score" in judge.sentence


def test_a_rating_is_trusted_by_preferences_alone() -> None:
    pairs = [(f"t{n}", 0.9, 0.1) for n in range(12)]
    answers = said(world(2.0, 0.0), arm="implicit")
    (without,) = weighed(answers).judges
    assert not without.trusted
    assert "give preferences: they alone speak of a rating" in without.advice
    (judge,) = weighed(said(world(2.0, 0.0), pairs, arm="implicit")).judges
    assert judge.trusted


def test_the_result_is_json_with_every_answer_and_its_line() -> None:
    found = weighed(said(world(2.0, -4.0), [("t0", 0.9, 0.1), ("t1", None, 0.2)]))
    value = json.loads(json.dumps(found.to_json(), allow_nan=False))
    (judge,) = value["judges"]
    assert len(judge["verdicts"]) == 480
    assert judge["verdicts"][0]["line"] == 2
    assert set(judge["verdicts"][0]) >= {"task", "criterion", "label", "met", "probability"}
    assert judge["pairs"][1] == {
        "line": 3,
        "task": "t1",
        "preferred": None,
        "rejected": 0.2,
        "reason": None,
    }
    assert judge["calibration"]["calibration"]["judge"]["model"] == "j"
    assert judge["gate"]["passed"] is True


# What is asked, over HTTP.

LABELS = [
    Label("t0", "Thus.", "c1", True, 2),
    Label("t0", "Thus.", "c2", False, 3),
    Label("t1", "So.", "c1", False, 4),
]
PAIRS = [Preference("t0", "Thus.", "Hm.", 5)]


def yes(request: dict[str, Any], _: int) -> dict[str, Any]:
    likely = 0.8 if "Thus." in request["messages"][-1]["content"] else 0.3
    return says("yes", tokens={"yes": likely, "no": 1 - likely})


@pytest.mark.parametrize(
    ("labelled", "arm", "expected"),
    [
        # a rubric is cut to what is labelled
        (LABELS, "explicit", {"explicit": [("t0", "Thus.", 2), ("t1", "So.", 1)]}),
        # and whole where the score of the response counts, each response once
        (
            [*LABELS, *PAIRS],
            "explicit",
            {"explicit": [("t0", "Thus.", 2), ("t0", "Hm.", 2), ("t1", "So.", 1)]},
        ),
        (
            [*LABELS, *PAIRS],
            "implicit",
            {
                "implicit": [("t0", "Thus.", 2), ("t0", "Hm.", 2)],
                "explicit": [("t0", "Thus.", 2), ("t1", "So.", 1)],
            },
        ),
        (PAIRS, "predefined", {"predefined": [("t0", "Thus.", 2), ("t0", "Hm.", 2)]}),
    ],
)
def test_no_more_is_asked_than_is_labelled(labelled: Any, arm: Arm, expected: Any) -> None:
    found = plan(TASKS, labelled, arm)
    shown = {}
    for way, items in found.items():
        shown[way] = [(task.id, text, len(task.rubric.criteria)) for task, text in items]  # type: ignore[union-attr]
    assert shown == expected


def test_the_answers_of_a_judge_and_what_they_cost() -> None:
    with server(yes) as scripted:
        judge = Judge(Chat(scripted.url, "j", price=Price(1e5, 0)))
        asked = plan(TASKS, [*LABELS, *PAIRS], "explicit")
        assert work_of(judge, asked).calls == 5
        found = run_sync(align_judges([judge], TASKS, [*LABELS, *PAIRS]))
    assert len(scripted.requests) == 5
    (judge_found,) = found.judges
    assert judge_found.usage == Usage(
        calls=5,
        prompt_tokens=50,
        completion_tokens=5,
        money=5.0,
        seconds=judge_found.usage.seconds,
    )
    assert judge_found.share == pytest.approx(1.0)
    assert judge_found.preferences is not None
    assert judge_found.preferences.strict is not None
    assert judge_found.preferences.strict.value == 1.0
    rows = [(x.task, v, x.met) for x, v in found.answers[0].labels]
    assert [v.probability for _, v, _ in rows] == [pytest.approx(p) for p in (0.8, 0.8, 0.3)]
    assert judge_found.criteria is not None
    assert judge_found.criteria.agreement == agreement_of(rows, 0)


def test_an_endpoint_without_probabilities_is_sampled_and_says_so() -> None:
    with server(says('{"met": true}')) as scripted:
        (judge,) = run_sync(align_judges([Judge(Chat(scripted.url, "j"))], TASKS, LABELS)).judges
    assert judge.reading == "sampled"
    assert judge.share is None
    assert judge.criteria is not None
    assert judge.criteria.agreement.accuracy is not None
    assert judge.criteria.agreement.accuracy.value == pytest.approx(1 / 3)
    assert judge.calibration.reason == "sampled verdicts have no probability"


def test_an_endpoint_that_fails_half_way_is_asked_only_for_the_rest(tmp_path: Path) -> None:
    broken = True

    def answer(request: dict[str, Any], number: int) -> dict[str, Any]:
        return status(401) if broken and number >= 2 else yes(request, number)

    with server(answer) as scripted, closing(Cassette(tmp_path / "c.sqlite")) as cassette:
        judge = Judge(Chat(scripted.url, "j", key_env="", concurrency=1, cassette=cassette))
        with pytest.raises(ChatError, match="401"):
            run_sync(align_judges([judge], TASKS, [*LABELS, *PAIRS]))
        before = len(scripted.requests)
        broken = False
        found = run_sync(align_judges([judge], TASKS, [*LABELS, *PAIRS]))
    assert len(scripted.requests) - before == 3
    assert found.judges[0].usage.calls == 5


def test_what_cannot_be_asked_is_refused_by_name() -> None:
    judge = Judge(Chat("http://127.0.0.1:1/v1", "j"))
    line = fit([0.1, 0.9], [False, True], judge=judge.identity)
    for wrong, labelled, arm, message in [
        (judge, [Label("x", "a", "c1", True)], "explicit", "'x' is none of the 24 tasks"),
        (judge, [Label("t0", "a", "c9", True)], "explicit", "'c9' is no criterion of task 't0'"),
        (judge, [], "explicit", "nothing is labelled"),
        (judge, PAIRS, "rubric", "no arm 'rubric'; choose from: explicit"),
        (replace(judge, calibration=line), PAIRS, "explicit", "'j' is calibrated already"),
    ]:
        with pytest.raises(DataError, match=message):
            run_sync(ask(wrong, TASKS, labelled, arm))  # type: ignore[arg-type]
    with pytest.raises(DataError, match="j, auto is there twice"):
        run_sync(align_judges([judge, judge], TASKS, PAIRS))


def test_what_an_arm_needs_is_asked_beforehand() -> None:
    bare = [*TASKS, Task(id="bare", question="?")]
    more = [*LABELS, *PAIRS, Preference("bare", "a", "b", 9)]
    fit_, problems = alignable(bare, more, "explicit")
    assert fit_ == [*LABELS, *PAIRS]
    assert list(map(str, problems)) == [
        "line 9: task 'bare' has no rubric, which arm explicit grades by; rar synthesize writes "
        "one; or grade without: --arm direct_likert"
    ]
    assert alignable(bare, more, "direct_likert") == (more, [])
    with pytest.raises(DataError, match="arm implicit grades whole responses"):
        alignable(TASKS, LABELS, "implicit")
