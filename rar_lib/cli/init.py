"""`rar init`: a small example project to start from."""

from __future__ import annotations

import shlex
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from rar_lib.core.errors import DataError
from rar_lib.core.files import atomic_write


def init(
    folder: Annotated[Path, typer.Argument(help="A new folder, or one without these files.")],
) -> None:
    """Write a small example project: questions, answers, rubrics and labels by hand.

    rar init example

    Its README.md goes through all commands, line by line.
    No file is overwritten.

    Exit codes: 0 written; 1 refused or failed, and nothing is written;
    2 wrong usage.
    """
    for path in write_example(folder):
        typer.echo(f"  {path}")
    typer.echo(f"next:  cd {shlex.quote(str(folder))}, and read README.md")


def write_example(folder: Path) -> list[Path]:
    """The files of the example in a folder, which is made where there is none.

    Raises:
        DataError: one of them is there already, or can't be written: then none is.
    """
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file: name a folder")
    sources = files("rar_lib.data").joinpath("example")
    found = {source.name: source.read_bytes() for source in sources.iterdir()}
    there = sorted(
        name for name in found if (folder / name).is_symlink() or (folder / name).exists()
    )
    if there:
        raise DataError(
            f"{folder} already holds {', '.join(there)}: nothing is overwritten; name another "
            "folder, or move them away"
        )
    made = not folder.exists()
    written: list[Path] = []
    try:
        for name in sorted(found):
            atomic_write(folder / name, found[name])
            written.append(folder / name)
    except BaseException as error:
        for path in written:
            path.unlink(missing_ok=True)
        if made and folder.is_dir():
            folder.rmdir()
        if isinstance(error, OSError):
            raise DataError(
                f"{folder}: could not be written ({error.strerror or error}), and nothing of it "
                "is left; free space or choose another folder"
            ) from error
        raise
    return written
