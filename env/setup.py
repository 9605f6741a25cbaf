"""Make .venv from the lock: `make setup`. Needs only a Python to run it (standard library).

    python3 env/setup.py [--profile laptop]

Does nothing when .venv already agrees with the lock, else says why it works:
checks machine, Python and disk, makes the environment, and writes the stamp
(.venv/rar-stamp.json) last, so that an interrupted set-up is made again.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / "rar-stamp.json"
UV = "uv==0.13.9"
PYTHONS = ("3.11", "3.12")
GLIBC = (2, 31)  # the newest that a pinned wheel without alternatives asks for
GB = 10**9
# Measured with du: .venv and pip's cache of torch; uv's cache shares its files with
# .venv on the same disk. The gpu figures are sums of wheel sizes, not measured.
VENV_GB = {"laptop": 4.5, "gpu": 20.0}
# Downloaded and converted weights, in RAR_HOME.
MODELS_GB = {"smoke": 0.5, "laptop": 6.7, "study": 6.7, "gpu": 130.0}


class SetupError(Exception):
    """What is wrong, and the fix."""


def main() -> int:
    """0 when .venv agrees with the lock, 1 with a message on standard error when it cannot."""
    parser = argparse.ArgumentParser(description="Make .venv from the lock.")
    parser.add_argument("--profile", default="laptop", choices=sorted(MODELS_GB))
    profile = parser.parse_args().profile
    folder = os.open(str(ROOT / "env"), os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print("setup: waiting for another set-up of this checkout", flush=True)
            fcntl.flock(folder, fcntl.LOCK_EX)
        set_up(profile)
    except SetupError as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("setup: stopped; the next run starts it again", file=sys.stderr)
        return 130
    finally:
        os.close(folder)
    return 0


def set_up(profile: str) -> None:
    """Bring .venv to the state that the lock of ``profile`` describes."""
    began = time.monotonic()
    lock = ROOT / "env" / ("gpu.txt" if profile == "gpu" else "laptop.txt")
    check_platform(platform.system(), platform.machine(), platform.libc_ver())
    have = read_stamp()
    asked = os.environ.get("PYTHON")
    # An environment that is there keeps its Python, whatever python3 means in this shell.
    python, version = find_python(asked or (str(VENV / "bin" / "python") if have else None))
    want = {
        "lock": f"{lock.name} {digest(lock)}",
        "python": version,
        "uv": UV,
        "project": digest(ROOT / "pyproject.toml"),
    }
    why = reason(want, have)
    if why is None:
        print(f"setup: .venv is up to date ({lock.name}, Python {version})")
        return
    print(f"setup: {why}", flush=True)
    if why.startswith("only "):
        STAMP.unlink()
    else:
        check_disk(profile, lock.stem)
        make(python, lock)
    # Editable, so that the checkout itself is what runs.
    pip = [str(VENV / "bin" / "uv"), "pip", "install", "--python", str(VENV / "bin" / "python")]
    run([*pip, "--quiet", "--no-deps", "--no-build-isolation", "-e", str(ROOT)], "the project")
    STAMP.write_text(json.dumps(want, indent=1), encoding="utf-8")
    print(f"setup: done in {time.monotonic() - began:.0f} s")


def make(python: str, lock: Path) -> None:
    """A new .venv with exactly what the lock names."""
    if VENV.exists():
        shutil.rmtree(str(VENV))
    print("setup: 1/3 virtual environment", flush=True)
    made = subprocess.run(
        [python, "-m", "venv", str(VENV)], check=False, capture_output=True, text=True
    )
    if made.returncode:
        shutil.rmtree(str(VENV), ignore_errors=True)
        said = (made.stdout + made.stderr).strip()
        raise SetupError(
            f"{python} cannot make a virtual environment: {said[-600:]}\n"
            "Fix: on Debian and Ubuntu, apt-get install python3-venv"
        )
    pip = [str(VENV / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
    run([*pip, "install", "--quiet", UV], "the installer uv")
    if lock.stem == "laptop":
        torch = torch_pin(lock)
        print(f"setup: 2/3 {torch} (200 MB)", flush=True)
        command = [*pip, "install", "--quiet", "--no-deps", "--only-binary", ":all:", torch]
        # First from the index this machine uses anyway; the CPU build may be there.
        if subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode:
            print("setup: not on the usual package index; taking PyTorch's own", flush=True)
            run([*command, "-r", str(ROOT / "env" / "torch-cpu.txt")], torch)
    print(f"setup: 3/3 the other packages of env/{lock.name}", flush=True)
    uv = [str(VENV / "bin" / "uv"), "pip", "install", "--python", str(VENV / "bin" / "python")]
    run(
        [
            *uv,
            "--no-deps",
            "--only-binary",
            ":all:",
            "--compile-bytecode",
            "--quiet",
            "-r",
            str(lock),
        ],
        lock.name,
    )


def run(command: list[str], what: str) -> None:
    """Run an install step; its own messages are the detail of the error."""
    if subprocess.run(command, check=False).returncode:
        raise SetupError(
            f"installing {what} failed (messages above). Wheels are needed for all of it: "
            "nothing is compiled here. Fix: check the network or the package index, then "
            "run the same command again; finished downloads are kept"
        )


def torch_pin(lock: Path) -> str:
    """The lock's torch line, for example ``torch==2.13.0+cpu``."""
    for line in lock.read_text(encoding="utf-8").splitlines():
        if line.startswith("torch=="):
            return line.split(";")[0].strip()
    raise SetupError(f"env/{lock.name} has no torch== line. Fix: make lock")


def reason(want: dict[str, str], have: dict[str, str] | None) -> str | None:
    """Why there is work to do, or None. Starts with "only" when the packages are fine."""
    if not VENV.exists():
        return "no .venv yet: making it"
    if have is None:
        return "the last set-up of .venv did not finish: making it again"
    changed = [key for key in want if want[key] != have.get(key)]
    if changed == ["project"]:
        return "only pyproject.toml changed: installing the project again"
    if changed:
        parts = "; ".join(f"{k}: {have.get(k, '?')[:24]} -> {want[k][:24]}" for k in changed)
        return f".venv is out of date ({parts}): making it again"
    return None


def read_stamp() -> dict[str, str] | None:
    try:
        stamp = json.loads(STAMP.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    runs = os.access(str(VENV / "bin" / "python"), os.X_OK)
    return stamp if runs and isinstance(stamp, dict) else None


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def find_python(asked: str | None) -> tuple[str, str]:
    """Path and full version of a supported Python: $PYTHON, python3, else one by its name."""
    tried = []
    names = [asked] if asked else ["python3", *(f"python{version}" for version in PYTHONS)]
    for name in names:
        path = shutil.which(name)
        base, version = interpreter(path) if path else ("", "not there")
        if version.rpartition(".")[0] in PYTHONS:
            return base, version
        tried.append(f"{name} is {version}")
    raise SetupError(
        f"Python {' or '.join(PYTHONS)} is needed; {', '.join(tried)}.\n"
        "Fix: install one (Debian, Ubuntu: apt-get install python3.11 python3.11-venv) or "
        "name it: make setup PYTHON=/path/to/python3.11"
    )


def interpreter(path: str) -> tuple[str, str]:
    """The interpreter behind ``path`` and its version.

    In a virtual environment that is the one it was made from: python3 may be the
    .venv that is about to be replaced.
    """
    ask = "import platform, sys; print(getattr(sys, '_base_executable', sys.executable))"
    ask += "; print(platform.python_version())"
    try:
        done = subprocess.run(
            [path, "-c", ask], check=False, capture_output=True, text=True, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return "", "not working"
    base, _, version = done.stdout.strip().partition("\n")
    return base, version or "not working"


def check_platform(system: str, machine: str, libc: tuple[str, str]) -> None:
    """The pinned wheels of torch and vLLM exist for Linux on x86_64 with glibc only."""
    if (system, machine) != ("Linux", "x86_64"):
        raise SetupError(
            f"this is {system} on {machine}; the pinned wheels are for Linux on x86_64.\n"
            "Fix: use such a machine, a container or WSL2; without the training stack, "
            "'pip install -e .' gives the library anywhere"
        )
    name, version = libc
    if name != "glibc" or tuple(int(n) for n in version.split(".")[:2]) < GLIBC:
        raise SetupError(
            f"the C library is {name or 'not glibc'} {version}; the pinned wheels need "
            f"glibc {GLIBC[0]}.{GLIBC[1]} or newer, and nothing is compiled here.\n"
            "Fix: use a newer distribution, for example Debian 12 or Ubuntu 22.04"
        )


def models_home() -> Path:
    """Where the weights go (the same rule as rar_lib.core.files.home)."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(os.environ.get("RAR_HOME") or os.path.join(cache, "rar"))


def check_disk(profile: str, lock: str) -> None:
    """Enough room for the environment here and for the weights in their cache."""
    home = models_home().expanduser()
    have_models = sum(file.stat().st_size for file in home.rglob("*") if file.is_file()) / GB
    needs = [
        (ROOT, VENV_GB[lock], "the environment"),
        (home, max(0.0, MODELS_GB[profile] - have_models), "the model weights"),
    ]
    for place, _, _ in needs:
        disk = existing(place)
        same = [n for n in needs if existing(n[0]).stat().st_dev == disk.stat().st_dev]
        need = sum(n[1] for n in same)
        free = shutil.disk_usage(str(disk)).free / GB
        if free < need:
            parts = " + ".join(f"{gb:.1f} GB for {what}" for _, gb, what in same)
            raise SetupError(
                f"profile {profile} needs {need:.1f} GB on the disk of {place} ({parts}); "
                f"{free:.1f} GB are free.\nFix: free some space, or set RAR_HOME to a folder "
                "on a larger disk for the weights"
            )


def existing(path: Path) -> Path:
    """The path or its nearest parent that exists."""
    return path if path.exists() else existing(path.parent)


if __name__ == "__main__":
    sys.exit(main())
