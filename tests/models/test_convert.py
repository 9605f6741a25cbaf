"""Where a reply ends, and rounding to int8: by hand, and what a folder then holds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rar_lib.core.errors import ArtifactError
from rar_lib.core.files import code_hash
from rar_lib.models import convert
from rar_lib.models.convert import name_ends, quantize, round_channels
from rar_lib.models.store import MARKER, RECIPE

torch = pytest.importorskip("torch")
from safetensors.torch import load_file, save_file  # noqa: E402

#: What the recipe's number stands for. If the code has changed and the same source becomes the same
#: bytes, only the digest changes here; if it becomes others, ``RECIPE`` is raised, too, so that
#: weights on disk are converted anew and runs begin anew.
RECIPES = {2: "8b22b7f1dd447262746f8e711088448bd5483c1670340d66227a0537482669aa"}


def test_the_number_of_the_recipe_stands_for_the_code_that_converts() -> None:
    assert {RECIPE: code_hash(Path(convert.__file__))} == RECIPES


@pytest.mark.parametrize(
    ("row", "integers", "scale"),
    [
        ([127.0, -127.0, 1.0, 0.0], [127, -127, 1, 0], 1.0),
        ([254.0, 3.0, 1.0, -1.0], [127, 2, 0, 0], 2.0),  # 1.5 and 0.5 go to the even neighbour
        ([0.5, -0.25, 0.0, 0.0], [127, -64, 0, 0], 0.5 / 127),
        ([0.0, 0.0, 0.0, 0.0], [0, 0, 0, 0], 1.0),
        ([-127.0, 0.0, 0.0, 0.0], [-127, 0, 0, 0], 1.0),  # -128 is never used
    ],
)
def test_one_channel_by_hand(row: list[float], integers: list[int], scale: float) -> None:
    rounded, scales = round_channels(torch.tensor([row]))
    assert (rounded.dtype, scales.dtype, scales.shape) == (torch.int8, torch.float32, (1, 1))
    assert rounded.tolist() == [integers]
    assert scales.item() == pytest.approx(scale)


def test_an_output_channel_has_its_own_scale_and_is_off_by_half_a_step_at_most() -> None:
    weight = torch.randn(16, 64, generator=torch.Generator().manual_seed(0)).bfloat16()
    weight[3] *= 1000  # would blur every other channel if the scale were shared
    rounded, scales = round_channels(weight)
    error = (rounded.float() * scales - weight.float()).abs()
    assert bool((error <= scales * 0.5001).all())
    assert rounded.abs().amax(dim=1).tolist() == [127] * 16


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_broken_weight_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="NaN or infinity"):
        round_channels(torch.tensor([[1.0, bad]]))


def test_a_vector_is_not_a_projection() -> None:
    with pytest.raises(ValueError, match=r"this has shape \(3,\)"):
        round_channels(torch.ones(3))


LAYER = "model.layers.0.self_attn.q_proj"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder as the converter leaves it, in two files of weights."""
    folder = tmp_path / "bf16"
    folder.mkdir()
    first = {
        f"{LAYER}.weight": torch.tensor([[2.0, -4.0], [1.0, 0.0]]).bfloat16(),
        f"{LAYER}.bias": torch.ones(2).bfloat16(),
        "model.embed_tokens.weight": torch.full((3, 2), 0.3).bfloat16(),
    }
    second = {
        "lm_head.weight": torch.full((3, 2), 0.7).bfloat16(),
        "model.norm.weight": torch.ones(2).bfloat16(),
    }
    save_file(first, folder / "model-00001-of-00002.safetensors")
    save_file(second, folder / "model-00002-of-00002.safetensors")
    for name, text in {
        "config.json": '{"model_type": "qwen2"}',
        "tokenizer.json": "{}",
        "chat_template.jinja": "t",
        "model.safetensors.index.json": "{}",
        MARKER: "{}",
    }.items():
        (folder / name).write_text(text)
    return folder


def test_only_projections_are_rounded_and_the_scheme_says_how(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "int8"
    target.mkdir()
    quantize(source, target)
    # Neither the marker, which convert.run writes last, nor an index of files that are gone.
    assert sorted(p.name for p in target.iterdir()) == [
        "chat_template.jinja",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    tensors = load_file(target / "model.safetensors")
    assert {name: t.dtype for name, t in tensors.items()} == {
        f"{LAYER}.weight": torch.int8,
        f"{LAYER}.weight_scale": torch.float32,
        f"{LAYER}.bias": torch.bfloat16,
        "model.embed_tokens.weight": torch.bfloat16,
        "lm_head.weight": torch.bfloat16,
        "model.norm.weight": torch.bfloat16,
    }
    assert tensors[f"{LAYER}.weight"].tolist() == [[64, -127], [127, 0]]
    config = json.loads((target / "config.json").read_text())
    scheme = config.pop("quantization_config")
    assert config == {"model_type": "qwen2"}
    assert (scheme["quant_method"], scheme["format"], scheme["ignore"]) == (
        "compressed-tensors",
        "int-quantized",
        ["lm_head"],
    )
    (group,) = scheme["config_groups"].values()
    assert (group["weights"]["strategy"], group["weights"]["dynamic"]) == ("channel", False)
    assert (group["input_activations"]["strategy"], group["input_activations"]["dynamic"]) == (
        "token",
        True,
    )


def test_what_is_int8_already_is_refused(source: Path, tmp_path: Path) -> None:
    (source / "config.json").write_text('{"quantization_config": {}}')
    with pytest.raises(ArtifactError, match="is quantised already; give the bf16 folder"):
        quantize(source, tmp_path)


def test_a_folder_without_projections_is_refused(source: Path, tmp_path: Path) -> None:
    (source / "model-00001-of-00002.safetensors").unlink()
    with pytest.raises(ArtifactError, match=r"holds no matrix named \*_proj\.weight"):
        quantize(source, tmp_path)


def test_a_broken_matrix_is_named(source: Path, tmp_path: Path) -> None:
    bad = {f"{LAYER}.weight": torch.tensor([[float("nan")]])}
    save_file(bad, source / "model-00001-of-00002.safetensors")
    with pytest.raises(ArtifactError, match=rf"{LAYER}\.weight in .*00001.*: the weight holds NaN"):
        quantize(source, tmp_path)


END = "<|endoftext|>"


class Tokenizer:
    """As much of a tokenizer as its end tokens need."""

    def __init__(self, tokens: list[str], eos: str, pad: str | None, template: str = "t") -> None:
        self.tokens = tokens
        self.eos_token = eos
        self.pad_token = pad
        self.chat_template = template

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
    assert name_ends(tokenizer, Path("m.gguf")) == ids
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", pads_with)


@pytest.mark.parametrize(
    "tokenizer",
    [Tokenizer(["<|im_end|>"], "x", None, template=""), Tokenizer(["</s>"], "</s>", None)],
)
def test_a_model_that_is_not_made_for_chat_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(ArtifactError, match=r"m\.gguf carries no chat template or none of"):
        name_ends(tokenizer, Path("m.gguf"))
