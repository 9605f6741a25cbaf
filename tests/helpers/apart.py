"""The command line in a process of its own: what it imports stays there. Tests only.

Unsloth changes transformers and TRL for the whole process that imports it.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Done:
    """How it ended, and all that it printed."""

    exit_code: int
    output: str


def rar(*arguments: str | Path) -> Done:
    """Run `rar` with these arguments."""
    done = subprocess.run(
        [sys.executable, "-m", "rar_lib.cli.app", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    return Done(done.returncode, done.stdout)
