"""Words and sentences of a text, counted without any library of language."""

from __future__ import annotations

import re

#: Words of a rubric's own language: they say nothing about the topic.
_RUBRIC_WORDS = frozenset(
    """
    about above after also because been before being below between both cannot clear clearly
    could does each either else even every explain explains explanation from give gives have
    help helps identifies identify include includes including into just like made make makes
    mention mentions more most much must name names need needs only other over provide
    provides reason recommend recommends response same should some state states such suggest
    suggests than that their them then there these they this those through under used uses
    using very were what when where which while will with without would your
    """.split()
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
