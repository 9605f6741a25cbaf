"""Long work handed out by Ray: what is handed out, what comes back on record, what stops the run.

Ray is a stand-in of this process, which gives batches to actors as Ray Data does; the installed one
is asked for the same by tests/adapters/test_ray.py.
"""

from __future__ import annotations

import asyncio
import json
import math
import sqlite3
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from scripted import Reply, Scripted, says, server, status

from rar_lib.core.errors import CassetteError, ChatError, DataError, JudgeFault, ServerError
from rar_lib.judging.cassette import Cassette
from rar_lib.judging.chat import Chat
from rar_lib.models.ray import BATCH, spread

ITEMS = [f"item {n}" for n in range(6)]


class RayError(Exception):
    """As Ray's own."""


@dataclass
class Dataset:
    """Rows that actors of one class work on, batch by batch, in turn."""

    ray: Ray
    rows: list[dict[str, Any]]
    made: dict[str, Any] = field(default_factory=dict)

    def map_batches(self, actor: Any, **made: Any) -> Dataset:
        self.made = made | {"actor": actor}
        self.ray.handed_out.append(self)
        return self

    def iter_rows(self) -> Iterator[Mapping[str, Any]]:
        if self.ray.stops:
            raise RayError(self.ray.stops)
        given = self.made["fn_constructor_kwargs"]
        actors = [self.made["actor"](**given) for _ in range(self.made["compute"].size)]
        size = self.made["batch_size"]
        for number, start in enumerate(range(0, len(self.rows), size)):
            some = self.rows[start : start + size]
            batch = {name: list(map(itemgetter(name), some)) for name in some[0]}
            found = actors[number % len(actors)](batch)
            for place in range(len(some)):
                yield {name: values[place] for name, values in found.items()}


@dataclass
class Ray:
    """What the library asks of Ray."""

    cores: int = 4
    machines: int = 1
    running: bool = False
    refuses: str = ""
    stops: str = ""
    handed_out: list[Dataset] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    context: Any = field(default_factory=lambda: SimpleNamespace(enable_progress_bars=True))

    @property
    def data(self) -> Any:
        return SimpleNamespace(
            DataContext=SimpleNamespace(get_current=lambda: self.context),
            from_items=lambda rows, **_: Dataset(self, rows),
            ActorPoolStrategy=lambda size: SimpleNamespace(size=size),
        )

    exceptions = SimpleNamespace(RayError=RayError)

    def is_initialized(self) -> bool:
        return self.running

    def init(self, address: str, **_: Any) -> None:
        self.calls.append(f"init {address}")
        if self.refuses:
            raise RuntimeError(self.refuses)

    def shutdown(self) -> None:
        self.calls.append("shutdown")

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": float(self.cores)}

    def nodes(self) -> list[int]:
        return list(range(self.machines))


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Ray:
    stand_in = Ray()
    monkeypatch.setitem(sys.modules, "ray", stand_in)  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "ray.data", stand_in.data)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return stand_in


async def said_of(chat: Chat, items: list[str]) -> list[str]:
    """A call for each item, one after the other; one that fails costs that item alone."""
    found = []
    for item in items:
        try:
            reply = await chat.complete([{"role": "user", "content": item}], max_tokens=4)
            found.append(f"{item}: {reply.text}")
        except JudgeFault:
            found.append(f"{item}: unscored")
    return found


def echo(request: Reply, _: int) -> Reply:
    return says(request["messages"][-1]["content"].upper())


def asked(scripted: Scripted) -> list[str]:
    return sorted(request["messages"][-1]["content"] for request in scripted.requests)


def chat_of(scripted: Scripted, folder: Path, **more: Any) -> Chat:
    cassette = Cassette(folder / "calls.sqlite")
    return Chat(scripted.url, "j", key_env="", cassette=cassette, **more)


def test_without_ray_it_is_said_how_to_get_it_and_that_one_can_do_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(DataError) as caught:
        spread(said_of, ITEMS, Chat("http://127.0.0.1:1/v1", "j"))
    assert "pip install 'ray[data]'" in str(caught.value)
    assert "leave --executor out" in str(caught.value)


def test_what_is_made_of_each_item_comes_back_in_its_place(ray: Ray, tmp_path: Path) -> None:
    with server(echo) as scripted:
        found = spread(said_of, ITEMS, chat_of(scripted, tmp_path))
    assert found == [f"item {n}: ITEM {n}" for n in range(6)]
    assert asked(scripted) == ITEMS
    assert ray.calls == ["init local", "shutdown"], "a Ray of its own, until the end"


def test_what_is_on_record_is_not_handed_out(ray: Ray, tmp_path: Path) -> None:
    with server(echo) as scripted:
        spread(said_of, ITEMS[:4], chat_of(scripted, tmp_path))
        assert spread(said_of, ITEMS, chat_of(scripted, tmp_path)) == [
            f"item {n}: ITEM {n}" for n in range(6)
        ]
        assert asked(scripted) == ITEMS, "each once"
        assert [row["item"] for row in ray.handed_out[1].rows] == ITEMS[4:]
        before = list(ray.calls)
        spread(said_of, ITEMS, chat_of(scripted, tmp_path))
        assert ray.calls == before, "with all of it on record no Ray is started"


def test_items_without_a_cassette_are_all_handed_out(ray: Ray) -> None:
    with server(echo) as scripted:
        chat = Chat(scripted.url, "j", key_env="")
        for _ in range(2):
            assert len(spread(said_of, ITEMS[:2], chat)) == 2
    assert asked(scripted) == sorted(2 * ITEMS[:2])


@pytest.mark.parametrize(
    ("cores", "concurrency", "items", "actors", "each"),
    [
        (4, 32, 100, 4, 8),  # a core each
        (64, 3, 100, 3, 1),  # never more requests at once than were allowed
        (4, 32, 2, 2, 16),  # nor actors than items
        (1, 5, 1_000, 1, 5),
    ],
)
def test_actors_share_the_requests_that_may_be_out_at_once(
    cores: int, concurrency: int, items: int, actors: int, each: int, ray: Ray, tmp_path: Path
) -> None:
    async def nothing(chat: Chat, some: list[str]) -> list[str]:
        return [str(chat.concurrency)] * len(some)

    ray.cores = cores
    with server(echo) as scripted:
        chat = chat_of(scripted, tmp_path, concurrency=concurrency)
        found = spread(nothing, ["x"] * items, chat)
    (handed,) = ray.handed_out
    assert handed.made["compute"].size == actors
    assert handed.made["batch_size"] == min(BATCH, math.ceil(items / actors))
    assert set(found) == {str(each)}


def test_an_error_of_the_whole_run_is_raised_as_it_is_and_what_came_is_kept(
    ray: Ray, tmp_path: Path
) -> None:
    broken = True
    ray.cores = 1

    def answer(request: Reply, number: int) -> Reply:
        return status(401, "key expired") if broken and number >= 3 else echo(request, number)

    with server(answer, host="127.0.0.2") as scripted:
        with pytest.raises(ChatError, match="401"):
            spread(said_of, ITEMS, chat_of(scripted, tmp_path))
        assert ray.calls[-1] == "shutdown"
        before = len(scripted.requests)
        broken = False
        assert len(spread(said_of, ITEMS, chat_of(scripted, tmp_path))) == 6
        assert len(scripted.requests) - before == 3, "three were answered before"


def test_a_call_for_another_model_is_not_put_on_record(ray: Ray, tmp_path: Path) -> None:
    async def strays(chat: Chat, items: list[str]) -> list[str]:
        assert chat.cassette is not None
        chat.cassette.record({"model": "other", "messages": []}, {"text": "x"})
        return ["done" for _ in items]

    with server(echo) as scripted:
        chat = chat_of(scripted, tmp_path)
        with pytest.raises(CassetteError, match="a call of 'other' came back for 'j'"):
            spread(strays, ITEMS, chat)
    assert chat.cassette is not None
    assert chat.cassette.size() == 0


@pytest.mark.parametrize("address", [None, "10.0.0.1:6379"])
def test_a_ray_that_does_not_start_is_named_with_the_ways_out(
    address: str | None, ray: Ray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if address:
        monkeypatch.setenv("RAY_ADDRESS", address)
    ray.refuses = "no room " + "x" * 1_000
    with server(echo) as scripted, pytest.raises(ServerError) as caught:
        spread(said_of, ITEMS, chat_of(scripted, tmp_path))
    said = str(caught.value)
    assert said.startswith(f"Ray at {address or 'this machine'} does not start (no room")
    assert "RAY_ADDRESS" in said
    assert len(said) < 600
    assert ray.calls == [f"init {address or 'local'}"], "what has not begun is not ended"


def test_a_ray_that_stops_says_that_the_run_goes_on(ray: Ray, tmp_path: Path) -> None:
    ray.stops = "the node died"
    with server(echo) as scripted:
        with pytest.raises(ServerError, match=r"RayError: the node died.*the same command goes on"):
            spread(said_of, ITEMS, chat_of(scripted, tmp_path))
        assert ray.context.enable_progress_bars, "as it was"
        ray.stops = ""
        assert len(spread(said_of, ITEMS, chat_of(scripted, tmp_path))) == 6


def test_a_ray_of_the_users_is_left_running(ray: Ray, tmp_path: Path) -> None:
    ray.running = True
    with server(echo) as scripted:
        spread(said_of, ITEMS, chat_of(scripted, tmp_path))
    assert ray.calls == []


@dataclass
class Here:
    """A server of this machine: where it is, and whether it still lives."""

    address: str
    dead: bool = False
    starts: int = 0

    def url(self) -> str:
        self.starts += 1
        return self.address

    def check(self) -> None:
        if self.dead:
            raise ServerError("the server ended while it was needed")


def test_a_server_of_this_machine_is_started_here_and_asked_at_its_address(
    ray: Ray, tmp_path: Path
) -> None:
    with server(echo) as scripted:
        here = Here(scripted.url)
        chat = Chat(here, "j", weights="w", cassette=Cassette(tmp_path / "calls.sqlite"))
        assert len(spread(said_of, ITEMS, chat)) == 6
        assert here.starts == 1, "not by every actor"
        here.dead = True
        with pytest.raises(ServerError, match="ended while it was needed"):
            spread(said_of, ["one more"], chat)


def test_actors_on_other_machines_do_not_reach_a_server_of_this_one(
    ray: Ray, tmp_path: Path
) -> None:
    ray.machines = 2
    with server(echo) as scripted:
        with pytest.raises(DataError, match="'j' is served on this machine and Ray has 2: give"):
            spread(said_of, ITEMS, Chat(Here(scripted.url), "j", weights="w"))
        assert scripted.requests == []
        chat = chat_of(scripted, tmp_path)
        assert len(spread(said_of, ITEMS, chat)) == 6, "an address is reached from anywhere"


def test_a_request_that_fails_leaves_its_item_without_a_score(ray: Ray, tmp_path: Path) -> None:
    def answer(request: Reply, number: int) -> Reply:
        refused = request["messages"][-1]["content"] == "item 2"
        return status(400, "flagged") if refused else echo(request, number)

    with server(answer) as scripted:
        found = spread(said_of, ITEMS, chat_of(scripted, tmp_path))
    assert found[2] == "item 2: unscored"
    assert found[3] == "item 3: ITEM 3"


def test_the_record_is_that_of_plain_asking(ray: Ray, tmp_path: Path) -> None:
    kept = []
    for name in ("ray", "plain"):
        (tmp_path / name).mkdir()
        with server(echo) as scripted:
            chat = chat_of(scripted, tmp_path / name, weights="w")
            if name == "ray":
                spread(said_of, ITEMS, chat)
            else:
                asyncio.run(said_of(chat, ITEMS))
        assert chat.cassette is not None
        found = sqlite3.connect(chat.cassette.path).execute("SELECT request, reply FROM calls")
        kept.append(sorted((request, json.loads(reply)["text"]) for request, reply in found))
    assert kept[0] == kept[1]
    assert len(kept[0]) == 6
