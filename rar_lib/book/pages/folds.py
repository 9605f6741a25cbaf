"""The folds of a page: neighbouring cells that are folded, where they show nothing, are one."""

from __future__ import annotations

import re
from pathlib import Path

#: A folded cell of code that shows nothing: one with an output or with another tag is no match.
FOLD = re.compile(
    r'(?P<cell><div class="cell tag_hide-input docutils container"(?: id="(?P<id>[\w-]+)")?>)\s*'
    r"(?P<head><details[^>]*>\s*<summary(?:(?!</summary>).)*</summary>\s*"
    r'<div class="cell_input docutils container">\s*'
    r'<div class="highlight-[\w-]+ notranslate"><div class="highlight"><pre>)<span></span>'
    r"(?P<code>(?:(?!</pre>).)*)"
    r"(?P<end></pre></div>\s*</div>\s*</div>\s*</details>\s*</div>)",
    re.DOTALL,
)
FOLDS = re.compile(
    rf"(?:{re.sub(r'[?]P<[a-z]+>', '?:', FOLD.pattern)}\s*){{2,}}",
    re.DOTALL,
)


def join_folds(page: str) -> str:
    """A page on which neighbouring folded cells that printed nothing are one fold.

    Each would be a line that promises something and shows nothing. The first cell holds the code
    of all, with an empty line between; a link to another one of them still arrives. The notebook
    that can be downloaded has them apart.

    Args:
        page: as Sphinx wrote it, with its figures and tables numbered.
    """
    return FOLDS.sub(_one_fold, page)


def _one_fold(row: re.Match[str]) -> str:
    folds = list(FOLD.finditer(row[0]))
    first = folds[0]
    anchors = [f'<span id="{fold["id"]}"></span>' for fold in folds[1:] if fold["id"]]
    code = "\n\n".join(fold["code"].rstrip("\n") for fold in folds)
    cell = "\n".join([first["cell"], *anchors, first["head"]])
    return f"{cell}<span></span>{code}\n{first['end']}\n"


def fold(html: Path) -> None:
    """Join the folds of every page in a folder."""
    for page in sorted(html.glob("*.html")):
        text = page.read_text(encoding="utf-8")
        if (joined := join_folds(text)) != text:
            page.write_text(joined, encoding="utf-8")
