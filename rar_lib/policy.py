"""The policy: what it is asked, how it is loaded with a fresh adapter, what it answers.

The one module that imports unsloth (AGPL/LGPL parts); where it is not installed the same
policy goes through plain transformers and PEFT. On a CPU Unsloth uses its CPU backend.
"""

from __future__ import annotations

import logging
import os
import random
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from rar_lib.answers import shuffled
from rar_lib.errors import DataError
from rar_lib.prompts import fill
from rar_lib.types import MultipleChoice, Task

if TYPE_CHECKING:
    from datasets import Dataset

    from rar_lib.profiles import Profile

Backend = Literal["auto", "unsloth", "transformers"]
_PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def policy_messages(task: Task) -> list[dict[str, str]]:
    """The conversation that the policy sees; multiple choice with its options, in the order
    of seed 0."""
    question = shuffled(task, 0)[0] if isinstance(task, MultipleChoice) else task.question
    return [
        {"role": "system", "content": fill("policy_system")},
        *({"role": turn.role, "content": turn.content} for turn in task.history),
        {"role": "user", "content": question},
    ]


def dataset_of(tasks: Sequence[Task]) -> Dataset:
    """Prompts for TRL, each with its task as a JSON string."""
    from datasets import Dataset

    return Dataset.from_list(
        [{"prompt": policy_messages(t), "task": t.model_dump_json()} for t in tasks]
    )


def schedule(tasks: Sequence[Task], steps: int, prompts: int, seed: int) -> list[Task]:
    """The tasks of all steps one after another: whole rounds, each in an order of its own.

    The trainer reads this list from its beginning to its end. Left to its own shuffling, TRL
    would give a run that is continued in a later round the first round's order again. Tasks
    that do not fill a last step of a round wait for the next round.

    Args:
        prompts: different tasks in one step.

    Raises:
        DataError: there are fewer tasks than one step needs.
    """
    if len(tasks) < prompts:
        raise DataError(
            f"{len(tasks)} tasks do not fill a step of {prompts} prompts: give more tasks, or "
            "lower prompts_per_step of the profile"
        )
    rng = random.Random(seed)
    found: list[Task] = []
    while len(found) < steps * prompts:
        found += rng.sample(list(tasks), len(tasks) // prompts * prompts)
    return found[: steps * prompts]


def resolve(backend: Backend) -> Literal["unsloth", "transformers"]:
    """The backend that will be used: ``auto`` is Unsloth where it is installed.

    Raises:
        DataError: no such backend, or Unsloth was asked for and is not installed.
    """
    if backend not in get_args(Backend):
        raise DataError(f"no backend {backend!r}; choose one of: {', '.join(get_args(Backend))}")
    installed = find_spec("unsloth") is not None
    if backend == "unsloth" and not installed:
        raise DataError(
            "backend 'unsloth' is not installed: pip install 'rar-lib[unsloth]', "
            "or use backend='transformers'"
        )
    return "unsloth" if installed and backend != "transformers" else "transformers"


def load_policy(
    profile: Profile, policy: Path | str, *, seed: int, backend: Backend = "auto"
) -> tuple[Any, Any, str]:
    """The policy with a fresh LoRA adapter, its tokenizer, and the backend's name."""
    _quiet()
    if resolve(backend) == "transformers":
        return *_plain_policy(profile, policy, seed), "transformers+peft"
    # Unsloth writes generated trainer code; keep it out of the working folder.
    os.environ.setdefault("UNSLOTH_COMPILE_LOCATION", str(_cache("unsloth")))
    from unsloth import FastLanguageModel  # before trl and transformers

    _no_bars()
    on_gpu = profile.device == "cuda"
    model, tokenizer = FastLanguageModel.from_pretrained(
        model_name=str(policy),
        max_seq_length=profile.context,
        load_in_4bit=on_gpu,
        fast_inference=on_gpu,
        **({"max_lora_rank": profile.lora_rank} if on_gpu else {}),
    )
    model = FastLanguageModel.get_peft_model(
        model,
        r=profile.lora_rank,
        lora_alpha=2 * profile.lora_rank,
        target_modules=list(_PROJECTIONS),
        use_gradient_checkpointing="unsloth" if on_gpu else False,
        random_state=seed,
    )
    return model, tokenizer, f"unsloth ({profile.device})"


def _plain_policy(profile: Profile, policy: Path | str, seed: int) -> tuple[Any, Any]:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed

    _no_bars()
    set_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(
        str(policy), dtype=torch.bfloat16, device_map=profile.device
    )
    lora = LoraConfig(
        r=profile.lora_rank,
        lora_alpha=2 * profile.lora_rank,
        target_modules=list(_PROJECTIONS),
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, lora), AutoTokenizer.from_pretrained(str(policy))


def prompt_ids(tokenizer: Any, task: Task) -> list[int]:
    """The task as the policy's tokens, up to where its response begins."""
    text = tokenizer.apply_chat_template(
        policy_messages(task), add_generation_prompt=True, tokenize=False
    )
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def respond(
    model: Any,
    tokenizer: Any,
    tasks: Sequence[Task],
    max_tokens: int,
    *,
    temperature: float = 0.0,
) -> list[str]:
    """Responses of the policy to the tasks, in order, in one batch; temperature 0 is greedy."""
    from rar_lib.rollouts import Decoder, supported

    prompts = [prompt_ids(tokenizer, task) for task in tasks]
    if supported(model):
        eos = end_tokens(model, tokenizer)
        new: Any = Decoder(model).generate(prompts, max_tokens, temperature=temperature, eos=eos)
    else:
        new = _generate(model, tokenizer, prompts, max_tokens, temperature)
    return [text.strip() for text in tokenizer.batch_decode(new, skip_special_tokens=True)]


def answer(model: Any, tokenizer: Any, tasks: Sequence[Task], max_tokens: int) -> dict[str, str]:
    """Greedy responses of the policy, by task id."""
    if not tasks:
        return {}
    texts = respond(model, tokenizer, tasks, max_tokens)
    return {task.id: text for task, text in zip(tasks, texts, strict=True)}


def end_tokens(model: Any, tokenizer: Any) -> list[int]:
    """Tokens that end a response, from the tokenizer and the generation settings."""
    own = model.generation_config.eos_token_id
    more = own if isinstance(own, list) else [own]
    return sorted({t for t in (tokenizer.eos_token_id, *more) if t is not None})


def _generate(
    model: Any, tokenizer: Any, prompts: list[list[int]], max_tokens: int, temperature: float
) -> Any:
    """The general way, for other devices and architectures."""
    import torch

    tokenizer.padding_side = "left"
    batch = tokenizer.pad({"input_ids": prompts}, return_tensors="pt").to(model.device)
    sampling: dict[str, Any] = {"do_sample": False}
    if temperature:
        sampling = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        out = model.generate(**batch, max_new_tokens=max_tokens, **sampling)
    model.train(was_training)
    return out[:, batch["input_ids"].shape[1] :]


def _quiet() -> None:
    """Silence known messages that say nothing about this run."""
    # Our vLLM only serves the judge; TRL checks its version for rollouts that we do not use.
    warnings.filterwarnings("ignore", message="TRL currently supports vLLM versions")
    # Import-time notes of torchao about GPU kernels.
    for name in ("torchao", "torch.utils._pytree"):
        logging.getLogger(name).setLevel(logging.ERROR)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


def _no_bars() -> None:
    """Loading and preparing takes a second here; its bars would stay on the page for good."""
    from datasets import disable_progress_bars
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    disable_progress_bars()


def _cache(name: str) -> Path:
    from rar_lib.artifacts import home

    folder = home() / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder
