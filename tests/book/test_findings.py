"""Published numbers as they stand in the paper, and findings as a reader sees them."""

from __future__ import annotations

import pytest

from rar_lib.book import tables
from rar_lib.core.decision import decide_family, not_testable
from rar_lib.core.errors import DataError
from rar_lib.core.stats import compare


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
