"""Writes the table of `palettes.shiny_table` anew, of the shinies in the training split; and pairs of real sprites.

python -m benchmarks.shiny_table path/to/pokemon-sprites
"""

import json
import sys
from collections import defaultdict

import numpy as np
import torch
from PIL import Image

from pokemon_ddpm.data import SpriteTensors, load_tensors
from pokemon_ddpm.files import write_file
from pokemon_ddpm.likeness import color_change
from pokemon_ddpm.palettes import MAIN_AREAS, MIN_AREA, SHINY_TABLE, shaded_areas
from pokemon_ddpm.postprocessing import from_oklab, reduce_palette
from pokemon_ddpm.preprocessing import as_arrays
from pokemon_ddpm.vocabulary import FINISHES, TYPES, VIEWS

MIN_SHINY_CHANGE = 0.06  # of a real shiny whose colors others get


def pairs_of(data: SpriteTensors, column: str, view: str, finish: str = "normal") -> tuple[torch.Tensor, ...]:
    """The rows of normal fronts, and of what belongs to each, int64 (K,) both.

    That has the view and finish, and in the column ("index", or "evolves_from" for the next stage) the form of the
    front. There is one pair for each form: of the same game and frame if possible, and of the earliest game.
    """
    names = ("index", "game", "frame", "view", "finish")
    sprites = list(zip(*(data.labels[name].tolist() for name in names), data.labels[column].tolist(), strict=True))
    fronts, best = defaultdict(list), {}
    for row, (form, game, frame, *look, _) in enumerate(sprites):
        if look == [VIEWS.index("front"), FINISHES.index("normal")]:
            fronts[form].append((game, frame, row))
    for target, (form, game, frame, *look, wanted) in enumerate(sprites):
        if look != [VIEWS.index(view), FINISHES.index(finish)]:
            continue
        for of_game, of_frame, row in fronts[wanted]:
            pair = (of_game != game, of_frame != frame, game, row, target)
            best[form] = min(pair, best.get(form, pair))
    return torch.tensor([best[form][3:] for form in sorted(best)], dtype=torch.int64).view(-1, 2).unbind(dim=1)


def shiny_colors(data: SpriteTensors) -> dict[str, list[str]]:
    """Type -> the colors of visible shinies, one of each line, see `palettes.shiny_table`."""
    pairs, colors_of = pairs_of(data, "index", "front", "shiny"), defaultdict(dict)
    changes = color_change(*(data.images[rows] for rows in pairs))
    for row in pairs[1][changes >= MIN_SHINY_CHANGE].tolist():
        areas = shaded_areas(reduce_palette(Image.fromarray(as_arrays(data.images[row : row + 1])[0])))
        main = [area.mean for area in areas[:MAIN_AREAS] if area.share >= MIN_AREA]
        colors = from_oklab(np.array(main)).tobytes().hex() if main else ""
        for number in data.labels["type"][row].tolist() if main else ():
            if number < len(TYPES):
                colors_of[TYPES[number]].setdefault(int(data.labels["line"][row]), colors)
    return {name: list(colors_of[name].values()) for name in TYPES}


if __name__ == "__main__":
    table = shiny_colors(load_tensors(sys.argv[1], "train", 64, config_name="all"))
    rows = (f"{json.dumps(name)}: {json.dumps(colors)}" for name, colors in table.items())
    write_file(SHINY_TABLE, "{" + ",\n ".join(rows) + "}\n")
