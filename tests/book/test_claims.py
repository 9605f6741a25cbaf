"""The claims ledger: complete, with what was seen before, decided from files, nothing typed."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rar_lib.book import claims, prose, results, tables
from rar_lib.book.claims import Claim, Evidence, Expression, Ledger, Row
from rar_lib.book.profiles import load as profile_of
from rar_lib.book.study import Study
from rar_lib.core.decision import Finding, decide_family, not_testable
from rar_lib.core.errors import DataError
from rar_lib.core.stats import MIN_UNITS, Seeds, compare, holm
from results import attacks
from results.alignment import table as alignment_table
from results.study import table as study_table

ROOT = Path(__file__).resolve().parents[2]
CHAPTER = ROOT / "notebooks" / "10_paper_against_here.ipynb"
ATTACKS = ROOT / "notebooks" / "09_gaming_the_rubric.ipynb"
DECLARED = claims.load()
STORED = json.loads((ROOT / "rar_lib" / "book" / "published.json").read_text(encoding="utf-8"))
#: The paper's tables and those that it is held against: name -> columns, rows and source.
PUBLISHED = {name: table for name, table in STORED.items() if isinstance(table, dict)}
DESIGN = json.loads((ROOT / "results" / "study" / "design.json").read_text(encoding="utf-8"))

# --- complete ------------------------------------------------------------------------------------

#: Every table, figure, equation and remark of the paper and of its other versions, read off them.
PLACES = [
    *("v1 abstract", "v2 abstract", "v1 Table 1", "v1 Figure 2", "v2 Figure 2", "v2 Figure 3"),
    *(f"v2 Table {number}" for number in range(1, 12)),
    *(f"CR Table {number}" for number in range(1, 6)),
    *("v2 Equation 1", "v2 Equation 2", "v2 Remark 1", "v1 footnote 2", "v2 footnote 3"),
    *("v2 section 2.2", "v2 section 2.3", "v2 section 3.1", "v2 section 3.2", "v2 section 4.1"),
    *("v2 section 4.2", "v2 section 4.3", "v2 section 4.4", "v2 section 4.5", "v2 section 5"),
    *("v2 section 6", "v1 section 4.4", "v1 section 6"),
    *(f"v2 appendix A.{number}" for number in range(4, 10)),
    *("v1 appendix B", "review 1", "review 2", "review 3", "summary 1", "summary 2"),
]
#: What the paper, its reviewers and its summaries say, by what it is about.
SAID = {
    "a rubric in one rating beats a plain rating": "reward.implicit-over-direct-likert",
    "up to 31 percent": "arithmetic.headline-healthbench",
    "28 percent on HealthBench-1k": "arithmetic.headline-healthbench-1k",
    "7 percent on GPQA": "arithmetic.headline-gpqa",
    "13 percent on GPQA, first version": "choice.headline-first-version",
    "what 198 questions can tell": "arithmetic.gpqa-sampling",
    "implicit over explicit": "reward.implicit-over-explicit",
    "matches reference-based rewards": "reward.implicit-over-reference-likert",
    "explicit over plain rating": "reward.explicit-over-direct-likert",
    "explicit over reference rating": "reward.explicit-over-reference-likert",
    "own rubric over a generic one": "reward.explicit-over-predefined",
    "over the base": "reward.implicit-over-base",
    "over the instruct model": "reward.implicit-over-instruct",
    "explicit over the instruct model": "reward.explicit-over-instruct",
    "a generic rubric falls behind a plain rating": "reward.direct-likert-over-predefined",
    "the reference helps a rating": "reward.reference-likert-over-direct-likert",
    "scores by axis": "method.axis-scores",
    "carries over to multiple choice": "choice.implicit-over-direct-likert",
    "single criteria over a plain rating there": "choice.explicit-over-direct-likert",
    "single criteria over the reference there": "choice.explicit-over-reference-likert",
    "own rubric over a generic one there": "choice.implicit-over-predefined",
    "generic rubric adds nothing there": "choice.predefined-over-base",
    "aligns judges": "judge.implicit-over-direct-likert",
    "aligns judges at every size": "judge.implicit-at-every-size",
    "single criteria align judges at every size": "judge.explicit-at-every-size",
    "no reference, still better than a plain rating": "judge.no-reference-over-direct-likert",
    "a smaller policy over its base": "reward.small-policy-implicit-over-base",
    "small judges gain most": "judge.small-gains-most",
    "less variance across judges": "judge.spread-smaller",
    "synthetic rubrics align judges": "judge.synthetic-over-direct-likert",
    "the reference makes better rubrics": "rubrics.reference-margin",
    "judge size as reward": "reward.strong-judge-over-weak",
    "spread over judge sizes as reward": "arithmetic.judge-size-spread",
    "middle judges gain little as reward": "arithmetic.judge-qwen-14b-beyond-noise",
    "larger judges gain little as reward": "arithmetic.judge-qwen-32b-beyond-noise",
    "source of the rubric as reward": "reward.reference-rubrics-over-no-reference",
    "synthetic rubrics over the reference": "arithmetic.synthetic-over-reference-beyond-noise",
    "human rubrics over the reference": "arithmetic.human-over-reference-beyond-noise",
    "expert answers come last": "arithmetic.likert-over-expert-sft-beyond-noise",
    "one writer with the reference and without": "arithmetic.writer-with-reference-beyond-noise",
    "synthetic matches human": "rubrics.authored-over-synthetic",
    "expert answers as training data": "reward.implicit-over-expert-sft",
    "filtered answers as training data": "reward.implicit-over-filtered-sft",
    "elements of the rubric": "reward.all-over-essential-only",
    "writer of the rubric": "reward.strong-writer-over-weak",
    "a smaller policy": "reward.small-policy-implicit-over-direct-likert",
    "arbitrary weights": "weights.paper-over-uniform",
    "cost against gain": "critique.cost",
    "dialogue and agents": "critique.dialogue-agents",
    "reward hacking": "gaming.attacks-pay-implicit",
    "interpretability": "critique.interpretability",
    "four desiderata": "rubrics.desiderata",
    "equation 1": "method.explicit",
    "equation 2": "method.implicit",
    "a checkable answer is a special case": "method.verifiable-case",
    "polarity of pitfalls": "weights.polarity",
    "data tables swapped": "arithmetic.swapped-medicine",
    "words a question, medicine": "arithmetic.words-medicine",
    "words a question, science": "arithmetic.words-science",
    "topics": "arithmetic.topics-science",
    "topics, table by table": "data.topics",
    "criteria asked for and given": "data.rubric-size",
    "a training pool of three sizes": "arithmetic.pool-of-sources",
    "a training pool of three sizes, the smallest": "arithmetic.pool-of-smaller-policy",
    "pairs of the ablations' prompts, or without": "judge.pairs-apart-from-ablations",
    "hyperparameters": "method.training",
    "prompts": "method.judge-prompts",
    "HealthBench protocol": "method.healthbench-protocol",
    "multiple choice protocol": "choice.protocol",
    "judge and grader are one model": "gaming.judge-is-grader",
    "variance of training": "reward.seed-spread",
}


@pytest.mark.parametrize("place", PLACES)
def test_no_table_figure_or_section_is_missing(place: str) -> None:
    assert any(place in claim.places for claim in DECLARED.claims)


@pytest.mark.parametrize("about", SAID)
def test_nothing_that_is_said_is_missing(about: str) -> None:
    assert SAID[about] in {claim.id for claim in DECLARED.claims}


def test_every_published_table_is_in_the_ledger_or_quoted_in_a_chapter() -> None:
    ledger = (ROOT / "book" / "claims.toml").read_text()  # a link to the one beside its loader
    chapters = "".join(path.read_text() for path in (ROOT / "notebooks").glob("*.ipynb"))
    assert [n for n in PUBLISHED if f'"{n}"' not in ledger and f'\\"{n}\\"' not in chapters] == []


#: Published tables of which the ledger does not name each number, and where they are read instead.
WHOLE = {
    "training": "settings, each beside this book's own in chapter 7",
    "data_audit": "of others than the authors; chapter 3 sets it beside this book's data",
    "topics_medicine": "summed as a whole, shown in chapter 10",
    "topics_science": "summed as a whole, shown in chapter 10",
}
#: Numbers of the other tables that no row of the ledger is about, and why.
UNASKED = {
    ("splits", "test", "RaR-Medicine"): "the paper counts the tasks of the other two",
    ("splits", "test", "RaR-Science"): "the paper counts the tasks of the other two",
    ("benchmarks", "GPQA-Diamond", "questions"): "a bound is computed from it",
    ("rubric_size", "most", "criteria"): "chapter 10 says it beside the least",
}


def cells_of(one: Claim) -> list[claims.Cell]:
    """The published numbers that a row is about; what a check must exceed is only its yardstick."""
    if one.arithmetic is None:
        return one.paper.cells if isinstance(one.paper, claims.Quote) else []
    return [*one.arithmetic.of, *filter(None, [one.arithmetic.equals])]


def test_every_published_number_has_a_row_of_the_ledger_or_a_reason_for_none() -> None:
    """By its name: one that stands for all rows of a table names none."""
    assert set(WHOLE) <= set(PUBLISHED)
    numbers = {
        (name, row[0], column)
        for name, table in PUBLISHED.items()
        for row in table["rows"]
        for column in table["columns"][1:]
        if name not in WHOLE
    }
    assert len(numbers) > 70
    named = {cell for one in DECLARED.claims for cell in cells_of(one)}
    assert numbers - named == set(UNASKED)


#: Place in the paper, table, column -> what stands over what there, as rows of the ledger set it.
COMPARED = {
    ("v2 Figure 2", "main_results", "HealthBench"): [
        *[("implicit", row) for row in ("base", "instruct", "direct_likert", "reference_likert")],
        *[("explicit", row) for row in ("base", "instruct", "direct_likert", "reference_likert")],
        *[("implicit", "explicit"), ("explicit", "predefined")],
        *[("reference_likert", "direct_likert"), ("direct_likert", "predefined")],
    ],
    ("v2 Figure 2", "main_results", "GPQA-Diamond"): [
        *[("implicit", row) for row in ("base", "instruct", "direct_likert", "reference_likert")],
        *[("implicit", "explicit"), ("implicit", "predefined"), ("predefined", "base")],
        *[("explicit", "direct_likert"), ("explicit", "reference_likert")],
    ],
    ("v2 Table 1", "rubric_source", "HealthBench-1k"): [
        ("implicit, synthetic with reference", "implicit, synthetic without reference"),
        ("implicit, synthetic with reference", "implicit, human rubrics"),
        ("implicit, synthetic with reference", "reference_likert"),
        ("implicit, synthetic with reference", "expert-answer SFT"),
        ("implicit, human rubrics", "reference_likert"),
        ("implicit, synthetic without reference", "reference_likert"),
        ("direct_likert", "expert-answer SFT"),
    ],
    ("v2 Table 2", "rubric_elements", "HealthBench-1k"): [
        *[("all", row) for row in ("Essential only", "no category labels", "no pitfalls")],
    ],
    ("v2 Table 3", "generators", "HealthBench-1k"): [
        ("o3-mini, with reference", "o3-mini"),
        ("GPT-4o", "GPT-4o-mini"),
        *[(row, "Qwen-7B-Instruct") for row in ("GPT-4o", "Qwen-72B-Instruct")],
        ("Qwen-32B-Instruct", "Qwen-7B-Instruct"),
    ],
    ("v2 Table 11", "judge_size", "implicit"): [("GPT-4o-mini", "Qwen-7B-Instruct")],
    ("CR Table 5", "smaller_policy", "HealthBench-1k"): [
        *[("implicit", row) for row in ("base", "direct_likert", "reference_likert")],
    ],
    ("v1 Table 1", "healthbench_1k", "score"): [("implicit", "direct_likert")],
    ("v2 appendix A.7", "alignment_pairs", "pairs"): [("version 2", "version 1")],
    ("v2 section 4.4", "pitfall_weight", "weight of a pitfall"): [("version 2", "version 1")],
}
#: Rules of arithmetic that set a first number over a second one.
OVER = ("difference", "relative gain")


def compared(place: str) -> set[tuple[claims.Cell, claims.Cell]]:
    """What the ledger sets over what, in the rows about a place in the paper."""
    found = set()
    for one in DECLARED.claims:
        cells = cells_of(one)
        over = one.arithmetic is None or one.arithmetic.rule in OVER
        if place in one.places and len(cells) > 1 and over:
            found.add((cells[0], cells[1]))
    return found


@pytest.mark.parametrize("where", COMPARED, ids=lambda where: f"{where[0]}, {where[2]}")
def test_what_a_table_or_figure_compares_is_in_the_ledger(where: tuple[str, str, str]) -> None:
    """One row on a table is not enough: each of its comparisons has one."""
    place, table, column = where
    found = compared(place)
    lacking = [
        (better, other)
        for better, other in COMPARED[where]
        if ((table, better, column), (table, other, column)) not in found
    ]
    assert lacking == []


@pytest.mark.parametrize("judge", [row[0] for row in PUBLISHED["judge_size"]["rows"]])
def test_each_judge_of_table_11_is_asked_with_rubric_and_without(judge: str) -> None:
    pair = ("judge_size", judge, "implicit"), ("judge_size", judge, "direct_likert")
    assert pair in compared("v2 Table 11")


def test_every_table_of_scores_has_its_comparisons_listed() -> None:
    """A table that is published and compared nowhere needs a line here."""
    listed = {table for _, table, _ in COMPARED}
    scores = {n for n, table in PUBLISHED.items() if re.search("percent|score", table["source"])}
    assert scores - listed == {"headlines"}  # gains, each held against the scores it is said of


#: Files that are read, and not only run.
READ = re.compile(r"\.(ipynb|md)$")
TABLES = ("judge_size", "smaller_policy", "rubric_elements", "generators", "healthbench_1k")


@pytest.mark.parametrize("name", TABLES)
def test_tables_that_a_reader_looks_for_stand_in_chapter_9(name: str) -> None:
    assert f'tables.quoted("{name}")' in code_of(CHAPTER)


@pytest.mark.parametrize("name", ["topics_medicine", "topics_science"])
def test_topics_are_shown_row_by_row_where_the_ledger_says(name: str) -> None:
    (one,) = (one for one in DECLARED.claims if one.id == "data.topics")
    assert one.shown == (CHAPTER.relative_to(ROOT).as_posix(),)
    assert f'"{name}"' in code_of(CHAPTER)
    assert "tables.folds(topics" in code_of(CHAPTER)


def test_what_is_shown_is_shown_to_readers() -> None:
    """In a chapter, on a page or in a data card, whichever file of the library is beside it."""
    shown = {one.id: one.shown for one in DECLARED.claims if one.shown}
    unread = [name for name, paths in shown.items() if not any(map(READ.search, paths))]
    assert unread == []


def test_what_is_measured_was_declared_with_margin_and_rule() -> None:
    measured = [claim for claim in DECLARED.claims if claim.sources]
    assert len(measured) > 30
    for claim in measured:
        measure = DECLARED.measure_of(claim)
        assert measure is not None, claim.id
        assert measure.margin > 0
        family = DECLARED.families[measure.family]
        assert "Holm" in family.rule


#: Measure -> family, margin d and the claims that it decides, as they were declared.
FIXED: dict[str, tuple[str, float, tuple[str, ...]]] = {
    "accuracy": (
        "ledger",
        0.05,
        (
            "judge.implicit-over-direct-likert",
            "judge.explicit-over-direct-likert",
            "judge.implicit-over-reference-likert",
            "judge.explicit-over-implicit",
            "judge.implicit-at-every-size",
            "judge.explicit-at-every-size",
            "judge.synthetic-over-direct-likert",
            "judge.no-reference-over-direct-likert",
            "judge.reference-rubrics-over-no-reference",
            "judge.explicit-over-predefined",
        ),
    ),
    "accuracy_gain": ("ledger", 0.05, ("judge.small-gains-most",)),
    "accuracy_spread": ("ledger", 0.0025, ("judge.spread-smaller",)),
    "discrimination": (
        "ledger",
        0.05,
        ("rubrics.reference-margin", "rubrics.authored-over-synthetic"),
    ),
    "held_out": (
        "study",
        0.05,
        (
            "reward.implicit-over-direct-likert",
            "reward.implicit-over-explicit",
            "reward.explicit-over-direct-likert",
            "reward.explicit-over-reference-likert",
            "reward.explicit-over-predefined",
            "reward.implicit-over-base",
            "reward.explicit-over-base",
            "reward.expert-sft-over-base",
            "reward.reference-rubrics-over-no-reference",
        ),
    ),
    "held_out_further": (
        "further",
        0.05,
        (
            "reward.implicit-over-reference-likert",
            "reward.implicit-over-expert-sft",
            "reward.implicit-over-filtered-sft",
            "reward.strong-judge-over-weak",
            "reward.synthetic-over-human",
            "reward.no-reference-rubrics-over-reference-likert",
        ),
    ),
    "attack_gain": (
        "ledger",
        0.05,
        ("gaming.attacks-pay-implicit", "gaming.attacks-pay-explicit"),
    ),
    "attack_share": (
        "ledger",
        0.1,
        ("gaming.rules-help-implicit", "gaming.rules-help-explicit"),
    ),
}


@pytest.mark.parametrize("name", DECLARED.measures)
def test_margin_family_and_claims_of_a_measure_are_as_declared(name: str) -> None:
    """A margin that is widened, or a claim that changes its family, when its finding is known."""
    measure = DECLARED.measures[name]
    decided_ = tuple(one.id for one in DECLARED.claims if one.measure == name)
    family, margin, members = FIXED[name]
    assert (measure.family, measure.margin) == (family, margin)
    assert set(decided_) == set(members)


def margins_on_record(record: str) -> list[tuple[str, float, float]]:
    """Id, margin as declared and as recorded, of the findings that a record decided by a margin."""
    found = (results.load(record) or {}).get("findings", {})
    rows = []
    for one in DECLARED.claims:
        measure = DECLARED.measure_of(one)
        for source in one.sources:
            made = found.get(source.key, {}).get("margin")
            if measure and source.record == record and made is not None:
                rows.append((one.id, measure.margin, made))
    return rows


@pytest.mark.parametrize("record", claims.SCRIPTS)
def test_a_record_was_made_with_the_margins_that_are_declared(record: str) -> None:
    rows = margins_on_record(record)
    assert rows or record == "attacks"  # which is not made yet
    assert [row for row in rows if row[1] != row[2]] == []


def test_the_contrasts_of_the_design_on_record_are_the_families_of_the_ledger() -> None:
    """``design.json`` holds what the study declared; no claim has moved between its families."""
    contrasts = DESIGN["contrasts"]
    for family, measure in (("claims", "held_out"), ("further", "held_out_further")):
        of = [one for one in DECLARED.claims if one.measure == measure]
        assert of
        for one in of:
            (source,) = one.sources
            declared_ = contrasts[family].get(source.key.removeprefix("training."))
            assert list(source.runs) == declared_, one.id


def test_no_measure_is_declared_that_no_claim_uses() -> None:
    assert {claim.measure for claim in DECLARED.claims} - {""} == set(DECLARED.measures)


def test_no_claim_about_weights_is_decided_by_pairs_that_one_of_them_chose() -> None:
    """Each pair was taken where the paper's weights order it rightly (tests/data/test_mini.py)."""
    of_weights = [one for one in DECLARED.claims if one.group == "weights"]
    assert len(of_weights) == 5
    for one in of_weights:
        assert not one.sources
        assert "only where the paper's weights" in one.reason


def test_a_chapter_can_take_the_declared_margin() -> None:
    assert claims.margin("accuracy") == DECLARED.measures["accuracy"].margin
    with pytest.raises(DataError, match="accuracy_gain"):
        claims.margin("taste")


#: What the record of judges decides that is no claim: of one judge alone.
NO_CLAIM = re.compile(r", (smollm2|qwen)-")
#: What it decides once judges have been asked under rubrics that a model wrote.
UNDER_WRITTEN = {
    "alignment.synthetic_ref_over_likert",
    "alignment.synthetic_noref_over_likert",
    "alignment.synthetic_ref_over_noref",
}
ATTACKED = {
    "gaming.attacks_pay_implicit",
    "gaming.attacks_pay_explicit",
    "gaming.rules_help_implicit",
    "gaming.rules_help_explicit",
}


def taken(record: str) -> set[str]:
    """The findings that the ledger asks of a record."""
    sources = [source for claim in DECLARED.claims for source in claim.sources]
    return {source.key for source in sources if source.record == record}


def test_no_key_of_the_ledger_names_what_a_chapter_leaves() -> None:
    """The live run of a chapter is a demonstration and never feeds a claim."""
    assert set(claims.Source.model_fields) == {"key", "record", "runs"}
    assert "findings_" not in claims.FILE.read_text(encoding="utf-8")
    sources = [source for claim in DECLARED.claims for source in claim.sources]
    assert {source.record for source in sources} == set(claims.SCRIPTS)
    assert [script for script in claims.SCRIPTS.values() if not (ROOT / script).is_file()] == []


def test_all_that_the_records_decide_of_a_claim_is_asked_for() -> None:
    """One source less, and a finding on record would feed nothing."""
    found = json.loads(alignment_table.RESULTS.read_text(encoding="utf-8"))["findings"]
    decided_ = {key for key in found if not NO_CLAIM.search(key)}
    assert taken("alignment") == decided_ | UNDER_WRITTEN | set(alignment_table.WRITERS)
    assert taken("attacks") == ATTACKED


def test_what_is_shown_somewhere_is_there() -> None:
    paths = [path for claim in DECLARED.claims for path in claim.shown]
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_training_feeds_a_claim_by_named_runs_only() -> None:
    """A chapter trains one seed; a record of arms holds several, and says of which arms."""
    for claim in DECLARED.claims:
        trained = [source for source in claim.sources if source.record == "arms"]
        assert all(source.runs for source in trained)
        assert bool(trained) == claim.measure.startswith("held_out")


# --- declared wrongly ----------------------------------------------------------------------------

GOOD = """
[groups]
judge = "Judges"
[families.ledger]
rule = "Holm"
size = 40
[measures.accuracy]
statistic = "accuracy"
unit = "share"
family = "ledger"
margin = 0.05
because = "small"
[[claim]]
id = "judge.a"
group = "judge"
says = "More is more."
places = ["v2 Figure 3"]
paper = "figure only"
measure = "accuracy"
sources = [{ record = "alignment", key = "a" }]
"""
SECOND = GOOD[GOOD.index("[[claim]]") :]
QUOTED = '{ table = "main_results", column = "HealthBench", row = "implicit" }'

WRONG = [
    ("margin = 0.05\n", "", ["margin"]),
    ("margin = 0.05", "margin = 0.0", ["margin", "greater than 0"]),
    ('measure = "accuracy"', "", ["judge.a", "measure", "margin"]),
    ('measure = "accuracy"', 'measure = "taste"', ["judge.a", "taste", "accuracy"]),
    ('group = "judge"', 'group = "jury"', ["judge.a", "jury", "judge"]),
    ('family = "ledger"', 'family = "book"', ["accuracy", "book", "ledger"]),
    ('says = "More is more."', 'says = "It gains 31 %."', ["judge.a", "says", "31 %"]),
    ('paper = "figure only"', 'paper = "about 0.3"', ["judge.a", "0.3"]),
    ('paper = "figure only"', "", ["judge.a", "paper"]),
    ('paper = "figure only"', f"paper = {QUOTED.replace('implicit', 'none')}", ["judge.a", "base"]),
    (
        'paper = "figure only"',
        f"paper = {QUOTED.replace('HealthBench', 'Health')}",
        ["HealthBench"],
    ),
    (
        'paper = "figure only"',
        f"paper = {QUOTED.replace('implicit', '*')}",
        ["judge.a", "row * is against row *"],
    ),
    ('places = ["v2 Figure 3"]', "places = []", ["judge.a", "places"]),
    ('id = "judge.a"', 'id = "Judge A"', ["Judge A", "id"]),
    ('id = "judge.a"', 'id = "judge.a"\nverdict = "supported"', ["judge.a", "verdict", "keys are"]),
    ('record = "alignment", key', 'data = "findings_04", key', ["judge.a", "data", "record"]),
    ('record = "alignment"', 'record = "findings_04"', ["judge.a", "findings_04", "alignment"]),
    ('record = "alignment", key', "key", ["judge.a", "record", "required"]),
    ("[[claim]]", SECOND + "[[claim]]", ["judge.a", "twice"]),
    ("[groups]", "[groups", ["can't be read"]),
    ('paper = "figure only"', 'paper = "figure only"\nreason = "no"', ["judge.a", "exactly one"]),
]


def declared(folder: Path, text: str) -> Ledger:
    (folder / "claims.toml").write_text(text)
    return claims.load(folder / "claims.toml")


@pytest.mark.parametrize(("part", "wrong", "says"), WRONG)
def test_a_wrong_declaration_names_claim_key_and_fix(
    tmp_path: Path, part: str, wrong: str, says: list[str]
) -> None:
    assert part in GOOD
    with pytest.raises(DataError) as caught:
        declared(tmp_path, GOOD.replace(part, wrong, 1))
    assert [word for word in says if word not in str(caught.value)] == []


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="restore it from git"):
        claims.load(tmp_path / "claims.toml")


def test_arithmetic_is_held_against_one_thing(tmp_path: Path) -> None:
    cell = '["main_results", "implicit", "HealthBench"]'
    start = GOOD.index("paper = ")
    for held in ("", f", equals = {cell}, exceeds = {{ rule = 'value', of = [{cell}] }}"):
        text = GOOD[:start] + f"arithmetic = {{ rule = 'value', of = [{cell}]{held} }}\n"
        with pytest.raises(DataError, match="exactly one of equals and exceeds"):
            declared(tmp_path, text)


# --- arithmetic ----------------------------------------------------------------------------------


def checked(name: str) -> claims.Checked:
    (claim,) = (c for c in DECLARED.claims if c.id == f"arithmetic.{name}")
    assert claim.arithmetic is not None
    return claims.check(claim.arithmetic)


@pytest.mark.parametrize(
    ("name", "value", "against", "holds"),
    [
        ("headline-healthbench", 22.35, 31, False),  # 31.2 / 25.5
        ("headline-healthbench-mixed", 30.54, 31, True),  # 31.2 / 23.9
        ("headline-healthbench-1k", 28.32, 28, True),  # 0.3194 / 0.2489
        ("headline-gpqa", 8.05, 7, False),  # 37.6 / 34.8
        ("headline-gpqa-instruct", 7.43, 7, True),  # 37.6 / 35.0
        ("gpqa-sampling", 1.1, 6.69, False),  # Wilson, 198 questions at 37.6 %
        ("judge-size-spread", 0.5, 1.3, False),  # 3.4 - 2.9; 37.2 - 35.9
        ("no-reference-beyond-noise", 0.3, 1.3, False),
        ("no-labels-beyond-noise", 1.6, 1.3, True),
        ("gpqa-sampling-predefined", 5.9, 6.69, False),  # 37.6 - 31.7
        ("implicit-over-reference-beyond-noise", 2.3, 1.3, True),  # 31.2 - 28.9
        ("explicit-over-reference-beyond-noise", 0.8, 1.3, False),  # 29.7 - 28.9
        ("judge-qwen-7b-beyond-noise", 4.7, 1.3, True),  # 26.7 - 22.0
        ("judge-qwen-14b-beyond-noise", 0.1, 1.3, False),  # 25.0 - 24.9
        ("judge-qwen-32b-beyond-noise", 0.8, 1.3, False),  # 26.2 - 25.4
        ("judge-gpt-4o-mini-beyond-noise", 2.6, 1.3, True),  # 27.9 - 25.3
        ("synthetic-over-reference-beyond-noise", 4.2, 1.3, True),  # 35.9 - 31.7
        ("human-over-reference-beyond-noise", 3.1, 1.3, True),  # 34.8 - 31.7
        ("likert-over-expert-sft-beyond-noise", 3.5, 1.3, True),  # 23.9 - 20.4
        ("writer-with-reference-beyond-noise", 3.5, 1.3, True),  # 35.9 - 32.4
        ("writer-gpt-beyond-noise", 1.5, 1.3, True),  # 34.2 - 32.7
        ("writer-qwen-beyond-noise", -0.8, 1.3, False),  # 31.1 - 31.9
        ("pairs-first-version", 8406, 8406, True),  # 2 * 4,203
        ("pool-of-writers", 4000, 4000, True),  # 5,000 - 1,000
        ("pool-of-sources", 3500, 4000, False),
        ("pool-of-smaller-policy", 3000, 3500, False),
        ("words-medicine", 45.0, 41.3, False),
        ("words-science", 52.6, 45.4, False),
        ("words-swapped", 45.0, 45.4, False),
        ("swapped-medicine", 7.506, 7.51, True),  # 154,808 / 20,625
        ("swapped-science", 7.462, 7.5, True),  # 150,484 / 20,166
        ("rubric-size-medicine", 7.677, 7.5, False),
        ("topics-medicine", 20166, 20166, True),
        ("splits-science", 20625, 20625, True),
    ],
)
def test_the_papers_arithmetic(name: str, value: float, against: float, holds: bool) -> None:
    found = checked(name)
    assert found.value == pytest.approx(value, abs=0.005)
    assert found.against == pytest.approx(against, abs=0.005)
    assert found.holds is holds


def test_a_published_number_stands_for_all_that_round_to_it() -> None:
    """31.15 / 25.55 and 31.25 / 25.45: the gain lies between 21.9 and 22.8 percent."""
    found = checked("headline-healthbench")
    assert (found.low, found.high) == (
        pytest.approx(21.918, abs=1e-3),
        pytest.approx(22.790, abs=1e-3),
    )
    count = Expression(rule="total", of=(("splits", "train", "RaR-Medicine"),))
    assert claims.evaluate(count) == (17926, 17926, 17926)


def test_all_rows_of_a_table_are_ranged_over() -> None:
    spread = Expression(
        rule="difference of ranges",
        of=(("judge_size", "*", "direct_likert"), ("judge_size", "*", "implicit")),
    )
    value, low, high = claims.evaluate(spread)
    assert value == pytest.approx(3.4 - 2.9)
    assert (low, high) == (pytest.approx(0.3), pytest.approx(0.7))


# --- decided -------------------------------------------------------------------------------------

ORIGIN = {"machine": "two cores", "versions": {"torch": "2"}, "date": "2026-01-02"}


def finding(gap: float, tasks: int = 24, spread: float = 0.1) -> Finding:
    gaps = [gap + spread * (-1) ** n for n in range(tasks)]
    return decide_family({"": compare(gaps, range(tasks))}, margins=0.01)[""]


def claim(name: str, **more: Any) -> Claim:
    given_ = {"paper": "figure only", "measure": "accuracy"} | more
    if "sources" not in more:
        given_["sources"] = [{"record": "alignment", "key": name}]
    return Claim.model_validate(
        {"id": f"judge.{name}", "group": "judge", "says": "So.", "places": ["here"]} | given_
    )


def one_measure(*members: Claim) -> Ledger:
    measure = {"statistic": "accuracy", "unit": "share", "because": "small", "margin": 0.05}
    return Ledger.model_validate(
        {
            "groups": {"judge": "Judges"},
            "families": {"ledger": {"rule": "Holm", "size": len(members)}},
            "measures": {"accuracy": measure | {"family": "ledger"}},
            "claims": members,
        }
    )


def recorded(**findings: Finding) -> Evidence:
    """A record of judges with these findings."""
    values = {name: found.to_json() for name, found in findings.items()}
    return Evidence({"alignment": ORIGIN | {"findings": values}})


def decide(ledger: Ledger, evidence: Evidence) -> dict[str, Row]:
    return {row.claim.id: row for row in claims.decided(ledger, evidence)}


def test_the_ledger_is_one_family_whatever_a_chapter_had_corrected() -> None:
    """p = 2/256 alone is supported; among ten of its kind 10 * 2/256 is not."""
    eight = finding(0.1, tasks=8, spread=0.05)
    assert (eight.word, eight.p) == ("supported", pytest.approx(2 / 256))
    names = [f"c{n}" for n in range(10)]
    ledger = one_measure(*(claim(n) for n in names))
    rows = decide(ledger, recorded(**dict.fromkeys(names, eight)))
    assert {row.word for row in rows.values()} == {"not testable here"}
    assert decide(ledger, recorded(c0=eight))["judge.c0"].word == "not testable here"
    alone = decide(one_measure(claim("c0")), recorded(c0=eight))["judge.c0"]
    assert alone.word == "supported"


def test_claims_are_corrected_together_and_those_without_a_p_count_as_declared() -> None:
    found = {"a": finding(0.3), "b": finding(0.045), "c": finding(0.0)}
    rows = decide(one_measure(*(claim(n) for n in "abcd")), recorded(**found))
    p = {name: f.p for name, f in found.items() if f.p is not None}
    expected = holm(p, 4)
    for name in "abc":
        decided_ = rows[f"judge.{name}"].finding
        assert decided_ is not None
        assert decided_.p_holm == pytest.approx(expected[name])
    assert rows["judge.a"].word == "supported"
    assert rows["judge.d"].finding == not_testable(
        "results/alignment/alignment.json holds no finding d; "
        "results/alignment/run.py would record it"
    )


def measured_claims(folder: Path, number: int, size: int | None = None) -> Path:
    """A ledger of so many measured claims, and one that is not measured.

    Args:
        size: of their family as declared; as many as there are by default.
    """
    text = GOOD[: GOOD.index("[[claim]]")].replace("size = 40", f"size = {size or number}")
    text += "".join(SECOND.replace('"judge.a"', f'"judge.a{n}"') for n in range(number))
    unmeasured = SECOND[: SECOND.index("measure")].replace('"judge.a"', '"judge.b"')
    (folder / "claims.toml").write_text(f'{text}{unmeasured}reason = "nobody asked"\n')
    return folder / "claims.toml"


@pytest.mark.parametrize(("number", "tasks"), [(1, 6), (4, 8), (37, 11)])
def test_fewest_tasks_follow_from_the_size_of_a_family(
    tmp_path: Path, number: int, tasks: int
) -> None:
    file = measured_claims(tmp_path, number)
    assert claims.family_size("ledger", file) == number
    assert claims.fewest_tasks("ledger", file) == tasks


def test_a_family_keeps_the_size_it_was_declared_with(tmp_path: Path) -> None:
    """Nobody's p gains by the leaving of another claim, and none comes in unseen."""
    assert claims.family_size("ledger", measured_claims(tmp_path, 2, size=37)) == 37
    with pytest.raises(DataError, match="'ledger' has 3 measured claims and was declared with 2"):
        claims.load(measured_claims(tmp_path, 3, size=2))


def test_a_family_without_a_name_has_no_fewest_tasks() -> None:
    with pytest.raises(DataError, match=r"family 'book' is not declared; there are: ledger"):
        claims.fewest_tasks("book")


def test_families_hold_what_they_were_declared_with() -> None:
    """The study's are its contrasts; the first family is the ledger's to the last one."""
    of: dict[str, set[str]] = {name: set() for name in DECLARED.families}
    for one in DECLARED.claims:
        if one.sources:
            of[DECLARED.measures[one.measure].family].add(one.sources[0].key)
    first = {f"training.{name}" for name in study_table.CONTRASTS}
    further = {f"training.{name}" for name in study_table.FURTHER}
    assert of["study"] == first
    assert of["further"] <= further
    sizes = {name: family.size for name, family in DECLARED.families.items()}
    # No family forgets a claim that was once declared in it: 48 at first, 3 later.
    assert sizes == {"ledger": 48 + 3, "study": len(first), "further": len(further)}


def test_a_record_is_told_in_the_words_of_the_ledger() -> None:
    """Clear in a family of one, a claim is not among those it was declared with."""
    found = recorded(a=finding(0.3), b=finding(0.045), small=finding(0.045))
    record = found.records["alignment"]
    rows = claims.decided(one_measure(claim("a"), claim("b"), claim("c")), found)
    told = claims.on_record(record, rows)
    by_id = {row.claim.id: row.finding for row in rows}
    assert list(told) == ["a", "b", "small"]
    assert {name: told[name] for name in "ab"} == {n: by_id[f"judge.{n}"] for n in "ab"}
    assert finding(0.045).word == "supported"
    # No claim of the ledger: as if it were the least of the three.
    p = finding(0.045).p
    assert p is not None
    assert told["small"].p_holm == pytest.approx(min(1.0, 3 * p))
    assert claims.on_record(None, rows) == {}


def test_what_the_ledger_refuses_no_page_tells() -> None:
    """A record without its machine decides nothing; what is no claim is corrected all the same."""
    found = recorded(a=finding(0.3), small=finding(0.045))
    record = {"findings": found.records["alignment"]["findings"]}
    ledger = one_measure(claim("a"), claim("b"), claim("c"))
    told = claims.on_record(record, claims.decided(ledger, Evidence({"alignment": record})))
    assert told["a"].word == "not testable here"
    p = finding(0.045).p
    assert p is not None
    assert told["small"].p_holm == pytest.approx(min(1.0, 3 * p))


@pytest.mark.parametrize(
    "path", sorted(CHAPTER.parent.glob("*.ipynb")), ids=lambda path: str(path.stem)
)
def test_no_chapter_reads_a_verdict_past_the_ledger(path: Path) -> None:
    found = re.findall(r"""(?:\.get\(|\[)\s*["']findings["']""", code_of(path))
    assert found == []


def test_the_ledger_decides_with_the_fewest_tasks_and_not_with_one_less() -> None:
    """All measured claims have a p, each of tasks that lie on one side."""
    names = [f"c{n}" for n in range(claims.family_size("ledger"))]
    ledger = one_measure(*(claim(n) for n in names))
    fewest = claims.fewest_tasks("ledger")
    words = {}
    for tasks in (fewest - 1, fewest):
        found = recorded(**dict.fromkeys(names, finding(0.1, tasks=tasks, spread=0.05)))
        words[tasks] = {row.word for row in decide(ledger, found).values()}
    assert words == {fewest - 1: {"not testable here"}, fewest: {"supported"}}


def attacked(profile: str) -> list[Any]:
    """The pairs that chapter 9 attacks, by its own lines."""
    wanted = {"fewest", "pairs"}
    cells = json.loads(ATTACKS.read_text())["cells"]
    code = next("".join(c["source"]) for c in cells if "fewest_tasks(" in "".join(c["source"]))
    lines: list[ast.stmt] = [
        node
        for node in ast.parse(code).body
        if isinstance(node, ast.Assign) and wanted & set(map(ast.unparse, node.targets))
    ]
    known: dict[str, Any] = {"fewest_tasks": claims.fewest_tasks, "MIN_UNITS": MIN_UNITS}
    known["study"] = Study.open(profile)
    exec(compile(ast.Module(lines, []), "09", "exec"), known)
    found: list[Any] = known["pairs"]
    return found


@pytest.mark.parametrize("profile", ["laptop", "gpu"])
def test_chapter_9_attacks_as_many_tasks_as_a_claim_needs(profile: str) -> None:
    pairs = attacked(profile)
    assert len({p.task_id for p in pairs}) == len(pairs)
    assert len(pairs) == max(MIN_UNITS, claims.fewest_tasks("ledger"))


def test_chapter_9_stays_small_where_it_is_only_tried() -> None:
    assert len(attacked("smoke")) == profile_of("smoke").pairs < MIN_UNITS


def test_what_a_chapters_own_family_could_not_reach_is_decided_in_the_ledger() -> None:
    """Eight tasks reach 2/256: too much among twelve claims, enough alone."""
    eight = compare([0.1 + 0.05 * (-1) ** n for n in range(8)], range(8))
    own = decide_family({f"c{n}": eight for n in range(12)})["c0"]
    assert str(own) == "not testable here: 8 tasks can't reach p = 0.05 in a family of 12"
    row = decide(one_measure(claim("c0")), recorded(c0=own))["judge.c0"]
    assert row.finding is not None
    assert (row.word, row.finding.p_holm) == ("supported", pytest.approx(2 / 256))
    assert row.finding.reason == ""


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.floats(-0.2, 0.2), st.integers(5, 12), st.integers(1, 16)),
        min_size=1,
        max_size=5,
    )
)
def test_a_word_and_its_p_cannot_disagree(measured: list[tuple[float, int, int]]) -> None:
    """However many claims a chapter decided together, and on however few tasks."""
    found = {}
    for number, (gap, tasks, members) in enumerate(measured):
        one = compare([gap + 0.1 * (-1) ** n for n in range(tasks)], range(tasks))
        found[f"c{number}"] = decide_family({str(n): one for n in range(members)})["0"]
    ledger = one_measure(*(claim(n) for n in found), claim("gated"))
    rows = decide(ledger, recorded(**found, gated=not_testable("below the gate")))
    assert rows.pop("judge.gated").finding == not_testable("below the gate")
    size = len(found) + 1
    p = holm({f"judge.{name}": f.p for name, f in found.items() if f.p is not None}, size)
    for name, row in rows.items():
        assert row.finding is not None
        assert row.finding.p_holm == pytest.approx(p[name])
        decisive = row.word in ("supported", "contradicted")
        assert decisive == (p[name] <= 0.05)
        if row.word == "not testable here":
            assert row.finding.reason.endswith(f"in a family of {size}")


def test_the_margin_is_the_ledgers_and_not_the_sources() -> None:
    near = finding(0.0, spread=0.02)
    assert near.margin == 0.01
    row = decide(one_measure(claim("a")), recorded(a=near))["judge.a"]
    assert row.finding is not None
    assert (row.word, row.finding.margin) == ("no difference larger than d", 0.05)


def test_a_judge_below_the_gate_stays_untestable_and_its_claim_counts_as_declared() -> None:
    found = recorded(a=not_testable("below the gate"), b=finding(0.3))
    rows = decide(one_measure(claim("a"), claim("b")), found)
    assert rows["judge.a"].finding == not_testable("below the gate")
    other = rows["judge.b"].finding
    assert other is not None
    assert other.p is not None
    assert other.p_holm == pytest.approx(2 * other.p)


def test_the_first_record_that_holds_the_finding_is_the_evidence() -> None:
    both = [{"record": "alignment", "key": "a"}, {"record": "attacks", "key": "a"}]
    ledger = one_measure(claim("a", sources=both))
    second = ORIGIN | {"findings": {"a": finding(-0.3).to_json()}}
    row = decide(ledger, Evidence({"attacks": second}))["judge.a"]
    assert (row.word, row.to_json()["source"]["file"]) == ("contradicted", "results/attacks.json")
    first = recorded(a=finding(0.3)).records
    found = decide(ledger, Evidence({**first, "attacks": second}))["judge.a"].to_json()
    assert (found["word"], found["n"], found["date"]) == ("supported", 24, "2026-01-02")
    assert found["source"] == {"file": "results/alignment/alignment.json", "key": "a"}
    assert (found["machine"], found["versions"]) == ("two cores", {"torch": "2"})
    assert found["interval"][0] < found["value"] < found["interval"][1]


def test_a_record_that_does_not_name_its_origin_is_passed_over() -> None:
    record = {"findings": {"a": finding(0.3).to_json()}, "machine": "two cores"}
    row = decide(one_measure(claim("a")), Evidence({"alignment": record}))["judge.a"]
    assert row.finding == not_testable(
        "results/alignment/alignment.json does not name its versions"
    )


@pytest.mark.parametrize("one", [c for c in DECLARED.claims if c.sources], ids=lambda c: c.id)
def test_what_is_missing_is_named_with_the_script_that_would_record_it(one: Claim) -> None:
    """That is no error, and the reason holds no number."""
    (source,) = one.sources
    ledger = DECLARED.model_copy(update={"claims": (one,)})
    script = claims.SCRIPTS[source.record]
    file = results.expected(source.record)
    row = decide(ledger, Evidence())[one.id]
    missing = f"{file} is not recorded; {script} would record it"
    if source.runs:
        missing = f"no training run is recorded; {script} would record some"
    assert row.finding == not_testable(missing)
    assert row.to_json()["source"] is None
    assert not re.search(r"\d", missing)
    if not source.runs:
        row = decide(ledger, Evidence({source.record: ORIGIN | {"findings": {}}}))[one.id]
        missing = f"{file} holds no finding {source.key}; {script} would record it"
        assert row.finding == not_testable(missing)


def test_a_finding_in_another_shape_names_file_and_key() -> None:
    record = ORIGIN | {"findings": {"a": {"word": "supported"}}}
    with pytest.raises(DataError, match=r"alignment\.json: a is not a finding.*to_json"):
        decide(one_measure(claim("a")), Evidence({"alignment": record}))


def test_an_effect_of_training_takes_three_seeds_and_says_what_lacks() -> None:
    source = {"record": "arms", "key": "a", "runs": ["implicit", "base"]}
    ledger = one_measure(claim("a", sources=[source]))
    none = decide(ledger, Evidence())["judge.a"]
    assert none.finding == not_testable(
        "no training run is recorded; results/study/run.py would record some"
    )
    runs = [{"arm": "implicit", "seed": seed} for seed in (0, 1, 2)] + [{"arm": "base", "seed": 0}]
    over_seeds = replace(finding(0.3), seeds=Seeds(3, 0.3, 0.3))
    record = ORIGIN | {"runs": runs[1:], "findings": {"a": over_seeds.to_json()}}
    two = decide(ledger, Evidence({"arms": record}))["judge.a"]
    assert two.finding == not_testable("recorded with 2 common seeds, 3 are needed")
    three = decide(ledger, Evidence({"arms": record | {"runs": runs}}))["judge.a"]
    assert (three.word, three.seeds) == ("supported", 3)
    alone = record | {"runs": runs, "findings": {"a": finding(0.3).to_json()}}
    over_tasks = decide(ledger, Evidence({"arms": alone}))["judge.a"]
    assert over_tasks.finding is not None
    assert over_tasks.finding.reason.endswith("decided a over tasks alone, without seeds")


# --- read from a checkout ------------------------------------------------------------------------


def checkout(folder: Path) -> Path:
    (folder / "claims.toml").write_text(GOOD)
    (folder / "notebooks").mkdir()
    cells = [{"id": "7", "source": ["study.save(\n", '    "findings_04", {})']}]
    (folder / "notebooks" / "04_judges.ipynb").write_text(json.dumps({"cells": cells}))
    return folder


def test_what_a_chapter_left_is_no_evidence(tmp_path: Path) -> None:
    root = checkout(tmp_path)
    for profile in ("smoke", "laptop", "gpu"):
        data = root / "_build" / profile / "data"
        data.mkdir(parents=True)
        for name in ("findings_04", "alignment"):
            left = ORIGIN | {"a": finding(0.3).to_json()}
            left["findings"] = {"a": finding(0.3).to_json()}
            (data / f"{name}.json").write_text(json.dumps(left))
    (row,) = claims.ledger(root / "claims.toml", root)
    assert row.word == "not testable here"
    assert row.origin is None


def test_a_record_is_named_by_the_file_that_is_read(tmp_path: Path) -> None:
    root = checkout(tmp_path)
    (row,) = claims.ledger(root / "claims.toml", root)
    assert row.finding is not None
    assert row.finding.reason.startswith("results/alignment/alignment.json is not recorded")
    elsewhere = root / "results" / "later" / "alignment.json"
    elsewhere.parent.mkdir(parents=True)
    elsewhere.write_text(json.dumps(ORIGIN | {"findings": {"a": finding(0.3).to_json()}}))
    (row,) = claims.ledger(root / "claims.toml", root)
    assert row.to_json()["source"] == {"file": "results/later/alignment.json", "key": "a"}
    assert row.word == "supported"


@pytest.mark.parametrize("script", [alignment_table, study_table, attacks])
def test_a_record_that_is_not_there_yet_is_named_where_its_script_leaves_it(script: Any) -> None:
    file = results.expected(script.RESULTS.stem)
    assert file == script.RESULTS.relative_to(ROOT).as_posix()


def test_the_same_evidence_writes_the_same_file(tmp_path: Path) -> None:
    rows = claims.decided(DECLARED, Evidence())
    first = tmp_path / "a.json"
    second = tmp_path / "b.json"
    claims.write(rows, first)
    claims.write(claims.decided(DECLARED, Evidence()), second)
    assert first.read_bytes() == second.read_bytes()
    assert sum(json.loads(first.read_text())["counts"].values()) == len(DECLARED.claims)


# --- nothing typed -------------------------------------------------------------------------------

RECORD = json.loads((ROOT / "results" / "claims.json").read_text())


def test_the_record_holds_what_the_code_writes_and_nothing_else(tmp_path: Path) -> None:
    """All of it follows from the repository; a cell that moved moves its link, too."""
    path = tmp_path / "claims.json"
    claims.write(claims.ledger(), path)
    fresh = json.loads(path.read_text())
    assert [row["id"] for row in RECORD["claims"]] == [row["id"] for row in fresh["claims"]]
    for row, new in zip(RECORD["claims"], fresh["claims"], strict=True):
        assert row == new, "run: .venv/bin/rar claims"
    assert fresh == RECORD
    corrected: dict[str, float] = {}
    for name in DECLARED.families:
        members = [r for r in RECORD["claims"] if r["family"] == name and r["p"] is not None]
        corrected |= holm({r["id"]: r["p"] for r in members}, claims.family_size(name))
    for row in RECORD["claims"]:
        if row["p"] is not None:
            assert row["p_holm"] == pytest.approx(corrected[row["id"]])
            decisive = row["word"] in ("supported", "contradicted")
            assert decisive == (row["p_holm"] <= 0.05)
    words = [row["word"] for row in RECORD["claims"]]
    assert RECORD["counts"] == {word: words.count(word) for word in RECORD["counts"]}
    assert sum(RECORD["counts"].values()) == len(words)


def code_of(path: Path) -> str:
    cells = json.loads(path.read_text())["cells"]
    return "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")


def test_chapter_9_types_no_number() -> None:
    cells = json.loads(CHAPTER.read_text())["cells"]
    prose_ = ["".join(c["source"]) for c in cells if c["cell_type"] == "markdown"]
    linked = [re.sub(r"\{doc\}`[^`]+`", "", text) for text in prose_]
    assert [text for text in linked if re.search(r"\d", text)] == []
    constants = [
        n.value for n in ast.walk(ast.parse(code_of(CHAPTER))) if isinstance(n, ast.Constant)
    ]
    typed = [c for c in constants if isinstance(c, int | float) and not isinstance(c, bool)]
    assert set(typed) <= {0}  # the first of a list


def test_the_ledgers_chapter_reads_no_file_of_another_chapter() -> None:
    assert json.loads(CHAPTER.read_text())["metadata"]["rar"]["after"] == []
    assert "study.load(" not in code_of(CHAPTER)


# --- for reading ---------------------------------------------------------------------------------


def test_a_table_of_claims_has_at_most_seven_columns_and_no_empty_group() -> None:
    rows = claims.decided(DECLARED, Evidence())
    for group in DECLARED.groups:
        members = [row for row in rows if row.claim.group == group]
        assert members, group
        assert all(len(claims.line(row)) <= 7 for row in members)
        measured = [row for row in members if row.word != claims.SHOWN]
        if measured:
            assert len(claims.table(rows, group).frame.columns) <= 7
            assert len({tuple(claims.line(row)) for row in measured}) == 1, group


def test_a_group_that_is_not_testable_shows_why_and_no_empty_column() -> None:
    """One finding in the group, and what is measured has its columns back."""
    never = {"sources": (), "measure": "", "reason": "no reader was asked"}
    ledger = one_measure(claim("a", says="So a."), claim("b", says="So b.", **never))
    frame = claims.table(claims.decided(ledger, Evidence()), "judge").frame
    assert list(frame.columns) == ["claim", "paper", "not testable here"]
    assert "is not recorded" in frame["not testable here"][0]
    assert frame["not testable here"][1] == "no reader was asked"
    frame = claims.table(claims.decided(ledger, recorded(a=finding(0.3))), "judge").frame
    assert {"here", "p (Holm)", "finding", "evidence"} <= set(frame.columns)
    assert list(frame["finding"]) == ["supported", "not testable here"]


def test_reasons_that_differ_by_the_name_of_a_finding_are_one() -> None:
    ledger = one_measure(claim("a", says="So a."), claim("b", says="So b."), claim("c"))
    rows = claims.decided(ledger, recorded(c=finding(0.3)))
    ((why, members),) = claims.reasons(rows).items()
    assert "holds no finding of it; " in why
    assert [row.claim.id for row in members] == ["judge.a", "judge.b"]
    # What is written to the record names the finding.
    assert "holds no finding a; " in str(rows[0].finding)


def test_a_reason_stands_once_beside_the_first_of_its_claims() -> None:
    never = {"sources": (), "measure": "", "reason": "no reader was asked"}
    ledger = one_measure(claim("a", says="So a."), claim("b", says="So b.", **never))
    rows = [*claims.decided(ledger, Evidence()), *claims.decided(ledger, Evidence())]
    listed = claims.closed(rows)
    assert [row["claim"] for row in listed] == ["So a.", "So a.", "So b.", "So b."]
    first, again, other, once_more = (row["reason"] for row in listed)
    assert "is not recorded" in first
    assert (again, other, once_more) == ("", "no reader was asked", "")


def test_reasons_are_counted_and_say_what_their_claims_are_about() -> None:
    never = {"sources": (), "measure": "", "reason": "no reader was asked"}
    ledger = one_measure(claim("a", **never), claim("b", **never), claim("c"))
    rows = claims.decided(ledger, recorded(c=finding(0.3)))
    frame = claims.by_reason(rows, "reason", {"judge": "Judges"}).frame
    assert frame.values.tolist() == [["no reader was asked", 2, "Judges"]]
    nothing = claims.by_reason(rows[2:], "reason", {"judge": "Judges"})
    assert nothing.frame.values.tolist() == [["nothing"]]


def test_groups_come_out_as_their_claims_do() -> None:
    found = {"a": finding(0.3), "b": finding(-0.4), "c": finding(0.0, spread=0.02)}
    ledger = one_measure(*(claim(name) for name in "abcd"))
    titles = {"judge": "Judges", "data": "Data"}
    frame = claims.by_group(claims.decided(ledger, recorded(**found)), titles).frame
    assert list(frame.columns)[:3] == ["claims about", "claims", "supported"]
    # Data has no claim about an effect; the last row is of all.
    assert frame.values.tolist() == [
        ["Judges", 4, 1, 1, 1, 0, 1],
        ["all of them", 4, 1, 1, 1, 0, 1],
    ]


def test_a_difference_stands_apart_from_its_bound() -> None:
    rows = claims.bounded(claims.decided(DECLARED, Evidence()))
    lines = [claims.bound_line(row) for row in rows]
    assert {line["bound"] for line in lines} == {"two scores: 1.3", "sampling error: 6.7"}
    assert not [line for line in lines if re.search("two scores|sampling|,[.]", line["difference"])]
    assert "Synthetic rubrics beat human ones." in {line["difference"] for line in lines}
    assert all(re.fullmatch(r"-?\d+\.\d", line["points"]) for line in lines)


def test_a_difference_below_a_bound_of_this_book_is_not_larger_and_not_false() -> None:
    rows = claims.decided(DECLARED, Evidence())
    for row in claims.bounded(rows):
        assert row.checked is not None
        told = "larger" if row.checked.holds else "not larger"
        assert (row.outcome, claims.bound_line(row)["finding"]) == (told, told)
        assert row.to_json()["finding"] == told
    assert {row.outcome for row in claims.agreeing(rows)} == set(claims.CHECKS)


def test_a_reading_that_we_try_is_told_from_numbers_that_must_be_the_same() -> None:
    """The gain that the abstract states over a plain rating cannot be that of two test sets."""
    rows = claims.agreeing(claims.decided(DECLARED, Evidence()))
    readings = {row.claim.id for row in rows if row.claim.reading}
    assert readings < {row.claim.id for row in rows}
    for name in ("headline-healthbench-mixed", "headline-gpqa-instruct", "same-setting-twice"):
        assert f"arithmetic.{name}" in readings
    for name in ("headline-healthbench", "rubric-size-medicine", "pairs", "topics-science"):
        assert f"arithmetic.{name}" not in readings
    assert [row.to_json()["reading"] for row in rows] == [row.claim.reading for row in rows]


def test_only_a_check_of_two_numbers_can_be_a_reading(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="reading is said of arithmetic"):
        declared(tmp_path, f"{GOOD}reading = true\n")


def test_what_is_shown_names_its_chapter_for_a_link_and_its_files() -> None:
    paths = ("notebooks/01_a.ipynb", "notebooks/12_b.ipynb", "book/conventions.md", "x/y.py")
    alone = {"sources": (), "measure": ""}
    ledger = one_measure(claim("a", shown=paths, **alone), claim("b", shown=["x/y.py"], **alone))
    several, none = (claims.line(row) for row in claims.decided(ledger, Evidence()))
    assert several["chapter"] == "notebooks/01_a.ipynb#2, chapter 12"
    assert several["file"] == "book/conventions.md, x/y.py"
    assert (none["chapter"], none["file"]) == (None, "x/y.py")


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda p: p.stem)
def test_the_head_of_a_chapter_is_a_cell_that_its_page_shows(path: Path) -> None:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    (head,) = (one for one in cells if one["id"] == "2")
    assert head["cell_type"] == "code"
    assert "remove-cell" not in head["metadata"].get("tags", [])


def test_untestable_claims_are_grouped_by_their_reason() -> None:
    rows = claims.decided(DECLARED, Evidence())
    grouped = claims.reasons(rows)
    assert sum(map(len, grouped.values())) == claims.counts(rows)["not testable here"]
    (why,) = (reason for reason in grouped if reason.startswith("no training run is recorded"))
    trained = {row.claim.id for row in grouped[why]}
    assert "reward.implicit-over-direct-likert" in trained


def test_what_a_record_could_decide_is_told_from_what_has_a_reason_or_a_gate() -> None:
    never = {"sources": (), "measure": "", "reason": "no reader was asked"}
    ledger = one_measure(claim("a"), claim("b"), claim("c", **never))
    gated = not_testable("below the gate")
    rows = claims.decided(ledger, recorded(b=gated))
    assert {row.word for row in rows} == {"not testable here"}
    assert [row.claim.id for row in claims.unrecorded(rows)] == ["judge.a"]


def test_the_forest_has_those_that_may_speak_or_says_that_none_may() -> None:
    ledger = one_measure(claim("a"), claim("b"), claim("c"))
    gated = not_testable("below the gate")
    shown = claims.findings(claims.decided(ledger, recorded(a=finding(0.1), b=gated)))
    assert list(shown) == ["judge.a"]
    assert isinstance(shown["judge.a"], Finding)
    nothing = claims.findings(claims.decided(ledger, Evidence()))
    assert nothing == {"judge.a": None, "judge.b": None, "judge.c": None}


def test_a_quoted_number_is_as_published() -> None:
    by_id = {c.id: claims.paper_of(c) for c in DECLARED.claims}
    assert by_id["reward.implicit-over-direct-likert"] == "31.2 against 25.5 (+5.7)"
    assert by_id["choice.predefined-over-base"] == "31.7 against 31.7 (+0.0)"
    assert by_id["choice.explicit-over-reference-likert"] == "36.9 against 36.5 (+0.4)"
    assert by_id["choice.implicit-over-predefined"] == "37.6 against 31.7 (+5.9)"
    assert by_id["reward.direct-likert-over-predefined"] == "25.5 against 12.5 (+13.0)"
    assert by_id["data.rubric-size"] == "7.5 against 7 (+0.5)"
    assert by_id["reward.rubric-over-likert-weak-judge"] == (
        "Qwen-7B-Instruct +4.7; Qwen-14B-Instruct +0.1; Qwen-32B-Instruct +0.8; GPT-4o-mini +2.6"
    )
    assert by_id["judge.pairs"] == "3,027 against 4,203 (-1,176)"
    assert by_id["arithmetic.headline-healthbench"] == "31 %"
    assert by_id["arithmetic.gpqa-sampling"] == "more than 6.7"


def test_a_finding_can_be_said_in_a_sentence() -> None:
    row = decide(one_measure(claim("a")), recorded(a=finding(0.3)))["judge.a"]
    assert prose.sentence("It is {word}.", word=row.word) == "It is supported."
    assert tables.cell(claims.line(row)["here"]).startswith("0.30 [")


def test_a_small_p_value_does_not_look_like_none() -> None:
    """0.00056, as the ledger has it, is neither 0.00 nor 0.000."""
    small = replace(finding(0.3), p=0.00056)
    row = decide(one_measure(claim("a")), recorded(a=small))["judge.a"]
    assert row.finding is not None
    assert row.finding.p_holm == pytest.approx(0.00056)
    shown = claims.table([row], "judge").frame["p (Holm)"].item()
    assert shown == tables.p_value(0.00056) == "<0.001"


def said_of(rows: dict[str, Row], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    said: list[str] = []

    def keep(template: str, **values: Any) -> None:
        said.append(prose.sentence(template, **values).replace("\\", ""))

    monkeypatch.setattr(prose, "say", keep)
    claims.say_group(list(rows.values()), "judge")
    return said


def test_a_group_says_the_largest_of_its_decided_differences_in_margins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = {"a": finding(0.3), "b": finding(-0.4), "c": finding(0.0, spread=0.02)}
    found["d"] = finding(0.0)
    rows = decide(
        one_measure(*(claim(name, says=f"So {name}.") for name in "abcde")), recorded(**found)
    )
    (largest,) = said_of(rows, monkeypatch)
    assert "is -0.40 [" in largest
    assert largest.endswith("(share), of the claim *So b*, which is **contradicted**.")
    assert rows["judge.b"].in_margins == pytest.approx(8.0)
    assert rows["judge.e"].in_margins == 0.0
    # A smaller difference of a measure with a smaller margin is the larger one.
    narrow = replace(rows["judge.a"], measure=DECLARED.measures["accuracy_spread"])
    (other,) = said_of(rows | {"judge.a": narrow}, monkeypatch)
    assert other.endswith("(squared share of pairs), of the claim *So a*, which is **supported**.")


def test_a_group_in_which_nothing_is_decided_has_nothing_to_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert said_of(decide(one_measure(claim("a")), Evidence()), monkeypatch) == []


def test_every_group_of_measured_claims_has_its_sentence_in_the_chapter() -> None:
    code = code_of(CHAPTER)
    groups = {one.group for one in DECLARED.claims if one.sources or one.reason}
    said = set(re.findall(r'claims\.say_group\(rows, "(\w+)"\)', code))
    assert said == set(re.findall(r'claims\.table\(rows, "(\w+)"\)', code)) - {"arithmetic"}
    assert groups == said
    assert code.count("claims.by_reason(") == 2  # what a record could decide, and what none could
    assert "claims.closed(rows)" in code  # a reason is listed with all that have it


def left_of(rows: list[Row], alone: Finding) -> list[list[str]]:
    """What is shown of claim a without the tried pairs, given its finding over the others."""
    found = claims.untried(rows, {"findings, untried": {"a": alone.to_json()}})
    return [] if found is None else found.frame.values.tolist()


def test_decided_claims_are_shown_again_without_the_pairs_that_a_wording_was_found_on() -> None:
    source = [{"record": "alignment", "key": "a"}]
    ledger = one_measure(claim("a", sources=source), claim("b"))
    records = {"alignment": ORIGIN | {"findings": {"a": finding(0.3).to_json()}}}
    rows = claims.decided(ledger, Evidence(records))
    assert claims.untried(rows, None) is None
    assert claims.untried(rows, {"findings, untried": {"b": finding(0.3).to_json()}}) is None
    (row,) = left_of(rows, finding(0.0))
    assert (row[0], row[1]) == ("So.", "supported")
    assert row[2].startswith("no difference larger than")
    assert row[3].startswith("0.00 [")


def test_a_word_that_changes_without_those_pairs_is_shown_whichever_it_was() -> None:
    ledger = one_measure(claim("a", sources=[{"record": "alignment", "key": "a"}]))
    records = {"alignment": ORIGIN | {"findings": {"a": finding(0.0).to_json()}}}
    rows = claims.decided(ledger, Evidence(records))
    assert left_of(rows, finding(0.0)) == []  # open with those pairs and without them
    ((_, with_them, without, _),) = left_of(rows, finding(0.3))
    assert (with_them, without) == (rows[0].word, "supported")


def test_a_claim_about_every_size_counts_tasks_for_as_many_judges_as_its_record() -> None:
    stem = "alignment.explicit_over_likert"
    every = f"{stem}, every size"
    below = finding(-0.1, spread=0.6)
    ledger = one_measure(claim("a", sources=[{"record": "alignment", "key": every}]))

    def needed(*judges: str) -> int:
        of = {every: below, stem: below} | {f"{stem}, {judge}": below for judge in judges}
        found = decide(ledger, recorded(**of))["judge.a"].finding
        return found.needed or 0 if found else 0

    assert needed() < needed("small") < needed("small", "middle")
    alone = {name: below.to_json() for name in (every, stem, f"{stem}, small")}
    row = decide(ledger, recorded(**{every: finding(0.3)}))["judge.a"]
    shown = claims.untried([row], {"findings, untried": alone})
    assert shown is not None
    assert f"undecided (needs about {needed('small')} tasks" in shown.frame["without them"].item()


def told_and_shown(
    rows: list[Row], monkeypatch: pytest.MonkeyPatch
) -> tuple[list[str], list[tables.Folds]]:
    """What a group of claims says in sentences, and the folds below."""
    said: list[str] = []
    shown: list[tables.Folds] = []
    monkeypatch.setattr(prose, "say", lambda text, **of: said.append(prose.sentence(text, **of)))
    monkeypatch.setattr("IPython.display.display", shown.append)
    claims.say_group(rows, "judge")
    return said, shown


def test_what_was_seen_of_a_claim_before_is_said_under_its_group(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    of = {"a": "It was tried. It was late.", "b": "It was late.", "c": ""}
    ledger = one_measure(
        *(claim(name, says=f"So {name}.", seen=seen) for name, seen in of.items()),
        claim("d", says="So d.", sources=(), measure="", shown=["here"]),
    )
    said, shown = told_and_shown(claims.decided(ledger, Evidence({})), monkeypatch)
    # What is only shown somewhere has no outcome to be known.
    assert said[-1].replace("\\", "").startswith("*Not blind*: 2 of 3 claims.")
    (fold,) = shown
    ((_, table),) = fold.tables.items()
    rows = [tuple(row) for row in table.frame.itertuples(index=False)]
    # Each sentence once, beside the names of the claims that it is about.
    assert rows == [("It was tried.", "judge.a"), ("It was late.", "judge.a; judge.b")]
    html = fold._repr_html_()
    assert "<details" in html
    assert " open>" not in html


def test_a_group_of_which_nothing_was_known_shows_no_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = claims.decided(one_measure(claim("a")), Evidence({}))
    said, shown = told_and_shown(rows, monkeypatch)
    assert said == []
    assert shown == []


def test_what_was_known_of_every_claim_of_a_group_names_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ledger = one_measure(*(claim(name, seen="It was late.") for name in "ab"))
    _, (fold,) = told_and_shown(claims.decided(ledger, Evidence({})), monkeypatch)
    ((_, table),) = fold.tables.items()
    assert table.frame.values.tolist() == [["It was late.", "all"]]


def test_claims_of_which_pairs_had_been_tried_say_what_was_seen() -> None:
    """Whatever is decided again without the tried pairs was known in part."""
    alone = json.loads(alignment_table.RESULTS.read_text(encoding="utf-8"))["findings, untried"]
    of_judges = [one for one in DECLARED.claims if one.sources and one.sources[0].key in alone]
    assert len(of_judges) > 8
    assert [one.id for one in of_judges if not one.seen] == []


#: Claims of a record, made or not, of whose outcome nothing was known when they were declared.
NOTHING_KNOWN = {
    "reward.implicit-over-reference-likert",
    "reward.implicit-over-explicit",
    "reward.explicit-over-direct-likert",
    "reward.explicit-over-reference-likert",
    "reward.explicit-over-predefined",
    "reward.implicit-over-filtered-sft",
    "reward.strong-judge-over-weak",
    "reward.reference-rubrics-over-no-reference",
    "reward.synthetic-over-human",
    "reward.no-reference-rubrics-over-reference-likert",
}


def test_what_was_known_is_said_of_each_claim_of_any_record_or_that_nothing_was() -> None:
    """A claim that comes in says what had been seen of it, or is listed as blind, not neither."""
    measured = {one.id: one.seen for one in DECLARED.claims if one.sources}
    assert {name for name, seen in measured.items() if not seen} == NOTHING_KNOWN


def test_what_the_study_says_was_known_of_a_contrast_the_ledger_says_of_its_claim() -> None:
    of = {source.key: one for one in DECLARED.claims for source in one.sources}
    known = [of[key] for key in map("training.{}".format, DESIGN["seen"]) if key in of]
    assert len(known) > 1
    assert [one.id for one in known if not one.seen] == []


def test_claims_that_are_supported_or_contradicted_by_a_record_of_judges_say_what_was_seen() -> (
    None
):
    decided_ = [row for row in claims.ledger() if row.word in ("supported", "contradicted")]
    judged = [row.claim for row in decided_ if row.origin and "alignment" in row.origin.file]
    assert judged
    assert [one.id for one in judged if not one.seen] == []


# --- linked --------------------------------------------------------------------------------------


def test_a_recorded_finding_leads_to_the_cell_that_shows_its_record(tmp_path: Path) -> None:
    root = checkout(tmp_path)
    record = root / "results" / "alignment" / "alignment.json"
    record.parent.mkdir(parents=True)
    record.write_text(json.dumps(ORIGIN | {"findings": {"a": finding(0.3).to_json()}}))
    (row,) = claims.ledger(root / "claims.toml", root)
    assert claims.line(row)["evidence"] == "alignment.json"  # no cell reads it
    path = root / "notebooks" / "04_judges.ipynb"
    cells = json.loads(path.read_text())["cells"]
    cells += [{"id": "9", "source": ['seen = results.load(\n    "alignment"\n) or {}']}]
    path.write_text(json.dumps({"cells": cells}))
    (row,) = claims.ledger(root / "claims.toml", root)
    shown = "alignment.json, notebooks/04_judges.ipynb#9"
    assert claims.line(row)["evidence"] == shown
    assert row.to_json()["cell"] == "notebooks/04_judges.ipynb#9"
    # Where findings of this record are told as the ledger has them is nearer than where it is read.
    cells += [{"id": "11", "source": ["told = on_record(seen, ledger())"]}]
    cells += [{"id": "12", "source": ['results.load("alignment")']}]
    path.write_text(json.dumps({"cells": cells}))
    (row,) = claims.ledger(root / "claims.toml", root)
    assert row.to_json()["cell"] == "notebooks/04_judges.ipynb#11"


@pytest.mark.parametrize(
    ("name", "chapter", "reads"),
    [
        ("judge.explicit-over-direct-likert", "04", "on_record(recorded, "),
        ("rubrics.reference-margin", "04", 'results.load("alignment")'),
        ("gaming.attacks-pay-implicit", "09", 'results.load("attacks")'),
        ("reward.implicit-over-base", "07", "on_record("),
    ],
)
def test_each_record_of_the_ledger_is_shown_by_a_cell(name: str, chapter: str, reads: str) -> None:
    (one,) = (claim_ for claim_ in DECLARED.claims if claim_.id == name)
    notebook, cell = claims.shown_by(one)
    assert notebook is not None
    assert Path(notebook).name.startswith(f"{chapter}_")
    found = json.loads((ROOT / notebook).read_text())["cells"]
    assert [reads in "".join(part["source"]) for part in found if part["id"] == cell] == [True]


def test_every_claim_with_a_record_has_a_cell_that_shows_it() -> None:
    measured = [one for one in DECLARED.claims if one.sources]
    assert measured
    assert [one.id for one in measured if None in claims.shown_by(one)] == []
