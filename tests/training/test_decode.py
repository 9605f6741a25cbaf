"""Rollouts on a CPU, held against `generate` of transformers on a tiny model."""

from __future__ import annotations

import pytest
from tiny import tiny

from rar_lib.training.decode import Decoder, supported


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
@pytest.mark.parametrize("adapter", [True, False])
def test_the_decoder_writes_what_generate_writes(kind: str, adapter: bool) -> None:
    import torch

    model = tiny(kind, adapter)
    assert supported(model)
    prompts = [[5, 6, 7, 8], [5, 6, 7, 8], [9, 10], [11, 12, 13, 14, 15, 16]]
    new = Decoder(model).generate(prompts, 10, temperature=0, eos=[2])
    for prompt, tokens in zip(prompts, new, strict=True):
        given = torch.tensor([prompt])
        with torch.no_grad():
            made = model.generate(
                input_ids=given,
                attention_mask=torch.ones_like(given),
                max_new_tokens=10,
                do_sample=False,
                eos_token_id=2,
                pad_token_id=0,
            )
        assert tokens == made[0, len(prompt) :].tolist()


def test_a_response_ends_with_its_first_end_token() -> None:
    model = tiny("llama", adapter=False)
    long = Decoder(model).generate([[5, 6, 7]], 10, temperature=0, eos=[])[0]
    ended = Decoder(model).generate([[5, 6, 7]], 10, temperature=0, eos=[long[3]])[0]
    assert ended == long[: long.index(long[3]) + 1]


def test_sampling_follows_the_probabilities_and_the_temperature() -> None:
    import torch

    model = tiny("llama", adapter=False)
    rows = 20_000
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
