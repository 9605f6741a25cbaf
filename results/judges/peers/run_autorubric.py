"""autorubric's CriterionGrader with one LLM judge, as its README sets it up.

Variants are its two modes: ``per_criterion`` (its default) and ``per_item`` (the whole rubric in
one call). Beside the defaults: temperature 0 (its own default sends none, and the server's is
1), the bound on parallel requests, a longer timeout for a CPU, and a bound on the length of a
reply, without which a judge that repeats itself writes until the context is full.
"""

from __future__ import annotations

from collections.abc import Sequence

from autorubric import CriterionVerdict, LLMConfig, Rubric
from autorubric.graders import CriterionGrader
from harness import Grader, Item, Outcome, Server, main


def make(server: Server) -> Grader:
    """The response cache is off, which is its default, too."""
    grader = CriterionGrader(
        judge_model_config=LLMConfig(
            model=f"openai/{server.model}",
            api_base=server.url,
            api_key="not-needed",
            temperature=0.0,
            max_tokens=1600 if server.variant == "per_item" else 400,
            timeout=600.0,
            max_parallel_requests=server.concurrency,
            cache_enabled=False,
        ),
        llm_calls=server.variant,
    )
    known = {CriterionVerdict.MET: True, CriterionVerdict.UNMET: False}

    async def grade(item: Item) -> Sequence[Outcome]:
        rubric = Rubric.from_dict(
            [{"weight": one["points"], "requirement": one["text"]} for one in item["criteria"]]
        )
        done = await rubric.grade(to_grade=item["response"], grader=grader, query=item["question"])
        return [
            Outcome(
                None if report.error else known.get(report.final_verdict),
                report.error or "",
                abstained=not report.error and report.final_verdict not in known,
            )
            for report in done.report
        ]

    return grade


if __name__ == "__main__":
    main(make)
