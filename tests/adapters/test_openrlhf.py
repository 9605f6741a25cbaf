"""The reward in the installed OpenRLHF: its own executor loads the file and calls the function."""

from __future__ import annotations

import asyncio
import inspect
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("openrlhf", reason="OpenRLHF is not installed here: make test-adapters")

import openrlhf
from openrlhf.utils.agent import SingleTurnAgentExecutor
from scripted import Reply, says, server

from rar_lib.data.tasks import load_mini

TASK = load_mini("train")[0]
#: What a user writes.
MODULE = """
import os
from rar_lib import Chat, Judge, RubricReward
from rar_lib.training.adapters import for_openrlhf

reward_func = for_openrlhf(RubricReward(Judge(Chat(os.environ["RAR_JUDGE_URL"], "m")), "implicit"))
"""


def answer(request: Reply, _: int) -> Reply:
    broken = "broken" in request["messages"][-1]["content"]
    return says("?", tokens={"?": 1.0}) if broken else says("7", tokens={"7": 1.0})


class Letters:
    """A tokenizer of characters."""

    def __call__(self, text: str, **_: Any) -> dict[str, Any]:
        return {"input_ids": [SimpleNamespace(tolist=lambda: [ord(letter) for letter in text])]}

    def decode(self, ids: list[int], **_: Any) -> str:
        return "".join(map(chr, ids))


class Says:
    """A policy that says one text."""

    def __init__(self, text: str) -> None:
        self.text = text

    async def generate(self, *_: Any, **__: Any) -> Any:
        ids = [ord(letter) for letter in self.text]
        one = SimpleNamespace(token_ids=ids, text=self.text, finish_reason="stop", logprobs=None)
        return SimpleNamespace(outputs=[one])


def test_its_executor_loads_the_file_and_takes_score_or_nan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "reward.py").write_text(MODULE)
    prompt = f"<|im_start|>user\n{TASK.question}<|im_end|>\n<|im_start|>assistant\n"
    sampling = SimpleNamespace(max_tokens=50, logprobs=None)

    async def rollout(text: str) -> dict[str, Any]:
        return await executor.execute(
            prompt, TASK.model_dump_json(), sampling, 10_000, Letters(), Says(text)
        )

    with server(answer) as scripted:
        monkeypatch.setenv("RAR_JUDGE_URL", scripted.url)
        executor = SingleTurnAgentExecutor(str(tmp_path / "reward.py"))
        fine = asyncio.run(rollout("Lean him forward.<|im_end|>"))
        broken = asyncio.run(rollout("broken<|im_end|>"))
    assert fine["reward"] == fine["scores"] == pytest.approx(6 / 9, abs=1e-5)
    assert math.isnan(broken["reward"])
    assert math.isnan(broken["scores"])
    assert broken["extra_logs"] == {"unscored": 1.0}
    assert "im_end" not in str(scripted.requests[0]["messages"])


def test_its_dynamic_filter_leaves_a_group_with_nan_out() -> None:
    """By its text, since that module needs vLLM: a mean that is NaN lies within no range."""
    source = Path(inspect.getfile(openrlhf)).parent / "trainer/ppo_utils/samples_generator.py"
    assert "if not (min_r < avg_reward < max_r):" in source.read_text()
    assert not (0 < math.nan < 1)
