"""Seconds of one GRPO step by stage: this project, and stock TRL with a per-criterion JSON judge.

    python -m results.grpo_step ours               # all steps, about 4 minutes
    python -m results.grpo_step stock --piece 0    # one measured step, about 5 minutes; 0, 1, 2
    python -m results.grpo_step table

Both train the same LoRA on the same prompts in the same order, with as many rollouts of the same
length, on the same machine, and ask the same model on the same server; everything that a step
takes counts, with its checkpoint in ours. Texts are sampled, so they differ.

Stock: TRL's GRPOTrainer with transformers' generate and PEFT, and the usual judge of rubric work
(HealthBench's way): every criterion of every response is asked on its own, the reply is JSON with
an explanation and a boolean. Ours: one rating read from the probabilities of up to three tokens
(``implicit``). Both are warmed up by one step that isn't counted; in stock that step asks the
judge for one response only. Results gather in results/grpo_step.json.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rar_lib.book.profiles import load
from rar_lib.core.files import atomic_write
from rar_lib.core.text import fence, visible
from rar_lib.core.types import Task
from rar_lib.data.tasks import load_mini
from rar_lib.judging.chat import Chat, together
from rar_lib.judging.judge import Judge
from rar_lib.models.machine import hardware, versions
from rar_lib.models.server import local_chat
from rar_lib.training.rewards import RubricReward, text_of
from rar_lib.training.settings import Settings
from rar_lib.training.train import train

RESULTS = Path(__file__).with_name("grpo_step.json")
WARM_UP, MEASURED = 1, 3
# The stock judge's prompt: the wording is ours, the shape is HealthBench's.
ASK = """You grade one criterion of a rubric for a response to a question.

Question:
{question}

Response:
{response}

Criterion: {criterion}

Say in one or two sentences whether the response meets the criterion, then decide. Reply with JSON
and nothing else: {{"explanation": "...", "criteria_met": true or false}}"""


def settings() -> Settings:
    """Those of the laptop profile, for as many steps as are measured."""
    return load("laptop").training.model_copy(update={"steps": WARM_UP + MEASURED})


def tasks_of(training: Settings) -> list[Task]:
    """Medicine and science in turn: as many as all steps need, each seen once."""
    found = load_mini("train")
    medicine = [t for t in found if t.domain == "medicine"]
    science = [t for t in found if t.domain == "science"]
    mixed = [t for pair in zip(medicine, science, strict=False) for t in pair]
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
            asked.append([json.loads(t)["id"] for t in columns["task"][:: training.rollouts]])
            return await super().__call__(*args, **columns)

    with local_chat(judge) as chat, tempfile.TemporaryDirectory() as out:
        run = train(
            "implicit",
            0,
            settings=training,
            tasks=tasks_of(training),
            out=Path(out),
            reward=Recording(Judge(chat), "implicit"),
            callbacks=[clock.callback()],
        )
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
    keep("ours", judge, steps[WARM_UP:], {"backend": run.backend, "warm_up": steps[:WARM_UP]})


def stock(judge: str, piece: int) -> None:
    """One measured step of TRL as it comes, after one to warm up; no unsloth in the process."""
    import torch
    import trl.trainer.utils as trl_utils
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import GRPOConfig, GRPOTrainer

    from rar_lib.core.prompts import policy_messages
    from rar_lib.models.store import model_dir

    # TRL 1.15 computes log-probabilities with a Triton kernel alone: without a GPU its first
    # update fails ("0 active drivers", or "'NoneType' object has no attribute 'apply'" where
    # triton is not installed). This is what its earlier releases did, in plain torch.
    trl_utils._ChunkedLogProbFunction = PlainLogProb
    training = settings()
    done = stored()["ours"]
    by_id = {t.id: t for t in tasks_of(training)}
    order = [i for step in (done["warm_up"][0], done["steps"][piece]) for i in step["tasks"]]
    rows = [
        {"prompt": policy_messages(by_id[i]), "task": by_id[i].model_dump_json()} for i in order
    ]
    policy = str(model_dir(training.policy))
    seconds: dict[str, list[float]] = {"generate": [], "judge": []}
    clock, seen = Clock(), []

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

    with local_chat(judge) as chat, tempfile.TemporaryDirectory() as out:

        async def reward(completions: list[Any], task: list[str], **_: Any) -> list[float | None]:
            few = len(seen) < WARM_UP
            grades = [
                grade_json(chat, Task.model_validate_json(t), text_of(c))
                for t, c in zip(task[: 1 if few else None], completions, strict=not few)
            ]
            scores = await together(grades)
            seen.append(scores)
            return scores + [0.0] * (len(completions) - len(scores))

        trainer = Timed(
            model=AutoModelForCausalLM.from_pretrained(policy, dtype=torch.bfloat16),
            processing_class=AutoTokenizer.from_pretrained(policy),
            reward_funcs=reward,
            train_dataset=Dataset.from_list(rows),
            peft_config=LoraConfig(
                r=training.lora_rank,
                lora_alpha=2 * training.lora_rank,
                task_type="CAUSAL_LM",
                target_modules="all-linear",
            ),
            args=GRPOConfig(
                output_dir=out,
                use_cpu=True,
                bf16=True,
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
            ),
            callbacks=[clock.callback()],
        )
        trainer.train()
    log = [entry for entry in trainer.state.log_history if "reward" in entry][-1]
    total = clock.ends[-1] - clock.ends[-2]
    parts = {name: values[-1] for name, values in seconds.items()}
    parts["update"] = log["step_time"] - sum(parts.values())
    scored = [s for s in seen[-1] if s is not None]
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
    steps = stored().get("stock", {}).get("steps", [])
    kept = [s for s in steps if s["tasks"] != step["tasks"]] if same_judge("stock", judge) else []
    keep("stock", judge, [*kept, step], {"backend": "transformers+peft"})


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
    verdicts = await together(met(c.description) for c in criteria)
    if any(v is None for v in verdicts):
        return None
    weights = [PAPER_WEIGHTS[c.category] for c in criteria]
    good = [w for w, c, v in zip(weights, criteria, verdicts, strict=True) if is_good(c, bool(v))]
    return sum(good) / sum(weights)


def stored() -> dict[str, Any]:
    """What has been measured so far."""
    found: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    return found


def same_judge(side: str, judge: str) -> bool:
    return bool(stored().get(side, {}).get("judge") == judge)


def keep(side: str, judge: str, steps: Sequence[dict[str, Any]], more: dict[str, Any]) -> None:
    """Write one side's steps and means, and the ratio when both sides are complete."""
    names = ("generate", "judge", "update", "rest", "total", "length", "calls", "unscored")
    mean = {name: round(statistics.fmean(s[name] for s in steps), 3) for name in names}
    found = stored()
    date = datetime.now(UTC).date().isoformat()
    found[side] = {"judge": judge, "date": date, **more, "mean": mean, "steps": list(steps)}
    both = [found.get(name, {}) for name in ("ours", "stock")]
    found.pop("ratio", None)
    whole = all(len(s.get("steps", [])) == MEASURED for s in both)
    if whole and both[0]["judge"] == both[1]["judge"]:
        found["ratio"] = round(both[1]["mean"]["total"] / both[0]["mean"]["total"], 2)
    training = settings()
    found |= {
        "date": date,
        "machine": hardware(),
        "versions": versions(),
        "settings": {
            "policy": training.policy,
            "judge": judge,
            "lora_rank": training.lora_rank,
            "rollouts": training.rollouts * training.prompts_per_step,
            "prompts": training.prompts_per_step,
            "tokens": training.max_completion,
            "measured_steps": MEASURED,
            "warm_up_steps": WARM_UP,
        },
    }
    atomic_write(RESULTS, json.dumps(found, indent=1) + "\n")
    table()


def table() -> None:
    """The means side by side."""
    found = stored()
    names = ("generate", "judge", "update", "rest", "total", "length", "calls", "unscored")
    sides = [s for s in ("ours", "stock") if s in found]
    print(f"{'':10}" + "".join(f"{s:>10}" for s in sides))
    for name in names:
        print(f"{name:10}" + "".join(f"{found[s]['mean'][name]:10.2f}" for s in sides))
    print("ratio", found.get("ratio", "not yet"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("side", choices=("ours", "stock", "table"))
    parser.add_argument("--piece", type=int, default=0, choices=range(MEASURED))
    parser.add_argument("--judge", default=settings().judge)
    given = parser.parse_args()
    if given.side == "ours":
        ours(given.judge)
    elif given.side == "stock":
        stock(given.judge, given.piece)
    else:
        table()


if __name__ == "__main__":
    main()
