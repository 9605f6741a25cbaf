"""Text that is safe to show, to compare, to count.

Model text is hostile until proven otherwise: :func:`visible` strips invisible characters and
breaks template tokens, :func:`fence` keeps it between back-ticks that it cannot close.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

_KEPT_CONTROLS = {"\n", "\t"}
#: What ends a line or a page, or parts two words, and is none of those.
_BREAKS = re.compile("\r\n|[\r\x0b\x0c\x1c-\x1f\x85]")
_JOINERS = {"\u200c", "\u200d"}
#: Letters and symbols that show nothing: Hangul's fillers, the empty Braille cell.
_FILLERS = {"\u115f", "\u1160", "\u3164", "\uffa0", "\u2800"}
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
    of programs. What ends a line or a page becomes a line end. Idempotent. A token such as
    ``<|im_end|>`` would let a response end its own chat turn: a space behind its first character
    takes that from it.
    """
    text = with_line_ends(text)
    kept = (
        character
        for n, character in enumerate(text)
        if _is_seen(character) or _joins(text, n) or _parts(text, n)
    )
    return _TEMPLATE.sub(lambda first: first[0] + " ", "".join(kept))


def with_line_ends(text: str) -> str:
    """Text in which whatever ends a line or a page is ``\\n``.

    Taken out as the control characters that they are, they would glue words and numbers together.
    """
    return _BREAKS.sub("\n", text)


def is_blank(text: str) -> bool:
    """Whether a text has no character that a reader would see.

    Marks that combine with a letter are seen with one only; fillers and the Braille cell without a
    dot are white space by another name.
    """
    shown = (
        character
        for character in visible(text)
        if character not in _FILLERS and not character.isspace()
    )
    return all(unicodedata.category(character)[0] == "M" for character in shown)


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
    before = text[place - 1]
    after = text[place + 1 : place + 2]
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
            of models that have those for thoughts and answer. Brackets are a tag around ``THINK``
            in capitals alone: ``[Reasoning]`` is a heading, behind which the answer goes on.
    """
    start, end = answer_span(text, tags)
    return text[start:end]


def answer_span(text: str, tags: Sequence[str] = THOUGHTS) -> tuple[int, int]:
    """Where in a text :func:`without_thoughts` finds the answer: from the first to before the last.

    A thought that was begun behind the answer is not part of it.
    """
    if not tags:
        return 0, len(text)
    opens, closes = _tags(tuple(tags))
    start = max((tag.end() for tag in closes.finditer(text)), default=0)
    answer = text[start:]  # cut, so that its beginning is the head of a line
    begun = opens.search(answer)
    return start, start + len(answer[: begun.start()].rstrip() if begun else answer)


@lru_cache(maxsize=16)
def _tags(names: tuple[str, ...]) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Patterns of a tag that opens a thought, at the head of a line, and of one that closes it."""
    name = f"(?:{'|'.join(map(re.escape, names))})"
    brackets = [(r"(?-i:\[THINK\])", r"(?-i:\[/THINK\])")] if "think" in names else []
    forms = (
        (rf"<(?:[a-z]{{1,8}}:)?{name}\s*>", rf"</(?:[a-z]{{1,8}}:)?{name}\s*>"),
        (rf"\u25c1{name}\u25b7", rf"\u25c1/{name}\u25b7"),
        (rf"<\|(?:begin_of_)?{name}\|>", rf"<\|(?:end_of_|/){name}\|>"),
        (r"<\|channel\|>(?:analysis|commentary)\b", r"<\|channel\|>final\s*<\|message\|>"),
        (r"(?-i:analysis(?=[A-Z]))", r"(?-i:assistantfinal)"),  # the same without its tokens
        (r"<\|channel>thought\b", r"<channel\|>"),
        (r"<unused94>thought\b", r"<unused95>"),
        *brackets,
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


#: Words of a rubric's own language: they say nothing about the topic.
_RUBRIC_WORDS = frozenset(
    {
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
    }
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
    ends = (end.start() + 1 for end in _SENTENCE_END.finditer(text.strip()))
    return 1 + sum(not _ABBREVIATION.search(text.strip()[:end]) for end in ends)


#: How the sentence of a criterion begins: with its category, whom it is about, what ought to be,
PREFIX = re.compile(
    r"^\W*(?:([a-z]+)\s+criteri(?:a|on)|(essential|important|optional|pitfall)s?)"
    r"\W*?[:\-–—][\s*_]*",
    re.I,
)
SUBJECT = re.compile(
    r"^(?:(?:the|a|an|this|any|your)\s+)?(?:final\s+)?(?:response|answer|explanation|solution"
    r"|discussion|analysis|derivation|student|author|model|assistant|text|it)\s+(?=[a-z])"
)
NORM = re.compile(
    r"(?:should|must|shall|ought to|needs? to|has to|is expected to"
    r"|is (?:important|essential|crucial|necessary|best) (?:not )?(?:to|that))\b"
)
#: ... what may be, what is denied, how it is done.
MODAL = re.compile(r"^(?:may|might|could|would|will|can)\s+")
NEGATION = re.compile(
    r"(?P<only>(?:does|do|did) not (?:only|just|merely)\b)"
    r"|(?P<imperative>do not|don['’]t)\b"
    r"|(?:does not|doesn['’]t|did not|didn['’]t|never|cannot|not)\b"
)
ADVERB = re.compile(r"(?:\w+ly|also|even|just|ever|either|both|instead|then)\b")
NOTHING = re.compile(r"(?:no|nothing|none)\b")
#: The parts of a failure, of which it takes each.
_PARTS = re.compile(r"[,;]?\s+(?:and|but|yet|while|although)\s+(?:(?:also|instead|then)\s+)?")
#: Of what stands behind "and" that which somebody does: nouns and infinitives go on with the rest.
_DONE = re.compile(
    r"(?:recommends|suggests|advises|claims|states|says|asserts|implies|insists|assumes|relies"
    r"|attributes|confuses|misses|lacks|omits|ignores|overlooks|neglects|fails|avoids|refrains"
    r"|gives|provides|uses|explains|describes|encourages|dismisses|downplays|minimi[sz]es)\b"
)
#: What a response does by saying nothing ...
_ABSENT = re.compile(
    r"(?:omi(?:t|ss)\w*|neglect\w*|overlook\w*|ignor\w*|lack\w*|forg[eo]t\w*|miss(?:es|ed|ing)?"
    r"|skip\w*|disregard\w*|absence|withh[oe]ld\w*|(?:leav\w*|left) out|fail\w*|inability"
    r"|avoid\w*|refrain\w*|abstain\w*|steer\w* clear|silent)\b"
)
#: ... and what it says none of.
_SAYS = re.compile(
    r"(?:mention|giv|provid|offer|contain|includ|stat|recommend|suggest|advis|explain|mak|show|nam"
    r"|say|ha)\w{1,3}\s+"
)
_FAILS_TO = re.compile(r"(?:fail\w*|inability|neglect\w*|forg[eo]t\w*|omit\w*)\s+to\s+")


def plain_verb(text: str) -> str:
    """The text from its first word on that is no adverb."""
    while adverb := ADVERB.match(text):
        text = text[adverb.end() :].strip()
    return text


def names_omission(failure: str) -> bool:
    """Whether a failure is one that a response commits by saying nothing.

    "Does not mention X", "Fails to warn of X", "Omits X", "Provides no X" are; "Confuses X with Y",
    "Recommends X", "Fails to avoid X" take words. A failure of several parts is committed by
    silence if each of them is.

    Args:
        failure: the sentence of a criterion that is worded as something bad. That it is bad settles
            what the wording may leave open: "Does not recommend surgery" is then no restraint.
    """
    sentence = " ".join(PREFIX.sub("", failure).lower().split()).lstrip("\"'“-–• ")
    first, *later = _PARTS.split(sentence)
    head = MODAL.sub("", SUBJECT.sub("", first, count=1))
    done = [part for part in later if NEGATION.match(part) or _DONE.match(part)]
    return not NORM.match(head) and all(_is_silent(part) for part in [head, *done])


def _is_silent(part: str) -> bool:
    part = re.sub(r"^(?:is|are)\s+", "", part)
    if negation := NEGATION.match(part):
        plain = not (negation["only"] or negation["imperative"])
        return plain and not _is_withheld(part[negation.end() :].strip())
    verb = plain_verb(part)
    if failed := _FAILS_TO.match(verb):
        return not _is_withheld(verb[failed.end() :])
    if absent := _ABSENT.match(verb):
        return not NOTHING.match(verb[absent.end() :].strip())
    said = _SAYS.match(verb)
    return NOTHING.match(verb[said.end() :] if said else part) is not None


def _is_withheld(act: str) -> bool:
    """Whether saying nothing does it: to avoid, to leave out, not to say."""
    return bool(_ABSENT.match(plain_verb(act)) or NEGATION.match(act))
