"""The figures of the report of an evaluation."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from pokemon_ddpm.evaluation.evaluation import Evaluation
from pokemon_ddpm.evaluation.feature_checks import TITLES
from pokemon_ddpm.plotting import BLUE, GRID, INK, ORANGE, SKY, VERMILION, legend_above, name_bars, plain
from pokemon_ddpm.sheets import sprite_sheet

SHEET_COLUMNS, SHEET_PANELS, SHEET_SCALE = 6, 2, 2
BINS = 40
LINES = (BLUE, ORANGE, SKY, VERMILION, INK)


def sample_sheet(images: torch.Tensor, asked: Sequence[str | None]) -> Image.Image:
    """The first samples of each type, in the order of their files; without types, the first samples.

    Args:
        images: uint8 (N, 3, S, S).
        asked: The type that each was asked for first.
    """
    names = sorted({name for name in asked if name is not None})
    scale = max(1, SHEET_SCALE * 32 // images.shape[-1])
    if not names:
        count = min(len(images), 2 * SHEET_COLUMNS * SHEET_COLUMNS)
        return sprite_sheet(list(map(_picture, images[:count])), 2 * SHEET_COLUMNS, scale=scale)
    blank = Image.new("RGB", (images.shape[-1],) * 2, (255, 255, 255))
    cells = []
    for name in names:
        rows = [i for i, each in enumerate(asked) if each == name][:SHEET_COLUMNS]
        cells += [*(_picture(images[i]) for i in rows), *[blank] * (SHEET_COLUMNS - len(rows))]
    return sprite_sheet(cells, SHEET_COLUMNS, names, scale, SHEET_PANELS)


def _picture(image: torch.Tensor) -> Image.Image:
    return Image.fromarray(image.permute(1, 2, 0).numpy())


def scale_figure(evaluation: Evaluation) -> Figure:
    """KID to the training pictures: of worse and worse held-out pictures, and of the samples."""
    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    plt.close(figure)
    plain(axes)
    for (name, points), color in zip(evaluation.curves.items(), LINES, strict=True):
        strengths = [point.strength for point in points]
        axes.plot(strengths, [point.kid for point in points], "o-", color=color, markersize=3.5, linewidth=1.4,
                  label=TITLES.get(name, name))  # fmt: skip
    ours = evaluation.row("all samples", "train").distances.kid
    axes.axhline(ours.value, color="#B00058", linewidth=2, label="the samples")
    axes.axhspan(ours.low, ours.high, color="#B00058", alpha=0.15, linewidth=0)
    axes.set_yscale("symlog", linthresh=0.1)
    axes.grid(axis="y", color=GRID)
    axes.set_xlabel("strength of the damage done to held-out pictures", fontsize=10)
    axes.set_ylabel("KID to training pictures", fontsize=10)
    legend_above(figure)
    return figure


def novelty_figure(evaluation: Evaluation) -> Figure:
    """Distances to the nearest training picture, of samples and of held-out pictures."""
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    for axes, (name, found) in zip(figure.subplots(1, 2), evaluation.novelty.items(), strict=True):
        plain(axes)
        sets = {"samples": evaluation.nearest, "held-out": evaluation.held_out_nearest}
        distances = {label: nearest[name].distance.numpy() for label, nearest in sets.items()}
        most = max(each.max() for each in distances.values())
        for (label, each), color in zip(distances.items(), (BLUE, ORANGE), strict=True):
            axes.hist(each, BINS, range=(0, most), density=True, histtype="step", linewidth=1.6, color=color,
                      label=label if name == "pixels" else None)  # fmt: skip
        axes.axvline(found.threshold, color=INK, linewidth=1, linestyle=":")
        axes.text(found.threshold, axes.get_ylim()[1], " 5 % of held-out are nearer", fontsize=8.5, va="top",
                  ha="right", rotation=90)  # fmt: skip
        axes.set_xlabel(f"distance to the nearest training picture, {name}", fontsize=10)
        axes.set_yticks([])
    legend_above(figure)
    return figure


def types_figure(evaluation: Evaluation) -> Figure:
    """KID and obedience by type, with what real held-out pictures reach."""
    names = list(evaluation.types)
    words = evaluation.obedience["type"].by_word if "type" in evaluation.obedience else {}
    figure = Figure(figsize=(9 if words else 5.5, 1.2 + 0.3 * len(names)), layout="constrained")
    panels = figure.subplots(1, 2 if words else 1, sharey=True, squeeze=False)[0]
    for axes in panels:
        plain(axes)
        axes.grid(axis="x", color=GRID)
    kids = {name: (found.kid, found.floor) for name, found in evaluation.types.items()}
    _dots(panels[0], kids, ("samples", "held-out"))
    # The intervals of the rarest types are wider than everything.
    most = max((each.value for pair in kids.values() for each in pair if math.isfinite(each.value)), default=1.0)
    panels[0].set_xlim(-0.5 * most, 1.5 * most)
    panels[0].set_xlabel("KID to the training pictures of the type", fontsize=10)
    name_bars(panels[0], [f"{name} ({evaluation.types[name].kid.n})" for name in names])
    if words:
        _dots(panels[1], {name: (words[name].obeyed, words[name].real) for name in names if name in words}, None)
        panels[1].set_xlabel("share in which the type is seen", fontsize=10)
        panels[1].set_xlim(-0.02, 1.02)
    legend_above(figure)
    return figure


def _dots(axes: Axes, figures: Mapping[str, Sequence[Any]], labels: tuple[str, str] | None) -> None:
    """Pairs of figures with their intervals, one pair a line."""
    for which, (color, shift) in enumerate(((BLUE, -0.13), (ORANGE, 0.13))):
        found = [(place + shift, pair[which]) for place, pair in enumerate(figures.values()) if pair[which]]
        places, values = [place for place, _ in found], [each.value for _, each in found]
        ends = [
            [max(0.0, each.value - each.low) for _, each in found],
            [max(0.0, each.high - each.value) for _, each in found],
        ]
        axes.errorbar(values, places, xerr=ends, fmt="o", color=color, markersize=4, linewidth=1,
                      label=labels and labels[which])  # fmt: skip
