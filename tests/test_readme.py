"""The README's scripts, run as they stand there but for the judge's address and the folder; its
tables and numbers, as the library has them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from scripted import says, server

from rar_lib.book.profiles import load
from rar_lib.cli.plan import Devices
from rar_lib.judging.dialect import DIALECTS

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def script(name: str) -> str:
    """The Python block behind the comment of that name."""
    found = re.search(rf"<!-- {name} -->\n```python\n(.*?)```", README, re.DOTALL)
    assert found is not None, name
    return found[1]


def run(code: str, folder: Path, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
        env=os.environ | environment,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_a_judge_asks_other_messages_without_a_patch(tmp_path: Path) -> None:
    code = script("messages")
    with server(says("yes", tokens={"yes": 0.9, "no": 0.1})) as scripted:
        code = code.replace("http://127.0.0.1:8000/v1", scripted.url)
        grade = (
            "import asyncio\n"
            "from rar_lib import load_mini\n"
            "task = load_mini('train')[0]\n"
            "print(asyncio.run(judge.grade(task, 'Cool it.', 'explicit')).score)\n"
        )
        score = float(run(code + grade, tmp_path))
    assert 0 < score < 1
    asked = [request["messages"] for request in scripted.requests]
    assert asked
    assert all("Yes or no: " in messages[0]["content"] for messages in asked)


@pytest.mark.model
@pytest.mark.timeout(900)
def test_ten_lines_train_a_policy_without_a_profile(tmp_path: Path) -> None:
    code = script("train").replace("qwen-1.5b-int8", "smollm2-135m")
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    # Its server is there in seconds; that training goes with vLLM's, chapter 7 shows.
    means = run(code, tmp_path, RAR_ENGINE="llama.cpp").strip().splitlines()[-1]
    assert re.fullmatch(r"\[0\.\d+, 0\.\d+\]", means)
    assert (tmp_path / "run" / "adapter" / "adapter_model.safetensors").is_file()


def documents() -> list[Path]:
    """What people read here; the changelog speaks of the past."""
    listed = subprocess.run(
        ["git", "ls-files", "*.md", "notebooks/*.ipynb"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / name for name in listed.stdout.split() if name != "CHANGELOG.md"]


@pytest.mark.parametrize("path", documents(), ids=lambda p: str(p.relative_to(ROOT)))
def test_every_path_that_a_document_names_exists(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    rooms = "rar_lib|results|env|notebooks|book|tests"
    named = re.findall(rf"`((?:{rooms})/[\w./-]+)`", text)
    linked = re.findall(r"\]\(((?!http)[\w./-]+)\)", text) if path.parent == ROOT else []
    assert [name for name in {*named, *linked} if not (ROOT / name).exists()] == []


def test_every_file_of_env_is_explained() -> None:
    text = (ROOT / "env" / "README.md").read_text(encoding="utf-8")
    names = {path.name for path in (ROOT / "env").iterdir() if path.is_file()} - {"README.md"}
    assert [name for name in sorted(names) if f"`{name}`" not in text] == []


def test_the_table_of_endpoints_says_what_the_library_declares() -> None:
    table = README.split("<!-- dialects -->")[1].split("<!-- /dialects -->")[0]
    lines = [line for line in table.splitlines() if line.startswith("| `")]
    found = {}
    for line in lines[1:]:
        name, _, *said = (cell.strip() for cell in line.split("|")[1:-1])
        found[name.strip("`")] = said
    assert set(found) == set(DIALECTS)
    for name, said in DIALECTS.items():
        by, limit, structure, *room = found[name]
        assert by == ("probabilities" if said.alternatives else "sampling")
        assert (limit.strip("`"), structure) == (said.limit, said.structure)
        assert room == [f"{said.thinking} tokens" if said.thinking else ""]


def in_gb(*, rollout_server: bool) -> dict[str, str]:
    """What each device of the gpu profile takes where every model has one, as `rar plan` says."""
    profile = load("gpu")
    devices = Devices(apart=True, rollout_server=rollout_server)
    found = devices.budgets(profile, profile.training.context)
    return {name.partition(",")[0]: f"{one.total / 1e9:.1f} GB" for name, one in found.items()}


def test_the_memory_of_each_gpu_is_what_the_plan_computes() -> None:
    alone = in_gb(rollout_server=False)
    served = in_gb(rollout_server=True)
    policy = "Qwen/Qwen2.5-7B"
    said = " ".join(README.split())
    for text in (
        f"A training device takes {alone[f'training {policy}']} with the policy in 4 bits,",
        f"the server of a 14B judge {alone['judge Qwen/Qwen2.5-14B-Instruct']}:",
        f"rollouts on a GPU of their own ({served[f'rollouts of {policy}']}):",
        f"computed again on the way back: {served[f'training {policy}']} at the paper's lengths)",
    ):
        assert text in said
