"""The stages of a creature as monsters of Tuxemon (https://www.tuxemon.org): sprite sheets and database entries.

    pokemon-ddpm creature --type fire --stages 2 --output-dir creature
    python examples/tuxemon_monster.py creature Tuxemon/mods/tuxemon emberling emberlord

Names to show go into `l18n/en_US/LC_MESSAGES/base.po` of the mod; shapes, species and moves are for you to change. The
page writes the same, see pokemon_ddpm/page/engines.js.
"""

import json
import re
import sys
from pathlib import Path

import numpy as np
from PIL import Image

import pokemon_ddpm
from pokemon_ddpm.sheets import squash

SIDE, MENU_SIDE = 64, 24  # pixels
TABLE = json.loads(Path(pokemon_ddpm.__file__).with_name("page").joinpath("tuxemon.json").read_text(encoding="utf-8"))


def sheet(front: Image.Image, back: Image.Image) -> Image.Image:
    """Front and back, and below them the two frames of the icon in menus."""
    image = Image.new("RGBA", (2 * SIDE, SIDE + MENU_SIDE))
    places = (2 * np.arange(MENU_SIDE) + 1) * front.width // (2 * MENU_SIDE)
    icon = Image.fromarray(np.asarray(front)[places][:, places])
    for column in (0, 1):
        image.paste((front, back)[column].resize((SIDE, SIDE), Image.Resampling.NEAREST), (column * SIDE, 0))
        image.paste((icon, squash(icon))[column], (column * MENU_SIDE, SIDE))
    return image


def main(creature: str, mod: str, *slugs: str) -> None:
    """Writes a sheet and an entry for each stage; the slugs are its names, of small letters."""
    sheets, entries = Path(mod, "gfx/sprites/battle"), Path(mod, "db/monster")
    frames = json.loads(Path(creature, "creature.json").read_text(encoding="utf-8"))["frames"]
    types = {frame["filename"]: re.findall("[a-z]+", str(frame["condition"]["type"])) for frame in frames}
    for number, slug in enumerate(slugs):
        front, back = (f"{number + 1}-{view}.png" for view in ("front", "back"))
        elements = dict.fromkeys(TABLE["elements"][name] for name in types[front] if name in TABLE["elements"])
        evolutions = [
            {"at_level": TABLE["levels"][number], "monster_slug": after} for after in slugs[number + 1 :][:1]
        ]
        entry = {"slug": slug, "txmn_id": TABLE["first_id"] + number, "stage": TABLE["stages"][number]}
        entry |= {"types": [*elements], "evolutions": evolutions, **TABLE["common"]}
        for folder in (sheets, entries):
            folder.mkdir(parents=True, exist_ok=True)
        sheet(*(Image.open(Path(creature, name)) for name in (front, back))).save(sheets / f"{slug}-sheet.png")
        (entries / f"{slug}.yaml").write_text(json.dumps(entry, indent=2) + "\n", encoding="utf-8")  # JSON is YAML


if __name__ == "__main__":
    main(*sys.argv[1:])
