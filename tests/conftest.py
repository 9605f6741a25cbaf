"""What every test may rely on, and how tests are shared out where several workers run them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from browser import browser, chromium, rest, wake

# Machines differ, and a first import of torch takes seconds: time is no property of an example.
try:
    import hypothesis
except ModuleNotFoundError:  # the environments of tests/adapters have none
    pass
else:
    hypothesis.settings.register_profile("machines differ", deadline=None)
    hypothesis.settings.load_profile("machines differ")

ROOT = Path(__file__).resolve().parents[1]
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")


def pytest_configure() -> None:
    # A shell starts background jobs with Ctrl-C ignored, and children inherit that; the tests
    # that send it must mean the same wherever they are started. A handler is reset by exec.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if WORKER:
        _keep_to_its_cores(int(WORKER.removeprefix("gw")))


def _keep_to_its_cores(number: int) -> None:
    """Give a worker cores of its own: a model's threads wait for the slowest of them."""
    workers = int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) >= workers:
        os.sched_setaffinity(0, cores[number::workers])


#: Where tests ask a real judge: they share its server, which ends with the test that started it.
JUDGED = ("tests/models/", "tests/notebooks/", "tests/test_readme.py")
#: Place of a file among those that wait for a worker, the longest first.
JUDGES, POLICIES, REST = range(3)


@cache
def _place(file: str) -> int:
    """By the text of the files: of pytest 9.2 the groups of xdist 3.8 see nothing.

    What has a limit of its own trains as well: in several processes, with a random model.
    """
    text = (ROOT / file).read_text(encoding="utf-8")
    if "mark.model" in text and file.startswith(JUDGED):
        return JUDGES
    return POLICIES if "mark.model" in text or "mark.timeout" in text else REST


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a browser; where several workers run them, the longest files come first."""
    for item in items:
        if "chrome" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.browser)
    if WORKER:
        items.sort(key=lambda item: _place(item.nodeid.split("::")[0]))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """One worker runs all files with a real judge, the others take file by file."""
    from xdist.scheduler import LoadScopeScheduling

    class JudgesTogether(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.split("::")[0]
            return "judges" if _place(file) == JUDGES else file

    return JudgesTogether(config, log)


@pytest.fixture(scope="session")
def chromium_of_this_worker() -> Iterator[Any]:
    """One Chromium for all tests of a worker; it starts with the first that asks for it."""
    if chromium() is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    try:
        with browser() as running:
            rest()
            yield running
            wake(running)
    finally:
        rest()


@pytest.fixture
def chrome(chromium_of_this_worker: Any) -> Iterator[Any]:
    """That Chromium for one test, which need not close its pages."""
    wake(chromium_of_this_worker)
    others = list(chromium_of_this_worker.contexts)
    yield chromium_of_this_worker
    for context in chromium_of_this_worker.contexts:
        if context not in others:
            context.close()
    rest()
