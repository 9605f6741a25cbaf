"""Checkpoints of a run: whole, or not used.

A checkpoint is what transformers' Trainer writes (adapter, optimiser, scheduler, random
states, log; every load of them is ``weights_only``), plus ``journal.json``, plus the marker
``complete.json`` with size and SHA-256 of every file. Without a marker that fits, a folder is
renamed and the one before it is used. Only folders written by the same run are resumed.
"""

from __future__ import annotations

import errno
import json
import logging
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from rar_lib.core import processes
from rar_lib.core.errors import CheckpointError, RarError, first_line
from rar_lib.core.fetch import bytes_under
from rar_lib.core.files import atomic_write, digest, file_hash
from rar_lib.training.run import Transcript

MARKER = "complete.json"
JOURNAL = "journal.json"
#: Raise when the meaning of the files changes: older checkpoints are then not resumed.
SCHEMA_VERSION = 1
#: Written by transformers and never read by us; it is a pickle of a whole object.
_NOT_KEPT = ("training_args.bin",)
#: As transformers writes it: a copy that somebody made, such as checkpoint-9-backup, is none.
_NAME = re.compile(r"checkpoint-(0|[1-9][0-9]*)")
#: How a full disk is reported: by torch's writer, by those in Rust (tensors, tokenizer), by Python.
_FULL = re.compile(r"inline_container|PytorchStreamWriter|No space left|quota exceeded")
_FULL_NUMBERS = (errno.ENOSPC, errno.EDQUOT)
_log = logging.getLogger(__name__)


@dataclass
class Journal:
    """What a run knows about itself beside TRL's log; it travels with every checkpoint.

    Attributes:
        steps: the reward's own record, one a step.
        watched: what the caller measured on held-out tasks, by schedule.
        before: greedy answers to the held-out tasks before training, by task id.
        after: those of the look after the last step, if there was one.
        seconds: time spent in training, over all parts of a resumed run.
        checkpoint_seconds: what each checkpoint cost.
        resumed_at: the last finished step at each restart.
        look_seconds: what each look at held-out tasks took, for the forecast of those to come.
    """

    steps: list[dict[str, Any]] = field(default_factory=list)
    watched: list[dict[str, Any]] = field(default_factory=list)
    before: dict[str, str] = field(default_factory=dict)
    after: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    checkpoint_seconds: list[float] = field(default_factory=list)
    resumed_at: list[int] = field(default_factory=list)
    look_seconds: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint: its folder, the step it was written after, and its journal."""

    folder: Path
    step: int
    journal: Journal


def fingerprint(run: Mapping[str, Any]) -> str:
    """Identity of a run: SHA-256 of everything that must be equal to continue it."""
    return digest([SCHEMA_VERSION, run])


def seal(folder: Path, run: str, journal: Journal) -> None:
    """Complete a checkpoint: journal, then the marker over all files, last and atomically."""
    for name in _NOT_KEPT:
        (folder / name).unlink(missing_ok=True)
    atomic_write(folder / JOURNAL, json.dumps(asdict(journal)))
    marker = {"schema": SCHEMA_VERSION, "run": run, "files": _files(folder)}
    atomic_write(folder / MARKER, json.dumps(marker, indent=1))


def fault(folder: Path, run: str) -> str | None:
    """Why a folder can't be resumed by this run; ``None`` if it is whole."""
    if folder.is_symlink() or any(path.is_symlink() for path in folder.rglob("*")):
        return "it holds a link"
    try:
        marker = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        schema = marker["schema"]
        owner = marker["run"]
        files = marker["files"]
    except FileNotFoundError:
        return "it was not finished"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{MARKER} is unreadable ({type(error).__name__})"
    if schema != SCHEMA_VERSION:
        return f"it has schema {schema!r}, this library reads {SCHEMA_VERSION}"
    if owner != run:
        return "it belongs to a run with other settings, data or code"
    found = _files(folder)
    for name in sorted({*files, *found}):
        if name not in found:
            return f"{name} is missing"
        if name not in files:
            return f"{name} is not in {MARKER}"
        if files[name] != found[name]:
            return f"{name} is not as it was written"
    return None


def newest(folder: Path, run: str, *, set_aside: bool = True) -> Checkpoint | None:
    """The newest whole checkpoint of a run; newer ones that are not are renamed ``broken-*``.

    Args:
        set_aside: false only looks, for who does not hold the folder (:func:`sole_writer`): what
            looks broken may be a checkpoint that another process is writing.
    """
    numbered = [
        (int(match[1]), path)
        for path in folder.glob("checkpoint-*")
        if (match := _NAME.fullmatch(path.name))
    ]
    for step, path in sorted(numbered, reverse=True):
        reason = fault(path, run)
        if reason is None:
            return _opened(path, step)
        if set_aside:
            _log.warning("%s: %s; renamed to %s", path, reason, _quarantine(path).name)
    return None


def newest_for_all(folder: Path, run: str) -> Checkpoint | None:
    """:func:`newest` as the first process finds it; every process has a journal of its own."""
    if processes.count() == 1:
        return newest(folder, run)
    step = processes.once(lambda: found.step if (found := newest(folder, run)) else None)
    return None if step is None else _opened(folder / f"checkpoint-{step}", step)


def _opened(path: Path, step: int) -> Checkpoint:
    stored = json.loads((path / JOURNAL).read_text(encoding="utf-8"))
    return Checkpoint(path, step, Journal(**stored))


def _quarantine(path: Path) -> Path:
    number = 0
    while (aside := path.with_name(f"broken-{path.name}" + f"-{number}" * bool(number))).exists():
        number += 1
    return path.rename(aside)


def _files(folder: Path) -> dict[str, list[int | str]]:
    """Size and SHA-256 of every file but the marker."""
    found: dict[str, list[int | str]] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path != folder / MARKER:
            found[path.relative_to(folder).as_posix()] = [path.stat().st_size, file_hash(path)]
    return found


@contextmanager
def sole_writer(out: Path) -> Iterator[None]:
    """The right to write a run's folder, for as long as the block lasts or the process lives.

    Raises:
        CheckpointError: another process holds it.
    """
    out.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(out / ".lock", timeout=0):
            yield
    except Timeout as error:
        raise CheckpointError(
            f"another process is training into {out}: wait for it, or choose another folder"
        ) from error


def continues_from(folder: Path, run: str) -> str:
    """From where a run goes on after a failure, in words."""
    last = newest(folder, run, set_aside=False)
    return f"step {last.step}" if last else "its beginning"


def check_space(folder: Path, run: str) -> None:
    """Stop before a checkpoint that would not fit beside the newest one.

    Raises:
        CheckpointError: too little space; names the checkpoint that is still good.
    """
    held = [path for path in folder.glob("checkpoint-*") if (path / MARKER).exists()]
    size = max(map(bytes_under, held), default=0)
    free = shutil.disk_usage(folder).free
    if free < 1.2 * size:
        raise CheckpointError(
            f"{folder} has {free / 1e6:.0f} MB left and a checkpoint takes {size / 1e6:.0f} MB: "
            f"free some space and run again; the run continues from {continues_from(folder, run)}"
        )


@contextmanager
def writing(what: str, folder: Path, run: str) -> Iterator[None]:
    """Around the writing of what a run keeps.

    Args:
        folder: of the run's checkpoints.

    Raises:
        CheckpointError: it could not be written; says why, and from where the run continues.
    """
    try:
        yield
    except RarError:
        raise
    except Exception as error:  # torch, safetensors, tokenizers: each has its own kind
        mend = "free some space" if _is_full(error) else "mend that"
        raise CheckpointError(
            f"{folder}: {what} can't be written ({type(error).__name__}: {first_line(error)}): "
            f"{mend} and run again; the run continues from {continues_from(folder, run)}"
        ) from error


def _is_full(error: Exception) -> bool:
    """Whether there was no room for what should be written."""
    number = error.errno if isinstance(error, OSError) else None
    return number in _FULL_NUMBERS or _FULL.search(str(error)) is not None


@dataclass(frozen=True)
class Sealer:
    """Completes the checkpoints of one run.

    Attributes:
        run: fingerprint of the run.
        start: ``perf_counter`` minus the seconds of earlier parts of the run.
        transcript: of the run, where one is kept.
    """

    run: str
    journal: Journal
    start: float
    transcript: Transcript | None = None

    def note(self, record: Mapping[str, Any]) -> None:
        """A step's record into the journal, but for its rollouts, which the transcript holds."""
        if self.transcript:
            self.transcript.held = record.get("rollouts", ())
        self.journal.steps.append(
            {key: value for key, value in record.items() if key != "rollouts"}
        )

    @contextmanager
    def sealing(self, folder: Path, step: int) -> Iterator[None]:
        """Around the writing of a checkpoint: room for it before, the seal behind.

        Every process writes its random state into it; the first one seals it when all have.

        Raises:
            CheckpointError: it could not be written; says from where the run continues.
        """
        begin = time.perf_counter()
        with writing(f"the checkpoint of step {step}", folder, self.run):
            folder.mkdir(parents=True, exist_ok=True)
            processes.once(lambda: check_space(folder, self.run))
            yield
            self.journal.seconds = time.perf_counter() - self.start
            processes.gathered()
            if processes.is_first():
                seal(folder / f"checkpoint-{step}", self.run, self.journal)
        self.journal.checkpoint_seconds.append(round(time.perf_counter() - begin, 3))
