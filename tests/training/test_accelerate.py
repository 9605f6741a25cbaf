"""Training in two processes under accelerate's launcher: the same run as in one.

The launcher, gloo, the trainer and the kill are real, the policy is a random one, and the judge is
scripted.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import launched
import pytest
from scripted import Reply, Scripted, says, server
from typer.testing import CliRunner

from rar_lib.cli.app import app
from rar_lib.data.tasks import load_mini, save_tasks
from rar_lib.models import processor
from rar_lib.training import decode
from rar_lib.training.run import TRANSCRIPT, Run, read_transcript

pytestmark = pytest.mark.fault

HELPERS = Path(__file__).parents[1] / "helpers"
TASKS = load_mini("train")[:6]
STEPS = 3
PROMPTS = 2
HELD_OUT = 2


def opinion(request: Reply, _: int = 0) -> Reply:
    """A rating from 2 to 9 that depends on the text alone."""
    text = request["messages"][-1]["content"]
    rating = str(2 + sum(text.encode()) % 8)
    return says(rating, tokens={rating: 1.0})


def command(policy: Path, url: str, out: Path) -> list[str]:
    """`rar train` on six tasks."""
    save_tasks(out.parent / "tasks.jsonl", TASKS)
    given: dict[str, Any] = {"tasks": out.parent / "tasks.jsonl", "policy": policy, "out": out}
    given |= {"base-url": url, "model": "scripted", "backend": "transformers"}
    given |= {"steps": STEPS, "prompts": PROMPTS, "rollouts": launched.ROLLOUTS}
    given |= {"held-out": HELD_OUT, "max-tokens": 12, "learning-rate": 1e-2, "lora-rank": 3}
    words = ["train", "-y"]
    for name, value in given.items():
        words += [f"--{name}", str(value)]
    return words


def weights(out: Path) -> dict[str, Any]:
    """The adapter of a run."""
    from safetensors.torch import load_file

    return load_file(out / "adapter" / "adapter_model.safetensors")


def asked(requests: list[Reply]) -> list[str]:
    return [json.dumps(request["messages"]) for request in requests]


@pytest.mark.timeout(400)
def test_two_processes_that_are_killed_and_continued_make_the_run_of_one(
    policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    victim: list[subprocess.Popen[str]] = []
    late: list[int] = []
    one = tmp_path / "one" / "run"
    two = tmp_path / "two" / "run"

    def answer(request: Reply, number: int) -> Reply:
        if victim and any(two.glob("checkpoints/*/checkpoint-1/complete.json")):
            late.append(number)
            if len(late) == 3:  # in the middle of the second step
                launched.kill(victim[0])
        return opinion(request)

    for out in (one, two):
        out.parent.mkdir()
    with server(answer) as scripted:
        # Of one process, which reads a group's prompt once; in single precision, in which the two
        # round alike, and not in bfloat16, in which another token may be drawn.
        monkeypatch.setattr(decode, "_sample", launched.fixed)
        monkeypatch.setattr(processor, "flags", launched.without_bfloat16)
        alone = CliRunner().invoke(app, command(policy, scripted.url, one))
        assert alone.exit_code == 0, alone.output

        # Of two, killed.
        program = launched.__file__
        victim.append(launched.start(2, program, *command(policy, scripted.url, two)))
        killed, _ = victim[0].communicate(timeout=200)
        assert victim[0].returncode == -9, killed
        (last,) = two.glob("checkpoints/*/checkpoint-*")
        whole = json.loads((last / "complete.json").read_text())["files"]
        assert last.name == "checkpoint-1"
        assert {"rng_state_0.pth", "rng_state_1.pth", "journal.json"} <= set(whole)

        # The same command goes on.
        before = len(scripted.requests)
        again = launched.start(2, program, *command(policy, scripted.url, two))
        output, _ = again.communicate(timeout=200)
        assert again.returncode == 0, output
        anew = asked(scripted.requests[before:])

    first = Run.load(one / "run.json")
    second = Run.load(two / "run.json")
    assert second.identity == first.identity
    assert second.resumed_at == [1]
    # Which step grades what, and how, is that of one process: groups are whole and in their order.
    assert [step["scores"] for step in second.steps] == [step["scores"] for step in first.steps]
    names = ("mean", "spread", "flat_groups", "length", "unscored", "only_thoughts")
    for name in (*names, "length_correlation"):
        assert [row[name] for row in second.steps] == [row[name] for row in first.steps], name
    assert len(set(first.steps[0]["scores"])) > 2
    assert (second.before, second.after) == (first.before, first.after)
    assert second.watched == first.watched
    # The same gradient, so the same adapter, up to the order of sums in single precision.
    for name in ("grad_norm", "kl_to_base", "entropy", "reward", "learning_rate"):
        wanted = pytest.approx([row[name] for row in first.log], rel=1e-3, abs=1e-6)
        assert [row[name] for row in second.log] == wanted, name
    assert all(row["grad_norm"] > 0 for row in first.log)
    here = weights(one)
    there = weights(two)
    assert here.keys() == there.keys()
    for name, weight in here.items():
        torch.testing.assert_close(there[name], weight, rtol=1e-3, atol=1e-4)

    # One process speaks, asks and writes.
    for said in ("continuing after step 1", f"step {STEPS}/{STEPS}", "next:", "to train on"):
        assert output.count(said) == 1, output
    assert killed.count("at their longest") == output.count("at their longest") == 1
    assert "error" not in output.lower()
    assert len(set(anew)) == len(anew)  # nothing is asked by both, the look neither
    assert sorted(p.name for p in two.iterdir()) == sorted(p.name for p in one.iterdir())
    kept, found = (read_transcript(out / TRANSCRIPT) for out in (one, two))
    assert [sorted(row) for row in found] == [sorted(row) for row in kept]
    for here_, there_ in zip(rollouts(kept), rollouts(found), strict=True):
        assert there_.pop("advantage") == pytest.approx(here_.pop("advantage"), rel=1e-3, abs=1e-5)
        assert there_ == here_
    answers = (two / "answers.jsonl").read_text()
    assert answers == (one / "answers.jsonl").read_text()


@contextmanager
def slowly(script: Any) -> Iterator[tuple[Scripted, list[int]]]:
    """A server that takes its time, and how many requests it has had at once."""
    lock = threading.Lock()
    now = [0]
    most = [0]

    with server(opinion) as scripted:
        answered = scripted.reply

        def reply(request: Reply, *more: Any) -> Reply:
            with lock:
                now[0] += 1
                most[0] = max(most[0], now[0])
            time.sleep(0.05)
            scripted.answer = script
            found = answered(request, *more)
            with lock:
                now[0] -= 1
            return found

        scripted.reply = reply  # type: ignore[method-assign]
        yield scripted, most


def rollouts(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All rollouts of a transcript, in their order."""
    found = [group["rollouts"] for row in rows for group in row.get("groups", ())]
    return [rollout for group in found for rollout in group]


SCRIPT = """
import os
import sys
from pathlib import Path

import tiny
import torch
from trl import GRPOConfig, GRPOTrainer

from rar_lib import Chat, Judge, RubricReward, Settings, dataset_of, load_mini, local_chat, train
from rar_lib.core import processes
from rar_lib.core.errors import UnscoredError
from rar_lib.training import logprobs

url, folder, policy = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
logprobs.install()
tasks = load_mini("train")


def say(line):
    # In one piece, at the head of a line: two processes write to one pipe.
    os.write(1, f"\\n{line}\\n".encode())


def trainer(model, tasks):
    # README's own lines, as a user has them; eight responses to a prompt, four in each process.
    judge = Judge(Chat(url, model, concurrency=3))
    records = []
    rewards = [RubricReward(judge, "implicit"), RubricReward(judge, "direct_likert")]
    for reward in rewards:
        reward.on_step = records.append
    torch.manual_seed(0)
    settings = Settings(device="cpu", policy=policy)
    made = tiny.policy(settings)
    config = GRPOConfig(
        str(folder / model), use_cpu=True, bf16=False, max_steps=1, num_generations=8,
        per_device_train_batch_size=4, gradient_accumulation_steps=1, max_completion_length=6,
        report_to=[], save_strategy="no", logging_steps=1, learning_rate=1e-3, disable_tqdm=True,
    )
    found = GRPOTrainer(made.model, rewards, config, dataset_of(tasks), None, made.tokenizer)
    return found, records


made, records = trainer("alike", tasks[:1])
made.train()
log = next(entry for entry in made.state.log_history if "grad_norm" in entry)
say(f"ALIKE {processes.index()} {[len(r['scores']) for r in records]}")
say(f"SCORES {processes.index()} {[r['scores'] for r in records]}")
say(f"GRADIENT {processes.index()} {log['grad_norm']}")

made, records = trainer("mute", tasks[:1])
try:
    made.train()
except UnscoredError as error:
    say(f"UNSCORED {processes.index()} {str(error)[:40]}")

from rar_lib.models import server
server.check_memory = lambda plan: None
settings = Settings(
    device="cpu", policy=policy, rollouts=2, prompts_per_step=2, max_completion=6, context=1024,
    steps=1, lora_rank=3,
)
fake = {"_program": (sys.executable, sys.argv[4]), "timeout_s": 60.0}
with local_chat(str(folder / "judge"), fake) as chat:
    run = train(
        "implicit", settings=settings, tasks=tasks[:2], judge=Judge(chat), out=folder / "run",
        backend="transformers",
    )
    owned = [endpoint.owned for endpoint in chat.server._found]
say(f"LOCAL {processes.index()} {owned} {run.steps[0]['scores']}")
"""


@pytest.mark.timeout(300)
def test_a_script_of_ones_own_in_two_processes(
    policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ten lines of the README, and a judge on this machine."""

    def script(request: Reply, _: int) -> Reply:
        text = request["messages"][-1]["content"]
        if request["model"] == "mute":
            return says("?", tokens={"?": 1.0})
        share = 0.08 * (sum(text.encode()) % 97) / 97
        return says("7", tokens={"7": 1.0 - share, "8": share})

    program = tmp_path / "program.py"
    judge = tmp_path / "judge"
    program.write_text(SCRIPT)
    judge.mkdir()
    (judge / "model.safetensors").write_bytes(b"0")
    trace = tmp_path / "trace"
    home = {"RAR_HOME": str(tmp_path / "home"), "FAKE_TRACE": str(trace), "FAKE_MODE": "ok"}
    for name, value in home.items():
        monkeypatch.setenv(name, value)
    with slowly(script) as (scripted, most):
        fake = HELPERS / "fake_server.py"
        process = launched.start(2, program, scripted.url, tmp_path, policy, fake)
        output, _ = process.communicate(timeout=250)
    assert process.returncode == 0, output
    said: dict[str, list[str]] = {}
    for line in sorted(output.splitlines()):
        word, _, rest = line.partition(" ")
        if word.isupper():
            said.setdefault(word, []).append(rest)

    # Each has a record of all eight by each of the two rewards: gathered once, not twice.
    assert said["ALIKE"] == ["0 [8, 8]", "1 [8, 8]"], output
    (zero, one) = (json.loads(line[2:]) for line in said["SCORES"])
    assert zero == one
    # A group that is flat by the judge's rounding teaches nothing, though it lies in two processes.
    assert max(zero[0]) - min(zero[0]) > 0
    assert said["GRADIENT"] == ["0 0.0", "1 0.0"]
    # The bound on requests is that of the machine: three, of which each of the two has one.
    assert 1 <= most[0] <= 2
    # All stop by the share of the whole step.
    assert [line[:22] for line in said["UNSCORED"]] == [
        "0 8 of 8 responses cou",
        "1 8 of 8 responses cou",
    ]
    # One server, the first process's, which is gone.
    assert said["LOCAL"][0].startswith("0 [True] ")
    assert said["LOCAL"][1].startswith("1 [False] ")
    (started,) = trace.read_text().splitlines()
    for pid in started.split():
        assert not os.path.exists(f"/proc/{pid}")
