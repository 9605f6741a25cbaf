"""Neighbouring folded cells that show nothing are one fold on a page, and nothing gets lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup
from sample import CELLS, SHOWS, name

from rar_lib.book.pages.editions import _finish_epub
from rar_lib.book.pages.folds import join_folds
from rar_lib.book.pages.gate import SVG

REPO = Path(__file__).resolve().parents[3]
BOOK = REPO / "book"
STEM = "07_training_with_grpo"
#: What the page shows as cells, each with the sources that it holds.
JOINED = [
    ["first = 1", "second = '<b>'\n\n\ndef f():\n    return 2", "third = 3"],
    [SHOWS],
    ["fourth = 4"],
    ["open_ = 5"],
    ["other = 6"],
    ["sixth = 7"],
    ["last = 8"],
]


@pytest.fixture(scope="module")
def article(html: Path) -> Any:
    page = BeautifulSoup((html / f"{STEM}.html").read_text(encoding="utf-8"), "html.parser")
    return page.select_one("article")


def test_neighbours_that_show_nothing_are_one_fold_with_the_code_of_all(article: Any) -> None:
    held = [cell.get_text().rstrip("\n") for cell in article.select(".cell_input pre")]
    assert held == ["\n\n".join(sources) for sources in JOINED]
    assert len(article.select("div.cell")) == len(JOINED)


def test_a_cell_that_shows_something_is_open_or_has_another_tag_stays_alone(article: Any) -> None:
    assert len(article.select("div.cell details")) == len(JOINED) - 1  # the open one
    output = article.select_one(".cell_output").find_parent(class_="cell")
    assert output["id"] == f"cell-{name(SHOWS)}"
    assert "tag_other" in article.find(id="cell-c-other")["class"]


def test_a_link_to_any_of_the_cells_arrives_at_their_fold(article: Any) -> None:
    for sources in JOINED:
        for source in sources:
            place = article.find(id=f"cell-{name(source)}")
            cell = place if "cell" in place.get("class", []) else place.parent
            assert source.split("\n")[0] in cell.get_text()
            assert not place.find_parent("details")  # what is folded cannot be led to everywhere
    assert len(article.select('[id^="cell-"]')) == sum(map(len, JOINED))


def test_numbers_and_captions_are_as_without_folds(article: Any) -> None:
    captions = [" ".join(caption.get_text().split()) for caption in article.select("caption")]
    assert captions == ["Table 7.1. A section: a, b."]


def test_the_notebook_that_is_downloaded_has_the_cells_apart(html: Path) -> None:
    text = (html / "_sources" / f"{STEM}.ipynb").read_text(encoding="utf-8")
    kept = ["".join(cell["source"]) for cell in json.loads(text)["cells"]]
    assert [source for source in CELLS if source and source not in kept] == []


def test_a_page_without_such_a_row_stays_as_it_is(html: Path) -> None:
    for page in html.glob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert join_folds(text) == text, page.name


def test_an_epub_has_the_same_folds_and_drawings_that_are_files(tmp_path: Path) -> None:
    fold = (
        '<div class="cell tag_hide-input docutils container" id="cell-{0}">\n'
        '<details class="admonition hide above-input">\n<summary>\n<p>Show</p>\n</summary>\n'
        '<div class="cell_input docutils container">\n<div class="highlight-ipython3 notranslate">'
        '<div class="highlight"><pre><span></span><span class="n">{0}</span>\n</pre></div>\n'
        "</div>\n</div>\n</details>\n</div>\n"
    )
    page = "<html><body>" + fold.format("a") + fold.format("b") + "</body></html>"
    parts = {
        "x.xhtml": page.encode(),
        "_images/drawn.svg": b'<svg class="rar-drawing"></svg>',
        "_images/figure.svg": f'<svg xmlns="{SVG}"></svg>'.encode(),
        "content.opf": b"<manifest></manifest>",
        "_static/epub.css": b"",
        "_static/rar.css": b"",
    }
    _finish_epub(parts, BOOK, tmp_path, tmp_path)
    made = BeautifulSoup(parts["x.xhtml"].decode(), "html.parser")
    assert [pre.get_text() for pre in made.select("pre")] == ["a\n\nb\n"]
    assert made.find(id="cell-b") is not None
    for drawing in ("drawn", "figure"):
        assert parts[f"_images/{drawing}.svg"].count(f'xmlns="{SVG}"'.encode()) == 1
