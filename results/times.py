"""How long the two commands take: cold, warm and with nothing changed.

    python3 results/times.py reproduce      # about an hour on two cores
    python3 results/times.py test

*cold*: a fresh clone and empty caches (packages, weights, compiled code). *warm*: a fresh clone,
caches filled by the cold run. *unchanged*: the same command again in the same clone. Everything
lives in a temporary folder that is removed, unless --keep names one. Results go to
results/times.json, with machine and date, and into the README's table. Standard library only.
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
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results" / "times.json"
README = ROOT / "README.md"
LABELS = ("cold", "warm", "unchanged")


def main() -> None:
    """Measure one command and write the results down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=["reproduce", "test"])
    parser.add_argument("--skip-warm", action="store_true", help="leave out the warm run")
    parser.add_argument("--keep", type=Path, help="a new folder for it all, which stays")
    options = parser.parse_args()
    if options.keep:
        options.keep.mkdir(parents=True)
    base = options.keep or Path(tempfile.mkdtemp(prefix="rar-times-"))
    seconds: dict[str, float] = {}
    commit = subprocess.run(  # now, because work may go on while this measures
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    try:
        seconds["cold"] = run(options.target, clone(base / "a"), base)
        seconds["unchanged"] = run(options.target, base / "a", base)
        if not options.skip_warm:
            shutil.rmtree(base / "a")
            seconds["warm"] = run(options.target, clone(base / "a"), base)
    finally:
        record(options.target, seconds, commit)
        if not options.keep:
            shutil.rmtree(base)


def clone(folder: Path) -> Path:
    """A clone of what is committed."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    return folder


def run(target: str, folder: Path, base: Path) -> float:
    """Seconds of ``make TARGET`` with caches under ``base``; stops if it fails."""
    caches = {
        "XDG_CACHE_HOME": str(base / "cache"),
        "RAR_HOME": str(base / "rar"),
        "UV_CACHE_DIR": str(base / "uv"),
        "PIP_CACHE_DIR": str(base / "pip"),
        "TORCHINDUCTOR_CACHE_DIR": str(base / "inductor"),
    }
    print(f"make {target} in {folder}", flush=True)
    start = time.monotonic()
    over = threading.Event()
    watch = threading.Thread(target=watch_memory, args=(over, peaks.setdefault(target, [])))
    watch.start()
    try:
        done = subprocess.run(
            ["make", target], cwd=folder, env={**os.environ, **caches}, check=False
        )
    finally:
        over.set()
        watch.join()
    if done.returncode:
        sys.exit(f"make {target} failed with {done.returncode}; nothing was recorded for this run")
    return round(time.monotonic() - start, 1)


#: Target -> GB in use on the whole machine, every two seconds.
peaks: dict[str, list[float]] = {}


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


def record(target: str, seconds: dict[str, float], commit: str) -> None:
    """Merge into results/times.json and rewrite the README's table from it."""
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    known[target] = known.get(target, {}) | {
        **{f"{k}_s": v for k, v in seconds.items()},
        "memory_gb": round(max(peaks.get(target, [0.0])), 1),
        "machine": machine(),
        "date": datetime.date.today().isoformat(),
        "commit": commit,
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
    rows = [
        "| command | cold | warm | unchanged | memory in use, at most |",
        "|---|---:|---:|---:|---:|",
    ]
    for name in ("reproduce", "test"):
        times = known.get(name, {})
        cells = [shown(times.get(f"{label}_s")) for label in LABELS]
        cells.append(f"{times['memory_gb']} GB" if "memory_gb" in times else "not measured")
        rows.append(f"| `make {name}` | {' | '.join(cells)} |")
    text = re.sub(
        r"(<!-- times -->\n).*?(<!-- /times -->)",
        lambda m: m[1] + "\n".join(rows) + "\n" + m[2],
        README.read_text(),
        flags=re.S,
    )
    README.write_text(text)


def shown(seconds: float | None) -> str:
    """Seconds as a reader wants them."""
    if seconds is None:
        return "not measured"
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"


def machine() -> str:
    """Processor, cores and memory."""
    cpu = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())
    gib = int(memory[1]) / 2**20 if memory else 0
    return f"{len(os.sched_getaffinity(0))} cores {cpu[1] if cpu else '?'}, {gib:.0f} GiB"


if __name__ == "__main__":
    main()
