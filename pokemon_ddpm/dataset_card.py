"""The card of the sprites as a data set on the Hub. Its numbers are counted in the data that is pushed."""

import io
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
from datasets.info import DatasetInfosDict
from datasets.utils.metadata import MetadataConfigs
from huggingface_hub import CardData, DatasetCardData, RepoCard
from PIL import Image

from pokemon_ddpm.dataset_scripts.pokemon_sprites import COLUMNS, FEATURES
from pokemon_ddpm.dataset_scripts.sprite_archive import is_faulty
from pokemon_ddpm.pipelines.hub_mixin import BEGIN, END, as_list, merge_card, read_card

STARTER = "starter"
CONFIGS = {
    "front": "the front view in normal colors",
    "all": "all images: also from the back, also in shiny colors",
    STARTER: "small procedural creatures",
}
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
    """The card of a data set.

    Args:
        name: "user/name".
        sprites: Configuration -> its splits; the first is the default.
        download_sizes: Configuration -> bytes of its files.
    """
    configs = [_statistics(config, splits) for config, splits in sprites.items()]
    largest = max(configs, key=lambda config: config["images"])
    splits = sprites[largest["name"]]
    species, forms, lines = (
        {split: set(part[column][:]) for split, part in splits.items()} for column in ("dex_number", "index", "line")
    )
    data = DatasetCardData(
        **(STARTER_METADATA if STARTER in sprites else METADATA),
        task_categories=["unconditional-image-generation", "image-classification"],
        size_categories=[next(said for limit, said in SIZE_CATEGORIES.items() if largest["images"] < limit)],
    )
    _add_structure(data, sprites, download_sizes)
    return RepoCard.from_template(
        CardData(**data.to_dict()),
        template_path=str(Path(__file__).parent / "templates" / "dataset.md"),
        **{"name": name, "title": name.split("/")[-1], "starter": STARTER in sprites, "begin": BEGIN, "end": END},
        **{"configs": configs, "num_images": largest["images"], "size": largest["size"], "fields": _fields()},
        num_species=len(set().union(*species.values())),
        num_forms=len(set().union(*forms.values())),
        splits=list(dict.fromkeys(split for config in configs for split in config["sizes"])),
        lines=", ".join(f"{len(numbers):,} in {split}" for split, numbers in lines.items()),
        repeated=_in_each(configs, "repeated"),
        faulty=any(config["faulty"] for config in configs) and _in_each(configs, "faulty"),
        facts_license=FACTS_LICENSE,
    )


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
    if not card_text or BEGIN in card_text:
        return bool(card_text)
    try:
        infos = DatasetInfosDict.from_dataset_card_data(DatasetCardData(**read_card(card_text).data.to_dict()))
        return any(info.features == FEATURES for info in infos.values())
    except Exception:  # the metadata of another data set
        return False


def _statistics(config: str, splits: datasets.DatasetDict) -> dict[str, Any]:
    """What the card says about one configuration."""
    first = {split: Counter(part["type1"][:]) for split, part in splits.items()}
    second = Counter(number for part in splits.values() for number in part["type2"][:])
    types = {}
    for number, name in enumerate(FEATURES["type1"].names):
        counts = [split[number] for split in first.values()]
        types[name] = [*counts, sum(counts), sum(counts) + second[number]]
    encoded = {split: [each["bytes"] for each in _encoded(part)] for split, part in splits.items()}
    sizes = {Image.open(io.BytesIO(image)).size for images in encoded.values() for image in images}
    return {
        "name": config,
        "description": CONFIGS[config],
        "images": sum(map(len, splits.values())),
        "sizes": {split: len(part) for split, part in splits.items()},
        "size": "{}x{}".format(*sizes.pop()) if len(sizes) == 1 else None,
        "types": types,
        "repeated": sum(len(images) - len(set(images)) for images in encoded.values()),
        "faulty": sum(sum(map(is_faulty, part["index"], part["path"])) for part in splits.values()),
    }


def _encoded(part: datasets.Dataset) -> Any:
    return part.cast_column("image", datasets.Image(decode=False))["image"]


def _in_each(configs: list[dict[str, Any]], key: str) -> str:
    return " and ".join(f"{config[key]:,} in `{config['name']}`" for config in configs)


def _fields() -> list[dict[str, str]]:
    fields = []
    for name, (feature, meaning) in COLUMNS.items():
        names = ", ".join(feature.names) if isinstance(feature, datasets.ClassLabel) else ""
        kind = feature.dtype if isinstance(feature, datasets.Value) else type(feature).__name__
        fields.append({"name": name, "type": kind, "meaning": meaning, "names": names})
    return fields


def _add_structure(
    data: DatasetCardData, sprites: Mapping[str, datasets.DatasetDict], download_sizes: Mapping[str, int]
) -> None:
    """Adds the metadata with which load_dataset finds the files and returns the same features."""
    infos, configs = DatasetInfosDict(), MetadataConfigs()
    for name, splits in sprites.items():
        infos[name] = next(iter(splits.values())).info.copy()
        infos[name].config_name, infos[name].download_size = name, download_sizes[name]
        files = [{"split": split, "path": f"{name}/{split}-*"} for split in splits]
        configs[name] = {"data_files": files, **({} if configs else {"default": True})}
    infos.to_dataset_card_data(data)
    configs.to_dataset_card_data(data)
