"""The book's figures: numbers in, a matplotlib figure out, or a drawing of a few kilobytes.

In a notebook they are shown as SVG, which stays sharp at every density, with its letters as
paths, which look the same on every machine. They stand on white: the book turns them over where
it is dark. What would be a long file, thousands of points for example, is shown as PNG at twice
the density. Where neither can be seen, the figure is a text, which is its ``repr``: what is drawn,
and what is seen in it, from the same numbers. A drawing is SVG that follows the theme of the page
that it is put into: its colours are variables, set in ``rar.css``, with those of a light page
behind them.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from io import BytesIO, StringIO
from operator import itemgetter
from textwrap import fill
from typing import TYPE_CHECKING, Any, TypeAlias
from xml.etree import ElementTree

import numpy as np

from rar_lib.book.prose import plain, written
from rar_lib.core.decision import Finding
from rar_lib.core.stats import Bin, Interval, scored

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rar_lib.book.results import Judges

#: Hues of Okabe-Ito, distinguishable with any colour vision, the pale ones darkened: each has a
#: contrast of 3 to white, and to the dark page, on which the book turns a figure over.
#: The two that are most alike, gold and red, stand far from each other.
COLOURS = ("#0072B2", "#BF7C00", "#009E73", "#C2689B", "#3D9BD1", "#D55E00", "#555555")
#: Pixels of a page to an inch of a figure.
PIXELS = 110
#: Characters of an SVG; a longer figure is shown as PNG.
SVG_LIMIT = 200_000
#: How an interval lies to its line, and its colour.
ABOVE = COLOURS[0]
BELOW = COLOURS[5]
REACHES = "#6B6B6B"
FEW = "#6B6B6B"
#: Words of the key, colour, mark, and the colour inside of the mark.
Look: TypeAlias = tuple[str, str, str, str]
#: What a row of a forest shows.
Drawn: TypeAlias = Interval | Finding | None
#: How a finding is drawn, by its word.
WORD_LOOKS: dict[str, Look] = {
    "supported": ("supported", ABOVE, "^", ABOVE),
    "contradicted": ("contradicted", BELOW, "v", BELOW),
    "no difference larger than d": ("no difference larger than d", COLOURS[2], "s", COLOURS[2]),
    "undecided": ("undecided", REACHES, "o", REACHES),
}


@cache
def _own() -> type[Figure]:
    """The class of our figures: those that others draw are shown as they wish."""
    from matplotlib.figure import Figure

    class BookFigure(Figure):
        """A figure of the book; its text form says what is seen in it."""

        def __repr__(self) -> str:
            return str(self.get_label()) or super().__repr__()

    return BookFigure


#: Rows of a figure that its text names for each way to lie; the others are counted.
NAMED = 6
#: Characters of a line in the key of the arms, of which two stand beside each other: a longer
#: name goes on below.
_KEY_WIDTH = 25
_KEY_TITLE = "arm (seeds)"
LEVEL = "95 %"
#: Inches of a figure that a telephone shows whole, and of an average letter of its axes.
NARROW = 4.4
_LETTER = 0.075
#: Inches of a name that stands beside its row of bars or dots; a longer one has several lines.
_NAME = 1.65
#: Characters of a row's name that stand beside its row; longer ones stand above it.
_BESIDE = 18
Value = Interval | float | None


def _told(fig: Figure, *said: str) -> Figure:
    """The figure with what is seen in it, in sentences; empty ones are left out."""
    fig.set_label(" ".join(filter(None, said)))
    return fig


def _known(names: Sequence[str], values: Sequence[Value]) -> dict[str, Interval | float]:
    """Name -> value, of those that are drawn."""
    pairs = zip(names, values, strict=True)
    return {name: of for name, of in pairs if of is not None and not math.isnan(_middle(of))}


def _middle(of: Interval | float) -> float:
    return float(of.value if isinstance(of, Interval) else of)


def _ends(names: Sequence[str], values: Sequence[Value]) -> str:
    """A course in words: its first and its last point."""
    known = _known(names, values)
    if not known:
        return "nothing"
    drawn = list(known)
    first = drawn[0]
    last = drawn[-1]
    start = plain("{value} at {first}", value=known[first], first=first)
    if len(drawn) == 1:
        return start
    return plain("from {start} to {end} at {last}", start=start, end=known[last], last=last)


def _course_of(points: Mapping[int, Value]) -> str:
    """A course over steps of training in words."""
    return _ends([f"step {step}" for step in points], list(points.values()))


def _reach(names: Sequence[str], values: Sequence[Value]) -> str:
    """The lowest and the highest of several values, with their names."""
    known = _known(names, values)
    if len(known) < 2:
        return _ends(names, values)
    low, high = (pick(known, key=lambda name: _middle(known[name])) for pick in (min, max))
    return plain(
        "from {least} at {low} to {most} at {high}",
        least=known[low],
        low=low,
        most=known[high],
        high=high,
    )


def _each(of: Mapping[str, str]) -> str:
    """Series after series: what is seen of it."""
    said = [plain("{name}: {seen}", name=name, seen=seen) for name, seen in of.items()]
    return f"{'; '.join(said)}." if said else "Nothing is drawn."


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
        lambda match: f'{match[1]}="{float(match[2]) * PIXELS / 72:.0f}"',
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
    calibrated`` have one hue, the first of them the darkest. An arm has the same hue in every
    figure, and other things have none that is like those beside them.
    """
    things = list(map(_thing, names))
    hue = {thing: _ARMS[thing][0] for thing in things if thing in _ARMS}
    free = [one for one in COLOURS if _is_unlike(one, hue.values())]
    others = (thing for thing in dict.fromkeys(things) if thing not in hue)
    hue |= {thing: free[n % len(free)] for n, thing in enumerate(others)}
    found = []
    for at, thing in enumerate(things):
        of = things.count(thing)
        number = things[:at].count(thing)
        found.append(hue[thing] if of == 1 else shade(hue[thing], number / (of - 1)))
    return found


#: Colours nearer than this, of 441 from black to white, are taken for each other.
_ALIKE = 80


def _is_unlike(one: str, others: Iterable[str]) -> bool:
    return all(_apart(one, other) > _ALIKE for other in others)


def _apart(one: str, other: str) -> float:
    return math.dist(_parts(one), _parts(other))


def _parts(colour: str) -> list[int]:
    return [int(colour[i : i + 2], 16) for i in (1, 3, 5)]


def _thing(name: str) -> str:
    """What a series is about, without its variant."""
    return re.split(r"[,(]", name, maxsplit=1)[0].strip()


def marks(names: Sequence[str]) -> list[str]:
    """A mark for each series; an arm has the same in every figure."""
    arms = [_ARMS.get(_thing(name)) for name in names]
    return [arm[1] if arm else "os^Dv"[n % 5] for n, arm in enumerate(arms)]


def shade(colour: str, light: float) -> str:
    """``colour`` darker at ``light`` 0 and lighter at 1, in steps that differ for every eye."""
    parts = np.array(_parts(colour))
    dark = parts * 0.55
    bright = parts + (255 - parts) * 0.15
    return "#" + "".join(f"{round(part):02x}" for part in dark + (bright - dark) * light)


def canvas(
    width: float = 7.0, height: float = 3.4, columns: int = 1, rows: int = 1, *, shared: bool = True
) -> tuple[Figure, Any]:
    """An empty figure in the book's style.

    Args:
        shared: several panels have one vertical axis; else each has a unit of its own.
    """
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
            nrows=rows,
            ncols=columns,
            figsize=(width, height),
            sharey=shared and columns * rows > 1,
            FigureClass=_own(),
        )
        live = plt.isinteractive()
    _show_as_svg()
    if live:
        # A notebook's backend is loaded with the first figure and then switches drawing on. The
        # context has just undone that, and without it only the first figure would be shown.
        plt.ion()
    return made


def _on_one_scale(axes: Any) -> list[Any]:
    """The panels with one horizontal scale; what is drawn thereafter in any of them widens it."""
    first, *others = np.atleast_1d(axes)
    for ax in others:
        ax.sharex(first)
    return [first, *others]


def _key_below(fig: Figure, keys: Sequence[Any] = (), title: str = "") -> None:
    """A key below the axes, in as many columns as the figure is wide; it grows by their lines."""
    handles = keys or fig.axes[0].get_legend_handles_labels()[0]
    if not handles:
        return
    longest = max(len(line) for key in handles for line in str(key.get_label()).split("\n"))
    columns = int(fig.get_figwidth() / (0.6 + _LETTER * longest))
    columns = max(1, min(columns, len(handles)))
    lines = -(-len(handles) // columns) + bool(title)
    fig.set_figheight(fig.get_figheight() + 0.1 + 0.2 * lines)
    below: dict[str, Any] = {"loc": "outside lower center", "ncols": columns}
    fig.legend(handles=handles, frameon=False, title=title, **below)


def _wrapped(words: str, width: float = NARROW) -> str:
    """Words broken into lines that fit into so many inches."""
    return fill(words, max(8, int(width / _LETTER)), break_long_words=False)


def _row(names: Sequence[str], least: float) -> float:
    """Inches of a row whose name stands beside it: the longest name has the most lines."""
    return max(least, 0.17 * max((name.count("\n") + 1 for name in names), default=1))


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
    ticks = [_wrapped(group.replace("_", "_ "), 0.8).replace("_ ", "_") for group in groups]
    longest = max(len(line) for tick in ticks for line in tick.split("\n"))
    room = max(0.11 * len(series), _LETTER * longest) + 0.1
    fig, ax = canvas(max(NARROW, 0.7 + room * len(groups)), 3.2)
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
    ax.set_xticks(range(len(groups)), ticks)
    ax.set_ylabel(_wrapped(ylabel, 3.0))
    if ylim is not None:
        ax.set_ylim(*ylim)
    ax.grid(axis="x", visible=False)
    if len(series) > 1:
        _key_below(fig)
    return _told(
        fig,
        plain("Groups of vertical bars: {groups}.", groups=list(groups)),
        plain("Vertical axis: {ylabel}.", ylabel=ylabel),
        _each({name: _reach(groups, values) for name, values in series.items()}),
        _compared(groups, series, line),
    )


def _compared(
    groups: Sequence[str],
    series: Mapping[str, Sequence[Value]],
    line: float | Sequence[float] | None,
) -> str:
    """What the dashed lines of bars show: how many bars end above them."""
    if line is None:
        return ""
    levels = dict(zip(groups, np.broadcast_to(line, len(groups)).tolist(), strict=True))
    drawn = []
    for values in series.values():
        known = _known(groups, values)
        drawn += [_middle(of) > levels[name] for name, of in known.items()]
    return plain(
        "Dashed lines at {levels}; {above} of {bars} bars end above theirs.",
        levels=sorted(set(levels.values())),
        above=sum(drawn),
        bars=len(drawn),
    )


def _heights(values: Sequence[Interval | float | None]) -> tuple[Any, Any]:
    heights = []
    low = []
    high = []
    for given in values:
        value = given.value if isinstance(given, Interval) else (np.nan if given is None else given)
        heights.append(value)
        whole = given if isinstance(given, Interval) and given.shown else None
        low.append(value - whole.low if whole else np.nan)
        high.append(whole.high - value if whole else np.nan)
    return np.array(heights), np.array([low, high])


def _whiskers(error: Any) -> Any:
    """The errors to draw; ``None`` where there is no interval: the key then shows no whiskers."""
    return error if np.isfinite(error).any() else None


def credit_bars(rows: Mapping[str, Sequence[tuple[str, float, float]]]) -> Figure:
    """What each criterion pays, one panel a response.

    Args:
        rows: response name -> (criterion title, credit earned, credit possible), all as
            shares of the whole reward, the same criteria in every row.
    """
    titles = [title for title, _, _ in next(iter(rows.values()))]
    shown = [_wrapped(title, _NAME) for title in titles]
    fig, axes = canvas(NARROW, 1.0 + _row(shown, 0.3) * len(titles), columns=len(rows))
    for ax, (name, parts) in zip(axes, rows.items(), strict=True):
        y = np.arange(len(parts))
        whole = [possible for _, _, possible in parts]
        # Where it is dark the pale part alone would be as dark as the page.
        ax.barh(y, whole, color=(COLOURS[0], 0.25), edgecolor=COLOURS[0], lw=1)
        ax.barh(y, [earned for _, earned, _ in parts], color=COLOURS[0])
        reward = sum(earned for _, earned, _ in parts)
        ax.set_title(f"{name}:\nreward {reward:.2f}", fontsize=10)
        ax.set_yticks(y, shown)
        ax.locator_params(axis="x", nbins=3)
        ax.grid(axis="y", visible=False)
    fig.supxlabel("share of the reward (solid: earned)", fontsize=10)
    axes[0].invert_yaxis()  # the panels share it
    about = (
        "Horizontal bars, one panel a response and one bar a criterion: pale what it could earn, "
        "solid what it earns, as shares of the reward."
    )
    return _told(fig, about, _each({name: _earned(parts) for name, parts in rows.items()}))


def _earned(parts: Sequence[tuple[str, float, float]]) -> str:
    """What one response earns: its reward, and the criteria that pay nothing."""
    lost = [f"“{title}”" for title, earned, _ in parts if earned == 0.0]
    return plain(
        "reward {reward}, full credit on {full} of {criteria} criteria, without credit: {lost}",
        reward=float(sum(earned for _, earned, _ in parts)),
        full=sum(earned == possible for _, earned, possible in parts),
        criteria=len(parts),
        lost=lost,
    )


#: Dots of a row that need no room to lie beside each other.
FEW_DOTS = 5


def strips(
    values: Mapping[str, Sequence[float]],
    *,
    xlabel: str,
    xlim: tuple[float, float] | None = None,
    line: float | None = None,
) -> Figure:
    """Every value as a dot, one row a name, the mean as a bar.

    Args:
        xlim: ends of the axis, by default those of the values.
        line: a level to compare with, dashed.
    """
    from matplotlib.lines import Line2D

    few = max(map(len, values.values()), default=0) <= FEW_DOTS
    shown = [_wrapped(name, _NAME) for name in values]
    fig, ax = canvas(NARROW, 0.7 + _row(shown, 0.3 if few else 0.45) * len(values))
    arms = dict(zip(values, hues(list(values)), strict=True))
    rng = np.random.default_rng(0)
    half = 0.0 if few else 0.16
    if line is not None:
        ax.axvline(line, color="#666666", lw=1, ls="--")
    for y, (name, points) in enumerate(values.items()):
        jitter = y + rng.uniform(-half, half, len(points))
        colour = arms[name] if _thing(name) in _ARMS else COLOURS[0]
        look: dict[str, Any] = {"ms": 6 if few else 4, "color": colour}
        ax.plot(points, jitter, "o", alpha=0.55, label=name, **look)
        if points:
            ax.plot([np.mean(points)] * 2, [y - 0.3, y + 0.3], color="#333333", lw=2)
    ax.set_yticks(range(len(values)), shown)
    ax.set_ylim(len(values) - 0.4, -0.6)
    if xlim is not None:
        ax.set_xlim(*xlim)
    ax.locator_params(axis="x", nbins=6)
    ax.set_xlabel(_wrapped(xlabel, NARROW - _NAME))
    mean: dict[str, Any] = {
        "marker": "|",
        "ms": 12,
        "mew": 2,
        "color": "#333333",
        "label": "mean of the row",
    }
    _key_below(fig, [Line2D([], [], ls="", **mean)])
    seen = {}
    for name, points in values.items():
        seen[name] = "no dot"
        if points:
            seen[name] = plain(
                "{dots} from {low} to {high}, mean {mean}",
                dots=len(points),
                low=float(min(points)),
                high=float(max(points)),
                mean=float(np.mean(points)),
            )
    about = plain("Rows of dots with a bar at the mean; horizontal axis: {x}.", x=xlabel)
    level = "" if line is None else plain("A dashed line at {line}.", line=line)
    return _told(fig, about, level, _each(seen))


#: Colours of the graders that look at held-out answers.
_GRADERS = (BELOW, COLOURS[2])


def reward_curve(
    steps: Sequence[Sequence[float | None]], looks: Mapping[str, Mapping[int, Interval]]
) -> Figure:
    """Mean reward of each training step with the spread of its rollouts, and looks beside it.

    Args:
        steps: rewards of the rollouts of each step; ``None`` is unscored and left out.
        looks: grader -> step -> mean reward of held-out answers with its interval.
    """
    fig, ax = canvas(NARROW, 3.2)
    x = np.arange(1, len(steps) + 1)
    known = [scored(step) for step in steps]
    mean = np.array([np.mean(rewards) if rewards else np.nan for rewards in known])
    spread = np.array([np.std(rewards) if rewards else np.nan for rewards in known])
    ax.fill_between(x, mean - spread, mean + spread, alpha=0.2, color=COLOURS[0], lw=0)
    ax.plot(x, mean, "-o", ms=4, color=COLOURS[0], label="rollouts (band: one standard deviation)")
    shown = [*(mean - spread), *(mean + spread)]
    for number, (name, course) in enumerate(looks.items()):
        values, error = _heights(list(course.values()))
        at = np.array(list(course)) + 0.08 * (number - (len(looks) - 1) / 2)
        colour = _GRADERS[number % len(_GRADERS)]
        ax.errorbar(
            at, values, yerr=_whiskers(error), fmt="s--", ms=5, capsize=3, color=colour, label=name
        )
        for of in course.values():
            shown += (of.low, of.high) if of.shown else (of.value,)
    ax.set_xlabel("GRPO step")
    ax.set_ylabel("reward")
    ax.set_ylim(max(0.0, np.nanmin(shown) - 0.05), min(1.0, np.nanmax(shown) + 0.05))
    _key_below(fig)
    rollouts = _course_of(dict(zip(x, mean, strict=True)))
    held_out = {name: _course_of(course) for name, course in looks.items()}
    return _told(
        fig,
        "Reward over the steps: a line in a band of one standard deviation for the rollouts, "
        "dashed lines with whiskers for held-out answers.",
        _each({"Mean of the rollouts": rollouts} | held_out),
    )


#: A step of training: box -> centre in inches and words; arrow: from, to, whether before training.
_BOXES: dict[str, tuple[float, float, str]] = {
    "reference": (0.62, 3.5, "reference\nanswer"),
    "writer": (2.17, 3.5, "writer\n(before\ntraining)"),
    "rubric": (3.72, 3.5, "rubric of\nthis question"),
    "question": (0.62, 2.5, "question"),
    "judge": (3.72, 2.5, "judge\n(it sees the\nquestion, too)"),
    "policy": (0.62, 1.5, "policy\n(base +\nadapter)"),
    "answers": (2.17, 1.5, "a group\nof answers"),
    "rewards": (3.72, 1.5, "a reward\nan answer"),
    "update": (0.62, 0.5, "update of\nthe adapter\nalone"),
    "advantages": (3.72, 0.5, "advantages\nwithin\nthe group"),
}
_BOX_WIDTH = 1.08
_BOX_HEIGHT = 0.52
_ARROWS: tuple[tuple[str, str, bool], ...] = (
    ("reference", "writer", True),
    ("question", "writer", True),
    ("writer", "rubric", True),
    ("question", "policy", False),
    ("policy", "answers", False),
    ("answers", "judge", False),
    ("rubric", "judge", False),
    ("judge", "rewards", False),
    ("rewards", "advantages", False),
    ("advantages", "update", False),
    ("update", "policy", False),
)


def step_flow() -> Figure:
    """Who is shown what in a step of training: the policy sees neither rubric nor reference.

    It is upright and as narrow as its words allow, so that a telephone shows it whole.
    """
    from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

    fig, ax = canvas(4.34, 3.8)
    fig.set_layout_engine("constrained", w_pad=0, h_pad=0)  # an inch of the axes is one on paper
    ax.set_axis_off()
    ax.set_xlim(0.0, 4.34)
    ax.set_ylim(0.1, 3.9)
    boxes = {}
    for name, (x, y, words) in _BOXES.items():
        colour = ABOVE if name in ("policy", "judge", "writer") else "#555555"
        corner = (x - _BOX_WIDTH / 2, y - _BOX_HEIGHT / 2)
        frame: dict[str, Any] = {"boxstyle": "round,pad=0.06", "fc": "white", "ec": colour}
        boxes[name] = FancyBboxPatch(corner, _BOX_WIDTH, _BOX_HEIGHT, lw=1.4, **frame)
        ax.add_patch(boxes[name])
        ax.text(x, y, words, ha="center", va="center", fontsize=9, color="#222222")
    for start, end, before in _ARROWS:
        look: dict[str, Any] = {"color": "#555555", "ls": "--" if before else "-", "shrinkA": 0}
        arrow = FancyArrowPatch(
            _BOXES[start][:2],
            _BOXES[end][:2],
            patchA=boxes[start],
            patchB=boxes[end],
            arrowstyle="-|>",
            mutation_scale=11,
            **look,
        )
        ax.add_patch(arrow)
    return fig


def gains(panels: Mapping[str, Mapping[str, Mapping[int, Interval]]]) -> Figure:
    """Held-out gain since the first look, one panel a run, one line a grader, over the steps.

    At the first look it is zero by definition, so no interval is drawn there.
    """
    fig, axes = canvas(NARROW, 3.2, columns=len(panels))
    names = list(dict.fromkeys(name for graders in panels.values() for name in graders))
    keys: dict[str, Any] = {}
    for ax, (title, graders) in zip(np.atleast_1d(axes), panels.items(), strict=True):
        for name, given in graders.items():
            number = names.index(name)
            points = _from_zero(given)
            values, error = _heights(list(points.values()))
            look: dict[str, Any] = {"fmt": "os"[number % 2] + "-", "color": _GRADERS[number % 2]}
            look |= {"yerr": _whiskers(error), "capsize": 3, "label": name}
            at = np.array(list(points)) + 0.12 * number
            keys[name] = ax.errorbar(at, values, ms=4, **look)
        ax.axhline(0.0, color="#666666", lw=1, ls="--")
        ax.set_title(_wrapped(title, (NARROW - 0.4) / len(panels)), fontsize=9)
        ax.set_xlabel("GRPO step")
        ax.locator_params(axis="x", nbins=6, integer=True)
    np.atleast_1d(axes)[0].set_ylabel("gain since the first look")
    _key_below(fig, [keys[name] for name in names])
    seen = {}
    for title, graders in panels.items():
        for name, given in graders.items():
            seen[f"{title}, {name}"] = _course_of(_from_zero(given))
    about = "Held-out gain since the first look over the steps, one panel a run, one line a grader."
    return _told(fig, about, _each(seen))


def _from_zero(points: Mapping[int, Interval]) -> dict[int, Value]:
    """The gains with that of the first look, against which all are measured, as a bare number."""
    first = min(points, default=None)
    return {step: of.value if step == first else of for step, of in points.items()}


def slopes(before: Mapping[str, Sequence[float]], after: Mapping[str, Sequence[float]]) -> Figure:
    """Each task's score before and after, one panel's worth of lines per grader."""
    fig, ax = canvas(NARROW)
    for number, name in enumerate(before):
        x = np.array([0, 1]) + number * 1.6
        pairs = list(zip(before[name], after[name], strict=True))
        for start, end in pairs:
            ax.plot(x, [start, end], "-o", ms=3, alpha=0.4, color=COLOURS[number % len(COLOURS)])
        if pairs:
            means = np.mean(np.array(pairs), axis=0)
            ax.plot(x, means, "-o", lw=3, color=COLOURS[number % len(COLOURS)], label=name)
    ticks = [side + number * 1.6 for number in range(len(before)) for side in (0, 1)]
    ax.set_xticks(ticks, ["before", "after"] * len(before))
    ax.set_ylabel("score of a response")
    _key_below(fig, title="grader")
    ax.grid(axis="x", visible=False)
    about = "Thin lines from before to after training, one a task, and a thick one of their mean."
    return _told(fig, about, _each({name: _moved(before[name], after[name]) for name in before}))


def _moved(before: Sequence[float], after: Sequence[float]) -> str:
    """What the lines of one grader do."""
    if not before:
        return "no task"
    gains = np.array(after) - np.array(before)
    return plain(
        "mean from {start} to {end}, {up} of {tasks} tasks up, {down} down",
        start=float(np.mean(before)),
        end=float(np.mean(after)),
        up=int((gains > 0).sum()),
        tasks=len(gains),
        down=int((gains < 0).sum()),
    )


def forest(rows: Mapping[str, Drawn], *, xlabel: str, zero: float = 0.0) -> Figure:
    """Values with their intervals against a line at ``zero``; a row without data says so.

    The colour says on which side of the line an interval lies. Of a finding it says the word: an
    interval stands for itself, while a finding is decided among others, so that its interval may
    clear the line without deciding anything. Of an interval over too few units the value alone is
    drawn, in every figure; here it is hollow.
    """
    return forests({"": rows}, xlabel=xlabel, zero=zero)


def forests(panels: Mapping[str, Mapping[str, Drawn]], *, xlabel: str, zero: float = 0.0) -> Figure:
    """Several forests side by side, which share their rows and their scale.

    Args:
        panels: title -> row -> interval or finding; a row that one panel lacks is empty there.
    """
    names = list(dict.fromkeys(name for rows in panels.values() for name in rows))
    width = max(NARROW, 1.4 * len(panels))
    panel = width / len(panels)
    beside = len(panels) == 1 and max(map(len, names), default=0) <= _BESIDE
    shown = [_wrapped(name, width - 0.4) for name in names]
    row = 0.28 + 0.16 * max((name.count("\n") + 1 for name in shown), default=1)
    fig, axes = canvas(width, 0.8 + row * len(names), columns=len(panels))
    seen: set[Look] = set()
    drawn = _on_one_scale(axes)
    for ax, (title, rows) in zip(drawn, panels.items(), strict=True):
        seen |= _intervals(ax, [(names.index(name), of) for name, of in rows.items()], zero)
        ax.axvline(zero, color="#666666", lw=1, ls="--")
        ax.set_xlabel(_wrapped(xlabel, panel))
        ax.set_title(_wrapped(title, panel - 0.2), fontsize=10)
        ax.patch.set_visible(False)  # a long name goes on over the next panel
    drawn[0].locator_params(axis="x", nbins=2 + int(panel))
    _name_rows(drawn[0], shown, beside=beside)
    _key_of_sides(fig, seen)
    about = plain(
        "Points with horizontal {level} intervals beside a dashed line at {zero}, one row a name; "
        "horizontal axis: {xlabel}.",
        level=LEVEL,
        zero=f"{zero:g}",
        xlabel=xlabel,
    )
    lie = [_told_of(title, rows, zero) for title, rows in panels.items()]
    return _told(fig, about, *lie)


def _name_rows(ax: Any, names: Sequence[str], *, beside: bool) -> None:
    """The rows' names at the left, or above the rows, where they leave the width to the values."""
    ax.set_yticks(range(len(names)), names if beside else [""] * len(names))
    ax.set_ylim(len(names) - 0.5, -0.5 if beside else -0.8)
    for y, name in enumerate(() if beside else names):
        place: dict[str, Any] = {"xytext": (3, 6), "textcoords": "offset points", "va": "bottom"}
        said = ax.annotate(name, (0, y), xycoords=ax.get_yaxis_transform(), **place)
        said.set(fontsize=9, in_layout=False, bbox={"fc": "white", "ec": "none", "pad": 0.5})


def _told_of(title: str, rows: Mapping[str, Drawn], zero: float) -> str:
    """How the intervals of one panel lie, or what was found, and which reach farthest."""
    sides: dict[str, list[str]] = {}
    for name, of in rows.items():
        look = _look_of(of, zero)
        sides.setdefault(look[0] if look else "not testable here", []).append(name)
    lie = {side.capitalize(): _counted(names, len(rows)) for side, names in sides.items()}
    far = _reach(list(rows), [_interval(of) for of in rows.values()])
    values = plain("Values reach {far}.", far=far) if far != "nothing" else ""
    return " ".join(
        filter(None, [plain("Panel {t}:", t=title) if title else "", _each(lie), values])
    )


def _counted(names: Sequence[str], rows: int) -> str:
    """So many of the rows, and which, of many the first."""
    more = len(names) - NAMED
    shown = [f"“{name}”" for name in names[:NAMED]]  # a name may hold commas of its own
    shown += [f"{more} more"] if more > 0 else []
    return plain("{count} of {rows} ({names})", count=len(names), rows=rows, names=shown)


def _intervals(ax: Any, rows: Sequence[tuple[int, Drawn]], zero: float) -> set[Look]:
    """Draw one panel of a forest; the looks that were used."""
    seen = set()
    for y, of in rows:
        interval = _interval(of)
        look = _look_of(of, zero)
        if interval is None or look is None:
            ax.text(zero, y, " not testable here", va="center", fontsize=8, color="#666666")
            continue
        seen.add(look)
        _, colour, mark, face = look
        if interval.shown:
            ax.plot([interval.low, interval.high], [y, y], color=colour, lw=2)
        ax.plot(interval.value, y, mark, color=colour, markerfacecolor=face)
    return seen


def _key_of_sides(fig: Figure, seen: Collection[Look]) -> None:
    from matplotlib.lines import Line2D

    keys = []
    for said, colour, mark, face in sorted(seen):
        line = "-" if face == colour else ""
        keys.append(Line2D([], [], ls=line, marker=mark, color=colour, mfc=face, label=said))
    if keys:
        _key_below(fig, keys)


def arm_curves(
    arms: Mapping[str, Sequence[Mapping[int, float]]],
    *,
    ylabel: str,
    panels: Mapping[str, Sequence[str]] | None = None,
) -> Figure:
    """Held-out outcome over the steps: a look an arm, a thin line a seed, a thick one their mean.

    Args:
        arms: arm -> for each seed: step -> outcome.
        panels: title -> the arms in it, where one panel would hold too many; they stand below
            each other, share their axes, and each has a key of its own.
    """
    split = panels or {"": list(arms)}
    alone = len(split) == 1
    labels = {name: fill(f"{name} ({len(of)})", _KEY_WIDTH) for name, of in arms.items()}
    lines = sum(_lines(list(map(labels.__getitem__, names))) for names in split.values())
    height = 3.2 if alone else 2.9 * len(split) + 0.16 * lines
    fig, axes = canvas(NARROW, height, rows=len(split))
    drawn = _on_one_scale(axes)
    means: dict[str, str] = {}
    for ax, (title, names) in zip(drawn, split.items(), strict=True):
        for name, look in _arm_looks(names).items():
            means |= _arm_curve(ax, name, arms[name], look | {"label": labels[name]})
        ax.set_xlabel("training step")  # an arm that imitates takes no GRPO steps
        ax.set_ylabel(_wrapped(ylabel, 2.2))
        ax.locator_params(axis="x", nbins=6, integer=True, steps=[1, 2, 3, 5, 10])
        if not alone:
            ax.set_title(title, fontsize=10)
            _key_of_panel(ax)
    if alone:
        _key_below(fig, _from_the_top(drawn[0]), _KEY_TITLE)
    about = plain("Lines over the steps, thin ones of single seeds; vertical axis: {y}.", y=ylabel)
    titled = "" if alone else plain("Panels: {titles}.", titles=list(split))
    return _told(fig, about, titled, _each(means))


def _key_of_panel(ax: Any) -> None:
    """The key of one panel of several, in two columns below it."""
    key: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (-0.12, -0.22), "fontsize": 9}
    key |= {"title": _KEY_TITLE, "ncols": 2, "columnspacing": 0.6, "handletextpad": 0.5}
    ax.legend(handles=_from_the_top(ax), frameon=False, **key)


def _lines(labels: Sequence[str]) -> int:
    """Lines that a key in two columns takes at most, with its title."""
    lines = sorted((label.count("\n") + 1 for label in labels), reverse=True)
    return 1 + sum(lines[: -(-len(lines) // 2)])


def _arm_looks(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """How each arm of a panel is drawn: lines of one hue differ by their dashes, too."""
    colours = hues(names)
    found: dict[str, dict[str, Any]] = {}
    for name, colour, mark in zip(names, colours, marks(names), strict=True):
        alike = [
            one for one in found if colour == found[one]["color"] or _thing(one) == _thing(name)
        ]
        line = ("-", "--", ":", "-.")[len(alike) % 4]
        found[name] = {"color": colour, "ls": line, "marker": mark}
    return found


def _from_the_top(ax: Any) -> list[Any]:
    """The named lines of a panel as their ends lie above each other."""
    lines = ax.get_legend_handles_labels()[0]
    return sorted(lines, key=lambda line: line.get_ydata()[-1], reverse=True)


def _arm_curve(
    ax: Any, name: str, seeds: Sequence[Mapping[int, float]], look: Mapping[str, Any]
) -> dict[str, str]:
    """Draw one arm; whose mean it is -> its course in words."""
    thin = {key: look[key] for key in ("color", "ls")}
    for course in seeds if len(seeds) > 1 else ():
        ax.plot(list(course), list(course.values()), lw=1.1, alpha=0.6, **thin)
    steps = sorted(set.intersection(*(set(course) for course in seeds)))
    whole = [itemgetter(*steps)(course) for course in seeds]
    mean = np.reshape(whole, (len(seeds), len(steps))).mean(axis=0)
    ax.plot(steps, mean, ms=4, lw=2.2, **look)
    whose = f"{name}, mean of {len(seeds)} seed{'s' * (len(seeds) != 1)}"
    return {whose: _course_of(dict(zip(steps, mean, strict=True)))}


def _interval(of: Drawn) -> Interval | None:
    return of.difference if isinstance(of, Finding) else of


def _look_of(of: Drawn, zero: float) -> Look | None:
    """How a row is drawn; ``None`` where there is nothing to draw."""
    if isinstance(of, Finding):
        return None if of.difference is None else WORD_LOOKS.get(of.word)
    return None if of is None else _side(of, zero)


def _side(interval: Interval, zero: float) -> Look:
    """How an interval lies to the line."""
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

    Without whiskers the marks stand where their sizes are.

    Without ``ylim`` the vertical axis is logarithmic, too.
    """
    fig, ax = canvas(NARROW, 3.3)
    colours = hues(list(series))
    points = marks(list(series))
    whiskers = any(_whiskers(_heights(values)[1]) is not None for values in series.values())
    for number, (name, values) in enumerate(series.items()):
        aside = number - (len(series) - 1) / 2 if whiskers else 0.0
        y, error = _heights(values)
        look: dict[str, Any] = {"fmt": points[number] + "-", "color": colours[number]}
        look |= {"yerr": _whiskers(error), "capsize": 3, "label": name}
        ax.errorbar(np.array(sizes) * 1.06**aside, y, ms=5, **look)
    if chance is not None:
        ax.axhline(chance, color="#666666", lw=1, ls="--")
    ax.set_xscale("log")
    ax.set_xticks(list(sizes), [f"{size:g}" for size in sizes])
    ax.minorticks_off()
    if ylim is None:
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter("{x:g}")
        from matplotlib.ticker import LogFormatter

        ax.yaxis.set_minor_formatter(LogFormatter())  # 60, where the default writes 6 x 10^1
    else:
        ax.set_ylim(*ylim)
    ax.set_xlabel(xlabel)
    ax.set_ylabel(_wrapped(ylabel, 3.2))
    _key_below(fig)
    at = [f"{size:g}" for size in sizes]
    drawn: dict[str, Interval | float] = {}
    for name, of in series.items():
        drawn |= _known([f"{name} at {size}" for size in at], of)
    highest = max(drawn.items(), key=lambda point: _middle(point[1]), default=None)
    return _told(
        fig,
        plain("Lines over a logarithmic axis: {x}. Vertical axis: {y}.", x=xlabel, y=ylabel),
        _each({name: _ends(at, values) for name, values in series.items()}),
        plain("Highest: {name}, {value}.", name=highest[0], value=highest[1]) if highest else "",
        plain("A dashed line at {chance}.", chance=chance) if chance is not None else "",
    )


def cost(
    points: Mapping[tuple[str, str], tuple[float, Interval | None]], *, xlabel: str, ylabel: str
) -> Figure:
    """Quality against cost on a logarithmic axis; the best points are at the top left.

    Args:
        points: (shape, colour) -> cost and quality; equal names share a shape or a colour.
    """
    from matplotlib.lines import Line2D
    from matplotlib.ticker import LogLocator, NullFormatter

    fig, ax = canvas(NARROW, 3.4)
    shapes = dict(zip(dict.fromkeys(shape for shape, _ in points), "os^Dvph", strict=False))
    colouring = list(dict.fromkeys(colour for _, colour in points))
    colours = dict(zip(colouring, hues(colouring), strict=True))
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
    keys = [Line2D([], [], lw=4, color=colour, label=name) for name, colour in colours.items()]
    for name, mark in shapes.items():
        keys.append(Line2D([], [], ls="", marker=mark, color="#666666", label=name))
    _key_below(fig, keys)
    about = plain(
        "Points with whiskers over {x}, logarithmic; vertical axis: {y}.", x=xlabel, y=ylabel
    )
    seen = {
        ", ".join(name): plain("{value} for {price}", value=value, price=f"{price:.3g}")
        for name, (price, value) in points.items()
        if value is not None
    }
    return _told(fig, about, _each(seen))


#: What grows with the work, by its name in ``growth.json``: the size in words, its cost, its unit.
GROWS = {
    "criteria": ("criteria in the rubric", "seconds_per_grade", "seconds a grade"),
    "in_flight": ("grades in flight", "grades_per_s", "grades a second"),
    "rollouts": ("rollouts a step", "seconds_per_step", "seconds a step"),
}
_PROPORTION: dict[str, Any] = {"color": "#666666", "ls": "--", "lw": 1}


def growth(record: Mapping[str, Any]) -> Figure:
    """What judging costs as the work grows: a panel for each kind of work that was measured.

    Both axes of a panel are logarithmic, so that growth in proportion is a straight line; one
    through the first size is drawn dashed. Beside each size stands the memory that was in use.

    Args:
        record: ``growth.json``; for each name of ``GROWS`` its ``rows``, small ones first, with
            ``memory_gb`` or ``None``, and its ``slope``. At least one has rows.
    """
    there = [name for name in GROWS if record[name]["rows"]]
    fig, axes = canvas(NARROW, 2.4 * len(there), rows=len(there), shared=False)
    for name, ax in zip(there, np.atleast_1d(axes), strict=True):
        _growing(ax, name, record[name])
    _key_below(fig)
    about = (
        "Lines beside dashed ones of growth in proportion; both axes of a panel are logarithmic."
    )
    seen = {}
    for name, (size, cost, unit) in GROWS.items():
        named = plain("{unit} over {size}", unit=unit.capitalize(), size=size)
        seen[named] = _grown(name, cost, record[name])
    return _told(fig, about, _each(seen))


def _growing(ax: Any, name: str, found: Mapping[str, Any]) -> None:
    """One panel of :func:`growth`."""
    from matplotlib.ticker import LogLocator

    size, cost, unit = GROWS[name]
    x = [row[name] for row in found["rows"]]
    y = [row[cost] for row in found["rows"]]
    ax.plot(x, y, "o-", ms=5, color=COLOURS[0], label="measured, with the memory in use")
    label = "growth in proportion: slope 1"
    ax.plot(x, [y[0] * at / x[0] for at in x], **_PROPORTION, label=label)
    for at, row in zip(zip(x, y, strict=True), found["rows"], strict=True):
        look = {"textcoords": "offset points", "fontsize": 8, "color": "#333333"}
        ax.annotate(_gb(row), at, (4, -11), **look)
    ax.set(xscale="log", yscale="log", xlabel=size, ylabel=unit)
    slope = found["slope"]
    ax.set_title("" if slope is None else plain("slope {slope}", slope=slope), fontsize=10)
    ax.margins(0.22)
    ax.set_xticks(x, [f"{at:g}" for at in x])
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.minorticks_off()


def _grown(name: str, cost: str, found: Mapping[str, Any]) -> str:
    """A panel of :func:`growth` in words: every size with its cost and its memory."""
    if not found["rows"]:
        return NOT_YET
    points = []
    for row in found["rows"]:
        said = plain("{cost} at {size}", cost=f"{row[cost]:.3g}", size=row[name])
        points.append(f"{said} ({_gb(row)})" if _gb(row) else said)
    if found["slope"] is None:
        return plain("{points}", points=points)
    return plain("{points}, slope {slope}", points=points, slope=found["slope"])


def _gb(row: Mapping[str, Any]) -> str:
    """Memory with its unit; empty where it was not recorded."""
    return "" if row["memory_gb"] is None else f"{row['memory_gb']:.1f} GB"


def reliability(diagrams: Mapping[str, Sequence[Bin]]) -> Figure:
    """Share of true labels against the judge's probability; the diagonal is perfect."""
    fig, ax = canvas(NARROW, 3.9)
    ax.plot([0, 1], [0, 1], color="#666666", lw=1, ls="--")
    colours = hues(list(diagrams))
    for number, (name, bins) in enumerate(diagrams.items()):
        x = [one.probability for one in bins]
        y = [one.share for one in bins]
        ax.plot(x, y, "os^D"[number % 4] + "-", label=name, color=colours[number])
    ax.set_xlim(-0.02, 1.02)
    ax.set_ylim(-0.02, 1.02)
    ax.set_xlabel('stated probability of "met"')
    ax.set_ylabel("share of criteria that are met")
    _key_below(fig)
    seen = {}
    for name, bins in diagrams.items():
        said = [f"probability {written(one.probability)}" for one in bins]
        seen[name] = _ends(said, [one.share for one in bins])
    about = (
        "Share of criteria that are met against the stated probability, beside the dashed "
        "diagonal of a judge that is never off."
    )
    return _told(fig, about, _each(seen))


def stages(rows: Mapping[str, Mapping[str, float]], *, xlabel: str, unit: str = "{:.0f}") -> Figure:
    """One bar a row, cut into its stages; the whole is written at the end.

    Args:
        rows: name -> stage -> amount; all rows have the same stages.
        unit: format of the whole.
    """
    names = list(rows)
    tall = max((name.count("\n") + 1 for name in names), default=1)
    fig, ax = canvas(NARROW, 0.8 + max(0.34, 0.2 * tall) * len(rows))
    left = np.zeros(len(rows))
    for number, stage in enumerate(dict.fromkeys(name for row in rows.values() for name in row)):
        widths = np.array([rows[name][stage] for name in names])
        ax.barh(names, widths, left=left, label=stage, color=COLOURS[number % len(COLOURS)])
        left += widths
    for at, whole in enumerate(left):
        ax.annotate(
            unit.format(whole), (whole, at), (4, 0), textcoords="offset points", va="center"
        )
    ax.invert_yaxis()
    ax.margins(x=0.15)
    ax.grid(axis="y", visible=False)
    ax.set_xlabel(xlabel)
    _key_below(fig)
    seen = {}
    for name, whole in zip(names, left, strict=True):
        longest = max(rows[name], key=rows[name].__getitem__)
        seen[name] = plain(
            "{whole}, most of it {longest}", whole=unit.format(whole), longest=longest
        )
    about = plain("Horizontal bars cut into stages; horizontal axis: {x}.", x=xlabel)
    return _told(fig, about, _each(seen))


def group(rewards: Sequence[float | None], advantages: Sequence[float | None]) -> Figure:
    """The responses of one group: their rewards about the mean, and what GRPO makes of them.

    Args:
        rewards: in [0, 1], ``None`` for unscored.
        advantages: of the same responses, in standard deviations.
    """
    fig, (left, right) = canvas(NARROW, 1.2 + 0.32 * len(rewards), columns=2)
    y = np.arange(len(rewards))
    mean = float(np.mean(scored(rewards))) if scored(rewards) else None
    for ax, values, label in ((left, rewards, "reward"), (right, advantages, "advantage")):
        for at, value in enumerate(values):
            if value is None:
                ax.text(0, at, " unscored", va="center", fontsize=8, color="#666666")
        colours = [
            BELOW if advantage is not None and advantage < 0 else COLOURS[0]
            for advantage in advantages
        ]
        ax.barh(y, [0.0 if value is None else value for value in values], color=colours)
        ax.set_xlabel(label)
        ax.grid(axis="y", visible=False)
    if mean is not None:
        left.axvline(mean, color="#333333", lw=1, ls="--", label="mean of the group")
        _key_below(fig)
    right.axvline(0.0, color="#333333", lw=1)
    left.set_xlim(0, 1)
    names = [f"response {n}" for n in range(1, len(rewards) + 1)]
    left.set_yticks(y, names)
    left.invert_yaxis()  # the panels share it
    about = (
        "Two panels of horizontal bars with a row for each response: rewards beside a dashed line "
        "at their mean, and the advantages, in another colour where they are negative."
    )
    seen = {"Rewards": _reach(names, rewards), "Advantages": _reach(names, advantages)}
    below = sum(advantage < 0 for advantage in scored(advantages))
    counts = plain(
        "Mean reward: {mean}. Below it: {below} of {all}; unscored: {unscored}.",
        mean=mean,
        below=below,
        all=len(rewards),
        unscored=sum(reward is None for reward in rewards),
    )
    return _told(fig, about, _each(seen), counts)


def alternatives(
    tokens: Mapping[str, Mapping[str, float]], *, readable: Collection[str], most: int = 5
) -> Figure:
    """What a judge might have said at the place that is read, one panel a question.

    Args:
        tokens: question -> token as shown -> its probability in [0, 1].
        readable: tokens that answer; they are drawn solid, the others pale.
        most: tokens a panel, the likeliest.
    """
    rows = -(-len(tokens) // 2)
    fig, axes = canvas(NARROW, 2.1 * rows, columns=min(2, len(tokens)), rows=rows)
    panels = list(np.ravel(axes))
    seen = {}
    pale = False
    for ax, (name, likely) in zip(panels, tokens.items(), strict=False):
        best = sorted(likely.items(), key=lambda item: -item[1])[:most]
        for at, (token, p) in enumerate(best):
            ax.bar(at, p, color=COLOURS[0], alpha=1.0 if token in readable else 0.25)
        # A dollar sign would begin a formula.
        shown = [token.replace("$", r"\$") for token, _ in best]
        pale |= any(token not in readable for token, _ in best)
        ax.set_xticks(range(len(best)), shown, fontsize=9)
        ax.set_title(name, fontsize=9)
        ax.set_ylim(0, 1)
        ax.grid(axis="x", visible=False)
        seen[name] = plain(
            "{tokens}; of these tokens the answers have {share}",
            tokens=[f"“{token}” {written(p)}" for token, p in best],
            share=float(sum(p for token, p in best if token in readable)),
        )
    for ax in panels[::2]:
        ax.set_ylabel("probability")
    for ax in panels[len(tokens) :]:
        ax.set_axis_off()
    about = "Vertical bars, one panel a question and one bar a token; vertical axis: probability."
    said = "Solid where the token is an answer, pale where not." if pale else ""
    return _told(fig, about, said, _each(seen))


# --- drawings ------------------------------------------------------------------------------------

#: What each arm asks the judge, for a reader who meets it in a figure first.
ASKED = {
    "explicit": "each criterion alone (explicit)",
    "implicit": "one rating under the whole rubric (implicit)",
    "predefined": "one general rubric, each criterion alone (predefined)",
    "direct_likert": "one rating without a rubric (direct_likert)",
    "reference_likert": "one rating beside a reference answer (reference_likert)",
    "synthetic_ref": "one rating, rubric by a model that saw the reference",
    "synthetic_noref": "one rating, rubric by a model that did not",
}
NOT_YET = "not measured yet"
#: Colours of series: on a light page, on a dark one.
HUES = {
    "explicit": ("#0b5fa5", "#6cb6ff"),
    "implicit": ("#b45309", "#f5b041"),
    "predefined": ("#a21caf", "#e58cf0"),
    "direct_likert": ("#6b7280", "#aab2bc"),
    "reference_likert": ("#047857", "#4fd1a5"),
    "synthetic_ref": ("#b91c1c", "#ff8a80"),
    "synthetic_noref": ("#0e7490", "#5fd3e6"),
    "text": ("#1f2937", "#d6dde3"),
    "line": ("#c9d2d8", "#46525a"),
}
#: Points of a series, as paths around zero.
_SHAPES = {
    "explicit": "M-5,0a5,5 0 1,0 10,0a5,5 0 1,0 -10,0z",
    "implicit": "M-4.5,-4.5h9v9h-9z",
    "predefined": "M0,-6l6,6l-6,6l-6,-6z",
    "direct_likert": "M0,-5.5l5.5,9.5h-11z",
    "reference_likert": "M0,5.5l5.5,-9.5h-11z",
    "synthetic_ref": "M-6,-1.5h4.5v-4.5h3v4.5h4.5v3h-4.5v4.5h-3v-4.5h-4.5z",
    "synthetic_noref": "M-5,-3l2,-2 3,3 3,-3 2,2 -3,3 3,3 -2,2 -3,-3 -3,3 -2,-2 3,-3z",
}
#: Colour and mark of each arm in a figure of matplotlib: those above, and of arms without a judge.
_ARMS = {
    "explicit": (HUES["explicit"][0], "o"),
    "implicit": (HUES["implicit"][0], "s"),
    "predefined": (HUES["predefined"][0], "D"),
    "direct_likert": (HUES["direct_likert"][0], "^"),
    "reference_likert": (HUES["reference_likert"][0], "v"),
    "synthetic_ref": (HUES["synthetic_ref"][0], "P"),
    "synthetic_noref": (HUES["synthetic_noref"][0], "X"),
    "base": ("#A98B6B", "h"),
    "length": ("#C2689B", "p"),
    "rlvr": ("#7C8B00", "*"),
    "sft_reference": ("#3D9BD1", "<"),
    "sft_filtered": ("#5B4BB5", ">"),
}
_WIDTH = 560
_TOP = 38
_LEFT = 52
_RIGHT = 12
_HEIGHT = 250
_ROW = 21


def _hue(name: str) -> str:
    return f"var(--rar-{name.replace('_', '-')}, {HUES[name][0]})"


def _look(*, own: bool) -> str:
    """The style of a drawing; ``own``: it stands alone and follows the reader's system."""
    rules = [
        ".rar-drawing text{font:14px system-ui,'Segoe UI',Helvetica,Arial,sans-serif;"
        f"fill:{_hue('text')}}}",
        f".rar-drawing .axis{{stroke:{_hue('line')};stroke-width:1}}",
        f".rar-drawing .chance{{stroke:{_hue('text')};stroke-dasharray:5 4}}",
    ]
    for name in ASKED:
        rules.append(f".rar-drawing .{name}{{stroke:{_hue(name)};fill:{_hue(name)}}}")
    rules.append(".rar-drawing .course{fill:none;stroke-width:1.5;stroke-opacity:.55}")
    if own:
        dark = "".join(f"--rar-{name.replace('_', '-')}:{hue};" for name, (_, hue) in HUES.items())
        rules.append(f"@media(prefers-color-scheme:dark){{.rar-drawing{{{dark}}}}}")
    return "\n".join(rules)


def _put(parent: ElementTree.Element, tag: str, text: str = "", **attributes: object) -> None:
    named = {name.rstrip("_").replace("_", "-"): f"{value}" for name, value in attributes.items()}
    made = ElementTree.SubElement(parent, tag, named)
    made.text = text or None


def judge_drawing(found: Judges, *, alone: bool = False) -> str:
    """Judge accuracy by size and arm, as SVG: a line an arm, whiskers, what is missing in words.

    Args:
        alone: a file of its own, as in the README: it follows the reader's system.
    """
    height = _TOP + _HEIGHT + 48 + _ROW * len(found.accuracy) + 6
    space = {"xmlns": "http://www.w3.org/2000/svg"} if alone else {}
    svg = ElementTree.Element(
        "svg", space | {"class": "rar-drawing", "viewBox": f"0 0 {_WIDTH} {height}"}
    )
    _put(svg, "style", _look(own=alone))
    _put(svg, "text", "share of pairs in which the judge prefers the better response", x=8, y=16)
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        _put(svg, "text", f"{tick:g}", x=_LEFT - 8, y=_y(tick) + 5, text_anchor="end")
        kind = "chance" if tick == 0.5 else "axis"
        _put(svg, "line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=_y(tick), y2=_y(tick), class_=kind)
    at = _places(list(found.sizes.values()))
    below = _TOP + _HEIGHT
    for (judge, size), x in zip(found.sizes.items(), at, strict=True):
        _put(svg, "text", f"{size:g}", x=x, y=below + 19, text_anchor="middle")
        if not found.of(judge):
            _put(svg, "text", NOT_YET, x=x, y=_y(0.1), text_anchor="middle")
    axis = "parameters of the judge, in billions"
    _put(svg, "text", axis, x=(_LEFT + _WIDTH) // 2, y=below + 38, text_anchor="middle")
    where = dict(zip(found.sizes, at, strict=True))
    for number, (arm, by) in enumerate(found.accuracy.items()):
        shift = 9 * (number - (len(found.accuracy) - 1) / 2)
        _course(svg, arm, [(where[judge] + shift, value) for judge, value in by.items()])
        y = below + 62 + _ROW * number
        _put(svg, "path", d=_SHAPES[arm], transform=f"translate({_LEFT + 6},{y - 5})", class_=arm)
        _put(svg, "text", ASKED[arm], x=_LEFT + 20, y=y)
    return ElementTree.tostring(svg, encoding="unicode") + "\n"


def _y(value: float) -> float:
    return round(_TOP + _HEIGHT * (1 - value), 1)


def _places(sizes: Sequence[float]) -> list[float]:
    """Where each size stands on a logarithmic axis, with room for whiskers at both ends."""
    if len(sizes) < 2:
        return [(_LEFT + _WIDTH - _RIGHT) / 2 for _ in sizes]
    low = math.log(min(sizes))
    high = math.log(max(sizes))
    first = _LEFT + 62
    last = _WIDTH - _RIGHT - 62
    return [
        round(first + (last - first) * (math.log(size) - low) / (high - low), 1) for size in sizes
    ]


def _course(svg: ElementTree.Element, arm: str, points: Sequence[tuple[float, Interval]]) -> None:
    """One arm: a line, and at each size a point with its interval where there is one."""
    line = "L".join(f"{x:.1f},{_y(of.value)}" for x, of in points)
    _put(svg, "path", d=f"M{line}", class_=f"{arm} course")
    for x, of in points:
        y = _y(of.value)
        if of.shown:
            ends = f"M{x:.1f},{_y(of.low)}L{x:.1f},{_y(of.high)}"
            _put(svg, "path", d=ends, class_=arm, stroke_width=1.5)
        _put(svg, "path", d=_SHAPES[arm], transform=f"translate({x:.1f},{y})", class_=arm)


def share_drawing(counts: Mapping[str, int]) -> str:
    """A bar cut by shares, as SVG without text: the counts must stand beside it.

    Args:
        counts: name -> count, left to right; the class of a part is its place.
    """
    whole = sum(counts.values())
    box = {"class": "rar-drawing rar-bar", "viewBox": f"0 0 {max(whole, 1)} 1"}
    svg = ElementTree.Element("svg", box | {"preserveAspectRatio": "none"})
    left = 0
    for number, count in enumerate(counts.values(), 1):
        if count:
            _put(svg, "rect", x=left, y=0, width=count, height=1, class_=f"rar-part-{number}")
        left += count
    return ElementTree.tostring(svg, encoding="unicode") + "\n"
