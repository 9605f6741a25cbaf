"""rubric's PerCriterionGrader (``per_criterion``) and PerCriterionOneShotGrader (``one_shot``).

The call to the model is the caller's in this package. It is the OpenAI example of its README
(JSON schema, temperature 0, at most 400 tokens a verdict) with one client for all calls and a
bound on those in flight. The one-shot grader writes all verdicts in one reply and gets 1,600.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from harness import Grader, Item, Outcome, Server, main
from openai import AsyncOpenAI
from pydantic import BaseModel
from rubric import OneShotOutput, PerCriterionOutput, Rubric
from rubric.autograders import PerCriterionGrader, PerCriterionOneShotGrader

#: What the one-shot grader says where the reply left a criterion out; its verdict is then UNMET.
LEFT_OUT = "Evaluation not found in response"


def make(server: Server) -> Grader:
    """A grader whose exceptions reach the harness: one bad reply loses the item."""
    client = AsyncOpenAI(base_url=server.url, api_key="not-needed", timeout=600.0)
    gate = asyncio.Semaphore(server.concurrency)

    def asking(shape: type[BaseModel], max_tokens: int) -> Callable[..., Awaitable[BaseModel]]:
        async def generate(system_prompt: str, user_prompt: str) -> BaseModel:
            async with gate:
                reply = await client.chat.completions.create(
                    model=server.model,
                    messages=[
                        {"role": "system", "content": system_prompt},
                        {"role": "user", "content": user_prompt},
                    ],
                    response_format={
                        "type": "json_schema",
                        "json_schema": {"name": "output", "schema": shape.model_json_schema()},
                    },
                    max_tokens=max_tokens,
                    temperature=0.0,
                )
            return shape.model_validate_json(reply.choices[0].message.content or "{}")

        return generate

    if server.variant == "one_shot":
        grader = PerCriterionOneShotGrader(generate_fn=asking(OneShotOutput, 1600))
    else:
        grader = PerCriterionGrader(generate_fn=asking(PerCriterionOutput, 400))

    async def grade(item: Item) -> Sequence[Outcome]:
        rubric = Rubric.from_dict(
            [{"weight": one["points"], "requirement": one["text"]} for one in item["criteria"]]
        )
        done = await rubric.grade(item["response"], autograder=grader, query=item["question"])
        return [
            Outcome(None, LEFT_OUT)
            if report.reason == LEFT_OUT
            else Outcome(report.verdict == "MET")
            for report in done.report
        ]

    return grade


if __name__ == "__main__":
    main(make)
