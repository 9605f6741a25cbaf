"""A figure draws what can be said, and no more."""

from __future__ import annotations

from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest

from rar_lib.book import figures
from rar_lib.core.stats import Interval

mpl.use("Agg")
EIGHT = Interval(0.5, 0.3, 0.7, 8)
SEVEN = replace(EIGHT, n=7)


def test_whiskers_need_eight_units() -> None:
    heights, error = figures._heights([EIGHT, SEVEN, 0.5, None])
    assert heights.tolist()[:3] == [0.5, 0.5, 0.5]
    assert error[:, 0] == pytest.approx([0.2, 0.2])
    assert np.isnan(error[:, 1:]).all()


def test_a_forest_draws_the_value_alone_where_units_are_few() -> None:
    def drawn(interval: Interval) -> list[int]:
        return [
            len(line.get_xdata())
            for line in figures.forest({"x": interval}, xlabel="").axes[0].lines
        ]

    assert len(drawn(EIGHT)) == len(drawn(SEVEN)) + 1


def test_costs_and_courses_have_no_whiskers_over_few_units() -> None:
    def segments(interval: Interval) -> int:
        fig = figures.cost({("a", "b"): (1.0, interval)}, xlabel="", ylabel="")
        return sum(
            np.isfinite(p.vertices).all() for c in fig.axes[0].collections for p in c.get_paths()
        )

    assert segments(EIGHT) > segments(SEVEN) == 0
    low = figures.reward_curve([[0.5, 0.5]], {"x": {0: replace(SEVEN, low=0.0)}}).axes[0]
    assert low.get_ylim()[0] == pytest.approx(0.45)  # an end that is not drawn takes no room


def test_stages_stand_one_after_the_other_and_add_up() -> None:
    rows = {"one": {"write": 3.0, "judge": 1.0}, "two": {"write": 1.0, "judge": 0.5}}
    axes = figures.stages(rows, xlabel="s", unit="{:.1f} s").axes[0]
    ends = [bar.get_x() + bar.get_width() for bar in axes.containers[1]]
    assert ends == pytest.approx([4.0, 1.5])
    assert [text.get_text() for text in axes.texts] == ["4.0 s", "1.5 s"]


def test_a_group_is_drawn_from_zero_with_losers_in_another_colour_and_unscored_named() -> None:
    left, right = figures.group([0.9, 0.1, None], [0.7, -0.7, None]).axes
    assert [bar.get_width() for bar in right.patches] == [0.7, -0.7, 0.0]
    assert left.patches[0].get_facecolor() == right.patches[0].get_facecolor()
    assert right.patches[0].get_facecolor() != right.patches[1].get_facecolor()
    assert [t.get_text().strip() for t in right.texts] == ["unscored"]
    (mean,) = left.lines
    assert list(mean.get_xdata()) == [0.5, 0.5]


def test_of_what_a_judge_might_have_said_the_likeliest_are_drawn_and_answers_are_solid() -> None:
    likely = {"yes": 0.6, "$x$": 0.2, "no": 0.15, "b": 0.03, "c": 0.01, "d": 0.01}
    (axes,) = figures.alternatives({"explicit": likely}, readable={"yes", "no"}, most=4).axes
    assert [bar.get_height() for bar in axes.patches] == [0.6, 0.2, 0.15, 0.03]
    assert [bar.get_alpha() == 1.0 for bar in axes.patches] == [True, False, True, False]
    axes.figure.canvas.draw()  # a dollar sign in a token begins no formula


def test_a_figure_of_no_group_that_was_scored_is_a_figure() -> None:
    left, _ = figures.group([None, None], [None, None]).axes
    assert not left.lines
