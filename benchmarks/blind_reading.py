"""Blind readings: shuffled, numbered sheets of sprites, and of rows of one type, with real ones among them.

    python benchmarks/blind_reading.py sheets --setting 1.5=outputs/a --setting 3.5=outputs/b --real outputs/real \
        --output outputs/reading
    python benchmarks/blind_reading.py table --output outputs/reading

A setting is a folder of PNGs whose names begin with the type and "_", as `pokemon-ddpm generate` names them, and real
ones are named alike. Eight of one type are also a row. For a claim about two settings use 144 equal seeds in each,
eight of each type: with 36, one face is 3 %. Readers get the sheets and `INSTRUCTIONS` only, and write
verdicts/READER.json; they never see key.json.
"""

import argparse
import csv
import itertools
import json
import operator
import random
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.stats import entropy

from pokemon_ddpm.postprocessing import enlarge
from pokemon_ddpm.preprocessing import on_white
from pokemon_ddpm.vocabulary import BODIES, TYPES

COLUMNS, ROWS, SCALE, GAP, NUMBER_HEIGHT = 6, 5, 4, 8, 18
ROW, ROWS_PER_SHEET = 8, 6
REAL_SHARE = 0.1  # of the sprites of a sheet, and of its rows at least one
USABLE = 3  # the quality from which a sprite is usable
RESAMPLES = 2000
SEEN_BODIES = (*BODIES, "unclear")
INSTRUCTIONS = """\
You see sheets of 64x64 pixel-art creatures. Some were made by professionals, some by machines of different quality.
Judge strictly, and only what you see. The numbers are in random order.

Sheets of sprites have each under its number. Write for each number [face, quality, body, type, type, known]:

- face: 1 if there is a clear eye where an eye belongs, on a head that you can point at; otherwise 0.
- quality, of the drawing: 1 a shapeless or torn patch; 2 a body without clear anatomy; 3 a whole creature that could
  stand in a modest game; 4 good, with few faults; 5 as if drawn by a professional. Use the whole scale: 5 is what the
  best sprites of the sheets deserve.
- body: one of {bodies}.
- type, twice: your two best guesses among {types}.
- known: the name of the existing Pokémon that it plainly is, otherwise "".

Sheets of rows have eight sprites in each row, all of one type, under the row's number, such as R1. Write for each
number [different, wish, type, type]:

- different: how many clearly different creatures there are, from 1 to 8. Another color or pose is no other creature.
- wish: from 1 to 5, how pleased somebody would be who wanted eight ideas for creatures of this type.
- type, twice: your two best guesses among those types.
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


def kind_of(path: Path) -> str:
    """The type that a sprite's file is named after, such as "fire-flying"."""
    return path.stem.split("_")[0]


def rows_of(paths: list[Path]) -> list[list[Path]]:
    """As many rows of `ROW` sprites of one type as there are."""
    kinds = defaultdict(list)
    for path in paths:
        kinds[kind_of(path)].append(path)
    return [members[i : i + ROW] for members in kinds.values() for i in range(0, len(members) - ROW + 1, ROW)]


def write_sheets(settings: dict[str, list[Path]], real: list[Path], seed: int, folder: Path) -> int:
    """Writes sheet-01.png, rows-01.png and so on into a folder, with key.json. Returns how many there are.

    The key has number -> setting and files. All sheets have the same share of real sprites, which are used again where
    there are too few of them; so have the sheets of rows, where there are real rows.
    """
    order = random.Random(seed)
    (folder / "verdicts").mkdir(parents=True, exist_ok=True)
    kinds = sorted({kind_of(path) for paths in settings.values() for path in paths})
    types = TYPES if {*"-".join(kinds).split("-")} <= {*TYPES} else kinds
    words = {"bodies": ", ".join(SEEN_BODIES), "types": ", ".join(types)}
    (folder / "instructions.txt").write_text(INSTRUCTIONS.format(**words), encoding="utf-8")
    key, sheets = {}, 0
    singles, rows = ({name: form(paths) for name, paths in settings.items()} for form in (_singles, rows_of))
    for name, prefix, columns, size, generated, reals in (
        ("sheet", "", COLUMNS, COLUMNS * ROWS, singles, _singles(real)),
        ("rows", "R", ROW, ROWS_PER_SHEET, rows, rows_of(real)),
    ):
        items = [(setting, paths) for setting, groups in generated.items() for paths in groups]
        parts = _shuffled(items, reals, size, order)
        number = 0
        for index, part in enumerate(parts):
            numbered = {f"{prefix}{number + i}": item for i, item in enumerate(part, 1)}
            key |= {n: (setting, [*map(str, paths)]) for n, (setting, paths) in numbered.items()}
            labels = [n if i == 0 else "" for n, (_, paths) in numbered.items() for i in range(len(paths))]
            sprites = [path for _, paths in part for path in paths]
            _sheet(sprites, labels, columns).save(folder / f"{name}-{index + 1:02}.png")
            number += len(part)
        sheets += len(parts)
    (folder / "key.json").write_text(json.dumps(key, indent=0) + "\n", encoding="utf-8")
    return sheets


def _singles(paths: list[Path]) -> list[list[Path]]:
    return [[path] for path in paths]


def _shuffled(
    generated: list[tuple[str, list[Path]]], real: list[list[Path]], size: int, order: random.Random
) -> list[list[tuple[str, list[Path]]]]:
    """The content of sheets of at most `size`, with real ones on each, where there are any."""
    order.shuffle(generated)
    order.shuffle(real)
    of_sheet, used, parts = size - max(1, round(size * REAL_SHARE)), itertools.cycle(real), []
    for start in range(0, len(generated), of_sheet):
        part = generated[start : start + of_sheet]
        count = max(1, round(len(part) * REAL_SHARE / (1 - REAL_SHARE)))
        part += [("real", paths) for paths in itertools.islice(used, count)]
        order.shuffle(part)
        parts.append(part)
    return parts


def _sheet(paths: list[Path], labels: list[str], columns: int) -> Image.Image:
    """Sprites on white, enlarged, each under its label."""
    images = [enlarge(on_white(Image.open(path)), SCALE) for path in paths]
    width, height = images[0].width + GAP, images[0].height + GAP + NUMBER_HEIGHT
    sheet = Image.new("RGB", (columns * width, -(-len(images) // columns) * height), "white")
    canvas, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=NUMBER_HEIGHT - 2)
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        row, column = divmod(i, columns)
        canvas.text((column * width + 2, row * height), label, fill="black", font=font)
        sheet.paste(image, (column * width, row * height + NUMBER_HEIGHT))
        canvas.rectangle(
            (column * width, row * height + NUMBER_HEIGHT, (column + 1) * width - GAP, (row + 1) * height - GAP),
            outline="#dddddd",
        )
    return sheet


def read_verdicts(folder: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The verdicts of sprites and of rows, each with setting, file (of a row the first), reader, and what was asked.

    Of sprites face (0 or 1), quality (1 to 5), body, type and known (a name or ""); of rows different (1 to 8), wish
    (1 to 5) and type: 1 if all types of the file's name are among the guesses, which come after it.

    Raises:
        ValueError: If a verdict is not of this form, or of a number that no sheet has.
    """
    key, singles, rows = json.loads((folder / "key.json").read_text(encoding="utf-8")), [], []
    for path in sorted((folder / "verdicts").glob("*.json")):
        for number, verdict in json.loads(path.read_text(encoding="utf-8")).items():
            setting, files = key.get(number, ("", []))
            match verdict if files else None:
                case [0 | 1 as face, int(quality), body, str(one), str(other), str(known)] if (
                    len(files) == 1 and 1 <= quality <= 5 and body in SEEN_BODIES
                ):
                    values, verdicts = {"face": face, "quality": quality, "body": body}, singles
                case [int(different), int(wish), str(one), str(other)] if (
                    len(files) == ROW and 1 <= different <= ROW and 1 <= wish <= 5
                ):
                    values, verdicts, known = {"different": different, "wish": wish}, rows, None
                case _:
                    needed = "[0 or 1, 1 to 5, body, type, type, name], of a row [1 to 8, 1 to 5, type, type]"
                    raise ValueError(f"{path} has {verdict!r} for {number!r}, but needs {needed}.")
            named = {*kind_of(Path(files[0])).split("-")} <= {*f"{one}-{other}".split("-")}
            values |= {"type": int(named), "guesses": f"{one} {other}"} | ({} if known is None else {"known": known})
            verdicts.append({"setting": setting, "file": files[0], "reader": path.stem, **values})
    return singles, rows


def summary(
    verdicts: list[dict[str, Any]], columns: dict[str, Callable[[dict[str, Any]], float]], seed: int = 0
) -> list[str]:
    """Lines of a table in Markdown: the means of columns, for each setting, with 95 % intervals.

    The mean over readers comes first, so that every sprite or row counts once; these are resampled. Columns are name
    -> value of a verdict; of sprites there is also "bodies", the effective number of bodies.
    """
    files: dict[str, dict[str, list[list[float]]]] = defaultdict(lambda: defaultdict(list))
    for verdict in verdicts:
        bodies = [verdict["body"] == name for name in SEEN_BODIES] if "body" in verdict else []
        files[verdict["setting"]][verdict["file"]].append([*(column(verdict) for column in columns.values()), *bodies])
    has_bodies = any("body" in verdict for verdict in verdicts)
    names = [*columns, *["bodies"] * has_bodies]
    lines = [f"| setting | number, verdicts | {' | '.join(names)} |", "|---" * (len(names) + 2) + "|"]
    random_numbers = np.random.default_rng(seed)
    for setting, of_file in files.items():
        means = np.array([np.mean(readings, axis=0) for readings in of_file.values()])
        chosen = random_numbers.integers(len(means), size=(RESAMPLES, len(means)))
        averages = np.concatenate([means.mean(axis=0)[None], means[chosen].mean(axis=1)])
        if has_bodies:
            count = len(columns)
            averages = np.column_stack([averages[:, :count], np.exp(entropy(averages[:, count:], axis=1))])
        low, high = np.quantile(averages[1:], [0.025, 0.975], axis=0)
        cells = []
        for name, mean, a, b in zip(names, averages[0], low, high, strict=True):
            form = ".2f" if name in ("quality", "different", "wish", "bodies") else ".0%"
            cells.append(f"{mean:{form}} ({a:{form}} to {b:{form}})")
        lines.append(f"| {setting} | {len(of_file)}, {sum(map(len, of_file.values()))} | {' | '.join(cells)} |")
    return lines


OF_SPRITES = {
    "face": lambda verdict: verdict["face"],
    "quality": lambda verdict: verdict["quality"],
    "usable": lambda verdict: verdict["quality"] >= USABLE,
    "known": lambda verdict: bool(verdict["known"]),
    "type": lambda verdict: verdict["type"],
}
OF_ROWS = {name: operator.itemgetter(name) for name in ("different", "wish", "type")}


def main(arguments: list[str] | None = None) -> None:
    """Runs a command."""
    options = parse(arguments)
    if options.command == "table":
        singles, rows = read_verdicts(options.output)
        print("\n".join(summary(singles, OF_SPRITES) * bool(singles) + summary(rows, OF_ROWS) * bool(rows)))
        if options.csv:
            columns = dict.fromkeys(name for verdict in (*singles, *rows) for name in verdict)
            with options.csv.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, columns)
                writer.writeheader()
                writer.writerows([*singles, *rows])
        return
    settings = dict(text.split("=", 1) for text in options.setting)
    images = {name: sorted(Path(folder).glob("*.png")) for name, folder in settings.items()}
    real = sorted(options.real.glob("*.png"))
    for name, folder in {**settings, "real": options.real}.items():
        if not (images.get(name) or (name == "real" and real)):
            sys.exit(f"There are no PNGs in {folder}.")
    count = write_sheets(images, real, options.seed, options.output)
    print(f"{count} sheets in {options.output}. Readers write {options.output}/verdicts/READER.json, such as")
    print('{"1": [0, 2, "blob", "fire", "rock", ""], "R1": [4, 2, "water", "ice"]}')


if __name__ == "__main__":
    main()
