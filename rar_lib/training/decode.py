"""Arithmetic of a policy on a CPU: a decode loop for rollouts, log-probabilities for the update.

The loop is for Llama-shaped policies with a LoRA adapter.
A general ``generate`` spends most of a small model's step outside of arithmetic: every
projection passes through the adapter's wrapper, and the sampler draws a random number for
each entry of the vocabulary. Here projections that share an input are one product with the
adapter beside it (never merged: in bfloat16 a young adapter is smaller than the rounding of
the weights), a group's prompt is read once, and a token costs one random number. The
distribution is the same.

TRL 1.15 computes log-probabilities with a Triton kernel, which needs a GPU; :func:`install` puts
one for a CPU in its place. A plain product of all hidden states with the output matrix works too,
but its logits take gigabytes and most of an update's time. Here a few rows at a time go forward,
and again backward, where their gradient is known in closed form:
``d logp / d logits = onehot - softmax``.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

#: Rows of logits at a time: 64 x 49,152 single-precision numbers are 13 MB and stay in cache.
_LOGIT_ROWS = 64
#: Tokens of a group in one row, at most: beyond, what each may see takes more than reading saves.
_PACKED = 4096


#: Settings of a model that scale or cap its logits.
_CHANGES_LOGITS = (
    "final_logit_softcapping",
    "logit_scale",
    "output_multiplier",
    "lm_head_multiplier",
    "logits_scaling",
)


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
        ids, seen = _left_padded([ids for ids, _ in runs])  # (prompts, width)
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


def _left_padded(prompts: Sequence[list[int]]) -> tuple[Tensor, Tensor]:

    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(prompt)) + prompt for prompt in prompts])
    seen = torch.tensor(
        [[False] * (width - len(prompt)) + [True] * len(prompt) for prompt in prompts]
    )
    return ids, seen


def token_logps(
    model: Any, ids: Tensor, mask: Tensor, last: int, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Log-probability of each of the last tokens, and the entropy at its place, in nats.

    Args:
        model: a causal language model, perhaps wrapped by PEFT, whose output matrix is frozen.
        ids: token ids, (rows, width).
        mask: 1 where there is a token.
        last: how many tokens at the end of each row.
        temperature: divides the logits.

    Returns:
        Both (rows, last), single precision; zero where ``mask`` is; no gradient flows through
        the entropy.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    kept = mask[:, -last:].bool()
    labels = ids[:, -last:][kept]
    asked = {"input_ids": ids, "attention_mask": mask, "use_cache": False}
    if _plain_output(base):
        hidden = base.base_model(**asked).last_hidden_state[:, -last - 1 : -1][kept]
        head = base.get_output_embeddings().weight.detach()
        logps, entropy, _ = _head(hidden.to(head.dtype), head, labels, temperature)
    else:  # another output layer may scale or cap: the model itself knows
        logits = base(**asked).logits[:, -last - 1 : -1][kept]
        logps, entropy, _ = _read_off(logits.float() / temperature, labels)
    empty = logps.new_zeros(kept.shape)
    return empty.masked_scatter(kept, logps), empty.masked_scatter(kept, entropy)


def shares_prompts(model: Any) -> bool:
    """Whether :func:`group_logps` knows the model: as :func:`supported`, with a plain output."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    attends = getattr(base.config, "_attn_implementation", None) == "sdpa"
    return supported(base) and attends and _plain_output(base)


def one_prompt(ids: Tensor, mask: Tensor, last: int) -> bool:
    """Whether all rows begin with the same tokens, and are short enough to be read as one.

    Args:
        ids: token ids, (rows, width).
        mask: 1 where there is a token.
        last: places of the responses, at the end of each row.
    """
    before = ids[:, :-last] * mask[:, :-last]
    seen = mask[:, :-last]
    same = (before == before[:1]).all() and (seen == seen[:1]).all()
    packed = int(seen[0].sum()) + int(mask[:, -last:].sum())
    return len(ids) > 1 and bool(same and seen.any()) and packed <= _PACKED


def group_logps(
    model: Any, ids: Tensor, mask: Tensor, last: int, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """What :func:`token_logps` gives for rows with one prompt, which goes through the model once.

    The responses stand behind it in one row; each sees the prompt and itself, and its places count
    on from the prompt's. Of 8 rollouts of 80 tokens behind 300 that is 940 tokens for 3,040.

    Args:
        model: that :func:`shares_prompts`.
        ids: token ids, (rows, width), :func:`one_prompt`.
        mask: 1 where there is a token.
        last: how many tokens at the end of each row are asked for.
        temperature: divides the logits.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    kept = mask[:, -last:].bool()
    prompt = ids[0, :-last][mask[0, :-last].bool()]
    packed = torch.cat([prompt, ids[:, -last:][kept]])[None]
    places, seen = _packed(len(prompt), kept)
    hidden = base.base_model(
        input_ids=packed,
        attention_mask=seen[None, None],
        position_ids=places[None],
        use_cache=False,
    ).last_hidden_state[0]
    head = base.get_output_embeddings().weight.detach()
    read = hidden[_before(len(prompt), kept)].to(head.dtype)
    logps, entropy, _ = _head(read, head, ids[:, -last:][kept], temperature)
    empty = logps.new_zeros(kept.shape)
    return empty.masked_scatter(kept, logps), empty.masked_scatter(kept, entropy)


def _packed(width: int, kept: Tensor) -> tuple[Tensor, Tensor]:
    """Places of a prompt and the responses behind it, and what each token may attend to.

    Args:
        width: tokens of the prompt.
        kept: where the responses have tokens, (rows, longest response).

    Returns:
        Places (n,), and whether a token (row) sees another (column), (n, n).
    """
    rows, at = kept.nonzero(as_tuple=True)  # row by row, as the tokens are packed
    owner = torch.cat([torch.full((width,), -1), rows])  # -1: the prompt's
    places = torch.cat([torch.arange(width), width + at])
    causal = torch.ones(len(owner), len(owner)).tril().bool()
    return places, causal & ((owner == -1) | (owner[:, None] == owner))


def _before(width: int, kept: Tensor) -> Tensor:
    """Index in the packed row of the token before each response token, (response tokens,)."""
    before = torch.arange(width, width + int(kept.sum())) - 1
    first = kept.nonzero(as_tuple=True)[1] == 0
    return before.masked_fill(first, width - 1)


def _plain_output(base: Any) -> bool:
    """Whether logits are the output matrix times the hidden state and nothing else."""
    config = base.config.get_text_config()
    changed = any(getattr(config, name, None) is not None for name in _CHANGES_LOGITS)
    return not changed and getattr(base.get_output_embeddings(), "bias", None) is None


def install() -> None:
    """Have TRL compute log-probabilities this way where there is no GPU."""
    if not torch.cuda.is_available():
        import trl.trainer.utils as trl_utils

        trl_utils._ChunkedLogProbFunction = Kernel


class Kernel:
    """TRL's kernel for a CPU.

    Where the output layer is frozen, without bias and without a cap on its logits, as in
    Llama-shaped policies with an adapter, they are never in memory all at once.
    """

    @staticmethod
    def apply(  # noqa: PLR0917 - TRL calls it so
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        labels: Tensor,
        temperature: float,
        chunk_size: int,
        softcap: float | None = None,
        logit_scale: float = 1.0,
        outputs: Sequence[str] = (),
    ) -> tuple[Any, ...]:
        """Log-probability, entropy, two values that are not needed here, and whether it is top."""
        if weight.requires_grad or bias is not None or softcap:
            logits = F.linear(hidden.to(weight.dtype), weight, bias).float() * logit_scale
            if softcap:
                logits = softcap * torch.tanh(logits / softcap)
            logps, entropy, top = _read_off(logits / temperature, labels)
        else:
            scaled = temperature / logit_scale
            logps, entropy, top = _head(hidden.to(weight.dtype), weight, labels, scaled)
        return logps, entropy, None, None, top


def _read_off(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What :class:`Head` gives, from logits that are there; differentiable but for the entropy."""
    every = logits.log_softmax(-1)
    chosen = every.gather(-1, labels[:, None])[:, 0]
    known = every.detach()
    # Not by vecdot, which autocast would round to bfloat16.
    entropy = -(known.exp() * known).sum(-1)
    return chosen, entropy, (known.argmax(-1) == labels).float()


def _head(
    hidden: Tensor, weight: Tensor, labels: Tensor, temperature: float
) -> tuple[Tensor, Tensor, Tensor]:
    found: tuple[Tensor, Tensor, Tensor] = Head.apply(hidden, weight, labels, temperature)  # type: ignore[no-untyped-call]
    return found


class Head(torch.autograd.Function):
    """The output layer and the softmax as one differentiable function of the hidden states.

    Shapes: hidden (n, d), weight (vocabulary, d), labels (n,); all results are (n,).
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, labels: Tensor, temperature: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Log-probability of each label, entropy at its place, and whether it is the top one."""
        one = hidden.new_empty(len(hidden), dtype=torch.float32)
        total, chosen, entropy, top = (torch.empty_like(one) for _ in range(4))
        for start in range(0, len(hidden), _LOGIT_ROWS):
            at = slice(start, start + _LOGIT_ROWS)
            logits = F.linear(hidden[at], weight).float().div_(temperature)
            total[at] = logits.logsumexp(-1)
            chosen[at] = logits.gather(-1, labels[at, None])[:, 0] - total[at]
            top[at] = (logits.argmax(-1) == labels[at]).float()
            share = (logits - total[at, None]).exp_()
            entropy[at] = total[at] - (share * logits).sum(-1)
        ctx.save_for_backward(hidden, weight, labels, total)
        ctx.temperature = temperature
        ctx.mark_non_differentiable(entropy, top)
        return chosen, entropy, top

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor, None, None, None]:
        """``d logp / d logits = onehot - softmax``, a few rows at a time."""
        hidden, weight, labels, total = ctx.saved_tensors
        found = torch.empty_like(hidden)
        for start in range(0, len(hidden), _LOGIT_ROWS):
            at = slice(start, start + _LOGIT_ROWS)
            scale = gradient[at, None] / ctx.temperature
            logits = F.linear(hidden[at], weight).float().div_(ctx.temperature)
            push = logits.sub_(total[at, None]).exp_().mul_(-scale)
            push.scatter_add_(-1, labels[at, None], scale)
            found[at] = push.to(weight.dtype) @ weight
        return found, None, None, None


def likelihoods(
    model: Any, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]
) -> list[float]:
    """Log-likelihood of given responses, each behind its prompt, in nats a token.

    ``1 / n * sum_t log p(y_t | prompt, y_<t)`` at temperature 1. Rows are laid out as in training:
    prompts padded on the left, responses on the right.

    Args:
        prompts: token ids.
        responses: token ids, at least one each, as many rows as prompts; one batch.
    """
    before, seen = _left_padded([list(ids) for ids in prompts])
    width = max(map(len, responses))
    after = torch.tensor([[*ids, *[0] * (width - len(ids))] for ids in responses])
    kept = torch.arange(width) < torch.tensor([len(ids) for ids in responses])[:, None]
    device = model.device
    ids = torch.cat([before, after], 1).to(device)
    mask = torch.cat([seen, kept], 1).long().to(device)
    was_training = model.training
    model.eval()
    alone = shares_prompts(model) and one_prompt(ids, mask, width)
    with torch.no_grad(), _as_trained(model):
        logps = (group_logps if alone else token_logps)(model, ids, mask, width)[0]
    model.train(was_training)
    found: list[float] = (logps.sum(1).cpu() / kept.sum(1)).tolist()
    return found


def _as_trained(model: Any) -> torch.autocast:
    """Products in the number format of the weights, as TRL's trainer makes them."""
    bfloat16 = model.dtype == torch.bfloat16
    return torch.autocast(model.device.type, torch.bfloat16, enabled=bfloat16)


def kl_to_base(model: Any, batch: dict[str, Tensor]) -> float:
    """Estimated KL divergence of the policy from itself without the adapter, in nats a token."""
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
    kept = batch["completion_mask"].bool()

    def logps() -> Tensor:
        with _as_trained(model):
            return token_logps(model, ids, mask, kept.shape[1])[0]

    was_training = model.training
    model.eval()
    with torch.no_grad():
        policy = logps()
        with model.disable_adapter():
            ratio = (logps() - policy)[kept]
    model.train(was_training)
    return float((ratio.exp() - ratio - 1).mean()) if ratio.numel() else 0.0
