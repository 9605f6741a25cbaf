"""Model weights: fetched once, converted once, shared by everything.

`fetch` gives the verified GGUF file of a model (`rar_lib.core.fetch`), `model_dir` the safetensors
folder made from it, which vLLM, Unsloth and transformers load; a name in ``-int8`` an int8 one made
from that, for vLLM. What was made on the way to int8 alone goes again, and so does a file that was
converted: who wants the model in another form fetches it once more::

    home()/models/<name>-<sha12>/  the converted folder, complete once it holds rar-model.json

Set ``RAR_HOME`` to keep the cache elsewhere, and ``RAR_MODELS_DIR`` to a folder that already
holds the GGUF files to need no network at all. Conversion (`rar_lib.models.convert`) is a process
of its own.
"""

from __future__ import annotations

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

from rar_lib.core import fetch as fetching
from rar_lib.core.errors import ArtifactError
from rar_lib.core.fetch import MB, check_space, locked, storing
from rar_lib.core.files import atomic_write, home, install_command
from rar_lib.models.catalogue import MODELS, Model
from rar_lib.models.processor import engine

_log = logging.getLogger(__name__)


def disk_needed(names: Iterable[str]) -> int:
    """Bytes that downloading and converting will take, the temporary parts included."""
    parts = 0
    todo: dict[str, int] = {}  # what is made: two names may need the same
    for name in names:
        for model in _chain(_known(name)):
            if _ready(model):
                break
            todo[model.name] = model.converted
            if not model.base and not model.pinned.here:
                todo[model.sha256] = model.pinned.size
                # The parts go before the next model starts.
                parts = max(parts, model.pinned.missing - model.pinned.size)
    return sum(todo.values()) + parts


def fetch(name: str) -> Path:
    """The verified GGUF file of a model, downloaded on the first call.

    Raises:
        ArtifactError: unknown model, no space, no source reached, or a wrong hash everywhere.
    """
    return fetching.fetch(_known(name).pinned)


def model_dir(name: str) -> Path:
    """The safetensors folder of a model with its tokenizer, made on the first call.

    Raises:
        ArtifactError: as `fetch`, or the conversion failed.
    """
    model = _known(name)
    folder = _folder(model)
    if _ready(model):
        return folder
    needs = (
        f"{name} needs {model.pinned.size / MB:,.0f} MB as a file and "
        f"{model.converted / MB:,.0f} MB converted"
    )
    # One lock for all that is made of a file, since it goes when one of them is done.
    with storing(name, needs), locked(f"{model.sha256[:12]}.models.lock", name):
        if _ready(model):
            return folder
        check_space(name, disk_needed([name]))
        with _source(model, folder) as source:
            _log.info("converting %s: %s MB of safetensors", name, f"{model.converted / MB:,.0f}")
            run(source, folder, model.identity, INT8 if model.base else BF16)
        if engine(model.base or name) != "llama.cpp":  # which serves the file itself
            model.pinned.forget()
        _log.info("converted %s: %s", name, folder)
    return folder


@contextmanager
def _source(model: Model, folder: Path) -> Iterator[Path]:
    """What a model is made from: the fetched file, or for int8 the bf16 folder.

    A bf16 folder that nobody had asked for is made aside and removed: it is the larger of the two.
    """
    base = MODELS.get(model.base or "")
    if base is None or _ready(base):
        yield _folder(base) if base else fetch(model.name)
        return
    aside = folder.with_name(f"{folder.name}.base")
    _log.info("converting %s on the way to %s", base.name, model.name)
    try:
        run(fetch(base.name), aside, base.identity, BF16)
        yield aside
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def to_serve(name: str) -> Path:
    """What the engine of this processor serves of a model: its file, or the converted folder.

    Raises:
        ArtifactError: as `fetch` and `model_dir`.
    """
    return fetch(name) if engine(name) == "llama.cpp" else model_dir(name)


def _known(name: str) -> Model:
    if name not in MODELS:
        raise ArtifactError(f"unknown model {name!r}; choose one of: {', '.join(MODELS)}")
    return MODELS[name]


def _folder(model: Model) -> Path:
    return home() / "models" / f"{model.name}-{model.sha256[:12]}"


def _ready(model: Model) -> bool:
    return ready(_folder(model), model.identity)


def _chain(model: Model) -> list[Model]:
    """The model, and after it the one that it is made from if it is int8."""
    return [model, MODELS[model.base]] if model.base else [model]


MARKER = "rar-model.json"
RECIPE = 2  # raise it when the same source would become something else, bf16 or int8
#: Programs of `rar_lib.models.convert`.
BF16 = "bf16"
INT8 = "int8"


def ready(folder: Path, identity: str) -> bool:
    """Whether the folder was completed, as this very model, and still has all its files."""
    try:
        marker = json.loads((folder / MARKER).read_text("utf-8"))
        return bool(
            marker["recipe"] == RECIPE
            and marker["source_sha256"] == identity
            and all((folder / name).stat().st_size == n for name, n in marker["files"].items())
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
                f"Install the pinned versions of the extra: {install_command('models')}; "
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
