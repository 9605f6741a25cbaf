"""Goals of speed, memory and disk beside what is on record: met, missed by how much and why.

    .venv/bin/python -m results.goals

Nothing is measured here. Each goal is declared with the record that holds its figure; a goal
without a figure says which record lacks it. Why a goal is missed is said where a record, a comment
of the code or a README says it; elsewhere the row says that it was not taken apart. Written to
goals.json: run it again whenever a record has changed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rar_lib.book.profiles import load
from rar_lib.book.prose import plain
from rar_lib.core.files import atomic_write
from rar_lib.models.catalogue import MODELS

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "goals.json"
#: Record -> its file from the folder of results.
RECORDS = {
    "times": "times.json",
    "judges": "judges/judges.json",
    "judge_profile": "judge_profile.json",
    "grpo_step": "grpo_step.json",
    "step_time": "step_time.json",
    "allocator": "allocator.json",
}
Words = Literal["met", "missed", "not measured here"]
Processors = Literal["any", "with AMX", "without AMX"]
Records = Mapping[str, Any]
Row = dict[str, Any]
#: What a processor of times.json can do, by the end of its name (``SETS`` in times.py).
AMX = "AMX"
IN_FLOAT32 = ("AVX2", "no AVX2")
WITH_INT8 = (AMX, "AVX-512 with bf16", "AVX-512 with int8")
#: The system of judges.json that is compared at equal weights.
OWN = "rar_probability"
PRODUCTS = "matrix products"


@dataclass(frozen=True)
class Reading:
    """A figure of a record, or that it has none.

    Attributes:
        row: what the record says beside it; reasons take their numbers from it.
        bound: of a goal that leaves its bound to the record.
    """

    processor: str
    value: float | None
    row: Mapping[str, Any] = field(default_factory=dict)
    bound: float | None = None


@dataclass(frozen=True)
class Why:
    """A sentence on a missed goal, written from the records.

    Attributes:
        says: template without digits.
        facts: its values; ``None`` where the sentence does not apply.
        explains: whether it names a cause, or only says more.
    """

    says: str
    facts: Callable[[Reading, Records], Mapping[str, Any] | None]
    explains: bool = True


@dataclass(frozen=True)
class Goal:
    """A bound, and where its figure lies.

    Attributes:
        read: record -> figures, one for each processor or model.
        bound: in ``unit``; ``None`` if the record declares it.
        processors: those that it was set for.
        whys: sentences that may follow when it is missed.
        unknown: what follows when none of them explains it.
    """

    name: str
    record: str
    read: Callable[[Any], list[Reading]]
    direction: Literal["at most", "at least"]
    bound: float | None
    unit: str
    processors: Processors = "any"
    whys: tuple[Why, ...] = ()
    unknown: str = "The cause was not taken apart."

    def holds(self, value: float, bound: float) -> bool:
        """Whether a value is on the right side of a bound."""
        return value <= bound if self.direction == "at most" else value >= bound

    def concerns(self, processor: str) -> bool:
        """Whether it was set for a processor of times.json; other records are not asked."""
        if self.processors == "any":
            return True
        return (set_of(processor) == AMX) == (self.processors == "with AMX")


# --- figures


def set_of(processor: str) -> str:
    """The best instruction set of a processor, by its name in times.json."""
    return processor.rsplit(", ", 1)[-1]


def of_times(target: str, value: Callable[[Mapping[str, Any]], float | None]) -> Any:
    """Reads a figure of a command for every processor that times.json knows, of any command."""

    def read(times: Any) -> list[Reading]:
        rows = times.get(target, {})
        known = sorted({processor for of in times.values() for processor in of})
        return [Reading(name, value(rows.get(name, {})), rows.get(name, {})) for name in known]

    return read


def minutes(label: str) -> Callable[[Mapping[str, Any]], float | None]:
    """Minutes of a run."""
    return lambda row: row[label] / 60 if label in row else None


def chapters(row: Mapping[str, Any]) -> dict[str, float]:
    """Minutes of every chapter."""
    found = row.get("chapters", {}).get("laptop", {})
    return {stem: seconds / 60 for stem, seconds in found.items()}


def longest(row: Mapping[str, Any]) -> float | None:
    """Minutes of the longest chapter."""
    found = chapters(row)
    return max(found.values()) if found else None


def forecast_error(row: Mapping[str, Any]) -> float | None:
    """How far the first forecast lay from what its chapters took, in percent of that."""
    took = 60 * sum(chapters(row).values())
    if not took or "forecast_s" not in row:
        return None
    return 100 * abs(float(row["forecast_s"]) / took - 1)


def beside(peer: str, value: Callable[[Mapping[str, Any]], float | None]) -> Any:
    """Reads a figure of this judge beside a peer's from judges.json."""

    def read(judges: Any) -> list[Reading]:
        systems = judges["systems"]
        own = systems.get(OWN, {})
        row = {
            "machine": judges["machine"],
            "date": judges["date"],
            "model": own.get("model"),
            "own": own,
            "peer": systems.get(peer, {}),
            "ratio": judges["ratios_verdicts_per_s"].get(OWN, {}).get(peer),
        }
        return [Reading(judges["machine"], value(row), row)]

    return read


def auc_gap(row: Mapping[str, Any]) -> float | None:
    """AUC of this judge less a peer's."""
    own, theirs = (row[side].get("auc") for side in ("own", "peer"))
    return None if own is None or theirs is None else float(own - theirs)


def share_beside_others(judges: Any) -> list[Reading]:
    """Share of the limit of the system that comes nearest to it, in judges.json."""
    best = judges["systems"].get(judges["share_of_limit_system"], {})
    row = {name: judges[name] for name in ("machine", "date")} | {"model": best.get("model")}
    return [Reading(judges["machine"], judges["share_of_limit"], row)]


def shares_taken_apart(profile: Any) -> list[Reading]:
    """Share of the limit of every model and machine of judge_profile.json."""
    return [
        Reading(
            f"{row['machine']}; {row['model']} in {row['number format']}",
            row["factors"]["share of the limit"],
            row,
        )
        for row in profile
    ]


def of_step(record: Any) -> list[Reading]:
    """How many times as long a step of stock takes."""
    return [Reading(record["machine"], record["ratio"], record)]


def of_simulation(record: Any) -> list[Reading]:
    """The largest error of a size that was predicted, in percent, against the record's own goal."""
    error = record["largest_error"]
    value = None if error is None else 100 * error
    return [Reading(record["machine"], value, record, bound=100 * record["goal"])]


# --- what reasons are written from


def in_float32(reading: Reading, records: Records) -> Mapping[str, Any] | None:
    """The product of a processor without AVX-512 beside the fastest that was measured."""
    own = reading.row.get("gflops")
    known = {
        name: row["gflops"]
        for name, row in records["times"].get("reproduce", {}).items()
        if "gflops" in row and set_of(name) not in IN_FLOAT32
    }
    if set_of(reading.processor) not in IN_FLOAT32 or own is None or not known:
        return None
    other = max(known, key=lambda name: known[name])
    formats = {"short": "bfloat16", "format": "float32"}
    return formats | {"own": own, "best": known[other], "other": other}


def over_the_bound(reading: Reading, records: Records) -> Mapping[str, Any] | None:
    """The chapters that take too long."""
    over = {stem: took for stem, took in chapters(reading.row).items() if took > CHAPTER_MIN}
    return {"over": [f"{stem} ({number(took)} min)" for stem, took in over.items()]}


def suite(reading: Reading, records: Records) -> Mapping[str, Any] | None:
    """Where the time of the tests goes on this processor."""
    row = records["times"].get("suite", {}).get(reading.processor)
    if not row:
        return None
    folders = sorted(row["folders"].items(), key=lambda of: of[1], reverse=True)
    longest = [f"{name} {number(took / 60)} min" for name, took in folders[:4]]
    return {"wall": row["seconds"] / 60, "longest": longest, "of": row["commit"]}


def server_in_float32(reading: Reading, records: Records) -> Mapping[str, Any] | None:
    """The most memory that a judge's server alone was seen to hold in float32."""
    held: dict[str, float] = {}
    for row in records["allocator"] or []:
        if row["number format"] == "float32":
            passes = row["allocators"]["mimalloc"]["passes"]
            held[row["model"]] = max(seen["memory_gb"] for seen in passes)
    if set_of(reading.processor) not in IN_FLOAT32 or not held:
        return None
    model = max(held, key=lambda name: held[name])
    return {"model": model, "format": "float32", "held": held[model]}


def always(reading: Reading, records: Records) -> Mapping[str, Any]:
    """For a sentence without values."""
    return {}


def weights(reading: Reading, records: Records) -> Mapping[str, Any]:
    """GB of the laptop profile's weights on such a processor, and of what is left."""
    named = load("laptop").models
    int8 = set_of(reading.processor) in WITH_INT8
    served = {name if int8 else MODELS[name].base or name for name in named}
    files = {MODELS[name].sha256: MODELS[name].pinned.size for name in named}
    download = sum(files.values()) / 1e9
    converted = sum(MODELS[name].converted for name in served) / 1e9
    return {
        "weights": download + converted,
        "download": download,
        "converted": converted,
        "rest": reading.row["disk_gb"] - download - converted,
        "environment": environment_gb(),
    }


def environment_gb() -> float:
    """What env/README.md says of the size of ``.venv``.

    Raises:
        ValueError: it says nothing of the kind.
    """
    text = (FOLDER.parent / "env" / "README.md").read_text(encoding="utf-8")
    found = re.search(r"`\.venv` takes ([\d.]+) GB", text)
    if found is None:
        raise ValueError("env/README.md does not say '`.venv` takes ... GB' any more")
    return float(found[1])


def tokens(reading: Reading, records: Records) -> Mapping[str, Any] | None:
    """Tokens of a verdict on both sides."""
    own, peer = (reading.row[side].get("tokens_per_verdict") for side in ("own", "peer"))
    return {"own": own, "peer": peer, "ratio": peer / own} if own and peer else None


def factors(reading: Reading, records: Records) -> Mapping[str, Any] | None:
    """The same model's time on the same machine, taken apart."""
    same = ("machine", "model")
    for row in records["judge_profile"] or []:
        if all(row[name] == reading.row.get(name) for name in same):
            needed, busy, speed = list(row["factors"].values())[:3]
            others = {name: part for name, part in row["shares"].items() if name != PRODUCTS}
            most = max(others, key=lambda name: others[name])
            whole = 1000 * row["seconds"] / row["verdicts"]
            shares = {"needed": needed, "busy": busy, "speed": speed}
            return shares | {"whole": whole, "most": most, "part": whole * others[most]}
    return None


def stages(reading: Reading, records: Records) -> Mapping[str, Any]:
    """Where the seconds of a step go on both sides."""
    ours, stock = (reading.row[side]["mean"] for side in ("ours", "stock"))
    sides = {"own": ours["total"], "theirs": stock["total"], "stock": stock["judge"]}
    return sides | {name: ours[name] for name in ("generate", "judge", "update")}


def farthest_off(reading: Reading, records: Records) -> Mapping[str, Any]:
    """The predicted size with the largest error, and its stage that is farthest off."""
    sizes = [row for row in reading.row["sizes"] if not row["fitted"]]
    worst = max(sizes, key=lambda row: abs(row["error"]))
    own = worst["measured"]
    by_model = worst["predicted"]
    named = [name for name in own if name != "seconds"]
    stage = max(named, key=lambda name: abs(by_model[name] - own[name]))
    return {
        "rollouts": worst["rollouts"],
        "stage": stage,
        "own": own[stage],
        "by_model": by_model[stage],
    }


# --- the goals

FLOAT32 = Why(
    "This processor has no fast products in {short}, so that everything is computed in {format} "
    "(cpu_dtype in rar_lib/models/processor.py): the product that a forecast measures runs at "
    "{own:.0f} GFLOP/s here and at {best:.0f} on {other}.",
    in_float32,
)
OVER = Why("Over the bound: {over}.", over_the_bound, explains=False)
SERVER = Why(
    "In {format} a server of {model} alone holds {held:.1f} GB (results/allocator.json).",
    server_in_float32,
)
WHOLE_MACHINE = Why(
    "The figure is of the whole machine (watch_memory in results/times.py), from before a chapter "
    "of the laptop profile held one judge at a time (CHANGELOG): the main judge was up in every "
    "chapter, beside the second judge's and a policy.",
    always,
    explains=False,
)
WEIGHTS = Why(
    "Weights take {weights:.1f} GB of it: {converted:.1f} GB as converted, and {download:.1f} GB "
    "as downloaded, which go since then when they are converted (CHANGELOG; sizes in "
    "rar_lib/models/catalogue.py). The other {rest:.1f} GB are all else that a fresh start leaves, "
    "of which env/README.md counts {environment:.1f} GB for .venv.",
    weights,
)
TOKENS = Why(
    "A verdict takes {own:.0f} tokens through the model here and {peer:.0f} there, {ratio:.1f} "
    "times as many.",
    tokens,
    explains=False,
)
FACTORS = Why(
    "Of the arithmetic that is computed a share of {needed:.2f} is needed, matrix products run in "
    "{busy:.2f} of the time, and they reach {speed:.2f} of the machine's fastest; outside of them "
    "most goes to {most}, {part:.1f} of {whole:.1f} ms a verdict (results/judge_profile.json).",
    factors,
)
STAGES = Why(
    "Of the {own:.1f} s of a step here generation takes {generate:.1f}, the judge {judge:.1f} and "
    "the update {update:.1f}; of the {theirs:.1f} s of stock its judge takes {stock:.1f}.",
    stages,
)
FARTHEST = Why(
    "It is farthest off with {rollouts} rollouts, most of all in the stage {stage}: {own:.1f} s "
    "measured, {by_model:.1f} s simulated.",
    farthest_off,
    explains=False,
)
TESTS = Why(
    "Of a run of the tests by themselves that took {wall:.1f} min with two workers ({of}), most "
    "went to {longest}, counted in minutes of a worker.",
    suite,
)
CHAPTER_MIN = 8.0
COLD = "make reproduce from empty caches"
GOALS = (
    Goal(
        COLD,
        "times",
        of_times("reproduce", minutes("cold_s")),
        "at most",
        40.0,
        "min",
        "without AMX",
        (FLOAT32,),
    ),
    Goal(
        COLD,
        "times",
        of_times("reproduce", minutes("cold_s")),
        "at most",
        25.0,
        "min",
        "with AMX",
    ),
    Goal(
        "peak memory of the machine during make reproduce",
        "times",
        of_times("reproduce", lambda row: row.get("memory_gb")),
        "at most",
        12.0,
        "GB",
        whys=(SERVER, WHOLE_MACHINE),
        unknown="Which process held how much was not taken apart.",
    ),
    Goal(
        "longest chapter of make reproduce",
        "times",
        of_times("reproduce", longest),
        "at most",
        CHAPTER_MIN,
        "min",
        "without AMX",
        (OVER, FLOAT32),
    ),
    Goal(
        "make test from empty caches",
        "times",
        of_times("test", minutes("cold_s")),
        "at most",
        15.0,
        "min",
        whys=(TESTS,),
    ),
    Goal(
        "disk after make reproduce from empty caches",
        "times",
        of_times("reproduce", lambda row: row.get("disk_gb")),
        "at most",
        9.0,
        "GB",
        whys=(WEIGHTS,),
    ),
    Goal(
        "make reproduce with nothing changed",
        "times",
        of_times("reproduce", lambda row: row.get("unchanged_s")),
        "at most",
        5.0,
        "s",
    ),
    Goal(
        "first forecast of make reproduce, off from what its chapters took",
        "times",
        of_times("reproduce", forecast_error),
        "at most",
        30.0,
        "%",
    ),
    Goal(
        "verdicts a second over those of autorubric, same weights",
        "judges",
        beside("autorubric", lambda row: row["ratio"]),
        "at least",
        10.0,
        "times",
        whys=(TOKENS, FACTORS),
    ),
    Goal(
        "AUC of these verdicts less that of autorubric's",
        "judges",
        beside("autorubric", auc_gap),
        "at least",
        0.0,
        "",
    ),
    Goal(
        "verdicts a second over those of the HealthBench way, same weights",
        "judges",
        beside("healthbench", lambda row: row["ratio"]),
        "at least",
        12.0,
        "times",
        whys=(TOKENS, FACTORS),
    ),
    Goal(
        "share of the machine's fastest matrix speed that the judge uses beside other graders",
        "judges",
        share_beside_others,
        "at least",
        0.75,
        "",
        whys=(FACTORS,),
    ),
    Goal(
        "share of the machine's fastest matrix speed that the judge uses, in profiled runs",
        "judge_profile",
        shares_taken_apart,
        "at least",
        0.75,
        "",
        whys=(FACTORS,),
    ),
    Goal(
        "seconds of a GRPO step of stock TRL with a JSON judge for each criterion over ours",
        "grpo_step",
        of_step,
        "at least",
        8.0,
        "times",
        whys=(STAGES,),
    ),
    Goal(
        "simulated seconds of a GRPO step, off from the measured ones",
        "step_time",
        of_simulation,
        "at most",
        None,
        "%",
        whys=(FARTHEST,),
    ),
)


# --- rows


def readings(goal: Goal, records: Records) -> list[Reading]:
    """The figures of a goal; without any a single one that says so."""
    record = records[goal.record]
    found = goal.read(record) if record is not None else []
    ours = [reading for reading in found if goal.concerns(reading.processor)]
    return ours or [Reading(goal.processors, None)]


def row(goal: Goal, reading: Reading, records: Records) -> Row:
    """What goals.json holds of one figure."""
    bound = reading.bound if goal.bound is None else goal.bound
    value = reading.value
    word = word_of(goal, value, bound)
    asked = "as its record says" if bound is None else shown(bound, goal.unit)
    return {
        "goal": goal.name,
        "asks": f"{goal.direction} {asked}" if bound is not None else asked,
        "bound": bound,
        "record": f"results/{RECORDS[goal.record]}",
        "processor": reading.processor,
        "value": value,
        "measured": None if value is None else shown(value, goal.unit),
        "word": word,
        "ratio": value / bound if value is not None and bound else None,
        "outcome": outcome(goal, value, bound),
        "at": "" if value is None else made(reading),
        "why": why(goal, reading, records, word),
    }


def made(reading: Reading) -> str:
    """When a figure was measured, and of which commit where its record names one."""
    return ", ".join(reading.row[name] for name in ("commit", "date") if name in reading.row)


def word_of(goal: Goal, value: float | None, bound: float | None) -> Words:
    """How a goal came out."""
    if value is None or bound is None:
        return "not measured here"
    return "met" if goal.holds(value, bound) else "missed"


def outcome(goal: Goal, value: float | None, bound: float | None) -> str:
    """The word, with by how much a goal was missed."""
    word = word_of(goal, value, bound)
    if word != "missed" or value is None or bound is None:
        return word
    if not bound:
        return f"missed by {number(abs(bound - value))}"
    asked = shown(bound, goal.unit)
    said = (
        f"times the {asked} allowed" if goal.direction == "at most" else f"of the {asked} asked for"
    )
    return f"missed: {value / bound:.3f} {said}"


def why(goal: Goal, reading: Reading, records: Records, word: Words) -> str:
    """Of a missed goal the reasons that are known, of a missing figure where it would lie."""
    if word == "met":
        return ""
    if word == "not measured here":
        there = records[goal.record] is not None
        lacks = "has no such figure of this processor" if there else "is not there"
        return f"results/{RECORDS[goal.record]} {lacks}."
    known = [(one, one.facts(reading, records)) for one in goal.whys]
    said = [plain(one.says, **facts) for one, facts in known if facts is not None]
    explained = any(one.explains and facts is not None for one, facts in known)
    return " ".join(said if explained else [*said, goal.unknown])


def number(value: float) -> str:
    """Three digits, or all that stand before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def shown(value: float, unit: str) -> str:
    """A value with its unit."""
    return f"{number(value)} {unit}".strip()


def recorded(folder: Path = FOLDER) -> dict[str, Any]:
    """The records that goals are read from; ``None`` for one that is not there."""
    paths = {name: folder / path for name, path in RECORDS.items()}
    return {
        name: json.loads(path.read_text()) if path.exists() else None
        for name, path in paths.items()
    }


def table(records: Records, declared: Iterable[Goal] = GOALS) -> Row:
    """``goals.json``: every goal, with a row for each figure, and how many came out how."""
    rows = [row(goal, one, records) for goal in declared for one in readings(goal, records)]
    words = [one["word"] for one in rows]
    return {"counts": {word: words.count(word) for word in sorted(set(words))}, "rows": rows}


def render(rows: Sequence[Mapping[str, Any]]) -> str:
    """All rows as a table of Markdown."""
    head = ("goal", "asks", "processor", "measured", "outcome", "at", "why")
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for one in rows:
        cells = [str(one[name] or "–") for name in head]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Write the record and show it."""
    found = table(recorded())
    atomic_write(RESULTS, json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    print(render(found["rows"]))


if __name__ == "__main__":
    main()
