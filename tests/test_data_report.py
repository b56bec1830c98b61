"""The numbers of the report against independent counts, and its files."""

import json
import re
from collections import Counter
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from pokemon_ddpm import data_report, load_sprites
from pokemon_ddpm.data_report import count, measure, write_report
from tests.small_archives import BULBASAUR, PARAS, SPEAROW, rows, sprite, write

FIGURES = {"types.png", "pairs.png", "geometry.png", "examples.png"}


@pytest.fixture(scope="module")
def starter(sprites_cache: Path) -> datasets.DatasetDict:
    return load_sprites(cache_dir=sprites_cache)


@pytest.fixture(scope="module")
def numbers(starter: datasets.DatasetDict) -> dict:
    return count(measure(starter))


def test_labels_are_counted(numbers: dict, starter: datasets.DatasetDict) -> None:
    labels = rows(starter)
    assert numbers["images"] == len(labels) == numbers["forms"]
    for split, part in starter.items():
        lines = {row["line"] for row in labels if row["split"] == split}
        assert (numbers["splits"][split]["images"], numbers["splits"][split]["lines"]) == (len(part), len(lines))
    for name, found in numbers["types"].items():
        first = [row for row in labels if row["type1"] == name]
        assert found["first"] == len(first) and found["lines"] == len({row["line"] for row in first})
        assert found["second"] == sum(row["type2"] == name for row in labels)
        assert found["either"] == sum(name in (row["type1"], row["type2"]) for row in labels)
        assert found["alone"] == sum(row["type2"] == "none" for row in first)
        assert found["splits"] == Counter(row["split"] for row in first)
    for key, name in (("color", "colors"), ("shape", "shapes")):
        assert +Counter(numbers[name]) == Counter(row[key] for row in labels)
    heights = np.array([row["height"] for row in labels])
    assert list(numbers["sizes"].values()) == np.histogram(heights, [0, 4, 8, 16, 32, 10**9])[0].tolist()


def test_pixels_are_measured(starter: datasets.DatasetDict) -> None:
    numbers, colors, widths, percent, longest = count(measure({"test": starter["test"]})), [], [], [], []
    for image in starter["test"]["image"]:
        y, x = np.nonzero(np.asarray(image).min(axis=2) < 255)
        width, height = x.max() - x.min() + 1, y.max() - y.min() + 1
        widths.append(width)
        longest.append(max(width, height))
        colors.append(len(image.getcolors()) - 1)  # all have a white background
        percent.append(100 * len(x) / 96**2)
    geometry = numbers["geometry"]
    assert geometry["box_width"]["50%"] == np.median(widths) and geometry["canvases"] == {"96x96": 108}
    assert numbers["palettes"]["25%"] == np.quantile(colors, 0.25)
    assert geometry["foreground_percent"]["50%"] == pytest.approx(np.median(percent))
    assert geometry["longest_side"]["95%"] == pytest.approx(np.quantile(longest, 0.95))
    assert geometry["white_percent"] == pytest.approx(100 - np.mean(percent), abs=1e-3)


def test_duplicates_are_found_within_and_across_splits(small: Path, cache: Path) -> None:
    write(small, PARAS, (small / BULBASAUR).read_bytes())
    for game in ("gen4_hs", "gen5"):
        write(small, SPEAROW.replace("gen4_dp-frame2", game), (small / SPEAROW).read_bytes())
    found = count(measure(load_sprites(small, "all", cache_dir=cache)))
    twins = found["duplicates"]
    assert (twins["distinct"], twins["redundant"], twins["groups"]) == (6, 3, 2)
    assert twins["redundant_within_splits"] == 2  # Bulbasaur is in train, Paras in test
    different = {name for name, number in twins["groups_that_differ_in"].items() if number}
    assert different == {"game", "frame", "index", "line", "split", "types"}
    assert found["images_per_form"] == {"median": 1.0, "max": 3, "most": "Bulbasaur"}
    assert list(found["games"]["gen5"]["kinds"].values()) == [2, 1, 1, 0]
    assert found["corrections"]["color_any"] == {"shiny": 1, "regional": 1}


def test_edges_empty_images_and_corrections_are_found(small: Path, cache: Path) -> None:
    pokedex = (small / "pokedex.csv").read_text()
    pokedex += "81,Diglett,50,Ground,,Brown,Ball,False,False,False,False,False,['50']\n"
    for index, name, second in ((986, "Necrozma Dawn", "Ghost"), (987, "Necrozma Dusk", "Steel")):
        pokedex += f"{index},{name},800,Psychic,{second},Black,Armor,True,False,False,False,False,['800']\n"
    (small / "pokedex.csv").write_text(pokedex)
    hole = "sprites/0081-Diglett-50/front/normal/50-gen3_e-frame2.png"
    write(small, hole, sprite(90))
    write(small, "sprites/0986-Necrozma Dawn-800/front/normal/800_2-gen7.png", sprite(91))
    Image.new("RGB", (96, 96), "white").save(small / PARAS)
    Image.new("RGB", (96, 96), "black").save(small / SPEAROW)
    found = count(measure(load_sprites(small, cache_dir=cache)))
    assert found["corrections"]["faulty_images"] == [hole]
    assert found["corrections"]["exchanged_folders"] == {"Necrozma Dawn": "Necrozma Dusk"}
    assert found["types"]["steel"]["second"] == 2 and found["types"]["ghost"]["second"] == 0
    assert found["geometry"]["empty"] == found["geometry"]["at_edge"] == 1


def test_the_facts_of_the_real_sprites(sprites_dir: Path, sprites_cache: Path) -> None:
    found = count(measure(load_sprites(sprites_dir, "front", cache_dir=sprites_cache)))
    assert [found[key] for key in ("images", "species", "forms", "lines")] == [4086, 898, 1070, 425]
    assert found["lines_in_several_splits"] == 0 and found["types"]["flying"]["either"] == 507
    assert (found["duplicates"]["distinct"], found["duplicates"]["redundant"]) == (3819, 267)
    assert found["geometry"]["at_edge"] == 54 and found["geometry"]["reduced"]["64"] == 4086 - 2924
    assert [found["palettes"][key] for key in ("min", "50%", "max")] == [5, 13, 16]


def test_a_report_is_written_and_other_files_are_left_alone(
    small: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_report, "DPI", 20)
    (small / "pokedex.csv").write_text((small / "pokedex.csv").read_text().replace("Spearow", "Mr|*Mime* $\\x$"))
    sprites, out = load_sprites(small, "all", cache_dir=cache), tmp_path / "out"
    write(out, "mine.txt", b"mine")
    write_report(sprites, out, "The starter set", starter=True)
    assert "free for everybody" in (out / "report.md").read_text()
    summary = write_report(sprites, out, "sprites_1.zip (all)", starter=False)
    assert summary == "7 images, 5 species, 5 forms, 4 lines; 0 redundant images"
    assert {path.name for path in out.iterdir()} == FIGURES | {"mine.txt", "report.md", "report.json"}
    report = json.loads((out / "report.json").read_text())
    assert report.pop("source") == "sprites_1.zip (all)" and report == count(measure(sprites))
    page = (out / "report.md").read_text()
    assert page.startswith("# sprites\\_1.zip (all)\n") and "belong to others" in page and "nan" not in page
    assert {*re.findall(r"!\[[^\]]+\]\(([^)]+)\)", page)} == FIGURES
    assert "| images | 7 |" in page and "| gen5 | 3 | 1 | 1 | 1 | 0 | 40 px | 1 |" in page
    for row in re.findall(r"\n(\|.*\|\n\|[-:|]+\|\n(?:\|.*\|\n)+)", page):
        assert len({line.count("|") for line in row.strip().splitlines()}) == 1, row
    for name in FIGURES:
        assert len(Image.open(out / name).convert("L").getcolors(256)) > 5, name
