"""What results/alignment decides, on grades worked out by hand."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aligned import ORIGIN, PAIRS, grade, write

from rar_lib.book import claims
from rar_lib.core.stats import compare
from rar_lib.core.types import Arm, Category, Grade, Pair, Polarity, Verdict
from rar_lib.data.tasks import load_mini, tried_pairs
from rar_lib.evaluation import sensitivity
from rar_lib.evaluation.alignment import PairGrades, criterion_agreement
from results.alignment import run, table
from results.alignment.run import Piece


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(run, "HERE", tmp_path)
    return tmp_path


def graded(arm: Arm, better: float, worse: float, *, labels: bool = False) -> PairGrades:
    """All pairs, every preferred response scored alike and every rejected one."""

    def side(score: float, golds: list[dict[str, bool]]) -> tuple[Grade, ...]:
        return tuple(grade(arm, score, gold if labels else None) for gold in golds)

    preferred = side(better, [pair.gold_preferred for pair in PAIRS])
    rejected = side(worse, [pair.gold_rejected for pair in PAIRS])
    return PairGrades("a judge", arm, PAIRS, preferred, rejected)


def sure_of(right: tuple[str, ...]) -> dict[str, PairGrades]:
    """A judge that is right on every pair in some arms, and ties in the others."""
    arms: dict[str, Arm] = {name: name for name in run.ARMS} | dict.fromkeys(
        run.SOURCES, "implicit"
    )
    return {
        name: graded(arm, 0.8, 0.2 if name in right else 0.8, labels=arm == "explicit")
        for name, arm in arms.items()
    }


def test_an_arm_counts_once_every_judge_has_graded_it(here: Path) -> None:
    needed = [
        Piece(judge, arm)
        for judge in ("qwen-0.5b", "smollm2-135m", "qwen-1.5b")
        for arm in table.NEEDED
    ]
    for piece in needed[:-1]:
        write(piece)
    write(Piece("qwen-0.5b", "predefined"))
    write(Piece("qwen-0.5b", "explicit", "val"))
    assert table.of_all(table.by_judge(table.complete(), "test")) == {}
    write(needed[-1])
    graded = table.of_all(table.by_judge(table.complete(), "test"))
    assert tuple(graded) == table.BY_SIZE
    assert all(set(arms) == set(table.NEEDED) for arms in graded.values())


def test_a_record_that_is_not_complete_shows_what_there_is_and_decides_nothing() -> None:
    found = table.record({"qwen-0.5b": {"implicit": graded("implicit", 0.8, 0.2)}}, {}, ORIGIN)
    assert found["findings"] == {}
    assert set(found["judges"]) == {"qwen-0.5b"}
    row = found["judges"]["qwen-0.5b"]
    assert row["arms"]["implicit"]["accuracy"]["value"] == 1.0
    assert "gate" not in row


def test_a_judge_that_says_yes_too_late_is_moved_by_its_val_pairs() -> None:
    late = graded("explicit", 0.8, 0.2, labels=True)
    halved = table.calibrated(late, late)  # sure and right already: the line keeps the verdicts
    assert [v.met for _, v, _ in halved.verdicts()] == [v.met for _, v, _ in late.verdicts()]

    def unsure(verdict: Verdict) -> Verdict:
        p = 0.4 if verdict.met else 0.1
        return verdict.model_copy(update={"probability": p, "met": False})

    def lowered(one: Grade) -> Grade:
        return one.model_copy(update={"verdicts": tuple(map(unsure, one.verdicts))})

    def low(of: PairGrades) -> PairGrades:
        preferred = tuple(map(lowered, of.preferred))
        rejected = tuple(map(lowered, of.rejected))
        return replace(of, preferred=preferred, rejected=rejected)

    moved = table.calibrated(low(late), low(late))
    assert criterion_agreement(low(late)).accuracy.value < 0.8
    assert criterion_agreement(moved).accuracy.value == 1.0


def test_one_judge_is_of_one_number_format(here: Path) -> None:
    one = Piece("qwen-0.5b", "implicit")
    other = Piece("qwen-0.5b", "explicit")
    write(one)
    write(other, **{"number format": "bfloat16"})
    table.check_format([one])
    with pytest.raises(ValueError, match=r"qwen-0\.5b are in bfloat16 by .* and float32 by"):
        table.check_format([one, other])
    write(other, engine="another")
    with pytest.raises(
        ValueError, match=r"float32 by an engine that is not named and float32 by a"
    ):
        table.check_format([one, other])


def test_findings_without_the_tried_pairs_stand_beside_those_of_all() -> None:
    judges = {name: sure_of(("explicit",)) for name in table.BY_SIZE}
    found = table.record(judges, {}, ORIGIN)
    key = "alignment.explicit_over_likert"
    of_all = found["findings"][key]
    of_rest = found["findings, untried"][key]
    assert of_all["word"] == of_rest["word"] == "supported"
    tried = tasks_of(pair for pair in PAIRS if pair.id not in tried_pairs())
    assert of_all["difference"]["n"] == tasks_of(PAIRS) > of_rest["difference"]["n"] == tried


def tasks_of(pairs: Iterable[Pair]) -> int:
    return len({pair.task_id for pair in pairs})


def test_the_record_decides_every_claim_that_the_ledger_takes_from_it() -> None:
    judges = {
        "smollm2-135m": sure_of(("explicit",)),
        "qwen-0.5b": sure_of(("explicit", "implicit")),
        "qwen-1.5b": sure_of(("explicit", "implicit", "synthetic_ref")),
    }
    found = table.record(judges, {}, ORIGIN)
    words = {name: row["word"] for name, row in found["findings"].items()}
    taken = {
        source.key
        for claim in claims.load().claims
        for source in claim.sources or ()
        if source.record == "alignment"
    }
    assert taken <= set(words)
    assert words["alignment.implicit_over_likert"] == "supported"
    # 48 tasks without any difference still leave room for one in 17 (rule of three), more than d.
    assert words["alignment.implicit_over_likert, smollm2-135m"] == "undecided"
    assert words["alignment.explicit_over_implicit, smollm2-135m"] == "supported"
    assert words["alignment.synthetic_ref_over_noref"] == "supported"
    assert words["alignment.small_gains_most"] == "contradicted"  # the largest gains, not the small
    assert {name: row["gate"] for name, row in found["judges"].items()} == dict.fromkeys(
        table.BY_SIZE, True
    )
    assert found["machine"] == "2 cores"


def test_ways_of_adding_up_are_described_by_the_largest_judge_alone() -> None:
    """Verdicts that are the labels: what the judge shows is what the labels show, no more."""
    judges = {name: sure_of(("explicit",)) for name in table.BY_SIZE[:2]}
    assert table.record(judges, {}, ORIGIN)["adding up"] == {}
    judges["qwen-1.5b"] = sure_of(("explicit",))
    found = table.record(judges, {}, ORIGIN)
    described = found["adding up"]
    every = [*sensitivity.VARIANTS, *sensitivity.random_weights(1), *sensitivity.AGGREGATES]
    assert list(described) == [one.name for one in every if one != sensitivity.PAPER]
    for name, row in described.items():
        assert row["difference"]["n"] == tasks_of(PAIRS)
        assert -1.0 <= row["kendall"] < 1.0
        if name not in {one.name for one in sensitivity.AGGREGATES}:  # the judge is not quite sure
            assert row["difference"]["value"] == pytest.approx(row["by the labels"])
    # The pairs prefer the paper's weights, whoever judges; so nothing is decided by them.
    assert min(row["by the labels"] for row in described.values()) >= 0.0
    assert described["wrong polarity"]["by the labels"] > 0.05
    assert not any("weights" in key for key in found["findings"])


RUBRICS = {task.id: task.rubric for task in load_mini()}


def with_one_missed(pair: Pair, credit: float, missed: float) -> Grade:
    """A grade with this credit for each criterion, but for the first Essential one."""
    rubric = RUBRICS[pair.task_id]
    assert rubric
    essential = next(one for one in rubric.criteria if one.category is Category.ESSENTIAL)
    verdicts = []
    for one in rubric.criteria:
        due = missed if one is essential else credit
        p = due if one.polarity is Polarity.GOOD else 1.0 - due
        verdicts.append(Verdict(criterion_id=one.id, met=p > 0.5, probability=p, share=0.98))
    return Grade(arm="explicit", score=0.5, verdicts=tuple(verdicts), share=0.98)


def test_a_judge_may_show_what_the_labels_do_not() -> None:
    """The better response misses one Essential criterion: an average forgives it, a veto does not.

    With credits of 0.9 and once 0.1 against 0.5 throughout, the paper's weights are right about
    every pair; what pays by the least credit is wrong about every one.
    """
    judges = {name: sure_of(("explicit",)) for name in table.BY_SIZE[:2]}
    largest = replace(
        graded("explicit", 0.8, 0.2),
        preferred=tuple(with_one_missed(pair, 0.9, 0.1) for pair in PAIRS),
        rejected=tuple(with_one_missed(pair, 0.5, 0.5) for pair in PAIRS),
    )
    by_labels = table.record(judges | {"qwen-1.5b": sure_of(("explicit",))}, {}, ORIGIN)
    found = table.record(judges | {"qwen-1.5b": {"explicit": largest}}, {}, ORIGIN)
    for name in ("veto by an Essential", "all criteria or nothing"):
        row = found["adding up"][name]
        assert row["difference"]["value"] == pytest.approx(1.0)
        assert row["by the labels"] == by_labels["adding up"][name]["by the labels"] < 1.0


def test_a_word_of_the_record_is_one_that_the_ledger_might_say() -> None:
    """As if each p-value were the smallest of all claims that were ever declared."""
    gaps = {"sure": compare([0.5] * 30, range(30)), "weak": compare([0.9] + [0.1] * 8, range(9))}
    found = table._decided(gaps, dict.fromkeys(gaps, 0.05))
    size = claims.family_size("ledger")
    for name, gap in gaps.items():
        assert found[name]["p_holm"] == pytest.approx(min(1.0, size * gap.p))
    assert gaps["weak"].p < 0.05
    assert [found[name]["word"] for name in gaps] == ["supported", "not testable here"]


def led(*leads: float) -> PairGrades:
    """The arm ``implicit``: pair after pair the preferred response leads by these, over again."""
    preferred = tuple(grade("implicit", 0.5) for _ in PAIRS)
    rejected = (grade("implicit", 0.5 - leads[n % len(leads)]) for n in range(len(PAIRS)))
    return PairGrades("a judge", "implicit", PAIRS, preferred, tuple(rejected))


def under(written: dict[str, PairGrades]) -> dict[str, Any]:
    """What the record says of rubrics where the largest judge has graded these kinds."""
    largest = {"explicit": graded("explicit", 0.8, 0.2, labels=True)} | written
    found = table.record({table.BY_SIZE[-1]: largest}, {}, ORIGIN)["findings"]
    return {key: row for key, row in found.items() if key.startswith("rubrics.")}


def test_rubrics_are_compared_by_how_far_they_set_a_pair_apart() -> None:
    kinds = {"implicit": led(0.3), "synthetic_ref": led(0.1), "synthetic_noref": led(0.1)}
    found = under(kinds)
    assert set(found) == set(table.WRITERS)
    authored, reference = (
        found[f"rubrics.{key}"] for key in ("authored_over_synthetic", "reference_margin")
    )
    tasks = len({pair.task_id for pair in PAIRS})
    assert (authored["word"], authored["difference"]["n"]) == ("supported", tasks)
    assert authored["difference"]["value"] == pytest.approx(0.2)
    assert reference["difference"]["value"] == pytest.approx(0.0)
    assert reference["margin"] == claims.margin("discrimination")
    other = under(kinds | {"synthetic_noref": led(0.4)})["rubrics.reference_margin"]
    assert other["word"] == "contradicted"
    assert other["difference"]["value"] == pytest.approx(-0.3)


def test_rubrics_are_paired_over_the_tasks_that_have_both() -> None:
    """A task without a valid rubric has no grades under it, and takes no part."""
    first = {pair.id for pair in PAIRS if pair.task_id == PAIRS[0].task_id}
    kinds = {"implicit": led(0.3, 0.1), "synthetic_ref": led(0.1), "synthetic_noref": led(0.1)}
    fewer = kinds | {"synthetic_ref": led(0.1).without(first)}
    tasks = len({pair.task_id for pair in PAIRS})
    assert {row["difference"]["n"] for row in under(kinds).values()} == {tasks}
    assert {row["difference"]["n"] for row in under(fewer).values()} == {tasks - 1}


@pytest.mark.parametrize("kind", ["implicit", "synthetic_ref", "synthetic_noref"])
def test_nothing_is_said_of_rubrics_before_every_kind_is_graded(kind: str) -> None:
    kinds = {name: led(0.3) for name in ("implicit", "synthetic_ref", "synthetic_noref")}
    assert under(kinds)
    assert under({name: of for name, of in kinds.items() if name != kind}) == {}


def test_a_judge_that_reads_nothing_enters_no_claim() -> None:
    blind = sure_of(("implicit",))
    golds: list[Pair] = list(PAIRS)
    flat = [dict.fromkeys(pair.gold_preferred, True) for pair in golds]
    blind["explicit"] = PairGrades(
        "blind",
        "explicit",
        PAIRS,
        tuple(grade("explicit", 0.5, labels) for labels in flat),
        tuple(grade("explicit", 0.5, labels) for labels in flat),
    )
    judges = dict.fromkeys(table.BY_SIZE, blind)
    found = table.record(judges, {}, ORIGIN)
    assert not any(row["gate"] for row in found["judges"].values())
    assert {row["word"] for row in found["findings"].values()} == {"not testable here"}
    assert found["adding up"] == {}


def test_the_explicit_arm_is_shown_without_the_pairs_that_its_wording_was_found_on() -> None:
    seen = tried_pairs() & {pair.id for pair in PAIRS}
    assert 0 < len(seen) < len(PAIRS)
    won = graded("explicit", 0.8, 0.2, labels=True)
    lost = graded("explicit", 0.2, 0.8, labels=True)
    side = [n for n, pair in enumerate(PAIRS) if pair.id not in seen]
    mixed = replace(
        won,
        preferred=tuple((lost if n in side else won).preferred[n] for n in range(len(PAIRS))),
        rejected=tuple((lost if n in side else won).rejected[n] for n in range(len(PAIRS))),
    )
    of = table.row({"explicit": mixed, "implicit": won}, None)["arms"]
    assert of["explicit"]["accuracy"]["value"] == pytest.approx(len(seen) / len(PAIRS))
    assert of["explicit"]["accuracy, untried"]["value"] == 0.0
    assert "accuracy, untried" not in of["implicit"]


def test_a_record_names_every_machine_and_number_format_behind_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heads = {
        "smollm2-135m": ("A", "float32"),
        "qwen-0.5b": ("A", "float32"),
        "qwen-1.5b": ("B", "bfloat16"),
    }

    def header(piece: run.Piece) -> dict[str, Any]:
        made = zip(("machine", "number format"), heads[piece.judge], strict=True)
        return dict(made) | {"versions": {"vllm": "1"}}

    monkeypatch.setattr(run, "header", header)
    pieces = [run.Piece(judge, arm) for judge in heads for arm in ("explicit", "implicit")]
    named = "A in float32 (smollm2-135m, qwen-0.5b); B in bfloat16 (qwen-1.5b)"
    assert table.machines(pieces) == named
    assert table.machines(pieces[:4]) == "A in float32"


def test_a_record_keeps_what_made_the_pieces_of_each_judge(here: Path) -> None:
    small = Piece("smollm2-135m", "implicit")
    large = Piece("qwen-1.5b", "implicit")
    for piece in (small, large):
        write(piece, engine="vllm==1")
    found = table.origin_of([large, small])
    made: dict[str, Any] = {"machine": "2 cores", "number format": "float32"}
    made |= {"engine": "vllm==1", "versions": {"vllm": "1"}}
    assert found == {
        "date": "2026-01-01",
        "machine": "2 cores in float32",
        "versions": {"vllm": "1"},
        "made by": {"smollm2-135m": made, "qwen-1.5b": made},
        "differs": [],
    }


def test_a_record_says_in_what_the_pieces_of_one_claim_differ(here: Path) -> None:
    """Judges on two machines, in two formats, by two engines and under other packages."""
    small = Piece("smollm2-135m", "implicit")
    large = Piece("qwen-1.5b", "implicit")
    write(small, engine="vllm==1")
    other = {"number format": "4 bits", "machine": "4 cores", "date": "2026-02-03"}
    packages = {"vllm": "2", "llama": "7"}
    write(large, engine="llama==7", versions=packages, **other)
    table.check_format([small, large])  # of each judge alone there is but one
    found = table.origin_of([small, large])
    names = ("smollm2-135m-implicit", "qwen-1.5b-implicit")
    values = {
        "machine": ("2 cores", "4 cores"),
        "number format": ("float32", "4 bits"),
        "engine": ("vllm==1", "llama==7"),
        "vllm": ("1", "2"),
        "llama": ("not installed", "7"),
    }
    assert found["differs"] == [
        f"they differ in {what} ({names[0]}: {one}; {names[1]}: {two})"
        for what, (one, two) in values.items()
    ]
    assert found["machine"] == (
        "2 cores in float32 by vllm==1 (smollm2-135m); 4 cores in 4 bits by llama==7 (qwen-1.5b); "
        "with vllm 1 and 2, llama not installed and 7"
    )
    assert found["date"] == "2026-02-03"
    assert found["versions"] == {"vllm": "1 and 2", "llama": "not installed and 7"}
    assert found["made by"]["qwen-1.5b"]["engine"] == "llama==7"


def test_pieces_of_one_judge_may_differ_in_machine_and_the_record_says_so(here: Path) -> None:
    first = Piece("qwen-0.5b", "implicit")
    second = Piece("qwen-0.5b", "explicit")
    write(first)
    write(second, machine="4 cores")
    table.check_format([first, second])
    found = table.origin_of([first, second])
    assert found["made by"]["qwen-0.5b"]["machine"] == "2 cores and 4 cores"
    assert found["differs"] == [
        "they differ in machine (qwen-0.5b-implicit: 2 cores; qwen-0.5b-explicit: 4 cores)"
    ]
