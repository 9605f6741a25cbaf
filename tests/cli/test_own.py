"""What the commands for a user's own data share: refusals first, then words that fit a terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer

from rar_lib.cli import own
from rar_lib.core.errors import DataError, ServerError
from rar_lib.core.types import Price
from rar_lib.data.jsonl import Problem
from rar_lib.data.sheets import Loaded
from rar_lib.judging.chat import Chat
from rar_lib.judging.cost import Rate, Work, estimate


def test_ray_hands_out_the_work_only_where_it_is_asked_to() -> None:
    assert [own.by_ray(executor) for executor in ("async", "ray")] == [False, True]
    for wrong in ("", "Ray", "dask"):
        with pytest.raises(typer.BadParameter) as caught:
            own.by_ray(wrong)
        assert str(caught.value) == f"--executor {wrong}: choose async or ray"


def test_a_column_that_nobody_named_is_guessed_and_an_empty_name_is_a_choice() -> None:
    assert own.named(task="Case", id="", question=None) == {"task": "Case", "id": ""}


@pytest.mark.parametrize(
    ("price_in", "price_out", "price"),
    [
        (0.0, 0.0, None),
        (2.0, 8.0, Price(2.0, 8.0)),
        (0.0, 8.0, Price(0.0, 8.0)),
        (2.0, 0.0, Price(2.0, 0.0)),
    ],
)
def test_a_price_of_nothing_is_no_price(
    price_in: float, price_out: float, price: Price | None
) -> None:
    """So that money is said to be unknown where nobody gave a price, and never nothing."""
    assert own.price_of(price_in, price_out) == price


@pytest.mark.parametrize(
    ("prices", "said"),
    [
        ((-1.0, 0.0), "--price-in is -1; a price of 10^6 tokens is 0 or more"),
        ((2.0, -0.5), "--price-out is -0.5; a price of 10^6 tokens is 0 or more"),
        ((float("nan"), 0.0), "--price-in is nan; a price of 10^6 tokens is 0 or more"),
    ],
)
def test_a_price_below_nothing_is_named(prices: tuple[float, float], said: str) -> None:
    with pytest.raises(DataError) as caught:
        own.price_of(*prices)
    assert str(caught.value) == said


def test_the_options_of_an_endpoint_make_a_chat_for_each_model_there() -> None:
    url = "http://127.0.0.1:1/v1"
    price = Price(2.0, 8.0)
    at = own.chats_at([url], "", "openai", price)
    assert at("a") == Chat([url], "a", key_env="", dialect="openai", price=price)
    assert at("b").model == "b"
    named = own.chats_at([url], "", "openai", price, "my-judge-1")
    assert named("a") == Chat(
        [url], "a", weights="my-judge-1", key_env="", dialect="openai", price=price
    )


@pytest.mark.parametrize(
    ("base_url", "dialect", "said"),
    [
        (None, "vllm", "no address of 'j': give one or more"),
        ([], "vllm", "no address of 'j': give one or more"),
        (["http://127.0.0.1:1/v1"], "grok", "no dialect 'grok'"),
    ],
)
def test_options_that_make_no_chat_are_refused_when_one_is_made(
    base_url: list[str] | None, dialect: str, said: str
) -> None:
    at = own.chats_at(base_url, None, dialect, None)
    with pytest.raises(DataError) as caught:
        at("j")
    assert said in str(caught.value)


def test_an_output_never_takes_the_place_of_what_it_is_made_from(tmp_path: Path) -> None:
    given = tmp_path / "given.csv"
    given.write_text("x")
    link = tmp_path / "link.csv"
    link.symlink_to(given)
    own.check_output(tmp_path / "new.csv", given)
    for output in (given, tmp_path / "." / "given.csv", link):
        with pytest.raises(DataError, match="is read and would be overwritten: choose another -o"):
            own.check_output(output, tmp_path / "other.csv", given)
    with pytest.raises(DataError, match=r"is a folder: name a file in it, -o .*/out\.jsonl"):
        own.check_output(tmp_path, given)
    assert given.read_text() == "x"


@pytest.mark.parametrize(
    ("money", "said"),
    [(None, ""), (0.0, ", 0 at the given price"), (1234.5, ", 1,234.50 at the given price")],
)
def test_what_it_cost_is_said_where_it_is_known(money: float | None, said: str) -> None:
    assert own.cost(money) == said


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("short", "short"),
        ("two\nlines", "two\nlines"),
        ("\x1b[2J\x07", r"\x1b[2J\x07"),
        ("a\u200bb\u202ec", r"a\u200bb\u202ec"),
        ("", ""),
    ],
)
def test_text_of_anybodys_cannot_move_the_cursor(text: str, shown: str) -> None:
    assert own.wrapped(text) == shown


def test_lines_fit_a_terminal_and_no_word_is_cut() -> None:
    address = "https://example.org/" + "x" * 90
    lines = own.wrapped(f"{'word ' * 30}{address} {'well-known ' * 10}", "    ").splitlines()
    assert address in [line.strip() for line in lines]
    assert all(len(line) <= 80 for line in lines if address not in line)
    assert all(line.startswith("    ") for line in lines[1:])
    assert not any(line.endswith("-") for line in lines)


def loaded(problems: list[Problem]) -> Loaded[Any]:
    columns = {"question": "Prompt"}
    return Loaded("q.csv", ["a", "b"], columns, unused=("note",), problems=problems)


def test_what_was_read_is_said_with_the_rows_that_were_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    problems = [
        Problem(3, "question", "nothing", "text"),
        Problem(3, "id", "nothing", "text"),  # the same row
        Problem(4, "id", "came again", "", "warning"),  # read all the same
    ]
    own.show(loaded(problems), "question")
    said = capsys.readouterr()
    assert "question from 'Prompt'" in said.out
    assert "  2 questions, 1 row left out\n" in said.out
    assert said.err.splitlines() == [
        "error: line 3, field question: nothing; allowed: text",
        "error: line 3, field id: nothing; allowed: text",
        "warning: line 4, field id: came again",
    ]
    own.show(loaded([]), "question")
    assert "left out" not in capsys.readouterr().out


@pytest.mark.parametrize(("count", "lines", "rest"), [(20, 20, ""), (1_045, 21, "and 1,025 more")])
def test_of_many_problems_as_many_are_shown_as_anybody_reads(
    count: int, lines: int, rest: str, capsys: pytest.CaptureFixture[str]
) -> None:
    own.show_problems([Problem(n + 1, "id", "nothing", "text") for n in range(count)])
    said = capsys.readouterr().err.splitlines()
    assert len(said) == lines
    assert said[-1].startswith(rest or "error: line 20")


def test_an_error_says_that_the_next_run_goes_on_where_something_is_on_record(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "grades.jsonl"
    record = tmp_path / "grades.jsonl.calls.sqlite"
    with pytest.raises(ServerError, match="gone"), own.recording(output):
        raise ServerError("gone")
    assert capsys.readouterr() == ("", ""), "nothing was answered: nothing is promised"
    with own.recording(output) as cassette:
        cassette.record({"n": 1}, {"text": "yes"})
    with pytest.raises(ServerError, match="gone"), own.recording(output):
        raise ServerError("gone")
    assert f"what was answered is in {record}: the same command goes on" in capsys.readouterr().err
    with own.recording(output) as cassette:
        assert cassette.look_up({"n": 1}) == {"text": "yes"}
    assert f"{record}: calls on record are not asked again" in capsys.readouterr().out


def test_an_endpoint_answers_by_itself_and_its_calls_are_on_record(tmp_path: Path) -> None:
    endpoint = Chat("http://127.0.0.2:9/v1", "j", key_env="")
    with own.recorded("unused", endpoint, tmp_path / "g.jsonl", {}) as chat:
        assert (chat.server, chat.model) == (endpoint.server, "j")
        assert chat.cassette is not None
        assert chat.cassette.path == tmp_path / "g.jsonl.calls.sqlite"
    assert endpoint.cassette is None, "a given chat is left as it was"


@pytest.mark.parametrize(
    ("yes", "typed", "goes_on"), [(True, None, True), (False, True, True), (False, False, False)]
)
def test_an_estimate_is_shown_before_anybody_is_asked_to_go_on(
    yes: bool,
    typed: bool | None,
    goes_on: bool,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    questions: list[str] = []

    def confirm(question: str) -> bool | None:
        questions.append(question)
        return typed

    monkeypatch.setattr(typer, "confirm", confirm)
    found = estimate(Work(10, 1_000, 400, 20), Rate(200.0, 10.0), Price(3.0, 15.0))
    assert own.asked(found, yes=yes) == goes_on
    assert "10 calls" in capsys.readouterr().out
    assert questions == ([] if yes else ["go on?"])
