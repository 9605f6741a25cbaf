"""This project's judge: variants ``probability``, ``sampled`` and ``implicit``.

``implicit`` gives one reward of the whole response instead of verdicts.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness import Grader, Item, Outcome, Server, main

from rar_lib.core.types import Task
from rar_lib.judging.chat import Chat
from rar_lib.judging.judge import Judge


def make(server: Server) -> Grader:
    """Every call goes to the server: there is no cassette."""
    chat = Chat(server.url, server.model, concurrency=server.concurrency, timeout_s=600.0)
    judge = Judge(chat, reading="sampled" if server.variant == "sampled" else "probability")

    async def grade(item: Item) -> Sequence[Outcome]:
        task = Task.model_validate(item["task"])
        if server.variant == "implicit":
            whole = await judge.grade(task, item["response"], "implicit")
            return [Outcome(whole.score, whole.reason or "")]
        verdicts = (await judge.grade(task, item["response"], "explicit")).verdicts
        return [
            Outcome(
                verdict.met if verdict.probability is None else verdict.probability,
                verdict.reason or "",
            )
            for verdict in verdicts
        ]

    return grade


if __name__ == "__main__":
    main(make)
