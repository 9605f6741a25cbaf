"""The bibliography's list of works: in the order and under the names by which the text cites them.

Sphinx would number the works; nobody cites them by number here. So a work begins with what stands
in the text, such as *Gunjal et al., 2025*, and the list is sorted by that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from docutils import nodes
from pybtex.plugin import register_plugin
from pybtex.richtext import Text
from pybtex.style.formatting.unsrt import Style as Unsorted
from pybtex.style.sorting import BaseSortingStyle

#: The name of the style in ``_config.yml``.
STYLE = "rar_works"


def cited_as(work: Any) -> str:
    """How a work of pybtex is cited: authors and year, or title and year where none is named."""
    people = work.persons.get("author", ())
    names = [" ".join([*one.prelast_names, *one.last_names]) for one in people]
    if not names:
        names = [work.fields["title"]]
    said = f"{names[0]} et al." if len(names) > 2 else " and ".join(names)
    return f"{Text.from_latex(said)}, {work.fields['year']}"


class _Order(BaseSortingStyle):
    def sorting_key(self, entry: Any) -> tuple[str, str]:
        return cited_as(entry).casefold(), entry.fields["title"]


class _Works(Unsorted):
    default_sorting_style = _Order


def name_works(doctree: nodes.document, works: Sequence[Any]) -> None:
    """Let every work of a list begin with how it is cited, in place of its number.

    Args:
        works: of pybtex, in the order of the list.
    """
    for shown, work in zip(doctree.findall(nodes.citation), works, strict=True):
        number, text, *_ = shown.children
        shown.remove(number)
        text.insert(0, [nodes.strong("", cited_as(work)), nodes.Text(". ")])


register_plugin("pybtex.style.formatting", STYLE, _Works)
