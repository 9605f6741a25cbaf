"""Log-probabilities, their gradient, and decoding, held against the plain way on a tiny model."""

from __future__ import annotations

from typing import Any

import pytest

from rar_lib.core.errors import DataError
from rar_lib.data.tasks import load_mini
from rar_lib.training.decode import Decoder, supported
from rar_lib.training.logprobs import Kernel, install, token_logps
from rar_lib.training.train import schedule


def tiny(kind: str, adapter: bool = True) -> Any:
    """A random model of 2 layers with 3 heads over 1 key head, in single precision."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = AutoConfig.for_model(
        kind, vocab_size=97, hidden_size=24, intermediate_size=40, num_hidden_layers=2,
        num_attention_heads=3, num_key_value_heads=1, max_position_embeddings=64,
        pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config).eval()
    if adapter:
        names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
        model = get_peft_model(model, LoraConfig(r=3, lora_alpha=6, target_modules=names))
    for parameter in model.parameters():
        if parameter.requires_grad or parameter.ndim == 1:  # adapter, and the biases of Qwen2
            parameter.data.normal_(0.5 if parameter.ndim == 1 else 0.0, 0.3)
    return model.eval()


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_log_probabilities_and_gradients_are_those_of_the_plain_way(kind: str) -> None:
    import torch

    model = tiny(kind)
    ids = torch.randint(3, 97, (3, 9))
    mask = torch.tensor([[0, 0, 1, 1, 1, 1, 1, 1, 0], [1] * 9, [0, 1, 1, 1, 1, 1, 0, 0, 0]])
    weights = torch.randn(3, 4) * mask[:, -4:]

    def gradient(logps: Any) -> list[Any]:
        model.zero_grad()
        (logps * weights).sum().backward()
        return [p.grad.clone() for p in model.parameters() if p.grad is not None]

    logits = model(input_ids=ids, attention_mask=mask).logits[:, -5:-1] / 0.7
    plain = logits.log_softmax(-1)
    expected = plain.gather(-1, ids[:, -4:, None])[..., 0]
    logps, entropy = token_logps(model, ids, mask, 4, 0.7)
    kept = mask[:, -4:].bool()
    torch.testing.assert_close(logps[kept], expected[kept], rtol=1e-4, atol=1e-5)
    spread = -(plain.exp() * plain).sum(-1)
    torch.testing.assert_close(entropy[kept], spread[kept], rtol=1e-4, atol=1e-5)
    assert not logps[~kept].any()
    ours, theirs = gradient(logps), gradient(expected)
    assert len(ours) == len(theirs) > 0
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
@pytest.mark.parametrize("adapter", [True, False])
def test_the_decoder_writes_what_generate_writes(kind: str, adapter: bool) -> None:
    import torch

    model = tiny(kind)
    assert supported(model)
    prompts = [[5, 6, 7, 8], [5, 6, 7, 8], [9, 10], [11, 12, 13, 14, 15, 16]]
    new = Decoder(model).generate(prompts, 10, temperature=0, eos=[2], adapter=adapter)
    for prompt, tokens in zip(prompts, new, strict=True):
        given = torch.tensor([prompt])
        context = model.disable_adapter() if not adapter else torch.no_grad()
        with context, torch.no_grad():
            made = model.generate(
                input_ids=given, attention_mask=torch.ones_like(given), max_new_tokens=10,
                do_sample=False, eos_token_id=2, pad_token_id=0,
            )  # fmt: skip
        assert tokens == made[0, len(prompt) :].tolist()


def test_a_response_ends_with_its_first_end_token() -> None:
    model = tiny("llama", adapter=False)
    long = Decoder(model).generate([[5, 6, 7]], 10, temperature=0, eos=[])[0]
    ended = Decoder(model).generate([[5, 6, 7]], 10, temperature=0, eos=[long[3]])[0]
    assert ended == long[: long.index(long[3]) + 1]


def test_sampling_follows_the_probabilities_and_the_temperature() -> None:
    import torch

    model, rows = tiny("llama", adapter=False), 20_000
    logits = model(input_ids=torch.tensor([[5, 6, 7]])).logits[0, -1].float()
    for temperature in (1.0, 0.5):
        torch.manual_seed(0)
        prompts = [[5, 6, 7]] * rows
        made = Decoder(model).generate(prompts, 1, temperature=temperature, eos=[2])
        counts = torch.bincount(torch.tensor(made)[:, 0], minlength=97)
        expected = (logits / temperature).softmax(-1)
        error = (expected * (1 - expected) / rows).sqrt() + 1e-4
        assert ((counts / rows - expected).abs() < 5 * error).all()


def test_other_architectures_are_left_to_the_general_way() -> None:
    model = tiny("llama", adapter=False)
    model.config.model_type = "gemma"
    assert not supported(model)


def test_trl_takes_the_kernel_and_computes_the_same_with_it() -> None:
    import torch
    import trl.trainer.utils as trl_utils

    install()
    assert torch.cuda.is_available() or trl_utils._ChunkedLogProbFunction is Kernel
    model = tiny("llama", adapter=False)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    ids = torch.randint(3, 97, (2, 9))
    plain = model(input_ids=ids).logits[:, :-1].log_softmax(-1)
    trl_utils.add_fused_lm_head(model, outputs=("log_probs", "entropy", "is_top1"))
    labels = ids.masked_fill(torch.arange(9) < 5, -100)
    out = model(input_ids=ids, labels=labels, fused_lm_head=True)
    expected = plain.gather(-1, ids[:, 1:, None])[..., 0]
    torch.testing.assert_close(out.log_probs[:, 4:], expected[:, 4:], rtol=1e-4, atol=1e-5)
    assert not out.log_probs[:, :4].any()
    top = (plain.argmax(-1) == ids[:, 1:]).float()
    torch.testing.assert_close(out.is_top1[:, 4:], top[:, 4:])


def test_a_trained_output_layer_is_refused_rather_than_left_without_gradient() -> None:
    import torch

    weight = torch.randn(7, 4, requires_grad=True)
    with pytest.raises(NotImplementedError, match="must be frozen"):
        Kernel.apply(torch.randn(2, 4), weight, None, torch.tensor([1, 2]), 1.0, 64)


def test_the_schedule_gives_every_round_an_order_of_its_own() -> None:
    tasks = load_mini("train")[:8]
    order = [t.id for t in schedule(tasks, 10, prompts=4, seed=0)]
    rounds = [order[n : n + 8] for n in range(0, 40, 8)]
    assert all(sorted(r) == sorted(t.id for t in tasks) for r in rounds)
    assert len({tuple(r) for r in rounds}) == 5
    assert [t.id for t in schedule(tasks, 10, prompts=4, seed=0)] == order
    assert [t.id for t in schedule(tasks, 10, prompts=4, seed=1)] != order
    assert [t.id for t in schedule(tasks, 3, prompts=4, seed=0)] == order[
        :12
    ]  # more steps go on alike


def test_tasks_that_do_not_fill_a_step_wait_and_no_step_has_one_twice() -> None:
    order = [t.id for t in schedule(load_mini("train")[:5], 50, prompts=2, seed=0)]
    assert len(order) == 100
    assert all(len(set(order[n : n + 2])) == 2 for n in range(0, 100, 2))
    assert all(len(set(order[n : n + 4])) == 4 for n in range(0, 100, 4))
    assert len(set(order)) == 5
    with pytest.raises(DataError, match="3 tasks do not fill a step of 4 prompts"):
        schedule(load_mini("train")[:3], 1, prompts=4, seed=0)
