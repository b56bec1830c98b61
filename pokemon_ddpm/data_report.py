"""A report of the sprites: `report.md` with tables and figures, and all numbers in `report.json`."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import datasets
import jinja2
import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from pandas import DataFrame, Series, crosstab, cut
from PIL import Image, ImageOps

from pokemon_ddpm import plots
from pokemon_ddpm.dataset_scripts.sprite_archive import EXCHANGED_FOLDERS, is_faulty
from pokemon_ddpm.files import save_figure, write_file
from pokemon_ddpm.pipelines.sprite_preprocessing import unique_colors
from pokemon_ddpm.preprocessing import open_image, pixel_digest
from pokemon_ddpm.vocabulary import (
    ANY,
    COLORS,
    FINISHES,
    GAMES,
    NONE,
    SHAPES,
    SIZE_LIMITS,
    SIZES,
    TYPE_COLORS,
    TYPES,
    VIEWS,
)

REPORT = "report.md"
TEMPLATE = Path(__file__).parent / "templates" / "data_report.md"
DPI = 150
FITS = {32: 30, 64: 64}  # resolution of a training -> the longest side that is not reduced
KINDS = [f"{view} {finish}" for view in VIEWS for finish in FINISHES]
DIFFERENCES = ("game", "frame", "finish", "view", "index", "line", "split", "types")  # of images with equal pixels
HEAT = "YlGnBu"  # from light to dark, so it can also be read in gray


def write_report(sprites: Mapping[str, datasets.Dataset], folder: Path, source: str, starter: bool) -> str:
    """Writes the report into an existing folder; replaces older files of the same names and leaves others alone.

    Args:
        sprites: Split -> its images, as `load_sprites` returns them.
        source: What the images are, for the title.
        starter: Whether they are the starter set.

    Returns:
        A summary in one line.
    """
    frame = measure(sprites)
    numbers = {"source": source, **count(frame)}
    figures = {
        "examples.png": _examples_figure(frame),
        "types.png": _types_figure(numbers["types"]),
        "pairs.png": _pairs_figure(frame),
        "geometry.png": _geometry_figure(frame),
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


def measure(sprites: Mapping[str, datasets.Dataset]) -> DataFrame:
    """Measures the images of all splits.

    Returns:
        The labels by name and what is measured, a row per image. "folder": the name in the name of the folder.
        "exchanged": with the labels of another folder. "foreground": the number of pixels that are not white; the box
        is around these. "colors": the number without white.
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
    images = datasets.utils.tqdm(frame["image"], desc="Measuring images")
    return frame.join(DataFrame([_measured(open_image(image["bytes"])) for image in images]))


def _measured(image: Image.Image) -> dict[str, Any]:
    pixels = np.asarray(image)
    foreground = (pixels < 255).any(axis=2)
    left, top, right, bottom = ImageOps.invert(image).getbbox() or (0, 0, 0, 0)
    return {
        "digest": pixel_digest(image),
        "canvas": f"{image.width}x{image.height}",
        "box_width": right - left,
        "box_height": bottom - top,
        "longest_side": max(right - left, bottom - top),
        "foreground": int(foreground.sum()),
        "foreground_percent": 100 * float(foreground.mean()),
        "at_edge": bool(foreground[[0, -1]].any() or foreground[:, [0, -1]].any()),
        "colors": len(unique_colors(pixels[foreground])),
    }


def count(frame: DataFrame) -> dict[str, Any]:
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
        "types": _types(frame),
        "colors": _tally(frame["color"], (*COLORS, ANY)),
        "shapes": _tally(frame["shape"], SHAPES),
        "heights": _spread(frame["height"]),
        "sizes": _tally(cut(frame["height"], [0, *SIZE_LIMITS, np.inf], right=False, labels=SIZES), SIZES),
        "geometry": _geometry(frame),
        "palettes": _spread(frame["colors"]),
        "duplicates": _duplicates(frame),
        "corrections": _corrections(frame),
    }


def _sizes(frame: DataFrame) -> dict[str, int]:
    columns = {"species": "dex_number", "forms": "index", "lines": "line"}
    return {"images": len(frame), **{name: frame[column].nunique() for name, column in columns.items()}}


def _tally(values: Series, names: Iterable[str]) -> dict[str, int]:
    """Name -> how often it occurs, also where it does not."""
    return values.value_counts().reindex(names, fill_value=0).to_dict()


def _spread(values: Series) -> dict[str, float]:
    """The minimum, "5%" and other quantiles, and the maximum."""
    return values.describe([0.05, 0.25, 0.5, 0.75, 0.95])["min":].to_dict()


def _game(frame: DataFrame) -> dict[str, Any]:
    medians = frame[["longest_side", "colors"]].median().to_dict()
    return {"images": len(frame), "kinds": _tally(frame["kind"], KINDS), **medians}


def _types(frame: DataFrame) -> dict[str, dict[str, Any]]:
    """Type -> its counts; forms, lines and splits are those of the first type."""
    types = {}
    for name in TYPES:
        part, second = frame[frame["type1"] == name], int((frame["type2"] == name).sum())
        types[name] = {
            "first": len(part),
            "second": second,
            "either": len(part) + second,
            "alone": int((part["type2"] == NONE).sum()),
            "forms": part["index"].nunique(),
            "lines": part["line"].nunique(),
            "splits": _tally(part["split"], frame["split"].unique()),
        }
    return types


def _geometry(frame: DataFrame) -> dict[str, Any]:
    return {
        **{name: _spread(frame[name]) for name in ("box_width", "box_height", "longest_side", "foreground_percent")},
        "canvases": frame["canvas"].value_counts().to_dict(),
        "at_edge": int(frame["at_edge"].sum()),
        "empty": int((frame["foreground"] == 0).sum()),
        "reduced": {str(resolution): int((frame["longest_side"] > fits).sum()) for resolution, fits in FITS.items()},
        "white_percent": round(100 - float(frame["foreground_percent"].mean()), 3),
    }


def _duplicates(frame: DataFrame) -> dict[str, Any]:
    groups = frame[frame.duplicated("digest", keep=False)].groupby("digest")
    return {
        "distinct": frame["digest"].nunique(),
        "redundant": int(frame.duplicated("digest").sum()),
        "redundant_within_splits": int(frame.duplicated(["digest", "split"]).sum()),
        "groups": len(groups),
        "groups_that_differ_in": {name: int((groups[name].nunique() > 1).sum()) for name in DIFFERENCES},
    }


def _corrections(frame: DataFrame) -> dict[str, Any]:
    exchanged, unknown = frame[frame["exchanged"]], frame[frame["color"] == ANY]
    shiny, regional = unknown["finish"] == "shiny", unknown["form"].isin(("alola", "galar"))
    return {
        "faulty_images": frame["path"][frame["faulty"]].tolist(),
        "exchanged_folders": dict(sorted(zip(exchanged["folder"], exchanged["name"], strict=True))),
        "color_any": {"shiny": int(shiny.sum()), "regional": int((regional & ~shiny).sum())},
        "weight_unknown": int(frame["weight"].isna().sum()),
    }


def _types_figure(types: Mapping[str, Any]) -> Figure:
    counts = DataFrame(types).T[["first", "second", "either"]].astype(int).sort_values("either", ascending=False)
    rows, colors = range(len(counts)), [TYPE_COLORS[name] for name in counts.index]
    figure, [axes] = plots.new_axes(8, 6.6)
    axes.barh(rows, counts["first"], color=colors, edgecolor="#555555", linewidth=0.7)
    bars = axes.barh(rows, counts["second"], left=counts["first"], color="white", edgecolor=colors, hatch="////")
    texts = [f"{first:,} + {second:,} = {either:,}" for first, second, either in counts.to_numpy()]
    axes.bar_label(bars, texts, padding=4, fontsize=9.5, color=plots.TEXT)
    plots.label_bars(axes, [name.title() for name in counts.index])
    axes.set_xlim(0, 1.27 * counts["either"].max())
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


def _geometry_figure(frame: DataFrame) -> Figure:
    figure, [boxes, foreground, colors] = plots.new_axes(14, 4.6, columns=3)
    width, height = frame["box_width"], frame["box_height"]
    most = frame.value_counts(["box_width", "box_height"]).max()
    side = max(width.max(), height.max()) + 4
    *_, mesh = boxes.hist2d(width, height, 52, range=[(0, side)] * 2, cmap=HEAT, norm=LogNorm(1, max(2, most)))
    figure.colorbar(mesh, ax=boxes, label="images")
    boxes.set(xlabel="width of the box in px", ylabel="height of the box in px")
    foreground.hist(frame["foreground_percent"], range(101), color=plots.BLUE)
    foreground.set(xlabel="foreground in % of the pixels", ylabel="images")
    colors.hist(frame["colors"], np.arange(frame["colors"].max() + 2) - 0.5, color=plots.BLUE)
    colors.set(xlabel="colors without white", ylabel="images")
    return figure


def _examples_figure(frame: DataFrame) -> Figure:
    """The first sprite of each first type, in a frame of the color of the type."""
    figure = Figure(figsize=(10, 6.3), layout="constrained")
    shown = frame[(frame["kind"] == KINDS[0]) & ~frame["faulty"]].drop_duplicates("type1").set_index("type1")
    for axes, name in zip(figure.subplots(3, 6).flat, TYPES, strict=True):
        axes.set(xticks=[], yticks=[], title=name.title(), box_aspect=1)
        axes.spines[:].set(color=TYPE_COLORS[name], linewidth=3)
        if name in shown.index:
            axes.set_xlabel(shown["name"][name], parse_math=False)  # a $ in a name starts no formula
            axes.imshow(open_image(shown["image"][name]["bytes"]), interpolation="nearest")
    return figure
