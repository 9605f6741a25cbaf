"""The gate lets static content through, and refuses whatever acts or looks elsewhere."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from bs4 import BeautifulSoup
from sample import code, drawing, new_notebook, new_output, png, shown

from rar_lib.book import figures
from rar_lib.book.pages.gate import (
    active_content,
    check_page,
    clean_notebook,
    clean_svg,
    png_width,
)
from rar_lib.book.tables import made_by
from rar_lib.core.errors import ReproduceError

REPO = Path(__file__).resolve().parents[3]
BOOK = REPO / "book"


def soup(path: Path) -> Any:
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def test_no_absolute_path_reaches_a_page(tmp_path: Path) -> None:
    cell = code("p", new_output("stream", name="stdout", text=f"{REPO}/results/x.json\n"))
    cell.metadata["papermill"] = {"note": str(REPO)}
    notebook = new_notebook(cells=[cell], metadata={"papermill": {"input_path": str(REPO)}})
    cleaned = clean_notebook(json.loads(nbformat.writes(notebook)), "01_x.ipynb", REPO, "")
    assert str(REPO) not in json.dumps(cleaned)
    assert "results/x.json" in json.dumps(cleaned)


@pytest.mark.parametrize(
    ("plain", "alt"),
    [
        ("Rows of dots. kept: 2 from 0.10\nto 0.50.", "Rows of dots. kept: 2 from 0.10 to 0.50."),
        ("<Figure size 640x480 with 1 Axes>", "Figure: A section"),
        ("", "Figure: A section"),
    ],
)
def test_a_figure_that_says_what_is_seen_has_that_as_alternative_text(plain: str, alt: str) -> None:
    cell = code("draw", shown({"image/png": png(2, 2), "text/plain": plain}))
    title = nbformat.v4.new_markdown_cell("# A title\n\n## A section")
    notebook = json.loads(nbformat.writes(new_notebook(cells=[title, cell])))
    _, cleaned = clean_notebook(notebook, "01_x.ipynb", REPO, "")["cells"]
    assert cleaned["metadata"]["mystnb"]["image"]["alt"] == alt


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
    fig.set_size_inches(7.2, 3)
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
