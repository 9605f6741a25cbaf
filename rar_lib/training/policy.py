"""The policy: how it is loaded, with a fresh adapter or a trained one, and what it answers.

The one module that imports unsloth (AGPL/LGPL parts); where it is not installed the same
policy goes through plain transformers and PEFT. On a CPU Unsloth uses its CPU backend.
"""

from __future__ import annotations

import logging
import os
import random
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from rar_lib.core.errors import ArtifactError, DataError
from rar_lib.core.prompts import policy_messages
from rar_lib.core.types import Task
from rar_lib.models.catalogue import MODELS
from rar_lib.models.vllm import cpu_dtype

if TYPE_CHECKING:
    from rar_lib.book.profiles import Profile

Backend = Literal["auto", "unsloth", "transformers"]
_PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


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
    with _without_vllm_kernels():
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
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed

    _no_bars()
    set_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(
        str(policy), dtype=_dtype(profile.device), device_map=profile.device
    )
    lora = LoraConfig(
        r=profile.lora_rank,
        lora_alpha=2 * profile.lora_rank,
        target_modules=list(_PROJECTIONS),
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, lora), AutoTokenizer.from_pretrained(str(policy))


def _dtype(device: str) -> Any:
    """The weights' number format: bfloat16, but on a processor that has no products in it."""
    import torch

    return getattr(torch, "bfloat16" if device != "cpu" else cpu_dtype())


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
    from rar_lib.training.decode import Decoder, supported

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


@contextmanager
def _without_vllm_kernels() -> Iterator[None]:
    """Keep Unsloth from loading vLLM's extension to see whether it works.

    The CPU build carries one for each generation of processors and takes the right one itself;
    Unsloth takes the newest, which ends the process on a processor without AVX-512.
    """
    name = "vllm._C"
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # an import fails, as if it were absent
    try:
        yield
    finally:
        del sys.modules[name]


def _no_bars() -> None:
    """Loading and preparing takes a second here; its bars would stay on the page for good."""
    from datasets import disable_progress_bars
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    disable_progress_bars()


def _cache(name: str) -> Path:
    from rar_lib.core.files import home

    folder = home() / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@dataclass
class Writer:
    """Greedy answers of one policy.

    Attributes:
        policy: gives the folder or hub id of the base weights; called when they are needed.
        adapter: folder that a run saved; ``None`` for the policy before training.
        run: :func:`mark_of` the run; empty for the policy before training.
        max_tokens: longest answer in tokens.
        batch: prompts that go through the model together.

    Raises:
        ArtifactError: the adapter is not there when it is needed.
    """

    profile: Profile
    policy: Callable[[], Path | str]
    adapter: Path | None = None
    run: str = ""
    max_tokens: int = 96
    batch: int = 48
    _loaded: tuple[Any, Any] | None = field(default=None, repr=False)

    @property
    def mark(self) -> str:
        """Everything but the prompts that decides what is written."""
        name = self.profile.policy
        weights = MODELS[name].identity if name in MODELS else name
        return " ".join([weights, self.run or "base", f"{self.max_tokens} tokens"])

    def __call__(self, tasks: Sequence[Task]) -> list[str]:
        """One answer to each task, in order."""
        model, tokenizer = self._load()
        # Neighbours of one length waste no work on padding.
        order = sorted(range(len(tasks)), key=lambda i: len(tasks[i].question))
        texts: dict[int, str] = {}
        for start in range(0, len(order), self.batch):
            places = order[start : start + self.batch]
            found = respond(model, tokenizer, [tasks[i] for i in places], self.max_tokens)
            texts |= dict(zip(places, found, strict=True))
        return [texts[i] for i in range(len(tasks))]

    def _load(self) -> tuple[Any, Any]:
        if self._loaded is None:
            if self.adapter and not (self.adapter / "adapter_model.safetensors").exists():
                raise ArtifactError(
                    f"{self.adapter} holds no adapter_model.safetensors: train the policy first "
                    "(chapter 6), or name the folder where its run was saved"
                )
            from transformers import AutoModelForCausalLM, AutoTokenizer
            from transformers.utils import logging

            logging.disable_progress_bar()  # type: ignore[no-untyped-call]
            logging.set_verbosity_error()  # type: ignore[no-untyped-call]
            source = str(self.policy())
            tokenizer = AutoTokenizer.from_pretrained(source)
            model: Any = AutoModelForCausalLM.from_pretrained(
                source, dtype=_dtype(self.profile.device), device_map=self.profile.device
            )
            if self.adapter:
                from peft import PeftModel

                model = PeftModel.from_pretrained(model, str(self.adapter))
            self._loaded = model, tokenizer
        return self._loaded
