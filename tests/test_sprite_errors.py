"""The loader and everything that can be wrong with an archive."""

import io
import logging
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pokemon_ddpm import load_sprites
from pokemon_ddpm.dataset_scripts import pokemon_sprites, sprite_archive
from pokemon_ddpm.dataset_scripts.sprite_archive import SpriteDataError
from tests.small_archives import (
    BULBASAUR,
    COLUMNS,
    PARAS,
    PICTURES,
    POKEDEX,
    SPEAROW,
    encoded,
    png,
    refusal,
    rows,
    sizes,
    sprite,
    write,
    zip_of,
)


def edit_pokedex(old: str, new: str) -> Callable[[Path], None]:
    assert old in POKEDEX

    def edit(folder: Path) -> None:
        (folder / "pokedex.csv").write_text(POKEDEX.replace(old, new), encoding="utf-8")

    return edit


def put(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda folder: write(folder, name, content)


def move(old: str, new: str) -> Callable[[Path], None]:
    def rename(folder: Path) -> None:
        (folder / new).parent.mkdir(parents=True, exist_ok=True)
        (folder / old).rename(folder / new)

    return rename


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()


# name -> how to spoil the archive, what the message must say.
BAD_ARCHIVES: dict[str, tuple[Callable[[Path], None], list[str]]] = {
    "no pokedex": (remove("pokedex.csv"), ["small", "holds no pokedex.csv", "Kaggle"]),
    "no pictures": (remove("sprites"), ["small", "holds no pictures", "sprites/FOLDER/VIEW/FINISH"]),
    "one missing column": (edit_pokedex("shape", "build"), ["small", "pokedex.csv", "lacks the column shape."]),
    "missing columns": (edit_pokedex("type1,type2", "a,b"), ["pokedex.csv", "lacks the columns type1, type2."]),
    "empty pokedex": (put("pokedex.csv", b""), ["pokedex.csv", "lacks the columns id, name, pokedex_id"]),
    "pokedex without rows": (
        put("pokedex.csv", COLUMNS.encode()),
        ["sprites/0000-Bulbasaur-1", "no row of pokedex.csv has the id 0", "sprites/0077-Paras-46"],
    ),
    "pokedex not in UTF-8": (
        put("pokedex.csv", POKEDEX.replace("Paras", "Flabébé").encode("latin-1")),
        ["small", "pokedex.csv", "UTF-8"],
    ),
    "huge pokedex": (put("pokedex.csv", bytes(16 * 2**20 + 1)), ["small", "pokedex.csv", "16 MiB"]),
    "pokedex that csv refuses": (edit_pokedex("['46']", "x" * 200_000), ["small", "pokedex.csv", "CSV"]),
    "unknown type": (
        edit_pokedex("33,Spearow,21,Normal", "33,Spearow,21,Nomal"),
        ["pokedex.csv line 4", "Spearow", "type1 'Nomal'", "Did you mean 'normal'?", "Known: bug, dark"],
    ),
    "unknown type after an empty line": (
        edit_pokedex("33,Spearow,21,Normal", "\n33,Spearow,21,Nomal"),
        ["pokedex.csv line 5", "Spearow"],
    ),
    "several unknown values": (
        edit_pokedex("33,Spearow,21,Normal,Flying,Brown,Wings,False", "33,Spearow,21,None,Flyin,Bown,Wing,No"),
        ["type1 'None'", "type2 'Flyin'", "'flying'", "'brown'", "'wings'", "legendary 'No'", "Known: true, false"],
    ),
    "unknown values in several lines": (
        edit_pokedex("Poison", "Poisson"),
        ["pokedex.csv line 2 (Bulbasaur)", "pokedex.csv line 3 (Venusaur Gmax)", "Did you mean 'poison'?"],
    ),
    "a blank first type": (edit_pokedex("46,Bug", "46,"), ["pokedex.csv line 6 (Paras)", "type1 ''", "Known: bug"]),
    "a line cut off": (edit_pokedex(",Red,Armor,False", "\n#"), ["pokedex.csv line 6 (Paras)", "primary_color"]),
    "an id that is no number": (edit_pokedex("77,Paras", "x,Paras"), ["pokedex.csv line 6 (Paras)", "id 'x'"]),
    "a folder's name that does not parse": (
        move("sprites/0077-Paras-46", "sprites/Paras"),
        ["sprites/Paras", "NNNN-Name-dex"],
    ),
    "a folder without an index": (
        move("sprites/0077-Paras-46", "sprites/77-Paras-46"),
        ["sprites/77-Paras-46", "NNNN-Name-dex"],
    ),
    "a folder's number that is not in the pokedex": (
        move("sprites/0077-Paras-46", "sprites/0078-Parasect-47"),
        ["sprites/0078-Parasect-47", "pokedex.csv", "78"],
    ),
    "a folder that the facts do not know": (
        lambda folder: [  # Gallade Mega is in the pokedex, but not among the folders
            edit_pokedex("77,Paras,46", "590,Paras,46")(folder),
            move("sprites/0077-Paras-46", "sprites/0590-Paras-46")(folder),
        ],
        ["sprites/0590-Paras-46", "590 is not one of", "remove it"],
    ),
    "a folder of another dex number": (
        move("sprites/0077-Paras-46", "sprites/0077-Paras-47"),
        ["sprites/0077-Paras-47", "dex number 47", "46"],
    ),
    "a file of another dex number": (
        move(PARAS, PARAS.replace("46-gen3_e", "47-gen3_e")),
        ["0077-Paras-46/front/normal/47-gen3_e.png", "dex number 47, not 46"],
    ),
    "an unknown view": (
        move("sprites/0077-Paras-46/front", "sprites/0077-Paras-46/side"),
        [PARAS.replace("/front/", "/side/"), "front|back/normal|shiny"],
    ),
    "an unknown finish": (
        move("sprites/0077-Paras-46/front/normal", "sprites/0077-Paras-46/front/golden"),
        [PARAS.replace("/normal/", "/golden/"), "front|back/normal|shiny"],
    ),
    "a file without a game": (move(PARAS, PARAS.replace("-gen3_e", "")), ["normal/46.png", "-GAME", "gen3_e"]),
    "a file of an unknown game": (move(PARAS, PARAS.replace("gen3_e", "gen9")), ["normal/46-gen9.png", "-GAME"]),
    "garbage": (put(PARAS, b"this is no picture"), [PARAS, "does not decode"]),
    "an empty picture": (put(PARAS, b""), [PARAS, "does not decode"]),
    "a truncated picture": (put(PARAS, sprite(1)[:20_000]), [PARAS, "does not decode"]),
    "a picture without its end": (put(PARAS, sprite(1)[:-60]), [PARAS, "does not decode"]),
    "a damaged picture": (put(PARAS, sprite(1).replace(b"IDAT", b"IDAX")), [PARAS, "does not decode"]),
    "a huge picture": (put(PARAS, png(Image.new("RGB", (1025, 8)))), [PARAS, "1025x8 px", "1024"]),
    "a picture at the wrong depth": (
        move(PARAS, "sprites/0077-Paras-46/46-gen3_e.png"),
        ["sprites/0077-Paras-46/46-gen3_e.png: expected sprites/FOLDER/VIEW/FINISH/FILE.png"],
    ),
    "a picture that is no PNG": (move(PARAS, PARAS.replace(".png", ".jpg")), ["46-gen3_e.jpg: expected"]),
    "a third frame": (move(PARAS, PARAS.replace(".png", "-frame3.png")), ["46-gen3_e-frame3.png", "-GAME"]),
    "an id twice": (edit_pokedex("77,Paras", "33,Paras"), ["the id 33 stands in an earlier line, too"]),
    "a huge file": (put(PARAS, bytes(16 * 2**20 + 1)), [PARAS, "16 MiB"]),
}


@pytest.mark.parametrize("zipped", [False, True], ids=["folder", "zip"])
@pytest.mark.parametrize("name", BAD_ARCHIVES)
def test_bad_archives_are_refused(name: str, zipped: bool, small: Path, tmp_path: Path, cache: Path) -> None:
    spoil, expected = BAD_ARCHIVES[name]
    spoil(small)
    data = zip_of(small, tmp_path / "small.zip") if zipped else small
    message = refusal(cache, data)
    assert not [part for part in expected if part not in message], message
    assert str(data) in message


def test_a_pokedex_that_cannot_be_read_is_named(small: Path, cache: Path) -> None:
    (small / "pokedex.csv").write_bytes(b"\xff\xfe\x00")
    message = refusal(cache, small)
    assert f"{small}: pokedex.csv cannot be read as CSV in UTF-8" in message


@pytest.mark.parametrize("name", ["missing", "missing.zip"])
def test_a_missing_path_is_refused(name: str, tmp_path: Path, cache: Path) -> None:
    message = refusal(cache, tmp_path / name)
    assert f"{tmp_path / name} does not exist" in message
    assert "Kaggle" in message


def test_an_empty_folder_is_refused(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "empty").mkdir()
    message = refusal(cache, tmp_path / "empty")
    assert f"{tmp_path / 'empty'} holds no pokedex.csv" in message


def test_a_folder_that_holds_the_zip_is_told(small: Path, tmp_path: Path, cache: Path) -> None:
    (tmp_path / "downloads").mkdir()
    zip_of(small, tmp_path / "downloads" / "archive.zip")
    assert "It holds archive.zip: give that file." in refusal(cache, tmp_path / "downloads")


def test_the_folder_of_the_pictures_alone_is_refused(small: Path, cache: Path) -> None:
    message = refusal(cache, small / "sprites")
    assert f"{small / 'sprites'} holds no pokedex.csv" in message
    assert "the folder that holds pokedex.csv and sprites/" in message


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda content: b"404 not found", id="text"),
        pytest.param(lambda content: b"", id="nothing"),
        pytest.param(lambda content: content[: len(content) // 2], id="half"),
        pytest.param(lambda content: content.replace(b"PK\1\2\x14\3\x14", b"PK\1\2\x14\3\xff"), id="later version"),
    ],
)
def test_a_file_that_is_no_readable_zip_is_refused(
    spoil: Callable[[bytes], bytes], small: Path, tmp_path: Path, cache: Path
) -> None:
    path = zip_of(small, tmp_path / "small.zip")
    path.write_bytes(spoil(path.read_bytes()))
    message = refusal(cache, path)
    assert f"{path} is not a readable .zip" in message
    assert "download the .zip again" in message


def test_an_empty_zip_is_refused(tmp_path: Path, cache: Path) -> None:
    zipfile.ZipFile(tmp_path / "empty.zip", "w").close()
    assert "empty.zip holds no pokedex.csv" in refusal(cache, tmp_path / "empty.zip")


@pytest.mark.parametrize(
    "name",
    [
        "../outside.png",
        "sprites/../../outside.png",
        "sprites/..",
        "/outside.png",
        "\\outside.png",
        "..\\outside.png",
        "sprites\\..\\..\\outside.png",
        "C:/outside.png",
        "c:outside.png",
    ],
)
def test_a_zip_with_paths_that_leave_it_is_refused(name: str, small: Path, tmp_path: Path, cache: Path) -> None:
    path = zip_of(small, tmp_path / "small.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(zipfile.ZipInfo(name), sprite(1))
        archive.writestr(zipfile.ZipInfo("../another.png"), sprite(1))
    message = refusal(cache, path, skip_bad_images=True)
    assert f"{path} holds paths that leave it" in message
    assert repr(name) in message and "'../another.png'" in message
    assert "download it again" in message
    assert not list(tmp_path.rglob("outside.png")) and not list(tmp_path.parent.glob("outside.png"))


def test_a_zip_with_a_wrong_checksum_names_the_picture(small: Path, tmp_path: Path, cache: Path) -> None:
    path = zip_of(small, tmp_path / "small.zip")
    content = path.read_bytes()
    picture = (small / PARAS).read_bytes()
    path.write_bytes(content.replace(picture, picture[:-1] + b"!"))
    message = refusal(cache, path)
    assert f"{PARAS}: " in message and "CRC" in message


def test_all_bad_files_are_named_at_once(small: Path, cache: Path) -> None:
    bad = {
        BULBASAUR: b"garbage",
        SPEAROW: sprite(4)[:-60],
        PARAS.replace("46-gen3_e", "47-gen3_e"): sprite(5),
        PARAS.replace("46-gen3_e", "46"): sprite(6),
        PARAS.replace("/front/", "/side/"): sprite(7),
        "sprites/Missingno/front/normal/0-gen5.png": sprite(8),
    }
    for name, content in bad.items():
        write(small, name, content)
    write(small, "sprites/Missingno/front/normal/0-gen6.png", sprite(9))
    message = refusal(cache, small)
    named = [line.strip().split(": ")[0] for line in message.splitlines()[1:]]
    # a folder is named once, whatever it holds
    assert sorted(named) == sorted([*list(bad)[:-1], "sprites/Missingno"])
    assert f"{small}: 6 unusable" in message
    assert "skip_bad_images=True" in message and "--skip_bad_images" in message


def test_a_long_list_of_bad_files_is_cut_and_counted(small: Path, cache: Path) -> None:
    for number in range(25):
        write(small, f"sprites/Missingno {number:02d}/front/normal/0-gen5.png", sprite(number))
    message = refusal(cache, small)
    assert f"{small}: 25 unusable" in message
    assert re.findall(r"Missingno (\d+):", message) == [f"{number:02d}" for number in range(20)]
    assert message.endswith("and 5 more")


def test_after_the_repair_the_archive_loads(small: Path, cache: Path) -> None:
    good = (small / PARAS).read_bytes()
    (small / PARAS).write_bytes(b"garbage")
    refusal(cache, small)
    (small / PARAS).write_bytes(good)
    assert sizes(load_sprites(small, cache_dir=cache)) == {"train": 2, "validation": 2, "test": 1}


def test_skipping_bad_images_says_how_many_at_every_load(
    small: Path, cache: Path, caplog: pytest.LogCaptureFixture, no_building: Callable[[], None]
) -> None:
    (small / BULBASAUR).write_bytes(b"garbage")
    write(small, "sprites/Missingno/front/normal/0-gen5.png", sprite(9))

    def load() -> tuple[list[str], str]:
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            found = rows(load_sprites(small, skip_bad_images=True, cache_dir=cache))
        said = [record.getMessage() for record in caplog.records if record.name == pokemon_sprites.__name__]
        assert len(said) == 1
        return [row["path"] for row in found], said[0]

    paths, said = load()
    assert sorted(paths) == sorted(path for path in PICTURES if "/front/normal/" in path and path != BULBASAUR)
    assert "2 unusable files or folders were skipped" in said
    assert BULBASAUR in said and "sprites/Missingno" in said
    no_building()
    assert load() == (paths, said)


def test_skipping_says_nothing_where_nothing_is_bad(
    small: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert len(rows(load_sprites(small, skip_bad_images=True, cache_dir=cache))) == 5
    assert not [record for record in caplog.records if record.name == pokemon_sprites.__name__]


def test_skipping_everything_is_refused(small: Path, cache: Path) -> None:
    for name in PICTURES:
        (small / name).write_bytes(b"garbage")
    message = refusal(cache, small, skip_bad_images=True)
    assert f"{small}: no usable picture is left for 'front'" in message
    assert PARAS in message


def test_skipping_does_not_excuse_the_pokedex(small: Path, cache: Path) -> None:
    edit_pokedex("Bug", "Bugg")(small)
    assert "Did you mean 'bug'?" in refusal(cache, small, skip_bad_images=True)


def test_an_unknown_configuration_is_refused(small: Path, cache: Path) -> None:
    message = refusal(cache, small, "fornt")
    assert "'fornt'" in message and "front, all, starter" in message


def test_an_unknown_split_is_refused(small: Path, cache: Path) -> None:
    message = refusal(cache, small, split="valid")
    assert "'valid'" in message and "train, validation, test" in message


def test_a_split_without_pictures_is_refused(small: Path, cache: Path) -> None:
    shutil.rmtree(small / "sprites/0077-Paras-46")
    assert sizes(load_sprites(small, cache_dir=cache)) == {"train": 2, "validation": 2}
    with pytest.raises(SpriteDataError, match="none of its sprites belongs to the split 'test'"):
        load_sprites(small, split="test", cache_dir=cache)


def test_sprites_without_data_are_refused(cache: Path) -> None:
    assert "'all' needs the sprite folder or .zip" in refusal(cache, None, "all")


def test_starter_sprites_with_data_are_refused(small: Path, cache: Path) -> None:
    assert str(small) in refusal(cache, small, "starter")


def test_a_large_zip_entry_is_not_unpacked(
    small: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few bytes can unpack to gigabytes: the size is looked at first."""
    monkeypatch.setattr(sprite_archive, "MAX_FILE_BYTES", 2**20)
    path = zip_of(small, tmp_path / "small.zip")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(PARAS.replace("gen3_e", "gen5"), bytes(2**20 + 1))
    assert "46-gen5.png: larger than 1 MiB" in refusal(cache, path)


def with_alpha() -> bytes:
    pixels = np.zeros((4, 4, 4), dtype=np.uint8)  # transparent black
    pixels[1:3, 1:3] = (200, 40, 0, 255)
    pixels[1, 1, 3] = 102
    return png(Image.fromarray(pixels))


def with_palette(**options: object) -> bytes:
    image = Image.new("P", (4, 4), 0)
    image.putpalette([0, 0, 0, 200, 40, 0])
    image.paste(1, (1, 1, 3, 3))
    return png(image, **options)


def with_color_key() -> bytes:
    image = Image.new("RGB", (4, 4), (1, 2, 3))
    image.paste((200, 40, 0), (1, 1, 3, 3))
    return png(image, transparency=(1, 2, 3))


def gray(mode: str) -> bytes:
    image = Image.new("L", (4, 4), 0)
    image.paste(200, (1, 1, 3, 3))
    if mode == "LA":
        image.putalpha(image.point(lambda value: 255 if value else 0))
    return png(image)


@pytest.mark.parametrize(
    "content, ground, figure, corner",
    [
        # 102 of 255 is 40 %: 0.4 * (200, 40, 0) + 0.6 * 255
        pytest.param(with_alpha(), (255, 255, 255), (200, 40, 0), (233, 169, 153), id="alpha"),
        pytest.param(with_palette(), (0, 0, 0), (200, 40, 0), None, id="palette"),
        pytest.param(with_palette(transparency=0), (255, 255, 255), (200, 40, 0), None, id="transparent palette"),
        pytest.param(with_color_key(), (255, 255, 255), (200, 40, 0), None, id="transparent color"),
        pytest.param(gray("L"), (0, 0, 0), (200, 200, 200), None, id="gray"),
        pytest.param(gray("LA"), (255, 255, 255), (200, 200, 200), None, id="gray with alpha"),
    ],
)
def test_other_kinds_of_png_become_opaque_rgb_on_white(
    content: bytes, ground: tuple, figure: tuple, corner: tuple | None, small: Path, cache: Path
) -> None:
    write(small, PARAS, content)
    part = load_sprites(small, split="test", cache_dir=cache)
    stored = Image.open(io.BytesIO(encoded(part)[0]["bytes"]))
    assert stored.mode == "RGB" and "transparency" not in stored.info
    expected = np.full((4, 4, 3), ground, dtype=np.uint8)
    expected[1:3, 1:3] = figure
    expected[1, 1] = corner or figure
    for image in (stored, part[0]["image"]):
        assert np.array_equal(np.asarray(image), expected)
