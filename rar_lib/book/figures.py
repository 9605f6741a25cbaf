"""The book's figures: numbers in, a matplotlib figure out.

In a notebook they are shown as SVG, which stays sharp at every density, with its letters as
paths, which look the same on every machine. They stand on white: the book turns them over where
it is dark. What would be a long file, thousands of points for example, is shown as PNG at twice
the density.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from io import BytesIO, StringIO
from typing import TYPE_CHECKING, Any

import numpy as np

from rar_lib.core.stats import Bin, Interval, scored

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Hues of Okabe-Ito, distinguishable with any colour vision, the pale ones darkened: each has a
#: contrast of 3 to white, and to the dark page, on which the book turns a figure over.
COLOURS = ("#0072B2", "#BF7C00", "#009E73", "#D55E00", "#C2689B", "#3D9BD1", "#555555")
#: Pixels of a page to an inch of a figure.
PIXELS = 110
#: Characters of an SVG; a longer figure is shown as PNG.
SVG_LIMIT = 200_000
#: How an interval lies to its line, and its colour.
ABOVE, BELOW, REACHES, FEW = COLOURS[0], COLOURS[3], "#6B6B6B", "#6B6B6B"


@cache
def _own() -> type[Figure]:
    """The class of our figures: those that others draw are shown as they wish."""
    from matplotlib.figure import Figure

    class BookFigure(Figure):
        """A figure of the book."""

    return BookFigure


def as_svg(fig: Figure) -> str | None:
    """The figure as an SVG without declaration and metadata; ``None`` if it would be too long."""
    import matplotlib as mpl

    written = StringIO()
    # The same figure gives the same file: ids come from a salt, and there is no date.
    with mpl.rc_context({"svg.fonttype": "path", "svg.hashsalt": "rar"}):
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        fig.savefig(written, format="svg", bbox_inches="tight", metadata=nothing)
    text = written.getvalue()
    text = re.sub(r"<!--.*?-->\s*", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(
        r'\b(width|height)="([\d.]+)pt"',
        lambda m: f'{m[1]}="{float(m[2]) * PIXELS / 72:.0f}"',
        text,
        count=2,
    )
    return text if len(text) <= SVG_LIMIT else None


def as_png(fig: Figure) -> bytes | None:
    """The figure as PNG at twice the density; ``None`` where :func:`as_svg` shows it."""
    if as_svg(fig) is not None:
        return None
    written = BytesIO()
    fig.savefig(written, format="png", bbox_inches="tight", dpi=2 * PIXELS)
    return written.getvalue()


def _show_as_svg() -> None:
    """In a notebook our figures are shown by the two functions above.

    Its backend sets its own formats when it is loaded, with the first figure: so after that.
    """
    if "IPython" not in sys.modules:
        return
    from IPython.core.getipython import get_ipython

    shell: Any = get_ipython()
    if shell is not None:
        formats = shell.display_formatter.formatters
        formats["image/svg+xml"].for_type(_own(), as_svg)
        formats["image/png"].for_type(_own(), as_png)


def hues(names: Sequence[str]) -> list[str]:
    """A colour for each series: one hue for each thing, shades of it for its variants.

    A variant is what follows the first comma or bracket: ``qwen, as read`` and ``qwen,
    calibrated`` have one hue, the first of them the darkest.
    """
    things = [re.split(r"[,(]", name, maxsplit=1)[0].strip() for name in names]
    hue = {thing: COLOURS[n % len(COLOURS)] for n, thing in enumerate(dict.fromkeys(things))}
    found = []
    for at, thing in enumerate(things):
        of, number = things.count(thing), things[:at].count(thing)
        found.append(hue[thing] if of == 1 else shade(hue[thing], number / (of - 1)))
    return found


def shade(colour: str, light: float) -> str:
    """``colour`` darker at ``light`` 0 and lighter at 1, in steps that differ for every eye."""
    parts = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    dark, bright = parts * 0.5, parts + (255 - parts) * 0.15
    return "#" + "".join(f"{round(v):02x}" for v in dark + (bright - dark) * light)


def canvas(width: float = 7.0, height: float = 3.4, columns: int = 1) -> tuple[Figure, Any]:
    """An empty figure in the book's style; several panels share their vertical axis."""
    import matplotlib.pyplot as plt
    from cycler import cycler

    style: dict[Any, Any] = {
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.alpha": 0.25,
        "font.size": 10,
        "figure.dpi": PIXELS,
        "figure.constrained_layout.use": True,
        "axes.prop_cycle": cycler(color=COLOURS),
    }
    with plt.rc_context(style):
        made = plt.subplots(
            ncols=columns, figsize=(width, height), sharey=columns > 1, FigureClass=_own()
        )
        live = plt.isinteractive()
    _show_as_svg()
    if live:
        # A notebook's backend is loaded with the first figure and then switches drawing on. The
        # context has just undone that, and without it only the first figure would be shown.
        plt.ion()
    return made


def grouped_bars(
    groups: Sequence[str],
    series: Mapping[str, Sequence[Interval | float | None]],
    *,
    ylabel: str,
    line: float | Sequence[float] | None = None,
    ylim: tuple[float, float] | None = None,
) -> Figure:
    """One cluster of bars per group, one colour per series, whiskers where there is an interval.

    ``line`` is a level to compare with: one for all groups, or one for each.
    """
    fig, ax = canvas(max(6.4, 0.9 * len(groups) + 3))
    width = 0.8 / len(series)
    colours = hues(list(series))
    for number, (name, values) in enumerate(series.items()):
        x = np.arange(len(groups)) + (number - (len(series) - 1) / 2) * width
        heights, errors = _heights(values)
        ax.bar(x, heights, width * 0.92, label=name, color=colours[number])
        ax.errorbar(x, heights, yerr=errors, fmt="none", ecolor="#333333", capsize=3, lw=1)
    if line is not None:
        at = np.arange(len(groups))
        ax.hlines(
            np.broadcast_to(line, len(groups)), at - 0.48, at + 0.48, color="#666666", ls="--", lw=1
        )
    ax.set_xticks(range(len(groups)), groups)
    ax.set_ylabel(ylabel)
    if ylim is not None:
        ax.set_ylim(*ylim)
    ax.grid(axis="x", visible=False)
    if len(series) > 1:
        ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return fig


def _heights(values: Sequence[Interval | float | None]) -> tuple[Any, Any]:
    heights, low, high = [], [], []
    for v in values:
        value = v.value if isinstance(v, Interval) else (np.nan if v is None else v)
        heights.append(value)
        whole = v if isinstance(v, Interval) and v.shown else None
        low.append(value - whole.low if whole else np.nan)
        high.append(whole.high - value if whole else np.nan)
    return np.array(heights), np.array([low, high])


def credit_bars(rows: Mapping[str, Sequence[tuple[str, float, float]]]) -> Figure:
    """What each criterion pays, one panel a response.

    Args:
        rows: response name -> (criterion title, credit earned, credit possible), all as
            shares of the whole reward, the same criteria in every row.
    """
    titles = [title for title, _, _ in next(iter(rows.values()))]
    fig, axes = canvas(7.4, 0.9 + 0.3 * len(titles), columns=len(rows))
    for ax, (name, parts) in zip(axes, rows.items(), strict=True):
        y = np.arange(len(parts))
        ax.barh(y, [possible for _, _, possible in parts], color=COLOURS[0], alpha=0.18)
        ax.barh(y, [earned for _, earned, _ in parts], color=COLOURS[0])
        ax.set_title(f"{name}: reward {sum(earned for _, earned, _ in parts):.2f}", fontsize=10)
        ax.set_yticks(y, titles)
        ax.set_xlabel("share of the reward (solid: earned)")
        ax.grid(axis="y", visible=False)
    axes[0].invert_yaxis()  # the panels share it
    return fig


def strips(
    values: Mapping[str, Sequence[float]],
    *,
    xlabel: str,
    xlim: tuple[float, float] = (-0.02, 1.02),
) -> Figure:
    """Every value as a dot, one row a name, the mean as a bar."""
    fig, ax = canvas(7.0, 0.9 + 0.45 * len(values))
    rng = np.random.default_rng(0)
    for y, (name, points) in enumerate(values.items()):
        jitter = y + rng.uniform(-0.16, 0.16, len(points))
        ax.plot(points, jitter, "o", ms=4, alpha=0.55, color=COLOURS[y % len(COLOURS)], label=name)
        if points:
            ax.plot([np.mean(points)] * 2, [y - 0.3, y + 0.3], color="#333333", lw=2)
    ax.set_yticks(range(len(values)), list(values))
    ax.invert_yaxis()
    ax.set_xlim(*xlim)
    ax.set_xlabel(xlabel)
    return fig


def reward_curve(
    steps: Sequence[Sequence[float | None]], looks: Mapping[str, Mapping[int, Interval]]
) -> Figure:
    """Mean reward of each training step with the spread of its rollouts, and looks beside it.

    Args:
        steps: rewards of the rollouts of each step; ``None`` is unscored and left out.
        looks: grader -> step -> mean reward of held-out answers with its interval.
    """
    fig, ax = canvas(7.4, 3.8)
    x = np.arange(1, len(steps) + 1)
    known = [scored(step) for step in steps]
    mean = np.array([np.mean(s) if s else np.nan for s in known])
    spread = np.array([np.std(s) if s else np.nan for s in known])
    ax.fill_between(x, mean - spread, mean + spread, alpha=0.2, color=COLOURS[0], lw=0)
    ax.plot(x, mean, "-o", ms=4, color=COLOURS[0], label="rollouts (band: one standard deviation)")
    shown = [*(mean - spread), *(mean + spread)]
    for number, (name, course) in enumerate(looks.items(), 1):
        values, error = _heights(list(course.values()))
        at = np.array(list(course)) + 0.08 * (number - (len(looks) + 1) / 2)
        colour = COLOURS[-number - 3]
        ax.errorbar(at, values, yerr=error, fmt="s--", ms=5, capsize=3, color=colour, label=name)
        shown += [e for i in course.values() for e in ((i.low, i.high) if i.shown else [i.value])]
    ax.set_xlabel("GRPO step")
    ax.set_ylabel("reward")
    ax.set_ylim(max(0.0, np.nanmin(shown) - 0.05), min(1.0, np.nanmax(shown) + 0.05))
    ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(0, -0.18), ncols=2)
    return fig


def gains(panels: Mapping[str, Mapping[str, Mapping[int, Interval]]]) -> Figure:
    """Held-out gain since the first look, one panel a run, one line a grader, over the steps."""
    fig, axes = canvas(8.6, 3.6, columns=len(panels))
    for ax, (title, graders) in zip(np.atleast_1d(axes), panels.items(), strict=True):
        for number, (name, points) in enumerate(graders.items()):
            values, error = _heights(list(points.values()))
            look = {"fmt": "os"[number % 2] + "-", "color": COLOURS[(3, 2)[number % 2]]}
            at = np.array(list(points)) + 0.12 * number
            ax.errorbar(at, values, yerr=error, ms=4, capsize=3, label=name, **look)
        ax.axhline(0.0, color="#666666", lw=1, ls="--")
        ax.set_title(title, fontsize=10)
        ax.set_xlabel("GRPO step")
        ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(0, -0.2), fontsize=9)
    np.atleast_1d(axes)[0].set_ylabel("gain since the first look")
    return fig


def slopes(before: Mapping[str, Sequence[float]], after: Mapping[str, Sequence[float]]) -> Figure:
    """Each task's score before and after, one panel's worth of lines per grader."""
    fig, ax = canvas(6.4)
    for number, name in enumerate(before):
        x = np.array([0, 1]) + number * 1.6
        pairs = list(zip(before[name], after[name], strict=True))
        for a, b in pairs:
            ax.plot(x, [a, b], "-o", ms=3, alpha=0.4, color=COLOURS[number % len(COLOURS)])
        if pairs:
            means = np.mean(np.array(pairs), axis=0)
            ax.plot(x, means, "-o", lw=3, color=COLOURS[number % len(COLOURS)], label=name)
    ticks = [t + number * 1.6 for number in range(len(before)) for t in (0, 1)]
    ax.set_xticks(ticks, ["before", "after"] * len(before))
    ax.set_ylabel("HealthBench score of a response")
    ax.legend(frameon=False, title="grader", loc="upper left", bbox_to_anchor=(1, 1))
    ax.grid(axis="x", visible=False)
    return fig


def forest(rows: Mapping[str, Interval | None], *, xlabel: str, zero: float = 0.0) -> Figure:
    """Values with their intervals against a line at ``zero``; a row without data says so.

    The colour says on which side of the line the interval lies. Of an interval over too few
    units the value alone is drawn, in every figure; here it is hollow.
    """
    from matplotlib.lines import Line2D

    fig, ax = canvas(7.2, 1.2 + 0.42 * len(rows))
    seen = {}
    for y, interval in enumerate(rows.values()):
        if interval is None:
            ax.text(zero, y, " not testable here", va="center", fontsize=8, color="#666666")
            continue
        look = _side(interval, zero)
        seen[look] = True
        _, colour, mark, face = look
        if interval.shown:
            ax.plot([interval.low, interval.high], [y, y], color=colour, lw=2)
        ax.plot(interval.value, y, mark, color=colour, markerfacecolor=face)
    ax.axvline(zero, color="#666666", lw=1, ls="--")
    ax.set_yticks(range(len(rows)), list(rows))
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlabel(xlabel)
    if seen:
        keys = [
            Line2D([], [], ls="-" if face == c else "", marker=m, color=c, mfc=face, label=said)
            for said, c, m, face in sorted(seen)
        ]
        fig.legend(handles=keys, frameon=False, loc="outside lower center", ncols=2, fontsize=9)
    return fig


def _side(interval: Interval, zero: float) -> tuple[str, str, str, str]:
    """How an interval lies to the line: words, colour, mark, and the colour inside of the mark."""
    if not interval.shown:
        return "value alone: too few units", FEW, "o", "white"
    if interval.low > zero:
        return "interval above the line", ABOVE, "^", ABOVE
    if interval.high < zero:
        return "interval below the line", BELOW, "v", BELOW
    return "interval reaches the line", REACHES, "o", REACHES


def by_size(
    sizes: Sequence[float],
    series: Mapping[str, Sequence[Interval | float | None]],
    *,
    xlabel: str,
    ylabel: str,
    chance: float | None = None,
    ylim: tuple[float, float] | None = (-0.03, 1.05),
) -> Figure:
    """One line and one mark per series over a logarithmic axis of sizes, whiskers side by side.

    Without ``ylim`` the vertical axis is logarithmic, too.
    """
    fig, ax = canvas(6.8, 3.6)
    colours = hues(list(series))
    for number, (name, values) in enumerate(series.items()):
        x = np.array(sizes) * 1.06 ** (number - (len(series) - 1) / 2)
        y, error = _heights(values)
        look: dict[str, Any] = {"fmt": "os^Dv"[number % 5] + "-", "color": colours[number]}
        ax.errorbar(x, y, yerr=error, ms=5, capsize=3, label=name, **look)
    if chance is not None:
        ax.axhline(chance, color="#666666", lw=1, ls="--")
    ax.set_xscale("log")
    ax.set_xticks(list(sizes), [f"{s:g}" for s in sizes])
    ax.minorticks_off()
    if ylim is None:
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter("{x:g}")
    else:
        ax.set_ylim(*ylim)
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    if series:
        ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return fig


def cost(
    points: Mapping[tuple[str, str], tuple[float, Interval | None]], *, xlabel: str, ylabel: str
) -> Figure:
    """Quality against cost on a logarithmic axis; the best points are at the top left.

    Args:
        points: (shape, colour) -> cost and quality; equal names share a shape or a colour.
    """
    from matplotlib.lines import Line2D
    from matplotlib.ticker import LogLocator, NullFormatter

    fig, ax = canvas(6.8, 3.8)
    shapes = dict(zip(dict.fromkeys(shape for shape, _ in points), "os^Dvph", strict=False))
    colours = dict(zip(dict.fromkeys(colour for _, colour in points), COLOURS, strict=False))
    for (shape, colour), (x, y) in points.items():
        if y is not None:
            error = [[y.value - y.low], [y.high - y.value]] if y.shown else None
            look: dict[str, Any] = {"fmt": shapes[shape], "color": colours[colour]}
            ax.errorbar(x, y.value, yerr=error, capsize=2, alpha=0.85, **look)
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_ylim(-0.03, 1.05)
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    keys = [Line2D([], [], ls="", marker=m, color="#666666", label=n) for n, m in shapes.items()]
    keys += [Line2D([], [], lw=4, color=c, label=n) for n, c in colours.items()]
    ax.legend(handles=keys, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return fig


def reliability(diagrams: Mapping[str, Sequence[Bin]]) -> Figure:
    """Share of true labels against the judge's probability; the diagonal is perfect."""
    fig, ax = canvas(4.8, 4.0)
    ax.plot([0, 1], [0, 1], color="#666666", lw=1, ls="--")
    colours = hues(list(diagrams))
    for number, (name, bins) in enumerate(diagrams.items()):
        x = [b.probability for b in bins]
        y = [b.share for b in bins]
        ax.plot(x, y, "os^D"[number % 4] + "-", label=name, color=colours[number])
    ax.set_xlim(-0.02, 1.02)
    ax.set_ylim(-0.02, 1.02)
    ax.set_xlabel('probability of "met", as the judge gives it')
    ax.set_ylabel("share of criteria that are met")
    ax.legend(frameon=False, loc="upper left")
    return fig


def stages(rows: Mapping[str, Mapping[str, float]], *, xlabel: str, unit: str = "{:.0f}") -> Figure:
    """One bar a row, cut into its stages; the whole is written at the end.

    Args:
        rows: name -> stage -> amount; all rows have the same stages.
        unit: format of the whole.
    """
    fig, ax = canvas(7.0, 1.2 + 0.34 * len(rows))
    names = list(rows)
    left = np.zeros(len(rows))
    for number, stage in enumerate(dict.fromkeys(s for row in rows.values() for s in row)):
        widths = np.array([rows[name][stage] for name in names])
        ax.barh(names, widths, left=left, label=stage, color=COLOURS[number % len(COLOURS)])
        left += widths
    for at, whole in enumerate(left):
        ax.annotate(
            unit.format(whole), (whole, at), (4, 0), textcoords="offset points", va="center"
        )
    ax.invert_yaxis()
    ax.margins(x=0.1)
    ax.grid(axis="y", visible=False)
    ax.set_xlabel(xlabel)
    ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return fig
