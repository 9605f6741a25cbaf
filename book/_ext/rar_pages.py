"""Sphinx extension of this book: the tables and figures of a page, made readable.

Works on the finished body of a page, because most tables are HTML outputs of notebooks and
pass through Sphinx as they are. Every table and figure gets a number, a caption and, a figure,
an alternative text. Captions stand in ``captions.toml``: an entry names the section and either
the first columns of the table or the function that drew the figure; what has no entry gets a
caption from its section and its columns or axes. A ``<caption>`` that an output brings along
wins over both. An entry with a ``name`` can be referred to on its page: the role
``{shown}`name` `` becomes its number and leads there, and words where the section shows nothing of
the kind, because this edition has no record for it. Every cell of code can be led to by the id
that its notebook gives it, and a table's ``notebooks/NAME.ipynb#ID`` leads to it. What
sphinx-exercise writes gets an id only once a page.
"""

from __future__ import annotations

import json
import re
import textwrap
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bs4 import BeautifulSoup, Tag
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

#: From this number of columns on a table is set smaller, so that it fits the column of text.
MANY_COLUMNS = 7
#: Up to this number of columns a table stays a table on a telephone, whatever it holds.
FEW_COLUMNS = 2
#: Characters that a line of a table has on a telephone, and those that a column's edges take.
PHONE = 41
EDGES = 3
#: A title up to this length stands in one line, however narrow its column is.
SHORT_TITLE = 10
#: A name up to this length is kept on one line.
LONG_WORD = 18
#: What must not break inside: a count, a value with its interval, a number with its unit.
WHOLE = re.compile(
    r"\(n = \d[\d,]*\)|(?:[-−+]?\d[\d.,]* )?\[[-−+]?\d[\d.,]*, [-−+]?\d[\d.,]*\]"
    r"|\d %|\d (?:min|s|h)\b"
)
#: A cell of a column of numbers: a number with what belongs to it, or a mark for none.
NUMBER = re.compile(
    r"<?[-−+]?\d[\d.,]*(e-?\d+)?( ?%)?"
    r"( \[[^\]]*\]| \(n = [\d,]+\)| \([-−+]?\d[\d.,]*\)| / \d[\d.,]*)?|[–-]|nan|NaN|None|"
)
#: What the functions of rar_lib.book.figures draw, in words.
DRAWN = {
    "alternatives": "Vertical bars, one panel a question; solid where the token answers it",
    "arm_curves": "Lines over the steps, a colour an arm; thin lines are single seeds",
    "by_size": "Lines with whiskers, one line a series, over a logarithmic axis",
    "cost": "Points with whiskers, a shape for each judge and a colour for each arm",
    "credit_bars": "Horizontal bars, one a criterion, solid where the credit is earned",
    "forest": (
        "Points with horizontal 95 % intervals, one row a name, beside a dashed line; colour and"
        " mark say on which side of it an interval lies"
    ),
    "forests": (
        "Panels with the same rows: points with horizontal 95 % intervals beside a dashed line;"
        " colour and mark say on which side of it an interval lies"
    ),
    "gains": "Lines with whiskers, one panel a run and one line a grader",
    "group": "Two panels of horizontal bars, one row a response: its reward, and its advantage",
    "grouped_bars": "Groups of vertical bars, one colour a series, with whiskers",
    "reliability": "Two curves beside the dashed diagonal of a judge that is never off",
    "reward_curve": "A line in a band of one standard deviation, dashed lines of held-out looks",
    "slopes": "Thin lines from before to after, one a task, and a thick line of their mean",
    "step_flow": "Boxes and arrows",
    "stages": "Horizontal bars cut into stages",
    "strips": "Rows of dots, one dot a value, and a vertical bar at the mean of each row",
}
#: Where a cell is found, as the ledger names it.
CELL = re.compile(r"notebooks/((\d\d)_\w+)\.ipynb#([\w-]+)")
CALL = re.compile(r"\bfigures\.(" + "|".join(DRAWN) + r")\(")
AXIS = re.compile(r'\b([xy])label=f?"([^"]*)"')


def captions(book: Path) -> dict[str, list[dict[str, str]]]:
    """The entries of ``captions.toml``: page -> entries."""
    path = book / "captions.toml"
    return tomllib.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def finish(
    body: str,
    written: list[dict[str, str]],
    ids: Sequence[str] = (),
    uri: Callable[[str], str | None] = lambda stem: None,
) -> str:
    """Return a page's body with its tables and figures numbered, captioned and labelled.

    Args:
        ids: of the cells of code that the page shows, in their order.
        uri: the address of a page from this one; ``None`` if there is no such page.
    """
    page = BeautifulSoup(body, "html.parser")
    cells = page.select("div.cell")
    if len(cells) == len(ids):
        for cell, name in zip(cells, ids, strict=True):
            cell["id"] = f"cell-{name}"
    _lead_to_cells(page, uri)
    number = page.select_one("h1 > .section-number")
    chapter = number.get_text().strip().rstrip(".") + "." if number else ""
    for part in page.select("#exercise-content, #solution-content"):
        part.name = "div"  # no section of the page: it has no heading, and all have the same id
        del part["id"]
    tables = [
        table
        for table in page.find_all("table")
        if table.find("th") and not table.find_parent("table")
    ]
    for at, table in enumerate(tables, 1):
        _finish_table(page, table, f"{chapter}{at}", written)
    pictures = page.select(".cell_output img, figure img.rar-drawn")
    for at, picture in enumerate(pictures, 1):
        _finish_figure(page, picture, f"{chapter}{at}", written)
    _refer(page, _left_out(written, tables, pictures))
    for entry in page.select('[role="list"] > [role="doc-biblioentry"]'):
        entry["role"] = "listitem"  # the other role is deprecated, and a list needs items
    for text in page.find_all(string=WHOLE):
        if not text.find_parent(["pre", "code", "script", "style"]):
            text.replace_with(WHOLE.sub(lambda match: match[0].replace(" ", "\u00a0"), str(text)))
    return str(page)


def _lead_to_cells(page: BeautifulSoup, uri: Callable[[str], str | None]) -> None:
    for text in page.find_all(string=CELL):
        where = CELL.search(text)
        address = uri(where[1]) if where and text.find_parent("td") else None
        if where is None or address is None:
            continue
        link = page.new_tag("a", href=f"{address}#cell-{where[3]}")
        link.string = f"chapter {int(where[2])}"
        link["class"] = ["reference", "internal"]
        text.replace_with(text[: where.start()], link, text[where.end() :])


def _left_out(
    written: list[dict[str, str]], tables: Sequence[Tag], pictures: Sequence[Tag]
) -> dict[str, str]:
    """The names of what this edition doesn't show -> its kind, ``table`` or ``figure``.

    A section that shows a table, but not the one that is meant, leaves nothing out: its columns
    have changed, and the entry has to follow them.
    """
    shown = {("table", _section(one)) for one in tables}
    shown |= {("figure", _section(one)) for one in pictures}
    found = {}
    for entry in written:
        kind = "table" if "table" in entry else "figure"
        if "name" in entry and (kind, entry["under"]) not in shown:
            found[entry["name"]] = kind
    return found


def _refer(page: BeautifulSoup, left_out: dict[str, str]) -> None:
    """Put numbers in the place of names, and drop the marks by which they were found.

    Raises:
        ExtensionError: a name of nothing that the page could show.
    """
    marked = page.select("[data-named]")
    named = {element["data-named"]: element for element in reversed(marked)}  # the first of a name
    for reference in page.select(".rar-shown"):
        name = reference.get_text()
        if name not in named and name in left_out:
            article = "A" if _begins_sentence(reference) else "a"
            reference.replace_with(f"{article} {left_out[name]} that is not in this edition")
            continue
        if name not in named:
            known = ", ".join(sorted(named)) or "none"
            raise ExtensionError(
                f"the page refers to {name!r}, which is the name of none of its tables and figures;"
                f" captions.toml names: {known}"
            )
        target = named[name]
        link = page.new_tag("a", href=f"#{target['id']}", attrs={"class": "reference internal"})
        link.string = target.select_one(".rar-number").get_text().rstrip(".")
        reference.replace_with(link)
    for element in marked:
        del element["data-named"]


def _begins_sentence(element: Tag) -> bool:
    before = element.previous_sibling
    return before is None or str(before).rstrip().endswith((".", "?", "!"))


def _section(element: Tag) -> str:
    """The heading that ``element`` stands under, without its number and its link.

    In the solution of an exercise this is the number of the exercise.
    """
    solution = element.find_parent(class_="solution")
    if solution is not None:
        exercise = solution.find_previous(class_="exercise").select_one(".caption-number")
        return f"Solution of {' '.join(exercise.get_text().split())}"
    section = element.find_parent("section")
    heading = section.find(re.compile("^h[1-6]$")) if section else None
    if heading is None:
        return ""
    said = BeautifulSoup(str(heading), "html.parser")
    for extra in said.select(".section-number, .headerlink"):
        extra.decompose()
    return " ".join(said.get_text().split()).replace("\u2019", "'")


def _columns(table: Tag) -> list[str]:
    head = table.select_one("thead > tr") or table.find("tr")
    return [" ".join(cell.get_text().split()) for cell in head.find_all(["th", "td"])]


def _finish_table(page: BeautifulSoup, table: Tag, number: str, written: list[Any]) -> None:
    columns = _columns(table)
    section = _section(table)
    if not table.find("caption"):
        asked = [
            one
            for one in written
            if "table" in one and one["under"] == section and _begins(columns, one["table"])
        ]
        _name(table, asked)
        caption = page.new_tag("caption")
        colon = "" if section.endswith("?") else ":"
        said = (
            asked[0]["caption"]
            if asked
            else f"{section}{colon} {', '.join(filter(None, columns))}."
        )
        caption.string = said
        table.insert(0, caption)
    _number(page, table.find("caption"), f"Table {number}")
    table["id"] = f"table-{number.replace('.', '-')}"
    rows = [row.find_all(["th", "td"], recursive=False) for row in table.select("tbody > tr")]
    body = [list(cells) for cells in zip(*rows, strict=False)]
    heads = table.select("thead > tr > th")
    _align(heads, body)
    table["class"] = [*table.get("class", []), *_size(columns, body)]
    _label(rows, columns)
    _entitle(body)
    if len(heads) == len(body):
        for head, cells in zip(heads, body, strict=True):
            _tighten(page, head, cells, lines=3 if len(columns) >= MANY_COLUMNS else 2)
    box = table.find_parent(class_=["output", "pst-scrollable-table-container"])
    if box is not None:
        _scrolls(box, "region", f"Table {number}")


def _scrolls(box: Tag, role: str, name: str) -> None:
    """Let a reader without a mouse scroll a box, and know what it is."""
    box["class"] = [*box.get("class", []), "rar-scroll"]
    box["tabindex"] = "0"
    box["role"] = role
    box["aria-label"] = name


def _name(element: Tag, entries: list[dict[str, str]]) -> None:
    """Mark what the author of the page refers to."""
    if entries and "name" in entries[0]:
        element["data-named"] = entries[0]["name"]


def _begins(columns: list[str], wanted: str) -> bool:
    first = [part.strip() for part in wanted.split("|")]
    return columns[: len(first)] == first


def _words(cell: Tag) -> str:
    return " ".join(cell.get_text().split())


def _mark(cell: Tag, kind: str) -> None:
    kinds = cell.get_attribute_list("class")
    cell["class"] = list(dict.fromkeys([*filter(None, kinds), kind]))


def _numeric(cells: Sequence[Tag]) -> bool:
    return all(NUMBER.fullmatch(_words(cell)) for cell in cells)


def _align(heads: Sequence[Tag], body: Sequence[Sequence[Tag]]) -> None:
    """Mark the columns that hold numbers only, so that they stand to the right."""
    for at, cells in enumerate(body):
        if _numeric(cells):
            for cell in [*cells, *heads[at : at + 1]]:
                _mark(cell, "num")


def _label(rows: Sequence[Sequence[Tag]], columns: Sequence[str]) -> None:
    """Give each cell the title of its column, and keep a single word in one piece."""
    for cells in rows:
        for cell, title in zip(cells, columns, strict=False):
            cell["data-label"] = title
            word = cell.get_text().strip()
            if word and " " not in word and len(word) <= LONG_WORD:
                _mark(cell, "rar-word")


def _entitle(body: Sequence[Sequence[Tag]]) -> None:
    """Mark what tells the rows apart: on a telephone it is the title of a row's card."""
    said = [[_words(cell) for cell in cells] for cells in body]
    for at in _telling(said, [_numeric(cells) for cells in body]):
        for cell in body[at]:
            _mark(cell, "rar-title")


def _telling(said: Sequence[Sequence[str]], numeric: Sequence[bool]) -> list[int]:
    """The first column if it tells the rows apart, else the text that does, else the first texts.

    A column that names a group of rows does not.
    """
    texts = [at for at, number in enumerate(numeric) if not number]
    first = [texts[:end] for end in range(2, len(texts) + 1)]
    tried = [[0], *([at] for at in texts), *first] if said else []
    known = [ats for ats in tried if _differ([said[at] for at in ats])]
    return [*known, *tried][0] if tried else []


def _differ(columns: Sequence[Sequence[str]]) -> bool:
    rows = list(zip(*columns, strict=True))
    return len(set(rows)) == len(rows)


def _size(columns: Sequence[str], body: Sequence[Sequence[Tag]]) -> list[str]:
    """The classes of a table by its size: set smaller, and how it stands on a telephone."""
    kinds = ["rar-many"] if len(columns) >= MANY_COLUMNS else []
    if len(columns) <= FEW_COLUMNS or _fits_phone(columns, body):
        return kinds
    # Numbers are there to be compared, row by row: their table scrolls.
    return [*kinds, "rar-grid" if all(map(_numeric, body[1:])) else "rar-list"]


def _fits_phone(columns: Sequence[str], body: Sequence[Sequence[Tag]]) -> bool:
    widths = [_least(title, cells) for title, cells in zip(columns, body, strict=False)]
    return sum(widths) + EDGES * len(widths) <= PHONE


def _least(title: str, cells: Sequence[Tag]) -> int:
    """Characters that a column takes: numbers are not broken, text may stand in two lines."""
    said = [_words(cell) for cell in cells]
    widest = max(map(len, said), default=0)
    words = [len(word) for text in [title, *said] for word in text.split()]
    longest = max(words, default=0)
    return max(longest, widest if _numeric(cells) else (widest + 1) // 2)


def _tighten(page: BeautifulSoup, head: Tag, cells: Sequence[Tag], lines: int) -> None:
    """Break a title that is wider than its column where it takes the least room.

    A browser breaks all titles of a table that is a little too wide, whatever room they have.
    """
    title = _words(head)
    if not title or head.string is None:
        return  # it holds nothing, or more than text
    longest = max((len(_words(cell)) for cell in cells), default=0)
    pieces = _pieces(title, max(longest, SHORT_TITLE), lines)
    if len(title) > LONG_WORD and len(pieces) == 1:
        return
    _mark(head, "rar-word")
    place = head.string
    for piece in pieces[:-1]:
        place.insert_before(f"{piece} ", page.new_tag("br"))
    place.replace_with(pieces[-1])


def _pieces(title: str, width: int, lines: int) -> list[str]:
    """A title in lines of the given width, as even as can be; in no more than ``lines`` of them."""
    while len(found := _wrapped(title, width)) > lines:
        width += 1
    while width > 1 and len(_wrapped(title, width - 1)) == len(found):
        width -= 1
    return _wrapped(title, width)


def _wrapped(title: str, width: int) -> list[str]:
    return textwrap.wrap(title, width, break_long_words=False, break_on_hyphens=False)


def _finish_figure(page: BeautifulSoup, picture: Tag, number: str, written: list[Any]) -> None:
    cell = picture.find_parent(class_="cell")
    code = cell.select_one(".cell_input") if cell else None
    source = code.get_text() if code else ""
    call = CALL.search(source)
    drawn = call[1] if call else ""
    section = _section(picture)
    fitting = [
        one
        for one in written
        if one.get("figure") == drawn and one["under"] == section and one.get("has", "") in source
    ]
    entry = fitting[0] if fitting else {}
    axes = {which: re.sub(r"\{[^}]*\}", "…", name) for which, name in AXIS.findall(source)}
    about = ". ".join(
        f"{name} axis: {axes[which]}"
        for which, name in (("x", "Horizontal"), ("y", "Vertical"))
        if which in axes
    )
    seen = axes.get("y") or axes.get("x")
    said = entry.get("caption") or (f"{section}: {seen}." if seen else f"{section}.")
    given = picture.get("alt", "")
    if entry.get("alt"):
        picture["alt"] = entry["alt"]
    elif not given or (
        given.startswith("Figure: ") and (drawn or seen)
    ):  # not by the author of the cell
        picture["alt"] = ". ".join(filter(None, [DRAWN.get(drawn, "A figure"), about, said]))
    figure = picture.find_parent("figure")
    if figure is None:
        whole = picture.find_parent("a") or picture  # Sphinx lets a picture lead to its file
        box = whole.wrap(page.new_tag("div"))
        _scrolls(box, "group", f"Figure {number}")  # on a telephone it is wider than the page
        figure = box.wrap(page.new_tag("figure"))
    if not figure.find("figcaption"):
        caption = page.new_tag("figcaption")
        caption.string = said
        figure.append(caption)
    for old in figure.select(".caption-number"):
        old.decompose()
    first = figure.find("figcaption").contents[0]
    if isinstance(first, str) and not first.strip():  # of a figure that a page's author wrote
        first.extract()
    words = figure.select_one("figcaption .caption-text") or figure.find("figcaption")
    _number(page, words, f"Figure {number}")
    figure["id"] = f"figure-{number.replace('.', '-')}"
    for own in figure.select("figcaption .headerlink"):  # of the name that it had before
        own["href"] = f"#{figure['id']}"
    figure["class"] = [*figure.get("class", []), "rar-figure"]
    _name(figure, fitting)


def _number(page: BeautifulSoup, caption: Tag, name: str) -> None:
    mark = page.new_tag("span", attrs={"class": "rar-number"})
    mark.string = f"{name}."
    caption.insert(0, mark, " ")


def _finish_page(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any
) -> None:
    if doctree is None or not context.get("body"):
        return
    written = captions(Path(app.srcdir)).get(pagename, [])
    ids = cell_ids(Path(app.srcdir) / f"{pagename}.ipynb")

    def uri(stem: str) -> str | None:
        known = stem in app.env.found_docs
        return app.builder.get_relative_uri(pagename, stem) if known else None

    context["body"] = finish(context["body"], written, ids, uri)


def cell_ids(notebook: Path) -> list[str]:
    """Of the cells of code that a page shows; none for a page that is no notebook."""
    if not notebook.is_file():
        return []
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    return [
        str(cell["id"]) for cell in code if "remove-cell" not in cell["metadata"].get("tags", [])
    ]


def _shown(
    name: str, rawtext: str, text: str, lineno: int, inliner: Any, *_: Any, **__: Any
) -> tuple[list[nodes.Node], list[nodes.system_message]]:
    """The place of a reference; what its number is, the finished page knows."""
    # A literal, because the text of another node may be a term, which is explained in its place.
    return [nodes.literal(rawtext, text, classes=["rar-shown"])], []


def setup(app: Sphinx) -> dict[str, Any]:
    """Finish every page that has a text."""
    app.add_role("shown", _shown)
    app.connect("html-page-context", _finish_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
