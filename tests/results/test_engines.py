"""Which engines are set side by side, and what a script that makes a record may not do."""

from __future__ import annotations

import ast
import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from results import engines


def test_every_engine_is_measured() -> None:
    assert engines.ENGINES == ("vllm", "llama.cpp")


class Asked(Exception):
    """What a chat was asked for."""


@pytest.mark.parametrize("engine", engines.ENGINES)
def test_an_engine_is_asked_for_and_not_put_into_the_environment(
    engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def local_chat(model: str, **settings: Any) -> None:
        raise Asked(model, settings, os.environ.get("RAR_ENGINE"))

    monkeypatch.delenv("RAR_ENGINE", raising=False)
    monkeypatch.setattr(engines, "local_chat", local_chat)
    with pytest.raises(Asked) as caught:
        asyncio.run(engines.measure("m", engine, []))
    assert caught.value.args == ("m", {"engine": engine}, None)


#: What stands in for something else; a record is of what a user gets.
STAND_INS = ("unittest", "mock", "pytest", "_pytest")


def imported(path: Path) -> set[str]:
    """The packages that a script imports, wherever it does."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    names = [one.name for node in nodes if isinstance(node, ast.Import) for one in node.names]
    names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    return {name.partition(".")[0] for name in names}


def test_no_script_that_makes_a_record_patches_anything() -> None:
    scripts = sorted(Path(engines.__file__).parent.rglob("*.py"))
    assert Path(engines.__file__) in scripts
    assert [path.name for path in scripts if imported(path) & set(STAND_INS)] == []
