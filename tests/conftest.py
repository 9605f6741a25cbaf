"""What every test may rely on."""

import signal


def pytest_configure() -> None:
    # A shell starts background jobs with Ctrl-C ignored, and children inherit that; the tests
    # that send it must mean the same wherever they are started. A handler is reset by exec.
    signal.signal(signal.SIGINT, signal.default_int_handler)
