"""What is started, and when a running server may be used again."""

from __future__ import annotations

import dataclasses
import os
import socket
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from rar_lib.core.errors import ServerError
from rar_lib.models import vllm_args


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"0" * 1000)
    return folder


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_cpu_command_line(weights: Path, monkeypatch: pytest.MonkeyPatch, dtype: str) -> None:
    monkeypatch.setattr(vllm_args, "cpu_dtype", lambda: dtype)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 1})
    todo = vllm_args.plan(str(weights), max_model_len=1024, kv_cache_gb=1.5)
    assert " ".join(todo.args) == (
        f"{sys.executable} -P -m vllm.entrypoints.openai.api_server"
        f" --model {weights} --served-model-name tiny --host 127.0.0.1 --dtype {dtype}"
        " --max-model-len 1024 --max-num-seqs 32 --kv-cache-memory-bytes 1500000000"
        " --enable-prefix-caching --generation-config vllm --max-logprobs 20"
        " --enable-prompt-tokens-details --disable-uvicorn-access-log"
        ' --structured-outputs-config {"backend": "guidance", "disable_any_whitespace": true}'
        " --enforce-eager --block-size 32 --no-enable-chunked-prefill"
    )
    assert todo.env == {
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "OMP_NUM_THREADS": "2",
        "OMP_PROC_BIND": "true",
        "OMP_PLACES": "{1,3}",
        "GOMP_SPINCOUNT": "30000",
        **vllm_args.allocator(),
    }
    widened = 2e-6 if dtype == "float32" else 1e-6  # the file holds bf16
    beside = vllm_args.overhead_gb(widened, float32=dtype == "float32")
    assert todo.needed_gb == pytest.approx(widened + 1.5 + beside, abs=1e-9)


def test_a_server_in_float32_holds_more_beside_its_weights() -> None:
    """Measured: 6.6 to 7.0 GB with 2.52 of weights, 12.65 with 7.11, 1 GB of cache each."""
    assert vllm_args.overhead_gb(7.11, float32=False) == 2.0
    assert 2.52 + 1 + vllm_args.overhead_gb(2.52, float32=True) == pytest.approx(7.0, abs=0.3)
    assert 7.11 + 1 + vllm_args.overhead_gb(7.11, float32=True) == pytest.approx(12.65, abs=0.3)


def test_the_allocator_is_preloaded_before_what_is_preloaded_already(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("LD_PRELOAD", raising=False)
    library = Path(vllm_args.allocator()["LD_PRELOAD"])
    assert library.name == "libmimalloc.so"
    assert library.is_file()
    monkeypatch.setenv("LD_PRELOAD", "/lib/other.so")
    assert vllm_args.allocator() == {"LD_PRELOAD": f"{library}:/lib/other.so"}


@pytest.mark.parametrize("place", [None, "/a folder/libmimalloc.so", "/a:b/libmimalloc.so"])
def test_without_its_package_or_with_a_path_that_cannot_be_preloaded_the_c_library_keeps_memory(
    monkeypatch: pytest.MonkeyPatch, place: str | None
) -> None:
    class Installed:
        def locate_file(self, _: str) -> str:
            assert place
            return place

    def find(name: str) -> Installed:
        if place is None:
            raise vllm_args.PackageNotFoundError(name)
        return Installed()

    monkeypatch.setattr(vllm_args, "distribution", find)
    assert vllm_args.allocator() == {
        "MALLOC_MMAP_MAX_": "0",
        "MALLOC_TRIM_THRESHOLD_": "8000000000",
    }


def test_cuda_takes_a_hub_id_and_keeps_the_graphs() -> None:
    todo = vllm_args.plan("Qwen/Qwen2.5-7B-Instruct", device="cuda", kv_cache_gb=8)
    assert todo.args[todo.args.index("--model") + 1] == "Qwen/Qwen2.5-7B-Instruct"
    assert "--enforce-eager" not in todo.args
    assert "HF_HUB_OFFLINE" not in todo.env
    # By default a server asks for most of the GPU to be free: a second one would never start.
    assert float(todo.args[todo.args.index("--gpu-memory-utilization") + 1]) <= 0.1
    assert todo.needed_gb == 0
    assert todo.slug == "Qwen-Qwen2.5-7B-Instruct"


def test_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ServerError, match=r"holds no \*\.safetensors weights"):
        vllm_args.plan(str(tmp_path))


def test_key_changes_with_everything_that_changes_an_answer(weights: Path) -> None:
    base = vllm_args.plan(str(weights))
    assert base.key == vllm_args.plan(str(weights)).key
    others = [
        vllm_args.plan(str(weights), max_model_len=4096),
        vllm_args.plan(str(weights), kv_cache_gb=2),
        vllm_args.plan(str(weights), device="cuda"),
        vllm_args.plan(str(weights), program=("other",)),
        dataclasses.replace(base, weights="ab"),
        dataclasses.replace(base, env=base.env | {"X": "1"}),
    ]
    os.utime(weights / "model.safetensors", ns=(1, 1))  # made again
    others.append(vllm_args.plan(str(weights)))
    assert len({base.key, *(o.key for o in others)}) == 1 + len(others)


def test_too_little_memory_names_both_numbers(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = SimpleNamespace(available=1_024_000_000)
    monkeypatch.setattr("psutil.virtual_memory", lambda: free)
    todo = dataclasses.replace(vllm_args.plan(str(weights)), needed_gb=1.1)
    with pytest.raises(ServerError, match=r"about 1\.1 GB of free memory, 1\.0 GB are free"):
        vllm_args.check_memory(todo)
    vllm_args.check_memory(dataclasses.replace(todo, needed_gb=1.0))


def test_port_in_use_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ServerError, match=f"port {port} .*in use.*name another one"):
            vllm_args.free_port(port)
    assert vllm_args.free_port(0) > 0


@pytest.mark.parametrize(
    ("what", "log", "fix"),
    [
        (
            "ended with code 1",
            "/usr/bin/python: No module named vllm",
            "install the server",
        ),
        ("ended with code 1", "[Errno 98] error: address already in use", "run again"),
        (
            "ended with code 1",
            "ValueError: Available memory on node 0 (1/8)",
            "lower kv_cache_gb",
        ),
        ("ended with code 137", "loading weights", "killed for memory"),
        ("ended with code 132", "loading weights", "this CPU cannot run"),
        ("ended with code 1", "something new", "see the log"),
    ],
)
def test_post_mortem_names_the_probable_fix(tmp_path: Path, what: str, log: str, fix: str) -> None:
    path = tmp_path / "x.log"
    path.write_text("early line\n" + "filler\n" * 25 + f"\x1b[31m{log}\n")
    text = vllm_args.post_mortem("tiny", what, path)
    assert fix in text.splitlines()[0]
    assert str(path) in text
    assert log in text
    assert "early line" not in text
    assert "\x1b" not in text
