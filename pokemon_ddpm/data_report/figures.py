"""The figures of the report of the data that count pictures by their labels."""

from collections.abc import Mapping

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from pokemon_ddpm.data_report.style import COLOR_COLORS, GAME_NAMES, TYPE_COLORS, Numbers
from pokemon_ddpm.plotting import (
    BLUE,
    EDGE,
    GREEN,
    GRID,
    HEAT,
    INK,
    ORANGE,
    SKY,
    STRIPE,
    VERMILION,
    double,
    legend_above,
    name_bars,
    number_bars,
    single,
)
from pokemon_ddpm.vocabulary import ANY, NONE, TYPES

KINDS = {"front normal": BLUE, "front shiny": ORANGE, "back normal": SKY, "back shiny": VERMILION}
SPLIT_STYLES = ((BLUE, "o"), (ORANGE, "s"), (GREEN, "D"))
DIFFERENCES = {
    "game": "game",
    "frame": "frame (pose)",
    "finish": "finish: normal and shiny",
    "view": "view: front and back",
    "index": "form",
    "line": "evolution line",
    "split": "split",
}


def splits(numbers: Numbers) -> Figure:
    """The share of each first type in each split."""
    found = _by_count(numbers["types"], "first")
    figure, axes = single(8, 6.4)
    places = np.arange(len(found))
    for i, (split, part) in enumerate(numbers["splits"].items()):
        color, marker = SPLIT_STYLES[i]
        shares = [each["splits"][split] / part["pictures"] for each in found.values()]
        label = f"{split} ({part['pictures']:,} pictures)"
        axes.plot(shares, places + 0.2 * (i - 1), marker, color=color, label=label, clip_on=False, zorder=3)
    for place in places[::2]:
        axes.axhspan(place - 0.5, place + 0.5, color=STRIPE, zorder=0)
    name_bars(axes, [name.title() for name in found])
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.set_xlim(left=-0.002)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    axes.set_xlabel("share of the split's pictures with this first type", fontsize=10)
    legend_above(figure)
    return figure


def games(numbers: Numbers) -> Figure:
    """Pictures by game, in parts of view and finish."""
    found = numbers["games"]
    figure, axes = single(8, 1.4 + 0.42 * len(found))
    left = np.zeros(len(found))
    for kind, color in KINDS.items():
        counts = np.array([game["kinds"][kind] for game in found.values()])
        if counts.any():
            label = kind.replace(" ", ", ")
            axes.barh(range(len(found)), counts, left=left, color=color, edgecolor="white", label=label)
            left += counts
    name_bars(axes, [f"{GAME_NAMES[game]} ({game})" for game in found])
    number_bars(axes, left)
    legend_above(figure)
    return figure


def types(numbers: Numbers) -> Figure:
    """Pictures that have each type first, and second; both together have it at all."""
    found = _by_count(numbers["types"], "either")
    figure, axes = single(8, 6.6)
    places = np.arange(len(found))
    first, second = (np.array([each[key] for each in found.values()]) for key in ("first", "second"))
    colors = [TYPE_COLORS[name] for name in found]
    axes.barh(places, first, color=colors, edgecolor=EDGE, linewidth=0.7)
    axes.barh(places, second, left=first, color="white", edgecolor=colors, hatch="////", linewidth=0)
    # Hatches take the colour of the edge, so the edge is drawn by itself.
    axes.barh(places, second, left=first, color="none", edgecolor=EDGE, linewidth=0.7)
    name_bars(axes, [name.title() for name in found])
    sums = [f"{each['first']:,} + {each['second']:,} = {each['either']:,}" for each in found.values()]
    label = "pictures: as first type (full) + as second type (hatched) = as either"
    number_bars(axes, first + second, sums, room=1.27, label=label)
    return figure


def pairs(numbers: Numbers) -> Figure:
    """Pictures by first type (row) and second type (column); on the diagonal those that have one type alone."""
    counts = np.zeros((len(TYPES), len(TYPES)))
    for pair, count in numbers["pairs"]["ordered"].items():
        first, second = pair.split("/")
        row = TYPES.index(first)
        counts[row, row if second == NONE else TYPES.index(second)] += count
    figure, axes = single(10, 9.4)
    norm = LogNorm(1, max(2, counts.max()))
    axes.imshow(np.where(counts > 0, counts, np.nan), cmap=HEAT, norm=norm)
    for row, column in np.argwhere(counts):
        color = "white" if norm(counts[row, column]) > 0.6 else INK
        axes.text(column, row, f"{counts[row, column]:.0f}", ha="center", va="center", fontsize=9.5, color=color)
    words = [name.title() for name in TYPES]
    axes.set_xticks(range(len(TYPES)), words, rotation=45, ha="left", rotation_mode="anchor", fontsize=10.5)
    axes.set_yticks(range(len(TYPES)), words, fontsize=10.5)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.set_xlabel("second type (on the diagonal: none)", fontsize=11)
    axes.set_ylabel("first type", fontsize=11)
    axes.set_xticks(np.arange(len(TYPES)) + 0.5, minor=True)
    axes.set_yticks(np.arange(len(TYPES)) + 0.5, minor=True)
    axes.grid(which="minor", color=GRID, linewidth=0.6)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_color(GRID)
    return figure


def colors_and_shapes(numbers: Numbers) -> Figure:
    """Pictures by colour, in that colour, and by shape."""
    colors = dict(sorted(numbers["colors"].items(), key=lambda item: (item[0] == ANY, -item[1])))
    if not colors[ANY]:
        del colors[ANY]
    shapes = dict(sorted(numbers["shapes"].items(), key=lambda item: -item[1]))
    figure, *panels = double(10, 5)
    for axes, counts, filling, title in (
        (panels[0], colors, [COLOR_COLORS[name] for name in colors], "Colour"),
        (panels[1], shapes, SKY, "Shape"),
    ):
        axes.barh(range(len(counts)), list(counts.values()), color=filling, edgecolor=EDGE, linewidth=0.8)
        name_bars(axes, ["any (not said)" if name == ANY else name for name in counts])
        number_bars(axes, list(counts.values()), room=1.15)
        axes.set_title(title, fontsize=12)
    return figure


def duplicates(numbers: Numbers) -> Figure:
    """In what the pictures of equal pixels differ."""
    found = numbers["duplicates"]["groups_that_differ_in"]
    figure, axes = single(8, 3.4)
    axes.barh(range(len(found)), list(found.values()), color=BLUE)
    name_bars(axes, [DIFFERENCES[key] for key in found])
    label = f"groups of equal pictures that differ in it (of {numbers['duplicates']['groups']:,})"
    number_bars(axes, list(found.values()), label=label)
    return figure


def _by_count(found: Mapping[str, Numbers], key: str) -> dict[str, Numbers]:
    return dict(sorted(found.items(), key=lambda item: -item[1][key]))
