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
        "A whole run of profile laptop took 144 minutes from empty caches on a kind, AVX2."
    )
    one["reproduce"]["other"] = {"cold_s": 3600.0, "warm_s": 1800.0}
    assert "; 60 minutes from empty caches on other; 30 minutes from filled" in reproduced(one)
    for nothing in (None, {}, {"reproduce": {"a kind": {"unchanged_s": 4.0}}}):
        assert reproduced(nothing).endswith("is not on record.")


RUN = {"profile": "laptop", "seconds": 111, "calls_added": 1288, "hardware": "2 cores"}
TITLES = {"01_x": "X", "02_y": "Y"}


def rows_of(page: str) -> list[str]:
    return [line for line in page.splitlines() if line.startswith("|")]


def test_what_is_the_same_for_all_chapters_is_said_once() -> None:
    page = status_page({"01_x": RUN, "02_y": RUN | {"seconds": 30}}, TITLES)
    assert page.count("laptop") == 2  # once in the words about profiles
    assert "All chapters: profile laptop; hardware 2 cores." in page
    assert rows_of(page) == [
        "| Chapter | Minutes | Replies added | Finished |",
        "| --- | ---: | ---: | --- |",
        "| [X](01_x.ipynb) | 1.9 | 1,288 | not recorded |",
        "| [Y](02_y.ipynb) | 0.5 | 1,288 | not recorded |",
    ]


def test_what_differs_keeps_its_column() -> None:
    page = status_page({"01_x": RUN, "02_y": RUN | {"profile": "gpu"}}, TITLES)
    assert "All chapters: hardware 2 cores." in page
    head, _, first, second = rows_of(page)
    assert head == "| Chapter | Profile | Minutes | Replies added | Finished |"
    assert first.startswith("| [X](01_x.ipynb) | laptop |")
    assert second.startswith("| [Y](02_y.ipynb) | gpu |")


def test_one_run_has_all_of_its_columns() -> None:
    assert "| Hardware |" in status_page({"01_x": RUN}, TITLES)
