"""A run that kept its rollouts, as training writes it: numbers that can be worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rar_lib.training.run import TRANSCRIPT, Run, Transcript

ROLLOUTS = 8
JUDGE = {"identity": {"model": "qwen", "weights": "ab" * 32}}
OTHER = {"identity": {"model": "smol", "weights": "cd" * 32}}


def task(name: str, question: str = "Why does ice float?", **more: Any) -> dict[str, Any]:
    """A task as JSON: an essential criterion and a pitfall that counts against."""
    criteria = [
        {"id": "c-dense", "title": "Dense", "description": "Says that ice is less dense."},
        {"id": "c-cold", "title": "Cold", "description": "Says that cold things float."},
    ]
    criteria[0] |= {"category": "Essential", "polarity": "good"}
    criteria[1] |= {"category": "Pitfall", "polarity": "bad"}
    given = {"id": name, "question": f"{question} ({name})", "reference": "It is less dense."}
    return given | {"history": [], "rubric": {"source": "authored", "criteria": criteria}} | more


def verdicts(dense: float | None, cold: float | None = 0.2) -> list[dict[str, Any]]:
    """What a judge says of both criteria; ``None`` is unscored."""
    return [
        {
            "criterion_id": name,
            "met": None if value is None else value > 0.5,
            "probability": value,
            "reason": "endpoint busy" if value is None else None,
        }
        for name, value in (("c-dense", dense), ("c-cold", cold))
    ]


def some_run(steps: int = 4, tasks: int = 3, arm: str = "explicit") -> Run:
    """A run of the explicit arm with two graders that look at its held-out tasks."""
    names = [f"held-{n}" for n in range(tasks)]
    looks = [
        {
            "step": step,
            "training": dict.fromkeys(names, 0.25 + 0.5 * (step == steps)),
            "hold-out": dict.fromkeys(names, 0.5),
        }
        for step in (0, steps)
    ]
    graders = {"training": [JUDGE, "explicit"], "hold-out": [OTHER, "implicit"]}
    identity = {
        "settings": {"policy": "tiny", "steps": steps, "prompts_per_step": 1},
        "reward": {"arm": arm, "judge": JUDGE},
        "watch": {"by": {"graders": graders}},
    }
    return Run(
        arm=arm,
        seed=0,
        backend="transformers",
        seconds=60.0,
        log=[{"step": step} for step in range(1, steps + 1)],
        steps=[{"mean": 0.5} for _ in range(steps)],
        before={n: f"It floats, before, {n}." for n in names},
        after={n: f"It floats, after, {n}." for n in names},
        watched=looks,
        identity=identity,
    )


def write_kept(
    folder: Path, run: Run | None = None, *, text: str = "", rollouts: int = ROLLOUTS
) -> Path:
    """A folder with ``run.json`` and ``rollouts.jsonl``.

    Every step draws one of two tasks in turn. Rollout k of step s has the reward k / 10, and the
    advantage k - 4; rollout 2 is unscored.

    Args:
        text: stands in every answer, question, criterion and reason.
    """
    run = run or some_run()
    run.save(folder / "run.json")
    kept = Transcript(folder / TRANSCRIPT)
    held_out = [task(name, f"Why? {text}") for name in run.before]
    if text:
        for one in held_out:
            one["rubric"]["criteria"][0]["description"] = text
            one["reference"] = text
    kept.begin(held_out, after=None)
    for step, answers in ((0, run.before), (2, {}), (len(run.log), run.after)):
        said = {n: f"{answers.get(n, f'At step {step}, {n}.')} {text}".strip() for n in run.before}
        grades = {
            "training": {
                n: {"arm": "explicit", "score": 0.25 + step / 8, "verdicts": verdicts(step / 4)}
                for n in run.before
            },
            "hold-out": {n: {"arm": "implicit", "score": 0.5, "verdicts": []} for n in run.before},
        }
        kept.look(step, said, grades)
        if step == 0:
            write_steps(kept, len(run.log), rollouts, text)
    return folder


def write_steps(kept: Transcript, steps: int, rollouts: int, text: str) -> None:
    """The groups of all steps."""
    for step in range(1, steps + 1):
        asked = task(f"train-{step % 2}")
        kept.held = [
            {
                "task": asked,
                "text": f"Rollout {k} of step {step}. {text}".strip(),
                "tokens": 10 + k,
                "score": None if k == 2 else k / 10,
                "reason": f"endpoint busy {text}".strip() if k == 2 else None,
                "verdicts": verdicts(None if k == 2 else k / 10),
            }
            for k in range(1, rollouts + 1)
        ]
        kept.step(step, [0.0 if k == 2 else float(k - 4) for k in range(1, rollouts + 1)])


def five_arms() -> dict[str, Any]:
    """What chapter 6 leaves: two responses to one task, graded by two arms."""
    grades = {
        "explicit": [
            {"score": score, "reason": None, "verdicts": verdicts(score)} for score in (0.75, 0.25)
        ],
        "implicit": [{"score": 0.5, "reason": None, "verdicts": []} for _ in range(2)],
    }
    return {"tasks": ["t", "t"], "responses": ["One.", "Two."], "grades": grades}


def as_json(folder: Path) -> list[dict[str, Any]]:
    """The lines of the transcript of a folder."""
    lines = (folder / TRANSCRIPT).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]
