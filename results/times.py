"""How long the two commands take: cold, warm and with nothing changed.

    python3 results/times.py reproduce      # hours on two cores without bfloat16; see times.json
    python3 results/times.py test
    python3 results/times.py suite          # where the time of the tests goes, in this checkout

*cold*: a fresh clone and empty caches (packages, weights, compiled code). *warm*: a fresh clone,
caches filled by the cold run. *unchanged*: the same command again in the same clone. Everything
lives in a temporary folder that is removed, unless --keep names one. Results go to
results/times.json, by kind of processor, with machine, date and the versions of packages that the
cold run had, and into the README's table. The chapters' own times and the machine's matrix product
go there, too: the forecast of `rar reproduce` reads them; beside them stands what the cold run's
own forecast said. *suite* runs the tests alone and adds up what its two workers did by folder of
tests. Standard library only.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results" / "times.json"
README = ROOT / "README.md"
LABELS = ("cold", "warm", "unchanged")


def main() -> None:
    """Measure one command and write the results down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=["reproduce", "test", "suite"])
    parser.add_argument("--skip-warm", action="store_true", help="leave out the warm run")
    parser.add_argument("--keep", type=Path, help="a new folder for it all, which stays")
    options = parser.parse_args()
    if options.target == "suite":
        return record_suite()
    if options.keep:
        options.keep.mkdir(parents=True)
    base = options.keep or Path(tempfile.mkdtemp(prefix="rar-times-"))
    seconds: dict[str, float] = {}
    commit = head()  # now, because work may go on while this measures
    live: dict[str, Any] = {}
    try:
        seconds["cold"] = run(options.target, clone(base / "a"), base)
        live = {"disk_gb": round(used_gb(base), 1), "versions": versions(base / "a")}
        live |= chapters(base / "a") if options.target == "reproduce" else {}
        live |= forecasts.get(options.target, {})
        seconds["unchanged"] = run(options.target, base / "a", base)
        if not options.skip_warm:
            shutil.rmtree(base / "a")
            seconds["warm"] = run(options.target, clone(base / "a"), base)
    finally:
        if seconds:  # of a run that failed nothing is known, its memory neither
            record(options.target, seconds, commit, live)
        if not options.keep:
            shutil.rmtree(base)


def head() -> str:
    """The commit of this checkout."""
    told = ["git", "rev-parse", "--short", "HEAD"]
    done = subprocess.run(told, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


#: The tests as `make test` runs them, telling what each took.
SUITE = (
    *(".venv/bin/python", "-m", "pytest", "-n", "2", "--dist", "loadscope"),
    *("--no-loadscope-reorder", "--durations=0", "--durations-min=0.05"),
)


def record_suite() -> None:
    """Run the tests of this checkout and write down where their time goes.

    What earlier tests left of the chapters goes first: a fresh clone has none of it.
    """
    commit = head()
    shutil.rmtree(ROOT / "_build" / "smoke", ignore_errors=True)
    start = time.monotonic()
    with subprocess.Popen(
        SUITE, cwd=ROOT, stdout=subprocess.PIPE, text=True, errors="replace"
    ) as child:
        folders = by_folder(child.stdout or ())
    if child.returncode:
        sys.exit(f"the tests failed with {child.returncode}; nothing was recorded")
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    known.setdefault("suite", {})[kind()] = {
        "seconds": round(time.monotonic() - start, 1),
        "folders": folders,
        "machine": machine(),
        "date": datetime.date.today().isoformat(),
        "commit": commit,
    }
    RESULTS.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")


def by_folder(lines: Iterable[str]) -> dict[str, float]:
    """Pass pytest's output on; folder of tests -> seconds of its tests, both workers added up."""
    found: dict[str, float] = {}
    for line in lines:
        print(line, end="", flush=True)
        if said := re.match(r"\s*([\d.]+)s (?:setup|call|teardown)\s+(tests/[^:]+)::", line):
            folder = str(Path(said[2]).parent)
            found[folder] = found.get(folder, 0.0) + float(said[1])
    return {folder: round(took, 1) for folder, took in found.items()}


def used_gb(folder: Path) -> float:
    """10^9 bytes under a folder as `du` counts them: a file with two names once."""
    done = subprocess.run(
        ["du", "-sk", str(folder)], capture_output=True, text=True, check=True
    ).stdout
    return int(done.split()[0]) * 1024 / 1e9


#: Asked of the run's own interpreter, which has the library: nothing of it is imported here.
_VERSIONS = (
    "import json; from rar_lib.models.machine import versions; print(json.dumps(versions()))"
)


def versions(folder: Path) -> dict[str, str]:
    """Python and packages of the environment that a run has made, as other records name them."""
    ask = [str(folder / ".venv" / "bin" / "python"), "-c", _VERSIONS]
    done = subprocess.run(ask, cwd=folder, capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


def chapters(folder: Path) -> dict[str, Any]:
    """Seconds of every chapter by profile, and the product of the machine on which they took so.

    It stops where there is no chapter: a run that made none has measured nothing.
    """
    found: dict[str, dict[str, float]] = {}
    products = []
    paths = sorted(folder.glob("_build/*/[0-9][0-9]_*.json"))
    if not paths:
        sys.exit(f"{folder / '_build'} holds no chapter's NN_name.json: what did the run make?")
    for path in paths:
        manifest = json.loads(path.read_text())
        found.setdefault(manifest["profile"], {})[path.stem] = manifest["seconds"]
        products.append(manifest["taken"].get("live", {}).get("gflops"))
    known = [product for product in products if product]
    return {"chapters": found} | ({"gflops": round(max(known), 1)} if known else {})


def clone(folder: Path) -> Path:
    """A clone of what is committed."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    return folder


OF_AN_OUTER_MAKE = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES")


def run(target: str, folder: Path, base: Path) -> float:
    """Seconds of ``make TARGET`` with caches under ``base``; stops if it fails."""
    caches = {
        "XDG_CACHE_HOME": str(base / "cache"),
        "RAR_HOME": str(base / "rar"),
        "UV_CACHE_DIR": str(base / "uv"),
        "PIP_CACHE_DIR": str(base / "pip"),
        "TORCHINDUCTOR_CACHE_DIR": str(base / "inductor"),
    }
    # A make around this one would hand down its own flags and variables, such as PROFILE.
    outside = {name: value for name, value in os.environ.items() if name not in OF_AN_OUTER_MAKE}
    print(f"make {target} in {folder}", flush=True)
    start = time.monotonic()
    over = threading.Event()
    watch = threading.Thread(target=watch_memory, args=(over, peaks.setdefault(target, [])))
    watch.start()
    try:
        with subprocess.Popen(
            ["make", target],
            cwd=folder,
            env={**outside, **caches},
            stdout=subprocess.PIPE,
            text=True,
            errors="replace",
        ) as child:
            forecasts[target] = forecast(child.stdout or ())
    finally:
        over.set()
        watch.join()
    if child.returncode:
        sys.exit(f"make {target} failed with {child.returncode}; nothing was recorded for this run")
    return round(time.monotonic() - start, 1)


#: Target -> GB in use on the whole machine, every two seconds.
peaks: dict[str, list[float]] = {}


#: Target -> what its last run said beforehand of its chapters, in seconds.
forecasts: dict[str, dict[str, float]] = {}


def forecast(lines: Iterable[str]) -> dict[str, float]:
    """Pass the output of a run on, line by line; what it said that its chapters would take."""
    found: dict[str, float] = {}
    for line in lines:
        print(line, end="", flush=True)
        if said := re.search(r"\d+ of \d+ notebooks to run: about (\d+) min", line):
            found.setdefault("forecast_s", 60.0 * int(said[1]))  # what was said first
    return found


def watch_memory(over: threading.Event, seen: list[float]) -> None:
    """Note the memory in use (total less available) until told that it is over."""
    while not over.wait(2):
        info = Path("/proc/meminfo").read_text()
        total, free = (
            int(line.split()[1]) * 1024 / 1e9
            for key in ("MemTotal:", "MemAvailable:")
            for line in info.splitlines()
            if line.startswith(key)
        )
        seen.append(total - free)


def record(target: str, seconds: dict[str, float], commit: str, live: dict[str, Any]) -> None:
    """Merge into results/times.json and rewrite the README's table from it.

    A run of another commit, or on another machine of the same kind, replaces all that was known of
    this kind: figures of two runs are not mixed in a row.
    """
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    kinds = known.setdefault(target, {})
    before = kinds.get(kind(), {})
    if any(before.get(name) != now for name, now in (("commit", commit), ("machine", machine()))):
        before = {}
    kinds[kind()] = before | {
        **{f"{label}_s": taken for label, taken in seconds.items()},
        **live,
        "memory_gb": round(max(peaks.get(target) or [0.0]), 1),
        "machine": machine(),
        "date": datetime.date.today().isoformat(),
        "commit": commit,
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
    text = re.sub(
        r"(<!-- times -->\n).*?(<!-- /times -->)",
        lambda found: found[1] + table(known) + "\n" + found[2],
        README.read_text(),
        flags=re.S,
    )
    README.write_text(text)


def table(known: dict[str, dict[str, dict[str, Any]]]) -> str:
    """Rows of Markdown: for each command one for each kind of processor, whose name it bears."""
    rows = [
        "| command | processor | cold | warm | unchanged | memory in use, at most | disk |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for name in ("reproduce", "test"):
        for processor, times in sorted(known.get(name, {}).items()) or [("not measured", {})]:
            cells = [shown(times.get(f"{label}_s")) for label in LABELS]
            for label in ("memory_gb", "disk_gb"):
                cells.append(f"{times[label]} GB" if label in times else "not measured")
            rows.append(f"| `make {name}` | {processor} | {' | '.join(cells)} |")
    return "\n".join(rows)


def shown(seconds: float | None) -> str:
    """Seconds as a reader wants them."""
    if seconds is None:
        return "not measured"
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"


CPUINFO = Path("/proc/cpuinfo")
MEMINFO = Path("/proc/meminfo")
#: Instruction sets that decide how fast a judge is, best first, with their flags.
SETS = {
    "AMX": {"amx_bf16"},
    "AVX-512 with bf16": {"avx512_bf16"},
    "AVX-512 with int8": {"avx512_vnni"},
    "AVX-512": {"avx512bw"},
    "AVX2": {"avx2"},
}


def processor() -> str:
    """The processor by the name that it gives itself."""
    cpu = re.search(r"model name\s*:\s*(.+)", CPUINFO.read_text())
    return cpu[1].strip() if cpu else "?"


def kind() -> str:
    """The processor with the best of its instruction sets: two of one name may differ in them."""
    listed = re.search(r"flags\s*:\s*(.+)", CPUINFO.read_text())
    flags = set(listed[1].split()) if listed else set()
    best = next((name for name, needed in SETS.items() if needed <= flags), "no AVX2")
    return f"{processor()}, {best}"


def machine() -> str:
    """Processor, cores and memory."""
    memory = re.search(r"MemTotal:\s*(\d+)", MEMINFO.read_text())
    gib = int(memory[1]) / 2**20 if memory else 0
    return f"{len(os.sched_getaffinity(0))} cores {processor()}, {gib:.0f} GiB"


if __name__ == "__main__":
    main()
