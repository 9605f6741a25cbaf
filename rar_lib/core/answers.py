"""Short answers, compared by what they say: numbers by value, words in any case."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Sequence
from fractions import Fraction

_SUPERSCRIPT = str.maketrans(
    "\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u207a\u207b", "0123456789+-"
)
_RAISED = re.compile("[\u2070\u00b9\u00b2\u00b3\u2074-\u2079\u207a\u207b]+")
#: Fractions that are one character, a number of three groups with spaces, two and a half.
_VULGAR = re.compile("[\u00bc-\u00be\u2150-\u215e\u2189]")
_SPACED = re.compile(r"(?<![\d.,])\d{1,3}(?:[ \u00a0\u2009\u202f'\u2019_]\d{3})+(?![\d,])")
_MIXED = re.compile(r"(?<![\d./,])(\d{1,9})\s+(\d{1,9})\s*/\s*(\d{1,9})(?![\d./])")
#: Of two units that differ in the size of one letter the greater is named: 5 MW, 5 mW.
_MEGA = re.compile(r"(?<=\d)\s*M(?=(?:W|V|Hz|Pa|J|N|A|T|eV|bit|B)\b|[\s.]*$)")
_CURRENCY = re.compile("([\u00a3\u00a5\u20a0-\u20c0])\\s*(\\d[\\d.,]*)")
#: Brackets of a chemical formula, which multiply what is in them.
_GROUP = re.compile(r"(?<=[A-Za-z0-9])\(([A-Z][A-Za-z0-9]*)\)_?\{?([0-9\u2080-\u2089]+)\}?")
#: Tags of web pages: raised text keeps its meaning, others say nothing.
_RAISED_TAG = re.compile(r"<sup>([^<>]*)</sup>", re.IGNORECASE)
_TAG = re.compile(r"</?(?:sub|b|i|u|em|strong|code|span|p|br)\s*/?>", re.IGNORECASE)
#: The charge of an ion, raised or not: Ca^{2+}, Ca2+.
_CHARGE = re.compile(r"(?<=[a-z\d)\]}])\^\(?(\d?)([-+])\)?(?=$|[\s,;.)\]}])")
#: Marks of a derivative, a complement, minutes, the end of a strand; other apostrophes are quotes.
_PRIME = re.compile("(?<![^\\W_])(?<!['\u2019])([A-Za-z]|\\d+)(['\u2019]{1,2})(?![\\w'\u2019])")
_QUOTED = re.compile("\\s*(?:'([^']*)'|\u2019([^\u2019]*)\u2019)[\\s.]*")
_INCHES = re.compile(r'(?<=\d)"')
#: Thousands with points, at least two groups: one alone is a number with three decimals.
_POINTED = re.compile(r"(?<![\d.,])\d{1,3}(?:\.\d{3}){2,}(?![\d.])")
_INITIALS = re.compile(r"\b(?:[A-Za-z]\.){2,}")
_ARTICLE = re.compile(r"^\W*(?:[Tt]he|[Aa]n|a)\s+(?=[^\W\d]{3,})")
_WORDS = (
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
)
_NUMBER_WORD = re.compile(rf"\b(?:{'|'.join(_WORDS)})\b")
_BRACED = r"\s*\{((?:[^{}]|\{[^{}]*\})*)\}"
#: What LaTeX writes for signs and fractions, in turn.
_LATEX = (
    (re.compile(r"(?<=\d)\s+to\s+(?=\d)"), "-"),
    (re.compile(r"\\(?:displaystyle|limits|q?quad)\b"), " "),
    (re.compile(rf"\\(?:SI|qty){_BRACED}{_BRACED}"), r"\1 \2"),
    (re.compile(r"\\var(?=(?:epsilon|theta|phi|rho|sigma|pi|kappa)\b)"), r"\\"),
    (re.compile(r"\\varnothing\b"), "\u2205"),
    (re.compile(r"\\lt(?![A-Za-z])"), "<"),
    (re.compile(r"\\gt(?![A-Za-z])"), ">"),
    (re.compile(r"\\sim\b"), "~"),
    (re.compile(r"\\(?:Rightarrow|Longrightarrow|implies)\b"), "\u21d2"),
    (re.compile(r"\\(?:Leftrightarrow|Longleftrightarrow|iff)\b"), "\u21d4"),
    (re.compile(r"(?<!<)(?<!-)-{1,2}>|\u27f6"), " to "),
    (re.compile(r"(?<=\d)\s*\\(?:d|t)?frac\s*\{(\d+)\}\s*\{(\d+)\}"), r" \1/\2"),
    (re.compile(rf"\\(?:d|t)?frac{_BRACED}{_BRACED}"), r"(\1)/(\2)"),
    (re.compile(r"\\(?:d|t)?frac\s*(\d)\s*(\d)"), r"\1/\2"),
    (
        re.compile(r"\\(?:text|mathrm|mathbf|textbf|operatorname|boxed|ce|rm|bf)\s*\{([^{}]*)\}"),
        r"\1",
    ),
    (re.compile(r"\^\s*\{?\s*\\circ\s*\}?"), " "),
    (re.compile(r"\^\s*\{([^{}]*)\}"), r"^(\1)"),
    (re.compile(r"\\(?:cdot|times)\b|[\u00d7\u00b7\u22c5\u2219]"), "*"),
    (re.compile(r"\\pm\b"), "\u00b1"),
    (re.compile(r"\\leq?(?:slant)?(?![A-Za-z])|[\u2264\u2a7d]"), "<="),
    (re.compile(r"\\geq?(?:slant)?(?![A-Za-z])|[\u2265\u2a7e]"), ">="),
    (re.compile(r"\\neq?\b|!=|\u2260"), " neq "),
    (re.compile(r"\\(?:right|long)arrow\b|\\to\b|\u2192"), " to "),
    (re.compile(r"\\(?:wedge|land)\b|\u2227"), " land "),
    (re.compile(r"\\(?:vee|lor)\b|\u2228"), " lor "),
    (re.compile(r"\\l?not\b|\\neg\b|\u00ac"), " neg "),
    (re.compile(r"\\(?:left|right|,|;|!|:| )|(?<=\w)~(?=[\w\\])"), " "),
    (re.compile(r"\\%|\bper ?cent\b"), "%"),
    (re.compile(r"\s*\u2030"), "/1000"),
    (re.compile(r"\bminus\s+(?=\d)|[\u2796]"), "-"),
    (re.compile(r"(?<=[A-Za-z])[#\u266f]"), " sharp "),
    (re.compile(r"(?<=[A-Za-z])\u266d"), " flat "),
    (re.compile(r"\s&\s"), " and "),
    # Bits are no bytes, and a concentration is no length.
    (re.compile(r"(?<=\d)\s*([KMGT])b(?![A-Za-z])"), r" \1bit"),
    (re.compile(r"(?<=\d)\s*([munpf\u00b5\u03bc])M(?![A-Za-z])"), r" \1 molar"),
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
    "\u230a": " lfloor ",
    "\u230b": " rfloor ",
    "\u2308": " lceil ",
    "\u2309": " rceil ",
    "\u27e8": " langle ",
    "\u27e9": " rangle ",
    "\u2016": " norm ",
} | {
    chr(code): f" {unicodedata.name(chr(code)).split()[-1].lower()} "
    for code in range(0x03B1, 0x03CA)
    if code != 0x03C2  # a sigma at the end of a word is small sigma once the case is folded
}
_NUMBER = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+")
_PIECE = re.compile(
    rf"{_NUMBER.pattern}|[^\W\d_]+|<=|>=|(?<=[\d)])!|(?<=\b[kmnx])!|[-+*/^<>=%:\u00b1|~\u2032\u2033()]|\S"
)
_LONGEST = 4_000  # characters of an answer that is read as one
#: Interval or pair: its ends say whether they belong to it.
_ENDS = re.compile(r"[\s$\"'`*]*\\?([\[(\]{])[^\[\](){}]*[,;][^\[\](){}]*([\])\[}])[\s$\"'`*.]*")


def same(one: str, other: str) -> bool:
    """Whether two short answers say the same: numbers by value, words in any case.

    Signs, decimal points, fraction bars, exponents, comparison and other mathematical signs,
    brackets that group, the ends of an interval and an exclamation mark behind a number decide;
    quotes, emphasis, other brackets, a full stop at the end and hyphens inside words do not. What
    is longer than 4,000 characters is no short answer: it has to be the same text.
    """
    if max(len(one), len(other)) > _LONGEST:
        return one.split() == other.split() != []
    ours = _pieces(one)
    theirs = _pieces(other)
    if not ours or not theirs:
        return False
    ends = _ends(one), _ends(other)
    if None not in ends and ends[0] != ends[1]:
        return False
    values = _value(ours), _value(theirs)
    if None not in values:
        return values[0] == values[1]
    if ours == theirs:
        return True
    measure = _measure(ours)
    return measure is not None and measure == _measure(theirs)


def _ends(text: str) -> tuple[str, str] | None:
    """The brackets around an interval, a pair or a set; ``None`` where there are none."""
    found = _ENDS.fullmatch(_plain(text))
    if found is None:
        return None
    begin, end = found.groups()
    return ("(" if begin == "]" else begin), (")" if end == "[" else end)


def _measure(pieces: Sequence[str]) -> tuple[Fraction, list[str]] | None:
    """A number that may be written in several ways, and the words behind it: half a cup."""
    for place, piece in enumerate(pieces):
        if piece[0].isalpha():
            value = _value(pieces[:place])
            return None if value is None else (value, list(pieces[place:]))
    return None


def _without_markup(text: str) -> str:
    """An answer without tags, entities, quotes around it and an article before it."""
    text = _TAG.sub("", _RAISED_TAG.sub(r"^(\1)", html.unescape(text)))
    if quoted := _QUOTED.fullmatch(text):
        text = quoted[1] or quoted[2] or ""
    text = _PRIME.sub(lambda found: found[1] + ("\u2032" if len(found[2]) == 1 else "\u2033"), text)
    if text.count('"') == 1:
        text = _INCHES.sub("\u2033", text)
    text = _INITIALS.sub(lambda letters: letters[0].replace(".", ""), text)
    return _POINTED.sub(lambda number: number[0].replace(".", ""), _ARTICLE.sub("", text))


def _plain(text: str) -> str:
    """An answer without LaTeX, wide and raised characters, in small letters."""
    text = _without_markup(text)
    text = _RAISED.sub(lambda run: "^" + run[0].translate(_SUPERSCRIPT), text)
    text = _VULGAR.sub(lambda sign: " " + unicodedata.normalize("NFKC", sign[0]), text)
    for pattern, plain in _LATEX:
        text = pattern.sub(plain, text)
    text = _GROUP.sub(r" group \1 times \2 ", text)
    text = _CURRENCY.sub(r"\2 \1", _MEGA.sub(" mega ", text))
    text = _SPACED.sub(lambda number: re.sub(r"\D", "", number[0]), text)
    text = unicodedata.normalize("NFKC", text).casefold().replace("\u2044", "/")
    text = re.sub("(?<=[\u03b1-\u03c9])-(?=[^\\W\\d]{3})", " ", text)  # a hyphen of a name
    for sign, name in _NAMED.items():
        text = text.replace(sign, name)
    text = re.sub("[\u2212\u2010-\u2015]", "-", text)
    text = _NUMBER_WORD.sub(lambda word: str(_WORDS.index(word[0])), text)
    return _CHARGE.sub(r" \1\2", text)


def _pieces(text: str) -> list[str]:
    """Numbers, words and signs of an answer, each in one spelling."""
    text = _plain(text)
    text = re.sub(r"(?<=[^\W\d])-(?=[^\W\d])", " ", text)  # a hyphen inside a word
    text = re.sub(r"(?<=[^\W\d]{2})-(?=\d)", " ", text)  # of a name: IL-6, and not n-2
    text = re.sub(r"(\d)e([+-]?\d)", r"\1*10^\2", text)
    text = re.sub(r"(?<=\d)\s*x\s*(?=10\^)", "*", text)
    text = re.sub(r"(?<=[\w)])\*\*(?=[\d(-])", "^", text)
    text = _MIXED.sub(_improper, text)
    text = re.sub(r":\s*$|(?<![\d)])(?<!\b[kmnx])!", " ", text).translate(_BRACKETS)
    pieces = [
        _one_number(piece) for piece in _PIECE.findall(text.replace("**", " ")) if _decides(piece)
    ]
    while pieces and pieces[-1] == ":":
        pieces.pop()
    return _grouped(_without_times(pieces))


def _without_times(pieces: Sequence[str]) -> list[str]:
    """The pieces without the sign between a number and a letter: 2*x is 2x."""
    last = len(pieces) - 1
    return [
        piece
        for n, piece in enumerate(pieces)
        if piece != "*"
        or not 0 < n < last
        or not (pieces[n - 1][0].isdigit() and pieces[n + 1][0].isalpha())
    ]


_BRACKETS = str.maketrans("[]{}", "()()", "_")


def _decides(piece: str) -> bool:
    """Whether a piece says something: a number, a word, or a sign of mathematics."""
    known = len(piece) > 1 or piece.isalnum() or piece in "-+*/^<>=%:!|~\u2032\u2033()"
    if known or piece == "$":
        return known
    # Vowels of many scripts, bars over letters, and symbols are characters of these kinds.
    return unicodedata.category(piece) in ("Sm", "Sc", "Mn", "Mc")


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
                piece
                for n, piece in enumerate(pieces[begin + 1 : place], begin + 1)
                if n not in dropped
            ]
            before = pieces[begin - 1] if begin else ""
            after = pieces[place + 1] if place + 1 < len(pieces) else ""
            if not _binds(before, inside, after):
                dropped |= {begin, place}
    dropped.update(opened)
    return [piece for n, piece in enumerate(pieces) if n not in dropped]


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
