"""Text made comparable, countable and harmless.

Model text is hostile until proven otherwise: :func:`visible` strips invisible characters and
breaks template tokens, :func:`fence` keeps it between back-ticks that it cannot close.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from fractions import Fraction

_KEPT_CONTROLS = {"\n", "\t"}
_JOINERS = {"\u200c", "\u200d"}
#: Scripts whose letters are joined or kept apart inside a word: Arabic to Myanmar, Khmer,
#: Mongolian, and the presentation forms of Arabic.
_JOINED = ((0x0600, 0x109F), (0x1780, 0x18AF), (0xFB50, 0xFDFF), (0xFE70, 0xFEFC))
#: Tokens with which the chat templates of common model families begin and end a turn.
_TEMPLATE = re.compile(
    r"<(?=\|[^\s<>|]{1,40}\|?>)|<(?=[a-z_]{1,20}\|>)|<(?=\uff5c[^<>\n]{1,40}\uff5c>)"
    r"|<(?=/?(?:s|bos|eos|pad|unk|start_of_turn|end_of_turn|end_of_text|endoftext)>)"
    r"|<(?=</?SYS>>)"
    r"|\[(?=/?(?:INST|SYS|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|EOT|gMASK)\])",
    re.IGNORECASE,
)


def visible(text: str) -> str:
    """Text without control, bidirectional and zero-width characters, template tokens broken.

    Joiners inside words of scripts that need them, and inside an emoji, stay; so do the operators
    of programs. Idempotent. A token such as ``<|im_end|>`` would let a response end its own chat
    turn: a space behind its first character takes that from it.
    """
    kept = (c for n, c in enumerate(text) if _is_seen(c) or (c in _JOINERS and _joins(text, n)))
    return _TEMPLATE.sub(lambda first: first[0] + " ", "".join(kept))


def _is_seen(character: str) -> bool:
    return character in _KEPT_CONTROLS or unicodedata.category(character)[0] != "C"


def _joins(text: str, place: int) -> bool:
    """Whether a joiner stands between two letters of such a script, or two parts of an emoji."""
    before, after = text[place - 1 : place], text[place + 1 : place + 2]
    if not before or not after:
        return False
    if _is_joined(before) and _is_joined(after):
        return True
    parts = unicodedata.category(before), unicodedata.category(after)
    return text[place] == "\u200d" and parts[0] in ("So", "Sk", "Mn") and parts[1] == "So"


def _is_joined(letter: str) -> bool:
    in_script = any(low <= ord(letter) <= high for low, high in _JOINED)
    return in_script and unicodedata.category(letter)[0] in "LM"


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


_SUPERSCRIPT = str.maketrans(
    "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u207a\u207b", "0123456789+-"
)
_RAISED = re.compile("[\u2070\u00b9\u00b2\u00b3\u2074-\u2079\u207a\u207b]+")
#: What LaTeX writes for signs and fractions, in turn.
_LATEX = (
    (re.compile(r"\\(?:d|t)?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}"), r"(\1)/(\2)"),
    (re.compile(r"\\(?:text|mathrm|mathbf|textbf|operatorname|rm|bf)\s*\{([^{}]*)\}"), r"\1"),
    (re.compile(r"\^\s*\{([^{}]*)\}"), r"^\1"),
    (re.compile(r"\\(?:cdot|times)\b|\u00d7|\u00b7"), "*"),
    (re.compile(r"\\leq?\b|\u2264"), "<="),
    (re.compile(r"\\geq?\b|\u2265"), ">="),
    (re.compile(r"\\(?:left|right|,|;|!|:| )"), " "),
    (re.compile(r"\\%"), "%"),
)
_NUMBER = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+")
_PIECE = re.compile(rf"{_NUMBER.pattern}|[^\W\d]+|<=|>=|[-+*/^<>=%:\u00b1,]")


def same(one: str, other: str) -> bool:
    """Whether two short answers say the same: numbers by value, words in any case.

    Signs, decimal points, fraction bars, exponents and comparison signs decide; quotes, emphasis,
    brackets, a full stop at the end and hyphens inside words do not.
    """
    a = _pieces(one)
    b = _pieces(other)
    if not a or not b:
        return False
    values = _value(a), _value(b)
    if None not in values:
        return values[0] == values[1]
    return a == b


def _pieces(text: str) -> list[str]:
    """Numbers, words and signs of an answer, each in one spelling."""
    text = _RAISED.sub(lambda run: "^" + run[0].translate(_SUPERSCRIPT), text)
    for pattern, plain in _LATEX:
        text = pattern.sub(plain, text)
    text = unicodedata.normalize("NFKC", text).casefold()
    text = re.sub("[\u2212\u2010-\u2015]", "-", text)
    text = re.sub(r"(?<=[^\W\d])-(?=[^\W\d])", " ", text)  # a hyphen inside a word
    text = re.sub(r"(\d)e([+-]?\d)", r"\1*10^\2", text)
    text = re.sub(r"(?<!\d),|,(?!\d)|:\s*$", " ", text)
    found = [_one_number(piece) for piece in _PIECE.findall(text.replace("**", " "))]
    while found and found[-1] in (",", ":"):
        found.pop()
    return found


def _one_number(piece: str) -> str:
    if not _NUMBER.fullmatch(piece):
        return piece
    value = Fraction(piece.replace(",", ""))
    return str(value.numerator) if value.denominator == 1 else str(float(value))


def _value(pieces: Sequence[str]) -> Fraction | None:
    """The value of a signed number, a fraction, a percentage or a power of ten; else ``None``."""
    text = "".join(pieces)
    number = r"[-+]?\d+(?:\.\d+)?"
    if found := re.fullmatch(rf"({number})(?:/(\d+(?:\.\d+)?))?(%?)", text):
        below = Fraction(found[2] or 1)
        if below == 0:
            return None
        return Fraction(found[1]) / below / (100 if found[3] else 1)
    if found := re.fullmatch(rf"(?:({number})\*)?([-+]?)10\^([-+]?\d{{1,4}})", text):
        sign = -1 if found[2] == "-" else 1
        return sign * Fraction(found[1] or 1) * Fraction(10) ** int(found[3])
    return None


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
