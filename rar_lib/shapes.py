"""The sizes inside the models, from their config.json: what memory is computed from.

A test compares the counts with the weight files of this project and with the totals that the
hub publishes.
"""

from __future__ import annotations

from dataclasses import dataclass

from rar_lib.errors import DataError
from rar_lib.models import MODELS

BF16, FP32 = 2, 4


@dataclass(frozen=True)
class Shape:
    """Sizes from a model's ``config.json``; ``qkv_bias`` is Qwen2's, ``tied`` shares the
    embedding with the output layer."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head: int
    intermediate: int
    vocabulary: int
    tied: bool = False
    qkv_bias: bool = True

    @property
    def projections(self) -> tuple[tuple[int, int], ...]:
        """(outputs, inputs) of query, key, value, output, gate, up and down of one layer."""
        d, q, kv, i = self.hidden, self.heads * self.head, self.kv, self.intermediate
        return (q, d), (kv, d), (kv, d), (d, q), (i, d), (i, d), (d, i)

    @property
    def kv(self) -> int:
        """Width of the keys of one token in one layer."""
        return self.kv_heads * self.head

    @property
    def projected(self) -> int:
        """Parameters of the projection matrices: what is quantised."""
        return self.layers * sum(o * i for o, i in self.projections)

    @property
    def parameters(self) -> int:
        """All parameters as stored: tied embeddings once."""
        bias = self.heads * self.head + 2 * self.kv if self.qkv_bias else 0
        norms = (2 * self.layers + 1) * self.hidden
        embedding = self.vocabulary * self.hidden * (1 if self.tied else 2)
        return self.projected + self.layers * bias + norms + embedding

    @property
    def token_bytes(self) -> int:
        """Bytes of the keys and values of one token in bf16."""
        return 2 * self.layers * self.kv * BF16

    def adapter(self, rank: int) -> int:
        """Parameters of a LoRA adapter on every projection."""
        return self.layers * sum(rank * (o + i) for o, i in self.projections)

    def int8_bytes(self) -> int:
        """Bytes of the tensors of :mod:`rar_lib.quantize`: one fp32 scale an output channel."""
        scales = self.layers * sum(o for o, _ in self.projections)
        return self.projected + scales * FP32 + (self.parameters - self.projected) * BF16


def _qwen(
    layers: int, hidden: int, heads: int, kv_heads: int, intermediate: int, vocabulary: int = 152064
) -> Shape:
    return Shape(layers, hidden, heads, kv_heads, hidden // heads, intermediate, vocabulary)


_3B = Shape(36, 2048, 16, 2, 128, 11008, 151936, tied=True)
_7B, _14B = _qwen(28, 3584, 28, 4, 18944), _qwen(48, 5120, 40, 8, 13824)
_32B = _qwen(64, 5120, 40, 8, 27648)
#: From config.json of the repository of that name on the hub; of a local model, from that of
#: its converted folder (its GGUF file holds the output layer apart from the embedding).
SHAPES = {
    "smollm2-135m": Shape(30, 576, 9, 3, 64, 1536, 49152, tied=True, qkv_bias=False),
    "qwen-0.5b": _qwen(24, 896, 14, 2, 4864, 151936),
    "qwen-1.5b": _qwen(28, 1536, 12, 2, 8960, 151936),
    "Qwen/Qwen2.5-3B": _3B,
    "Qwen/Qwen2.5-3B-Instruct": _3B,
    "Qwen/Qwen2.5-7B": _7B,
    "Qwen/Qwen2.5-7B-Instruct": _7B,
    "Qwen/Qwen2.5-14B": _14B,
    "Qwen/Qwen2.5-14B-Instruct": _14B,
    "Qwen/Qwen2.5-32B": _32B,
    "Qwen/Qwen2.5-32B-Instruct": _32B,
}


def shape(model: str) -> Shape:
    """The shape of a model by its name; int8 has that of the model it is made from.

    Raises:
        DataError: its config.json has not been entered here.
    """
    name = MODELS[model].base or model if model in MODELS else model
    if name not in SHAPES:
        raise DataError(
            f"the shape of {model!r} is not known: add its config.json to SHAPES in "
            f"rar_lib/shapes.py, or choose from: {', '.join(SHAPES)}"
        )
    return SHAPES[name]
