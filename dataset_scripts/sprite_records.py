"""From the files of the Kaggle archive to labelled pictures: what the paths, the pokedex and the fact table say."""

import csv
import functools
import hashlib
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from pokemon_ddpm.dataset_scripts.sprite_archive import POKEDEX, SpriteArchive, SpriteDataError
from pokemon_ddpm.vocabulary import ANY, COLORS, FINISHES, FORMS, GAMES, NONE, SHAPES, TYPES, VIEWS, nearest

# Folders whose pictures were exchanged in all views and finishes: each takes the other's labels. The folder named
# Necrozma Dawn shows Dusk Mane and the reverse (the second types differ); Mimikyu Busted shows the disguised form.
EXCHANGED_FOLDERS = {986: 987, 987: 986, 959: 960, 960: 959}

# Pictures that show something other than their folder says: folder index -> pattern of the file name.
FAULTY_PICTURES = {
    81: re.compile(r"50-gen3_e-frame2\.png"),  # Diglett: a hole and some dirt, no Diglett (front, both finishes)
    867: re.compile(r"718_[45]-.*"),  # Zygarde: a Core and a Cell, which are parts of one
}

MAX_SIDE = 1024
MAX_LISTED = 20

_FOLDER = re.compile(r"(?P<index>\d{4})-.+-(?P<dex>\d+)")
_FILE = re.compile(
    r"(?P<dex>\d+).*?-(?P<game>gen\d(?:_[a-z]+)?(?:-mini)?)(?:-frame(?P<frame>[12]))?\.png", re.IGNORECASE
)
_FORM_COLUMNS = {"mega_evolution": "mega", "gigantamax": "gmax", "alolan_form": "alola", "galarian_form": "galar"}
_COLUMNS = ("id", "name", "pokedex_id", "type1", "type2", "primary_color", "shape", "legendary", *_FORM_COLUMNS)


@dataclass(frozen=True)
class SpriteRecord:
    """One picture.

    Attributes:
        path: Its name in the archive.
        split: "train", "validation" or "test".
        faulty: Whether it shows something other than its labels say.
        labels: A value for each feature of the data set but the picture.
    """

    path: str
    split: str
    faulty: bool
    labels: dict[str, Any]


class Problems:
    """Collects what is wrong, so that all of it can be said at once."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def add(self, place: str, complaint: str) -> None:
        self.found.append(f"{place}: {complaint}")

    def report(self, headline: str) -> str:
        """All that was found, one a line, cut after 20."""
        more = len(self.found) - MAX_LISTED
        return "\n  ".join([headline, *self.found[:MAX_LISTED], *([f"... and {more} more"] if more > 0 else [])])


@functools.cache
def _facts() -> dict[int, dict[str, str]]:
    """Folder index -> evolution line, split, height in decimetres, weight in hectograms (blank: unknown)."""
    text = Path(__file__).with_name("sprite_facts.csv").read_text(encoding="ascii")
    return {int(row["index"]): row for row in csv.DictReader(io.StringIO(text))}


def read_pokedex(archive: SpriteArchive) -> dict[int, dict[str, Any]]:
    """Reads pokedex.csv.

    Returns:
        Row id (which is the folder index) -> that row's labels.

    Raises:
        SpriteDataError: If a column is missing or a value is not known; names every such row.
    """
    try:
        reader = csv.DictReader(io.StringIO(archive.read(POKEDEX).decode("utf-8-sig")))
        missing = [column for column in _COLUMNS if column not in (reader.fieldnames or ())]
        rows = [(reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, csv.Error, SpriteDataError) as error:
        raise SpriteDataError(
            f"{archive.path}: {POKEDEX} cannot be read as CSV in UTF-8 ({error}). Download the archive again."
        ) from error
    if missing:
        raise SpriteDataError(
            f"{archive.path}: {POKEDEX} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}. "
            f"It needs: {', '.join(_COLUMNS)}."
        )
    problems = Problems()
    labels = {}
    for line, row in rows:
        place = f"{POKEDEX} line {line} ({row['name']})"
        if not (row["id"] or "").isdecimal() or not (row["pokedex_id"] or "").isdecimal():
            problems.add(place, f"id {row['id']!r} and pokedex_id {row['pokedex_id']!r} must be numbers")
        elif int(row["id"]) in labels:
            problems.add(place, f"the id {row['id']} stands in an earlier line, too")
        else:
            labels[int(row["id"])] = _row_labels(row, place, problems)
    if problems.found:
        raise SpriteDataError(problems.report(f"{archive.path}: correct these values or download the archive again:"))
    return labels


def _row_labels(row: dict[str, str], place: str, problems: Problems) -> dict[str, Any]:
    def word(column: str, known: tuple[str, ...], blank: str | None = None) -> str:
        value = (row[column] or "").strip().lower()
        if not value and blank is not None:
            return blank
        if value not in known:
            problems.add(place, f"unknown {column} {row[column]!r}. {nearest(value, known)}")
        return value

    def flag(column: str) -> bool:
        return word(column, ("true", "false")) == "true"

    forms = [form for column, form in _FORM_COLUMNS.items() if flag(column)]
    return {
        "type1": word("type1", TYPES),
        "type2": word("type2", TYPES, blank=NONE),
        "color": word("primary_color", COLORS),
        "shape": word("shape", SHAPES),
        "form": forms[0] if forms else FORMS[0],
        "legendary": flag("legendary"),
        "name": row["name"],
        "dex_number": int(row["pokedex_id"]),
    }


def parse_records(archive: SpriteArchive, problems: Problems) -> list[SpriteRecord]:
    """Labels every picture of the archive by its path, the pokedex and the fact table.

    Args:
        archive: The archive.
        problems: Takes what is wrong with folders and file names; such pictures are left out.

    Raises:
        SpriteDataError: If pokedex.csv is unusable.
    """
    pokedex = read_pokedex(archive)
    for path in archive.strays:
        problems.add(path, "expected sprites/FOLDER/VIEW/FINISH/FILE.png; move or remove it")
    records = []
    complained: set[str] = set()
    for path in archive.pictures:
        _, folder, view, finish, file = path.split("/")
        complaint = _folder_complaint(folder, pokedex)
        if complaint:
            if folder not in complained:
                problems.add(f"sprites/{folder}", complaint)
            complained.add(folder)
            continue
        index = int(folder[:4])
        match = _FILE.fullmatch(file)
        if view not in VIEWS or finish not in FINISHES:
            problems.add(path, f"expected {'|'.join(VIEWS)}/{'|'.join(FINISHES)} below the sprite's folder")
        elif not match or match["game"].lower() not in GAMES:
            problems.add(path, f"the file name must end in -GAME[-frame2].png with GAME one of {', '.join(GAMES)}")
        elif int(match["dex"]) != pokedex[index]["dex_number"]:
            problems.add(path, f"belongs to dex number {int(match['dex'])}, not {pokedex[index]['dex_number']}")
        else:
            own = {"view": view, "finish": finish, "game": match["game"].lower(), "frame": int(match["frame"] or 1)}
            records.append(_record(path, index, pokedex, own))
    return records


def _folder_complaint(folder: str, pokedex: dict[int, dict[str, Any]]) -> str | None:
    match = _FOLDER.fullmatch(folder)
    if not match:
        return "the name must read NNNN-Name-dex, as in 0037-Pikachu-25; rename or remove it"
    index = int(match["index"])
    if index not in pokedex:
        return f"no row of {POKEDEX} has the id {index}"
    if index not in _facts():
        return f"{index} is not one of this data set's folders, so its evolution line and split are unknown; remove it"
    if int(match["dex"]) != pokedex[index]["dex_number"]:
        return f"dex number {match['dex']}, but {POKEDEX} says {pokedex[index]['dex_number']} for id {index}"
    return None


def _record(path: str, index: int, pokedex: dict[int, dict[str, Any]], own: dict[str, Any]) -> SpriteRecord:
    shown = EXCHANGED_FOLDERS.get(index, index)
    labels = {**pokedex.get(shown, pokedex[index]), **own}
    facts = _facts()[shown]
    if labels["form"] in ("alola", "galar") or own["finish"] == "shiny":
        labels["color"] = ANY  # the pokedex gives a colour by species, which these pictures do not have
    labels["height"] = int(facts["height_dm"])
    labels["weight"] = int(facts["weight_hg"]) if facts["weight_hg"] else None
    labels["index"] = index
    labels["line"] = int(facts["line"])
    labels["path"] = path
    return SpriteRecord(path, facts["split"], is_faulty(index, path), labels)


def is_faulty(index: int, path: str) -> bool:
    """Whether a picture shows something other than its labels say.

    Args:
        index: Number of the form.
        path: The picture's name in the archive. One without a folder is of the starter set, which numbers its forms
            alike and has no such pictures.
    """
    folder, _, file = path.rpartition("/")
    return bool(folder) and index in FAULTY_PICTURES and bool(FAULTY_PICTURES[index].fullmatch(file))


def check_picture(content: bytes) -> tuple[bytes, str]:
    """Decodes a picture once, so that a bad one is found before anything is written.

    Args:
        content: An encoded picture.

    Returns:
        The encoded picture as opaque RGB (unchanged if it was; transparency is laid on white), and the SHA-256 of
        its decoded pixels, by which exact duplicates are known.

    Raises:
        SpriteDataError: If it does not decode, or a side is over 1,024 px.
    """
    try:
        image = Image.open(io.BytesIO(content))
        if max(image.size) > MAX_SIDE:
            raise SpriteDataError(f"{image.width}x{image.height} px is no sprite (at most {MAX_SIDE} a side)")
        image.load()
    except SpriteDataError:
        raise
    except Exception as error:  # Pillow raises some ten kinds of exception on damaged files
        reason = "no known format" if isinstance(error, UnidentifiedImageError) else error or type(error).__name__
        raise SpriteDataError(f"does not decode ({reason})") from error
    if image.mode != "RGB" or "transparency" in image.info:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        content = buffer.getvalue()
    return content, hashlib.sha256(f"{image.size}".encode() + image.tobytes()).hexdigest()
