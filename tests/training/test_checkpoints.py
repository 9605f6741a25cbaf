"""A checkpoint is whole or not used, and a run continues only its own."""

from __future__ import annotations

import ast
import errno
import inspect
import json
import shutil
import textwrap
from pathlib import Path

import pytest

from rar_lib.core.errors import CheckpointError, UnscoredError
from rar_lib.training.checkpoints import (
    JOURNAL,
    MARKER,
    Journal,
    Sealer,
    check_space,
    fault,
    fingerprint,
    newest,
    seal,
    sole_writer,
)
from rar_lib.training.run import TRANSCRIPT, Transcript

RUN = fingerprint({"arm": "implicit", "seed": 0})
FILES = ("adapter_model.safetensors", "optimizer.pt", "scheduler.pt", "nested/rng_state.pth")


def write(folder: Path, step: int, run: str = RUN) -> Path:
    path = folder / f"checkpoint-{step}"
    for name in FILES:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(f"{name} of step {step}".encode())
    (path / "training_args.bin").write_bytes(b"a pickle")
    seal(path, run, Journal(steps=[{"mean": 0.5}] * step, seconds=2.0 * step))
    return path


def test_the_newest_whole_checkpoint_comes_back_with_its_journal(tmp_path: Path) -> None:
    for step in (1, 2, 10):
        write(tmp_path, step)
    found = newest(tmp_path, RUN)
    assert found is not None
    assert (found.step, found.folder.name) == (10, "checkpoint-10")  # by number, not by name
    assert found.journal == Journal(steps=[{"mean": 0.5}] * 10, seconds=20.0)
    assert newest(tmp_path / "nothing", RUN) is None


def test_the_pickled_arguments_are_not_kept(tmp_path: Path) -> None:
    assert not (write(tmp_path, 1) / "training_args.bin").exists()


@pytest.mark.parametrize("name", [*FILES, JOURNAL, MARKER])
@pytest.mark.parametrize("damage", ["cut", "empty", "gone", "one byte changed"])
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_it_used(
    tmp_path: Path, name: str, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, 1)
    path = write(tmp_path, 2)
    file = path / name
    content = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        half = content[: len(content) // 2]
        changed = content[:-2] + bytes([content[-2] ^ 1]) + content[-1:]
        file.write_bytes({"cut": half, "empty": b"", "one byte changed": changed}[damage])
    why = fault(path, RUN)
    found = newest(tmp_path, RUN)
    assert found is not None
    assert found.step == 1
    assert why
    assert caplog.messages == [f"{path}: {why}; renamed to broken-checkpoint-2"]
    assert (tmp_path / "broken-checkpoint-2").is_dir()
    assert not (tmp_path / "checkpoint-2").exists()


def test_a_checkpoint_that_was_being_written_is_set_aside_every_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(3):
        (write(tmp_path, 1) / MARKER).unlink()
        assert newest(tmp_path, RUN) is None
        aside = f"broken-checkpoint-1{f'-{number}' * bool(number)}"
        assert (tmp_path / aside).is_dir()
        assert caplog.messages[number].endswith(f": it was not finished; renamed to {aside}")


def test_a_file_that_the_marker_does_not_name_is_not_loaded(tmp_path: Path) -> None:
    path = write(tmp_path, 1)
    (path / "pytorch_model.bin").write_bytes(b"planted")
    assert fault(path, RUN) == f"pytorch_model.bin is not in {MARKER}"


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    path = write(tmp_path, 1)
    elsewhere = tmp_path / "optimizer.pt"
    shutil.move(path / "optimizer.pt", elsewhere)
    (path / "optimizer.pt").symlink_to(elsewhere)
    assert fault(path, RUN) == "it holds a link"


def test_a_run_with_other_settings_is_not_continued(tmp_path: Path) -> None:
    other = fingerprint({"arm": "implicit", "seed": 1})
    assert fault(write(tmp_path, 1), other) is not None
    assert newest(tmp_path, other) is None


def test_another_schema_is_not_read(tmp_path: Path) -> None:
    path = write(tmp_path, 1)
    marker = json.loads((path / MARKER).read_text())
    (path / MARKER).write_text(json.dumps(marker | {"schema": 99}))
    assert fault(path, RUN) == "it has schema 99, this library reads 1"


def test_one_process_at_a_time_writes_a_run(tmp_path: Path) -> None:
    with sole_writer(tmp_path), pytest.raises(CheckpointError, match="another process"):  # noqa: SIM117
        with sole_writer(tmp_path):
            pass
    with sole_writer(tmp_path):
        pass


def test_a_full_disk_is_seen_before_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in (10, 20):
        write(tmp_path, step)
    check_space(tmp_path, RUN)
    (tmp_path / "checkpoint-20" / JOURNAL).write_text("cut o")
    usage = shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr("rar_lib.training.checkpoints.shutil.disk_usage", lambda _: usage)
    with pytest.raises(CheckpointError, match=r"free some space .* continues from step 10$"):
        check_space(tmp_path, RUN)
    assert (tmp_path / "checkpoint-20").is_dir(), "looked at, and left where it is"
    with pytest.raises(CheckpointError, match=r"continues from its beginning$"):
        check_space(tmp_path, fingerprint({"seed": 1}))


#: As reported: by Python, by torch's writer, by those of tensors and tokenizers, which are in Rust.
FULL = [
    OSError(errno.ENOSPC, "No space left on device"),
    OSError(errno.EDQUOT, "Disk quota exceeded"),
    RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534"),
    RuntimeError("PytorchStreamWriter failed writing file data/1: file write failed"),
    Exception("Error while serializing: I/O error: No space left on device (os error 28)"),
    Exception("No space left on device (os error 28)"),
]
OTHERS = [
    RuntimeError("CUDA error: device-side assert triggered\nCUDA kernel errors might be reported"),
    PermissionError(errno.EACCES, "Permission denied"),
    OSError(errno.EROFS, "Read-only file system"),
    ValueError("can't optimize a non-leaf Tensor"),
]


@pytest.mark.parametrize("whole", [[], [10], [2, 10]])
@pytest.mark.parametrize("error", [*FULL, *OTHERS], ids=str)
def test_a_checkpoint_that_fails_says_why_and_from_where_the_run_continues(
    tmp_path: Path, error: Exception, whole: list[int]
) -> None:
    """Nine steps are lost, if ten lie between two checkpoints."""
    for step in whole:
        write(tmp_path, step)
    sealer = Sealer(RUN, Journal(), 0.0)
    with pytest.raises(CheckpointError) as caught, sealer.sealing(tmp_path, 20):
        raise error
    said = str(caught.value)
    assert "the checkpoint of step 20 can't be written" in said
    assert str(error).splitlines()[0] in said
    assert "\n" not in said
    assert ("free some space" in said) is (error in FULL)
    assert said.endswith(f"continues from {f'step {whole[-1]}' if whole else 'its beginning'}")
    assert caught.value.__cause__ is error
    assert sealer.journal.checkpoint_seconds == []


def test_what_has_its_own_name_keeps_it_in_a_checkpoint(tmp_path: Path) -> None:
    said = UnscoredError("the judge is down")
    with pytest.raises(UnscoredError, match=r"^the judge is down$"):  # noqa: SIM117
        with Sealer(RUN, Journal(), 0.0).sealing(tmp_path, 20):
            raise said


@pytest.mark.parametrize(
    "name",
    [
        "checkpoint-99-backup",
        "checkpoint-99 (copy)",
        "checkpoint-99.old",
        "checkpoint-099",
        "checkpoint-\uff19\uff19",
        "checkpoint-99\n",
        "my-checkpoint-99",
    ],
)
def test_a_copy_under_a_name_of_ones_own_is_no_checkpoint(tmp_path: Path, name: str) -> None:
    """It would be resumed under another step's number."""
    shutil.copytree(write(tmp_path, 10), tmp_path / name)
    found = newest(tmp_path, RUN)
    assert found is not None
    assert (found.step, found.folder.name) == (10, "checkpoint-10")
    assert (tmp_path / name).is_dir()


def test_the_installed_trainer_loads_checkpoints_as_weights_only() -> None:
    from transformers import Trainer
    from trl import GRPOTrainer, SFTTrainer

    loads = 0
    for trainer in (Trainer, GRPOTrainer, SFTTrainer):
        for name in ("_load_from_checkpoint", "_load_optimizer_and_scheduler", "_load_rng_state"):
            tree = ast.parse(textwrap.dedent(inspect.getsource(getattr(trainer, name))))
            for call in (n for n in ast.walk(tree) if isinstance(n, ast.Call)):
                if ast.unparse(call.func) == "torch.load":
                    loads += 1
                    given = {k.arg: ast.unparse(k.value) for k in call.keywords}
                    assert given.get("weights_only") == "True", f"{trainer.__name__}.{name}"
    assert loads > 5


def test_rollouts_go_to_the_transcript_and_not_into_the_journal(tmp_path: Path) -> None:
    """Every checkpoint copies the journal."""
    sealer = Sealer("run", Journal(), 0.0, Transcript(tmp_path / TRANSCRIPT))
    record = {"mean": 0.1, "rollouts": [{"text": "a 1"}]}
    sealer.note(record)
    assert sealer.journal.steps == [{"mean": 0.1}]
    assert sealer.transcript is not None
    assert sealer.transcript.held == [{"text": "a 1"}]
    Sealer("run", journal := Journal(), 0.0).note(record)
    assert journal.steps == [{"mean": 0.1}]
