"""What every test may rely on, and how tests are shared out where several workers run them."""

from __future__ import annotations

import os
import signal

import pytest

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


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One worker runs all tests with models, first; the others take file by file."""
    if not WORKER:
        return
    for item in items:
        model = item.get_closest_marker("model") is not None
        item.add_marker(pytest.mark.xdist_group("model" if model else item.nodeid.split("::")[0]))
    items.sort(key=lambda item: item.get_closest_marker("model") is None)
