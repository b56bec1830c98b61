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
from PIL import Image, ImageOps

from pokemon_ddpm import plots
from pokemon_ddpm.dataset_scripts.pokemon_sprites import COLUMNS, FEATURES, SPLITS, PokemonSprites
from pokemon_ddpm.files import save_figure
from pokemon_ddpm.pipelines.hub_mixin import BEGIN, END
from pokemon_ddpm.pipelines.sprite_preprocessing import unique_colors
from pokemon_ddpm.preprocessing import FORMATS, open_image

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


def dataset_card(name: str, sprites: Mapping[str, datasets.DatasetDict]) -> RepoCard:
    """The card of a data set with a name such as "user/name" and configurations, of which the first is the default."""
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
    _add_structure(data, sprites)
    return RepoCard.from_template(
        data,
        template_path=str(Path(__file__).parents[1] / "templates" / "dataset.md"),
        **{"name": name, "starter": starter, "facts_license": FACTS_LICENSE, "begin": BEGIN, "end": END},
        **{"configs": configs, "largest": largest, "splits": SPLITS, "columns": COLUMNS, "types": types},
        num_species=len({number for part in splits.values() for number in part["dex_number"][:]}),
        num_forms=len({number for part in splits.values() for number in part["index"][:]}),
        lines=", ".join(f"{number:,} in {split}" for split, number in lines.items()),
    )


def save_card_figure(sprites: Mapping[str, datasets.DatasetDict], folder: Path) -> None:
    """Saves the figure that the card shows, of all images, into the card's folder.

    It has the boxes around the foreground (all that is not white), its share, and the number of its colors.
    """
    largest = max(sprites.values(), key=lambda splits: sum(splits.num_rows.values()))
    rows = datasets.concatenate_datasets(list(largest.values())).cast_column("image", datasets.Image(decode=False))
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
    save_figure(figure, folder / "sizes.png", DPI)


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
    }


def _add_structure(data: DatasetCardData, sprites: Mapping[str, datasets.DatasetDict]) -> None:
    """Adds the metadata with which load_dataset finds the files and returns the same features."""
    infos, configs, default = DatasetInfosDict(), [], next(iter(sprites))
    for name, splits in sorted(sprites.items()):
        infos[name] = next(iter(splits.values())).info.copy()
        infos[name].config_name = name
        files = [{"split": split, "path": f"{name}/{split}-*"} for split in splits]
        configs.append({"config_name": name, "data_files": files, **({"default": True} if name == default else {})})
    infos.to_dataset_card_data(data)
    data["configs"] = configs
