"""Text made comparable, countable and harmless.

Model text is hostile until proven otherwise: :func:`visible` strips invisible characters and
breaks template tokens, :func:`fence` keeps it between back-ticks that it cannot close.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache

_KEPT_CONTROLS = {"\n", "\t"}
_JOINERS = {"\u200c", "\u200d"}
#: Scripts without spaces between words, which a character of no width then parts: Thai and Lao,
#: Myanmar, Khmer.
_UNSPACED = ((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF))
#: Where letters and emoji are added every year, of which this Python knows nothing yet.
_GROWING = ((0x1F000, 0x1FAFF), (0x2EBF0, 0x323AF))
#: Scripts whose letters are joined or kept apart inside a word: Arabic to Myanmar, Khmer,
#: Mongolian, and the presentation forms of Arabic.
_JOINED = ((0x0600, 0x109F), (0x1780, 0x18AF), (0xFB50, 0xFDFF), (0xFE70, 0xFEFC))
#: Tokens with which the chat templates of common model families begin and end a turn.
_TEMPLATE = re.compile(
    r"<(?=\|[^\s<>|]{1,40}\|?>)|<(?=[a-z_]{1,20}\|>)|<(?=\uff5c[^<>\n]{1,40}\uff5c>)"
    r"|<(?=/?(?:s|bos|eos|pad|unk|sop|eop|eoh|eoa|role|start_of_turn|end_of_turn|end_of_text"
    r"|endoftext|(?:beginning|end)_of_sentence|(?:start|end)_of_image|seed:[a-z_]{1,20}"
    r"|(?:extra_id_|SPECIAL_|reserved_|unused)\d{1,6})>)"
    r"|<(?=</?SYS>>)"
    r"|\[(?=\|[^\s\[\]|]{1,40}\|\])|\](?=~!?b[\]\[])|\[(?=e~\[)"
    r"|\[(?=/?(?:INST|SYS|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT"
    r"|MODEL_SETTINGS|THINK|BOS|EOS|EOT|gMASK)\])",
    re.IGNORECASE,
)


def visible(text: str) -> str:
    """Text without control, bidirectional and zero-width characters, template tokens broken.

    Joiners inside words of scripts that need them, and inside an emoji, stay; so do the operators
    of programs. Idempotent. A token such as ``<|im_end|>`` would let a response end its own chat
    turn: a space behind its first character takes that from it.
    """
    kept = (c for n, c in enumerate(text) if _is_seen(c) or _joins(text, n) or _parts(text, n))
    return _TEMPLATE.sub(lambda first: first[0] + " ", "".join(kept))


def _is_seen(character: str) -> bool:
    kind = unicodedata.category(character)
    new = kind == "Cn" and _within(character, _GROWING)
    return character in _KEPT_CONTROLS or kind[0] != "C" or new


def _within(character: str, ranges: Sequence[tuple[int, int]]) -> bool:
    return any(low <= ord(character) <= high for low, high in ranges)


def _joins(text: str, place: int) -> bool:
    """Whether a joiner stands between two letters of such a script, or two parts of an emoji.

    At the end of a word it is part of a letter: of a form that would join (Arabic), of a consonant
    without its vowel (a sign that combines in class 9: Malayalam, Bengali).
    """
    if text[place] not in _JOINERS or not place:
        return False
    before, after = text[place - 1], text[place + 1 : place + 2]
    widens = text[place] == "\u200d"
    ends = "\u0620" <= before <= "\u06d5" or unicodedata.combining(before) == 9
    if _is_joined(before) and (_is_joined(after) or (widens and ends)):
        return True
    if not after or not widens or unicodedata.category(before) not in ("So", "Sk", "Mn"):
        return False
    return unicodedata.category(after) == "So" or after == "\u2194"


def _is_joined(letter: str) -> bool:
    return bool(letter) and _within(letter, _JOINED) and unicodedata.category(letter)[0] in "LM"


def _parts(text: str, place: int) -> bool:
    """Whether a space of no width stands between two words of a script without spaces."""
    around = text[place - 1 : place] if place else "", text[place + 1 : place + 2]
    if text[place] != "\u200b" or not all(around):
        return False
    return all(_within(one, _UNSPACED) for one in around)


#: Names of the tags between which reasoning models think.
THOUGHTS = ("think", "thinking", "thought", "reasoning")


def without_thoughts(text: str, tags: Sequence[str] = THOUGHTS) -> str:
    """What a reasoning model says once it has thought: the text behind its last closing tag.

    A thought that was not finished has no answer behind it: what is left is the text before the
    line on which it began, mostly none. Some chat templates write the opening tag themselves, so
    that only the closing one is in the text.

    Args:
        tags: their names. ``think`` stands for every form in which models write it: ``<think>``,
            ``<seed:think>``, ``[THINK]``, ``<|begin_of_think|>`` and the like, and the channels
            of models that have those for thoughts and answer.
    """
    if not tags:
        return text
    opens, closes = _tags(tuple(tags))
    *_, answer = closes.split(text)
    begun = opens.search(answer)
    return answer[: begun.start()].rstrip() if begun else answer


@lru_cache(maxsize=16)
def _tags(names: tuple[str, ...]) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Patterns of a tag that opens a thought, at the head of a line, and of one that closes it."""
    name = f"(?:{'|'.join(map(re.escape, names))})"
    forms = (
        (rf"<(?:[a-z]{{1,8}}:)?{name}\s*>", rf"</(?:[a-z]{{1,8}}:)?{name}\s*>"),
        (rf"\[{name}\]", rf"\[/{name}\]"),
        (rf"\u25c1{name}\u25b7", rf"\u25c1/{name}\u25b7"),
        (rf"<\|(?:begin_of_)?{name}\|>", rf"<\|(?:end_of_|/){name}\|>"),
        (r"<\|channel\|>(?:analysis|commentary)\b", r"<\|channel\|>final\s*<\|message\|>"),
        (r"(?-i:analysis(?=[A-Z]))", r"(?-i:assistantfinal)"),  # the same without its tokens
        (r"<\|channel>thought\b", r"<channel\|>"),
        (r"<unused94>thought\b", r"<unused95>"),
    )
    opens = "|".join(form for form, _ in forms)
    closes = "|".join(form for _, form in forms)
    return (
        re.compile(rf"^[^\S\n]*(?:{opens})", re.IGNORECASE | re.MULTILINE),
        re.compile(closes, re.IGNORECASE),
    )


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
#: Fractions that are one character, a number of three groups with spaces, two and a half.
_VULGAR = re.compile("[\u00bc-\u00be\u2150-\u215e\u2189]")
_SPACED = re.compile(r"(?<![\d.,])\d{1,3}(?:[ \u00a0\u2009\u202f'\u2019_]\d{3})+(?![\d,])")
_MIXED = re.compile(r"(?<![\d./,])(\d{1,9})\s+(\d{1,9})\s*/\s*(\d{1,9})(?![\d./])")
#: What LaTeX writes for signs and fractions, in turn.
_LATEX = (
    (re.compile(r"(?<=\d)\s*\\(?:d|t)?frac\s*\{(\d+)\}\s*\{(\d+)\}"), r" \1/\2"),
    (re.compile(r"\\(?:d|t)?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}"), r"(\1)/(\2)"),
    (re.compile(r"\\(?:d|t)?frac\s*(\d)\s*(\d)"), r"\1/\2"),
    (
        re.compile(r"\\(?:text|mathrm|mathbf|textbf|operatorname|boxed|rm|bf)\s*\{([^{}]*)\}"),
        r"\1",
    ),
    (re.compile(r"\^\s*\{?\s*\\circ\s*\}?"), " "),
    (re.compile(r"\^\s*\{([^{}]*)\}"), r"^(\1)"),
    (re.compile(r"\\(?:cdot|times)\b|[\u00d7\u00b7\u22c5\u2219]"), "*"),
    (re.compile(r"\\pm\b"), "\u00b1"),
    (re.compile(r"\\leq?\b|\u2264"), "<="),
    (re.compile(r"\\geq?\b|\u2265"), ">="),
    (re.compile(r"\\neq?\b|!=|\u2260"), " neq "),
    (re.compile(r"\\(?:right|long)arrow\b|\\to\b|\u2192"), " to "),
    (re.compile(r"\\(?:wedge|land)\b|\u2227"), " land "),
    (re.compile(r"\\(?:vee|lor)\b|\u2228"), " lor "),
    (re.compile(r"\\l?not\b|\\neg\b|\u00ac"), " neg "),
    (re.compile(r"\\(?:left|right|,|;|!|:| )|(?<=\w)~(?=[\w\\])"), " "),
    (re.compile(r"\\%|\bper ?cent\b"), "%"),
)
#: Signs that have a name in LaTeX.
_NAMED = {
    "\u221a": " sqrt ",
    "\u221e": " infty ",
    "\u222a": " cup ",
    "\u2229": " cap ",
    "\u2208": " in ",
    "\u2209": " notin ",
    "\u2282": " subset ",
    "\u2286": " subseteq ",
    "\u2202": " partial ",
    "\u2207": " nabla ",
    "\u2248": " approx ",
    "\u2205": " emptyset ",
    "\u03c0": " pi ",
}
_NUMBER = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+")
_PIECE = re.compile(
    rf"{_NUMBER.pattern}|[^\W\d_]+|<=|>=|(?<=[\d)])!|[-+*/^<>=%:\u00b1|~\u2032\u2033()]|\S"
)
#: Interval or pair: its ends say whether they belong to it.
_ENDS = re.compile(r"[\s$\"'`*]*([\[(])[^\[\]()]*,[^\[\]()]*([\])])[\s$\"'`*.]*")


def same(one: str, other: str) -> bool:
    """Whether two short answers say the same: numbers by value, words in any case.

    Signs, decimal points, fraction bars, exponents, comparison and other mathematical signs,
    brackets that group, the ends of an interval and an exclamation mark behind a number decide;
    quotes, emphasis, other brackets, a full stop at the end and hyphens inside words do not.
    """
    a = _pieces(one)
    b = _pieces(other)
    if not a or not b:
        return False
    ends = _ENDS.fullmatch(_plain(one)), _ENDS.fullmatch(_plain(other))
    if ends[0] and ends[1] and ends[0].groups() != ends[1].groups():
        return False
    values = _value(a), _value(b)
    if None not in values:
        return values[0] == values[1]
    return a == b


def _plain(text: str) -> str:
    """An answer without LaTeX, wide and raised characters, in small letters."""
    text = _RAISED.sub(lambda run: "^" + run[0].translate(_SUPERSCRIPT), text)
    text = _VULGAR.sub(lambda sign: " " + unicodedata.normalize("NFKC", sign[0]), text)
    for pattern, plain in _LATEX:
        text = pattern.sub(plain, text)
    text = _SPACED.sub(lambda number: re.sub(r"\D", "", number[0]), text)
    text = unicodedata.normalize("NFKC", text).casefold().replace("\u2044", "/")
    for sign, name in _NAMED.items():
        text = text.replace(sign, name)
    return re.sub("[\u2212\u2010-\u2015]", "-", text)


def _pieces(text: str) -> list[str]:
    """Numbers, words and signs of an answer, each in one spelling."""
    text = _plain(text)
    text = re.sub(r"(?<=[^\W\d])-(?=[^\W\d])", " ", text)  # a hyphen inside a word
    text = re.sub(r"(\d)e([+-]?\d)", r"\1*10^\2", text)
    text = re.sub(r"(?<=\d)\s*x\s*(?=10\^)", "*", text)
    text = re.sub(r"(?<=[\w)])\*\*(?=[\d(-])", "^", text)
    text = _MIXED.sub(_improper, text)
    text = re.sub(r":\s*$|(?<![\d)])!", " ", text).translate(_BRACKETS)
    pieces = [
        _one_number(piece) for piece in _PIECE.findall(text.replace("**", " ")) if _decides(piece)
    ]
    while pieces and pieces[-1] == ":":
        pieces.pop()
    return _grouped(pieces)


_BRACKETS = str.maketrans("[]{}", "()()", "_")


def _decides(piece: str) -> bool:
    """Whether a piece says something: a number, a word, or a sign of mathematics."""
    known = len(piece) > 1 or piece.isalnum() or piece in "-+*/^<>=%:!|~\u2032\u2033()"
    return known or unicodedata.category(piece) == "Sm"


def _improper(mixed: re.Match[str]) -> str:
    whole, above, below = map(int, mixed.groups())
    return f"{whole * below + above}/{below}" if above < below else mixed[0]


def _grouped(pieces: Sequence[str]) -> list[str]:
    """The pieces without brackets that change nothing; one without a partner changes nothing."""
    dropped: set[int] = set()
    opened: list[int] = []
    for place, piece in enumerate(pieces):
        if piece == "(":
            opened.append(place)
        elif piece == ")":
            if not opened:
                dropped.add(place)
                continue
            begin = opened.pop()
            inside = [
                p for n, p in enumerate(pieces[begin + 1 : place], begin + 1) if n not in dropped
            ]
            before = pieces[begin - 1] if begin else ""
            after = pieces[place + 1] if place + 1 < len(pieces) else ""
            if not _binds(before, inside, after):
                dropped |= {begin, place}
    return [piece for n, piece in enumerate(pieces) if n not in dropped | set(opened)]


def _binds(before: str, inside: Sequence[str], after: str) -> bool:
    """Whether brackets around these pieces make another term of them."""
    signed = len(inside) == 2 and inside[0] in ("-", "+")
    if len(inside) < 2:
        return False
    if after in ("^", "!"):
        return True
    if signed:
        return False
    adds = any(piece in ("+", "-", "\u00b1") for piece in inside[1:])
    factor = before in ("-", "*") or _is_term(before) or after in ("*", "/") or _is_term(after)
    return before in ("/", "^") or (adds and factor)


def _is_term(piece: str) -> bool:
    return bool(piece) and (piece.isalnum() or piece[0].isdigit() or piece in "()")


def _one_number(piece: str) -> str:
    """A number without separators and without zeros that say nothing."""
    if not _NUMBER.fullmatch(piece):
        return piece
    whole, _, part = piece.replace(",", "").partition(".")
    part = part.rstrip("0")
    whole = whole.lstrip("0") or "0"
    return f"{whole}.{part}" if part else whole


def _value(pieces: Sequence[str]) -> Fraction | None:
    """The value of a signed number, a fraction, a percentage or a power of ten; else ``None``."""
    text = " ".join(pieces)  # apart: two numbers side by side are not one
    number = r"(?:[-+] )?\d+(?:\.\d+)?"
    if found := re.fullmatch(rf"({number})(?: / ((?:[-+] )?\d+(?:\.\d+)?))?( %)?", text):
        below = _fraction(found[2] or "1")
        if below == 0:
            return None
        return _fraction(found[1]) / below / (100 if found[3] else 1)
    if found := re.fullmatch(rf"(?:({number}) \* )?(?:([-+]) )?10 \^ ((?:[-+] )?\d{{1,4}})", text):
        sign = -1 if found[2] == "-" else 1
        power = int(found[3].replace(" ", ""))
        return sign * _fraction(found[1] or "1") * Fraction(10) ** power
    return None


def _fraction(text: str) -> Fraction:
    return Fraction(text.replace(" ", ""))


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
