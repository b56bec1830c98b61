"""A report of the sprites: `report.md` with tables and figures, and all numbers in `report.json`."""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import datasets
import jinja2
import numpy as np
import torch
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter
from pandas import DataFrame, Series

from pokemon_ddpm import plots
from pokemon_ddpm.data import size_classes
from pokemon_ddpm.dataset_scripts.sprite_archive import EXCHANGED_FOLDERS, is_faulty
from pokemon_ddpm.dataset_scripts.starter_sprites import TYPE_STYLES
from pokemon_ddpm.files import save_figure, write_file
from pokemon_ddpm.preprocessing import open_image, preprocess
from pokemon_ddpm.vocabulary import ANY, COLORS, FINISHES, GAMES, NONE, SHAPES, SIZE_LIMITS, SIZES, TYPES, VIEWS

REPORT, NUMBERS = "report.md", "report.json"
DPI = 150
SMALL = 32
FITS = {SMALL: 30, 64: 64}  # resolution -> the longest side that is not reduced
QUANTILES = {"min": 0, "p5": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95, "max": 1}
KINDS = [f"{view} {finish}" for view in VIEWS for finish in FINISHES]
DIFFERENCES = ("game", "frame", "finish", "view", "index", "line", "split")  # of images with equal pixels
TYPE_COLORS = {name: tuple(value / 255 for value in style.body) for name, style in TYPE_STYLES.items()}

Numbers = Mapping[str, Any]


def write_report(sprites: Mapping[str, datasets.Dataset], folder: Path, source: str, starter: bool) -> Numbers:
    """Writes the report; replaces older files of the same names and leaves others alone.

    Args:
        sprites: Split -> its images, as `load_sprites` returns them.
        folder: An existing folder.
        source: What the images are, for the title.
        starter: Whether they are the starter set, which is free for everybody.

    Returns:
        The content of `report.json`.
    """
    rows = datasets.concatenate_datasets(list(sprites.values())).cast_column("image", datasets.Image(decode=False))
    splits = np.repeat(list(sprites), [len(part) for part in sprites.values()])
    frame, small = measure(rows, splits)
    numbers = {"source": source, **count(frame, small)}
    figures = {name: plot(numbers) for name, plot in FIGURES.items()}
    typical = {name: found["typical"] for name, found in numbers["types"].items() if "typical" in found}
    images = {name: open_image(rows[each["row"]]["image"]["bytes"]) for name, each in typical.items()}
    figures["examples.png"] = _panels(images, {name: each["name"] for name, each in typical.items()})
    means = {name: small[frame["shown"] & (frame["type1"] == name)].mean(axis=0).round() for name in typical}
    figures["averages.png"] = _panels(means, {name: f"{numbers['types'][name]['shown']:,}" for name in means})
    for name, figure in figures.items():
        save_figure(figure, folder / name, DPI)
    write_file(folder / NUMBERS, json.dumps(numbers, indent=2, ensure_ascii=False) + "\n")
    write_file(folder / REPORT, report(numbers, starter))
    return numbers


def report(numbers: Numbers, starter: bool) -> str:
    """The page, in Markdown; for the arguments see `write_report`."""
    loader = jinja2.FileSystemLoader(Path(__file__).with_name("templates"))
    environment = jinja2.Environment(loader=loader, trim_blocks=True, undefined=jinja2.StrictUndefined)
    environment.filters.update(n="{:,}".format, g="{:g}".format, percent="{:.1f} %".format, plain=_plain)
    return environment.get_template("data_report.md").render(numbers, starter=starter)


def _plain(text: str) -> str:
    """Text from the data, without a meaning in Markdown."""
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>|#$" else letter for letter in " ".join(text.split()))


def summary(numbers: Numbers) -> str:
    """One line for the terminal."""
    counts = ", ".join(f"{numbers[name]:,} {name}" for name in ("images", "species", "forms", "lines"))
    return f"{counts}; {numbers['duplicates']['redundant']:,} redundant images"


def measure(rows: datasets.Dataset, splits: np.ndarray) -> tuple[DataFrame, np.ndarray]:
    """Measures every image, given undecoded and with the split of each.

    Returns:
        The labels by name and what is measured, a row per image, and the images preprocessed, uint8 (N, 32, 32, 3).
        "exchanged": with the labels of another folder. "shown": not faulty, a front in normal colors. "foreground":
        the number of pixels that are not white; the box is around these. "colors": the number without white.
    """
    frame = rows.remove_columns("image").to_pandas()
    for name, feature in rows.features.items():
        if isinstance(feature, datasets.ClassLabel):
            frame[name] = np.array(feature.names)[frame[name]]
    frame["split"] = splits
    frame["faulty"] = [is_faulty(index, path) for index, path in zip(frame["index"], frame["path"], strict=True)]
    # The starter set has no folders. The labels are not exchanged where the pokedex lacks the other row.
    names = [
        _folder_name(path) if "/" in path else name for path, name in zip(frame["path"], frame["name"], strict=True)
    ]
    frame["exchanged"] = frame["index"].isin(EXCHANGED_FOLDERS) & (frame["name"] != names)
    frame["shown"] = (frame["view"] == VIEWS[0]) & (frame["finish"] == FINISHES[0]) & ~frame["faulty"]
    small, measured = np.empty((len(rows), SMALL, SMALL, 3), dtype=np.uint8), []
    for row, value in enumerate(datasets.utils.tqdm(rows["image"], desc="Measuring images")):
        image = open_image(value["bytes"])
        small[row] = preprocess(image, SMALL)
        measured.append(_measured(np.asarray(image)))
    for name in measured[0]:
        frame[name] = [each[name] for each in measured]
    return frame, small


def _folder_name(path: str) -> str:
    """Pikachu in `sprites/0037-Pikachu-25/...`."""
    return path.split("/")[1].split("-", 1)[1].rsplit("-", 1)[0]


def _measured(pixels: np.ndarray) -> dict[str, Any]:
    height, width = pixels.shape[:2]
    foreground = (pixels < 255).any(axis=2)
    y, x = np.flatnonzero(foreground.any(axis=1)), np.flatnonzero(foreground.any(axis=0))
    box_width, box_height = (int(np.ptp(each)) + 1 if len(each) else 0 for each in (x, y))
    return {
        "digest": hashlib.sha256(f"{width}x{height}".encode() + pixels.tobytes()).hexdigest(),
        "canvas": f"{width}x{height}",
        "area": width * height,
        "box_width": box_width,
        "box_height": box_height,
        "longest_side": max(box_width, box_height),
        "foreground": int(foreground.sum()),
        "at_edge": bool(foreground[[0, -1]].any() or foreground[:, [0, -1]].any()),
        "colors": len(np.unique(pixels[foreground].astype(np.int64) @ (65536, 256, 1))),
    }


def count(frame: DataFrame, small: np.ndarray) -> dict[str, Any]:
    """The content of `report.json` but for the source, of what `measure` returns."""
    forms = frame["index"].value_counts()
    most = frame["name"][frame["index"] == forms.idxmax()].iloc[0]
    return {
        **_sizes(frame),
        "splits": {split: _sizes(part) for split, part in frame.groupby("split", sort=False)},
        "lines_in_several_splits": int((frame.groupby("line")["split"].nunique() > 1).sum()),
        "kinds": _tally(frame["view"] + " " + frame["finish"], KINDS),
        "games": _games(frame),
        "images_per_form": {"median": float(forms.median()), "max": int(forms.max()), "most": most},
        "types": _types(frame, small),
        "pairs": _pairs(frame),
        "colors": _tally(frame["color"], (*COLORS, ANY)),
        "shapes": _tally(frame["shape"], SHAPES),
        "heights": _heights(frame),
        "geometry": _geometry(frame, small),
        "palettes": {**_spread(frame["colors"]), "images_by_colors": _histogram(frame["colors"])},
        "duplicates": _duplicates(frame),
        "corrections": _corrections(frame),
    }


def _sizes(frame: DataFrame) -> dict[str, int]:
    columns = {"species": "dex_number", "forms": "index", "lines": "line"}
    return {"images": len(frame), **{name: frame[column].nunique() for name, column in columns.items()}}


def _tally(values: Series, names: Iterable[str]) -> dict[str, int]:
    """Name -> how often it occurs, also where it does not."""
    counts = values.value_counts()
    return {name: int(counts.get(name, 0)) for name in names}


def _histogram(values: Series) -> dict[str, int]:
    return {str(value): int(number) for value, number in values.value_counts().sort_index().items()}


def _spread(values: Series) -> dict[str, float]:
    return {name: float(values.quantile(share)) for name, share in QUANTILES.items()}


def _games(frame: DataFrame) -> dict[str, dict[str, Any]]:
    parts = {game: frame[frame["game"] == game] for game in (*GAMES, ANY)}
    return {
        game: {
            "images": len(part),
            "kinds": _tally(part["view"] + " " + part["finish"], KINDS),
            "longest_side": _spread(part["longest_side"]),
            "colors": _spread(part["colors"]),
        }
        for game, part in parts.items()
        if len(part)
    }


def _types(frame: DataFrame, small: np.ndarray) -> dict[str, dict[str, Any]]:
    """Type -> its counts; forms, lines, splits and "shown" are those of the first type."""
    types = {}
    mean = small[frame["shown"]].mean(axis=0)
    for name in TYPES:
        first, second = frame["type1"] == name, frame["type2"] == name
        part, shown = frame[first], first & frame["shown"]
        types[name] = {
            "alone": int((part["type2"] == NONE).sum()),
            "first": int(first.sum()),
            "second": int(second.sum()),
            "either": int((first | second).sum()),
            **{key: value for key, value in _sizes(part).items() if key in ("forms", "lines")},
            "splits": _tally(part["split"], frame["split"].unique()),
            "shown": int(shown.sum()),
        }
        if shown.any():
            direction = small[shown].mean(axis=0) - mean
            types[name]["distance_from_mean"] = round(float(np.sqrt(np.square(direction).mean())), 3)
            # By the cosine: the nearest to the mean of the type would be a pale image, as means are.
            differences = (small[shown] - mean).reshape(shown.sum(), -1)
            cosines = differences @ direction.ravel() / (np.linalg.norm(differences, axis=1) + 1e-9)
            row = int(np.flatnonzero(shown)[cosines.argmax()])
            types[name]["typical"] = {"row": row, "name": frame["name"][row], "path": frame["path"][row]}
    return types


def _pairs(frame: DataFrame) -> dict[str, Any]:
    """Images by first and second type; with and without the order of the two."""
    ordered = frame.groupby(["type1", "type2"]).size()
    dual = frame[frame["type2"] != NONE]
    sets = dual.groupby(_type_set(dual))["index"].agg(["size", "nunique"])
    with_order = sum(second != NONE for _, second in ordered.index)
    return {
        "ordered": {"/".join(pair): int(number) for pair, number in ordered.items()},
        "single": len(frame) - len(dual),
        "with_order": with_order,
        "without_order": len(sets),
        "in_both_orders": with_order - len(sets),
        "below_ten": int((sets["size"] < 10).sum()),
        "of_one_form": int((sets["nunique"] == 1).sum()),
    }


def _type_set(frame: DataFrame) -> np.ndarray:
    return np.array(["/".join(sorted(pair)) for pair in zip(frame["type1"], frame["type2"], strict=True)])


def _heights(frame: DataFrame) -> dict[str, Any]:
    heights, longest = frame["height"], frame["longest_side"]
    varied = min(heights.nunique(), longest.nunique()) > 1  # without, the correlation is not defined
    return {
        **_spread(heights),
        "images_by_decimeters": _histogram(heights),
        "sizes": _tally(Series(np.array(SIZES)[size_classes(torch.tensor(heights.tolist()))]), SIZES),
        "correlation_with_longest_side": round(float(np.log(heights).corr(longest)), 3) if varied else None,
    }


def _geometry(frame: DataFrame, small: np.ndarray) -> dict[str, Any]:
    percent = 100 * frame["foreground"] / frame["area"]
    boxes = frame["box_width"].astype(str) + "x" + frame["box_height"].astype(str)
    return {
        "canvases": _histogram(frame["canvas"]),
        "boxes": _histogram(boxes),
        "width": _spread(frame["box_width"]),
        "height": _spread(frame["box_height"]),
        "longest_side": _spread(frame["longest_side"]),
        "foreground_percent": _spread(percent),
        "images_by_foreground_percent": _histogram(percent.astype(int)),
        "at_edge": int(frame["at_edge"].sum()),
        "empty": int((frame["foreground"] == 0).sum()),
        "reduced": {str(resolution): int((frame["longest_side"] > fits).sum()) for resolution, fits in FITS.items()},
        "white_percent": round(100 - 100 * float(frame["foreground"].sum() / frame["area"].sum()), 3),
        "white_percent_at_32": round(100 * float((small == 255).all(axis=3).mean()), 3),
    }


def _duplicates(frame: DataFrame) -> dict[str, Any]:
    equal = frame[frame.duplicated("digest", keep=False)]
    groups = equal.assign(types=_type_set(equal)).groupby("digest")
    games = groups["game"].agg(lambda games: " + ".join(sorted(set(games))))
    distinct = frame["digest"].nunique()
    return {
        "distinct": distinct,
        "redundant": len(frame) - distinct,
        "redundant_within_splits": int(frame.duplicated(["digest", "split"]).sum()),
        "groups": len(groups),
        "images": len(equal),
        "groups_that_differ_in": {name: int((groups[name].nunique() > 1).sum()) for name in (*DIFFERENCES, "types")},
        "games": {name: int(number) for name, number in games.value_counts().items()},
    }


def _corrections(frame: DataFrame) -> dict[str, Any]:
    exchanged, unknown = frame[frame["exchanged"]], frame[frame["color"] == ANY]
    shiny, regional = unknown["finish"] == "shiny", unknown["form"].isin(("alola", "galar"))
    folders = {_folder_name(path): name for path, name in zip(exchanged["path"], exchanged["name"], strict=True)}
    return {
        "faulty_images": frame["path"][frame["faulty"]].tolist(),
        "exchanged_images": len(exchanged),
        "exchanged_folders": dict(sorted(folders.items())),
        "color_any": {"shiny": int(shiny.sum()), "regional": int((regional & ~shiny).sum())},
        "weight_unknown": int(frame["weight"].isna().sum()),
    }


def _types_figure(numbers: Numbers) -> Figure:
    found = dict(sorted(numbers["types"].items(), key=lambda item: -item[1]["either"]))
    figure, [axes] = plots.new_axes(8, 6.6)
    first, second = (np.array([each[key] for each in found.values()]) for key in ("first", "second"))
    colors = [TYPE_COLORS[name] for name in found]
    axes.barh(range(len(found)), first, color=colors, edgecolor=plots.EDGE, linewidth=0.7)
    axes.barh(range(len(found)), second, left=first, color="white", edgecolor=colors, hatch="////")
    plots.label_bars(axes, [name.title() for name in found])
    sums = [f"{each['first']:,} + {each['second']:,} = {each['either']:,}" for each in found.values()]
    plots.bar_values(axes, first + second, sums, room=1.27, label="images: first type (full) + second type (hatched)")
    return figure


def _pairs_figure(numbers: Numbers) -> Figure:
    counts = np.zeros((len(TYPES), len(TYPES)))
    for pair, number in numbers["pairs"]["ordered"].items():
        first, second = pair.split("/")
        row = TYPES.index(first)
        counts[row, row if second == NONE else TYPES.index(second)] += number
    figure, [axes] = plots.new_axes(10, 9.4)
    norm = LogNorm(1, max(2, counts.max()))
    axes.imshow(np.where(counts > 0, counts, np.nan), cmap=plots.HEAT, norm=norm)
    for row, column in np.argwhere(counts):
        color = "white" if norm(counts[row, column]) > 0.6 else plots.TEXT
        axes.text(column, row, f"{counts[row, column]:.0f}", ha="center", va="center", fontsize=9.5, color=color)
    names = [name.title() for name in TYPES]
    axes.set_xticks(range(len(TYPES)), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(TYPES)), names)
    axes.set(xlabel="second type (on the diagonal: none)", ylabel="first type")
    return figure


def _heights_figure(numbers: Numbers) -> Figure:
    heights, counts = _values(numbers["heights"]["images_by_decimeters"])
    figure, [axes] = plots.new_axes(9, 4.6)
    # Four bars a size. A height at a limit belongs to the size that begins there.
    edges = SIZE_LIMITS[0] * 2 ** np.arange(-2, max(5, math.log2(max(heights) / SIZE_LIMITS[0]) + 0.5), 0.25) - 1e-6
    axes.hist(heights, edges, weights=counts, color=plots.BLUE, edgecolor="white")
    axes.set_xscale("log")
    for limit in SIZE_LIMITS:
        axes.axvline(limit, color=plots.VERMILION, linestyle="--", linewidth=1.2)
    axes.set(xlabel="height in decimeters; dashed: limits of the sizes", ylabel="images")
    return figure


def _geometry_figure(numbers: Numbers) -> Figure:
    figure, [left, right] = plots.new_axes(11, 4.8, columns=2)
    width, height = np.array([box.split("x") for box in numbers["geometry"]["boxes"]], dtype=int).T
    side = max(width.max(), height.max(), *FITS.values()) + 4
    counts = list(numbers["geometry"]["boxes"].values())
    norm = LogNorm(1, max(2, *counts))
    *_, mesh = left.hist2d(width, height, 52, range=[(0, side)] * 2, weights=counts, cmap=plots.HEAT, norm=norm)
    figure.colorbar(mesh, ax=left, format=StrMethodFormatter(plots.THOUSANDS), label="images")
    for resolution, fits in FITS.items():
        left.plot([0, fits, fits], [fits, fits, 0], color=plots.VERMILION)
        left.text(1.5, fits - 1.2, f"not reduced\nat {resolution} px", color=plots.TEXT, fontsize=9.5, va="top")
    left.set(xlabel="width of the box in px", ylabel="height of the box in px")
    right.bar(*_values(numbers["geometry"]["images_by_foreground_percent"]), width=1, align="edge", color=plots.BLUE)
    right.set(xlabel="foreground in % of the pixels", ylabel="images")
    return figure


def _palettes_figure(numbers: Numbers) -> Figure:
    figure, [left, right] = plots.new_axes(11, 4.6, columns=2)
    left.bar(*_values(numbers["palettes"]["images_by_colors"]), color=plots.BLUE)
    keys = {"whislo": "p5", "q1": "p25", "med": "p50", "q3": "p75", "whishi": "p95"}
    boxes = [{name: game["colors"][key] for name, key in keys.items()} for game in numbers["games"].values()]
    right.bxp(boxes, range(len(boxes)), orientation="horizontal", showfliers=False, patch_artist=True,
              boxprops={"facecolor": plots.SKY}, medianprops={"color": plots.TEXT, "linewidth": 2.5})  # fmt: skip
    plots.label_bars(right, list(numbers["games"]))
    left.set(xlabel="colors without white, all images", ylabel="images")
    right.set(xlabel="colors without white, by game: median, middle half, 5 to 95 %")
    return figure


def _values(histogram: Mapping[str, int]) -> tuple[list[int], list[int]]:
    return [int(value) for value in histogram], list(histogram.values())


FIGURES = {
    "types.png": _types_figure,
    "pairs.png": _pairs_figure,
    "heights.png": _heights_figure,
    "geometry.png": _geometry_figure,
    "palettes.png": _palettes_figure,
}


def _panels(images: Mapping[str, Any], captions: Mapping[str, str]) -> Figure:
    """An image for each type with a caption, in a frame of the color of the type."""
    figure = Figure(figsize=(10, 6.3), layout="constrained")
    for axes, name in zip(figure.subplots(3, 6).flat, TYPES, strict=True):
        axes.set(xticks=[], yticks=[], title=name.title(), box_aspect=1)
        axes.spines[:].set(color=TYPE_COLORS[name], linewidth=3)
        axes.set_xlabel(captions.get(name, "none"), parse_math=False)  # a $ in a name starts no formula
        if name in images:
            axes.imshow(np.asarray(images[name], dtype=np.uint8), interpolation="nearest")
    return figure
