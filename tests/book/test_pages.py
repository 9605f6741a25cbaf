"""The book's prose pages: they say what the models are, and what records hold."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from rar_lib.core.decision import WORDS
from rar_lib.models.catalogue import MODELS, Model

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "book").glob("*.md"))


def page(name: str) -> str:
    text = (ROOT / "book" / f"{name}.md").read_text(encoding="utf-8")
    return " ".join(text.split())


@pytest.mark.parametrize("model", MODELS.values(), ids=lambda m: m.name)
def test_the_glossary_says_whose_weights_these_are(model: Model) -> None:
    """A judge called qwen is a model for code, from a file of 4 bits."""
    entry = page("glossary").split(" Weights ", 1)[1]
    upstream = model.upstream.split("/")[1]
    assert upstream in entry
    kind = re.search(r"q4_\w+?(?=\.gguf)", model.pinned.file, re.IGNORECASE)
    assert kind is not None
    assert kind[0].lower() in entry.lower()
    assert "4 bits" in entry


def test_the_landing_page_says_it_once_and_plainly() -> None:
    text = page("index")
    assert all(word in text for word in ("*Coder*", "4-bit", "widened", "8 bits"))


def test_every_word_of_a_finding_is_explained() -> None:
    for name in ("glossary", "conventions"):
        text = page(name).lower()
        assert [word for word in WORDS if f"*{word}*" not in text] == []


@pytest.mark.parametrize(
    "path",
    [*PAGES, ROOT / "README.md", ROOT / "results" / "README.md"],
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_no_page_says_that_all_arms_are_recorded(path: Path) -> None:
    assert not re.search(r"\b(all|every) arms?\b", path.read_text(encoding="utf-8"), re.IGNORECASE)


#: The entries of the glossary: term -> definition.
ENTRIES = {
    found[1]: " ".join(found[2].split())
    for found in re.finditer(
        r"^(\S.*)\n((?:  \S.*\n)+)",
        (ROOT / "book" / "glossary.md").read_text(encoding="utf-8"),
        re.M,
    )
}
CHAPTERS = sorted((ROOT / "notebooks").glob("*.ipynb"))
#: Words that a chapter or a page uses before it explains them, if it does.
USED = (
    *("adapter", "authored rubric", "axis", "balanced accuracy", "bootstrap", "calibration error"),
    *("chat template", "contrast weights", "conveyed", "demonstration", "difficulty", "endpoint"),
    *("gold label", "GPQA-Diamond", "hard verdict", "HealthBench", "KL", "leakage", "ledger"),
    *("Likert", "MedQA", "MMLU", "p-value", "pairwise accuracy", "predefined", "preference pair"),
    *("prefix", "probability reading", "profile", "RaR-Medicine", "RaR-Mini", "RaR-Science"),
    *("rubric dropout", "self-internalisation gap", "sign flips", "simulated coverage", "split"),
    *("stratified draw", "synthetic rubric", "temperature", "TF-IDF", "true null"),
    *("two-way analysis of variance", "Unsloth", "vLLM"),
    *("clip", "cloze", "fold", "log-likelihood", "pilot", "standard error", "tier"),
)


def prose(path: Path) -> str:
    """What a page says; of a chapter all its cells, because code says sentences, too."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        text = "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])
    return " ".join(text.split())


@pytest.mark.parametrize("word", USED)
def test_the_glossary_explains_what_is_used_before_it_is_explained(word: str) -> None:
    entry = {term.lower(): said for term, said in ENTRIES.items()}[word.lower()]
    assert len(re.findall(r"\.(?: |$)", entry)) in (1, 2), "one or two sentences"
    others = [path for path in (*PAGES, *CHAPTERS) if path.stem != "glossary"]
    assert any(word.lower() in prose(path).lower() for path in others)


@pytest.mark.parametrize("path", [*PAGES, *CHAPTERS], ids=lambda p: p.stem)
def test_a_term_that_a_page_marks_is_in_the_glossary(path: Path) -> None:
    marked = re.findall(r"\{term\}`(?:[^`<]*<)?([^`<>]+)>?`", prose(path))
    assert [term for term in marked if term not in ENTRIES] == []
