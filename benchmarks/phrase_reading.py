"""A blind reading of phrases: which of eight was a row of sprites made from?

    python benchmarks/phrase_reading.py sheets --tags path/to/tags --setting today=pokemon-ddpm-64-fast \
        --output outputs/phrases
    python benchmarks/phrase_reading.py table --output outputs/phrases

The phrases are made from a table of tags: a kind and a color, a kind and a part, and two kinds, twenty each, of tags
with at least twenty images. A setting is a model; with "=MODEL,no-sketch" only conditions follow the words. Readers
get the sheets and `INSTRUCTIONS` only, and write verdicts/READER.json.
"""

import argparse
import csv
import json
import random
from collections import Counter
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from benchmarks.blind_reading import summary
from pokemon_ddpm.commands import parse_type
from pokemon_ddpm.description import SKETCHES, parse_description
from pokemon_ddpm.generation import GenerationSettings, SpriteRequest
from pokemon_ddpm.postprocessing import enlarge, to_sprite
from pokemon_ddpm.preprocessing import on_white
from pokemon_ddpm.studio import default_candidates, generate_sprites
from pokemon_ddpm.vocabulary import COLORS

NUM_PHRASES, NUM_SPRITES, CHOICES, MIN_IMAGES = 60, 4, "abcdefgh", 20
SCALE, ROWS, TEXT_WIDTH = 3, 8, 330
INSTRUCTIONS = """\
Each numbered row has four 64x64 sprites that a machine made from one phrase. Beside it are eight phrases, a to h; one
of them is the right one. Look at the sprites and choose the phrase that they show best; guess where you cannot tell.
Write for each number its letter, such as {"1": "c", "2": "h"}.
"""


def make_phrases(tags: list[list[str]], kinds: list[str], parts: list[str], seed: int) -> list[str]:
    """`NUM_PHRASES` different ones, of tags that at least `MIN_IMAGES` of the lists have."""
    count, choice = Counter(tag for of_image in tags for tag in of_image), random.Random(seed)
    kinds, parts = ([tag.replace("-", " ") for tag in group if count[tag] >= MIN_IMAGES] for group in (kinds, parts))
    phrases: list[str] = []
    while len(phrases) < NUM_PHRASES:
        kind, other = choice.sample(kinds, 2)
        forms = (f"{choice.choice(COLORS)} {kind}", f"{kind} with {choice.choice(parts)}", f"{kind} and {other}")
        phrase = forms[len(phrases) * len(forms) // NUM_PHRASES]
        phrases += [phrase] * (phrase not in phrases)
    return phrases


def read_tags(folder: Path) -> tuple[list[list[str]], list[str], list[str]]:
    """The tags of every Pokémon form, and those of the vocabulary that name kinds, and parts."""
    with (folder / "pokemon.csv").open(encoding="utf-8", newline="") as file:
        tags = [row["tags"].split() for row in csv.DictReader(file)]
    kinds, parts = (folder / "vocabulary.txt").read_text(encoding="utf-8").split("# ")[1:3]
    kinds, parts = (" ".join(text.splitlines()[1:]).split() for text in (kinds, parts))
    return tags, kinds, parts


def rows_of_phrases(model: str, phrases: list[str], seed: int) -> list[list[Image.Image]]:
    """`NUM_SPRITES` of each phrase, as `pokemon-ddpm generate` makes them, on white."""
    model, *words = model.split(",")
    pipeline, rows = GenerationSettings(model).load(), []
    pipeline.set_progress_bar_config(disable=True)
    sketches = {} if "no-sketch" in words else {"sketch": [*SKETCHES]}
    for phrase in phrases:
        conditions = parse_description(phrase, pipeline.conditioner.vocabulary | sketches).conditions
        kind, sketch = conditions.pop("type", None), conditions.pop("sketch", None)
        requests = [SpriteRequest(seed, kind and parse_type(kind), conditions, n, sketch) for n in range(NUM_SPRITES)]
        sprites = generate_sprites(pipeline, requests, default_candidates(pipeline))
        rows.append([on_white(to_sprite(sprite.sample)) for sprite in sprites])
    return rows


def write_sheets(settings: dict[str, list[list[Image.Image]]], phrases: list[str], seed: int, folder: Path) -> None:
    """Writes sheet-01.png and so on, instructions.txt, and key.json: number -> setting, phrase, letter."""
    (folder / "verdicts").mkdir(parents=True, exist_ok=True)
    (folder / "instructions.txt").write_text(INSTRUCTIONS, encoding="utf-8")
    choice, key = random.Random(seed), {}
    items = [(name, *pair) for name, rows in settings.items() for pair in zip(phrases, rows, strict=True)]
    choice.shuffle(items)
    side, font = items[0][2][0].width * SCALE + 6, ImageFont.load_default(size=16)
    for start in range(0, len(items), ROWS):
        part = items[start : start + ROWS]
        sheet = Image.new("RGB", (NUM_SPRITES * side + 50 + TEXT_WIDTH, len(part) * side), "white")
        draw = ImageDraw.Draw(sheet)
        for i, (name, phrase, row) in enumerate(part):
            offered = choice.sample([other for other in phrases if other != phrase], len(CHOICES) - 1) + [phrase]
            choice.shuffle(offered)
            key[str(start + i + 1)] = (name, phrase, CHOICES[offered.index(phrase)])
            draw.text((4, i * side + 4), str(start + i + 1), "black", font)
            for j, image in enumerate(row):
                sheet.paste(enlarge(image, SCALE), (50 + j * side, i * side))
            text = "\n".join(f"{letter}  {other}" for letter, other in zip(CHOICES, offered, strict=True))
            draw.multiline_text((60 + NUM_SPRITES * side, i * side + 2), text, "black", font, spacing=4)
        sheet.save(folder / f"sheet-{start // ROWS + 1:02}.png")
    (folder / "key.json").write_text(json.dumps(key, indent=0) + "\n", encoding="utf-8")


def read_verdicts(folder: Path) -> list[dict[str, str | int]]:
    """Setting, file (the number), reader, phrase, and whether the reader chose it ("right").

    Raises:
        ValueError: If a verdict is no letter, or of a number that no sheet has.
    """
    key, verdicts = json.loads((folder / "key.json").read_text(encoding="utf-8")), []
    for path in sorted((folder / "verdicts").glob("*.json")):
        for number, letter in json.loads(path.read_text(encoding="utf-8")).items():
            if number not in key or letter not in [*CHOICES]:
                raise ValueError(f"{path} has {letter!r} for {number!r}, but needs a letter from a to h for a row.")
            setting, phrase, right = key[number]
            verdict = {"setting": setting, "file": number, "reader": path.stem, "phrase": phrase}
            verdicts.append(verdict | {"right": int(letter == right)})
    return verdicts


def main(arguments: list[str] | None = None) -> None:
    """Runs a command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    sheets = commands.add_parser("sheets", help="generate the rows and write the sheets")
    sheets.add_argument("--tags", type=Path, required=True, help="folder of pokemon.csv and vocabulary.txt")
    sheets.add_argument("--setting", action="append", required=True, help="NAME=MODEL or NAME=MODEL,no-sketch")
    sheets.add_argument("--seed", type=int, default=5, help="of phrases, sprites and order")
    table = commands.add_parser("table", help="print the shares that were right")
    table.add_argument("--csv", type=Path, help="also write all verdicts there")
    for command in (sheets, table):
        command.add_argument("--output", type=Path, required=True, help="folder of the reading")
    options = parser.parse_args(arguments)
    if options.command == "sheets":
        phrases = make_phrases(*read_tags(options.tags), options.seed)
        models = dict(text.split("=", 1) for text in options.setting)
        rows = {name: rows_of_phrases(model, phrases, options.seed) for name, model in models.items()}
        write_sheets(rows, phrases, options.seed, options.output)
        return
    verdicts = read_verdicts(options.output)
    print("\n".join(summary(verdicts, {"right": lambda verdict: verdict["right"]})))
    if options.csv and verdicts:
        with options.csv.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, verdicts[0])
            writer.writeheader()
            writer.writerows(verdicts)


if __name__ == "__main__":
    main()
