"""How pitfalls are worded: an adversarial table, every sentence written for this project."""

from __future__ import annotations

import pytest

from rar_lib.core.text import names_omission
from rar_lib.core.types import Category, Polarity
from rar_lib.data.polarity import WORDS, read, split_prefix
from rar_lib.data.tasks import load_mini

GOOD = Polarity.GOOD
BAD = Polarity.BAD
OPEN = None

TABLE = [
    # Avoidance: meeting it is good.
    ("Avoids treating a viral cold with penicillin.", GOOD),
    ("Avoid rounding the molar mass before the last step.", GOOD),
    ("Refrains from naming a dose without knowing the weight.", GOOD),
    ("The answer avoids confusing heat with temperature.", GOOD),
    ("Avoids giving unnecessary history of the discovery.", GOOD),
    ("Guards against mixing radians with degrees.", GOOD),
    ("Ensures that the two half-lives are not added.", GOOD),
    ("Cautions against neglecting the buoyancy of air.", GOOD),
    ("Does not confuse mitosis with meiosis.", GOOD),
    ("Doesn't misidentify the catalyst as a reactant.", GOOD),
    ("Does not claim that all bacteria are harmful.", GOOD),
    ("Does not wrongly assume constant pressure.", GOOD),
    ("Does not imply that ice is denser than water.", GOOD),
    ("Does not rely on the ideal gas law alone.", GOOD),
    ("Does not overlook the spin of the electron.", GOOD),
    ("Does not fail to convert grams to moles.", GOOD),
    ("Never assumes that the patient can swallow.", GOOD),
    ("Does not recommend unnecessary imaging.", GOOD),
    ("Does not suggest ignoring the chest pain.", GOOD),
    ("Does not include irrelevant details about the laboratory.", GOOD),
    ("Does not mention unrelated diseases.", GOOD),
    # A norm says what ought to be done, so meeting it is good, with or without "not".
    ("The response should not omit the unit of force.", GOOD),
    ("The answer must avoid quoting the outdated limit.", GOOD),
    ("The solution should state that friction is neglected.", GOOD),
    ("It is important not to double the charge.", GOOD),
    ("Should not fail to mention the control group, and must avoid bias.", GOOD),
    # Failure: meeting it is bad. "Does not mention" is an omission.
    ("Does not mention that insulin must be kept cold.", BAD),
    ("Doesn’t explain why the sky is blue.", BAD),
    ("Never mentions the risk of bleeding.", BAD),
    ("Does not adequately explain the role of the enzyme.", BAD),
    ("Does not clearly state that the dose is daily.", BAD),
    ("Does not account for the heat of fusion.", BAD),
    ("Does not mention that unnecessary tests should be avoided.", BAD),
    ("Does not warn about driving after the tablet.", BAD),
    ("Does not avoid the double negative trap.", BAD),
    ("Does not recommend seeking urgent care.", BAD),
    ("Fails to mention the half-life.", BAD),
    ("Fails to avoid the common sign error.", BAD),
    ("Failure to give the unit.", BAD),
    ("Omits the boundary condition.", BAD),
    ("Omitting the reference electrode.", BAD),
    ("Overlooks the allergy to penicillin.", BAD),
    ("The response ignores the pregnancy.", BAD),
    ("The explanation may overlook the second product.", BAD),
    ("Confuses velocity with acceleration.", BAD),
    ("Misdiagnoses the rash as measles.", BAD),
    ("Mistakes the anode for the cathode.", BAD),
    ("Missing the minus sign.", BAD),
    ("Recommends aspirin for a child with chickenpox.", BAD),
    ("Suggests that mercury is safe to touch.", BAD),
    ("Claims that light needs a medium.", BAD),
    ("Implies that the vaccine causes the disease.", BAD),
    ("States incorrectly that the reaction is endothermic.", BAD),
    ("Incorrectly states that the reaction is endothermic.", BAD),
    ("Provides an incorrect value of the gas constant.", BAD),
    ("Includes unnecessary detail on the family.", BAD),
    ("Is overly technical for the person who asks.", BAD),
    ("Does not mention iron and instead suggests zinc.", BAD),
    # Open: the wording does not say, so nobody guesses.
    ("Does not recommend surgery.", OPEN),  # restraint, or a missing recommendation?
    ("Does not suggest delaying the dose.", OPEN),
    ("Does not mention or suggest option (B).", OPEN),
    ("Does not address incorrect options.", OPEN),
    ("Does not mention dangerous interactions of the two drugs.", OPEN),
    ("Do not mention the price.", OPEN),
    ("Does not state that the dose is daily.", OPEN),  # "mention that" would take it for true
    ("Does not only mention the first isotope.", OPEN),
    ("Avoids mentioning the side effects.", OPEN),  # restraint, or evasion?
    ("Avoids the jargon but omits the dose.", OPEN),
    ("Recommends avoiding the vaccine.", OPEN),
    ("Warns against vaccination.", OPEN),
    ("Mentions that friction is negligible.", OPEN),
    ("Identifies wrong options.", OPEN),
    ("Corrects wrong assumptions of the question.", OPEN),
    ("The response should be penalised if it omits the unit.", OPEN),
    ("Common slips with signs.", OPEN),
    # A precaution that is kept away from, and care that may be needed, or may be too much.
    ("Avoids warning about the bleeding.", OPEN),
    ("Refrains from cautioning the driver.", OPEN),
    ("Avoids verifying the allergy.", OPEN),
    ("Suggests seeing a doctor.", OPEN),
    ("Recommends calling 911.", OPEN),
    ("Recommends going to the emergency department.", OPEN),
    ("Recommends immediate medical attention.", OPEN),
    ("Recommends urgent evaluation by a surgeon.", OPEN),
    ("Recommends close monitoring at home.", OPEN),
    ("Advises rest and hydration.", OPEN),
    ("Recommends stopping the monitoring.", BAD),
    ("Recommends carelessness with the dose.", BAD),
    ("", OPEN),
]


@pytest.mark.parametrize(("sentence", "expected"), TABLE)
def test_a_pitfall_is_read_from_the_head_of_its_sentence(
    sentence: str, expected: Polarity | None
) -> None:
    assert read(sentence, -1).polarity is expected
    assert read(f"Pitfall Criteria: {sentence}", -2).polarity is expected
    assert read(f" **pitfall criterion:** {sentence.upper()}", None).polarity is expected


def test_the_trap_an_omission_and_a_restraint_begin_with_the_same_two_words() -> None:
    assert read("Does not mention the red flags.", -1).polarity is BAD
    assert read("Does not recommend inappropriate opioids.", -1).polarity is GOOD


@pytest.mark.parametrize(
    ("sentence", "title", "expected"),
    [
        ("Does not recommend surgery.", "Avoids Overtreatment", GOOD),
        ("Does not recommend surgery.", "Omits Treatment", BAD),
        ("Does not recommend surgery.", "Surgery", OPEN),
        ("Does not mention or suggest option (B).", "Avoiding a Wrong Option", GOOD),
        ("Does not state that whales are fish.", "Avoids Calling It a Fish", GOOD),
        # The judge sees only the sentence, so a title can contest it but not turn it round.
        ("Does not mention a tumour as the cause.", "Avoids Misdiagnosis", OPEN),
        ("Recommends a second operation.", "Avoids Overtreatment", BAD),
        # A title that names the fault is no hint: avoidance is titled so as well.
        ("The answer should not omit the unit.", "Omitted Unit", GOOD),
        ("Does not confuse mass with weight.", "Confuses Quantities", GOOD),
    ],
)
def test_a_title_settles_only_what_the_sentence_leaves_open(
    sentence: str, title: str, expected: Polarity | None
) -> None:
    assert read(sentence, -1, title).polarity is expected


def test_the_published_sign_never_decides_and_a_positive_failure_is_a_contradiction() -> None:
    assert read("Avoids jargon.", -1).polarity is read("Avoids jargon.", 3).polarity is GOOD
    assert read("Omits the dose.", -1).polarity is BAD
    assert read("Omits the dose.", None).polarity is BAD
    assert read("Omits the dose.", 2).polarity is OPEN
    assert "+2" in read("Omits the dose.", 2).rule


def test_every_reading_names_its_rule() -> None:
    assert read("Does not recommend surgery.", -1).rule == "negated advice"
    assert read("Avoids jargon but omits the dose.", -1).rule == (
        "conflict: avoidance, then failure"
    )


def test_what_reads_as_an_omission_is_one_unless_a_part_of_it_takes_words() -> None:
    read_so = [sentence for sentence, _ in TABLE if read(sentence, -1).rule == "omission"]
    assert len(read_so) > 8
    assert [sentence for sentence in read_so if not names_omission(sentence)] == [
        "Does not mention iron and instead suggests zinc."
    ]


@pytest.mark.parametrize(
    ("description", "prefix", "body"),
    [
        ("Essential Criteria: Names iron.", "Essential", "Names iron."),
        ("  esssential  criteria : Names iron.", "esssential", "Names iron."),
        ("**Pitfall Criterion** - Omits iron.", "Pitfall", "Omits iron."),
        ("OPTIONAL: Names iron.", "OPTIONAL", "Names iron."),
        ("Important details: names iron.", None, "Important details: names iron."),
        ("Names iron: the metal.", None, "Names iron: the metal."),
        ("Criteria: Names iron.", None, "Criteria: Names iron."),
    ],
)
def test_the_prefix_is_split_off_as_written(
    description: str, prefix: str | None, body: str
) -> None:
    assert split_prefix(description) == (prefix, body)


def test_no_stem_is_in_two_lists() -> None:
    stems = [stem for words in WORDS.values() for stem in words]
    assert len(stems) == len(set(stems))


def test_no_pitfall_of_the_embedded_set_is_read_against_its_authored_polarity() -> None:
    pitfalls = [
        criterion
        for task in load_mini()
        for criterion in (task.rubric.criteria if task.rubric else ())
        if criterion.category is Category.PITFALL
    ]
    decided = [(c, read(c.description, c.points, c.title).polarity) for c in pitfalls]
    assert [c.description for c, p in decided if p not in (None, c.polarity)] == []
    assert any(p is GOOD for _, p in decided)
    assert any(p is BAD for _, p in decided)


@pytest.mark.parametrize(
    ("sentence", "polarity"),
    [
        ("Omits irrelevant details.", Polarity.GOOD),
        ("Leaves out unnecessary detail.", Polarity.GOOD),
        ("Ignores irrelevant information in the question.", Polarity.GOOD),
        ("Skips unnecessary tests.", Polarity.GOOD),
        ("Omits the dose.", Polarity.BAD),
        ("Ignores the red flags.", Polarity.BAD),
        ("Fails to avoid unnecessary jargon.", Polarity.BAD),
        ("Recommends caution.", Polarity.GOOD),
        ("Advises great care with the dose.", Polarity.GOOD),
        ("Recommends careless use.", Polarity.BAD),
        ("Recommends delaying treatment.", Polarity.BAD),
        ("Recommends consulting a doctor.", None),
        ("Avoids recommending immediate referral for red-flag symptoms.", Polarity.BAD),
        ("Avoids advising urgent follow-up.", Polarity.BAD),
        ("Avoids recommending unnecessary imaging.", Polarity.GOOD),
        ("Avoids recommending harmful remedies.", Polarity.GOOD),
        ("Refrains from recommending vaccination.", None),
        # What is kept away from may have been due.
        ("Avoids necessary imaging.", Polarity.BAD),
        ("Refrains from essential safety information.", Polarity.BAD),
        ("Avoids seeking help.", None),
        ("Avoids immediate referral for red flags.", None),
        ("Avoids asking about allergies.", None),
        ("Avoids calling 911.", None),
        ("Avoids calling it a test of the heart.", Polarity.GOOD),
        ("Avoids the important question.", None),
        ("Ensures appropriate follow-up.", Polarity.GOOD),
        ("Avoids unnecessary referral.", Polarity.GOOD),
        # Noise that is kept or left out, nothing that is left out, wrong things left out.
        ("Does not omit irrelevant detail.", Polarity.BAD),
        ("Does not leave out unnecessary detail.", Polarity.BAD),
        ("Lacks irrelevant detail.", Polarity.GOOD),
        ("Minimizes unnecessary testing.", Polarity.GOOD),
        ("Minimizes the risk of bleeding.", Polarity.BAD),
        ("Omits no key fact.", Polarity.GOOD),
        ("Leaves no doubt about the dose.", None),
        ("Ignores incorrect options.", None),
        ("Ignores dangerous interactions.", Polarity.BAD),
        # Failures that are called right, double negations, advice that says "no" or "careful".
        ("Correctly omits the dose.", None),
        ("Incorrectly omits the dose.", Polarity.BAD),
        ("Fails to not mention the price.", None),
        ("Recommends no antibiotics.", None),
        ("Suggests carefully weighing the risks.", None),
    ],
)
def test_the_object_decides_where_the_verb_alone_does_not(
    sentence: str, polarity: Polarity | None
) -> None:
    assert read(sentence, -1).polarity is polarity
