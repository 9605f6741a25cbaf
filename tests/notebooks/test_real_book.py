"""The book made of the notebooks that were just run with a real model, looked at in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from browser import barriers, too_wide, watch
from bs4 import BeautifulSoup

from rar_lib.book.build import build
from rar_lib.book.profiles import load
from rar_lib.book.reproduce import reproduce

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "_build" / "smoke"
CHAPTERS = sorted(p.stem for p in (ROOT / "notebooks").glob("*.ipynb"))
pytestmark = [pytest.mark.model, pytest.mark.timeout(2400)]


@pytest.fixture(scope="module")
def html() -> Path:
    reproduce(load("smoke"), notebooks=ROOT / "notebooks", out=OUT)
    return build(OUT, ROOT / "book", OUT / "book", repo=ROOT)


def test_every_chapter_is_a_page(html: Path) -> None:
    assert all((html / f"{stem}.html").exists() for stem in CHAPTERS)


PROSE = ["conventions", "glossary", "status", "after", "study", "rollouts", "bibliography"]
PAGES = ["index", *PROSE, *CHAPTERS]


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("stem", PAGES)
def test_a_page_as_a_reader_sees_it(html: Path, chrome: Any, stem: str, width: int) -> None:
    page = chrome.new_page(viewport={"width": width, "height": 900})
    problems = watch(page, html.resolve().as_uri())
    page.goto((html / f"{stem}.html").as_uri())
    assert problems == []
    assert too_wide(page, width) is None
    sizes = page.eval_on_selector_all(
        "article img", "found => found.map(i => [i.naturalWidth, i.clientWidth])"
    )
    assert all(natural > 0 and shown > 0 for natural, shown in sizes)
    if stem in CHAPTERS:
        assert sizes, "no figure on the page"
        assert page.locator("article table").count() > 0
        assert "Traceback" not in page.inner_text("article")


@pytest.mark.parametrize(("scheme", "rules"), [("light", ()), ("dark", ("color-contrast",))])
@pytest.mark.parametrize("stem", PAGES)
def test_no_page_has_a_serious_barrier(
    html: Path, chrome: Any, stem: str, scheme: str, rules: tuple[str, ...]
) -> None:
    page = chrome.new_context(color_scheme=scheme).new_page()
    page.goto((html / f"{stem}.html").as_uri())
    assert page.evaluate("document.documentElement.dataset.theme") == scheme
    assert barriers(page, *rules) == []


@pytest.mark.parametrize("stem", PAGES)
def test_every_figure_has_an_alternative_text_of_its_own(html: Path, stem: str) -> None:
    soup = BeautifulSoup((html / f"{stem}.html").read_text("utf-8"), "html.parser")
    texts = [image.get("alt", "") for image in soup.select("article img")]
    texts += [drawn.get("aria-label", "") for drawn in soup.select('article svg[role="img"]')]
    assert all(text.strip() for text in texts)
    assert sorted(texts) == sorted(set(texts))


@pytest.mark.parametrize("stem", PAGES)
def test_every_equation_is_drawn(html: Path, chrome: Any, stem: str) -> None:
    page = chrome.new_page(viewport={"width": 1280, "height": 900})
    page.goto((html / f"{stem}.html").as_uri())
    page.eval_on_selector_all("details", "found => found.forEach(d => d.open = true)")
    sizes = page.eval_on_selector_all(
        "article .rar-equation > math",
        "found => found.map(e => e.getBoundingClientRect()).map(r => [r.width, r.height])",
    )
    assert all(width > 0 and height > 0 for width, height in sizes)
    if stem in ("index", "conventions"):
        assert sizes


#: Tables that the reader can't see whole, and that do not say so: their first words.
HIDING = """() => {
  document.querySelectorAll('details').forEach(d => d.open = true);
  const scrolls = e => /(auto|scroll)/.test(getComputedStyle(e).overflowX);
  return new Promise(done => setTimeout(() => done(
    [...document.querySelectorAll('article table')].filter(t => t.offsetParent).filter(t => {
      let box = t.parentElement;
      while (box.tagName !== 'ARTICLE' && !scrolls(box)) box = box.parentElement;
      if (box.scrollWidth <= box.clientWidth + 1) return false;
      const hint = box.previousElementSibling;
      return !(hint && hint.classList.contains('rar-hint') && hint.offsetHeight);
    }).map(t => t.innerText.slice(0, 80))
  ), 200));
}"""


@pytest.mark.parametrize("width", [400, 820, 1400])
@pytest.mark.parametrize("stem", PAGES)
def test_no_table_hides_a_column_without_a_hint(
    html: Path, chrome: Any, stem: str, width: int
) -> None:
    page = chrome.new_page(viewport={"width": width, "height": 900})
    page.goto((html / f"{stem}.html").as_uri())
    assert page.evaluate(HIDING) == []


#: Share of the page's height that open code takes; what is folded takes none.
CODE = """() => [...document.querySelectorAll('article .cell_input')]
  .filter(e => e.checkVisibility())
  .reduce((sum, e) => sum + e.offsetHeight, 0) / document.querySelector('article').offsetHeight"""


@pytest.mark.parametrize("stem", CHAPTERS)
def test_prose_and_results_are_at_least_two_thirds_of_a_chapter(
    html: Path, chrome: Any, stem: str
) -> None:
    page = chrome.new_page(viewport={"width": 1280, "height": 900})
    page.goto((html / f"{stem}.html").as_uri())
    assert page.evaluate(CODE) <= 1 / 3


def test_every_link_within_the_book_leads_to_a_place_that_is_there(html: Path) -> None:
    pages = {p: BeautifulSoup(p.read_text("utf-8"), "html.parser") for p in html.glob("*.html")}
    places = {p.resolve(): {e["id"] for e in soup.select("[id]")} for p, soup in pages.items()}
    broken = []
    for path, soup in pages.items():
        for link in soup.select("a[href]"):
            address = urlsplit(link["href"])
            if address.scheme or address.netloc:
                continue
            target = (path.parent / unquote(address.path)).resolve() if address.path else path
            there = target.resolve().exists()
            if there and address.fragment and target.suffix == ".html":
                there = unquote(address.fragment) in places[target.resolve()]
            if not there:
                broken.append(f"{path.name}: {link['href']}")
    assert broken == []
