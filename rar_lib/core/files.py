"""Files on the disk: written whole or not at all, kept in one place, known by a digest."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import secrets
import shlex
from collections.abc import Callable, Iterable
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rar_lib.core.errors import DataError, RarError

#: To write a file that nobody had, a link that points elsewhere included.
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


def atomic_write(path: Path, data: str | bytes) -> None:
    """Put ``data`` at ``path`` so that a reader sees the old file or the new one, never a part.

    Guarantee: the data is on the disk before the name points at it; on any error
    (disk full, read-only, killed) the old file is untouched. An error or Ctrl-C
    leaves no temporary file; SIGKILL may leave one, named ``.<name>.*.tmp``.
    Price: room for a second copy. Scope: one file; writers of the same path need
    a lock, or the last one wins.

    Raises:
        OSError: as the operating system gave it, with the path in the message.
    """
    if isinstance(data, str):
        data = data.encode("utf-8")
    path.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder, because a rename is atomic only within one file system.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(os.open(temporary, _NEW, 0o666), "wb") as stream:  # less what umask takes
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        if path.exists():
            temporary.chmod(path.stat().st_mode & 0o777)
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the rename itself must survive a power cut
    finally:
        os.close(folder)


#: What holds of a file that could not be replaced.
UNCHANGED = "an older file there is unchanged; free space or choose another folder"


def save_text(
    path: str | Path, text: str, mend: str = UNCHANGED, *, error: type[RarError] = DataError
) -> None:
    """Put a text at a path that a user named, whole or not at all (:func:`atomic_write`).

    Args:
        mend: what to do where it can't be written.

    Raises:
        RarError: of the given type: it could not be written, and what to do.
    """
    try:
        atomic_write(Path(path), text)
    except OSError as fault:
        why = fault.strerror or fault
        raise error(f"{path}: could not be written ({why}); {mend}") from fault


def home() -> Path:
    """The folder of all cached weights: ``RAR_HOME``, else ``rar`` in the user's cache folder."""
    if chosen := os.environ.get("RAR_HOME"):
        return Path(chosen).expanduser().absolute()
    caches = os.environ.get("XDG_CACHE_HOME")
    return (Path(caches) if caches else Path.home() / ".cache") / "rar"


def checkout() -> Path | None:
    """The folder that holds this library, if it is a checkout with notebooks; else ``None``."""
    here = Path(__file__).resolve().parents[2]
    return here if (here / "notebooks").is_dir() else None


def install_command(*extras: str) -> str:
    """What to type to install the library with these extras of ``pyproject.toml``.

    It is installed from a checkout, never by its name. Where that is not known, as in an installed
    wheel, a word stands for its path.
    """
    here = checkout()
    source = f"{here or 'PATH-OF-THE-CHECKOUT'}[{','.join(extras)}]"
    return f"pip install {'-e ' if here else ''}{shlex.quote(source)}"


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON of a value."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sources(*names: str, of: Callable[[Path], str] = file_hash) -> dict[str, str]:
    """SHA-256 of source files of the library, by path.

    Args:
        names: rooms, all of their files, prompts included; or single files such as
            ``data/jsonl.py``.
        of: what is taken of a file: :func:`file_hash`, or :func:`code_hash`, which leaves out what
            only a reader sees.

    Raises:
        ValueError: there is no such room or file, so nothing would be watched.
    """
    package = Path(__file__).parents[1]
    found: dict[str, str] = {}
    for name in names:
        inside = sorted((package / name).rglob("*")) or [package / name]
        kept = [path for path in inside if path.is_file() and "__pycache__" not in path.parts]
        if not kept:
            raise ValueError(f"{package / name} holds no file; name a room or a file of rar_lib")
        found |= {path.relative_to(package).as_posix(): of(path) for path in kept}
    return found


def code_hash(path: Path) -> str:
    """SHA-256 of what a file does: of a Python module by :func:`meaning`, of others all bytes."""
    return meaning(path.read_text("utf-8")) if path.suffix == ".py" else file_hash(path)


# A judge's identity is asked for often, and a room takes a tenth of a second to read.
@lru_cache(maxsize=256)
def meaning(code: str) -> str:
    """SHA-256 of what Python code does: of its syntax tree, without docstrings.

    Comments and layout are not in the tree. Unlike :func:`ast.dump` it is the same under Python
    3.11, 3.12 and 3.13. Under another one it may differ: then a run begins anew, and none is
    continued that should not be.

    Raises:
        SyntaxError: it is no code, or only a part of it.
    """
    return digest(_tree(ast.parse(code)))


def _tree(node: Any) -> Any:
    """A syntax tree as JSON, without fields that are empty: newer versions of Python have more."""
    if isinstance(node, list):
        return [_tree(one) for one in node if not _only_said(one)]
    if not isinstance(node, ast.AST):
        return ascii(node)
    held = dict(ast.iter_fields(node))
    if isinstance(node, ast.JoinedStr):  # a nested format of Python 3.12 ends in an empty text
        held["values"] = [one for one in node.values if getattr(one, "value", None) != ""]
    found = {name: _tree(value) for name, value in held.items() if value is not None}
    return [type(node).__name__, {name: value for name, value in found.items() if value != []}]


def _only_said(node: Any) -> bool:
    """Whether a statement is a text alone, such as a docstring: nothing comes of it."""
    text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return text and isinstance(node.value.value, str)


def versions(packages: Iterable[str]) -> dict[str, str]:
    """The versions of those packages that are installed; none of them is imported."""
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def folder_hash(folder: Path) -> str:
    """SHA-256 over names and contents of all files in a folder of weights, about 1 GB a second.

    Sizes alone would not do: weights that were trained further have the size they had.
    Hidden files, and what lies in folders inside, are not part of it.
    """
    files = [path for path in sorted(folder.iterdir()) if path.is_file()]
    return digest({path.name: file_hash(path) for path in files if path.name[0] != "."})
