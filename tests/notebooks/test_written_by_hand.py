"""No chapter states a result by hand: a number in its prose is computed, or stands for no result.

Prose in the sense of this file is what a Markdown cell says outside code, formulas, roles, the
addresses of links and directives.
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
    r"\b(?:Figure|Table|Remark|Equation|Eq\.|[Ss]ection|[Cc]hapter) \d+": "a place",
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


def printed_results(source: str) -> list[str]:
    """Calls of ``print`` that put a number together with words: a sentence that is no prose."""
    return [
        ast.unparse(call)
        for call in ast.walk(ast.parse(source))
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "print"
        if _holds_numbers(call)
    ]


def _holds_numbers(call: ast.Call) -> bool:
    return any(_numbers(part) for part in ast.walk(call))


def _numbers(part: ast.AST) -> bool:
    formatted = isinstance(part, ast.FormattedValue) and part.format_spec is not None
    counted = isinstance(part, ast.Call) and ast.unparse(part.func) in ("len", "sum", "format")
    return formatted or counted


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_results_are_said_in_prose_and_not_printed(path: Path) -> None:
    assert [found for cell in cells(path, "code") for found in printed_results(cell)] == []


@pytest.mark.parametrize(
    "source",
    ["print(f'{x:.2f} of them')", "print(len(pairs), 'pairs')", "print('at', format(x, '.1f'))"],
)
def test_a_printed_result_is_found(source: str) -> None:
    assert printed_results(source)


@pytest.mark.parametrize("source", ["print(task.question)", "print(results.origin(found))"])
def test_a_text_may_be_printed(source: str) -> None:
    assert printed_results(source) == []
