"""The book made of the notebooks that were just run with a real model, looked at in a browser."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from browser import barriers, rest, too_wide, wake, watch
from bs4 import BeautifulSoup
from shots import LETTER_PX, letters

from rar_lib.book.pages.build import build
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


@dataclass(frozen=True)
class Shown:
    """A page of the book in a light window, and what went wrong since it was asked for."""

    stem: str
    tab: Any
    problems: list[str]

    def wide(self, width: int) -> Any:
        """The page in a window of ``width`` px."""
        self.tab.set_viewport_size({"width": width, "height": 900})
        return self.tab


@pytest.fixture(scope="module", params=PAGES)
def opened(
    request: pytest.FixtureRequest, html: Path, chromium_of_this_worker: Any
) -> Iterator[Shown]:
    """Each page once, for all tests that look at it: the long ones take seconds to load."""
    wake(chromium_of_this_worker)
    context = chromium_of_this_worker.new_context(viewport={"width": 1280, "height": 900})
    tab = context.new_page()
    problems = watch(tab, html.resolve().as_uri())
    tab.goto((html / f"{request.param}.html").as_uri())
    rest()
    yield Shown(request.param, tab, problems)
    wake(chromium_of_this_worker)
    context.close()
    rest()


@pytest.fixture
def shown(opened: Shown, chromium_of_this_worker: Any) -> Iterator[Shown]:
    wake(chromium_of_this_worker)
    yield opened
    rest()


@pytest.mark.parametrize("width", [1280, 390])
def test_a_page_as_a_reader_sees_it(shown: Shown, width: int) -> None:
    page = shown.wide(width)
    assert shown.problems == []
    assert too_wide(page, width) is None
    sizes = page.eval_on_selector_all(
        "article img", "found => found.map(i => [i.naturalWidth, i.clientWidth])"
    )
    assert all(natural > 0 and width > 0 for natural, width in sizes)
    if shown.stem in CHAPTERS:
        assert sizes, "no figure on the page"
        assert page.locator("article table").count() > 0
        assert "Traceback" not in page.inner_text("article")


def test_on_a_telephone_the_letters_of_every_figure_can_be_read(html: Path, shown: Shown) -> None:
    page = shown.wide(400)
    found = letters(page, html)
    assert min(found, default=LETTER_PX) >= LETTER_PX
    assert too_wide(page, 400) is None
    if shown.stem in (*CHAPTERS, "index"):
        assert found


def test_a_telephone_shows_the_picture_of_a_step_whole(html: Path, chrome: Any) -> None:
    page = chrome.new_page(viewport={"width": 390, "height": 900})
    page.goto((html / "07_training_with_grpo.html").as_uri())
    wide = page.eval_on_selector("#figure-7-1 > div", "e => [e.scrollWidth, e.clientWidth]")
    assert wide[0] == wide[1]


#: Words that the search must find in the text of a page: no title has them.
SOUGHT = {"pigeonhole": "What the paper leaves open", "pseudocode": "Training with GRPO"}


@pytest.mark.parametrize("word", SOUGHT)
def test_the_search_finds_a_word_of_the_text_and_quotes_it(
    html: Path, chrome: Any, word: str
) -> None:
    page = chrome.new_page()
    problems = watch(page, html.resolve().as_uri())
    page.goto(f"{html.resolve().as_uri()}/search.html?q={word}")
    hit = page.locator("#search-results li").filter(has_text=SOUGHT[word])
    hit.locator("mark").first.wait_for(timeout=10_000)
    assert hit.locator("mark").first.inner_text() == word
    assert problems == []


@pytest.mark.parametrize("stem", PAGES)
def test_every_figure_has_an_alternative_text_of_its_own(html: Path, stem: str) -> None:
    soup = BeautifulSoup((html / f"{stem}.html").read_text("utf-8"), "html.parser")
    texts = [image.get("alt", "") for image in soup.select("article img")]
    texts += [drawn.get("aria-label", "") for drawn in soup.select('article svg[role="img"]')]
    assert all(text.strip() for text in texts)
    assert sorted(texts) == sorted(set(texts))


#: The width and height of each equation; what is folded is opened for it.
EQUATIONS = """() => {
  const folded = [...document.querySelectorAll('details:not([open])')];
  folded.forEach(d => d.open = true);
  const sizes = [...document.querySelectorAll('article .rar-equation > math')]
    .map(e => e.getBoundingClientRect()).map(r => [r.width, r.height]);
  folded.forEach(d => d.open = false);
  return sizes;
}"""


def test_every_equation_is_drawn(shown: Shown) -> None:
    sizes = shown.wide(1280).evaluate(EQUATIONS)
    assert all(width > 0 and height > 0 for width, height in sizes)
    if shown.stem in ("index", "conventions"):
        assert sizes


#: Until the page has drawn itself anew: what observes a size or a theme has then seen it.
FRAMES = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
#: Tables that the reader can't see whole, and that do not say so: their first words.
HIDING = """() => {
  const folded = [...document.querySelectorAll('details:not([open])')];
  folded.forEach(d => d.open = true);
  const scrolls = e => /(auto|scroll)/.test(getComputedStyle(e).overflowX);
  const hides = t => {
    let box = t.parentElement;
    while (box.tagName !== 'ARTICLE' && !scrolls(box)) box = box.parentElement;
    if (box.scrollWidth <= box.clientWidth + 1) return false;
    const hint = box.previousElementSibling;
    return !(hint && hint.classList.contains('rar-hint') && hint.offsetHeight);
  };
  return FRAMES.then(() => {
    const tables = [...document.querySelectorAll('article table')].filter(t => t.offsetParent);
    const hidden = tables.filter(hides).map(t => t.innerText.slice(0, 80));
    folded.forEach(d => d.open = false);
    return hidden;
  });
}""".replace("FRAMES", FRAMES)


#: Of each shown claim of the ledger: the width of its cell, and how many lines it takes.
CLAIMS = """() => [...document.querySelectorAll('article td[data-label="claim"]')]
  .filter(cell => cell.checkVisibility())
  .map(cell => {
    const words = document.createRange();
    words.selectNodeContents(cell);
    return [cell.offsetWidth, new Set([...words.getClientRects()].map(r => r.top)).size];
  })"""


@pytest.mark.parametrize("width", [1300, 1400])
def test_a_claim_of_the_ledger_has_room_and_leaves_the_contents_free(
    html: Path, chrome: Any, width: int
) -> None:
    page = chrome.new_page(viewport={"width": width, "height": 900})
    page.goto((html / "10_paper_against_here.html").as_uri())
    rooms = page.evaluate(CLAIMS)
    assert len(rooms) > 50
    assert min(wide for wide, _ in rooms) >= 240
    assert max(lines for _, lines in rooms) <= 5
    contents = page.eval_on_selector(".bd-sidebar-secondary", "e => e.getBoundingClientRect().left")
    ends = page.eval_on_selector_all(
        "article .rar-scroll", "found => found.map(e => e.getBoundingClientRect().right)"
    )
    assert max(ends) <= contents


@pytest.mark.parametrize("width", [400, 820, 1400])
def test_no_table_hides_a_column_without_a_hint(shown: Shown, width: int) -> None:
    assert shown.wide(width).evaluate(HIDING) == []


#: Share of the page's height that open code takes; what is folded takes none.
CODE = """() => [...document.querySelectorAll('article .cell_input')]
  .filter(e => e.checkVisibility())
  .reduce((sum, e) => sum + e.offsetHeight, 0) / document.querySelector('article').offsetHeight"""


def test_prose_and_results_are_at_least_two_thirds_of_a_page(shown: Shown) -> None:
    assert shown.wide(1280).evaluate(CODE) <= 1 / 3


# The last of those that share a page, since it changes it. Every page once in each colour and each
# width; the small book has the other two views.
@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_no_page_has_a_serious_barrier(shown: Shown, scheme: str, width: int) -> None:
    page = shown.wide(width)
    page.emulate_media(color_scheme=scheme)
    page.evaluate(FRAMES)  # with the next one the page takes its other colours
    assert page.evaluate("document.documentElement.dataset.theme") == scheme
    assert barriers(page) == []


def anchors(soup: BeautifulSoup) -> set[Any]:
    """The ids that a link to the page may name."""
    return {element["id"] for element in soup.select("[id]")}


def test_every_link_within_the_book_leads_to_a_place_that_is_there(html: Path) -> None:
    pages = {p: BeautifulSoup(p.read_text("utf-8"), "html.parser") for p in html.glob("*.html")}
    places = {p.resolve(): anchors(soup) for p, soup in pages.items()}
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
