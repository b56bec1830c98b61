"""Pictures of any kind with a class label each, as the tensors that training indexes; the classes stand for types."""

import hashlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import datasets
import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from pokemon_ddpm.class_folders import list_pictures
from pokemon_ddpm.data import SpriteTensors
from pokemon_ddpm.dataset_scripts.sprite_records import Problems
from pokemon_ddpm.preprocessing import check_resolution, preprocess
from pokemon_ddpm.vocabulary import ANY, NONE

logger = logging.getLogger(__name__)

RESERVED_NAMES = (NONE, ANY, "all")  # words of the conditioner and of the command line
RESERVED_CHARACTERS = "/=,"  # "fire/flying" and "fire=0.7,water=0.3"


def labelled_tensors(
    dataset: datasets.Dataset,
    resolution: int,
    mode: str = "fit",
    image_column: str = "image",
    label_column: str = "label",
) -> SpriteTensors:
    """Preprocesses a split of any labelled data set into tensors.

    Args:
        dataset: A split with a column of pictures, of whatever size and mode, and one that is a `ClassLabel`.
        resolution: Side S in pixels, a multiple of 8.
        mode: See `pokemon_ddpm.preprocessing.preprocess`; what fills its frame is kept whole by "fit", see `square`.
        image_column: Name of the pictures' column.
        label_column: Name of the labels' column.

    Returns:
        Tensors with one label, "type", int64 (N, 2): the class and `none`; of pictures without a label (-1 or None),
        whose class is not said, -1 twice. The classes' names are in `type_names`.

    Raises:
        ValueError: If a column is missing or of another kind, a class's name cannot be asked for, no picture has a
            label, a picture cannot be read, or resolution or mode cannot be used.
    """
    check_resolution(resolution)
    _check_columns(dataset, image_column, label_column)
    names = dataset.features[label_column].names
    check_class_names(names)
    labels = [-1 if label is None else label for label in dataset[label_column][:]]
    if max(labels, default=-1) < 0:
        raise ValueError(f"No picture has a label in the column {label_column}.")
    if max(labels) >= len(names):
        raise ValueError(f"The column {label_column} holds {max(labels)}, but has {len(names)} classes, from 0.")
    problems = Problems()
    places = [f"row {row}" for row in range(len(dataset))]
    images = np.empty((len(dataset), 3, resolution, resolution), dtype=np.uint8)
    for row, image in _decoded(dataset, image_column, places, problems):
        images[row] = square(image, resolution, mode).transpose(2, 0, 1)
    if problems.found:
        raise ValueError(problems.report(f"{len(problems.found)} unusable pictures in the column {image_column}:"))
    return _as_tensors(images, labels, names)


def class_folder_tensors(
    folder: str | Path,
    split: str,
    resolution: int,
    mode: str = "fit",
    skip_bad_images: bool = False,
    deduplicate: bool = False,
) -> SpriteTensors:
    """Preprocesses a split of a folder that has one sub-folder of pictures for each class.

    Nothing is cached, so that changes are always seen.

    Args:
        folder: See `pokemon_ddpm.class_folders.list_pictures`.
        split: "train", "validation" or "test".
        resolution: As in `labelled_tensors`.
        mode: As there.
        skip_bad_images: Go on without what is no picture, and log it, instead of refusing it.
        deduplicate: Leave out pictures whose pixels equal those of an earlier one of the split.

    Returns:
        As `labelled_tensors`; the classes are all splits' sub-folders, in the order of their names.

    Raises:
        ValueError: If a class's name cannot be asked for, a file is no picture, no picture of the split is left, or
            resolution or mode cannot be used.
        OSError: If a folder cannot be read.
    """
    check_resolution(resolution)
    problems = Problems()
    splits = list_pictures(folder, problems)
    names = sorted({name for pictures in splits.values() for name, _ in pictures})
    check_class_names(names)
    files = splits.get(split, [])
    rows = datasets.Dataset.from_dict(
        {"image": [str(file) for _, file in files]}, features=datasets.Features({"image": datasets.Image()})
    )
    root = Path(folder).expanduser()
    places = [file.relative_to(root).as_posix() for _, file in files]
    images = np.empty((len(files), 3, resolution, resolution), dtype=np.uint8)
    labels: list[int] = []
    seen: set[bytes] = set()
    for row, image in _decoded(rows, "image", places, problems):
        pixels = hashlib.sha256(f"{image.size}".encode() + image.tobytes()).digest()
        if not (deduplicate and pixels in seen):
            seen.add(pixels)
            images[len(labels)] = square(image, resolution, mode).transpose(2, 0, 1)
            labels.append(names.index(files[row][0]))
    _settle(root, problems, skip_bad_images)
    if not labels:
        hint = " Without held-out pictures, train with --validation_steps 0." if split == "validation" else ""
        raise ValueError(f"{root} holds no picture for {split}.{hint}")
    return _as_tensors(images[: len(labels)], labels, names)


def check_class_names(names: Sequence[str]) -> None:
    """Raises ValueError if one of the names could not be asked for, with all of those."""
    lowered = [name.lower() for name in names]  # the conditioner ignores case
    wrong = []
    for name, word in zip(names, lowered, strict=True):
        if not word.strip() or word != word.strip() or not word.isprintable():
            wrong.append(f"{name!r} is empty, or has space at an end or a character that does not print")
        elif word in RESERVED_NAMES:
            wrong.append(f"{name!r} has a meaning of its own")
        elif any(character in word for character in RESERVED_CHARACTERS):
            wrong.append(f"{name!r} has one of {' '.join(RESERVED_CHARACTERS)} in it")
        elif lowered.count(word) > 1:
            wrong.append(f"{name!r} is there twice (upper and lower case are the same)")
    if wrong:
        more = f"; and {len(wrong) - 10} more" if len(wrong) > 10 else ""
        raise ValueError(
            f"Classes that could not be asked for: {'; '.join(wrong[:10])}{more}. Rename them: in a data set by "
            "cast_column(COLUMN, ClassLabel(names=[...])), in a folder the sub-folders."
        )


def _check_columns(dataset: datasets.Dataset, image_column: str, label_column: str) -> None:
    for flag, column, kind in (
        ("--image_column", image_column, datasets.Image),
        ("--label_column", label_column, datasets.ClassLabel),
    ):
        feature = dataset.features.get(column)
        if isinstance(feature, kind):
            continue
        fitting = [name for name, other in dataset.features.items() if isinstance(other, kind)]
        said = f"{flag} {column}: " + (
            f"there is no such column, but {', '.join(dataset.column_names)}."
            if feature is None
            else f"the column must be of the kind {kind.__name__}, but is {feature}."
        )
        hint = f" Of the kind {kind.__name__}: {', '.join(fitting) or 'none'}."
        if kind is datasets.ClassLabel and feature is not None:
            hint += f" To make classes of its values, save the data set after class_encode_column({column!r})."
        raise ValueError(said + hint)


def _decoded(
    dataset: datasets.Dataset, column: str, places: Sequence[str], problems: Problems
) -> Iterator[tuple[int, Image.Image]]:
    """The row and the picture in opaque RGB of all that can be read; the others are added to `problems`."""
    # Whatever mode the data set asks for: a conversion to RGB would drop the transparency.
    rows = dataset.select_columns([column]).cast_column(column, datasets.Image())
    for row in datasets.utils.tqdm(range(len(rows)), desc="Reading pictures"):
        try:
            image = rows[row][column]
            image = None if image is None else _opaque(image)
        except Exception as error:  # Pillow raises some ten kinds of exception on damaged files
            reason = "no known format" if isinstance(error, UnidentifiedImageError) else error or type(error).__name__
            problems.add(places[row], f"does not decode ({reason})")
            continue
        if image is None:
            problems.add(places[row], "no picture")
        else:
            yield row, image


def _opaque(image: Image.Image) -> Image.Image:
    """The picture in RGB, on white where it is transparent."""
    if image.mode in ("I", "F"):
        raise ValueError(f"pixels of mode {image.mode}, of no known range")
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def square(image: Image.Image, resolution: int, mode: str = "fit") -> np.ndarray:
    """Brings a picture in RGB to the training resolution as `preprocess` does, but for one that fills its frame.

    A picture with something else than white at all four edges, such as a photograph, gets no margin from "fit": it is
    kept whole and in its proportions, never enlarged, and centred on white.

    Returns:
        uint8 array (S, S, 3).

    Raises:
        ValueError: See `preprocess`.
    """
    inked = (np.asarray(image) < 255).any(axis=2)
    if mode != "fit" or not all(edge.any() for edge in (inked[0], inked[-1], inked[:, 0], inked[:, -1])):
        return preprocess(image, resolution, mode)
    scale = resolution / max(image.size)
    if scale < 1:
        width, height = (max(1, round(side * scale)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.HAMMING)
    canvas = Image.new("RGB", (resolution, resolution), "white")
    canvas.paste(image, ((resolution - image.width) // 2, (resolution - image.height) // 2))
    return np.asarray(canvas)


def _as_tensors(images: np.ndarray, labels: Sequence[int], names: Sequence[str]) -> SpriteTensors:
    classes = torch.tensor(labels, dtype=torch.int64)
    types = torch.stack([classes, torch.where(classes >= 0, len(names), -1)], dim=1)
    return SpriteTensors(torch.from_numpy(images), {"type": types}, tuple(names))


def _settle(root: Path, problems: Problems, skip: bool) -> None:
    found = f"{root}: {len(problems.found)} unusable"
    if problems.found and not skip:
        raise ValueError(
            problems.report(f"{found}. Repair or remove them, or pass --skip_bad_images to go on without:")
        )
    if problems.found:
        logger.warning(problems.report(f"{found}, skipped:"))
