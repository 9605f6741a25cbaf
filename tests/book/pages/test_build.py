"""The book: built from executed notebooks, safe, self-contained, readable in a real browser."""

from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
from browser import barriers, served, too_wide, watch
from bs4 import BeautifulSoup
from sample import new_markdown_cell, new_notebook

from rar_lib.book.pages import build as building
from rar_lib.book.pages.build import _notebooks, build, chapters, input_key
from rar_lib.book.reproduce import SCHEMA
from rar_lib.core.errors import ReproduceError
from rar_lib.core.files import file_hash

REPO = Path(__file__).resolve().parents[3]
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
    assert build(run, BOOK, run.parent / "out", repo=REPO) == html
    assert (html / "index.html").stat().st_mtime_ns == stamp
    assert "unchanged" in caplog.text


def test_missing_notebooks_are_named_with_the_command(tmp_path: Path, run: Path) -> None:
    partial = tmp_path / "laptop"
    shutil.copytree(run, partial)
    (partial / "08_evaluation.ipynb").unlink()
    with pytest.raises(ReproduceError, match=r"08_evaluation\. Run: make reproduce"):
        build(partial, BOOK, tmp_path / "out", repo=REPO)


def test_no_page_is_made_of_a_copy_that_is_not_as_its_run_left_it(
    tmp_path: Path, run: Path
) -> None:
    """Edited by hand, or half in its place when a run was killed."""
    other = tmp_path / "laptop"
    shutil.copytree(run, other)
    copy = other / f"{FIRST}.ipynb"
    left = {"schema": SCHEMA, "sha256": file_hash(copy), "data": {}}
    copy.with_suffix(".json").write_text(json.dumps(left))
    assert set(_notebooks(other, BOOK, REPO)) > {FIRST}
    copy.write_text(copy.read_text() + " ")
    with pytest.raises(ReproduceError, match=rf"{FIRST}: the executed copy was changed since"):
        build(other, BOOK, tmp_path / "out", repo=REPO)


#: Directives that bring markup or a file into a page; the file is there, beside the book.
BRINGING = {
    "raw": "```{raw} html\n<b>bold</b>\n```",
    "raw of a file": "```{raw} html\n:file: ../../secret.txt\n```",
    "include": ":::{include} ../../secret.txt\n:::",
    "literalinclude": "```{literalinclude} ../../secret.txt\n```",
    "csv-table": "```{csv-table}\n:file: ../../secret.txt\n```",
    "raw of another language": "```{eval-rst}\n.. raw:: html\n\n   <b>bold</b>\n```",
    "include of another language": "```{eval-rst}\n.. include:: ../../secret.txt\n```",
}


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory, run: Path) -> tuple[str, Path]:
    """What is said of a book with faults in its prose and in a chapter, and where it would be."""
    root = tmp_path_factory.mktemp("refused")
    book = root / "book"
    out = root / "out"
    shutil.copytree(BOOK, book)
    shutil.copytree(run, root / "smoke")
    (out / "html").mkdir(parents=True)
    (out / "html" / "index.html").write_text("the old book")
    glossary = book / "glossary.md"
    glossary.write_text(glossary.read_text() + "\n{ref}`no-such-place` and $\\nosuchcommand{x}$\n")
    (root / "secret.txt").write_text("xyzzy,1\n")
    cells = [new_markdown_cell("# T"), *map(new_markdown_cell, BRINGING.values())]
    nbformat.write(new_notebook(cells=cells), root / "smoke" / f"{FIRST}.ipynb")
    with pytest.raises(ReproduceError) as caught:
        build(root / "smoke", book, out, repo=REPO)
    return str(caught.value), out


def test_a_broken_reference_fails_the_build_and_leaves_the_old_book(
    refused: tuple[str, Path],
) -> None:
    said, out = refused
    assert "no-such-place" in said
    assert "nosuchcommand" in said
    assert "glossary.md" in said
    assert (out / "html" / "index.html").read_text() == "the old book"


def test_no_directive_brings_a_file_or_markup_into_a_page(refused: tuple[str, Path]) -> None:
    said, _ = refused
    found = re.findall(r":(\d)000\d: WARNING: .*(?:disabled|deactivated)", said)
    assert len(set(found)) == len(BRINGING), said  # a warning for each cell
    assert "xyzzy" not in said


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


def test_what_a_terminal_would_obey_reaches_no_page(html: Path) -> None:
    for name in (f"{HOSTILE_PAGE}.html", "rollouts.html", f"{HOSTILE_PAGE}.md", "llms.txt"):
        text = (html / name).read_text(encoding="utf-8")
        assert not re.findall(r"[\x00-\x08\x0b-\x1f\x7f]", text), name


def test_a_directive_in_an_output_is_text(html: Path) -> None:
    said = soup(html / f"{HOSTILE_PAGE}.html").select_one("article").get_text()
    assert said.count(":::{include} conventions.md") == 3
    assert said.count("```{raw} html") == 2
    included = soup(html / "conventions.html").select_one("article h2").get_text().strip("#")
    assert included not in said


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
    assert "profile smoke · 2 CPU cores, 24 GB · 2026-11-22 00:00 · 12\u00a0s" in line
    status = soup(html / "status.html").select_one("article").get_text()
    assert "2.13.0+cpu" in status
    assert "1,234" in status  # replies that the run added to the record


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


# --- what makes another book


def test_a_run_that_changed_makes_another_book(tmp_path: Path, run: Path) -> None:
    copy = tmp_path / "smoke"
    shutil.copytree(run, copy)
    before = input_key(BOOK, copy, [FIRST])
    assert input_key(BOOK, run, [FIRST]) == before
    path = copy / "data" / "grpo" / "rollouts.jsonl"
    path.write_text(path.read_text() + "\n")
    assert input_key(BOOK, copy, [FIRST]) != before


@pytest.mark.parametrize(
    "module", ["pages/gate.py", "report.py", "pages/build.py", "figures.py", "report.css"]
)
def test_what_decides_how_a_page_looks_makes_another_book(
    module: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gate that is made stricter is applied to chapters that were executed before."""
    room = tmp_path / "library" / "book"
    shutil.copytree(Path(building.__file__).parents[1], room)
    monkeypatch.setattr(building, "__file__", str(room / "pages" / "build.py"))
    before = input_key(BOOK, run, [FIRST])
    path = room / module
    path.write_text(path.read_text() + "\n")
    assert input_key(BOOK, run, [FIRST]) != before


def test_a_file_that_moves_to_another_room_makes_another_book(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many rooms have files of one name."""
    library = tmp_path / "library"
    monkeypatch.setattr(building, "__file__", str(library / "book" / "pages" / "build.py"))
    keys = set()
    for held in (
        {"core": "one", "data": "two"},
        {"core": "two", "data": "one"},
        {"core": "one"},
        {"data": "one"},
    ):
        shutil.rmtree(library, ignore_errors=True)
        for room, text in held.items():
            (library / room).mkdir(parents=True)
            (library / room / "__init__.py").write_text(text)
        keys.add(input_key(tmp_path / "book", tmp_path / "run", []))
    assert len(keys) == 4


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


def different(run: Path, html: Path) -> list[Path]:
    """The pages, but of the chapters of a title and a word one alone: they look alike."""
    bare = []
    for page in pages(html):
        chapter = run / f"{page.stem}.ipynb"
        if chapter.is_file() and len(nbformat.read(chapter, as_version=4)["cells"]) == 1:
            bare.append(page)
    assert len(bare) > 1
    return [page for page in pages(html) if page not in bare[1:]]


# The two views that the real book's own test leaves out (tests/notebooks/test_real_book.py).
@pytest.mark.parametrize(("scheme", "width"), [("dark", 1280), ("light", 390)])
def test_no_page_has_a_serious_barrier(
    chrome: Any, run: Path, html: Path, scheme: str, width: int
) -> None:
    context = chrome.new_context(color_scheme=scheme, viewport={"width": width, "height": 900})
    page = context.new_page()
    found = []
    for path in [*different(run, html), html / "search.html?q=wordgolem"]:
        page.goto(f"{html.resolve().as_uri()}/{path.name}")
        if "?" in path.name:
            page.wait_for_selector(".rar-excerpt", timeout=10_000)
        assert page.evaluate("document.documentElement.dataset.theme") == scheme
        found += [f"{path.name}: {barrier}" for barrier in barriers(page)]
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


def test_of_coloured_code_each_kind_of_token_is_looked_at_on_each_ground(chrome: Any) -> None:
    page = chrome.new_page()
    line = "<pre><span class=k>for</span> <span class=k>in</span></pre>"
    page.set_content(
        "<html lang=en><title>x</title><style>.k { color: #767676 }</style><main><h1>x</h1>"
        f"<div class=a style='background: #fff'>{line}</div>"
        f"<div class=b style='background: #999'>{line}</div></main>"
    )
    (found,) = barriers(page, "color-contrast")  # it can be read on white alone
    assert ">for</span>" in found
    assert page.locator(".k").count() == 2


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
