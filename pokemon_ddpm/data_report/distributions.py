"""The figures of the report of the data that show how something is distributed: heights, boxes, ink, palettes."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator, StrMethodFormatter

from pokemon_ddpm.data_report.counts import FITS
from pokemon_ddpm.data_report.style import GAME_NAMES, Numbers, label_pictures
from pokemon_ddpm.plotting import BLUE, EDGE, HEAT, INK, SKY, THOUSANDS, VERMILION, double, name_bars, single
from pokemon_ddpm.vocabulary import SIZE_LIMITS, SIZES

METRES = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 10, 30, 100, 300, 1000)
CELLS = 52  # at most so many a side, where boxes of similar size are counted together
MANY_COLORS = 64  # a picture of more is no pixel art


def heights(numbers: Numbers) -> Figure:
    """How tall the creatures are, on a logarithmic axis with the limits of the five words for it."""
    found = {int(height): count for height, count in numbers["heights"]["pictures_by_decimetres"].items()}
    figure, axes = single(9, 4.6)
    # Four bars between two limits, from 1 dm on. Heights are whole: one on an edge is in the bar that begins there.
    last = max(16, math.floor(4 * math.log2(max(found, default=1) / SIZE_LIMITS[0])) + 1)
    edges = SIZE_LIMITS[0] * 2 ** (np.arange(-8, last + 1) / 4) - 1e-6
    counts, _ = np.histogram(list(found), edges, weights=list(found.values()))
    axes.bar(edges[:-1], counts, width=np.diff(edges), align="edge", color=BLUE, edgecolor="white", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(0, max(1, counts.max()) * 1.28)  # room for the words
    for limit in SIZE_LIMITS:
        axes.axvline(limit, color=VERMILION, linestyle="--", linewidth=1.2)
    limits = (edges[0], *SIZE_LIMITS, edges[-1])
    for word, start, end in zip(SIZES, limits[:-1], limits[1:], strict=True):
        label = f"{word}\n{numbers['heights']['sizes'][word]:,}"
        axes.text(math.sqrt(start * end), 0.97, label, transform=axes.get_xaxis_transform(), ha="center", va="top",
                  fontsize=11, color=INK)  # fmt: skip
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks([10 * tick for tick in METRES if edges[0] <= 10 * tick <= edges[-1]])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 10:g}"))
    axes.set_xlabel("height in metres, on a logarithmic scale", fontsize=10)
    label_pictures(axes)
    return figure


def geometry(numbers: Numbers) -> Figure:
    """The boxes around the sprites, and how much of the canvas they ink."""
    figure, left, right = double(11, 4.8)
    _draw_boxes(figure, left, numbers["geometry"]["boxes"])
    percent = {int(value): count for value, count in numbers["geometry"]["pictures_by_inked_percent"].items()}
    right.bar([value + 0.5 for value in percent], list(percent.values()), width=1, color=BLUE)
    median = numbers["geometry"]["inked_percent"]["p50"]
    right.axvline(median, color=VERMILION, linestyle="--", label=f"median {median:.0f} %")
    right.legend(fontsize=10, frameon=False)
    right.set_xlim(0, min(101, max(percent) + 3))
    right.set_xlabel("pixels of the canvas that are not white, in %", fontsize=10)
    right.set_title("Ink", fontsize=12)
    label_pictures(right)
    return figure


def _draw_boxes(figure: Figure, axes: Axes, boxes: dict[str, int]) -> None:
    width, height = np.array([size.split("x") for size in boxes], dtype=int).T
    side = max(width.max(), height.max(), *FITS.values()) + 4
    step = -(-side // CELLS)
    edges = np.arange(0, side + step, step)
    *_, mesh = axes.hist2d(width, height, edges, weights=list(boxes.values()), cmap=HEAT, norm=LogNorm(1))
    bar = figure.colorbar(mesh, ax=axes, format=StrMethodFormatter(THOUSANDS))
    bar.set_label("pictures of this size" if step == 1 else f"pictures in a cell of {step}x{step} px", fontsize=10)
    for size, fits in FITS.items():
        axes.plot([0, fits, fits], [fits, fits, 0], color=VERMILION, linewidth=1.5)
        axes.text(1.5, fits - 1.2, f"unreduced\nat {size} px", color=INK, fontsize=9.5, va="top")
    axes.set_aspect("equal")
    axes.set_xlabel("width of the box in px", fontsize=10)
    axes.set_ylabel("height of the box in px", fontsize=10)
    axes.set_title("Box around the sprite", fontsize=12)


def palettes(numbers: Numbers) -> Figure:
    """How many colours a picture has, in all and by game."""
    games = numbers["games"]
    found = {int(value): count for value, count in numbers["palettes"]["pictures_by_colors"].items()}
    figure, left, right = double(11, 1.6 + 0.34 * max(8, len(games)))
    least, most = min(found), max(found)
    if most > MANY_COLORS:  # a bar for each number would be a hairline
        edges = np.geomspace(max(1, least), most + 1, 25)
        left.hist(np.maximum(1, list(found)), edges, weights=list(found.values()), color=BLUE, edgecolor="white")
        left.set_xscale("log")
        right.set_xscale("log")
    else:
        left.bar(list(found), list(found.values()), color=BLUE)
        left.set_xticks(range(least, most + 1, -(-(most - least + 1) // 16)))
    label_pictures(left)
    left.set_title("All pictures", fontsize=12)
    keys = {"whislo": "p5", "q1": "p25", "med": "p50", "q3": "p75", "whishi": "p95"}
    right.bxp(
        [{name: game["colors"][key] for name, key in keys.items()} for game in games.values()],
        range(len(games)), orientation="horizontal", widths=0.55, showfliers=False, patch_artist=True,
        boxprops={"facecolor": SKY, "edgecolor": EDGE}, medianprops={"color": INK, "linewidth": 2.5},
    )  # fmt: skip
    name_bars(right, [GAME_NAMES[game] for game in games])
    right.set_title("By game: median, middle half, 5 to 95 %", fontsize=12)
    for axes in (left, right):
        axes.set_xlabel("colours in a picture, without white", fontsize=10)
    return figure
