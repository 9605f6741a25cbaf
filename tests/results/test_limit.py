"""What a machine can do in a number format, and what of records was made in different ways."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest

from rar_lib.core.errors import DataError
from rar_lib.data.tasks import load_mini
from rar_lib.judging.messages import prompts_of, text_of
from rar_lib.models import processor
from results import limit

torch = pytest.importorskip("torch")
save_file = pytest.importorskip("safetensors.torch").save_file
ROWS = 32
INNER = 64
COLUMNS = 48


@pytest.mark.parametrize(
    ("flags", "model", "served"),
    [
        ({"avx2"}, "qwen-1.5b", "float32"),
        ({"avx512bw"}, "qwen-1.5b", "bfloat16"),
        ({"avx512bw", "avx512_vnni"}, "qwen-1.5b-int8", "int8"),
        ({"avx2"}, "qwen-1.5b-int8", "int8"),
        ({"avx512bw"}, "/a/folder/of/weights", "bfloat16"),
    ],
)
def test_the_format_is_the_one_that_a_model_is_served_in(
    flags: set[str], model: str, served: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processor, "flags", lambda: frozenset(flags))
    assert limit.number_format(model) == served


@pytest.mark.parametrize("wanted", get_args(limit.Format))
def test_the_limit_is_measured_in_the_format_that_was_asked_for(
    wanted: limit.Format, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limit, "SECONDS", 0.01)
    monkeypatch.setattr(limit, "SHAPES", ((ROWS, INNER, COLUMNS),))
    found = limit.measured_here(wanted)
    assert found["format"] == wanted
    assert found["tflops"] > 0
    assert (found["kernel"] == "torch.mm") is (wanted != "int8")


@pytest.mark.parametrize("wanted", ["float32", "bfloat16"])
def test_a_product_multiplies_numbers_of_its_format(wanted: str) -> None:
    out = limit.plain_product(wanted, ROWS, INNER, COLUMNS)()
    assert (out.dtype, out.shape) == (getattr(torch, wanted), (ROWS, COLUMNS))


def whole_numbers(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What int8 products multiply, in the order in which it is drawn."""
    drawn: list[Any] = []
    draw = limit._whole_numbers

    def drawing(rows: int, columns: int) -> Any:
        drawn.append(draw(rows, columns))
        return drawn[-1]

    monkeypatch.setattr(limit, "_whole_numbers", drawing)
    return drawn


def test_torchs_int8_product_is_the_product(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = whole_numbers(monkeypatch)
    out = limit.int8_product(ROWS, INNER, COLUMNS)()
    left, right = (matrix.long() for matrix in drawn)
    assert out.dtype == torch.int32
    assert torch.equal(out.long(), left @ right.t())


@pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed")
def test_vllms_int8_product_is_the_product(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel, make = limit.products("int8")
    if kernel != "oneDNN":
        pytest.skip("this vLLM is built for a GPU")
    drawn = whole_numbers(monkeypatch)
    out = make(ROWS, INNER, COLUMNS)().float()
    left, right = (matrix.float() for matrix in drawn)
    # Both scales are a hundredth; a result in bfloat16 has eight bits.
    assert torch.allclose(out, left @ right.t() * 0.01**2, rtol=2**-7, atol=1e-3)


def test_the_process_that_measures_prints_one_line_last(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"format": "int8", "kernel": "oneDNN", "tflops": 1.5}
    asked: list[list[str]] = []

    def run(command: list[str], **_: Any) -> Any:
        asked.append(command)
        text = f"INFO a line of a log\n{json.dumps(found)}\n"
        return subprocess.CompletedProcess(command, 0, text, "")

    monkeypatch.setattr(limit.subprocess, "run", run)
    assert limit.fastest_product("int8") == found
    assert asked == [[sys.executable, "-c", limit._MEASURE, "int8"]]


def test_the_process_that_measures_is_told_the_format() -> None:
    """As it is started, but for the measuring itself."""
    found = {"format": "int8", "tflops": 1.0}
    stand_in = f"import results.limit\nresults.limit.measured_here = lambda kind: [kind, {found}]"
    command = [sys.executable, "-c", stand_in + limit._MEASURE, "int8"]
    root = Path(limit.__file__).parents[1]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == ["int8", found]


def test_the_best_of_several_measurements_is_the_limit() -> None:
    measured = [{"format": "int8", "kernel": "oneDNN", "tflops": best} for best in (1.0, 2.0)]
    found = limit.limit_of(measured, "int8")
    assert (found["tflops"], found["measured"]) == (2.0, [1.0, 2.0])


def test_a_limit_in_another_format_is_no_limit_of_this_judge() -> None:
    measured = [{"format": "bfloat16", "kernel": "torch.mm", "tflops": 1.0}]
    with pytest.raises(ValueError, match="measured in bfloat16, the judge is served in int8"):
        limit.limit_of(measured, "int8")


def test_the_share_is_of_the_format_that_the_pieces_were_served_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Tokenizer:
        def apply_chat_template(self, ask: Any, **_: Any) -> str:
            return str(ask)

        def __call__(self, texts: list[str], **_: Any) -> dict[str, Any]:
            return {"input_ids": [[1, 2], [1, 3]]}

    import transformers

    from rar_lib.models import store

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", lambda _: Tokenizer())
    monkeypatch.setattr(store, "model_dir", lambda _: "folder")
    monkeypatch.setattr(limit, "matrices", lambda _: (1_000, 100))
    monkeypatch.setattr(limit, "asks", lambda task, response: [1, 2])
    measured = {"format": "int8", "kernel": "oneDNN", "tflops": 3e-9}
    piece = {"seconds": 1.0, "limit": measured, "number_format": "int8"}
    entry = {"id": "a:preferred", "response": "Because."}
    found = limit.share_of_limit("qwen-1.5b-int8", [[entry]], [piece], {"a": None})  # type: ignore[dict-item]
    assert found["limit"] == measured | {"measured": [3e-9]}
    # Three different beginnings, two verdicts: 2 (3 x 1,000 + 2 x 100) operations in a second.
    assert found["share_of_limit_matrices"] == pytest.approx(6400 / 3000)
    other = piece | {"number_format": "bfloat16"}
    with pytest.raises(ValueError, match="measured in int8"):
        limit.share_of_limit("qwen-1.5b", [[entry]], [other], {"a": None})  # type: ignore[dict-item]


def test_matrices_are_counted_and_a_folder_without_any_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"{tmp_path} holds no"):
        limit.matrices(tmp_path)
    layer = {"model.layers.0.mlp.up_proj.weight": torch.zeros(3, 5)}
    save_file(layer, tmp_path / "a.safetensors")
    with pytest.raises(DataError, match=f"{tmp_path} holds no"):
        limit.matrices(tmp_path)
    save_file({"model.embed_tokens.weight": torch.zeros(7, 3)}, tmp_path / "b.safetensors")
    assert limit.matrices(tmp_path) == (15, 21)


def test_a_chat_template_gets_turns_of_which_the_prompts_are_the_text() -> None:
    task = load_mini("train")[0]
    asked = limit.asks(task, "Because.")
    assert [text_of(turns) for turns in asked] == prompts_of(task, "Because.", "explicit")
    assert [turn["role"] for turn in asked[0]] == ["system", "user"]
    with pytest.raises(DataError, match="has no rubric"):
        limit.asks(task.model_copy(update={"rubric": None}), "Because.")


def test_what_differs_is_said_with_its_values() -> None:
    one = {"machine": "A", "versions": {"torch": "2.0", "trl": "1.0"}}
    assert limit.differing({"ours": one, "stock": dict(one)}) == ""
    other = {"machine": "B", "versions": one["versions"]}
    assert limit.differing({"ours": one, "stock": other}) == (
        "they differ in machine (ours: A; stock: B)"
    )
    newer = {"machine": "A", "versions": {"torch": "2.0", "trl": "1.1", "peft": "1"}}
    assert limit.differing({"ours": one, "x": one, "stock": newer}) == (
        "they differ in trl (ours, x: 1.0; stock: 1.1)"
    )
    without = {"machine": "A"}
    assert "versions" in limit.differing({"ours": one, "stock": without})


def test_memory_is_of_this_process_in_gb() -> None:
    assert 0.01 < limit.peak_gb() < 100


def test_a_token_is_counted_once_however_many_prompts_begin_with_it() -> None:
    assert limit.distinct_prefixes([[1, 2, 3], [1, 2, 4], [1, 2, 3]]) == 4
    assert limit.distinct_prefixes([[1, 2], [2, 1]]) == 4
    assert limit.distinct_prefixes([]) == 0


def test_what_others_do_is_neither_idle_nor_the_servers() -> None:
    times = SimpleNamespace(
        user=1.0, nice=1.0, system=1.0, idle=900.0, iowait=900.0, irq=1.0, softirq=1.0, steal=1.0
    )
    assert limit.busy(times) == 6.0  # waiting for a disk is idle, too
    assert limit.group_seconds(os.getpgid(0)) > 0
    assert limit.group_seconds(2**30) == 0.0
