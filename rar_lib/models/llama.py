"""The llama.cpp command line of a local server, with the program that it starts.

vLLM computes in bfloat16 or int8 where the processor has such products, and with AVX2 alone in
float32, in eight times the bytes of the 4-bit files that the weights come from. llama.cpp
reads those files as they are, multiplies their blocks with 8-bit activations, and shares a prompt's
beginning to the token, not to a block of 32. The package xllamacpp carries it, built for AVX2.

One slot: requests are taken one after the other, each from where it parts from the one before.
With more, every slot would read a response's prompt for itself.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rar_lib.core.errors import ServerError
from rar_lib.models.vllm_args import KV_CACHE_GB, Plan

# -P: a file of the working folder must not shadow a module that the server imports.
PROGRAM = (sys.executable, "-P", "-m", "rar_lib.models.llama")
#: What computes the answers.
PACKAGES = ("xllamacpp",)
#: Tokens that go through the model at once.
_BATCH = 512
#: What a server holds beside weights and earlier prompts: interpreter, buffers, the prompt in hand.
BESIDE_GB = 1.0


def plan(
    model: str,
    *,
    max_model_len: int = 2048,
    kv_cache_gb: float = KV_CACHE_GB,
    program: Sequence[str] = PROGRAM,
) -> Plan:
    """Work out the command line for a model.

    Args:
        model: short name of an artifact that is no int8 one.
        max_model_len: longest prompt plus reply in tokens.
        kv_cache_gb: memory for keys and values of prompts that were asked before, in GB; those of
            the prompt in hand come to 0.1 GB more.
        program: the server program; tests put a scripted one here.

    Raises:
        ServerError: there is no such artifact, or it is an int8 one.
        ArtifactError: its file cannot be had.
    """
    from rar_lib.models import catalogue, store

    known = catalogue.MODELS.get(model)
    if known is None or known.base:
        fitting = ", ".join(name for name, one in catalogue.MODELS.items() if not one.base)
        raise ServerError(f"llama.cpp serves {fitting}, not {model!r}: leave RAR_ENGINE unset")
    file = store.fetch(model)
    stat = file.stat()
    weights_gb = stat.st_size / 1e9
    args = [*program, "--model", str(file), "--served-model-name", model]
    args += ["--max-model-len", str(max_model_len), "--cache-mib", str(int(kv_cache_gb * 954))]
    args += ["--threads", str(len(os.sched_getaffinity(0)))]
    stamp = json.dumps([[file.name, stat.st_size, stat.st_mtime_ns]])
    needed_gb = weights_gb + kv_cache_gb + BESIDE_GB
    usual_s = 1 + weights_gb  # measured on 2 cores
    weights = identity(known.identity)
    return Plan(model, tuple(args), {}, weights, stamp, weights_gb, needed_gb, usual_s)


def identity(weights: str) -> str:
    """What a judge of these weights is here: rounding differs from that of another engine."""
    return f"{weights}+llama.cpp"


def parameters(given: argparse.Namespace) -> Any:
    """What llama.cpp is told; the names are its own."""
    import xllamacpp

    found = xllamacpp.CommonParams()
    found.model.path = given.model
    found.model_alias = {given.served_model_name}
    found.n_parallel = 1
    found.cache_ram_mib = given.cache_mib
    found.n_ctx = given.max_model_len
    found.n_batch = found.n_ubatch = _BATCH
    found.cpuparams.n_threads = found.cpuparams_batch.n_threads = given.threads
    found.hostnames = ["127.0.0.1"]
    found.port = given.port
    found.ui = False
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until a signal ends the process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="GGUF file")
    parser.add_argument("--served-model-name", required=True)
    parser.add_argument("--max-model-len", type=int, required=True)
    parser.add_argument("--cache-mib", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args(arguments)
    given.model = str(given.model)
    import xllamacpp

    server = xllamacpp.Server(parameters(given))
    print(f"listening on {server.listening_address}", file=sys.stderr, flush=True)
    signal.pause()


if __name__ == "__main__":
    main()
