"""A folder with one sub-folder of pictures for each class: people's own art, laid out as datasets' `imagefolder`."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from pokemon_ddpm.dataset_scripts.sprite_archive import POKEDEX
from pokemon_ddpm.dataset_scripts.sprite_records import Problems

# By these a folder is known; what is in it is decoded whatever it is called.
SUFFIXES = {".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff"}
# Folders above the classes, as datasets calls them.
SPLIT_FOLDERS = {
    "train": "train", "training": "train",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
    "test": "test", "testing": "test", "eval": "test", "evaluation": "test",
}  # fmt: skip
HELD_OUT = 0.1  # of each class, where there are no such folders

Pictures = list[tuple[str, Path]]  # classes and files


def has_class_folders(path: str | Path) -> bool:
    """Whether a path is a folder with pictures in sub-folders, and not the sprite archive."""
    root = Path(path).expanduser()
    if not root.is_dir() or any(any(root.glob(pattern)) for pattern in (POKEDEX, f"*/{POKEDEX}")):
        return False
    folders = [folder for folder in _visible(root) if folder.is_dir()]
    return any(map(_holds_pictures, folders)) or bool(_split_folders(root))


def list_pictures(path: str | Path, problems: Problems) -> dict[str, Pictures]:
    """The pictures of a folder, by split.

    Folders called train, validation (valid, val, dev) or test (testing, eval, evaluation), with the classes' folders
    in them, are splits. Without such folders, `HELD_OUT` of each class is held out as "validation": at least one
    picture of each class that has two; which ones depends on the files' names alone.

    Args:
        path: A folder for which `has_class_folders` holds.
        problems: Takes what cannot be a picture of a class. Links that leave the folder are among it and not followed;
            hidden files are passed over.

    Returns:
        Split -> class names with files, sorted; of a split that is not there, nothing.

    Raises:
        ValueError: If there are folders beside those of splits.
        OSError: If a folder cannot be read.
    """
    root = Path(path).expanduser()
    splits = _split_folders(root)
    if not splits:
        return _hold_out(sorted(_of_classes(root, root, problems)), root)
    others = [entry.name for entry in _visible(root) if entry.is_dir() and entry not in splits]
    if others:
        raise ValueError(
            f"{root} holds {splits[0].name}/, which is a split, and beside it {', '.join(others[:10])}: give either "
            "one sub-folder a class, or these in train/ and validation/ only."
        )
    pictures: dict[str, Pictures] = {}
    for folder in splits:
        split = SPLIT_FOLDERS[folder.name.lower()]
        pictures[split] = sorted([*pictures.get(split, []), *_of_classes(folder, root, problems)])
    return pictures


def _visible(folder: Path) -> list[Path]:
    entries = (entry for entry in folder.iterdir() if not entry.name.startswith((".", "__")))
    return sorted(entry for entry in entries if entry.name not in ("Thumbs.db", "desktop.ini"))


def _holds_pictures(folder: Path) -> bool:
    return any(entry.suffix.lower() in SUFFIXES and entry.is_file() for entry in folder.iterdir())


def _split_folders(root: Path) -> list[Path]:
    """The sub-folders that have a split's name and classes in them; without, "test" is a class like any other."""
    named = [entry for entry in _visible(root) if entry.name.lower() in SPLIT_FOLDERS and entry.is_dir()]
    return [entry for entry in named if any(_holds_pictures(each) for each in _visible(entry) if each.is_dir())]


def _of_classes(folder: Path, root: Path, problems: Problems) -> Iterator[tuple[str, Path]]:
    """Class and file of everything in a folder's sub-folders that may be a picture."""
    for entry in _visible(folder):
        place = entry.relative_to(root).as_posix()
        if not entry.is_dir():
            if entry.suffix.lower() in SUFFIXES:
                problems.add(place, "lies in no class's folder")
        elif _leaves(entry, root):
            problems.add(place, "links out of the folder")
        else:
            for file in _visible(entry):
                complaint = _complaint(file, root)
                if complaint:
                    problems.add(file.relative_to(root).as_posix(), complaint)
                else:
                    yield entry.name, file


def _complaint(file: Path, root: Path) -> str:
    if _leaves(file, root):
        return "links out of the folder"
    if file.is_dir():
        return "is a folder, and pictures lie directly in that of their class"
    return "" if file.is_file() else "is no file"  # but a broken link, or a pipe, that would never end


def _leaves(path: Path, root: Path) -> bool:
    return not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))


def _hold_out(pictures: Pictures, root: Path) -> dict[str, Pictures]:
    of_class: dict[str, list[Path]] = {}
    for name, file in pictures:
        of_class.setdefault(name, []).append(file)
    held_out: set[Path] = set()
    for files in of_class.values():
        count = max(1, round(HELD_OUT * len(files))) if len(files) > 1 else 0
        # By a digest of the name: a new picture does not move the others from one split to the other at random.
        held_out.update(sorted(files, key=lambda file: _order(file, root))[:count])
    return {
        "train": [picture for picture in pictures if picture[1] not in held_out],
        "validation": [picture for picture in pictures if picture[1] in held_out],
    }


def _order(file: Path, root: Path) -> bytes:
    return hashlib.sha256(os.fsencode(file.relative_to(root).as_posix())).digest()
