"""Text made comparable, countable and harmless.

Model text is hostile until proven otherwise: :func:`visible` strips invisible characters and
breaks template tokens, :func:`fence` keeps it between back-ticks that it cannot close.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_KEPT_CONTROLS = {"\n", "\t"}


def visible(text: str) -> str:
    """Text without control, bidirectional and zero-width characters, template tokens broken.

    Idempotent. ``<|`` would otherwise let a response end its own chat turn.
    """
    kept = (c for c in text if c in _KEPT_CONTROLS or unicodedata.category(c)[0] != "C")
    return "".join(kept).replace("<|", "< |").replace("|>", "| >")


#: Names of the tags between which reasoning models think.
THOUGHTS = ("think", "thinking", "thought", "reasoning")


def without_thoughts(text: str, tags: Sequence[str] = THOUGHTS) -> str:
    """What a reasoning model says once it has thought: the text behind its last closing tag.

    A thought that was not finished has no answer behind it: the text is then empty. Some chat
    templates write the opening tag themselves, so that only the closing one is in the text.
    """
    names = "|".join(map(re.escape, tags))
    if not tags:
        return text
    *_, answer = re.split(rf"</(?:{names})>", text, flags=re.IGNORECASE)
    return "" if re.match(rf"\s*<(?:{names})>", answer, re.IGNORECASE) else answer


def fence(text: str) -> str:
    """Text between back-tick fences longer than any run of back-ticks inside it."""
    clean = visible(text)
    longest = max((len(run) for run in re.findall(r"`+", clean)), default=0)
    bar = "`" * max(3, longest + 1)
    return f"{bar}\n{clean}\n{bar}"


def normalise(text: str) -> str:
    """Unicode form, case and white space made equal; signs stay, because x+1 is not x-1."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


#: Words of a rubric's own language: they say nothing about the topic.
_RUBRIC_WORDS = frozenset(
    [
        "about",
        "above",
        "after",
        "also",
        "because",
        "been",
        "before",
        "being",
        "below",
        "between",
        "both",
        "cannot",
        "clear",
        "clearly",
        "could",
        "does",
        "each",
        "either",
        "else",
        "even",
        "every",
        "explain",
        "explains",
        "explanation",
        "from",
        "give",
        "gives",
        "have",
        "help",
        "helps",
        "identifies",
        "identify",
        "include",
        "includes",
        "including",
        "into",
        "just",
        "like",
        "made",
        "make",
        "makes",
        "mention",
        "mentions",
        "more",
        "most",
        "much",
        "must",
        "name",
        "names",
        "need",
        "needs",
        "only",
        "other",
        "over",
        "provide",
        "provides",
        "reason",
        "recommend",
        "recommends",
        "response",
        "same",
        "should",
        "some",
        "state",
        "states",
        "such",
        "suggest",
        "suggests",
        "than",
        "that",
        "their",
        "them",
        "then",
        "there",
        "these",
        "they",
        "this",
        "those",
        "through",
        "under",
        "used",
        "uses",
        "using",
        "very",
        "were",
        "what",
        "when",
        "where",
        "which",
        "while",
        "will",
        "with",
        "without",
        "would",
        "your",
    ]
)


def content_words(text: str) -> set[str]:
    """Words of four letters or more that are not function words, cut to six letters.

    Cutting makes forms of a word agree (``dissolves``, ``dissolved``) without a stemmer.
    """
    found = re.findall(r"[a-z]{4,}", text.lower())
    return {word[:6] for word in found if word not in _RUBRIC_WORDS}


_SENTENCE_END = re.compile(r"[.!?]['\")\]]*\s+(?=['\"(\[]?[A-Z])")
_ABBREVIATION = re.compile(
    r"\b(?:[A-Za-z]|e\.g|i\.e|etc|vs|cf|ca|approx|Dr|Mr|Mrs|Ms|Prof|St|Fig|Eq|No|spp?|al)\.$"
)


def sentences(text: str) -> int:
    """How many sentences: an end mark, a space and a capital, common abbreviations aside."""
    ends = (m.start() + 1 for m in _SENTENCE_END.finditer(text.strip()))
    return 1 + sum(not _ABBREVIATION.search(text.strip()[:end]) for end in ends)
