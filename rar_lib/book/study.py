"""What every notebook opens: a profile with its data, its models, its folder for results.

study = Study.open(profile)
judge = Judge(study.chat("qwen-1.5b"))

What a chapter leaves in ``study.folder`` is of two kinds. *Results* are files at the top
(``study.save``): each run of a chapter makes them anew. *Folders* hold what is expensive and says
itself what made it (runs of :func:`rar_lib.training.train.train`, texts of
:func:`rar_lib.evaluation.multiple_choice.ask`): whoever writes there checks that, goes on with what
is its own, and may find there what a failed attempt has finished. A folder stays, used or not,
until it is deleted. Recorded calls (``calls.sqlite``) are kept by identity, too, and belong to no
chapter.

The runner gives every chapter a folder of its own, in which the data of the chapters it is after
can be read, and puts what was left into ``_build/<profile>/data`` when the chapter has run to its
end (:mod:`rar_lib.book.reproduce`). A person who runs a notebook by hand writes into that folder
directly; the runner sees by the hashes that it did not make this, and runs that chapter again.
"""

from __future__ import annotations

import atexit
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rar_lib.book.notebook import work
from rar_lib.book.profiles import Profile, load
from rar_lib.core.errors import CassetteError, DataError
from rar_lib.core.files import atomic_write, checkout
from rar_lib.core.types import Pair, Task
from rar_lib.data.choices import load_choices
from rar_lib.data.tasks import draw_pairs, draw_tasks, load_mini, load_mini_pairs
from rar_lib.judging.cassette import MODES, Cassette
from rar_lib.judging.chat import Chat
from rar_lib.models.server import local_chat


@dataclass
class Study:
    """One profile's run of the book.

    Attributes:
        folder: where chapters leave JSON for later chapters.
        calls: the file of recorded calls.
    """

    profile: Profile
    folder: Path
    calls: Path
    _servers: dict[str, ExitStack] = field(default_factory=dict, repr=False)
    _chats: dict[str, Chat] = field(default_factory=dict, repr=False)
    _cassette: Cassette | None = field(default=None, repr=False)

    @staticmethod
    def open(profile: str, build: Path | None = None) -> Study:
        """The study of a profile; servers that it starts stop with the process.

        Args:
            build: folder of results. By default the one that the runner gives a chapter, else
                ``_build`` of the checkout, so that a notebook finds it from whatever folder it was
                opened in.

        Raises:
            DataError: there is no such profile.
        """
        root = build or (checkout() or Path.cwd()) / "_build"
        given = None if build else work()
        folder = (given or root / profile) / "data"
        study = Study(load(profile), folder, root / profile / "calls.sqlite")
        if study.profile.device == "cpu":
            # The models are files on this machine; nothing should ask the hub.
            os.environ["HF_HUB_OFFLINE"] = "1"
        # Bars over a few rows would stay on the page; read when datasets is first imported.
        os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
        atexit.register(study.close)
        return study

    def chat(self, model: str) -> Chat:
        """A client for a model; its local server starts with the first call not on record."""
        if model not in self._chats:
            until = self._servers.setdefault(model, ExitStack())
            self._chats[model] = until.enter_context(self.serving(model))
        return self._chats[model]

    def only(self, model: str) -> None:
        """Stop the servers of all other models that were started here, before memory is needed.

        What was asked is on record; for another question to a stopped model ask :meth:`chat` for a
        new client. A server that the runner holds for all chapters goes on.
        """
        for other, until in self._servers.items():
            if other != model:
                until.close()
                self._chats.pop(other, None)

    @contextmanager
    def serving(self, model: str) -> Iterator[Chat]:
        """A client for as long as the block lasts: a server started for it stops at its end.

        For models that are needed once, so that few lie in memory at the same time.
        """
        with local_chat(model, self.profile.server, self.cassette) as chat:
            yield chat

    @property
    def cassette(self) -> Cassette:
        """The calls of this profile on record; ``RAR_CASSETTE`` is live, record or replay."""
        if self._cassette is None:
            mode = os.environ.get("RAR_CASSETTE", "record")
            if mode not in MODES:
                raise CassetteError(f"RAR_CASSETTE is {mode!r}; allowed: {', '.join(MODES)}")
            self._cassette = Cassette(self.calls, mode)
        return self._cassette

    @property
    def train_tasks(self) -> list[Task]:
        """Training tasks, a stratified draw of as many as the profile says."""
        return draw_tasks(self._tasks("train"), self.profile.train_tasks)

    def tasks_for(self, arm: str) -> Sequence[Task]:
        """Training tasks of an arm: the profile's, or for ``rlvr`` multiple choice questions.

        As many as the profile says.

        They are MedMCQA's, because MedQA and MMLU are what chapter 8 evaluates on.
        """
        if arm == "rlvr":
            return load_choices("medmcqa", limit=self.profile.train_tasks)[0]
        return self.train_tasks

    @property
    def test_tasks(self) -> list[Task]:
        """Held-out tasks, a stratified draw of as many as the profile says."""
        return draw_tasks(self._tasks("test"), self.profile.test_tasks)

    def _tasks(self, split: Literal["train", "test"]) -> list[Task]:
        if self.profile.data == "mini":
            return load_mini(split)
        from rar_lib.data.rar import load_rar

        return [
            task
            for name in ("medicine", "science")
            for task in load_rar(name, split, drop_overlap=split == "test", strict=False)[0]
        ]

    @property
    def synthesis_tasks(self) -> list[Task]:
        """Tasks for which rubrics are written: a stratified draw of those of :attr:`pairs`.

        So every pair of theirs that chapter 4 grades under these rubrics is graded under the
        authored one, too.
        """
        paired = {pair.task_id for pair in self.pairs}
        tasks = [task for task in self.embedded_test_tasks if task.id in paired]
        return draw_tasks(tasks, self.profile.synthesis_tasks)

    @property
    def embedded_test_tasks(self) -> list[Task]:
        """The held-out tasks of the embedded set, on which the preference pairs stand."""
        return load_mini("test")

    @property
    def all_tasks(self) -> list[Task]:
        """Every task there is, whatever the profile uses for training."""
        return load_mini("all")

    @property
    def pairs(self) -> list[Pair]:
        """Preference pairs on test tasks, a stratified draw of as many as the profile says; each
        task's first pair comes before any second one."""
        return draw_pairs(load_mini_pairs("test"), self.profile.pairs, self.all_tasks)

    @property
    def val_pairs(self) -> list[Pair]:
        """Preference pairs on val tasks, drawn alike, for fitting thresholds; at most as many as
        `pairs`."""
        return draw_pairs(load_mini_pairs("val"), self.profile.pairs, self.all_tasks)

    def save(self, name: str, value: Any) -> None:
        """Leave a JSON value for later chapters."""
        atomic_write(self.folder / f"{name}.json", json.dumps(value, indent=1))

    def load(self, name: str) -> Any:
        """What an earlier chapter left.

        Raises:
            DataError: that chapter has not been run in this profile, or this one does not say that
                it is after it.
        """
        path = self.folder / f"{name}.json"
        if not path.exists():
            raise DataError(
                f"{path} is missing: an earlier chapter writes it, which must have been run (`make "
                f"reproduce PROFILE={self.profile.name}`) and stand in rar.after of this notebook"
            )
        return json.loads(path.read_text(encoding="utf-8"))

    def close(self) -> None:
        """Stop the servers that this study started."""
        with ExitStack() as every:  # the others, too, if one of them fails
            for until in self._servers.values():
                every.callback(until.close)
        self._chats.clear()
        if self._cassette:
            self._cassette.close()
