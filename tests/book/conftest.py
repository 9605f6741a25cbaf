"""The small book that the tests look at: built once, from notebooks that no model has run."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import served
from kept import five_arms, write_kept
from sample import HOSTILE, write_run

from rar_lib.book.pages.build import build

REPO = Path(__file__).resolve().parents[2]
BOOK = REPO / "book"


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of executed notebooks; the workers of one test run share it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if base.name.startswith("popen-") else base) / "small-book" / "smoke"
    folder.parent.mkdir(exist_ok=True)
    with (folder.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            write_run(folder, BOOK)
            write_kept(folder / "data" / "grpo", text=HOSTILE)
            write_kept(folder / "data" / "bicycles")
            (folder / "data" / "five_arms.json").write_text(json.dumps(five_arms()))
    return folder


@pytest.fixture(scope="session")
def html(run: Path) -> Path:
    """The pages made of them: by the worker that comes first, the others find them unchanged."""
    with (run.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return build(run, BOOK, run.parent / "out", repo=REPO)


@pytest.fixture(params=["file", "http"])
def root(request: pytest.FixtureRequest, html: Path) -> Iterator[str]:
    """The pages' address, from disk and by a server, with a closing slash."""
    if request.param == "file":
        yield html.resolve().as_uri() + "/"
    else:
        with served(html) as address:
            yield address
