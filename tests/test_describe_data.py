"""`pokemon-ddpm describe-data`: its numbers against independent counts, its sentences, its files, its refusals."""

import functools
import json
import re
from collections import Counter
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

import pokemon_ddpm
from pokemon_ddpm import load_sprites
from pokemon_ddpm.data_report import report, text
from pokemon_ddpm.data_report.counts import count
from pokemon_ddpm.data_report.measures import measure
from tests.generating import run
from tests.small_archives import BULBASAUR, PARAS, SPEAROW, rows, sprite, write, zip_of

FILES = {"report.md", "report.json", *report.FIGURES, *report.PANELS}


@pytest.fixture
def command(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The command, with a cache of its own and small figures, into the folder `out`."""
    monkeypatch.setattr(pokemon_ddpm, "load_sprites", functools.partial(load_sprites, cache_dir=cache))
    monkeypatch.setattr(report, "DPI", 20)
    return functools.partial(run, "describe-data", "--output-dir", tmp_path / "out")


def counted(folder: Path, cache: Path, config: str = "all") -> dict:
    return count(measure(load_sprites(folder, config, cache_dir=cache)))


@pytest.fixture(scope="module")
def starter(sprites_cache: Path) -> datasets.DatasetDict:
    return load_sprites(cache_dir=sprites_cache)


@pytest.fixture(scope="module")
def numbers(starter: datasets.DatasetDict) -> dict:
    return {"source": "The starter set", **count(measure(starter))}


# Numbers


def test_the_starter_set_is_counted(numbers: dict, starter: datasets.DatasetDict) -> None:
    labels = rows(starter)
    assert numbers["pictures"] == len(labels) == numbers["forms"]
    assert numbers["lines"] == len({row["line"] for row in labels})
    for split, part in starter.items():
        lines = {row["line"] for row in labels if row["split"] == split}
        assert numbers["splits"][split]["pictures"] == len(part)
        assert numbers["splits"][split]["lines"] == len(lines)
    assert numbers["lines_in_several_splits"] == 0
    first, second = (Counter(row[key] for row in labels) for key in ("type1", "type2"))
    for name, found in numbers["types"].items():
        assert (found["first"], found["second"]) == (first[name], second[name])
        assert found["either"] == sum(name in (row["type1"], row["type2"]) for row in labels)
        assert found["alone"] == sum((row["type1"], row["type2"]) == (name, "none") for row in labels)
    pairs = {(row["type1"], row["type2"]) for row in labels if row["type2"] != "none"}
    assert numbers["pairs"]["with_order"] == len(pairs)
    assert numbers["pairs"]["without_order"] == len({frozenset(pair) for pair in pairs})
    for key, name in (("color", "colors"), ("shape", "shapes"), ("view", "views"), ("finish", "finishes")):
        assert +Counter(numbers[name]) == Counter(row[key] for row in labels)
    limits = {"tiny": 4, "small": 8, "medium": 16, "large": 32, "huge": 10**9}
    sizes = Counter(next(word for word, limit in limits.items() if row["height"] < limit) for row in labels)
    assert +Counter(numbers["heights"]["sizes"]) == sizes


def test_pixels_are_measured(starter: datasets.DatasetDict) -> None:
    numbers, colors, boxes, inked = count(measure({"test": starter["test"]})), [], Counter(), []
    for image in starter["test"]["image"]:
        y, x = np.nonzero(np.asarray(image).min(axis=2) < 255)
        boxes[f"{x.max() - x.min() + 1}x{y.max() - y.min() + 1}"] += 1
        colors.append(len(image.getcolors()) - 1)  # all have a white background
        inked.append(100 * len(x) / 96**2)
    assert numbers["geometry"]["boxes"] == boxes
    assert numbers["palettes"]["pictures_by_colors"] == {str(k): v for k, v in sorted(Counter(colors).items())}
    assert numbers["geometry"]["inked_percent"]["p50"] == pytest.approx(np.median(inked))
    assert numbers["geometry"]["white_percent"] == pytest.approx(100 - np.mean(inked), abs=1e-3)


def test_a_small_archive_is_counted(small: Path, cache: Path) -> None:
    found = counted(small, cache)
    assert [found[key] for key in ("pictures", "species", "forms")] == [7, 5, 5]
    assert found["views"] == {"front": 6, "back": 1} and found["finishes"] == {"normal": 6, "shiny": 1}
    assert {game: each["pictures"] for game, each in found["games"].items()} == {
        "gen3_e": 1, "gen4_dp": 1, "gen5": 3, "gen7": 1, "gen8-mini": 1
    }  # fmt: skip
    assert found["games"]["gen5"]["kinds"] == {
        "front normal": 1, "front shiny": 1, "back normal": 1, "back shiny": 0
    }  # fmt: skip
    assert found["pictures_a_form"] == {"median": 1, "max": 3, "most": "Bulbasaur"}
    assert found["pairs"]["ordered"] == {"bug/grass": 1, "grass/poison": 4, "ice/steel": 1, "normal/flying": 1}
    assert found["types"]["grass"]["either"] == 5 and found["types"]["flying"]["second"] == 1
    assert found["geometry"]["boxes"] == {"30x40": 7} and found["geometry"]["canvases"] == {"96x96": 7}
    assert found["geometry"]["reduced"] == {"32": 7, "64": 0} and found["geometry"]["at_edge"] == 0
    assert found["palettes"]["max"] == 1 and found["duplicates"]["groups"] == 0
    assert found["corrections"]["color_any"] == {"shiny": 1, "regional": 1, "other": 0}
    assert sum(part["pictures"] for part in found["splits"].values()) == 7


def test_duplicates_are_found_within_and_across_splits(small: Path, cache: Path) -> None:
    split = {row["path"]: row["split"] for row in rows(load_sprites(small, "all", cache_dir=cache))}
    assert split[BULBASAUR] != split[PARAS]
    write(small, PARAS, (small / BULBASAUR).read_bytes())
    write(small, SPEAROW.replace("gen4_dp-frame2", "gen4_hs"), (small / SPEAROW).read_bytes())
    write(small, SPEAROW.replace("gen4_dp-frame2", "gen5"), (small / SPEAROW).read_bytes())
    found = counted(small, cache)
    twins = found["duplicates"]
    assert (twins["distinct"], twins["redundant"], twins["groups"], twins["pictures"]) == (6, 3, 2, 5)
    assert twins["redundant_within_splits"] == 2 and twins["groups_of_different_types"] == 1
    assert twins["groups_that_differ_in"] == {
        "game": 2, "frame": 1, "finish": 0, "view": 0, "index": 1, "line": 1, "split": 1
    }  # fmt: skip
    assert twins["games"] == {"gen3_e + gen5": 1, "gen4_dp + gen4_hs + gen5": 1}
    said = " ".join(text.duplicates(found))
    assert "6 of 9 pictures are distinct; 3 pictures repeat one of them to the pixel (2 groups)." in said
    assert "**1 group has pictures in two splits**" in said and "**1 group has different types**" in said
    assert "leaves out 2." in said


def test_the_edge_an_empty_picture_and_corrections_are_seen(small: Path, cache: Path) -> None:
    pokedex = (small / "pokedex.csv").read_text()
    pokedex += "81,Diglett,50,Ground,,Brown,Ball,False,False,False,False,False,['50']\n"
    for index, name, second in ((986, "Necrozma Dawn", "Ghost"), (987, "Necrozma Dusk", "Steel")):
        pokedex += f"{index},{name},800,Psychic,{second},Black,Armor,True,False,False,False,False,['800']\n"
    write(small, "pokedex.csv", pokedex.encode())
    hole = "sprites/0081-Diglett-50/front/normal/50-gen3_e-frame2.png"
    write(small, hole, sprite(90))
    write(small, "sprites/0986-Necrozma Dawn-800/front/normal/800_2-gen7.png", sprite(91))
    Image.new("RGB", (96, 96), "white").save(small / PARAS)
    Image.new("RGB", (96, 96), "black").save(small / SPEAROW)
    found = counted(small, cache, "front")
    assert found["corrections"]["faulty_pictures"] == [hole]
    assert found["corrections"]["exchanged_folders"] == {"Necrozma Dawn": "Necrozma Dusk"}
    assert found["types"]["steel"]["second"] == 2 and found["types"]["ghost"]["second"] == 0
    assert found["geometry"]["empty"] == found["geometry"]["at_edge"] == 1
    assert found["types"]["ground"]["first"] == 1 and found["types"]["ground"]["shown"] == 0


def test_the_facts_of_the_real_sprites(sprites_dir: Path, sprites_cache: Path) -> None:
    found = counted(sprites_dir, sprites_cache, "front")
    assert [found[key] for key in ("pictures", "species", "forms")] == [4086, 898, 1070]
    assert [part["pictures"] for part in found["splits"].values()] == [3273, 404, 409]
    assert found["types"]["flying"]["first"] == 12 and found["types"]["flying"]["either"] == 507
    assert sum(each["alone"] for each in found["types"].values()) == 2090
    assert found["pairs"]["with_order"] == 174 and found["pairs"]["without_order"] == 136
    assert (found["duplicates"]["distinct"], found["duplicates"]["redundant"]) == (3819, 267)
    assert found["geometry"]["at_edge"] == 54 and found["geometry"]["reduced"]["64"] == 4086 - 2924
    assert found["geometry"]["longest_side"]["p50"] == 56
    assert [found["palettes"][key] for key in ("min", "p50", "max")] == [5, 13, 16]
    assert found["corrections"]["faulty"] == 3 and found["lines_in_several_splits"] == 0


# Sentences


def test_no_sentence_is_said_of_the_real_data_alone(numbers: dict) -> None:
    page = report.report(numbers, starter=True)
    assert "free for everybody" in page and "belong to others" not in page
    assert "Every first type has 60 pictures" in page and "known by the first type alone" not in page
    assert "No two pictures have the same pixels" in page and "Nothing had to be corrected" in page
    assert "Mostly a game" not in page and "no colour is said" not in page


def test_leaks_and_missing_splits_are_told(numbers: dict) -> None:
    assert "No line is in two splits" in " ".join(text.splits(numbers))
    assert "**2 lines are in more than one split**" in " ".join(text.splits({**numbers, "lines_in_several_splits": 2}))
    alone = {**numbers, "splits": {"train": numbers["splits"]["train"]}}
    assert "Nothing is held out" in " ".join(text.splits(alone))


def test_names_are_no_markup() -> None:
    assert text.plain("Mr|*Mime*") == r"Mr\|\*Mime\*"


# The command


def test_a_report_is_written_and_nothing_else_touched(command, small: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(out, "mine.txt", b"mine")
    write(out, "report.md", b"old")
    code, said = command(zip_of(small, tmp_path / "sprites.zip"), "--config-name", "all")
    assert code == 0 and said.endswith(f"7 pictures of 5 species in 5 forms, 0 of them repeated: {out / 'report.md'}")
    assert {path.name for path in out.iterdir()} == FILES | {"mine.txt"} and (out / "mine.txt").read_bytes() == b"mine"
    page, figures = (out / "report.md").read_text(), json.loads((out / "report.json").read_text())
    assert page.startswith("# sprites.zip (all)\n") and "belong to others" in page
    assert {*re.findall(r"!\[[^\]]+\]\(([^)]+)\)", page)} == {*report.FIGURES, *report.PANELS}
    assert "| pictures | 7 |" in page and figures["pictures"] == 7
    assert "NaN" not in (out / "report.json").read_text() and "nan" not in page
    for name in (*report.FIGURES, *report.PANELS):
        assert len(Image.open(out / name).convert("L").getcolors(256)) > 5, name


def test_without_an_archive_it_is_the_starter_set(command, starter, tmp_path: Path, monkeypatch) -> None:
    asked = []
    monkeypatch.setattr(pokemon_ddpm, "load_sprites", lambda *words: asked.append(words) or {"test": starter["test"]})
    monkeypatch.setattr(report, "FIGURES", {})  # drawn elsewhere
    code, said = command()
    assert code == 0 and asked == [(None, "starter")]
    assert said.endswith(f"108 pictures of 108 species in 108 forms, 0 of them repeated: {tmp_path / 'out/report.md'}")
    assert (tmp_path / "out/report.md").read_text().startswith("# The starter set\n")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["/nowhere"], "error: /nowhere does not exist."),
        (["{small}/sprites"], "holds no pokedex.csv."),
        (["{small}", "--config-name", "back"], "error: --config-name back: With DIR there are front and all."),
        (["--config-name", "all"], "error: --config-name all: Without DIR there is the starter set."),
        (["--output-dir", "{small}/pokedex.csv"], "pokedex.csv cannot be made: File exists."),
        (["--output-dir", "/proc/report"], "--output-dir /proc/report cannot be made: "),
        (["--output-dir", "{small}/taken"], "error: --output-dir {small}/taken: types.png in it is a folder."),
        (["{small}", "--output-dir", "{small}/sprites/report"], "is among the sprites"),
    ],
)
def test_mistakes_are_told_before_anything_slow(command, small: Path, monkeypatch, words: list, expected: str) -> None:
    def slow(*_: object) -> None:
        raise AssertionError("loaded")

    monkeypatch.setattr(pokemon_ddpm, "load_sprites", slow)
    (small / "taken/types.png").mkdir(parents=True)
    code, said = command(*(word.format(small=small) for word in words))
    assert code == 2 and expected.format(small=small) in said and said.count("error: ") == 1
    assert not (small / "sprites/report").exists()


def test_an_archive_without_pictures_is_refused(command, small: Path, tmp_path: Path) -> None:
    (small / "sprites").rename(tmp_path / "elsewhere")
    code, said = command(small)
    assert code == 2 and f"error: {small} holds no pictures" in said and not (tmp_path / "out").exists()
