"""A policy before its weights are loaded: what it is known by, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from rar_lib.book.profiles import load
from rar_lib.core.errors import ArtifactError, DataError
from rar_lib.core.types import Task
from rar_lib.models.catalogue import MODELS
from rar_lib.training.policy import Policy, identity_of, resolve
from rar_lib.training.settings import Settings

SMOKE = load("smoke").training


def adapter(folder: Path, weights: bytes) -> Path:
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(weights)
    return folder


def test_a_policy_is_known_by_its_weights_and_its_adapter(tmp_path: Path) -> None:
    one, other = adapter(tmp_path / "one", b"1"), adapter(tmp_path / "other", b"2")
    same = adapter(tmp_path / "same", b"1")
    marks = {
        Policy(SMOKE).mark,
        Policy(SMOKE, adapter=one).mark,
        Policy(SMOKE, adapter=other).mark,
        Policy(load("gpu").training).mark,
    }
    assert len(marks) == 4
    assert Policy(SMOKE, adapter=same).mark == Policy(SMOKE, adapter=one).mark


def test_pinned_weights_are_known_by_their_hash_and_a_folder_by_its_files(tmp_path: Path) -> None:
    assert identity_of("smollm2-135m") == MODELS["smollm2-135m"].identity
    assert identity_of("someone/model") == "someone/model"
    (tmp_path / "model.safetensors").write_bytes(b"123")
    before = identity_of(str(tmp_path))
    assert before.startswith(f"{tmp_path.name} ")
    (tmp_path / "model.safetensors").write_bytes(b"124")  # trained further, as large as it was
    assert identity_of(str(tmp_path)) != before


def test_a_missing_adapter_is_named_before_anything_is_loaded(tmp_path: Path) -> None:
    policy = Policy(SMOKE, adapter=tmp_path)
    with pytest.raises(ArtifactError, match=r"holds no adapter_model\.safetensors"):
        policy.respond([Task(id="a", question="Why?")], 8)
    with pytest.raises(ArtifactError, match=r"holds no adapter_model\.safetensors"):
        _ = policy.mark


def test_an_unknown_backend_is_named() -> None:
    with pytest.raises(DataError, match="no backend 'jax'; choose one of: auto, unsloth"):
        resolve("jax")  # type: ignore[arg-type]


@pytest.mark.model
def test_batches_and_order_do_not_change_a_greedy_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = Policy(SMOKE)
    words = ("Why is the sky blue?", "Name a noble gas.", "What melts ice on a road in winter?")
    tasks = [Task(id=f"t{n}", question=text) for n, text in enumerate(words)]
    together = policy.respond(tasks, 8)
    monkeypatch.setattr("rar_lib.training.policy._BATCH", 1)
    assert policy.respond(tasks, 8) == together
    assert policy.answers(tasks[::-1], 8) == dict(zip([t.id for t in tasks], together, strict=True))


def test_the_defaults_are_checked_together() -> None:
    with pytest.raises(ValueError, match=r"max_completion \(64\) must be below context \(64\)"):
        Settings(max_completion=64, context=64)
