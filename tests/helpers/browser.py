"""A real browser for the book tests: the system's Chromium through playwright."""

from __future__ import annotations

import asyncio
import functools
import http.server
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ARGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


def chromium() -> str | None:
    """Path of the system's Chromium, or ``None``."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


@contextmanager
def browser() -> Iterator[Any]:
    """A running Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium(), args=ARGS)
        try:
            yield running
        finally:
            running.close()


def rest() -> None:
    """Let others start a loop in this thread.

    Playwright's counts as running as long as its browser is there, between two calls as well.
    """
    asyncio._set_running_loop(None)


def wake(running: Any) -> None:
    """Make a browser usable again after :func:`rest`."""
    asyncio._set_running_loop(running._loop)


def watch(page: Any, *roots: str) -> list[str]:
    """What goes wrong on ``page`` from now on: complaints, failures, requests to elsewhere.

    Args:
        page: an open page.
        roots: where requests may go; default disk and this machine's own servers.
    """
    wrong: list[str] = []
    own = ("data:", *(roots or ("file:", "http://127.0.0.1:")))
    page.on("console", lambda m: wrong.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda e: wrong.append(str(e)))
    page.on("requestfailed", lambda r: wrong.append(f"failed: {r.url}"))
    page.on("request", lambda r: None if r.url.startswith(own) else wrong.append(f"out: {r.url}"))
    return wrong


def too_wide(page: Any, width: int) -> str | None:
    """What is wrong with the page in a window of ``width`` px, where it must be scrolled."""
    page.set_viewport_size({"width": width, "height": 900})
    wide = page.evaluate("document.documentElement.scrollWidth")
    return f"{wide} px wide in a window of {width} px" if wide > width else None


#: Keeps one token of each kind in a page's code and makes plain text of the others: the kind
#: decides the colour, and thousands of tokens were most of what axe looked at.
ONE_OF_EACH_TOKEN = """() => {
  const seen = new Set();
  for (const token of document.querySelectorAll('pre span[class]')) {
    const ground = token.closest('div[class], pre[class]')?.className;  // where it stands
    const kind = [ground, token.parentElement.className, token.className].join('|');
    if (seen.has(kind)) token.replaceWith(...token.childNodes);
    else seen.add(kind);
  }
}"""


def barriers(page: Any, *rules: str) -> list[str]:
    """What axe finds of serious or critical impact in the page, with all that is folded open.

    Coloured code is looked at once a kind of token, and is plain afterwards.

    Args:
        page: an open page, in the colours and the width that are meant.
        rules: names of axe's rules; default all.
    """
    from axe_playwright_python.sync_playwright import Axe

    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    page.evaluate(ONE_OF_EACH_TOKEN)
    # Colours that are on their way from one theme to the other are none that a reader sees.
    page.evaluate(
        "Promise.all(document.getAnimations().filter(a => a.effect.getTiming().iterations === 1)"
        ".map(a => a.finished.catch(() => null)))"
    )
    options: dict[str, Any] = {"resultTypes": ["violations"]}
    if rules:
        options["runOnly"] = list(rules)
    found = Axe().run(page, options=options).response["violations"]
    return [
        f"{rule['id']}: {node['html'][:160]} {node['failureSummary'][:300]}"
        for rule in found
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """``folder`` over loopback http; yields the address with a closing slash."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
