"""The report of an evaluation: `report.md`, the same numbers as `report.json`, and figures."""

import json
import math
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image

from pokemon_ddpm.data import SpriteTensors
from pokemon_ddpm.evaluation.evaluate import Evaluation, as_json
from pokemon_ddpm.evaluation.images import SampleSet, random_rows
from pokemon_ddpm.evaluation.memorization import Nearest
from pokemon_ddpm.evaluation.metrics import STATISTICS, given_values, label_values
from pokemon_ddpm.files import save_figure, save_image, write_file
from pokemon_ddpm.preprocessing import as_arrays
from pokemon_ddpm.provenance import Provenance
from pokemon_ddpm.sheets import sprite_sheet
from pokemon_ddpm.vocabulary import TYPES, shown_name

Numbers = Mapping[str, Any]  # as `Evaluation.numbers`

REPORT, NUMBERS = "report.md", "report.json"
TEMPLATES = Path(__file__).parents[1] / "templates"
METRICS = {"kid": "KID", "precision": "precision", "recall": "recall"}
GENERATION = "model scheduler num_inference_steps guidance_scale guidance_interval guidance_rescale dtype".split()

SHEET_COLUMNS, SHEET_PANELS = 6, 2
NUM_PAIRS, PAIRS_IN_ROW = 20, 10
BLUE, ORANGE = "#0072B2", "#E69F00"  # of Okabe and Ito, which people with any color vision can distinguish


def write_report(
    folder: Path,
    name: str,
    evaluation: Evaluation,
    further: Numbers,
    samples: SampleSet,
    train: SpriteTensors,
    names: Sequence[str] | None,
    about: Mapping[str, Any],
) -> Numbers:
    """Writes the report with its figures into an existing folder.

    Args:
        name: For the title.
        further: The result of `evaluate_pixels`.
        samples: In RGB.
        train: The training images among which memorized ones were searched, with their names if they have any.
        about: What else was given, for the last table; "features" and "held out" are also in the model card.

    Returns:
        The content of `report.json`.
    """
    numbers = {
        "name": name,
        "resolution": samples.images.shape[-1],
        **evaluation.numbers,
        **further,
        "about": {"samples": len(samples.images), **generation_of(samples.provenances, train.type_names), **about},
    }
    figures = {
        "closest.png": closest_pairs_figure(samples.images, evaluation.nearest, train.images, names),
        "types.png": types_figure(numbers),
    }
    if names:
        figures["closest-names.png"] = closest_pairs_figure(samples.images, evaluation.nearest, None, names)
    for file, figure in figures.items():
        save_figure(figure, folder / file, dpi=130)
    save_image(sample_sheet(samples, train), folder / "samples.png")
    text = json.dumps(numbers, indent=2, ensure_ascii=False, allow_nan=False)
    write_file(folder / NUMBERS, text + "\n")
    write_file(folder / REPORT, report_text(numbers, figures))
    return numbers


def write_references(
    folder: Path, name: str, numbers: Numbers, sets: Sequence[torch.Tensor], about: Numbers, seed: int
) -> Numbers:
    """Writes results as NAME.json and a sheet of random sets of images, one column each; returns them as in JSON."""
    report = as_json({"about": about, "results": numbers})
    write_file(folder / f"{name}.json", json.dumps(report, indent=2) + "\n")
    chosen = random_rows(len(sets[0]), min(24, len(sets[0])), seed)
    rows = zip(*(as_arrays(each[chosen]) for each in sets), strict=True)
    images = [Image.fromarray(each) for row in rows for each in row]
    save_image(sprite_sheet(images, len(sets), panels=4), folder / "sets.png")
    return report["results"]


def generation_of(provenances: Sequence[Provenance], type_names: Sequence[str] = TYPES) -> dict[str, Any]:
    """How samples were generated: all with the same settings."""
    seeds = [each.seed for each in provenances]
    given = {name: None for each in provenances for name, value in each.condition.items() if value is not None}
    conditions = [shown_name(name, type_names) for name in given]
    settings = {name: getattr(provenances[0], name) for name in GENERATION}
    return {**settings, "seeds": f"{min(seeds)} to {max(seeds)}", "conditions": ", ".join(conditions)}


def report_text(numbers: Numbers, figures: Collection[str]) -> str:
    """`report.md`; `closest-names.png` is only shown if it is among the figures."""
    more = {"summary": summary(numbers), "figures": figures, "metrics": METRICS, "statistics": STATISTICS}
    return _render("evaluation_report.md", numbers, **more)


def summary(numbers: Numbers) -> list[str]:
    """The main results, a sentence or two each, in Markdown."""
    return _render("evaluation_summary.md", numbers, row=partial(row, numbers)).splitlines()


def _render(template: str, numbers: Numbers, **more: Any) -> str:
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    formats = {"count": "{:,}".format, "digits": digits, "estimate": estimate, "percent": percent, "share": share_text}
    environment.filters |= formats
    text = (TEMPLATES / template).read_text(encoding="utf-8")
    return environment.from_string(text).render(numbers, class_word=class_word(numbers), **more).rstrip() + "\n"


def row(numbers: Numbers, name: str, to: str) -> Numbers:
    """The distances of the set `name` to the set `to`."""
    return next(each for each in numbers["distances"] if (each["name"], each["to"]) == (name, to))


def estimate(found: Numbers) -> str:
    """A value with its interval: 0.18 (0.10 to 0.27)."""
    if found["value"] is None:
        return "-"
    text = digits(found["value"])
    return text if found["low"] is None else f"{text} ({digits(found['low'])} to {digits(found['high'])})"


def percent(found: Numbers | None) -> str:
    """A share with its interval: 26 % (22 to 30)."""
    if found is None or found["value"] is None:
        return "-"
    low, high = (share_text(found[end]).removesuffix(" %") for end in ("low", "high"))
    return f"{share_text(found['value'])} ({low} to {high})"


def share_text(share: float) -> str:
    """A share without interval."""
    return f"{100 * share:.1f} %" if 0 < share < 0.1 else f"{100 * share:.0f} %"


def digits(value: float) -> str:
    """Three decimals below 0.1, two below 10, then one."""
    return f"{value:.{3 if abs(value) < 0.1 else 2 if abs(value) < 10 else 1}f}"


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
    figure = Figure(figsize=(9, 1.2 + 0.3 * len(types)), layout="constrained")
    panels = figure.subplots(1, 2)
    for axes, (title, sets) in zip(panels, shown.items(), strict=True):
        styles = ("samples", BLUE, -0.13), ("held-out", ORANGE, 0.13)
        for estimates, (label, color, shift) in zip(sets, styles, strict=True):
            values, low, high = (
                np.array([each and each[key] for each in estimates], dtype=float) for key in ("value", "low", "high")
            )
            heights = np.arange(len(types)) + shift
            axes.plot(values, heights, "o", color=color, markersize=4, label=label if axes is panels[0] else None)
            axes.hlines(heights, low, high, color=color, linewidth=1)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlabel(title, fontsize=10)
        axes.set_yticks(range(len(types)), [""] * len(types), fontsize=10)
        axes.set_ylim(len(types) - 0.4, -0.6)  # the first at the top
        axes.tick_params(labelsize=10)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", color="#DDDDDD")
        axes.set_axisbelow(True)  # the grid
    panels[0].set_yticklabels([f"{name} ({found['kid']['n']})" for name, found in types.items()])
    # The intervals of rare types are wider than the panel.
    largest = max((each["value"] for found in types.values() for each in found.values() if each["value"]), default=1.0)
    panels[0].set_xlim(-0.5 * largest, 1.5 * largest)
    panels[1].set_xlim(-0.02, 1.02)
    figure.legend(loc="outside upper center", ncols=4, frameon=False, fontsize=9.5, columnspacing=1.4)
    return figure
