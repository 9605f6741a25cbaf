"""Log-probabilities of sampled tokens on a CPU, without the logits of a batch in memory.

TRL 1.15 computes them with a Triton kernel, which needs a GPU; :func:`install` puts this in
its place. A plain product of all hidden states with the output matrix works too, but its
logits take gigabytes and most of an update's time. Here a few rows at a time go forward, and
again backward, where their gradient is known in closed form:
``d logp / d logits = onehot - softmax``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
import trl.trainer.utils as trl_utils
from torch import Tensor

#: Rows of logits at a time: 64 x 49,152 single-precision numbers are 13 MB and stay in cache.
_ROWS = 64


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
    hidden = base.base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
    kept = mask[:, -last:].bool()
    chosen = hidden[:, -last - 1 : -1][kept]
    head = base.get_output_embeddings().weight.detach()
    labels = ids[:, -last:][kept]
    logps, entropy, _ = _head(chosen.to(head.dtype), head, labels, temperature)
    empty = logps.new_zeros(kept.shape)
    return empty.masked_scatter(kept, logps), empty.masked_scatter(kept, entropy)


def install() -> None:
    """Have TRL compute log-probabilities this way where there is no GPU."""
    if not torch.cuda.is_available():
        trl_utils._ChunkedLogProbFunction = Kernel


class Kernel:
    """TRL's kernel, as far as Llama-shaped policies with an adapter need it."""

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
        """Log-probability, entropy, two values that are not needed here, and whether it is top.

        Raises:
            NotImplementedError: the output layer is trained, has a bias or caps its logits.
        """
        if weight.requires_grad or bias is not None or softcap is not None:
            raise NotImplementedError(
                "on a CPU the output layer must be frozen, without bias and logit cap; "
                "train an adapter on the other projections, or use a GPU"
            )
        scaled = temperature / logit_scale
        logps, entropy, top = _head(hidden.to(weight.dtype), weight, labels, scaled)
        return logps, entropy, None, None, top


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
        total, chosen, entropy, top = (torch.empty(len(hidden)) for _ in range(4))
        for start in range(0, len(hidden), _ROWS):
            at = slice(start, start + _ROWS)
            logits = F.linear(hidden[at], weight).float().div_(temperature)
            total[at] = logits.logsumexp(-1)
            chosen[at] = logits.gather(-1, labels[at, None])[:, 0] - total[at]
            top[at] = (logits.argmax(-1) == labels[at]).float()
            share = (logits - total[at, None]).exp_()
            entropy[at] = total[at] - torch.linalg.vecdot(share, logits)
        ctx.save_for_backward(hidden, weight, labels, total)
        ctx.temperature = temperature
        ctx.mark_non_differentiable(entropy, top)
        return chosen, entropy, top

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor, None, None, None]:
        """``d logp / d logits = onehot - softmax``, a few rows at a time."""
        hidden, weight, labels, total = ctx.saved_tensors
        found = torch.empty_like(hidden)
        for start in range(0, len(hidden), _ROWS):
            at = slice(start, start + _ROWS)
            scale = gradient[at, None] / ctx.temperature
            logits = F.linear(hidden[at], weight).float().div_(ctx.temperature)
            push = logits.sub_(total[at, None]).exp_().mul_(-scale)
            push.scatter_add_(-1, labels[at, None], scale)
            found[at] = push.to(weight.dtype) @ weight
        return found, None, None, None


def kl_to_base(model: Any, batch: dict[str, Tensor]) -> float:
    """Estimated KL divergence of the policy from itself without the adapter, in nats a token."""
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
    kept = batch["completion_mask"].bool()

    def logps() -> Tensor:
        with torch.autocast(ids.device.type, torch.bfloat16, enabled=model.dtype == torch.bfloat16):
            return token_logps(model, ids, mask, kept.shape[1])[0]

    was_training = model.training
    model.eval()
    with torch.no_grad():
        policy = logps()
        with model.disable_adapter():
            ratio = (logps() - policy)[kept]
    model.train(was_training)
    return float((ratio.exp() - ratio - 1).mean()) if ratio.numel() else 0.0
