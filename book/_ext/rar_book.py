"""Sphinx extension of this book: mathematics as static MathML.

Every current browser draws MathML without JavaScript, so a page shows its formulas
from a file, without a network, and a screen reader can read them. latex2mathml knows
a subset of LaTeX and passes over what it does not know in silence; here that is a
warning, which the build treats as an error.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number

LOGGER = logging.getLogger(__name__)
# latex2mathml has align* but not aligned, and writes \mathrm{ref} as three loose letters.
REWRITES = (
    (re.compile(r"\\(begin|end)\{(?:aligned|align|split|gather\*?|gathered)\}"), r"\\\1{align*}"),
    (re.compile(r"\\(?:mathrm|textrm)\{([A-Za-z]{2,})\}"), r"\\text{\1}"),
)
ELEMENTS = frozenset(
    [
        "math",
        "menclose",
        "mfrac",
        "mi",
        "mmultiscripts",
        "mn",
        "mo",
        "mover",
        "mpadded",
        "mphantom",
        "mprescripts",
        "mroot",
        "mrow",
        "ms",
        "mspace",
        "msqrt",
        "mstyle",
        "msub",
        "msubsup",
        "msup",
        "mtable",
        "mtd",
        "mtext",
        "mtr",
        "munder",
        "munderover",
        "none",
    ]
)
ATTRIBUTES = frozenset(
    [
        "accent",
        "accentunder",
        "columnalign",
        "columnlines",
        "columnspacing",
        "depth",
        "display",
        "displaystyle",
        "fence",
        "form",
        "height",
        "largeop",
        "linebreak",
        "linethickness",
        "lspace",
        "mathcolor",
        "mathsize",
        "mathvariant",
        "maxsize",
        "minsize",
        "movablelimits",
        "notation",
        "rowlines",
        "rowspacing",
        "rspace",
        "scriptlevel",
        "separator",
        "stretchy",
        "voffset",
        "width",
    ]
)
TIGHT = 'stretchy="false" lspace="0" rspace="0"'
UNKNOWN = re.compile(r"<m[a-z]+[^>]*>\\([A-Za-z]+)</m[a-z]+>|<mi>(&)</mi>")


def to_mathml(latex: str, *, block: bool) -> str:
    """Return ``latex`` as a MathML element.

    Raises:
        ValueError: the formula is malformed or uses an unknown command.
    """
    source = latex.strip()
    if block and r"\\" in source and r"\begin" not in source:
        source = r"\begin{align*}" + source + r"\end{align*}"
    for pattern, replacement in REWRITES:
        source = pattern.sub(replacement, source)
    try:
        mathml = convert(source, display="block" if block else "inline")
    except Exception as error:  # its errors share no base class, and it also raises KeyError
        raise ValueError(f"{type(error).__name__} from latex2mathml") from error
    if unknown := UNKNOWN.search(mathml):
        name = "\\" + unknown[1] if unknown[1] else "&"
        raise ValueError(f"{name} is not known to latex2mathml here")
    _refuse_markup(mathml)
    # Browsers set a slash and a bar as relations, with space around them.
    for tight in ("&#x0002F;", "&#x0007C;"):
        plain = rf'<mo(?: stretchy="false")?>{tight}</mo>'
        mathml = re.sub(plain, f"<mo {TIGHT}>{tight}</mo>", mathml)
    # Browsers draw the tilde too high for a relation and know no double-struck variant.
    return mathml.replace("<mi>&#x0007E;</mi>", "<mo>&#x0223C;</mo>").replace(
        '<mn mathvariant="double-struck">1</mn>', "<mn>&#x1D7D9;</mn>"
    )


def _refuse_markup(mathml: str) -> None:
    """Raise if a formula smuggled in markup: latex2mathml does not escape its input."""
    try:
        root = ElementTree.fromstring(mathml)
    except ElementTree.ParseError as error:
        raise ValueError(f"not well-formed MathML ({error})") from error
    for element in root.iter():
        tag = element.tag.rpartition("}")[2]
        if tag not in ELEMENTS or not ATTRIBUTES.issuperset(element.attrib):
            raise ValueError(f"markup <{tag}> is not mathematics")


def _checked(node: nodes.Element, *, block: bool) -> str:
    try:
        return to_mathml(node.astext(), block=block)
    except ValueError as error:
        LOGGER.warning("formula %r: %s; rewrite it", node.astext(), error, location=node)
        return "<math></math>"


def visit_inline(translator: Any, node: nodes.Element) -> None:
    """Write ``$...$``."""
    translator.body.append(f'<span class="math">{_checked(node, block=False)}</span>')
    raise nodes.SkipNode


def visit_block(translator: Any, node: nodes.Element) -> None:
    """Write ``$$...$$`` and math directives, with number and anchor where labelled."""
    # On a telephone a long formula scrolls; the page's script lets the keyboard reach it then.
    named = {"CLASS": "math rar-equation rar-scroll", "role": "group", "aria-label": "Formula"}
    translator.body.append(translator.starttag(node, "div", **named))
    translator.body.append(_checked(node, block=True))
    if node["number"]:
        number = get_node_equation_number(translator, node)
        translator.body.append(f'<span class="eqno">({number})')
        translator.add_permalink_ref(node, "Link to this equation")
        translator.body.append("</span>")
    translator.body.append("</div>\n")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the renderer under the name ``rar_mathml``."""
    app.add_html_math_renderer(
        "rar_mathml",
        inline_renderers=(visit_inline, None),
        block_renderers=(visit_block, None),
    )
    return {"parallel_read_safe": True, "parallel_write_safe": True}
