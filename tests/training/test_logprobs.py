"""Log-probabilities on a CPU, held against the plain way and the kernel of TRL."""

from __future__ import annotations

from typing import Any

import pytest
from tiny import tiny

from rar_lib.training import logprobs
from rar_lib.training.decode import supported
from rar_lib.training.logprobs import (
    Head,
    Kernel,
    group_logps,
    install,
    kl_to_base,
    likelihoods,
    one_prompt,
    shares_prompts,
    token_logps,
)


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
    ours = gradient(logps)
    theirs = gradient(expected)
    assert len(ours) == len(theirs) > 0
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-5)


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


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("trained", [False, True])
def test_any_output_layer_gives_the_plain_values_and_gradients(
    bias: bool, softcap: float | None, trained: bool
) -> None:
    import torch

    hidden = torch.randn(5, 4, requires_grad=True)
    weight = torch.randn(7, 4, requires_grad=trained)
    shift = torch.randn(7) if bias else None
    labels = torch.tensor([1, 2, 0, 6, 3])
    logits = 0.5 * torch.nn.functional.linear(hidden, weight, shift)
    if softcap:
        logits = softcap * torch.tanh(logits / softcap)
    plain = (logits / 0.7).log_softmax(-1)
    expected = plain.gather(-1, labels[:, None])[:, 0]
    logps, entropy, _, _, top = Kernel.apply(hidden, weight, shift, labels, 0.7, 64, softcap, 0.5)
    torch.testing.assert_close(logps, expected)
    torch.testing.assert_close(entropy, -(plain.exp() * plain).sum(-1))
    torch.testing.assert_close(top, (plain.argmax(-1) == labels).float())
    assert not entropy.requires_grad
    at = [hidden, weight] if trained else [hidden]
    ours = torch.autograd.grad(logps.sum(), at, retain_graph=True)
    for mine, other in zip(ours, torch.autograd.grad(expected.sum(), at), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-6)


def test_a_policy_of_another_shape_is_asked_for_its_own_logits() -> None:
    """GPT-2 has learned places and layer norms, Gemma 2 caps its logits, Phi has a bias there."""
    import torch
    from transformers import AutoModelForCausalLM, Gemma2Config, GPT2Config, PhiConfig

    size = {"vocab_size": 97, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    small = {"intermediate_size": 64, "max_position_embeddings": 64, "pad_token_id": 0}
    configs = [
        GPT2Config(
            vocab_size=97,
            n_embd=32,
            n_layer=2,
            n_head=4,
            n_positions=64,
            bos_token_id=1,
            eos_token_id=2,
        ),
        Gemma2Config(
            **size, **small, num_key_value_heads=2, head_dim=8, final_logit_softcapping=2.0
        ),
        PhiConfig(**size, **small),
    ]
    ids = torch.randint(3, 97, (2, 9))
    mask = torch.ones_like(ids)
    for config in configs:
        model = AutoModelForCausalLM.from_config(config).eval()
        assert not supported(model)
        plain = (model(input_ids=ids, attention_mask=mask).logits[:, -5:-1] / 0.7).log_softmax(-1)
        logps, entropy = token_logps(model, ids, mask, 4, 0.7)
        expected = plain.gather(-1, ids[:, -4:, None])[..., 0]
        torch.testing.assert_close(logps, expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(
            entropy, -(plain.exp() * plain).sum(-1), rtol=1e-4, atol=1e-5, check_stride=False
        )


def test_the_output_layer_works_on_whatever_device_the_policy_is() -> None:
    """On torch's device without numbers: a tensor on the CPU among them would be an error."""
    import torch

    hidden = torch.zeros(100, 8, device="meta", dtype=torch.bfloat16, requires_grad=True)
    weight = torch.zeros(97, 8, device="meta", dtype=torch.bfloat16)
    labels = torch.zeros(100, device="meta", dtype=torch.long)
    found = Head.apply(hidden, weight, labels, 0.7)  # type: ignore[no-untyped-call]
    assert {(part.device.type, part.dtype) for part in found} == {("meta", torch.float32)}
    found[0].sum().backward()
    assert hidden.grad is not None
    assert hidden.grad.device.type == "meta"


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_a_likelihood_is_the_mean_over_the_responses_own_tokens_alone(kind: str) -> None:
    """Rows of different lengths in one batch, each held against itself without any padding."""
    import torch

    model = tiny(kind)
    model.get_base_model().get_output_embeddings().weight.data.mul_(10)  # far from uniform
    model.train()
    prompts = [[5, 6, 7, 8, 9, 10], [11, 12], [13, 14, 15]]
    responses = [[20], [21, 22, 23, 24], [25, 26]]
    found = likelihoods(model, prompts, responses)
    assert model.training  # as it was
    for prompt, response, value in zip(prompts, responses, found, strict=True):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([prompt + response])).logits[0]
        every = logits.log_softmax(-1)
        chosen = [float(every[len(prompt) - 1 + n, token]) for n, token in enumerate(response)]
        assert value == pytest.approx(sum(chosen) / len(chosen), rel=1e-4)
    assert likelihoods(model, prompts[:1], responses[:1])[0] == pytest.approx(found[0], rel=1e-4)


def test_the_kl_to_the_base_is_the_policys_and_in_the_right_direction() -> None:
    """E over the policy's own tokens of exp(d) - d - 1, d = log base - log policy: KL(policy, base)
    (Schulman's k3). With the ratio turned round it would be another number."""
    import torch

    model = tiny("llama")
    # Sharper, so that the two are far apart and the two directions clearly differ.
    model.get_base_model().get_output_embeddings().weight.data.mul_(30)
    prompt = torch.randint(5, 97, (3, 4))
    said = torch.randint(5, 97, (3, 6))
    mask = torch.tensor([[1] * 6, [1] * 4 + [0] * 2, [1] * 6])
    batch = {
        "prompt_ids": prompt,
        "prompt_mask": torch.ones_like(prompt),
        "completion_ids": said,
        "completion_mask": mask,
    }
    ids = torch.cat([prompt, said], 1)
    seen = torch.cat([torch.ones_like(prompt), mask], 1)

    def plain() -> Any:
        logits = model(input_ids=ids, attention_mask=seen).logits[:, 3:-1]
        chosen = logits.log_softmax(-1).gather(-1, said[..., None])[..., 0]
        return chosen[mask.bool()]

    with torch.no_grad():
        policy = plain()
        with model.disable_adapter():
            gaps = plain() - policy
    expected, reverse = (float((x.exp() - x - 1).mean()) for x in (gaps, -gaps))
    assert kl_to_base(model, batch) == pytest.approx(expected, rel=1e-3)
    assert abs(reverse - expected) > 0.2 * expected


# --- one prompt for a group ----------------------------------------------------------------------


def a_group(pad: int) -> tuple[Any, Any]:
    """Four rollouts to one prompt of 3 tokens: full, shorter, of one token, and left out whole."""
    import torch

    torch.manual_seed(1)
    prompt = torch.tensor([[0] * pad + [5, 6, 7]] * 4)
    said = torch.randint(5, 97, (4, 5))
    kept = torch.tensor([[1] * 5, [1] * 3 + [0] * 2, [1] + [0] * 4, [0] * 5])
    seen = torch.cat([torch.tensor([[0] * pad + [1] * 3] * 4), kept], 1)
    return torch.cat([prompt, said], 1), seen


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
@pytest.mark.parametrize("pad", [0, 2])
def test_a_prompt_read_once_gives_what_reading_it_for_each_rollout_gives(
    kind: str, pad: int
) -> None:
    """Log-probabilities, entropies, and the gradient of every weight of the adapter."""
    import torch

    model = tiny(kind)
    model.get_base_model().get_output_embeddings().weight.data.mul_(10)  # far from uniform
    assert shares_prompts(model)
    ids, mask = a_group(pad)
    assert one_prompt(ids, mask, 5)
    found = []
    for way in (token_logps, group_logps):
        model.zero_grad()
        logps, entropy = way(model, ids, mask, 5, 0.7)
        (logps * torch.arange(20.0).reshape(4, 5)).sum().backward()
        grads = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
        found.append((logps.detach(), entropy, grads))
    (logps, entropy, grads), (packed, packed_entropy, packed_grads) = found
    torch.testing.assert_close(packed, logps, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(packed_entropy, entropy, rtol=1e-4, atol=1e-4)
    assert logps[3].tolist() == [0.0] * 5
    assert logps[0].abs().min() > 0
    assert grads.keys() == packed_grads.keys()
    assert grads
    for name, grad in grads.items():
        torch.testing.assert_close(
            packed_grads[name], grad, rtol=1e-3, atol=1e-3 * grad.abs().max()
        )


def test_a_rollout_does_not_see_its_neighbours() -> None:
    """Another first rollout changes nothing of the second."""
    import torch

    model = tiny("llama")
    (ids, mask) = a_group(0)
    other = ids.clone()
    other[0, 3:] = torch.tensor([90, 91, 92, 93, 94])
    one, two = (group_logps(model, rows, mask, 5)[0] for rows in (ids, other))
    torch.testing.assert_close(one[1:], two[1:])
    assert not torch.allclose(one[0], two[0])


@pytest.mark.parametrize(
    ("what", "shared"),
    [
        ("one prompt", True),
        ("another token", False),
        ("another padding", False),
        ("a single row", False),
        ("no prompt", False),
        ("another token under the padding", True),
        ("too long to be one row", False),
    ],
)
def test_what_one_prompt_is(what: str, shared: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    ids, mask = a_group(1)
    if what == "another token":
        ids[2, 2] = 50
    elif what == "another padding":
        mask[2, 1] = 0
    elif what == "a single row":
        ids = ids[:1]
        mask = mask[:1]
    elif what == "no prompt":
        mask[:, :4] = 0
    elif what == "another token under the padding":
        ids[2, 0] = 50
    elif what == "too long to be one row":
        monkeypatch.setattr(logprobs, "_PACKED", 11)  # 3 of the prompt, 5 + 3 + 1 of the responses
    assert one_prompt(ids, mask, 5) is shared


def test_other_models_read_every_prompt() -> None:
    """A cap on the logits, another attention, another family."""
    assert shares_prompts(tiny("llama", adapter=False))
    for name, value in (
        ("final_logit_softcapping", 30.0),
        ("_attn_implementation", "eager"),
        ("model_type", "gemma2"),
    ):
        model = tiny("llama")
        setattr(model.get_base_model().config, name, value)
        assert not shares_prompts(model), name


def test_a_likelihood_is_the_same_where_the_prompt_is_shared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny("llama")
    prompts = [[5, 6, 7]] * 3
    responses = [[20], [21, 22, 23, 24], [25, 26]]
    shared = likelihoods(model, prompts, responses)
    monkeypatch.setattr(logprobs, "shares_prompts", lambda model: False)
    assert shared == pytest.approx(likelihoods(model, prompts, responses), rel=1e-5)


@pytest.mark.parametrize("scaled", [False, True])
def test_entropies_are_in_single_precision_also_where_products_are_rounded(scaled: bool) -> None:
    """Under autocast a vecdot would be one of bfloat16, whose error is that of two digits."""
    import torch

    model = tiny("llama")
    model.get_base_model().get_output_embeddings().weight.data.mul_(30)
    if scaled:  # another output layer: the logits are there
        model.get_base_model().config.logit_scale = 1.0
    ids, mask = a_group(0)
    plain = token_logps(model, ids, mask, 5)[1]
    hidden_too = model.get_base_model().get_output_embeddings()
    with torch.autocast("cpu", torch.bfloat16):
        logits = hidden_too(torch.randn(7, 24)).float()
        read = logprobs._read_off(logits, torch.zeros(7, dtype=torch.long))[1]
        rounded = token_logps(model, ids, mask, 5)[1]
    every = logits.log_softmax(-1)
    torch.testing.assert_close(read, -(every.exp() * every).sum(-1))
    assert read.dtype == rounded.dtype == plain.dtype == torch.float32
