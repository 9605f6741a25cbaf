"""The status page: what ran, from the records that execution leaves beside each notebook."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from rar_lib.book.pages.unrecorded import LeftOut
from rar_lib.book.pages.words import GENERATED
from rar_lib.book.prose import plain, sentence
from rar_lib.core.errors import ReproduceError

STATUS = "status"
UNKNOWN = "not recorded"
SHOWN_VERSIONS = 40
#: Columns that are said once, above the table, where all chapters have the same.
OFTEN_ALIKE = ("Profile", "Hardware")


def read_manifest(path: Path) -> dict[str, Any] | None:
    """Read a run's manifest; ``None`` if the notebook was executed without one."""
    if not path.is_file():
        return None
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ReproduceError(
            f"{path.name} is not JSON ({error}). Delete it and run: make reproduce"
        ) from error
    return manifest if isinstance(manifest, dict) else None


def run_line(manifest: dict[str, Any] | None) -> str:
    """Return one line of Markdown: profile, hardware, date and duration of a run."""
    if manifest is None:
        return "**What ran:** " + UNKNOWN
    parts = [f"profile {_profile(manifest)}", _hardware(manifest), _date(manifest)]
    return "**What ran:** " + " · ".join([*parts, _seconds(manifest)])


def status_page(
    manifests: dict[str, dict[str, Any] | None],
    titles: dict[str, str],
    left_out: Mapping[str, Sequence[LeftOut]] | None = None,
) -> str:
    """Return the status page: one row per notebook, what is not measured, package versions.

    Args:
        left_out: chapter -> sections that its page lacks.
    """
    lines = [
        "# What ran, where and when",
        "",
        "Made at every build from what execution leaves beside each notebook. A profile says how",
        "much was run and on which models: `smoke` is a check that everything works, `laptop` is",
        "what a CPU can do without a GPU, `gpu` needs a GPU. Figures of different profiles are not",
        "comparable. Replies of models are recorded, and what is on record is not asked again:",
        "*Replies added* counts what a run asked anew. The rewards of training are asked live and",
        "not recorded.",
        "",
        GENERATED,
        "",
        *_runs(manifests, titles),
        "",
        *_not_measured(titles, left_out or {}),
        "## Package versions",
        "",
    ]
    versions: dict[str, set[str]] = {}
    for manifest in manifests.values():
        found = (manifest or {}).get("versions")
        for name, value in (found if isinstance(found, dict) else {}).items():
            versions.setdefault(str(name), set()).add(str(value))
    if not versions:
        return "\n".join([*lines, f"Package versions were {UNKNOWN}.", ""])
    lines += ["| Package | Version |", "|---|---|"]
    for name in sorted(versions, key=str.lower)[:SHOWN_VERSIONS]:
        lines.append(f"| {_text(name)} | {_text(', '.join(sorted(versions[name])))} |")
    return "\n".join([*lines, ""])


def _runs(manifests: Mapping[str, dict[str, Any] | None], titles: Mapping[str, str]) -> list[str]:
    """The table of runs, and before it what all of them have in common."""
    columns: dict[str, list[str]] = {
        "Chapter": [f"[{_text(titles[stem])}]({stem}.ipynb)" for stem in manifests]
    }
    for name, cell in COLUMNS.items():
        columns[name] = [cell(manifest or {}) for manifest in manifests.values()]
    alike = [name for name in OFTEN_ALIKE if len(manifests) > 1 and len(set(columns[name])) == 1]
    once = [f"{name.lower()} {columns.pop(name)[0]}" for name in alike]
    said = [f"All chapters: {'; '.join(once)}.", ""] if once else []
    rules = ["---:" if name in NUMBERS else "---" for name in columns]
    rows = [_row(columns), _row(rules), *map(_row, zip(*columns.values(), strict=True))]
    return [*said, *rows]


def _not_measured(
    titles: Mapping[str, str], left_out: Mapping[str, Sequence[LeftOut]]
) -> list[str]:
    """The list of sections that chapters lack; nothing where they lack none."""
    items = [
        f"- [{_text(titles[stem])}]({stem}.ipynb), section *{_text(section.heading)}*: "
        f"record {_text(section.record)}"
        for stem, sections in left_out.items()
        for section in sections
    ]
    if not items:
        return []
    said = "These sections are not on their pages, because the record that they show is missing:"
    return ["## Not measured in this edition", "", said, "", *items, ""]


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def reproduced(times: Mapping[str, Any] | None) -> str:
    """How long profile laptop took where it was measured, as Markdown.

    Args:
        times: the record of that name; ``None`` where there is none.
    """
    found = [
        plain(
            "{minutes:.0f} minutes from {state} on {kind}",
            minutes=row[key] / 60,
            state=state,
            kind=kind,
        )
        for kind, row in (times or {}).get("reproduce", {}).items()
        for key, state in (("cold_s", "empty caches"), ("warm_s", "filled caches"))
        if key in row
    ]
    if not found:
        return sentence("How long a whole run of profile laptop takes is not on record.")
    return sentence("A whole run of profile laptop took {times}.", times="; ".join(found))


def _text(value: object) -> str:
    """Return ``value`` as one line of Markdown text without any markup."""
    flat = " ".join(str(value).split())
    return re.sub(r"([\\`*_{}\[\]<>|$~#])", r"\\\1", flat)


def _profile(manifest: dict[str, Any]) -> str:
    return _text(manifest.get("profile") or UNKNOWN)


def _seconds(manifest: dict[str, Any]) -> str:
    seconds = manifest.get("seconds")
    if not isinstance(seconds, int | float):
        return UNKNOWN
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def _minutes(manifest: dict[str, Any]) -> str:
    seconds = manifest.get("seconds")
    return f"{seconds / 60:.1f}" if isinstance(seconds, int | float) else UNKNOWN


def _added(manifest: dict[str, Any]) -> str:
    added = manifest.get("calls_added")
    return f"{added:,}" if isinstance(added, int) else UNKNOWN


def _date(manifest: dict[str, Any]) -> str:
    try:
        return datetime.fromisoformat(str(manifest.get("end"))).strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return UNKNOWN


def _hardware(manifest: dict[str, Any]) -> str:
    hardware = manifest.get("hardware")
    if isinstance(hardware, dict):
        return (
            ", ".join(f"{_text(name)} {_text(value)}" for name, value in hardware.items() if value)
            or UNKNOWN
        )
    return _text(hardware) if hardware else UNKNOWN


#: Columns of the table of runs behind the chapter's, and those of them that hold numbers.
COLUMNS: dict[str, Callable[[dict[str, Any]], str]] = {
    "Profile": _profile,
    "Minutes": _minutes,
    "Replies added": _added,
    "Finished": _date,
    "Hardware": _hardware,
}
NUMBERS = ("Minutes", "Replies added")
