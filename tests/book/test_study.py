"""What a study gives its chapters: the sample of a profile, drawn and not cut off a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rar_lib.book.study import Study
from rar_lib.core.errors import DataError
from rar_lib.data.tasks import draw_tasks, load_mini, load_mini_pairs


def test_the_laptop_pairs_are_spread_like_all_pairs(tmp_path: Path) -> None:
    study = Study.open("laptop", tmp_path)
    for drawn, split in ((study.pairs, "test"), (study.val_pairs, "val")):
        everything = load_mini_pairs(split)  # type: ignore[arg-type]
        assert len(drawn) == study.profile.pairs
        for factor in ("axis", "difficulty"):
            here = Counter(getattr(pair, factor) for pair in drawn)
            there = Counter(getattr(pair, factor) for pair in everything)
            share = len(drawn) / len(everything)
            assert all(abs(here[level] - share * n) <= 1 for level, n in there.items()), factor


def test_the_tasks_of_a_study_are_drawn_alike(tmp_path: Path) -> None:
    study = Study.open("laptop", tmp_path)
    held_out = load_mini("test")
    assert study.test_tasks == draw_tasks(held_out, study.profile.test_tasks)
    assert len(study.synthesis_tasks) == study.profile.synthesis_tasks
    assert {t.id for t in study.synthesis_tasks} <= {p.task_id for p in study.pairs}
    assert study.train_tasks == draw_tasks(load_mini("train"), study.profile.train_tasks)
    for tasks in (study.train_tasks, study.test_tasks, study.synthesis_tasks):
        domains = Counter(t.domain for t in tasks)
        assert domains["medicine"] == domains["science"]


@pytest.fixture
def up(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The models that have a server at the moment, as if each client had started one."""
    running: list[str] = []

    @contextmanager
    def local_chat(model: str, *_: Any) -> Iterator[object]:
        running.append(model)
        yield object()
        running.remove(model)

    monkeypatch.setattr("rar_lib.book.study.local_chat", local_chat)
    return running


def test_only_one_servers_model_stays_up_and_the_others_start_again_when_they_are_asked_for(
    tmp_path: Path, up: list[str]
) -> None:
    study = Study.open("smoke", tmp_path)
    large = study.chat("qwen-1.5b")
    small = study.chat("qwen-0.5b")
    assert up == ["qwen-1.5b", "qwen-0.5b"]
    study.only("qwen-1.5b")
    assert up == ["qwen-1.5b"]
    assert study.chat("qwen-1.5b") is large
    assert study.chat("qwen-0.5b") is not small
    study.only("smollm2-135m")  # which has none
    assert up == []
    study.chat("qwen-0.5b")
    study.close()
    assert up == []


def test_a_server_that_does_not_stop_leaves_no_other_up(tmp_path: Path, up: list[str]) -> None:
    study = Study.open("smoke", tmp_path)
    study.chat("qwen-1.5b")
    up.clear()  # so that its end fails
    study.chat("qwen-0.5b")
    with pytest.raises(ValueError, match="not in list"):
        study.close()
    assert up == []


def test_a_study_has_both_domains_and_keeps_to_its_profile(tmp_path: Path) -> None:
    study = Study.open("smoke", tmp_path)
    assert sorted(t.domain for t in study.train_tasks) == ["medicine", "science"]
    assert len(study.test_tasks) == study.profile.test_tasks
    assert not {t.id for t in study.train_tasks} & {t.id for t in study.test_tasks}
    study.save("x", {"a": 1})
    assert study.load("x") == {"a": 1}


def test_a_missing_earlier_chapter_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="make reproduce PROFILE=smoke"):
        Study.open("smoke", tmp_path).load("grpo")
