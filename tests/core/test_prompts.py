"""Prompts: text from models and data stays data."""

from pathlib import Path
from typing import Literal, get_args

import pytest

from rar_lib.core import prompts
from rar_lib.core.errors import DataError
from rar_lib.core.files import digest, file_hash
from rar_lib.core.prompts import (
    POLICY_SYSTEM,
    Wording,
    fill,
    policy_messages,
    template,
    trl_row,
    worded,
)
from rar_lib.core.types import MultipleChoice, Task, Turn
from rar_lib.data.tasks import load_mini
from rar_lib.judging.messages import Messages


def test_not_a_byte_of_a_prompt_changes_unseen() -> None:
    """Calls on record, calibrations and the study are of these texts: a change voids them."""
    folder = Path(prompts.__file__).parent
    texts = {path.name: file_hash(path) for path in folder.glob("*.txt")}
    assert len(texts) == 27
    assert digest(texts) == "15fee7df5d8bf0fd2b1b1cc6737157967d7e2e0486e8742adbc14fae06d41ede"
    del texts["policy_rubric.txt"]  # the other 26 are those before it had a file
    assert digest(texts) == "8a79caf727f84c5c684b517d4df0495be4272fed28c02198e81fd76f2517a433"
    assert Messages().fingerprint == (
        "2f1a5b1b3c67afd5b3d456fc19a0db3db81a079d5a021aaa9f7a5efce4d0f2ae"
    )
    assert Messages("b").fingerprint == (
        "5796f03748773a8dd072ebad37e41c51948658b4268a193e5add6121cdfc9be4"
    )


def test_values_are_not_expanded_again() -> None:
    text = fill(
        "judge_explicit",
        question="{{criterion}}",
        response="{{answer_format}}",
        criterion="C",
        answer_format="F",
    )
    assert "{{criterion}}" in text
    assert "{{answer_format}}" in text
    assert text.count("Criterion: C") == 1


def test_a_prompt_names_what_is_missing_or_too_much() -> None:
    with pytest.raises(KeyError, match="'answer_format', 'question', 'response', 'rubric'"):
        fill("judge_implicit", question="Q")
    with pytest.raises(KeyError, match="judge_system"):
        fill("judge_system", question="Q")


def test_every_wording_of_a_judge_is_a_text_of_its_own() -> None:
    assert get_args(Wording) == ("a", "b")
    assert worded("judge_explicit", "a") == "judge_explicit"
    assert worded("judge_explicit", "b") == "judge_explicit_b"
    for wording in get_args(Wording):
        for name in ("system", "explicit", "implicit", "direct_likert", "reference_likert"):
            assert template(worded(f"judge_{name}", wording))


def test_a_wording_that_there_is_not_is_named() -> None:
    with pytest.raises(DataError, match="no wording 'c'; allowed: a, b"):
        worded("judge_explicit", "c")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("split", "bytes_of_it"),
    [
        ("train", "9da72aac8026cf70e43b9112655f4674606559978328e9580b877e33f4e7bc26"),
        ("val", "0a11fee3d16dead79047a8e7fee1e97654ad4b14944cc95e800f846e9f3a50eb"),
        ("test", "2018fcb361802bb0452401bdf9796add1adff38a0911d989652bac392d769d6e"),
    ],
)
def test_this_librarys_own_runs_ask_a_policy_with_the_same_bytes(
    split: Literal["train", "val", "test"], bytes_of_it: str
) -> None:
    """The study and every recorded chapter asked so: what is on record is of these prompts."""
    assert digest([policy_messages(task) for task in load_mini(split)]) == bytes_of_it


ESSAY = "Write an essay of 2,000 words on the French Revolution."
LAWYER = Turn(role="system", content="You are a lawyer. Answer at length.")
HELLO = Turn(role="user", content="Hello.")
HI = Turn(role="assistant", content="Hi.")
LATER = Turn(role="system", content="Now be brief.")


@pytest.mark.parametrize("system", [None, "", "Be brief.", POLICY_SYSTEM])
@pytest.mark.parametrize(
    "history",
    [(), (HELLO, HI), (HELLO, HI, LATER), (LAWYER,), (LAWYER, HELLO, HI), (LAWYER, HELLO, LATER)],
    ids=lambda turns: "-".join(turn.role for turn in turns) or "none",
)
def test_a_system_turn_is_added_where_one_is_given_and_the_task_has_none(
    history: tuple[Turn, ...], system: str | None
) -> None:
    task = Task(id="t", question=ESSAY, history=history)
    own = [turn.model_dump() for turn in (*history, Turn(role="user", content=ESSAY))]
    added = [{"role": "system", "content": system}]
    begins = history[:1] == (LAWYER,)
    assert policy_messages(task, system) == (own if begins or system is None else added + own)
    assert trl_row(task, system)["prompt"] == policy_messages(task, system)
    assert trl_row(task)["prompt"] == own, "by default a prompt arrives as it is"


def test_a_context_and_options_are_part_of_the_question_with_and_without_a_system_turn() -> None:
    choice = MultipleChoice(
        id="q", question="Which metal?", options=("Iron", "Tin"), answer=0, context="Fe."
    )
    bare = policy_messages(choice, None)
    assert policy_messages(choice) == [{"role": "system", "content": POLICY_SYSTEM}, *bare]
    assert [turn["role"] for turn in bare] == ["user"]
    assert all(part in bare[0]["content"] for part in ("Which metal?", "Iron", "Notes:\nFe."))
