"""A random model small enough to be held against the plain way, and a tokenizer for it."""

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


#: Like Qwen2.5's: every turn ends with ``<|im_end|>``, a newline behind it.
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
#: Ids of the tokens that end a text and a turn.
END_OF_TEXT = 2
END_OF_TURN = 4


def tokenizer(template: str = TEMPLATE) -> Any:
    """A tokenizer of 97 words, shaped like that of Qwen2.5-7B, a base model.

    Its end token is ``<|endoftext|>``; ``<|im_end|>`` is special, and named by the template alone.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<bos>", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<unk>"]
    words = [*special, *(f"w{n}" for n in range(97 - len(special)))]
    vocabulary = {word: n for n, word in enumerate(words)}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    found = PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<|endoftext|>",
        unk_token="<unk>",
    )
    found.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    found.chat_template = template
    return found


def policy(settings: Any) -> Any:
    """A policy of the tiny model with an adapter, as if it had been loaded from a folder."""
    from rar_lib.training.policy import Policy, name_ends

    made = Policy(settings)
    made._parts = tiny("llama"), tokenizer()
    name_ends(*made._parts)
    return made
