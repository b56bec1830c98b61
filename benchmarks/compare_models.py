"""A table of several evaluations: one column for each model, beside real images.

    python benchmarks/compare_models.py released=outputs/evaluation fast=outputs/evaluation-fast

The folders are those that `pokemon-ddpm evaluate` wrote. Precision and recall depend on the number of images, so
they are of as many samples as there are held-out images. Rows without values are left out.
"""

import argparse
import json
import sys
from pathlib import Path

from pokemon_ddpm.evaluation.evaluate import COMPARED_SIDE, NUMBERS, Numbers, estimate, percent, row
from pokemon_ddpm.evaluation.metrics import STATISTICS

# Row -> metric, which samples, and what they and the real images of the other split are compared with.
DISTANCES = {
    "KID to training": ("kid", "all samples", "train"),
    "KID to held-out": ("kid", "all samples", "held-out"),
    "precision": ("precision", "samples", "held-out"),
    "recall": ("recall", "samples", "held-out"),
}
# Statistics of pixels that are shown of raw samples, and of the default output, of which all other rows are.
RAW = ("clear_background", "parts")
PROCESSED = ("colors", "parts", "dark_outline", "dark")
VARIETY = {"near": "near pairs", "color": "color distance"}  # of samples by type alone


def cells(numbers: Numbers) -> dict[str, tuple[str, str]]:
    """Row -> a cell of the samples and one of real images."""
    rows = {"samples": (f"{row(numbers, 'all samples', 'train')['kid']['n']:,}", "-")}
    for title, (metric, name, to) in DISTANCES.items():
        real = "held-out" if to == "train" else "train"
        rows[title] = tuple(estimate(row(numbers, compared, to)[metric]) for compared in (name, real))
    rows["nearer than 5 % of held-out, pixels"] = percent(numbers["memorization"]["pixels"]["nearer"]), "5 %"
    for attribute, title in (("type", "types"), ("color", "color")):
        shares = numbers["condition_accuracy"].get(attribute, {})
        rows[f"condition accuracy, {title}"] = percent(shares.get("accuracy")), percent(shares.get("real"))
    tests = numbers.get("two_sample", {})  # not in reports of earlier versions, as are the statistics of pixels
    reduced = next((name for name in tests if f" at {COMPARED_SIDE} of " in name), "default output")
    for title, name in ((", raw", "raw"), ("", "default output"), (f", at {COMPARED_SIDE} px", reduced)):
        rows[f"two-sample test{title}"] = percent(tests.get(name, {}).get("accuracy")), "50 %"
    for suffix, samples, names in ((", raw", "raw samples", RAW), ("", "default output", PROCESSED)):
        groups = [numbers.get("pixel_statistics", {}).get(images, {}) for images in (samples, "held-out")]
        for name in names:
            title = STATISTICS[name] + suffix
            rows[title] = tuple(estimate(group[name]) if name in group else "-" for group in groups)
    alone = [numbers.get("variety", {}).get(name) for name in ("by type alone", "real")]
    for key, title in VARIETY.items():
        rows[f"{title} of one type"] = tuple(estimate(figures[key]) if figures else "-" for figures in alone)
    return rows


def main() -> None:
    """Reads the reports and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("reports", nargs="+", metavar="TITLE=FOLDER", help="a column and the folder of its report")
    reports = parser.parse_args().reports
    folders = {title: Path(folder) for title, _, folder in (given.partition("=") for given in reports)}
    try:
        columns = [cells(json.loads((folder / NUMBERS).read_bytes())) for folder in folders.values()]
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    except KeyError as error:
        sys.exit(f"error: A report has no {error}. Run the evaluation again.")
    rows = [[title, *(column[title][0] for column in columns), real] for title, (_, real) in columns[0].items()]
    shown = [line for line in rows if set(line[1:-1]) != {"-"}]
    for line in (["", *folders, "real images"], ["---", *["---:"] * (len(folders) + 1)], *shown):
        print(f"| {' | '.join(line)} |")


if __name__ == "__main__":
    main()
