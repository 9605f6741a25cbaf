"""Statistics of task sets, on sets small enough to count by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rar_lib.core.errors import DataError
from rar_lib.core.scoring import PAPER_WEIGHTS, explicit_score
from rar_lib.core.text import normalise
from rar_lib.core.types import Category, Criterion, MultipleChoice, Polarity, Rubric, Task
from rar_lib.data.tasks import load_mini
from rar_lib.rubrics.audit import (
    UNREAD,
    Points,
    defects,
    is_generic,
    is_multiple_choice,
    is_read,
    measures,
    overview,
    points_by_category,
    weights_against_mean,
)

ESSENTIAL, IMPORTANT, OPTIONAL, PITFALL = Category


def criterion(n: int, kind: Category, text: str = "", points: float | None = None) -> Criterion:
    polarity = Polarity.BAD if text.startswith("Omits") else Polarity.GOOD
    return Criterion(
        id=f"c{n}",
        title="Title",
        description=text or f"Sentence {n}.",
        category=kind,
        polarity=polarity,
        points=points,
    )


def task(name: str, question: str, *criteria: Criterion, reference: str | None = None) -> Task:
    rubric = Rubric(criteria=criteria) if criteria else None
    return Task(id=name, question=question, reference=reference, rubric=rubric)


SET = [
    task(
        "one",
        "Why does copper conduct current?",  # 5 words
        criterion(1, ESSENTIAL, "Names free electrons in copper.", 5),
        criterion(2, PITFALL, "Omits the electrons.", -1),
        reference="Its electrons move freely.",  # 4 words
    ),
    task(
        "two",
        "How far does sound travel in 3 seconds?",  # 8 words
        criterion(1, ESSENTIAL, "Gives about 1029 metres.", 5),
        criterion(2, IMPORTANT, "Multiplies speed by time.", 4),
        criterion(3, OPTIONAL, "Is well organised.", 2),
        reference="About 1029 m.",
    ),
    task(
        "three",
        "why does  COPPER conduct current?",  # the first one again
        criterion(1, ESSENTIAL, "Names free charges.", 4),
        criterion(2, PITFALL, "Avoids calling copper an insulator.", -2),
        criterion(3, OPTIONAL, "Is well   ORGANISED.", 2),
    ),
    task("four", "No rubric here?"),
]


def test_overview_counts_by_hand() -> None:
    found = overview(SET)
    assert (found.tasks, found.rubrics, found.criteria) == (4, 3, 8)
    assert found.categories == {ESSENTIAL: 3, IMPORTANT: 1, OPTIONAL: 2, PITFALL: 2}
    assert found.shares[ESSENTIAL] == 3 / 8
    assert math.isclose(sum(found.shares.values()), 1.0)
    assert (found.pitfalls_good, found.pitfalls_bad) == (1, 1)
    assert found.size_mean == pytest.approx(8 / 3)  # sizes 2, 3, 3
    assert found.size_sd == pytest.approx(math.sqrt(1 / 3))
    assert (found.size_median, found.size_mode, found.share_at_mode) == (3, 3, 2 / 3)
    assert found.question_words == (5 + 8 + 5 + 3) / 4
    assert found.reference_words == (4 + 3) / 2  # only where there is a reference
    # Sizes (2, 3, 3) against question words (5, 8, 5): r = 1 / 2.
    assert found.size_question_correlation == pytest.approx(0.5)


def test_a_correlation_with_something_constant_is_none_and_not_nan() -> None:
    assert overview(SET[:1]).size_question_correlation is None
    assert overview([SET[1], SET[2]]).size_question_correlation is None


def test_defects_by_hand() -> None:
    found = defects(SET)
    assert found.empty_references == 2
    assert found.duplicate_questions == 1  # case and white space do not hide it
    assert found.multiple_choice == 0
    assert found.answer_stated == 1 / 3  # 1029 is in the reference, not in the question
    assert found.repeated_criteria == 2 / 8  # "Is well organised." in two tasks
    # No word of the task: "Multiplies ...", both "Is well organised.", "Names free charges."
    assert found.generic_criteria == 4 / 8


def test_a_criterion_repeated_within_one_task_is_not_repeated_across_tasks() -> None:
    twice = task(
        "t", "Why?", criterion(1, ESSENTIAL, "Names iron."), criterion(2, ESSENTIAL, "Names iron.")
    )
    assert defects([twice]).repeated_criteria == 0


def test_a_word_of_the_question_makes_a_criterion_specific() -> None:
    tasks = [
        task(f"t{n}", f"What is the boiling point of {name}?", criterion(1, ESSENTIAL, text))
        for n, (name, text) in enumerate(
            [("water", "Gives a boiling point."), ("ethanol", "Gives it for ethanol.")]
        )
    ]
    assert defects(tasks).generic_criteria == 0


@pytest.mark.parametrize(
    ("sentence", "generic"),
    [
        ("Clearly explains the reason.", True),
        ("Names the electrons.", False),
        ("Mentions conduction.", False),  # forms of a word agree: conduct, conduction
        ("Is shorter than 29 words.", True),
    ],
)
def test_generic_means_no_content_word_or_number_of_the_task(sentence: str, generic: bool) -> None:
    assert is_generic(SET[0], criterion(1, ESSENTIAL, sentence)) is generic


LATTICE = {
    "en": ("Why does ice float on water?", "Its crystal lattice.", "Mentions the lattice."),
    "de": ("Warum schwimmt Eis auf Wasser?", "Wegen der Kristallstruktur.", "Nennt Wasserstoff."),
    "ru": (
        "Почему лёд плавает на воде?",
        "Из-за кристаллической решётки.",
        "Упоминает решётку.",
    ),
    "zh": ("为什么冰浮在水面上？", "因为晶格结构。", "提到晶格结构。"),
    "ja": ("なぜ氷は水に浮くのか。", "結晶格子のため。", "格子に触れる。"),
    "ar": ("لماذا يطفو الجليد على الماء؟", "بسبب الشبكة البلورية.", "يذكر الشبكة."),
    "hi": ("बर्फ पानी पर क्यों तैरती है?", "क्रिस्टल जालक के कारण।", "जालक बताता है।"),
    "th": ("ทำไมน้ำแข็งลอยน้ำ", "เพราะโครงผลึก", "กล่าวถึงโครงผลึก"),
    "vi": ("Vì sao nước đá nổi trên mặt nước?", "Vì mạng tinh thể.", "Nhắc đến nước đá nổi."),
}
READ = ("en", "de")


@pytest.mark.parametrize("language", LATTICE)
def test_a_script_that_is_not_read_is_not_called_generic(language: str) -> None:
    question, reference, sentence = LATTICE[language]
    one = criterion(1, ESSENTIAL, sentence)
    found = defects([task("t", question, one, reference=reference)])
    assert (found.generic_criteria is None) == (language not in READ)
    assert (found.reason is None) == (language in READ)
    if language not in READ:
        assert is_generic(task("t", question, one), one) is None
        assert found.reason == f"1 of 1 criteria, or their tasks: {UNREAD}"
    assert found.repeated_criteria == 0


def test_what_can_be_read_is_counted_beside_what_cannot() -> None:
    english = task(
        "en",
        LATTICE["en"][0],
        criterion(1, ESSENTIAL, "Names the lattice of ice water."),
        criterion(2, ESSENTIAL, "Is well organised."),
    )
    chinese = task("zh", LATTICE["zh"][0], criterion(1, ESSENTIAL, LATTICE["zh"][2]))
    mixed = defects([english, chinese])
    assert mixed.generic_criteria == 1 / 2
    assert mixed.reason == f"1 of 3 criteria, or their tasks: {UNREAD}"
    name = "generic criteria (no rare word, number or symbol of the task), share"
    assert measures([english, chinese])[name] == 1 / 2
    assert measures([chinese])[name] is None


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("", True),
        ("Is it so?", True),
        ("Uses λ = h/p.", True),
        ("Why ΔG < 0?", True),
        ("Says that 5 µg of β-carotene is enough.", True),
        ("Names Москва (Moscow) as the capital.", True),
        ("Nennt die größere Dichte von flüssigem Wasser.", True),
        ("Größere Straßen über Köln.", False),  # nothing of it is a content word
        ("Explique la fièvre et le déséquilibre électrolytique.", True),
        ("冰", True),  # one letter may be a symbol
        ("冰的密度是0.92", False),
        ("说明 ATP 合酶的作用", False),
        ("Упоминает DNA и RNA", False),
        ("\u0420\u0415\u0428", True),  # three capitals may be one, too
    ],
)
def test_texts_whose_words_are_read(text: str, read: bool) -> None:
    assert is_read(text) is read


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("Which is a metal?\nA. Iron\nB. Sulfur\nC. Argon", True),
        ("Which is a metal? (a) iron (b) sulfur (c) argon (d) neon", True),
        ("Which is a metal? A) iron B) sulfur C) argon", True),
        ("(a) Find the mass. (b) Find the charge. (c) What follows?", False),  # sub-questions
        ("Compare A. aegypti with B. subtilis.", False),
        ("Is it (a) iron or (b) sulfur?", False),  # two are not a list of options
        ("Why is the sky blue?", False),
    ],
)
def test_lettered_options_are_told_from_lettered_questions(question: str, expected: bool) -> None:
    assert is_multiple_choice(task("t", question)) is expected


def test_a_task_of_the_type_multiple_choice_is_one() -> None:
    typed = MultipleChoice(id="t", question="Which?", options=("x", "y"), answer=0)
    assert is_multiple_choice(typed)


def test_published_points_per_category() -> None:
    assert points_by_category(SET) == {
        ESSENTIAL: Points(criteria=3, mode=5, share_at_mode=2 / 3),
        IMPORTANT: Points(criteria=1, mode=4, share_at_mode=1.0),
        OPTIONAL: Points(criteria=2, mode=2, share_at_mode=1.0),
        PITFALL: Points(criteria=2, mode=-2, share_at_mode=0.5),  # of equals, the smaller
    }
    assert points_by_category([task("t", "Why?", criterion(1, ESSENTIAL))]) == {}


def test_equal_weights_are_the_mean_and_one_criterion_leaves_no_room() -> None:
    alike = task("s", "Why?", criterion(1, ESSENTIAL), criterion(2, ESSENTIAL))
    assert weights_against_mean([alike]) == pytest.approx(1.0)
    assert weights_against_mean([task("t", "Why?", criterion(1, ESSENTIAL))]) == pytest.approx(1.0)


def test_the_correlation_of_two_criteria_is_the_one_of_the_formula() -> None:
    # Weights 1 and 0.3, independent coins: corr(w.g, g1 + g2) = (w1 + w2) / sqrt(2 (w1² + w2²)).
    pair = task("t", "Why?", criterion(1, ESSENTIAL), criterion(2, OPTIONAL))
    expected = 1.3 / math.sqrt(2 * (1.0 + 0.09))
    assert weights_against_mean([pair] * 25_000) == pytest.approx(expected, abs=0.005)


def test_the_vectorised_reward_is_eq_1() -> None:
    rubric = SET[0].rubric
    assert rubric is not None
    rng = np.random.default_rng(0)
    good = rng.random((8, 2)) < 0.5
    scores = []
    for row in good:
        met = {
            one.id: bool(is_good) if one.polarity is Polarity.GOOD else not is_good
            for one, is_good in zip(rubric.criteria, row, strict=True)
        }
        scores.append(explicit_score(rubric, met, PAPER_WEIGHTS))
    expected = np.corrcoef(np.array(scores, dtype=float), good.mean(axis=1))[0, 1]
    assert weights_against_mean(SET[:1]) == pytest.approx(expected)


def test_the_correlation_is_the_same_every_time() -> None:
    assert weights_against_mean(SET) == weights_against_mean(SET)


def test_a_set_without_rubrics_is_refused_by_name() -> None:
    with pytest.raises(DataError, match="none of the 1 tasks has a rubric"):
        overview([SET[3]])


def test_normalising_keeps_signs_apart() -> None:
    assert normalise("Solve  X+1 = 0\n") == "solve x+1 = 0"
    assert normalise("Solve x-1 = 0") != normalise("Solve x+1 = 0")
    assert normalise("ﬁnd ½") == normalise("find 1⁄2")


def test_the_audit_of_the_embedded_set_runs_and_adds_up() -> None:
    tasks = load_mini()
    found = overview(tasks)
    assert found.tasks == len(tasks) == found.rubrics
    assert sum(found.categories.values()) == found.criteria
    assert found.pitfalls_good + found.pitfalls_bad == found.categories[PITFALL]
    assert 0 < (weights_against_mean(tasks) or 0) < 1
    assert defects(tasks).reason is None
