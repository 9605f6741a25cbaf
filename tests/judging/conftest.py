"""What tests of requests share."""

from __future__ import annotations

import pytest


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that failed is sent again without the pauses, which take seconds."""
    monkeypatch.setattr("rar_lib.judging.addresses._FIRST_PAUSE_S", 0.001)
