"""`rar synthesize`: rubrics for a user's own questions, with an estimate first.

Every reply is on record beside the output, so a killed run goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rar_lib.cassette import Cassette
from rar_lib.chat import Chat, run_sync
from rar_lib.data import load_tasks, save_tasks
from rar_lib.errors import DataError
from rar_lib.plan import Estimate, estimate, measure_rate, synthesis_work
from rar_lib.server import OnDemand
from rar_lib.synthesis import Size, Synthesis, synthesize_many
from rar_lib.types import Price, Task, Usage


@dataclass(frozen=True)
class Written:
    """What came of a file of questions.

    Attributes:
        failed: task id -> why it has no rubric; those tasks are not in the output file.
        dropped: single items left out of valid rubrics.
    """

    path: Path
    rubrics: int
    failed: dict[str, str]
    dropped: int
    usage: Usage


def connect(
    stack: ExitStack, model: str, *, base_url: str, key_env: str, record: Path, device: str
) -> Chat:
    """A chat with recorded calls: the given endpoint, or a server of the model on this machine."""
    cassette = Cassette(record)
    stack.callback(cassette.close)
    if base_url:
        return Chat(base_url, model, key_env=key_env, cassette=cassette)
    from rar_lib.models import MODELS

    if model not in MODELS and device == "cpu":
        raise DataError(
            f"no model {model!r} on this machine; choose from {', '.join(MODELS)}, "
            "or name an endpoint with --base-url"
        )

    weights = MODELS[model].identity if model in MODELS else ""
    server = OnDemand(stack, model, {"device": device})
    return Chat(
        "http://127.0.0.1/v1",
        model,
        weights=weights,
        cassette=cassette,
        start=server.start,
        check=server.check,
    )


def write_rubrics(
    questions: Path,
    target: Path,
    chat: Chat,
    *,
    with_reference: bool,
    size: Size,
    price: Price | None = None,
    proceed: Callable[[Estimate], bool] = lambda _: True,
) -> Written | None:
    """Rubrics for the tasks of a JSON-lines file, written beside their questions.

    Args:
        target: gets every task that has a rubric in the end, in the order of the input; tasks
            that had one keep it.
        proceed: is shown the estimate; ``False`` stops before any rubric is asked for.

    Returns:
        ``None`` if it was stopped.

    Raises:
        DataError: the input is wrong, a reference is wanted and missing, or nothing was valid.
    """
    tasks = load_tasks(questions)
    todo = [t for t in tasks if t.rubric is None]
    bare = [t.id for t in todo if with_reference and t.reference is None]
    if bare:
        raise DataError(
            f"{questions}: no reference for {', '.join(bare[:5])}"
            f"{' and others' if len(bare) > 5 else ''}; add one, or pass --no-reference"
        )
    work = synthesis_work(todo, with_reference=with_reference, size=size)
    # Nobody pays for a measurement on a paid endpoint; there the tokens and the price count.
    rate = run_sync(measure_rate(chat)) if chat.local and todo else None
    if not proceed(estimate(work, rate, price)):
        return None
    results: list[Synthesis] = run_sync(
        synthesize_many(todo, chat, with_reference=with_reference, size=size, progress="rubrics")
    )
    by_id = {t.id: r for t, r in zip(todo, results, strict=True)}
    done: list[Task] = []
    for task in tasks:
        rubric = task.rubric or by_id[task.id].rubric
        if rubric:
            done.append(task.model_copy(update={"rubric": rubric}))
    failed = {i: r.reason or "" for i, r in by_id.items() if r.rubric is None}
    if not done:
        raise DataError(f"no rubric was valid; first reason: {next(iter(failed.values()))}")
    save_tasks(target, done)
    return Written(
        path=target,
        rubrics=len(todo) - len(failed),
        failed=failed,
        dropped=sum(len(r.dropped) for r in results),
        usage=sum((r.usage for r in results), Usage()),
    )
