"""Rollouts of a policy on a CPU: a decode loop for Llama-shaped policies with a LoRA adapter.

A general ``generate`` spends most of a small model's step outside of arithmetic: every
projection passes through the adapter's wrapper, and the sampler draws a random number for
each entry of the vocabulary. Here projections that share an input are one product with the
adapter beside it (never merged: in bfloat16 a young adapter is smaller than the rounding of
the weights), a group's prompt is read once, and a token costs one random number. The
distribution is the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Projection(NamedTuple):
    """One or more linear layers on the same input: ``x W' + b + (x A') B'``."""

    weight: Tensor
    bias: Tensor | None
    down: Tensor | None
    up: Tensor | None

    def __call__(self, x: Tensor) -> Tensor:

        y = F.linear(x, self.weight, self.bias)
        if self.down is not None and self.up is not None:
            y += F.linear(F.linear(x, self.down), self.up)
        return y


class Block(NamedTuple):
    """One transformer layer."""

    before: Tensor
    qkv: Projection
    out: Projection
    after: Tensor
    gate_up: Projection
    down: Projection


class Cache(NamedTuple):
    """Keys and values of every layer, each (rows, key heads, places, head size)."""

    layers: list[tuple[Tensor, Tensor]]

    @classmethod
    def empty(cls, layers: int, shape: tuple[int, ...], dtype: torch.dtype) -> Cache:
        """Room for prompts and responses; places are filled from the left."""
        made = range(layers)
        return cls(
            [(torch.zeros(shape, dtype=dtype), torch.zeros(shape, dtype=dtype)) for _ in made]
        )

    def shared_out(self, repeats: Tensor) -> Cache:
        """Each row as often as ``repeats``, (rows,), says."""
        return Cache(
            [
                (keys.repeat_interleave(repeats, 0), values.repeat_interleave(repeats, 0))
                for keys, values in self.layers
            ]
        )


class _Read(NamedTuple):
    """What reading the prompts left, one row a response.

    Attributes:
        logits: behind each prompt, (rows, vocabulary).
        seen: places that may be attended to, (rows, width + longest response).
        length: tokens of each prompt without padding, (rows,).
        width: places that the padded prompts take.
    """

    logits: Tensor
    cache: Cache
    seen: Tensor
    length: Tensor
    width: int


def supported(model: Any) -> bool:
    """Whether this loop knows the model: Llama or Qwen2 without sliding window, on a CPU."""
    config = model.config
    known = config.model_type in ("llama", "qwen2") and not getattr(
        config, "use_sliding_window", False
    )
    return known and model.device.type == "cpu" and config.hidden_act == "silu"


class Decoder:
    """Samples from a policy as it is now; base weights are read once, the adapter each time."""

    def __init__(self, model: Any) -> None:
        """Take the weights of a transformers model, or of one wrapped by PEFT."""
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        self._base = base
        self._config = base.config
        self._heads = base.config.num_attention_heads
        self._kv = base.config.num_key_value_heads
        self._size = base.model.layers[0].self_attn.head_dim
        self._fused = [list(map(_fused, _parts(layer))) for layer in base.model.layers]

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        max_new: int,
        *,
        temperature: float = 1.0,
        eos: Sequence[int],
    ) -> list[list[int]]:
        """One response to each prompt; neighbours with equal prompts share the reading of it.

        Args:
            prompts: token ids.
            max_new: longest response in tokens.
            temperature: 0 takes the likeliest token.
            eos: tokens that end a response; the first one is kept as its last token.

        Returns:
            Token ids, in the order of ``prompts``.
        """

        with torch.inference_mode():
            blocks = self._blocks()
            read = self._read(blocks, prompts, max_new)
            return self._write(blocks, read, max_new, temperature=temperature, eos=eos)

    def _read(
        self, blocks: Sequence[Block], prompts: Sequence[Sequence[int]], max_new: int
    ) -> _Read:
        """Each different prompt goes through the model once, then is shared out to its rows."""
        # 1. Read the prompts.
        runs = [(list(ids), len(list(same))) for ids, same in groupby(map(tuple, prompts))]
        ids, seen = left_padded([ids for ids, _ in runs])  # (prompts, width)
        width = ids.shape[1]
        cache = Cache.empty(
            len(blocks), (len(ids), self._kv, width + max_new, self._size), self._dtype
        )
        causal = torch.ones(width, width).tril().bool() & seen[:, None, None]
        # A padding position attends to itself alone, so that no row of the mask is empty.
        mask = causal | torch.eye(width).bool()
        positions = (seen.cumsum(1) - 1).clamp(min=0)
        logits = self._forward(blocks, ids, position=positions, mask=mask, cache=cache, start=0)
        # 2. Share them out: every row of a group goes on from the same reading.
        repeats = torch.tensor([count for _, count in runs])
        seen = seen.repeat_interleave(repeats, 0)
        return _Read(
            logits=logits.repeat_interleave(repeats, 0),
            cache=cache.shared_out(repeats),
            seen=F.pad(seen, (0, max_new), value=True),
            length=seen.sum(1),
            width=width,
        )

    def _write(
        self,
        blocks: Sequence[Block],
        read: _Read,
        max_new: int,
        *,
        temperature: float,
        eos: Sequence[int],
    ) -> list[list[int]]:
        """3. Write: one token a row and pass, until every row has ended."""
        logits = read.logits
        ends = torch.tensor(list(eos))
        done = torch.zeros(len(logits), dtype=torch.bool)
        responses: list[list[int]] = [[] for _ in range(len(logits))]
        for written in range(max_new):
            token = _sample(logits, temperature)  # (rows,)
            for row in (~done).nonzero()[:, 0].tolist():
                responses[row].append(int(token[row]))
            done |= torch.isin(token, ends)
            if written + 1 == max_new or done.all():
                break
            end = read.width + written + 1
            logits = self._forward(
                blocks,
                token[:, None],
                position=(read.length + written)[:, None],
                mask=read.seen[:, None, None, :end],
                cache=read.cache,
                start=end - 1,
            )
        return responses

    @property
    def _dtype(self) -> torch.dtype:
        dtype: torch.dtype = self._base.lm_head.weight.dtype
        return dtype

    def _blocks(self) -> list[Block]:
        """The layers with the adapter's present weights."""
        blocks = []
        for layer, fused in zip(self._base.model.layers, self._fused, strict=True):
            projections = []
            for (weight, bias), parts in zip(fused, _parts(layer), strict=True):
                down, up = _adapter(parts, self._dtype)
                projections.append(Projection(weight, bias, down, up))
            qkv, out, gate_up, shrink = projections
            before = layer.input_layernorm.weight
            after = layer.post_attention_layernorm.weight
            blocks.append(Block(before, qkv, out, after, gate_up, shrink))
        return blocks

    def _forward(
        self,
        blocks: Sequence[Block],
        ids: Tensor,
        *,
        position: Tensor,
        mask: Tensor,
        cache: Cache,
        start: int,
    ) -> Tensor:
        """Logits behind the last token, (rows, vocabulary); keys and values go to ``cache``.

        Shapes: ids and position (rows, width), mask (rows, 1, width or 1, places up to the end).
        """

        model = self._base.model
        rows, width = ids.shape
        x = model.embed_tokens(ids)  # (rows, width, hidden)
        cos, sin = (part[:, None] for part in model.rotary_emb(x, position))
        end = start + width
        for block, (keys, values) in zip(blocks, cache.layers, strict=True):
            split = block.qkv(self._norm(x, block.before)).view(rows, width, -1, self._size)
            parts = split.transpose(1, 2)
            query, key, value = torch.split(parts, [self._heads, self._kv, self._kv], 1)
            keys[:, :, start:end] = _rotated(key, cos, sin)
            values[:, :, start:end] = value
            seen = _attended(_rotated(query, cos, sin), keys[:, :, :end], values[:, :, :end], mask)
            x = x + block.out(seen.transpose(1, 2).reshape(rows, width, -1))
            gate, up = block.gate_up(self._norm(x, block.after)).chunk(2, -1)
            x = x + block.down(F.silu(gate) * up)
        last: Tensor = self._base.lm_head(self._norm(x[:, -1], model.norm.weight))
        return last

    def _norm(self, x: Tensor, weight: Tensor) -> Tensor:

        return F.rms_norm(x, (x.shape[-1],), weight, self._config.rms_norm_eps)


def _attended(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
    """Attention of several heads to each head of keys; all (rows, heads, places, size).

    The heads of one new token that share keys are asked as if they were so many places: torch
    would copy the keys for each of them, which takes most of a token's time.
    """
    rows, heads, width, size = queries.shape
    if width > 1:
        return F.scaled_dot_product_attention(queries, keys, values, mask, enable_gqa=True)
    grouped = queries.reshape(rows, keys.shape[1], -1, size)
    return F.scaled_dot_product_attention(grouped, keys, values, mask).view(rows, heads, 1, size)


def _parts(layer: Any) -> tuple[tuple[Any, ...], ...]:
    """Linear layers that share an input: q k v, o, gate up, down."""
    attention = layer.self_attn
    gated = layer.mlp
    return (
        (attention.q_proj, attention.k_proj, attention.v_proj),
        (attention.o_proj,),
        (gated.gate_proj, gated.up_proj),
        (gated.down_proj,),
    )


def _fused(parts: Sequence[Any]) -> tuple[Tensor, Tensor | None]:

    linear = [getattr(part, "base_layer", part) for part in parts]
    weights = [part.weight.detach() for part in linear]
    biases = [part.bias.detach() for part in linear if part.bias is not None]
    return (
        torch.cat(weights) if len(weights) > 1 else weights[0],
        torch.cat(biases) if biases else None,
    )


def _adapter(parts: Sequence[Any], dtype: torch.dtype) -> tuple[Tensor | None, Tensor | None]:
    """The LoRA pairs of fused layers: stacked A, block-diagonal scaled B."""
    if not hasattr(parts[0], "lora_A"):
        return None, None

    down = torch.cat([part.lora_A["default"].weight for part in parts])
    pieces = [part.lora_B["default"].weight * part.scaling["default"] for part in parts]
    up: Tensor = torch.block_diag(*pieces)  # type: ignore[no-untyped-call]
    return down.to(dtype), up.to(dtype)


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:

    first, second = x.chunk(2, -1)
    return x * cos + torch.cat((-second, first), -1) * sin


def _sample(logits: Tensor, temperature: float) -> Tensor:
    """One token a row by inverting the cumulative distribution."""

    if temperature == 0:
        return logits.argmax(-1)
    mass = torch.softmax(logits.float() / temperature, -1).cumsum(-1)
    at = torch.rand(len(mass), 1) * mass[:, -1:]
    token = torch.searchsorted(mass, at, right=True)[:, 0]
    return token.clamp(max=mass.shape[-1] - 1)


def left_padded(prompts: Sequence[list[int]]) -> tuple[Tensor, Tensor]:

    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(prompt)) + prompt for prompt in prompts])
    seen = torch.tensor(
        [[False] * (width - len(prompt)) + [True] * len(prompt) for prompt in prompts]
    )
    return ids, seen
