"""Which folder of weights is complete, what is still needed, and how a missing one is made."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from rar_lib.core.errors import ArtifactError
from rar_lib.core.fetch import Pinned
from rar_lib.core.files import home
from rar_lib.models import store
from rar_lib.models.catalogue import MODELS, Model
from rar_lib.models.store import disk_needed, fetch, model_dir

BYTES = random.Random(0).randbytes(4_500)
SHA = hashlib.sha256(BYTES).hexdigest()
TINY = Model("tiny", 0.001, Pinned("tiny.gguf", len(BYTES), SHA), 9_000, "MIT", "someone/tiny")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAR_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def converted(name: str, **changes: object) -> Path:
    """A folder that looks completely converted, except for the given changes of its marker."""
    model = MODELS[name]
    folder = home() / "models" / f"{name}-{model.sha256[:12]}"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"12345")
    marker = {
        "recipe": store.RECIPE,
        "source_sha256": model.identity,
        "versions": {},
        "files": {"model.safetensors": 5},
    }
    (folder / store.MARKER).write_text(json.dumps(marker | changes))
    return folder


@pytest.mark.parametrize("call", [fetch, model_dir, lambda n: disk_needed([n])])
def test_an_unknown_model_is_refused_with_the_known_ones(call: object) -> None:
    with pytest.raises(
        ArtifactError,
        match=r"unknown model 'gpt-7'; choose one of: smollm2-135m, qwen-0.5b, qwen-1.5b, "
        r"qwen-0.5b-int8, qwen-1.5b-int8",
    ):
        call("gpt-7")  # type: ignore[operator]


def test_disk_needed_counts_file_parts_and_conversion_and_parts_of_one_model_only() -> None:
    small = MODELS["smollm2-135m"]
    large = MODELS["qwen-0.5b"]
    assert disk_needed(["smollm2-135m"]) == 2 * small.pinned.size + small.converted
    assert disk_needed(["smollm2-135m", "qwen-0.5b"]) == (
        small.pinned.size
        + small.converted
        + large.pinned.size
        + large.converted
        + large.pinned.size
    )


def test_int8_needs_the_bf16_folder_too_which_is_counted_once() -> None:
    base = MODELS["qwen-0.5b"]
    int8 = MODELS["qwen-0.5b-int8"]
    both = 2 * base.pinned.size + base.converted + int8.converted
    assert disk_needed(["qwen-0.5b-int8"]) == both
    assert disk_needed(["qwen-0.5b-int8", "qwen-0.5b"]) == both
    converted("qwen-0.5b")
    assert disk_needed(["qwen-0.5b-int8"]) == int8.converted
    assert disk_needed(["qwen-1.5b", "qwen-1.5b-int8"]) > 0


def test_a_bf16_folder_is_never_taken_for_int8() -> None:
    converted("qwen-0.5b-int8", source_sha256=MODELS["qwen-0.5b"].identity)
    assert disk_needed(["qwen-0.5b-int8"]) > 0


def test_what_is_converted_needs_no_disk() -> None:
    folder = converted("qwen-0.5b")
    assert disk_needed(["qwen-0.5b"]) == 0
    assert model_dir("qwen-0.5b") == folder  # and without the GGUF file


@pytest.mark.parametrize(
    "changes",
    [
        {"source_sha256": "0" * 64},
        {"recipe": store.RECIPE + 1},
        {"files": {"model.safetensors": 6}},
        {"files": {"model.safetensors": 5, "config.json": 1}},
        {"files": None},
    ],
)
def test_a_folder_whose_marker_does_not_match_is_not_used(changes: dict[str, object]) -> None:
    converted("qwen-0.5b", **changes)
    assert disk_needed(["qwen-0.5b"]) > 0


@pytest.mark.parametrize("text", ["", "[]", "null", "{", "{}"])
def test_an_unreadable_marker_is_not_used(text: str) -> None:
    folder = converted("qwen-0.5b")
    (folder / store.MARKER).write_text(text)
    assert not store.ready(folder, MODELS["qwen-0.5b"].sha256)


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model whose file lies in a folder of the user."""
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "tiny.gguf").write_bytes(BYTES)
    monkeypatch.setenv("RAR_MODELS_DIR", str(folder))
    monkeypatch.setitem(MODELS, "tiny", TINY)


@pytest.fixture
def conversion(tiny: None, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The converter replaced by one that copies; what it was called with is returned."""
    calls: list[list[str]] = []

    def run(command: list[str], **options: object) -> SimpleNamespace:
        calls.append(command)
        gguf, folder = map(Path, command[-2:])
        (folder / "model.safetensors").write_bytes(gguf.read_bytes())
        return SimpleNamespace(returncode=0, stderr="", stdout="")

    monkeypatch.setattr("rar_lib.models.store.subprocess.run", run)
    return calls


def test_a_half_written_folder_is_made_again_and_a_complete_one_is_not(
    conversion: list[list[str]],
) -> None:
    target = home() / "models" / f"tiny-{SHA[:12]}"
    target.mkdir(parents=True)
    (target / "model.safetensors").write_bytes(b"half")  # no marker: a killed conversion
    left = target.with_name(target.name + ".new")
    left.mkdir()
    (left / "stale").write_text("from a killed process")
    assert model_dir("tiny") == target
    assert (target / "model.safetensors").read_bytes() == BYTES
    assert sorted(p.name for p in target.parent.rglob("*") if p.is_file()) == [
        "model.safetensors",
        store.MARKER,
    ]
    assert model_dir("tiny") == target
    assert len(conversion) == 1
    assert list((home() / "blobs").iterdir()) == []  # converted, it is of no more use
    (target / "model.safetensors").write_bytes(b"cut")
    model_dir("tiny")
    assert len(conversion) == 2


@pytest.mark.parametrize("asked_for", [True, False])
def test_int8_is_made_from_the_bf16_folder_which_stays_only_if_somebody_wanted_it(
    asked_for: bool, conversion: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    int8 = replace(TINY, name="tiny-int8", base="tiny", converted=100)
    monkeypatch.setitem(MODELS, "tiny-int8", int8)

    def run(command: list[str], **options: object) -> SimpleNamespace:
        conversion.append(command)
        (Path(command[-1]) / "model.safetensors").write_bytes(b"weights")
        return SimpleNamespace(returncode=0, stderr="", stdout="")

    monkeypatch.setattr("rar_lib.models.store.subprocess.run", run)
    bf16 = home() / "models" / f"tiny-{SHA[:12]}"
    if asked_for:
        assert model_dir("tiny") == bf16
    folder = model_dir("tiny-int8")
    assert folder == home() / "models" / f"tiny-int8-{SHA[:12]}"
    first, second = conversion
    assert first[2:5] == ["rar_lib.models.convert", "bf16", str(home() / "blobs" / SHA)]
    aside = folder.with_name(f"{folder.name}.base")
    assert second[2:5] == ["rar_lib.models.convert", "int8", str(bf16 if asked_for else aside)]
    assert {path.name for path in folder.parent.iterdir()} == {
        folder.name,
        *([bf16.name] if asked_for else []),
    }
    assert json.loads((folder / store.MARKER).read_text())["source_sha256"] == f"{SHA}+w8a8"
    assert model_dir("tiny-int8") == folder
    assert len(conversion) == 2


def test_the_file_stays_where_an_engine_serves_it_and_where_it_could_not_be_converted(
    conversion: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAR_ENGINE", "llama.cpp")
    model_dir("tiny")
    assert MODELS["tiny"].pinned.here
    monkeypatch.delenv("RAR_ENGINE")
    shutil.rmtree(home() / "models")
    failed = SimpleNamespace(returncode=1, stdout="", stderr="ValueError: bad magic")
    monkeypatch.setattr("rar_lib.models.store.subprocess.run", lambda *a, **k: failed)
    with pytest.raises(ArtifactError):
        model_dir("tiny")
    assert MODELS["tiny"].pinned.here


def test_a_converter_that_dies_leaves_nothing_and_shows_its_last_words(
    tiny: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rar_lib.models.store.sys.executable", str(tmp_path / "python"))
    (tmp_path / "python").write_text("#!/bin/sh\necho 'ValueError: bad magic' >&2\nexit 3\n")
    (tmp_path / "python").chmod(0o755)
    said = r"(?s)converted \(exit 3\).*bad magic.*pip install .*\[models\]"
    with pytest.raises(ArtifactError, match=said):
        model_dir("tiny")
    assert list((home() / "models").iterdir()) == []


def test_a_conversion_on_a_full_disk_says_so(tiny: None, monkeypatch: pytest.MonkeyPatch) -> None:
    said = SimpleNamespace(returncode=1, stdout="", stderr="OSError: No space left on device")
    monkeypatch.setattr("rar_lib.models.store.subprocess.run", lambda *a, **k: said)
    with pytest.raises(ArtifactError, match=r"is full; tiny needs .* set RAR_HOME"):
        model_dir("tiny")
    assert list((home() / "models").iterdir()) == []


def test_what_is_made_ready_is_what_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "fetch", lambda name: Path(f"{name}.gguf"))
    monkeypatch.setattr(store, "model_dir", lambda name: Path(f"{name}-folder"))
    monkeypatch.setenv("RAR_ENGINE", "llama.cpp")
    assert store.to_serve("qwen-1.5b") == Path("qwen-1.5b.gguf")
    assert store.to_serve("qwen-1.5b-int8") == Path("qwen-1.5b-int8-folder")
    monkeypatch.setenv("RAR_ENGINE", "vllm")
    assert store.to_serve("qwen-1.5b") == Path("qwen-1.5b-folder")
