"""The report: right numbers on a page that needs nothing, whatever the models wrote."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from browser import barriers, served, too_wide, watch
from bs4 import BeautifulSoup
from kept import as_json, five_arms, task, write_kept
from kept import some_run as kept_run

from rar_lib.book import report
from rar_lib.book.report import (
    FULL,
    browse_page,
    browsed,
    browsed_arms,
    browser_data,
    page,
    read_source,
    transcript_of,
    write_report,
)
from rar_lib.core.errors import DataError
from rar_lib.core.text import visible
from rar_lib.core.types import Task, Turn
from rar_lib.data.questions import Response
from rar_lib.data.tasks import save_tasks
from rar_lib.evaluation.grading import (
    GradedCriterion,
    GradedResponse,
    by_category,
    by_criterion,
    mean_score,
    save_grades,
    total_usage,
    unscored,
)
from rar_lib.evaluation.held_out import change
from rar_lib.training.policy import Likelihoods
from rar_lib.training.run import KEPT_GROUPS, TRANSCRIPT, Run

CATEGORIES = ("Essential", "Important", "Optional", "Pitfall")


def verdict(number: int, p: float | None, **more: Any) -> GradedCriterion:
    bad = number % 4 == 3
    given = {
        "criterion": f"c{number}",
        "title": f"T{number}",
        "description": f"States fact {number}.",
        "category": CATEGORIES[number % 4],
        "polarity": "bad" if bad else "good",
        "met": None if p is None else p > 0.5,
        "probability": p,
        "reason": "endpoint busy" if p is None else None,
    }
    return GradedCriterion(**given | more)


def grade(task: str, response: str, score: float | None, *ps: float | None, **more: Any) -> Any:
    given = {
        "task": task,
        "response": response,
        "arm": "explicit",
        "score": score,
        "share": 0.9,
        "verdicts": tuple(verdict(number, p) for number, p in enumerate(ps)),
        "reason": None if score is not None else "a criterion is unscored",
        "calls": len(ps),
        "prompt_tokens": 100,
        "cached_tokens": 10,
        "completion_tokens": 1,
        "seconds": 0.5,
        "money": 0.25,
        "judge": "qwen",
        "judge_weights": "ab" * 32,
        "judge_wording": "a",
        "judge_prompt": "cd" * 32,
        "reading": "probability",
    }
    return GradedResponse(**given | more)


def some_grades(tasks: int = 12, seed: int = 0) -> list[GradedResponse]:
    rng = random.Random(seed)
    rows = []
    for number in range(tasks):
        for name, level in (("base", 0.3), ("tuned", 0.6)):
            ps = [min(1.0, max(0.0, rng.gauss(level, 0.2))) for _ in range(4)]
            rows.append(grade(f"task-{number}", name, round(sum(ps) / 4, 3), *ps))
    return rows


JUDGE = {"identity": {"model": "small", "weights": "ab" * 32}, "settings": {"temperature": "0.0"}}
OTHER = {"identity": {"model": "large", "weights": "ef" * 32}, "settings": {}}


def some_run(steps: int = 12, **more: Any) -> Run:
    rng = random.Random(1)
    names = [f"held-{number}" for number in range(9)]
    log = [
        {
            "step": step,
            "entropy": 2.0 - step / 20,
            "kl_to_base": step / 1000,
            "step_time": 20.0,
            "seconds/generate": 5.0,
            "num_tokens": 100.0 * step,
        }
        for step in range(1, steps + 1)
    ]
    records = [
        {
            "mean": None if step == 5 else 0.3 + step / 50,
            "spread": None if step == 5 else 0.1,
            "unscored": 1.0 if step == 5 else 0.0,
            "length": 40.0 + step,
            "credit": {"Essential": 0.5, "Pitfall": 0.9},
            "criteria": {"t": {"c0": step / 20, "c1": 0.9 - step / 20}},
            "usage": {"calls": 8, "prompt_tokens": 100, "seconds": 1.0},
        }
        for step in range(1, steps + 1)
    ]
    looks = []
    for step in (0, steps):
        gain = 0.2 if step else 0.0
        looks.append(
            {
                "step": step,
                "training": {n: 0.4 + gain + rng.random() / 50 for n in names},
                "hold-out": {n: 0.4 + rng.random() / 50 for n in names},
            }
        )
    identity = {
        "settings": {"policy": "tiny", "steps": steps},
        "reward": {"arm": "implicit", "judge": JUDGE, "keep": 1.0},
        "watch": {
            "by": {"graders": {"training": [JUDGE, "implicit"], "hold-out": [OTHER, "explicit"]}}
        },
        "versions": {"torch": "2.13.0"},
    }
    given: dict[str, Any] = {
        "arm": "implicit",
        "seed": 0,
        "backend": "transformers",
        "seconds": 300.0,
        "log": log,
        "steps": records,
        "before": {n: f"Before, {n}." for n in names},
        "after": {n: f"After, {n}." for n in names},
        "watched": looks,
        "identity": identity,
    }
    return Run(**given | more)


def soup(html: str) -> Any:
    return BeautifulSoup(html, "html.parser")


def table(html: str, caption: str) -> list[list[str]]:
    """The cells of the body of the table whose caption begins so."""
    for found in soup(html).find_all("table"):
        if found.caption.get_text().strip().startswith(caption):
            rows = found.tbody.find_all("tr")
            return [list(map(text_of, row.find_all(["th", "td"]))) for row in rows]
    raise AssertionError(f"no table {caption!r}")


def text_of(element: Any) -> str:
    return " ".join(element.get_text().split())


# --- numbers


def test_the_numbers_are_those_of_grading(tmp_path: Path) -> None:
    """A page and `rar grade --table` can't say two things of one file."""
    rows = [*some_grades(), grade("task-0", "third", None, 0.5, None)]
    save_grades(tmp_path / "g.jsonl", rows)
    html = page(tmp_path / "g.jsonl")
    mean = mean_score(rows)
    assert mean is not None
    assert mean.interval.shown
    card = next(c for c in soup(html).select(".cards > div") if c.dt.get_text() == "mean score")
    assert card.select_one(".big").get_text() == f"{mean.interval.value:.2f}"
    assert f"[{mean.interval.low:.2f}, {mean.interval.high:.2f}] over 12 tasks" in text_of(card)
    assert [(row[0], row[1]) for row in table(html, "Credit by category")] == [
        (str(category), str(found)) for category, found in by_category(rows).items()
    ]
    shown = table(html, "Credit by criterion, the worst first")
    expected = by_criterion(rows)
    assert [row[1] for row in shown] == [str(one.credit) for one in expected]
    assert [row[2] for row in shown] == [str(one.credit.values) for one in expected]
    assert shown[0][0].startswith(expected[0].criterion.description)
    assert table(html, "Why, the commonest reason first") == [
        [str(len(one.responses)), one.reason, ", ".join(one.responses)] for one in unscored(rows)
    ]
    cost = dict(table(html, "What it took"))
    used = total_usage(rows)
    assert cost["calls"] == f"{used.calls:,}"
    assert cost["money at the given price"] == f"{used.money:,.2f}"


def test_names_that_tasks_share_are_compared() -> None:
    html = page(some_grades())
    assert [row[0] for row in table(html, "Mean score by name of the response")] == [
        "base",
        "tuned",
    ]
    lone = [grade("a", "a-1", 0.5, 0.5), grade("b", "b-1", 0.5, 0.5)]
    assert "Mean score by name" not in page(lone)


def test_a_bar_is_as_long_as_its_number() -> None:
    html = page([grade("a", "1", 0.25, 0.25)])
    widths = {rect["width"] for rect in soup(html).select("#task-1 rect.fill")}
    assert widths == {"25.0"}


def test_the_worst_task_comes_first_and_one_without_a_score_last() -> None:
    rows = [grade("fair", "1", 0.5, 0.5), grade("lost", "1", None, None), grade("bad", "1", 0.1, 0)]
    heads = [text_of(s) for s in soup(page(rows)).select("summary")]
    assert heads == [
        "bad · 0.10, 1 response",
        "fair · 0.50, 1 response",
        "lost · no score, 1 response",
    ]


@pytest.mark.parametrize(
    ("number", "p", "said", "sign"),
    [
        (0, 0.8, "▲ met", "met"),
        (0, 0.2, "▼ not met", "unmet"),
        (3, 0.8, "▼ met", "unmet"),  # a pitfall that was met
        (3, 0.2, "▲ not met", "met"),
        (0, None, "? unscored", "unscored"),
    ],
)
def test_a_verdict_says_what_it_means_without_colour(
    number: int, p: float | None, said: str, sign: str
) -> None:
    row = grade("a", "1", 0.5).model_copy(update={"verdicts": (verdict(number, p),)})
    found = soup(page([row])).select_one("#task-1 tbody td span")
    assert (found.get_text(), found["class"]) == (said, [sign])


def test_texts_are_shown_where_they_were_given() -> None:
    task = Task(
        id="a", question="Why?", reference="So.", history=(Turn(role="user", content="Hi"),)
    )
    rows = [grade("a", "1", 0.5, 0.5), grade("a", "2", 0.5, 0.5)]
    html = page(rows, tasks=[task], responses=[Response("a", "1", "Because.")])
    shown = text_of(soup(html).select_one("#task-1"))
    assert all(word in shown for word in ("Why?", "So.", "Hi", "Because."))
    assert shown.count("The text was not given to this report.") == 1
    assert "name their file with --tasks" in page(rows)


def test_nothing_scored_is_no_zero() -> None:
    html = page([grade("a", "1", None, None), grade("b", "1", None, None)])
    card = soup(html).select_one(".cards > div")
    assert card.get_text("|") == "mean score|none|no response has a score"
    assert "0.00" not in soup(html).get_text()
    assert table(html, "Why, the commonest reason first")[0][:2] == ["2", "endpoint busy"]


def test_an_arm_that_rates_has_no_verdicts() -> None:
    html = page([grade("a", "1", 0.5, rating=5.5, arm="implicit")])
    assert "This arm gives no verdicts, only a rating." in html
    assert "rating 5.50" in text_of(soup(html).select_one("#task-1"))


# --- size


def test_a_thousand_grades_can_be_mailed() -> None:
    rng = random.Random(0)
    rows = []
    texts = []
    for number in range(1000):
        ps = [rng.random() for _ in range(12)]
        rows.append(grade(f"t{number % 250}", f"r{number // 250}", sum(ps) / 12, *ps))
        texts.append(Response(rows[-1].task, rows[-1].response, "word " * 300))
    html = page(rows, responses=texts)
    assert len(html.encode()) < 3e6
    whole = html.count('<details id="task-')
    assert FULL <= whole * 4 < FULL + 4
    assert whole + len(table(html, "Tasks in short")) == 250
    assert "The other 175 tasks" in html


def test_a_very_long_text_is_cut_and_says_so() -> None:
    text = "x" * 1_000_000
    html = page([grade("a", "1", 0.5, 0.5)], responses=[Response("a", "1", text)])
    assert len(html) < 60_000
    assert "996,000 more characters are not shown." in html
    long = grade(text, text, None, None, judge=text, judge_weights=text, reason=text)
    html = page([long], title=text)
    assert len(html) < 60_000
    assert len(soup(html).h1.get_text()) == 160


def test_of_many_responses_some_are_side_by_side() -> None:
    html = page([grade("a", f"r{number}", 0.5, 0.5) for number in range(20)])
    assert len(soup(html).select("#task-1 article")) == 8
    assert "12 more responses to this task, not shown here." in html


# --- a run


def test_before_and_after_by_whose_measure() -> None:
    run = some_run()
    rows = table(page(run), "Mean score of the same tasks before and after")
    assert [row[:2] for row in rows] == [
        ["training: small, implicit", "gave the reward"],
        ["hold-out: large, explicit", "gave no reward"],
    ]
    for row, role in zip(rows, ("training", "hold-out"), strict=True):
        assert row[4] == str(change(run.watched, role))
    assert rows[0][5] == "supported"
    assert "Reward and quality: by the judge that rewards, answers rose" in page(run)


def test_a_grader_that_is_not_recorded_is_not_called_one_or_the_other() -> None:
    run = some_run(identity={})
    rows = table(page(run), "Mean score of the same tasks before and after")
    assert [row[:2] for row in rows] == [
        ["training", "is not recorded"],
        ["hold-out", "is not recorded"],
    ]


def test_grades_of_the_held_out_answers_give_verdicts_before_and_after() -> None:
    rows = []
    for number in range(9):
        rows.append(grade(f"held-{number}", "before", 0.4, 0.2, 0.9, judge="small"))
        rows.append(grade(f"held-{number}", "after", 0.6, 0.7, 0.8, judge="small"))
    html = page(some_run(), grades=rows)
    by = table(html, "Mean score of the same tasks before and after")[-1]
    # The weights are those of the reward's judge, but it was asked in another arm.
    assert by[:2] == ["small (probability), explicit", "gave no reward"]
    changes = table(html, "Credit of the held-out answers")
    assert [row[0].split(".")[0] for row in changes] == [
        "Essential",
        "Important",
        "States fact 1",
        "States fact 0",
    ]
    assert changes[0][3].startswith("0.50 [")
    assert changes[1][3].startswith("-0.10 [")
    shown = soup(html).select("#task-1 tbody td span.met, #task-1 tbody td span.unmet")
    assert [s.get_text() for s in shown] == ["▼ not met", "▲ met", "▲ met", "▲ met"]


def test_criteria_on_the_rollouts_what_fell_most_first() -> None:
    rows = table(page(some_run()), "Share of verdicts that speak for the rollouts")
    assert [(row[0], row[2], row[3], row[4]) for row in rows] == [
        ("c1", "12", "0.85", "0.30"),
        ("c0", "12", "0.05", "0.60"),
    ]


def places(svg: Any) -> list[tuple[float, float]]:
    found = re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", svg.select_one("path.curve")["d"])
    return [(float(x), float(y)) for x, y in found]


def test_a_curve_is_drawn_where_its_axis_says() -> None:
    """Read back by its own ticks, as a person would."""
    run = some_run()
    svg = soup(page(run)).select_one('svg[aria-labelledby^="mean-"]')
    labels = [t for t in svg.find_all("text") if t.get("text-anchor") == "end" and t["x"] == "40"]
    (low, y_low), *_, (high, y_high) = [(float(t.get_text()), float(t["y"]) - 4) for t in labels]
    means = [step["mean"] for step in run.steps if step["mean"] is not None]
    read = [low + (y - y_low) / (y_high - y_low) * (high - low) for _, y in places(svg)]
    assert read == pytest.approx(means, abs=(high - low) / 100)
    assert svg.select_one("path.curve")["d"].count("M") == 2, "step 5 is a gap, not a zero"
    assert svg.select_one("path.band") is not None


def test_every_picture_is_said_in_words() -> None:
    html = soup(page(some_run()))
    charts = html.select("svg[role=img]")
    assert [c.title.get_text() for c in charts][:3] == [
        "Reward",
        "Held-out answers",
        "Unscored rollouts",
    ]
    assert "From 0.32 at step 1 to 0.54 at step 12; lowest 0.32, highest 0.54." in text_of(
        charts[0]
    )
    for svg in html.find_all("svg"):
        assert svg.get("aria-hidden") == "true" or svg.get("role") == "img"


@pytest.mark.parametrize("value", [0.0, 1.0, 0.5, 1e-7, 1e9, -3.0])
def test_a_curve_that_does_not_move_is_drawn(value: float) -> None:
    steps = [{"mean": min(1.0, abs(value)), "length": value} for _ in range(300)]
    log = [{"step": n + 1, "entropy": value} for n in range(300)]
    run = replace(some_run(), log=log, steps=steps)
    html = soup(page(run))
    assert html.select("svg.chart")


def test_a_run_of_one_step_or_none_has_no_curve() -> None:
    one = soup(page(some_run(steps=1)))
    assert not one.select("svg.chart")
    assert len(table(str(one), "One row a step")) == 1
    base = some_run(steps=0, arm="base", watched=[])
    html = page(base)
    assert "No step was recorded" in html
    assert "Nobody graded the held-out answers of this run" in html


def test_settings_cost_and_versions_are_there() -> None:
    html = page(some_run(resumed_at=[3]))
    settings = dict(table(html, "What decided this run"))
    assert (settings["policy"], settings["reward"]) == ("tiny", "implicit by small")
    assert settings["continued after step"] == "3"
    assert dict(table(html, "Packages")) == {"torch": "2.13.0"}
    cost = dict(table(html, "What it took"))
    assert (cost["of it: generate"], cost["judge: calls"]) == ("60.0 s", "96")


# --- what it is given


def test_a_run_is_its_folder_or_its_file(tmp_path: Path) -> None:
    run = some_run()
    run.save(tmp_path / "run.json")
    assert read_source(tmp_path) == read_source(tmp_path / "run.json") == run
    (tmp_path / "run.json").rename(tmp_path / "renamed")
    assert read_source(tmp_path / "renamed") == run


def test_questions_that_lie_beside_a_run_are_shown(tmp_path: Path) -> None:
    some_run().save(tmp_path / "run.json")
    assert "Questions were not given" in page(tmp_path)
    save_tasks(tmp_path / "held_out.jsonl", [Task(id="held-0", question="Why so?")])
    for source in (tmp_path, tmp_path / "run.json"):
        assert "Why so?" in text_of(soup(page(source)).select_one("#task-1"))


def test_the_place_of_a_file_is_not_on_its_page(tmp_path: Path) -> None:
    save_grades(tmp_path / "g.jsonl", some_grades())
    html = page(tmp_path / "g.jsonl")
    assert str(tmp_path) not in html
    assert "g.jsonl" in html


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "holds no grade"),
        (b"\n \n", "holds no grade"),
        (b'{"id": "a", "question": "Why?"}\n', "an object with the keys 'id, question'"),
        (b"[1, 2]", r"JSON that is no object, \[1, 2\]"),
        (b"id,question\n", "no JSON; it begins with b'id,question"),
        (b"\xff\xfe\x00", "no JSON; it begins with"),
        (b"[" * 100_000, "no JSON; it begins with"),
        (b'{"arm": 1, "log": [], "before": {}, "after": {}}', "is not as rar train writes it"),
        (b'{"task": "a", "response": "1", "score": 3, "arm": "explicit"}', "line 1, field score"),
    ],
)
def test_a_file_that_is_neither_is_named_with_what_it_holds(
    data: bytes, said: str, tmp_path: Path
) -> None:
    (tmp_path / "x.jsonl").write_bytes(data)
    with pytest.raises(DataError, match=said):
        write_report(tmp_path / "x.jsonl", tmp_path / "out.html")
    assert not (tmp_path / "out.html").exists()


def test_a_folder_without_a_run_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(DataError, match=r"holds no run\.json but checkpoints"):
        read_source(tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        read_source(tmp_path / "nothing")


@pytest.mark.parametrize(
    "damage",
    [
        {"log": [{"entropy": 1.0}]},
        {"steps": [1]},
        {"before": [1]},
        {"steps": [{"usage": {"calls": "many"}}] * 12},
        {"seconds": "long"},
    ],
)
def test_a_damaged_run_is_an_error_of_ours(damage: dict[str, Any], tmp_path: Path) -> None:
    whole = asdict(some_run())
    (tmp_path / "run.json").write_text(json.dumps(whole | damage))
    with pytest.raises(DataError, match="not as rar train writes it"):
        page(tmp_path)


def test_no_grades_are_no_page() -> None:
    with pytest.raises(DataError, match="no grades to report"):
        page([])


def test_what_is_read_is_not_overwritten(tmp_path: Path) -> None:
    some_run().save(tmp_path / "run.json")
    for out in (tmp_path / "run.json", tmp_path / "x" / ".." / "run.json"):
        with pytest.raises(DataError, match="would be overwritten"):
            write_report(tmp_path, out)
    with pytest.raises(DataError, match="is a folder"):
        write_report(tmp_path, tmp_path)


@pytest.mark.fault
def test_a_page_that_cannot_be_written_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="could not be written"):
        write_report(some_grades(), tmp_path / "file" / "r.html")


# --- hostile text

HOSTILE = {
    "script": "<script>window.pwned = 1</script>",
    "image": '"><img src=x onerror="window.pwned = 1">',
    "attribute": "' onmouseover='window.pwned = 1' x='",
    "link": "[x](javascript:alert(1)) <a href='javascript:alert(1)'>x</a>",
    "address": "https://evil.example/x.png //evil.example",
    "style": "</style><script>window.pwned = 1</script><style>",
    "title": "</title></svg></table></details></main><h1>x</h1>",
    "comment": "<!-- --!> ]]> <![CDATA[",
    "template": "{{ 7 * 7 }} {% raw %} {# #} ${7*7}",
    "entity": "&lt;script&gt; &amp; &#60;script&#62;",
    "colours": "\x1b[31mred\x1b[0m \x1b]8;;https://evil.example\x07x\x07",
    "direction": "\u202eevil\u2066\u2069\u200f \u061c",
    "invisible": "a\u200bb\u200cc\u2060d\ufeffe\u00adf",
    "half": "a\ud800b\udfff",
    "zero": "a\x00b\x08c\x7f",
    "noncharacter": "a\uffffb\ufdd0",
}
TAGS = {
    "html",
    "head",
    "meta",
    "title",
    "style",
    "body",
    "header",
    "p",
    "h1",
    "h2",
    "h3",
    "bdi",
    "b",
    "nav",
    "ul",
    "li",
    "a",
    "main",
    "dl",
    "div",
    "dt",
    "dd",
    "section",
    "table",
    "caption",
    "span",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "svg",
    "rect",
    "path",
    "line",
    "text",
    "desc",
    "details",
    "summary",
    "article",
    "figure",
    "figcaption",
    "footer",
}


def hostile_grades(text: str) -> str:
    bad = verdict(0, 0.7, criterion=text, title=text, description=text)
    lost = verdict(1, None, description=text + ".", reason=text)
    names = dict.fromkeys(("judge", "judge_weights", "judge_wording", "judge_prompt"), text)
    rows = [
        grade(text, text, 0.5, **names).model_copy(update={"verdicts": (bad,)}),
        grade("b", text, None, **names).model_copy(
            update={"verdicts": (bad, lost), "reason": text}
        ),
    ]
    turn = Turn.model_construct(role="user", content=text)
    task = Task.model_construct(id="b", question=text, reference=text, history=(turn,), rubric=None)
    return page(rows, tasks=[task], responses=[Response("b", text, text)], title=text)


def hostile_run(text: str) -> str:
    looks = [{"step": step, text: {text: 0.5, "b": 0.4}} for step in (0, 9)]
    identity = {
        "settings": {text: text, "policy": text},
        "reward": {"arm": text, "judge": {"identity": {"model": text, "engine": text}}},
        "watch": {"by": {"graders": {text: [{"identity": {"model": text}}, text]}}},
        "versions": {text: text},
        "code": text,
    }
    run = some_run(
        arm=text,
        backend=text,
        before={text: text, "b": text},
        after={text: text, "b": ""},
        watched=looks,
        identity=identity,
    )
    for step in run.steps:
        step["criteria"] = {text: {text: 0.5}}
    for entry in run.log:
        entry[f"seconds/{text}"] = 1.0
        entry["entropy"] = text
    held = [grade("b", side, 0.5, 0.5, judge=text) for side in ("before", "after")]
    return page(run, grades=held)


@pytest.mark.parametrize("made", [hostile_grades, hostile_run])
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_is_text(made: Any, text: str) -> None:
    html = made(text)
    html.encode("utf-8")
    assert not re.search(r"[^\n\t\x20-\x7e\x80-\U0010ffff]", html), "a control character"
    assert visible(html) == html.replace("<s>", "< s>"), "an invisible character"
    found = soup(html)
    assert {element.name for element in found.find_all(True)} <= TAGS
    for element in found.find_all(True):
        for name in element.attrs:
            assert not name.startswith("on"), (element.name, name)
            assert name not in {"style", "src", "srcset", "action", "data", "srcdoc"}
    flat = " ".join(visible(text).split())
    assert len(found.find_all("h1")) == 1
    texts = [block.get_text() for block in found.select(".text")]
    assert visible(text) in texts, "the text itself is there, as it was written"
    assert flat in " ".join(found.get_text().split())


def test_no_address_leads_out_of_a_page() -> None:
    """Every attribute of every element, and the style: nothing is fetched, and no link leaves."""
    for html in (page(some_grades()), page(some_run()), hostile_grades(HOSTILE["address"])):
        found = soup(html)
        ids = {element["id"] for element in found.find_all(id=True)}
        for element in found.find_all(True):
            for name, value in element.attrs.items():
                if name in {"href", "xlink:href"}:
                    assert value[0] == "#"
                    assert value[1:] in ids
                elif name not in {"aria-label", "content"}:
                    assert "//" not in str(value)
        style = found.style.get_text()
        assert not re.search(r"url\(|@import|@font-face|//|expression", style)


def test_the_policy_allows_this_style_and_nothing_else() -> None:
    found = soup(page(some_grades()))
    (style,) = found.find_all("style")
    known = base64.b64encode(hashlib.sha256(style.get_text().encode()).digest()).decode()
    policy = found.find("meta", attrs={"http-equiv": "Content-Security-Policy"})
    assert policy["content"] == (
        f"default-src 'none'; style-src 'sha256-{known}'; base-uri 'none'; form-action 'none'"
    )
    before = str(found).split(str(policy))[0]
    assert "<style" not in before, "the policy stands before what it is about"


# --- for every reader


@pytest.mark.parametrize("html", [page(some_grades()), page(some_run())], ids=["grades", "run"])
def test_a_page_can_be_heard(html: str) -> None:
    found = soup(html)
    assert html.startswith("<!DOCTYPE html>")
    assert found.html["lang"] == "en"
    assert [len(found.find_all(t)) for t in ("h1", "main", "nav")] == [1, 1, 1]
    levels = [int(h.name[1]) for h in found.find_all(re.compile(r"^h\d$"))]
    assert all(later <= earlier + 1 for earlier, later in pairwise(levels))
    assert all(t.caption and t.find("th", scope="col") for t in found.find_all("table"))
    ids = [element["id"] for element in found.find_all(id=True)]
    assert len(ids) == len(set(ids))
    for element in found.find_all(attrs={"aria-labelledby": True}):
        assert set(element["aria-labelledby"].split()) <= set(ids)
    names = [r["aria-label"] for r in found.find_all(attrs={"role": "region"})]
    assert len(names) == len(set(names)), "a region is told from the others"


def luminance(colour: str) -> float:
    """Relative luminance of a colour, as WCAG 2.2 defines it."""
    full = "".join(c * 2 for c in colour[1:]) if len(colour) == 4 else colour[1:]
    parts = [int(full[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_every_colour_can_be_read_on_its_ground(theme: int) -> None:
    style = soup(page(some_grades())).style.get_text()
    blocks = re.findall(r":root \{([^}]*--ink[^}]*)\}", style)
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6});", blocks[theme]))
    for ground in ("ground", "stripe"):
        for text in ("text", "muted", "link", "ink", "for", "against", "unknown", "gold-text"):
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
        for line in ("line-0", "line-1", "line-2", "line-3"):
            assert contrast(colours[line], colours[ground]) >= 3, line
    assert contrast(colours["text"], colours["head"]) >= 4.5


# --- in a real browser


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of each kind, and of each kind one that is hostile."""
    where = tmp_path_factory.mktemp("reports")
    word = "x" * 3_000
    everything = " ".join(text for name, text in HOSTILE.items() if name != "half") + word
    pages = {
        "grades": page(some_grades(40)),
        "run": page(some_run(), grades=held_out()),
        "hostile": hostile_grades(everything),
        "hostile-run": hostile_run(everything),
        "wide": page([grade(word, f"{word}{n}", 0.5, *([0.5] * 9)) for n in range(12)]),
    }
    for name, html in pages.items():
        (where / f"{name}.html").write_text(html, encoding="utf-8")
    return where


def held_out() -> list[GradedResponse]:
    rows: Sequence[tuple[str, float]] = (("before", 0.2), ("after", 0.7))
    return [grade(f"held-{n}", side, p, p, p) for n in range(9) for side, p in rows]


@pytest.mark.parametrize(("by", "scheme"), [("file", "light"), ("http", "dark")])
def test_a_page_fits_every_window_and_asks_for_nothing(
    chrome: Any, folder: Path, by: str, scheme: str
) -> None:
    page = chrome.new_context(color_scheme=scheme).new_page()
    problems = watch(page)
    asked = []
    page.on("request", lambda r: asked.append(r.url))
    with served(folder) as address:
        for path in sorted(folder.glob("*.html")):
            asked.clear()
            url = path.resolve().as_uri() if by == "file" else address + path.name
            page.goto(url)
            page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
            for width in (400, 820, 1400):
                if said := too_wide(page, width):
                    problems.append(f"{path.name} is {said}")
            if page.evaluate("typeof window.pwned") != "undefined":
                problems.append(f"{path.name} ran hostile text")
            problems += [f"{path.name} asked for {a}" for a in asked if a != url]
    assert problems == []


def test_a_script_that_gets_in_is_stopped_by_the_policy(
    chrome: Any, folder: Path, tmp_path: Path
) -> None:
    bad = "<script>window.pwned = 1</script><img src=x onerror='window.pwned = 1'></main>"
    html = (folder / "grades.html").read_text(encoding="utf-8").replace("</main>", bad)
    (tmp_path / "bad.html").write_text(html, encoding="utf-8")
    page = chrome.new_page()
    page.goto((tmp_path / "bad.html").as_uri())
    assert page.evaluate("typeof window.pwned") == "undefined"


def test_light_dark_and_paper_differ_and_paper_shows_what_is_folded(
    chrome: Any, folder: Path
) -> None:
    page = chrome.new_page()
    page.goto((folder / "grades.html").as_uri())
    grounds = {}
    for look in ("light", "dark"):
        page.emulate_media(color_scheme=look)
        grounds[look] = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert grounds == {"light": "rgb(255, 255, 255)", "dark": "rgb(18, 18, 18)"}
    folded = "document.querySelectorAll('details:not([open])')[0].getBoundingClientRect().height"
    closed = page.evaluate(folded)
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 760, "height": 1000})
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == grounds["light"]
    assert page.evaluate(folded) > closed + 100
    assert page.evaluate("document.documentElement.scrollWidth") <= 760


def test_the_keyboard_reaches_and_opens_a_task(chrome: Any, folder: Path) -> None:
    page = chrome.new_page()
    page.goto((folder / "grades.html").as_uri())
    page.focus("#task-5 summary")
    page.keyboard.press("Enter")
    assert page.evaluate("document.querySelector('#task-5').open")


@pytest.mark.parametrize(("scheme", "rules"), [("light", ()), ("dark", ("color-contrast",))])
def test_no_report_has_a_serious_barrier(
    chrome: Any, folder: Path, scheme: str, rules: tuple[str, ...]
) -> None:
    page = chrome.new_context(color_scheme=scheme).new_page()
    found = []
    for name in ("grades", "run", "wide"):
        page.goto((folder / f"{name}.html").as_uri())
        found += [f"{name}: {barrier}" for barrier in barriers(page, *rules)]
    assert found == []


def test_what_a_policy_thinks_of_given_answers_is_no_grader() -> None:
    within = {
        "reference": {"t1": -2.98},
        "with_rubric": {"t1": -2.57},
        "margin": {"t1-1": 0.12},  # in the range of a score, by pair
    }
    looks = [{"step": step, "hold-out": {"t1": 0.5}, **within} for step in (0, 4)]
    assert report._roles(looks) == ["hold-out"]
    assert set(within) == set(Likelihoods.MEASURES)


# --- the rollout browser: the right numbers, hostile text as text, by keyboard, in every window

HOSTILE_WORDS = "\n".join(
    [
        "<script>window.pwned = 1</script>",
        "</script><img src=x onerror='window.pwned = 1'>",
        "</p></div></article></main><h1>mine</h1><svg onload=window.pwned=1></svg>",
        "<a href='javascript:window.pwned=1'>x</a> [x](javascript:window.pwned=1)",
        "\x1b[31mred\x1b[0m \x1b]8;;https://evil.example\x07link\x07",
        "```{raw} html\n<img src=x onerror='window.pwned = 1'>\n```",
        ":::{include} /etc/passwd\n:::",
        '"}]}</script><script>window.pwned = 1</script> <!-- <script> -->',
        "{{ 7 * 7 }} ${window.pwned = 1} \u2028 \u2029 &lt;b&gt; &amp;",
        "\u202eevil\u2066\u2069 a\u200bb a\ud800b",
    ]
)


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return write_kept(tmp_path / "run")


def leaf(folder: Path, **more: Any) -> dict[str, Any]:
    return browsed(Run.load(folder / "run.json"), transcript_of(folder), (), **more)


def of_task(found: dict[str, Any], name: str) -> dict[str, Any]:
    (one,) = (task for task in found["tasks"] if task["id"] == name)
    return one


def test_a_held_out_task_has_its_answers_before_at_a_look_and_after(kept: Path) -> None:
    one = of_task(leaf(kept), "held-0")
    assert one["question"] == {"said": "Why?  (held-0)", "more": 0}
    assert one["reference"]["said"] == "It is less dense."
    assert [step["label"] for step in one["steps"]] == [
        "before training",
        "after step 2",
        "after step 4 (last)",
    ]
    texts = [step["answers"][0]["text"]["said"] for step in one["steps"]]
    assert texts == [
        "It floats, before, held-0.",
        "At step 2, held-0.",
        "It floats, after, held-0.",
    ]
    (middle,) = one["steps"][1]["answers"]
    assert [(r["by"], r["value"]) for r in middle["rewards"]] == [
        ("training: qwen, explicit", 0.5),
        ("hold-out: smol, implicit", 0.5),
    ]
    # The second grader gives a rating alone, so there is one table of criteria.
    assert [group["by"] for group in one["criteria"]] == ["training: qwen, explicit"]
    rows = one["criteria"][0]["rows"]
    assert [(r["text"], r["category"], r["against"]) for r in rows] == [
        ("Says that ice is less dense.", "Essential", False),
        ("Says that cold things float.", "Pitfall", True),
    ]
    seen = [step["answers"][0]["verdicts"][0][0] for step in one["steps"]]
    assert [(v["met"], v["p"]) for v in seen] == [(False, 0.0), (False, 0.5), (True, 1.0)]


def test_a_group_has_its_rollouts_with_the_advantages_that_the_trainer_gave(kept: Path) -> None:
    one = of_task(leaf(kept), "train-1")  # drawn by steps 1 and 3
    assert [step["label"] for step in one["steps"]] == ["step 1", "step 3"]
    moment = one["steps"][1]
    assert len(moment["answers"]) == 8
    third = moment["answers"][2]
    assert third["name"] == "rollout 3"
    assert third["text"]["said"] == "Rollout 3 of step 3."
    assert third["tokens"] == 13
    (reward,) = third["rewards"]
    assert (reward["by"], reward["value"], reward["advantage"]) == ("explicit by qwen", 0.3, -1.0)
    # Unscored is no 0: it has no value, and a reason.
    lost = moment["answers"][1]
    assert lost["rewards"][0]["value"] is None
    assert lost["rewards"][0]["reason"] == "endpoint busy"
    assert lost["verdicts"][0][0] == {"met": None, "p": None, "reason": "endpoint busy"}
    # Of 0.1, 0.3, 0.4, ..., 0.8: mean 3.4 / 7, deviation by hand.
    assert moment["summary"] == (
        "8 rollouts, mean reward 0.49, standard deviation 0.241, "
        "1 unscored, which got no advantage."
    )


def test_a_flat_group_is_called_one(tmp_path: Path) -> None:
    folder = write_kept(tmp_path)
    rows = as_json(folder)
    for row in rows:
        for rollout in row.get("groups", [{"rollouts": []}])[0]["rollouts"]:
            rollout |= {"score": 0.5, "advantage": 0.0}
    run = Run.load(folder / "run.json")
    one = of_task(browsed(run, rows, ()), "train-1")
    assert one["steps"][0]["summary"].endswith("a flat group: nothing was learnt from it.")


def test_responses_graded_in_several_ways_have_a_reward_and_an_advantage_of_each_arm() -> None:
    asked = Task.model_validate(task("t"))
    found = browsed_arms(five_arms(), [asked], "Chapter 6")
    (one,) = found["tasks"]
    first, second = one["steps"][0]["answers"]
    assert [(r["by"], r["value"]) for r in first["rewards"]] == [
        ("explicit", 0.75),
        ("implicit", 0.5),
    ]
    assert first["rewards"][0]["advantage"] == pytest.approx(0.7070, abs=1e-3)
    assert second["rewards"][0]["advantage"] == pytest.approx(-0.7070, abs=1e-3)
    assert [r["rewards"][1]["advantage"] for r in (first, second)] == [0.0, 0.0]
    assert [group["by"] for group in one["criteria"]] == ["explicit"]


def test_grades_of_the_held_out_answers_bring_their_criteria(kept: Path) -> None:
    seen = GradedCriterion(
        criterion="c-dense",
        title="D",
        description="Dense.",
        category="Essential",
        polarity="good",
        met=True,
        probability=0.9,
        reason=None,
    )
    row = GradedResponse(
        task="held-0",
        response="after",
        arm="explicit",
        score=0.9,
        share=1.0,
        reason=None,
        verdicts=(seen,),
        calls=1,
        prompt_tokens=1,
        cached_tokens=0,
        completion_tokens=1,
        seconds=1.0,
        money=None,
        judge="third",
        judge_weights="x",
        judge_wording="a",
        judge_prompt="y",
        reading="probability",
    )
    one = of_task(leaf(kept, grades=[row]), "held-0")
    assert [group["by"] for group in one["criteria"]][-1] == "third, explicit"
    last = one["steps"][-1]["answers"][0]
    assert (last["rewards"][-1]["by"], last["rewards"][-1]["value"]) == ("third, explicit", 0.9)
    assert last["verdicts"][-1][0]["p"] == 0.9
    assert one["steps"][0]["answers"][0]["verdicts"][-1] is None


def test_a_run_that_kept_nothing_says_so_and_shows_what_there_is(tmp_path: Path) -> None:
    kept_run().save(tmp_path / "run.json")
    found = leaf(tmp_path)
    assert "did not keep its rollouts" in found["note"]
    assert {one["part"] for one in found["tasks"]} == {"held-out tasks"}
    one = of_task(found, "held-1")
    assert one["question"]["more"] is None
    assert [step["step"] for step in one["steps"]] == [0, 4]
    assert one["steps"][1]["answers"][0]["rewards"][0]["value"] == 0.75
    known = browsed(Run.load(tmp_path / "run.json"), [], [Task(id="held-1", question="Why?")])
    assert of_task(known, "held-1")["question"]["said"] == "Why?"
    imitates = replace(kept_run(), steps=[], arm="sft_reference")
    assert "trained without a reward" in browsed(imitates, [], ())["note"]


def test_a_look_whose_answers_were_not_kept_has_its_scores_alone(kept: Path) -> None:
    rows = [row for row in as_json(kept) if row.get("look") != 0]
    run = Run.load(kept / "run.json")
    run.watched.insert(1, {"step": 3, "training": {"held-0": 0.5}, "hold-out": {"held-0": None}})
    moment = of_task(browsed(run, rows, ()), "held-0")["steps"][2]
    assert moment["label"] == "after step 3"
    (answer,) = moment["answers"]
    assert answer["text"]["more"] is None
    assert [r["value"] for r in answer["rewards"]] == [0.5, None]


def test_of_a_long_run_some_steps_are_shown_evenly_with_the_last_one(tmp_path: Path) -> None:
    folder = write_kept(tmp_path, kept_run(steps=400), rollouts=8)
    found = leaf(folder)
    assert "Of 400 steps, one in 3 is on this page." in found["note"]
    steps = sorted(
        moment["step"] for one in found["tasks"] if one["group"] for moment in one["steps"]
    )
    assert steps == [*range(1, 401, 3)]
    assert len(browser_data([found])) < 3_000_000


def test_groups_that_were_not_kept_are_named(kept: Path) -> None:
    run = Run.load(kept / "run.json")
    run.identity["settings"]["prompts_per_step"] = KEPT_GROUPS + 1
    note = browsed(run, transcript_of(kept), ())["note"]
    assert note == f"Of every step the first {KEPT_GROUPS} groups were kept."


def test_a_long_text_is_cut_and_says_by_how_much(kept: Path) -> None:
    run = Run.load(kept / "run.json")
    run.after["held-0"] = "x" * 4_100
    rows = [row for row in as_json(kept) if "look" not in row]
    found = of_task(browsed(run, rows, ()), "held-0")["steps"][-1]["answers"][0]["text"]
    assert (len(found["said"]), found["more"]) == (4_000, 100)


def test_grades_are_nothing_to_leaf_through(tmp_path: Path) -> None:
    row = {"task": "t", "response": "r", "score": 0.5, "arm": "explicit"}
    (tmp_path / "g.jsonl").write_text(json.dumps(row))
    with pytest.raises(DataError):
        write_report(tmp_path / "g.jsonl", tmp_path / "x.html", browse=True)
    with pytest.raises(DataError, match="only a run of rar train"):
        browse_page([])


@pytest.mark.parametrize("damage", [{"groups": 7}, {"groups": [{}]}, {"groups": [{"task": {}}]}])
def test_a_transcript_that_somebody_changed_is_named(kept: Path, damage: dict[str, Any]) -> None:
    path = kept / TRANSCRIPT
    path.write_text(path.read_text() + json.dumps({"step": 5} | damage) + "\n")
    with pytest.raises(DataError, match="is not as rar train writes it"):
        browse_page(kept)


def test_a_line_that_was_cut_off_costs_that_line(kept: Path) -> None:
    whole = leaf(kept)
    path = kept / TRANSCRIPT
    path.write_text(path.read_text() + '{"step": 5, "gro')
    assert leaf(kept) == whole


def hostile(folder: Path) -> str:
    return browse_page(write_kept(folder, text=HOSTILE_WORDS), title=HOSTILE_WORDS)


def test_the_data_is_inert_and_whole(tmp_path: Path) -> None:
    found = leaf(write_kept(tmp_path, text=HOSTILE_WORDS))
    data = browser_data([found])
    assert not re.search("[<>&\u2028\u2029]", data)
    assert json.loads(data) == {"runs": [found]}


def test_hostile_text_is_text_on_the_page(tmp_path: Path) -> None:
    html = hostile(tmp_path)
    html.encode("utf-8")
    found = BeautifulSoup(html, "html.parser")
    assert [one.get("type") for one in found.find_all("script")] == ["application/json", None]
    assert not found.find_all(["img", "iframe", "object", "a", "form", "base", "link"])
    for element in found.find_all(True):
        for name in element.attrs:
            assert not name.startswith("on"), (element.name, name)
            assert name not in {"style", "src", "srcset", "href", "action", "srcdoc"}
    assert len(found.find_all("h1")) == 1
    shown = [box.get_text() for box in found.select("#rollouts-shown .text")]
    assert any(visible(HOSTILE_WORDS).strip() in text for text in shown)


def test_a_policy_knows_style_and_script_and_nothing_else(kept: Path) -> None:
    found = BeautifulSoup(browse_page(kept), "html.parser")
    policy = found.find("meta", attrs={"http-equiv": "Content-Security-Policy"})["content"]

    def known(text: str) -> str:
        return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"

    style = known(found.style.string)
    script = known(found.find_all("script")[-1].string)
    assert policy == (
        f"default-src 'none'; style-src '{style}'; base-uri 'none'; form-action 'none'; "
        f"script-src '{script}'"
    )


def test_the_script_makes_text_nodes_and_asks_for_nothing() -> None:
    source = files("rar_lib.book").joinpath("rollouts.js").read_text(encoding="utf-8")
    script = "\n".join(line.split("// ")[0] for line in source.splitlines())
    assert "textContent" in script
    banned = (
        r"innerHTML|outerHTML|insertAdjacent|document\.write|eval|Function|fetch|XMLHttp|import"
    )
    assert not re.search(rf"{banned}|\.href|\.src\b|setTimeout|localStorage|cookie", script)
    style = files("rar_lib.book").joinpath("rollouts.css").read_text(encoding="utf-8")
    assert not re.search(r"url\(|@import|@font-face|//|expression", style)


def test_without_script_the_first_task_is_there(kept: Path) -> None:
    found = BeautifulSoup(browse_page(kept), "html.parser")
    shown = found.select_one("#rollouts-shown")
    assert "Why? (held-0)" in " ".join(shown.get_text().split())
    assert found.select_one("#rollouts-pick").has_attr("hidden")

    def words(cell: Any) -> str:
        return " ".join(cell.get_text(" ").split())

    cells = [list(map(words, row.find_all(["th", "td"]))) for row in shown.select("tbody tr")]
    assert cells[0] == [
        "Says that ice is less dense. Essential",
        "before training ▼ not met 0.00",
        "after step 4 (last) ▲ met 1.00",
    ]
    assert cells[1][2] == "after step 4 (last) ▲ not met 0.20"


def test_every_choice_has_a_label(kept: Path) -> None:
    found = BeautifulSoup(browse_page(kept), "html.parser")
    labels = {label["for"]: label.get_text() for label in found.find_all("label")}
    chosen = [select["id"] for select in found.find_all("select")]
    assert [labels[name] for name in chosen] == ["Run", "Task", "Step", "Beside"]
    assert found.html["lang"] == "en"
    ids = [element["id"] for element in found.find_all(id=True)]
    assert len(ids) == len(set(ids))


# --- the rollout browser in a real browser


@pytest.fixture(scope="module")
def browsable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("rollouts")
    write_report(write_kept(where / "plain"), where / "plain.html", browse=True)
    word = HOSTILE_WORDS + " " + "x" * 3_000
    write_report(write_kept(where / "hostile", text=word), where / "hostile.html", browse=True)
    return where


@pytest.fixture
def opened(chrome: Any) -> Iterator[Any]:
    opened = chrome.new_page()
    problems = watch(opened)
    yield opened
    assert problems == []


def picked(opened: Any, name: str) -> str:
    found: str = opened.eval_on_selector(f"#pick-{name}", "s => s.selectedOptions[0].textContent")
    return found


def shown(opened: Any) -> str:
    found: str = opened.inner_text("#rollouts-shown")
    return " ".join(found.split())


@pytest.mark.parametrize(("by", "scheme"), [("file", "light"), ("http", "dark")])
def test_every_choice_fits_every_window_and_asks_for_nothing(
    chrome: Any, browsable: Path, by: str, scheme: str
) -> None:
    opened = chrome.new_context(color_scheme=scheme).new_page()
    problems = watch(opened)
    asked = []
    opened.on("request", lambda r: asked.append(r.url))
    with served(browsable) as address:
        for name in ("plain.html", "hostile.html"):
            asked.clear()
            url = (browsable / name).resolve().as_uri() if by == "file" else address + name
            opened.goto(url)
            tasks = opened.eval_on_selector_all("#pick-task option", "o => o.map(x => x.value)")
            assert tasks == ["held-0", "held-1", "held-2", "train-1", "train-0"]
            for task_id in ("held-0", "train-1"):
                opened.select_option("#pick-task", task_id)
                opened.eval_on_selector_all("details", "all => all.forEach(d => d.open = true)")
                for width in (400, 820, 1400):
                    if said := too_wide(opened, width):
                        problems.append(f"{name}, {task_id}: {said}")
                    cut = opened.eval_on_selector_all(
                        ".scroll", "all => all.filter(b => b.scrollWidth > b.clientWidth).length"
                    )
                    if cut and name == "plain.html":
                        problems.append(f"{name}, {task_id}: a column is hidden at {width} px")
            if opened.evaluate("typeof window.pwned") != "undefined":
                problems.append(f"{name} ran hostile text")
            problems += [f"{name} asked for {a}" for a in asked if a != url]
    assert problems == []


def test_hostile_text_is_read_as_it_was_written(opened: Any, browsable: Path) -> None:
    opened.goto((browsable / "hostile.html").as_uri())
    texts = opened.eval_on_selector_all(".text", "all => all.map(box => box.textContent)")
    assert any(visible(HOSTILE_WORDS).strip() in text for text in texts)
    opened.select_option("#pick-task", "train-1")
    texts = opened.eval_on_selector_all(".text", "all => all.map(box => box.textContent)")
    assert sum(visible(HOSTILE_WORDS).strip() in text for text in texts) >= 8
    inside = opened.eval_on_selector_all("#rollouts-shown *", "all => all.map(e => e.localName)")
    assert not {"script", "img", "a", "iframe", "h1"} & set(inside)
    assert opened.evaluate("typeof window.pwned") == "undefined"


def test_the_keyboard_alone_picks_task_and_step(opened: Any, browsable: Path) -> None:
    opened.goto((browsable / "plain.html").as_uri())
    assert "It floats, before, held-0." in shown(opened)
    assert "It floats, after, held-0." in shown(opened)
    order = []
    for _ in range(4):
        opened.keyboard.press("Tab")
        order.append(opened.evaluate("document.activeElement.id"))
    assert order == ["pick-task", "pick-step", "pick-beside", ""]  # one run: nothing to pick
    opened.focus("#pick-step")
    outline = opened.evaluate("getComputedStyle(document.activeElement).outlineWidth")
    assert outline == "2px"
    opened.keyboard.press("ArrowUp")
    assert picked(opened, "step") == "after step 2"
    assert "At step 2, held-0." in shown(opened)
    assert "It floats, after, held-0." not in shown(opened)
    opened.keyboard.press("Shift+Tab")
    opened.keyboard.press("ArrowDown")
    assert picked(opened, "task").startswith("held-1")
    assert "Why? (held-1)" in shown(opened)
    for _ in range(2):
        opened.keyboard.press("ArrowDown")
    assert picked(opened, "task").startswith("train-1")
    assert (picked(opened, "step"), picked(opened, "beside")) == ("step 3", "step 1")
    assert "Rollout 8 of step 3." in shown(opened)
    assert "Rollout 8 of step 1." in shown(opened)
    assert opened.evaluate("document.activeElement.id") == "pick-task"
    assert opened.inner_text("#rollouts-status") == "Shown: train-1, step 1, beside step 3"


def test_a_group_is_in_the_order_of_its_advantages(opened: Any, browsable: Path) -> None:
    opened.goto((browsable / "plain.html").as_uri() + "#task=train-0&step=2&beside=none")
    heads = opened.eval_on_selector_all("article h3", "all => all.map(h => h.firstChild.data)")
    assert heads == [f"rollout {k}" for k in (8, 7, 6, 5, 4, 3, 1, 2)]  # 2 is unscored
    first = opened.inner_text("article >> nth=0").split("\n")
    assert "0.80" in first
    assert "+4.00" in first
    assert "−3.00" in opened.inner_text("article >> nth=6")
    last = opened.inner_text("article >> nth=7")
    assert "unscored" in last
    assert "endpoint busy" in last
    assert "advantage" not in last


def test_a_text_that_is_cut_says_so_and_can_be_had_whole(opened: Any, browsable: Path) -> None:
    opened.goto((browsable / "hostile.html").as_uri() + "#task=train-1")
    box = opened.locator(".cards-of .text").first
    button = opened.locator(".cards-of .whole").first
    cut = "e => e.scrollHeight > e.clientHeight + 1"
    assert button.is_visible()
    assert box.evaluate(cut)
    button.focus()
    opened.keyboard.press("Enter")
    assert not button.is_visible()
    assert not box.evaluate(cut)
    opened.goto("about:blank")
    opened.goto((browsable / "plain.html").as_uri() + "#task=train-1")
    assert opened.locator(".whole:visible").count() == 0


def test_answers_without_a_grade_say_so_and_promise_no_verdicts(
    opened: Any, tmp_path: Path
) -> None:
    bare = replace(kept_run(), steps=[], watched=[], arm="sft_reference", identity={})
    bare.save(tmp_path / "run.json")
    (tmp_path / "page.html").write_text(browse_page(tmp_path), encoding="utf-8")
    opened.goto((tmp_path / "page.html").as_uri())
    said = shown(opened)
    assert said.count("No grade of this answer is kept here.") == 2
    assert "Criteria" not in said


def test_a_probability_close_to_one_half_is_not_rounded_to_it(opened: Any, tmp_path: Path) -> None:
    write_kept(tmp_path)
    path = tmp_path / TRANSCRIPT
    close = path.read_text(encoding="utf-8").replace('"probability": 0.2', '"probability": 0.4971')
    path.write_text(close, encoding="utf-8")
    (tmp_path / "page.html").write_text(page := browse_page(tmp_path), encoding="utf-8")
    still = BeautifulSoup(page, "html.parser").select_one("#rollouts-shown").get_text(" ")
    assert "not met 0.4971" in " ".join(still.split())
    opened.goto((tmp_path / "page.html").as_uri())
    assert "not met 0.4971" in shown(opened)
    assert "Verdicts (training: " in shown(opened)


def test_the_address_leads_back_to_what_was_picked(opened: Any, browsable: Path) -> None:
    opened.goto((browsable / "plain.html").as_uri())
    opened.select_option("#pick-task", "train-0")
    opened.select_option("#pick-step", "2")
    opened.select_option("#pick-beside", "none")
    address = opened.url
    assert address.endswith("#run=0&task=train-0&step=2&beside=none")
    opened.goto("about:blank")
    opened.goto(address)
    assert (picked(opened, "step"), picked(opened, "beside")) == ("step 2", "nothing")
    assert "Rollout 1 of step 2." in shown(opened)
    opened.goto("about:blank")
    opened.goto(address.replace("train-0", "%3Cimg%20src=x%3E").replace("step=2", "step=99"))
    assert picked(opened, "task").startswith("held-0")  # what is not there is not picked


def test_without_script_and_on_paper_a_task_is_there(chrome: Any, browsable: Path) -> None:
    context = chrome.new_context(java_script_enabled=False)
    opened = context.new_page()
    opened.goto((browsable / "plain.html").as_uri())
    assert opened.is_hidden("#rollouts-pick")
    assert "It floats, before, held-0." in opened.inner_text("#rollouts-shown")
    assert opened.is_visible("#rollouts-shown table")
    opened = chrome.new_page(viewport={"width": 760, "height": 1000})
    opened.goto((browsable / "plain.html").as_uri() + "#task=train-1")
    opened.emulate_media(media="print")
    assert opened.is_hidden("#rollouts-pick")
    assert "Rollout 8 of step 3." in opened.inner_text("#rollouts-shown")
    assert opened.evaluate("document.documentElement.scrollWidth") <= 760


def test_light_and_dark_differ_and_each_can_be_read(opened: Any, browsable: Path) -> None:
    opened.goto((browsable / "plain.html").as_uri() + "#task=train-1")
    grounds = []
    for look in ("light", "dark"):
        opened.emulate_media(color_scheme=look)
        grounds.append(opened.evaluate("getComputedStyle(document.body).backgroundColor"))
        for selector in (".met", ".unmet", ".unscored", ".note", ".rewards .by", "label", "select"):
            assert opened.eval_on_selector(f".rollouts {selector}", CONTRAST) >= 4.5, (
                look,
                selector,
            )
    assert grounds == ["rgb(255, 255, 255)", "rgb(18, 18, 18)"]


@pytest.mark.parametrize(("scheme", "rules"), [("light", ()), ("dark", ("color-contrast",))])
def test_neither_kind_of_task_has_a_serious_barrier(
    opened: Any, browsable: Path, scheme: str, rules: tuple[str, ...]
) -> None:
    opened.emulate_media(color_scheme=scheme)
    for name in ("held-0", "train-1"):
        opened.goto((browsable / "plain.html").as_uri() + f"#task={name}")
        assert barriers(opened, *rules) == []


#: Contrast of an element's text with the first ground below it that is not transparent.
CONTRAST = """element => {
  const parts = colour => colour.match(/[\\d.]+/g).map(Number);
  let below = element;
  while (below && (parts(getComputedStyle(below).backgroundColor)[3] ?? 1) === 0) {
    below = below.parentElement;
  }
  const light = colour => parts(colour).slice(0, 3)
    .map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const both = [light(getComputedStyle(element).color),
                light(getComputedStyle(below || document.body).backgroundColor)];
  return (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
}"""
