"""A report of the sprites: `report.md` with tables and figures, and all numbers in `report.json`."""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import datasets
import jinja2
import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from pandas import DataFrame, Series, crosstab
from PIL import Image, ImageOps

from pokemon_ddpm import plots
from pokemon_ddpm.color import unique_colors
from pokemon_ddpm.dataset_scripts.sprite_archive import EXCHANGED_FOLDERS, is_faulty
from pokemon_ddpm.dataset_scripts.starter_sprites import TYPE_STYLES
from pokemon_ddpm.files import save_figure, write_file
from pokemon_ddpm.preprocessing import on_white, open_image, pixel_digest, preprocess
from pokemon_ddpm.vocabulary import ANY, COLORS, FINISHES, GAMES, NONE, SHAPES, SIZE_LIMITS, SIZES, TYPES, VIEWS

REPORT = "report.md"
TEMPLATE = Path(__file__).parent / "templates" / "data_report.md"
DPI = 150
SIDE = 64  # the usual resolution of a training
FITS = {32: 30, SIDE: 64}  # resolution -> the longest side that is not reduced
QUANTILES = {"min": 0, "p5": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95, "max": 1}
KINDS = [f"{view} {finish}" for view in VIEWS for finish in FINISHES]
DIFFERENCES = ("game", "frame", "finish", "view", "index", "line", "split", "types")  # of images with equal pixels
TYPE_COLORS = {name: tuple(value / 255 for value in style.body) for name, style in TYPE_STYLES.items()}
HEAT = "YlGnBu"  # from light to dark, so it can also be read in gray
THOUSANDS = "{x:,.0f}"


def write_report(sprites: Mapping[str, datasets.Dataset], folder: Path, source: str, starter: bool) -> str:
    """Writes the report into an existing folder; replaces older files of the same names and leaves others alone.

    Args:
        sprites: Split -> its images, as `load_sprites` returns them.
        source: What the images are, for the title.
        starter: Whether they are the starter set.

    Returns:
        A summary in one line.
    """
    frame, small = measure(sprites)
    numbers = {"source": source, **count(frame, small)}
    types = {name: found for name, found in numbers["types"].items() if "typical" in found}
    images = {name: open_image(frame["image"][found["typical"]["row"]]["bytes"]) for name, found in types.items()}
    means = {name: small[frame["shown"] & (frame["type1"] == name)].mean(axis=0).round() for name in types}
    figures = {
        "types.png": _types_figure(numbers["types"]),
        "pairs.png": _pairs_figure(frame),
        "heights.png": _heights_figure(frame["height"]),
        "geometry.png": _geometry_figure(frame),
        "palettes.png": _palettes_figure(frame["colors"], numbers["games"]),
        "examples.png": _panels(images, {name: found["typical"]["name"] for name, found in types.items()}),
        "averages.png": _panels(means, {name: f"{found['shown']:,}" for name, found in types.items()}),
    }
    for name, figure in figures.items():
        save_figure(figure, folder / name, DPI)
    write_file(folder / "report.json", json.dumps(numbers, indent=2, ensure_ascii=False) + "\n")
    environment = jinja2.Environment(trim_blocks=True, undefined=jinja2.StrictUndefined)
    environment.filters.update(n="{:,}".format, g="{:g}".format, percent="{:.1f} %".format, plain=_plain)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    write_file(folder / REPORT, template.render(numbers, starter=starter))
    counts = ", ".join(f"{numbers[name]:,} {name}" for name in ("images", "species", "forms", "lines"))
    return f"{counts}; {numbers['duplicates']['redundant']:,} redundant images"


def _plain(text: str) -> str:
    """Text from the data, without a meaning in Markdown."""
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>|#$" else letter for letter in " ".join(text.split()))


def measure(sprites: Mapping[str, datasets.Dataset]) -> tuple[DataFrame, np.ndarray]:
    """Measures the images of all splits.

    Returns:
        The labels by name and what is measured, a row per image, and the images preprocessed for a training and
        composited on white, uint8 (N, 64, 64, 3).
        "folder": the name in the name of the folder. "exchanged": with the labels of another folder. "shown": not
        faulty, a front in normal colors. "foreground": the number of pixels that are not white; the box is around
        these. "colors": the number without white.
    """
    rows = datasets.concatenate_datasets(list(sprites.values())).cast_column("image", datasets.Image(decode=False))
    frame = rows.to_pandas()
    for name, feature in rows.features.items():
        if isinstance(feature, datasets.ClassLabel):
            frame[name] = np.array(feature.names)[frame[name]]
    frame["split"] = np.repeat(list(sprites), [len(part) for part in sprites.values()])
    frame["types"] = ["/".join(sorted(pair)) for pair in zip(frame["type1"], frame["type2"], strict=True)]
    frame["faulty"] = frame["path"].map(is_faulty)
    frame["folder"] = frame["path"].str.extract(r"/\d+-(.+)-\d+/", expand=False).fillna(frame["name"])
    # The labels are not exchanged where the pokedex lacks the other row.
    frame["exchanged"] = frame["index"].isin(EXCHANGED_FOLDERS) & (frame["name"] != frame["folder"])
    frame["kind"] = frame["view"] + " " + frame["finish"]
    frame["shown"] = (frame["kind"] == KINDS[0]) & ~frame["faulty"]
    small, measured = np.empty((len(rows), SIDE, SIDE, 3), dtype=np.uint8), []
    for row, value in enumerate(datasets.utils.tqdm(frame["image"], desc="Measuring images")):
        image = open_image(value["bytes"])
        small[row] = on_white(Image.fromarray(preprocess(image, SIDE)))
        measured.append(_measured(image))
    return frame.join(DataFrame(measured)), small


def _measured(image: Image.Image) -> dict[str, Any]:
    pixels = np.asarray(image)
    foreground = (pixels < 255).any(axis=2)
    foreground_area = int(foreground.sum())
    left, top, right, bottom = ImageOps.invert(image).getbbox() or (0, 0, 0, 0)
    return {
        "digest": pixel_digest(image),
        "canvas": f"{image.width}x{image.height}",
        "area": foreground.size,
        "box_width": right - left,
        "box_height": bottom - top,
        "longest_side": max(right - left, bottom - top),
        "foreground": foreground_area,
        "foreground_percent": 100 * foreground_area / foreground.size,
        "at_edge": bool(foreground[[0, -1]].any() or foreground[:, [0, -1]].any()),
        "colors": len(unique_colors(pixels[foreground])),
    }


def count(frame: DataFrame, small: np.ndarray) -> dict[str, Any]:
    """The content of `report.json` but for the source, of what `measure` returns."""
    forms = frame["index"].value_counts()
    most = frame["name"][frame["index"] == forms.idxmax()].iloc[0]
    return {
        **_sizes(frame),
        "splits": {split: _sizes(part) for split, part in frame.groupby("split", sort=False)},
        "lines_in_several_splits": int((frame.groupby("line")["split"].nunique() > 1).sum()),
        "kinds": _tally(frame["kind"], KINDS),
        "games": {game: _game(part) for game in (*GAMES, ANY) if len(part := frame[frame["game"] == game])},
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
    return values.value_counts().reindex(names, fill_value=0).to_dict()


def _histogram(values: Series) -> dict[str, int]:
    return {str(value): number for value, number in values.value_counts().sort_index().items()}


def _spread(values: Series) -> dict[str, float]:
    return dict(zip(QUANTILES, values.quantile([*QUANTILES.values()]), strict=True))


def _game(frame: DataFrame) -> dict[str, Any]:
    spreads = {name: _spread(frame[name]) for name in ("longest_side", "colors")}
    return {"images": len(frame), "kinds": _tally(frame["kind"], KINDS), **spreads}


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
            "forms": part["index"].nunique(),
            "lines": part["line"].nunique(),
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
    sets = dual.groupby("types")["index"].agg(["size", "nunique"])
    with_order = sum(second != NONE for _, second in ordered.index)
    return {
        "ordered": {"/".join(pair): number for pair, number in ordered.items()},
        "single": len(frame) - len(dual),
        "with_order": with_order,
        "without_order": len(sets),
        "in_both_orders": with_order - len(sets),
        "below_ten": int((sets["size"] < 10).sum()),
        "of_one_form": int((sets["nunique"] == 1).sum()),
    }


def _heights(frame: DataFrame) -> dict[str, Any]:
    heights, longest = frame["height"], frame["longest_side"]
    varied = min(heights.nunique(), longest.nunique()) > 1  # without, the correlation is not defined
    sizes = np.bincount(np.digitize(heights, SIZE_LIMITS), minlength=len(SIZES)).tolist()
    return {
        **_spread(heights),
        "images_by_decimeters": _histogram(heights),
        "sizes": dict(zip(SIZES, sizes, strict=True)),
        "correlation_with_longest_side": round(float(np.log(heights).corr(longest)), 3) if varied else None,
    }


def _geometry(frame: DataFrame, small: np.ndarray) -> dict[str, Any]:
    return {
        "canvases": _histogram(frame["canvas"]),
        "boxes": _histogram(frame["box_width"].astype(str) + "x" + frame["box_height"].astype(str)),
        "width": _spread(frame["box_width"]),
        "height": _spread(frame["box_height"]),
        "longest_side": _spread(frame["longest_side"]),
        "foreground_percent": _spread(frame["foreground_percent"]),
        "images_by_foreground_percent": _histogram(frame["foreground_percent"].astype(int)),
        "at_edge": int(frame["at_edge"].sum()),
        "empty": int((frame["foreground"] == 0).sum()),
        "reduced": {str(resolution): int((frame["longest_side"] > fits).sum()) for resolution, fits in FITS.items()},
        "white_percent": round(100 - 100 * float(frame["foreground"].sum() / frame["area"].sum()), 3),
        "white_percent_at_64": round(100 * float((small == 255).all(axis=3).mean()), 3),
    }


def _duplicates(frame: DataFrame) -> dict[str, Any]:
    equal = frame[frame.duplicated("digest", keep=False)]
    groups = equal.groupby("digest")
    games = groups["game"].agg(lambda games: " + ".join(sorted(set(games))))
    distinct = frame["digest"].nunique()
    return {
        "distinct": distinct,
        "redundant": len(frame) - distinct,
        "redundant_within_splits": int(frame.duplicated(["digest", "split"]).sum()),
        "groups": len(groups),
        "images": len(equal),
        "groups_that_differ_in": {name: int((groups[name].nunique() > 1).sum()) for name in DIFFERENCES},
        "games": games.value_counts().to_dict(),
    }


def _corrections(frame: DataFrame) -> dict[str, Any]:
    exchanged, unknown = frame[frame["exchanged"]], frame[frame["color"] == ANY]
    shiny, regional = unknown["finish"] == "shiny", unknown["form"].isin(("alola", "galar"))
    return {
        "faulty_images": frame["path"][frame["faulty"]].tolist(),
        "exchanged_images": len(exchanged),
        "exchanged_folders": dict(sorted(zip(exchanged["folder"], exchanged["name"], strict=True))),
        "color_any": {"shiny": int(shiny.sum()), "regional": int((regional & ~shiny).sum())},
        "weight_unknown": int(frame["weight"].isna().sum()),
    }


def _types_figure(types: Mapping[str, Any]) -> Figure:
    found = dict(sorted(types.items(), key=lambda item: -item[1]["either"]))
    figure, [axes] = plots.new_axes(8, 6.6)
    first, second = (np.array([each[key] for each in found.values()]) for key in ("first", "second"))
    colors = [TYPE_COLORS[name] for name in found]
    axes.barh(range(len(found)), first, color=colors, edgecolor="#555555", linewidth=0.7)
    axes.barh(range(len(found)), second, left=first, color="white", edgecolor=colors, hatch="////")
    plots.label_bars(axes, [name.title() for name in found])
    longest = max(first + second)
    for row, each in enumerate(found.values()):
        text = f"{each['first']:,} + {each['second']:,} = {each['either']:,}"
        axes.text(first[row] + second[row] + 0.01 * longest, row, text, va="center", fontsize=9.5, color=plots.TEXT)
    axes.set_xlim(0, 1.27 * longest)
    axes.xaxis.set_major_formatter(THOUSANDS)
    axes.set_xlabel("images: first type (full) + second type (hatched)", fontsize=10)
    return figure


def _pairs_figure(frame: DataFrame) -> Figure:
    second_types = frame["type2"].mask(frame["type2"] == NONE, frame["type1"])
    counts = crosstab(frame["type1"], second_types).reindex(index=TYPES, columns=TYPES, fill_value=0).to_numpy(float)
    figure, [axes] = plots.new_axes(10, 9.4)
    norm = LogNorm(1, max(2, counts.max()))
    axes.imshow(np.where(counts > 0, counts, np.nan), cmap=HEAT, norm=norm)
    for row, column in np.argwhere(counts):
        color = "white" if norm(counts[row, column]) > 0.6 else plots.TEXT
        axes.text(column, row, f"{counts[row, column]:.0f}", ha="center", va="center", fontsize=9.5, color=color)
    names = [name.title() for name in TYPES]
    axes.set_xticks(range(len(TYPES)), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(TYPES)), names)
    axes.set(xlabel="second type (on the diagonal: none)", ylabel="first type")
    return figure


def _heights_figure(heights: Series) -> Figure:
    figure, [axes] = plots.new_axes(9, 4.6)
    # Four bars a size. A height at a limit belongs to the size that begins there.
    edges = SIZE_LIMITS[0] * 2 ** np.arange(-2, max(5, math.log2(max(heights) / SIZE_LIMITS[0]) + 0.5), 0.25) - 1e-6
    axes.hist(heights, edges, color=plots.BLUE, edgecolor="white")
    axes.set_xscale("log")
    for limit in SIZE_LIMITS:
        axes.axvline(limit, color=plots.VERMILION, linestyle="--", linewidth=1.2)
    axes.set(xlabel="height in decimeters; dashed: limits of the sizes", ylabel="images")
    return figure


def _geometry_figure(frame: DataFrame) -> Figure:
    figure, [left, right] = plots.new_axes(11, 4.8, columns=2)
    boxes = frame[["box_width", "box_height"]]
    side = max(boxes.max().max(), *FITS.values()) + 4
    norm = LogNorm(1, max(2, boxes.value_counts().max()))
    *_, mesh = left.hist2d(*boxes.to_numpy().T, 52, range=[(0, side)] * 2, cmap=HEAT, norm=norm)
    figure.colorbar(mesh, ax=left, format=THOUSANDS, label="images")
    for resolution, fits in FITS.items():
        left.plot([0, fits, fits], [fits, fits, 0], color=plots.VERMILION)
        left.text(1.5, fits - 1.2, f"not reduced\nat {resolution} px", color=plots.TEXT, fontsize=9.5, va="top")
    left.set(xlabel="width of the box in px", ylabel="height of the box in px")
    counts = frame["foreground_percent"].astype(int).value_counts().sort_index()
    right.bar(counts.index, counts, width=1, align="edge", color=plots.BLUE)
    right.set(xlabel="foreground in % of the pixels", ylabel="images")
    return figure


def _palettes_figure(colors: Series, games: Mapping[str, Any]) -> Figure:
    figure, [left, right] = plots.new_axes(11, 4.6, columns=2)
    counts = colors.value_counts().sort_index()
    left.bar(counts.index, counts, color=plots.BLUE)
    keys = {"whislo": "p5", "q1": "p25", "med": "p50", "q3": "p75", "whishi": "p95"}
    boxes = [{name: game["colors"][key] for name, key in keys.items()} for game in games.values()]
    right.bxp(boxes, range(len(boxes)), orientation="horizontal", showfliers=False, patch_artist=True,
              boxprops={"facecolor": plots.SKY}, medianprops={"color": plots.TEXT, "linewidth": 2.5})  # fmt: skip
    plots.label_bars(right, list(games))
    left.set(xlabel="colors without white, all images", ylabel="images")
    right.set(xlabel="colors without white, by game: median, middle half, 5 to 95 %")
    return figure


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
