"""The gate of the book: what a page, an output, a figure or a drawing may hold.

Jupyter Book copies a ``text/html`` output into the page as it is, so a script in a model's
answer would run in the reader's browser. Model text can reach a page only through notebook outputs,
and goes there through an escaping helper: :func:`clean_notebook` holds the outputs to an allow-list
and refuses whatever did not go that way.
"""

from __future__ import annotations

import base64
import json
import re
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.parsers import expat

from rar_lib.book.figures import PIXELS, SVG_LIMIT
from rar_lib.core.errors import ReproduceError

#: What an output may hold.
TAGS = frozenset(
    [
        "a",
        "b",
        "blockquote",
        "br",
        "caption",
        "code",
        "col",
        "colgroup",
        "dd",
        "details",
        "div",
        "dl",
        "dt",
        "em",
        "figcaption",
        "figure",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "hr",
        "i",
        "img",
        "li",
        "mark",
        "ol",
        "p",
        "pre",
        "progress",
        "small",
        "span",
        "strong",
        "style",
        "sub",
        "summary",
        "sup",
        "table",
        "tbody",
        "td",
        "tfoot",
        "th",
        "thead",
        "tr",
        "ul",
    ]
)
ATTRIBUTES = frozenset(
    [
        "align",
        "alt",
        "border",
        "class",
        "colspan",
        "dir",
        "halign",
        "height",
        "href",
        "id",
        "lang",
        "max",
        "open",
        "role",
        "rowspan",
        "scope",
        "scoped",
        "src",
        "start",
        "style",
        "title",
        "type",
        "valign",
        "value",
        "width",
    ]
)
REFUSED_TYPES = ("application/javascript", "text/javascript")
SAFE_HREF = re.compile(r"(https?://|#|[\w./-]+(?:#|$))", re.A)
SAFE_SRC = re.compile(r"data:image/(png|jpeg|gif|webp);base64,")
ACTIVE_CSS = re.compile(r"@import|url\s*\(|expression\s*\(|\\", re.I)
ACTIVE_TAGS = frozenset(
    ["script", "iframe", "object", "embed", "applet", "base", "meta", "link", "frame", "form"]
)
#: What `tables.made_by` prints at the head of a chapter.
BANNER = re.compile(r"^profile \w+; .+; \d{4}-\d\d-\d\d\n?", re.MULTILINE)
WIDGET = "application/vnd.jupyter.widget-view+json"


class _Scan(HTMLParser):
    """Collect the first thing that is outside the allow-list."""

    def __init__(
        self, tags: frozenset[str] = TAGS, attributes: frozenset[str] = ATTRIBUTES
    ) -> None:
        super().__init__(convert_charrefs=True)
        self.problem: str | None = None
        self._tags = tags
        self._attributes = attributes
        self._in_style = False

    def _say(self, problem: str) -> None:
        self.problem = self.problem or problem

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self._tags:
            self._say(f"element <{tag}>")
        self._in_style = tag == "style"
        for name, value in attrs:
            text = (value or "").strip()
            if name not in self._attributes and not re.fullmatch(r"(data|aria)-[a-z0-9-]+", name):
                self._say(f"attribute {name} on <{tag}>")
            elif name == "href" and not SAFE_HREF.match(text):
                self._say(f"link to {text[:40]!r}")
            elif name == "src" and not SAFE_SRC.match(text):
                self._say(f"image from {text[:40]!r}")
            elif name == "style" and ACTIVE_CSS.search(text):
                self._say("a style that loads something")

    def handle_endtag(self, tag: str) -> None:
        self._in_style = False

    def handle_data(self, data: str) -> None:
        if self._in_style and ACTIVE_CSS.search(data):
            self._say("a style that loads something")

    def handle_comment(self, data: str) -> None:
        self._say("a comment")

    def handle_decl(self, decl: str) -> None:
        self._say("a declaration")

    def handle_pi(self, data: str) -> None:
        self._say("a processing instruction")

    def unknown_decl(self, data: str) -> None:
        self._say("a declaration")


def active_content(html: str) -> str | None:
    """Return what in ``html`` is not plain, static markup, or ``None``."""
    scan = _Scan()
    scan.feed(html)
    scan.close()
    return scan.problem


SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"
#: What an SVG may hold: shapes, text and what places them.
SVG_TAGS = frozenset(
    [
        "circle",
        "clipPath",
        "defs",
        "desc",
        "ellipse",
        "g",
        "line",
        "path",
        "polygon",
        "polyline",
        "rect",
        "style",
        "svg",
        "text",
        "title",
        "tspan",
        "use",
    ]
)
_PLAIN = re.compile(r"[\w\s.,+#%-]*")
_ONE = r"\s*[a-z-]+\s*:[\w\s.,+#%'-]*"
_DECLARED = rf"(?:{_ONE};)*(?:{_ONE})?\s*"
_LOCAL_PART = re.compile(r"#[\w.-]+")
#: Attributes of an SVG, each with what it may say. Nothing names another place than this file.
SVG_ATTRIBUTES = {
    "clip-path": re.compile(r"url\(#[\w.-]+\)"),
    "style": re.compile(_DECLARED),
    "transform": re.compile(r"[\w\s.,()+-]*"),
    "type": re.compile(r"text/css"),
    "href": _LOCAL_PART,
    f"{XLINK} href": _LOCAL_PART,
} | dict.fromkeys(
    [
        "clip-rule",
        "cx",
        "cy",
        "d",
        "fill",
        "fill-opacity",
        "fill-rule",
        "font-family",
        "font-size",
        "font-style",
        "font-weight",
        "height",
        "id",
        "opacity",
        "points",
        "r",
        "rx",
        "ry",
        "stroke",
        "stroke-dasharray",
        "stroke-dashoffset",
        "stroke-linecap",
        "stroke-linejoin",
        "stroke-miterlimit",
        "stroke-opacity",
        "stroke-width",
        "text-anchor",
        "version",
        "viewBox",
        "width",
        "x",
        "x1",
        "x2",
        "y",
        "y1",
        "y2",
    ],
    _PLAIN,
)
SVG_STYLE = re.compile(rf"\s*\*\s*\{{{_DECLARED}\}}\s*")


class _SvgScan:
    """Reads an SVG and writes it again from the parts that are allowed.

    What is written is what was read: no two readers can see different things in it. A ``use`` may
    show a path and nothing else, so that none can show others that show others.
    """

    def __init__(self) -> None:
        self.written: list[str] = []
        self._open: list[str] = []
        self._shown: set[str] = set()
        self._paths: set[str] = set()

    def start(self, name: str, attributes: dict[str, str]) -> None:
        space, _, tag = name.rpartition(" ")
        if space != SVG or tag not in SVG_TAGS or (tag == "svg") != (not self._open):
            raise ValueError(f"element <{tag}>")
        parts = [tag]
        if tag == "svg":
            parts += [f'xmlns="{SVG}"', f'xmlns:xlink="{XLINK}"']
        for key, value in attributes.items():
            allowed = SVG_ATTRIBUTES.get(key)
            short = key.rpartition(" ")[2]
            if allowed is None:
                raise ValueError(f"attribute {short} on <{tag}>")
            if not allowed.fullmatch(value):
                raise ValueError(f"{short}={value[:40]!r} on <{tag}>")
            prefix = "xlink:" if key.startswith(XLINK) else ""
            parts.append(f'{prefix}{short}="{escape(value)}"')
            if short == "href" and tag == "use":
                self._shown.add(value[1:])
            elif short == "id" and tag == "path":
                self._paths.add(value)
        self._open.append(tag)
        self.written.append(f"<{' '.join(parts)}>")

    def end(self, name: str) -> None:
        self.written.append(f"</{self._open.pop()}>")

    def text(self, said: str) -> None:
        if self._open[-1] == "style" and said.strip() and not SVG_STYLE.fullmatch(said):
            raise ValueError(f"the style {said.strip()[:40]!r}")
        self.written.append(escape(said, quote=False))

    def refuse(self, *_: object) -> None:
        raise ValueError("a declaration or an instruction")

    def check_uses(self) -> None:
        if other := sorted(self._shown - self._paths):
            raise ValueError(f"a <use> of {other[0][:40]!r}, which is no path")


def clean_svg(text: str) -> str:
    """Return an SVG written again from its allowed parts: shapes and text, nothing that acts.

    Raises:
        ValueError: says what in it is not allowed.
    """
    if len(text) > SVG_LIMIT:
        raise ValueError(f"{len(text):,} characters, more than {SVG_LIMIT:,}")
    # The declaration and the public name of the format, which matplotlib writes, are left out.
    text = re.sub(r"^\s*(?:<\?xml [^<>?]*\?>\s*)?(?:<!DOCTYPE svg [^<>\[\]]*>\s*)?", "", text)
    scan = _SvgScan()
    parser = expat.ParserCreate(encoding="utf-8", namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler = scan.start
    parser.EndElementHandler = scan.end
    parser.CharacterDataHandler = scan.text
    parser.StartDoctypeDeclHandler = scan.refuse
    parser.ProcessingInstructionHandler = scan.refuse
    try:
        parser.Parse(text.encode("utf-8", "replace"), True)
    except expat.ExpatError as error:
        raise ValueError(f"not well-formed ({error})") from error
    scan.check_uses()
    return "".join(scan.written)


def png_width(picture: bytes) -> int | None:
    """Pixels of a page that a PNG is wide whose density is at least twice that of a page.

    ``None``: it says no density, or a lower one, and is shown pixel by pixel.
    """
    found = re.search(rb"pHYs(.{4})(.{4})\x01", picture[:4096], re.DOTALL)
    if not picture.startswith(b"\x89PNG") or found is None:
        return None
    per_inch = int.from_bytes(found[1], "big") * 0.0254
    wide = int.from_bytes(picture[16:20], "big")
    return round(wide * PIXELS / per_inch) if per_inch >= 2 * PIXELS - 1 else None


def load_notebook(path: Path) -> dict[str, Any]:
    """Read an executed notebook (format 4)."""
    try:
        notebook: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ReproduceError(
            f"{path.name} is not a notebook ({error}). Delete it and run: make reproduce"
        ) from error
    return notebook


def clean_notebook(
    notebook: dict[str, Any], name: str, repo: Path, run_line: str
) -> dict[str, Any]:
    """Return the notebook as the book shows it.

    Paths under ``repo`` become relative, papermill's bookkeeping and widget state go, links
    to ``../book/`` become links between pages, images get an alternative text, and
    ``run_line`` is put under the title.

    Raises:
        ReproduceError: an output failed, is not executed, or is not static.
    """
    title = name.removesuffix(".ipynb")
    heading = ""
    titled_at = None
    for number, cell in enumerate(notebook["cells"]):
        source = "".join(cell["source"])
        cell["metadata"].pop("papermill", None)
        cell["metadata"].pop("execution", None)
        if cell["cell_type"] == "markdown":
            cell["source"] = re.sub(r"\]\((?:\.\./)?book/", "](", source)
            for level, text in re.findall(r"^(#{1,4})\s+(.+)$", source, re.M):
                heading = text.strip()
                if level == "#" and titled_at is None:
                    title = heading
                    titled_at = number
        if cell["cell_type"] != "code":
            continue
        where = f"{name}, cell {number}"
        if source.strip() and cell["execution_count"] is None:
            raise ReproduceError(f"{where} was not executed. Run: make reproduce")
        cell["outputs"] = [_clean_output(output, where, repo) for output in cell["outputs"]]
        shown = [output.get("data", {}) for output in cell["outputs"]]
        if any({"image/png", "image/svg+xml"} & data.keys() for data in shown):
            _describe_image(cell["metadata"], heading or title, shown)
    if run_line and titled_at is not None:
        note = {
            "cell_type": "markdown",
            "id": "rar-run",
            "metadata": {},
            "source": f":::{{div}} rar-run\n{run_line}\n:::",
        }
        _insert_under_title(notebook["cells"], titled_at, note)
    notebook["cells"] = _said_once(notebook["cells"])
    kernel = notebook["metadata"].get("kernelspec", {"name": "python3", "display_name": "Python"})
    notebook["metadata"] = {
        "kernelspec": {**kernel, "language": "python"},
        "language_info": {"name": "python", "pygments_lexer": "ipython3"},
        "title": title,
    }
    return notebook


def _said_once(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Cells of which the page does not say again what the line under its title says."""
    if any("injected-parameters" in _tags(cell) for cell in cells):
        # Those that ran: papermill's cell, without the defaults above it.
        cells = [cell for cell in cells if "parameters" not in _tags(cell)]
    for cell in cells:
        if {"parameters", "injected-parameters"} & set(_tags(cell)):
            # It stays in the file, which can be downloaded and run.
            cell["metadata"]["tags"] = [*_tags(cell), "remove-cell"]
        if cell["cell_type"] == "code":
            cell["outputs"] = list(filter(None, map(_without_banner, cell["outputs"])))
    return cells


def _without_banner(output: dict[str, Any]) -> dict[str, Any] | None:
    """An output without the line of :func:`rar_lib.book.tables.made_by`; ``None`` if it was all."""
    if output.get("output_type") != "stream":
        return output
    text = BANNER.sub("", "".join(output["text"]))
    return output | {"text": text} if text.strip() else None


def _tags(cell: dict[str, Any]) -> list[str]:
    tags: list[str] = cell["metadata"].get("tags", [])
    return tags


def _insert_under_title(cells: list[dict[str, Any]], at: int, note: dict[str, Any]) -> None:
    """Put ``note`` right under the ``# Title`` line, splitting that cell where needed."""
    head, mark, tail = cells[at]["source"].partition("\n")
    while not head.startswith("# ") and mark:
        more, mark, tail = tail.partition("\n")
        head += "\n" + more
    rest = [{**cells[at], "id": "rar-rest", "source": tail.strip()}] if tail.strip() else []
    cells[at : at + 1] = [{**cells[at], "source": head}, note, *rest]


def _clean_output(output: dict[str, Any], where: str, repo: Path) -> dict[str, Any]:
    if output["output_type"] == "error":
        raise ReproduceError(
            f"{where} ended with {output['ename']}: {output['evalue'][:200]}. "
            "Correct it and run: make reproduce"
        )
    output.pop("metadata", None) if output["output_type"] == "stream" else None
    if "text" in output:
        output["text"] = _local("".join(output["text"]), repo)
    data = output.get("data", {})
    data.pop(WIDGET, None)
    for kind in list(data):
        data[kind] = _clean_data(kind, data[kind], where, repo)
    return output


def _clean_data(kind: str, data: Any, where: str, repo: Path) -> Any:
    """One form of an output, checked."""
    if kind in REFUSED_TYPES:
        raise ReproduceError(
            f"{where} has an output of type {kind}, which can run code; "
            "emit PNG or escaped text instead"
        )
    if kind == "image/svg+xml":
        try:
            return clean_svg(_local("".join(data), repo))
        except ValueError as error:
            raise ReproduceError(
                f"{where} has an SVG with {error}; draw it with matplotlib, or emit PNG"
            ) from error
    if not kind.startswith("text/"):
        return data
    text = _local("".join(data), repo)
    if kind in ("text/html", "text/markdown", "text/latex"):
        problem = active_content(text)
        if problem:
            raise ReproduceError(
                f"{where} has a {kind} output with {problem}; show text through the "
                "escaping helper and tables through DataFrame.to_html(escape=True)"
            )
    return text


def _local(text: str, repo: Path) -> str:
    return text.replace(f"{repo.resolve()}/", "").replace(str(repo.resolve()), ".")


def _describe_image(metadata: dict[str, Any], heading: str, shown: list[dict[str, Any]]) -> None:
    """Give a figure an alternative text: the author's, the figure's own, or its section's heading.

    A PNG of high density gets the width for which it was drawn.
    """
    options = metadata.setdefault("mystnb", {})
    image = options.setdefault("image", {})
    caption = options.get("figure", {}).get("caption", "").strip()
    seen = " ".join(filter(None, map(_seen, shown)))
    image.setdefault("alt", caption or seen or f"Figure: {heading}")
    pictures = [
        base64.b64decode("".join(data["image/png"])) for data in shown if "image/png" in data
    ]
    for wide in filter(None, map(png_width, pictures)):
        image.setdefault("width", f"{wide}px")


def _seen(data: dict[str, Any]) -> str:
    """What a figure of ours says of itself; others say their type and size, in angle brackets."""
    drawn = {"image/png", "image/svg+xml"} & data.keys()
    said = " ".join("".join(data.get("text/plain", "")).split())
    return "" if not drawn or said.startswith("<") else said


def check_page(html: str, name: str, part: str = "article") -> None:
    """Refuse a built page whose article holds anything that could run.

    Args:
        html: the page.
        name: what it is called in an error.
        part: the element that holds what notebooks and prose say.

    Raises:
        ReproduceError: names the page and the element.
    """
    from bs4 import BeautifulSoup

    for article in BeautifulSoup(html, "html.parser").select(part):
        for element in article.find_all(True):
            if element.name in ACTIVE_TAGS:
                raise ReproduceError(f"{name}: <{element.name}> in the {part} is not allowed")
            for attribute, value in element.attrs.items():
                text = re.sub(
                    r"[\x00-\x20]", "", " ".join(value) if isinstance(value, list) else value
                )
                if attribute.lower().startswith("on") or text.lower().startswith(
                    ("javascript:", "vbscript:", "data:text")
                ):
                    raise ReproduceError(
                        f"{name}: {attribute}={text[:60]!r} on <{element.name}> is not allowed"
                    )


#: What a drawing of ours may hold.
DRAWN = frozenset(["svg", "style", "text", "line", "path", "rect"])
DRAWN_ATTRIBUTES = frozenset(
    [
        "class",
        "d",
        "height",
        "preserveaspectratio",
        "stroke-width",
        "text-anchor",
        "transform",
        "viewbox",
        "width",
        "x",
        "x1",
        "x2",
        "y",
        "y1",
        "y2",
    ]
)
DRAWING_PLACE = re.compile(r'<img[^>]*\ssrc="_images/([\w-]+\.svg)"[^>]*>')
ALT = re.compile(r'\salt="([^"]*)"')


def draw(html: Path, src: Path) -> None:
    """Put our drawings into their pages, where they follow the page's theme.

    An SVG behind ``<img>`` does not see the page's colours. The alternative text stays.

    Raises:
        ReproduceError: a drawing holds anything but lines, shapes and text.
    """
    for page in sorted(html.glob("*.html")):
        text = page.read_text(encoding="utf-8")
        drawn = DRAWING_PLACE.sub(lambda place: _drawing(place, src / "_static"), text)
        if drawn != text:
            page.write_text(drawn, encoding="utf-8")


def _drawing(place: re.Match[str], static: Path) -> str:
    path = static / place[1]
    if not path.is_file():  # a figure of a chapter, which keeps its own colours
        return place[0]
    svg = path.read_text(encoding="utf-8")
    scan = _Scan(DRAWN, DRAWN_ATTRIBUTES)
    scan.feed(svg)
    scan.close()
    if scan.problem:
        raise ReproduceError(f"{place[1]} holds {scan.problem}: no drawing of this book needs it")
    alt = ALT.search(place[0])
    if not alt or not alt[1].strip():
        raise ReproduceError(f"{place[1]} has no alternative text: give the directive an :alt:")
    return svg.replace("<svg ", f'<svg role="img" aria-label="{alt[1]}" ', 1).strip()
