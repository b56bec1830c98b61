"""The sprites' loader: the Kaggle archive's counts, labels and splits, its cache, and every kind of bad input."""

import csv
import io
import logging
import os
import re
import shutil
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from pokemon_ddpm import load_sprites
from pokemon_ddpm.dataset_scripts import pokemon_sprites, sprite_archive
from pokemon_ddpm.dataset_scripts.sprite_archive import SpriteDataError

SPLITS = ("train", "validation", "test")
TYPES = (
    "bug dark dragon electric fairy fighting fire flying ghost grass ground ice normal poison psychic rock steel water"
).split()
# First type -> pictures of front/normal, of all.
TYPE1_COUNTS = {
    "water": (659, 1581),
    "normal": (545, 1323),
    "grass": (366, 912),
    "bug": (351, 863),
    "psychic": (265, 683),
    "fire": (265, 645),
    "electric": (228, 576),
    "rock": (220, 541),
    "poison": (189, 459),
    "ground": (169, 420),
    "fighting": (141, 369),
    "ice": (130, 336),
    "steel": (123, 307),
    "dragon": (118, 312),
    "ghost": (116, 301),
    "dark": (114, 312),
    "fairy": (75, 195),
    "flying": (12, 42),
}
CLASS_NAMES = {
    "type1": TYPES,
    "type2": [*TYPES, "none"],
    "color": "black blue brown gray green pink purple red white yellow any".split(),
    "shape": (
        "armor arms ball blob bug-wings fish heads humanoid legs quadruped squiggle tentacles upright wings"
    ).split(),
    "game": "gen3_e gen3_fl gen4_dp gen4_hs gen5 gen6 gen7 gen8 gen8-mini any".split(),
    "view": ["front", "back"],
    "finish": ["normal", "shiny"],
    "form": ["base", "mega", "gmax", "alola", "galar"],
}


def rows(sprites: datasets.DatasetDict) -> list[dict]:
    """The labels of all pictures, as words and with the split, without the pictures."""
    result = []
    for split, part in sprites.items():
        part = part.remove_columns("image")
        columns = part.to_dict()
        for name, feature in part.features.items():
            if isinstance(feature, datasets.ClassLabel):
                columns[name] = [feature.names[value] for value in columns[name]]
        result += [
            {"split": split, **dict(zip(columns, row, strict=True))} for row in zip(*columns.values(), strict=True)
        ]
    return result


def encoded(part: datasets.Dataset) -> list[dict]:
    """The pictures as they are stored: their bytes, and a path if there is one."""
    return part.cast_column("image", datasets.Image(decode=False))["image"][:]


def sizes(sprites: datasets.DatasetDict) -> dict[str, int]:
    return {split: len(part) for split, part in sprites.items()}


# ---------------------------------------------------------------------------------------------- the real sprites


@pytest.fixture(scope="session")
def front(sprites_dir: Path, sprites_cache: Path) -> datasets.DatasetDict:
    return load_sprites(sprites_dir, cache_dir=sprites_cache)


@pytest.fixture(scope="session")
def everything(sprites_dir: Path, sprites_cache: Path) -> datasets.DatasetDict:
    return load_sprites(sprites_dir, "all", cache_dir=sprites_cache)


@pytest.fixture(scope="session")
def front_rows(front: datasets.DatasetDict) -> list[dict]:
    return rows(front)


@pytest.fixture(scope="session")
def all_rows(everything: datasets.DatasetDict) -> list[dict]:
    return rows(everything)


@pytest.fixture(scope="session")
def pokedex(sprites_dir: Path) -> dict[int, dict[str, str]]:
    with open(sprites_dir / "pokedex.csv", encoding="ascii", newline="") as file:
        return {int(row["id"]): row for row in csv.DictReader(file)}


@pytest.fixture(scope="session")
def pixels(sprites_dir: Path, front_rows: list[dict]) -> dict[str, bytes]:
    """The decoded pixels of the pictures of front/normal, by path."""
    result = {}
    for row in front_rows:
        with Image.open(sprites_dir / row["path"]) as image:
            result[row["path"]] = image.convert("RGB").tobytes()
    return result


def test_front_has_4086_pictures_split_by_line(front: datasets.DatasetDict) -> None:
    assert sizes(front) == {"train": 3273, "validation": 404, "test": 409}


def test_all_has_every_file_once(sprites_dir: Path, all_rows: list[dict]) -> None:
    files = sorted(path.relative_to(sprites_dir).as_posix() for path in sprites_dir.glob("sprites/**/*.png"))
    assert len(files) == 10177
    assert sorted(row["path"] for row in all_rows) == files


def test_front_is_the_front_normal_part_of_all(front_rows: list[dict], all_rows: list[dict]) -> None:
    assert front_rows == [row for row in all_rows if "/front/normal/" in row["path"]]


@pytest.mark.parametrize("config, expected", [("front", (3272, 404, 407)), ("all", (8138, 1007, 1022))])
def test_excluding_faulty_pictures(
    config: str, expected: tuple[int, ...], sprites_dir: Path, sprites_cache: Path, all_rows: list[dict]
) -> None:
    kept = load_sprites(sprites_dir, config, exclude_faulty=True, cache_dir=sprites_cache)
    assert sizes(kept) == dict(zip(SPLITS, expected, strict=True))
    selected = {row["path"] for row in all_rows if config == "all" or "/front/normal/" in row["path"]}
    dropped = selected - {row["path"] for row in rows(kept)}
    # Zygarde's folder holds a Core and a Cell and nothing else; of Diglett, one drawing is an empty hole.
    assert {path.split("/")[1] for path in dropped} == {"0081-Diglett-50", "0867-Zygarde-718"}
    assert {Path(path).name for path in dropped if "Diglett" in path} == {"50-gen3_e-frame2.png"}
    assert len(dropped) == {"front": 3, "all": 10}[config]


@pytest.mark.parametrize("config", ["front", "all"])
@pytest.mark.parametrize("key", ["line", "dex_number", "index"])
def test_no_line_is_in_two_splits(config: str, key: str, front_rows: list[dict], all_rows: list[dict]) -> None:
    splits = defaultdict(set)
    for row in front_rows if config == "front" else all_rows:
        splits[row[key]].add(row["split"])
    assert len(splits) == {"line": 425, "dex_number": 898, "index": 1070}[key]
    assert all(len(held_by) == 1 for held_by in splits.values())


@pytest.mark.parametrize(
    "family",
    [
        (4, 5, 6),  # Charmander and all forms of Charizard
        (172, 25, 26),  # Pichu comes first, and of a later generation
        (133, 134, 135, 136, 196, 197, 470, 471, 700),  # Eevee
        (236, 106, 107, 237),  # Tyrogue
        (29, 30, 31, 32, 33, 34),  # both Nidoran: no evolution links them, but their looks do
        (380, 381),  # Latias and Latios
        (643, 644, 646),  # Reshiram, Zekrom, Kyurem
    ],
)
def test_relatives_and_look_alikes_share_a_line(family: tuple[int, ...], all_rows: list[dict]) -> None:
    lines = {row["line"] for row in all_rows if row["dex_number"] in family}
    assert len(lines) == 1
    assert {row["dex_number"] for row in all_rows if row["line"] in lines} == set(family)


def test_deduplicated_pictures_are_the_distinct_ones(
    sprites_dir: Path, sprites_cache: Path, front_rows: list[dict], pixels: dict[str, bytes]
) -> None:
    kept = rows(load_sprites(sprites_dir, deduplicate=True, cache_dir=sprites_cache))
    assert len(kept) == len(set(pixels.values())) == 3819
    for split in SPLITS:
        pictures = [pixels[row["path"]] for row in kept if row["split"] == split]
        assert len(pictures) == len(set(pictures))
        # none is lost with its copies
        assert set(pictures) == {pixels[row["path"]] for row in front_rows if row["split"] == split}


def test_class_labels_have_these_names_in_this_order(front: datasets.DatasetDict) -> None:
    for part in front.values():
        classes = {name: f.names for name, f in part.features.items() if isinstance(f, datasets.ClassLabel)}
        assert classes == CLASS_NAMES


def test_first_types_are_as_often_as_measured(front_rows: list[dict], all_rows: list[dict]) -> None:
    assert Counter(row["type1"] for row in front_rows) == {name: n for name, (n, _) in TYPE1_COUNTS.items()}
    assert Counter(row["type1"] for row in all_rows) == {name: n for name, (_, n) in TYPE1_COUNTS.items()}
    assert sum(row["type2"] == "none" for row in front_rows) == 2090
    assert sum(row["type2"] == "flying" for row in front_rows) == 495


def test_views_finishes_games_and_frames_are_as_often_as_measured(
    front_rows: list[dict], all_rows: list[dict]
) -> None:
    assert Counter((row["view"], row["finish"]) for row in all_rows) == {
        ("front", "normal"): 4086,
        ("front", "shiny"): 4057,
        ("back", "normal"): 1018,
        ("back", "shiny"): 1016,
    }
    assert Counter(row["game"] for row in front_rows) == {
        "gen3_e": 771,
        "gen3_fl": 155,
        "gen4_dp": 1010,
        "gen4_hs": 1026,
        "gen5": 684,
        "gen6": 131,
        "gen7": 124,
        "gen8": 156,
        "gen8-mini": 29,
    }
    assert Counter(row["frame"] for row in front_rows) == {1: 2686, 2: 1400}
    assert all((row["frame"] == 2) == ("-frame2." in row["path"]) for row in all_rows)


def test_labels_are_those_of_the_pokedex(all_rows: list[dict], pokedex: dict[int, dict[str, str]]) -> None:
    """Found by the number that the folder's name begins with; the four exchanged folders have their own test."""
    forms = {"mega_evolution": "mega", "gigantamax": "gmax", "alolan_form": "alola", "galarian_form": "galar"}
    for row in all_rows:
        entry = pokedex[int(row["path"].split("/")[1][:4])]
        assert row["index"] == int(entry["id"])
        if row["index"] in (959, 960, 986, 987):
            continue
        assert row["name"] == entry["name"]
        assert row["dex_number"] == int(entry["pokedex_id"]) == int(row["path"].split("/")[1].split("-")[-1])
        assert row["type1"] == entry["type1"].lower()
        assert row["type2"] == (entry["type2"].lower() or "none")
        assert row["shape"] == entry["shape"].lower()
        assert row["legendary"] == (entry["legendary"] == "True")
        flags = [form for column, form in forms.items() if entry[column] == "True"]
        assert [row["form"]] == (flags or ["base"])


def test_color_is_any_exactly_where_the_pokedex_gives_the_species(
    all_rows: list[dict], pokedex: dict[int, dict[str, str]]
) -> None:
    for row in all_rows:
        entry = pokedex[row["index"]]
        other = "True" in (entry["alolan_form"], entry["galarian_form"]) or "/shiny/" in row["path"]
        assert row["color"] == ("any" if other else entry["primary_color"].lower()), row["path"]
    assert {row["form"] for row in all_rows if row["color"] == "any" and row["finish"] == "normal"} == {
        "alola",
        "galar",
    }


@pytest.mark.parametrize(
    "folder, shown",
    [
        ("0986-Necrozma Dawn-800", {"name": "Necrozma Dusk", "type2": "steel", "height": 38, "weight": 4600}),
        ("0987-Necrozma Dusk-800", {"name": "Necrozma Dawn", "type2": "ghost", "height": 42, "weight": 3500}),
        ("0959-Mimikyu Busted-778", {"name": "Mimikyu Disguised", "type2": "fairy", "height": 2, "weight": 7}),
        ("0960-Mimikyu Disguised-778", {"name": "Mimikyu Busted", "type2": "fairy", "height": 2, "weight": 7}),
    ],
)
def test_exchanged_folders_are_labelled_by_what_they_show(folder: str, shown: dict, all_rows: list[dict]) -> None:
    found = [row for row in all_rows if row["path"].startswith(f"sprites/{folder}/")]
    assert {(row["view"], row["finish"]) for row in found} == {
        (view, finish) for view in ("front", "back") for finish in ("normal", "shiny")
    }
    assert len(found) == 4
    for row in found:
        assert {name: row[name] for name in shown} == shown
        assert row["type1"] == {"8": "psychic", "7": "ghost"}[folder[-3]]
        assert row["index"] == int(folder[:4])


def test_unknown_weights_are_none(front_rows: list[dict], all_rows: list[dict]) -> None:
    """A giant form's weight is unknown (the source gives a placeholder); every other weight is known."""
    unknown = [row for row in front_rows if row["weight"] is None]
    assert len(unknown) == 62
    assert len({row["index"] for row in unknown}) == 33
    for row in all_rows:
        assert (row["weight"] is None) == (row["form"] == "gmax"), row["path"]
        assert row["weight"] is None or 1 <= row["weight"] < 10000
        assert 1 <= row["height"] <= 1000
    bulbasaur, wailord = (next(row for row in front_rows if row["name"] == n) for n in ("Bulbasaur", "Wailord"))
    assert (bulbasaur["height"], bulbasaur["weight"]) == (7, 69)
    assert (wailord["height"], wailord["weight"]) == (145, 3980)


def test_pictures_are_embedded_unchanged(sprites_dir: Path, front: datasets.DatasetDict) -> None:
    """The bytes and not a path to them, which would break when the data moves."""
    for part in front.values():
        for stored, path in zip(encoded(part), part["path"][:], strict=True):
            assert stored["path"] is None
            assert stored["bytes"] == (sprites_dir / path).read_bytes()


def test_pictures_decode_to_rgb(front: datasets.DatasetDict, pixels: dict[str, bytes]) -> None:
    part = front["test"]
    for index in range(0, len(part), 50):
        image = part[index]["image"]
        assert (image.mode, image.size) == ("RGB", (96, 96))
        assert image.tobytes() == pixels[part[index]["path"]]


@pytest.mark.parametrize("top", ["", "pokemon-sprites/"], ids=["at the top", "one folder down"])
def test_the_zip_gives_equal_rows(
    top: str, sprites_dir: Path, front: datasets.DatasetDict, tmp_path: Path, sprites_cache: Path
) -> None:
    with zipfile.ZipFile(tmp_path / "archive.zip", "w", zipfile.ZIP_STORED) as archive:
        archive.write(sprites_dir / "pokedex.csv", f"{top}pokedex.csv")
        for path in sprites_dir.glob("sprites/*/front/*/*.png"):
            archive.write(path, top + path.relative_to(sprites_dir).as_posix())
    zipped = load_sprites(tmp_path / "archive.zip", cache_dir=tmp_path / "cache")
    assert zipped.keys() == front.keys()
    for split, part in front.items():
        assert zipped[split].features == part.features
        assert zipped[split].data.table.combine_chunks().equals(part.data.table.combine_chunks())


# ---------------------------------------------------------------------------------- small archives, made for a test

COLUMNS = (
    "id,name,pokedex_id,type1,type2,primary_color,shape,legendary,"
    "mega_evolution,alolan_form,galarian_form,gigantamax,image_fn"
)
POKEDEX = f"""{COLUMNS}
0,Bulbasaur,1,Grass,Poison,Green,Quadruped,False,False,False,False,False,['1']
3,Venusaur Gmax,3,Grass,Poison,Green,Quadruped,False,False,False,False,True,['3_g']
33,Spearow,21,Normal,Flying,Brown,Wings,False,False,False,False,False,['21']
55,Sandshrew Alola,27,Ice,Steel,Yellow,Upright,False,False,True,False,False,['27_2']
77,Paras,46,Bug,Grass,Red,Armor,False,False,False,False,False,['46']
"""
BULBASAUR = "sprites/0000-Bulbasaur-1/front/normal/1-gen5.png"
SPEAROW = "sprites/0033-Spearow-21/front/normal/21-gen4_dp-frame2.png"
PARAS = "sprites/0077-Paras-46/front/normal/46-gen3_e.png"
PICTURES = [
    BULBASAUR,
    "sprites/0000-Bulbasaur-1/front/shiny/1-gen5.png",
    "sprites/0000-Bulbasaur-1/back/normal/1-gen5.png",
    "sprites/0003-Venusaur Gmax-3/front/normal/3_g-gen8-mini.png",
    SPEAROW,
    "sprites/0055-Sandshrew Alola-27/front/normal/27_2-gen7.png",
    PARAS,
]


def png(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


def sprite(shade: int) -> bytes:
    """A picture of its own for every shade, all of the same number of bytes."""
    image = Image.new("RGB", (96, 96), "white")
    image.paste((shade, 100, 200), (30, 30, 60, 70))
    return png(image, compress_level=0)


def write(folder: Path, name: str, content: bytes) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def zip_of(folder: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder).as_posix())
    return path


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """An archive of seven pictures, in every split, view and finish."""
    folder = tmp_path / "small"
    write(folder, "pokedex.csv", POKEDEX.encode())
    for shade, name in enumerate(PICTURES):
        write(folder, name, sprite(shade))
    return folder


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def built(cache: Path) -> set[Path]:
    """The folders of the cache that hold a built data set."""
    return {path.parent for path in cache.rglob("*-train.arrow")}


def refusal(cache: Path, data: Path | None, *arguments: object, **options: object) -> str:
    """The message of a load that must fail, and must leave nothing behind."""
    with pytest.raises(SpriteDataError) as error:
        load_sprites(data, *arguments, cache_dir=cache, **options)
    assert not [path for path in cache.rglob("*") if path.suffix in (".arrow", ".incomplete", ".json")]
    return str(error.value)


def test_a_small_archive_loads(small: Path, cache: Path) -> None:
    found = rows(load_sprites(small, "all", cache_dir=cache))
    assert sorted(row["path"] for row in found) == sorted(PICTURES)
    by_path = {row["path"]: row for row in found}
    assert by_path[SPEAROW] == {
        "split": "validation",
        "type1": "normal",
        "type2": "flying",
        "color": "brown",
        "shape": "wings",
        "game": "gen4_dp",
        "view": "front",
        "finish": "normal",
        "form": "base",
        "frame": 2,
        "legendary": False,
        "height": 3,
        "weight": 20,
        "name": "Spearow",
        "dex_number": 21,
        "index": 33,
        "line": 8,
        "path": SPEAROW,
    }
    gmax, alola, shiny, back = (
        next(by_path[path] for path in PICTURES if word in path) for word in ("Gmax", "Alola", "/shiny/", "/back/")
    )
    assert (gmax["form"], gmax["game"], gmax["weight"], gmax["color"]) == ("gmax", "gen8-mini", None, "green")
    assert (alola["form"], alola["color"], alola["split"]) == ("alola", "any", "validation")
    assert (shiny["finish"], shiny["color"]) == ("shiny", "any")
    assert (back["view"], back["color"]) == ("back", "green")


@pytest.mark.parametrize("config, sizes_", [(None, (2, 2, 1)), ("front", (2, 2, 1)), ("all", (4, 2, 1))])
def test_a_configuration_selects(config: str | None, sizes_: tuple[int, ...], small: Path, cache: Path) -> None:
    assert sizes(load_sprites(small, config, cache_dir=cache)) == dict(zip(SPLITS, sizes_, strict=True))


def test_one_split_alone(small: Path, cache: Path) -> None:
    part = load_sprites(small, split="validation", cache_dir=cache)
    assert isinstance(part, datasets.Dataset)
    assert part["name"][:] == ["Spearow", "Sandshrew Alola"]


def test_a_folder_or_zip_may_hold_the_archive_one_folder_down(small: Path, tmp_path: Path, cache: Path) -> None:
    outer = tmp_path / "outer"
    shutil.copytree(small, outer / "pokemon-sprites")
    expected = rows(load_sprites(small, "all", cache_dir=cache))
    assert rows(load_sprites(outer, "all", cache_dir=cache)) == expected
    assert rows(load_sprites(zip_of(outer, tmp_path / "outer.zip"), "all", cache_dir=cache)) == expected


def test_what_a_desktop_leaves_in_folders_is_passed_over(small: Path, tmp_path: Path, cache: Path) -> None:
    expected = rows(load_sprites(small, cache_dir=cache))
    write(small, "sprites/.DS_Store", b"junk")
    write(small, "sprites/0000-Bulbasaur-1/front/normal/._1-gen5.png", b"junk")
    write(small, "sprites/0000-Bulbasaur-1/front/normal/Thumbs.db", b"junk")
    write(small, "__MACOSX/sprites/0000-Bulbasaur-1/front/normal/._1-gen5.png", b"junk")
    assert rows(load_sprites(small, cache_dir=cache)) == expected
    assert rows(load_sprites(zip_of(small, tmp_path / "small.zip"), cache_dir=cache)) == expected


def test_a_pokedex_saved_by_a_spreadsheet_is_read(small: Path, cache: Path) -> None:
    expected = rows(load_sprites(small, "all", cache_dir=cache))
    (small / "pokedex.csv").write_bytes(b"\xef\xbb\xbf" + POKEDEX.replace("\n", "\r\n").encode())
    assert rows(load_sprites(small, "all", cache_dir=cache)) == expected


@pytest.mark.parametrize("option", ["exclude_faulty", "deduplicate", "skip_bad_images"])
def test_options_do_not_share_a_cache(option: str, small: Path, cache: Path) -> None:
    load_sprites(small, cache_dir=cache)
    load_sprites(small, cache_dir=cache, **{option: True})
    assert len(built(cache)) == 2


def test_deduplicate_drops_copies_inside_a_split_only(small: Path, cache: Path) -> None:
    copy = "sprites/0000-Bulbasaur-1/front/normal/1-gen6.png"
    # other bytes, same pixels
    write(small, copy, png(Image.open(small / BULBASAUR), compress_level=9))
    write(small, PARAS, (small / BULBASAUR).read_bytes())
    assert copy in [row["path"] for row in rows(load_sprites(small, cache_dir=cache))]
    kept = [row["path"] for row in rows(load_sprites(small, deduplicate=True, cache_dir=cache))]
    assert copy not in kept and BULBASAUR in kept and PARAS in kept


# -------------------------------------------------------------------------------------------------------- the cache


@pytest.fixture
def no_building(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Once called, only the cache can answer."""

    def fail(*_: object) -> None:
        raise AssertionError("built anew")

    return lambda: monkeypatch.setattr(pokemon_sprites.PokemonSprites, "_split_generators", fail)


def test_unchanged_data_comes_from_the_cache(small: Path, cache: Path, no_building: Callable[[], None]) -> None:
    expected = rows(load_sprites(small, cache_dir=cache))
    no_building()
    assert rows(load_sprites(small, cache_dir=cache)) == expected
    (small / "pokedex.csv").touch()
    assert rows(load_sprites(small, cache_dir=cache)) == expected
    write(small, BULBASAUR, sprite(77))
    with pytest.raises(AssertionError, match="built anew"):
        load_sprites(small, cache_dir=cache)


@pytest.mark.parametrize("zipped", [False, True], ids=["folder", "zip"])
def test_an_edited_picture_is_not_served_stale(zipped: bool, small: Path, tmp_path: Path, cache: Path) -> None:
    def load() -> bytes:
        data = zip_of(small, tmp_path / "small.zip") if zipped else small
        return encoded(load_sprites(data, split="test", cache_dir=cache))[0]["bytes"]

    before = (small / PARAS).stat()
    old, new = (small / PARAS).read_bytes(), sprite(77)
    assert load() == old
    assert len(new) == len(old)
    (small / PARAS).write_bytes(new)
    os.utime(small / PARAS, ns=(before.st_atime_ns, before.st_mtime_ns))  # neither size nor time give it away
    assert load() == new


def test_an_edited_pokedex_is_not_served_stale(small: Path, cache: Path) -> None:
    assert rows(load_sprites(small, cache_dir=cache))[-1]["type2"] == "grass"
    (small / "pokedex.csv").write_text(POKEDEX.replace("Bug,Grass", "Bug,Ghost"))
    assert rows(load_sprites(small, cache_dir=cache))[-1]["type2"] == "ghost"


@pytest.mark.parametrize("change", ["added", "removed", "renamed"])
def test_other_files_are_not_served_stale(change: str, small: Path, cache: Path) -> None:
    load_sprites(small, cache_dir=cache)
    other = BULBASAUR.replace("gen5", "gen6")
    expected = {BULBASAUR, other} if change == "added" else {other} if change == "renamed" else set()
    if change == "added":
        write(small, other, sprite(77))
    elif change == "removed":
        (small / BULBASAUR).unlink()
    else:
        (small / BULBASAUR).rename(small / other)
    found = {row["path"] for row in rows(load_sprites(small, cache_dir=cache))}
    assert found & {BULBASAUR, other} == expected


@pytest.mark.parametrize("config", ["front", "starter"])
def test_an_edited_loader_is_not_served_stale(
    config: str, small: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = None if config == "starter" else small
    # a few creatures tell as much as all
    few = list(islice(pokemon_sprites.starter_sprites(), 3))
    monkeypatch.setattr(pokemon_sprites, "starter_sprites", lambda: few)
    load_sprites(data, config, cache_dir=cache)
    old = built(cache)
    load_sprites(data, config, cache_dir=cache)
    assert built(cache) == old and len(old) == 1
    monkeypatch.setattr(pokemon_sprites, "_code_digest", lambda: "of the edited loader")
    load_sprites(data, config, cache_dir=cache)
    assert built(cache) > old and len(built(cache)) == 2


@pytest.mark.parametrize(
    "file",
    [
        "dataset_scripts/pokemon_sprites.py",
        "dataset_scripts/sprite_archive.py",
        "dataset_scripts/sprite_records.py",
        "dataset_scripts/sprite_facts.csv",
        "dataset_scripts/starter_art.py",
        "dataset_scripts/starter_sprites.py",
        "vocabulary.py",
    ],
)
def test_the_code_digest_covers_what_decides_about_a_row(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(Path(pokemon_sprites.__file__).parent, tmp_path / "dataset_scripts")
    shutil.copy(pokemon_sprites.vocabulary.__file__, tmp_path / "vocabulary.py")
    monkeypatch.setattr(pokemon_sprites, "__file__", str(tmp_path / "dataset_scripts" / "pokemon_sprites.py"))
    monkeypatch.setattr(pokemon_sprites.vocabulary, "__file__", str(tmp_path / "vocabulary.py"))
    compute = pokemon_sprites._code_digest.__wrapped__
    before = compute()
    assert before == pokemon_sprites._code_digest()
    with open(tmp_path / file, "a") as edited:
        edited.write("\n")
    assert compute() != before


# -------------------------------------------------------------------------------------------------------- bad input


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


# ----------------------------------------------------------------------------------------- pictures of other kinds


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


# -------------------------------------------------------------------------------------------------- the starter set


def test_no_data_gives_the_starter_set(sprites_cache: Path) -> None:
    starter = load_sprites(cache_dir=sprites_cache)
    assert sizes(starter) == {"train": 864, "validation": 108, "test": 108}
    found = rows(starter)
    assert {row["type1"] for row in found} == set(TYPES)
    assert {row["game"] for row in found} == {"any"}
    for part in starter.values():
        assert {name: part.features[name].names for name in CLASS_NAMES} == CLASS_NAMES
        assert {stored["path"] for stored in encoded(part)} == {None}
        assert part[0]["image"].size == (96, 96)
