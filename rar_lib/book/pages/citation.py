"""How the book is cited, for the page of its bibliography."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

#: The page that says how the book is cited.
CITED = "bibliography.md"


def citation(book: Path) -> str:
    """How the book is cited: a BibTeX entry as a block of Markdown.

    Title, authors and year are those of the book's configuration, the version is the package's.

    Args:
        book: the book's sources.
    """
    import yaml

    known = yaml.safe_load((book / "_config.yml").read_text(encoding="utf-8"))
    fields = {
        "title": f"{{{known['title']}}}",
        "author": f"{{{known['author']}}}",
        "year": known["copyright"],
        "version": version("rar-lib"),
        "note": "Code: Apache-2.0. Text and data: CC BY 4.0",
    }
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items()]
    return "\n".join(["```bibtex", "@misc{rar-executable,", *lines, "}", "```"])
