"""What a training run leaves behind, as JSON that later chapters read."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rar_lib.atomic import atomic_write
from rar_lib.diagnostics import joined


@dataclass(frozen=True)
class Run:
    """What a run leaves behind (all JSON, so that a later chapter can read it).

    Attributes:
        arm: the method, one of :data:`TRAINED`.
        backend: what loaded the policy.
        seconds: spent in training, over all parts of a resumed run.
        log: TRL's log, one record a step.
        steps: the reward's own record, one a step; none in supervised fine-tuning.
        before: greedy responses to the held-out tasks without the adapter, by task id.
        after: the same with it.
        watched: what ``watch`` measured, by schedule.
        resumed_at: the last finished step at each restart; the curve is joined there.
        checkpoint_seconds: what each checkpoint cost.
        selected: what rejection sampling kept (``sft_filtered``).
        identity: everything that had to be equal to continue this run.
    """

    arm: str
    seed: int
    backend: str
    seconds: float
    log: list[dict[str, Any]]
    steps: list[dict[str, Any]]
    before: dict[str, str]
    after: dict[str, str]
    watched: list[dict[str, Any]] = field(default_factory=list)
    resumed_at: list[int] = field(default_factory=list)
    checkpoint_seconds: list[float] = field(default_factory=list)
    selected: list[dict[str, Any]] = field(default_factory=list)
    identity: dict[str, Any] = field(default_factory=dict)

    def curve(self) -> list[dict[str, Any]]:
        """One row a step: reward, spread, flat groups, length, entropy, KL, seconds, ..."""
        return joined(self.log, self.steps, self.resumed_at)

    def save(self, path: Path) -> None:
        """Write the run as JSON, atomically."""
        atomic_write(path, json.dumps(asdict(self), indent=1))

    @staticmethod
    def load(path: Path | str) -> Run:
        """Read a saved run."""
        return Run(**json.loads(Path(path).read_text(encoding="utf-8")))
