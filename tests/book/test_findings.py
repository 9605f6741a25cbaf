"""Findings as a reader sees them."""

from __future__ import annotations

from rar_lib.book import tables
from rar_lib.core.decision import decide_family, not_testable
from rar_lib.core.stats import compare


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
        "p": "0.000",
        "p (Holm)": "0.000",
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
