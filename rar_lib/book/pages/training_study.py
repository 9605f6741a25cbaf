"""The page on the training study, as its records have it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from rar_lib.book import claims, figures, results, tables
from rar_lib.book.pages.words import in_hours, many, signed, some_seeds
from rar_lib.book.prose import listed, plain, sentence
from rar_lib.core.decision import ALPHA, Finding
from rar_lib.core.errors import DataError
from rar_lib.core.stats import Interval
from rar_lib.core.types import Polarity, Task
from rar_lib.data.tasks import load_mini
from rar_lib.evaluation.held_out import MIN_SEEDS
from rar_lib.evaluation.notes import RECALL, states, with_notes
from rar_lib.training.settings import Settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: The page on the training study.
STUDY = "study"
#: The places of that page.
STUDY_PLACES = (
    *("example", "outcome", "secondary", "arms", "folds", "settings", "pilot", "claims"),
    *(
        "further",
        "seen",
        "needed",
        "decision",
        "one",
        "pooled",
        "graded",
        "gold",
        "state",
        "repeated",
    ),
)
#: The figure of the pilot, beside the pages.
PILOT_FIGURE = "pilot.svg"
#: Its width and height: a small one, whose letters stay large on a telephone.
PILOT_INCHES = (4.8, 3.5)
#: How far one trial's number lies above another's at the ends of their lines, in shares of notes.
_NUMBER_APART = 0.045
UNITS = "results/study/units"
#: The units whose last answers the example shows, in words.
EXAMPLE = {
    "base-fold0-seed0": "before training",
    "explicit-fold0-seed0": "after training on single criteria",
}
#: Where readers' filled sheets lie.
LABELS = "results/study/labels"
#: What is read of a unit's first line.
_OF_UNIT = ("seed", "seconds", "machine", "number format", "date", "settings")
#: Secondary outcomes by their names in the record, as the table heads its columns.
SECONDARY = {
    "explicit": "Judge's score",
    "reference": "Reference answer",
    "gap": "Gap",
    "margin": "Preferred over rejected",
}
#: A setting of a trial -> the column that has it; others stand together in the last one.
TRIED = {
    "policy": "Policy",
    "steps": "Updates",
    "learning_rate": "Learning rate",
    "max_completion": "Longest response",
}
#: Between a value and the bracket behind it, which are no two lines of a cell.
_PAIR = re.compile(r"(?<=\d) (?=\\?[\[(])")
#: What is said of the judge beside labels, as the table heads its columns.
JUDGED = ["Answers of", "Criteria", "Accuracy", "Balanced accuracy", "AUC", "Calibration error"]
#: How a policy is trained, by the name of the method.
TRAINED_BY = {
    "base": "not trained",
    "rlvr": "GRPO, rewarded by a rule",
    "sft_reference": "SFT on the reference answers",
    "sft_filtered": "SFT on the policy's own answers that an implicit rating likes most",
    "direct_likert": "GRPO, one rating without a rubric",
    "implicit": "GRPO, one rating under the whole rubric",
    "explicit": "GRPO, the weighted share of single criteria",
    "reference_likert": "GRPO, one rating beside the reference answer",
    "predefined": "GRPO, the criteria of one general rubric",
}
#: Where an arm leaves the usual, in words; the judge has a column of its own.
DIFFERS = {
    "keep": "share of the rubric that a group is graded by",
    "least": "criteria left at least",
    "contrast": "share of the weights that goes to criteria which tell answers apart",
    "closed": "without notes",
    "rubrics": "rubrics",
}
MEANT = {
    "device": "where the policy runs",
    "policy": "the policy",
    "rollouts": "responses to a prompt, the group",
    "prompts_per_step": "prompts of a step",
    "max_completion": "longest response in tokens",
    "context": "longest prompt with its response in tokens",
    "steps": "updates",
    "schedule": "course of the learning rate",
    "learning_rate": "learning rate",
    "lora_rank": "rank of the adapter",
    "temperature": "temperature of the rollouts",
    "loss": "how the losses of tokens become one number",
    "clip_epsilon": "half-width of the clip",
    "scale_rewards": "whose standard deviation a reward is divided by",
    "mask_truncated": "whether a response that was cut is left out of the loss",
    "kl_beta": "weight of the KL penalty",
}


def studied(repo: Path) -> dict[str, str]:
    """What the page on the training study says from its records: place -> Markdown.

    Args:
        repo: whose ``results/study`` is read: ``design.json``, and what there is of the pilot, the
            units, the findings and the labels.

    Raises:
        DataError: a record is damaged, or the pilot's is not of the declared trials.
    """
    design = results.load("design", repo)
    if design is None:
        return dict.fromkeys(STUDY_PLACES, sentence("The design of the study is not on record."))
    pilot, arms, gold = (results.load(name, repo) for name in ("pilot", "arms", "gold"))
    decided = claims.on_record(arms, claims.ledger(checkout=repo))
    heads = heads_of(design, repo)
    return {
        "example": _on_example(design, repo),
        "outcome": _on_outcome(design),
        "secondary": _on_secondary(design, arms, heads),
        "arms": _arms_table(design),
        "folds": _on_folds(design),
        "settings": _settings_table(design),
        "pilot": _on_pilot(design, pilot),
        "needed": _on_needed(),
        "claims": _contrasts_table(design["contrasts"]["claims"], decided, arms),
        "further": _contrasts_table(design["contrasts"]["further"], decided, arms),
        "seen": _on_seen(design, arms),
        "decision": _on_decision(design, arms),
        "one": _on_one_training(design, arms),
        "pooled": _on_pooling(design, arms),
        "graded": _on_grading(design),
        "gold": _on_gold(design, gold, labelled=any((repo / LABELS).glob("*.csv"))),
        "state": _on_state(design, heads),
        "repeated": _on_repeats((results.load("repeats", repo) or {}).get("repeats", [])),
    }


def heads_of(design: Mapping[str, Any], repo: Path) -> dict[str, dict[str, Any]]:
    """Name of each unit that is trained -> what its file says of it."""
    found = {}
    for name in [name for names in design["units"].values() for name in names]:
        path = repo / UNITS / f"{name}.jsonl"
        if not path.is_file():
            continue
        try:
            with path.open(encoding="utf-8") as stream:
                head = json.loads(stream.readline())
            found[name] = {key: head[key] for key in _OF_UNIT}
            found[name]["done"] = bool(head.get("graded_by"))
        except (ValueError, KeyError, TypeError) as error:
            raise no_unit(path, error) from error
    return found


def no_unit(path: Path, error: Exception) -> DataError:
    """What is raised for a file that should be a unit and cannot be read as one."""
    return DataError(
        f"{path.name} is no unit of the study ({error!r}): remove it, and run results.study.run"
    )


def _grid(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown; cells are Markdown already."""
    lines = [columns, ["---"] * len(columns), *rows]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return _PAIR.sub("\N{NO-BREAK SPACE}", table)


def _inline(value: Any) -> str:
    """A value of a setting as Markdown; a small number keeps its digits."""
    return sentence("{value}", value=f"{value:g}" if isinstance(value, float) else value)


def _on_example(design: Mapping[str, Any], repo: Path) -> str:
    """A held-out task with its notes, and which of them two policies state."""
    said: dict[str, dict[str, str]] = {}
    for name, words in EXAMPLE.items():
        path = repo / UNITS / f"{name}.jsonl"
        if not path.is_file():
            return sentence("No example is shown: a unit that it needs is not on record.")
        said[words] = _last_answers(path, design["settings"]["steps"])
    known = {task.id: task for task in with_notes(load_mini("all"), others=False)}
    shared = set(known).intersection(*said.values())
    if not shared:
        return sentence("No example is shown: its units have no held-out task in common.")
    first = min(shared)
    return _example(known[first], {words: texts[first] for words, texts in said.items()})


def _example(task: Task, answers: Mapping[str, str]) -> str:
    rows = [_noted(note, list(answers.values())) for note in task.context.splitlines()]
    asked = sentence(
        "*{question}* This is the held-out task of the first half whose name comes first in the "
        "alphabet. Its notes, and which of them an answer states with the first seed:",
        question=task.question,
    )
    quoted = [
        sentence("*The answer {when}:* {text}", when=when, text=text)
        for when, text in answers.items()
    ]
    table = _grid(["Note", *map(str.capitalize, answers)], rows)
    return "\n\n".join([asked, table, *quoted])


def _noted(note: str, texts: Sequence[str]) -> list[str]:
    return [_inline(note), *("stated" if states(text, note) else "–" for text in texts)]


def _last_answers(path: Path, last: int) -> dict[str, str]:
    """Task id -> answer at the last step; of ``base``, which takes none, the only one."""
    try:
        # Not by splitlines: a text may hold other characters that end a line.
        _, *rows = map(json.loads, path.read_text(encoding="utf-8").strip("\n").split("\n"))
        steps = {row["step"] for row in rows}
        final = last if last in steps else min(steps)
        return {row["task"]: row["answer"] for row in rows if row["step"] == final}
    except (ValueError, KeyError, TypeError) as error:
        raise no_unit(path, error) from error


def _on_outcome(design: Mapping[str, Any]) -> str:
    text = sentence(
        "A note counts as conveyed from {recall:.0f} % of its content words on. "
        "A response has at most {tokens} tokens, which bounds how many words can be listed.",
        recall=100 * RECALL,
        tokens=design["settings"]["max_completion"],
    )
    asked = [
        states(task.reference or "", criterion.description)
        for task in load_mini("all")
        for criterion in (task.rubric.criteria if task.rubric else ())
        if criterion.polarity is Polarity.GOOD
    ]
    near = sentence(
        "The outcome is near to what a rubric asks for: of the {criteria} criteria that are good "
        "to meet, {share:.0f} % have as large a share of their content words in the reference "
        "answer, whose sentences are the notes. A plain rating does not see that target. So that "
        "one reward beats another here means: at making answers convey what the reference says.",
        criteria=len(asked),
        share=100 * fmean(asked),
    )
    return f"{text} {near}"


def _on_secondary(
    design: Mapping[str, Any],
    arms: Mapping[str, Any] | None,
    heads: Mapping[str, Mapping[str, Any]],
) -> str:
    runs = results.runs_of(arms)
    if not runs and not heads:
        return sentence("No run is on record yet, so no secondary outcome is shown.")
    if not runs:
        return _on_waiting(heads) + sentence(
            " No run is put together from them yet, so no secondary outcome is shown."
        )
    sound = [run for run in runs if not run["stray"]]
    by: dict[str, list[dict[str, Any]]] = {}
    for run in sound:
        by.setdefault(results.label(run), []).append(run)
    names = dict.fromkeys([*(arm["name"] for arm in design["arms"]), *by])
    rows = [_secondary_row(name, by[name]) for name in names if name in by]
    said = sentence(
        "Means over seeds, whose number stands behind the arm: after training, and in brackets how "
        "far that is from the untrained policy. All but the score and the words are in nats a "
        "token. *Words* are those of an answer after training, *KL* is that of the last step. "
        "Answers after training that the judge could not score: {unscored}. Runs set aside, which "
        "are not in the table: {strays}.",
        unscored=many(_unscored(sound)),
        strays=many(len(runs) - len(sound)),
    )
    if fewer := _over_fewer(by):
        said += f" {sentence('Over fewer seeds: {fewer}.', fewer=fewer)}"
    if not all(head["done"] for head in heads.values()):
        said += f" {_on_waiting(heads)}"
    return f"{_grid(['Arm', *SECONDARY.values(), 'Words', 'KL'], rows)}\n\n{said}"


def _on_waiting(heads: Mapping[str, Mapping[str, Any]]) -> str:
    """How many units are trained and still wait for the judge's grades."""
    return sentence(
        "Trained and not graded yet, so without a judge's score: {waiting} of {trained} units.",
        waiting=many(sum(not head["done"] for head in heads.values())),
        trained=len(heads),
    )


def _secondary_row(name: str, runs: Sequence[Mapping[str, Any]]) -> list[str]:
    kl = [run["kl_to_base"][-1] for run in runs if run["kl_to_base"]]
    known = [value for value in kl if value is not None]
    cells = [
        f"{name} ({len(runs)})",
        *(_secondary_cell(runs, outcome) for outcome in SECONDARY),
        f"{fmean(run['words'] for run in runs):.0f}",
        f"{fmean(known):.2f}" if known else "–",
    ]
    return [_inline(cell) for cell in cells]


def _secondary_cell(runs: Sequence[Mapping[str, Any]], outcome: str) -> str:
    """Where an outcome stands and how far it moved, over the seeds that have it."""
    found = [run["secondary"][outcome] for run in runs if outcome in run["secondary"]]
    if not found:
        return "–"
    after = fmean(row["after"] for row in found)
    moved = fmean(row["change"]["value"] for row in found)
    return f"{round(after, 2) + 0.0:.2f} ({signed(moved)})"


def _over_fewer(by: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """Of which outcomes an arm has fewer seeds than it was trained with, and how many."""
    fewer: dict[tuple[str, int], list[str]] = {}
    for outcome, title in SECONDARY.items():
        for arm, runs in by.items():
            there = sum(outcome in run["secondary"] for run in runs)
            if 0 < there < len(runs):
                fewer.setdefault((title, there), []).append(arm)
    return [
        f"{title} of {'every arm' if len(arms) == len(by) else listed(arms)} ({some_seeds(there)})"
        for (title, there), arms in fewer.items()
    ]


def _unscored(runs: Sequence[Mapping[str, Any]]) -> int:
    graded = [run["secondary"].get("explicit", {}) for run in runs]
    return sum(row.get("unscored", 0) for row in graded)


def _arms_table(design: Mapping[str, Any]) -> str:
    pairs = [pair for family in design["contrasts"].values() for pair in family.values()]
    rows = []
    for arm in design["arms"]:
        differs = [
            DIFFERS[name] + ("" if value is True else f": {_inline(value)}")
            for name, value in arm["differs"].items()
            if name in DIFFERS
        ]
        cells = [
            _inline(arm["name"]),
            "; ".join([TRAINED_BY[arm["trained"]], *differs]),
            _inline(arm["judge"] or arm["rule"] or "–"),
            _inline(arm["tier"]),
            _inline(many(sum(arm["name"] in pair for pair in pairs))),
        ]
        rows.append(cells)
    return _grid(["Arm", "How it is trained", "Rewarded by", "Tier", "Contrasts"], rows)


def _on_folds(design: Mapping[str, Any]) -> str:
    held = design["tasks"]["held out"]
    seeds = design["seeds"]
    bare = {arm["name"] for arm in design["arms"] if arm["trained"] == "base"}
    names = [name for names in design["units"].values() for name in names]
    return sentence(
        "RaR-Mini has {tasks} tasks, and the halves have {held}. With {arms} arms and {seeds} "
        "seeds there are {units} units: {tiers}. {untrained} of them are of the untrained policy: "
        "those of the first seed are measured, and the others hold a copy of these answers.",
        tasks=sum(held),
        held=held,
        arms=len(design["arms"]),
        seeds=len(seeds),
        units=len(names),
        untrained=many(sum(name.partition("-fold")[0] in bare for name in names)).capitalize(),
        tiers=[f"{len(names)} of tier {tier}" for tier, names in design["units"].items()],
    )


def _settings_table(design: Mapping[str, Any]) -> str:
    usual = Settings().model_dump(mode="json")
    # What has no meaning here is for GPUs.
    rows = [
        [_inline(MEANT[name]), _inline(value), _inline(usual.get(name))]
        for name, value in design["settings"].items()
        if name in MEANT
    ]
    table = _grid(["Setting", "In the study", "Default of `Settings()`"], rows)
    rate = tables.numbers("training", "learning rate", "paper")[0]
    return f"{table}\n\n" + sentence("The paper's own rate is {rate}, of all weights.", rate=rate)


def _on_pilot(design: Mapping[str, Any], pilot: Mapping[str, Any] | None) -> str:
    declared = design["pilot"]
    rows = pilot["trials"] if pilot else []
    trials = declared["trials"]
    rule = {name: declared[name] for name in ("alpha", "most_kl", "least_fitting")}
    asked = [row["trial"] for row in rows]
    if pilot and (asked != trials[: len(rows)] or pilot["rule"] != rule):
        raise DataError(
            "pilot.json holds other trials or another rule than design.json declares: run "
            "python -m results.study.pilot, and python -m results.study.run --design"
        )
    said = sentence(
        "The {trials} trials train {arm} on one half with seed {seed}, which no unit of the "
        "record has. The rule takes the first one with all of these: the primary outcome of the "
        "held-out tasks has risen with a p-value below {alpha:g}; the KL from the untrained policy "
        "is at most {kl:g} (nats a token); and at least {fits:.0f} % of the "
        "reference answers have no more tokens than an answer may.",
        trials=len(trials),
        arm=declared["arm"],
        seed=declared["seed"],
        alpha=declared["alpha"],
        kl=declared["most_kl"],
        fits=100 * declared["least_fitting"],
    )
    shown = _shown(pilot)
    taken = pilot["taken"] if pilot else None
    parts = [said, _declared_table(design, shown, taken=taken is not None)]
    parts += [_measured_table(shown)] if shown else []
    parts += [
        _on_trials(design, rows, taken),
        *_pilot_figure(design, pilot),
    ]
    parts += ["\n".join(_told(name, row) for name, row in shown.items())] if shown else []
    return "\n\n".join(parts)


def _shown(pilot: Mapping[str, Any] | None) -> dict[str, Mapping[str, Any]]:
    """Name of each trial on record -> what is recorded of it; what was tried beside is in place."""
    rows = pilot["trials"] if pilot else []
    named = [(str(place), row) for place, row in enumerate(rows, 1)]
    if beside := (pilot or {}).get("beside"):
        named.insert(beside["after"], ("beside", beside))
    return dict(named)


def _declared_table(
    design: Mapping[str, Any], shown: Mapping[str, Mapping[str, Any]], *, taken: bool
) -> str:
    """Settings of all trials, and what the rule says of those that were run."""
    trials = enumerate(design["pilot"]["trials"], 1)
    declared: dict[str, Mapping[str, Any]] = {str(at): {"trial": trial} for at, trial in trials}
    rows = []
    for name in [*shown, *(name for name in declared if name not in shown)]:
        row = shown.get(name) or declared[name]
        tried = design["settings"] | row["trial"]
        besides = {key: value for key, value in row["trial"].items() if key not in TRIED}
        besides |= {"arm": row["arm"]} if "arm" in row else {}
        told = "; ".join(f"{MEANT.get(key, key)}: {value}" for key, value in besides.items())
        verdict = _verdict(row) if name in shown else "not run" if taken else "not run yet"
        cells = (name, *(tried[key] for key in TRIED), told or "–", verdict)
        rows.append([_inline(cell) for cell in cells])
    return _grid(["Trial", *TRIED.values(), "Besides", "By the rule"], rows)


def _verdict(row: Mapping[str, Any]) -> str:
    """What the rule says of a trial: nothing of what was tried beside the trials."""
    return "; ".join(row["fails"]) or "taken" if "fails" in row else "–"


def _measured_table(shown: Mapping[str, Mapping[str, Any]]) -> str:
    """What the trials on record came to."""
    rows = []
    for name, row in shown.items():
        # Not of what was tried beside the trials, as the rule is not.
        kl = f"{row['kl']:.2f}" if "kl" in row else "–"
        shares = [f"{100 * row[key]:.0f}" if key in row else "–" for key in ("fits", "cut")]
        rise = Interval.from_json(row["rise"])
        cells = (name, rise, tables.p_value(row["p"]), kl, *shares)
        rows.append([_inline(cell) for cell in cells])
    return _grid(["Trial", "Rise", "p", "KL", "Fit, %", "Cut, %"], rows)


def _told(name: str, row: Mapping[str, Any]) -> str:
    """What the record tells in words of a trial: nothing of that is measured."""
    title = "Beside the trials" if name == "beside" else f"Trial {name}"
    return (
        f"- **{title}.** {_inline(row['declared'])} *Decided after it*: {_inline(row['decided'])}"
    )


def _pilot_figure(design: Mapping[str, Any], pilot: Mapping[str, Any] | None) -> list[str]:
    """The figure of the pilot with its caption, where there is one."""
    drawn = pilot_curves(design, pilot)
    if pilot is None or drawn is None:
        return []
    caption = sentence(
        "What held-out answers convey over the updates of each trial, whose number stands at the "
        "end of its line: of the notes of their own question, and of those of the other question "
        "that were mixed in. {taken}",
        taken="The thick line is the trial that was taken." if pilot["taken"] else "None is taken.",
    )
    lines = [f":alt: {json.dumps(repr(drawn))}", ":class: rar-drawn", "", caption]
    return ["\n".join([f"```{{figure}} {PILOT_FIGURE}", *lines, "```"])]


def pilot_curves(
    design: Mapping[str, Any] | None, pilot: Mapping[str, Any] | None
) -> Figure | None:
    """What answers convey over the updates of each trial; ``None`` where none is on record.

    Args:
        design: of the study, which has what a trial does not set; ``None`` where there is none.
        pilot: the record of the pilot; ``None`` where there is none.
    """
    shown = _shown(pilot)
    if design is None or pilot is None or not shown:
        return None
    from matplotlib.pyplot import close

    fig, axes = figures.canvas(*PILOT_INCHES, columns=2)
    looks = _trial_looks(design, shown, pilot["taken"])
    mixed = {name: row for name, row in shown.items() if _mixed(row["looks"])}
    _trial_lines(axes[0], "own", shown, looks)
    _trial_lines(axes[1], "others", mixed, looks)
    axes[0].set_title("of its own notes", fontsize=10)
    axes[1].set_title("of notes mixed in", fontsize=10)
    axes[0].set_ylabel("share that an answer conveys")
    keys, names = axes[0].get_legend_handles_labels()
    fig.legend(keys, names, frameon=False, loc="outside lower center", ncols=2, fontsize=9)
    fig.set_label(_pilot_seen(shown))
    close(fig)
    return fig


def _trial_looks(
    design: Mapping[str, Any],
    shown: Mapping[str, Mapping[str, Any]],
    taken: Mapping[str, Any] | None,
) -> dict[str, dict[str, Any]]:
    """How the line of each trial is drawn: by its policy, the one that is taken thick."""
    colours: dict[str, str] = {}
    looks: dict[str, dict[str, Any]] = {}
    for name, row in shown.items():
        policy = row["trial"].get("policy", design["settings"]["policy"])
        label = policy if policy not in colours else None
        colour = colours.setdefault(policy, figures.COLOURS[(0, 3)[len(colours) % 2]])
        width = 2.8 if row["trial"] == taken else 1.0
        style = "--" if name == "beside" else "-"
        looks[name] = {"color": colour, "lw": width, "ls": style, "label": label}
    return looks


def _trial_lines(
    ax: Any,
    which: str,
    shown: Mapping[str, Mapping[str, Any]],
    looks: Mapping[str, Mapping[str, Any]],
) -> None:
    """A line a trial with its number at the end, as close to it as those of others allow."""
    lowest: dict[int, float] = {}
    for name, row in sorted(shown.items(), key=lambda item: item[1]["looks"][-1][which]):
        steps = [look["step"] for look in row["looks"]]
        ax.plot(steps, [look[which] for look in row["looks"]], marker="o", ms=2.5, **looks[name])
        height = max(row["looks"][-1][which], lowest.get(steps[-1], 0.0))
        lowest[steps[-1]] = height + _NUMBER_APART
        ax.annotate(
            name,
            (steps[-1], height),
            (5, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            color=looks[name]["color"],
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5},
        )
    ax.set_xlabel("updates")


def _pilot_seen(shown: Mapping[str, Mapping[str, Any]]) -> str:
    """The figure in words: where each line begins and ends."""
    seen = []
    for name, row in shown.items():
        first, last = (row["looks"][at] for at in (0, -1))
        own = plain("own notes {before} to {after}", before=first["own"], after=last["own"])
        others = plain(
            ", mixed in {before} to {after}", before=first["others"], after=last["others"]
        )
        seen.append(f"{name}: {own}{others if _mixed(row['looks']) else ''}")
    about = "Lines over the updates, one a trial: the share of notes that an answer conveys."
    return f"{about} {'; '.join(seen)}."


def _mixed(looks: Sequence[Mapping[str, Any]]) -> bool:
    """Whether an answer at any look says something of notes that are not the task's own."""
    return any(look["others"] for look in looks)


def _on_trials(
    design: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], taken: Mapping[str, Any] | None
) -> str:
    trials = design["pilot"]["trials"]
    declared = {**design["settings"], "notes": design["notes"]}
    if not rows:
        return sentence("No trial is on record yet, so the settings above are not final.")
    if taken is None:
        left = len(trials) - len(rows)
        return sentence(
            "{run} of {trials} trials are on record and none of them passes; {left}.",
            run=len(rows),
            trials=len(trials),
            left=f"{left} are left" if left else "none is left, so the study has no settings",
        )
    text = sentence(
        "Trial {place} is taken, after {hours} hours of training in {run} trials, on {machines}.",
        place=trials.index(taken) + 1,
        hours=in_hours(sum(row["seconds"] for row in rows)),
        run=len(rows),
        machines=sorted({row["machine"] for row in rows}),
    )
    if all(declared[name] == value for name, value in taken.items()):
        return text
    return f"{text} {sentence('The settings above are not those of that trial yet.')}"


def _on_needed() -> str:
    return sentence(
        "A contrast is tested when both of its arms are there with {needed} seeds. Until then it "
        "is *not testable here*, and has no finding below.",
        needed=MIN_SEEDS,
    )


def _contrasts_table(
    contrasts: Mapping[str, Sequence[str]],
    found: Mapping[str, Finding],
    arms: Mapping[str, Any] | None,
) -> str:
    says = {
        source.key: claim.says
        for claim in claims.load().claims
        for source in claim.sources
        if source.record == "arms"
    }
    sound = [run for run in results.runs_of(arms) or [] if not run["stray"]]
    rows = []
    for name, pair in contrasts.items():
        key = f"training.{name}"
        seeds = len(results.seeds_of(sound, pair))
        finding = _found(found.get(key)) if seeds >= MIN_SEEDS else "–"
        rows.append([_inline(cell) for cell in (*pair, says.get(key, "–"), seeds, finding)])
    columns = ["This arm", "over this one", "Claim of the ledger", "Seeds of both", "Finding"]
    return _grid(columns, rows)


def _on_seen(design: Mapping[str, Any], arms: Mapping[str, Any] | None) -> str:
    """Of which contrasts something was known before, and what the other half alone says of them."""
    again = (arms or {}).get("on the half that the pilot trained on", {})
    families = design["contrasts"].values()
    pairs = {name: pair for family in families for name, pair in family.items()}
    rows = []
    for name, what in design["seen"].items():
        alone = again.get(name)
        shown = str(Interval.from_json(alone["difference"])) if alone else "not recorded yet"
        # The record sets a name in stars; a cell shows it plain.
        cells = (" over ".join(pairs[name]), what.replace("*", ""), shown)
        rows.append([_inline(cell) for cell in cells])
    return _grid(["Contrast", "What was known of it", "On the other half alone"], rows)


def _found(finding: Finding | None) -> str:
    if finding is None:
        return "not recorded yet"
    return f"{finding}; {finding.difference}" if finding.difference else str(finding)


def _on_decision(design: Mapping[str, Any], arms: Mapping[str, Any] | None) -> str:
    measure = claims.load().measures["held_out"]
    families = design["contrasts"]
    text = sentence(
        "Holm's method corrects the p-values of the {claims} contrasts of the first family for one "
        "another, and those of the {further} of the second. *Supported* and *contradicted* take a "
        "corrected p-value of at most {alpha:g}. The d of *no difference larger than d* is "
        "{margin:g}, as a {unit}. {because}",
        claims=len(families["claims"]),
        further=len(families["further"]),
        alpha=ALPHA,
        margin=measure.margin,
        unit=measure.unit,
        because=measure.because,
    )
    found = [Finding.from_json(one) for one in (arms or {}).get("findings", {}).values()]
    halves = [(one.difference.high - one.difference.low) / 2 for one in found if one.difference]
    if not halves or min(halves) <= measure.margin:
        return text
    beyond = sentence(
        "No contrast on record can get that word: the narrowest interval reaches {half} to either "
        "side of its difference.",
        half=min(halves),
    )
    return f"{text} {beyond}"


def _on_one_training(design: Mapping[str, Any], arms: Mapping[str, Any] | None) -> str:
    """The contrasts whose finding is another one where both trainings of a seed count as one."""
    strict = (arms or {}).get("findings, a seed as one training", {})
    told = {} if arms is None else arms["findings"]
    families = design["contrasts"].values()
    pairs = {f"training.{name}": pair for family in families for name, pair in family.items()}
    rows = []
    for key, given in strict.items():
        own = Finding.from_json(told[key])
        one = Finding.from_json(given)
        if own.word != one.word:
            p_values = (tables.p_value(of.p_holm) for of in (own, one))
            cells = (" over ".join(pairs[key]), own.word, one.word, *p_values)
            rows.append([_inline(cell) for cell in cells])
    if not rows:
        return sentence(
            "On record it would change no finding." if strict else "Nothing of it is on record."
        )
    columns = ["Contrast", "Finding", "As one training", "p (Holm)", "p (Holm), as one"]
    return "\n\n".join(filter(None, [_grid(columns, rows), _alike(arms)]))


def _alike(arms: Mapping[str, Any] | None) -> str:
    """What the record says of how much both trainings of a seed have in common."""
    alike = (arms or {}).get("halves alike")
    if not alike or alike["r"] is None:
        return ""
    return sentence(
        "What a seed adds to its arm in one half correlates {r} with what it adds in the other, "
        "over {pairs} pairs of trainings of {arms} arms.",
        r=alike["r"],
        pairs=alike["pairs"],
        arms=alike["arms"],
    )


def _on_pooling(design: Mapping[str, Any], arms: Mapping[str, Any] | None) -> str:
    bounds = design["bounds"]
    seeds = len(design["seeds"])
    lost = max(0, seeds - MIN_SEEDS) + 1
    text = sentence(
        "A run is an arm with a seed and both halves. It is shown and enters no contrast if it "
        "ends with a KL from the untrained policy above {kl:g} (nats a token), or if more than "
        "{unscored:.0f} % of its responses were unscored in training. A contrast "
        "needs {needed} seeds of both arms, and {seeds} are trained: if an arm lacks {lost}, its "
        "contrasts become *not testable here*.",
        kl=bounds["most_kl"],
        unscored=100 * bounds["most_unscored"],
        needed=MIN_SEEDS,
        seeds=seeds,
        lost=f"{lost} run{'s' * (lost != 1)}",
    )
    runs = results.runs_of(arms)
    if runs is None:
        return text
    strays = [
        f"{one['arm']} with seed {one['seed']} ({one['stray']})" for one in runs if one["stray"]
    ]
    text += f" {sentence('Set aside of {runs} runs: {strays}.', runs=len(runs), strays=strays)}"
    apart = [
        f"{one['arm']} with seed {one['seed']} ({one['why']})"
        for one in (arms or {}).get("apart", [])
    ]
    return f"{text} {sentence('Set apart are {apart}.', apart=apart)}" if apart else text


def _on_grading(design: Mapping[str, Any]) -> str:
    tasks = design["tasks"]
    seeds = design["seeds"]
    first = design["looks"][str(seeds[0])]
    others = design["looks"][str(seeds[-1])]
    arms = len(design["arms"])
    held, graded, course = (sum(tasks[name]) for name in ("held out", "graded", "course"))
    every = sum(map(len, design["looks"].values()))
    return sentence(
        "With seed {seed} there is a look after steps {first}, with the others after {others}. The "
        "first is before training. As all units of a half begin with the same policy, it is taken "
        "from `base`, but for the arms that are asked closed book. Of the {held} held-out tasks "
        "the judge grades the answers to {graded} at the first and at the last look, and with seed "
        "{seed} those to {course} of them at the looks between. So it grades at most {some} of at "
        "most {all} answers. Likelihoods are asked of {inner} tasks, with seed {seed} at each "
        "look, with the others at the first and the last.",
        first=first,
        others=others,
        held=held,
        graded=graded,
        course=course,
        seed=seeds[0],
        some=arms * (len(seeds) * 2 * graded + len(first[1:-1]) * course),
        all=arms * every * held,
        inner=sum(tasks["likelihoods"]),
    )


def _on_gold(design: Mapping[str, Any], gold: Mapping[str, Any] | None, *, labelled: bool) -> str:
    asked = design["gold"]
    text = sentence(
        "The final answers of {arms} to {tasks} tasks, with seed {seed}, were chosen to be "
        "labelled, criterion by criterion.",
        arms=asked["arms"],
        tasks=asked["tasks"],
        seed=asked["seed"],
    )
    if gold is None and labelled:
        return f"{text} {sentence('Labels are there; what they say is not computed yet.')}"
    if gold is None:
        return f"{text} {sentence('Nobody has labelled any of them yet.')}"
    agreed = gold["agreement"]
    read = sentence(
        "Two readers have labelled {items} answers to {tasks} tasks; of {cells} labels that both "
        "gave they agree on {raw}, with a kappa of {kappa}.",
        items=gold["items"],
        tasks=gold["tasks"],
        cells=agreed["cells"],
        raw=Interval.from_json(agreed["raw"]),
        kappa=Interval.from_json(agreed["kappa"]),
    )
    return "\n\n".join([f"{text} {read}", _judge_on_gold(gold), _arms_on_gold(gold)])


def _judge_on_gold(gold: Mapping[str, Any]) -> str:
    """How far the judge says what both readers say: over all answers, and by arm."""
    rows = [_judged(name, row) for name, row in gold["judge"].items()]
    said = sentence(
        "The judge's verdicts beside the labels on which both readers agree; labels without a "
        "verdict: {unscored}. An answer that several arms share counts once under *all*.",
        unscored=many(gold["judge"]["all"]["unscored"]),
    )
    return "\n\n".join([said, _grid(JUDGED, rows), _on_calibration(gold["judge"])])


def _judged(name: str, row: Mapping[str, Any]) -> list[str]:
    intervals = [Interval.from_json(row[measure]) for measure in ("accuracy", "balanced", "auc")]
    error = None if row["ece"] is None else f"{row['ece']:.3f}"
    return [_inline(cell) for cell in (name, row["n"], *intervals, error)]


def _on_calibration(judge: Mapping[str, Mapping[str, Any]]) -> str:
    """How far the line that was fitted on authored responses holds for those of the policies."""
    errors = {arm: row["ece"] for arm, row in judge.items() if arm != "all"}
    known = sorted((error, arm) for arm, error in errors.items() if error is not None)
    if not known:
        return sentence("None of these verdicts has a probability, so none has an error.")
    return sentence(
        "The judge was calibrated on authored responses. On these answers its "
        "calibration error is {whole:.3f} over all and, by arm, from {least:.3f} ({held}) to "
        "{most:.3f} ({strayed}). Over few criteria it comes out larger, whatever the judge.",
        whole=judge["all"]["ece"],
        least=known[0][0],
        held=known[0][1],
        most=known[-1][0],
        strayed=known[-1][1],
    )


def _arms_on_gold(gold: Mapping[str, Any]) -> str:
    """How good the answers of each arm are, by labels and judge together."""
    return sentence(
        "By labels and judge together the answers of an arm score {quality}; minus those of `base` "
        "that is {gains}.",
        quality=_intervals({arm: row["both"] for arm, row in gold["quality"].items()}),
        gains=_intervals({arm: row["both"] for arm, row in gold["over base"].items()}),
    )


def _intervals(found: Mapping[str, Any], *but: str) -> list[str]:
    """Each interval with its name behind it."""
    known = {name: Interval.from_json(value) for name, value in found.items() if name not in but}
    return [f"{of or 'unknown'} ({name})" for name, of in known.items()]


def _on_repeats(repeats: Sequence[Mapping[str, Any]]) -> str:
    """Whether units that were trained once more wrote the same answers."""
    if not repeats:
        return sentence("No unit has been trained a second time.")
    looks = [(of["unit"], look["answers"], look["same"]) for of in repeats for look in of["looks"]]
    differ = sorted({unit for unit, answers, same in looks if same != answers})
    return sentence(
        "{units} units were trained once more under later code. Of their {answers} answers, copies "
        "of a first look left out, {same} came out the same to the character. Units of which one "
        "differs: {differ}.",
        units=len({of["unit"] for of in repeats}),
        answers=f"{sum(answers for _, answers, _ in looks):,}",
        same=f"{sum(same for _, _, same in looks):,}",
        differ=differ or "none",
    )


def _on_state(design: Mapping[str, Any], heads: Mapping[str, Mapping[str, Any]]) -> str:
    rows = []
    for tier, names in design["units"].items():
        there = [heads[name] for name in names if name in heads]
        done = sum(head["done"] for head in there)
        counts = (len(names), done, len(there) - done, len(names) - len(there))
        hours = in_hours(sum(head["seconds"] for head in there))
        rows.append([_inline(tier), *map(_inline, counts), _inline(hours)])
    columns = ["Tier", "Units", "Done", "Trained, not graded", "To do", "Hours of training"]
    table = _grid(columns, rows)
    if not heads:
        return f"{table}\n\n" + sentence(
            "No unit is on record yet, so what this page declares can still change."
        )
    machines: dict[str, int] = {}
    for head in heads.values():
        name = f"{head['machine']} in {head['number format']}"
        machines[name] = machines.get(name, 0) + 1
    other = sum(head["settings"] != design["settings"] for head in heads.values())
    return f"{table}\n\n" + sentence(
        "The first of these units was finished on {first}, the last on {last}. Machines: "
        "{machines}. Trained with other settings than this page shows: {other}.",
        first=min(head["date"] for head in heads.values()),
        last=max(head["date"] for head in heads.values()),
        machines=[f"{name} ({n:,} unit{'s' * (n != 1)})" for name, n in machines.items()],
        other=many(other),
    )
