"""The card of the sprites as a data set on the Hub."""

from collections.abc import Mapping
from pathlib import Path

import datasets
from datasets.info import DatasetInfosDict
from huggingface_hub import DatasetCardData, RepoCard

from pokemon_ddpm.dataset_scripts.pokemon_sprites import COLUMNS, FEATURES, SPLITS, PokemonSprites
from pokemon_ddpm.pipelines.hub_mixin import BEGIN, END

STARTER = "starter"
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


def dataset_card(name: str, sprites: Mapping[str, datasets.DatasetDict]) -> RepoCard:
    """The card of a data set with a name such as "user/name" and configurations, of which the first is the default."""
    starter = STARTER in sprites
    types = [each.dtype if isinstance(each, datasets.Value) else type(each).__name__ for each in FEATURES.values()]
    data = DatasetCardData(
        **(STARTER_METADATA if starter else METADATA),
        task_categories=["unconditional-image-generation", "image-classification"],
    )
    _add_structure(data, sprites)
    return RepoCard.from_template(
        data,
        template_path=str(Path(__file__).parents[1] / "templates" / "dataset.md"),
        **{"name": name, "starter": starter, "facts_license": FACTS_LICENSE, "begin": BEGIN, "end": END},
        **{"sprites": sprites, "descriptions": CONFIGS, "splits": SPLITS, "columns": COLUMNS, "types": types},
    )


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
