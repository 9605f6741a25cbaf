"""The arithmetic of ``run.py``: measured pieces in, one JSON and one table out."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np

from rar_lib.core.scoring import explicit_score
from rar_lib.core.stats import auc, pairwise_accuracy, task_interval
from rar_lib.core.types import Pair, Task
from rar_lib.judging.calibration import Calibration, Identity, apply, fit
from rar_lib.judging.messages import Messages, rubric_of
from rar_lib.models.catalogue import MODELS
from results.limit import differing, share_of_limit

Tasks = Mapping[str, tuple[Task, Pair]]
Done = Sequence[tuple[Any, str, Sequence[dict[str, Any]], dict[str, Any]]]
#: Verdicts a second of each of ours over each peer's: the first on the same server with the same
#: weights; the second on int8 weights, the peers still on those of the first.
OURS = ("rar_probability", "rar_int8")
PEERS = ("autorubric", "rubric", "healthbench")
TOKENS = ("prompt_tokens", "cached_tokens", "written_tokens")


def summarise(done: Done, tasks: Tasks, server: Mapping[str, Any]) -> dict[str, Any]:
    """``judges.json`` from the pieces: (system, part, items, measured) each.

    Raises:
        SystemExit: they were made on several machines, or under several versions.
    """
    made_by = {f"{system.name} {part}": result["made_by"] for system, part, _, result in done}
    if said := differing(made_by):
        raise SystemExit(f"no table of these pieces, {said}: measure those of one with --force")
    systems: dict[str, Any] = {}
    for system in dict.fromkeys(of for of, *_ in done):
        own = [(part, items, result) for of, part, items, result in done if of == system]
        compared = [(items, result) for part, items, result in own if part.startswith("tasks-")]
        if not compared:
            continue
        pieces = [result for _, result in compared]
        row = one_system(pieces, tasks)
        if system.peer == "rar" and system.variant == "probability":
            by_id = {name: task for name, (task, _) in tasks.items()}
            row |= share_of_limit(system.model, [items for items, _ in compared], pieces, by_id)
            val = next((result for part, _, result in own if part == "val"), None)
            if val:
                row["calibrated"] = calibrated(system.model, pieces, val, tasks)
        systems[system.name] = {"label": system.label, "model": system.model} | row
    shares = {
        name: row["share_of_limit"] for name, row in systems.items() if "share_of_limit" in row
    }
    best = max(shares, key=lambda name: shares[name], default=None)
    return {
        "ratios_verdicts_per_s": ratios(systems),
        "share_of_limit": shares.get(best) if best else None,
        "share_of_limit_system": best,
        **next(iter(made_by.values())),
        "date": max(result["date"] for *_, result in done),
        "server": dict(server),
        "systems": systems,
        "scaling": scaling(done),
    }


def ratios(systems: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float | None]]:
    """One of ours -> a peer -> how many times as many verdicts a second; ``None``: not measured."""
    speed = {name: row["verdicts_per_s"] for name, row in systems.items()}
    found: dict[str, dict[str, float | None]] = {name: {} for name in OURS}
    for name, peer in product(OURS, PEERS):
        ours = speed.get(name)
        theirs = speed.get(peer)
        found[name][peer] = ours / theirs if ours and theirs else None
    return found


def one_system(pieces: Sequence[dict[str, Any]], tasks: Tasks) -> dict[str, Any]:
    """Speed, tokens and correctness of one system over its pieces."""
    seconds = sum(piece["seconds"] for piece in pieces)
    items = [one for piece in pieces for one in piece["items"]]
    outcomes = [outcome for one in items for outcome in one["outcomes"]]
    unreadable = [one for one in outcomes if one["value"] is None and not one["abstained"]]
    n = len(outcomes)
    row: dict[str, Any] = {
        "tasks": len({one["id"].split(":")[0] for one in items}),
        "responses": len(items),
        "n": n,
        "seconds": seconds,
        **counted(pieces),
        "other_load": max(piece["other_load"] for piece in pieces),
        "memory_gb": max(piece["memory_gb"] for piece in pieces),
        "number_format": pieces[0]["number_format"],
        "dates": sorted({piece["date"] for piece in pieces}),
        "package": next((piece["versions"] for piece in pieces if piece["versions"]), ""),
        "unreadable_share": len(unreadable) / n,
        "abstained_share": sum(outcome["abstained"] for outcome in outcomes) / n,
        "reasons": sorted({outcome["reason"] for outcome in outcomes if outcome["reason"]})[:5],
    }
    row["tokens_per_verdict"] = computed(row) / n
    if all(len(one["outcomes"]) == len(gold(one["id"], tasks)) for one in items):
        row["verdicts_per_s"] = n / seconds
        row |= correctness(items, tasks)
    else:
        # One reward for the whole response: there are no verdicts to count or to check.
        row |= {"rewards_per_s": n / seconds, "verdicts_per_s": None}
        row["pairs_right"] = pairs_right({one["id"]: one["outcomes"][0]["value"] for one in items})
    return row


def counted(pieces: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the server counted, over all pieces."""
    found = {}
    for name in (*TOKENS, "requests", "preemptions"):
        found[name] = sum(piece[name] for piece in pieces)
    return found


def computed(row: Mapping[str, Any]) -> float:
    """Tokens that went through the model: read and not in the cache, and written."""
    return float(row["prompt_tokens"] - row["cached_tokens"] + row["written_tokens"])


def gold(name: str, tasks: Tasks) -> list[bool]:
    """The labels of an item ``task:side``, in the order of its criteria."""
    task_id, side = name.split(":")
    task, pair = tasks[task_id]
    labels = pair.gold_preferred if side == "preferred" else pair.gold_rejected
    return [labels[criterion.id] for criterion in rubric_of(task).criteria]


def correctness(items: Sequence[Mapping[str, Any]], tasks: Tasks) -> dict[str, Any]:
    """Accuracy over scored verdicts with a 95 % interval over tasks, AUC, and pairs.

    ``accuracy_unscored_wrong`` counts an unscored verdict as a wrong one: leaving out what a
    judge couldn't read flatters it.
    """
    by_task: dict[str, list[float]] = {}
    values: list[float] = []
    labels: list[bool] = []
    rewards: dict[str, float | None] = {}
    for entry in items:
        task_id = entry["id"].split(":")[0]
        rubric = rubric_of(tasks[task_id][0])
        met = [outcome["value"] for outcome in entry["outcomes"]]
        for value, label in zip(met, gold(entry["id"], tasks), strict=True):
            counts = by_task.setdefault(task_id, [0.0, 0.0, 0.0])
            counts[2] += 1
            if value is not None:
                counts[0] += (value > 0.5) == label
                counts[1] += 1
                values.append(float(value))
                labels.append(label)
        ids = [criterion.id for criterion in rubric.criteria]
        rewards[entry["id"]] = explicit_score(rubric, dict(zip(ids, met, strict=True)))
    rows = [counts for counts in by_task.values() if counts[1]]
    if not rows:
        return {
            "accuracy": None,
            "accuracy_low": None,
            "accuracy_high": None,
            "auc": None,
            "accuracy_unscored_wrong": 0.0,
            "pairs_right": None,
        }
    accuracy = task_interval(rows, lambda x: float(x[:, 0].sum() / x[:, 1].sum()), bounds=(0, 1))
    total = np.sum(list(by_task.values()), axis=0)
    return {
        "accuracy": accuracy.value,
        "accuracy_low": accuracy.low,
        "accuracy_high": accuracy.high,
        "accuracy_unscored_wrong": float(total[0] / total[2]),
        "auc": auc(values, labels),
        "pairs_right": pairs_right(rewards),
    }


def calibrated(
    model: str, pieces: Sequence[dict[str, Any]], val: Mapping[str, Any], tasks: Tasks
) -> dict[str, Any]:
    """The same probabilities after a Platt calibration that was fitted on the val split."""
    judge = Identity.of(model, MODELS[model].identity, Messages())
    known = [
        (outcome["value"], label)
        for entry in val["items"]
        for outcome, label in zip(entry["outcomes"], gold(entry["id"], tasks), strict=True)
        if outcome["value"] is not None
    ]
    line = fit([p for p, _ in known], [label for _, label in known], judge=judge)
    items = [all_moved(line, entry) for piece in pieces for entry in piece["items"]]
    return correctness(items, tasks) | {"threshold": half(line), "fitted_on": line.n}


def all_moved(line: Calibration, entry: Mapping[str, Any]) -> dict[str, Any]:
    """An item with every probability calibrated."""
    outcomes = entry["outcomes"]
    return {
        **entry,
        "outcomes": [outcome | {"value": moved(line, outcome["value"])} for outcome in outcomes],
    }


def half(line: Calibration) -> float | None:
    """The judge's own probability that becomes one half; ``None`` if none does."""
    if not line.slope:
        return None
    return 1.0 / (1.0 + math.exp(line.intercept / line.slope))


def moved(line: Calibration, value: float | None) -> float | None:
    """A calibrated probability; what is unscored stays so."""
    return None if value is None else float(apply(line, value, line.judge))


def pairs_right(rewards: Mapping[str, float | None]) -> dict[str, Any]:
    """Share of scored pairs whose preferred response has the higher reward; ties count half."""
    names = sorted({name.split(":")[0] for name in rewards})
    both = [(rewards.get(f"{name}:preferred"), rewards.get(f"{name}:rejected")) for name in names]
    scored = [(better, worse) for better, worse in both if better is not None and worse is not None]
    share = pairwise_accuracy(*zip(*scored, strict=True), ties=0.5) if scored else None
    return {"share": share, "scored": len(scored), "pairs": len(names)}


def scaling(done: Done) -> dict[str, Any]:
    """System -> number of criteria -> what a grade costs."""
    found: dict[str, Any] = {}
    for system, part, items, result in done:
        if part.startswith("size-"):
            found.setdefault(system.name, {})[part.removeprefix("size-")] = {
                "grades": len(items),
                "seconds_per_grade": result["seconds"] / len(items),
                "tokens_per_grade": computed(result) / len(items),
                "requests_per_grade": result["requests"] / len(items),
            }
    return found


def figure(results: Mapping[str, Any]) -> Any:
    """Seconds and computed tokens of a grade against the number of its criteria."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(8, 3.2), layout="constrained")
    axes = drawn.subplots(1, 2)
    counts = sorted(map(int, {size for sizes in results["scaling"].values() for size in sizes}))
    for name, sizes in results["scaling"].items():
        k = sorted(map(int, sizes))
        label = results["systems"].get(name, {}).get("label", name)
        for axis, key in zip(axes, ("seconds_per_grade", "tokens_per_grade"), strict=True):
            axis.plot(k, [sizes[str(size)][key] for size in k], marker="o", label=label)
    for axis, text in zip(axes, ("seconds a grade", "tokens computed a grade"), strict=True):
        axis.set(xlabel="criteria in the rubric", ylabel=text, xscale="log", yscale="log")
        axis.set_xticks(counts, [str(count) for count in counts])
    axes[0].legend()
    return drawn


def render(results: Mapping[str, Any]) -> str:
    """The table as Markdown, with what belongs beside it."""
    head = [
        "system",
        "verdicts/s",
        "GB",
        "tokens each",
        "accuracy",
        "AUC",
        "unreadable",
        "abstained",
        "pairs right",
        "seconds",
        "n",
    ]
    rows = [head, ["---", *["---:"] * (len(head) - 1)]]
    shown = []
    for row in results["systems"].values():
        shown.append(row)
        if "calibrated" in row:
            label = f"{row['label']}, calibrated on val"
            shown.append(row | row["calibrated"] | {"label": label})
    for row in shown:
        verdicts = row["verdicts_per_s"] is not None
        accuracy = row.get("accuracy")
        interval = (
            f"{accuracy:.2f} [{row['accuracy_low']:.2f}, {row['accuracy_high']:.2f}]"
            if accuracy is not None
            else "–"
        )
        pairs = row["pairs_right"] or {"share": None, "scored": 0}
        rows.append(
            [
                row["label"],
                f"{row['verdicts_per_s']:.2f}"
                if verdicts
                else f"{row['rewards_per_s']:.2f} rewards",
                f"{row['memory_gb']:.1f}",
                f"{row['tokens_per_verdict']:.0f}",
                interval,
                f"{row['auc']:.2f}" if row.get("auc") is not None else "–",
                f"{row['unreadable_share']:.1%}",
                f"{row['abstained_share']:.1%}",
                f"{pairs['share']:.2f} of {pairs['scored']}" if pairs["share"] is not None else "–",
                f"{row['seconds']:.0f}",
                str(row["n"]),
            ]
        )
    lines = [f"| {' | '.join(cells)} |" for cells in rows]
    lines += ["", *spoken(results)]
    lines.append(f"{results['machine']}; {results['date']}; {json.dumps(results['versions'])}")
    return "\n".join(lines)


def spoken(results: Mapping[str, Any]) -> list[str]:
    """Ratios and share of the limit, a line each; of a ratio that is not there, that it is not."""
    known = results["systems"]
    labels = {name: row["label"] for name, row in known.items()}
    lines = []
    for name, peers in results["ratios_verdicts_per_s"].items():
        said = [
            f"{labels.get(peer, peer)} {'not measured' if ratio is None else f'{ratio:.1f}'}"
            for peer, ratio in peers.items()
        ]
        lines.append(f"Verdicts a second, {labels.get(name, name)} over: {', '.join(said)}.")
    if (best := results["share_of_limit_system"]) is not None:
        share = results["share_of_limit"]
        kind = known[best]["number_format"]
        lines.append(f"Share of the {kind} limit ({labels[best]}): {share:.2f}.")
    return lines
