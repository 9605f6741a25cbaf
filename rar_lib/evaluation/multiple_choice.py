r"""Multiple choice by the paper's protocol (v2, sections 4.5, A.4): ask, read, count.

    questions = question_sets("mini", limit=24)["medqa"]
    answers = ask(policy, questions, runs=2, max_tokens=96, kept=folder / "medqa-base.json")
    found = outcomes(answers)
    print(accuracy(found), unreadable(found), chance(questions))

Every run shuffles the options of every question anew, the policy answers greedily, and the
letter in the last ``\boxed{}`` is its answer. Where there is no box the paper asks GPT-4o; here
the last line may give the letter, and every answer says which way it was read. A reply without a
readable letter counts as wrong and is counted beside it. Runs of one question hang together:
intervals are over questions.

A small policy that never names a letter is read without one (:func:`by_likelihood`):

    found = by_likelihood(policy.log_likelihoods, questions)
    print(accuracy(found), chance(questions))
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Literal, NamedTuple, Protocol

from rar_lib.core.files import atomic_write, digest
from rar_lib.core.prompts import LETTERS, fill, in_order, policy_messages, shuffled
from rar_lib.core.stats import Interval, cluster_share, scored
from rar_lib.core.text import normalise, visible, without_thoughts
from rar_lib.core.types import MultipleChoice, Task
from rar_lib.data.choices import load_choices

_COMMAND = re.compile(r"\\(?:text|textbf|textit|textrm|texttt|textsf|mathrm|mathbf|bf|rm)\b")
_SPACING = re.compile(r"\\[,;:!() ]|[${}*_`]|\\\[|\\\]|~")
#: Words that lead to a conclusion; a condition or a doubt is none of them.
_SO = (
    r"(?:(?:so|thus|therefore|hence|overall|finally|consequently|accordingly"
    r"|in (?:conclusion|summary)|to conclude|based on (?:this|the above))\b,?\s+)?"
    r"(?:(?:i (?:think|believe)|we conclude)\s+(?:that\s+)?)?"
)
_NAMED = (
    rf"{_SO}(?:the\s+|my\s+)?(?:final\s+|correct\s+|right\s+|best\s+|selected\s+|chosen\s+)*"
    r"(?:answer|option|choice|ans\b\.?|i(?:'d|'ll| would| will)? (?:choose|go with"
    r"|select|pick|answer)\b)"
    r"(?:\s+(?:is|(?:would|should|must)\s+be)(?:\s+(?:most\s+)?(?:likely|probably|clearly))?\b)?"
)
#: What others put around an answer: quotes, fields of JSON, tags; and letters of double width.
#: and marks that end a turn or catch the eye.
_AROUND = re.compile(
    r"</?(?:b|i|strong|em|p|code|s)>|</answer>|<\|[^|<>]{0,40}\|>|<eos>|<end_of_turn>|\*\*"
    r"|[\"\u201c\u201d`]|^\s*\{|\}\s*$|[\u2705\u2713\u2714\u27a1\ufe0f\U0001f300-\U0001faff]"
)
_TAGGED = re.compile(r"<answer>", re.IGNORECASE)
_WIDE = {0xFF21 + n: letter for n, letter in enumerate(LETTERS)}
#: What is said to the reader behind an answer.
_FAREWELL = re.compile(
    r"(?<=[.!)])\s*(?:I hope|Hope|Let me know|Please|Feel free|Thank you|Good luck)\b[^\n]*$"
)
_ANSWER = re.compile(
    rf"{_NAMED}(?:\s+[-\u2013\u2014]\s+|\s*[:=\uff1a]?\s*)(?=\S)(.*)", re.IGNORECASE | re.DOTALL
)
#: A line that calls one option right.
_CALLED_RIGHT = re.compile(
    rf"{_SO}(?:(?:answer|option|choice)\s+)?[(\[]?([A-J])[)\]]?\s+is\s+(?:the\s+)?"
    r"(?:correct|right|best)(?:\s+(?:answer|option|choice|one))?\s*\.?",
    re.IGNORECASE,
)
#: A letter with the option's text beside it and no mark between them, in either order.
_WITH_TEXT = re.compile(r"([A-J])(?:\s+[-\u2013\u2014])?\s+(.+)", re.DOTALL)
_BEHIND_TEXT = re.compile(r"(.+?)\s*[(\[](?:option\s+)?([A-J])[)\]]\.?", re.DOTALL)
_LETTER = re.compile(r"[(\[]{0,2}\s*([A-Ja-j])\s*(?:([)\].:])(.*))?", re.DOTALL)
#: A letter with the option's text in brackets behind it.
_IN_BRACKETS = re.compile(r"([A-J])\s*\(([^()]+)\)\.?$")
#: A letter that is named as the answer, and the reason for it.
_REASONED = re.compile(
    r"[(\[]?([A-J])[)\]]?\s*(?:,|;|\s[-\u2013\u2014]\s|\b(?:because|since|as|for)\b)(.*)", re.DOTALL
)
#: Another letter that follows at once, and is not the article of a reason.
_AT_ONCE = re.compile(r"\s*[(\[]?[A-J]\b(?!\s+[a-z])")
#: A letter that stands alone in a line, as an option would; "A" and "I" also begin sentences.
_LONE = re.compile(r"(?<![\w'])([A-J])(?![\w'])(?!(?<=[AI])\s+[a-z])")
#: The head of a line that repeats an option.
_OPTION_LINE = re.compile(r"[*_(\[]*([A-J])[)\].:]")
#: Behind a letter: another one, or a word that promises one.
_ANOTHER = re.compile(r"\s*(?:(?:and|or)\b|[,;/&]|[(\[]?[A-Ja-j][)\].\s]*$)")


class Reading(NamedTuple):
    """The letter of a reply, ``None`` if it gives none, and where it stood."""

    letter: str | None
    way: Literal["boxed", "last line", "none"]


def answer_letter(text: str, options: int | Sequence[str] = len(LETTERS)) -> Reading:
    r"""The letter of a reply and how it was read.

    First the last ``\boxed{...}``, if it holds a letter. Else the last line that names one as the
    answer: "Answer: B", "The correct answer is (B).", "The answer is B because ...", with a remark
    behind it that names no other. Only where the reply holds no box, its last line if it is nothing
    but the letter as a capital, "B" or "(B)", with or without the option's text behind "B." or
    "B)". The last line of a list of options ("A. ...", then "B. ...") chooses none of them, and a
    letter that belongs to a name ("C. difficile") is none.

    Args:
        options: how many there are, or their texts in the order shown: a text behind a letter
            then has to be that option's.
    """
    text = without_thoughts(text)
    box = last_box(text)
    letter = None if box is None else _letter(box, options)
    if letter:
        return Reading(letter, "boxed")
    after = text if box is None else text[text.rfind("\\boxed") :]
    lines = [line for part in after.splitlines() if (line := _bare(part))] or [""]
    letter = _named(lines, options)
    if letter is None and box is None:
        letter = _last(lines, options)
    return Reading(letter, "last line" if letter else "none")


def _bare(line: str) -> str:
    """A line without what stands around an answer."""
    line = _AROUND.sub(" ", _TAGGED.sub("answer: ", line.translate(_WIDE)))
    return _FAREWELL.sub("", line).strip()


def _named(lines: Sequence[str], options: int | Sequence[str]) -> str | None:
    """The letter of the last line that names an answer; what follows may name no other."""
    if right := _called_right(lines, options):
        return right
    for place in range(len(lines) - 1, -1, -1):
        line = lines[place].strip("*_ ")
        found = _ANSWER.fullmatch(line)
        rest = lines[place + 1 :]
        named = found[1] if found else ""
        if _ANSWER.fullmatch(f"{line} x") and not named.strip("*_:. ") and rest:
            named = rest[0]  # the answer stands on a line of its own
            rest = rest[1:]
        elif not found:
            continue
        letter = _letter(named.strip("*_ "), options) or _reasoned(named, options)
        others = {match[1] for part in rest for match in _LONE.finditer(part)}
        return None if others - {letter} else letter
    return None


def _called_right(lines: Sequence[str], options: int | Sequence[str]) -> str | None:
    """The letter of the last line, if it is the only one that calls an option right."""
    last = _CALLED_RIGHT.fullmatch(lines[-1].strip("*_ "))
    before = [line.strip("*_ ") for line in lines[:-1]]
    if not last or any(_CALLED_RIGHT.fullmatch(line) or _ANSWER.fullmatch(line) for line in before):
        return None
    return last[1].upper() if last[1].upper() in _offered(options) else None


def _last(lines: Sequence[str], options: int | Sequence[str]) -> str | None:
    """The letter that is the last line, if the reply does not only repeat the options."""
    line = lines[-1]
    if not re.match(r"[*_(\[]*[A-J](?![a-z])", line):
        return None
    letter = _letter(line, options)
    listed = {found[1] for part in lines[:-1] if (found := _OPTION_LINE.match(part))}
    return None if listed - {letter} else letter


def _reasoned(named: str, options: int | Sequence[str]) -> str | None:
    found = _REASONED.fullmatch(named.strip("*_ "))
    if found is None or _AT_ONCE.match(found[2]):
        return None
    return found[1] if found[1] in _offered(options) else None


def _offered(options: int | Sequence[str]) -> str:
    return LETTERS[: options if isinstance(options, int) else len(options)]


def last_box(text: str) -> str | None:
    """What the last box holds, "" if it is not closed; ``None`` if there is no box."""
    start = text.rfind("\\boxed")
    if start < 0:
        return None
    rest = text[start + len("\\boxed") :].lstrip()
    if not rest.startswith("{"):
        return rest[:1] if not rest[1:2].isalnum() else ""  # \boxed B is LaTeX, too
    depth = 0
    for place, char in enumerate(rest):
        depth += (char == "{") - (char == "}")
        if depth == 0:
            return rest[1:place]
    return ""


def _letter(content: str, options: int | Sequence[str]) -> str | None:
    plain = _SPACING.sub(" ", _COMMAND.sub(" ", content)).strip()
    if re.search(r"[A-Ja-j]['\u2019\u2032]\s*$", plain) and plain[:1] not in "'\u2018":
        return None  # a complement or a derivative
    named = _ANSWER.fullmatch(plain)
    said = (named[1] if named else plain).strip(" '\u2018\u2019")
    if beside := _beside_its_text(said, options):
        return beside
    match = _LETTER.fullmatch(_IN_BRACKETS.sub(r"\1. \2", said))
    if match is None or (match[3] and _ANOTHER.match(match[3])):
        return None  # no letter, or more than one
    letter = match[1].upper()
    if letter not in _offered(options) or not _is_its_text(match, letter, options):
        return None
    return letter


def _beside_its_text(said: str, options: int | Sequence[str]) -> str | None:
    """The letter that stands with exactly its option's text: "B a cat", "a cat (B)"."""
    if isinstance(options, int):
        return None
    first = _WITH_TEXT.fullmatch(said)
    behind = _BEHIND_TEXT.fullmatch(said)
    pairs = [first.groups()] if first else []
    pairs += [(behind[2], behind[1])] if behind else []
    for letter, text in pairs:
        if letter in _offered(options):
            own = normalise(options[LETTERS.index(letter)]).strip(" .")
            if own and normalise(text).strip(" .") == own:
                return str(letter)
    return None


def _is_its_text(match: re.Match[str], letter: str, options: int | Sequence[str]) -> bool:
    """Whether what stands behind a letter and its mark is the option's text, no name's rest."""
    rest = (match[3] or "").strip(" .*_")
    if not rest or match[2] in ")]":
        return True
    if isinstance(options, int):
        return not rest[0].islower()  # "B. The dog", and not "B. cereus"
    text = normalise(options[LETTERS.index(letter)]).strip(" .")
    said = normalise(rest).strip(" .")
    return bool(text) and (said.startswith(text) or text.startswith(said))


#: Question id -> one entry a run: 1 right, 0 wrong, between them where options tie, ``None``
#: without a readable answer.
Outcomes = Mapping[str, Sequence[float | None]]
#: Log-likelihood of one given text to each task, in nats a token, in order
#: (:meth:`rar_lib.training.policy.Policy.log_likelihoods`).
LogLikelihoods = Callable[[Sequence[Task], Sequence[str]], Sequence[float]]


def question_sets(
    data: Literal["mini", "released"], limit: int | None
) -> dict[str, list[MultipleChoice]]:
    """The sets that a profile's data goes with, at most ``limit`` questions of each.

    With the released data the paper's own, GPQA-Diamond (gated: see :func:`load_choices`);
    else MedQA and the science questions of MMLU, which need no account.

    Raises:
        DataError: no access to the gated set.
        ArtifactError: the wheel with the other sets could not be had.
    """
    if data == "released":
        return {"gpqa": load_choices("gpqa", "diamond", limit=limit)[0]}
    return {
        "medqa": load_choices("medqa", "test", limit=limit)[0],
        "mmlu": load_choices("mmlu", "science", limit=limit)[0],
    }


class Answering(Protocol):
    """A policy (:class:`rar_lib.training.policy.Policy`): tasks in, greedy texts out.

    Attributes:
        mark: everything but prompts and length that decides the texts.
    """

    @property
    def mark(self) -> str: ...

    def respond(self, tasks: Sequence[Task], max_tokens: int) -> list[str]:
        """One text to each task, in order."""
        ...


class Answer(NamedTuple):
    """One reply to one question in one order of its options."""

    question: str
    run: int
    right: str
    text: str
    reading: Reading

    @property
    def outcome(self) -> int | None:
        """1 right, 0 wrong, ``None`` where the reply gives no letter."""
        return None if self.reading.letter is None else int(self.reading.letter == self.right)


def ask(
    policy: Answering,
    questions: Sequence[MultipleChoice],
    runs: int,
    *,
    max_tokens: int,
    kept: Path,
) -> list[Answer]:
    """Every question in ``runs`` orders of its options, answered by a policy.

    Stopped, the same call goes on with what was not answered yet.

    Args:
        max_tokens: longest reply in tokens.
        kept: JSON file with the texts, written as they come. Those that are of this policy and
            these prompts are read from there and not asked for; else it is written anew.
    """
    asked = [
        (question, run, *shuffled(question, run)) for run in range(runs) for question in questions
    ]
    tasks = [Task(id=question.id, question=prompt) for question, _, prompt, _ in asked]
    prompts = digest([policy_messages(task) for task in tasks])
    mark = f"{policy.mark}; at most {max_tokens} tokens; prompts {prompts}"
    texts = _answered(policy, tasks, max_tokens, kept, mark)
    return [
        Answer(question.id, run, right, text, answer_letter(text, in_order(question, run)))
        for (question, run, _, right), text in zip(asked, texts, strict=True)
    ]


#: Replies between two writes of the file: what a policy on a processor writes together
#: (``Settings.answers_at_once``), so that no batch is another one because of it.
_AT_A_TIME = 48


def _answered(
    policy: Answering, tasks: Sequence[Task], max_tokens: int, kept: Path, mark: str
) -> list[str]:
    """A text to each task, in order: those that are kept, and the others as they come."""
    texts = _stored(kept, mark) or [None] * len(tasks)
    left = [place for place, text in enumerate(texts) if text is None]
    # Neighbours of one length waste no work on padding, in whatever parts they are asked.
    left.sort(key=lambda place: len(tasks[place].question))
    for start in range(0, len(left), _AT_A_TIME):
        places = left[start : start + _AT_A_TIME]
        found = policy.respond([tasks[place] for place in places], max_tokens)
        for place, text in zip(places, found, strict=True):
            texts[place] = text
        atomic_write(kept, json.dumps({"mark": mark, "texts": texts}, indent=1))
    return scored(texts)


def _stored(kept: Path, mark: str) -> list[str | None] | None:
    """The texts of a file of this mark, ``None`` in the place of one that is still to come."""
    if not kept.exists():
        return None
    stored = json.loads(kept.read_text(encoding="utf-8"))
    texts: list[str | None] = stored["texts"]
    return texts if stored["mark"] == mark else None


def outcomes(answers: Sequence[Answer]) -> dict[str, list[int | None]]:
    """What became of each question, its runs in order."""
    found: dict[str, list[int | None]] = {}
    for answer in sorted(answers, key=lambda answer: answer.run):
        found.setdefault(answer.question, []).append(answer.outcome)
    return found


def by_likelihood(
    log_likelihoods: LogLikelihoods, questions: Sequence[MultipleChoice]
) -> dict[str, list[float | None]]:
    """Whether the option that a policy finds likeliest is right, for one that names no letter.

    A question is asked without its options, and the text of each is read as the answer: the cloze
    form, which small models need (OLMES, arXiv 2406.08446). Likelihoods are compared a token,
    because a longer text is less likely whatever it says (Brown et al. 2020, arXiv 2005.14165,
    section 2.4). Nothing is sampled and no order is shown, so there is one run.
    An option that speaks of the others ("both of these") is read as it stands.

    Args:
        log_likelihoods: is given all options of one question together, so that a policy can read
            the question once.

    Returns:
        Question id -> one entry: 1 where the right option alone is the likeliest, 1 / k where it
        ties with others, k in all (a half of two), else 0; ``None`` where a likelihood is no
        number.
    """
    found: dict[str, list[float | None]] = {}
    for question in questions:
        premise = fill("option_premise", question=visible(question.question))
        options = [visible(option) for option in question.options]
        task = Task(id=question.id, question=premise)
        values = log_likelihoods([task] * len(options), options)
        found[question.id] = [_share_of_likeliest(values, question.answer)]
    return found


def _share_of_likeliest(values: Sequence[float], answer: int) -> float | None:
    """What a guess among the likeliest gets right; a policy that is broken has no likeliest."""
    if any(math.isnan(value) for value in values):
        return None
    return (values[answer] == max(values)) / values.count(max(values))


def ways(answers: Sequence[Answer]) -> dict[str, float]:
    """Shares of replies read from the box, from the last line, and not at all."""
    count = Counter(answer.reading.way for answer in answers)
    return {way: count[way] / len(answers) for way in ("boxed", "last line", "none")}


def accuracy(found: Outcomes) -> Interval | None:
    """Share of right answers over all runs; no readable answer is not right.

    The interval is over questions; the rule of three gives its width where all answers are right or
    none is. ``None`` if there is no answer at all.
    """
    rows = [(float(outcome or 0), question) for question, runs in found.items() for outcome in runs]
    if not rows:
        return None
    return cluster_share([won for won, _ in rows], [question for _, question in rows])


def readable(found: Outcomes) -> dict[str, list[float | None]]:
    """The answers that could be read, unreadable ones left out instead of counted as wrong."""
    return {question: scored(runs) for question, runs in found.items()}


def by_question(found: Outcomes) -> dict[str, float | None]:
    """Share of a question's runs that are right, for paired differences between policies."""
    return {question: _share_right(runs) for question, runs in found.items() if runs}


def _share_right(runs: Sequence[float | None]) -> float:
    return fmean(right or 0 for right in runs)


def unreadable(found: Outcomes) -> float | None:
    """Share of replies without a readable answer; ``None`` if there is no reply."""
    every = [outcome for runs in found.values() for outcome in runs]
    return every.count(None) / len(every) if every else None


def chance(questions: Sequence[MultipleChoice]) -> float:
    """Share that a guesser gets right who always gives a letter."""
    return fmean(1 / len(question.options) for question in questions)
