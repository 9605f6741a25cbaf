"""Model weights by hash: fetched once, verified, converted once, shared by everything.

A model *is* its SHA-256; where the bytes come from does not matter (`rar_lib.core.fetch`).
`fetch` gives the verified GGUF file, `model_dir` the safetensors folder made from it, which
vLLM, Unsloth and transformers load; a name in ``-int8`` an int8 one made from that, for vLLM::

    home()/blobs/<sha256>          the verified file, and <sha256>.json: when it was verified
    home()/parts/<sha256>/         an unfinished download, continued by the next call
    home()/models/<name>-<sha12>/  the converted folder, complete once it holds rar-model.json
    home()/locks/                  one process at a time for each model

Set ``RAR_HOME`` to keep all of this elsewhere, and ``RAR_MODELS_DIR`` to a folder that already
holds the GGUF files to need no network at all. Conversion (`rar_lib.models.convert`) is a process
of its own.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from tqdm import tqdm

from rar_lib.core.errors import ArtifactError
from rar_lib.core.fetch import BLOCK, Folder, Job, bytes_under, write_stream
from rar_lib.core.files import atomic_write, home
from rar_lib.models.catalogue import MODELS, Model

_log = logging.getLogger(__name__)
MB = 1_000_000


def disk_needed(names: Iterable[str]) -> int:
    """Bytes that downloading and converting will take, the temporary parts included."""
    parts = 0
    todo: dict[str, int] = {}  # what is made: two names may need the same
    for name in names:
        for model in _chain(_known(name)):
            if _ready(model):
                break
            todo[model.name] = model.converted
            if not model.base and not _has_size(model):
                todo[model.sha256] = model.size  # the parts go before the next model starts:
                parts = max(parts, model.size - bytes_under(_parts(model)))
    return sum(todo.values()) + parts


def fetch(name: str) -> Path:
    """The verified GGUF file of a model, downloaded on the first call.

    Raises:
        ArtifactError: unknown model, no space, no source reached, or a wrong hash everywhere.
    """
    model = _known(name)
    blob = _blob(model)
    if _verified_before(model):
        return blob
    with _faults(model), _locked(f"{model.sha256}.lock", model):
        note = _check_blob(model)
        if note is None:
            return blob
        if note:
            _log.info(note)
        _need(model, 2 * model.size - bytes_under(_parts(model)))  # the parts, then joined
        _log.info(f"fetching {name}: {model.size / MB:,.0f} MB into {home()}")
        _fetch(model, note)
        _log.info(f"fetched {name}: SHA-256 verified")
    return blob


def model_dir(name: str) -> Path:
    """The safetensors folder of a model with its tokenizer, made on the first call.

    Raises:
        ArtifactError: as `fetch`, or the conversion failed.
    """
    model = _known(name)
    folder = _folder(model)
    if _ready(model):
        return folder
    with _faults(model), _locked(f"{folder.name}.lock", model):
        if _ready(model):
            return folder
        _need(model, disk_needed([name]))
        prepare, program = (model_dir, INT8) if model.base else (fetch, BF16)
        source = prepare(model.base or name)
        _log.info(f"converting {name}: {model.converted / MB:,.0f} MB of safetensors")
        run(source, folder, model.identity, program)
        _log.info(f"converted {name}: {folder}")
    return folder


def _fetch(model: Model, note: str) -> None:
    _parts(model).mkdir(parents=True, exist_ok=True)
    reasons, sources = [note] if note else [], model.sources
    if chosen := os.environ.get("RAR_MODELS_DIR"):
        sources = (Folder(Path(chosen).expanduser()), *sources)
    look: dict[str, Any] = {"unit": "B", "unit_scale": True, "leave": False}
    for source in sources:
        with tqdm(total=model.size, desc=model.name, disable=None, **look) as bar:

            def tick(present: int, bar: tqdm = bar) -> None:
                bar.update(present - bar.n)

            try:
                job = Job(model.file, model.size, model.sha256, _parts(model), tick)
                _join(source.parts(job), model)
            except ArtifactError as error:
                reasons.append(f"{source}: {error}")
            else:
                return shutil.rmtree(_parts(model))
    raise ArtifactError(
        f"{model.name}: {model.file} could not be had.\n  - "
        + "\n  - ".join(reasons)
        + f"\nConnect to a network and run again (finished parts are kept), or put {model.file}"
        + f" (SHA-256 {model.sha256}) into a folder and set RAR_MODELS_DIR to it."
    )


def _join(parts: list[Path], model: Model) -> None:
    """Concatenate the parts into the blob; it gets its name only if size and hash are right."""
    found = sum(part.stat().st_size for part in parts)
    temporary = _blob(model).with_suffix(".new")
    temporary.parent.mkdir(parents=True, exist_ok=True)
    if found == model.size:
        reader = _Concatenated(parts)
        write_stream(reader, temporary)
        if (found_hash := reader.digest.hexdigest()) == model.sha256:
            os.replace(temporary, _blob(model))
            _remember(model)
            return
        temporary.unlink()
        wrong = f"SHA-256 {found_hash}, expected {model.sha256}"
    else:
        wrong = f"{found} bytes, expected {model.size}"
    for part in parts:  # a file of the user's own folder stays: it is not ours to remove
        if part.parent == _parts(model):
            part.unlink()
    raise ArtifactError(f"{model.file} from it has {wrong}; it was not used")


class _Concatenated(io.RawIOBase):
    """Several files read as one, hashed on the way."""

    def __init__(self, parts: list[Path]) -> None:
        self.digest = hashlib.sha256()
        self._blocks = _blocks(parts)

    def read(self, size: int = -1) -> bytes:
        block = next(self._blocks, b"")
        self.digest.update(block)
        return block


def _blocks(parts: list[Path]) -> Iterator[bytes]:
    for path in parts:
        with path.open("rb") as stream:
            while block := stream.read(BLOCK):
                yield block


def _known(name: str) -> Model:
    if name not in MODELS:
        raise ArtifactError(f"unknown model {name!r}; choose one of: {', '.join(MODELS)}")
    return MODELS[name]


def _blob(model: Model) -> Path:
    return home() / "blobs" / model.sha256


def _parts(model: Model) -> Path:
    return home() / "parts" / model.sha256


def _folder(model: Model) -> Path:
    return home() / "models" / f"{model.name}-{model.sha256[:12]}"


def _ready(model: Model) -> bool:
    return ready(_folder(model), model.identity)


def _chain(model: Model) -> list[Model]:
    """The model, and after it the one that it is made from if it is int8."""
    return [model, MODELS[model.base]] if model.base else [model]


def _has_size(model: Model) -> bool:
    blob = _blob(model)
    return blob.is_file() and blob.stat().st_size == model.size


def _identity(model: Model) -> dict[str, int | str]:
    stat = _blob(model).stat()
    return {"sha256": model.sha256, "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def _verified_before(model: Model) -> bool:
    """Whether the blob is the very file whose hash was checked: same size, same time of change."""
    try:
        record = json.loads(_blob(model).with_suffix(".json").read_text("utf-8"))
        return _has_size(model) and bool(record == _identity(model))
    except (OSError, ValueError):
        return False


def _remember(model: Model) -> None:
    atomic_write(_blob(model).with_suffix(".json"), json.dumps(_identity(model)))


def _check_blob(model: Model) -> str | None:
    """``None`` if the cached blob is good, else why there is none ("" if there never was one)."""
    blob = _blob(model)
    if not blob.exists() or _verified_before(model):
        return None if blob.exists() else ""
    size = blob.stat().st_size
    wrong = f"{size} bytes, expected {model.size}"
    if size == model.size:
        with blob.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found == model.sha256:
            _remember(model)
            return None
        wrong = f"SHA-256 {found}, expected {model.sha256}"
    blob.unlink()
    return f"cache: {blob} had {wrong}; it was removed"


def _need(model: Model, needed: int) -> None:
    home().mkdir(parents=True, exist_ok=True)
    if (free := shutil.disk_usage(home()).free) < needed:
        raise ArtifactError(
            f"{model.name} needs {needed / MB:,.0f} MB in {home()} and {free / MB:,.0f} MB are "
            "free: free some space, or set RAR_HOME to a folder on a larger disk"
        )


@contextmanager
def _locked(name: str, model: Model) -> Iterator[None]:
    path = home() / "locks" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)  # the system releases it when its process dies
    try:
        held = lock.acquire(timeout=0)
    except Timeout:
        _log.info(f"waiting for another process that is preparing {model.name} ({path})")
        held = lock.acquire()
    with held:
        yield


@contextmanager
def _faults(model: Model) -> Iterator[None]:
    """Turn what the file system refuses into one error that says what to do."""
    try:
        yield
    except OSError as error:
        where = error.filename or home()
        advice = f"{error.strerror} at {where}; set RAR_HOME to a folder that can be written"
        if error.errno == errno.ENOSPC:
            advice = (
                f"the disk of {home()} is full; {model.name} needs {model.size / MB:,.0f} MB as a "
                f"file and {model.converted / MB:,.0f} MB converted: free some space, or set "
                "RAR_HOME to a folder on a larger disk (finished parts are kept)"
            )
        raise ArtifactError(
            f"{model.name}: {model.file} could not be read or stored: {advice}"
        ) from error


MARKER = "rar-model.json"
RECIPE = 2  # raise it when the same source would become something else, bf16 or int8
BF16, INT8 = "bf16", "int8"  # programs of `rar_lib.models.convert`


def ready(folder: Path, identity: str) -> bool:
    """Whether the folder was completed, as this very model, and still has all its files."""
    try:
        marker = json.loads((folder / MARKER).read_text("utf-8"))
        return bool(
            marker["recipe"] == RECIPE
            and marker["source_sha256"] == identity
            and all((folder / f).stat().st_size == n for f, n in marker["files"].items())
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def run(source: Path, folder: Path, identity: str, program: str = BF16) -> None:
    """Convert beside the target and put the result in place under its name when complete.

    The caller holds the lock of this folder, so whatever an earlier run left is removed.

    Args:
        source: a GGUF file for ``BF16``, a folder made from one for ``INT8``.
        identity: what the marker says the folder is, `Model.identity`.

    Raises:
        ArtifactError: the conversion failed; its last lines are in the message.
    """
    temporary = folder.with_name(folder.name + ".new")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "rar_lib.models.convert", program, str(source), str(temporary)],
            cwd=Path(__file__).parents[2],  # found even where the package is not installed
            env={**os.environ, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode:
            tail = "\n  ".join((done.stderr or done.stdout).strip().splitlines()[-5:])
            if "No space left on device" in done.stderr:
                raise OSError(28, "No space left on device", str(temporary))
            raise ArtifactError(
                f"{source} could not be converted (exit {done.returncode}):\n  {tail}\n"
                "Install the pinned versions of the extra: pip install 'rar-lib[models]'; "
                "exit -9 means that memory ran out"
            )
        _complete(temporary, identity)
        shutil.rmtree(folder, ignore_errors=True)  # without a valid marker: half-written
        os.rename(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _complete(folder: Path, identity: str) -> None:
    """Force every file to the disk, then write the marker that makes the folder usable."""
    files = {}
    for path in sorted(folder.iterdir()):
        with path.open("rb+") as stream:
            os.fsync(stream.fileno())
        files[path.name] = path.stat().st_size
    versions = {name: version(name) for name in ("torch", "transformers", "gguf", "safetensors")}
    marker = {
        "recipe": RECIPE,
        "source_sha256": identity,
        "versions": versions,  # a record; other versions of these load the same safetensors
        "files": files,
    }
    atomic_write(folder / MARKER, json.dumps(marker, indent=1))
