"""Sphinx extension of this book: what a reader finds beside the text.

Terms carry their definition where a page uses them first; the search quotes the text of its
hits; every page has a foot with licence, version and paper, and its source in Markdown beside
it; ``llms.txt`` lists these. All of it is made at build time and works from disk. What a terminal
would obey is taken out of every text: a model may write it, and these files are also read there.
A page has no directive that brings in another file or markup of its own.
"""

from __future__ import annotations

import html
import json
import re
from collections import ChainMap
from collections.abc import Mapping
from importlib.metadata import version
from operator import itemgetter
from pathlib import Path
from typing import Any

from docutils import nodes
from pybtex.backends.plaintext import Backend
from rar_markdown import (
    Shown,
    all_roles,
    as_markdown,
    harmless,
    named,
    numbered,
    readable,
    with_works,
)
from rar_pages import captions
from rar_works import name_works
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

GLOSSARY = "glossary"
BIBLIOGRAPHY = "bibliography"
#: Pages in which no term is marked: they are lists themselves.
UNMARKED = (GLOSSARY, "status", BIBLIOGRAPHY)
#: Terms with another form than the entry and its plural with -s.
FORMS = {
    "Category": r"categor(?:y|ies)",
    "Criterion": r"criteri(?:on|a)",
    "Policy": r"polic(?:y|ies)",
    "Hold-out": r"hold-out(?: judge)?|held-out",
    "Holm": r"Holm(?:'s method|\u2019s method)?",
    "Calibration": r"calibrat(?:ion|ed)",
    "Reference answer": r"reference answers?",
}
#: Words that also have their everyday meaning in this book: marked only by an explicit role.
EVERYDAY = frozenset(["Record", "Family", "Weights", "Claim", "Finding", "Group", "Interval"])
PAPER = "https://arxiv.org/abs/2507.17746"
FOOT = (
    '<p class="rar-foot">Code: Apache-2.0. Text and data: CC BY 4.0. Version {version}. '
    f'The paper: <a href="{PAPER}">Rubrics as Rewards</a>.</p>'
)


class rar_term(nodes.Inline, nodes.TextElement):
    """A term at its first use: its text, its ``definition`` and the ``page`` of the glossary."""


def definitions(doctree: nodes.document) -> dict[str, tuple[str, str]]:
    """The entries of a glossary: term -> (anchor, definition as text)."""
    found = {}
    for item in doctree.findall(nodes.definition_list_item):
        body = next(item.findall(nodes.definition), None)
        for term in item.findall(nodes.term):
            text = " ".join(body.astext().split()) if body else ""
            found[term.astext().strip()] = (term["ids"][0], text)
    return found


def pattern(term: str) -> re.Pattern[str]:
    """What counts as a use of ``term`` in a sentence."""
    form = FORMS.get(term, re.escape(term) + "s?")
    return re.compile(rf"(?<![\w-])(?:{form})(?![\w-])", 0 if term.isupper() else re.IGNORECASE)


def _in_prose(text: nodes.Node) -> bool:
    node = text.parent
    prose = False
    while node is not None:
        if isinstance(node, nodes.literal | nodes.reference | nodes.title | nodes.table | rar_term):
            return False
        if isinstance(node, nodes.term | nodes.math | nodes.raw | nodes.strong | nodes.emphasis):
            return False
        if {"cell_output", "rar-run"} & set(node.get("classes", [])):
            return False
        prose = prose or isinstance(node, nodes.paragraph)
        node = node.parent
    return prose


def _mark_terms(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    if docname in UNMARKED or GLOSSARY not in app.env.found_docs:
        return
    left = definitions(app.env.get_doctree(GLOSSARY))
    for link in list(doctree.findall(nodes.reference)):  # {term} written by the author
        name = str(link.get("refuri", "")).rpartition("#term-")[2]
        for term, (anchor, text) in list(left.items()):
            if anchor == f"term-{name}":
                link.replace_self(_marked(app, docname, link.astext(), anchor, text))
                del left[term]
                break
    for term in EVERYDAY:
        left.pop(term, None)
    looked = {term: pattern(term) for term in sorted(left, key=len, reverse=True)}
    for text in list(filter(_in_prose, doctree.findall(nodes.Text))):
        _mark_text(app, docname, text, looked, left)


def _mark_text(
    app: Sphinx,
    docname: str,
    text: nodes.Text,
    looked: dict[str, re.Pattern[str]],
    left: dict[str, tuple[str, str]],
) -> None:
    """Replace the first uses in one piece of text, the leftmost first."""
    rest = str(text)
    made = []
    while True:
        hits = [
            (match.start(), -len(match[0]), term, match)
            for term, wording in looked.items()
            if (match := wording.search(rest))
        ]
        if not hits:
            break
        _, _, term, hit = min(hits, key=itemgetter(0, 1, 2))
        made += [nodes.Text(rest[: hit.start()]), _marked(app, docname, hit[0], *left[term])]
        rest = rest[hit.end() :]
        del looked[term]
    if made:
        text.parent.replace(text, [*made, nodes.Text(rest)])


def _marked(app: Sphinx, docname: str, said: str, anchor: str, text: str) -> rar_term:
    page = app.builder.get_relative_uri(docname, GLOSSARY) if app.builder else ""
    return rar_term("", said, anchor=anchor, page=page, definition=text)


def visit_term(translator: Any, node: rar_term) -> None:
    """Open the link; the definition stands beside it, out of the text of the page."""
    where = html.escape(f"{node['page']}#{node['anchor']}")
    about = f"about-{node['anchor']}"
    translator.body.append(
        f'<span class="rar-term"><a class="reference internal" href="{where}" '
        f'aria-describedby="{about}">'
    )


def depart_term(translator: Any, node: rar_term) -> None:
    """Close the link and write the definition."""
    about = f"about-{node['anchor']}"
    text = html.escape(node["definition"])
    translator.body.append(f'</a><span class="rar-tip" role="tooltip" id="{about}">{text}</span>')
    translator.body.append("</span>")


# --- what is looked up


def _lists(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    if docname == BIBLIOGRAPHY:
        cited = app.env.get_domain("cite")
        name_works(doctree, [cited.bibdata.data.entries[one.key] for one in cited.citations])
    if docname == GLOSSARY:
        _add_letters(doctree)


def _add_letters(doctree: nodes.document) -> None:
    """Put a line of letters before the terms, each a link to its first one."""
    first: dict[str, str] = {}
    for term in doctree.findall(nodes.term):
        first.setdefault(term.astext()[0].upper(), term["ids"][0])
    line = nodes.paragraph(classes=["rar-letters"])
    for letter, anchor in first.items():
        line += [nodes.reference("", letter, refid=anchor, internal=True), nodes.Text(" ")]
    entries = next(doctree.findall(addnodes.glossary))
    entries.parent.insert(entries.parent.index(entries), line)


# --- what may not get into a page


def _close(app: Sphinx) -> None:
    # A page could show any file that the build can read, and markup that nobody checks.
    app.env.settings |= {"file_insertion_enabled": False, "raw_enabled": False}


def _disarm(app: Sphinx, doctree: nodes.document) -> None:
    for text in list(doctree.findall(nodes.Text)):
        shown = harmless(text)
        if shown == text:
            continue
        block = text.parent
        block.replace(text, nodes.Text(shown))
        if isinstance(block, nodes.literal_block):
            block.rawsource = block.astext()  # Sphinx colours code only if the two are the same


# --- beside the pages


def _works(app: Sphinx) -> list[tuple[str, str]]:
    """Key and text of the works of the bibliography, in its order."""
    cited = app.env.get_domain("cite").citations
    return [(one.key, one.formatted_entry.text.render(Backend())) for one in cited]


def _as_read(app: Sphinx, name: str, pages: Mapping[str, Shown]) -> str:
    """A page in Markdown; ``pages`` are all finished ones: a page may name another's equation."""
    path = Path(app.env.doc2path(name))
    page = pages[name]
    titles = {stem: app.env.titles[stem].astext() for stem in pages}
    equations = dict(ChainMap(*(one.equations for one in pages.values())))
    entries = captions(Path(app.srcdir)).get(name, [])
    roles = all_roles(titles, equations, named(entries, page.numbers))
    text = as_markdown(path.read_text(encoding="utf-8"), path.suffix, page)
    try:
        text = readable(text, page, roles)
    except ValueError as why:
        raise ExtensionError(f"{path.name}: {why}") from why
    return with_works(text, _works(app)) if name == BIBLIOGRAPHY else text


def _write_beside(app: Sphinx, error: Exception | None) -> None:
    if error is not None or app.builder.name != "html":
        return
    out = Path(app.outdir)
    texts = {}
    lines = []
    names = _in_order(app)
    pages = {name: numbered((out / f"{name}.html").read_text(encoding="utf-8")) for name in names}
    for name in names:
        (out / f"{name}.md").write_text(_as_read(app, name, pages), encoding="utf-8")
        title = app.env.titles[name].astext()
        lines.append(f"- [{title}]({name}.md)")
        texts[name] = {"title": title, "text": _plain(app.env.get_doctree(name))}
    listed = "\n".join(lines)
    about = "One chapter a line, as Markdown with the outputs of its cells; the same pages as HTML"
    cited = "A key in brackets, such as [rar], is that of a work in the bibliography."
    (out / "llms.txt").write_text(
        f"# {app.config.html_title}\n\n> A book that explains and runs the method of {PAPER}\n\n"
        f"{about} lie beside them. {cited}\n\n## Pages\n\n{listed}\n",
        encoding="utf-8",
    )
    data = json.dumps(texts, ensure_ascii=True).replace("<", "\\u003c")
    (out / "_static" / "rar_texts.js").write_text(f"window.rarTexts = {data};\n")


def _in_order(app: Sphinx) -> list[str]:
    found = [app.config.root_doc]
    for name in found:
        found += [n for n in app.env.toctree_includes.get(name, []) if n not in found]
    return found


def _plain(doctree: nodes.document) -> str:
    """The text that the search quotes: what is written, without code."""
    parts = [
        " ".join(part.astext() for part in node)  # an exercise's title holds its subtitle
        if node.first_child_matching_class(nodes.subtitle) is not None
        else node.astext()
        for node in doctree.findall(nodes.TextElement)
        if isinstance(node, nodes.paragraph | nodes.title | nodes.term)
    ]
    return " ".join(" ".join(parts).split())


def _foot(app: Sphinx, config: Any) -> None:
    config.version = config.release = version("rar-lib")  # an EPUB names it
    options = config.html_theme_options
    options["extra_footer"] = options.get("extra_footer", "") + FOOT.format(
        version=html.escape(version("rar-lib"))
    )


def _name_source(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any
) -> None:
    if doctree is not None and app.builder.name == "html":
        context["body"] = (
            f'{context["body"]}\n<p class="rar-source"><a href="{html.escape(pagename)}.md">'
            "This page as Markdown</a></p>\n"
        )


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the terms, the foot, the files beside the pages, and what they are kept free of."""
    app.add_node(rar_term, html=(visit_term, depart_term))
    app.connect("config-inited", _foot)
    app.connect("builder-inited", _close)
    app.connect("doctree-read", _disarm)
    app.connect("doctree-resolved", _mark_terms)
    app.connect("doctree-resolved", _lists)
    app.connect("html-page-context", _name_source)
    app.connect("build-finished", _write_beside)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
