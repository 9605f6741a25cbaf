"""TRL's trainers as this project runs them: settings, quick rollouts on a CPU, timing, sealing."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rar_lib.core.errors import CheckpointError
from rar_lib.core.types import Task
from rar_lib.models.vllm import cpu_dtype
from rar_lib.training.checkpoints import Journal, check_space, seal
from rar_lib.training.logprobs import kl_to_base
from rar_lib.training.policy import answer

if TYPE_CHECKING:
    from rar_lib.book.profiles import Profile

Measure = Callable[[int, dict[str, str]], dict[str, Any]]


@dataclass(frozen=True)
class Watch:
    """A look at the held-out tasks every so many steps, with a judge that gives no reward.

    Attributes:
        every: steps between two looks; before the first step and after the last one is a look, too.
        measure: step and greedy answers by task id -> what to remember, as JSON.
    """

    every: int
    measure: Measure


def grpo_config(profile: Profile, out: Path, *, seed: int, checkpoint_every: int = 1) -> Any:
    """TRL's configuration for a profile; what the paper leaves open is named here.

    The paper gives rollouts, batch, learning rate, schedule, temperature, context and steps
    (v2, Table 10). Our choices: no KL term (beta 0), TRL's default loss and advantage
    normalisation, AdamW, gradient norm 1.
    """
    from trl import GRPOConfig

    return GRPOConfig(
        **common_settings(profile, out, seed=seed, checkpoint_every=checkpoint_every),
        # One group at a time through the model, because the logits of a whole step take
        # gigabytes. There is one generation, one reward call and one update a step all the same.
        per_device_train_batch_size=profile.rollouts,
        gradient_accumulation_steps=profile.prompts_per_step,
        num_generations=profile.rollouts,
        max_completion_length=profile.max_completion,
        temperature=profile.temperature,
        beta=0.0,
        shuffle_dataset=False,  # the data set is the schedule already
        use_vllm=profile.device != "cpu",
    )


def common_settings(
    profile: Profile, out: Path, *, seed: int, checkpoint_every: int = 1
) -> dict[str, Any]:
    """What GRPO and supervised fine-tuning share: schedule, precision, checkpoints, silence."""
    on_cpu = profile.device == "cpu"
    return {
        "output_dir": str(out),
        "use_cpu": on_cpu,
        "bf16": not on_cpu or cpu_dtype() == "bfloat16",
        "dataloader_pin_memory": not on_cpu,
        "gradient_checkpointing": False,
        "learning_rate": profile.learning_rate,
        "lr_scheduler_type": "constant_with_warmup",
        "warmup_steps": profile.grpo_steps // 10,
        "max_steps": profile.grpo_steps,
        "logging_steps": 1,
        "save_strategy": "steps",
        "save_steps": checkpoint_every,
        "save_total_limit": 2,  # one is whole while the other is written
        "report_to": [],
        "disable_tqdm": True,  # Progress below says one line a step, in a terminal and a notebook
        "seed": seed,
    }


def quick_rollouts(model: Any, max_new: int, temperature: float) -> Any:
    """A rollout function for TRL that decodes with :class:`rar_lib.training.decode.Decoder`.

    ``None`` where that does not know the policy or the device: TRL then generates itself.
    """
    from rar_lib.training.decode import Decoder, supported

    if not supported(model):
        return None
    # TRL calls its hook experimental on every start; its version is pinned here.
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    decoder = Decoder(model)

    def roll_out(prompts: Sequence[Any], trainer: Any) -> dict[str, Any]:
        ids = [
            trainer.processing_class.apply_chat_template(
                prompt, add_generation_prompt=True, tokenize=True, return_dict=True
            )["input_ids"]
            for prompt in prompts
        ]
        new = decoder.generate(ids, max_new, temperature=temperature, eos=trainer.eos_token_ids)
        # No log-probabilities: TRL then takes the policy's own, as with its own generate.
        return {"prompt_ids": ids, "completion_ids": new, "logprobs": None}

    return roll_out


def instrumented(base: type, reward: Any) -> Any:
    """A GRPOTrainer class that also logs seconds by stage and the KL divergence to the base.

    ``kl_to_base`` is the estimate ``exp(d) - d - 1``, ``d`` the log-ratio base to policy of a
    sampled token, averaged over the tokens of one rollout of each prompt: it costs two passes
    over one rollout in ``num_generations``.
    """

    class Instrumented(base):  # type: ignore[misc]
        def _generate(self, *args: Any, **kwargs: Any) -> Any:
            begin = time.perf_counter()
            made = super()._generate(*args, **kwargs)
            self._note("seconds/generate", time.perf_counter() - begin)
            return made

        def _generate_and_score_completions(self, *args: Any, **kwargs: Any) -> Any:
            batch = super()._generate_and_score_completions(*args, **kwargs)
            self._note("seconds/judge", reward.steps[-1]["judge_seconds"])
            begin = time.perf_counter()
            every = self.num_generations
            kl = kl_to_base(self.model, {k: batch[k][::every] for k in _ROWS})
            self._note("kl_to_base", kl)
            self._note("seconds/diagnose", time.perf_counter() - begin)
            return batch

        def _note(self, name: str, value: float) -> None:
            self._metrics["train"][name].append(value)

        def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
            metrics = self._metrics["train"]
            if metrics["step_time"]:
                rest = sum(metrics["step_time"])
                rest -= sum(sum(metrics[f"seconds/{stage}"]) for stage in _STAGES)
                self._note("seconds/update", rest)
            super().log(logs, start_time)

    return Instrumented


_ROWS = ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask")
_STAGES = ("generate", "judge", "diagnose")


def callbacks(
    profile: Profile,
    tokenizer: Any,
    held_out: Sequence[Task],
    watch: Watch | None,
    journal: Journal,
) -> list[Any]:
    """One line a step, and the look at held-out tasks by its schedule."""
    from transformers import TrainerCallback

    class Progress(TrainerCallback):
        last = 0.0

        def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            log = kwargs.get("logs") or {}
            value = next((f"{n} {log[n]:.3f}" for n in ("reward", "loss") if n in log), None)
            if value is None:
                return
            now = time.perf_counter()
            seconds, self.last = now - self.last, now
            left = (state.max_steps - state.global_step) * seconds
            print(
                f"step {state.global_step}/{state.max_steps}: {value}, {seconds:.0f} s, "
                f"about {left / 60:.1f} min left",
                flush=True,
            )

        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.last = time.perf_counter()

    class Look(TrainerCallback):
        """At the end of a step and before its checkpoint, so that both are kept together."""

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            step = state.global_step
            if watch is None or (step % watch.every and step != state.max_steps):
                return
            answers = answer(kwargs["model"], tokenizer, held_out, profile.max_completion)
            journal.watched.append({"step": step, **watch.measure(step, answers)})

    return [Progress(), Look()]


def sealing(base: type, run: str, journal: Journal, start: float) -> Any:
    """A trainer class whose checkpoints are sealed.

    Args:
        base: a transformers Trainer; it keeps two checkpoints (``save_total_limit=2``), so that
            one is whole while the other is written.
        start: ``perf_counter`` minus the seconds of earlier parts of the run.
    """

    class Sealing(base):  # type: ignore[misc]
        def _save_checkpoint(self, model: Any, trial: Any) -> None:
            begin = time.perf_counter()
            folder, step = Path(self.args.output_dir), self.state.global_step
            folder.mkdir(parents=True, exist_ok=True)
            check_space(folder, f"step {step - 1}")
            try:
                super()._save_checkpoint(model, trial)
                journal.seconds = time.perf_counter() - start
                seal(folder / f"checkpoint-{step}", run, journal)
            except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
                raise CheckpointError(
                    f"{folder}: the checkpoint of step {step} can't be written ({error}): free "
                    f"some space and run again; the run continues from the step before"
                ) from error
            journal.checkpoint_seconds.append(round(time.perf_counter() - begin, 3))

    return Sealing


def sft_config(profile: Profile, out: Path, *, seed: int, checkpoint_every: int = 1) -> Any:
    """TRL's configuration: loss on the response alone, prompts and steps as in GRPO."""
    from trl import SFTConfig

    return SFTConfig(
        **common_settings(profile, out, seed=seed, checkpoint_every=checkpoint_every),
        per_device_train_batch_size=profile.prompts_per_step,
        max_length=profile.context,
        train_sampling_strategy="sequential",  # the data set is the schedule already
        completion_only_loss=True,
    )
