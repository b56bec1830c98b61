"""A report of the sprites with figures: `report.md`, `report.json` and their PNGs in a folder."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import datasets
from matplotlib.figure import Figure
from tqdm.auto import tqdm

from pokemon_ddpm.data_report import distributions, figures, panels, text
from pokemon_ddpm.data_report.counts import count
from pokemon_ddpm.data_report.measures import MeasuredSprites, measure
from pokemon_ddpm.data_report.style import Numbers
from pokemon_ddpm.data_report.text import SECTIONS, amount, listed, percent, plain
from pokemon_ddpm.markdown import table

REPORT, NUMBERS = "report.md", "report.json"
DPI = 150
FIGURES: Mapping[str, Callable[[Numbers], Figure]] = {
    "splits.png": figures.splits,
    "games.png": figures.games,
    "types.png": figures.types,
    "pairs.png": figures.pairs,
    "colors-shapes.png": figures.colors_and_shapes,
    "duplicates.png": figures.duplicates,
    "heights.png": distributions.heights,
    "geometry.png": distributions.geometry,
    "palettes.png": distributions.palettes,
}
PANELS: Mapping[str, Callable[[MeasuredSprites, Numbers], Figure]] = {
    "examples.png": panels.examples,
    "averages.png": panels.averages,
}


def write_report(sprites: Mapping[str, datasets.Dataset], folder: Path, source: str, starter: bool) -> Numbers:
    """Writes the report; older files of the same names are replaced, and others left alone.

    Args:
        sprites: Split -> its pictures, as `load_sprites` returns them.
        folder: Where to; it must be there.
        source: What the pictures are, for the title.
        starter: Whether they are free for everybody, being the starter set.

    Returns:
        What `report.json` holds.

    Raises:
        OSError: If a file cannot be written.
    """
    measured = measure(sprites)
    numbers = {"source": source, **count(measured)}
    drawings = {name: (draw, (numbers,)) for name, draw in FIGURES.items()}
    drawings |= {name: (draw, (measured, numbers)) for name, draw in PANELS.items()}
    for name, (draw, given) in tqdm(drawings.items(), desc="Drawing figures"):
        draw(*given).savefig(folder / name, dpi=DPI)
    (folder / NUMBERS).write_text(json.dumps(numbers, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / REPORT).write_text(report(numbers, starter), encoding="utf-8")
    return numbers


def report(numbers: Numbers, starter: bool) -> str:
    """The page, in Markdown.

    Args:
        numbers: What `count` gives, and the "source".
        starter: See `write_report`.
    """
    blocks = [f"# {plain(numbers['source'])}", _introduction(numbers, starter), _glance(numbers)]
    if any("typical" in found for found in numbers["types"].values()):
        blocks += [
            "![a sprite of each type](examples.png)",
            "Of each first type the sprite that shows best what sets it apart: its difference from the mean of all "
            "pictures points most in the direction of its type's.",
        ]
    tables = {"Splits": _splits, "Views, finishes and games": _views, "Types": _types}
    for title, (figure, shown, sentences) in SECTIONS.items():
        blocks += [f"## {title}", " ".join(sentences(numbers)), f"![{shown}]({figure})"]
        if title in tables:
            blocks.append(tables[title](numbers))
    blocks += ["## What was corrected", *text.corrections(numbers)]
    blocks.append(f"All numbers are in [{NUMBERS}]({NUMBERS}).")
    return "\n\n".join(blocks) + "\n"


def _introduction(numbers: Numbers, starter: bool) -> str:
    made = "A report by `pokemon-ddpm describe-data`; every number in it is counted in the pictures that it was given."
    if starter:
        return f"{made} They are the starter set: drawn by a program, and free for everybody."
    return f"{made} Two figures show sprites, which belong to others: mind that before you pass this folder on."


def _glance(numbers: Numbers) -> str:
    duplicates, canvases = numbers["duplicates"], list(numbers["geometry"]["canvases"])
    sizes = listed([f"{size} px" for size in canvases]) if len(canvases) < 4 else f"{len(canvases)} sizes"
    distinct = f"{duplicates['distinct']:,} ({percent(duplicates['distinct'], numbers['pictures'])})"
    rows = {
        "pictures": f"{numbers['pictures']:,}",
        "distinct to the pixel": distinct,
        "species": f"{numbers['species']:,}",
        "forms": f"{numbers['forms']:,}",
        "evolution lines (look-alike families share one)": f"{numbers['lines']:,}",
        "canvas": sizes,
        "colours a picture, median": f"{numbers['palettes']['p50']:g}",
    }
    return table(["at a glance", ""], [[name, value] for name, value in rows.items()])


def _splits(numbers: Numbers) -> str:
    keys = ("pictures", "species", "forms", "lines")
    rows = [[name, *(f"{part[key]:,}" for key in keys)] for name, part in numbers["splits"].items()]
    return table(["split", *keys], rows)


def _views(numbers: Numbers) -> str:
    kinds = [game["kinds"] for game in numbers["games"].values()]
    rows = []
    for view in numbers["views"]:
        counts = [sum(kind[f"{view} {finish}"] for kind in kinds) for finish in numbers["finishes"]]
        rows.append([view, *(f"{each:,}" for each in (*counts, sum(counts)))])
    return table(["view", *numbers["finishes"], "both"], rows)


def _types(numbers: Numbers) -> str:
    splits = list(numbers["splits"])
    columns = ("first", "second", "either", "alone", "forms", "lines")
    rows = [
        [name, *(f"{found[key]:,}" for key in columns), *(f"{found['splits'][split]:,}" for split in splits)]
        for name, found in sorted(numbers["types"].items(), key=lambda item: -item[1]["first"])
    ]
    note = "Forms, lines and splits are counted by the first type."
    return f"{table(['type', *columns, *splits], rows)}\n\n{note}"


def summary(numbers: Numbers) -> str:
    """One line for the terminal."""
    repeated = numbers["duplicates"]["redundant"]
    return (
        f"{amount(numbers['pictures'], 'picture')} of {numbers['species']:,} species in "
        f"{amount(numbers['forms'], 'form')}, {repeated:,} of them repeated"
    )
