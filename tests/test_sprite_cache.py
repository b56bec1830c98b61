"""The loader on small archives: what it selects, and a cache that never serves anything stale."""

import os
import shutil
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import datasets
import pytest
from PIL import Image

from pokemon_ddpm import load_sprites
from pokemon_ddpm.dataset_scripts import pokemon_sprites
from tests.small_archives import (
    BULBASAUR,
    PARAS,
    PICTURES,
    POKEDEX,
    SPEAROW,
    built,
    encoded,
    png,
    rows,
    sizes,
    sprite,
    write,
    zip_of,
)


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
    assert sizes(load_sprites(small, config, cache_dir=cache)) == dict(
        zip(("train", "validation", "test"), sizes_, strict=True)
    )


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
