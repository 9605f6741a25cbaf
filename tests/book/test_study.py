"""What a study gives its chapters: the sample of a profile, drawn and not cut off a file."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from rar_lib.book.study import Study
from rar_lib.data.tasks import draw_tasks, load_mini, load_mini_pairs


def test_the_laptop_pairs_are_spread_like_all_pairs(tmp_path: Path) -> None:
    study = Study.open("laptop", tmp_path)
    for drawn, split in ((study.pairs, "test"), (study.val_pairs, "val")):
        everything = load_mini_pairs(split)  # type: ignore[arg-type]
        assert len(drawn) == study.profile.pairs
        for factor in ("axis", "difficulty"):
            here, there = (Counter(getattr(p, factor) for p in x) for x in (drawn, everything))
            share = len(drawn) / len(everything)
            assert all(abs(here[level] - share * n) <= 1 for level, n in there.items()), factor


def test_the_tasks_of_a_study_are_drawn_alike(tmp_path: Path) -> None:
    study = Study.open("laptop", tmp_path)
    held_out = load_mini("test")
    assert study.test_tasks == draw_tasks(held_out, study.profile.test_tasks)
    assert study.synthesis_tasks == draw_tasks(held_out, study.profile.synthesis_tasks)
    assert study.train_tasks == draw_tasks(load_mini("train"), study.profile.train_tasks)
    for tasks in (study.train_tasks, study.test_tasks, study.synthesis_tasks):
        domains = Counter(t.domain for t in tasks)
        assert domains["medicine"] == domains["science"]
