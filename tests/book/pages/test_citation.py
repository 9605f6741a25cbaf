"""The book says how it is cited, and who its authors are."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup

from rar_lib.book.pages.citation import citation
from rar_lib.book.pages.editions import print_page

FIRST = "01_rewards_from_rubrics"
AUTHORS = "The authors of rar-lib"


def pages(html: Path) -> list[Path]:
    return sorted(html.glob("*.html"))


def soup(path: Path) -> Any:
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def test_a_citation_has_the_version_of_the_package_and_what_the_configuration_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rar_lib.book.pages.citation.version", {"rar-lib": "7.8.9"}.get)
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
