"""No chapter states a result by hand: a number in its prose is computed, or stands for no result.

Prose in the sense of this file is what a Markdown cell says outside code, formulas, roles, the
addresses of links and directives. A page of the book may hold more: what it defines, the settings
that it sets beside the paper's, and what it quotes with its source.
"""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PAGES = [*sorted((ROOT / "book").glob("*.md")), ROOT / "README.md", ROOT / "results" / "README.md"]
#: Taken out before the search, in this order.
NOT_PROSE = (
    r"(?ms)^```.*?^```",  # blocks of code
    r"(?s)\$\$.*?\$\$|\$[^$\n]+\$",  # formulas
    r"\{[\w:]+\}`[^`]*`",  # roles: references, citations
    r"`[^`]*`",  # names
    r"\]\([^)]*\)",  # addresses
    r"(?m)^:::.*$",  # directives
)
#: What a number may be that is no result of this book, and why.
ALLOWED = {
    r"\b(?:Figure|Table|Remark|Equation|Eq\.|[Ss]ection|[Cc]hapter) \d+(?:\.\d+)*": "a place",
    r"\b95 % (?:confidence )?intervals?": "the level of every interval, a convention",
    r"\b80 of 100 studies\b": "the power of every detectable difference, a convention",
    r"\bfrom 1 to 10\b": "the scale of a rating, a definition",
    r"\[0, 1\]|\b(?:is|of|neither|nor|weight|between|and) [01]\b(?![.,]\d)|\b[01] for\b": (
        "the end of a scale, a definition"
    ),
    r"\btemperature \d(?:\.\d)?\b": "a setting",
    r"\b1,000 resamples\b": "how HealthBench computes its own error",
    r"\bGPT-4o\b|\bgpt-4o-mini\b": "the name of a model",
    r"\bPOW3R\b": "the name of a method",
}
#: What a number may be on a page of the book, which defines and names settings, besides.
ON_A_PAGE = ALLOWED | {
    r"\b[A-Za-z]\w*\d[\w.]*(?:-[\w.]+)*": "a name that holds digits",
    r"\b\d+(?:\.\d+)?[BM]\b(?:-Instruct)?": "the size of a model, in a name or of a kind",
    r"\b(?:4|8|16|32)[ -]bits?\b": "the width of a number",
    r"\bAVX-512\b": "the name of a set of instructions",
    r"\bPython 3\.11 or 3\.12\b|\bglibc 2\.31\b": "a version",
    r"\[\d+(?=[\s.])": "a chapter, as the text of a link",
    r"(?<![\w.])-?[01](?!\.?\d)": "the end of a scale, a definition",
    r"\b0\.5 (?:is chance|under (?:both|the second))\b": "chance, a definition",
    r"\b95 %": "the level of every interval, a convention",
    r"\bp-value at 0\.05\b|\(n = 6\)|\bwithin 0\.01 of each other\b": "a rule, as declared",
    r"\bEssential 1\.0, Important 0\.7, Optional 0\.3, Pitfall 0\.9\b": "the paper's weights",
    r"\bhas 7 to 20 criteria\b": "the paper's rubrics",
    r"\beach of the 96 has 16 rollouts, and a step grades 16 times as many\b|\bif the 96\b": (
        "the paper's batch, read in two ways"
    ),
    r"\bwrite 10 as|\balways says 7\b|\bwith 0\.8, four in five\b": "an example, no result",
    r"\babout 1\.44 bits\b": "a unit in another one",
}
#: A table whose columns are named so sets this book's settings beside those of others.
SETTINGS = ("The paper", "TRL's default")
CITED = r"\{cite[\w:]*\}`[^`]*`"
#: A sentence about the paper may quote its numbers, as long as it says nothing of this book.
QUOTED = re.compile(r"(?i)^(?!.*\b(?:we|our|ours|this book)\b).*\bthe paper(?:'s)?\b")
#: A comparison in words, such as "weights matter little": it holds for one run, or it is computed.
COMPARED = (
    r"\b(?:weights?|polarity|judges?|rubrics?|training|length|arms?|rules?)\b[^.;:?]{0,40}"
    r"\b(?:matters?|moves?|helps?|gains?|rises?|falls?|beats?|scores?|catch(?:es)?|shrinks?|are)\b"
    r"[^.;:?]{0,40}\b(?:a lot|little|much|(?<!at )most|(?<!at )least|nearly|best|worst|highest|"
    r"lowest|higher)\b"
    r"|\bsee how (?:little|much) the\b"
)


def prose(source: str) -> str:
    for pattern in NOT_PROSE:
        source = re.sub(pattern, " ", source)
    return source


def by_hand(source: str) -> list[str]:
    """The sentences that state a number or a comparison which no cell has computed."""
    text = prose(source)
    for pattern in ALLOWED:
        text = re.sub(pattern, " ", text)
    sentences = re.split(r"(?<=[.!?:])\s+|\n+", text)
    return [s.strip() for s in sentences if _states(s)]


def _states(sentence: str) -> bool:
    typed = re.search(r"\d", sentence) and not QUOTED.search(sentence)
    return bool(typed or re.search(COMPARED, sentence, re.IGNORECASE))


def blocks(text: str) -> list[str]:
    """Paragraphs and items of a page in one line each; of a row of settings its last cell alone."""
    text = re.sub(NOT_PROSE[0], " ", text)
    found = []
    settings = False
    for block in re.split(r"\n\s*\n|\n(?=\s*(?:[-*:] |[|#]))|(?<=\|)\n", text):
        line = " ".join(block.split())
        if line.startswith("|"):
            heads = [cell.strip() for cell in line.strip("|").split("|")]
            settings = settings or any(name in heads for name in SETTINGS)
            line = heads[-1] if settings else line
        else:
            settings = False
        found.append(line)
    return found


def by_hand_on_a_page(text: str) -> list[str]:
    """The sentences and rows of a page that state a number without a source."""
    found = []
    for block in blocks(text):
        line = prose(re.sub(CITED, " (cited) ", block))
        for pattern in ON_A_PAGE:
            line = re.sub(pattern, " ", line)
        parts = [line] if block.startswith("|") else re.split(r"(?<=[.!?:])\s+", line)
        numbered = [part.strip() for part in parts if re.search(r"\d", part)]
        found += [part for part in numbered if "(cited)" not in part and not QUOTED.search(part)]
    return found


def cells(path: Path, kind: str) -> list[str]:
    every = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(c["source"]) for c in every if c["cell_type"] == kind]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_no_chapter_states_a_result_by_hand(path: Path) -> None:
    found = [sentence for cell in cells(path, "markdown") for sentence in by_hand(cell)]
    assert found == []


@pytest.mark.parametrize("path", PAGES, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_no_page_compares_what_only_a_run_can_tell(path: Path) -> None:
    """Pages define and name settings, with numbers; what a run found is in the chapters."""
    sentences = re.split(r"(?<=[.!?:])\s+|\n\n+", prose(path.read_text(encoding="utf-8")))
    assert [s for s in sentences if re.search(COMPARED, s, re.IGNORECASE)] == []


@pytest.mark.parametrize("path", sorted((ROOT / "book").glob("*.md")), ids=lambda p: p.name)
def test_no_page_of_the_book_states_a_result_by_hand(path: Path) -> None:
    assert by_hand_on_a_page(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "text",
    [
        "The judge is right in 0.72 of the pairs.",
        "# A heading\n\nOf the pairs, it\norders 81 % as people do.",
        "- one item\n- a rise of 0.05",
        "It has 92 pairs; the paper of our judge has none.",
        "Its accuracy is 0.5 or more, 0.9 at best.",
        "| judge | right |\n|---|---|\n| qwen-1.5b | 0.84 |",
        "With AVX-512 it takes 512 ms.",
        "| Detail | The paper | Here | Why |\n|---|---|---|---|\n| KL | 0.2 | 0 | It gains 0.03. |",
        "The policy improves by 31 %. The weights differ {cite:p}`rar`.",
    ],
)
def test_a_result_by_hand_is_found_on_a_page(text: str) -> None:
    assert by_hand_on_a_page(text)


@pytest.mark.parametrize(
    "text",
    [
        "Experts recovered the order more often, 0.908 against 0.150 {cite:p}`rar`.",
        "| RubricHub | 110,000 rubrics {cite:p}`rar` |",
        "| Detail | The paper | Here | Why |\n|---|---|---|---|\n| KL | 0.04 | 0.2 | Nothing. |",
        "See [chapter 4](04_can.ipynb) and [the run](https://example.org/2026/11).",
        "The 1.5B model, widened from 4 bits to bf16, of Qwen2.5-Coder-1.5B-Instruct.",
        "From -1 to 1: 0.5 is chance.",
        "A processor with AVX2, AVX-512 or AMX, in bf16.",
    ],
)
def test_a_definition_a_setting_and_a_quoted_fact_may_stand_on_a_page(text: str) -> None:
    assert by_hand_on_a_page(text) == []


@pytest.mark.parametrize(
    "sentence",
    [
        "160 questions with reference answers.",
        "An attack succeeds where the reward rises by more than 0.05.",
        "The gain is +0.07 [0.00, 0.15].",
        "The policy improves by 31 %.",
        "It draws the weights 200 times.",
        "The answer is 0.5 better.",
        "Weights move the reward little.",
        "Polarity moves it a lot.",
        "See how little the weights and how much the polarity matters.",
        "See {doc}`01_rewards_from_rubrics`, 24 pairs.",
        "Our policy beats the paper's by 3 points.",
        "The paper gains 3 points and our policy 5.",
    ],
)
def test_a_result_by_hand_is_found(sentence: str) -> None:
    assert by_hand(sentence)


@pytest.mark.parametrize(
    "sentence",
    [
        "See {doc}`01_rewards_from_rubrics` and `smollm2-135m`.",
        "With $c_j \\in \\{0, 1\\}$ the reward is 1 for a response that does everything right.",
        "The paper says so (Figure 3).",
        "Whiskers are 95 % intervals over tasks.",
        "The answer is one rating from 1 to 10.",
        "```\n24 pairs\n```",
        "See [the paper](https://arxiv.org/abs/2507.17746).",
        "Whether weights matter is asked below.",
        "The paper trains a 7B policy for 300 steps.",
    ],
)
def test_what_is_no_result_may_be_written(sentence: str) -> None:
    assert by_hand(sentence) == []


#: What a chapter may print as it stands, and what it is: text, and no result.
PRINTED = {
    r".*(?:\.question|\['question'\])": "a question",
    r"results\.origin\(.*\)|.*\.attrs\['source'\]|tables\.made_by\(profile\)": "a source",
    r"when|name|policy|attack\.family|pair\.axis|pair\.difficulty": "what the text below it is",
    r"right|'no letter' if letter is None .*": "a letter of a multiple choice question",
    r"fence\(.*\)|questions\.guess": "text that a function of the chapter has made",
    r"account": "what a loader says of a file",
}


def printed_results(source: str) -> list[str]:
    """Calls of ``print`` that may show a number: what they hold is not known to be text."""
    return [
        ast.unparse(call)
        for call in ast.walk(ast.parse(source))
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "print"
        if not all(map(_is_text, _values(call)))
    ]


def _values(call: ast.Call) -> list[ast.expr]:
    """What is printed and not written out: arguments, and what stands in braces in them."""
    found: list[ast.expr] = []
    for given in call.args:
        if isinstance(given, ast.JoinedStr):
            parts = [part for part in given.values if isinstance(part, ast.FormattedValue)]
            found += [part.value for part in parts]
        elif not isinstance(given, ast.Constant):
            found.append(given)
    return found


def _is_text(value: ast.expr) -> bool:
    said = ast.unparse(value)
    return any(re.fullmatch(pattern, said) for pattern in PRINTED)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_results_are_said_in_prose_and_not_printed(path: Path) -> None:
    assert [found for cell in cells(path, "code") for found in printed_results(cell)] == []


@pytest.mark.parametrize(
    "source",
    [
        "print(f'{x:.2f} of them')",
        "print(len(pairs), 'pairs')",
        "print('at', format(x, '.1f'))",
        "print('accuracy', x)",
        "print(f'{x}')",
        "print(f'{when}, reward {tables.cell(score)}:')",
        "print(accuracy)",
        "print('%.2f' % x)",
    ],
)
def test_a_printed_result_is_found(source: str) -> None:
    assert printed_results(source)


@pytest.mark.parametrize(
    "source",
    [
        "print(task.question)",
        "print(results.origin(found))",
        "print(f'\\n{when}:')",
        "print('quoted from:', paper.attrs['source'])",
        "print()",
    ],
)
def test_a_text_may_be_printed(source: str) -> None:
    assert printed_results(source) == []
