"""`rar train` before a model loads: defaults, refusals, the estimate, and what it says after."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rar_lib.book.profiles import load
from rar_lib.book.study import Study
from rar_lib.cli.app import app
from rar_lib.cli.train import default_out, judging_work, summary, train_arm
from rar_lib.core.types import MultipleChoice
from rar_lib.data.tasks import load_mini
from rar_lib.judging.cost import Work
from rar_lib.training.train import TRAINED, Run

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
    rollouts, prompts = SETTINGS.rollouts, SETTINGS.prompts_per_step
    criteria = [len(t.rubric.criteria) for t in TASKS if t.rubric]
    calls = {arm: judging_work(SETTINGS, arm, TASKS, 10).calls for arm in TRAINED}
    assert calls == {
        "explicit": 10 * rollouts * sum(criteria[:prompts]),
        "implicit": 10 * rollouts * prompts,
        "predefined": 10 * rollouts * prompts * 4,
        "direct_likert": 10 * rollouts * prompts,
        "reference_likert": 10 * rollouts * prompts,
        "rlvr": 0,
        "sft_reference": 0,
        "sft_filtered": rollouts * len(TASKS),
        "base": 0,
    }
    assert judging_work(SETTINGS, "implicit", TASKS, 0) == Work()
    work = judging_work(SETTINGS, "implicit", TASKS, 1)
    # Every response is new to the server, the question and the rubric before it are not.
    assert SETTINGS.max_completion * rollouts * prompts < work.fresh_tokens < work.prompt_tokens


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
