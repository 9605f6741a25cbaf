"""Links to Colab and Binder: in every chapter where the book names a repository, else nowhere."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup

from rar_lib.book.pages.build import build
from rar_lib.book.pages.editions import print_page
from rar_lib.book.pages.gate import check_page
from rar_lib.book.pages.links import elsewhere, repository
from rar_lib.core.errors import ReproduceError

REPO = Path(__file__).resolve().parents[3]
BOOK = REPO / "book"
FIRST = "01_rewards_from_rubrics"
HOSTILE_PAGE = "02_writing_rubrics"


def pages(html: Path) -> list[Path]:
    return sorted(html.glob("*.html"))


def soup(path: Path) -> Any:
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


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

    monkeypatch.setattr("rar_lib.book.pages.build._render", rendered)
    book = with_address(tmp_path / "book", ADDRESS)
    out = tmp_path / "out"
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
