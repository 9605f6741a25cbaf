"""What a judge is asked, in which words.

judge = Judge(chat, messages=Messages("b"))     # the same in other words
judge = Judge(chat, messages=MyMessages())      # anything with the methods of JudgeMessages
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from rar_lib.core.errors import DataError
from rar_lib.core.files import digest
from rar_lib.core.prompts import Wording, conversation, fill, template, worded
from rar_lib.core.scoring import PREDEFINED
from rar_lib.core.text import fence, visible
from rar_lib.core.types import Arm, Criterion, Polarity, Rubric, Task
from rar_lib.judging.wire import Message

Reading = Literal["probability", "sampled"]
_FORMAT: dict[Reading, str] = {"sampled": "json", "probability": "token"}
_ASKED = ("explicit", "implicit", "direct_likert", "reference_likert")


class JudgeMessages(Protocol):
    """What a judge is asked: an object with these methods replaces the library's own.

    Whatever is asked, the reply is read in the same way (:mod:`rar_lib.judging.reading`): ``yes``
    or ``no``, or a rating from 1 to 10, as one token (reading ``probability``) or as the only value
    of a JSON object, ``met`` or ``rating`` (``sampled``). Responses are hostile text: use
    :func:`rar_lib.core.text.fence`.

    Attributes:
        name: for a person.
        fingerprint: changes with everything that is asked; a calibration and a training run are
            tied to it.
    """

    @property
    def name(self) -> str: ...

    @property
    def fingerprint(self) -> str: ...

    def criterion(
        self, task: Task, response: str, criterion: Criterion, reading: Reading
    ) -> list[Message]:
        """The chat messages that ask for one verdict."""
        ...

    def rating(self, task: Task, response: str, arm: Arm, reading: Reading) -> list[Message]:
        """The chat messages that ask for one rating.

        Raises:
            DataError: the arm needs a rubric or a reference that the task does not have.
        """
        ...


@dataclass(frozen=True)
class Messages:
    """The library's own messages, from the text files of `rar_lib.core.prompts`.

    Attributes:
        wording: ``b`` asks the same in other words, to see how much hangs on them.
        system: name of the system prompt, without the wording's ending.

    Raises:
        DataError: there is no such wording.
    """

    wording: Wording = "a"
    system: str = "judge_system"

    def __post_init__(self) -> None:
        worded(self.system, self.wording)

    @property
    def name(self) -> str:
        """The wording."""
        return self.wording

    @property
    def fingerprint(self) -> str:
        """SHA-256 of every text that may be asked."""
        formats = [
            f"format_{kind}_{end}" for kind in ("verdict", "rating") for end in ("token", "json")
        ]
        names = [self._file(self.system), *(self._file(f"judge_{arm}") for arm in _ASKED), *formats]
        return digest([template(name) for name in names])

    def criterion(
        self, task: Task, response: str, criterion: Criterion, reading: Reading
    ) -> list[Message]:
        """Question and response come first, shared by all criteria of a response."""
        return self._messages(
            "judge_explicit",
            question=fence(conversation(task)),
            response=self.shown(response),
            criterion=visible(criterion.description),
            answer_format=fill(f"format_verdict_{_FORMAT[reading]}"),
        )

    def rating(self, task: Task, response: str, arm: Arm, reading: Reading) -> list[Message]:
        """In ``implicit`` the rubric comes before the response, so that the rollouts of a GRPO
        group share it.

        Raises:
            DataError: the arm needs a rubric or a reference that the task does not have.
        """
        values = {"question": fence(conversation(task)), "response": self.shown(response)}
        if arm == "implicit":
            values["rubric"] = visible(render(rubric_of(task)))
        if arm == "reference_likert":
            if task.reference is None:
                raise DataError(f"task {task.id!r} has no reference: reference_likert needs one")
            values["reference"] = fence(task.reference)
        values["answer_format"] = fill(f"format_rating_{_FORMAT[reading]}")
        return self._messages(f"judge_{arm}", **values)

    def shown(self, response: str) -> str:
        """The response as it stands in the prompt: fenced, without what no reader sees."""
        return fence(response)

    def _messages(self, prompt: str, **values: str) -> list[Message]:
        return [
            {"role": "system", "content": fill(self._file(self.system))},
            {"role": "user", "content": fill(self._file(prompt), **values)},
        ]

    def _file(self, prompt: str) -> str:
        return worded(prompt, self.wording)


#: What a judge is asked unless it has messages of its own.
OWN = Messages()


def prompts_of(
    task: Task,
    response: str,
    arm: Arm,
    reading: Reading = "probability",
    *,
    messages: JudgeMessages = OWN,
) -> list[str]:
    """The text of every call that a grade takes, re-asks aside.

    Args:
        messages: what the judge is asked, by default in the library's own words.

    Raises:
        DataError: the arm needs a rubric or a reference that the task does not have.
    """
    if arm in ("explicit", "predefined"):
        rubric = PREDEFINED if arm == "predefined" else rubric_of(task)
        asks = [
            messages.criterion(task, response, criterion, reading) for criterion in rubric.criteria
        ]
    else:
        asks = [messages.rating(task, response, arm, reading)]
    return [text_of(ask) for ask in asks]


def text_of(messages: Sequence[Message]) -> str:
    """All that is said in a conversation, one turn after another."""
    return "\n".join(message["content"] for message in messages)


def rubric_of(task: Task) -> Rubric:
    """The rubric of a task.

    Raises:
        DataError: it has none.
    """
    if task.rubric is None:
        raise DataError(f"task {task.id!r} has no rubric: write one, or run `rar synthesize`")
    return task.rubric


def render(rubric: Rubric) -> str:
    """The rubric as numbered lines for a judge that reads it as a whole.

    The line shows the category, not the number: Eq. 2 takes the descriptions, and the
    paper's prose adds "with categorical weights" (v2, section 2.2). Criteria worded as
    failures are marked, so that the judge does not reward meeting them.
    """
    lines = []
    for number, criterion in enumerate(rubric.criteria, start=1):
        sign = "" if criterion.polarity is Polarity.GOOD else " (must NOT be the case)"
        lines.append(f"{number}. [{criterion.category}{sign}] {criterion.description}")
    return "\n".join(lines)
