"""The two figures of the report of the data that show sprites: a typical one of each type, and the mean of each."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from pokemon_ddpm.data_report.measures import MeasuredSprites, average
from pokemon_ddpm.data_report.style import TYPE_COLORS, Numbers
from pokemon_ddpm.vocabulary import TYPES

ROWS, COLUMNS = 3, 6


def examples(sprites: MeasuredSprites, numbers: Numbers) -> Figure:
    """The typical picture of each type, with its name."""
    chosen = {name: found["typical"] for name, found in numbers["types"].items() if "typical" in found}
    pixels = {name: np.asarray(sprites.rows[each["row"]]["image"]) for name, each in chosen.items()}
    return _panels(pixels, {name: each["name"] for name, each in chosen.items()})


def averages(sprites: MeasuredSprites, numbers: Numbers) -> Figure:
    """The mean picture of each type, with how many it is the mean of."""
    counts = {name: found["shown"] for name, found in numbers["types"].items() if found["shown"]}
    of_type = {name: sprites.shown & (sprites.labels["type1"] == name) for name in counts}
    pixels = {name: average(sprites, chosen).round().astype(np.uint8) for name, chosen in of_type.items()}
    return _panels(pixels, {name: f"{count:,} picture{'s' * (count != 1)}" for name, count in counts.items()})


def _panels(pixels: Mapping[str, np.ndarray], captions: Mapping[str, str]) -> Figure:
    figure = Figure(figsize=(10, 6.3), layout="constrained")
    for axes, name in zip(figure.subplots(ROWS, COLUMNS).flat, TYPES, strict=True):
        axes.set_xticks([])
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set(color=TYPE_COLORS[name], linewidth=3)
        axes.set_title(name.title(), fontsize=12)
        # Names are data: a $ in one is no formula.
        axes.set_xlabel(captions.get(name, "none"), fontsize=9.5, parse_math=False)
        if name in pixels:
            axes.imshow(pixels[name], interpolation="nearest")
        else:
            axes.set_box_aspect(1)
    return figure
