"""The report of an evaluation: `report.md`, the same numbers as `report.json`, and figures."""

import json
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jinja2
import torch
from PIL import Image

from pokemon_ddpm.data import SpriteTensors
from pokemon_ddpm.evaluation.evaluate import Evaluation, as_json
from pokemon_ddpm.evaluation.figures import (
    Numbers,
    class_word,
    closest_pairs_figure,
    sample_sheet,
    types_figure,
)
from pokemon_ddpm.evaluation.images import random_rows
from pokemon_ddpm.evaluation.pixel_statistics import STATISTICS
from pokemon_ddpm.evaluation.samples import SampleSet
from pokemon_ddpm.files import save_figure, save_image, write_file
from pokemon_ddpm.preprocessing import as_arrays
from pokemon_ddpm.provenance import Provenance
from pokemon_ddpm.sheets import sprite_sheet

REPORT, NUMBERS = "report.md", "report.json"
TEMPLATES = Path(__file__).parents[1] / "templates"
METRICS = {"kid": "KID", "precision": "precision", "recall": "recall"}
GENERATION = "model scheduler num_inference_steps guidance_scale guidance_interval guidance_rescale dtype".split()


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
        "about": {"samples": len(samples.images), **generation_of(samples.provenances), **about},
    }
    figures = {
        "closest.png": closest_pairs_figure(samples.images, evaluation.nearest, train.images, names),
        "types.png": types_figure(numbers),
    }
    if names:
        figures["closest-names.png"] = closest_pairs_figure(samples.images, evaluation.nearest, None, names)
    for file, figure in figures.items():
        save_figure(figure, folder / file, dpi=130)
    save_image(sample_sheet(samples, train.type_names), folder / "samples.png")
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


def generation_of(provenances: Sequence[Provenance]) -> dict[str, Any]:
    """How samples were generated: all with the same settings."""
    seeds = [each.seed for each in provenances]
    conditions = {name: None for each in provenances for name, value in each.condition.items() if value is not None}
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
