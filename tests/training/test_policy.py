"""A policy before its weights are loaded: what it is known by, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import tiny

from rar_lib.book.profiles import load
from rar_lib.core.errors import ArtifactError, DataError
from rar_lib.core.types import Task
from rar_lib.models.catalogue import MODELS
from rar_lib.training.policy import Policy, end_of_turn, identity_of, name_ends, resolve
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
    monkeypatch.setattr(Settings, "answers_at_once", 1)
    assert policy.respond(tasks, 8) == together
    assert policy.answers(tasks[::-1], 8) == dict(zip([t.id for t in tasks], together, strict=True))


def test_the_defaults_are_checked_together() -> None:
    with pytest.raises(ValueError, match=r"max_completion \(64\) must be below context \(64\)"):
        Settings(max_completion=64, context=64)


class Counting(Policy):
    """Writes the question of each task back, and remembers the batches."""

    def _batch(self, tasks: Sequence[Task], max_tokens: int, temperature: float) -> list[str]:
        self.batches = [*getattr(self, "batches", []), len(tasks)]
        return [task.question for task in tasks]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_held_out_answers_come_in_batches_that_the_memory_plan_counts(temperature: float) -> None:
    gpu = Counting(load("gpu").training)
    tasks = [Task(id=f"t{n}", question="Why? " * (1 + n % 7)) for n in range(500)]
    texts = gpu.respond(tasks, 2000, temperature=temperature)
    assert texts == [task.question for task in tasks]
    assert max(gpu.batches) == gpu.settings.answers_at_once == 16
    assert sum(gpu.batches) == 500


def test_a_base_model_under_a_chat_template_ends_at_the_end_of_its_turn() -> None:
    """Qwen2.5-7B in small: the end token of model and tokenizer is that of a text."""
    model, tokenizer = tiny.tiny("llama"), tiny.tokenizer()
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id == tiny.END_OF_TEXT
    name_ends(model, tokenizer)
    base = model.get_base_model()
    assert base.generation_config.eos_token_id == [tiny.END_OF_TEXT, tiny.END_OF_TURN]
    name_ends(model, tokenizer)  # again: nothing changes
    assert base.generation_config.eos_token_id == [tiny.END_OF_TEXT, tiny.END_OF_TURN]


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize("token", [tiny.END_OF_TEXT, tiny.END_OF_TURN])
def test_a_response_ends_at_either_token(
    token: int, quick: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the quick decoder and by transformers: an output layer that always says this token."""
    import torch

    policy = tiny.policy(SMOKE)
    head = policy.model.get_base_model().get_output_embeddings()
    head.bias = torch.nn.Parameter(torch.zeros(97))
    head.bias.data[token] = 1e4
    if not quick:
        monkeypatch.setattr(Policy, "decoder", None)
    written: list[list[int]] = []
    decode = policy.tokenizer.batch_decode
    monkeypatch.setattr(
        policy.tokenizer,
        "batch_decode",
        lambda new, **how: written.extend([list(map(int, row)) for row in new]) or decode(new),
    )
    policy.respond([Task(id="a", question="w1 w2 w3?")], 8)
    assert written == [[token]]


@pytest.mark.parametrize(
    ("template", "token"),
    [
        (tiny.TEMPLATE, tiny.END_OF_TURN),
        (tiny.TEMPLATE.replace("<|im_end|>", "<|endoftext|>"), tiny.END_OF_TEXT),
        (tiny.TEMPLATE.replace("<|im_end|>", " "), None),  # nothing special behind a response
        ("{% for m in messages %}{{ m['content'] }} w1 <|im_end|> <bos> {% endfor %}", 4),
    ],
)
def test_the_end_of_a_turn_is_what_the_template_puts_behind_a_response(
    template: str, token: int | None
) -> None:
    assert end_of_turn(tiny.tokenizer(template)) == token
