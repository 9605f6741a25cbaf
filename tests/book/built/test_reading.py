"""What a reader gets: tables that fit, numbered figures, terms, a search that quotes, sources."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import sys
import tomllib
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from browser import too_wide, watch
from bs4 import BeautifulSoup
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from sample import DIRECTIVES
from shots import LETTER_PX, letters
from sphinx.errors import ExtensionError

from rar_lib.book.pages import build
from rar_lib.book.prose import sentence

REPO = Path(__file__).resolve().parents[3]
BOOK = REPO / "book"
FIRST = "01_rewards_from_rubrics"
JUDGE = "04_can_the_judge_be_trusted"


def soup(path: Path) -> Any:
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


# --- tables and figures


def test_every_table_and_figure_has_a_number_and_a_caption_of_its_own(html: Path) -> None:
    for page in html.glob("*.html"):
        article = soup(page).select_one("article")
        for element in article.select("table:has(th), figure") if article else []:
            if element.find_parent(class_="rollouts"):
                continue  # one page of one figure, so to say: its tables change with the choice
            said = element.find(["caption", "figcaption"]).get_text()
            assert re.match(r"(Table|Figure) (\d+\.)?\d+\. \S", said), (page.name, said)
        ids = [e["id"] for e in article.select("[id]")] if article else []
        assert len(ids) == len(set(ids)), page.name


def test_captions_are_written_derived_or_brought_along(html: Path) -> None:
    said = [c.get_text() for c in soup(html / f"{JUDGE}.html").select("caption, figcaption")]
    assert said[0].startswith("Table 4.1. How often each judge prefers the right response")
    assert said[1].startswith("Figure 4.1. Pairwise accuracy by the size of the judge")
    assert said[2].startswith("Table 4.2. Not in the file of captions: column 0, column 1")
    assert said[3] == "Figure 4.2. Not in the file of captions: reward of <b>x</b>."
    assert said[4] == "Table 4.3. Its own words."


def test_an_alternative_text_says_what_is_drawn(html: Path) -> None:
    first, second = (i["alt"] for i in soup(html / f"{JUDGE}.html").select("article img"))
    assert first.startswith("Lines with whiskers")
    assert "Horizontal axis: reward of <b>x</b>" in second
    assert second.startswith("Rows of dots")


def test_counts_and_intervals_do_not_break_inside(html: Path) -> None:
    article = soup(html / f"{JUDGE}.html").select_one("article")
    assert "[0.1,\u00a00.3] (n\u00a0=\u00a09)" in article.select("p")[1].get_text()
    assert "0.50 (n\u00a0=\u00a02)" in article.td.find_next_siblings("td")[2].get_text()


def test_written_captions_are_about_something_that_the_chapters_hold() -> None:
    written = tomllib.loads((BOOK / "captions.toml").read_text(encoding="utf-8"))
    for page, entries in written.items():
        path = REPO / "notebooks" / f"{page}.ipynb"
        if not path.is_file():
            continue
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        text = "\n".join("".join(c["source"]) for c in cells)
        for entry in entries:
            assert re.search(rf"^#+ {re.escape(entry['under'])}$", text, re.M), (page, entry)
            assert f"figures.{entry.get('figure', '')}" in text
            assert entry.get("has", "") in text
            assert len(entry["caption"]) > 20
            assert entry["caption"].endswith(".")
        assert len({e["caption"] for e in entries}) == len(entries)


def sections(notebook: Path) -> dict[str, str]:
    """Heading -> code below it, with the heads of tables that are written in Markdown.

    What the exercises show is captioned by their numbers.
    """
    found: dict[str, str] = {}
    heading = ""
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            heading = [heading, *re.findall(r"^#+ (.+)$", text, re.M)][-1]
            text = "\n".join(re.findall(r"^\|.+\|(?=\n\|[ :|-]+\|$)", text, re.M))
        if text and heading != "Exercises":
            found[heading] = found.get(heading, "") + text + "\n"
    return found


NOTEBOOKS = sorted((REPO / "notebooks").glob("*.ipynb"))
#: Calls that show one table each; a fold brings the captions of its tables along.
TABLE = re.compile(r"tables\.(?:table|findings|quoted)\(")
#: Tables whose columns are not spelt in the notebook.
ELSEWHERE = re.compile(r"tables\.(?:findings|quoted)\(|claims\.")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_written_caption_is_about_what_its_section_shows(path: Path, pages: Any) -> None:
    code = sections(path)
    for entry in pages.captions(BOOK)[path.stem]:
        below = code[entry["under"]]
        if "figure" in entry:
            assert f"figures.{entry['figure']}(" in below, entry
        else:
            first = entry["table"].split("|")[0].strip()
            spelt = f'"{first}":' in below or f"| {first} |" in below
            assert spelt or ELSEWHERE.search(below), entry


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_a_section_shows_has_a_written_caption(path: Path, pages: Any) -> None:
    written = pages.captions(BOOK)[path.stem]
    for heading, below in sections(path).items():
        of = [entry for entry in written if entry["under"] == heading]
        assert len(TABLE.findall(below)) <= sum("table" in entry for entry in of), heading
        drawn = set(re.findall(r"figures\.(\w+)\(", below))
        assert drawn <= {entry["figure"] for entry in of if "figure" in entry}, heading


#: The pages that show tables of their own, in Markdown.
TABLED = ("after", "conventions", "index", "study")
RULE = re.compile(r"\|(?: *:?-+:? *\|)+")


def page_tables(text: str) -> list[tuple[str, list[str]]]:
    """The heading and the columns of each table of a page, as a reader sees them."""
    found: list[tuple[str, list[str]]] = []
    heading = ""
    for line, below in pairwise([*text.splitlines(), ""]):
        heading = line.lstrip("# ") if line.startswith("#") else heading
        if RULE.fullmatch(below.strip()):
            columns = line.replace("`", "").strip().strip("|").split("|")
            found.append((heading, [column.strip() for column in columns]))
    return found


def unmatched(text: str, entries: list[dict[str, str]], pages: Any) -> list[str]:
    """Tables of a page without a written caption, and written captions that no table takes."""
    left = [entry for entry in entries if "table" in entry]
    dead = [entry["caption"] for entry in left]
    bare = []
    for heading, columns in page_tables(text):
        fits = [e for e in left if e["under"] == heading and pages._begins(columns, e["table"])]
        if not fits:
            bare.append(f"{heading}: {' | '.join(columns)}")
        elif fits[0]["caption"] in dead:
            dead.remove(fits[0]["caption"])
    return bare + dead


@pytest.fixture(scope="module")
def computed() -> dict[str, str]:
    """What the book computes for its pages from the records of this repository."""
    return build.generated(REPO)


@pytest.mark.parametrize("name", TABLED)
def test_what_a_page_shows_has_a_written_caption(
    name: str, tmp_path: Path, computed: Mapping[str, str], pages: Any
) -> None:
    page = tmp_path / f"{name}.md"
    shutil.copy(BOOK / page.name, page)
    own = {place: text for place, text in computed.items() if place.partition("#")[0] == page.name}
    build._write(tmp_path, own)
    text = page.read_text(encoding="utf-8")
    assert page_tables(text)
    assert unmatched(text, pages.captions(BOOK)[name], pages) == []


def test_no_page_with_a_table_is_left_out(computed: Mapping[str, str]) -> None:
    texts = {path.name: path.read_text(encoding="utf-8") for path in BOOK.glob("*.md")}
    shown = [*texts.items(), *computed.items()]
    tabled = {name.partition(".md")[0] for name, text in shown if page_tables(text)}
    assert tabled - {"status"} == set(TABLED)


def test_a_table_without_a_caption_and_a_caption_without_a_table_are_found(pages: Any) -> None:
    text = "## A\n\n| Trial | `After` |\n| --- | --- |\n| x | y |\n"
    entry = {"under": "A", "table": "Trial | After", "caption": "It fits."}
    assert unmatched(text, [entry], pages) == []
    assert unmatched(text, [], pages) == ["A: Trial | After"]
    renamed = entry | {"table": "Trial | Updates", "caption": "It is about what is gone."}
    assert unmatched(text, [entry, renamed], pages) == ["It is about what is gone."]
    assert unmatched(text, [entry | {"under": "B"}], pages) == ["A: Trial | After", "It fits."]


def test_the_text_refers_to_a_figure_by_its_number(html: Path) -> None:
    article = soup(html / f"{JUDGE}.html").select_one("article")
    link = article.select_one("p a[href^='#figure-']")
    assert link.get_text() == "Figure 4.1"
    assert article.find(id=link["href"][1:]).name == "figure"
    assert not article.select("[data-named], .rar-shown")


def extension(name: str) -> Any:
    """An extension of the book as a module."""
    found = importlib.util.spec_from_file_location(name, BOOK / "_ext" / f"{name}.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module  # a dataclass looks its module up
    found.loader.exec_module(module)
    return module


EDITION = extension("rar_markdown")


@pytest.fixture(scope="module")
def pages() -> Any:
    """The extension that finishes a page."""
    return extension("rar_pages")


def test_every_cell_of_code_can_be_led_to(run: Path, html: Path) -> None:
    cells = json.loads((run / f"{JUDGE}.ipynb").read_text(encoding="utf-8"))["cells"]
    code = [cell["id"] for cell in cells if cell["cell_type"] == "code"]
    shown = soup(html / f"{JUDGE}.html").select("article div.cell")
    assert code
    assert [cell["id"] for cell in shown] == [f"cell-{name}" for name in code]


def test_a_table_leads_to_the_cell_that_a_finding_comes_from(pages: Any) -> None:
    where = "this run, notebooks/02_writing_rubrics.ipynb#31"
    body = f"<table><tr><th>a</th></tr><tr><td>{where}</td></tr></table><p>{where}</p>"
    known = {"02_writing_rubrics": "02_writing_rubrics.html"}
    page = BeautifulSoup(pages.finish(body, [], uri=known.get), "html.parser")
    link = page.select_one("td a")
    assert link["href"] == "02_writing_rubrics.html#cell-31"
    assert page.td.get_text() == "this run, chapter 2"
    assert page.select_one("p").get_text() == where
    elsewhere = BeautifulSoup(pages.finish(body, []), "html.parser")
    assert elsewhere.td.get_text() == where


def test_a_reference_to_nothing_ends_the_build(pages: Any) -> None:
    with pytest.raises(ExtensionError, match=r"'nowhere', which is the name of none.*names: none"):
        pages.finish('<p>See <span class="rar-shown">nowhere</span>.</p>', [])


HOLD = "12_do_the_instruments_hold"
REFERRING = """<section><h2>Do the intervals hold what they say?</h2>
<p><span class="rar-shown">coverage</span> as a picture.</p>
<p>It is counted; <span class="rar-shown">coverage</span> has the counts. \
<span class="rar-shown">coverage</span> once more.</p>{shown}</section>"""


def test_what_has_no_record_is_said_in_words(pages: Any) -> None:
    written = pages.captions(BOOK)[HOLD]
    page = BeautifulSoup(pages.finish(REFERRING.format(shown=""), written), "html.parser")
    first, second = (p.get_text() for p in page.select("p"))
    assert first == "A table that is not in this edition as a picture."
    assert "; a table that is not in this edition has the counts. A table" in second
    assert not page.select(".rar-shown")


def test_what_has_a_record_is_said_by_its_number(pages: Any) -> None:
    written = pages.captions(BOOK)[HOLD]
    table = "<table><tr><th>scenario</th><th>tasks</th></tr><tr><td>a</td><td>8</td></tr></table>"
    page = BeautifulSoup(pages.finish(REFERRING.format(shown=table), written), "html.parser")
    assert page.select_one("p").get_text() == "Table 1 as a picture."


def test_a_name_whose_table_has_other_columns_ends_the_build(pages: Any) -> None:
    written = pages.captions(BOOK)[HOLD]
    table = "<table><tr><th>renamed</th></tr><tr><td>a</td></tr></table>"
    with pytest.raises(ExtensionError, match="'coverage', which is the name of none"):
        pages.finish(REFERRING.format(shown=table), written)


def test_what_the_text_refers_to_has_a_name_and_no_name_is_idle() -> None:
    written = tomllib.loads((BOOK / "captions.toml").read_text(encoding="utf-8"))
    for path in sorted((REPO / "notebooks").glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        text = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
        named = [e["name"] for e in written.get(path.stem, []) if "name" in e]
        assert len(named) == len(set(named))
        assert set(re.findall(r"\{shown\}`([^`]+)`", text)) == set(named), path.stem


# --- columns


def rows_of(*rows: Sequence[str]) -> str:
    """A table, the first row of which are its titles."""
    head = "".join(f"<th>{title}</th>" for title in rows[0])
    body = "".join(f"<tr><td>{'</td><td>'.join(row)}</td></tr>" for row in rows[1:])
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def finished(pages: Any, *rows: Sequence[str]) -> Any:
    return BeautifulSoup(pages.finish(rows_of(*rows), []), "html.parser").table


@pytest.mark.parametrize(
    ("cells", "numbers"),
    [
        (["0.043", "<0.001", "–"], True),
        (["256 (0)", "1,492 (3)"], True),
        (["0.86 [0.83, 0.89]", "−0.07 [-0.21, +0.08]"], True),
        (["-3.09 (+0.00)", "52"], True),
        (["0.50 (n = 6)", "36 %"], True),
        (["0.04 / 0.41", "–"], True),
        (["0.41 (+0.00), 1 seed", "0.73"], False),
        (["7", "seven"], False),
    ],
)
def test_a_column_of_numbers_stands_to_the_right(
    pages: Any, cells: list[str], numbers: bool
) -> None:
    table = finished(pages, ("name", "value"), *(("a", cell) for cell in cells))
    marked = [cell.get_text() for cell in table.select(".num")]
    assert len(marked) == (len(cells) + 1 if numbers else 0)
    assert "name" not in marked


@pytest.mark.parametrize(
    ("said", "whole"),
    [
        ("by 0.86 [0.83, 0.89] of it", "by 0.86_[0.83,_0.89] of it"),
        ("a 95 % interval", "a 95_% interval"),
        ("profile laptop, 4.5 min, 3 s", "profile laptop, 4.5_min, 3_s"),
        ("in 3 steps of 2 minutes", "in 3 steps of 2 minutes"),
    ],
)
def test_a_number_keeps_its_interval_and_its_unit(pages: Any, said: str, whole: str) -> None:
    page = BeautifulSoup(pages.finish(f"<p>{said}</p><pre>{said}</pre>", []), "html.parser")
    assert page.p.get_text() == whole.replace("_", "\u00a0")
    assert page.pre.get_text() == said  # code stays as it is


@pytest.mark.parametrize(
    ("rows", "titles"),
    [
        ([("tasks", "size", "160"), ("criteria", "size", "8")], ["tasks", "criteria"]),
        ([("size", "tasks", "160"), ("size", "criteria", "8")], ["tasks", "criteria"]),
        ([("a", "x", "1"), ("a", "y", "2"), ("b", "x", "3")], ["a", "x", "a", "y", "b", "x"]),
        ([("a", "x", "1"), ("a", "x", "2")], ["a", "a"]),
    ],
)
def test_the_title_of_a_card_is_what_tells_the_rows_apart(
    pages: Any, rows: list[tuple[str, ...]], titles: list[str]
) -> None:
    table = finished(pages, ("first", "second", "third"), *rows)
    assert [cell.get_text() for cell in table.select(".rar-title")] == titles


LONG = "A sentence that is much longer than a line of a telephone is wide, whatever it says."


@pytest.mark.parametrize(
    ("rows", "kind"),
    [
        ([("response", "rating", "reward"), ("preferred", "7.81", "0.76")], None),
        ([("criterion", "polarity", "weight"), (LONG, "good", "0.70")], "rar-list"),
        ([("arm", *["explicit"] * 5), ("explicit", *["0.52"] * 5)], "rar-grid"),
        ([("arm", "judge", *["explicit"] * 4), ("a", "b", *["0.52"] * 4)], "rar-list"),
    ],
)
def test_a_table_is_a_list_on_a_telephone_where_it_is_read_row_by_row(
    pages: Any, rows: list[tuple[str, ...]], kind: str | None
) -> None:
    kinds = finished(pages, *rows).get_attribute_list("class")
    assert {"rar-list", "rar-grid"} & set(kinds) == ({kind} if kind else set())


@pytest.mark.parametrize(
    ("title", "cell", "lines"),
    [
        ("p (Holm)", "0.003", ["p (Holm)"]),
        ("preferred: credit", "1.00", ["preferred: ", "credit"]),
        ("prompt tokens per response", "12", ["prompt tokens ", "per response"]),
        ("balanced accuracy", "0.86 [0.83, 0.89]", ["balanced accuracy"]),
    ],
)
def test_a_title_wider_than_its_column_is_broken_evenly(
    pages: Any, title: str, cell: str, lines: list[str]
) -> None:
    head = finished(pages, ("name", title), ("a", cell)).find_all("th")[1]
    assert head.get_text("|").split("|") == lines
    assert len(head.find_all("br")) == len(lines) - 1
    assert "rar-word" in head["class"]


# --- terms


def test_a_term_is_explained_where_a_page_uses_it_first(html: Path) -> None:
    article = soup(html / f"{JUDGE}.html").select_one("article")
    marked = article.select(".rar-term")
    assert [m.a.get_text() for m in marked] == ["margin", "advantage"]  # once, and not in code
    glossary = soup(html / "glossary.html")
    for term in marked:
        page, _, anchor = term.a["href"].partition("#")
        assert page == "glossary.html"
        assert glossary.find(id=anchor)
        tip = article.find(id=term.a["aria-describedby"])
        assert tip["role"] == "tooltip"
    assert marked[1].select_one(".rar-tip").get_text().startswith("How much better a rollout did")


def test_a_term_that_the_author_marked_is_not_marked_again(html: Path) -> None:
    marked = soup(html / f"{FIRST}.html").select("article .rar-term > a")
    assert [a.get_text() for a in marked].count("advantage") == 1


@pytest.mark.parametrize(
    "term",
    [
        "Arm",
        "Calibration",
        "Category",
        "Flat group",
        "Hold-out",
        "Holm",
        "Margin",
        "Readable share",
    ],
)
def test_the_terms_of_the_tables_are_in_the_glossary(html: Path, term: str) -> None:
    said = {t.get_text().strip("#") for t in soup(html / "glossary.html").select("dl.glossary dt")}
    assert term in said


# --- beside the pages


def test_every_page_has_its_source_and_the_list_names_them(html: Path) -> None:
    listed = re.findall(r"\(([\w./]+\.md)\)", (html / "llms.txt").read_text(encoding="utf-8"))
    assert listed[:2] == ["index.md", f"{FIRST}.md"]
    assert {p.removesuffix(".md") for p in listed} == {p.stem for p in html.glob("*.html")} - {
        "search"
    }
    for name in listed:
        assert (html / name).stat().st_size > 0
        page = soup(html / name.replace(".md", ".html"))
        assert page.select_one(".rar-source a")["href"] == name


def test_the_bibliography_in_markdown_has_every_work_under_its_key(html: Path) -> None:
    text = (html / "bibliography.md").read_text(encoding="utf-8")
    declared = (BOOK / "references.bib").read_text(encoding="utf-8")
    keys = re.findall(r"^@\w+\{([\w-]+),", declared, re.M)
    assert sorted(re.findall(r"^- `([\w-]+)`: \S", text, re.M)) == sorted(keys)
    assert "- `rar`: Anisha Gunjal, " in text
    assert "arXiv:2507.17746. URL: https://arxiv.org/abs/2507.17746." in text
    assert "{bibliography}" not in text
    assert "## Citing this book" in text


def test_links_between_pages_in_markdown_lead_to_markdown(html: Path) -> None:
    for page in html.glob("*.md"):
        text = page.read_text(encoding="utf-8")
        targets = re.findall(r"\]\((?!https?:)([\w./-]+)(?:#[\w-]+)?\)", text)
        assert [name for name in targets if not (html / name).is_file()] == [], page.name
    text = EDITION.as_markdown("[a](01_a.ipynb#b), [c](d.md), x.ipynb", ".md")
    assert text == "[a](01_a.md#b), [c](d.md), x.ipynb"


def test_hostile_text_stays_inside_its_block_of_markdown(html: Path) -> None:
    notebook = html / "_sources" / "02_writing_rubrics.ipynb"
    assert notebook.is_file()
    text = (html / "02_writing_rubrics.md").read_text(encoding="utf-8")
    block = text.split("```python\nprint(text)\n```\n\n")[1]
    opening, *said = block.split("\n````\n")[0].splitlines()
    assert opening == "````text"  # longer than the fence that the text holds
    assert said[0] == "<script>window.pwned = 1</script>"
    assert said[-len(DIRECTIVES) :] == DIRECTIVES


def test_what_a_terminal_would_obey_hides_no_fence_from_the_markdown() -> None:
    """It goes before the fence is chosen: what stands on both sides of it comes together."""
    for order in ("\x1b[31m", "\x1b]8;;x\x07", "\x1b]0;x\x1b\\", "\x1b", "\x00", "\x9b", "\x7f"):
        output = {"output_type": "stream", "text": [f"a\n``{order}`\n", "b\tc\n"]}
        cell = {"cell_type": "code", "source": "", "outputs": [output]}
        text = EDITION.as_markdown(json.dumps({"cells": [cell]}), ".ipynb")
        assert text == "````text\na\n```\nb\tc\n````\n", repr(order)


# --- the Markdown edition


def roles_left(text: str) -> list[str]:
    """Roles outside code, as a reader of Markdown comes upon them: a name and a piece of code."""
    found = []
    for block in MarkdownIt("commonmark").enable("table").parse(text):
        for before, after in pairwise(block.children or []):
            name = re.search(r"\{[\w:]+\}$", before.content)
            if name and before.type == "text" and after.type == "code_inline":
                found.append(f"{name[0]}`{after.content}`")
    return found


def test_no_page_in_markdown_holds_a_role_outside_code(html: Path) -> None:
    pages = sorted(html.glob("*.md"))
    assert len(pages) > 10
    found = {page.name: roles_left(page.read_text(encoding="utf-8")) for page in pages}
    # The Markdown knows no reference to an exercise: the small book has one, no chapter may.
    left = {"05_down_to_the_criterion.md": ["{ref}`ex-two`"]}
    assert {name: roles for name, roles in found.items() if roles} == left
    sources = [*NOTEBOOKS, *BOOK.glob("*.md")]
    assert [path.name for path in sources if "{ref}`" in path.read_text(encoding="utf-8")] == []
    assert roles_left("a {term}`b <C>` and `{doc}` | d") == ["{term}`b <C>`"]
    assert roles_left("| {eq}`a` |\n| --- |\n| {shown}`b` |") == ["{eq}`a`", "{shown}`b`"]


def test_a_page_in_markdown_names_terms_works_and_pages_in_words(html: Path) -> None:
    text = (html / f"{FIRST}.md").read_text(encoding="utf-8")
    assert " and the advantage [rar]." in text
    conventions = (html / "conventions.md").read_text(encoding="utf-8")
    assert "[Do the instruments hold](12_do_the_instruments_hold.md) shows" in conventions
    listed = (html / "llms.txt").read_text(encoding="utf-8")
    assert "A key in brackets, such as [rar], is that of a work in the bibliography." in listed


def test_a_page_in_markdown_has_the_numbers_and_captions_of_the_finished_one(html: Path) -> None:
    for page in sorted(html.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        shown = soup(page.with_suffix(".html")).select(".rar-number")
        numbers = re.findall(r"^\*((?:Table|Figure) [\d.]+): \S.*\*$", text, re.M)
        assert numbers == [mark.get_text().rstrip(".") for mark in shown], page.name
    text = (html / f"{JUDGE}.md").read_text(encoding="utf-8")
    assert "`margin` is code. See Figure 4.1." in text
    assert "\n\n*Table 4.1: How often each judge prefers" in text
    assert "reward of &lt;b&gt;x&lt;/b&gt;.*\n\n```text\n<plain>\n```\n\n```python\nt\n```" in text
    assert "\n\n*Table 4.3: Its own words.*\n\n```text\n" in text


def test_an_equation_has_its_number_in_markdown(html: Path) -> None:
    text = (html / "conventions.md").read_text(encoding="utf-8")
    assert "Eq. (1)." in text
    assert "\n$$ (2)\n" in text
    assert "eq-" not in text


PROSE = r"""Of {term}`arms <Arm>` and {term}`GRPO`, {doc}`a` and {doc}`this <b>` {cite:p}`x, y`.

$$
p\, q \in \[0, 1\]
$$ (eq-a)

By {eq}`eq-a`, {eq}`eq-b` and {shown}`t`, 0.05 \[\-0.02, 0.09\].
{shown}`u` is a {term}`claim
<Claim>`, `{term}`,
``{doc}`a` `` and $x\_1$ are not; \{term\}\`x\` neither.

```python
x = r"{term}`y` \[0\]\'"  # {shown}`t`
```

~~~~
{doc}`a` \(n \= 2\)
~~~
~~~~
"""
READ = r"""Of arms and GRPO, [A page](a.md) and [this](b.md) [x, y].

$$
p\, q \in \[0, 1\]
$$ (7)

By (7), (8) and Table 1, 0.05 [-0.02, 0.09].
A table that is not in this edition is a claim, `{term}`,
``{doc}`a` `` and $x\_1$ are not; \{term\}\`x\` neither.

```python
x = r"{term}`y` \[0\]\'"  # {shown}`t`
```

~~~~
{doc}`a` \(n \= 2\)
~~~
~~~~
"""


def test_roles_and_escapes_are_read_and_code_stays_byte_for_byte() -> None:
    entries = [
        {"name": "t", "under": "A", "table": "a", "caption": "What it  holds."},
        {"name": "u", "under": "B", "table": "b", "caption": "What is not there."},
        {"under": "B", "table": "b", "caption": "Without a name."},
    ]
    names = EDITION.named(entries, {"What it holds.": "Table 1", "Without a name.": "Table 2"})
    assert names == {"t": "Table 1", "u": "a table that is not in this edition"}
    roles = EDITION.all_roles(
        {"a": "A page", "b": "Another"}, {"eq-a": "(7)", "eq-b": "(8)"}, names
    )
    page = EDITION.Shown(equations={"eq-a": "(7)"})
    assert EDITION.readable(PROSE, page, roles) == READ


def test_a_role_that_nobody_knows_stays() -> None:
    assert EDITION.with_roles("{ref}`a`", {}) == "{ref}`a`"


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ("It is {shown}`u`.", "It is a figure that is not in this edition."),
        ("It is. {shown}`u` is not.", "It is. A figure that is not in this edition is not."),
        ("- {shown}`u`", "- A figure that is not in this edition"),
    ],
)
def test_what_has_no_record_is_said_in_words_in_markdown(said: str, wanted: str) -> None:
    names = EDITION.named([{"name": "u", "figure": "forest", "caption": "It."}], {})
    assert EDITION.with_roles(said, {"shown": names.__getitem__}) == wanted


@pytest.mark.parametrize(
    ("escaped", "wanted"),
    [
        (r"Takes oxygen\'s place", "Takes oxygen's place"),
        (r"0.05 \[0.02, 0.09\]", "0.05 [0.02, 0.09]"),
        (r"0.05 \[\-0.02, 0.09\]\.", "0.05 [-0.02, 0.09]."),
        (r"by \-0.03", "by -0.03"),
        (r"| \-0.03 | a\_b |", "| -0.03 | a_b |"),
        (r"1.00 \(n \= 2\)", "1.00 (n = 2)"),
        (r"50 \%\: much", "50 %: much"),
        (r"`a\_b` and $\{x\}$", r"`a\_b` and $\{x\}$"),
    ],
)
def test_an_escape_that_nothing_needs_is_dropped(escaped: str, wanted: str) -> None:
    assert EDITION.unescaped(escaped) == wanted


@pytest.mark.parametrize(
    "needed",
    [
        r"\-0.03",
        r"- \- a",
        r"1\. a",
        r"1\) a",
        r"\[a\](b)",
        r"[a]\(b)",
        r"\[a\]\[b]",
        r"\[a\]: b",
        r"- \[x\] done",
        r"\*a\* and \_b\_ and \`c\`",
        r"a \< b \& c \$x\$ \{d\} \\ e",
        r"http\://a\.b and www\.a\.b and a\@b\.c",
    ],
)
def test_an_escape_that_something_needs_stays(needed: str) -> None:
    assert EDITION.unescaped(needed) == needed


READERS = {name: MarkdownIt(name).render for name in ("commonmark", "gfm-like")}


@given(
    st.lists(st.text("\\`*_{}[]()<>&#|~$!^@:=+%\"'-./ 1axw", max_size=14), min_size=2, max_size=2)
)
@example(["[a]", "(http://a.b)"])
@example(["www.a.ax", "types.ax"])
@example(["http://a", "a@a.ax"])
@example(["[ ] a", "[x] a"])
@example(["---", "==="])
@settings(max_examples=400, deadline=None)
def test_a_reader_of_markdown_sees_the_same_without_these_escapes(values: list[str]) -> None:
    text = sentence(
        "Of **{x}**:\n\n- {x}\n- `a` and {y}{x}.\n\n{y}\n{x} ({y})", x=values[0], y=values[1]
    )
    bare = EDITION.unescaped(text)
    for read in READERS.values():
        assert read(bare) == read(text)


FIGURED = """| a | b |
| --- | ---: |
| c | d |

```{figure} x.svg
:alt: "A line [0, 1]."
:class: y

What it shows.
```

````text
```{figure} not.svg
| a |
|---|
```
````
"""


def test_captions_stand_before_tables_and_drawings_are_told() -> None:
    text = EDITION.with_captions(FIGURED, ["*Table 1: A.*"], ["*Figure 1: B.*"])
    assert text.startswith(
        "*Table 1: A.*\n\n| a | b |\n| --- | ---: |\n| c | d |\n\n*Figure 1: B.*"
    )
    assert "*Figure 1: B.*\n\n```text\nA line [0, 1].\n```\n\n````text\n```{figure} not.svg" in text
    image = '```{image} x.svg\n:alt: "A bar."\n```\n'
    assert EDITION.with_captions(image, [], []) == "```text\nA bar.\n```\n"


def test_captions_that_fit_no_table_are_refused() -> None:
    message = "holds 1 tables and 1 figures, the finished page numbers 2 and 0"
    with pytest.raises(ValueError, match=message):
        EDITION.with_captions(FIGURED, ["*Table 1: A.*", "*Table 2: B.*"], [])


NUMBERED = """<article><p>Text.</p><table><caption><span class="rar-number">Table 1.2.</span> Of
[a]: 3\u00a0* 4 &lt; x.</caption></table>
<div class="cell" id="cell-x"><div class="cell_output"><p>said</p>
<div class="output text_html">
<table><caption><span class="rar-number">Table 1.3.</span> B.</caption></table>
<table><caption><span class="rar-number">Table 1.4.</span> C.</caption></table></div>
<figure><figcaption><span class="rar-number">Figure 1.1.</span> D.</figcaption></figure></div></div>
<figure><figcaption><span class="rar-number">Figure 1.2.</span> E.<a class="headerlink">#</a>
</figcaption></figure>
<div id="equation-eq-a"><math></math><span class="eqno">(4)<a class="headerlink">#</a></span></div>
</article>"""


def test_numbers_are_read_from_the_finished_page() -> None:
    page = EDITION.numbered(NUMBERED)
    assert page.tables == [r"*Table 1.2: Of [a\]: 3 \* 4 &lt; x.*"]
    assert page.figures == ["*Figure 1.2: E.*"]
    rows = [["*Table 1.3: B.*", "*Table 1.4: C.*"], ["*Figure 1.1: D.*"]]
    assert page.outputs == {"cell-x": rows}
    assert page.numbers["B."] == "Table 1.3"
    assert page.equations == {"eq-a": "(4)"}


def test_the_outputs_of_a_cell_have_the_captions_of_the_page() -> None:
    outputs = [
        {"data": {"text/markdown": "Said."}},
        {"data": {"text/html": "<b>no table</b>", "text/plain": "no table"}},
        {"text": "printed"},
        {"data": {"text/html": "<table>", "text/plain": "a  b"}},
        {"data": {"image/png": "AA==", "text/plain": "A line."}},
    ]
    cell = {"cell_type": "code", "id": "x", "source": "", "outputs": outputs}
    page = EDITION.Shown(outputs={"cell-x": [[], ["*Table 1: A.*"], ["*Figure 1: B.*"]]})
    text = EDITION.as_markdown(json.dumps({"cells": [cell]}), ".ipynb", page)
    blocks = [
        "Said.",
        "```text\nno table\n```",
        "```text\nprinted\n```",
        "*Table 1: A.*",
        "```text\na  b\n```",
        "*Figure 1: B.*",
        "```text\nA line.\n```",
    ]
    assert text == "\n\n".join(blocks) + "\n"


# --- what is looked up


def test_the_works_are_sorted_by_how_they_are_cited(html: Path) -> None:
    page = soup(html / "bibliography.html")
    names = [work.strong.get_text() for work in page.select("div.citation")]
    assert names == sorted(names, key=str.casefold)
    assert len(names) == len({*names})  # a citation means one work
    assert {"Gunjal et al., 2025", "Rubric Dropout, 2026", "von Werra and others, 2020"} <= {*names}
    assert not page.select(".citation .label")
    said = soup(html / "after.html").select_one('a[href^="bibliography.html#"]').get_text()
    assert said == "Gunjal et al., 2025"


def test_the_glossary_leads_to_each_letter(html: Path) -> None:
    page = soup(html / "glossary.html")
    terms = page.select("dl.glossary dt")
    assert all(term.find_next_sibling().name == "dd" for term in terms)  # none stands empty
    found = {link.get_text(): link["href"] for link in page.select(".rar-letters a")}
    first: dict[str, str] = {}
    for term in terms:
        first.setdefault(term.get_text()[0].upper(), f"#{term['id']}")
    assert found == first


# --- around the pages


def test_the_foot_names_licence_version_and_paper(html: Path) -> None:
    for page in html.glob("*.html"):
        foot = soup(page).select_one("footer.bd-footer, .bd-footer-content").get_text()
        assert "Apache-2.0" in foot
        assert "CC BY 4.0" in foot
        assert re.search(r"Version \d+\.\d+", foot)
        assert soup(page).select_one(".rar-foot a")["href"].endswith("/2507.17746")


def test_chapters_lead_to_each_other_and_offer_their_notebook(html: Path) -> None:
    page = soup(html / f"{JUDGE}.html")
    around = [a["href"] for a in page.select(".prev-next-area a")]
    assert around == ["03_the_data_audited.html", "05_down_to_the_criterion.html"]
    assert page.select(f'a[href="_sources/{JUDGE}.ipynb"]')
    assert json.loads((html / "_sources" / f"{JUDGE}.ipynb").read_text(encoding="utf-8"))["cells"]


# --- in a real browser


CUT = """() => [...document.querySelectorAll('.rar-scroll:has(table)')].map(e => [
  e.scrollWidth > e.clientWidth + 1, e.classList.contains('rar-cut-right'),
  (h => h && h.classList.contains('rar-hint') && !h.hidden)(e.previousElementSibling) || false])"""


@pytest.mark.parametrize("width", [820, 1400])
def test_a_table_that_is_cut_says_so(chrome: Any, html: Path, width: int) -> None:
    page = chrome.new_page(viewport={"width": width, "height": 900})
    page.goto((html / f"{JUDGE}.html").as_uri())
    page.wait_for_timeout(200)
    grading, steps, small = page.evaluate(CUT)
    assert grading == small == [False, False, False]
    assert steps == [True, True, True]
    page.evaluate("""
        const box = document.querySelectorAll('.rar-scroll:has(table)')[1];
        box.scrollLeft = box.scrollWidth;""")
    page.wait_for_timeout(200)
    assert page.evaluate(CUT)[1][1] is False  # at the end nothing is cut any more


def test_on_a_telephone_a_row_is_a_list_with_the_titles(chrome: Any, html: Path) -> None:
    page = chrome.new_page(viewport={"width": 400, "height": 900})
    page.goto((html / f"{JUDGE}.html").as_uri())
    page.wait_for_timeout(200)
    grading, steps, small = page.evaluate(CUT)
    assert grading == small == [False, False, False]
    assert steps == [True, True, True]  # numbers only: they scroll, and can be compared
    cell = "document.querySelectorAll('table.rar-list tbody td')[2]"
    assert page.evaluate(f"getComputedStyle({cell}, '::before').content") == '"ties half"'


def test_on_a_telephone_a_value_stands_beside_its_title_link_and_all(
    chrome: Any, html: Path
) -> None:
    page = chrome.new_page(viewport={"width": 400, "height": 900})
    page.goto((html / f"{JUDGE}.html").as_uri())
    left, value, link = page.evaluate("""() => {
      const cell = document.querySelectorAll('table.rar-list tbody td')[3];
      cell.innerHTML = '<i>words</i>, <a href="#">a link</a>';
      return [cell, ...cell.children].map(e => e.getBoundingClientRect().left);
    }""")
    assert value > left + 100
    assert link > value


def test_on_a_telephone_the_card_begins_with_its_title_and_has_no_frame(
    chrome: Any, html: Path
) -> None:
    page = chrome.new_page(viewport={"width": 400, "height": 900})
    page.goto((html / f"{JUDGE}.html").as_uri())
    table = page.locator("table.rar-list").first
    assert table.evaluate("e => getComputedStyle(e).borderTopWidth") == "0px"
    page.evaluate("""() => {
      const cells = document.querySelectorAll('table.rar-list tbody tr:first-child td');
      cells.forEach((cell, at) => cell.classList.toggle('rar-title', at === 1));
    }""")
    first, second = (
        table.locator("tbody td").nth(at).evaluate("e => e.getBoundingClientRect().top")
        for at in (0, 1)
    )
    assert second < first


def test_the_caption_of_a_narrow_table_has_room(chrome: Any, html: Path) -> None:
    page = chrome.new_page(viewport={"width": 1400, "height": 900})
    page.goto((html / f"{JUDGE}.html").as_uri())
    caption = page.locator("article caption").last
    caption.evaluate("""e => {
      const others = e.closest('table').querySelectorAll('tr > :nth-child(n + 2)');
      others.forEach(cell => cell.remove());
    }""")
    assert caption.evaluate("e => e.offsetWidth") >= 300


def test_the_label_of_folded_code_stays_where_it_is(chrome: Any, html: Path) -> None:
    page = chrome.new_page(viewport={"width": 1400, "height": 900})
    page.goto((html / f"{FIRST}.html").as_uri())
    fold = page.locator("div.cell details.hide").first
    left = "e => [...e.querySelectorAll('summary > p')].find(p => p.offsetWidth).offsetLeft"
    closed = fold.evaluate(left)
    fold.locator("summary").click()
    assert fold.evaluate("e => e.open")
    assert fold.evaluate(left) == closed
    edge, ink = fold.evaluate("""e => {
      const rule = document.createElement('i');
      rule.style.color = 'var(--rar-ink)';
      e.append(rule);
      return [getComputedStyle(e).borderLeftColor, getComputedStyle(rule).color];
    }""")
    assert edge == ink


FIGURE = "figure.rar-figure > .rar-scroll"


def test_on_a_telephone_a_figure_scrolls_and_its_letters_can_be_read(
    chrome: Any, html: Path
) -> None:
    page = chrome.new_page()
    assert too_wide(page, 400) is None
    page.goto((html / f"{JUDGE}.html").as_uri())
    page.wait_for_load_state("load")
    assert min(letters(page, html)) >= LETTER_PX
    assert too_wide(page, 400) is None
    box = page.locator(FIGURE).first
    page.locator("figure .rar-hint").first.wait_for(state="visible")
    assert "more to the right: scroll" in page.inner_text("figure .rar-hint")
    assert box.get_attribute("aria-label") == "Figure 4.1"
    box.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(200)
    assert box.evaluate("e => e.scrollLeft") > 0


def test_a_figure_that_fits_is_no_stop_for_the_keyboard(chrome: Any, html: Path) -> None:
    page = chrome.new_page(viewport={"width": 1400, "height": 900})
    page.goto((html / f"{JUDGE}.html").as_uri())
    page.wait_for_selector(f"{FIGURE}:not([tabindex])")
    assert page.locator("figure .rar-hint").count() == 0


def test_letters_that_are_too_small_are_found(chrome: Any, html: Path) -> None:
    page = chrome.new_page(viewport={"width": 400, "height": 900})
    page.goto((html / f"{JUDGE}.html").as_uri())
    page.add_style_tag(content="img { zoom: 1 !important; max-width: 100% !important; }")
    assert min(letters(page, html)) < LETTER_PX


def test_a_long_formula_begins_where_one_sees_it_and_can_be_scrolled(
    chrome: Any, html: Path
) -> None:
    page = chrome.new_page(viewport={"width": 500, "height": 900})
    page.goto((html / f"{FIRST}.html").as_uri())
    page.wait_for_selector(".rar-equation:not([tabindex])")
    page.evaluate("document.querySelector('.rar-equation > math').style.minWidth = '60rem'")
    page.set_viewport_size({"width": 400, "height": 900})
    page.wait_for_selector(".rar-equation[tabindex='0']")
    left, formula = page.evaluate("""['.rar-equation', '.rar-equation > math'].map(
        name => document.querySelector(name).getBoundingClientRect().left)""")
    assert formula >= left


def test_a_definition_shows_for_the_pointer_and_for_the_keyboard(chrome: Any, html: Path) -> None:
    page = chrome.new_page()
    page.goto((html / f"{JUDGE}.html").as_uri())
    tip = page.locator(".rar-tip").nth(1)
    assert not tip.is_visible()
    page.hover(".rar-term >> nth=1")
    assert tip.is_visible()
    page.mouse.move(0, 0)
    page.locator(".rar-term > a").nth(0).focus()
    page.keyboard.press("Tab")
    assert tip.is_visible()


@pytest.mark.parametrize("width", [1400, 820, 400])
def test_a_definition_stays_in_the_window(chrome: Any, html: Path, width: int) -> None:
    page = chrome.new_page(viewport={"width": width, "height": 900})
    page.goto((html / f"{JUDGE}.html").as_uri())
    page.add_style_tag(content=".bd-article p { text-align: right } .bd-container { width: 100% }")
    page.add_style_tag(content=".rar-term { float: right } .bd-sidebar-secondary { display: none }")
    tip = page.locator(".rar-tip").first
    page.hover(".rar-term >> nth=0")
    box = tip.bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_code_that_is_cut_says_so(chrome: Any, html: Path) -> None:
    page = chrome.new_page(viewport={"width": 400, "height": 900})
    page.goto((html / f"{FIRST}.html").as_uri())
    page.locator(".highlight > .rar-hint:visible").first.wait_for()
    found = page.evaluate(CUT.replace(".rar-scroll:has(table)", ".highlight pre"))
    assert [True] * 3 in found
    assert [False] * 3 in found
    assert all(len(set(one)) == 1 for one in found)


def test_the_search_quotes_the_text_of_its_hits(chrome: Any, root: str) -> None:
    page = chrome.new_page()
    problems = watch(page, root)
    page.goto(f"{root}search.html?q=wordgolem")
    page.wait_for_selector(".rar-excerpt", timeout=10_000)
    assert page.locator(".rar-excerpt mark").all_inner_texts() == ["wordgolem"]
    assert "A wordgolem note." in page.inner_text(".rar-excerpt")
    assert problems == []


def test_hostile_text_in_a_quoted_hit_runs_nothing(chrome: Any, root: str) -> None:
    page = chrome.new_page()
    page.goto(f"{root}search.html?q=onerror")
    page.wait_for_selector(".rar-excerpt", timeout=10_000)
    assert "<img src=x onerror=" in page.inner_text("#search-results")
    assert page.evaluate("typeof window.pwned") == "undefined"
