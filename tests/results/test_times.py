"""The table of times: both kinds of processor, each figure with its own."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from rar_lib.book import reproduce
from rar_lib.book.profiles import load
from rar_lib.core.pace import Course
from results import times


@pytest.mark.parametrize(
    ("flags", "kind"),
    [
        ("sse2 avx2 avx512bw avx512_vnni avx512_bf16 amx_bf16", "AMX"),
        ("avx2 avx512bw avx512_vnni avx512_bf16", "AVX-512 with bf16"),
        ("avx2 avx512bw", "AVX-512"),
        ("avx2 fma", "AVX2"),
        ("sse2", "no AVX2"),
    ],
)
def test_a_processor_is_named_with_its_best_instructions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str, kind: str
) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text(f"model name\t: A Chip \nflags\t\t: {flags}\n")
    monkeypatch.setattr(times, "CPUINFO", info)
    assert times.kind() == f"A Chip, {kind}"


def test_a_run_on_another_processor_adds_a_row_and_its_chapters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readme = tmp_path / "README.md"
    results = tmp_path / "times.json"
    readme.write_text("a\n<!-- times -->\nold\n<!-- /times -->\nb\n")
    results.write_text(json.dumps({"reproduce": {"Xeon, AMX": {"warm_s": 1704.4}}}))
    monkeypatch.setattr(times, "README", readme)
    monkeypatch.setattr(times, "RESULTS", results)
    monkeypatch.setattr(times, "kind", lambda: "EPYC, AVX2")
    monkeypatch.setattr(times, "machine", lambda: "2 cores EPYC")
    monkeypatch.setattr(times, "peaks", {"reproduce": [3.0, 11.94]})
    folder = tmp_path / "a/_build/laptop"
    folder.mkdir(parents=True)
    (folder / "02_x.json").write_text(
        json.dumps({"profile": "laptop", "seconds": 540.2, "taken": {"live": {"gflops": 151.26}}})
    )
    (folder / "03_y.json").write_text(
        json.dumps({"profile": "laptop", "seconds": 9.0, "taken": {"short": {"seconds": 9.0}}})
    )
    live = {"disk_gb": 8.9, **times.chapters(tmp_path / "a")}
    times.record("reproduce", {"cold": 2400.0, "unchanged": 4.2}, "abc", live)
    row = json.loads(results.read_text())["reproduce"]["EPYC, AVX2"]
    assert row["chapters"] == {"laptop": {"02_x": 540.2, "03_y": 9.0}}
    assert row["gflops"] == 151.3
    assert readme.read_text().splitlines() == [
        "a",
        "<!-- times -->",
        "| command | processor | cold | warm | unchanged | memory in use, at most | disk |",
        "|---|---|---:|---:|---:|---:|---:|",
        "| `make reproduce` | EPYC, AVX2 | 40.0 min | not measured | 4 s | 11.9 GB | 8.9 GB |",
        "| `make reproduce` | Xeon, AMX | not measured | 28.4 min | not measured | not measured | "
        "not measured |",
        "| `make test` | not measured | not measured | not measured | not measured | not measured "
        "| not measured |",
        "<!-- /times -->",
        "b",
    ]
    # Another commit's figures do not stay beside this one's.
    times.record("reproduce", {"warm": 1000.0}, "def", {})
    assert "cold_s" not in json.loads(results.read_text())["reproduce"]["EPYC, AVX2"]


def test_versions_are_those_of_the_environment_that_the_run_made(tmp_path: Path) -> None:
    binary = tmp_path / ".venv" / "bin"
    binary.mkdir(parents=True)
    (binary / "python").symlink_to(sys.executable)
    package = tmp_path / "rar_lib" / "models"
    package.mkdir(parents=True)
    (package / "machine.py").write_text("def versions():\n    return {'torch': '9'}\n")
    assert times.versions(tmp_path) == {"torch": "9"}


def test_a_run_without_a_chapter_is_an_error_that_names_the_folder(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=f"{tmp_path / '_build'} holds no chapter"):
        times.chapters(tmp_path)


def test_of_a_run_that_failed_nothing_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> float:
        raise SystemExit("make reproduce failed with 2")

    kept: list[object] = []
    monkeypatch.setattr(times, "run", fails)
    monkeypatch.setattr(times, "record", lambda *row: kept.append(row))
    monkeypatch.setattr("sys.argv", ["times.py", "reproduce", "--keep", str(tmp_path / "new")])
    with pytest.raises(SystemExit, match="failed"):
        times.main()
    assert kept == []


def made(folder: Path, *lines: str) -> Path:
    """A folder in which ``make reproduce`` does these lines."""
    folder.mkdir()
    (folder / "Makefile").write_text("\n\t".join(["reproduce:", *lines]) + "\n")
    return folder


@pytest.mark.parametrize(
    "outside",
    [{}, {"MAKELEVEL": "1"}, {"MAKELEVEL": "1", "MAKEFLAGS": "w -- PROFILE=other"}],
    ids=["a shell", "inside make test", "inside make with a variable"],
)
def test_a_run_is_passed_on_and_its_forecast_of_the_chapters_kept(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    outside: dict[str, str],
) -> None:
    for name in (*times.OF_AN_OUTER_MAKE, "PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in outside.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(times, "peaks", {})
    monkeypatch.setattr(times, "forecasts", {})
    course = Course({"01_x": 1500.0, "02_y": 720.0})
    said = f"2 of 2 notebooks to run: {reproduce._estimate(course, load('smoke'), 857.9)}"
    first = made(tmp_path / "a", f"@echo '{said}'", "@echo done$(PROFILE)")
    assert times.run("reproduce", first, tmp_path) >= 0
    assert times.forecasts == {"reproduce": {"forecast_s": 2220.0}}
    assert capfd.readouterr().out.splitlines()[1:] == [said, "done"]
    times.run("reproduce", made(tmp_path / "b", "@echo up to date"), tmp_path)
    assert times.forecasts == {"reproduce": {}}
    with pytest.raises(SystemExit, match="make reproduce failed with 2"):
        times.run("reproduce", made(tmp_path / "c", "@false"), tmp_path)


@pytest.mark.parametrize("target", ["reproduce", "test"])
def test_the_forecast_on_record_is_that_of_the_cold_run(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forecasts: dict[str, dict[str, float]] = {}
    said = iter([{"forecast_s": 2220.0}, {}, {"forecast_s": 60.0}])

    def run(target: str, *_: object) -> float:
        forecasts[target] = next(said) if target == "reproduce" else {}
        return 1.0

    kept: list[dict[str, object]] = []
    for name, fake in (("run", run), ("forecasts", forecasts), ("clone", lambda folder: folder)):
        monkeypatch.setattr(times, name, fake)
    monkeypatch.setattr(times, "record", lambda _target, _seconds, _commit, live: kept.append(live))
    monkeypatch.setattr(times, "used_gb", lambda folder: 9.04)
    monkeypatch.setattr(times, "versions", lambda folder: {"torch": "2"})
    monkeypatch.setattr(times, "chapters", lambda folder: {"chapters": {}})
    folder = tmp_path / "new"
    monkeypatch.setattr("sys.argv", ["times.py", target, "--keep", str(folder), "--skip-warm"])
    times.main()
    (live,) = kept
    expected: dict[str, object] = {"disk_gb": 9.0, "versions": {"torch": "2"}}
    if target == "reproduce":
        expected |= {"chapters": {}, "forecast_s": 2220.0}
    assert live == expected


def test_the_time_of_tests_is_added_up_by_folder(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [
        "12.50s call     tests/book/test_x.py::test_one[a::b]\n",
        "0.25s setup    tests/book/test_x.py::test_one[a::b]\n",
        "  3.00s teardown tests/book/built/test_y.py::test_two\n",
        "1.00s call     tests/test_z.py::test_three\n",
        "10 passed in 17.00s\n",
    ]
    assert times.by_folder(lines) == {"tests/book": 12.8, "tests/book/built": 3.0, "tests": 1.0}
    assert capsys.readouterr().out == "".join(lines)


@pytest.mark.parametrize(("ends", "recorded"), [("true", True), ("false", False)])
def test_a_suite_that_fails_is_not_recorded(
    ends: str, recorded: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = tmp_path / "times.json"
    record.write_text('{"test": {"x": {"cold_s": 1.0}}}')
    monkeypatch.setattr(times, "RESULTS", record)
    monkeypatch.setattr(times, "ROOT", tmp_path)
    monkeypatch.setattr(times, "head", lambda: "abc")
    left = tmp_path / "_build" / "smoke"
    left.mkdir(parents=True)
    line = "2.00s call tests/a/test_b.py::test_c"
    monkeypatch.setattr(times, "SUITE", ("sh", "-c", f"echo '{line}'; {ends}"))
    if recorded:
        times.record_suite()
    else:
        with pytest.raises(SystemExit, match="the tests failed with 1"):
            times.record_suite()
    assert not left.exists()
    found = json.loads(record.read_text())
    assert found["test"] == {"x": {"cold_s": 1.0}}
    assert ("suite" in found) is recorded
    if recorded:
        (row,) = found["suite"].values()
        assert row["folders"] == {"tests/a": 2.0}
        assert {"seconds", "commit", "machine", "date"} <= set(row)
