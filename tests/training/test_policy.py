"""A policy before its weights are loaded: what it is known by, and what is refused."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import tiny

from rar_lib.book.profiles import load
from rar_lib.core.errors import ArtifactError, DataError
from rar_lib.core.prompts import policy_messages
from rar_lib.core.types import Category, Criterion, Pair, Rubric, Task
from rar_lib.data.questions import load_responses
from rar_lib.models.catalogue import MODELS
from rar_lib.training import policy as policy_module
from rar_lib.training.policy import (
    Likelihoods,
    Policy,
    check_policy,
    end_of_turn,
    identity_of,
    lora_targets,
    name_ends,
    resolve,
    shown_rubric,
    write_responses,
)
from rar_lib.training.settings import Settings

SMOKE = load("smoke").training


def adapter(folder: Path, weights: bytes) -> Path:
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(weights)
    return folder


def test_a_policy_is_known_by_its_weights_and_its_adapter(tmp_path: Path) -> None:
    one = adapter(tmp_path / "one", b"1")
    other = adapter(tmp_path / "other", b"2")
    same = adapter(tmp_path / "same", b"1")
    marks = {
        Policy(SMOKE).mark,
        Policy(SMOKE, adapter=one).mark,
        Policy(SMOKE, adapter=other).mark,
        Policy(load("gpu").training).mark,
    }
    assert len(marks) == 4
    assert Policy(SMOKE, adapter=same).mark == Policy(SMOKE, adapter=one).mark


def test_a_policy_in_another_number_format_gives_other_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    marks = []
    for dtype in ("bfloat16", "float32"):
        monkeypatch.setattr("rar_lib.models.processor.cpu_dtype", lambda dtype=dtype: dtype)
        marks.append(Policy(SMOKE).mark)
    assert len(set(marks)) == 2


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


def test_a_server_that_writes_rollouts_goes_with_transformers() -> None:
    address = "http://10.0.0.7:8000"
    assert resolve("auto", address) == "transformers"
    with pytest.raises(DataError, match=r"'unsloth' writes rollouts itself.*http://10\.0\.0\.7"):
        resolve("unsloth", address)


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
    model = tiny.tiny("llama")
    tokenizer = tiny.tokenizer()
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


def test_an_adapter_goes_on_all_linear_layers_where_the_names_are_others() -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    assert set(lora_targets(tiny.tiny("llama", adapter=False))) == {
        *("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    }
    config = AutoConfig.for_model("gpt2", vocab_size=97, n_embd=24, n_layer=1, n_head=3)
    assert lora_targets(AutoModelForCausalLM.from_config(config)) == "all-linear"


def saved(folder: Path, template: str | None = tiny.TEMPLATE) -> Settings:
    """A tiny model in a folder, as `save_pretrained` writes it."""
    tiny.tiny("llama", adapter=False).save_pretrained(folder)
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    return Settings(device="cpu", policy=str(folder), lora_rank=2)


def test_a_folder_of_ones_own_is_loaded_and_one_without_chat_template_is_refused(
    tmp_path: Path,
) -> None:
    settings = saved(tmp_path / "whole")
    check_policy(settings.policy)
    policy = Policy.fresh(settings, seed=0, backend="transformers")
    assert policy.end_tokens == [tiny.END_OF_TEXT, tiny.END_OF_TURN]
    mute = saved(tmp_path / "mute", template=None)
    with pytest.raises(DataError, match=r"no chat template.*instruction-tuned"):
        Policy.fresh(mute, seed=0, backend="transformers")
    with pytest.raises(DataError, match="no chat template"):
        _ = Policy(mute).model


def test_a_folder_that_is_no_model_says_what_is_missing(tmp_path: Path) -> None:
    def refused(said: str) -> None:
        with pytest.raises(ArtifactError, match=said):
            check_policy(str(tmp_path))

    refused(r"is no model: a policy's folder holds config\.json and \*\.safetensors")
    (tmp_path / "adapter_config.json").write_text("{}")
    refused("it is an adapter: name its base")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    refused("holds no tokenizer")
    (tmp_path / "tokenizer.json").write_text("{}")
    check_policy(str(tmp_path))
    with pytest.raises(ArtifactError, match="could not be loaded as a causal language model"):
        _ = Policy(Settings(device="cpu", policy=str(tmp_path))).model


RULED = Task(
    id="ruled",
    question="w1 w2",
    context="w3 w4 w5",
    reference="w6 w7 w8",
    rubric=Rubric(
        criteria=(Criterion(id="c1", title="C", description="w9 w10", category=Category.ESSENTIAL),)
    ),
)
BARE = Task(id="bare", question="w11", reference="w12")


def pair(task: str, preferred: str, rejected: str, name: str = "p") -> Pair:
    return Pair(
        id=name,
        task_id=task,
        preferred=preferred,
        rejected=rejected,
        axis="accuracy",
        difficulty="obvious",
        gold_preferred={},
        gold_rejected={},
    )


def plain_likelihood(policy: Policy, task: Task, text: str) -> float:
    """The mean log-probability of a text's tokens, one row, by nothing but the model."""
    import torch

    prompt = policy.tokenizer.apply_chat_template(
        policy_messages(task), add_generation_prompt=True, tokenize=False
    )
    before = policy.tokenizer(prompt)["input_ids"]
    own = policy.tokenizer(text)["input_ids"]
    with torch.no_grad():
        logits = policy.model(input_ids=torch.tensor([before + own])).logits[0, len(before) - 1 :]
    every = logits[:-1].log_softmax(-1)
    return float(every[range(len(own)), own].mean())


def test_the_likelihoods_of_given_answers_are_those_of_the_plain_way() -> None:
    made = tiny.policy(SMOKE)
    found = Likelihoods([RULED, BARE], [pair("ruled", "w20 w21", "w22")])(0, made)
    assert set(found["reference"]) == {"ruled", "bare"}
    for task in (RULED, BARE):
        expected = plain_likelihood(made, task, task.reference or "")
        assert found["reference"][task.id] == pytest.approx(expected, abs=1e-3)
    shown = shown_rubric(RULED)
    assert set(found["with_rubric"]) == {"ruled"}  # the other has no rubric
    assert found["with_rubric"]["ruled"] == pytest.approx(
        plain_likelihood(made, shown, "w6 w7 w8"), abs=1e-3
    )
    assert found["with_rubric"]["ruled"] != found["reference"]["ruled"]
    margin = plain_likelihood(made, RULED, "w20 w21") - plain_likelihood(made, RULED, "w22")
    assert found["margin"] == {"p": pytest.approx(margin, abs=1e-3)}


def test_likelihoods_are_measured_at_their_steps_alone() -> None:
    asked = Likelihoods([BARE], steps=(0, 12))
    assert asked(3, Policy(SMOKE)) == {}  # nothing is loaded for it
    made = tiny.policy(SMOKE)
    assert asked(12, made) == asked(0, made) == Likelihoods([BARE])(3, made) != {}


def test_more_answers_than_one_batch_come_back_in_order() -> None:
    made = tiny.policy(SMOKE)
    tasks = [Task(id=f"t{n}", question="w1 " * (1 + n % 5)) for n in range(19)]
    words = [f"w{k}" for k in range(21)]
    texts = [" ".join(words[n : n + 1 + n % 3]) for n in range(19)]
    found = made.log_likelihoods(tasks, texts)
    alone = [made.log_likelihoods([t], [x])[0] for t, x in zip(tasks, texts, strict=True)]
    assert found == pytest.approx(alone, rel=1e-4)
    assert len(set(found)) == 19
    assert made.log_likelihoods([], []) == []


def test_the_rubric_stands_behind_the_notes_and_the_question_stays() -> None:
    shown = shown_rubric(RULED)
    assert policy_messages(shown)[-1]["content"] == (
        "w1 w2\n\nNotes:\nw3 w4 w5\n\nA good answer meets:\n1. [Essential] w9 w10"
    )
    bare = shown_rubric(RULED.model_copy(update={"context": ""}))
    assert bare.context == "A good answer meets:\n1. [Essential] w9 w10"
    assert shown.model_copy(update={"context": RULED.context}) == RULED
    assert shown_rubric(BARE) is BARE


def test_an_answer_without_a_token_and_a_task_without_reference_are_named() -> None:
    with pytest.raises(DataError, match="'bare' is empty"):
        tiny.policy(SMOKE).log_likelihoods([BARE], [""])
    with pytest.raises(DataError, match="'t' has no reference"):
        Likelihoods([Task(id="t", question="Why?")])


def test_likelihoods_are_known_by_their_tasks_and_the_pairs_on_them() -> None:
    first = Likelihoods([RULED], [pair("ruled", "w1", "w2")]).made_of
    assert first == Likelihoods([RULED], [pair("ruled", "w1", "w2"), pair("x", "a", "b")]).made_of
    assert first != Likelihoods([RULED], [pair("ruled", "w1", "w3")]).made_of
    assert first != Likelihoods([RULED]).made_of
    assert Likelihoods([RULED], steps=(0, 3)).made_of != Likelihoods([RULED]).made_of
    assert first != Likelihoods([shown_rubric(RULED)], [pair("ruled", "w1", "w2")]).made_of


class Scribe(Policy):
    """Answers by the question, and counts; the process is killed at a given batch."""

    def __init__(self, dies_at: int = 99) -> None:
        super().__init__(Settings(device="cpu", policy="owner/name"))
        self.batches = 0
        self.dies_at = dies_at

    def answers(self, tasks: Sequence[Task], max_tokens: int) -> dict[str, str]:
        if self.batches == self.dies_at:
            raise KeyboardInterrupt
        self.batches += 1
        return {task.id: f"{task.question} {max_tokens}" for task in tasks}


def test_answering_that_was_stopped_goes_on_where_it_was(tmp_path: Path) -> None:
    tasks = [Task(id=f"t{n}", question=f"Q{n}?") for n in range(40)]
    out = tmp_path / "responses.jsonl"
    with pytest.raises(KeyboardInterrupt):
        write_responses(Scribe(dies_at=2), tasks, out, max_tokens=9)
    assert not out.exists()
    again = Scribe()
    found = write_responses(again, tasks, out, max_tokens=9)
    assert again.batches == 1
    assert [r.text for r in found] == [f"Q{n}? 9" for n in range(40)]
    assert load_responses(out, tasks).items == found
    assert [p.name for p in tmp_path.iterdir()] == ["responses.jsonl"]


def test_answers_of_another_length_or_a_damaged_part_are_not_taken_over(tmp_path: Path) -> None:
    tasks = [Task(id=f"t{n}", question=f"Q{n}?") for n in range(20)]
    out = tmp_path / "r.jsonl"
    part = tmp_path / "r.jsonl.part"
    with pytest.raises(KeyboardInterrupt):
        write_responses(Scribe(dies_at=1), tasks, out, max_tokens=9)
    kept = part.read_text()
    for text in (kept, kept[:50]):
        part.write_text(text)
        longer = Scribe()
        assert write_responses(longer, tasks, out, max_tokens=10)[0].text == "Q0? 10"
        assert longer.batches == 2


def test_a_library_that_configures_the_log_of_the_process_is_undone() -> None:
    root = logging.getLogger()
    before = list(root.handlers), root.level
    with policy_module._without_banners():
        root.addHandler(logging.StreamHandler())
        root.setLevel(logging.INFO)
    assert (list(root.handlers), root.level) == before


def test_what_a_library_prints_of_itself_is_in_the_log_and_not_on_the_page(
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level("DEBUG", logger="rar_lib")
    # A chapter run in this process has left the handler that shows the log on its page.
    monkeypatch.setattr(logging.getLogger("rar_lib"), "handlers", [])
    with policy_module._without_banners():
        print("Unsloth: no GPU found, training on CPU.")
    assert capsys.readouterr().out == ""
    assert "no GPU found" in caplog.text


def _update(device: str, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Any], int]:
    """Gradients of a tiny policy's adapter, and the numbers that were kept for the way back."""
    import torch

    kept = 0

    def count(tensor: Any) -> Any:
        nonlocal kept
        kept += tensor.numel()
        return tensor

    # As a fresh policy is made, but for where its weights lie.
    monkeypatch.setattr(policy_module, "_plain", lambda _: (tiny.tiny("llama", False), None))
    settings = Settings(device=device, lora_rank=3)  # type: ignore[arg-type]
    model = policy_module._with_lora(settings, 0)[0].train()
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:  # zero in a fresh adapter: then its partner has no gradient
            parameter.data.normal_(0.0, 0.3)
    ids = torch.arange(3, 51).view(2, 24)
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    return {n: p.grad for n, p in model.named_parameters() if p.requires_grad}, kept


def test_on_a_gpu_a_layer_is_computed_again_for_the_same_gradients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch = pytest.importorskip("torch")
    whole, much = _update("cpu", monkeypatch)
    again, little = _update("cuda", monkeypatch)
    assert little < much / 2
    assert len(whole) > 0
    for name, gradient in whole.items():
        assert gradient.abs().sum() > 0
        torch.testing.assert_close(again[name], gradient)
