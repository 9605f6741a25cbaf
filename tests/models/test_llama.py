"""llama.cpp as the server of a judge: its command line, who is served by it, and a real one."""

from __future__ import annotations

import argparse
import asyncio
import os
from pathlib import Path

import pytest

from rar_lib.core.errors import ServerError
from rar_lib.data.tasks import load_mini, load_mini_pairs
from rar_lib.judging.judge import Judge, grade_many
from rar_lib.models import llama, server, store
from rar_lib.models.catalogue import MODELS
from rar_lib.models.server import local_chat, process_start


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pinned file of 1.2 GB that takes no room."""
    path = tmp_path / "model.gguf"
    with path.open("wb") as sparse:
        sparse.truncate(1_200_000_000)
    monkeypatch.setattr(store, "fetch", lambda _: path)
    return path


def test_the_command_line_and_the_memory(file: Path) -> None:
    found = llama.plan("qwen-1.5b", max_model_len=4096, kv_cache_gb=0.5, program=("serve",))
    cores = len(os.sched_getaffinity(0))
    assert found.args == (
        *("serve", "--model", str(file), "--served-model-name", "qwen-1.5b"),
        *("--max-model-len", "4096", "--cache-mib", "477", "--threads", str(cores)),
    )
    assert found.name == "qwen-1.5b"
    assert found.needed_gb == pytest.approx(1.2 + 0.5 + llama.BESIDE_GB)


def test_a_judge_of_another_engine_is_another_judge(file: Path) -> None:
    weights = MODELS["qwen-1.5b"].identity
    assert llama.plan("qwen-1.5b").weights == f"{weights}+llama.cpp" != weights


def test_other_weights_or_sizes_are_another_server(file: Path) -> None:
    keys = {llama.plan("qwen-1.5b").key, llama.plan("qwen-1.5b", max_model_len=512).key}
    keys |= {llama.plan("qwen-1.5b", kv_cache_gb=0.5).key}
    os.utime(file, ns=(1, 1))
    keys |= {llama.plan("qwen-1.5b").key}
    assert len(keys) == 4


@pytest.mark.parametrize("model", ["qwen-1.5b-int8", "somebody/model", "a-folder"])
def test_what_it_cannot_serve_is_named(model: str) -> None:
    with pytest.raises(ServerError, match=f"not '{model}'"):
        llama.plan(model)


def test_it_listens_on_loopback_and_takes_one_request_at_a_time() -> None:
    given = argparse.Namespace(
        model="m.gguf", served_model_name="m", max_model_len=2048, cache_mib=954, threads=2, port=5
    )
    told = llama.parameters(given)
    assert told.hostnames == ["127.0.0.1"]
    assert (told.port, told.n_parallel, told.n_ctx, told.cache_ram_mib) == (5, 1, 2048, 954)
    assert told.cpuparams.n_threads == told.cpuparams_batch.n_threads == 2
    assert told.model_alias == {"m"}
    assert not told.ui


def test_a_chat_speaks_the_engines_dialect(monkeypatch: pytest.MonkeyPatch) -> None:
    said = {}
    for asked in ("vllm", "llama.cpp"):
        monkeypatch.setenv("RAR_ENGINE", asked)
        with local_chat("smollm2-135m") as chat:  # starts nothing
            assert chat.engine  # what answers is looked up once
            said[asked] = chat
    one = said["vllm"]
    other = said["llama.cpp"]
    assert (one.dialect.limit, other.dialect.limit) == ("max_completion_tokens", "max_tokens")
    assert one.dialect.lead
    assert other.dialect.lead
    assert other.weights == llama.identity(MODELS["smollm2-135m"].identity)
    assert "torch==" in one.engine
    assert "vllm" in one.engine
    assert other.engine.startswith("xllamacpp==")


@pytest.mark.model
def test_a_real_server_judges_and_ends_with_its_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Single criteria by probability, one rating, and JSON, from the file as it was fetched."""
    monkeypatch.setenv("RAR_ENGINE", "llama.cpp")
    pair = load_mini_pairs("test")[0]
    task = next(task for task in load_mini("all") if task.id == pair.task_id)
    assert task.rubric is not None
    items = [(task, pair.preferred)]
    with (
        server.serve("smollm2-135m", max_model_len=2048) as endpoint,
        local_chat("smollm2-135m", {"max_model_len": 2048}) as chat,
    ):
        assert chat.servers[0].url() == endpoint.base_url  # the running one is shared
        (explicit,) = asyncio.run(grade_many(Judge(chat), items, "explicit"))
        (rating,) = asyncio.run(grade_many(Judge(chat), items, "implicit"))
        (said,) = asyncio.run(grade_many(Judge(chat, reading="sampled"), items, "implicit"))
    assert len(explicit.verdicts) == len(task.rubric.criteria)
    assert all(v.probability is not None and v.share > 0.5 for v in explicit.verdicts)
    assert rating.score is not None
    assert said.score is not None
    assert endpoint.pid is not None
    assert process_start(endpoint.pid) is None
