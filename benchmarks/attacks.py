"""What attacks on the judge gain, before and after each defence, and what the defences cost.

    python benchmarks/attacks.py --list          # the conditions, and which are complete
    python benchmarks/attacks.py --minutes 4     # go on for so long; run it again to continue
    python benchmarks/attacks.py --models qwen-0.5b --arms implicit --conditions prompt json

The corpus (rar_lib/evaluation/attacks.jsonl) is applied to the rejected response of a pair from
RaR-Mini, one a task. The arm implicit meets every text; explicit, which asks about each criterion,
one text of each family (the one written after the pre-checks, where there is one). Conditions, each
against its own unattacked grades; the first four by default:

    bare      no fence, template tokens and invisible characters left in, nothing said about them
    prompt    the library's judge: fence, and a system prompt that warns of instructions
    guarded   a longer warning, and a reminder after the response
    strip     prompt + pre-checks that take suspicious sentences out before grading
    fence     response fenced and made visible, nothing said about instructions inside it
    unscored  prompt + no reward for a response that the pre-checks find suspicious
    all       guarded + strip
    json      prompt, read as a sampled JSON reply instead of token probabilities

Calls go through a cassette in _build/, so a run that --minutes cut off is continued by the next.
Only conditions that are complete go to benchmarks/results/attacks.json, together with what needs no
model (rules.py). A condition is measured again when corpus, tasks, prompts or pre-checks change.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import hashlib
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from rules import checks, dropout, shown

from rar_lib.book.machine import hardware, versions
from rar_lib.core.files import atomic_write
from rar_lib.core.prompts import template
from rar_lib.core.stats import bootstrap
from rar_lib.core.text import fence, visible
from rar_lib.core.types import Pair, Task
from rar_lib.data.tasks import load_mini, load_mini_pairs
from rar_lib.evaluation.attacks import (
    THRESHOLD,
    Attack,
    AttackResult,
    by_family,
    load_attacks,
    one_of_each_family,
    probe,
    success_rate,
)
from rar_lib.judging.cassette import Cassette
from rar_lib.judging.chat import Chat, Message, Reply
from rar_lib.judging.guard import GuardedJudge
from rar_lib.judging.judge import Judge, grade_many
from rar_lib.judging.messages import Reading
from rar_lib.models.catalogue import MODELS

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "attacks.json"
MODELS_MEASURED = ("qwen-1.5b-int8", "qwen-0.5b", "smollm2-135m")
CONDITIONS = ("bare", "prompt", "guarded", "strip")
_RESPONSE = re.compile(r"Response to be graded:\n(`{3,})\n(.*)\n\1\n", re.DOTALL)


@dataclass(frozen=True)
class Variant(Chat):
    """A client that sends other wording than the library's.

    Attributes:
        system: name of the system prompt.
        reminder: whether a sentence after the response says that it is over.
        raw: visible text -> text as attacked; sent without fence where it is not empty.
    """

    system: str = "judge_system"
    reminder: bool = False
    raw: Mapping[str, str] = field(default_factory=dict, compare=False)

    async def complete(self, messages: list[Message], **options: Any) -> Reply:
        """The reply to the changed messages."""
        changed = [dict(m) for m in messages]
        changed[0]["content"] = template(self.system)
        text = changed[1]["content"]
        found = _RESPONSE.search(text)
        if found is None:
            raise ValueError("the judge's prompt no longer says 'Response to be graded:'")
        body = self.raw[found[2]] if self.raw else fence(found[2])
        if self.reminder:
            body += "\n\n" + template("judge_reminder")
        start, end = found.span()
        changed[1]["content"] = f"{text[:start]}Response to be graded:\n{body}\n{text[end:]}"
        return await super().complete(changed, **options)


def variant(chat: Chat, **changes: Any) -> Variant:
    """The same client with other wording."""
    return Variant(**{f.name: getattr(chat, f.name) for f in fields(Chat)}, **changes)


def judges(chat: Chat, raw: Mapping[str, str]) -> dict[str, Callable[[], Judge]]:
    """A judge for every condition, cheapest to answer first."""
    guarded = variant(chat, system="judge_system_guarded", reminder=True)
    read: Reading = "sampled"
    return {
        "prompt": lambda: Judge(chat),
        "strip": lambda: GuardedJudge(chat, mode="strip"),
        "unscored": lambda: GuardedJudge(chat, mode="unscored"),
        "bare": lambda: Judge(variant(chat, system="judge_system_plain", raw=raw)),
        "guarded": lambda: Judge(guarded),
        "all": lambda: GuardedJudge(guarded, mode="strip"),
        "fence": lambda: Judge(variant(chat, system="judge_system_plain")),
        "json": lambda: Judge(chat, read),
    }


def chosen(n: int) -> list[tuple[Task, Pair]]:
    """One pair of each of ``n`` tasks, medicine and science in turn, obvious ones left out."""
    tasks = {t.id: t for t in load_mini()}
    first: dict[str, Pair] = {}
    for pair in load_mini_pairs("test"):
        if pair.difficulty != "obvious":
            first.setdefault(pair.task_id, pair)
    medicine = [p for i, p in first.items() if tasks[i].domain == "medicine"]
    science = [p for i, p in first.items() if tasks[i].domain != "medicine"]
    both = [p for two in zip(medicine, science, strict=False) for p in two]
    return [(tasks[p.task_id], p) for p in both[:n]]


def texts_of(arm: str) -> tuple[Attack, ...]:
    """The attacks that an arm meets: explicit asks eight times as much for each."""
    return one_of_each_family(load_attacks()) if arm == "explicit" else load_attacks()


def mark(arm: str, picked: Sequence[tuple[Task, Pair]]) -> str:
    """Identity of what a condition measures, so that a complete one is not measured again."""
    library = ROOT / "rar_lib"
    prompts = sorted((library / "core" / "prompts").glob("judge_*.txt"))
    sources = [*prompts, library / "judging" / "guard.py"]
    parts = [
        *(p.read_text("utf-8") for p in sources),
        *(a.model_dump_json() for a in texts_of(arm)),
        *(t.model_dump_json() + p.rejected for t, p in picked),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


async def measure(
    judge: Judge, tasks: Sequence[Task], responses: Sequence[str], arm: Any
) -> dict[str, Any]:
    """Every attack on every response, under one condition."""
    honest = await grade_many(judge, list(zip(tasks, responses, strict=True)), arm)
    results = await probe(judge, tasks, responses, arm, texts_of(arm))
    scores = [g.score for g in honest if g.score is not None]
    return {"score": shown(bootstrap(scores)) if scores else None, **summary(results)}


def summary(results: Sequence[AttackResult]) -> dict[str, Any]:
    """Success rates of families and of both halves of the corpus, and the gains of each attack."""
    halves = {
        "written before the rules": [r for r in results if r.attack.written == "before"],
        "written after the rules": [r for r in results if r.attack.written == "after"],
    }
    return {
        "success": {
            name: shown(success_rate(rows))
            for name, rows in {"every attack": results, **halves}.items()
        },
        "unscored": sum(r.unscored for r in results),
        "families": {
            name: {
                "attacks": r.attacks,
                "success": shown(r.success),
                "gain": shown(r.gain),
                "unscored": r.unscored,
            }
            for name, r in by_family(results).items()
        },
        "attacks": {
            r.attack.id: [None if g is None else round(g, 4) for g in r.gains] for r in results
        },
    }


async def run(options: argparse.Namespace, known: dict[str, Any]) -> None:
    """Measure what is asked for until the time is over; finished conditions go to ``known``."""
    from rar_lib.models.server import serve

    picked = chosen(options.tasks)
    tasks, responses = [task for task, _ in picked], [pair.rejected for _, pair in picked]
    raw = {
        visible(text): text
        for task, response in zip(tasks, responses, strict=True)
        for text in (response, *(a.rewrite(task, response) for a in load_attacks()))
    }
    done = known.setdefault("judges", {})
    for model in options.models:
        with ExitStack() as servers:
            cassette = Cassette(ROOT / "_build" / "attacks.sqlite", "record")
            servers.callback(cassette.close)

            def start(model: str = model, servers: ExitStack = servers) -> str:
                return servers.enter_context(serve(model)).base_url

            chat = Chat(
                "http://127.0.0.1/v1",
                model,
                weights=MODELS[model].identity,
                cassette=cassette,
                start=start,
            )
            for arm in options.arms:
                of = mark(arm, picked)
                for name in options.conditions:
                    key = f"{model}/{arm}/{name}"
                    complete = done.get(key, {}).get("of") == of
                    if options.list:
                        print(f"{key:40}{'complete' if complete else 'to do'}")
                    if options.list or complete:
                        continue
                    begin = time.perf_counter()
                    row = await measure(judges(chat, raw)[name](), tasks, responses, arm)
                    print(f"{key}: {time.perf_counter() - begin:.0f} s", flush=True)
                    done[key] = {
                        "rejected": row,
                        "tasks": [t.id for t in tasks],
                        "of": of,
                        "date": datetime.date.today().isoformat(),
                    }
                    save(known)


def save(known: dict[str, Any]) -> None:
    """``results/attacks.json`` with what is complete so far."""
    known |= {
        "machine": hardware(),
        "date": datetime.date.today().isoformat(),
        "versions": versions(),
        "threshold": THRESHOLD,
    }
    RESULTS.parent.mkdir(exist_ok=True)
    atomic_write(RESULTS, json.dumps(known, indent=1, ensure_ascii=False) + "\n")


def main() -> None:
    """Measure, and write results/attacks.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=MODELS_MEASURED, choices=sorted(MODELS))
    parser.add_argument("--arms", nargs="+", default=["implicit", "explicit"])
    parser.add_argument("--conditions", nargs="+", default=CONDITIONS)
    parser.add_argument("--tasks", type=int, default=8)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--list", action="store_true", help="only say what is complete")
    options = parser.parse_args()
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    try:
        asyncio.run(asyncio.wait_for(run(options, known), options.minutes * 60))
    except TimeoutError:
        print("the time is over: run again to continue")
    if not options.list:
        known |= {"pre-checks": checks(), "dropout": dropout()}
        save(known)


if __name__ == "__main__":
    main()
