"""Photograph every page of a built book: python tests/helpers/shots.py HTML_FOLDER PNG_FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path

from browser import browser

#: The widths at which no table may hide a column, with a colour scheme each.
VIEWS = {
    "wide": (1400, "light"),
    "dark": (1400, "dark"),
    "tablet": (820, "light"),
    "phone": (400, "light"),
}


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
