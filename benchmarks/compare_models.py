"""A table of several evaluations: one column for each model, beside real images.

    python benchmarks/compare_models.py released=outputs/evaluation fast=outputs/evaluation-fast

The folders are those that `pokemon-ddpm evaluate` wrote. Precision and recall depend on the number of images, so
they are of as many samples as there are held-out images. Rows without values are left out.

    python benchmarks/compare_models.py --data-dir path/to/pokemon-sprites chosen=outputs/one other=outputs/two

also has the differences of KID to the held-out front sprites from that of the first model, for samples of the same
noise. They are more accurate than the values.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pokemon_ddpm.data import load_tensors
from pokemon_ddpm.evaluation.evaluate import COMPARED_SIDE, as_json
from pokemon_ddpm.evaluation.features import extract_features, load_features
from pokemon_ddpm.evaluation.figures import Numbers
from pokemon_ddpm.evaluation.metrics import kid_difference
from pokemon_ddpm.evaluation.pixel_statistics import STATISTICS
from pokemon_ddpm.evaluation.report import NUMBERS, estimate, percent, row
from pokemon_ddpm.evaluation.samples import read_samples
from pokemon_ddpm.preprocessing import mode_of, over_white

FRONTS = "the Pokémon sprites (front)"


# Row -> metric, which samples, and what they are compared with.
DISTANCES = {
    "KID to training": ("kid", "all samples", "train"),
    "KID to held-out": ("kid", "all samples", "held-out"),
    "precision": ("precision", "samples", "held-out"),
    "recall": ("recall", "samples", "held-out"),
}
# Statistics of pixels, and the samples that they are of: the default output has no fragments and 16 colors.
PIXELS = {
    "colors": "default output", "clear_background": "raw samples", "isolated": "default output",
    "fragmented": "raw samples", "dark_outline": "default output", "palette_shift": "raw samples",
}  # fmt: skip
OTHER = {"train": "held-out", "held-out": "train"}


def column(numbers: Numbers, real: bool) -> dict[str, str]:
    """Row -> cell, of the samples or of real images, which are compared with those of the other split."""
    cells = {} if real else {"samples": f"{row(numbers, 'all samples', 'train')['kid']['n']:,}"}
    for title, (metric, name, to) in DISTANCES.items():
        cells[title] = estimate(row(numbers, OTHER[to] if real else name, to)[metric])
    for by, found in numbers["memorization"].items():
        cells[f"nearer than 5 % of held-out, {by}"] = "5 %" if real else percent(found["nearer"])
    for attribute, title in (("type", "types"), ("color", "color")):
        found = numbers["condition_accuracy"].get(attribute, {}).get("real" if real else "accuracy")
        cells[f"condition accuracy, {title}"] = percent(found)
    judged = numbers.get("two_sample", {})
    reduced = next((name for name in judged if f" at {COMPARED_SIDE} of " in name), "default output")
    for title, name in (("raw", "raw"), ("", "default output"), (f"at {COMPARED_SIDE} px", reduced)):
        title = ", ".join(["two-sample test", *filter(None, [title])])
        cells[title] = "50 %" if real else percent(judged[name]["accuracy"]) if name in judged else "-"
    for name, of in PIXELS.items():
        found = numbers.get("pixel_statistics", {}).get("held-out" if real else of, {}).get(name)
        cells[STATISTICS[name]] = estimate(found) if found else "-"
    if real:
        return cells
    for split, title in (("train", "training"), ("held-out", "held-out")):
        found = (numbers["likelihood"] or {}).get(split)
        text = f"{found['mean']:.2f} ± {found['standard_error']:.2f}" if found else "-"
        cells[f"bits per dimension, {title}"] = text
    about, cells["seconds per sprite"] = numbers["about"], "-"
    if about.get("network evaluations per second"):  # not generated elsewhere
        seconds = about["network evaluations per sample"] / about["network evaluations per second"]
        cells["seconds per sprite"] = f"{seconds:.2g} ({about['dtype']})"
    return cells


def compare_models(reports: Mapping[str, Numbers], differences: Sequence[str] | None = None) -> str:
    """The table in Markdown.

    Args:
        reports: Title of the column -> content of `report.json`. Real images are those of the first.
        differences: From `kid_differences`, for all models but the first.
    """
    columns = [column(numbers, real=False) for numbers in reports.values()]
    columns.append(column(next(iter(reports.values())), real=True))
    rows = [[name, *(cells.get(name, "-") for cells in columns)] for name in columns[0]]
    if differences is not None:
        rows.insert(3, ["KID minus that of the first", "-", *differences, "-"])
    head, rule = ["", *reports, "real images"], ["---", *["---:"] * len(columns)]
    shown = [cells for cells in rows if set(cells[1:-1]) != {"-"}]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *shown))


def kid_differences(folders: Sequence[Path], reports: Sequence[Numbers], data_dir: str) -> list[str]:
    """KID to the held-out front sprites minus that of the first model, for all others, with intervals.

    Args:
        folders: Of the reports, with the samples in them.
        reports: Content of each `report.json`.
        data_dir: The sprite archive.

    Raises:
        ValueError: If a report has other data or another network, or samples have other sizes or seeds.
        OSError: If samples or sprites cannot be read.
    """
    network = load_features()
    first, *others = (read_samples(folder / "samples") for folder in folders)
    mode = mode_of(first.images.shape[1])
    expected = {"data": FRONTS, "preprocessing": mode, "held out": "validation", "features": network.name}
    for folder, report in zip(folders, reports, strict=True):
        for name, value in expected.items():
            found = str(report["about"].get(name, value))
            if not found.startswith(value):
                raise ValueError(f"{folder}: {name} is {found}, but with --data-dir it must be {value}.")
    held_out = over_white(load_tensors(data_dir, "validation", first.images.shape[-1], mode=mode).images)
    reference, of_first = (extract_features(network, images) for images in (held_out, first.on_white().images))
    cells = []
    for folder, other in zip(folders[1:], others, strict=True):
        seeds, seeds_of_first = ([each and each.seed for each in samples.provenances] for samples in (other, first))
        if seeds != seeds_of_first or other.images.shape != first.images.shape:
            raise ValueError(f"{folder}: its samples have other sizes or seeds than those of {folders[0]}.")
        found = kid_difference(extract_features(network, other.on_white().images), of_first, reference)
        cells.append(estimate(as_json(found)))
    return cells


def main() -> None:
    """Reads the reports and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("reports", nargs="+", metavar="TITLE=FOLDER", help="a column and the folder of its report")
    parser.add_argument("--data-dir", help="the sprite archive, for the differences of KID from that of the first")
    arguments = parser.parse_args()
    folders, reports, differences = [], {}, None
    for given in arguments.reports:
        title, _, folder = given.partition("=")
        try:
            report = json.loads((Path(folder) / NUMBERS).read_text(encoding="utf-8"))
            if not {"distances", "memorization", "condition_accuracy"} <= report.keys():
                raise ValueError("it is of another version or command; run the evaluation again")
        except (OSError, ValueError) as error:
            sys.exit(f"error: {given} is not TITLE=FOLDER with a {NUMBERS} of pokemon-ddpm evaluate: {error}")
        if title in reports:
            sys.exit(f"error: {given}: there are two columns {title}.")
        reports[title] = report
        folders.append(Path(folder))
    if arguments.data_dir is not None:
        try:
            differences = kid_differences(folders, list(reports.values()), arguments.data_dir)
        except (OSError, ValueError) as error:
            sys.exit(f"error: {error}")
    print(compare_models(reports, differences))


if __name__ == "__main__":
    main()
