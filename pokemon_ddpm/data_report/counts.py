"""The numbers of the report of the data, as they stand in `report.json`; figures and sentences are made of them."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from pokemon_ddpm.data import size_classes
from pokemon_ddpm.data_report.measures import SMALL, MeasuredSprites, average, folder_name, typical
from pokemon_ddpm.vocabulary import ANY, COLORS, FINISHES, GAMES, NONE, SHAPES, SIZES, TYPES, VIEWS

# The longest side that is pasted one to one: at 32 px a margin is kept.
FITS = {32: 30, 64: 64}
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
# In what the pictures of a group of equal ones may differ.
DIFFERENCES = ("game", "frame", "finish", "view", "index", "line", "split")


def count(sprites: MeasuredSprites) -> dict[str, Any]:
    """Counts all that the report tells, in types that JSON has."""
    labels = sprites.labels
    return {
        **_sizes(sprites, np.ones(len(sprites), dtype=bool)),
        "splits": {name: _sizes(sprites, labels["split"] == name) for name in dict.fromkeys(labels["split"].tolist())},
        "lines_in_several_splits": _in_several(labels["line"], labels["split"]),
        "views": _tally(labels["view"], VIEWS),
        "finishes": _tally(labels["finish"], FINISHES),
        "games": _games(sprites),
        "pictures_a_form": _pictures_a_form(sprites),
        "types": _types(sprites),
        "pairs": _pairs(sprites),
        "colors": _tally(labels["color"], (*COLORS, ANY)),
        "shapes": _tally(labels["shape"], SHAPES),
        "heights": _heights(sprites),
        "geometry": _geometry(sprites),
        "palettes": {**_spread(sprites.colors), "pictures_by_colors": _histogram(sprites.colors)},
        "duplicates": _duplicates(sprites),
        "corrections": _corrections(sprites),
    }


def _tally(values: np.ndarray, words: Iterable[str]) -> dict[str, int]:
    """Word -> how often it occurs, in the order of the words, also where it does not."""
    counted = Counter(values.tolist())
    return {word: counted[word] for word in words}


def _histogram(values: np.ndarray) -> dict[str, int]:
    return {str(value): number for value, number in sorted(Counter(values.tolist()).items())}


def _spread(values: np.ndarray) -> dict[str, float]:
    """Least, greatest, and the quantiles that a box plot shows."""
    quantiles = {f"p{round(100 * q)}": float(np.quantile(values, q)) for q in QUANTILES}
    return {"min": float(values.min()), **quantiles, "max": float(values.max())}


def _sizes(sprites: MeasuredSprites, chosen: np.ndarray) -> dict[str, int]:
    columns = {"species": "dex_number", "forms": "index", "lines": "line"}
    distinct = {name: len(np.unique(sprites.labels[column][chosen])) for name, column in columns.items()}
    return {"pictures": int(chosen.sum()), **distinct}


def _in_several(keys: np.ndarray, values: np.ndarray) -> int:
    """How many keys occur with more than one value."""
    pairs = set(zip(keys.tolist(), values.tolist(), strict=True))
    return sum(number > 1 for number in Counter(key for key, _ in pairs).values())


def _games(sprites: MeasuredSprites) -> dict[str, dict[str, Any]]:
    """Game -> its pictures by view and finish, and the spread of their sizes and palettes; only those there are."""
    labels = sprites.labels
    kinds = np.char.add(np.char.add(labels["view"], " "), labels["finish"])
    games = {}
    for game in (*GAMES, ANY):
        chosen = labels["game"] == game
        if chosen.any():
            games[game] = {
                "pictures": int(chosen.sum()),
                "kinds": _tally(kinds[chosen], [f"{view} {finish}" for view in VIEWS for finish in FINISHES]),
                "longest_side": _spread(sprites.boxes[chosen].max(axis=1)),
                "colors": _spread(sprites.colors[chosen]),
            }
    return games


def _pictures_a_form(sprites: MeasuredSprites) -> dict[str, Any]:
    forms, first, counts = np.unique(sprites.labels["index"], return_index=True, return_counts=True)
    most = int(counts.argmax())
    return {"median": float(np.median(counts)), "max": int(counts[most]),
            "most": str(sprites.labels["name"][first[most]])}  # fmt: skip


def _types(sprites: MeasuredSprites) -> dict[str, dict[str, Any]]:
    """Type -> pictures that have it alone, first, second and either; those that have it first by form and split."""
    labels, shown = sprites.labels, sprites.shown
    everything = average(sprites, shown) if shown.any() else None
    types = {}
    for word in TYPES:
        first, second = labels["type1"] == word, labels["type2"] == word
        types[word] = {
            "alone": int((first & (labels["type2"] == NONE)).sum()),
            "first": int(first.sum()),
            "second": int(second.sum()),
            "either": int((first | second).sum()),
            "forms": len(np.unique(labels["index"][first])),
            "lines": len(np.unique(labels["line"][first])),
            "splits": _tally(labels["split"][first], dict.fromkeys(labels["split"].tolist())),
            "shown": int((first & shown).sum()),
        }
        if (first & shown).any():
            difference = average(sprites, first & shown) - everything
            types[word]["from_mean"] = round(float(np.sqrt(np.square(difference).mean())), 3)
            row = typical(sprites, first & shown, shown)
            types[word]["typical"] = {"row": row, **{key: str(labels[key][row]) for key in ("name", "path")}}
    return types


def _pairs(sprites: MeasuredSprites) -> dict[str, Any]:
    """Pictures by first and second type, `grass/poison`, and how many pairs there are when the order is let go."""
    labels = sprites.labels
    ordered = Counter(zip(labels["type1"].tolist(), labels["type2"].tolist(), strict=True))
    sets: Counter[frozenset[str]] = Counter()
    forms = defaultdict(set)
    for first, second, index in zip(labels["type1"], labels["type2"], labels["index"], strict=True):
        if second != NONE:
            sets[frozenset((first, second))] += 1
            forms[frozenset((first, second))].add(index)
    dual = [pair for pair in ordered if pair[1] != NONE]
    return {
        "ordered": {"/".join(pair): number for pair, number in sorted(ordered.items())},
        "with_order": len(dual),
        "without_order": len(sets),
        "in_both_orders": len(dual) - len(sets),
        "below_ten": sum(number < 10 for number in sets.values()),
        "of_one_form": sum(len(indices) == 1 for indices in forms.values()),
    }


def _heights(sprites: MeasuredSprites) -> dict[str, Any]:
    heights = sprites.labels["height"]
    classes = np.array([*SIZES, "unknown"])[size_classes(torch.from_numpy(heights))]
    known, longest = heights > 0, sprites.boxes.max(axis=1)
    correlation = None  # it is not defined where there is nothing to compare
    if known.any() and min(np.ptp(heights[known]), np.ptp(longest[known])) > 0:
        correlation = round(float(np.corrcoef(np.log(heights[known]), longest[known])[0, 1]), 3)
    return {
        **(_spread(heights[known]) if known.any() else {}),
        "pictures_by_decimetres": _histogram(heights[known]),
        "sizes": _tally(classes, (*SIZES, "unknown")),
        "correlation_with_longest_side": correlation,
    }


def _geometry(sprites: MeasuredSprites) -> dict[str, Any]:
    longest, area = sprites.boxes.max(axis=1), sprites.canvases.prod(axis=1)
    share = sprites.inked / area
    return {
        "canvases": {"{}x{}".format(*size): n for size, n in sorted(Counter(map(tuple, sprites.canvases)).items())},
        "boxes": {"{}x{}".format(*size): n for size, n in sorted(Counter(map(tuple, sprites.boxes)).items())},
        "width": _spread(sprites.boxes[:, 0]),
        "height": _spread(sprites.boxes[:, 1]),
        "longest_side": _spread(longest),
        "inked_percent": _spread(100 * share),
        "pictures_by_inked_percent": _histogram((100 * share).astype(int)),
        "at_edge": int(sprites.at_edge.sum()),
        "empty": int((sprites.inked == 0).sum()),
        "reduced": {str(side): int((longest > fits).sum()) for side, fits in FITS.items()},
        "white_percent": round(100 * (1 - float(sprites.inked.sum() / area.sum())), 3),
        f"white_percent_at_{SMALL}": round(100 * float((sprites.small == 255).all(axis=3).mean()), 3),
    }


def _duplicates(sprites: MeasuredSprites) -> dict[str, Any]:
    labels, groups = sprites.labels, defaultdict(list)
    for row, digest in enumerate(sprites.digests.tolist()):
        groups[digest].append(row)
    equal = [rows for rows in groups.values() if len(rows) > 1]
    within = len(set(zip(sprites.digests.tolist(), labels["split"].tolist(), strict=True)))
    types = [frozenset(pair) for pair in zip(labels["type1"].tolist(), labels["type2"].tolist(), strict=True)]
    games = Counter(" + ".join(sorted(set(labels["game"][rows].tolist()))) for rows in equal)
    return {
        "distinct": len(groups),
        "redundant": len(sprites) - len(groups),
        "redundant_within_splits": len(sprites) - within,
        "groups": len(equal),
        "pictures": sum(map(len, equal)),
        "groups_that_differ_in": {key: sum(len(set(labels[key][rows].tolist())) > 1 for rows in equal)
                                  for key in DIFFERENCES},
        "groups_of_different_types": sum(len({types[row] for row in rows}) > 1 for rows in equal),
        "games": dict(games.most_common()),
    }  # fmt: skip


def _corrections(sprites: MeasuredSprites) -> dict[str, Any]:
    labels = sprites.labels
    faulty, exchanged, unknown = labels["faulty"], labels["exchanged"], labels["color"] == ANY
    folders = {folder_name(labels["path"][row]): str(labels["name"][row]) for row in np.flatnonzero(exchanged)}
    shiny, regional = labels["finish"] == "shiny", np.isin(labels["form"], ("alola", "galar"))
    return {
        "faulty": int(faulty.sum()),
        "faulty_pictures": labels["path"][faulty].tolist(),
        "exchanged": int(exchanged.sum()),
        "exchanged_folders": dict(sorted(folders.items())),
        "color_any": {"shiny": int((unknown & shiny).sum()), "regional": int((unknown & ~shiny & regional).sum()),
                      "other": int((unknown & ~shiny & ~regional).sum())},
        "weight_unknown": sum(weight is None or weight != weight for weight in labels["weight"].tolist()),
    }  # fmt: skip
