"""What the loader selects, labels and caches; and on the real sprites counts, labels and splits."""

import io
import os
import shutil
from pathlib import Path
from unittest import mock

import datasets
import pytest
from PIL import Image

from pokemon_ddpm import load_sprites, vocabulary
from pokemon_ddpm.dataset_scripts import pokemon_sprites
from tests.small_archives import BULBASAUR, IMAGES, PARAS, POKEDEX, SPEAROW, encoded, png, rows, sprite, write, zip_of


def sizes(sprites: datasets.DatasetDict) -> tuple[int, ...]:
    return tuple(len(sprites[split]) for split in ("train", "validation", "test"))


@pytest.fixture
def no_building(monkeypatch: pytest.MonkeyPatch):
    """Once called, only the cache can answer."""

    fail = mock.Mock(side_effect=AssertionError("built again"))
    return lambda: monkeypatch.setattr(pokemon_sprites.PokemonSprites, "_split_generators", fail)


def test_a_small_archive_is_labelled(small: Path, cache: Path) -> None:
    by_path = {row["path"]: row for row in rows(load_sprites(small, "all", cache_dir=cache))}
    assert sorted(by_path) == sorted(IMAGES)
    assert by_path[SPEAROW] == {
        "split": "validation", "type1": "normal", "type2": "flying", "color": "brown", "shape": "wings",
        "body": "winged", "game": "gen4_dp", "view": "front", "finish": "normal", "form": "base", "frame": 2,
        "legendary": False, "height": 3, "weight": 20, "name": "Spearow", "dex_number": 21, "index": 33, "line": 8,
        "evolves_from": None, "path": SPEAROW,
        "tags": "bird wings feathers beak crest claws stripes round two-legs baby fierce standing".split(),
    }  # fmt: skip
    parts = ("Gmax", "Alola", "/shiny/", "/back/")
    gmax, alola, shiny, back = (next(by_path[path] for path in IMAGES if part in path) for part in parts)
    assert (gmax["form"], gmax["game"], gmax["weight"], gmax["color"]) == ("gmax", "gen8-mini", None, "green")
    assert (alola["form"], alola["color"], alola["split"]) == ("alola", "any", "validation")
    assert (shiny["finish"], shiny["color"]) == ("shiny", "any")
    assert (back["view"], back["color"]) == ("back", "green")


def test_other_layouts_give_the_same_rows(small: Path, tmp_path: Path, cache: Path) -> None:
    """One folder down, as a .zip, with what desktops leave in folders, or a pokedex saved by a spreadsheet."""
    expected = rows(load_sprites(small, "all", cache_dir=cache))
    outer = tmp_path / "outer"
    shutil.copytree(small, outer / "pokemon-sprites")
    for name in ("sprites/.DS_Store", "sprites/0000-Bulbasaur-1/front/normal/._1-gen5.png",
                 "sprites/0000-Bulbasaur-1/front/normal/Thumbs.db", "__MACOSX/sprites/a/b/c/._1.png"):  # fmt: skip
        write(small, name, b"junk")
    (small / "pokedex.csv").write_bytes(b"\xef\xbb\xbf" + POKEDEX.replace("\n", "\r\n").encode())
    for data in (outer, zip_of(outer, tmp_path / "outer.zip"), small, zip_of(small, tmp_path / "small.zip")):
        assert rows(load_sprites(data, "all", cache_dir=cache)) == expected


def test_deduplicate_drops_equal_pixels_inside_a_split_only(small: Path, cache: Path) -> None:
    copy = "sprites/0000-Bulbasaur-1/front/normal/1-gen6.png"
    write(small, copy, png(Image.open(small / BULBASAUR), compress_level=9))  # other bytes
    write(small, PARAS, (small / BULBASAUR).read_bytes())
    assert copy in [row["path"] for row in rows(load_sprites(small, cache_dir=cache))]
    kept = [row["path"] for row in rows(load_sprites(small, deduplicate=True, cache_dir=cache))]
    assert copy not in kept and BULBASAUR in kept and PARAS in kept


def test_images_are_stored_opaque_on_white_without_what_follows_them(small: Path, cache: Path) -> None:
    write(small, PARAS, png(Image.new("RGBA", (4, 4), (200, 40, 0, 102))))
    write(small, BULBASAUR, (small / BULBASAUR).read_bytes() + bytes(10**6))
    sprites = load_sprites(small, cache_dir=cache)
    assert Image.open(io.BytesIO(encoded(sprites["test"])[0]["bytes"])).getcolors() == [(16, (233, 169, 153))]
    assert all(len(image["bytes"]) < 100_000 and image["path"] is None for image in encoded(sprites["train"]))
    assert sprites["train"][0]["image"].mode == "RGB"


def test_the_cache_follows_content_and_not_time(small, cache, no_building, monkeypatch):
    expected = rows(load_sprites(small, cache_dir=cache))
    no_building()
    (small / "pokedex.csv").touch()
    assert rows(load_sprites(small, cache_dir=cache)) == expected
    for options in ({"exclude_faulty": True}, {"deduplicate": True}):
        with pytest.raises(AssertionError, match="built again"):
            load_sprites(small, cache_dir=cache, **options)
    monkeypatch.setattr(pokemon_sprites, "_code_digest", lambda: "edited")
    for data in (small, None):
        with pytest.raises(AssertionError, match="built again"):
            load_sprites(data, cache_dir=cache)


@pytest.mark.parametrize("zipped", [False, True], ids=["folder", "zip"])
def test_changes_are_not_served_stale(zipped: bool, small: Path, tmp_path: Path, cache: Path) -> None:
    def load() -> dict[str, tuple[str, bytes]]:
        part = load_sprites(zip_of(small, tmp_path / "a.zip") if zipped else small, cache_dir=cache)["test"]
        labels = zip(part["type2"], encoded(part), strict=True)
        return dict(zip(part["path"], ((vocabulary.TYPES[k], image["bytes"]) for k, image in labels), strict=True))

    before, new, other = (small / PARAS).stat(), sprite(77), PARAS.replace("gen3_e", "gen5")
    assert load() == {PARAS: ("grass", (small / PARAS).read_bytes())} and len(new) == before.st_size
    (small / PARAS).write_bytes(new)
    os.utime(small / PARAS, ns=(before.st_atime_ns, before.st_mtime_ns))  # the same size and time
    assert load() == {PARAS: ("grass", new)}
    (small / PARAS).rename(small / other)
    assert load() == {other: ("grass", new)}
    (small / "pokedex.csv").write_text(POKEDEX.replace("Bug,Grass", "Bug,Ghost"))
    assert load() == {other: ("ghost", new)}


@pytest.fixture(scope="module")
def front(sprites_dir: Path, sprites_cache: Path) -> datasets.DatasetDict:
    return load_sprites(sprites_dir, cache_dir=sprites_cache)


@pytest.fixture(scope="module")
def all_rows(sprites_dir: Path, sprites_cache: Path) -> list[dict]:
    return rows(load_sprites(sprites_dir, "all", cache_dir=sprites_cache))


def test_the_configurations_hold_the_files(sprites_dir, front, all_rows):
    files = sorted(path.relative_to(sprites_dir).as_posix() for path in sprites_dir.glob("sprites/**/*.png"))
    assert len(files) == 10177 and sorted(row["path"] for row in all_rows) == files
    assert rows(front) == [row for row in all_rows if "/front/normal/" in row["path"]]
    assert sizes(front) == (3273, 404, 409)
    for key, count in {"line": 425, "dex_number": 898, "index": 1070}.items():
        assert len({row[key] for row in all_rows}) == len({(row[key], row["split"]) for row in all_rows}) == count


@pytest.mark.parametrize("config, counts", [("front", (3272, 404, 407)), ("all", (8138, 1007, 1022))])
def test_excluding_faulty_and_repeated_images(config, counts, sprites_dir, sprites_cache, all_rows):
    kept = load_sprites(sprites_dir, config, exclude_faulty=True, cache_dir=sprites_cache)
    assert sizes(kept) == counts
    selected = {row["path"] for row in all_rows if config == "all" or "/front/normal/" in row["path"]}
    dropped = {Path(path).name for path in selected - {row["path"] for row in rows(kept)}}
    # The folder of Zygarde holds nothing but a Core and a Cell, and one image of Diglett only its hole.
    assert dropped == {"718_4-gen6.png", "718_5-gen6.png", "50-gen3_e-frame2.png"}
    if config == "front":
        assert sum(sizes(load_sprites(sprites_dir, deduplicate=True, cache_dir=sprites_cache))) == 3819


def test_exchanged_folders_are_labelled_by_what_they_show(all_rows: list[dict]) -> None:
    shown = {986: ("Necrozma Dusk", "steel", 38, 4600), 987: ("Necrozma Dawn", "ghost", 42, 3500)}
    shown |= {959: ("Mimikyu Disguised", "fairy", 2, 7), 960: ("Mimikyu Busted", "fairy", 2, 7)}
    shown_rows = [row for row in all_rows if row["index"] in shown]
    assert len({(row["index"], row["view"], row["finish"]) for row in shown_rows}) == len(shown_rows) == 16
    for row in shown_rows:
        assert (row["name"], row["type2"], row["height"], row["weight"]) == shown[row["index"]]
        assert row["name"] not in row["path"]
