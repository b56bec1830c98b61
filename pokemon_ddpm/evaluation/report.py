"""The report of an evaluation: `report.md`, the same numbers as `report.json`, and figures."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from pokemon_ddpm.data import SpriteTensors
from pokemon_ddpm.evaluation.condition_accuracy import given_values
from pokemon_ddpm.evaluation.evaluate import Evaluation, as_json
from pokemon_ddpm.evaluation.likelihood import BitsPerDim
from pokemon_ddpm.evaluation.memorization import closest_pairs_figure
from pokemon_ddpm.evaluation.samples import SampleSet, evaluations_per_sample
from pokemon_ddpm.files import save_figure, save_image, write_file
from pokemon_ddpm.plots import BLUE, GRID, ORANGE, SKY, TEXT, VERMILION, label_bars, legend_above, new_axes
from pokemon_ddpm.provenance import Provenance
from pokemon_ddpm.sheets import sprite_sheet

Numbers = Mapping[str, Any]

REPORT, NUMBERS = "report.md", "report.json"
TEMPLATE = Path(__file__).parent.parent / "templates" / "evaluation_report.md"
METRICS = {
    "kid": "KID",
    "fid": "FID",
    "sliced_wasserstein": "sliced Wasserstein",
    "exact_wasserstein": "exact Wasserstein",
    "precision": "precision",
    "recall": "recall",
}
GENERATION = "model scheduler num_inference_steps guidance_scale guidance_interval guidance_rescale dtype".split()
MAGENTA = "#B00058"
BINS = 40
DPI = 130
SHEET_COLUMNS, SHEET_PANELS = 6, 2


def write_report(
    folder: Path,
    name: str,
    evaluation: Evaluation,
    samples: SampleSet,
    train: SpriteTensors,
    names: Sequence[str] | None,
    about: Mapping[str, Any],
    likelihood: Mapping[str, BitsPerDim] | None = None,
    no_likelihood: str = "",
) -> Numbers:
    """Writes the report with its figures into an existing folder.

    Args:
        folder: For the files.
        name: The title.
        evaluation: Of the samples.
        samples: The samples.
        train: The training images among which memorized ones were searched.
        names: Of these images; None if they have none.
        about: What else was given, for the last table; "features" and "held out" are also in the model card.
        likelihood: Of "train" and "held-out".
        no_likelihood: Why there is no likelihood.

    Returns:
        The content of `report.json`.
    """
    numbers = {
        "name": name,
        "resolution": samples.images.shape[-1],
        **evaluation.numbers(),
        "likelihood": likelihood and _with_difference(likelihood),
        "no_likelihood": no_likelihood,
        "about": {"samples": len(samples), **generation_of(samples.provenances), **about},
    }
    nearest = evaluation.nearest["pixels"]
    figures = {
        "scale.png": scale_figure(numbers),
        "memorization.png": memorization_figure(evaluation),
        "closest.png": closest_pairs_figure(samples.images, nearest, train.images, names),
    }
    if names:
        figures["closest-names.png"] = closest_pairs_figure(samples.images, nearest, names=names)
    if numbers["types"]:
        figures["types.png"] = types_figure(numbers)
    for file, figure in figures.items():
        save_figure(figure, folder / file, DPI)
    save_image(sample_sheet(samples, train.type_names), folder / "samples.png")
    text = json.dumps(numbers, indent=2, ensure_ascii=False, allow_nan=False)
    write_file(folder / NUMBERS, text + "\n")
    write_file(folder / REPORT, report_text(numbers, ["samples.png", *figures]))
    return numbers


def _with_difference(likelihood: Mapping[str, BitsPerDim]) -> dict[str, Any]:
    train, held_out = likelihood["train"], likelihood["held-out"]
    return {
        **as_json(likelihood),
        "difference": held_out.mean - train.mean,
        "difference_standard_error": (train.standard_error**2 + held_out.standard_error**2) ** 0.5,
    }


def generation_of(provenances: Iterable[Provenance | None]) -> dict[str, Any]:
    """How samples were generated; a list where they differ."""
    known = [each for each in provenances if each]
    if not known:
        return {}
    seeds = [each.seed for each in known]
    conditions = {name: None for each in known for name, value in each.condition.items() if value is not None}
    return {
        "samples with provenance": len(known),
        **{name: _one_or_all(getattr(each, name) for each in known) for name in GENERATION},
        "network evaluations per sample": _one_or_all(map(evaluations_per_sample, known)),
        "seeds": f"{min(seeds)} to {max(seeds)}",
        "conditions": ", ".join(conditions),
    }


def _one_or_all(values: Iterable[Any]) -> Any:
    different = [json.loads(text) for text in sorted({json.dumps(value) for value in values})]
    return different[0] if len(different) == 1 else different


def report_text(numbers: Numbers, figures: Collection[str]) -> str:
    """`report.md`, with those of its figures that exist."""
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    environment.filters |= {"digits": digits, "estimate": estimate, "percent": percent, "share": share_text}
    values = {"summary": summary(numbers), "warnings": _warnings(numbers), "row": row, "is_reliable": is_reliable}
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(**numbers, numbers=numbers, figures=figures, metrics=METRICS, **values).rstrip() + "\n"


def summary(numbers: Numbers) -> list[str]:
    """The main results, a sentence or two each, in Markdown."""
    ours, floor = (row(numbers, name, "train")["kid"] for name in ("all samples", "held-out"))
    sentences = [f"**Distance.** KID to the training images: {estimate(ours)}; of held-out images: {estimate(floor)}."]
    for by, found in numbers["memorization"].items():
        chance = f"{share_text(found['chance_low'])} to {share_text(found['chance_high'])}"
        sentences.append(
            f"**Memorization, {by}.** {percent(found['nearer'])} of the samples are nearer to a training image than "
            f"5 % of the held-out images are; {chance} is expected by chance. {found['identical']:,} of "
            f"{found['n']:,} are identical to a training image."
        )
    found = numbers["condition_accuracy"].get("type")
    if found:
        sentences.append(
            f"**Condition accuracy.** All given types are recognized in {percent(found['accuracy'])} of the samples "
            f"(chance: {share_text(found['chance'])}); all types in {percent(found['real'])} of the held-out images."
        )
    found = numbers["likelihood"]
    if found:
        train, held_out = (f"{found[split]['mean']:.3f}" for split in ("train", "held-out"))
        sentences.append(
            f"**Likelihood.** {held_out} bits per dimension for held-out images and {train} for training images. "
            f"Difference: {found['difference']:.3f} ± {found['difference_standard_error']:.3f} (standard error)."
        )
    return sentences


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


def share_text(share: float | None) -> str:
    """A share without interval."""
    return "-" if share is None else f"{100 * share:.1f} %" if 0 < share < 0.1 else f"{100 * share:.0f} %"


def digits(value: float) -> str:
    """Three decimals below 0.1, two below 10, then one."""
    return f"{value:.{3 if abs(value) < 0.1 else 2 if abs(value) < 10 else 1}f}"


def is_reliable(attribute: str, found: Numbers) -> bool:
    """Whether an attribute of held-out images is recognized more often than its most frequent value occurs.

    Not tested for types, because an image has one or two.
    """
    counts = [each["real"]["n"] for each in found["by_value"].values() if each["real"]]
    return attribute == "type" or not counts or found["real"]["low"] > max(counts) / found["real"]["n"]


def _warnings(numbers: Numbers) -> list[str]:
    estimates = [each[metric] for each in numbers["distances"] for metric in METRICS]
    return sorted({text for each in (*estimates, *numbers["memorization"].values()) for text in each["warnings"]})


def sample_sheet(samples: SampleSet, type_names: Sequence[str]) -> Image.Image:
    """The first samples that are conditioned on each type; the first of all samples if there are no conditions."""
    images = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in samples.images]
    scale = max(1, 64 // images[0].width)
    given = given_values(samples.conditions, {"type": type_names})["type"]
    names = [name for k, name in enumerate(type_names) if given[:, k].any()]
    if not names:
        columns = SHEET_COLUMNS * SHEET_PANELS
        return sprite_sheet(images[: SHEET_COLUMNS * columns], columns, scale=scale)
    cells, blank = [], Image.new("RGB", images[0].size, "white")
    for name in names:
        rows = given[:, type_names.index(name)].nonzero().flatten()[:SHEET_COLUMNS].tolist()
        cells += [*(images[i] for i in rows), *[blank] * (SHEET_COLUMNS - len(rows))]
    return sprite_sheet(cells, SHEET_COLUMNS, names, scale, SHEET_PANELS)


def scale_figure(numbers: Numbers) -> Figure:
    """KID to the training images: of held-out images by the strength of their corruption, and of the samples."""
    figure, (axes,) = new_axes(7, 4.2)
    for (name, points), color in zip(
        numbers["corruptions"].items(), (BLUE, ORANGE, SKY, VERMILION, TEXT), strict=True
    ):
        strengths, kids = ([point[key] for point in points] for key in ("strength", "kid"))
        axes.plot(strengths, kids, "o-", color=color, markersize=3.5, linewidth=1.4, label=name.replace("_", " "))
    ours = row(numbers, "all samples", "train")["kid"]
    axes.axhline(ours["value"], color=MAGENTA, linewidth=2, label="samples")
    if ours["low"] is not None:
        axes.axhspan(ours["low"], ours["high"], color=MAGENTA, alpha=0.15, linewidth=0)
    axes.set_yscale("symlog", linthresh=0.1)
    axes.grid(axis="y", color=GRID)
    axes.set_xlabel("strength of the corruption of held-out images", fontsize=10)
    axes.set_ylabel("KID to training images", fontsize=10)
    legend_above(figure)
    return figure


def memorization_figure(evaluation: Evaluation) -> Figure:
    """Distances to the nearest training image, of samples and of held-out images."""
    figure, panels = new_axes(9, 3.2, columns=2)
    for axes, (by, found) in zip(panels, evaluation.memorization.items(), strict=True):
        sets = {"samples": evaluation.nearest[by], "held-out": evaluation.held_out_nearest[by]}
        largest = max(nearest.distance.max().item() for nearest in sets.values())
        for (label, nearest), color in zip(sets.items(), (BLUE, ORANGE), strict=True):
            style = {"density": True, "histtype": "step", "linewidth": 1.6, "color": color}
            label = label if by == "pixels" else None
            axes.hist(nearest.distance.numpy(), BINS, range=(0, largest), label=label, **style)
        axes.axvline(found.threshold, color=TEXT, linewidth=1, linestyle=":")
        text = {"fontsize": 8.5, "va": "top", "ha": "right", "rotation": 90}
        axes.text(found.threshold, axes.get_ylim()[1], " 5 % of held-out are nearer", **text)
        axes.set_xlabel(f"distance to the nearest training image, {by}", fontsize=10)
        axes.set_yticks([])
    legend_above(figure)
    return figure


def types_figure(numbers: Numbers) -> Figure:
    """KID and condition accuracy by type, with those of held-out images."""
    types = numbers["types"]
    by_value = numbers["condition_accuracy"].get("type", {}).get("by_value", {})
    figure, panels = new_axes(9 if by_value else 5.5, 1.2 + 0.3 * len(types), columns=2 if by_value else 1)
    _plot_pairs(panels[0], [(found["kid"], found["floor"]) for found in types.values()], ("samples", "held-out"))
    kids = [found[key]["value"] for found in types.values() for key in ("kid", "floor")]
    largest = max((kid for kid in kids if kid is not None), default=1.0)  # the intervals of rare types are wider
    panels[0].set_xlim(-0.5 * largest, 1.5 * largest)
    panels[0].set_xlabel("KID to the training images of the type", fontsize=10)
    label_bars(panels[0], [f"{name} ({found['kid']['n']})" for name, found in types.items()])
    if by_value:
        _plot_pairs(panels[1], [(by_value[name]["accuracy"], by_value[name]["real"]) for name in types], (None, None))
        panels[1].set_xlabel("share in which the type is recognized", fontsize=10)
        panels[1].set_xlim(-0.02, 1.02)
        label_bars(panels[1], [""] * len(types))
    for axes in panels:
        axes.grid(axis="x", color=GRID)
    legend_above(figure)
    return figure


def _plot_pairs(
    axes: Axes, pairs: Sequence[tuple[Numbers | None, Numbers | None]], labels: tuple[str | None, str | None]
) -> None:
    """Two values with intervals in each row."""
    for which, (color, shift) in enumerate(((BLUE, -0.13), (ORANGE, 0.13))):
        for i, pair in enumerate(pairs):
            found = pair[which]
            if found and found["value"] is not None:
                axes.plot(
                    found["value"], i + shift, "o", color=color, markersize=4, label=labels[which] if not i else None
                )
                if found["low"] is not None:
                    axes.hlines(i + shift, found["low"], found["high"], color=color, linewidth=1)
