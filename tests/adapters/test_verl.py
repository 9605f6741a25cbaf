"""The reward in the installed verl: its own code loads it, calls it and takes what it returns."""

from __future__ import annotations

import asyncio
import inspect
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("verl", reason="verl is not installed here: make test-adapters")

import numpy as np
import torch
from omegaconf import OmegaConf
from scripted import Reply, says, server
from tensordict import TensorDict
from verl import DataProto
from verl.experimental.reward_loop.reward_manager import get_reward_manager_cls
from verl.trainer.ppo.core_algos import compute_grpo_outcome_advantage, get_adv_estimator_fn
from verl.trainer.ppo.reward import load_reward_manager

from rar_lib.core.errors import DataError, UnscoredError
from rar_lib.data.tasks import load_mini
from rar_lib.judging.chat import Chat
from rar_lib.judging.judge import Judge
from rar_lib.training.adapters import RAR_GRPO, for_verl, rar_grpo, register_verl, verl_rows
from rar_lib.training.rewards import RubricReward

ENV = Path(__file__).resolve().parents[2] / "env" / "verl"
TASK = load_mini("train")[0]
TEXTS = ["splendid", "broken", "dreadful", "splendid"]


def answer(request: Reply, _: int) -> Reply:
    asked = request["messages"][-1]["content"]
    if "broken" in asked:
        return says("?", tokens={"?": 1.0})
    return says("10", tokens={"10": 1.0}) if "splendid" in asked else says("1", tokens={"1": 1.0})


class Words:
    """A tokenizer whose tokens are these texts."""

    eos_token = ""

    def decode(self, ids: Any, **_: Any) -> str:
        return TEXTS[int(ids[0])]


def sample(place: int) -> DataProto:
    """One response as verl's agent loop hands it to a reward loop worker, padded on the right."""
    batch = TensorDict(
        {
            "prompts": torch.zeros(1, 2, dtype=torch.long),
            "responses": torch.tensor([[place, 0, 0]]),
            "attention_mask": torch.tensor([[1, 1, 1, 1, 0]]),
        },
        batch_size=1,
    )
    row = verl_rows([TASK])[0]
    columns = {name: row[name] for name in ("data_source", "reward_model", "extra_info")}
    held = {name: np.array([value], dtype=object) for name, value in columns.items()}
    return DataProto(batch=batch, non_tensor_batch=held)


def manager_of(module: str) -> Any:
    reward = {
        "custom_reward_function": {"path": f"pkg://{module}", "name": "compute_score"},
        "reward_manager": {"source": "register", "name": "naive"},
    }
    return load_reward_manager(OmegaConf.create({"reward": reward}), Words())


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The shipped module, with a scripted judge behind it."""
    monkeypatch.syspath_prepend(str(ENV))
    with server(answer) as scripted:
        monkeypatch.setenv("RAR_JUDGE_URL", scripted.url)
        monkeypatch.setenv("RAR_JUDGE_MODEL", "m")
        sys.modules.pop("rar_verl", None)
        forget()
        yield "rar_verl"
    sys.modules.pop("rar_verl", None)
    forget()


def forget() -> None:
    from verl.trainer.ppo.core_algos import ADV_ESTIMATOR_REGISTRY

    ADV_ESTIMATOR_REGISTRY.pop(RAR_GRPO, None)


def test_verls_reward_manager_awaits_it_and_a_failure_is_nan_with_its_reason(module: str) -> None:
    manager = manager_of(module)
    assert manager.is_async_reward_score  # else verl would call it in a thread and get a coroutine

    async def all_of_them() -> list[dict[str, Any]]:
        return list(await asyncio.gather(*(manager.run_single(sample(i)) for i in range(4))))

    results = manager.loop.run_until_complete(all_of_them())
    good, broken, bad, _ = results
    assert good["reward_score"] == pytest.approx(1.0)
    assert bad["reward_score"] == pytest.approx(0.0)
    assert math.isnan(broken["reward_score"])
    assert broken["reward_extra_info"]["unscored"] == 1.0
    assert "on 1..10" in broken["reward_extra_info"]["reason"]
    keys = [set(one["reward_extra_info"]) for one in results]
    assert keys == [{"score", "unscored", "reason"}] * 4  # verl takes the keys of the first for all


def test_the_reward_goes_through_verls_tensors_into_an_advantage_of_zero(module: str) -> None:
    """Manager, reward tensor, and the trainer's own advantage step, with the shipped estimator."""
    from verl.trainer.ppo.ray_trainer import compute_advantage

    manager = manager_of(module)
    loop = manager.loop
    scores = [
        loop.run_until_complete(manager.run_single(sample(i)))["reward_score"] for i in range(4)
    ]
    data = DataProto.concat([sample(i) for i in range(4)])
    data.batch["rm_scores"] = get_reward_manager_cls("naive").assemble_rm_scores(data, scores)
    data.batch["token_level_rewards"] = data.batch["rm_scores"]
    data.batch["response_mask"] = data.batch["attention_mask"][:, 2:]
    data.non_tensor_batch["uid"] = np.array(["p"] * 4, dtype=object)
    config = OmegaConf.create({"norm_adv_by_std_in_grpo": True})
    data = compute_advantage(data, RAR_GRPO, config=config)
    up = 3**-0.5  # of 1, 0 and 1: mean 2/3, deviation 3**-0.5
    down = -2 * 3**-0.5
    wanted = [[up, up, 0], [0, 0, 0], [down, down, 0], [up, up, 0]]
    assert data.batch["advantages"].tolist() == [pytest.approx(row, abs=1e-4) for row in wanted]


def test_it_is_verls_own_grpo_where_everything_is_scored() -> None:
    torch.manual_seed(0)
    rewards = torch.zeros(12, 5)
    mask = torch.ones(12, 5)
    rewards[:, -1] = torch.rand(12)
    mask[::2, 3:] = 0
    index = np.array([f"p{i % 3}" for i in range(12)], dtype=object)  # groups that are not in order
    for by_deviation in (True, False):
        config = {"norm_adv_by_std_in_grpo": by_deviation}
        ours, returns = rar_grpo(rewards, mask, index, config=config)
        theirs, _ = compute_grpo_outcome_advantage(
            rewards.clone(), mask, index, norm_adv_by_std_in_grpo=by_deviation
        )
        assert torch.allclose(ours, theirs, atol=1e-4)
        assert torch.equal(ours, returns)


def test_verls_own_grpo_would_lose_the_whole_group_and_no_other() -> None:
    """Why adv_estimator=rar_grpo is needed: what the docstring of for_verl says."""
    rewards = torch.tensor([[math.nan], [1.0], [0.0], [0.25], [0.75]])
    index = np.array(["a", "a", "a", "b", "b"], dtype=object)
    theirs, _ = compute_grpo_outcome_advantage(rewards.clone(), torch.ones(5, 1), index)
    assert theirs.isnan().flatten().tolist() == [True, True, True, False, False]
    ours, _ = rar_grpo(rewards, torch.ones(5, 1), index, max_unscored=0.5)
    assert ours[0].item() == 0.0
    assert ours.isfinite().all()


def test_training_stops_above_the_share_of_the_whole_step(module: str) -> None:
    register_verl(max_unscored=0.25)
    estimator = get_adv_estimator_fn(RAR_GRPO)
    rewards = torch.tensor([[math.nan], [1.0], [0.0], [0.5]])
    index = np.array(["a", "a", "b", "b"], dtype=object)
    estimator(token_level_rewards=rewards, response_mask=torch.ones(4, 1), index=index, config=None)
    rewards[1] = math.nan
    with pytest.raises(UnscoredError, match=r"2 of 4 .*limit 25%"):
        estimator(
            token_level_rewards=rewards, response_mask=torch.ones(4, 1), index=index, config=None
        )


def test_the_signature_is_the_one_that_verl_calls() -> None:
    score = for_verl(RubricReward(Judge(Chat("http://127.0.0.1:1/v1", "m")), "implicit"))
    assert inspect.iscoroutinefunction(score)  # what verl asks
    source = inspect.getsource(get_reward_manager_cls("naive").run_single)
    for name in ("data_source", "solution_str", "ground_truth", "extra_info"):
        assert f"{name}=" in source
    inspect.signature(score).bind(
        data_source="",
        solution_str="",
        ground_truth="",
        extra_info={},
        reward_router_address=None,
        reward_model_tokenizer=None,
    )


def test_a_row_that_is_no_task_and_rubric_dropout_are_refused() -> None:
    judge = Judge(Chat("http://127.0.0.1:1/v1", "m"))
    with pytest.raises(DataError, match=r"'42'.*verl_rows"):
        asyncio.run(for_verl(RubricReward(judge, "implicit"))("rar", "a", "42"))
    with pytest.raises(DataError, match=r"keep is 0.5.*verl"):
        for_verl(RubricReward(judge, "implicit", keep=0.5))


def test_verls_own_data_set_reads_the_rows(tmp_path: Path) -> None:
    from datasets import Dataset

    tasks = load_mini("train")[:3]
    Dataset.from_list(verl_rows(tasks)).to_parquet(tmp_path / "train.parquet")
    back = Dataset.from_parquet(str(tmp_path / "train.parquet"), cache_dir=str(tmp_path))
    assert back[1]["reward_model"]["ground_truth"] == tasks[1].model_dump_json()
    assert back[1]["prompt"][-1] == {"role": "user", "content": tasks[1].question}


#: What main_ppo does before it starts Ray, in a process as a user starts it.
_START = """
import sys
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
with initialize_config_dir(sys.argv[1], version_base=None):
    config = compose("rar_medicine")
import verl
from verl.trainer.ppo.core_algos import get_adv_estimator_fn
from verl.trainer.ppo.reward import get_custom_reward_fn
from verl.trainer.ppo.utils import need_critic, need_reference_policy
from verl.utils.config import omega_conf_to_dataclass, validate_config
critic, reference = need_critic(config), need_reference_policy(config)
validate_config(config, use_reference_policy=reference, use_critic=critic)
algorithm = omega_conf_to_dataclass(config.algorithm)
actor = omega_conf_to_dataclass(config.actor_rollout_ref.actor)
assert (critic, reference) == (False, False)
assert algorithm.adv_estimator == "rar_grpo"
assert get_adv_estimator_fn(algorithm.adv_estimator).func.__name__ == "rar_grpo"
assert get_custom_reward_fn(config).args[0].__name__ == "compute_score"
assert actor.loss_agg_mode == "seq-mean-token-mean"
assert actor.optim.lr == 5e-6
sent = OmegaConf.to_container(config.ray_kwargs.ray_init.runtime_env.env_vars, resolve=True)
assert sent["VERL_USE_EXTERNAL_MODULES"] == "rar_verl"
print("composed")
"""


def test_the_ready_configuration_is_one_that_verl_accepts() -> None:
    root = ENV.parents[1]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ENV), str(root)]),
        "VERL_USE_EXTERNAL_MODULES": "rar_verl",
        "RAR_JUDGE_URL": "http://127.0.0.1:1/v1",
        "RAR_JUDGE_MODEL": "m",
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _START, str(ENV)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip().endswith("composed")
