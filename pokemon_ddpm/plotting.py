"""The look of figures that count or measure: colours, axes, bars."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

# Okabe and Ito's colours, which people with any colour vision can tell apart.
BLUE, ORANGE, GREEN, VERMILION, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9"
INK, EDGE, GRID, STRIPE = "#222222", "#555555", "#DDDDDD", "#F4F4F4"
HEAT = "YlGnBu"  # from light to dark, so that it also reads in grey
THOUSANDS = "{x:,.0f}"


def single(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of one panel; sizes in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, plain(figure.add_subplot())


def double(width: float, height: float) -> tuple[Figure, Axes, Axes]:
    """A figure of two panels side by side; sizes in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    left, right = map(plain, figure.subplots(1, 2))
    return figure, left, right


def plain(axes: Axes) -> Axes:
    """Axes without a box around them."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=10)
    axes.set_axisbelow(True)
    return axes


def name_bars(axes: Axes, words: Sequence[str]) -> None:
    """Names horizontal bars, the first at the top."""
    axes.set_yticks(range(len(words)), words, fontsize=10)
    axes.set_ylim(len(words) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)


def number_bars(
    axes: Axes, ends: Sequence[float], words: Sequence[str] | None = None, room: float = 1.12, label: str = "pictures"
) -> None:
    """Writes their length at the ends of horizontal bars, so that nobody has to read it off the axis.

    Args:
        axes: Of the bars.
        ends: Lengths.
        words: What to write; the lengths, if nothing else.
        room: Width of the axis, as a multiple of the longest bar.
        label: Of the axis.
    """
    most = max(1, np.max(ends))
    for place, end in enumerate(ends):
        word = f"{end:,.0f}" if words is None else words[place]
        axes.text(end + 0.01 * most, place, word, va="center", fontsize=9.5, color=INK)
    axes.set_xlim(0, room * most)
    axes.xaxis.set_major_formatter(StrMethodFormatter(THOUSANDS))
    axes.set_xlabel(label, fontsize=10)


def legend_above(figure: Figure) -> None:
    """A legend that covers nothing."""
    figure.legend(loc="outside upper center", ncols=4, frameon=False, fontsize=9.5, columnspacing=1.4)
