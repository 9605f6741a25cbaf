"""An exercise on a page: numbered, with an executed solution that is folded until asked for."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from browser import browser, chromium, served
from bs4 import BeautifulSoup
from sample import END, exercise, new_markdown_cell, new_notebook

from rar_lib.book.pages.build import build
from rar_lib.core.errors import ReproduceError

REPO = Path(__file__).resolve().parents[3]
BOOK = REPO / "book"
CHAPTER = "05_down_to_the_criterion"


@pytest.fixture(scope="module")
def article(html: Path) -> Any:
    text = (html / f"{CHAPTER}.html").read_text(encoding="utf-8")
    return BeautifulSoup(text, "html.parser").select_one("article")


def said(element: Any) -> str:
    return " ".join(element.get_text().split())


def test_exercises_are_numbered_with_their_chapter_and_can_be_referred_to(article: Any) -> None:
    titles = [said(t) for t in article.select(".exercise > .admonition-title")]
    assert titles == ["Exercise 5.1 (One verdict at a time)", "Exercise 5.2 (Two)"]
    link = article.select_one('p > a[href="#ex-two"]')
    assert said(link) == "Exercise 5.2"
    assert article.select_one(link["href"])


def test_each_solution_follows_its_exercise_and_holds_what_its_cells_gave(article: Any) -> None:
    for number, one in enumerate(article.select(".exercise"), 1):
        assert "dropdown" in one.find_next_sibling()["class"]
        assert one.find_next_sibling()["id"] == f"{one['id']}-solution"
        assert one.find_next_sibling() == article.select(".solution")[number - 1]
    first, second = article.select(".solution")
    assert said(first.select_one(".cell_input")).startswith("tables.table(rows)")
    assert first.select_one(".cell_output table")
    assert "hedgehogword" in said(first)
    assert second.select_one(".cell_output img")
    assert said(second).endswith("So it is.")
    assert len(article.select(".cell")) == len(article.select(".solution .cell")) + 1


def test_tables_and_figures_of_a_solution_say_whose_they_are(article: Any) -> None:
    captions = [said(c) for c in article.select(".solution caption, .solution figcaption")]
    assert captions == [
        "Table 5.2. Solution of Exercise 5.1: verdict, reward.",
        "Figure 5.1. Solution of Exercise 5.2: x.",
    ]


def test_no_id_is_used_twice_and_headings_are_those_of_the_chapter(article: Any) -> None:
    ids = [e["id"] for e in article.select("[id]")]
    assert len(ids) == len(set(ids))
    assert [said(h).rstrip("#") for h in article.select("h2")] == [
        "5.1. What we learnt",
        "5.2. Exercises",
    ]
    assert all(section.find(re.compile("^h[1-6]$")) for section in article.select("section"))


def test_the_style_of_exercises_lies_beside_the_page_and_loads_nothing(html: Path) -> None:
    page = BeautifulSoup((html / f"{CHAPTER}.html").read_text(encoding="utf-8"), "html.parser")
    assert page.select('link[href^="_static/exercise.css"]')
    style = (html / "_static" / "exercise.css").read_text(encoding="utf-8")
    assert not re.search(r"url\(|@import|https?:", style)


def test_the_text_that_the_search_quotes_reads_well(html: Path) -> None:
    script = (html / "_static" / "rar_texts.js").read_text(encoding="utf-8")
    texts = json.loads(script.split("=", 1)[1].rstrip().rstrip(";"))
    assert "Exercise One verdict at a time What is lost?" in texts[CHAPTER]["text"]


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (f"# T\n\n{exercise('ex-a', 'A')}", "solution-end"),
        (
            f"# T\n\n:::{{solution-start}} ex-no\n:class: dropdown\n:::\n\nx\n\n{END}",
            "ex-no",
        ),
    ],
    ids=["not closed", "of no exercise"],
)
def test_a_broken_solution_stops_the_build(
    tmp_path: Path, run: Path, broken: str, why: str
) -> None:
    copy = tmp_path / "smoke"
    shutil.copytree(run, copy)
    nbformat.write(new_notebook(cells=[new_markdown_cell(broken)]), copy / f"{CHAPTER}.ipynb")
    with pytest.raises(ReproduceError, match=why):
        build(copy, BOOK, tmp_path / "out", repo=REPO)


# --- in a real browser


@pytest.fixture(scope="module")
def chrome() -> Iterator[Any]:
    if chromium() is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    with browser() as running:
        yield running


@pytest.fixture(params=["file", "http"])
def page(request: pytest.FixtureRequest, html: Path, chrome: Any) -> Iterator[Any]:
    """The chapter, from disk and from a server; nothing may be complained of."""
    problems: list[str] = []
    shown_page = chrome.new_page()
    shown_page.on("pageerror", lambda e: problems.append(str(e)))
    shown_page.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
    shown_page.on("requestfailed", lambda r: problems.append(f"failed: {r.url}"))
    if request.param == "file":
        shown_page.goto((html / f"{CHAPTER}.html").resolve().as_uri())
        yield shown_page
    else:
        with served(html) as address:
            shown_page.goto(f"{address}{CHAPTER}.html")
            yield shown_page
    shown_page.close()
    assert problems == []


FOLDED = ".solution .cell_input >> nth=0"


@pytest.mark.browser
def test_a_solution_is_hidden_until_its_title_is_clicked(page: Any) -> None:
    solution = page.locator(FOLDED)
    assert not solution.is_visible()
    assert page.locator("#ex-one").get_by_text("What is lost?").is_visible()
    page.click("#ex-one-solution > .admonition-title")
    solution.wait_for(state="visible")
    assert page.locator("#ex-one-solution table").is_visible()
    assert not page.locator("#ex-two-solution img").is_visible()  # the other one stays folded
    page.click("#ex-one-solution > .admonition-title")
    solution.wait_for(state="hidden")


@pytest.mark.browser
def test_a_solution_opens_by_the_keyboard_and_says_whether_it_is_open(page: Any) -> None:
    button = page.locator("#ex-one-solution button.toggle-button")
    assert button.get_attribute("aria-expanded") == "false"
    button.focus()
    page.keyboard.press("Enter")
    page.locator(FOLDED).wait_for(state="visible")
    assert button.get_attribute("aria-expanded") == "true"


@pytest.mark.browser
def test_code_that_scrolls_in_an_open_solution_can_be_reached_by_the_keyboard(page: Any) -> None:
    page.click("#ex-one-solution > .admonition-title")
    page.wait_for_function(
        "(e => e.scrollWidth > e.clientWidth && e.tabIndex === 0)"
        "(document.querySelector('#ex-one-solution .cell_input pre'))"
    )


@pytest.mark.browser
def test_a_reference_leads_to_the_exercise(page: Any) -> None:
    page.click('article p > a[href="#ex-two"]')
    assert page.url.endswith("#ex-two")
    assert page.locator("#ex-two > .admonition-title").is_visible()
