"""The script that times a step of ours beside one of stock: its commands, and what it refuses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, repeat
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from rar_lib.book import results
from rar_lib.book.profiles import load
from rar_lib.core.scoring import explicit_score
from rar_lib.core.text import fence
from rar_lib.data.tasks import load_mini
from rar_lib.judging.chat import Chat
from rar_lib.models import processor
from results import grpo_step

JUDGE = "qwen-1.5b"
AVX2 = frozenset({"avx2"})
WIDE = frozenset({"avx2", "avx512bw", "avx512_vnni"})


def step(total: float, *tasks: str) -> dict[str, Any]:
    stages = {"generate": 1.0, "judge": 2.0, "update": 3.0, "rest": total - 6.0, "total": total}
    return {"tasks": list(tasks), **stages, "length": 20.0, "calls": 8, "unscored": 0.0}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(grpo_step, "PIECES", tmp_path / "pieces")
    monkeypatch.setattr(grpo_step, "RESULTS", tmp_path / "results" / "grpo_step.json")
    monkeypatch.setattr(grpo_step, "hardware", lambda: "2 cores X, 25 GB memory")
    monkeypatch.setattr(grpo_step, "peak_gb", lambda: 1.0)
    return tmp_path


@pytest.fixture
def whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All pieces: ours takes 10 seconds a step, stock 40."""
    peaks: Iterator[float] = chain([2.0, 3.0, 4.0], repeat(3.5))
    monkeypatch.setattr(grpo_step, "peak_gb", lambda: next(peaks))
    counted = [step(10.0, f"t{n}") for n in range(grpo_step.MEASURED)]
    more = {"backend": "unsloth", "warm_up": [step(50.0, "w")], "other_load": 0.01}
    grpo_step.keep("ours", JUDGE, counted, more)
    for n, name in enumerate(grpo_step.STOCK):
        more = {"backend": "transformers+peft", "other_load": 0.02 * n}
        grpo_step.keep(name, JUDGE, [step(40.0, f"t{n}")], more)
    return folder


def changed(folder: Path, name: str, **made_by: Any) -> None:
    """A piece that says that it was made in another way."""
    path = folder / "pieces" / f"{name}.json"
    found = json.loads(path.read_text())
    path.write_text(json.dumps(found | {"made_by": found["made_by"] | made_by}))


@pytest.mark.parametrize("side", ["ours", "stock", "table"])
def test_every_command_is_understood(side: str) -> None:
    given = grpo_step.parsed([side])
    assert (given.side, given.piece, given.judge) == (side, 0, load("laptop").judge)


def test_the_pieces_of_stock_are_those_that_are_measured() -> None:
    given = [grpo_step.parsed(["stock", "--piece", str(n)]).piece for n in range(3)]
    assert given == [0, 1, 2]
    with pytest.raises(SystemExit):
        grpo_step.parsed(["stock", "--piece", "3"])


@pytest.mark.parametrize(("flags", "judge"), [(AVX2, "qwen-1.5b"), (WIDE, "qwen-1.5b-int8")])
def test_the_judge_is_one_that_suits_the_processor(
    flags: frozenset[str], judge: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processor, "flags", lambda: flags)
    assert grpo_step.parsed(["ours"]).judge == judge


def test_a_command_measures_its_side(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[tuple[Any, ...]] = []
    for side in ("ours", "stock", "table"):
        monkeypatch.setattr(
            grpo_step, side, lambda *given, side=side: called.append((side, *given))
        )
    grpo_step.main(["ours", "--judge", "a"])
    grpo_step.main(["stock", "--piece", "2", "--judge", "b"])
    grpo_step.main(["table"])
    assert called == [("ours", "a"), ("stock", "b", 2), ("table",)]


def test_the_table_of_all_pieces_has_the_ratio_and_how_it_was_made(
    whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grpo_step.main(["table"])
    record = results.load("grpo_step", whole)
    assert record is not None
    assert record["ratio"] == 4.0
    assert record["machine"] == "2 cores X, 25 GB memory"
    assert record["number formats"]["policy"] == processor.cpu_dtype()
    assert (record["settings"]["judge"], record["settings"]["engine of the judge"]) == (
        JUDGE,
        "vllm",
    )
    assert record["versions"]["torch"]
    assert results.origin(record).startswith("recorded on 20")
    # The worst of the pieces, and beside the seconds.
    assert [record[side]["peak_memory_gb"] for side in ("ours", "stock")] == [2.0, 4.0]
    assert [record[side]["other_load"] for side in ("ours", "stock")] == [0.01, 0.04]
    assert record["stock"]["mean"]["total"] == 40.0
    shown = capsys.readouterr().out
    assert "ratio 4.00; 2 cores X" in shown
    assert "peak memory, GB       2.00      4.00" in shown
    assert "other processes       1.0%      4.0%" in shown


@pytest.mark.parametrize(
    ("made_by", "said"),
    [
        ({"machine": "2 cores Y, 25 GB memory"}, "differ in machine.*stock-1: 2 cores Y"),
        ({"number formats": {"policy": "float16"}}, "differ in policy.*stock-1: float16"),
        ({"versions": {"torch": "1.0"}}, r"differ in \w+.*stock-1: "),
        ({"settings": {"policy": "another"}}, "differ in policy.*stock-1: another"),
    ],
)
def test_no_ratio_is_formed_of_pieces_that_were_made_in_different_ways(
    made_by: dict[str, Any], said: str, whole: Path
) -> None:
    changed(whole, "stock-1", **made_by)
    with pytest.raises(SystemExit, match=said):
        grpo_step.main(["table"])
    assert not grpo_step.RESULTS.exists()


def test_what_is_missing_is_named_and_nothing_is_written(whole: Path) -> None:
    (whole / "pieces" / "stock-2.json").unlink()
    with pytest.raises(SystemExit, match="not measured yet: stock-2"):
        grpo_step.main(["table"])
    assert not grpo_step.RESULTS.exists()


def test_steps_of_other_tasks_are_not_compared(whole: Path) -> None:
    more = {"backend": "transformers+peft", "other_load": 0.0}
    grpo_step.keep("stock-0", JUDGE, [step(40.0, "another")], more)
    with pytest.raises(SystemExit, match="other tasks"):
        grpo_step.main(["table"])


def test_stock_has_the_tasks_of_our_warm_up_and_of_one_of_our_steps(whole: Path) -> None:
    assert grpo_step.order_of(JUDGE, 1) == ["w", "t1"]


def test_stock_is_not_begun_where_no_ratio_would_come_of_it(
    whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit, match="differ in judge"):
        grpo_step.stock("smollm2-135m", 0)
    monkeypatch.setattr(grpo_step, "hardware", lambda: "another")
    with pytest.raises(SystemExit, match="differ in machine"):
        grpo_step.stock(JUDGE, 0)
    (whole / "pieces" / "ours.json").unlink()
    with pytest.raises(SystemExit, match="run `ours` first"):
        grpo_step.stock(JUDGE, 0)


@pytest.mark.parametrize(("flags", "bf16"), [(AVX2, False), (WIDE, True)])
def test_stock_computes_in_the_format_that_ours_does(
    flags: frozenset[str], bf16: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("trl")
    from rar_lib.models import store
    from rar_lib.training.trainer import common_settings

    monkeypatch.setattr(processor, "flags", lambda: flags)
    monkeypatch.setattr(store, "model_dir", lambda name: tmp_path)
    seen: list[Any] = []
    monkeypatch.setattr(
        transformers.AutoModelForCausalLM,
        "from_pretrained",
        lambda folder, dtype: seen.append(dtype),
    )
    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", lambda folder: None)
    training = grpo_step.settings()
    grpo_step.stock_model(training)
    assert seen == [torch.bfloat16 if bf16 else torch.float32]
    ours = common_settings(training, tmp_path, seed=0)["bf16"]
    assert grpo_step.stock_arguments(training, str(tmp_path)).bf16 is ours is bf16


def test_the_stock_judge_is_asked_about_each_criterion_by_the_prompt_beside_the_script() -> None:
    task = load_mini("train")[0]
    assert task.rubric is not None
    criteria = task.rubric.criteria
    met = {criterion.id: n != 1 for n, criterion in enumerate(criteria)}
    said = iter(met.values())
    asked: list[str] = []

    async def complete(messages: list[dict[str, str]], max_tokens: int) -> Any:
        asked.append(messages[0]["content"])
        verdict = {"explanation": "It does.", "criteria_met": next(said)}
        return SimpleNamespace(text=f"Here: {json.dumps(verdict)}")

    chat = cast(Chat, SimpleNamespace(complete=complete))
    response = "Because {it} is."
    score = asyncio.run(grpo_step.grade_json(chat, task, response))
    assert score == pytest.approx(explicit_score(task.rubric, met))
    assert len(asked) == len(criteria)
    assert asked[0] == (
        "You grade one criterion of a rubric for a response to a question.\n\n"
        f"Question:\n{fence(task.question)}\n\n"
        f"Response:\n{fence(response)}\n\n"
        f"Criterion: {criteria[0].description}\n\n"
        "Say in one or two sentences whether the response meets the criterion, then decide. "
        "Reply with JSON\nand nothing else: "
        '{"explanation": "...", "criteria_met": true or false}'
    )


def test_our_side_is_kept_with_load_and_memory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begins = [100.0, 150.0, 160.0, 170.0]

    class Timed(grpo_step.Clock):
        def callback(self) -> Any:
            self.ends += [*begins, 181.0]
            return None

    def train(arm: str, seed: int, *, reward: Any, **_: Any) -> Any:
        for n in range(len(begins)):
            task = [json.dumps({"id": f"t{n}"})] * 8
            asyncio.run(reward(prompts=[], completions=[], task=task))
        seconds = {"seconds/generate": 3.0, "seconds/judge": 5.0, "seconds/update": 1.0}
        row = {**seconds, "length": 20.0, "mean": 0.5, "unscored": 0.0, "usage": {"calls": 8}}
        return SimpleNamespace(curve=lambda: [row] * len(begins), backend="transformers")

    @contextmanager
    def serving(_: str) -> Iterator[Any]:
        yield SimpleNamespace(pid=1)

    monkeypatch.setattr(grpo_step, "Clock", Timed)
    monkeypatch.setattr(grpo_step, "train", train)
    monkeypatch.setattr(grpo_step, "serve", serving)
    monkeypatch.setattr(grpo_step, "local_chat", serving)
    monkeypatch.setattr(grpo_step, "Watch", lambda _: SimpleNamespace(other_load=lambda: 0.03))
    grpo_step.main(["ours", "--judge", JUDGE])
    found = grpo_step.kept()["ours"]
    assert (found["other_load"], found["peak_memory_gb"]) == (0.03, 1.0)
    assert found["made_by"]["machine"] == "2 cores X, 25 GB memory"
    assert [s["total"] for s in found["steps"]] == [10.0, 10.0, 11.0]
    assert [s["total"] for s in found["warm_up"]] == [50.0]
    assert found["steps"][0]["tasks"] == ["t1"]
    assert found["steps"][0]["rest"] == 1.0
