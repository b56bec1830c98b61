"""The files that the app writes."""

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from pokemon_ddpm.app.downloads import write_download, write_gallery
from pokemon_ddpm.app.requests import Models, Sprite
from pokemon_ddpm.generation import DenoisingStep, SpriteRequest
from pokemon_ddpm.provenance import read_png
from tests.app.running import new_sprite


@pytest.fixture
def sprites(known: Models) -> list[Sprite]:
    """Two sprites and a variation."""
    first, second = (new_sprite(known, pokemon_type="fire", seed=seed) for seed in (7, 8))
    steps = [DenoisingStep(i, first.image, Image.new("RGBA", first.image.size, (i, 0, 0, 255))) for i in range(3)]
    variation = replace(second, job=replace(second.job, original=second.image, strength=0.5))
    return [replace(first, steps=steps), second, variation]


def test_gallery(tmp_path: Path, sprites: list[Sprite]) -> None:
    (first, caption), (second, _), _ = write_gallery(sprites, tmp_path)
    assert caption == "fire · seed 7" and Path(second).name == "2_fire_front_normal_8.png"
    finished = {"transparent": True, "palette": 16, "min_fragment": 256, "near_fragment": 32, "scale": 16}
    assert Image.open(first).size == (256, 256) and read_png(first).postprocessing == finished


@pytest.mark.parametrize(("background", "mode", "corner"), [("white", "RGB", ()), ("transparent", "RGBA", (0,))])
@pytest.mark.parametrize("model", ["full", "fast"])
def test_png(tmp_path: Path, known: Models, background: str, mode: str, corner: tuple, model: str) -> None:
    """In both kinds of models, without the fragment in a corner."""
    sprite = new_sprite(known, model=model, **({"view": "any", "finish": "any"} if model == "fast" else {}))
    sprite.image.paste("blue", (0, 0, 1, 3))
    path = write_download("png", [sprite], sprite, background, 2, tmp_path)
    image = Image.open(path)
    assert image.mode == mode and image.size == (32, 32)
    assert image.getpixel((0, 0)) == (255, 255, 255, *corner)
    assert image.getpixel((16, 16))[:3] == (255, 0, 0)
    finished = {"palette": 16, "min_fragment": 256, "near_fragment": 32, "scale": 2}
    assert read_png(path).postprocessing == {"transparent": mode == "RGBA", **finished}


def test_zip(tmp_path: Path, sprites: list[Sprite]) -> None:
    archive = zipfile.ZipFile(write_download("zip", sprites, sprites[0], "white", 2, tmp_path))
    table = json.loads(archive.read("sprites.json"))
    condition = {"type": "fire", "view": "front", "finish": "normal"}
    name = "3_fire_front_normal_8.png"
    assert table[2] == {"file": name, "model": "full", "condition": condition, "seed": 8, "variation_strength": 0.5}
    files = [each["file"] for each in table]
    assert archive.namelist() == [*files, "sprites.json", "sheet.png", "sheet.json"]
    sheet, frames = Image.open(archive.open("sheet.png")), json.loads(archive.read("sheet.json"))["frames"]
    assert [each["filename"] for each in frames] == files and frames[2]["seed"] == 8 and sheet.mode == "RGBA"
    assert frames[2]["frame"] == {"x": 64, "y": 0, "w": 32, "h": 32} and sheet.size == (96, 32)
    assert [b"pokemon-ddpm" in archive.read(each["file"]) for each in table] == [True, True, False]  # provenance


def test_gif_and_sheet(tmp_path: Path, sprites: list[Sprite]) -> None:
    gif = Image.open(write_download("gif", sprites, sprites[0], "white", 2, tmp_path))
    assert gif.n_frames == 4 and gif.size == (32, 32) and gif.convert("RGB").getpixel((31, 0)) == (0, 0, 0)
    gif.seek(3)
    assert gif.convert("RGB").getpixel((31, 0)) == (255, 255, 255)
    sheet = Image.open(write_download("sheet", 2 * sprites, sprites[0], "transparent", 3, tmp_path))
    assert sheet.size == (4 * 48, 2 * 48) and sheet.mode == "RGBA"
    assert Image.open(write_download("sheet", sprites, sprites[0], "white", 3, tmp_path)).mode == "RGB"


def test_names_of_any_class(tmp_path: Path, sprites: list[Sprite]) -> None:
    one = replace(sprites[2], request=SpriteRequest(7, "../é" * 99))
    path = Path(write_download("png", [one], one, "white", 1, tmp_path))
    assert path.is_file() and len(path.name.encode()) <= 104 and path.name.endswith("_7.png")
