"""A folder of PNGs as a set of samples, whoever made them."""

import logging
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from pokemon_ddpm.class_folders import SUFFIXES
from pokemon_ddpm.dataset_scripts.sprite_records import Problems
from pokemon_ddpm.postprocessing import on_white
from pokemon_ddpm.preprocessing import MODES, check_resolution, preprocess
from pokemon_ddpm.provenance import KEYWORD, Provenance, read_png

logger = logging.getLogger(__name__)

MINIMUM = 50
"""Fewer samples say next to nothing."""


@dataclass(frozen=True)
class SampleSet:
    """Samples, in the order of their files' names.

    Attributes:
        images: uint8 (N, 3, S, S), RGB in [0, 255], on white.
        names: The files' names.
        provenances: How each was made, where its file says so.
        enlarged_by: The whole factor by which the files were enlarged, which was undone.
    """

    images: torch.Tensor
    names: tuple[str, ...]
    provenances: tuple[Provenance | None, ...]
    enlarged_by: int = 1

    def __len__(self) -> int:
        return len(self.images)

    @property
    def conditions(self) -> tuple[dict[str, Any] | None, ...]:
        """What each was asked for, where its file says so."""
        return tuple(each and each.condition for each in self.provenances)

    @property
    def seeds(self) -> tuple[int | None, ...]:
        """The seed of each, where its file says so."""
        return tuple(each and each.seed for each in self.provenances)


def read_samples(
    folder: str | Path, resolution: int | None = None, minimum: int = MINIMUM, preprocessing: str | None = None
) -> SampleSet:
    """Reads a folder of PNGs.

    Transparent pictures are laid on white. Pictures are taken as they are: they must be square and of one size, the
    one that is asked for. Two things are done about another size: if every picture is an enlargement by a whole
    factor, each pixel a square, that is undone, since it loses nothing; and if a way of preprocessing is named, every
    picture is brought to the resolution by it.

    Args:
        folder: Pictures lie directly in it. Hidden files and those that have no picture's suffix are passed over.
        resolution: S, that of the data and the model; None for the pictures' own.
        minimum: The least number of samples.
        preprocessing: One of `pokemon_ddpm.preprocessing.MODES`, which crops to what is not purely white and so suits
            pictures whose white is pure; None for none.

    Raises:
        ValueError: If the folder is empty or holds too few pictures, a file is no picture or no PNG, there are
            sub-folders, or the sizes are several or another than asked for. With the numbers.
        OSError: If the folder or a file cannot be read.
    """
    if preprocessing is not None:
        if preprocessing not in MODES or resolution is None:
            raise ValueError(f"To preprocess samples takes a resolution and one of {', '.join(MODES)}.")
        check_resolution(resolution)
    files = _list_files(Path(folder).expanduser(), minimum)
    problems, pictures = Problems(), []
    for file in files:
        try:
            pictures.append(_read_picture(file))
        except ValueError as error:
            problems.add(file.name, str(error))
    if problems.found:
        raise ValueError(problems.report(f"{folder}: {len(problems.found)} of {len(files)} files are no pictures:"))
    factor = 1
    if preprocessing is not None:
        arrays = [preprocess(picture, resolution, preprocessing) for picture in pictures]
    else:
        side = _common_side(folder, pictures)
        arrays = [np.asarray(picture) for picture in pictures]
        if resolution is not None and side != resolution:
            factor = _enlargement(folder, arrays, resolution)
            arrays = [array[::factor, ::factor] for array in arrays]
    images = torch.from_numpy(np.stack(arrays).transpose(0, 3, 1, 2).copy())
    return SampleSet(images, tuple(file.name for file in files), _provenances(files), factor)


def _list_files(folder: Path, minimum: int) -> list[Path]:
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder.")
    entries = [entry for entry in sorted(folder.iterdir(), key=lambda path: path.name) if entry.name[0] != "."]
    folders = [entry.name for entry in entries if entry.is_dir()]
    if folders:
        raise ValueError(
            f"{folder} holds {len(folders)} sub-folders ({', '.join(folders[:5])}{', ...' * (len(folders) > 5)}), and "
            "samples lie directly in the folder: give one of those, or move the pictures."
        )
    others = [entry.name for entry in entries if entry.suffix.lower() in SUFFIXES - {".png"}]
    if others:
        raise ValueError(
            f"{folder} holds {len(others)} pictures that are no PNGs, {others[0]} first. Samples must be PNGs, since "
            "other formats change pixels: write them anew, or take these away."
        )
    files = [entry for entry in entries if entry.suffix.lower() == ".png"]
    if not files:
        raise ValueError(
            f"{folder} holds no PNG, only {len(entries)} other files." if entries else f"{folder} is empty."
        )
    if len(files) < minimum:
        raise ValueError(f"{folder} holds {len(files)} pictures, and at least {minimum} are needed.")
    return files


def _read_picture(file: Path) -> Image.Image:
    """A PNG on white, in RGB; ValueError if it is none."""
    if not file.is_file():
        raise ValueError("is no file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)  # no sprite is so large
            with Image.open(file, formats=["PNG"]) as image:
                if image.mode.startswith(("I", "F")):
                    raise ValueError("has more than 8 bits a channel")
                return on_white(image)
    except UnidentifiedImageError as error:
        raise ValueError("is not a PNG") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning, OSError, SyntaxError) as error:
        raise ValueError(f"cannot be read ({error})") from error


def _common_side(folder: str | Path, pictures: list[Image.Image]) -> int:
    sizes = Counter(picture.size for picture in pictures)
    listed = ", ".join(f"{count} of {width}x{height}" for (width, height), count in sizes.most_common(5))
    if len(sizes) > 1:
        more = f" and {len(sizes) - 5} more sizes" if len(sizes) > 5 else ""
        raise ValueError(
            f"{folder} holds pictures of {len(sizes)} sizes: {listed}{more}. Samples must have one size, or be "
            "brought to one by preprocessing ('fit')."
        )
    ((width, height),) = sizes
    if width != height:
        raise ValueError(f"{folder} holds {listed}, and samples must be square; preprocessing ('fit') makes them so.")
    return width


def _enlargement(folder: str | Path, arrays: list[np.ndarray], resolution: int) -> int:
    """The factor by which all were enlarged from the resolution; ValueError if they were not."""
    side = len(arrays[0])
    factor, rest = divmod(side, resolution)
    refused = f"{folder} holds {len(arrays)} pictures of {side}x{side}, and {resolution}x{resolution} is asked for."
    if rest:
        raise ValueError(f"{refused} Draw them at that size, or have them preprocessed ('fit').")
    smooth = sum(
        not (array == array[::factor, ::factor].repeat(factor, axis=0).repeat(factor, axis=1)).all()
        for array in arrays
    )
    if smooth:
        raise ValueError(
            f"{refused} {smooth} of them are no enlargement by {factor}, in which each pixel is a square: reduce them "
            "as they were enlarged, or have them preprocessed ('fit')."
        )
    return factor


def _provenances(files: list[Path]) -> tuple[Provenance | None, ...]:
    found, damaged = [], Problems()
    for file in files:
        with Image.open(file, formats=["PNG"]) as image:
            silent = KEYWORD not in image.info
        try:
            found.append(None if silent else read_png(file))
        except ValueError as error:
            found.append(None)
            damaged.add(file.name, str(error))
    if damaged.found:
        logger.warning(damaged.report(f"{len(damaged.found)} of {len(files)} samples do not say how they were made:"))
    return tuple(found)
