"""The report of an evaluation: `report.md`, the same numbers as `report.json`, and sheets."""

import json
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jinja2
import torch
from PIL import Image

from pokemon_ddpm.data import SpriteTensors
from pokemon_ddpm.evaluation.evaluate import Evaluation
from pokemon_ddpm.evaluation.images import SampleSet, random_rows
from pokemon_ddpm.evaluation.memorization import Nearest
from pokemon_ddpm.evaluation.metrics import STATISTICS, given_values, label_values
from pokemon_ddpm.files import save_image, write_file
from pokemon_ddpm.preprocessing import as_arrays
from pokemon_ddpm.provenance import Provenance
from pokemon_ddpm.sheets import sprite_sheet
from pokemon_ddpm.vocabulary import TYPES, shown_name

Numbers = Mapping[str, Any]  # as `Evaluation.numbers`

REPORT, NUMBERS = "report.md", "report.json"
TEMPLATES = Path(__file__).parents[1] / "templates"
METRICS = {
    "kid": "KID", "frechet": "Fréchet", "wasserstein": "Wasserstein", "precision": "precision", "recall": "recall",
}  # fmt: skip
GENERATION = "model scheduler num_inference_steps guidance_scale guidance_interval guidance_rescale dtype".split()

SHEET_COLUMNS, SHEET_PANELS = 6, 2
NUM_PAIRS, PAIR_PANELS = 20, 4


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
    """Writes the report with its sheets into an existing folder.

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
        "class_word": shown_name("type", train.type_names),
        **evaluation.numbers,
        **further,
        "about": {"samples": len(samples.images), **generation_of(samples.provenances, train.type_names), **about},
    }
    sheets = {
        "samples.png": sample_sheet(samples, train),
        "closest.png": closest_sheet(samples.images, evaluation.nearest, train.images, names),
    }
    if names:
        sheets["closest-names.png"] = closest_sheet(samples.images, evaluation.nearest, None, names)
    for file, sheet in sheets.items():
        save_image(sheet, folder / file)
    write_file(folder / NUMBERS, json.dumps(numbers, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    write_file(folder / REPORT, report_text(numbers, sheets))
    return numbers


def generation_of(provenances: Sequence[Provenance], type_names: Sequence[str] = TYPES) -> dict[str, Any]:
    """How samples were generated: all with the same settings."""
    seeds = [each.seed for each in provenances]
    given = {name: None for each in provenances for name, value in each.condition.items() if value is not None}
    conditions = [shown_name(name, type_names) for name in given]
    settings = {name: getattr(provenances[0], name) for name in GENERATION}
    return {**settings, "seeds": f"{min(seeds)} to {max(seeds)}", "conditions": ", ".join(conditions)}


def report_text(numbers: Numbers, sheets: Collection[str]) -> str:
    """`report.md`; `closest-names.png` is only shown if it is among the sheets."""
    metrics = {name: title for name, title in METRICS.items() if all(name in each for each in numbers["distances"])}
    more = {"summary": summary(numbers), "sheets": sheets, "metrics": metrics, "statistics": STATISTICS}
    return _render("evaluation_report.md", numbers, **more)


def summary(numbers: Numbers) -> list[str]:
    """The main results, a sentence or two each, in Markdown."""
    return _render("evaluation_summary.md", numbers, row=partial(row, numbers)).splitlines()


def _render(template: str, numbers: Numbers, **more: Any) -> str:
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    formats = {"count": "{:,}".format, "digits": digits, "estimate": estimate, "percent": percent, "share": share_text}
    environment.filters |= formats
    text = (TEMPLATES / template).read_text(encoding="utf-8")
    return environment.from_string(text).render(numbers, **more).rstrip() + "\n"


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


def closest_sheet(
    samples: torch.Tensor, nearest: Nearest, train: torch.Tensor | None, names: Sequence[str] | None
) -> Image.Image:
    """The samples that are nearest to training images, the nearest first: distance and name, sample, training image.

    `samples` are uint8 (N, 3, S, S), `train` is uint8 (M, 3, S, S). Training images or their names are left out if
    they are None.
    """
    closest = nearest.distance.sort(stable=True).indices[:NUM_PAIRS]
    matches = nearest.index[closest]
    sets = [samples[closest]] if train is None else [samples[closest], train[matches]]
    found = zip(nearest.distance[closest].tolist(), matches.tolist(), strict=True)
    labels = [f"{distance:.3g} {names[match] if names else ''}".rstrip() for distance, match in found]
    images = [Image.fromarray(image) for pair in zip(*map(as_arrays, sets), strict=True) for image in pair]
    return sprite_sheet(images, len(sets), labels, panels=PAIR_PANELS)
