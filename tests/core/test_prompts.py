"""Prompts: text from models and data stays data."""

from pathlib import Path
from typing import get_args

import pytest

from rar_lib.core import prompts
from rar_lib.core.errors import DataError
from rar_lib.core.files import digest, file_hash
from rar_lib.core.prompts import Wording, fill, template, worded
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
