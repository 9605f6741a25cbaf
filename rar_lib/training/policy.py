"""The policy: loaded with a fresh adapter or a trained one, it answers.

    policy = Policy(settings, adapter=Path("run/adapter"))    # loaded when it is first needed
    texts = policy.respond(tasks, max_tokens=96)

The one module that imports unsloth (AGPL/LGPL parts); where it is not installed the same
policy goes through plain transformers and PEFT. On a CPU Unsloth uses its CPU backend.
"""

from __future__ import annotations

import io
import json
import logging
import os
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from rar_lib.core.errors import ArtifactError, DataError
from rar_lib.core.files import (
    UNCHANGED,
    digest,
    file_hash,
    folder_hash,
    home,
    install_command,
    save_text,
)
from rar_lib.core.prompts import fill, policy_messages
from rar_lib.core.types import Pair, Task
from rar_lib.data.questions import Response, save_responses
from rar_lib.judging.messages import render
from rar_lib.models.catalogue import MODELS
from rar_lib.models.processor import as_computed, cpu_dtype
from rar_lib.training.settings import Settings

if TYPE_CHECKING:
    from rar_lib.training.decode import Decoder

_log = logging.getLogger(__name__)
#: Responses between two times that they are put on the disk.
_AT_A_TIME = 16
#: Given responses that are read together: no more than the update of a step holds in memory.
_READ_AT_ONCE = 8
Backend = Literal["auto", "unsloth", "transformers"]
#: Names of local models that can be trained.
_PLAIN = tuple(name for name, model in MODELS.items() if not model.base)
_ADAPTER = "adapter_config.json"
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
_PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class Policy:
    """A causal language model with its tokenizer, and the adapter that is trained on it.

    Attributes:
        settings: name of the weights, device, and the sizes that Unsloth is told.
        adapter: folder that a run saved; ``None`` for the weights alone.
        loaded_by: what loaded it, for the record of a run.

    Raises:
        ArtifactError: when it is first needed, and weights or adapter are not there.
    """

    def __init__(self, settings: Settings, *, adapter: Path | None = None) -> None:
        self.settings = settings
        self.adapter = adapter
        self.loaded_by = "transformers+peft"

    @classmethod
    def fresh(cls, settings: Settings, *, seed: int, backend: Backend = "auto") -> Policy:
        """The policy with an untrained LoRA adapter, loaded now.

        Args:
            seed: of the adapter's first weights.
            backend: ``auto`` is what :func:`resolve` says.

        Raises:
            DataError: no such backend, or Unsloth was asked for and is not installed, or can't be
                had with these settings.
            ArtifactError: the weights could not be had.
        """
        policy = cls(settings)
        _quiet()
        if resolve(backend, settings.rollout_server) == "unsloth":
            policy.loaded_by = f"unsloth ({settings.device})"
            policy._parts = _by_unsloth(settings, seed)
        else:
            policy._parts = _with_lora(settings, seed)
        check_template(policy.tokenizer, settings.policy)
        name_ends(*policy._parts)
        return policy

    @property
    def model(self) -> Any:
        """The transformers model, wrapped by PEFT if there is an adapter."""
        return self._parts[0]

    @property
    def tokenizer(self) -> Any:
        """The transformers tokenizer."""
        return self._parts[1]

    @property
    def mark(self) -> str:
        """Everything but the prompts and the length that decides a greedy answer."""
        model = as_computed(identity_of(self.settings.policy), self.settings.device)
        trained = file_hash(self._adapter_file()) if self.adapter is not None else "base"
        return f"{model} {trained}"

    @cached_property
    def _parts(self) -> tuple[Any, Any]:
        _quiet()
        if self.adapter is not None:
            self._adapter_file()
        model, tokenizer = _plain(self.settings)
        if self.adapter is not None:
            from peft import PeftModel

            model = PeftModel.from_pretrained(model, str(self.adapter))
        check_template(tokenizer, self.settings.policy)
        name_ends(model, tokenizer)
        return model, tokenizer

    def _adapter_file(self) -> Path:
        file = (self.adapter or Path()) / "adapter_model.safetensors"
        if not file.exists():
            raise ArtifactError(
                f"{self.adapter} holds no {file.name}: train the policy first (chapter 7), or "
                "name the folder where its run was saved"
            )
        return file

    @cached_property
    def decoder(self) -> Decoder | None:
        """The quick decode loop; ``None`` for a device or an architecture that it does not know."""
        from rar_lib.training.decode import Decoder, supported

        return Decoder(self.model) if supported(self.model) else None

    @property
    def end_tokens(self) -> list[int]:
        """Tokens that end a response: see :func:`name_ends`."""
        ends: list[int] = self.model.generation_config.eos_token_id
        return ends

    def prompt_ids(self, task: Task) -> list[int]:
        """The task as the policy's tokens, up to where its response begins."""
        text = self.tokenizer.apply_chat_template(
            policy_messages(task), add_generation_prompt=True, tokenize=False
        )
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def respond(
        self, tasks: Sequence[Task], max_tokens: int, *, temperature: float = 0.0
    ) -> list[str]:
        """One response to each task, in order; at most ``settings.answers_at_once`` in a batch.

        Args:
            max_tokens: longest response in tokens.
            temperature: 0 is greedy, in batches of neighbours in length. Else they are sampled in
                the order of the tasks; a seed set before gives the same responses again.
        """
        order = list(range(len(tasks)))
        if not temperature:
            # Neighbours of one length waste no work on padding.
            order.sort(key=lambda place: len(tasks[place].question))
        texts: dict[int, str] = {}
        rows = self.settings.answers_at_once
        for start in range(0, len(order), rows):
            places = order[start : start + rows]
            found = self._batch([tasks[place] for place in places], max_tokens, temperature)
            texts |= dict(zip(places, found, strict=True))
        return [texts[place] for place in range(len(tasks))]

    def answers(self, tasks: Sequence[Task], max_tokens: int) -> dict[str, str]:
        """Greedy responses by task id."""
        texts = self.respond(tasks, max_tokens)
        return {task.id: text for task, text in zip(tasks, texts, strict=True)}

    def log_likelihoods(self, tasks: Sequence[Task], texts: Sequence[str]) -> list[float]:
        """Log-likelihood of one given response to each task, in nats a token, in order.

        The tokens of the text alone count, not the one that ends it.

        Args:
            texts: none of them empty.

        Raises:
            DataError: a text has no token.
        """
        from rar_lib.training.logprobs import likelihoods

        if not tasks:
            return []
        said = self.tokenizer(list(texts), add_special_tokens=False)["input_ids"]
        for task, ids in zip(tasks, said, strict=True):
            if not ids:
                raise DataError(f"the response to task {task.id!r} is empty: it has no likelihood")
        rows = [(self.prompt_ids(task), ids) for task, ids in zip(tasks, said, strict=True)]
        # Neighbours of one length waste no work on padding.
        order = sorted(range(len(rows)), key=lambda place: sum(map(len, rows[place])))
        found: dict[int, float] = {}
        for start in range(0, len(order), _READ_AT_ONCE):
            places = order[start : start + _READ_AT_ONCE]
            prompts, responses = zip(*(rows[place] for place in places), strict=True)
            found |= dict(zip(places, likelihoods(self.model, prompts, responses), strict=True))
        return [found[place] for place in range(len(rows))]

    def _batch(self, tasks: Sequence[Task], max_tokens: int, temperature: float) -> list[str]:
        prompts = [self.prompt_ids(task) for task in tasks]
        if self.decoder is not None:
            new: Any = self.decoder.generate(
                prompts, max_tokens, temperature=temperature, eos=self.end_tokens
            )
        else:
            new = self._generate(prompts, max_tokens, temperature)
        texts = self.tokenizer.batch_decode(new, skip_special_tokens=True)
        return [text.strip() for text in texts]

    def _generate(self, prompts: list[list[int]], max_tokens: int, temperature: float) -> Any:
        """The general way, for other devices and architectures."""
        import torch

        self.tokenizer.padding_side = "left"
        batch = self.tokenizer.pad({"input_ids": prompts}, return_tensors="pt")
        batch = batch.to(self.model.device)
        sampling: dict[str, Any] = {"do_sample": False}
        if temperature:
            sampling = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
        was_training = self.model.training
        self.model.eval()
        with torch.inference_mode():
            out = self.model.generate(**batch, max_new_tokens=max_tokens, **sampling)
        self.model.train(was_training)
        return out[:, batch["input_ids"].shape[1] :]


@dataclass(frozen=True)
class Likelihoods:
    """What a policy thinks of answers that it did not write: a measure without a judge.

        Watch(3, measure, within=Likelihoods(held_out, load_mini_pairs()))

    Three numbers, all of log-likelihoods in nats a token:

    - ``reference``: task id -> of the reference answer, as the policy is asked.
    - ``with_rubric``: the same, with the rubric among what the policy is shown. How much it is
      above ``reference`` is what the rubric still tells the policy: 0 where all of it has been
      taken in. This is the self-internalisation gap of arXiv 2605.12474 on reference answers;
      there (read as a summary) it is taken on answers that the untrained policy
      wrote with the rubric before it.
    - ``margin``: pair id -> of the preferred response minus that of the rejected one. Where
      training makes a policy sharper and nothing else, both fall.

    A fall of ``reference`` alone can be sharpening: a policy that writes one style gives every
    other text less.

    Attributes:
        tasks: with references; without rubric they have no ``with_rubric``.
        pairs: those on other tasks are left out.
        steps: looks at which it is measured, all by default: 20 tasks with a pair each take a
            135M policy minutes on two cores without AMX.
    """

    #: What it leaves in a look, none of it a score.
    MEASURES: ClassVar = ("reference", "with_rubric", "margin")

    tasks: Sequence[Task]
    pairs: Sequence[Pair] = ()
    steps: Sequence[int] | None = None

    def __post_init__(self) -> None:
        without = [task.id for task in self.tasks if not task.reference]
        if without:
            raise DataError(f"task {without[0]!r} has no reference, whose likelihood is asked for")

    @property
    def made_of(self) -> dict[str, Any]:
        """Part of the identity of a run."""
        tasks, pairs = self._parts
        return {
            "look": "likelihoods",
            "tasks": digest([task.model_dump(mode="json") for task in tasks]),
            "pairs": digest([pair.model_dump(mode="json") for pair in pairs]),
            "steps": None if self.steps is None else sorted(self.steps),
        }

    @property
    def _parts(self) -> tuple[list[Task], list[Pair]]:
        ids = {task.id for task in self.tasks}
        return list(self.tasks), [pair for pair in self.pairs if pair.task_id in ids]

    def __call__(self, step: int, policy: Policy) -> dict[str, dict[str, float]]:
        """The three numbers by id, rounded to a ten-thousandth of a nat; none at other steps."""
        if self.steps is not None and step not in self.steps:
            return {}
        tasks, pairs = self._parts
        of = {task.id: task for task in tasks}
        asked = [of[pair.task_id] for pair in pairs]
        ruled = [task for task in tasks if task.rubric]
        preferred = policy.log_likelihoods(asked, [pair.preferred for pair in pairs])
        rejected = policy.log_likelihoods(asked, [pair.rejected for pair in pairs])
        margins = [one - other for one, other in zip(preferred, rejected, strict=True)]
        return {
            "reference": _by_id(tasks, policy.log_likelihoods(tasks, _references(tasks))),
            "with_rubric": _by_id(
                ruled,
                policy.log_likelihoods([shown_rubric(task) for task in ruled], _references(ruled)),
            ),
            "margin": _by_id(pairs, margins),
        }


def shown_rubric(task: Task) -> Task:
    """The task with its rubric behind its notes, for a policy to see; as it is without rubric."""
    if task.rubric is None:
        return task
    context = fill("policy_rubric", context=task.context, rubric=render(task.rubric))
    return task.model_copy(update={"context": context.strip()})


def _references(tasks: Sequence[Task]) -> list[str]:
    return [task.reference or "" for task in tasks]


def _by_id(items: Sequence[Task | Pair], values: Sequence[float]) -> dict[str, float]:
    return {item.id: round(value, 4) for item, value in zip(items, values, strict=True)}


def write_responses(
    policy: Policy, tasks: Sequence[Task], path: Path, *, max_tokens: int
) -> list[Response]:
    """One greedy response to each task, as a file that ``rar grade`` reads.

    Stopped, the same call goes on: finished responses wait in ``<path>.part``, which is for this
    policy, these tasks and this length alone.

    Args:
        max_tokens: longest response in tokens.

    Raises:
        DataError: the file could not be written.
        ArtifactError: weights or adapter are not there.
    """
    part = path.with_name(path.name + ".part")
    wanted = digest([policy.mark, max_tokens, [task.model_dump(mode="json") for task in tasks]])
    done = _begun(part, wanted)
    left = [task for task in tasks if task.id not in done]
    if done and left:
        _log.info("%s: %d responses are there, %d are left", part, len(done), len(left))
    for start in range(0, len(left), _AT_A_TIME):
        some = left[start : start + _AT_A_TIME]
        begin = time.perf_counter()
        done |= policy.answers(some, max_tokens)
        kept = json.dumps({"made_of": wanted, "responses": done}, ensure_ascii=False)
        save_text(part, kept, f"{UNCHANGED}; the same command goes on")
        rest = len(left) - start - len(some)
        seconds = (time.perf_counter() - begin) / len(some) * rest
        _log.info("%d of %d responses, about %.1f min left", len(done), len(tasks), seconds / 60)
    found = [Response(task.id, f"{task.id}-1", done[task.id]) for task in tasks]
    save_responses(path, found)
    part.unlink(missing_ok=True)
    return found


def _begun(part: Path, wanted: str) -> dict[str, str]:
    """The responses that an earlier call left, if it was this one."""
    try:
        held = json.loads(part.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return dict(held["responses"]) if held["made_of"] == wanted else {}


def name_ends(model: Any, tokenizer: Any) -> None:
    """Have a response end where the model, its tokenizer or the chat template say that it does.

    A base model may end its texts by another token than the template under which it answers ends a
    turn: Qwen2.5-7B names ``<|endoftext|>`` and nothing else, its template writes ``<|im_end|>``.
    Rollouts would run past the end of the turn to their longest. Generation, TRL's too, reads these
    tokens from the model's generation settings, where they are written here, in rising order.
    """
    own = model.generation_config.eos_token_id
    named = [
        tokenizer.eos_token_id,
        end_of_turn(tokenizer),
        *(own if isinstance(own, list) else [own]),
    ]
    # In place: a wrapper such as PEFT's hands the settings of the model out, not back.
    model.generation_config.eos_token_id = sorted({token for token in named if token is not None})


def end_of_turn(tokenizer: Any) -> int | None:
    """The special token that the chat template puts behind a response, if it puts one."""
    said = "Yes."
    turns = [{"role": "user", "content": "Is it?"}, {"role": "assistant", "content": said}]
    text = tokenizer.apply_chat_template(turns, tokenize=False)
    rest = tokenizer(text.rpartition(said)[2], add_special_tokens=False)["input_ids"]
    special = {token for token, added in tokenizer.added_tokens_decoder.items() if added.special}
    return next((token for token in rest if token in special), None)


def resolve(
    backend: Backend, rollout_server: str | None = None
) -> Literal["unsloth", "transformers"]:
    """The backend that will be used: ``auto`` is Unsloth where it is installed and can be used.

    Raises:
        DataError: no such backend, or Unsloth was asked for and is not installed, or a server
            writes the rollouts: Unsloth's policy writes its own.
    """
    if backend not in get_args(Backend):
        raise DataError(f"no backend {backend!r}; choose one of: {', '.join(get_args(Backend))}")
    if rollout_server and backend == "unsloth":
        raise DataError(
            f"backend 'unsloth' writes rollouts itself, and the server {rollout_server} "
            "would have none to write: use backend='transformers', or no rollout server"
        )
    if rollout_server:
        return "transformers"
    installed = find_spec("unsloth") is not None
    if backend == "unsloth" and not installed:
        raise DataError(
            f"backend 'unsloth' is not installed: {install_command('unsloth')}, "
            "or use backend='transformers'"
        )
    return "unsloth" if installed and backend != "transformers" else "transformers"


def identity_of(policy: str) -> str:
    """What the weights of a policy are: pinned ones and those of a folder by their hash.

    A hub id stands for itself: which revision of it will be loaded is not known here.
    """
    if policy in MODELS:
        return MODELS[policy].identity
    folder = Path(policy)
    if not folder.is_dir():
        return policy
    return f"{folder.resolve().name} {folder_hash(folder)}"


def check_policy(policy: str) -> None:
    """Refuse a folder that is no model to chat with, before anything loads; a hub id passes.

    Raises:
        ArtifactError: no such folder, or weights or the tokenizer are not in it.
    """
    if policy in MODELS:
        if MODELS[policy].base:
            raise ArtifactError(
                f"{policy} has int8 weights, which only judge: train {MODELS[policy].base}"
            )
        return
    folder = Path(policy).expanduser()
    if not folder.is_dir():
        if policy.count("/") != 1 or policy.startswith((".", "/", "~")):
            raise ArtifactError(
                f"no policy {policy!r}: it is no folder here, no hub id (owner/name), and none of: "
                f"{', '.join(_PLAIN)}"
            )
        return
    if not (folder / "config.json").exists() or not any(folder.glob("*.safetensors")):
        hint = " (it is an adapter: name its base)" if (folder / _ADAPTER).exists() else ""
        raise ArtifactError(
            f"{policy} is no model{hint}: a policy's folder holds config.json and *.safetensors, "
            "as save_pretrained writes them"
        )
    if not any((folder / name).exists() for name in _TOKENIZERS):
        raise ArtifactError(
            f"{policy} holds no tokenizer: save it beside the weights, by "
            "AutoTokenizer.from_pretrained(ORIGINAL).save_pretrained(FOLDER)"
        )


def check_template(tokenizer: Any, policy: str) -> None:
    """Refuse a tokenizer that can't show the policy a question as a chat.

    Raises:
        DataError: it has no chat template.
    """
    if not tokenizer.chat_template:
        raise DataError(
            f"the tokenizer of {policy!r} has no chat template, so that no question can be put to "
            "it: take the instruction-tuned form of this model, or set tokenizer.chat_template to "
            "that of its family and save_pretrained the tokenizer into the policy's folder"
        )


def _weights(policy: str) -> str:
    """The folder or hub id that transformers loads."""
    if policy not in MODELS:
        return policy
    from rar_lib.models.store import model_dir

    return str(model_dir(policy))


def _plain(settings: Settings) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    _no_bars()
    check_policy(settings.policy)
    weights = _weights(settings.policy)
    try:
        model = AutoModelForCausalLM.from_pretrained(weights, **plain_arguments(settings))
        return model, AutoTokenizer.from_pretrained(weights)
    except (OSError, ValueError) as error:  # transformers' own words for what it can't load
        raise ArtifactError(
            f"{settings.policy!r} could not be loaded as a causal language model: "
            f"{str(error).strip().splitlines()[0]}; name a folder with weights and tokenizer that "
            f"transformers loads, a hub id that can be reached, or one of: {', '.join(_PLAIN)}"
        ) from error


def plain_arguments(settings: Settings) -> dict[str, Any]:
    """What transformers loads a policy with: bfloat16, but on a CPU that has no products in it."""
    import torch

    dtype = cpu_dtype() if settings.device == "cpu" else "bfloat16"
    return {"dtype": getattr(torch, dtype), "device_map": settings.device}


def _with_lora(settings: Settings, seed: int) -> tuple[Any, Any]:
    from peft import LoraConfig, get_peft_model
    from transformers import set_seed

    set_seed(seed)
    model, tokenizer = _plain(settings)
    keep_for_the_update(model, settings)
    lora = LoraConfig(
        r=settings.lora_rank,
        lora_alpha=2 * settings.lora_rank,
        target_modules=lora_targets(model),
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, lora), tokenizer


def keep_for_the_update(model: Any, settings: Settings) -> None:
    """What a forward pass leaves for the backward one: on a GPU the input of each layer alone.

    The rest is computed again, for a third more arithmetic; all of a group's responses at the
    paper's lengths would take a 7B policy more than 300 GB (:mod:`rar_lib.training.memory`).
    Unsloth does the same by itself. On a CPU, whose responses are short, all is kept.
    """
    if settings.device == "cuda":
        model.gradient_checkpointing_enable({"use_reentrant": False})


def lora_targets(model: Any) -> list[str] | str:
    """Where a LoRA adapter goes: the seven projections of Llama's shape, else all linear layers.

    Where only some of them exist, the others were fused under other names and would be missed.
    """
    names = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    return list(_PROJECTIONS) if names.issuperset(_PROJECTIONS) else "all-linear"


def _by_unsloth(settings: Settings, seed: int) -> tuple[Any, Any]:
    # Unsloth writes generated trainer code; keep it out of the working folder.
    folder = home() / "unsloth"
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("UNSLOTH_COMPILE_LOCATION", str(folder))
    _weights(settings.policy)  # fetched before, so that the log says so once
    with _without_banners():
        with _without_vllm_kernels():
            from unsloth import FastLanguageModel  # before trl and transformers

        _no_bars()
        check_policy(settings.policy)
        loading, adapting = unsloth_arguments(settings, seed)
        model, tokenizer = FastLanguageModel.from_pretrained(**loading)
        return FastLanguageModel.get_peft_model(model, **adapting), tokenizer


def unsloth_arguments(settings: Settings, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """What Unsloth loads a policy with, and what it makes its adapter with."""
    on_gpu = settings.device == "cuda"
    loading = {
        "model_name": _weights(settings.policy),
        "max_seq_length": settings.context,
        "load_in_4bit": on_gpu,
        "fast_inference": on_gpu,
    }
    if on_gpu:
        loading["max_lora_rank"] = settings.lora_rank
        loading["gpu_memory_utilization"] = settings.vllm_share
    adapting = {
        "r": settings.lora_rank,
        "lora_alpha": 2 * settings.lora_rank,
        "target_modules": list(_PROJECTIONS),
        "use_gradient_checkpointing": "unsloth" if on_gpu else False,
        "random_state": seed,
    }
    return loading, adapting


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


@contextmanager
def _without_banners() -> Iterator[None]:
    """Keep what Unsloth prints of itself, on import and at each load, off the page: it is in the
    log at level DEBUG, and so is all of it if the load fails.

    On import it also configures the log of the whole process, by which every line of ours would
    come twice; who runs this process decides about its log.
    """
    printed = io.StringIO()
    root = logging.getLogger()
    before = list(root.handlers), root.level
    try:
        with redirect_stdout(printed):
            yield
    finally:
        root.handlers[:] = before[0]
        root.setLevel(before[1])
        if text := printed.getvalue().strip():
            _log.debug("%s", text)


def _no_bars() -> None:
    """Loading and preparing takes a second here; its bars would stay on the page for good."""
    from datasets import disable_progress_bars
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    disable_progress_bars()
