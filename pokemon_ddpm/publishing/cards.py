"""Cards: of the model of a training run, and of the sprites as a data set."""

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import datasets
import jinja2
import yaml
from huggingface_hub import DatasetCard, DatasetCardData, ModelCard, hf_hub_download

from pokemon_ddpm.dataset_scripts.pokemon_sprites import COLUMNS, FEATURES, SPLITS, PokemonSprites
from pokemon_ddpm.files import write_file
from pokemon_ddpm.models import locate_model
from pokemon_ddpm.pipelines.hub_mixin import CARD_FILE, MARK, NOTE, SHEETS, license_terms, pipeline_card, read_card
from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import PokemonDDPMPipeline
from pokemon_ddpm.training.config import TrainingConfig

Value = TypeVar("Value")
TEMPLATES = Path(__file__).parents[1] / "templates"
# Kind of the training images -> metadata of their license, where it is known.
RESTRICTED = {"license": "other", "license_name": "research-and-education-only"}
LICENSES = {"sprites": RESTRICTED, "starter": {"license": "apache-2.0"}}

# Of the card of the data set.
COUNTED = ("type1", "type2", "game", "view", "finish", "color", "shape")  # columns of classes
STARTER = "starter"
CONFIGS = {name: config.description for name, config in PokemonSprites.builder_configs.items()}
FACTS_LICENSE = "LICENSE-PokeAPI.txt"
NAMES = {"sprites": ("Pokémon sprites", "pokemon"), "starter": ("Starter creatures", "procedural")}  # and a tag


def run_card(
    pipeline: PokemonDDPMPipeline,
    config: TrainingConfig,
    name: str,
    step: int,
    counts: Mapping[str, int],
    metrics: Mapping[str, float],
) -> ModelCard:
    """The card of the model of a training run, with the number of images by split, and losses by name."""
    base, (data, kind) = config.initial_weights, _data(config)
    metadata: dict[str, Any] = dict(LICENSES.get(kind, {}))
    if base and kind != "sprites":  # weights do not become free by updates on other images
        kind, metadata = None, license_of(base)
    if config.dataset_name and not _is_path(config.dataset_name):
        metadata["datasets"] = [config.dataset_name]
    if base and "/" in _short(base):
        metadata["base_model"] = base
    details = jinja2.Template((TEMPLATES / "run.md").read_text(encoding="utf-8")).render(
        **{"data": data, "kind": kind, "step": step, "config": config, "base": base and _short(base)},
        split=", ".join(f"{count:,} {split}" for split, count in counts.items()),
        teacher=config.distill_from and _short(config.distill_from),
        settings={key: _short(value) for key, value in config.reported().items()},
        metrics={key.replace("_", " "): f"{value:.4f}" for key, value in metrics.items()},
        restricted=metadata.get("license_name") == RESTRICTED["license_name"],
    )
    return pipeline_card(pipeline, name, metadata, newest_sheet(Path(config.output_dir)), details)


def _data(config: TrainingConfig) -> tuple[str, str]:
    """What the training images are called, without the path to them, and their kind: a case of the template."""
    kind = "own" if config.label_column else "sprites"
    if config.dataset_name:
        return _short(config.dataset_name), kind
    if config.dataset_config_name == "starter":
        return "the starter sprites of the project", "starter"
    if config.dataset_config_name:
        return f"the Pokémon sprites ({config.dataset_config_name})", kind
    return Path(config.train_data_dir).resolve().name, "own"


def newest_sheet(folder: Path) -> str | None:
    """The path of a training run's newest sheet of samples, relative to its folder."""
    sheets = [path.relative_to(folder).as_posix() for path in folder.glob(f"{SHEETS}[0-9]*.png")]
    return max(sheets, key=lambda name: (len(name), name), default=None)


def write_card(folder: Path, card: ModelCard) -> None:
    """Writes a card into a folder, unless there is one without `MARK`, which a person has made their own."""
    old = folder_card(folder)
    if old is None or MARK in old.text:
        write_file(folder / CARD_FILE, card.content)


def folder_card(folder: Path) -> ModelCard | None:
    """The card in a model's folder, if there is one. Raises ValueError or OSError if it cannot be read."""
    if not (folder / CARD_FILE).exists():
        return None
    try:
        return ModelCard(read_card(folder / CARD_FILE)[0], ignore_metadata_errors=True)
    except Exception as error:  # yaml has exceptions of its own
        what = f"The metadata at the top of {folder / CARD_FILE} cannot be used; repair them"
        raise ValueError(f"{what}: {' '.join(str(error).split())}") from error


def license_of(model: str) -> dict[str, str]:
    """The license that a loaded model's card names, if any."""
    folder = Path(locate_model(model))
    try:
        card = folder / CARD_FILE if folder.is_dir() else Path(hf_hub_download(model, CARD_FILE))
        return license_terms(yaml.safe_load(read_card(card)[1]))
    except Exception:  # of the client, of yaml, or there is no card
        return {}


def _is_path(name: str) -> bool:
    return name.startswith((".", "~", os.sep)) or Path(name).exists()


def _short(value: Value) -> Value | str:
    """The last part of a path: the others only concern one machine."""
    return Path(value).resolve().name if isinstance(value, str) and _is_path(value) else value


def dataset_card(name: str, sprites: Mapping[str, datasets.DatasetDict]) -> DatasetCard:
    """The card of a data set; the first configuration is the default. `Dataset.push_to_hub` adds further metadata."""
    starter = STARTER in sprites
    pretty_name, tag = NAMES["starter" if starter else "sprites"]
    types = [kind.dtype if isinstance(kind, datasets.Value) else type(kind).__name__ for kind in FEATURES.values()]
    metadata = {"pretty_name": pretty_name, "tags": ["sprites", "pixel-art", tag]}
    metadata["task_categories"] = ["unconditional-image-generation", "image-classification"]
    return DatasetCard.from_template(
        DatasetCardData(**LICENSES["starter" if starter else "sprites"], **metadata),
        template_path=str(TEMPLATES / "dataset.md"),
        **{"name": name, "starter": starter, "facts_license": FACTS_LICENSE, "note": NOTE, "sprites": sprites},
        **{"descriptions": CONFIGS, "splits": SPLITS, "columns": COLUMNS, "types": types},
        counts={column: count_values(next(iter(sprites.values())), column) for column in COUNTED},
    )


def count_values(splits: datasets.DatasetDict, column: str) -> dict[str, int]:
    """The values of a column of classes with the number of their images in all splits, the most frequent first."""
    total = Counter(value for rows in splits.values() for value in rows.features[column].int2str(rows[column][:]))
    return dict(total.most_common())
