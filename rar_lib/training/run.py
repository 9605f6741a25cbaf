"""What a run leaves behind: its record, with the transcript of its rollouts.

    run = Run.load("run/run.json")
    run.curve()                 # one row a step

:mod:`rar_lib.training.checkpoints` is what it can be continued from.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rar_lib.core.errors import CheckpointError
from rar_lib.core.files import atomic_write
from rar_lib.evaluation.diagnostics import groups, joined

#: In the folder of a run: what was asked, answered and judged.
TRANSCRIPT = "rollouts.jsonl"
#: Groups of a step that it keeps: all of a small run, and of a large one as many as are read.
KEPT_GROUPS = 4


@dataclass(frozen=True)
class Run:
    """What a run leaves behind (all JSON, so that a later chapter can read it).

    Attributes:
        arm: the method, one of :data:`rar_lib.training.train.TRAINED`.
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


@dataclass
class Transcript:
    """What was asked, answered and judged in a run, one JSON line a step and a look.

    It lies beside the checkpoints and not in the journal, which each of them copies. The first line
    holds the held-out tasks (``held_out``), a ``look`` the ``answers`` by task id and the
    ``grades`` by role and task id, a ``step`` its ``groups``: the task, and the rollouts with text,
    tokens, score, verdicts and the advantage that the trainer gave. Nothing of it decides a step.

    Attributes:
        held: rollouts of the step that is going on, as the reward's record has them.
    """

    path: Path
    held: Sequence[Mapping[str, Any]] = ()

    def begin(self, held_out: Sequence[Mapping[str, Any]], after: int | None) -> None:
        """Start anew, or keep what was written up to step ``after``, which a run continues from."""
        rows = [{"held_out": list(held_out)}]
        if after is not None:
            done = read_transcript(self.path)
            rows += [row for row in done if 0 <= row.get("step", row.get("look", -1)) <= after]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_transcript(self.path, rows)

    def look(
        self, step: int, answers: Mapping[str, str], grades: Mapping[str, Mapping[str, Any]]
    ) -> None:
        """Answers to the held-out tasks, and what each grader said of them."""
        self._add({"look": step, "answers": dict(answers), "grades": grades})

    def step(self, step: int, advantages: Sequence[float]) -> None:
        """The held rollouts with their advantages: of the first groups, each of one task."""
        found = []
        for group in groups([rollout["task"]["id"] for rollout in self.held])[:KEPT_GROUPS]:
            members = [_kept(self.held[place], advantages[place]) for place in group]
            found.append({"task": self.held[group[0]]["task"], "rollouts": members})
        self.held = ()
        self._add({"step": step, "groups": found})

    def _add(self, row: Mapping[str, Any]) -> None:
        try:
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(f"{json.dumps(row)}\n")
        except OSError as error:
            raise CheckpointError(
                f"{self.path} can't be written ({error.strerror or error}): free some space, or "
                "make it writable, and run again; the run continues from its newest checkpoint"
            ) from error


def _kept(rollout: Mapping[str, Any], advantage: float) -> dict[str, Any]:
    """A rollout without its task, which stands beside its group."""
    kept = {key: value for key, value in rollout.items() if key != "task"}
    return kept | {"advantage": advantage}


def read_transcript(path: Path) -> list[dict[str, Any]]:
    """The lines of a transcript; one that was cut off by a kill is left out, and so is a file that
    is not there."""
    if not path.is_file():
        return []
    found = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            found.append(row)
    return found


def write_transcript(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Put rows in the place of all lines of a transcript, atomically."""
    atomic_write(path, "".join(f"{json.dumps(row)}\n" for row in rows))
