"""The figures of the report of the data, each made of the numbers that `report.json` holds."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, PercentFormatter

from pokemon_ddpm.data_counts import FITS
from pokemon_ddpm.dataset_scripts.starter_art import LOOKS
from pokemon_ddpm.vocabulary import ANY, COLORS, GAMES, NONE, SIZE_LIMITS, SIZES, TYPES

Numbers = Mapping[str, Any]

GAME_NAMES = dict(
    zip(
        (*GAMES, ANY),
        ("Emerald", "FireRed/LeafGreen", "Diamond/Pearl", "HeartGold/SoulSilver", "Black/White",
         "generation 6", "generation 7", "generation 8", "giant forms, drawn smaller", "of no game"),
        strict=True,
    )
)  # fmt: skip
# Okabe and Ito's colours, which people with any colour vision can tell apart.
BLUE, ORANGE, GREEN, VERMILION, SKY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9"
KINDS = {"front normal": BLUE, "front shiny": ORANGE, "back normal": SKY, "back shiny": VERMILION}
INK, EDGE, LINES = "#222222", "#555555", "#DDDDDD"
TYPE_COLORS = {name: tuple(value / 255 for value in look.body) for name, look in LOOKS.items()}
COLOR_COLORS = dict(
    zip(
        (*COLORS, ANY),
        ("#303030", "#3D7DCA", "#8C5A2B", "#9A9A9A", "#4CA64C", "#F49AC1", "#8E5BB5", "#D93A32", "#FFFFFF", "#F2CE2E",
         "#EEEEEE"),
        strict=True,
    )
)  # fmt: skip
MARKERS = ("o", "s", "D")


def games(numbers: Numbers) -> Figure:
    """Pictures by game, in parts of view and finish."""
    found = numbers["games"]
    figure, axes = _figure(8, 1.4 + 0.42 * len(found))
    left = np.zeros(len(found))
    for kind, color in KINDS.items():
        counts = np.array([game["kinds"][kind] for game in found.values()])
        if counts.any():
            label = kind.replace(" ", ", ")
            axes.barh(range(len(found)), counts, left=left, color=color, edgecolor="white", label=label)
            left += counts
    _names(axes, [f"{GAME_NAMES[game]} ({game})" for game in found])
    _totals(axes, left, [f"{int(total):,}" for total in left])
    axes.set_xlabel("pictures")
    _legend_above(axes)
    return figure


def types(numbers: Numbers) -> Figure:
    """Pictures that have each type first, and second; both together have it at all."""
    found = _by_count(numbers["types"], "either")
    figure, axes = _figure(8, 6.6)
    places, first = np.arange(len(found)), np.array([each["first"] for each in found.values()])
    second = np.array([each["second"] for each in found.values()])
    colors = [TYPE_COLORS[name] for name in found]
    axes.barh(places, first, color=colors, edgecolor=EDGE, linewidth=0.7, label="first type")
    axes.barh(places, second, left=first, color="white", edgecolor=colors, hatch="////", linewidth=0)
    axes.barh(places, second, left=first, color="none", edgecolor=EDGE, linewidth=0.7)
    _names(axes, [name.title() for name in found])
    words = [f"{each['first']:,} + {each['second']:,} = {each['either']:,}" for each in found.values()]
    _totals(axes, first + second, words, room=1.25)
    axes.set_xlabel("pictures: as first type (full) + as second type (hatched) = as either")
    return figure


def splits(numbers: Numbers) -> Figure:
    """The share of each type in each split, by first types."""
    found = _by_count(numbers["types"], "first")
    figure, axes = _figure(8, 6.2)
    places = np.arange(len(found))
    for i, (split, part) in enumerate(numbers["splits"].items()):
        shares = [each["splits"][split] / part["pictures"] for each in found.values()]
        label = f"{split} ({part['pictures']:,} pictures of {part['lines']:,} lines)"
        color = (BLUE, ORANGE, GREEN)[i]
        axes.plot(shares, places + 0.2 * (i - 1), MARKERS[i], color=color, markersize=6, label=label)
    for place in places[::2]:
        axes.axhspan(place - 0.5, place + 0.5, color="#F4F4F4", zorder=0)
    _names(axes, [name.title() for name in found])
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_xlabel("share of the split's pictures with this first type")
    _legend_above(axes)
    return figure


def pairs(numbers: Numbers) -> Figure:
    """Pictures by first type (row) and second type (column); on the diagonal those that have one type alone."""
    counts = np.zeros((len(TYPES), len(TYPES)))
    for pair, number in numbers["pairs"]["ordered"].items():
        first, second = pair.split("/")
        row = TYPES.index(first)
        counts[row, row if second == NONE else TYPES.index(second)] += number
    figure, axes = _figure(10, 9.4)
    norm = LogNorm(1, max(2, counts.max()))
    axes.imshow(np.where(counts > 0, counts, np.nan), cmap="cividis_r", norm=norm)
    for row, column in np.argwhere(counts):
        value = counts[row, column]
        color = "white" if norm(value) > 0.55 else INK
        axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=8.5, color=color)
    words = [name.title() for name in TYPES]
    axes.set_xticks(range(len(TYPES)), words, rotation=45, ha="left", rotation_mode="anchor", fontsize=10)
    axes.set_yticks(range(len(TYPES)), words, fontsize=10)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.set_xlabel("second type (on the diagonal: none)", fontsize=11)
    axes.set_ylabel("first type", fontsize=11)
    axes.set_xticks(np.arange(len(TYPES)) + 0.5, minor=True)
    axes.set_yticks(np.arange(len(TYPES)) + 0.5, minor=True)
    axes.grid(which="minor", color=LINES, linewidth=0.6)
    axes.tick_params(which="both", length=0)
    for side in axes.spines.values():
        side.set_color(LINES)
    return figure


def colors_and_shapes(numbers: Numbers) -> Figure:
    """Pictures by colour, in that colour, and by shape."""
    figure = Figure(figsize=(10, 5), layout="constrained")
    left, right = map(_plain, figure.subplots(1, 2))
    colors = dict(sorted(numbers["colors"].items(), key=lambda item: (item[0] == ANY, -item[1])))
    if not colors[ANY]:
        del colors[ANY]
    shapes = dict(sorted(numbers["shapes"].items(), key=lambda item: -item[1]))
    for axes, counts, filling, title in (
        (left, colors, [COLOR_COLORS[name] for name in colors], "Colour"),
        (right, shapes, SKY, "Shape"),
    ):
        axes.barh(range(len(counts)), list(counts.values()), color=filling, edgecolor=EDGE, linewidth=0.8)
        _names(axes, ["any (not said)" if name == ANY else name for name in counts])
        _totals(axes, list(counts.values()), [f"{count:,}" for count in counts.values()])
        axes.set_xlabel("pictures", fontsize=10)
        axes.set_title(title, fontsize=12)
    return figure


def heights(numbers: Numbers) -> Figure:
    """How tall the creatures are, on a logarithmic axis with the limits of the five words for it."""
    found = {int(height): number for height, number in numbers["heights"]["pictures_by_decimetres"].items()}
    figure, axes = _figure(9, 4.6)
    values = np.array(list(found), dtype=float)
    # The limits of the words are bin edges, so that no bar is in two classes. Heights are whole decimetres, and half
    # a decimetre below the limit no height can be.
    edges = np.geomspace(SIZE_LIMITS[0], SIZE_LIMITS[-1], 13)
    step = edges[1] / edges[0]
    low, high = edges[0] / step**8, max(edges[-1] * step**4, values.max(initial=1) * step)
    edges = np.concatenate([edges[0] / step ** np.arange(8, 0, -1), edges])
    while edges[-1] < high:
        edges = np.append(edges, edges[-1] * step)
    edges = edges * (1 - 1e-9)
    counts, _ = np.histogram(values, edges, weights=list(found.values()))
    axes.bar(edges[:-1], counts, width=np.diff(edges), align="edge", color=BLUE, edgecolor="white", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xlim(low, edges[-1])
    axes.set_ylim(0, max(1, counts.max()) * 1.28)
    limits = (low, *SIZE_LIMITS, edges[-1])
    for limit in SIZE_LIMITS:
        axes.axvline(limit, color=VERMILION, linestyle="--", linewidth=1.2)
    for word, start, end in zip(SIZES, limits, limits[1:], strict=False):
        label = f"{word}\n{numbers['heights']['sizes'][word]:,}"
        axes.text(np.sqrt(start * end), 0.97, label, transform=axes.get_xaxis_transform(), ha="center", va="top",
                  fontsize=11, color=INK)  # fmt: skip
    ticks = [tick for tick in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024) if low <= tick <= edges[-1]]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 10:g}"))
    axes.tick_params(which="minor", length=0)
    axes.set_xlabel("height in metres (logarithmic)")
    axes.set_ylabel("pictures")
    return figure


def geometry(numbers: Numbers) -> Figure:
    """The boxes around the sprites, and how much of the canvas they ink."""
    found = numbers["geometry"]
    figure = Figure(figsize=(11, 4.8), layout="constrained")
    left, right = map(_plain, figure.subplots(1, 2, width_ratios=(1.05, 1)))
    boxes = {tuple(map(int, size.split("x"))): number for size, number in found["boxes"].items()}
    side = max(max(map(max, boxes)), max(FITS.values())) + 4
    step = -(-side // 48)
    edges = np.arange(0, side + step, step)
    widths, heights_ = np.array(list(boxes)).T
    *_, mesh = left.hist2d(widths, heights_, edges, weights=list(boxes.values()), cmap="cividis_r", norm=LogNorm())
    figure.colorbar(mesh, ax=left, label=f"pictures (boxes of {step}x{step} px)")
    for size, fits in FITS.items():
        left.plot([0, fits, fits], [fits, fits, 0], color=VERMILION, linewidth=1.5)
        left.text(1, fits + 0.8, f"fits into {size}x{size}", color=VERMILION, fontsize=9.5, va="bottom")
    left.set_aspect("equal")
    left.set_xlabel("width of the box in px", fontsize=10)
    left.set_ylabel("height of the box in px", fontsize=10)
    left.set_title("Box around the sprite", fontsize=12)
    percent = {int(value): number for value, number in found["pictures_by_inked_percent"].items()}
    right.bar([value + 0.5 for value in percent], list(percent.values()), width=1, color=BLUE)
    median = found["inked_percent"]["p50"]
    right.axvline(median, color=VERMILION, linestyle="--", label=f"median {median:.0f} %")
    right.legend(fontsize=10, frameon=False)
    right.set_xlim(0, min(100, max(percent) + 3))
    right.set_xlabel("pixels of the canvas that are not white, in %", fontsize=10)
    right.set_ylabel("pictures", fontsize=10)
    right.set_title("Ink", fontsize=12)
    return figure


def palettes(numbers: Numbers) -> Figure:
    """How many colours a picture has, in all and by game."""
    found = {int(value): number for value, number in numbers["palettes"]["pictures_by_colors"].items()}
    figure = Figure(figsize=(11, 1.6 + 0.34 * max(8, len(numbers["games"]))), layout="constrained")
    left, right = map(_plain, figure.subplots(1, 2))
    many = max(found) > 64
    if many:  # no pixel art: bars of a single number would be hairlines
        left.hist(list(found), np.geomspace(max(1, min(found)), max(found) + 1, 25), weights=list(found.values()),
                  color=BLUE, edgecolor="white")  # fmt: skip
        left.set_xscale("log")
        right.set_xscale("log")
    else:
        left.bar(list(found), list(found.values()), color=BLUE)
        left.set_xticks(range(min(found), max(found) + 1, -(-(max(found) - min(found) + 1) // 16)))
    left.set_ylabel("pictures", fontsize=10)
    left.set_title("All pictures", fontsize=12)
    keys = {"whislo": "p5", "q1": "p25", "med": "p50", "q3": "p75", "whishi": "p95"}
    boxes = [{name: game["colors"][key] for name, key in keys.items()} for game in numbers["games"].values()]
    right.bxp(
        boxes, range(len(boxes)), orientation="horizontal", widths=0.55, showfliers=False, patch_artist=True,
        boxprops={"facecolor": SKY, "edgecolor": EDGE}, medianprops={"color": INK, "linewidth": 2},
    )  # fmt: skip
    _names(right, [GAME_NAMES[game] for game in numbers["games"]])
    right.set_title("By game: median, middle half, 5 to 95 %", fontsize=12)
    for axes in (left, right):
        axes.set_xlabel("colours in a picture, without white", fontsize=10)
    return figure


def duplicates(numbers: Numbers) -> Figure:
    """In what the pictures of equal pixels differ."""
    words = {"game": "game", "frame": "frame", "finish": "finish: normal and shiny", "view": "view: front and back",
             "index": "form", "line": "evolution line", "split": "split: training and held out"}  # fmt: skip
    found = numbers["duplicates"]["groups_that_differ_in"]
    figure, axes = _figure(8, 3.4)
    axes.barh(range(len(found)), list(found.values()), color=BLUE)
    _names(axes, [words[key] for key in found])
    _totals(axes, list(found.values()), [f"{number:,}" for number in found.values()])
    axes.set_xlabel(f"groups of equal pictures that differ in it (of {numbers['duplicates']['groups']:,})")
    return figure


# File name -> what draws it.
FIGURES: dict[str, Callable[[Numbers], Figure]] = {
    "splits.png": splits,
    "games.png": games,
    "types.png": types,
    "pairs.png": pairs,
    "colors-shapes.png": colors_and_shapes,
    "heights.png": heights,
    "geometry.png": geometry,
    "palettes.png": palettes,
    "duplicates.png": duplicates,
}


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, _plain(figure.add_subplot())


def _plain(axes: Axes) -> Axes:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=10)
    axes.set_axisbelow(True)
    return axes


def _by_count(found: Mapping[str, Numbers], key: str) -> dict[str, Numbers]:
    return dict(sorted(found.items(), key=lambda item: -item[1][key]))


def _names(axes: Axes, words: Sequence[str]) -> None:
    """One word a bar, the first at the top."""
    axes.set_yticks(range(len(words)), words, fontsize=10)
    axes.set_ylim(len(words) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)


def _totals(axes: Axes, ends: Sequence[float], words: Sequence[str], room: float = 1.12) -> None:
    """Numbers at the ends of bars, with room for them, so that the axis need not be read."""
    most = max(1, *ends)
    for place, (end, word) in enumerate(zip(ends, words, strict=True)):
        axes.text(end + 0.01 * most, place, word, va="center", fontsize=9.5, color=INK)
    axes.set_xlim(0, room * most)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def _legend_above(axes: Axes) -> None:
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=4, frameon=False, fontsize=10)
