"""Makes a class folder of the unit sprites of Battle for Wesnoth, of which Debian has the package wesnoth-1.18-data.

    python benchmarks/wesnoth_units.py wesnoth-units UNPACKED_PACKAGE

A class is a folder of the game, such as orcs; that of monsters is divided by `KINDS`. Most images are under the GPL 2
or later, the others under CC BY-SA 4.0, which permits the GPL 3 for works that are made of both. So a model of all is
under the GPL 3. The package's copyright file, which names the artists, is copied beside the images.
"""

import argparse
import csv
import re
import shutil
import sys
from collections import Counter
from pathlib import Path

from pokemon_ddpm.preprocessing import on_white, open_image, pixel_digest

UNITS = "usr/share/games/wesnoth/*/data/core/images/units"
COPYRIGHT = "usr/share/doc/wesnoth-*-data/copyright"
MAX_SIZE = 72  # pixels that are not transparent in a row or column: larger units would be reduced too much
MIN_OPAQUE = 400  # pixels; an image with fewer shows only a shadow, a flame or a weapon
LEFT_OUT = {"colormap", "death", "die", "dying", "fall", "halo", "mask", "shadow", "teleport", "wind"}
AWAY = {"n", "ne", "nw"}  # where a unit looks that is seen from behind
ACTIONS = {  # the first that applies
    "defend": {"defend"},
    "attack": set(
        "attack axe bite blade bow claws fire hammer magic melee pierce ranged slash spear sword throw".split()
    ),
    "move": {"fly", "flying", "moving", "run"},
    "idle": {"bob", "breeze", "idle", "stand", "standing"},
}
KINDS = {  # classes of monsters, which have little in common, by what a path contains
    "beasts": "bear boar direwolf horse icemonax rat stoat wolf yeti",
    "birds": "falcon gryphon raven roc",
    "insects": "ant dragonfly scarab",
    "scorpions": "scorpion",
    "sea-monsters": "caribe croc cuttlefish deep kraken seahorse seaserpent water",
    "spiders": "spider",
}
ACTION_WORDS = set().union(*ACTIONS.values())
COLUMNS = ("file_name", "view", "action", "creature")


def describe(file: Path) -> dict[str, str] | None:
    """The row of an image in the metadata, from its path below UNITS; None if it does not show a whole unit.

    All frames of a unit have the same creature, so they are in the same split.
    """
    unit, *words = re.findall(r"[a-z]+", file.stem.lower())
    if LEFT_OUT & {*words} or file.parts[0] == "transport":  # ships
        return None
    if unit in ("soulless", "zombie"):  # of many bodies, such as zombie-wolf
        unit = next((word for word in words if word not in ACTION_WORDS), unit)
    action = next((name for name, known in ACTIONS.items() if known & {*words}), "")
    label, *folders = file.parts[:-1]
    if label == "monsters":
        label = next((kind for kind, known in KINDS.items() if {*folders, unit, *words} & {*known.split()}), label)
    name, view = f"{label}/{'-'.join(file.parts[1:])}", "back" if AWAY & {*words} else "front"
    return dict(zip(COLUMNS, (name, view, action, f"{file.parent.as_posix()}/{unit}"), strict=True))


def write_units(root: Path, output: Path) -> Counter[str]:
    """Writes the units of the package at `root` and a metadata.csv. Returns the number of images of each class.

    Raises:
        ValueError: If the package is not there, or the output folder is not empty.
    """
    units, license_file = next(root.glob(UNITS), None), next(root.glob(COPYRIGHT), None)
    if not (units and license_file):
        raise ValueError(f"{root} lacks {COPYRIGHT if units else UNITS}. Unpack wesnoth-1.18-data there.")
    if output.exists() and any(output.iterdir()):
        raise ValueError(f"{output} is not empty. Name another folder.")
    rows, digests = [], set()
    for path in sorted(units.glob("*/**/*.png")):
        row, image = describe(path.relative_to(units)), open_image(path).convert("RGBA")
        if not row or sum(image.getchannel("A").histogram()[128:]) < MIN_OPAQUE:
            continue
        left, top, right, bottom = image.getbbox()
        if max(right - left, bottom - top) > MAX_SIZE:
            continue
        if (digest := pixel_digest(on_white(image))) not in digests:
            digests.add(digest)
            rows.append(row)
            target = output / row["file_name"]
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    with (output / "metadata.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    shutil.copyfile(license_file, output / "copyright")
    return Counter(row["file_name"].split("/")[0] for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path, help="Folder to write to.")
    parser.add_argument("root", type=Path, nargs="?", default="/", help="Where the package is unpacked or installed.")
    args = parser.parse_args()
    try:
        counts = write_units(args.root, args.output)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    print(f"{counts.total():,} images in {args.output}: {dict(sorted(counts.items()))}")


if __name__ == "__main__":
    main()
