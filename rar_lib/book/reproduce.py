"""Run what is missing or changed of the notebooks: `rar reproduce`.

A notebook is up to date when its manifest holds the key it would get now, and the executed copy
and the data are those that the manifest describes. The key covers all that can change the outcome:
cells, the library but for the command line and the page builder, the profile's values, the lock
and the versions installed of what it names, the records of ``results/`` that the run asked for, and
the data of the earlier notebooks it builds on.

A chapter is a transaction. It works in ``.work/<stem>``, reads there what the chapters it is after
have left, and writes there (:mod:`rar_lib.book.study` says what). At its end the manifest, with a
hash of every file, is written into that folder. From then on the run counts: data, executed copy
and, last, the manifest are moved to their places, by the next run if this one is killed at it.
Until then nothing outside the folder has changed: a chapter that fails or is stopped leaves the
last good state. Its folders stay for the next attempt, which trains on from the last checkpoint.

A notebook's metadata may hold, under ``rar``::

    "after":   ["02_rubrics"]            earlier notebooks whose data it reads; no other is there
    "minutes": {"laptop": 4}             expected time, until a run has measured it
    "gflops":  {"laptop": 2600}          product of the machine on which it took that long
    "replay": false                      it can't run from recorded calls alone
    "asks": false                        it asks no model, so none is started for it
    "links": true                        it leads to cells of other notebooks, which are in its key

Each manifest also holds, under ``taken``, how long the chapter took on this machine: when it asked
its models or trained (``live``, with the machine's product), and when it found all of that on
record (``short``). They and ``results/times.json`` are what the next run is forecast from.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import logging
import os
import platform
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock, Timeout

from rar_lib.book import notebook, results
from rar_lib.book.profiles import Profile
from rar_lib.core.errors import CassetteError, ReproduceError
from rar_lib.core.files import atomic_write, digest, file_hash, versions
from rar_lib.core.pace import Course, Measured, at_rate
from rar_lib.judging.cassette import Cassette
from rar_lib.judging.cost import duration
from rar_lib.models import machine
from rar_lib.models.processor import as_computed, cpu_dtype, engine, product_gflops

#: Raise when the meaning of a manifest changes: notebooks of older ones are run again.
SCHEMA = 3
_CHANGED = {
    "notebook": "notebook changed",
    "library": "library changed",
    "parameters": "parameters changed",
    "lock": "environment lock changed",
    "installed": "installed packages changed",
    "engines": "what serves the models changed",
    "inputs": "records changed",
    "after": "data of an earlier notebook changed",
}
#: Folders that a training run keeps for itself: what is unfinished, or was finished before.
_KEPT = {"checkpoints", "earlier"}


@dataclass(frozen=True)
class Step:
    """A notebook, the folder of its executed copy, and its ``rar`` metadata.

    Attributes:
        before: folder where earlier notebooks are looked up that ``out`` does not hold.
    """

    source: Path
    out: Path
    rar: dict[str, Any]
    before: Path | None = None

    @property
    def stem(self) -> str:
        return self.source.stem

    @property
    def executed(self) -> Path:
        return self.out / f"{self.stem}.ipynb"

    @property
    def manifest(self) -> Path:
        return self.out / f"{self.stem}.json"

    @property
    def failed(self) -> Path:
        return self.out / f"{self.stem}.failed.ipynb"

    @property
    def after(self) -> list[str]:
        return list(self.rar.get("after", []))

    @property
    def asks(self) -> bool:
        """Whether its cells may ask a model."""
        return self.rar.get("asks") is not False


def parts_of(
    step: Step, profile: Profile, root: Path, library: Path, pending: Sequence[str] = ()
) -> dict[str, Any]:
    """All that the key is made of; ``pending`` are earlier notebooks about to run."""
    lock = root / "env" / f"{profile.lock}.txt"
    if not lock.is_file():
        raise ReproduceError(f"{lock} does not exist: restore it from git, or run `make lock`")
    locked = re.findall(r"^([\w.-]+)==", lock.read_text(encoding="utf-8"), re.MULTILINE)
    cells = [[cell.cell_type, cell.source] for cell in notebook.read(step.source).cells]
    reports = any(kind == "code" and _REPORTS.search(source) for kind, source in cells)
    last = load(step.manifest)
    asked = last["parts"]["inputs"] if last else {}
    return {
        "notebook": digest([*cells, *_linked(step)]),
        "library": _library(library, _UNSEEN if reports else _UNSEEN + _REPORT),
        "parameters": profile.model_dump(mode="json"),
        "lock": file_hash(lock),
        "installed": _installed(tuple(locked)),
        "engines": {model: _served(model, profile.device) for model in profile.models},
        "inputs": {name: _hash(results.find(name, root)) for name in asked},
        "after": {stem: _data_of(stem, step, pending) for stem in step.after},
    }


def _linked(step: Step) -> list[str]:
    """The cells of all notebooks, for one that leads to cells of others by their ids."""
    if not step.rar.get("links"):
        return []
    others = sorted(step.source.parent.glob("*.ipynb"))
    return [_cells(path) for path in others]


def _cells(path: Path) -> str:
    """A digest of a notebook's cells with their ids."""
    return digest([[cell.id, cell.source] for cell in notebook.read(path).cells])


def _served(model: str, device: str) -> str:
    """What serves a model, with the number format where that is not the one of the weights."""
    by = engine(model, device)
    return as_computed(by, device) if by == "vllm" else by


@cache
def _installed(packages: tuple[str, ...]) -> dict[str, str]:
    """What is installed of a lock: some 300 look-ups, half a second."""
    return {"python": platform.python_version()} | versions(packages)


def _library(library: Path, unseen: tuple[str, ...]) -> dict[str, str]:
    """SHA-256 of each file that can change what a chapter shows.

    Raises:
        ReproduceError: there is none, so nothing would be watched.
    """
    found = {}
    for path in sorted(library.rglob("*")):
        name = path.relative_to(library).as_posix()
        if path.is_file() and "__pycache__" not in path.parts and not name.startswith(unseen):
            found[name] = file_hash(path)
    if not found:
        raise ReproduceError(f"{library} holds no source file: it should be the folder of rar_lib")
    return found


def _hash(path: Path | None) -> str | None:
    """SHA-256 of a file; ``None`` where there is none."""
    return file_hash(path) if path and path.is_file() else None


def _data_of(stem: str, step: Step, pending: Sequence[str]) -> str:
    """A digest of the data that lies there of an earlier notebook, whoever wrote it."""
    if stem in pending:
        return "pending"
    out, names = _earlier(stem, step)
    return digest({name: _hash(out / "data" / name) for name in names})


def _earlier(stem: str, step: Step) -> tuple[Path, list[str]]:
    """The folder of an earlier notebook's finished run, and the names of the data it left.

    Raises:
        ReproduceError: there is no such run.
    """
    for out in (step.out, step.before):
        if out and (manifest := load(out / f"{stem}.json")):
            return out, sorted(manifest["data"])
    raise ReproduceError(
        f"{step.source.name} builds on {stem}, which has no finished run in {step.out}; run that "
        "one too"
    )


def reason(step: Step, parts: dict[str, Any]) -> str | None:
    """Why the step must run, or None if it is up to date."""
    manifest = load(step.manifest)
    if manifest is None:
        return "the last run failed" if step.failed.exists() else "never run"
    if other := _altered(step.executed, manifest):
        return other
    if manifest["key"] == digest(parts):
        return None
    reasons = []
    for name, words in _CHANGED.items():
        old = manifest["parts"][name]
        new = parts[name]
        if old == new:
            continue
        if isinstance(new, dict):
            which = [k for k in sorted({*old, *new}) if old.get(k) != new.get(k)]
            words += f" ({_some(which)})"
        reasons.append(words)
    return "; ".join(reasons)


def altered(executed: Path) -> str | None:
    """What of a finished run, its copy or its data, is not as it left it.

    ``None`` where nothing is, or where there is no manifest to tell.
    """
    manifest = load(executed.with_suffix(".json"))
    return _altered(executed, manifest) if manifest else None


def _altered(executed: Path, manifest: Mapping[str, Any]) -> str | None:
    if not executed.exists():
        return "the executed copy is missing"
    if file_hash(executed) != manifest["sha256"]:
        return "the executed copy was changed"
    other = _differing(executed.parent, manifest)
    return f"its data was changed ({_some(other)})" if other else None


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")


def _differing(out: Path, manifest: Mapping[str, Any]) -> list[str]:
    """The data of a chapter that is not as it left it."""
    left = sorted(manifest["data"].items())
    return [name for name, sha in left if _hash(out / "data" / name) != sha]


def load(path: Path) -> dict[str, Any] | None:
    """The manifest, or None if there is none that this version wrote."""
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) and manifest.get("schema") == SCHEMA else None


_log = logging.getLogger(__name__)
#: What chapters do not see: a change there makes none of them stale.
_UNSEEN = (
    "cli/",
    "book/pages/",
    "book/print.css",
    "book/epub.css",
)
#: What makes a report or a model card, which few chapters do: only those whose code names one.
_REPORT = ("book/report.", "book/rollouts.", "book/card.")
_REPORTS = re.compile(r"\b(?:(?:write_)?report|(?:(?:save|model)_)?card)\b")
PACKAGE = Path(__file__).parents[1]


#: Seconds of a chapter that finds all it asks on record, until one has been measured: its kernel,
#: its imports and its figures.
SHORT_S = 30.0


class View(Protocol):
    """Shows a chapter for as long as the context lives; what it yields hears of every cell."""

    def __call__(
        self, label: str, stem: str, course: Course
    ) -> contextlib.AbstractContextManager[Callable[[notebook.Place], None]]: ...


@contextlib.contextmanager
def _unseen(label: str, stem: str, course: Course) -> Iterator[Callable[[notebook.Place], None]]:
    yield lambda place: None


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
    product: Callable[[], float | None] = product_gflops,
    view: View = _unseen,
    library: Path = PACKAGE,
) -> list[Result]:
    """Execute the notebooks ``NN_*.ipynb`` of a folder, in order, as far as needed.

    Args:
        profile: Injected by name as the parameter ``profile``; its values are in the key.
        notebooks: Folder of the sources; its parent is the checkout, where cells run.
        out: Folder of executed copies and manifests, and of ``data``, what chapters leave.
        only: Stems, or their numbers such as ``"03"``; default all.
        force: Run even what is up to date.
        servers: Serves a model for as long as its context lives; default
            `rar_lib.models.server.serve`. Started once, and only if a notebook must run that may
            ask a model.
        weights: Makes a model's weights ready; default `rar_lib.models.store.to_serve`.
        product: Measures this machine for the forecast, in GFLOP/s.
        view: Shows the chapter that runs.
        library: Folder whose files are part of the key.

    Returns:
        One result for each chosen notebook.

    Raises:
        ReproduceError: a notebook failed (its last good copy and data stay), another run is
            working in ``out``, or a notebook's metadata is wrong.
        KeyboardInterrupt: on Ctrl-C or SIGTERM; the last good state stays.
    """
    notebooks = notebooks.resolve()  # papermill changes the folder
    out = out.resolve()
    root = notebooks.parent
    steps = _steps(notebooks, out, only)
    with _alone(out), _sigterm_as_interrupt():
        _publish_rest(out)
        todo = [step for step, why in _plan(steps, profile, root, library, force) if why]
        done: list[Result] = []
        with contextlib.ExitStack() as stack:
            course = Course({})
            gflops = None
            if todo:
                course, gflops = _course(todo, profile, root, library, product)
                said = _estimate(course, profile, gflops)
                _log.info(f"{len(todo)} of {len(steps)} notebooks to run: {said}")
                if any(step.asks for step in todo):
                    _make_ready(profile, stack, servers, weights)
            for n, step in enumerate(steps, 1):
                label = f"[{n}/{len(steps)}] {step.stem}"
                [(_, why)] = _plan([step], profile, root, library, force)
                if why is None:
                    course.forecast.pop(step.stem, None)
                    _log.info(f"{label}: up to date")
                    done.append(Result(step.stem, False, "up to date", 0.0, step.executed))
                    continue
                _log.info(f"{label}: {why}")
                with view(label, step.stem, course) as tell:
                    short = step.stem in course.short
                    seconds = _run(
                        step, profile, root, library, tell=tell, short=short, gflops=gflops
                    )
                _log.info(f"{label}: done in {seconds:.0f} s{_rest(course, step.stem, seconds)}")
                done.append(Result(step.stem, True, why, seconds, step.executed))
        return done


def _rest(course: Course, stem: str, seconds: float) -> str:
    """Count the chapter as done; what those after it will take, in words."""
    course.taken[stem] = seconds
    left = course.left(stem, seconds)
    return f", about {duration(left)} left" if left else ""


def replay(
    profile: Profile,
    *,
    notebooks: Path,
    out: Path,
    only: Sequence[str] | None = None,
    view: View = _unseen,
    library: Path = PACKAGE,
) -> list[Result]:
    """Execute notebooks, in order, from the calls that an earlier run recorded in ``out``.

    Copies, manifests and data go to ``out/replay``, which is made anew; those of the real runs stay
    as they are. A notebook whose metadata says ``"replay": false`` computes with a model of its own
    and is left out. Those after it, or after one that was not chosen, read what its real run left.

    Raises:
        ReproduceError: a notebook failed, for one because a call is not on record; one that it is
            after was neither replayed nor run; or another run is working in ``out``.
    """
    notebooks = notebooks.resolve()
    out = out.resolve()
    target = out / "replay"
    done: list[Result] = []
    with _alone(out), _sigterm_as_interrupt(), _environment("RAR_CASSETTE", "replay"):
        _publish_rest(out)  # else new data would be read beside the old manifest
        shutil.rmtree(target, ignore_errors=True)
        steps = _steps(notebooks, target, only, before=out)
        todo = [step for step in steps if step.rar.get("replay") is not False]
        for step in steps:
            if step not in todo:
                _log.info(f"{step.stem}: left out, it computes with a model of its own")
        course = Course({step.stem: _short(load(out / f"{step.stem}.json")) for step in todo})
        for n, step in enumerate(todo, 1):
            with view(f"[{n}/{len(todo)}] {step.stem}", step.stem, course) as tell:
                seconds = _run(step, profile, notebooks.parent, library, tell=tell, short=True)
            _log.info(
                f"{step.stem}: replayed in {seconds:.0f} s{_rest(course, step.stem, seconds)}"
            )
            done.append(Result(step.stem, True, "replayed", seconds, step.executed))
    return done


def _steps(
    notebooks: Path, out: Path, only: Sequence[str] | None, before: Path | None = None
) -> list[Step]:
    steps: list[Step] = []
    for source in sorted(notebooks.glob("[0-9][0-9]_*.ipynb")):
        rar = dict(notebook.read(source).metadata.get("rar", {}))
        step = Step(source, out, rar, before)
        earlier = {other.stem for other in steps}
        if wrong := sorted(set(rar.get("after", [])) - earlier):
            raise ReproduceError(
                f"{source.name}: metadata rar.after names {', '.join(wrong)}, which is not an "
                f"earlier notebook; choose from: {', '.join(sorted(earlier)) or 'none'}"
            )
        steps.append(step)
    if not steps:
        raise ReproduceError(f"{notebooks} holds no notebook named like 01_name.ipynb")
    for name in only or ():
        if not any(name in (step.stem, step.stem[:2]) for step in steps):
            known = ", ".join(step.stem for step in steps)
            raise ReproduceError(f"there is no notebook {name!r}; choose from: {known}")
    if not only:
        return steps
    return [step for step in steps if step.stem in only or step.stem[:2] in only]


def _plan(
    steps: list[Step], profile: Profile, root: Path, library: Path, force: bool
) -> list[tuple[Step, str | None]]:
    """Each step with the reason to run it, or None.

    What is after a notebook that will run counts as changed; whether it is, is seen when that has
    run.
    """
    plan: list[tuple[Step, str | None]] = []
    for step in steps:
        again = [earlier.stem for earlier, why in plan if why and earlier.stem in step.after]
        why = reason(step, parts_of(step, profile, root, library, pending=again))
        plan.append((step, why or ("forced" if force else None)))
    return plan


def _run(
    step: Step,
    profile: Profile,
    root: Path,
    library: Path,
    *,
    tell: Callable[[notebook.Place], None],
    short: bool,
    gflops: float | None = None,
) -> float:
    """Execute one notebook and put what it left in place; returns seconds."""
    # Taken before the run: a library edited meanwhile makes the next run repeat this one.
    parts = parts_of(step, profile, root, library)
    calls = _calls(step.out)
    start = datetime.datetime.now(datetime.UTC)
    clock = time.monotonic()
    work = _prepare(step)
    executed = work / step.executed.name
    with _environment(notebook.WORK, str(work)):
        sizes = notebook.execute(
            step.source,
            executed,
            {"profile": profile.name},
            cwd=root,
            cell_timeout_s=profile.cell_timeout_s,
            failed=step.failed,
            tell=tell,
        )
    seconds = time.monotonic() - clock
    parts["inputs"] = _read_in(work)
    data = _left_in(work / "data")
    last = load(step.manifest)
    added = max(0, _calls(step.out) - calls)
    asked = added > 0 or _folders(data) != _folders(last["data"] if last else {})
    manifest = {
        "schema": SCHEMA,
        "key": digest(parts),
        "sha256": file_hash(executed),
        "data": data,
        "profile": profile.name,
        "start": start.isoformat(timespec="seconds"),
        "end": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
        "calls_added": added,
        "taken": _taken(last, Measured(round(seconds, 1), gflops), asked=asked, short=short),
        **sizes,
        "hardware": machine.hardware(),
        "versions": machine.versions(),
        "parts": parts,
    }
    _check_own(step, manifest["data"])
    atomic_write(
        work / step.manifest.name, json.dumps(manifest, indent=1, sort_keys=True) + "\n"
    )  # from here on the run counts
    _publish(step.out, step.stem)
    return seconds


def _calls(out: Path) -> int:
    """Calls on record in a folder; none that can be read is none."""
    path = out / "calls.sqlite"
    if not path.exists():
        return 0
    with contextlib.suppress(CassetteError), contextlib.closing(Cassette(path, "replay")) as record:
        return record.size()
    return 0


def _folders(data: Mapping[str, str]) -> dict[str, str]:
    """What is expensive of a chapter's data: trained, or sampled."""
    return {name: sha for name, sha in data.items() if "/" in name}


def _taken(
    last: Mapping[str, Any] | None, now: Measured, *, asked: bool, short: bool
) -> dict[str, Any]:
    """What a chapter takes ``live`` and from the record (``short``), this run included.

    A run that was to be short and asked a little, because a cell was changed, is neither.

    Args:
        asked: whether it added to the record, or trained.
        short: whether all that it asks was thought to be there.
    """
    known = _taken_before(last)
    if not asked:
        known["short"] = {"seconds": now.seconds}
    elif not short:
        known["live"] = {"seconds": now.seconds, "gflops": now.gflops}
    return known


def _taken_before(last: Mapping[str, Any] | None) -> dict[str, Any]:
    if last is None:
        return {}
    # Manifests of earlier versions say the seconds of a run alone.
    return dict(last.get("taken", {"live": {"seconds": last["seconds"], "gflops": None}}))


def _prepare(step: Step) -> Path:
    """The folder in which a chapter works: its own folders, and a view of what it may read."""
    work = step.out / ".work" / step.stem
    data = work / "data"
    data.mkdir(parents=True, exist_ok=True)
    for path in [*work.iterdir(), *data.iterdir()]:
        if path.is_symlink() or path.is_file():  # of an attempt that failed; folders go on
            path.unlink()
    for stem in step.after:
        out, names = _earlier(stem, step)
        for top in sorted({name.split("/")[0] for name in names}):
            if (data / top).is_dir():
                shutil.rmtree(data / top)
            (data / top).symlink_to(out / "data" / top)
    if last := load(step.manifest):
        _bring_back(step.out / "data", data, last["data"])
    return work


def _bring_back(source: Path, target: Path, left: Mapping[str, str]) -> None:
    """Copy the folders that the last good run left, those that are as it left them.

    Copies, because a trainer writes into files that are there. A folder with one file changed
    could not be trusted as a whole, and a failed attempt's own is further than this one.
    """
    for top in sorted({name.split("/")[0] for name in left if "/" in name}):
        inside = {name: sha for name, sha in left.items() if name.startswith(f"{top}/")}
        whole = all(_hash(source / name) == sha for name, sha in inside.items())
        taken = (target / top).is_symlink() or _left_in(target, top)
        for name in inside if whole and not taken else ():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / name, target / name)


def _left_in(data: Path, top: str = "") -> dict[str, str]:
    """SHA-256 of every file of a chapter by name, without what training keeps for itself."""
    found = {}
    for path in sorted((data / top).rglob("*")):
        name = path.relative_to(data)
        foreign = (data / name.parts[0]).is_symlink() or _KEPT & set(name.parts)
        if not foreign and path.is_file() and not any(p.startswith(".") for p in name.parts):
            found[name.as_posix()] = file_hash(path)
    return found


def _read_in(work: Path) -> dict[str, str | None]:
    """The records that a chapter has asked for, with their hashes at that time."""
    path = work / notebook.READS
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    read = [json.loads(line) for line in lines]
    return {one["name"]: one["sha256"] for one in read}


def _check_own(step: Step, data: Iterable[str]) -> None:
    """Refuse data in the place of an earlier chapter's, of which each would undo the other's.

    What a chapter left that has another name now, or is gone, is in nobody's way.

    Raises:
        ReproduceError: names both.
    """
    for path in sorted(step.out.glob("[0-9][0-9]_*.json")):
        there = step.source.with_name(f"{path.stem}.ipynb").exists()
        manifest = load(path) if there else None
        if manifest and path.stem < step.stem and (both := sorted({*data} & {*manifest["data"]})):
            raise ReproduceError(
                f"{step.source.name} leaves {_some(both)}, which {path.stem} leaves, too: choose "
                "another name"
            )


def _publish_rest(out: Path) -> None:
    """Move what a run that was killed at its very end had not moved yet."""
    for path in sorted(out.glob(".work/*/*.json")):
        _publish(out, path.stem)


def _publish(out: Path, stem: str) -> None:
    """Move a finished run to its places, the manifest last; begun again, it goes on."""
    work = out / ".work" / stem
    manifest = json.loads((work / f"{stem}.json").read_text(encoding="utf-8"))
    last = load(out / f"{stem}.json")
    others = [load(p) for p in out.glob("[0-9][0-9]_*.json") if p.stem != stem]
    still = set(manifest["data"]).union(*(other["data"] for other in others if other))
    for name in sorted(set(last["data"]) - still) if last else ():
        (out / "data" / name).unlink(missing_ok=True)
    for name in manifest["data"]:
        _move(work / "data" / name, out / "data" / name)
    for name in (f"{stem}.ipynb", f"{stem}.json"):
        _move(work / name, out / name)
    for path in sorted(work.rglob("*"), reverse=True):
        _drop(path, keep=bool(_KEPT & set(path.relative_to(work).parts)))
    for path in (work, work.parent):
        _drop(path)


def _move(source: Path, target: Path) -> None:
    if source.exists():  # else it has been moved
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(source, target)


def _drop(path: Path, *, keep: bool = False) -> None:
    """Remove a file or an empty folder."""
    if path.is_dir() and not path.is_symlink():
        with contextlib.suppress(OSError):  # something is kept in it
            path.rmdir()
    elif not keep:
        path.unlink()


def _make_ready(
    profile: Profile,
    stack: contextlib.ExitStack,
    servers: Callable[[str], contextlib.AbstractContextManager[Any]] | None,
    weights: Callable[[str], Any] | None,
) -> None:
    """Weights on disk and judge servers up; they stay until the stack closes."""
    from rar_lib.models.server import serve
    from rar_lib.models.store import to_serve

    for name in profile.models:
        if "/" not in name:  # a hub id is fetched by the engine that loads it
            (weights or to_serve)(name)
    for name in profile.servers:
        _log.info(f"starting the server of {name}")
        stack.enter_context(servers(name) if servers else serve(name, **profile.server))


def _course(
    todo: Sequence[Step],
    profile: Profile,
    root: Path,
    library: Path,
    product: Callable[[], float | None],
) -> tuple[Course, float | None]:
    """The forecast of every chapter, and the product that this machine was measured to do.

    Nothing is measured on a GPU, whose time a product of the processor does not tell, or where all
    that is asked is on record.
    """
    pending = [step.stem for step in todo]
    short = frozenset(
        step.stem
        for step in todo
        if _on_record(step, parts_of(step, profile, root, library, pending=pending))
    )
    gflops = product() if profile.device == "cpu" and len(short) < len(todo) else None
    forecast: dict[str, float | None] = {}
    for step in todo:
        points = _measured(step, profile.name, root)
        seconds = at_rate(points, gflops) if points else None
        if step.stem in short:
            brief = _short(load(step.manifest))
            seconds = brief if seconds is None else min(seconds, brief)
        forecast[step.stem] = seconds
    return Course(forecast, short), gflops


def _on_record(step: Step, parts: Mapping[str, Any]) -> bool:
    """Whether a chapter will find on record what it asks, and trained what it trains.

    It will, if it has run to its end and nothing has changed since of what decides it: the code
    below ``book``, the parameters, the packages. A cell that now asks more is not foreseen.
    """
    last = load(step.manifest)
    if last is None or not _calls(step.out) or _differing(step.out, last):
        return False
    then = last["parts"]
    same = all(then[name] == parts[name] for name in ("parameters", "installed"))
    return same and _below(then["library"]) == _below(parts["library"])


def _below(library: Mapping[str, str]) -> dict[str, str]:
    """The modules of the rooms below ``book``, by their hashes."""
    return {name: sha for name, sha in library.items() if not name.startswith("book/")}


def _short(last: Mapping[str, Any] | None) -> float:
    """Seconds of a chapter from the record: as last measured, else :data:`SHORT_S`."""
    found: float = _taken_before(last).get("short", {}).get("seconds", SHORT_S)
    return found


def _measured(step: Step, profile: str, root: Path) -> list[Measured]:
    """Live times: of this machine, else of the machines on record, else as the metadata says."""
    live = _taken_before(load(step.manifest)).get("live")
    if live:
        return [Measured(**live)]
    if found := _elsewhere(step.stem, profile, root):
        return found
    minutes = step.rar.get("minutes", {}).get(profile)
    if minutes is None:
        return []
    return [Measured(60.0 * minutes, step.rar.get("gflops", {}).get(profile))]


def _elsewhere(stem: str, profile: str, root: Path) -> list[Measured]:
    """What ``results/times.json`` knows of a chapter, a measurement for each kind of processor."""
    path = results.find("times", root)
    if path is None or not path.is_file():
        return []
    machines = json.loads(path.read_text(encoding="utf-8")).get("reproduce", {})
    runs = [(of.get("chapters", {}).get(profile, {}), of.get("gflops")) for of in machines.values()]
    return [Measured(chapters[stem], gflops) for chapters, gflops in runs if stem in chapters]


def _estimate(course: Course, profile: Profile, gflops: float | None) -> str:
    """Minutes in all and for each chapter, and by which measurement."""
    known = sum(seconds or 0.0 for seconds in course.forecast.values()) / 60
    words = [
        f"{stem} {'?' if seconds is None else f'{seconds / 60:.1f}'}"
        + (" from its record" if stem in course.short else "")
        for stem, seconds in course.forecast.items()
    ]
    by = f"; a product of this machine: {gflops:,.0f} GFLOP/s in {cpu_dtype()}" if gflops else ""
    return f"about {known:.0f} min ({', '.join(words)}){by}"


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
def _environment(name: str, value: str) -> Iterator[None]:
    """A variable that the kernels inherit, for as long as the block lasts."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before


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
