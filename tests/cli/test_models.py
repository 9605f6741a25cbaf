"""`rar fetch` and `rar serve`: what is said before anything is fetched."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rar_lib.book.profiles import load
from rar_lib.cli.app import app
from rar_lib.models import store
from rar_lib.models.catalogue import MODELS
from rar_lib.models.store import disk_needed


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAR_HOME", str(tmp_path / "home"))


@pytest.mark.parametrize(
    ("arguments", "fetched"),
    [
        ([], load("laptop").models),
        (["--all"], tuple(MODELS)),
        (["qwen-0.5b-int8"], ("qwen-0.5b-int8",)),
    ],
)
def test_the_command_says_names_and_sizes_and_then_fetches_them(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], fetched: tuple[str, ...]
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(store, "model_dir", asked.append)
    done = CliRunner().invoke(app, ["fetch", *arguments])
    assert done.exit_code == 0
    assert tuple(asked) == fetched
    lines = done.output.splitlines()
    assert [line.split(":")[0] for line in lines[: len(fetched)]] == list(fetched)
    assert all(MODELS[name].sizes in done.output for name in fetched)
    total = f"still needed: {disk_needed(fetched) / 1e9:.1f} GB"
    assert lines[len(fetched)].startswith(total)


@pytest.mark.parametrize("arguments", [["qwen-7b"], ["--all", "qwen-0.5b"]])
def test_a_command_that_makes_no_sense_fetches_nothing(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.setattr(store, "model_dir", lambda name: pytest.fail(f"fetched {name}"))
    done = CliRunner().invoke(app, ["fetch", *arguments])
    assert done.exit_code == 1
    assert "error: " in done.output


@pytest.mark.parametrize("command", ["fetch", "serve"])
def test_the_help_lists_every_model(command: str) -> None:
    shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"}).output
    assert all(name in shown for name in MODELS)


def test_the_command_says_its_version() -> None:
    done = CliRunner().invoke(app, ["--version"])
    assert (done.exit_code, done.output) == (0, f"rar-lib {version('rar-lib')}\n")
