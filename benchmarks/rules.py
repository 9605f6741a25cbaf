"""What can be said about the defences without a model: pre-checks, and rubric dropout.

    python benchmarks/rules.py      # prints it; attacks.py puts it into its results

The pre-checks were written with the attacks marked ``before`` in sight, and narrowed until no
text of RaR-Mini was accused (their first form accused 18 of 400). The attacks marked ``after``
were written when they were fixed: only those say what to expect of a new attack.
"""

from __future__ import annotations

import json
from typing import Any

from rar_lib.core.scoring import explicit_score
from rar_lib.core.stats import Interval, cluster_bootstrap, pairwise_accuracy, proportion
from rar_lib.data.tasks import load_mini, load_mini_pairs
from rar_lib.evaluation.attacks import load_attacks
from rar_lib.judging.guard import no_content, strip, suspicious
from rar_lib.training.rubric_dropout import drop


def shown(interval: Interval | None) -> dict[str, Any] | None:
    """An interval as JSON."""
    if interval is None:
        return None
    return {k: round(getattr(interval, k), 4) for k in ("value", "low", "high", "n")}


def checks() -> dict[str, Any]:
    """How often the pre-checks find an attack, and how often they accuse an honest text."""
    tasks = {t.id: t for t in load_mini()}
    pairs = load_mini_pairs()
    honest = [(t, t.reference) for t in tasks.values() if t.reference]
    honest += [(tasks[p.task_id], x) for p in pairs for x in (p.preferred, p.rejected)]
    rubrics = [(t.rubric, text) for t, text in honest if t.rubric]
    wrong = sum(bool(suspicious(text, rubric)) for rubric, text in rubrics)
    found: dict[str, dict[str, Any]] = {}
    for attack in load_attacks():
        texts = [(tasks[p.task_id], attack.rewrite(tasks[p.task_id], p.rejected)) for p in pairs]
        rows = [(t.rubric, x) for t, x in texts if t.rubric]
        found[attack.id] = {
            "family": attack.family,
            "written": attack.written,
            "found": round(sum(bool(suspicious(x, r)) for r, x in rows) / len(rows), 4),
            "emptied": round(sum(no_content(strip(x, r)) for r, x in rows) / len(rows), 4),
        }
    real = [f for f in found.values() if f["family"] != "control"]
    by_half = {
        w: shown(proportion(sum(f["found"] for f in half), len(half)))
        for w in ("before", "after")
        if (half := [f for f in real if f["written"] == w])
    }
    return {
        "honest texts": len(rubrics),
        "false positives": shown(proportion(wrong, len(rubrics))),
        "attacks found": by_half,
        "each attack": found,
    }


def dropout(steps: int = 40) -> dict[str, Any]:
    """What dropping criteria costs on the gold labels: right order of pairs, spread of a reward."""
    tasks = {t.id: t for t in load_mini()}
    out: dict[str, Any] = {}
    for keep in (1.0, 0.75, 0.5, 0.25):
        right, spread, of = [], [], []
        for pair in load_mini_pairs():
            rubric = tasks[pair.task_id].rubric
            if rubric is None:
                continue
            scores = []
            for step in range(steps):
                part = drop(rubric, keep, seed=0, step=step)
                ids = [c.id for c in part.criteria]
                both = [
                    explicit_score(part, {i: gold[i] for i in ids})
                    for gold in (pair.gold_preferred, pair.gold_rejected)
                ]
                scores.append([s for s in both if s is not None])
            a, b = zip(*scores, strict=True)
            right.append(pairwise_accuracy(a, b, ties=0.5))
            of.append(pair.task_id)
            centre = sum(b) / len(b)
            spread.append((sum((x - centre) ** 2 for x in b) / len(b)) ** 0.5)
        out[f"{keep:g}"] = {
            "pairs in the right order": shown(cluster_bootstrap(right, of)),
            "standard deviation of one response's reward": shown(cluster_bootstrap(spread, of)),
        }
    return out


if __name__ == "__main__":
    print(json.dumps({"pre-checks": checks(), "dropout": dropout()}, indent=1))
