"""Published numbers as they stand in the paper, and findings as a reader sees them."""

from __future__ import annotations

import numpy as np
import pytest

from rar_lib.book import tables
from rar_lib.book.pages.gate import active_content
from rar_lib.core.decision import decide_family, not_testable
from rar_lib.core.errors import DataError
from rar_lib.core.stats import Interval, compare
from rar_lib.core.types import Usage
from rar_lib.judging.judge import Asked
from rar_lib.judging.wire import Message, Reply, Token


def test_a_quoted_table_keeps_decimals_and_counts_as_published(
    capsys: pytest.CaptureFixture[str],
) -> None:
    sizes = tables.quoted("judge_size").frame.set_index("judge")
    assert sizes.loc["Qwen-14B-Instruct", "implicit"] == "25.0"
    counts = tables.quoted("data_tables").frame.set_index("measure")
    assert counts.loc["criteria", "RaR-Medicine"] == "154,808"
    assert counts.loc["criteria per rubric", "RaR-Medicine"] == "7.5"
    assert "Table 11" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("value", "text"),
    [(214658.0, "214,658"), (22408.0, "22,408"), (0.362, "0.362"), (7.51, "7.51"), (45.0, "45")],
)
def test_counts_among_shares_are_written_in_full(value: float, text: str) -> None:
    assert tables.general(value) == text


def test_what_is_no_fraction_stays_as_it_is() -> None:
    assert tables.general("–") == "–"
    assert tables.general(7) == 7
    assert tables.general(float("nan")) != tables.general(float("nan"))


def test_numbers_of_one_row_and_of_all() -> None:
    assert tables.numbers("main_results", "implicit", "HealthBench") == [31.2]
    assert tables.numbers("judge_size", tables.EVERY_ROW, "direct_likert") == [
        22.0,
        24.9,
        25.4,
        25.3,
    ]


@pytest.mark.parametrize(
    ("cell", "known"),
    [
        (("results", "implicit", "HealthBench"), "main_results"),
        (("note", "implicit", "HealthBench"), "main_results"),
        (("main_results", "rlvr", "HealthBench"), "direct_likert"),
        (("main_results", "implicit", "method"), "GPQA-Diamond"),
    ],
)
def test_a_number_that_is_not_published_names_those_that_are(
    cell: tuple[str, str, str], known: str
) -> None:
    with pytest.raises(DataError, match=known):
        tables.numbers(*cell)


HOSTILE = "<script>alert(1)</script> <b>x</b> \x1b[31m ]]>"


def test_what_a_judge_was_asked_is_shown_word_for_word_and_inert() -> None:
    reply = Reply(
        text="yes",
        finish_reason="stop",
        tokens=(Token(" yes", {" yes": 0.9}),),
        usage=Usage(),
    )
    messages: list[Message] = [
        {"role": "system", "content": "You grade."},
        {"role": "user", "content": HOSTILE},
    ]
    shown = tables.Prompts({"one <i>": Asked(messages, "Answer:", reply)})
    html = shown._repr_html_()
    assert active_content(html) is None
    assert html.count("<details") == 1
    assert "&lt;script&gt;alert(1)" in html
    assert "<i>" not in html
    assert "\x1b" not in html
    assert "Answer: ␣yes" in html
    for part in ("# one <i>", "[system]\nYou grade.", "[judge]\nAnswer: ␣yes"):
        assert part in repr(shown)


def test_folded_tables_are_escaped_captioned_and_open_at_the_first() -> None:
    shown = tables.folds({"one <i>": [{"a": "<b>"}], "two": [{"a": 1}]}, about="Rows of")
    html = shown._repr_html_()
    assert active_content(html) is None
    assert html.count("<details") == 2
    assert html.count(" open>") == 1
    assert "<caption>Rows of: one &lt;i&gt;.</caption>" in html
    assert "&lt;b&gt;" in html
    assert "<i>" not in html
    assert "# two" in repr(shown)


@pytest.mark.parametrize(
    ("p", "text"),
    [
        *[(0.0006, "<0.001"), (0.001, "0.001"), (0.0044, "0.004"), (0.25, "0.250"), (1.0, "1.000")],
        # Beside the level of a finding, which three decimals would make of them.
        *[(0.0504, "0.0504"), (0.0496, "0.0496"), (0.04996, "0.04996"), (0.0506, "0.051")],
        (0.05, "0.050"),
    ],
)
def test_a_p_value_never_looks_like_none(p: float, text: str) -> None:
    assert tables.p_value(p) == text
    assert tables.table([{"p": tables.p_value(p)}]).frame["p"].item() == text


def test_no_p_value_is_a_dash() -> None:
    assert tables.p_value(None) is None
    assert tables.cell(tables.p_value(None)) == "–"


def test_claims_are_shown_with_what_they_rest_on() -> None:
    found = decide_family(
        {
            "room.a_over_b": compare([0.25] * 12, range(12)),
            "room.b_over_a": not_testable("one seed"),
        }
    )
    frame = tables.findings(found).frame
    assert frame.to_dict("records")[0] == {
        "claim": "a over b",
        "difference": "0.25 [-0.03, 0.42]",  # all equal: 0.22 of tasks may lie anywhere
        "tasks": 12,
        "p": "<0.001",
        "p (Holm)": "<0.001",
        "detectable": "0.39",
        "finding": "supported",
    }
    assert list(frame.iloc[1]) == [
        "b over a",
        "–",
        "–",
        "–",
        "–",
        "–",
        "not testable here: one seed",
    ]


def test_tables_say_what_is_missing_and_keep_text_harmless() -> None:
    assert tables.cell(None) == "–"
    assert tables.cell(0.126) == "0.13"
    assert [tables.cell(n) for n in (999, 1492, np.int64(28800))] == [999, "1,492", "28,800"]
    assert tables.cell(1043.0) == "1,043.00"
    assert tables.cell(True) == "yes"
    assert tables.cell(Interval(0.5, 0.25, 0.75, 9)) == "0.50 [0.25, 0.75]"
    html = tables.table([{"response": "<script>alert(1)</script>\x1b[31m", "n": 0.5}])._repr_html_()
    assert "<script" not in html
    assert "\x1b" not in html
    assert "<td>0.50</td>" in html


def test_a_text_stands_under_its_name_and_scores(capsys: pytest.CaptureFixture[str]) -> None:
    """In one stream with them: a page puts together what is printed, and nothing else."""
    tables.show("An answer.", "after", {"reward": 0.456, "conveyed": None})
    assert capsys.readouterr().out == "\nafter, reward 0.46, conveyed unscored:\n  An answer.\n"
    tables.show("An answer.", "<b>\x1b[31m")
    assert "\x1b" not in capsys.readouterr().out


def test_model_text_is_shown_as_plain_text_a_line_a_paragraph(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It wraps where it is read: wrapped here, it would wrap twice in a narrow window."""
    tables.show(f"{'word ' * 60}\x1b[31m\u202e<b>\nThe end.")
    out = capsys.readouterr().out
    first, second = out.splitlines()
    assert first.startswith(f"  {'word ' * 60}")
    assert first.endswith("<b>")
    assert second == "  The end."
    assert "\x1b" not in out
    assert "\u202e" not in out


@pytest.mark.parametrize(
    "name",
    ["training", "main_results", "rubric_source", "rubric_elements", "judge_size", "data_audit"],
)
def test_quoted_tables_name_their_source(name: str) -> None:
    frame = tables.published(name)
    assert len(frame) > 1
    assert frame.attrs["source"]
