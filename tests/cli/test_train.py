"""`rar train` before a model loads: defaults, refusals, the estimate, and what it says after."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scripted import says, server, status
from typer.testing import CliRunner, Result

from rar_lib.book.profiles import load
from rar_lib.book.study import Study
from rar_lib.cli.app import app
from rar_lib.cli.grade import context_for
from rar_lib.cli.train import (
    Asked,
    _read_by,
    asked_of_judges,
    default_out,
    job_of,
    read_parts,
    sized,
    summary,
    train_arm,
)
from rar_lib.core.errors import DataError
from rar_lib.core.types import Criterion, MultipleChoice, Price, Rubric, Task, Turn
from rar_lib.data.questions import load_responses
from rar_lib.data.tasks import Parts, keep_parts, kept_parts, load_mini, load_tasks, save_tasks
from rar_lib.evaluation.grading import items_work
from rar_lib.evaluation.judge_roles import HOLD_OUT, TRAINING
from rar_lib.judging.chat import Chat
from rar_lib.judging.cost import Work, estimate
from rar_lib.judging.judge import Judge
from rar_lib.judging.messages import Messages
from rar_lib.training.run import Run
from rar_lib.training.train import TRAINED, judged_arm, judging_work, usable

LAPTOP = load("laptop")
SETTINGS = LAPTOP.training
TASKS = load_mini("train")[: LAPTOP.train_tasks]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            "--profile=desk",
            "profile 'desk', which profiles.toml does not have; choose one of: smoke",
        ),
        ("--arm=magic", f"no arm 'magic'; choose one of: {', '.join(TRAINED)}"),
        ("--backend=jax", "no backend 'jax'; choose one of: auto, unsloth, transformers"),
        ("--keep=0", "keep is 0.0: it is the share of criteria to use and must be in (0, 1]"),
        ("--keep=1.5", "keep is 1.5"),
        ("--keep=nan", "keep is nan"),
        ("--out=pyproject.toml", "pyproject.toml is a file: name a folder"),
        ("--arm=rlvr --keep=0.5", "arm 'rlvr' is not graded step by step by the task's rubric"),
        ("--arm=sft_filtered --keep=0.5", "rubric dropout is for explicit and implicit"),
        ("--arm=predefined --keep=0.5", "leave keep out"),
    ],
)
def test_a_wrong_value_is_named_with_its_fix(wrong: str, said: str) -> None:
    result = CliRunner().invoke(app, ["train", *wrong.split()])
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert said in result.stderr
    assert "Traceback" not in result.output


def test_a_negative_seed_is_a_usage_error() -> None:
    assert CliRunner().invoke(app, ["train", "--seed=-1"]).exit_code == 2


def test_the_gpu_profile_is_refused_where_there_is_no_gpu() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    result = CliRunner().invoke(app, ["train", "--profile=gpu"])
    assert result.exit_code == 1
    assert "profile 'gpu' needs a CUDA GPU" in result.stderr
    assert "--profile laptop" in result.stderr


def test_every_run_has_a_folder_of_its_own() -> None:
    assert default_out("laptop", "implicit", 0) == Path("_build/laptop/train/implicit-0")
    runs = {
        default_out("laptop", arm, seed, keep)
        for arm in ("implicit", "rlvr")
        for seed in (0, 1)
        for keep in (1.0, 0.5, 0.25)
    }
    assert len(runs) == 12


def test_the_estimate_counts_every_question_to_the_judge() -> None:
    rollouts = SETTINGS.rollouts
    prompts = SETTINGS.prompts_per_step
    criteria = [len(t.rubric.criteria) for t in TASKS if t.rubric]
    judge = Judge(Chat("http://h/v1", "j"))
    calls = {arm: judging_work(SETTINGS, arm, TASKS, 10, judge).calls for arm in TRAINED}
    assert calls == {
        "explicit": round(10 * rollouts * prompts * sum(criteria) / len(TASKS)),
        "implicit": 10 * rollouts * prompts,
        "predefined": 10 * rollouts * prompts * 4,
        "direct_likert": 10 * rollouts * prompts,
        "reference_likert": 10 * rollouts * prompts,
        "rlvr": 0,
        "sft_reference": 0,
        "sft_filtered": rollouts * len(TASKS),
        "base": 0,
    }
    assert judging_work(SETTINGS, "implicit", TASKS, 0, judge) == Work()
    assert judging_work(SETTINGS, "implicit", [], 10, judge) == Work()
    work = judging_work(SETTINGS, "implicit", TASKS, 1, judge)
    # Every response is new to the server, the question and the rubric before it are not.
    assert SETTINGS.max_completion * rollouts * prompts < work.fresh_tokens < work.prompt_tokens


def with_criteria(count: int) -> Rubric:
    """So many criteria."""
    criteria = (
        Criterion(id=f"c{n}", title="t", description="States a fact.", category="Essential")
        for n in range(count)
    )
    return Rubric(criteria=tuple(criteria))


@pytest.mark.parametrize(
    ("sizes", "calls"),
    [
        ([8] * 12, 10 * 4 * 8 * 8),
        ([1] * 4 + [10] * 8, 10 * 4 * 8 * 7),  # those of the first step are no sample
        ([10] * 8 + [1] * 4, 10 * 4 * 8 * 7),
        ([3, 5] * 1000, 10 * 4 * 8 * 4),  # of thousands a sample
    ],
)
def test_the_estimate_goes_by_the_mean_of_the_tasks(sizes: list[int], calls: int) -> None:
    tasks = [
        Task(id=f"t{n}", question="Why?", rubric=with_criteria(size))
        for n, size in enumerate(sizes)
    ]
    settings = SETTINGS.model_copy(update={"prompts_per_step": 4, "rollouts": 8})
    judge = Judge(Chat("http://h/v1", "j"))
    work = judging_work(settings, "explicit", tasks, 10, judge)
    assert work.calls == pytest.approx(calls, rel=0.05 if len(tasks) > 200 else 0.0)


@pytest.mark.parametrize(
    ("dialect", "arm", "written"),
    [
        ("vllm", "explicit", 2),  # tokens of a verdict that are looked at
        ("vllm", "implicit", 3),  # and of a rating
        ("anthropic", "explicit", 8),  # a sampled reply
        ("google", "implicit", 2000 + 8),  # which thinks before
        ("openai-reasoning", "explicit", 4000 + 8),
        ("openai-reasoning", "sft_filtered", 4000 + 8),
    ],
)
def test_the_estimate_of_training_is_that_of_grading(
    folder: Path, dialect: str, arm: str, written: int
) -> None:
    """At a reasoning judge a run costs 80 times what its short replies alone would."""
    price = Price(prompt=1.0, completion=8.0)
    judge = Judge(Chat("https://h/v1", "j", dialect=dialect, key_env="", price=price))
    ask = asked(folder, arm=arm)
    parts = read_parts(ask, "utf-8")
    size = {"device": "cpu", "steps": 50, "prompts_per_step": 4, "rollouts": 8}
    settings = sized(ask, parts, size | {"max_completion": 16})
    chat, work = asked_of_judges(job_of(ask, parts, settings, {TRAINING: judge}))[TRAINING]
    assert work.completion_tokens == work.calls * written
    by = judged_arm(arm)
    assert by is not None
    one = items_work(judge, [(parts.train[0], "word")], by)
    assert one.completion_tokens == one.calls * written, "as rar grade and rar align count"
    money = estimate(work, None, chat.price).money
    assert money == pytest.approx((work.prompt_tokens + 8 * written * work.calls) / 1e6)


def test_rlvr_trains_on_questions_with_options_that_no_chapter_evaluates_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def loaded(name: str, *, limit: int) -> tuple[list[MultipleChoice], None]:
        asked.append(name)
        question = MultipleChoice(id="q", question="Which?", options=("A", "B"), answer=0)
        return [question] * limit, None

    monkeypatch.setattr("rar_lib.book.study.load_choices", loaded)
    study = Study.open("laptop", tmp_path)
    assert len(study.tasks_for("rlvr")) == LAPTOP.train_tasks
    assert asked == ["medmcqa"]
    assert study.tasks_for("implicit") == study.train_tasks


@pytest.mark.model
def test_a_finished_run_with_other_settings_is_never_overwritten(tmp_path: Path) -> None:
    other = Run("implicit", 0, "unsloth (cpu)", 1.0, [], [], {}, {}, identity={"arm": "implicit"})
    other.save(tmp_path / "run.json")
    result = CliRunner().invoke(app, ["train", "--profile=smoke", f"--out={tmp_path}"])
    assert result.exit_code == 1
    assert "holds a finished run with other settings, data or code" in result.stderr
    assert "--out" in result.stderr
    assert Run.load(tmp_path / "run.json") == other


def test_the_end_says_where_things_are_and_the_snippet_runs(tmp_path: Path) -> None:
    log = [{"step": n, "step_time": 20.0} for n in (1, 2)]
    steps = [{"mean": mean, "judge_seconds": 5.0} for mean in (0.25, 0.5)]
    run = Run("implicit", 0, "unsloth (cpu)", 40.0, log, steps, {}, {}, resumed_at=[1])
    run.save(tmp_path / "run.json")
    text = summary(run, tmp_path, SETTINGS)
    assert f"run: {tmp_path / 'run.json'} (unsloth (cpu), 2 steps), continued after step 1" in text
    assert "mean reward: 0.250 in the first step, 0.500 in the last" in text
    assert f"adapter: {tmp_path / 'adapter'}" in text
    snippet = next(line.strip() for line in text.splitlines() if "Run.load" in line)
    command = [sys.executable, "-c", f"{snippet}; print([r['mean'] for r in run.curve()])"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "[0.25, 0.5]\n"
    base = Run("base", 0, "unsloth (cpu)", 1.0, [], [], {}, {})
    assert "adapter" not in summary(base, tmp_path, SETTINGS)


def test_an_arm_without_rewards_has_a_curve_too() -> None:
    run = Run("sft_reference", 0, "transformers+peft", 9.0, [{"step": 1, "loss": 2.0}], [], {}, {})
    (row,) = run.curve()
    assert (row["step"], row["loss"], row["judge_share"]) == (1, 2.0, None)


def test_the_python_call_checks_like_the_command(tmp_path: Path) -> None:
    from rar_lib.core.errors import DataError

    with pytest.raises(DataError, match="no arm 'magic'"):
        train_arm("smoke", "magic", out=tmp_path)
    assert list(tmp_path.iterdir()) == []


# --- tasks of one's own ---

#: Another machine, as far as the library knows: no measurement is among the requests.
AWAY = "127.0.0.2"
OWN = load_mini("train")[:10]


def rar(*arguments: str | Path, typed: str = "") -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments], input=typed)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_tasks(tmp_path / "tasks.jsonl", OWN)
    return tmp_path


def own_train(folder: Path, *more: str | Path, url: str = "http://127.0.0.2:9/v1") -> Result:
    files = ("--tasks", folder / "tasks.jsonl", "--out", folder / "run")
    judge = ("--policy", "smollm2-135m", "--base-url", url, "--model", "j", "--key-env", "")
    return rar("train", *files, *judge, "--backend", "transformers", *more)


def asked(folder: Path, **more: Any) -> Asked:
    values = {"tasks": folder / "tasks.jsonl", "out": folder / "run", "arm": "implicit", "seed": 0}
    values |= {"policy": "smollm2-135m", "held_out": None, "backend": "transformers", "keep": 1.0}
    return Asked(**values | more)


def parts_kept(ask: Asked) -> Parts:
    return kept_parts(read_parts(ask, "utf-8"), ask.out, ask.held_out)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--policy x", "--policy needs --tasks"),
        ("--judge x", "--judge needs --tasks"),
        ("--rollout-server http://x", "--rollout-server needs --tasks"),
        (
            "--tasks t --policy p --out o --rollout-server http://x",
            "--rollout-server needs --device cuda",
        ),
        ("--tasks t --profile smoke", "choose one of them"),
        ("--tasks t --policy p", "needs --policy and --out"),
        ("--tasks t --policy p --out o --model m", "--model m needs --base-url"),
        ("--tasks t --policy p --out o --base-url http://h/v1", "needs the judge's name there"),
        (
            "--tasks t --policy p --out o --judge j --base-url http://h/v1 --model m",
            "choose one of them",
        ),
        ("--tasks t --policy p --out o --held-out-model m", "needs --base-url"),
        (
            "--tasks t --policy p --out o --held-out-model m --held-out-judge k",
            "choose one of them",
        ),
        ("--tasks t --policy p --out o --arm rlvr --judge j", "trained without a judge"),
    ],
)
def test_options_that_do_not_go_together_are_wrong_usage(options: str, said: str) -> None:
    result = rar("train", *options.split())
    assert result.exit_code == 2
    assert said in " ".join(result.output.replace("│", " ").split())


def test_the_two_commands_help_fits_eighty_columns() -> None:
    for command in ("train", "respond"):
        done = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "80"})
        assert done.exit_code == 0
        assert max(map(len, done.output.splitlines())) <= 80
        assert "…" not in done.output


def test_no_at_the_estimate_asks_nobody_and_leaves_no_folder(folder: Path) -> None:
    with server(says("5"), host=AWAY) as scripted:
        done = own_train(folder, "--price-in", "100", "--held-out-model", "k", url=scripted.url)
    assert done.exit_code == 1
    assert "5 to train on, 5 held out, seeded" in done.output
    said = " ".join(done.output.split())
    assert "training judge j, answers at their longest and no question asked again: 1,610" in said
    assert "at the given price" in done.output
    assert "hold-out judge k" in done.output
    assert scripted.requests == []
    assert not (folder / "run" / "split.json").exists()


def test_the_estimate_has_every_step_and_both_looks(folder: Path) -> None:
    parts = read_parts(asked(folder), "utf-8")
    size = {"device": "cpu", "steps": 3, "prompts_per_step": 4, "rollouts": 8}
    settings = sized(asked(folder), parts, size | {"max_completion": 16})
    judges = {role: Judge(Chat(f"http://h/{role}", role)) for role in (TRAINING, HOLD_OUT)}
    work = asked_of_judges(job_of(asked(folder), parts, settings, judges))
    assert work[TRAINING][1].calls == 3 * 4 * 8 + 2 * len(parts.held_out)
    criteria = sum(len(t.rubric.criteria) for t in parts.held_out if t.rubric)
    assert work[HOLD_OUT][1].calls == 2 * criteria, "criterion by criterion, before and after"
    worded = {role: replace(judge, messages=Messages("b")) for role, judge in judges.items()}
    others = asked_of_judges(job_of(asked(folder), parts, settings, worded))
    for role, (_, other) in others.items():
        assert other.calls == work[role][1].calls
        assert other.prompt_tokens != work[role][1].prompt_tokens, "asked in its own words"
    without = job_of(asked(folder, arm="sft_reference"), parts, settings, {})
    assert asked_of_judges(without) == {}


def test_a_judge_on_this_machine_has_room_for_what_it_reads_alone(folder: Path) -> None:
    """The one that gives no reward reads held-out tasks: others may have no rubric, or a long one.

    The other one reads all.
    """
    wordy = Turn(role="user", content="word " * 3000)
    rows = [task.model_copy(update={"rubric": None, "history": (wordy,)}) for task in OWN[:2]]
    parts = Parts(rows, OWN[2:4], "by hand", 0)
    size = {"device": "cpu", "max_completion": 16, "steps": 1, "rollouts": 2, "prompts_per_step": 2}
    settings = sized(asked(folder), parts, size)
    window = {
        role: context_for(_read_by(role, "direct_likert", settings, parts))
        for role in (TRAINING, HOLD_OUT)
    }
    assert window == {TRAINING: 6144, HOLD_OUT: 2048}


def test_the_judge_that_pays_is_no_second_judge(folder: Path) -> None:
    done = own_train(folder, "--held-out-model", "j")
    assert done.exit_code == 1
    assert "'j', is the one that gives the reward" in done.stderr


def test_a_small_file_makes_small_steps_and_the_longest_question_fits(folder: Path) -> None:
    long = OWN[0].model_copy(update={"question": "word " * 2000})
    save_tasks(folder / "tasks.jsonl", [long, OWN[1], OWN[2]])
    parts = read_parts(asked(folder), "utf-8")
    size = {"device": "cpu", "steps": 3, "prompts_per_step": 4, "rollouts": 8}
    settings = sized(asked(folder), parts, size | {"max_completion": 16})
    assert settings.prompts_per_step == len(parts.train) == 2
    assert settings.context > 2500


def test_the_column_split_of_the_file_is_kept_to(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [json.loads(line) for line in (folder / "tasks.jsonl").read_text().splitlines()]
    said = ["train", "test", "train", "", *["train"] * 6]
    lines = [json.dumps(row | {"split": s}) for row, s in zip(rows, said, strict=True)]
    (folder / "tasks.jsonl").write_text("\n".join(lines))
    parts = read_parts(asked(folder), "utf-8")
    assert [t.id for t in parts.held_out] == [OWN[1].id]
    assert len(parts.train) == 8
    assert parts.left_out == 1
    with pytest.raises(DataError, match="leave --held-out out"):
        read_parts(asked(folder, held_out=3), "utf-8")
    assert capsys.readouterr().err.count("which is trained on") == 0
    again = json.loads(lines[1]) | {"id": "again", "split": "train"}
    (folder / "tasks.jsonl").write_text("\n".join([*lines, json.dumps(again)]))
    assert len(read_parts(asked(folder), "utf-8").train) == 9
    said = " ".join(capsys.readouterr().err.split())
    assert f"held-out task {OWN[1].id!r} asks the question of 'again', which is trained on" in said
    (folder / "tasks.jsonl").write_text("\n".join(lines[:1] + lines[2:3]))
    with pytest.raises(DataError, match="2 tasks to train on and 0 held out"):
        read_parts(asked(folder), "utf-8")


def test_the_split_of_a_run_stays_what_it_was(folder: Path) -> None:
    begun = asked(folder, held_out=3)
    parts = parts_kept(begun)
    keep_parts(parts, folder / "run")
    assert load_tasks(folder / "run" / "held_out.jsonl") == parts.held_out
    assert load_tasks(folder / "run" / "train.jsonl") == parts.train
    # The same command without --held-out, whose default would hold out five.
    again = parts_kept(asked(folder))
    assert (again.train, again.held_out) == (parts.train, parts.held_out)
    other = asked(folder, held_out=4)
    with pytest.raises(DataError, match=r"another split .*choose another --out"):
        parts_kept(other)
    changed = [OWN[0].model_copy(update={"question": "Why else?"}), *OWN[1:]]
    for tasks in (changed, OWN[1:], [*OWN, load_mini("val")[0]]):
        save_tasks(folder / "tasks.jsonl", tasks)
        with pytest.raises(DataError, match="run on other tasks"):
            parts_kept(begun)


def test_tasks_that_an_arm_cannot_use_are_named_and_the_others_go_on(folder: Path) -> None:
    bare = [t.model_copy(update={"rubric": None}) for t in OWN[:4]]
    fit, problems = usable([*bare, *OWN[4:]], "implicit")
    assert fit == OWN[4:]
    assert [bare[n].id in str(problems[n]) for n in range(4)] == [True] * 4
    assert "has no rubric" in str(problems[0])
    mute = OWN[0].model_copy(update={"reference": None})
    fit, problems = usable([mute, *OWN[1:]], "sft_reference")
    assert fit == OWN[1:]
    assert "has no reference, which arm sft_reference needs" in str(problems[0])
    save_tasks(folder / "tasks.jsonl", [*bare, OWN[4]])
    done = own_train(folder)
    assert done.exit_code == 1
    assert "1 task for arm implicit, at least two are needed" in done.stderr
    assert "rar synthesize writes one" in done.stderr


def test_a_folder_that_is_no_policy_is_named_with_its_fix(folder: Path) -> None:
    (folder / "empty").mkdir()
    cases = {
        str(folder / "empty"): "is no model: a policy's folder holds config.json",
        str(folder / "gone"): "it is no folder here, no hub id",
        "smolm": "none of: smollm2-135m",
        "qwen-0.5b-int8": "train qwen-0.5b",
    }
    for policy, said in cases.items():
        done = own_train(folder, "--policy", policy)
        assert done.exit_code == 1, done.output
        assert said in done.stderr


def test_a_run_that_is_not_finished_is_not_mixed_with_another(folder: Path) -> None:
    (folder / "run" / "checkpoints" / "0123456789ab").mkdir(parents=True)
    done = own_train(folder, "-y")
    assert done.exit_code == 1
    assert "holds a run that is not finished, with other settings" in done.stderr


def test_a_full_disk_keeps_no_half_split(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: str) -> None:
        if path.name == "split.json":
            raise OSError(28, "No space left on device")
        path.write_text(data, encoding="utf-8")

    (folder / "run").mkdir()
    monkeypatch.setattr("rar_lib.core.files.atomic_write", full)
    with pytest.raises(DataError, match=r"No space left on device.*free space"):
        keep_parts(read_parts(asked(folder), "utf-8"), folder / "run")
    assert not (folder / "run" / "split.json").exists()


@pytest.mark.model
@pytest.mark.timeout(600)
def test_an_endpoint_that_dies_keeps_its_steps_and_the_same_command_ends_it(folder: Path) -> None:
    save_tasks(folder / "tasks.jsonl", OWN[:4])
    dead_from = 2 + 2 * 4 + 3  # the look before, one step, and a part of the second one

    def answer(request: dict[str, Any], number: int) -> dict[str, Any]:
        if number >= dead_from and not (folder / "healed").exists():
            return status(401)
        rating = str(2 + len(request["messages"][-1]["content"]) % 8)
        return says(rating, tokens={rating: 1.0})

    size = ["--steps=2", "--prompts=2", "--rollouts=4", "--max-tokens=8", "-y"]
    with server(answer, host=AWAY) as scripted:
        done = own_train(folder, *size, url=scripted.url)
        assert done.exit_code == 1
        assert "1 of 2 steps; the same command goes on" in done.output
        (folder / "healed").touch()
        done = own_train(folder, *size, url=scripted.url)
        assert done.exit_code == 0, done.output
        assert "as kept in" in done.output
        assert "continued after step 1" in done.output
        assert "no proof" in " ".join(done.output.split())
    card = (folder / "run" / "adapter" / "README.md").read_text(encoding="utf-8")
    assert "no proof" in card
    held = folder / "run" / "held_out.jsonl"
    out = folder / "r.jsonl"
    done = rar("respond", held, "-o", out, "--run", folder / "run")
    assert done.exit_code == 0, done.output
    texts = {r.task: r.text for r in load_responses(out, load_tasks(held)).items}
    assert texts == Run.load(folder / "run" / "run.json").after
