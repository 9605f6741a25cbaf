"""The book made of the notebooks that were just run with a real model, looked at in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from browser import barriers, too_wide, watch

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


PAGES = ["index", "conventions", "glossary", "status", *CHAPTERS]


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
@pytest.mark.parametrize("stem", [*PAGES, "rollouts", "bibliography"])
def test_no_page_has_a_serious_barrier(
    html: Path, chrome: Any, stem: str, scheme: str, rules: tuple[str, ...]
) -> None:
    page = chrome.new_context(color_scheme=scheme).new_page()
    page.goto((html / f"{stem}.html").as_uri())
    assert page.evaluate("document.documentElement.dataset.theme") == scheme
    assert barriers(page, *rules) == []
