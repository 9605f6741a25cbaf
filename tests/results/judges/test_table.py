"""The arithmetic of the side-by-side benchmark, on numbers worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from side_by_side import MADE_BY, TASKS, entry, measured, piece

from rar_lib.book import figures, tables
from rar_lib.book import results as records
from rar_lib.book.prose import sentence
from results.judges import run, table

LABELS = {system.name: system.label for system in run.SYSTEMS}


def test_speed_and_tokens_add_up_over_pieces() -> None:
    row = table.one_system(
        [
            piece(
                entry("preferred", True, False),
                prompt_tokens=100.0,
                cached_tokens=40.0,
                written_tokens=4.0,
            ),
            piece(entry("rejected", True, True), prompt_tokens=50.0, written_tokens=6.0),
        ],
        TASKS,
    )
    assert row["n"] == 4
    assert row["verdicts_per_s"] == 1.0  # 4 verdicts in 2 + 2 seconds
    assert row["tokens_per_verdict"] == 30.0  # (150 - 40 + 10) / 4
    assert row["accuracy"] == 0.75  # the rejected response does not meet a-good


def test_an_unscored_verdict_is_left_out_of_accuracy_and_counted_beside_it() -> None:
    row = table.one_system([piece(entry("preferred", True, None))], TASKS)
    assert row["accuracy"] == 1.0
    assert row["accuracy_unscored_wrong"] == 0.5
    assert row["unreadable_share"] == 0.5
    assert row["abstained_share"] == 0.0
    assert row["reasons"] == ["cut off"]


def test_an_abstention_is_not_called_unreadable() -> None:
    row = table.one_system([piece(entry("preferred", None, None, abstained=True))], TASKS)
    assert (row["unreadable_share"], row["abstained_share"]) == (0.0, 1.0)
    assert row["accuracy"] is None  # nothing was scored, so there is no accuracy


def test_probabilities_are_met_above_one_half_and_rank_for_the_auc() -> None:
    done = table.correctness([entry("preferred", 0.9, 0.2), entry("rejected", 0.6, 0.7)], TASKS)
    # Labels 1 0 0 1; a-good of the rejected response is called met at 0.6.
    assert done["accuracy"] == 0.75
    assert done["auc"] == 1.0
    assert done["pairs_right"] == {"share": 1.0, "scored": 1, "pairs": 1}


def test_calibration_moves_verdicts_and_not_the_ranking() -> None:
    # On val everything below 0.9 is false: the judge says yes too easily.
    val = piece(*[entry(s, *v) for s, v in [("preferred", (0.95, 0.7)), ("rejected", (0.8, 0.97))]])
    test = piece(entry("preferred", 0.93, 0.6), entry("rejected", 0.7, 0.96))
    plain = table.correctness(test["items"], TASKS)
    moved = table.calibrated("qwen-1.5b", [test], val, TASKS)
    assert (plain["accuracy"], plain["auc"]) == (0.5, 1.0)
    assert (moved["accuracy"], moved["auc"]) == (1.0, 1.0)
    assert 0.8 < moved["threshold"] < 0.95
    assert moved["fitted_on"] == 4


@pytest.mark.parametrize(
    ("rewards", "expected"),
    [
        ({"a:preferred": 0.5, "a:rejected": 0.5}, {"share": 0.5, "scored": 1, "pairs": 1}),
        ({"a:preferred": None, "a:rejected": 0.5}, {"share": None, "scored": 0, "pairs": 1}),
        ({"a:preferred": 0.1, "a:rejected": 0.5}, {"share": 0.0, "scored": 1, "pairs": 1}),
    ],
)
def test_a_tie_is_half_a_pair_and_an_unscored_one_is_none(
    rewards: dict[str, float | None], expected: dict[str, Any]
) -> None:
    assert table.pairs_right(rewards) == expected


def test_a_reward_for_the_whole_response_has_no_verdicts() -> None:
    row = table.one_system([piece(entry("preferred", 0.8), entry("rejected", 0.3))], TASKS)
    assert row["verdicts_per_s"] is None
    assert row["rewards_per_s"] == 1.0
    assert row["pairs_right"]["share"] == 1.0
    assert "accuracy" not in row


def test_the_table_shows_what_was_not_measured_as_a_dash() -> None:
    row = table.one_system([piece(entry("preferred", None, None))], TASKS)
    text = table.render(
        {
            "ratios_verdicts_per_s": {},
            "share_of_limit": None,
            "share_of_limit_system": None,
            "machine": "2 cores",
            "date": "2026-01-01",
            "versions": {},
            "systems": {"x": {"label": "a peer"} | row},
        }
    )
    cells = [c.strip() for c in text.splitlines()[2].split("|")[1:-1]]
    assert cells == ["a peer", "1.00", "5.0", "0", "–", "–", "100.0%", "0.0%", "–", "2", "2"]


def summarised(monkeypatch: pytest.MonkeyPatch, *done: tuple[Any, ...]) -> dict[str, Any]:
    share = {"share_of_limit": 0.4, "limit": {"format": "float32", "tflops": 1.0}}
    monkeypatch.setattr(table, "share_of_limit", lambda *_: share)
    return table.summarise(done, TASKS, {})


def test_the_ratios_are_to_every_peer_and_of_what_was_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    speeds = {"rar_probability": 1.0, "autorubric": 10.0, "healthbench": 20.0}
    found = summarised(monkeypatch, *(measured(name, s) for name, s in speeds.items()))
    ours = {"autorubric": pytest.approx(10.0), "rubric": None, "healthbench": pytest.approx(20.0)}
    nothing = dict.fromkeys(ours)
    assert found["ratios_verdicts_per_s"] == {"rar_probability": ours, "rar_int8": nothing}
    text = table.render(found)
    assert f"{LABELS['rar_probability']} over: autorubric 10.0, rubric not measured" in text
    assert "the HealthBench way 20.0." in text
    assert "Share of the float32 limit (this judge, probabilities): 0.40." in text


def test_machine_versions_and_date_are_those_of_the_pieces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    later = measured("autorubric", 1.0, date="2026-02-02", memory_gb=7.0)
    found = summarised(monkeypatch, measured("rar_probability", 1.0), later)
    assert {name: found[name] for name in MADE_BY} == MADE_BY
    assert found["date"] == "2026-02-02"
    assert found["systems"]["autorubric"]["memory_gb"] == 7.0
    assert found["systems"]["autorubric"]["number_format"] == "float32"


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"machine": "4 cores Y"}, r"differ in machine \(rar_probability tasks-1: 2 cores X"),
        ({"versions": {"torch": "2.1"}}, r"differ in torch .*autorubric tasks-1: 2\.1"),
    ],
)
def test_pieces_of_several_machines_or_versions_make_no_table(
    other: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = measured("autorubric", 1.0, made_by=MADE_BY | other)
    with pytest.raises(SystemExit, match=said):
        summarised(monkeypatch, measured("rar_probability", 1.0), elsewhere)


def test_the_figure_marks_the_sizes_that_were_measured() -> None:
    cost = {"seconds_per_grade": 1.0, "tokens_per_grade": 10.0}
    scaling = {"rar_probability": {"1": cost, "60": cost}, "autorubric": {"1": cost}}
    drawn = table.figure({"scaling": scaling, "systems": {}})
    assert list(drawn.axes[0].get_xticks()) == [1, 60]


# --- chapter 12


def chapter(record: dict[str, Any] | None, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """What the cell that reads the record says, tabulates and draws."""
    path = Path(run.ROOT) / "notebooks" / "12_do_the_instruments_hold.ipynb"
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    (chosen,) = (text for text in texts if 'results.load("judges")' in text)
    page: dict[str, list[Any]] = {"said": [], "tabled": [], "drawn": []}

    def say(template: str, **values: Any) -> None:
        page["said"].append(sentence(template, **values).replace("\\", ""))

    monkeypatch.setattr(records, "load", lambda name: record)
    monkeypatch.setattr(figures, "by_size", lambda *given, **_: page["drawn"].append(given))
    monkeypatch.setattr(tables, "table", page["tabled"].append)
    names = {"results": records, "figures": figures, "tables": tables, "say": say}
    exec(compile(chosen, "cell", "exec"), names)
    return page


def test_chapter_12_says_that_nothing_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    page = chapter(None, monkeypatch)
    assert page["said"][0].startswith("Not measured.")
    assert page["tabled"] == page["drawn"] == []


def test_chapter_12_shows_a_whole_record(monkeypatch: pytest.MonkeyPatch) -> None:
    speeds = {name: 1.0 for name in LABELS}
    found = summarised(monkeypatch, *(measured(name, s) for name, s in speeds.items()))
    cost = {"seconds_per_grade": 1.0}
    found |= {
        "left_out": {},
        "scaling": {"rar_probability": {"1": cost}, "autorubric": {"60": cost}},
    }
    page = chapter(found, monkeypatch)
    said = " ".join(page["said"])
    assert "not measured" not in said.lower()
    assert "over those of others: autorubric 1.0, rubric 1.0 and the HealthBench way 1.0." in said
    assert "reaches 0.40 of the speed of this machine's fastest matrix product in float32" in said
    (rows,) = page["tabled"]
    assert [row["system"] for row in rows] == list(LABELS.values())
    ((counts, lines),) = page["drawn"]
    assert counts == [1, 60]
    assert lines == {LABELS["rar_probability"]: [1.0, None], LABELS["autorubric"]: [None, 1.0]}


def test_chapter_12_says_of_every_entry_that_is_missing_that_it_was_not_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = summarised(monkeypatch, measured("rar_probability", 1.0), measured("autorubric", 2.0))
    found |= {"left_out": {}, "share_of_limit": None, "share_of_limit_system": None}
    said = " ".join(chapter(found, monkeypatch)["said"])
    assert "autorubric 2.0, rubric not measured and healthbench not measured." in said
    assert "Not measured: *rar_int8*, because the record does not hold it." in said
    assert "of the machine's fastest matrix product was not measured" in said
    assert "by the number of criteria was not measured" in said
    found["left_out"] = {"rar_int8": {"label": "int8", "why": "this processor has none"}}
    said = " ".join(chapter(found, monkeypatch)["said"])
    assert "Not measured: *int8*, because this processor has none." in said
