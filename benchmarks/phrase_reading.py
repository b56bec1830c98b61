"""A blind reading of phrases: which of eight was a row of sprites made from?

    python -m benchmarks.phrase_reading sheets --setting today=pokemon-ddpm-64-fast --output outputs/phrases
    python -m benchmarks.phrase_reading table --output outputs/phrases

The phrases of verdicts/wishes.json, a third of them in other languages, were written down before the first try. A
setting is a model; with "=MODEL,no-sketch" only conditions follow the words. `sheets` prints how alike the sprites of
a phrase are: the overlap of their silhouettes, the share of near pairs, and the distance of their colors, as means
over phrases. Readers get the sheets and `INSTRUCTIONS` only, and write verdicts/READER.json.
"""

import argparse
import csv
import json
import random
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmarks.blind_reading import summary
from pokemon_ddpm.commands import parse_type
from pokemon_ddpm.description import parse_description
from pokemon_ddpm.evaluation.metrics import variety
from pokemon_ddpm.generation import GenerationSettings, SpriteRequest
from pokemon_ddpm.likeness import overlaps
from pokemon_ddpm.postprocessing import enlarge, to_sprite
from pokemon_ddpm.preprocessing import as_tensor, on_white
from pokemon_ddpm.sketch import SKETCHES
from pokemon_ddpm.studio import default_candidates, generate_sprites

PHRASES = json.loads((Path(__file__).parent / "verdicts" / "wishes.json").read_text(encoding="utf-8"))
NUM_SPRITES, SHOWN, CHOICES = 8, 4, "abcdefgh"
SCALE, ROWS, TEXT_WIDTH = 3, 8, 330
INSTRUCTIONS = """\
Each numbered row has four 64x64 sprites that a machine made from one phrase. Beside it are eight phrases, a to h; one
of them is the right one. Look at the sprites and choose the phrase that they show best; guess where you cannot tell.
Write for each number its letter, such as {"1": "c", "2": "h"}.
"""


def rows_of_phrases(model: str, phrases: list[str], seed: int) -> list[list[Image.Image]]:
    """`NUM_SPRITES` of each phrase, as `pokemon-ddpm generate` makes them."""
    model, *words = model.split(",")
    pipeline, rows = GenerationSettings(model).load(), []
    pipeline.set_progress_bar_config(disable=True)
    sketches = {} if "no-sketch" in words else {"sketch": [*SKETCHES]}
    for phrase in phrases:
        conditions, without, *_ = parse_description(phrase, pipeline.conditioner.vocabulary | sketches)
        kind, sketch = conditions.pop("type", None), conditions.pop("sketch", None)
        denied = (*dict.fromkeys(pair for values in without.values() for pair in values.items()),)
        given = {"pokemon_type": kind and parse_type(kind), "sketch": sketch, "without": denied}
        requests = [SpriteRequest(seed, attributes=conditions, number=n, **given) for n in range(NUM_SPRITES)]
        sprites = generate_sprites(pipeline, requests, default_candidates(pipeline))
        rows.append([to_sprite(sprite.sample) for sprite in sprites])
    return rows


def alike(rows: list[list[Image.Image]]) -> dict[str, float]:
    """How alike the sprites of a phrase are: the mean overlap of two, and `variety`, as means over phrases."""
    tensors, upper = [*map(as_tensor, rows)], np.triu_indices(len(rows[0]), 1)
    figures = [{"overlap": overlaps(row, row).numpy()[upper].mean(), **variety(row)} for row in tensors]
    return {name: float(np.mean([each[name] for each in figures])) for name in figures[0]}


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
        sheet = Image.new("RGB", (SHOWN * side + 50 + TEXT_WIDTH, len(part) * side), "white")
        draw = ImageDraw.Draw(sheet)
        for i, (name, phrase, row) in enumerate(part):
            offered = choice.sample(sorted({*phrases} - {phrase}), len(CHOICES) - 1) + [phrase]
            choice.shuffle(offered)
            key[str(start + i + 1)] = (name, phrase, CHOICES[offered.index(phrase)])
            draw.text((4, i * side + 4), str(start + i + 1), "black", font)
            for j, image in enumerate(row[:SHOWN]):
                sheet.paste(enlarge(on_white(image), SCALE), (50 + j * side, i * side))
            text = "\n".join(f"{letter}  {other}" for letter, other in zip(CHOICES, offered, strict=True))
            draw.multiline_text((60 + SHOWN * side, i * side + 2), text, "black", font, spacing=4)
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
    sheets.add_argument("--setting", action="append", required=True, help="NAME=MODEL or NAME=MODEL,no-sketch")
    sheets.add_argument("--seed", type=int, default=5, help="of sprites and order")
    table = commands.add_parser("table", help="print the shares that were right")
    table.add_argument("--csv", type=Path, help="also write all verdicts there")
    for command in (sheets, table):
        command.add_argument("--output", type=Path, required=True, help="folder of the reading")
    options = parser.parse_args(arguments)
    if options.command == "sheets":
        phrases = [phrase["phrase"] for phrase in PHRASES]
        models = dict(text.split("=", 1) for text in options.setting)
        rows = {name: rows_of_phrases(model, phrases, options.seed) for name, model in models.items()}
        for name, of_setting in rows.items():
            print(name, {figure: round(value, 3) for figure, value in alike(of_setting).items()})
        write_sheets(rows, [phrase["meant"] for phrase in PHRASES], options.seed, options.output)
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
