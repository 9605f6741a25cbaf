"""Several processes under accelerate's launcher; as a program it is `rar` with fixed draws.

    launched.start(2, launched.__file__, "train", "--tasks", ...)

The draws of a rollout depend on its place in its group alone, so that a step is the same whoever
writes which rollouts.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[2]
ROLLOUTS = 4


def start(processes: int, program: str | Path, *arguments: str | Path) -> subprocess.Popen[str]:
    """The program in so many processes on this machine's CPU."""
    several = ["--multi_gpu"] if processes > 1 else []
    launcher = [sys.executable, "-m", "accelerate.commands.launch", *several]
    launcher += ["--num_processes", str(processes), "--num_machines", "1"]
    launcher += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    path = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])
    quiet = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TRL_EXPERIMENTAL_SILENCE": "1"}
    return subprocess.Popen(
        [*launcher, str(program), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | quiet | {"PYTHONPATH": path},
    )


def kill(launcher: subprocess.Popen[str]) -> None:
    """kill -9 of the launcher and all that it started."""
    for process in [*psutil.Process(launcher.pid).children(recursive=True), launcher]:
        process.kill()


def fixed(logits: Any, temperature: float) -> Any:
    """In place of the decoder's draw of a token: by the place in the group."""
    import torch

    if temperature == 0:
        return logits.argmax(-1)
    mass = torch.softmax(logits.float() / temperature, -1).cumsum(-1)
    place = torch.arange(len(mass)) % ROLLOUTS
    at = ((place + 0.5) / ROLLOUTS)[:, None] * mass[:, -1:]
    return torch.searchsorted(mass, at, right=True)[:, 0].clamp(max=mass.shape[-1] - 1)


def without_bfloat16() -> frozenset[str]:
    """The flags of a processor that computes in single precision."""
    return frozenset({"avx2"})


if __name__ == "__main__":
    from rar_lib.cli.app import app
    from rar_lib.models import processor
    from rar_lib.training import decode

    processor.flags = without_bfloat16
    decode._sample = fixed
    app()
