"""The landing page leads with answers, and every answer is computed from a record."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup
from sample import write_run

from rar_lib.book import claims, figures, results
from rar_lib.book.pages.build import build, generated
from rar_lib.book.pages.gate import check_page, clean_svg, draw
from rar_lib.book.pages.landing import (
    ARMS_FIGURE,
    COUNTED,
    HEADLINE,
    JUDGES_DRAWING,
    LONGEST,
    LOOP_ARROWS,
    LOOP_BOXES,
    REWARDS,
    SINGLE_OVER_RATING,
    TOLD,
    WRITTEN,
    _not_yet,
    _on_paper,
    _on_rewards,
    _on_size,
    _on_training,
    _short,
    arm_curves,
    landing,
    loop_drawing,
)
from rar_lib.book.pages.words import GENERATED
from rar_lib.core.decision import WORDS, Finding, Word, decide
from rar_lib.core.errors import DataError, ReproduceError
from rar_lib.core.stats import Comparison, Interval
from rar_lib.core.text import visible

REPO = Path(__file__).resolve().parents[3]
BOOK = REPO / "book"
LEDGER = claims.load()


def interval(value: float, half: float = 0.1) -> dict[str, Any]:
    return Interval(value, value - half, value + half, 48, half / 2).to_json()


def judge(auc: float, **arms: float) -> dict[str, Any]:
    rows = {arm: {"accuracy": interval(v), "pairs": 92} for arm, v in arms.items()}
    return {"arms": rows, "auc": interval(auc, 0.02)}


@pytest.fixture
def record() -> dict[str, Any]:
    """Two judges of three: the small one lacks nothing, the large one everything."""
    return {
        "date": "2026-11-28",
        "machine": "a machine",
        "versions": {"python": "3.11.7"},
        "missing": ["qwen-1.5b-implicit", "qwen-1.5b-explicit-val", "qwen-0.5b-predefined"],
        "judges": {
            "smollm2-135m": judge(0.53, explicit=0.42, implicit=0.45, direct_likert=0.3),
            "qwen-0.5b": judge(0.74, explicit=0.77, implicit=0.44, direct_likert=0.49),
        },
        "findings": {},
    }


@pytest.fixture
def repo(tmp_path: Path, record: dict[str, Any]) -> Path:
    (tmp_path / "results" / "alignment").mkdir(parents=True)
    write(tmp_path, record)
    return tmp_path


def write(repo: Path, record: dict[str, Any]) -> None:
    (repo / "results" / "alignment" / "alignment.json").write_text(json.dumps(record))


def made(repo: Path) -> dict[str, str]:
    return generated(repo)


def said(repo: Path) -> str:
    """The answers as a reader sees them: without what keeps markup from being read."""
    return made(repo)["index.md"].replace("\\", "")


#: Answers that the landing page gives.
ANSWERS = 7


def answers(text: str) -> list[str]:
    return re.findall(r"^- \*\*[A-Z].*\(\[chapter \d+\]\(.*$", text, re.M)


def words(text: str) -> int:
    """How many words a reader sees; addresses and what a term is defined under are not seen."""
    shown = re.sub(r"\{term\}`([^<`]*) <[^>]*>`", r"\1", re.sub(r"\]\([^)]*\)", "", text))
    return len(re.findall(r"\S*\w\S*", shown))


def counted(text: str) -> dict[str, int]:
    """What the list under the bar counts."""
    found = re.findall(r"^- \*\*(\d+)\*\* (.+)$", text, re.M)
    return {word: int(count) for count, word in found}


# --- from records


def test_a_record_that_changed_changes_figure_sentence_and_alternative_text(
    repo: Path, record: dict[str, Any]
) -> None:
    before = said(repo)
    drawn = made(repo)["_static/judges.svg"]
    assert "in 0.77 [0.67, 0.87] of the pairs" in before
    record["judges"]["qwen-0.5b"]["arms"]["explicit"]["accuracy"] = interval(0.61)
    write(repo, record)
    after = said(repo)
    assert "in 0.61 [0.51, 0.71] of the pairs" in after
    assert "0.77" not in after
    # The sentence on rubrics, that on sizes, and the alternative text.
    assert after.count("0.61 [0.51, 0.71]") == 3
    assert made(repo)["_static/judges.svg"] != drawn


def test_what_is_not_measured_is_said_and_not_drawn(repo: Path, record: dict[str, Any]) -> None:
    text = said(repo)
    assert "Not measured yet at 0.5 and 1.5 billion parameters: one general rubric" in text
    assert "Nothing is measured yet at 1.5 billion parameters." in text
    assert figures.NOT_YET in made(repo)["_static/judges.svg"]
    record["missing"] = []
    write(repo, record)
    assert "Nothing is missing." in said(repo)
    assert figures.NOT_YET not in made(repo)["_static/judges.svg"]


def test_the_largest_judge_that_has_the_arms_speaks(repo: Path, record: dict[str, Any]) -> None:
    assert "A judge of 0.5 billion parameters prefers" in said(repo)
    record["judges"]["qwen-1.5b"] = judge(0.9, explicit=0.9)
    write(repo, record)
    assert "A judge of 0.5 billion parameters prefers" in said(repo)
    record["judges"]["qwen-1.5b"] = judge(0.9, explicit=0.9, implicit=0.8, direct_likert=0.5)
    write(repo, record)
    assert "A judge of 1.5 billion parameters prefers" in said(repo)


def test_the_smallest_judge_that_beats_a_coin_is_named(repo: Path, record: dict[str, Any]) -> None:
    assert "in 0.77 [0.67, 0.87] of pairs, has 0.5 billion parameters" in said(repo)
    record["judges"]["smollm2-135m"]["arms"]["explicit"]["accuracy"] = interval(0.7)
    write(repo, record)
    text = said(repo)
    assert "in 0.70 [0.60, 0.80] of pairs, has 0.135 billion parameters; one rating reaches" in text


def test_what_the_prompt_was_chosen_on_is_said_under_the_figure(
    repo: Path, record: dict[str, Any]
) -> None:
    assert "chosen on some of these pairs" not in said(repo)
    of = record["judges"]["qwen-0.5b"]["arms"]["explicit"]
    of["accuracy, untried"] = interval(0.72)
    write(repo, record | {"missing": []})
    assert (
        "was chosen on some of these pairs; on the others the largest judge is right in 0.72 "
        "[0.62, 0.82]. Nothing is missing."
    ) in said(repo)


def test_without_a_record_the_page_says_so_and_draws_nothing(repo: Path) -> None:
    (repo / "results" / "alignment" / "alignment.json").unlink()
    text = said(repo)
    assert "nothing can be said of what a rubric does for a judge" in text
    assert "sizes cannot be compared" in text
    assert "none of the arms on record that this page tells of" in text
    assert "```{figure}" not in text
    assert len(answers(text)) == ANSWERS


def test_a_judge_or_an_arm_that_nobody_knows_is_named(repo: Path, record: dict[str, Any]) -> None:
    for wrong in ("gpt-9-explicit", "qwen-0.5b-guess"):
        write(repo, record | {"missing": [wrong]})
        with pytest.raises(DataError, match=r"alignment.json names .*; known are: "):
            made(repo)


def test_a_hostile_record_stays_text(repo: Path, record: dict[str, Any]) -> None:
    write(
        repo, record | {"machine": 'a <script>x</script> "y"\n:alt: z {raw}`q` [l](javascript:1)'}
    )
    text = made(repo)["index.md"]
    assert "<script>" not in text
    assert "](javascript" not in text
    assert "\n:alt: z" not in text


# --- the claims


def test_the_counts_add_up_to_all_claims(repo: Path) -> None:
    found = made(repo)
    counts = counted(found["index.md"].replace("\\", ""))
    assert len(counts) == len(WORDS) + len(claims.CHECKS) + 1
    assert sum(counts.values()) == len(LEDGER.claims)
    bar = BeautifulSoup(found["_static/claims.svg"], "html.parser")
    assert sum(int(part["width"]) for part in bar.find_all("rect")) == len(LEDGER.claims)
    failed = re.search(
        r"do not hold, (\d+) are of numbers that must agree, (\d+) are readings that we tried, and "
        r"(\d+) are differences below",
        found["index.md"].replace("\\", ""),
    )
    assert failed
    assert sum(map(int, failed.groups())) == counts[COUNTED["does not hold"]]
    for text in (f"has {len(LEDGER.claims)} entries", f"A bar of {len(LEDGER.claims)} entries"):
        assert text in found["index.md"]


def test_a_finding_of_a_record_moves_the_bar_and_is_named(
    repo: Path, record: dict[str, Any]
) -> None:
    text = said(repo)
    before = counted(text)
    assert before["supported"] == 0
    assert "Findings that rest on a record: none." in text
    gap = Comparison(Interval(0.31, 0.2, 0.42, 48, 0.05), 0.1, 0.0001)
    key = "alignment.explicit_over_likert"
    record["findings"] = {key: decide(gap, margin=0.05).to_json()}
    write(repo, record)
    text = said(repo)
    after = counted(text)
    assert after["supported"] == 1
    assert after["not testable here"] == before["not testable here"] - 1
    assert sum(after.values()) == sum(before.values())
    by_key = {source.key: one for one in LEDGER.claims for source in one.sources}
    claim = by_key[key]
    said_of = f"“{claim.says[:-1]}”: **supported**, 0.31 [0.20, 0.42] (share of pairs)."
    assert said_of in text
    assert "Findings that rest on a record: 1." in text
    assert 'class="rar-part-1"' in made(repo)["_static/claims.svg"]


def test_where_nothing_is_decided_it_says_that(repo: Path) -> None:
    text = said(repo)
    effects = [c for c in LEDGER.claims if c.arithmetic is None and not c.shown]
    assert f"Of {len(effects)} claims about effects none are decided" in text


def test_what_no_record_holds_yet_is_counted_apart_from_what_nothing_here_can_test(
    repo: Path, record: dict[str, Any]
) -> None:
    sourced = sum(bool(one.sources) for one in LEDGER.claims)
    never = sum(bool(one.reason) for one in LEDGER.claims)
    text = said(repo)
    assert f"undecided, {sourced} not yet fully recorded, {never} not testable here." in text
    assert f"not testable here a record could still decide {sourced}." in text
    gap = Comparison(Interval(0.0, -0.2, 0.2, 48, 0.1), 0.3, 0.9)
    record["findings"] = {"alignment.explicit_over_likert": decide(gap, margin=0.05).to_json()}
    write(repo, record)
    assert f"1 undecided, {sourced - 1} not yet fully recorded, {never} not" in said(repo)


def test_the_headline_is_the_ledger_s(repo: Path) -> None:
    checked = claims.check(next(c.arithmetic for c in LEDGER.claims if c.id == HEADLINE))
    assert (
        f"gain of {checked.against:.0f} % over a plain rating on HealthBench would be "
        f"{checked.value:.1f} % by its main figure."
    ) in said(repo)
    assert not checked.holds  # else the sentence says that it is


@pytest.mark.parametrize(
    ("held", "of", "said_of"),
    [
        (0, 6, "none of 6 differences is larger"),
        (1, 6, "1 of 6 differences is larger"),
        (2, 6, "2 of 6 differences are larger"),
        (1, 1, "1 of 1 difference is larger"),
    ],
)
def test_a_count_comes_before_what_it_is_of(held: int, of: int, said_of: str) -> None:
    rows = [row for row in claims.bounded(claims.ledger(checkout=REPO)) if row.checked]
    holding = next(row for row in rows if row.word == claims.CHECKS[0])
    failing = next(row for row in rows if row.word == claims.CHECKS[1])
    assert said_of in _on_paper([holding] * held + [failing] * (of - held))


def test_the_page_has_short_answers_and_nothing_typed_into_their_place(repo: Path) -> None:
    rows = claims.ledger(checkout=repo)
    text = landing(rows, results.load("alignment", repo))
    assert len(answers(text)) == ANSWERS
    source = (BOOK / "index.md").read_text(encoding="utf-8")
    part = source.split("## What was found\n")[1].split("\n## ")[0]
    assert part.splitlines().count(GENERATED) == 1
    assert not re.search(r"\d", part)


@pytest.mark.parametrize("recorded", [True, False])
def test_an_answer_is_no_longer_than_it_takes_a_breath_to_read(repo: Path, recorded: bool) -> None:
    """With the records of this repository, and without any: its name and its link counted."""
    if not recorded:
        (repo / "results" / "alignment" / "alignment.json").unlink()
    lengths = {text: words(text) for text in answers(said(REPO if recorded else repo))}
    assert {text: n for text, n in lengths.items() if n > LONGEST} == {}


def test_a_claim_whose_words_are_too_many_gives_way_to_the_next() -> None:
    long = " ".join(["word"] * LONGEST)
    assert _short("One.", long, "Two.") == "One. Two."
    assert _short("One.") == "One."


# --- what training does

CONTRASTS = tuple(REWARDS)
#: What a test found -> the finding's word: difference, half of its interval, p.
FOUND = {
    "supported": (0.3, 0.1, 0.0001),
    "contradicted": (-0.3, 0.1, 0.0001),
    "no difference larger than d": (0.0, 0.02, 0.9),
    "undecided": (0.1, 0.3, 0.4),
}


def trained(arm: str, seed: int, after: float, stray: str = "") -> dict[str, Any]:
    """A run of the study's record: two tasks, looked at before and after."""
    answers = {"before": {"a": 0.1, "b": 0.3}, "after": {"a": after - 0.1, "b": after + 0.1}}
    course = {"0": 0.2} if arm == "base" else {"0": 0.2, "12": after}
    made = {"arm": arm, "seed": seed, "stray": stray, "course": course, "secondary": {}}
    return made | {"held_out": {"conveyed": answers}}


def study(*runs: dict[str, Any], words: tuple[str, ...] = ()) -> dict[str, Any]:
    """The study's record, with findings of these words on the first contrasts."""
    findings = {}
    for name, word in zip(CONTRASTS, words, strict=False):
        value, half, p = FOUND[word]
        gap = Comparison(Interval(value, value - half, value + half, 160, half / 2), 0.1, p)
        findings[f"training.{name}"] = decide(gap, margin=0.05).to_json()
        assert findings[f"training.{name}"]["word"] == word
    made = {"date": "2026-12-01", "machine": "a machine", "versions": {"trl": "1"}}
    return {"runs": list(runs), "findings": findings, "settings": {"steps": 12}} | made


def on_training(record: dict[str, Any] | None) -> str:
    return _on_training(record).replace("\\", "")


def test_what_training_does_is_said_of_the_arms_that_are_on_record() -> None:
    runs = [trained("base", 0, 0.2), trained("explicit", 0, 0.8), trained("length", 0, 0.25)]
    text = on_training(study(*runs, trained("rlvr", 0, 0.9)))
    assert text == (
        "**What training does.** Given the reference answer's sentences, shuffled, an untrained "
        "policy {term}`conveys <Conveyed>` 0.20 of them and a trained one 0.25 (paid for length), "
        "0.80 (explicit), with 1 seed. What it knows is not measured."
    )


def test_seeds_are_averaged_and_runs_that_are_set_aside_left_out() -> None:
    runs = [trained("explicit", seed, 0.5 + seed / 10) for seed in (0, 1)]
    strayed = trained("explicit", 2, 0.1, stray="KL 1.20 nats a token")
    text = on_training(study(*runs, strayed, trained("implicit", 0, 0.4)))
    assert "0.40 (implicit), 0.55 (explicit), with 1 to 2 seeds. What it knows" in text


def test_the_rewards_that_the_paper_compares_are_named_with_what_is_decided() -> None:
    text = _on_rewards(study(words=("supported", "undecided")), ())
    assert text == (
        "**Which reward is best.** Explicit over plain rating: **supported**, 0.30 [0.20, 0.40]. "
        "Implicit over plain rating, the paper's main claim: **undecided**, 0.10 [-0.20, 0.40]. "
        "Implicit over explicit, the paper's order: not on record. "
        "Unit: {term}`share of the way <Way>`."
    )


@pytest.mark.parametrize("record", [None, {"runs": [], "findings": {}}])
def test_without_findings_no_reward_is_called_the_best(record: dict[str, Any] | None) -> None:
    text = _on_rewards(record, ())
    assert text.endswith("No two rewards are on record with the 3 seeds that a finding needs.")


def test_the_longest_answers_on_training_are_short_enough() -> None:
    runs = [trained(arm, seed, 0.5) for arm in ("base", *TOLD) for seed in range(3)]
    record = study(*runs[:-2], words=("supported", "contradicted", "no difference larger than d"))
    text = on_training(record)
    assert "with 1 to 3 seeds" in text
    for answer in (text, _on_rewards(record, ())):
        assert words(f"- {answer} ([chapter 7](x))") <= LONGEST


@pytest.mark.parametrize("runs", [None, [], ["rlvr"], ["base"]])
def test_without_an_arm_to_tell_of_nothing_is_said_and_nothing_drawn(
    repo: Path, runs: list[str] | None
) -> None:
    if runs is not None:
        (repo / "results" / "study").mkdir()
        record = study(*(trained(arm, 0, 0.5) for arm in runs))
        (repo / "results" / "study" / "arms.json").write_text(json.dumps(record))
    assert "nothing can be said of what a reward teaches a policy" in said(repo)
    assert ARMS_FIGURE not in made(repo)
    assert ARMS_FIGURE not in said(repo)


def test_the_arms_curves_stand_under_the_main_figure(repo: Path) -> None:
    (repo / "results" / "study").mkdir()
    record = study(trained("base", 0, 0.2), trained("explicit", 0, 0.8), trained("rlvr", 0, 0.9))
    (repo / "results" / "study" / "arms.json").write_text(json.dumps(record))
    text = said(repo)
    places = [text.index(part) for part in (JUDGES_DRAWING, f"{{figure}} {ARMS_FIGURE}", "- **")]
    assert places == sorted(places)
    assert "explicit, mean of 1 seed: from 0.20 at step 0 to 0.80 at step 12" in text
    assert "recorded on 2026-12-01, a machine. What is paid: the share of single criteria" in text
    svg = made(repo)[ARMS_FIGURE]
    assert clean_svg(svg) == svg
    assert made(repo)[ARMS_FIGURE] == svg  # else the book would be made anew each time


def test_the_arms_curves_have_the_drawings_colours_and_a_key_below_in_their_order() -> None:
    runs = [trained(arm, 0, 0.5 + n / 10) for n, arm in enumerate(TOLD)]
    fig = arm_curves(study(*runs))
    assert fig is not None
    drawn = {line.get_label(): line.get_color() for line in fig.axes[0].lines}
    assert drawn["explicit (1)"] == figures.HUES["explicit"][0]
    assert drawn["direct_likert (1)"] == figures.HUES["direct_likert"][0]
    assert figures.as_svg(fig) is not None  # its places are settled when it is written
    (key,) = fig.legends
    assert [text.get_text() for text in key.get_texts()] == [f"{arm} (1)" for arm in [*TOLD][::-1]]
    assert key.get_window_extent().y0 >= 0
    assert key.get_window_extent().y1 < fig.axes[0].get_window_extent().y0


# --- the page


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = write_run(tmp_path_factory.mktemp("run") / "smoke", BOOK)
    return build(run, BOOK, run.parent / "out", repo=REPO)


def article(html: Path, page: str = "index") -> Any:
    found = BeautifulSoup((html / f"{page}.html").read_text(encoding="utf-8"), "html.parser")
    return found.select_one("article")


def test_answers_come_first_then_the_loop_then_how_to_read(html: Path) -> None:
    found = article(html)
    seen = "svg.rar-drawing, figure img, #how-to-read-it-and-run-it"
    kinds = [part.get("class", [part.name])[-1] for part in found.select(seen)]
    assert kinds == ["rar-drawing", "rar-drawn", "rar-bar", "rar-cycle", "section"]
    assert found.select_one('#what-was-found a[href="10_paper_against_here.html"]')


def test_the_main_figure_has_a_caption_and_says_what_is_seen(html: Path) -> None:
    figure = article(html).select_one("figure.rar-figure")
    svg = figure.select_one("svg")
    assert svg["role"] == "img"
    assert "at 0.5 billion: each criterion alone (explicit) 0." in svg["aria-label"]
    caption = " ".join(figure.figcaption.get_text().split())
    assert caption.startswith("Figure 1. How often a judge prefers the better of two responses")
    assert "recorded on" in caption
    assert not figure.select("img")


def test_the_arms_figure_is_a_picture_with_a_caption_that_says_what_is_seen(html: Path) -> None:
    figure = article(html).select("figure.rar-figure")[1]
    assert "explicit, mean of " in figure.img["alt"]
    assert (html / figure.img["src"]).is_file()
    caption = " ".join(figure.figcaption.get_text().split())
    assert caption.startswith("Figure 2. Share of the notes given with a held-out question")
    assert figure.figcaption.select_one('a[href="study.html"]')


# --- the loop


def test_the_loop_is_drawn_for_eyes_and_told_to_ears(html: Path) -> None:
    figure = article(html).select_one("figure:has(svg.rar-cycle)")
    assert figure.svg["role"] == "img"
    told = figure.svg["aria-label"].lower()
    for _, _, name, _ in LOOP_BOXES:
        assert name.lower() in told, name
        assert name in figure.svg.get_text()
    order = ["prompt", "policy", "responses", "judge", "rewards", "advantages", "update"]
    places = [told.index(f" {name}") for name in order]
    assert places == sorted(places)
    assert told.endswith("back to the policy.")


def test_every_box_of_the_loop_has_an_arrow_and_the_last_leads_back() -> None:
    """A head stands at the edge of a box, and no box is without an arrow to it or from it."""
    edges = {
        (2 + 180 * column + dx, 4 + 114 * row + dy): name
        for column, row, name, _ in LOOP_BOXES
        for dx, dy in ((0, 31), (140, 31), (70, 0), (70, 62))
    }
    leads = []
    for line, x, y, _ in LOOP_ARROWS:
        begin = re.match(r"M(\d+),(\d+)", line)
        assert begin is not None
        leads.append((edges[int(begin[1]), int(begin[2])], edges[x, y]))
    assert leads == [
        ("Prompt", "Policy"),
        ("Policy", "Responses"),
        ("Responses", "Judge"),
        ("Rubric", "Judge"),
        ("Judge", "Rewards"),
        ("Rewards", "Advantages"),
        ("Advantages", "Update"),
        ("Update", "Policy"),
    ]
    assert loop_drawing().count('class="head"') == len(leads)


def test_the_bar_is_drawn_for_eyes_and_told_to_ears(html: Path) -> None:
    found = article(html).select_one(".rar-claims")
    assert found.svg["aria-label"].startswith(f"A bar of {len(LEDGER.claims)} entries: ")
    assert len(found.select("li")) == len(WORDS) + len(claims.CHECKS) + 1


def test_drawings_follow_the_theme_of_the_page(html: Path) -> None:
    style = article(html).select_one("svg style").string
    css = (BOOK / "_static" / "rar.css").read_text(encoding="utf-8")
    assert "prefers-color-scheme" not in style  # the page has a switch of its own
    dark = css.split('html[data-theme="dark"] {\n  --rar-explicit')[1].split("}")[0]
    names = set(re.findall(r"var\((--rar-[\w-]+),", style))
    assert names == {f"--rar-{name.replace('_', '-')}" for name in figures.HUES}
    for name, (_, hue) in figures.HUES.items():
        assert name == "explicit" or f"--rar-{name.replace('_', '-')}: {hue}" in dark


def test_a_book_whose_page_has_no_place_for_the_answers_is_refused(tmp_path: Path) -> None:
    from rar_lib.book.pages.build import _write

    (tmp_path / "index.md").write_text("# A page\n")
    with pytest.raises(ReproduceError, match=r"index.md has 0 lines '% generated', one is needed"):
        _write(tmp_path, {"index.md": "answers"})


@pytest.mark.parametrize(
    ("svg", "why"),
    [
        ("<svg><script>1</script></svg>", "element <script>"),
        ('<svg><path d="M0,0" onclick="x()"/></svg>', "attribute onclick"),
        ('<svg><a href="javascript:1"><text>x</text></a></svg>', "element <a>"),
        ("<svg><style>@import 'x';</style></svg>", "a style that loads something"),
        ('<svg><rect style="fill:url(x)"/></svg>', "attribute style"),
        ("<svg><foreignObject></foreignObject></svg>", "element <foreignobject>"),
    ],
)
def test_a_drawing_holds_lines_shapes_and_text_only(tmp_path: Path, svg: str, why: str) -> None:
    static = tmp_path / "src" / "_static"
    static.mkdir(parents=True)
    (static / "judges.svg").write_text(svg)
    page = tmp_path / "index.html"
    page.write_text('<img alt="judges" class="rar-drawn" src="_images/judges.svg" />')
    with pytest.raises(ReproduceError, match=f"judges.svg holds {re.escape(why)}"):
        draw(tmp_path, tmp_path / "src")


def test_a_drawing_without_an_alternative_text_is_refused(tmp_path: Path) -> None:
    static = tmp_path / "src" / "_static"
    static.mkdir(parents=True)
    (static / "claims.svg").write_text(figures.share_drawing({"a": 1}))
    (tmp_path / "x.html").write_text('<img alt="" src="_images/claims.svg">')
    with pytest.raises(ReproduceError, match="has no alternative text"):
        draw(tmp_path, tmp_path / "src")


def test_a_drawing_passes_the_gate_of_every_page(repo: Path) -> None:
    for name, svg in made(repo).items():
        if name.endswith(".svg"):
            check_page(f"<article>{svg}</article>", "index.html")


# --- the README


def test_the_drawing_in_the_readme_is_that_of_the_record() -> None:
    record = json.loads((REPO / "results/alignment/alignment.json").read_text(encoding="utf-8"))
    drawn = (REPO / "results/alignment/alignment.svg").read_text(encoding="utf-8")
    expected = figures.judge_drawing(results.judges(record), alone=True)
    assert drawn == expected, "run: .venv/bin/python -m results.alignment.table"
    assert visible(drawn) == drawn


def test_pictures_in_the_readme_are_there_small_and_described() -> None:
    readme = (REPO / "README.md").read_text(encoding="utf-8")
    pictures = dict(re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", readme))
    assert set(pictures.values()) == {"docs/landing.png", "results/alignment/alignment.svg"}
    for said, path in pictures.items():
        assert len(said) > 60
        assert (REPO / path).stat().st_size < 300_000


# --- what the landing page says of small judges, from records made up

SMALLEST = "smollm2-135m"
SMALL = "qwen-0.5b"
LARGE = "qwen-1.5b"
#: Arm -> ends of its interval.
Arms = dict[str, tuple[float, float]]
SUPPORTED, _, _, UNDECIDED, _ = WORDS


def row(arms: Arms) -> dict[str, Any]:
    """A judge of a record."""
    found = {}
    for arm, ends in arms.items():
        found[arm] = {"pairs": 92, "accuracy": Interval(sum(ends) / 2, *ends, 48).to_json()}
    return {"gate": True, "arms": found}


def made_up(judges: dict[str, Arms], words: dict[str, Word] | None = None) -> dict[str, Any]:
    """A record of these judges; of some, what single criteria against one rating came to."""
    gap = Interval(0.2, 0.1, 0.3, 48, 0.05)
    largest = next((name for name in (LARGE, SMALL, SMALLEST) if name in judges), "")
    found = {}
    for judge, word in (words or {}).items():
        finding = Finding(word, gap, 0.01, 0.02, margin=0.05, detectable=0.1, reason="why")
        name = SINGLE_OVER_RATING if judge == largest else f"{SINGLE_OVER_RATING}, {judge}"
        found[name] = finding.to_json()
    rows = {judge: row(arms) for judge, arms in judges.items()}
    return {"judges": rows, "findings": found, "missing": []}


def on_size(arms: dict[str, Arms], words: dict[str, Word] | None = None) -> str:
    record = made_up(arms, words)
    return _on_size(results.judges(record), record).replace("\\", "")


COIN = (0.4, 0.6)
ABOVE = (0.7, 0.8)
HIGHER = (0.8, 0.9)
RECORDED: dict[str, Arms] = {
    SMALLEST: {"explicit": COIN, "implicit": COIN, "direct_likert": COIN},
    SMALL: {"explicit": ABOVE, "implicit": COIN, "direct_likert": COIN},
    LARGE: {"explicit": HIGHER, "implicit": ABOVE, "direct_likert": COIN},
}


def test_the_smallest_judge_that_needs_no_luck_is_named() -> None:
    said = on_size(RECORDED, {SMALL: SUPPORTED, LARGE: SUPPORTED, SMALLEST: UNDECIDED})
    assert said == (
        "**How small a judge may be.** The smallest judge that visibly beats chance by single "
        "criteria, in 0.75 [0.70, 0.80] of pairs, has 0.5 billion parameters; one rating reaches "
        "0.50 [0.40, 0.60]. Single criteria reach more (our comparison): **supported**."
    )
    alone = on_size({LARGE: RECORDED[LARGE]}, {LARGE: UNDECIDED})
    assert alone.endswith("Single criteria reach more: **undecided**.")  # a claim of the ledger


@pytest.mark.parametrize("word", WORDS)
def test_what_the_test_says_of_the_difference_is_said_with_it(word: Word) -> None:
    said = on_size(RECORDED, {SMALL: word, LARGE: SUPPORTED})
    assert said.endswith(f"Single criteria reach more (our comparison): **{word}**.")


def test_a_difference_that_was_not_tested_is_not_called_one() -> None:
    said = on_size(RECORDED)
    assert "reach more" not in said
    assert said.endswith("No test of the difference is on record.")


def test_where_no_judge_beats_a_coin_the_largest_is_named() -> None:
    lost = {"explicit": COIN, "implicit": COIN}
    said = on_size({judge: dict(lost) for judge in (SMALLEST, SMALL)})
    assert (
        "No judge visibly beats chance by single criteria: the largest, of 0.5 billion parameters, "
        "is right in 0.50 [0.40, 0.60] of pairs; one rating reaches 0.50 [0.40, 0.60]."
    ) in said
    few = made_up({SMALL: {"explicit": ABOVE, "implicit": ABOVE}})
    for of in few["judges"][SMALL]["arms"].values():
        of["accuracy"]["n"] = 2  # an interval over so few is not shown, and says nothing
    assert "No judge visibly beats chance" in _on_size(results.judges(few), few)


def test_sizes_are_compared_by_single_criteria() -> None:
    assert on_size({}).endswith("so sizes cannot be compared.")
    assert on_size({SMALL: {"implicit": ABOVE}}).endswith("so sizes cannot be compared.")
    said = on_size(RECORDED | {SMALLEST: {"explicit": ABOVE}}, {SMALL: SUPPORTED})
    assert said.endswith(
        "has 0.135 billion parameters; its rating under the rubric is not on record."
    )


def not_yet(missing: list[str], judges: tuple[str, ...] = (SMALLEST, SMALL)) -> str:
    record = made_up({judge: {"explicit": ABOVE} for judge in judges})
    return _not_yet(results.judges(record | {"missing": missing}))


def test_what_is_missing_is_said_in_words_and_once() -> None:
    assert not_yet([]) == "Nothing is missing."
    written = [f"{judge}-implicit-{kind}" for judge in (SMALLEST, SMALL) for kind in WRITTEN]
    assert not_yet(written) == (
        "Not measured yet at any size: ratings under rubrics that a model wrote."
    )
    one = not_yet([f"{SMALL}-implicit-synthetic_ref", f"{SMALL}-predefined"])
    assert one == (
        "Not measured yet at 0.5 billion parameters: one general rubric, each criterion alone "
        "(predefined); one rating, rubric by a model that saw the reference."
    )


def test_a_size_at_which_nothing_is_measured_is_said_once() -> None:
    said = not_yet([f"{LARGE}-implicit", f"{LARGE}-explicit", f"{SMALL}-predefined"])
    assert said == (
        "Not measured yet at 0.5 and 1.5 billion parameters: one general rubric, each criterion "
        "alone (predefined). Nothing is measured yet at 1.5 billion parameters."
    )
    every = not_yet([f"{judge}-predefined" for judge in (SMALLEST, SMALL)])
    assert every.startswith("Not measured yet at any size: one general rubric")
