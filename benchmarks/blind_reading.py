"""Blind readings: shuffled, numbered sheets of sprites with real ones among them, and the table of their verdicts.

    python benchmarks/blind_reading.py sheets --setting 1.5=outputs/a --setting 3.5=outputs/b --real outputs/real \
        --output outputs/reading
    python benchmarks/blind_reading.py table --output outputs/reading

A setting is a folder of PNGs. For a claim about two settings use 144 equal seeds in each: with 36, one face is 3 %.
Readers get the sheets and `INSTRUCTIONS` only, and write verdicts/READER.json; they never see key.json.
"""

import argparse
import csv
import json
import random
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pokemon_ddpm.postprocessing import enlarge
from pokemon_ddpm.preprocessing import on_white

COLUMNS, ROWS, SCALE, GAP, NUMBER_HEIGHT = 6, 5, 4, 8, 18
REAL_SHARE = 0.1  # of a sheet's sprites
USABLE = 3  # the quality from which a sprite is usable
RESAMPLES = 2000
INSTRUCTIONS = """\
You see sheets of 64x64 pixel-art creatures, each under its number. Some were made by professionals, some by machines
of different quality. Judge every sprite on its own and strictly. Write for each number [face, quality, known]:

- face: 1 if there is a clear eye where an eye belongs, on a head that you can point at; otherwise 0.
- quality, of the drawing: 1 a shapeless or torn patch; 2 a body without clear anatomy; 3 a whole creature that could
  stand in a modest game; 4 good, with few faults; 5 as if drawn by a professional.
- known: the name of the existing Pokémon that it plainly is, otherwise "".

Use the whole scale: quality 5 is what the best sprites of the sheets deserve. The numbers are in random order.
"""


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Reads the command and its flags."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    sheets = commands.add_parser("sheets", help="write sheets, key.json and instructions.txt")
    sheets.add_argument("--setting", action="append", required=True, help="NAME=FOLDER of PNGs; repeat it")
    sheets.add_argument("--real", type=Path, required=True, help="folder of PNGs of real sprites")
    sheets.add_argument("--seed", type=int, default=0, help="of the order")
    table = commands.add_parser("table", help="print the table of the verdicts")
    table.add_argument("--csv", type=Path, help="also write all verdicts there, one row each")
    for command in (sheets, table):
        command.add_argument("--output", type=Path, required=True, help="folder of the reading")
    return parser.parse_args(arguments)


def write_sheets(settings: dict[str, list[Path]], real: list[Path], seed: int, folder: Path) -> int:
    """Writes sheet-01.png and so on into a folder, with key.json: number -> setting and file. Returns how many.

    Every sheet has the same share of real sprites, which are used again where there are too few of them.
    """
    order = random.Random(seed)
    generated = [(name, path) for name, paths in settings.items() for path in paths]
    order.shuffle(generated)
    order.shuffle(real)
    size = COLUMNS * ROWS
    of_sheet = size - round(size * REAL_SHARE)
    key, number, used = {}, 0, 0
    (folder / "verdicts").mkdir(parents=True, exist_ok=True)
    (folder / "instructions.txt").write_text(INSTRUCTIONS, encoding="utf-8")
    count = -(-len(generated) // of_sheet)
    for index in range(count):
        sprites = generated[index * of_sheet : (index + 1) * of_sheet]
        for _ in range(max(1, round(len(sprites) * REAL_SHARE / (1 - REAL_SHARE)))):
            sprites.append(("real", real[used % len(real)]))
            used += 1
        order.shuffle(sprites)
        numbers = range(number + 1, number + len(sprites) + 1)
        key |= {n: (name, str(path)) for n, (name, path) in zip(numbers, sprites, strict=True)}
        _sheet([path for _, path in sprites], numbers).save(folder / f"sheet-{index + 1:02}.png")
        number += len(sprites)
    (folder / "key.json").write_text(json.dumps(key, indent=0) + "\n", encoding="utf-8")
    return count


def _sheet(paths: list[Path], numbers: range) -> Image.Image:
    """Sprites on white, enlarged, each under its number."""
    images = [enlarge(on_white(Image.open(path)), SCALE) for path in paths]
    width, height = images[0].width + GAP, images[0].height + GAP + NUMBER_HEIGHT
    sheet = Image.new("RGB", (COLUMNS * width, -(-len(images) // COLUMNS) * height), "white")
    canvas, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=NUMBER_HEIGHT - 2)
    for i, (image, number) in enumerate(zip(images, numbers, strict=True)):
        row, column = divmod(i, COLUMNS)
        canvas.text((column * width + 2, row * height), str(number), fill="black", font=font)
        sheet.paste(image, (column * width, row * height + NUMBER_HEIGHT))
        canvas.rectangle(
            (column * width, row * height + NUMBER_HEIGHT, (column + 1) * width - GAP, (row + 1) * height - GAP),
            outline="#dddddd",
        )
    return sheet


def read_verdicts(folder: Path) -> list[dict[str, object]]:
    """One row a verdict: setting, file, reader, face (0 or 1), quality (1 to 5) and known (a name or "").

    Raises:
        ValueError: If a verdict is not of this form, or of a number that no sheet has.
    """
    key, rows = json.loads((folder / "key.json").read_text(encoding="utf-8")), []
    for path in sorted((folder / "verdicts").glob("*.json")):
        for number, verdict in json.loads(path.read_text(encoding="utf-8")).items():
            face, quality, known = verdict if len(verdict) == 3 else (*verdict, "")
            if number not in key or face not in (0, 1) or quality not in range(1, 6) or not isinstance(known, str):
                raise ValueError(f"{path} has {verdict!r} for {number!r}, but needs [0 or 1, 1 to 5, name].")
            setting, file = key[number]
            values = {"face": int(face), "quality": int(quality), "known": known}
            rows.append({"setting": setting, "file": file, "reader": path.stem, **values})
    return rows


def summary(rows: list[dict[str, object]], seed: int = 0) -> list[str]:
    """Lines of a table in Markdown: face, quality, usable and known of each setting with 95 % intervals.

    The mean over readers comes first, so that every sprite counts once; sprites are resampled.
    """
    sprites: dict[str, dict[str, list]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        values = row["face"], row["quality"], row["quality"] >= USABLE, bool(row["known"])
        sprites[row["setting"]][row["file"]].append(values)
    lines = ["| setting | sprites, verdicts | face | quality | usable | known |", "|---|---|---|---|---|---|"]
    random_numbers = np.random.default_rng(seed)
    for setting, files in sprites.items():
        means = np.array([np.mean(verdicts, axis=0) for verdicts in files.values()])
        chosen = random_numbers.integers(len(means), size=(RESAMPLES, len(means)))
        low, high = np.quantile(means[chosen].mean(axis=1), [0.025, 0.975], axis=0)
        cells = [
            f"{mean:.2f} ({a:.2f} to {b:.2f})" if column == 1 else f"{mean:.0%} ({a:.0%} to {b:.0%})"
            for column, (mean, a, b) in enumerate(zip(means.mean(axis=0), low, high, strict=True))
        ]
        verdicts = sum(map(len, files.values()))
        lines.append(" | ".join([f"| {setting}", f"{len(files)}, {verdicts}", *cells]) + " |")
    return lines


def main(arguments: list[str] | None = None) -> None:
    """Runs a command."""
    options = parse(arguments)
    if options.command == "table":
        rows = read_verdicts(options.output)
        print("\n".join(summary(rows)))
        if options.csv:
            with options.csv.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
        return
    settings = dict(each.split("=", 1) for each in options.setting)
    images = {name: sorted(Path(folder).glob("*.png")) for name, folder in settings.items()}
    real = sorted(options.real.glob("*.png"))
    for name, folder in {**settings, "real": options.real}.items():
        if not (images.get(name) or (name == "real" and real)):
            sys.exit(f"There are no PNGs in {folder}.")
    count = write_sheets(images, real, options.seed, options.output)
    print(f"{count} sheets in {options.output}. Readers write {options.output}/verdicts/READER.json, such as")
    print('{"1": [0, 2, ""], "2": [1, 5, "Pikachu"]}')


if __name__ == "__main__":
    main()
