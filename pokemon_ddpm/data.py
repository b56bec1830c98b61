"""All images of a split in one uint8 tensor and all labels in int64 tensors: from data sets, archives and folders."""

import hashlib
import inspect
import itertools
import json
import keyword
import logging
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import numpy as np
import torch
from datasets import ClassLabel, Dataset
from PIL import ImageOps

from pokemon_ddpm import preprocessing
from pokemon_ddpm.dataset_scripts.pokemon_sprites import FEATURES, load_sprites
from pokemon_ddpm.dataset_scripts.sprite_archive import POKEDEX, expand, read_csv
from pokemon_ddpm.files import MAX_LISTED, Problems, read_file
from pokemon_ddpm.preprocessing import as_tensor, on_white, open_image, over_white, pixel_digest, preprocess
from pokemon_ddpm.vocabulary import ANY, ATTRIBUTES, COLORS, CONDITIONS, FINISHES, NONE, SIZE_LIMITS, SIZES, TYPES

SAFE_BUILDERS = ("parquet", "arrow", "imagefolder", "cache")  # they only read tables or list files
RESERVED_NAMES = (NONE, ANY, "all")  # values of the conditioner and of the command line
RESERVED_CHARACTERS = "/=,"  # "fire/flying" and "fire=0.7,water=0.3"
# What an image's file name ends with in a class folder; other files are ignored.
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff"}
SPLIT_FOLDERS = {name: str(split) for split, names in datasets.data_files.SPLIT_KEYWORDS.items() for name in names}
HELD_OUT = 0.1  # of each class, without split folders
METADATA_FILES = ("metadata.csv", "metadata.jsonl")
METADATA_COLUMNS = ["file_name", "label"]
CREATURE = "creature"  # column whose images of one value can be references of each other
MAX_VALUES = 100  # of an attribute; a column with more, or with one image for most of them, is text
MAX_DEPTH = 6  # of folders in folders
ARCHIVE = (POKEDEX, f"*/{POKEDEX}", "sprites/*/front")  # what a folder holds that is the sprite archive
NO_VALIDATION = " Without held-out images, train with --validation_steps 0."


@dataclass(frozen=True)
class SpriteTensors:
    """One split, ready for training.

    Attributes:
        images: uint8 (N, C, S, S) in [0, 255], RGB or RGBA, see `preprocess`.
        labels: int64 tensors: "type" (N, 2) with the ids of both types, and (N,) for every other column of the
            sprites that is a class, a whole number or a bool, -1 where unknown; and "size" where there are heights.
        type_names: The names of the types, or of the classes that replace them.
        own_values: Attribute -> its values, of images that have other attributes than the sprites.
    """

    images: torch.Tensor
    labels: dict[str, torch.Tensor]
    type_names: tuple[str, ...] = TYPES
    own_values: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def vocabulary(self) -> dict[str, tuple[str, ...]]:
        """Attribute -> the names of its ids, of all that these images can be conditioned on."""
        return {**CONDITIONS, **self.own_values, "type": self.type_names}

    def varying_attributes(self) -> list[str]:
        """The type, and the other attributes in which the images differ."""
        known = {name: ids[ids >= 0] for name, ids in self.labels.items()}
        return [
            name for name in self.vocabulary if name == "type" or (name in known and len(known[name].unique()) > 1)
        ]

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
        labels = {}
        for name, any_id in any_ids.items():
            ids = self.labels.get(name, torch.full((len(self),), -1, device=self.images.device))
            labels[name] = torch.where(ids >= 0, ids, any_id)
        return replace(self, labels=labels)

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


def load_tensors(
    data_dir: str | Path | None,
    split: str,
    resolution: int,
    *,
    config_name: str | None = None,
    mode: str = "pixel",
    exclude_faulty: bool = False,
    deduplicate: bool = False,
    skip_bad_images: bool = False,
    cache_dir: str | Path | None = None,
) -> SpriteTensors:
    """Loads a split of a class folder, of the sprite archive or, without `data_dir`, of the starter set.

    For the arguments see `load_sprites`, `is_class_folder` and `preprocess`. Class folders are not cached.

    Raises:
        OSError, ValueError: If the data cannot be read or used.
    """
    if data_dir is not None:
        root = expand(data_dir)
        if is_class_folder(root):
            return _class_folder_tensors(root, split, resolution, mode, skip_bad_images, deduplicate)
        if root.is_dir() and not any(any(root.glob(name)) for name in (*ARCHIVE, "sprites", "*.zip")):
            wanted = "nor a sub-folder of images for each class, nor metadata.csv"
            raise ValueError(f"{root} contains neither {POKEDEX} and sprites/ {wanted}.")
    options = {"exclude_faulty": exclude_faulty, "deduplicate": deduplicate, "skip_bad_images": skip_bad_images}
    dataset = load_sprites(data_dir, config_name, split=split, cache_dir=cache_dir, **options)
    return sprite_tensors(dataset, resolution, mode)


def load_named(name: str, config_name: str | None, split: str, cache_dir: str | Path | None = None) -> Dataset:
    """Loads a split of a data set, given its name on the Hub or a path.

    Raises:
        ValueError: If it cannot be loaded, has no such split, or is of a kind that is not in `SAFE_BUILDERS`.
    """
    path = str(expand(name).absolute()) if name.startswith((".", "/", "~")) else name
    try:
        # This only lists the files. (load_dataset would refuse a folder of save_to_disk.)
        builder = datasets.load_dataset_builder(path, config_name, cache_dir=cache_dir)
        kind = type(builder).__module__.removeprefix("datasets.packaged_modules.").split(".")[0]
        if kind in SAFE_BUILDERS:
            builder.download_and_prepare()
    except Exception as error:  # datasets raises many kinds for what is missing, damaged, or a script
        reason = error.__cause__ if isinstance(error, datasets.exceptions.DatasetGenerationError) else error
        raise ValueError(f"{name} cannot be loaded: {reason}") from error
    if kind not in SAFE_BUILDERS:
        raise ValueError(f"{name} has the format {kind}, which can contain pickles; convert it to Parquet.")
    if split not in builder.info.splits:
        known = ", ".join(builder.info.splits)
        raise ValueError(f"{name} has no split {split}. Known: {known}.{NO_VALIDATION * (split == 'validation')}")
    return builder.as_dataset(split=split)


def sprite_tensors(
    dataset: Dataset, resolution: int, mode: str = "pixel", image_column: str = "image"
) -> SpriteTensors:
    """Preprocesses a split with the columns of `load_sprites`; raises ValueError if it cannot be used."""
    for column in ("type1", "type2", *ATTRIBUTES):
        given, ours = dataset.features.get(column), FEATURES.get(column)
        if ours and given != ours and (given or column in ("type1", "type2")):
            classes = ", ".join(name for name, other in dataset.features.items() if isinstance(other, ClassLabel))
            raise ValueError(
                f"The column {column} must be a {ours}, but is {given or 'missing'}; map, rename or remove it. To "
                f"train on other classes than types, give --label_column (of this data set: {classes or 'none'})."
            )
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
    if "height" in labels:
        sizes = torch.bucketize(labels["height"], torch.tensor(SIZE_LIMITS), right=True)
        labels["size"] = torch.where(labels["height"] > 0, sizes, len(SIZES))  # the last where it is unknown
    return SpriteTensors(images, labels)


def labelled_tensors(
    dataset: Dataset, resolution: int, mode: str = "pixel", image_column: str = "image", label_column: str = "label"
) -> SpriteTensors:
    """Preprocesses a split of any data set with images and a `ClassLabel`; raises ValueError if it cannot be used.

    The only label is "type": the class and "none", or -1 twice where the class is -1 or None.
    """
    _check_kind(dataset, "--label_column", label_column, ClassLabel)
    names, labels = dataset.features[label_column].names, _ids(dataset, label_column)
    _check_names("class names", names)
    if not 0 <= (largest := max(labels.tolist(), default=-1)) < len(names):
        raise ValueError(
            f"The column {label_column} has the label {largest}, which is not from 0 to {len(names) - 1}."
        )
    return _with_classes(_column_images(dataset, image_column, resolution, mode), labels, names)


def _class_folder_tensors(
    folder: Path, split: str, resolution: int, mode: str, skip_bad_images: bool, deduplicate: bool
) -> SpriteTensors:
    """See `load_tensors` and `is_class_folder`; the labels are those of `labelled_tensors` and `_own_values`."""
    problems, found, logger = Problems(), list(_files(folder)), logging.getLogger(__name__)
    rows, unlabelled = _metadata(folder, found)
    listed = _list_images(folder, found, problems, rows, unlabelled)
    names = _sorted_names({each.label for each in listed})
    _check_names("class names", names)
    described = {each.file: rows.get(each.file, {}) for each in listed}
    own_values, unused = _own_values(described.values())
    if split == "train":  # with which each line is logged once, and the bad files of all splits are named
        others = [file.as_posix() for file in found if len(file.parts) > 1 and not _is_image(file)]
        others = [name for name in others if not name.endswith(METADATA_FILES)]
        if others:
            some = ", ".join(others[:3]) + ", ..." * (len(others) > 3)
            logger.warning(f"{folder}: {len(others)} files are not images and are ignored: {some}")
        if unused:
            logger.warning(f"{folder}: these columns of the metadata are not attributes: {', '.join(unused)}")
    else:
        listed = [each for each in listed if each.split == split]
    images, labels, usable, seen = [], [], [], set()
    for each in datasets.utils.tqdm(listed, desc="Reading images"):
        with problems.caught(each.file.as_posix()):
            image = on_white(open_image(folder / each.file))
            if ImageOps.invert(image).getbbox() is None:
                raise ValueError("is empty or white")
            key = pixel_digest(image) if deduplicate else each.file
            if each.split == split and key not in seen:
                seen.add(key)
                images.append(preprocess(image, resolution, mode, full_frame=True))
                labels.append(names.index(each.label))
                usable.append(each)
    problems.check(folder, skip_bad_images)
    if not images:
        raise ValueError(f"{folder} contains no images for {split}.{NO_VALIDATION * (split == 'validation')}")
    if problems.found and split == "train":
        logger.warning(problems.report(f"{folder}: {len(problems.found)} unusable images were left out:"))
    unseen = {names.index(each.label) for each in listed if each.split == split} - set(labels)
    if unseen and split == "train":
        some = ", ".join(names[label] for label in sorted(unseen)[:20])
        raise ValueError(f"{folder}: no image of {some} is usable; add one, or remove the class.")
    data = _with_classes(as_tensor(images), torch.tensor(labels), names)
    for name, values in own_values.items():
        texts = [described[each.file].get(name) for each in usable]
        data.labels[name] = torch.tensor([values.index(text) if text in values else -1 for text in texts])
    if any(row.get(CREATURE) for row in described.values()):
        ids = {name: number for number, name in enumerate(sorted({each.creature for each in listed}))}
        data.labels["index"] = torch.tensor([ids[each.creature] for each in usable])
    return replace(data, own_values=own_values)


def _own_values(rows: Iterable[Mapping[str, str]]) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """The columns of metadata that are attributes, with their values, and those that are not, with the reason.

    An attribute has from 2 to `MAX_VALUES` values, with two images each on average, and a name that can be an argument
    of the pipeline. If all its values are those of an attribute of the sprites, it has these values in their order.
    """
    from pokemon_ddpm.pipelines.pipeline_pokemon_ddpm import PokemonDDPMPipeline  # it imports diffusers

    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for name, value in itertools.chain.from_iterable(row.items() for row in rows):
        counts[name].update([value] * (value != ""))
    reserved = {"type", "relation", "index", *inspect.signature(PokemonDDPMPipeline.__call__).parameters}
    own_values, unused = {}, []
    for name, values in counts.items():
        if name in (*METADATA_COLUMNS, CREATURE):
            continue
        if not name.isidentifier() or keyword.iskeyword(name) or name in reserved:
            unused.append(f"{name} (not a possible argument in Python)")
        elif len(values) < 2:
            unused.append(f"{name} (one value)")
        elif len(values) > MAX_VALUES or 2 * len(values) > values.total():
            unused.append(f"{name} ({len(values)} values in {values.total()} images)")
        else:
            known = CONDITIONS.get(name, ())
            own_values[name] = known if values.keys() <= set(known) else tuple(_sorted_names(values))
            _check_names(f"values of {name} in the metadata", own_values[name], (ANY, "all"))
    return own_values, unused


def _sorted_names(names: Iterable[str]) -> list[str]:
    """In alphabetical order, or as numbers if all are."""
    are_numbers = all(name.isdecimal() for name in names)
    return sorted(names, key=lambda name: (int(name) if are_numbers else 0, name))


def _check_names(what: str, names: Sequence[str], reserved: Sequence[str] = RESERVED_NAMES) -> None:
    """Raises ValueError if the conditioner or the command line cannot take some of the names."""
    count = Counter(name.lower() for name in names)  # the conditioner ignores case
    wrong = []
    for name in names:
        usable = name.isprintable() and name == name.strip() and not set(name) & set(RESERVED_CHARACTERS)
        if not usable or name.lower() in ("", *reserved) or count[name.lower()] > 1:
            wrong.append(repr(name))
    if wrong:
        raise ValueError(
            f"Unusable {what}: {', '.join(wrong[:20])}. A name must be printable, must not begin or end with a space, "
            f"contain any of {' '.join(RESERVED_CHARACTERS)} or be {', '.join(reserved)}, and must differ from the "
            "others by more than case. Rename the sub-folders or values, or use cast_column(COLUMN, "
            "ClassLabel(names=[...]))."
        )


def _check_kind(dataset: Dataset, flag: str, column: str, kind: type) -> None:
    feature = dataset.features.get(column)
    if not isinstance(feature, kind):
        found = "there is no such column" if feature is None else f"the column is a {feature}"
        fitting = ", ".join(name for name, other in dataset.features.items() if isinstance(other, kind)) or "none"
        hint = " class_encode_column turns the values of a column into classes." if kind is ClassLabel else ""
        raise ValueError(f"{flag} {column}: {found}. Columns of type {kind.__name__}: {fitting}.{hint}")


def _ids(dataset: Dataset, column: str) -> torch.Tensor:
    """int64 (N,), -1 where the value is missing."""
    values = np.asarray(dataset.with_format("numpy", columns=[column])[column][:], dtype=np.float64)
    return torch.from_numpy(np.where(np.isnan(values), -1, values).astype(np.int64))


def _with_classes(images: torch.Tensor, labels: torch.Tensor, names: Sequence[str]) -> SpriteTensors:
    none = torch.where(labels >= 0, len(names), -1)
    return SpriteTensors(images, {"type": torch.stack([labels, none], dim=1)}, tuple(names))


def _column_images(dataset: Dataset, column: str, resolution: int, mode: str, full_frame: bool = True) -> torch.Tensor:
    """uint8 (N, C, S, S) of a column of images; raises ValueError if some cannot be decoded."""
    preprocessing.check_resolution(resolution)
    _check_kind(dataset, "--image_column", column, datasets.Image)
    # datasets itself would decode any format and any size.
    values = dataset.select_columns(column).cast_column(column, datasets.Image(decode=False))[column]
    images = np.empty((len(values), preprocessing.channels_of(mode), resolution, resolution), dtype=np.uint8)
    problems = Problems()
    for row, value in enumerate(datasets.utils.tqdm(values, desc="Reading images")):
        with problems.caught(f"row {row}"):
            if not value or not (value["bytes"] or value["path"]):
                raise ValueError("no image")
            image = on_white(open_image(value["bytes"] or Path(value["path"])))
            images[row] = preprocess(image, resolution, mode, full_frame).transpose(2, 0, 1)
    if problems.found:
        raise ValueError(problems.report(f"{len(problems.found)} unusable images in the column {column}:"))
    return torch.from_numpy(images)


def is_class_folder(path: str | Path) -> bool:
    """Whether a path is a folder of labelled images as 🤗 datasets' imagefolder reads them, not the sprite archive.

    The class of an image is the name of its folder, or is in the column "label" of a metadata.csv or metadata.jsonl.
    Folders train, validation and test around all that are the splits. Without these, a tenth of each class is
    "validation", chosen by the names of the files.
    """
    root = expand(path)
    if not root.is_dir() or any(any(root.glob(name)) for name in ARCHIVE):
        return False
    return any(len(file.parts) > 1 if _is_image(file) else file.name in METADATA_FILES for file in _files(root))


def _files(root: Path, folder: Path = Path(), depth: int = MAX_DEPTH) -> Iterator[Path]:
    """Files that are not hidden, relative to the root, in sub-folders up to a depth, without loops of links."""
    here = (root / folder).resolve()
    for entry in sorted((root / folder).iterdir()):
        if entry.name.startswith((".", "__")):
            continue
        if not entry.is_dir():
            yield folder / entry.name
        elif depth and not here.is_relative_to(entry.resolve()):
            yield from _files(root, folder / entry.name, depth - 1)


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in IMAGE_SUFFIXES


def _metadata(root: Path, files: Iterable[Path]) -> tuple[dict[Path, dict[str, str]], dict[Path, list[str]]]:
    """Image -> its row in a metadata file, and the columns of metadata files without labels."""
    found, unlabelled = {}, {}
    for file in (each for each in files if each.name in METADATA_FILES):
        try:
            content = read_file(root / file, root)
            columns, rows = read_csv(content) if file.suffix == ".csv" else _read_json_lines(content)
        except (ValueError, RecursionError) as error:
            reason = "it is not in UTF-8" if isinstance(error, UnicodeDecodeError) else error
            raise ValueError(f"{root / file} cannot be read: {reason}") from error
        for row in rows:
            texts = {name: "" if value is None else str(value) for name, value in row.items()}
            if texts.get("file_name"):
                found[file.parent / texts["file_name"]] = texts
        if not set(METADATA_COLUMNS) <= set(columns):
            unlabelled[file] = columns
    return found, unlabelled


def _read_json_lines(content: bytes) -> tuple[list[str], list[dict[str, Any]]]:
    """As `read_csv`, of a file with an object in JSON a line."""
    rows = [json.loads(line) for line in content.decode("utf-8-sig").split("\n") if line.strip()]
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("each line must be an object")
    return list(dict.fromkeys(name for row in rows for name in row)), rows


class _LabelledFile(NamedTuple):
    label: str
    file: Path
    split: str
    creature: str  # where none is named, the path of the file


def _list_images(
    root: Path,
    found: Iterable[Path],
    problems: Problems,
    rows: Mapping[Path, Mapping[str, str]],
    unlabelled: Mapping[Path, Sequence[str]],
) -> list[_LabelledFile]:
    """The files that must be images, sorted by class and name; for the last two arguments see `_metadata`."""
    # Not with datasets' imagefolder, which takes splits from names like "test-1.png" and fails on a metadata.csv.
    files = [file for file in found if _is_image(file)]
    metadata = {file: row["label"] for file, row in rows.items() if row.get("label")}
    labels = metadata or {file: file.parts[-2] for file in files if len(file.parts) > 1}
    flat = not metadata and all(label.lower() in SPLIT_FOLDERS for label in labels.values())
    for file, columns in unlabelled.items():
        if flat or METADATA_COLUMNS[0] not in columns:
            needed = (
                f"columns named {' and '.join(METADATA_COLUMNS)}" if flat else f"a column named {METADATA_COLUMNS[0]}"
            )
            present = ", ".join(columns[:MAX_LISTED]) or "none"
            raise ValueError(f"{root / file} needs {needed}, but its columns are {present}.")
    levels = 1 if metadata else 2  # of names in the path, below the splits
    splits = {file: SPLIT_FOLDERS.get(file.parts[0].lower()) for file in files if len(file.parts) > levels}
    has_splits = any(splits.values())
    images, inside = [], root.resolve()
    for file in files:
        split = splits.get(file) if has_splits else "train"
        if file not in labels or not split:
            expected = "SPLIT/" * has_splits + ("FILE, with a label in its metadata" if metadata else "CLASS/FILE")
            problems.add(file.as_posix(), f"expected {expected}")
        elif not (root / file).resolve().is_relative_to(inside):
            problems.add(file.as_posix(), "is a link out of the folder")
        else:
            creature = rows.get(file, {}).get(CREATURE) or file.as_posix()
            images.append(_LabelledFile(labels[file], file, split, creature))
    for file in sorted(rows.keys() - set(files)):
        problems.add(file.as_posix(), "there is no such image, but it is in the metadata")
    images.sort()
    return images if has_splits else _hold_out(images)


def _hold_out(images: Sequence[_LabelledFile]) -> list[_LabelledFile]:
    """The same files, sorted by class, with a tenth of each class, in whole creatures, as the split "validation"."""
    held_out = set()
    for _, group in itertools.groupby(images, key=lambda each: each.label):
        # By a digest of the name: a new file does not move the others between the splits.
        ranked = sorted((each.creature for each in group), key=lambda name: hashlib.sha256(os.fsencode(name)).digest())
        held_out.update(ranked[: max(1, round(HELD_OUT * len(ranked)))] if len(set(ranked)) > 1 else ())
    return [each._replace(split="validation") if each.creature in held_out else each for each in images]
