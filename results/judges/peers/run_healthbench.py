"""The HealthBench way: one call per criterion, a JSON object with explanation and criteria_met.

After openai/simple-evals, ``healthbench_eval.py``: conversation first, then the criterion with
its points, free text that must parse as JSON (Markdown fences removed), and criteria_met counts
only if it is a boolean. There it asks again for ever; here at most twice, at the temperature of
its own sampler, 0.5, after a first try at 0. The prompt is in our own words.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from pathlib import Path

from harness import Grader, Item, Outcome, Server, main, together
from openai import AsyncOpenAI

TRIES = 3
PROMPT = Path(__file__).with_name("healthbench_prompt.txt").read_text(encoding="utf-8")


def make(server: Server) -> Grader:
    """All criteria of all items at once, within the bound."""
    client = AsyncOpenAI(base_url=server.url, api_key="not-needed", timeout=600.0)
    gate = asyncio.Semaphore(server.concurrency)

    async def verdict(prompt: str) -> Outcome:
        outcome = Outcome(None)
        for attempt in range(TRIES):
            async with gate:
                reply = await client.chat.completions.create(
                    model=server.model,
                    messages=[
                        {"role": "system", "content": "You are a helpful assistant."},
                        {"role": "user", "content": prompt},
                    ],
                    max_tokens=400,
                    temperature=0.5 if attempt else 0.0,
                    seed=attempt,
                )
            outcome = parse(reply.choices[0].message.content or "")
            if outcome.value is not None:
                break
        return outcome

    async def grade(item: Item) -> Sequence[Outcome]:
        prompts = [
            PROMPT.format(
                question=item["question"],
                response=item["response"],
                points=criterion["points"],
                criterion=criterion["text"],
            )
            for criterion in item["criteria"]
        ]
        return await together(map(verdict, prompts))

    return grade


def parse(text: str) -> Outcome:
    """The verdict of a reply."""
    try:
        value = json.loads(re.sub(r"^```json\s*|\s*```$", "", text.strip()))
    except ValueError:
        return Outcome(None, f"not JSON: {text[:120]!r}")
    met = value.get("criteria_met") if isinstance(value, dict) else None
    return Outcome(met) if isinstance(met, bool) else Outcome(None, f"no verdict: {text[:120]!r}")


if __name__ == "__main__":
    main(make)
