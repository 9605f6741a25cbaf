"""A random model small enough to be held against the plain way of computing it."""

from __future__ import annotations

from typing import Any


def tiny(kind: str, adapter: bool = True) -> Any:
    """A random model of 2 layers with 3 heads over 1 key head, in single precision."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = AutoConfig.for_model(
        kind,
        vocab_size=97,
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=3,
        num_key_value_heads=1,
        max_position_embeddings=64,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    model = AutoModelForCausalLM.from_config(config).eval()
    if adapter:
        names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
        model = get_peft_model(model, LoraConfig(r=3, lora_alpha=6, target_modules=names))
    for parameter in model.parameters():
        if parameter.requires_grad or parameter.ndim == 1:  # adapter, and the biases of Qwen2
            parameter.data.normal_(0.5 if parameter.ndim == 1 else 0.0, 0.3)
    return model.eval()
