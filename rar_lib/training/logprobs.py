"""Log-probabilities of what a policy wrote, on a CPU.

TRL 1.15 computes them with a Triton kernel, which needs a GPU; :func:`install` puts one for a CPU
in its place. A plain product of all hidden states with the output matrix works too, but its logits
take gigabytes and most of an update's time. Here a few rows at a time go forward, and again
backward, where their gradient is known in closed form: ``d logp / d logits = onehot - softmax``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from rar_lib.training.decode import left_padded, supported

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
    """Whether :func:`group_logps` knows the model: the decode loop does; its output is plain."""
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
    before, seen = left_padded([list(ids) for ids in prompts])
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
