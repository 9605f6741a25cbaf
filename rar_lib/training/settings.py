"""What a training run is made with."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from rar_lib.core.types import Frozen

Count = Annotated[int, Field(ge=1)]


class Settings(Frozen):
    """Everything but arm, seed and data that decides a run; the defaults are the paper's.

    They are those of v2, section 4.2 and Table 10, except for the adapter: the paper trains all
    weights on eight GPUs, here a LoRA is trained. A learning rate of 5e-6 is meant for all weights;
    a LoRA of rank 16 on 135M parameters takes 3e-4.

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
        learning_rate: peak learning rate.
        lora_rank: rank of the adapter; alpha is twice the rank.
        temperature: sampling temperature of the rollouts.
    """

    device: Literal["cpu", "cuda"] = "cuda"
    policy: Annotated[str, Field(min_length=1)] = "Qwen/Qwen2.5-7B"
    rollouts: Annotated[int, Field(ge=2)] = 16
    prompts_per_step: Count = 6
    max_completion: Count = 2000
    context: Count = 3584
    steps: Count = 300
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 5e-6
    lora_rank: Count = 64
    temperature: Annotated[float, Field(gt=0)] = 1.0

    @model_validator(mode="after")
    def _response_fits_the_context(self) -> Settings:
        if self.max_completion >= self.context:
            raise ValueError(
                f"max_completion ({self.max_completion}) must be below context ({self.context})"
            )
        return self
