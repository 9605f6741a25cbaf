"""The claims ledger: what the paper says, each claim with what was found of it.

    rows = ledger()
    print(counts(rows))

``claims.toml`` declares the claims, their measures and margins. A number comes from a record in
``results/``, which says how it was found and on which machine; what a chapter measures while it
runs is a demonstration and decides nothing. The first source that holds the finding is the
evidence. All p-values of a family are corrected together here, whatever the scripts had corrected
before.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import chain, islice, product
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError, model_validator

from rar_lib.book import prose, results, tables
from rar_lib.core import files
from rar_lib.core.decision import WORDS, Finding, decide_family, fewest_units, not_testable
from rar_lib.core.errors import DataError
from rar_lib.core.stats import Interval, proportion
from rar_lib.core.types import Frozen
from rar_lib.evaluation.alignment import recounted

_ROOT = files.checkout() or Path.cwd()
FILE = Path(__file__).with_name("claims.toml")
WRITTEN = _ROOT / results.FOLDER / "claims.json"
#: The records that claims may rest on, and the script that makes each.
SCRIPTS = {
    "alignment": "results/alignment/run.py",
    "arms": "results/study/run.py",
    "attacks": "results/attacks.py",
}
#: The first cell of a chapter that its page shows: the head of the chapter, for links to all of it.
_HEAD = "2"
#: Of a sentence about a bound, what the bound is: a table of such sentences has a column for it.
_BOUND = re.compile(
    r" (?:by more than the paper's|is larger than the) (two scores|sampling error) .*"
)
#: What is said of a check of the paper's own numbers, and of what there is nothing to decide.
CHECKS = ("holds", "does not hold")
#: The same of a difference that is held against a bound of this book: it is not true or false.
BOUNDED = ("larger", "not larger")
SHOWN = "shown"
#: Claims in a few words, as a figure names them.
NAMES = {
    "judge.implicit-over-direct-likert": "rating with rubric over plain rating",
    "judge.explicit-over-direct-likert": "single criteria over plain rating",
    "judge.implicit-over-reference-likert": "rating with rubric over with reference",
    "judge.explicit-over-implicit": "single criteria over rating with rubric",
    "judge.implicit-at-every-size": "every size: rating with rubric over plain",
    "judge.explicit-at-every-size": "every size: single criteria over plain",
    "judge.small-gains-most": "gain by a rubric: smaller over larger judge",
    "judge.spread-smaller": "judges differ less with rubric",
    "judge.synthetic-over-direct-likert": "synthetic rubric over plain rating",
    "judge.no-reference-over-direct-likert": "synthetic, no reference, over plain rating",
    "judge.reference-rubrics-over-no-reference": "synthetic rubric: reference over none",
    "judge.explicit-over-predefined": "own criteria over one generic rubric",
    "rubrics.reference-margin": "separation: reference over none",
    "rubrics.authored-over-synthetic": "separation: authored over synthetic",
    "gaming.attacks-pay-implicit": "attacks over harmless text: one rating",
    "gaming.attacks-pay-explicit": "attacks over harmless text: criteria",
    "gaming.rules-help-implicit": "fewer attacks by pre-checks: one rating",
    "gaming.rules-help-explicit": "fewer attacks by pre-checks: criteria",
    "reward.implicit-over-direct-likert": "policy: rating with rubric over plain",
    "reward.implicit-over-reference-likert": "policy: rubric over reference",
    "reward.implicit-over-explicit": "policy: one rating over single criteria",
    "reward.explicit-over-direct-likert": "policy: single criteria over plain",
    "reward.explicit-over-reference-likert": "policy: single criteria over reference",
    "reward.explicit-over-predefined": "policy: own criteria over generic ones",
    "reward.implicit-over-base": "policy: rating with rubric over untrained",
    "reward.explicit-over-base": "policy: single criteria over untrained",
    "reward.expert-sft-over-base": "policy: imitation over untrained",
    "reward.implicit-over-expert-sft": "policy: rating with rubric over imitation",
    "reward.implicit-over-filtered-sft": "policy: rubric over its own best answers",
    "reward.strong-judge-over-weak": "policy: stronger over weaker judge",
    "reward.reference-rubrics-over-no-reference": "policy: synthetic, reference over none",
    "reward.synthetic-over-human": "policy: synthetic over authored rubrics",
    "reward.no-reference-rubrics-over-reference-likert": "policy: rubric without over reference",
}


def _without_number(text: str) -> str:
    # A digit inside a name, as in HealthBench-1k, is not a number.
    if found := re.search(r"(?<![\w-])\d", text):
        raise ValueError(f"holds the number at {text[found.start() :][:12]!r}: quote it instead")
    return text


Prose = Annotated[str, Field(min_length=1), AfterValidator(_without_number)]
#: A published number: table, row (or ``*`` for all), column.
Cell = tuple[str, str, str]
Rule = Literal[
    "value",
    "difference",
    "distance",
    "ratio",
    "relative gain",
    "total",
    "difference of ranges",
    "half width",
]


class Measure(Frozen):
    """What is measured, and how small a difference counts as none.

    Attributes:
        margin: d of "no difference larger than d", in ``unit``.
        because: why that d, whatever was or will be found.
    """

    statistic: Prose
    unit: Prose
    family: str
    margin: Annotated[float, Field(gt=0)]
    because: Prose


class Other(Frozen):
    """The number that another is set against; what it leaves out is as in that one."""

    table: str = ""
    column: str = ""
    row: str


class Quote(Frozen):
    """A published number, alone or against another one; or all rows of a table, one by one.

    Attributes:
        row: of the table, or ``*`` for all, where ``against`` is ``*`` of another column.
    """

    table: str
    column: str
    row: str
    against: Other | str | None = None

    @property
    def cells(self) -> list[Cell]:
        """One cell, or two."""
        own = (self.table, self.row, self.column)
        if self.against is None:
            return [own]
        if isinstance(self.against, str):
            return [own, (self.table, self.against, self.column)]
        other = self.against
        return [own, (other.table or self.table, other.row, other.column or self.column)]

    @model_validator(mode="after")
    def _one_or_all(self) -> Quote:
        places = {(table, row) for table, row, _ in self.cells}
        if self.row == tables.EVERY_ROW and (len(self.cells), len(places)) != (2, 1):
            raise ValueError("row * is against row * of another column of the same table")
        return self

    def __str__(self) -> str:
        if self.row == tables.EVERY_ROW:
            return self._row_by_row()
        values = [_only(cell) for cell in self.cells]
        if len(values) == 1:
            return f"{values[0]:,}" if isinstance(values[0], int) else str(values[0])
        first, second = values
        return f"{first:,} against {second:,} ({_gap(first, second):+,})"

    def _row_by_row(self) -> str:
        """The difference in each row: one of them alone would hide how far they vary."""
        first, second = (tables.numbers(*cell) for cell in self.cells)
        names = tables.published(self.table).iloc[:, 0]
        gaps = [_gap(*values) for values in zip(first, second, strict=True)]
        return "; ".join(f"{name} {gap:+,}" for name, gap in zip(names, gaps, strict=True))


def _gap(first: float, second: float) -> Decimal:
    """As the digits have it that are printed."""
    return Decimal(str(first)) - Decimal(str(second))


class Expression(Frozen):
    """Arithmetic on published numbers."""

    rule: Rule
    of: Annotated[tuple[Cell, ...], Field(min_length=1)]


class Check(Expression):
    """Arithmetic, and what it is held against: a published number, or other arithmetic."""

    equals: Cell | None = None
    exceeds: Expression | None = None

    @property
    def limits(self) -> list[Expression]:
        """What it must exceed, if that is what is asked."""
        return [self.exceeds] if self.exceeds else []

    @model_validator(mode="after")
    def _one(self) -> Check:
        if (self.equals is None) == (self.exceeds is None):
            raise ValueError("needs exactly one of equals and exceeds")
        return self


class Source(Frozen):
    """Where a finding is.

    Attributes:
        key: name of the finding in the record.
        record: one of ``SCRIPTS``, which holds ``findings``.
        runs: arms that the record must hold, as :func:`rar_lib.book.results.lacking` asks.
    """

    key: str
    record: str
    runs: tuple[str, ...] = ()


class Claim(Frozen):
    """One row of the ledger; keys as the head of ``claims.toml`` describes them.

    Attributes:
        reading: of a check of two numbers, that nothing says that they are one: a reading of the
            paper that this book tries, of which several may be of one number.
        seen: what was known of its outcome before it was declared or recorded, or recorded again;
            empty for nothing.
    """

    id: Annotated[str, Field(pattern=r"^[a-z]+\.[a-z0-9-]+$")]
    group: str
    says: Prose
    places: Annotated[tuple[str, ...], Field(min_length=1)]
    paper: Quote | Prose | None = None
    measure: str = ""
    sources: tuple[Source, ...] = ()
    arithmetic: Check | None = None
    reading: bool = False
    shown: tuple[str, ...] = ()
    reason: Prose | Literal[""] = ""
    seen: Prose | Literal[""] = ""

    @model_validator(mode="after")
    def _fits_together(self) -> Claim:
        kinds = ("sources", "arithmetic", "shown", "reason")
        given = [kind for kind in kinds if getattr(self, kind)]
        if len(given) != 1:
            raise ValueError(f"needs exactly one of {', '.join(kinds)}, has {given or 'none'}")
        if self.sources and not self.measure:
            raise ValueError("a claim with sources needs a measure, which declares its margin")
        if self.measure and not self.sources:
            raise ValueError(
                f"measure {self.measure!r} without sources: give some, or leave it out"
            )
        if (self.paper is None) != (self.arithmetic is not None):
            raise ValueError("needs the paper's number in `paper`, unless arithmetic quotes it")
        if self.reading and not (self.arithmetic and self.arithmetic.equals):
            raise ValueError("reading is said of arithmetic that `equals` a published number")
        return self


class Family(Frozen):
    """Claims whose p-values are corrected together.

    Attributes:
        rule: how each of them is decided.
        size: claims that were ever declared in it, recorded or not: the correction is for as many.
    """

    rule: Prose
    size: Annotated[int, Field(ge=1)]


class Ledger(Frozen):
    """``claims.toml``: titles of groups, families, measures, claims."""

    groups: dict[str, Prose]
    families: dict[str, Family]
    measures: dict[str, Measure]
    claims: tuple[Claim, ...]

    def measure_of(self, claim: Claim) -> Measure | None:
        """``None`` for a claim that is not decided by a measurement."""
        return self.measures.get(claim.measure)


def load(file: Path = FILE) -> Ledger:
    """The ledger as declared, checked.

    Raises:
        DataError: the file is missing or not TOML, a key is unknown or missing, an id is there
            twice, or a group, measure, family, record or published number does not exist.
    """
    try:
        raw = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise DataError(f"{file.name} can't be read: {error}; restore it from git") from error
    rows = raw.pop("claim", [])
    claims = tuple(_claim(row, file.name) for row in rows)
    try:
        found = Ledger.model_validate(raw | {"claims": claims})
    except ValidationError as error:
        raise DataError(f"{file.name}: {_faults(error)}") from error
    _check_names(found, file.name)
    return found


def margin(measure: str) -> float:
    """The declared d of a measure, for a chapter that decides the same claims.

    Raises:
        DataError: no such measure.
    """
    declared = load().measures
    _check_name(measure, declared, "measure")
    return declared[measure].margin


def family_size(family: str, file: Path = FILE) -> int:
    """Claims that were ever declared in a family: it is corrected for as many, recorded or not.

    Raises:
        DataError: no such family.
    """
    declared = load(file).families
    _check_name(family, declared, "family")
    return declared[family].size


def fewest_tasks(family: str, file: Path = FILE) -> int:
    """Tasks with which a claim of a declared family can be decided, however many have a p-value.

    The least that :func:`rar_lib.core.decision.fewest_units` says of :func:`family_size`: a floor
    of what the p-value can reach, and no sign that it may be trusted there. Where differences are
    skewed, a family of true nulls over so few tasks is far likelier to have one that is decided
    than its level says; ``results/coverage.json`` has by how much under *first place*, for the
    ledger, and chapter 12 shows it.

    Raises:
        DataError: no such family.
    """
    return fewest_units(family_size(family, file))


def _claim(row: Mapping[str, Any], file: str) -> Claim:
    try:
        return Claim.model_validate(row)
    except ValidationError as error:
        raise DataError(
            f"claim {row.get('id', '(without id)')!r} in {file}: {_faults(error)}. "
            f"Its keys are: {', '.join(Claim.model_fields)}"
        ) from error


def _faults(error: ValidationError) -> str:
    found = [
        (".".join(map(str, fault["loc"])) or "the whole", fault["msg"]) for fault in error.errors()
    ]
    return "; ".join(f"{key}: {message}" for key, message in found)


def _check_names(found: Ledger, file: str) -> None:
    seen: set[str] = set()
    for claim in found.claims:
        if claim.id in seen:
            raise DataError(f"claim {claim.id!r} is in {file} twice: rename one")
        seen.add(claim.id)
        _check_name(claim.group, found.groups, f"claim {claim.id!r}: group")
        if claim.measure:
            _check_name(claim.measure, found.measures, f"claim {claim.id!r}: measure")
        for source in claim.sources:
            _check_name(source.record, SCRIPTS, f"claim {claim.id!r}: record")
        try:
            paper_of(claim)
        except DataError as error:
            raise DataError(f"claim {claim.id!r} in {file}: {error}") from error
    for name, measure in found.measures.items():
        _check_name(measure.family, found.families, f"measure {name!r}: family")
    _check_sizes(found, file)


def _check_sizes(found: Ledger, file: str) -> None:
    measures = [found.measure_of(claim) for claim in found.claims]
    members = Counter(measure.family for measure in measures if measure)
    for name, family in found.families.items():
        if members[name] > family.size:
            raise DataError(
                f"{file}: family {name!r} has {members[name]} measured claims and was declared "
                f"with {family.size}: declare another family for what is new"
            )


def _check_name(name: str, known: Mapping[str, Any], where: str) -> None:
    if name not in known:
        raise DataError(f"{where} {name!r} is not declared; there are: {', '.join(known)}")


# --- arithmetic on published numbers -------------------------------------------------------------


@dataclass(frozen=True)
class Checked:
    """Arithmetic on published numbers, and what it was held against.

    Attributes:
        low, high: what the value may be, given that its numbers are rounded.
        unit: of all of these, empty where it is the numbers' own.
    """

    value: float
    low: float
    high: float
    against: float
    unit: str
    holds: bool


def check(claim: Check) -> Checked:
    """Whether arithmetic gives the number published, or a larger one than other arithmetic.

    A published number stands for all that rounds to it, so two agree if these ranges meet.
    """
    value, low, high = evaluate(claim)
    unit = "%" if claim.rule == "relative gain" else ""
    if claim.equals is not None:
        said = _only(claim.equals)
        half = _half_unit(said, whole=0.5) + 1e-9  # decimal fractions are not exact in binary
        holds = low <= said + half and said - half <= high
        return Checked(value, low, high, said, unit, holds)
    limit = max(evaluate(other)[0] for other in claim.limits)
    return Checked(value, low, high, limit, unit, value > limit)


def evaluate(expression: Expression) -> tuple[float, float, float]:
    """Value of an expression, with the lowest and highest that rounding of its numbers allows.

    Counts are exact; a decimal fraction may be off by half a unit of its last place.
    """
    columns = [tables.numbers(*cell) for cell in expression.of]
    sizes = [len(column) for column in columns]
    flat = list(chain.from_iterable(columns))
    rule = _RULES[expression.rule]
    drawn = [rule(_parted(values, sizes)) for values in product(*map(_corners, flat))]
    return rule(_parted(flat, sizes)), min(drawn), max(drawn)


def _parted(values: Sequence[float], sizes: Sequence[int]) -> list[list[float]]:
    rest = iter(values)
    return [list(islice(rest, size)) for size in sizes]


def _corners(value: float) -> tuple[float, ...]:
    half = _half_unit(value, whole=0.0)
    return (value - half, value + half) if half else (float(value),)


def _half_unit(value: float, *, whole: float) -> float:
    """Half a unit of the last place that is written; ``whole`` for an integer."""
    if isinstance(value, int):
        return whole
    exponent = Decimal(str(value)).as_tuple().exponent
    return 0.5 * 10.0 ** int(exponent)


def _range(values: Sequence[float]) -> float:
    return max(values) - min(values)


def _half_width(columns: Sequence[Sequence[float]]) -> float:
    """Half of Wilson's 95 % interval of a score in percent, over that many questions."""
    (percent,), (questions,) = columns
    found = proportion(percent / 100 * questions, int(questions))
    return 100 * (found.high - found.low) / 2


#: Arithmetic by its name; each column is the rows of one cell.
_RULES: dict[Rule, Callable[[Sequence[Sequence[float]]], float]] = {
    "value": lambda columns: columns[0][0],
    "difference": lambda columns: columns[0][0] - columns[1][0],
    "distance": lambda columns: abs(columns[0][0] - columns[1][0]),
    "ratio": lambda columns: columns[0][0] / columns[1][0],
    "relative gain": lambda columns: 100 * (columns[0][0] / columns[1][0] - 1),
    "total": lambda columns: sum(map(sum, columns)),
    "difference of ranges": lambda columns: _range(columns[0]) - _range(columns[1]),
    "half width": _half_width,
}


def _written(value: float, unit: str) -> str:
    number = f"{value:,.0f}" if value == int(value) or value >= 1000 else f"{value:.4g}"
    return f"{number} {unit}".strip()


def _points(value: float) -> str:
    """With the one decimal of the scores that it is a difference or a bound of."""
    return f"{value:.1f}"


def _only(cell: Cell) -> Any:
    found = tables.numbers(*cell)
    if len(found) != 1:
        raise DataError(f"{cell[0]} in published.json has {len(found)} rows {cell[1]!r}: name one")
    return found[0]


def paper_of(claim: Claim) -> str:
    """The paper's number, or what it gives in place of one.

    Raises:
        DataError: a number is quoted that ``published.json`` does not have.
    """
    if claim.arithmetic is None:
        return str(claim.paper)
    found = check(claim.arithmetic)
    if claim.arithmetic.equals is None:
        return f"more than {_points(found.against)}"
    return _written(found.against, found.unit)


# --- evidence ------------------------------------------------------------------------------------


#: Notebook and id of its cell; ``None`` for what can't be found.
Place = tuple[str | None, str | None]
_NOWHERE: Place = (None, None)
#: Group of a claim -> the chapter with a cell that shows its record.
_SHOWN_IN = {"judge": "04", "rubrics": "04", "weights": "06", "reward": "07", "gaming": "09"}
#: The groups whose findings that chapter shows, as the ledger has them; of the others it shows what
#: the findings are computed from.
_TOLD = ("judge", "weights", "reward")


@dataclass(frozen=True)
class Saved:
    """The findings of a record, and what made them.

    Attributes:
        file: from the root of the checkout.
        values: finding by its key.
        cell: id of the notebook's cell that shows the record; ``None`` where there is none.
    """

    file: str
    values: Mapping[str, Any]
    notebook: str | None = None
    cell: str | None = None
    machine: str | None = None
    versions: Mapping[str, str] | None = None
    date: str | None = None


@dataclass(frozen=True)
class Evidence:
    """All that the sources of a ledger name, as far as it exists.

    Attributes:
        records: whole records by name.
        files: their files from the root of the checkout; of others, where they will be.
        shown: id of a claim -> notebook and cell that show its record.
    """

    records: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    shown: Mapping[str, Place] = field(default_factory=dict)


def gather(declared: Ledger, checkout: Path | None = None) -> Evidence:
    """Read the records that the sources name; one that is not there is left out.

    Args:
        checkout: another one than that of this library.

    Raises:
        ValueError: a record is not JSON, or there are two of its name.
    """
    root = checkout or _ROOT
    named = sorted({source.record for claim in declared.claims for source in claim.sources})
    records = {name: results.load(name, root) for name in named}
    return Evidence(
        records={name: found for name, found in records.items() if found is not None},
        files={name: results.place(name, root) for name in named},
        shown={claim.id: shown_by(claim, root) for claim in declared.claims if claim.sources},
    )


def shown_by(claim: Claim, root: Path = _ROOT) -> Place:
    """Notebook and cell id that show the record of a claim; ``None`` for what can't be found.

    In the chapter of the claim's group that is the last cell that takes findings by
    :func:`on_record`, where the chapter shows those of the group, and else the last that reads the
    record: cells before take a part of it.
    """
    chapter = _SHOWN_IN.get(claim.group, "")
    paths = sorted((root / "notebooks").glob(f"{chapter}_*.ipynb"))
    told = _last_cell(paths, r"\bon_record\(") if claim.group in _TOLD else _NOWHERE
    reads = "|".join(source.record for source in claim.sources)
    return told if told[0] else _last_cell(paths, rf'results\.load\(\s*"({reads})"')


def _last_cell(paths: Sequence[Path], pattern: str) -> Place:
    found = _NOWHERE
    for path in paths:
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if re.search(pattern, "".join(cell["source"])):
                found = f"notebooks/{path.name}", str(cell["id"])
    return found


# --- decision ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A claim with all that was found of it.

    Attributes:
        finding: of a claim that is measured or can't be; ``None`` for arithmetic and settings.
        checked: of arithmetic.
        origin: file of the finding; ``None`` where there is none.
        seeds: training runs a side; ``None`` where nothing was trained.
        size: of the family that it was corrected in; 0 where nothing is measured.
    """

    claim: Claim
    measure: Measure | None
    finding: Finding | None = None
    checked: Checked | None = None
    origin: Saved | None = None
    key: str = ""
    seeds: int | None = None
    size: int = 0

    @property
    def word(self) -> str:
        """One of the five words, of the two of a check, or *shown*."""
        if self.checked is not None:
            return CHECKS[0] if self.checked.holds else CHECKS[1]
        return SHOWN if self.finding is None else self.finding.word

    @property
    def outcome(self) -> str:
        """The word for reading: a difference is *larger* than its bound or is not."""
        if self.checked is None or self.claim.arithmetic is None or self.claim.arithmetic.equals:
            return self.word
        return BOUNDED[0] if self.checked.holds else BOUNDED[1]

    @property
    def name(self) -> str:
        """In a few words."""
        return NAMES.get(self.claim.id, self.claim.id)

    @property
    def difference(self) -> Interval | None:
        """What was measured; ``None`` without a measurement."""
        return self.finding.difference if self.finding else None

    @property
    def in_margins(self) -> float:
        """How many of its margins the difference is, whatever its sign; 0 without one."""
        if self.difference is None or self.measure is None:
            return 0.0
        return abs(self.difference.value) / self.measure.margin

    def to_json(self) -> dict[str, Any]:
        """As a JSON value, with what was declared of it."""
        finding = self.finding
        measure = self.measure
        origin = self.origin
        value = self.difference
        return {
            "id": self.claim.id,
            "group": self.claim.group,
            "says": self.claim.says,
            "places": list(self.claim.places),
            "paper": paper_of(self.claim),
            "statistic": measure and measure.statistic,
            "unit": measure and measure.unit,
            "family": measure and measure.family,
            "margin": measure and measure.margin,
            "word": self.word,
            "finding": str(finding) if finding else self.outcome,
            "value": value.value if value else self.checked and self.checked.value,
            "interval": [value.low, value.high] if value and value.shown else None,
            "n": value and value.n,
            "seeds": self.seeds,
            "p": finding and finding.p,
            "p_holm": finding and finding.p_holm,
            "family_size": self.size,
            "against": self.checked and self.checked.against,
            "reading": self.claim.reading,
            "source": origin and {"file": origin.file, "key": self.key},
            "cell": origin and origin.cell and f"{origin.notebook}#{origin.cell}",
            "machine": origin and origin.machine,
            "versions": origin and origin.versions and dict(origin.versions),
            "date": origin and origin.date,
            "shown": list(self.claim.shown),
            "seen": self.claim.seen,
        }


def ledger(file: Path = FILE, checkout: Path | None = None) -> list[Row]:
    """Every claim with its finding, in the order of the file, as `rar claims` shows it.

    Chapter 10 shows the same.

    Args:
        checkout: where records are read, as :func:`gather` takes it.

    Raises:
        DataError: as :func:`load`, or a finding is damaged; what has not been recorded is no
            error, its claims are *not testable here*.
        ValueError: as :func:`gather`.
    """
    declared = load(file)
    return decided(declared, gather(declared, checkout))


def decided(declared: Ledger, evidence: Evidence) -> list[Row]:
    """The claims, decided: the p-values of each family corrected together.

    A family has the size with which it was declared, so that no finding hangs on which of the
    others have been recorded so far. A source's family decides nothing here: all that has a p is
    decided anew from difference, interval and p. A claim without a p stays what its source says: a
    judge below its gate, nothing scored.
    """
    rows = [_row(claim, declared.measure_of(claim), evidence) for claim in declared.claims]
    corrected: dict[str, Row] = {}
    for name, family in declared.families.items():
        members = [row for row in rows if row.measure and row.measure.family == name]
        corrected |= {row.claim.id: row for row in _corrected(members, family.size)}
    return [corrected.get(row.claim.id, row) for row in rows]


def _corrected(rows: Sequence[Row], size: int) -> list[Row]:
    asked = {row.claim.id: row.finding for row in rows if row.finding is not None}
    margins = {row.claim.id: row.measure.margin for row in rows if row.measure is not None}
    found = decide_family(asked, margins=margins, size=size)
    return [_recounted(replace(row, finding=found.get(row.claim.id), size=size)) for row in rows]


def _recounted(row: Row) -> Row:
    """With the tasks that :func:`recounted` tells of a claim about every size."""
    if row.finding is None or row.origin is None:
        return row
    found = recounted({row.key: row.finding}, row.size, among=row.origin.values)
    return replace(row, finding=found[row.key])


def _row(claim: Claim, measure: Measure | None, evidence: Evidence) -> Row:
    if claim.arithmetic is not None:
        return Row(claim, measure, checked=check(claim.arithmetic))
    if claim.reason:
        return Row(claim, measure, finding=not_testable(claim.reason))
    if claim.shown:
        return Row(claim, measure)
    reasons = []
    for source in claim.sources:
        found = _from_record(source, evidence)
        if isinstance(found, str):
            reasons.append(found)
            continue
        finding = _finding(found, source.key)
        if source.runs and finding.p is not None and finding.seeds is None:
            reasons.append(f"{found.file} decided {source.key} over tasks alone, without seeds")
            continue
        notebook, cell = evidence.shown.get(claim.id, _NOWHERE)
        return Row(
            claim,
            measure,
            finding=finding,
            origin=replace(found, notebook=notebook, cell=cell),
            key=source.key,
            seeds=_seeds(source, evidence),
        )
    return Row(claim, measure, finding=not_testable("; ".join(dict.fromkeys(reasons))))


def _from_record(source: Source, evidence: Evidence) -> Saved | str:
    record = evidence.records.get(source.record)
    file = evidence.files.get(source.record) or results.expected(source.record)
    script = SCRIPTS[source.record]
    if source.runs and (lacking := results.lacking(record, source.runs)):
        return lacking if record else f"{lacking}; {script} would record some"
    if record is None:
        return f"{file} is not recorded; {script} would record it"
    values = record.get("findings", {})
    if source.key not in values:
        return f"{file} holds no finding {source.key}; {script} would record it"
    if unnamed := [name for name in results.ORIGIN if not record.get(name)]:
        return f"{file} does not name its {' and '.join(unnamed)}"
    return Saved(
        file=file,
        values=values,
        machine=record["machine"],
        versions=record["versions"],
        date=record.get("date"),
    )


def _finding(found: Saved, key: str) -> Finding:
    try:
        return Finding.from_json(found.values[key])
    except (TypeError, KeyError, ValueError) as error:
        raise DataError(
            f"{found.file}: {key} is not a finding ({error}); write it by Finding.to_json"
        ) from error


def _seeds(source: Source, evidence: Evidence) -> int | None:
    runs = results.runs_of(evidence.records.get(source.record)) if source.runs else None
    return None if runs is None else len(results.seeds_of(runs, source.runs))


# --- views ---------------------------------------------------------------------------------------


def counts(rows: Sequence[Row]) -> dict[str, int]:
    """How many claims have each word, all words named."""
    words = [row.word for row in rows]
    return {word: words.count(word) for word in (*WORDS, *CHECKS, SHOWN)}


def on_record(record: Mapping[str, Any] | None, rows: Sequence[Row]) -> dict[str, Finding]:
    """The findings of a record as this ledger has them, so that no two pages give two verdicts.

    A finding that is a claim of the ledger is what the ledger says of it, *not testable here*
    included. One that is none, such as that of a small judge alone, is corrected as if its p were
    the smallest of the family, which is the strictest place.

    Args:
        record: as its script wrote it; without one there are no findings.
        rows: of :func:`ledger`.
    """
    given = (record or {}).get("findings", {})
    of_ledger: dict[str, Row] = {}
    for row in rows:
        keys = [row.key] if row.key else [source.key for source in row.claim.sources]
        of_ledger |= {key: row for key in keys if key in given and row.finding}
    size = max((row.size for row in of_ledger.values() or rows), default=1)
    found = {}
    for key, value in given.items():
        own = Finding.from_json(value)
        alone = decide_family({key: own}, margins=own.margin, size=size)
        told = of_ledger[key].finding if key in of_ledger else None
        found[key] = told or alone[key]
    return found


def findings(rows: Sequence[Row]) -> dict[str, Finding | None]:
    """What was found by claim, of those that may speak.

    Where none may, the claims that take no training, each with ``None``.
    """
    open_ = {row.claim.id: row.finding for row in rows if row.word in WORDS[:-1]}
    closed = [row.claim.id for row in rows if row.claim.sources and not row.claim.sources[-1].runs]
    return open_ or dict.fromkeys(closed)


def reasons(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The claims that are not testable here, by their reason."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        if row.word == "not testable here":
            found.setdefault(_why(row), []).append(row)
    return found


def _why(row: Row) -> str:
    """Why a claim is not testable here, alike for findings that one record lacks."""
    why = row.finding.reason if row.finding else ""
    for source in row.claim.sources:
        why = why.replace(f"no finding {source.key}", "no finding of it")
    return why


def by_reason(rows: Sequence[Row], title: str, titles: Mapping[str, str]) -> tables.Table:
    """How many claims are not testable here, by their reason, with what they are about.

    Args:
        title: of the column of reasons.
        titles: group -> what it is called.
    """
    found = []
    for reason, members in reasons(rows).items():
        groups = dict.fromkeys(titles[row.claim.group] for row in members)
        found.append({title: reason, "claims": len(members), "about": "; ".join(groups)})
    return tables.table(found or [{title: "nothing"}])


def closed(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The claims that are not testable here, one a row; each reason once, at its first claim."""
    found = []
    for reason, members in reasons(rows).items():
        said = [reason, *[""] * (len(members) - 1)]
        for why, row in zip(said, members, strict=True):
            found.append({"reason": why, "claim": row.claim.says})
    return found


def unrecorded(rows: Sequence[Row]) -> list[Row]:
    """The claims that a record could decide, and that none holds in full yet.

    They are *not testable here* as are those that have a reason, and by their source told apart.
    """
    return [row for row in rows if row.claim.sources and row.origin is None]


def agreeing(rows: Sequence[Row]) -> list[Row]:
    """Checks of two numbers, in the paper or in the released data.

    They must be the same, but for those that are a ``reading`` of ours.
    """
    return [row for row in rows if row.claim.arithmetic and row.claim.arithmetic.equals]


def bounded(rows: Sequence[Row]) -> list[Row]:
    """Checks of differences against a bound that this book sets; the paper claims none of them."""
    return [row for row in rows if row.claim.arithmetic and row.claim.arithmetic.exceeds]


def line(row: Row) -> dict[str, Any]:
    """One row of a table for reading: six columns at most."""
    if row.checked is not None:
        return {
            "claim": row.claim.says,
            "where": ", ".join(row.claim.places),
            "computed": _written(row.checked.value, row.checked.unit),
            "held against": paper_of(row.claim),
            "finding": row.word,
        }
    if row.finding is None:
        shown = row.claim.shown
        return {
            "item": row.claim.says,
            "where": ", ".join(row.claim.places),
            "chapter": _chapters([path for path in shown if path.endswith(".ipynb")]) or None,
            "file": ", ".join(path for path in shown if not path.endswith(".ipynb")) or None,
        }
    word = row.word if row.word == "not testable here" else str(row.finding)
    return {
        "claim": row.claim.says,
        "paper": paper_of(row.claim),
        "here": row.difference,
        "p (Holm)": tables.p_value(row.finding.p_holm),
        "finding": word,
        "evidence": row.origin and _evidence(row.origin),
    }


def _chapters(paths: Sequence[str]) -> str:
    """Chapters by their number; the first as the cell that the book's pages make a link of."""
    first = [f"{path}#{_HEAD}" for path in paths[:1]]
    return ", ".join([*first, *(f"chapter {int(Path(path).name[:2])}" for path in paths[1:])])


def bound_line(row: Row) -> dict[str, Any]:
    """One row of a table of :func:`bounded`; what the bound is has a column of its own."""
    found = row.checked
    said = _BOUND.split(row.claim.says, maxsplit=1)
    return {
        "difference": f"{said[0].rstrip(',.')}.",
        "where": ", ".join(row.claim.places),
        "points": found and _points(found.value),
        "bound": found and f"{said[1]}: {_points(found.against)}",
        "finding": row.outcome,
    }


def _evidence(origin: Saved) -> str:
    """What a finding rests on, with its cell as the book's pages make a link of it."""
    name = Path(origin.file).name  # the whole path would take the place of the claim
    return f"{name}, {origin.notebook}#{origin.cell}" if origin.cell else name


def table(rows: Sequence[Row], group: str) -> tables.Table:
    """The claims of a group that are measured or checked; settings have a table of their own.

    Where none of them is testable here, what would be measured is left out, and the reason shown.
    """
    members = [row for row in rows if row.claim.group == group and row.word != SHOWN]
    closed = all(row.word == "not testable here" and row.origin is None for row in members)
    return tables.table([_closed_line(row) if closed else line(row) for row in members])


def _closed_line(row: Row) -> dict[str, Any]:
    return {"claim": row.claim.says, "paper": paper_of(row.claim), "not testable here": _why(row)}


def by_group(rows: Sequence[Row], titles: Mapping[str, str]) -> tables.Table:
    """How the claims about an effect came out, a row for each group that has any.

    Args:
        titles: group -> what it is called, in the order of the rows.
    """
    asked = [row for row in rows if row.word in WORDS]
    found = []
    for group, title in titles.items():
        if members := [row for row in asked if row.claim.group == group]:
            found.append(_came_out(title, members))
    return tables.table([*found, _came_out("all of them", asked)])


def _came_out(title: str, rows: Sequence[Row]) -> dict[str, Any]:
    number = counts(rows)
    words = {word.removesuffix(" larger than d"): number[word] for word in WORDS}
    return {"claims about": title, "claims": len(rows)} | words


def untried(rows: Sequence[Row], record: Mapping[str, Any] | None) -> tables.Table | None:
    """What is left without the pairs on which a wording was found, where it matters.

    That is, of claims that are decided, and of those whose word is another one then. ``None`` where
    there are none of these.

    Args:
        record: of the judges, which holds the same findings over the other pairs alone.
    """
    alone = (record or {}).get("findings, untried", {})
    found = []
    for row in (row for row in rows if row.key in alone):
        left = _strictly(row, alone)
        if row.word in ("supported", "contradicted") or left.word != row.word:
            found.append(
                {
                    "claim": row.claim.says,
                    "finding, all pairs": row.word,
                    "without them": str(left),
                    "difference without them": left.difference,
                }
            )
    return tables.table(found) if found else None


def _strictly(row: Row, alone: Mapping[str, Any]) -> Finding:
    """A claim's finding among others, decided as if its p-value were the smallest of its family."""
    margins = {row.key: row.measure.margin if row.measure else None}
    given = {row.key: Finding.from_json(alone[row.key])}
    found = decide_family(given, margins=margins, size=row.size or None)
    return recounted(found, row.size, among=alone)[row.key]


def say_seen(rows: Sequence[Row]) -> None:
    """Say of how many of these claims something was known before, above a fold that says what.

    What was known of several claims is said once, with their names.
    """
    from IPython.display import display

    known = [row for row in rows if row.claim.seen]
    if not known:
        return
    prose.say(
        "*Not blind*: {some} of {all} claims. The fold below says what of the outcome was known.",
        some=len(known),
        all=len(rows),
    )
    names: dict[str, list[str]] = {}
    for row in known:
        for said in re.split(r"(?<=\.) ", row.claim.seen):
            names.setdefault(said, []).append(row.name)
    seen = [
        {"what was known": said, "of": "all" if len(of) == len(rows) else "; ".join(of)}
        for said, of in names.items()
    ]
    fold = tables.folds({"what was known": seen}, "Claims that are not blind", closed=True)
    display(fold)  # type: ignore[no-untyped-call]


def say_group(rows: Sequence[Row], group: str) -> None:
    """Say which decided difference of a group is the largest, and what was known of its claims.

    Differences have several units, so each is measured by its margin, the size that counts as none.
    """
    asked = [row for row in rows if row.claim.group == group and row.word in WORDS]
    decided_ = [row for row in asked if row.word in ("supported", "contradicted")]
    largest = max(decided_, key=lambda row: row.in_margins, default=None)
    if largest and largest.measure:
        prose.say(
            "Of the differences that are supported or contradicted, the largest, measured by its "
            "margin, is {gap} ({unit}), of the claim *{says}*, which is **{word}**.",
            gap=largest.difference,
            unit=largest.measure.unit,
            says=largest.claim.says.rstrip("."),
            word=largest.word,
        )
    say_seen(asked)


def write(rows: Sequence[Row], path: Path = WRITTEN) -> None:
    """Leave the ledger as JSON; the same evidence gives the same file."""
    document = {
        "note": "written by `rar claims`, from the records in results/",
        "counts": counts(rows),
        "claims": [row.to_json() for row in rows],
    }
    files.atomic_write(path, json.dumps(document, indent=1, ensure_ascii=False) + "\n")
