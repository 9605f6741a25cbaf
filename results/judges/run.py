"""Judges side by side: one server, one model, the same responses, every system.

    .venv/bin/python -m results.judges.run                 # what is missing, then the table
    .venv/bin/python -m results.judges.run --minutes 4     # as much as fits; run again to go on
    .venv/bin/python -m results.judges.run --table         # the table of what is there

Each peer runs in an environment of its own, made here from its pinned list under ``peers/``. The
work is cut into pieces of a few tasks; a finished piece lies in ``_build/judges`` and is done
again only when something that can change it has changed, the machine included, or with --force.
When every piece is there results go to ``judges.json`` beside this file; until then the table is
only shown. The arithmetic is in ``table.py`` and ``results/limit.py``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from rar_lib.core.files import atomic_write, checkout, digest, file_hash, home, sources
from rar_lib.core.files import versions as package_versions
from rar_lib.core.types import Task
from rar_lib.judging.messages import prompts_of
from rar_lib.models.machine import hardware
from rar_lib.models.processor import suited
from rar_lib.models.server import Endpoint, serve_plan
from rar_lib.models.vllm_args import PACKAGES, plan
from results.allocator import watched
from results.judges import table
from results.judges.items import TASKS, both_sides, item, resized, sample, tasks_by_id
from results.limit import Watch, fastest_product, number_format

HERE = Path(__file__).resolve().parent
ROOT = checkout() or Path.cwd()
PEERS = HERE / "peers"
PIECES = ROOT / "_build" / "judges"
RESULTS = HERE / "judges.json"
TASKS_A_PIECE = 8
#: The last is the most criteria that a rubric may have.
SIZES = (1, 4, 16, 60)
SIZE_TASKS = 6
CONCURRENCY = 32
#: Above this share of the cores for other processes a piece is measured once more.
BUSY = 0.1
#: autorubric's prompts are long; the key-value cache holds 32 of them.
SERVER: dict[str, Any] = {"max_model_len": 4096, "kv_cache_gb": 3.0}
#: Rooms that decide the requests of this project's own judge.
OWN = ("core", "judging")


@dataclass(frozen=True)
class System:
    """One way to grade; ``peer`` names the adapter, and its environment where it has one.

    ``compact`` is for the server that `models.server.serve` starts, which allows no white space
    in JSON. All others share a server without that setting, since under it this model answers
    autorubric's schema with CANNOT_ASSESS every time, and without it hardly ever.
    """

    name: str
    label: str
    peer: str
    variant: str
    model: str = "qwen-1.5b"
    compact: bool = False


INT8 = "qwen-1.5b-int8"
#: All of them; :func:`systems` leaves out what does not suit this processor.
SYSTEMS = [
    System("rar_probability", "this judge, probabilities", "rar", "probability"),
    System("rar_int8", "this judge, probabilities, int8", "rar", "probability", INT8),
    System("rar_sampled", "this judge, sampled JSON", "rar", "sampled"),
    System("rar_sampled_compact", "the same, no white space", "rar", "sampled", compact=True),
    System("rar_implicit", "this judge, implicit", "rar", "implicit"),
    System("autorubric", "autorubric", "autorubric", "per_criterion"),
    System("autorubric_per_item", "autorubric, one call an item", "autorubric", "per_item"),
    System("rubric", "rubric", "rubric", "per_criterion"),
    System("rubric_one_shot", "rubric, one-shot", "rubric", "one_shot"),
    System("healthbench", "the HealthBench way", "healthbench", ""),
]
SCALED = ("rar_probability", "autorubric")
#: For reference only: the first piece is enough.
SHORT = ("rar_sampled_compact", "autorubric_per_item")


def systems() -> list[System]:
    """Those whose model suits this processor: without int8 products int8 is no judge's choice."""
    return [system for system in SYSTEMS if suited(system.model) == system.model]


def left_out() -> dict[str, dict[str, str]]:
    """System that does not suit this processor -> its label, and why."""
    here = systems()
    why = "this processor has no int8 products"
    return {
        system.name: {"label": system.label, "why": why} for system in SYSTEMS if system not in here
    }


@cache
def made_by() -> dict[str, Any]:
    """What must be equal for pieces to stand beside each other."""
    found = {"python": platform.python_version()} | package_versions(PACKAGES)
    return {"machine": hardware(), "versions": found}


def own_prompts(asked: Mapping[str, Any], variant: str) -> list[str]:
    """What this judge asks about an item: its prompts are in files that may change."""
    task = Task.model_validate(asked["task"])
    text = asked["response"]
    if variant == "implicit":
        return prompts_of(task, text, "implicit")
    return prompts_of(task, text, "explicit", "sampled" if variant == "sampled" else "probability")


@dataclass(frozen=True)
class Piece:
    """Some items for one system; ``key`` changes with anything that can change the outcome."""

    system: System
    part: str
    items: Sequence[dict[str, Any]]
    warm: dict[str, Any]

    @property
    def path(self) -> Path:
        return PIECES / f"{self.system.name}-{self.part}.json"

    @property
    def key(self) -> str:
        scripts = [PEERS / "harness.py", PEERS / f"run_{self.system.peer}.py"]
        beside = (requirements(self.system.peer), PEERS / f"{self.system.peer}_prompt.txt")
        scripts += [path for path in beside if path.exists()]
        rooms = ("models", *(OWN if self.system.peer == "rar" else ()))
        system = self.system
        seen: list[Any] = [self.items, self.warm, system.variant, system.model, system.compact]
        seen += [SERVER, CONCURRENCY, made_by()]
        if self.system.peer == "rar":
            seen += own_prompts(self.warm, self.system.variant)
        return digest([seen, [file_hash(path) for path in scripts], sources(*rooms)])[:16]

    def result(self) -> dict[str, Any] | None:
        """What was measured, if it was and is still valid."""
        if not self.path.exists():
            return None
        found: dict[str, Any] = json.loads(self.path.read_text())
        return found if found["key"] == self.key else None


def main() -> None:
    """Measure what is missing, write the results, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no piece later")
    names = [system.name for system in systems()]
    parser.add_argument("--only", nargs="*", choices=names, help="systems")
    parser.add_argument("--force", action="store_true", help="measure again, with --only: those")
    parser.add_argument("--table", action="store_true", help="measure nothing")
    parser.add_argument("--figure", type=Path, help="draw cost against criteria into this file")
    options = parser.parse_args()
    pieces = all_pieces()
    wanted = [piece for piece in pieces if not options.only or piece.system.name in options.only]
    if options.force:
        for piece in wanted:
            piece.path.unlink(missing_ok=True)
    if not options.table:
        todo = [piece for piece in wanted if piece.result() is None]
        run(todo, time.monotonic() + 60 * options.minutes)
    results = report(pieces)
    if options.figure:
        table.figure(results).savefig(options.figure)


def report(pieces: Sequence[Piece]) -> dict[str, Any]:
    """Show the table of what is there, and write the record if nothing is missing.

    Raises:
        SystemExit: nothing is there.
    """
    found = [(piece, piece.result()) for piece in pieces]
    done = [(piece.system, piece.part, piece.items, result) for piece, result in found if result]
    if not done:
        sys.exit("nothing has been measured yet on this machine: run without --table")
    server = SERVER | {"concurrency": CONCURRENCY}
    results = table.summarise(done, tasks_by_id(), server) | {"left_out": left_out()}
    print(table.render(results))
    if missing := [piece.path.stem for piece, result in found if result is None]:
        print(f"\n{len(missing)} of {len(pieces)} pieces are missing, so no record is written:")
        print(f"{', '.join(missing)}\nRun again to go on.")
    else:
        atomic_write(RESULTS, json.dumps(results, indent=1) + "\n")
    return results


def all_pieces() -> list[Piece]:
    """Every piece of work, in the order in which it is done: the systems take turns.

    Parts: ``tasks-N``, the comparison; ``size-K``, the cost of K criteria; ``val``, what the
    probability reading is calibrated on.
    """
    tasks, pairs = sample("test")
    val, val_pairs = sample("val")
    warm = item(tasks[TASKS], pairs[tasks[TASKS].id].preferred, "warm")
    parts: list[tuple[str, list[dict[str, Any]], Sequence[str]]] = []
    here = systems()
    calibrated = [system.name for system in here if system.variant == "probability"]
    parts.append(("val", both_sides(val, val_pairs), calibrated))
    for size in SIZES:
        items = [
            item(resized(task, tasks, size), pairs[task.id].preferred, f"{task.id}:{size}")
            for task in tasks[:SIZE_TASKS]
        ]
        parts.append((f"size-{size}", items, SCALED))
    # Something of everything first: what is there can be read at any time.
    for n in range(0, TASKS, TASKS_A_PIECE):
        chosen = tasks[n : min(n + TASKS_A_PIECE, TASKS)]
        names = [system.name for system in here if n == 0 or system.name not in SHORT]
        part = (f"tasks-{n + 1}", both_sides(chosen, pairs), names)
        parts.insert(len(parts) if n else 0, part)
    return [
        Piece(system, part, items, warm)
        for part, items, names in parts
        for system in here
        if system.name in names
    ]


def run(pieces: Sequence[Piece], stop: float) -> None:
    """Measure, with one server for each setting, until there is nothing left or time is up."""
    for kind in dict.fromkeys((piece.system.model, piece.system.compact) for piece in pieces):
        if time.monotonic() > stop:
            return
        with server(*kind) as endpoint:
            for piece in pieces:
                if (piece.system.model, piece.system.compact) != kind or time.monotonic() > stop:
                    continue
                measured = measure(piece, endpoint)
                if measured["other_load"] > BUSY and time.monotonic() < stop:
                    again = measure(piece, endpoint)
                    measured = min(measured, again, key=lambda one: one["other_load"])
                atomic_write(piece.path, json.dumps(measured, indent=1))


@contextlib.contextmanager
def server(model: str, compact: bool) -> Iterator[Endpoint]:
    """A server that can empty its prefix cache."""
    os.environ["VLLM_SERVER_DEV_MODE"] = "1"
    os.environ["HF_HUB_OFFLINE"] = "1"
    todo = plan(model, **SERVER)
    if not compact:
        at = todo.args.index("--structured-outputs-config")
        todo = replace(todo, args=todo.args[:at] + todo.args[at + 2 :])
    with serve_plan(todo) as endpoint:
        yield endpoint


def measure(piece: Piece, endpoint: Endpoint) -> dict[str, Any]:
    """One piece, in the environment of its system."""
    print(f"{piece.system.label}, {piece.part}: ", end="", flush=True)
    scratch = PIECES / "running"
    scratch.mkdir(parents=True, exist_ok=True)
    (scratch / "items.jsonl").write_text("".join(json.dumps(one) + "\n" for one in piece.items))
    (scratch / "warm.jsonl").write_text(json.dumps(piece.warm) + "\n")
    out = scratch / "out.json"
    out.unlink(missing_ok=True)
    command = [str(environment(piece.system.peer)), str(PEERS / f"run_{piece.system.peer}.py")]
    for name in ("items", "warm"):
        command += [f"--{name}", str(scratch / f"{name}.jsonl")]
    command += ["--out", str(out), "--url", endpoint.base_url, "--model", piece.system.model]
    command += ["--concurrency", str(CONCURRENCY), "--variant", piece.system.variant]
    # litellm would otherwise ask the network for its list of prices.
    extra = {"NO_PROXY": "127.0.0.1", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    limited = piece.system.peer == "rar" and piece.part.startswith("tasks-")
    kind = number_format(piece.system.model)
    limit = fastest_product(kind) if limited else None
    watch = Watch(endpoint.pid or 0)
    with (scratch / "log").open("w") as log, watched() as memory:
        ran = subprocess.run(
            command, cwd=scratch, env=os.environ | extra, stdout=log, stderr=log, check=False
        )
    if ran.returncode or not out.exists():
        tail = (scratch / "log").read_text()[-1500:]
        raise SystemExit(f"the adapter ended with {ran.returncode}; end of its output:\n{tail}")
    result: dict[str, Any] = json.loads(out.read_text()) | {"key": piece.key, "limit": limit}
    result |= {"date": time.strftime("%Y-%m-%d"), "versions": versions(piece.system.peer)}
    # The server and the adapter together: what a grader takes of this machine.
    result |= {"made_by": made_by(), "number_format": kind, "memory_gb": max(memory)}
    result["other_load"] = watch.other_load()
    outcomes = [outcome for one in result["items"] for outcome in one["outcomes"]]
    unscored = sum(outcome["value"] is None for outcome in outcomes)
    print(
        f"{result['seconds']:.0f} s, {unscored} of {len(outcomes)} unscored, "
        f"other processes {result['other_load']:.0%}",
        flush=True,
    )
    return result


def requirements(peer: str) -> Path:
    """The pinned list of a peer; there is none for what runs in this environment."""
    return PEERS / f"{peer}.txt"


def environment(peer: str) -> Path:
    """The interpreter of a peer, its environment made on first use."""
    pinned = requirements(peer)
    if not pinned.exists():
        return Path(sys.executable)
    folder = home() / "peers" / f"{peer}-{file_hash(pinned)[:12]}"
    python = folder / "bin" / "python"
    ready = folder / "ready"
    if not ready.exists():
        uv = str(Path(sys.executable).with_name("uv"))
        subprocess.run([uv, "venv", "-q", "--clear", "-p", sys.executable, folder], check=True)
        install = [uv, "pip", "install", "-q", "--no-deps", "--only-binary", ":all:"]
        subprocess.run([*install, "--python", python, "-r", pinned], check=True)
        ready.touch()
    return python


def versions(peer: str) -> str:
    """The pinned version of a peer, for the record."""
    if not requirements(peer).exists():
        return ""
    lines = requirements(peer).read_text().splitlines()
    return next(line for line in lines if line.startswith(f"{peer}=="))


if __name__ == "__main__":
    main()
