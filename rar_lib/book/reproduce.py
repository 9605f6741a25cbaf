"""Run what is missing or changed of the notebooks: `rar reproduce`.

A notebook is up to date when its manifest holds the key it would get now, and the executed copy
is the one the manifest describes. The key covers all that can change the outcome: cells, the
library but for the command line and the page builder, the profile's values, the lock, recorded
inputs, and the runs of the earlier notebooks it builds on. The manifest is written last, so
whatever was killed is simply run again.

A notebook's metadata may hold, under ``rar``::

    "after":   ["02_rubrics"]            earlier notebooks whose files it reads
    "inputs":  ["results/study.json"]    recorded files it reads, from the checkout's root;
                                         "results/x.json?" may not be there yet
    "minutes": {"laptop": 4}             expected time, until a run has measured it
    "replay": false                      it can't run from recorded calls alone
"""

from __future__ import annotations

import contextlib
import datetime
import json
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from rar_lib.book import machine, notebook
from rar_lib.book.profiles import Profile
from rar_lib.core.errors import ReproduceError
from rar_lib.core.files import atomic_write, digest, file_hash

SCHEMA = 1
_CHANGED = {
    "notebook": "notebook changed",
    "library": "library changed",
    "parameters": "parameters changed",
    "lock": "environment lock changed",
    "inputs": "inputs changed",
    "after": "earlier notebook was run again",
}


@dataclass(frozen=True)
class Step:
    """A notebook, the folder of its executed copy, and its ``rar`` metadata."""

    source: Path
    out: Path
    rar: dict[str, Any]

    @property
    def stem(self) -> str:
        return self.source.stem

    @property
    def executed(self) -> Path:
        return self.out / f"{self.stem}.ipynb"

    @property
    def manifest(self) -> Path:
        return self.out / f"{self.stem}.json"


def parts_of(
    step: Step, profile: Profile, root: Path, library: Path, pending: Sequence[str] = ()
) -> dict[str, Any]:
    """All that the key is made of; ``pending`` are earlier notebooks about to run."""
    lock = root / "env" / f"{profile.lock}.txt"
    cells = [[c.cell_type, c.source] for c in notebook.read(step.source).cells]
    return {
        "notebook": digest(cells),
        "library": _library(library),
        "parameters": profile.model_dump(mode="json"),
        "lock": _hash(f"env/{lock.name}", root, step),
        "inputs": {name: _hash(name, root, step) for name in step.rar.get("inputs", [])},
        "after": {stem: _run_of(stem, step, pending) for stem in step.rar.get("after", [])},
    }


def _library(library: Path) -> dict[str, str]:
    """SHA-256 of each file that can change what a chapter shows.

    Raises:
        ReproduceError: there is none, so nothing would be watched.
    """
    found = {}
    for path in sorted(library.rglob("*")):
        name = path.relative_to(library).as_posix()
        if path.is_file() and "__pycache__" not in path.parts and not name.startswith(_UNSEEN):
            found[name] = file_hash(path)
    if not found:
        raise ReproduceError(f"{library} holds no source file: it should be the folder of rar_lib")
    return found


def _hash(name: str, root: Path, step: Step) -> str | None:
    """SHA-256 of a file that a notebook reads; ``None`` for one that may still be missing."""
    path = root / name.removesuffix("?")
    if path.is_file():
        return file_hash(path)
    if name.endswith("?"):
        return None
    raise ReproduceError(
        f"{step.source.name} needs {name}, which does not exist; restore it from git, "
        "or correct the notebook's metadata rar.inputs"
    )


def _run_of(stem: str, step: Step, pending: Sequence[str]) -> str:
    """Which run of an earlier notebook a step builds on."""
    before = load(step.out / f"{stem}.json")
    if stem in pending:
        return "pending"
    if before is None:
        raise ReproduceError(
            f"{step.source.name} builds on {stem}, which has no finished run in "
            f"{step.out}; run that one too"
        )
    return str(before["run"])


def reason(step: Step, parts: dict[str, Any]) -> str | None:
    """Why the step must run, or None if it is up to date."""
    manifest = load(step.manifest)
    if manifest is None:
        failed = step.out / f"{step.stem}.failed.ipynb"
        return "the last run failed" if failed.exists() else "never run"
    if not step.executed.exists():
        return "the executed copy is missing"
    if file_hash(step.executed) != manifest["sha256"]:
        return "the executed copy was changed"
    if manifest["key"] == digest(parts):
        return None
    reasons = []
    for name, words in _CHANGED.items():
        old, new = manifest["parts"][name], parts[name]
        if old == new:
            continue
        if isinstance(new, dict):
            which = [k for k in sorted({*old, *new}) if old.get(k) != new.get(k)]
            words += f" ({', '.join(which[:4])}{', ...' if len(which) > 4 else ''})"
        reasons.append(words)
    return "; ".join(reasons)


def load(path: Path) -> dict[str, Any] | None:
    """The manifest, or None if there is none that this version wrote."""
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) and manifest.get("schema") == SCHEMA else None


_log = logging.getLogger(__name__)
#: What chapters do not see: a change there makes none of them stale.
_UNSEEN = ("cli/", "book/build.py", "book/sanitize.py")
PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True)
class Result:
    """What became of one notebook: ``reason`` says why it ran, or ``up to date``."""

    stem: str
    ran: bool
    reason: str
    seconds: float
    path: Path


def reproduce(
    profile: Profile,
    *,
    notebooks: Path,
    out: Path,
    only: Sequence[str] | None = None,
    force: bool = False,
    servers: Callable[[str], contextlib.AbstractContextManager[Any]] | None = None,
    weights: Callable[[str], Any] | None = None,
    library: Path = PACKAGE,
) -> list[Result]:
    """Execute the notebooks ``NN_*.ipynb`` of a folder, in order, as far as needed.

    Args:
        profile: Injected by name as the parameter ``profile``; its values are in the key.
        notebooks: Folder of the sources; its parent is the checkout, where cells run.
        out: Folder of executed copies and manifests.
        only: Stems, or their numbers such as ``"03"``; default all.
        force: Run even what is up to date.
        servers: Serves a model for as long as its context lives; default
            `rar_lib.models.server.serve`. Started once, and only if a notebook must run.
        weights: Makes a model's weights ready; default `rar_lib.models.store.model_dir`.
        library: Folder whose files are part of the key.

    Returns:
        One result for each chosen notebook.

    Raises:
        ReproduceError: a notebook failed (its last good copy stays), another run is
            working in ``out``, or a notebook's metadata is wrong.
        KeyboardInterrupt: on Ctrl-C or SIGTERM; nothing half-done stays.
    """
    notebooks, out = notebooks.resolve(), out.resolve()  # papermill changes the folder
    root = notebooks.parent
    steps = _steps(notebooks, out, only)
    with _alone(out), _sigterm_as_interrupt():
        for leftover in out.glob(".*.running.ipynb"):  # of a run that was killed
            leftover.unlink()
        plan = _plan(steps, profile, root, library, force)
        todo = [step for step, why in plan if why]
        results: list[Result] = []
        with contextlib.ExitStack() as stack:
            if todo:
                _log.info(
                    f"{len(todo)} of {len(plan)} notebooks to run: {_estimate(todo, profile)}"
                )
                _make_ready(profile, stack, servers, weights)
            for n, (step, why) in enumerate(plan, 1):
                if why is None:
                    _log.info(f"[{n}/{len(plan)}] {step.stem}: up to date")
                    results.append(Result(step.stem, False, "up to date", 0.0, step.executed))
                    continue
                _log.info(f"[{n}/{len(plan)}] {step.stem}: {why}")
                seconds = _run(step, profile, root, library)
                _log.info(f"[{n}/{len(plan)}] {step.stem}: done in {seconds:.0f} s")
                results.append(Result(step.stem, True, why, seconds, step.executed))
        return results


def replay(
    profile: Profile,
    *,
    notebooks: Path,
    out: Path,
    only: Sequence[str] | None = None,
) -> list[Result]:
    """Execute notebooks from the calls that an earlier run recorded in ``out``.

    Copies go to ``out/replay``; the manifests of the real runs stay as they are. A notebook
    whose metadata says ``"replay": false`` computes with a model of its own and is left out.

    Raises:
        ReproduceError: a notebook failed, for one because a call is not on record.
    """
    target = out / "replay"
    target.mkdir(parents=True, exist_ok=True)
    results = []
    before = os.environ.get("RAR_CASSETTE")
    os.environ["RAR_CASSETTE"] = "replay"  # the kernels inherit it
    try:
        for step in _steps(notebooks.resolve(), target.resolve(), only):
            if step.rar.get("replay") is False:
                _log.info(f"{step.stem}: left out, it computes with a model of its own")
                continue
            clock = time.monotonic()
            notebook.execute(
                step.source,
                step.executed,
                {"profile": profile.name},
                cwd=notebooks.resolve().parent,
                cell_timeout_s=profile.cell_timeout_s,
            )
            seconds = time.monotonic() - clock
            _log.info(f"{step.stem}: replayed in {seconds:.0f} s")
            results.append(Result(step.stem, True, "replayed", seconds, step.executed))
    finally:
        if before is None:
            del os.environ["RAR_CASSETTE"]
        else:
            os.environ["RAR_CASSETTE"] = before
    return results


def _steps(notebooks: Path, out: Path, only: Sequence[str] | None) -> list[Step]:
    steps: list[Step] = []
    for source in sorted(notebooks.glob("[0-9][0-9]_*.ipynb")):
        rar = dict(notebook.read(source).metadata.get("rar", {}))
        step = Step(source, out, rar)
        earlier = {s.stem for s in steps}
        if wrong := sorted(set(rar.get("after", [])) - earlier):
            raise ReproduceError(
                f"{source.name}: metadata rar.after names {', '.join(wrong)}, which is not an "
                f"earlier notebook; choose from: {', '.join(sorted(earlier)) or 'none'}"
            )
        steps.append(step)
    if not steps:
        raise ReproduceError(f"{notebooks} holds no notebook named like 01_name.ipynb")
    for name in only or ():
        if not any(name in (s.stem, s.stem[:2]) for s in steps):
            known = ", ".join(s.stem for s in steps)
            raise ReproduceError(f"there is no notebook {name!r}; choose from: {known}")
    if not only:
        return steps
    return [s for s in steps if s.stem in only or s.stem[:2] in only]


def _plan(
    steps: list[Step], profile: Profile, root: Path, library: Path, force: bool
) -> list[tuple[Step, str | None]]:
    """Each step with the reason to run it, or None."""
    plan: list[tuple[Step, str | None]] = []
    for step in steps:
        again = [s.stem for s, why in plan if why and s.stem in step.rar.get("after", [])]
        why = reason(step, parts_of(step, profile, root, library, pending=again))
        plan.append((step, why or ("forced" if force else None)))
    return plan


def _run(step: Step, profile: Profile, root: Path, library: Path) -> float:
    """Execute one notebook and record it; returns seconds."""
    # Taken before the run: a library edited meanwhile makes the next run repeat this one.
    parts = parts_of(step, profile, root, library)
    start, clock = datetime.datetime.now(datetime.UTC), time.monotonic()
    sizes = notebook.execute(
        step.source,
        step.executed,
        {"profile": profile.name},
        cwd=root,
        cell_timeout_s=profile.cell_timeout_s,
    )
    seconds = time.monotonic() - clock
    key = digest(parts)
    content = file_hash(step.executed)
    manifest = {
        "schema": SCHEMA,
        "key": key,
        "run": digest([key, content]),
        "sha256": content,
        "profile": profile.name,
        "start": start.isoformat(timespec="seconds"),
        "end": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
        **sizes,
        "hardware": machine.hardware(),
        "versions": machine.versions(),
        "parts": parts,
    }
    atomic_write(step.manifest, json.dumps(manifest, indent=1, sort_keys=True) + "\n")
    return seconds


def _make_ready(
    profile: Profile,
    stack: contextlib.ExitStack,
    servers: Callable[[str], contextlib.AbstractContextManager[Any]] | None,
    weights: Callable[[str], Any] | None,
) -> None:
    """Weights on disk and judge servers up; they stay until the stack closes."""
    from rar_lib.models.server import serve
    from rar_lib.models.store import model_dir

    for name in profile.models:
        if "/" not in name:  # a hub id is fetched by the engine that loads it
            (weights or model_dir)(name)
    for name in profile.servers:
        _log.info(f"starting the server of {name}")
        stack.enter_context(servers(name) if servers else serve(name, **profile.server))


def _estimate(todo: list[Step], profile: Profile) -> str:
    """Minutes for each step: as last measured, else as its metadata says."""
    known = 0.0
    words = []
    for step in todo:
        last = load(step.manifest)
        minutes = last["seconds"] / 60 if last else step.rar.get("minutes", {}).get(profile.name)
        known += minutes or 0.0
        words.append(f"{step.stem} {'?' if minutes is None else f'{minutes:.1f}'}")
    return f"about {known:.0f} min ({', '.join(words)})"


@contextlib.contextmanager
def _alone(out: Path) -> Iterator[None]:
    """One run at a time in ``out``; the lock goes with the process, however it ends."""
    out.mkdir(parents=True, exist_ok=True)
    owner = out / ".run.pid"
    lock = FileLock(out / ".run.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        pid = owner.read_text().strip() if owner.exists() else "unknown"
        raise ReproduceError(
            f"another run (pid {pid}) is working in {out}; wait for it, or choose another folder"
        ) from None
    try:
        atomic_write(owner, f"{os.getpid()}\n")
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


@contextlib.contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """SIGTERM unwinds like Ctrl-C, so that servers and kernels are stopped; twice kills."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
