"""What chapters say of a record or of a table, on numbers made up for it."""

from __future__ import annotations

import io
import json
from collections import Counter
from contextlib import redirect_stdout
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.stats import skew

from rar_lib.book import claims, results, tables
from rar_lib.book.prose import sentence
from rar_lib.core.decision import ALPHA, Finding, decide_family
from rar_lib.core.prompts import template
from rar_lib.core.scoring import PAPER_WEIGHTS
from rar_lib.core.stats import Interval, compare_with_rate, gains, wins_of
from rar_lib.core.text import content_words
from rar_lib.core.types import Category, Criterion, Polarity, Rubric
from rar_lib.data.check import check
from rar_lib.data.questions import load_questions
from rar_lib.data.tasks import load_mini
from rar_lib.evaluation.alignment import VERSUS
from rar_lib.evaluation.attacks import ATTACKS, AttackResult, by_family, success_rate
from rar_lib.evaluation.held_out import paired_difference
from rar_lib.evaluation.sensitivity import KEYS, PAPER

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
UNDECIDED = Finding("undecided", Interval(0.5, 0.4, 0.6, 48), 0.5, 0.5, detectable=0.1)


def source(stem: str, mark: str) -> str:
    """The one cell that holds a piece of text."""
    cells = json.loads((NOTEBOOKS / f"{stem}.ipynb").read_text(encoding="utf-8"))["cells"]
    (code,) = (text for cell in cells if mark in (text := "".join(cell["source"])))
    return code


def said(stem: str, mark: str, **names: Any) -> str:
    """The sentences of the one cell that holds a piece of text."""
    code = source(stem, mark)
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
    record["judges"] = {"small": {}, "large": {}}
    lead = Interval(0.34, 0.23, 0.45, 48)
    veto = Finding("supported", lead, 0.001, 0.003, detectable=0.1)
    record["extra comparisons"] = {"veto by an Essential": veto.to_json()}
    tabled: list[Any] = []
    monkeypatch.setattr(results, "load", lambda name: record if there else None)
    text = said(
        "06_from_verdicts_to_a_reward",
        'results.load("alignment")',
        Finding=Finding,
        KEYS=KEYS,
        display=tabled.append,
        ledger=list,
        on_record=claims.on_record,
        results=results,
        tables=tables,
    )
    assert ("largest judge on record (large), over every test pair" in text) is there
    shown = " ".join(" ".join(map(repr, tabled)).split())
    assert ("uniform (extra) 0.12 [0.06, 0.18]" in shown) is there
    assert ("veto by an Essential (extra) 0.34 [0.23, 0.45] supported 0.003" in shown) is there
    assert ("no averages (veto by an Essential) are corrected among themselves" in text) is there
    fewer = "weights: uniform (extra) and veto by an Essential (extra); more: none. Shown to"
    assert (fewer in text) is there
    assert "wrong polarity" not in shown  # the record does not have it
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


@pytest.mark.parametrize(
    ("gap", "where"),
    [
        (Interval(-0.2, -0.3, -0.1, 9), "The interval of what the rubric adds lies below zero"),
        (Interval(0.2, 0.1, 0.3, 9), "The interval of what the rubric adds lies above zero"),
        (Interval(-0.2, -0.5, 0.1, 9), "The interval of what the rubric adds includes zero"),
        (Interval(-0.2, -0.3, -0.1, 4), "There is no interval of what the rubric adds"),
        (None, "There is no interval of what the rubric adds"),
    ],
)
def test_chapter_7_says_of_one_run_no_more_than_where_its_interval_lies(
    gap: Interval | None, where: str
) -> None:
    moved: dict[str, Any] = {"reference answers": None, "preferred minus rejected response": None}
    moved |= {"what the rubric adds to them": gap}
    text = said("07_training_with_grpo", "told = ", moved=moved, first={"reference": {"t": 0.1}})
    assert text.endswith(f"{where}; one run decides nothing.")


def test_chapter_8_declares_no_margin_of_its_own_for_what_the_base_knows() -> None:
    """A guesser's rate inside a narrow interval: open, because no claim of the ledger has a d."""
    shares = {n: float(n % 2) for n in range(400)}
    names: dict[str, Any] = {"sets": {"MedQA": []}, "to_read": {}, "findings": {}, "likeliest": {}}
    names |= {"outcomes": {"MedQA": {"base": shares}}, "tables": tables}
    names |= {"compare_with_rate": compare_with_rate, "decide_family": decide_family}
    names["multiple_choice"] = SimpleNamespace(
        chance=lambda questions: 0.48, by_question=dict, unreadable=lambda found: 0.0
    )
    text = said("08_evaluation", "knows = decide_family(", **names)
    (found,) = names["findings"].values()
    assert found.margin is None
    assert f"**undecided ({found.needed:,} questions would decide for it)**" in text
    names["outcomes"] = {"MedQA": {"base": dict.fromkeys(range(3), 1.0)}}
    few = said("08_evaluation", "knows = decide_family(", **names)
    assert "**not testable here: 3 questions can't reach" in few


def test_chapter_12_tells_the_floor_and_the_shape_of_what_is_decided(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Four tasks, the first with two pairs: they gain 2, 1 and 0 pairs and lose one."""
    tasks = {"a-1": "a", "a-2": "a", "b-1": "b", "c-1": "c", "d-1": "d"}
    right = {"explicit": {"a-1", "a-2", "b-1", "c-1"}, "direct_likert": {"c-1", "d-1"}}

    def lines(name: str) -> list[dict[str, Any]]:
        arm = name.removeprefix("large-").removesuffix(".jsonl")
        sides = [("preferred", 0.6), ("rejected", 0.5)]
        rows = []
        for pair in tasks:
            scores = sides if pair in right[arm] else [(side, 1 - at) for side, at in sides]
            rows.append({"pair": pair} | {side: {"score": at} for side, at in scores})
        return [{"of": "a head"}, *rows]

    monkeypatch.setattr(results, "lines", lines)
    record = {"judges": {"small": {"gate": True}, "large": {"gate": True}, "huge": {}}}
    monkeypatch.setattr(results, "load", lambda name: record)
    row = SimpleNamespace(word="supported", key="alignment.explicit_over_likert")
    row.claim = SimpleNamespace(says="More.")
    row.difference = Interval(0.5, 0.1, 0.9, 4)
    other = SimpleNamespace(word="undecided", key="alignment.explicit_over_implicit")
    names: dict[str, Any] = {"results": results, "VERSUS": VERSUS, "Counter": Counter}
    names |= {"gains": gains, "wins_of": wins_of, "skew": skew, "fewest_tasks": lambda family: 11}
    names["load_mini_pairs"] = lambda split: [
        SimpleNamespace(id=pair, task_id=task) for pair, task in tasks.items()
    ]
    names["simulated"] = None
    text = said("12_do_the_instruments_hold", "shape = ", ledger=lambda: [row, other], **names)
    assert "decides nothing over fewer than 11 tasks" in text
    assert "contradicted: 1, over at least 4 tasks." in text
    # About a mean of 0.5: 1.5, 0.5, -0.5 and -1.5.
    assert "*More* is **supported**; of 4 tasks 2 gain, 1 lose" in text
    assert text.endswith("The skew of these differences is 0.00.")
    text = said("12_do_the_instruments_hold", "shape = ", ledger=lambda: [other], **names)
    assert "contradicted: 0. A skew" in text
    assert "The shape" not in text
    shapes = [
        {"scenario": "a", "n": 48, "claims": 51, "alone": 0.03, "first": 0.0004, "any": 0.02},
        {"scenario": "b", "n": 48, "claims": 51, "alone": 0.05, "first": 0.0018, "any": 0.09},
    ]
    names["simulated"] = {"shapes on record": shapes}
    text = said("12_do_the_instruments_hold", "shape = ", ledger=lambda: [other], **names)
    assert "For 2 pairs of arms" in text
    assert "rejects such a null in 0.03 to 0.05 of these studies" in text
    assert "most often under *b*; if all 51 claims" in text
    assert text.endswith("at least one would be decided in 0.09 of the ledgers.")
    names["simulated"] = {}
    text = said("12_do_the_instruments_hold", "shape = ", ledger=lambda: [other], **names)
    assert "Shapes on record" not in text  # without a record the chapter has said so above


def rubric(*criteria: tuple[str, Category]) -> Rubric:
    """A rubric of these sentences; a pitfall is worded as a failure."""
    made = [
        Criterion(
            id=f"c{n}",
            title=f"title {n}",
            description=text,
            category=category,
            polarity=Polarity.BAD if category is Category.PITFALL else Polarity.GOOD,
        )
        for n, (text, category) in enumerate(criteria)
    ]
    return Rubric(criteria=tuple(made))


def test_chapter_1_says_what_its_rubric_is_made_of() -> None:
    names: dict[str, Any] = {"Category": Category, "Polarity": Polarity}
    names["PAPER_WEIGHTS"] = PAPER_WEIGHTS
    ours = rubric(
        ("Cools it.", Category.ESSENTIAL),
        ("Covers it.", Category.ESSENTIAL),
        ("Puts butter on it.", Category.PITFALL),
    )
    text = said("01_rewards_from_rubrics", "count = {}", task=SimpleNamespace(rubric=ours), **names)
    # Weights of 1, 1 and 0.9.
    assert "has 3 criteria: 2 Essential and 1 Pitfall. Pitfalls that are worded as a f" in text
    assert "failure: 1. The weights add up to 2.9; the Essential criteria alone hold 69% of" in text


def test_chapter_2_says_how_long_criteria_are_and_what_they_share_with_the_authored_ones() -> None:
    sources = {
        "authored": {"t": rubric(("Advises cold water and bandages.", Category.ESSENTIAL))},
        "small, with reference": {
            "t": rubric(
                ("Advises butter.", Category.ESSENTIAL), ("Advises cold milk.", Category.PITFALL)
            )
        },
        "small, without": {},
    }
    names = {"content_words": content_words, "np": np, "writer": "small", "sources": sources}
    text = said("02_writing_rubrics", "authored_words = ", shown=SimpleNamespace(id="t"), **names)
    assert "on average: 5.0 (authored) and 2.5 (small, with reference). Share" in text
    words = content_words("Advises butter. Advises cold milk.")
    both = words & content_words("Advises cold water and bandages.")
    assert {"cold"} <= both < words
    assert f"uses, too: {len(both) / len(words):.2f} (small, with reference). One" in text


#: A criterion of the example that the prompt for medicine shows.
SHOWN = "Advises washing the finger with soap before starting."


def copying(*written: str) -> str:
    """What chapter 2 says of a writer of these criteria, beside one who writes as authors do."""
    task = next(task for task in load_mini() if task.domain == "medicine")
    assert task.rubric
    copied = rubric(*((text, Category.ESSENTIAL) for text in written))
    sources = {
        "authored": {task.id: task.rubric},
        "small, without": {task.id: copied},
        "large, without": {task.id: task.rubric},
    }
    return said(
        "02_writing_rubrics",
        "def example_of",
        content_words=content_words,
        by_id={task.id: task},
        json=json,
        np=np,
        sources=sources,
        tasks=[task],
        template=template,
    )


def test_chapter_2_says_who_copies_the_example_of_the_prompt() -> None:
    assert SHOWN in template("synthesis_medicine")
    reworded = SHOWN.replace("before starting", "before you touch the splinter")
    text = copying(SHOWN, reworded, "Names three zebras.", "Praises elephants.")
    assert "criteria of **small, without** a share of 0.50 has most of its content words" in text
    assert "and 0.25 are such a sentence word for word. Of **large, without** the shares" in text
    assert "the shares are 0.00 and 0.00; of the authored ones 0.00" in text


def test_chapter_2_says_that_nobody_copies_the_example() -> None:
    assert "No criterion that a model wrote here has most" in copying("Names three zebras.")


def test_chapter_3_sets_other_weights_beside_those_of_the_paper() -> None:
    """Four pairs, the last of which ties by every weight."""
    paper = [1.0, 0.0, 0.8, 0.4, 0.2, 0.6, 0.5, 0.5]
    # One pair turned round, a tie, and twice the same; then all of it upside down.
    uniform = [0.0, 0.5, 0.6, 0.6, 0.2, 0.6, 0.5, 0.5]
    rewards = {PAPER.name: paper, "uniform": uniform, "wrong polarity": [1.0 - x for x in paper]}
    names: dict[str, Any] = {"PAPER": PAPER, "np": np, "rewards": rewards, "tables": tables}
    exec(compile(source("03_the_data_audited", "def order("), "03", "exec"), names)
    own, equal, turned = names["rows"]
    columns = ("pairs ordered otherwise", "of these tied")
    assert [own[name] for name in columns] == [0, 0]
    assert [equal[name] for name in columns] == [2, 1]
    assert [turned[name] for name in columns] == [3, 0]
    assert equal["mean distance"] == pytest.approx((1.0 + 0.5 + 0.2 + 0.2) / 8)
    assert equal["largest distance"] == pytest.approx(1.0)
    assert turned["Pearson correlation"] == pytest.approx(-1.0)
    told = {key: names[key] for key in ("PAPER", "paper", "rows")}
    text = said("03_the_data_audited", "farthest = min(", **told)
    assert "Over 8 responses the rewards by the paper's weights and by equal ones" in text
    assert "they lie 0.237 apart, at most 1.000. Of all rows *wrong polarity* correlates" in text
    assert "Pairs that another way orders otherwise, of 4: 2 (uniform) and 3 (wrong pol" in text


def test_chapter_11_says_what_a_point_costs_in_tokens() -> None:
    """200 tokens more a response, for 300 batches of 96 responses or prompts, over 5.7 points."""
    used = {"implicit": 1000, "reference_likert": 900, "direct_likert": 600, "explicit": 5000}
    costs = {arm: (1.0, SimpleNamespace(prompt_tokens=n)) for arm, n in used.items()}
    ours = SimpleNamespace(rubric=SimpleNamespace(criteria=(1, 2, 3)))
    names: dict[str, Any] = {"costs": costs, "fresh": ["one", "other"], "tasks": [ours]}
    text = said("11_your_own_domain", 'plain = costs["direct_likert"]', tables=tables, **names)
    assert "it costs +200 prompt tokens a response. The paper's run graded 28,800 or 460,8" in text
    assert "a gain of 5.7 points of HealthBench" in text
    # 5.76 and 92.16 million tokens.
    assert "that makes 1.01 or 16.17 million tokens a point" in text
    assert "this rubric has 3 criteria and those of the paper's medical set 7.50 on" in text


def test_chapter_7_says_how_much_of_which_reference_the_answers_hold() -> None:
    tasks = [
        SimpleNamespace(id="a", reference="cold water"),
        SimpleNamespace(id="b", reference="copper salts burn green"),
    ]
    before = {"a": "zebras", "b": "cold"}
    after = {"a": "water", "b": "copper burn"}
    text = said(
        "07_training_with_grpo",
        "held = {",
        content_words=content_words,
        np=np,
        run=SimpleNamespace(before=before, after=after),
        shown=tasks,
    )
    # After: half of two words and half of four. Before: one of the two words of the other one.
    assert "holds a share of 0.00 before training and 0.50 after it" in text
    assert "of the other question's reference 0.25 and 0.00." in text


def test_chapter_8_names_the_part_that_differs_most_and_none_without_an_interval() -> None:
    def of(gain: float, tasks: int) -> dict[str, float]:
        return {f"t{n}": gain + n / 100 for n in range(tasks)}

    def about(tasks: int) -> str:
        parts = {
            "judge": {
                "base": {"safety": of(0.0, tasks), "tone": of(0.0, tasks)},
                "implicit": {"safety": of(-0.25, tasks), "tone": of(0.125, tasks)},
            }
        }
        names: dict[str, Any] = {"parts": parts, "paired_difference": paired_difference}
        return said("08_evaluation", "moves = {\n", run=SimpleNamespace(arm="implicit"), **names)

    assert "between implicit and the base, each part in its own measure, is on *safety*" in about(9)
    assert "by judge: -0.25 [" in about(9)
    assert "It was picked from 2 after looking" in about(9)
    assert about(3).startswith("No part has as many scored tasks")


def test_chapter_9_shows_the_attacks_that_gain_most_as_the_judge_sees_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A text of the corpus may have a place for the response, or words to be filled in."""
    filled = [attack for attack in ATTACKS if "{{" in attack.text]
    control = [attack for attack in ATTACKS if attack.family == "control"]
    found = [AttackResult(attack, "implicit", (0.5, 0.5)) for attack in filled]
    found += [AttackResult(attack, "implicit", (0.0, 0.0)) for attack in control]
    shown: list[Any] = []
    monkeypatch.setattr(tables, "folds", lambda parts, about: shown.append(parts))
    said(
        "09_gaming_the_rubric",
        '"implicit: success": i.success',
        families={"implicit": by_family(found), "explicit": {}},
        outcomes={"implicit": found},
        tables=tables,
        target=next(task for task in load_mini() if task.rubric),
    )
    (parts,) = shown
    assert list(parts) == ["by family", "the texts that gain most"]
    texts = [row["text around a response"] for row in parts["the texts that gain most"]]
    assert len(texts) == 5
    assert not any("{{" in text for text in texts)
    assert any("[…]" in text for text in texts)


def test_chapter_10_says_how_many_calls_chance_alone_would_make() -> None:
    rows = [SimpleNamespace(finding=UNDECIDED, origin=None) for _ in range(30)]
    rows += [SimpleNamespace(finding=None, origin=None)]
    words = ("supported", "contradicted", "no difference larger than d", "undecided")
    counts = dict.fromkeys((*words, "not testable here", "holds", "does not hold", "shown"), 0)
    text = said(
        "10_paper_against_here",
        "number = claims.counts(rows)",
        ALPHA=ALPHA,
        claims=SimpleNamespace(counts=lambda rows: counts, unrecorded=lambda rows: rows[:24]),
        rows=rows,
    )
    assert "not testable here: 0, of which a record could still decide 24." in text
    assert "30 claims have a p-value." in text
    assert "at the level of 0.05, 1.50 of them would on average be decided by chance" in text


def test_chapter_11_says_what_the_check_of_a_file_finds(tmp_path: Path) -> None:
    example = files("rar_lib.data") / "example"
    questions = load_questions(example / "questions.csv")  # type: ignore[arg-type]
    lines = (example / "tasks.jsonl").read_text(encoding="utf-8").splitlines()
    broken = tmp_path / "tasks.jsonl"
    broken.write_text("\n".join([*lines[:2], lines[0].replace('"question"', '"qestion"')]))
    for path, found in ((example / "tasks.jsonl", "nothing that is wrong."), (broken, "line 3")):
        text = said(
            "11_your_own_domain",
            "What the check finds",
            questions=questions,
            problems=check(path),  # type: ignore[arg-type]
        )
        assert f"tasks with rubrics: {found}" in text
        assert f"Of the {len(questions.items)} questions" in text
