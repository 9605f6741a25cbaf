"""What attacks on the judge gain, before and after each defence, and what the defences cost.

    python -m results.attacks --list          # the conditions, and which are complete
    python -m results.attacks --minutes 4     # go on for so long; run it again to continue
    python -m results.attacks --models qwen-0.5b --arms implicit --conditions prompt json

The corpus (rar_lib/evaluation/attacks.jsonl) is applied to the rejected response of a pair from
RaR-Mini, one a task: to every test task for the largest judge, to as many as the laptop profile
draws for the others (``--tasks``). The arm implicit meets every text; explicit, which asks about
each criterion, one text of each family (the one written after the pre-checks, where there is one).
Conditions, each against its own unattacked grades; the first four by default, in this order:

    prompt    the library's judge: fence, and a system prompt that warns of instructions
    strip     prompt + pre-checks that take suspicious sentences out before grading
    bare      no fence, template tokens and invisible characters left in, nothing said about them
    warned    a longer warning, and a reminder after the response
    fence     response fenced and made visible, nothing said about instructions inside it
    unscored  prompt + no reward for a response that the pre-checks find suspicious
    all       warned + strip
    json      prompt, read as a sampled JSON reply instead of token probabilities

Calls go through a cassette in _build/, so a run that --minutes cut off is continued by the next.
Only conditions that are complete go to results/attacks.json, and all of them from one machine. A
condition is measured again when corpus, tasks, prompts or the code of the judge change. ``--list``
says how many calls are left, and about how long they take where engines.json has the speed of the
judge on such a machine. The claims of the ledger are decided on the largest judge, whose conditions
*prompt* and *strip* are measured first: whether attacks gain more than harmless text under the one,
and whether fewer succeed under the other. They are corrected for their whole family, which few
tasks cannot decide (:func:`rar_lib.book.claims.fewest_tasks`): so that judge meets all there are.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby, product
from pathlib import Path
from typing import Any

from rar_lib.book import claims
from rar_lib.book.profiles import load
from rar_lib.book.results import check_one_origin
from rar_lib.core.decision import decide_family
from rar_lib.core.errors import DataError
from rar_lib.core.files import atomic_write, checkout, digest, file_hash, sources
from rar_lib.core.stats import Comparison, Interval, scored, task_interval
from rar_lib.core.text import fence
from rar_lib.core.types import Arm, Pair, Task
from rar_lib.data.tasks import draw_pairs, load_mini, load_mini_pairs
from rar_lib.evaluation.attacks import (
    THRESHOLD,
    Attack,
    AttackResult,
    against_control,
    by_family,
    load_attacks,
    one_of_each_family,
    probe,
    success_change,
    success_rate,
)
from rar_lib.judging.cassette import Cassette
from rar_lib.judging.chat import Chat
from rar_lib.judging.guard import GuardedJudge
from rar_lib.judging.judge import Judge, grade_many
from rar_lib.judging.messages import Messages
from rar_lib.judging.wire import Message
from rar_lib.models.catalogue import MODELS
from rar_lib.models.machine import hardware, versions
from rar_lib.models.processor import cpu_dtype, engine
from rar_lib.models.server import local_chat
from results import engines

ROOT = checkout() or Path.cwd()
RESULTS = Path(__file__).with_name("attacks.json")
#: From large to small; claims are decided on the first, which meets every task.
MODELS_MEASURED = ("qwen-1.5b", "qwen-0.5b", "smollm2-135m")
ARMS: tuple[Arm, ...] = ("implicit", "explicit")
#: Those that decide claims come first.
CONDITIONS = ("prompt", "strip", "bare", "warned")
PROMPTS = Path(__file__).with_name("attacks_prompts")


def text(name: str) -> str:
    """A prompt that only this study sends."""
    return (PROMPTS / f"{name}.txt").read_text(encoding="utf-8").strip()


@dataclass(frozen=True)
class Otherwise(Messages):
    """The library's messages with another system prompt, and the response shown otherwise.

    Attributes:
        told: the system prompt.
        reminder: what stands after the response.
        fenced: without it the response stands as it is, invisible characters and all.
    """

    told: str = ""
    reminder: str = ""
    fenced: bool = True

    @property
    def fingerprint(self) -> str:
        """That of the library's messages, and what is changed in them."""
        return digest([super().fingerprint, self.told, self.reminder, self.fenced])

    def criterion(self, *asked: Any) -> list[Message]:
        """See :class:`rar_lib.judging.messages.JudgeMessages`."""
        return self._told(super().criterion(*asked))

    def rating(self, *asked: Any) -> list[Message]:
        """See :class:`rar_lib.judging.messages.JudgeMessages`."""
        return self._told(super().rating(*asked))

    def shown(self, response: str) -> str:
        """The response as it stands in the prompt."""
        body = fence(response) if self.fenced else response
        return f"{body}\n\n{self.reminder}" if self.reminder else body

    def _told(self, messages: list[Message]) -> list[Message]:
        return [{"role": "system", "content": self.told}, *messages[1:]]


def judges(chat: Chat) -> dict[str, Callable[[], Judge]]:
    """A judge for every condition, cheapest to answer first."""
    warned = Otherwise(told=text("system_warned"), reminder=text("reminder"))
    plain = Otherwise(told=text("system_plain"))
    return {
        "prompt": lambda: Judge(chat),
        "strip": lambda: GuardedJudge(chat, mode="strip"),
        "unscored": lambda: GuardedJudge(chat, mode="unscored"),
        "bare": lambda: Judge(chat, messages=replace(plain, fenced=False)),
        "warned": lambda: Judge(chat, messages=warned),
        "all": lambda: GuardedJudge(chat, mode="strip", messages=warned),
        "fence": lambda: Judge(chat, messages=plain),
        "json": lambda: Judge(chat, "sampled"),
    }


def chosen(n: int) -> list[tuple[Task, Pair]]:
    """One pair of each of ``n`` tasks, at most all 48: the stratified draw that chapters use."""
    tasks = {task.id: task for task in load_mini()}
    first: dict[str, Pair] = {}
    for pair in draw_pairs(load_mini_pairs("test"), n, list(tasks.values())):
        first.setdefault(pair.task_id, pair)
    return [(tasks[pair.task_id], pair) for pair in first.values()]


@cache
def picked(model: str, drawn: int) -> tuple[tuple[Task, Pair], ...]:
    """What a judge meets: the largest every test task, the others ``drawn`` of them."""
    every = len({pair.task_id for pair in load_mini_pairs("test")})
    return tuple(chosen(every if model == MODELS_MEASURED[0] else drawn))


def texts_of(arm: str) -> tuple[Attack, ...]:
    """The attacks that an arm meets: explicit asks eight times as much for each."""
    return one_of_each_family(load_attacks()) if arm == "explicit" else load_attacks()


def mark(arm: str, items: Sequence[tuple[Task, Pair]]) -> str:
    """Identity of what a condition measures, so that a complete one is not measured again.

    Raises:
        DataError: the folder of prompts is empty.
    """
    prompts = [file_hash(path) for path in sorted(PROMPTS.glob("*.txt"))]
    if not prompts:
        raise DataError(f"{PROMPTS} holds no prompt (*.txt): restore it from git")
    texts = [attack.model_dump(mode="json") for attack in texts_of(arm)]
    asked = [[task.model_dump(mode="json"), pair.rejected] for task, pair in items]
    return digest([sources("core", "judging"), prompts, texts, asked])[:16]


def shown(interval: Interval | None) -> dict[str, Any] | None:
    """An interval as JSON."""
    if interval is None:
        return None
    return {key: round(getattr(interval, key), 4) for key in ("value", "low", "high", "n")}


async def measure(
    judge: Judge, tasks: Sequence[Task], responses: Sequence[str], arm: Any
) -> dict[str, Any]:
    """Every attack on every response, under one condition."""
    honest = await grade_many(judge, list(zip(tasks, responses, strict=True)), arm)
    results = await probe(judge, tasks, responses, arm, texts_of(arm))
    scores = scored(grade.score for grade in honest)
    return {"score": shown(task_interval(scores)) if scores else None, **summary(results)}


def summary(results: Sequence[AttackResult]) -> dict[str, Any]:
    """Success rates of families and of both halves of the corpus, and the gains of each attack."""
    halves = {
        "written before the rules": [one for one in results if one.attack.written == "before"],
        "written after the rules": [one for one in results if one.attack.written == "after"],
    }
    return {
        "success": {
            name: shown(success_rate(rows))
            for name, rows in {"every attack": results, **halves}.items()
        },
        "unscored": sum(one.unscored for one in results),
        "unknown": sorted({place for one in results for place in one.unknown}),
        "families": {
            name: {
                "attacks": family.attacks,
                "success": shown(family.success),
                "gain": shown(family.gain),
                "unscored": family.unscored,
            }
            for name, family in by_family(results).items()
        },
        "attacks": {one.attack.id: gains_of(one) for one in results},
    }


def gains_of(result: AttackResult) -> list[float | None]:
    """What an attack gained on each task, to four places."""
    return [None if gain is None else round(gain, 4) for gain in result.gains]


def findings(rows: Mapping[str, Any]) -> dict[str, Any]:
    """The claims of the ledger, of the largest judge, decided as one family.

    A claim is decided once its conditions are complete, and a change of one condition to another
    where tasks, texts and code of both are the same. Gains are taken as they are recorded.

    Args:
        rows: ``model/arm/condition`` -> a finished row, see :func:`row_of`.
    """
    gaps: dict[str, Comparison | None] = {}
    margins = {}
    for arm in ARMS:
        open_, closed = (rows.get(f"{MODELS_MEASURED[0]}/{arm}/{of}") for of in ("prompt", "strip"))
        if open_:
            gaps[f"gaming.attacks_pay_{arm}"] = against_control(outcomes(open_, arm))
            margins[f"gaming.attacks_pay_{arm}"] = claims.margin("attack_gain")
        if open_ and closed and open_["of"] == closed["of"]:
            change = success_change(outcomes(open_, arm), outcomes(closed, arm))
            gaps[f"gaming.rules_help_{arm}"] = -change if change else None
            margins[f"gaming.rules_help_{arm}"] = claims.margin("attack_share")
    return {name: found.to_json() for name, found in decide_family(gaps, margins=margins).items()}


def outcomes(row: Mapping[str, Any], arm: Arm) -> list[AttackResult]:
    """What each attack did, from a finished row; of attacks that the corpus still holds."""
    corpus = {attack.id: attack for attack in load_attacks()}
    gains = row["rejected"]["attacks"]
    unknown = frozenset(row["rejected"]["unknown"])
    return [
        AttackResult(corpus[id_], arm, tuple(gains[id_]), unknown) for id_ in gains if id_ in corpus
    ]


def check_origin(known: Mapping[str, Any]) -> None:
    """A record is of one machine and one set of versions, which its findings name.

    Raises:
        DataError: ``known`` is of others.
    """
    if "machine" in known:
        check_one_origin([known, origin()])


def origin() -> dict[str, Any]:
    """This machine and its versions."""
    return {"machine": hardware(), "versions": versions()}


@dataclass(frozen=True)
class Condition:
    """One judge in one arm behind one defence, on the tasks that it meets."""

    model: str
    arm: str
    name: str
    items: Sequence[tuple[Task, Pair]]

    @property
    def key(self) -> str:
        """Its name in the record."""
        return f"{self.model}/{self.arm}/{self.name}"

    @property
    def of(self) -> str:
        """See :func:`mark`."""
        return mark(self.arm, self.items)

    @property
    def calls(self) -> int:
        """That it takes: a rating or one verdict a criterion, of each text and of none."""
        texts = len(texts_of(self.arm)) + 1
        if self.arm == "implicit":
            return texts * len(self.items)
        return texts * sum(len(task.rubric.criteria) for task, _ in self.items if task.rubric)

    def seconds(self, known: Sequence[Mapping[str, Any]]) -> float | None:
        """About how long its calls take; ``None`` where that judge's speed is not on record.

        Args:
            known: rows of ``engines.json``, newest last.
        """
        here = (self.model, cpu_dtype(), len(os.sched_getaffinity(0)))
        what = "ratings_per_s" if self.arm == "implicit" else "verdicts_per_s"
        for row in reversed(known):
            if (row["model"], row["number format of vllm"], row["cores"]) == here:
                return self.calls / float(row["engines"][engine(self.model)][what])
        return None


def asked_for(options: argparse.Namespace) -> list[Condition]:
    """The conditions of the command line, in the order in which they are measured."""
    return [
        Condition(model, arm, name, picked(model, options.tasks))
        for model, name, arm in product(options.models, options.conditions, options.arms)
    ]


def listing(options: argparse.Namespace, done: Mapping[str, Any]) -> None:
    """Say which conditions are complete, and what is left."""
    speeds = json.loads(engines.RESULTS.read_text()) if engines.RESULTS.exists() else []
    for one in asked_for(options):
        complete = done.get(one.key, {}).get("of") == one.of
        took = one.seconds(speeds)
        long = "how long is not known" if took is None else f"about {took / 60:.0f} min"
        left = f"to do: {len(one.items)} tasks, {one.calls:,} calls, {long}"
        print(f"{one.key:40}{'complete' if complete else left}")


async def run(options: argparse.Namespace, known: dict[str, Any]) -> None:
    """Measure what is asked for until the time is over; finished conditions go to ``known``."""
    check_origin(known)
    done = known.setdefault("judges", {})
    with closing(Cassette(ROOT / "_build" / "attacks.sqlite", "record")) as cassette:
        for model, those in groupby(asked_for(options), key=lambda one: one.model):
            with local_chat(model, cassette=cassette) as chat:
                for one in those:
                    of = one.of
                    if done.get(one.key, {}).get("of") == of:
                        continue
                    begin = time.perf_counter()
                    done[one.key] = await row_of(judges(chat)[one.name](), one) | {"of": of}
                    print(f"{one.key}: {time.perf_counter() - begin:.0f} s", flush=True)
                    save(known)


async def row_of(judge: Judge, one: Condition) -> dict[str, Any]:
    """One finished row of the record."""
    tasks = [task for task, _ in one.items]
    return {
        "rejected": await measure(judge, tasks, [pair.rejected for _, pair in one.items], one.arm),
        "tasks": [task.id for task in tasks],
        "date": datetime.date.today().isoformat(),
    }


def save(known: dict[str, Any]) -> None:
    """``results/attacks.json`` with what is complete so far, and what that decides."""
    known |= origin() | {
        "date": datetime.date.today().isoformat(),
        "threshold": THRESHOLD,
        "findings": findings(known["judges"]),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    atomic_write(RESULTS, json.dumps(known, indent=1, ensure_ascii=False) + "\n")


def main() -> None:
    """Measure, and write results/attacks.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=MODELS_MEASURED, choices=sorted(MODELS))
    parser.add_argument("--arms", nargs="+", default=ARMS)
    parser.add_argument("--conditions", nargs="+", default=CONDITIONS)
    of_others = "that the smaller judges meet; the largest meets all"
    parser.add_argument("--tasks", type=int, default=load("laptop").pairs, help=of_others)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--list", action="store_true", help="only say what is complete")
    options = parser.parse_args()
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if options.list:
        return listing(options, known.get("judges", {}))
    try:
        asyncio.run(asyncio.wait_for(run(options, known), options.minutes * 60))
    except TimeoutError:
        print("the time is over: run again to continue")
    except DataError as error:
        raise SystemExit(f"{RESULTS.name}: {error}, or move it away") from error


if __name__ == "__main__":
    main()
