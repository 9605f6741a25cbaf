"""The model card: what it claims, by whom, and that no text of a user's acts in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from rar_lib.book.card import (
    as_markdown,
    findings,
    model_card,
    save_card,
    what_rose,
)
from rar_lib.core.errors import CheckpointError
from rar_lib.core.stats import MIN_UNITS
from rar_lib.core.types import Task
from rar_lib.evaluation.judge_roles import HOLD_OUT, TRAINING
from rar_lib.training.run import Run
from rar_lib.training.settings import Settings
from rar_lib.training.train import Job

SETTINGS = Settings(device="cpu", policy="owner/policy", max_completion=64)
HOSTILE = (
    "<script>alert(1)</script>",
    "[x](javascript:alert(1))",
    "![x](https://example.invalid/a.png)",
    "https://example.invalid www.example.invalid a@example.invalid",
    "# heading",
    "a | b\n--- | ---\n1 | 2",
    "`code` ```\nfence",
    "$x^2$ \\(y\\) {{ template }} <!-- -->",
    "&lt;b&gt; &amp;",
    "1. one\n- two\n> three",
    "C:\\new\\table",
)


def job(out: Path, tasks: int = 2, **more: Any) -> Job:
    made = [Task(id=f"t-{n}", question=f"Why {n}?") for n in range(tasks)]
    return Job(
        arm="implicit", settings=more.pop("settings", SETTINGS), tasks=made, held_out=made, out=out
    )


def run(before: dict[str, list[float | None]], after: dict[str, list[float | None]]) -> Run:
    """A finished run with two looks; scores by role, in the order of the tasks."""

    def look(step: int, scores: dict[str, list[float | None]]) -> dict[str, Any]:
        found: dict[str, Any] = {"step": step}
        for role, values in scores.items():
            found[role] = {f"t-{n}": score for n, score in enumerate(values)}
        return found

    looks = [look(0, before), look(3, after)] if before else []
    log = [{"step": n} for n in (1, 2, 3)]
    steps = [{"mean": mean} for mean in (0.25, None, 0.5)]
    return Run("implicit", 1, "transformers+peft", 90.0, log, steps, {}, {}, watched=looks)


def shown(markdown: str) -> list[Any]:
    """What a renderer makes of it, links of bare addresses included."""
    renderer = MarkdownIt("commonmark").enable("table")
    return renderer.parse(markdown)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_text_of_anybodys_is_shown_and_does_nothing(text: str) -> None:
    tokens = shown(f"- {as_markdown(text)}")
    kinds = [token.type for token in tokens]
    assert kinds == [
        *("bullet_list_open", "list_item_open", "paragraph_open", "inline"),
        *("paragraph_close", "list_item_close", "bullet_list_close"),
    ]
    (inline,) = (token for token in tokens if token.type == "inline")
    children = inline.children or []
    assert {child.type for child in children} <= {"text", "text_special"}
    assert "".join(child.content for child in children) == " ".join(text.split())


@pytest.mark.parametrize("char", ["\u202e", "\u200b", "\x1b", "\x00"])
def test_what_cannot_be_seen_is_shown(char: str) -> None:
    assert char not in as_markdown(f"a{char}b")


@pytest.mark.parametrize("text", HOSTILE)
def test_no_part_of_a_card_lets_a_user_text_through(text: str, tmp_path: Path) -> None:
    made = run({TRAINING: [0.5, 0.5]}, {TRAINING: [0.6, 0.6]})
    settings = SETTINGS.model_copy(update={"policy": text})
    card = model_card(job(tmp_path, settings=settings), made, data=text, by={TRAINING: text})
    body = card.split("---\n", 2)[2]
    kinds = {token.type for token in shown(body)}
    assert not kinds & {"html_block", "table_open", "blockquote_open", "ordered_list_open"}
    inline = [child for token in shown(body) for child in token.children or []]
    assert {child.type for child in inline} <= {"text", "text_special", "code_inline"}
    assert sum(token.type == "heading_open" for token in shown(body)) == 6
    front = card.split("---\n", 2)[1].strip().splitlines()
    assert {line.partition(":")[0] for line in front} <= {
        *("base_model", "library_name", "pipeline_tag", "tags")
    }


def test_a_rise_by_the_judge_that_paid_for_it_is_called_no_proof() -> None:
    made = run({TRAINING: [0.2] * 10}, {TRAINING: [0.2 + 0.05 * n for n in range(1, 11)]})
    said = "\n".join(what_rose(made, {TRAINING: "j"}))
    assert "by j (gives the reward): 0.20 [0.15, 0.41] before, 0.48 [" in said
    assert "that it rose is supported" in said
    assert "no proof" in said
    assert findings(made)[TRAINING].word == "supported"


def test_a_second_judge_that_sees_a_fall_is_heard() -> None:
    rising = [0.2 + 0.05 * n for n in range(1, 11)]
    falling = [0.8 - 0.05 * n for n in range(10)]
    made = run({TRAINING: [0.2] * 10, HOLD_OUT: [0.9] * 10}, {TRAINING: rising, HOLD_OUT: falling})
    said = what_rose(made, {TRAINING: "j", HOLD_OUT: "k"})
    assert said[-2].startswith("gamed")
    assert said[-1].startswith("k has passed no gate here")
    assert "no gate" not in "\n".join(
        what_rose(run({TRAINING: [0.2] * 10}, {TRAINING: rising}), {})
    )
    assert "k (gives no reward)" in said[1]
    assert "no proof" not in "\n".join(said)


def test_few_tasks_show_no_interval_and_decide_nothing() -> None:
    few = MIN_UNITS - 1
    made = run({TRAINING: [0.2] * few}, {TRAINING: [0.9] * few})
    said = "\n".join(what_rose(made, {}))
    assert f"(n = {few})" in said
    assert "[" not in said
    assert "no interval" in said


def test_unscored_answers_are_counted_and_in_no_mean() -> None:
    made = run({TRAINING: [0.25, None]}, {TRAINING: [0.75, 0.0]})
    (first, *_) = what_rose(made, {})
    assert "gain 0.50 (n = 1) over 1 tasks" in first
    assert "1 answers could not be scored" in first
    nobody = run({TRAINING: [None, None]}, {TRAINING: [None, 0.5]})
    assert "no task was scored before and after" in what_rose(nobody, {})[0]


def test_without_a_look_nothing_is_claimed(tmp_path: Path) -> None:
    made = run({}, {})
    assert what_rose(made, {}) == [
        "no judge looked at the held-out answers: whether they are better is not known"
    ]
    assert findings(made) == {}
    card = model_card(job(tmp_path), made, data="tasks.jsonl")
    assert "0.250 in the first step and 0.500 in the last" in card
    assert "It shows no quality" in card


def test_a_card_holds_no_path_of_the_machine(tmp_path: Path) -> None:
    folder = tmp_path / "my-policy"
    folder.mkdir()
    settings = SETTINGS.model_copy(update={"policy": str(folder)})
    made = job(tmp_path, settings=settings)
    (tmp_path / "adapter").mkdir()
    path = save_card(made, run({}, {}))
    assert path == tmp_path / "adapter" / "README.md"
    card = path.read_text(encoding="utf-8")
    assert str(tmp_path) not in card
    assert "my\\-policy" in card
    assert "base_model" not in card, "only a hub id can be linked"
    assert 'base_model: "owner/policy"' in model_card(job(tmp_path), run({}, {}))


def test_no_adapter_no_card_and_a_full_disk_says_that_the_adapter_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert save_card(job(tmp_path), run({}, {})) is None
    (tmp_path / "adapter").mkdir()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("rar_lib.core.files.atomic_write", full)
    with pytest.raises(CheckpointError, match=r"No space left on device.*free space"):
        save_card(job(tmp_path), run({}, {}))
