"""Grading and synthesis by the installed Ray Data, two workers: as without it, and nothing lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray.data", reason="Ray Data is not installed here: make test-adapters")

import psutil
import ray
from scripted import Reply, Scripted, says, server, status
from typer.testing import CliRunner, Result

from rar_lib.cli.app import app
from rar_lib.data.tasks import load_mini, save_tasks
from rar_lib.judging.cassette import stats

TASKS = load_mini("val")[:3]
CRITERIA = sum(len(task.rubric.criteria) for task in TASKS if task.rubric)
EACH = 10
CALLS = CRITERIA * EACH
SMALLEST = "smollm2-135m"


@pytest.fixture(scope="module", autouse=True)
def two_workers() -> Iterator[None]:
    here = str(Path(__file__).resolve().parents[2])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", here)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        # A machine at its limit takes longer to start Ray than Ray waits by itself.
        patch.setenv("RAY_agent_register_timeout_ms", "120000")
        patch.setenv("RAY_raylet_start_wait_time_s", "120")
        ray.init(
            "local",
            num_cpus=2,
            include_dashboard=False,
            object_store_memory=100 * 2**20,
            _node_ip_address="127.0.0.2",
            log_to_driver=False,
        )
        yield
        ray.shutdown()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_tasks(tmp_path / "tasks.jsonl", TASKS)
    rows = ["task,id,response"]
    rows += [f'{task.id},m{n},"Because, m{n}."' for task in TASKS for n in range(EACH)]
    (tmp_path / "responses.csv").write_text("\n".join(rows), encoding="utf-8")
    return tmp_path


def yes(request: Reply, _: int = 0) -> Reply:
    """A verdict that hangs on the response, so that a mistaken place would be seen."""
    asked = str(request["messages"])
    share = next((n for n in range(EACH) if f"Because, m{n}." in asked), 0)
    likely = 0.9 - 0.05 * share
    return says("yes", tokens={"yes": likely, "no": 1 - likely})


def rar(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def graded(folder: Path, out: str, url: str | list[str], *more: str) -> Result:
    urls = [url] if isinstance(url, str) else url
    at = [part for one in urls for part in ("--base-url", one)]
    files = (folder / "tasks.jsonl", folder / "responses.csv", "-o", folder / out)
    return rar("grade", *files, *at, "--model", "j", "--key-env", "", "-y", *more)


def untimed(line: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in line.items() if name != "seconds"}


def rows(path: Path) -> list[dict[str, Any]]:
    """The grades without the time that they took."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [untimed(line) for line in lines]


def verdicts(scripted: Scripted) -> Counter[str]:
    """What was asked about a response, without the measurement of the rate."""
    asked = [json.dumps(r["messages"]) for r in scripted.requests if "Because" in str(r)]
    return Counter(asked)


def test_the_same_grades_and_the_same_record_as_without(folder: Path) -> None:
    with server(yes) as scripted:
        plain = graded(folder, "plain.jsonl", scripted.url)
        spread = graded(folder, "ray.jsonl", scripted.url, "--executor", "ray")
        assert (plain.exit_code, spread.exit_code) == (0, 0), spread.output
        assert rows(folder / "ray.jsonl") == rows(folder / "plain.jsonl")
        assert set(verdicts(scripted).values()) == {2}, "each call once by each"
        said = [stats(folder / f"{name}.jsonl.calls.sqlite")["j"] for name in ("plain", "ray")]
        assert said[0]["calls"] == said[1]["calls"] == CALLS
        before = len(verdicts(scripted))
        total = sum(verdicts(scripted).values())
        again = graded(folder, "ray.jsonl", scripted.url)
        assert again.exit_code == 0, again.output
        assert (len(verdicts(scripted)), sum(verdicts(scripted).values())) == (before, total)
        assert rows(folder / "ray.jsonl") == rows(folder / "plain.jsonl")


@pytest.mark.parametrize("first", ["async", "ray"])
def test_a_run_that_failed_goes_on_and_says_the_same(folder: Path, first: str) -> None:
    """A key that stops to work: what was answered before is on record and not asked again."""
    broken = True
    at = 40

    def answer(request: Reply, number: int) -> Reply:
        return status(401, "key expired") if broken and number >= at else yes(request)

    with server(answer, host="127.0.0.2") as scripted:
        done = graded(folder, "g.jsonl", scripted.url, "--executor", first)
        assert done.exit_code == 1, done.output
        assert "refuses every request (401: key expired)" in " ".join(done.output.split())
        assert "the same command goes on from there" in done.output
        assert not (folder / "g.jsonl").exists()
        kept = stats(folder / "g.jsonl.calls.sqlite")["j"]["calls"]
        assert kept == at, "what was on its way came, and is kept"
        before = len(scripted.requests)
        broken = False
        done = graded(folder, "g.jsonl", scripted.url, "--executor", "ray")
        assert done.exit_code == 0, done.output
        assert len(scripted.requests) - before == CALLS - at
        assert len(rows(folder / "g.jsonl")) == 3 * EACH


def test_what_one_question_lacks_is_unscored_with_its_reason(folder: Path) -> None:
    def answer(request: Reply, _: int) -> Reply:
        refused = "Because, m2." in str(request["messages"])
        return status(400, "flagged by our content filter") if refused else yes(request)

    with server(answer) as scripted:
        plain = graded(folder, "plain.jsonl", scripted.url)
        spread = graded(folder, "ray.jsonl", scripted.url, "--executor", "ray")
    assert (plain.exit_code, spread.exit_code) == (3, 3), spread.output
    found = rows(folder / "ray.jsonl")
    assert found == rows(folder / "plain.jsonl")
    assert [row["response"] for row in found if row["score"] is None] == ["m2"] * 3
    assert "27 scored, 3 unscored" in spread.output


def test_an_endpoint_that_is_down_gives_the_same_exit_and_reason(folder: Path) -> None:
    with server(status(500, "down for the day")) as scripted:
        plain = graded(folder, "plain.jsonl", scripted.url)
        spread = graded(folder, "ray.jsonl", scripted.url, "--executor", "ray")
    assert (plain.exit_code, spread.exit_code) == (1, 1)
    assert "500" in spread.output
    assert spread.output.splitlines()[-1] == plain.output.splitlines()[-1]


def asker(port: int) -> psutil.Process:
    """The process of Ray that sent a request from this port, and waits for its answer."""
    for child in psutil.Process().children(recursive=True):
        ours = [one for one in child.net_connections("tcp") if one.laddr]
        if port in {one.laddr.port for one in ours}:
            return child
    raise AssertionError(f"no process of Ray has sent from port {port}")


def test_an_actor_that_is_killed_costs_calls_and_no_grade(folder: Path) -> None:
    killed: list[str] = []

    def answer(request: Reply, number: int) -> Reply:
        if number == 60:
            actor = asker(scripted.port)
            killed.append("".join(actor.cmdline()))
            os.kill(actor.pid, signal.SIGKILL)
        return yes(request)

    with server(yes) as plain:
        assert graded(folder, "plain.jsonl", plain.url).exit_code == 0
    with server(answer, host="127.0.0.2") as scripted:
        done = graded(folder, "ray.jsonl", scripted.url, "--executor", "ray")
        assert done.exit_code == 0, done.output
        assert "MapWorker" in "".join(killed)
        assert len(scripted.requests) > CALLS, "what it had in hand is asked again"

    def without_judge(name: str) -> list[dict[str, Any]]:
        return [row | {"judge_weights": ""} for row in rows(folder / name)]

    assert without_judge("ray.jsonl") == without_judge("plain.jsonl")


def test_several_addresses_by_ray(folder: Path) -> None:
    with server(yes) as one, server(yes) as two:
        done = graded(folder, "g.jsonl", [one.url, two.url], "--executor", "ray")
        assert done.exit_code == 0, done.output
        asked = [sum(verdicts(each).values()) for each in (one, two)]
    assert sum(asked) == CALLS
    assert min(asked) > CALLS / 4


def test_the_same_rubrics_as_without(tmp_path: Path) -> None:
    questions = [
        {"id": f"q-{n}", "question": f"Why does thing {n} happen?", "reference": f"By {n}."}
        for n in range(12)
    ]
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps(q) + "\n" for q in questions), encoding="utf-8")

    def writes(request: Reply, _: int) -> Reply:
        if "response_format" not in request:
            return says("x")
        if "thing 3 " in str(request["messages"]):
            return status(400, "flagged by our content filter")
        items = [
            {"title": f"Title {n}", "description": f"States the fact number {n}."}
            | {"category": "Optional"}
            for n in range(4)
        ]
        pitfalls = [{"title": "Bad", "description": "Claims nonsense."}]
        return says(json.dumps({"criteria": items, "pitfalls": pitfalls}))

    with server(writes) as scripted:
        done = {}
        for executor in ("async", "ray"):
            out = tmp_path / f"{executor}.jsonl"
            command = ("synthesize", path, "-o", out, "--base-url", scripted.url, "-y")
            done[executor] = rar(*command, "--executor", executor)
        before = len(scripted.requests)
        again = rar(*command, "--executor", "ray")
    assert {name: one.exit_code for name, one in done.items()} == {"async": 3, "ray": 3}, done
    assert (tmp_path / "ray.jsonl").read_text() == (tmp_path / "async.jsonl").read_text()
    assert "no rubric for q-3" in done["ray"].output
    assert again.exit_code == 3
    # Beside the measurement of the rate, which asks for no rubric.
    asked = [r for r in scripted.requests[before:] if "response_format" in r]
    assert asked
    assert all("thing 3 " in str(request["messages"]) for request in asked)


@pytest.fixture
def real_judge() -> Iterator[str]:
    """The address of the smallest judge, served by the environment that has vLLM."""
    command = Path(__file__).resolve().parents[2] / ".venv" / "bin" / "rar"
    if not command.exists():
        pytest.skip("no .venv with vLLM: make setup")
    with subprocess.Popen(
        [command, "serve", SMALLEST], stdout=subprocess.PIPE, text=True
    ) as serving:
        assert serving.stdout is not None
        said = serving.stdout.readline()
        try:
            assert said.startswith("http://127.0.0.1:"), said
            yield said.split()[0]
        finally:
            serving.terminate()


def test_a_real_judge_grades_alike_with_and_without_ray(folder: Path, real_judge: str) -> None:
    """Words of a real model, graded by a real model: no verdict depends on who sent it."""
    own = [{"task": t.id, "id": "real", "response": t.reference} for t in TASKS]
    responses = folder / "responses.jsonl"
    responses.write_text("".join(json.dumps(row) + "\n" for row in own), encoding="utf-8")
    found = {}
    for executor in ("async", "ray"):
        out = folder / f"{executor}.jsonl"
        command = ["grade", folder / "tasks.jsonl", responses, "-o", out]
        # Unasked this judge talks about the question; in JSON it has to answer.
        asked = ["--base-url", real_judge, "--model", SMALLEST, "--key-env", "", "-y"]
        asked += ["--reading", "sampled"]
        done = rar(*command, *asked, "--executor", executor)
        assert done.exit_code == 0, done.output
        found[executor] = [v["met"] for row in rows(out) for v in row["verdicts"]]
    assert len(found["async"]) == CRITERIA
    assert None not in found["async"]
    # Which requests share a batch decides the last bits of a product, and so a close verdict.
    same = sum(one == other for one, other in zip(*found.values(), strict=True))
    assert same >= CRITERIA - 1
