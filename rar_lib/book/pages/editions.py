"""Editions of the book in one file: what an EPUB, or a page for the printer, holds.

The PDF is the pages as they were built and checked, joined and printed by Chromium. Their formulas
are MathML and their figures SVG, which a browser draws on paper as on the screen, and it is the
browser in which the pages are tested. WeasyPrint draws no MathML (Kozea/WeasyPrint, issue 59).
Typst and Quarto begin at sources of their own: what ``book/_ext`` makes in Sphinx, such as terms,
captions and numbers, would be made a second time for them. The price is a browser to install, for
the PDF alone. No page links either file, because they are made when asked for, after the pages.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import zipfile
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from typing import Any

from rar_lib.book import report
from rar_lib.book.pages.folds import join_folds
from rar_lib.book.pages.gate import SVG, check_page
from rar_lib.book.pages.rollouts import ROLLOUTS, ROLLOUTS_PLACE, kept_runs
from rar_lib.core.errors import ReproduceError
from rar_lib.core.files import atomic_write

#: What the PDF and the EPUB are called.
EDITION = "rubrics-as-rewards"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
#: Seconds that jupyter-book, or Chromium, may take.
TIMEOUT_S = 600
#: A table of more columns is printed row by row, as on a telephone.
PRINTED_COLUMNS = 10
PRINT_CSP = (
    "default-src 'none'; style-src 'unsafe-inline' file:; img-src file: data:; font-src file:"
)
#: What a page's foot says of the book, for its title in print: authors; licence, version, paper.
FOOT = ".component-author, .rar-foot"
FONT = "_static/fonts/STIXTwoMath-subset.woff2"
LEFT_OUT = (
    ".headerlink, .rar-source, .rar-tip, .rar-hint, .above-input, #rollouts-pick, button, script"
)


def packed(epub: Path, book: Path, data: Path, repo: Path) -> bytes:
    """The EPUB that Sphinx has made, finished and packed again.

    Args:
        epub: as Sphinx left it.
        book: the book's sources.
        data: folder where the chapters leave their results.
        repo: whose ``results/study`` is read.

    Raises:
        ReproduceError: a page holds what could run.
        DataError: a run is damaged.
    """
    with zipfile.ZipFile(epub) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    _finish_epub(parts, book, data, repo)
    whole = BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        # The format asks for its name first, in plain bytes.
        archive.writestr(_entry("mimetype"), parts.pop("mimetype"), zipfile.ZIP_STORED)
        for name, part in parts.items():
            archive.writestr(_entry(name), part, zipfile.ZIP_DEFLATED)
    return whole.getvalue()


def _entry(name: str) -> zipfile.ZipInfo:
    return zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))


def _finish_epub(parts: dict[str, bytes], book: Path, data: Path, repo: Path) -> None:
    """Fill the page of rollouts, refuse what could run, and list what Sphinx does not."""
    leaves = kept_runs(data, repo)
    mathematical = set()
    for name in [n for n in parts if n.endswith(".svg")]:
        # In a page a drawing needs no name space; in a file of its own it is none without one.
        if b"xmlns=" not in parts[name]:
            parts[name] = parts[name].replace(b"<svg ", f'<svg xmlns="{SVG}" '.encode(), 1)
    for name in [n for n in parts if n.endswith(".xhtml")]:
        text = parts[name].decode("utf-8")
        if name == f"{ROLLOUTS}.xhtml" and leaves:
            text = ROLLOUTS_PLACE.sub(lambda _: _shown(leaves), text)
        text = join_folds(text)
        check_page(text, name, "body")
        if "<math" in text:
            mathematical.add(name)
        parts[name] = text.encode("utf-8")
    items = parts["content.opf"].decode("utf-8")
    for name in mathematical:
        items = items.replace(f'href="{name}"', f'href="{name}" properties="mathml"')
    font = f'<item id="mathfont" href="{FONT}" media-type="font/woff2" />'
    parts[FONT] = (book / FONT).read_bytes()
    items = re.sub(r"\s*<dc:contributor>unknown</dc:contributor>", "", items)
    # Sphinx's style names fonts of a kind of reader, at an address that no other one knows.
    styles = parts["_static/epub.css"]
    parts["_static/epub.css"] = re.sub(rb"@font-face\s*\{[^}]*res:[^}]*\}", b"", styles)
    parts["_static/rar.css"] += files("rar_lib.book").joinpath("epub.css").read_bytes()
    parts["content.opf"] = items.replace("</manifest>", f"  {font}\n  </manifest>").encode("utf-8")


def _shown(leaves: Sequence[report.Leaf]) -> str:
    """The first of the kept rollouts, without what picks another one."""
    from bs4 import BeautifulSoup

    shown = BeautifulSoup(report.browser_body(leaves), "html.parser")
    for choice in shown.select("#rollouts-pick, svg"):
        choice.decompose()
    return str(shown)


def printed(html: Path, stems: list[str], work: Path) -> bytes:
    """The pages as one PDF, printed by Chromium.

    Args:
        html: folder of built pages.
        stems: names of the pages in their order, the first being the title's.
        work: absolute path of a folder of its own, which is emptied.

    Raises:
        ReproduceError: no Chromium is here, or it failed.
    """
    program = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if program is None:
        raise ReproduceError(
            f"the PDF is printed by Chromium, and none of {', '.join(CHROMIUM)} is on the PATH. "
            "Install one (Debian: apt-get install chromium), or make the EPUB, which needs none"
        )
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    page = work / "book.html"
    pdf = work / "book.pdf"
    page.write_text(print_page(html, stems), encoding="utf-8")
    command = [program, "--headless", "--disable-gpu", "--no-first-run", "--disable-sync"]
    command += ["--disable-background-networking", "--disable-component-update"]
    command += ["--no-sandbox"] if os.geteuid() == 0 else []  # as root it does not start with it
    command += [f"--user-data-dir={work / 'profile'}", "--no-pdf-header-footer"]
    command += ["--generate-pdf-document-outline", f"--print-to-pdf={pdf}", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    data = pdf.read_bytes() if pdf.is_file() else b""
    if done.returncode != 0 or not data.startswith(b"%PDF"):
        said = "\n".join(done.stderr.strip().splitlines()[-5:])
        raise ReproduceError(f"{program} printed nothing (exit status {done.returncode}):\n{said}")
    return data


def print_page(html: Path, stems: list[str]) -> str:
    """Return one page that holds the articles of all pages, for the printer.

    Ids get the name of their page in front, and links between pages become links within; what
    only works on a screen is left out, and what is folded is open, but for code above outputs.

    Args:
        html: folder of built pages.
        stems: names of the pages in their order, the first being the title's.
    """
    from bs4 import BeautifulSoup

    static = (html / "_static").resolve().as_uri()
    # Not among the book's own: jupyter-book puts every style that it finds there on every page.
    style = files("rar_lib.book").joinpath("print.css").read_text(encoding="utf-8")
    style = style.replace('url("fonts/', f'url("{static}/fonts/')
    articles = []
    contents = []
    title = foot = ""
    for stem in stems:
        page: Any = BeautifulSoup(
            (html / f"{stem}.html").read_text(encoding="utf-8"), "html.parser"
        )
        article = page.select_one("article.bd-article")
        for extra in article.select(LEFT_OUT):
            extra.decompose()
        _localise(article, stem, stems, html)
        for table in article.find_all("table"):
            row = table.find("tr")
            if row and len(row.find_all(["th", "td"], recursive=False)) > PRINTED_COLUMNS:
                table["class"] = [*table.get("class", []), "rar-rows"]
        heading = " ".join(article.h1.get_text().split())
        contents.append(f'<li><a href="#{stem}">{escape(heading)}</a></li>')
        articles.append(
            f'<section class="chapter" id="{stem}">{article.decode_contents()}</section>'
        )
        foot = foot or "".join(map(str, page.select(FOOT)))
        title = title or escape(heading)
    return (
        f'<!DOCTYPE html>\n<html lang="en" data-theme="light"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{PRINT_CSP}"><title>{title}</title>'
        f'<link rel="stylesheet" href="{static}/pygments.css">'
        f'<link rel="stylesheet" href="{static}/{ROLLOUTS}.css">'
        f"<style>{style}</style></head><body>"
        f'<header><p class="title">{title}</p>{foot}</header>'
        f'<nav><p class="contents">Contents</p><ol>{"".join(contents[1:])}</ol></nav>'
        f"{''.join(articles)}</body></html>\n"
    )


def _localise(article: Any, stem: str, stems: list[str], html: Path) -> None:
    """Make links, ids and pictures of one page those of the page that holds them all."""
    for element in article.find_all(True):
        for name in ("id", "aria-describedby", "for"):
            if element.get(name):
                element[name] = f"{stem}--{element[name]}"
        if element.name == "details":
            element["open"] = ""
        if element.name == "img":
            del element["loading"]
            if not element["src"].startswith("data:"):
                element["src"] = (html / element["src"]).resolve().as_uri()
        target = element.get("href")
        if target is None or re.match(r"https?:", target):
            continue
        name, _, anchor = target.partition("#")
        page = name.removesuffix(".html") or stem
        if page in stems:
            element["href"] = f"#{page}--{anchor}" if anchor else f"#{page}"
        else:
            del element["href"]


def is_current(path: Path, key: str) -> bool:
    """Whether an edition lies there that was made of just these inputs."""
    mark = path.with_name(f".{path.name}.key")
    return path.is_file() and mark.is_file() and mark.read_text(encoding="utf-8") == key


def keep(path: Path, data: bytes, key: str) -> None:
    """Write an edition, with the key of its inputs beside it."""
    mark = path.with_name(f".{path.name}.key")
    mark.unlink(missing_ok=True)
    atomic_write(path, data)
    mark.write_text(key, encoding="utf-8")
