"""All images of a split in one uint8 tensor and all labels in int64 tensors: from data sets, archives and folders."""

import hashlib
import itertools
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from datasets import ClassLabel, Dataset
from huggingface_hub import snapshot_download

from pokemon_ddpm import preprocessing
from pokemon_ddpm.class_folder import CREATURE, NO_VALIDATION, ONE_CLASS, is_class_folder, read_class_folder
from pokemon_ddpm.dataset_scripts.pokemon_sprites import FEATURES, load_sprites
from pokemon_ddpm.dataset_scripts.sprite_archive import Problems, expand
from pokemon_ddpm.pipelines.file_checks import check_file, check_inside, printable
from pokemon_ddpm.pipelines.hub_mixin import CARD_FILE, MAX_METADATA, read_card
from pokemon_ddpm.pipelines.sprite_conditioner import SOURCE, TAGS, check_vocabulary
from pokemon_ddpm.preprocessing import as_tensor, open_image, over_white, preprocess
from pokemon_ddpm.vocabulary import ATTRIBUTES, COLORS, CONDITIONS, FINISHES, SIZE_LIMITS, SIZES, TYPES, Vocabulary

SAFE_BUILDERS = ("parquet", "arrow", "imagefolder", "cache")  # they only read tables or list files
MIN_TAG_IMAGES, MAX_TAG_SHARE = 20, 0.9  # of the training images, for a tag that is a condition
MAX_TAG_LABELS = 2**30  # a byte each


@dataclass(frozen=True)
class SpriteTensors:
    """One split, ready for training.

    Labels are int64: "type" (N, 2) with the ids of both types, and (N,) for every other column of the sprites that is
    a class, a whole number or a bool, -1 where unknown; and "size" where there are heights. Only "tags" are bool
    (N, V), whether an image has each of them.
    """

    images: torch.Tensor  # uint8 (N, C, S, S) in [0, 255], RGB or RGBA, see `preprocess`
    labels: dict[str, torch.Tensor]
    type_names: tuple[str, ...] = TYPES  # or the names of the classes that replace them
    own_values: dict[str, tuple[str, ...]] = field(default_factory=dict)  # attribute -> values, where not the sprites'

    def __len__(self) -> int:
        return len(self.images)

    @property
    def vocabulary(self) -> dict[str, tuple[str, ...]]:
        """Attribute -> the names of its ids, of all that these images can be conditioned on."""
        return {**CONDITIONS, **self.own_values, "type": self.type_names}

    def varying_attributes(self) -> list[str]:
        """The type, and the other attributes in which the images differ."""
        known = {name: ids[ids >= 0] for name, ids in self.labels.items()}
        varying = {name for name, ids in known.items() if len(ids.unique()) > 1} | {"type"}
        return [name for name in self.vocabulary if name in varying]

    def digest(self) -> str:
        """SHA-256, in hexadecimal, of images, labels and, where they are not the sprites', the names of values."""
        total = hashlib.sha256(self.images.cpu().numpy())
        for name, ids in sorted(self.labels.items()):
            total.update(name.encode() + ids.cpu().numpy().tobytes())
        if self.type_names != TYPES:
            total.update("\0".join(self.type_names).encode())
        for name, values in sorted(self.own_values.items()):
            total.update("\0".join([name, *values]).encode())
        return total.hexdigest()

    def conditioned_on(self, any_ids: Mapping[str, int]) -> "SpriteTensors":
        """The same images with labels for these attributes only; the given id of each replaces -1."""
        # Three are for --class_balance.
        labels = {name: self.labels[name] for name in {"body", "line", "index", TAGS} & self.labels.keys()}
        for name, any_id in any_ids.items():
            if name == TAGS and name in labels:
                continue
            ids = self.labels.get(name, torch.full((len(self),), -1, device=self.images.device))
            labels[name] = torch.where(ids >= 0, ids, any_id)
        return replace(self, labels=labels)

    def with_values(self, vocabulary: Vocabulary) -> "SpriteTensors":
        """The same images with the ids of another vocabulary; values and classes that it lacks become unknown."""
        labels = dict(self.labels)
        for name, values in vocabulary.items():
            known, ids = self.vocabulary.get(name, ()), labels.get(name)
            if name == TAGS:
                columns = [known.index(value) if value in known else len(known) for value in values]
                present = ids if ids is not None else torch.zeros(len(self), 0, dtype=torch.bool)
                labels[name] = torch.cat([present, torch.zeros(len(self), 1, dtype=torch.bool)], dim=1)[:, columns]
            elif ids is not None and name not in self.vocabulary:
                del labels[name]  # such as the "body" of sprites, which has no names
            elif ids is not None:
                new = [values.index(value) if value in values else -1 for value in known]
                none = len(values) if name == "type" and max(new, default=-1) >= 0 else -1
                labels[name] = torch.tensor([*new, none, -1])[ids]
        labels["type"] = torch.where(labels["type"][:, :1] < 0, -1, labels["type"])
        own = {name: tuple(values) for name, values in vocabulary.items() if name in labels and name != "type"}
        own = {name: values for name, values in own.items() if values != CONDITIONS.get(name)}
        return replace(self, labels=labels, type_names=tuple(vocabulary["type"]), own_values=own)

    def with_frequent_tags(self) -> "SpriteTensors":
        """The same images without the tags that are too rare, or too frequent, to be learned."""
        if TAGS not in self.labels:
            return self
        count, images = self.labels[TAGS].sum(dim=0), len(self)
        least = min(MIN_TAG_IMAGES, max(2, images // 20))
        kept = ((count >= least) & (count <= MAX_TAG_SHARE * images)).tolist()
        tags = [tag for tag, keep in zip(self.own_values[TAGS], kept, strict=True) if keep]
        result = self.with_values({"type": self.type_names, **self.own_values, TAGS: tags})
        if not tags:
            del result.labels[TAGS], result.own_values[TAGS]
        return result

    def rows(self, chosen: torch.Tensor | slice) -> "SpriteTensors":
        """Some of the images, by index, int64, by mask, bool (N,), or a slice."""
        labels = {name: ids[chosen] for name, ids in self.labels.items()}
        return replace(self, images=self.images[chosen], labels=labels)

    def on_white(self) -> "SpriteTensors":
        """The same images in RGB, see `over_white`."""
        return replace(self, images=over_white(self.images))

    def to(self, device: torch.device) -> "SpriteTensors":
        """The same tensors on another device."""
        labels = {name: ids.to(device) for name, ids in self.labels.items()}
        return replace(self, images=self.images.to(device), labels=labels)


def join(parts: Sequence[SpriteTensors], sources: Sequence[str]) -> SpriteTensors:
    """Several sets as one: the values of all, where each image keeps what its own set says.

    `sources` are the values of "source" for the images of each part, unless they have values of their own.
    """
    named = []
    for part, source in zip(parts, sources, strict=True):
        if SOURCE not in part.labels:
            labels = {**part.labels, SOURCE: torch.zeros(len(part), dtype=torch.int64)}
            part = replace(part, labels=labels, own_values={**part.own_values, SOURCE: (source,)})
        named.append(part)
    vocabulary: dict[str, list[str]] = {"type": [*named[0].type_names]}
    for part in named:
        vocabulary["type"] += [name for name in part.type_names if name not in (*vocabulary["type"], ONE_CLASS)]
        for name, values in part.vocabulary.items():
            if name in part.labels and name != "type":
                known = vocabulary.setdefault(name, [])
                known += [value for value in values if value not in known]
    vocabulary.get(TAGS, []).sort()
    check_vocabulary({name: values for name, values in vocabulary.items() if name != TAGS})  # rare tags are left out
    named = [part.with_values(vocabulary) for part in named]
    labels = {}
    for name in sorted({name for part in named for name in part.labels}):
        example = next(part.labels[name] for part in named if name in part.labels)
        unknown = [example.new_full((len(part), *example.shape[1:]), -1) for part in named]
        columns = [part.labels.get(name, ids) for part, ids in zip(named, unknown, strict=True)]
        labels[name] = torch.cat(columns)
    images = torch.cat([part.images for part in named])
    own_values = {name: values for part in named for name, values in part.own_values.items()}
    return SpriteTensors(images, labels, named[0].type_names, own_values)


def load_tensors(
    data_dir: str | Path | None, split: str, resolution: int, *, mode: str = "pixel", **options: Any
) -> SpriteTensors:
    """Loads a split of a class folder, of the sprite archive or, without `data_dir`, of the starter set.

    Args:
        data_dir: See `is_class_folder` and `load_sprites`.
        split: "train", "validation" or "test".
        resolution, mode: Side of the images in pixels, and a key of `preprocessing.CHANNELS`, see `preprocess`.
        **options: Of `load_sprites`; class folders are not cached, and have none.

    Raises:
        OSError, ValueError: If the data cannot be read or used.
    """
    preprocessing.check_preprocessing(resolution, mode)
    if data_dir is not None and is_class_folder(data_dir):
        return _class_folder_tensors(expand(data_dir), split, resolution, mode)
    return sprite_tensors(load_sprites(data_dir, split=split, **options), resolution, mode)


def load_named(name: str, config_name: str | None, split: str, cache_dir: str | Path | None = None) -> Dataset:
    """A split of a data set, given its name on the Hub or a path; ValueError if it cannot be loaded, or not safely."""
    path = str(expand(name).absolute()) if name.startswith((".", "/", "~")) else name
    try:
        _check_metadata(path)
        # This only lists the files. (load_dataset would refuse a folder of save_to_disk.)
        builder = datasets.load_dataset_builder(path, config_name, cache_dir=cache_dir)
        kind = type(builder).__module__.removeprefix("datasets.packaged_modules.").split(".")[0]
        # Its card can name any files; datasets itself checks that of a data set on the Hub.
        if (folder := Path(path)).is_dir():
            for file in itertools.chain.from_iterable(builder.config.data_files.values()):
                _check_own(file, folder)
        if kind in SAFE_BUILDERS:
            builder.download_and_prepare()
    except Exception as error:  # datasets raises many kinds for what is missing, damaged, or a script
        reason = error.__cause__ if isinstance(error, datasets.exceptions.DatasetGenerationError) else error
        raise ValueError(f"{name} cannot be loaded: {printable(reason)}") from error
    wrong = f"the format {kind}, which can contain pickles; convert it to Parquet."
    if kind in SAFE_BUILDERS:
        wrong = f"no split {split}. Known: {', '.join(builder.info.splits)}.{NO_VALIDATION * (split == 'validation')}"
    if kind not in SAFE_BUILDERS or split not in builder.info.splits:
        raise ValueError(f"{name} has {wrong}")
    dataset = builder.as_dataset(split=split)
    if kind != "imagefolder":  # whose images are the files that were checked
        columns = [name for name, feature in dataset.features.items() if isinstance(feature, datasets.Image)]
        for value in itertools.chain.from_iterable(_encoded(dataset, column) for column in columns):
            if value and value["path"] and not value["bytes"]:
                _check_own(value["path"], folder)
    return dataset


def _check_own(file: str, folder: Path) -> None:
    """Raises ValueError unless a file is in the folder of a data set; one on the Hub has none here."""
    try:
        check_file(Path(file), math.inf)
        check_inside(Path(file), folder)
    except ValueError as error:
        hint = "move it there, or save the data set with its images in the tables"
        raise ValueError(f"{file!r} is not a file in the folder of the data set; {hint}.") from error


def _check_metadata(path: str) -> None:
    """Raises ValueError if the metadata of a data set, on the Hub or in a folder, are too large for yaml."""
    folder, names = Path(path), [CARD_FILE, datasets.config.REPOYAML_FILENAME]
    if not folder.is_dir():
        with suppress(Exception):  # datasets says what is wrong
            folder = Path(snapshot_download(path, repo_type="dataset", allow_patterns=names))
    for file in (folder / name for name in names if (folder / name).is_file()):
        if file.name == CARD_FILE:
            read_card(file)
        else:
            check_file(file, MAX_METADATA)


def sprite_tensors(
    dataset: Dataset, resolution: int, mode: str = "pixel", image_column: str = "image"
) -> SpriteTensors:
    """Preprocesses a split with the columns of `load_sprites`; raises ValueError if it cannot be used."""
    for column in ("type1", "type2", TAGS, *ATTRIBUTES):
        given, ours = dataset.features.get(column), FEATURES.get(column)
        if ours and given != ours and (given or column in ("type1", "type2")):
            classes = ", ".join(name for name, other in dataset.features.items() if isinstance(other, ClassLabel))
            needed = f"The column {column} must be a {ours}, but is {given or 'missing'}; map, rename or remove it."
            other = f"To train on other classes, give --label_column (of this data set: {classes or 'none'})."
            raise ValueError(f"{needed} {other}")
    images = _column_images(dataset, image_column, resolution, mode, full_frame=False)
    dtypes = {name: getattr(dataset.features.get(name), "dtype", "") for name in FEATURES}
    labels = {name: _ids(dataset, name) for name, dtype in dtypes.items() if dtype in ("bool", "int32", "int64")}
    labels["type"] = torch.stack([labels.pop("type1"), labels.pop("type2")], dim=1)
    if (labels["type"] < 0).any():
        raise ValueError("The columns type1 and type2 must not be empty; 'none' stands for no second type.")
    if {"color", "finish"} <= labels.keys():
        # The color is that of the species, and a shiny has another.
        shiny = labels["finish"] == FINISHES.index("shiny")
        labels["color"] = torch.where(shiny, len(COLORS), labels["color"])
    own = {}
    if TAGS in dataset.features and any(tags := dataset[TAGS][:]):
        labels[TAGS], own[TAGS] = tag_labels(tags)
    if "height" in labels:
        sizes = torch.bucketize(labels["height"], torch.tensor(SIZE_LIMITS), right=True)
        labels["size"] = torch.where(labels["height"] > 0, sizes, len(SIZES))  # the last where it is unknown
    return SpriteTensors(images, labels, own_values=own)


def tag_labels(tags: Sequence[Sequence[str]]) -> tuple[torch.Tensor, tuple[str, ...]]:
    """Whether each image has each tag, bool (N, V), and the sorted tags; ValueError if they would fill the memory."""
    tags = [["-".join(tag.lower().split()) for tag in own or () if tag and tag.strip()] for own in tags]
    positions = {tag: number for number, tag in enumerate(sorted(set().union(*tags)))}
    if len(tags) * len(positions) > MAX_TAG_LABELS:
        counts = f"{len(positions):,} different tags of {len(tags):,} images"
        raise ValueError(f"{counts} are too many; leave out long texts.")
    labels = torch.zeros(len(tags), len(positions), dtype=torch.bool)
    for row, own in zip(labels, tags, strict=True):
        row[[positions[tag] for tag in own]] = True
    return labels, tuple(positions)


def labelled_tensors(
    dataset: Dataset, resolution: int, mode: str = "pixel", image_column: str = "image", label_column: str = "label"
) -> SpriteTensors:
    """Preprocesses a split of any data set with images and a `ClassLabel`; raises ValueError if it cannot be used.

    The only label is "type": the class and "none", or -1 twice where the class is -1 or None.
    """
    _check_kind(dataset, "--label_column", label_column, ClassLabel)
    names, labels = dataset.features[label_column].names, _ids(dataset, label_column)
    check_vocabulary({"type": names})
    if not 0 <= (largest := max(labels.tolist(), default=-1)) < len(names):
        known = f"from 0 to {len(names) - 1}"
        raise ValueError(f"The column {label_column} has the label {largest}, which is not {known}.")
    return _with_classes(_column_images(dataset, image_column, resolution, mode), labels, names)


def _class_folder_tensors(folder: Path, split: str, resolution: int, mode: str) -> SpriteTensors:
    """See `load_tensors` and `is_class_folder`; "index" are creatures, if the metadata names any."""
    listed, files, images = read_class_folder(folder, split, resolution, mode)
    labels = torch.tensor([listed.names.index(file.label) for file in files])
    data = _with_classes(as_tensor(images), labels, listed.names)
    for name, values in listed.own_values.items():
        texts = [file.row.get(name) for file in files]
        data.labels[name] = torch.tensor([values.index(text) if text in values else -1 for text in texts])
    if any(file.row.get(CREATURE) for file in listed.images):
        ids = {name: number for number, name in enumerate(sorted({file.creature for file in listed.images}))}
        data.labels["index"] = torch.tensor([ids[file.creature] for file in files])
    if any(words := [file.words for file in files]):
        data.labels[TAGS], listed.own_values[TAGS] = tag_labels(words)
    return replace(data, own_values=listed.own_values)


def _check_kind(dataset: Dataset, flag: str, column: str, kind: type[ClassLabel | datasets.Image]) -> None:
    feature = dataset.features.get(column)
    if not isinstance(feature, kind):
        fitting = ", ".join(name for name, other in dataset.features.items() if isinstance(other, kind)) or "none"
        hint = " class_encode_column turns the values of a column into classes." if kind is ClassLabel else ""
        given = f"{flag} {column} is {feature or 'missing'}"
        raise ValueError(f"{given}. Columns of type {kind.__name__}: {fitting}.{hint}")


def _ids(dataset: Dataset, column: str) -> torch.Tensor:
    """int64 (N,), -1 where the value is missing."""
    values = np.asarray(dataset.with_format("numpy", columns=[column])[column][:], dtype=np.float64)
    return torch.from_numpy(np.where(np.isnan(values), -1, values).astype(np.int64))


def _with_classes(images: torch.Tensor, labels: torch.Tensor, names: Sequence[str]) -> SpriteTensors:
    none = torch.where(labels >= 0, len(names), -1)
    return SpriteTensors(images, {"type": torch.stack([labels, none], dim=1)}, tuple(names))


def _encoded(dataset: Dataset, column: str) -> Sequence[dict[str, Any] | None]:
    """A column of images with "bytes" and "path" of each; datasets itself would decode any format and any size."""
    return dataset.select_columns(column).cast_column(column, datasets.Image(decode=False))[column]


def _column_images(dataset: Dataset, column: str, resolution: int, mode: str, full_frame: bool = True) -> torch.Tensor:
    """uint8 (N, C, S, S) of a column of images; raises ValueError if some cannot be decoded."""
    preprocessing.check_preprocessing(resolution, mode)
    _check_kind(dataset, "--image_column", column, datasets.Image)
    values = _encoded(dataset, column)
    images = np.empty((len(values), preprocessing.CHANNELS[mode], resolution, resolution), dtype=np.uint8)
    problems = Problems()
    for row, value in enumerate(datasets.utils.tqdm(values, desc="Reading images")):
        with problems.caught(f"row {row}"):
            image = open_image((value or {}).get("bytes") or Path((value or {}).get("path") or ""))
            images[row] = preprocess(image, resolution, mode, full_frame).transpose(2, 0, 1)
    problems.check(f"The column {column}")
    return torch.from_numpy(images)
