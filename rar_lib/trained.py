"""A policy after its training: the base weights, the adapter that a run left, and what it writes.

write = Writer(profile, study.policy, adapter=folder / "adapter", mark=mark_of(run), max_tokens=96)
texts = write(tasks)

Weights are loaded with the first call, by plain transformers and PEFT; nothing is trained here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rar_lib.errors import ArtifactError
from rar_lib.models import MODELS
from rar_lib.policy import respond
from rar_lib.run import Run
from rar_lib.types import Task

if TYPE_CHECKING:
    from rar_lib.profiles import Profile


def mark_of(run: Run) -> str:
    """What tells this very run from any other, repetitions of it with the same seed included."""
    text = json.dumps(asdict(run), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


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
            import torch
            from transformers import AutoModelForCausalLM, AutoTokenizer
            from transformers.utils import logging

            logging.disable_progress_bar()  # type: ignore[no-untyped-call]
            logging.set_verbosity_error()  # type: ignore[no-untyped-call]
            source = str(self.policy())
            tokenizer = AutoTokenizer.from_pretrained(source)
            model: Any = AutoModelForCausalLM.from_pretrained(
                source, dtype=torch.bfloat16, device_map=self.profile.device
            )
            if self.adapter:
                from peft import PeftModel

                model = PeftModel.from_pretrained(model, str(self.adapter))
            self._loaded = model, tokenizer
        return self._loaded
