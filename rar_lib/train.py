"""GRPO on rubric rewards: TRL's trainer on an Unsloth model.

The one module that imports unsloth (AGPL/LGPL parts); where it is not installed the same
run goes through plain transformers and PEFT. On a CPU Unsloth uses its CPU backend.
"""

from __future__ import annotations

import json
import logging
import os
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rar_lib.atomic import atomic_write
from rar_lib.prompts import fill
from rar_lib.rewards import RubricReward
from rar_lib.types import Task

if TYPE_CHECKING:
    from datasets import Dataset

    from rar_lib.profiles import Profile


@dataclass(frozen=True)
class Run:
    """What a GRPO run leaves behind (all JSON, so that a later chapter can read it).

    ``before`` and ``after`` map task ids to the greedy responses of the policy without and
    with the trained adapter. ``log`` holds TRL's log, one record a step; ``steps`` the
    reward's own record, one a step.
    """

    arm: str
    seed: int
    backend: str
    seconds: float
    log: list[dict[str, Any]]
    steps: list[dict[str, Any]]
    before: dict[str, str]
    after: dict[str, str]

    def save(self, path: Path) -> None:
        """Write the run as JSON, atomically."""
        atomic_write(path, json.dumps(asdict(self), indent=1))

    @staticmethod
    def load(path: Path) -> Run:
        """Read a saved run."""
        return Run(**json.loads(path.read_text(encoding="utf-8")))


def policy_messages(task: Task) -> list[dict[str, str]]:
    """The chat turn that the policy sees."""
    return [
        {"role": "system", "content": fill("policy_system")},
        {"role": "user", "content": task.question},
    ]


def dataset_of(tasks: Sequence[Task]) -> Dataset:
    """Prompts for TRL, each with its task as a JSON string."""
    from datasets import Dataset

    return Dataset.from_list(
        [{"prompt": policy_messages(t), "task": t.model_dump_json()} for t in tasks]
    )


def train(
    profile: Profile,
    policy: Path | str,
    reward: RubricReward,
    tasks: Sequence[Task],
    held_out: Sequence[Task],
    out: Path,
    *,
    seed: int = 0,
) -> Run:
    """Train an adapter and answer the held-out tasks before and after.

    Args:
        policy: folder with safetensors weights, or a hub id on a machine with a network.
        reward: graded by a judge; see :class:`rar_lib.rewards.RubricReward`.
        out: folder for the adapter; created.

    Raises:
        UnscoredError: too many responses of a step could not be scored.
    """
    _quiet()
    model, tokenizer, backend = load_policy(profile, policy, seed=seed)
    from transformers import PrinterCallback, set_seed
    from trl import GRPOTrainer

    set_seed(seed)
    before = answer(model, tokenizer, held_out, profile.max_completion)
    trainer = GRPOTrainer(
        model=model,
        processing_class=tokenizer,
        reward_funcs=reward,
        args=grpo_config(profile, out, seed=seed),
        train_dataset=dataset_of(tasks),
    )
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(_progress_callback(profile.grpo_steps))
    start = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - start
    after = answer(model, tokenizer, held_out, profile.max_completion)
    trainer.save_model(str(out / "adapter"))
    log = [entry for entry in trainer.state.log_history if "reward" in entry]
    return Run(
        arm=reward.arm,
        seed=seed,
        backend=backend,
        seconds=seconds,
        log=log,
        steps=reward.steps,
        before=before,
        after=after,
    )


def load_policy(profile: Profile, policy: Path | str, *, seed: int) -> tuple[Any, Any, str]:
    """The policy with a fresh LoRA adapter, its tokenizer, and the backend's name."""
    if find_spec("unsloth") is None:
        return *_plain_policy(profile, policy), "transformers+peft"
    # Unsloth writes generated trainer code; keep it out of the working folder.
    os.environ.setdefault("UNSLOTH_COMPILE_LOCATION", str(_cache("unsloth")))
    from unsloth import FastLanguageModel  # before trl and transformers

    _no_bars()
    model, tokenizer = FastLanguageModel.from_pretrained(
        model_name=str(policy),
        max_seq_length=profile.context,
        load_in_4bit=profile.device == "cuda",
        fast_inference=profile.device == "cuda",
        **({"max_lora_rank": profile.lora_rank} if profile.device == "cuda" else {}),
    )
    model = FastLanguageModel.get_peft_model(
        model,
        r=profile.lora_rank,
        lora_alpha=2 * profile.lora_rank,
        target_modules=list(_PROJECTIONS),
        use_gradient_checkpointing="unsloth" if profile.device == "cuda" else False,
        random_state=seed,
    )
    return model, tokenizer, f"unsloth ({profile.device})"


_PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def _plain_policy(profile: Profile, policy: Path | str) -> tuple[Any, Any]:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    _no_bars()
    model = AutoModelForCausalLM.from_pretrained(str(policy), dtype=torch.bfloat16)
    lora = LoraConfig(
        r=profile.lora_rank, lora_alpha=2 * profile.lora_rank, target_modules=list(_PROJECTIONS)
    )
    return get_peft_model(model, lora), AutoTokenizer.from_pretrained(str(policy))


def grpo_config(profile: Profile, out: Path, *, seed: int) -> Any:
    """TRL's configuration for a profile; what the paper leaves open is named here.

    The paper gives rollouts, batch, learning rate, schedule, temperature, context and steps
    (v2, Table 10). Our choices: no KL term (beta 0), TRL's default loss and advantage
    normalisation, AdamW, gradient norm 1.
    """
    from trl import GRPOConfig

    on_cpu = profile.device == "cpu"
    return GRPOConfig(
        output_dir=str(out),
        use_cpu=on_cpu,
        bf16=True,
        dataloader_pin_memory=not on_cpu,
        gradient_checkpointing=False,
        # One group at a time through the model, because the logits of a whole step take
        # gigabytes. There is one generation, one reward call and one update a step all the same.
        per_device_train_batch_size=profile.rollouts,
        gradient_accumulation_steps=profile.prompts_per_step,
        num_generations=profile.rollouts,
        max_completion_length=profile.max_completion,
        temperature=profile.temperature,
        learning_rate=profile.learning_rate,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=profile.grpo_steps // 10,
        max_steps=profile.grpo_steps,
        beta=0.0,
        use_vllm=not on_cpu,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,  # _Log below says one line a step, on a terminal and in a notebook
        seed=seed,
    )


def answer(model: Any, tokenizer: Any, tasks: Sequence[Task], max_tokens: int) -> dict[str, str]:
    """Greedy responses of the policy to the tasks, in one left-padded batch."""
    import torch

    tokenizer.padding_side = "left"
    batch = tokenizer.apply_chat_template(
        [policy_messages(t) for t in tasks],
        add_generation_prompt=True,
        padding=True,
        return_tensors="pt",
        return_dict=True,
    ).to(model.device)
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        out = model.generate(**batch, max_new_tokens=max_tokens, do_sample=False)
    model.train(was_training)
    new = out[:, batch["input_ids"].shape[1] :]
    texts = tokenizer.batch_decode(new, skip_special_tokens=True)
    return {task.id: text.strip() for task, text in zip(tasks, texts, strict=True)}


def _progress_callback(steps: int) -> Any:
    """One line a step: enough to see that it lives, how well, and how long it will take."""
    from transformers import TrainerCallback

    class Progress(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            log = kwargs.get("logs") or {}
            if "reward" in log:
                left = (steps - state.global_step) * log["step_time"]
                print(
                    f"step {state.global_step}/{steps}: reward {log['reward']:.3f}, "
                    f"{log['step_time']:.0f} s, about {left / 60:.1f} min left",
                    flush=True,
                )

    return Progress()


def _quiet() -> None:
    """Silence known messages that say nothing about this run."""
    # Our vLLM only serves the judge; TRL checks its version for rollouts that we do not use.
    warnings.filterwarnings("ignore", message="TRL currently supports vLLM versions")
    # Import-time notes of torchao about GPU kernels.
    for name in ("torchao", "torch.utils._pytree"):
        logging.getLogger(name).setLevel(logging.ERROR)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


def _no_bars() -> None:
    """Loading takes a second here; its bar would stay on the page for good."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]


def _cache(name: str) -> Path:
    from rar_lib.artifacts import home

    folder = home() / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder
