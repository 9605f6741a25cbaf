"""RaR-Mini as a specification: what the embedded data promises."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rar_lib
from rar_lib.core.errors import DataError
from rar_lib.core.stats import auc
from rar_lib.core.types import Category, Criterion, Pair, Polarity, Task
from rar_lib.data.duplicates import near_duplicates
from rar_lib.data.tasks import load_mini, load_mini_pairs

TASKS = load_mini()
PAIRS = load_mini_pairs()
BY_ID = {t.id: t for t in TASKS}
#: Eq. 1 written out again, so that the data is not judged by the library it feeds.
EQ1 = {"Essential": 1.0, "Important": 0.7, "Optional": 0.3, "Pitfall": 0.9}
TEXTS = [text for p in PAIRS for text in (p.preferred, p.rejected)]
PREFERRED = [side for _ in PAIRS for side in (True, False)]


def words(text: str) -> int:
    return len(text.split())


def criteria(task: Task) -> tuple[Criterion, ...]:
    assert task.rubric is not None
    return task.rubric.criteria


EVERY = [c for t in TASKS for c in criteria(t)]


def by_hand(pair: Pair) -> tuple[float, float]:
    """Rewards of the preferred and the rejected response under the gold labels."""
    rubric = criteria(BY_ID[pair.task_id])
    total = sum(EQ1[c.category] for c in rubric)

    def score(gold: dict[str, bool]) -> float:
        good = (EQ1[c.category] for c in rubric if gold[c.id] == (c.polarity == "good"))
        return sum(good) / total

    return score(pair.gold_preferred), score(pair.gold_rejected)


# --- Tasks ------------------------------------------------------------------------------


@pytest.mark.parametrize(("split", "each"), [("train", 48), ("val", 8), ("test", 24), ("all", 80)])
def test_every_split_is_half_medicine_and_half_science(split: Any, each: int) -> None:
    domains = Counter(t.domain for t in load_mini(split))
    assert domains == {"medicine": each, "science": each}


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_any_prefix_of_a_split_is_balanced(split: Any) -> None:
    domains = [t.domain for t in load_mini(split)]
    assert domains == ["medicine", "science"] * (len(domains) // 2)


def test_science_covers_three_subjects() -> None:
    assert Counter(t.topic for t in TASKS if t.domain == "science") == {
        "physics": 27,
        "chemistry": 27,
        "biology": 26,
    }


def test_unknown_split_is_refused() -> None:
    with pytest.raises(DataError, match="split 'dev' does not exist; allowed: 'train'"):
        load_mini("dev")  # type: ignore[arg-type]


@pytest.mark.parametrize("task", TASKS, ids=lambda t: t.id)
def test_task_has_the_promised_shape(task: Task) -> None:
    assert 8 <= words(task.question) <= 45
    assert task.question.endswith("?")
    assert task.reference is not None
    assert 40 <= words(task.reference) <= 110
    assert 6 <= len(criteria(task)) <= 9
    assert Category.ESSENTIAL in {c.category for c in criteria(task)}
    assert Category.PITFALL in {c.category for c in criteria(task)}
    for criterion in criteria(task):
        assert criterion.id.startswith(f"{task.id.split('-', 2)[2]}-")
        assert 2 <= words(criterion.title) <= 5
        assert criterion.description.endswith(".")
        assert ". " not in criterion.description, "one sentence"


def test_categories_keep_the_shares_of_the_released_sets() -> None:
    """Targets between RaR-Medicine and RaR-Science as audited (published.json)."""
    count = Counter(c.category for c in EVERY)
    target = {"Essential": 0.28, "Important": 0.36, "Optional": 0.22, "Pitfall": 0.14}
    for category, share in target.items():
        assert count[Category(category)] / len(EVERY) == pytest.approx(share, abs=0.03)


def test_no_criterion_is_repeated_nor_nearly_repeated_in_another_task() -> None:
    assert len({c.id for c in EVERY}) == len(EVERY)
    owner = {c.id: t.id for t in TASKS for c in criteria(t)}
    as_tasks = [Task(id=c.id, question=c.description) for c in EVERY]
    near = near_duplicates(as_tasks, threshold=0.8)
    assert [n for n in near if owner[n.left] != owner[n.right]] == []


def test_no_question_is_nearly_repeated() -> None:
    """Character n-gram cosine; paraphrases of one question lie above one half."""
    assert near_duplicates(TASKS, threshold=0.5) == []


def test_the_measure_would_find_a_paraphrase() -> None:
    first = TASKS[0]
    again = first.model_copy(update={"id": "x", "question": f"Please tell me: {first.question}"})
    assert [n.left for n in near_duplicates([first], [again], threshold=0.5)] == [first.id]


def test_pitfalls_come_in_both_wordings_in_both_domains() -> None:
    pitfalls = Counter(
        (task.domain, criterion.polarity)
        for task in TASKS
        for criterion in criteria(task)
        if criterion.category == "Pitfall"
    )
    for domain in ("medicine", "science"):
        good = pitfalls[domain, Polarity.GOOD]
        bad = pitfalls[domain, Polarity.BAD]
        assert 0.4 <= good / (good + bad) <= 0.6


def test_polarity_agrees_with_the_wording() -> None:
    for criterion in EVERY:
        avoids = criterion.description.startswith(("Avoids ", "Does not ", "Refrains "))
        if criterion.category is Category.PITFALL:
            assert (criterion.polarity is Polarity.GOOD) == avoids, criterion.id
        else:
            assert criterion.polarity is Polarity.GOOD, criterion.id


# --- Pairs ------------------------------------------------------------------------------


def test_pairs_are_on_every_val_and_test_task_and_on_no_other() -> None:
    on = Counter(p.task_id for p in PAIRS)
    assert len(PAIRS) == 120
    assert set(on) == {t.id for t in (*load_mini("val"), *load_mini("test"))}
    assert set(on.values()) == {1, 2}


def test_axes_and_difficulties_are_all_there() -> None:
    axes = Counter(p.axis for p in PAIRS)
    assert all(n >= 8 for n in axes.values())
    assert len(axes) == 6
    assert Counter(p.difficulty for p in PAIRS) == {"obvious": 36, "moderate": 48, "subtle": 36}


def test_gold_ranks_preferred_over_rejected_wherever_the_rubric_covers_the_axis() -> None:
    margins = {p.id: a - b for p in PAIRS for a, b in [by_hand(p)]}
    not_covered = [p.id for p in PAIRS if margins[p.id] <= 0]
    assert not_covered == ["val-sci-yeast-1"]  # it is worse in tone, which no criterion asks
    assert margins["val-sci-yeast-1"] == 0
    assert min(m for m in margins.values() if m) >= 0.08


def rejected_is_better_somewhere(pair: Pair) -> bool:
    """Whether a criterion goes against the preferred response and speaks for the rejected one."""
    return any(
        pair.gold_preferred[criterion.id] != (criterion.polarity == "good")
        and pair.gold_rejected[criterion.id] == (criterion.polarity == "good")
        for criterion in criteria(BY_ID[pair.task_id])
    )


def test_neither_response_is_perfect_or_hopeless() -> None:
    """A judge that ranks by a general impression alone must be able to fail."""
    scores = [by_hand(p) for p in PAIRS]
    assert max(a for a, _ in scores) < 1
    assert np.mean([b for _, b in scores]) > 0.35
    assert np.mean([rejected_is_better_somewhere(p) for p in PAIRS]) > 1 / 3


def test_gold_score_of_one_pair_worked_by_hand() -> None:
    """test-med-stroke: 4 Essential, 2 Important, 1 Optional, 1 Pitfall, 6.6 in all."""
    pair = next(p for p in PAIRS if p.id == "test-med-stroke-1")
    # All four Essential, onset time, pitfall avoided: 4 + 0.7 + 0.9.
    # Face, speech, call, headache, pitfall avoided: 3 + 0.3 + 0.9.
    assert by_hand(pair) == pytest.approx((5.6 / 6.6, 4.2 / 6.6))


def test_labels_are_not_nearly_all_alike() -> None:
    """A judge that always says yes, or always no, must be visibly wrong."""
    labels = [v for p in PAIRS for g in (p.gold_preferred, p.gold_rejected) for v in g.values()]
    assert len(labels) > 1500
    assert 0.4 < np.mean(labels) < 0.7


# --- Nothing on the surface gives the better response away ------------------------------


def test_length_alone_is_at_chance() -> None:
    assert all(40 <= words(text) <= 110 for text in TEXTS)
    for count in ([words(t) for t in TEXTS], [len(t) for t in TEXTS]):
        area = auc(count, PREFERRED)
        assert area is not None
        assert 0.4 <= area <= 0.6
    longer = np.mean([words(p.preferred) > words(p.rejected) for p in PAIRS])
    assert 0.4 <= longer <= 0.6


@pytest.mark.parametrize(
    ("what", "features"),
    [
        ("the first word", [text.split()[0] for text in TEXTS]),
        ("the bag of words", TEXTS),
    ],
)
def test_words_alone_are_near_chance(what: str, features: list[str]) -> None:
    """A linear classifier on words, tested on tasks that it has not seen."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(CountVectorizer(binary=True), LogisticRegression(max_iter=1000))
    tasks = [p.task_id for p in PAIRS for _ in range(2)]
    scores = cross_val_predict(
        model, features, PREFERRED, groups=tasks, cv=GroupKFold(8), method="predict_proba"
    )[:, 1]
    area = auc(scores, PREFERRED)
    assert area is not None
    assert 0.4 <= area <= 0.6, f"{what} gives the better response away"


CARD = Path(rar_lib.__file__).parent / "data" / "mini" / "DATA_CARD.md"


def test_the_snippet_of_the_data_card_prints_the_numbers_beside_it() -> None:
    text = CARD.read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    said = " ".join(text.partition(code)[2].split())
    counts = dict(re.findall(r"'(\w+)': (\d+)", done.stdout))
    assert set(counts) >= {*Category, "good", "bad", "accuracy", "tone", "subtle"}
    for name, number in counts.items():
        worded = {"bad": "94 worded as failures", "good": "84 as avoidance"}.get(name)
        assert f"{number} {name}" in said or f"{name} {number}" in said or worded in said
        assert worded is None or worded.startswith(number)
    whole = re.findall(r"(?:criteria|pairs|labels|met) (\d+)", done.stdout)
    assert [f"{int(number):,}" in said for number in whole] == [True] * 4


def test_the_files_that_the_data_card_names_are_there() -> None:
    text = CARD.read_text(encoding="utf-8")
    names = re.findall(r"`([\w/]+\.(?:jsonl?|md))`", text)
    assert {"tasks.jsonl", "pairs.jsonl"} <= set(names)
    for name in names:
        assert (CARD.parent / name).exists() or (CARD.parents[3] / name).exists(), name
