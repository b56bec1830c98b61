"""The report of an evaluation: `report.md`, the same numbers as `report.json`, and figures."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from pokemon_ddpm.data import SpriteTensors
from pokemon_ddpm.evaluation.evaluate import Evaluation
from pokemon_ddpm.evaluation.figures import (
    Numbers,
    closest_pairs_figure,
    memorization_figure,
    sample_sheet,
    scale_figure,
    types_figure,
)
from pokemon_ddpm.evaluation.pixel_statistics import STATISTICS
from pokemon_ddpm.evaluation.samples import SampleSet, evaluations_per_sample
from pokemon_ddpm.files import save_figure, save_image, write_file
from pokemon_ddpm.provenance import Provenance

REPORT, NUMBERS = "report.md", "report.json"
TEMPLATE = Path(__file__).parents[1] / "templates" / "evaluation_report.md"
METRICS = {
    "kid": "KID",
    "fid": "FID",
    "sliced_wasserstein": "sliced Wasserstein",
    "exact_wasserstein": "exact Wasserstein",
    "precision": "precision",
    "recall": "recall",
}
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
        further: The result of `evaluate_pixels`; "likelihood", see `kept_likelihood`, or None; and "no_likelihood",
            why there is none.
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
    nearest, _ = evaluation.nearest["pixels"]
    figures = {
        "scale.png": scale_figure(numbers["corruptions"], row(numbers, "all samples", "train")["kid"]),
        "memorization.png": memorization_figure(evaluation),
        "closest.png": closest_pairs_figure(samples.images, nearest, train.images, names),
    }
    if names:
        figures["closest-names.png"] = closest_pairs_figure(samples.images, nearest, None, names)
    if numbers["types"]:
        figures["types.png"] = types_figure(numbers)
    for file, figure in figures.items():
        save_figure(figure, folder / file, dpi=130)
    save_image(sample_sheet(samples, train.type_names), folder / "samples.png")
    text = json.dumps(numbers, indent=2, ensure_ascii=False, allow_nan=False)
    write_file(folder / NUMBERS, text + "\n")
    write_file(folder / REPORT, report_text(numbers, figures))
    return numbers


def generation_of(provenances: Iterable[Provenance | None]) -> dict[str, Any]:
    """How samples were generated; a list where they differ."""
    known = [each for each in provenances if each]
    if not known:
        return {}

    def one_or_all(values: Iterable[Any]) -> Any:
        different = [json.loads(text) for text in sorted({json.dumps(value) for value in values})]
        return different[0] if len(different) == 1 else different

    seeds = [each.seed for each in known]
    conditions = {name: None for each in known for name, value in each.condition.items() if value is not None}
    return {
        "samples with provenance": len(known),
        **{name: one_or_all(getattr(each, name) for each in known) for name in GENERATION},
        "network evaluations per sample": one_or_all(map(evaluations_per_sample, known)),
        "seeds": f"{min(seeds)} to {max(seeds)}",
        "conditions": ", ".join(conditions),
    }


def report_text(numbers: Numbers, figures: Collection[str]) -> str:
    """`report.md`; `closest.png` and `closest-names.png` are only shown if they are among the figures."""
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    formats = {"count": "{:,}".format, "digits": digits, "estimate": estimate, "percent": percent, "share": share_text}
    environment.filters |= formats
    estimates = [each[metric] for each in numbers["distances"] for metric in METRICS]
    warnings = {text for each in (*estimates, *numbers["memorization"].values()) for text in each["warnings"]}
    values = {"numbers": numbers, "figures": figures, "metrics": METRICS, "statistics": STATISTICS, **numbers}
    values |= {"summary": summary(numbers), "warnings": sorted(warnings), "row": row, "is_reliable": is_reliable}
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(values).rstrip() + "\n"


def summary(numbers: Numbers) -> list[str]:
    """The main results, a sentence or two each, in Markdown."""
    ours, floor = (row(numbers, name, "train")["kid"] for name in ("all samples", "held-out"))
    sentences = [f"**Distance.** KID to the training images: {estimate(ours)}; of held-out images: {estimate(floor)}."]
    for name, found in numbers["two_sample"].items():
        sentences.append(
            f"**Two-sample test, {name}.** A network tells samples from held-out images with an accuracy of "
            f"{percent(found['accuracy'])} and an AUC of {estimate(found['auc'])}; 50 % is perfect."
        )
    for by, found in numbers["memorization"].items():
        chance = f"{share_text(found['chance_low'])} to {share_text(found['chance_high'])}"
        sentences.append(
            f"**Memorization, {by}.** {percent(found['nearer'])} of the samples are nearer to a training image than "
            f"5 % of the held-out images are; {chance} is expected by chance. {found['identical']:,} of "
            f"{found['n']:,} are identical to a training image."
        )
    if found := numbers["condition_accuracy"].get("type"):
        sentences.append(
            f"**Condition accuracy.** All given types are recognized in {percent(found['accuracy'])} of the samples "
            f"(chance: {share_text(found['chance'])}); all types in {percent(found['real'])} of the held-out images."
        )
    if found := numbers["likelihood"]:
        sentences.append(
            f"**Likelihood.** {found['held-out']['mean']:.3f} bits per dimension for held-out images and "
            f"{found['train']['mean']:.3f} for training images. Difference: {found['difference']:.3f} ± "
            f"{found['difference_standard_error']:.3f} (standard error)."
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


def share_text(share: float) -> str:
    """A share without interval."""
    return f"{100 * share:.1f} %" if 0 < share < 0.1 else f"{100 * share:.0f} %"


def digits(value: float) -> str:
    """Three decimals below 0.1, two below 10, then one."""
    return f"{value:.{3 if abs(value) < 0.1 else 2 if abs(value) < 10 else 1}f}"


def is_reliable(attribute: str, found: Numbers) -> bool:
    """Whether an attribute of held-out images is recognized more often than its most frequent value occurs.

    Not tested for types, because an image has one or two.
    """
    counts = [each["real"]["n"] for each in found["by_value"].values() if each["real"]]
    return attribute == "type" or not counts or found["real"]["low"] > max(counts) / found["real"]["n"]
