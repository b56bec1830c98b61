"""Folders of labelled images: the class, split, creature and attributes of each image, from folders and metadata."""

import hashlib
import itertools
import json
import logging
import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import numpy as np

from pokemon_ddpm.dataset_scripts.sprite_archive import MAX_LISTED, POKEDEX, Problems, expand, read_csv
from pokemon_ddpm.pipelines.file_checks import check_inside, printable, read_file
from pokemon_ddpm.preprocessing import is_blank, open_image, preprocess
from pokemon_ddpm.vocabulary import CONDITIONS, FACE_TAGS

# What an image's file name ends with in a class folder; other files are ignored.
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff"}
SPLIT_FOLDERS = {name: str(split) for split, names in datasets.data_files.SPLIT_KEYWORDS.items() for name in names}
ONE_CLASS = "image"  # not the folder's name, which need not be usable, and may change
HELD_OUT = 0.1  # of each class, without split folders
METADATA_FILES = ("metadata.csv", "metadata.jsonl")
CREATURE = "creature"  # column whose images of one value are in one split
TEXT_COLUMNS = ("tags", "text", "caption")  # the words of these are tags
NO_VALIDATION = " Without held-out images, train with --validation_steps 0."
MAX_VALUES = 100  # of an attribute; a column with more, or with one image for most of them, is text
MAX_WORD = 30  # characters
MAX_DEPTH = 6  # of folders in folders
ARCHIVE = (POKEDEX, f"*/{POKEDEX}", "sprites/*/front")  # what a folder holds that is the sprite archive


class LabelledFile(NamedTuple):
    label: str
    path: Path  # in the folder
    split: str
    creature: str  # where none is named, the path of the file
    row: Mapping[str, str]  # column -> value, of the metadata

    @property
    def words(self) -> list[str]:
        """The tags of the image: the words of its texts, without those of faces for a back."""
        texts = unicodedata.normalize("NFC", " ".join(self.row.get(name, "") for name in TEXT_COLUMNS).lower())
        hidden = FACE_TAGS if self.row.get("view") == "back" else ()
        words = dict.fromkeys(re.findall(r"\w+(?:['-]\w+)*", texts))
        return [word for word in words if word not in hidden and word not in ("any", "all") and len(word) < MAX_WORD]


@dataclass(frozen=True)
class ClassFolder:
    images: list[LabelledFile]  # of all splits, sorted by class and name
    names: list[str]  # of the classes
    own_values: dict[str, tuple[str, ...]]  # attribute -> its values, of the columns of metadata that are attributes
    unused: list[str]  # the other columns, with the reason
    ignored: list[str]  # the files in it that are not images


def is_class_folder(path: str | Path) -> bool:
    """Whether a path is a folder of labelled images as 🤗 datasets' imagefolder reads them, not the sprite archive.

    The class of an image is the name of its folder, or is in the column "label" of a metadata.csv or metadata.jsonl.
    Without both, all images are of one class, `ONE_CLASS`. Folders train, validation and test around class folders or
    metadata are the splits. Without these, a tenth of each class is "validation", chosen by the names of the files.
    """
    root = expand(path)
    if not root.is_dir() or any(any(root.glob(name)) for name in ARCHIVE):
        return False
    return any(_is_image(file) or file.name in METADATA_FILES for file in _files(root))


def list_class_folder(folder: Path, problems: Problems) -> ClassFolder:
    """Lists a folder for which `is_class_folder` holds, and adds what cannot be used to the problems, or raises it."""
    from pokemon_ddpm.pipelines.sprite_conditioner import check_vocabulary  # it imports diffusers

    files = list(_files(folder))
    images = _list_images(folder, files, problems)
    names = _sorted_names({image.label for image in images})
    own_values, unused = _own_values(image.row for image in images)
    if names:
        check_vocabulary({"type": names, **own_values})
    others = [file for file in files if not (len(file.parts) == 1 or _is_image(file) or file.name in METADATA_FILES)]
    return ClassFolder(images, names, own_values, unused, [file.as_posix() for file in others])


def read_class_folder(
    folder: Path, split: str, resolution: int, mode: str
) -> tuple[ClassFolder, list[LabelledFile], list[np.ndarray]]:
    """What is in a folder for which `is_class_folder` holds, and of a split the files with their images.

    Images are as `preprocess` makes them. Raises ValueError if some cannot be used, there are none, or "train" lacks a
    class.
    """
    problems = Problems()
    listed = list_class_folder(folder, problems)
    left_out = {"files that are no images": listed.ignored, "columns that are no attributes": listed.unused}
    for kind, names in left_out.items():
        if names and split == "train":  # so that each line is logged only once
            some = printable(", ".join(names[:MAX_LISTED]))
            logging.getLogger(__name__).warning(f"{folder}: {len(names)} {kind} are ignored: {some}")
    files, images = [], []
    for file in datasets.utils.tqdm([file for file in listed.images if file.split == split], desc="Reading images"):
        with problems.caught(file.path.as_posix()):
            pixels = preprocess(open_image(folder / file.path), resolution, mode, full_frame=True)
            if is_blank(pixels):
                raise ValueError("is empty or white")
            images.append(pixels)
            files.append(file)
    problems.check(folder)
    if not images:
        raise ValueError(f"{folder} contains no images for {split}.{NO_VALIDATION * (split == 'validation')}")
    unseen = {*listed.names} - {file.label for file in files}
    if unseen and split == "train":
        some = ", ".join([name for name in listed.names if name in unseen][:MAX_LISTED])
        raise ValueError(f"{folder}: there is no training image of {some}; add one, or remove the class.")
    return listed, files, images


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


def _metadata(root: Path, files: Iterable[Path]) -> dict[Path, dict[str, str]]:
    """Image -> its row in a metadata file."""
    image_rows = {}
    for file in (file for file in files if file.name in METADATA_FILES):
        try:
            content = read_file(root / file, root)
            columns, rows = read_csv(content) if file.suffix == ".csv" else _read_json_lines(content)
        except (TypeError, ValueError, RecursionError) as error:
            reason = "it is not in UTF-8" if isinstance(error, UnicodeDecodeError) else error
            raise ValueError(f"{root / file} cannot be read: {printable(reason)}") from error
        if "file_name" not in columns:
            present = printable(", ".join(columns[:MAX_LISTED])) or "none"
            raise ValueError(f"{root / file} needs the column file_name, but its columns are {present}.")
        for row in rows:
            texts = {name: "" if value is None else str(value) for name, value in row.items()}
            name = texts.get("file_name")
            if name and image_rows.setdefault(file.parent / name, texts) != texts:
                raise ValueError(f"{root / file} has two different rows for {printable(name)}; keep one.")
    return image_rows


def _read_json_lines(content: bytes) -> tuple[list[str], list[dict[str, Any]]]:
    """As `read_csv`, of a file with an object in JSON a line; as one list, so that an error has the line's number."""
    text = content.decode("utf-8-sig").rstrip().replace("\n", ",\n")
    rows = [dict(row) for row in json.loads(f"[{text}]")]
    return list(dict.fromkeys(name for row in rows for name in row)), rows


def _list_images(root: Path, files: Sequence[Path], problems: Problems) -> list[LabelledFile]:
    """The files that must be images, sorted by class and name."""
    rows = _metadata(root, files)
    # Not with datasets' imagefolder, which takes splits from names like "test-1.png" and fails on a metadata.csv.
    files = [file for file in files if _is_image(file)]
    metadata = {file: row["label"] for file, row in rows.items() if row.get("label")}
    labels = metadata or {file: file.parts[-2] for file in files if len(file.parts) > 1}
    if labels and not metadata and all(file.parent.as_posix().lower() in SPLIT_FOLDERS for file in labels):
        splits = ", ".join(sorted({*labels.values()}))
        hint = "Put the images of each class into a folder, or name it in a column label of their metadata."
        raise ValueError(f"{root}: {splits} are splits and contain no folders of classes. {hint}")
    if not labels:
        labels = dict.fromkeys(files, ONE_CLASS)
    levels = 1 if metadata else 2  # of names in the path, below the splits
    splits = {file: SPLIT_FOLDERS.get(file.parts[0].lower()) for file in files if len(file.parts) > levels}
    has_splits = any(splits.values())
    images = []
    for file in files:
        split = splits.get(file) if has_splits else "train"
        if file not in labels or not split:
            expected = "SPLIT/" * has_splits + ("FILE, with a label in its metadata" if metadata else "CLASS/FILE")
            problems.add(file.as_posix(), f"expected {expected}")
        else:
            row = rows.get(file, {})
            with problems.caught(file.as_posix()):
                check_inside(root / file, root)
                images.append(LabelledFile(labels[file], file, split, row.get(CREATURE) or file.as_posix(), row))
    for file in sorted(rows.keys() - set(files)):
        problems.add(file.as_posix(), "there is no such image, but it is in the metadata")
    images.sort()
    return images if has_splits else _hold_out(images)


def _hold_out(images: Sequence[LabelledFile]) -> list[LabelledFile]:
    """The same files, with a tenth of each class, in whole creatures, as the split "validation".

    None is held out with which less than a third of a class would be left for training.
    """
    classes: dict[str, Counter[str]] = defaultdict(Counter)  # of the images of each creature
    for image in images:
        classes[image.creature][image.label] += 1
    counts, held_out = Counter(image.label for image in images), set()
    left = dict(counts)
    # By a digest of the name: a new file does not move the others between the splits.
    for name in sorted(classes, key=lambda name: hashlib.sha256(os.fsencode(name)).digest()):
        rest = {label: left[label] - n for label, n in classes[name].items()}
        is_wanted = any(counts[label] - left[label] < max(1, round(HELD_OUT * counts[label])) for label in rest)
        if is_wanted and all(3 * n >= counts[label] for label, n in rest.items()):
            held_out.add(name)
            left |= rest
    return [image._replace(split="validation") if image.creature in held_out else image for image in images]


def _own_values(rows: Iterable[Mapping[str, str]]) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """The columns of metadata that are attributes, with their values, and those that are not, with the reason.

    An attribute has from 2 to `MAX_VALUES` values, with two images each on average, and a name that can be an argument
    of the pipeline. If all its values are those of an attribute of the sprites, it has these values in their order.
    """
    from pokemon_ddpm.pipelines.sprite_conditioner import is_attribute_name

    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for name, value in itertools.chain.from_iterable(row.items() for row in rows):
        counts[name].update([value] * (value != ""))
    reserved = {"type", "index", "evolves_from", "line"}  # the data have these labels
    own_values, unused = {}, []
    for name, values in counts.items():
        if name in ("file_name", "label", CREATURE, *TEXT_COLUMNS):
            continue
        if not is_attribute_name(name) or name in reserved:
            unused.append(f"{name} (not a possible name of an attribute)")
        elif len(values) < 2:
            unused.append(f"{name} (one value)")
        elif len(values) > MAX_VALUES or 2 * len(values) > values.total():
            unused.append(f"{name} ({len(values)} values in {values.total()} images)")
        else:
            known = CONDITIONS.get(name, ())
            own_values[name] = known if values.keys() <= set(known) else tuple(_sorted_names(values))
    return own_values, unused


def _sorted_names(names: Iterable[str]) -> list[str]:
    """In alphabetical order, or as numbers if all are."""
    are_numbers = all(name.isdecimal() and len(name) < MAX_WORD for name in names)
    return sorted(names, key=lambda name: (int(name) if are_numbers else 0, name))
