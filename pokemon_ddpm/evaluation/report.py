"""A report of an evaluation: `report.md`, `report.json` and their figures in a folder."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pokemon_ddpm.data import SpriteTensors
from pokemon_ddpm.evaluation import report_figures
from pokemon_ddpm.evaluation.evaluation import Evaluation, plain
from pokemon_ddpm.evaluation.likelihood import BitsPerDim
from pokemon_ddpm.evaluation.novelty import closest_pairs_figure
from pokemon_ddpm.evaluation.report_text import FIGURES, NAMED, Numbers, report
from pokemon_ddpm.evaluation.samples import SampleSet
from pokemon_ddpm.provenance import Provenance
from pokemon_ddpm.schedulers import SAMPLERS, network_evaluations

REPORT, NUMBERS = "report.md", "report.json"
DPI = 130


def write_report(
    folder: Path,
    name: str,
    evaluation: Evaluation,
    samples: SampleSet,
    seen: SpriteTensors,
    names: Sequence[str] | None,
    about: Mapping[str, Any],
    likelihood: Mapping[str, BitsPerDim] | None,
    no_likelihood: str = "",
) -> Numbers:
    """Writes the report; older files of the same names are replaced, and others left alone.

    Args:
        folder: Where to; it must be there.
        name: Of what was evaluated.
        evaluation: What was measured.
        samples: Of what.
        seen: The training pictures among which copies were looked for.
        names: Of these, in two lines each; None if they have none.
        about: What else is to be said of how it was measured, in this order, after what the samples say themselves.
        likelihood: By "train" and "held-out"; None if it was not measured.
        no_likelihood: Why not.

    Returns:
        What `report.json` holds.

    Raises:
        OSError: If a file cannot be written.
    """
    numbers = {
        "name": name,
        "resolution": samples.images.shape[-1],
        **evaluation.numbers(),
        "likelihood": likelihood and _with_difference(likelihood),
        "no_likelihood": no_likelihood,
        "about": {"samples": len(samples), **drawn_how(samples.provenances), **about},
    }
    figures = {
        "scale.png": report_figures.scale_figure(evaluation),
        "novelty.png": report_figures.novelty_figure(evaluation),
        "closest.png": closest_pairs_figure(samples.images, evaluation.nearest["pixels"], seen.images, names),
    }
    if names:
        figures[NAMED] = closest_pairs_figure(samples.images, evaluation.nearest["pixels"], names=names)
    if evaluation.types:
        figures["types.png"] = report_figures.types_figure(evaluation)
    for file, figure in figures.items():
        figure.savefig(folder / file, dpi=DPI)
    asked = [_first_type(condition, seen.type_names) for condition in samples.conditions]
    report_figures.sample_sheet(samples.images, asked).save(folder / "samples.png")
    text = json.dumps(numbers, indent=2, ensure_ascii=False, allow_nan=False)
    (folder / NUMBERS).write_text(text + "\n", encoding="utf-8")
    shown = [file for file in FIGURES if file in figures or file == "samples.png"]
    (folder / REPORT).write_text(report(numbers, shown), encoding="utf-8")
    return numbers


def _with_difference(likelihood: Mapping[str, BitsPerDim]) -> dict[str, Any]:
    train, held_out = likelihood["train"], likelihood["held-out"]
    return {
        **plain(likelihood),
        "difference": held_out.mean - train.mean,
        "difference_standard_error": (train.standard_error**2 + held_out.standard_error**2) ** 0.5,
    }


def drawn_how(provenances: Sequence[Provenance | None]) -> dict[str, Any]:
    """What samples say of how they were drawn, all values that occur; empty if they say nothing."""
    known = [each for each in provenances if each is not None]
    if not known:
        return {}
    names = ("model", "scheduler", "num_inference_steps", "guidance_scale", "guidance_interval", "guidance_rescale",
             "dtype")  # fmt: skip
    told = {name: sorted({json.dumps(getattr(each, name)) for each in known}) for name in names}
    seeds = [each.seed for each in known]
    words = dict.fromkeys(name for each in known for name, word in each.condition.items() if word is not None)
    evaluations = sorted({evaluations_of(each) for each in known})
    return {
        "told how they were drawn": len(known),
        **{name.replace("num_", ""): _one(list(map(json.loads, values))) for name, values in told.items()},
        "network evaluations a sample": _one(evaluations),
        "seeds": f"{min(seeds)} to {max(seeds)}",
        "asked for": ", ".join(words),
    }


def evaluations_of(made: Provenance) -> int:
    """How often the network was asked for a sample, twice a step with guidance."""
    steps = made.num_inference_steps
    if made.scheduler in SAMPLERS:
        steps = network_evaluations(made.scheduler, steps)
    return steps * (1 if made.guidance_scale == 1 else 2)


def _one(values: list[Any]) -> Any:
    """A value that is the only one, or all of them."""
    return values[0] if len(values) == 1 else values


def _first_type(condition: Mapping[str, Any] | None, names: Sequence[str]) -> str | None:
    """The type that a sample was asked for first; None for none or a blend."""
    asked = (condition or {}).get("type")
    if isinstance(asked, list | tuple):
        asked = asked[0] if asked else None
    if isinstance(asked, int) and not isinstance(asked, bool):
        return names[asked] if 0 <= asked < len(names) else None
    first = asked.split("/")[0].strip().lower() if isinstance(asked, str) else None
    return first if first in names else None
