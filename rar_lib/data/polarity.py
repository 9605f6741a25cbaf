"""Which way a pitfall is worded: does meeting it speak for the response, or against it?

The released sets word pitfalls both ways under the same negative weights (paper v2, footnote 3
against appendix A.9), so the sign says nothing and the wording decides. The procedure reads
the head of the sentence, not its topic:

1. The category prefix and the subject ("The response ...") are dropped.
2. A norm ("should ...", "must not ...") says what a response ought to do: good.
3. The leading verb phrase is looked up in ``WORDS``. "Avoids X" is good, "Omits X" is bad; a
   negation turns a fault or a claim into good ("Does not confuse X with Y") and the absence
   of content into bad ("Does not mention X").
4. Where the verb alone does not tell (most of all "Does not recommend X", which is an omission
   if X was right and restraint if X was wrong), the object may ("delaying ...", "seeking ...").
5. A later clause that reads the other way, or a positive weight on a failure, is a conflict.

What is still open is ``None``: ambiguous, to be counted and reported, never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from rar_lib.core.text import (
    ADVERB,
    MODAL,
    NEGATION,
    NORM,
    NOTHING,
    PREFIX,
    SUBJECT,
    plain_verb,
)
from rar_lib.core.types import Polarity

#: The word lists, as stems: "omi" plus an ending of ``_ENDING`` is omits, omitting, ...
WORDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        # Keeping away from a fault.
        "avoid": (
            "avoid",
            "refrain",
            "abstain",
            "steer",
            "guard",
            "caution",
            "warn",
            "prevent",
            "ensur",
            "verif",
        ),
        # A fault by itself, whatever follows; so is any verb that starts with mis-.
        "fail": (
            "fail",
            "omit",
            "omiss",
            "neglect",
            "overlook",
            "ignor",
            "lack",
            "forget",
            "miss",
            "skip",
            "leav",
            "disregard",
            "dismiss",
            "downplay",
            "minimiz",
            "confus",
            "conflat",
            "contradict",
            "exaggerat",
            "trivializ",
            "inability",
            "oversimplif",
            "overgeneraliz",
            "overcomplicat",
            "overemphasiz",
            "overstat",
            "overestimat",
            "absence",
            "underestimat",
            "underemphasiz",
            "understat",
            "undermin",
            "fabricat",
            "invent",
            "speculat",
            "hallucinat",
        ),
        # Content that a response can hold; its absence is an omission.
        "tell": (
            "mention",
            "includ",
            "explain",
            "address",
            "discuss",
            "describ",
            "identif",
            "acknowledg",
            "recogniz",
            "recognis",
            "consider",
            "provid",
            "stat",
            "specif",
            "clarif",
            "note",
            "noting",
            "highlight",
            "emphasiz",
            "stress",
            "outlin",
            "account",
            "differentiat",
            "distinguish",
            "defin",
            "calculat",
            "comput",
            "conclud",
            "show",
            "list",
            "cit",
            "demonstrat",
            "justif",
            "giv",
            "referenc",
            "detail",
            "indicat",
            "report",
            "answer",
            "cover",
            "convert",
            "compar",
            "use",
            "using",
            "utiliz",
            "employ",
            "follow",
            "maintain",
            "connect",
            "link",
            "relat",
            "interpret",
            "present",
            "offer",
            "appl",
            "deriv",
            "evaluat",
            "assess",
            "elaborat",
            "illustrat",
            "support",
            "confirm",
            "check",
            "incorporat",
        ),
        # Advice: right or wrong by its object.
        "advise": (
            "recommend",
            "suggest",
            "advis",
            "propos",
            "prescrib",
            "advocat",
            "encourag",
            "endors",
            "promot",
            "urg",
        ),
        # Commitments that a pitfall lists because they are wrong.
        "claim": (
            "claim",
            "imply",
            "impl",
            "assert",
            "assum",
            "attribut",
            "introduc",
            "rel",
            "insist",
            "presum",
            "equat",
        ),
    }
)
_ENDING = r"(?:e|es|s|d|ed|ing|y|ies|ied|ying|t?ted|t?ting|ping|ure|ion|ions|ation)?"
_CLASS = {name: re.compile(rf"(?:{'|'.join(stems)}){_ENDING}") for name, stems in WORDS.items()}
_MIS = re.compile(r"mis(?!s)[a-z]{4,}")
_PENALTY = re.compile(
    r"\b(?:penali[sz]\w+|marked down|los(?:e|es|ing) (?:marks?|points?|credit))\b"
)
_ERROR = re.compile(
    r"(?:incorrect|erroneous|wrong|mistaken|false|inaccurate|inappropriate|improper|needless"
    r"|unnecessari|unnecessary|excessive|over|premature|blind|too|vague)(?:ly)?\b"
)
_ARTICLE = r"(?:(?:any|the|a|an|other|of|on|too|many)\s+)*"
#: Objects of a verb that a right answer has no place for ...
_NOISE = re.compile(
    _ARTICLE + r"(?:unnecessar|irrelevant|unrelated|extraneous|superfluous|excessive|misleading"
    r"|unsupported|unfounded|fabricated|speculative|overly)"
)
#: ... and those that it may have to name in order to refute or to warn of them.
_HARM = re.compile(
    _ARTICLE + r"(?:incorrect|wrong|inaccurate|false|contraindicated|inappropriate|harmful"
    r"|unsafe|dangerous|outdated|unproven|ignoring|skipping|neglecting)"
)
_WRONG = re.compile(_ARTICLE + r"(?:incorrect|wrong|inaccurate|false|outdated)")
#: What leaves something out, which is good where that has no place in an answer.
_LEAVES_OUT = re.compile(r"(?:omi|ignor|skip|leav|disregard|dismiss|exclud)\w*")
#: What nobody may keep away from, and questions that may have been due.
_DUE = re.compile(
    _ARTICLE + r"(?:necessary|essential|required|crucial|needed|indicated|life-?saving)\b"
)
_ASKING = re.compile(_ARTICLE + r"(?:asking|answering|important|key|main|central|referral|escalat)")
_RIGHTLY = re.compile(r"(?:correct|right|appropriate|proper|justifiab|sensib|wise)(?:l?y)\b")
#: Advice that is right whatever it is about.
_CAUTION = re.compile(
    r"(?:(?:the|more|great|due|extra|appropriate)\s+)*(?:caution|care\b(?! of)|prudence|vigilance"
    r"|restraint|moderation|safety)"
)
_COMMITS = re.compile(
    r"(?:provid|stat|giv|present|offer|us|includ|conclud|cit|calculat|draw|mak|contain)\w{1,3}\b"
)
_NEEDED = re.compile(
    r"(?:(?:the|any|a|an|immediate|urgent|prompt|timely|early|emergency)\s+)*(?:seeking|consult|follow-?\s?up|referral|necessary|appropriate"
    r"|importance|need (?:for|to))"
)
#: ... and what a pitfall may list because it was not needed, or demand because it was.
_CARE = re.compile(
    r"(?:(?:the|an?|any|immediate|urgent|prompt|careful|close|regular|further|emergency|medical"
    r"|hospital|professional|specialist|in-person|safe)\s+)*(?:see(?:ing)? an?\b|calling|going to"
    r"|attention|care\b|evaluation|assessment|examination|monitoring|observation|admission"
    r"|services|help\b|rest\b|hydration|storage)"
)
_LATER = re.compile(
    r"\b(?:and|but|yet|while|although)\s+(?:also |instead |then )?(?=(?:does|fails|omits|ignores"
    r"|overlooks|neglects|avoids|refrains|recommends|claims|confuses|lacks)\b)"
)
_CLAIMED = re.compile(r"(?:state|conclude|indicate|report)s? that\b")
_TITLE_AVOIDS = re.compile(r"(?:avoid|refrain|prevent)")


class Reading(NamedTuple):
    """A decision and the rule that made it; ``polarity is None`` means ambiguous."""

    polarity: Polarity | None
    rule: str


def split_prefix(description: str) -> tuple[str | None, str]:
    """The word before "Criteria:" (or before the colon) as written, and the rest.

    Without such a prefix the first is ``None`` and the second the whole text.
    """
    match = PREFIX.match(description)
    if match is None:
        return None, description.strip()
    return match.group(1) or match.group(2), description[match.end() :].strip()


def read(description: str, points: float | None, title: str = "") -> Reading:
    """Read how a pitfall is worded.

    Args:
        description: its sentence, with or without "Pitfall Criteria:".
        points: its published weight. Negative or ``None`` says nothing; a positive weight on a
            failure is a contradiction, hence ambiguous.
        title: its published title. It never overrules the sentence, which is all that the
            judge sees: "Avoids ..." settles an open negation and contests an omission.
    """
    sentence = " ".join(split_prefix(description)[1].lower().split()).lstrip("\"'“-–• ")
    reading = _head(sentence)
    later = _LATER.search(sentence)
    if reading.polarity is not None and reading.rule != "norm" and later is not None:
        tail = _head(sentence[later.end() :])
        if tail.polarity not in (None, reading.polarity):
            return Reading(None, f"conflict: {reading.rule}, then {tail.rule}")
    reading = _with_title(reading, title.lower().strip())
    if reading.polarity is Polarity.BAD and points is not None and points > 0:
        return Reading(None, f"conflict: {reading.rule}, with the weight {points:+g}")
    return reading


def _with_title(reading: Reading, title: str) -> Reading:
    head = title.split()[0] if title else ""
    if reading.rule == "omission" and _TITLE_AVOIDS.match(title):
        return Reading(None, "conflict: omission under a title of avoidance")
    if reading.rule.startswith("negated ") and reading.polarity is None:
        if _TITLE_AVOIDS.match(title):
            return Reading(Polarity.GOOD, f"{reading.rule}, settled by the title")
        if _CLASS["fail"].fullmatch(head):
            return Reading(Polarity.BAD, f"{reading.rule}, settled by the title")
    return reading


def _head(sentence: str) -> Reading:
    text = SUBJECT.sub("", sentence, count=1)
    if NORM.match(text):
        return Reading(None, "penalty") if _PENALTY.search(text) else Reading(Polarity.GOOD, "norm")
    text = MODAL.sub("", text)
    if (negation := NEGATION.match(text)) is None:
        return _affirmed(text)
    if negation["only"]:
        return Reading(None, "not only")
    return _negated(text[negation.end() :].strip(), imperative=bool(negation["imperative"]))


def _affirmed(text: str) -> Reading:
    if _ERROR.match(text):
        return Reading(Polarity.BAD, "error")
    kind, rest = _verb(text)
    if kind == "avoid":
        return _avoiding(text, rest)
    if kind == "fail":
        return _failing(text, rest)
    if kind == "advise":
        return _advising(rest)
    if kind == "claim":
        return Reading(Polarity.BAD, "claim")
    predicate = re.match(r"(?:is|are|contains)\b", text)
    if predicate:
        rest = text[predicate.end() :].strip()
    slip = _ERROR.match(rest) and (predicate or (kind == "tell" and ADVERB.match(rest)))
    noise = _NOISE.match(rest) and (predicate or kind == "tell")
    if slip or noise or (_COMMITS.match(text) and _WRONG.match(rest)):
        return Reading(Polarity.BAD, "flawed content")
    return Reading(None, "no known wording")


def _failing(text: str, rest: str) -> Reading:
    left = re.sub(r"^out\s+", "", rest)
    verb = plain_verb(text)
    if _RIGHTLY.match(text):
        return Reading(None, "a failure that is called right")
    if re.match(r"to not\b", rest):
        return Reading(None, "failure to withhold")
    if NOTHING.match(left):
        whole = re.match(r"(?:omi|miss|overlook|neglect|skip|forg|lack)", verb)
        return Reading(Polarity.GOOD if whole else None, "nothing left out")
    if re.match(f"{_LEAVES_OUT.pattern}|lack|minimi", verb) and _NOISE.match(left):
        return Reading(Polarity.GOOD, "noise left out")
    if _LEAVES_OUT.match(verb) and _WRONG.match(left):
        return Reading(None, "something wrong left out")
    return Reading(Polarity.BAD, "failure")


def _advising(rest: str) -> Reading:
    if _CAUTION.match(rest):
        return Reading(Polarity.GOOD, "advice of caution")
    if _NEEDED.match(rest) or _CARE.match(rest):
        return Reading(None, "advice that may be needed")
    if re.match(r"(?:careful|cautious)", rest):
        return Reading(None, "advice that may be needed")
    if re.match(r"(?:against|avoiding|not|no)\b", rest):
        return Reading(None, "advice against something")
    return Reading(Polarity.BAD, "advise")


def _avoiding(text: str, rest: str) -> Reading:
    rest = re.sub(r"^(?:from|against|clear of)\s+", "", rest)
    kind, after = _verb(rest)
    if re.match(r"(?:warn|caution)", text):  # a warning may itself be the mistake
        good = kind in ("fail", "claim")
        return Reading(Polarity.GOOD if good else None, "warning against " + (kind or "something"))
    if re.match(r"(?:warn|caution|ensur|verif)", plain_verb(rest)):
        return Reading(None, "avoids a precaution: omission or restraint")
    if kind == "tell" and not (_NOISE.match(after) or _HARM.match(after)):
        return Reading(None, "avoids telling: evasion or restraint")
    if kind == "advise" and _NEEDED.match(after):
        return Reading(Polarity.BAD, "omission")
    if kind == "advise" and not (_NOISE.match(after) or _HARM.match(after)):
        return Reading(None, "avoids advice: omission or restraint")
    return _kept_away(text, rest)


def _kept_away(text: str, rest: str) -> Reading:
    """What is avoided may have been due: care, a question, an examination."""
    if not re.match(r"(?:avoid|refrain|abstain)", plain_verb(text)):
        return Reading(Polarity.GOOD, "avoidance")
    if _DUE.match(rest):
        return Reading(Polarity.BAD, "omission")
    named = re.match(r"calling\b(?! (?:\d|an ambulance|emergency|for help))", rest)  # gives a name
    if not named and (_NEEDED.match(rest) or _CARE.match(rest) or _ASKING.match(rest)):
        return Reading(None, "avoids what may be needed")
    return Reading(Polarity.GOOD, "avoidance")


def _negated(text: str, *, imperative: bool) -> Reading:
    kind, rest = _verb(text)
    second = re.match(r"(?:or|and|nor)\s+(.*)", rest)
    other = _verb(second.group(1))[0] if second else None
    if "tell" in (kind, other) and other is not None and kind != other:
        return Reading(None, "negated advice and content")
    if kind == "avoid":
        return Reading(Polarity.BAD, "failure")
    left = re.sub(r"^out\s+", "", rest)
    if kind == "fail" and _LEAVES_OUT.match(plain_verb(text)) and _NOISE.match(left):
        return Reading(Polarity.BAD, "noise kept")
    if kind in ("fail", "claim") or _ERROR.match(text):
        return Reading(Polarity.GOOD, "negated fault")
    if kind == "advise":
        return _advice_withheld(rest)
    if kind == "tell":
        return _content_withheld(text, rest, imperative=imperative)
    return Reading(None, "no known wording")


def _advice_withheld(rest: str) -> Reading:
    if _NOISE.match(rest) or _HARM.match(rest):
        return Reading(Polarity.GOOD, "harmful advice withheld")
    if _NEEDED.match(rest):
        return Reading(Polarity.BAD, "omission")
    return Reading(None, "negated advice")


def _content_withheld(text: str, rest: str, *, imperative: bool) -> Reading:
    if _NOISE.match(rest):
        return Reading(Polarity.GOOD, "flawed content withheld")
    if _HARM.match(rest):
        return Reading(None, "negated content on something wrong")
    # "Mention that" takes its clause for true; "state that" holds for false ones as well.
    if _CLAIMED.match(text):
        return Reading(None, "negated statement")
    # "Do not mention X" is an instruction; "Does not mention X" reports an omission.
    return Reading(None, "instruction") if imperative else Reading(Polarity.BAD, "omission")


def _verb(text: str) -> tuple[str | None, str]:
    """Class of the first word that is no plain adverb, and what follows it."""
    while (adverb := ADVERB.match(text)) and not _ERROR.match(text):
        if _CLASS["claim"].fullmatch(adverb.group()):  # "imply" and "rely" are no adverbs
            break
        text = text[adverb.end() :].strip()
    word, _, rest = text.partition(" ")
    if _MIS.fullmatch(word := word.strip(".,;:")):
        return "fail", rest
    return next((name for name, stems in _CLASS.items() if stems.fullmatch(word)), None), rest
