"""An audit of a set of tasks: what is in it, what is wrong with it.

Pure functions over tasks, used for RaR-Mini and, unchanged, for the released sets. Shares are
in [0, 1]; words are runs of non-space characters. A task without a rubric counts for the
questions and is left out of everything about rubrics. Questions that occur twice are found word
for word across splits, and nearly so. Content words are of the letters a to z: of a text in another
script what hangs on them is ``None``, with the reason, and not a number of what was not read.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from rar_lib.core.errors import DataError
from rar_lib.core.scoring import PAPER_WEIGHTS
from rar_lib.core.stats import pearson, scored
from rar_lib.core.text import content_words, normalise
from rar_lib.core.types import Category, Criterion, MultipleChoice, Polarity, Rubric, Task

_NUMBER = re.compile(r"(?<![\w.])\d+(?:[.,]\d+)?(?![\w])")
_OPTION = re.compile(r"(?:(?<=\s)|^)\(?([A-Ha-h])[.):]\s*(?=\S)")
_ASKS = re.compile(
    r"\?|^(?:what|why|how|which|find|calculate|derive|show|determine|explain)\b", re.I
)


@dataclass(frozen=True)
class Overview:
    """Counts and sizes of a set.

    Attributes:
        categories: number of criteria of each category; ``shares`` are their shares.
        pitfalls_good, pitfalls_bad: pitfalls worded as avoidance and as failure.
        size_mean, size_sd, size_median: criteria per rubric (sample standard deviation).
        size_mode, share_at_mode: the most frequent size (the smaller of equals), its share.
        question_words, reference_words: means; the latter over non-empty references.
        size_question_correlation: Pearson, ``None`` if one of the two does not vary.
    """

    tasks: int
    rubrics: int
    criteria: int
    categories: Mapping[Category, int]
    shares: Mapping[Category, float]
    pitfalls_good: int
    pitfalls_bad: int
    size_mean: float
    size_sd: float
    size_median: float
    size_mode: int
    share_at_mode: float
    question_words: float
    reference_words: float
    size_question_correlation: float | None


@dataclass(frozen=True)
class Defects:
    """Shares of tasks or criteria that a reader should know of, and two counts.

    Attributes:
        empty_references: tasks without a reference.
        duplicate_questions: tasks whose normalised question occurred earlier in the set.
        multiple_choice: share of tasks that print at least three lettered options.
        answer_stated: share of rubrics with a criterion that holds a number of the reference
            that the question does not hold.
        generic_criteria: share of the criteria that can be read, see :func:`is_generic`; ``None``
            where none can.
        repeated_criteria: share of criteria whose normalised sentence is in another task too.
        reason: why some criteria do not count as generic or not, if there are any.
    """

    empty_references: int
    duplicate_questions: int
    multiple_choice: float
    answer_stated: float
    generic_criteria: float | None
    repeated_criteria: float
    reason: str | None = None


@dataclass(frozen=True)
class Points:
    """Published weights of one category: how many, the most frequent, and its share."""

    criteria: int
    mode: float
    share_at_mode: float


def overview(tasks: Sequence[Task]) -> Overview:
    """Counts, shares and sizes.

    Raises:
        DataError: no task has a rubric.
    """
    rated = _rated(tasks)
    criteria = [criterion for _, rubric in rated for criterion in rubric.criteria]
    counts = Counter(criterion.category for criterion in criteria)
    pitfalls = Counter(
        criterion.polarity for criterion in criteria if criterion.category is Category.PITFALL
    )
    sizes = [len(rubric.criteria) for _, rubric in rated]
    mode, at_mode = _mode(sizes)
    references = [len(task.reference.split()) for task in tasks if task.reference]
    return Overview(
        tasks=len(tasks),
        rubrics=len(rated),
        criteria=len(criteria),
        categories={category: counts[category] for category in Category},
        shares={category: counts[category] / len(criteria) for category in Category},
        pitfalls_good=pitfalls[Polarity.GOOD],
        pitfalls_bad=pitfalls[Polarity.BAD],
        size_mean=float(np.mean(sizes)),
        size_sd=float(np.std(sizes, ddof=1)) if len(sizes) > 1 else 0.0,
        size_median=float(median(sizes)),
        size_mode=int(mode),
        share_at_mode=at_mode,
        question_words=float(np.mean([len(task.question.split()) for task in tasks])),
        reference_words=float(np.mean(references)) if references else 0.0,
        size_question_correlation=pearson(sizes, [len(task.question.split()) for task, _ in rated]),
    )


def defects(tasks: Sequence[Task]) -> Defects:
    """Duplicates, generic and repeated criteria, checkable questions.

    Raises:
        DataError: no task has a rubric.
    """
    rated = _rated(tasks)
    owners: dict[str, set[int]] = {}
    for index, (_, rubric) in enumerate(rated):
        for criterion in rubric.criteria:
            owners.setdefault(normalise(criterion.description), set()).add(index)
    pairs = [(task, criterion) for task, rubric in rated for criterion in rubric.criteria]
    stated = sum(_gives_the_answer_away(task, rubric) for task, rubric in rated)
    repeated = sum(len(owners[normalise(criterion.description)]) > 1 for _, criterion in pairs)
    generic = scored(is_generic(task, criterion) for task, criterion in pairs)
    unread = len(pairs) - len(generic)
    of_all = f"{unread:,} of {len(pairs):,} criteria"
    return Defects(
        empty_references=sum(not task.reference for task in tasks),
        duplicate_questions=len(tasks) - len({normalise(task.question) for task in tasks}),
        multiple_choice=sum(is_multiple_choice(task) for task in tasks) / len(tasks),
        answer_stated=stated / len(rated),
        generic_criteria=sum(generic) / len(generic) if generic else None,
        repeated_criteria=repeated / len(pairs),
        reason=f"{of_all}, or their tasks: {UNREAD}" if unread else None,
    )


def is_generic(task: Task, criterion: Criterion) -> bool | None:
    """No number and no content word of the criterion is in the question or the reference.

    Content words are those of :func:`rar_lib.core.text.content_words`: four letters or more, cut
    to six, without function words and the words that rubrics are made of ("mentions"). ``None``
    where the criterion or the task is in a script that has none of them (:func:`is_read`).
    """
    asked = f"{task.question} {task.reference or ''}"
    if not (is_read(asked) and is_read(criterion.description)):
        return None
    return not _content(criterion.description) & _content(asked)


#: Why words are not counted.
UNREAD = "in a script or with accents that are not read; content words are of letters a to z"


def is_read(text: str) -> bool:
    """Whether content words can be found in a text: not in one of Chinese or Russian.

    Of the letters of its longer words at least half have to stand in runs of four or more from a to
    z, as in English, and nearly always in German or French. What is shorter may be a symbol or a
    unit, but for words of scripts without capitals, which are short.
    """
    words = [_letters(word) for word in text.lower().split()]
    counted = [word for word in words if len(word) >= 4 or (len(word) > 1 and _is_caseless(word))]
    runs = [run for word in counted for run in re.findall(r"[a-z]{4,}", word)]
    return 2 * sum(map(len, runs)) >= sum(map(len, counted))


def _letters(word: str) -> str:
    """The letters of a word, with the signs that combine with them."""
    return "".join(character for character in word if unicodedata.category(character)[0] in "LM")


def _is_caseless(word: str) -> bool:
    return any(unicodedata.category(character) == "Lo" for character in word)


def is_multiple_choice(task: Task) -> bool:
    """The prompt prints options a, b, c (at least); lettered sub-questions do not count."""
    if isinstance(task, MultipleChoice):
        return True
    marks = list(_OPTION.finditer(task.question))
    letters = [match.group(1).lower() for match in marks]
    for start in (i for i, letter in enumerate(letters) if letter == "a"):
        if letters[start : start + 3] != ["a", "b", "c"]:
            continue
        ends = [match.start() for match in marks[start + 1 : start + 3]]
        spans = [task.question[marks[start + k].end() : ends[k]].strip() for k in range(2)]
        if all(span and len(span.split()) <= 40 and not _ASKS.search(span) for span in spans):
            return True
    return False


def points_by_category(tasks: Sequence[Task]) -> dict[Category, Points]:
    """Published weights for each category that has any: near 1, the weight adds nothing."""
    found: dict[Category, list[float]] = {}
    for criterion in (
        criterion for task in tasks if task.rubric for criterion in task.rubric.criteria
    ):
        if criterion.points is not None:
            found.setdefault(criterion.category, []).append(criterion.points)
    return {
        category: Points(len(found[category]), *_mode(found[category]))
        for category in Category
        if category in found
    }


#: Verdict vectors that are drawn for a rubric.
_DRAWS = 8


def weights_against_mean(tasks: Sequence[Task]) -> float | None:
    """Pearson correlation of Eq. 1 with the plain mean of good verdicts, on random verdicts.

    The weights are the paper's. Each verdict is good with probability one half, independent of the
    others (a judge's are not, so this is a bound on what weights can do, not a measurement of a
    judge). The draw is the same every time.

    Returns:
        The correlation over all draws; ``None`` if one of the two rewards does not vary.

    Raises:
        DataError: no task has a rubric.
    """
    rng = np.random.default_rng(0)
    weighted = []
    plain = []
    for _, rubric in _rated(tasks):
        each = np.array([PAPER_WEIGHTS[criterion.category] for criterion in rubric.criteria])
        good = rng.random((_DRAWS, len(each))) < 0.5  # (draws, k), polarity already applied
        weighted.append(good @ each / each.sum())
        plain.append(good.mean(axis=1))
    return pearson(np.concatenate(weighted), np.concatenate(plain))


def measures(tasks: Sequence[Task]) -> dict[str, float | None]:
    """The statistics of a set under the names of the published audit (``data_audit``).

    "Generic" follows :func:`is_generic`, which is stricter than the published rule. ``None``
    where a set holds nothing to measure, such as published weights.

    Raises:
        DataError: no task has a rubric.
    """
    size = overview(tasks)
    flaws = defects(tasks)
    points = points_by_category(tasks)
    pitfalls = size.pitfalls_good + size.pitfalls_bad
    essential = points.get(Category.ESSENTIAL)
    return {
        "tasks": size.tasks,
        "criteria": size.criteria,
        "criteria per rubric": size.size_mean,
        "criteria per rubric, sd": size.size_sd,
        "rubrics of the most frequent size, share": size.share_at_mode,
        "size of rubric and length of question, correlation": size.size_question_correlation,
        "words per question": size.question_words,
        **{f"{category.value}, share": share for category, share in size.shares.items()},
        "pitfalls worded as failure, share": size.pitfalls_bad / pitfalls if pitfalls else None,
        "pitfalls worded as avoidance, share": size.pitfalls_good / pitfalls if pitfalls else None,
        "empty references": flaws.empty_references,
        "duplicate question rows, share": flaws.duplicate_questions / size.tasks,
        "Essential criteria with weight 5, share": (
            essential.share_at_mode if essential and essential.mode == 5 else None
        ),
        "Eq. 1 with the paper's weights and plain mean, correlation": weights_against_mean(tasks),
        "generic criteria (no rare word, number or symbol of the task), share": (
            flaws.generic_criteria
        ),
        "criteria repeated word for word in another task, share": flaws.repeated_criteria,
        "multiple-choice prompts, share": flaws.multiple_choice,
        "tasks with an answer value in a criterion, share": flaws.answer_stated,
    }


def _rated(tasks: Sequence[Task]) -> list[tuple[Task, Rubric]]:
    rated = [(task, task.rubric) for task in tasks if task.rubric is not None]
    if not rated:
        raise DataError(f"none of the {len(tasks)} tasks has a rubric; load a set with rubrics")
    return rated


def _mode(values: Sequence[float]) -> tuple[float, float]:
    counts = Counter(values)
    top = min(counts, key=lambda value: (-counts[value], value))
    return top, counts[top] / len(values)


def _content(text: str) -> set[str]:
    return content_words(text) | set(_NUMBER.findall(text))


def _gives_the_answer_away(task: Task, rubric: Rubric) -> bool:
    return any(_states_answer(task, criterion) for criterion in rubric.criteria)


def _states_answer(task: Task, criterion: Criterion) -> bool:
    answer = set(_NUMBER.findall(task.reference or "")) - set(_NUMBER.findall(task.question))
    return bool(answer & set(_NUMBER.findall(criterion.description)))
