"""The book: built from executed notebooks, safe, self-contained, readable in a real browser."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import time
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
from browser import barriers, served, too_wide, watch
from bs4 import BeautifulSoup
from kept import write_kept
from sample import code, drawing, new_markdown_cell, new_notebook, new_output, png, shown

from rar_lib.book import figures
from rar_lib.book.build import (
    active_content,
    align_numbers,
    build,
    chapters,
    check_page,
    clean_notebook,
    clean_svg,
    fill,
    input_key,
    kept_runs,
    png_width,
    run_line,
    status_page,
)
from rar_lib.book.tables import made_by
from rar_lib.core.errors import ReproduceError

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
    assert time.perf_counter() - started < 1.0
    assert (html / "index.html").stat().st_mtime_ns == stamp
    assert "unchanged" in caplog.text


def test_missing_notebooks_are_named_with_the_command(tmp_path: Path, run: Path) -> None:
    partial = tmp_path / "laptop"
    shutil.copytree(run, partial)
    (partial / "07_evaluation.ipynb").unlink()
    with pytest.raises(ReproduceError, match=r"07_evaluation\. Run: make reproduce"):
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


def test_a_run_without_a_record_says_so() -> None:
    assert "not recorded" in run_line(None)
    assert "not recorded" in status_page({"01_x": None}, {"01_x": "X"})


def test_no_absolute_path_reaches_a_page(tmp_path: Path) -> None:
    cell = code("p", new_output("stream", name="stdout", text=f"{REPO}/results/x.json\n"))
    cell.metadata["papermill"] = {"note": str(REPO)}
    notebook = new_notebook(cells=[cell], metadata={"papermill": {"input_path": str(REPO)}})
    cleaned = clean_notebook(json.loads(nbformat.writes(notebook)), "01_x.ipynb", REPO, "")
    assert str(REPO) not in json.dumps(cleaned)
    assert "results/x.json" in json.dumps(cleaned)


def test_number_columns_are_aligned_with_their_titles() -> None:
    html_text = (
        "<table class='dataframe'><thead><tr><th></th><th>arm</th><th>reward</th></tr></thead>"
        "<tbody><tr><th>0</th><td>implicit</td><td>0.76 [0.50, 0.90]</td></tr>"
        "<tr><th>1</th><td>7</td><td>−1.5</td></tr></tbody></table>"
    )
    marked = BeautifulSoup(align_numbers(html_text), "html.parser").select(".num")
    assert [cell.get_text() for cell in marked] == ["reward", "0.76 [0.50, 0.90]", "−1.5"]


def test_what_ran_is_said_under_the_title_and_not_again_by_parameters_and_banner() -> None:
    cells = [
        code("profile = 'laptop'", tags=("parameters",)),
        code("profile = 'smoke'", tags=("injected-parameters",)),
    ]
    notebook = json.loads(nbformat.writes(new_notebook(cells=cells)))
    cleaned = clean_notebook(notebook, "01_x.ipynb", REPO, "")
    (cell,) = cleaned["cells"]  # it stays in the file, which can be run
    assert "".join(cell["source"]) == "profile = 'smoke'"
    assert "remove-cell" in cell["metadata"]["tags"]


def test_of_the_first_output_the_banner_alone_goes() -> None:
    said = f"{made_by('smoke')}\njudges: one; two\nprofile x; y; today\n"
    banner = new_output("stream", name="stdout", text=f"{made_by('laptop')}\n")
    cells = [code("1", new_output("stream", name="stdout", text=said)), code("2", banner)]
    notebook = json.loads(nbformat.writes(new_notebook(cells=cells)))
    first, second = clean_notebook(notebook, "01_x.ipynb", REPO, "")["cells"]
    assert [o["text"] for o in first["outputs"]] == ["judges: one; two\nprofile x; y; today\n"]
    assert second["outputs"] == []


# --- the page of rollouts


def test_the_page_of_rollouts_has_every_run_that_the_chapters_left(html: Path) -> None:
    found = soup(html / "rollouts.html")
    runs = json.loads(found.select_one("#rollouts-data").string)["runs"]
    assert [run["name"].split(":")[0] for run in runs] == ["Chapter 6", "Chapter 10", "Chapter 5"]
    article = found.select_one("article")
    assert article.select_one("#rollouts-shown table")  # the first task, as plain HTML
    assert not article.find_all(["script", "img", "iframe"])
    assert "window.pwned = 1" in article.get_text()
    for name in ("rollouts.js", "rollouts.css"):
        assert (html / "_static" / name).is_file()
        assert f'"_static/{name}"' in str(found)


def test_chapter_6_and_the_landing_page_lead_to_the_rollouts(html: Path) -> None:
    for name in ("06_training_with_grpo.html", "index.html"):
        assert soup(html / name).select_one('article a[href="rollouts.html"]'), name


def test_a_page_without_runs_stays_as_the_book_wrote_it(tmp_path: Path) -> None:
    page = tmp_path / "rollouts.html"
    page.write_text(said := '<div class="rar-rollouts docutils"><p>Nothing was kept.</p></div>')
    assert kept_runs(tmp_path / "data") == []
    fill(tmp_path, tmp_path / "data")
    assert page.read_text() == said
    page.write_text("<p>no place</p>")
    write_kept(tmp_path / "data" / "grpo")
    (tmp_path / "_static").mkdir()
    with pytest.raises(ReproduceError, match="has 0 places for the rollouts"):
        fill(tmp_path, tmp_path / "data")


def test_a_run_that_changed_makes_another_book(tmp_path: Path, run: Path) -> None:
    copy = tmp_path / "smoke"
    shutil.copytree(run, copy)
    before = input_key(BOOK, copy, [FIRST])
    assert input_key(BOOK, run, [FIRST]) == before
    path = copy / "data" / "grpo" / "rollouts.jsonl"
    path.write_text(path.read_text() + "\n")
    assert input_key(BOOK, copy, [FIRST]) != before


# --- what is refused


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ({"text/html": "<script>1</script>"}, "element <script>"),
        ({"text/html": "<b onclick='x()'>x</b>"}, "attribute onclick on <b>"),
        ({"text/html": "<B OnMouseOver=x()>x</B>"}, "attribute onmouseover on <b>"),
        ({"text/html": "<a href='java&#115;cript:x()'>x</a>"}, "link to 'javascript:x()'"),
        ({"text/html": "<a href='\tjavascript:x()'>x</a>"}, "link to"),
        ({"text/html": "<a href='java\nscript:x()'>x</a>"}, "link to"),
        ({"text/html": "<a href='data:text/html,x'>x</a>"}, "link to"),
        ({"text/html": "<img src='http://elsewhere/x.png'>"}, "image from"),
        ({"text/html": "<img src='data:image/svg+xml;base64,AA=='>"}, "image from"),
        ({"text/html": "<svg></svg>"}, "element <svg>"),
        ({"text/html": "<style>@import 'x';</style>"}, "a style that loads something"),
        ({"text/html": "<p style='background:url(x)'>x</p>"}, "a style that loads something"),
        ({"text/html": "<p srcdoc='x'>x</p>"}, "attribute srcdoc"),
        ({"text/html": "<!--><script>1</script>-->"}, "a comment"),
        ({"text/html": "<math><mi xlink:href='x'>x</mi></math>"}, "element <math>"),
        ({"text/markdown": "<script>1</script>"}, "element <script>"),
        ({"application/javascript": "1"}, "application/javascript"),
    ],
)
def test_active_outputs_are_refused(data: dict[str, str], why: str) -> None:
    notebook = json.loads(nbformat.writes(new_notebook(cells=[code("x", shown(data))])))
    with pytest.raises(ReproduceError) as caught:
        clean_notebook(notebook, "03_x.ipynb", REPO, "")
    assert why in str(caught.value)
    assert "03_x.ipynb, cell 0" in str(caught.value)


HEAD = "<svg xmlns='http://www.w3.org/2000/svg' xmlns:xlink='http://www.w3.org/1999/xlink'>"
#: What stands in an SVG, and how it is refused.
HOSTILE_SVG = {
    "<script>x()</script>": "element <script>",
    "<SCRIPT>x()</SCRIPT>": "element <SCRIPT>",
    "<x:script xmlns:x='http://www.w3.org/2000/svg'>x()</x:script>": "element <script>",
    "<script xmlns='http://www.w3.org/1999/xhtml'>x()</script>": "element <script>",
    "<path xmlns='http://www.w3.org/1999/xhtml'/>": "element <path>",
    "<svg onload='x()'/>": "element <svg>",
    "<path onload='x()'/>": "attribute onload on <path>",
    "<g onclick='x()'/>": "attribute onclick on <g>",
    "<path ONLOAD='x()'/>": "attribute ONLOAD on <path>",
    "<foreignObject><p xmlns='http://www.w3.org/1999/xhtml'>x</p></foreignObject>": (
        "element <foreignObject>"
    ),
    "<a href='javascript:x()'><path/></a>": "element <a>",
    "<image href='https://elsewhere/x.png'/>": "element <image>",
    "<image xlink:href='data:image/svg+xml;base64,AA=='/>": "element <image>",
    "<use href='https://elsewhere/x.svg#y'/>": "href='https://",
    "<use xlink:href='x.svg#y'/>": "href='x.svg",
    "<use xlink:href='data:image/svg+xml,x#y'/>": "href='data:",
    "<use href='java&#115;cript:x()'/>": "href='javascript:",
    "<g id='a'><use href='#a'/></g>": "a <use> of 'a', which is no path",
    "<g id='a'><path/><path/></g><use href='#a'/>": "a <use> of 'a', which is no path",
    "<use href='#nowhere'/>": "a <use> of 'nowhere'",
    "<animate attributeName='href' to='javascript:x()'/>": "element <animate>",
    "<set attributeName='onload' to='x()'/>": "element <set>",
    "<path style='fill: url(https://elsewhere/x)'/>": "style=",
    "<path style='fill: url(#a)'/>": "style=",
    "<path style='fill: u\\72l(x)'/>": "style=",
    "<path style='fill: image-set(&quot;x&quot;)'/>": "style=",
    "<path style='/* */ fill: red'/>": "style=",
    "<path fill='url(https://elsewhere/x)'/>": "fill=",
    "<path clip-path='url(https://elsewhere/x#y)'/>": "clip-path=",
    "<path clip-path='url(//elsewhere/x#y)'/>": "clip-path=",
    "<path filter='url(#x)'/>": "attribute filter",
    "<path class='x'/>": "attribute class",
    "<g xml:base='https://elsewhere/'/>": "attribute base",
    "<style>@import 'https://elsewhere/x.css';</style>": "the style",
    "<style>* { fill: url(x) }</style>": "the style",
    "<style>body { display: none }</style>": "the style",
    "<style>*{fill: red} *{background: none}</style>": "the style",
    "<style><![CDATA[@import 'x';]]></style>": "the style",
    "<style type='text/javascript'>x</style>": "type=",
    "<?xml-stylesheet href='https://elsewhere/x.css'?>": "an instruction",
    "<metadata/>": "element <metadata>",
    "<filter id='x'/>": "element <filter>",
    "<iframe src='x'/>": "element <iframe>",
    "<path": "not well-formed",
    "<path d='x' d='y'/>": "not well-formed",
    "&xxe;": "not well-formed",
}


@pytest.mark.parametrize("inside", HOSTILE_SVG)
def test_an_svg_that_acts_or_looks_elsewhere_is_refused(inside: str) -> None:
    with pytest.raises(ValueError, match=re.escape(HOSTILE_SVG[inside])):
        clean_svg(f"{HEAD}{inside}</svg>")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not well-formed"),
        ("<html/>", "element <html>"),
        ("<svg/>", "element <svg>"),  # of no namespace: a browser shows none
        (f"{HEAD}</svg><!--x--><script/>", "not well-formed"),
        ("<!DOCTYPE svg [<!ENTITY x SYSTEM 'file:///etc/passwd'>]>" + HEAD + "&x;</svg>", "decl"),
        ("<!DOCTYPE svg SYSTEM 'x' [<!ENTITY a 'b'>]>" + HEAD + "&a;</svg>", "declaration"),
        (f"<?xml-stylesheet href='x'?>{HEAD}</svg>", "an instruction"),
        (HEAD.replace(">", " onload='x()'>") + "</svg>", "attribute onload on <svg>"),
        (f"{HEAD}{'<g>' * 70_000}", "characters, more than"),
        (f"{HEAD}<path d='{'M 0 0 ' * 40_000}'/></svg>", "characters, more than"),
    ],
)
def test_what_is_no_plain_svg_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)):
        clean_svg(text)
    notebook = json.loads(nbformat.writes(new_notebook(cells=[code("x", shown(svg(text)))])))
    with pytest.raises(ReproduceError, match=r"03_x\.ipynb, cell 0 has an SVG with"):
        clean_notebook(notebook, "03_x.ipynb", REPO, "")


def svg(text: str) -> dict[str, str]:
    return {"image/svg+xml": text}


def test_what_is_written_is_what_was_read() -> None:
    """Comments and entities, in which readers differ, are not handed on."""
    text = f"{HEAD}<!-- <script> --><title>&lt;script&gt; &#38; &quot;</title><path id='a' /></svg>"
    found = clean_svg(text)
    assert "<!--" not in found
    assert '<title>&lt;script&gt; &amp; "</title>' in found
    assert clean_svg(found) == found


def test_a_figure_of_the_book_passes_and_looks_the_same() -> None:
    text = drawing()
    found = clean_svg(text)
    assert found.count("<path") == text.count("<path")
    assert found.count("<use") == text.count("<use")
    declared = (
        '<?xml version="1.0" encoding="utf-8" standalone="no"?>\n<!DOCTYPE svg PUBLIC "-//W3C'
    )
    assert clean_svg(f'{declared}//DTD SVG 1.1//EN"\n "http://x/svg11.dtd">\n{text}') == found


def test_a_figure_is_a_picture_in_a_file_of_its_own(html: Path) -> None:
    image = soup(html / "04_can_the_judge_be_trusted.html").select_one("article img")
    assert image["src"].endswith(".svg")
    written = (html / image["src"]).read_text(encoding="utf-8")
    assert written == clean_svg(drawing())


def test_a_png_of_high_density_is_shown_as_wide_as_it_was_drawn() -> None:
    fig = figures.forest({"a": None}, xlabel="x")
    fig.savefig(sharp := io.BytesIO(), dpi=220)
    fig.savefig(plain := io.BytesIO(), dpi=110)
    assert png_width(sharp.getvalue()) == 792  # 7.2 inches of 110 pixels
    assert png_width(plain.getvalue()) is None
    assert png_width(base64.b64decode(png())) is None  # says no density
    picture = {"image/png": base64.b64encode(sharp.getvalue()).decode()}
    notebook = json.loads(nbformat.writes(new_notebook(cells=[code("x", shown(picture))])))
    (cell,) = clean_notebook(notebook, "03_x.ipynb", REPO, "")["cells"]
    assert cell["metadata"]["mystnb"]["image"]["width"] == "792px"


@pytest.mark.parametrize(
    "html_text",
    [
        "<table class='dataframe'><tr><td>&lt;script&gt;</td></tr></table>",
        "<style scoped>.dataframe tbody tr th { vertical-align: top; }</style><div></div>",
        "<a href='conventions.html#ties'>x</a><a href='https://arxiv.org/abs/2507.17746'>y</a>",
        f"<img alt='x' src='data:image/png;base64,{png(2, 2)}'>",
    ],
)
def test_static_outputs_pass(html_text: str) -> None:
    assert active_content(html_text) is None


def test_failed_and_unexecuted_notebooks_are_refused() -> None:
    failed = code("1/0", new_output("error", ename="ZeroDivisionError", evalue="by zero"))
    skipped = code("x = 1")
    skipped.execution_count = None
    for cell, why in ((failed, "ended with ZeroDivisionError"), (skipped, "was not executed")):
        notebook = json.loads(nbformat.writes(new_notebook(cells=[cell])))
        with pytest.raises(ReproduceError, match=why):
            clean_notebook(notebook, "03_x.ipynb", REPO, "")


def test_a_page_with_active_content_in_its_article_is_refused() -> None:
    check_page("<script>theme()</script><article><p>fine</p></article>", "x.html")
    for bad in ("<script>1</script>", "<svg onload=x()></svg>", "<a href='java\tscript:x()'>x</a>"):
        with pytest.raises(ReproduceError, match=r"x\.html: .* not allowed"):
            check_page(f"<article>{bad}</article>", "x.html")


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
    assert "Chapter 10" in page.inner_text("#pick-run option:checked")
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
