"""Responses of one's own graded, and the sums over their rows."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from itertools import permutations
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import pytest
from scripted import says, server, status

from rar_lib.core.errors import ChatError, DataError
from rar_lib.core.types import Arm, Category, Criterion, Polarity, Price, Rubric, Task
from rar_lib.data.questions import Response
from rar_lib.evaluation.grading import (
    GradedCriterion,
    GradedResponse,
    by_category,
    by_criterion,
    gradable,
    grade_items,
    grade_responses,
    items_of,
    load_grades,
    mean_of,
    mean_score,
    readable_share,
    responses_work,
    save_grades,
    total_usage,
    unscored,
)
from rar_lib.judging.cassette import Cassette
from rar_lib.judging.chat import Chat, run_sync
from rar_lib.judging.cost import tokens
from rar_lib.judging.judge import Judge
from rar_lib.judging.messages import Messages, Reading
from rar_lib.judging.reading import RATING_TOKENS, VERDICT_TOKENS
from rar_lib.judging.wire import Message

RUBRIC = Rubric(
    criteria=(
        Criterion(id="c1", title="T1", description="States it.", category=Category.ESSENTIAL),
        Criterion(
            id="p1",
            title="T2",
            description="Claims nonsense.",
            category=Category.PITFALL,
            polarity=Polarity.BAD,
        ),
    )
)
TASKS = [
    Task(id="a", question="Why?", reference="Because.", rubric=RUBRIC),
    Task(id="b", question="How?", rubric=RUBRIC),
    Task(id="bare", question="When?"),
]
RESPONSES = [
    Response("a", "m1", "Thus.", 2),
    Response("a", "m2", "", 3),
    Response("b", "m1", "So."),
]


def yes(request: dict[str, Any], _: int) -> dict[str, Any]:
    """Yes with 0.8 to the statement, with 0.1 to the nonsense."""
    likely = 0.1 if "nonsense" in request["messages"][-1]["content"] else 0.8
    return says("yes", tokens={"yes": likely, "no": 1 - likely})


def test_a_row_is_flat_and_says_who_graded_what_at_what_price() -> None:
    with server(yes) as scripted:
        judge = Judge(Chat(scripted.url, "j", price=Price(1e6, 0)))
        rows = run_sync(grade_responses(judge, TASKS, RESPONSES, "explicit"))
    first, empty, _ = rows
    assert [(row.task, row.response) for row in rows] == [("a", "m1"), ("a", "m2"), ("b", "m1")]
    # Essential 1.0 and pitfall 0.9 (paper's weights): (1.0 * 0.8 + 0.9 * (1 - 0.1)) / 1.9
    assert first.score == pytest.approx((0.8 + 0.9 * 0.9) / 1.9)
    assert [v.credit for v in first.verdicts] == [pytest.approx(0.8), pytest.approx(0.9)]
    assert (first.verdicts[1].category, first.verdicts[1].polarity) == ("Pitfall", "bad")
    assert first.share == pytest.approx(1.0)
    assert (first.calls, first.prompt_tokens, first.money) == (2, 20, 20.0)
    assert (first.judge, first.judge_weights, first.reading) == ("j", scripted.url, "probability")
    assert empty.calls == 0
    assert [v.met for v in empty.verdicts] == [False, False]
    assert len(scripted.requests) == 4


def test_pandas_reads_the_file_in_one_line(tmp_path: Path) -> None:
    with server(yes) as scripted:
        judge = Judge(Chat(scripted.url, "j"))
        rows = run_sync(grade_responses(judge, TASKS, RESPONSES, "explicit"))
    lost = rows[0].model_copy(update={"score": None, "reason": "busy", "response": "m3"})
    save_grades(tmp_path / "g.jsonl", [*rows, lost])
    frame = pd.read_json(tmp_path / "g.jsonl", lines=True)
    assert list(frame.columns) == list(GradedResponse.model_fields)
    assert frame["score"].tolist()[:3] == pytest.approx([row.score for row in rows])
    assert frame["score"].isna().tolist() == [False, False, False, True]
    assert frame.groupby("task")["calls"].sum().to_dict() == {"a": 4, "b": 2}
    flat = [name for name in frame.columns if name != "verdicts"]
    assert not frame[flat].map(lambda value: isinstance(value, list | dict)).any().any()
    assert frame["verdicts"][0][1]["criterion"] == "p1"
    assert load_grades(tmp_path / "g.jsonl") == [*rows, lost]


@pytest.mark.parametrize(
    ("arm", "fit", "said"),
    [
        ("explicit", ["a"], "line 7: task 'bare' has no rubric, which arm explicit grades by"),
        ("implicit", ["a"], "rar synthesize writes one; or grade without: --arm direct_likert"),
        ("reference_likert", ["a"], "task 'bare' has no reference, which arm reference_likert"),
        ("predefined", ["a", "bare", "bare"], ""),
        ("direct_likert", ["a", "bare", "bare"], ""),
    ],
)
def test_what_an_arm_needs_is_asked_before_it_grades(arm: Any, fit: list[str], said: str) -> None:
    given = [
        Response("a", "1", "x", 6),
        Response("bare", "1", "x", 7),
        Response("bare", "2", "y", 8),
    ]
    found, problems = gradable(TASKS, given, arm)
    assert [response.task for response in found] == fit
    assert said in "\n".join(map(str, problems))
    assert len(problems) == (3 - len(fit)) / 2, "one a task"
    if problems:
        judge = Judge(Chat("http://127.0.0.1:1/v1", "nobody"))
        with pytest.raises(DataError, match="bare"):
            run_sync(grade_responses(judge, TASKS, given, arm))


def test_an_unknown_task_or_arm_is_named() -> None:
    _, problems = gradable(TASKS, [Response("z", "1", "x", 4)], "explicit")
    assert "line 4: task 'z' is none of the 3 tasks; add it, or correct it" in str(problems[0])
    with pytest.raises(DataError, match="no arm 'explict'; choose from: explicit, implicit"):
        gradable(TASKS, [], "explict")  # type: ignore[arg-type]


@pytest.mark.parametrize("arm", ["explicit", "implicit", "reference_likert"])
def test_a_problem_and_what_mends_it_do_not_depend_on_the_rows_before(arm: Arm) -> None:
    bare = Task(id="bare", question="Why?")
    rows = [
        Response("bare", "1", "x", 2),
        Response("ghost", "1", "x", 3),
        Response("gone", "1", "x", 4),
    ]
    alone = {row.task: str(gradable([bare], [row], arm)[1][0]) for row in rows}
    assert len({said.partition("; ")[2] for said in alone.values()}) == 2
    assert "grade without: --arm direct_likert" in alone["bare"]
    for order in permutations(rows):
        assert [str(problem) for problem in gradable([bare], order, arm)[1]] == [
            alone[row.task] for row in order
        ]


@pytest.mark.fault
@pytest.mark.parametrize("answered", [1, 7, 23])
def test_an_endpoint_that_fails_half_way_loses_nothing_paid_for(
    answered: int, tmp_path: Path
) -> None:
    """Every reply that the endpoint gave is on record, and the next run asks for the rest alone."""
    given = [Response("a", str(n), f"Answer {n}.") for n in range(12)]
    broken = True

    def answer(request: dict[str, Any], number: int) -> dict[str, Any]:
        return status(402) if broken and number >= answered else yes(request, number)

    with server(answer) as scripted, closing(Cassette(tmp_path / "c.sqlite")) as cassette:
        judge = Judge(Chat(scripted.url, "j", cassette=cassette, concurrency=4))
        with pytest.raises(ChatError, match="refuses every request"):
            run_sync(grade_responses(judge, TASKS, given, "explicit"))
        assert len(scripted.requests) < answered + 5, "nobody who waits is sent after the refusal"
        before = len(scripted.requests)
        broken = False
        rows = run_sync(grade_responses(judge, TASKS, given, "explicit"))
        assert len(scripted.requests) - before == 24 - answered
    assert all(row.score is not None for row in rows)


def test_work_counts_only_what_is_asked_and_all_that_may_be_thought() -> None:
    chat = Chat("http://127.0.0.1:1/v1", "j")
    work = responses_work(Judge(chat), TASKS, RESPONSES, "explicit")
    assert (work.calls, work.completion_tokens) == (4, 4 * VERDICT_TOKENS)
    rated = responses_work(Judge(chat), TASKS, RESPONSES, "implicit")
    assert (rated.calls, rated.completion_tokens) == (2, 2 * RATING_TOKENS)
    thinking = Judge(replace(chat, dialect="openai-reasoning"))
    sampled = responses_work(thinking, TASKS, RESPONSES, "explicit")
    assert sampled.completion_tokens == 4 * (4000 + 8)


THOUGHT = "<think>112, says the book.</think>Thus."


@pytest.mark.parametrize(
    ("text", "tags", "shown", "asked"),
    [
        ("Thus.", {}, "Thus.", True),
        ("  Thus. \n", {}, "  Thus. \n", True),
        (THOUGHT, {}, "Thus.", True),
        ("112, says the book.</think>Thus.", {}, "Thus.", True),
        (THOUGHT, {"thoughts": ()}, THOUGHT, True),
        ("<plan>112</plan>Thus.", {"thoughts": ("plan",)}, "Thus.", True),
        ("<plan>112</plan>Thus.", {}, "<plan>112</plan>Thus.", True),
        ("<think>112, or", {}, "", False),
        ("<think>112</think> \n", {}, "", False),
    ],
)
def test_the_judge_is_shown_what_comes_behind_the_thoughts_as_in_training(
    text: str, tags: dict[str, Any], shown: str, asked: bool
) -> None:
    response = Response("a", "m", text)
    with server(yes) as scripted:
        judge = Judge(Chat(scripted.url, "j"))
        (row,) = run_sync(grade_responses(judge, TASKS, [response], "explicit", **tags))
        items = items_of(TASKS, [response])
        (same,) = run_sync(grade_items(judge.chat, items, judge={}, arm="explicit", **tags))
    questions = [request["messages"][-1]["content"] for request in scripted.requests]
    assert len(questions) == (4 if asked else 0)
    assert all(shown in one and ("112" in one) == ("112" in shown) for one in questions)
    assert GradedResponse.model_validate_json(same).score == row.score
    assert row.score is not None
    work = responses_work(judge, TASKS, [response], "explicit", **tags)
    plain = responses_work(judge, TASKS, [Response("a", "m", shown)], "explicit", thoughts=())
    assert work == plain


def test_responses_that_say_nothing_behind_their_thoughts_are_counted_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """They get the worst grade, and somebody must be able to see why."""
    texts = ["<think>Or should I", "", "Thus.", "<think>so</think>"]
    given = [Response("a", str(n), text) for n, text in enumerate(texts)]
    with server(yes) as scripted:
        run_sync(grade_responses(Judge(Chat(scripted.url, "j")), TASKS, given[:3], "explicit"))
        assert caplog.messages == ["1 of 3 responses say nothing behind their thoughts"]
        caplog.clear()
        run_sync(grade_responses(Judge(Chat(scripted.url, "j")), TASKS, given[1:3], "explicit"))
    assert caplog.messages == []


@dataclass(frozen=True)
class Wordy(Messages):
    """The library's messages behind a page of rules."""

    rules: ClassVar[str] = "Be strict. " * 1000

    def criterion(
        self, task: Task, response: str, criterion: Criterion, reading: Reading
    ) -> list[Message]:
        rules: Message = {"role": "system", "content": self.rules}
        return [rules, *super().criterion(task, response, criterion, reading)]


def test_a_judge_with_messages_of_its_own_is_estimated_with_them() -> None:
    judge = Judge(Chat("http://127.0.0.1:1/v1", "j"))
    plain = responses_work(judge, TASKS, RESPONSES, "explicit")
    long = responses_work(replace(judge, messages=Wordy()), TASKS, RESPONSES, "explicit")
    assert long.calls == plain.calls == 4
    more = long.prompt_tokens - plain.prompt_tokens
    assert more == pytest.approx(4 * tokens(Wordy.rules), abs=4)


def row(task: str, score: float | None, *verdicts: GradedCriterion, **more: Any) -> GradedResponse:
    base = dict.fromkeys(("calls", "prompt_tokens", "cached_tokens", "completion_tokens"), 1)
    judge = dict.fromkeys(("judge", "judge_weights", "judge_wording", "judge_prompt"), "j")
    return GradedResponse(
        **{"task": task, "response": "1", "arm": "explicit", "score": score, "seconds": 0.5}
        | {"verdicts": verdicts, "reading": "probability"}
        | base
        | judge
        | more
    )


def verdict(name: str, met: bool | None, p: float | None = None, **more: Any) -> GradedCriterion:
    fields = {"title": name, "description": name, "category": "Essential", "polarity": "good"}
    return GradedCriterion(**fields | {"criterion": name, "met": met, "probability": p} | more)


@pytest.mark.parametrize(
    ("polarity", "met", "p", "credit"),
    [
        ("good", True, None, 1.0),
        ("bad", True, None, 0.0),
        ("bad", False, 0.25, 0.75),
        ("good", True, 0.6, 0.6),
        ("bad", None, None, None),
    ],
)
def test_credit_is_what_speaks_for_the_response(
    polarity: str, met: bool | None, p: float | None, credit: float | None
) -> None:
    assert verdict("c", met, p, polarity=polarity).credit == credit


def test_means_leave_out_the_unscored_and_count_tasks() -> None:
    rows = [row("a", 0.2), row("a", 0.4), row("b", 0.9), row("b", None)]
    mean = mean_score(rows)
    assert mean is not None
    assert mean.interval.value == pytest.approx(0.5)
    assert (mean.values, mean.interval.n) == (3, 2)
    assert mean_score([row("a", None)]) is None


def test_categories_come_in_their_order_with_pitfalls_turned() -> None:
    rows = [
        row("a", 0.5, verdict("p", True, category="Pitfall", polarity="bad"), verdict("c", True)),
        row("b", 0.5, verdict("c", False), verdict("d", None)),
    ]
    found = by_category(rows)
    assert list(found) == [Category.ESSENTIAL, Category.PITFALL]
    assert found[Category.ESSENTIAL].interval.value == 0.5
    assert (found[Category.ESSENTIAL].values, found[Category.PITFALL].interval.value) == (2, 0.0)


def test_the_worst_criteria_come_first_and_shared_ones_are_taken_together() -> None:
    rows = [
        row("a", 0.5, verdict("good", True), verdict("shared", False), verdict("own", False)),
        row("a", 0.5, verdict("good", True), verdict("shared", True), verdict("own", False)),
        row("b", 0.5, verdict("shared", False), verdict("rare", False)),
        row("b", 0.5, verdict("own", True, description="another sentence")),
    ]
    found = by_criterion(rows)
    assert [(f.criterion.criterion, f.tasks, f.credit.values) for f in found] == [
        ("own", ("a",), 2),
        ("rare", ("b",), 1),
        ("shared", ("a", "b"), 3),
        ("good", ("a",), 2),
        ("own", ("b",), 1),
    ]
    assert found[2].credit.interval.value == pytest.approx(1 / 3)


def test_why_responses_are_unscored_the_commonest_reason_first() -> None:
    rows = [
        row("a", 0.5, verdict("c", True)),
        row("a", None, verdict("c", None, reason="busy"), verdict("d", None, reason="busy")),
        row("b", None, verdict("c", None, reason="busy"), verdict("d", None, reason="cut")),
        row("b", None, response="2", reason="no rating"),
    ]
    assert [(one.reason, one.responses) for one in unscored(rows)] == [
        ("busy", ("a/1", "b/1")),
        ("cut", ("b/1",)),
        ("no rating", ("b/2",)),
    ]


def test_a_mean_is_over_tasks_and_few_of_them_show_no_interval() -> None:
    few = mean_of([0.5] * 3, ["a", "b", "c"]).interval
    assert str(few) == "0.50 (n = 3)"
    alone = mean_of([1.0, 0.0, 1.0], ["a"] * 3).interval
    assert alone.n == 3
    many = mean_of([0.4, 0.6] * 6, list("abcdefghijkl")).interval
    assert many.n == 12
    assert 0.4 < many.low < 0.5 < many.high < 0.6


def test_what_all_cost_is_known_only_if_every_part_is() -> None:
    rows = [row("a", 0.5, money=0.25), row("b", 0.5, money=0.5)]
    assert total_usage(rows).money == 0.75
    assert total_usage([*rows, row("c", 0.5)]).money is None
    assert (total_usage(rows).calls, total_usage(rows).seconds) == (2, 1.0)
    assert readable_share([row("a", 0.1, share=0.5), row("b", 0.1, share=1.0), row("c", 0.1)]) == (
        0.75,
        0.5,
    )
    assert readable_share([row("a", 0.1)]) is None


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "holds no grade; give a file that rar grade wrote"),
        (b'{"task": "a"}\n', "line 1, field response: Field required"),
        (b"no json", "line 1, field"),
    ],
)
def test_a_file_that_holds_no_grades_is_refused(data: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "g.jsonl").write_bytes(data)
    with pytest.raises(DataError, match=said):
        load_grades(tmp_path / "g.jsonl")


@pytest.mark.fault
def test_a_file_that_cannot_be_written_says_that_the_calls_are_kept(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"could not be written .* the calls are on record"):
        save_grades(tmp_path / "file" / "g.jsonl", [row("a", 0.5)])
    with pytest.raises(DataError, match="no grades to save"):
        save_grades(tmp_path / "g.jsonl", [])
