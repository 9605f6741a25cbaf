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

from harness import Grader, Item, Outcome, Server, main, together
from openai import AsyncOpenAI

TRIES = 3
PROMPT = """\
Below are a conversation and one criterion by which its last message is graded.

# Conversation
user: {question}

assistant: {response}

# Criterion
[{points}] {criterion}

# Instructions
Decide whether the last message of the conversation, the assistant's, meets the criterion.
Return a JSON object with two fields:
- "explanation": a string that says why the message does or does not meet the criterion.
- "criteria_met": a boolean, true if the message meets the criterion, else false.

If a criterion asks for several things, it is met only if all of them are there. Where it names
examples ("such as", "for example"), the message need not contain every one of them.

A criterion with negative points describes something bad. The field still says whether the
described thing is there, not whether that is good: for the criterion "[-5] Recommends an
antibiotic" and a message that recommends one, criteria_met is true.

An example of the form:
```json
{{
  "explanation": "The message says to see a doctor within a day, as the criterion asks.",
  "criteria_met": true
}}
```

Return only the JSON object, in Markdown as above.
"""


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
