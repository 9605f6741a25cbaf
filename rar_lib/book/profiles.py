"""A profile says how much is run, on which models; `profiles.toml` holds them all."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from rar_lib.core.errors import DataError
from rar_lib.core.types import Frozen
from rar_lib.models.processor import suited
from rar_lib.models.vllm_args import KV_CACHE_GB
from rar_lib.training.settings import Count, Settings

FILE = Path(__file__).with_name("profiles.toml")


class Profile(Frozen):
    """One table of `profiles.toml`.

    A model is the short name of an artifact, or on ``cuda`` a hub id ``owner/name``.

    Attributes:
        lock: Environment lock: ``env/<lock>.txt``.
        training: What a policy is trained with; its device is that of every model.
        judges: Judges compared with one another, small to large.
        judge: The one of them that gives the rewards.
        synthesizer: Model that writes rubrics.
        servers: Models that `rar reproduce` serves for all notebooks together.
        train_tasks: Tasks used for training.
        test_tasks: Tasks held out.
        data: ``mini`` is the embedded set; ``released`` trains on RaR-Medicine and RaR-Science.
        rubric_size: Fewest and most criteria of a synthetic rubric, besides one or two pitfalls.
        synthesis_tasks: Tasks for which every judge of the profile writes rubrics.
        pairs: Preference pairs on which the judges are measured.
        likelihood_questions: Most multiple-choice questions of a set that are read by likelihood.
            Reading writes nothing, so there can be more of them than of those that are answered
            by a letter.
        seeds: One training run for each.
        cell_timeout_s: Longest a notebook cell may run, in seconds.
    """

    name: str
    lock: Literal["laptop", "gpu"]
    training: Settings
    judges: Annotated[tuple[str, ...], Field(min_length=1)]
    judge: str
    synthesizer: str
    servers: tuple[str, ...]
    train_tasks: Count
    test_tasks: Count
    data: Literal["mini", "released"]
    rubric_size: tuple[Count, Count]
    synthesis_tasks: Count
    pairs: Count
    likelihood_questions: Count
    seeds: Annotated[tuple[int, ...], Field(min_length=1)]
    cell_timeout_s: Count

    @model_validator(mode="after")
    def _fits_together(self) -> Profile:
        if self.judge not in self.judges:
            raise ValueError(f"judge {self.judge!r} must be one of judges {list(self.judges)}")
        if self.training.prompts_per_step > self.train_tasks:
            raise ValueError(
                f"prompts_per_step ({self.training.prompts_per_step}) must not exceed train_tasks "
                f"({self.train_tasks})"
            )
        return self

    @property
    def device(self) -> Literal["cpu", "cuda"]:
        """Where the models run."""
        return self.training.device

    @property
    def watching(self) -> tuple[str, ...]:
        """The judges that give no reward, large to small."""
        return tuple(name for name in reversed(self.judges) if name != self.judge)

    @property
    def hold_out(self) -> str | None:
        """The judge that gives no reward and watches the training, if there is one."""
        return self.watching[0] if self.watching else None

    @property
    def models(self) -> tuple[str, ...]:
        """Every model the profile names, once each."""
        named = (self.training.policy, *self.judges, self.judge, self.synthesizer, *self.servers)
        return tuple(dict.fromkeys(named))

    @property
    def server(self) -> dict[str, Any]:
        """Settings of every judge server: see `rar_lib.models.server.serve`.

        On a GPU a judge reads a question and a response that fill the policy's context, and
        the rubric, a reference and its instructions besides.
        """
        if self.device == "cpu":
            return {"device": "cpu", "max_model_len": 2048, "kv_cache_gb": KV_CACHE_GB}
        return {"device": "cuda", "max_model_len": self.training.context + 1536, "kv_cache_gb": 4.0}


def load(name: str, file: Path = FILE) -> Profile:
    """The profile of that name, with models that suit this processor.

    Where int8 is no gain the model that an int8 one is made from takes its place, and its name
    (:func:`rar_lib.models.processor.suited`).

    Raises:
        DataError: unknown name, or a key or value that a profile does not have.
    """
    values = _resolve(name, _tables(file), file, ())
    try:
        return Profile.model_validate({"name": name, **_suited(values)})
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc'])) or 'profile'}: {fault['msg']}"
            for fault in error.errors()
        )
        raise DataError(
            f"profile {name!r} in {file.name}: {faults}. The keys are those of Profile: "
            f"{', '.join(k for k in Profile.model_fields if k != 'name')}; those of training: "
            f"{', '.join(Settings.model_fields)}"
        ) from error


def _suited(values: dict[str, Any]) -> dict[str, Any]:
    """The same values with every local model replaced by the one that suits this processor."""
    found = dict(values)
    for key in ("judge", "synthesizer"):
        if isinstance(found.get(key), str):
            found[key] = suited(found[key])
    for key in ("judges", "servers"):
        if isinstance(found.get(key), list):
            found[key] = list(dict.fromkeys(map(suited, found[key])))
    return found


def _tables(file: Path) -> dict[str, dict[str, Any]]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"{file.name} is not valid TOML: {error}") from error


def _resolve(
    name: str, tables: dict[str, dict[str, Any]], file: Path, seen: tuple[str, ...]
) -> dict[str, Any]:
    if name not in tables:
        asked = f"{seen[-1]!r} is like " if seen else ""
        raise DataError(
            f"{asked}profile {name!r}, which {file.name} does not have; choose one of: "
            f"{', '.join(tables)}"
        )
    if name in seen:
        raise DataError(f"{file.name}: `like` goes in a circle: {' -> '.join((*seen, name))}")
    own = dict(tables[name])
    like = own.pop("like", None)
    if like is None:
        return own
    copied = _resolve(str(like), tables, file, (*seen, name))
    training = {**copied.get("training", {}), **own.get("training", {})}
    return {**copied, **own, "training": training}
