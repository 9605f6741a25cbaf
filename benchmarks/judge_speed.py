"""How fast the local judge is, what int8 costs in accuracy, and which settings help.

    python benchmarks/judge_speed.py --list          # the cells, and which are done
    python benchmarks/judge_speed.py                 # everything not measured yet: about 40 minutes
    python benchmarks/judge_speed.py --only int8     # one cell, even if it is done

A cell starts with an empty cache on a server that has its settings and asks for explicit
verdicts over val pairs of RaR-Mini: nothing is taken from recorded calls. Each cell is written to
results/judge_speed.json when it is done, so a stopped run continues. Settings are compared with
a cell of the same pairs that differs in that setting alone.

Useful arithmetic counts every token once that any prompt needs, however often the server computed
it: 2 x (weights of the projections) a token, and 2 x (weights of the output head) a verdict. Its
rate is shown as a share of the machine's own bf16 matrix product.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime
import json
import os
import re
import struct
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any
from unittest import mock

from rar_lib.book.machine import hardware, versions
from rar_lib.core.errors import ServerError
from rar_lib.core.files import atomic_write
from rar_lib.core.prompts import fill
from rar_lib.core.scoring import Weights
from rar_lib.core.text import fence, visible
from rar_lib.core.types import Arm, Criterion, Grade, Pair, Rubric, Task
from rar_lib.data.tasks import load_mini, load_mini_pairs
from rar_lib.evaluation.alignment import PairGrades, criterion_agreement, grade_pairs
from rar_lib.judging import judge as grading
from rar_lib.judging import messages
from rar_lib.judging.chat import Chat, Message
from rar_lib.judging.judge import Judge, grade_many
from rar_lib.models.server import Endpoint, serve_plan
from rar_lib.models.store import model_dir
from rar_lib.models.vllm import cpu_environment, plan

RESULTS = Path(__file__).with_name("results") / "judge_speed.json"
MALLOC = {k: v for k, v in cpu_environment([0]).items() if k.startswith("MALLOC")}
FEW, MANY = 8, 28  # pairs: for ratios, for accuracy


@dataclass(frozen=True)
class Cell:
    """One measurement; ``options`` and ``env`` (None unsets) replace those of `models.vllm`."""

    model: str
    against: str = ""
    pairs: int = FEW
    repeats: int = 2
    accuracy: bool = False
    options: dict[str, str] = field(default_factory=dict)
    env: dict[str, str | None] = field(default_factory=dict)
    concurrency: int = 32
    order: str = "as listed"
    prompt: str = "as is"


def flags(against: str = "few", model: str = "qwen-1.5b-int8", **options: object) -> Cell:
    named = {f"--{k.replace('_', '-')}": str(v) for k, v in options.items()}
    return Cell(model, against, options=named)


FEW_CELL = Cell("qwen-1.5b-int8")
INT8 = Cell("qwen-1.5b-int8", "bf16", pairs=MANY, repeats=1, accuracy=True)
CELLS = {
    "bf16": Cell("qwen-1.5b", pairs=MANY, repeats=1, accuracy=True),
    "bf16-0.5b": Cell("qwen-0.5b", pairs=MANY, repeats=1, accuracy=True),
    "int8-0.5b": Cell("qwen-0.5b-int8", "bf16-0.5b", pairs=MANY, repeats=1, accuracy=True),
    "int8": INT8,
    "question-last": replace(INT8, against="int8", prompt="question last"),
    "short-question-last": replace(INT8, against="int8", prompt="short question last"),
    "few": FEW_CELL,
    "concurrency-64": replace(FEW_CELL, against="few", concurrency=64),
    "first-criterion-first": replace(FEW_CELL, against="few", order="first criterion first"),
    "compiled": flags(no_enforce_eager=""),
    "block-16": flags(block_size=16),
    "malloc-default": replace(FEW_CELL, against="few", env=dict.fromkeys(MALLOC)),
    "seqs-64": replace(flags(max_num_seqs=64), concurrency=64),
    "tokens-4096": replace(
        flags("seqs-64", max_num_seqs=64, max_num_batched_tokens=4096), concurrency=64
    ),
    "block-64": flags(block_size=64),
    "block-128": flags(block_size=128),
    "seqs-16": flags(max_num_seqs=16),
    "vllm-binds-threads": replace(
        FEW_CELL,
        against="few",
        env={
            "VLLM_CPU_OMP_THREADS_BIND": "0-1",
            "VLLM_ENABLE_V1_MULTIPROCESSING": "1",
            **dict.fromkeys(("OMP_NUM_THREADS", "OMP_PROC_BIND", "OMP_PLACES")),
        },
    ),
    "spin-more": replace(FEW_CELL, against="few", env={"GOMP_SPINCOUNT": "300000"}),
}


#: Other ends of the prompt after the response, with more behind the prefix that is shared.
PROMPTS = {
    "question last": (
        "Criterion: {{criterion}}\n\nIs this criterion true of the response? Judge only what the "
        "response says. Answer with one word, yes or no."
    ),
    "short question last": (
        "Judge only what the response says. Answer with one word, yes or no.\n\n"
        "Criterion: {{criterion}}\nIs this criterion true of the response?"
    ),
}


def reworded(prompt: str) -> Callable[..., list[Message]]:
    """`criterion_messages` with another end of the prompt."""

    def messages(task: Task, response: str, criterion: Criterion, *_: str) -> list[Message]:
        end = PROMPTS[prompt].replace("{{criterion}}", visible(criterion.description))
        text = f"Question:\n{fence(task.question)}\n\nResponse to be graded:\n{fence(response)}"
        return [
            {"role": "system", "content": fill("judge_system")},
            {"role": "user", "content": f"{text}\n\n{end}"},
        ]

    return messages


class FirstCriterionFirst(Judge):
    """Asks one criterion alone, so that the prefix is cached when the others come."""

    async def _by_criteria(
        self, task: Task, response: str, arm: Arm, rubric: Rubric, weights: Weights
    ) -> Grade:
        await self._verdict(task, response, rubric.criteria[0])
        return await super()._by_criteria(task, response, arm, rubric, weights)


def sample(n: int) -> tuple[list[Task], list[Pair]]:
    """Pairs of the val split, spread evenly: settings and wordings are not chosen on test."""
    pairs = load_mini_pairs("val")
    return load_mini(), [pairs[i * len(pairs) // n] for i in range(n)]


@contextlib.contextmanager
def server(cell: Cell) -> Iterator[Endpoint]:
    """A server with the cell's settings."""
    todo = plan(cell.model)
    options = [word for option in cell.options.items() for word in option if word]
    env = todo.env | {"VLLM_SERVER_DEV_MODE": "1"} | cell.env  # so that it can empty its cache
    todo = replace(
        todo,
        args=(*todo.args, *options),  # of an option that stands twice the last one counts
        env={name: value for name, value in env.items() if value is not None},
    )
    with serve_plan(todo) as endpoint:
        yield endpoint


def measure(cell: Cell, endpoint: Endpoint) -> dict[str, Any]:
    """Ask, and put everything in numbers."""
    tasks, pairs = sample(cell.pairs)
    with contextlib.ExitStack() as stack:
        if cell.prompt != "as is":
            changed = reworded(cell.prompt)
            stack.enter_context(mock.patch.object(grading, "criterion_messages", changed))
        kind = FirstCriterionFirst if cell.order != "as listed" else Judge
        judge = kind(Chat(endpoint.base_url, endpoint.model, concurrency=cell.concurrency))
        return asyncio.run(ask(judge, tasks, pairs, cell, endpoint.pid or 0)) | {
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "engine": engine(endpoint.log),
        }


async def ask(
    judge: Judge, tasks: list[Task], pairs: list[Pair], cell: Cell, group: int
) -> dict[str, Any]:
    """The timed verdicts, then what they are worth."""
    await grade_many(judge, [(tasks[0], "Water, because it is so.")], "explicit")  # warm
    seconds, busy, usages = [], [], []
    for _ in range(cell.repeats):
        reset(judge.chat.base_url)
        begin, used = time.perf_counter(), cpu(group)
        graded = await grade_pairs(judge, tasks, pairs, "explicit")
        seconds.append(time.perf_counter() - begin)
        busy.append([round(b - a, 1) for a, b in zip(used, cpu(group), strict=True)])
        usages.append(graded.usage)
    prompts = list(prompts_of(tasks, pairs))
    verdicts, usage = len(prompts), usages[-1]
    took = min(seconds)  # other work on the machine can only add to it
    needed = tokens_needed(cell.model, prompts)
    per_token, per_verdict = parameters(cell.model)
    useful = 2 * (per_token * needed + per_verdict * verdicts) / took / 1e12
    found = criterion_agreement(graded)
    assert found.accuracy is not None
    assert found.auc is not None
    result: dict[str, Any] = {
        "model": cell.model,
        "pairs": len(pairs),
        "verdicts": verdicts,
        "seconds": [round(s, 2) for s in seconds],
        "cpu_s_user_system_others": busy,
        "verdicts_per_s": round(verdicts / took, 3),
        "prompt_tokens": usage.prompt_tokens,
        "cached_tokens": usage.cached_tokens,
        "computed_tokens": usage.prompt_tokens - usage.cached_tokens,
        "needed_tokens": needed,
        "useful_tflop_per_s": round(useful, 3),
        "unscored": found.unscored,
        "criterion_accuracy": rounded(found.accuracy),
        "auc": rounded(found.auc),
        "pairwise_explicit": preferred(graded),
    }
    if cell.accuracy:
        reset(judge.chat.base_url)
        begin = time.perf_counter()
        rated = await grade_pairs(judge, tasks, pairs, "implicit")
        result["implicit_seconds"] = round(time.perf_counter() - begin, 2)
        result["pairwise_implicit"] = preferred(rated)
    return result


def cpu(group: int) -> tuple[float, float, float]:
    """CPU seconds so far: of a process group in user mode, in the kernel, and of all others."""
    tick = os.sysconf("SC_CLK_TCK")
    user = kernel = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            values = stat.read_text().rsplit(")", 1)[1].split()
            if int(values[2]) == group:
                user, kernel = user + int(values[11]), kernel + int(values[12])
    words = Path("/proc/stat").read_text().split(maxsplit=9)[1:9]
    whole = sum(map(int, words)) - int(words[3]) - int(words[4])  # without idle and waiting
    return user / tick, kernel / tick, (whole - user - kernel) / tick


def rounded(interval: Any) -> list[float]:
    return [round(x, 4) for x in (interval.value, interval.low, interval.high)]


def preferred(graded: PairGrades) -> list[float]:
    """Pairwise accuracy, ties lost, with its interval."""
    found = graded.accuracy(ties=0.0)
    return rounded(found) if found else []


def reset(base_url: str) -> None:
    """Empty the server's prefix cache."""
    address = base_url.removesuffix("/v1") + "/reset_prefix_cache"
    request = urllib.request.Request(address, b"", method="POST")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    opener.open(request, timeout=60).close()


def engine(log: Path | None) -> list[str]:
    """What vLLM says it computes with."""
    text = log.read_text(errors="replace") if log else ""
    lines = [line.split("] ", 1)[-1] for line in text.splitlines()]
    said = ("Selected ", "GEMM dispatch", "CPU KV cache size")
    return [line for line in dict.fromkeys(lines) if line.startswith(said)]


def cause(error: str) -> str:
    """The first error in the log that a failed server's message names."""
    log = Path(error.split("Log ", 1)[1].split(", its end", 1)[0])
    found = (line.split("] ", 1)[-1] for line in log.read_text(errors="replace").splitlines())
    return next((line for line in found if re.match(r"\w*Error: ", line)), error[:200])


def prompts_of(tasks: list[Task], pairs: list[Pair]) -> Iterator[list[Message]]:
    by_id = {task.id: task for task in tasks}
    for pair in pairs:
        task = by_id[pair.task_id]
        assert task.rubric is not None
        for response in (pair.preferred, pair.rejected):
            for criterion in task.rubric.criteria:
                yield messages.criterion_messages(task, response, criterion, "probability")


def tokens_needed(model: str, prompts: Sequence[list[Message]]) -> int:
    """Nodes of the prompts' prefix tree: what a perfect cache would leave to compute."""
    tokenizer = tokenizer_of(model)
    ids = sorted(
        tokenizer.apply_chat_template(p, add_generation_prompt=True)["input_ids"] for p in prompts
    )
    total = 0
    before: list[int] = []
    for now in ids:
        same = next(
            (i for i, (a, b) in enumerate(zip(before, now, strict=False)) if a != b),
            min(len(before), len(now)),
        )
        total, before = total + len(now) - same, now
    return total


@cache
def tokenizer_of(model: str) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model_dir(model))


@cache
def parameters(model: str) -> tuple[int, int]:
    """Weights multiplied for each token, and for each verdict (the head reads one position)."""
    projections = head = 0
    for file in model_dir(model).glob("*.safetensors"):
        with file.open("rb") as stream:
            (size,) = struct.unpack("<Q", stream.read(8))
            header = json.loads(stream.read(size))
        for name, tensor in header.items():
            if name.endswith("_proj.weight"):
                projections += tensor["shape"][0] * tensor["shape"][1]
            elif name == "lm_head.weight":
                head = tensor["shape"][0] * tensor["shape"][1]
    return projections, head


LIMIT = """
import json, os, time, torch
import vllm._custom_ops as ops
torch.set_num_threads(len(os.sched_getaffinity(0)))
def rate(call, flop, seconds=4.0):
    call(); call()
    best, end = 0.0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        begin = time.perf_counter()
        for _ in range(3): call()
        best = max(best, 3 * flop / (time.perf_counter() - begin) / 1e12)
    return round(best, 3)
found = {}
for m, k, n in [(2048, 1536, 8960), (2048, 8960, 1536), (4096, 4096, 4096)]:
    shape, flop = f"{m}x{k}x{n}", 2 * m * k * n
    a, b = torch.randn(m, k).bfloat16(), torch.randn(k, n).bfloat16()
    # Into the same memory each time: pages of a fresh result cost as much as the product.
    c, d = torch.empty(m, n, dtype=torch.bfloat16), torch.empty(m, n, dtype=torch.int32)
    found[f"bf16 torch {shape}"] = rate(lambda: torch.mm(a, b, out=c), flop)
    x = torch.randint(-127, 128, (m, k), dtype=torch.int8)
    y = torch.randint(-127, 128, (k, n), dtype=torch.int8)
    found[f"int8 torch {shape}"] = rate(lambda: torch._int_mm(x, y, out=d), flop)
    packed, s = torch.ops._C.convert_weight_packed(y.T.contiguous()), torch.rand(n, 1)
    found[f"int8 vllm {shape}"] = rate(lambda: torch.ops._C.int8_scaled_mm_with_quant(
        a, packed, s, None, torch.bfloat16, True), flop)
print(json.dumps(found))
"""


def limit() -> dict[str, Any]:
    """Best rate of a matrix product alone, in TFLOP/s (int8: TOP/s)."""
    command = [sys.executable, "-c", LIMIT]
    env = os.environ | MALLOC
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    products = json.loads(done.stdout.splitlines()[-1])
    best = {
        kind: max(rate for name, rate in products.items() if name.startswith(kind))
        for kind in ("bf16", "int8")
    }
    return {**best, "products": products}


def main() -> None:
    """Measure what is missing, or the cells named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=["limit", *CELLS], default=[])
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"cells": {}}
    if options.list:
        for name in CELLS:
            refused = name in known.get("refused", {})
            state = "refused" if refused else "done" if name in known["cells"] else "to do"
            print(f"{name:24}{state}")
        return
    if "limit" in options.only or "limit" not in known:
        known["limit"] = limit()
        save(known)
    done = known["cells"].keys() | known.get("refused", {}).keys()
    todo = [n for n in CELLS if n in options.only or not (options.only or n in done)]
    for _, names in groupby(todo, lambda n: (CELLS[n].model, CELLS[n].options, CELLS[n].env)):
        with contextlib.ExitStack() as stack:
            endpoint = None
            for name in names:
                print(name, flush=True)
                try:
                    endpoint = endpoint or stack.enter_context(server(CELLS[name]))
                except ServerError as error:  # a setting that this build of vLLM refuses
                    known.setdefault("refused", {})[name] = cause(str(error))
                    save(known)
                    continue
                known["cells"][name] = measure(CELLS[name], endpoint)
                save(known)
                print(json.dumps(known["cells"][name]), flush=True)
    print(table(known))


def save(known: dict[str, Any]) -> None:
    known |= {"machine": hardware(), "versions": versions()}
    known["date"] = datetime.datetime.now(datetime.UTC).date().isoformat()
    known["cells"] = {name: known["cells"][name] for name in CELLS if name in known["cells"]}
    for name, cell in known["cells"].items():
        cell["share_of_bf16_limit"] = round(cell["useful_tflop_per_s"] / known["limit"]["bf16"], 3)
        against = known["cells"].get(CELLS[name].against)
        if against:
            cell["against"] = CELLS[name].against
            cell["ratio"] = round(cell["verdicts_per_s"] / against["verdicts_per_s"], 3)
    RESULTS.parent.mkdir(exist_ok=True)
    atomic_write(RESULTS, json.dumps(known, indent=1) + "\n")


def table(known: dict[str, Any]) -> str:
    """What a reader wants to see, one line a cell."""
    limits = known["limit"]
    lines = [
        f"{known['machine']}, {known['date']}; matrix product: "
        f"{limits['bf16']} TFLOP/s bf16, {limits['int8']} TOP/s int8",
        f"{'cell':24}{'verd/s':>8}{'ratio':>7}{'cached':>8}{'comp.':>8}{'needed':>8}"
        f"{'share':>7}{'acc':>7}{'AUC':>7}{'impl':>6}",
    ]
    for name, c in known["cells"].items():
        lines.append(
            f"{name:24}{c['verdicts_per_s']:8.2f}{c.get('ratio', 1):7.2f}{c['cached_tokens']:8}"
            f"{c['computed_tokens']:8}{c['needed_tokens']:8}{c['share_of_bf16_limit']:7.2f}"
            f"{c['criterion_accuracy'][0]:7.3f}{c['auc'][0]:7.3f}"
            f"{c.get('pairwise_implicit', [0])[0]:6.2f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
