"""A chapter of the laptop profile has one judge's server at a time, counted without a model.

The cells that open, ask or stop a judge run in their order. What other cells would have left is
made up, and whatever is called with a judge asks it.
"""

from __future__ import annotations

import ast
import asyncio
import builtins
import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rar_lib.book.study import Study
from rar_lib.judging.chat import Chat
from rar_lib.models import processor
from rar_lib.models.server import Endpoint, LocalServer
from tests.notebooks.test_sources import NOTEBOOKS, cells

#: What a cell holds that opens, asks or stops a judge, or says what it is asked about.
JUDGING = re.compile(
    r"\bawait\b|\bstudy\.(chat|serving|only)\(|\bStudy\.open\(|\b(train|grade_later)\("
    r"|\(t, t\.reference\)"
)


class MadeUp:
    """Any value: of any attribute, called with anything, one item long, equal to every other."""

    def __getattr__(self, name: str) -> MadeUp:
        if name.startswith("__"):
            raise AttributeError(name)
        return Items() if name == "items" else MadeUp()

    def __call__(self, *values: Any, **named: Any) -> MadeUp:
        ask(values, named)
        return MadeUp()

    def __await__(self) -> Iterator[Any]:
        yield from ()
        return self

    def __iter__(self) -> Iterator[MadeUp]:
        return iter([MadeUp()])

    def __getitem__(self, key: Any) -> MadeUp:
        return MadeUp()

    def __setitem__(self, key: Any, value: Any) -> None: ...

    def __contains__(self, item: Any) -> bool:
        return True

    def __len__(self) -> int:
        return 1

    def __index__(self) -> int:
        return 1

    def __float__(self) -> float:
        return 1.0

    def __format__(self, spec: str) -> str:
        return "made up"

    def __lt__(self, other: Any) -> bool:
        return False

    __gt__ = __le__ = __ge__ = __lt__

    def __add__(self, other: Any) -> MadeUp:
        return MadeUp()

    __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __add__
    __pow__ = __or__ = __ror__ = __add__

    def __abs__(self) -> MadeUp:
        return MadeUp()

    __neg__ = __abs__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MadeUp)

    def __hash__(self) -> int:
        return 0


class Items(MadeUp):
    """``items`` of a dictionary, and of other things."""

    def __call__(self, *values: Any, **named: Any) -> Any:
        return [(MadeUp(), MadeUp())]


class Tables(MadeUp):
    def cell(self, _: Any) -> str:
        return "made up"


@dataclass(frozen=True)
class Asking:
    """A judge, or what else holds a client: it asks when it, or a method of it, is called."""

    chat: Any

    def __call__(self, *_: Any, **__: Any) -> MadeUp:
        ask(self)
        return MadeUp()

    def __getattr__(self, name: str) -> Asking:
        return self


def judge_of(chat: Any, *_: Any, **__: Any) -> Asking:
    return Asking(chat)


def replaced(value: Any, chat: Any = None, **_: Any) -> Any:
    return value if chat is None else Asking(chat)


def ask(*values: Any) -> None:
    """Start the server of every client in some values, as its first question does."""
    for value in values:
        if isinstance(value, Asking):
            ask(value.chat)
        elif isinstance(value, Chat):
            assert isinstance(value.server, LocalServer)
            value.server.url()
        elif isinstance(value, dict):
            ask(*value.values())
        elif isinstance(value, (list, tuple)):
            ask(*value)


@dataclass(frozen=True)
class Looks:
    """`Watch`, of whose graders some are asked later."""

    every: int
    graders: dict[str, Any]
    within: Any = None
    later: Collection[str] = ()

    def grade_later(self, run: Any, out: Path) -> Any:
        ask(*(grader for role, grader in self.graders.items() if role in self.later))
        return run


def trained(*_: Any, judge: Any = None, watch: Looks | None = None, **__: Any) -> MadeUp:
    looking = watch.graders.items() if watch else ()
    ask(judge, *(grader for role, grader in looking if watch and role not in watch.later))
    return MadeUp()


class Record:
    """`grade_many` of a chapter: what it has asked before is on record and starts no server."""

    def __init__(self) -> None:
        self.known: set[tuple[Any, ...]] = set()

    def __call__(self, judge: Asking, items: Any, arm: str, **_: Any) -> MadeUp:
        asked = {(judge.chat.model, arm, *item) for item in items}
        if not asked <= self.known:
            ask(judge)
        self.known |= asked
        return MadeUp()


async def together(work: Iterable[Any]) -> list[Any]:
    """What is made up is awaited, and is no coroutine."""
    return [await one for one in work]


class Names(dict[str, Any]):
    """Names of a chapter; one that no cell has set is made up."""

    def __missing__(self, name: str) -> Any:
        if hasattr(builtins, name):
            raise KeyError(name)
        return MadeUp()


def run(sources: list[str], study: Study) -> None:
    """Execute the cells that have to do with a judge; imports give made-up values."""
    known = Names(
        Study=SimpleNamespace(open=lambda _: study),
        together=together,
        replace=replaced,
        Judge=judge_of,
        GuardedJudge=judge_of,
        RubricReward=judge_of,
        Watch=Looks,
        train=trained,
        grade_many=Record(),
        look_with=lambda graders, _: graders,
        held_out=SimpleNamespace(look_with=lambda graders, _: graders),
        sources={"authored": MadeUp()},  # of chapter 2
        answers={"base": MadeUp()},  # of chapter 8
        tables=Tables(),
        print=lambda *_: None,
    )
    for source in filter(JUDGING.search, sources):
        tree = ast.parse(source)
        tree.body = [
            line for line in tree.body if not isinstance(line, (ast.Import, ast.ImportFrom))
        ]
        waiting = eval(compile(tree, "cell", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), known)
        if waiting is not None:
            asyncio.run(waiting)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """At each start of a server, the models that then have one."""
    monkeypatch.setattr(processor, "flags", lambda: frozenset({"avx512bw", "avx512_vnni"}))
    found: list[tuple[str, ...]] = []
    running: list[str] = []

    @contextmanager
    def serve(model: str, **_: Any) -> Iterator[Endpoint]:
        running.append(model)
        found.append(tuple(running))
        yield Endpoint("http://127.0.0.1:1/v1", model)
        running.remove(model)

    monkeypatch.setattr("rar_lib.models.server.serve", serve)
    monkeypatch.setattr(Study, "load", lambda *_: MadeUp())
    monkeypatch.delenv("RAR_CASSETTE", raising=False)
    monkeypatch.delenv("RAR_ENGINE", raising=False)
    return found


SMALL = "smollm2-135m"
MIDDLE = "qwen-0.5b"
MAIN = "qwen-1.5b-int8"
#: Chapter -> the servers that it starts. Chapter 7 asks its judge whatever it shows of it before
#: the other one reads; chapter 6 samples from the smallest model as the policy.
STARTS = {
    "02": (SMALL, MIDDLE, MAIN),
    "04": (SMALL, MIDDLE, MAIN),
    "05": (SMALL, MIDDLE, MAIN),
    "06": (SMALL, MAIN),
    "07": (MAIN, MIDDLE),
    "08": (MAIN, MIDDLE),
    "09": (MAIN, SMALL, MAIN),
    "11": (MAIN,),
}


def source_of(chapter: str) -> list[str]:
    [path] = [path for path in NOTEBOOKS if path.stem.startswith(chapter)]
    return cells(path, "code")


@pytest.mark.parametrize("chapter", [path.stem[:2] for path in NOTEBOOKS])
def test_a_chapter_starts_a_judge_when_no_other_one_is_up(
    chapter: str, tmp_path: Path, started: list[tuple[str, ...]]
) -> None:
    study = Study.open("laptop", tmp_path)
    run(source_of(chapter), study)
    assert started == [(model,) for model in STARTS.get(chapter, ())]
    study.close()


@pytest.mark.parametrize("chapter", ["02", "05"])
def test_the_order_in_which_a_profile_lists_its_judges_does_not_matter(
    chapter: str, tmp_path: Path, started: list[tuple[str, ...]]
) -> None:
    study = Study.open("laptop", tmp_path)
    study.profile = study.profile.model_copy(update={"judges": (MAIN, SMALL, MIDDLE)})
    run(source_of(chapter), study)
    assert started == [(MAIN,), (SMALL,), (MIDDLE,), (MAIN,)]
    study.close()


@pytest.mark.parametrize(
    ("chapter", "without"),
    [("02", "name"), ("05", "name"), ("07", "watching"), ("09", "settings.judge")],
)
def test_a_chapter_that_stops_no_judge_is_found(
    chapter: str, without: str, tmp_path: Path, started: list[tuple[str, ...]]
) -> None:
    stop = f"study.only({without})"
    sources = [source.replace(stop, "pass") for source in source_of(chapter)]
    assert sources != source_of(chapter)
    study = Study.open("laptop", tmp_path)
    run(sources, study)
    assert max(map(len, started)) > 1
    study.close()
