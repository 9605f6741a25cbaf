"""Every notebook, executed by papermill in the smoke profile with a real 135M model."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from safetensors.torch import load_file

from rar_lib.book.pages.rollouts import FIVE_ARMS
from rar_lib.book.profiles import load
from rar_lib.book.reproduce import Result, reproduce
from rar_lib.book.results import load as load_record

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "_build" / "smoke"
SOURCES = sorted((ROOT / "notebooks").glob("*.ipynb"))
#: A figure is one or the other: see rar_lib.book.figures.
PICTURES = {"image/svg+xml", "image/png"}
pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def results() -> list[Result]:
    return reproduce(load("smoke"), notebooks=ROOT / "notebooks", out=OUT)


def outputs(stem: str) -> list[Any]:
    notebook = nbformat.read(OUT / f"{stem}.ipynb", as_version=4)
    return [o for c in notebook.cells if c.cell_type == "code" for o in c.outputs]


def source_of(path: Path) -> tuple[str, dict[str, Any]]:
    """The code of a chapter, and what its metadata says of it."""
    notebook = nbformat.read(path, as_version=4)
    cells = [c.source for c in notebook.cells if c.cell_type == "code"]
    return "\n".join(cells), dict(notebook.metadata["rar"])


def data(name: str) -> Any:
    return json.loads((OUT / "data" / f"{name}.json").read_text())


@pytest.mark.timeout(2400)
def test_all_chapters_run_to_their_end(results: list[Result]) -> None:
    assert [r.stem for r in results] == [p.stem for p in SOURCES]
    assert len(results) == len(SOURCES)
    for result in results:
        notebook = nbformat.read(result.path, as_version=4)
        code = [c for c in notebook.cells if c.cell_type == "code"]
        assert [c.execution_count for c in code] == list(range(1, len(code) + 1))


def test_a_second_run_finds_everything_up_to_date(results: list[Result]) -> None:
    again = reproduce(load("smoke"), notebooks=ROOT / "notebooks", out=OUT)
    assert [r.reason for r in again] == ["up to date"] * len(results)


@pytest.mark.parametrize("stem", [p.stem for p in SOURCES])
def test_a_chapter_has_a_figure_a_table_and_no_noise(results: list[Result], stem: str) -> None:
    found = outputs(stem)
    kinds = [set(o.get("data", {})) for o in found]
    assert any(PICTURES & k for k in kinds), "no figure"
    assert any("<table" in "".join(o.get("data", {}).get("text/html", "")) for o in found), (
        "no table"
    )
    noise = [o.text[:200] for o in found if o.output_type == "stream" and o.name == "stderr"]
    assert noise == []


@pytest.mark.parametrize("stem", [p.stem for p in SOURCES])
def test_every_cell_that_draws_shows_its_figure(results: list[Result], stem: str) -> None:
    notebook = nbformat.read(OUT / f"{stem}.ipynb", as_version=4)
    code = [c for c in notebook.cells if c.cell_type == "code"]
    # A name in capitals is a constant, which draws nothing.
    drawing = [c for c in code if re.search(r"\bfigures\.[a-z]", c.source)]
    assert drawing
    for cell in drawing:
        shown = [PICTURES & set(o.get("data", {})) for o in cell.outputs]
        # What is only drawn where something is recorded leaves nothing elsewhere, or says so.
        said = " ".join(o.get("data", {}).get("text/markdown", "") for o in cell.outputs)
        lacks = not any(map(load_record, re.findall(r'results\.load\("(\w+)"', cell.source)))
        silent = not cell.outputs or (lacks and said.startswith("Not measured"))
        unrecorded = re.search(r"(?m)^if \w+:\n    figures\.", cell.source) and silent
        assert unrecorded or [len(kinds) for kinds in shown if kinds] == [1], cell.source


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.stem)
def test_a_chapter_is_after_those_whose_data_it_loads(path: Path) -> None:
    """Found at once here; in a run the data of any other chapter is not there."""
    code, rar = source_of(path)
    saved = {p.stem: re.findall(r'study\.save\(\s*"(\w+)"', source_of(p)[0]) for p in SOURCES}
    loaded = set(re.findall(r'study\.load\("(\w+)"', code))
    assert loaded <= {name for stem in rar["after"] for name in saved[stem]}


def test_a_name_is_saved_by_one_chapter_and_read_by_a_later_one_or_the_book() -> None:
    """Found at once here; a run finds two of a name when the second chapter has taken its time."""
    codes = [source_of(path)[0] for path in SOURCES]
    saved = [name for code in codes for name in set(re.findall(r'study\.save\(\s*"(\w+)"', code))]
    assert len(saved) == len(set(saved))
    loaded = {name for code in codes for name in re.findall(r'study\.load\("(\w+)"', code)}
    assert set(saved) == loaded | {FIVE_ARMS}
    assert not [name for name in saved if name.startswith("findings")]  # a live run decides nothing


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.stem)
def test_a_source_says_what_a_reader_needs_first_and_last(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    text = [c.source for c in notebook.cells if c.cell_type == "markdown"]
    exercises = next(t for t in text if t.startswith("## Exercises"))
    assert all(
        word in text[0] for word in ("**Objectives.**", "**Prerequisites.**", "**Expected time.**")
    )
    assert "## What we learnt" in text[text.index(exercises) - 1]
    assert sum("parameters" in c.metadata.get("tags", []) for c in notebook.cells) == 1
    code = "\n".join(c.source for c in notebook.cells if c.cell_type == "code")
    assert "class " not in code  # notebooks import, they do not define


def test_the_judge_was_real(results: list[Result]) -> None:
    """Grades of a real model differ between responses; a stand-in's would not look like this."""
    arms = data("five_arms")["grades"]
    assert len(arms) == 5
    for grades in arms.values():
        scores = [g["score"] for g in grades if g["score"] is not None]
        assert len(set(scores)) > 1
        assert all(0 <= s <= 1 for s in scores)
        assert sum(g["usage"]["prompt_tokens"] for g in grades) > 100 * len(grades)
    probabilities = {v["probability"] for g in arms["explicit"] for v in g["verdicts"]}
    assert len(probabilities) > 5


def test_two_processes_made_one_step_of_one_group(results: list[Result]) -> None:
    folder = OUT / "data" / "two_processes"
    notes = [json.loads((folder / f"process-{n}.json").read_text()) for n in range(2)]
    assert [len(note["own"]) for note in notes] == [4, 4]
    assert notes[0]["own"] != notes[1]["own"], "each draws for itself"
    for note in notes:
        recorded = [rollout["text"].strip() for rollout in note["rollouts"]]
        assert recorded == [text.strip() for one in notes for text in one["own"]]
        assert len({rollout["task"]["id"] for rollout in note["rollouts"]}) == 1
        assert note["scores"] == notes[0]["scores"]
    assert len(set(notes[0]["scores"])) > 1, "a real judge tells them apart"


def test_training_really_changed_the_policy(results: list[Result]) -> None:
    run = data("grpo")
    profile = load("smoke")
    assert run["backend"] == "unsloth (cpu)"
    assert len(run["steps"]) == profile.training.steps
    rollouts = profile.training.rollouts * profile.training.prompts_per_step
    assert all(len(step["scores"]) == rollouts for step in run["steps"])
    assert all(entry["grad_norm"] > 0 for entry in run["log"])
    assert set(run["before"]) == set(run["after"])
    # An adapter begins as no change at all (its second matrices are zero); what one small step
    # makes of it need not show in a greedy answer of a few words.
    weights = load_file(OUT / "data" / "grpo" / "adapter" / "adapter_model.safetensors")
    second = [tensor for name, tensor in weights.items() if "lora_B" in name]
    assert len(second) > 100
    assert all(tensor.abs().max() > 0 for tensor in second)
