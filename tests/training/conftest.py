"""What tests of training share."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny


@pytest.fixture(scope="session")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random model and its tokenizer."""
    folder = tmp_path_factory.mktemp("policy")
    tiny.tiny("llama", adapter=False).save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def _trl_is_as_it_was_installed() -> Iterator[None]:
    """Unsloth changes transformers and TRL for the whole process, and which tests share one is
    chance: whoever needs it starts a process of its own."""
    yield
    assert "unsloth" not in sys.modules, "loaded in the process of the tests"
