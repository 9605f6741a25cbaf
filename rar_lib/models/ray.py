"""Ray Data as the executor of long grading: items go to actors, their calls come back on record.

    done = spread(partial(grade_items, arm="explicit", judge={}), items, chat)

For 10^5 calls and more, on a Ray that runs (``RAY_ADDRESS``), else on one of this machine that ends
with the work. Ray hands out the items, streams what comes of them and starts a lost actor anew;
nothing here schedules. This process alone writes the cassette, which is the record of what is done:
an item whose calls are all on it is not handed out.
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from rar_lib.core import errors
from rar_lib.core.errors import CassetteError, DataError, JudgeFault, RarError, ServerError
from rar_lib.judging.cassette import Cassette, request_key
from rar_lib.judging.chat import Chat, Server, run_sync

#: What is done with a few items, JSON in and JSON out, in their order; a function that the actors
#: can import, or a partial of one.
Job = Callable[[Chat, list[str]], Coroutine[Any, Any, list[str]]]
#: Most items that an actor has in hand: what a lost actor did with them is done again.
BATCH = 64
#: Share of a core that an actor takes: it waits for an endpoint.
_CPUS = 0.25
#: Bytes of the object store of a Ray of our own: items are text.
_STORE = 256 * 2**20
#: A loopback address that Ray leaves as it is: it puts the machine's own in the place of 127.0.0.1.
_HERE = "127.0.0.2"


@dataclass(frozen=True)
class _Running:
    """A server that another process has started and looks after."""

    address: str

    def url(self) -> str:
        return self.address

    def check(self) -> None:
        """The process that started it finds out."""


@dataclass
class _Notes(Cassette):
    """Calls of one batch in memory: those known beforehand, and those made, in their order."""

    path: Path = Path("calls of this run")
    known: dict[str, Any] = field(default_factory=dict)
    made: list[Any] = field(default_factory=list)

    def look_up(self, request: Mapping[str, Any]) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self.known.get(request_key(request))
        return found

    def record(
        self,
        request: Mapping[str, Any],
        reply: Mapping[str, Any],
        *,
        answered: bool = True,
        again: bool = False,
    ) -> None:
        if answered:
            self.known[request_key(request)] = dict(reply)
        self.made.append([request, reply, answered, again])


@dataclass
class _Record(Cassette):
    """The calls on record for one item; what is not there is not asked, but noticed."""

    path: Path = Path("calls on record")
    mode: Any = "replay"
    of: Cassette | None = None
    engine: str = ""
    known: dict[str, Any] = field(default_factory=dict)
    missed: bool = False

    def __post_init__(self) -> None:
        """There is no file of its own to look for."""

    def look_up(self, request: Mapping[str, Any]) -> dict[str, Any] | None:
        found = self.of.look_up(request) if self.of else None
        if found is None or found.get("engine", "") not in ("", self.engine):
            self.missed = True
            raise JudgeFault("not on record")
        self.known[request_key(request)] = found
        return found


class _Actor:
    """Does batches of items; after an error of the whole run it asks nothing more."""

    def __init__(self, job: Job, chat: dict[str, Any]) -> None:
        self.job = job
        self.notes = _Notes()
        self.chat = Chat(**chat, cassette=self.notes)
        self.failed = ""

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[Any]]:
        """One row an item; the calls, and an error, stand in the first."""
        items = [str(item) for item in batch["item"]]
        done = [""] * len(items)
        self.notes.known = {}
        for known in batch["known"]:
            self.notes.known |= json.loads(known)
        self.notes.made = []
        if not self.failed:
            try:
                done = run_sync(self.job(self.chat, items))
            except RarError as error:
                self.failed = json.dumps([type(error).__name__, str(error)])
        rest = [""] * (len(items) - 1)
        return {
            "place": [int(place) for place in batch["place"]],
            "done": done,
            "calls": [json.dumps(self.notes.made), *rest],
            "error": [self.failed, *rest],
        }


def spread(job: Job, items: Sequence[str], chat: Chat, *, progress: str = "") -> list[str]:
    """What a job makes of each item, in their order.

    As with plain async: a request that fails leaves its item without a score; an error of the whole
    run is raised when what was on its way has come and is on record.

    Args:
        items: JSON, each by itself.
        chat: its concurrency is divided among the actors; its cassette is written by this process.
            A local server is started here, and asked by the actors at its address.
        progress: label of a progress bar on a terminal; none when empty.

    Raises:
        DataError: Ray is not installed, or its actors are on other machines than the local server.
        ServerError: Ray does not start or failed, or the local server has ended.
        RarError: as the job raises it.
    """
    from tqdm import tqdm

    ray = _imported()
    found: dict[int, str] = {}
    failures: list[RarError] = []
    with tqdm(total=len(items), desc=progress, unit="item", disable=not progress or None) as bar:
        todo: list[dict[str, Any]] = []
        for place, item in enumerate(items):
            done, known = _on_record(job, item, chat)
            if done is None:
                todo.append({"place": place, "item": item, "known": json.dumps(known)})
            else:
                found[place] = done
                bar.update()
        if not todo:
            return [found[place] for place in range(len(items))]
        with _started(ray):
            for row in _rows(ray, job, todo, chat):
                _keep(row["calls"], chat)
                if row["error"]:
                    kind, said = json.loads(row["error"])
                    failures.append(getattr(errors, kind)(said))
                elif row["done"]:
                    found[int(row["place"])] = row["done"]
                    bar.update()
    _check(chat)
    if failures:
        raise failures[0]
    return [found[place] for place in range(len(items))]


def _imported() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # A machine at its limit takes longer to start Ray than Ray waits by itself.
    os.environ.setdefault("RAY_agent_register_timeout_ms", "120000")
    os.environ.setdefault("RAY_raylet_start_wait_time_s", "120")
    try:
        import ray
        import ray.data  # noqa: F401
    except ImportError as error:
        raise DataError(
            f"the executor ray is not installed here ({error}): pip install 'ray[data]', or leave "
            "--executor out: below 100,000 calls it gains nothing"
        ) from error
    return ray


@contextmanager
def _started(ray: Any) -> Iterator[None]:
    """The Ray of this process, or the one at RAY_ADDRESS, or one of our own until the end."""
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    own = {"include_dashboard": False, "object_store_memory": _STORE, "_node_ip_address": _HERE}
    address = os.environ.get("RAY_ADDRESS")
    ours = not ray.is_initialized()
    if ours:
        try:
            ray.init(address or "local", **(quiet if address else quiet | own))
        except Exception as error:  # of many kinds, plain ones among them
            raise ServerError(
                f"Ray at {address or 'this machine'} does not start ({str(error)[:300]}): free "
                "some of its cores, start one with ray start and name it in RAY_ADDRESS, or leave "
                "--executor out"
            ) from error
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    before = context.enable_progress_bars
    context.enable_progress_bars = False
    try:
        yield
    finally:
        context.enable_progress_bars = before
        if ours:
            ray.shutdown()


def _rows(ray: Any, job: Job, todo: list[dict[str, Any]], chat: Chat) -> Iterator[dict[str, Any]]:
    """The rows of all actors, as they come."""
    cores = int(ray.cluster_resources().get("CPU", 1))
    actors = max(1, min(cores, chat.concurrency, len(todo)))
    batch = min(BATCH, math.ceil(len(todo) / actors))
    given = {part.name: getattr(chat, part.name) for part in fields(Chat) if part.init}
    del given["cassette"]
    given["server"] = _addresses(chat, nodes=len(ray.nodes()))
    given["concurrency"] = max(1, chat.concurrency // actors)
    blocks = max(actors, math.ceil(len(todo) / batch))
    work = ray.data.from_items(todo, override_num_blocks=blocks).map_batches(
        _Actor,
        fn_constructor_kwargs={"job": job, "chat": given},
        batch_size=batch,
        batch_format="numpy",
        compute=ray.data.ActorPoolStrategy(size=actors),
        num_cpus=_CPUS,
    )
    try:
        yield from work.iter_rows()
    except ray.exceptions.RayError as error:
        raise ServerError(
            f"Ray stopped ({type(error).__name__}: {str(error)[-300:]}): finished calls are on "
            "record, the same command goes on from there"
        ) from error


def _addresses(chat: Chat, *, nodes: int) -> list[str | Server]:
    """What the actors ask; a server of this machine is started here."""
    several = isinstance(chat.server, Sequence) and not isinstance(chat.server, str)
    servers: Any = chat.server if several else [chat.server]
    here = [one for one in servers if not isinstance(one, str)]
    if here and nodes > 1:
        raise DataError(
            f"{chat.model!r} is served on this machine and Ray has {nodes}: give "
            "addresses that all of them reach, --base-url"
        )
    return [one if isinstance(one, str) else _Running(one.url()) for one in servers]


def _check(chat: Chat) -> None:
    """Tell a local server that is gone from one that is busy.

    Raises:
        ServerError: it is gone.
    """
    if not isinstance(chat.server, str | Sequence):
        chat.server.check()


def _on_record(job: Job, item: str, chat: Chat) -> tuple[str | None, dict[str, Any]]:
    """What the job makes of an item by the calls on record, or ``None``; and those calls."""
    cassette = chat.cassette
    if cassette is None or cassette.mode == "live" or not cassette.size():
        return None, {}
    record = _Record(of=cassette, engine=chat.engine)
    (done,) = run_sync(job(replace(chat, cassette=record), [item]))
    return (None if record.missed else done), record.known


def _keep(calls: str, chat: Chat) -> None:
    """Write the calls of a batch.

    Raises:
        CassetteError: the file can't be written.
    """
    if not calls or chat.cassette is None:
        return
    for request, reply, answered, again in json.loads(calls):
        if request["model"] != chat.model:
            raise CassetteError(f"a call of {request['model']!r} came back for {chat.model!r}")
        chat.cassette.record(request, reply, answered=answered, again=again)
