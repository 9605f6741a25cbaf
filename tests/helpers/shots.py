"""Photograph every page of a built book: python tests/helpers/shots.py HTML_FOLDER PNG_FOLDER."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from browser import browser

#: The widths at which no table may hide a column, with a colour scheme each.
VIEWS = {
    "wide": (1400, "light"),
    "dark": (1400, "dark"),
    "tablet": (820, "light"),
    "phone": (400, "light"),
}

#: The smallest letters of a figure that a reader is asked to read, in pixels of the page.
LETTER_PX = 8
#: Of each picture in a figure: its file, the width in which it is shown, and its own.
PICTURES = """() => [...document.querySelectorAll('article figure img')].map(i => {
  const style = getComputedStyle(i);
  const inside = i.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
  return [i.getAttribute('src'), inside * i.getBoundingClientRect().width / i.offsetWidth];
})"""
#: Of each text of a drawing in the page: the size in which it is shown.
DRAWN = """() => [...document.querySelectorAll('article svg.rar-drawing text')].map(t => {
  const svg = t.ownerSVGElement;
  const scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
  return parseFloat(getComputedStyle(t).fontSize) * scale;
})"""
#: matplotlib draws letters as paths of 100 units and scales them, with the axis upwards.
LETTER = re.compile(r"scale\(([\d.]+) -[\d.]+\)")


def letters(page: Any, html: Path) -> list[float]:
    """The smallest letters of each figure of an open page, in pixels as they are shown.

    Of a PNG nobody knows its letters; it is left out.
    """
    found: list[float] = page.evaluate(DRAWN)
    for source, shown in page.evaluate(PICTURES):
        if not source.endswith(".svg"):
            continue
        svg = (html / source).read_text(encoding="utf-8")
        width = float(svg.split('viewBox="', 1)[1].split('"', 1)[0].split()[2])
        sizes = [100 * float(scale) for scale in LETTER.findall(svg)]
        if sizes:
            found.append(min(sizes) * shown / width)
    return found


def shots(html: Path, dest: Path, views: tuple[str, ...] = tuple(VIEWS)) -> list[Path]:
    """Write ``<page>.<view>.png`` for every page of ``html`` into ``dest``."""
    dest.mkdir(parents=True, exist_ok=True)
    written = []
    with browser() as running:
        for view in views:
            width, scheme = VIEWS[view]
            context = running.new_context(
                viewport={"width": width, "height": 900}, color_scheme=scheme
            )
            page = context.new_page()
            for path in sorted(html.glob("*.html")):
                page.goto(path.resolve().as_uri())
                page.wait_for_load_state("load")
                target = dest / f"{path.stem}.{view}.png"
                page.screenshot(path=str(target), full_page=True)
                written.append(target)
            context.close()
    return written


if __name__ == "__main__":
    for picture in shots(Path(sys.argv[1]), Path(sys.argv[2])):
        print(picture)
