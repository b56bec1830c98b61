"""Figures of the reports of evaluations; see `Evaluation.numbers` for `numbers`."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image

from pokemon_ddpm.data import SpriteTensors
from pokemon_ddpm.evaluation.condition_accuracy import given_values, label_values
from pokemon_ddpm.evaluation.images import random_rows
from pokemon_ddpm.evaluation.memorization import Nearest
from pokemon_ddpm.evaluation.samples import SampleSet
from pokemon_ddpm.images import as_arrays
from pokemon_ddpm.plots import BLUE, ORANGE, new_axes
from pokemon_ddpm.sheets import sprite_sheet
from pokemon_ddpm.vocabulary import shown_name

Numbers = Mapping[str, Any]

SHEET_COLUMNS, SHEET_PANELS = 6, 2
NUM_PAIRS, PAIRS_IN_ROW = 20, 10


def sample_sheet(samples: SampleSet, train: SpriteTensors) -> Image.Image:
    """The first samples that are conditioned on each type; of other classes, random training images beside them.

    All images are RGB.
    """
    names, side = train.type_names, samples.images.shape[-1]
    sets = [(samples.images, given_values(samples.conditions, {"type": names})["type"])]
    if shown_name("type", names) == "class":
        real = train.rows(random_rows(len(train), len(train), seed=0))
        sets.append((real.images, label_values(real.labels["type"], len(names))))
    blanks = torch.full((SHEET_COLUMNS, 3, side, side), 255, dtype=torch.uint8)
    rows = [k for k in range(len(names)) if sets[0][1][:, k].any()]
    cells = [torch.cat([images[has[:, k]], blanks])[:SHEET_COLUMNS] for k in rows for images, has in sets]
    cells = [Image.fromarray(image) for image in as_arrays(torch.cat(cells))]
    columns, panels = (SHEET_COLUMNS, SHEET_PANELS) if len(sets) == 1 else (2 * SHEET_COLUMNS, 1)
    return sprite_sheet(cells, columns, [names[k] for k in rows], max(1, 64 // side), panels)


def closest_pairs_figure(
    images: torch.Tensor, nearest: Nearest, train: torch.Tensor | None, names: Sequence[str] | None
) -> Figure:
    """Shows the 20 samples that are nearest to training images: sample, distance, training image and its name.

    `images` are the samples, uint8 (N, 3, S, S), and `train` is uint8 (M, 3, S, S). Training images or their names
    are left out if they are None.
    """
    closest = nearest.distance.sort(stable=True).indices[:NUM_PAIRS].tolist()
    matches = nearest.index[closest].tolist()
    shown = {"sample": images[closest]}
    if train is not None:
        shown["training"] = train[matches]
    rows = math.ceil(len(closest) / PAIRS_IN_ROW)
    height = rows * (1.3 * len(shown) + (0.4 if names else 0))
    figure = Figure(figsize=(1.1 * PAIRS_IN_ROW, height), layout="constrained")
    for place, (sample, match) in enumerate(zip(closest, matches, strict=True)):
        row, column = divmod(place, PAIRS_IN_ROW)
        for line, (label, sets) in enumerate(shown.items(), start=len(shown) * row):
            cell = (len(shown) * rows, PAIRS_IN_ROW, line * PAIRS_IN_ROW + column + 1)
            axes = figure.add_subplot(*cell, xticks=[], yticks=[])
            axes.imshow(sets[place].permute(1, 2, 0).cpu().numpy(), interpolation="nearest")
            if column == 0:
                axes.set_ylabel(label, fontsize=8)
            if label == "sample":
                axes.set_title(f"{nearest.distance[sample]:.3g}", fontsize=8)
        if names:
            axes.set_xlabel(names[match], fontsize=7)
    return figure


def class_word(numbers: Numbers) -> str:
    """What the classes of the samples are called: "type" of sprites, or "class" of other images."""
    return shown_name("type", numbers["types"])


def types_figure(numbers: Numbers) -> Figure:
    """KID and condition accuracy by type, with those of held-out images."""
    types, word = numbers["types"], class_word(numbers)
    by_value = numbers["condition_accuracy"]["type"]["by_value"]
    kids = [[each[key] for each in types.values()] for key in ("kid", "floor")]
    shares = [[by_value[name][key] for name in types] for key in ("accuracy", "real")]
    shown = {f"KID to the training images of the {word}": kids, f"share in which the {word} is recognized": shares}
    figure, panels = new_axes(9, 1.2 + 0.3 * len(types), columns=2)
    for axes, (title, sets) in zip(panels, shown.items(), strict=True):
        styles = ("samples", BLUE, -0.13), ("held-out", ORANGE, 0.13)
        for estimates, (label, color, shift) in zip(sets, styles, strict=True):
            values, low, high = (
                np.array([each and each[key] for each in estimates], dtype=float) for key in ("value", "low", "high")
            )
            heights = np.arange(len(types)) + shift
            axes.plot(values, heights, "o", color=color, markersize=4, label=label if axes is panels[0] else None)
            axes.hlines(heights, low, high, color=color, linewidth=1)
        axes.set_xlabel(title, fontsize=10)
        axes.set_yticks(range(len(types)), [""] * len(types), fontsize=10)
        axes.set_ylim(len(types) - 0.4, -0.6)  # the first at the top
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", color="#DDDDDD")
    panels[0].set_yticklabels([f"{name} ({found['kid']['n']})" for name, found in types.items()])
    # The intervals of rare types are wider than the panel.
    largest = max((each["value"] for found in types.values() for each in found.values() if each["value"]), default=1.0)
    panels[0].set_xlim(-0.5 * largest, 1.5 * largest)
    panels[1].set_xlim(-0.02, 1.02)
    figure.legend(loc="outside upper center", ncols=4, frameon=False, fontsize=9.5, columnspacing=1.4)
    return figure
