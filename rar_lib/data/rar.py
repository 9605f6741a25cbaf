"""The released RaR sets as tasks, with an account of every row.

A row holds ``question``, ``reference_answer`` and ``rubric``, a list of items with
``description``, ``title`` and ``weight``; the category is a prefix of the description. Policy, so
that as little as possible is lost and nothing silently:

- A criterion's category is the word before "Criteria:". Case and white space do not matter,
  known misspellings are mapped, and a near miss with the same first letter is repaired. A
  criterion whose category stays unknown is left out; the task keeps the others.
- A pitfall's polarity is read from its wording (:mod:`rar_lib.data.polarity`). An ambiguous one
  is left out in the same way: with a guessed sign it could train the opposite of what it says.
- A negative weight under another category: a criterion that is worded as a failure is one; of any
  other the category is believed, and the weight is not kept.
- An empty reference becomes ``None``. Repeated questions are counted and kept.
- A row that does not follow the schema stops the load (``strict``) or is kept out and listed.

The commits of the two sets on the hub are not recorded here: ``revision`` is ``"main"`` unless
a 40-digit commit is given. The commit that the account names is read off the cache folder that
the rows came from, because without a network the cache answers with whatever version it holds.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from rar_lib.core.errors import DataError, first_line
from rar_lib.core.files import install_command
from rar_lib.core.text import normalise
from rar_lib.core.types import Category, Criterion, Polarity, Rubric, Task
from rar_lib.data.jsonl import Account, Note, json_rows, short
from rar_lib.data.jsonl import read as read_bytes
from rar_lib.data.polarity import read, split_prefix
from rar_lib.data.sheets import read_parquet

Rows = str | Path | Iterable[Mapping[str, Any]]
_COMMIT = re.compile(r"(?<![0-9a-f])[0-9a-f]{40}(?![0-9a-f])")


class Source(NamedTuple):
    """Where rows come from, the commit if known, and each row with its place ("row 7")."""

    name: str
    commit: str | None
    rows: Iterator[tuple[str, Any]]


def open_rows(repository: str, split: str, revision: str, rows: Rows | None = None) -> Source:
    """Rows of one split.

    Args:
        revision: branch, tag or commit on the hub; unused if ``rows`` is given.
        rows: a ``.parquet`` or ``.jsonl`` file, or dicts, instead of the hub.

    Raises:
        DataError: nothing could be read; the message names the cause and the fix.
    """
    if rows is None:
        return _hub(repository, split, revision)
    if not isinstance(rows, str | Path):
        return Source("given rows", None, _numbered(rows))
    path = Path(rows)
    if path.suffix == ".parquet":
        return Source(str(path), None, _numbered(row.cells for row in read_parquet(path).rows))
    if path.suffix == ".jsonl":
        lines = json_rows(read_bytes(path), str(path))
        return Source(str(path), None, ((f"line {n}", row) for n, row in lines))
    raise DataError(f"{path}: unknown kind of file {path.suffix!r}; give a .parquet or .jsonl file")


def _hub(repository: str, split: str, revision: str) -> Source:
    what = f"{repository}, split {split!r}, revision {revision!r}"
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise DataError(
            f"{what}: needs the package 'datasets' ({error}): {install_command('train')}"
        ) from error
    try:
        data = load_dataset(repository, revision=revision, split=split)
    except Exception as error:  # it raises a dozen unrelated types; all mean "no rows"
        raise DataError(
            f"{what}: could not be loaded ({type(error).__name__}: {first_line(error)}); check "
            "the network and the names, or download the split's parquet file and pass rows=PATH"
        ) from error
    found = {commit for file in data.cache_files for commit in _COMMIT.findall(file["filename"])}
    commit = found.pop() if len(found) == 1 else None
    if _COMMIT.fullmatch(revision) and commit not in (None, revision):
        raise DataError(
            f"{what}: without the network the cache has only commit {commit}; connect once to "
            "fetch the one asked for, or ask for the cached one"
        )
    return Source(repository, commit, _numbered(data))


def _numbered(rows: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    return ((f"row {n}", row) for n, row in enumerate(rows))


_CEILING = {"question": 20_000, "reference_answer": 20_000, "rubric": 60}
_NAMES = {category.lower(): category for category in Category}
#: Words that the released sets use as a category and that can only mean one.
_KNOWN_SLIPS = {"importance": Category.IMPORTANT, "option": Category.OPTIONAL}


def category(prefix: str | None) -> tuple[Category | None, bool]:
    """Category named by a prefix, and whether its spelling had to be repaired."""
    word = (prefix or "").lower()
    if word in _NAMES:
        return _NAMES[word], False
    if word in _KNOWN_SLIPS:
        return _KNOWN_SLIPS[word], True
    # The first letter must agree: "unimportant" is one edit away from its opposite.
    close = difflib.get_close_matches(
        word, [name for name in _NAMES if name[:1] == word[:1]], 1, 0.85
    )
    return (_NAMES[close[0]], True) if close else (None, False)


def problem(row: Any) -> tuple[str, str] | None:
    """The first field that does not follow the schema, and what is wrong with it."""
    if not isinstance(row, Mapping):
        return "(the whole row)", f"found {type(row).__name__}; allowed: an object"
    for name in ("question", "reference_answer", "rubric"):
        if name not in row:
            return name, "missing"
    if wrong := _wrong_text(row):
        return wrong
    items = (_wrong_item(number, item) for number, item in enumerate(row["rubric"]))
    return next((wrong for wrong in items if wrong), None)


def _wrong_text(row: Mapping[str, Any]) -> tuple[str, str] | None:
    question = row["question"]
    reference = row["reference_answer"]
    rubric = row["rubric"]
    if not isinstance(question, str) or not question.strip():
        return "question", f"found {question!r}; allowed: text"
    if not isinstance(reference, str | None):
        return "reference_answer", f"found {reference!r}; allowed: text, which may be empty"
    if not isinstance(rubric, list) or not rubric:
        return "rubric", f"found {type(rubric).__name__}; allowed: a list of criteria, not empty"
    for name, ceiling in _CEILING.items():
        if len(row[name] or "") > ceiling:
            return name, f"length {len(row[name]):,}; allowed: at most {ceiling:,}"
    return None


def _wrong_item(number: int, item: Any) -> tuple[str, str] | None:
    place = f"rubric.{number}"
    if not isinstance(item, Mapping):
        return place, f"found {type(item).__name__}; allowed: an object"
    for name in ("description", "title"):
        value = item.get(name)
        if not isinstance(value, str) or not split_prefix(value)[1] or len(value) > 20_000:
            return f"{place}.{name}", f"found {str(value)[:60]!r}; allowed: text"
    weight = item.get("weight")
    if not isinstance(weight, int) or isinstance(weight, bool) or weight == 0:
        return f"{place}.weight", f"found {weight!r}; allowed: a whole number, not 0"
    return None


def criteria(rubric: list[Mapping[str, Any]], where: str, account: Account) -> list[Criterion]:
    """The items of one row as criteria; what is left out goes into the account."""
    counts = account.counts
    kept = []
    for number, item in enumerate(rubric):
        counts["criteria read"] += 1
        place = f"rubric.{number}.description"
        word, sentence = split_prefix(item["description"])
        kind, repaired = category(word)
        counts["category prefixes repaired"] += repaired
        if kind is None:
            named = "'Essential Criteria:' or the like"
            reason = f"category {word!r} is unknown, left out"
            if word is None:
                reason = f"{short(sentence)} does not begin with {named}, left out"
            account.leave_out("criteria of unknown category, left out", where, place, reason)
            continue
        if repaired:
            account.notes.append(Note(where, place, f"category {word!r} read as {kind}"))
        counts["weights whose sign contradicts the category"] += _contradicts(kind, item["weight"])
        decided, rule = _polarity(kind, item)
        if decided is None:
            reason = f"polarity is ambiguous ({rule}), left out"
            account.leave_out("pitfalls of ambiguous polarity, left out", where, place, reason)
            continue
        if kind is Category.PITFALL:
            counts[f"pitfalls, met is {decided}"] += 1
        weight = item["weight"]
        if weight < 0 and kind is not Category.PITFALL and decided is Polarity.GOOD:
            reason = f"weight {weight} under category {kind}, not kept"
            account.notes.append(Note(where, f"rubric.{number}.weight", reason))
            weight = None
        kept.append(
            Criterion(
                id=f"c{number + 1:02d}",
                title=item["title"].strip(),
                description=sentence,
                category=kind,
                polarity=decided,
                points=weight,
            )
        )
    return kept


def _contradicts(kind: Category, weight: int) -> bool:
    return (weight > 0) is (kind is Category.PITFALL)


def _polarity(kind: Category, item: Mapping[str, Any]) -> tuple[Polarity | None, str]:
    """How a criterion is worded, ``None`` for an ambiguous pitfall; and the rule that says so.

    Under another category a negative weight makes a fault only of what is worded as one.
    """
    if kind is not Category.PITFALL and item["weight"] > 0:
        return Polarity.GOOD, "positive"
    decided, rule = read(item["description"], item["weight"], item["title"])
    if kind is Category.PITFALL:
        return decided, rule
    return (decided if decided is Polarity.BAD else Polarity.GOOD), rule


Name = Literal["medicine", "science"]
Split = Literal["train", "val", "test"]
REPOSITORIES: Mapping[Name, str] = {
    "medicine": "ScaleAI/RaR-Medicine",
    "science": "ScaleAI/RaR-Science",
}
#: Rows of each split according to the dataset cards.
PUBLISHED_ROWS: Mapping[Name, Mapping[Split, int]] = {
    "medicine": {"train": 17_926, "val": 2_240, "test": 2_242},
    "science": {"train": 18_333, "val": 2_292, "test": 2_292},
}
_COUNTS = (
    "rows malformed, kept out",
    "rows without a usable criterion, kept out",
    "rows that occur in train, kept out",
    "criteria read",
    "criteria of unknown category, left out",
    "pitfalls of ambiguous polarity, left out",
    "pitfalls, met is good",
    "pitfalls, met is bad",
    "category prefixes repaired",
    "weights whose sign contradicts the category",
    "rubric_count differs from the rubric",
    "empty references",
    "questions seen earlier in the split",
)


def load_rar(
    name: Name,
    split: Split,
    *,
    rows: Rows | None = None,
    revision: str = "main",
    drop_overlap: bool = False,
    train_rows: Rows | None = None,
    strict: bool = True,
) -> tuple[list[Task], Account]:
    """One split of RaR-Medicine or RaR-Science.

    Args:
        rows: a parquet or JSON-lines file, or dicts, in the published schema; without it the
            split comes from the hub or its local cache (needs the extra ``train``).
        revision: branch, tag or 40-digit commit on the hub.
        drop_overlap: keep out of val or test every question that train holds as well, compared
            after :func:`rar_lib.core.text.normalise`.
        train_rows: the train split for that, if ``rows`` is given.
        strict: stop at the first malformed row; otherwise keep it out and list it.

    Returns:
        Tasks with ids such as ``rar-med-train-000123`` (row number, from 0), criteria ``c01``,
        ``c02``, ... by published position, published weights in ``Criterion.points``; and the
        account of how they were made.

    Raises:
        DataError: the source cannot be read, a row is malformed, or nothing is left.
    """
    _check(name, split, rows, drop_overlap=drop_overlap, train_rows=train_rows)
    source = open_rows(REPOSITORIES[name], split, revision, rows)
    account = Account(f"{source.name}, split {split!r}", commit=source.commit)
    account.counts = Counter(dict.fromkeys(_COUNTS, 0))
    train = _questions(name, source.commit or revision, train_rows) if drop_overlap else set()
    reader = _Reader(name, split, account, train)
    tasks: list[Task] = []
    for at, row in source.rows:
        where = f"{source.name}, {at}"
        account.rows += 1
        wrong = problem(row)
        if wrong is None:
            tasks += reader.task(row, where)
        elif strict:
            raise DataError(
                f"{where}, field {wrong[0]}: {wrong[1]}; mend the row, or pass "
                "strict=False to keep it out and list it in the account"
            )
        else:
            account.leave_out("rows malformed, kept out", where, *wrong)
    if not tasks:
        found = ", ".join(f"{name}: {n}" for name, n in account.counts.items() if n)
        raise DataError(
            f"{account.source}: none of {account.rows} rows became a task "
            f"({found or 'it is empty'}); give rows in the published schema"
        )
    account.kept = len(tasks)
    published = PUBLISHED_ROWS[name][split]
    if account.rows != published:
        account.warnings.append(f"{account.rows:,} rows read, {published:,} published for {split}")
    if rows is None:
        account.revision = revision
        if source.commit is None:
            account.warnings.append("the commit that was read is unknown")
    return tasks, account


@dataclass
class _Reader:
    """Makes tasks of the well-formed rows of one split.

    Attributes:
        train: normalised questions to keep out.
    """

    name: Name
    split: Split
    account: Account
    train: set[str]
    seen: set[str] = field(default_factory=set)

    def task(self, row: Mapping[str, Any], where: str) -> list[Task]:
        """The task of a row, or nothing."""
        account = self.account
        kept = criteria(row["rubric"], where, account)
        reference = (row["reference_answer"] or "").strip()
        question = normalise(row["question"])
        size = len(row["rubric"])
        miscounted = row.get("rubric_count", size) != size
        account.counts["empty references"] += not reference
        account.counts["questions seen earlier in the split"] += question in self.seen
        account.counts["rubric_count differs from the rubric"] += miscounted
        self.seen.add(question)
        if not kept:
            unusable = "rows without a usable criterion, kept out"
            account.leave_out(unusable, where, "rubric", "no usable criterion")
            return []
        if question in self.train:
            account.leave_out(
                "rows that occur in train, kept out", where, "question", "occurs in train"
            )
            return []
        made = Task(
            id=f"rar-{self.name[:3]}-{self.split}-{account.rows - 1:06d}",
            domain=self.name,
            question=row["question"],
            reference=reference or None,
            rubric=Rubric(criteria=tuple(kept), source="synthetic_ref"),
        )
        return [made]


def _check(
    name: str, split: str, rows: Rows | None, *, drop_overlap: bool, train_rows: Rows | None
) -> None:
    if name not in REPOSITORIES:
        raise DataError(f"data set {name!r} does not exist; allowed: {', '.join(REPOSITORIES)}")
    if split not in ("train", "val", "test"):
        raise DataError(f"split {split!r} does not exist; allowed: 'train', 'val', 'test'")
    if drop_overlap and split == "train":
        raise DataError("drop_overlap keeps questions of train out of val and test; not of train")
    if drop_overlap and rows is not None and train_rows is None:
        raise DataError("drop_overlap with given rows needs train_rows to compare with")


def _questions(name: Name, revision: str, rows: Rows | None) -> set[str]:
    source = open_rows(REPOSITORIES[name], "train", revision, rows)
    found = [row.get("question") for _, row in source.rows if isinstance(row, Mapping)]
    questions = {normalise(text) for text in found if isinstance(text, str)}
    if not questions:
        raise DataError(f"{source.name}: holds no 'question' to compare with; give the train split")
    return questions
