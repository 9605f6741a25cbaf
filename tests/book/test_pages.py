"""The book's prose pages: they say what the models are, and what records hold."""

from __future__ import annotations

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


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.stem)
def test_no_page_says_that_all_arms_are_recorded(path: Path) -> None:
    assert not re.search(r"\b(all|every) arms?\b", path.read_text(encoding="utf-8"), re.IGNORECASE)
