"""What a profile needs of memory: exact where it can be counted, by hand where it can't."""

from __future__ import annotations

import json
import math
import struct
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from rar_lib.book.profiles import Profile, load
from rar_lib.cli.plan import judges_of
from rar_lib.core.errors import DataError, PlanError
from rar_lib.models import processor
from rar_lib.models.catalogue import MODELS
from rar_lib.models.store import disk_needed, model_dir
from rar_lib.training.memory import (
    _TILE,
    SHAPES,
    Budget,
    Judges,
    Line,
    Shape,
    apart,
    memory,
    shape,
)
from rar_lib.training.policy import _PROJECTIONS
from rar_lib.training.settings import Settings

GPU = load("gpu")
with pytest.MonkeyPatch.context() as on_vnni:  # where the laptop's judge is the int8 one
    on_vnni.setattr(processor, "flags", lambda: frozenset({"avx512bw", "avx512_vnni"}))
    LAPTOP = load("laptop")
B32 = "Qwen/Qwen2.5-32B-Instruct"
#: Totals that the hub shows for these repositories (safetensors metadata).
PUBLISHED = {
    "Qwen/Qwen2.5-3B-Instruct": 3_085_938_688,
    "Qwen/Qwen2.5-7B": 7_615_616_512,
    "Qwen/Qwen2.5-14B-Instruct": 14_770_033_664,
    "Qwen/Qwen2.5-32B-Instruct": 32_763_876_352,
}


def header(file: Path) -> dict[str, Any]:
    """What a safetensors file says about its tensors; the weights are not read."""
    with file.open("rb") as stream:
        (size,) = struct.unpack("<Q", stream.read(8))
        tensors: dict[str, Any] = json.loads(stream.read(size))
    tensors.pop("__metadata__", None)
    return tensors


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_those_that_the_hub_publishes(name: str) -> None:
    assert shape(name).parameters == PUBLISHED[name]


@pytest.mark.model
@pytest.mark.parametrize("name", MODELS)
def test_parameters_and_bytes_are_those_of_the_weight_file(name: str) -> None:
    if disk_needed([name]):
        pytest.skip(f"{name} has not been fetched")
    tensors = header(model_dir(name) / "model.safetensors")
    stored = sum(t["data_offsets"][1] - t["data_offsets"][0] for t in tensors.values())
    scales = sum(math.prod(t["shape"]) for k, t in tensors.items() if k.endswith("_scale"))
    counted = sum(math.prod(t["shape"]) for t in tensors.values()) - scales
    assert counted == shape(name).parameters
    assert stored == (shape(name).int8_bytes() if MODELS[name].base else 2 * counted)


@pytest.mark.parametrize(("name", "rank"), [("smollm2-135m", 16), ("Qwen/Qwen2.5-7B", 64)])
def test_the_adapter_has_as_many_parameters_as_peft_gives_it(name: str, rank: int) -> None:
    """On the meta device: every size is real and no number exists."""
    torch = pytest.importorskip("torch")
    peft = pytest.importorskip("peft")
    from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config

    told = shape(name)
    kind = Qwen2Config if told.qkv_bias else LlamaConfig
    config = kind(
        num_hidden_layers=told.layers,
        hidden_size=told.hidden,
        num_attention_heads=told.heads,
        num_key_value_heads=told.kv_heads,
        intermediate_size=told.intermediate,
        vocab_size=told.vocabulary,
        tie_word_embeddings=told.tied,
    )
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    assert sum(p.numel() for p in model.parameters()) == told.parameters
    lora = peft.LoraConfig(r=rank, target_modules=list(_PROJECTIONS), task_type="CAUSAL_LM")
    adapted = peft.get_peft_model(model, lora, low_cpu_mem_usage=True)
    trained = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    assert trained == told.adapter(rank)


def test_a_small_shape_by_hand() -> None:
    tiny = Shape(2, 8, 2, 1, 4, 16, 100)
    # q 64, k 32, v 32, o 64, gate, up and down 128 each
    assert tiny.projected == 2 * (64 + 32 + 32 + 64 + 3 * 128)
    biases = 2 * (8 + 4 + 4)
    norms = 5 * 8
    embeddings = 2 * 100 * 8
    assert tiny.parameters == tiny.projected + biases + norms + embeddings
    assert tiny.token_bytes() == 2 * 2 * 4 * 2  # keys and values, layers, width, bytes
    # rank 3: q 16, k 12, v 12, o 16, gate, up and down 24 each
    assert tiny.token_bytes(4) == 2 * tiny.token_bytes()
    assert tiny.adapter(3) == 2 * 3 * (16 + 12 + 12 + 16 + 3 * 24)
    assert tiny.int8_bytes() == (
        tiny.projected + 4 * 2 * (8 + 4 + 4 + 8 + 16 + 16 + 8) + 2 * (biases + norms + embeddings)
    )


def budget_of(profile: Profile, room: float = 80e9, **settings: Any) -> Budget:
    return memory(profile.training, judges_of(profile), room=room, name=profile.name, **settings)


def lines(profile: Profile, **settings: Any) -> dict[str, Line]:
    """In bf16 where a test says nothing else, on whatever processor it runs."""
    return {x.what: x for x in budget_of(profile, **{"width": 2} | settings).lines}


@pytest.mark.parametrize(("flags", "width"), [({"avx2"}, 4), ({"avx2", "avx512bw"}, 2)])
def test_a_processor_without_bf16_products_holds_twice_the_bytes(
    flags: set[str], width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processor, "flags", lambda: frozenset(flags))
    monkeypatch.setenv("RAR_ENGINE", "vllm")
    laptop = load("laptop")
    found = {
        x.what: x for x in (*budget_of(laptop, moment="looks").lines, *budget_of(laptop).lines)
    }
    name = "qwen-1.5b" if width == 4 else "qwen-0.5b"
    assert found[f"judge {name}"].size == shape(name).parameters * width
    policy = "float32" if width == 4 else "bf16"
    assert found[f"policy smollm2-135m, {policy}"].size == 134_515_008 * width
    assert found["keys and values of rollouts"].size == 32 * 1024 * 11_520 * width
    # A GPU computes in bf16 whatever the processor beside it.
    assert budget_of(GPU).total == budget_of(GPU, width=2).total


def test_the_gpu_profile_by_hand() -> None:
    found = lines(GPU)
    assert found["judge Qwen/Qwen2.5-14B-Instruct"].size == 2 * 14_770_033_664
    adapter = found["adapter of rank 64, gradient, AdamW"]
    # 28 layers x rank 64 x (q, k, v, o and three of the MLP: inputs + outputs)
    n = 28 * 64 * (7168 + 4096 + 4096 + 7168 + 3 * 22528)
    assert adapter.size == 16 * n
    assert adapter.formula.startswith(f"{n:,} x 16 bytes")
    cache = found["keys and values of rollouts"]
    assert cache.size == 16 * 3584 * (2 * 28 * 512 * 2)
    assert cache.formula == "16 rollouts x 3,584 tokens x 57,344 bytes"
    answers = found["keys and values of held-out answers"]
    assert answers.size == 16 * 3584 * 57_344  # 3.3 GB; the 500 of this profile at once: 60 GB
    assert answers.formula == "16 answers x 3,584 tokens x 57,344 bytes"
    assert GPU.test_tasks * (100 + 2000) * 57_344 == 60_211_200_000


def test_vllms_share_of_the_gpu_holds_what_it_keeps_there_and_leaves_the_judges_room() -> None:
    """Policy in 4 bits, one group's keys and values, one context; it must be free at its start."""
    found = lines(GPU, moment="looks")  # all that are ever up
    held = found["policy Qwen/Qwen2.5-7B, 4 bits"].size
    held += found["keys and values of rollouts"].size + 2.5e9
    share = GPU.training.vllm_share * 80e9
    assert held <= share < 1.1 * held
    judges = sum(line.size for what, line in found.items() if "Instruct" in what)
    assert share + judges + 2 * 2.5e9 <= 80e9


def test_any_number_of_held_out_tasks_takes_the_same() -> None:
    """Policy.respond writes no more of them at once: see test_policy.py."""
    many = budget_of(GPU.model_copy(update={"test_tasks": 10**6}))
    assert many.total == budget_of(GPU).total
    assert lines(LAPTOP, longest=300)["keys and values of held-out answers"].size == (
        48 * 300 * 23_040
    )


def test_the_gpu_profile_fits_80_gb_and_every_line_and_assumption_is_shown() -> None:
    budget = budget_of(GPU, room=80e9)
    budget.check()
    text = str(budget)
    assert "of 80.00 GB: fits" in text
    for line in budget.lines:
        assert f"{line.size / 1e9:.2f} GB  {line.what}: {line.formula}" in text
        assert line.assumed in text
    assert f"{sum(x.size for x in budget.lines) / 1e9:.2f} GB  in all" in text


def test_a_hold_out_judge_that_is_asked_at_the_looks_or_served_anyway_waits_for_nothing() -> None:
    beside = Judges("a", ("b", "c"))
    assert beside.up("training") == beside.up("looks") == ("a", "b")
    served = Judges("a", ("b",), ("b",), later=True)
    assert (served.up("training"), served.up("looks")) == (("b", "a"), ("b",))
    assert beside.waiting == served.waiting == ""
    assert served.names == ("b", "a")


def test_a_hold_out_judge_that_waits_takes_the_place_of_the_judge_that_rewards() -> None:
    alone = Judges("a", ("b", "c"), later=True)
    assert (alone.up("training"), alone.up("looks")) == (("a",), ("b",))
    assert (alone.names, alone.waiting) == (("a", "b"), "b")
    kept = Judges("a", ("b",), ("a",), later=True)  # its server is up for all chapters
    assert kept.up("looks") == ("a", "b")
    assert Judges("a", later=True).up("looks") == ("a",)  # nobody waits


def test_on_a_gpu_what_vllm_keeps_lies_beside_the_hold_out_judge() -> None:
    left = {x.what: x for x in budget_of(GPU, moment="looks").lines}
    training = lines(GPU)
    for what in ("policy Qwen/Qwen2.5-7B, 4 bits", "keys and values of rollouts"):
        assert left[what].size == training[what].size
    assert "activations" not in left
    assert "keys and values of rollouts" not in {
        x.what for x in budget_of(LAPTOP, width=2, moment="looks").lines
    }


def test_an_int8_judge_counts_its_own_bytes() -> None:
    assert lines(LAPTOP)["judge qwen-1.5b-int8"].size == 2_246_560_768


def test_without_unsloth_a_gpu_holds_two_copies_and_trains_on_a_group_at_once() -> None:
    quick = lines(GPU)
    plain = lines(GPU, backend="transformers")
    assert plain["policy Qwen/Qwen2.5-7B, bf16, and vLLM's own copy"].size == 4 * 7_615_616_512
    assert plain["activations"].size == 16 * quick["activations"].size
    with pytest.raises(PlanError, match=r"the largest part is policy.*--backend unsloth"):
        budget_of(GPU, room=80e9, backend="transformers").check()


def test_without_checkpoints_the_activations_alone_would_fill_four_gpus() -> None:
    """Why a GPU keeps the input of each layer alone: see keep_for_the_update."""
    inside = 2 * (8 * 3584 + 4 * 512 + 4 * 18944)
    assert lines(GPU)["activations"].size == 3584 * (28 * 3584 * 2 + inside)
    assert 16 * 3584 * 28 * inside == 341_986_770_944
    short = LAPTOP.training.rollouts * 1024  # on a CPU everything is kept
    assert lines(LAPTOP)["activations"].size == short * 30 * 2 * (8 * 576 + 4 * 192 + 4 * 1536)


def test_the_tiles_are_those_of_the_installed_trl() -> None:
    utils = pytest.importorskip("trl.trainer.utils")
    kernel = Path(utils.__file__).parent.parent / "kernels" / "chunked_logprob.py"
    tokens, words = _TILE
    assert f"TOKEN_CHUNK_SIZE = {tokens}" in kernel.read_text()
    assert words == utils._CHUNKED_LOGPROB_CHUNK_SIZE


SERVED = GPU.training.model_copy(update={"rollout_server": "http://127.0.0.1:8001"})


def test_every_model_on_a_device_of_its_own_by_hand() -> None:
    training, judge, watching, writer = apart(SERVED, judges_of(GPU), room=80e9)
    assert (judge.name, watching.name) == (f"judge {GPU.judge}", f"judge {GPU.judges[-2]}")
    assert judge.total == 2 * 14_770_033_664 + 4e9 + 2.5e9
    assert watching.total == 2 * 7_615_616_512 + 4e9 + 2.5e9
    assert writer.total == 2 * 7_615_616_512 + 96 * 3584 * 57_344 + 2.5e9
    sizes = {line.what: line.size for line in training.lines}
    assert sizes["policy Qwen/Qwen2.5-7B, bf16"] == 2 * 7_615_616_512  # no copy of vLLM's
    assert "keys and values of rollouts" not in sizes  # they are written elsewhere
    assert sizes["activations"] == lines(GPU, backend="transformers")["activations"].size
    assert not any("judge" in what for what in sizes)
    for budget in (training, judge, watching, writer):
        budget.check()


def test_without_a_rollout_server_the_training_device_holds_what_it_held_without_its_judges() -> (
    None
):
    training, *judges = apart(GPU.training, judges_of(GPU), room=80e9)
    assert len(judges) == len(judges_of(GPU).names)
    graders = sum(line.size for what, line in lines(GPU).items() if "Instruct" in what)
    contexts = 2.5e9 * len(judges_of(GPU).up("training"))
    assert training.total == pytest.approx(budget_of(GPU).total - graders - contexts)


def test_a_rollout_server_means_plain_transformers_whatever_is_asked() -> None:
    both = [
        memory(SERVED, judges_of(GPU), room=80e9, backend=b) for b in ("unsloth", "transformers")
    ]
    assert both[0] == both[1]
    assert not any(
        "--backend" in advice for advice in memory(SERVED, judges_of(GPU), room=1e9).advice
    )


def test_one_device_that_cannot_hold_its_own_is_named() -> None:
    budgets = apart(SERVED, judges_of(GPU), room=40e9)
    assert [b.fits for b in budgets] == [False, True, True, True]
    with pytest.raises(PlanError, match=r"training Qwen/Qwen2.5-7B needs 47\.59 GB.*a device of"):
        budgets[0].check()


def test_a_cpu_has_no_devices_to_put_models_on() -> None:
    with pytest.raises(DataError, match="the CPU, whose memory all models share"):
        apart(LAPTOP.training, judges_of(LAPTOP), room=24e9)


def test_shorter_rollouts_take_less() -> None:
    short = lines(LAPTOP, longest=128)
    long = lines(LAPTOP)
    for name in ("activations", "keys and values of rollouts"):
        assert short[name].size * 8 == pytest.approx(long[name].size)
    assert lines(LAPTOP, longest=10**6) == long  # cut at the context


@pytest.mark.parametrize(
    ("changes", "room", "advice"),
    [
        ({"judges": (*GPU.judges, B32)}, 80e9, f"judges without the hold-out judge {B32}"),
        ({"judge": B32, "judges": (B32,), "servers": (B32,)}, 80e9, "14B-Instruct as the only"),
        ({}, 26e9, "judges behind an API"),
        ({}, 1e9, "a device of 69.11 GB"),
    ],
)
def test_what_cannot_fit_is_refused_with_a_change_that_helps(
    changes: dict[str, Any], room: float, advice: str
) -> None:
    budget = budget_of(GPU.model_copy(update=changes), room=room, moment="looks")
    assert not budget.fits
    with pytest.raises(PlanError) as caught:
        budget.check()
    text = str(caught.value)
    assert advice in text
    assert f"{(budget.total - room) / 1e9:.2f} GB more than the {room / 1e9:.2f} GB" in text


def test_advice_is_only_given_where_it_would_be_enough() -> None:
    for room, moment in product((1e9, 10e9, 24e9, 40e9, 55e9), ("training", "looks")):
        said = budget_of(GPU, room=room, moment=moment).advice
        alone = next((a.split()[0] for a in said if a.endswith("as the only judge")), None)
        if alone:
            changes = {"judge": alone, "judges": (alone,), "servers": (alone,)}
            assert budget_of(GPU.model_copy(update=changes), room=room, moment=moment).fits
        assert said[-1].startswith("a device of")


def test_exactly_full_still_fits() -> None:
    parts = (Line("a", "1", 6e9), Line("b", "2", 4e9))
    Budget("p", parts, 10e9).check()
    with pytest.raises(PlanError, match=r"10\.00 GB of memory, 1\.00 GB more than the 9\.00 GB"):
        Budget("p", parts, 9e9).check()


def test_an_unknown_shape_says_where_to_add_it() -> None:
    with pytest.raises(DataError, match=r"my/model.* is not known: add .*training/memory.py"):
        memory(Settings(policy="my/model"), judges_of(GPU), room=80e9)
    assert all(name in SHAPES for p in ("gpu", "laptop") for name in _bases(load(p)))


def _bases(profile: Profile) -> list[str]:
    return [MODELS[m].base or m if m in MODELS else m for m in profile.models]


def test_a_judge_on_a_gpu_can_read_whatever_a_policy_writes() -> None:
    server = GPU.server
    rubric = 32 * (GPU.rubric_size[1] + 2)
    assert server["max_model_len"] >= GPU.training.context + rubric
    for name in GPU.judges:  # and at least one such request lies in its cache
        assert server["kv_cache_gb"] * 1e9 >= server["max_model_len"] * shape(name).token_bytes()
