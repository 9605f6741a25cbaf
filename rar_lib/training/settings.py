"""What a training run is made with."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from rar_lib.core.errors import DataError
from rar_lib.core.processes import launched
from rar_lib.core.types import Frozen

Count = Annotated[int, Field(ge=1)]
#: Of all weights (v2, Table 10).
PAPER_LEARNING_RATE = 5e-6


class Settings(Frozen):
    """Everything but arm, seed and data that decides a run; the defaults are the paper's.

    They are those of v2, section 4.2 and Table 10, except for the adapter: the paper trains all
    weights on eight GPUs, here a LoRA is trained, whose learning rate is another.

    Of the algorithm the paper says "on-policy GRPO" and no more. What it leaves open is GRPO's as
    Shao et al. (2024, arXiv 2402.03300, section 4.1) publish it, and not what TRL does unasked,
    whose default loss is DAPO's: ``loss``, ``clip_epsilon``, ``scale_rewards``, ``mask_truncated``,
    ``kl_beta``. Their names and meanings are those of TRL's ``GRPOConfig``. With one update for
    each batch of rollouts the ratio of the policies is 1, so the clip never acts.

    Attributes:
        device: where the policy runs.
        policy: short name of a local model, folder with safetensors weights, or hub id.
        rollouts: responses sampled for a prompt, GRPO's group size.
        prompts_per_step: prompts in one GRPO step. The paper's batch of 96 is read as rollouts: 6
            prompts x 16. Read as prompts it would be 1,536 rollouts a step, 460,800 in all.
        max_completion: longest response in tokens. The split of the 3,584 tokens is not published;
            2,000 is what the same group used later (arXiv 2605.12474, Table 3).
        context: longest prompt plus response in tokens.
        steps: optimiser steps.
        schedule: what the learning rate does after a tenth of the steps to warm up: it stays
            ``constant``, or falls along a ``linear`` way to 0 at the last step. The paper's warms
            up over a tenth of the steps and is then constant (v2, Table 10).
        learning_rate: peak learning rate. The paper's 5e-6 (``PAPER_LEARNING_RATE``) is for all
            weights; the best rate of a LoRA is about ten times that, in reinforcement learning too
            (Schulman et al. 2025, "LoRA Without Regret").
        lora_rank: rank of the adapter; alpha is twice the rank.
        temperature: sampling temperature of the rollouts.
        loss: how the losses of tokens become one number. ``grpo`` takes the mean over the tokens of
            each response, then over responses, as Shao et al., eq. 3; it pays less a token in long
            responses. ``dapo``, TRL's default, is the mean over all tokens of a step; ``bnpo`` over
            those of one prompt; ``dr_grpo`` divides by a constant.
        clip_epsilon: half-width of the ratio's clip around 1. Shao et al. name none; 0.2 is PPO's
            and TRL's.
        scale_rewards: what the reward minus its group's mean is divided by: the standard deviation
            of the ``group`` (Shao et al., section 4.1.2), of the ``batch``, or ``none``.
        mask_truncated: whether a response that was cut at ``max_completion`` is left out of the
            loss. Shao et al. leave none out, and the judge grades what was written, cut or not.
        kl_beta: weight of the KL divergence from the untrained policy in the loss. The paper gives
            none, Shao et al. use 0.04. 0 here, so that nothing but the reward moves the policy;
            how far it moved is measured in every step.
        vllm_share: share of a GPU's memory that vLLM may take for rollouts, the policy's weights
            included; the rest is for the update and the judges. Left alone Unsloth takes one half.
        rollout_server: address of a ``trl vllm-serve`` that writes the rollouts on GPUs of its own
            and is sent the new weights after every step. Without one vLLM shares the GPU that is
            trained on, and on a CPU transformers write.
    """

    device: Literal["cpu", "cuda"] = "cuda"
    policy: Annotated[str, Field(min_length=1)] = "Qwen/Qwen2.5-7B"
    rollouts: Annotated[int, Field(ge=2)] = 16
    prompts_per_step: Count = 6
    max_completion: Count = 2000
    context: Count = 3584
    steps: Count = 300
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 5e-5
    schedule: Literal["constant", "linear"] = "constant"
    lora_rank: Count = 64
    temperature: Annotated[float, Field(gt=0)] = 1.0
    loss: Literal["grpo", "dapo", "bnpo", "dr_grpo"] = "grpo"
    clip_epsilon: Annotated[float, Field(gt=0, lt=1)] = 0.2
    scale_rewards: Literal["group", "batch", "none"] = "group"
    mask_truncated: bool = False
    kl_beta: Annotated[float, Field(ge=0)] = 0.0
    vllm_share: Annotated[float, Field(gt=0, lt=1)] = 0.15
    rollout_server: Annotated[str, Field(pattern=r"^https?://[^\s@]+$")] | None = None

    @property
    def answers_at_once(self) -> int:
        """Most responses that are written together outside of TRL, such as held-out answers.

        On a GPU as many as a group has rollouts: the memory plan holds for any number of tasks.
        """
        return 48 if self.device == "cpu" else self.rollouts

    @model_validator(mode="after")
    def _only_a_gpu_sends_weights(self) -> Settings:
        if self.rollout_server and self.device == "cpu":
            raise ValueError(
                f"rollout_server ({self.rollout_server}) needs device cuda: weights travel by NCCL"
            )
        return self

    @model_validator(mode="after")
    def _response_fits_the_context(self) -> Settings:
        if self.max_completion >= self.context:
            raise ValueError(
                f"max_completion ({self.max_completion}) must be below context ({self.context})"
            )
        return self


def settings_of(values: dict[str, Any]) -> Settings:
    """Settings with what a user chose.

    Raises:
        DataError: a value is wrong.
    """
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()
        )
        raise DataError(f"these settings can't be: {wrong}") from error


def prompts_each(settings: Settings) -> int:
    """Prompts of a step for each process: whole groups, so that a step is what it is for one.

    Raises:
        DataError: the processes can't share them evenly.
    """
    several = launched()
    prompts = settings.prompts_per_step
    if prompts % several:
        raise DataError(
            f"{several} processes can't share {prompts} prompts a step: each takes whole groups; "
            f"make it a multiple of {several}, or start a number of processes that divides it"
        )
    return prompts // several
