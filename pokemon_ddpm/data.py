"""All pixels of a split in one uint8 tensor, all labels in int64 tensors: training then only indexes."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import datasets
import numpy as np
import torch

from pokemon_ddpm.dataset_scripts.pokemon_sprites import FEATURES
from pokemon_ddpm.preprocessing import check_resolution, preprocess
from pokemon_ddpm.vocabulary import ATTRIBUTES, COLORS, FINISHES, SIZE_LIMITS, SIZES, TYPES


@dataclass(frozen=True)
class SpriteTensors:
    """One split, ready for training.

    Attributes:
        images: uint8 (N, 3, S, S), RGB in [0, 255].
        labels: int64 tensors: "type" (N, 2) with the ids of both types, and (N,) for every other column of the
            sprites that is there and is a `ClassLabel`, a whole number or a truth value, unknown ones being -1; and
            "size" where there are heights. The colour of a shiny, which is not its species', is `any`.
        type_names: The names of the types; of other pictures than sprites, of their classes.
    """

    images: torch.Tensor
    labels: dict[str, torch.Tensor]
    type_names: tuple[str, ...] = TYPES

    def __len__(self) -> int:
        return len(self.images)

    def digest(self) -> str:
        """SHA-256, in hexadecimal, of pictures, labels and, where they are not the sprites' types, class names."""
        total = hashlib.sha256(self.images.cpu().numpy())
        for name, ids in sorted(self.labels.items()):
            total.update(name.encode() + ids.cpu().numpy().tobytes())
        if self.type_names != TYPES:
            total.update("\0".join(self.type_names).encode())
        return total.hexdigest()

    def described(self, any_ids: Mapping[str, int]) -> "SpriteTensors":
        """The same pictures with labels for these attributes alone; where one is unknown, nothing is said of it.

        Args:
            any_ids: Attribute -> the id that says nothing.
        """
        labels = {}
        for name, any_id in any_ids.items():
            ids = self.labels.get(name, torch.full((len(self),), -1, device=self.images.device))
            labels[name] = torch.where(ids >= 0, ids, any_id)
        return replace(self, labels=labels)

    def rows(self, chosen: torch.Tensor) -> "SpriteTensors":
        """Some of the pictures, by their places, int64, or by truth values, bool (N,)."""
        return replace(
            self, images=self.images[chosen], labels={name: ids[chosen] for name, ids in self.labels.items()}
        )

    def to(self, device: torch.device) -> "SpriteTensors":
        """The same tensors on another device."""
        labels = {name: ids.to(device) for name, ids in self.labels.items()}
        return replace(self, images=self.images.to(device), labels=labels)


def sprite_tensors(
    dataset: datasets.Dataset, resolution: int, mode: str = "fit", image_column: str = "image"
) -> SpriteTensors:
    """Preprocesses a split of the sprites into tensors.

    Args:
        dataset: A split with the columns of `PokemonSprites`, as `load_sprites` returns it.
        resolution: Side S in pixels, a multiple of 8.
        mode: See `pokemon_ddpm.preprocessing.preprocess`.
        image_column: Name of the pictures' column.

    Raises:
        ValueError: If a needed column is missing or a type is, a column of what can be asked for has not the sprites'
            own words, or resolution or mode cannot be used.
    """
    check_resolution(resolution)
    _check_columns(dataset, (image_column, "type1", "type2"))
    images = np.empty((len(dataset), 3, resolution, resolution), dtype=np.uint8)
    for row, image in enumerate(dataset.select_columns(image_column)[image_column]):
        images[row] = preprocess(image, resolution, mode).transpose(2, 0, 1)
    table = dataset.with_format("numpy", columns=[name for name in FEATURES if _is_whole(dataset, name)])
    labels = {name: _int64(table[name]) for name in table.format["columns"]}
    for name in ("type1", "type2"):
        if (labels[name] < 0).any():
            raise ValueError(f"The column {name} is empty in some rows; say 'none' where there is no second type.")
    labels["type"] = torch.stack([labels.pop("type1"), labels.pop("type2")], dim=1)
    if {"color", "finish"} <= labels.keys():
        # The colour is that of the species, and a shiny has another.
        shiny = labels["finish"] == FINISHES.index("shiny")
        labels["color"] = torch.where(shiny, len(COLORS), labels["color"])
    if "height" in labels:
        labels["size"] = size_classes(labels["height"])
    return SpriteTensors(torch.from_numpy(images), labels)


def size_classes(heights: torch.Tensor) -> torch.Tensor:
    """Ids of `SIZES`, int64 (N,), of heights in decimetres (N,); the id after the last where the height is unknown."""
    classes = torch.bucketize(heights, torch.tensor(SIZE_LIMITS), right=True)
    return torch.where(heights > 0, classes, len(SIZES))


def _check_columns(dataset: datasets.Dataset, needed: tuple[str, ...]) -> None:
    missing = [column for column in needed if column not in dataset.column_names]
    if missing:
        classes = [name for name, feature in dataset.features.items() if isinstance(feature, datasets.ClassLabel)]
        hint = f" To train on other classes than types, give --label_column: {', '.join(classes)}." if classes else ""
        raise ValueError(
            f"The data set lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}; "
            f"it has {', '.join(dataset.column_names)}.{hint}"
        )
    for column in ("type1", "type2", *ATTRIBUTES):
        given, ours = dataset.features.get(column), FEATURES.get(column)
        if None not in (given, ours) and given != ours:
            raise ValueError(f"The column {column} must be a {ours}, but is {given}; map, rename or remove it.")


def _is_whole(dataset: datasets.Dataset, column: str) -> bool:
    feature = dataset.features.get(column)
    return isinstance(feature, datasets.ClassLabel) or getattr(feature, "dtype", "") in ("bool", "int32", "int64")


def _int64(column: datasets.arrow_dataset.Column) -> torch.Tensor:
    values = np.asarray(column[:], dtype=np.float64)  # unknown numbers arrive as NaN
    return torch.from_numpy(np.where(np.isnan(values), -1, values).astype(np.int64))
