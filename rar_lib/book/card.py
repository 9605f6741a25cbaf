"""The model card of an adapter: what it was trained on, by whom it was judged, what rose.

    run = job.run()
    save_card(job, run, data="tasks.jsonl", by={"training": judge.chat.model})

Hugging Face shows the ``README.md`` of an adapter's folder. Every text of a user's or a model's is
escaped in it, and no path or address of the machine is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from rar_lib.core.decision import Finding, decide_family
from rar_lib.core.errors import CheckpointError
from rar_lib.core.files import save_text
from rar_lib.core.stats import MIN_UNITS, scored
from rar_lib.data.check import escaped
from rar_lib.evaluation.held_out import course, gamed, rise
from rar_lib.evaluation.judge_roles import HOLD_OUT, TRAINING
from rar_lib.training.policy import identity_of
from rar_lib.training.run import Run
from rar_lib.training.train import Job, judged_arm

_SHOWN_SETTINGS = (
    "steps",
    "prompts_per_step",
    "rollouts",
    "max_completion",
    "learning_rate",
    "lora_rank",
    "temperature",
    "loss",
    "kl_beta",
    "device",
)


def as_markdown(text: str) -> str:
    """Any text as one line of Markdown that shows it and does nothing else.

    Every punctuation mark of ASCII has a backslash before it, which CommonMark allows for all of
    them: no link, tag, entity, table cell or formula begins. What can't be seen is shown.
    """
    line = " ".join(escaped(text, keep="\n\r\t").split())
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", line)


def findings(run: Run) -> dict[str, Finding]:
    """Whether the held-out answers rose, by each grader that looked: decided as one family."""
    roles = [role for role in (TRAINING, HOLD_OUT) if run.watched and role in run.watched[0]]
    if len(run.watched) < 2:
        return {}
    return decide_family({role: rise(run.watched, role) for role in roles})


def what_rose(run: Run, by: Mapping[str, str]) -> list[str]:
    """What the looks say, in sentences: means, gain, finding, and whether it proves anything.

    Args:
        by: role (``training``, ``hold-out``) -> name of the grader, plain text.
    """
    found = findings(run)
    lines = []
    for role, finding in found.items():
        means = list(course(run.watched, role).values())
        lost = sum(score is None for look in run.watched for score in look[role].values())
        unscored = f"; {lost} answers could not be scored" if lost else ""
        which = "gives the reward" if role == TRAINING else "gives no reward"
        name = f"{by.get(role, 'a judge')} ({which})"
        gain = finding.difference
        if gain is None or len(means) < 2:
            lines.append(f"by {name}: no task was scored before and after{unscored}")
            continue
        lines.append(
            f"by {name}: {means[0]} before, {means[-1]} after, gain {gain} over {gain.n} tasks: "
            f"that it rose is {finding}{unscored}"
        )
    gains = [finding.difference for finding in found.values()]
    if any(gain and not gain.shown for gain in gains):
        lines.append(f"fewer than {MIN_UNITS} tasks: no interval is shown, and none would hold")
    lines.append(verdict(found))
    if HOLD_OUT in found:
        lines.append(
            f"{by.get(HOLD_OUT, 'the second judge')} has passed no gate here: what it says counts "
            "as far as it agrees with people, which rar align measures on your own labels"
        )
    return lines


def verdict(found: Mapping[str, Finding]) -> str:
    """What the graders say together, in one sentence that claims no more than they can show."""
    if not found:
        return "no judge looked at the held-out answers: whether they are better is not known"
    if HOLD_OUT not in found:
        return (
            "the only judge is the one that gave the reward: a rise by its own measure is no proof "
            "of better answers; a second judge (--held-out-judge) can tell"
        )
    if TRAINING not in found:
        return f"that the answers rose for a judge that gave no reward: {found[HOLD_OUT]}"
    return gamed(found[TRAINING], found[HOLD_OUT])


def model_card(job: Job, run: Run, *, data: str = "", by: Mapping[str, str] | None = None) -> str:
    """The card as Markdown with the front matter of Hugging Face.

    Args:
        job: what the run was made of.
        run: finished.
        data: what the tasks are called, such as the name of their file.
        by: role -> name of the grader, for those of ``job.watch`` and the reward.
    """
    return "\n".join(_lines(job, run, data, dict(by or {}))) + "\n"


def save_card(
    job: Job, run: Run, *, data: str = "", by: Mapping[str, str] | None = None
) -> Path | None:
    """Write :func:`model_card` as ``adapter/README.md``; ``None`` where there is no adapter.

    Raises:
        CheckpointError: it could not be written; the adapter is whole.
    """
    folder = job.out / "adapter"
    if not folder.is_dir():
        return None
    path = folder / "README.md"
    mend = (
        "free space and run the same command again; the adapter is finished and is not trained "
        "again"
    )
    save_text(path, model_card(job, run, data=data, by=by), mend, error=CheckpointError)
    return path


def _lines(job: Job, run: Run, data: str, by: dict[str, str]) -> Iterator[str]:
    settings = job.settings
    base = _name_of(settings.policy)
    yield "---"
    if "/" in base:  # a hub id; Hugging Face links it
        yield f"base_model: {json.dumps(base)}"
    yield "library_name: peft"
    yield "pipeline_tag: text-generation"
    yield "tags: [lora, rubrics-as-rewards]"
    yield f"---\n\n# {as_markdown(base)}, trained by {run.arm}\n"
    yield (
        f"A LoRA adapter of {as_markdown(base)}, made with rar\\-lib (Rubrics as Rewards, arXiv "
        f"2507\\.17746). Method: {as_markdown(run.arm)}, seed {run.seed}, {len(run.log)} steps in "
        f"{run.seconds / 60:.1f} minutes, by {as_markdown(run.backend)}.\n"
    )
    yield "## What rose, by whose measure\n"
    yield (
        f"Greedy answers to {len(job.held_out)} tasks that were not trained on, before and after, "
        "by one seed: another seed may give another result. Means of rewards in 0 to 1, gains with "
        "95 % intervals over tasks.\n"
    )
    for line in what_rose(run, by):
        yield f"- {as_markdown(line)}"
    yield "\n## Data and judge\n"
    named = f"{as_markdown(data)}: " if data else ""
    yield f"- {named}{len(job.tasks)} tasks to train on, {len(job.held_out)} held out"
    yield f"- digests: train `{run.identity.get('tasks', '')[:16]}`, " + (
        f"held out `{run.identity.get('held_out', '')[:16]}`"
    )
    yield f"- reward: {_reward(job, by)}"
    if HOLD_OUT in by:
        yield f"- judge of the held\\-out answers, without a reward: {as_markdown(by[HOLD_OUT])}"
    yield f"- weights of the policy: {as_markdown(identity_of(settings.policy))}"
    yield "\n## Settings and versions\n"
    values = settings.model_dump()
    yield from (f"- {name}: {as_markdown(str(values[name]))}" for name in _SHOWN_SETTINGS)
    versions = run.identity.get("versions", {})
    yield "- " + ", ".join(
        f"{as_markdown(key)} {as_markdown(value)}" for key, value in versions.items()
    )
    yield from _limits(run)
    yield from _use(base, settings.max_completion, settings.device)


def _reward(job: Job, by: Mapping[str, str]) -> str:
    if judged_arm(job.arm) is None:
        return "a rule (the answer matches the reference)" if job.arm == "rlvr" else "none"
    return f"{as_markdown(by.get(TRAINING, 'a judge'))}, arm {judged_arm(job.arm)}"


def _limits(run: Run) -> Iterator[str]:
    means = scored(step["mean"] for step in run.steps)
    yield "\n## Limits\n"
    if means:
        yield (
            f"- The mean reward was {means[0]:.3f} in the first step and {means[-1]:.3f} in the "
            "last: of different tasks, by the judge that is trained for. It shows no quality."
        )
    yield (
        "- A judge can be wrong in ways that a policy learns to please. No person has read these "
        "answers for this card."
    )
    yield "- Nothing was measured on other questions, languages or lengths than those above."
    yield "- Not for advice on health or any other decision without a person who knows the field."


def _use(base: str, longest: int, device: str) -> Iterator[str]:
    """Three lines of Python with the prompt that it was trained under."""
    yield "\n## Use\n\n```python"
    yield "from pathlib import Path"
    yield "from rar_lib import Policy, Settings, load_questions\n"
    yield f"settings = Settings(device={device!r}, policy={base!a})"
    yield 'policy = Policy(settings, adapter=Path("ADAPTER"))  # this folder'
    yield f'policy.respond(load_questions("questions.csv").items, max_tokens={longest})'
    yield "```"


def _name_of(policy: str) -> str:
    """The hub id or the short name; of a folder its name alone."""
    folder = Path(policy).expanduser()
    return folder.resolve().name if folder.is_dir() else policy
