"""The class folder that is made of the unit sprites of Battle for Wesnoth."""

import csv

import pytest
from PIL import Image

from benchmarks.wesnoth_units import COPYRIGHT, UNITS, write_units
from pokemon_ddpm.class_folder import is_class_folder
from pokemon_ddpm.data import load_tensors


def write_package(root) -> None:
    """Eight images to be kept: two units of orcs with a frame each from behind, two bats and two monsters."""
    units = root / UNITS.replace("*", "1.18")
    license_file = root / COPYRIGHT.replace("*", "1.18")
    license_file.parent.mkdir(parents=True)
    license_file.write_text("Files: *\nLicense: GPL-2+\n")
    names = "orcs/grunt orcs/grunt-ne-attack-2 orcs/leader/leader orcs/leader/leader-n-bob1 bats/bat-se-1 "
    names += "bats/bloodbat-se-1 monsters/raven/raven-flying monsters/giant-mudcrawler orcs/grunt-die-1 "
    names += "bats/Bat_ColorMap transport/boat random-dice orcs/large orcs/small orcs/zcopy"
    bodies = {"orcs/small": (9, 9), "orcs/large": (24, 73), "monsters/raven/raven-flying": (72, 30)}
    for number, name in enumerate(names.split()):
        body = bodies.get(name, (24, 30))
        image = Image.new("RGBA", (96, 96) if max(body) > 40 else (72, 72))
        image.paste((9, 9, 9 * (0 if name == "orcs/zcopy" else number), 255), (20, 20, 20 + body[0], 20 + body[1]))
        (units / name).parent.mkdir(parents=True, exist_ok=True)
        image.save(units / f"{name}.png")


def test_whole_units_are_written_with_view_action_and_creature(tmp_path) -> None:
    write_package(package := tmp_path / "package")
    art = tmp_path / "art"
    assert write_units(package, art) == {"orcs": 4, "bats": 2, "birds": 1, "monsters": 1}
    with (art / "metadata.csv").open() as file:
        assert [tuple(row.values()) for row in csv.DictReader(file)] == [
            ("bats/bat-se-1.png", "front", "", "bats/bat"),
            ("bats/bloodbat-se-1.png", "front", "", "bats/bloodbat"),
            ("monsters/giant-mudcrawler.png", "front", "", "monsters/giant"),
            ("birds/raven-raven-flying.png", "front", "move", "monsters/raven/raven"),
            ("orcs/grunt-ne-attack-2.png", "back", "attack", "orcs/grunt"),
            ("orcs/grunt.png", "front", "", "orcs/grunt"),
            ("orcs/leader-leader-n-bob1.png", "back", "idle", "orcs/leader/leader"),
            ("orcs/leader-leader.png", "front", "", "orcs/leader/leader"),
        ]
    assert "GPL-2+" in (art / "copyright").read_text() and is_class_folder(art)
    assert [len(load_tensors(art, split, 64)) for split in ("train", "validation")] == [5, 3]  # a bat, an orc's two
    with pytest.raises(ValueError, match="is not empty"):
        write_units(package, art)
    with pytest.raises(ValueError, match="lacks usr/share/games"):
        write_units(art, tmp_path / "other")
