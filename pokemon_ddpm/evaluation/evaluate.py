"""Everything that is measured of a set of samples, and its report.

The report is `report.md`, the same numbers as `report.json`, and sheets.
"""

import dataclasses
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import torch
from huggingface_hub.utils import tqdm
from PIL import Image
from torch import Tensor

from pokemon_ddpm.data import SpriteTensors
from pokemon_ddpm.evaluation import images, metrics
from pokemon_ddpm.evaluation.features import SpriteFeatures, extract_features, predict
from pokemon_ddpm.evaluation.images import GeneratedSets, RealImages, SampleSet, random_rows
from pokemon_ddpm.evaluation.metrics import STATISTICS, Nearest, averages, given_values, label_values
from pokemon_ddpm.evaluation.two_sample import two_sample_test
from pokemon_ddpm.files import save_image, write_file
from pokemon_ddpm.preprocessing import as_arrays
from pokemon_ddpm.sheets import sprite_sheet
from pokemon_ddpm.vocabulary import shown_name

Numbers = Mapping[str, Any]  # as in report.json

COMPARED_SIDE = 32  # to which larger images are reduced too, so that models of different resolutions compare
REPORT, NUMBERS = "report.md", "report.json"
TEMPLATES = Path(__file__).parents[1] / "templates"
GENERATION = "model scheduler num_inference_steps guidance_scale guidance_interval guidance_rescale dtype".split()

SHEET_COLUMNS, SHEET_PANELS = 6, 2
NUM_PAIRS, PAIR_PANELS = 20, 4


def as_json(value: Any) -> Any:
    """Dataclasses as dicts, and None for numbers that are not finite, as in report.json."""
    return json.loads(json.dumps(value, default=dataclasses.asdict), parse_constant=lambda _: None)


def evaluate(
    samples: SampleSet, data: RealImages, network: SpriteFeatures | None, seed: int = 0
) -> tuple[dict[str, Any], Nearest]:
    """Compares samples with at least four training and four held-out images, all RGB on white.

    Args:
        data: Memorized images are searched among its `all_train`.
        network: For distances and condition accuracy, with the classes of the images; None leaves both out.
        seed: Of the random subsets.

    Returns:
        "distances", see `comparisons`; "memorization", "pixels" -> see `memorization`; and "condition_accuracy",
        attribute -> see `condition_accuracy`. Beside these the training images that are nearest to the samples.
    """
    nearest = metrics.nearest_by_pixels(samples.images, data.all_train.images)
    usual = metrics.nearest_by_pixels(data.held_out.images, data.all_train.images).distance
    memorized = metrics.memorization(nearest.distance, usual)
    numbers: dict[str, Any] = {"distances": [], "memorization": {"pixels": memorized}, "condition_accuracy": {}}
    if network is not None:
        sets = tqdm((samples, data.train, data.held_out), "Features")
        numbers["distances"] = comparisons(*(extract_features(network, part.images) for part in sets), seed)
        given = given_values(samples.conditions, network.vocabulary)
        predicted, real = (predict(network, part.images) for part in (samples, data.held_out))
        for name, values in network.vocabulary.items():
            if given[name].any():
                ids = data.held_out.labels.get(name)
                of_real = None if ids is None else (real[name], label_values(ids, len(values)))
                accuracy = metrics.condition_accuracy(values, predicted[name], given[name], of_real)
                numbers["condition_accuracy"][name] = accuracy
    return numbers, nearest


def comparisons(samples: Tensor, train: Tensor, held_out: Tensor, seed: int) -> list[dict[str, Any]]:
    """Metrics of features, float32 (N, D), of samples, training and held-out images, each beside another set.

    All but KID depend on the number of images, so the last three rows use equally many. A row has the "name" of a set,
    that of the set it is compared "to", and an `Estimate` by the name of each metric.
    """
    count = min(len(samples), len(held_out))
    few_samples, few_train, few_held_out = (
        part[random_rows(len(part), min(count, len(part)), seed).sort().values] for part in (samples, train, held_out)
    )
    pairs = [
        ("all samples", samples, "train", train),
        ("all samples", samples, "held-out", held_out),
        ("held-out", few_held_out, "train", train),
        ("samples", few_samples, "held-out", held_out),
        ("train", few_train, "held-out", held_out),
    ]
    rows = []
    for name, one, to, other in pairs:
        precision, recall = metrics.precision_recall(one, other, seed)
        distances = {key: getattr(metrics, key)(one, other, seed) for key in ("kid", "frechet")}
        rows.append({"name": name, "to": to, **distances, "precision": precision, "recall": recall})
    return rows


def evaluate_pixels(
    sets: GeneratedSets, train: SpriteTensors, held_out: SpriteTensors, seed: int, device: torch.device | str
) -> dict[str, dict[str, Any]]:
    """Compares raw samples and the `default_output`, as the model was trained on, with real images prepared alike.

    Returns:
        "two_sample", name of the images -> "accuracy", see `two_sample_test`; and "pixel_statistics", name of the
        images -> see `averages`.
    """
    samples = sets.samples.images
    few = random_rows(len(train), min(len(train), len(samples)), seed)
    raw = [train.images[few], samples, held_out.images, sets.others.images]
    output = [images.default_output(pixels) for pixels in raw]
    compared = {"raw": raw, "default output": output}
    if (side := samples.shape[-1]) > COMPARED_SIDE:
        few_pixels = [images.reduced(pixels, COMPARED_SIDE) for pixels in output]
        compared[f"default output at {COMPARED_SIDE} of {side} px"] = few_pixels
    counted = {"raw samples": samples, "default output": output[1], "held-out": held_out.images}
    pixels = {name: averages(metrics.pixel_statistics(images.as_rgba(part)), seed) for name, part in counted.items()}
    lines = held_out.labels.get("line", torch.full((len(held_out),), -1))
    lines = torch.cat([lines, lines[sets.other_rows]])
    two_sample = {name: {"accuracy": two_sample_test(four, lines, seed, device)} for name, four in compared.items()}
    return {"two_sample": two_sample, "pixel_statistics": pixels}


def evaluate_variety(alone: SampleSet, train: SpriteTensors, seed: int) -> dict[str, dict[str, Any]]:
    """Variety within a type of samples by the type alone and of as many training images, as `default_output`.

    Returns:
        Name of the images -> "near" and "color", means over types, see `variety` and `averages`; and "n", the number.
    """
    names, order = train.type_names, random_rows(len(train), len(train), seed)
    given = given_values(alone.conditions, {"type": names})["type"].T
    known = label_values(train.labels["type"], len(names))[order].T
    rows = [order[has_type][: own.sum()] for has_type, own in zip(known, given, strict=True)]
    compared = {"by type alone": [alone.images[own] for own in given], "real": [train.images[own] for own in rows]}
    result = {}
    for name, of_types in compared.items():
        processed = images.default_output(torch.cat(of_types))
        parts = processed.split([*map(len, of_types)])
        varieties = [metrics.variety(pixels) for pixels in parts if len(pixels) > 1]
        figures = {key: np.array([variety[key] for variety in varieties]) for key in ("near", "color")}
        result[name] = {**averages(figures, seed), "n": len(processed)}
    return result


def write_report(
    folder: Path, numbers: Numbers, samples: SampleSet, nearest: Nearest, data: RealImages, about: Mapping[str, Any]
) -> Numbers:
    """Writes the report with its sheets into an existing folder, and returns the content of `report.json`.

    `numbers` are the name of the model and what was measured, `about` is what else was given, for the last table.
    """
    train, names = data.all_train, data.names
    first, seeds = samples.provenances[0], [made.seed for made in samples.provenances]
    given = {key: None for given in samples.conditions for key, value in given.items() if value is not None}
    settings = {key: getattr(first, key) for key in GENERATION} | {"seeds": f"{min(seeds)} to {max(seeds)}"}
    settings["conditions"] = ", ".join(shown_name(key, train.type_names) for key in given)
    kind = {"resolution": samples.images.shape[-1], "class_word": shown_name("type", train.type_names)}
    numbers = as_json({**kind, **numbers, "about": {"samples": len(seeds), **settings, **about}})
    sheets = {"samples.png": sample_sheet(samples, train.type_names)}
    sheets["closest.png"] = closest_sheet(samples.images, nearest, train.images, names)
    if names:
        sheets["closest-names.png"] = closest_sheet(samples.images, nearest, None, names)
    for file, sheet in sheets.items():
        save_image(sheet, folder / file)
    write_file(folder / NUMBERS, json.dumps(numbers, indent=2, ensure_ascii=False) + "\n")
    write_file(folder / REPORT, report_text(numbers, sheets))
    return numbers


def report_text(numbers: Numbers, sheets: Collection[str]) -> str:
    """`report.md`, which shows `closest-names.png` if it is among the sheets."""
    return _render("evaluation_report.md", numbers, summary=summary(numbers), sheets=sheets, statistics=STATISTICS)


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
    return next(distances for distances in numbers["distances"] if (distances["name"], distances["to"]) == (name, to))


def share_text(share: float) -> str:
    """A share without interval."""
    return f"{100 * share:.1f} %" if 0 < share < 0.1 else f"{100 * share:.0f} %"


def digits(value: float) -> str:
    """Three decimals below 0.1, two below 10, then one."""
    places = 3 if abs(value) < 0.1 else 2 if abs(value) < 10 else 1
    return f"{value:.{places}f}"


def estimate(metric: Numbers | None, text: Callable[[float], str] = digits) -> str:
    """A value with its interval: 0.18 (0.10 to 0.27)."""
    if metric is None or metric["value"] is None:
        return "-"
    value, *ends = (text(metric[key]) for key in ("value", "low", "high") if metric[key] is not None)
    return f"{value} ({' to '.join(end.removesuffix(' %') for end in ends)})" if ends else value


percent = partial(estimate, text=share_text)  # of a share: 26 % (22 to 30)


def sample_sheet(samples: SampleSet, names: Sequence[str]) -> Image.Image:
    """The first samples of each type, in RGB."""
    side, given = samples.images.shape[-1], given_values(samples.conditions, {"type": names})["type"]
    blanks = torch.full((SHEET_COLUMNS, 3, side, side), 255, dtype=torch.uint8)
    rows = [k for k in range(len(names)) if given[:, k].any()]
    cells = torch.cat([torch.cat([samples.images[given[:, k]], blanks])[:SHEET_COLUMNS] for k in rows])
    cells = [Image.fromarray(image) for image in as_arrays(cells)]
    return sprite_sheet(cells, SHEET_COLUMNS, [names[k] for k in rows], max(1, 64 // side), SHEET_PANELS)


def closest_sheet(samples: Tensor, nearest: Nearest, train: Tensor | None, names: Sequence[str] | None) -> Image.Image:
    """The samples that are nearest to training images, with distance, name and training image if these are given."""
    closest = nearest.distance.sort(stable=True).indices[:NUM_PAIRS]
    matches = nearest.index[closest]
    sets = [samples[closest]] if train is None else [samples[closest], train[matches]]
    pairs = zip(nearest.distance[closest].tolist(), matches.tolist(), strict=True)
    labels = [f"{distance:.3g} {names[match] if names else ''}".rstrip() for distance, match in pairs]
    cells = [Image.fromarray(image) for pair in zip(*map(as_arrays, sets), strict=True) for image in pair]
    return sprite_sheet(cells, len(sets), labels, panels=PAIR_PANELS)
