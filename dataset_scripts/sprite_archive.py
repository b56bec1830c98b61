"""Reads the Kaggle archive, a folder or the .zip, into labelled records, and reports all that cannot be used."""

import contextlib
import csv
import functools
import hashlib
import io
import itertools
import math
import os
import re
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from reprlib import repr as short_repr
from typing import Any

from pokemon_ddpm.pipelines.file_checks import check_file, check_size, printable, read_file
from pokemon_ddpm.vocabulary import ANY, COLORS, FACE_TAGS, FINISHES, FORMS, GAMES, NONE, SHAPES, TYPES, VIEWS, nearest

POKEDEX = "pokedex.csv"
MAX_LISTED = 20  # problems in a message

# Folders whose images were exchanged: each has the labels of the other. The folder named Necrozma Dawn shows Dusk Mane
# and the reverse (the second types differ); Mimikyu Busted shows the disguised form.
EXCHANGED_FOLDERS = {986: 987, 987: 986, 959: 960, 960: 959}

# Images that do not show what their folder says.
FAULTY_IMAGES = re.compile(
    r"sprites/0081-.*/50-gen3_e-frame2\.png"  # Diglett: a hole without Diglett (front, both finishes)
    r"|sprites/0867-.*/718_[45]-.*"  # Zygarde: a Core and a Cell, which are parts of one
)

_FOLDER = re.compile(r"(\d{4})-.+-(\d+)")
_FILE = re.compile(
    rf"({'|'.join(VIEWS)})/({'|'.join(FINISHES)})/(\d+).*?-((?i:{'|'.join(GAMES)}))(?i:-frame([12]))?(?i:\.png)"
)
_OUTSIDE = re.compile(r"[/\\]|.:|(.*[/\\])?\.\.([/\\]|$)")  # the beginning of a path that leaves the archive
_FORM_COLUMNS = {"mega_evolution": "mega", "gigantamax": "gmax", "alolan_form": "alola", "galarian_form": "galar"}
_FLAGS = ("true", "false")


class SpriteDataError(ValueError):
    """The data cannot be used; the message names the files and what to do."""


class Problems:
    """Collects what is wrong, to report all of it at once."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, place: str, complaint: object) -> None:
        self.lines.append(printable(f"{place}: {complaint}"))

    @contextlib.contextmanager
    def caught(self, place: str) -> Iterator[None]:
        """Adds a ValueError that is raised inside, in place of passing it on."""
        try:
            yield
        except ValueError as error:
            self.add(place, error)

    def check(self, source: object) -> None:
        """Raises SpriteDataError, which names the first 20, one a line, if there are problems."""
        if self.lines:
            headline, more = f"{source}: {len(self.lines)} unusable. Repair or remove them:", self.lines[MAX_LISTED:]
            shown = [headline, *self.lines[:MAX_LISTED], *[f"... and {len(more)} more"] * bool(more)]
            raise SpriteDataError("\n  ".join(shown))


def expand(path: str | Path) -> Path:
    """The path with `~` and `~user` replaced by the home folder, if there is such a user."""
    return Path(os.path.expanduser(path))  # `Path.expanduser` raises RuntimeError for an unknown user.


def read_csv(content: bytes) -> tuple[list[str], list[dict[str, str]]]:
    """The columns and rows of a table in UTF-8; ValueError if it is damaged."""
    reader = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
    try:
        rows, columns = list(reader), list(reader.fieldnames or ())
    except csv.Error as error:
        raise ValueError(f"after line {reader.line_num}: {error}") from error
    repeated = sorted(name for name, count in Counter(columns).items() if name and count > 1)[:MAX_LISTED]
    if repeated:
        raise ValueError(f"there are several columns named {', '.join(repeated)}")
    for number, row in enumerate(rows, start=1):
        if None in row or None in row.values():  # more values, or fewer
            raise ValueError(f"row {number} has not a value for each of the {len(columns)} columns")
    return columns, rows


class SpriteArchive:
    """The files that matter: `pokedex.csv` and, sorted in `images`, `sprites/FOLDER/VIEW/FINISH/*.png`.

    Names are POSIX paths relative to the folder of `pokedex.csv`. A .zip is never unpacked to disk.
    """

    def __init__(self, path: str | Path):
        self.path = expand(path)
        if not self.path.exists():
            hint = "Give the sprites, or a folder with a folder of images for each class."
            raise SpriteDataError(f"{self.path} does not exist. {hint}")
        self._zip = None if self.path.is_dir() else _open_zip(self.path)
        files = self._files()
        self._top = self._find_top(files)
        names = [file.removeprefix(self._top) for file in files if file.startswith(f"{self._top}sprites/")]
        images = (name for name in names if name.count("/") == 4 and "/." not in name)
        self.images = [name for name in images if name.lower().endswith(".png")]

    def _files(self) -> list[str]:
        """Sorted names of the files, relative to the top of the archive."""
        if self._zip:
            return sorted({info.filename for info in self._zip.infolist() if not info.is_dir()})
        # Fixed depths and no recursive walk, which a link to a parent folder would make endless.
        patterns = [f"{top}{pattern}" for top in ("", "*/") for pattern in (POKEDEX, "sprites/*/*/*/*")]
        files = {path for pattern in patterns for path in self.path.glob(pattern) if not path.is_dir()}
        return sorted(path.relative_to(self.path).as_posix() for path in files)

    def _find_top(self, files: list[str]) -> str:
        """The folder of `pokedex.csv` with a slash at its end, or nothing."""
        holders = [name.removesuffix(POKEDEX) for name in files if PurePosixPath(name).name == POKEDEX]
        if not holders:
            hint = "Give the folder with it and sprites/, the .zip from Kaggle, or a folder of images for each class."
            raise SpriteDataError(f"{self.path} contains no {POKEDEX}. {hint}")
        with_sprites = [top for top in holders if any(name.startswith(f"{top}sprites/") for name in files)]
        return min(with_sprites or holders, key=len)

    def read(self, name: str) -> bytes:
        """The content of one file; raises SpriteDataError if it cannot be read, leads elsewhere or is too large."""
        name = self._top + name
        try:
            if self._zip is None:
                return read_file(self.path / name, self.path)
            check_size(self._zip.getinfo(name).file_size)
            return self._zip.read(name)
        except Exception as error:  # zipfile raises many kinds for what is damaged, encrypted or unknown to it
            raise SpriteDataError(getattr(error, "strerror", None) or str(error)) from error

    def records(self, problems: Problems) -> list[dict[str, Any]]:
        """Every column of the data set but the image, and "split": from paths, the pokedex and the fact table.

        What is wrong with folders and file names is added to `problems`, and their images are left out.
        """
        pokedex, records = _read_pokedex(self), []
        for folder, paths in itertools.groupby(self.images, key=lambda path: path.split("/")[1]):
            with problems.caught(f"sprites/{folder}"):
                index = _folder_index(folder, pokedex)
                for path in paths:
                    with problems.caught(path):
                        records.append(_record(path, index, pokedex))
        return records

    def digest(self) -> str:
        """SHA-256, in hexadecimal, of the names and contents of all files that the loader reads."""
        total = hashlib.sha256()
        for name in [POKEDEX, *self.images]:
            total.update(f"{name}\0".encode())
            try:
                total.update(hashlib.sha256(self.read(name)).digest())
            except SpriteDataError as error:
                total.update(str(error).encode())
        return total.hexdigest()


def _open_zip(path: Path) -> zipfile.ZipFile:
    try:
        check_file(path, math.inf)
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError) as error:
        hint = "Give a folder, or download the .zip again."
        raise SpriteDataError(f"{path} is neither a folder nor a readable .zip ({error}). {hint}") from error
    outside = [name for name in archive.namelist() if _OUTSIDE.match(name)]
    if outside:
        raise SpriteDataError(f"{path} contains paths that lead out of it, such as {outside[0]!r}. Download it again.")
    return archive


@functools.cache
def _facts() -> dict[int, dict[str, Any]]:
    """Folder index -> split, height in decimeters, weight in hectograms, line, stage before, tags; None if unknown."""
    _, rows = read_csv(Path(__file__).with_name("sprite_facts.csv").read_bytes())
    values = [{name: int(text) if text.isdecimal() else text or None for name, text in row.items()} for row in rows]
    names = {"height_dm": "height", "weight_hg": "weight"}
    return {row.pop("index"): {names.get(name, name): value for name, value in row.items()} for row in values}


def _read_pokedex(archive: SpriteArchive) -> dict[int, dict[str, Any]]:
    """Row id, which is the folder index -> labels of that row."""
    try:
        _, rows = read_csv(archive.read(POKEDEX))
        labels = {int(row["id"]): _row_labels(row) for row in rows}
        if len(labels) < len(rows):
            raise ValueError("several rows have the same id")
    except (KeyError, ValueError) as error:
        reason = printable(f"without the column {error}" if isinstance(error, KeyError) else error)
        raise SpriteDataError(f"{archive.path}: {POKEDEX} is unusable ({reason}). Download it again.") from error
    return labels


def _row_labels(row: dict[str, str]) -> dict[str, Any]:
    def value(column: str, known: tuple[str, ...]) -> str:
        name = row[column].strip().lower()
        if name not in known:
            raise ValueError(f"{row['name']}: unknown {column} {short_repr(row[column])}. {nearest(name, known)}")
        return name

    forms = [form for column, form in _FORM_COLUMNS.items() if value(column, _FLAGS) == "true"]
    return {
        "type1": value("type1", TYPES),
        "type2": value("type2", TYPES) if row["type2"].strip() else NONE,
        "color": value("primary_color", COLORS),
        "shape": value("shape", SHAPES),
        "form": forms[0] if forms else FORMS[0],
        "legendary": value("legendary", _FLAGS) == "true",
        "name": row["name"],
        "dex_number": int(row["pokedex_id"]),
    }


def _folder_index(folder: str, pokedex: dict[int, dict[str, Any]]) -> int:
    """The number in the name of a folder, in front; raises SpriteDataError if the images have no known labels."""
    index, dex_number = map(int, match.groups()) if (match := _FOLDER.fullmatch(folder)) else (None, None)
    known = pokedex.get(index, {}).get("dex_number")
    for is_wrong, complaint in (
        (not match, "the name must be NNNN-Name-dex, as in 0037-Pikachu-25; rename or remove it"),
        (known is None, f"{POKEDEX} has no row with the id {index}; rename or remove this folder"),
        (dex_number != known, f"{POKEDEX} has dex number {known} for {index}; let this folder end in -{known}"),
        (index not in _facts(), f"{index} does not belong to this data set, so its split is unknown; remove it"),
    ):
        if is_wrong:
            raise SpriteDataError(complaint)
    return index


def _record(path: str, index: int, pokedex: dict[int, dict[str, Any]]) -> dict[str, Any]:
    match, dex_number = _FILE.fullmatch(path.split("/", 2)[2]), pokedex[index]["dex_number"]
    if not match or int(match[3]) != dex_number:
        below = f"{'|'.join(VIEWS)}/{'|'.join(FINISHES)}/{dex_number}-GAME[-frame2].png"
        raise SpriteDataError(f"expected {below} below the sprite's folder, with GAME one of {', '.join(GAMES)}")
    view, finish, _, game, frame = match.groups()
    shown = EXCHANGED_FOLDERS.get(index, index)
    labels = pokedex.get(shown, pokedex[index])
    if labels["form"] in ("alola", "galar") or finish == "shiny":
        labels = {**labels, "color": ANY}  # the pokedex has the color of the species, and these images have another
    own = {"view": view, "finish": finish, "game": game.lower(), "frame": int(frame or 1)}
    hidden = FACE_TAGS if view == "back" else ()
    own["tags"] = [tag for tag in _facts()[index]["tags"].split() if tag not in hidden]  # readers saw this folder
    return {**labels, **_facts()[shown], **own, "index": index, "path": path}
