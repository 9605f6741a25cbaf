"""The status page says what is on record of runs, and says so where nothing is."""

from __future__ import annotations

from rar_lib.book.pages.status import reproduced, run_line, status_page
from rar_lib.book.pages.words import GENERATED


def test_a_run_without_a_record_says_so() -> None:
    assert "not recorded" in run_line(None)
    assert "not recorded" in status_page({"01_x": None}, {"01_x": "X"})


def test_the_page_of_runs_says_how_long_a_whole_one_took_where_it_was_measured() -> None:
    assert status_page({}, {}).splitlines().count(GENERATED) == 1
    one = {"reproduce": {"a kind, AVX2": {"cold_s": 8640.0, "unchanged_s": 4.0}}}
    assert reproduced(one).replace("\\", "") == (
        "A whole run of profile laptop took 2.4 hours from empty caches on a kind, AVX2."
    )
    one["reproduce"]["other"] = {"cold_s": 3600.0, "warm_s": 1800.0}
    assert "; 1.0 hours from empty caches on other; 0.5 hours from filled" in reproduced(one)
    for nothing in (None, {}, {"reproduce": {"a kind": {"unchanged_s": 4.0}}}):
        assert reproduced(nothing).endswith("is not on record.")
