"""What may enter the book: notebook outputs by allow-list, pages without active content.

Jupyter Book copies a ``text/html`` output into the page as it is, so a script in a model's
answer would run in the reader's browser. Model text therefore reaches an output only through
an escaping helper, and this module refuses whatever did not go that way.
"""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from rar_lib.core.errors import ReproduceError

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
REFUSED_TYPES = ("application/javascript", "image/svg+xml", "text/javascript")
SAFE_HREF = re.compile(r"(https?://|#|[\w./-]+(?:#|$))", re.A)
SAFE_SRC = re.compile(r"data:image/(png|jpeg|gif|webp);base64,")
NUMBER = re.compile(r"[-+−]?\d[\d.,]*(e-?\d+)?( ?%)?( \[[^\]]*\])?|[–-]|nan|NaN|None|")
ACTIVE_CSS = re.compile(r"@import|url\s*\(|expression\s*\(|\\", re.I)
ACTIVE_TAGS = frozenset(
    ["script", "iframe", "object", "embed", "applet", "base", "meta", "link", "frame", "form"]
)
WIDGET = "application/vnd.jupyter.widget-view+json"


class _Scan(HTMLParser):
    """Collect the first thing that is outside the allow-list."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.problem: str | None = None
        self._in_style = False

    def _say(self, problem: str) -> None:
        self.problem = self.problem or problem

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in TAGS:
            self._say(f"element <{tag}>")
        self._in_style = tag == "style"
        for name, value in attrs:
            text = (value or "").strip()
            if name not in ATTRIBUTES and not re.fullmatch(r"(data|aria)-[a-z0-9-]+", name):
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
    title, heading = name.removesuffix(".ipynb"), ""
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
                    title, titled_at = heading, number
        if cell["cell_type"] != "code":
            continue
        where = f"{name}, cell {number}"
        if source.strip() and cell["execution_count"] is None:
            raise ReproduceError(f"{where} was not executed. Run: make reproduce")
        cell["outputs"] = [_clean_output(o, where, repo) for o in cell["outputs"]]
        if any("image/png" in o.get("data", {}) for o in cell["outputs"]):
            _describe_image(cell["metadata"], heading or title)
    if run_line and titled_at is not None:
        note = {
            "cell_type": "markdown",
            "id": "rar-run",
            "metadata": {},
            "source": f":::{{div}} rar-run\n{run_line}\n:::",
        }
        _insert_under_title(notebook["cells"], titled_at, note)
    if any("injected-parameters" in _tags(cell) for cell in notebook["cells"]):
        # The values that ran are shown once: papermill's cell, without the defaults above it.
        notebook["cells"] = [c for c in notebook["cells"] if "parameters" not in _tags(c)]
    kernel = notebook["metadata"].get("kernelspec", {"name": "python3", "display_name": "Python"})
    notebook["metadata"] = {
        "kernelspec": {**kernel, "language": "python"},
        "language_info": {"name": "python", "pygments_lexer": "ipython3"},
        "title": title,
    }
    return notebook


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
        if kind in REFUSED_TYPES:
            raise ReproduceError(
                f"{where} has an output of type {kind}, which can run code; "
                "emit PNG or escaped text instead"
            )
        if not kind.startswith("text/"):
            continue
        data[kind] = _local("".join(data[kind]), repo)
        if kind in ("text/html", "text/markdown", "text/latex"):
            problem = active_content(data[kind])
            if problem:
                raise ReproduceError(
                    f"{where} has a {kind} output with {problem}; show text through the "
                    "escaping helper and tables through DataFrame.to_html(escape=True)"
                )
        if kind == "text/html" and "dataframe" in data[kind]:
            data[kind] = align_numbers(data[kind])
    return output


def align_numbers(html: str) -> str:
    """Give the class ``num`` to the columns of pandas tables that hold numbers only."""
    from bs4 import BeautifulSoup

    page = BeautifulSoup(html, "html.parser")
    for table in page.select("table.dataframe"):
        body = [row.find_all("td", recursive=False) for row in table.select("tbody > tr")]
        head = table.select_one("thead > tr")
        for column, cells in enumerate(zip(*body, strict=False)):
            if not all(NUMBER.fullmatch(cell.get_text().strip()) for cell in cells):
                continue
            titles = head.find_all("th", recursive=False)[-len(body[0]) :] if head else []
            for cell in [*cells, *titles[column : column + 1]]:
                cell["class"] = "num"
    return str(page)


def _local(text: str, repo: Path) -> str:
    return text.replace(f"{repo.resolve()}/", "").replace(str(repo.resolve()), ".")


def _describe_image(metadata: dict[str, Any], heading: str) -> None:
    """Give a figure an alternative text: the author's, or the heading that it stands under."""
    options = metadata.setdefault("mystnb", {})
    image = options.setdefault("image", {})
    caption = options.get("figure", {}).get("caption", "").strip()
    image.setdefault("alt", caption or f"Figure: {heading}")


def check_page(html: str, name: str) -> None:
    """Refuse a built page whose article holds anything that could run.

    Raises:
        ReproduceError: names the page and the element.
    """
    from bs4 import BeautifulSoup

    for article in BeautifulSoup(html, "html.parser").select("article"):
        for element in article.find_all(True):
            if element.name in ACTIVE_TAGS:
                raise ReproduceError(f"{name}: <{element.name}> in the article is not allowed")
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
