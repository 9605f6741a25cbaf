"""The page on later work: each work is cited, each citation is in the local file, links lead on."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rar_lib import RubricReward
from rar_lib.book import claims
from rar_lib.book.pages.after import (
    AFTER,
    AFTER_PLACES,
    AUTHORED,
    BUILT,
    OVER_PLAIN,
    PROPOSED,
    followed,
    on_writers,
    told_after,
)
from rar_lib.book.pages.build import chapters, generated
from rar_lib.book.pages.words import GENERATED
from rar_lib.core.decision import Finding, not_testable
from rar_lib.core.stats import Interval
from rar_lib.evaluation.held_out import MIN_SEEDS
from results.study.run import DESIGNS
from results.study.table import FURTHER

REPO = Path(__file__).resolve().parents[3]
BOOK = REPO / "book"
TEXT = (BOOK / "after.md").read_text(encoding="utf-8")
BIB = (BOOK / "references.bib").read_text(encoding="utf-8")
ENTRIES = {
    found[1]: found[0] for found in re.finditer(r"^@\w+\{([\w-]+),\n(?:.*\n)*?\}$", BIB, re.M)
}
#: What the paper left open, as the headings ask it.
QUESTIONS = re.findall(r"^## (.+\?)$", TEXT, re.M)


def cells(line: str) -> list[str]:
    """The cells of a row of a table."""
    return [cell.strip() for cell in line.strip("|").split("|")]


def rows(heading: str) -> list[list[str]]:
    part = TEXT.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("|")][2:]
    return [cells(line) for line in lines]


def cited(text: str) -> list[str]:
    found = re.findall(r"\{cite:[pt]\}`([^`]+)`", text)
    return [key.strip() for keys in found for key in keys.split(",")]


def test_every_entry_is_read() -> None:
    assert len(ENTRIES) == len(re.findall(r"^@", BIB, re.M)) == BIB.count("\n}")


def test_its_beginning_names_surveys_and_what_is_free_to_read() -> None:
    beginning = TEXT.split("\n## ")[0]
    assert {"rubricsurvey", "rlsurvey", "wolfe"} <= set(cited(beginning))
    found = {key: re.search(r"arXiv:([\d.]+)", ENTRIES[key]) for key in cited(beginning)}
    assert {key: number[1] for key, number in found.items() if number} == {
        "rar": "2507.17746",
        "rubricsurvey": "2606.08625",
        "rlsurvey": "2608.27505",
    }


def test_it_asks_seven_questions() -> None:
    assert len(QUESTIONS) == 7


@pytest.mark.parametrize("heading", QUESTIONS)
def test_every_work_has_one_sentence_and_one_citation(heading: str) -> None:
    assert len(rows(heading)) >= 2
    for work, sentence in rows(heading):
        assert len(cited(work)) == 1, work
        assert cited(sentence) == []
        assert sentence.endswith(".")
        assert sentence.count(". ") == 0


@pytest.mark.parametrize("page", sorted(BOOK.glob("*.md")), ids=lambda p: p.stem)
def test_pages_cite_what_the_local_file_has(page: Path) -> None:
    assert set(cited(page.read_text(encoding="utf-8"))) <= set(ENTRIES)


def test_no_work_stands_twice() -> None:
    keys = [key for heading in QUESTIONS for work, _ in rows(heading) for key in cited(work)]
    assert len(keys) == len(set(keys)) >= 20


@pytest.mark.parametrize("key", sorted(ENTRIES))
def test_an_entry_names_title_year_and_address(key: str) -> None:
    entry = ENTRIES[key]
    for name in ("title", "year", "url"):
        assert re.search(rf"^  {name} = {{.+}},?$", entry, re.M), name
    assert re.search(r"^  (author|key) = {.+},$", entry, re.M)
    if found := re.search(r"arXiv:(\d\d)(\d\d)\.(\d{5})", entry):
        year, month, number = found.groups()
        assert 1 <= int(month) <= 12
        if "@misc" in entry:
            assert re.search(rf"year = \{{20{year}[a-z]?\}}", entry)
            assert f"https://arxiv.org/abs/{year}{month}.{number}" in entry


@pytest.mark.parametrize("name", ["after", "index"])
def test_links_lead_to_pages_of_the_book(name: str) -> None:
    text = (BOOK / f"{name}.md").read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)]+)\)", text)
    assert targets
    for target, _, anchor in (given.partition("#") for given in targets):
        stem = Path(target).stem
        assert stem in chapters(BOOK), target
        source = (REPO / "notebooks" if target.endswith(".ipynb") else BOOK) / target
        assert source.is_file(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", source.read_text(encoding="utf-8"), re.M)
            assert anchor in [h.lower().replace(" ", "-") for h in headings], anchor


def test_what_it_says_is_built_is_there() -> None:
    paths = re.findall(r"`(rar_lib/[\w/.]+)`", TEXT)
    assert paths
    for path in paths:
        assert (REPO / path).is_file(), path
    given = re.findall(r'RubricReward\(judge, "explicit", ([^)]*)\)', TEXT)
    assert len(given) == 2
    taken = inspect.signature(RubricReward).parameters
    for name in re.findall(r"(\w+)=", " ".join(given)):
        assert name in taken, name


# --- what is on record of it


def test_the_arms_are_those_of_the_study() -> None:
    assert set(PROPOSED.values()) <= {design.name for design in DESIGNS}


def test_every_place_of_the_page_is_filled(tmp_path: Path) -> None:
    asked = re.findall(rf"^{GENERATED} (\w+)$", TEXT, re.M)
    assert sorted(asked) == sorted(AFTER_PLACES) == sorted(told_after(None))
    made = generated(tmp_path)
    assert {f"{AFTER}.md#{place}" for place in asked} <= set(made)


def test_what_is_built_is_counted_and_listed() -> None:
    listed = re.findall(r"^- \*\*(?:The )?([\w -]+)\*\*", TEXT, re.M)
    assert sorted(name.lower() for name in listed) == sorted(BUILT)
    assert told_after(None)["built"] == f"Of these proposals {len(listed)} are in `rar_lib`:"


def test_the_seeds_that_a_finding_takes_are_those_of_the_test(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert f"takes at least {MIN_SEEDS} seeds of it" in told_after(None)["needed"]
    monkeypatch.setattr("rar_lib.book.pages.after.MIN_SEEDS", 7)
    assert "takes at least 7 seeds of it" in told_after(None)["needed"]


#: A number in figures, or in words where it stands for one that the code holds.
NUMBER = re.compile(r"\d|\b(two|three|four|five) (of these|seeds|arms|runs)\b", re.IGNORECASE)


#: Where a digit is no number of a result: code, addresses, chapters and a work's own name.
NAMES = re.compile(r"`[^`]*`|\]\([^)]*\)|\[Chapter \d+|\bPOW3R\b")


def typed(text: str) -> list[str]:
    """Lines that hold a number and quote no work."""
    lines = [line for line in text.splitlines() if NUMBER.search(NAMES.sub("", line))]
    return [line for line in lines if not (line.startswith("|") and cited(line))]


def test_a_number_of_the_page_is_a_quotation_code_or_computed() -> None:
    """A row of a table quotes the work that it cites; all other numbers are the code's."""
    assert typed(TEXT) == []
    planted = ("it takes at least three seeds", "Two of these proposals", "moved by 0.02")
    assert typed("\n".join([TEXT, *planted])) == list(planted)


def test_the_code_that_it_shows_is_that_of_the_arms() -> None:
    given = re.findall(r'RubricReward\(judge, "explicit", ([^)]*)\)', TEXT)
    arms = {design.name: design for design in DESIGNS}
    for label in PROPOSED.values():
        arm = arms[label]
        asked = [f"{name}={getattr(arm, name)}" for name in ("contrast", "keep", "least")]
        assert any(set(one.split(", ")) <= set(asked) for one in given), label


def test_without_a_record_it_says_that_nothing_is_measured() -> None:
    assert "has recorded none of these yet" in followed(None)
    other = {"machine": "m", "versions": {}, "runs": [{"arm": "explicit", "seed": 0}]}
    assert "has recorded none of these yet" in followed(other)


def run(arm: str, seed: int, gap: float | None = None, stray: str = "") -> dict[str, Any]:
    change = {"change": {"value": gap}}
    return {
        "arm": arm,
        "seed": seed,
        "stray": stray,
        "secondary": {} if gap is None else {"gap": change},
    }


def said(runs: list[dict[str, Any]], **findings: Finding) -> str:
    """As a reader sees it."""
    record = {"machine": "m", "versions": {}, "runs": runs}
    record["findings"] = {f"training.{key}": one.to_json() for key, one in findings.items()}
    return followed(record).replace("\\", "")


def test_what_is_recorded_is_counted() -> None:
    arm = PROPOSED["rubric dropout"]
    text = said([*(run(arm, seed, 0.1) for seed in range(2)), run("base", 0)])
    assert "recorded rubric dropout with 2 seeds, and the gap in 2 of 3 runs. No run with" in text
    assert "No run with contrast weights is recorded yet." in text
    assert "than without" not in text.replace("with rubric dropout than without", "")
    bare = said([run("base", 0, 0.1)])
    assert "recorded neither rubric dropout nor contrast weights, and the gap in 1 of 1" in bare
    assert "than without" not in bare
    assert "No run with" not in bare


def test_the_findings_are_those_that_the_study_declares() -> None:
    assert OVER_PLAIN.keys() == PROPOSED.keys()
    for name, key in OVER_PLAIN.items():
        assert FURTHER[key.removeprefix("training.")] == (PROPOSED[name], "explicit")


def row(finding: Finding | None) -> Any:
    return SimpleNamespace(claim=SimpleNamespace(id=AUTHORED), finding=finding)


def test_who_writes_better_rubrics_is_told_where_it_is_recorded() -> None:
    assert AUTHORED in {claim.id for claim in claims.load().claims}
    for rows in ([], [row(None)], [row(not_testable("no rubrics are written"))]):
        assert "not recorded side by side yet" in on_writers(rows)
    gap = Interval(0.12, 0.04, 0.2, 48)
    text = on_writers([row(Finding("supported", gap, 0.01, 0.02))])
    said = "apart: **supported**, a difference of 0.12 [0.04, 0.20] over 48 tasks."
    assert text.replace("\\", "").endswith(said)


def test_a_recorded_finding_is_told_with_its_difference() -> None:
    gap = Interval(-0.02, -0.1, 0.06, 160)
    dropout = Finding("undecided", gap, 0.6, 1.0, detectable=0.1)
    text = said(
        [run(arm, 0) for arm in PROPOSED.values()],
        dropout_over_plain=dropout,
        contrast_over_plain=not_testable("two seeds are done"),
    )
    assert re.search(
        r"with rubric dropout than without: \*\*undecided "
        r"\(needs about [\d,]+ tasks at this difference\)\*\*, "
        r"a difference of -0\.02 \[-0\.10, 0\.06\] of the way to the reference answers, over 160 ",
        text,
    )
    lacking = "with contrast weights than without: **not testable here: two seeds are done**."
    assert lacking in text


def test_what_is_not_decided_yet_is_said_of_each() -> None:
    text = said([run(arm, 0) for arm in PROPOSED.values()])
    for name in PROPOSED:
        assert f"with {name} than without: **not recorded yet**." in text
    assert "How far the gap moves under these rewards: **not recorded yet**." in text


def test_the_change_of_the_gap_is_a_mean_over_the_seeds_in_bounds() -> None:
    dropout = PROPOSED["rubric dropout"]
    runs = [run("explicit", 0, 0.1), run("explicit", 1, 0.2), run(dropout, 0, -0.05)]
    runs += [run("explicit", 2, 9.0, stray="KL"), run("implicit", 0, 0.7)]
    text = said(runs)
    assert f"by +0.15 with explicit (2 seeds) and -0.05 with {dropout} (1 seed). Below" in text
    assert "the gap in 5 of 5 runs" in text
    # One verdict a line, so that the list is read as one.
    assert [line[:2] for line in text.splitlines()][-2:] == ["- "] * 2
