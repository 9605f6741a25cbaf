"""Text made harmless, comparable, and free of what was only thought."""

from __future__ import annotations

import pytest

from rar_lib.core.text import fence, same, visible, without_thoughts


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("-7", "\u22127"),
        ("-7", "- 7"),
        ("-7", r"-7."),
        ("3.5", "3.50"),
        ("1,000", "1000"),
        ("0.5", "1/2"),
        (r"\frac{1}{2}", "0.5"),
        (r"\dfrac{-1}{2}", "-0.5"),
        ("10^-6", r"10^{-6}"),
        ("10\u207b\u2076", "10^-6"),
        ("1e-6", "10^-6"),
        ("2.5 \u00d7 10^3", "2500"),
        ("50%", "0.5"),
        ("Vitamin C", "vitamin c."),
        ("**Ice**", "ice"),
        ('"Newton\'s third law"', "newton's third law"),
        ("well-known", "well known"),
        ("x \u2264 5", "x <= 5"),
        (r"x \leq 5", "x \u2264 5"),
        (r"5\,\mathrm{mg}", "5 mg"),
        ("5.0 mg", "5 mg"),
        ("H2O", "h2o"),
        ("$n+2$", "n + 2"),
    ],
)
def test_two_answers_say_the_same(one: str, other: str) -> None:
    assert same(one, other)
    assert same(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("-7", "7"),
        ("3.5", "3:5"),
        ("3.5", "35"),
        ("3/4", "3.4"),
        ("3/4", "34"),
        ("n + 2", "n - 2"),
        ("10^-6", "10^6"),
        ("10\u207b\u2076", "106"),
        ("1e-6", "1e6"),
        ("< 5", "> 5"),
        ("<= 5", "< 5"),
        ("2.5 mg", "2/5 mg"),
        ("2.5 mg", "2.5 g"),
        ("1,5", "15"),
        ("5%", "5"),
        ("+-3", "3"),
        ("x = 5", "x = -5"),
        ("1/0", "0"),
        ("vitamin C", "vitamin D"),
        ("", ""),
        ("...", "!"),
        ("not ice", "ice"),
    ],
)
def test_two_answers_differ(one: str, other: str) -> None:
    assert not same(one, other)
    assert not same(other, one)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Ice floats.", "Ice floats."),
        ("<think>so</think>Ice floats.", "Ice floats."),
        ("\n<THINK>so</Think>\nIce.", "\nIce."),
        ("so</think>Ice.", "Ice."),
        ("<reasoning>a</reasoning><think>b</think>Ice.", "Ice."),
        ("<think>cut off", ""),
        ("<think>a</think> <think>cut off", ""),
        ("<think></think>", ""),
        ("I think <b>so</b>.", "I think <b>so</b>."),
        ("The tag <thinker> is no thought.", "The tag <thinker> is no thought."),
    ],
)
def test_what_was_only_thought_is_not_said(text: str, said: str) -> None:
    assert without_thoughts(text) == said
    assert without_thoughts(text, ()) == text
    assert without_thoughts("<plan>x</plan>y", ("plan",)) == "y"
    assert without_thoughts("<plan>x</plan>y") == "<plan>x</plan>y"


WHOLE = {
    "Persian non-joiner": "\u0646\u0645\u06cc\u200c\u062f\u0627\u0646\u0645",
    "Marathi joiner": "\u0926\u0930\u094d\u200d\u092f\u093e",
    "emoji of a doctor": "\U0001f469\u200d\u2695\ufe0f says: rest.",
    "flag of England": "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
    "R pipe": "kettles |> subset(litres == 2) |> nrow()",
    "Elm pipe": "List.map boil <| List.reverse kettles",
    "Haskell": "f <|> g",
    "C shift": "x << 2 | y >> 1",
    "a tag in a table": "| a | b |\n|---|---|",
    "HTML": "<s>struck</s> is not </s> alone",
    "brackets": "[INST in a list]",
}


@pytest.mark.parametrize("name", [n for n in WHOLE if n not in ("HTML", "flag of England")])
def test_words_and_operators_reach_the_judge_as_written(name: str) -> None:
    assert visible(WHOLE[name]) == WHOLE[name]
    assert WHOLE[name] in fence(WHOLE[name])


TEMPLATES = [
    "<|im_end|>",
    "<|im_start|>assistant",
    "<|eot_id|>",
    "<|start_header_id|>",
    "<|user|>",
    "<end_of_turn>",
    "<start_of_turn>model",
    "[INST]",
    "[/INST]",
    "<<SYS>>",
    "</s>",
    "<s>",
    "<eos>",
    "<bos>",
    "<pad>",
    "<\uff5cend\u2581of\u2581sentence\uff5c>",
    "<\uff5cAssistant\uff5c>",
    "<|END_OF_TURN_TOKEN|>",
    "[EOT]",
    "<turn|>",
    "<|turn>",
]


@pytest.mark.parametrize("token", TEMPLATES)
def test_tokens_of_chat_templates_do_not_act_as_such(token: str) -> None:
    shown = visible(f"before {token} after")
    assert token not in shown
    assert shown.replace(" ", "") == f"before{token}after"  # broken by a space, not taken out
    assert visible(shown) == shown


@pytest.mark.parametrize(
    "character", ["\u200b", "\u202e", "\u2066", "\ufeff", "\x00", "\x1b", "\u00ad"]
)
def test_what_no_reader_sees_is_taken_out(character: str) -> None:
    assert visible(f"a{character}b") == "ab"


@pytest.mark.parametrize("text", ["\u200d\u200d", "a\u200db", "\u200c", "1\u200d2", " \u200d "])
def test_joiners_that_join_nothing_are_taken_out(text: str) -> None:
    assert visible(text) == text.replace("\u200d", "").replace("\u200c", "")
