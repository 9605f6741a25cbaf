"""A write is whole or it did not happen; a state has a name."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import pytest

from rar_lib.core import files
from rar_lib.core.errors import CheckpointError, DataError
from rar_lib.core.files import (
    UNCHANGED,
    atomic_write,
    code_hash,
    file_hash,
    folder_hash,
    home,
    install_command,
    meaning,
    save_text,
    sources,
    versions,
)


def test_creates_folders_replaces_and_keeps_the_mode(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.json"
    atomic_write(path, "é")
    assert path.read_bytes() == "é".encode()
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()
    path.chmod(0o600)
    atomic_write(path, b"\x00")
    assert path.read_bytes() == b"\x00"
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(path.parent) == ["b.json"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_content_and_no_temporary_file(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "b.json"
    path.write_text("old")

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match=r"No space left on device.*b\.json") as caught:
        atomic_write(path, "new")
    assert caught.value.errno == errno.ENOSPC
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["b.json"]


def test_a_text_that_can_not_be_saved_says_why_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "b.json"
    save_text(path, "old")

    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    why = re.escape(f"{path}: could not be written (No space left on device); ")
    with pytest.raises(DataError, match=f"^{why}{re.escape(UNCHANGED)}$"):
        save_text(str(path), "new")
    with pytest.raises(CheckpointError, match=f"^{why}run again$"):
        save_text(path, "new", "run again", error=CheckpointError)
    assert path.read_text() == "old"


def test_an_interrupt_leaves_no_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        atomic_write(tmp_path / "b.json", "new")
    assert os.listdir(tmp_path) == []


def _umask() -> int:
    now = os.umask(0)
    os.umask(now)
    return now


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"RAR_HOME": "/a/b"}, "/a/b"),
        ({"RAR_HOME": "/a/b", "XDG_CACHE_HOME": "/x"}, "/a/b"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/rar"),
        ({"HOME": "/h"}, "/h/.cache/rar"),
        ({"RAR_HOME": "~/w", "HOME": "/h"}, "/h/w"),
    ],
)
def test_home(variables: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAR_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert home() == Path(expected)


def test_weights_trained_further_are_other_weights_though_as_large(tmp_path: Path) -> None:
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"123")
    first = folder_hash(tmp_path)
    (tmp_path / ".lock").touch()
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "x").touch()
    assert folder_hash(tmp_path) == first
    weights.write_bytes(b"124")
    assert folder_hash(tmp_path) != first
    weights.write_bytes(b"123")
    assert folder_hash(tmp_path) == first
    weights.rename(tmp_path / "other.safetensors")
    assert folder_hash(tmp_path) != first


@pytest.mark.parametrize(
    ("here", "extras", "said"),
    [
        ("/me/rar", ("train",), "pip install -e '/me/rar[train]'"),
        ("/my own/rar", ("models", "train"), "pip install -e '/my own/rar[models,train]'"),
        (None, ("models", "train"), "pip install 'PATH-OF-THE-CHECKOUT[models,train]'"),
    ],
)
def test_extras_are_installed_from_a_checkout_and_not_by_a_name(
    here: str | None, extras: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "checkout", lambda: here and Path(here))
    assert install_command(*extras) == said


def test_sources_are_rooms_with_their_prompts_and_single_files() -> None:
    found = sources("core", "data/jsonl.py")
    assert {"core/files.py", "core/prompts/judge_system.txt", "data/jsonl.py"} <= set(found)
    assert [name for name in found if name.startswith("data/")] == ["data/jsonl.py"]
    assert not [name for name in found if "__pycache__" in name]
    for name in ("kitchen", "core/none.py"):
        with pytest.raises(ValueError, match=f"{name} holds no file"):
            sources("core", name)


#: A module that does something in most of the ways that count.
MODULE = '''\
"""What it is for."""

from typing import Any

#: As long as an answer may be.
LONG = 100


class Rule:
    """A rule."""

    name: str = "words"

    def __call__(self, text: str, wide: int = 5) -> Any:
        """The share."""
        # Counted in words.
        return f"{len(text.split()) / LONG:{wide}.2f}", "é", b"e"
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""What it is for."""\n', ""),
        ("What it is for.", "What else it is for."),
        ("        # Counted in words.\n", ""),
        ("#: As long as", "#: At most as long as"),
        ('    """A rule."""\n', '    """The rule."""\n'),
        ('        """The share."""\n', '        "As said."\n\n'),
        ("LONG = 100", "LONG = (\n    100  # words\n)"),
    ],
)
def test_what_only_a_reader_sees_changes_no_meaning(old: str, new: str) -> None:
    assert old in MODULE
    assert meaning(MODULE.replace(old, new)) == meaning(MODULE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("100", "101"),
        ("100", "100.0"),
        ("LONG = 100", "LONG = 100\nLONG += 1"),
        ('"words"', '"word"'),
        ("wide: int = 5", "wide: int = 6"),
        ("wide: int = 5", "wide: float = 5"),
        (".2f", ".3f"),
        (":{wide}.2f", ":.2f"),
        ('"é", b"e"', '"e", b"e"'),
        ('"é", b"e"', '"é", "e"'),
        ('"é", b"e"', 'b"e", "é"'),
        ('"é", b"e"', '"", b"e"'),
        ('        """The share."""\n', "        text = text.lower()\n"),
        ("from typing import Any\n", "from typing import Any\n\nprint(__doc__)\n"),
    ],
)
def test_what_the_interpreter_sees_changes_the_meaning(old: str, new: str) -> None:
    assert old in MODULE
    assert meaning(MODULE.replace(old, new)) != meaning(MODULE)


def test_a_meaning_is_the_same_under_every_python_that_this_library_runs_on() -> None:
    """A calibration that was fitted under one is read under another."""
    assert meaning(MODULE)[:12] == "742711db0e4d"


def test_half_a_statement_has_no_meaning() -> None:
    with pytest.raises(SyntaxError):
        meaning("rule = (lambda text: 1.0,\n")


def test_of_a_prompt_every_byte_counts_and_of_a_module_what_it_does(tmp_path: Path) -> None:
    for name in ("a.py", "b.py", "a.txt", "b.txt"):
        (tmp_path / name).write_text(f"# {name[0]}\n")
    assert code_hash(tmp_path / "a.py") == code_hash(tmp_path / "b.py") == meaning("")
    assert code_hash(tmp_path / "a.txt") == file_hash(tmp_path / "a.txt")
    assert code_hash(tmp_path / "a.txt") != code_hash(tmp_path / "b.txt")


def test_the_code_of_a_room_is_its_modules_meaning_and_its_prompts_bytes() -> None:
    every = sources("core")
    does = sources("core", of=code_hash)
    assert list(does) == list(every)
    assert {name for name in every if does[name] == every[name]} == {
        name for name in every if not name.endswith(".py")
    }


def test_versions_are_of_what_is_installed() -> None:
    found = versions(["pytest", "no-such-package-anywhere"])
    assert found == {"pytest": pytest.__version__}
