"""Puts evaluations side by side: one column a model, beside real pictures.

    python benchmarks/compare_models.py released=outputs/evaluation fast=outputs/evaluation-fast

takes the folders that `pokemon-ddpm evaluate` has written. FID, precision and recall depend on how many pictures there
are, so they are those of as many samples as there are held-out pictures.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from pokemon_ddpm.evaluation.report import NUMBERS
from pokemon_ddpm.evaluation.report_text import Numbers, estimate, percent, row
from pokemon_ddpm.markdown import table

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
}


def compare_models(reports: dict[str, Numbers]) -> str:
    """The table in Markdown.

    Args:
        reports: Title of the column -> what `report.json` holds. Real pictures are those of the first.
    """
    real = next(iter(reports.values()))
    rows = [
        [name, *(ours(numbers) for numbers in reports.values()), theirs(real)] for name, (ours, theirs) in ROWS.items()
    ]
    return table(["", *reports, "real pictures"], rows)


def main() -> None:
    """Reads the reports and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("reports", nargs="+", metavar="TITLE=FOLDER", help="a column and the folder of its report")
    reports = {}
    for given in parser.parse_args().reports:
        title, _, folder = given.partition("=")
        try:
            reports[title] = json.loads((Path(folder) / NUMBERS).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            sys.exit(f"error: {given}: that is no TITLE=FOLDER with a {NUMBERS} of pokemon-ddpm evaluate ({error}).")
    print(compare_models(reports))


if __name__ == "__main__":
    main()
