"""Seconds of one GRPO step by stage: this project, and stock TRL with a per-criterion JSON judge.

    python -m results.grpo_step ours               # all steps
    python -m results.grpo_step stock --piece 0    # one measured step; then 1 and 2
    python -m results.grpo_step table              # the record, or what is missing for it

Both train the same LoRA on the same prompts in the same order, with as many rollouts of the same
length, on the same machine, and ask the same model on the same server; everything that a step
takes counts, with its checkpoint in ours. Texts are sampled, so they differ.

Stock: TRL's GRPOTrainer with transformers' generate and PEFT, and the usual judge of rubric work
(HealthBench's way): every criterion of every response is asked on its own, the reply is JSON with
an explanation and a boolean. Ours: one rating read from the probabilities of up to three tokens
(``implicit``). Both are warmed up by one step that isn't counted; in stock that step asks the
judge for one response only. Both compute in the number format that suits the processor.

What is measured lies in ``_build/grpo_step`` with the machine, the number formats, the versions and
the settings that made it; beside the seconds stand the load by other processes and the most memory
that the training process held. The record, grpo_step.json, is written when all of it is there and
made in one way: a step of one machine over a step of another is no ratio.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rar_lib.book.profiles import load
from rar_lib.core.files import atomic_write, checkout
from rar_lib.core.text import fence, visible
from rar_lib.core.types import Task
from rar_lib.data.questions import spoken
from rar_lib.data.tasks import load_mini
from rar_lib.judging.chat import Chat, together
from rar_lib.judging.judge import Judge
from rar_lib.models.machine import hardware, versions
from rar_lib.models.processor import cpu_dtype, engine
from rar_lib.models.server import local_chat, serve
from rar_lib.training.rewards import RubricReward
from rar_lib.training.settings import Settings
from rar_lib.training.train import train
from results.limit import Watch, differing, number_format, peak_gb

RESULTS = Path(__file__).with_name("grpo_step.json")
PIECES = (checkout() or Path.cwd()) / "_build" / "grpo_step"
WARM_UP = 1
MEASURED = 3
OURS = "ours"
STOCK = tuple(f"stock-{number}" for number in range(MEASURED))
#: Of a step: what the table shows, seconds first.
NAMES = ("generate", "judge", "update", "rest", "total", "length", "calls", "unscored")
# The stock judge's prompt: the wording is ours, the shape is HealthBench's.
ASK = Path(__file__).with_name("grpo_step_prompt.txt").read_text(encoding="utf-8")


def settings() -> Settings:
    """Those of the laptop profile, for as many steps as are measured."""
    return load("laptop").training.model_copy(update={"steps": WARM_UP + MEASURED})


def made_by(judge: str) -> dict[str, Any]:
    """What must be equal for steps to stand beside each other."""
    training = settings()
    return {
        "machine": hardware(),
        "number formats": {"policy": cpu_dtype(), "judge": number_format(judge)},
        "versions": versions(),
        "settings": {
            "policy": training.policy,
            "judge": judge,
            "engine of the judge": engine(judge),
            "lora_rank": training.lora_rank,
            "rollouts": training.rollouts * training.prompts_per_step,
            "prompts": training.prompts_per_step,
            "tokens": training.max_completion,
            "measured_steps": MEASURED,
            "warm_up_steps": WARM_UP,
        },
    }


def tasks_of(training: Settings) -> list[Task]:
    """Medicine and science in turn: as many as all steps need, each seen once."""
    found = load_mini("train")
    medicine = [task for task in found if task.domain == "medicine"]
    science = [task for task in found if task.domain == "science"]
    mixed = [task for pair in zip(medicine, science, strict=False) for task in pair]
    return mixed[: training.steps * training.prompts_per_step]


class Clock:
    """Wall time from step to step, everything included."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def callback(self) -> Any:
        """A callback of transformers' trainer that notes each beginning and the end."""
        from transformers import TrainerCallback

        ends = self.ends

        class Tick(TrainerCallback):
            def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                ends.append(time.perf_counter())

            def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                ends.append(time.perf_counter())

        return Tick()


def ours(judge: str) -> None:
    """One call of ``rar_lib.training.train.train``."""
    training = settings()
    clock = Clock()
    asked: list[list[str]] = []

    class Recording(RubricReward):
        async def __call__(self, *args: Any, **columns: Any) -> list[float | None]:
            asked.append([json.loads(one)["id"] for one in columns["task"][:: training.rollouts]])
            return await super().__call__(*args, **columns)

    with (
        serve(judge) as endpoint,
        local_chat(judge) as chat,
        tempfile.TemporaryDirectory() as out,
    ):
        watch = Watch(endpoint.pid or 0)
        run = train(
            "implicit",
            0,
            settings=training,
            tasks=tasks_of(training),
            out=Path(out),
            reward=Recording(Judge(chat), "implicit"),
            callbacks=[clock.callback()],
        )
        others = watch.other_load()
    steps = []
    for n, row in enumerate(run.curve()):
        total = clock.ends[n + 1] - clock.ends[n]
        parts = {name: row[f"seconds/{name}"] for name in ("generate", "judge", "update")}
        step = {
            "tasks": asked[n],
            **parts,
            "rest": total - sum(parts.values()),
            "total": total,
            "length": row["length"],
            "reward": row["mean"],
            "calls": row["usage"]["calls"],
            "unscored": row["unscored"],
        }
        steps.append(step)
    more = {"backend": run.backend, "warm_up": steps[:WARM_UP], "other_load": others}
    keep(OURS, judge, steps[WARM_UP:], more)


def order_of(judge: str, piece: int) -> list[str]:
    """Ids of the tasks that our warm-up and our measured step of that number had.

    Raises:
        SystemExit: ours was not measured yet, or not as this side would be.
    """
    done = kept().get(OURS)
    if done is None:
        raise SystemExit("the tasks are those of our steps: run `ours` first")
    if said := differing({OURS: done["made_by"], STOCK[piece]: made_by(judge)}):
        raise SystemExit(f"no ratio would come of it, {said}: run `ours` again in this way")
    return [i for step in (done["warm_up"][0], done["steps"][piece]) for i in step["tasks"]]


def stock_arguments(training: Settings, out: str) -> Any:
    """TRL's arguments: the settings that both sides share, in the format of this processor."""
    from trl import GRPOConfig

    return GRPOConfig(
        output_dir=out,
        use_cpu=True,
        bf16=cpu_dtype() == "bfloat16",
        dataloader_pin_memory=False,
        gradient_checkpointing=False,
        shuffle_dataset=False,
        beta=0.0,
        seed=0,
        per_device_train_batch_size=training.rollouts * training.prompts_per_step,
        num_generations=training.rollouts,
        temperature=training.temperature,
        max_completion_length=training.max_completion,
        max_steps=WARM_UP + 1,
        learning_rate=training.learning_rate,
        logging_steps=1,
        report_to=[],
        save_strategy="no",
    )


def stock_model(training: Settings) -> tuple[Any, Any]:
    """The policy, in the format that ours is loaded in, with its tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from rar_lib.models.store import model_dir

    folder = str(model_dir(training.policy))
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, cpu_dtype()))
    return model, AutoTokenizer.from_pretrained(folder)


def stock(judge: str, piece: int) -> None:
    """One measured step of TRL as it comes, after one to warm up; no unsloth in the process."""
    order = order_of(judge, piece)  # first: it may refuse
    import trl.trainer.utils as trl_utils
    from datasets import Dataset
    from peft import LoraConfig
    from trl import GRPOTrainer

    from rar_lib.core.prompts import policy_messages

    # TRL 1.15 computes log-probabilities with a Triton kernel alone: without a GPU its first
    # update fails ("0 active drivers", or "'NoneType' object has no attribute 'apply'" where
    # triton is not installed). This is what its earlier releases did, in plain torch. It is
    # stock's alone: ours, which trains in another process, has a quicker one of its own there
    # (`logprobs.install`), and to measure stock with that would be to measure ours twice.
    trl_utils._ChunkedLogProbFunction = PlainLogProb
    training = settings()
    by_id = {task.id: task for task in tasks_of(training)}
    rows = [
        {"prompt": policy_messages(by_id[i]), "task": by_id[i].model_dump_json()} for i in order
    ]
    seconds: dict[str, list[float]] = {"generate": [], "judge": []}
    clock = Clock()
    seen: list[list[float | None]] = []

    class Timed(GRPOTrainer):
        def _generate(self, *args: Any, **kwargs: Any) -> Any:
            begin = time.perf_counter()
            made = super()._generate(*args, **kwargs)
            seconds["generate"].append(time.perf_counter() - begin)
            return made

        def _calculate_rewards(self, *args: Any, **kwargs: Any) -> Any:
            begin = time.perf_counter()
            made = super()._calculate_rewards(*args, **kwargs)
            seconds["judge"].append(time.perf_counter() - begin)
            return made

    model, tokenizer = stock_model(training)
    with (
        serve(judge) as endpoint,
        local_chat(judge) as chat,
        tempfile.TemporaryDirectory() as out,
    ):

        async def reward(completions: list[Any], task: list[str], **_: Any) -> list[float | None]:
            few = len(seen) < WARM_UP
            grades = [
                grade_json(chat, Task.model_validate_json(asked), spoken(answer))
                for asked, answer in zip(task[: 1 if few else None], completions, strict=not few)
            ]
            scores = await together(grades)
            seen.append(scores)
            return scores + [0.0] * (len(completions) - len(scores))

        trainer = Timed(
            model=model,
            processing_class=tokenizer,
            reward_funcs=reward,
            train_dataset=Dataset.from_list(rows),
            peft_config=LoraConfig(
                r=training.lora_rank,
                lora_alpha=2 * training.lora_rank,
                task_type="CAUSAL_LM",
                target_modules="all-linear",
            ),
            args=stock_arguments(training, out),
            callbacks=[clock.callback()],
        )
        watch = Watch(endpoint.pid or 0)
        trainer.train()
        others = watch.other_load()
    log = [entry for entry in trainer.state.log_history if "reward" in entry][-1]
    total = clock.ends[-1] - clock.ends[-2]
    parts = {name: values[-1] for name, values in seconds.items()}
    parts["update"] = log["step_time"] - sum(parts.values())
    scored = [score for score in seen[-1] if score is not None]
    criteria = [len(by_id[i].rubric.criteria) for i in order[-training.prompts_per_step :]]  # type: ignore[union-attr]
    step = {
        "tasks": order[-training.prompts_per_step :],
        **parts,
        "rest": total - sum(parts.values()),
        "total": total,
        "length": log["completions/mean_length"],
        "reward": statistics.fmean(scored) if scored else None,
        "calls": training.rollouts * sum(criteria),
        "unscored": 1 - len(scored) / len(seen[-1]),
    }
    keep(STOCK[piece], judge, [step], {"backend": "transformers+peft", "other_load": others})


class PlainLogProb:
    """Log-probability and entropy of tokens from the whole logits, in the kernel's place."""

    @staticmethod
    def apply(
        hidden: Any, weight: Any, bias: Any, labels: Any, temperature: float, *_: Any
    ) -> tuple[Any, ...]:
        import torch

        logits = torch.nn.functional.linear(hidden, weight, bias).float() / temperature
        total = logits.logsumexp(-1)
        with torch.no_grad():
            entropy = total - (logits.softmax(-1) * logits).sum(-1)
        return logits.gather(-1, labels[:, None])[:, 0] - total, entropy, None, None, None


async def grade_json(chat: Chat, task: Task, response: str) -> float | None:
    """Weighted share of met criteria; ``None`` if a reply is unreadable."""
    from rar_lib.core.errors import JudgeFault
    from rar_lib.core.scoring import PAPER_WEIGHTS, is_good

    assert task.rubric is not None

    async def met(description: str) -> bool | None:
        text = ASK.format(
            question=fence(task.question), response=fence(response), criterion=visible(description)
        )
        try:
            reply = await chat.complete([{"role": "user", "content": text}], max_tokens=256)
            found = re.search(r"\{.*\}", reply.text, re.DOTALL)
            value = json.loads(found[0])["criteria_met"] if found else None
        except (JudgeFault, ValueError, KeyError, TypeError):
            return None
        return value if isinstance(value, bool) else None

    criteria = task.rubric.criteria
    verdicts = await together(met(criterion.description) for criterion in criteria)
    if any(verdict is None for verdict in verdicts):
        return None
    weights = [PAPER_WEIGHTS[criterion.category] for criterion in criteria]
    good = [
        weight
        for weight, criterion, verdict in zip(weights, criteria, verdicts, strict=True)
        if is_good(criterion, bool(verdict))
    ]
    return sum(good) / sum(weights)


def keep(name: str, judge: str, steps: Sequence[dict[str, Any]], more: Mapping[str, Any]) -> None:
    """Write what one call measured, with how it was made."""
    found = {
        "made_by": made_by(judge),
        "date": datetime.now(UTC).date().isoformat(),
        "peak_memory_gb": peak_gb(),
        **more,
        "steps": list(steps),
    }
    atomic_write(PIECES / f"{name}.json", json.dumps(found, indent=1) + "\n")


def kept() -> dict[str, dict[str, Any]]:
    """What has been measured so far, by name."""
    paths = {name: PIECES / f"{name}.json" for name in (OURS, *STOCK)}
    return {name: json.loads(path.read_text()) for name, path in paths.items() if path.exists()}


def side(pieces: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Steps and their means of one side, and the worst of load and memory over its pieces."""
    steps = [step for piece in pieces for step in piece["steps"]]
    return {
        "backend": pieces[0]["backend"],
        "dates": sorted({piece["date"] for piece in pieces}),
        "other_load": max(piece["other_load"] for piece in pieces),
        "peak_memory_gb": max(piece["peak_memory_gb"] for piece in pieces),
        "mean": {name: mean_of(name, steps) for name in NAMES},
        "steps": steps,
    }


def mean_of(name: str, steps: Sequence[Mapping[str, Any]]) -> float:
    """Of one figure over steps, to three places."""
    return round(statistics.fmean(step[name] for step in steps), 3)


def record(found: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Both sides and how many times as long a step of stock takes.

    Raises:
        SystemExit: something is missing, the sides were made in different ways, or had other tasks.
    """
    if missing := [name for name in (OURS, *STOCK) if name not in found]:
        raise SystemExit(f"not measured yet: {', '.join(missing)}; without them there is no ratio")
    if said := differing({name: piece["made_by"] for name, piece in found.items()}):
        raise SystemExit(f"no ratio, {said}: measure again what differs")
    ours = side([found[OURS]])
    theirs = side([found[name] for name in STOCK])
    if [step["tasks"] for step in ours["steps"]] != [step["tasks"] for step in theirs["steps"]]:
        raise SystemExit("no ratio, stock had other tasks than ours: measure stock again")
    return {
        "date": max(*ours["dates"], *theirs["dates"]),
        **found[OURS]["made_by"],
        "ratio": round(theirs["mean"]["total"] / ours["mean"]["total"], 2),
        "ours": ours | {"warm_up": found[OURS]["warm_up"]},
        "stock": theirs,
    }


def table() -> None:
    """Write the record if all is there, and show the means side by side."""
    found = record(kept())
    atomic_write(RESULTS, json.dumps(found, indent=1) + "\n")
    sides = [found["ours"], found["stock"]]
    print(f"{'':16}{'ours':>10}{'stock':>10}")
    for name in NAMES:
        print(f"{name:16}" + "".join(f"{own['mean'][name]:10.2f}" for own in sides))
    print(f"{'peak memory, GB':16}" + "".join(f"{own['peak_memory_gb']:10.2f}" for own in sides))
    print(f"{'other processes':16}" + "".join(f"{own['other_load']:10.1%}" for own in sides))
    print(f"ratio {found['ratio']:.2f}; {found['machine']}; {found['number formats']}")


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line; without a judge it is that of the laptop profile on this processor."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("side", choices=("ours", "stock", "table"))
    parser.add_argument("--piece", type=int, default=0, choices=range(MEASURED))
    parser.add_argument("--judge", default=load("laptop").judge)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure one side, or make the record."""
    given = parsed(arguments)
    if given.side == "ours":
        ours(given.judge)
    elif given.side == "stock":
        stock(given.judge, given.piece)
    else:
        table()


if __name__ == "__main__":
    main()
