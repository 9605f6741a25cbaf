"""The cassette: what is on record is not asked again, and never guessed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from filelock import Timeout
from scripted import says, server, status

from rar_lib.core.errors import CassetteError, CassetteMiss, JudgeFault
from rar_lib.judging.cassette import Cassette, _what_is_wrong, request_key, stats
from rar_lib.judging.chat import Chat
from rar_lib.judging.wire import Reply

pytestmark = pytest.mark.fault

ASK = [{"role": "user", "content": "Is ice lighter than water?"}]
YES = says("yes", tokens={"yes": 0.9, "no": 0.1})


def complete(chat: Chat, **changes: Any) -> Reply:
    settings: dict[str, Any] = {"max_tokens": 1, "top_logprobs": 20} | changes
    messages = settings.pop("messages", ASK)
    return asyncio.run(chat.complete(messages, **settings))


def test_a_recorded_reply_comes_back_whole_without_a_call(tmp_path: Path) -> None:
    with server(YES) as scripted:
        chat = Chat(scripted.url, "m", weights="w", cassette=Cassette(tmp_path / "c.sqlite"))
        first = complete(chat)
    assert len(scripted.requests) == 1
    again = Chat("http://127.0.0.1:1/v1", "m", weights="w", cassette=chat.cassette)
    assert complete(again) == first  # nothing listens there
    assert [t.alternatives for t in first.tokens] == [pytest.approx({"yes": 0.9, "no": 0.1})]
    assert chat.cassette


@pytest.mark.parametrize(
    "change",
    [
        {"messages": [{"role": "user", "content": "Is ice heavier than water?"}]},
        {"messages": [{"role": "system", "content": "Is ice lighter than water?"}]},
        {"max_tokens": 2},
        {"temperature": 0.7},
        {"seed": 1},
        {"top_logprobs": 5},
        {"prefill": "1"},
        {"schema": {"type": "object"}},
    ],
)
def test_whatever_can_change_the_answer_is_asked_anew(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    with server(YES) as scripted:
        chat = Chat(scripted.url, "m", weights="w", cassette=Cassette(tmp_path / "c.sqlite"))
        complete(chat)
        complete(chat, **change)
    assert len(scripted.requests) == 2


@pytest.mark.parametrize("other", [{"model": "n"}, {"weights": "v"}])
def test_another_model_or_other_weights_are_asked_anew(
    tmp_path: Path, other: dict[str, str]
) -> None:
    who = {"model": "m", "weights": "w"}
    cassette = Cassette(tmp_path / "c.sqlite")
    with server(YES) as scripted:
        complete(Chat(scripted.url, **who, cassette=cassette))
        complete(Chat(scripted.url, **who | other, cassette=cassette))
    assert len(scripted.requests) == 2


def test_address_concurrency_and_timeout_do_not_change_the_answer(tmp_path: Path) -> None:
    cassette = Cassette(tmp_path / "c.sqlite")
    with server(YES) as scripted:
        complete(Chat(scripted.url, "m", weights="w", cassette=cassette))
    other = Chat(
        "http://127.0.0.1:2/v1", "m", weights="w", concurrency=3, timeout_s=9, cassette=cassette
    )
    assert complete(other).text == "yes"


def test_replay_answers_from_the_record_and_names_what_it_lacks(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    with server(YES) as scripted:
        chat = Chat(scripted.url, "m", weights="w", cassette=Cassette(path))
        complete(chat)
        assert chat.cassette
        chat.cassette.close()
    replay = Chat("http://127.0.0.1:1/v1", "m", weights="w", cassette=Cassette(path, "replay"))
    assert complete(replay).text == "yes"
    with pytest.raises(CassetteMiss, match=r"'m'.*than water.*mode record"):
        complete(replay, seed=5)


class Started:
    """A local server that counts its starts; without an address it must not be started."""

    def __init__(self, address: str | None) -> None:
        self.address = address
        self.starts = 0

    def url(self) -> str:
        assert self.address is not None, "started"
        self.starts += 1
        return self.address

    def check(self) -> None: ...


def test_a_replay_never_starts_a_server(tmp_path: Path) -> None:
    Cassette(tmp_path / "c.sqlite").record({"any": 1}, {"text": ""})

    cassette = Cassette(tmp_path / "c.sqlite", "replay")
    with pytest.raises(CassetteMiss):
        complete(Chat(Started(None), "m", cassette=cassette))


def test_the_server_starts_with_the_first_call_that_is_not_on_record(tmp_path: Path) -> None:
    cassette = Cassette(tmp_path / "c.sqlite")
    with server(YES) as scripted:
        local = Started(scripted.url)
        complete(Chat(local, "m", weights="w", cassette=cassette))
        complete(Chat(local, "m", weights="w", cassette=cassette))
    assert local.starts == 1


def test_live_neither_reads_nor_writes(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    with server(YES) as scripted:
        chat = Chat(scripted.url, "m", cassette=Cassette(path, "live"))
        complete(chat)
        complete(chat)
    assert len(scripted.requests) == 2
    assert not path.exists()


@pytest.mark.parametrize("bad", [status(400), says("", finish="content_filter")])
def test_failures_and_refusals_are_not_recorded(tmp_path: Path, bad: dict[str, Any]) -> None:
    with server([bad, YES]) as scripted:
        chat = Chat(scripted.url, "m", cassette=Cassette(tmp_path / "c.sqlite"))
        with contextlib.suppress(JudgeFault):
            complete(chat)
        assert complete(chat).text == "yes"


def test_equal_requests_in_flight_are_one_call() -> None:
    with server(YES) as scripted:
        chat = Chat(scripted.url, "m")

        async def many() -> list[Reply]:
            ask = (chat.complete(ASK, max_tokens=1, seed=n % 2) for n in range(10))
            return await asyncio.gather(*ask)

        replies = asyncio.run(many())
    assert len(replies) == 10
    assert len(scripted.requests) == 2


def test_who_gives_up_waiting_does_not_take_the_answer_from_the_others() -> None:
    with server(YES) as scripted:
        chat = Chat(scripted.url, "m")

        async def two() -> Reply:
            first = asyncio.create_task(chat.complete(ASK, max_tokens=1))
            second = asyncio.create_task(chat.complete(ASK, max_tokens=1))
            await asyncio.sleep(0)
            first.cancel()
            return await second

        assert asyncio.run(two()).text == "yes"
    assert len(scripted.requests) == 1


def test_a_killed_process_keeps_every_finished_call(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    script = (
        "import os, signal, sys; from pathlib import Path\n"
        "from rar_lib.judging.cassette import Cassette\n"
        "c = Cassette(Path(sys.argv[1]))\n"
        "for n in range(50): c.record({'n': n}, {'text': str(n)})\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert done.returncode == -9
    after = Cassette(path)
    assert [after.look_up({"n": n}) for n in (0, 49)] == [{"text": "0"}, {"text": "49"}]


def test_two_writers_share_a_file(tmp_path: Path) -> None:
    one = Cassette(tmp_path / "c.sqlite")
    two = Cassette(tmp_path / "c.sqlite")
    one.record({"n": 1}, {"text": "first"})
    two.record({"n": 1}, {"text": "second"})
    assert one.look_up({"n": 1}) == two.look_up({"n": 1}) == {"text": "first"}


@pytest.mark.parametrize(
    ("prepare", "why"),
    [
        (lambda p: p.write_bytes(b"not a database, but long enough to be read as one" * 40), "not"),
        (lambda p: _version(p, 99), "version 99"),
    ],
)
def test_a_strange_file_is_refused_with_its_name(tmp_path: Path, prepare: Any, why: str) -> None:
    path = tmp_path / "c.sqlite"
    prepare(path)
    with pytest.raises(CassetteError, match=rf"c\.sqlite.*{why}"):
        Cassette(path).look_up({"n": 1})


def _version(path: Path, version: int) -> None:
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA user_version={version}")
    db.commit()
    db.close()


def named(model: str, text: str = "yes") -> dict[str, Any]:
    return says(text, tokens={text: 1.0}) | {"model": model, "system_fingerprint": "fp"}


def ask(chat: Chat, *seeds: int) -> list[str]:
    return [complete(chat, seed=seed).text for seed in seeds]


def test_answers_of_another_model_behind_the_same_address_are_asked_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "c.sqlite"
    with server([named("m-01", "old"), named("m-01", "old"), named("m-02", "new")]) as scripted:
        one = Chat(scripted.url, "m", cassette=Cassette(path))
        assert ask(one, 1, 2) == ["old", "old"]
        scripted.answer = lambda *_: named("m-02", "new")
        two = Chat(scripted.url, "m", cassette=Cassette(path))
        # The first answer is on record, and nothing shows yet that the model is gone; then it does.
        assert ask(two, 1, 3, 2, 1) == ["old", "new", "new", "new"]
        before = len(scripted.requests)
        assert ask(two, 1, 2, 3) == ["new"] * 3  # and stands on record
        assert len(scripted.requests) == before
    assert [r.getMessage() for r in caplog.records] == [
        f"m at {scripted.url}: it calls itself 'm-01' and 'm-02', live or on record"
    ]


def test_a_replay_says_once_that_two_models_answered(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "c.sqlite"
    with server([named("m-01"), named("m-02"), named("m-02")]) as scripted:
        ask(Chat(scripted.url, "m", cassette=Cassette(path)), 1, 2, 3)
        caplog.clear()
        assert ask(Chat(scripted.url, "m", cassette=Cassette(path, "replay")), 1, 2, 3)
    assert len(caplog.records) == 1
    assert "'m-01' and 'm-02'" in caplog.text


@pytest.mark.parametrize(
    ("weights", "first", "then"),
    [
        ("w", named("m-01"), named("m-02")),  # the weights are known: it is the same model
        ("", named("m-01"), named("m-01") | {"system_fingerprint": "fp_2"}),  # another machine
        ("", YES | {"model": ""}, YES | {"model": ""}),  # it does not say
    ],
    ids=["weights", "fingerprint", "silent"],
)
def test_the_same_model_is_paid_for_once(
    tmp_path: Path, weights: str, first: Any, then: Any, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "c.sqlite"
    with server([first, then]) as scripted:
        for _ in range(2):
            ask(Chat(scripted.url, "m", weights, cassette=Cassette(path)), 1, 2)
    assert len(scripted.requests) == 2
    assert caplog.text == ""


def test_answers_of_another_engine_are_asked_again_and_replayed_with_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "c.sqlite"

    def chat(vllm: str, mode: Any = "record") -> Chat:
        monkeypatch.setattr("rar_lib.judging.chat.versions", lambda names: {"vllm": vllm})
        return Chat(Started(scripted.url), "m", "w", cassette=Cassette(path, mode))

    with server([YES, says("no"), says("no")]) as scripted:
        assert ask(chat("1"), 1) == ["yes"]
        assert ask(chat("1"), 1) == ["yes"]
        assert ask(chat("2", "replay"), 1) == ["yes"]
        assert "answers on record are of vllm==1, here is vllm==2" in caplog.text
        assert ask(chat("2"), 1) == ["no"]
        assert ask(chat("2"), 1) == ["no"]
    assert len(scripted.requests) == 2


def test_records_of_before_that_name_no_engine_are_used(tmp_path: Path) -> None:
    """An earlier release wrote replies without one."""
    path = tmp_path / "c.sqlite"
    with server(YES) as scripted:
        ask(Chat(scripted.url, "m", "w", cassette=Cassette(path)), 1)
        db = sqlite3.connect(path)
        db.execute("UPDATE calls SET reply = json_remove(reply, '$.engine')")
        db.commit()
        db.close()
        assert ask(Chat(Started(None), "m", "w", cassette=Cassette(path)), 1) == ["yes"]


def test_replay_of_nothing_is_refused(tmp_path: Path) -> None:
    said = r"c\.sqlite: there is no file of recorded calls here; .* OUTPUT\.calls\.sqlite"
    with pytest.raises(CassetteError, match=said):
        Cassette(tmp_path / "c.sqlite", "replay")


def test_the_key_of_a_request_never_changes() -> None:
    """Recorded calls of earlier releases stay valid: the key is pinned here by its digits."""
    request = {
        "model": "m",
        "weights": "w",
        "messages": [{"role": "user", "content": "Gr\u00fc\u00dfe \u2026"}],
        "max_tokens": 1,
        "temperature": 0.0,
        "seed": 0,
        "schema": None,
        "top_logprobs": 20,
        "prefill": False,
    }
    pinned = "d3ba284e7c762089f773b5dd79df62cc841227c039f805f1689d6c86ba7b26e7"
    assert request_key(request) == pinned


def test_stats_add_up_what_each_model_cost(tmp_path: Path) -> None:
    with server(YES) as scripted:
        chat = Chat(scripted.url, "m", cassette=Cassette(tmp_path / "c.sqlite"))
        complete(chat)
        complete(chat, seed=1)
        assert chat.cassette
        chat.cassette.close()
    found = stats(tmp_path / "c.sqlite")["m"]
    assert (found["calls"], found["prompt_tokens"], found["completion_tokens"]) == (2, 20, 2)


READ_ONLY = """
import sys
from pathlib import Path
from rar_lib.core.errors import CassetteError
from rar_lib.judging.cassette import Cassette, stats
request = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
path = Path(sys.argv[1]) / "calls.sqlite"
print(Cassette(path, "replay").look_up(request)["text"], int(stats(path)["m"]["calls"]))
for tape, name in ((Cassette(path), "a hit"), (Cassette(path.with_name("new.sqlite")), "new")):
    try:
        print(name, tape.look_up(request)["text"])
    except CassetteError as error:
        print(name, "read-only" in str(error) and "replay" in str(error))
"""


def test_a_recording_on_a_read_only_disk_is_replayed(tmp_path: Path) -> None:
    folder = tmp_path / "fixed"
    tape = Cassette(folder / "calls.sqlite")
    request = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    tape.record(request, {"text": "8", "usage": {"calls": 1}})
    tape.close()
    program = [sys.executable, "-c", READ_ONLY, str(folder)]
    if os.getuid() == 0:  # root may write anywhere, but not to a read-only mount
        mount = f'mount --bind {folder} {folder} && mount -o remount,bind,ro {folder} && exec "$@"'
        program = ["unshare", "-rm", "sh", "-c", mount, "sh", *program]
    else:
        folder.chmod(0o555)
    done = subprocess.run(program, capture_output=True, text=True, timeout=60, check=False)
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip(f"no read-only folder can be made here: {done.stderr.strip()[-200:]}")
    assert done.stdout.splitlines() == ["8 1", "a hit True", "new True"], done.stderr


OPENING = """
import sys, time
from pathlib import Path
from rar_lib.judging.cassette import Cassette
folder, n = Path(sys.argv[1]), sys.argv[2]
(folder / f"{n}.ready").touch()
until = time.monotonic() + 60
while len(list(folder.glob("*.ready"))) < 6:
    assert time.monotonic() < until, "the others did not come"
    time.sleep(0.005)
Cassette(folder / "calls.sqlite").record({"model": n, "messages": []}, {"text": n})
"""


def test_several_processes_open_a_fresh_cassette_at_the_same_moment(tmp_path: Path) -> None:
    program = [sys.executable, "-c", OPENING, str(tmp_path)]
    running = [
        subprocess.Popen([*program, str(n)], stderr=subprocess.PIPE, text=True) for n in range(6)
    ]
    errors = [process.communicate(timeout=120)[1] for process in running]
    assert [process.returncode for process in running] == [0] * 6, errors
    assert len(list(Cassette(tmp_path / "calls.sqlite", "replay").rows())) == 6


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (sqlite3.OperationalError("database is locked"), "held by another process"),
        (sqlite3.OperationalError("database or disk is full"), "the disk is full"),
        (OSError(28, "No space left on device"), "the disk is full"),
        (Timeout("calls.sqlite.lock"), "held by another process"),
        (sqlite3.OperationalError("attempt to write a readonly database"), "read-only"),
        (sqlite3.OperationalError("unable to open database file"), "read-only"),
        (PermissionError(13, "Permission denied"), "read-only"),
        (sqlite3.DatabaseError("file is not a database"), "damaged or is not a cassette"),
        (sqlite3.DatabaseError("database disk image is malformed"), "damaged"),
    ],
)
def test_locked_read_only_full_and_damaged_are_told_apart(error: Exception, words: str) -> None:
    said = _what_is_wrong(Path("calls.sqlite"), error)
    assert words in said
    assert said.startswith("calls.sqlite")


def folder(path: Path) -> None:
    path.mkdir()


def pages_of_noise(path: Path) -> None:
    """Its head is whole, its pages are not: found out by the first question only."""
    keep(path)
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = path.read_bytes()
    path.write_bytes(data[:4096] + b"\x5a" * (len(data) - 4096))


def half_a_file(path: Path) -> None:
    keep(path)
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2 + 100])


def another_program(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE notes (x)")
        db.commit()


def changed_by_hand(value: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        keep(path)
        with closing(sqlite3.connect(path)) as db:
            db.execute("UPDATE calls SET reply = ?", (value,))
            db.commit()

    return change


KEPT_REQUEST = {"model": "m", "messages": [{"role": "user", "content": "x"}]}


def keep(path: Path) -> None:
    with closing(Cassette(path)) as cassette:
        cassette.record(KEPT_REQUEST, {"text": "y"})


@pytest.mark.parametrize(
    ("make", "name", "words"),
    [
        (folder, "calls", "is a folder: give the name of a file in it"),
        (Path.touch, "file/calls.sqlite", "file is a file, where a folder is needed"),
        (pages_of_noise, "calls", "is damaged or is not a cassette"),
        (half_a_file, "calls", "is damaged or is not a cassette"),
        (another_program, "calls", "another program's database: record into a file of its own"),
        (changed_by_hand("{bad"), "calls", "is damaged or is not a cassette"),
        (changed_by_hand("[1]"), "calls", "is damaged or is not a cassette"),
        (None, "x" * 300, "the name of the file in it is too long"),
    ],
)
def test_what_is_wrong_with_a_file_is_told_apart_with_what_to_do(
    tmp_path: Path, make: Callable[[Path], None] | None, name: str, words: str
) -> None:
    path = tmp_path / name
    if make:
        make(tmp_path / name.split("/")[0])
    with closing(Cassette(path)) as cassette:

        def use() -> None:
            cassette.record({"model": "other"}, {"text": "y"})
            cassette.look_up(KEPT_REQUEST)
            list(cassette.rows())

        with pytest.raises(CassetteError, match=words):
            use()


def test_another_programs_database_is_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "notes.db"
    another_program(path)
    before = path.read_bytes()
    for mode in ("record", "replay"):
        with pytest.raises(CassetteError):
            Cassette(path, mode).look_up(KEPT_REQUEST)  # type: ignore[arg-type]
    assert path.read_bytes() == before


def test_an_empty_file_is_recorded_into_and_not_replayed(tmp_path: Path) -> None:
    path = tmp_path / "calls.sqlite"
    path.touch()
    with pytest.raises(CassetteError, match="nothing was recorded here; run once in mode record"):
        Cassette(path, "replay").look_up(KEPT_REQUEST)
    keep(path)
    assert Cassette(path, "replay").look_up(KEPT_REQUEST) == {"text": "y"}


@pytest.mark.parametrize("name", ["a?b#c%20.sqlite", "\u00fc \u6f22.sqlite", "a'b.sqlite", "a;b"])
def test_a_file_may_have_any_name_and_be_given_as_text(tmp_path: Path, name: str) -> None:
    keep(str(tmp_path / name))  # type: ignore[arg-type]
    assert (tmp_path / name).exists()
    assert Cassette(tmp_path / name, "replay").look_up(KEPT_REQUEST) == {"text": "y"}


def test_a_reply_of_another_shape_is_named(tmp_path: Path) -> None:
    path = tmp_path / "calls.sqlite"
    with server(says("8", tokens={"8": 1.0})) as scripted:
        chat = Chat(scripted.url, "m", cassette=Cassette(path))
        ask = [{"role": "user", "content": "x"}]
        asyncio.run(chat.complete(ask, max_tokens=1))
        with closing(sqlite3.connect(path)) as db:
            db.execute("UPDATE calls SET reply = '{}'")
            db.commit()
        with pytest.raises(CassetteError, match=r"did not write.*record again"):
            asyncio.run(chat.complete(ask, max_tokens=1))


def test_text_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "calls.sqlite"
    path.write_text("hello, this is not a database at all, only a long enough text " * 20)
    for mode in ("record", "replay"):
        with pytest.raises(CassetteError, match="damaged or is not a cassette"):
            Cassette(path, mode).look_up({"model": "m"})  # type: ignore[arg-type]
