"""The book: built from executed notebooks, safe, self-contained, readable in a real browser."""

from __future__ import annotations

import io
import json
import shutil
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
from browser import barriers, served, too_wide, watch
from bs4 import BeautifulSoup
from kept import write_kept
from sample import new_markdown_cell, new_notebook

from rar_lib.book import build as building
from rar_lib.book import results
from rar_lib.book.build import (
    GENERATED,
    SINGLE_OVER_RATING,
    WRITTEN,
    _not_yet,
    _on_size,
    build,
    chapters,
    citation,
    elsewhere,
    fill,
    input_key,
    kept_runs,
    print_page,
    repository,
    reproduced,
    run_line,
    status_page,
)
from rar_lib.book.gate import check_page
from rar_lib.core.decision import WORDS, Finding, Word
from rar_lib.core.errors import ReproduceError
from rar_lib.core.stats import Interval

REPO = Path(__file__).resolve().parents[2]
BOOK = REPO / "book"
FIRST = "01_rewards_from_rubrics"
HOSTILE_PAGE = "02_writing_rubrics"


def pages(html: Path) -> list[Path]:
    return sorted(html.glob("*.html"))


def soup(path: Path) -> Any:
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


# --- building


def test_every_page_of_the_contents_is_built(html: Path) -> None:
    assert {"index", "search", *chapters(BOOK)} == {p.stem for p in pages(html)}


def test_an_unchanged_book_is_not_built_again(
    run: Path, html: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="rar_lib")
    stamp = (html / "index.html").stat().st_mtime_ns
    started = time.perf_counter()
    assert build(run, BOOK, run.parent / "out", repo=REPO) == html
    assert time.perf_counter() - started < 5.0  # it takes a minute
    assert (html / "index.html").stat().st_mtime_ns == stamp
    assert "unchanged" in caplog.text


def test_missing_notebooks_are_named_with_the_command(tmp_path: Path, run: Path) -> None:
    partial = tmp_path / "laptop"
    shutil.copytree(run, partial)
    (partial / "08_evaluation.ipynb").unlink()
    with pytest.raises(ReproduceError, match=r"08_evaluation\. Run: make reproduce"):
        build(partial, BOOK, tmp_path / "out", repo=REPO)


def test_a_broken_reference_fails_the_build_and_leaves_the_old_book(
    tmp_path: Path, run: Path
) -> None:
    book, out = tmp_path / "book", tmp_path / "out"
    shutil.copytree(BOOK, book)
    (out / "html").mkdir(parents=True)
    (out / "html" / "index.html").write_text("the old book")
    glossary = book / "glossary.md"
    glossary.write_text(glossary.read_text() + "\n{ref}`no-such-place` and $\\nosuchcommand{x}$\n")
    with pytest.raises(ReproduceError) as caught:
        build(run, book, out, repo=REPO)
    assert "no-such-place" in str(caught.value)
    assert "nosuchcommand" in str(caught.value)
    assert "glossary.md" in str(caught.value)
    assert (out / "html" / "index.html").read_text() == "the old book"


def test_a_kill_between_the_two_renames_is_healed(tmp_path: Path, run: Path, html: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(html, out / ".html.old")
    build(run, BOOK, out, repo=REPO)
    assert (out / "html" / "index.html").is_file()
    assert not (out / ".html.old").exists()


# --- what is on a page


def test_nothing_is_loaded_from_elsewhere(html: Path) -> None:
    for page in pages(html):
        for element in soup(page).find_all(["script", "link", "img", "iframe", "source"]):
            address = element.get("src") or element.get("href") or ""
            assert not address.startswith(("http:", "https:", "//")), (page.name, str(element))


def test_a_page_has_no_style_but_its_own(html: Path) -> None:
    """jupyter-book takes every style that lies in ``_static``, one for paper as well."""
    for page in pages(html):
        styles = [link["href"] for link in soup(page).select('link[rel="stylesheet"]')]
        own = {Path(s.partition("?")[0]).name for s in styles if "rar" in s or "print" in s}
        assert own == {"rar.css"}, page.name


def test_every_page_has_a_policy_without_inline_script(html: Path) -> None:
    for page in pages(html):
        policy = soup(page).find("meta", attrs={"http-equiv": "Content-Security-Policy"})
        script = next(p for p in policy["content"].split("; ") if p.startswith("script-src"))
        assert "unsafe" not in script
        assert "default-src 'none'" in policy["content"]
        assert "onclick" not in page.read_text(encoding="utf-8")


def test_hostile_text_is_shown_and_not_run(html: Path) -> None:
    article = soup(html / f"{HOSTILE_PAGE}.html").select_one("article")
    assert not article.find_all(["script", "img", "iframe", "svg", "object"])
    for element in article.find_all(True):
        assert not [a for a in element.attrs if a.startswith("on")]
        assert "javascript:" not in element.get("href", "")
    assert article.get_text().count("<script>window.pwned = 1</script>") == 3


def test_formulas_are_static_mathml(html: Path) -> None:
    article = soup(html / f"{FIRST}.html").select_one("article")
    assert len(article.find_all("math")) == 3
    assert "\\frac" not in article.get_text()


def test_figures_have_an_alternative_text(html: Path) -> None:
    image = soup(html / f"{FIRST}.html").select_one("article img")
    assert image["alt"] == "Figure: Reward by arm"


def test_setup_cells_can_be_hidden_and_links_lead_to_pages(html: Path) -> None:
    article = soup(html / f"{FIRST}.html").select_one("article")
    assert article.select_one(".tag_hide-input details")
    assert article.select_one('a[href="conventions.html#polarity"]')


def test_what_ran_is_printed_under_the_title_and_on_one_page(html: Path) -> None:
    line = soup(html / f"{FIRST}.html").select_one("article .rar-run").get_text()
    assert "profile smoke · 2 CPU cores, 24 GB · 2026-11-22 00:00 · 12 s" in line
    status = soup(html / "status.html").select_one("article").get_text()
    assert "2.13.0+cpu" in status
    assert "1,234" in status  # replies that the run added to the record


def test_a_run_without_a_record_says_so() -> None:
    assert "not recorded" in run_line(None)
    assert "not recorded" in status_page({"01_x": None}, {"01_x": "X"})


def test_the_page_of_runs_says_how_long_a_whole_one_took_where_it_was_measured() -> None:
    assert status_page({}, {}).splitlines().count(GENERATED) == 1
    one = {"reproduce": {"a kind, AVX2": {"cold_s": 8640.0, "unchanged_s": 4.0}}}
    assert reproduced(one).replace("\\", "") == (
        "A whole run of profile laptop took 2.4 hours from empty caches on a kind, AVX2."
    )
    one["reproduce"]["other"] = {"cold_s": 3600.0, "warm_s": 1800.0}
    assert "; 1.0 hours from empty caches on other; 0.5 hours from filled" in reproduced(one)
    for nothing in (None, {}, {"reproduce": {"a kind": {"unchanged_s": 4.0}}}):
        assert reproduced(nothing).endswith("is not on record.")


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
        "0.50 [0.40, 0.60]. Single criteria reach more (extra comparison): **supported**."
    )
    alone = on_size({LARGE: RECORDED[LARGE]}, {LARGE: UNDECIDED})
    assert alone.endswith("Single criteria reach more: **undecided**.")  # a claim of the ledger


@pytest.mark.parametrize("word", WORDS)
def test_what_the_test_says_of_the_difference_is_said_with_it(word: Word) -> None:
    said = on_size(RECORDED, {SMALL: word, LARGE: SUPPORTED})
    assert said.endswith(f"Single criteria reach more (extra comparison): **{word}**.")


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


# --- how the book is cited

AUTHORS = "The authors of rar-lib"


def test_a_citation_has_the_version_of_the_package_and_what_the_configuration_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rar_lib.book.build.version", {"rar-lib": "7.8.9"}.get)
    config = "title: A title\nauthor: Some authors\ncopyright: '2031'\n"
    (tmp_path / "_config.yml").write_text(config, encoding="utf-8")
    assert citation(tmp_path).splitlines() == [
        "```bibtex",
        "@misc{rar-executable,",
        "  title = {{A title}},",
        "  author = {{Some authors}},",
        "  year = {2031},",
        "  version = {7.8.9},",
        "  note = {Code: Apache-2.0. Text and data: CC BY 4.0},",
        "}",
        "```",
    ]


def test_the_bibliography_says_how_to_cite_the_book(html: Path) -> None:
    page = soup(html / "bibliography.html")
    (entry,) = page.select("article pre")
    assert f"version = {{{version('rar-lib')}}}" in entry.get_text()
    assert f"author = {{{{{AUTHORS}}}}}" in entry.get_text()
    assert [h.get_text().strip("#") for h in page.select("article h2")] == ["Citing this book"]


def test_every_foot_and_the_printed_title_name_the_authors(html: Path) -> None:
    for page in pages(html):
        assert AUTHORS in soup(page).select_one(".bd-footer-content").get_text(), page.name
    head = BeautifulSoup(print_page(html, ["index", FIRST]), "html.parser").body.header.get_text()
    assert AUTHORS in head
    assert f"Version {version('rar-lib')}" in head


def test_the_landing_page_says_who_reads_what_first(html: Path) -> None:
    part = soup(html / "index.html").select_one("#how-to-read-it-and-run-it")
    readers = part.select_one("ul").select("li")
    begin = [(item.strong.get_text(), item.a["href"][:2]) for item in readers]
    assert begin == [
        ("The method is new to you.", "01"),
        ("You have read the paper.", "10"),
        ("You train models.", "01"),
        ("You check judges.", "04"),
    ]


# --- the page of rollouts


def test_the_page_of_rollouts_has_every_run_that_the_chapters_left(html: Path) -> None:
    found = soup(html / "rollouts.html")
    runs = json.loads(found.select_one("#rollouts-data").string)["runs"]
    of_chapters = [name for run in runs if (name := run["name"].split(":")[0]) != "Study"]
    assert of_chapters == ["Chapter 7", "Chapter 11", "Chapter 6"]
    article = found.select_one("article")
    assert article.select_one("#rollouts-shown table")  # the first task, as plain HTML
    assert not article.find_all(["script", "img", "iframe"])
    assert "window.pwned = 1" in article.get_text()
    for name in ("rollouts.js", "rollouts.css"):
        assert (html / "_static" / name).is_file()
        assert f'"_static/{name}"' in str(found)


def test_chapter_6_and_the_landing_page_lead_to_the_rollouts(html: Path) -> None:
    for name in ("07_training_with_grpo.html", "index.html"):
        assert soup(html / name).select_one('article a[href="rollouts.html"]'), name


def test_a_page_without_runs_stays_as_the_book_wrote_it(tmp_path: Path) -> None:
    page = tmp_path / "rollouts.html"
    page.write_text(said := '<div class="rar-rollouts docutils"><p>Nothing was kept.</p></div>')
    assert kept_runs(tmp_path / "data", tmp_path) == []
    fill(tmp_path, tmp_path / "data", tmp_path)
    assert page.read_text() == said
    page.write_text("<p>no place</p>")
    write_kept(tmp_path / "data" / "grpo")
    (tmp_path / "_static").mkdir()
    with pytest.raises(ReproduceError, match="has 0 places for the rollouts"):
        fill(tmp_path, tmp_path / "data", tmp_path)


def test_a_run_that_changed_makes_another_book(tmp_path: Path, run: Path) -> None:
    copy = tmp_path / "smoke"
    shutil.copytree(run, copy)
    before = input_key(BOOK, copy, [FIRST])
    assert input_key(BOOK, run, [FIRST]) == before
    path = copy / "data" / "grpo" / "rollouts.jsonl"
    path.write_text(path.read_text() + "\n")
    assert input_key(BOOK, copy, [FIRST]) != before


@pytest.mark.parametrize("module", ["gate.py", "report.py", "build.py", "figures.py", "report.css"])
def test_what_decides_how_a_page_looks_makes_another_book(
    module: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gate that is made stricter is applied to chapters that were executed before."""
    room = tmp_path / "room"
    shutil.copytree(Path(building.__file__).parent, room)
    monkeypatch.setattr(building, "__file__", str(room / "build.py"))
    before = input_key(BOOK, run, [FIRST])
    path = room / module
    path.write_text(path.read_text() + "\n")
    assert input_key(BOOK, run, [FIRST]) != before


# --- Colab and Binder

ADDRESS = "https://github.com/some-one/rar.book_2"
COLAB = "https://colab.research.google.com/github/some-one/rar.book_2/blob/HEAD/notebooks/{}.ipynb"
BINDER = "https://mybinder.org/v2/gh/some-one/rar.book_2/HEAD?urlpath=lab/tree/notebooks/{}.ipynb"
#: A chapter that asks no model, one that asks a judge, and what reads files of either.
KNOWN = {
    "01_alone": {"asks": False, "after": []},
    "02_asks": {},
    "03_asks_after": {"after": ["02_asks"]},
    "04_reads": {"asks": False, "after": ["03_asks_after"]},
}
MEASURED = {"reproduce": {"slow": {"memory_gb": 25.24}, "fast": {"memory_gb": 17.2}, "new": {}}}


def with_address(book: Path, url: object) -> Path:
    """Copy the book's sources to ``book``, with another ``repository.url``."""
    shutil.copytree(BOOK, book)
    path = book / "_config.yml"
    text = path.read_text(encoding="utf-8")
    assert text.count('\nrepository:\n  url: ""\n') == 1
    given = f"\nrepository:\n  url: {json.dumps(url)}\n"
    path.write_text(text.replace('\nrepository:\n  url: ""\n', given), encoding="utf-8")
    return book


def links(times: dict[str, Any] | None = MEASURED) -> dict[str, tuple[Any, Any]]:
    """What each of the chapters says of Colab and of Binder."""
    made = elsewhere(KNOWN, ADDRESS.removeprefix("https://github.com/"), times)
    return {
        name.removesuffix(".html"): tuple(BeautifulSoup(text, "html.parser").select("li"))
        for name, text in made.items()
    }


def test_without_an_address_no_page_says_a_word_of_colab_or_binder(html: Path) -> None:
    assert repository(BOOK) is None
    for page in pages(html):
        text = page.read_text(encoding="utf-8").lower()
        assert "colab" not in text, page.name
        assert "binder" not in text, page.name


def test_both_links_open_the_notebook_of_the_chapter() -> None:
    assert links().keys() == KNOWN.keys()
    for stem, (colab, binder) in links().items():
        assert [a["href"] for a in colab.select("a")] == [COLAB.format(stem)]
        assert [a["href"] for a in binder.select("a")] == [BINDER.format(stem)]
        for said in (colab, binder):
            assert said.get_text().endswith("This project has not run it there.")


def test_colab_is_told_what_to_install_first_and_which_profile_is_meant() -> None:
    colab, _ = links()["01_alone"]
    assert colab.code.get_text() == (
        f"!git clone --depth 1 {ADDRESS} && pip install --no-deps "
        "-r rar.book_2/env/torch-cpu.txt -r rar.book_2/env/laptop.txt -e ./rar.book_2"
    )
    assert "Profile smoke, which the notebook names, is meant for the CPU there" in colab.get_text()
    assert "laptop takes 25.2 GB of memory and profile gpu a GPU of 80 GB" in colab.get_text()
    assert "laptop takes an unknown amount of memory" in links(None)["01_alone"][0].get_text()
    for name in ("torch-cpu.txt", "laptop.txt"):
        assert (REPO / "env" / name).is_file()


def test_colab_is_told_which_chapters_to_run_before() -> None:
    said = {stem: colab.get_text() for stem, (colab, _) in links().items()}
    assert "It reads files" not in said["01_alone"] + said["02_asks"]
    assert "It reads files of chapter 2: run them first." in said["03_asks_after"]
    assert "It reads files of chapters 2 and 3: run them first." in said["04_reads"]


def test_binder_is_said_to_hold_no_judge() -> None:
    said = {stem: binder.get_text() for stem, (_, binder) in links().items()}
    assert all("gives 1 to 2 GB of memory" in text for text in said.values())
    assert "asks no model, so all of its cells are meant to run" in said["01_alone"]
    for stem in ("02_asks", "03_asks_after"):
        assert "takes at least 2.6 GB besides its weights, so no judge fits" in said[stem]
    assert "the files of chapters 2 and 3 that it reads are made with a judge" in said["04_reads"]
    assert "does not fit" in said["04_reads"]


def test_every_notebook_names_the_profile_that_its_links_name() -> None:
    for path in sorted((REPO / "notebooks").glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        named = [c for c in cells if "parameters" in c["metadata"].get("tags", [])]
        assert ["".join(c["source"]) for c in named] == ['profile = "smoke"'], path.name


def test_one_setting_puts_the_links_into_every_chapter(
    tmp_path: Path, run: Path, html: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = tmp_path / "smoke"
    shutil.copytree(run, bare, ignore=shutil.ignore_patterns("data"))
    first = json.loads((bare / f"{FIRST}.ipynb").read_text(encoding="utf-8"))
    first["metadata"]["rar"] = {"after": [], "asks": False}
    (bare / f"{FIRST}.ipynb").write_text(json.dumps(first), encoding="utf-8")

    def rendered(src: Path, work: Path, builder: str = "html") -> Path:
        made = Path(shutil.copytree(html, work / builder))
        (made / "rollouts.html").unlink()  # it is filled already
        return made

    monkeypatch.setattr("rar_lib.book.build._render", rendered)
    book, out = with_address(tmp_path / "book", ADDRESS), tmp_path / "out"
    made = build(bare, book, out, repo=REPO)
    stems = {path.stem for path in bare.glob("*.ipynb")}
    for page in pages(made):
        found = soup(page)
        shown = [a["href"] for a in found.select("a") if a["href"].startswith(COLAB[:20])]
        assert shown == ([COLAB.format(page.stem)] if page.stem in stems else []), page.name
        assert bool(found.select('a[href^="https://mybinder.org/"]')) == (page.stem in stems)
        check_page(page.read_text(encoding="utf-8"), page.name)
    asked = {s: soup(made / f"{s}.html").select("ul.rar-source li") for s in (FIRST, HOSTILE_PAGE)}
    assert "all of its cells are meant to run" in asked[FIRST][1].get_text()
    assert "no judge fits" in asked[HOSTILE_PAGE][1].get_text()
    assert "Colab" not in print_page(made, ["index", FIRST])
    stamp = (made / "index.html").stat().st_mtime_ns
    assert build(bare, book, out, repo=REPO) == made
    assert (made / "index.html").stat().st_mtime_ns == stamp


@pytest.mark.parametrize(
    "url",
    [
        "http://github.com/some/book",
        "https://gitlab.com/some/book",
        "https://github.com.example.org/some/book",
        "https://user:secret@github.com/some/book",
        "https://github.com/some",
        "https://github.com/some/book/",
        "https://github.com/some/book.git",
        "https://github.com/some/book/tree/main",
        "https://github.com/some/..",
        "https://github.com/some/-rf",
        "https://github.com/-some/book",
        "https://github.com/some/book?x=1",
        "https://github.com/some/book\n",
        "https://github.com/some/bo ok",
        "https://github.com/some/b;id",
        "https://github.com/some/$(id)",
        'https://github.com/some/b"onclick="x',
        "https://github.com/some/<script>",
        "https://github.com/some/b\u00f6\u00f6k",
        "javascript:alert(1)//https://github.com/some/book",
        " https://github.com/some/book",
        "https://github.com/some/" + "b" * 101,
        7,
        ["https://github.com/some/book"],
    ],
)
def test_another_address_than_one_on_github_is_refused(tmp_path: Path, url: object) -> None:
    book = with_address(tmp_path / "book", url)
    with pytest.raises(ReproduceError) as caught:
        repository(book)
    said = str(caught.value)
    assert said.startswith("book/_config.yml: repository.url is ")
    assert str(url)[:20].strip() in said
    assert '"https://github.com/OWNER/NAME"' in said


def test_a_refused_address_ends_the_build_before_anything_is_made(
    tmp_path: Path, run: Path
) -> None:
    book = with_address(tmp_path / "book", "https://example.org/some/book")
    with pytest.raises(ReproduceError, match=r"repository\.url is 'https://example\.org/some"):
        build(run, book, tmp_path / "out", repo=REPO)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("url", ["", None])
def test_an_empty_address_means_no_links(tmp_path: Path, url: str | None) -> None:
    assert repository(with_address(tmp_path / "book", url)) is None


def test_an_address_on_github_is_owner_and_name(tmp_path: Path) -> None:
    assert repository(with_address(tmp_path / "book", ADDRESS)) == "some-one/rar.book_2"


# --- what is refused


def test_a_raw_directive_in_a_notebook_does_not_get_through(tmp_path: Path, run: Path) -> None:
    hostile = tmp_path / "smoke"
    shutil.copytree(run, hostile)
    text = "# T\n\n```{raw} html\n<img src=x onerror=alert(1)>\n```"
    nbformat.write(new_notebook(cells=[new_markdown_cell(text)]), hostile / f"{FIRST}.ipynb")
    with pytest.raises(ReproduceError, match="onerror"):
        build(hostile, BOOK, tmp_path / "out", repo=REPO)


# --- in a real browser


def test_pages_work_in_a_browser(chrome: Any, html: Path, root: str) -> None:
    page = chrome.new_page()
    problems = watch(page, root)
    for path in pages(html):
        page.goto(root + path.name)
        wide = [too_wide(page, width) for width in (1280, 390)]
        problems += [f"{path.name} is {said}" for said in wide if said]
        if page.evaluate("typeof window.pwned") != "undefined":
            problems.append(f"{path.name} ran hostile text")
    assert problems == []


def test_the_rollouts_can_be_picked_in_the_book(chrome: Any, root: str) -> None:
    page = chrome.new_page(viewport={"width": 1400, "height": 900})
    problems = watch(page, root)
    page.goto(f"{root}rollouts.html")
    page.focus("#pick-run")
    page.keyboard.press("ArrowDown")
    assert "Chapter 11" in page.inner_text("#pick-run option:checked")
    page.keyboard.press("Tab")
    for _ in range(3):
        page.keyboard.press("ArrowDown")
    assert "Rollout 8 of step 3." in page.inner_text("#rollouts-shown")
    assert page.locator("article article").count() == 16  # two groups of eight, side by side
    for width in (400, 820, 1400):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        hidden = "all => all.filter(b => b.scrollWidth > b.clientWidth).length"
        assert page.eval_on_selector_all(".rollouts .scroll", hidden) == 0, width
    assert page.evaluate("typeof window.pwned") == "undefined"
    assert problems == []


def test_formulas_are_drawn(chrome: Any, root: str) -> None:
    page = chrome.new_page()
    page.goto(f"{root}{FIRST}.html")
    page.evaluate("document.fonts.ready.then(() => 0)")
    box = "(e => [e.width, e.height])(document.querySelector('%s').getBoundingClientRect())"
    width, height = page.evaluate(box % ".rar-equation mfrac")
    assert width > 20
    assert height > 25  # a fraction is taller than a line of text is high
    assert page.evaluate(
        "[...document.fonts].some(f => /RaR Math/.test(f.family) && f.status == 'loaded')"
    )


def test_search_finds_a_word(chrome: Any, root: str) -> None:
    page = chrome.new_page()
    page.goto(f"{root}search.html?q=wordgolem")
    page.wait_for_selector("#search-results li", timeout=10_000)
    assert "Rewards from rubrics" in page.inner_text("#search-results")


def test_an_injected_inline_script_is_stopped_by_the_policy(
    chrome: Any, html: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "html"
    shutil.copytree(html, copy)
    target = copy / "index.html"
    text = target.read_text(encoding="utf-8")
    bad = "<script>window.pwned = 1</script><img src=x onerror='window.pwned = 1'></article>"
    target.write_text(text.replace("</article>", bad, 1), encoding="utf-8")
    page = chrome.new_page()
    with served(copy) as address:
        for where in (target.resolve().as_uri(), address + "index.html"):
            page.goto(where)
            page.wait_for_load_state("networkidle")
            assert page.evaluate("typeof window.pwned") == "undefined"


#: What a narrow window changes: what must be scrolled, and what hides behind buttons.
NARROW = ("scrollable-region-focusable", "aria-hidden-focus", "button-name", "link-name")


@pytest.mark.parametrize(
    ("scheme", "width", "rules"),
    [("light", 1280, ()), ("dark", 1280, ("color-contrast",)), ("light", 390, NARROW)],
)
def test_no_page_has_a_serious_barrier(
    chrome: Any, html: Path, scheme: str, width: int, rules: tuple[str, ...]
) -> None:
    context = chrome.new_context(color_scheme=scheme, viewport={"width": width, "height": 900})
    page = context.new_page()
    found = []
    for path in [*pages(html), html / "search.html?q=wordgolem"]:
        page.goto(f"{html.resolve().as_uri()}/{path.name}")
        if "?" in path.name:
            page.wait_for_selector(".rar-excerpt", timeout=10_000)
        assert page.evaluate("document.documentElement.dataset.theme") == scheme
        found += [f"{path.name}: {barrier}" for barrier in barriers(page, *rules)]
    assert found == []


def test_barriers_are_found_where_there_are_some(chrome: Any) -> None:
    page = chrome.new_page()
    page.set_content(
        "<html lang=en><title>x</title><main><h1>x</h1><details><summary>x</summary>"
        "<p style='color: #aaa; background: #fff'>pale</p></details>"
        "<img src='data:image/png;base64,'><ul role='list'><p>x</p></ul></main>"
    )
    rules = {barrier.split(":")[0] for barrier in barriers(page)}
    assert {"color-contrast", "image-alt"} <= rules
    assert {b.split(":")[0] for b in barriers(page, "color-contrast")} == {"color-contrast"}


def test_a_figure_is_turned_over_where_it_is_dark(chrome: Any, html: Path) -> None:
    shades = {}
    for scheme in ("light", "dark"):
        page = chrome.new_context(color_scheme=scheme).new_page()
        page.goto((html / "04_can_the_judge_be_trusted.html").as_uri())
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(18, 18, 18)"}[scheme]
        figure = page.locator("figure img").first
        size = page.evaluate("i => [i.naturalWidth, i.clientWidth]", figure.element_handle())
        assert size[0] > 400
        shades[scheme] = ground_of(figure.screenshot())
    assert shades["light"] > 240
    assert shades["dark"] < 40


def ground_of(png_file: bytes) -> float:
    """The commonest shade of a picture, 0 black to 255 white."""
    picture = (plt.imread(io.BytesIO(png_file))[..., :3].mean(axis=-1) * 255).round()
    values, counts = np.unique(picture, return_counts=True)
    return float(values[counts.argmax()])
