"""The book made of the notebooks that were just run with a real model, looked at in a browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import browser, chromium

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


@pytest.fixture(scope="module")
def chrome() -> Iterator[Any]:
    if chromium() is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    with browser() as running:
        yield running


def test_every_chapter_is_a_page(html: Path) -> None:
    assert all((html / f"{stem}.html").exists() for stem in CHAPTERS)


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("stem", ["index", "conventions", "glossary", "status", *CHAPTERS])
def test_a_page_as_a_reader_sees_it(html: Path, chrome: Any, stem: str, width: int) -> None:
    complaints: list[str] = []
    page = chrome.new_page(viewport={"width": width, "height": 900})
    page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda e: complaints.append(str(e)))
    page.on(
        "request",
        lambda r: None if r.url.startswith(("file:", "data:")) else complaints.append(r.url),
    )
    page.goto((html / f"{stem}.html").as_uri())
    assert complaints == []
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
    sizes = page.eval_on_selector_all(
        "article img", "found => found.map(i => [i.naturalWidth, i.clientWidth])"
    )
    assert all(natural > 0 and shown > 0 for natural, shown in sizes)
    if stem in CHAPTERS:
        assert sizes, "no figure on the page"
        assert page.locator("article table").count() > 0
        assert "Traceback" not in page.inner_text("article")
    page.close()
