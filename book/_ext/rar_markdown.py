r"""The Markdown edition of a page: its source, without what only MyST understands.

A role becomes what it says: a term its text, a reference to a page a link, a citation the key of
the work, a table, a figure or an equation its number. The numbers are read from the finished page,
where they are counted; there, too, are the captions, which stand before what they are about. A
drawing is told in words. A back-slash goes where its character is only a character. Code and
formulas stay as they are. So do the marks of directives, such as ``:::{exercise}``.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bs4 import BeautifulSoup, Tag

#: What a terminal obeys: what an escape begins, and control characters but tab and line ends.
ORDERS = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\)?)?"
    r"|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]"
)
#: Where a page lists the works that the book cites; Sphinx fills it, and no source holds the list.
WORKS = re.compile(r"^:::\{bibliography\}\n.*?^:::$", re.M | re.S)
#: A link to a chapter, which lies beside its page as Markdown.
TO_CHAPTER = re.compile(r"(\]\(\w+)\.ipynb(?=[#)])")
#: What is no mere text in Markdown, the longest first; each kind is a group. What is open at the
#: end of its paragraph is none of it, but a block of code may be open at the end of the page.
PIECE = re.compile(
    r"""
    (?P<block>^[ ]*(?P<fence>`{3,}|~{3,})(?P<kind>[^`\n]*)\n(?P<inside>.*?)
        (?:^[ ]*(?P=fence)[`~]*[ ]*$|\Z))
    |(?P<table>^(?=\|[^\n]*\n\|(?:[ ]*:?-+:?[ ]*\|)+[ ]*$))
    |(?P<formula>\$\$(?:(?!\n[ ]*\n).)+?\$\$(?:[ ]\((?P<label>[\w-]+)\))?
        |\$(?:\\.|[^$\\\n]|\n(?![ ]*\n))+\$)
    |(?P<role>\{(?P<name>[\w:]+)\}`(?P<said>[^`]+)`)
    |(?P<code>(?<!(?<!\\)`)(?P<ticks>`+)(?!`)(?:(?!\n[ ]*\n).)+?(?<!`)(?P=ticks)(?!`))
    |(?P<brackets>\\\[(?P<bracketed>(?:\\[^\[\]\n]|[^\\\[\]\n`$]){2,})\\\](?!\\?[(\[:{]))
    |(?P<escape>\\(?P<mark>[!-/:-@\[-`{-~]))
    """,
    re.M | re.S | re.X,
)
#: A text with a target: what is said, and what of.
TARGETED = re.compile(r"(.+?)\s*<([^<>]+)>", re.S)
#: Where a line begins, in lists and quotations; there a mark may begin a list or a rule, and behind
#: a number end that of a list.
HEAD = re.compile(r"(?:[\s>]|[-*+]\s|\d+[.)]\s)*")
NUMBERED = re.compile(HEAD.pattern + r"\d+")
ALT = re.compile(r'^:alt: *"?(.*?)"? *$', re.M)
#: What a sentence begins behind.
BEGUN = re.compile(r"(?:\A|\n[ ]*\n|(?:\A|\n)[ ]*[-*] |[.?!]\s+)\Z")
LEFT_OUT = " that is not in this edition"


@dataclass(frozen=True)
class Shown:
    """What a finished page shows with a number; each as the line that leads to it in Markdown."""

    #: Cell -> its outputs that are tables or figures, an output of several tables having several.
    outputs: Mapping[str, Sequence[Sequence[str]]] = field(default_factory=dict)
    #: What the text of the page holds.
    tables: Sequence[str] = ()
    figures: Sequence[str] = ()
    #: Caption -> number, with its kind.
    numbers: Mapping[str, str] = field(default_factory=dict)
    #: Label -> number.
    equations: Mapping[str, str] = field(default_factory=dict)


def harmless(text: str | list[str]) -> str:
    """A text, or its lines as a notebook keeps them, without what a terminal would obey."""
    return ORDERS.sub("", "".join(text))


# --- from the finished page


def numbered(page: str) -> Shown:
    """What a finished page, as HTML, shows with a number."""
    article = BeautifulSoup(page, "html.parser")
    marks = article.select(".rar-number")
    loose = [mark for mark in marks if not mark.find_parent(class_="text_html")]
    return Shown(
        outputs={cell["id"]: _outputs(cell) for cell in article.select("div.cell[id]")},
        tables=[_line(mark) for mark in loose if mark.find_parent("table")],
        figures=[
            _line(mark)
            for mark in loose
            if not mark.find_parent("table") and not mark.find_parent(class_="cell_output")
        ],
        numbers={_words(mark): _number(mark) for mark in reversed(marks)},  # the first of a caption
        equations={
            mark.parent["id"].removeprefix("equation-"): _first(mark)
            for mark in article.select("[id^=equation-] > .eqno")
        },
    )


def _outputs(cell: Tag) -> list[list[str]]:
    found = cell.select(".cell_output > .text_html, .cell_output > figure")
    return [list(map(_line, output.select(".rar-number"))) for output in found]


def _first(element: Tag) -> str:
    return str(element.find(string=True)).strip()


def _number(mark: Tag) -> str:
    return _first(mark).rstrip(".")


def _words(mark: Tag) -> str:
    """A caption without its number and its link, in one line."""
    said = BeautifulSoup(str(mark.parent), "html.parser")
    for extra in said.select(".rar-number, .headerlink"):
        extra.decompose()
    return " ".join(harmless(said.get_text()).split())


def _line(mark: Tag) -> str:
    words = re.sub(r"[\\`*$]|\](?=[(\[:])", r"\\\g<0>", html.escape(_words(mark), quote=False))
    return f"*{_number(mark)}: {words}*"


# --- from the source


def as_markdown(source: str, suffix: str, page: Shown | None = None) -> str:
    """A page's source as Markdown: a notebook's cells with their outputs as plain text.

    Args:
        page: the finished page, whose captions stand before the outputs that they are about.
    """
    if suffix != ".ipynb":
        return TO_CHAPTER.sub(r"\1.md", harmless(source))
    outputs = page.outputs if page else {}
    parts = []
    for cell in json.loads(source)["cells"]:
        text = harmless(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(text)
            continue
        if text.strip():
            parts.append(fenced(text, "python"))
        lines = iter(outputs.get(f"cell-{cell.get('id')}", ()))
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            parts += next(lines, ()) if is_numbered(data) else ()
            parts += _said(output, data)
    return "\n\n".join(parts) + "\n"


def is_numbered(data: Mapping[str, Any]) -> bool:
    """Whether a page shows this output as HTML or as a drawing, and so may number it."""
    return "text/html" in data or any(kind.startswith("image/") for kind in data)


def _said(output: Mapping[str, Any], data: Mapping[str, Any]) -> list[str]:
    if "text/markdown" in data:
        return [harmless(data["text/markdown"])]
    said = harmless(output.get("text", data.get("text/plain", "")))
    return [fenced(said.rstrip("\n"), "text")] if said.strip() else []


def fenced(text: str, language: str) -> str:
    """A block that the text cannot close."""
    longest = max((len(run) for run in re.findall(r"`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def with_works(text: str, works: Sequence[tuple[str, str]]) -> str:
    """A page in Markdown with its list of works, each under the key that citations name."""
    lines = [f"- `{key}`: {said}" for key, said in works]
    return WORKS.sub(lambda _: harmless("\n".join(lines)), text)


# --- what only MyST understands


def readable(text: str, page: Shown, roles: Mapping[str, Callable[[str], str]]) -> str:
    """A page in Markdown as a reader without MyST would read it.

    Raises:
        ValueError: the text does not hold the tables and figures that the finished page shows.
    """
    said = unescaped(with_equations(with_roles(text, roles), page.equations))
    return with_captions(said, page.tables, page.figures)


def all_roles(
    titles: Mapping[str, str], equations: Mapping[str, str], names: Mapping[str, str]
) -> dict[str, Callable[[str], str]]:
    """What the roles of this book make of their content.

    Args:
        titles: page -> its title.
        equations: label -> number, of all pages.
        names: of the page, as :func:`named` returns them.
    """
    return {
        "term": term,
        "doc": lambda said: to_page(said, titles),
        "cite:p": citation,
        "cite:t": citation,
        "eq": equations.__getitem__,
        "shown": names.__getitem__,
    }


def with_roles(text: str, roles: Mapping[str, Callable[[str], str]]) -> str:
    """A page in Markdown with every role that is known as what it makes of its content."""

    def said(piece: re.Match[str]) -> str:
        if piece.lastgroup != "role" or piece["name"] not in roles:
            return piece[0]
        words = roles[piece["name"]](" ".join(piece["said"].split()))
        if words.endswith(LEFT_OUT) and BEGUN.search(text[: piece.start()]):
            return words[0].upper() + words[1:]
        return words

    return PIECE.sub(said, text)


def term(said: str) -> str:
    """A term in the words of its sentence: ``arms <Arm>`` is "arms"."""
    return _parted(said)[0]


def to_page(said: str, titles: Mapping[str, str]) -> str:
    """A link to a page by its title, or by the words that are given for it."""
    words, stem = _parted(said)
    return f"[{titles[stem] if words == stem else words}]({stem}.md)"


def citation(said: str) -> str:
    """Works by their keys, under which the bibliography lists them."""
    return f"[{', '.join(key.strip() for key in said.split(','))}]"


def _parted(said: str) -> tuple[str, str]:
    """What is said and what of; both are the same where only one of them is written."""
    found = TARGETED.fullmatch(said)
    return (found[1], found[2]) if found else (said, said)


def named(entries: Sequence[Mapping[str, str]], numbers: Mapping[str, str]) -> dict[str, str]:
    """The names by which a page refers to its tables and figures -> what it says in their place.

    Args:
        entries: of the page, in ``captions.toml``.
        numbers: caption -> number, of what the page shows.
    """
    found = {}
    for entry in entries:
        if "name" in entry:
            left_out = f"a {'table' if 'table' in entry else 'figure'}{LEFT_OUT}"
            found[entry["name"]] = numbers.get(" ".join(entry["caption"].split()), left_out)
    return found


def with_equations(text: str, numbers: Mapping[str, str]) -> str:
    """A page in Markdown with the number of an equation in the place of its label."""

    def labelled(piece: re.Match[str]) -> str:
        if piece.lastgroup != "formula" or piece["label"] not in numbers:
            return piece[0]
        return piece[0].removesuffix(f"({piece['label']})") + numbers[piece["label"]]

    return PIECE.sub(labelled, text)


def with_captions(text: str, tables: Sequence[str], figures: Sequence[str]) -> str:
    """A page in Markdown with captions before its tables and figures, and drawings told in words.

    Raises:
        ValueError: the text has more or fewer of them than there are captions.
    """
    pieces = list(PIECE.finditer(text))
    held = {
        "tables": sum(piece.lastgroup == "table" for piece in pieces),
        "figures": sum(_directive(piece) == "figure" for piece in pieces),
    }
    if held != {"tables": len(tables), "figures": len(figures)}:
        raise ValueError(
            f"the Markdown holds {held['tables']} tables and {held['figures']} figures, the "
            f"finished page numbers {len(tables)} and {len(figures)}; write tables with a bar at "
            "the head of each line and figures as blocks ```{figure}"
        )
    left = iter(tables)
    drawn = iter(figures)

    def captioned(piece: re.Match[str]) -> str:
        if piece.lastgroup == "table":
            return f"{next(left)}\n\n"
        if _directive(piece) not in ("figure", "image"):
            return piece[0]
        line = [next(drawn)] if _directive(piece) == "figure" else []
        alt = ALT.search(piece["inside"])
        return "\n\n".join([*line, *([fenced(alt[1], "text")] if alt else [])])

    return PIECE.sub(captioned, text)


def _directive(piece: re.Match[str]) -> str:
    """The directive that a block is for; empty for a block of code."""
    found = re.match(r"\{([\w-]+)\}", piece["kind"] or "")
    return found[1] if found else ""


def unescaped(text: str) -> str:
    """A page in Markdown without the back-slashes that change nothing for any reader of it."""

    def opened(piece: re.Match[str]) -> str:
        return f"[{piece['bracketed']}]" if piece.lastgroup == "brackets" else piece[0]

    def bare(piece: re.Match[str]) -> str:
        return piece["mark"] if piece.lastgroup == "escape" and _is_needless(piece) else piece[0]

    return PIECE.sub(bare, PIECE.sub(opened, text))


def _is_needless(escape: re.Match[str]) -> bool:
    """Whether the mark cannot be read as markup where it stands."""
    text = escape.string
    before = text[text.rfind("\n", 0, escape.start()) + 1 : escape.start()]
    after = text[escape.end() : escape.end() + 1]
    mark = escape["mark"]
    if mark in "'\"":
        return True
    if mark == "(":
        return not before.endswith("]")
    if mark == "_":
        return before[-1:].isalnum() and after.isalnum()
    if mark == ")":
        return not NUMBERED.fullmatch(before)
    # Some programs make a link of what looks like an address.
    if mark == ".":
        return not NUMBERED.fullmatch(before) and not after.isalnum()
    return mark in "-+=:%" and not HEAD.fullmatch(before) and not (mark == ":" and after == "/")
