"""The processes of one training run, started together by a launcher such as ``accelerate launch``.

    found = once(lambda: ask_the_disk())   # the first process does it, all have what it came to
    parts = gathered(mine)                 # what each of them has, in their order

Nearly always there is one process, and then nothing here is asked, sent or imported. What goes from
one to another is JSON, by a group of its own over gloo: that is for any thread and any device, and
waits as long as a judge may take.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, redirect_stderr, redirect_stdout
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from rar_lib.core import errors
from rar_lib.core.errors import RarError

T = TypeVar("T")
#: What a launcher tells its processes, and what is nothing to a server that one of them starts.
_LAUNCHER = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_LAUNCHERS = ("ACCELERATE_", "TORCHELASTIC_", "LOCAL_", "GROUP_", "ROLE_", "FSDP_")
#: The first one may look at held-out answers for hours while the others wait.
_PATIENCE = timedelta(days=7)
_opening = threading.Lock()
_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, list[asyncio.Event]] = WeakKeyDictionary()


def launched() -> int:
    """How many processes the launcher started; 1 without one."""
    return _number("WORLD_SIZE", 1) if "RANK" in os.environ else 1


def count() -> int:
    """How many have found each other (:func:`join`); 1 before."""
    torch = sys.modules.get("torch")  # without it there is nobody
    dist = getattr(torch, "distributed", None)
    if dist is None or not dist.is_available() or not dist.is_initialized():
        return 1
    return int(dist.get_world_size())


def index() -> int:
    """Which of them this one is, from 0."""
    return _number("RANK", 0) if launched() > 1 else 0


def is_first() -> bool:
    """Whether this is the one that writes files and speaks; true where there is only one."""
    return index() == 0


def fair_share(bound: int) -> int:
    """This process's part of what one machine may do at once, at least 1.

    Args:
        bound: of the machine, such as requests in flight.
    """
    here = _number("LOCAL_WORLD_SIZE", 1) if launched() > 1 else 1
    return max(1, bound // max(1, here))


def of_launcher(name: str) -> bool:
    """Whether an environment variable tells a process its place in a run."""
    return launched() > 1 and (name in _LAUNCHER or name.startswith(_LAUNCHERS))


def join(*, cpu: bool) -> None:
    """Find the other processes, if a launcher started some."""
    if launched() > 1 and count() == 1:
        from accelerate import PartialState  # type: ignore[import-untyped]

        if cpu:  # without a number: torch restores no checkpoint to "cpu:1"
            os.environ.setdefault("ACCELERATE_TORCH_DEVICE", "cpu")
        PartialState(cpu=cpu)


def gathered(value: Any = None, error: RarError | None = None, *, aside: bool = False) -> list[Any]:
    """What every process gives, JSON, in their order; all must call it, and all wait for the last.

    Args:
        aside: by a line of its own, for what goes on beside the main thread. There all must keep
            one order, too (:func:`in_turn`).

    Raises:
        RarError: what the first of those that failed gives; the others raise one like it, which
            is not theirs to say (:func:`to_be_said`).
    """
    if count() == 1:
        if error:
            raise error
        return [value]
    failed = [type(error).__name__, str(error)] if error else None
    found = [json.loads(part) for part in _texts({"value": value, "failed": failed}, aside)]
    for place, one in enumerate(found):
        if one["failed"]:
            if error and place == index():
                raise error
            raise _told(*one["failed"])
    return [one["value"] for one in found]


def once(work: Callable[[], T]) -> T:
    """Work of the first process alone; all have what it came to, which must be JSON.

    Raises:
        RarError: what the work raised, in all of them.
    """
    if count() == 1:
        return work()
    value = None
    error = None
    if is_first():
        try:
            value = work()
        except RarError as failure:
            error = failure
    result: T = gathered(value, error)[0]
    return result


def first_then_others(work: Callable[[], T | None]) -> T | None:
    """Work that every process does for itself once the first one has done it.

    Where the first one comes to ``None``, so do the others, without doing it.

    Raises:
        RarError: what the first one raised, in all of them.
    """
    if count() == 1:
        return work()
    done: list[T | None] = []

    def first() -> bool:
        done.append(work())
        return done[0] is not None

    if not once(first):
        return None
    return done[0] if done else work()


@asynccontextmanager
async def in_turn() -> AsyncIterator[Callable[[], Awaitable[object]]]:
    """The order in which coroutines that began in this order :func:`gathered` something.

    Several that judge side by side end in another order in each process; what they gather would be
    taken for each other's.
    """
    loop = asyncio.get_running_loop()
    line = _turns.setdefault(loop, [])
    before = list(line)
    mine = asyncio.Event()
    line.append(mine)

    async def turn() -> None:
        for one in before:
            await one.wait()

    try:
        yield turn
    finally:
        mine.set()
        line.remove(mine)


@contextmanager
def first_speaks() -> Iterator[None]:
    """Whatever the others print is dropped; what they raise is not."""
    if is_first():
        yield
        return
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield


def to_be_said(error: RarError) -> bool:
    """Whether this process is the one to say an error.

    The others leave to the first one what it raised itself, or must meet as they did.
    """
    return is_first() or (count() > 1 and not getattr(error, "told", False))


def _told(kind: str, text: str) -> RarError:
    """An error that another process has met."""
    made: type[RarError] = getattr(errors, kind, RarError)
    error = made(text)
    error.told = True  # type: ignore[attr-defined]
    return error


def _texts(value: Any, aside: bool) -> list[bytes]:
    """What every process gives, as JSON; in bytes, because torch sends objects as pickles."""
    import torch
    import torch.distributed as dist

    mine = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
    group = _groups()[aside]
    sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(count())]
    dist.all_gather(sizes, torch.tensor([len(mine)]), group=group)
    widest = max(int(size) for size in sizes)
    parts = [torch.zeros(widest, dtype=torch.uint8) for _ in sizes]
    padded = torch.nn.functional.pad(mine, (0, widest - len(mine)))
    dist.all_gather(parts, padded, group=group)
    return [bytes(part[: int(size)].tolist()) for part, size in zip(parts, sizes, strict=True)]


def _groups() -> tuple[Any, Any]:
    """Two lines between the processes, which all of them open at the same moment and in one order.

    A reward that failed leaves another at work in its thread, while the program goes on: on one
    line either would take what was meant for the other.
    """
    with _opening:
        return _opened()


@cache
def _opened() -> tuple[Any, Any]:
    import torch.distributed as dist

    main, aside = (dist.new_group(backend="gloo", timeout=_PATIENCE) for _ in range(2))
    return main, aside


def _number(name: str, otherwise: int) -> int:
    try:
        return int(os.environ[name])
    except (KeyError, ValueError):
        return otherwise
