"""`rar align`, as a user types it."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from scripted import says, server, status
from typer.testing import CliRunner, Result

from rar_lib.cli.app import app
from rar_lib.core.types import Task
from rar_lib.data.tasks import load_mini, load_mini_pairs, save_tasks
from rar_lib.judging.chat import Chat

pytestmark = pytest.mark.fault

#: Another machine, as far as the library knows: no measurement is among the requests.
AWAY = "127.0.0.2"
PAIRS = load_mini_pairs("val")[:10]
PAIRED = {pair.task_id for pair in PAIRS}
TASKS = [task for task in load_mini("val") if task.id in PAIRED]
BY_ID: dict[str, Task] = {task.id: task for task in TASKS}
Answer = Callable[[dict[str, Any], int], dict[str, Any]]


def rar(*arguments: str | Path, typed: str = "") -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments], input=typed)


def table(path: Path, *rows: Iterable[str]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows(rows)


def labelled() -> dict[tuple[str, str, str], bool]:
    """Task, response and criterion -> the gold label."""
    rows = {}
    for pair in PAIRS:
        for text, gold in (
            (pair.preferred, pair.gold_preferred),
            (pair.rejected, pair.gold_rejected),
        ):
            rows |= {(pair.task_id, text, criterion): met for criterion, met in gold.items()}
    return rows


LABELS = labelled()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Tasks with their rubrics, labels of all criteria, and the preferences."""
    save_tasks(tmp_path / "tasks.jsonl", TASKS)
    rows = [(*key, "yes" if met else "no") for key, met in LABELS.items()]
    table(tmp_path / "labels.csv", ("task", "response", "criterion", "met"), *rows)
    pairs = [(pair.task_id, pair.preferred, pair.rejected) for pair in PAIRS]
    table(tmp_path / "pairs.csv", ("task", "chosen", "rejected"), *pairs)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def knows(request: dict[str, Any]) -> bool:
    """The gold label of what is asked."""
    text = request["messages"][1]["content"]
    for (task, response, name), met in LABELS.items():
        criteria = BY_ID[task].rubric.criteria  # type: ignore[union-attr]
        sentence = next(c.description for c in criteria if c.id == name)
        if text.rstrip().endswith(sentence) and response in text:
            return met
    raise AssertionError("asked about something that is not labelled")


def biased(request: dict[str, Any], _: int) -> dict[str, Any]:
    """Right in its ranking, and far too ready to say yes; ``blind`` says the same to all."""
    wobble = (sum(map(ord, request["messages"][1]["content"])) % 7 - 3) / 3
    odds = 0.0 if request["model"] == "blind" else (2.5 if knows(request) else 0.5) + wobble
    p = 1 / (1 + math.exp(-odds))
    return says("yes", tokens={"yes": p, "no": 1 - p})


def aligned(url: str, *more: str | Path, typed: str = "") -> Result:
    files = ("tasks.jsonl", "labels.csv", "pairs.csv", "-o", "align.json")
    return rar("align", *files, "--base-url", url, "--key-env", "", *more, typed=typed)


def test_two_judges_against_labels_and_preferences_with_a_price(folder: Path) -> None:
    price = ("--price-in", "100", "--price-out", "1000")
    with server(biased, host=AWAY) as scripted:
        done = aligned(scripted.url, "--model", "good", "--model", "blind", "-y", *price)
    assert done.exit_code == 0, done.output
    assert max(map(len, done.output.splitlines())) <= 80
    assert len(scripted.requests) == 2 * len(LABELS)
    flat = " ".join(done.output.split())
    assert f"{len(LABELS)} labels" in flat
    assert "10 preferences" in flat
    assert "criterion from 'criterion', met from 'met'" in flat
    assert flat.count(f"{len(LABELS)} calls, about") == 2
    assert "good may be trusted as a reward here: its AUC" in flat, done.output
    assert "blind may not be trusted as a reward here: its AUC 0.50" in flat
    assert "next: grade with it (rar grade --arm explicit), or train on its grades" in flat
    assert "next: a bigger judge" in flat
    assert "no calibration: blind" in flat
    money = len(LABELS) * 2e-3
    value = json.loads((folder / "align.json").read_text(encoding="utf-8"))
    good, blind = value["judges"]
    assert list(value["files"]) == ["tasks.jsonl", "labels.csv", "pairs.csv"]
    assert (good["trusted"], blind["trusted"]) == (True, False)
    assert good["usage"]["money"] == pytest.approx(money)
    assert f"{money:.2g}" in done.output.split("money")[1]
    assert len(good["verdicts"]) == len(LABELS)
    assert len(good["pairs"]) == 10
    assert value["compared"]["blind over good: criteria"]["word"] in (
        "contradicted",
        "undecided",
    )
    assert good["calibration"]["accuracy"]["difference"]["value"] > 0


def test_the_calibration_beside_it_is_what_rar_grade_takes(folder: Path) -> None:
    with server(biased, host=AWAY) as scripted:
        assert aligned(scripted.url, "--model", "good", "-y").exit_code == 0
        kept = json.loads((folder / "align.calibration.json").read_text())
        assert set(kept["split"]) == {"seed", "fitted_on", "held_out"}
        named = set(kept["split"]["fitted_on"]) | set(kept["split"]["held_out"])
        assert named == set(BY_ID)
        first = PAIRS[0]
        table(folder / "r.csv", ("task", "response"), (first.task_id, first.preferred))
        done = rar(
            *("grade", "tasks.jsonl", "r.csv", "-o", "g.jsonl", "-y", "--base-url", scripted.url),
            *("--model", "good", "--key-env", "", "--calibration", "align.calibration.json"),
        )
    assert done.exit_code == 0, done.output
    (line,) = (folder / "g.jsonl").read_text().splitlines()
    row = json.loads(line)
    told = {v["criterion"]: v["met"] for v in row["verdicts"]}
    right = sum(told[name] == met for name, met in first.gold_preferred.items())
    assert right > sum(first.gold_preferred.values()), "better than the yes to all of the bare one"


def test_no_means_no_call_of_the_judge(folder: Path) -> None:
    with server(biased, host=AWAY) as scripted:
        done = aligned(scripted.url, "--model", "good", typed="n\n")
    assert done.exit_code == 1
    assert "go on?" in done.output
    assert scripted.requests == []
    assert not (folder / "align.json").exists()


def test_an_endpoint_that_dies_at_the_second_judge_loses_nothing(folder: Path) -> None:
    broken = True
    cut = len(LABELS) + 9

    def answer(request: dict[str, Any], number: int) -> dict[str, Any]:
        return status(401) if broken and number >= cut else biased(request, number)

    judges = ("--model", "good", "--model", "blind", "-y")
    with server(answer, host=AWAY) as scripted:
        done = aligned(scripted.url, *judges)
        assert done.exit_code == 1
        assert "refuses every request (401" in done.output
        assert "align.json.calls.sqlite: the same command goes on from there" in done.output
        assert not (folder / "align.json").exists()
        broken = False
        before = len(scripted.requests)
        done = aligned(scripted.url, *judges)
        assert done.exit_code == 0, done.output
        assert len(scripted.requests) - before == 2 * len(LABELS) - cut
        first = (folder / "align.json").read_text()
        assert aligned(scripted.url, *judges).exit_code == 0
        assert len(scripted.requests) - before == 2 * len(LABELS) - cut
    assert (folder / "align.json").read_text() == first, "the same answers, the same figures"


def lost_by(judge: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for row in judge["verdicts"] if row["met"] is None]


def test_what_has_no_answer_is_counted_and_the_run_says_so(folder: Path) -> None:
    refused = PAIRS[0].preferred

    def answer(request: dict[str, Any], number: int) -> dict[str, Any]:
        if refused in request["messages"][1]["content"]:
            return status(400, "flagged by the content filter")
        return biased(request, number)

    with server(answer, host=AWAY) as scripted:
        done = aligned(scripted.url, "--model", "good", "-y")
    assert done.exit_code == 3, done.output
    (judge,) = json.loads((folder / "align.json").read_text())["judges"]
    assert judge["criteria"]["unscored"] == len(PAIRS[0].gold_preferred)
    assert judge["preferences"]["unscored"] == 1
    assert f"unscored, {len(lost_by(judge))}: " in " ".join(done.output.split())
    assert list(judge["reasons"].values()) == [len(lost_by(judge))]
    assert all("flagged by the content filter" in row["reason"] for row in lost_by(judge))


def test_where_no_judge_answered_it_has_failed(folder: Path) -> None:
    with server(status(400, "flagged by moderation"), host=AWAY) as scripted:
        done = aligned(scripted.url, "--model", "good", "-y")
    assert done.exit_code == 1
    assert "no judge gave an answer; the first: " in done.output


def test_few_labels_say_that_they_are_few(folder: Path) -> None:
    some = [(*key, str(int(met))) for key, met in LABELS.items() if key[0] == PAIRS[0].task_id]
    table(folder / "few.csv", ("task", "response", "criterion", "met"), *some)
    with server(biased, host=AWAY) as scripted:
        done = rar(
            *("align", "tasks.jsonl", "few.csv", "-o", "few.json", "--base-url", scripted.url),
            *("--model", "good", "--key-env", "", "-y"),
        )
    assert done.exit_code == 0, done.output
    flat = " ".join(done.output.split())
    assert "(n = 1)" in flat
    assert "[" not in done.output.split("criteria, by your labels")[1].split("cost")[0]
    assert "its AUC is over 1 tasks, 8 are needed" in flat
    assert "more labels for the criteria: of 8 tasks at least, here are 1" in flat, done.output
    assert "no calibration: labels of two tasks" in flat
    assert not (folder / "few.calibration.json").exists()


def test_rows_that_fit_nothing_are_named_and_the_others_used(folder: Path) -> None:
    response = PAIRS[0].preferred
    with (folder / "labels.csv").open("a", encoding="utf-8", newline="") as stream:
        task = PAIRS[0].task_id
        criterion = next(iter(PAIRS[0].gold_preferred))
        csv.writer(stream).writerows(
            [
                ("nobody", "x", criterion, "yes"),
                (task, "x", "colour", "yes"),
                (task, "x", criterion, "perhaps"),
                (task, response, criterion, "no" if PAIRS[0].gold_preferred[criterion] else "yes"),
            ]
        )
    with server(biased, host=AWAY) as scripted:
        done = aligned(scripted.url, "--model", "good", "-y")
    assert done.exit_code == 3, done.output
    flat = " ".join(done.output.split())
    assert "5 rows left out" in flat
    assert "'nobody' is none of the" in flat
    assert "'colour' is no criterion of task" in flat
    assert "found 'perhaps'; allowed: yes, no" in flat
    assert "which differ; keep the row that is right" in flat
    (judge,) = json.loads((folder / "align.json").read_text())["judges"]
    assert judge["criteria"]["labels"] == len(LABELS) - 1


def test_labels_may_name_responses_by_their_ids(folder: Path) -> None:
    first = PAIRS[0]
    ids = {"a": first.preferred, "b": first.rejected}
    rows = [(first.task_id, name, text) for name, text in ids.items()]
    table(folder / "r.csv", ("task", "id", "response"), *rows)
    table(folder / "p.csv", ("task", "winner", "loser"), (first.task_id, "a", "b"))
    with server(biased, host=AWAY) as scripted:
        done = rar(
            *("align", "tasks.jsonl", "p.csv", "-o", "p.json", "--responses", "r.csv", "-y"),
            *("--base-url", scripted.url, "--model", "good", "--key-env", ""),
        )
    assert done.exit_code == 0, done.output
    assert json.loads((folder / "p.json").read_text())["judges"][0]["preferences"]["pairs"] == 1


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("tasks.jsonl",), 2, "Missing argument"),
        (("tasks.jsonl", "labels.csv"), 2, "Missing option '--output'"),
        (("tasks.jsonl", "labels.csv", "-o", "a", "--model", "j"), 2, "needs --base-url"),
        (("tasks.jsonl", "labels.csv", "-o", "a", "--base-url", "http://x/v1"), 2, "--model NAME"),
        (
            ("tasks.jsonl", "labels.csv", "-o", "a", "--judge", "q", "--judge", "q"),
            2,
            "named twice",
        ),
        (("tasks.jsonl", "labels.csv", "-o", "labels.csv"), 1, "would be overwritten"),
        (("tasks.jsonl", "x.calibration.json", "-o", "x.json"), 1, "would be overwritten"),
        (("tasks.jsonl", "labels.csv", "-o", "."), 1, "is a folder"),
        (("tasks.jsonl", "labels.csv", "-o", "a", "--arm", "rubric"), 1, "choose from: explicit"),
        (("tasks.jsonl", "labels.csv", "-o", "a", "--arm", "implicit"), 1, "give preferences, or"),
        (("tasks.jsonl", "labels.csv", "-o", "a", "--judge", "gpt-9"), 1, "no model 'gpt-9'"),
        (
            ("tasks.jsonl", "labels.csv", "-o", "a", "--judge", "qwen-0.5b", "--judge", "gpt-9"),
            1,
            "no model 'gpt-9'",
        ),
        (("tasks.jsonl", "gone.csv", "-o", "a"), 1, "gone.csv: cannot be read"),
        (("tasks.jsonl", "tasks.jsonl", "-o", "a"), 1, "neither labels nor preferences"),
        (("tasks.jsonl", "labels.csv", "labels.csv", "-o", "a"), 1, "put those of one kind into"),
        (
            ("tasks.jsonl", "labels.csv", "-o", "a", "--met-column", "gold"),
            1,
            "no column 'gold' for met",
        ),
        (
            ("tasks.jsonl", "labels.csv", "pairs.csv", "-o", "a", "--met-column", "gold"),
            1,
            "no column 'gold' for met in labels.csv or pairs.csv",
        ),
        (("tasks.jsonl", "labels.csv", "-o", "a", "--price-in", "-1"), 1, "--price-in is -1"),
        (("tasks.jsonl", "labels.csv", "-o", "a", "--reading", "x"), 1, "no reading 'x'"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_asked(
    arguments: tuple[str, ...], code: int, said: str, folder: Path
) -> None:
    done = rar("align", *arguments, "-y")
    assert done.exit_code == code, done.output
    assert said in " ".join(done.output.replace("│", " ").split())
    assert not (folder / "a").exists()


def test_given_columns_are_looked_for_in_either_table(folder: Path) -> None:
    text = (folder / "labels.csv").read_text(encoding="utf-8")
    (folder / "labels.csv").write_text(text.replace("criterion,met", "criterion,so", 1))
    with server(biased, host=AWAY) as scripted:
        done = aligned(scripted.url, "--model", "good", "-y", "--met-column", "so")
    assert done.exit_code == 0, done.output
    assert "met from 'so'" in " ".join(done.output.split())


def test_local_judges_come_one_after_another(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []

    @contextmanager
    def local_chat(model: str, settings: Any, cassette: Any) -> Any:
        if cassette is None:  # looked up, not asked
            yield None
            return
        events.append(f"{model} begins")
        yield Chat(scripted.url, model, key_env="", cassette=cassette)
        events.append(f"{model} ends")

    monkeypatch.setattr("rar_lib.models.server.local_chat", local_chat)
    files = ("tasks.jsonl", "labels.csv", "-o", "align.json", "-y")
    with server(biased, host=AWAY) as scripted:
        done = rar("align", *files, "--judge", "small", "--judge", "blind")
    assert done.exit_code == 0, done.output
    assert events == ["small begins", "small ends", "blind begins", "blind ends"]


def test_a_full_disk_says_that_the_calls_are_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: str) -> None:
        if path.name == "align.json":
            raise OSError(28, "No space left on device", str(path))
        path.write_text(data, encoding="utf-8")

    monkeypatch.setattr("rar_lib.core.files.atomic_write", full)
    with server(biased, host=AWAY) as scripted:
        done = aligned(scripted.url, "--model", "good", "-y")
        assert done.exit_code == 1
        said = " ".join(done.output.split())
        assert "align.json: could not be written (No space left on device)" in said
        assert "the calls are on record" in said
        monkeypatch.undo()
        monkeypatch.chdir(folder)
        before = len(scripted.requests)
        assert aligned(scripted.url, "--model", "good", "-y").exit_code == 0
        assert len(scripted.requests) == before


def test_names_of_anybody_cannot_move_the_cursor(folder: Path) -> None:
    with server(biased, host=AWAY) as scripted:
        done = aligned(scripted.url, "--model", "go\x1b[2Jod", "-y")
    assert done.exit_code == 0, done.output
    assert "\x1b" not in done.output
    assert r"go\x1b[2Jod" in done.output
