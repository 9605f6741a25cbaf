"""Weights converted: GGUF to bf16, bf16 to int8, each by a program of its own.

``python -m rar_lib.models.convert bf16 GGUF FOLDER`` de-quantises what vLLM, Unsloth and
transformers load. ``python -m rar_lib.models.convert int8 SOURCE FOLDER`` makes the same judge with
half the weights and a faster product, W8A8: each output channel of a projection matrix is rounded
to int8 with a scale of its own, here; the activations of each token are rounded by vLLM while it
runs. No calibration data. Embeddings, output head, norms and biases stay as they are. The result
is a compressed-tensors checkpoint (format ``int-quantized``), which vLLM serves on CPU and GPU.

Each runs in a process of its own, started by `rar_lib.models.store`: it takes several gigabytes,
which must be free again before a judge starts.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from compressed_tensors.quantization import (
    QuantizationConfig,
    QuantizationStatus,
    preset_name_to_scheme,
)
from safetensors import safe_open
from safetensors.torch import save_file
from tokenizers import decoders
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, GgufConfig
from transformers.utils import logging

from rar_lib.core.errors import ArtifactError
from rar_lib.models.store import MARKER

END_OF_TURN = ("<|im_end|>", "<|endoftext|>")  # both end a reply of SmolLM2 and Qwen2.5


def name_ends(tokenizer: Any, gguf: Path) -> list[int]:
    """Give the tokenizer its end-of-turn and padding tokens; the ids that end a reply are returned.

    What transformers reads from a GGUF differs from upstream: SmolLM2 came with
    ``<|im_start|>`` as the end, Qwen2.5 with ``<|endoftext|>``. Trainers cut replies there.

    Raises:
        ArtifactError: the file carries no chat template or none of the known end tokens.
    """
    vocabulary = tokenizer.get_vocab()
    ends = [token for token in END_OF_TURN if token in vocabulary]
    if not tokenizer.chat_template or not ends:
        raise ArtifactError(
            f"{gguf} carries no chat template or none of {END_OF_TURN}; use an instruct model"
        )
    tokenizer.eos_token = ends[0]
    if tokenizer.pad_token is None:  # SmolLM2 names none; upstream pads with the end token
        tokenizer.pad_token = tokenizer.eos_token
    return [vocabulary[token] for token in ends]


def plain_decoder(tokenizer: Any) -> None:
    """Give a byte-level tokenizer the byte-level decoder alone.

    For SmolLM2 transformers puts decoders of another kind of tokenizer before it. Text comes
    out right all the same, but a grammar (structured output) then sees the inner spelling of
    a space as a letter, and can forbid spaces.
    """
    backend = tokenizer.backend_tokenizer
    if "ByteLevel" in str(backend.pre_tokenizer):
        backend.decoder = decoders.ByteLevel()


def convert(gguf: Path, folder: Path) -> None:
    """De-quantise a GGUF file to bf16 and save it with tokenizer, template and end tokens.

    Raises:
        ArtifactError: as `name_ends`.
    """
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    tokenizer: Any = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    ends = name_ends(tokenizer, gguf)
    plain_decoder(tokenizer)
    model: Any = AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        dtype=torch.bfloat16,
        # Without dequantize=True the quantised tensors stay and saving raises.
        quantization_config=GgufConfig(dequantize=True),
    )
    # Only the end tokens: vLLM takes sampling defaults from this file, and ours are explicit.
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=ends,
        pad_token_id=tokenizer.pad_token_id,
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


#: Written anew, or true of the source only.
_NOT_COPIED = ("config.json", "model.safetensors.index.json", MARKER)
#: What is rounded: query, key, value, output, gate, up and down of every layer.
PROJECTION = "_proj.weight"
LEVELS = 127  # symmetric: -128 is left out, so that every value has its negative
#: Weights by channel, activations by token; what is not a projection stays as it is.
SCHEME = QuantizationConfig(
    config_groups={"group_0": preset_name_to_scheme("W8A8", ["Linear"])},
    format="int-quantized",
    quantization_status=QuantizationStatus.COMPRESSED,
    ignore=["lm_head"],
)


def round_channels(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Round each output channel to int8 so that its largest magnitude becomes 127.

    Args:
        weight: shape (outputs, inputs).

    Returns:
        int8 of the same shape, and float32 scales of shape (outputs, 1); their product is the
        weight to within half a scale. A channel of zeros has scale 1.

    Raises:
        ValueError: the weight is not a matrix, or holds NaN or infinity.
    """
    if weight.dim() != 2:
        raise ValueError(f"a projection is a matrix, this has shape {tuple(weight.shape)}")
    exact = weight.float()
    scale = exact.abs().amax(dim=1, keepdim=True) / LEVELS
    if not bool(torch.isfinite(scale).all()):
        raise ValueError("the weight holds NaN or infinity")
    scale[scale == 0] = 1.0
    return (exact / scale).round().clamp(-LEVELS, LEVELS).to(torch.int8), scale


def quantize(source: Path, folder: Path) -> None:
    """Write the int8 form of a converted folder, tokenizer and template included.

    Raises:
        ArtifactError: the source holds no projection matrix, one that cannot be rounded, or a
            model that is quantised already.
    """
    config = json.loads((source / "config.json").read_text("utf-8"))
    if "quantization_config" in config:
        raise ArtifactError(f"{source} is quantised already; give the bf16 folder")
    tensors: dict[str, Tensor] = {}
    rounded = 0
    for file in sorted(source.glob("*.safetensors")):
        with safe_open(file, framework="pt") as weights:
            for name in weights.keys():  # noqa: SIM118 - not a dict, it only has keys()
                tensor = weights.get_tensor(name)
                if not name.endswith(PROJECTION):
                    tensors[name] = tensor
                    continue
                try:
                    tensors[name], tensors[f"{name}_scale"] = round_channels(tensor)
                except ValueError as error:
                    raise ArtifactError(f"{name} in {file}: {error}") from error
                rounded += 1
    if not rounded:
        raise ArtifactError(f"{source} holds no matrix named *{PROJECTION}; nothing to round")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    del tensors
    scheme = SCHEME.model_dump(mode="json", exclude_none=True)
    (folder / "config.json").write_text(
        json.dumps(config | {"quantization_config": scheme}, indent=1), "utf-8"
    )
    for file in source.iterdir():
        if file.suffix != ".safetensors" and file.name not in _NOT_COPIED:
            shutil.copyfile(file, folder / file.name)


PROGRAMS = {"bf16": convert, "int8": quantize}

if __name__ == "__main__":
    PROGRAMS[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
