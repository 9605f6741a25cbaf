"""What every notebook needs: the profile, its data, its models, and a folder for results.

study = Study.open(profile)
judge = Judge(study.chat("qwen-1.5b"))
"""

from __future__ import annotations

import atexit
import json
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from rar_lib.atomic import atomic_write
from rar_lib.chat import Chat
from rar_lib.data import load_mini, load_mini_pairs
from rar_lib.errors import DataError
from rar_lib.profiles import Profile, load
from rar_lib.types import Pair, Task


@dataclass
class Study:
    """One profile's run of the book.

    Attributes:
        folder: where chapters leave JSON for later chapters.
    """

    profile: Profile
    folder: Path
    _servers: ExitStack = field(default_factory=ExitStack, repr=False)
    _chats: dict[str, Chat] = field(default_factory=dict, repr=False)

    @staticmethod
    def open(profile: str, build: Path | None = None) -> Study:
        """The study of a profile; servers that it starts stop with the process.

        Args:
            build: folder of results, ``_build`` of the checkout by default, so that a notebook
                finds it from whatever folder it was opened in.

        Raises:
            DataError: there is no such profile.
        """
        root = build or _checkout() / "_build"
        study = Study(load(profile), root / profile / "data")
        if study.profile.device == "cpu":
            # The models are files on this machine; nothing should ask the hub.
            os.environ["HF_HUB_OFFLINE"] = "1"
        atexit.register(study.close)
        return study

    def chat(self, model: str) -> Chat:
        """A client for a model, whose local server is started unless it runs already."""
        if model not in self._chats:
            self._chats[model] = self._servers.enter_context(self.serving(model))
        return self._chats[model]

    @contextmanager
    def serving(self, model: str) -> Iterator[Chat]:
        """A client for as long as the block lasts: a server started for it stops at its end.

        For models that are needed once, so that few lie in memory at the same time.
        """
        from rar_lib.server import serve

        with serve(model, device=self.profile.device) as endpoint:
            yield Chat(endpoint.base_url, endpoint.model, weights=endpoint.weights)

    def policy(self) -> Path | str:
        """Weights of the policy: a local folder, or a hub id on the gpu profile."""
        if self.profile.device == "cuda":
            return self.profile.policy
        from rar_lib.artifacts import model_dir

        return model_dir(self.profile.policy)

    @property
    def train_tasks(self) -> list[Task]:
        """Training tasks, medicine and science in turn, as many as the profile says."""
        return _alternate(load_mini("train"))[: self.profile.train_tasks]

    @property
    def test_tasks(self) -> list[Task]:
        """Held-out tasks, medicine and science in turn, as many as the profile says."""
        return _alternate(load_mini("test"))[: self.profile.test_tasks]

    @property
    def all_tasks(self) -> list[Task]:
        """Every task there is, whatever the profile uses for training."""
        return load_mini("all")

    @property
    def pairs(self) -> list[Pair]:
        """Preference pairs, as many as the profile says."""
        return _alternate(load_mini_pairs("all"))[: self.profile.pairs]

    def save(self, name: str, value: Any) -> None:
        """Leave a JSON value for later chapters."""
        atomic_write(self.folder / f"{name}.json", json.dumps(value, indent=1))

    def load(self, name: str) -> Any:
        """What an earlier chapter left.

        Raises:
            DataError: that chapter has not been run in this profile.
        """
        path = self.folder / f"{name}.json"
        if not path.exists():
            raise DataError(
                f"{path} is missing: an earlier chapter writes it; "
                f"run `make reproduce PROFILE={self.profile.name}`"
            )
        return json.loads(path.read_text(encoding="utf-8"))

    def close(self) -> None:
        """Stop the servers that this study started."""
        self._servers.close()
        self._chats.clear()


def _checkout() -> Path:
    """The folder that holds this library, if it is a checkout; else the working folder."""
    here = Path(__file__).resolve().parents[1]
    return here if (here / "notebooks").is_dir() else Path.cwd()


T = TypeVar("T", bound=Task | Pair)


def _alternate(items: list[T]) -> list[T]:
    """Medicine and science in turn, so that a short prefix holds both."""
    medicine = [i for i in items if "-med-" in i.id]
    science = [i for i in items if "-med-" not in i.id]
    longest = max(len(medicine), len(science))
    return [i for n in range(longest) for i in (*medicine[n : n + 1], *science[n : n + 1])]
