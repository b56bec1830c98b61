"""A table of several evaluations: one column for each model, beside real images.

    python benchmarks/compare_models.py released=outputs/evaluation fast=outputs/evaluation-fast

The folders are those that `pokemon-ddpm evaluate` wrote. FID, precision and recall depend on the number of images, so
they are of as many samples as there are held-out images. Rows without values are left out.

    python benchmarks/compare_models.py --data-dir path/to/pokemon-sprites chosen=outputs/one other=outputs/two

also has the differences of KID to the held-out front sprites from that of the first model, for samples of the same
noise. They are more accurate than the values.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from pokemon_ddpm.data import load_tensors
from pokemon_ddpm.evaluation.evaluate import as_json
from pokemon_ddpm.evaluation.features import SpriteFeatureExtractor, extract_features, load_features
from pokemon_ddpm.evaluation.metrics import kid_difference
from pokemon_ddpm.evaluation.report import NUMBERS, Numbers, estimate, percent, row
from pokemon_ddpm.evaluation.samples import read_samples

FRONTS = "the Pokémon sprites (front)"

Cell = Callable[[Numbers], str]


def _distance(metric: str, name: str, to: str) -> Cell:
    return lambda numbers: estimate(row(numbers, name, to)[metric])


def _nearer(by: str) -> Cell:
    return lambda numbers: percent(numbers["memorization"][by]["nearer"])


def _accuracy(attribute: str, key: str) -> Cell:
    return lambda numbers: percent(numbers["condition_accuracy"].get(attribute, {}).get(key))


def _bits(split: str) -> Cell:
    def cell(numbers: Numbers) -> str:
        found = (numbers["likelihood"] or {}).get(split)
        return f"{found['mean']:.2f} ± {found['standard_error']:.2f}" if found else "-"

    return cell


def _seconds(numbers: Numbers) -> str:
    about = numbers["about"]
    if not about.get("network evaluations per second"):
        return "-"  # generated elsewhere
    found = about["network evaluations per sample"] / about["network evaluations per second"]
    return f"{found:.2g} ({about['dtype']})"


def _nothing(numbers: Numbers) -> str:
    return "-"


# Row -> cells of samples and of real images: held-out images compared with training images, or training images with
# held-out images.
ROWS: dict[str, tuple[Cell, Cell]] = {
    "samples": (lambda numbers: f"{row(numbers, 'all samples', 'train')['kid']['n']:,}", _nothing),
    "KID to training": (_distance("kid", "all samples", "train"), _distance("kid", "held-out", "train")),
    "KID to held-out": (_distance("kid", "all samples", "held-out"), _distance("kid", "train", "held-out")),
    "FID to training": (_distance("fid", "samples", "train"), _distance("fid", "held-out", "train")),
    "FID to held-out": (_distance("fid", "samples", "held-out"), _distance("fid", "train", "held-out")),
    "precision": (_distance("precision", "samples", "held-out"), _distance("precision", "train", "held-out")),
    "recall": (_distance("recall", "samples", "held-out"), _distance("recall", "train", "held-out")),
    "nearer than 5 % of held-out, pixels": (_nearer("pixels"), lambda numbers: "5 %"),
    "nearer than 5 % of held-out, features": (_nearer("features"), lambda numbers: "5 %"),
    "condition accuracy, types": (_accuracy("type", "accuracy"), _accuracy("type", "real")),
    "condition accuracy, color": (_accuracy("color", "accuracy"), _accuracy("color", "real")),
    "bits per dimension, training": (_bits("train"), _nothing),
    "bits per dimension, held-out": (_bits("held-out"), _nothing),
    "seconds per sprite": (_seconds, _nothing),
}


def compare_models(reports: dict[str, Numbers], differences: Sequence[str] | None = None) -> str:
    """The table in Markdown.

    Args:
        reports: Title of the column -> content of `report.json`. Real images are those of the first.
        differences: From `kid_differences`, for all models but the first.
    """
    real = next(iter(reports.values()))
    rows = [
        [name, *(of_samples(numbers) for numbers in reports.values()), of_real(real)]
        for name, (of_samples, of_real) in ROWS.items()
    ]
    if differences is not None:
        rows.insert(list(ROWS).index("KID to held-out") + 1, ["KID minus that of the first", "-", *differences, "-"])
    head, rule = ["", *reports, "real images"], ["---", *["---:"] * (len(reports) + 1)]
    shown = [cells for cells in rows if set(cells[1:]) != {"-"}]
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
    extractor = SpriteFeatureExtractor(load_features())
    expected = {"data": FRONTS, "preprocessing": "fit", "held out": "validation", "features": extractor.name}
    for folder, report in zip(folders, reports, strict=True):
        for name, value in expected.items():
            found = str(report["about"].get(name, value))
            if not found.startswith(value):
                raise ValueError(f"{folder}: {name} is {found}, but with --data-dir it must be {value}.")
    first, *others = (read_samples(folder / "samples") for folder in folders)
    held_out = load_tensors(data_dir, "validation", first.images.shape[-1])
    reference, of_first = (extract_features(extractor, images) for images in (held_out.images, first.images))
    cells = []
    for folder, other in zip(folders[1:], others, strict=True):
        seeds, seeds_of_first = ([each and each.seed for each in samples.provenances] for samples in (other, first))
        if seeds != seeds_of_first or other.images.shape != first.images.shape:
            raise ValueError(f"{folder}: its samples have other sizes or seeds than those of {folders[0]}.")
        found = kid_difference(extract_features(extractor, other.images), of_first, reference)
        cells.append(estimate(as_json(found)))
    return cells


def main() -> None:
    """Reads the reports and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("reports", nargs="+", metavar="TITLE=FOLDER", help="a column and the folder of its report")
    parser.add_argument("--data-dir", help="the sprite archive, for the differences of KID from that of the first")
    arguments = parser.parse_args()
    folders, reports = [], {}
    for given in arguments.reports:
        title, _, folder = given.partition("=")
        try:
            report = json.loads((Path(folder) / NUMBERS).read_text(encoding="utf-8"))
            if "distances" not in report:
                raise ValueError("it is of another command")
        except (OSError, ValueError) as error:
            sys.exit(f"error: {given} is not TITLE=FOLDER with a {NUMBERS} of pokemon-ddpm evaluate: {error}")
        if title in reports:
            sys.exit(f"error: {given}: there are two columns {title}.")
        reports[title] = report
        folders.append(Path(folder))
    try:
        with_data = arguments.data_dir is not None
        differences = kid_differences(folders, list(reports.values()), arguments.data_dir) if with_data else None
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(compare_models(reports, differences))


if __name__ == "__main__":
    main()
