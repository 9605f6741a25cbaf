"""A figure draws what can be said, and no more."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
from IPython.core.interactiveshell import InteractiveShell
from matplotlib.figure import Figure
from nbformat.v4 import new_code_cell, new_notebook

from rar_lib.book import figures
from rar_lib.book.notebook import execute
from rar_lib.core.decision import Finding, Word, not_testable
from rar_lib.core.stats import Bin, Interval

mpl.use("Agg")
ROOT = Path(__file__).resolve().parents[2]
EIGHT = Interval(0.5, 0.3, 0.7, 8)
SEVEN = replace(EIGHT, n=7)


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Figures are kept until they are closed."""
    yield
    plt.close("all")


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


#: A grade of 16 criteria takes 4 times as long as one of 4; more in flight change nothing.
GROWN: dict[str, Any] = {
    "criteria": {
        "rows": [
            {"criteria": 4, "seconds_per_grade": 2.0, "memory_gb": 4.25},
            {"criteria": 16, "seconds_per_grade": 8.0, "memory_gb": 5.0},
        ],
        "slope": 1.0,
    },
    "in_flight": {
        "rows": [{"in_flight": n, "grades_per_s": 0.5, "memory_gb": 5.0} for n in (1, 8, 64)],
        "slope": -1e-17,
    },
    "rollouts": {
        "rows": [{"rollouts": 8, "seconds_per_step": 7.85, "memory_gb": None}],
        "slope": None,
    },
}


def test_what_grows_is_drawn_beside_growth_in_proportion_with_its_memory() -> None:
    first, second, third = figures.growth(GROWN).axes
    for axes in (first, second, third):
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    course, proportion = second.lines
    assert list(course.get_ydata()) == [0.5, 0.5, 0.5]
    assert list(proportion.get_ydata()) == [0.5, 4.0, 32.0]
    titles = [axes.get_title() for axes in (first, second, third)]
    assert titles == ["slope 1.00", "slope 0.00", ""]
    assert [text.get_text() for text in first.texts] == ["4.2 GB", "5.0 GB"]
    assert [text.get_text() for text in third.texts] == [""]
    assert first.get_ylim() != second.get_ylim(), "each panel has a unit of its own"
    (key,) = first.figure.legends
    assert [text.get_text() for text in key.texts] == [
        "measured, with the memory in use",
        "growth in proportion: slope 1",
    ]


@pytest.mark.parametrize("left_out", list(figures.GROWS))
def test_what_was_not_measured_has_no_panel_and_is_named(left_out: str) -> None:
    fig = figures.growth(GROWN | {left_out: {"rows": [], "slope": None}})
    size, _, unit = figures.GROWS[left_out]
    assert [axes.get_xlabel() for axes in fig.axes] == [
        other for other, *_ in figures.GROWS.values() if other != size
    ]
    assert f"{unit.capitalize()} over {size}: not measured yet" in repr(fig)


def test_a_figure_of_no_group_that_was_scored_is_a_figure() -> None:
    left, _ = figures.group([None, None], [None, None]).axes
    assert not left.lines


# --- how they are shown


def test_a_figure_is_shown_as_an_svg_that_is_the_same_every_time() -> None:
    def drawn() -> Any:
        return figures.grouped_bars(["a", "b"], {"x": [0.1, 0.2], "y": [EIGHT, None]}, ylabel="y")

    text = figures.as_svg(drawn())
    assert text is not None
    assert text.startswith("<svg ")
    assert not re.search("<!--|<metadata|<image|<!DOCTYPE", text)
    assert len(text) < 60_000
    assert figures.as_svg(drawn()) == text
    assert figures.as_png(drawn()) is None


def test_a_figure_of_thousands_of_points_is_shown_as_a_sharp_png() -> None:
    fig = figures.strips({"x": list(np.linspace(0, 1, 4_000))}, xlabel="x")
    assert figures.as_svg(fig) is None
    picture = figures.as_png(fig)
    assert picture is not None
    assert int.from_bytes(picture[16:20], "big") > 850  # 4.4 inches, less the margins


def test_in_a_notebook_our_figures_are_svg_and_those_of_others_stay_as_they_are() -> None:
    shell = InteractiveShell.instance()
    try:
        fig = figures.canvas()[0]
        data, _ = shell.display_formatter.format(fig)
        assert {"image/svg+xml"} == {kind for kind in data if kind.startswith("image/")}
        data, _ = shell.display_formatter.format(Figure())
        assert not {kind for kind in data if kind.startswith("image/")}
    finally:
        InteractiveShell.clear_instance()


def test_every_cell_of_a_notebook_shows_its_figure_once_and_as_svg(tmp_path: Path) -> None:
    """The first figure loads a backend, which sets formats of its own."""
    draws = "figures.strips({'x': [0.1, 0.9]}, xlabel='x');"
    cells = [new_code_cell(f"from rar_lib.book import figures\n{draws}"), new_code_cell(draws)]
    source = tmp_path / "x.ipynb"
    target = tmp_path / "out.ipynb"
    source.write_text(nbformat.writes(new_notebook(cells=cells)))
    execute(source, target, {}, cwd=ROOT, cell_timeout_s=120)
    for cell in nbformat.read(target, as_version=4).cells:
        kinds = [k for o in cell.outputs for k in o.get("data", {}) if k.startswith("image/")]
        assert kinds == ["image/svg+xml"]


def test_a_hue_is_one_thing_and_its_shades_are_the_variants() -> None:
    one, two, other = figures.hues(["qwen, as read", "qwen, calibrated", "smol"])
    assert other == figures.COLOURS[1]
    assert luminance(one) < luminance(figures.COLOURS[0]) < luminance(two)
    assert figures.hues(["a", "b", "c"]) == list(figures.COLOURS[:3])
    shades = figures.hues([f"qwen (arm {n})" for n in range(4)])
    steps = [luminance(c) for c in shades]
    assert steps == sorted(steps)
    assert min(b - a for a, b in pairwise(steps)) > 0.03
    assert len(figures.hues([f"thing {n}" for n in range(20)])) == 20


def test_an_arm_has_one_colour_and_one_mark_in_every_figure() -> None:
    """However many stand beside it, and in whatever order."""
    colour = figures.HUES["implicit"][0]
    names = ["direct_likert", "implicit", "length"]
    of_size = figures.by_size([1, 2], {name: [0.1, 0.2] for name in names}, xlabel="x", ylabel="y")
    line = of_size.axes[0].containers[1].lines[0]
    assert (line.get_color(), line.get_marker()) == (colour, "s")
    course = figures.arm_curves({name: [{0: 0.1, 6: 0.2}] for name in names}, ylabel="y")
    line = course.axes[0].lines[1]
    assert (line.get_color(), line.get_marker()) == (colour, "s")
    bars = figures.grouped_bars(["a"], {name: [0.1] for name in names[::-1]}, ylabel="y")
    assert mpl.colors.to_hex(bars.axes[0].patches[1].get_facecolor()) == colour.lower()
    dots = figures.strips({name: [0.1, 0.2] for name in names}, xlabel="x").axes[0].lines
    assert dots[2].get_color() == colour
    priced = figures.cost({("qwen", name): (1.0, EIGHT) for name in names}, xlabel="", ylabel="")
    assert priced.axes[0].containers[1].lines[0].get_color() == colour


def test_the_arms_of_the_drawing_have_its_hues_in_every_figure() -> None:
    assert {name: figures.hues([name]) for name in figures.ASKED} == {
        name: [figures.HUES[name][0]] for name in figures.ASKED
    }


def test_things_beside_an_arm_have_no_colour_like_that_of_the_arm() -> None:
    arm, *others = figures.hues(["implicit", *"abcde"])
    assert min(figures._apart(arm, other) for other in others) > figures._ALIKE
    assert figures.hues(["a", "b"])[1] not in others  # gold is near the red of the arm
    assert len({mark for _, mark in figures._ARMS.values()}) == len(figures._ARMS)


@pytest.mark.parametrize("arm", [arm for arm in figures._ARMS if arm not in figures.ASKED])
def test_an_arm_without_a_judge_has_a_colour_unlike_that_of_any_other(arm: str) -> None:
    colour, _ = figures._ARMS[arm]
    others = [other for name, (other, _) in figures._ARMS.items() if name != arm]
    assert min(figures._apart(colour, other) for other in others) > 60


def test_dots_of_rows_that_are_no_arms_have_one_colour() -> None:
    lines = figures.strips({"a": [0.1] * 9, "b": [0.2] * 9}, xlabel="x").axes[0].lines
    assert {line.get_color() for line in lines[::2]} == {figures.COLOURS[0]}


SEEN = [*figures.COLOURS, *(colour for colour, _ in figures._ARMS.values())]


@pytest.mark.parametrize("colour", SEEN)
def test_every_colour_is_seen_on_white_and_turned_over_on_dark(colour: str) -> None:
    def contrast(value: str, ground: float = 1.0) -> float:
        both = sorted([luminance(value), ground])
        return (both[1] + 0.05) / (both[0] + 0.05)

    assert contrast(colour) >= 3
    assert contrast(figures.shade(colour, 1.0)) >= 2.5
    # What the page's filter makes of it: inverted by nine tenths, and the hue turned back.
    ground = luminance(turned_over("#ffffff"))
    assert contrast(turned_over(colour), ground) >= 3
    assert contrast(turned_over("#000000"), ground) >= 10  # text


def turned_over(colour: str) -> str:
    """What ``filter: invert(0.9) hue-rotate(180deg)`` makes of a colour."""
    parts = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    inverted = 0.9 - 0.8 * parts
    weights = np.array([0.213, 0.715, 0.072])
    turned = np.clip(2 * (inverted @ weights) - inverted, 0, 1)  # the matrix of half a turn
    return "#" + "".join(f"{round(v * 255):02x}" for v in turned)


def luminance(colour: str) -> float:
    """Relative luminance as WCAG defines it, 0 to 1."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
    return sum(v * w for v, w in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))


def test_a_forest_says_by_colour_and_mark_on_which_side_an_interval_lies() -> None:
    rows = {
        "above": Interval(0.5, 0.3, 0.7, 9),
        "below": Interval(-0.5, -0.7, -0.3, 9),
        "reaches": Interval(0.1, -0.1, 0.3, 9),
        "touches": Interval(0.1, 0.0, 0.3, 9),
        "few": Interval(0.5, 0.3, 0.7, 7),
        "none": None,
    }
    fig = figures.forest(rows, xlabel="x")
    marks = [ln for ln in fig.axes[0].lines if ln.get_marker() not in ("None", None, "")]
    assert [m.get_marker() for m in marks] == ["^", "v", "o", "o", "o"]
    assert [m.get_color() for m in marks] == [
        figures.ABOVE,
        figures.BELOW,
        figures.REACHES,
        figures.REACHES,
        figures.FEW,
    ]
    assert marks[-1].get_markerfacecolor() == "white"
    assert [text.get_text() for text in fig.legends[0].get_texts()] == [
        "interval above the line",
        "interval below the line",
        "interval reaches the line",
        "value alone: too few units",
    ]
    assert not figures.forest({"x": None}, xlabel="").legends


def test_a_finding_is_drawn_by_its_word_wherever_its_interval_lies() -> None:
    clear = Interval(0.5, 0.3, 0.7, 9)
    words: list[Word] = ["supported", "contradicted", "no difference larger than d", "undecided"]
    rows = {word: Finding(word, clear, margin=0.05) for word in words}
    fig = figures.forest(rows | {"none": not_testable("why")}, xlabel="x")
    marks = [ln for ln in fig.axes[0].lines if ln.get_marker() not in ("None", None, "")]
    assert [mark.get_marker() for mark in marks] == ["^", "v", "s", "o"]
    assert sorted(text.get_text() for text in fig.legends[0].get_texts()) == sorted(words)
    assert [text.get_text() for text in fig.axes[0].texts] == [" not testable here", *rows, "none"]
    assert "Undecided: 1 of 5 (“undecided”)" in repr(fig)


def test_panels_of_a_forest_share_rows_and_scale_and_leave_empty_what_is_not_there() -> None:
    one = Interval(0.5, 0.3, 0.7, 9)
    two = Interval(-0.5, -0.7, -0.3, 9)
    fig = figures.forests(
        {"left": {"a": one, "b": two}, "right": {"b": one, "c": None}}, xlabel="x"
    )
    left, right = fig.axes
    assert [text.get_text() for text in left.texts] == ["a", "b", "c"]
    assert [ax.get_title() for ax in fig.axes] == ["left", "right"]
    marks = [ln for ln in right.lines if ln.get_marker() not in ("None", None, "")]
    assert [float(ln.get_ydata()[0]) for ln in marks] == [1.0]  # the row of "b"
    assert [text.get_text() for text in right.texts] == [" not testable here"]
    assert left.get_xlim() == right.get_xlim()
    assert left.get_ylim() == right.get_ylim() == (2.5, -0.8)


@pytest.mark.parametrize("order", [("near", "far", "below"), ("far", "below", "near")])
def test_every_interval_of_every_panel_lies_within_its_limits(order: Sequence[str]) -> None:
    """However much wider than those of the first panel the others are."""
    ends = {"near": (0.02, 0.04), "far": (0.5, 0.7), "below": (-0.9, -0.3)}
    panels = {}
    for name in order:
        low, high = ends[name]
        panels[name] = {"a": Interval((low + high) / 2, low, high, 9), "b": None}
    fig = figures.forests(panels, xlabel="x")
    drawn = {}
    for ax in fig.axes:
        (line,) = [ln for ln in ax.lines if len(ln.get_xdata()) == 2 and ln.get_linewidth() == 2]
        drawn[ax.get_title()] = tuple(line.get_xdata())
        assert ax.get_xlim()[0] < -0.9
        assert ax.get_xlim()[1] > 0.7
    assert drawn == ends


def test_a_course_has_a_thin_line_for_each_seed_and_a_thick_one_for_their_mean() -> None:
    arms = {
        "explicit": [{0: 0.1, 6: 0.3}, {0: 0.3, 6: 0.5, 9: 0.9}],
        "implicit": [{0: 0.1, 6: 0.2}],
    }
    ax = figures.arm_curves(arms, ylabel="y").axes[0]
    drawn = [(ln.get_linewidth(), list(ln.get_ydata())) for ln in ax.lines]
    thick = [pytest.approx(y) for width, y in drawn if width > 2]
    assert thick == [[0.2, 0.4], [0.1, 0.2]]  # steps that all seeds have
    assert len(drawn) == 4  # one seed alone is its own mean
    names = [text.get_text() for text in ax.figure.legends[0].get_texts()]
    assert names == ["explicit (2)", "implicit (1)"]


def test_the_key_of_courses_names_them_as_their_ends_lie_above_each_other() -> None:
    arms = {name: [{0: 0.1, 6: end}] for name, end in (("a", 0.2), ("b", 0.9), ("c", 0.5))}
    alone = figures.arm_curves(arms, ylabel="y")
    assert [text.get_text() for text in alone.legends[0].get_texts()] == ["b (1)", "c (1)", "a (1)"]
    panels = figures.arm_curves(arms, ylabel="y", panels={"one": ["a", "b"], "two": ["c"]})
    assert [text.get_text() for text in panels.axes[0].get_legend().get_texts()] == [
        "b (1)",
        "a (1)",
    ]


def test_many_arms_are_told_apart_by_colour_and_line() -> None:
    arms = {f"arm {n}": [{0: 0.1, 1: n / 20}] for n in range(18)}
    lines = figures.arm_curves(arms, ylabel="y").axes[0].lines
    assert len({(ln.get_color(), ln.get_linestyle()) for ln in lines}) == 18


def looks_of_means(ax: Any) -> list[Any]:
    """How the thick lines of a panel are drawn."""
    return [(ln.get_color(), ln.get_linestyle()) for ln in ax.lines if ln.get_linewidth() > 2]


def test_panels_of_arms_share_the_axis_and_have_a_key_each_that_stands_below_it() -> None:
    name = "arm {}, and then at length what is done to its rubric"
    arms = {name.format(n): [{0: 0.1, 1: n / 20}] * 3 for n in range(17)}
    names = list(arms)
    panels = {"tier 1": names[:6], "tier 2": names[6:14], "no notes": names[14:]}
    fig = figures.arm_curves(arms, ylabel="y", panels=panels)
    assert [ax.get_title() for ax in fig.axes] == list(panels)
    looks = list(map(looks_of_means, fig.axes))
    assert list(map(len, looks)) == [len(set(found)) for found in looks] == [6, 8, 3]
    assert len({ax.get_ylim() for ax in fig.axes}) == 1
    for _ in range(2):  # a key hangs at its plot, so the layout settles in the second draw
        fig.canvas.draw()
    keys = [ax.get_legend().get_window_extent() for ax in fig.axes]
    plots = [ax.get_window_extent() for ax in fig.axes]
    assert all(key.y1 < plot.y0 for key, plot in zip(keys, plots, strict=True))
    titles = [ax.title.get_window_extent() for ax in fig.axes]
    assert all(key.y0 >= title.y1 for key, title in zip(keys, titles[1:], strict=False))
    assert min(key.y0 for key in keys) >= 0  # below that it would be cut off
    assert max(key.x1 for key in keys) <= fig.bbox.width
    assert min(plot.height for plot in plots) > 1.5 * fig.dpi
    assert min(plot.width for plot in plots) > 0.7 * fig.bbox.width
    assert "Panels: tier 1, tier 2 and no notes. arm 0, and then at length wh" in repr(fig)


def test_panels_of_arms_have_one_scale_of_steps_also_where_one_trained_for_longer() -> None:
    arms = {"a": [{0: 0.1, 6: 0.2}], "b": [{0: 0.1, 12: 0.9}]}
    one, two = figures.arm_curves(arms, ylabel="y", panels={"1": ["a"], "2": ["b"]}).axes
    assert one.get_xlim() == two.get_xlim()
    assert one.get_ylim() == two.get_ylim()
    assert one.get_xlim()[1] > 12
    assert one.get_ylim()[1] > 0.9


def test_few_dots_lie_on_their_row_beside_the_line_that_they_are_compared_with() -> None:
    rows = {f"arm {n}": [n / 20, 0.1, 0.2] for n in range(17)}
    fig = figures.strips(rows, xlabel="change", xlim=(-0.1, 1.0), line=0.0)
    (ax,) = fig.axes
    dots = [ln for ln in ax.lines if ln.get_marker() == "o"]
    assert [set(ln.get_ydata()) for ln in dots] == [{float(y)} for y in range(17)]
    assert list(ax.lines[0].get_xdata()) == [0.0, 0.0]
    assert fig.get_figheight() < 7
    assert "horizontal axis: change. A dashed line at 0.00. arm 0: 3 from 0.00" in repr(fig)
    many = figures.strips({"x": list(np.linspace(0, 1, 9))}, xlabel="x").axes[0].lines
    assert len(set(many[0].get_ydata())) == 9  # they would hide each other
    assert len(many) == 2  # the dots and their mean


def test_the_picture_of_a_step_shows_the_policy_neither_rubric_nor_reference() -> None:
    to_policy = {start for start, end, _ in figures._ARROWS if end == "policy"}
    assert to_policy == {"question", "update"}
    assert {start for start, end, _ in figures._ARROWS if end == "judge"} == {"answers", "rubric"}
    fig = figures.step_flow()
    said = [text.get_text().replace("\n", " ") for text in fig.axes[0].texts]
    assert "judge (it sees the question, too)" in said
    assert len(fig.axes[0].patches) == len(figures._BOXES) + len(figures._ARROWS)


def test_a_telephone_shows_the_picture_of_a_step_whole() -> None:
    text = figures.as_svg(figures.step_flow())
    assert text is not None
    width, height = (int(size) for size in re.findall(r'\b(?:width|height)="(\d+)"', text)[:2])
    assert 0.7 * width <= 350  # rar.css shows figures at seven tenths there
    assert height > 0.8 * width


def test_in_the_picture_of_a_step_words_stay_in_their_boxes_and_arrows_out_of_others() -> None:
    fig = figures.step_flow()
    fig.canvas.draw()
    (ax,) = fig.axes
    frames = [patch.get_window_extent() for patch in ax.patches[: len(figures._BOXES)]]
    boxes = dict(zip(figures._BOXES, frames, strict=True))
    for frame, text in zip(frames, ax.texts, strict=True):
        words = text.get_window_extent()
        assert frame.x0 < words.x0 < words.x1 < frame.x1, text.get_text()
        assert frame.y0 < words.y0 < words.y1 < frame.y1, text.get_text()
        assert sum(frame.overlaps(other) for other in frames) == 1, text.get_text()
    for start, end, _ in figures._ARROWS:
        ends = ax.transData.transform([figures._BOXES[start][:2], figures._BOXES[end][:2]])
        points = np.linspace(*ends, 100)
        crossed = {name for name, box in boxes.items() if box.count_contains(points)}
        assert crossed == {start, end}


def test_marks_stand_at_their_size_and_the_key_has_no_whiskers_where_none_are_drawn() -> None:
    def drawn(values: list[Any]) -> tuple[list[list[float]], list[bool]]:
        series = {"one": values, "two": [0.3, 0.4], "three": [0.5, 0.6]}
        fig = figures.by_size([1, 8], series, xlabel="x", ylabel="y")
        bars = fig.axes[0].containers
        return [bar.lines[0].get_xdata().tolist() for bar in bars], [bar.has_yerr for bar in bars]

    for values in ([0.1, 0.2], [SEVEN, None]):
        assert drawn(values) == ([[1.0, 8.0]] * 3, [False] * 3)
    places, whiskers = drawn([EIGHT, 0.2])
    assert len({first for first, _ in places}) == 3  # whiskers would hide each other
    assert whiskers == [True, False, False]


def test_graders_that_panels_share_have_one_key_and_one_colour_each() -> None:
    looks = {0: EIGHT, 4: EIGHT}
    panels = {"a run": {"training": looks, "hold-out": looks}, "another": {"hold-out": looks}}
    fig = figures.gains(panels)
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["training", "hold-out"]
    left, right = fig.axes
    colours = [bar.lines[0].get_color() for bar in left.containers]
    assert [bar.lines[0].get_color() for bar in right.containers] == colours[1:]


BESIDES: dict[str, list[float]] = {
    f"series {n}, and what is done to it": [0.1, 0.2] for n in range(7)
}
ROWS = {f"a row {n} whose name goes on and on, farther than a line": EIGHT for n in range(3)}
#: Figures whose keys and names once left a telephone no room for what is drawn.
NARROW: dict[str, Any] = {
    "bars": lambda: figures.grouped_bars(["a", "b"], BESIDES, ylabel="y"),
    "by size": lambda: figures.by_size([1, 2], BESIDES, xlabel="x", ylabel="y"),
    "cost": lambda: figures.cost(
        {("qwen", name): (1.0, EIGHT) for name in ("a", "b", "c")}, xlabel="x", ylabel="y"
    ),
    "courses": lambda: figures.arm_curves({"explicit": [{0: 0.1, 6: 0.2}]}, ylabel="y"),
    "slopes": lambda: figures.slopes({"qwen": [0.1]}, {"qwen": [0.2]}),
    "stages": lambda: figures.stages({"a": {"write": 1.0, "judge": 2.0}}, xlabel="x"),
    "strips": lambda: figures.strips({"explicit": [0.1, 0.2]}, xlabel="words of an axis " * 4),
    "forest": lambda: figures.forest(ROWS, xlabel="words of an axis " * 6),
    "reliability": lambda: figures.reliability({"a judge, as read": [Bin(5, 0.1, 0.2)]}),
    "rewards": lambda: figures.reward_curve(
        [[0.2, 0.4], [0.3, 0.5]], {f"held-out tasks, {n} judge": {0: EIGHT} for n in "ab"}
    ),
}


@pytest.mark.parametrize("name", NARROW)
def test_a_telephone_shows_a_figure_whole_with_its_key_below_what_is_drawn(name: str) -> None:
    fig = NARROW[name]()
    text = figures.as_svg(fig)
    assert text is not None
    width = re.search(r'\bwidth="(\d+)"', text)
    assert width is not None
    assert 0.7 * int(width[1]) <= 350  # as the step of training, above
    fig.canvas.draw()
    plot = fig.axes[0].get_window_extent()
    key = fig.legends[0].get_window_extent()
    assert 0 <= key.y0 < key.y1 < plot.y0
    assert plot.width > 0.7 * fig.bbox.width
    assert plot.height > 1.0 * fig.dpi or name in ("stages", "strips")


NAMED = "a name that is longer than its line"
COURSE = {0: EIGHT, 5: EIGHT}
#: Those of several panels, and those with long names beside their rows.
SPLIT: dict[str, Any] = {
    "credit": lambda: figures.credit_bars({n: [(NAMED, 0.5, 0.5)] * 8 for n in ("good", "bad")}),
    "group": lambda: figures.group([0.9, 0.1], [0.7, -0.7]),
    "gains": lambda: figures.gains({f"{n} {NAMED}": {"a judge": COURSE} for n in "ab"}),
    "forests": lambda: figures.forests(
        {n: {NAMED: EIGHT, "few": SEVEN} for n in ("labels", "judge", "together")},
        xlabel="explicit score minus base",
    ),
    "arms": lambda: figures.arm_curves(
        {f"{n}, {NAMED}": [{0: 0.1, 6: 0.2}] for n in "abcd"},
        ylabel="conveyed by held-out answers",
        panels={"ab": [f"a, {NAMED}", f"b, {NAMED}"], "cd": [f"c, {NAMED}", f"d, {NAMED}"]},
    ),
    "strips": lambda: figures.strips({NAMED: [0.1, 0.2]}, xlabel="words of an axis " * 4),
    "growth": lambda: figures.growth(GROWN),
}


@pytest.mark.parametrize("name", SPLIT)
def test_a_telephone_shows_every_panel_of_a_figure(name: str) -> None:
    fig = SPLIT[name]()
    text = figures.as_svg(fig)
    assert text is not None
    width = re.search(r'\bwidth="(\d+)"', text)
    assert width is not None
    assert 0.7 * int(width[1]) <= 350
    fig.canvas.draw()
    plots = [ax.get_window_extent() for ax in fig.axes]
    assert min(plot.width for plot in plots) > 0.2 * fig.bbox.width
    below = [key.get_window_extent().y1 for key in fig.legends]
    assert max(below, default=0) < min(plot.y0 for plot in plots)


def test_a_long_name_beside_a_row_of_dots_or_bars_has_several_lines() -> None:
    dots = figures.strips({NAMED: [0.1], "short": [0.2]}, xlabel="x")
    bars = figures.credit_bars({n: [(NAMED, 0.5, 0.5), ("short", 0.5, 0.5)] for n in "ab"})
    for fig in (dots, bars):
        long, short = [label.get_text() for label in fig.axes[0].get_yticklabels()]
        assert long.replace("\n", " ") == NAMED
        assert (long.count("\n"), short) == (1, "short")
        fig.canvas.draw()
        upper, lower = [label.get_window_extent() for label in fig.axes[0].get_yticklabels()]
        assert upper.y0 >= lower.y1


def test_a_long_name_of_a_forest_stands_above_its_row_and_a_short_one_beside_it() -> None:
    long = figures.forest(ROWS, xlabel="x")
    long.canvas.draw()
    (ax,) = long.axes
    assert {label.get_text() for label in ax.get_yticklabels()} == {""}
    assert [text.get_text().replace("\n", " ") for text in ax.texts] == list(ROWS)
    for y, text in enumerate(ax.texts):
        words = text.get_window_extent()
        assert words.y0 > ax.transData.transform((0, y))[1]
        assert words.y1 < ax.transData.transform((0, y - 1))[1]
        assert words.x1 < long.bbox.x1
    short = figures.forest({"explicit": EIGHT}, xlabel="x").axes[0]
    assert [label.get_text() for label in short.get_yticklabels()] == ["explicit"]


def test_the_axis_of_dots_has_the_ends_of_its_values_unless_others_are_given() -> None:
    low, high = figures.strips({"a": [0.2, 0.4]}, xlabel="x").axes[0].get_xlim()
    assert 0.15 < low < 0.2 < 0.4 < high < 0.45
    fig = figures.strips({"a": [0.2, 0.4]}, xlabel="x", xlim=(0.0, 1.0))
    assert fig.axes[0].get_xlim() == (0.0, 1.0)
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["mean of the row"]


def test_what_a_criterion_could_earn_has_an_outline_that_is_seen_where_it_is_dark() -> None:
    rows = {name: [("Cool it", 0.0, 0.5)] for name in ("preferred", "rejected")}
    pale, earned = figures.credit_bars(rows).axes[0].patches
    assert mpl.colors.to_hex(pale.get_edgecolor(), keep_alpha=True) == "#0072b2ff"
    assert pale.get_facecolor()[3] < 0.5 < earned.get_facecolor()[3]


def test_questions_stand_in_two_columns_and_pale_bars_are_told_where_there_are_any() -> None:
    questions = {name: {"yes": 0.9, "no": 0.1} for name in ("a", "b", "c")}
    fig = figures.alternatives(questions, readable={"yes", "no"})
    fig.canvas.draw()
    first, second, third, left_out = fig.axes
    assert first.get_position().y0 == second.get_position().y0 > third.get_position().y1
    assert not left_out.axison
    assert "pale" not in repr(fig)
    assert "pale" in repr(figures.alternatives(questions, readable={"yes"}))


def test_calibrated_probabilities_are_not_called_those_that_the_judge_gives() -> None:
    ax = figures.reliability({"calibrated": [Bin(5, 0.1, 0.2)]}).axes[0]
    assert ax.get_xlabel() == 'stated probability of "met"'


def test_the_key_of_a_group_is_as_large_as_the_words_of_its_axes() -> None:
    fig = figures.group([0.9, 0.1], [0.7, -0.7])
    (words,) = fig.legends[0].get_texts()
    assert words.get_text() == "mean of the group"
    assert words.get_fontsize() == fig.axes[0].xaxis.label.get_fontsize()


# --- what is seen, in words


def test_a_figure_that_cannot_be_seen_says_what_is_drawn_and_what_is_seen() -> None:
    fig = figures.strips({"kept": [0.1, 0.5], "lost": []}, xlabel="margin")
    assert repr(fig) == (
        "Rows of dots with a bar at the mean; horizontal axis: margin. "
        "kept: 2 from 0.10 to 0.50, mean 0.30; lost: no dot."
    )
    assert repr(figures.canvas()[0]).startswith("<BookFigure size")
    shell = InteractiveShell.instance()
    try:
        data, _ = shell.display_formatter.format(fig)
        assert data["text/plain"] == repr(fig)
    finally:
        InteractiveShell.clear_instance()


def test_accuracy_by_size_tells_where_each_line_begins_and_ends() -> None:
    high = Interval(0.9, 0.85, 0.95, 48)
    series = {"explicit": [0.4, EIGHT, high], "implicit": [None, 0.5, 0.7], "none": [None] * 3}
    fig = figures.by_size([0.135, 0.5, 1.5], series, xlabel="billions", ylabel="share", chance=0.5)
    assert repr(fig) == (
        "Lines over a logarithmic axis: billions. Vertical axis: share. "
        "explicit: from 0.40 at 0.135 to 0.90 [0.85, 0.95] at 1.5; "
        "implicit: from 0.50 at 0.5 to 0.70 at 1.5; none: nothing. "
        "Highest: explicit at 1.5, 0.90 [0.85, 0.95]. A dashed line at 0.50."
    )
    one = figures.by_size([1.5], {"explicit": [SEVEN]}, xlabel="x", ylabel="y")
    assert "explicit: 0.50 (n = 7) at 1.5. Highest" in repr(one)
    assert "dashed" not in repr(one)
    assert repr(figures.by_size([1.0], {}, xlabel="x", ylabel="y")).endswith("Nothing is drawn.")


def test_a_forest_tells_how_its_intervals_lie_and_how_far_they_reach() -> None:
    rows = {
        "up": Interval(0.5, 0.3, 0.7, 9),
        "down": Interval(-0.5, -0.7, -0.3, 9),
        "few": SEVEN,
        "none": None,
    }
    said = repr(figures.forest(rows, xlabel="gain"))
    assert said == (
        "Points with horizontal 95 % intervals beside a dashed line at 0, one row a name; "
        "horizontal axis: gain. Interval above the line: 1 of 4 (“up”); "
        "Interval below the line: 1 of 4 (“down”); Value alone: too few units: 1 of 4 (“few”); "
        "Not testable here: 1 of 4 (“none”). "
        "Values reach from -0.50 [-0.70, -0.30] at down to 0.50 [0.30, 0.70] at up."
    )
    panels = repr(figures.forests({"left": {"up": rows["up"]}, "right": {"a": None}}, xlabel="x"))
    assert "Panel left: Interval above the line: 1 of 1 (“up”)." in panels
    assert panels.endswith("Panel right: Not testable here: 1 of 1 (“a”).")
    many = repr(figures.forest({f"row {n}": EIGHT for n in range(9)}, xlabel="x"))
    assert "9 of 9 (“row 0”, “row 1”, “row 2”, “row 3”, “row 4”, “row 5” and 3 more)" in many


def test_bars_tell_their_lowest_and_highest_and_how_many_pass_the_line() -> None:
    series = {"one": [0.2, 0.6, None], "two": [EIGHT, 0.1, float("nan")]}
    fig = figures.grouped_bars(["a", "b", "c"], series, ylabel="share", line=[0.3, 0.3, 0.4])
    assert repr(fig) == (
        "Groups of vertical bars: a, b and c. Vertical axis: share. "
        "one: from 0.20 at a to 0.60 at b; two: from 0.10 at b to 0.50 [0.30, 0.70] at a. "
        "Dashed lines at 0.30 and 0.40; 2 of 4 bars end above theirs."
    )


def test_a_reward_curve_tells_the_rollouts_and_every_look() -> None:
    looks = {"hold-out": {0: EIGHT, 2: replace(EIGHT, value=0.6)}}
    said = repr(figures.reward_curve([[0.2, 0.4], [None, 0.5]], looks))
    assert "Mean of the rollouts: from 0.30 at step 1 to 0.50 at step 2; " in said
    assert said.endswith(
        "hold-out: from 0.50 [0.30, 0.70] at step 0 to 0.60 [0.30, 0.70] at step 2."
    )


def test_slopes_tell_the_means_and_how_many_tasks_moved_which_way() -> None:
    before = {"training": [0.2, 0.4, 0.6], "hold-out": []}
    after = {"training": [0.5, 0.4, 0.3], "hold-out": []}
    said = repr(figures.slopes(before, after))
    assert said.endswith(
        "training: mean from 0.40 to 0.40, 1 of 3 tasks up, 1 down; hold-out: no task."
    )


def test_courses_costs_and_stages_are_told() -> None:
    arms = figures.arm_curves({"explicit": [{0: 0.1, 6: 0.3}, {0: 0.3, 6: 0.5}]}, ylabel="y")
    assert repr(arms).endswith("explicit, mean of 2 seeds: from 0.20 at step 0 to 0.40 at step 6.")
    gains = figures.gains({"a run": {"training judge": {0: EIGHT, 4: SEVEN}}})
    assert "a run, training judge: from 0.50 at step 0 to 0.50 (n = 7)" in repr(gains)
    points = {("qwen", "explicit"): (1.25, EIGHT), ("qwen", "implicit"): (0.5, None)}
    cost = repr(figures.cost(points, xlabel="seconds", ylabel="accuracy"))
    assert cost.endswith("qwen, explicit: 0.50 [0.30, 0.70] for 1.25.")
    rows = {"one": {"write": 3.0, "judge": 1.0}}
    stages = figures.stages(rows, xlabel="s", unit="{:.1f} s")
    assert repr(stages).endswith("one: 4.0 s, most of it write.")
    curve = [Bin(5, 0.1, 0.2), Bin(5, 0.9, 0.8)]
    assert "as read: from 0.20 at probability 0.10 to 0.80" in repr(
        figures.reliability({"as read": curve})
    )


def test_credit_is_told_response_by_response_with_what_pays_nothing() -> None:
    rows = {
        "preferred": [("Cool it", 0.5, 0.5), ("Cover it", 0.25, 0.25), ("No butter", 0.25, 0.25)],
        "rejected": [("Cool it", 0.5, 0.5), ("Cover it", 0.0, 0.25), ("No butter", 0.0, 0.25)],
    }
    said = repr(figures.credit_bars(rows))
    assert said.endswith(
        "preferred: reward 1.00, full credit on 3 of 3 criteria, without credit: none; "
        "rejected: reward 0.50, full credit on 1 of 3 criteria, "
        "without credit: “Cover it” and “No butter”."
    )


def test_a_group_is_told_by_its_ends_its_mean_and_who_lies_below() -> None:
    said = repr(figures.group([0.9, 0.1, None], [0.7, -0.7, None]))
    assert said.endswith(
        "Rewards: from 0.10 at response 2 to 0.90 at response 1; "
        "Advantages: from -0.70 at response 2 to 0.70 at response 1. "
        "Mean reward: 0.50. Below it: 1 of 3; unscored: 1."
    )
    nobody = repr(figures.group([None, None], [None, None]))
    assert nobody.endswith(
        "Rewards: nothing; Advantages: nothing. "
        "Mean reward: unknown. Below it: 0 of 2; unscored: 2."
    )


def test_what_a_judge_might_have_said_is_told_token_by_token() -> None:
    likely = {"yes": 0.6, "It": 0.2, "no": 0.15, "b": 0.03}
    said = repr(figures.alternatives({"explicit": likely}, readable={"yes", "no"}, most=3))
    assert said.endswith(
        "explicit: “yes” 0.60, “It” 0.20 and “no” 0.15; of these tokens the answers have 0.75."
    )


def test_what_grows_is_told_size_by_size() -> None:
    assert repr(figures.growth(GROWN)) == (
        "Lines beside dashed ones of growth in proportion; both axes of a panel are logarithmic. "
        "Seconds a grade over criteria in the rubric: 2 at 4 (4.2 GB) and 8 at 16 (5.0 GB), "
        "slope 1.00; "
        "Grades a second over grades in flight: 0.5 at 1 (5.0 GB), 0.5 at 8 (5.0 GB) and "
        "0.5 at 64 (5.0 GB), slope 0.00; "
        "Seconds a step over rollouts a step: 7.85 at 8."
    )
