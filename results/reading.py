"""What reading two tokens instead of one changes, on the same replies.

    .venv/bin/python -m results.reading

A verdict is read where the answer stands: white space or quotes may come first, so the judge is
asked for two tokens. Before, the first token alone was read, and a share of 0.01 was enough. Both
readings are applied here to the replies that ``results/alignment/run.py`` recorded for the arm
explicit (test pairs, authored rubrics), and compared with the gold labels. It asks no model and
writes ``reading.json`` beside this file. What the lead-in of small judges changed cannot be seen in
this way, because it changes the reply itself.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from statistics import fmean, median
from typing import Any

from rar_lib.core.errors import JudgeFault
from rar_lib.core.files import atomic_write, checkout
from rar_lib.core.stats import auc
from rar_lib.core.types import Task
from rar_lib.data.tasks import load_mini, load_mini_pairs
from rar_lib.judging.cassette import Cassette
from rar_lib.judging.messages import Messages, rubric_of, text_of
from rar_lib.judging.reading import LEAST_SHARE, Expected, yes_probability
from rar_lib.judging.wire import Reply
from results.alignment.run import JUDGES, Piece, header

ROOT = checkout() or Path.cwd()
RESULTS = Path(__file__).with_suffix(".json")
#: The least share of the reading before.
BEFORE = 0.01


def asked() -> Iterator[tuple[str, bool]]:
    """The text of every call of the arm explicit on the test pairs, and its gold label."""
    tasks = {task.id: task for task in load_mini("all")}
    for pair in load_mini_pairs("test"):
        sides = ((pair.preferred, pair.gold_preferred), (pair.rejected, pair.gold_rejected))
        for response, gold in sides:
            yield from _criteria(tasks[pair.task_id], response, gold)


def _criteria(task: Task, response: str, gold: dict[str, bool]) -> Iterator[tuple[str, bool]]:
    for criterion in rubric_of(task).criteria:
        messages = Messages().criterion(task, response, criterion, "probability")
        yield text_of(messages), gold[criterion.id]


def replies(cassette: Cassette, judge: str) -> dict[str, Reply]:
    """The recorded replies of a judge by the text of what was asked."""
    return {
        text_of(request["messages"]): Reply.recorded(reply)
        for _, request, reply, _ in cassette.rows()
        if request["model"] == judge and reply["tokens"]
    }


def read(reply: Reply, tokens: int, least: float) -> Expected | None:
    """The verdict from so many tokens; ``None`` where the share is too small."""
    try:
        return yes_probability(reply.tokens[:tokens], least)
    except JudgeFault:
        return None


def summary(found: Sequence[tuple[Expected | None, bool]]) -> dict[str, Any]:
    """Share, unscored, accuracy and AUC of one reading."""
    known = [(verdict, gold) for verdict, gold in found if verdict is not None]
    golds = [gold for _, gold in known]
    hits = [(verdict.value > 0.5) == gold for verdict, gold in known]
    return {
        "verdicts": len(found),
        "unscored": len(found) - len(known),
        "median_share": median(verdict.share for verdict, _ in known) if known else None,
        "accuracy": fmean(hits) if hits else None,
        "auc": auc([verdict.value for verdict, _ in known], golds) if known else None,
    }


def compare(of: dict[str, Reply], least: float) -> dict[str, Any] | None:
    """Both readings of one judge; ``None`` where a reply is not on record."""
    rows = [(of.get(text), gold) for text, gold in asked()]
    if any(reply is None for reply, _ in rows):
        return None
    both = [
        (read(reply, 1, BEFORE), read(reply, len(reply.tokens), least), gold)
        for reply, gold in rows
        if reply is not None
    ]
    read_both = [(one, two) for one, two, _ in both if one and two]
    moved = [abs(one.value - two.value) for one, two in read_both]
    return {
        "one token": summary([(one, gold) for one, _, gold in both]),
        "two tokens": summary([(two, gold) for _, two, gold in both]),
        "largest_change": max(moved, default=None),
        "other_verdicts": sum((one.value > 0.5) != (two.value > 0.5) for one, two in read_both),
    }


def main() -> None:
    """Compare what is on record, and write ``reading.json``."""
    with closing(Cassette(ROOT / "_build" / "alignment.sqlite", "replay")) as cassette:
        found = {name: compare(replies(cassette, name), LEAST_SHARE) for name in JUDGES}
    measured = {name: rows for name, rows in found.items() if rows}
    record = {
        "date": datetime.date.today().isoformat(),
        "machine": next((header(Piece(name, "explicit"))["machine"] for name in measured), None),
        "judges": measured,
    }
    atomic_write(RESULTS, json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
