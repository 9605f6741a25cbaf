"""Whole files or none: how every artefact of this project is written."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


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
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        # mkstemp makes files that only the owner reads; use what open() would have given.
        os.chmod(name, path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask())
        os.replace(name, path)
    except BaseException as error:
        Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the rename itself must survive a power cut
    finally:
        os.close(folder)


def _umask() -> int:
    now = os.umask(0)
    os.umask(now)
    return now
