"""The stages of a creature as monsters of Tuxemon (https://www.tuxemon.org): sprite sheets and database entries.

    pokemon-ddpm creature --type fire --stages 2 --output-dir creature
    python examples/tuxemon_monster.py creature Tuxemon/mods/tuxemon emberling emberlord

Names to show go into `l18n/en_US/LC_MESSAGES/base.po` of the mod; shapes, species and moves are for you to change.
"""

import json
import re
import sys
from pathlib import Path

from PIL import Image

from pokemon_ddpm.sheets import squash

ELEMENTS = {
    "bug": "wood", "dark": "shadow", "dragon": "aether", "electric": "lightning", "fairy": "aether", "fire": "fire",
    "fighting": "heroic", "flying": "sky", "ghost": "shadow", "grass": "wood", "ground": "earth", "ice": "frost",
    "normal": "normal", "poison": "venom", "psychic": "cosmic", "rock": "earth", "steel": "metal", "water": "water",
}  # fmt: skip
SIDE, MENU_SIDE, FIRST_ID = 64, 24, 9001  # pixels; the number of the first stage, which no other monster has
STAGES, EVOLUTION_LEVELS = ("basic", "stage1", "stage2"), (16, 32)
COMMON = {
    "species": "false_dragon", "shape": "dragon", "tags": [], "terrains": [], "history": [], "sounds": {},
    "height": 60, "weight": 20, "gender_weights": {"male": 0.5, "female": 0.5},
    "catch_rate": 100.0, "lower_catch_resistance": 0.95, "upper_catch_resistance": 1.25,
    "moveset": [
        {"level_learned": 1, "technique": "struggle", "learning_method": "fallback"},
        {"level_learned": 1, "technique": "gnaw"},
    ],
}  # fmt: skip


def sheet(front: Image.Image, back: Image.Image) -> Image.Image:
    """Front and back, and below them the two frames of the icon in menus."""
    image = Image.new("RGBA", (2 * SIDE, SIDE + MENU_SIDE))
    icon = front.resize((MENU_SIDE, MENU_SIDE), Image.Resampling.BOX)
    icon.putalpha(icon.getchannel("A").point(lambda alpha: 255 * (alpha > 127)))
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
        elements = dict.fromkeys(ELEMENTS[name] for name in types[front] if name in ELEMENTS)
        evolutions = [{"at_level": EVOLUTION_LEVELS[number], "monster_slug": slug} for slug in slugs[number + 1 :][:1]]
        entry = {"slug": slug, "txmn_id": FIRST_ID + number, "stage": STAGES[number], "types": [*elements]}
        entry |= {"evolutions": evolutions, **COMMON}
        for folder in (sheets, entries):
            folder.mkdir(parents=True, exist_ok=True)
        sheet(*(Image.open(Path(creature, name)) for name in (front, back))).save(sheets / f"{slug}-sheet.png")
        (entries / f"{slug}.yaml").write_text(json.dumps(entry, indent=2) + "\n", encoding="utf-8")  # JSON is YAML


if __name__ == "__main__":
    main(*sys.argv[1:])
