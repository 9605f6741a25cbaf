"""Sentences from values: how values are written, and that none of them becomes more than text."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from bs4 import BeautifulSoup
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from myst_parser.config.main import MdParserConfig
from myst_parser.parsers.mdit import create_md_parser

from rar_lib.book.pages.gate import active_content, clean_notebook
from rar_lib.book.prose import listed, plain, say, sentence, written
from rar_lib.core.decision import Finding, decide, not_testable
from rar_lib.core.stats import Interval, compare
from rar_lib.core.text import visible

ROOT = Path(__file__).resolve().parents[2]
PARSE = yaml.safe_load((ROOT / "book" / "_config.yml").read_text())["parse"]
#: What the book reads cells with, and more: every extension that could be switched on.
MYST = MdParserConfig(
    enable_extensions={
        *PARSE["myst_enable_extensions"],
        *("attrs_inline", "attrs_block", "fieldlist", "linkify", "smartquotes", "replacements"),
        *("strikethrough", "html_image", "html_admonition"),
    }
)
READERS: dict[str, Callable[[str], str]] = {
    # As MyST-NB reads the output of a cell (render_markdown_format is left at its default) ...
    "commonmark": MarkdownIt("commonmark").render,
    # ... as GitHub and notebook programs do, and as the book reads a cell.
    "github": MarkdownIt("gfm-like").render,
    "myst": create_md_parser(MYST, RendererHTML).render,
}
HOSTILE = {
    "script": "<script>alert(1)</script>",
    "image": "<img src=x onerror=alert(1)>",
    "unterminated tag": "<img src=x onerror=alert(1) ",
    "comment": "<!-- hidden --> seen",
    "link": "[click](javascript:alert(1))",
    "picture": "![x](https://example.org/x.png)",
    "reference link": "[a][b] and [c]: https://example.org",
    "autolink": "<https://example.org>",
    "bare address": "see https://example.org or www.example.org or types.py",
    "mail": "write to judge@example.org",
    "role": "{cite:p}`rar` and {download}`/etc/passwd`",
    "directive": "```{include} /etc/passwd```",
    "colon fence": ":::{raw} html",
    "substitution": "{{ secret }}",
    "attributes": "[text]{.danger #id onclick=x}",
    "code": "a `code` b ``two``",
    "unfinished code": "a ` b",
    "emphasis": "**bold** _under_ *star* __dunder__ ~~gone~~",
    "formula": r"$x^2$ and $$y$$ and \(z\) and \[w\]",
    "latex": r"\begin{align}x\end{align} \href{javascript:alert(1)}{x}",
    "entity": "&lt;b&gt; &amp; &#60;script&#62;",
    "back-slashes": r"C:\*new\_dir\\ \< \` \& end\\"[:-1],
    "heading": "# Title",
    "underlined": "=====",
    "rule": "---",
    "stars": "* * *",
    "bullet": "- item",
    "plus": "+ item",
    "numbered": "1. item",
    "numbered with a bracket": "1) item",
    "just a number with a point": "1.",
    "quote": "> quoted",
    "table": "| a | b |",
    "target": "(target)=",
    "myst comment": "% not shown",
    "block break": "+++",
    "front matter": "--- title: x ---",
    "definition": ": defined",
    "field": ":name: value",
    "footnote": "[^1] and [^1]: text",
    "task": "[ ] open [x] done",
    "dashes and quotes": "a -- b --- c ... \"d\" 'e' (c) (tm) +-",
    "emoji": ":smile:",
    "marks in a row": "a,, b,,, what???? no!!!!! really?!?!?! ....",
    "nothing but marks": ",,",
    "questions alone": "?????",
    "ends in a comma": "a,",
    "two paragraphs": "one\n\n# two\n\n```\nthree\n```",
    "indented": "        code",
    "chat template": "<|im_end|> <start_of_turn> [/INST]",
    "hidden": "no\u200bthing \u202eto\u202c see",
    "empty": " \n\t",
    "emphasis to the left": "**",
    "ends in an escape": "end\\",
}


def shown(reader: str, markdown: str) -> str:
    """What a reader sees of it; the page may hold paragraphs and the author's emphasis only."""
    page = BeautifulSoup(READERS[reader](markdown), "html.parser")
    assert {tag.name for tag in page.find_all(True)} <= {"p", "strong"}
    assert not any(tag.attrs for tag in page.find_all(True))
    return page.get_text().strip()


def expected(value: str) -> str:
    return " ".join(visible(value).split()) or "(empty)"


PLACES = {
    "alone": "{x}",
    "first": "{x} begins it.",
    "inside": "The answer was {x}, they say.",
    "emphasised": "The answer was **{x}**.",
    "second line": "A line\n{x} goes on.",
    "second paragraph": "One.\n\n{x} and more.",
}


@pytest.mark.parametrize(
    ("template", "wanted"),
    [
        ("widened to {wide}{then}.", "widened to bf16."),
        ("It said {then}.", "It said (empty)."),
        ("{then} was said.", "(empty) was said."),
        ("**{then}**", "**(empty)**"),
    ],
)
def test_an_empty_ending_is_left_out_and_an_empty_value_is_said(template: str, wanted: str) -> None:
    given = {"wide": "bf16", "then": ""}
    used = {name: value for name, value in given.items() if f"{{{name}}}" in template}
    assert sentence(template, **used) == wanted.replace("(empty)", sentence("{x}", x=""))
    assert "(empty" in sentence("{a}{b}", a="x", b=" ")  # text that shows nothing is no ending


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", HOSTILE)
def test_a_value_is_shown_as_it_stands_whatever_it_holds(name: str, place: str) -> None:
    value = HOSTILE[name]
    template = PLACES[place]
    markdown = sentence(template, x=value)
    flat = template.replace("**", "").replace("{x}", expected(value))
    for reader in READERS:
        assert shown(reader, markdown).split() == flat.split(), reader


def test_a_comma_of_a_value_and_one_of_the_template_are_two() -> None:
    markdown = sentence("It wrote, {x}, here {y}?", x=",a,", y="???")
    for reader in READERS:
        assert shown(reader, markdown) == "It wrote, ,a,, here ????", reader


@pytest.mark.parametrize("name", HOSTILE)
def test_a_value_passes_the_gate_for_pages(name: str) -> None:
    output: dict[str, Any] = {
        "output_type": "display_data",
        "data": {"text/markdown": sentence("It wrote {x}.", x=HOSTILE[name])},
        "metadata": {},
    }
    cell = {
        "cell_type": "code",
        "source": "say(...)",
        "metadata": {},
        "execution_count": 1,
        "outputs": [output],
    }
    notebook = {"cells": [cell], "metadata": {}}
    clean_notebook(notebook, "01_x.ipynb", ROOT, "")
    assert "script>" not in output["data"]["text/markdown"].replace("&gt;", "")


def test_the_gate_still_sees_what_an_author_writes() -> None:
    assert active_content(sentence("<script>alert()</script> {x}", x="a")) == "element <script>"


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=60))
def test_no_text_becomes_more_than_text(value: str) -> None:
    markdown = sentence("It wrote {x} here.", x=value)
    for reader in READERS:
        assert shown(reader, markdown).split() == f"It wrote {expected(value)} here.".split()
    assert active_content(markdown) is None


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "unknown"),
        (float("nan"), "unknown"),
        (True, "yes"),
        (np.bool_(False), "no"),
        (0.125, "0.12"),
        (-0.001, "0.00"),
        (np.float64(2 / 3), "0.67"),
        (np.float32(0.5), "0.50"),
        (1234567, "1,234,567"),
        (np.int64(24), "24"),
        (Interval(0.5, 0.25, 0.75, 24), "0.50 [0.25, 0.75]"),
        (not_testable("no judge passes the gate"), "not testable here: no judge passes the gate"),
        (["a"], "a"),
        (("a", 2, 0.5), "a, 2 and 0.50"),
        ([], "none"),
        ("smollm2-135m", "smollm2-135m"),
    ],
)
def test_a_value_is_written_as_a_reader_wants_it(value: Any, words: str) -> None:
    assert written(value) == words
    assert shown("commonmark", sentence("{x}", x=value)) == words


@pytest.mark.parametrize(
    ("template", "wanted"), [("{x:.0%}", "36 %"), ("{x:.1%} of them", "35.6 % of them")]
)
def test_a_percent_sign_stands_off_its_number(template: str, wanted: str) -> None:
    assert shown("commonmark", sentence(template, x=0.356)) == wanted
    assert plain(template, x=0.356) == wanted


def test_lists_have_an_and() -> None:
    assert [listed(list("abc"[:n])) for n in range(4)] == ["none", "a", "a and b", "a, b and c"]


def test_a_finding_stands_in_the_sentence_with_its_number() -> None:
    finding: Finding = decide(compare([0.1] * 12, range(12)))
    text = sentence("So it is **{f}**: {d}, {p:.4f}.", f=finding, d=finding.difference, p=finding.p)
    assert shown("commonmark", text) == "So it is supported: 0.10 [-0.14, 0.30], 0.0005."


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("It gained 3 points, {x}.", "a number is typed"),
        ("It gained {x}.", "not used in the sentence: y"),
        ("It gained {x} {}.", "a value is"),
        ("It gained {x!r} {y}.", "a value is"),
        ("It gained {x.real} {y}.", "a value is"),
        ("The model `{x}` {y}.", "in back-ticks"),
        ("`a` and `b {x}` {y}", "in back-ticks"),
        ("See [it]({x}) {y}.", "the address of a link"),
        ("See <a href={x}> {y}.", "in a tag"),
        ("So ${x}$ {y}.", "in a formula"),
    ],
)
def test_a_template_that_hides_a_number_or_a_value_is_refused(template: str, problem: str) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)):
        sentence(template, x="x", y="y")


def test_a_value_beside_code_and_formulas_is_fine() -> None:
    text = sentence("With `rar plan` and $w$ it took {x}, see [there](page) {y}.", x=1, y="*")
    assert text == "With `rar plan` and $w$ it took 1, see [there](page) \\*."


def test_a_name_without_value_is_an_error() -> None:
    with pytest.raises(KeyError, match="x"):
        sentence("{x}")


def test_say_shows_the_paragraph_as_markdown(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr("IPython.display.display", seen.append)
    say("**{x}** pairs", x=24)
    assert seen[0].data == "**24** pairs"
