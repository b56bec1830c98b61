"""What samples are compared with: real images, and the network that sees them."""

from pathlib import Path
from typing import NamedTuple

from pokemon_ddpm.data import SpriteTensors, is_class_folder, load_tensors, sprite_tensors
from pokemon_ddpm.dataset_scripts.pokemon_sprites import load_sprites
from pokemon_ddpm.evaluation.features import RELEASED_FEATURES, SpriteFeatures, load_features
from pokemon_ddpm.evaluation.metrics import NEIGHBORHOOD
from pokemon_ddpm.evaluation.samples import check_classes
from pokemon_ddpm.generation import best_device


class RealImages(NamedTuple):
    """`all_train` are all views and finishes, which a model of the front sprites may also know."""

    train: SpriteTensors
    held_out: SpriteTensors
    all_train: SpriteTensors
    names: list[str] | None  # of `all_train`
    title: str


def load_images(
    data_dir: str | None, config_name: str | None, split: str, resolution: int, mode: str, skip_bad_images: bool
) -> RealImages:
    """Loads the training split and a held-out one; raises ValueError if they are too few to compare."""
    options = {"config_name": config_name, "mode": mode, "skip_bad_images": skip_bad_images}
    train, held_out = (load_tensors(data_dir, part, resolution, **options) for part in ("train", split))
    least = NEIGHBORHOOD + 1
    if min(len(train), len(held_out)) < least:
        needed = f"At least {least} training and {least} held-out images are needed"
        raise ValueError(f"{needed}, but there are {len(train)} and {len(held_out)}.")
    if data_dir is not None and is_class_folder(data_dir):
        return RealImages(train, held_out, train, None, Path(data_dir).resolve().name)
    title = f"the Pokémon sprites ({config_name or 'front'})" if data_dir else "the starter sprites of the project"
    rows = load_sprites(data_dir, "all" if data_dir else config_name, split="train", skip_bad_images=skip_bad_images)
    columns = [map(rows.features[name].int2str, rows[name][:]) for name in ("game", "view")]
    names = [f"{name}\n{game}, {view}" for name, game, view in zip(rows["name"][:], *columns, strict=True)]
    return RealImages(train, held_out, sprite_tensors(rows, resolution, mode), names, title)


def load_network(folder: Path | None, data: RealImages, data_dir: str | None = None) -> SpriteFeatures:
    """Loads the released network or another one; raises ValueError if it does not fit the images."""
    try:
        network = load_features(folder or RELEASED_FEATURES, best_device())
        check_classes(network.name, network.vocabulary["type"], data.train.type_names)
        network.to_pixels(data.held_out.images[:1, :3])  # to fail before the evaluation if the images are too small
    except ValueError as error:
        side, mode = data.train.images.shape[-1], "pixel" if data.train.images.shape[1] == 4 else "fit"
        raise ValueError(
            f"{error} For these images, make one with pokemon-ddpm fit-features --data-dir {data_dir or 'FOLDER'} "
            f"--resolution {side} --preprocessing {mode} --output-dir features, and give --features features."
        ) from error
    return network
