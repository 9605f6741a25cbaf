"""The cassette: every model call on record, so that work is never paid for twice.

    cassette = Cassette(Path("calls.sqlite"), "record")
    chat = Chat(url, "qwen-1.5b", cassette=cassette)

One SQLite file in WAL mode, JSON inside, one transaction a reply: a killed run keeps every
finished call. The key is a hash of all that is known to change the answer before it is there, and
of nothing else: a new prompt, seed, dialect or set of weights asks anew, another concurrency does
not, nor does another port where the weights are known. Where they are not, the address is in the
key. What made an answer (engine, name of the model) stands on record with it, and the chat compares
(:mod:`rar_lib.judging.chat`).
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock

from rar_lib.core.errors import CassetteError, CassetteMiss
from rar_lib.core.files import digest

Mode = Literal["live", "record", "replay"]
MODES: tuple[Mode, ...] = ("live", "record", "replay")
#: Raise when the meaning of a stored request or reply changes: old files are then refused.
SCHEMA_VERSION = 2
#: Bytes; beside the file lie others whose names have a few more.
_LONGEST_NAME = 240
_TABLE = """CREATE TABLE IF NOT EXISTS calls (
    key TEXT PRIMARY KEY, request TEXT NOT NULL, reply TEXT NOT NULL, recorded TEXT NOT NULL
) WITHOUT ROWID"""
#: Replies that were paid for and are no answer: replayed as they came, asked for again otherwise.
_UNREAD = _TABLE.replace("calls", "unread")


def request_key(request: Mapping[str, Any]) -> str:
    """SHA-256 of a request as canonical JSON, with the schema version."""
    return digest([SCHEMA_VERSION, request])


@dataclass
class Cassette:
    """Recorded model calls.

    Attributes:
        path: the SQLite file.
        mode: ``live`` neither reads nor writes; ``record`` answers from the file and records
            what is not there yet; ``replay`` answers from the file alone, and a miss is an
            error.
    """

    path: Path
    mode: Mode = "record"
    _db: sqlite3.Connection | None = field(default=None, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        self.path = Path(self.path)
        if self.mode not in MODES:
            raise CassetteError(f"cassette mode {self.mode!r}; allowed: {', '.join(MODES)}")
        if self.mode == "replay" and not self.path.exists():
            raise CassetteError(
                f"{self.path}: there is no file of recorded calls here; a command leaves it beside "
                "its output, OUTPUT.calls.sqlite, and `make reproduce` in "
                "_build/PROFILE/calls.sqlite; in Python, mode record writes it"
            )

    def __reduce__(self) -> tuple[Any, ...]:
        """By path and mode: another process opens the file for itself."""
        return type(self), (self.path, self.mode)

    def look_up(self, request: Mapping[str, Any]) -> dict[str, Any] | None:
        """The recorded reply, or ``None`` where the model has to be asked.

        Raises:
            CassetteMiss: replaying, and this request was never recorded.
        """
        if self.mode == "live":
            return None
        key = request_key(request)
        with self._lock:
            row = self._find("calls", key)
            if row is None and self.mode == "replay":
                row = self._find("unread", key)
        if row:
            return self._parsed(row[0])
        if self.mode == "replay":
            last = str(request.get("messages", [{}])[-1].get("content", ""))
            raise CassetteMiss(
                f"{self.path} holds no reply of {request.get('model')!r} to request {key[:12]} "
                f"(ends in {last[-80:]!r}): the code or the data changed since it was recorded; "
                "run once more in mode record"
            )
        return None

    def _find(self, table: str, key: str) -> Any:
        ask = f"SELECT reply FROM {table} WHERE key = ?"
        try:
            return self._open().execute(ask, (key,)).fetchone()
        except sqlite3.DatabaseError as error:
            raise CassetteError(_what_is_wrong(self.path, error)) from error

    def _parsed(self, text: str) -> dict[str, Any]:
        try:
            value = json.loads(text)
        except (ValueError, TypeError) as error:
            raise CassetteError(_what_is_wrong(self.path, error)) from error
        if not isinstance(value, dict):
            raise CassetteError(_what_is_wrong(self.path, ValueError("a row holds no object")))
        return value

    def record(
        self,
        request: Mapping[str, Any],
        reply: Mapping[str, Any],
        *,
        answered: bool = True,
        again: bool = False,
    ) -> None:
        """Keep a reply; in mode ``live`` nothing happens.

        Args:
            answered: false for a refusal, or a reply that could not be read: it is kept apart with
                what it cost, and the next run asks again.
            again: put it in the place of the answer on record, which another model or engine gave.

        Raises:
            CassetteError: the file can't be written (disk full, read-only).
        """
        if self.mode != "record":
            return
        now = datetime.now(UTC).isoformat(timespec="seconds")
        row = (request_key(request), _canonical(request), _canonical(reply), now)
        with self._lock:
            try:
                # The first answer stays; of what could not be read the last is what happened.
                rule = "REPLACE" if again or not answered else "IGNORE"
                where = f"{rule} INTO {'calls' if answered else 'unread'}"
                self._open().execute(f"INSERT OR {where} VALUES (?, ?, ?, ?)", row)
            except sqlite3.DatabaseError as error:
                raise CassetteError(_what_is_wrong(self.path, error)) from error

    def rows(self) -> Iterator[tuple[str, dict[str, Any], dict[str, Any], str]]:
        """Key, request, reply and time of every call, in the order of the keys."""
        with self._lock:
            both = "SELECT * FROM calls UNION ALL SELECT * FROM unread ORDER BY key"
            try:
                rows = self._open().execute(both).fetchall()
            except sqlite3.DatabaseError as error:
                raise CassetteError(_what_is_wrong(self.path, error)) from error
        for key, request, reply, recorded in rows:
            yield key, self._parsed(request), self._parsed(reply), recorded

    def size(self) -> int:
        """Answered calls on record."""
        with self._lock:
            return int(self._open().execute("SELECT count(*) FROM calls").fetchone()[0])

    def close(self) -> None:
        """Close the file; a later call opens it again."""
        with self._lock:
            if self._db:
                self._db.close()
            self._db = None

    def _open(self) -> sqlite3.Connection:
        """The connection, shared by all threads under the lock; one transaction a statement."""
        if self._db is None:
            self._db = _connect(self.path, write=self.mode == "record")
        return self._db


def _connect(path: Path, *, write: bool) -> sqlite3.Connection:
    if not write and not path.exists():
        raise CassetteError(f"{path} does not exist")
    try:
        if write:
            path.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(
            _address(path, write=write),
            uri=True,
            timeout=30,
            isolation_level=None,
            check_same_thread=False,
        )
    except (OSError, sqlite3.OperationalError) as error:
        raise CassetteError(_what_is_wrong(path, error)) from error
    try:
        if write:
            _make(db, path)
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if not version and not write:
            raise CassetteError(f"{path}: nothing was recorded here; run once in mode record")
        if version != SCHEMA_VERSION:
            raise CassetteError(
                f"{path} has schema version {version}, this library writes {SCHEMA_VERSION}: "
                "move the file away and record again"
            )
        db.execute("PRAGMA synchronous=NORMAL")
    except (OSError, sqlite3.DatabaseError) as error:
        db.close()
        raise CassetteError(_what_is_wrong(path, error)) from error
    except CassetteError:
        db.close()
        raise
    return db


def _address(path: Path, *, write: bool) -> str:
    """The file as SQLite opens it; where nothing can be written beside it, as one that is fixed.

    Raises:
        CassetteError: calls beside the file have not been put into it, and can't be now.
    """
    where = path.resolve().as_uri()
    if write:
        return f"{where}?mode=rwc"
    if os.access(path.parent, os.W_OK):
        return f"{where}?mode=ro"
    beside = path.with_name(path.name + "-wal")
    if beside.exists() and beside.stat().st_size:
        raise CassetteError(
            f"{path} lies in a read-only folder and {beside.name} holds calls that are not in it "
            "yet: open it once where it can be written, then copy it"
        )
    return f"{where}?mode=ro&immutable=1"


def _make(db: sqlite3.Connection, path: Path) -> None:
    """Tables and journal of a new file, made by one process at a time."""
    if db.execute("PRAGMA user_version").fetchone()[0]:
        return
    with FileLock(path.with_name(path.name + ".lock"), timeout=30):
        if not db.execute("PRAGMA user_version").fetchone()[0]:
            if db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                raise CassetteError(
                    f"{path} is another program's database: record into a file of its own"
                )
            db.execute("PRAGMA journal_mode=WAL")
            db.execute(_TABLE)
            db.execute(_UNREAD)
            db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")


def _what_is_wrong(path: Path, error: Exception) -> str:
    """Locked, read-only, full and damaged, told apart, each with what to do."""
    said = str(error).lower()
    if len(os.fsencode(path.name)) > _LONGEST_NAME:
        return f"{path.parent}: the name of the file in it is too long: give a shorter one"
    if os.path.isdir(path):
        return f"{path} is a folder: give the name of a file in it"
    if file := next((one for one in path.parents if os.path.isfile(one)), None):
        return f"{path}: {file} is a file, where a folder is needed: record into another folder"
    if "locked" in said or "busy" in said or "could not be acquired" in said:
        return f"{path} is held by another process ({error}): wait for it, or record elsewhere"
    if "full" in said or "no space" in said:
        return f"{path}: the disk is full ({error}): free some space; finished calls are kept"
    if "readonly" in said or "read-only" in said or "unable to open" in said or "denied" in said:
        return (
            f"{path} can't be written, its file or folder is read-only ({error}): replay it "
            "(RAR_CASSETTE=replay), or record into another folder"
        )
    return f"{path} is damaged or is not a cassette ({error}): move it away and record again"


def stats(path: Path) -> dict[str, dict[str, float]]:
    """For every model: calls, prompt, cached and completion tokens, and seconds (overlapping)."""
    found: dict[str, dict[str, float]] = {}
    with closing(Cassette(path, "replay")) as cassette:
        for _, request, reply, _ in cassette.rows():
            of_model = found.setdefault(str(request.get("model")), {})
            for name, value in reply.get("usage", {}).items():
                of_model[name] = of_model.get(name, 0) + (value or 0)
    return found


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
