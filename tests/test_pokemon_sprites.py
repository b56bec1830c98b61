"""The real sprites and the starter set: counts, labels, splits, pixels."""

import csv
import zipfile
from collections import Counter, defaultdict
from pathlib import Path

import datasets
import pytest
from PIL import Image

from pokemon_ddpm import load_sprites
from tests.small_archives import (
    encoded,
    rows,
    sizes,
)

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
