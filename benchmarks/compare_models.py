"""Puts evaluations side by side: one column a model, beside real pictures.

    python benchmarks/compare_models.py released=outputs/evaluation fast=outputs/evaluation-fast

takes the folders that `pokemon-ddpm evaluate` has written. FID, precision and recall depend on how many pictures there
are, so they are those of as many samples as there are held-out pictures. What none has been measured by is left out.

    python benchmarks/compare_models.py --data-dir path/to/pokemon-sprites chosen=outputs/one other=outputs/two

also says how much higher KID to the held-out fronts is than that of the first, by samples of the same noise; that is
known better than the figures.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from pokemon_ddpm.data import sprite_tensors
from pokemon_ddpm.dataset_scripts.pokemon_sprites import load_sprites
from pokemon_ddpm.evaluation.distances import kid_difference
from pokemon_ddpm.evaluation.evaluation import plain
from pokemon_ddpm.evaluation.features import SpriteFeatureExtractor, load_features
from pokemon_ddpm.evaluation.protocols import extract_features
from pokemon_ddpm.evaluation.report import NUMBERS
from pokemon_ddpm.evaluation.report_text import Numbers, estimate, percent, row
from pokemon_ddpm.evaluation.samples import read_samples
from pokemon_ddpm.markdown import table

FRONTS = "the Pokémon sprites (front)"

Cell = Callable[[Numbers], str]


def _distance(metric: str, name: str, to: str) -> Cell:
    return lambda numbers: estimate(row(numbers, name, to)[metric])


def _near(by: str) -> Cell:
    return lambda numbers: percent(numbers["novelty"][by]["nearer"])


def _seen(attribute: str, whose: str) -> Cell:
    return lambda numbers: percent(numbers["obedience"].get(attribute, {}).get(whose))


def _bits(split: str) -> Cell:
    def cell(numbers: Numbers) -> str:
        found = (numbers["likelihood"] or {}).get(split)
        return f"{found['mean']:.2f} ± {found['standard_error']:.2f}" if found else "-"

    return cell


def _seconds(numbers: Numbers) -> str:
    about = numbers["about"]
    if not about.get("network evaluations a second"):
        return "-"  # samples that were drawn elsewhere
    found = about["network evaluations a sample"] / about["network evaluations a second"]
    return f"{found:.2g} ({about['dtype']})"


def _nothing(numbers: Numbers) -> str:
    return "-"


# What is measured, of samples and of real pictures: held-out ones where training pictures are the reference, and
# training ones where these are.
ROWS: dict[str, tuple[Cell, Cell]] = {
    "samples": (lambda numbers: f"{row(numbers, 'all samples', 'train')['kid']['n']:,}", _nothing),
    "KID to training": (_distance("kid", "all samples", "train"), _distance("kid", "held-out", "train")),
    "KID to held-out": (_distance("kid", "all samples", "held-out"), _distance("kid", "train", "held-out")),
    "FID to training": (_distance("fid", "samples", "train"), _distance("fid", "held-out", "train")),
    "FID to held-out": (_distance("fid", "samples", "held-out"), _distance("fid", "train", "held-out")),
    "precision": (_distance("precision", "samples", "held-out"), _distance("precision", "train", "held-out")),
    "recall": (_distance("recall", "samples", "held-out"), _distance("recall", "train", "held-out")),
    "nearer than 5 % of held-out, pixels": (_near("pixels"), lambda numbers: "5 %"),
    "nearer than 5 % of held-out, features": (_near("features"), lambda numbers: "5 %"),
    "all types are seen": (_seen("type", "obeyed"), _seen("type", "real")),
    "colour is seen": (_seen("color", "obeyed"), _seen("color", "real")),
    "bits a dimension, training": (_bits("train"), _nothing),
    "bits a dimension, held-out": (_bits("held-out"), _nothing),
    "seconds a sprite, while these were drawn": (_seconds, _nothing),
}


def compare_models(reports: dict[str, Numbers], above: Sequence[str] | None = None) -> str:
    """The table in Markdown.

    Args:
        reports: Title of the column -> what `report.json` holds. Real pictures are those of the first.
        above: What `above_first` has found of all but the first.
    """
    real = next(iter(reports.values()))
    rows = [
        [name, *(ours(numbers) for numbers in reports.values()), theirs(real)] for name, (ours, theirs) in ROWS.items()
    ]
    if above is not None:
        rows.insert(list(ROWS).index("KID to held-out") + 1, ["above the first, same noise", "-", *above, "-"])
    return table(["", *reports, "real pictures"], [cells for cells in rows if set(cells[1:]) != {"-"}])


def above_first(folders: Sequence[Path], reports: Sequence[Numbers], data_dir: str) -> list[str]:
    """KID to the held-out fronts less that of the first, for each of the others, with its interval.

    Args:
        folders: Of reports, with the samples in them.
        reports: They.
        data_dir: The sprite archive.

    Raises:
        ValueError: If a report is of other pictures or another network, samples are not of one size, or two with the
            same place in the order are of different seeds.
        OSError: If samples or sprites cannot be read.
    """
    extractor = SpriteFeatureExtractor(load_features())
    wanted = {"data": FRONTS, "preprocessing": "fit", "held out": "validation", "features": extractor.name}
    for folder, report in zip(folders, reports, strict=True):
        for name, value in wanted.items():
            found = str(report["about"].get(name, value))
            if not found.startswith(value):
                raise ValueError(f"{folder}: {name} is {found} there; with --data-dir it must be {value}.")
    first, *others = (read_samples(folder / "samples") for folder in folders)
    held_out = sprite_tensors(load_sprites(data_dir, split="validation"), first.images.shape[-1])
    reference, ours = (extract_features(extractor, images) for images in (held_out.images, first.images))
    cells = []
    for folder, other in zip(folders[1:], others, strict=True):
        if other.seeds != first.seeds or other.images.shape != first.images.shape:
            raise ValueError(f"{folder}: its samples are not of the same size and seeds as those of {folders[0]}.")
        theirs = extract_features(extractor, other.images)
        cells.append(estimate(plain(kid_difference(theirs, ours, reference))))
    return cells


def main() -> None:
    """Reads the reports and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("reports", nargs="+", metavar="TITLE=FOLDER", help="a column and the folder of its report")
    parser.add_argument("--data-dir", help="the sprite archive, for how much higher KID is than that of the first")
    arguments = parser.parse_args()
    folders, reports = [], {}
    for given in arguments.reports:
        title, _, folder = given.partition("=")
        try:
            report = json.loads((Path(folder) / NUMBERS).read_text(encoding="utf-8"))
            if "distances" not in report:
                raise ValueError("it is another command's")
        except (OSError, ValueError) as error:
            sys.exit(f"error: {given}: that is no TITLE=FOLDER with a {NUMBERS} of pokemon-ddpm evaluate ({error}).")
        if title in reports:
            sys.exit(f"error: {given}: there are two columns {title}.")
        reports[title] = report
        folders.append(Path(folder))
    try:
        above = above_first(folders, list(reports.values()), arguments.data_dir) if arguments.data_dir else None
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(compare_models(reports, above))


if __name__ == "__main__":
    main()
