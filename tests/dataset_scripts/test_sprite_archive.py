"""Everything that can be wrong with an archive, as a folder and as a .zip."""

import csv
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from pokemon_ddpm import load_sprites
from pokemon_ddpm.dataset_scripts import sprite_archive
from pokemon_ddpm.dataset_scripts.sprite_archive import SpriteDataError, expand
from tests.small_archives import BULBASAUR, PARAS, POKEDEX, png, sprite, write, zip_of

Spoil = Callable[[Path], object]
FOLDER = "sprites/0077-Paras-46"


def refusal(cache: Path, data: Path | str | None, *arguments: object, **options: object) -> str:
    """The message of a load that must fail, and must leave nothing behind."""
    with pytest.raises(SpriteDataError) as error:
        load_sprites(data, *arguments, cache_dir=cache, **options)
    assert not [path for path in cache.rglob("*") if path.suffix in (".arrow", ".incomplete", ".json")]
    return str(error.value)


def edit_pokedex(old: str, new: str) -> Spoil:
    assert old in POKEDEX
    return lambda folder: (folder / "pokedex.csv").write_text(POKEDEX.replace(old, new), encoding="utf-8")


def put(name: str, content: bytes) -> Spoil:
    return lambda folder: write(folder, name, content)


def move(old: str, new: str) -> Spoil:
    def rename(folder: Path) -> None:
        (folder / new).parent.mkdir(parents=True, exist_ok=True)
        (folder / old).rename(folder / new)

    return rename


def test_no_evolution_line_is_in_two_splits() -> None:
    with (Path(sprite_archive.__file__).parent / "sprite_facts.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 900 and {row["split"] for row in rows} == {"train", "validation", "test"}
    assert len({row["line"] for row in rows}) == len({(row["line"], row["split"]) for row in rows})


# How to damage the archive, and what the message must contain.
BAD_ARCHIVES: dict[str, tuple[Spoil, list[str]]] = {
    "no pokedex": (lambda folder: (folder / "pokedex.csv").unlink(), ["contains no pokedex.csv", "Kaggle"]),
    "no images": (lambda folder: shutil.rmtree(folder / "sprites"), ["no images (sprites/FOLDER/VIEW/FINISH"]),
    "a missing column": (edit_pokedex("type1,", "kind,"), ["pokedex.csv is unusable (without the column 'type1')"]),
    "a comma too many": (edit_pokedex("Spearow", "Spear,ow"), ["(row 3 has not a value for each of the 13 columns"]),
    "pokedex not in UTF-8": (put("pokedex.csv", POKEDEX.replace("Paras", "Flabébé").encode("latin-1")), ["utf-8"]),
    "huge pokedex": (put("pokedex.csv", bytes(16 * 2**20 + 1)), ["pokedex.csv", "16 MiB"]),
    "a strange name and a long type": (
        edit_pokedex("33,Spearow,21,Normal", f"33,\x1b,21,{'x' * 9999}"),
        ["pokedex.csv is unusable (\\x1b: unknown type1 'xxxxxxxxxxxx...xxxxxxxxxxxxx'"],
    ),
    "an id that is no number": (edit_pokedex("77,Paras", "x,Paras"), ["pokedex.csv is unusable (", "'x'"]),
    "an id twice": (edit_pokedex("77,Paras", "33,Paras"), ["several rows have the same id"]),
    "a folder without an index": (move(FOLDER, "sprites/77-Paras-46"), ["77-Paras-46: the name must be NNNN-Name"]),
    "a folder without facts": (  # Gallade Mega is in the pokedex, and has no folder
        lambda folder: [edit_pokedex("77,Pa", "590,Pa")(folder), move(FOLDER, "sprites/0590-Paras-46")(folder)],
        ["sprites/0590-Paras-46: 590 does not belong to this data set"],
    ),
    "a folder of another dex number": (
        move(FOLDER, "sprites/0077-X-47"),
        ["0077-X-47: pokedex.csv has dex number 46"],
    ),
    "a folder of no row": (move(FOLDER, "sprites/9999-X-46"), ["pokedex.csv has no row with the id 9999; rename or"]),
    "a file of another dex number": (move(PARAS, PARAS.replace("46-gen3", "47-gen3")), ["47-gen3_e.png: expected fr"]),
    "an unknown view": (move(PARAS, PARAS.replace("/front/", "/side/")), ["expected front|back/normal|shiny/46-GAME"]),
    "a file of an unknown game": (move(PARAS, PARAS.replace("gen3_e", "gen9")), ["46-gen9.png: ", "one of gen3_e"]),
    "garbage": (put(PARAS, b"this is no image"), [f"{PARAS}: cannot be decoded (unknown format)"]),
    "a large image": (put(PARAS, png(Image.new("RGB", (1025, 8)))), [f"{PARAS}: 1025x8 px is not a sprite", "1024"]),
    "a huge file": (put(PARAS, bytes(16 * 2**20 + 1)), [f"{PARAS}: larger than 16 MiB"]),
}
BAD_IN_ZIP = ("no pokedex", "no images", "huge pokedex", "garbage", "a huge file")  # read otherwise


@pytest.mark.parametrize("name", [*BAD_ARCHIVES, *(f"{name}, as .zip" for name in BAD_IN_ZIP)])
def test_bad_archives_are_refused(name: str, small: Path, tmp_path: Path, cache: Path) -> None:
    name, _, zipped = name.partition(", as ")
    spoil, parts = BAD_ARCHIVES[name]
    spoil(small)
    data = zip_of(small, tmp_path / "small.zip") if zipped else small
    message = refusal(cache, data)
    assert not [part for part in (str(data), *parts) if part not in message], message


def test_wrong_paths_are_refused(small: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert f"{tmp_path / 'missing.zip'} does not exist" in refusal(cache, tmp_path / "missing.zip")
    assert f"{small / 'sprites'} contains no pokedex.csv" in refusal(cache, small / "sprites")
    assert "~nouser/x does not exist" in refusal(cache, "~nouser/x")
    monkeypatch.setenv("HOME", "/home/ash")
    assert expand("~/sprites") == Path("/home/ash/sprites") and expand("a/~") == Path("a/~")


def test_links_out_of_the_archive_are_not_followed(small: Path, tmp_path: Path, cache: Path) -> None:
    (small / "sprites").rename(small / "own")
    (small / "sprites").symlink_to("own")
    (small / FOLDER).rename(tmp_path / "outside")
    (small / FOLDER).symlink_to(tmp_path / "outside")
    assert refusal(cache, small).splitlines()[1:] == [f"  {PARAS}: is a link out of the folder"]
    (small / "pokedex.csv").rename(tmp_path / "pokedex.csv")
    (small / "pokedex.csv").symlink_to(tmp_path / "pokedex.csv")
    assert "pokedex.csv is unusable (is a link out of the folder)" in refusal(cache, small)


def test_a_file_that_is_no_readable_zip_is_refused(small: Path, tmp_path: Path, cache: Path) -> None:
    path = zip_of(small, tmp_path / "small.zip")
    content = path.read_bytes()
    for damaged in (b"404 not found", content[: len(content) // 2]):
        path.write_bytes(damaged)
        message = refusal(cache, path)
        assert f"{path} is neither a folder nor a readable .zip" in message and "download the .zip again" in message


@pytest.mark.parametrize("name", r"../a.png sprites/../../a.png sprites/.. /a.png \a.png b\..\a.png C:/a.png".split())
def test_a_zip_with_paths_that_leave_it_is_refused(name: str, small: Path, tmp_path: Path, cache: Path) -> None:
    path, others = zip_of(small, tmp_path / "small.zip"), set(tmp_path.parent.rglob("a.png"))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(zipfile.ZipInfo(name), sprite(1))
    assert f"{path} contains paths that lead out of it, such as {name!r}" in refusal(cache, path)
    assert set(tmp_path.parent.rglob("a.png")) == others


def test_unreadable_zip_entries_are_named(small: Path, tmp_path: Path, cache: Path) -> None:
    path = zip_of(small, tmp_path / "small.zip")
    content, image = path.read_bytes(), (small / PARAS).read_bytes()
    path.write_bytes(content.replace(image, image[:-1] + b"!"))
    assert re.search(f"{PARAS}: .*CRC", refusal(cache, path))


def test_all_bad_files_are_named_at_once_and_a_long_list_is_cut(small: Path, cache: Path) -> None:
    other_dex = PARAS.replace("46-gen3_e", "47-gen3_e")
    for name in (BULBASAUR, other_dex, "sprites/Missingno/front/normal/0-gen5.png"):
        write(small, name, b"garbage")
    write(small, "sprites/Missingno/front/normal/0-gen6.png", sprite(9))
    message = refusal(cache, small)
    named = [line.strip().split(": ")[0] for line in message.splitlines()[1:]]
    assert sorted(named) == sorted([BULBASAUR, other_dex, "sprites/Missingno"])  # a folder once
    assert f"{small}: 3 unusable" in message
    for number in range(22):
        write(small, f"sprites/Missingno {number:02d}/front/normal/0-gen5.png", sprite(number))
    message = refusal(cache, small)
    assert len(message.splitlines()) == 22 and message.endswith("and 5 more")


def test_wrong_arguments_are_refused(small: Path, cache: Path) -> None:
    with pytest.raises(ValueError, match="BuilderConfig 'fornt' not found. Available: "):
        load_sprites(small, "fornt", cache_dir=cache)
    assert "'all' needs the sprite folder or .zip" in refusal(cache, None, "all")
    assert f"'starter' takes no data; leave out {small}" in refusal(cache, small, "starter")
    shutil.rmtree(small / FOLDER)
    with pytest.raises(ValueError, match='Unknown split "test"'):
        load_sprites(small, split="test", cache_dir=cache)
