"""Folders of images for training from a collection of free creature sprites, with their tags and their authors.

python benchmarks/free_creatures.py path/to/free-creatures path/to/tags/free-creatures.csv outputs/free

`native` has the images in their own pixels, `enlarged` those of 2x2 and 3x3 blocks, or reduced: to be seen only where
noise hides them (`other_data` in docs/training.md). Images are under CC0, CC BY, OGA BY or MIT. With --share_alike,
for a model of these alone, also under CC BY-SA; then the collection's sources are the classes, and there are more
conditions: color and size are what an image shows, the color name of most pixels and its longer side.
"""

import argparse
import csv
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from pokemon_ddpm.pipelines.sprite_preprocessing import oklab
from pokemon_ddpm.vocabulary import COLORS, SIZES

FREE, SHARE_ALIKE = ("CC0", "CC BY ", "OGA BY ", "MIT"), ("CC BY-SA ",)
COLUMNS = ("file_name", "creature", "source", "view", "tags")
OWN_COLUMNS = ("file_name", "creature", "label", "view", "tags", "color", "size", "element")
# What the names of colors mean, in the order of COLORS, and the sides in pixels at which the next size begins.
SHADES = "#282830 #4878c8 #805030 #888890 #48a048 #e890b8 #8850a8 #c83830 #e8e8e8 #e8c840".split()
SIDES = (36, 44, 52, 59)
OUTLINE = 0.3  # the lightness below which a pixel is an outline, or black


def may_use(license: str, names: tuple[str, ...]) -> bool:
    """Whether each of several licenses for parts of an image is, or offers the choice of, one of the named ones."""
    parts = ([choice.strip() + " " for choice in re.split(" or |/", part)] for part in license.split(";"))
    return all(any(choice.startswith(names) for choice in part) for part in parts)


def creature(name: str) -> str:
    """The name of what all views of it share."""
    return re.sub("_(front|back|left|right|up|down|north|south|east|west)$", "", name)


def appearance(path: Path) -> tuple[str, str]:
    """The color and the size that an image shows; it is black where few pixels are lighter than an outline."""
    pixels = np.asarray(Image.open(path).convert("RGBA"))
    opaque = pixels[..., 3] > 0
    rows, columns = np.nonzero(opaque)
    side = max(np.ptp(rows), np.ptp(columns)) + 1
    inside = oklab(pixels[opaque][:, :3])
    light = inside[inside[:, 0] >= OUTLINE]
    shades = oklab(np.array([[int(shade[i : i + 2], 16) for i in (1, 3, 5)] for shade in SHADES]))
    distances = np.linalg.norm((light[:, None] - shades) * [0.5, 1, 1], axis=2)  # hue says more than lightness
    color = int(np.bincount(distances.argmin(axis=1), minlength=len(COLORS)).argmax())
    return COLORS[0 if len(light) < len(inside) / 3 else color], SIZES[int(np.searchsorted(SIDES, side, side="right"))]


def main() -> None:
    """Reads the command line and writes the folders."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("collection", type=Path, help="folder with metadata.csv and images")
    parser.add_argument("tags", type=Path, help="table with the columns id, as source/name, and tags")
    parser.add_argument("output", type=Path)
    parser.add_argument("--share_alike", action="store_true", help="also CC BY-SA, for a model under CC BY-SA 4.0")
    arguments = parser.parse_args()
    names = FREE + SHARE_ALIKE * arguments.share_alike
    with arguments.tags.open(encoding="utf-8") as file:
        tags = {creature(row["id"]): row["tags"] for row in csv.DictReader(file)}
    with (arguments.collection / "metadata.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if may_use(row["license"], names)]
    credits: Counter[tuple[str, str, str]] = Counter()
    tables: dict[str, list[list[str]]] = {"native": [], "enlarged": []}
    for row in rows:
        words = tags.get(f"{row['source']}/{creature(row['id'])}", "")
        if words == "junk":
            continue
        kind = "native" if row["scale"] == "1" else "enlarged"
        file = f"{row['source']}-{row['id']}.png"
        (arguments.output / kind).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(arguments.collection / row["file_name"], arguments.output / kind / file)
        element = row["types"].split()[0] if row["types"] else ""
        shown = (*appearance(arguments.collection / row["file_name"]), element)
        tables[kind].append([file, row["line"], row["source"], row["view"], words, *shown])
        credits[row["source"], row["author"], row["license"]] += 1
    for kind, table in tables.items():
        with (arguments.output / kind / "metadata.csv").open("w", encoding="utf-8", newline="") as file:
            columns = OWN_COLUMNS if arguments.share_alike else COLUMNS
            csv.writer(file, lineterminator="\n").writerows([columns, *(row[: len(columns)] for row in table)])
        print(f"{kind}: {len(table)} images of {len({row[1] for row in table})} lines")
    lines = [f"| {' | '.join(key)} | {count} |" for key, count in sorted(credits.items())]
    head = ["| source | authors | license | images |", "|---|---|---|---:|"]
    (arguments.output / "CREDITS.md").write_text("\n".join([*head, *lines]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
