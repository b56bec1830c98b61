"""What is kept of sprites: files that say how they were made, and go after a while."""

import io
import json
import os
import threading
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pokemon_ddpm.app.downloads import Files
from pokemon_ddpm.app.drawing import draw
from pokemon_ddpm.app.limits import KEPT_SECONDS, SWEEP_SECONDS, Refused
from pokemon_ddpm.app.models import Models
from pokemon_ddpm.app.orders import Sprite, new_sprites, variations
from pokemon_ddpm.postprocessing import enlarge, remove_background
from pokemon_ddpm.provenance import read_png
from tests.app_running import save_models
from tests.generating import run


@pytest.fixture(scope="module")
def sprites(tmp_path_factory: pytest.TempPathFactory) -> list[Sprite]:
    """Three, and a variation of the first."""
    models = Models(save_models(tmp_path_factory.mktemp("models")), public=False)
    able = models.get("able")
    asked = new_sprites(able, "fire", "flying", 3, 7, "fast", 2.0, {"color": "red"})
    drawn = draw(asked, lambda _: None, threading.Event())
    return drawn + draw(variations(able, drawn[0], 1, 0.6, 50), lambda _: None, threading.Event())


def keep(
    files: Files, sprites: Sequence[Sprite], number: int, background: str = "white", scale: Any = 2
) -> list[Path]:
    return [Path(path) for path in files.keep(sprites, sprites[number - 1], background, scale)]


def equal(one: Image.Image, other: Image.Image) -> bool:
    return (one.mode, one.size, one.tobytes()) == (other.mode, other.size, other.tobytes())


class TestShow:
    def test_pixels_are_enlarged_to_squares_and_nothing_is_lost(self, sprites: list[Sprite], tmp_path: Path) -> None:
        shown = Files(tmp_path).show(sprites)
        assert [caption for _, caption in shown][2:] == [
            "fire/flying · red · seed 9",
            "fire/flying · red · seed 50 (a variation, 0.6)",
        ]
        for (path, _), sprite in zip(shown, sprites, strict=True):
            with Image.open(path) as image:
                assert image.format == "PNG" and equal(image, enlarge(sprite.image, 16))

    def test_what_is_expected(self, sprites: list[Sprite], tmp_path: Path) -> None:
        ((path, caption),) = Files(tmp_path).show_expected([sprites[0].image])
        assert caption is None and equal(Image.open(path), enlarge(sprites[0].image, 16))

    def test_nobody_can_guess_where_they_are(self, sprites: list[Sprite], tmp_path: Path) -> None:
        files = Files(tmp_path)
        one, other = (Path(files.show(sprites)[0][0]) for _ in range(2))
        assert one.name == other.name and one.parent != other.parent and len(one.parent.name) == 32


class TestKeep:
    @pytest.mark.parametrize("background", ["white", "transparent"])
    @pytest.mark.parametrize("scale", [1, 4.0])
    def test_one_png(self, sprites: list[Sprite], tmp_path: Path, background: str, scale: Any) -> None:
        png = keep(Files(tmp_path), sprites, 2, background, scale)[0]
        image = sprites[1].image if background == "white" else remove_background(sprites[1].image)
        assert png.name == "fire-flying_red_8.png" and equal(Image.open(png), enlarge(image, int(scale)))

    def test_the_command_line_makes_it_again(self, sprites: list[Sprite], tmp_path: Path) -> None:
        png = keep(Files(tmp_path), sprites, 2, "transparent", 3)[0]
        again = tmp_path / "again.png"
        status, said = run("generate", "--like", png, "--output", again)
        assert status == 0, said
        assert again.read_bytes() == png.read_bytes()

    def test_a_variation_does_not_claim_to_be_made_of_its_seed(self, sprites: list[Sprite], tmp_path: Path) -> None:
        png = keep(Files(tmp_path), sprites, 4)[0]
        with pytest.raises(ValueError, match="does not say how it was made"):
            read_png(png)

    def test_all_as_a_zip(self, sprites: list[Sprite], tmp_path: Path) -> None:
        with zipfile.ZipFile(keep(Files(tmp_path), sprites, 1, "transparent", 1)[1]) as archive:
            assert archive.testzip() is None
            about = json.loads(archive.read("sprites.json"))
            images = [Image.open(io.BytesIO(archive.read(each["file"]))) for each in about]
            assert sorted(archive.namelist()) == sorted([*(each["file"] for each in about), "sprites.json"])
        assert all(equal(a, remove_background(b.image)) for a, b in zip(images, sprites, strict=True))
        condition = {"type": "fire/flying", "color": "red"}
        assert about[2] == {
            "file": "3_fire-flying_red_9.png",
            "model": "able",
            "condition": condition,
            "seed": 9,
        }
        assert about[3]["variation_strength"] == 0.6

    def test_the_denoising_as_a_gif(self, sprites: list[Sprite], tmp_path: Path) -> None:
        gif = keep(Files(tmp_path), sprites, 1)[2]
        with Image.open(gif) as animation:
            assert animation.format == "GIF" and animation.n_frames == 10 and animation.size == (32, 32)
            animation.seek(9)
            last = np.asarray(animation.convert("RGB")).astype(int)
        assert np.abs(last - np.asarray(enlarge(sprites[0].image, 2)).astype(int)).mean() < 8

    def test_the_sheet(self, sprites: list[Sprite], tmp_path: Path) -> None:
        files = Files(tmp_path)
        white, transparent = (Image.open(keep(files, sprites, 1, each)[3]) for each in ("white", "transparent"))
        assert white.mode == "RGB" and white.getpixel((0, 0)) == (255, 255, 255)
        assert equal(transparent.crop((64, 0, 96, 32)), enlarge(remove_background(sprites[2].image), 2))

    @pytest.mark.parametrize("background", ["pink", None, 1, ["white"]])
    def test_wrong_backgrounds(self, sprites: list[Sprite], tmp_path: Path, background: Any) -> None:
        with pytest.raises(Refused, match=r"^The background must be one of: white, transparent\.$"):
            keep(Files(tmp_path), sprites, 1, background)
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("scale", [0, 17, 1.5, 10**9, "4", None, True])
    def test_wrong_enlargements(self, sprites: list[Sprite], tmp_path: Path, scale: Any) -> None:
        with pytest.raises(Refused, match=r"^The enlargement must be a whole number from 1 to 16\.$"):
            keep(Files(tmp_path), sprites, 1, scale=scale)
        assert not list(tmp_path.iterdir())

    def test_names_of_files_are_harmless(self, sprites: list[Sprite], tmp_path: Path) -> None:
        strange = Sprite(
            type(sprites[0].request)(1, "../../x\0|<b>", {"color": "a\\b" * 100 + "ポ" * 100}),
            sprites[0].drawing,
            None,
            "able",
            sprites[0].image,
            sprites[0].steps,
        )
        paths = keep(Files(tmp_path), [strange], 1)
        assert all(path.parent.parent == tmp_path and len(path.name.encode()) < 110 for path in paths)


class TestSweeping:
    def test_the_oldest_make_room_for_the_others(self, tmp_path: Path) -> None:
        for age, (name, size) in enumerate((("d", 10), ("c", 40), ("b", 50), ("a", 1))):
            (tmp_path / name).mkdir()
            (tmp_path / name / "x").write_bytes(bytes(size))
            os.utime(tmp_path / name, (1000 - age, 1000 - age))
        Files(tmp_path).make_room(100)
        assert sorted(path.parent.name for path in tmp_path.glob("*/x")) == ["b", "c", "d"]
        Files(tmp_path).make_room(99)
        assert sorted(path.parent.name for path in tmp_path.glob("*/x")) == ["c", "d"]

    def test_room_is_made_between_sweeps(
        self, sprites: list[Sprite], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("pokemon_ddpm.app.downloads.FOLDERS_PER_LOOK", 3)
        looked: list[Files] = []
        monkeypatch.setattr(Files, "make_room", lambda files: looked.append(files))
        files = Files(tmp_path)
        for _ in range(7):
            files.show(sprites[:1])
        assert len(looked) == 2

    def test_what_is_old_goes(self, sprites: list[Sprite], tmp_path: Path) -> None:
        files = Files(tmp_path)
        old, kept, emptied, new = (Path(files.show(sprites[:1])[0][0]) for _ in range(4))
        emptied.unlink(), new.unlink()
        now = time.time()
        for path, age in ((old, KEPT_SECONDS + 3 * SWEEP_SECONDS), (kept, KEPT_SECONDS)):
            os.utime(path, (now - age, now - age))
        for folder in (old.parent, kept.parent, emptied.parent):
            os.utime(folder, (0, 0))
        files.sweep()
        assert not old.exists() and kept.is_file() and not emptied.parent.exists() and new.parent.is_dir()
        os.utime(old.parent, (0, 0))
        files.sweep()
        assert not old.parent.exists()
