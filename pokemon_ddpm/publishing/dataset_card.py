"""The card of the sprites as a data set on the Hub. Its numbers are counted in the data that is pushed."""

import io
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from datasets.info import DatasetInfosDict
from huggingface_hub import DatasetCardData, RepoCard
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from PIL import Image, ImageOps

from pokemon_ddpm import plots
from pokemon_ddpm.dataset_scripts.pokemon_sprites import COLUMNS, FEATURES, SPLITS, PokemonSprites
from pokemon_ddpm.dataset_scripts.sprite_archive import is_faulty
from pokemon_ddpm.files import save_figure
from pokemon_ddpm.pipelines.hub_mixin import BEGIN, END, as_list, merge_card, read_card
from pokemon_ddpm.pipelines.sprite_preprocessing import unique_colors
from pokemon_ddpm.preprocessing import FORMATS, open_image
from pokemon_ddpm.vocabulary import TYPE_COLORS

STARTER = "starter"
DPI = 150
CONFIGS = {name: config.description for name, config in PokemonSprites.builder_configs.items()}
FACTS_LICENSE = "LICENSE-PokeAPI.txt"
METADATA = {
    "pretty_name": "Pokémon sprites",
    "license": "other",
    "license_name": "research-and-education-only",
    "tags": ["sprites", "pixel-art", "pokemon"],
}
STARTER_METADATA = {
    "pretty_name": "Starter creatures",
    "license": "apache-2.0",
    "tags": ["sprites", "pixel-art", "procedural"],
}
SIZE_CATEGORIES = {1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K", 1_000_000: "100K<n<1M"}


def dataset_card(
    name: str, sprites: Mapping[str, datasets.DatasetDict], download_sizes: Mapping[str, int]
) -> RepoCard:
    """The card of a data set with a name such as "user/name".

    Args:
        sprites: Configuration -> its splits; the first is the default.
        download_sizes: Configuration -> bytes of its files.
    """
    configs = [_statistics(config, splits) for config, splits in sprites.items()]
    largest = max(configs, key=lambda config: config["images"])
    splits, starter = sprites[largest["name"]], STARTER in sprites
    lines = {split: len(set(part["line"][:])) for split, part in splits.items()}
    types = [each.dtype if isinstance(each, datasets.Value) else type(each).__name__ for each in FEATURES.values()]
    data = DatasetCardData(
        **(STARTER_METADATA if starter else METADATA),
        task_categories=["unconditional-image-generation", "image-classification"],
        size_categories=[next(text for limit, text in SIZE_CATEGORIES.items() if largest["images"] < limit)],
    )
    _add_structure(data, sprites, download_sizes)
    return RepoCard.from_template(
        data,
        template_path=str(Path(__file__).parents[1] / "templates" / "dataset.md"),
        **{"name": name, "starter": starter, "facts_license": FACTS_LICENSE, "begin": BEGIN, "end": END},
        **{"configs": configs, "largest": largest, "splits": SPLITS, "columns": COLUMNS, "types": types},
        num_species=len({number for part in splits.values() for number in part["dex_number"][:]}),
        num_forms=len({number for part in splits.values() for number in part["index"][:]}),
        lines=", ".join(f"{number:,} in {split}" for split, number in lines.items()),
    )


def save_card_figures(sprites: Mapping[str, datasets.DatasetDict], folder: Path) -> None:
    """Saves the figures that the card shows, of all images, into the card's folder."""
    largest = max(sprites.values(), key=lambda splits: sum(splits.num_rows.values()))
    rows = datasets.concatenate_datasets(list(largest.values())).cast_column("image", datasets.Image(decode=False))
    save_figure(_types_figure(rows), folder / "types.png", DPI)
    save_figure(_sizes_figure(rows), folder / "sizes.png", DPI)


def _types_figure(rows: datasets.Dataset) -> Figure:
    """Images by first and second type."""
    names = FEATURES["type1"].names
    first, second = (np.bincount(rows[key][:], minlength=len(names) + 1)[: len(names)] for key in ("type1", "type2"))
    order = (first + second).argsort()[::-1]
    first, second, colors = first[order], second[order], [TYPE_COLORS[names[number]] for number in order]
    figure, [axes] = plots.new_axes(8, 6.6)
    axes.barh(range(len(names)), first, color=colors, edgecolor="#555555", linewidth=0.7)
    bars = axes.barh(range(len(names)), second, left=first, color="white", edgecolor=colors, hatch="////")
    axes.bar_label(bars, [f"{one:,} + {other:,}" for one, other in zip(first, second, strict=True)], padding=4)
    plots.label_bars(axes, [names[number].title() for number in order])
    axes.set_xlim(0, 1.27 * (first + second).max())
    axes.set_xlabel("images: first type (full) + second type (hatched)")
    return figure


def _sizes_figure(rows: datasets.Dataset) -> Figure:
    """Boxes around the foreground (all that is not white), its share, and the number of its colors."""
    boxes, shares, colors = [], [], []
    for file in datasets.utils.tqdm(rows["image"], desc="Measuring images"):
        image = open_image(file["bytes"])
        pixels = np.asarray(image)
        left, top, right, bottom = ImageOps.invert(image).getbbox() or (0, 0, 0, 0)
        foreground = (pixels < 255).any(axis=2)
        boxes.append((right - left, bottom - top))
        shares.append(100 * foreground.mean())
        colors.append(len(unique_colors(pixels[foreground])))
    figure, [of_boxes, of_shares, of_colors] = plots.new_axes(14, 4.6, columns=3)
    *_, mesh = of_boxes.hist2d(*zip(*boxes, strict=True), 52, cmap="YlGnBu", norm=LogNorm())
    figure.colorbar(mesh, ax=of_boxes, label="images")
    of_boxes.set(xlabel="width of the box in px", ylabel="height of the box in px")
    of_shares.hist(shares, range(101), color=plots.BLUE)
    of_shares.set(xlabel="foreground in % of the pixels", ylabel="images")
    of_colors.hist(colors, np.arange(max(colors) + 2) - 0.5, color=plots.BLUE)
    of_colors.set(xlabel="colors without white", ylabel="images")
    return figure


def merge_dataset_card(new: RepoCard, old_text: str | None) -> RepoCard:
    """A new card with what people wrote into the old one, and with their further configurations.

    Raises:
        ValueError: If the metadata of the old card are not YAML.
    """
    card = merge_card(new, old_text)
    for key in ("configs", "dataset_info") if old_text else ():
        others = [
            {name: value for name, value in each.items() if name != "default"}  # there can be only one default
            for each in as_list(read_card(old_text).data.get(key))
            if isinstance(each, dict) and each.get("config_name", "default") not in {*CONFIGS, "default"}
        ]
        if others:
            card.data[key] = as_list(new.data.get(key)) + others
    return card


def is_ours(card_text: str | None) -> bool:
    """Whether this is the card of the sprites, by this program or by `DatasetDict.push_to_hub`."""
    by_datasets = [f"- name: {column}\n" for column in COLUMNS]
    return bool(card_text) and (BEGIN in card_text or all(line in card_text for line in by_datasets))


def _statistics(config: str, splits: datasets.DatasetDict) -> dict[str, Any]:
    """What the card says about one configuration."""
    first = [Counter(part["type1"][:]) for part in splits.values()]
    second = Counter(number for part in splits.values() for number in part["type2"][:])
    types = {}
    for number, name in enumerate(FEATURES["type1"].names):
        counts = [split[number] for split in first]
        types[name] = [*counts, sum(counts), sum(counts) + second[number]]
    encoded = splits.cast_column("image", datasets.Image(decode=False))
    images = [[image["bytes"] for image in part["image"]] for part in encoded.values()]
    sizes = {Image.open(io.BytesIO(image), formats=FORMATS).size for part in images for image in part}
    return {
        "name": config,
        "description": CONFIGS[config],
        "images": sum(map(len, images)),
        "sizes": {split: len(part) for split, part in splits.items()},
        "size": "{}x{}".format(*sizes.pop()) if len(sizes) == 1 else None,
        "types": types,
        "repeated": sum(len(part) - len(set(part)) for part in images),
        "faulty": sum(sum(map(is_faulty, part["path"])) for part in splits.values()),
    }


def _add_structure(
    data: DatasetCardData, sprites: Mapping[str, datasets.DatasetDict], download_sizes: Mapping[str, int]
) -> None:
    """Adds the metadata with which load_dataset finds the files and returns the same features."""
    infos, configs, default = DatasetInfosDict(), [], next(iter(sprites))
    for name, splits in sorted(sprites.items()):
        infos[name] = next(iter(splits.values())).info.copy()
        infos[name].config_name, infos[name].download_size = name, download_sizes[name]
        files = [{"split": split, "path": f"{name}/{split}-*"} for split in splits]
        configs.append({"config_name": name, "data_files": files, **({"default": True} if name == default else {})})
    infos.to_dataset_card_data(data)
    data["configs"] = configs
